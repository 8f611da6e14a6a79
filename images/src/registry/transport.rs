//! Connections: one HTTP client per host, with that host's TLS settings, every wait bounded.
//!
//! Redirects are followed here and not by reqwest: the next host gets its own TLS settings, never
//! our `Authorization`, and no downgrade from HTTPS to plain HTTP.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};

use super::error::RegistryError;
use super::tls;
use crate::config::{HostConfig, RegistryConfig};
use crate::reference::is_loopback;

const MAX_REDIRECTS: usize = 5;

/// How long each kind of wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS.
    pub connect: Duration,
    /// From a sent request to the header of its answer.
    pub header: Duration,
    /// Between two pieces of content.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            header: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        }
    }
}

/// All connections of one pull.
pub(crate) struct Transport {
    config: RegistryConfig,
    timeouts: Timeouts,
    clients: Mutex<HashMap<(String, bool), Client>>,
    system_roots: OnceLock<Arc<rustls::RootCertStore>>,
}

/// One request: all that a redirect has to repeat.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
}

impl Request {
    pub(super) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig, timeouts: Timeouts) -> Self {
        let clients = Mutex::default();
        Self {
            config,
            timeouts,
            clients,
            system_roots: OnceLock::new(),
        }
    }

    /// Sends a request and waits for the header of the answer; follows no redirect.
    pub(super) async fn send(
        &self,
        host: &str,
        request: Request,
    ) -> Result<Response, RegistryError> {
        let client = self.client(&request.url)?;
        let mut builder = client
            .request(request.method, request.url)
            .headers(request.headers);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let after = self.timeouts.header;
        match tokio::time::timeout(after, builder.send()).await {
            Err(_) => Err(RegistryError::Timeout {
                host: host.to_owned(),
                what: "answer",
                after,
            }),
            Ok(Err(err)) if err.is_timeout() => {
                let after = self.timeouts.connect;
                Err(RegistryError::Timeout {
                    host: host.to_owned(),
                    what: "connection",
                    after,
                })
            }
            Ok(Err(err)) => Err(RegistryError::from_reqwest(host, &err)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Sends a GET and follows redirects, to other hosts without credentials.
    pub(super) async fn fetch(
        &self,
        host: &str,
        mut request: Request,
    ) -> Result<Response, RegistryError> {
        for _ in 0..=MAX_REDIRECTS {
            let at = request.url.clone();
            let response = self.send(host, request.clone()).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let next = self.redirect_target(host, &at, response.headers())?;
            if next.origin() != at.origin() {
                request.headers.remove(AUTHORIZATION);
            }
            request.url = next;
        }
        Err(malformed(
            host,
            format!("more than {MAX_REDIRECTS} redirects"),
        ))
    }

    fn redirect_target(
        &self,
        host: &str,
        from: &Url,
        headers: &HeaderMap,
    ) -> Result<Url, RegistryError> {
        let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| from.join(target).ok());
        let Some(target) = target.filter(|url| url.has_host()) else {
            return Err(malformed(host, "redirect to nowhere".to_owned()));
        };
        match (from.scheme(), target.scheme()) {
            (_, "https") | ("http", "http") => Ok(target),
            ("https", "http") if self.settings(&target).plain_http == Some(true) => Ok(target),
            (_, scheme) => {
                let to = authority(&target);
                let why = format!("redirect to {scheme}://{to}: only https is followed from https");
                Err(malformed(host, why))
            }
        }
    }

    /// The next piece of content; `None` at its end.
    pub(super) async fn chunk(
        &self,
        host: &str,
        response: &mut Response,
    ) -> Result<Option<Bytes>, RegistryError> {
        let after = self.timeouts.idle;
        match tokio::time::timeout(after, response.chunk()).await {
            Err(_) => Err(RegistryError::Timeout {
                host: host.to_owned(),
                what: "data",
                after,
            }),
            Ok(chunk) => chunk.map_err(|err| RegistryError::from_reqwest(host, &err)),
        }
    }

    /// All the content, if it is no longer than `limit`.
    pub(super) async fn body(
        &self,
        host: &str,
        what: &str,
        mut response: Response,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::Malformed {
            host: host.to_owned(),
            what: what.to_owned(),
            why: format!("larger than the limit of {limit} bytes"),
        };
        if response.content_length().is_some_and(|len| len > limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(host, &mut response).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What the registries file says of a URL's host, be it written with the usual port or without.
    fn settings(&self, url: &Url) -> HostConfig {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let hosts = &self.config.registries;
        let named = [authority(url), format!("{host}:{port}")];
        named
            .iter()
            .find_map(|name| hosts.get(name))
            .cloned()
            .unwrap_or_default()
    }

    fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        let https = url.scheme() == "https";
        let host = authority(url);
        let key = (host.clone(), https);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let tls = match https {
            true => tls::for_host(&host, &self.settings(url), &self.system_roots)?,
            false => tls::none(),
        };
        let mut builder = Client::builder()
            .user_agent(concat!("rkube/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(SystemResolver))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .connect_timeout(self.timeouts.connect);
        if is_loopback(&host) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|err| RegistryError::from_reqwest(&host, &err))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn malformed(host: &str, why: String) -> RegistryError {
    RegistryError::Malformed {
        host: host.to_owned(),
        what: "answer".to_owned(),
        why,
    }
}

/// `host` or `host:port` of a URL, as the registries file writes it.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The resolver failed; its own type, so that the cause is known by type and not by text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct DnsFailed(pub(super) io::Error);

struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            match found {
                Ok(addrs) => Ok(Box::new(addrs.collect::<Vec<_>>().into_iter()) as Addrs),
                Err(err) => Err(Box::new(DnsFailed(err)) as _),
            }
        })
    }
}
