//! The objects of 2014 as a table, and the one way they are read: leniently.
//!
//! Go's decoder of that time dropped what it did not know and what had a wrong type; it wrote structs always and most other
//! members only when they were set. [`read`] makes any JSON the object that such a server would have had in hand, in the
//! shape it would have shown. Aliases (`key`, `path`) are filled in both ways.
use serde_json::{Map, Value};

/// A version of 2014's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// With the aliases of old.
    V1beta1,
    /// Without them.
    V1beta2,
}

impl Version {
    /// As in paths and `apiVersion`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V1beta1 => "v1beta1",
            Version::V1beta2 => "v1beta2",
        }
    }
    /// From such a word; the case never mattered.
    #[must_use]
    pub fn parse(word: &str) -> Option<Version> {
        [Version::V1beta1, Version::V1beta2]
            .into_iter()
            .find(|version| version.as_str().eq_ignore_ascii_case(word))
    }
}

/// A kind that 2014's API had as a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Some containers on one host.
    Pod,
    /// So many pods.
    ReplicationController,
    /// An address for pods.
    Service,
    /// Where a service is.
    Endpoints,
    /// A node.
    Minion,
    /// Something happened.
    Event,
    /// This pod goes to that host.
    Binding,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Pod,
        Kind::ReplicationController,
        Kind::Service,
        Kind::Endpoints,
        Kind::Minion,
        Kind::Event,
        Kind::Binding,
    ];
    /// The kind of a resource by its word in paths.
    #[must_use]
    pub fn of_resource(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.resource() == word)
    }
    /// Its name: `Pod`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.words().0
    }
    /// As in paths.
    #[must_use]
    pub fn resource(self) -> &'static str {
        self.words().1
    }
    /// As in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.words().2
    }
    /// The plural of the `v1` kind it is kept as.
    #[must_use]
    pub fn v1_plural(self) -> &'static str {
        self.words().3
    }
    /// The `v1` kind it is kept as.
    #[must_use]
    pub fn v1_kind(self) -> &'static str {
        match self {
            Kind::Minion => "Node",
            other => other.name(),
        }
    }
    /// Whether its objects are in namespaces.
    #[must_use]
    pub fn namespaced(self) -> bool {
        self != Kind::Minion
    }
    fn words(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Kind::Pod => ("Pod", "pods", "pod", "pods"),
            Kind::ReplicationController => (
                "ReplicationController",
                "replicationControllers",
                "replicationController",
                "replicationcontrollers",
            ),
            Kind::Service => ("Service", "services", "service", "services"),
            Kind::Endpoints => ("Endpoints", "endpoints", "endpoints", "endpoints"),
            Kind::Minion => ("Minion", "minions", "minion", "nodes"),
            Kind::Event => ("Event", "events", "event", "events"),
            Kind::Binding => ("Binding", "bindings", "binding", "bindings"),
        }
    }
    fn fields(self) -> &'static [Field] {
        match self {
            Kind::Pod => POD,
            Kind::ReplicationController => CONTROLLER,
            Kind::Service => SERVICE,
            Kind::Endpoints => ENDPOINTS,
            Kind::Minion => MINION,
            Kind::Event => EVENT,
            Kind::Binding => BINDING,
        }
    }
}

/// What a member may be.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Text,
    Int,
    Bool,
    Port,
    Time,
    Texts,
    /// Text by text.
    Labels,
    /// Amounts by text.
    Amounts,
    /// A struct: there even when nothing is set.
    Struct(&'static [Field]),
    /// A pointer to a struct: there when it was given.
    Pointer(&'static [Field]),
    List(&'static [Field]),
    /// Structs by text.
    Named(&'static [Field]),
}

/// Which members are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Always,
    Set,
}

type Field = (&'static str, Shape, Write);

use Shape::{Amounts, Bool, Int, Labels, List, Named, Pointer, Port, Struct, Text, Texts, Time};
use Write::{Always, Set};

macro_rules! object {
    ($($field:expr),* $(,)?) => {
        &[
            ("kind", Text, Set),
            ("id", Text, Set),
            ("uid", Text, Set),
            ("creationTimestamp", Time, Always),
            ("selfLink", Text, Set),
            ("resourceVersion", Int, Set),
            ("apiVersion", Text, Set),
            ("namespace", Text, Set),
            ("annotations", Labels, Set),
            $($field),*
        ]
    };
}

const POD: &[Field] = object![
    ("labels", Labels, Set),
    ("desiredState", Struct(STATE), Always),
    ("currentState", Struct(STATE), Always),
    ("nodeSelector", Labels, Set),
];
const STATE: &[Field] = &[
    ("manifest", Struct(MANIFEST), Always),
    ("status", Text, Set),
    ("message", Text, Set),
    ("host", Text, Set),
    ("hostIP", Text, Set),
    ("podIP", Text, Set),
    ("info", Named(CONTAINER_STATUS), Set),
];
const CONTAINER_STATUS: &[Field] = &[
    ("state", Struct(CONTAINER_STATE), Always),
    ("restartCount", Int, Always),
    ("podIP", Text, Set),
    ("image", Text, Always),
];
const CONTAINER_STATE: &[Field] = &[
    ("waiting", Pointer(&[("reason", Text, Set)]), Set),
    ("running", Pointer(&[("startedAt", Time, Set)]), Set),
    ("termination", Pointer(TERMINATION), Set),
];
const TERMINATION: &[Field] = &[
    ("exitCode", Int, Always),
    ("signal", Int, Set),
    ("reason", Text, Set),
    ("message", Text, Set),
    ("startedAt", Time, Set),
    ("finishedAt", Time, Set),
];
const MANIFEST: &[Field] = &[
    ("version", Text, Always),
    ("id", Text, Always),
    ("uuid", Text, Set),
    ("volumes", List(VOLUME), Always),
    ("containers", List(CONTAINER), Always),
    ("restartPolicy", Struct(RESTART), Always),
];
const RESTART: &[Field] = &[
    ("always", Pointer(&[]), Set),
    ("onFailure", Pointer(&[]), Set),
    ("never", Pointer(&[]), Set),
];
const VOLUME: &[Field] = &[("name", Text, Always), ("source", Pointer(SOURCE), Always)];
const SOURCE: &[Field] = &[
    ("hostDir", Pointer(&[("path", Text, Always)]), Always),
    ("emptyDir", Pointer(&[]), Always),
    ("persistentDisk", Pointer(DISK), Always),
    ("gitRepo", Pointer(REPO), Always),
];
const DISK: &[Field] = &[
    ("pdName", Text, Always),
    ("fsType", Text, Set),
    ("partition", Int, Set),
    ("readOnly", Bool, Set),
];
const REPO: &[Field] = &[("repository", Text, Always), ("revision", Text, Always)];
const CONTAINER: &[Field] = &[
    ("name", Text, Always),
    ("image", Text, Always),
    ("command", Texts, Set),
    ("workingDir", Text, Set),
    ("ports", List(PORT), Set),
    ("env", List(ENV), Set),
    ("memory", Int, Set),
    ("cpu", Int, Set),
    ("volumeMounts", List(MOUNT), Set),
    ("livenessProbe", Pointer(PROBE), Set),
    ("lifecycle", Pointer(LIFECYCLE), Set),
    ("terminationMessagePath", Text, Set),
    ("privileged", Bool, Set),
    ("imagePullPolicy", Text, Always),
];
const PORT: &[Field] = &[
    ("name", Text, Set),
    ("hostPort", Int, Set),
    ("containerPort", Int, Always),
    ("protocol", Text, Set),
    ("hostIP", Text, Set),
];
const ENV: &[Field] = &[
    ("name", Text, Always),
    ("key", Text, Set),
    ("value", Text, Set),
];
const MOUNT: &[Field] = &[
    ("name", Text, Always),
    ("readOnly", Bool, Set),
    ("mountPath", Text, Set),
    ("path", Text, Set),
];
const PROBE: &[Field] = &[
    ("httpGet", Pointer(HTTP), Set),
    ("tcpSocket", Pointer(&[("port", Port, Set)]), Set),
    ("exec", Pointer(EXEC), Set),
    ("initialDelaySeconds", Int, Set),
];
const HTTP: &[Field] = &[
    ("path", Text, Set),
    ("port", Port, Always),
    ("host", Text, Set),
];
const EXEC: &[Field] = &[("command", Texts, Set)];
const LIFECYCLE: &[Field] = &[
    ("postStart", Pointer(HANDLER), Set),
    ("preStop", Pointer(HANDLER), Set),
];
const HANDLER: &[Field] = &[
    ("exec", Pointer(EXEC), Set),
    ("httpGet", Pointer(HTTP), Set),
];

const CONTROLLER: &[Field] = object![
    ("desiredState", Struct(CONTROLLER_STATE), Always),
    ("currentState", Struct(CONTROLLER_STATE), Always),
    ("labels", Labels, Set),
];
const CONTROLLER_STATE: &[Field] = &[
    ("replicas", Int, Always),
    ("replicaSelector", Labels, Set),
    ("podTemplate", Struct(TEMPLATE), Always),
];
const TEMPLATE: &[Field] = &[
    ("desiredState", Struct(STATE), Always),
    ("labels", Labels, Set),
];
const SERVICE: &[Field] = object![
    ("port", Int, Always),
    ("protocol", Text, Set),
    ("labels", Labels, Set),
    ("selector", Labels, Set),
    ("createExternalLoadBalancer", Bool, Set),
    ("publicIPs", Texts, Set),
    ("containerPort", Port, Always),
    ("portalIP", Text, Set),
    ("proxyPort", Int, Set),
];
const ENDPOINTS: &[Field] = object![("endpoints", Texts, Set)];
const MINION: &[Field] = object![
    ("hostIP", Text, Set),
    ("resources", Struct(&[("capacity", Amounts, Set)]), Always),
    ("labels", Labels, Set),
];
const EVENT: &[Field] = object![
    ("involvedObject", Struct(REFERENCE), Always),
    ("status", Text, Set),
    ("reason", Text, Set),
    ("message", Text, Set),
    ("source", Text, Set),
    ("timestamp", Time, Always),
];
const REFERENCE: &[Field] = &[
    ("kind", Text, Set),
    ("namespace", Text, Set),
    ("name", Text, Set),
    ("uid", Text, Set),
    ("apiVersion", Text, Set),
    ("resourceVersion", Text, Set),
    ("fieldPath", Text, Set),
];
const BINDING: &[Field] = object![("podID", Text, Always), ("host", Text, Always)];

/// The object of this kind that a server of 2014 made of such JSON, in the fullest shape (that of `v1beta1`).
#[must_use]
pub fn read(kind: Kind, version: Version, given: &Value) -> Value {
    structure(kind.fields(), version, given)
}

/// The object as this version shows it: `v1beta2` has no aliases.
pub fn show(version: Version, object: &mut Value) {
    if version == Version::V1beta1 {
        return;
    }
    match object {
        Value::Object(map) => {
            for (list, alias) in [("env", "key"), ("volumeMounts", "path")] {
                let items = map.get_mut(list).and_then(Value::as_array_mut);
                for item in items.into_iter().flatten() {
                    item.as_object_mut().map(|item| item.remove(alias));
                }
            }
            map.values_mut().for_each(|value| show(version, value));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| show(version, item)),
        _ => {}
    }
}

fn structure(fields: &[Field], version: Version, given: &Value) -> Value {
    let mut map = Map::new();
    for (name, shape, write) in fields {
        let alias = matches!((*name, version), ("key", Version::V1beta2))
            || (*name == "path" && version == Version::V1beta2 && std::ptr::eq(fields, MOUNT));
        let given = if alias { None } else { given.get(name) };
        let value = value(*shape, version, given.unwrap_or(&Value::Null));
        if *write == Always || !is_zero(&value, *shape) {
            map.insert((*name).to_owned(), value);
        }
    }
    if std::ptr::eq(fields, ENV) {
        same(&mut map, "name", "key");
    } else if std::ptr::eq(fields, MOUNT) {
        same(&mut map, "mountPath", "path");
    }
    Value::Object(map)
}

/// Both members say the same: what the first says, or the second where the first says nothing.
fn same(map: &mut Map<String, Value>, name: &str, alias: &str) {
    let said = |name: &str| {
        let text = map.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(text) = said(name).or_else(|| said(alias)) {
        map.insert(name.to_owned(), text.clone().into());
        map.insert(alias.to_owned(), text.into());
    }
}

fn is_zero(value: &Value, shape: Shape) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && !matches!(shape, Pointer(_)),
    }
}

fn value(shape: Shape, version: Version, given: &Value) -> Value {
    match shape {
        Text => text(given).unwrap_or_default().into(),
        Int => integer(given).unwrap_or_default().into(),
        Bool => given.as_bool().unwrap_or_default().into(),
        Port => amount(given).unwrap_or_else(|| 0.into()),
        Time => given.as_str().filter(|text| !text.is_empty()).into(),
        Texts => match given.as_array() {
            Some(items) => items.iter().filter_map(text).collect(),
            None => Value::Null,
        },
        Labels => pairs(given, |value| text(value).map(Value::String)),
        Amounts => pairs(given, amount),
        Struct(fields) => structure(fields, version, given),
        Pointer(fields) => match given {
            Value::Object(_) => structure(fields, version, given),
            _ => Value::Null,
        },
        List(fields) => match given.as_array() {
            Some(items) => {
                let items = items.iter().filter(|item| item.is_object());
                items.map(|item| structure(fields, version, item)).collect()
            }
            None => Value::Null,
        },
        Named(fields) => pairs(given, |item| {
            item.is_object().then(|| structure(fields, version, item))
        }),
    }
}

fn pairs(given: &Value, read: impl Fn(&Value) -> Option<Value>) -> Value {
    let Some(map) = given.as_object() else {
        return Value::Null;
    };
    let pairs = map
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), read(value)?)));
    Value::Object(pairs.collect())
}

/// YAML's plain scalars were taken as the text they are.
fn text(given: &Value) -> Option<String> {
    match given {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn integer(given: &Value) -> Option<i64> {
    given.as_i64().or_else(|| {
        let float = given.as_f64()?;
        // Beyond this a float no longer counts by ones.
        let whole = float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0;
        whole.then(|| format!("{float:.0}").parse().ok()).flatten()
    })
}

/// A number, or a text.
fn amount(given: &Value) -> Option<Value> {
    match given {
        Value::String(_) => Some(given.clone()),
        _ => integer(given).map(Value::from),
    }
}

#[cfg(test)]
mod tests;
