//! Ending the processes that look after pods.
use super::Report;
use super::traces::Pods;
use crate::control::{Client, Request};
use crate::lock;
use crate::paths::Paths;
use crate::state::{StopBy, StopRequest};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long an owner may take to kill a pod that was given no grace.
const OWNER_WAIT: Duration = Duration::from_secs(20);
/// How long a process may take to die of SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Ends the background process. It may be killed at any moment; what it looked after is removed next.
pub(super) fn stop_agent(paths: &Paths, report: &mut Report) {
    match kill_holder(&paths.agent_lock()) {
        Ok(Some(pid)) => report.done(format!("the background process (pid {pid})")),
        Ok(None) => {}
        Err(err) => report.note("background process", Err(&err)),
    }
}

/// Asks those who look after pods to end them; one that does not answer is killed.
pub(super) async fn stop_owners(paths: &Paths, pods: &Pods, report: &mut Report) {
    let stops = pods.uids().map(|uid| async move {
        let stop = Request::Stop(StopRequest {
            grace_seconds: 0,
            by: StopBy::Command,
        });
        let ended = async {
            if let Ok(Some(mut client)) = Client::send(paths, uid, &stop).await {
                while let Ok(Some(_)) = client.next().await {}
            }
        };
        let _ = tokio::time::timeout(OWNER_WAIT, ended).await;
        (uid, kill_holder(&paths.pod_run(uid).join("lock")))
    });
    for (uid, killed) in futures::future::join_all(stops).await {
        match killed {
            Ok(Some(pid)) => report.done(format!(
                "the process that looked after pod {uid} (pid {pid})"
            )),
            Ok(None) => {}
            Err(err) => report.note(&format!("owner of pod {uid}"), Err(&err)),
        }
    }
}

/// Kills the process that holds a lock of ours, and waits for its end. The answer is its pid.
fn kill_holder(path: &Path) -> io::Result<Option<u32>> {
    if !path.exists() {
        return Ok(None);
    }
    if lock::try_exclusive(path)?.is_some() {
        return Ok(None);
    }
    let Some(holder) = holder(path)? else {
        // Let go of just now, or held in a pid namespace that we cannot see into.
        return Ok(None);
    };
    if holder == std::process::id() {
        return Ok(None);
    }
    let pid = i32::try_from(holder).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        other => other?,
    };
    // Still the holder: then the pidfd is of the process that was meant.
    if self::holder(path)? != Some(holder) {
        return Ok(None);
    }
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    let limit = rustix::event::Timespec::try_from(KILL_WAIT).map_err(io::Error::other)?;
    let mut fds = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    if rustix::event::poll(&mut fds, Some(&limit))? == 0 {
        return Err(io::Error::other(format!("pid {holder} does not die")));
    }
    Ok(Some(holder))
}

/// The process that holds a flock(2) on the file, as the kernel lists it.
fn holder(path: &Path) -> io::Result<Option<u32>> {
    let meta = fs_err::metadata(path)?;
    let locks = fs_err::read_to_string("/proc/locks")?;
    let device = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    Ok(find_holder(&locks, device, meta.ino()))
}

/// `1: FLOCK  ADVISORY  WRITE 1234 00:2d:5678 0 EOF`
fn find_holder(locks: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", device.0, device.1);
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, "WRITE", pid, file, ..] if *file == wanted => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:2d:5678 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 12 00:2d:5678 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 13 fd:01:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 00:2d:5678 0 EOF\n";
        assert_eq!(find_holder(locks, (0, 0x2d), 5678), Some(14));
        assert_eq!(find_holder(locks, (0xfd, 1), 5678), Some(13));
        assert_eq!(find_holder(locks, (0xfd, 1), 567), None);
    }

    #[test]
    fn a_lock_of_our_own_is_found_and_nobody_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(kill_holder(&path).unwrap(), None);
        let lock = lock::try_exclusive(&path).unwrap().unwrap();
        // Some sandboxes show no locks; where they do, this one is ours.
        if let Some(pid) = holder(&path).unwrap() {
            assert_eq!(pid, std::process::id());
        }
        assert_eq!(kill_holder(&path).unwrap(), None);
        drop(lock);
        assert_eq!(kill_holder(&path).unwrap(), None);
    }
}
