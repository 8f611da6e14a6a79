//! `rkubelet run`: a manifest in, a running pod out.
//!
//! In the foreground the worker lives in this process; with `--detach` in the background agent, and this process
//! waits only until the pod is up. Images are pulled here in both cases: here is the terminal that shows it.
mod foreground;

use super::output::Output;
use super::{Failure, Global, open};
use crate::admission::{self, Companions};
use crate::control::{Client, Request};
use crate::state::{PodState, StoredPod};
use crate::update::{Event, Update};
use crate::worker::Node;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use rkube_api::Strictness;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Run a pod from a manifest.
///
/// The manifest is a v1 Pod or List, several YAML documents with ConfigMaps and Secrets beside the pods, a
/// v1beta1 Pod, or a bare v1beta1/v1beta2 container manifest; YAML or JSON.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code: the pod's own (that of its first container that failed); 125 if it could not be
started, 126/127 if its command cannot be run or is not there, 2 if the manifest is not right."
)]
pub struct Run {
    /// A file, an http(s) URL, or - for standard input
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    /// Leave the pod running in the background
    #[arg(short, long)]
    detach: bool,
    /// Unknown and unsupported fields are warnings instead of errors
    #[arg(long)]
    lenient: bool,
    /// Say how long each step took
    #[arg(long)]
    timing: bool,
    /// Say nothing but what the containers print
    #[arg(short, long)]
    quiet: bool,
    /// Keep record and logs of a foreground pod after its end
    #[arg(long, conflicts_with = "detach")]
    keep: bool,
}

/// How long a pod that is coming up may have no owner: a daemon takes over from an agent, or the other way round.
const HANDOVER: Duration = Duration::from_secs(5);
/// The code for a pod that could not be started, as `podman run` and `docker run` have it.
const NOT_STARTED: u8 = 125;

impl Run {
    /// Runs the pods of the manifest.
    ///
    /// # Errors
    /// One line that says what, where and what to do.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let output = Output::detect(self.quiet);
        crate::sandbox::warm_cgroups();
        let since = Instant::now();
        let (pods, companions) = self.read(output).await?;
        self.time(output, "manifest", since);
        let node = open::node(global)?;
        for pod in &pods {
            admission::check(&node.paths, pod).map_err(|err| Failure::of(&err))?;
        }
        let since = Instant::now();
        for pod in &pods {
            super::pull::images_of(&node, pod, &companions, output).await?;
        }
        self.time(output, "images", since);
        let mut admitted: Vec<StoredPod> = Vec::new();
        for pod in pods {
            match admission::admit(&node.paths, pod, &companions, self.detach) {
                Ok(pod) => admitted.push(pod),
                Err(err) => {
                    for pod in &admitted {
                        let _ = admission::forget(&node.paths, &pod.record);
                    }
                    return Err(Failure::of(&err));
                }
            }
        }
        if self.detach {
            self.detached(global, &node, &admitted, output, since).await
        } else {
            foreground::run(&node, admitted, output, &self).await
        }
    }

    async fn read(&self, output: Output) -> Result<(Vec<Pod>, Companions), Failure> {
        let unreadable = |message: String| Failure::usage(message);
        let (bytes, origin) = crate::manifest::fetch(&self.manifest)
            .await
            .map_err(|err| unreadable(crate::error::chain(&err)))?;
        let strictness = if self.lenient {
            Strictness::Lenient
        } else {
            Strictness::Strict
        };
        let manifest = rkube_api::manifest::parse_bytes(&bytes, &origin, strictness)
            .map_err(|err| unreadable(err.to_string()))?;
        for warning in &manifest.warnings {
            output.warn(&warning.to_string());
        }
        let mut unsupported = Vec::new();
        for pod in &manifest.pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let findings = crate::admit::examine(pod).without_server();
            unsupported.extend(
                findings
                    .unsupported
                    .iter()
                    .map(|path| format!("pod {name}: {path}")),
            );
            for path in findings
                .ignored
                .iter()
                .filter(|path| !path.starts_with("status"))
            {
                output.say(&format!("note: {origin}: pod {name}: {path} means nothing without a scheduler; left alone"));
            }
        }
        match (unsupported.is_empty(), self.lenient) {
            (true, _) => {}
            (false, true) => unsupported.iter().for_each(|field| {
                output.warn(&format!(
                    "{origin}: {field} is not supported and has no effect"
                ))
            }),
            (false, false) => {
                return Err(unreadable(format!(
                    "{origin}: {}: not supported by this rkubelet; take it out, or run with --lenient to go without",
                    unsupported.join(", ")
                )));
            }
        }
        if manifest.pods.is_empty() {
            return Err(unreadable(format!("{origin}: no Pod in it")));
        }
        let companions = Companions {
            config_maps: manifest.config_maps,
            secrets: manifest.secrets,
            tokens: Vec::new(),
        };
        Ok((manifest.pods, companions))
    }

    async fn detached(
        &self,
        global: &Global,
        node: &Node,
        pods: &[StoredPod],
        output: Output,
        since: Instant,
    ) -> Result<u8, Failure> {
        let flushed = flush(node, pods);
        let woken = crate::agent::wake(&node.paths, &global.arguments()).await;
        if let Err(err) = woken {
            for pod in pods {
                let _ = admission::forget(&node.paths, &pod.record);
            }
            return Err(Failure::of(&err));
        }
        self.time(output, "agent", since);
        let mut up = String::new();
        for pod in pods {
            let uid = pod.record.uid();
            let state = self.await_up(node, pod, output).await?;
            if state.phase.ended() && !state.was_up {
                let _ = admission::forget(&node.paths, &pod.record);
                return Err(not_started(&pod.record.full_name(), &state));
            }
            if !self.quiet {
                let address = state.pod_ip.map(|ip| format!("  {ip}")).unwrap_or_default();
                let _ = writeln!(up, "{}  {uid}{address}", pod.record.full_name());
            }
        }
        // Whoever reads this may count on the pods to come back after a power cut.
        flushed
            .await
            .map_err(|err| Failure::of(&err))?
            .map_err(|err| Failure::of(&err))?;
        super::output::print(&up)?;
        Ok(0)
    }

    /// Follows the pod until it is up or over.
    async fn await_up(
        &self,
        node: &Node,
        pod: &StoredPod,
        output: Output,
    ) -> Result<PodState, Failure> {
        let uid = pod.record.uid();
        let failed = |err: std::io::Error| Failure::of(&err);
        let deadline = Instant::now() + HANDOVER;
        loop {
            let mut client = Client::send(&node.paths, uid, &Request::Watch)
                .await
                .map_err(failed)?;
            while let Some(updates) = &mut client {
                match updates.next().await.map_err(failed)? {
                    Some(Update::State(state)) if state.was_up || state.phase.ended() => {
                        return Ok(*state);
                    }
                    Some(update) => self.show(output, pod.record.name(), &update),
                    None => client = None,
                }
            }
            // The owner let go of it: its last state is on disk, or the next owner is about to take it up.
            let state = node.paths.load(uid).map_err(failed)?.state;
            if state.was_up || state.phase.ended() || Instant::now() > deadline {
                return Ok(state);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Shows an update to the person who waits.
    fn show(&self, output: Output, pod: &str, update: &Update) {
        match update {
            Update::Event(event) => show_event(output, pod, event),
            Update::Timing { step, micros } if self.timing => {
                output.say(&format!(
                    "{:>9}.{:03} ms  {step}",
                    micros / 1000,
                    micros % 1000
                ));
            }
            Update::Timing { .. } | Update::State(_) => {}
        }
    }

    fn time(&self, output: Output, step: &str, since: Instant) {
        if self.timing {
            let micros = since.elapsed().as_micros();
            output.say(&format!(
                "{:>9}.{:03} ms  {step}",
                micros / 1000,
                micros % 1000
            ));
        }
    }
}

/// Sees to it that the pods' records are on disk, while they start.
fn flush(node: &Node, pods: &[StoredPod]) -> tokio::task::JoinHandle<std::io::Result<()>> {
    let paths = node.paths.clone();
    let uids: Vec<String> = pods.iter().map(|pod| pod.record.uid().to_owned()).collect();
    tokio::task::spawn_blocking(move || uids.iter().try_for_each(|uid| paths.flush_record(uid)))
}

fn show_event(output: Output, pod: &str, event: &Event) {
    let whose = event
        .container
        .as_deref()
        .map_or_else(|| pod.to_owned(), |container| format!("{pod}/{container}"));
    let line = format!("{whose}: {}: {}", event.reason, event.message);
    if event.warning {
        output.warn(&line)
    } else {
        output.say(&line)
    }
}

/// What to say of a pod that never came up, and with which code.
fn not_started(pod: &str, state: &PodState) -> Failure {
    let code = state.containers.iter().find_map(|container| {
        container
            .last_end()
            .filter(|end| end.reason == "StartError")
    });
    let code = code
        .and_then(|end| u8::try_from(end.exit_code).ok())
        .unwrap_or(NOT_STARTED);
    Failure {
        code,
        message: format!(
            "pod {pod} could not be started: {}: {}",
            state.reason, state.message
        ),
    }
}

/// The exit code of a pod that is over: that of the first container that failed.
fn exit_code(state: &PodState) -> u8 {
    let failed = state
        .containers
        .iter()
        .filter_map(|container| container.last_end())
        .find(|end| end.exit_code != 0);
    match failed {
        Some(end) if !matches!(state.phase, crate::state::Phase::Succeeded) => {
            u8::try_from(end.exit_code).unwrap_or(1)
        }
        _ if state.phase == crate::state::Phase::Succeeded => 0,
        _ => 1,
    }
}
