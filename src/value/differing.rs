//! Whether the strings of a small collection all differ, by 32 bits of a hash: a yes is certain, a no may be an accident.

/// Hashes of the strings of one collection, which all must differ.
#[derive(Debug, Default)]
pub(super) struct Differing {
    /// Those of a small collection, one behind the other.
    few: [u32; Self::FEW],
    /// Of a larger one: a table that is at most half full, with 0 for an empty place.
    table: Vec<u32>,
    count: usize,
}

impl Differing {
    /// So many are compared one by one.
    const FEW: usize = 16;
    /// So many fit into the table, which has 4 bytes for two of them.
    const MOST: u64 = 64 * 1024;
    /// Places that are looked at for one hash: more are taken only where somebody chose the strings for it.
    const MOST_STEPS: usize = 256;

    /// Begins a collection of at most `claimed` strings.
    #[inline]
    pub(super) fn begin(&mut self, claimed: u64) -> Option<()> {
        self.count = 0;
        self.table.clear();
        if claimed <= Self::FEW as u64 {
            return Some(());
        }
        if claimed > Self::MOST {
            return None;
        }
        let places = usize::try_from(claimed)
            .ok()?
            .saturating_mul(2)
            .next_power_of_two();
        self.table.resize(places, 0);
        Some(())
    }

    /// Adds a hash that was not added before. `None` where it was, or where there is no room.
    #[inline]
    pub(super) fn add(&mut self, hash: u32) -> Option<()> {
        if self.table.is_empty() {
            let (known, free) = self.few.split_at_mut_checked(self.count)?;
            *free.first_mut()? = hash;
            self.count = self.count.wrapping_add(1);
            let is_new = known
                .iter()
                .fold(true, |is_new, other| is_new & (*other != hash));
            return is_new.then_some(());
        }
        self.add_to_table(hash)
    }

    fn add_to_table(&mut self, hash: u32) -> Option<()> {
        let hash = hash.max(1);
        let mask = self.table.len().wrapping_sub(1);
        // More than were claimed: the table must not fill up.
        if self.count > mask / 2 {
            return None;
        }
        self.count = self.count.wrapping_add(1);
        let mut slot = hash as usize & mask;
        for _ in 0..Self::MOST_STEPS {
            match self.table.get_mut(slot)? {
                empty @ 0 => {
                    *empty = hash;
                    return Some(());
                }
                other if *other == hash => return None,
                _ => slot = slot.wrapping_add(1) & mask,
            }
        }
        None
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER: u64 = 0xbf58_476d_1ce4_e5b9;

/// The hash of an integer, which no text that is not one shares but by accident.
#[inline]
pub(super) fn hash_int(value: i64) -> u32 {
    fold(value.cast_unsigned() ^ OTHER, MULTIPLIER)
}

/// A hash of a short string: 16 bytes at a time, multiplied to 128 bits and folded; the last ones may overlap.
#[inline]
pub(super) fn hash(text: &[u8]) -> u32 {
    let length = text.len() as u64;
    let (a, b) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let mut state = MULTIPLIER;
            if text.len() > 16 {
                let (blocks, _) = text.as_chunks::<16>();
                for block in blocks {
                    let block = u128::from_le_bytes(*block);
                    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
                    let (low, high) = (block as u64, (block >> 64) as u64);
                    state = wide(low ^ state, high ^ OTHER);
                }
            }
            (
                u64::from_le_bytes(*first) ^ state,
                u64::from_le_bytes(*last),
            )
        }
        _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(first), Some(last)) => (
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)),
                0,
            ),
            _ => {
                let byte = |at: usize| u64::from(text.get(at).copied().unwrap_or(0));
                (
                    byte(0) << 16 | byte(text.len() / 2) << 8 | byte(text.len().wrapping_sub(1)),
                    0,
                )
            }
        },
    };
    fold(a ^ length.wrapping_mul(OTHER), b ^ MULTIPLIER)
}

#[inline]
fn wide(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both halves are folded together"
    )]
    {
        product as u64 ^ (product >> 64) as u64
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u32 {
    let folded = wide(a, b);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both halves are folded together"
    )]
    {
        folded as u32 ^ (folded >> 32) as u32
    }
}
