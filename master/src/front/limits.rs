//! How many requests are worked on at once: so many that change something, so many that only look.
//!
//! What is refused hears 429 and when to come again; what lasts (watches, connections) is counted by connections alone.
use crate::call::Verb;
use crate::error::ApiError;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for its turn before it is refused.
const PATIENCE: Duration = Duration::from_millis(500);

/// The places of requests.
#[derive(Clone, Debug)]
pub struct Limits {
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

impl Limits {
    /// So many at once.
    #[must_use]
    pub fn new(reading: usize, writing: usize) -> Self {
        Limits {
            reading: Arc::new(Semaphore::new(reading.min(Semaphore::MAX_PERMITS))),
            writing: Arc::new(Semaphore::new(writing.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// A place for a request, until it is dropped.
    ///
    /// # Errors
    /// 429.
    pub async fn enter(&self, writes: bool) -> Result<OwnedSemaphorePermit, ApiError> {
        let places = if writes { &self.writing } else { &self.reading };
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let turn = tokio::time::timeout(PATIENCE, places.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(too_many)
    }
}

/// Whether a call changes something.
#[must_use]
pub fn writes(verb: Verb) -> bool {
    match verb {
        Verb::Get | Verb::List | Verb::Watch | Verb::Connect => false,
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => true,
    }
}

fn too_many() -> ApiError {
    let message = "Too many requests, please try again later.";
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
    error.retry_after = Some(1);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_of_one_place_hears_429() {
        let limits = Limits::new(1, 1);
        let first = limits.enter(true).await.unwrap();
        assert!(
            limits.enter(false).await.is_ok(),
            "those who look have their own"
        );
        let err = limits.enter(true).await.unwrap_err();
        assert_eq!((err.code.as_u16(), err.retry_after), (429, Some(1)));
        drop(first);
        assert!(limits.enter(true).await.is_ok());
    }
}
