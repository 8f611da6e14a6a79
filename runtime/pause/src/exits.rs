//! The append-only `exits` file: what is told to the next client even if nobody is connected now.

use core::sync::atomic::{AtomicI32, Ordering};

use rkube_init::protocol::{ExitOf, ExitRecord, Exited, Name};
use rkube_init::sys::{event, fs, growing};

/// The exit code of a supervisor that has found a bug in itself.
pub(crate) const BUG: i32 = 101;

/// The file, for the panic handler, which has nothing else to go by. Until it is known this is
/// descriptor 0: /dev/null.
static FILE: AtomicI32 = AtomicI32::new(0);

/// Says where the exits go from now on. The descriptor is never closed.
pub(crate) fn keep(file: rkube_init::sys::Fd) {
    FILE.store(file.release(), Ordering::Relaxed);
}

/// Appends one record, with one write. A failure leaves the event as the only trace.
pub(crate) fn append(record: &ExitRecord) {
    let _ = fs::write(FILE.load(Ordering::Relaxed), &record.encode());
}

/// Empties the file: every end in it has been acknowledged.
pub(crate) fn clear() {
    let _ = growing::truncate(FILE.load(Ordering::Relaxed), 0);
}

/// The last thing a broken supervisor writes.
pub(crate) fn bug() {
    let exited = Exited {
        code: 101,
        signal: 0,
        started: 0,
        exited: event::now(),
    };
    append(&ExitRecord {
        what: ExitOf::Supervisor,
        name: Name::EMPTY,
        attempt: 0,
        id: 0,
        exited,
    });
}
