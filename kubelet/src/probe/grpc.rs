//! The grpc handler of probes: `grpc.health.v1.Health/Check`, in plain text on a connection of its own.
//!
//! The two messages have one field each, so they are written and read by hand:
//! ```text
//! request   HealthCheckRequest  { string service = 1; }
//! answer    HealthCheckResponse { ServingStatus status = 1; }   UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3
//! ```
//! Each goes in a gRPC frame: a zero byte (not compressed), its length in four bytes, the message.
use super::Target;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_LIMIT: usize = 16 * 1024;
/// The status of a healthy service.
const SERVING: u64 = 1;

/// Asks the server how the service is.
///
/// # Errors
/// Says what it answered instead of `SERVING`.
pub(super) async fn check(action: &GRPCAction, target: &Target) -> Result<(), String> {
    let port =
        u16::try_from(action.port).map_err(|_| format!("port {} is out of range", action.port))?;
    let address = SocketAddr::new(target.address, port);
    let service = action.service.as_deref().unwrap_or_default();
    let status = ask(address, service)
        .await
        .map_err(|what| format!("grpc {address}: {what}"))?;
    match status {
        SERVING => Ok(()),
        other => Err(format!(
            "grpc {address}: service \"{service}\" is {}",
            word(other)
        )),
    }
}

async fn ask(address: SocketAddr, service: &str) -> Result<u64, String> {
    let words = |err: &(dyn std::error::Error + 'static)| crate::error::chain(err);
    let stream = TcpStream::connect(address)
        .await
        .map_err(|err| format!("connect: {err}"))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|err| words(&err))?;
    // Dropped with this probe: the connection goes with it.
    let driver = tokio::spawn(connection);
    let _driver = AbortOnDrop(driver.abort_handle());
    let request = hyper::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "rkube-probe/1")
        .body(Full::new(request(service)))
        .map_err(|err| words(&err))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|err| words(&err))?;
    if answer.status() != 200 {
        return Err(format!("HTTP status {}", answer.status().as_u16()));
    }
    // A server that refuses at once has its trailers in the head.
    refusal(answer.headers())?;
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
    let body = body.collect().await.map_err(|err| words(&*err))?;
    if let Some(trailers) = body.trailers() {
        refusal(trailers)?;
    }
    status(&body.to_bytes()).ok_or_else(|| "not a health check's answer".to_owned())
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What `grpc-status` says unless it is 0.
fn refusal(headers: &hyper::HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some("5") => Err("the server does not know the service".to_owned()),
        Some("12") => Err("the server has no grpc.health.v1.Health service".to_owned()),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(format!("grpc-status {code} {message}")
                .trim_end()
                .to_owned())
        }
    }
}

/// The request in its frame.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, a string: its length as a varint.
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or(0));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

/// The status of an answer in its frame. A message without the field means 0; other fields are passed over.
fn status(frame: &[u8]) -> Option<u64> {
    let (head, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || usize::try_from(length) != Ok(message.len()) {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn word(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("in state {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_those_of_grpc() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("db")[..], b"\x00\x00\x00\x00\x04\x0a\x02db");
        let long = request(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        assert_eq!(status(b"\x00\x00\x00\x00\x02\x08\x01"), Some(1));
        assert_eq!(status(b"\x00\x00\x00\x00\x00"), Some(0));
        assert_eq!(status(b"\x00\x00\x00\x00\x06\x12\x02hi\x08\x02"), Some(2));
        assert_eq!(status(b"\x01\x00\x00\x00\x02\x08\x01"), None, "compressed");
        assert_eq!(status(b"\x00\x00\x00\x00\x03\x08\x01"), None, "cut short");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(frame in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = status(&frame);
        }
    }
}
