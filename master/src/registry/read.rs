//! One object, as the store has it now.
use super::Registry;
use super::answer::Answer;
use super::target::{Loaded, Target};
use crate::call::Call;
use crate::error::ApiError;
use http::StatusCode;
use serde_json::Value;

impl Registry {
    /// The object, or the part of it that the call's subresource shows.
    ///
    /// # Errors
    /// 404 if it is not there.
    pub async fn get(&self, call: &Call) -> Result<Answer, ApiError> {
        let target = Target::named(self, call)?;
        target.part()?;
        let entry = self.store.get(&target.key).await?;
        let entry = entry.ok_or_else(|| target.not_found())?;
        if target.projected() {
            let loaded = target.load(&entry)?;
            let shown = { target.resource }.show_sub(&call.subresource, &loaded.object)?;
            return Ok(Answer::of(StatusCode::OK, shown));
        }
        let content = target.show(&entry.value, entry.modified)?;
        Ok(Answer::new(StatusCode::OK, content))
    }
    /// The object as a value; none if it is not there. For programs inside the master.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn find(&self, call: &Call) -> Result<Option<Value>, ApiError> {
        let target = Target::named(self, call)?;
        let loaded = self.load(&target).await?;
        Ok(loaded.map(|loaded| loaded.object))
    }
    pub(super) async fn load(&self, target: &Target<'_>) -> Result<Option<Loaded>, ApiError> {
        let entry = self.store.get(&target.key).await?;
        entry.map(|entry| target.load(&entry)).transpose()
    }
}
