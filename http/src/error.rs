//! One way of showing errors: the whole chain on one line.
use std::error::Error;

/// `a: b: c`, each layer once. Layers that repeat what their source says are told apart by text only here,
/// where it is about reading, not about deciding.
#[must_use]
pub fn chain(err: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for layer in std::iter::successors(Some(err), |&err| err.source()) {
        let layer = layer.to_string();
        if text.ends_with(&layer) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&layer);
    }
    text.replace('\n', " ")
}
