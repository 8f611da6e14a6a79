//! `/attach`: the streams of a container that runs, from now on. The container goes on when the client goes.
use super::exec::{code, resize_all};
use super::pipes;
use super::{Api, Door, Names, Query, RequestError, Taken, Target, take_over};
use crate::sys;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use rkube_runtime::supervisor::{Attach, Event, Exited, Supervisor, SupervisorError, Wiring};
use rkube_stream::remote::{Remote, Want};
use rkube_stream::{Kind, Outcome};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;

/// How long a client may take for the last of the output.
const LAST: Duration = Duration::from_secs(60);

/// Why a container cannot be attached to.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("container {0} is not running")]
    NotRunning(String),
    #[error("container {0} takes no input; give it `stdin: true` in the manifest")]
    NoInput(String),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("cannot join its streams")]
    Io(#[from] io::Error),
}

/// What is attached to.
struct Place {
    run: PathBuf,
    container: String,
    stdin_once: bool,
}

/// Joins a client with a container until one of them ends.
pub(super) async fn start(
    State(api): State<Api>,
    Extension(door): Extension<Door>,
    Path(names): Path<Names>,
    request: Request,
) -> Result<Response, RequestError> {
    let target = Target::find(&api, names)?.running()?;
    let want = Query::of(&request)?.want()?;
    let record = &target.pod.record;
    let manifest = record.container(&target.container);
    let place = Place {
        run: api.kubelet.node.paths.pod_run(record.uid()),
        stdin_once: manifest.is_some_and(|manifest| manifest.stdin_once == Some(true)),
        container: target.container.clone(),
    };
    take_over(&api, &door, Kind::Command, request, move |taken| {
        serve(taken, place, want)
    })
}

async fn serve(taken: Taken, place: Place, want: Want) {
    let Some((mut remote, _place)) = taken.join(want, "attach").await else {
        return;
    };
    let outcome = match Attached::to(&place, want).await {
        Ok(attached) => {
            let following = attached.follow(&place, &mut remote);
            match following.await {
                Some(outcome) => {
                    outcome.unwrap_or_else(|err| Outcome::Failed(crate::error::chain(&err)))
                }
                None => return,
            }
        }
        Err(err) => Outcome::Failed(crate::error::chain(&err)),
    };
    remote.finish(&outcome).await;
}

/// Our ends of a container's streams.
struct Attached {
    supervisor: Supervisor,
    ready: AsyncFd<OwnedFd>,
    stdout: Receiver,
    stderr: Option<Receiver>,
    stdin: Option<Sender>,
    terminal: Option<OwnedFd>,
}

impl Attached {
    async fn to(place: &Place, want: Want) -> Result<Self, AttachError> {
        let (out_end, stdout) = pipes::output()?;
        let (err_end, stderr) = pipes::output()?;
        let (run, name) = (place.run.clone(), place.container.clone());
        let joining = move || join(&run, &name, want, &[out_end, err_end]);
        let joined = tokio::task::spawn_blocking(joining)
            .await
            .map_err(io::Error::from)?;
        let (supervisor, wiring, input) = joined?;
        let (stdin, terminal) = match input {
            Some(master) if wiring.tty => {
                let (_, writer) = pipes::terminal(&master)?;
                (Some(writer), Some(master))
            }
            Some(pipe) => (Some(pipes::reopened(&pipe)?), None),
            None => (None, None),
        };
        let ready = sys::readable(supervisor.as_fd().try_clone_to_owned()?)?;
        let stderr = (!wiring.tty).then_some(stderr);
        Ok(Attached {
            supervisor,
            ready,
            stdout,
            stderr,
            stdin,
            terminal,
        })
    }

    /// Joins it with the client; nothing if the client goes first.
    async fn follow(
        mut self,
        place: &Place,
        remote: &mut Remote,
    ) -> Option<Result<Outcome, SupervisorError>> {
        let (end, ended) = watch::channel(false);
        let (stdout, stderr) = (remote.stdout.take(), remote.stderr.take());
        let outputs = async {
            let err = async {
                if let Some(from) = self.stderr.take() {
                    pipes::pump(from, stderr, ended.clone()).await;
                }
            };
            tokio::join!(pipes::pump(self.stdout, stdout, ended.clone()), err)
        };
        let (input, to) = (remote.stdin.take(), self.stdin.take());
        let feeding = async {
            match (input, to) {
                (Some(input), Some(to)) => pipes::feed(input, to).await,
                _ => false,
            }
        };
        let sizing = resize_all(remote.resize.take(), self.terminal.as_ref());
        let (mut outputs, mut feeding) = (std::pin::pin!(outputs), std::pin::pin!(feeding));
        let mut sizing = std::pin::pin!(sizing);
        let (mut fed, mut sized, mut shown) = (false, false, false);
        let exited = loop {
            tokio::select! {
                exited = exited(&mut self.supervisor, &self.ready, &place.container) => match exited {
                    Ok(exited) => break exited,
                    Err(err) => return Some(Err(err)),
                },
                _ = remote.gone() => return None,
                _ = &mut outputs, if !shown => shown = true,
                () = &mut sizing, if !sized => sized = true,
                client = &mut feeding, if !fed => {
                    fed = true;
                    // Others may still type to it, unless the manifest says that the first one is the last.
                    if client && place.stdin_once {
                        let _ = self.supervisor.close_stdin(&place.container);
                    }
                }
            }
        };
        end.send_replace(true);
        if !shown {
            tokio::select! {
                () = pipes::within(LAST, outputs) => {}
                _ = remote.gone() => return None,
            }
        }
        Some(Ok(Outcome::of_code(code(&exited))))
    }
}

/// Asks the supervisor; blocks for a moment.
fn join(
    run: &std::path::Path,
    name: &str,
    want: Want,
    ends: &[OwnedFd; 2],
) -> Result<(Supervisor, Wiring, Option<OwnedFd>), AttachError> {
    let not_running = || AttachError::NotRunning(name.to_owned());
    let mut supervisor = match Supervisor::connect(run) {
        Err(SupervisorError::Gone { .. }) => return Err(not_running()),
        other => other?,
    };
    let all = supervisor.snapshot()?;
    let running = all
        .iter()
        .find(|one| one.name == name && one.pidfd.is_some());
    let wiring = running.ok_or_else(not_running)?.wiring;
    if want.stdin && !wiring.stdin {
        return Err(AttachError::NoInput(name.to_owned()));
    }
    let what = Attach {
        // A terminal's size is set by its master.
        stdin: want.stdin || (wiring.tty && wiring.stdin && want.tty),
        stdout: true,
        stderr: !wiring.tty,
    };
    let count = if wiring.tty { 1 } else { 2 };
    let ends: Vec<_> = ends[..count].iter().map(AsFd::as_fd).collect();
    let input = supervisor.attach(name, what, &ends)?;
    Ok((supervisor, wiring, input))
}

/// Waits for the container's end. May be dropped and called again.
async fn exited(
    supervisor: &mut Supervisor,
    ready: &AsyncFd<OwnedFd>,
    name: &str,
) -> Result<Exited, SupervisorError> {
    loop {
        while let Some(event) = supervisor.next_event()? {
            if let Event::Exited(container) = event
                && container.name == name
            {
                return Ok(container.exited);
            }
        }
        match ready.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(source) => return Err(SupervisorError::Launch { source }),
        }
    }
}
