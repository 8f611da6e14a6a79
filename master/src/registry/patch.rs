//! PATCH: a change to an object, applied to whatever it is by now.
use super::Registry;
use super::answer::Answer;
use super::options::WriteOptions;
use super::target::Target;
use crate::call::Call;
use crate::error::ApiError;
use crate::resource::Part;
use http::StatusCode;
use rkube_api::patch::{PatchError, json, merge, strategic};
use rkube_api::schema::{Schemas, Type};
use rkube_api::strict::{self, DecodeError, FieldValidation};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// How a change is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json` (RFC 6902).
    Json,
    /// `application/merge-patch+json` (RFC 7386).
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`: server-side apply.
    Apply,
}

impl PatchKind {
    /// What a `Content-Type` says; none for what is not understood.
    #[must_use]
    pub fn parse(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json-patch+json" => Some(PatchKind::Json),
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            "application/apply-patch+yaml" => Some(PatchKind::Apply),
            _ => None,
        }
    }
}

/// A change to an object.
#[derive(Clone, Debug)]
pub struct Patch {
    /// How it is written.
    pub kind: PatchKind,
    /// What it says.
    pub value: Value,
}

impl Registry {
    /// Applies the change to the object, again if somebody else changes it meanwhile.
    ///
    /// # Errors
    /// 400 and 422 for a patch that makes no sense, 404, 409 if it names a state that is not the object's.
    pub async fn patch(&self, call: &Call, patch: Patch) -> Result<Answer, ApiError> {
        if patch.kind == PatchKind::Apply {
            return self.apply(call, &patch.value).await;
        }
        let target = Target::named(self, call)?;
        let options = WriteOptions::of(call, "PatchOptions")?;
        if options.force.is_some() {
            let mistake =
                FieldError::forbidden("force", "may not be specified for non-apply patch");
            return Err(ApiError::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                &[mistake],
            ));
        }
        let part = target.part()?;
        let applier = Applier::new(&target, part, &patch)?;
        let mut warnings = Vec::new();
        let mut answer = if target.projected() {
            let sub = call.subresource.as_str();
            let mut make = |old: &Value| {
                let shown = target.resource.show_sub(sub, old)?;
                applier.apply(shown, &mut warnings)
            };
            self.write_projected(&target, &options, &mut make).await?
        } else {
            let mut make = |old: &Value| applier.apply(old.clone(), &mut warnings);
            let changed = self.change(&target, part, &options, &mut make).await?;
            changed.ok_or_else(|| target.not_found())?.into()
        };
        answer.warnings.splice(..0, warnings);
        Ok(answer)
    }
}

/// A patch and all that is needed to apply it.
struct Applier<'p> {
    patch: &'p Patch,
    of: Option<&'static Type>,
    api_version: String,
    kind: &'static str,
    mode: FieldValidation,
}

impl<'p> Applier<'p> {
    fn new(target: &Target<'_>, part: Part, patch: &'p Patch) -> Result<Self, ApiError> {
        let names = target.names();
        let schemas = Schemas::builtin();
        let mut applier = Applier {
            patch,
            of: schemas.get(names.schema),
            api_version: target.api_version(),
            kind: names.kind,
            mode: field_validation(target.call)?,
        };
        let mut subs = target.resource.subresources().iter();
        let sub = subs.find(|sub| part == Part::Other(sub.name) && sub.projected);
        if let Some(sub) = sub {
            let (group, version) = sub.group_version.unwrap_or((names.group, names.version));
            applier.of = schemas.of_kind(group, version, sub.kind);
            applier.kind = sub.kind;
            applier.api_version = super::target::joined(group, version);
        }
        Ok(applier)
    }

    /// The patched object, which fits its type.
    fn apply(&self, mut object: Value, warnings: &mut Vec<String>) -> Result<Value, ApiError> {
        let patch = &self.patch.value;
        match (self.patch.kind, self.of) {
            (PatchKind::Json, _) => json::apply(&mut object, patch),
            (PatchKind::Merge, _) => merge::apply(&mut object, patch),
            (PatchKind::Strategic, Some(of)) => {
                strategic::apply(&mut object, patch, of, Schemas::builtin())
            }
            (PatchKind::Strategic | PatchKind::Apply, _) => {
                return Err(ApiError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "UnsupportedMediaType",
                    "strategic merge patches need to know the type: send application/merge-patch+json",
                ));
            }
        }
        .map_err(|err| refusal(&err))?;
        fit(object, self, warnings)
    }
}

/// Makes the object fit its type.
fn fit(
    object: Value,
    applier: &Applier<'_>,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let Some(of) = applier.of else {
        return Ok(object);
    };
    let checked = strict::check(object, of, Schemas::builtin(), applier.mode);
    let decoded = checked.map_err(|err| match &err {
        DecodeError::Strict(_) => {
            let mistake = FieldError::invalid("patch", &applier.patch.value, &err);
            ApiError::invalid("", applier.kind, "", &[mistake])
        }
        _ => ApiError::bad_request(err.refusal(&applier.api_version, applier.kind)),
    })?;
    *warnings = decoded.warnings;
    Ok(decoded.value)
}

/// What is done about unknown fields.
pub(super) fn field_validation(call: &Call) -> Result<FieldValidation, ApiError> {
    let word = call.parameter("fieldValidation");
    FieldValidation::parse(word).ok_or_else(|| {
        let known = ["", "Ignore", "Strict", "Warn"];
        let mistake = FieldError::unsupported("fieldValidation", word, &known);
        ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[mistake])
    })
}

fn refusal(err: &PatchError) -> ApiError {
    let message = err.to_string();
    match err {
        PatchError::Rejected(_) => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
        }
        PatchError::TooLarge(_) => {
            let reason = "RequestEntityTooLarge";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, reason, message)
        }
        _ => ApiError::bad_request(message),
    }
}
