//! What follows when a container has ended.
use super::Worker;
use crate::plan::RestartPolicy;
use crate::sandbox::Exit;
use crate::state::{ContainerState, Role, Termination};
use jiff::Timestamp;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The most that is kept of a termination message, in bytes.
const MESSAGE_LIMIT: usize = 4096;
/// The most lines of a log that stand in for a termination message.
const LOG_LINES: usize = 80;

impl Worker {
    /// Writes down how a container ended, and only then lets the supervisor forget it: whoever dies in between, the
    /// exit code is known to one of them.
    pub(super) fn note_exit(&mut self, exit: &Exit) {
        self.container_ended(exit);
        if let Err(err) = self.save() {
            tracing::warn!(
                err = crate::error::chain(&err),
                "cannot write down a container's end"
            );
            return;
        }
        if let Some(sandbox) = &self.sandbox {
            sandbox.acknowledge(&exit.name);
        }
    }

    /// Notes how a container ended, and when it may start again.
    pub(super) fn container_ended(&mut self, exit: &Exit) {
        let known = self
            .state
            .container(&exit.name)
            .filter(|container| container.running() && container.attempt() == exit.attempt);
        if known.is_none() {
            return;
        }
        let exit_code = if exit.signal == 0 {
            exit.code
        } else {
            128 + exit.signal
        };
        let reason = match (exit.oom, exit_code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let message = self.termination_message(&exit.name, exit.attempt, exit_code);
        let end = Termination {
            exit_code,
            signal: exit.signal,
            reason: reason.to_owned(),
            message,
            started: exit.started,
            finished: exit.finished,
        };
        self.note_end(&exit.name, end);
    }

    /// A container of which nobody knows how it ended.
    pub(super) fn container_lost(&mut self, name: &str, reason: &str, message: &str) {
        let Some(ContainerState::Running { started, .. }) = self
            .state
            .container(name)
            .map(|container| container.state.clone())
        else {
            return;
        };
        let end = Termination {
            exit_code: 137,
            signal: 9,
            reason: reason.to_owned(),
            message: message.to_owned(),
            started,
            finished: Timestamp::now(),
        };
        self.note_end(name, end);
    }

    /// A container whose program could not be run at all.
    pub(super) fn container_unstartable(&mut self, index: usize, exit_code: i32, message: &str) {
        let now = Timestamp::now();
        let name = self.state.containers[index].name.clone();
        self.note_failure("StartError", &format!("container {name}: {message}"));
        self.reporter.warning("Failed", Some(&name), message);
        let end = Termination {
            exit_code,
            signal: 0,
            reason: "StartError".to_owned(),
            message: message.to_owned(),
            started: now,
            finished: now,
        };
        self.note_end(&name, end);
    }

    fn note_end(&mut self, name: &str, end: Termination) {
        self.probes.remove(name);
        let backoff = self.node.backoff;
        let policy = self.policy;
        let Some(container) = self.state.container_mut(name) else {
            return;
        };
        let ran = end.finished.duration_since(end.started);
        container.failures = backoff.count(container.failures, ran);
        let wait = backoff.wait(container.failures);
        let again = match container.role {
            Role::Sidecar => true,
            Role::Init => end.exit_code != 0 && policy != RestartPolicy::Never,
            Role::Main => policy.again(end.exit_code),
        };
        container.spent = true;
        container.ready = false;
        container.started = false;
        container.retry_at = None;
        let said = match (end.exit_code, end.message.is_empty()) {
            (code, true) => format!("{}, exit code {code}", end.reason),
            (code, false) => format!(
                "{}, exit code {code}: {}",
                end.reason,
                end.message.lines().next().unwrap_or_default()
            ),
        };
        if again && !wait.is_zero() {
            container.retry_at = Timestamp::now().checked_add(wait).ok();
            let message = format!("back-off {} s before the next try", wait.as_secs());
            container.last = Some(end);
            container.state = ContainerState::Waiting {
                reason: "CrashLoopBackOff".to_owned(),
                message: message.clone(),
            };
            self.reporter.event("Ended", Some(name), said);
            self.reporter.warning("BackOff", Some(name), message);
        } else {
            container.state = ContainerState::Terminated(end);
            self.reporter.event("Ended", Some(name), said);
        }
    }

    /// The container's last words: its termination log, or the end of its log if it asks for that.
    fn termination_message(&self, name: &str, attempt: u32, exit_code: i32) -> String {
        let dir = self.node.paths.container(self.record.uid(), name, attempt);
        let message = tail(&dir.join("termination-log"), MESSAGE_LIMIT).unwrap_or_default();
        let container = self
            .record
            .containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name);
        let from_log = container.is_some_and(|container| {
            container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
        });
        if !message.is_empty() || !from_log || exit_code == 0 {
            return message;
        }
        let log = self.log_dir().join(name).join(format!("{attempt}.log"));
        let text = tail(&log, 4 * MESSAGE_LIMIT).unwrap_or_default();
        let words: Vec<&str> = text
            .lines()
            .filter_map(|line| line.splitn(4, ' ').nth(3))
            .collect();
        let text = words[words.len().saturating_sub(LOG_LINES)..].join("\n");
        let cut = text.len().saturating_sub(MESSAGE_LIMIT);
        String::from_utf8_lossy(&text.as_bytes()[cut..]).into_owned()
    }

    /// The supervisor is gone, and with it all containers. A new sandbox follows at once.
    pub(super) async fn sandbox_gone(&mut self) {
        self.reporter.warning(
            "SandboxChanged",
            None,
            "the pod's supervisor died; the pod is started again",
        );
        if let Some(sandbox) = &self.sandbox {
            for exit in sandbox.exits_on_disk() {
                self.container_ended(&exit);
            }
        }
        let running = self
            .state
            .containers
            .iter()
            .filter(|container| container.running());
        let running: Vec<_> = running
            .into_iter()
            .map(|container| container.name.clone())
            .collect();
        for name in running {
            self.container_lost(&name, "SupervisorDied", "the pod's supervisor died");
        }
        self.sandbox = None;
        self.clear_sandbox().await;
    }
}

/// The last `limit` bytes of a file as text.
fn tail(path: &Path, limit: usize) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
