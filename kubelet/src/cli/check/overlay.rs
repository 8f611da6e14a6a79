//! Whether overlayfs works on the file system that the root is on.
//!
//! The mount is made and never attached to any place: it goes with its descriptor.
use super::Finding;
use super::host::existing;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// What went wrong, with the step.
struct Refused {
    step: &'static str,
    source: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source)
    }
}

pub(super) fn check(root: &Path) -> Finding {
    let place = existing(root);
    match try_mount(&place) {
        Ok(()) => Finding::ok("overlayfs", format!("works below {}", place.display())),
        Err(refused) if refused.step == "fsopen" => Finding::fail(
            "overlayfs",
            "the kernel has none",
            "load the module (`modprobe overlay`) or boot a kernel with CONFIG_OVERLAY_FS",
        ),
        Err(refused) => Finding::fail(
            "overlayfs",
            format!("does not work below {}: {refused}", place.display()),
            "put --root on ext4, xfs, btrfs or tmpfs; an overlay cannot lie on an overlay or on NFS",
        ),
    }
}

fn try_mount(place: &Path) -> Result<(), Refused> {
    let scratch = Scratch::new(place).map_err(|source| Refused {
        step: "mkdir",
        source,
    })?;
    let context = step("fsopen", fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC))?;
    for (key, name) in [
        ("lowerdir", "lower"),
        ("upperdir", "upper"),
        ("workdir", "work"),
    ] {
        let dir = scratch.0.join(name);
        step(
            "fsconfig",
            fsconfig_set_string(&context, key, dir.as_path()),
        )?;
    }
    step("mount", fsconfig_create(&context))?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    );
    step("fsmount", mount).map(drop)
}

fn step<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, Refused> {
    result.map_err(|errno| Refused {
        step,
        source: errno.into(),
    })
}

/// Three directories that go when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(place: &Path) -> io::Result<Self> {
        let dir = place.join(format!(".rkube-check-{}", std::process::id()));
        let scratch = Scratch(dir);
        for name in ["lower", "upper", "work"] {
            crate::paths::create_private(&scratch.0.join(name))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir_all(&self.0);
    }
}
