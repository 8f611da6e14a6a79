//! Taking a pod up: from nothing, or where another kubelet left it.
use super::Worker;
use crate::etc::Etc;
use crate::network::NetworkError;
use crate::paths::Paths;
use crate::probe::{Probes, Target};
use crate::sandbox::{Adopted, Sandbox, SandboxError, SandboxRequest};
use crate::state::{ContainerState, Phase};
use crate::volume::{self, VolumeError};
use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// Why a sandbox could not be made; each has Kubernetes' word for its event.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("cannot write the pod's files")]
    Files(#[source] std::io::Error),
}

impl SetupError {
    fn reason(&self) -> &'static str {
        match self {
            SetupError::Volume(_) => "FailedMount",
            SetupError::Sandbox(_) | SetupError::Network(_) | SetupError::Files(_) => {
                "FailedCreatePodSandBox"
            }
        }
    }
}

impl Worker {
    /// Finds out what still runs of the pod. Afterwards the state is true: adopted, or nothing runs.
    pub(super) async fn take_up(&mut self) {
        if self.state.start_time.is_none() {
            self.state.start_time = Some(Timestamp::now());
        }
        let boot = crate::state::boot_id().unwrap_or_default();
        let same_boot = self.state.boot_id == boot;
        self.state.boot_id = boot;
        let adopted = if same_boot {
            Sandbox::adopt(self.sandbox_request()).await
        } else {
            Adopted::Nothing
        };
        match adopted {
            Adopted::Running(sandbox, containers) => {
                self.reporter
                    .event("Adopted", None, "the pod was running already");
                match volume::ensure(&self.node.paths, &self.record) {
                    Ok(volumes) => self.volumes = volumes,
                    Err(err) => self.reporter.warning("FailedMount", None, err.to_string()),
                }
                self.sandbox = Some(sandbox);
                if let Some(ip) = self.state.pod_ip {
                    self.node.network.hold_again(&self.record, ip).await;
                }
                for exit in containers.exits {
                    self.note_start(&exit.name, exit.attempt, 0, exit.started);
                    self.note_exit(&exit);
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
                    self.watch_container(&name);
                }
            }
            Adopted::Dead(exits) => {
                for exit in exits {
                    self.container_ended(&exit);
                }
                self.forget_lost(&[], "SupervisorDied", "the pod's supervisor died");
                self.clear_sandbox().await;
            }
            Adopted::Nothing => {
                let reason = if same_boot {
                    "SupervisorDied"
                } else {
                    "NodeReboot"
                };
                self.forget_lost(&[], reason, "it did not survive");
                self.clear_sandbox().await;
            }
        }
    }

    /// Notes a start that the kubelet before us did not live to write down.
    fn note_start(&mut self, name: &str, attempt: u32, pid: i32, started: Timestamp) {
        let mut asked = self.record.containers().map(|(_, container)| container);
        let Some(asked) = asked.find(|asked| asked.name == name) else {
            return;
        };
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
        container.started = !startup;
        container.ready = !startup && !readiness;
        container.state = ContainerState::Running { pid, started };
    }

    /// Containers that are said to run and do not: they ended with 137.
    fn forget_lost(&mut self, running: &[String], reason: &str, message: &str) {
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

    /// Makes volumes, sandbox and network. On failure notes when to try again and returns false.
    pub(super) async fn setup(&mut self) -> bool {
        match self.try_setup().await {
            Ok(()) => {
                self.setup_retry = None;
                true
            }
            Err(err) => {
                let failures = self
                    .setup_retry
                    .map_or(0, |(_, failures)| failures)
                    .saturating_add(1);
                let wait = self
                    .node
                    .backoff
                    .wait(failures.saturating_add(1))
                    .max(SignedDuration::from_secs(1));
                let at = Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX);
                self.setup_retry = Some((at, failures));
                let message = crate::error::chain(&err);
                for container in &mut self.state.containers {
                    if let ContainerState::Waiting {
                        reason,
                        message: said,
                    } = &mut container.state
                    {
                        "ContainerCreating".clone_into(reason);
                        said.clone_from(&message);
                    }
                }
                self.state.reason = err.reason().to_owned();
                self.state.message.clone_from(&message);
                self.note_failure(err.reason(), &message);
                self.reporter.warning(err.reason(), None, message);
                self.clear_sandbox().await;
                false
            }
        }
    }

    async fn try_setup(&mut self) -> Result<(), SetupError> {
        let since = Instant::now();
        self.volumes = volume::ensure(&self.node.paths, &self.record)?;
        self.reporter.timing("volumes", since);

        let since = Instant::now();
        let uid = self.record.uid().to_owned();
        let host_network = self.spec().host_network.unwrap_or(false);
        let sandbox = Sandbox::create(self.sandbox_request()).await?;
        self.reporter.timing("sandbox", since);
        self.state.supervisor = Some(sandbox.pid());

        let since = Instant::now();
        if !host_network {
            let ip = self.node.network.attach(&uid, sandbox.netns()?).await?;
            self.state.pod_ip = Some(ip);
            self.reporter.timing("network", since);
            let since = Instant::now();
            self.node.network.publish(&self.record, ip).await?;
            self.reporter.timing("ports", since);
        }
        self.write_etc().map_err(SetupError::Files)?;
        self.reporter.event(
            "SandboxCreated",
            None,
            match self.state.pod_ip {
                Some(ip) => format!("pod {} has address {ip}", self.record.full_name()),
                None => format!("pod {} is on the host's network", self.record.full_name()),
            },
        );
        self.state.reason.clear();
        self.state.message.clear();
        self.sandbox = Some(sandbox);
        // What is observed from here on is true of a supervisor that lives.
        let _ = self.node.paths.save_state(&uid, &self.state);
        Ok(())
    }

    fn sandbox_request(&self) -> SandboxRequest {
        SandboxRequest {
            dir: self.node.paths.pod_run(self.record.uid()),
            cgroups: self.node.cgroups.clone(),
            cgroup: self.cgroup(),
            hostname: self.hostname(),
            domainname: self.domainname(),
            spec: self.spec().clone(),
            limits: self.node.limits,
        }
    }

    fn write_etc(&self) -> std::io::Result<()> {
        let etc = Etc {
            spec: self.spec(),
            hostname: &self.hostname(),
            pod_ip: self.state.pod_ip,
        };
        etc.write(&self.node.paths.pod(self.record.uid()).join("etc"))
    }

    /// Takes away what a sandbox had: network, rules, processes. Nothing there is success.
    pub(super) async fn clear_sandbox(&mut self) {
        let uid = self.record.uid().to_owned();
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.shutdown().await;
        }
        self.probes.clear();
        // The packet filter and the cgroups have nothing to do with each other, and both take milliseconds.
        let (dir, cgroup) = (self.node.paths.pod_run(&uid), self.cgroup());
        let (withdrawn, removed) = tokio::join!(
            self.node.network.withdraw(&uid),
            crate::sandbox::remove(&dir, &self.node.cgroups, &cgroup),
        );
        let failures = [
            withdrawn.err().map(|err| crate::error::chain(&err)),
            removed.err().map(|err| crate::error::chain(&err)),
        ];
        for failure in failures.into_iter().flatten() {
            self.reporter.warning("FailedKillPod", None, failure);
        }
        self.state.supervisor = None;
        self.state.pod_ip = None;
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
        let container = self
            .record
            .containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name)?;
        Some(Target {
            executor: crate::sandbox::Executor::new(
                &self.node.paths,
                self.record.uid(),
                &self.node.cgroups,
            ),
            address: self.state.pod_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            container: container.clone(),
            attempt: self.state.container(name)?.attempt(),
        })
    }

    /// Ends the pod for good: what it had on this host goes, its record and logs stay.
    pub(super) async fn finish(&mut self, phase: Phase) {
        let since = Instant::now();
        self.clear_sandbox().await;
        let (paths, uid) = (self.node.paths.clone(), self.record.uid().to_owned());
        let removed = tokio::task::spawn_blocking(move || remove_files(&paths, &uid)).await;
        for failure in removed.unwrap_or_default() {
            self.reporter
                .warning("FailedKillPod", None, failure.to_string());
        }
        self.state.phase = phase;
        for container in &mut self.state.containers {
            container.ready = false;
            container.retry_at = None;
        }
        crate::status::note_transitions(&self.record, &mut self.state, Timestamp::now());
        self.reporter.timing("teardown", since);
    }

    pub(super) fn spec(&self) -> &k8s_openapi::api::core::v1::PodSpec {
        self.record
            .pod
            .spec
            .as_ref()
            .expect("admission lets no pod without a spec through")
    }

    /// The pod's cgroup, by its quality of service.
    pub(super) fn cgroup(&self) -> String {
        cgroup_of(&self.record.pod)
    }

    pub(super) fn hostname(&self) -> String {
        let spec = self.spec();
        if spec.host_network.unwrap_or(false) {
            return self.node.name.clone();
        }
        let name = spec
            .hostname
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or(self.record.name());
        // sethostname(2) takes 64 bytes, a pod's name may have 253.
        let short: String = name.chars().take(63).collect();
        let short = short.trim_end_matches(['-', '.']).to_owned();
        match (
            spec.set_hostname_as_fqdn.unwrap_or(false),
            self.domainname(),
        ) {
            (true, Some(domain)) => format!("{short}.{domain}"),
            (true | false, _) => short,
        }
    }

    fn domainname(&self) -> Option<String> {
        let subdomain = self
            .spec()
            .subdomain
            .as_deref()
            .filter(|name| !name.is_empty())?;
        Some(format!(
            "{subdomain}.{}.svc.cluster.local",
            self.record.namespace()
        ))
    }
}

/// Volumes in memory and writable layers go with the pod; its record and logs stay. Gives what could not be removed.
fn remove_files(paths: &Paths, uid: &str) -> Vec<std::io::Error> {
    let volumes = volume::remove(paths, uid);
    let layers = ["containers", "volumes"].map(|name| {
        match fs_err::remove_dir_all(paths.pod(uid).join(name)) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    });
    std::iter::once(volumes)
        .chain(layers)
        .filter_map(Result::err)
        .collect()
}

/// The cgroup of a pod: `kubepods/<class>/pod<uid>`, guaranteed pods straight below `kubepods`.
#[must_use]
pub fn cgroup_of(pod: &k8s_openapi::api::core::v1::Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = pod
        .spec
        .as_ref()
        .map_or(rkube_api::qos::QosClass::BestEffort, rkube_api::qos::class);
    match class {
        rkube_api::qos::QosClass::Guaranteed => format!("kubepods/pod{uid}"),
        rkube_api::qos::QosClass::Burstable => format!("kubepods/burstable/pod{uid}"),
        rkube_api::qos::QosClass::BestEffort => format!("kubepods/besteffort/pod{uid}"),
    }
}
