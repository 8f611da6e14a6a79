//! The one place that knows which YAML library is used and how it is set up.
//!
//! Reading is YAML with the leniency of Go's reader, which manifests were written for: `0644` is octal, `yes` and `on`
//! are booleans, JSON is YAML. Duplicate keys pass here and are reported by the caller, with both lines.
//! The limits below hold for the text of a whole file.

use serde::Serialize;
use serde_saphyr::budget::BudgetBreach;

use crate::node::Node;

/// The longest text that is read at all: four full ConfigMaps and some.
pub const MAX_BYTES: usize = 8 << 20;
/// A v1 pod in a list of lists needs half of this.
const MAX_DEPTH: usize = 24;
const MAX_NODES: usize = 250_000;
const MAX_ALIASES: usize = 1_000;
const MAX_DOCUMENTS: usize = 1_024;

/// Text that is not YAML, or that goes beyond a limit.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct ParseYamlError {
    /// The line, from 1, if the place is known.
    pub line: Option<u64>,
    /// The column, from 1, if the place is known.
    pub column: Option<u64>,
    /// What is wrong there, without the place.
    pub problem: String,
}

/// An object that could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the object as yaml: {problem}")]
pub struct WriteYamlError {
    problem: String,
}

/// Writes a value as YAML that every reader of Kubernetes manifests reads back unchanged.
///
/// # Errors
/// A value that YAML cannot express, for example a map with maps as keys.
pub fn to_string(value: &impl Serialize) -> Result<String, WriteYamlError> {
    serde_saphyr::to_string(value).map_err(|err| WriteYamlError {
        problem: err.to_string(),
    })
}

/// Reads every document of a text. Empty documents (between two `---`) are left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, ParseYamlError> {
    read(text, MAX_DEPTH)
}

/// The same for bodies of requests: schemas of custom resources are deeper than any pod.
pub(crate) fn deep_documents(text: &str) -> Result<Vec<Node>, ParseYamlError> {
    const AS_JSON: usize = 120;
    read(text, AS_JSON)
}

fn read(text: &str, depth: usize) -> Result<Vec<Node>, ParseYamlError> {
    if text.len() > MAX_BYTES {
        return Err(ParseYamlError {
            line: None,
            column: None,
            problem: format!("{} bytes of text; at most {MAX_BYTES} are read", text.len()),
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_saphyr::from_multiple_with_options(text, options(depth))
        .map_err(|err| parse_error(&err, depth))
}

fn options(max_depth: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: max_depth,
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_documents: MAX_DOCUMENTS,
            max_total_scalar_bytes: 2 * MAX_BYTES,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn parse_error(err: &serde_saphyr::Error, depth: usize) -> ParseYamlError {
    let place = err.location();
    let err = err.without_snippet();
    if let Some(problem) = beyond_limit(err, depth) {
        let (line, column) = (place.map(|at| at.line()), place.map(|at| at.column()));
        return ParseYamlError {
            line,
            column,
            problem,
        };
    }
    let text = err.to_string();
    // The library repeats the place in its text; ours says it once, in front.
    let problem = match place {
        Some(at) => text
            .replace(
                &format!(" at line {}, column {}", at.line(), at.column()),
                "",
            )
            .replace(&format!("line {} column {}: ", at.line(), at.column()), ""),
        None => text,
    };
    let problem = problem.replace(
        "did not find expected <document start>",
        "text after the end of the value; write `---` between documents",
    );
    ParseYamlError {
        line: place.map(|at| at.line()),
        column: place.map(|at| at.column()),
        problem,
    }
}

/// Which limit the text goes beyond, if that is what is wrong with it.
fn beyond_limit(err: &serde_saphyr::Error, depth: usize) -> Option<String> {
    let serde_saphyr::Error::Budget { breach, .. } = err else {
        return None;
    };
    Some(match breach {
        BudgetBreach::Depth { .. } => {
            format!("more than {depth} lists and objects within each other")
        }
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("more than {MAX_NODES} values, aliases counted as often as they are used")
        }
        BudgetBreach::Aliases { .. } => format!("more than {MAX_ALIASES} aliases"),
        BudgetBreach::Documents { .. } => format!("more than {MAX_DOCUMENTS} documents"),
        BudgetBreach::ScalarBytes { .. } => {
            format!(
                "more than {} bytes of text, aliases counted as often as they are used",
                2 * MAX_BYTES
            )
        }
        other => format!("beyond a limit of the reader: {other:?}"),
    })
}

#[cfg(test)]
mod tests;
