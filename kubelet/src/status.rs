//! `PodState` -> `v1.PodStatus`: what `-o json|yaml` prints, and later the API server gets.
use crate::plan;
use crate::state::{
    ContainerRecord, ContainerState, Phase, PodRecord, PodState, Role, Termination,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::net::IpAddr;

/// The conditions in the order that Kubernetes lists them.
const CONDITIONS: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// Notes when a condition changes, so that `lastTransitionTime` tells the truth.
pub fn note_transitions(record: &PodRecord, state: &mut PodState, now: Timestamp) {
    for kind in CONDITIONS {
        let value = condition(record, state, kind);
        let changed = state
            .transitions
            .get(kind)
            .is_none_or(|(old, _)| *old != value);
        if changed {
            state.transitions.insert(kind.to_owned(), (value, now));
        }
    }
}

fn condition(record: &PodRecord, state: &PodState, kind: &str) -> bool {
    let ready = || {
        state.phase == Phase::Running
            && state
                .containers
                .iter()
                .filter(|container| container.role == Role::Main)
                .all(|main| main.ready)
    };
    match kind {
        "PodScheduled" => true,
        "PodReadyToStartContainers" => state.supervisor.is_some(),
        "Initialized" => {
            let has_inits = record.containers().any(|(role, _)| role != Role::Main);
            !has_inits
                || state
                    .containers
                    .iter()
                    .all(|container| match container.role {
                        Role::Init => plan::init_done(container),
                        Role::Sidecar => container.started || state.phase.ended(),
                        Role::Main => true,
                    })
        }
        _ => ready(),
    }
}

/// The pod with its status, as the API has it.
#[must_use]
pub fn pod_with_status(record: &PodRecord, state: &PodState, host_ip: Option<IpAddr>) -> core::Pod {
    let mut pod = record.pod.clone();
    pod.status = Some(status(record, state, host_ip));
    pod
}

/// The status alone.
#[must_use]
pub fn status(record: &PodRecord, state: &PodState, host_ip: Option<IpAddr>) -> core::PodStatus {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let pod_ip = state.pod_ip.or_else(|| {
        let host_network = record
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.host_network)
            .unwrap_or(false);
        host_ip.filter(|_| host_network && !state.phase.ended())
    });
    let of = |wanted: fn(Role) -> bool| -> Option<Vec<core::ContainerStatus>> {
        let records = state
            .containers
            .iter()
            .filter(|container| wanted(container.role));
        let statuses: Vec<_> = records
            .map(|container| container_status(record, container))
            .collect();
        Some(statuses).filter(|statuses| !statuses.is_empty())
    };
    core::PodStatus {
        phase: text(state.phase.as_str()),
        reason: text(&state.reason),
        message: text(&state.message),
        start_time: state.start_time.map(Time),
        host_ip: host_ip.map(|ip| ip.to_string()),
        host_ips: host_ip.map(|ip| vec![core::HostIP { ip: ip.to_string() }]),
        pod_ip: pod_ip.map(|ip| ip.to_string()),
        pod_ips: pod_ip.map(|ip| vec![core::PodIP { ip: ip.to_string() }]),
        qos_class: record
            .pod
            .spec
            .as_ref()
            .map(|spec| rkube_api::qos::class(spec).as_str().to_owned()),
        conditions: Some(
            CONDITIONS
                .iter()
                .map(|kind| pod_condition(record, state, kind))
                .collect(),
        ),
        init_container_statuses: of(|role| role != Role::Main),
        container_statuses: of(|role| role == Role::Main),
        ..core::PodStatus::default()
    }
}

fn pod_condition(record: &PodRecord, state: &PodState, kind: &str) -> core::PodCondition {
    let value = condition(record, state, kind);
    let reason = match (kind, value, state.phase) {
        ("Ready" | "ContainersReady", false, Phase::Succeeded) => Some("PodCompleted"),
        ("Ready" | "ContainersReady", false, Phase::Failed) => Some("PodFailed"),
        ("Ready" | "ContainersReady", false, _) => Some("ContainersNotReady"),
        ("Initialized", false, _) => Some("ContainersNotInitialized"),
        _ => None,
    };
    core::PodCondition {
        type_: kind.to_owned(),
        status: if value { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: state.transitions.get(kind).map(|(_, at)| Time(*at)),
        ..core::PodCondition::default()
    }
}

fn container_status(record: &PodRecord, container: &ContainerRecord) -> core::ContainerStatus {
    let asked = record
        .containers()
        .map(|(_, container)| container)
        .find(|asked| asked.name == container.name);
    let id = container_id(record, container);
    let mut last = core::ContainerState::default();
    last.terminated = container.last.as_ref().map(|end| terminated(end, &id));
    core::ContainerStatus {
        name: container.name.clone(),
        image: asked
            .and_then(|asked| asked.image.clone())
            .unwrap_or_default(),
        image_id: container.image_id.clone(),
        container_id: Some(id.clone()),
        ready: match container.role {
            Role::Init => plan::init_done(container),
            Role::Sidecar | Role::Main => container.ready,
        },
        started: Some(container.started && container.running()),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(container_state(&container.state, &id)),
        last_state: Some(last),
        resources: asked.and_then(|asked| asked.resources.clone()),
        ..core::ContainerStatus::default()
    }
}

/// `rkube://<uid>/<name>/<try>`.
#[must_use]
pub fn container_id(record: &PodRecord, container: &ContainerRecord) -> String {
    format!(
        "rkube://{}/{}/{}",
        record.uid(),
        container.name,
        container.attempt()
    )
}

fn container_state(state: &ContainerState, id: &str) -> core::ContainerState {
    let mut out = core::ContainerState::default();
    match state {
        ContainerState::Waiting { reason, message } => {
            out.waiting = Some(core::ContainerStateWaiting {
                reason: Some(reason.clone()),
                message: Some(message.clone()).filter(|message| !message.is_empty()),
            });
        }
        ContainerState::Running { started, .. } => {
            out.running = Some(core::ContainerStateRunning {
                started_at: Some(Time(*started)),
            });
        }
        ContainerState::Terminated(end) => out.terminated = Some(terminated(end, id)),
    }
    out
}

fn terminated(end: &Termination, id: &str) -> core::ContainerStateTerminated {
    core::ContainerStateTerminated {
        exit_code: end.exit_code,
        signal: Some(end.signal).filter(|signal| *signal != 0),
        reason: Some(end.reason.clone()),
        message: Some(end.message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(Time(end.started)),
        finished_at: Some(Time(end.finished)),
        container_id: Some(id.to_owned()),
    }
}

/// The word in the STATUS column: the phase, or the most telling reason of a container.
#[must_use]
pub fn summary(state: &PodState) -> String {
    if !state.reason.is_empty() {
        return state.reason.clone();
    }
    for container in &state.containers {
        let waiting = match &container.state {
            ContainerState::Waiting { reason, .. } if reason != "ContainerCreating" => {
                Some(reason.clone())
            }
            ContainerState::Terminated(end)
                if container.role != Role::Init && end.exit_code != 0 =>
            {
                Some(end.reason.clone())
            }
            ContainerState::Waiting { .. }
            | ContainerState::Running { .. }
            | ContainerState::Terminated(_) => None,
        };
        if let Some(reason) = waiting {
            return if container.role == Role::Init {
                format!("Init:{reason}")
            } else {
                reason
            };
        }
    }
    let inits = state
        .containers
        .iter()
        .filter(|container| container.role == Role::Init);
    let (done, all) = inits.fold((0, 0), |(done, all), init| {
        (done + usize::from(plan::init_done(init)), all + 1)
    });
    match state.phase {
        Phase::Pending if done < all => format!("Init:{done}/{all}"),
        Phase::Pending => "ContainerCreating".to_owned(),
        Phase::Succeeded => "Completed".to_owned(),
        Phase::Running | Phase::Failed => state.phase.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record() -> PodRecord {
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {
            "initContainers": [{"name": "i", "image": "x"}], "containers": [{"name": "c", "image": "x"}]}});
        PodRecord {
            detached: true,
            ..PodRecord::new(serde_json::from_value(pod).unwrap(), NOW)
        }
    }

    fn ended(exit_code: i32) -> ContainerState {
        ContainerState::Terminated(Termination {
            exit_code,
            signal: 0,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: String::new(),
            started: NOW,
            finished: NOW,
        })
    }

    /// The word for a pod with this phase, init container and main container.
    #[track_caller]
    fn check(phase: Phase, init: ContainerState, main: ContainerState, want: &str) {
        let mut state = PodState::new(&record(), "boot");
        state.phase = phase;
        state.containers[0].state = init;
        state.containers[1].state = main;
        assert_eq!(summary(&state), want);
    }

    #[test]
    fn the_status_word_is_the_most_telling_one() {
        let waiting = |reason: &str| ContainerState::Waiting {
            reason: reason.to_owned(),
            message: String::new(),
        };
        let running = || ContainerState::Running {
            pid: 1,
            started: NOW,
        };
        let creating = || waiting("ContainerCreating");
        check(Phase::Pending, creating(), creating(), "Init:0/1");
        check(Phase::Pending, ended(0), creating(), "ContainerCreating");
        check(
            Phase::Pending,
            waiting("CrashLoopBackOff"),
            creating(),
            "Init:CrashLoopBackOff",
        );
        check(Phase::Running, ended(0), running(), "Running");
        check(
            Phase::Running,
            ended(0),
            waiting("CrashLoopBackOff"),
            "CrashLoopBackOff",
        );
        check(Phase::Succeeded, ended(0), ended(0), "Completed");
        check(Phase::Failed, ended(0), ended(1), "Error");
    }

    #[test]
    fn conditions_remember_when_they_changed() {
        let record = record();
        let mut state = PodState::new(&record, "boot");
        note_transitions(&record, &mut state, NOW);
        let later = NOW + jiff::SignedDuration::from_secs(5);
        state.phase = Phase::Running;
        state.supervisor = Some(1);
        state.containers[0].state = ended(0);
        state.containers[1].state = ContainerState::Running {
            pid: 2,
            started: later,
        };
        state.containers[1].ready = true;
        note_transitions(&record, &mut state, later);
        let status = status(&record, &state, None);
        let conditions = status.conditions.unwrap();
        let of = |kind: &str| {
            conditions
                .iter()
                .find(|condition| condition.type_ == kind)
                .unwrap()
        };
        assert_eq!(of("Ready").status, "True");
        assert_eq!(of("Ready").last_transition_time, Some(Time(later)));
        assert_eq!(of("PodScheduled").last_transition_time, Some(Time(NOW)));
        assert!(
            status.container_statuses.unwrap()[0]
                .state
                .as_ref()
                .unwrap()
                .running
                .is_some()
        );
        assert!(status.init_container_statuses.unwrap()[0].ready);
    }
}
