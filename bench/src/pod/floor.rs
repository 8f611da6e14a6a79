//! What the kernel takes for it: the same steps by hand, from this small process, with nothing around them.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType as Kind, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces,
};

use super::container::{Pod, between};
use crate::contest::Sample;
use crate::{elf, sys};

/// Starts the program in this process's own namespaces.
pub(super) fn vfork(pod: &Pod) -> Result<f64> {
    let program = pod.lowers.first().map(|layer| layer.join("stamp-out"));
    first_moment(&mut Command::new(program.context("no layers")?))
}

/// Starts it in the sleeping container.
pub(super) fn exec(pod: &Pod) -> Result<f64> {
    let home = File::open("/proc/self/ns/pid")?;
    let target = pod.target.try_clone()?;
    let attach = pod.sleeper.attach_fds()?.procs;
    pod.hierarchies.warm()?;
    let mut command = Command::new("/stamp-out");
    command.current_dir("/");
    sys::before_exec(&mut command, move || {
        move_in(&attach)?;
        let kinds = Kind::MOUNT | Kind::NETWORK | Kind::INTER_PROCESS_COMMUNICATION;
        move_into_thread_name_spaces(target.as_fd(), kinds | Kind::HOST_NAME_AND_NIS_DOMAIN_NAME)?;
        Ok(())
    });
    let _back = Children::go_to(pod.target.as_fd(), home)?;
    first_moment(&mut command)
}

/// Starts it in a container made by hand: cgroup, namespaces, overlay, proc, dev, sys, pivot_root.
pub(super) fn start(pod: &Pod) -> Result<Sample> {
    let dir = pod.dir.join(pod.next_name());
    let root = dir.join("root");
    for part in ["root", "upper", "work"] {
        std::fs::create_dir_all(dir.join(part))?;
    }
    let mut steps = Steps::new(pod, &dir, &root)?;
    let home = File::open("/proc/self/ns/pid")?;
    pod.hierarchies.warm()?;
    let request = elf::now();
    let cgroup = pod.container_cgroup("by-hand")?;
    steps.attach = cgroup.attach_fds()?.procs;
    let mut command = Command::new("/stamp-out");
    sys::before_exec(&mut command, move || steps.take());
    let _back = Children::of_a_new_namespace(home)?;
    let since = elf::now();
    let rest = first_moment(&mut command)?;
    cgroup.delete()?;
    let grouped = between(request, since);
    Ok(vec![grouped + rest, grouped, f64::NAN, rest])
}

/// The paths of a container as system calls take them.
struct Steps {
    attach: Vec<OwnedFd>,
    root: CString,
    overlay: CString,
    mounts: Vec<(CString, CString)>,
}

impl Steps {
    fn new(pod: &Pod, dir: &Path, root: &Path) -> Result<Self> {
        let lowers: Vec<_> = pod.lowers.iter().map(|dir| dir.to_string_lossy()).collect();
        let dir = dir.display();
        let overlay = format!(
            "lowerdir={},upperdir={dir}/upper,workdir={dir}/work,volatile",
            lowers.join(":")
        );
        let mounts = [("proc", "proc"), ("tmpfs", "dev"), ("sysfs", "sys")];
        let mounts = mounts.map(|(kind, place)| {
            let place = CString::new(root.join(place).as_os_str().as_bytes())?;
            Ok((CString::new(kind)?, place))
        });
        Ok(Self {
            attach: Vec::new(),
            root: CString::new(root.as_os_str().as_bytes())?,
            overlay: CString::new(overlay)?,
            mounts: mounts.into_iter().collect::<Result<_>>()?,
        })
    }

    /// Between fork and exec: no memory is allocated.
    fn take(&self) -> io::Result<()> {
        move_in(&self.attach)?;
        sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)?;
        mount_change(
            c"/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let none = MountFlags::empty();
        mount(c"overlay", &*self.root, c"overlay", none, &*self.overlay)?;
        for (kind, place) in &self.mounts {
            mount(&**kind, &**place, &**kind, none, None)?;
        }
        rustix::process::chdir(&*self.root)?;
        rustix::process::pivot_root(c".", c".")?;
        unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        Ok(())
    }
}

/// Runs a program that writes its first moment, and says how long after now that was.
fn first_moment(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let request = elf::now();
    let mut child = command.spawn().context("start by hand")?;
    let mut stamp = Vec::new();
    if let Some(out) = &mut child.stdout {
        out.read_to_end(&mut stamp)?;
    }
    child.wait()?;
    let first = elf::moment(&stamp).ok_or_else(|| anyhow!("the program wrote no moment"))?;
    Ok(between(request, first))
}

fn move_in(attach: &[OwnedFd]) -> io::Result<()> {
    attach
        .iter()
        .try_for_each(|procs| rustix::io::write(procs, b"0").map(drop))
        .map_err(io::Error::from)
}

/// Whose children are born in another pid namespace; dropping it ends that.
struct Children {
    home: File,
}

impl Children {
    fn go_to(target: BorrowedFd<'_>, home: File) -> Result<Self> {
        move_into_thread_name_spaces(target, Kind::PROCESS_ID)?;
        Ok(Self { home })
    }

    fn of_a_new_namespace(home: File) -> Result<Self> {
        sys::unshare(UnshareFlags::NEWPID)?;
        Ok(Self { home })
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // Only the measurement that follows could suffer, and it would say so.
        let _ = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::ProcessID));
    }
}
