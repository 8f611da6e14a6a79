//! The kernel's own word that processes wait for memory: PSI, so that nobody has to look all the time.
use crate::sys;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Where the kernel says how long processes were stalled.
const FILE: &str = "/proc/pressure/memory";
/// 200 ms of waiting within 2 s. The kernel says so at most once in those 2 s.
const TRIGGER: &[u8] = b"some 200000 2000000\0";

/// Hears when memory stalls.
#[derive(Debug)]
pub(super) struct Stall(Option<AsyncFd<OwnedFd>>);

impl Stall {
    /// Begins to listen. A kernel without PSI never says anything.
    #[must_use]
    pub(super) fn watch() -> Self {
        match Self::try_watch() {
            Ok(fd) => Stall(Some(fd)),
            Err(err) => {
                tracing::info!(%err, "this kernel does not tell of memory pressure; it is looked for every few seconds");
                Stall(None)
            }
        }
    }

    fn try_watch() -> io::Result<AsyncFd<OwnedFd>> {
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(FILE)?;
        file.write_all(TRIGGER)?;
        sys::watched(OwnedFd::from(file.into_parts().0), Interest::PRIORITY)
    }

    /// Waits until memory stalls. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        if let Some(fd) = &self.0
            && let Ok(mut guard) = fd.ready(Interest::PRIORITY).await
        {
            guard.clear_ready();
            return;
        }
        self.0 = None;
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_takes_the_trigger() {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new(FILE).exists() {
            println!("SKIP the_kernel_takes_the_trigger: needs root and a kernel with PSI");
            return;
        }
        assert!(Stall::try_watch().is_ok());
        let mut none = Stall(None);
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, none.next()).await.is_err());
    }
}
