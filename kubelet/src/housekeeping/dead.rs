//! Pods that are over: the newest are kept for `ps` and `logs`, the others are forgotten.
use super::gc::{self, DeadPod, DeadPolicy};
use crate::admission;
use crate::events::{NodeEvent, NodeEvents};
use crate::paths::Paths;
use crate::registry::Registry;
use crate::state::{ContainerState, StoredPod};
use jiff::Timestamp;

/// Forgets pods that are over, by the policy. Blocks. Gives how many it were.
///
/// # Errors
/// When the pods' folder cannot be read; one pod that cannot be removed is only said.
pub fn forget(
    paths: &Paths,
    registry: &Registry,
    events: &NodeEvents,
    policy: &DeadPolicy,
) -> std::io::Result<usize> {
    let (pods, _) = paths.load_all()?;
    let over: Vec<&StoredPod> = pods
        .iter()
        .filter(|pod| admission::is_over(paths, pod) && !is_owned(paths, pod))
        .collect();
    let dead: Vec<DeadPod> = over.iter().map(|pod| fact(pod)).collect();
    let mut forgotten = 0;
    for uid in gc::forgettable(&dead, policy, Timestamp::now()) {
        let Some(pod) = over.iter().find(|pod| pod.record.uid() == uid) else {
            continue;
        };
        registry.remove(&uid);
        match admission::forget(paths, &pod.record) {
            Ok(()) => {
                forgotten += 1;
                events.append(NodeEvent::pod(
                    &pod.record,
                    "Forgotten",
                    "the pod is over, and newer ones are kept: its record and logs are removed",
                ));
            }
            Err(err) => {
                let message = format!("cannot remove the pod's files: {err}");
                events.append(NodeEvent::pod(&pod.record, "ForgetFailed", message).warning());
            }
        }
    }
    Ok(forgotten)
}

/// Whether a process still tears it down.
fn is_owned(paths: &Paths, pod: &StoredPod) -> bool {
    let lock = paths.pod_run(pod.record.uid()).join("lock");
    matches!(crate::lock::try_exclusive(&lock), Ok(None))
}

fn fact(pod: &StoredPod) -> DeadPod {
    let ends = pod.state.containers.iter();
    let ends = ends.filter_map(|container| match &container.state {
        ContainerState::Terminated(end) => Some(end.finished),
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => {
            container.last.as_ref().map(|end| end.finished)
        }
    });
    let changes = pod.state.transitions.values().map(|(_, at)| *at);
    DeadPod {
        uid: pod.record.uid().to_owned(),
        ended: ends.chain(changes).max().unwrap_or(pod.record.created),
        wanted: pod.record.is_wanted(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Origin, Phase, PodRecord, PodState, SourceKind, StopBy, StopRequest};
    use jiff::SignedDuration;
    use serde_json::json;

    fn pod(paths: &Paths, uid: &str, minutes_ago: i64, change: impl Fn(&mut StoredPod)) {
        let object = json!({"metadata": {"name": uid, "namespace": "default", "uid": uid},
            "spec": {"containers": [{"name": "c", "image": "x"}]}});
        let then = Timestamp::now() - SignedDuration::from_mins(minutes_ago);
        let record = PodRecord::new(serde_json::from_value(object).unwrap(), then);
        let mut state = PodState::new(&record, "boot");
        state.phase = Phase::Succeeded;
        let mut pod = StoredPod {
            record: record.into(),
            state,
        };
        change(&mut pod);
        fs_err::create_dir_all(paths.pod_logs("default", uid, uid)).unwrap();
        crate::paths::create_private(&paths.pod(uid)).unwrap();
        paths.save_record(&pod.record).unwrap();
        paths.save_state(uid, &pod.state).unwrap();
    }

    #[test]
    fn pods_that_are_over_are_forgotten_with_their_logs() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().join("lib"),
            run: dir.path().join("run"),
            logs: dir.path().join("log"),
        };
        paths.create().unwrap();
        let nothing = |_: &mut StoredPod| {};
        let from_file = |pod: &mut StoredPod, stop: Option<StopRequest>| {
            let record = std::sync::Arc::make_mut(&mut pod.record);
            record.stop = stop;
            record.origin = Origin {
                source: SourceKind::File,
                place: "/x".into(),
            };
        };
        pod(&paths, "old", 9, nothing);
        pod(&paths, "new", 5, nothing);
        pod(&paths, "runs", 30, |pod| {
            pod.state.phase = Phase::Running;
            std::sync::Arc::make_mut(&mut pod.record).detached = true;
        });
        pod(&paths, "wanted", 30, |pod| from_file(pod, None));
        let stop = StopRequest {
            grace_seconds: 1,
            by: StopBy::Removed,
        };
        pod(&paths, "unwanted", 20, |pod| from_file(pod, Some(stop)));
        // What a person stopped would be started again by its source, were it forgotten.
        let by_hand = StopRequest {
            by: StopBy::Command,
            ..stop
        };
        pod(&paths, "stopped", 20, |pod| from_file(pod, Some(by_hand)));
        pod(&paths, "owned", 40, nothing);
        crate::paths::create_private(&paths.pod_run("owned")).unwrap();
        let lock = crate::lock::try_exclusive(&paths.pod_run("owned").join("lock")).unwrap();
        let events = NodeEvents::open(&paths.root);
        let policy = DeadPolicy {
            min_ttl: SignedDuration::from_mins(1),
            kept: 1,
        };
        let forgotten = forget(&paths, &Registry::default(), &events, &policy).unwrap();
        drop(lock);
        assert_eq!(forgotten, 2);
        let mut left: Vec<_> = paths
            .load_all()
            .unwrap()
            .0
            .iter()
            .map(|pod| pod.record.uid().to_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["new", "owned", "runs", "stopped", "wanted"]);
        assert!(!paths.pod_logs("default", "old", "old").exists());
        assert!(paths.pod_logs("default", "new", "new").exists());
        assert_eq!(events.recent().unwrap().len(), 2);
    }
}
