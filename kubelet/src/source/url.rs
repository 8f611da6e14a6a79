//! Manifests from a web server: asked for at start and then from time to time, or sooner while it fails.
//!
//! ```text
//! GET, If-None-Match --200--> read --> Set, if it is another text       304 --> nothing new
//!                    `-- anything else, nothing in time, or a text that is not right --> Failed, back-off
//! ```
//! Other nodes may read the same text, so each pod's name ends with this node's.
use super::backoff::Backoff;
use super::client::{Client, TlsFiles};
use super::content::{self, Naming};
use super::speaker::Speaker;
use super::{Deliveries, Set, Wanted};
use crate::state::SourceKind;
use http::header::{ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Response;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long an answer may take, to its last byte.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A server that wants to be left alone is, for no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// Where manifests are fetched from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The address.
    pub url: String,
    /// Further headers of the request.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Whom to trust, and who is asking.
    pub tls: TlsFiles,
    /// How often.
    pub period: Duration,
    /// How long an answer may take; half a minute if not set.
    pub patience: Option<Duration>,
    /// How its pods are called.
    pub naming: Naming,
}

/// Starts asking. The task ends when nobody takes deliveries any more.
pub fn spawn(settings: Settings, deliveries: Deliveries) -> JoinHandle<()> {
    let roams = settings.headers.is_empty() && settings.tls.cert.is_none();
    let source = Source {
        place: without_password(&settings.url),
        client: Client::new(settings.tls.clone(), roams),
        speaker: Speaker::new(SourceKind::Url, deliveries),
        backoff: Backoff::new(FIRST_RETRY, settings.period),
        last: None,
        settings,
    };
    tokio::spawn(source.run())
}

struct Source {
    settings: Settings,
    /// The address as people may see it.
    place: String,
    client: Client,
    speaker: Speaker,
    backoff: Backoff,
    last: Option<Last>,
}

/// The last good answer.
struct Last {
    etag: Option<HeaderValue>,
    text: Vec<u8>,
    set: Set,
}

/// Why there is no answer to use.
struct Trouble {
    message: String,
    /// When the server wants to be asked again.
    rest: Option<Duration>,
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Trouble {
            message,
            rest: None,
        }
    }
}

impl Source {
    async fn run(mut self) {
        loop {
            let patience = self.settings.patience.unwrap_or(PATIENCE);
            let outcome = match tokio::time::timeout(patience, self.ask()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no whole answer within {patience:?}").into()),
            };
            let (said, wait) = match outcome {
                Ok(news) => {
                    self.backoff.reset();
                    (self.tell(news).await, self.settings.period)
                }
                Err(trouble) => {
                    let wait = self.backoff.wait().max(trouble.rest.unwrap_or_default());
                    (self.speaker.fail(&self.place, trouble.message).await, wait)
                }
            };
            if said.is_none() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.speaker.closed() => return,
            }
        }
    }

    async fn tell(&mut self, news: bool) -> Option<()> {
        match &self.last {
            Some(last) if news || self.speaker.must_speak() => {
                self.speaker.say(last.set.clone()).await
            }
            Some(_) | None => Some(()),
        }
    }

    /// Asks once; whether the answer is another than before.
    async fn ask(&mut self) -> Result<bool, Trouble> {
        let mut request = self
            .client
            .get()?
            .get(&self.settings.url)
            .headers(self.headers()?);
        if let Some(etag) = self.last.as_ref().and_then(|last| last.etag.clone()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(said)?;
        match response.status() {
            StatusCode::NOT_MODIFIED if self.last.is_some() => return Ok(false),
            StatusCode::OK => {}
            status => {
                return Err(Trouble {
                    message: format!("answers {status}"),
                    rest: retry_after(&response),
                });
            }
        }
        let etag = response.headers().get(ETAG).cloned();
        let text = body(response).await?;
        if let Some(last) = self.last.as_mut().filter(|last| last.text == text) {
            last.etag = etag;
            return Ok(false);
        }
        let (place, naming) = (self.place.clone(), self.settings.naming.clone());
        // A large text takes its time.
        let read = tokio::task::spawn_blocking(move || {
            let content = content::read(&text, &place, &naming);
            (text, content)
        });
        let (text, content) = read.await.map_err(|err| err.to_string())?;
        let content = content?;
        for warning in &content.warnings {
            tracing::warn!("{warning}");
        }
        let pods = content.pods.into_iter().map(|pod| Wanted {
            pod,
            place: self.place.clone(),
        });
        let set = Set {
            pods: pods.collect(),
            companions: Arc::new(content.companions),
            ..Set::default()
        };
        self.last = Some(Last { etag, text, set });
        Ok(true)
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.settings.headers {
            let key: HeaderName = name
                .parse()
                .map_err(|_| format!("{name:?} is no name of a header; mend the settings"))?;
            for value in values {
                let mut value: HeaderValue = value.parse().map_err(|_| {
                    format!("header {name}: its value cannot be sent; mend the settings")
                })?;
                value.set_sensitive(true);
                headers.append(key.clone(), value);
            }
        }
        Ok(headers)
    }
}

/// The whole text, if it is not too large for a manifest.
async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let limit = crate::manifest::LIMIT;
    let too_large = || {
        format!(
            "answers with more than {} MiB, which no manifest is",
            limit >> 20
        )
    };
    if response
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(too_large());
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(said)? {
        if (text.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// The error without the address, which may hold a password.
fn said(err: reqwest::Error) -> String {
    crate::error::chain(&err.without_url())
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(seconds.parse().ok()?).min(LONGEST_REST))
}

fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // It fails for addresses that have no place for a password.
            let _ = parsed.set_password(Some("..."));
            parsed.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
