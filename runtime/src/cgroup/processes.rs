//! The processes in a cgroup: listing, freezing, killing.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Cgroup, CgroupError, Node, Version, read_file, subdirs, write_file};
use crate::sys::notify;

/// How long freezing may take: a task in uninterruptible sleep keeps everybody waiting.
const FREEZE: Duration = Duration::from_secs(10);
/// How long killed processes may take to go.
const KILL: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The processes in this very cgroup.
    pub fn pids(&self) -> Result<Vec<u32>, CgroupError> {
        self.member_node()
            .map_or(Ok(Vec::new()), |node| pids_in(&node.dir))
    }

    /// The processes in this cgroup and those below it.
    pub fn all_pids(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = Vec::new();
        if let Some(node) = self.member_node() {
            collect(&node.dir, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Stops all processes in and below, and returns once they have stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    /// Whether this cgroup was frozen by [`Cgroup::freeze`] (or with an ancestor).
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        match self.freezer() {
            Some(node) => frozen(node),
            None => Ok(false),
        }
    }

    /// SIGKILL for all processes in and below; returns when none is left.
    ///
    /// A process whose parent does not reap it counts as gone.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + KILL;
        if !self.kill_file()? {
            self.kill_each(deadline)?;
        }
        self.wait(deadline, KILL, "die", |cgroup| Ok(!cgroup.any_alive()?))
    }

    /// v2's `cgroup.kill` (5.14); false when this host has to do without.
    fn kill_file(&self) -> Result<bool, CgroupError> {
        // In a hybrid layout the unified tree may have been bypassed; v1 membership decides there.
        let Some(node) = self.unified().filter(|_| self.nodes.len() == 1) else {
            return Ok(false);
        };
        match write_file(&node.dir.join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            Err(CgroupError::Write { source, .. }) if super::is_missing(&source) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// A first round for the usual case, a few processes that just die; then rounds over frozen
    /// processes, which cannot fork. Without a freezer rounds go on until nobody is left.
    fn kill_each(&self, deadline: Instant) -> Result<(), CgroupError> {
        let pause = Duration::from_millis(10);
        let mut freeze = false;
        loop {
            if freeze {
                // A freezer that does not get there still keeps most from forking.
                let _ = self.set_frozen_for(true, Duration::from_millis(500));
            }
            let pids = self.all_pids();
            for &pid in pids.iter().flatten() {
                // It may be gone already.
                let _ = notify::kill(pid);
            }
            // A frozen process only dies once it is thawed.
            self.request_frozen(false)?;
            pids?;
            match self.wait(Instant::now() + pause, pause, "die", |me| {
                Ok(!me.any_alive()?)
            }) {
                Err(CgroupError::TimedOut { .. }) if Instant::now() < deadline => freeze = true,
                Err(CgroupError::TimedOut { .. }) => return Ok(()),
                other => return other,
            }
        }
    }

    /// Zombies are still listed by v1, although nothing can be done about them.
    fn any_alive(&self) -> Result<bool, CgroupError> {
        Ok(self.all_pids()?.into_iter().any(is_alive))
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        self.set_frozen_for(frozen, FREEZE)
    }

    fn set_frozen_for(&self, want: bool, limit: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + limit;
        self.request_frozen(want)?;
        let what = if want { "freeze" } else { "thaw" };
        self.wait(deadline, limit, what, |cgroup| {
            let Some(node) = cgroup.freezer() else {
                return Ok(true);
            };
            if frozen(node)? == want {
                return Ok(true);
            }
            if node.version == Version::V1 && want {
                // A v1 freezer that met a task on its way into the kernel has to be asked again.
                cgroup.request_frozen(true)?;
            }
            Ok(false)
        })
    }

    fn request_frozen(&self, want: bool) -> Result<(), CgroupError> {
        let Some(node) = self.freezer() else {
            return Ok(());
        };
        let (file, value) = match (node.version, want) {
            (Version::V1, true) => ("freezer.state", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED"),
            (Version::V2, true) => ("cgroup.freeze", "1"),
            (Version::V2, false) => ("cgroup.freeze", "0"),
        };
        write_file(&node.dir.join(file), value)
    }

    /// Asks until it is so: at once, then every 0.1 ms, then more and more slowly.
    fn wait(
        &self,
        deadline: Instant,
        after: Duration,
        what: &'static str,
        done: impl Fn(&Self) -> Result<bool, CgroupError>,
    ) -> Result<(), CgroupError> {
        let mut pause = Duration::from_micros(100);
        while !done(self)? {
            if Instant::now() >= deadline {
                return Err(CgroupError::TimedOut {
                    path: self.path.clone(),
                    what,
                    after,
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where freezing happens: the v1 freezer, else the unified tree (since 5.2).
    fn freezer(&self) -> Option<&Node> {
        self.node("freezer").or_else(|| self.unified())
    }

    /// Where membership is read: a v1 tree that every process was attached to, else the unified one.
    fn member_node(&self) -> Option<&Node> {
        ["freezer", "pids", "memory"]
            .iter()
            .find_map(|name| self.node(name))
            .or_else(|| self.nodes.first())
    }
}

fn frozen(node: &Node) -> Result<bool, CgroupError> {
    match node.version {
        Version::V1 => Ok(read_file(&node.dir.join("freezer.state"))?.trim() == "FROZEN"),
        Version::V2 => {
            let events = read_file(&node.dir.join("cgroup.events"))?;
            Ok(events.lines().any(|line| line == "frozen 1"))
        }
    }
}

pub(super) fn pids_in(dir: &Path) -> Result<Vec<u32>, CgroupError> {
    let text = match read_file(&dir.join("cgroup.procs")) {
        // Removed meanwhile: nobody is in it.
        Err(CgroupError::Read { source, .. }) if gone(&source) => return Ok(Vec::new()),
        other => other?,
    };
    // A process of another pid namespace shows as 0: it is not ours to signal.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|&pid| pid != 0)
        .collect())
}

fn collect(dir: &Path, pids: &mut Vec<u32>) -> Result<(), CgroupError> {
    pids.extend(pids_in(dir)?);
    for child in subdirs(dir)? {
        collect(&dir.join(child), pids)?;
    }
    Ok(())
}

/// Reading from the directory of a removed cgroup gives ENOENT or ENODEV.
pub(super) fn gone(err: &std::io::Error) -> bool {
    super::is_missing(err) || err.raw_os_error() == Some(notify::ENODEV)
}

/// The process to be moved has ended.
pub(super) fn no_such(err: &std::io::Error) -> bool {
    err.raw_os_error() == Some(notify::ESRCH)
}

/// Whether a process exists and is more than a zombie.
fn is_alive(pid: u32) -> bool {
    // The state follows the last `)`: the name may contain anything.
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let after = stat
        .iter()
        .rposition(|&byte| byte == b')')
        .map(|at| &stat[at + 1..]);
    !matches!(after.and_then(|rest| rest.get(1)), None | Some(b'Z' | b'X'))
}
