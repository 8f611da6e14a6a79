//! One request to an API server: the next server where one is away, a bound on time and size.
use super::Settings;
use crate::source::client::Client;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes of an answer, or of one event of a watch.
pub(super) const MOST: usize = 64 << 20;

/// Why a request has no good answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server says no.
    Refused(StatusCode, String),
    /// There is no answer.
    Away(String),
}

impl Trouble {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Trouble::Refused(status, _) => Some(*status),
            Trouble::Away(_) => None,
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused(status, message) => write!(out, "answers {status}: {message}"),
            Trouble::Away(message) => out.write_str(message),
        }
    }
}

/// The way to the servers.
pub(super) struct Talk {
    pub(super) settings: Settings,
    client: Mutex<Client>,
    current: AtomicUsize,
}

impl Talk {
    pub(super) fn new(settings: Settings) -> Self {
        Talk {
            client: Mutex::new(Client::new(settings.tls.clone(), false)),
            settings,
            current: AtomicUsize::new(0),
        }
    }

    /// This node.
    pub(super) fn node(&self) -> &str {
        &self.settings.node
    }

    /// The server that is asked now.
    pub(super) fn server(&self) -> &str {
        let servers = &self.settings.servers;
        let current = self.current.load(Ordering::Relaxed);
        servers
            .get(current % servers.len().max(1))
            .map_or("", |server| server.trim_end_matches('/'))
    }

    /// Sends a request and waits for the head of a good answer; its body is bounded by `within`, all of it.
    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Value)>,
        within: Duration,
    ) -> Result<Response, Trouble> {
        let client = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get();
        let url = format!("{}{path}", self.server());
        let mut request = client
            .map_err(Trouble::Away)?
            .request(method, url)
            .timeout(within);
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token);
        }
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body.to_string());
        }
        let sent = tokio::time::timeout(PATIENCE, request.send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(err)) => return Err(self.away(crate::error::chain(&err.without_url()))),
            Err(_) => return Err(self.away(format!("no answer within {PATIENCE:?}"))),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = text(response).await.unwrap_or_default();
        let said: Value = serde_json::from_slice(&text).unwrap_or_default();
        let message = said["message"].as_str().unwrap_or_default().to_owned();
        Err(Trouble::Refused(status, message))
    }

    /// The next request goes to the next server.
    fn away(&self, message: String) -> Trouble {
        self.current.fetch_add(1, Ordering::Relaxed);
        Trouble::Away(message)
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Value)>,
    ) -> Result<Value, Trouble> {
        let response = self.open(method, path, body, PATIENCE).await?;
        let text = text(response).await.map_err(Trouble::Away)?;
        serde_json::from_slice(&text)
            .map_err(|err| Trouble::Away(format!("answers with no JSON: {err}")))
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.json(Method::GET, path, None).await
    }
    pub(super) async fn post(&self, path: &str, body: Value) -> Result<Value, Trouble> {
        self.json(Method::POST, path, Some(("application/json", body)))
            .await
    }
    pub(super) async fn patch(&self, path: &str, body: Value) -> Result<Value, Trouble> {
        self.json(
            Method::PATCH,
            path,
            Some(("application/merge-patch+json", body)),
        )
        .await
    }
    /// A patch after which conditions of others are still there.
    pub(super) async fn patch_status(&self, path: &str, body: Value) -> Result<Value, Trouble> {
        let kind = "application/strategic-merge-patch+json";
        self.json(Method::PATCH, path, Some((kind, body))).await
    }
    pub(super) async fn delete(&self, path: &str, body: Value) -> Result<Value, Trouble> {
        self.json(Method::DELETE, path, Some(("application/json", body)))
            .await
    }
}

async fn text(mut response: Response) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|err| crate::error::chain(&err.without_url()))?
    {
        if text.len() + chunk.len() > MOST {
            return Err(format!("answers with more than {} MiB", MOST >> 20));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}
