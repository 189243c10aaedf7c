//! Which server it is: product and version, found out or assumed (`--assume redis-7.2`).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A server's product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Product {
    /// Redis, and what does not say that it is something else.
    Redis,
    /// Valkey.
    Valkey,
    /// KeyDB (from its sources, untested).
    KeyDb,
    /// Dragonfly (from its sources, untested).
    Dragonfly,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Product::Redis => "redis",
            Product::Valkey => "valkey",
            Product::KeyDb => "keydb",
            Product::Dragonfly => "dragonfly",
        })
    }
}

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number; 0 where none is given.
    pub patch: u16,
}

impl Version {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads `7.0.15`, `8.10`, `df-v1.27.0`, `7.2.0-rc1`, `255.255.255`; `None` if there are no two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("df-");
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part.get(..digits).unwrap_or_default().parse::<u16>().ok()
        });
        Some(Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next().flatten().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Product and version that the user states, where the destination hides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumed {
    /// The product.
    pub product: Product,
    /// The version; patch level 0 if not given.
    pub version: Version,
}

impl FromStr for Assumed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(
                ErrorKind::Usage,
                format!(
                    "{text:?} names no server; say it like redis-7.2, valkey-8.1, keydb-6.3 or dragonfly-1.27"
                ),
            )
        };
        let (product, version) = text.split_once('-').ok_or_else(bad)?;
        let product = match product.to_ascii_lowercase().as_str() {
            "redis" => Product::Redis,
            "valkey" => Product::Valkey,
            "keydb" => Product::KeyDb,
            "dragonfly" => Product::Dragonfly,
            _ => return Err(bad()),
        };
        let version = Version::parse(version).ok_or_else(bad)?;
        Ok(Self { product, version })
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Version::parse("7.0.15"), Some(Version::new(7, 0, 15)));
        assert_eq!(Version::parse("8.10"), Some(Version::new(8, 10, 0)));
        assert_eq!(Version::parse("7.2.0-rc1"), Some(Version::new(7, 2, 0)));
        assert_eq!(Version::parse("df-v1.27.3"), Some(Version::new(1, 27, 3)));
        assert_eq!(Version::parse("unstable"), None);
        assert_eq!(Version::parse("7"), None);
        assert!(Version::new(8, 10, 0) > Version::new(8, 9, 9));
    }

    #[test]
    fn servers_are_named_as_people_do() {
        let assumed: Assumed = "Valkey-8.1".parse().unwrap();
        assert_eq!(
            (assumed.product, assumed.version),
            (Product::Valkey, Version::new(8, 1, 0))
        );
        for bad in ["", "redis", "redis-", "redis-x", "postgres-16.1"] {
            assert_eq!(bad.parse::<Assumed>().unwrap_err().kind(), ErrorKind::Usage);
        }
    }
}
