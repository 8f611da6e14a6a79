//! `rkubelet reset`: removes every trace of rkubelet from this host.
//!
//! Order matters: first those who would start things again (the agent, foreground commands), then what runs, then
//! the kernel's things, then files. Every step takes "nothing there" for success, so a reset that was cut short is
//! finished by the next one. What may belong to others (a kubelet of Kubernetes, another --run-root) is left alone.
mod processes;
mod traces;

use super::output::{self, Output};
use super::{Failure, Global, open};
use clap::Args;
use std::io::{self, IsTerminal, Write};

/// Remove every trace: pods, processes, mounts, cgroups, network, rules, images, logs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Reset {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Keep the images
    #[arg(long)]
    keep_images: bool,
    /// Say nothing of what is removed
    #[arg(short, long)]
    quiet: bool,
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
struct Report {
    removed: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    fn done(&mut self, what: impl Into<String>) {
        self.removed.push(what.into());
    }
    /// Notes a failure and goes on.
    fn note(&mut self, what: &str, result: Result<(), &(dyn std::error::Error + 'static)>) {
        if let Err(err) = result {
            self.failed
                .push(format!("{what}: {}", crate::error::chain(err)));
        }
    }
}

impl Reset {
    /// Removes everything.
    ///
    /// # Errors
    /// Names what could not be removed; calling it again goes on.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        if !self.force && !agreed(global)? {
            return Err(Failure::failed("nothing was removed"));
        }
        let paths = global.paths();
        if let Some(pid) = crate::agent::dismiss(&paths).await {
            return Err(Failure::failed(format!(
                "`rkubelet serve` (pid {pid}) would start its pods again; end it first, with `systemctl stop rkubelet` where it is a service"
            )));
        }
        let mut report = Report::default();
        processes::stop_agent(&paths, &mut report);
        let pods = traces::Pods::find(&paths);
        processes::stop_owners(&paths, &pods, &mut report).await;
        traces::remove_pods(global, &pods, &mut report).await;
        traces::remove_network(global, &pods, &mut report).await;
        traces::remove_mounts(&paths.root, &mut report);
        traces::remove_mounts(&paths.run, &mut report);
        traces::remove_files(&paths, &pods, self.keep_images, &mut report);
        if !self.quiet {
            for what in &report.removed {
                output::print(&format!("removed {what}\n"))?;
            }
            if report.removed.is_empty() && report.failed.is_empty() {
                Output::detect(false).say("there was nothing to remove");
            }
        }
        if report.failed.is_empty() {
            return Ok(0);
        }
        Err(Failure::failed(format!(
            "not everything could be removed; run reset again once this is mended: {}",
            report.failed.join("; ")
        )))
    }
}

/// Removes all that is there of one pod whose record cannot be read.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub(super) async fn damaged_pod(global: &Global, uid: &str) -> Result<(), Failure> {
    let paths = global.paths();
    let mut report = Report::default();
    let pods = traces::Pods::damaged(uid);
    processes::stop_owners(&paths, &pods, &mut report).await;
    traces::remove_pods(global, &pods, &mut report).await;
    traces::withdraw(global, uid, &mut report);
    traces::remove_mounts(&paths.pod_run(uid), &mut report);
    if report.failed.is_empty() {
        traces::remove_folders(&paths, uid, &mut report);
    }
    match report.failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(format!(
            "pod {uid}: {}",
            report.failed.join("; ")
        ))),
    }
}

/// Asks the person at the terminal.
fn agreed(global: &Global) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "reset removes every pod, image and log of rkubelet; use --force where nobody can be asked",
        ));
    }
    let mut err = io::stderr();
    let _ = write!(
        err,
        "This stops every pod and removes all that rkubelet has on this host ({}, {}, logs, rules). Go on? [y/N] ",
        global.root.display(),
        global.run_root.display()
    );
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|err| Failure::of(&err))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
