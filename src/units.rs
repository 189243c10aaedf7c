//! How sizes are written for people. L0: knows nothing of the crate.

use std::fmt;

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
}
