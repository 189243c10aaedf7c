//! A score as text that reads back to the same bits.

use std::io::Write as _;

/// Appends the shortest decimal text from which `strtod` makes the same number again, `inf` and `-inf` included.
pub(crate) fn write(out: &mut Vec<u8>, score: f64) {
    // Whole numbers up to 2^53 are most scores, and exact as integers; -0 is none of them.
    #[expect(clippy::cast_possible_truncation, reason = "compared after the cast")]
    let whole = score as i64;
    #[expect(clippy::cast_precision_loss, reason = "up to 2^53 nothing is lost")]
    let back = whole as f64;
    if back.to_bits() == score.to_bits() && whole.unsigned_abs() <= 1 << 53 {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        return;
    }
    if score.is_infinite() {
        out.extend_from_slice(if score > 0.0 { b"inf" } else { b"-inf" });
        return;
    }
    let magnitude = score.abs();
    // Both forms have the shortest digits that come back to the same number; writing to a Vec cannot fail.
    let _ = if score == 0.0 || (1e-5..1e17).contains(&magnitude) {
        write!(out, "{score}")
    } else {
        write!(out, "{score:e}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(score: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, score);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_people_and_servers_write_them() {
        for (score, shown) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, "1e300"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(text(score), shown);
        }
    }

    proptest! {
        #[test]
        fn every_number_comes_back_bit_for_bit(bits in any::<u64>()) {
            let score = f64::from_bits(bits);
            prop_assume!(!score.is_nan());
            let text = text(score);
            prop_assert!(text.len() <= 25, "{}", text);
            let back = crate::wire::double::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(back.to_bits(), score.to_bits());
        }
    }
}
