//! What is known of a pod: the two files that make a pod outlive its kubelet.
//!
//! `pod.json` is what was asked for: written once at admission, and again only when somebody asks for a stop.
//! `state.json` is what was last observed: written after every transition by the one process that owns
//! the pod. Both are replaced as a whole, so a reader sees the old or the new one, never half.
mod swap;

use crate::paths::Paths;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, Service};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The version that new files carry. A newer file than this is refused, an older one is read.
pub const VERSION: u32 = 1;

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRecord {
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// The pod as parsed, defaulted and validated.
    pub pod: Pod,
    /// The ConfigMaps that came in the same manifest and are of the pod's namespace.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Likewise the Secrets.
    pub secrets: BTreeMap<String, Secret>,
    /// Tokens of the pod's service account, by what it wishes of them ([`crate::admission::token_wish`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, String>,
    /// The services that the pod's containers get told of in their environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Whether the background process looks after the pod.
    pub detached: bool,
    /// Who wants the pod.
    #[serde(default)]
    pub origin: Origin,
    /// When the pod was admitted.
    pub created: Timestamp,
    /// Whether the pod is given up when it does not come up at the first try: somebody waits for it and will
    /// mend the manifest. Otherwise every failure is tried again.
    pub fail_fast: bool,
    /// Set by `rkubelet stop`: the pod is to end, and not to come back.
    pub stop: Option<StopRequest>,
    /// Set when the node ends the pod for its own good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
}

/// The kinds of sources that pods come from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// `rkubelet run`.
    #[default]
    Command,
    /// A file, or a directory of them.
    File,
    /// A manifest server.
    Url,
    /// etcd.
    Etcd,
    /// Requests to the kubelet's own HTTP API.
    Http,
    /// An API server.
    Api,
}

impl SourceKind {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::Command => "command",
            SourceKind::File => "file",
            SourceKind::Url => "url",
            SourceKind::Etcd => "etcd",
            SourceKind::Http => "http",
            SourceKind::Api => "api",
        }
    }
}

/// Who wants a pod: the source, and where in it the pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The source.
    pub source: SourceKind,
    /// The file, the URL, the key; empty for a command.
    pub place: String,
}

/// How a pod is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// Who wants it.
    #[serde(default)]
    pub by: StopBy,
}

/// Who wants a pod to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopBy {
    /// A person. The pod stays ended until its source wants it in other words.
    #[default]
    Command,
    /// Its source does not want it any more.
    Removed,
    /// Its source wants it in other words, and another pod follows.
    Replaced,
}

impl StopBy {
    /// The reason for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StopBy::Command => "stopped by request",
            StopBy::Removed => "its source does not want it any more",
            StopBy::Replaced => "its source wants it in other words",
        }
    }
}

/// Why and how the node ends a pod that nobody asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// The pod's `status.reason`: `Evicted`, `Preempting`, `NodeShutdown` ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// Seconds between the stop signal and SIGKILL.
    pub grace_seconds: u32,
}

impl PodRecord {
    /// The record of a pod that nothing else is known of.
    #[must_use]
    pub fn new(pod: Pod, created: Timestamp) -> Self {
        PodRecord {
            version: VERSION,
            pod,
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            services: Vec::new(),
            detached: false,
            origin: Origin::default(),
            created,
            fail_fast: false,
            stop: None,
            eviction: None,
        }
    }
    /// The record without what came beside the pod, for those who only look: what is left is no secret of the pod's, and small.
    #[must_use]
    pub fn alone(&self) -> Self {
        PodRecord {
            version: self.version,
            pod: self.pod.clone(),
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            tokens: BTreeMap::new(),
            services: Vec::new(),
            detached: self.detached,
            origin: self.origin.clone(),
            created: self.created,
            fail_fast: self.fail_fast,
            stop: self.stop,
            eviction: self.eviction.clone(),
        }
    }
    /// The pod's uid, which is in its metadata from admission on.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }
    /// Whether the pod is to run on, and to come back after a reboot, with no command that waits for it.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.detached || self.origin.source != SourceKind::Command
    }
    /// Whether a source wants the pod, as far as is known: then its record stays, also when it is over.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        let dismissed = self
            .stop
            .is_some_and(|stop| matches!(stop.by, StopBy::Removed | StopBy::Replaced));
        self.origin.source != SourceKind::Command && !dismissed
    }
    /// The seconds between SIGTERM and SIGKILL that the pod asks for itself.
    #[must_use]
    pub fn grace_seconds(&self) -> u32 {
        let spec = self.pod.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
        seconds.map_or(30, |seconds| u32::try_from(seconds).unwrap_or(0))
    }
    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }
    /// `namespace/name`, as messages and logs call it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }
    /// The container of that name, as it is asked for.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name)
    }
    /// All containers with their roles: init containers in order, then the others.
    pub fn containers(&self) -> impl Iterator<Item = (Role, &Container)> {
        let spec = self.pod.spec.as_ref();
        let inits = spec
            .and_then(|spec| spec.init_containers.as_deref())
            .unwrap_or_default();
        let mains = spec
            .map(|spec| spec.containers.as_slice())
            .unwrap_or_default();
        inits
            .iter()
            .map(|init| (Role::of_init(init), init))
            .chain(mains.iter().map(|main| (Role::Main, main)))
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in order, runs beside the others.
    Sidecar,
    /// One of `spec.containers`.
    Main,
}

impl Role {
    fn of_init(container: &Container) -> Role {
        match container.restart_policy.as_deref() {
            Some("Always") => Role::Sidecar,
            _ => Role::Init,
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// The exit code; 128 + n for a signal, as shells have it.
    pub exit_code: i32,
    /// The signal that ended it, 0 for none.
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` ...
    pub reason: String,
    /// The termination message, at most 4 KiB.
    pub message: String,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// Where a container stands.
///
/// ```text
/// Waiting --start--> Running --exit--> Terminated --restart--> Running
///    ^                                     |
///    `----------- back-off ----------------'   (Waiting{CrashLoopBackOff}; the end is in `last`)
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not started yet, or between two tries.
    Waiting {
        /// The reason in Kubernetes' words.
        reason: String,
        /// For people.
        message: String,
    },
    /// Its process runs.
    Running {
        /// The pid of its first process, as the host counts.
        pid: i32,
        /// When it started.
        started: Timestamp,
    },
    /// Its process has ended and no other try is due.
    Terminated(Termination),
}

/// Whom a container's first process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// What is known of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name in the pod.
    pub name: String,
    /// What it is to the pod.
    pub role: Role,
    /// Where it stands.
    pub state: ContainerState,
    /// How the last try before `state` ended.
    pub last: Option<Termination>,
    /// How often it was started again.
    pub restarts: u32,
    /// Failures in a row that the back-off counts; set back after ten minutes of running.
    pub failures: u32,
    /// Not before this time is it started again.
    pub retry_at: Option<Timestamp>,
    /// Whether its startup probe has passed (or it has none and runs).
    pub started: bool,
    /// Whether its readiness probe says so (or it has none and runs).
    pub ready: bool,
    /// The image that its last try was made from, as the manifest called it then.
    #[serde(default)]
    pub image: String,
    /// Whether its postStart hook is yet to be done.
    #[serde(default)]
    pub hook_pending: bool,
    /// Whom its last try ran as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<ContainerUser>,
    /// The id of the image it runs, `sha256:...`.
    pub image_id: String,
    /// Whether the current try has run and ended: then the next one has a new number.
    pub spent: bool,
}

impl ContainerRecord {
    /// A container that nobody has tried to start.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        ContainerRecord {
            name: name.to_owned(),
            role,
            state: ContainerState::Waiting {
                reason: "ContainerCreating".to_owned(),
                message: String::new(),
            },
            last: None,
            restarts: 0,
            failures: 0,
            retry_at: None,
            started: false,
            ready: false,
            image: String::new(),
            hook_pending: false,
            user: None,
            image_id: String::new(),
            spent: false,
        }
    }
    /// The number of the current try: its folder and its log file are named by it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.restarts
    }
    /// Whether its process runs.
    #[must_use]
    pub fn running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }
    /// How it ended last, whether another try is due or not.
    #[must_use]
    pub fn last_end(&self) -> Option<&Termination> {
        match &self.state {
            ContainerState::Terminated(end) => Some(end),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => self.last.as_ref(),
        }
    }
}

/// Where a pod stands, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all init containers have ended, or no container has started.
    Pending,
    /// At least one container runs or is about to.
    Running,
    /// All containers have ended with 0 and will not start again.
    Succeeded,
    /// All have ended, at least one of them badly.
    Failed,
}

impl Phase {
    /// Whether the pod is over.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

/// What was last observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// [`VERSION`] of the program that wrote it.
    pub version: u32,
    /// The boot that the rest is true of: after another boot nothing runs.
    pub boot_id: String,
    /// Where the pod stands.
    pub phase: Phase,
    /// Whether all containers have been started once.
    pub was_up: bool,
    /// Why, when the phase alone does not say: `DeadlineExceeded`, `Stopped` ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// When the kubelet took the pod up.
    pub start_time: Option<Timestamp>,
    /// The pod's own address; none on the host's network.
    pub pod_ip: Option<std::net::IpAddr>,
    /// The supervisor's pid, as the host counts.
    pub supervisor: Option<i32>,
    /// All containers, init containers first.
    pub containers: Vec<ContainerRecord>,
    /// When each condition last changed, by type.
    pub transitions: BTreeMap<String, (bool, Timestamp)>,
}

impl PodState {
    /// The state of a pod that was just admitted.
    #[must_use]
    pub fn new(record: &PodRecord, boot_id: &str) -> Self {
        PodState {
            version: VERSION,
            boot_id: boot_id.to_owned(),
            phase: Phase::Pending,
            was_up: false,
            reason: String::new(),
            message: String::new(),
            start_time: None,
            pod_ip: None,
            supervisor: None,
            containers: record
                .containers()
                .map(|(role, container)| ContainerRecord::new(&container.name, role))
                .collect(),
            transitions: BTreeMap::new(),
        }
    }
    /// The state of a pod of which the file is damaged, by a power cut in the middle of a write: what runs of it is found
    /// out again from its supervisor, what has ended runs again by its restartPolicy.
    fn lost(record: &PodRecord) -> Self {
        PodState {
            start_time: Some(record.created),
            ..PodState::new(record, &boot_id().unwrap_or_default())
        }
    }
    /// The record of the container of that name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers
            .iter()
            .find(|container| container.name == name)
    }
    /// Likewise, to change it.
    pub fn container_mut(&mut self, name: &str) -> Option<&mut ContainerRecord> {
        self.containers
            .iter_mut()
            .find(|container| container.name == name)
    }
}

/// The id of this boot.
///
/// # Errors
/// When /proc is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Replaces `path` by `value` as JSON; mode 0600, whole or not at all.
///
/// # Errors
/// Names the file.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value).map_err(io::Error::other)?)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension(format!("tmp{}", std::process::id()));
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(0o600);
    let mut file = options.open(&aside)?;
    file.write_all(bytes)?;
    drop(file);
    fs_err::rename(&aside, path)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    parse(path, &fs_err::read(path)?)
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(|err| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {err}", path.display()),
        )
    })
}

/// A pod with both of its files.
#[derive(Clone, Debug)]
pub struct StoredPod {
    /// What was asked for; shared by all who look at it.
    pub record: Arc<PodRecord>,
    /// What was last observed; a fresh one where none was written yet.
    pub state: PodState,
}

impl Paths {
    /// Writes what was asked for.
    ///
    /// # Errors
    /// Names the file.
    pub fn save_record(&self, record: &PodRecord) -> io::Result<()> {
        write_json(&self.pod(record.uid()).join("pod.json"), record)
    }
    /// Waits until what was asked for would survive a power cut. Apart from writing it, because a disk takes
    /// milliseconds for this and a pod can be started meanwhile.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush_record(&self, uid: &str) -> io::Result<()> {
        for path in [self.pod(uid).join("pod.json"), self.pod(uid), self.pods()] {
            fs_err::File::open(path)?.sync_all()?;
        }
        Ok(())
    }
    /// Writes what was observed.
    ///
    /// # Errors
    /// Names the file.
    pub fn save_state(&self, uid: &str, state: &PodState) -> io::Result<()> {
        let text = serde_json::to_vec(state).map_err(io::Error::other)?;
        swap::write(&self.pod(uid).join("state.json"), &text)
    }
    /// Reads one pod.
    ///
    /// # Errors
    /// Names the record that is missing, damaged or of a newer version. A damaged state is no error: see [`PodState::lost`].
    pub fn load(&self, uid: &str) -> io::Result<StoredPod> {
        let dir = self.pod(uid);
        let record: PodRecord = read_json(&dir.join("pod.json"))?;
        if record.version > VERSION {
            return Err(io::Error::other(format!(
                "{}: written by a newer rkubelet (format {}, this one reads up to {VERSION})",
                dir.display(),
                record.version
            )));
        }
        let path = dir.join("state.json");
        let state = match swap::read(&path) {
            Ok(text) => parse(&path, &text).unwrap_or_else(|err| {
                tracing::warn!(%err, "what was known of a pod is damaged; it is found out again");
                PodState::lost(&record)
            }),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                // Not written yet, or the pod is being forgotten; then its record went before.
                fs_err::metadata(dir.join("pod.json"))?;
                PodState::new(&record, "")
            }
            Err(err) => return Err(err),
        };
        Ok(StoredPod {
            record: Arc::new(record),
            state,
        })
    }
    /// The uids of all pods that have a record, whether it can be read or not.
    ///
    /// # Errors
    /// Only when the folder of pods itself cannot be read.
    pub fn uids(&self) -> io::Result<Vec<String>> {
        let entries = match fs_err::read_dir(self.pods()) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut uids = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A pod whose record is not there (yet) is not a pod.
            if entry.path().join("pod.json").exists() {
                uids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(uids)
    }
    /// Reads all pods, oldest first. What cannot be read is left out and named in the second list.
    ///
    /// # Errors
    /// Only when the folder of pods itself cannot be read.
    pub fn load_all(&self) -> io::Result<(Vec<StoredPod>, Vec<io::Error>)> {
        let (mut pods, mut broken) = (Vec::new(), Vec::new());
        for uid in self.uids()? {
            match self.load(&uid) {
                Ok(pod) => pods.push(pod),
                Err(err) => broken.push(err),
            }
        }
        pods.sort_by_key(|pod| pod.record.created);
        Ok((pods, broken))
    }
}
