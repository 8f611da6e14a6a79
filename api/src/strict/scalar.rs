//! Scalars in the form that Kubernetes' servers keep them in.
use crate::Quantity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;

/// A quantity in its canonical form: `1000m` is `1`.
///
/// # Errors
/// Kubernetes' words for text that is none.
pub fn quantity(text: &str) -> Result<String, String> {
    let parsed: Result<Quantity, _> = text.trim().parse();
    parsed.map(|quantity| quantity.to_string()).map_err(|_| {
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            .to_owned()
    })
}

/// RFC 3339 in UTC, whole seconds (`metav1.Time`).
///
/// # Errors
/// Text that is no such time.
pub fn time(text: &str) -> Result<String, String> {
    Ok(instant(text)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339 in UTC with microseconds (`metav1.MicroTime`).
///
/// # Errors
/// Text that is no such time.
pub fn micro_time(text: &str) -> Result<String, String> {
    let cut = instant(text)?;
    let micros = cut.subsec_nanosecond().max(0) / 1000;
    Ok(format!(
        "{}.{micros:06}Z",
        cut.strftime("%Y-%m-%dT%H:%M:%S")
    ))
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let problem = || {
        let shown = crate::node::shorten(text);
        format!("parsing time {shown:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {shown:?}")
    };
    // What jiff reads beyond RFC 3339 (zones in brackets, blanks, weeks) is not for the wire.
    let bytes = text.as_bytes();
    let dated = bytes.get(4) == Some(&b'-') && matches!(bytes.get(10), Some(b'T' | b't'));
    if !dated || bytes.contains(&b'[') || bytes.contains(&b',') || bytes.len() > 64 {
        return Err(problem());
    }
    let read: Timestamp = text.parse().map_err(|_| problem())?;
    // A year that does not have four digits in UTC has no form on the wire.
    let year = Offset::UTC.to_datetime(read).year();
    if (0..=9999).contains(&year) {
        Ok(read)
    } else {
        Err(problem())
    }
}

/// A point in time as protobuf has it.
pub(crate) fn from_seconds(seconds: i64, nanos: i32, micro: bool) -> Option<String> {
    let at = Timestamp::new(seconds, nanos).ok()?;
    let text = at.strftime("%Y-%m-%dT%H:%M:%S");
    let micros = at.subsec_nanosecond().max(0) / 1000;
    Some(if micro {
        format!("{text}.{micros:06}Z")
    } else {
        format!("{text}Z")
    })
}

/// Base64 with padding, as it is kept; line breaks within are dropped, as Go's reader does.
pub(super) fn bytes(text: &str) -> Result<String, String> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match STANDARD.decode(&joined) {
        Ok(_) => Ok(joined),
        Err(err) => {
            let at = match err {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(length) => length,
                base64::DecodeError::InvalidPadding => joined.len(),
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}
