//! The overlay of an image's layers, as a detached mount.
//!
//! Linux 6.7 and later take the layers one by one. Earlier kernels want all of them in one string of at most 255
//! bytes, which real paths soon fill: there a thread with a working directory of its own gives each layer a name of
//! one or two letters. Which way it is to be is found out by trying, once in a process.
//!
//! ```text
//! thread: unshare(CLONE_FS), chdir to a tmpfs that is mounted nowhere:   0 -> /layers/a   1 -> /layers/b   upper ->
//!         lowerdir=0:1,upperdir=upper,workdir=work
//! ```

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rkube_init::sys::mount as mnt;
use rkube_init::sys::{Errno, Fd, errno, fs, process};

use super::CompileError;
use crate::sys::fd::{error, own};

/// What lies above the layers and takes the changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Top<'a> {
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
    pub(super) volatile: bool,
}

/// Set once this kernel is known to want all layers in one string.
static JOINED: AtomicBool = AtomicBool::new(false);
/// What fsconfig(2) takes as a string.
const STRING_MAX: usize = 255;
const CLONE_FS: u32 = libc::CLONE_FS.cast_unsigned();

/// Lays `lowers`, the uppermost first, and `top` over one another.
pub(super) fn mount(lowers: &[PathBuf], top: Option<Top<'_>>) -> Result<OwnedFd, CompileError> {
    if JOINED.load(Ordering::Relaxed) {
        return joined(lowers, top);
    }
    match one_by_one(lowers, top) {
        Err(Refused { errno, .. }) if errno.is(errno::EINVAL) => {
            let tree = joined(lowers, top)?;
            JOINED.store(true, Ordering::Relaxed);
            Ok(tree)
        }
        done => Ok(own(done?)),
    }
}

/// A system call's error, and what was being done.
#[derive(Debug)]
struct Refused {
    step: String,
    errno: Errno,
}

impl From<Refused> for CompileError {
    fn from(refused: Refused) -> Self {
        Self::Rootfs {
            step: refused.step,
            source: error(refused.errno),
        }
    }
}

fn at(step: impl Into<String>) -> impl FnOnce(Errno) -> Refused {
    move |errno| Refused {
        step: step.into(),
        errno,
    }
}

fn text(path: &Path) -> Result<CString, Refused> {
    let invalid = |_| at(path.display().to_string())(Errno::of(errno::EINVAL));
    CString::new(path.as_os_str().as_bytes()).map_err(invalid)
}

fn one_by_one(lowers: &[PathBuf], top: Option<Top<'_>>) -> Result<Fd, Refused> {
    let context = open()?;
    for layer in lowers {
        set(&context, c"lowerdir+", layer)?;
    }
    if let Some(top) = top {
        set(&context, c"upperdir", top.upper)?;
        set(&context, c"workdir", top.work)?;
    }
    finish(&context, top)
}

/// Opens the file system type; the kernel loads its module by itself where there is one.
fn open() -> Result<Fd, Refused> {
    mnt::fsopen(c"overlay").map_err(|errno| {
        if errno == Errno::of(errno::ENODEV) {
            let advice = "this kernel has no overlayfs; run `modprobe overlay`, or a kernel with CONFIG_OVERLAY_FS";
            return at(advice)(errno);
        }
        at("opening overlay")(errno)
    })
}

fn set(context: &Fd, key: &CStr, value: &Path) -> Result<(), Refused> {
    let step = || format!("{} {}", key.to_string_lossy(), value.display());
    mnt::set_string(context.raw(), key, &text(value)?).map_err(|errno| at(step())(errno))
}

fn finish(context: &Fd, top: Option<Top<'_>>) -> Result<Fd, Refused> {
    if top.is_some_and(|top| top.volatile) {
        mnt::set_flag(context.raw(), c"volatile").map_err(at("volatile"))?;
    }
    mnt::create(context.raw()).map_err(at("creating the overlay"))?;
    mnt::fsmount(context.raw(), 0).map_err(at("mounting the overlay"))
}

/// The layers in one string, of names that are short because they are our own.
fn joined(lowers: &[PathBuf], top: Option<Top<'_>>) -> Result<OwnedFd, CompileError> {
    let names: Vec<String> = (0..lowers.len()).map(name).collect();
    let list = names.join(":");
    if list.len() > STRING_MAX {
        let why = format!(
            "the image has {} layers, which is too many for this kernel: squash the image, or use Linux 6.7 or later",
            lowers.len()
        );
        return Err(CompileError::invalid("rootfs", why));
    }
    // The working directory is the process's, unless a thread leaves that: one that nobody else will use.
    let tree = std::thread::scope(|scope| {
        let work = || short_names(lowers, &names, &list, top);
        let thread = std::thread::Builder::new().spawn_scoped(scope, work);
        let thread = thread.map_err(|source| CompileError::Rootfs {
            step: "starting a thread".to_owned(),
            source,
        })?;
        let done = thread.join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(CompileError::from)
    });
    Ok(own(tree?))
}

/// `0` to `9`, `A` to `Z`, `a` to `z`, `00`, `01` and so on.
fn name(index: usize) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |value: usize| char::from(digits[value % digits.len()]);
    match index.checked_sub(digits.len()) {
        None => digit(index).to_string(),
        Some(rest) => [digit(rest / digits.len()), digit(rest)].iter().collect(),
    }
}

fn short_names(
    lowers: &[PathBuf],
    names: &[String],
    list: &str,
    top: Option<Top<'_>>,
) -> Result<Fd, Refused> {
    process::unshare(CLONE_FS).map_err(at("leaving the working directory"))?;
    let context = mnt::fsopen(c"tmpfs").map_err(at("opening a tmpfs"))?;
    mnt::create(context.raw()).map_err(at("creating a tmpfs"))?;
    let dir = mnt::fsmount(context.raw(), 0).map_err(at("mounting a tmpfs"))?;
    let link = |target: &Path, name: &str| {
        let target = text(target)?;
        fs::symlinkat(&target, dir.raw(), &text(Path::new(name))?).map_err(at("naming a layer"))
    };
    for (layer, name) in lowers.iter().zip(names) {
        link(layer, name)?;
    }
    if let Some(top) = top {
        link(top.upper, "upper")?;
        link(top.work, "work")?;
    }
    fs::fchdir(dir.raw()).map_err(at("entering the tmpfs"))?;
    let context = open()?;
    set(&context, c"lowerdir", Path::new(list))?;
    if top.is_some() {
        set(&context, c"upperdir", Path::new("upper"))?;
        set(&context, c"workdir", Path::new("work"))?;
    }
    finish(&context, top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        let names: Vec<_> = (0..1000).map(name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert_eq!(
            [&names[0], &names[61], &names[62], &names[63]],
            ["0", "z", "00", "01"]
        );
        assert!(names[..106].join(":").len() <= STRING_MAX);
    }

    /// Both ways, whatever this kernel prefers: the other tests only go one of them.
    #[test]
    fn layers_are_joined_by_short_names() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP layers_are_joined_by_short_names: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = dir.path().join(name);
            fs_err::create_dir(&path).unwrap();
            path
        };
        let lowers: Vec<_> = (0..106)
            .map(|n| {
                let path = place(&format!("a-layer-with-a-rather-long-name-{n}"));
                fs_err::write(path.join("which"), n.to_string()).unwrap();
                fs_err::write(path.join(n.to_string()), "").unwrap();
                path
            })
            .collect();
        let (upper, work) = (place("upper"), place("work"));
        let top = Top {
            upper: &upper,
            work: &work,
            volatile: true,
        };
        let before = std::env::current_dir().unwrap();
        let tree = joined(&lowers, Some(top)).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
        let open = |path: &str| {
            use rustix::fs::{Mode, OFlags};
            rustix::fs::openat(&tree, path, OFlags::RDONLY, Mode::empty())
        };
        let mut text = String::new();
        let mut which = fs_err::File::from_parts(open("which").unwrap().into(), "which");
        std::io::Read::read_to_string(&mut which, &mut text).unwrap();
        assert_eq!(text, "0", "the first is the uppermost");
        assert!(open("0").is_ok() && open("105").is_ok() && open("106").is_err());
        rustix::fs::mkdirat(&tree, "new", rustix::fs::Mode::from(0o755)).unwrap();
        assert!(upper.join("new").is_dir());

        let many = vec![dir.path().to_owned(); 107];
        let err = joined(&many, None).unwrap_err().to_string();
        assert!(err.contains("107 layers"), "{err}");
    }
}
