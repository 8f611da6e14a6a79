//! Durations as Go writes them: `20s`, `1h30m0s`, `250ms`.
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, in text as `time.Duration` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// No time at all.
    pub const ZERO: GoDuration = GoDuration(Duration::ZERO);
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        GoDuration(Duration::from_secs(seconds))
    }
    /// The same as the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no duration; write it like 20s, 5m or 1h30m")]
pub struct NotADuration(String);

impl FromStr for GoDuration {
    type Err = NotADuration;
    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let wrong = || NotADuration(text.to_owned());
        if text == "0" {
            return Ok(GoDuration::ZERO);
        }
        let (mut rest, mut total) = (text, 0.0_f64);
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let number = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(wrong)?;
            let value: f64 = rest[..number].parse().map_err(|_| wrong())?;
            rest = &rest[number..];
            let unit = rest
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(rest.len());
            total += value
                * match &rest[..unit] {
                    "ns" => 1e-9,
                    "us" | "µs" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return Err(wrong()),
                };
            rest = &rest[unit..];
        }
        Duration::try_from_secs_f64(total)
            .map(GoDuration)
            .map_err(|_| wrong())
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds == 0 && nanos > 0 {
            return write!(f, "{}ms", f64::from(nanos) / 1e6);
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match nanos {
            0 => write!(f, "{}s", seconds % 60),
            nanos => write!(
                f,
                "{}s",
                seconds.rem_euclid(60) as f64 + f64::from(nanos) / 1e9
            ),
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_go_has_them() {
        for (text, millis, shown) in [
            ("20s", 20_000, "20s"),
            ("1h30m", 5_400_000, "1h30m0s"),
            ("5m0s", 300_000, "5m0s"),
            ("250ms", 250, "250ms"),
            ("1.5s", 1500, "1.5s"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
        ] {
            let read: GoDuration = text.parse().unwrap();
            assert_eq!(read.get(), Duration::from_millis(millis), "{text}");
            assert_eq!(read.to_string(), shown);
        }
        for text in ["", "20", "s", "-1s", "1x", "1s2", "1..2s", "1e400h"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
