//! Tokens with which nodes join: `abcdef.0123456789abcdef`, kept as secrets of `kube-system`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>).
use crate::call::User;
use crate::error::ApiError;
use crate::store::Store;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use rkube_http::tokens::same;
use serde_json::{Value, json};
use std::sync::Arc;

/// The type of the secrets.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of all who come with such a token.
const GROUP: &str = "system:bootstrappers";
/// What ids and secrets are made of.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijkmnopqrstuvw";

/// Knows whose tokens these are.
#[derive(Debug)]
pub struct Bootstrap {
    store: Arc<dyn Store>,
}

impl Bootstrap {
    /// With the secrets of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Bootstrap { store }
    }

    /// Whose token it is, if it is one of these and still good.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn owner(&self, token: &str) -> Result<Option<User>, ApiError> {
        let Some((id, secret)) = parts(token) else {
            return Ok(None);
        };
        let key = format!("/registry/secrets/kube-system/{}", name(id));
        let Some(entry) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let Ok(object) = serde_json::from_slice::<Value>(&entry.value) else {
            return Ok(None);
        };
        Ok(owner(&object, id, secret, jiff::Timestamp::now()))
    }
}

/// The name of a token's secret.
#[must_use]
pub fn name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let sound = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (sound(id, 6) && sound(secret, 16)).then_some((id, secret))
}

fn owner(object: &Value, id: &str, secret: &str, now: jiff::Timestamp) -> Option<User> {
    let text = |field: &str| {
        let data = object.get("data")?.get(field)?.as_str()?;
        String::from_utf8(BASE64.decode(data).ok()?).ok()
    };
    let good = object.get("type").and_then(Value::as_str) == Some(TYPE)
        && object.pointer("/metadata/deletionTimestamp").is_none()
        && text("token-id").as_deref() == Some(id)
        && same(&text("token-secret")?, secret)
        && text("usage-bootstrap-authentication").as_deref() == Some("true");
    // One with an end that cannot be read has ended.
    let over = text("expiration").is_some_and(|until| {
        let until = until.parse::<jiff::Timestamp>();
        until.map_or(true, |until| until <= now)
    });
    if !good || over {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let more = text("auth-extra-groups").unwrap_or_default();
    let more = more.split(',').map(str::trim);
    groups.extend(
        more.filter(|group| group.starts_with("system:bootstrappers:"))
            .map(str::to_owned),
    );
    Some(User {
        name: format!("system:bootstrap:{id}"),
        groups,
        ..User::default()
    })
}

/// A new token, and the secret to keep of it.
///
/// # Errors
/// The system has no random numbers.
pub fn make(seconds: i64, groups: &[String]) -> Result<(String, Value), ApiError> {
    let mut bytes = [0; 22];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| ApiError::internal("the system gives no random numbers"))?;
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    let text: String = bytes.iter().map(letter).collect();
    let (id, secret) = text.split_at(6);
    let now = jiff::Timestamp::now();
    let until = now.checked_add(jiff::SignedDuration::from_secs(seconds));
    let until = until.unwrap_or(jiff::Timestamp::MAX);
    let mut data = json!({
        "token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
        "expiration": crate::registry::meta_rules::time(until),
    });
    if !groups.is_empty() {
        data["auth-extra-groups"] = groups.join(",").into();
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE, "stringData": data,
        "metadata": {"name": name(id), "namespace": "kube-system"},
    });
    Ok((format!("{id}.{secret}"), object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(more: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let known = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (field, text) in known.iter().chain(more) {
            data[*field] = BASE64.encode(text).into();
        }
        json!({"type": TYPE, "data": data})
    }

    #[track_caller]
    fn check(object: &Value, token: &str, groups: Option<&[&str]>) {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let found = parts(token).and_then(|(id, secret)| owner(object, id, secret, now));
        let found = found.map(|user| user.groups);
        let groups = groups.map(|all| all.iter().map(|&one| one.to_owned()).collect());
        assert_eq!(found, groups, "{token}");
    }

    #[test]
    fn whose_a_token_is() {
        let (good, plain): (_, &[&str]) = ("abcdef.0123456789abcdef", &[GROUP]);
        check(&secret(&[]), good, Some(plain));
        check(&secret(&[]), "abcdef.0123456789abcdee", None);
        check(&secret(&[]), "abcdeg.0123456789abcdef", None);
        check(&secret(&[]), "../../x.0123456789abcdef", None);
        check(
            &secret(&[("usage-bootstrap-authentication", "false")]),
            good,
            None,
        );
        check(
            &secret(&[("expiration", "2025-12-31T23:59:59Z")]),
            good,
            None,
        );
        check(
            &secret(&[("expiration", "2026-12-31T23:59:59Z")]),
            good,
            Some(plain),
        );
        check(&secret(&[("expiration", "some day")]), good, None);
        check(
            &secret(&[(
                "auth-extra-groups",
                "system:bootstrappers:a, system:masters",
            )]),
            good,
            Some(&[GROUP, "system:bootstrappers:a"]),
        );
        let mut other = secret(&[]);
        other["type"] = "Opaque".into();
        check(&other, good, None);
    }

    #[test]
    fn a_new_token_is_its_secrets() {
        let (token, object) = make(60, &["system:bootstrappers:x".to_owned()]).unwrap();
        let (id, secret) = parts(&token).unwrap();
        assert_eq!(object["metadata"]["name"], name(id));
        assert_eq!(object["stringData"]["token-secret"], secret);
    }
}
