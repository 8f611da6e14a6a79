//! What it takes to start a sandbox, and a container in it.
use super::SandboxError;
use crate::housekeeping::limits::{self, PodLimits};
use crate::paths::create_private;
use crate::sys;
use crate::volume::Opened;
use k8s_openapi::api::core::v1::PodSpec;
use oci_spec::runtime::Spec;
use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use rkube_runtime::compile::{CgroupAttach, Request, Rootfs, Seccomp, Settings, compile};
use rkube_runtime::seccomp::Cache;
use rkube_runtime::supervisor::{
    Container, ContainerState, LogLimits, LogTarget, Namespace, Prepare, SandboxConfig, Supervisor,
};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The size of the /dev/shm that the containers of a pod share.
const SHM_SIZE: u64 = 64 << 20;
/// The supervisor is the last of its pod that the kernel should kill for memory.
const SUPERVISOR_OOM_SCORE: i32 = -998;

/// A sandbox that is to be.
#[derive(Clone, Debug)]
pub struct SandboxRequest {
    /// The pod's folder under /run.
    pub dir: PathBuf,
    /// The host's cgroups.
    pub cgroups: Arc<Hierarchies>,
    /// The pod's cgroup.
    pub cgroup: String,
    /// The pod's hostname.
    pub hostname: String,
    /// The pod's domain name.
    pub domainname: Option<String>,
    /// The pod.
    pub spec: PodSpec,
    /// What the node sets for every pod.
    pub limits: PodLimits,
}

impl SandboxRequest {
    /// Whether containers share a pid namespace, with each other or with the host.
    pub(super) fn shared_pids(&self) -> bool {
        self.spec.share_process_namespace.unwrap_or(false) || self.spec.host_pid.unwrap_or(false)
    }

    /// Limits the pod's cgroup, which is there already.
    pub(super) fn limit_cgroup(&self) -> Result<(), SandboxError> {
        let own = limits::of_pod(&self.spec, self.limits.pids);
        let own = own.map_err(|err| SandboxError::Files(io::Error::other(err)))?;
        Ok(Cgroup::open(&self.cgroups, Path::new(&self.cgroup))?.apply(&own)?)
    }

    /// Sets limits anew that may have been others for the kubelet before this one. What does not take them goes on with
    /// the old ones.
    pub(super) fn renew_limits(&self, supervisor: &mut Supervisor, containers: &[Container]) {
        if let Err(err) = self.limit_cgroup() {
            tracing::warn!(
                cgroup = self.cgroup,
                err = crate::error::chain(&err),
                "cannot limit"
            );
        }
        for container in containers {
            if container.state == ContainerState::Running
                && let Err(err) = supervisor.log_limits(&container.name, self.limits.log)
            {
                let err = crate::error::chain(&err);
                tracing::warn!(container = container.name, err, "cannot limit the log");
            }
        }
    }

    pub(super) fn launch(&self) -> Result<Supervisor, SandboxError> {
        let own = |host: Option<bool>| {
            if host.unwrap_or(false) {
                Namespace::Host
            } else {
                Namespace::New
            }
        };
        let spec = &self.spec;
        create_private(&self.dir).map_err(SandboxError::Files)?;
        if own(spec.host_ipc) == Namespace::New {
            let shm = self.dir.join("shm");
            if !shm.is_dir() {
                create_private(&shm).map_err(SandboxError::Files)?;
            }
            sys::unmount(&shm).map_err(SandboxError::Files)?;
            sys::mount_tmpfs(&shm, Some(SHM_SIZE), 0o1777).map_err(SandboxError::Files)?;
        }
        let sysctls = spec
            .security_context
            .as_ref()
            .and_then(|context| context.sysctls.as_ref());
        let cgroup = Cgroup::create(&self.cgroups, &Path::new(&self.cgroup).join("sup"))?;
        self.limit_cgroup()?;
        // A pod on the host's network has the host's name as well.
        let uts = own(spec.host_network);
        let named = |name: &str| {
            if uts == Namespace::New {
                name.to_owned()
            } else {
                String::new()
            }
        };
        Ok(Supervisor::launch(&SandboxConfig {
            dir: self.dir.clone(),
            net: own(spec.host_network),
            ipc: own(spec.host_ipc),
            uts,
            pid: own(spec.host_pid),
            hostname: named(&self.hostname),
            domainname: named(self.domainname.as_deref().unwrap_or_default()),
            sysctls: sysctls
                .into_iter()
                .flatten()
                .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
                .collect(),
            cgroup: attach(&cgroup)?,
            oom_score_adj: Some(SUPERVISOR_OOM_SCORE),
        })?)
    }
}

/// A container that is to be.
#[derive(Debug)]
pub struct ContainerRequest {
    /// Its name.
    pub name: String,
    /// Which run of it.
    pub attempt: u32,
    /// What the OCI calls for.
    pub spec: Spec,
    /// What the volumes among its mounts are of.
    pub sources: Opened,
    /// The image's layers, the top-most first.
    pub lowers: Vec<PathBuf>,
    /// Its folder: `upper`, `work`, `config.json`.
    pub dir: PathBuf,
    /// The folder of its logs.
    pub log_dir: PathBuf,
    /// Compiled filters, by content.
    pub seccomp_cache: PathBuf,
    /// The host's cgroups.
    pub cgroups: Arc<Hierarchies>,
    /// Whether its input can be attached to.
    pub stdin: bool,
    /// How large its log may grow.
    pub log: LogLimits,
}

impl ContainerRequest {
    pub(super) fn start(
        &self,
        supervisor: &mut Supervisor,
    ) -> Result<(i32, Arc<Cgroup>), SandboxError> {
        let linux = self.spec.linux().as_ref();
        let path = linux
            .and_then(|linux| linux.cgroups_path().clone())
            .unwrap_or_default();
        // Each run has a cgroup of its own: counters begin at zero, and nobody is left from the run before.
        if self.attempt > 0
            && let Ok(old) = Cgroup::open(&self.cgroups, &path)
        {
            old.kill()?;
            old.delete()?;
        }
        let cgroup = Cgroup::create(&self.cgroups, &path)?;
        if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
            cgroup.apply(resources)?;
        }
        // All of a container dies together when it runs out of memory; v1 has no such switch.
        cgroup.set_oom_group()?;
        let config =
            serde_json::to_vec(&self.spec).map_err(|err| SandboxError::Files(err.into()))?;
        fs_err::write(self.dir.join("config.json"), config).map_err(SandboxError::Files)?;
        let launch = compile(Request {
            spec: &self.spec,
            bundle: &self.dir,
            rootfs: Rootfs::Overlay {
                lowers: self.lowers.clone(),
                upper: self.dir.join("upper"),
                work: self.dir.join("work"),
                volatile: true,
            },
            sources: &self.sources,
            cgroup: attach(&cgroup)?,
            seccomp: seccomp(&self.spec, &self.seccomp_cache)?,
            settings: Settings::default(),
        })?;
        create_private(&self.log_dir).map_err(SandboxError::Files)?;
        let log_dir = fs_err::File::open(&self.log_dir).map_err(SandboxError::Files)?;
        let prepared = supervisor.prepare(&Prepare {
            name: &self.name,
            attempt: self.attempt,
            launch: &launch,
            log: Some(LogTarget {
                dir: log_dir.as_fd(),
                file: &format!("{}.log", self.attempt),
                limits: self.log,
            }),
            stdin: self.stdin,
            tty: self
                .spec
                .process()
                .as_ref()
                .and_then(|process| process.terminal())
                .unwrap_or(false),
        })?;
        if let Err(err) = supervisor.start(&self.name) {
            // What never ran is of no interest to the next kubelet.
            let _ = supervisor.forget(&self.name);
            return Err(err.into());
        }
        Ok((i32::try_from(prepared.pid).unwrap_or(0), Arc::new(cgroup)))
    }
}

/// The compiled filter of a spec, if it has one.
pub(super) fn seccomp(spec: &Spec, cache: &Path) -> Result<Option<Seccomp>, SandboxError> {
    let Some(profile) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref())
    else {
        return Ok(None);
    };
    let program = Cache::new(Some(cache.to_owned())).compile(profile)?;
    Ok(Some(Seccomp {
        program: program.filter.clone(),
        flags: program.flags,
    }))
}

/// The descriptors by which a process gets into the cgroup.
pub(super) fn attach(cgroup: &Cgroup) -> Result<CgroupAttach, SandboxError> {
    let attach = cgroup.attach_fds()?;
    Ok(CgroupAttach {
        into: attach.unified_dir,
        procs: attach.procs,
    })
}
