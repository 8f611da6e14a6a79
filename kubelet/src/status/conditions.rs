//! The conditions of a pod: each with its reason, its words, and when it last changed.
use crate::plan;
use crate::state::{ContainerRecord, Phase, PodRecord, PodState, Role};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a condition says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Finding {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn yes() -> Self {
        Finding {
            holds: true,
            ..Finding::default()
        }
    }
    fn no(reason: &'static str, message: String) -> Self {
        Finding {
            holds: false,
            reason,
            message,
        }
    }
}

/// Notes when a condition changes, so that `lastTransitionTime` tells the truth.
pub fn note_transitions(record: &PodRecord, state: &mut PodState, now: Timestamp) {
    for (kind, finding) in findings(record, state) {
        let known = state.transitions.get(kind);
        if known.is_none_or(|(old, _)| *old != finding.holds) {
            let change = (finding.holds, now);
            state.transitions.insert(kind.to_owned(), change);
        }
    }
}

/// The conditions as the API has them.
pub(super) fn of(record: &PodRecord, state: &PodState) -> Vec<PodCondition> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    findings(record, state)
        .into_iter()
        .map(|(kind, finding)| PodCondition {
            type_: kind.to_owned(),
            status: if finding.holds { "True" } else { "False" }.to_owned(),
            reason: text(finding.reason),
            message: text(&finding.message),
            last_transition_time: state.transitions.get(kind).map(|(_, at)| Time(*at)),
            observed_generation: record.pod.metadata.generation,
            ..PodCondition::default()
        })
        .collect()
}

/// All of them, in the order in which Kubernetes lists them.
fn findings(record: &PodRecord, state: &PodState) -> Vec<(&'static str, Finding)> {
    let sandbox = Finding {
        holds: state.supervisor.is_some(),
        ..Finding::default()
    };
    let containers = containers_ready(state);
    let mut all = vec![
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(state)),
        ("Ready", ready(record, &containers)),
        ("ContainersReady", containers),
        ("PodScheduled", Finding::yes()),
    ];
    if let Some(eviction) = &record.eviction {
        let finding = Finding {
            holds: true,
            reason: "TerminationByKubelet",
            message: eviction.message.clone(),
        };
        all.push(("DisruptionTarget", finding));
    }
    all
}

fn initialized(state: &PodState) -> Finding {
    let incomplete = names(state, |container| match container.role {
        Role::Init => !plan::init_done(container),
        Role::Sidecar => !container.started,
        Role::Main => false,
    });
    // Once a main container has begun, what init containers do again takes nothing back.
    let begun = state
        .containers
        .iter()
        .any(|one| one.role == Role::Main && (one.running() || one.last_end().is_some()));
    match state.phase {
        Phase::Succeeded => Finding {
            reason: "PodCompleted",
            ..Finding::yes()
        },
        Phase::Pending | Phase::Running | Phase::Failed if begun || incomplete.is_empty() => {
            Finding::yes()
        }
        Phase::Pending | Phase::Running | Phase::Failed => {
            let message = format!("containers with incomplete status: [{incomplete}]");
            Finding::no("ContainersNotInitialized", message)
        }
    }
}

fn containers_ready(state: &PodState) -> Finding {
    match state.phase {
        Phase::Succeeded => return Finding::no("PodCompleted", String::new()),
        Phase::Failed => return Finding::no("PodFailed", String::new()),
        Phase::Pending | Phase::Running => {}
    }
    let unready = names(state, |one| one.role != Role::Init && !one.ready);
    if unready.is_empty() {
        return Finding::yes();
    }
    let message = format!("containers with unready status: [{unready}]");
    Finding::no("ContainersNotReady", message)
}

/// The containers, and the pod's readiness gates: conditions that others set, which nobody does here.
fn ready(record: &PodRecord, containers: &Finding) -> Finding {
    if !containers.holds {
        return containers.clone();
    }
    let spec = record.pod.spec.as_ref();
    let gates = spec.and_then(|spec| spec.readiness_gates.as_ref());
    let others = record.pod.status.as_ref();
    let others = others.and_then(|status| status.conditions.as_ref());
    let said = |kind: &str| {
        let mut all = others.into_iter().flatten();
        all.find(|one| one.type_ == kind)
            .map(|one| one.status.clone())
    };
    let missing = gates.into_iter().flatten().filter_map(|gate| {
        let kind = &gate.condition_type;
        match said(kind).as_deref() {
            Some("True") => None,
            Some(other) => Some(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {other}"
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist."
            )),
        }
    });
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        Finding::yes()
    } else {
        Finding::no("ReadinessGatesNotReady", missing.join(", "))
    }
}

fn names(state: &PodState, which: fn(&ContainerRecord) -> bool) -> String {
    let names = state.containers.iter().filter(|one| which(one));
    let names: Vec<&str> = names.map(|one| one.name.as_str()).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{ContainerState, Eviction, Termination};
    use jiff::SignedDuration;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record() -> PodRecord {
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {
            "initContainers": [{"name": "i", "image": "x"},
                {"name": "s", "image": "x", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]}});
        PodRecord::new(serde_json::from_value(pod).unwrap(), NOW)
    }

    fn ended(exit_code: i32) -> ContainerState {
        ContainerState::Terminated(Termination {
            exit_code,
            signal: 0,
            reason: String::new(),
            message: String::new(),
            started: NOW,
            finished: NOW,
        })
    }

    /// Containers `i s a b` as words: `wait`, `run`, `ready` or an exit code. The conditions that are not true are listed.
    #[track_caller]
    fn check(record: &PodRecord, phase: Phase, containers: &str, want: &[&str]) {
        let mut state = PodState::new(record, "boot");
        state.phase = phase;
        state.supervisor = Some(1);
        for (one, word) in state.containers.iter_mut().zip(containers.split(' ')) {
            one.state = match word {
                "wait" => continue,
                "run" | "ready" => ContainerState::Running {
                    pid: 1,
                    started: NOW,
                },
                code => ended(code.parse().unwrap()),
            };
            one.started = one.running();
            one.ready = word == "ready";
        }
        let got: Vec<_> = findings(record, &state)
            .into_iter()
            .filter(|(_, finding)| !finding.holds)
            .map(|(kind, finding)| format!("{kind} {} {}", finding.reason, finding.message))
            .collect();
        let got: Vec<_> = got.iter().map(|line| line.trim_end()).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn each_condition_names_what_is_missing() {
        let record = record();
        check(
            &record,
            Phase::Pending,
            "wait wait wait wait",
            &[
                "Initialized ContainersNotInitialized containers with incomplete status: [i s]",
                "Ready ContainersNotReady containers with unready status: [s a b]",
                "ContainersReady ContainersNotReady containers with unready status: [s a b]",
            ],
        );
        check(
            &record,
            Phase::Pending,
            "0 run wait wait",
            &[
                "Ready ContainersNotReady containers with unready status: [s a b]",
                "ContainersReady ContainersNotReady containers with unready status: [s a b]",
            ],
        );
        check(
            &record,
            Phase::Running,
            "0 run ready ready",
            &[
                "Ready ContainersNotReady containers with unready status: [s]",
                "ContainersReady ContainersNotReady containers with unready status: [s]",
            ],
        );
        check(&record, Phase::Running, "0 ready ready ready", &[]);
        let lines = |reason: &str| {
            [
                format!("Ready {reason}"),
                format!("ContainersReady {reason}"),
            ]
        };
        let over = |reason: &str| lines(reason).map(|line| &*line.leak());
        check(
            &record,
            Phase::Succeeded,
            "0 137 0 0",
            &over("PodCompleted"),
        );
        check(&record, Phase::Failed, "0 137 1 0", &over("PodFailed"));
    }

    #[test]
    fn an_init_container_that_runs_again_takes_nothing_back() {
        check(
            &record(),
            Phase::Running,
            "run wait 137 137",
            &[
                "Ready ContainersNotReady containers with unready status: [s a b]",
                "ContainersReady ContainersNotReady containers with unready status: [s a b]",
            ],
        );
    }

    #[test]
    fn a_readiness_gate_is_somebody_elses_to_open() {
        let mut record = record();
        let gates = json!([{"conditionType": "example.com/lb"}]);
        record.pod.spec.as_mut().unwrap().readiness_gates = serde_json::from_value(gates).unwrap();
        let closed = "Ready ReadinessGatesNotReady corresponding condition of pod readiness gate \"example.com/lb\" does not exist.";
        check(&record, Phase::Running, "0 ready ready ready", &[closed]);
        let status = json!({"conditions": [{"type": "example.com/lb", "status": "True"}]});
        record.pod.status = serde_json::from_value(status).unwrap();
        check(&record, Phase::Running, "0 ready ready ready", &[]);
    }

    #[test]
    fn conditions_remember_when_they_changed() {
        let mut record = record();
        let mut state = PodState::new(&record, "boot");
        note_transitions(&record, &mut state, NOW);
        let later = NOW + SignedDuration::from_secs(5);
        state.phase = Phase::Running;
        for one in &mut state.containers {
            one.state = ContainerState::Running {
                pid: 2,
                started: later,
            };
            one.ready = true;
        }
        record.eviction = Some(Eviction {
            reason: "Evicted".to_owned(),
            message: "low on memory".to_owned(),
            grace_seconds: 0,
        });
        note_transitions(&record, &mut state, later);
        let conditions = of(&record, &state);
        let find = |kind: &str| conditions.iter().find(|one| one.type_ == kind).unwrap();
        assert_eq!(find("Ready").status, "True");
        assert_eq!(find("Ready").last_transition_time, Some(Time(later)));
        assert_eq!(find("PodScheduled").last_transition_time, Some(Time(NOW)));
        let target = find("DisruptionTarget");
        assert_eq!(target.reason.as_deref(), Some("TerminationByKubelet"));
        assert_eq!(target.message.as_deref(), Some("low on memory"));
    }
}
