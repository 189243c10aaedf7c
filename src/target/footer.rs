//! The version in a payload's footer: which one a type needs, and which ones a server takes.
//!
//! A server checks the footer's version and the CRC, and decodes by the type byte. So the number is ours to choose: the
//! lowest that the type needs, among those that the destination takes. A type exists from one RDB version on
//! ([`ValueType::info`]).

use super::product::{Product, Version};
use crate::payload::payload_type;
use crate::snapshot::{Dialect, ValueType};

/// The lowest footer that is ever written: what Redis 2.6 knows.
const LOWEST: u16 = 6;
/// From here on the versions are Valkey's own.
const VALKEY: u16 = 80;
/// The versions that a server takes in a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footers {
    /// Only its own number: Redis 2.6 to 3.2.0.
    Exactly(u16),
    /// Every number up to its own.
    UpTo(u16),
    /// 1 to 11, and 80 up to its own: Valkey 9.
    Valkey(u16),
}

impl Footers {
    /// By the table; `None` for a server without `RESTORE`.
    #[must_use]
    pub fn of(product: Product, version: Version) -> Option<Self> {
        let at_least = |major, minor, patch| version >= Version::new(major, minor, patch);
        Some(match product {
            Product::Redis if at_least(8, 10, 0) => Self::UpTo(15),
            Product::Redis if at_least(8, 8, 0) => Self::UpTo(14),
            Product::Redis if at_least(8, 6, 0) => Self::UpTo(13),
            Product::Redis if at_least(7, 4, 0) => Self::UpTo(12),
            Product::Redis if at_least(7, 2, 0) => Self::UpTo(11),
            Product::Redis if at_least(7, 0, 0) => Self::UpTo(10),
            Product::Redis if at_least(5, 0, 0) => Self::UpTo(9),
            Product::Redis if at_least(4, 0, 0) => Self::UpTo(8),
            Product::Redis if at_least(3, 2, 1) => Self::UpTo(7),
            Product::Redis if at_least(3, 2, 0) => Self::Exactly(7),
            Product::Redis if at_least(2, 6, 0) => Self::Exactly(6),
            Product::Redis => return None,
            Product::Valkey if at_least(9, 2, 0) => Self::Valkey(81),
            Product::Valkey if at_least(9, 0, 0) => Self::Valkey(80),
            Product::Valkey => Self::UpTo(11),
            Product::KeyDb => Self::UpTo(9),
            Product::Dragonfly => Self::UpTo(12),
        })
    }

    /// Whether this version is taken.
    #[must_use]
    pub fn takes(self, footer: u16) -> bool {
        match self {
            Self::Exactly(own) => footer == own,
            Self::UpTo(own) => (1..=own).contains(&footer),
            Self::Valkey(own) => (1..=11).contains(&footer) || (VALKEY..=own).contains(&footer),
        }
    }

    /// The lowest version that is taken and at least `needed`, on the same side of Valkey's own numbers.
    #[must_use]
    pub fn lowest_from(self, needed: u16) -> Option<u16> {
        match self {
            Self::Exactly(own) => (needed <= own).then_some(own),
            _ => self.takes(needed).then_some(needed),
        }
    }
}

/// The footer that a type needs at least, if it can stand in a payload at all.
///
/// # Errors
/// Why it cannot, in words.
pub fn footer_needed(value_type: ValueType, dialect: Dialect) -> Result<u16, &'static str> {
    let sent = payload_type(value_type, dialect);
    match (sent.info(dialect), dialect) {
        (_, Dialect::Dragonfly) if matches!(sent.0, 20 | 30..=37) => {
            Err("a type of Dragonfly's own, which this version does not send")
        }
        (Some(info), _) => Ok(info.since.max(LOWEST)),
        (None, _) => Err("its type is not known"),
    }
}
