//! Databases: where those of the file go.

use std::collections::{BTreeMap, BTreeSet};

/// Which database of the file goes to which database of the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbMap(BTreeMap<u64, u64>);

impl DbMap {
    /// A map from pairs of source and destination. Databases that are not named keep their number.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Where database `db` goes.
    #[must_use]
    pub fn get(&self, db: u64) -> u64 {
        if self.0.is_empty() {
            db
        } else {
            self.0.get(&db).copied().unwrap_or(db)
        }
    }

    /// Whether two of these databases of the file become one.
    #[must_use]
    pub fn merges(&self, dbs: impl IntoIterator<Item = u64>) -> bool {
        let sources: BTreeSet<u64> = dbs.into_iter().collect();
        let targets: BTreeSet<u64> = sources.iter().map(|db| self.get(*db)).collect();
        targets.len() < sources.len()
    }

    /// Whether every database keeps its number.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.0.iter().all(|(from, to)| from == to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_mapped() {
        let map = DbMap::new([(3, 0)]);
        assert_eq!((map.get(3), map.get(1)), (0, 1));
        assert!(map.merges([0, 3]) && !map.merges([1, 3, 3]) && !map.is_identity());
        assert!(DbMap::new([(1, 1)]).is_identity() && !DbMap::default().merges([0, 1]));
    }
}
