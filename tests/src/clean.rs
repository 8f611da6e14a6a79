//! Finding and removing whatever a host of a test left behind, without trusting `rkubelet` to do it.
use crate::host::Host;
use crate::wait::patience;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The names in a directory; none if it is not there.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// The processes of this host: those that have its directory open or in their arguments or environment, and those
/// in its network namespace, except the tests themselves.
pub(crate) fn processes(host: &Host) -> Vec<(i32, String)> {
    look(host, |_| true)
}

/// The background processes of `rkubelet`: those that were called with the verb `agent`.
pub(crate) fn agents(host: &Host) -> Vec<i32> {
    let verb = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"rkubelet\0") && line.ends_with(b"\0agent\0")
    };
    look(host, verb).into_iter().map(|(pid, _)| pid).collect()
}

fn look(host: &Host, wanted: impl Fn(i32) -> bool) -> Vec<(i32, String)> {
    let dir = host.dir().to_string_lossy().into_owned();
    let netns = fs::metadata(host.netns().path())
        .ok()
        .map(|meta| inode(&meta));
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut found = Vec::new();
    for pid in names(Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse::<i32>().ok())
    {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let held = |file: &str| {
            fs::read(proc.join(file)).is_ok_and(|bytes| contains(&bytes, dir.as_bytes()))
        };
        let links =
            |path: PathBuf| fs::read_link(path).is_ok_and(|target| target.starts_with(&dir));
        let inside = || {
            let meta = fs::metadata(proc.join("ns/net")).ok();
            netns.is_some() && meta.map(|meta| inode(&meta)) == netns
        };
        let open = || {
            names(&proc.join("fd"))
                .iter()
                .any(|fd| links(proc.join("fd").join(fd)))
        };
        if pid != own
            && wanted(pid)
            && (inside() || held("cmdline") || held("environ") || links(proc.join("cwd")) || open())
        {
            let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

fn inode(meta: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The cgroups of pods, in every hierarchy.
pub(crate) fn cgroups(uids: &[String]) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies =
        std::iter::once(top.to_owned()).chain(names(top).into_iter().map(|name| top.join(name)));
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        for class in ["kubepods", "kubepods/burstable", "kubepods/besteffort"] {
            let pods = uids
                .iter()
                .map(|uid| hierarchy.join(class).join(format!("pod{uid}")));
            found.extend(pods.filter(|path| path.exists()));
        }
    }
    found
}

/// Mounts of the tests' mount namespace below the host's directory.
pub(crate) fn mounts(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = text.lines().filter_map(|line| line.split(' ').nth(4));
    targets
        .filter(|target| Path::new(target).starts_with(dir))
        .map(str::to_owned)
        .collect()
}

/// The devices of the host's network namespace, loopback and the cable to its neighbour aside.
pub(crate) fn devices(host: &Host) -> Vec<String> {
    let all = host
        .netns()
        .inside(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default());
    let devices = all
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    devices
        .filter(|name| !["lo", "eth0"].contains(&name.as_str()))
        .collect()
}

/// The rules of the packet filter that are of a pod: they name it in a comment.
pub(crate) fn rules(host: &Host, uids: &[String]) -> Vec<String> {
    let Ok(saved) = host.netns().command("iptables-save").output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&saved.stdout).into_owned();
    let of_pods = |line: &&str| {
        line.contains("-j DNAT") || uids.iter().any(|uid| line.contains(uid.as_str()))
    };
    text.lines().filter(of_pods).map(str::to_owned).collect()
}

/// What is left of pods that are over.
pub(crate) fn leftovers(host: &Host, uids: &[String]) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    left.extend(
        processes(host)
            .iter()
            .filter(|(_, name)| name.contains("rkube-pau"))
            .map(|(pid, name)| format!("process {pid} ({name})")),
    );
    left.extend(
        cgroups(uids)
            .iter()
            .map(|path| format!("cgroup {}", path.display())),
    );
    left.extend(
        mounts(host.dir())
            .iter()
            .map(|path| format!("mount {path}")),
    );
    left.extend(
        devices(host)
            .iter()
            .filter(|name| *name != "rkube0")
            .map(|name| format!("device {name}")),
    );
    left.extend(rules(host, uids).iter().map(|rule| format!("rule {rule}")));
    for dir in [host.run_root().join("pods"), host.root().join("pods")] {
        left.extend(
            names(&dir)
                .iter()
                .filter(|name| uids.contains(name))
                .map(|name| format!("{}/{name}", dir.display())),
        );
    }
    left
}

/// Ends and removes all of it.
pub(crate) fn everything(host: &Host) {
    let mut uids: BTreeSet<String> = host.uids().into_iter().collect();
    let deadline = Instant::now() + patience(10);
    loop {
        let left = processes(host);
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        for (pid, _) in left {
            uids.extend(pod_of(pid));
            end(pid);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let uids: Vec<String> = uids.into_iter().collect();
    for cgroup in cgroups(&uids) {
        remove_cgroup(&cgroup, deadline);
    }
    for target in mounts(host.dir()).iter().rev() {
        let _ = unmount(target.as_str(), UnmountFlags::DETACH);
    }
}

/// Kills a process; it may have ended since it was looked at.
fn end(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The uid of the pod whose cgroup a process is in.
fn pod_of(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (_, rest) = text.split_once("/pod")?;
    Some(rest.split(['/', '\n']).next()?.to_owned())
}

fn remove_cgroup(path: &Path, deadline: Instant) {
    for name in names(path).iter().filter(|name| path.join(name).is_dir()) {
        remove_cgroup(&path.join(name), deadline);
    }
    while fs::remove_dir(path).is_err() && path.exists() && Instant::now() < deadline {
        let pids = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse().ok()) {
            end(pid);
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
