//! Subresources whose body is of another kind than the object: a pod's binding, a controller's scale.
use super::Registry;
use super::answer::Answer;
use super::change::MODIFIED;
use super::delete::success;
use super::options::WriteOptions;
use super::target::Target;
use crate::error::ApiError;
use crate::meta;
use crate::resource::Answered;
use http::StatusCode;
use serde_json::Value;

/// What makes the body of the object as it is.
pub(super) type MakeBody<'m> = dyn FnMut(&Value) -> Result<Value, ApiError> + Send + 'm;

impl Registry {
    /// Does to the object what a body for its subresource says.
    pub(super) async fn write_projected(
        &self,
        target: &Target<'_>,
        options: &WriteOptions,
        make: &mut MakeBody<'_>,
    ) -> Result<Answer, ApiError> {
        let sub = target.call.subresource.as_str();
        let mut answered = Answered::Shown;
        let mut change = |old: &Value| {
            let body = make(old)?;
            expect_same(target, &body, old)?;
            let mut new = old.clone();
            answered = target.resource.write_sub(sub, &mut new, &body)?;
            Ok(new)
        };
        let changed = self.change(target, target.part()?, options, &mut change);
        let changed = changed.await?.ok_or_else(|| target.not_found())?;
        let mut answer = match answered {
            Answered::Shown => {
                let shown = target.resource.show_sub(sub, &changed.object)?;
                Answer::of(StatusCode::OK, shown)
            }
            Answered::Success(code) => {
                let code = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
                let mut status = success();
                status["code"] = code.as_u16().into();
                Answer::of(code, status)
            }
        };
        answer.warnings = changed.warnings;
        Ok(answer)
    }
}

/// A body may say which object, in which state, it is meant for.
fn expect_same(target: &Target<'_>, body: &Value, object: &Value) -> Result<(), ApiError> {
    for field in ["uid", "resourceVersion"] {
        let expected = meta::text(body, field);
        if !matches!(expected, "" | "0") && expected != meta::text(object, field) {
            return Err(target.conflict(MODIFIED));
        }
    }
    Ok(())
}
