//! The slots that a file names, as ranges.

use crate::select::SlotSet;

/// A set of slots; 2 kB.
#[derive(Debug, Default)]
pub(super) struct Slots {
    named: Option<SlotSet>,
    beyond: bool,
}

impl Slots {
    /// Adds a slot. One that no cluster has is remembered as such.
    pub(super) fn add(&mut self, slot: u64) {
        self.beyond |= !self.named.get_or_insert_default().insert(slot);
    }

    /// `0-5460, 7000`; `None` where no slot was named.
    pub(super) fn ranges(&self) -> Option<String> {
        let mut text = self.named.as_ref()?.to_string();
        if self.beyond {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str("numbers that no cluster has");
        }
        Some(text)
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
