//! `rkube-master kubeconfig`: a certificate of the cluster's authority, in a file for kubectl or a kubelet.
use crate::pki::{self, Keys};
use clap::Args;
use std::path::PathBuf;

/// What can be set.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The name: `jane`, or `system:node:n1` for a node
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// A group of it: `system:nodes` for nodes, `system:masters` for those who may do everything
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// How long the certificate is good for
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(i32).range(1..=3650))]
    pub days: i32,
    /// Where the master is reached
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:6443")]
    pub server: String,
    /// The master's data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rkube-master")]
    pub data_dir: PathBuf,
}

/// The file's text.
///
/// # Errors
/// The cluster's keys are not there or cannot be used.
pub fn make(options: &Options) -> anyhow::Result<String> {
    let keys = Keys::new(&options.data_dir);
    if !keys.ca().exists() {
        anyhow::bail!(
            "{} is not there; start `rkube-master serve` once, or name its --data-dir",
            keys.ca().display()
        );
    }
    let issuer = keys.issuer(&[])?;
    let pair = issuer.client(&options.user, &options.group, options.days)?;
    let ca = fs_err::read_to_string(keys.ca())?;
    Ok(pki::kubeconfig(&options.server, &ca, &options.user, &pair))
}
