//! Server-side apply: every manager says what it wants, the object remembers who said what.
//!
//! A field that two managers want different values of is a conflict, unless force is used; a field that its only
//! manager no longer wants goes (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>). Other writes are tracked too, so that
//! an apply does not undo them unnoticed.
mod fields;
mod owners;
mod typed;

use crate::schema::{Schemas, Type};
use fields::Fields;
use owners::{Operation, Owners};
use serde_json::{Map, Value};
use typed::Typed;

/// What the server decides and nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
];

/// The longest name of a manager (`fieldManager`).
const MOST_NAME: usize = 128;

/// The annotation with the object as `kubectl apply` sent it last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The query parameter `fieldManager`, or what stands before the slash of the user agent.
    pub manager: &'a str,
    /// `status`, or nothing.
    pub subresource: &'a str,
    /// Of the object as it was sent: `v1`, `apps/v1`.
    pub api_version: &'a str,
    /// Now, as objects have it.
    pub time: &'a str,
    /// Takes fields over from others.
    pub force: bool,
    /// Fields at the top that this kind of request neither changes nor owns: `status` on the object itself.
    pub reset: &'a [&'a str],
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `conflict with "m1"`, or `conflict with "m2" using v1`: the cause's message.
    pub message: String,
    /// `.data.a`: the cause's field.
    pub field: String,
}

/// An apply that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Others own fields that it would change: 409, with a cause `FieldManagerConflict` for each.
    #[error("{}", describe(.0))]
    Conflicts(Vec<Conflict>),
    /// The configuration makes no sense: 400.
    #[error("{0}")]
    Malformed(String),
}

/// What is wrong with the name of a manager (422 on `fieldManager`), if anything.
#[must_use]
pub fn manager_problem(name: &str) -> Option<String> {
    if name.chars().count() > MOST_NAME {
        return Some(format!("may not be more than {MOST_NAME} bytes"));
    }
    let unprintable = name.chars().any(char::is_control);
    unprintable.then(|| "should only contain printable characters".to_owned())
}

/// The object as `config` wants it to be; `live` is what it is, if it is. Both fit their type already.
///
/// What comes out has new `metadata.managedFields`. Where nothing changes it equals `live`.
///
/// # Errors
/// Conflicts, or a configuration that says something twice.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    of: &Type,
    schemas: &Schemas,
    request: &Request<'_>,
) -> Result<Value, ApplyError> {
    if config["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
    {
        return Err(ApplyError::Malformed(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let typed = Typed::root(of, schemas);
    let empty = Value::Object(Map::new());
    let was = live.unwrap_or(&empty);
    let mut config = config.clone();
    without(&mut config, request.reset);
    let mut owners = Owners::of(was);
    if live.is_some() && owners.0.is_empty() {
        owners.add_before(owned(typed, was, request), request);
    }

    let mut wanted = owned(typed, &config, request);
    if let Some(meta) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    let mut merged = was.clone();
    typed
        .merge(&mut merged, &config)
        .map_err(ApplyError::Malformed)?;
    let at = owners.entry(Operation::Apply, request);
    let last = owners
        .0
        .get(at)
        .map(|owner| owner.fields.clone())
        .unwrap_or_default();
    let before = owners.0.get(at).cloned();
    if let Some(owner) = owners.0.get_mut(at) {
        owner.fields = std::mem::take(&mut wanted);
    }
    typed.prune(&mut merged, &last, &owners.union());

    let mut difference = typed.compare(was, &merged);
    strip_difference(&mut difference, request);
    let force = request.force || {
        // What the client's own apply has set, it may take over by the server's.
        let applied = applied_by_client(was).map(|config| owned(typed, &config, request));
        applied.is_some_and(|applied| only_in(&mut owners, at, &difference, &applied))
    };
    settle(&mut owners, at, &difference, force)?;
    let new = owners
        .0
        .get(at)
        .map(|owner| owner.fields.clone())
        .unwrap_or_default();
    let changed = !difference.changed.is_empty() || !difference.removed.is_empty();
    if let (Some(owner), Some(before)) = (owners.0.get_mut(at), before) {
        *owner = before;
    }
    owners.set(at, new, changed, request.time);
    owners.write(&mut merged);
    Ok(merged)
}

/// What `kubectl apply` without `--server-side` has noted of the object it sent.
fn applied_by_client(live: &Value) -> Option<Value> {
    let annotations = live.get("metadata")?.get("annotations")?;
    let text = annotations.get(LAST_APPLIED)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// Whether others own nothing of what changed but fields in `applied`.
fn only_in(
    owners: &mut Owners,
    at: usize,
    difference: &typed::Difference,
    applied: &Fields,
) -> bool {
    let mut outside = difference.changed.clone();
    outside.subtract(applied);
    owners
        .others(at)
        .all(|owner| owner.fields.shared(&outside).is_empty())
}

/// Takes what changed from others, or says who they are.
fn settle(
    owners: &mut Owners,
    at: usize,
    difference: &typed::Difference,
    force: bool,
) -> Result<(), ApplyError> {
    let mut conflicts = Vec::new();
    for owner in owners.others(at) {
        for field in owner.fields.shared(&difference.changed) {
            let message = format!("conflict with {}", owner.describe());
            conflicts.push(Conflict { message, field });
        }
    }
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    for owner in owners.others(at) {
        owner.fields.subtract(&difference.changed);
        owner.fields.subtract(&difference.removed);
    }
    Ok(())
}

/// Notes in `new` who made the difference to `old`: for every write that is no apply. To be called last, when the
/// object is as it will be stored.
///
/// A client may set `managedFields` by such a write; one empty entry forgets them all.
pub fn track(
    old: Option<&Value>,
    new: &mut Value,
    of: &Type,
    schemas: &Schemas,
    request: &Request<'_>,
) {
    let typed = Typed::root(of, schemas).with_emptying();
    let empty = Value::Object(Map::new());
    let was = old.unwrap_or(&empty);
    let given = new["metadata"]["managedFields"].as_array();
    let reset = given.is_some_and(|all| all.iter().eq([&Value::Object(Map::new())]));
    let mut owners = match Owners::of(new) {
        _ if reset && request.subresource.is_empty() => Owners::default(),
        given if request.subresource.is_empty() && !given.0.is_empty() => given,
        _ => Owners::of(was),
    };
    if old.is_some() && reset {
        owners.write(new);
        return;
    }
    let mut difference = typed.compare(was, new);
    strip_difference(&mut difference, request);
    let unchanged = difference.changed.is_empty() && difference.removed.is_empty();
    if !unchanged {
        let at = owners.entry(Operation::Update, request);
        for owner in owners.others(at) {
            owner.fields.subtract(&difference.changed);
            owner.fields.subtract(&difference.removed);
        }
        let mut mine = owners
            .0
            .get(at)
            .map(|owner| owner.fields.clone())
            .unwrap_or_default();
        mine.subtract(&difference.removed);
        let changed = !difference.changed.is_empty();
        mine.join(difference.changed);
        owners.set(at, mine, changed, request.time);
    }
    owners.write(new);
}

/// All that can be owned of an object.
fn owned(typed: Typed<'_>, object: &Value, request: &Request<'_>) -> Fields {
    let mut fields = typed.all(object);
    owners::strip(&mut fields, request);
    fields
}

fn strip_difference(difference: &mut typed::Difference, request: &Request<'_>) {
    owners::strip(&mut difference.changed, request);
    owners::strip(&mut difference.removed, request);
}

fn without(object: &mut Value, fields: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        fields.iter().for_each(|field| {
            map.remove(*field);
        });
    }
}

/// In the words of Kubernetes' API server.
fn describe(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            one.message, one.field
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut last = None;
    let mut sorted: Vec<&Conflict> = conflicts.iter().collect();
    sorted.sort_by(|a, b| a.message.cmp(&b.message));
    for conflict in sorted {
        if last != Some(&conflict.message) {
            let again = if last.is_some() { "\n" } else { "" };
            text += &format!(
                "{again}{}:",
                conflict.message.replacen("conflict", "conflicts", 1)
            );
            last = Some(&conflict.message);
        }
        text += &format!("\n- {}", conflict.field);
    }
    text
}

#[cfg(test)]
mod tests;
