//! `serviceaccounts/token`: a token that proves to be a service account, for a while and perhaps for one pod only
//! (authentication.k8s.io/v1 `TokenRequest`).
use crate::auth::tokens::Signer;
use crate::call::{Call, User, Verb};
use crate::error::ApiError;
use crate::meta;
use crate::registry::Registry;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

const USUAL: i64 = 3600;
const LEAST: i64 = 600;
const MOST: i64 = 1 << 32;

/// Answers a `TokenRequest`.
///
/// # Errors
/// The account or what the token is bound to is not there, or the request makes no sense.
pub async fn issue(
    registry: &Registry,
    signer: &dyn Signer,
    call: &Call,
    request: &Value,
) -> Result<Value, ApiError> {
    let find = |plural: &str, name: &str| {
        Call::new(User::master(), Verb::Get, "", "v1", plural)
            .within(&call.namespace)
            .named(name)
    };
    let account = registry.find(&find("serviceaccounts", &call.name)).await?;
    let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", &call.name))?;
    let asked = Asked::of(request, signer.issuer(), &call.name)?;
    let mut private = json!({
        "namespace": call.namespace,
        "serviceaccount": {"name": call.name, "uid": meta::uid(&account)},
    });
    if let Some((kind, name, uid)) = &asked.bound {
        let plural = if kind == "Pod" { "pods" } else { "secrets" };
        let object = registry.find(&find(plural, name)).await?;
        let object = object.ok_or_else(|| ApiError::not_found("", plural, name))?;
        check_bound(&object, plural, call, uid)?;
        private[kind.to_lowercase()] = json!({"name": name, "uid": meta::uid(&object)});
        let node = object.pointer("/spec/nodeName").filter(|_| kind == "Pod");
        if let Some(node) = node.and_then(Value::as_str) {
            let found = registry.find(&find("nodes", node).within("")).await?;
            private["node"] = json!({"name": node});
            if let Some(found) = found {
                private["node"]["uid"] = json!(meta::uid(&found));
            }
        }
    }
    let now = jiff::Timestamp::now();
    let from = now.as_second();
    let until = from + asked.seconds;
    let claims = json!({
        "iss": signer.issuer(), "aud": asked.audiences, "iat": from, "nbf": from, "exp": until,
        "sub": format!("system:serviceaccount:{}:{}", call.namespace, call.name),
        "jti": uuid::Uuid::new_v4().to_string(), "kubernetes.io": private,
    });
    let end = jiff::Timestamp::from_second(until)
        .map_err(|_| ApiError::bad_request("expirationSeconds is out of all range"))?;
    let mut answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": call.name, "namespace": call.namespace, "creationTimestamp": crate::registry::now()},
        "spec": {"audiences": asked.audiences, "expirationSeconds": asked.seconds, "boundObjectRef": null},
        "status": {
            "token": signer.sign(&claims)?,
            "expirationTimestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
    });
    if let Some(bound) = request.pointer("/spec/boundObjectRef") {
        answer["spec"]["boundObjectRef"] = bound.clone();
    }
    Ok(answer)
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    audiences: Vec<String>,
    seconds: i64,
    /// Kind, name and uid of the object with which the token ends.
    bound: Option<(String, String, String)>,
}

impl Asked {
    fn of(request: &Value, issuer: &str, name: &str) -> Result<Asked, ApiError> {
        let spec = |pointer: &str| request.pointer(&format!("/spec{pointer}"));
        let audiences = spec("/audiences").and_then(Value::as_array);
        let audiences: Vec<String> = audiences
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let seconds = spec("/expirationSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(USUAL);
        let path = "spec.expirationSeconds";
        let mut wrong = Vec::new();
        if seconds < LEAST {
            let why = "may not specify a duration less than 10 minutes";
            wrong.push(FieldError::invalid(path, seconds, why));
        } else if seconds > MOST {
            let why = "may not specify a duration larger than 2^32 seconds";
            wrong.push(FieldError::invalid(path, seconds, why));
        }
        let bound = spec("/boundObjectRef")
            .filter(|bound| bound.is_object())
            .map(|bound| {
                let text = |field: &str| {
                    bound
                        .get(field)
                        .and_then(Value::as_str)
                        .unwrap_or("")
                        .to_owned()
                };
                (text("kind"), text("name"), text("uid"))
            });
        if let Some((kind, _, _)) = &bound
            && !matches!(kind.as_str(), "Pod" | "Secret")
        {
            let known = ["Pod", "Secret"];
            wrong.push(FieldError::unsupported(
                "spec.boundObjectRef.kind",
                kind,
                &known,
            ));
        }
        if !wrong.is_empty() {
            return Err(ApiError::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                name,
                &wrong,
            ));
        }
        Ok(Asked {
            audiences: if audiences.is_empty() {
                vec![issuer.to_owned()]
            } else {
                audiences
            },
            seconds,
            bound,
        })
    }
}

/// The object is the one that is meant, and the account's own.
fn check_bound(object: &Value, plural: &str, call: &Call, uid: &str) -> Result<(), ApiError> {
    let name = meta::name(object);
    if !uid.is_empty() && uid != meta::uid(object) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict("", plural, name, &why));
    }
    let of = object
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str);
    if plural == "pods" && of.unwrap_or("") != call.name {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let usual = Asked::of(&json!({}), "me", "a").unwrap();
        assert_eq!(
            (usual.audiences, usual.seconds, usual.bound),
            (vec!["me".to_owned()], 3600, None)
        );
        let request = json!({"spec": {"audiences": ["x"], "expirationSeconds": 600,
            "boundObjectRef": {"kind": "Pod", "name": "p", "uid": "u"}}});
        let asked = Asked::of(&request, "me", "a").unwrap();
        assert_eq!(asked.bound.unwrap(), ("Pod".into(), "p".into(), "u".into()));
        for (wrong, says) in [
            (
                json!({"spec": {"expirationSeconds": 599}}),
                "less than 10 minutes",
            ),
            (
                json!({"spec": {"expirationSeconds": 1_i64 << 33}}),
                "larger than 2^32",
            ),
            (
                json!({"spec": {"boundObjectRef": {"kind": "Service"}}}),
                "Unsupported value: \"Service\"",
            ),
        ] {
            let err = Asked::of(&wrong, "me", "a").unwrap_err();
            assert!(
                err.code.as_u16() == 422 && err.message.contains(says),
                "{err}"
            );
        }
    }
}
