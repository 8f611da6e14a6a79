//! `rkubelet attach`: joins the streams of a container that runs with ours, from now on.
//!
//! What it writes is copied to us as far as we keep up; its log has it all.
use super::exec::streams::copy;
use super::exec::terminal::{Raw, resize};
use super::output::Output;
use super::{Failure, Global, exec, joined, open, pods};
use crate::sys;
use clap::Args;
use k8s_openapi::api::core::v1::Container;
use rkube_runtime::supervisor::{
    Attach as Streams, ContainerState, Event, Exited, Supervisor, SupervisorError, Wiring,
};
use rkube_stream::remote::Want;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long output is waited for after the container's end.
const DRAIN: Duration = Duration::from_secs(2);
/// Ctrl-P Ctrl-Q leaves a container with a terminal alone, as docker has it.
const DETACH: [u8; 2] = [0x10, 0x11];

/// Join a container's input and output, from now on.
///
/// Without a terminal, Ctrl-C leaves the container alone; with one, Ctrl-P Ctrl-Q does.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet attach web                 what it writes from now on
  rkubelet attach -i calculator       and what is typed to it (needs `stdin: true` in the manifest)

Exit code: the container's own, 0 if it was left alone.")]
pub struct Attach {
    /// The pod: its name, namespace/name, or the beginning of its uid
    pod: String,
    /// Which container [default: the only one, or the first]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long = "stdin", visible_alias = "interactive")]
    stdin: bool,
}

/// What ends an attachment.
enum End {
    /// The container ended.
    Exited(Exited),
    /// The person left.
    Left,
}

impl Attach {
    /// Joins until the container ends or is left alone.
    ///
    /// # Errors
    /// When the container does not run, or takes no input.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let pod = open::pod(&paths, &self.pod)?;
        let output = Output::detect(false);
        let container = pods::container(&pod.record, self.container.as_deref(), output)?;
        let name = &container.name;
        let tty = container.tty.unwrap_or(false);
        let asked = joined::Asked {
            what: "attach",
            pod: &pod.record,
            container: name,
            command: &[],
            want: Want {
                stdin: self.stdin,
                stdout: true,
                stderr: !tty,
                tty,
            },
            leave: true,
        };
        match joined::run(global, asked).await? {
            Some(joined::End::Code(code)) => return Ok(code),
            Some(joined::End::Left) => {
                output.say(&format!("left container {name}; it goes on"));
                return Ok(0);
            }
            None => {}
        }
        let failed =
            |what: String| Failure::failed(format!("pod {}: {what}", pod.record.full_name()));
        let not_running = || failed(format!("container {name} is not running"));
        let mut supervisor = match Supervisor::connect(&paths.pod_run(pod.record.uid())) {
            Err(SupervisorError::Gone { .. }) => return Err(not_running()),
            other => other.map_err(|err| Failure::of(&err))?,
        };
        let all = supervisor.snapshot().map_err(|err| Failure::of(&err))?;
        let running = all
            .iter()
            .find(|one| one.name == *name && one.state == ContainerState::Running);
        let wiring = running.ok_or_else(not_running)?.wiring;
        if self.stdin && !wiring.stdin {
            return Err(failed(format!(
                "container {name} takes no input; give it `stdin: true` in the manifest"
            )));
        }
        match self.join(supervisor, container, wiring).await? {
            End::Exited(exited) => Ok(exec::code(&exited)),
            End::Left => {
                output.say(&format!("left container {name}; it goes on"));
                Ok(0)
            }
        }
    }

    async fn join(
        &self,
        mut supervisor: Supervisor,
        container: &Container,
        wiring: Wiring,
    ) -> Result<End, Failure> {
        let io = |err: io::Error| Failure::of(&err);
        let what = Streams {
            stdin: self.stdin,
            stdout: true,
            stderr: !wiring.tty,
        };
        let (outputs, pumps) = pumps(wiring.tty).map_err(io)?;
        let ends: Vec<_> = outputs.iter().map(AsFd::as_fd).collect();
        let input = supervisor
            .attach(&container.name, what, &ends)
            .map_err(|err| Failure::of(&err))?;
        drop(outputs);
        let raw = (self.stdin && wiring.tty && rustix::termios::isatty(io::stdin()))
            .then(Raw::set)
            .transpose()
            .map_err(io)?;
        let master = match &input {
            Some(input) if wiring.tty => Some(input.try_clone().map_err(io)?),
            Some(_) | None => None,
        };
        let once = container.stdin_once.unwrap_or(false);
        let mut typed = input.map(|input| keys(input, wiring.tty));
        if let Some(master) = &master {
            resize(master.as_fd());
        }
        let socket = supervisor.as_fd().try_clone_to_owned().map_err(io)?;
        let ready = sys::readable(socket).map_err(io)?;
        let mut resized = signal(SignalKind::window_change()).map_err(io)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(io)?;
        let end = loop {
            if let Some(exited) = ended(&mut supervisor, &container.name)? {
                break End::Exited(exited);
            }
            tokio::select! {
                guard = ready.readable() => guard.map_err(io)?.clear_ready(),
                Some(()) = resized.recv() => if let Some(master) = &master {
                    resize(master.as_fd());
                },
                Some(()) = interrupted.recv() => break End::Left,
                Ok(why) = async { match &mut typed {
                    Some(typed) => typed.await,
                    None => std::future::pending().await,
                }} => {
                    typed = None;
                    match why {
                        Typed::Left => break End::Left,
                        // Others may still type to it, unless the manifest says that the first one is the last.
                        Typed::End if once => { let _ = supervisor.close_stdin(&container.name); }
                        Typed::End => {}
                    }
                },
            }
        };
        if matches!(end, End::Exited(_)) {
            for pump in pumps {
                let _ = pump.recv_timeout(DRAIN);
            }
        }
        drop(raw);
        Ok(end)
    }
}

/// The container's end, if it has come.
fn ended(supervisor: &mut Supervisor, name: &str) -> Result<Option<Exited>, Failure> {
    loop {
        match supervisor.next_event() {
            Ok(Some(Event::Exited(container))) if container.name == name => {
                return Ok(Some(container.exited));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(err) => return Err(Failure::of(&err)),
        }
    }
}

/// Pipes for the supervisor to write to, and threads that copy them to our streams. A terminal has one for both.
fn pumps(tty: bool) -> io::Result<(Vec<OwnedFd>, Vec<Receiver<()>>)> {
    let mut ours: Vec<File> = vec![io::stdout().as_fd().try_clone_to_owned()?.into()];
    if !tty {
        ours.push(io::stderr().as_fd().try_clone_to_owned()?.into());
    }
    let (mut ends, mut pumps) = (Vec::new(), Vec::new());
    for to in ours {
        let (reader, writer) = io::pipe()?;
        let (done, pump) = channel();
        std::thread::spawn(move || {
            copy(reader, to);
            let _ = done.send(());
        });
        ends.push(writer.into());
        pumps.push(pump);
    }
    Ok((ends, pumps))
}

/// Why nothing more is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typed {
    /// Our input has ended.
    End,
    /// The person left.
    Left,
}

/// Copies what is typed from a thread of its own; the end of this process ends it.
fn keys(to: OwnedFd, tty: bool) -> oneshot::Receiver<Typed> {
    let (done, typed) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(type_into(io::stdin().lock(), Patient(File::from(to)), tty));
    });
    typed
}

/// Waits where what it writes to takes nothing at the moment: others have the same terminal, and made it say so.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(err) => return Err(err.into()),
                    }
                }
                written => return written,
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Copies until the end, or, from a terminal, until the keys that leave.
fn type_into(mut from: impl Read, mut to: impl Write, tty: bool) -> Typed {
    let mut buffer = [0; 4096];
    let mut held = false;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Typed::End,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Typed::End,
        };
        let (keys, left) = match tty {
            true => sift(&buffer[..count], &mut held),
            false => (buffer[..count].to_vec(), false),
        };
        if to.write_all(&keys).is_err() {
            return Typed::End;
        }
        if left {
            return Typed::Left;
        }
    }
}

/// What of the keys goes to the container, and whether they say to leave. The first key of [`DETACH`] is held back
/// until the next one is known.
pub(super) fn sift(keys: &[u8], held: &mut bool) -> (Vec<u8>, bool) {
    let mut through = Vec::with_capacity(keys.len() + 1);
    for &key in keys {
        if *held && key == DETACH[1] {
            return (through, true);
        }
        if *held {
            through.push(DETACH[0]);
        }
        *held = key == DETACH[0];
        if !*held {
            through.push(key);
        }
    }
    (through, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    #[test]
    fn flags() {
        let cli = Cli::try_parse_from(["rkubelet", "attach", "-i", "web", "-c", "a"]).unwrap();
        let Verb::Attach(attach) = cli.verb else {
            panic!("not attach")
        };
        assert!(attach.stdin);
        assert_eq!(attach.container.as_deref(), Some("a"));
        assert!(Cli::try_parse_from(["rkubelet", "attach"]).is_err());
    }

    #[test]
    fn a_large_paste_waits_for_a_slow_reader() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let paste = vec![b'x'; 1 << 20];
        let sent = paste.clone();
        let typing = std::thread::spawn(move || {
            let to = Patient(File::from(OwnedFd::from(writer)));
            type_into(sent.as_slice(), to, true)
        });
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        assert!(came == paste, "{} bytes came", came.len());
        assert_eq!(typing.join().unwrap(), Typed::End);
        // Nobody reads any more: that is the end, not a wait.
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let to = Patient(File::from(OwnedFd::from(writer)));
        assert_eq!(type_into(&b"x"[..], to, true), Typed::End);
    }

    #[test]
    fn two_keys_leave_and_all_others_go_through() {
        let type_all = |typed: &[u8], tty| {
            let mut out = Vec::new();
            let why = type_into(typed, &mut out, tty);
            (out, why)
        };
        assert_eq!(
            type_all(b"ab\x10\x11cd", true),
            (b"ab".to_vec(), Typed::Left)
        );
        assert_eq!(
            type_all(b"a\x10b\x10\x10\x11", true),
            (b"a\x10b\x10".to_vec(), Typed::Left)
        );
        assert_eq!(
            type_all(b"\x11\x10b", true),
            (b"\x11\x10b".to_vec(), Typed::End)
        );
        assert_eq!(
            type_all(b"a\x10\x11", false),
            (b"a\x10\x11".to_vec(), Typed::End)
        );
        // Across two reads.
        let mut held = false;
        assert_eq!(sift(b"x\x10", &mut held), (b"x".to_vec(), false));
        assert_eq!(sift(b"\x11", &mut held), (Vec::new(), true));
    }
}
