//! The one thread that writes: it takes what has come in, does it in one transaction, and answers when that is on disk.
//!
//! What comes in while the disk is busy is the next group; so one caller waits for one sync, and many share one.
use super::file::{Fault, File};
use super::format::{State, decode_term, lease_of};
use super::group::{Group, Outcome};
use super::history::Marks;
use super::room;
use crate::store::hub::Hub;
use crate::store::{Change, Committed, LeaseId, Op, Revision, StoreError};
use redb::ReadableTable;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{info, warn};

/// How many requests share a sync at most.
const GROUP: usize = 512;
/// How many bytes of values.
const GROUP_BYTES: usize = 16 << 20;
/// How many records of the log go in one step while the writer has nothing else to do.
const IDLE_FORGET: usize = 2_000;
/// How many leases end in one group.
const EXPIRE: usize = 256;
/// How long a store that cannot write rests before it tries by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Ask {
    /// A transaction.
    Commit(Vec<Op>),
    /// A lease.
    Grant(Duration),
    /// A lease put off.
    KeepAlive(LeaseId),
    /// A lease's end.
    Revoke(LeaseId),
    /// States to forget.
    Compact(Revision),
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Done {
    /// A transaction.
    Committed(Committed),
    /// A lease.
    Granted(LeaseId),
    /// The rest.
    Yes,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request {
    /// What for.
    pub(super) ask: Ask,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<Result<Done, StoreError>>,
    /// Its place in the queue.
    pub(super) _place: OwnedSemaphorePermit,
}

/// The writer's side of the store.
pub(super) struct Writer {
    file: Arc<File>,
    hub: Arc<Hub>,
    state: State,
    leases: Leases,
    marks: Marks,
    /// The file failed; before anything else it has to be opened again.
    broken: bool,
    /// The last group was not done: what nobody waits for is tried again after a pause only.
    failing: bool,
}

impl Writer {
    /// On an open file.
    pub(super) fn new(file: Arc<File>, hub: Arc<Hub>, state: State) -> Result<Writer, StoreError> {
        let leases = Leases::load(&file)?;
        Ok(Writer {
            file,
            hub,
            state,
            leases,
            marks: Marks::new(state.revision),
            broken: false,
            failing: false,
        })
    }

    /// Until the last sender is gone.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = match self.wait(requests) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut group: Vec<Request> = first.into_iter().collect();
            let mut bytes = group.iter().map(size).sum::<usize>();
            while !group.is_empty()
                && group.len() < GROUP
                && bytes < GROUP_BYTES
                && let Ok(request) = requests.try_recv()
            {
                bytes += size(&request);
                group.push(request);
            }
            self.serve(group, bytes);
        }
    }

    /// The next request; nothing when a lease is over or there is something to forget.
    fn wait(&self, requests: &Receiver<Request>) -> Result<Option<Request>, RecvTimeoutError> {
        let pause = if self.failing { PAUSE } else { Duration::ZERO };
        if self.state.trimmed < self.state.oldest {
            return requests.recv_timeout(pause).map(Some);
        }
        let Some(end) = self.leases.next() else {
            let request = requests.recv();
            return request
                .map(Some)
                .map_err(|_| RecvTimeoutError::Disconnected);
        };
        let left = end.saturating_duration_since(Instant::now());
        requests.recv_timeout(left.max(pause)).map(Some)
    }

    fn serve(&mut self, mut group: Vec<Request>, bytes: usize) {
        // A full disk still takes what takes away.
        if let Err(full) = room::check(self.file.path(), room::LOW + 8 * bytes as u64) {
            group = refuse(group, &full.into());
            if let Err(full) = room::check(self.file.path(), room::LEAST) {
                let error = self.failed(full.into());
                return answer_all(group, &error);
            }
        }
        let mut answers = Vec::new();
        let done = catch_unwind(AssertUnwindSafe(|| self.attempt(&group, &mut answers)))
            .unwrap_or_else(|_| Err(Fault::Broken("its pages contradict each other".into())));
        match done {
            Ok(()) => {
                self.failing = false;
                for (request, answer) in group.into_iter().zip(answers) {
                    let _ = request.reply.send(answer);
                }
            }
            Err(fault) => {
                let error = self.failed(fault.into());
                let before = self.state.revision;
                self.broken = true;
                // It may be on disk all the same; then nobody can say whose it was.
                if self.recover() && self.state.revision != before {
                    let why = format!("{error}; what was asked may have been done");
                    return answer_all(group, &StoreError::Unavailable(why));
                }
                answer_all(group, &error);
            }
        }
    }

    fn failed(&mut self, error: StoreError) -> StoreError {
        if !self.failing {
            warn!(file = %self.file.path().display(), err = %error, "the store could not write");
        }
        self.failing = true;
        error
    }

    fn attempt(
        &mut self,
        group: &[Request],
        answers: &mut Vec<Result<Done, StoreError>>,
    ) -> Result<(), Fault> {
        if self.broken && !self.recover() {
            let file = self.file.path().display();
            return Err(Fault::Away(format!("{file} could not be opened again")));
        }
        if let Some(outcome) = self.write(group, answers)? {
            self.state = outcome.state;
            self.leases.note(outcome.terms);
            self.hub.publish(outcome.batches, outcome.state.revision);
        }
        Ok(())
    }

    fn write(
        &self,
        group: &[Request],
        answers: &mut Vec<Result<Done, StoreError>>,
    ) -> Result<Option<Outcome>, Fault> {
        self.file.with(|db| {
            let mut write = db.begin_write()?;
            write.set_quick_repair(true);
            let outcome = {
                let mut group_of = Group::begin(&write, self.state)?;
                for lease in self.leases.over(Instant::now()) {
                    // One that is gone already is over as well.
                    let _ = group_of.revoke(lease)?;
                }
                for request in group {
                    answers.push(answer(&mut group_of, &request.ask)?);
                }
                group_of.state.oldest = self
                    .marks
                    .oldest(&group_of.state)
                    .max(group_of.state.oldest);
                group_of.forget(if group.is_empty() { IDLE_FORGET } else { 0 })?;
                group_of.changed().then(|| group_of.finish()).transpose()?
            };
            match outcome {
                Some(outcome) => {
                    write.commit()?;
                    Ok(Some(outcome))
                }
                None => {
                    write.abort()?;
                    Ok(None)
                }
            }
        })
    }

    /// Opens the file again and finds out what it holds; whether that went well.
    fn recover(&mut self) -> bool {
        let opened = self
            .file
            .reopen()
            .map_err(|error| StoreError::Unavailable(error.to_string()))
            .and_then(|state| Ok((state, Leases::load(&self.file)?)));
        match opened {
            Ok((state, _)) if state.revision < self.state.revision => {
                let file = self.file.path().display();
                warn!(%file, revision = state.revision, known = self.state.revision, "the store is older than it was");
                self.file.close();
                false
            }
            Ok((state, leases)) => {
                info!(file = %self.file.path().display(), revision = state.revision, "the store is open again");
                // A group whose sync failed may be on disk all the same: who watches is told what is there.
                if state.revision != self.hub.newest() {
                    self.hub.restart(state.revision);
                }
                (self.state, self.leases, self.broken) = (state, leases, false);
                true
            }
            Err(_) => false,
        }
    }
}

fn answer_all(group: Vec<Request>, error: &StoreError) {
    for request in group {
        let _ = request.reply.send(Err(error.clone()));
    }
}

/// Answers those that would write, and leaves those that only take away.
fn refuse(group: Vec<Request>, why: &StoreError) -> Vec<Request> {
    let frees = |request: &Request| match &request.ask {
        Ask::Commit(ops) => !ops.iter().any(|op| matches!(op.change, Change::Put(..))),
        Ask::Revoke(_) | Ask::Compact(_) => true,
        Ask::Grant(_) | Ask::KeepAlive(_) => false,
    };
    let (kept, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(frees);
    for request in refused {
        let _ = request.reply.send(Err(why.clone()));
    }
    kept
}

/// Does one request.
fn answer(group: &mut Group<'_>, ask: &Ask) -> Result<Result<Done, StoreError>, Fault> {
    Ok(match ask {
        Ask::Commit(ops) => group.commit(ops)?.map(Done::Committed),
        Ask::Grant(ttl) => Ok(Done::Granted(group.grant(*ttl, unix_millis())?)),
        Ask::KeepAlive(lease) => group.keep_alive(*lease, unix_millis())?.map(|()| Done::Yes),
        Ask::Revoke(lease) => group.revoke(*lease)?.map(|()| Done::Yes),
        Ask::Compact(before) => group.compact(*before).map(|()| Done::Yes),
    })
}

fn size(request: &Request) -> usize {
    match &request.ask {
        Ask::Commit(ops) => super::size(ops),
        _ => 0,
    }
}

fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// When leases end.
#[derive(Debug, Default)]
struct Leases {
    ends: HashMap<LeaseId, Instant>,
    order: BTreeSet<(Instant, LeaseId)>,
}

impl Leases {
    /// As the file has them. The clock may have been set since: a lease has never more than its full time left.
    fn load(file: &File) -> Result<Leases, StoreError> {
        let snapshot = file.snapshot()?;
        let (now, wall) = (Instant::now(), unix_millis());
        let mut leases = Leases::default();
        let read = || -> Result<Vec<_>, Fault> {
            let mut found = Vec::new();
            for row in snapshot.leases()?.iter()? {
                let (key, raw) = row?;
                let term = decode_term(key.value(), raw.value())?;
                let left = term.end.saturating_sub(wall).min(term.ttl);
                found.push((lease_of(key.value())?, Some(Duration::from_millis(left))));
            }
            Ok(found)
        };
        leases.set(now, read()?);
        Ok(leases)
    }
    fn note(&mut self, terms: Vec<(LeaseId, Option<Duration>)>) {
        self.set(Instant::now(), terms);
    }
    fn set(&mut self, now: Instant, terms: Vec<(LeaseId, Option<Duration>)>) {
        for (lease, left) in terms {
            if let Some(end) = self.ends.remove(&lease) {
                self.order.remove(&(end, lease));
            }
            if let Some(end) = left.and_then(|left| now.checked_add(left)) {
                self.ends.insert(lease, end);
                self.order.insert((end, lease));
            }
        }
    }
    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(end, _)| *end)
    }
    fn over(&self, now: Instant) -> Vec<LeaseId> {
        let over = self.order.iter().take_while(|(end, _)| *end <= now);
        over.take(EXPIRE).map(|(_, lease)| *lease).collect()
    }
}
