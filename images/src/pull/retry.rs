//! Trying again, with what people hear of it.

use std::time::Duration;

use futures::future::BoxFuture;

use super::Pull;
use crate::digest::Digest;
use crate::progress::Event;
use crate::registry::RegistryError;

/// Repeats `op` as the retry policy says. Its futures are boxed so that the pull's own is `Send`.
pub(super) async fn retrying<'f, T>(
    pull: &Pull<'_>,
    digest: Option<&Digest>,
    first_contact: bool,
    mut op: impl FnMut() -> BoxFuture<'f, Result<T, RegistryError>> + Send,
) -> Result<T, RegistryError> {
    let mut failures = 0;
    loop {
        let err = match op().await {
            Ok(done) => return Ok(done),
            Err(err) => err,
        };
        failures += 1;
        match pull.options.retry.wait(&err, failures, first_contact) {
            Some(wait) => pause(pull, digest, &err, wait).await,
            None => return Err(err),
        }
    }
}

/// Waits, and says why.
pub(super) async fn pause(
    pull: &Pull<'_>,
    digest: Option<&Digest>,
    err: &RegistryError,
    wait: Duration,
) {
    let why = super::chain(err);
    tracing::debug!(err = %why, ?wait, "will try again");
    pull.progress.event(&Event::Retrying {
        digest,
        why: &why,
        wait,
    });
    tokio::time::sleep(wait).await;
}
