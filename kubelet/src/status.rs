//! `PodState` -> `v1.PodStatus`: what `-o json|yaml` prints, and later the API server gets.
mod conditions;

pub use conditions::note_transitions;

use crate::plan;
use crate::state::{
    ContainerRecord, ContainerState, ContainerUser, Phase, PodRecord, PodState, Role, Termination,
};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::net::IpAddr;

/// What all termination messages of a pod may have together, in bytes.
const MESSAGES: usize = 12 * 1024;

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
        conditions: Some(conditions::of(record, state)),
        observed_generation: record.pod.metadata.generation,
        init_container_statuses: of(|role| role != Role::Main),
        container_statuses: of(|role| role == Role::Main),
        ..core::PodStatus::default()
    }
}

fn container_status(record: &PodRecord, container: &ContainerRecord) -> core::ContainerStatus {
    let asked = record.container(&container.name);
    let ids = Ids::of(record, container);
    let limit = MESSAGES / record.containers().count().max(1);
    let last = core::ContainerState {
        terminated: container
            .last
            .as_ref()
            .map(|end| terminated(end, ids.last.as_deref(), limit)),
        ..core::ContainerState::default()
    };
    let resources = asked.and_then(|asked| asked.resources.clone());
    let mounts = asked.and_then(|asked| asked.volume_mounts.as_ref());
    let lifecycle = asked.and_then(|asked| asked.lifecycle.as_ref());
    core::ContainerStatus {
        name: container.name.clone(),
        image: asked
            .and_then(|asked| asked.image.clone())
            .unwrap_or_default(),
        image_id: container.image_id.clone(),
        container_id: ids.current.clone(),
        ready: match container.role {
            Role::Init => plan::init_done(container),
            Role::Sidecar | Role::Main => container.ready,
        },
        started: Some(container.started && container.running()),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(container_state(record, container, &ids, limit)),
        last_state: Some(last),
        allocated_resources: resources
            .as_ref()
            .and_then(|resources| resources.requests.clone()),
        resources,
        user: container.user.as_ref().map(user),
        volume_mounts: mounts.map(|mounts| mounts.iter().map(mount).collect()),
        stop_signal: lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()),
        ..core::ContainerStatus::default()
    }
}

fn user(user: &ContainerUser) -> core::ContainerUser {
    core::ContainerUser {
        linux: Some(core::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: Some(
                user.groups
                    .iter()
                    .map(|&group| group.into())
                    .collect::<Vec<i64>>(),
            )
            .filter(|groups| !groups.is_empty()),
        }),
    }
}

fn mount(mount: &core::VolumeMount) -> core::VolumeMountStatus {
    core::VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount.recursive_read_only.clone(),
        ..core::VolumeMountStatus::default()
    }
}

/// `rkube://<uid>/<name>/<try>`.
#[must_use]
pub fn container_id(record: &PodRecord, container: &ContainerRecord) -> String {
    id_of_try(record, container, container.attempt())
}

fn id_of_try(record: &PodRecord, container: &ContainerRecord, attempt: u32) -> String {
    format!("rkube://{}/{}/{attempt}", record.uid(), container.name)
}

/// The ids of the try that `state` is about (while the next one waits: of the last one), and of the one before it.
struct Ids {
    current: Option<String>,
    last: Option<String>,
}

impl Ids {
    fn of(record: &PodRecord, container: &ContainerRecord) -> Self {
        let attempt = container.attempt();
        let id = |attempt: u32| Some(id_of_try(record, container, attempt));
        let before = attempt.checked_sub(1);
        match &container.state {
            ContainerState::Running { .. } | ContainerState::Terminated(_) => Ids {
                current: id(attempt),
                last: before.and_then(id),
            },
            // A try that waits has a number of its own from the moment on that its image is looked for.
            ContainerState::Waiting { .. } if container.last.is_some() => {
                let last = if container.spent {
                    Some(attempt)
                } else {
                    before
                };
                let last = last.and_then(id);
                Ids {
                    current: last.clone(),
                    last,
                }
            }
            ContainerState::Waiting { .. } => Ids {
                current: None,
                last: None,
            },
        }
    }
}

fn container_state(
    record: &PodRecord,
    container: &ContainerRecord,
    ids: &Ids,
    limit: usize,
) -> core::ContainerState {
    let mut out = core::ContainerState::default();
    match &container.state {
        ContainerState::Waiting { reason, message } => {
            // Kubernetes' word for a pod that has init containers, whether they are done or not.
            let with_inits = record.containers().any(|(role, _)| role != Role::Main);
            let reason = match reason.as_str() {
                "ContainerCreating" if with_inits => "PodInitializing",
                reason => reason,
            };
            out.waiting = Some(core::ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: Some(message.clone()).filter(|message| !message.is_empty()),
            });
        }
        ContainerState::Running { started, .. } => {
            out.running = Some(core::ContainerStateRunning {
                started_at: Some(Time(*started)),
            });
        }
        ContainerState::Terminated(end) => {
            out.terminated = Some(terminated(end, ids.current.as_deref(), limit));
        }
    }
    out
}

fn terminated(end: &Termination, id: Option<&str>, limit: usize) -> core::ContainerStateTerminated {
    let cut = end.message.floor_char_boundary(limit);
    core::ContainerStateTerminated {
        exit_code: end.exit_code,
        signal: Some(end.signal).filter(|signal| *signal != 0),
        reason: Some(end.reason.clone()),
        message: Some(end.message[..cut].to_owned()).filter(|message| !message.is_empty()),
        started_at: Some(Time(end.started)),
        finished_at: Some(Time(end.finished)),
        container_id: id.map(str::to_owned),
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
    use jiff::Timestamp;
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

    /// `state` as JSON of the container's status, with the paths that matter.
    #[track_caller]
    fn check_container(change: impl FnOnce(&mut ContainerRecord), want: &serde_json::Value) {
        let record = record();
        let mut state = PodState::new(&record, "boot");
        change(&mut state.containers[1]);
        let status = status(&record, &state, None).container_statuses.unwrap();
        let mut got = serde_json::to_value(&status[0]).unwrap();
        let all = got.as_object_mut().unwrap();
        all.retain(|key, _| want.get(key).is_some());
        assert_eq!(&got, want);
    }

    #[test]
    fn a_containers_status_is_that_of_v1() {
        check_container(
            |_| {},
            &json!({"state": {"waiting": {"reason": "PodInitializing"}}, "lastState": {}, "started": false,
                "ready": false, "restartCount": 0, "image": "x", "imageID": ""}),
        );
        check_container(
            |one| {
                one.state = ContainerState::Running {
                    pid: 1,
                    started: NOW,
                };
                one.restarts = 2;
                one.started = true;
                one.user = Some(ContainerUser {
                    uid: 7,
                    gid: 8,
                    groups: vec![9],
                });
                let ContainerState::Terminated(end) = ended(3) else {
                    unreachable!()
                };
                one.last = Some(end);
            },
            &json!({"state": {"running": {"startedAt": "1970-01-01T00:00:00Z"}}, "started": true,
                "containerID": "rkube://u/c/2", "restartCount": 2,
                "user": {"linux": {"uid": 7, "gid": 8, "supplementalGroups": [9]}},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "containerID": "rkube://u/c/1",
                    "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "1970-01-01T00:00:00Z"}}}),
        );
        // While the next try waits the last one is the container.
        check_container(
            |one| {
                one.state = ContainerState::Waiting {
                    reason: "CrashLoopBackOff".to_owned(),
                    message: "back-off".to_owned(),
                };
                one.restarts = 1;
                one.spent = true;
                let ContainerState::Terminated(mut end) = ended(1) else {
                    unreachable!()
                };
                end.message = "x".repeat(MESSAGES);
                one.last = Some(end);
            },
            &json!({"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "containerID": "rkube://u/c/1",
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "containerID": "rkube://u/c/1",
                    "message": "x".repeat(MESSAGES / 2),
                    "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "1970-01-01T00:00:00Z"}}}),
        );
    }
}
