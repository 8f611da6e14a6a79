//! The pods of this host as a person should see them: who looks after each, and what is true of it now.
use super::output::Output;
use super::{Failure, Global, client};
use crate::control::{Client, Request};
use crate::network::Network;
use crate::paths::Paths;
use crate::pods::Refusal;
use crate::state::{ContainerState, Phase, PodRecord, PodState, Role, StoredPod, Termination};
use crate::update::Update;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::net::IpAddr;
use std::time::Duration;

/// The annotation by which a manifest names the container that people mean.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// How long a new owner may take to say how its pod is.
const STATE_WAIT: Duration = Duration::from_secs(2);

/// Who looks after a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nobody needs to: it is over.
    Over,
    /// A process does: the agent, or a foreground command.
    Owned,
    /// Nobody does, and it runs on under its supervisor.
    Unattended,
    /// Nobody does, and nothing of it runs: its command was killed, or the host restarted.
    Lost,
}

/// A pod with what is true of it now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The record, and the state with what was found out.
    pub pod: StoredPod,
    /// Who looks after it.
    pub care: Care,
}

impl Seen {
    /// Finds out who looks after the pod.
    #[must_use]
    pub fn look(paths: &Paths, mut pod: StoredPod) -> Self {
        let owned = pod.state.phase.ended() || crate::control::is_owned(paths, pod.record.uid());
        if !owned && let Ok(now) = paths.load(pod.record.uid()) {
            // Its owner may have let go of it since it was read, because it is over.
            pod = now;
        }
        let uid = pod.record.uid();
        let care = if pod.state.phase.ended() {
            Care::Over
        } else if owned {
            Care::Owned
        } else if crate::sandbox::alive(&paths.pod_run(uid)) {
            Care::Unattended
        } else {
            Care::Lost
        };
        if care == Care::Lost && !pod.record.is_lasting() {
            lose(&mut pod.state, Timestamp::now());
        }
        Seen { pod, care }
    }

    /// A pod that a source wants and that is not let in: it has no record, and its status says why.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        let meta = ObjectMeta {
            name: Some(refusal.name.clone()),
            namespace: Some(refusal.namespace.clone()),
            ..ObjectMeta::default()
        };
        let pod = Pod {
            metadata: meta,
            ..Pod::default()
        };
        let mut record = PodRecord::new(pod, Timestamp::now());
        record.origin.source = refusal.source;
        record.origin.place.clone_from(&refusal.place);
        let mut state = PodState::new(&record, "");
        state.reason = "Refused".to_owned();
        state.message.clone_from(&refusal.message);
        Seen {
            pod: StoredPod {
                record: record.into(),
                state,
            },
            care: Care::Over,
        }
    }

    /// Whether nobody looks after it although the agent should.
    #[must_use]
    pub fn needs_agent(&self) -> bool {
        self.pod.record.detached && matches!(self.care, Care::Unattended | Care::Lost)
    }

    /// The pod as the API has it.
    #[must_use]
    pub fn api(&self, host_ip: Option<IpAddr>) -> Pod {
        crate::status::pod_with_status(&self.pod.record, &self.pod.state, host_ip)
    }

    /// The word in the STATUS column.
    #[must_use]
    pub fn word(&self) -> String {
        let word = crate::status::summary(&self.pod.state);
        match self.care {
            Care::Unattended => format!("{word} (unattended)"),
            Care::Over | Care::Owned | Care::Lost => word,
        }
    }
}

/// Writes into the state that nothing of the pod runs any more.
fn lose(state: &mut PodState, now: Timestamp) {
    state.phase = Phase::Failed;
    state.reason = "Lost".to_owned();
    state.message = "the command that looked after the pod is gone, and the pod with it".to_owned();
    state.pod_ip = None;
    state.supervisor = None;
    for container in &mut state.containers {
        container.ready = false;
        if let ContainerState::Running { started, .. } = container.state {
            container.state = ContainerState::Terminated(Termination {
                exit_code: 137,
                signal: 9,
                reason: "ContainerStatusUnknown".to_owned(),
                message: String::new(),
                started,
                finished: now,
            });
        }
    }
}

/// All pods of this host, oldest first. Those that the agent should look after and does not make it start.
///
/// # Errors
/// When the pods' folder cannot be read.
pub async fn all(global: &Global, output: Output) -> Result<Vec<Seen>, Failure> {
    let paths = global.paths();
    let (pods, broken) = client::all(global).await?;
    for err in broken {
        output.warn(&format!(
            "a pod's record cannot be read: {err}; `rkubelet rm -f` with its uid removes what is left of it"
        ));
    }
    let mut seen: Vec<Seen> = pods
        .into_iter()
        .map(|pod| Seen::look(&paths, pod))
        .collect();
    attend(global, &mut seen, output).await;
    Ok(seen)
}

/// Wakes the agent if one of the pods needs it, and takes up what it finds.
pub async fn attend(global: &Global, pods: &mut [Seen], output: Output) {
    if !pods.iter().any(Seen::needs_agent) {
        return;
    }
    let paths = global.paths();
    if let Err(err) = crate::agent::wake(&paths, &global.arguments()).await {
        return output.warn(&crate::error::chain(&err));
    }
    for seen in pods.iter_mut().filter(|seen| seen.needs_agent()) {
        let uid = seen.pod.record.uid().to_owned();
        let _ = tokio::time::timeout(STATE_WAIT, first_state(&paths, &uid)).await;
        if let Ok(pod) = paths.load(&uid) {
            *seen = Seen::look(&paths, pod);
        }
    }
}

/// Waits until the pod's owner has told of its state once: then the file is of this owner.
async fn first_state(paths: &Paths, uid: &str) {
    let Ok(Some(mut client)) = Client::send(paths, uid, &Request::Watch).await else {
        return;
    };
    while let Ok(Some(update)) = client.next().await {
        if matches!(update, Update::State(_)) {
            return;
        }
    }
}

/// The address by which others know this host.
#[must_use]
pub fn host_ip(global: &Global) -> Option<IpAddr> {
    Network::new(&global.paths(), global.bridge()).host_ip()
}

/// The container that the user means: the named one, the only one, the one the manifest's annotation names, or the
/// first of the main ones, which is said.
///
/// # Errors
/// When the pod has no container of that name.
pub fn container<'a>(
    record: &'a PodRecord,
    wanted: Option<&str>,
    output: Output,
) -> Result<&'a Container, Failure> {
    let all: Vec<(Role, &Container)> = record.containers().collect();
    let names = || {
        let names: Vec<_> = all.iter().map(|(_, one)| one.name.as_str()).collect();
        names.join(", ")
    };
    let find = |name: &str| all.iter().map(|(_, one)| *one).find(|one| one.name == name);
    if let Some(name) = wanted {
        return find(name).ok_or_else(|| {
            let pod = record.full_name();
            Failure::failed(format!(
                "pod {pod} has no container \"{name}\"; it has {}",
                names()
            ))
        });
    }
    let annotations = record.pod.metadata.annotations.as_ref();
    let named = annotations
        .and_then(|map| map.get(DEFAULT_CONTAINER))
        .and_then(|name| find(name));
    let mut mains = all.iter().filter(|(role, _)| *role == Role::Main);
    let first = mains.next().map(|(_, one)| *one);
    match (named, first) {
        (Some(one), _) => Ok(one),
        (None, Some(one)) => {
            if all.len() > 1 {
                output.say(&format!(
                    "container {} (of {}); choose with -c",
                    one.name,
                    names()
                ));
            }
            Ok(one)
        }
        (None, None) => Err(Failure::failed(format!(
            "pod {} has no containers",
            record.full_name()
        ))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use serde_json::json;

    /// A record with these containers; `annotations` as JSON.
    pub(crate) fn record(spec: &serde_json::Value, annotations: &serde_json::Value) -> PodRecord {
        let pod = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u-1",
            "annotations": annotations}, "spec": spec});
        PodRecord {
            detached: true,
            ..PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH)
        }
    }

    const SILENT: Output = Output {
        colour_out: false,
        colour_err: false,
        quiet: true,
    };

    #[track_caller]
    fn check(
        spec: &serde_json::Value,
        annotations: &serde_json::Value,
        wanted: Option<&str>,
        expected: Option<&str>,
    ) {
        let record = record(spec, annotations);
        let found = container(&record, wanted, SILENT).map(|one| one.name.clone());
        assert_eq!(found.ok().as_deref(), expected);
    }

    #[test]
    fn the_container_that_is_meant() {
        let spec = json!({"initContainers": [{"name": "init"}],
            "containers": [{"name": "a"}, {"name": "b"}]});
        let none = json!({});
        check(&spec, &none, None, Some("a"));
        check(&spec, &none, Some("b"), Some("b"));
        check(&spec, &none, Some("init"), Some("init"));
        check(&spec, &none, Some("c"), None);
        let annotated = json!({DEFAULT_CONTAINER: "b"});
        check(&spec, &annotated, None, Some("b"));
        check(&spec, &annotated, Some("a"), Some("a"));
        check(&spec, &json!({DEFAULT_CONTAINER: "gone"}), None, Some("a"));
        check(&json!({"containers": []}), &none, None, None);
    }

    #[test]
    fn a_lost_pod_has_nothing_that_runs() {
        let record = record(&json!({"containers": [{"name": "a"}]}), &json!({}));
        let mut state = PodState::new(&record, "boot");
        state.containers[0].state = ContainerState::Running {
            pid: 4,
            started: Timestamp::UNIX_EPOCH,
        };
        lose(&mut state, Timestamp::UNIX_EPOCH);
        assert_eq!(crate::status::summary(&state), "Lost");
        assert_eq!(state.containers[0].last_end().unwrap().exit_code, 137);
        let seen = Seen {
            pod: StoredPod {
                record: record.into(),
                state,
            },
            care: Care::Lost,
        };
        assert!(seen.needs_agent());
        assert_eq!(seen.word(), "Lost");
    }
}
