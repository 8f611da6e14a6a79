//! `/exec`: a program in a container, joined with a client. `/run`: the same with its output as the answer.
use super::pipes;
use super::{Api, Door, Names, Query, RequestError, Taken, Target, take_over};
use crate::sandbox::{ExecError, ExecSpec};
use crate::sys;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::{Extension, response::IntoResponse};
use http::StatusCode;
use rkube_runtime::supervisor::{Event, Exec, ExecStreams, Exited, Supervisor, SupervisorError};
use rkube_stream::remote::{Remote, Resizes, Want};
use rkube_stream::{Input, Kind, Outcome, Output};
use rustix::process::Signal;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long the first size of a terminal is waited for, so that a program does not begin in one of no size.
const FIRST_SIZE: Duration = Duration::from_millis(300);
/// How long a supervisor has to end a program whose client has gone, before the program is killed by itself.
const FORESTALL: Duration = Duration::from_secs(2);
/// The most output of `/run` that is kept, and how long it may take.
const RUN_OUTPUT: usize = 1024 * 1024;
const RUN_TIME: Duration = Duration::from_secs(120);
/// How long a client may take for the last of the output.
const LAST: Duration = Duration::from_secs(60);

/// Starts a command and follows it until it ends or the client goes.
pub(super) async fn start(
    State(api): State<Api>,
    Extension(door): Extension<Door>,
    Path(names): Path<Names>,
    request: Request,
) -> Result<Response, RequestError> {
    let query = Query::of(&request)?;
    let target = Target::find(&api, names)?.running()?;
    let (want, command) = (query.want()?, query.command()?);
    let mut spec = spec(&api, &target, command);
    spec.tty = want.tty;
    take_over(&api, &door, Kind::Command, request, move |taken| {
        serve(taken, spec, want)
    })
}

fn spec(api: &Api, target: &Target, command: Vec<String>) -> ExecSpec {
    let node = &api.kubelet.node;
    let uid = target.pod.record.uid();
    let mut spec = ExecSpec::new(&node.paths, uid, &node.cgroups, &target.container, command);
    spec.tied = true;
    spec
}

async fn serve(taken: Taken, mut spec: ExecSpec, want: Want) {
    let Some((mut remote, _place)) = taken.join(want, "exec").await else {
        return;
    };
    let mut resizes = remote.resize.take();
    if let Some(resizes) = &mut resizes
        && let Ok(Some(size)) = timeout(FIRST_SIZE, resizes.next()).await
    {
        spec.size = Some((size.height, size.width));
    }
    let program = spec.args.first().cloned().unwrap_or_default();
    let container = spec.container.clone();
    let outcome = match Program::start(spec, want.stdin, &mut remote).await {
        Ok(started) => {
            let outcome = tokio::select! {
                outcome = started.follow(resizes) => outcome,
                why = remote.gone() => {
                    return tracing::debug!(%why, program, "a client of exec has gone, and its program with it");
                }
            };
            outcome.unwrap_or_else(|err| Outcome::Failed(crate::error::chain(&err)))
        }
        Err(err) => failed(&mut remote, &err, &program, &container).await,
    };
    remote.finish(&outcome).await;
}

/// The exit code that shells have for it, and its words where a person reads them.
async fn failed(remote: &mut Remote, err: &ExecError, program: &str, container: &str) -> Outcome {
    let why = format!(
        "cannot run \"{program}\" in container {container}: {}",
        crate::error::chain(err)
    );
    let Some(code) = err.exit_code() else {
        return Outcome::Failed(why);
    };
    let mut outs = [remote.stderr.take(), remote.stdout.take()];
    if let Some(out) = outs.iter_mut().flatten().next() {
        let _ = out.write(format!("{why}\r\n").into()).await;
    }
    for out in outs.iter_mut().flatten() {
        let _ = out.finish().await;
    }
    Outcome::of_code(code)
}

/// A program that runs, with the client's channels that belong to it. It ends when this is dropped.
struct Program {
    session: Session,
    stdin: Option<(Input, Sender)>,
    stdout: (Receiver, Option<Output>),
    stderr: Option<(Receiver, Option<Output>)>,
    signals: Option<Input>,
    terminal: Option<OwnedFd>,
}

impl Program {
    async fn start(spec: ExecSpec, stdin: bool, remote: &mut Remote) -> Result<Self, ExecError> {
        let io = ExecError::Config;
        if spec.tty {
            let session = Session::start(spec, None).await?;
            let terminal = session.running.terminal.as_ref().map(OwnedFd::try_clone);
            let terminal = terminal.transpose().map_err(io)?;
            let terminal =
                terminal.ok_or_else(|| io(io::Error::other("the program got no terminal")))?;
            let (reader, writer) = pipes::terminal(&terminal).map_err(io)?;
            return Ok(Program {
                session,
                stdin: remote
                    .stdin
                    .take()
                    .filter(|_| stdin)
                    .map(|input| (input, writer)),
                stdout: (reader, remote.stdout.take()),
                stderr: None,
                signals: remote.signals.take(),
                terminal: Some(terminal),
            });
        }
        let (in_end, stdin) = match remote.stdin.take().filter(|_| stdin) {
            Some(input) => {
                let (end, sender) = pipes::input().map_err(io)?;
                (end, Some((input, sender)))
            }
            None => (null().map_err(io)?, None),
        };
        let (out_end, out) = pipes::output().map_err(io)?;
        let (err_end, err) = pipes::output().map_err(io)?;
        Ok(Program {
            session: Session::start(spec, Some([in_end, out_end, err_end])).await?,
            stdin,
            stdout: (out, remote.stdout.take()),
            stderr: Some((err, remote.stderr.take())),
            signals: remote.signals.take(),
            terminal: None,
        })
    }

    /// Joins it with the client until it ends.
    async fn follow(self, resizes: Option<Resizes>) -> Result<Outcome, SupervisorError> {
        let Program {
            mut session,
            stdin,
            stdout,
            stderr,
            signals,
            terminal,
        } = self;
        let (end, ended) = watch::channel(false);
        let outputs = async {
            let err = async {
                if let Some((from, to)) = stderr {
                    pipes::pump(from, to, ended.clone()).await;
                }
            };
            tokio::join!(pipes::pump(stdout.0, stdout.1, ended.clone()), err)
        };
        let feeding = async {
            if let Some((input, to)) = stdin {
                pipes::feed(input, to).await;
            }
        };
        let sizing = resize_all(resizes, terminal.as_ref());
        let signalling = signal_all(
            signals,
            session.running.pidfd.as_ref().map(|fd| fd.try_clone()),
        );
        let mut outputs = std::pin::pin!(outputs);
        let aside = async { tokio::join!(feeding, sizing, signalling) };
        let mut aside = std::pin::pin!(aside);
        let (mut aside_done, mut outputs_done) = (false, false);
        let exited = loop {
            tokio::select! {
                exited = session.exited() => break exited?,
                _ = &mut outputs, if !outputs_done => outputs_done = true,
                _ = &mut aside, if !aside_done => aside_done = true,
            }
        };
        end.send_replace(true);
        if !outputs_done {
            pipes::within(LAST, outputs).await;
        }
        Ok(Outcome::of_code(code(&exited)))
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(fs_err::File::open("/dev/null")?.into_parts().0.into())
}

pub(super) fn code(exited: &Exited) -> i32 {
    match exited.signal {
        0 => i32::from(exited.code),
        signal => 128 + i32::from(signal),
    }
}

/// Keeps a terminal as large as the client's.
pub(super) async fn resize_all(resizes: Option<Resizes>, terminal: Option<&OwnedFd>) {
    let (Some(mut resizes), Some(terminal)) = (resizes, terminal) else {
        return;
    };
    while let Some(size) = resizes.next().await {
        let size = rustix::termios::Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}

/// Passes the client's signals on.
async fn signal_all(signals: Option<Input>, process: Option<io::Result<OwnedFd>>) {
    let (Some(mut signals), Some(Ok(process))) = (signals, process) else {
        return;
    };
    while let Ok(Some(numbers)) = signals.read().await {
        for signal in numbers
            .iter()
            .filter_map(|&number| Signal::from_named_raw(i32::from(number)))
        {
            // One that has ended meanwhile needs none.
            let _ = rustix::process::pidfd_send_signal(&process, signal);
        }
    }
}

/// A program and the connection to the supervisor that it is tied to: that ends it with all that it has started.
struct Session {
    supervisor: Supervisor,
    running: Exec,
    ready: AsyncFd<OwnedFd>,
    ended: bool,
}

impl Session {
    async fn start(spec: ExecSpec, streams: Option<[OwnedFd; 3]>) -> Result<Self, ExecError> {
        let starting = tokio::task::spawn_blocking(move || match &streams {
            Some(streams) => {
                let fds = ExecStreams::Fds(streams.each_ref().map(AsFd::as_fd));
                crate::sandbox::exec(&spec, &fds)
            }
            None => crate::sandbox::exec(&spec, &ExecStreams::Terminal),
        });
        let started = starting
            .await
            .map_err(|err| ExecError::Config(err.into()))?;
        let (supervisor, running) = started?;
        let socket = supervisor
            .as_fd()
            .try_clone_to_owned()
            .map_err(ExecError::Config)?;
        let ready = sys::readable(socket).map_err(ExecError::Config)?;
        Ok(Session {
            supervisor,
            running,
            ready,
            ended: false,
        })
    }

    /// Waits for its end. May be dropped and called again.
    async fn exited(&mut self) -> Result<Exited, SupervisorError> {
        loop {
            while let Some(event) = self.supervisor.next_event()? {
                if let Event::ExecExited { id, exited } = event
                    && id == self.running.id
                {
                    self.ended = true;
                    return Ok(exited);
                }
            }
            match self.ready.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(source) => return Err(SupervisorError::Launch { source }),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let process = self.running.pidfd.take().filter(|_| !self.ended);
        // A supervisor of an older version ends nothing by itself. Another must not be forestalled: it finds what the
        // program has started by the program.
        if let (Some(process), Ok(runtime)) = (process, Handle::try_current()) {
            runtime.spawn(async move {
                tokio::time::sleep(FORESTALL).await;
                let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
            });
        }
    }
}

/// Runs a command to its end; its output, both streams together, is the answer.
pub(super) async fn run(
    State(api): State<Api>,
    Path(names): Path<Names>,
    request: Request,
) -> Result<Response, RequestError> {
    let command = Query::of(&request)?.cmd()?;
    let target = Target::find(&api, names)?.running()?;
    let _place = api.0.sessions.take()?;
    let spec = spec(&api, &target, command);
    let running = run_to_end(spec);
    let (exited, output) = timeout(RUN_TIME, running).await.map_err(|_| {
        let message = format!("the command took more than {} s", RUN_TIME.as_secs());
        RequestError::new(StatusCode::GATEWAY_TIMEOUT, message)
    })??;
    match code(&exited) {
        0 => {
            let text = [(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            Ok((text, output).into_response())
        }
        code => {
            let output = String::from_utf8_lossy(&output);
            let message = format!(
                "command terminated with exit code {code}: {}",
                output.trim_end()
            );
            Err(RequestError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                message,
            ))
        }
    }
}

async fn run_to_end(spec: ExecSpec) -> Result<(Exited, Vec<u8>), RequestError> {
    let io = |err: io::Error| RequestError::internal(&err);
    let (own, output) = pipes::output().map_err(io)?;
    let streams = [null().map_err(io)?, own.try_clone().map_err(io)?, own];
    let session = Session::start(spec, Some(streams)).await;
    let mut session = session.map_err(|err| RequestError::internal(&err))?;
    let (end, ended) = watch::channel(false);
    let ending = async {
        let exited = session.exited().await;
        end.send_replace(true);
        exited
    };
    let (exited, output) = tokio::join!(ending, pipes::gather(output, RUN_OUTPUT, ended));
    let exited = exited.map_err(|err| RequestError::internal(&err))?;
    Ok((exited, output))
}
