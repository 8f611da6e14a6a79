//! The `continue` token: at which revision, and from which key on (k8s.io/apiserver, pkg/storage, `continue.go`).
use crate::error::ApiError;
use crate::store::Revision;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";
/// No key is as long.
const MAX_BYTES: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// -1: whatever is newest.
    rv: i64,
    start: String,
}

/// The token for what follows. Without a revision it goes on at the newest state.
pub(super) fn write(revision: Option<Revision>, start: &str) -> String {
    let token = Token {
        v: VERSION.to_owned(),
        rv: revision.and_then(|it| i64::try_from(it).ok()).unwrap_or(-1),
        start: start.to_owned(),
    };
    let json = serde_json::to_vec(&token).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// What a token says.
pub(super) fn read(text: &str) -> Result<(Option<Revision>, String), ApiError> {
    let bad = |why: &str| {
        ApiError::bad_request(format!(
            "invalid continue token: {why}; list again without it"
        ))
    };
    if text.len() > MAX_BYTES {
        return Err(bad("it is too long"));
    }
    let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let json = json.map_err(|_| bad("it is not base64"))?;
    let token: Token = serde_json::from_slice(&json).map_err(|_| bad("it is damaged"))?;
    if token.v != VERSION {
        return Err(bad("it is of an unknown version"));
    }
    let revision = match token.rv {
        -1 => None,
        0 => return Err(bad("its resource version is 0")),
        rv => Some(Revision::try_from(rv).map_err(|_| bad("its resource version is negative"))?),
    };
    Ok((revision, token.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(revision in proptest::option::of(1..i64::MAX as u64), start in ".{0,40}") {
            let token = write(revision, &start);
            prop_assert_eq!(read(&token).unwrap(), (revision, start));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9_=-]{0,60}") {
            let _ = read(&text);
        }
    }

    #[test]
    fn a_real_servers_token() {
        // {"v":"meta.k8s.io/v1","rv":545,"start":"/name\0"}
        let text =
            URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":545,"start":"/name\u0000"}"#);
        assert_eq!(read(&text).unwrap(), (Some(545), "/name\0".to_owned()));
        for bad in ["x", "", "e30", &"a".repeat(5000)] {
            assert!(
                read(bad)
                    .unwrap_err()
                    .message
                    .starts_with("invalid continue token")
            );
        }
    }
}
