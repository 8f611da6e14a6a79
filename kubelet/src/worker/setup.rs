//! What a pod's containers stand on, volumes, sandbox and network: making it, and taking it away.
use super::Worker;
use super::leftovers::{Leftovers, remove_files};
use super::stop::Over;
use super::work::Done;
use crate::etc::Etc;
use crate::network::NetworkError;
use crate::plan;
use crate::sandbox::{Sandbox, SandboxError, SandboxRequest};
use crate::state::ContainerState;
use crate::volume::{self, VolumeError, Volumes};
use jiff::{SignedDuration, Timestamp};
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
    /// Takes the pod one step towards a sandbox with containers: volumes, then sandbox and network. Says whether it is
    /// there; what failed is tried again later.
    pub(super) async fn setup(&mut self) -> bool {
        if !self.volumes_ready {
            if self.preparing.is_none() {
                self.prepare_volumes();
            }
            return false;
        }
        if self.sandbox.is_some() {
            return true;
        }
        match self.try_setup().await {
            Ok(()) => {
                self.setup_retry = None;
                true
            }
            Err(err) => {
                self.setup_failed(&err);
                self.clear_sandbox().await;
                false
            }
        }
    }

    /// Begins to make the pod's volumes, or to bring them up to date. A repository or an image takes its time.
    pub(super) fn prepare_volumes(&mut self) {
        if self.preparing.is_some() {
            // The record has changed under it.
            self.volumes_stale = true;
            return;
        }
        let (node, record) = (self.node.clone(), self.record.clone());
        let (reporter, update) = (self.reporter.clone(), self.volumes_ready);
        let cancel = self.cancel.clone();
        self.preparing = Some(self.tasks.spawn(async move {
            let since = Instant::now();
            let refreshed = if update {
                volume::refresh(&node.paths, &record)
            } else {
                Ok(())
            };
            let volumes = match refreshed {
                Ok(()) => volume::prepare(&node, &record, &reporter, &cancel).await,
                Err(err) => Err(err),
            };
            reporter.timing("volumes", since);
            (None, Done::Volumes(volumes))
        }));
    }

    /// The volumes are there, or cannot be had.
    pub(super) fn volumes_done(&mut self, volumes: Result<Volumes, VolumeError>) {
        self.preparing = None;
        match volumes {
            Ok(volumes) => {
                self.volumes = volumes;
                self.volumes_ready = true;
                if self.sandbox.is_some() && self.state.reason == "FailedMount" {
                    self.state.reason.clear();
                    self.state.message.clear();
                }
            }
            // The containers that run have what they had.
            Err(err) if self.volumes_ready => {
                let message = crate::error::chain(&err);
                self.reporter.warning("FailedMount", None, message);
            }
            Err(err) => self.setup_failed(&err.into()),
        }
        if std::mem::take(&mut self.volumes_stale) {
            self.prepare_volumes();
        }
    }

    /// Notes why there is no sandbox, and when to try again.
    fn setup_failed(&mut self, err: &SetupError) {
        let failures = self
            .setup_retry
            .map_or(0, |(_, failures)| failures)
            .saturating_add(1);
        let wait = self.node.backoff.wait(failures.saturating_add(1));
        let at = plan::later(Timestamp::now(), wait.max(SignedDuration::from_secs(1)));
        self.setup_retry = Some((at, failures));
        let message = format!(
            "{}; next try at {}",
            crate::error::chain(err),
            plan::clock(at)
        );
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
        self.note_failure(err.reason(), &crate::error::chain(err));
        self.reporter.warning(err.reason(), None, message);
    }

    async fn try_setup(&mut self) -> Result<(), SetupError> {
        let since = Instant::now();
        let uid = self.record.uid().to_owned();
        let host_network = self.spec().host_network.unwrap_or(false);
        let sandbox = Sandbox::create(self.sandbox_request()).await?;
        self.reporter.timing("sandbox", since);
        self.state.supervisor = Some(sandbox.pid());
        self.sandbox_since = Some(Timestamp::now());

        let since = Instant::now();
        if !host_network {
            let netns = sandbox.netns().await?;
            let ip = self.node.network.attach(&uid, netns).await?;
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

    pub(super) fn sandbox_request(&self) -> SandboxRequest {
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

    /// Takes away what a sandbox had: network, rules, processes. Nothing there is success. Says what is left.
    pub(super) async fn clear_sandbox(&mut self) -> Vec<String> {
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.shutdown().await;
        }
        self.works.clear();
        self.probes.clear();
        let left = self.leftovers(false).remove().await;
        for failure in &left {
            self.reporter.warning("FailedKillPod", None, failure);
        }
        self.state.supervisor = None;
        self.state.pod_ip = None;
        left
    }

    fn leftovers(&self, files: bool) -> Leftovers {
        Leftovers {
            node: self.node.clone(),
            pod: self.record.full_name(),
            uid: self.record.uid().to_owned(),
            cgroup: self.cgroup(),
            files,
        }
    }

    /// Ends the pod for good: what it had on this host goes, its record and logs stay. What cannot be taken away now is
    /// tried again behind the pod's back: it is over all the same.
    pub(super) async fn finish(&mut self, over: Over) {
        let since = Instant::now();
        let mut left = self.clear_sandbox().await;
        if let Over::Ended(phase) = over {
            let uid = self.record.uid().to_owned();
            for failure in remove_files(&self.node.paths, &uid).await {
                self.reporter.warning("FailedKillPod", None, &failure);
                left.push(failure);
            }
            self.state.phase = phase;
            for container in &mut self.state.containers {
                container.retry_at = None;
            }
        }
        for container in &mut self.state.containers {
            container.ready = false;
            container.started = false;
        }
        crate::status::note_transitions(&self.record, &mut self.state, Timestamp::now());
        self.reporter.timing("teardown", since);
        if !left.is_empty() {
            let ended = matches!(over, Over::Ended(_));
            tokio::spawn(self.leftovers(ended).remove_in_the_end());
        }
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
