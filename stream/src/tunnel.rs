//! A stream of bytes in the binary messages of a WebSocket: how kubectl since 1.30 carries SPDY for port-forward.
use crate::websocket;
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What is on its way between the two.
const BUFFER: usize = 64 * 1024;
/// The most bytes of one message.
const CHUNK: usize = 32 * 1024;
/// How long the end of a connection may take.
const LINGER: Duration = Duration::from_secs(3);

/// The stream of bytes inside a WebSocket. It ends with the WebSocket, and the WebSocket with it.
pub(crate) async fn open<IO>(io: IO, role: Role) -> DuplexStream
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = websocket::open(io, role).await.split();
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let (mut from, mut to) = tokio::io::split(theirs);
    let out = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match from.read_buf(&mut buffer).await {
                Ok(count) if count > 0 => {
                    let message = Message::Binary(buffer.split().freeze());
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => {
                    let _ = sink.send(Message::Close(None)).await;
                    return;
                }
            }
        }
    };
    let back = async move {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(bytes) = message else {
                continue;
            };
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::spawn(async move {
        let (mut out, mut back) = (std::pin::pin!(out), std::pin::pin!(back));
        tokio::select! {
            // The other side answers the goodbye.
            () = &mut out => { let _ = timeout(LINGER, back).await; }
            () = &mut back => {}
        }
    });
    ours
}
