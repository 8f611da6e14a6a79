//! What verbs open before they work: the store, the node, the pods, by the global settings.
use super::{Failure, Global};
use crate::images::Images;
use crate::network::Network;
use crate::paths::Paths;
use crate::plan::Backoff;
use crate::state::StoredPod;
use crate::worker::Node;
use rkube_images::store::Store;
use rkube_images::{Credentials, RegistryConfig};
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
        "rkubelet must run as root (it makes namespaces, mounts and cgroups); try `sudo rkubelet ...`",
    ))
}

/// The pod that the user means: `name`, `namespace/name`, or the beginning of a uid.
///
/// # Errors
/// When there is none, or more than one.
pub fn pod(paths: &Paths, wanted: &str) -> Result<StoredPod, Failure> {
    let (pods, broken) = paths.load_all().map_err(|err| Failure::of(&err))?;
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
