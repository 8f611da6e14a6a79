//! `metadata.managedFields`: who owns which fields, since when, and how they came to.
use super::fields::Fields;
use super::{Request, UNOWNED};
use serde_json::{Map, Value, json};

/// As many managers may have updated an object; the oldest are remembered as one.
const MOST_UPDATERS: usize = 10;
/// The name of those.
const ANCIENT: &str = "ancient-changes";
/// The name of whoever wrote an object of which nothing was kept.
const BEFORE: &str = "before-first-apply";

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owner {
    pub(super) operation: Operation,
    time: Option<String>,
    pub(super) manager: String,
    api_version: String,
    subresource: String,
    pub(super) fields: Fields,
}

impl Owner {
    fn new(operation: Operation, request: &Request<'_>) -> Owner {
        Owner {
            operation,
            time: Some(request.time.to_owned()),
            manager: request.manager.to_owned(),
            api_version: request.api_version.to_owned(),
            subresource: request.subresource.to_owned(),
            fields: Fields::default(),
        }
    }

    /// Whether the entry is the one that such a request writes. Appliers stay who they are in all versions.
    fn is(&self, operation: Operation, request: &Request<'_>) -> bool {
        self.operation == operation
            && self.manager == request.manager
            && self.subresource == request.subresource
            && (operation == Operation::Apply || self.api_version == request.api_version)
    }

    /// As messages about conflicts have it: `"m1"`, `"m2" using v1`.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        match self.operation {
            Operation::Apply => text,
            Operation::Update => format!("{text} using {}", self.api_version),
        }
    }

    fn read(entry: &Value) -> Option<Owner> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Owner {
            operation,
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            manager: text("manager").to_owned(),
            api_version: text("apiVersion").to_owned(),
            subresource: text("subresource").to_owned(),
            fields: Fields::read(entry.get("fieldsV1")?),
        })
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": if self.operation == Operation::Apply { "Apply" } else { "Update" },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.write(),
        });
        if let Some(time) = &self.time {
            entry["time"] = time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Owners(pub(super) Vec<Owner>);

impl Owners {
    /// Those that an object names.
    pub(super) fn of(object: &Value) -> Owners {
        let entries = object["metadata"]["managedFields"].as_array();
        Owners(
            entries
                .into_iter()
                .flatten()
                .filter_map(Owner::read)
                .collect(),
        )
    }

    /// The place in the list of the entry that such a request writes; it is made where there is none.
    pub(super) fn entry(&mut self, operation: Operation, request: &Request<'_>) -> usize {
        let found = self.0.iter().position(|owner| owner.is(operation, request));
        found.unwrap_or_else(|| {
            self.0.push(Owner::new(operation, request));
            self.0.len() - 1
        })
    }

    /// Someone for the fields of an object of which nothing was kept, so that an apply does not change them unnoticed.
    pub(super) fn add_before(&mut self, fields: Fields, request: &Request<'_>) {
        let mut owner = Owner::new(Operation::Update, request);
        owner.manager = BEFORE.to_owned();
        owner.subresource = String::new();
        owner.fields = fields;
        if !owner.fields.is_empty() {
            self.0.push(owner);
        }
    }

    /// Gives the entry new fields; its time moves on if they, or what is in them, changed.
    pub(super) fn set(&mut self, at: usize, fields: Fields, changed: bool, time: &str) {
        if let Some(owner) = self.0.get_mut(at) {
            if changed || owner.fields != fields {
                owner.time = Some(time.to_owned());
            }
            owner.fields = fields;
        }
    }

    /// Everybody's fields but those of the entry at `at`.
    pub(super) fn others(&mut self, at: usize) -> impl Iterator<Item = &mut Owner> {
        let all = self.0.iter_mut().enumerate();
        all.filter(move |(other, _)| *other != at)
            .map(|(_, owner)| owner)
    }

    /// Everybody's fields.
    pub(super) fn union(&self) -> Fields {
        let mut all = Fields::default();
        for owner in &self.0 {
            all.join(owner.fields.clone());
        }
        all
    }

    /// Writes them into an object: in Kubernetes' order, without those that own nothing.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0
            .retain(|owner| owner.operation == Operation::Apply || !owner.fields.is_empty());
        self.0.sort_by(|a, b| {
            let key = |owner: &Owner| (owner.operation, owner.time.clone(), owner.manager.clone());
            key(a).cmp(&key(b))
        });
        self.cap();
        let Some(map) = object.as_object_mut() else {
            return;
        };
        let meta = map
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(meta) = meta.as_object_mut() else {
            return;
        };
        if self.0.is_empty() {
            meta.remove("managedFields");
        } else {
            let entries = self.0.iter().map(Owner::write).collect();
            meta.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }

    /// The oldest updaters become one.
    fn cap(&mut self) {
        let updaters = self
            .0
            .iter()
            .filter(|o| o.operation == Operation::Update)
            .count();
        let mut surplus = (updaters + 1).saturating_sub(MOST_UPDATERS);
        if updaters <= MOST_UPDATERS {
            return;
        }
        let mut ancient: Option<Owner> = None;
        self.0.retain_mut(|owner| {
            let merge = owner.operation == Operation::Update && surplus > 0;
            if merge {
                surplus -= 1;
                let fields = std::mem::take(&mut owner.fields);
                let kept = ancient.get_or_insert_with(|| Owner {
                    manager: ANCIENT.to_owned(),
                    subresource: String::new(),
                    ..owner.clone()
                });
                kept.fields.join(fields);
                kept.time.clone_from(&owner.time);
            }
            !merge
        });
        let at = self
            .0
            .iter()
            .take_while(|o| o.operation == Operation::Apply)
            .count();
        self.0.splice(at..at, ancient);
    }
}

/// Takes out what nobody can own: what the server itself decides.
pub(super) fn strip(fields: &mut Fields, request: &Request<'_>) {
    for path in UNOWNED {
        fields.drop_below(path);
    }
    for field in request.reset {
        fields.drop_below(&[field]);
    }
}
