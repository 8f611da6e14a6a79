//! How an object becomes another one: read, make, check, compare-and-swap, and again if somebody was faster.
use super::Registry;
use super::answer::{Answer, Content};
use super::options::WriteOptions;
use super::target::{Admitted, Loaded, Target, transaction};
use super::{meta_rules, ownership};
use crate::admission::Operation;
use crate::error::ApiError;
use crate::meta;
use crate::resource::Part;
use crate::store::{Change, Guard, LeaseId, Op, StoreError};
use http::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// What Kubernetes' servers say when the object is not the one the client knows.
pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";
/// How often a write is tried against others that get in between; those of one master wait for each other, so that these
/// are writes of other masters, or of what goes along.
pub(super) const TRIES: u32 = 12;

/// What makes the new object of the old one.
pub(super) type Make<'m> = dyn FnMut(&Value) -> Result<Value, ApiError> + Send + 'm;

/// An object that was changed, or only might have been.
pub(super) struct Changed {
    pub(super) content: Content,
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

impl From<Changed> for Answer {
    fn from(changed: Changed) -> Self {
        Answer {
            status: StatusCode::OK,
            content: changed.content,
            warnings: changed.warnings,
        }
    }
}

impl Registry {
    /// Changes the object; none if it is not there.
    pub(super) async fn change(
        &self,
        target: &Target<'_>,
        part: Part,
        options: &WriteOptions,
        make: &mut Make<'_>,
    ) -> Result<Option<Changed>, ApiError> {
        let _turn = self.turns.take(&target.key).await;
        for attempt in 0..TRIES {
            pause(attempt).await;
            let Some(old) = self.load(target).await? else {
                return Ok(None);
            };
            let mut new = make(&old.object)?;
            let along = self.prepare(target, part, options, &mut new, &old).await?;
            let stored = self.store_change(target, options, new, &old, along);
            if let Ok(changed) = stored.await? {
                return Ok(Some(changed));
            }
        }
        Err(target.conflict(MODIFIED))
    }

    /// All that is done to and asked of a changed object before it is stored.
    async fn prepare(
        &self,
        target: &Target<'_>,
        part: Part,
        options: &WriteOptions,
        new: &mut Value,
        old: &Loaded,
    ) -> Result<Vec<Op>, ApiError> {
        let resource = target.resource;
        let old = &old.object;
        meta_rules::keep(target, new, old)?;
        restore(target, part, new, old);
        resource.default(new);
        resource.prepare_update(new, old, part);
        let write = Admitted {
            operation: Operation::Update,
            part,
            object: new,
            old: Some(old),
            dry_run: options.dry_run,
        };
        let along = self.admit(target, write).await?;
        if resource.generation(new, old) {
            meta_rules::count_generation(new);
        }
        let mut mistakes = meta_rules::validate(resource.as_ref(), new, Some(old));
        mistakes.extend(resource.validate(new, Some(old), part));
        if !mistakes.is_empty() {
            return Err(target.invalid(&mistakes));
        }
        ownership::record(target, part, options, new, Some(old));
        Ok(along)
    }

    /// Stores it; an object that has nothing left to wait for after its deletion goes.
    async fn store_change(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        new: Value,
        old: &Loaded,
        along: Vec<Op>,
    ) -> Result<Result<Changed, Again>, ApiError> {
        let goes = ends(target, &new);
        let bytes = target.encode(&new);
        let warnings = target.resource.warnings(&new);
        let changed = |content, object| Changed {
            content,
            object,
            warnings,
        };
        if options.dry_run || (new == old.object && !goes) {
            let content = target.show(&bytes, old.revision)?;
            return Ok(Ok(changed(content, new)));
        }
        let own = Op {
            key: target.key.clone(),
            guard: Guard::At(old.revision),
            change: if goes {
                Change::Delete
            } else {
                Change::Put(bytes.clone(), self.lease(target, old.lease).await?)
            },
        };
        let ops = if goes {
            // What an update takes along is for an object that stays.
            self.deletion_ops(target, own, new.clone()).await?
        } else {
            transaction(own, along)
        };
        match self.store.commit(ops).await {
            Ok(done) => {
                let mut object = new;
                super::stored::set_revision(&mut object, done.revision);
                Ok(Ok(changed(target.show(&bytes, done.revision)?, object)))
            }
            Err(StoreError::Conflict { .. }) => Ok(Err(Again)),
            Err(err) => self.refused(target, err),
        }
    }

    /// With which lease an object ends from now on: a write of one that ends by itself puts its end off.
    pub(super) async fn lease(
        &self,
        target: &Target<'_>,
        had: Option<LeaseId>,
    ) -> Result<Option<LeaseId>, ApiError> {
        match target.resource.ttl() {
            None => Ok(had),
            Some(seconds) => self.leases.lease(&self.store, seconds).await.map(Some),
        }
    }

    /// What the store's refusal means: a lease that is over is another try, all else an error.
    pub(super) fn refused<T>(
        &self,
        target: &Target<'_>,
        err: StoreError,
    ) -> Result<Result<T, Again>, ApiError> {
        match (err, target.resource.ttl()) {
            (StoreError::NoLease(_), Some(seconds)) => {
                self.leases.forget(seconds);
                Ok(Err(Again))
            }
            (err, _) => Err(err.into()),
        }
    }
}

/// Somebody was faster.
pub(super) struct Again;

/// Waits before another try, longer each time, and not as long as others do.
pub(super) async fn pause(attempt: u32) {
    if attempt == 0 {
        return;
    }
    let longest = 1u64 << attempt.min(6);
    let random = u64::from(uuid::Uuid::new_v4().as_bytes()[0]);
    tokio::time::sleep(Duration::from_millis(1 + random % longest)).await;
}

/// Brings back what this part of the object does not change.
fn restore(target: &Target<'_>, part: Part, new: &mut Value, old: &Value) {
    let (Some(members), Some(before)) = (new.as_object_mut(), old.as_object()) else {
        return;
    };
    match part {
        Part::Main if target.resource.has_status() => {
            meta_rules::copy(members, before, "status");
        }
        Part::Status => {
            let mut kept = before.clone();
            meta_rules::copy(&mut kept, members, "status");
            meta_rules::copy(&mut kept, members, "metadata");
            *members = kept;
            let metadata = meta::member_mut(members, "metadata");
            meta_rules::copy(metadata, meta::of(old), "ownerReferences");
        }
        Part::Main | Part::Other(_) => {}
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
fn ends(target: &Target<'_>, object: &Value) -> bool {
    let metadata = meta::of(object);
    let grace = metadata.get("deletionGracePeriodSeconds");
    metadata.contains_key("deletionTimestamp")
        && meta_rules::finalizers(object).is_empty()
        && grace.and_then(Value::as_i64).is_none_or(|grace| grace == 0)
        && !target.resource.holds(object)
}
