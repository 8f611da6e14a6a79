//! `rkubelet stop`: ends pods gracefully. Whoever looks after the pod does it; if nobody does, this process.
use super::output::{self, Output};
use super::{Failure, Global, open};
use crate::control::{Client, Request};
use crate::paths::Paths;
use crate::state::{PodRecord, StopBy, StopRequest, StoredPod};
use crate::update::Update;
use crate::worker::{Node, Worker, WorkerError};
use clap::Args;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// How long two processes may both think that the other one has the pod.
const HANDOVER: Duration = Duration::from_secs(5);

/// Stop pods.
///
/// Each container is sent its stop signal (SIGTERM, unless the manifest or the image says another), and SIGKILL when
/// the grace is over. Record and logs stay until `rkubelet rm`.
#[derive(Clone, Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  rkubelet stop web             with the pod's own grace
  rkubelet stop -t 0 web db     at once
  rkubelet stop --all"
)]
pub struct Stop {
    /// Pods: names, namespace/names, or beginnings of uids
    #[arg(value_name = "POD", required_unless_present = "all")]
    pods: Vec<String>,
    /// Every pod of this host
    #[arg(short, long, conflicts_with = "pods")]
    all: bool,
    /// Seconds before SIGKILL [default: the pod's terminationGracePeriodSeconds]
    #[arg(
        short = 't',
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS"
    )]
    time: Option<u32>,
    /// Also pods of a manifest source: they stay ended until their manifest changes
    #[arg(long)]
    until_changed: bool,
    /// Say nothing of the progress
    #[arg(short, long)]
    quiet: bool,
}

impl Stop {
    /// Stops them, side by side.
    ///
    /// # Errors
    /// Names the pods that could not be stopped; the others are.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let output = Output::detect(self.quiet);
        let pods = open::pods(&global.paths(), &self.pods, self.all)?;
        let stops = pods.iter().map(|pod| async {
            self.may_stop(pod)?;
            let ended = end(global, pod, self.time, output).await;
            ended.and_then(|()| output::print(&format!("pod {} stopped\n", pod.record.full_name())))
        });
        super::all_of(futures::future::join_all(stops).await)?;
        Ok(0)
    }
}

impl Stop {
    /// A pod that a source wants is not stopped by the way: its manifest says that it is to run.
    fn may_stop(&self, pod: &StoredPod) -> Result<(), Failure> {
        if self.until_changed || pod.state.phase.ended() || !pod.record.is_wanted() {
            return Ok(());
        }
        let (record, origin) = (&pod.record, &pod.record.origin);
        Err(Failure::failed(format!(
            "pod {} is wanted by {} {}; take it out there, or end it until that changes with `rkubelet stop --until-changed {}`",
            record.full_name(),
            origin.source.as_str(),
            origin.place,
            record.name()
        )))
    }
}

/// Ends the pod, and returns when nothing of it runs any more. One that is over already is fine.
///
/// # Errors
/// When its owner cannot be talked to, or its files cannot be written.
pub(super) async fn end(
    global: &Global,
    pod: &StoredPod,
    grace: Option<u32>,
    output: Output,
) -> Result<(), Failure> {
    let (paths, uid) = (global.paths(), pod.record.uid());
    let failed = |err: io::Error| {
        Failure::failed(format!(
            "pod {}: {}",
            pod.record.full_name(),
            crate::error::chain(&err)
        ))
    };
    let stop = StopRequest {
        grace_seconds: grace.unwrap_or_else(|| pod.record.grace_seconds()),
        by: StopBy::Command,
    };
    let deadline = Instant::now() + HANDOVER;
    loop {
        let client = Client::send(&paths, uid, &Request::Stop(stop)).await;
        if let Some(client) = client.map_err(failed)? {
            follow(client, &pod.record, output).await.map_err(failed)?;
        }
        let Some(now) = current(&paths, uid).map_err(failed)? else {
            return Ok(());
        };
        if now.state.phase.ended() {
            return Ok(());
        }
        let node = open::node(global)?;
        match end_here(&node, now, stop).await {
            Ok(()) => return Ok(()),
            // Another process took the pod just now: it is the one to ask.
            Err(WorkerError::Owned { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(err) => return Err(Failure::of(&err)),
        }
    }
}

/// The pod as it is on disk; none when its record is gone.
fn current(paths: &Paths, uid: &str) -> io::Result<Option<StoredPod>> {
    match paths.load(uid) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Ends a pod that nobody looks after.
async fn end_here(node: &Node, mut pod: StoredPod, stop: StopRequest) -> Result<(), WorkerError> {
    std::sync::Arc::make_mut(&mut pod.record).stop = Some(stop);
    Worker::own(node, pod)?.run().await.map(drop)
}

/// Tells what the owner does until it has let go of the pod.
async fn follow(mut client: Client, record: &PodRecord, output: Output) -> io::Result<()> {
    while let Some(update) = client.next().await? {
        if let Update::Event(event) = update {
            let whose = event.container.as_deref().map_or_else(
                || record.name().to_owned(),
                |container| format!("{}/{container}", record.name()),
            );
            let line = format!("{whose}: {}: {}", event.reason, event.message);
            if event.warning {
                output.warn(&line);
            } else {
                output.say(&line);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pods::tests::record;
    use crate::cli::{Cli, Verb};
    use clap::Parser;
    use serde_json::json;

    fn stop(words: &[&str]) -> Result<Stop, clap::Error> {
        let all = ["rkubelet", "stop"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| match cli.verb {
            Verb::Stop(stop) => stop,
            _ => panic!("not stop"),
        })
    }

    #[test]
    fn flags() {
        let two = stop(&["web", "db", "-t", "0"]).unwrap();
        assert_eq!((two.pods.len(), two.time, two.all), (2, Some(0), false));
        assert!(stop(&["--all"]).unwrap().all);
        for bad in [
            &[][..],
            &["--all", "web"],
            &["web", "-t", "-1"],
            &["-t", "3"],
        ] {
            assert!(stop(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_grace_is_the_pods_own() {
        let grace = |spec: &serde_json::Value| record(spec, &json!({})).grace_seconds();
        assert_eq!(grace(&json!({"containers": []})), 30);
        let own = json!({"containers": [], "terminationGracePeriodSeconds": 2});
        assert_eq!(grace(&own), 2);
    }
}
