//! Which objects a list or a watch is about: namespace, name, labels, fields.
use crate::cache::{Cache, Object};
use crate::call::Call;
use crate::error::ApiError;
use crate::resource::Resource;
use rkube_api::labels::Selector;
use std::sync::Arc;

/// The longest field selector that is read.
const MAX_BYTES: usize = 64 << 10;

/// What an object must be like.
#[derive(Debug)]
pub struct Selection {
    resource: Arc<dyn Resource>,
    /// The resource's place among those that show the same objects.
    place: usize,
    shown_by: Vec<Arc<dyn Resource>>,
    /// What the keys begin with.
    range: String,
    labels: Selector,
    fields: Vec<Term>,
}

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// By its place in [`Resource::fields`].
    At(usize),
}

impl Selection {
    /// What a request asks for.
    ///
    /// # Errors
    /// 400 for a selector that is none, or asks for a field that cannot be asked for.
    pub fn of(cache: &Cache, resource: &Arc<dyn Resource>, call: &Call) -> Result<Self, ApiError> {
        let labels = call.parameter("labelSelector").unwrap_or("");
        let labels: Selector = labels
            .parse()
            .map_err(|err| ApiError::bad_request(format!("{err}")))?;
        let terms = terms(call.parameter("fieldSelector").unwrap_or(""))?;
        let mut fields = terms
            .into_iter()
            .map(|(name, equal, value)| {
                let field = field(resource.as_ref(), &name)?;
                Ok(Term {
                    field,
                    value,
                    equal,
                })
            })
            .collect::<Result<Vec<_>, ApiError>>()?;
        if !call.name.is_empty() {
            // Ancient watches of one object: /api/v1/watch/namespaces/x/pods/y.
            fields.push(Term {
                field: Field::Name,
                value: call.name.clone(),
                equal: true,
            });
        }
        let names = resource.names();
        let same = |other: &Arc<dyn Resource>| {
            other.names().group == names.group && other.names().plural == names.plural
        };
        Ok(Selection {
            place: cache.resources().iter().position(same).unwrap_or(0),
            shown_by: cache.resources().to_vec(),
            range: range(names.prefix, &call.namespace, &fields, names.namespaced),
            resource: resource.clone(),
            labels,
            fields,
        })
    }

    /// What the keys of all of them begin with.
    #[must_use]
    pub fn range(&self) -> &str {
        &self.range
    }

    /// Of which kind they are.
    #[must_use]
    pub fn resource(&self) -> &Arc<dyn Resource> {
        &self.resource
    }

    /// Whether labels or fields are asked for, so that how many match is not known without a look.
    #[must_use]
    pub fn picks(&self) -> bool {
        !(self.labels.is_empty() && self.fields.is_empty())
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        object.key.starts_with(&self.range)
            && self.fields.iter().all(|term| self.holds(term, object))
            && (self.labels.is_empty() || self.labels.matches(object.labels()))
    }

    fn holds(&self, term: &Term, object: &Object) -> bool {
        let value = match term.field {
            Field::Name => object.name(),
            Field::Namespace if self.resource.names().namespaced => object.namespace(),
            Field::Namespace => "",
            Field::At(index) => object
                .fields(&self.shown_by, self.place)
                .get(index)
                .map_or("", |value| value),
        };
        (value == term.value) == term.equal
    }
}

/// The narrowest range of keys. One name in one namespace is still a range, which other names may share: they are
/// told apart by the term.
fn range(prefix: &str, namespace: &str, fields: &[Term], namespaced: bool) -> String {
    let named = |field: Field| {
        let mut terms = fields.iter();
        terms.find(|term| term.field == field && term.equal && !term.value.contains('/'))
    };
    let mut range = format!("{prefix}/");
    if namespaced {
        let namespace = match namespace {
            "" => named(Field::Namespace).map_or("", |term| &term.value),
            given => given,
        };
        if namespace.is_empty() {
            return range;
        }
        range.push_str(namespace);
        range.push('/');
    }
    if let Some(term) = named(Field::Name) {
        range.push_str(&term.value);
    }
    range
}

fn field(resource: &dyn Resource, name: &str) -> Result<Field, ApiError> {
    match name {
        "metadata.name" => return Ok(Field::Name),
        "metadata.namespace" => return Ok(Field::Namespace),
        _ => {}
    }
    let index = resource.fields().iter().position(|field| *field == name);
    index
        .map(Field::At)
        .ok_or_else(|| ApiError::bad_request(format!("field label not supported: {name}")))
}

/// `a=b,c!=d`; a backslash keeps `,`, `=` and `\` in a value (k8s.io/apimachinery, pkg/fields).
fn terms(text: &str) -> Result<Vec<(String, bool, String)>, ApiError> {
    if text.len() > MAX_BYTES {
        let words = format!(
            "the field selector has {} bytes, at most {MAX_BYTES} are read",
            text.len()
        );
        return Err(ApiError::bad_request(words));
    }
    let mut terms = Vec::new();
    for part in split(text) {
        if part.is_empty() {
            continue;
        }
        let wrong =
            |what: &str| ApiError::bad_request(format!("invalid selector: '{text}'; {what}"));
        let at = part
            .find('=')
            .ok_or_else(|| wrong(&format!("can't understand '{part}'")))?;
        let (left, right) = part.split_at(at);
        let (name, equal) = match left.strip_suffix('!') {
            Some(name) => (name, false),
            None => (left, true),
        };
        let right = right.strip_prefix("==").unwrap_or(&right[1..]);
        let value = unescape(right)
            .ok_or_else(|| wrong(&format!("can't understand the value '{right}'")))?;
        terms.push((name.to_owned(), equal, value));
    }
    Ok(terms)
}

/// At commas without a backslash before them.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if char == ',' && !escaped {
            parts.push(&text[from..at]);
            from = at + 1;
        }
        escaped = char == '\\' && !escaped;
    }
    parts.push(&text[from..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => value.push(chars.next().filter(|next| "\\,=".contains(*next))?),
            ',' | '=' => return None,
            other => value.push(other),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, bool, &str)]) {
        let got = terms(text).unwrap();
        let got: Vec<_> = got
            .iter()
            .map(|(name, equal, value)| (name.as_str(), *equal, value.as_str()))
            .collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn field_selectors() {
        check("", &[]);
        check("a=b", &[("a", true, "b")]);
        check("a==b,c!=d,", &[("a", true, "b"), ("c", false, "d")]);
        check("a=", &[("a", true, "")]);
        check(r"a=b\,c\=d\\", &[("a", true, r"b,c=d\")]);
        check(
            "involvedObject.namespace=,involvedObject.uid=n1",
            &[
                ("involvedObject.namespace", true, ""),
                ("involvedObject.uid", true, "n1"),
            ],
        );
    }

    #[test]
    fn what_is_no_field_selector() {
        for text in ["a", "a=b,c", "a=b=c", r"a=\", r"a=\b", "a===b"] {
            let err = terms(text).unwrap_err();
            assert!(err.message.contains("can't understand"), "{text}: {err}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"[ab=!,\\]{0,20}") {
            let _ = terms(&text);
        }
    }
}
