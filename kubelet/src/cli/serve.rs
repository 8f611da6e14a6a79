//! `rkubelet serve`: the daemon.
use super::{Failure, Global, open};
use crate::config::{self, Flags, Loaded};
use crate::serve::After;
use clap::Args;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// Keep the pods of manifest sources running.
///
/// Pods go on when it ends or is killed, and are taken up again by the next one.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "SIGTERM and SIGINT end the daemon and leave the pods running; SIGHUP makes it start itself anew with the
settings as they are then, if they are right.

Examples:
  rkubelet serve --config /etc/rkube/manifests      run what stands in a directory
  rkubelet serve --check                            say what is wrong with the settings"
)]
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
    /// When the settings are not right, this host's state cannot be used, or another one serves here.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        if self.check {
            return self.check(global);
        }
        let loaded = self.load()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        crate::sandbox::warm_cgroups();
        let mut node = open::node(global)?;
        if let Some(name) = &loaded.config.rkube.node_name {
            node.name.clone_from(name);
        }
        node.backoff = crate::serve::backoff(&loaded.config);
        node.limits = crate::housekeeping::limits::PodLimits::of(&loaded.config);
        let is_right = move || self.load().map(drop).map_err(|failure| failure.message);
        let after = crate::serve::run(node, loaded.config, global.arguments(), is_right).await;
        match after.map_err(|err| Failure::of(&err))? {
            After::End | After::HostEnds => Ok(0),
            After::Again => Err(again()),
        }
    }

    fn check(&self, global: &Global) -> Result<u8, Failure> {
        let node = open::node_name();
        let registries = global.registries.as_deref();
        let report =
            config::check::check(self.config_file.as_deref(), &self.flags, &node, registries);
        let warnings = report.warnings.iter();
        let text: String = warnings.map(|one| format!("warning: {one}\n")).collect();
        super::output::print(&text)?;
        if report.mistakes.is_empty() {
            super::output::print(&format!("all is well: {}\n", report.summary))?;
            return Ok(0);
        }
        let lines = report.mistakes.join("\n");
        Err(Failure::usage(match report.mistakes.len() {
            1 => lines,
            many => format!("{many} mistakes:\n{lines}"),
        }))
    }

    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = config::load(self.config_file.as_deref(), &self.flags);
        loaded.map_err(|err| Failure {
            code: 2,
            ..Failure::of(&err)
        })
    }
}

/// Becomes the program that stands where this one was started from: after an upgrade that is the new one.
fn again() -> Failure {
    let program = std::env::current_exe().unwrap_or_default();
    let shown = program.to_string_lossy().into_owned();
    // What the kernel calls a program whose file was replaced.
    let program = shown.strip_suffix(" (deleted)").unwrap_or(&shown);
    let mut arguments = std::env::args_os();
    let mut command = std::process::Command::new(program);
    command.arg0(arguments.next().unwrap_or_else(|| "rkubelet".into()));
    let err = command.args(arguments).exec();
    Failure::failed(format!("cannot start {program} anew: {err}"))
}
