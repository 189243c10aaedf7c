//! Which commands a destination knows.

use crate::snapshot::Kind;

/// The commands and options that a destination knows, as far as they decide what can be carried. Whoever knows the
/// destination chooses; the constructors have the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    /// `HSET` with many fields (4.0), else `HMSET`.
    pub hset_many: bool,
    /// `HPEXPIREAT` (Redis 7.4, Valkey 9.0).
    pub field_expiry: bool,
    /// The command that gives a member of a set or sorted set, or a field, an expiry: KeyDB's `PEXPIREMEMBERAT`.
    pub member_expiry: Option<&'static str>,
    /// Streams (5.0).
    pub streams: bool,
    /// `XGROUP CREATECONSUMER` (6.2). Before, reading nothing makes a consumer.
    pub create_consumer: bool,
    /// `XSETID … ENTRIESADDED … MAXDELETEDID` and `XGROUP CREATE … ENTRIESREAD` (7.0).
    pub stream_counters: bool,
    /// `XCFGSET` and `XIDMPRECORD` (Redis 8.6.2).
    pub idempotency: bool,
    /// `XNACK` (Redis 8.8).
    pub nack: bool,
    /// `ARMSET`, `ARSEEK` (Redis 8.8).
    pub arrays: bool,
    /// `JSON.SET`.
    pub json: bool,
}

impl Vocabulary {
    /// Whether there are commands that write values of a kind.
    #[must_use]
    pub fn writes(&self, kind: Kind) -> bool {
        match kind {
            Kind::String | Kind::List | Kind::Set | Kind::ZSet | Kind::Hash => true,
            Kind::Stream => self.streams,
            Kind::Array => self.arrays,
            Kind::Json => self.json,
            Kind::Module => false,
        }
    }

    /// What Redis of that version knows.
    #[must_use]
    pub fn redis(major: u16, minor: u16) -> Self {
        let at_least = |a: u16, b: u16| (major, minor) >= (a, b);
        Self {
            hset_many: at_least(4, 0),
            field_expiry: at_least(7, 4),
            member_expiry: None,
            streams: at_least(5, 0),
            create_consumer: at_least(6, 2),
            stream_counters: at_least(7, 0),
            idempotency: at_least(8, 8),
            nack: at_least(8, 8),
            arrays: at_least(8, 8),
            json: false,
        }
    }

    /// What Valkey of that version knows.
    #[must_use]
    pub fn valkey(major: u16, minor: u16) -> Self {
        Self {
            field_expiry: (major, minor) >= (9, 0),
            ..Self::redis(7, 2)
        }
    }

    /// What both know.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            hset_many: self.hset_many && other.hset_many,
            field_expiry: self.field_expiry && other.field_expiry,
            member_expiry: self
                .member_expiry
                .filter(|_| self.member_expiry == other.member_expiry),
            streams: self.streams && other.streams,
            create_consumer: self.create_consumer && other.create_consumer,
            stream_counters: self.stream_counters && other.stream_counters,
            idempotency: self.idempotency && other.idempotency,
            nack: self.nack && other.nack,
            arrays: self.arrays && other.arrays,
            json: self.json && other.json,
        }
    }

    /// What KeyDB knows.
    #[must_use]
    pub fn keydb() -> Self {
        Self {
            member_expiry: Some("PEXPIREMEMBERAT"),
            ..Self::redis(6, 2)
        }
    }

    /// What Dragonfly knows.
    #[must_use]
    pub fn dragonfly() -> Self {
        Self {
            json: true,
            ..Self::redis(7, 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_when() {
        assert!(!Vocabulary::redis(3, 2).hset_many && Vocabulary::redis(4, 0).hset_many);
        assert!(!Vocabulary::redis(7, 2).field_expiry && Vocabulary::redis(8, 0).field_expiry);
        assert!(!Vocabulary::valkey(8, 1).field_expiry && Vocabulary::valkey(9, 0).field_expiry);
        assert!(!Vocabulary::valkey(9, 1).arrays && Vocabulary::redis(8, 10).arrays);
        assert!(Vocabulary::keydb().member_expiry.is_some());
        let (old, new) = (Vocabulary::redis(3, 2), Vocabulary::redis(8, 10));
        assert_eq!((old.and(new), new.and(old)), (old, old));
        assert_eq!(new.and(Vocabulary::keydb()).member_expiry, None);
    }
}
