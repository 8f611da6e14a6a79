//! The body of a list, made piece by piece while it is read: the objects' own bytes, between commas.
use super::{Listed, Selected};
use crate::cache::Object;
use crate::render::{Form, Painter};
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// How large a piece is, at least; the last object of it is never cut.
const PIECE: usize = 128 << 10;

/// The pieces of a list.
#[derive(Debug)]
struct Pieces {
    painter: Painter,
    items: std::vec::IntoIter<Arc<Object>>,
    head: Option<Vec<u8>>,
    first: bool,
    /// How many bytes are left, where that is known.
    left: Option<u64>,
    over: bool,
}

pub(super) fn listed(painter: Painter, selected: Selected) -> Listed {
    let head = painter.list_head(&selected.meta);
    let length = match painter.form() {
        // If one is shown as it is stored, so are all of them.
        Form::Plain if selected.items.iter().all(|it| painter.as_stored(&it.bytes)) => {
            let commas = selected.items.len().saturating_sub(1);
            let items: usize = selected.items.iter().map(|it| it.bytes.len()).sum();
            Some((head.len() + items + commas + painter.list_tail().len()) as u64)
        }
        _ => None,
    };
    let pieces = Pieces {
        painter,
        items: selected.items.into_iter(),
        head: Some(head),
        first: true,
        left: length,
        over: false,
    };
    Listed {
        body: Body::new(pieces),
        length,
    }
}

impl Pieces {
    fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut piece = BytesMut::with_capacity(self.room());
        if let Some(head) = self.head.take() {
            piece.put_slice(&head);
        }
        while piece.len() < PIECE {
            let Some(object) = self.items.next() else {
                piece.put_slice(self.painter.list_tail());
                self.over = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                piece.put_u8(b',');
            }
            piece.put_slice(&self.painter.item(&object.bytes));
        }
        Some(piece.freeze())
    }

    /// Small lists take little memory.
    fn room(&self) -> usize {
        let left = self.left.and_then(|left| usize::try_from(left).ok());
        left.unwrap_or(PIECE).min(PIECE + (16 << 10))
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next();
        if let (Some(left), Some(piece)) = (&mut self.left, &piece) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
