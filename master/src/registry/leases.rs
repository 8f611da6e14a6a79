//! Leases for objects that end by themselves (events), shared by those made at about the same time.
use crate::error::ApiError;
use crate::store::{LeaseId, Store};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long a lease takes in more objects: this part of its time, and no longer than this.
const SHARE: u32 = 20;
const LONGEST: Duration = Duration::from_mins(1);
/// How many objects end with one lease.
const MOST: u32 = 1000;

/// The newest lease of each length.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<u64, Open>>);

#[derive(Clone, Copy, Debug)]
struct Open {
    lease: LeaseId,
    until: Instant,
    left: u32,
}

impl Leases {
    /// A lease that ends the object after so many seconds, or little more.
    pub(super) async fn lease(
        &self,
        store: &Arc<dyn Store>,
        seconds: u64,
    ) -> Result<LeaseId, ApiError> {
        if let Some(lease) = self.with(|open| reuse(open.get_mut(&seconds)?)) {
            return Ok(lease);
        }
        let ttl = Duration::from_secs(seconds);
        let share = (ttl / SHARE).min(LONGEST);
        let until = Instant::now() + share;
        let lease = store.grant(ttl + share).await?;
        let open = Open {
            lease,
            until,
            left: MOST - 1,
        };
        self.with(|all| all.insert(seconds, open));
        Ok(lease)
    }
    /// Forgets a lease that the store says is over.
    pub(super) fn forget(&self, seconds: u64) {
        self.with(|open| open.remove(&seconds));
    }
    fn with<T>(&self, what: impl FnOnce(&mut HashMap<u64, Open>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn reuse(open: &mut Open) -> Option<LeaseId> {
    if open.left == 0 || Instant::now() >= open.until {
        return None;
    }
    open.left -= 1;
    Some(open.lease)
}
