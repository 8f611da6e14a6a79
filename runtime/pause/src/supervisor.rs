//! The loop, and the tables that it works on.

use rkube_init::log::Stream;
use rkube_init::protocol::{MAX_CONNECTIONS, MAX_CONTAINERS, MAX_EXECS};
use rkube_init::sys::seqpacket::Received;
use rkube_init::sys::{self, Fd, event, fs};

use crate::attach::{Attachment, MAX_ATTACHMENTS};
use crate::boot::Booted;
use crate::connections::Connection;
use crate::containers::Container;
use crate::execs::Exec;
use crate::exits;
use crate::output::{Kept, Scratch};

/// An unfinished line goes out after one to two of these, in milliseconds.
pub(crate) const QUIET: u32 = 200;

/// All tables. All zeros, so that they take no memory before they are used; the small ones side by
/// side in one page, what is only used for a moment in pages of its own.
#[repr(C, align(4096))]
pub(crate) struct Tables {
    pub(crate) connections: [Connection; MAX_CONNECTIONS],
    pub(crate) attachments: [Attachment; MAX_ATTACHMENTS],
    received: Received,
    pub(crate) containers: [Container; MAX_CONTAINERS],
    pub(crate) execs: [Exec; MAX_EXECS],
    pub(crate) kept: [Kept; MAX_CONTAINERS],
    pub(crate) scratch: Scratch,
}

impl Tables {
    /// Nothing in them.
    pub(crate) const EMPTY: Self = Self {
        connections: [const { Connection::FREE }; MAX_CONNECTIONS],
        attachments: [const { Attachment::FREE }; MAX_ATTACHMENTS],
        received: Received::NONE,
        containers: [const { Container::FREE }; MAX_CONTAINERS],
        execs: [const { Exec::FREE }; MAX_EXECS],
        kept: [const { Kept::EMPTY }; MAX_CONTAINERS],
        scratch: Scratch::EMPTY,
    };
}

/// What an event of the epoll is about: a kind and a table index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    Children,
    Timer,
    Connection(usize),
    /// A starting container's status pipe.
    Status(usize),
    /// A starting container's socket, over which its terminal arrives.
    Console(usize),
    Output(usize, Stream),
    ExecStatus(usize),
    Attachment(usize),
}

impl Token {
    pub(crate) fn pack(self) -> u64 {
        let (kind, index) = match self {
            Self::Listener => (1, 0),
            Self::Children => (2, 0),
            Self::Timer => (3, 0),
            Self::Connection(index) => (4, index),
            Self::Status(index) => (5, index),
            Self::Console(index) => (6, index),
            Self::Output(index, Stream::Stdout) => (7, index),
            Self::Output(index, Stream::Stderr) => (8, index),
            Self::ExecStatus(index) => (9, index),
            Self::Attachment(index) => (10, index),
        };
        kind << 32 | index as u64
    }

    fn unpack(token: u64) -> Option<Self> {
        let index = usize::try_from(token & 0xffff_ffff).ok()?;
        Some(match token >> 32 {
            1 => Self::Listener,
            2 => Self::Children,
            3 => Self::Timer,
            4 => Self::Connection(index),
            5 => Self::Status(index),
            6 => Self::Console(index),
            7 => Self::Output(index, Stream::Stdout),
            8 => Self::Output(index, Stream::Stderr),
            9 => Self::ExecStatus(index),
            10 => Self::Attachment(index),
            _ => return None,
        })
    }
}

/// What the loop waits with.
pub(crate) struct Watches {
    epoll: Fd,
    /// Readable when a child has ended.
    signals: Fd,
    /// Armed only while an unfinished line waits.
    timer: Fd,
}

impl Watches {
    /// Makes them, and puts the listener in.
    pub(crate) fn new(listener: &Fd) -> sys::Result<Self> {
        let watches = Self {
            epoll: event::epoll()?,
            signals: event::child_signals()?,
            timer: event::timer()?,
        };
        watches.add(listener, Token::Listener)?;
        watches.add(&watches.signals, Token::Children)?;
        watches.add(&watches.timer, Token::Timer)?;
        Ok(watches)
    }

    /// Waits for `file` to become readable, from now on.
    pub(crate) fn add(&self, file: &Fd, token: Token) -> sys::Result<()> {
        event::add(self.epoll.raw(), file.raw(), event::IN, token.pack())
    }

    /// Waits only for the other end of `file` to go away.
    pub(crate) fn add_for_hangup(&self, file: &Fd, token: Token) -> sys::Result<()> {
        event::add(self.epoll.raw(), file.raw(), 0, token.pack())
    }

    /// Takes `file` out and closes it. Closing alone would leave it in while a parked child holds a
    /// copy.
    pub(crate) fn close(&self, file: Option<Fd>) {
        if let Some(file) = file {
            let _ = event::remove(self.epoll.raw(), file.raw());
        }
    }

    /// Makes the loop look for quiet streams in a while.
    pub(crate) fn arm(&self) {
        let _ = event::arm(self.timer.raw(), QUIET);
    }
}

/// The supervisor: what `rkube-pause` is once it has booted.
pub(crate) struct Supervisor {
    pub(crate) listener: Fd,
    pub(crate) watches: Watches,
    pub(crate) tables: &'static mut Tables,
    /// The number the next container, exec or connection gets.
    pub(crate) next: u32,
    /// Whether the timer runs.
    pub(crate) armed: bool,
    /// Whether memory has been used that an idle supervisor does not need.
    pub(crate) warm: bool,
    /// Whether everything is being killed.
    pub(crate) leaving: bool,
}

impl Supervisor {
    pub(crate) fn new(booted: Booted, tables: &'static mut Tables) -> Self {
        let Booted { listener, watches } = booted;
        Self {
            listener,
            watches,
            tables,
            next: 1,
            armed: false,
            warm: true,
            leaving: false,
        }
    }

    /// A number that was never used before.
    pub(crate) fn number(&mut self) -> u32 {
        let number = self.next;
        // After four billion, zero would be taken for "none": better to end loudly.
        self.next = number.checked_add(1).expect("numbers are not used up");
        number
    }

    /// The loop. Returns the exit code.
    pub(crate) fn run(mut self) -> i32 {
        loop {
            // After work, look once without waiting: if there is nothing to do, give memory back
            // first.
            let timeout = if self.warm { 0 } else { -1 };
            match event::wait(self.watches.epoll.raw(), timeout) {
                Ok(Some(token)) => self.on(token),
                Ok(None) => self.cool_down(),
                Err(err) if err.is(sys::errno::EINTR) => {}
                Err(_) => {
                    exits::bug();
                    return exits::BUG;
                }
            }
            if self.leaving && !self.anyone_alive() {
                return 0;
            }
        }
    }

    /// Not inlined, nor is anything below it into the loop: what they have on the stack is given
    /// back between events.
    #[inline(never)]
    fn on(&mut self, token: u64) {
        let token = Token::unpack(token);
        // Everything but the log pump runs from memory that is given back; see `link.ld`.
        self.warm |= !matches!(token, Some(Token::Output(..)));
        match token {
            Some(Token::Listener) => self.accept(),
            Some(Token::Children) => {
                let mut drained = [0; 128];
                let _ = fs::read(self.watches.signals.raw(), &mut drained);
                self.reap();
            }
            Some(Token::Timer) => self.on_timer(),
            Some(Token::Connection(index)) => self.on_message(index),
            Some(Token::Status(index)) => self.on_status(index),
            Some(Token::Console(index)) => self.on_console(index),
            Some(Token::Output(index, stream)) => self.on_output(index, stream),
            Some(Token::ExecStatus(index)) => self.on_exec_status(index),
            Some(Token::Attachment(index)) => self.end_attachment(index),
            None => {}
        }
    }

    fn on_timer(&mut self) {
        let mut expirations = [0; 8];
        let _ = fs::read(self.watches.timer.raw(), &mut expirations);
        self.armed = false;
        self.flush_quiet_lines();
    }

    /// Reaps whoever has ended: containers, execs, and orphans that the pid namespace has handed to
    /// us.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some(ended)) = event::reap_any() {
            let containers = &self.tables.containers;
            if let Some(index) = containers.iter().position(|slot| slot.pid == ended.pid) {
                self.on_container_ended(index, ended);
            } else if let Some(index) = self
                .tables
                .execs
                .iter()
                .position(|slot| slot.pid == ended.pid)
            {
                self.on_exec_ended(index, ended);
            }
        }
    }

    fn anyone_alive(&self) -> bool {
        self.tables.containers.iter().any(|slot| slot.pid > 0)
            || self.tables.execs.iter().any(|slot| slot.pid > 0)
    }

    /// The message buffer and the received descriptors, out of the table while a request is worked
    /// on.
    pub(crate) fn receive(&mut self, index: usize) -> sys::Result<Option<Request>> {
        let Tables {
            connections,
            scratch,
            received,
            ..
        } = &mut *self.tables;
        let Some(socket) = connections.get(index).and_then(|slot| slot.socket.as_ref()) else {
            return Ok(None);
        };
        let len = sys::seqpacket::recv(socket.raw(), &mut scratch.message, received)?;
        Ok(Some(Request { len }))
    }

    /// The bytes of the message that was received last.
    pub(crate) fn message(&self, request: &Request) -> &[u8] {
        self.tables
            .scratch
            .message
            .get(..request.len)
            .unwrap_or_default()
    }

    /// The descriptors that came with it.
    pub(crate) fn received(&mut self) -> &mut Received {
        &mut self.tables.received
    }
}

/// A message that lies in the tables.
pub(crate) struct Request {
    /// Its length; 0 is the end of the connection.
    pub(crate) len: usize,
}
