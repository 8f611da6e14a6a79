//! Ending a program with all that it has started: a probe that hangs must not leave a process behind each time.
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Kills all that descends from `root`, which must be stopped so that it cannot start more. What has left the family, as
/// daemons do, is left alone.
pub(super) fn kill_descendants(root: u32) {
    let mut family = BTreeSet::new();
    let mut new = children(root);
    while let Some(parent) = new.pop() {
        if family.insert(parent) {
            // No fork completes once a signal is pending: the children that are seen now are all that there will be.
            send(parent, Signal::STOP);
            new.extend(children(parent));
        }
    }
    for pid in family {
        send(pid, Signal::KILL);
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that has ended meanwhile has no pidfd, or one that cannot be signalled.
    if let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        let _ = pidfd_send_signal(process, signal);
    }
}

/// The children of all threads of a process that are not dead yet; none where the kernel does not tell (it lacks
/// `CONFIG_PROC_CHILDREN`).
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let files = tasks.into_iter().flatten().flatten();
    let files = files.map(|task| task.path().join("children"));
    let lists = files.filter_map(|path| std::fs::read_to_string(path).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            let words = list.split_whitespace();
            words
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.into_iter().filter(|pid| lives(*pid)).collect()
}

/// Whether it has not ended; one that waits to be reaped has.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat")));
    stat.is_ok_and(|stat| is_of_living(&stat))
}

/// What proc(5) says in `/proc/<pid>/stat`: `pid (name) state ...`, where a name may hold anything.
fn is_of_living(stat: &str) -> bool {
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    match fields.next() {
        None | Some("X") => false,
        // The first thread has ended; others may go on. Their number is the 20th field of all.
        Some("Z") => fields.nth(16).is_some_and(|threads| threads != "1"),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io::{BufRead, BufReader};
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    /// A shell with a child and a grandchild; all of them end with this value.
    struct Family {
        shell: Child,
        grandchild: (u32, OwnedFd),
    }

    impl Family {
        fn start() -> Self {
            let script = "sh -c 'sleep 1000 & echo $! ; wait' & wait";
            let mut shell = Command::new("sh")
                .args(["-c", script])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let mut out = BufReader::new(shell.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            let pid = line.trim().parse().unwrap();
            let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
            Family {
                shell,
                grandchild: (pid, process),
            }
        }
    }

    impl Drop for Family {
        fn drop(&mut self) {
            let _ = pidfd_send_signal(&self.grandchild.1, Signal::KILL);
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
    }

    #[test]
    fn grandchildren_die_too() {
        let family = Family::start();
        let (pid, process) = &family.grandchild;
        assert!(lives(*pid));
        kill_descendants(family.shell.id());
        // Its descriptor tells of its end, which follows the signal by a moment.
        let most = Timespec::try_from(Duration::from_secs(30)).unwrap();
        let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&most)).unwrap();
        assert_eq!(ended, 1, "the grandchild lives on");
        assert!(!lives(*pid));
    }

    #[test]
    fn only_whole_processes_are_dead() {
        let zeros = "0 ".repeat(16);
        for (stat, alive) in [
            (format!("7 (a) b) S {zeros}1 0"), true),
            (format!("7 (sh) Z {zeros}1 0"), false),
            (format!("7 (sh) Z {zeros}3 0"), true),
            (format!("7 (sh) X {zeros}0 0"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of_living(&stat), alive, "{stat}");
        }
    }
}
