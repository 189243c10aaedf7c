//! Numbers as JSON has them, with nothing lost.

/// Appends a double as the shortest number that reads back to the same bits; whole numbers below 2^53 without a point. What
/// JSON cannot write is a string.
#[inline]
pub fn push_double(out: &mut Vec<u8>, value: f64) {
    /// From here on, not every integer is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT && (value != 0.0 || value.is_sign_positive()) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        let whole = value as i64;
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(if value.is_nan() {
            b"\"nan\""
        } else if value > 0.0 {
            b"\"inf\""
        } else {
            b"\"-inf\""
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        push_double(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_the_shortest_that_read_back() {
        for (value, shown) in [
            (0.0, "0"),
            (-0.0, "-0.0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (0.30000000000000004, "0.30000000000000004"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (f64::INFINITY, "\"inf\""),
            (f64::NEG_INFINITY, "\"-inf\""),
            (f64::NAN, "\"nan\""),
        ] {
            assert_eq!(text(value), shown);
        }
        for value in [
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_994.0,
            1e21,
            1e22,
            -1.5e300,
            123_456_789.125,
            1.0 / 3.0,
        ] {
            let shown = text(value);
            let back: f64 = serde_json::from_str(&shown).unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{shown}");
        }
    }
}
