//! The client's side of the hand-shake in HTTP, over any connection.
use crate::upgrade::{Kind, SESSIONS, SOCKETS, SPDY, STREAM_PROTOCOL, Transport};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// How long the answer may take: a container may have to be looked at first.
const ANSWER: Duration = Duration::from_secs(30);
/// The most words of a refusal.
const MAX_REFUSAL: usize = 64 * 1024;

/// Which way is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// SPDY/3.1.
    Spdy,
    /// A WebSocket with this protocol.
    Socket(&'static str),
}

/// Why a connection was not upgraded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It was refused, for this reason.
    #[error("{message}")]
    Refused {
        /// The code of the answer.
        code: StatusCode,
        /// What it says.
        message: String,
    },
    /// HTTP failed.
    #[error("the request failed")]
    Http(#[from] hyper::Error),
    /// The request cannot be put together.
    #[error("this is no request")]
    Request(#[from] http::Error),
    /// There is no answer.
    #[error("there is no answer after {} s", ANSWER.as_secs())]
    Late,
    /// The answer speaks of something that was not asked for.
    #[error("the other side speaks {0:?}, which was not asked for")]
    Other(String),
}

/// Asks for an upgrade. `path` has the query too; `headers` may hold a token.
///
/// # Errors
/// When it is refused, with the other side's words.
pub async fn upgrade<IO>(
    io: IO,
    kind: Kind,
    way: Way,
    (host, path): (&str, &str),
    headers: HeaderMap,
) -> Result<(TokioIo<Upgraded>, Transport), ClientError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asking = ask(io, kind, way, (host, path), headers);
    timeout(ANSWER, asking)
        .await
        .map_err(|_| ClientError::Late)?
}

async fn ask<IO>(
    io: IO,
    kind: Kind,
    way: Way,
    (host, path): (&str, &str),
    headers: HeaderMap,
) -> Result<(TokioIo<Upgraded>, Transport), ClientError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection.with_upgrades());
    let key = generate_key();
    let mut request = Request::builder()
        .uri(path)
        .header(http::header::HOST, host)
        .header(http::header::ACCEPT, "application/json")
        .body(Empty::<bytes::Bytes>::new())?;
    request.headers_mut().extend(headers);
    let upgrade = HeaderValue::from_static("Upgrade");
    request.headers_mut().insert(CONNECTION, upgrade);
    let offered = offers(kind, way);
    match way {
        Way::Spdy => {
            *request.method_mut() = Method::POST;
            let spdy = HeaderValue::from_static(SPDY);
            request.headers_mut().insert(UPGRADE, spdy);
            for (name, _) in &offered {
                let name = HeaderValue::from_static(name);
                request.headers_mut().append(STREAM_PROTOCOL, name);
            }
        }
        Way::Socket(protocol) => {
            let add = request.headers_mut();
            add.insert(UPGRADE, HeaderValue::from_static("websocket"));
            add.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            add.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            add.insert(
                SEC_WEBSOCKET_KEY,
                HeaderValue::try_from(&key).map_err(http::Error::from)?,
            );
        }
    }
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    let said = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let chosen = match way {
        Way::Spdy => said(STREAM_PROTOCOL),
        Way::Socket(_)
            if said(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) =>
        {
            return Err(ClientError::Other("no WebSocket".to_owned()));
        }
        Way::Socket(_) => said(SEC_WEBSOCKET_PROTOCOL),
    };
    let chosen = chosen.unwrap_or_default().to_owned();
    let transport = offered.iter().find(|(name, _)| *name == chosen);
    let (_, transport) = transport.ok_or(ClientError::Other(chosen))?;
    let upgraded = hyper::upgrade::on(&mut response).await?;
    Ok((TokioIo::new(upgraded), *transport))
}

/// What is offered to the other side.
fn offers(kind: Kind, way: Way) -> Vec<(&'static str, Transport)> {
    let known: &[(Kind, &'static str, Transport)] = match way {
        Way::Spdy => &SESSIONS,
        Way::Socket(_) => &SOCKETS,
    };
    let ours = |name: &str| match way {
        Way::Spdy => !name.is_empty(),
        Way::Socket(protocol) => name == protocol,
    };
    let offered = known
        .iter()
        .filter(|(of, name, _)| *of == kind && ours(name));
    offered
        .map(|(_, name, transport)| (*name, *transport))
        .collect()
}

/// The other side's words: those of a v1 `Status`, or the text as it is.
async fn refusal(response: http::Response<hyper::body::Incoming>) -> ClientError {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_REFUSAL)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let status: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message = status
        .as_ref()
        .and_then(|status| status.get("message")?.as_str())
        .map_or_else(
            || String::from_utf8_lossy(&body).trim().to_owned(),
            str::to_owned,
        );
    let message = if message.is_empty() {
        code.to_string()
    } else {
        message
    };
    ClientError::Refused { code, message }
}
