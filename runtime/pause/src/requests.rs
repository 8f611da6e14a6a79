//! What clients ask for. Every request gets exactly one answer, at once or when a process has made
//! up its mind.

use rkube_init::protocol::{
    Attach, DecodeError, Exec, Header, Hello, Kind, LogLimits, Prepare, Refusal, Refused, Signal,
};

use crate::connections::Asker;
use crate::plumbing::call;
use crate::supervisor::{Request, Supervisor};

/// A request whose bytes have been understood.
#[derive(Clone, Copy)]
enum Asked {
    Hello(Hello),
    Prepare(Prepare),
    Start,
    Exec(Exec),
    Signal(Signal),
    Attach(Attach),
    CloseStdin,
    LogLimits(LogLimits),
    ReopenLog,
    Forget,
    Shutdown,
}

impl Asked {
    fn decode(kind: Kind, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(Hello::decode(payload)?),
            Kind::Prepare => Self::Prepare(Prepare::decode(payload)?),
            Kind::Start => Self::Start,
            Kind::Exec => Self::Exec(Exec::decode(payload)?),
            Kind::Signal => Self::Signal(Signal::decode(payload)?),
            Kind::Attach => Self::Attach(Attach::decode(payload)?),
            Kind::CloseStdin => Self::CloseStdin,
            Kind::LogLimits => Self::LogLimits(LogLimits::decode(payload)?),
            Kind::ReopenLog => Self::ReopenLog,
            Kind::Forget => Self::Forget,
            Kind::Shutdown => Self::Shutdown,
            Kind::Boot
            | Kind::Ok
            | Kind::Refused
            | Kind::Snapshot
            | Kind::Container
            | Kind::Prepared
            | Kind::Running
            | Kind::EventStarted
            | Kind::EventExited
            | Kind::EventExecExited
            | Kind::EventLogRotated => return Err(DecodeError),
        })
    }
}

impl Supervisor {
    /// Carries out the request that lies in the message buffer.
    #[inline(never)]
    pub(crate) fn on_request(&mut self, index: usize, request: &Request) {
        let connection = self
            .tables
            .connections
            .get(index)
            .map_or(0, |slot| slot.number);
        let Ok((header, payload)) = Header::decode(self.message(request)) else {
            // Without a header there is no number to answer to, and no telling what this is.
            return self.disconnect(index);
        };
        let asker = Asker {
            connection,
            seq: header.seq,
        };
        let done = match Asked::decode(header.kind, payload) {
            Ok(asked) => self.carry_out(asker, header.container, asked),
            Err(DecodeError) => Err(Refused::new(Refusal::Malformed)),
        };
        if let Err(refused) = done {
            self.refuse(asker, &refused);
        }
    }

    fn carry_out(&mut self, asker: Asker, id: u32, asked: Asked) -> Result<(), Refused> {
        match asked {
            Asked::Hello(hello) => return self.greet(asker, hello),
            Asked::Prepare(prepare) => return self.prepare(asker, &prepare),
            Asked::Start => return self.start(asker, id),
            Asked::Exec(exec) => return self.exec(asker, id, &exec),
            Asked::Attach(attach) => return self.attach(asker, id, attach),
            Asked::Signal(signal) => self.signal(id, signal.signal)?,
            Asked::CloseStdin => {
                let index = self.container(id)?;
                self.tables.containers[index].stdin = None;
            }
            Asked::LogLimits(limits) => self.log(id)?.limits = limits,
            Asked::ReopenLog => self.log(id)?.reopen().map_err(call)?,
            Asked::Forget => self.forget(id)?,
            Asked::Shutdown => self.shut_down(),
        }
        self.reply_ok(asker, id);
        Ok(())
    }

    fn log(&mut self, id: u32) -> Result<&mut crate::log::Log, Refused> {
        let index = self.container(id)?;
        let log = self
            .tables
            .containers
            .get_mut(index)
            .and_then(|slot| slot.log.as_mut());
        log.ok_or(Refused::new(Refusal::State))
    }

    /// Answers Hello: how many containers there are, then each of them, with a pidfd while it
    /// lives.
    fn greet(&mut self, asker: Asker, hello: Hello) -> Result<(), Refused> {
        if let Some(index) = self.connection(asker.connection) {
            self.tables.connections[index].subscribed = hello.subscribe;
        }
        let count = self
            .tables
            .containers
            .iter()
            .filter(|slot| slot.id != 0)
            .count();
        let count = u32::try_from(count).unwrap_or(0);
        self.reply(asker, (Kind::Snapshot, 0), None, &|write| {
            write.u32(count);
        });
        for index in 0..self.tables.containers.len() {
            let Some(slot) = self
                .tables
                .containers
                .get(index)
                .filter(|slot| slot.id != 0)
            else {
                continue;
            };
            let (id, shown, pid) = (slot.id, slot.show(), slot.pid);
            let pidfd = if pid > 0 {
                rkube_init::sys::process::pidfd_open(pid).ok()
            } else {
                None
            };
            let file = pidfd.as_ref().map(rkube_init::sys::Fd::raw);
            self.reply(asker, (Kind::Container, id), file, &|write| {
                shown.encode(write)
            });
        }
        Ok(())
    }
}
