//! What commands cannot carry.

use std::fmt;

/// Something of a value that plain commands do not bring to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loss {
    /// The whole value: only its module could write it.
    ModuleValue,
    /// The whole value: the destination has no streams.
    Stream,
    /// The whole value: the destination has no arrays.
    Array,
    /// The whole value: the destination has no JSON.
    Json,
    /// The whole value: no command writes a path hash.
    PathHash,
    /// Expiries of hash fields.
    FieldExpiry,
    /// Expiries of set members.
    MemberExpiry,
    /// Key metadata (Redis 8.6).
    KeyMetadata,
    /// Pending entries that nobody owns any more (Redis 8.8).
    Nacked,
    /// Pending entries whose stream entry is deleted, where they are too many to be rebuilt.
    PendingDeleted,
    /// Idempotency settings and records (Redis 8.6).
    Idempotency,
    /// How many idempotent entries were added and refused.
    IdempotencyCounters,
    /// When consumers were seen and active.
    ConsumerTimes,
    /// When an entry was delivered, where that is no time or lies ahead: servers put the present instead.
    DeliveryTimes,
    /// A stream's entries-added and largest deleted ID, its groups' entries-read.
    StreamCounters,
    /// Idle time or access frequency.
    AccessTimes,
    /// Dragonfly's flags of a key.
    KeyFlags,
}

impl Loss {
    /// All of them.
    pub const ALL: [Loss; 17] = [
        Loss::ModuleValue,
        Loss::Stream,
        Loss::Array,
        Loss::Json,
        Loss::PathHash,
        Loss::FieldExpiry,
        Loss::MemberExpiry,
        Loss::KeyMetadata,
        Loss::Nacked,
        Loss::PendingDeleted,
        Loss::Idempotency,
        Loss::IdempotencyCounters,
        Loss::ConsumerTimes,
        Loss::DeliveryTimes,
        Loss::StreamCounters,
        Loss::AccessTimes,
        Loss::KeyFlags,
    ];

    /// Whether the value means something else without it; the others are bookkeeping.
    #[must_use]
    pub fn is_meaning(self) -> bool {
        self < Loss::IdempotencyCounters
    }

    /// Whether nothing of the value can be carried.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self < Loss::FieldExpiry
    }

    /// The name in reports: stable, lower case, with hyphens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Loss::ModuleValue => "module-value",
            Loss::Stream => "stream",
            Loss::Array => "array",
            Loss::Json => "json",
            Loss::PathHash => "path-hash",
            Loss::FieldExpiry => "field-expiry",
            Loss::MemberExpiry => "member-expiry",
            Loss::KeyMetadata => "key-metadata",
            Loss::Nacked => "nacked-entries",
            Loss::PendingDeleted => "pending-deleted",
            Loss::Idempotency => "idempotency",
            Loss::IdempotencyCounters => "idempotency-counters",
            Loss::ConsumerTimes => "consumer-times",
            Loss::DeliveryTimes => "delivery-times",
            Loss::StreamCounters => "stream-counters",
            Loss::AccessTimes => "access-times",
            Loss::KeyFlags => "key-flags",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Loss {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Loss::ALL.into_iter().find(|loss| loss.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Loss::ALL.iter().map(|loss| loss.name()).collect();
            crate::Error::new(
                crate::ErrorKind::Usage,
                format!("{text:?} names no loss; they are {}", names.join(", ")),
            )
        })
    }
}

impl FromIterator<Loss> for Losses {
    fn from_iter<I: IntoIterator<Item = Loss>>(list: I) -> Self {
        let mut losses = Self::default();
        for loss in list {
            losses.add(loss);
        }
        losses
    }
}

/// A set of losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Losses(u32);

impl Losses {
    /// Adds one.
    pub fn add(&mut self, loss: Loss) {
        self.0 |= 1 << loss as u32;
    }

    /// Whether nothing is lost.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `loss` is among them.
    #[must_use]
    pub fn has(self, loss: Loss) -> bool {
        self.0 & 1 << loss as u32 != 0
    }

    /// Whether any of them changes the meaning.
    #[must_use]
    pub fn any_meaning(self) -> bool {
        self.iter().any(Loss::is_meaning)
    }

    /// Both sets together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// One after the other, the heaviest first.
    pub fn iter(self) -> impl Iterator<Item = Loss> {
        Loss::ALL.into_iter().filter(move |loss| self.has(*loss))
    }
}

/// How many keys lost what on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LossCounts([u64; Loss::ALL.len()]);

impl LossCounts {
    /// Counts one key that lost `losses`.
    pub fn add(&mut self, losses: Losses) {
        for (loss, count) in Loss::ALL.into_iter().zip(&mut self.0) {
            *count = count.saturating_add(u64::from(losses.has(loss)));
        }
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// How many keys lost this.
    #[must_use]
    pub fn get(&self, loss: Loss) -> u64 {
        self.0.get(loss as usize).copied().unwrap_or(0)
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What any key lost, with the number of keys; the heaviest first.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, count)| *count > 0)
    }
}

/// A map from [`Loss::name`] to the number of keys, without zeros.
impl serde::Serialize for LossCounts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(loss, count)| (loss.name(), count)))
    }
}

impl<'de> serde::Deserialize<'de> for LossCounts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = std::collections::BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut all = Self::default();
        for (name, count) in counts {
            let loss: Loss = name.parse().map_err(serde::de::Error::custom)?;
            if let Some(slot) = all.0.get_mut(loss as usize) {
                *slot = count;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_losses() {
        let mut losses = Losses::default();
        assert!(losses.is_empty() && !losses.any_meaning());
        losses.add(Loss::AccessTimes);
        assert!(!losses.any_meaning());
        losses.add(Loss::FieldExpiry);
        assert!(losses.any_meaning() && losses.has(Loss::FieldExpiry));
        let names: Vec<_> = losses.iter().map(Loss::name).collect();
        assert_eq!(names, ["field-expiry", "access-times"]);
        let mut all: Vec<_> = Loss::ALL.iter().map(|loss| loss.name()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Loss::KeyFlags as usize + 1);
        for loss in Loss::ALL {
            assert_eq!(loss.name().parse::<Loss>().unwrap(), loss);
        }
        assert!("everything".parse::<Loss>().is_err());
        let mut counts = LossCounts::default();
        counts.add(losses);
        counts.add([Loss::AccessTimes].into_iter().collect());
        counts.merge(&counts.clone());
        assert_eq!(
            serde_json::to_string(&counts).unwrap(),
            r#"{"field-expiry":2,"access-times":4}"#
        );
        assert_eq!(counts.get(Loss::AccessTimes), 4);
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<LossCounts>(&text).unwrap(), counts);
        assert!(serde_json::from_str::<LossCounts>(r#"{"everything":1}"#).is_err());
    }
}
