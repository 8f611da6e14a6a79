//! What is asked of one moment of the store.
use super::file::{Fault, Snapshot, entry_at};
use super::format::{decode_entry, decode_logged, log_key, log_revision};
use crate::store::{Batch, Entry, Event, Listing, Range, Revision, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A key.
pub(super) fn get(snapshot: &Snapshot, key: &str) -> Result<Option<Entry>, StoreError> {
    Ok(entry_at(&snapshot.current()?, key)?)
}

/// Keys in order, now or then.
pub(super) fn list(snapshot: &Snapshot, range: &Range) -> Result<Listing, StoreError> {
    let newest = snapshot.state.revision;
    let at = range.at.unwrap_or(newest);
    check(snapshot, at)?;
    let mut walk = Walk {
        limit: match range.limit {
            0 => usize::MAX,
            limit => limit,
        },
        listing: Listing {
            revision: at,
            ..Listing::default()
        },
    };
    // What was otherwise then: a key's first change after that moment says what it replaced.
    let mut then: BTreeMap<Arc<str>, Option<Entry>> = BTreeMap::new();
    if at < newest {
        changes(snapshot, at, |_, change| {
            if change.key.starts_with(&range.prefix) {
                then.entry(change.key).or_insert(change.previous);
            }
        })?;
    }
    let after = range.after.as_deref().unwrap_or_default();
    let first = match after >= range.prefix.as_str() {
        true => Bound::Excluded(after.as_bytes()),
        false => Bound::Included(range.prefix.as_bytes()),
    };
    let mut then = then
        .into_iter()
        .filter(|(key, _)| range.after.is_none() || &**key > after)
        .peekable();
    let rows = snapshot
        .current()?
        .range::<&[u8]>((first, Bound::Unbounded))
        .map_err(Fault::from)?;
    for row in rows {
        let (key, raw) = row.map_err(Fault::from)?;
        let key = key.value();
        if !key.starts_with(range.prefix.as_bytes()) {
            break;
        }
        while let Some((_, gone)) = then.next_if(|(name, _)| name.as_bytes() < key) {
            walk.meet(gone.is_some(), || Ok(gone.clone()))?;
        }
        match then.next_if(|(name, _)| name.as_bytes() == key) {
            Some((_, was)) => walk.meet(was.is_some(), || Ok(was.clone()))?,
            None => walk.meet(true, || Ok(Some(decode_entry(key, raw.value())?)))?,
        }
    }
    for (_, gone) in then {
        walk.meet(gone.is_some(), || Ok(gone.clone()))?;
    }
    Ok(walk.listing)
}

/// A listing in the making.
struct Walk {
    limit: usize,
    listing: Listing,
}

impl Walk {
    fn meet(
        &mut self,
        there: bool,
        entry: impl FnOnce() -> Result<Option<Entry>, Fault>,
    ) -> Result<(), Fault> {
        if self.listing.entries.len() < self.limit {
            self.listing.entries.extend(entry()?);
        } else {
            self.listing.remaining += u64::from(there);
        }
        Ok(())
    }
}

/// All changes under a prefix after a revision, up to this moment.
pub(super) fn replay(
    snapshot: &Snapshot,
    prefix: &str,
    after: Revision,
) -> Result<Vec<Batch>, StoreError> {
    check(snapshot, after)?;
    let mut found = Vec::new();
    changes(snapshot, after, |revision, change| {
        if change.key.starts_with(prefix) {
            found.push((revision, change));
        }
    })?;
    // Backwards: what a change made is what the next change of the key replaced, or what is there now.
    let current = snapshot.current()?;
    let mut later: HashMap<Arc<str>, Option<Entry>> = HashMap::new();
    let mut batches: Vec<Batch> = Vec::new();
    for (revision, change) in found.into_iter().rev() {
        let made = match later.insert(change.key.clone(), change.previous.clone()) {
            Some(made) => made,
            None => entry_at(&current, &change.key)?,
        };
        let event = event(revision, change, made)?;
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => batches.push(Batch {
                revision,
                events: vec![event],
            }),
        }
    }
    for batch in &mut batches {
        batch.events.reverse();
    }
    batches.reverse();
    Ok(batches)
}

fn event(
    revision: Revision,
    change: super::format::Logged,
    made: Option<Entry>,
) -> Result<Event, Fault> {
    let lost = || {
        Fault::Broken(format!(
            "the history of {} has a gap at {revision}",
            change.key
        ))
    };
    let entry = match (change.deleted, made) {
        (false, Some(made)) if made.modified == revision => made,
        (true, None) => Entry {
            modified: revision,
            ..change.previous.clone().ok_or_else(lost)?
        },
        _ => return Err(lost()),
    };
    Ok(Event {
        entry,
        previous: change.previous,
        deleted: change.deleted,
    })
}

/// Every change after a revision, in order.
fn changes(
    snapshot: &Snapshot,
    after: Revision,
    mut each: impl FnMut(Revision, super::format::Logged),
) -> Result<(), Fault> {
    let first = log_key(after.saturating_add(1), 0);
    for row in snapshot.log()?.range::<&[u8]>(first.as_slice()..)? {
        let (at, raw) = row?;
        each(
            log_revision(at.value())?,
            decode_logged(at.value(), raw.value())?,
        );
    }
    Ok(())
}

/// Whether a revision can be asked for.
pub(super) fn check(snapshot: &Snapshot, asked: Revision) -> Result<(), StoreError> {
    let (oldest, newest) = (snapshot.state.oldest, snapshot.state.revision);
    if asked < oldest {
        return Err(StoreError::Compacted { asked, oldest });
    }
    if asked > newest {
        return Err(StoreError::Future { asked, newest });
    }
    Ok(())
}
