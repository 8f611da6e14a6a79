//! Probes and lifecycle hooks: asking a container how it is.
//!
//! One task per probe of one run of a container; it ends with that run. A task only reports; what follows
//! (ready or not, restart) is the worker's decision.
mod grpc;
mod http;

use crate::counts::Probed;
use crate::sandbox::{ExecOutcome, Executor};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ExecAction, LifecycleHandler, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What a probe decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether it has started; until then the other two wait.
    Startup,
    /// Whether it must be started again.
    Liveness,
    /// Whether it may get traffic.
    Readiness,
}

impl Kind {
    /// The word for events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// What a probe has found: sent when a threshold is crossed, and with every failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The container.
    pub container: String,
    /// Which run of it.
    pub attempt: u32,
    /// Which probe.
    pub kind: Kind,
    /// What it says now; `None` while a threshold is not reached.
    pub healthy: Option<bool>,
    /// What went wrong, if something did.
    pub failure: Option<String>,
}

/// How a handler reaches the container.
#[derive(Clone, Debug)]
pub struct Target {
    /// Runs commands in the container.
    pub executor: Executor,
    /// Counts what probes say.
    pub probed: Arc<Probed>,
    /// Where its ports are.
    pub address: IpAddr,
    /// The container as asked for: its ports have names.
    pub container: Container,
    /// Which run of it.
    pub attempt: u32,
    /// When that run began: delays count from there, also for a kubelet that came later.
    pub started: Timestamp,
}

/// The probe tasks of one run of a container; dropping it ends them.
#[derive(Debug, Default)]
pub struct Probes {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Probes {
    /// Starts the startup probe, or if there is none the two others.
    #[must_use]
    pub fn start(target: &Target, verdicts: &mpsc::Sender<Verdict>) -> Self {
        let mut probes = Probes::default();
        match &target.container.startup_probe {
            Some(probe) => probes.spawn(Kind::Startup, probe, target, verdicts),
            None => probes.after_start(target, verdicts),
        }
        probes
    }
    /// Starts what waits for the container to have started.
    pub fn after_start(&mut self, target: &Target, verdicts: &mpsc::Sender<Verdict>) {
        if let Some(probe) = &target.container.liveness_probe {
            self.spawn(Kind::Liveness, probe, target, verdicts);
        }
        if let Some(probe) = &target.container.readiness_probe {
            self.spawn(Kind::Readiness, probe, target, verdicts);
        }
    }
    fn spawn(
        &mut self,
        kind: Kind,
        probe: &Probe,
        target: &Target,
        verdicts: &mpsc::Sender<Verdict>,
    ) {
        self.tasks.push(tokio::spawn(run(
            kind,
            probe.clone(),
            target.clone(),
            verdicts.clone(),
        )));
    }
}

/// A field in seconds or counts, with its default when it is absent or nonsense.
fn at_least(value: Option<i32>, default: u32, least: u32) -> u32 {
    value
        .map_or(default, |value| u32::try_from(value).unwrap_or(default))
        .max(least)
}

async fn run(kind: Kind, probe: Probe, target: Target, verdicts: mpsc::Sender<Verdict>) {
    let period = Duration::from_secs(at_least(probe.period_seconds, 10, 1).into());
    let timeout = Duration::from_secs(at_least(probe.timeout_seconds, 1, 1).into());
    let mut thresholds = Thresholds {
        success: at_least(probe.success_threshold, 1, 1),
        failure: at_least(probe.failure_threshold, 3, 1),
        ..Thresholds::default()
    };
    let delay = Duration::from_secs(at_least(probe.initial_delay_seconds, 0, 0).into());
    let ran = Timestamp::now().duration_since(target.started);
    let ran = Duration::try_from(ran).unwrap_or_default();
    tokio::time::sleep(delay.saturating_sub(ran)).await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = ask(&probe, &target, timeout).await;
        let name = &target.container.name;
        target.probed.count(name, kind, outcome.is_ok());
        let healthy = thresholds.count(outcome.is_ok());
        let failure = outcome.err();
        if healthy.is_none() && failure.is_none() {
            continue;
        }
        let verdict = Verdict {
            container: target.container.name.clone(),
            attempt: target.attempt,
            kind,
            healthy,
            failure,
        };
        if verdicts.send(verdict).await.is_err() || (kind == Kind::Startup && healthy.is_some()) {
            return;
        }
    }
}

/// Counts in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Thresholds {
    success: u32,
    failure: u32,
    said: Option<bool>,
    run: u32,
    last: Option<bool>,
}

impl Thresholds {
    /// `Some` when enough equal outcomes in a row say something new.
    fn count(&mut self, ok: bool) -> Option<bool> {
        self.run = if self.last == Some(ok) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(ok);
        let needed = if ok { self.success } else { self.failure };
        if self.run < needed || self.said == Some(ok) {
            return None;
        }
        self.said = Some(ok);
        Some(ok)
    }
}

async fn ask(probe: &Probe, target: &Target, timeout: Duration) -> Result<(), String> {
    if let Some(action) = &probe.exec {
        // It has its own watch, which also kills what it has started; waiting for its turn does not count.
        return exec(action, target, timeout).await;
    }
    let answer = async {
        if let Some(action) = &probe.http_get {
            return http::get(action, target).await;
        }
        if let Some(action) = &probe.grpc {
            return grpc::check(action, target).await;
        }
        match &probe.tcp_socket {
            Some(action) => tcp_socket(action, target).await,
            None => Err("the probe names no handler".to_owned()),
        }
    };
    match tokio::time::timeout(timeout, answer).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}

/// Runs a postStart or preStop hook to its end.
///
/// # Errors
/// Says what went wrong; the caller decides what that means.
pub async fn hook(
    handler: &LifecycleHandler,
    target: &Target,
    timeout: Duration,
) -> Result<(), String> {
    let work = async {
        if let Some(action) = &handler.exec {
            return exec(action, target, timeout).await;
        }
        if let Some(action) = &handler.http_get {
            return http::get(action, target).await;
        }
        if let Some(action) = &handler.tcp_socket {
            return tcp_socket(action, target).await;
        }
        if let Some(action) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(
                u64::try_from(action.seconds).unwrap_or(0),
            ))
            .await;
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("not done within {} s", timeout.as_secs())),
    }
}

async fn exec(action: &ExecAction, target: &Target, timeout: Duration) -> Result<(), String> {
    let command = action.command.clone().unwrap_or_default();
    let ExecOutcome { exit_code, output } = target
        .executor
        .run(&target.container.name, command, timeout)
        .await?;
    match exit_code {
        0 => Ok(()),
        code => Err(format!(
            "exit code {code}: {}",
            String::from_utf8_lossy(&output).trim()
        )),
    }
}

async fn tcp_socket(action: &TCPSocketAction, target: &Target) -> Result<(), String> {
    let address = address(action.host.as_deref(), &action.port, target).await?;
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|err| format!("connect to {address}: {err}"))
}

/// Where a handler's port is.
async fn address(
    host: Option<&str>,
    port: &IntOrString,
    target: &Target,
) -> Result<SocketAddr, String> {
    let port = match port {
        IntOrString::Int(port) => {
            u16::try_from(*port).map_err(|_| format!("port {port} is out of range"))?
        }
        IntOrString::String(name) => named_port(name, &target.container)?,
    };
    match host.filter(|host| !host.is_empty()) {
        None => Ok(SocketAddr::new(target.address, port)),
        Some(host) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|err| format!("{host}: {err}"))?
            .next()
            .ok_or_else(|| format!("{host} has no address")),
    }
}

fn named_port(name: &str, container: &Container) -> Result<u16, String> {
    let named = container
        .ports
        .iter()
        .flatten()
        .find(|port| port.name.as_deref() == Some(name));
    let number = named
        .map(|port| port.container_port)
        .or_else(|| name.parse().ok());
    number
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("container {} has no port named \"{name}\"", container.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(success: u32, failure: u32, outcomes: &str, want: &str) {
        let mut thresholds = Thresholds {
            success,
            failure,
            ..Thresholds::default()
        };
        let said: String = outcomes
            .chars()
            .map(|outcome| match thresholds.count(outcome == '+') {
                Some(true) => '+',
                Some(false) => '-',
                None => '.',
            })
            .collect();
        assert_eq!(said, want, "{outcomes}");
    }

    #[test]
    fn thresholds_count_outcomes_in_a_row() {
        check(1, 3, "+++", "+..");
        check(1, 3, "---", "..-");
        check(1, 3, "+--+---", "+.....-");
        check(2, 1, "-++-+", "-.+-.");
        check(1, 1, "+-+-", "+-+-");
    }
}
