//! `pods/eviction`: a polite deletion, as `kubectl drain` asks for it (policy/v1 and v1beta1).
use super::super::cells::at;
use crate::error::ApiError;
use serde_json::{Value, json};

/// The `DeleteOptions` of an eviction of this pod.
///
/// # Errors
/// The body is no eviction, or of another pod.
pub fn options(eviction: &Value, namespace: &str, pod: &str) -> Result<Value, ApiError> {
    let version = at(eviction, "/apiVersion");
    let known = ["", "policy/v1", "policy/v1beta1"];
    if !known.contains(&version) || !matches!(at(eviction, "/kind"), "" | "Eviction") {
        return Err(ApiError::bad_request(format!(
            "{} in version {version:?} cannot be handled as an Eviction",
            at(eviction, "/kind")
        )));
    }
    let (name, home) = (
        crate::meta::name(eviction),
        crate::meta::namespace(eviction),
    );
    if !name.is_empty() && name != pod {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    if !home.is_empty() && home != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let options = eviction
        .get("deleteOptions")
        .filter(|options| options.is_object());
    Ok(options.cloned().unwrap_or_else(|| json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_both_versions() {
        for version in ["policy/v1", "policy/v1beta1"] {
            let eviction = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p", "namespace": "d"},
                "deleteOptions": {"gracePeriodSeconds": 3}});
            let options = options(&eviction, "d", "p").unwrap();
            assert_eq!(options, json!({"gracePeriodSeconds": 3}));
        }
        assert_eq!(options(&json!({}), "d", "p").unwrap(), json!({}));
    }

    #[test]
    fn of_another() {
        for wrong in [
            json!({"apiVersion": "v1", "kind": "Pod"}),
            json!({"metadata": {"name": "q"}}),
            json!({"metadata": {"namespace": "q"}}),
        ] {
            let err = options(&wrong, "d", "p").unwrap_err();
            assert_eq!(err.code.as_u16(), 400, "{wrong}");
        }
    }
}
