//! The foreground of `rkubelet run`: states and logs of all containers until the pods are over.
use super::{Run, exit_code, not_started};
use crate::admission;
use crate::cli::Failure;
use crate::cli::output::Output;
use crate::control::Command;
use crate::logs::Tail;
use crate::state::{PodRecord, PodState, StopBy, StopRequest, StoredPod};
use crate::update::Update;
use crate::worker::{Node, Worker};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

/// Runs the pods side by side and shows what they do. The code is that of the first pod that failed.
pub(super) async fn run(
    node: &Node,
    pods: Vec<StoredPod>,
    output: Output,
    run: &Run,
) -> Result<u8, Failure> {
    let several = pods.len() > 1;
    let mut running = Vec::new();
    for pod in pods {
        let record = pod.record.clone();
        let worker = Worker::own(node, pod).map_err(|err| Failure::of(&err))?;
        let (updates, requests) = (worker.listen(), worker.requests());
        let end = tokio::spawn(worker.run());
        let logs = Logs::start(node, &record, output, several)?;
        running.push(Running {
            record,
            updates,
            requests,
            end,
            logs,
        });
    }
    let stops: Vec<_> = running
        .iter()
        .map(|pod| (pod.requests.clone(), pod.record.grace_seconds()))
        .collect();
    let signals = tokio::spawn(stop_on_signals(stops, output));
    let mut code = 0;
    let mut failure = None;
    for pod in running {
        match pod.follow(node, output, run).await {
            Ok(own) if code == 0 => code = own,
            Ok(_) => {}
            Err(err) => failure = failure.or(Some(err)),
        }
    }
    signals.abort();
    failure.map_or(Ok(code), Err)
}

struct Running {
    record: std::sync::Arc<PodRecord>,
    updates: broadcast::Receiver<Update>,
    requests: mpsc::Sender<Command>,
    end: tokio::task::JoinHandle<Result<PodState, crate::worker::WorkerError>>,
    logs: Logs,
}

impl Running {
    /// Shows the pod's updates until it is over; then its files go, unless they are to be kept.
    async fn follow(mut self, node: &Node, output: Output, run: &Run) -> Result<u8, Failure> {
        let state = loop {
            tokio::select! {
                biased;
                update = self.updates.recv() => match update {
                    Ok(update) => run.show(output, self.record.name(), &update),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break (&mut self.end).await,
                },
                end = &mut self.end => break end,
            }
        };
        while let Ok(update) = self.updates.try_recv() {
            run.show(output, self.record.name(), &update);
        }
        self.logs.finish();
        let state = state
            .map_err(|err| Failure::of(&err))?
            .map_err(|err| Failure::of(&err))?;
        if !run.keep {
            admission::forget(&node.paths, &self.record).map_err(|err| Failure::of(&err))?;
        }
        // A pod of a source may wait for the name or a port.
        crate::agent::poke(&node.paths).await;
        if state.was_up || state.reason == "Stopped" {
            return Ok(exit_code(&state));
        }
        match state.phase.ended() && state.reason.is_empty() {
            true => Ok(exit_code(&state)),
            false => Err(not_started(&self.record.full_name(), &state)),
        }
    }
}

/// The first signal stops gracefully, the second at once.
async fn stop_on_signals(pods: Vec<(mpsc::Sender<Command>, u32)>, output: Output) {
    let streams = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = streams else {
        return;
    };
    let mut first = true;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        output.say(if first {
            "stopping; once more to kill"
        } else {
            "killing"
        });
        for (requests, grace) in &pods {
            let grace_seconds = if first { *grace } else { 0 };
            let _ = requests
                .send(Command::Stop(StopRequest {
                    grace_seconds,
                    by: StopBy::Command,
                }))
                .await;
        }
        first = false;
    }
}

/// Prints what all containers of a pod write, as it comes, from a thread of its own.
struct Logs {
    wake: Sender<Change>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Logs {
    fn start(
        node: &Node,
        record: &PodRecord,
        output: Output,
        several: bool,
    ) -> Result<Self, Failure> {
        let dir = node
            .paths
            .pod_logs(record.namespace(), record.name(), record.uid());
        let mut sources = Vec::new();
        let mut watched = Vec::new();
        for (index, (_, container)) in record.containers().enumerate() {
            let dir = dir.join(&container.name);
            crate::paths::create_private(&dir).map_err(|err| Failure::of(&err))?;
            let prefix = if several {
                format!("{}/{}", record.name(), container.name)
            } else {
                container.name.clone()
            };
            sources.push(Source {
                dir: dir.clone(),
                prefix,
                colour: index,
                attempt: 0,
                tail: Tail::new(&dir.join("0.log")),
            });
            watched.push(dir);
        }
        let width = sources
            .iter()
            .map(|source| source.prefix.len())
            .max()
            .unwrap_or(0);
        for source in &mut sources {
            source.prefix = format!("{:width$}", source.prefix);
        }
        let (wake, changes) = channel();
        watch(&watched, wake.clone()).map_err(|err| Failure::of(&err))?;
        let thread = std::thread::spawn(move || pump(sources, &changes, output));
        Ok(Logs {
            wake,
            thread: Some(thread),
        })
    }

    /// Prints what is left and ends.
    fn finish(&mut self) {
        let _ = self.wake.send(Change::Over);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The logs of one container, try after try.
struct Source {
    dir: PathBuf,
    prefix: String,
    colour: usize,
    attempt: u32,
    tail: Tail,
}

impl Source {
    /// Prints all that is there.
    fn drain(&mut self, output: Output) -> io::Result<()> {
        loop {
            while let Some(line) = self.tail.next_line()? {
                output.log_line(&self.prefix, self.colour, &line.text)?;
            }
            // The next try's file appears when this one's will not grow any more.
            let next = self.dir.join(format!("{}.log", self.attempt + 1));
            if !next.exists() {
                return Ok(());
            }
            while let Some(line) = self.tail.next_line()? {
                output.log_line(&self.prefix, self.colour, &line.text)?;
            }
            self.attempt += 1;
            self.tail = Tail::new(&next);
        }
    }
}

/// Why the pump looks again.
enum Change {
    /// Something was written.
    Files,
    /// Nothing more will be.
    Over,
}

/// Sends a message whenever something in the directories changes.
fn watch(dirs: &[PathBuf], changes: Sender<Change>) -> io::Result<()> {
    use inotify::{Inotify, WatchMask};
    let mut inotify = Inotify::init()?;
    for dir in dirs {
        inotify.watches().add(
            dir,
            WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO,
        )?;
    }
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while inotify.read_events_blocking(&mut buffer).is_ok() {
            if changes.send(Change::Files).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Prints what is there, then waits for more. Changes come in bursts: one pass reads them all.
fn pump(mut sources: Vec<Source>, changes: &Receiver<Change>, output: Output) {
    let mut over = false;
    loop {
        for source in &mut sources {
            // Standard output is closed: nobody reads any more.
            if source.drain(output).is_err() {
                return;
            }
        }
        if over {
            return;
        }
        let Ok(first) = changes.recv() else { return };
        over = std::iter::once(first)
            .chain(changes.try_iter())
            .any(|change| matches!(change, Change::Over));
    }
}
