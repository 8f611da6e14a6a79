//! What the bytes in the file are. Every record carries a checksum over its key and itself.
//!
//! | table     | key                                  | value                                                      |
//! |-----------|--------------------------------------|------------------------------------------------------------|
//! | `current` | the key                              | crc32, created, modified, lease (0: none), value           |
//! | `log`     | revision, number within it (big end) | crc32, what was done, length of the key, key, record before |
//! | `leases`  | the lease (big end)                  | crc32, time to live, end (both in ms; the end since 1970)  |
//! | `held`    | the lease (big end), key             | nothing                                                    |
//! | `meta`    | `state`                              | crc32, format, the numbers of [`State`]                    |
//!
//! Numbers are little-endian where nothing else is said. The log holds what a change *replaced*: with what is there now,
//! going backwards gives every state since the oldest, and no value is written more than twice.
use crate::store::{Entry, LeaseId, Revision};
use bytes::Bytes;
use redb::TableDefinition;
use std::sync::Arc;

/// What the file's first version was called; a change that older programs cannot read gets the next.
pub(super) const FORMAT: u32 = 1;

/// A table of bytes.
pub(super) type Bare = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// What every key holds now.
pub(super) const CURRENT: Bare = TableDefinition::new("current");
/// What every change replaced.
pub(super) const LOG: Bare = TableDefinition::new("log");
/// The leases.
pub(super) const LEASES: Bare = TableDefinition::new("leases");
/// Which keys end with which lease.
pub(super) const HELD: Bare = TableDefinition::new("held");
/// The one record of [`State`].
pub(super) const META: Bare = TableDefinition::new("meta");
/// Its key.
pub(super) const STATE: &[u8] = b"state";

/// A record is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of {0} is damaged")]
pub(super) struct Damaged(pub(super) String);

/// The numbers that go with a state of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The newest revision.
    pub(super) revision: Revision,
    /// The oldest that can still be asked for.
    pub(super) oldest: Revision,
    /// The log is whole after this one; not over `oldest`.
    pub(super) trimmed: Revision,
    /// How many bytes the log has.
    pub(super) log_bytes: u64,
    /// The last lease that was granted.
    pub(super) lease: i64,
}

impl State {
    /// Of a store that nobody wrote to.
    pub(super) const EMPTY: State = State {
        revision: 1,
        oldest: 1,
        trimmed: 1,
        log_bytes: 0,
        lease: 0,
    };

    pub(super) fn encode(self) -> Vec<u8> {
        let mut body = FORMAT.to_le_bytes().to_vec();
        for number in [self.revision, self.oldest, self.trimmed, self.log_bytes] {
            body.extend(number.to_le_bytes());
        }
        body.extend(self.lease.to_le_bytes());
        sealed(STATE, &body)
    }

    /// The format's number, and the state if we know that format.
    pub(super) fn decode(raw: &[u8]) -> Result<(u32, Option<State>), Damaged> {
        let damaged = || Damaged("the store's own state".to_owned());
        let body = checked(STATE, raw).ok_or_else(damaged)?;
        let mut reader = Reader(body);
        let format = reader.u32().ok_or_else(damaged)?;
        if format != FORMAT {
            return Ok((format, None));
        }
        let mut read = || reader.u64().ok_or_else(damaged);
        let (revision, oldest, trimmed, log_bytes) = (read()?, read()?, read()?, read()?);
        let state = State {
            revision,
            oldest,
            trimmed,
            log_bytes,
            lease: read()?.cast_signed(),
        };
        Ok((format, Some(state)))
    }
}

/// An entry without its key.
fn entry_body(entry: &Entry, out: &mut Vec<u8>) {
    out.extend(entry.created.to_le_bytes());
    out.extend(entry.modified.to_le_bytes());
    out.extend(entry.lease.map_or(0, |lease| lease.0).to_le_bytes());
    out.extend_from_slice(&entry.value);
}

fn entry_of(key: &Arc<str>, body: &[u8]) -> Option<Entry> {
    let mut reader = Reader(body);
    let (created, modified, lease) = (reader.u64()?, reader.u64()?, reader.u64()?.cast_signed());
    Some(Entry {
        key: key.clone(),
        value: Bytes::copy_from_slice(reader.0),
        created,
        modified,
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}

/// The record of `current`.
pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut body = Vec::with_capacity(entry.value.len() + 24);
    entry_body(entry, &mut body);
    sealed(entry.key.as_bytes(), &body)
}

/// A record of `current`.
pub(super) fn decode_entry(key: &[u8], raw: &[u8]) -> Result<Entry, Damaged> {
    let damaged = || Damaged(String::from_utf8_lossy(key).into_owned());
    let body = checked(key, raw).ok_or_else(damaged)?;
    let name: Arc<str> = std::str::from_utf8(key).map_err(|_| damaged())?.into();
    entry_of(&name, body).ok_or_else(damaged)
}

/// A change as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// Its key.
    pub(super) key: Arc<str>,
    /// Whether it took the key away.
    pub(super) deleted: bool,
    /// What was there before.
    pub(super) previous: Option<Entry>,
}

/// The key of a change in the log.
pub(super) fn log_key(revision: Revision, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&revision.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The revision in a key of the log.
pub(super) fn log_revision(key: &[u8]) -> Result<Revision, Damaged> {
    let head = key.get(..8).and_then(|head| head.try_into().ok());
    head.map(Revision::from_be_bytes)
        .ok_or_else(|| Damaged("a key of the log".to_owned()))
}

pub(super) fn encode_logged(at: &[u8], change: &Logged) -> Vec<u8> {
    let mut body = Vec::with_capacity(change.key.len() + 64);
    body.push(u8::from(change.deleted) | u8::from(change.previous.is_some()) << 1);
    let length = u32::try_from(change.key.len()).unwrap_or(u32::MAX);
    body.extend(length.to_le_bytes());
    body.extend_from_slice(change.key.as_bytes());
    if let Some(previous) = &change.previous {
        entry_body(previous, &mut body);
    }
    sealed(at, &body)
}

pub(super) fn decode_logged(at: &[u8], raw: &[u8]) -> Result<Logged, Damaged> {
    let damaged = || Damaged(format!("revision {}", log_revision(at).unwrap_or(0)));
    let body = checked(at, raw).ok_or_else(damaged)?;
    let parse = || {
        let mut reader = Reader(body);
        let flags = reader.take(1)?[0];
        let length = reader.u32()? as usize;
        let key: Arc<str> = std::str::from_utf8(reader.take(length)?).ok()?.into();
        let previous = match flags & 2 {
            0 => None,
            _ => Some(entry_of(&key, reader.0)?),
        };
        Some(Logged {
            key,
            deleted: flags & 1 != 0,
            previous,
        })
    };
    parse().ok_or_else(damaged)
}

/// A lease as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// How long it is, in milliseconds.
    pub(super) ttl: u64,
    /// When it ends, in milliseconds since 1970.
    pub(super) end: u64,
}

/// The key of a lease.
pub(super) fn lease_key(lease: LeaseId) -> [u8; 8] {
    lease.0.to_be_bytes()
}

/// The lease of a key.
pub(super) fn lease_of(key: &[u8]) -> Result<LeaseId, Damaged> {
    let raw = key.get(..8).and_then(|head| head.try_into().ok());
    raw.map(|raw| LeaseId(i64::from_be_bytes(raw)))
        .ok_or_else(|| Damaged("a lease".to_owned()))
}

/// The key in `held` of what a lease holds.
pub(super) fn held_key(lease: LeaseId, key: &str) -> Vec<u8> {
    [&lease_key(lease), key.as_bytes()].concat()
}

pub(super) fn encode_term(at: &[u8], term: Term) -> Vec<u8> {
    sealed(
        at,
        &[term.ttl.to_le_bytes(), term.end.to_le_bytes()].concat(),
    )
}

pub(super) fn decode_term(at: &[u8], raw: &[u8]) -> Result<Term, Damaged> {
    let parse = || {
        let mut reader = Reader(checked(at, raw)?);
        Some(Term {
            ttl: reader.u64()?,
            end: reader.u64()?,
        })
    };
    parse().ok_or_else(|| Damaged("a lease".to_owned()))
}

/// A checksum in front of a body.
fn sealed(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 4);
    out.extend(checksum(key, body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body, if it is the one that was written under this key.
fn checked<'a>(key: &[u8], raw: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, body) = raw.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*sum) == checksum(key, body)).then_some(body)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn entry()(key in "/[a-z]{1,20}", value in prop::collection::vec(any::<u8>(), 0..100), created: u64, modified: u64, lease: i64) -> Entry {
            Entry { key: key.into(), value: value.into(), created, modified, lease: (lease != 0).then_some(LeaseId(lease)) }
        }
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went(entry in entry(), revision: u64, number: u32, deleted: bool, was: bool) {
            let raw = encode_entry(&entry);
            prop_assert_eq!(&decode_entry(entry.key.as_bytes(), &raw).unwrap(), &entry);
            let at = log_key(revision, number);
            prop_assert_eq!(log_revision(&at).unwrap(), revision);
            let change = Logged { key: entry.key.clone(), deleted, previous: was.then_some(entry) };
            prop_assert_eq!(decode_logged(&at, &encode_logged(&at, &change)).unwrap(), change);
        }

        #[test]
        fn a_changed_byte_is_seen(entry in entry(), place: prop::sample::Index, flip in 1u8..) {
            let mut raw = encode_entry(&entry);
            let place = place.index(raw.len());
            raw[place] ^= flip;
            prop_assert!(decode_entry(entry.key.as_bytes(), &raw).is_err());
        }

        #[test]
        fn no_bytes_break_a_reader(at in prop::collection::vec(any::<u8>(), 0..16), raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = sealed(&at, &raw);
            for raw in [&raw, &body] {
                let _ = decode_entry(&at, raw);
                let _ = decode_logged(&at, raw);
                let _ = decode_term(&at, raw);
                let _ = State::decode(raw);
            }
        }
    }

    #[test]
    fn a_record_of_another_key_is_not_taken() {
        let entry = Entry {
            key: "/a".into(),
            value: "x".into(),
            created: 2,
            modified: 2,
            lease: None,
        };
        assert!(decode_entry(b"/b", &encode_entry(&entry)).is_err());
    }

    #[test]
    fn a_newer_format_is_named() {
        let body = [7u32.to_le_bytes().as_slice(), &[0; 9]].concat();
        assert_eq!(State::decode(&sealed(STATE, &body)).unwrap(), (7, None));
        assert_eq!(
            State::decode(&State::EMPTY.encode()).unwrap(),
            (FORMAT, Some(State::EMPTY))
        );
    }
}
