//! Changes as they come: chunked JSON, or a WebSocket with a frame for each.
use super::path::Asked;
use super::read::Around;
use super::{Hub, answer};
use crate::cache::object::Kind as Change;
use crate::call::Call;
use crate::error::ApiError;
use crate::watch::{Step, Watcher};
use axum::body::{Body, Bytes};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

/// How long a client may take for a frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients send nothing that matters.
const LONGEST_FRAME: usize = 4 * 1024;

/// A watch, and how its events are shown.
struct Events {
    hub: Hub,
    asked: Asked,
    watcher: Watcher,
    around: Around,
    over: bool,
}

/// Answers a watch.
pub(super) async fn answer(
    hub: &Hub,
    asked: &Asked,
    call: Call,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let watcher = Watcher::start(&hub.caches, hub.resource(asked.kind)?, &call).await?;
    let events = Events {
        hub: hub.clone(),
        asked: asked.clone(),
        watcher,
        around: hub.around(asked.kind),
        over: false,
    };
    if let Some(key) = socket_key(request.headers()) {
        return Ok(socket(events, &key, request));
    }
    let lines = futures::stream::unfold(events, async |mut events| {
        let mut line = events.next().await?.to_string();
        line.push('\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), events))
    });
    Ok(answer::made(
        StatusCode::OK,
        "application/json",
        Body::from_stream(lines),
    ))
}

impl Events {
    /// The next, in 2014's form; none at the end.
    async fn next(&mut self) -> Option<Value> {
        while !self.over {
            match self.watcher.next().await {
                Step::Event { kind, object, .. } => {
                    let stored = object.value();
                    let shown = self.hub.show(&self.asked, &stored, &self.around, true);
                    return Some(json!({"type": word(kind), "object": shown}));
                }
                Step::Bookmark { .. } => {}
                Step::Gone(err) => {
                    self.over = true;
                    let (_, status) = answer::failed(&err, &self.asked);
                    return Some(json!({"type": "ERROR", "object": status}));
                }
                Step::End => self.over = true,
            }
        }
        None
    }
}

fn word(kind: Change) -> &'static str {
    kind.as_str()
}

/// The key of a client that wants a WebSocket.
fn socket_key(headers: &HeaderMap) -> Option<String> {
    let says = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter();
        let mut values = values.filter_map(|value| value.to_str().ok());
        values.any(|value| value.to_ascii_lowercase().contains(word))
    };
    let wanted = says(header::CONNECTION, "upgrade") && says(header::UPGRADE, "websocket");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    wanted.then(|| key.to_owned())
}

fn socket(events: Events, key: &str, mut request: Request<Body>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => frames(events, TokioIo::new(connection)).await,
            Err(err) => tracing::debug!(%err, "a client did not become a WebSocket"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn frames<IO>(mut events: Events, io: IO)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(LONGEST_FRAME))
        .max_frame_size(Some(LONGEST_FRAME));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break };
                let frame = Message::text(event.to_string());
                let sent = tokio::time::timeout(PATIENCE, socket.send(frame)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            said = socket.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    // Whether the other side hears it no longer matters.
    let _ = tokio::time::timeout(PATIENCE, socket.close(None)).await;
}
