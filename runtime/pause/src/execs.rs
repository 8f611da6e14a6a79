//! Exec'd processes: further programs in a running container, asked for by one connection.

use rkube_init::protocol::{Exec as Request, Exited, Kind, Refusal, Refused, Started};
use rkube_init::status::{FRAME, Frame};
use rkube_init::sys::event::Ended;
use rkube_init::sys::{Fd, errno, event, fs, growing, host, process};

use crate::connections::Asker;
use crate::plumbing::{Launchable, Streams, call};
use crate::supervisor::{Supervisor, Token};

const SIGKILL: u8 = 9;

/// One entry of the table; free while `id` is 0.
pub(crate) struct Exec {
    pub(crate) id: u32,
    /// 0 once it is reaped.
    pub(crate) pid: i32,
    asker: Asker,
    /// It ends with its asker's connection.
    tied: bool,
    started: u64,
    status: Option<Fd>,
    /// Handed to the asker once the program runs.
    pidfd: Option<Fd>,
    refused: Refused,
}

impl Exec {
    pub(crate) const FREE: Self = Self {
        id: 0,
        pid: 0,
        asker: Asker {
            connection: 0,
            seq: 0,
        },
        tied: false,
        started: 0,
        status: None,
        pidfd: None,
        refused: Refused::NONE,
    };
}

impl Supervisor {
    /// Forks a process into a container. The answer comes when its execve has been seen, or has
    /// failed.
    pub(crate) fn exec(&mut self, asker: Asker, id: u32, request: &Request) -> Result<(), Refused> {
        let index = self.container(id)?;
        let container = self
            .tables
            .containers
            .get(index)
            .ok_or(Refused::new(Refusal::Unknown))?;
        let (pid, ready) = (container.pid, container.ready);
        if pid <= 0 || !ready || self.leaving {
            return Err(Refused::new(Refusal::State));
        }
        let place = self
            .tables
            .execs
            .iter()
            .position(|slot| slot.id == 0)
            .ok_or(Refused::new(Refusal::Full))?;
        let target = process::pidfd_open(pid).map_err(call)?;
        let (read, write) = fs::pipe().map_err(call)?;
        growing::set_nonblocking(read.raw()).map_err(call)?;
        let given = if request.tty { 1 } else { 3 };
        let received = self.received();
        let mut own = [const { None }; 3];
        for (index, slot) in own.iter_mut().enumerate().take(given) {
            *slot = Some(
                received
                    .take(1 + index)
                    .ok_or(Refused::new(Refusal::Malformed))?,
            );
        }
        let fds = own.each_ref().map(|fd| fd.as_ref().map(Fd::raw));
        let (stdio, console) = if request.tty {
            ([None; 3], fds[0])
        } else {
            (fds, None)
        };
        let launchable = Launchable::new(received, request.record, 1 + given)?;
        let streams = Streams {
            status: write.raw(),
            park: None,
            stdio,
            console,
        };
        let started = event::now();
        // Before the launch: afterwards nothing may fail any more.
        self.watches
            .add(&read, Token::ExecStatus(place))
            .map_err(call)?;
        let launched = launchable.launch(&streams, Some(target.raw()))?;
        let id = self.number();
        self.tables.execs[place] = Exec {
            id,
            pid: launched.pid,
            asker,
            tied: request.tied,
            started,
            status: Some(read),
            pidfd: Some(launched.pidfd),
            refused: Refused::NONE,
        };
        Ok(())
    }

    /// An exec'd process has failed, or, by the end of the pipe, its program runs.
    #[inline(never)]
    pub(crate) fn on_exec_status(&mut self, index: usize) {
        let Some(slot) = self.tables.execs.get_mut(index) else {
            return;
        };
        while let Some(status) = slot.status.as_ref() {
            let mut frame = [0; FRAME];
            match fs::read(status.raw(), &mut frame) {
                Ok(FRAME) => {
                    if let Some(Frame::Failed(_)) = Frame::read(&frame) {
                        slot.refused = Refused::stage(frame);
                    }
                }
                Err(err) if err.is(errno::EAGAIN) => return,
                Err(err) if err.is(errno::EINTR) => {}
                Ok(_) | Err(_) => {
                    self.watches.close(slot.status.take());
                    let (id, asker, refused, started) =
                        (slot.id, slot.asker, slot.refused, slot.started);
                    let pidfd = slot.pidfd.take();
                    if refused.why == Refusal::None {
                        let pidfd = pidfd.as_ref().map(Fd::raw);
                        self.reply(asker, (Kind::Running, id), pidfd, &|write| {
                            Started { started }.encode(write)
                        });
                    } else {
                        self.refuse(asker, &refused);
                    }
                    return;
                }
            }
        }
    }

    /// A connection has ended: what is tied to it is killed, with its whole process group where it leads one.
    pub(crate) fn kill_tied(&mut self, connection: u32) {
        let tied = |slot: &&Exec| slot.tied && slot.pid > 0 && slot.asker.connection == connection;
        for slot in self.tables.execs.iter().filter(tied) {
            // Until its setsid(2) there is no such group.
            if host::kill(-slot.pid, SIGKILL).is_err() {
                let _ = host::kill(slot.pid, SIGKILL);
            }
        }
    }

    /// An exec'd process has ended: only its asker is told, and only if it ever ran.
    #[inline(never)]
    pub(crate) fn on_exec_ended(&mut self, index: usize, ended: Ended) {
        self.on_exec_status(index);
        let Some(slot) = self.tables.execs.get_mut(index) else {
            return;
        };
        let slot = core::mem::replace(slot, Exec::FREE);
        self.watches.close(slot.status);
        let exited = Exited {
            code: ended.code,
            signal: ended.signal,
            started: slot.started,
            exited: event::now(),
        };
        if slot.refused.why == Refusal::None {
            let what = (Kind::EventExecExited, slot.id);
            self.notify(slot.asker.connection, what, &|write| exited.encode(write));
        }
    }
}
