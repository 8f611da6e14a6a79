//! Bodies of requests: so long, and no longer; in so much time, and no more.
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use std::time::Duration;

/// How long a client has to send it.
const WAIT: Duration = Duration::from_secs(20);

/// How much more of a body that is too large is taken, and for how long.
const OVERSIZE_LIMIT: usize = 16 << 20;
const OVERSIZE_WAIT: Duration = Duration::from_secs(5);

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 413.
    #[error("the body is larger than {} KiB", .limit / 1024)]
    TooLarge {
        /// How many bytes it may have.
        limit: usize,
    },
    /// 408.
    #[error("the body did not come within {} s", .0.as_secs())]
    Late(Duration),
    /// 400.
    #[error("the body breaks off: {0}")]
    Broken(String),
}

impl BodyError {
    /// The code of the answer.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        match self {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Late(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// How much of a body is taken that is of no use, and for how long.
const DRAIN_LIMIT: usize = 64 * 1024;
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// The whole of it.
///
/// # Errors
/// It is larger, does not come, or breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    read_within(body, limit, WAIT).await
}

async fn read_within(body: Body, limit: usize, wait: Duration) -> Result<Bytes, BodyError> {
    let read = tokio::time::timeout(wait, collect(body, limit)).await;
    read.unwrap_or(Err(BodyError::Late(wait)))
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    // One that says how large it is need not be kept.
    let told = hyper::body::Body::size_hint(&body).lower();
    let mut kept = BytesMut::new();
    let mut fits = told <= limit as u64;
    while fits && let Some(frame) = body.frame().await {
        let frame = frame.map_err(|err| BodyError::Broken(err.to_string()))?;
        if let Some(data) = frame.data_ref() {
            fits = kept.len() + data.len() <= limit;
            kept.extend_from_slice(if fits { data } else { &[] });
        }
    }
    if fits {
        return Ok(kept.freeze());
    }
    // Whoever is known and sends too much is to hear so, and not that the line is cut.
    let rest = Limited::new(body, OVERSIZE_LIMIT).collect();
    let _ = tokio::time::timeout(OVERSIZE_WAIT, rest).await;
    Err(BodyError::TooLarge { limit })
}

/// Takes a little of a body that is of no use, so that whoever sends it hears the answer and not that the line is cut.
pub async fn drain(body: Body) {
    let _ = tokio::time::timeout(DRAIN_WAIT, Limited::new(body, DRAIN_LIMIT).collect()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(result: Result<Bytes, BodyError>) -> u16 {
        result.map_or_else(|err| err.code().as_u16(), |_| 200)
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        assert_eq!(code(read(Body::from("12345"), 5).await), 200);
        assert_eq!(code(read(Body::from("123456"), 5).await), 413);
        let chunks = |count: usize| {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(b"123"));
            Body::from_stream(futures::stream::iter((0..count).map(move |_| chunk())))
        };
        assert_eq!(code(read(chunks(3), 9).await), 200);
        assert_eq!(code(read(chunks(1_000_000), 9).await), 413);
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(
            code(read_within(Body::from_stream(never), 9, Duration::from_millis(20)).await),
            408
        );
        let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        assert_eq!(code(read(Body::from_stream(broken), 9).await), 400);
    }
}
