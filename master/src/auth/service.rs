//! Whose tokens of service accounts are, and whether they are still good: the account, and what a token is bound to, must
//! be there.
use super::tokens::{Key, Signer};
use crate::call::User;
use crate::error::ApiError;
use crate::store::Store;
use serde_json::Value;
use std::sync::Arc;

/// How far clocks may be apart, in seconds.
const SKEW: i64 = 10;

/// Knows service accounts by their tokens.
#[derive(Debug)]
pub struct ServiceAccounts {
    key: Arc<Key>,
    store: Arc<dyn Store>,
    /// Whom tokens for this server are for.
    audiences: Vec<String>,
}

impl ServiceAccounts {
    /// With the key that signs them.
    #[must_use]
    pub fn new(key: Arc<Key>, store: Arc<dyn Store>, audiences: Vec<String>) -> Self {
        ServiceAccounts {
            key,
            store,
            audiences,
        }
    }

    /// Whose token it is, and for which of the audiences that are asked for (the server's own, where none are).
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn owner(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, ApiError> {
        let Some(claims) = self.key.claims(token) else {
            return Ok(None);
        };
        let wanted = if audiences.is_empty() {
            &self.audiences
        } else {
            audiences
        };
        let now = jiff::Timestamp::now().as_second();
        let Some(claims) = Claims::of(&claims, self.key.issuer(), wanted, now) else {
            return Ok(None);
        };
        for (key, uid) in claims.needed() {
            if !self.is_there(&key, uid).await? {
                return Ok(None);
            }
        }
        Ok(Some((claims.user(), claims.audiences)))
    }

    /// Whether the object is there, and still the same.
    async fn is_there(&self, key: &str, uid: &str) -> Result<bool, ApiError> {
        let Some(entry) = self.store.get(key).await? else {
            return Ok(false);
        };
        let object = serde_json::from_slice::<Value>(&entry.value).unwrap_or_default();
        Ok(crate::meta::uid(&object) == uid)
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claims {
    namespace: String,
    account: (String, String),
    /// Prefix, name and uid of what it is bound to.
    bound: Vec<(&'static str, &'static str, String, String)>,
    audiences: Vec<String>,
    /// Name and uid of the node of the pod that it is bound to.
    node: Option<(String, String)>,
    id: Option<String>,
}

impl Claims {
    /// None if they are not for us, or not for now.
    fn of(claims: &Value, issuer: &str, audiences: &[String], now: i64) -> Option<Self> {
        let seconds = |name: &str| claims.get(name).and_then(Value::as_i64);
        let in_time = now < seconds("exp")?.saturating_add(SKEW)
            && seconds("nbf").is_none_or(|from| from <= now.saturating_add(SKEW));
        let for_whom: Vec<&str> = match claims.get("aud")? {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let common = audiences
            .iter()
            .filter(|one| for_whom.contains(&one.as_str()));
        let common: Vec<String> = common.cloned().collect();
        if !in_time || common.is_empty() || claims.get("iss")?.as_str()? != issuer {
            return None;
        }
        let own = claims.get("kubernetes.io")?;
        let namespace = own.get("namespace")?.as_str()?.to_owned();
        let named = |of: &Value| {
            let text = |field: &str| Some(of.get(field)?.as_str()?.to_owned());
            Some((text("name")?, text("uid")?))
        };
        let mut bound = Vec::new();
        for (what, prefix) in BOUND {
            if let Some(of) = own.get(what) {
                if what == "node" && own.get("pod").is_some() {
                    continue;
                }
                let (name, uid) = named(of)?;
                bound.push((what, prefix, name, uid));
            }
        }
        // A node in a token of a pod is told, and not bound to: the pod's end is what counts.
        let node = own.get("node").filter(|_| own.get("pod").is_some());
        Some(Claims {
            node: node.and_then(named),
            account: named(own.get("serviceaccount")?)?,
            namespace,
            bound,
            audiences: common,
            id: claims.get("jti").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// Keys and uids of all that must be there.
    fn needed(&self) -> Vec<(String, &str)> {
        let namespace = &self.namespace;
        let (account, uid) = &self.account;
        let mut all = vec![(
            format!("/registry/serviceaccounts/{namespace}/{account}"),
            uid.as_str(),
        )];
        for (what, prefix, name, uid) in &self.bound {
            let key = match *what {
                "node" => format!("{prefix}/{name}"),
                _ => format!("{prefix}/{namespace}/{name}"),
            };
            all.push((key, uid.as_str()));
        }
        all
    }

    fn user(&self) -> User {
        let (account, uid) = &self.account;
        let mut user = User {
            name: format!("system:serviceaccount:{}:{account}", self.namespace),
            uid: uid.clone(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{}", self.namespace),
            ],
            ..User::default()
        };
        let mut extra = |name: &str, value: String| {
            let name = format!("authentication.kubernetes.io/{name}");
            user.extra.insert(name, vec![value]);
        };
        if let Some(id) = &self.id {
            extra("credential-id", format!("JTI={id}"));
        }
        let bound = self.bound.iter().filter(|(what, ..)| *what != "secret");
        let bound = bound.map(|(what, _, name, uid)| (*what, name, uid));
        let node = self.node.iter().map(|(name, uid)| ("node", name, uid));
        for (what, name, uid) in bound.chain(node) {
            extra(&format!("{what}-name"), name.clone());
            extra(&format!("{what}-uid"), uid.clone());
        }
        user
    }
}

/// What a token may be bound to, and where that is kept.
const BOUND: [(&str, &str); 3] = [
    ("pod", "/registry/pods"),
    ("secret", "/registry/secrets"),
    ("node", "/registry/minions"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims() -> Value {
        json!({"iss": "https://us", "aud": ["https://us", "x"], "exp": 1000, "nbf": 500, "jti": "7",
            "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "b", "uid": "1"},
                "pod": {"name": "p", "uid": "2"}, "node": {"name": "n", "uid": "3"}}})
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Value), now: i64, audiences: &[&str], good: bool) {
        let mut claims = claims();
        change(&mut claims);
        let audiences: Vec<String> = audiences.iter().map(|&one| one.to_owned()).collect();
        let found = Claims::of(&claims, "https://us", &audiences, now);
        assert_eq!(found.is_some(), good, "{claims} at {now}");
    }

    #[test]
    fn claims_must_hold() {
        let us = &["https://us"][..];
        check(|_| {}, 600, us, true);
        check(|_| {}, 600, &["x"], true);
        check(|_| {}, 600, &["y"], false);
        check(|_| {}, 2000, us, false);
        check(|_| {}, 100, us, false);
        check(
            |claims| claims["iss"] = "https://them".into(),
            600,
            us,
            false,
        );
        check(|claims| claims["aud"] = "https://us".into(), 600, us, true);
        check(|claims| claims["exp"] = Value::Null, 600, us, false);
        check(|claims| claims["exp"] = i64::MAX.into(), 600, us, true);
        check(
            |claims| claims["kubernetes.io"] = Value::Null,
            600,
            us,
            false,
        );
        check(
            |claims| claims["kubernetes.io"]["pod"]["uid"] = Value::Null,
            600,
            us,
            false,
        );
    }

    #[test]
    fn what_must_be_there() {
        let claims = Claims::of(&claims(), "https://us", &["x".to_owned()], 600).unwrap();
        let needed = claims.needed();
        assert_eq!(needed[0].0, "/registry/serviceaccounts/a/b");
        assert_eq!(needed[1], ("/registry/pods/a/p".to_owned(), "2"));
        assert_eq!(needed.len(), 2);
        let user = claims.user();
        assert_eq!(user.name, "system:serviceaccount:a:b");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    }
}
