//! What was measured, as people read it: on a terminal and as Markdown.

use std::fmt::Write as _;

use crate::stats::{median, percentile};

/// One contestant's numbers.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Who.
    pub name: String,
    /// What was run.
    pub command: String,
    /// A number for each metric, for each run.
    pub samples: Vec<Vec<f64>>,
    /// Why there are no (more) runs.
    pub failure: Option<String>,
}

impl Line {
    /// Without numbers yet.
    pub(crate) fn new(name: &str, command: &str) -> Self {
        Self {
            name: name.to_owned(),
            command: command.to_owned(),
            samples: Vec::new(),
            failure: None,
        }
    }

    fn values(&self, metric: usize) -> Vec<f64> {
        let values = self.samples.iter().filter_map(|sample| sample.get(metric));
        values.copied().filter(|value| value.is_finite()).collect()
    }
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// Times as much.
    Ratio,
    /// KiB.
    KiB,
    /// MiB.
    MiB,
    /// Of a hundred.
    Percent,
    /// Pieces.
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Ms if value < 10.0 => format!("{value:.3} ms"),
            Unit::Ms => format!("{value:.1} ms"),
            Unit::Ratio => format!("{value:.2}"),
            Unit::KiB => format!("{value:.0} KiB"),
            Unit::MiB => format!("{value:.1} MiB"),
            Unit::Percent => format!("{value:.2} %"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// A limit that the project has set itself.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// Of what.
    pub what: String,
    /// How much it came to, or why nobody knows.
    pub value: Result<f64, String>,
    /// Of both numbers.
    pub unit: Unit,
    /// Not more than this; or, with `least`, not less.
    pub limit: f64,
    /// See `limit`.
    pub least: bool,
}

impl Check {
    /// Whether it could be measured and is over the limit.
    pub(crate) fn is_short(&self) -> bool {
        self.value.as_ref().is_ok_and(|value| !self.holds(*value))
    }

    fn holds(&self, value: f64) -> bool {
        match self.least {
            true => value >= self.limit,
            false => value <= self.limit,
        }
    }

    fn verdict(&self) -> &'static str {
        match &self.value {
            Ok(value) if self.holds(*value) => "PASS",
            Ok(_) => "short",
            Err(_) => "skip",
        }
    }

    fn cells(&self) -> [String; 4] {
        let value = match &self.value {
            Ok(value) => self.unit.show(*value),
            Err(why) => why.clone(),
        };
        let sign = if self.least { ">=" } else { "<=" };
        let limit = format!("{sign} {}", self.unit.show(self.limit));
        [self.what.clone(), value, limit, self.verdict().to_owned()]
    }
}

/// What one contest came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// What it was about.
    pub title: String,
    /// What one has to know to read it.
    pub notes: Vec<String>,
    /// What the numbers are.
    pub metrics: Vec<&'static str>,
    /// One for each contestant.
    pub lines: Vec<Line>,
    /// The limits.
    pub checks: Vec<Check>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(title: &str, metrics: &[&'static str]) -> Self {
        Self {
            title: title.to_owned(),
            metrics: metrics.to_vec(),
            ..Self::default()
        }
    }

    /// Adds a sentence for the reader.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The median of a contestant's metric.
    ///
    /// # Errors
    /// Says why there is none.
    pub(crate) fn median(&self, name: &str, metric: usize) -> Result<f64, String> {
        let line = self.lines.iter().find(|line| line.name == name);
        let line = line.ok_or_else(|| format!("{name} did not run"))?;
        let values = line.values(metric);
        if values.is_empty() || line.failure.is_some() {
            return Err(format!("{name} was not measured"));
        }
        Ok(median(&values))
    }

    /// A limit on the median of a contestant's metric.
    pub(crate) fn limit(&mut self, name: &str, metric: usize, unit: Unit, limit: f64) {
        let label = self.metrics.get(metric).copied().unwrap_or_default();
        self.checks.push(Check {
            what: format!("{name}, {label}"),
            value: self.median(name, metric),
            unit,
            limit,
            least: false,
        });
    }

    /// A limit that the median of a contestant's metric is to reach.
    pub(crate) fn at_least(&mut self, name: &str, metric: usize, unit: Unit, limit: f64) {
        self.limit(name, metric, unit, limit);
        if let Some(check) = self.checks.last_mut() {
            check.least = true;
        }
    }

    /// A limit on the ratio of two contestants' medians.
    pub(crate) fn limit_ratio(&mut self, name: &str, peer: &str, metric: usize, limit: f64) {
        let label = self.metrics.get(metric).copied().unwrap_or_default();
        let ratio = |subject: f64, peer: f64| subject / peer;
        let value = self
            .median(name, metric)
            .and_then(|subject| self.median(peer, metric).map(|peer| ratio(subject, peer)));
        self.checks.push(Check {
            what: format!("{name} / {peer}, {label}"),
            value,
            unit: Unit::Ratio,
            limit,
            least: false,
        });
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut head = vec![String::new(), "runs".to_owned()];
        head.extend(self.metrics.iter().map(|metric| (*metric).to_owned()));
        let mut rows = vec![head];
        for line in &self.lines {
            let mut row = vec![line.name.clone(), line.samples.len().to_string()];
            for metric in 0..self.metrics.len() {
                row.push(cell(&line.values(metric)));
            }
            if let Some(failure) = &line.failure {
                row.truncate(1);
                row.push(format!("skip: {}", failure.replace('\n', " ")));
            }
            rows.push(row);
        }
        rows
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("\n== {}\n", self.title);
        for note in &self.notes {
            let _ = writeln!(out, "   {note}");
        }
        out += &aligned(&self.rows());
        let checks: Vec<Vec<String>> = self.checks.iter().map(|one| one.cells().to_vec()).collect();
        out += &aligned(&checks);
        for line in self.lines.iter().filter(|line| !line.command.is_empty()) {
            let _ = writeln!(out, "   {}: {}", line.name, line.command);
        }
        out
    }

    /// For `docs/benchmarks.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n", self.title);
        for note in &self.notes {
            let _ = writeln!(out, "{note}\n");
        }
        if !self.lines.is_empty() {
            out += &piped(&self.rows());
        }
        if !self.checks.is_empty() {
            let head = ["limit on", "measured", "limit", ""].map(str::to_owned);
            let checks = self.checks.iter().map(|one| one.cells().to_vec());
            let rows: Vec<_> = std::iter::once(head.to_vec()).chain(checks).collect();
            out += &piped(&rows);
        }
        let commands = self.lines.iter().filter(|line| !line.command.is_empty());
        let commands: Vec<_> = commands
            .map(|line| format!("# {}\n{}\n", line.name, line.command))
            .collect();
        if !commands.is_empty() {
            let _ = writeln!(out, "```sh\n{}```\n", commands.concat());
        }
        out
    }
}

/// The whole of `docs/benchmarks.md`.
pub(crate) fn page(facts: &[String], tables: &[Table]) -> String {
    let mut out = INTRODUCTION.to_owned();
    for fact in facts {
        let _ = writeln!(out, "* {fact}");
    }
    out.push('\n');
    let head = ["table", "limit on", "measured", "limit", ""].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for table in tables {
        let title = [table.title.clone()];
        let cells = table.checks.iter().map(Check::cells);
        rows.extend(cells.map(|cells| [title.as_slice(), cells.as_slice()].concat()));
    }
    out += &format!("## All limits\n\n{}", piped(&rows));
    for table in tables {
        out += &table.markdown();
    }
    out.trim_end().to_owned() + "\n"
}

const INTRODUCTION: &str = "# Benchmarks

Written by `rkube-bench --markdown docs/benchmarks.md` (`make bench` runs the same on any host, as root). Do not edit: run it
again.

Each table is one run: the contestants take turns in a shuffled order, so that a busy moment of the machine hits all of them.
A cell is the median, with the 10th and the 90th percentile in brackets. Absolute times belong to this machine and wander with
its load; ratios between contestants of one table are what to look at, and they too wander by a tenth or so. *short* means that we miss
the limit that we set ourselves; *skip* that it could not be measured here.

All contestants run in one mount namespace and one network namespace of the bench's own. On a host with v1 controllers and a
unified hierarchy beside them, the unified one is hidden there, because crun refuses such hosts. `$BED` in the commands is the
bench's directory on disk, below /var/tmp. No memory figure is below that of the bench itself, from which the programs are
started (the line `fork+exec`).

";

/// `median [p10-p90]`.
fn cell(values: &[f64]) -> String {
    let show = |value: f64| match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    match values {
        [] => "-".to_owned(),
        [one] => show(*one),
        many => {
            let at = |share| show(percentile(many, share));
            format!("{} [{}-{}]", at(0.5), at(0.1), at(0.9))
        }
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() == columns);
        cells
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(out, "   {}", line.join("  ").trim_end());
    }
    out
}

fn piped(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        cells.resize(columns, String::new());
        let _ = writeln!(out, "| {} |", cells.join(" | "));
        if number == 0 {
            let _ = writeln!(out, "|{}", "---|".repeat(columns));
        }
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("speed", &["wall ms"]);
        let mut fast = Line::new("ours", "ours run");
        fast.samples = vec![vec![1.0], vec![2.0], vec![3.0]];
        let mut slow = Line::new("theirs", "theirs run");
        slow.samples = vec![vec![4.0], vec![4.0], vec![4.0]];
        let mut gone = Line::new("gone", "");
        gone.failure = Some("not installed".to_owned());
        table.lines = vec![fast, slow, gone];
        table
    }

    #[test]
    fn limits_pass_fall_short_or_are_skipped() {
        let mut table = table();
        table.limit_ratio("ours", "theirs", 0, 0.5);
        table.limit_ratio("ours", "theirs", 0, 0.4);
        table.limit_ratio("ours", "gone", 0, 0.5);
        table.limit("ours", 0, Unit::Ms, 2.0);
        let verdicts: Vec<_> = table.checks.iter().map(Check::verdict).collect();
        assert_eq!(verdicts, ["PASS", "short", "skip", "PASS"]);
        assert!(table.checks[1].is_short() && !table.checks[2].is_short());
        assert!(
            table
                .markdown()
                .contains("| ours / theirs, wall ms | 0.50 | <= 0.40 | short |")
        );
        assert!(table.text().contains("skip: not installed"));
    }

    #[test]
    fn a_cell_shows_the_spread() {
        assert_eq!(cell(&[1.0, 2.0, 30.0]), "2.00 [1.00-30.0]");
        assert_eq!(cell(&[120.4]), "120");
        assert_eq!(cell(&[]), "-");
    }
}
