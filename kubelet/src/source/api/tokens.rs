//! Tokens of the service accounts that pods here act as: asked for by TokenRequest, bound to the pod, renewed before they end.
//!
//! The rule of when is Kubernetes' own: at four fifths of a token's life, and once a day at least.
use super::talk::{Talk, Trouble};
use crate::admission::{References, Token, account};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// No token is kept longer.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// Nor is it renewed sooner, however short its life.
const SOONEST: Duration = Duration::from_secs(1);
/// When a refusal is put to the test again.
const RETRY: Duration = Duration::from_secs(10);

/// A pod's uid, and which of the tokens it wishes for.
type Key = (String, String);

/// What has been issued.
#[derive(Default)]
pub(super) struct Tokens {
    held: BTreeMap<Key, Held>,
}

struct Held {
    /// None where the server refuses.
    token: Option<String>,
    renew: Instant,
}

impl Tokens {
    /// Asks for what the pods lack or have had for long; whether any token is another one now.
    pub(super) async fn renew(&mut self, talk: &Talk, pods: &[Arc<Pod>]) -> Result<bool, Trouble> {
        let mut wanted = BTreeSet::new();
        let mut news = false;
        for pod in pods.iter().filter(|pod| !is_over(pod)) {
            for (wish, source) in References::of(pod).tokens {
                let key = (pod.metadata.uid.clone().unwrap_or_default(), wish);
                wanted.insert(key.clone());
                if self
                    .held
                    .get(&key)
                    .is_some_and(|held| held.renew > Instant::now())
                {
                    continue;
                }
                news |= self.ask(talk, pod, source, key).await?;
            }
        }
        self.held.retain(|key, _| wanted.contains(key));
        Ok(news)
    }

    async fn ask(
        &mut self,
        talk: &Talk,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
        key: Key,
    ) -> Result<bool, Trouble> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let account = account(pod);
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        match talk.post(&path, request(pod, source)).await {
            Ok(answer) => {
                let token = answer["status"]["token"].as_str().map(str::to_owned);
                let renew = Instant::now() + lasts(&answer).mul_f64(0.8).clamp(SOONEST, OLDEST);
                self.held.insert(key, Held { token, renew });
                Ok(true)
            }
            Err(Trouble::Refused(status, message)) => {
                tracing::warn!(namespace, account, %status, message, "the API server issues no token");
                let held = self.held.entry(key).or_insert(Held {
                    token: None,
                    renew: Instant::now(),
                });
                held.renew = Instant::now() + RETRY;
                Ok(false)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// When the next is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.renew).min()
    }

    /// All that are held.
    pub(super) fn list(&self) -> Vec<Token> {
        let held = self.held.iter().filter_map(|((pod, wish), held)| {
            Some(Token {
                pod: pod.clone(),
                wish: wish.clone(),
                token: held.token.clone()?,
            })
        });
        held.collect()
    }
}

/// The token ends with the pod.
fn request(pod: &Pod, source: &ServiceAccountTokenProjection) -> Value {
    let audience = source.audience.iter().filter(|name| !name.is_empty());
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": audience.collect::<Vec<_>>(), "expirationSeconds": source.expiration_seconds.unwrap_or(3600),
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}}})
}

/// For how long what the server has issued is good.
fn lasts(answer: &Value) -> Duration {
    let end = answer["status"]["expirationTimestamp"].as_str();
    let end: Option<Timestamp> = end.and_then(|end| end.parse().ok());
    let left = end.map(|end| end.duration_since(Timestamp::now()));
    left.and_then(|left| Duration::try_from(left).ok())
        .unwrap_or(RETRY)
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
