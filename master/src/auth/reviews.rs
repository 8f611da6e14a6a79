//! Questions about who somebody is and what they may: `authentication.k8s.io/v1`, `authorization.k8s.io/v1`.
//! They are answered and not kept.
use super::{Authorizer, Decision, Identify, Wish};
use crate::call::{Call, User};
use crate::error::ApiError;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// The kind that a review is of; none where a call is no review.
#[must_use]
pub fn kind(call: &Call) -> Option<&'static str> {
    if call.version != "v1" || !call.subresource.is_empty() || !call.name.is_empty() {
        return None;
    }
    let local = call.resource == "localsubjectaccessreviews";
    if local == call.namespace.is_empty() {
        return None;
    }
    Some(match (call.group.as_str(), call.resource.as_str()) {
        ("authentication.k8s.io", "tokenreviews") => "TokenReview",
        ("authentication.k8s.io", "selfsubjectreviews") => "SelfSubjectReview",
        ("authorization.k8s.io", "selfsubjectaccessreviews") => "SelfSubjectAccessReview",
        ("authorization.k8s.io", "selfsubjectrulesreviews") => "SelfSubjectRulesReview",
        ("authorization.k8s.io", "subjectaccessreviews") => "SubjectAccessReview",
        ("authorization.k8s.io", "localsubjectaccessreviews") => "LocalSubjectAccessReview",
        _ => return None,
    })
}

/// Answers a review: itself, with its `status`.
///
/// # Errors
/// 422 for one that asks nothing.
pub async fn answer(
    identify: &Identify,
    authorizer: &Authorizer,
    call: &Call,
    kind: &str,
    mut review: Value,
) -> Result<Value, ApiError> {
    let spec = review.get("spec").cloned().unwrap_or_default();
    let status = match kind {
        "SelfSubjectReview" => json!({"userInfo": shown(&call.user)}),
        "TokenReview" => token(identify, &spec).await?,
        "SelfSubjectRulesReview" => rules(authorizer, &call.user, &spec).await?,
        "SelfSubjectAccessReview" => access(authorizer, &call.user, &spec, kind).await?,
        _ => {
            if kind == "LocalSubjectAccessReview" {
                let asked = spec.pointer("/resourceAttributes/namespace");
                if asked.and_then(Value::as_str) != Some(call.namespace.as_str()) {
                    let why = "must match the namespace of the request";
                    let wrong = FieldError::invalid("spec.resourceAttributes.namespace", "", why);
                    return Err(invalid(kind, &wrong));
                }
            }
            let user = user(&spec, kind)?;
            access(authorizer, &user, &spec, kind).await?
        }
    };
    if let Some(map) = review.as_object_mut() {
        let api_version = format!("{}/{}", call.group, call.version);
        map.insert("apiVersion".to_owned(), api_version.into());
        map.insert("kind".to_owned(), kind.into());
        map.entry("metadata").or_insert_with(|| json!({}));
        map.insert("status".to_owned(), status);
    }
    Ok(review)
}

fn invalid(kind: &str, wrong: &FieldError) -> ApiError {
    let group = match kind {
        "TokenReview" | "SelfSubjectReview" => "authentication.k8s.io",
        _ => "authorization.k8s.io",
    };
    ApiError::invalid(group, kind, "", std::slice::from_ref(wrong))
}

fn shown(user: &User) -> Value {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

async fn token(identify: &Identify, spec: &Value) -> Result<Value, ApiError> {
    let token = spec
        .get("token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if token.is_empty() {
        return Err(invalid(
            "TokenReview",
            &FieldError::required("spec.token", ""),
        ));
    }
    let audiences = strings(spec.get("audiences"));
    Ok(match identify.token(token, &audiences).await? {
        Some(owner) => {
            let mut status = json!({"authenticated": true, "user": shown(&owner.user)});
            let audiences = if owner.audiences.is_empty() {
                audiences
            } else {
                owner.audiences
            };
            if !audiences.is_empty() {
                status["audiences"] = json!(audiences);
            }
            status
        }
        None => json!({"authenticated": false, "user": {}, "error": "nobody has this token"}),
    })
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

/// Whom a question is about.
fn user(spec: &Value, kind: &str) -> Result<User, ApiError> {
    let text = |field: &str| {
        spec.get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let user = User {
        name: text("user"),
        uid: text("uid"),
        groups: strings(spec.get("groups")),
        ..User::default()
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(invalid(kind, &FieldError::invalid("spec.user", "", why)));
    }
    Ok(user)
}

async fn access(
    authorizer: &Authorizer,
    user: &User,
    spec: &Value,
    kind: &str,
) -> Result<Value, ApiError> {
    let text = |of: &Value, field: &str| {
        of.get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let wish = match (
        spec.get("resourceAttributes"),
        spec.get("nonResourceAttributes"),
    ) {
        (Some(of), None) => Wish {
            verb: text(of, "verb"),
            group: text(of, "group"),
            version: text(of, "version"),
            resource: text(of, "resource"),
            subresource: text(of, "subresource"),
            namespace: text(of, "namespace"),
            name: text(of, "name"),
            ..Wish::default()
        },
        (None, Some(of)) => Wish {
            verb: text(of, "verb"),
            path: text(of, "path"),
            ..Wish::default()
        },
        _ => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(
                kind,
                &FieldError::invalid("spec.resourceAttributes", "", why),
            ));
        }
    };
    let (allowed, reason) = match authorizer.decide(user, &wish).await? {
        Decision::Allow(by) => (true, by),
        Decision::Deny(why) => (false, why),
    };
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

/// What is known to be allowed; the rules of a file are not told apart.
async fn rules(authorizer: &Authorizer, user: &User, spec: &Value) -> Result<Value, ApiError> {
    let namespace = spec
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if namespace.is_empty() {
        let wrong = FieldError::required("spec.namespace", "");
        return Err(invalid("SelfSubjectRulesReview", &wrong));
    }
    let everything = Wish {
        verb: "*".to_owned(),
        group: "*".to_owned(),
        resource: "*".to_owned(),
        namespace: namespace.to_owned(),
        ..Wish::default()
    };
    let all = matches!(
        authorizer.decide(user, &everything).await?,
        Decision::Allow(_)
    );
    let mut resources = vec![
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
        json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}),
    ];
    let mut pages = vec![json!({"verbs": ["get"], "nonResourceURLs":
        ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version"]})];
    if all {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        pages.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": pages, "incomplete": !all}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::authorize::Mode;
    use crate::auth::bootstrap::Bootstrap;
    use crate::auth::service::ServiceAccounts;
    use crate::auth::tokens::Key;
    use crate::auth::{AUTHENTICATED, MASTERS};
    use crate::call::Verb;
    use crate::store::{Store, embedded};
    use rkube_http::tokens::TokenFile;
    use std::sync::Arc;

    const AUTHENTICATION: &str = "authentication.k8s.io";
    const AUTHORIZATION: &str = "authorization.k8s.io";

    fn jane() -> User {
        User {
            name: "jane".to_owned(),
            groups: vec![AUTHENTICATED.to_owned()],
            ..User::default()
        }
    }

    /// A review by Jane, where a file knows Jane's token and only masters may do anything.
    async fn review(
        group: &str,
        resource: &str,
        namespace: &str,
        spec: Value,
    ) -> Result<Value, ApiError> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("tokens");
        std::fs::write(&file, "secret,jane,7,\"devs\"\n").unwrap();
        let store: Arc<dyn Store> = Arc::new(embedded::open(home.path()).unwrap());
        let key = Key::open(&home.path().join("sa.key"), "https://us").unwrap();
        let identify = Identify {
            file: Some(TokenFile::new(&file)),
            accounts: ServiceAccounts::new(
                Arc::new(key),
                store.clone(),
                vec!["https://us".to_owned()],
            ),
            bootstrap: Bootstrap::new(store),
        };
        let authorizer = Authorizer {
            mode: Mode::Rules,
            policy: None,
            nodes: None,
        };
        let call = Call::new(jane(), Verb::Create, group, "v1", resource).within(namespace);
        let kind = kind(&call).unwrap();
        answer(&identify, &authorizer, &call, kind, json!({ "spec": spec })).await
    }

    #[tokio::test]
    async fn who_i_am() {
        let review = review(AUTHENTICATION, "selfsubjectreviews", "", json!({}))
            .await
            .unwrap();
        assert_eq!(review["kind"], "SelfSubjectReview");
        assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
        let info = json!({"username": "jane", "groups": [AUTHENTICATED]});
        assert_eq!(review["status"]["userInfo"], info);
    }

    #[tokio::test]
    async fn whose_a_token_is() {
        let of = |token: &str| {
            review(
                AUTHENTICATION,
                "tokenreviews",
                "",
                json!({ "token": token }),
            )
        };
        let known = of("secret").await.unwrap();
        assert_eq!(known["status"]["authenticated"], true);
        assert_eq!(known["status"]["user"]["username"], "jane");
        assert_eq!(known["status"]["user"]["uid"], "7");
        let unknown = of("guess").await.unwrap();
        assert_eq!(unknown["status"]["authenticated"], false);
        assert_eq!(unknown["status"]["user"], json!({}));
        assert_eq!(of("").await.unwrap_err().code, 422);
    }

    #[tokio::test]
    async fn what_somebody_may() {
        let pods = json!({"verb": "get", "resource": "pods", "namespace": "a"});
        let of = |who: Value| {
            let mut spec = json!({"resourceAttributes": pods});
            who.as_object()
                .unwrap()
                .iter()
                .for_each(|(field, value)| spec[field] = value.clone());
            review(AUTHORIZATION, "subjectaccessreviews", "", spec)
        };
        let allowed =
            |review: Result<Value, ApiError>| review.unwrap()["status"]["allowed"].clone();
        assert_eq!(allowed(of(json!({"user": "bob"})).await), false);
        assert_eq!(
            allowed(of(json!({"user": "bob", "groups": [MASTERS]})).await),
            true
        );
        assert_eq!(of(json!({})).await.unwrap_err().code, 422);
        let mine = |spec| review(AUTHORIZATION, "selfsubjectaccessreviews", "", spec);
        assert_eq!(
            allowed(mine(json!({"resourceAttributes": pods})).await),
            false
        );
        let page = json!({"nonResourceAttributes": {"verb": "get", "path": "/version"}});
        assert_eq!(allowed(mine(page.clone()).await), true);
        let mut both = page;
        both["resourceAttributes"] = pods.clone();
        assert_eq!(mine(both).await.unwrap_err().code, 422);
        assert_eq!(mine(json!({})).await.unwrap_err().code, 422);
    }

    #[tokio::test]
    async fn a_local_review_keeps_to_its_namespace() {
        let of = |namespace: &str| {
            let spec = json!({"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": namespace}});
            review(AUTHORIZATION, "localsubjectaccessreviews", "a", spec)
        };
        assert_eq!(of("a").await.unwrap()["status"]["allowed"], false);
        assert_eq!(of("b").await.unwrap_err().code, 422);
    }

    #[tokio::test]
    async fn rules_say_when_they_are_not_all() {
        let of = |namespace: &str| {
            review(
                AUTHORIZATION,
                "selfsubjectrulesreviews",
                "",
                json!({ "namespace": namespace }),
            )
        };
        let review = of("a").await.unwrap();
        assert_eq!(review["status"]["incomplete"], true);
        let rules = review["status"]["resourceRules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["verbs"] != json!(["*"])));
        assert_eq!(of("").await.unwrap_err().code, 422);
    }

    #[test]
    fn only_reviews_are_reviews() {
        let of = |group, version, resource, namespace: &str| {
            kind(&Call::new(jane(), Verb::Create, group, version, resource).within(namespace))
        };
        assert_eq!(
            of(AUTHORIZATION, "v1", "subjectaccessreviews", ""),
            Some("SubjectAccessReview")
        );
        assert_eq!(of(AUTHORIZATION, "v1", "subjectaccessreviews", "a"), None);
        assert_eq!(
            of(AUTHORIZATION, "v1", "localsubjectaccessreviews", ""),
            None
        );
        assert_eq!(of(AUTHORIZATION, "v2", "subjectaccessreviews", ""), None);
        assert_eq!(of("", "v1", "subjectaccessreviews", ""), None);
        assert_eq!(of(AUTHORIZATION, "v1", "pods", ""), None);
    }
}
