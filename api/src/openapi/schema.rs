//! Types as JSON schemas, in the dialects of OpenAPI 2 and 3.
use crate::schema::{Descriptions, Field, Kind, ListKind, Schemas, Shape, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which OpenAPI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// The types that a shape names.
pub(super) fn named(shape: &Shape, found: &mut Vec<Arc<str>>) {
    match shape {
        Shape::Type(name) => found.push(Arc::clone(name)),
        Shape::List(inner) | Shape::Map(inner) => named(inner, found),
        _ => {}
    }
}

impl Dialect {
    /// Where the schemas of a document are.
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// The schemas of these types, and of the scalars they use.
    pub(super) fn schemas(
        self,
        types: &BTreeSet<Arc<str>>,
        schemas: &Schemas,
        prose: &Descriptions,
    ) -> Map<String, Value> {
        let found = types.iter().filter_map(|name| schemas.get(name));
        let mut all: Map<String, Value> = found
            .map(|of| (of.name.to_string(), self.of_type(of, prose)))
            .collect();
        all.insert(TIME.to_owned(), json!({"type": "string", "format": "date-time", "description": "A point in time: RFC 3339 with whole seconds."}));
        all.insert(MICRO_TIME.to_owned(), json!({"type": "string", "format": "date-time", "description": "A point in time: RFC 3339 with microseconds."}));
        let (quantity, int_or_string) = match self {
            Dialect::V2 => (
                json!({"type": "string"}),
                json!({"type": "string", "format": "int-or-string"}),
            ),
            Dialect::V3 => (
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
        };
        all.insert(
            QUANTITY.to_owned(),
            described(quantity, "A number with a unit: 500m, 64Mi, 1.5Gi."),
        );
        all.insert(
            INT_OR_STRING.to_owned(),
            described(int_or_string, "A whole number or text."),
        );
        all
    }

    fn of_type(self, of: &Type, prose: &Descriptions) -> Value {
        let (own, fields) = prose.of(&of.name).unwrap_or_default();
        let mut schema = json!({"type": "object"});
        if !own.is_empty() {
            schema["description"] = own.into();
        }
        let required: Vec<&str> = of
            .fields
            .iter()
            .filter(|f| f.required)
            .map(|f| &*f.name)
            .collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !of.fields.is_empty() {
            let each = of.fields.iter().map(|field| {
                let text = fields.get(&*field.name).map_or("", String::as_str);
                (field.name.to_string(), self.of_field(field, text))
            });
            schema["properties"] = Value::Object(each.collect());
        }
        if of.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if !of.kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = of.kinds.iter().map(kind).collect();
        }
        schema
    }

    fn of_field(self, field: &Field, text: &str) -> Value {
        let mut schema = self.of_shape(&field.shape);
        if schema.get("$ref").is_some() && self == Dialect::V3 {
            // Nothing may stand beside a reference in OpenAPI 3.0.
            schema = json!({"allOf": [schema]});
        }
        if let Some(default) = &field.default
            && let Ok(default) = serde_json::from_str(default)
        {
            schema["default"] = default;
        }
        extensions(field, &mut schema);
        described(schema, text)
    }

    fn of_shape(self, shape: &Shape) -> Value {
        match shape {
            Shape::String => json!({"type": "string"}),
            Shape::Integer(bits) => json!({"type": "integer", "format": format!("int{bits}")}),
            Shape::Number => json!({"type": "number", "format": "double"}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Time => self.reference(TIME),
            Shape::MicroTime => self.reference(MICRO_TIME),
            Shape::Quantity => self.reference(QUANTITY),
            Shape::IntOrString => self.reference(INT_OR_STRING),
            Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            Shape::Type(name) => self.reference(name),
            Shape::List(inner) => json!({"type": "array", "items": self.of_shape(inner)}),
            Shape::Map(inner) => {
                json!({"type": "object", "additionalProperties": self.of_shape(inner)})
            }
        }
    }
}

fn described(mut schema: Value, text: &str) -> Value {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
    schema
}

/// How lists of it are merged, for clients that make patches.
fn extensions(field: &Field, schema: &mut Value) {
    let merge = &field.merge;
    let list = matches!(field.shape, Shape::List(_));
    match &merge.list {
        ListKind::Default => {}
        ListKind::Atomic if list => schema["x-kubernetes-list-type"] = "atomic".into(),
        ListKind::Atomic => schema["x-kubernetes-map-type"] = "atomic".into(),
        ListKind::Granular => schema["x-kubernetes-map-type"] = "granular".into(),
        ListKind::Set => schema["x-kubernetes-list-type"] = "set".into(),
        ListKind::Map(keys) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] =
                keys.iter().map(|key| Value::from(&**key)).collect();
        }
    }
    let strategy = [
        (merge.patch_replace, "replace"),
        (merge.patch_set || merge.patch_key.is_some(), "merge"),
        (merge.retain_keys, "retainKeys"),
    ];
    let strategy: Vec<&str> = strategy
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| word)
        .collect();
    if !strategy.is_empty() {
        schema["x-kubernetes-patch-strategy"] = strategy.join(",").into();
    }
    if let Some(key) = &merge.patch_key {
        schema["x-kubernetes-patch-merge-key"] = (&**key).into();
    }
}

pub(super) fn kind(kind: &Kind) -> Value {
    json!({"group": &*kind.group, "kind": &*kind.kind, "version": &*kind.version})
}
