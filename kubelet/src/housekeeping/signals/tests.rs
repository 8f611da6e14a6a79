//! Tables of thresholds and of what they lead to.
use super::*;
use crate::config::GoDuration;

const GI: u64 = 1 << 30;

fn config(hard: &[(&str, &str)], soft: &[(&str, &str)], grace: &[(&str, u64)]) -> KubeletConfig {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    KubeletConfig {
        eviction_hard: map(hard),
        eviction_soft: map(soft),
        eviction_soft_grace_period: grace
            .iter()
            .map(|(name, seconds)| ((*name).to_owned(), GoDuration::from_secs(*seconds)))
            .collect(),
        ..KubeletConfig::default()
    }
}

#[track_caller]
fn check_parse(name: &str, value: &str, want: Result<Option<Amount>, &str>) {
    let got = thresholds(&config(&[(name, value)], &[], &[]));
    match want {
        Ok(amount) => {
            let got: Vec<_> = got
                .unwrap()
                .iter()
                .map(|threshold| threshold.amount)
                .collect();
            assert_eq!(got, amount.into_iter().collect::<Vec<_>>(), "{value}");
        }
        Err(words) => {
            let got = got.unwrap_err();
            assert!(got.len() == 1 && got[0].contains(words), "{got:?}");
            assert!(got[0].starts_with(&format!("evictionHard[{name}]: ")));
        }
    }
}

#[test]
fn thresholds_are_read() {
    check_parse(
        "memory.available",
        "100Mi",
        Ok(Some(Amount::Units(100 << 20))),
    );
    check_parse(
        "nodefs.available",
        "10%",
        Ok(Some(Amount::MilliPercent(10_000))),
    );
    check_parse(
        "imagefs.inodesFree",
        "0.5%",
        Ok(Some(Amount::MilliPercent(500))),
    );
    check_parse("pid.available", "1k", Ok(Some(Amount::Units(1000))));
    check_parse("memory.available", "0", Ok(None));
    check_parse("nodefs.available", "0%", Ok(None));
    check_parse("nodefs.available", "101%", Err("not between"));
    check_parse("nodefs.available", "-1", Err("below zero"));
    check_parse("nodefs.available", "x%", Err("no percentage"));
    check_parse("memory.available", "lots", Err("not a quantity"));
    check_parse("memory.free", "1Gi", Err("unknown signal"));
    let defaults = thresholds(&KubeletConfig::default()).unwrap();
    assert_eq!(defaults.len(), 4);
    assert!(defaults.iter().all(|threshold| threshold.grace.is_none()));
}

#[test]
fn soft_thresholds_need_a_grace_period() {
    let soft = [("memory.available", "1Gi")];
    let good = thresholds(&config(&[], &soft, &[("memory.available", 90)])).unwrap();
    assert_eq!(good[0].grace, Some(SignedDuration::from_secs(90)));
    let both = config(&[("x", "1")], &soft, &[("pid.available", 1)]);
    let mistakes = thresholds(&both).unwrap_err();
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
}

fn seen(signal: Signal, available: u64, capacity: u64) -> Observation {
    Observation {
        signal,
        available,
        capacity,
    }
}

#[test]
fn the_worst_place_counts() {
    let all = thresholds(&config(
        &[("nodefs.available", "10%"), ("memory.available", "1Gi")],
        &[],
        &[],
    ))
    .unwrap();
    let observed = [
        seen(Signal::NodefsAvailable, 11, 100),
        seen(Signal::NodefsAvailable, 9, 100),
        seen(Signal::NodefsAvailable, 5, 100),
        seen(Signal::MemoryAvailable, GI, 8 * GI),
        seen(Signal::PidAvailable, 0, 100),
    ];
    let met = met(&all, &observed);
    let left: Vec<_> = met.iter().map(|met| met.observed.available).collect();
    assert_eq!(left, [5, 9]);
    assert_eq!(met[0].missing(), 5);
}

#[test]
fn a_condition_lasts_and_a_soft_threshold_waits() {
    let thresholds = thresholds(&config(
        &[("memory.available", "1Gi"), ("nodefs.available", "10%")],
        &[("memory.available", "2Gi")],
        &[("memory.available", 60)],
    ))
    .unwrap();
    let transition = SignedDuration::from_secs(300);
    let mut pressure = Pressure::default();
    let mut look = |second: i64, memory: u64, disk: u64| {
        let observed = [
            seen(Signal::MemoryAvailable, memory, 8 * GI),
            seen(Signal::NodefsAvailable, disk, 100),
        ];
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        let outcome = pressure.look(&thresholds, &observed, transition, now);
        let conditions: Vec<_> = outcome.conditions.iter().map(|c| c.as_str()).collect();
        let act: Vec<_> = outcome
            .act
            .iter()
            .map(|met| (met.threshold.signal.as_str(), met.threshold.grace.is_some()))
            .collect();
        (conditions.join(" "), act)
    };
    let none = Vec::new();
    assert_eq!(look(0, 3 * GI, 50), (String::new(), none.clone()));
    // Soft: the condition at once, the deed after its grace.
    assert_eq!(
        look(10, GI + 1, 50),
        ("MemoryPressure".into(), none.clone())
    );
    assert_eq!(look(69, GI + 1, 50).1, none);
    assert_eq!(look(70, GI + 1, 50).1, [("memory.available", true)]);
    // It stops the clock when it is over for a moment.
    assert_eq!(
        look(80, 3 * GI, 50),
        ("MemoryPressure".into(), none.clone())
    );
    assert_eq!(look(90, GI + 1, 50).1, none);
    // Hard: at once, memory before the disk, hard before soft.
    let (conditions, act) = look(160, 1, 5);
    assert_eq!(conditions, "MemoryPressure DiskPressure");
    assert_eq!(
        act,
        [
            ("memory.available", false),
            ("memory.available", true),
            ("nodefs.available", false)
        ]
    );
    // The condition stays for the transition period.
    assert_eq!(look(459, 3 * GI, 50).0, "MemoryPressure DiskPressure");
    assert_eq!(look(460, 3 * GI, 50).0, "");
}

#[test]
fn words() {
    let met = Met {
        threshold: Threshold {
            signal: Signal::MemoryAvailable,
            amount: Amount::Units(100 << 20),
            grace: None,
        },
        observed: seen(Signal::MemoryAvailable, 50 << 20, GI),
    };
    assert_eq!(
        met.message(),
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi."
    );
    for (name, signal) in Signal::ALL {
        let known = signal.as_str() == name || name.starts_with("containerfs");
        assert!(known, "{name}");
    }
}
