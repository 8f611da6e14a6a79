//! Answering a registry's challenge: basic auth, or a token from its token server.
//!
//! ```text
//! GET manifest ---------------> registry      401 WWW-Authenticate: Bearer realm=.. scope=..
//! GET realm?service=&scope= --> token server  {"token": ..}      (user and password, if any)
//! GET manifest + token -------> registry      200
//! ```
//! One token serves all requests of a pull; when it expires in mid-pull the next 401 renews it,
//! and requests that were refused at the same time share the new one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

use super::challenge::{self, Challenge};
use super::error::{RegistryError, printable};
use super::transport::{Request, Transport};
use super::{error_detail, status_error};
use crate::credentials::{Credentials, Found, Login};
use crate::reference::is_loopback;

/// Tokens of real registries have a few KiB.
const MAX_TOKEN_ANSWER: u64 = 256 << 10;
/// How we introduce ourselves where OAuth2 wants a client's name.
const CLIENT_ID: &str = "rkube";

/// The proof of identity for one repository at one host.
pub(super) struct Auth {
    host: String,
    repository: String,
    credentials: Credentials,
    found: OnceCell<Found>,
    header: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Auth {
    pub(super) fn new(host: &str, repository: &str, credentials: Credentials) -> Self {
        Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            credentials,
            found: OnceCell::new(),
            header: Mutex::new(None),
        }
    }

    /// The header to send, if we were asked for one before.
    pub(super) async fn current(&self) -> Option<HeaderValue> {
        self.header.lock().await.clone()
    }

    /// Answers the challenge in `refusal`, which met a request sent with `sent`.
    pub(super) async fn answer(
        &self,
        transport: &Transport,
        sent: Option<&HeaderValue>,
        refusal: &HeaderMap,
        plain: bool,
    ) -> Result<HeaderValue, RegistryError> {
        let mut header = self.header.lock().await;
        if let Some(fresh) = header.as_ref().filter(|fresh| Some(*fresh) != sent) {
            return Ok(fresh.clone());
        }
        let values = refusal.get_all(WWW_AUTHENTICATE).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let fresh = match challenge::choose(values) {
            None => return Err(self.refused("it asks for a login of an unknown kind").await),
            Some(Challenge::Basic) => self.basic(sent.is_some()).await?,
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let url = self.token_url(&realm, plain).await?;
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                self.token(transport, url, service.as_deref(), &scope)
                    .await?
            }
        };
        *header = Some(fresh.clone());
        Ok(fresh)
    }

    /// The error for a refusal that we cannot cure.
    pub(super) async fn refused(&self, why: &str) -> RegistryError {
        let looked = &self.found().await.looked;
        let looked = if looked.is_empty() {
            "nowhere".to_owned()
        } else {
            looked.join(", ")
        };
        RegistryError::Refused {
            host: self.host.clone(),
            repository: self.repository.clone(),
            why: printable(why),
            looked,
        }
    }

    async fn found(&self) -> &Found {
        self.found
            .get_or_init(|| self.credentials.find(&self.host, &self.repository))
            .await
    }

    async fn basic(&self, sent_before: bool) -> Result<HeaderValue, RegistryError> {
        match &self.found().await.login {
            Some(Login::Basic { .. }) if sent_before => {
                Err(self.refused("user or password is wrong").await)
            }
            Some(Login::Basic { user, password }) => Ok(basic_header(user, password)),
            Some(Login::IdentityToken(_) | Login::AccessToken(_)) => Err(self
                .refused("it asks for a user and password, and we have a token")
                .await),
            None => Err(self.refused("it asks for a login").await),
        }
    }

    /// The token server's address; a password is not sent there in clear by a TLS registry's word.
    async fn token_url(&self, realm: &str, plain: bool) -> Result<Url, RegistryError> {
        let url = Url::parse(realm).ok().filter(Url::has_host);
        let allowed = |url: &Url| match url.scheme() {
            "https" => true,
            "http" => plain || is_loopback(url.host_str().unwrap_or_default()),
            _ => false,
        };
        url.filter(allowed).ok_or_else(|| RegistryError::Malformed {
            host: self.host.clone(),
            what: "login".to_owned(),
            why: format!(
                "token server \"{}\" is not an https address",
                printable(realm)
            ),
        })
    }

    async fn token(
        &self,
        transport: &Transport,
        url: Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<HeaderValue, RegistryError> {
        let login = self.found().await.login.clone();
        let request = match &login {
            Some(Login::AccessToken(token)) => return self.bearer(token),
            Some(Login::IdentityToken(token)) => refresh_request(url, service, scope, token),
            Some(Login::Basic { user, password }) => {
                let mut request = token_request(url, service, scope, Some(user));
                request
                    .headers
                    .insert(AUTHORIZATION, basic_header(user, password));
                request
            }
            None => token_request(url, service, scope, None),
        };
        let response = transport.send(&self.host, request).await?;
        let status = response.status();
        let what = "token server's answer";
        if status.is_success() {
            let body = transport
                .body(&self.host, what, response, MAX_TOKEN_ANSWER)
                .await?;
            let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
            let token = answer.and_then(|answer| answer.token.or(answer.access_token));
            return match token.filter(|token| !token.is_empty()) {
                Some(token) => self.bearer(&token),
                None => Err(self.malformed_token()),
            };
        }
        let headers = response.headers().clone();
        let detail = error_detail(transport, &self.host, response).await;
        if matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(self
                .refused(&format!("no token: status {}{detail}", status.as_u16()))
                .await);
        }
        Err(status_error(&self.host, what, status, detail, &headers))
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, RegistryError> {
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        let mut header = header.map_err(|_| self.malformed_token())?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn malformed_token(&self) -> RegistryError {
        RegistryError::Malformed {
            host: self.host.clone(),
            what: "token server's answer".to_owned(),
            why: "holds no usable token".to_owned(),
        }
    }
}

fn basic_header(user: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut header = HeaderValue::try_from(format!("Basic {encoded}"))
        .expect("base64 has only characters that headers may have");
    header.set_sensitive(true);
    header
}

fn token_request(
    mut url: Url,
    service: Option<&str>,
    scope: &str,
    account: Option<&str>,
) -> Request {
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(service.map(|service| ("service", service)));
        query.append_pair("scope", scope);
        query.extend_pairs(account.map(|account| ("account", account)));
    }
    Request::get(url)
}

/// OAuth2's refresh request, as docker's token servers understand it.
fn refresh_request(url: Url, service: Option<&str>, scope: &str, token: &str) -> Request {
    let mut form = Url::parse("form:").expect("a constant");
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", scope)
        .append_pair("refresh_token", token)
        .extend_pairs(service.map(|service| ("service", service)));
    let mut request = Request::get(url);
    request.method = Method::POST;
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(CONTENT_TYPE, kind);
    request.body = form.query().map(str::to_owned);
    request
}
