//! DELETE: an object goes, at once or when nothing has to be waited for any more.
mod options;
mod plan;

pub(super) use options::DeleteOptions;

use super::Registry;
use super::answer::Answer;
use super::change::{Again, MODIFIED, TRIES, pause};
use super::options::WriteOptions;
use super::target::{Admitted, Loaded, Target, transaction};
use crate::admission::{Admission, Operation};
use crate::call::Call;
use crate::error::ApiError;
use crate::meta;
use crate::resource::Part;
use crate::resource::pods::eviction;
use crate::store::{Change, Guard, Op, StoreError};
use http::StatusCode;
use plan::Step;
use serde_json::{Value, json};

impl Registry {
    /// Deletes the object, or begins to; `body` is a `DeleteOptions`, if there is one.
    ///
    /// # Errors
    /// 404, 409 if a precondition does not hold, 422 for options that make no sense.
    pub async fn delete(&self, call: &Call, body: Option<Value>) -> Result<Answer, ApiError> {
        let options = DeleteOptions::of(call, body)?;
        let target = Target::named(self, call)?;
        self.delete_one(&target, &options).await
    }

    /// Deletes a pod as its eviction asks (policy/v1 `Eviction`).
    pub(super) async fn evict(
        &self,
        target: &Target<'_>,
        asked: &WriteOptions,
        eviction: &Value,
    ) -> Result<Answer, ApiError> {
        let call = target.call;
        let options = eviction::options(eviction, &call.namespace, &target.name)?;
        let mut options = DeleteOptions::of(call, Some(options))?;
        options.dry_run |= asked.dry_run;
        self.delete_one(target, &options).await?;
        let mut status = success();
        status["code"] = StatusCode::CREATED.as_u16().into();
        Ok(Answer::of(StatusCode::CREATED, status))
    }

    pub(super) async fn delete_one(
        &self,
        target: &Target<'_>,
        options: &DeleteOptions,
    ) -> Result<Answer, ApiError> {
        let _turn = self.turns.take(&target.key).await;
        for attempt in 0..TRIES {
            pause(attempt).await;
            let loaded = self.load(target).await?;
            let loaded = loaded.ok_or_else(|| target.not_found())?;
            options.preconditions(target, &loaded.object)?;
            if let Ok(answer) = self.delete_step(target, options, loaded).await? {
                return Ok(answer);
            }
        }
        Err(target.conflict(MODIFIED))
    }

    /// One try.
    async fn delete_step(
        &self,
        target: &Target<'_>,
        options: &DeleteOptions,
        loaded: Loaded,
    ) -> Result<Result<Answer, Again>, ApiError> {
        let mut seen = loaded.object.clone();
        let write = Admitted {
            operation: Operation::Delete,
            part: Part::Main,
            object: &mut seen,
            old: Some(&loaded.object),
            dry_run: options.dry_run,
        };
        let along = self.admit(target, write).await?;
        let now = jiff::Timestamp::now();
        let step = plan::plan(
            target.resource.as_ref(),
            options,
            &loaded.object,
            now,
            self.collects,
        );
        let own = |change| Op {
            key: target.key.clone(),
            guard: Guard::At(loaded.revision),
            change,
        };
        let ops = match &step {
            Step::Wait => {
                return Ok(Ok(Answer::of(StatusCode::OK, loaded.object)));
            }
            _ if options.dry_run => Vec::new(),
            Step::Mark(object) => {
                let put = Change::Put(target.encode(object), loaded.lease);
                let checks = along.into_iter().filter(|op| op.change == Change::Check);
                transaction(own(put), checks.collect())
            }
            Step::Remove(_) => transaction(own(Change::Delete), along),
        };
        let revision = match self.commit_unless_empty(ops, loaded.revision).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { .. }) => return Ok(Err(Again)),
            Err(err) => return Err(err.into()),
        };
        let (Step::Mark(object) | Step::Remove(object)) = &step else {
            return Ok(Err(Again));
        };
        let shown = target.show(&target.encode(object), revision)?;
        Ok(Ok(match step {
            Step::Remove(object) if !target.resource.returns_deleted() => {
                Answer::of(StatusCode::OK, deleted(target, &object))
            }
            _ => Answer::new(StatusCode::OK, shown),
        }))
    }

    async fn commit_unless_empty(
        &self,
        ops: Vec<Op>,
        revision: crate::store::Revision,
    ) -> Result<crate::store::Revision, StoreError> {
        if ops.is_empty() {
            return Ok(revision);
        }
        self.store.commit(ops).await.map(|done| done.revision)
    }

    /// What the end of an object takes along, when an update ends it: its addresses are free again.
    pub(super) async fn deletion_ops(
        &self,
        target: &Target<'_>,
        own: Op,
        mut object: Value,
    ) -> Result<Vec<Op>, ApiError> {
        let old = object.clone();
        let mut admission = Admission {
            operation: Operation::Delete,
            namespace: &target.call.namespace,
            name: &target.name,
            part: Part::Main,
            object: &mut object,
            old: Some(&old),
            store: &self.store,
            along: Vec::new(),
            dry_run: false,
        };
        target.resource.admit(&mut admission).await?;
        Ok(transaction(own, admission.along))
    }
}

/// What tells that an object is gone.
fn deleted(target: &Target<'_>, object: &Value) -> Value {
    let names = target.names();
    let mut details = json!({"name": target.name, "kind": names.plural, "uid": meta::uid(object)});
    if !names.group.is_empty() {
        details["group"] = names.group.into();
    }
    let mut status = success();
    status["details"] = details;
    status
}

/// A `Status` that says it went well.
pub(super) fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
}
