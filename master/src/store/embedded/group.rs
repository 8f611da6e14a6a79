//! One commit of the file: what many callers asked for, done one after the other in one transaction.
use super::file::{Fault, entry_at};
use super::format::{
    self, CURRENT, HELD, LEASES, LOG, Logged, META, STATE, State, Term, decode_term, encode_entry,
    encode_logged, encode_term, held_key, lease_key, log_key, log_revision,
};
use crate::store::{Batch, Change, Committed, Entry, Event, Guard, LeaseId, Op, StoreError};
use redb::{ReadableTable, Table, WriteTransaction};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// How many old changes are forgotten for each new one, while there are too many.
const FORGET: usize = 4;

/// A transaction of the file in the making.
pub(super) struct Group<'t> {
    current: Rows<'t>,
    log: Rows<'t>,
    leases: Rows<'t>,
    held: Rows<'t>,
    meta: Rows<'t>,
    /// As it will be.
    pub(super) state: State,
    was: State,
    /// What is to be told when it is on disk.
    pub(super) batches: Vec<Batch>,
    /// Leases that were granted or put off, and those that are over.
    pub(super) terms: Vec<(LeaseId, Option<Duration>)>,
}

impl<'t> Group<'t> {
    /// On what the store holds.
    pub(super) fn begin(write: &'t WriteTransaction, state: State) -> Result<Self, Fault> {
        Ok(Group {
            current: write.open_table(CURRENT)?,
            log: write.open_table(LOG)?,
            leases: write.open_table(LEASES)?,
            held: write.open_table(HELD)?,
            meta: write.open_table(META)?,
            state,
            was: state,
            batches: Vec::new(),
            terms: Vec::new(),
        })
    }

    /// Whether there is anything to write.
    pub(super) fn changed(&self) -> bool {
        self.state != self.was || !self.terms.is_empty()
    }

    /// Writes the state down; the transaction is ready to be committed.
    pub(super) fn finish(mut self) -> Result<Outcome, Fault> {
        self.meta.insert(STATE, self.state.encode().as_slice())?;
        Ok(Outcome {
            state: self.state,
            batches: self.batches,
            terms: self.terms,
        })
    }

    /// A caller's transaction. The outer error ends the whole group.
    pub(super) fn commit(&mut self, ops: &[Op]) -> Result<Result<Committed, StoreError>, Fault> {
        let previous = match self.check(ops)? {
            Ok(previous) => previous,
            Err(refused) => return Ok(Err(refused)),
        };
        let revision = self.state.revision + 1;
        let mut events = Vec::new();
        for (op, previous) in ops.iter().zip(&previous) {
            let made = match &op.change {
                Change::Check => continue,
                Change::Delete if previous.is_none() => continue,
                Change::Delete => None,
                Change::Put(value, lease) => Some(Entry {
                    key: op.key.clone(),
                    value: value.clone(),
                    created: previous.as_ref().map_or(revision, |entry| entry.created),
                    modified: revision,
                    lease: *lease,
                }),
            };
            let number = u32::try_from(events.len()).unwrap_or(u32::MAX);
            events.push(self.write(&op.key, number, made, previous.clone())?);
        }
        if !events.is_empty() {
            self.state.revision = revision;
            self.batches.push(Batch { revision, events });
        }
        Ok(Ok(Committed {
            revision: self.state.revision,
            previous,
        }))
    }

    /// Whether all guards hold; if so, what the keys hold.
    fn check(&self, ops: &[Op]) -> Result<Result<Vec<Option<Entry>>, StoreError>, Fault> {
        let mut seen = HashSet::new();
        let mut previous = Vec::with_capacity(ops.len());
        for op in ops {
            if !seen.insert(&op.key) {
                let why = format!("a transaction names {} twice", op.key);
                return Ok(Err(StoreError::Failed(why)));
            }
            let current = match entry_at(&self.current, &op.key) {
                // A damaged record is the trouble of those who want it.
                Err(Fault::Broken(why)) => return Ok(Err(StoreError::Failed(why))),
                current => current?,
            };
            let holds = match op.guard {
                Guard::Any => true,
                Guard::Absent => current.is_none(),
                Guard::At(revision) => current
                    .as_ref()
                    .is_some_and(|entry| entry.modified == revision),
            };
            if !holds {
                let key = op.key.clone();
                return Ok(Err(StoreError::Conflict { key, current }));
            }
            if let Change::Put(_, Some(lease)) = &op.change
                && self.leases.get(lease_key(*lease).as_slice())?.is_none()
            {
                return Ok(Err(StoreError::NoLease(*lease)));
            }
            previous.push(current);
        }
        Ok(Ok(previous))
    }

    /// One key's change, in all tables.
    fn write(
        &mut self,
        key: &Arc<str>,
        number: u32,
        made: Option<Entry>,
        previous: Option<Entry>,
    ) -> Result<Event, Fault> {
        let revision = self.state.revision + 1;
        let was = previous.as_ref().and_then(|entry| entry.lease);
        let is = made.as_ref().and_then(|entry| entry.lease);
        if was != is {
            if let Some(lease) = was {
                self.held.remove(held_key(lease, key).as_slice())?;
            }
            if let Some(lease) = is {
                let none: &[u8] = &[];
                self.held.insert(held_key(lease, key).as_slice(), none)?;
            }
        }
        match &made {
            Some(entry) => {
                self.current
                    .insert(key.as_bytes(), encode_entry(entry).as_slice())?;
            }
            None => {
                self.current.remove(key.as_bytes())?;
            }
        }
        let change = Logged {
            key: key.clone(),
            deleted: made.is_none(),
            previous,
        };
        let at = log_key(revision, number);
        let record = encode_logged(&at, &change);
        self.state.log_bytes += record.len() as u64;
        self.log.insert(at.as_slice(), record.as_slice())?;
        let deleted = change.deleted;
        let entry = match (made, &change.previous) {
            (Some(entry), _) => entry,
            (None, Some(last)) => Entry {
                modified: revision,
                ..last.clone()
            },
            (None, None) => return Err(Fault::Broken(format!("{key} was deleted without being"))),
        };
        Ok(Event {
            entry,
            previous: change.previous,
            deleted,
        })
    }

    /// A new lease.
    pub(super) fn grant(&mut self, ttl: Duration, now: u64) -> Result<LeaseId, Fault> {
        self.state.lease = self.state.lease.wrapping_add(1).max(1);
        let lease = LeaseId(self.state.lease);
        self.term(lease, ttl, now)?;
        Ok(lease)
    }

    /// A lease begins anew.
    pub(super) fn keep_alive(
        &mut self,
        lease: LeaseId,
        now: u64,
    ) -> Result<Result<(), StoreError>, Fault> {
        let key = lease_key(lease);
        let raw = self.leases.get(key.as_slice())?;
        let term = raw.map(|raw| decode_term(&key, raw.value())).transpose()?;
        let Some(term) = term else {
            return Ok(Err(StoreError::NoLease(lease)));
        };
        self.term(lease, Duration::from_millis(term.ttl), now)?;
        Ok(Ok(()))
    }

    fn term(&mut self, lease: LeaseId, ttl: Duration, now: u64) -> Result<(), Fault> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let term = Term {
            ttl: millis,
            end: now.saturating_add(millis),
        };
        let key = lease_key(lease);
        self.leases
            .insert(key.as_slice(), encode_term(&key, term).as_slice())?;
        self.terms.push((lease, Some(ttl)));
        Ok(())
    }

    /// Ends a lease and its keys, all of them at one revision.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<Result<(), StoreError>, Fault> {
        let key = lease_key(lease);
        if self.leases.remove(key.as_slice())?.is_none() {
            return Ok(Err(StoreError::NoLease(lease)));
        }
        self.terms.push((lease, None));
        let mut ops = Vec::new();
        for row in self.held.range::<&[u8]>(key.as_slice()..)? {
            let (held, _) = row?;
            let Some(name) = held.value().strip_prefix(&key) else {
                break;
            };
            let name = std::str::from_utf8(name);
            ops.push(Op {
                key: name
                    .map_err(|_| format::Damaged("a leased key".to_owned()))?
                    .into(),
                guard: Guard::Any,
                change: Change::Delete,
            });
        }
        Ok(self.commit(&ops)?.map(|_| ()))
    }

    /// States older than this are no longer to be had.
    pub(super) fn compact(&mut self, before: u64) -> Result<(), StoreError> {
        let newest = self.state.revision;
        if before > newest {
            return Err(StoreError::Future {
                asked: before,
                newest,
            });
        }
        self.state.oldest = self.state.oldest.max(before);
        Ok(())
    }

    /// Takes some of the log away that nobody can ask for: a few records for each change of the group, and `more`.
    pub(super) fn forget(&mut self, more: usize) -> Result<(), Fault> {
        let changes: usize = self.batches.iter().map(|batch| batch.events.len()).sum();
        for _ in 0..changes * FORGET + more {
            let first = self.log.first()?;
            let first = first.map(|(at, _)| log_revision(at.value())).transpose()?;
            match first {
                Some(revision) if revision <= self.state.oldest => self.state.trimmed = revision,
                Some(_) | None => {
                    self.state.trimmed = self.state.oldest;
                    break;
                }
            }
            if let Some((_, record)) = self.log.pop_first()? {
                let bytes = record.value().len() as u64;
                self.state.log_bytes = self.state.log_bytes.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}

/// What a group came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The state after it.
    pub(super) state: State,
    /// What is to be told.
    pub(super) batches: Vec<Batch>,
    /// Leases that were granted or put off, and those that are over.
    pub(super) terms: Vec<(LeaseId, Option<Duration>)>,
}
