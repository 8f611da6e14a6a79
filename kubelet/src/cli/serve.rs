//! `rkubelet serve`: the daemon.
use super::{Failure, Global, open};
use crate::config::KubeletConfig;
use clap::Args;
use std::path::PathBuf;

/// Keep the pods of manifest sources running.
///
/// Pods go on when it ends or is killed, and are taken up again by the next one.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// A manifest, or a directory of them
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When this host's state cannot be used, or another one serves here.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let config = KubeletConfig {
            static_pod_path: self.config,
            ..KubeletConfig::default()
        };
        let mut node = open::node(global)?;
        if let Some(name) = &config.rkube.node_name {
            node.name.clone_from(name);
        }
        node.backoff = crate::serve::backoff(&config);
        crate::sandbox::warm_cgroups();
        crate::serve::run(node, config, global.arguments())
            .await
            .map_err(|err| Failure::of(&err))?;
        Ok(0)
    }
}
