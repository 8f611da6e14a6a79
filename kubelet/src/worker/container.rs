//! Starting one container: image, spec, launch.
use super::Worker;
use crate::images::ImageError;
use crate::paths::create_private;
use crate::sandbox::{ContainerRequest, SandboxError};
use crate::state::{ContainerState, Role};
use crate::translate::{ContainerContext, PodContext, TranslateError, container_spec, mounts};
use crate::volume::{self, VolumeError};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why a container did not start; each has Kubernetes' word.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Config(#[from] TranslateError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot make the container's files")]
    Files(#[source] std::io::Error),
    #[error(
        "command \"{program}\" is not in image {image} (PATH is {path}); mend `command:` or the image"
    )]
    NotFound {
        program: String,
        image: String,
        path: String,
    },
    #[error("command \"{program}\" of image {image} cannot be executed")]
    NotExecutable {
        program: String,
        image: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Launch(#[from] SandboxError),
}

impl StartError {
    fn reason(&self) -> &'static str {
        match self {
            StartError::Image(err) => err.reason(),
            StartError::Config(_) | StartError::Volume(_) => "CreateContainerConfigError",
            StartError::Files(_) => "CreateContainerError",
            StartError::NotFound { .. }
            | StartError::NotExecutable { .. }
            | StartError::Launch(_) => "RunContainerError",
        }
    }
}

impl Worker {
    /// Starts the container of that index; a failure becomes its state.
    pub(super) async fn start_container(&mut self, index: usize) {
        let Some((role, container)) = self.record.containers().nth(index) else {
            return;
        };
        let container = container.clone();
        self.next_attempt(index);
        match self.try_start(index, &container).await {
            Ok(()) => {
                self.watch_container(&container.name);
                if role != Role::Init {
                    self.post_start(&container).await;
                }
            }
            // A program that cannot be run ends a container that must not be tried again.
            Err(err @ StartError::NotFound { .. }) => {
                self.container_unstartable(index, 127, &crate::error::chain(&err))
            }
            Err(err @ StartError::NotExecutable { .. }) => {
                self.container_unstartable(index, 126, &crate::error::chain(&err));
            }
            Err(err) => self.not_started(index, err.reason(), crate::error::chain(&err)),
        }
    }

    /// What ended becomes the past: a new try has a new number, folder and log file.
    fn next_attempt(&mut self, index: usize) {
        let container = &mut self.state.containers[index];
        if let ContainerState::Terminated(end) = container.state.clone() {
            container.last = Some(end);
        }
        // `restarts` counts tries after one that ran; a try that failed before is repeated under its number.
        if std::mem::take(&mut container.spent) {
            container.restarts = container.restarts.saturating_add(1);
        }
        container.retry_at = None;
        container.started = false;
        container.ready = false;
        container.state = ContainerState::Waiting {
            reason: "ContainerCreating".to_owned(),
            message: String::new(),
        };
    }

    async fn try_start(&mut self, index: usize, container: &Container) -> Result<(), StartError> {
        let since = Instant::now();
        let attempt = self.state.containers[index].attempt();
        let image = self
            .node
            .images
            .ensure(
                &self.record,
                &self.with_pull_policy(container, attempt),
                &self.reporter,
            )
            .await?;
        let started = &mut self.state.containers[index];
        started.image = container.image.clone().unwrap_or_default();
        started.image_id = image.id.to_string();
        self.reporter
            .timing(&format!("image of {}", container.name), since);

        let since = Instant::now();
        let uid = self.record.uid();
        let dir = self.node.paths.container(uid, &container.name, attempt);
        let made = self.make_files(&dir, container, attempt);
        made.map_err(StartError::Files)?;
        let hostname = self.hostname();
        let etc = self.node.paths.pod(uid).join("etc");
        let shm = self.sandbox.as_ref().and_then(|sandbox| sandbox.shm());
        let cgroup = self.cgroup();
        let pod = PodContext {
            record: &self.record,
            pod_ip: self.state.pod_ip.or_else(|| self.node.network.host_ip()),
            host_ip: self.node.network.host_ip(),
            node_name: &self.node.name,
            hostname: &hostname,
            volumes: &self.volumes,
            etc: &etc,
            shm: shm.as_deref(),
            seccomp_profiles: &self.node.paths.seccomp_profiles(),
            cgroup: &cgroup,
        };
        let ctx = ContainerContext {
            pod: &pod,
            container,
            image: &image.config,
            lowers: &image.lowers,
            termination_log: &dir.join("termination-log"),
        };
        let spec = container_spec(&ctx)?;
        let sources = volume::open(&self.volumes, &mounts::wanted(&ctx)?)?;
        let program = Program::of(&spec);
        let request = ContainerRequest {
            name: container.name.clone(),
            attempt,
            spec,
            sources,
            lowers: image.lowers.clone(),
            dir,
            log_dir: self.log_dir().join(&container.name),
            seccomp_cache: self.node.paths.seccomp(),
            cgroups: self.node.cgroups.clone(),
            stdin: container.stdin.unwrap_or(false),
            log: self.node.limits.log,
        };
        let sandbox = self.sandbox.as_mut();
        let pid = sandbox
            .expect("containers start in a sandbox")
            .start_container(request)
            .await
            .map_err(|err| unstartable(err, container, &program))?;
        self.reporter
            .timing(&format!("start of {}", container.name), since);

        let has_startup_probe = container.startup_probe.is_some();
        let record = &mut self.state.containers[index];
        record.state = ContainerState::Running {
            pid,
            started: Timestamp::now(),
        };
        record.started = !has_startup_probe;
        record.ready = !has_startup_probe && container.readiness_probe.is_none();
        let what = format!("pid {pid}, try {}", attempt + 1);
        self.reporter.event("Started", Some(&container.name), what);
        Ok(())
    }

    /// The command that admitted the pod has just asked the registry; the first try does not ask again.
    fn with_pull_policy(&self, container: &Container, attempt: u32) -> Container {
        let mut container = container.clone();
        let asked = self.record.fail_fast && attempt == 0 && !self.state.was_up;
        if asked && container.image_pull_policy.as_deref() == Some("Always") {
            container.image_pull_policy = Some("IfNotPresent".to_owned());
        }
        container
    }

    fn make_files(&self, dir: &Path, container: &Container, attempt: u32) -> std::io::Result<()> {
        // A try that was cut short may have left a used work directory, which overlayfs refuses.
        match fs_err::remove_dir_all(dir) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
        create_private(dir)?;
        for name in ["upper", "work"] {
            fs_err::create_dir(dir.join(name))?;
        }
        // What containers make under / belongs to root and is passable for all users.
        set_mode(&dir.join("upper"), 0o755)?;
        fs_err::write(dir.join("termination-log"), "")?;
        set_mode(&dir.join("termination-log"), 0o666)?;
        create_private(&self.log_dir().join(&container.name))?;
        self.forget_tries(container, attempt)
    }

    /// Removes what tries left that nobody will ask for: of those that are over only the newest are kept, and their
    /// writable layers only of the last one.
    fn forget_tries(&self, container: &Container, attempt: u32) -> std::io::Result<()> {
        let (paths, uid) = (&self.node.paths, self.record.uid());
        if let Some(old) = attempt.checked_sub(2) {
            remove_tree(&paths.container(uid, &container.name, old))?;
        }
        let Some(oldest) = attempt.checked_sub(self.node.limits.kept_tries) else {
            return Ok(());
        };
        let logs = self.log_dir().join(&container.name);
        for entry in fs_err::read_dir(&logs)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.split_once(".log"));
            let number = number.and_then(|(number, _)| number.parse::<u32>().ok());
            if number.is_some_and(|number| number < oldest) {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The folder of the pod's logs.
    pub(super) fn log_dir(&self) -> std::path::PathBuf {
        self.node.paths.pod_logs(
            self.record.namespace(),
            self.record.name(),
            self.record.uid(),
        )
    }

    /// Runs the postStart hook; a failure ends the container, as Kubernetes has it.
    async fn post_start(&mut self, container: &Container) {
        let Some(handler) = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.as_ref())
        else {
            return;
        };
        let Some(target) = self.target(&container.name) else {
            return;
        };
        // The hook may be slow, and a stop must not wait for it longer than for the pod.
        let limit = Duration::from_secs(u64::from(self.grace().max(1)));
        if let Err(what) = crate::probe::hook(handler, &target, limit).await {
            self.reporter
                .warning("FailedPostStartHook", Some(&container.name), what);
            self.stop_containers(std::slice::from_ref(&container.name), self.grace())
                .await;
        }
    }
}

/// What was to be run, for the words of its failure.
struct Program {
    name: String,
    path: String,
}

impl Program {
    fn of(spec: &oci_spec::runtime::Spec) -> Self {
        let process = spec.process().as_ref();
        let name = process
            .and_then(|process| process.args().as_ref()?.first().cloned())
            .unwrap_or_default();
        let env = process.and_then(|process| process.env().as_ref());
        let path = env
            .into_iter()
            .flatten()
            .find_map(|word| word.strip_prefix("PATH="));
        Program {
            name,
            path: path.unwrap_or_default().to_owned(),
        }
    }
}

fn unstartable(err: SandboxError, container: &Container, program: &Program) -> StartError {
    let (name, image) = (
        program.name.clone(),
        container.image.clone().unwrap_or_default(),
    );
    match (err.exit_code(), err.errno()) {
        (Some(127), _) => StartError::NotFound {
            program: name,
            image,
            path: program.path.clone(),
        },
        (Some(126), Some(source)) => StartError::NotExecutable {
            program: name,
            image,
            source,
        },
        _ => StartError::Launch(err),
    }
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    match fs_err::remove_dir_all(dir) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
