//! How sizes are written for people. L0: knows nothing of the crate.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: exact below 10,000, else with the exact number in brackets (`1.3 GB (1288490188 bytes)`).
///
/// The units are decimal (1 GB = 1,000,000,000 bytes), as file managers and cloud consoles count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// The rounded form alone (`1.3 GB`), for progress lines and tables.
    #[must_use]
    pub fn short(self) -> String {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return format!("{} B", self.0);
        }
        // Tenths of the unit in integers: a float would round 999,950 up to "1000.0 kB".
        let mut tenths = self.0 / 100;
        let mut unit = 0;
        while tenths >= 10_000 && unit + 1 < UNITS.len() {
            tenths /= 1000;
            unit += 1;
        }
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            exact if exact < 10_000 => write!(f, "{exact} bytes"),
            exact => write!(f, "{} ({exact} bytes)", self.short()),
        }
    }
}

/// A number with a comma after each three digits: `1,060,000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// `1 key`, `1,060,000 keys`.
#[must_use]
pub fn keys(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} key{s}", Grouped(count))
}

/// Reads `4096`, `10k`, `10kB`, `1.5M`, `64KiB`, `2GiB`: decimal units count by 1000, those with an `i` by 1024. Case does
/// not matter.
impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_bytes(text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size: write it as 4096, 10k, 1.5MB or 64KiB"))
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let number_len = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    let (number, unit) = text.split_at(number_len);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => ("", 1000u64),
        prefix => match prefix.strip_suffix('i') {
            Some(prefix) => (prefix, 1024),
            None => (prefix, 1000),
        },
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return None,
    };
    if base == 1024 && power == 0 {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    // In integers: a float would lose the last bytes of a big size.
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let bytes = digits.checked_mul(u128::from(base).checked_pow(power)?)?;
    // A part of a byte is a slip of the pen.
    (bytes % scale == 0)
        .then_some(bytes / scale)
        .and_then(|bytes| u64::try_from(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down_and_exact_in_brackets() {
        for (bytes, short) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (1_288_490_188, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(ByteCount(bytes).short(), short);
        }
        assert_eq!(ByteCount(1).to_string(), "1 byte");
        assert_eq!(ByteCount(9_999).to_string(), "9999 bytes");
        assert_eq!(ByteCount(65_536).to_string(), "65.5 kB (65536 bytes)");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096b", 4096),
            ("10k", 10_000),
            ("10kB", 10_000),
            ("10 KB", 10_000),
            ("64KiB", 65_536),
            ("64ki", 65_536),
            ("1.5M", 1_500_000),
            ("0.5GiB", 1 << 29),
            (".5k", 500),
            ("16EiB", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            if text == "16EiB" {
                assert!(text.parse::<ByteCount>().is_err());
            } else {
                assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
            }
        }
        for bad in [
            "",
            "k",
            "1x",
            "-1",
            "1.5",
            "1..5k",
            "1i",
            "1iB",
            "1kk",
            "0x10",
            "1e3",
            "18446744073709551616",
            ".",
        ] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
    }
}
