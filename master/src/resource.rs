//! What the registry must know of a kind of object: its names, its defaults and rules, its columns. One file each.
mod bindings;
mod cells;
mod checks;
pub(crate) mod componentstatuses;
mod configmaps;
mod endpoints;
mod endpointslices;
mod events;
mod leases;
mod limitranges;
pub(crate) mod namespaces;
mod nodes;
pub mod pods;
mod podtemplates;
mod replicationcontrollers;
mod resourcequotas;
mod scale;
mod secrets;
pub(crate) mod serviceaccounts;
mod services;
mod settings;

pub use settings::Settings;

use crate::error::ApiError;
use async_trait::async_trait;
use rkube_api::validate::FieldError;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;

/// What a kind of object is called, and where it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// As in paths: `pods`.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `po`.
    pub short: &'static [&'static str],
    /// Such as `all`.
    pub categories: &'static [&'static str],
    /// Whether each object is in a namespace.
    pub namespaced: bool,
    /// Where it is in the store, without a slash at the end: `/registry/pods`. Two resources may show the same objects.
    pub prefix: &'static str,
    /// The type in the schema: `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
}

impl Names {
    /// Of a kind of the core that lives in namespaces and has nothing special about its names.
    const fn core(plural: &'static str, singular: &'static str, kind: &'static str) -> Names {
        Names {
            group: "",
            version: "v1",
            plural,
            singular,
            kind,
            short: &[],
            categories: &[],
            namespaced: true,
            prefix: "",
            schema: "",
        }
    }
}

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself: everything but its status.
    Main,
    /// Its status.
    Status,
    /// Another subresource that writes the object, by its name: `ephemeralcontainers`, `finalize`, `resize`.
    Other(&'static str),
}

/// A column of a table (meta.k8s.io/v1 `TableColumnDefinition`).
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the column of names.
    pub format: &'static str,
    /// What it says.
    pub description: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
}

/// A subresource that discovery names.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    /// `status`, `binding`.
    pub name: &'static str,
    /// Group and version of its own kind, where it is another: `("policy", "v1")`.
    pub group_version: Option<(&'static str, &'static str)>,
    /// Its kind.
    pub kind: &'static str,
    /// `get`, `create`, `update`, `patch`.
    pub verbs: &'static [&'static str],
    /// Whether its body is of another kind than the object: [`Resource::show_sub`] and [`Resource::write_sub`].
    pub projected: bool,
}

impl Subresource {
    /// `status`, with the verbs it has everywhere.
    const fn status(kind: &'static str) -> Self {
        Self::part("status", kind)
    }
    /// A part of the object that is written by itself.
    const fn part(name: &'static str, kind: &'static str) -> Self {
        Subresource {
            name,
            group_version: None,
            kind,
            verbs: &["get", "patch", "update"],
            projected: false,
        }
    }
}

/// What answers a write to a subresource whose body is of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The subresource as [`Resource::show_sub`] makes it of the new object.
    Shown,
    /// A `Status` that says `Success`, with this code.
    Success(u16),
}

/// All that the generic registry asks of a kind. Everything is pure but for `admit`.
///
/// The order of a write: decode -> `default` -> `prepare_*` -> `admit` -> `validate` -> store.
#[async_trait]
pub trait Resource: Debug + Send + Sync + 'static {
    /// Its names.
    fn names(&self) -> &Names;
    /// What can be done with it.
    fn verbs(&self) -> &'static [&'static str] {
        &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
    }
    /// Its subresources.
    fn subresources(&self) -> &'static [Subresource] {
        &[]
    }
    /// Fills what a client may leave out.
    fn default(&self, _object: &mut Value) {}
    /// Before an object is made: drops what clients do not decide.
    fn prepare_create(&self, object: &mut Value) {
        if let (Some(map), true) = (object.as_object_mut(), self.has_status()) {
            map.remove("status");
        }
    }
    /// Before an object is changed: brings back what this part does not change. The registry itself has done so for
    /// metadata that nobody may change, for the status on `Main` and for all but the status on `Status`.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _part: Part) {}
    /// Whether status is a part of its own.
    fn has_status(&self) -> bool {
        self.subresources().iter().any(|sub| sub.name == "status")
    }
    /// Whether a change of it counts in `metadata.generation`.
    fn generation(&self, new: &Value, old: &Value) -> bool {
        new.get("spec") != old.get("spec")
    }
    /// What is wrong with it; `old` is what it was, for rules about changes. The registry checks the metadata itself.
    fn validate(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<FieldError>;
    /// What a client should be told that is no error.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// What field selectors may ask for besides `metadata.name` and `metadata.namespace`.
    fn fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// The value of such a field, as text.
    fn field(&self, _object: &Value, _field: &str) -> String {
        String::new()
    }
    /// The columns of its table.
    fn columns(&self) -> &'static [Column];
    /// A row of it; `now` is the time in seconds since 1970.
    fn row(&self, object: &Value, now: i64) -> Vec<Value>;
    /// The grace with which a deletion begins, in seconds, if it has one (pods); `asked` is what the client wants.
    fn grace(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// Whether a PUT to a missing object makes it.
    fn create_on_update(&self) -> bool {
        false
    }
    /// Whether a PUT without a resourceVersion overwrites.
    fn unconditional_update(&self) -> bool {
        true
    }
    /// How long an object lives by itself (events), in seconds.
    fn ttl(&self) -> Option<u64> {
        None
    }
    /// What happens to dependants when a deletion says nothing: `Orphan` for those of old, else `Background`.
    fn orphans_by_default(&self) -> bool {
        false
    }
    /// Whether a deletion answers with the object, and not with a Status.
    fn returns_deleted(&self) -> bool {
        false
    }
    /// As the store keeps it -> as this version shows it (events.k8s.io shows the core's events), and back.
    fn show(&self, _object: &mut Value) {}
    /// See [`Resource::show`]; none where nothing is to be hidden.
    fn hide(&self, _object: &Value) -> Option<Value> {
        None
    }
    /// How long a name may be and what it may have in it, in Kubernetes' words; none if it is good.
    fn name_problem(&self, name: &str) -> Option<String> {
        rkube_api::names::Form::Subdomain.kubernetes(name)
    }
    /// What a `projected` subresource shows of the object: its `Scale`.
    ///
    /// # Errors
    /// There is nothing to show of it.
    fn show_sub(&self, _sub: &str, _object: &Value) -> Result<Value, ApiError> {
        Err(ApiError::no_resource())
    }
    /// What a body for a `projected` subresource does to the object; done again when the object has changed meanwhile.
    ///
    /// # Errors
    /// The body makes no sense for it.
    fn write_sub(
        &self,
        _sub: &str,
        _object: &mut Value,
        _body: &Value,
    ) -> Result<Answered, ApiError> {
        Err(ApiError::no_resource())
    }
    /// Why an object that is to be deleted stays although it has no finalizers in its metadata (namespaces).
    fn holds(&self, _object: &Value) -> bool {
        false
    }
    /// The object has just got its `deletionTimestamp`.
    fn terminating(&self, _object: &mut Value) {}
    /// Rules that need more than the object: allocations, other objects.
    async fn admit(
        &self,
        _admission: &mut crate::admission::Admission<'_>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Every kind there is, for a cluster with the usual settings.
#[must_use]
pub fn all() -> Vec<Arc<dyn Resource>> {
    with(&Settings::default())
}

/// Every kind there is.
#[must_use]
pub fn with(settings: &Settings) -> Vec<Arc<dyn Resource>> {
    vec![
        Arc::new(bindings::Bindings),
        Arc::new(componentstatuses::ComponentStatuses),
        Arc::new(configmaps::ConfigMaps),
        Arc::new(endpoints::Endpoints),
        Arc::new(events::Events::core(settings.event_ttl)),
        Arc::new(limitranges::LimitRanges),
        Arc::new(namespaces::Namespaces),
        Arc::new(nodes::Nodes),
        Arc::new(pods::Pods),
        Arc::new(podtemplates::PodTemplates),
        Arc::new(replicationcontrollers::ReplicationControllers),
        Arc::new(resourcequotas::ResourceQuotas),
        Arc::new(secrets::Secrets),
        Arc::new(serviceaccounts::ServiceAccounts),
        Arc::new(services::Services::new(settings)),
        Arc::new(leases::Leases),
        Arc::new(endpointslices::EndpointSlices),
        Arc::new(events::Events::new(settings.event_ttl)),
    ]
}
