//! Attached clients: they get a copy of a container's output as it comes, as far as they keep up.

use rkube_init::log::Stream;
use rkube_init::protocol::{Attach, Kind, Refusal, Refused};
use rkube_init::sys::{Fd, errno, fs, growing};

use crate::connections::Asker;
use crate::plumbing::call;
use crate::supervisor::{Supervisor, Token};

/// The most streams that are copied at a time.
pub(crate) const MAX_ATTACHMENTS: usize = 64;

/// One copied stream; free while `to` is none.
pub(crate) struct Attachment {
    container: u32,
    stream: Stream,
    to: Option<Fd>,
    /// The other end is gone: ended with the next event, which says so too.
    broken: bool,
}

impl Attachment {
    pub(crate) const FREE: Self = Self {
        container: 0,
        stream: Stream::Stdout,
        to: None,
        broken: false,
    };
}

/// Copies what was read to everyone attached. Nobody is waited for: a slow client loses bytes.
pub(crate) fn tee(
    attachments: &mut [Attachment],
    (container, stream): (u32, Stream),
    bytes: &[u8],
) {
    for slot in attachments
        .iter_mut()
        .filter(|slot| slot.container == container && slot.stream == stream)
    {
        let Some(to) = slot.to.as_ref().filter(|_| !slot.broken) else {
            continue;
        };
        if let Err(err) = fs::write(to.raw(), bytes) {
            slot.broken = !err.is(errno::EAGAIN);
        }
    }
}

impl Supervisor {
    /// Attaches a client: takes the descriptors it wants output on, gives it the input if it wants
    /// that.
    pub(crate) fn attach(&mut self, asker: Asker, id: u32, attach: Attach) -> Result<(), Refused> {
        let index = self.container(id)?;
        let slot = self
            .tables
            .containers
            .get(index)
            .ok_or(Refused::new(Refusal::Unknown))?;
        if slot.pid <= 0 {
            return Err(Refused::new(Refusal::State));
        }
        let stdin = match (attach.stdin, &slot.stdin) {
            (false, _) => None,
            (true, Some(stdin)) => Some(fs::dup_from(stdin.raw(), 3).map_err(call)?),
            (true, None) => return Err(Refused::new(Refusal::State)),
        };
        let wanted = [
            (attach.stdout, Stream::Stdout),
            (attach.stderr, Stream::Stderr),
        ];
        let wanted = wanted.into_iter().filter(|(wanted, _)| *wanted);
        for (index, (_, stream)) in wanted.enumerate() {
            let to = self.received().take(index);
            self.copy_to(id, stream, to.ok_or(Refused::new(Refusal::Malformed))?)?;
        }
        self.reply(asker, (Kind::Ok, id), stdin.as_ref().map(Fd::raw), &|_| {});
        Ok(())
    }

    fn copy_to(&mut self, container: u32, stream: Stream, to: Fd) -> Result<(), Refused> {
        let place = self
            .tables
            .attachments
            .iter()
            .position(|slot| slot.to.is_none());
        let place = place.ok_or(Refused::new(Refusal::Full))?;
        growing::set_nonblocking(to.raw()).map_err(call)?;
        self.watches
            .add_for_hangup(&to, Token::Attachment(place))
            .map_err(call)?;
        self.tables.attachments[place] = Attachment {
            container,
            stream,
            to: Some(to),
            broken: false,
        };
        Ok(())
    }

    /// The client has gone.
    #[inline(never)]
    pub(crate) fn end_attachment(&mut self, index: usize) {
        if let Some(slot) = self.tables.attachments.get_mut(index) {
            let slot = core::mem::replace(slot, Attachment::FREE);
            self.watches.close(slot.to);
        }
    }

    /// Nothing more will come from this stream of a container.
    pub(crate) fn end_attachments_of(&mut self, container: u32, stream: Stream) {
        for index in 0..self.tables.attachments.len() {
            let slot = self.tables.attachments.get(index);
            if slot.is_some_and(|slot| slot.container == container && slot.stream == stream) {
                self.end_attachment(index);
            }
        }
    }
}
