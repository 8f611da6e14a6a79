//! Whether somebody may: the first of several who has an opinion decides, and silence is no.
use super::abac::Policy;
use super::node::{self, NodePods};
use super::{AUTHENTICATED, MASTERS};
use crate::call::{Call, User};
use crate::error::ApiError;
use http::StatusCode;
use serde_json::json;

/// What somebody wants, in the words of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `get`, `list`, `create` ..; for pages the method in small letters.
    pub verb: String,
    /// Empty for pages.
    pub resource: String,
    /// The API group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// `status`, or nothing.
    pub subresource: String,
    /// The namespace, or nothing.
    pub namespace: String,
    /// The name, or nothing.
    pub name: String,
    /// The path, where it is of no resource.
    pub path: String,
    /// The field selector, for those who may see their own only.
    pub fields: String,
}

impl Wish {
    /// Of a call.
    #[must_use]
    pub fn of(call: &Call, verb: &str) -> Self {
        Wish {
            verb: verb.to_owned(),
            resource: call.resource.clone(),
            group: call.group.clone(),
            version: call.version.clone(),
            subresource: call.subresource.clone(),
            namespace: call.namespace.clone(),
            name: call.name.clone(),
            path: String::new(),
            fields: call
                .parameter("fieldSelector")
                .unwrap_or_default()
                .to_owned(),
        }
    }
    /// Of a page that is no resource.
    #[must_use]
    pub fn page(method: &http::Method, path: &str) -> Self {
        Wish {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..Wish::default()
        }
    }
    /// Whether it only looks.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }
    /// Whether it is about this resource, without a subresource.
    #[must_use]
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource && self.subresource.is_empty()
    }
}

/// Yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and by what.
    Allow(String),
    /// No, and what is said.
    Deny(String),
}

/// How it is decided where nobody else has an opinion (2014's `--authorization_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No.
    #[default]
    Rules,
    /// Yes, to all who have a name.
    AlwaysAllow,
    /// No, to all but masters.
    AlwaysDeny,
}

/// Decides.
#[derive(Debug)]
pub struct Authorizer {
    /// What is said in the end.
    pub mode: Mode,
    /// 2014's file of rules, if there is one.
    pub policy: Option<Policy>,
    /// Whether kubelets get what theirs is.
    pub nodes: Option<NodePods>,
}

impl Authorizer {
    /// Whether this user may do that.
    ///
    /// # Errors
    /// What has to be looked up cannot be.
    pub async fn decide(&self, user: &User, wish: &Wish) -> Result<Decision, ApiError> {
        let allow = |by: &str| Ok(Decision::Allow(by.to_owned()));
        let is_in = |group: &str| user.groups.iter().any(|own| own == group);
        if is_in(MASTERS) {
            return allow("system:masters may do everything");
        }
        if self.mode == Mode::AlwaysDeny {
            return Ok(Decision::Deny("everything is forbidden".to_owned()));
        }
        if is_in(AUTHENTICATED) && everybodys(wish) {
            return allow("everybody with a name may");
        }
        let mut why = Vec::new();
        if let (Some(pods), Some(node)) = (&self.nodes, super::node_of(user)) {
            match node::decide(pods, node, wish).await? {
                Ok(()) => return allow("a node may do what is its own"),
                Err(reason) => why.push(reason),
            }
        }
        if self
            .policy
            .as_ref()
            .is_some_and(|policy| policy.allows(user, wish))
        {
            return allow("a line of the policy file");
        }
        match self.mode {
            Mode::AlwaysAllow => allow("everything is allowed"),
            Mode::Rules | Mode::AlwaysDeny => Ok(Decision::Deny(why.join("; "))),
        }
    }
}

/// What everybody with a name may: learn what the API is, and about themselves.
fn everybodys(wish: &Wish) -> bool {
    if wish.resource.is_empty() {
        let path = wish.path.as_str();
        let below = |of: &str| {
            path == of
                || path
                    .strip_prefix(of)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let known = [
            "/api",
            "/apis",
            "/openapi",
            "/version",
            "/healthz",
            "/livez",
            "/readyz",
            "/.well-known",
            "/openid",
        ];
        return matches!(wish.verb.as_str(), "get" | "head")
            && (path == "/" || known.into_iter().any(below));
    }
    wish.verb == "create"
        && matches!(
            (wish.group.as_str(), wish.resource.as_str()),
            (
                "authorization.k8s.io",
                "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
            ) | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

/// 403, in Kubernetes' words.
#[must_use]
pub fn forbidden(user: &User, wish: &Wish, why: &str) -> ApiError {
    let tail = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };
    if wish.resource.is_empty() {
        let message = format!(
            "forbidden: User {:?} cannot {} path {:?}{tail}",
            user.name, wish.verb, wish.path
        );
        return ApiError::new(StatusCode::FORBIDDEN, "Forbidden", message);
    }
    let resource = match wish.subresource.as_str() {
        "" => wish.resource.clone(),
        sub => format!("{}/{sub}", wish.resource),
    };
    let scope = match wish.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let of = match wish.group.as_str() {
        "" => wish.resource.clone(),
        group => format!("{}.{group}", wish.resource),
    };
    let name = match wish.name.as_str() {
        "" => String::new(),
        name => format!(" {name:?}"),
    };
    let message = format!(
        "{of}{name} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {scope}{tail}",
        user.name, wish.verb, wish.group
    );
    let mut error = ApiError::new(StatusCode::FORBIDDEN, "Forbidden", message);
    let mut details = json!({"kind": wish.resource});
    for (field, text) in [("name", &wish.name), ("group", &wish.group)] {
        if !text.is_empty() {
            details[field] = text.as_str().into();
        }
    }
    error.details = Some(details);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(groups: &[&str]) -> User {
        User {
            name: "jane".to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..User::default()
        }
    }

    fn pods(verb: &str) -> Wish {
        Wish {
            verb: verb.to_owned(),
            resource: "pods".to_owned(),
            version: "v1".to_owned(),
            namespace: "a".to_owned(),
            ..Wish::default()
        }
    }

    async fn check(mode: Mode, groups: &[&str], wish: &Wish, expected: bool) {
        let authorizer = Authorizer {
            mode,
            policy: None,
            nodes: None,
        };
        let decided = authorizer.decide(&user(groups), wish).await.unwrap();
        assert_eq!(
            matches!(decided, Decision::Allow(_)),
            expected,
            "{groups:?} {wish:?}"
        );
    }

    #[tokio::test]
    async fn modes() {
        check(Mode::Rules, &["system:masters"], &pods("delete"), true).await;
        check(Mode::AlwaysDeny, &["system:masters"], &pods("delete"), true).await;
        check(Mode::Rules, &[AUTHENTICATED], &pods("get"), false).await;
        check(Mode::AlwaysAllow, &[AUTHENTICATED], &pods("get"), true).await;
        check(Mode::AlwaysDeny, &[AUTHENTICATED], &pods("get"), false).await;
        for (path, expected) in [
            ("/", true),
            ("/api", true),
            ("/apis/apps/v1", true),
            ("/openapi/v3/api/v1", true),
            ("/apix", false),
            ("/metrics", false),
        ] {
            let wish = Wish::page(&http::Method::GET, path);
            check(Mode::Rules, &[AUTHENTICATED], &wish, expected).await;
            check(Mode::Rules, &[], &wish, false).await;
        }
    }

    #[test]
    fn refusals_are_kubernetes_own() {
        let mut wish = pods("get");
        wish.name = "x".to_owned();
        wish.subresource = "log".to_owned();
        assert_eq!(
            forbidden(&user(&[]), &wish, "").message,
            r#"pods "x" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "a""#
        );
        let page = Wish::page(&http::Method::GET, "/metrics");
        assert_eq!(
            forbidden(&user(&[]), &page, "").message,
            r#"forbidden: User "jane" cannot get path "/metrics""#
        );
    }
}
