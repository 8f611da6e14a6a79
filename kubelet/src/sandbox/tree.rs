//! Ending a program with all that it has started: a probe that hangs must not leave a process behind each time.
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Children may have children faster than one look sees.
const LOOKS: usize = 5;

/// Kills all that descends from `root`, which must be stopped so that it cannot start more. What has left the family, as
/// daemons do, is left alone.
pub(super) fn kill_descendants(root: u32) {
    for _ in 0..LOOKS {
        let mut family = BTreeSet::from([root]);
        let mut new = vec![root];
        while let Some(parent) = new.pop() {
            new.extend(
                children(parent)
                    .into_iter()
                    .filter(|child| family.insert(*child)),
            );
        }
        family.remove(&root);
        if family.is_empty() {
            return;
        }
        for pid in family {
            kill(pid);
        }
    }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that has ended meanwhile has no pidfd, or one that cannot be signalled.
    if let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        let _ = pidfd_send_signal(process, Signal::KILL);
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
    // `pid (name) state ...`; a name may hold anything.
    let state = stat.ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.trim_start().chars().next()
    });
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn grandchildren_die_too() {
        let script = "sh -c 'sleep 1000 & echo $! ; wait' & wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(shell.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        assert!(lives(grandchild));
        kill_descendants(shell.id());
        // The pipe ends with the last of them.
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(out.read_line(&mut line).unwrap(), 0);
        assert!(!lives(grandchild));
    }
}
