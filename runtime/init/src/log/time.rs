//! Times for people and sorting machines, without a calendar library.

/// The length of `2026-11-23T15:28:46.123456789Z`.
pub const RFC3339_NANO: usize = 30;

/// `now`, in nanoseconds since 1970, as RFC 3339 in UTC with nine decimals.
#[must_use]
pub fn rfc3339_nano(now: u64) -> [u8; RFC3339_NANO] {
    let (seconds, nanoseconds) = (now / 1_000_000_000, now % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut out[0..4], year);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], second / 3600);
    digits(&mut out[14..16], second / 60 % 60);
    digits(&mut out[17..19], second % 60);
    digits(&mut out[20..29], nanoseconds);
    out
}

/// Writes `value` right-aligned over zeros.
fn digits(into: &mut [u8], value: u64) {
    let mut rest = value;
    for place in into.iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

/// Year, month and day of a day number since 1970, in the Gregorian calendar.
///
/// Counts in eras of 400 years that begin on the first of March, so that the leap day is a year's
/// last.
fn civil(days: u64) -> (u64, u64, u64) {
    const TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days + TO_1970;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days.min(day_of_era)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339_nano;

    #[track_caller]
    fn check(seconds: u64, nanoseconds: u64, want: &str) {
        let got = rfc3339_nano(seconds * 1_000_000_000 + nanoseconds);
        assert_eq!(core::str::from_utf8(&got).unwrap(), want);
    }

    #[test]
    fn known_times() {
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399, 999_999_999, "2000-02-28T23:59:59.999999999Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        check(951_868_800, 0, "2000-03-01T00:00:00.000000000Z");
        check(1_704_067_199, 5_000_000, "2023-12-31T23:59:59.005000000Z");
        check(1_709_208_000, 0, "2024-02-29T12:00:00.000000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_last() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..146_097 {
            assert_eq!(super::civil(number), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
