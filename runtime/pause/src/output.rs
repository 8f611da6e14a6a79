//! The log pump: from a container's pipes, or its terminal, to its log file and to whoever is
//! attached.

use rkube_init::log::{Lines, PART, Piece, Prefix, Stream};
use rkube_init::protocol::{Kind, MAX_MESSAGE};
use rkube_init::sys::{errno, event, fs, memory};

use crate::attach;
use crate::log::Log;
use crate::supervisor::{Supervisor, Tables};

/// How many reads one stream gets before the others have their turn.
const TURNS: usize = 4;
/// How many reads an ended container's stream gets: a full pipe, and then some. A process that has
/// outlived the container's first one (in a pod-wide pid namespace) could write for ever.
const LAST_TURNS: usize = 64;
/// A read of less than this has most likely emptied the pipe, and touches no more than the first
/// page of anything.
const SMALL: usize = 1024;

/// Memory for one message, one read, and the lines it becomes. Shared by all: nothing stays in it
/// between two events.
#[repr(C, align(4096))]
pub(crate) struct Scratch {
    pub(crate) message: [u8; MAX_MESSAGE],
    read: [u8; 16 * 1024],
    lines: [u8; 32 * 1024],
}

impl Scratch {
    pub(crate) const EMPTY: Self = Self {
        message: [0; MAX_MESSAGE],
        read: [0; 16 * 1024],
        lines: [0; 32 * 1024],
    };

    /// Gives the pages back.
    pub(crate) fn release(&mut self) {
        memory::forget(&mut self.message);
        memory::forget(&mut self.read);
        memory::forget(&mut self.lines);
    }
}

/// Memory for the unfinished lines of one container's streams, in whole pages.
#[repr(C, align(4096))]
pub(crate) struct Kept(pub(crate) [[u8; PART]; 2]);

impl Kept {
    pub(crate) const EMPTY: Self = Self([[0; PART]; 2]);
}

/// What a turn of reading ended with.
#[derive(PartialEq, Eq)]
enum Turn {
    /// So many bytes; there may be more.
    Read(usize),
    /// Nothing now.
    Dry,
    /// Nothing ever again.
    Ended,
}

impl Supervisor {
    /// A stream has something to read.
    pub(crate) fn on_output(&mut self, index: usize, stream: Stream) {
        for _ in 0..TURNS {
            match self.pump(index, stream) {
                Turn::Read(SMALL..) => {}
                Turn::Read(_) | Turn::Dry => return,
                Turn::Ended => return self.end_output(index, stream),
            }
        }
    }

    /// Reads what an ended container has left in its pipes, and writes its last, unfinished line.
    pub(crate) fn drain(&mut self, index: usize) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut turns = LAST_TURNS;
            loop {
                match self.pump(index, stream) {
                    Turn::Read(_) if turns > 0 => turns -= 1,
                    Turn::Read(_) | Turn::Dry => break self.flush(index, stream),
                    Turn::Ended => break self.end_output(index, stream),
                }
            }
        }
    }

    fn end_output(&mut self, index: usize, stream: Stream) {
        self.flush(index, stream);
        let Some(slot) = self.tables.containers.get_mut(index) else {
            return;
        };
        let output = slot.output.get_mut(stream as usize).and_then(Option::take);
        self.watches.close(output);
        let id = slot.id;
        self.end_attachments_of(id, stream);
    }

    /// One read, and what becomes of it.
    fn pump(&mut self, index: usize, stream: Stream) -> Turn {
        let Tables {
            containers,
            kept,
            attachments,
            scratch,
            ..
        } = &mut *self.tables;
        let (Some(slot), Some(kept)) = (containers.get_mut(index), kept.get_mut(index)) else {
            return Turn::Ended;
        };
        let Some(output) = slot.output[stream as usize].as_ref() else {
            return Turn::Ended;
        };
        let got = match fs::read(output.raw(), &mut scratch.read) {
            Ok(0) => return Turn::Ended,
            Ok(got) => got,
            Err(err) if err.is(errno::EAGAIN) => return Turn::Dry,
            Err(err) if err.is(errno::EINTR) => return Turn::Read(0),
            // EIO: the last holder of the terminal's slave has closed it.
            Err(_) => return Turn::Ended,
        };
        let bytes = scratch.read.get(..got).unwrap_or_default();
        attach::tee(attachments, (slot.id, stream), bytes);
        let mut rotated = false;
        if let Some(log) = slot.log.as_mut() {
            let mut lines = Lines {
                kept: &mut kept.0[stream as usize],
                len: &mut slot.kept[stream as usize],
            };
            let mut writer = LineWriter::new(log, &mut scratch.lines, stream);
            lines.feed(bytes, |piece| writer.line(piece));
            rotated = writer.finish();
        }
        let pending = slot.kept[stream as usize] > 0;
        slot.stirred[stream as usize] |= pending;
        if pending && !self.armed {
            self.armed = true;
            self.watches.arm();
        }
        self.warm |= got > SMALL;
        if rotated {
            self.publish(Kind::EventLogRotated, index);
        }
        Turn::Read(got)
    }

    /// Writes a stream's unfinished line as a part.
    fn flush(&mut self, index: usize, stream: Stream) {
        let Tables {
            containers,
            kept,
            scratch,
            ..
        } = &mut *self.tables;
        let (Some(slot), Some(kept)) = (containers.get_mut(index), kept.get_mut(index)) else {
            return;
        };
        slot.stirred[stream as usize] = false;
        if let Some(log) = slot.log.as_mut().filter(|_| slot.kept[stream as usize] > 0) {
            let mut lines = Lines {
                kept: &mut kept.0[stream as usize],
                len: &mut slot.kept[stream as usize],
            };
            let mut writer = LineWriter::new(log, &mut scratch.lines, stream);
            lines.flush(|piece| writer.line(piece));
            writer.finish();
        }
    }

    /// Gives back the pages of whatever is not needed while nothing happens.
    #[inline(never)]
    pub(crate) fn cool_down(&mut self) {
        let Tables {
            containers,
            kept,
            scratch,
            ..
        } = &mut *self.tables;
        scratch.release();
        for (slot, kept) in containers.iter().zip(kept).filter(|(slot, _)| slot.id != 0) {
            for (_, kept) in slot
                .kept
                .iter()
                .zip(&mut kept.0)
                .filter(|(len, _)| **len == 0)
            {
                memory::forget(kept);
            }
        }
        crate::sys::cool_down();
        self.warm = false;
    }

    /// The timer: writes the unfinished lines to which nothing was added since its last turn.
    pub(crate) fn flush_quiet_lines(&mut self) {
        let mut again = false;
        for index in 0..self.tables.containers.len() {
            let Some(slot) = self
                .tables
                .containers
                .get(index)
                .filter(|slot| slot.id != 0)
            else {
                continue;
            };
            let (stirred, pending) = (slot.stirred, slot.kept.map(|len| len > 0));
            for stream in [Stream::Stdout, Stream::Stderr] {
                let at = stream as usize;
                if pending[at] && stirred[at] {
                    self.tables.containers[index].stirred[at] = false;
                    again = true;
                } else if pending[at] {
                    self.flush(index, stream);
                }
            }
        }
        if again {
            self.armed = true;
            self.watches.arm();
        }
    }
}

/// Collects lines for one log, and writes them many at a time.
struct LineWriter<'a> {
    log: &'a mut Log,
    buffer: &'a mut [u8],
    len: usize,
    prefix: Prefix,
    rotated: bool,
}

impl<'a> LineWriter<'a> {
    fn new(log: &'a mut Log, buffer: &'a mut [u8], stream: Stream) -> Self {
        Self {
            log,
            buffer,
            len: 0,
            prefix: Prefix::new(event::now(), stream),
            rotated: false,
        }
    }

    fn line(&mut self, piece: Piece<'_>) {
        let size = Prefix::LEN + piece.kept.len() + piece.fresh.len() + 1;
        if self.log.full(self.len, size) {
            self.write();
            if self.log.full(0, size) {
                self.log.rotate();
                self.rotated = true;
            }
        }
        if self.len + size > self.buffer.len() {
            self.write();
        }
        let Some(place) = self.buffer.get_mut(self.len..self.len + size) else {
            return;
        };
        let (prefix, rest) = place.split_at_mut(Prefix::LEN);
        let (kept, rest) = rest.split_at_mut(piece.kept.len());
        let (fresh, newline) = rest.split_at_mut(piece.fresh.len());
        prefix.copy_from_slice(self.prefix.bytes(piece.full));
        kept.copy_from_slice(piece.kept);
        fresh.copy_from_slice(piece.fresh);
        newline.fill(b'\n');
        self.len += size;
    }

    fn write(&mut self) {
        self.log
            .write(self.buffer.get(..self.len).unwrap_or_default());
        self.len = 0;
    }

    /// Writes what is left. Whether a new file was begun.
    fn finish(mut self) -> bool {
        if self.len > 0 {
            self.write();
        }
        self.rotated
    }
}
