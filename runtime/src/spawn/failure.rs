//! Wording what went wrong between clone and execve.

use std::io;

use rkube_init::record::Record;
use rkube_init::record::layout::{self, Table, device, header, mount};
use rkube_init::status::{Failure, Frame, Stage, Step};

/// Why a container's process does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The launch was not made by this version.
    #[error("container {id}: the start record is damaged: {why}")]
    Record {
        /// The container.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// No pipe to or from the child.
    #[error("container {id}: cannot talk to its first process")]
    Pipe {
        /// The container.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// A stage between clone and execve failed.
    #[error("container {id}: {what}")]
    Stage {
        /// The container.
        id: String,
        /// What could not be done, to what.
        what: String,
        /// Where.
        failure: Failure,
        /// Why.
        source: io::Error,
    },
    /// The child ended without a word: killed, or told to give up.
    #[error("container {id}: its first process died before the program ran")]
    Vanished {
        /// The container.
        id: String,
    },
    /// The child sent what was not due.
    #[error("container {id}: its first process sent {frame:?} out of turn")]
    Confused {
        /// The container.
        id: String,
        /// What it sent.
        frame: Frame,
    },
    /// The caller gave the descriptor itself, and must use it itself.
    #[error("container {id}: the descriptor belongs to the caller")]
    Elsewhere {
        /// The container.
        id: String,
    },
}

impl SpawnError {
    /// Words a failure with the record that was being carried out.
    #[must_use]
    pub fn stage(id: &str, record: &[u8], failure: Failure) -> Self {
        let what = describe(record, &failure);
        let source = io::Error::from_raw_os_error(failure.errno);
        Self::Stage {
            id: id.to_owned(),
            what,
            failure,
            source,
        }
    }

    /// What a shell would exit with: 127 not found, 126 not executable, 125 our own failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stage { failure, .. } => u8::try_from(failure.exit_code()).unwrap_or(125),
            _ => 125,
        }
    }
}

/// What could not be done, and to what: `mounts[3] /data: cannot create mount point`. Without the error itself.
#[must_use]
pub fn describe(record: &[u8], failure: &Failure) -> String {
    let subject = Record::parse(record, usize::MAX)
        .ok()
        .and_then(|record| subject(record, failure));
    let deed = match failure.step {
        Step::None => format!("cannot {}", failure.stage.words()),
        step => step.words().to_owned(),
    };
    match (subject, failure.step) {
        (Some(subject), Step::None) => format!("{deed} {subject}"),
        (Some(subject), _) => format!("{subject}: {deed}"),
        (None, Step::None) => deed,
        (None, _) => format!("cannot {}: {deed}", failure.stage.words()),
    }
}

/// The object that a stage was dealing with.
fn subject(record: Record<'_>, failure: &Failure) -> Option<String> {
    let index = failure.detail as usize;
    let text = |table: &Table, column: usize| {
        let row = record.row(table, index)?;
        Some(row.text(column).to_string_lossy().into_owned())
    };
    match failure.stage {
        Stage::Mounts | Stage::Procfs => {
            let origin = record.row(&layout::MOUNTS, index)?.word(mount::ORIGIN);
            Some(format!(
                "mounts[{origin}] {}",
                text(&layout::MOUNTS, mount::DEST)?
            ))
        }
        Stage::Devices => text(&layout::DEVICES, device::PATH),
        Stage::Masks => text(&layout::MASKED, 0),
        Stage::ReadonlyPaths => text(&layout::READONLY, 0),
        Stage::Sysctls => text(&layout::SYSCTLS, 0),
        Stage::Cwd => Some(record.text(header::CWD).to_string_lossy().into_owned()),
        Stage::Lookup | Stage::Exec => {
            let program = record
                .row(&layout::ARGV, 0)?
                .text(0)
                .to_string_lossy()
                .into_owned();
            Some(format!("{program:?}"))
        }
        _ => None,
    }
}
