//! Which form a media range of `Accept` asks for.
use super::{Form, Include, Version};
use crate::call::Call;

impl Form {
    /// The form that one media range asks for by its parameters, such as `application/json;as=Table;v=v1;g=meta.k8s.io`.
    /// None if it asks for one there is not.
    #[must_use]
    pub fn of(range: &str, call: &Call) -> Option<Form> {
        let mut parameters = range.split(';').skip(1).filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim(), value.trim().trim_matches('"')))
        });
        let parameters: Vec<_> = parameters.by_ref().collect();
        let get = |name: &str| {
            let found = parameters
                .iter()
                .find(|(of, _)| of.eq_ignore_ascii_case(name));
            found.map(|(_, value)| *value)
        };
        let Some(shape) = get("as") else {
            return Some(Form::Plain);
        };
        if get("g").is_some_and(|group| group != "meta.k8s.io") {
            return None;
        }
        let version = match get("v") {
            None | Some("v1") => Version::V1,
            Some("v1beta1") => Version::V1beta1,
            Some(_) => return None,
        };
        match shape {
            "Table" => Some(Form::Table(version, include(call))),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Form::Metadata(version)),
            _ => None,
        }
    }
}

fn include(call: &Call) -> Include {
    match call.parameter("includeObject") {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    }
}
