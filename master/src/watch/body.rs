//! The lines of a watch.
use super::{Step, Watcher};
use crate::error::ApiError;
use crate::render::{Form, Painter};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use std::convert::Infallible;

#[derive(Debug)]
struct Lines {
    watcher: Watcher,
    painter: Painter,
    first: bool,
}

pub(super) fn of(watcher: Watcher, form: Form) -> Body {
    let lines = Lines {
        painter: Painter::new(watcher.selection.resource(), form),
        watcher,
        first: true,
    };
    Body::from_stream(stream::unfold(lines, async |mut lines| {
        let line = lines.next().await?;
        Some((Ok::<Bytes, Infallible>(line), lines))
    }))
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        let step = self.watcher.next().await;
        let first = std::mem::replace(&mut self.first, false);
        Some(match step {
            Step::Event {
                kind,
                object,
                change: Some(change),
            } => self.painter.change(&change, &object, kind, first),
            Step::Event {
                kind,
                object,
                change: None,
            } => self.painter.line(&object, kind, first),
            Step::Bookmark { revision, initial } => self.painter.bookmark(revision, initial, first),
            Step::Gone(err) => error(&err),
            Step::End => return None,
        })
    }
}

fn error(err: &ApiError) -> Bytes {
    let line = json!({"type": "ERROR", "object": err.status()});
    format!("{line}\n").into()
}
