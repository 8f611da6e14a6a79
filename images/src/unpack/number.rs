//! Numbers in tar headers: octal text, or base-256 where octal is too short.

/// A header field; `None` when it is neither octal nor base-256, or does not fit.
pub(crate) fn parse(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

/// As [`parse`], where a negative number makes no sense.
pub(crate) fn parse_unsigned(field: &[u8]) -> Option<u64> {
    parse(field).and_then(|number| u64::try_from(number).ok())
}

/// Spaces and NULs around the digits; nothing but those means zero.
fn octal(field: &[u8]) -> Option<i64> {
    let is_pad = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !is_pad(byte))
        .unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_pad).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_pad) {
        return None;
    }
    digits[..end]
        .iter()
        .try_fold(0_i64, |sum, byte| match byte {
            b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
            _ => None,
        })
}

/// Big-endian two's complement; the first bit only says that it is base-256.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let start = if negative { -1_i128 } else { 0 };
    let mut bytes = std::iter::once(first).chain(field[1..].iter().copied());
    let number = bytes.try_fold(start, |sum, byte| {
        let next = sum.checked_mul(256)?.checked_add(i128::from(byte))?;
        (-(1_i128 << 100)..1_i128 << 100)
            .contains(&next)
            .then_some(next)
    })?;
    i64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000000", Some(0)),
            (b"77777777777", Some(0o77_777_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"", Some(0)),
            (b"12a\0", None),
            (b"8\0", None),
            (b"1 2\0", None),
            (b"-1\0", None),
        ] {
            assert_eq!(parse(field), want, "{field:?}");
        }
    }

    #[test]
    fn base256_fields() {
        let positive = [0x80, 0, 0, 0, 0, 0, 0, 0, 2, 0x54, 0x0b, 0xe4];
        assert_eq!(parse(&positive), Some(39_062_500));
        let minus_one = [0xff; 12];
        assert_eq!(parse(&minus_one), Some(-1));
        assert_eq!(parse_unsigned(&minus_one), None);
        let minus_256 = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        assert_eq!(parse(&minus_256), Some(-256));
        let too_big = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&too_big), None);
        let far_too_big = [0xbf; 12];
        assert_eq!(parse(&far_too_big), None);
    }
}
