//! What is there before any user comes, and stays: the first namespaces, what each namespace has, the service `kubernetes`;
//! and the end of namespaces.
//!
//! One task looks at everything again whenever something of it changes; what changed is not passed on. It sleeps while
//! nothing does.
mod first;
mod homes;
mod kubernetes;
mod masters;

use crate::admission::homes::ROOT_CA;
use crate::admission::portal::Net;
use crate::error::ApiError;
use crate::registry::Registry;
use crate::store::{Event, Store, StoreError};
use masters::Presence;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the first objects say.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The cluster CA's certificate, in PEM.
    pub ca: String,
    /// Where the addresses of services come from; the first is that of `kubernetes`.
    pub service_net: Net,
    /// Where this API server is reached.
    pub address: IpAddr,
    /// And on which port, with TLS.
    pub port: u16,
    /// Whether other masters may have the same store.
    pub shared: bool,
}

/// What a change of which wakes the task.
const WATCHED: &[&str] = &[
    "/registry/namespaces/",
    "/registry/serviceaccounts/",
    CONFIG_MAPS,
    "/registry/services/specs/default/kubernetes",
    "/registry/services/endpoints/default/kubernetes",
    "/registry/endpointslices/default/kubernetes",
    masters::PREFIX,
];
const CONFIG_MAPS: &str = "/registry/configmaps/";
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// Makes what is missing.
///
/// # Errors
/// The store cannot be reached, or does not take it.
pub async fn ensure(registry: &Registry, settings: &Bootstrap) -> Result<(), ApiError> {
    first::namespaces(registry).await?;
    kubernetes::ensure(registry, settings).await
}

/// Keeps it so, and ends namespaces that are deleted, until it is told to stop.
pub async fn run(registry: Arc<Registry>, settings: Bootstrap, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let watches = WATCHED.iter().map(|prefix| {
        let (store, changed) = (registry.store().clone(), changed.clone());
        watch(store, prefix, changed)
    });
    let watches = futures::future::join_all(watches);
    let work = async {
        let mut wait = SHORTEST;
        loop {
            let done = pass(&registry, &settings).await;
            wait = match done {
                Ok(true) => {
                    changed.notified().await;
                    SHORTEST
                }
                // Something is left to do, and nobody may tell when it can be done.
                Ok(false) => pause(&changed, wait).await,
                Err(err) => {
                    tracing::warn!(%err, "cannot look after namespaces; will try again");
                    pause(&changed, wait).await
                }
            };
        }
    };
    let mut presence = presence(&registry, &settings);
    let present = async {
        match &mut presence {
            Some(presence) => presence.keep().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = watches => {}
        () = work => {}
        () = present => {}
    }
    if let Some(presence) = presence {
        presence.leave().await;
    }
}

/// How this master tells others of itself, if there can be others and they could reach it.
fn presence(registry: &Registry, settings: &Bootstrap) -> Option<Presence> {
    let at = SocketAddr::new(settings.address, settings.port);
    let tells = settings.shared && kubernetes::is_reachable(settings.address);
    tells.then(|| Presence::new(registry.store().clone(), at))
}

/// Waits for a change, or for that long; how long to wait next time.
async fn pause(changed: &Notify, wait: Duration) -> Duration {
    tokio::time::sleep(SHORTEST).await;
    match tokio::time::timeout(wait, changed.notified()).await {
        Ok(()) => wait,
        Err(_) => (wait * 2).min(LONGEST),
    }
}

/// One look at everything; whether nothing is left to do.
async fn pass(registry: &Registry, settings: &Bootstrap) -> Result<bool, ApiError> {
    ensure(registry, settings).await?;
    homes::pass(registry, &settings.ca).await
}

/// Says that something changed under the prefix, for ever.
async fn watch(store: Arc<dyn Store>, prefix: &'static str, changed: Arc<Notify>) {
    let mut wait = SHORTEST;
    loop {
        if let Err(err) = follow(&store, prefix, &changed, &mut wait).await {
            tracing::debug!(%err, prefix, "watching again");
        }
        // What was missed meanwhile is seen by looking.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
        changed.notify_one();
    }
}

async fn follow(
    store: &Arc<dyn Store>,
    prefix: &str,
    changed: &Notify,
    wait: &mut Duration,
) -> Result<(), StoreError> {
    let revision = store.revision().await?;
    let mut watch = store.watch(prefix, revision).await?;
    *wait = SHORTEST;
    changed.notify_one();
    while let Some(batch) = watch.0.recv().await {
        if batch?.events.iter().any(concerns) {
            changed.notify_one();
        }
    }
    Ok(())
}

/// Whether a change is one to look at: users' own config maps come and go, and only an end of one may be waited for.
fn concerns(event: &Event) -> bool {
    let key = &event.entry.key;
    event.deleted || !key.starts_with(CONFIG_MAPS) || key.ends_with(ROOT_CA)
}

#[cfg(test)]
mod tests;
