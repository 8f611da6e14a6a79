//! One repository on one host, over the OCI distribution protocol: its manifests and blobs.
//!
//! ```text
//! pull -> Repository -> Auth (401 -> token) -> Transport (TLS, time-outs, redirects) -> host
//! ```
//! A call here is one attempt. Trying again, and trying other hosts, is the business of
//! [`crate::pull`].

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, RANGE, RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::config::{Address, Scheme};
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::manifest::ACCEPTED;

mod auth;
mod challenge;
mod error;
pub(crate) mod retry;
mod tls;
mod transport;

use auth::Auth;
pub use error::RegistryError;
pub(crate) use error::printable;
pub use retry::RetryPolicy;
use transport::Request;
pub use transport::Timeouts;
pub(crate) use transport::Transport;

/// Header in which registries name the digest of what they send.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// How much of an error's body we read for its message.
const MAX_ERROR_BODY: u64 = 16 << 10;

/// One repository on one host.
pub(crate) struct Repository<'a> {
    transport: &'a Transport,
    address: Address,
    name: String,
    auth: Auth,
    base: OnceCell<Url>,
}

/// A manifest as it came, its digest checked.
#[derive(Clone, Debug)]
pub(crate) struct RawManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    /// The `Content-Type`, without parameters; empty when there was none.
    pub(crate) content_type: String,
}

/// A blob on its way.
pub(crate) struct BlobStream<'a> {
    transport: &'a Transport,
    host: &'a str,
    response: Response,
    /// Position of the first byte that will come: what was asked for, or 0.
    pub(crate) offset: u64,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(
        transport: &'a Transport,
        address: Address,
        name: &str,
        credentials: Credentials,
    ) -> Self {
        // A mirror below a prefix keeps the repositories of the registry in a folder of its own.
        let name = format!("{}{name}", address.prefix);
        let auth = Auth::new(&address.host, &name, credentials);
        Self {
            transport,
            address,
            name,
            auth,
            base: OnceCell::new(),
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.address.host
    }

    /// Fetches the manifest with this tag or digest, and checks its digest.
    pub(crate) async fn manifest(
        &self,
        wanted: &str,
        digest: Option<&Digest>,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let what = match digest {
            Some(digest) => format!("manifest {}@{digest}", self.name),
            None => format!("{}:{wanted}", self.name),
        };
        let mut headers = HeaderMap::new();
        for kind in ACCEPTED {
            headers.append(ACCEPT, HeaderValue::from_static(kind));
        }
        let response = self
            .get(&format!("manifests/{wanted}"), headers, &what)
            .await?;
        let response = self.expect_success(response, &what).await?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let promised = header(CONTENT_DIGEST).and_then(|text| Digest::parse(text).ok());
        let kind = header(CONTENT_TYPE).unwrap_or_default();
        let content_type = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let bytes = self
            .transport
            .body(self.host(), &what, response, limit)
            .await?;

        let expected = digest.or(promised.as_ref());
        if let Some(expected) = expected.filter(|expected| !expected.matches(&bytes)) {
            let what = if digest.is_some() {
                what
            } else {
                format!("{what} ({expected})")
            };
            return Err(self.mismatch(what, &Digest::of(expected.algorithm(), &bytes)));
        }
        let digest = expected.cloned().unwrap_or_else(|| Digest::sha256(&bytes));
        Ok(RawManifest {
            bytes,
            digest,
            content_type,
        })
    }

    /// Fetches a small blob whole, and checks size and digest.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blob {digest}");
        let stream = self.blob(digest, 0).await?;
        let bytes = self
            .transport
            .body(self.host(), &what, stream.response, size)
            .await?;
        let got = bytes.len() as u64;
        if got != size {
            return Err(RegistryError::Truncated {
                host: self.host().to_owned(),
                what,
                got,
                size,
            });
        }
        match digest.matches(&bytes) {
            true => Ok(bytes),
            false => Err(self.mismatch(what, &Digest::of(digest.algorithm(), &bytes))),
        }
    }

    /// Starts fetching a blob from `offset` on, or from its start if the host knows no ranges.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobStream<'_>, RegistryError> {
        let what = format!("blob {digest}");
        let path = format!("blobs/{digest}");
        let mut headers = HeaderMap::new();
        // A compressed transfer would make ranges and lengths meaningless.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            headers.insert(RANGE, range.expect("digits make a header value"));
        }
        let mut response = self.get(&path, headers.clone(), &what).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && offset > 0 {
            headers.remove(RANGE);
            response = self.get(&path, headers, &what).await?;
        }
        let response = self.expect_success(response, &what).await?;
        let offset = match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(offset) => {
                offset
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(self.malformed(&what, "it sent another range than we asked for"));
            }
            _ => 0,
        };
        Ok(BlobStream {
            transport: self.transport,
            host: self.host(),
            response,
            offset,
        })
    }

    /// GET below this repository, answering a challenge on the way.
    async fn get(
        &self,
        path: &str,
        headers: HeaderMap,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let base = self.base.get_or_try_init(|| self.find_base()).await?;
        let url = base.join(&format!("v2/{}/{path}", self.name));
        let url = url.map_err(|_| self.malformed(what, "its name makes no address"))?;
        let plain = url.scheme() == "http";
        let mut request = Request {
            headers,
            ..Request::get(url)
        };
        let sent = self.auth.current().await;
        if let Some(header) = &sent {
            request.headers.insert(AUTHORIZATION, header.clone());
        }
        let response = self.transport.fetch(self.host(), request.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let headers = response.headers();
        let fresh = self
            .auth
            .answer(self.transport, sent.as_ref(), headers, plain)
            .await?;
        request.headers.insert(AUTHORIZATION, fresh);
        self.transport.fetch(self.host(), request).await
    }

    /// The registry's root. A loopback host is asked whether it speaks plain HTTP.
    async fn find_base(&self) -> Result<Url, RegistryError> {
        let base = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{}/", network_name(self.host())));
            url.map_err(|_| self.malformed("address", "its host makes no address"))
        };
        match self.address.scheme {
            Scheme::Http => base("http"),
            Scheme::Https => base("https"),
            Scheme::Probe => {
                let plain = base("http")?;
                match self.probe(&plain).await {
                    Ok(true) => Ok(plain),
                    Err(err @ RegistryError::Connect { .. }) => Err(err),
                    Ok(false) | Err(_) => base("https"),
                }
            }
        }
    }

    /// Whether an API answers at `base`. A TLS server gives garbage, nothing, or a 400.
    async fn probe(&self, base: &Url) -> Result<bool, RegistryError> {
        let url = base
            .join("v2/")
            .map_err(|_| self.malformed("address", "makes no address"))?;
        let response = self.transport.send(self.host(), Request::get(url)).await?;
        Ok(response.status() != StatusCode::BAD_REQUEST)
    }

    async fn expect_success(
        &self,
        response: Response,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let detail = error_detail(self.transport, self.host(), response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = format!("status {}{detail}", status.as_u16());
                Err(self.auth.refused(&why).await)
            }
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound {
                host: self.host().to_owned(),
                what: what.to_owned(),
            }),
            _ => Err(status_error(self.host(), what, status, detail, &headers)),
        }
    }

    fn mismatch(&self, what: String, actual: &Digest) -> RegistryError {
        RegistryError::Digest {
            host: self.host().to_owned(),
            what,
            actual: actual.to_string(),
        }
    }

    fn malformed(&self, what: &str, why: &str) -> RegistryError {
        RegistryError::Malformed {
            host: self.host().to_owned(),
            what: what.to_owned(),
            why: why.to_owned(),
        }
    }
}

impl BlobStream<'_> {
    /// The next piece; `None` when the host has sent all it means to.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        self.transport.chunk(self.host, &mut self.response).await
    }
}

/// Docker Hub's registry is not where its name says.
fn network_name(host: &str) -> &str {
    if host == crate::reference::DEFAULT_REGISTRY {
        "registry-1.docker.io"
    } else {
        host
    }
}

/// `N` of `Content-Range: bytes N-M/L`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    value
        .trim()
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

fn status_error(
    host: &str,
    what: &str,
    status: StatusCode,
    detail: String,
    headers: &HeaderMap,
) -> RegistryError {
    let asked = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    RegistryError::Status {
        host: host.to_owned(),
        what: what.to_owned(),
        status: status.as_u16(),
        detail,
        retry_after: asked.and_then(|value| retry::retry_after(value, Timestamp::now())),
    }
}

/// `: CODE: message` from a registry's error body; empty when it has none.
async fn error_detail(transport: &Transport, host: &str, response: Response) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<OneError>,
    }
    #[derive(Deserialize)]
    struct OneError {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let body = transport
        .body(host, "error", response, MAX_ERROR_BODY)
        .await
        .unwrap_or_default();
    let errors: Option<Errors> = serde_json::from_slice(&body).ok();
    match errors.and_then(|all| all.errors.into_iter().next()) {
        Some(OneError { code, message }) => {
            format!(": {}", printable(&format!("{code} {message}")))
        }
        None => String::new(),
    }
}
