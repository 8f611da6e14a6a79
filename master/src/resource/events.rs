//! `events`: what happened to an object. One stored object, shown as the core's `Event` and as that of events.k8s.io.
use super::cells::{at, number, since, text, wide};
use super::{Column, Names, Part, Resource};
use crate::table::column;
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `events` in one of the two groups.
#[derive(Debug)]
pub(super) struct Events {
    names: Names,
    ttl: u64,
}

const CORE: Names = Names {
    short: &["ev"],
    prefix: "/registry/events",
    schema: "io.k8s.api.core.v1.Event",
    ..Names::core("events", "event", "Event")
};

/// What the core calls it, what events.k8s.io calls it.
const WORDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

const CORE_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const NEW_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

impl Events {
    /// In the core; they live for so many seconds.
    pub(super) fn core(ttl: u64) -> Self {
        Events { names: CORE, ttl }
    }
    /// In events.k8s.io.
    pub(super) fn new(ttl: u64) -> Self {
        let names = Names {
            group: "events.k8s.io",
            schema: "io.k8s.api.events.v1.Event",
            ..CORE
        };
        Events { names, ttl }
    }
    fn is_core(&self) -> bool {
        self.names.group.is_empty()
    }
}

/// Gives an event the words of the other group.
fn translate(
    event: &mut Value,
    version: &str,
    words: impl Iterator<Item = (&'static str, &'static str)>,
) {
    let Some(map) = event.as_object_mut() else {
        return;
    };
    if map.get("apiVersion").and_then(Value::as_str) == Some(version) {
        return;
    }
    map.insert("apiVersion".to_owned(), version.into());
    for (from, to) in words {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

fn as_core(event: &mut Value) {
    translate(event, "v1", WORDS.iter().map(|(core, new)| (*new, *core)));
}

impl Resource for Events {
    fn names(&self) -> &Names {
        &self.names
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut event = object.clone();
        as_core(&mut event);
        let mut errors = Vec::new();
        let about = if self.is_core() {
            "involvedObject"
        } else {
            "regarding"
        };
        let (home, of) = (
            crate::meta::namespace(&event),
            at(&event, "/involvedObject/namespace"),
        );
        if of.is_empty() && !matches!(home, "default" | "kube-system") {
            // What is in no namespace has its events in `default`.
            let path = format!("{about}.namespace");
            errors.push(FieldError::invalid(
                path,
                of,
                "does not match event.namespace",
            ));
        } else if !of.is_empty() && of != home {
            let path = format!("{about}.namespace");
            errors.push(FieldError::invalid(
                path,
                of,
                "does not match event.namespace",
            ));
        }
        let dated = event.get("eventTime").is_some_and(|time| !time.is_null());
        if !self.is_core() && old.is_none() && !dated {
            errors.push(FieldError::required("eventTime", ""));
        }
        if dated && old.is_none() {
            full(&event, &mut errors);
        }
        errors
    }
    fn fields(&self) -> &'static [&'static str] {
        if self.is_core() {
            CORE_FIELDS
        } else {
            NEW_FIELDS
        }
    }
    fn field(&self, object: &Value, field: &str) -> String {
        let pointer = match field {
            "source" => {
                let component = at(object, "/source/component");
                let other = at(object, "/reportingComponent");
                return [component, other][usize::from(component.is_empty())].to_owned();
            }
            field => format!("/{}", field.replace('.', "/")),
        };
        at(object, &pointer).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                text("Last Seen", "When it happened last."),
                text("Type", "Normal or Warning."),
                text("Reason", "Why, in a word for programs."),
                text("Object", "What it happened to."),
                wide(text("Subobject", "Which part of the object.")),
                wide(text("Source", "Who says so.")),
                text("Message", "What happened, in words for people."),
                wide(text("First Seen", "When it happened first.")),
                wide(column("Count", "integer", "How often it happened.")),
                wide(Column {
                    format: "name",
                    ..text("Name", "The name of the event.")
                }),
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let mut event = object.clone();
        as_core(&mut event);
        row(&event, now)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn ttl(&self) -> Option<u64> {
        Some(self.ttl)
    }
    fn show(&self, object: &mut Value) {
        if self.is_core() {
            as_core(object);
        } else {
            translate(object, "events.k8s.io/v1", WORDS.iter().copied());
        }
    }
    fn hide(&self, object: &Value) -> Option<Value> {
        let mut object = object.clone();
        as_core(&mut object);
        Some(object)
    }
}

/// What an event with a time of its own must have.
fn full(event: &Value, errors: &mut Vec<FieldError>) {
    let required = [
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ];
    for (field, path) in required {
        if at(event, &format!("/{field}")).is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
    let kind = at(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", kind, "has invalid value"));
    }
    if at(event, "/message").len() > 1024 {
        errors.push(FieldError::too_long("note", 1024));
    }
}

/// The cells of a core event.
fn row(event: &Value, now: i64) -> Vec<Value> {
    let first_of = |pointers: &[&str]| {
        let times = pointers.iter().map(|pointer| at(event, pointer));
        { times }
            .find(|time| !time.is_empty())
            .unwrap_or("")
            .to_owned()
    };
    let last = first_of(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]);
    let first = first_of(&["/firstTimestamp", "/eventTime"]);
    let count = match (number(event, "/series/count"), number(event, "/count")) {
        (0, 0) => 1,
        (0, count) | (count, _) => count,
    };
    let source = |component: &str, host: &str| match (at(event, component), at(event, host)) {
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    let mut who = source("/source/component", "/source/host");
    if who.is_empty() {
        who = source("/reportingComponent", "/reportingInstance");
    }
    let kind = at(event, "/involvedObject/kind").to_lowercase();
    let name = at(event, "/involvedObject/name");
    vec![
        since(&last, now).into(),
        at(event, "/type").into(),
        at(event, "/reason").into(),
        format!("{kind}/{name}").into(),
        at(event, "/involvedObject/fieldPath").into(),
        who.into(),
        at(event, "/message").trim().into(),
        since(&first, now).into(),
        count.into(),
        crate::meta::name(event).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn core() -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "Started", "type": "Normal",
            "message": "started\n", "count": 3, "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z"})
    }

    #[test]
    fn one_object_two_faces() {
        let (old, new) = (Events::core(1), Events::new(1));
        let mut event = core();
        new.show(&mut event);
        assert_eq!(event["apiVersion"], "events.k8s.io/v1");
        assert_eq!(event["note"], "started\n");
        assert_eq!(event["deprecatedCount"], 3);
        assert_eq!(new.field(&event, "regarding.name"), "p");
        assert_eq!(
            new.row(&event, 1_767_225_670),
            old.row(&core(), 1_767_225_670)
        );
        assert_eq!(new.hide(&event), Some(core()));
    }

    #[test]
    fn rows() {
        let row = Events::core(1).row(&core(), 1_767_225_670);
        let want = json!([
            "10s",
            "Normal",
            "Started",
            "pod/p",
            "",
            "kubelet, n1",
            "started",
            "70s",
            3,
            "p.1"
        ]);
        assert_eq!(json!(row), want);
    }

    #[test]
    fn validation() {
        let said = |event: &Value, resource: &Events| {
            let found = resource.validate(event, None, Part::Main);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(said(&core(), &Events::core(1)).is_empty());
        let mut elsewhere = core();
        elsewhere["involvedObject"]["namespace"] = "other".into();
        let want =
            "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace";
        assert_eq!(said(&elsewhere, &Events::core(1)), [want]);
        let mut new = core();
        new["eventTime"] = "2026-01-01T00:00:00.000000Z".into();
        assert_eq!(said(&new, &Events::core(1)).len(), 3);
    }
}
