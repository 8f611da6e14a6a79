//! How a container comes to be; `create` and `run` differ only in how far they let it go.
//!
//! ```text
//! bundle -> directory, record -> v2: cgroup -> seccomp, compile -> spawn
//!                                          record with pid, pid file --+-- init: namespaces, mounts
//!                                                          v1: cgroup --+-> 1 mounts of cgroups
//!                                          prestart, createRuntime,  <-+-- 2 hooks (when there are any)
//!                                          createContainer hooks     --+-> pivot_root, masks, ...
//!                                          create: record "parked"   <-+-- 3 parked
//!                                          run:    record "started"  <-+-- end of file: executed
//! ```
//! Whatever goes wrong, nothing stays: processes, cgroup and directory are taken away again.
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::cgroup::{Cgroup, CgroupError, Hierarchies, SpecPath};
use crate::compile::{self, CgroupAttach, Request, Rootfs, Settings};
use crate::spawn::{self, Child, Options, Park, SpawnError};

use super::bundle::Bundle;
use super::cli::Context;
use super::container::{self, Container};
use super::create::CreateFlags;
use super::descriptors::Inherited;
use super::filter;
use super::home;
use super::hooks::{self, Inside, Place, Stage};
use super::id::ContainerId;
use super::process::{self, ProcessRef};
use super::root::{Progress, Record};
use super::signal;
use super::start;
use super::status::Status;
use super::terminal::Console;

mod error;
pub(super) use error::{CreateError, spawn_words};

/// How far the new container goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Init waits for `start`.
    Parked,
    /// The program runs, and we wait for it.
    Started,
    /// The program runs, and nobody here waits for it.
    StartedDetached,
}

/// A container that was created.
#[derive(Debug)]
pub(super) struct Created {
    /// Its directory, still locked, and its record.
    pub(super) container: Container,
    /// Its cgroup, if it has one.
    pub(super) cgroup: Option<Cgroup>,
    /// Its config.
    pub(super) spec: Spec,
    /// Its first process.
    pub(super) child: Child,
    /// The terminal, when it is for us to relay.
    pub(super) master: Option<OwnedFd>,
    /// Whether orphans inside have an init of their own.
    pub(super) own_pid_namespace: bool,
}

/// Creates a container. On failure nothing is left of it.
pub(super) fn create(
    context: &Context,
    id: &str,
    flags: &CreateFlags,
    until: Until,
) -> Result<Created, CreateError> {
    let id: ContainerId = id.parse()?;
    let bundle = Bundle::open(&flags.bundle)?;
    let inherited = Inherited::check(flags.preserve_fds)?;
    let terminal = bundle
        .spec
        .process()
        .as_ref()
        .and_then(|one| one.terminal())
        .unwrap_or(false);
    let console = Console::open(
        terminal,
        flags.console_socket.as_deref(),
        until != Until::Started,
    )?;
    let dir = context.root.create(&id)?;
    let record = first_record(&bundle, &id, context);
    let container = Container {
        dir,
        record,
        status: Status::Creating,
    };
    let Bundle {
        path, spec, text, ..
    } = bundle;
    let mut creation = Creation {
        context,
        flags,
        until,
        container,
        cgroup: None,
        spec,
        child: None,
    };
    match creation.build(&path, &text, &inherited, console) {
        Ok(master) => creation.finish(master),
        Err(err) => {
            creation.undo();
            Err(err)
        }
    }
}

fn first_record(bundle: &Bundle, id: &ContainerId, context: &Context) -> Record {
    let path = bundle
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_deref());
    let cgroup = context
        .cgroups
        .then(|| SpecPath::parse(path, id.as_str()).to_path());
    let annotations = bundle.spec.annotations().iter().flatten();
    let annotations: BTreeMap<String, String> = annotations
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Record {
        format: super::root::FORMAT,
        oci_version: bundle.spec.version().clone(),
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        created: container::now(),
        owner: rustix::process::getuid().as_raw(),
        annotations,
        cgroup,
        init: None,
        progress: Progress::Creating,
    }
}

fn new_pid_namespace(spec: &Spec) -> bool {
    let namespaces = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|list| {
        list.iter()
            .any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none())
    })
}

/// A container under construction.
struct Creation<'a> {
    context: &'a Context,
    flags: &'a CreateFlags,
    until: Until,
    container: Container,
    cgroup: Option<Cgroup>,
    spec: Spec,
    child: Option<Child>,
}

impl Creation<'_> {
    fn build(
        &mut self,
        bundle: &Path,
        text: &[u8],
        inherited: &Inherited,
        console: Console,
    ) -> Result<Option<OwnedFd>, CreateError> {
        self.container.dir.write_record(&self.container.record)?;
        self.container.dir.write_config(text)?;
        let hierarchies = match self.container.record.cgroup {
            Some(_) => Some(Hierarchies::detect()?),
            None => None,
        };
        let (attach, later) = match &hierarchies {
            None => (Some(CgroupAttach::default()), None),
            Some(all) if all.is_unified() => (Some(self.born_in_cgroup(all)?), None),
            Some(all) => (None, Some(all)),
        };
        inherited.announce(&mut self.spec);
        if let Some(process) = self.spec.process_mut() {
            console.size(process);
            home::provide(process, &self.container.record.rootfs);
        }
        let mut child = self.spawn(bundle, attach, inherited.count(), &console)?;
        let ready = self
            .remember(&child)
            .and_then(|()| later.map_or(Ok(()), |all| self.move_to_cgroup(all, &mut child)))
            .and_then(|()| self.run_hooks(&mut child))
            .and_then(|()| self.complete(&mut child));
        self.child = Some(child);
        ready?;
        // The child has sent its terminal by now, or it would have failed.
        Ok(console.into_master()?)
    }

    fn id(&self) -> String {
        self.container.dir.id().to_string()
    }

    fn spawn_error(&self, source: SpawnError) -> CreateError {
        CreateError::Spawn {
            what: spawn_words(&source),
            source,
        }
    }

    fn cgroup_error(&self, source: CgroupError) -> CreateError {
        CreateError::Cgroup {
            id: self.id(),
            source,
        }
    }

    /// v2: a process can be made inside a cgroup, and that costs nothing.
    fn born_in_cgroup(&mut self, hierarchies: &Hierarchies) -> Result<CgroupAttach, CreateError> {
        self.make_cgroup(hierarchies)?;
        let attached = self.cgroup.as_ref().map(attach).transpose();
        let attached = attached.map_err(|err| self.cgroup_error(err))?;
        Ok(attached.unwrap_or_default())
    }

    /// v1: there are many directories to make, and the first attach after a while waits several
    /// milliseconds for the kernel. Init makes its mounts meanwhile.
    fn move_to_cgroup(
        &mut self,
        hierarchies: &Hierarchies,
        child: &mut Child,
    ) -> Result<(), CreateError> {
        self.make_cgroup(hierarchies)?;
        if let Some(cgroup) = &self.cgroup {
            match cgroup.attach(child.pid.unsigned_abs()) {
                // It has failed already, and says so at the next wait.
                Err(CgroupError::Write { source, .. }) if is_gone(&source) => {}
                attached => attached.map_err(|err| self.cgroup_error(err))?,
            }
        }
        let released = child.release_cgroups();
        released.map_err(|source| self.spawn_error(source))
    }

    fn make_cgroup(&mut self, hierarchies: &Hierarchies) -> Result<(), CreateError> {
        let Some(path) = self.container.record.cgroup.clone() else {
            return Ok(());
        };
        let cgroup = match Cgroup::create(hierarchies, &path) {
            Ok(cgroup) => cgroup,
            Err(err) if !self.context.cgroups_required => {
                self.context
                    .log
                    .debug(&format!("no cgroup: {}", super::log::chain(&err)));
                self.container.record.cgroup = None;
                return Ok(());
            }
            Err(err) => return Err(self.cgroup_error(err)),
        };
        let limited = self.limit(&cgroup);
        // One that others are in is not ours, so the clean-up must not touch it.
        if !matches!(limited, Err(CreateError::CgroupInUse { .. })) {
            self.cgroup = Some(cgroup);
        }
        limited
    }

    fn limit(&self, cgroup: &Cgroup) -> Result<(), CreateError> {
        let failed = |err| self.cgroup_error(err);
        let pids = cgroup.pids().map_err(failed)?;
        if !pids.is_empty() {
            return Err(CreateError::CgroupInUse {
                id: self.id(),
                path: cgroup.path().to_owned(),
                count: pids.len(),
            });
        }
        let linux = self.spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        resources.map_or(Ok(()), |resources| cgroup.apply(resources).map_err(failed))
    }

    fn spawn(
        &self,
        bundle: &Path,
        cgroup: Option<CgroupAttach>,
        preserve_fds: u32,
        console: &Console,
    ) -> Result<Child, CreateError> {
        let moved_later = cgroup.is_none();
        let parked = self.until == Until::Parked;
        let fifos = parked
            .then(|| self.container.dir.make_fifos())
            .transpose()?;
        let profile = self
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let seccomp = filter::program(profile, &self.context.root)?;
        let settings = Settings {
            keep_keyring: self.flags.no_new_keyring,
            no_pivot: self.flags.no_pivot,
            preserve_fds,
            ..Settings::default()
        };
        let launch = compile::compile(Request {
            spec: &self.spec,
            bundle,
            rootfs: Rootfs::Bundle,
            sources: &[],
            cgroup: cgroup.unwrap_or_default(),
            seccomp,
            settings,
        })?;
        let park = match &fifos {
            Some(fifos) => Park::Fd(fifos.start.as_fd()),
            None if has(&self.spec, &[Stage::StartContainer]) => Park::Pipe,
            None => Park::No,
        };
        let status = fifos
            .as_ref()
            .map(|all| (all.status.as_fd(), all.status_of_init.as_fd()));
        let options = Options {
            id: self.container.dir.id().as_str(),
            park,
            status,
            console: console.for_child(),
            cgroups: moved_later,
            hooks: has(&self.spec, &BEFORE_PIVOT),
            ..Options::default()
        };
        spawn::spawn(&launch, options).map_err(|source| self.spawn_error(source))
    }

    /// Init exists: from here on a crash must not make us forget it.
    fn remember(&mut self, child: &Child) -> Result<(), CreateError> {
        let init = ProcessRef::observe(child.pid).map_err(|source| CreateError::Observe {
            id: self.id(),
            source,
        })?;
        self.container.record.init = Some(init);
        self.container.dir.write_record(&self.container.record)?;
        if let Some(path) = &self.flags.pid_file {
            container::write_pid_file(path, init.pid)
                .map_err(|source| CreateError::PidFile { source })?;
        }
        Ok(())
    }

    fn run_hooks(&self, child: &mut Child) -> Result<(), CreateError> {
        let Some(hooks) = self
            .spec
            .hooks()
            .as_ref()
            .filter(|_| has(&self.spec, &BEFORE_PIVOT))
        else {
            return Ok(());
        };
        child
            .wait_hooks()
            .map_err(|source| self.spawn_error(source))?;
        let state = self.container.state();
        hooks::run(hooks, Stage::Prestart, &state, Place::Runtime)?;
        hooks::run(hooks, Stage::CreateRuntime, &state, Place::Runtime)?;
        let inside = Inside {
            pid: child.pid,
            pidfd: child.pidfd.as_fd(),
        };
        hooks::run(
            hooks,
            Stage::CreateContainer,
            &state,
            Place::Container(inside),
        )?;
        child
            .release_hooks()
            .map_err(|source| self.spawn_error(source))
    }

    /// Waits for init to be parked; for `run` goes on with what `start` does.
    fn complete(&mut self, child: &mut Child) -> Result<(), CreateError> {
        let start_hooks = has(&self.spec, &[Stage::StartContainer]);
        if self.until == Until::Parked || start_hooks {
            child
                .wait_parked()
                .map_err(|source| self.spawn_error(source))?;
        }
        if self.until == Until::Parked {
            return Ok(());
        }
        if start_hooks {
            self.container.status = Status::Created;
            start::run_hooks(self.context, &self.container, &self.spec)?;
            child.start().map_err(|source| self.spawn_error(source))?;
        }
        child.wait_exec().map_err(|source| self.spawn_error(source))
    }

    fn finish(mut self, master: Option<OwnedFd>) -> Result<Created, CreateError> {
        let (progress, status) = match self.until {
            Until::Parked => (Progress::Parked, Status::Created),
            Until::Started | Until::StartedDetached => (Progress::Started, Status::Running),
        };
        self.container.record.progress = progress;
        self.container.status = status;
        match (
            self.container.dir.write_record(&self.container.record),
            self.child.take(),
        ) {
            (Ok(()), Some(child)) => {
                let own_pid_namespace = new_pid_namespace(&self.spec);
                let Creation {
                    container,
                    cgroup,
                    spec,
                    ..
                } = self;
                Ok(Created {
                    container,
                    cgroup,
                    spec,
                    child,
                    master,
                    own_pid_namespace,
                })
            }
            (Err(err), child) => {
                self.child = child;
                self.undo();
                Err(err.into())
            }
            (Ok(()), None) => Err(CreateError::Observe {
                id: self.id(),
                source: io::Error::from(io::ErrorKind::NotFound),
            }),
        }
    }

    /// Takes everything away again. Errors here would hide the one that matters, so they are only
    /// warned of.
    fn undo(self) {
        let log = &self.context.log;
        let Container { dir, record, .. } = self.container;
        let cgroup = self.cgroup.as_ref();
        let spawned = self.child.is_some();
        if let Some(child) = self.child {
            let pidfd = child.pidfd.as_fd();
            // It is our child: the wait ends, because it was killed or has exited.
            if process::send(pidfd, signal::KILL).is_ok() {
                let reap = || waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
                let _ = rustix::io::retry_on_intr(reap);
            }
        }
        if let Some(Err(err)) = cgroup.map(container::remove_cgroup) {
            log.warn(&err);
        }
        let gone = dir.unlock();
        if let Err(err) = dir.remove() {
            log.warn(&err);
        }
        if let Some(hooks) = self.spec.hooks().as_ref().filter(|_| spawned) {
            let state = container::state_of(&gone, &record, Status::Stopped);
            for err in hooks::run_all(hooks, Stage::Poststop, &state) {
                log.warn(&err);
            }
        }
    }
}

fn is_gone(err: &io::Error) -> bool {
    err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The hooks that init has to wait for.
const BEFORE_PIVOT: [Stage; 3] = [
    Stage::Prestart,
    Stage::CreateRuntime,
    Stage::CreateContainer,
];

fn has(spec: &Spec, stages: &[Stage]) -> bool {
    let hooks = spec.hooks().as_ref();
    hooks.is_some_and(|hooks| stages.iter().any(|stage| !stage.hooks(hooks).is_empty()))
}

/// Descriptors for the child to get into the cgroup by.
pub(super) fn attach(cgroup: &Cgroup) -> Result<CgroupAttach, CgroupError> {
    let fds = cgroup.attach_fds()?;
    Ok(CgroupAttach {
        into: fds.unified_dir,
        procs: fds.procs,
    })
}
