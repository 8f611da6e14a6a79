//! Kubernetes quantities: `500m`, `1.5Gi`, `12e6`.
//!
//! A quantity is an exact number of billionths. What is finer is rounded away from zero and what does not fit 63 bits is
//! cut off there, as Kubernetes does; so no input overflows.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// The largest magnitude, in billionths.
const MOST: i128 = i64::MAX as i128 * NANO;
/// Fraction digits that are kept exactly; more than billionths, for binary suffixes.
const FRACTION: usize = 18;

/// A parsed quantity. Ordered and compared by value: `1000m` equals `1`.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    notation: Notation,
}

/// How a quantity was written, which is how it is printed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    /// `k`, `M`, `G`, and `m`, `u`, `n`
    Decimal,
    /// `Ki`, `Mi`, `Gi`
    Binary,
    /// `e3`, `e-3`
    Exponent,
}

/// Text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a quantity; write a number with an optional suffix, for example 500m, 2, 64Mi or 1.5Gi"
)]
pub struct ParseQuantityError {
    text: String,
}

impl Quantity {
    /// A whole number.
    #[must_use]
    pub fn from_units(units: i64) -> Self {
        Self {
            nano: i128::from(units) * NANO,
            notation: Notation::Decimal,
        }
    }

    /// Thousandths: `from_milli(500)` is half a CPU.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self {
            nano: i128::from(milli) * (NANO / 1000),
            notation: Notation::Decimal,
        }
    }

    /// A number of bytes, printed with `Ki`, `Mi`, `Gi`.
    #[must_use]
    pub fn from_bytes(bytes: i64) -> Self {
        Self {
            nano: i128::from(bytes) * NANO,
            notation: Notation::Binary,
        }
    }

    /// The whole number, rounded away from zero: what a memory limit means in bytes.
    #[must_use]
    pub fn units(self) -> i64 {
        self.scaled(NANO)
    }

    /// The number of thousandths, rounded away from zero: what a CPU limit means.
    #[must_use]
    pub fn milli(self) -> i64 {
        self.scaled(NANO / 1000)
    }

    /// Whether this is neither positive nor negative.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// Whether this is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    fn scaled(self, unit: i128) -> i64 {
        let value = divide_up(self.nano, unit);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }
}

/// Division that rounds away from zero.
fn divide_up(value: i128, by: i128) -> i128 {
    value / by + (value % by).signum()
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        parse(text).ok_or_else(|| ParseQuantityError {
            text: crate::node::shorten(text),
        })
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = ParseQuantityError;

    fn try_from(
        quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    ) -> Result<Self, ParseQuantityError> {
        quantity.0.parse()
    }
}

impl From<Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (scale, notation) = suffix_of(suffix)?;
    let nano = magnitude(whole, fraction, scale).min(MOST);
    Some(Quantity {
        nano: if negative { -nano } else { nano },
        notation,
    })
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn suffix_of(suffix: &str) -> Option<(Scale, Notation)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Ten(*power), Notation::Decimal));
    }
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Two(*power), Notation::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Beyond 60 the outcome is the same: the largest or the smallest quantity.
    let far = if exponent.starts_with('-') { -60 } else { 60 };
    let power = exponent.parse::<i32>().unwrap_or(far).clamp(-60, 60);
    Some((Scale::Ten(power), Notation::Exponent))
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// The number in billionths, rounded up; `i128::MAX` if it is beyond all bounds.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let fraction = fraction.trim_end_matches('0');
    let kept = &fraction[..fraction.len().min(FRACTION)];
    // Digits that were cut off are not zero, so the outcome is rounded up.
    let cut = i128::from(kept.len() < fraction.len());
    let mut digits = 0_i128;
    for byte in whole.bytes().chain(kept.bytes()) {
        let next = digits
            .checked_mul(10)
            .and_then(|n| n.checked_add(i128::from(byte - b'0')));
        let Some(next) = next else { return i128::MAX };
        digits = next;
    }
    if digits == 0 && cut == 0 {
        return 0;
    }
    let places = i32::try_from(kept.len()).unwrap_or(0);
    let (digits, power) = match scale {
        Scale::Ten(power) => (digits, power + 9 - places),
        Scale::Two(power) => (digits.saturating_mul(1 << power), 9 - places),
    };
    let (digits, remainder) = match u32::try_from(power) {
        Ok(power) => (
            10_i128
                .checked_pow(power)
                .map_or(i128::MAX, |by| digits.saturating_mul(by)),
            0,
        ),
        Err(_) => match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(by) => (digits / by, digits % by),
            None => (0, digits),
        },
    };
    digits.saturating_add(i128::from(remainder != 0 || cut != 0))
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that keeps the number whole.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return out.write_str("0");
        }
        match self.notation {
            Notation::Binary if self.nano.abs() >= 1024 * NANO => {
                let mut units = divide_up(self.nano, NANO);
                let mut suffix = "";
                for (name, _) in BINARY {
                    if units % 1024 != 0 {
                        break;
                    }
                    units /= 1024;
                    suffix = name;
                }
                write!(out, "{units}{suffix}")
            }
            Notation::Binary | Notation::Decimal | Notation::Exponent => {
                let mut number = self.nano;
                let mut step = 0;
                while number % 1000 == 0 && step + 1 < DECIMAL.len() {
                    number /= 1000;
                    step += 1;
                }
                let (suffix, power) = DECIMAL[step];
                match self.notation {
                    Notation::Exponent if power != 0 => write!(out, "{number}e{power}"),
                    _ => write!(out, "{number}{suffix}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, printed: &str, units: i64, milli: i64) {
        let quantity: Quantity = text.parse().unwrap();
        assert_eq!(
            (
                quantity.to_string().as_str(),
                quantity.units(),
                quantity.milli()
            ),
            (printed, units, milli),
            "{text}"
        );
    }

    #[test]
    fn quantities() {
        check("0", "0", 0, 0);
        check("-0", "0", 0, 0);
        check("1", "1", 1, 1000);
        check("+1", "1", 1, 1000);
        check("500m", "500m", 1, 500);
        check("0.5", "500m", 1, 500);
        check(".5", "500m", 1, 500);
        check("1.", "1", 1, 1000);
        check("1.5", "1500m", 2, 1500);
        check("1000m", "1", 1, 1000);
        check("100u", "100u", 1, 1);
        check("1n", "1n", 1, 1);
        check("0.1n", "1n", 1, 1);
        check("1k", "1k", 1000, 1_000_000);
        check("1000k", "1M", 1_000_000, 1_000_000_000);
        check("1Ki", "1Ki", 1024, 1_024_000);
        check("64Mi", "64Mi", 64 << 20, (64 << 20) * 1000);
        check("1.5Gi", "1536Mi", 3 << 29, (3 << 29) * 1000);
        check("1024Mi", "1Gi", 1 << 30, (1 << 30) * 1000);
        check("0.5Ki", "512", 512, 512_000);
        check("0.1Mi", "104858", 104_858, 104_857_600);
        check("12e6", "12e6", 12_000_000, 12_000_000_000);
        check("1E3", "1e3", 1000, 1_000_000);
        check("5e-3", "5e-3", 1, 5);
        check("1E", "1E", 1_000_000_000_000_000_000, i64::MAX);
        check("-1.5", "-1500m", -2, -1500);
        check("-1Gi", "-1Gi", -(1 << 30), -(1 << 30) * 1000);
        check("7Ei", "7Ei", 7 << 60, i64::MAX);
        check("100Ei", "9223372036854775807", i64::MAX, i64::MAX);
        check("1e99999999999", "9223372036854775807", i64::MAX, i64::MAX);
        check("1e-99999999999", "1e-9", 1, 1);
        check(&"9".repeat(100), "9223372036854775807", i64::MAX, i64::MAX);
        check(&format!("0.{}1", "0".repeat(100)), "1n", 1, 1);
        check("0.000000000000001Ei", "1153", 1153, 1_152_922);
    }

    #[test]
    fn what_is_not_a_quantity() {
        for text in [
            "", " ", "1 ", " 1", "Mi", ".", "-", "1.2.3", "1K", "1mi", "1KiB", "1MB", "0x10", "1e",
            "1e+", "1e1.5", "--1", "+-1", "1,5", "NaN", "inf", "١",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_value_is_what_counts() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(quantity("1024Mi"), quantity("1Gi"));
        assert_eq!(quantity("1000m"), quantity("1"));
        assert!(quantity("1M") < quantity("1Mi"));
        assert!(quantity("-1") < quantity("0"));
    }

    proptest! {
        #[test]
        fn printing_keeps_the_value(number in -1_000_000_i64..1_000_000, fraction in 0..1000, suffix in
            prop::sample::select(vec!["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "e-3", "E2"])) {
            let text = format!("{number}.{fraction:03}{suffix}");
            let quantity: Quantity = text.parse().unwrap();
            let again: Quantity = quantity.to_string().parse().unwrap();
            // A number of bytes without a power of two in it loses that it was one.
            let third: Quantity = again.to_string().parse().unwrap();
            prop_assert_eq!(third, again);
            prop_assert_eq!(again.units(), quantity.units());
        }

        #[test]
        fn whole_numbers_are_exact(number: i64) {
            let number = number.max(-i64::MAX);
            prop_assert_eq!(number.to_string().parse::<Quantity>().unwrap().units(), number);
            prop_assert_eq!(Quantity::from_bytes(number).to_string().parse::<Quantity>().unwrap().units(), number);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert!(quantity.to_string().parse::<Quantity>().is_ok());
            }
        }

        #[test]
        fn near_quantities_are_read_or_refused(text in "[-+]?[0-9.]{0,60}[eE]?[-+]?[0-9]{0,12}[numkMGTPEi]{0,2}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert!(quantity.to_string().parse::<Quantity>().is_ok());
            }
        }
    }
}
