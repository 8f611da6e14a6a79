//! What takes time beside a container's own life: fetching its image, its hooks, its end. Each is a task; the worker
//! hears of its end and decides what follows, so that it can be asked for something else at any moment.
use super::Worker;
use super::container::StartError;
use super::stop::Ending;
use crate::images::ReadyImage;
use crate::sandbox::SandboxError;
use crate::volume::{VolumeError, Volumes};
use std::future::Future;
use tokio::task::{AbortHandle, JoinError};

/// What is going on with a container; nothing for most, most of the time.
#[derive(Debug)]
pub(super) enum Work {
    /// Its image is being fetched.
    Image,
    /// The image is here; the containers before it come first.
    Ready(Box<ReadyImage>),
    /// Its postStart hook runs.
    PostStart,
    /// It is being ended.
    Ending(Ending),
}

/// Work with its task, if one is under way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) work: Work,
    task: Option<AbortHandle>,
}

impl Item {
    /// Whether its task has not reported back yet.
    pub(super) fn is_busy(&self) -> bool {
        self.task.is_some()
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What a task reports.
#[derive(Debug)]
pub(super) enum Done {
    /// The container's image, and its files.
    Image(Result<Box<ReadyImage>, Box<StartError>>),
    /// How the postStart hook went.
    PostStart(Result<(), String>),
    /// How the preStop hook went.
    PreStop(Result<(), String>),
    /// The stop signal or SIGKILL was sent.
    Signalled,
    /// The pod's volumes.
    Volumes(Result<Volumes, VolumeError>),
    /// Which limit on disk is exceeded, if one is.
    Disk(Option<String>),
}

/// The end of a task: of which container (none is the pod), and what it reports.
pub(super) type Report = (Option<String>, Done);

impl Worker {
    /// Starts a task for a container's work; work that it had before is dropped with its task.
    pub(super) fn begin(
        &mut self,
        name: &str,
        work: Work,
        task: impl Future<Output = Done> + Send + 'static,
    ) {
        let owned = name.to_owned();
        let task = self.tasks.spawn(async move { (Some(owned), task.await) });
        let task = Some(task);
        self.works.insert(name.to_owned(), Item { work, task });
    }

    /// Work that waits for something else than a task.
    pub(super) fn hold(&mut self, name: &str, work: Work) {
        self.works
            .insert(name.to_owned(), Item { work, task: None });
    }

    /// A task has ended. One that was dropped meanwhile reports nothing; one that panicked counts as failed.
    pub(super) fn task_ended(&mut self, ended: Result<(tokio::task::Id, Report), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(err) => err.id(),
        };
        let owner = self
            .works
            .iter_mut()
            .find(|(_, item)| item.task.as_ref().is_some_and(|task| task.id() == id));
        let name = owner.map(|(name, item)| {
            item.task = None;
            name.clone()
        });
        match (ended, name) {
            (Ok((_, (None, done))), _) => self.pod_task_done(done),
            (Ok((_, (Some(_), done))), Some(name)) => self.container_task_done(&name, done),
            // Its work was given up while it came to its end.
            (Ok(_), None) => {}
            (Err(err), name) => {
                if err.is_panic() {
                    tracing::error!(pod = self.record.full_name(), %err, "a task ended badly");
                }
                match name {
                    Some(name) => self.task_failed(&name),
                    None if self.preparing.as_ref().is_some_and(|task| task.id() == id) => {
                        let what = "interrupted".to_owned();
                        let volume = "all".to_owned();
                        self.volumes_done(Err(VolumeError { volume, what }));
                    }
                    None => {}
                }
            }
        }
    }

    fn container_task_done(&mut self, name: &str, done: Done) {
        match done {
            Done::Image(image) => self.image_done(name, image),
            Done::PostStart(outcome) => self.post_start_done(name, outcome),
            Done::PreStop(outcome) => self.pre_stop_done(name, outcome),
            Done::Signalled => self.signal_done(name),
            Done::Volumes(_) | Done::Disk(_) => {}
        }
    }

    fn pod_task_done(&mut self, done: Done) {
        match done {
            Done::Volumes(volumes) => self.volumes_done(volumes),
            Done::Disk(exceeded) => self.disk_done(exceeded),
            Done::Image(_) | Done::PostStart(_) | Done::PreStop(_) | Done::Signalled => {}
        }
    }

    fn task_failed(&mut self, name: &str) {
        let Some(item) = self.works.get(name) else {
            return;
        };
        let interrupted = || Err("interrupted".to_owned());
        let done = match &item.work {
            Work::Image | Work::Ready(_) => {
                Done::Image(Err(Box::new(StartError::Launch(SandboxError::Interrupted))))
            }
            Work::PostStart => Done::PostStart(interrupted()),
            Work::Ending(ending) if ending.in_hook() => Done::PreStop(interrupted()),
            Work::Ending(_) => Done::Signalled,
        };
        self.container_task_done(name, done);
    }
}
