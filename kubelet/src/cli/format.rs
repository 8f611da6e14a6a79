//! The forms that data is printed in: `-o json|yaml|wide|name`.
use super::{Failure, output};
use clap::ValueEnum;
use serde::Serialize;

/// The forms of a listing; without one it is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table with more columns
    Wide,
    /// Names alone, one a line
    Name,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

impl ListFormat {
    /// Json or Yaml, if it is one of them.
    #[must_use]
    pub fn data(self) -> Option<DataFormat> {
        match self {
            ListFormat::Json => Some(DataFormat::Json),
            ListFormat::Yaml => Some(DataFormat::Yaml),
            ListFormat::Wide | ListFormat::Name => None,
        }
    }
}

/// The forms for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Prints a value on standard output.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_data(value: &impl Serialize, format: DataFormat) -> Result<(), Failure> {
    let text = match format {
        DataFormat::Json => {
            serde_json::to_string_pretty(value).map_err(|err| Failure::of(&err))? + "\n"
        }
        DataFormat::Yaml => {
            // By way of JSON, so that both forms have the same fields.
            let value = serde_json::to_value(value).map_err(|err| Failure::of(&err))?;
            let mut text = rkube_api::yaml::to_string(&value).map_err(|err| Failure::of(&err))?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }
    };
    output::print(&text)
}

/// Prints rows as a table that fits the terminal; the first row is the heading.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_table(rows: &[Vec<String>]) -> Result<(), Failure> {
    output::print(&output::table(rows, output::terminal_width()))
}

/// A heading or a row out of words.
#[must_use]
pub fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|&cell| cell.to_owned()).collect()
}
