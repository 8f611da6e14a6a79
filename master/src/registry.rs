//! The one way to the objects: what every kind has in common, done once.
//!
//! ```text
//!   body -> identity -> default -> prepare -> plugins -> default -> admit -> validate -> compare-and-swap
//! ```
//! What a kind has of its own is in its [`Resource`]. An object is worked with as JSON, in the version of the resource that
//! was asked for; it is stored as [`stored`] says. The rules are those of Kubernetes' generic registry
//! (k8s.io/apiserver, `pkg/registry/rest` and `pkg/registry/generic`), as clients see them.
mod answer;
mod change;
mod collection;
mod create;
mod delete;
mod leases;
pub mod meta_rules;
mod options;
mod ownership;
mod patch;
mod projected;
mod read;
pub(crate) mod stored;
mod target;
#[cfg(test)]
mod tests;
mod turns;
mod update;

pub use answer::{Answer, Body, Content};
pub(crate) use create::letters;
pub use patch::{Patch, PatchKind};

use crate::admission::Plugin;
use crate::call::Call;
use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::Arc;

/// The time, as metadata has it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// All objects of a cluster.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    resources: Vec<Arc<dyn Resource>>,
    /// By their plural; several groups and versions may have it.
    names: HashMap<&'static str, Vec<Arc<dyn Resource>>>,
    plugins: Vec<Arc<dyn Plugin>>,
    turns: turns::Turns,
    leases: leases::Leases,
    /// Whether a garbage collector runs.
    collects: bool,
}

impl Registry {
    /// These resources in this store, every write seen by these plugins.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        resources: Vec<Arc<dyn Resource>>,
        plugins: Vec<Arc<dyn Plugin>>,
    ) -> Self {
        let mut names = HashMap::<_, Vec<_>>::new();
        for resource in &resources {
            let alike = names.entry(resource.names().plural).or_default();
            alike.push(resource.clone());
        }
        Registry {
            store,
            names,
            resources,
            plugins,
            turns: turns::Turns::default(),
            leases: leases::Leases::default(),
            collects: false,
        }
    }
    /// With a garbage collector beside it: deletions then leave the finalizers `orphan` and `foregroundDeletion` for it to
    /// act on and take away. Without one they would stay for ever.
    #[must_use]
    pub fn with_collector(mut self) -> Self {
        self.collects = true;
        self
    }
    /// Where it all is.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    /// All it serves.
    #[must_use]
    pub fn resources(&self) -> &[Arc<dyn Resource>] {
        &self.resources
    }
    /// What it serves under these names.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<dyn Resource>> {
        let same = |resource: &&Arc<dyn Resource>| {
            let names = resource.names();
            [names.group, names.version] == [group, version]
        };
        self.names.get(plural)?.iter().find(same)
    }
    /// What a call is about.
    ///
    /// # Errors
    /// 404 if nothing of that name is served.
    pub fn resource_of(&self, call: &Call) -> Result<&Arc<dyn Resource>, ApiError> {
        self.resource(&call.group, &call.version, &call.resource)
            .ok_or_else(ApiError::no_resource)
    }
}
