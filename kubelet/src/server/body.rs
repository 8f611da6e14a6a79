//! Bodies of requests: so long, and no longer; in so much time, and no more.
use super::request_error::RequestError;
use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;

/// How long a client has to send it.
const WAIT: Duration = Duration::from_secs(20);

/// How much of a body is taken that is of no use, and for how long.
const DRAIN_LIMIT: usize = 64 * 1024;
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// The whole of it.
///
/// # Errors
/// 413 if it is larger, 408 if it does not come, 400 if it breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, RequestError> {
    read_within(body, limit, WAIT).await
}

async fn read_within(body: Body, limit: usize, wait: Duration) -> Result<Bytes, RequestError> {
    let too_large = || {
        let message = format!("the body is larger than {} KiB", limit / 1024);
        RequestError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    // One that says how large it is need not be read.
    let told = hyper::body::Body::size_hint(&body).lower();
    if told > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(wait, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(err)) if err.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(err)) => Err(RequestError::bad_request(format!(
            "the body breaks off: {err}"
        ))),
        Err(_) => {
            let message = format!("the body did not come within {} s", wait.as_secs());
            Err(RequestError::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// Takes a little of a body that is of no use, so that whoever sends it hears the answer and not that the line is cut.
pub(super) async fn drain(body: Body) {
    let _ = tokio::time::timeout(DRAIN_WAIT, Limited::new(body, DRAIN_LIMIT).collect()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(result: Result<Bytes, RequestError>) -> u16 {
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
