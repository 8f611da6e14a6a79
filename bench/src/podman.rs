//! podman with a store of its own, so that nothing of the host's is seen or left behind.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Resource, getrlimit};

use crate::bed::{self, Bed};

/// It.
#[derive(Debug)]
pub(crate) struct Podman {
    program: PathBuf,
    dir: PathBuf,
    run: PathBuf,
    used: Cell<bool>,
}

impl Podman {
    /// With its store in a directory of the bed's.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn new(bed: &Bed, dir: &str) -> Result<Self> {
        let program = bed::find("podman").context("not installed")?;
        let podman = Self {
            program,
            dir: bed.subdir(dir)?,
            run: bed.run_dir(dir)?,
            used: Cell::new(false),
        };
        std::fs::write(podman.configuration(), limits())?;
        Ok(podman)
    }

    fn configuration(&self) -> PathBuf {
        self.dir.with_extension("conf")
    }

    /// Where all its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The program with the options that keep it in its place.
    pub(crate) fn command(&self) -> Command {
        self.used.set(true);
        let mut command = Command::new(&self.program);
        command.env("CONTAINERS_CONF", self.configuration());
        command.arg("--root").arg(self.dir.join("root"));
        command.arg("--runroot").arg(self.run.join("run"));
        command.arg("--tmpdir").arg(self.run.join("tmp"));
        command
            .arg("--network-config-dir")
            .arg(self.dir.join("networks"));
        command.args([
            "--storage-driver=overlay",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]);
        command
    }

    /// Ends its pods and removes its store.
    ///
    /// # Errors
    /// When a file cannot be removed.
    fn clear(&self) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        // What it knows of, it removes in good order; the rest is done below.
        let _ = bed::output(
            self.command()
                .args(["pod", "rm", "--all", "--force", "--time=0"]),
        );
        let _ = bed::output(self.command().args(["rm", "--all", "--force", "--time=0"]));
        self.forget_mounts()?;
        std::fs::remove_dir_all(&self.run)?;
        std::fs::remove_dir_all(&self.dir)?;
        Ok(())
    }

    /// Unmounts what it has mounted in its directory.
    ///
    /// # Errors
    /// When nobody says what is mounted.
    pub(crate) fn forget_mounts(&self) -> Result<()> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for place in places.filter(|place| {
            [&self.dir, &self.run]
                .iter()
                .any(|dir| Path::new(place).starts_with(dir))
        }) {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
        Ok(())
    }
}

/// podman raises limits, which fails for a root without `CAP_SYS_RESOURCE`: it is told
/// to be content with less.
fn limits() -> String {
    let of = |name: &str, what| {
        let most = getrlimit(what).maximum.map_or(4096, |most| most.min(4096));
        format!("\"{name}={most}:{most}\"")
    };
    let (files, processes) = (of("nofile", Resource::Nofile), of("nproc", Resource::Nproc));
    format!("[containers]\ndefault_ulimits = [{files}, {processes}]\n")
}

impl Drop for Podman {
    fn drop(&mut self) {
        if self.used.get() {
            let _ = self.clear();
        }
    }
}
