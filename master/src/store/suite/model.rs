//! Any sequence of calls against a map that remembers everything.
use super::Bed;
use super::watching::until;
use crate::store::{Change, Entry, Guard, Op, Range, Revision, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many sequences are tried.
const SEQUENCES: usize = 12;

/// A step, with keys and guards as small numbers.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, u8, u8)>),
    List {
        key: u8,
        after: Option<u8>,
        limit: usize,
        back: u64,
    },
    Get(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = (0u8..6, 0u8..5, 0u8..4);
    let step = prop_oneof![
        6 => prop::collection::vec(op, 1..4).prop_map(Step::Commit),
        3 => (0u8..7, prop::option::of(0u8..6), 0usize..4, 0u64..8)
            .prop_map(|(key, after, limit, back)| Step::List { key, after, limit, back }),
        1 => (0u8..6).prop_map(Step::Get),
    ];
    prop::collection::vec(step, 1..40)
}

type State = BTreeMap<Arc<str>, Entry>;

struct Model {
    states: Vec<(Revision, State)>,
}

impl Model {
    fn now(&self) -> &State {
        &self.states[self.states.len() - 1].1
    }
    fn commit(&mut self, ops: &[Op]) -> Result<Revision, Option<Entry>> {
        let mut state = self.now().clone();
        for op in ops {
            let current = state.get(&op.key);
            let holds = match op.guard {
                Guard::Any => true,
                Guard::Absent => current.is_none(),
                Guard::At(revision) => current.is_some_and(|entry| entry.modified == revision),
            };
            if !holds {
                return Err(current.cloned());
            }
        }
        let was = self.states[self.states.len() - 1].0;
        let revision = was + 1;
        for op in ops {
            match &op.change {
                Change::Check => {}
                Change::Delete => drop(state.remove(&op.key)),
                Change::Put(value, lease) => {
                    let created = state.get(&op.key).map_or(revision, |entry| entry.created);
                    let (key, value) = (op.key.clone(), value.clone());
                    let entry = Entry {
                        key,
                        value,
                        created,
                        modified: revision,
                        lease: *lease,
                    };
                    state.insert(op.key.clone(), entry);
                }
            }
        }
        if state == *self.now() {
            return Ok(was);
        }
        self.states.push((revision, state));
        Ok(revision)
    }
}

const NAMES: [&str; 7] = ["a", "a/b", "b", "b/c", "b/d", "c", ""];

fn op(bed: &Bed, model: &Model, value: usize, (key, guard, change): (u8, u8, u8)) -> Op {
    let key = bed.key(NAMES[usize::from(key)]);
    let current = model.now().get(&key).map(|entry| entry.modified);
    let guard = match guard {
        0 => Guard::Any,
        1 => Guard::Absent,
        // Mostly right, sometimes stale.
        2 | 3 => current.map_or(Guard::Absent, Guard::At),
        _ => Guard::At(current.unwrap_or(3) - 1),
    };
    let change = match change {
        0 => Change::Check,
        1 => Change::Delete,
        _ => Change::Put(value.to_string().into(), None),
    };
    Op { key, guard, change }
}

async fn commit(bed: &Bed, model: &mut Model, ops: Vec<Op>) {
    let wanted = model.commit(&ops);
    match (bed.store.commit(ops).await, wanted) {
        (Ok(done), Ok(revision)) => assert_eq!(done.revision, revision),
        (Err(StoreError::Conflict { current, .. }), Err(wanted)) => assert_eq!(current, wanted),
        (done, wanted) => panic!("{done:?} instead of {wanted:?}"),
    }
}

async fn list(bed: &Bed, model: &Model, (key, after, limit, back): (u8, Option<u8>, usize, u64)) {
    let place = model
        .states
        .len()
        .saturating_sub(1 + usize::try_from(back).unwrap());
    let (revision, state) = &model.states[place];
    let prefix = bed.key(NAMES[usize::from(key)]).to_string();
    let after = after.map(|after| bed.key(NAMES[usize::from(after)]).to_string());
    let matching = state
        .values()
        .filter(|entry| entry.key.starts_with(&prefix))
        .filter(|entry| after.as_deref().is_none_or(|after| &*entry.key > after));
    let mut wanted: Vec<Entry> = matching.cloned().collect();
    let rest = match limit {
        0 => 0,
        limit => wanted.len().saturating_sub(limit),
    };
    wanted.truncate(wanted.len() - rest);
    let range = Range {
        prefix,
        after,
        limit,
        at: Some(*revision),
    };
    let listing = bed.store.list(&range).await.unwrap();
    assert_eq!(
        (listing.revision, listing.entries),
        (*revision, wanted),
        "{range:?}"
    );
    assert_eq!(listing.remaining, rest as u64, "{range:?}");
}

async fn sequence(bed: Bed, steps: Vec<Step>) {
    let base = bed.store.revision().await.unwrap();
    let mut model = Model {
        states: vec![(base, State::new())],
    };
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Commit(mut parts) => {
                parts.sort_unstable();
                parts.dedup_by_key(|(key, ..)| *key);
                let ops = parts
                    .into_iter()
                    .map(|part| op(&bed, &model, number, part))
                    .collect();
                commit(&bed, &mut model, ops).await;
            }
            Step::List {
                key,
                after,
                limit,
                back,
            } => {
                list(&bed, &model, (key, after, limit, back)).await;
            }
            Step::Get(key) => {
                let name = NAMES[usize::from(key)];
                assert_eq!(
                    bed.get(name).await.as_ref(),
                    model.now().get(&bed.key(name))
                );
            }
        }
    }
    // The events, put on nothing, give every state there was; so do they from the middle on.
    let newest = model.states[model.states.len() - 1].0;
    for from in [0, model.states.len() / 2] {
        if from + 1 < model.states.len() {
            let after = model.states[from].0;
            let mut watch = bed.store.watch(&bed.prefix, after).await.unwrap();
            follow(&model, from, until(&mut watch, newest).await);
        }
    }
}

fn follow(model: &Model, from: usize, batches: Vec<crate::store::Batch>) {
    let mut state = model.states[from].1.clone();
    assert_eq!(batches.len(), model.states.len() - 1 - from);
    for (batch, (revision, wanted)) in batches.into_iter().zip(&model.states[from + 1..]) {
        assert_eq!(batch.revision, *revision);
        for event in batch.events {
            assert_eq!(state.get(&event.entry.key), event.previous.as_ref());
            match event.deleted {
                true => drop(state.remove(&event.entry.key)),
                false => drop(state.insert(event.entry.key.clone(), event.entry)),
            }
        }
        assert_eq!(state, *wanted);
    }
}

pub(super) async fn it_does_what_a_map_does(bed: Bed) {
    let mut runner = TestRunner::default();
    for number in 0..SEQUENCES {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        eprintln!("sequence {number}: {steps:?}");
        let bed = Bed {
            prefix: format!("{}{number}/", bed.prefix),
            ..bed.clone()
        };
        sequence(bed, steps).await;
    }
}
