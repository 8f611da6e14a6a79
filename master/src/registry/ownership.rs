//! Server-side apply, and the record of who wrote which field (`metadata.managedFields`).
//!
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>
use super::Registry;
use super::answer::Answer;
use super::meta_rules::{name_of_path, time};
use super::options::WriteOptions;
use super::patch::field_validation;
use super::target::Target;
use crate::call::Call;
use crate::error::ApiError;
use crate::resource::Part;
use http::StatusCode;
use rkube_api::patch::apply::{self, ApplyError, Conflict, Request};
use rkube_api::schema::{Schemas, Type};
use rkube_api::strict;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// Notes in the new object who made the difference to the old one.
pub(super) fn record(
    target: &Target<'_>,
    part: Part,
    options: &WriteOptions,
    new: &mut Value,
    old: Option<&Value>,
) {
    let Some(of) = Schemas::builtin().get(target.names().schema) else {
        return;
    };
    if !options.applied {
        let writer = Writer::new(target, part, options);
        apply::track(old, new, of, Schemas::builtin(), &writer.request());
    }
}

/// What a [`Request`] borrows.
struct Writer<'w> {
    manager: &'w str,
    subresource: &'w str,
    api_version: String,
    time: String,
    force: bool,
    reset: &'static [&'static str],
}

impl<'w> Writer<'w> {
    fn new(target: &Target<'w>, part: Part, options: &'w WriteOptions) -> Self {
        Writer {
            manager: options.manager(target.call),
            subresource: &target.call.subresource,
            api_version: target.api_version(),
            time: time(jiff::Timestamp::now()),
            force: options.force == Some(true),
            reset: match part {
                Part::Main if target.resource.has_status() => &["status"],
                Part::Status => &["spec"],
                Part::Main | Part::Other(_) => &[],
            },
        }
    }
    fn request(&self) -> Request<'_> {
        Request {
            manager: self.manager,
            subresource: self.subresource,
            api_version: &self.api_version,
            time: &self.time,
            force: self.force,
            reset: self.reset,
        }
    }
}

impl Registry {
    /// Makes the object have what the configuration says, and not what it said before; makes it if it is not there.
    ///
    /// # Errors
    /// 400 and 422 for a configuration that makes no sense, 409 for fields that others own.
    pub(super) async fn apply(&self, call: &Call, config: &Value) -> Result<Answer, ApiError> {
        let target = Target::named(self, call)?;
        let mut options = WriteOptions::of(call, "PatchOptions")?;
        if options.manager.is_none() {
            let mistake = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                &[mistake],
            ));
        }
        options.applied = true;
        let part = target.part()?;
        let names = target.names();
        let of = Schemas::builtin().get(names.schema);
        let of = of.filter(|_| !target.projected()).ok_or_else(|| {
            ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "this cannot be applied: send application/merge-patch+json",
            )
        })?;
        let (config, warnings) = read(&target, of, config)?;
        let writer = Writer::new(&target, part, &options);
        let applied = |old: Option<&Value>| {
            apply::apply(old, &config, of, Schemas::builtin(), &writer.request())
                .map_err(|err| refusal(&target, &err))
        };
        let mut make = |old: &Value| applied(Some(old));
        let changed = self.change(&target, part, &options, &mut make).await?;
        let mut answer = match changed {
            Some(changed) => changed.into(),
            None if part == Part::Main => {
                let object = applied(None)?;
                self.create_absent(&target, &options, object).await?
            }
            None => return Err(target.not_found()),
        };
        answer.warnings.splice(..0, warnings);
        Ok(answer)
    }
}

/// The configuration, which fits its type and is about the object of the path.
fn read(target: &Target<'_>, of: &Type, config: &Value) -> Result<(Value, Vec<String>), ApiError> {
    let (version, kind) = (target.api_version(), target.names().kind);
    for (field, expected) in [("apiVersion", version.as_str()), ("kind", kind)] {
        let given = config.get(field).and_then(Value::as_str).unwrap_or("");
        if given != expected {
            return Err(ApiError::bad_request(format!(
                "what is applied must say what it is: {field} is {given:?}, and not {expected:?}"
            )));
        }
    }
    let mode = field_validation(target.call)?;
    let decoded = strict::check(config.clone(), of, Schemas::builtin(), mode)
        .map_err(|err| ApiError::bad_request(err.refusal(&version, kind)))?;
    let mut config = decoded.value;
    name_of_path(target, &mut config)?;
    Ok((config, decoded.warnings))
}

fn refusal(target: &Target<'_>, err: &ApplyError) -> ApiError {
    let ApplyError::Conflicts(conflicts) = err else {
        return ApiError::bad_request(err.to_string());
    };
    let mut error = target.conflict("");
    error.message = err.to_string();
    let cause = |conflict: &Conflict| json!({"reason": "FieldManagerConflict", "message": conflict.message, "field": conflict.field});
    error.details = Some(json!({"causes": conflicts.iter().map(cause).collect::<Vec<_>>()}));
    error
}
