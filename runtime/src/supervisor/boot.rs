//! Starting a supervisor: its directory, its namespaces, its first message.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rkube_init::protocol::{
    Boot, BootFailed, Header, Kind, MAX_CONNECTIONS, MAX_MESSAGE, Namespaces, Sysctls,
};

use super::connection::Supervisor;
use super::error::SupervisorError;
use super::meta::Meta;
use super::{calls, image};
use crate::compile::CgroupAttach;
use crate::sys::vfork::{self, Vfork};
use crate::sys::{pid, seqpacket};

/// How long a new supervisor may take to set itself up. Joining cold v1 cgroups alone takes tens of
/// milliseconds.
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the socket in the pod's directory.
pub(super) const SOCKET: &str = "s";

/// Whose namespace a pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespace {
    /// One of its own.
    #[default]
    New,
    /// The host's.
    Host,
}

/// What a pod's supervisor is to hold.
#[derive(Debug, Default)]
pub struct SandboxConfig {
    /// The pod's state directory; made if missing, for root alone.
    pub dir: PathBuf,
    /// The network.
    pub net: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// Processes. With the host's, killing the supervisor kills only the containers' first
    /// processes: the caller has to empty the cgroup.
    pub pid: Namespace,
    /// The host name in a UTS namespace of its own; empty: inherited.
    pub hostname: String,
    /// The NIS domain name there; empty: inherited.
    pub domainname: String,
    /// Kernel settings of the pod's own namespaces, by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// The cgroups of the supervisor itself.
    pub cgroup: CgroupAttach,
    /// The supervisor's own OOM score; children inherit it unless their record says otherwise. Left
    /// as it is where this process may not lower it.
    pub oom_score_adj: Option<i32>,
}

impl Supervisor {
    /// Starts a pod's supervisor and connects to it, with events.
    ///
    /// What an earlier supervisor of the same directory has left in `exits` stays until a container
    /// is forgotten: read it before. The v1 attach of `config.cgroup` takes up to 10 ms unless an
    /// attach elsewhere has just been made.
    ///
    /// # Errors
    /// When the directory cannot be used, or the supervisor cannot start or set itself up. Nothing
    /// is left running then.
    pub fn launch(config: &SandboxConfig) -> Result<Self, SupervisorError> {
        let directory = |source| SupervisorError::Directory {
            dir: config.dir.clone(),
            source,
        };
        let launch = |source| SupervisorError::Launch { source };
        if let Some(meta) = Meta::load(&config.dir).ok().filter(Meta::is_alive) {
            let dir = config.dir.clone();
            return Err(SupervisorError::Running { dir, pid: meta.pid });
        }
        let boot = boot_payload(config)?;
        let (listener, exits) = open_directory(&config.dir).map_err(directory)?;
        let (here, there) = seqpacket::pair().map_err(launch)?;
        let mut fds = vec![listener.as_fd(), exits.as_fd()];
        fds.extend(config.cgroup.procs.iter().map(AsFd::as_fd));
        seqpacket::send(here.as_fd(), &boot, &fds).map_err(launch)?;
        let child = spawn(config, there.as_fd()).map_err(launch)?;
        drop((there, listener));
        let booted = (|| {
            await_ready(config, here.as_fd())?;
            if let Some(score) = config.oom_score_adj {
                set_oom_score(child.pid, score).map_err(launch)?;
            }
            Meta::of(child.pid)
                .and_then(|meta| meta.store(&config.dir))
                .map_err(directory)?;
            Self::open(&config.dir, child.pid, &child.pidfd)
        })();
        booted.inspect_err(|_| {
            // Best effort: the reason that is already on its way matters more.
            let _ = pid::kill(child.pidfd.as_fd()).and_then(|()| pid::reap(&child.pidfd));
        })
    }

    /// Finds the supervisor that an earlier client has started, and connects to it, with events.
    ///
    /// # Errors
    /// [`SupervisorError::Gone`] when there is none any more; see [`super::read_exits`] for what it
    /// has left.
    pub fn connect(dir: &Path) -> Result<Self, SupervisorError> {
        let gone = || SupervisorError::Gone {
            dir: dir.to_owned(),
        };
        let meta = Meta::load(dir).map_err(|_| gone())?;
        let pidfd = pid::open(meta.pid).map_err(|_| gone())?;
        // In this order: the pidfd is the process that the start time is compared with, or that one
        // is dead.
        if !meta.is_alive() {
            return Err(gone());
        }
        Self::open(dir, meta.pid, &pidfd)
    }
}

/// The message that tells a new supervisor what it is.
fn boot_payload(config: &SandboxConfig) -> Result<Vec<u8>, SupervisorError> {
    let too_long = |_| SupervisorError::Config {
        what: "its names and sysctls are too long".to_owned(),
    };
    let mut sysctls = Vec::new();
    for (name, value) in &config.sysctls {
        let path =
            calls::sysctl_path(config, name).map_err(|what| SupervisorError::Config { what })?;
        for text in [&path, value] {
            sysctls.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            sysctls.extend(text.as_bytes());
        }
    }
    let mut buffer = [0; MAX_MESSAGE];
    let mut write = Header {
        kind: Kind::Boot,
        seq: 0,
        container: 0,
    }
    .begin(&mut buffer);
    let namespaces = Namespaces {
        net: config.net == Namespace::New,
        uts: config.uts == Namespace::New,
    };
    let (hostname, domainname) = (config.hostname.as_bytes(), config.domainname.as_bytes());
    Boot {
        namespaces,
        hostname,
        domainname,
        sysctls: Sysctls(&sysctls),
    }
    .encode(&mut write);
    write.finish().map(<[u8]>::to_vec).map_err(|_| too_long(()))
}

/// Makes the pod's directory, its socket and its `exits` file.
fn open_directory(dir: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    match fs_err::remove_file(dir.join(SOCKET)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let opened = fs_err::File::open(dir)?;
    let listener = seqpacket::listen(
        opened.as_fd(),
        SOCKET,
        i32::try_from(MAX_CONNECTIONS).unwrap_or(16),
    )?;
    let mut options = std::fs::OpenOptions::new();
    let exits = options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(dir.join("exits"))?;
    Ok((listener, exits.into()))
}

fn spawn(config: &SandboxConfig, boot: BorrowedFd<'_>) -> io::Result<vfork::Child> {
    let image = image::sealed()?;
    let null = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    let wanted = [
        (config.net, vfork::NEW_NET),
        (config.ipc, vfork::NEW_IPC),
        (config.uts, vfork::NEW_UTS),
        (config.pid, vfork::NEW_PID),
    ];
    let new = wanted
        .into_iter()
        .filter(|(which, _)| *which == Namespace::New);
    let namespaces = new.fold(vfork::NEW_MOUNT, |flags, (_, flag)| flags | flag);
    let cgroup = config.cgroup.into.as_ref().map(AsFd::as_fd);
    let name = c"rkube-pause";
    vfork::spawn(&Vfork {
        image: image.as_fd(),
        null: null.as_fd(),
        boot,
        namespaces,
        cgroup,
        name,
    })
}

/// Waits for the supervisor's word that it is ready.
fn await_ready(config: &SandboxConfig, boot: BorrowedFd<'_>) -> Result<(), SupervisorError> {
    let broken = |source| SupervisorError::Launch { source };
    if !seqpacket::readable(boot, BOOT_TIMEOUT).map_err(broken)? {
        return Err(SupervisorError::Timeout {
            dir: config.dir.clone(),
        });
    }
    let mut buffer = [0; MAX_MESSAGE];
    let got = seqpacket::recv(boot, &mut buffer).map_err(broken)?;
    let message = buffer.get(..got.len).unwrap_or_default();
    let failed = match Header::decode(message) {
        Ok((Header { kind: Kind::Ok, .. }, _)) => return Ok(()),
        Ok((
            Header {
                kind: Kind::Refused,
                ..
            },
            payload,
        )) => BootFailed::decode(payload),
        Ok(_) | Err(_) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
    };
    let BootFailed { step, errno, index } =
        failed.map_err(|_| broken(io::ErrorKind::InvalidData.into()))?;
    Err(SupervisorError::Boot {
        step,
        index,
        source: io::Error::from_raw_os_error(errno),
    })
}

/// Lowering needs a capability that this process may lack: then the score stays.
fn set_oom_score(pid: u32, score: i32) -> io::Result<()> {
    match fs_err::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        written => written,
    }
}
