//! Lists: which state is asked for, which objects of it, in which pages; and the body, made while it is read.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
mod body;
mod options;
#[cfg(test)]
mod tests;
mod token;

use crate::cache::{Cache, Caches, Object, Objects};
use crate::call::Call;
use crate::error::ApiError;
use crate::render::{Form, ListMeta, Painter};
use crate::resource::Resource;
use crate::select::Selection;
use crate::store::{Entry, Range, Revision, StoreError};
use options::{Options, State};
pub(crate) use options::{forbidden, refuse, revision, unsupported};
use std::sync::Arc;

/// The objects a list shows.
#[derive(Debug)]
pub struct Selected {
    /// They, in the order of their keys.
    pub items: Vec<Arc<Object>>,
    /// Of which state they are, and what is left out.
    pub meta: ListMeta,
}

/// A list as an answer.
#[derive(Debug)]
pub struct Listed {
    /// The JSON, made while it is read.
    pub body: axum::body::Body,
    /// How long it is, where that is known before.
    pub length: Option<u64>,
}

/// The list that a request asks for.
///
/// # Errors
/// 400 or 422 for bad options, 410 for a state that is gone, 504 for one that is not there yet, 503 without the store.
pub async fn list(
    caches: &Caches,
    resource: &Arc<dyn Resource>,
    call: &Call,
    form: Form,
) -> Result<Listed, ApiError> {
    let selected = select(caches, resource, call).await?;
    Ok(body::listed(Painter::new(resource, form), selected))
}

/// The objects that a request asks for, for callers in this process.
///
/// # Errors
/// See [`list`].
pub async fn select(
    caches: &Caches,
    resource: &Arc<dyn Resource>,
    call: &Call,
) -> Result<Selected, ApiError> {
    let cache = of(caches, resource)?;
    let selection = Selection::of(cache, resource, call)?;
    let options = Options::of(call)?;
    let (revision, objects) = match options.state {
        State::Newest => {
            let fresh = caches.fresh().await?;
            now(cache, &selection, fresh)
        }
        State::Any => now(cache, &selection, caches.revision()),
        State::AtLeast(revision) => {
            let reached = caches.reach(revision).await?;
            now(cache, &selection, reached)
        }
        State::Exactly(revision) => {
            caches.reach(revision).await?;
            let then = at(caches, cache, &selection, revision).await;
            (revision, then.map_err(|err| gone(err, &options))?)
        }
    };
    Ok(page(&selection, &options, revision, objects))
}

/// The cache of a resource.
pub(crate) fn of<'c>(
    caches: &'c Caches,
    resource: &Arc<dyn Resource>,
) -> Result<&'c Arc<Cache>, ApiError> {
    let found = caches.of(resource.names().prefix);
    found.ok_or_else(ApiError::no_resource)
}

/// The objects now. All changes up to `known` were in the cache before it is read.
fn now(cache: &Cache, selection: &Selection, known: Revision) -> (Revision, Objects) {
    let (newest, objects) = cache.under(selection.range());
    (newest.max(known), objects)
}

/// The objects as they were: from what the cache remembers, else from the store's history.
async fn at(
    caches: &Caches,
    cache: &Cache,
    selection: &Selection,
    revision: Revision,
) -> Result<Objects, ApiError> {
    if let Some(objects) = cache.under_at(selection.range(), revision) {
        return Ok(objects);
    }
    let range = Range {
        prefix: selection.range().to_owned(),
        at: Some(revision),
        ..Range::default()
    };
    let listing = caches.store().list(&range).await;
    let listing = listing.map_err(|err| match err {
        StoreError::Compacted { .. } => ApiError::expired(TOO_OLD),
        other => other.into(),
    })?;
    listing.entries.iter().map(object).collect()
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
                       continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing \
                       with the provided token results in an inconsistent list - objects that were created, modified, or deleted between \
                       the time the first chunk was returned and now may show up in the list.";

fn object(entry: &Entry) -> Result<Arc<Object>, ApiError> {
    Object::new(entry, crate::cache::Kind::Added).map(Arc::new)
}

/// A 410 in the middle of a list comes with a token that goes on, at the newest state.
fn gone(mut err: ApiError, options: &Options) -> ApiError {
    if err.code == http::StatusCode::GONE {
        if let Some(start) = &options.start {
            err.continue_token = Some(token::write(None, start));
        } else {
            err.message = "The resourceVersion for the provided list is too old.".to_owned();
        }
    }
    err
}

fn page(
    selection: &Selection,
    options: &Options,
    revision: Revision,
    mut objects: Objects,
) -> Selected {
    let prefix = selection.resource().names().prefix.len() + 1;
    let below = |object: &Object| object.key.get(prefix..).unwrap_or("").to_owned();
    if let Some(start) = &options.start {
        let before = |object: &Arc<Object>| object.key.get(prefix..).unwrap_or("") < start.as_str();
        objects.drain(..objects.partition_point(before));
    }
    let picks = selection.picks();
    if picks {
        objects.retain(|object| selection.matches(object));
    }
    let mut meta = ListMeta {
        revision,
        ..ListMeta::default()
    };
    if options.limit > 0 && objects.len() > options.limit {
        let more = objects.len() - options.limit;
        objects.truncate(options.limit);
        let last = objects.last().map(|last| below(last)).unwrap_or_default();
        meta.continue_token = Some(token::write(Some(revision), &format!("{last}\0")));
        meta.remaining = (!picks).then_some(more as u64);
    }
    Selected {
        items: objects,
        meta,
    }
}
