//! The place that everything is measured in: a mount and a network namespace and a directory of our own. What is made in
//! them goes with them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::UnshareFlags;

use crate::sys::{self, Usage};

/// Where distributions put programs that are not on every user's PATH.
const MORE_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/podman:/usr/libexec/podman";

/// The place.
#[derive(Debug)]
pub(crate) struct Bed {
    dir: tempfile::TempDir,
    bin: PathBuf,
    stderr: File,
}

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// From before its start to after its end, in milliseconds.
    pub wall: f64,
    /// What the kernel counted.
    pub usage: Usage,
}

impl Took {
    /// Wall and CPU time in milliseconds, memory in MiB.
    pub(crate) fn sample(&self) -> Vec<f64> {
        vec![self.wall, millis(self.usage.cpu), mib(self.usage.max_rss)]
    }
}

impl Bed {
    /// Moves this process into namespaces of its own.
    ///
    /// # Errors
    /// When this is not root, or the kernel refuses.
    pub(crate) fn make() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("rkube-bench must run as root: it makes namespaces, mounts and cgroups");
        }
        sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET).context("unshare")?;
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", all).context("make mounts private")?;
        sys::loopback_up().context("bring lo up")?;
        hide_unified().context("hide the unified hierarchy")?;
        for dir in ["/run/containers", "/run/libpod"] {
            hide(Path::new(dir))?;
        }
        let dir = tempfile::Builder::new()
            .prefix("rkube-bench.")
            .tempdir_in("/var/tmp")?;
        let run = dir.path().join("run");
        std::fs::create_dir(&run)?;
        mount("tmpfs", &run, "tmpfs", MountFlags::empty(), c"mode=0755")
            .context("mount a tmpfs for what programs keep in /run")?;
        let exe = std::env::current_exe().context("find this program")?;
        let bin = exe.parent().unwrap_or(Path::new("/")).to_owned();
        let stderr = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(dir.path().join("stderr"))?;
        Ok(Self { dir, bin, stderr })
    }

    /// The directory, on a disk.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory in memory, for what programs keep in /run.
    pub(crate) fn run_dir(&self, name: &str) -> Result<PathBuf> {
        self.subdir(&format!("run/{name}"))
    }

    /// A new directory in it.
    pub(crate) fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Moves a directory out of the way, to be removed at the end. ext4 gives out the numbers of removed files again only
    /// after some seconds, and looks for others meanwhile: whoever comes next would pay for it.
    ///
    /// # Errors
    /// When something is mounted in it.
    pub(crate) fn retire(&self, dir: &Path) -> Result<()> {
        let place = tempfile::Builder::new()
            .tempdir_in(self.subdir("retired")?)?
            .keep();
        let place = place.join("it");
        std::fs::rename(dir, place).with_context(|| format!("move {} away", dir.display()))
    }

    /// One of our programs, which lies beside this one.
    ///
    /// # Errors
    /// Says what to do when it is not there.
    pub(crate) fn ours(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin.join(name);
        if !path.exists() {
            bail!(
                "no {}; build it: cargo build --release --workspace --bins",
                path.display()
            );
        }
        Ok(path)
    }

    /// Runs a program to its successful end and says what that took. Its output is thrown away.
    ///
    /// # Errors
    /// With the last lines of its standard error when it fails.
    pub(crate) fn time(&self, command: &mut Command) -> Result<Took> {
        let stderr = &self.stderr;
        stderr.set_len(0)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr.try_clone()?);
        let since = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let usage = sys::wait(&child)?;
        let wall = millis(since.elapsed());
        let status = ExitStatus::from_raw(usage.status);
        if !status.success() {
            bail!(
                "{}: {status}: {}",
                command.get_program().display(),
                self.said()
            );
        }
        Ok(Took { wall, usage })
    }

    fn said(&self) -> String {
        let mut text = String::new();
        let mut stderr = &self.stderr;
        // It only makes the message better.
        let _ = stderr
            .seek(SeekFrom::Start(0))
            .and_then(|_| stderr.read_to_string(&mut text));
        let lines: Vec<_> = text.trim().lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Or the directory could not be removed.
        let _ = unmount(self.dir().join("run"), UnmountFlags::DETACH);
    }
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a size of memory")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Runs a program and gives its output.
///
/// # Errors
/// With its standard error when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", program.display(), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A program of this host.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = OsStr::new(MORE_PATH);
    let dirs = std::env::split_paths(&path).chain(std::env::split_paths(more));
    dirs.map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// What directories of this program are called where people read it: they have another name each time.
const PREFIX: &str = "/var/tmp/rkube-bench.";
const RANDOM: usize = 6;

/// A command line, for people to repeat; our programs are where `make build` leaves them, and `$BED` is the directory of the bench.
pub(crate) fn words(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    let words = words.into_iter().map(|word| {
        let word = without_random(&word.to_string_lossy());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,%+$".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{word}'")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn without_random(word: &str) -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let ours = exe.parent().map(|dir| Path::new(word).strip_prefix(dir));
    if let Some(Ok(program)) = ours {
        return format!("target/release/{}", program.display());
    }
    let after = |start: usize| word.get(start + PREFIX.len() + RANDOM..);
    match word
        .find(PREFIX)
        .and_then(|start| Some((start, after(start)?)))
    {
        Some((start, rest)) => format!("{}$BED{rest}", word.get(..start).unwrap_or_default()),
        None => word.to_owned(),
    }
}

/// Covers a directory that programs write to wherever their state is said to be.
fn hide(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        mount("tmpfs", dir, "tmpfs", MountFlags::empty(), c"mode=0755")
            .with_context(|| format!("mount a tmpfs on {}", dir.display()))?;
    }
    Ok(())
}

/// crun refuses hosts that have v1 controllers and a unified hierarchy with controllers as well. In this mount namespace there
/// are the v1 hierarchies and nothing else, for all contestants. A host that has only one kind is left as it is.
fn hide_unified() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of = |kind| mounts.lines().filter_map(move |line| mounted(line, kind));
    if of("cgroup").next().is_none() {
        return Ok(());
    }
    for place in of("cgroup2") {
        unmount(place, UnmountFlags::DETACH).with_context(|| format!("unmount {place}"))?;
    }
    Ok(())
}

/// Where something of this kind is mounted, from a line of `/proc/self/mountinfo`.
fn mounted<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    let (place, what) = line.split_once(" - ")?;
    (what.split(' ').next() == Some(kind)).then(|| place.split(' ').nth(4))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_by_their_kind() {
        let cpu = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct";
        assert_eq!(mounted(cpu, "cgroup"), Some("/sys/fs/cgroup/cpu"));
        assert_eq!(mounted(cpu, "cgroup2"), None);
    }

    #[test]
    fn commands_can_be_pasted() {
        let mut command = Command::new("/bin/echo");
        command.args(["a b", "--c=d", ""]);
        assert_eq!(words(&command), "/bin/echo 'a b' --c=d ''");
        let mut command = Command::new("tar");
        command.args([
            "-C",
            "/var/tmp/rkube-bench.a1B2c3/pull",
            "oci:/var/tmp/rkube-bench.a1B2c3",
        ]);
        assert_eq!(words(&command), "tar -C $BED/pull oci:$BED");
    }
}
