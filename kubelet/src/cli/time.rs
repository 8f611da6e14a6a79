//! Spans and moments as people type them.
use jiff::Timestamp;
use std::time::Duration;

/// `90s`, `1h30m`, `2d`, or seconds alone.
///
/// # Errors
/// Says which forms there are.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no span of time; write e.g. 30s, 5m, 1h30m or 2d");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let millis = number.checked_mul(unit).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(millis))
            .ok_or_else(wrong)?;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Ok(total)
}

/// An RFC 3339 time.
///
/// # Errors
/// Shows the form.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is no time; write e.g. 2026-01-02T15:04:05Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: Option<u64>) {
        let found = span(text).ok();
        assert_eq!(found, millis.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn spans() {
        check("5", Some(5000));
        check("30s", Some(30_000));
        check("1h30m", Some(5_400_000));
        check("2d", Some(172_800_000));
        check("1w", Some(604_800_000));
        check("250ms", Some(250));
        check("0s", Some(0));
        for bad in [
            "",
            "m",
            "5x",
            "-5s",
            "1.5h",
            "5 m",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn moments() {
        let moment_of = |text| moment(text).map(Timestamp::as_second);
        assert_eq!(moment_of("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(moment_of("1970-01-01T02:01:00+02:00"), Ok(60));
        assert!(moment_of("yesterday").is_err());
    }
}
