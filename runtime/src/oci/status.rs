//! The life of a container, and which verb is legal when.
use std::fmt;

use serde::Serialize;

/// ```text
/// creating -> created --start--> running --exit--> stopped --delete--> gone
///                 \                | ^                ^
///                  \          pause v | resume        |
///                   \              paused             |
///                    +-------- killed ----------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// `create` is still at work.
    Creating,
    /// Init is set up and waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// The user's program runs, and its cgroup is frozen.
    Paused,
    /// Init has exited.
    Stopped,
}

/// A verb that asks for a certain status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// `start`
    Start,
    /// `kill`
    Kill,
    /// `delete` without `--force`
    Delete,
    /// `exec`
    Exec,
    /// `exec --ignore-paused`
    ExecPaused,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `update`
    Update,
}

/// The verb is not for a container in this status.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub(super) struct IllegalOp {
    op: Op,
    status: Status,
}

impl Status {
    /// Whether `op` may go ahead.
    pub(super) fn allow(self, op: Op) -> Result<(), IllegalOp> {
        use Op::{Delete, Exec, ExecPaused, Kill, Pause, Resume, Start, Update};
        use Status::{Created, Creating, Paused, Running, Stopped};
        match (op, self) {
            (Start, Created)
            | (Kill, Created | Running | Paused)
            | (Delete, Stopped)
            | (Exec, Created | Running)
            | (ExecPaused, Created | Running | Paused)
            | (Pause, Created | Running)
            | (Resume, Paused)
            | (Update, Created | Running | Paused) => Ok(()),
            (Start, Creating | Running | Paused | Stopped)
            | (Kill, Creating | Stopped)
            | (Delete, Creating | Created | Running | Paused)
            | (Exec, Creating | Paused | Stopped)
            | (ExecPaused, Creating | Stopped)
            | (Pause, Creating | Paused | Stopped)
            | (Resume, Creating | Created | Running | Stopped)
            | (Update, Creating | Stopped) => Err(IllegalOp { op, status: self }),
        }
    }
}

impl IllegalOp {
    /// containerd and podman search these lines for "container not running", "not paused" and
    /// "is not stopped".
    fn text(&self) -> String {
        let status = self.status;
        match (self.op, status) {
            (Op::Start, Status::Stopped) => "cannot start a container that has stopped".to_owned(),
            (Op::Start, Status::Running | Status::Paused) => {
                "cannot start an already running container".to_owned()
            }
            (Op::Start, _) => format!("cannot start a container that is {status}"),
            (Op::Delete, _) => {
                format!(
                    "cannot delete a container that is not stopped: it is {status}; kill it first, or use --force"
                )
            }
            (Op::Exec, Status::Paused) => {
                "cannot exec in a paused container (use --ignore-paused to override)".to_owned()
            }
            (Op::Exec | Op::ExecPaused, Status::Stopped) => {
                "cannot exec in a stopped container: container not running".to_owned()
            }
            (Op::Resume, _) => format!("container not paused: it is {status}"),
            (Op::Pause | Op::Kill | Op::Exec | Op::ExecPaused | Op::Update, _) => {
                format!("container not running: it is {status}")
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 5] = [
        Status::Creating,
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Stopped,
    ];

    #[track_caller]
    fn check(op: Op, legal: &[Status]) {
        let got: Vec<Status> = ALL
            .into_iter()
            .filter(|status| status.allow(op).is_ok())
            .collect();
        assert_eq!(got, legal, "{op:?}");
    }

    #[test]
    fn each_verb_has_its_statuses() {
        use Status::{Created, Paused, Running, Stopped};
        check(Op::Start, &[Created]);
        check(Op::Kill, &[Created, Running, Paused]);
        check(Op::Delete, &[Stopped]);
        check(Op::Exec, &[Created, Running]);
        check(Op::ExecPaused, &[Created, Running, Paused]);
        check(Op::Pause, &[Created, Running]);
        check(Op::Resume, &[Paused]);
        check(Op::Update, &[Created, Running, Paused]);
    }

    #[test]
    fn refusals_hold_the_words_that_engines_search_for() {
        let text = |op, status: Status| status.allow(op).unwrap_err().to_string();
        assert!(text(Op::Kill, Status::Stopped).contains("container not running"));
        assert!(text(Op::Delete, Status::Running).contains("is not stopped"));
        assert!(text(Op::Resume, Status::Running).contains("not paused"));
        assert!(text(Op::Exec, Status::Stopped).contains("container not running"));
    }
}
