//! Telling systemd that the daemon is alive, when it wants to know: only while the pods' manager answers.
use super::Kubelet;
use crate::sd;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Tells it twice in the time after which systemd would give the daemon up; nothing where nobody asked for it.
pub(super) fn spawn(kubelet: &Kubelet) -> Option<JoinHandle<()>> {
    let variable = |name: &str| std::env::var(name).ok();
    let period = period(
        variable("WATCHDOG_USEC").as_deref(),
        variable("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )?;
    let kubelet = kubelet.clone();
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = kubelet.ending.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if kubelet.pods.ping().await {
                sd::notify("WATCHDOG=1");
            }
        }
    }))
}

/// Half of what sd_watchdog_enabled(3) reads from the environment, if it is meant for this process.
fn period(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok().filter(|micros| *micros > 1)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    ours.then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_half_of_what_systemd_waits() {
        let half = Some(Duration::from_secs(15));
        let table = [
            (Some("30000000"), None, half),
            (Some("30000000"), Some("7"), half),
            (Some("30000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ];
        for (micros, pid, expected) in table {
            assert_eq!(period(micros, pid, 7), expected, "{micros:?} {pid:?}");
        }
    }
}
