//! PUT: another state of an object, or of a part of it.
use super::Registry;
use super::answer::{Answer, Body};
use super::change::MODIFIED;
use super::meta_rules;
use super::options::WriteOptions;
use super::target::Target;
use crate::call::Call;
use crate::error::ApiError;
use crate::meta;
use crate::resource::Part;
use serde_json::Value;

impl Registry {
    /// Makes the object what the body says.
    ///
    /// # Errors
    /// 400, 404, 409 if it is not the object the client knows, 422 for what makes no sense.
    pub async fn update(&self, call: &Call, body: Body) -> Result<Answer, ApiError> {
        let target = Target::named(self, call)?;
        let options = WriteOptions::of(call, "UpdateOptions")?;
        let part = target.part()?;
        if target.projected() {
            return self
                .write_projected(&target, &options, &mut |_| Ok(body.value.clone()))
                .await;
        }
        let mut new = body.value;
        meta_rules::identify(target.names(), &mut new)?;
        meta_rules::name_of_path(&target, &mut new)?;
        let mut make = |_: &Value| Ok(new.clone());
        let changed = self.change(&target, part, &options, &mut make).await?;
        let mut answer = match changed {
            Some(changed) => changed.into(),
            None if part == Part::Main && target.resource.create_on_update() => {
                self.create_absent(&target, &options, new).await?
            }
            None => return Err(target.not_found()),
        };
        answer.warnings.splice(..0, body.warnings);
        Ok(answer)
    }

    /// Makes an object that a PUT or an apply did not find.
    pub(super) async fn create_absent(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        object: Value,
    ) -> Result<Answer, ApiError> {
        let known = |name: &str| !matches!(meta::text(&object, name), "" | "0");
        if known("resourceVersion") || known("uid") {
            return Err(target.conflict(MODIFIED));
        }
        self.create_named(target, options, &object).await
    }
}
