//! Writes an object's `resourceVersion` into its stored bytes, without decoding them.
//!
//! The store keeps objects without one, since the revision of a write is not known before it is done. The registry writes
//! objects with `metadata` third, after two short texts; where it is elsewhere, it is looked for.
use crate::error::ApiError;
use crate::store::Revision;
use bytes::{BufMut, Bytes, BytesMut};

const METADATA: &[u8] = br#""metadata":{"#;
const FIELD: &[u8] = br#""resourceVersion":""#;

/// The object with `metadata.resourceVersion` first in its metadata.
///
/// # Errors
/// The bytes are no JSON object with metadata.
pub fn stamped(stored: &[u8], revision: Revision) -> Result<Bytes, ApiError> {
    let mut out = BytesMut::with_capacity(stored.len() + 48);
    write(&mut out, stored, revision)
        .ok_or_else(|| ApiError::internal("a stored object is damaged: it has no metadata"))?;
    Ok(out.freeze())
}

/// Appends the stamped object. None, and nothing appended, where there is no metadata.
pub(super) fn write(out: &mut BytesMut, stored: &[u8], revision: Revision) -> Option<()> {
    let at = metadata(stored)?;
    let (head, tail) = stored.split_at(at);
    out.put_slice(head);
    out.put_slice(FIELD);
    let mut digits = [0_u8; 20];
    out.put_slice(decimal(revision, &mut digits));
    out.put_u8(b'"');
    if !tail.trim_ascii_start().starts_with(b"}") {
        out.put_u8(b',');
    }
    out.put_slice(tail);
    Some(())
}

/// Appends an object that has a revision, with another one.
pub(super) fn rewrite(out: &mut BytesMut, stamped: &[u8], revision: Revision) {
    let at = metadata(stamped).map(|at| at + FIELD.len());
    let Some((head, tail)) = at.and_then(|at| stamped.split_at_checked(at)) else {
        return out.put_slice(stamped);
    };
    out.put_slice(head);
    let mut digits = [0_u8; 20];
    out.put_slice(decimal(revision, &mut digits));
    let old = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
    out.put_slice(&tail[old..]);
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        // A remainder of ten is one digit.
        digits[first] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

/// Where the inside of `metadata` begins: after its brace.
fn metadata(stored: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(byte) = stored.get(at) {
        match byte {
            b'"' => {
                if depth == 1 && stored[at..].starts_with(METADATA) {
                    return Some(at + METADATA.len());
                }
                at = end_of_text(stored, at + 1)?;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the closing quote is, from inside a text.
fn end_of_text(stored: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match stored.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(stored: &str, want: &str) {
        let got = stamped(stored.as_bytes(), 7).unwrap();
        assert_eq!(std::str::from_utf8(&got).unwrap(), want);
    }

    #[test]
    fn the_revision_comes_first_in_the_metadata() {
        check(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a"}}"#,
        );
        check(
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"resourceVersion":"7"}}"#,
        );
        check(
            r#"{"data":{"metadata":{"x":"\"}{"},"l":["\\"]},"metadata":{"name":"a"}}"#,
            r#"{"data":{"metadata":{"x":"\"}{"},"l":["\\"]},"metadata":{"resourceVersion":"7","name":"a"}}"#,
        );
    }

    #[test]
    fn what_has_no_metadata_is_damaged() {
        for text in [
            "",
            "{}",
            "{",
            "\"",
            r#"{"a":"\"#,
            "}",
            r#"{"metadata":1}"#,
            "[\"metadata\":{",
        ] {
            let stamped = stamped(text.as_bytes(), 1);
            assert!(stamped.is_err() || text.starts_with('['), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_stamped_object_is_the_object_and_its_revision(name in ".{0,8}", data in ".{0,12}", revision: u64) {
            let mut object = json!({"a": {"metadata": {"b": data.clone()}}, "b": [data], "metadata": {"name": name}});
            let bytes = stamped(object.to_string().as_bytes(), revision).unwrap();
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), object);
        }

        #[test]
        fn any_bytes_are_stamped_or_refused(bytes in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'{'), Just(b'\\'), any::<u8>()], 0..40)) {
            let _ = stamped(&bytes, 1);
        }
    }
}
