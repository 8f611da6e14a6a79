//! `rkubelet agent`: the background process of detached pods. Not for people to type.
use super::{Failure, Global, open};
use clap::Args;

/// Looks after this host's detached pods until none needs it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Agent {}

impl Agent {
    /// Serves until the last pod is over.
    ///
    /// # Errors
    /// When the host's state cannot be used.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        // It was started as /proc/self/exe, and would be called `exe`.
        let _ = rustix::thread::set_name(c"rkubelet");
        crate::sandbox::warm_cgroups();
        let node = open::node(global)?;
        crate::agent::serve(node)
            .await
            .map_err(|err| Failure::of(&err))?;
        Ok(0)
    }
}
