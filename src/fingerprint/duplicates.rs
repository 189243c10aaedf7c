//! Which strings of a set occur more than once.

use super::sorted::{Record, Sorted};
use crate::error::Result;

impl Sorted {
    /// Calls `found(first, again)` for every string that is equal to one with a smaller payload: `first` is the smallest
    /// payload of that string, `again` the payload of this occurrence. A string that occurs *n* times is told *n* − 1
    /// times. The order of the calls is that of the fingerprints, so any: sort what is shown, by a [`super::Sorter`]
    /// where it may be much.
    ///
    /// `same(first, other)` says whether the strings of two payloads are really equal, domain included.
    ///
    /// Memory: one number for each *different* string of one fingerprint, which is one but for collisions.
    ///
    /// # Errors
    /// Whatever `same` and `found` return.
    pub fn duplicates(
        &self,
        mut same: impl FnMut(u64, u64) -> Result<bool>,
        mut found: impl FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let mut records = self.iter();
        let Some(mut before) = records.next() else {
            return Ok(());
        };
        // The different strings under the current fingerprint, by their first payload. Filled only when a fingerprint
        // comes a second time.
        let mut firsts: Vec<u64> = Vec::new();
        for record in records {
            if record.order == before.order {
                if firsts.is_empty() {
                    firsts.push(before.payload);
                }
                match first_equal(&firsts, record, &mut same)? {
                    Some(first) => found(first, record.payload)?,
                    None => firsts.push(record.payload),
                }
            } else {
                firsts.clear();
            }
            before = record;
        }
        Ok(())
    }
}

fn first_equal(
    firsts: &[u64],
    record: Record,
    same: &mut impl FnMut(u64, u64) -> Result<bool>,
) -> Result<Option<u64>> {
    for &first in firsts {
        if same(first, record.payload)? {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::{FingerprintKey, Fingerprints};
    use crate::error::{Error, ErrorKind};
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn duplicates_are_those_of_a_hash_map(
            strings in proptest::collection::vec((0u64..3, "[ab]{0,4}"), 0..120),
            in_memory in 1usize..30,
            // From "all fingerprints equal" to "hardly a collision".
            mask in proptest::sample::select(vec![0u64, 1, 0xff, 1 << 63, u64::MAX]),
        ) {
            let key = FingerprintKey::colliding(mask);
            let mut set = Fingerprints::with_memory(&std::env::temp_dir(), &key, in_memory);
            let mut model: HashMap<&(u64, String), u64> = HashMap::new();
            let mut expected = Vec::new();
            for (i, string) in strings.iter().enumerate() {
                let payload = i as u64;
                set.add(string.0, string.1.as_bytes(), payload).unwrap();
                match model.get(string) {
                    Some(first) => expected.push((*first, payload)),
                    None => { model.insert(string, payload); }
                }
            }
            let mut found = Vec::new();
            let sorted = set.finish().unwrap();
            sorted.duplicates(
                |a, b| Ok(strings[a as usize] == strings[b as usize]),
                |first, again| { found.push((first, again)); Ok(()) },
            ).unwrap();
            found.sort_unstable_by_key(|pair| pair.1);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_error_of_the_caller_ends_it() {
        let key = FingerprintKey::random();
        let mut set = Fingerprints::new(&std::env::temp_dir(), &key);
        for payload in 0..3 {
            set.add(0, b"k", payload).unwrap();
        }
        let sorted = set.finish().unwrap();
        let stop = || Error::new(ErrorKind::Interrupted, "stop");
        assert!(
            sorted
                .duplicates(|_, _| Err(stop()), |_, _| Ok(()))
                .is_err()
        );
        assert!(
            sorted
                .duplicates(|_, _| Ok(true), |_, _| Err(stop()))
                .is_err()
        );
    }
}
