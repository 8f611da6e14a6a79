//! Changes that the cache has forgotten (or has never seen, before a restart), from the store's own history.
use crate::cache::{Cache, Caches, Change, Kind, Object, PATIENCE};
use crate::error::ApiError;
use crate::store::{self, Batch, Revision, StoreError};
use std::sync::Arc;

/// A reader of the history from one revision up to where the cache begins.
#[derive(Debug)]
pub(super) struct Past {
    caches: Arc<Caches>,
    prefix: String,
    after: Revision,
    /// The cache knows all changes after it.
    floor: Revision,
    watch: Option<store::Watch>,
}

impl Past {
    pub(super) fn open(
        caches: &Arc<Caches>,
        cache: &Cache,
        after: Revision,
        floor: Revision,
    ) -> Self {
        Past {
            caches: caches.clone(),
            prefix: format!("{}/", cache.prefix()),
            after,
            floor,
            watch: None,
        }
    }

    /// The next changes; none once the cache can go on.
    pub(super) async fn take(&mut self) -> Result<Option<Vec<Change>>, ApiError> {
        if self.after >= self.floor {
            return Ok(None);
        }
        let read = tokio::time::timeout(PATIENCE, self.read()).await;
        let Ok(Ok(batch)) = read else {
            // Whatever it is: the client reads all anew.
            return Err(too_old(self.after, self.floor));
        };
        self.after = batch.revision;
        let floor = self.floor;
        let known = batch
            .events
            .iter()
            .filter(|event| event.entry.modified <= floor);
        let changes = known.map(change).collect::<Result<_, _>>()?;
        Ok(Some(changes))
    }

    async fn read(&mut self) -> Result<Batch, StoreError> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            empty => {
                let watch = self.caches.store().watch(&self.prefix, self.after).await?;
                empty.insert(watch)
            }
        };
        let ended = || StoreError::Unavailable("its watch ended".to_owned());
        watch.0.recv().await.ok_or_else(ended)?
    }
}

fn change(event: &store::Event) -> Result<Change, ApiError> {
    let object = Arc::new(Object::of(event)?);
    let previous = match &event.previous {
        Some(entry) => Some(Arc::new(Object::new(entry, Kind::Added)?)),
        None => None,
    };
    Ok(Change::new(object, previous))
}

/// In Kubernetes' words.
fn too_old(asked: Revision, oldest: Revision) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
}
