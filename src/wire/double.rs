//! Scores: the old text form (types 3) and the binary one (types 5, 28, module `DOUBLE`).
//!
//! Old form (`rdbLoadDoubleValue`): one byte n; 253 is NaN, 254 +inf, 255 −inf, else n ASCII bytes that `sscanf("%lg")` reads.
//! Binary form: 8 bytes IEEE-754, little endian.

use super::cursor::Cursor;
use crate::error::{Error, Result};

/// Reads the binary form. The bits are kept as they are, −0 and NaN included.
///
/// # Errors
/// `Corrupt` where the bytes end.
#[inline]
pub fn read_binary(cursor: &mut Cursor<'_>) -> Result<f64> {
    cursor.array().map(f64::from_le_bytes)
}

/// Moves over the old form without looking at its digits.
///
/// # Errors
/// `Corrupt` where the bytes end.
#[inline]
pub fn skip_text(cursor: &mut Cursor<'_>) -> Result<()> {
    match cursor.u8()? {
        253..=255 => Ok(()),
        length => cursor.skip(u64::from(length)),
    }
}

/// Reads the old form.
///
/// # Errors
/// `Corrupt` where the bytes end or the text is no number. NaN (253) is returned as NaN: whether that is acceptable is the
/// caller's question, since servers differ.
pub fn read_text(cursor: &mut Cursor<'_>) -> Result<f64> {
    let start = *cursor;
    match cursor.u8()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        length => {
            let text = cursor.take(u64::from(length))?;
            parse(text).ok_or_else(|| {
                Error::corrupt(
                    start.place(),
                    format!("score {} is no number", crate::error::Escaped(text)),
                )
            })
        }
    }
}

/// A number as `strtod` reads it, with the whole text used: leading blanks, decimal and hexadecimal forms, `inf`; a text that
/// is too large becomes an infinity. `nan` and the empty text give `None`, as servers from 7.0 refuse both.
#[must_use]
pub fn parse(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text)
        .ok()?
        .trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let magnitude = if let Some(hex) = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"))
    {
        parse_hex(hex)?
    } else {
        // Rust takes "infinity", "nan" and a second sign too; only what strtod takes may pass.
        let decimal = unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        let starts = unsigned
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_digit() || b == b'.');
        if decimal && starts {
            unsigned.parse().ok()?
        } else if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity")
        {
            f64::INFINITY
        } else {
            return None;
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// A decimal number without an exponent, and whether it is exact: otherwise it is off by the rounding of two operations.
/// `None` for every other text. A fraction of the time of [`parse`].
#[must_use]
#[inline]
pub fn nearly(text: &[u8]) -> Option<(f64, bool)> {
    const MOST_DIGITS: usize = 19;
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > MOST_DIGITS + 1 {
        return None;
    }
    let (mut mantissa, mut count, mut point) = (0u64, 0usize, None);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(byte & 0x0f));
                count = count.wrapping_add(1);
            }
            b'.' if point.is_none() => point = Some(count),
            _ => return None,
        }
    }
    if count == 0 || count > MOST_DIGITS {
        return None;
    }
    let behind_point = count.wrapping_sub(point.unwrap_or(count));
    let divisor = POWERS.get(behind_point)?;
    #[expect(clippy::cast_precision_loss, reason = "said by the flag")]
    let value = mantissa as f64 / divisor;
    // A whole number of 53 bits divided by a power of ten that is one too: one operation, rounded once.
    let is_exact = mantissa <= 1 << 53;
    Some((if is_negative { -value } else { value }, is_exact))
}

/// Powers of ten, which up to 10^22 are exact.
const POWERS: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
];

/// `h.hhhp±d` without the `0x`. Digits beyond 60 bits only say whether anything was there, which is enough to round rightly.
fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (
            digits,
            exponent.parse::<i64>().ok()?.clamp(-100_000, 100_000),
        ),
        None => (text, 0),
    };
    let mut mantissa = 0u64;
    let mut scale = exponent;
    let (mut seen_point, mut any) = (false, false);
    for b in digits.bytes() {
        if b == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = u64::from(char::from(b).to_digit(16)?);
        any = true;
        if mantissa >> 59 == 0 {
            mantissa = mantissa << 4 | digit;
            scale = scale.checked_sub(if seen_point { 4 } else { 0 })?;
        } else {
            mantissa |= u64::from(digit != 0);
            scale = scale.checked_add(if seen_point { 0 } else { 4 })?;
        }
    }
    if !any {
        return None;
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    // Scale in steps that each stay exact, the last one rounds once.
    let mut value = mantissa as f64;
    while scale > 0 {
        let step = scale.min(1000);
        value *= 2f64.powi(i32::try_from(step).ok()?);
        scale = scale.checked_sub(step)?;
    }
    while scale < 0 {
        let step = scale.saturating_neg().min(1000);
        value *= 2f64.powi(i32::try_from(step.saturating_neg()).ok()?);
        scale = scale.checked_add(step)?;
    }
    Some(value)
}

/// Appends a double of an array (type 28) as the text that its server answers, which is the string that it was made from:
/// whole numbers of 64 bits with `.0` behind them, all others as `fpconv_dtoa` writes them, with a `.0` where nothing else
/// shows that they are no integer. Measured on Redis 8.10.
pub fn push_server_text(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;

    if !value.is_finite() {
        out.extend_from_slice(if value.is_nan() {
            b"nan"
        } else if value > 0.0 {
            b"inf"
        } else {
            b"-inf"
        });
        return;
    }
    // Writing to a vector cannot fail.
    if value.fract() == 0.0 && value.abs() < 9.2e18 {
        let _ = write!(out, "{value:.1}");
        return;
    }
    // The shortest digits, and the exponent of the first one.
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let last = exponent.saturating_sub(count).saturating_add(1);
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let zeros = |n: i32| std::iter::repeat_n(b'0', usize::try_from(n).unwrap_or(0));
    if last >= 0 && exponent < count.saturating_add(7) {
        out.extend_from_slice(&digits);
        out.extend(zeros(last));
        out.extend_from_slice(b".0");
    } else if last < 0 && (last > -7 || exponent.abs() < 4) {
        match usize::try_from(exponent) {
            Ok(whole) => {
                let (whole, part) = digits.split_at(whole.saturating_add(1).min(digits.len()));
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(part);
            }
            Err(_) => {
                out.extend_from_slice(b"0.");
                out.extend(zeros(exponent.saturating_neg().saturating_sub(1)));
                out.extend_from_slice(&digits);
            }
        }
    } else {
        let (first, part) = digits.split_at(1.min(digits.len()));
        out.extend_from_slice(first);
        if !part.is_empty() {
            out.push(b'.');
            out.extend_from_slice(part);
        }
        let _ = write!(out, "e{exponent:+}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_form() {
        let read = |bytes: &[u8]| read_text(&mut Cursor::new(bytes, 0));
        assert_eq!(read(b"\x031.5").unwrap(), 1.5);
        assert_eq!(read(b"\xfe").unwrap(), f64::INFINITY);
        assert_eq!(read(b"\xff").unwrap(), f64::NEG_INFINITY);
        assert!(read(b"\xfd").unwrap().is_nan());
        for bad in [
            &b"\x00"[..],
            b"\x03nan",
            b"\x02--",
            b"\x0312",
            b"\x031 2",
            b"\x01e",
            b"\x05",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let mut c = Cursor::new(b"\xfd\x031.5\x00", 0);
        for _ in 0..3 {
            skip_text(&mut c).unwrap();
        }
        assert!(c.is_empty());
    }

    #[test]
    fn texts_as_strtod_reads_them() {
        for (text, value) in [
            ("17", 17.0),
            (" 1.5", 1.5),
            ("-0", -0.0),
            ("1e999", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("0x10", 16.0),
            ("0x1.8p1", 3.0),
            ("-0X.8P-1", -0.25),
            ("4.9406564584124654e-324", 5e-324),
            ("0.30000000000000004", 0.1 + 0.2),
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap().to_bits(),
                f64::to_bits(value),
                "{text}"
            );
        }
        for text in [
            "", " ", "nan", "1.5x", "0x", "++1", "1 ", "infinit", "\u{661}",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn short_decimals_are_read_nearly_or_exactly() {
        for text in [
            "0",
            "-0",
            "17",
            "-1.5",
            "1.",
            ".5",
            "0.1",
            "9007199254740992",
            "9007199254740993",
            "0.30000000000000004",
            "1234567890123456789",
            "0.000000000000000001",
            "-123.456",
            "99999.99999999999999",
        ] {
            let (value, is_exact) = nearly(text.as_bytes()).unwrap();
            let exact = parse(text.as_bytes()).unwrap();
            if is_exact {
                assert_eq!(value.to_bits(), exact.to_bits(), "{text}");
            }
            assert!((value - exact).abs() <= exact.abs() * 1e-15, "{text}");
        }
        assert!(nearly(b"0.1").unwrap().1 && !nearly(b"9007199254740993").unwrap().1);
        for text in [
            "",
            "-",
            ".",
            "-.",
            "1.2.3",
            "1e5",
            "+1",
            " 1",
            "inf",
            "0x1",
            "12345678901234567890",
        ] {
            assert_eq!(nearly(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn binary_form_keeps_the_bits() {
        for value in [
            0.0,
            -0.0,
            1.5,
            f64::MIN_POSITIVE,
            5e-324,
            f64::INFINITY,
            f64::NAN,
        ] {
            let bytes = value.to_le_bytes();
            assert_eq!(
                read_binary(&mut Cursor::new(&bytes, 0)).unwrap().to_bits(),
                value.to_bits()
            );
        }
        assert!(read_binary(&mut Cursor::new(&[0; 7], 0)).is_err());
    }

    /// What Redis 8.10 answers for an array's element with these bits.
    #[test]
    fn doubles_of_arrays_as_their_server_shows_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (3.5, "3.5"),
            (-3.25, "-3.25"),
            (123456.0, "123456.0"),
            (1e15, "1000000000000000.0"),
            (-1e17, "-100000000000000000.0"),
            (1e20, "1e+20"),
            (1.234e33, "1.234e+33"),
            (1e300, "1e+300"),
            (9999999999999996000000.0, "9999999999999996000000.0"),
            (1234567890123456512.0, "1234567890123456512.0"),
            (0.09999999999999998, "0.09999999999999998"),
            (0.30000000000000004, "0.30000000000000004"),
            (0.001, "0.001"),
            (9.999999999999999e-5, "9.999999999999999e-5"),
            (0.00012345, "1.2345e-4"),
            (1e-7, "1e-7"),
            (2.4999999999999992e-9, "2.4999999999999992e-9"),
            (123456789.125, "123456789.125"),
            (1.7976931348623151e308, "1.7976931348623151e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let mut out = Vec::new();
            push_server_text(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
            if value.is_finite() {
                assert_eq!(parse(text.as_bytes()).unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
