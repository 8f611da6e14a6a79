//! Work inside another network namespace.
//!
//! A thread can belong to another network namespace than its process. Each call here starts a
//! thread of its own, moves it, and lets it end: no thread that is used for anything else changes
//! its namespace, so a caller can be on any runtime.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::{NetlinkError, Socket, route};
use crate::sys;

/// Why nothing could be run in a network namespace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// No thread, most likely because of a limit on processes.
    #[error("cannot start a thread for the network namespace")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread could not be moved.
    #[error("cannot enter the network namespace")]
    Enter {
        /// What the kernel said.
        source: io::Error,
    },
    /// No new namespace could be made.
    #[error("cannot make a network namespace")]
    Create {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Runs `work` on a thread of its own inside the network namespace and waits for it.
///
/// `/proc/sys/net` and `/proc/thread-self/net` are those of the namespace as well; `/proc/net` is
/// not (it follows the process).
pub fn in_netns<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    on_thread(|| {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network)).map_err(|errno| {
            NetnsError::Enter {
                source: errno.into(),
            }
        })?;
        Ok(work())
    })
}

/// Makes a network namespace in which nothing is up. It lives until the last descriptor, process
/// and mount of it is gone.
pub fn create_netns() -> Result<OwnedFd, NetnsError> {
    on_thread(|| {
        let create = || {
            sys::unshare_net()?;
            File::open("/proc/thread-self/ns/net")
        };
        create()
            .map(OwnedFd::from)
            .map_err(|source| NetnsError::Create { source })
    })
}

/// The network namespace of the calling thread.
pub fn own_netns() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Brings `lo` up in a network namespace: all that a pod without a network needs.
pub fn lo_up(netns: BorrowedFd<'_>) -> Result<(), LoUpError> {
    in_netns(netns, || Socket::route()?.send(vec![route::set_up("lo")]))?.map_err(LoUpError::from)
}

/// Why `lo` could not be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoUpError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

fn on_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NetnsError> + Send,
) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)
            .map_err(|source| NetnsError::Thread { source })?;
        match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
