//! The slots that a file names, as ranges.

use crate::select::SLOTS;

/// A set of slots; 2 kB.
#[derive(Debug, Default)]
pub(super) struct Slots {
    bits: Vec<bool>,
    beyond: bool,
}

impl Slots {
    /// Adds a slot. One that no cluster has is remembered as such.
    pub(super) fn add(&mut self, slot: u64) {
        if self.bits.is_empty() {
            self.bits = vec![false; usize::from(SLOTS)];
        }
        match usize::try_from(slot)
            .ok()
            .and_then(|slot| self.bits.get_mut(slot))
        {
            Some(bit) => *bit = true,
            None => self.beyond = true,
        }
    }

    /// `0-5460, 7000`; `None` where no slot was named.
    pub(super) fn ranges(&self) -> Option<String> {
        if self.bits.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        let mut begin = None;
        for (slot, named) in self.bits.iter().copied().chain([false]).enumerate() {
            match (begin, named) {
                (None, true) => begin = Some(slot),
                (Some(from), false) => {
                    let last = slot.saturating_sub(1);
                    parts.push(if from == last {
                        from.to_string()
                    } else {
                        format!("{from}-{last}")
                    });
                    begin = None;
                }
                _ => {}
            }
        }
        if self.beyond {
            parts.push("numbers that no cluster has".to_owned());
        }
        Some(parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_become_ranges() {
        let mut slots = Slots::default();
        assert_eq!(slots.ranges(), None);
        for slot in [0, 1, 2, 7000, 16_383, 16_382] {
            slots.add(slot);
        }
        assert_eq!(slots.ranges().unwrap(), "0-2, 7000, 16382-16383");
        slots.add(16_384);
        assert!(
            slots
                .ranges()
                .unwrap()
                .ends_with("numbers that no cluster has")
        );
    }
}
