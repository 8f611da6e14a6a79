//! From the first instruction to the loop: what the supervisor does to itself and its namespaces.
//!
//! The client waits for one message: `Ok`, or `Refused` with the step that failed.

use core::ffi::CStr;

use linux_raw_sys::general::{
    MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_REC,
    O_PATH, O_WRONLY, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV,
};
use rkube_init::protocol::{
    BOOT_FD, Boot, BootFailed, BootStep, Header, Kind, MAX_MESSAGE, Sysctls,
};
use rkube_init::sys::{self, Errno, Fd, errno, fs, host, mount, process, seqpacket};

use crate::exits;
use crate::supervisor::Watches;

/// What the loop gets to work with.
pub(crate) struct Booted {
    /// The pod's listening socket.
    pub(crate) listener: Fd,
    /// What the loop waits with.
    pub(crate) watches: Watches,
}

/// A step's failure, of item `.1`.
struct Fault(Errno, usize);

impl From<Errno> for Fault {
    fn from(err: Errno) -> Self {
        Self(err, 0)
    }
}

const fn malformed() -> Errno {
    Errno::of(errno::EBADMSG)
}

/// Does all of it, and tells the client. Its frame is large, and is to be gone when the loop
/// begins.
#[inline(never)]
pub(crate) fn boot() -> Result<Booted, ()> {
    let socket = Fd::adopt(BOOT_FD);
    // Before anything else: descriptors are about to arrive.
    let protected = protect();
    let booted = protected
        .map_err(|err| (BootStep::Protect, err.into()))
        .and_then(|()| steps(&socket));
    match booted {
        Ok(booted) => tell(&socket, Kind::Ok, |_| {}).map(|()| booted),
        Err((step, Fault(err, index))) => {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let failed = BootFailed {
                step,
                errno: err.0,
                index,
            };
            tell(&socket, Kind::Refused, |to| failed.encode(to))?;
            Err(())
        }
    }
}

fn tell(
    socket: &Fd,
    kind: Kind,
    payload: impl FnOnce(&mut rkube_init::protocol::Writer<'_>),
) -> Result<(), ()> {
    let mut buffer = [0; 64];
    let mut write = Header {
        kind,
        seq: 0,
        container: 0,
    }
    .begin(&mut buffer);
    payload(&mut write);
    let message = write.finish().map_err(|_| ())?;
    seqpacket::send(socket.raw(), message, None).map_err(|_| ())
}

/// The steps in their order.
fn steps(socket: &Fd) -> Result<Booted, (BootStep, Fault)> {
    fn at<T>(step: BootStep, done: Result<T, impl Into<Fault>>) -> Result<T, (BootStep, Fault)> {
        done.map_err(|fault| (step, fault.into()))
    }
    let mut buffer = [0; MAX_MESSAGE];
    let mut fds = seqpacket::Received::NONE;
    let boot = at(BootStep::Message, receive(socket, &mut buffer, &mut fds))?;
    let (listener, exits) = (fds.take(0), fds.take(1));
    let listener = at(BootStep::Message, listener.ok_or(malformed()))?;
    exits::keep(at(BootStep::Message, exits.ok_or(malformed()))?);
    at(BootStep::Cgroups, join_cgroups(&mut fds))?;
    at(BootStep::Hostname, name_host(&boot))?;
    at(BootStep::Sysctls, set_sysctls(boot.sysctls))?;
    if boot.namespaces.net {
        at(BootStep::Loopback, host::loopback_up())?;
    }
    at(BootStep::Root, leave_host_tree())?;
    let watches = at(BootStep::Listen, Watches::new(&listener))?;
    Ok(Booted { listener, watches })
}

/// Nobody may ptrace us or look into our `/proc` directory, and no signal but two can reach us. What our client ignored
/// is not ignored by containers.
fn protect() -> sys::Result<()> {
    process::set_undumpable()?;
    process::reset_signals();
    process::set_signal_mask(u64::MAX)
}

fn receive<'a>(
    socket: &Fd,
    buffer: &'a mut [u8],
    fds: &mut seqpacket::Received,
) -> sys::Result<Boot<'a>> {
    let len = seqpacket::recv(socket.raw(), buffer, fds)?;
    let message = buffer.get(..len).ok_or(malformed())?;
    let (header, payload) = Header::decode(message).map_err(|_| malformed())?;
    match header.kind {
        Kind::Boot => Boot::decode(payload).map_err(|_| malformed()),
        _ => Err(malformed()),
    }
}

/// cgroup v1: writes "0" to each `cgroup.procs`. On v2 we were born inside.
fn join_cgroups(fds: &mut seqpacket::Received) -> Result<(), Fault> {
    for index in 2..fds.count() {
        let file = fds.take(index).ok_or(malformed())?;
        fs::write_all(file.raw(), b"0").map_err(|err| Fault(err, index - 2))?;
    }
    Ok(())
}

fn name_host(boot: &Boot<'_>) -> sys::Result<()> {
    if boot.namespaces.uts && !boot.hostname.is_empty() {
        process::sethostname(boot.hostname)?;
    }
    if boot.namespaces.uts && !boot.domainname.is_empty() {
        process::setdomainname(boot.domainname)?;
    }
    Ok(())
}

/// Writes sysctls through a procfs of our own, on which nobody can have mounted anything.
fn set_sysctls(sysctls: Sysctls<'_>) -> Result<(), Fault> {
    if sysctls.0.is_empty() {
        return Ok(());
    }
    let context = mount::fsopen(c"proc")?;
    mount::create(context.raw())?;
    let procfs = mount::fsmount(context.raw(), 0)?;
    let root = fs::openat(procfs.raw(), c"sys", O_PATH, 0)?;
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    for (index, pair) in sysctls.enumerate() {
        let (path, value) = pair.map_err(|_| Fault(malformed(), index))?;
        let mut buffer = [0; 256];
        let path = c_string(path, &mut buffer).ok_or(Fault(malformed(), index))?;
        let file =
            fs::openat2(root.raw(), path, O_WRONLY, 0, resolve).map_err(|err| Fault(err, index))?;
        fs::write_all(file.raw(), value).map_err(|err| Fault(err, index))?;
    }
    Ok(())
}

/// `bytes` with a NUL behind them, in `buffer`.
pub(crate) fn c_string<'a>(bytes: &[u8], buffer: &'a mut [u8]) -> Option<&'a CStr> {
    let place = buffer.get_mut(..=bytes.len())?;
    let (text, nul) = place.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    nul.fill(0);
    CStr::from_bytes_with_nul(place).ok()
}

/// Makes an empty, read-only tmpfs our root. Every fork copies the mounts that are left: one
/// instead of the host's hundreds, none of which we keep busy.
fn leave_host_tree() -> sys::Result<()> {
    mount::set_propagation(c"/", MS_REC | MS_PRIVATE)?;
    let context = mount::fsopen(c"tmpfs")?;
    mount::set_string(context.raw(), c"size", c"4k")?;
    mount::set_string(context.raw(), c"mode", c"0555")?;
    mount::create(context.raw())?;
    let attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let tree = mount::fsmount(context.raw(), u64::from(attrs))?;
    fs::mkdirat(tree.raw(), c"r", 0o555)?;
    let root = fs::openat(fs::CWD, c"/", O_PATH, 0)?;
    mount::move_mount(tree.raw(), root.raw())?;
    fs::fchdir(tree.raw())?;
    mount::pivot_root_here()?;
    mount::detach(c".")?;
    host::chdir(c"/")?;
    let read_only = mount::Attributes {
        set: u64::from(MOUNT_ATTR_RDONLY),
        ..mount::Attributes::default()
    };
    mount::set_attributes(tree.raw(), &read_only, false)
}
