//! What a deletion does to an object, as a pure function (k8s.io/apiserver, `rest.BeforeDelete` and the generic store's
//! rules for finalizers).
use super::options::{DeleteOptions, Propagation};
use crate::meta;
use crate::registry::meta_rules::{count_generation, finalizers, set_finalizers, time};
use crate::resource::Resource;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing: it is on its way.
    Wait,
    /// It becomes this, and goes later.
    Mark(Value),
    /// It goes, having been this.
    Remove(Value),
}

/// What a deletion does to the object now. The finalizers of a garbage collector are only put in where one `collects`,
/// and so takes them away again.
pub(super) fn plan(
    resource: &dyn Resource,
    options: &DeleteOptions,
    old: &Value,
    now: Timestamp,
    collects: bool,
) -> Step {
    let mut object = old.clone();
    if collects {
        let wanted = wanted_finalizers(resource, options, old);
        set_finalizers(&mut object, &wanted);
    }
    if meta::of(old).contains_key("deletionTimestamp") {
        shorten(resource, options, &mut object);
    } else {
        let grace = resource.grace(old, options.grace).unwrap_or(0).max(0);
        let waits = grace > 0 || !finalizers(&object).is_empty() || resource.holds(&object);
        set_end(&mut object, after(now, grace), grace);
        if waits {
            count_generation(&mut object);
            resource.terminating(&mut object);
        }
    }
    if grace_left(&object) == 0 && finalizers(&object).is_empty() && !resource.holds(&object) {
        Step::Remove(object)
    } else if object == *old {
        Step::Wait
    } else {
        Step::Mark(object)
    }
}

/// An object that is being deleted may only go sooner.
fn shorten(resource: &dyn Resource, options: &DeleteOptions, object: &mut Value) {
    let left = grace_left(object);
    let Some(asked) = options.grace.filter(|&asked| asked < left) else {
        return;
    };
    // Kinds that know no grace have none left to shorten.
    let grace = resource
        .grace(object, Some(asked))
        .unwrap_or(0)
        .clamp(0, asked);
    let end = meta::text(object, "deletionTimestamp").parse::<Timestamp>();
    let Ok(end) = end else { return };
    set_end(object, after(end, grace.saturating_sub(left)), grace);
}

fn set_end(object: &mut Value, at: Timestamp, grace: i64) {
    let metadata = meta::of_mut(object);
    metadata.insert("deletionTimestamp".into(), time(at).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
}

fn grace_left(object: &Value) -> i64 {
    let grace = meta::of(object).get("deletionGracePeriodSeconds");
    grace.and_then(Value::as_i64).unwrap_or(0)
}

/// So many seconds later, or as late as there is a time.
fn after(start: Timestamp, seconds: i64) -> Timestamp {
    start
        .saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(start)
}

/// The finalizers with those that tell the garbage collector what to do with dependants.
fn wanted_finalizers<'o>(
    resource: &dyn Resource,
    options: &DeleteOptions,
    object: &'o Value,
) -> Vec<&'o str> {
    let had = finalizers(object);
    let before = |name: &str| had.contains(&name);
    let wanted = options.propagation.unwrap_or_else(|| {
        if before(ORPHAN) {
            Propagation::Orphan
        } else if before(FOREGROUND) {
            Propagation::Foreground
        } else if resource.orphans_by_default() {
            Propagation::Orphan
        } else {
            Propagation::Background
        }
    });
    let others = had.iter().copied();
    let mut list: Vec<&str> = others
        .filter(|name| ![ORPHAN, FOREGROUND].contains(name))
        .collect();
    match wanted {
        Propagation::Orphan => list.push(ORPHAN),
        Propagation::Foreground => list.push(FOREGROUND),
        Propagation::Background => {}
    }
    list
}
