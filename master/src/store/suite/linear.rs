//! Whether what concurrent callers saw could have happened one after the other.
//!
//! Each key is a register of its own with the operations read, write and compare-and-swap. The check is Wing and Gong's
//! search with Lowe's memory of what was tried: take any operation that began before all others ended, see whether the
//! register could have answered so, and go on from there
//! (<https://www.cs.ox.ac.uk/people/gavin.lowe/LinearizabiltyTesting/>).
use super::Bed;
use crate::store::{Change, Guard, StoreError};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a register holds: nothing, or a value that was written once.
type Held = Option<u64>;

/// What was done to a register, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Act {
    /// It held this.
    Read(Held),
    /// Whatever it held, it holds this now.
    Write(Held),
    /// It held the first, and holds the second now.
    Swap(Held, Held),
    /// It did not hold the first; it held the second.
    Missed(Held, Held),
    /// It may have been written, now or later, or never.
    Maybe(Held),
}

/// An operation, from its call to its answer; one without an answer ends never.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Done {
    pub(in crate::store) from: u64,
    pub(in crate::store) to: u64,
    pub(in crate::store) act: Act,
}

/// What the register holds after it, if it could have been done to one that held `held`.
fn after(held: Held, act: Act) -> Option<Held> {
    match act {
        Act::Read(seen) => (held == seen).then_some(held),
        Act::Write(new) | Act::Maybe(new) => Some(new),
        Act::Swap(old, new) => (held == old).then_some(new),
        Act::Missed(old, seen) => (held != old && held == seen).then_some(held),
    }
}

/// Whether the operations on one register can be put in an order.
pub(in crate::store) fn is_linear(start: Held, mut history: Vec<Done>) -> bool {
    history.sort_by_key(|done| done.from);
    let mut tried: HashSet<(Vec<u64>, Held)> = HashSet::new();
    let mut taken = vec![0u64; history.len().div_ceil(64)];
    search(&history, start, &mut taken, &mut tried)
}

fn search(
    history: &[Done],
    held: Held,
    taken: &mut Vec<u64>,
    tried: &mut HashSet<(Vec<u64>, Held)>,
) -> bool {
    let is_taken = |taken: &[u64], place: usize| taken[place / 64] & (1 << (place % 64)) != 0;
    let open = || (0..history.len()).filter(|place| !is_taken(taken, *place));
    let optional = |place: &usize| matches!(history[*place].act, Act::Maybe(_));
    if open().all(|place| optional(&place)) {
        return true;
    }
    if !tried.insert((taken.clone(), held)) {
        return false;
    }
    let first_end = open()
        .map(|place| history[place].to)
        .min()
        .unwrap_or(u64::MAX);
    let next: Vec<usize> = open()
        .take_while(|place| history[*place].from <= first_end)
        .collect();
    for place in next {
        if let Some(now) = after(held, history[place].act) {
            taken[place / 64] |= 1 << (place % 64);
            if search(history, now, taken, tried) {
                return true;
            }
            taken[place / 64] &= !(1 << (place % 64));
        }
    }
    false
}

pub(super) async fn counters_count(bed: Bed) {
    bed.set("counter", "0").await;
    let tasks = (0..8).map(|_| {
        let bed = bed.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                loop {
                    let entry = bed.get("counter").await.unwrap();
                    let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                    let next = (count + 1).to_string();
                    let op = bed.put("counter", Guard::At(entry.modified), &next);
                    match bed.store.commit(vec![op]).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(bed.get("counter").await.unwrap().value, "200");
}

/// Which revision each value was written at is how a guard finds the value.
struct Recorder {
    bed: Bed,
    clock: Arc<AtomicU64>,
    values: Arc<AtomicU64>,
}

impl Recorder {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// One operation on a key; `dice` says which.
    async fn act(&self, name: &str, dice: u64) -> Vec<Done> {
        let value = |entry: &crate::store::Entry| -> u64 {
            std::str::from_utf8(&entry.value).unwrap().parse().unwrap()
        };
        let from = self.now();
        let seen = self.bed.get(name).await;
        let to = self.now();
        let held = seen.as_ref().map(value);
        let mut done = vec![Done {
            from,
            to,
            act: Act::Read(held),
        }];
        if dice.is_multiple_of(4) {
            return done;
        }
        let new = self.values.fetch_add(1, Ordering::SeqCst);
        let put = Change::Put(new.to_string().into(), None);
        let guard = seen.map_or(Guard::Absent, |entry| Guard::At(entry.modified));
        let (op, meant) = match dice % 4 {
            1 => (self.bed.op(name, Guard::Any, put), Act::Write(Some(new))),
            2 => (
                self.bed.op(name, guard, Change::Delete),
                Act::Swap(held, None),
            ),
            _ => (self.bed.op(name, guard, put), Act::Swap(held, Some(new))),
        };
        let from = self.now();
        let answer = self.bed.store.commit(vec![op]).await;
        let to = self.now();
        let act = match answer {
            Ok(_) => meant,
            Err(StoreError::Conflict { current, .. }) => {
                Act::Missed(held, current.as_ref().map(value))
            }
            Err(error) => panic!("{error}"),
        };
        done.push(Done { from, to, act });
        done
    }
}

pub(super) async fn histories_are_linear(bed: Bed) {
    let (clock, values) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(1)));
    let tasks = (0..6u64).map(|task| {
        let recorder = Recorder {
            bed: bed.clone(),
            clock: clock.clone(),
            values: values.clone(),
        };
        tokio::spawn(async move {
            let mut histories: BTreeMap<u64, Vec<Done>> = BTreeMap::new();
            let mut dice = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for _ in 0..60 {
                // xorshift: the same dice in every run.
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let key = dice >> 40 & 3;
                let done = recorder.act(&key.to_string(), dice >> 20).await;
                histories.entry(key).or_default().extend(done);
            }
            histories
        })
    });
    let mut histories: BTreeMap<u64, Vec<Done>> = BTreeMap::new();
    for task in futures::future::join_all(tasks).await {
        for (key, history) in task.unwrap() {
            histories.entry(key).or_default().extend(history);
        }
    }
    assert_eq!(histories.len(), 4);
    for (key, history) in histories {
        assert!(is_linear(None, history.clone()), "key {key}: {history:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(history: &[(u64, u64, Act)], wanted: bool) {
        let done = |&(from, to, act): &(u64, u64, Act)| Done { from, to, act };
        assert_eq!(is_linear(None, history.iter().map(done).collect()), wanted);
    }

    #[test]
    fn it_knows_what_cannot_have_happened() {
        let (one, two) = (Some(1), Some(2));
        check(&[], true);
        check(&[(0, 1, Act::Write(one)), (2, 3, Act::Read(one))], true);
        // A read of what was never written, of the past, and of an acknowledged write that is lost.
        check(&[(0, 1, Act::Read(one))], false);
        check(
            &[
                (0, 1, Act::Write(one)),
                (2, 3, Act::Write(two)),
                (4, 5, Act::Read(one)),
            ],
            false,
        );
        check(&[(0, 1, Act::Write(one)), (2, 3, Act::Read(None))], false);
        // While a write is under way both may be seen, but not the new one and then the old one.
        check(
            &[
                (0, 9, Act::Write(one)),
                (1, 2, Act::Read(None)),
                (3, 4, Act::Read(one)),
            ],
            true,
        );
        check(
            &[
                (0, 9, Act::Write(one)),
                (1, 2, Act::Read(one)),
                (3, 4, Act::Read(None)),
            ],
            false,
        );
        // Two swaps from the same value.
        check(
            &[(0, 5, Act::Swap(None, one)), (1, 6, Act::Swap(None, two))],
            false,
        );
        check(
            &[(0, 5, Act::Swap(None, one)), (1, 6, Act::Missed(None, one))],
            true,
        );
        check(
            &[(0, 5, Act::Swap(None, one)), (1, 6, Act::Missed(None, two))],
            false,
        );
        // Nobody knows whether it was done; later it is seen, or never.
        let maybe = (0, u64::MAX, Act::Maybe(one));
        check(&[maybe, (2, 3, Act::Read(None))], true);
        check(
            &[maybe, (2, 3, Act::Read(None)), (4, 5, Act::Read(one))],
            true,
        );
        check(
            &[maybe, (2, 3, Act::Read(one)), (4, 5, Act::Read(None))],
            false,
        );
    }
}
