//! What can be wrong with a manifest, as lines for people.

use std::fmt;

use crate::node::Place;
use crate::yaml::ParseYamlError;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are not text.
    #[error("{origin}: line {line}: not UTF-8 text; a manifest is YAML or JSON")]
    NotText {
        /// Where the bytes came from.
        origin: String,
        /// The line with the first byte that is not text.
        line: usize,
        /// Where exactly.
        source: std::str::Utf8Error,
    },
    /// The text is neither YAML nor JSON, or is beyond a limit.
    #[error("{origin}: {}cannot be read as YAML or JSON", at(source.line, source.column))]
    Syntax {
        /// Where the text came from.
        origin: String,
        /// What is wrong with it.
        source: ParseYamlError,
    },
    /// There is nothing in the text.
    #[error("{origin}: no object in it; write a Pod, for example")]
    Empty {
        /// Where the text came from.
        origin: String,
    },
    /// The objects in the text have mistakes. One line each.
    #[error("{}", lines(origin, mistakes, *more))]
    Invalid {
        /// Where the text came from.
        origin: String,
        /// The mistakes, in the order of the text.
        mistakes: Vec<Mistake>,
        /// How many there are beyond those.
        more: usize,
    },
}

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The YAML document, from 1; `None` if the text has only one.
    pub document: Option<usize>,
    /// The line in the text, from 1.
    pub line: Option<u64>,
    /// The column in the text, from 1.
    pub column: Option<u64>,
    /// The object, for example `Pod web`.
    pub object: String,
    /// The field, for example `spec.containers[0].image`; empty for the object as a whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Mistake {
    pub(super) fn set_place(&mut self, place: Place) {
        self.line = (place.line > 0).then_some(place.line);
        self.column = (place.column > 0).then_some(place.column);
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.document, self.line) {
            (Some(document), Some(line)) => write!(out, "document {document}, line {line}: ")?,
            (Some(document), None) => write!(out, "document {document}: ")?,
            (None, Some(line)) => write!(out, "line {line}: ")?,
            (None, None) => {}
        }
        for part in [&self.object, &self.path] {
            if !part.is_empty() {
                write!(out, "{part}: ")?;
            }
        }
        out.write_str(&self.problem)
    }
}

fn at(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        (None, _) => String::new(),
    }
}

fn lines(origin: &str, mistakes: &[Mistake], more: usize) -> String {
    let lines = mistakes
        .iter()
        .map(|mistake| format!("{origin}: {mistake}"));
    let more = (more > 0).then(|| format!("{origin}: and {more} more mistakes"));
    let lines: Vec<_> = lines.chain(more).collect();
    lines.join("\n")
}
