//! Where messages go: standard error for people, `--log` for the engine that called us.
//!
//! Engines read the last line of the log to learn why a verb failed, so the text of an error is
//! one line there, with its whole cause chain.
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

/// The form of a line in the log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// `time="..." level=error msg="..."`
    #[default]
    Text,
    /// `{"level":"error","msg":"...","time":"..."}`
    Json,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Shown with `--debug` only.
    Debug,
    /// Something went wrong that the verb survives.
    Warning,
    /// The verb failed.
    Error,
}

/// The destination of messages. The file is opened when there is something to write.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The value of `--log`.
    pub(super) path: Option<PathBuf>,
    /// The value of `--log-format`.
    pub(super) format: Format,
    /// Whether debug messages are wanted.
    pub(super) debug: bool,
}

impl Log {
    /// The error that ended the verb.
    pub(super) fn error(&self, err: &(dyn Error + 'static)) {
        self.write(Level::Error, &chain(err));
    }

    /// An error that did not end the verb.
    pub(super) fn warn(&self, err: &(dyn Error + 'static)) {
        self.write(Level::Warning, &chain(err));
    }

    /// A decision that may interest who asked for `--debug`.
    pub(super) fn debug(&self, text: &str) {
        if self.debug {
            self.write(Level::Debug, text);
        }
    }

    /// A log that cannot be written must not change what the verb does, so nothing is returned.
    fn write(&self, level: Level, text: &str) {
        let now = jiff::Timestamp::now().to_string();
        let _ = writeln!(
            io::stderr().lock(),
            "rkube-runtime: {}{text}",
            level.prefix()
        );
        let Some(path) = &self.path else { return };
        let line = self.format.line(level, text, &now);
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let _ = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Level::Debug => "debug: ",
            Level::Warning => "warning: ",
            Level::Error => "",
        }
    }
}

impl Format {
    fn line(self, level: Level, text: &str, now: &str) -> String {
        let level = level.name();
        match self {
            Format::Text => format!("time={now:?} level={level} msg={text:?}\n"),
            Format::Json => {
                let line = serde_json::json!({ "level": level, "msg": text, "time": now });
                format!("{line}\n")
            }
        }
    }
}

/// Flattens a cause chain for people: `a: b: c`.
pub(super) fn chain(err: &(dyn Error + 'static)) -> String {
    let layers = std::iter::successors(Some(err), |&err| err.source());
    layers
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_quotes_and_newlines() {
        let text = "cannot read \"a\nb\"";
        let line = Format::Json.line(Level::Error, text, "2026-01-02T03:04:05Z");
        assert_eq!(line.matches('\n').count(), 1);
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["msg"], text);
        assert_eq!(
            (&back["level"], &back["time"]),
            (&"error".into(), &"2026-01-02T03:04:05Z".into())
        );
        assert_eq!(
            Format::Text.line(Level::Warning, "a\nb", "T"),
            "time=\"T\" level=warning msg=\"a\\nb\"\n"
        );
    }

    #[test]
    fn the_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        std::fs::write(&path, "before\n").unwrap();
        let log = Log {
            path: Some(path.clone()),
            format: Format::Json,
            debug: false,
        };
        log.debug("not wanted");
        log.error(&io::Error::other("boom"));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains("\"msg\":\"boom\""));
    }
}
