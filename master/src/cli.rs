//! The command line of `rkube-master`: a file a verb.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 usage.
pub mod backup;
pub mod flags;
pub mod kubeconfig;
pub mod serve;
pub mod token;

use clap::{Parser, Subcommand};

/// The master of a cluster: one object store, and the API in front of it.
#[derive(Debug, Parser)]
#[command(
    name = "rkube-master",
    version,
    propagate_version = true,
    subcommand_required = true
)]
#[command(after_help = "Without a verb it is `serve`.

Examples:
  rkube-master                                     a cluster's API on https://0.0.0.0:6443
  export KUBECONFIG=/var/lib/rkube-master/admin.kubeconfig; kubectl get nodes
  rkube-master serve --data-dir ./data --bind-address 127.0.0.1
  rkube-master serve --check --authorization-mode Node,ABAC --authorization-policy-file rules.jsonl
  rkube-master kubeconfig --user system:node:n1 --group system:nodes --server https://10.0.0.5:6443 > n1.kubeconfig
  rkube-master backup /mnt/other/monday.backup")]
pub struct Cli {
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve the API (the default)
    Serve(Box<serve::Options>),
    /// Make a kubeconfig with a certificate of the cluster's authority: for a node, a person, a program
    Kubeconfig(kubeconfig::Options),
    /// Write the whole store to a file, whether the master runs or not
    Backup(backup::Options),
    /// Put a backup in the place of the store; the master must not run
    Restore(backup::Options),
    /// Make a new key for secrets; the old ones go on opening what they sealed
    RotateKey(backup::KeyOptions),
    /// Make a token with which a node joins
    #[command(subcommand)]
    Token(token::Verb),
}
