//! The text of a manifest -> pods, ConfigMaps and Secrets, ready to be used.
//!
//! One text may hold several YAML documents, lists, and objects of both generations. Each object is decoded, converted to
//! `v1` if need be, given its defaults and validated; all mistakes of all documents are reported at once, with their
//! lines. Either everything in a text is good or nothing of it is used.

mod problem;
mod reading;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

pub use problem::{ManifestError, Mistake};

use crate::yaml;

/// What the objects of one text are.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// Pods, with defaults, in the order of the text. At least a name and a namespace are set; `status` is not.
    pub pods: Vec<Pod>,
    /// ConfigMaps, in the order of the text.
    pub config_maps: Vec<ConfigMap>,
    /// Secrets, in the order of the text; `stringData` has been moved into `data`.
    pub secrets: Vec<Secret>,
    /// What was ignored, each a line for people.
    pub warnings: Vec<String>,
}

/// What an unknown field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// A mistake: nothing of the manifest is used.
    #[default]
    Strict,
    /// A warning.
    Lenient,
}

/// Reads a manifest. `origin` is where the text came from (a file name, a URL), for messages.
///
/// # Errors
/// Text that is not YAML or JSON, or not a manifest; every mistake in it, with its path and line.
pub fn parse(text: &str, origin: &str, strictness: Strictness) -> Result<Manifest, ManifestError> {
    let documents = yaml::documents(text).map_err(|source| ManifestError::Syntax {
        origin: origin.to_owned(),
        source,
    })?;
    let mut reading = reading::Reading::new(documents.len(), strictness);
    for (index, node) in documents.iter().enumerate() {
        reading.document(index + 1, node);
    }
    reading.finish(origin)
}

/// Reads a manifest that may not be text at all.
///
/// # Errors
/// As [`parse`], and bytes that are not UTF-8.
pub fn parse_bytes(
    bytes: &[u8],
    origin: &str,
    strictness: Strictness,
) -> Result<Manifest, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|source| ManifestError::NotText {
        origin: origin.to_owned(),
        line: bytes[..source.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1,
        source,
    })?;
    parse(text, origin, strictness)
}

#[cfg(test)]
mod tests;
