//! Names that 2014 allowed and `v1` does not.
//!
//! A server of 2014 took nearly any text for the id of a pod, a controller or a minion, for a label's value and for a
//! port's name. Each such text has one `v1` form, found without looking anything up: the text itself where `v1` allows
//! it; else what is allowed of it, a dash, and twelve hex digits of its SHA-256.
use crate::names::Form;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The annotation that keeps the id as it was given.
pub const GIVEN: &str = "rkube.io/v1beta1-name";

/// The `v1` name of an object with this id; `form` is what `v1` wants.
#[must_use]
pub fn name(id: &str, form: Form) -> String {
    if id.is_empty() || form.problem(id).is_none() {
        return id.to_owned();
    }
    let lower = id.to_lowercase();
    with_digest(&lower, id, |letter| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit()
    })
}

/// The `v1` value of a label.
#[must_use]
pub fn label(value: &str) -> String {
    if Form::LabelValue.problem(value).is_none() {
        return value.to_owned();
    }
    with_digest(value, value, |letter| letter.is_ascii_alphanumeric())
}

/// The `v1` name of a port.
#[must_use]
pub fn port(name: &str) -> String {
    if name.is_empty() || Form::PortName.problem(name).is_none() {
        return name.to_owned();
    }
    // Fifteen letters are all that is allowed.
    format!("p{}", digest(name))
}

fn with_digest(readable: &str, whole: &str, allowed: fn(char) -> bool) -> String {
    const MOST: usize = 40;
    let mut kept = String::new();
    for letter in readable.chars().take(MOST) {
        match allowed(letter) {
            true => kept.push(letter),
            false if kept.is_empty() || kept.ends_with('-') => {}
            false => kept.push('-'),
        }
    }
    let kept = kept.trim_end_matches('-');
    let digest = digest(whole);
    match kept {
        "" => format!("x-{digest}"),
        kept => format!("{kept}-{digest}"),
    }
}

fn digest(text: &str) -> String {
    let mut hex = String::new();
    for byte in &Sha256::digest(text.as_bytes())[..6] {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_v1_allows_stays() {
        assert_eq!(name("redis-master-2", Form::Subdomain), "redis-master-2");
        assert_eq!(name("127.0.0.1", Form::Subdomain), "127.0.0.1");
        assert_eq!(label("A_b.c"), "A_b.c");
        assert_eq!(port("http-server"), "http-server");
    }

    #[test]
    fn the_rest_is_readable() {
        let names = ["Apache-Node", "wordpressReplicaController", "__", "Ünï"];
        let mapped = names.map(|id| name(id, Form::Subdomain));
        assert!(mapped[0].starts_with("apache-node-"), "{mapped:?}");
        assert!(mapped[1].starts_with("wordpressreplicacontroller-"));
        assert!(mapped[2].starts_with("x-"));
        assert_ne!(
            name("Apache-Node", Form::Subdomain),
            name("apache-Node", Form::Subdomain)
        );
    }

    proptest! {
        #[test]
        fn every_text_has_a_form(text in ".{0,300}") {
            if !text.is_empty() {
                prop_assert_eq!(Form::Subdomain.problem(&name(&text, Form::Subdomain)), None);
                prop_assert_eq!(Form::PortName.problem(&port(&text)), None);
            }
            prop_assert_eq!(Form::LabelValue.problem(&label(&text)), None);
        }
        #[test]
        fn a_form_is_its_own(text in ".{1,80}") {
            let once = name(&text, Form::Subdomain);
            prop_assert_eq!(name(&once, Form::Subdomain), once);
        }
    }
}
