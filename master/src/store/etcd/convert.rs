//! Our words in etcd's, and back.
use crate::store::{Batch, Change, Entry, Event, Guard, LeaseId, Op, Revision};
use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, DeleteOptions, EventType, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse,
    WatchResponse,
};
use std::sync::Arc;

/// A key and its value; none where the key is no text, and so nobody's of ours.
pub(super) fn entry(found: &KeyValue) -> Option<Entry> {
    let key: Arc<str> = std::str::from_utf8(found.key()).ok()?.into();
    Some(Entry {
        key,
        value: Bytes::copy_from_slice(found.value()),
        created: found.create_revision().unsigned_abs(),
        modified: found.mod_revision().unsigned_abs(),
        lease: (found.lease() != 0).then_some(LeaseId(found.lease())),
    })
}

/// A number as etcd has it.
pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// The first key behind all that begin with a prefix; etcd's word for "no end" where there is none.
pub(super) fn end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// A transaction: what was there comes back in either case.
pub(super) fn transaction(ops: &[Op]) -> Txn {
    let key = |op: &Op| op.key.as_bytes().to_vec();
    let guards = ops.iter().filter_map(|op| match op.guard {
        Guard::Any => None,
        Guard::Absent => Some(Compare::create_revision(key(op), CompareOp::Equal, 0)),
        Guard::At(revision) => {
            let revision = number(revision);
            Some(Compare::mod_revision(key(op), CompareOp::Equal, revision))
        }
    });
    let change = |op: &Op| match &op.change {
        Change::Check => TxnOp::get(key(op), None),
        Change::Delete => TxnOp::delete(key(op), Some(DeleteOptions::new().with_prev_key())),
        Change::Put(value, lease) => {
            let lease = lease.map_or(0, |lease| lease.0);
            let options = PutOptions::new().with_prev_key().with_lease(lease);
            TxnOp::put(key(op), value.to_vec(), Some(options))
        }
    };
    Txn::new()
        .when(guards.collect::<Vec<_>>())
        .and_then(ops.iter().map(change).collect::<Vec<_>>())
        .or_else(
            ops.iter()
                .map(|op| TxnOp::get(key(op), None))
                .collect::<Vec<_>>(),
        )
}

/// What a part of a transaction found.
pub(super) fn previous(answer: &TxnOpResponse) -> Option<Entry> {
    match answer {
        TxnOpResponse::Put(put) => put.prev_key().and_then(entry),
        TxnOpResponse::Get(get) => get.kvs().first().and_then(entry),
        TxnOpResponse::Delete(delete) => delete.prev_kvs().first().and_then(entry),
        TxnOpResponse::Txn(_) => None,
    }
}

/// The first guard that does not hold of what was found.
pub(super) fn broken<'a>(
    ops: &'a [Op],
    found: &[Option<Entry>],
) -> Option<(&'a Op, Option<Entry>)> {
    ops.iter().zip(found).find_map(|(op, found)| {
        let holds = match op.guard {
            Guard::Any => true,
            Guard::Absent => found.is_none(),
            Guard::At(revision) => found
                .as_ref()
                .is_some_and(|entry| entry.modified == revision),
        };
        (!holds).then(|| (op, found.clone()))
    })
}

/// The changes of an answer of a watch, by revision.
pub(super) fn batches(answer: &WatchResponse) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for told in answer.events() {
        let Some(kv) = told.kv() else { continue };
        let revision = kv.mod_revision().unsigned_abs();
        if batches
            .last()
            .is_none_or(|batch| batch.revision != revision)
        {
            batches.push(Batch {
                revision,
                events: Vec::new(),
            });
        }
        if let (Some(event), Some(batch)) = (event(told, kv), batches.last_mut()) {
            batch.events.push(event);
        }
    }
    batches
}

fn event(told: &etcd_client::Event, kv: &KeyValue) -> Option<Event> {
    let previous = told.prev_kv().and_then(entry);
    let deleted = told.event_type() == EventType::Delete;
    let mut entry = entry(kv)?;
    if let (true, Some(last)) = (deleted, &previous) {
        entry = Entry {
            modified: entry.modified,
            ..last.clone()
        };
    }
    Some(Event {
        entry,
        previous,
        deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end("/registry/"), b"/registry0");
        assert_eq!(end("a\u{7f}"), b"a\x80");
        assert_eq!(end(""), [0]);
    }
}
