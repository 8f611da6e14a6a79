//! Signals as people and engines write them: `9`, `KILL`, `SIGKILL`, `RTMIN+3`.
use std::str::FromStr;

/// The number of the last real-time signal.
const LAST: i32 = 64;
/// `SIGRTMIN` as the C library counts: the first two belong to its threads.
const RTMIN: i32 = 34;

/// Signal 9, which nothing can ignore.
pub(super) const KILL: Signal = Signal(9);

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal number that the kernel knows: 0 (only look) to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal(i32);

/// A string that names no signal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown signal {name:?}: give a number from 0 to 64 or a name such as TERM")]
pub(super) struct SignalError {
    name: String,
}

impl Signal {
    /// The signal with this number, if the kernel has one.
    pub(super) fn from_number(number: i32) -> Option<Signal> {
        (0..=LAST).contains(&number).then_some(Signal(number))
    }

    /// The number.
    pub(super) fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Signal, SignalError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = match name.bytes().next() {
            Some(b'0'..=b'9') => name.parse().ok(),
            _ => named(name),
        };
        let signal = number.and_then(Signal::from_number);
        signal.ok_or_else(|| SignalError {
            name: text.to_owned(),
        })
    }
}

fn named(name: &str) -> Option<i32> {
    if let Some(&(_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(number);
    }
    let (base, sign, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, 1, rest.strip_prefix('+')),
        (None, Some(rest)) => (LAST, -1, rest.strip_prefix('-')),
        (None, None) => return None,
    };
    let exact = name.len() == "RTMIN".len();
    let offset: u8 = if exact { 0 } else { rest?.parse().ok()? };
    let number = base + sign * i32::from(offset);
    (RTMIN..=LAST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<i32>) {
        assert_eq!(
            text.parse::<Signal>().ok().map(Signal::number),
            want,
            "{text:?}"
        );
    }

    #[test]
    fn numbers_and_names_are_read() {
        check("9", Some(9));
        check("KILL", Some(9));
        check("SIGKILL", Some(9));
        check("sigterm", Some(15));
        check("SIG15", Some(15));
        check("0", Some(0));
        check("64", Some(64));
        check("RTMIN", Some(34));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "", "SIG", "65", "-9", "KILLED", "RTMIN-1", "RTMIN+31", "RTMAX+1", "9x", "RTMIN+",
        ] {
            check(bad, None);
        }
    }
}
