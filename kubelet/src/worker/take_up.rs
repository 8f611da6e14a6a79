//! Taking a pod up where another kubelet left it, and watching what runs of it.
use super::Worker;
use crate::probe::{Probes, Target};
use crate::sandbox::{Adopted, Sandbox};
use crate::state::{ContainerRecord, ContainerState};
use jiff::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

impl Worker {
    /// Finds out what still runs of the pod. Afterwards the state is true: adopted, or nothing runs.
    pub(super) async fn take_up(&mut self) {
        let fresh = self.state.start_time.is_none();
        if fresh {
            self.state.start_time = Some(Timestamp::now());
        }
        let boot = crate::state::boot_id().unwrap_or_default();
        let same_boot = self.state.boot_id == boot;
        self.state.boot_id = boot;
        if fresh {
            // Its state is written down before anything is made for it.
            return;
        }
        let adopted = if same_boot {
            Sandbox::adopt(self.sandbox_request()).await
        } else {
            Adopted::Nothing
        };
        match adopted {
            Adopted::Running(sandbox, containers) => {
                self.reporter
                    .event("Adopted", None, "the pod was running already");
                self.prepare_volumes();
                self.sandbox = Some(sandbox);
                self.sandbox_since = self.state.start_time;
                if let Some(ip) = self.state.pod_ip {
                    self.node.network.hold_again(&self.record, ip).await;
                }
                for exit in containers.exits {
                    self.note_start(&exit.name, exit.attempt, 0, exit.started);
                    self.note_exit(&exit).await;
                }
                for found in &containers.running {
                    self.note_start(&found.name, found.attempt, found.pid, found.started);
                }
                let running: Vec<String> = containers
                    .running
                    .into_iter()
                    .map(|found| found.name)
                    .collect();
                self.forget_lost(
                    &running,
                    "ContainerStatusUnknown",
                    "it was gone when the kubelet came back",
                );
                for name in running {
                    let pending = |one: &ContainerRecord| one.running() && one.hook_pending;
                    if self.state.container(&name).is_some_and(pending) {
                        self.begin_post_start(&name);
                    } else {
                        self.watch_container(&name);
                    }
                }
            }
            Adopted::Dead(exits) => {
                for exit in exits {
                    self.container_ended(&exit);
                }
                self.forget_lost(&[], "SupervisorDied", "the pod's supervisor died");
                self.clear_sandbox().await;
                self.again_from_the_start();
            }
            Adopted::Nothing => {
                let reason = if same_boot {
                    "SupervisorDied"
                } else {
                    "NodeReboot"
                };
                self.forget_lost(&[], reason, "it did not survive");
                self.clear_sandbox().await;
                self.again_from_the_start();
            }
        }
    }

    /// Notes a start that the kubelet before us did not live to write down.
    fn note_start(&mut self, name: &str, attempt: u32, pid: i32, started: Timestamp) {
        let Some(asked) = self.asked(name) else {
            return;
        };
        let hook = asked.lifecycle.as_ref();
        let pending = hook.is_some_and(|lifecycle| lifecycle.post_start.is_some());
        let startup = asked.startup_probe.is_some();
        let readiness = asked.readiness_probe.is_some();
        let Some(container) = self.state.container_mut(name) else {
            return;
        };
        let known =
            container.attempt() > attempt || container.attempt() == attempt && container.spent;
        if known || container.running() {
            return;
        }
        container.restarts = attempt;
        container.spent = false;
        container.retry_at = None;
        container.hook_pending = pending;
        container.started = !startup && !pending;
        container.ready = !startup && !readiness && !pending;
        container.state = ContainerState::Running { pid, started };
    }

    /// Containers that are said to run and do not: they ended with 137.
    pub(super) fn forget_lost(&mut self, running: &[String], reason: &str, message: &str) {
        let lost = self
            .state
            .containers
            .iter()
            .filter(|container| container.running() && !running.contains(&container.name));
        let lost: Vec<_> = lost
            .into_iter()
            .map(|container| container.name.clone())
            .collect();
        for name in lost {
            self.container_lost(&name, reason, message);
        }
    }

    /// Starts the probes of a container that runs already.
    pub(super) fn watch_container(&mut self, name: &str) {
        let Some(target) = self.target(name) else {
            return;
        };
        let passed = self
            .state
            .container(name)
            .is_some_and(|container| container.started);
        let probes = if passed && target.container.startup_probe.is_some() {
            let mut probes = Probes::default();
            probes.after_start(&target, &self.verdicts.0);
            probes
        } else {
            Probes::start(&target, &self.verdicts.0)
        };
        self.probes.insert(name.to_owned(), probes);
    }

    pub(super) fn startup_passed(&mut self, name: &str) {
        if let Some(container) = self.state.container_mut(name) {
            container.started = true;
        }
        let Some(target) = self.target(name) else {
            return;
        };
        if target.container.readiness_probe.is_none()
            && let Some(container) = self.state.container_mut(name)
        {
            container.ready = true;
        }
        let verdicts = self.verdicts.0.clone();
        self.probes
            .entry(name.to_owned())
            .or_default()
            .after_start(&target, &verdicts);
    }

    /// How probes and hooks reach the container.
    pub(super) fn target(&self, name: &str) -> Option<Target> {
        let state = self.state.container(name)?;
        let started = match &state.state {
            ContainerState::Running { started, .. } => *started,
            ContainerState::Waiting { .. } | ContainerState::Terminated(_) => Timestamp::now(),
        };
        Some(Target {
            executor: self.executor.clone(),
            probed: self.probed.clone(),
            address: self.state.pod_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            container: self.asked(name)?.clone(),
            attempt: state.attempt(),
            started,
        })
    }
}
