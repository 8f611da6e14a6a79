//! `rkubelet serve`: the daemon.
use super::{Failure, Global, open};
use crate::config::{self, Flags, Loaded};
use clap::Args;
use std::path::PathBuf;

/// Keep the pods of manifest sources running.
///
/// Pods go on when it ends or is killed, and are taken up again by the next one.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The file of settings [default: /etc/rkube/kubelet.yaml, if it is there]
    #[arg(
        long,
        value_name = "FILE",
        env = "RKUBELET_CONFIG_FILE",
        hide_env_values = true
    )]
    config_file: Option<PathBuf>,
    /// Look at the settings and at all that they name, say everything that is wrong, and end
    #[arg(long)]
    check: bool,
    /// Settings by flag.
    #[command(flatten)]
    flags: Flags,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When this host's state cannot be used, or another one serves here.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let loaded = config::load(self.config_file.as_deref(), &self.flags);
        let Loaded {
            config, warnings, ..
        } = loaded.map_err(|err| Failure {
            code: 2,
            ..Failure::of(&err)
        })?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut node = open::node(global)?;
        if let Some(name) = &config.rkube.node_name {
            node.name.clone_from(name);
        }
        node.backoff = crate::serve::backoff(&config);
        node.limits = crate::housekeeping::limits::PodLimits::of(&config);
        crate::sandbox::warm_cgroups();
        crate::serve::run(node, config, global.arguments())
            .await
            .map_err(|err| Failure::of(&err))?;
        Ok(0)
    }
}
