//! Clients: who is connected, and sending to them.
//!
//! Sending never waits. A client that does not read loses its connection; it can come back and ask
//! for a snapshot.

use rkube_init::protocol::{Header, Kind, MAX_MESSAGE, Refused, Writer};
use rkube_init::sys::{self, Fd, RawFd, seqpacket};

use crate::supervisor::{Supervisor, Token};

/// One entry of the table.
pub(crate) struct Connection {
    pub(crate) socket: Option<Fd>,
    /// Tells this connection from an earlier one in the same place.
    pub(crate) number: u32,
    /// Whether it wants the containers' events.
    pub(crate) subscribed: bool,
}

impl Connection {
    pub(crate) const FREE: Self = Self {
        socket: None,
        number: 0,
        subscribed: false,
    };
}

/// Where an answer goes, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The connection's number.
    pub(crate) connection: u32,
    /// The request's.
    pub(crate) seq: u32,
}

impl Supervisor {
    /// Takes a connection in, if it is root's and there is a place.
    #[inline(never)]
    pub(crate) fn accept(&mut self) {
        let Ok(socket) = seqpacket::accept(self.listener.raw()) else {
            return;
        };
        if seqpacket::peer_uid(socket.raw()) != Ok(0) {
            return;
        }
        let Some(index) = self.free_connection() else {
            return;
        };
        if self.watches.add(&socket, Token::Connection(index)).is_ok() {
            let number = self.number();
            self.tables.connections[index] = Connection {
                socket: Some(socket),
                number,
                subscribed: false,
            };
        }
    }

    /// A free place; if there is none, that of a client who has gone unnoticed so far.
    fn free_connection(&mut self) -> Option<usize> {
        let free = |slot: &Connection| slot.socket.is_none();
        let found = self.tables.connections.iter().position(free);
        if found.is_some() {
            return found;
        }
        for index in 0..self.tables.connections.len() {
            self.on_message(index);
        }
        self.tables.connections.iter().position(free)
    }

    /// Ends a connection.
    #[inline(never)]
    pub(crate) fn disconnect(&mut self, index: usize) {
        if let Some(slot) = self.tables.connections.get_mut(index) {
            let connection = core::mem::replace(slot, Connection::FREE);
            self.watches.close(connection.socket);
            if connection.number != 0 {
                self.kill_tied(connection.number);
            }
        }
    }

    /// One message arrived, or the connection ended.
    #[inline(never)]
    pub(crate) fn on_message(&mut self, index: usize) {
        match self.receive(index) {
            Ok(Some(request)) if request.len > 0 => self.on_request(index, &request),
            Ok(None) => {}
            Err(err) if err.is(sys::errno::EAGAIN) || err.is(sys::errno::EINTR) => {}
            // The end, or a message that no client of ours sends.
            Ok(Some(_)) | Err(_) => self.disconnect(index),
        }
        self.received().close();
    }

    /// Sends one frame to the connection in place `index`.
    fn send(
        &mut self,
        index: usize,
        header: Header,
        file: Option<RawFd>,
        payload: &dyn Fn(&mut Writer<'_>),
    ) {
        let Some(socket) = self
            .tables
            .connections
            .get(index)
            .and_then(|slot| slot.socket.as_ref())
        else {
            return;
        };
        let mut buffer = [0; MAX_MESSAGE / 8];
        let mut write = header.begin(&mut buffer);
        payload(&mut write);
        let sent = write
            .finish()
            .is_ok_and(|message| seqpacket::send(socket.raw(), message, file).is_ok());
        if !sent {
            self.disconnect(index);
        }
    }

    /// The place of the connection with this number, while it lasts.
    pub(crate) fn connection(&self, number: u32) -> Option<usize> {
        self.tables
            .connections
            .iter()
            .position(|slot| slot.socket.is_some() && slot.number == number)
    }

    /// Answers a request.
    pub(crate) fn reply(
        &mut self,
        to: Asker,
        (kind, container): (Kind, u32),
        file: Option<RawFd>,
        payload: &dyn Fn(&mut Writer<'_>),
    ) {
        if let Some(index) = self.connection(to.connection) {
            self.send(
                index,
                Header {
                    kind,
                    seq: to.seq,
                    container,
                },
                file,
                payload,
            );
        }
    }

    /// Answers a request with success and nothing else.
    pub(crate) fn reply_ok(&mut self, to: Asker, container: u32) {
        self.reply(to, (Kind::Ok, container), None, &|_| {});
    }

    /// Answers a request with a refusal.
    pub(crate) fn refuse(&mut self, to: Asker, refused: &Refused) {
        self.reply(to, (Kind::Refused, 0), None, &|write| refused.encode(write));
    }

    /// Sends an event to one connection.
    pub(crate) fn notify(
        &mut self,
        number: u32,
        (kind, container): (Kind, u32),
        payload: &dyn Fn(&mut Writer<'_>),
    ) {
        if let Some(index) = self.connection(number) {
            self.send(
                index,
                Header {
                    kind,
                    seq: 0,
                    container,
                },
                None,
                payload,
            );
        }
    }

    /// Tells everyone who wants to know how the container in place `index` stands now.
    #[inline(never)]
    pub(crate) fn publish(&mut self, kind: Kind, index: usize) {
        let Some(slot) = self.tables.containers.get(index) else {
            return;
        };
        let (id, shown) = (slot.id, slot.show());
        for place in 0..self.tables.connections.len() {
            if self
                .tables
                .connections
                .get(place)
                .is_some_and(|slot| slot.subscribed)
            {
                self.send(
                    place,
                    Header {
                        kind,
                        seq: 0,
                        container: id,
                    },
                    None,
                    &|write| shown.encode(write),
                );
            }
        }
    }
}
