//! Tables of who goes first.
use super::*;
use crate::housekeeping::signals::{Amount, Observation, Threshold};
use jiff::SignedDuration;
use serde_json::{Value, json};

const MI: u64 = 1 << 20;

fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

/// A pod of one container: priority, requests.
fn pod(priority: i32, requests: &Value) -> PodSpec {
    spec(
        json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": requests}}]}),
    )
}

#[track_caller]
fn check(signal: Signal, pods: &[(&str, PodSpec, Usage)], want: &[&str]) {
    let candidates: Vec<_> = pods
        .iter()
        .map(|(name, spec, usage)| Candidate {
            uid: name,
            name: (*name).to_owned(),
            spec,
            usage: *usage,
        })
        .collect();
    let got: Vec<_> = rank(&candidates, signal)
        .iter()
        .map(|pod| pod.uid.to_owned())
        .collect();
    assert_eq!(got, want);
}

fn memory(mi: u64) -> Usage {
    Usage {
        memory: mi * MI,
        ..Usage::default()
    }
}

#[test]
fn memory_goes_by_excess_then_priority_then_amount() {
    let asked = |mi: u64| json!({"memory": format!("{mi}Mi")});
    check(
        Signal::MemoryAvailable,
        &[
            ("within-big", pod(0, &asked(900)), memory(800)),
            ("over-little", pod(0, &asked(100)), memory(110)),
            ("over-much", pod(0, &asked(100)), memory(300)),
            ("over-important", pod(10, &asked(100)), memory(800)),
            ("best-effort", pod(0, &json!({})), memory(50)),
            ("within-small", pod(0, &asked(100)), memory(90)),
            ("critical", pod(CRITICAL, &json!({})), memory(5000)),
        ],
        &[
            "over-much",
            "best-effort",
            "over-little",
            "over-important",
            "within-small",
            "within-big",
        ],
    );
    // All else equal, the name decides: the order is the same at every look.
    check(
        Signal::MemoryAvailable,
        &[
            ("b", pod(0, &json!({})), memory(1)),
            ("a", pod(0, &json!({})), memory(1)),
        ],
        &["a", "b"],
    );
}

#[test]
fn disks_inodes_and_pids() {
    let uses = |disk, inodes, pids| Usage {
        disk,
        inodes,
        pids,
        ..Usage::default()
    };
    const HUNDRED: u64 = 100;
    let asked = json!({"ephemeral-storage": "100Mi"});
    let pods = [
        ("asked", pod(0, &asked), uses(99 * MI, 3 * HUNDRED, 5)),
        ("low", pod(-5, &json!({})), uses(10 * MI, HUNDRED, 1)),
        ("hungry", pod(0, &json!({})), uses(50 * MI, 9 * HUNDRED, 1)),
    ];
    let idle = [("idle", pod(0, &json!({})), uses(MI - 1, HUNDRED - 1, 1))];
    check(Signal::NodefsAvailable, &idle, &[]);
    check(Signal::ImagefsInodesFree, &idle, &[]);
    check(Signal::PidAvailable, &idle, &["idle"]);
    check(Signal::NodefsAvailable, &pods, &["low", "hungry", "asked"]);
    check(Signal::ImagefsAvailable, &pods, &["low", "hungry", "asked"]);
    check(Signal::NodefsInodesFree, &pods, &["low", "hungry", "asked"]);
    check(Signal::PidAvailable, &pods, &["low", "asked", "hungry"]);
}

#[test]
fn requests_are_what_the_scheduler_counts() {
    let check = |value: Value, resource: &str, want: u64| {
        assert_eq!(request(&spec(value.clone()), resource), want, "{value}");
    };
    let asks = |memory: &str| json!({"requests": {"memory": memory}});
    check(json!({"containers": []}), "memory", 0);
    check(
        json!({"containers": [{"name": "a", "resources": asks("10")}, {"name": "b", "resources": {"limits": {"memory": "5"}}}]}),
        "memory",
        15,
    );
    check(
        json!({"initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": asks("3")},
                {"name": "i", "resources": asks("20")},
                {"name": "t", "restartPolicy": "Always", "resources": asks("4")}],
            "containers": [{"name": "a", "resources": asks("10")}], "overhead": {"memory": "1"}}),
        "memory",
        24,
    );
    check(
        json!({"containers": [{"name": "a", "resources": asks("10")}], "resources": asks("30")}),
        "memory",
        30,
    );
    check(
        json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "0.5"}}}]}),
        "cpu",
        500,
    );
}

fn crossed(grace: Option<i64>) -> Met {
    Met {
        threshold: Threshold {
            signal: Signal::MemoryAvailable,
            amount: Amount::Units(100 * MI),
            grace: grace.map(SignedDuration::from_secs),
        },
        observed: Observation {
            signal: Signal::MemoryAvailable,
            available: 40 * MI,
            capacity: 1000 * MI,
        },
    }
}

#[test]
fn the_victim_is_told_why() {
    let spec = pod(0, &json!({"memory": "10Mi"}));
    let pods = [Candidate {
        uid: "u",
        name: "default/web".to_owned(),
        spec: &spec,
        usage: memory(30),
    }];
    let hard = victim(&pods, &crossed(None), 600).unwrap();
    assert_eq!(
        hard.message,
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 40Mi. \
         Pod was using 30Mi, request is 10Mi."
    );
    assert_eq!((hard.uid.as_str(), hard.grace_seconds), ("u", 0));
    let grace = |most| {
        victim(&pods, &crossed(Some(60)), most)
            .unwrap()
            .grace_seconds
    };
    assert_eq!((grace(600), grace(5)), (30, 5));
    assert_eq!(victim(&[], &crossed(None), 0), None);
}

#[test]
fn who_is_let_in() {
    use Condition::{Disk, Memory, Pid};
    let effort = pod(0, &json!({}));
    let burstable = pod(0, &json!({"memory": "1Mi"}));
    let critical =
        spec(json!({"priorityClassName": "system-node-critical", "containers": [{"name": "c"}]}));
    let tolerant = |toleration: Value| {
        spec(json!({"containers": [{"name": "c"}], "tolerations": [toleration]}))
    };
    let key = "node.kubernetes.io/memory-pressure";
    let cases = [
        (&effort, &[][..], true),
        (&effort, &[Memory], false),
        (&burstable, &[Memory], true),
        (&burstable, &[Disk], false),
        (&burstable, &[Memory, Pid], false),
        (&critical, &[Memory, Disk, Pid], true),
        (
            &tolerant(json!({"key": key, "operator": "Exists"})),
            &[Memory],
            true,
        ),
        (&tolerant(json!({"operator": "Exists"})), &[Memory], true),
        (
            &tolerant(json!({"key": key, "operator": "Exists", "effect": "NoExecute"})),
            &[Memory],
            false,
        ),
        (
            &tolerant(json!({"key": "other", "operator": "Exists"})),
            &[Memory],
            false,
        ),
        (&tolerant(json!({"operator": "Exists"})), &[Disk], false),
    ];
    for (number, (spec, conditions, want)) in cases.into_iter().enumerate() {
        assert_eq!(admits(spec, conditions).is_ok(), want, "case {number}");
    }
    assert!(takes_back(&[]).is_ok() && takes_back(&[Memory]).is_err());
    let refused = admits(&effort, &[Memory, Disk]).unwrap_err();
    assert!(refused.starts_with("The node had condition: [MemoryPressure DiskPressure]"));
}
