//! One YAML document that is not a manifest (a configuration file): read with the care that manifests are read with.
//!
//! Every unknown field, wrong type and duplicate key is found in one go, each with its line.
use serde::de::DeserializeOwned;

use crate::decode::{Decoded, MisfitKind, decode};
use crate::node::{Node, Value};
use crate::yaml::{self, ParseYamlError};

/// A document and what it says.
#[derive(Debug)]
pub struct Document<T> {
    /// The value; `None` when the document as a whole is of a wrong type.
    pub value: Option<T>,
    /// What did not fit, in the order of the text.
    pub mistakes: Vec<DocumentMistake>,
    node: Option<Node>,
}

/// Something in a document that does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DocumentMistake {
    /// The line, from 1.
    pub line: Option<u64>,
    /// The field, for example `authentication.x509`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// Whether the type has no such field.
    pub unknown: bool,
}

impl<T> Document<T> {
    /// The line on which the field at `path` is set, if the document sets it.
    #[must_use]
    pub fn line_of(&self, path: &str) -> Option<u64> {
        let node = self.node.as_ref()?;
        let place = node.place_of(path);
        (place.line > 0).then_some(place.line)
    }
}

/// Reads a text with one document. A text without any is a document that sets nothing.
///
/// # Errors
/// When the text is not YAML, or holds several documents.
pub fn read<T: DeserializeOwned + Default>(text: &str) -> Result<Document<T>, ParseYamlError> {
    let mut documents = yaml::documents(text)?;
    documents.retain(|node| node.value != Value::Null);
    if let Some(second) = documents.get(1) {
        return Err(ParseYamlError {
            line: Some(second.place.line),
            column: None,
            problem: "a second document; there is to be one".to_owned(),
        });
    }
    let Some(node) = documents.pop() else {
        return Ok(Document {
            value: Some(T::default()),
            mistakes: Vec::new(),
            node: None,
        });
    };
    let Decoded { value, misfits } = decode::<T>(&node, "");
    let mistakes = misfits
        .into_iter()
        .map(|misfit| DocumentMistake {
            line: (misfit.place.line > 0).then_some(misfit.place.line),
            path: misfit.path,
            problem: misfit.problem,
            unknown: matches!(misfit.kind, MisfitKind::Unknown { .. }),
        })
        .collect();
    Ok(Document {
        value,
        mistakes,
        node: Some(node),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Example {
        port: u16,
        name: String,
    }

    #[test]
    fn every_mistake_is_found_with_its_line() {
        let read = read::<Example>("# a comment\nport: 70000\nnaem: x\nname: 3\n").unwrap();
        let shown: Vec<_> = read
            .mistakes
            .iter()
            .map(|mistake| (mistake.line, mistake.path.as_str(), mistake.unknown))
            .collect();
        assert_eq!(
            shown,
            [
                (Some(2), "port", false),
                (Some(3), "naem", true),
                (Some(4), "name", false)
            ]
        );
        assert_eq!(read.line_of("name"), Some(4));
    }

    #[test]
    fn one_document_or_none() {
        assert_eq!(read::<Example>("").unwrap().value, Some(Example::default()));
        assert_eq!(
            read::<Example>("---\nport: 5\n")
                .unwrap()
                .value
                .unwrap()
                .port,
            5
        );
        let err = read::<Example>("port: 1\n---\nport: 2\n").unwrap_err();
        assert_eq!(err.line, Some(3));
        assert!(read::<Example>("port: [").is_err());
        assert!(read::<Example>("[1]").unwrap().value.is_none());
    }
}
