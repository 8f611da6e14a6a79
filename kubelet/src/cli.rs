//! The command line of `rkubelet`: a file a verb.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 usage or a
//! manifest that cannot be read; `run` returns the pod's code and `exec` the command's.
pub mod about;
pub mod agent;
pub mod attach;
pub mod check;
mod client;
pub mod events;
pub mod exec;
pub mod format;
pub mod images;
pub mod inspect;
mod joined;
pub mod logs;
pub mod open;
pub mod output;
pub mod pods;
pub mod port_forward;
pub mod ps;
pub mod pull;
pub mod reset;
pub mod rm;
pub mod run;
pub mod serve;
pub mod stats;
pub mod stop;
pub mod time;

use crate::paths::Paths;
use clap::{Args, Parser, Subcommand};
use rkube_net::{BridgeConfig, Cidr};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run Kubernetes pods on a bare Linux host: no Docker, no containerd, nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "rkubelet",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "`rkubelet VERB --help` has examples; `rkubelet --help` has the global options.

Examples:
  rkubelet run pod.yaml               run a pod in the foreground; Ctrl-C stops it
  rkubelet run --detach pod.yaml      leave it running
  rkubelet ps                         what runs here
  rkubelet logs -f web                follow its output
  rkubelet exec -it web -- sh         a shell in it
  rkubelet port-forward web 8080:80   its port 80 as 127.0.0.1:8080
  rkubelet serve --config DIR         keep the pods of a directory running
  rkubelet check                      what this host lacks, and how to mend it"
)]
pub struct Cli {
    /// Settings that all verbs share.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Settings that all verbs share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// State that survives a reboot: images, pods, volumes
    #[arg(
        long,
        global = true,
        env = "RKUBELET_ROOT",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "DIR",
        default_value = "/var/lib/rkubelet"
    )]
    pub root: PathBuf,
    /// State that ends with the boot: sockets, address leases
    #[arg(
        long,
        global = true,
        env = "RKUBELET_RUN_ROOT",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "DIR",
        default_value = "/run/rkubelet"
    )]
    pub run_root: PathBuf,
    /// Container logs
    #[arg(
        long,
        global = true,
        env = "RKUBELET_LOG_ROOT",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "DIR",
        default_value = "/var/log/pods"
    )]
    pub log_root: PathBuf,
    /// The bridge that pods are plugged into
    #[arg(long, global = true, env = "RKUBELET_BRIDGE", hide_env_values = true, hide_short_help = true, value_name = "NAME", default_value = rkube_net::DEFAULT_BRIDGE)]
    pub bridge: String,
    /// The addresses that pods get; the bridge has the first
    #[arg(long, global = true, env = "RKUBELET_POD_SUBNET", hide_env_values = true, hide_short_help = true, value_name = "CIDR", default_value = rkube_net::DEFAULT_SUBNET)]
    pub pod_subnet: Cidr,
    /// Mirrors, certificates and plain HTTP by registry [default: /etc/rkube/registries.yaml]
    #[arg(
        long,
        global = true,
        env = "RKUBELET_REGISTRIES",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "FILE"
    )]
    pub registries: Option<PathBuf>,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// The three trees.
    #[must_use]
    pub fn paths(&self) -> Paths {
        Paths {
            root: self.root.clone(),
            run: self.run_root.clone(),
            logs: self.log_root.clone(),
        }
    }
    /// The bridge.
    #[must_use]
    pub fn bridge(&self) -> BridgeConfig {
        BridgeConfig {
            name: self.bridge.clone(),
            subnet: self.pod_subnet,
        }
    }
    /// The same settings as arguments, for the background process.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);
        add("--root", self.root.clone().into());
        add("--run-root", self.run_root.clone().into());
        add("--log-root", self.log_root.clone().into());
        add("--bridge", self.bridge.clone().into());
        add("--pod-subnet", self.pod_subnet.to_string().into());
        if let Some(file) = &self.registries {
            add("--registries", file.clone().into());
        }
        arguments
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a pod from a manifest
    Run(run::Run),
    /// Keep the pods of manifest sources running
    Serve(Box<serve::Serve>),
    /// List pods
    Ps(ps::Ps),
    /// Print what a pod's containers wrote
    Logs(logs::Logs),
    /// Run a command in a container
    Exec(exec::Exec),
    /// Join a container's input and output
    Attach(attach::Attach),
    /// Lead ports of this host into a pod
    PortForward(port_forward::PortForward),
    /// Show all that is known of pods
    Inspect(inspect::Inspect),
    /// Show what happened on this node and to its pods
    Events(events::Events),
    /// Show what containers use
    Stats(stats::Stats),
    /// Stop pods
    Stop(stop::Stop),
    /// Remove pods that are over
    Rm(rm::Rm),
    /// Import, pull, list and prune images
    Images(images::Images),
    /// Say what this host lacks, and how to mend it
    Check(check::Check),
    /// Remove every trace of rkubelet from this host
    Reset(reset::Reset),
    /// Print completions for a shell
    Completions(about::Completions),
    /// Print the version
    Version(about::Version),
    /// Look after this host's detached pods (started on demand)
    #[command(hide = true)]
    Agent(agent::Agent),
}

/// How a command ended, for `main` to turn into an exit code.
#[derive(Debug)]
pub struct Failure {
    /// 1 for most, 2 for what the user typed.
    pub code: u8,
    /// One line.
    pub message: String,
}

impl Failure {
    /// What the user typed cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure {
            code: 2,
            message: message.into(),
        }
    }
    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Failure {
            code: 1,
            message: message.into(),
        }
    }
    /// It did not work, for this reason.
    pub fn of(err: &(dyn std::error::Error + 'static)) -> Self {
        Failure::failed(crate::error::chain(err))
    }
}

/// Runs the verb; the number is the exit code.
///
/// # Errors
/// One line for the user and a code.
pub async fn execute(cli: Cli) -> Result<u8, Failure> {
    match cli.verb {
        Verb::Run(run) => run.execute(&cli.global).await,
        Verb::Serve(serve) => serve.execute(&cli.global).await,
        Verb::Ps(ps) => ps.execute(&cli.global).await,
        // Reading files and waiting for them to grow; nothing else is to be done meanwhile.
        Verb::Logs(logs) => logs.execute(&cli.global).await,
        Verb::Exec(exec) => exec.execute(&cli.global).await,
        Verb::Attach(attach) => attach.execute(&cli.global).await,
        Verb::PortForward(forward) => forward.execute(&cli.global).await,
        Verb::Inspect(inspect) => inspect.execute(&cli.global).await,
        Verb::Events(events) => events.execute(&cli.global),
        Verb::Stats(stats) => stats.execute(&cli.global).await,
        Verb::Completions(completions) => completions.execute(),
        Verb::Version(version) => version.execute(),
        Verb::Stop(stop) => stop.execute(&cli.global).await,
        Verb::Rm(rm) => rm.execute(&cli.global).await,
        Verb::Check(check) => check.execute(&cli.global),
        Verb::Reset(reset) => reset.execute(&cli.global).await,
        Verb::Images(images) => images.execute(&cli.global).await,
        Verb::Agent(agent) => agent.execute(&cli.global).await,
    }
}

/// Several things were done side by side: all of what went wrong, in one message.
fn all_of(outcomes: Vec<Result<(), Failure>>) -> Result<(), Failure> {
    let mut failed: Vec<Failure> = outcomes.into_iter().filter_map(Result::err).collect();
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        _ => {
            let code = failed.iter().map(|failure| failure.code).max();
            let messages: Vec<_> = failed.into_iter().map(|failure| failure.message).collect();
            Err(Failure {
                code: code.unwrap_or(1),
                message: messages.join("\n"),
            })
        }
    }
}
