//! What a new process is given: its start record, its streams, and the pipes over which it is
//! followed.

use rkube_init::launch::{self, Launched, Start};
use rkube_init::protocol::{self, Refusal, Refused, Wiring};
use rkube_init::record::Record;
use rkube_init::status::Frame;
use rkube_init::sys::memory::Mapping;
use rkube_init::sys::seqpacket::{self, MAX_FDS, Received};
use rkube_init::sys::{self, Fd, RawFd, fs, growing};

/// A refusal because a system call failed here.
pub(crate) fn call(err: sys::Errno) -> Refused {
    Refused::call(err.0)
}

/// A start record and the descriptors it counts, ready for [`launch`].
pub(crate) struct Launchable {
    record: Mapping,
    fds: [RawFd; MAX_FDS],
    count: usize,
}

impl Launchable {
    /// Maps the record in the first descriptor; those from `first` on are its own.
    pub(crate) fn new(received: &mut Received, len: u32, first: usize) -> Result<Self, Refused> {
        let malformed = Refused::new(Refusal::Malformed);
        let file = received.take(0).ok_or(malformed)?;
        let len = usize::try_from(len)
            .ok()
            .filter(|_| len <= protocol::MAX_RECORD)
            .ok_or(malformed)?;
        let record = Mapping::sealed(file.raw(), len).map_err(call)?;
        let mut fds = [-1; MAX_FDS];
        let count = received.numbers(first, &mut fds);
        Ok(Self { record, fds, count })
    }

    /// Forks it.
    pub(crate) fn launch(
        &self,
        streams: &Streams,
        target: Option<RawFd>,
    ) -> Result<Launched, Refused> {
        let record = Record::parse(self.record.bytes(), self.count)
            .map_err(|_| Refused::new(Refusal::Malformed))?;
        let fds = self.fds.get(..self.count).unwrap_or_default();
        let Streams {
            status,
            park,
            stdio,
            console,
        } = *streams;
        let start = Start {
            record,
            fds,
            status,
            park,
            cgroups: None,
            hooks: None,
            stdio,
            console,
            target,
            // Since booting.
            plain_signals: true,
        };
        launch::launch(&start).map_err(|failure| Refused::stage(Frame::Failed(failure).bytes()))
    }
}

/// The child's ends of everything it is given at run time.
#[derive(Clone, Copy)]
pub(crate) struct Streams {
    pub(crate) status: RawFd,
    pub(crate) park: Option<RawFd>,
    pub(crate) stdio: [Option<RawFd>; 3],
    pub(crate) console: Option<RawFd>,
}

/// Our ends, which go into the table, and the child's, which are closed once it is there.
pub(crate) struct Plumbing {
    pub(crate) status: (Fd, Fd),
    pub(crate) park: (Fd, Fd),
    pub(crate) console: Option<(Fd, Fd)>,
    pub(crate) stdin: Option<(Fd, Fd)>,
    pub(crate) output: [Option<(Fd, Fd)>; 2],
}

impl Plumbing {
    pub(crate) fn new(wiring: Wiring) -> sys::Result<Self> {
        let plain = !wiring.tty;
        let pipe = |wanted: bool| {
            if wanted {
                fs::pipe().map(Some)
            } else {
                Ok(None)
            }
        };
        let plumbing = Self {
            status: fs::pipe()?,
            park: fs::pipe()?,
            console: if wiring.tty {
                Some(seqpacket::pair()?)
            } else {
                None
            },
            stdin: pipe(plain && wiring.stdin)?,
            output: [pipe(plain)?, pipe(plain)?],
        };
        for (read, _) in plumbing.output.iter().flatten().chain([&plumbing.status]) {
            growing::set_nonblocking(read.raw())?;
        }
        Ok(plumbing)
    }

    pub(crate) fn child_ends(&self) -> Streams {
        let write = |pipe: &Option<(Fd, Fd)>| pipe.as_ref().map(|(_, write)| write.raw());
        let stdin = self.stdin.as_ref().map(|(read, _)| read.raw());
        Streams {
            status: self.status.1.raw(),
            park: Some(self.park.0.raw()),
            stdio: [stdin, write(&self.output[0]), write(&self.output[1])],
            console: self.console.as_ref().map(|(_, there)| there.raw()),
        }
    }
}
