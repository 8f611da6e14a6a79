//! Containers: from a start record to a parked process, a running one, and its end.

use rkube_init::log::Stream;
use rkube_init::protocol::{
    self, ContainerState, ExitOf, ExitRecord, Exited, Kind, Name, Prepare, Refusal, Refused,
    Started, Wiring,
};
use rkube_init::status::{FRAME, Frame};
use rkube_init::sys::event::Ended;
use rkube_init::sys::seqpacket::{self, Received};
use rkube_init::sys::{self, Fd, errno, event, fs, growing, host};

use crate::connections::Asker;
use crate::exits;
use crate::log::Log;
use crate::plumbing::{Launchable, Plumbing, call};
use crate::supervisor::{Supervisor, Token};

const SIGKILL: u8 = 9;

/// One entry of the table; free while `id` is 0.
pub(crate) struct Container {
    pub(crate) id: u32,
    pub(crate) name: Name,
    attempt: u32,
    pub(crate) wiring: Wiring,
    pub(crate) state: ContainerState,
    /// As our pid namespace has it; 0 once it is reaped. Nobody else reaps it, so the number stays
    /// its own till then.
    pub(crate) pid: i32,
    exited: Exited,
    refused: Refused,
    /// Whether the process has reported that all set-up is behind it.
    pub(crate) ready: bool,
    status: Option<Fd>,
    /// A byte here lets the process go on to its execve.
    park: Option<Fd>,
    console: Option<Fd>,
    /// The writing end of its input, or its terminal's master.
    pub(crate) stdin: Option<Fd>,
    /// The reading ends of its output; a terminal is the first alone.
    pub(crate) output: [Option<Fd>; 2],
    /// How many bytes of an unfinished line are kept of each stream.
    pub(crate) kept: [u16; 2],
    /// To which of them something was added since the timer's last turn.
    pub(crate) stirred: [bool; 2],
    pub(crate) log: Option<Log>,
    /// Who waits to hear that it runs.
    asker: Option<Asker>,
}

impl Container {
    pub(crate) const FREE: Self = Self {
        id: 0,
        name: Name::EMPTY,
        attempt: 0,
        wiring: Wiring {
            tty: false,
            stdin: false,
            log: false,
        },
        state: ContainerState::Parked,
        pid: 0,
        exited: Exited {
            code: 0,
            signal: 0,
            started: 0,
            exited: 0,
        },
        refused: Refused::NONE,
        ready: false,
        status: None,
        park: None,
        console: None,
        stdin: None,
        output: [None, None],
        kept: [0; 2],
        stirred: [false; 2],
        log: None,
        asker: None,
    };

    /// What a snapshot and the events say about it.
    pub(crate) fn show(&self) -> protocol::Container {
        protocol::Container {
            name: self.name,
            attempt: self.attempt,
            state: self.state,
            wiring: self.wiring,
            exited: self.exited,
            refused: self.refused,
            log_size: self.log.as_ref().map_or(0, |log| log.size),
            log_dropped: self.log.as_ref().map_or(0, |log| log.dropped),
        }
    }
}

impl Supervisor {
    /// The place of the container with this number.
    pub(crate) fn container(&self, id: u32) -> Result<usize, Refused> {
        let found = self
            .tables
            .containers
            .iter()
            .position(|slot| slot.id == id && id != 0);
        found.ok_or(Refused::new(Refusal::Unknown))
    }

    /// Forks a container's first process, which sets itself up and then waits for
    /// [`Supervisor::start`].
    pub(crate) fn prepare(&mut self, asker: Asker, prepare: &Prepare) -> Result<(), Refused> {
        let same = |slot: &Container| {
            slot.id != 0 && slot.name == prepare.name && slot.state != ContainerState::Exited
        };
        if self.leaving {
            return Err(Refused::new(Refusal::State));
        }
        if self.tables.containers.iter().any(same) {
            return Err(Refused::new(Refusal::Exists));
        }
        let index = self
            .tables
            .containers
            .iter()
            .position(|slot| slot.id == 0)
            .ok_or(Refused::new(Refusal::Full))?;
        let received = self.received();
        let log = match prepare.wiring.log {
            true => {
                let dir = received.take(1).ok_or(Refused::new(Refusal::Malformed))?;
                Some(Log::open(dir, prepare.log_name, prepare.limits).map_err(call)?)
            }
            false => None,
        };
        let first = 1 + usize::from(prepare.wiring.log);
        let launchable = Launchable::new(received, prepare.record, first)?;
        let plumbing = Plumbing::new(prepare.wiring).map_err(call)?;
        let launched = launchable.launch(&plumbing.child_ends(), None)?;
        let id = self.number();
        self.tables.containers[index] = Container {
            id,
            name: prepare.name,
            attempt: prepare.attempt,
            wiring: prepare.wiring,
            pid: launched.pid,
            log,
            ..Container::FREE
        };
        if let Err(err) = self.install(index, plumbing) {
            // Its end will be seen and told like any other.
            let _ = host::kill(launched.pid, SIGKILL);
            return Err(call(err));
        }
        self.reply(
            asker,
            (Kind::Prepared, id),
            Some(launched.pidfd.raw()),
            &|_| {},
        );
        Ok(())
    }

    /// Puts our ends of a new container's descriptors into its entry, and waits for them.
    fn install(&mut self, index: usize, plumbing: Plumbing) -> sys::Result<()> {
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return Ok(());
        };
        let Plumbing {
            status,
            park,
            console,
            stdin,
            output,
        } = plumbing;
        slot.park = Some(park.1);
        slot.stdin = stdin.map(|(_, write)| write);
        slot.output = output.map(|pipe| pipe.map(|(read, _)| read));
        self.watches.add(&status.0, Token::Status(index))?;
        slot.status = Some(status.0);
        for (stream, output) in [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .zip(&slot.output)
        {
            if let Some(output) = output {
                self.watches.add(output, Token::Output(index, stream))?;
            }
        }
        if let Some((here, _)) = console {
            self.watches.add(&here, Token::Console(index))?;
            slot.console = Some(here);
        }
        Ok(())
    }

    /// Lets a prepared container run. The answer comes when its execve has been seen, or has
    /// failed.
    pub(crate) fn start(&mut self, asker: Asker, id: u32) -> Result<(), Refused> {
        let index = self.container(id)?;
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return Ok(());
        };
        if slot.refused.why != Refusal::None {
            return Err(slot.refused);
        }
        if slot.state != ContainerState::Parked {
            return Err(Refused::new(Refusal::State));
        }
        let park = slot.park.take().ok_or(Refused::new(Refusal::State))?;
        slot.exited.started = event::now();
        slot.state = ContainerState::Starting;
        slot.asker = Some(asker);
        // If the process is gone, its status pipe says so.
        let _ = fs::write(park.raw(), &[1]);
        Ok(())
    }

    /// A starting process has something to say: that it is parked, why it failed, or, by the end of
    /// the pipe, that its program runs.
    #[inline(never)]
    pub(crate) fn on_status(&mut self, index: usize) {
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return;
        };
        while let Some(status) = slot.status.as_ref() {
            let mut frame = [0; FRAME];
            match fs::read(status.raw(), &mut frame) {
                Ok(FRAME) => match Frame::read(&frame) {
                    Some(Frame::Parked) => slot.ready = true,
                    Some(Frame::Failed(_)) => slot.refused = Refused::stage(frame),
                    Some(Frame::Hooks | Frame::Forked(_)) | None => {}
                },
                Err(err) if err.is(errno::EAGAIN) => return,
                Err(err) if err.is(errno::EINTR) => {}
                Ok(_) | Err(_) => self.watches.close(slot.status.take()),
            }
        }
        self.settle(index);
    }

    /// The status pipe has ended: tells whoever waits whether the program runs.
    fn settle(&mut self, index: usize) {
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return;
        };
        if slot.refused.why == Refusal::None && !slot.ready {
            slot.refused = Refused::new(Refusal::Vanished);
        }
        let (id, asker, refused, started) = (
            slot.id,
            slot.asker.take(),
            slot.refused,
            slot.exited.started,
        );
        if slot.state != ContainerState::Starting {
            return;
        }
        if refused.why == Refusal::None {
            slot.state = ContainerState::Running;
            if let Some(asker) = asker {
                self.reply(asker, (Kind::Running, id), None, &|write| {
                    Started { started }.encode(write)
                });
            }
            self.publish(Kind::EventStarted, index);
        } else if let Some(asker) = asker {
            self.refuse(asker, &refused);
        }
    }

    /// A container's terminal arrives.
    #[inline(never)]
    pub(crate) fn on_console(&mut self, index: usize) {
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return;
        };
        let Some(console) = slot.console.take() else {
            return;
        };
        let mut fds = Received::NONE;
        let _ = seqpacket::recv(console.raw(), &mut [0; 128], &mut fds);
        self.watches.close(Some(console));
        let Some(master) = fds.take(0) else { return };
        if growing::set_nonblocking(master.raw()).is_err() {
            return;
        }
        slot.stdin = fs::dup_from(master.raw(), 3).ok();
        if self
            .watches
            .add(&master, Token::Output(index, Stream::Stdout))
            .is_ok()
        {
            slot.output[0] = Some(master);
        }
    }

    /// A container's first process has ended: everything it has said is written down before its end
    /// is told.
    #[inline(never)]
    pub(crate) fn on_container_ended(&mut self, index: usize, ended: Ended) {
        self.on_status(index);
        // Its terminal may still be in the socket.
        self.on_console(index);
        self.drain(index);
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return;
        };
        slot.pid = 0;
        slot.state = ContainerState::Exited;
        slot.exited = Exited {
            code: ended.code,
            signal: ended.signal,
            exited: event::now(),
            ..slot.exited
        };
        self.watches.close(slot.status.take());
        self.watches.close(slot.console.take());
        (slot.park, slot.stdin) = (None, None);
        let record = ExitRecord {
            what: ExitOf::Container,
            name: slot.name,
            attempt: slot.attempt,
            id: slot.id,
            exited: slot.exited,
        };
        let id = slot.id;
        exits::append(&record);
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.end_attachments_of(id, stream);
        }
        self.publish(Kind::EventExited, index);
    }

    /// Sends a signal to a container's or an exec's process.
    pub(crate) fn signal(&mut self, id: u32, signal: u8) -> Result<(), Refused> {
        let pid = match self.container(id) {
            Ok(index) => self.tables.containers.get(index).map_or(0, |slot| slot.pid),
            Err(unknown) => {
                self.tables
                    .execs
                    .iter()
                    .find(|slot| slot.id == id && id != 0)
                    .ok_or(unknown)?
                    .pid
            }
        };
        if pid <= 0 {
            return Err(Refused::new(Refusal::State));
        }
        host::kill(pid, signal).map_err(call)
    }

    /// Drops what is kept about a container that has ended.
    pub(crate) fn forget(&mut self, id: u32) -> Result<(), Refused> {
        let index = self.container(id)?;
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return Ok(());
        };
        if slot.pid > 0 {
            return Err(Refused::new(Refusal::State));
        }
        let slot = core::mem::replace(slot, Container::FREE);
        for output in slot.output {
            self.watches.close(output);
        }
        let ended = |slot: &Container| slot.id != 0 && slot.state == ContainerState::Exited;
        if !self.tables.containers.iter().any(ended) {
            exits::clear();
        }
        Ok(())
    }

    /// Kills everything. The loop ends when the last one is reaped.
    pub(crate) fn shut_down(&mut self) {
        self.leaving = true;
        let containers = self.tables.containers.iter().map(|slot| slot.pid);
        let execs = self.tables.execs.iter().map(|slot| slot.pid);
        for pid in containers.chain(execs).filter(|&pid| pid > 0) {
            let _ = host::kill(pid, SIGKILL);
        }
    }
}
