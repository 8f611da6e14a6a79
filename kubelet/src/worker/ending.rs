//! What follows when a container has ended.
use super::Worker;
use crate::plan;
use crate::sandbox::Exit;
use crate::state::{ContainerState, Role, Termination};
use jiff::{SignedDuration, Timestamp};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The most that is kept of a termination message, in bytes.
const MESSAGE_LIMIT: usize = 4096;
/// The most bytes of a log that stand in for one.
const LOG_LIMIT: usize = 2048;
/// The most lines of a log that stand in for a termination message.
const LOG_LINES: usize = 80;

impl Worker {
    /// Writes down how a container ended, and only then lets the supervisor forget it: whoever dies in between, the
    /// exit code is known to one of them.
    pub(super) async fn note_exit(&mut self, exit: &Exit) {
        self.container_ended(exit);
        self.unacknowledged.push(exit.name.clone());
        self.save().await;
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
        self.works.remove(&name);
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
        self.work_ended(name);
        let backoff = self.node.backoff;
        let Some(index) = self
            .state
            .containers
            .iter()
            .position(|one| one.name == name)
        else {
            return;
        };
        let revised = self.is_outdated(index);
        let again = self
            .restarts
            .get(index)
            .is_some_and(|rule| rule.again(end.exit_code));
        let whose = format!("{name} pod={}", self.record.full_name());
        let container = &mut self.state.containers[index];
        let ran = end.finished.duration_since(end.started);
        // One that ends for another image did nothing wrong.
        container.failures = if revised {
            0
        } else {
            backoff.count(container.failures, ran)
        };
        let wait = backoff.wait(container.failures);
        container.spent = true;
        container.hook_pending = false;
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
        self.reporter.event("Ended", Some(name), said);
        if revised {
            // It is started again whatever the restart policy says.
            container.last = Some(end);
            container.state = ContainerState::Waiting {
                reason: "ContainerCreating".to_owned(),
                message: String::new(),
            };
        } else if again && !wait.is_zero() {
            let at = plan::later(Timestamp::now(), wait);
            container.retry_at = Some(at);
            let message = format!(
                "back-off {} restarting failed container={whose}; next try at {}",
                plan::seconds(wait),
                plan::clock(at)
            );
            container.last = Some(end);
            container.state = ContainerState::Waiting {
                reason: "CrashLoopBackOff".to_owned(),
                message: message.clone(),
            };
            if self.closing.is_none() {
                self.reporter.warning("BackOff", Some(name), message);
            }
        } else {
            container.state = ContainerState::Terminated(end);
        }
    }

    /// The container's last words: its termination log, or the end of its log if it asks for that.
    fn termination_message(&self, name: &str, attempt: u32, exit_code: i32) -> String {
        let dir = self.node.paths.container(self.record.uid(), name, attempt);
        let message = tail(&dir.join("termination-log"), MESSAGE_LIMIT).unwrap_or_default();
        let container = self.asked(name);
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
        let cut = text.len().saturating_sub(LOG_LIMIT);
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
        self.works.clear();
        self.sandbox = None;
        self.clear_sandbox().await;
        self.again_from_the_start();
        let lived = self.sandbox_since.map_or(SignedDuration::ZERO, |since| {
            Timestamp::now().duration_since(since)
        });
        self.sandbox_deaths = self.node.backoff.count(self.sandbox_deaths, lived);
        let wait = self.node.backoff.wait(self.sandbox_deaths);
        if !wait.is_zero() {
            self.setup_retry = Some((plan::later(Timestamp::now(), wait), 0));
        }
    }

    /// A new sandbox has nothing of what init containers have set up in the old one: they run again, if anything is left
    /// to do after them.
    pub(super) fn again_from_the_start(&mut self) {
        let done = self
            .state
            .containers
            .iter_mut()
            .filter(|container| container.role == Role::Init && plan::init_done(container));
        for container in done {
            container.last = container.last_end().cloned();
            container.spent = true;
            container.state = ContainerState::Waiting {
                reason: "PodInitializing".to_owned(),
                message: String::new(),
            };
        }
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
