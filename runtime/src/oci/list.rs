//! `list`: all containers below `--root`.
use clap::{Args, ValueEnum};

use super::cli::{self, Context, Failure};
use super::container::Container;
use super::state::{FullState, owner};

/// List the containers of the state directory.
#[derive(Debug, Args)]
pub(super) struct List {
    /// How to print them
    #[arg(
        long,
        short,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    format: ListFormat,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

/// The forms of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// Columns for people.
    Table,
    /// An array of objects, each as `state` prints it.
    Json,
}

impl List {
    /// Prints the list. A container whose state is damaged is left out and warned of.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let mut containers = Vec::new();
        for dir in context.root.list()? {
            match Container::observe(dir) {
                Ok(Some(container)) => containers.push(container),
                // Deleted since the directory was read, or not far enough to have a state.
                Ok(None) => {}
                Err(err) => context.log.warn(&err),
            }
        }
        let text = match (self.quiet, self.format) {
            (true, _) => containers
                .iter()
                .map(|one| format!("{}\n", one.dir.id()))
                .collect(),
            (false, ListFormat::Table) => table(&containers),
            (false, ListFormat::Json) => {
                let states: Vec<FullState> = containers.iter().map(FullState::of).collect();
                // runc says null for none; an empty array is what callers can iterate over.
                format!("{}\n", serde_json::to_string(&states)?)
            }
        };
        cli::print(text.as_bytes())?;
        Ok(0)
    }
}

fn table(containers: &[Container]) -> String {
    let rows = containers.iter().map(|one| {
        let state = one.state();
        [
            state.id.to_owned(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            one.record.created.clone(),
            owner(one.record.owner),
        ]
    });
    columns(
        &["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
        rows.collect(),
    )
}

fn columns<const N: usize>(header: &[&str; N], mut rows: Vec<[String; N]>) -> String {
    rows.insert(0, header.map(str::to_owned));
    let widths: Vec<usize> = (0..N)
        .map(|at| {
            rows.iter()
                .map(|row| row[at].len())
                .max()
                .unwrap_or(0)
                .max(9)
        })
        .collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = vec![
            ["a".to_owned(), "x".to_owned()],
            ["long-enough-id".to_owned(), "y".to_owned()],
        ];
        assert_eq!(
            columns(&["ID", "PID"], rows),
            "ID               PID\na                x\nlong-enough-id   y\n"
        );
    }
}
