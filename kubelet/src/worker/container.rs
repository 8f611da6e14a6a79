//! Starting one container: image, spec, launch.
use super::Worker;
use super::files::Files;
use super::work::{Done, Work};
use crate::images::{ImageError, ReadyImage};
use crate::sandbox::{ContainerRequest, SandboxError};
use crate::state::{ContainerState, ContainerUser};
use crate::translate::{ContainerContext, PodContext, TranslateError, container_spec, mounts};
use crate::volume::{self, VolumeError};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Why a container did not start; each has Kubernetes' word.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
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

/// How long a postStart hook may take at most: the container is not ready before, and a stop ends the hook.
const HOOK_LIMIT: Duration = Duration::from_secs(3600);

impl Worker {
    /// Takes a container one step towards its start, unless it waits for something: its image, those before it, its own
    /// end. Says whether it runs now.
    pub(super) async fn start_container(&mut self, index: usize) -> bool {
        let Some((_, container)) = self.record.containers().nth(index) else {
            return false;
        };
        let container = container.clone();
        let ready = match self.works.get(&container.name).map(|item| &item.work) {
            None => {
                self.fetch_image(index, &container);
                return false;
            }
            Some(Work::Image | Work::PostStart | Work::Ending(_)) => return false,
            Some(Work::Ready(image)) => image.clone(),
        };
        if self.is_behind(index) {
            return false;
        }
        self.works.remove(&container.name);
        let err = match self.launch(index, &container, &ready).await {
            Ok(()) => {
                self.post_start(index, &container);
                return true;
            }
            Err(err) => err,
        };
        let message = crate::error::chain(&err);
        match err {
            // A program that cannot be run ends a container that must not be tried again.
            StartError::NotFound { .. } => self.container_unstartable(index, 127, &message),
            StartError::NotExecutable { .. } => self.container_unstartable(index, 126, &message),
            err => self.not_started(index, err.reason(), message),
        }
        false
    }

    /// Whether a container that stands before it in the manifest is on its way up: they start in that order.
    fn is_behind(&self, index: usize) -> bool {
        self.state.containers[..index].iter().any(|earlier| {
            let work = self.works.get(&earlier.name).map(|item| &item.work);
            matches!(work, Some(Work::Image | Work::Ready(_) | Work::PostStart))
        })
    }

    /// Begins a try: the image first, and with it the container's files.
    fn fetch_image(&mut self, index: usize, container: &Container) {
        self.next_attempt(index);
        let state = &mut self.state.containers[index];
        state.image = container.image.clone().unwrap_or_default();
        let files = Files {
            paths: self.node.paths.clone(),
            uid: self.record.uid().to_owned(),
            name: container.name.clone(),
            attempt: state.attempt(),
            logs: self.log_dir().join(&container.name),
            kept_tries: self.node.limits.kept_tries,
        };
        let container = self.with_pull_policy(container, files.attempt);
        let (images, record) = (self.node.images.clone(), self.record.clone());
        let reporter = self.reporter.clone();
        let name = container.name.clone();
        self.begin(&name, Work::Image, async move {
            let since = Instant::now();
            let image = images.ensure(&record, &container, &reporter).await;
            reporter.timing(&format!("image of {}", container.name), since);
            let image = match image {
                Ok(image) => image,
                Err(err) => return Done::Image(Err(Box::new(err.into()))),
            };
            let made = tokio::task::spawn_blocking(move || files.make()).await;
            Done::Image(match made {
                Ok(Ok(())) => Ok(Box::new(image)),
                Ok(Err(err)) => Err(Box::new(StartError::Files(err))),
                Err(_) => Err(Box::new(StartError::Launch(SandboxError::Interrupted))),
            })
        });
    }

    /// The image is here, or cannot be had.
    pub(super) fn image_done(
        &mut self,
        name: &str,
        image: Result<Box<ReadyImage>, Box<StartError>>,
    ) {
        match image {
            Ok(image) => self.hold(name, Work::Ready(image)),
            Err(err) => {
                self.works.remove(name);
                let mut all = self.state.containers.iter();
                if let Some(index) = all.position(|one| one.name == name) {
                    self.not_started(index, err.reason(), crate::error::chain(&err));
                }
            }
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

    async fn launch(
        &mut self,
        index: usize,
        container: &Container,
        image: &ReadyImage,
    ) -> Result<(), StartError> {
        let since = Instant::now();
        let attempt = self.state.containers[index].attempt();
        self.state.containers[index].image_id = image.id.to_string();
        let request = self.container_request(container, attempt, image)?;
        let program = Program::of(&request.spec);
        let user = user_of(&request.spec);
        let sandbox = self.sandbox.as_mut();
        let pid = sandbox
            .expect("containers start in a sandbox")
            .start_container(request)
            .await
            .map_err(|err| unstartable(err, container, &program))?;
        self.reporter
            .timing(&format!("start of {}", container.name), since);

        let record = &mut self.state.containers[index];
        record.state = ContainerState::Running {
            pid,
            started: Timestamp::now(),
        };
        record.user = user;
        self.reporter.event(
            "Started",
            Some(&container.name),
            format!("pid {pid}, try {}", attempt + 1),
        );
        Ok(())
    }

    fn container_request(
        &self,
        container: &Container,
        attempt: u32,
        image: &ReadyImage,
    ) -> Result<ContainerRequest, StartError> {
        let uid = self.record.uid();
        let dir = self.node.paths.container(uid, &container.name, attempt);
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
        Ok(ContainerRequest {
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
        })
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

    /// The folder of the pod's logs.
    pub(super) fn log_dir(&self) -> PathBuf {
        self.node.paths.pod_logs(
            self.record.namespace(),
            self.record.name(),
            self.record.uid(),
        )
    }

    /// What follows a container's start: its postStart hook, if it has one. It has not started before that is done.
    fn post_start(&mut self, index: usize, container: &Container) {
        let hook = container.lifecycle.as_ref();
        let pending = hook.is_some_and(|lifecycle| lifecycle.post_start.is_some());
        let state = &mut self.state.containers[index];
        state.hook_pending = pending;
        if pending {
            self.begin_post_start(&container.name);
        } else {
            self.container_up(&container.name);
        }
    }

    /// Runs the hook, once more if a kubelet died over it.
    pub(super) fn begin_post_start(&mut self, name: &str) {
        let Some(target) = self.target(name) else {
            return;
        };
        let lifecycle = target.container.lifecycle.clone();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.post_start) else {
            return self.container_up(name);
        };
        self.begin(name, Work::PostStart, async move {
            Done::PostStart(crate::probe::hook(&hook, &target, HOOK_LIMIT).await)
        });
    }

    /// The hook is done; its failure ends the container, as Kubernetes has it.
    pub(super) fn post_start_done(&mut self, name: &str, outcome: Result<(), String>) {
        self.works.remove(name);
        match outcome {
            Ok(()) => {
                if let Some(container) = self.state.container_mut(name) {
                    container.hook_pending = false;
                }
                self.container_up(name);
            }
            Err(what) => {
                self.reporter
                    .warning("FailedPostStartHook", Some(name), what);
                self.end_container(name, self.grace());
            }
        }
    }

    /// The container runs and its hook is done: from here on its probes decide.
    fn container_up(&mut self, name: &str) {
        let Some(asked) = self.asked(name) else {
            return;
        };
        let startup = asked.startup_probe.is_some();
        let readiness = asked.readiness_probe.is_some();
        if let Some(container) = self.state.container_mut(name) {
            container.started = !startup;
            container.ready = !startup && !readiness;
        }
        self.watch_container(name);
    }
}

/// Whom the container's first process runs as.
fn user_of(spec: &oci_spec::runtime::Spec) -> Option<ContainerUser> {
    let user = spec.process().as_ref()?.user();
    Some(ContainerUser {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
    })
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
