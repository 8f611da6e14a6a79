//! What verbs open before they work: the store, the node, the pods, by the global settings.
use super::{Failure, Global, client};
use crate::counts::Counts;
use crate::events::NodeEvents;
use crate::housekeeping::limits::PodLimits;
use crate::images::Images;
use crate::network::Network;
use crate::paths::Paths;
use crate::plan::Backoff;
use crate::registry::Registry;
use crate::state::StoredPod;
use crate::worker::Node;
use rkube_images::store::Store;
use rkube_images::{Credentials, RegistryConfig};
use std::io;
use std::sync::Arc;

/// Everything that a worker needs of this host.
///
/// # Errors
/// One line that says what this host lacks.
pub fn node(global: &Global) -> Result<Node, Failure> {
    require_root()?;
    let paths = global.paths();
    paths.create().map_err(|err| Failure::of(&err))?;
    let cgroups = rkube_runtime::cgroup::Hierarchies::detect().map_err(|err| Failure::of(&err))?;
    Ok(Node {
        images: Arc::new(images(global)?),
        network: Network::new(&paths, global.bridge()),
        backoff: Backoff::default(),
        cgroups: Arc::new(cgroups),
        name: node_name(),
        registry: Registry::default(),
        events: NodeEvents::open(&paths.root),
        limits: PodLimits::default(),
        counts: Counts::default(),
        paths,
    })
}

/// The image store with its registries and logins.
///
/// # Errors
/// Names the file that cannot be used.
pub fn images(global: &Global) -> Result<Images, Failure> {
    require_root()?;
    let store = Store::open(&global.paths().images()).map_err(|err| Failure::of(&err))?;
    let registries = match &global.registries {
        Some(path) => RegistryConfig::load(path),
        None => RegistryConfig::load_default(),
    };
    let registries = registries.map_err(|err| Failure {
        code: 2,
        ..Failure::of(&err)
    })?;
    let credentials = Credentials::usual_places(&|name| std::env::var_os(name));
    Ok(Images::new(store, registries, credentials))
}

/// The host's name, in lower case, as pods are told it.
#[must_use]
pub fn node_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_lowercase()
}

/// Namespaces, mounts and cgroups are root's.
///
/// # Errors
/// For everybody else.
pub fn require_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::failed(
        "must run as root (it makes namespaces, mounts and cgroups); try `sudo rkubelet ...`",
    ))
}

/// The pod that the user means: `name`, `namespace/name`, or the beginning of a uid.
///
/// # Errors
/// When there is none, or more than one.
pub fn pod(paths: &Paths, wanted: &str) -> Result<StoredPod, Failure> {
    let (pods, broken) = paths.load_all().map_err(|err| Failure::of(&err))?;
    find(&pods, &broken, wanted)
}

/// The pod of these that the user means, by the same words.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(pods: &[StoredPod], broken: &[io::Error], wanted: &str) -> Result<StoredPod, Failure> {
    let wanted = wanted.strip_prefix("pod/").unwrap_or(wanted);
    let named = |pod: &StoredPod| pod.record.name() == wanted || pod.record.full_name() == wanted;
    let mut found: Vec<StoredPod> = pods.iter().filter(|pod| named(pod)).cloned().collect();
    if found.is_empty() && wanted.len() >= 4 {
        found = pods
            .iter()
            .filter(|pod| pod.record.uid().starts_with(wanted))
            .cloned()
            .collect();
    }
    let one = found.pop();
    match (one, found.is_empty()) {
        (Some(pod), true) => Ok(pod),
        (Some(pod), false) => {
            found.push(pod);
            let names: Vec<_> = found
                .iter()
                .map(|pod| format!("{} ({})", pod.record.full_name(), pod.record.uid()))
                .collect();
            Err(Failure::failed(format!(
                "\"{wanted}\" is more than one pod: {}; use namespace/name or the uid",
                names.join(", ")
            )))
        }
        (None, _) => {
            let known: Vec<_> = pods.iter().map(|pod| pod.record.full_name()).collect();
            let known = if known.is_empty() {
                "there are none".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            let damaged = broken
                .first()
                .map(|err| format!("; one cannot be read: {err}"))
                .unwrap_or_default();
            Err(Failure::failed(format!(
                "no pod \"{wanted}\" on this host; {known}{damaged}"
            )))
        }
    }
}

/// The pods that the user means, each once: those named, or all.
///
/// # Errors
/// When one of them is not there, or is more than one pod.
pub fn pods(paths: &Paths, wanted: &[String], all: bool) -> Result<Vec<StoredPod>, Failure> {
    let (pods, broken) = paths.load_all().map_err(|err| Failure::of(&err))?;
    choose(pods, &broken, wanted, all)
}

/// The same for those who only look: as the daemon knows them, where one runs.
///
/// # Errors
/// When one of them is not there, or is more than one pod.
pub async fn known(
    global: &Global,
    wanted: &[String],
    all: bool,
) -> Result<Vec<StoredPod>, Failure> {
    let (pods, broken) = client::all(global).await?;
    choose(pods, &broken, wanted, all)
}

fn choose(
    pods: Vec<StoredPod>,
    broken: &[io::Error],
    wanted: &[String],
    all: bool,
) -> Result<Vec<StoredPod>, Failure> {
    if all {
        return Ok(pods);
    }
    let mut chosen: Vec<StoredPod> = Vec::new();
    for wanted in wanted {
        let found = find(&pods, broken, wanted)?;
        if chosen
            .iter()
            .all(|other| other.record.uid() != found.record.uid())
        {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PodRecord;
    use serde_json::json;

    fn write(paths: &Paths, namespace: &str, name: &str, uid: &str) {
        let pod = json!({"metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": {"containers": []}});
        let pod = serde_json::from_value(pod).unwrap();
        let record = PodRecord::new(pod, jiff::Timestamp::UNIX_EPOCH);
        crate::paths::create_private(&paths.pod(uid)).unwrap();
        paths.save_record(&record).unwrap();
    }

    #[test]
    fn pods_are_found_by_name_and_by_uid() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().join("lib"),
            run: dir.path().join("run"),
            logs: dir.path().join("log"),
        };
        let found = |wanted: &str| {
            let pod = pod(&paths, wanted);
            pod.map(|pod| pod.record.uid().to_owned())
                .map_err(|err| err.message)
        };
        assert!(found("web").unwrap_err().contains("there are none"));
        write(&paths, "default", "web", "11112222");
        write(&paths, "other", "web", "11113333");
        write(&paths, "default", "db", "44445555");
        assert_eq!(found("db").unwrap(), "44445555");
        assert_eq!(found("pod/db").unwrap(), "44445555");
        assert_eq!(found("other/web").unwrap(), "11113333");
        assert_eq!(found("4444").unwrap(), "44445555");
        assert!(found("web").unwrap_err().contains("more than one"));
        assert!(found("1111").unwrap_err().contains("more than one"));
        assert!(found("444").is_err());
        let twice = pods(&paths, &["db".into(), "default/db".into()], false).unwrap();
        assert_eq!(twice.len(), 1);
        assert_eq!(pods(&paths, &[], true).unwrap().len(), 3);
    }
}
