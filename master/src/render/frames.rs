//! The lines of one change, each encoded once however many watch.
use super::Form;
use crate::cache::Kind;
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// What tells the lines of one change apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Two resources that show the same objects are of different groups.
    pub(super) group: &'static str,
    pub(super) form: Form,
    pub(super) kind: Kind,
}

/// The lines that somebody has asked for. There are few forms, so there are few of them.
#[derive(Debug, Default)]
pub struct Frames(Mutex<Vec<(Key, Bytes)>>);

impl Frames {
    /// The line, made by the first who asks; all others wait for it.
    pub(super) fn get(&self, key: Key, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = made.iter().find(|(of, _)| *of == key) {
            return line.clone();
        }
        let line = make();
        made.push((key, line.clone()));
        line
    }
}
