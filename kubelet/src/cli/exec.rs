//! `rkubelet exec`: one more program in a container.
//!
//! Without a terminal the program gets this process's own standard streams where that is safe, so that no byte is
//! copied; see [`mod@streams`]. With `-t` it gets a terminal of the container's, which [`terminal`] joins with ours.
pub(super) mod streams;
pub(super) mod terminal;

use super::output::Output;
use super::{Failure, Global, joined, open, pods};
use crate::sandbox::{ExecError, ExecSpec};
use crate::sys;
use clap::Args;
use rkube_runtime::supervisor::{Event, Exec as Running, ExecStreams, Exited, Supervisor};
use rkube_stream::remote::Want;
use std::os::fd::AsFd;
use std::sync::Arc;
use terminal::Terminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Run a command in a container.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet exec web -- ps                   one command
  rkubelet exec -it web -- sh               a shell, with a terminal
  rkubelet exec web -c server -- cat /etc/hosts
  tar -c . | rkubelet exec -i web -- tar -x -C /data

Exit code: the command's own; 128 + n if signal n ended it; 126 if it cannot be run, 127 if it is not there.")]
pub struct Exec {
    /// The pod: its name, namespace/name, or the beginning of its uid
    pod: String,
    /// Which container [default: the only one, or the first]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long = "stdin", visible_alias = "interactive")]
    stdin: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The signals that are passed on to a program without a terminal.
const FORWARDED: [i32; 6] = [1, 2, 3, 10, 12, 15];

impl Exec {
    /// Runs the command; the number is its exit code.
    ///
    /// # Errors
    /// When it could not be started.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let pod = open::pod(&paths, &self.pod)?;
        let output = Output::detect(false);
        let container = pods::container(&pod.record, self.container.as_deref(), output)?;
        let asked = joined::Asked {
            what: "exec",
            pod: &pod.record,
            container: &container.name,
            command: &self.command,
            want: Want {
                stdin: self.stdin,
                stdout: true,
                stderr: !self.tty,
                tty: self.tty,
            },
            leave: false,
        };
        if let Some(joined::End::Code(code)) = joined::run(global, asked).await? {
            return Ok(code);
        }
        let cgroups =
            rkube_runtime::cgroup::Hierarchies::detect().map_err(|err| Failure::of(&err))?;
        let mut spec = ExecSpec::new(
            &paths,
            pod.record.uid(),
            &Arc::new(cgroups),
            &container.name,
            self.command.clone(),
        );
        spec.tty = self.tty;
        spec.tied = true;
        spec.size = terminal::size().filter(|_| self.tty);
        let failed = |err: ExecError| Failure {
            code: err
                .exit_code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
            message: format!(
                "pod {}: cannot run \"{}\" in container {}: {}",
                pod.record.full_name(),
                self.command[0],
                container.name,
                crate::error::chain(&err)
            ),
        };
        // Before it runs: a signal that comes right after its first word is already its own.
        let signals = Watched::new(self.tty).map_err(|err| Failure::of(&err))?;
        if self.tty {
            let (supervisor, running) =
                crate::sandbox::exec(&spec, &ExecStreams::Terminal).map_err(failed)?;
            let terminal = Terminal::join(&running, self.stdin).map_err(|err| Failure::of(&err))?;
            let exited = wait(supervisor, &running, Some(&terminal), signals).await?;
            terminal.finish();
            return Ok(code(&exited));
        }
        let (streams, pumps) = streams::prepare(self.stdin).map_err(|err| Failure::of(&err))?;
        let fds = ExecStreams::Fds(streams.each_ref().map(AsFd::as_fd));
        let (supervisor, running) = crate::sandbox::exec(&spec, &fds).map_err(failed)?;
        // The program's ends are its own now; ours would keep the pipes open.
        drop(streams);
        let exited = wait(supervisor, &running, None, signals).await?;
        pumps.finish();
        Ok(code(&exited))
    }
}

pub(super) fn code(exited: &Exited) -> u8 {
    if exited.signal == 0 {
        exited.code
    } else {
        128_u8.saturating_add(exited.signal)
    }
}

/// Waits for the program's end, passes signals on, and keeps its terminal as large as ours.
async fn wait(
    mut supervisor: Supervisor,
    running: &Running,
    terminal: Option<&Terminal>,
    mut signals: Watched,
) -> Result<Exited, Failure> {
    let io = |err: std::io::Error| Failure::of(&err);
    let socket = supervisor.as_fd().try_clone_to_owned().map_err(io)?;
    let ready = sys::readable(socket).map_err(io)?;
    loop {
        loop {
            match supervisor.next_event() {
                Ok(Some(Event::ExecExited { id, exited })) if id == running.id => {
                    return Ok(exited);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(err) => return Err(Failure::of(&err)),
            }
        }
        tokio::select! {
            guard = ready.readable() => guard.map_err(io)?.clear_ready(),
            number = signals.forwarded.next() => {
                // One that has ended meanwhile needs none.
                let _ = supervisor.signal_exec(running, number);
            }
            Some(()) = signals.resized.recv() => if let Some(terminal) = terminal {
                terminal.resize();
            },
        }
    }
}

/// The signals that concern the program.
pub(super) struct Watched {
    pub(super) forwarded: Signals,
    pub(super) resized: Signal,
}

impl Watched {
    /// With a terminal, its keys are the program's business; a hang-up or an order to end is still ours to pass on.
    pub(super) fn new(terminal: bool) -> std::io::Result<Self> {
        let forwarded: &[i32] = if terminal { &[1, 15] } else { &FORWARDED };
        Ok(Watched {
            forwarded: Signals::new(forwarded)?,
            resized: signal(SignalKind::window_change())?,
        })
    }
}

/// Several kinds of signals as one stream of their numbers.
pub(super) struct Signals {
    streams: Vec<(u8, Signal)>,
}

impl Signals {
    fn new(numbers: &[i32]) -> std::io::Result<Self> {
        let streams = numbers.iter().map(|&number| {
            let stream = signal(SignalKind::from_raw(number))?;
            Ok((u8::try_from(number).unwrap_or(0), stream))
        });
        let streams = streams.collect::<std::io::Result<_>>()?;
        Ok(Signals { streams })
    }

    /// The next one. May be dropped and called again.
    pub(super) async fn next(&mut self) -> u8 {
        std::future::poll_fn(|cx| {
            for (number, stream) in &mut self.streams {
                if let std::task::Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn exec(words: &[&str]) -> Result<Exec, clap::Error> {
        let all = ["rkubelet", "exec"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| match cli.verb {
            Verb::Exec(exec) => exec,
            _ => panic!("not exec"),
        })
    }

    #[track_caller]
    fn check(words: &[&str], container: Option<&str>, flags: (bool, bool), command: &[&str]) {
        let exec = exec(words).unwrap();
        assert_eq!(exec.pod, "web");
        assert_eq!(exec.container.as_deref(), container);
        assert_eq!((exec.stdin, exec.tty), flags);
        assert_eq!(exec.command, command);
    }

    #[test]
    fn flags_before_and_the_command_behind() {
        check(
            &["web", "--", "ls", "-l"],
            None,
            (false, false),
            &["ls", "-l"],
        );
        check(&["-it", "web", "--", "sh"], None, (true, true), &["sh"]);
        check(
            &["web", "-c", "a", "--", "sh", "-c", "x"],
            Some("a"),
            (false, false),
            &["sh", "-c", "x"],
        );
        check(&["web", "-it", "--", "sh"], None, (true, true), &["sh"]);
        check(
            &["web", "ls", "-l", "-c"],
            None,
            (false, false),
            &["ls", "-l", "-c"],
        );
        assert!(exec(&["web"]).is_err());
        assert!(exec(&["web", "--"]).is_err());
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        let exited = |code, signal| Exited {
            code,
            signal,
            started: 0,
            exited: 1,
        };
        assert_eq!(code(&exited(3, 0)), 3);
        assert_eq!(code(&exited(0, 9)), 137);
    }
}
