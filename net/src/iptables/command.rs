//! Running `iptables-save` and `iptables-restore`, and choosing which.
//!
//! A host can have two packet filters behind the same command names: the old `ip_tables` and the
//! newer `nf_tables`. Rules in one are not seen in the other, so ours go where the host's own are.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// How long one run may take. The longest one measured, 10 000 rules, takes a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many seconds the old backend waits for its own lock.
const XTABLES_WAIT: &str = "20";
/// Where administrators' tools are, also when `PATH` is a user's.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// One of a host's packet filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `nf_tables` behind the commands of iptables.
    Nft,
    /// `ip_tables`.
    Legacy,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IptablesError {
    /// The programs are not installed.
    #[error(
        "no iptables on this host: install it with `apt-get install iptables` (Debian, Ubuntu) or \
         `dnf install iptables-nft` (Fedora, RHEL)"
    )]
    NoIptables,
    /// The programs are there, but none works with this kernel.
    #[error("iptables does not work on this host: {program}: {stderr}")]
    Unusable {
        /// The program tried last.
        program: String,
        /// What it said.
        stderr: String,
    },
    /// A program could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{} failed ({status}): {stderr}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// The programs of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Iptables {
    pub(crate) backend: Backend,
    save: PathBuf,
    restore: PathBuf,
}

impl Iptables {
    /// The programs of a backend, if they are installed.
    pub(crate) fn of(backend: Backend) -> Option<Self> {
        let plain = plain();
        let name = match backend {
            Backend::Nft => "iptables-nft",
            Backend::Legacy => "iptables-legacy",
        };
        plain
            .filter(|iptables| iptables.backend == backend)
            .or_else(|| Self::named(name, backend))
    }

    /// The backend that the host uses: the one with more rules, in doubt the one of `iptables`.
    pub(crate) fn detect() -> Result<Self, IptablesError> {
        let first = plain()
            .or_else(|| Self::of(Backend::Nft))
            .or_else(|| Self::of(Backend::Legacy));
        let first = first.ok_or(IptablesError::NoIptables)?;
        let other = match first.backend {
            Backend::Nft => Self::of(Backend::Legacy),
            Backend::Legacy => Self::of(Backend::Nft),
        };
        let unused = |iptables: &Self| iptables.backend == Backend::Legacy && !legacy_in_use();
        let count = |iptables: &Self| -> Result<usize, IptablesError> {
            let saved = iptables.save_all()?;
            Ok(saved.lines().filter(|line| line.starts_with("-A ")).count())
        };
        match (count(&first), other) {
            (Ok(_), None) => Ok(first),
            (Ok(_), Some(other)) if unused(&other) => Ok(first),
            (Ok(own), Some(other)) => match count(&other) {
                Ok(theirs) if theirs > own => Ok(other),
                Ok(_) | Err(_) => Ok(first),
            },
            (Err(_), Some(other)) if count(&other).is_ok() => Ok(other),
            (
                Err(IptablesError::Failed {
                    program, stderr, ..
                }),
                _,
            ) => {
                let program = program.display().to_string();
                Err(IptablesError::Unusable { program, stderr })
            }
            (Err(err), _) => Err(err),
        }
    }

    /// The tables `filter` and `nat` as `iptables-save` prints them.
    pub(crate) fn save(&self) -> Result<String, IptablesError> {
        let mut saved = run(&self.save, &["-t", "filter"], "")?;
        saved += &run(&self.save, &["-t", "nat"], "")?;
        Ok(saved)
    }

    /// All tables in use; this loads none, as naming one would.
    pub(crate) fn save_all(&self) -> Result<String, IptablesError> {
        run(&self.save, &[], "")
    }

    /// Carries out a batch; each of its tables changes at once or not at all.
    pub(crate) fn restore(&self, batch: &str) -> Result<(), IptablesError> {
        run(&self.restore, &["--noflush", "-w", XTABLES_WAIT], batch).map(|_| ())
    }

    fn named(name: &str, backend: Backend) -> Option<Self> {
        let save = find(&format!("{name}-save"))?;
        let restore = find(&format!("{name}-restore"))?;
        Some(Self {
            backend,
            save,
            restore,
        })
    }
}

/// What `iptables` without a suffix stands for on this host.
fn plain() -> Option<Iptables> {
    let iptables = Iptables::named("iptables", Backend::Legacy)?;
    let program = fs_err::canonicalize(&iptables.restore).ok()?;
    let name = program.file_name()?.to_string_lossy().into_owned();
    let nft = if name.contains("nft") || name.contains("legacy") {
        name.contains("nft")
    } else {
        run(&iptables.restore, &["--version"], "").is_ok_and(|text| text.contains("nf_tables"))
    };
    let backend = if nft { Backend::Nft } else { Backend::Legacy };
    Some(Iptables {
        backend,
        ..iptables
    })
}

/// Has anybody used the old backend in this network namespace?
pub(crate) fn legacy_in_use() -> bool {
    let tables = fs_err::read_to_string("/proc/thread-self/net/ip_tables_names");
    tables.is_ok_and(|tables| !tables.trim().is_empty())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path
        .split(':')
        .chain(SBIN.split(':'))
        .filter(|dir| dir.starts_with('/'));
    dirs.map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
}

/// Runs a program in the calling thread's network namespace and returns what it printed.
fn run(program: &Path, args: &[&str], input: &str) -> Result<String, IptablesError> {
    let failed = |source| IptablesError::Run {
        program: program.to_owned(),
        source,
    };
    let (status, stdout, stderr) = run_with_files(program, args, input).map_err(failed)?;
    if status.success() {
        return Ok(stdout);
    }
    let stderr = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let stderr = stderr.collect::<Vec<_>>().join("; ");
    Err(IptablesError::Failed {
        program: program.to_owned(),
        status,
        stderr,
    })
}

/// With files in memory for all three streams nobody waits for a pipe.
fn run_with_files(
    program: &Path,
    args: &[&str],
    input: &str,
) -> io::Result<(ExitStatus, String, String)> {
    let memory = || memfd_create("iptables", MemfdFlags::CLOEXEC).map(File::from);
    let (mut stdin, mut stdout, mut stderr) = (memory()?, memory()?, memory()?);
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?))
        .spawn()?;
    let status = wait(child)?;
    Ok((status, contents(&mut stdout)?, contents(&mut stderr)?))
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for a child, but not for ever.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? > 0;
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    if ended {
        return Ok(status);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer in {} s", PATIENCE.as_secs()),
    ))
}
