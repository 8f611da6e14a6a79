//! One connection: numbered requests, their answers, and the events that come in between.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rkube_init::protocol::{
    self, DecodeError, Exited, Header, Hello, Kind, MAX_MESSAGE, Refused, Writer,
};

use super::boot::SOCKET;
use super::error::SupervisorError;
use super::types::{Container, Event, Failure};
use crate::sys::{pid, seqpacket};

/// How long an answer may take before the supervisor counts as stuck.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to the supervisor of one pod.
#[derive(Debug)]
pub struct Supervisor {
    dir: PathBuf,
    pid: u32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    seq: u32,
    timeout: Duration,
    /// The newest container of each name.
    ids: BTreeMap<String, u32>,
    events: VecDeque<Event>,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) container: u32,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// A frame that has arrived.
struct Arrived {
    header: Header,
    payload: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Supervisor {
    /// Connects, asks for events, and learns which containers there are.
    pub(super) fn open(dir: &Path, pid: u32, pidfd: &OwnedFd) -> Result<Self, SupervisorError> {
        let broken = |source| SupervisorError::Connection {
            dir: dir.to_owned(),
            source,
        };
        let opened = fs_err::File::open(dir).map_err(broken)?;
        let socket =
            seqpacket::connect(opened.as_fd(), SOCKET).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    SupervisorError::Gone {
                        dir: dir.to_owned(),
                    }
                }
                _ => broken(source),
            })?;
        let mut supervisor = Self {
            dir: dir.to_owned(),
            pid,
            pidfd: pidfd.try_clone().map_err(broken)?,
            socket,
            seq: 0,
            timeout: TIMEOUT,
            ids: BTreeMap::new(),
            events: VecDeque::new(),
        };
        supervisor.snapshot()?;
        Ok(supervisor)
    }

    /// The supervisor's pid, as this process's pid namespace has it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The supervisor's pidfd: readable once it has ended, and the pod with it.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The pod's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The pod's network namespace.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub fn netns(&self) -> io::Result<OwnedFd> {
        let netns = fs_err::File::open(format!("/proc/{}/ns/net", self.pid))?;
        // If it lives now, the pid was still its own a moment ago.
        if seqpacket::readable(self.pidfd.as_fd(), Duration::ZERO)? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the supervisor has ended",
            ));
        }
        Ok(netns.into())
    }

    /// Sets how long an answer may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// All containers that have not been forgotten.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn snapshot(&mut self) -> Result<Vec<Container>, SupervisorError> {
        let hello = Hello { subscribe: true };
        let seq = self.send(Kind::Hello, 0, &[], |write| hello.encode(write))?;
        let deadline = Instant::now() + self.timeout;
        let first = self.answer_to(seq, deadline)?;
        let count = protocol::Reader::new(&first.payload)
            .u32()
            .map_err(|_| self.garbled())?;
        let mut containers = Vec::new();
        for _ in 0..count {
            let mut next = self.answer_to(seq, deadline)?;
            let shown = protocol::Container::decode(&next.payload).map_err(|_| self.garbled())?;
            let container = Container::new(next.container, &shown, next.fds.pop());
            self.learn(&container);
            containers.push(container);
        }
        Ok(containers)
    }

    /// The next thing that happened, if there is one. Never waits: wait for [`Supervisor::as_fd`]
    /// to become readable.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn next_event(&mut self) -> Result<Option<Event>, SupervisorError> {
        while self.events.is_empty() {
            let Some(arrived) = self.receive()? else {
                return Ok(None);
            };
            // An answer that nobody waits for any more belongs to a request that timed out.
            self.sort_in(arrived)?;
        }
        Ok(self.events.pop_front())
    }

    /// Waits for the next thing that happens, at most so long.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn wait_event(&mut self, timeout: Duration) -> Result<Option<Event>, SupervisorError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.next_event()? {
                return Ok(Some(event));
            }
            if !self.readable_until(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends a request; its number.
    pub(super) fn send(
        &mut self,
        kind: Kind,
        container: u32,
        fds: &[BorrowedFd<'_>],
        payload: impl FnOnce(&mut Writer<'_>),
    ) -> Result<u32, SupervisorError> {
        self.seq = self.seq.wrapping_add(1).max(1);
        let mut buffer = [0; MAX_MESSAGE];
        let mut write = Header {
            kind,
            seq: self.seq,
            container,
        }
        .begin(&mut buffer);
        payload(&mut write);
        let message = write
            .finish()
            .map_err(|_| self.broken(io::ErrorKind::InvalidInput.into()))?;
        seqpacket::send(self.socket.as_fd(), message, fds).map_err(|err| self.broken(err))?;
        Ok(self.seq)
    }

    /// Sends a request and waits for its answer. A refusal is an error that names `name`.
    pub(super) fn ask(
        &mut self,
        (kind, container, name): (Kind, u32, &str),
        fds: &[BorrowedFd<'_>],
        payload: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Answer, SupervisorError> {
        let seq = self.send(kind, container, fds, payload)?;
        let answer = self.answer_to(seq, Instant::now() + self.timeout)?;
        if answer.kind != Kind::Refused {
            return Ok(answer);
        }
        let refused = Refused::decode(&answer.payload).map_err(|_| self.garbled())?;
        let failure = Failure::new(&refused).unwrap_or(Failure::Malformed);
        Err(SupervisorError::Refused {
            name: name.to_owned(),
            failure,
        })
    }

    fn answer_to(&mut self, seq: u32, deadline: Instant) -> Result<Answer, SupervisorError> {
        loop {
            while let Some(arrived) = self.receive()? {
                let is_it = arrived.header.seq == seq;
                match self.sort_in(arrived)? {
                    Some(answer) if is_it => return Ok(answer),
                    _ => {}
                }
            }
            if !self.readable_until(deadline)? {
                return Err(SupervisorError::Timeout {
                    dir: self.dir.clone(),
                });
            }
        }
    }

    /// Whether something can be read before the deadline. May wake up for nothing in between.
    fn readable_until(&self, deadline: Instant) -> Result<bool, SupervisorError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if seqpacket::readable(self.socket.as_fd(), left).map_err(|err| self.broken(err))? {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// One frame, if there is one.
    fn receive(&self) -> Result<Option<Arrived>, SupervisorError> {
        let mut buffer = [0; MAX_MESSAGE];
        let got = match seqpacket::recv(self.socket.as_fd(), &mut buffer) {
            Ok(got) => got,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(err) => return Err(self.broken(err)),
        };
        if got.len == 0 {
            return Err(SupervisorError::Gone {
                dir: self.dir.clone(),
            });
        }
        let message = buffer.get(..got.len).unwrap_or_default();
        let (header, payload) = Header::decode(message).map_err(|_| self.garbled())?;
        Ok(Some(Arrived {
            header,
            payload: payload.to_vec(),
            fds: got.fds,
        }))
    }

    /// Queues an event; gives anything else back as an answer.
    fn sort_in(&mut self, arrived: Arrived) -> Result<Option<Answer>, SupervisorError> {
        let Arrived {
            header:
                Header {
                    kind,
                    seq,
                    container,
                },
            payload,
            fds,
        } = arrived;
        if seq != 0 {
            return Ok(Some(Answer {
                kind,
                container,
                payload,
                fds,
            }));
        }
        let event = event(kind, container, &payload).map_err(|_| self.garbled())?;
        if let Some(Event::Started(shown) | Event::Exited(shown) | Event::LogRotated(shown)) =
            &event
        {
            self.learn(shown);
        }
        self.events.extend(event);
        Ok(None)
    }

    fn learn(&mut self, container: &Container) {
        let newest = self.ids.entry(container.name.clone()).or_default();
        *newest = container.id.max(*newest);
    }

    /// Remembers a container that has just been made.
    pub(super) fn learn_id(&mut self, name: &str, id: u32) {
        self.ids.insert(name.to_owned(), id);
    }

    /// Forgets one.
    pub(super) fn unlearn(&mut self, name: &str) {
        self.ids.remove(name);
    }

    /// The number of the newest container of this name.
    pub(super) fn id(&mut self, name: &str) -> Result<u32, SupervisorError> {
        if !self.ids.contains_key(name) {
            // Another client may have made it.
            self.snapshot()?;
        }
        let unknown = || SupervisorError::Unknown {
            name: name.to_owned(),
        };
        self.ids.get(name).copied().ok_or_else(unknown)
    }

    pub(super) fn broken(&self, source: io::Error) -> SupervisorError {
        match source.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected => SupervisorError::Gone {
                dir: self.dir.clone(),
            },
            _ => SupervisorError::Connection {
                dir: self.dir.clone(),
                source,
            },
        }
    }

    pub(super) fn garbled(&self) -> SupervisorError {
        self.broken(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message makes no sense",
        ))
    }

    /// Waits until the supervisor has ended, and reaps it if it is this process's child.
    pub(super) fn wait_gone(&self, timeout: Duration) -> Result<(), SupervisorError> {
        let ended =
            seqpacket::readable(self.pidfd.as_fd(), timeout).map_err(|err| self.broken(err))?;
        if !ended {
            return Err(SupervisorError::Timeout {
                dir: self.dir.clone(),
            });
        }
        pid::reap(&self.pidfd).map_err(|err| self.broken(err))
    }

    /// Puts events back in front, for whoever takes them next.
    pub(super) fn put_back(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.events.push_front(event);
        }
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl AsFd for Supervisor {
    /// Readable when [`Supervisor::next_event`] has something to say, or the connection has ended.
    /// Events that arrived while another call waited for its answer do not show here: take events
    /// until there are none before waiting.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Supervisor {
    /// For event loops that want a number, such as tokio's `AsyncFd`.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// What an event frame says; nothing for a kind that is younger than this build.
fn event(kind: Kind, id: u32, payload: &[u8]) -> Result<Option<Event>, DecodeError> {
    let container = || {
        Ok(Container::new(
            id,
            &protocol::Container::decode(payload)?,
            None,
        ))
    };
    Ok(match kind {
        Kind::EventStarted => Some(Event::Started(container()?)),
        Kind::EventExited => Some(Event::Exited(container()?)),
        Kind::EventLogRotated => Some(Event::LogRotated(container()?)),
        Kind::EventExecExited => Some(Event::ExecExited {
            id,
            exited: Exited::decode(payload)?,
        }),
        _ => None,
    })
}
