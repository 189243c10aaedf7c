//! The cluster slot of a key: CRC-16/XMODEM of its name, or of its hash tag, modulo 16384 (`keyHashSlot` in `cluster.c`).

use crate::error::Result;
use crate::wire::Str;

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM: polynomial 1021, not reflected, initial value 0.
static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    crc16_on(0, bytes)
}

/// The CRC of what had `crc` so far, and of `bytes` behind it.
fn crc16_on(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, byte| {
        let [high, low] = crc.to_be_bytes();
        TABLE[usize::from(high ^ byte)] ^ u16::from(low) << 8
    })
}

/// The part of `key` that is hashed: what stands between its first `{` and the next `}`, where that is not empty; else all.
#[must_use]
pub fn hashed_part(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|b| *b == b'{').and_then(|open| {
        let behind = &key[open + 1..];
        let close = behind.iter().position(|b| *b == b'}')?;
        (close > 0).then(|| &behind[..close])
    });
    tag.unwrap_or(key)
}

/// The slot of `key`, below [`SLOTS`].
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) % SLOTS
}

/// The slot of a key by its name as it stands in a file, in flat memory: `scratch` takes short names.
///
/// # Errors
/// `Corrupt` where the compressed bytes of the name lie.
pub fn slot_of_name(name: &Str<'_>, scratch: &mut Vec<u8>) -> Result<u16> {
    match name {
        Str::Lzf(packed) if packed.ulen > Str::MAX_BUFFERED => {
            let mut hash = Hash::default();
            let mut pieces = name.pieces();
            while let Some(piece) = pieces.next_piece()? {
                hash.add(piece);
            }
            Ok(hash.slot())
        }
        name => name.bytes(scratch).map(slot_of),
    }
}

/// What is known of a name's slot behind so many pieces of it.
#[derive(Debug, Default)]
struct Hash {
    whole: u16,
    tag: Tag,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// No `{` came yet.
    #[default]
    None,
    /// What stands behind the first `{`.
    Open { crc: u16, is_empty: bool },
    /// It was closed.
    Closed { crc: u16 },
    /// It was closed at once: all of the name counts.
    Empty,
}

impl Hash {
    fn add(&mut self, piece: &[u8]) {
        self.whole = crc16_on(self.whole, piece);
        let mut rest = piece;
        if self.tag == Tag::None
            && let Some(open) = rest.iter().position(|b| *b == b'{')
        {
            rest = &rest[open + 1..];
            self.tag = Tag::Open {
                crc: 0,
                is_empty: true,
            };
        }
        if let Tag::Open { crc, is_empty } = self.tag {
            let close = rest.iter().position(|b| *b == b'}');
            let inside = &rest[..close.unwrap_or(rest.len())];
            let (crc, is_empty) = (crc16_on(crc, inside), is_empty && inside.is_empty());
            self.tag = match (close, is_empty) {
                (None, _) => Tag::Open { crc, is_empty },
                (Some(_), true) => Tag::Empty,
                (Some(_), false) => Tag::Closed { crc },
            };
        }
    }

    fn slot(&self) -> u16 {
        match self.tag {
            Tag::Closed { crc } => crc % SLOTS,
            _ => self.whole % SLOTS,
        }
    }
}

/// Appends to `name` what makes its slot `slot`: nothing, or `~` and a few digits. `false` where nothing does, because `name`
/// has a hash tag of another slot.
#[must_use]
pub fn steer(name: &mut Vec<u8>, slot: u16) -> bool {
    // One in 16,384 fits: so many times that are never all missed.
    const TRIES: u32 = 1 << 20;
    if slot_of(name) == slot {
        return true;
    }
    if hashed_part(name).len() < name.len() {
        return false;
    }
    name.push(b'~');
    let crc = crc16(name);
    let mut digits = itoa::Buffer::new();
    for number in 0..TRIES {
        let digits = digits.format(number).as_bytes();
        if crc16_on(crc, digits) % SLOTS == slot {
            name.extend_from_slice(digits);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_steered_into_a_slot_whatever_braces_it_has() {
        for (number, key) in [&b""[..], b"k", b"{", b"{}", b"a}b{c", b"}{", b"\0\xff{"]
            .into_iter()
            .enumerate()
        {
            for slot in [0, 1, 777 * number as u16, SLOTS - 1] {
                let mut name = [key, b"~rdbridge~tag"].concat();
                assert!(steer(&mut name, slot));
                assert_eq!(slot_of(&name), slot, "{}", name.escape_ascii());
                assert!(name.starts_with(key) && name.len() < key.len() + 24);
            }
        }
        let mut tagged = b"{foo}bar".to_vec();
        assert!(steer(&mut tagged, 12_182) && !steer(&mut tagged, 1));
        assert_eq!(tagged, b"{foo}bar");
    }

    #[test]
    fn the_catalogue_check_value_and_known_slots() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            (&b""[..], 0),
            (b"foo", 12_182),
            (b"123456789", 12_739),
            (b"{foo}bar", 12_182),
            (b"bar{foo}{baz}", 12_182),
        ] {
            assert_eq!(slot_of(key), slot, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn tags_as_servers_find_them() {
        for (key, part) in [
            (&b"{user1000}.following"[..], &b"user1000"[..]),
            (b"foo{}{bar}", b"foo{}{bar}"),
            (b"foo{{bar}}zap", b"{bar"),
            (b"foo{bar}{zap}", b"bar"),
            (b"a}b{c", b"a}b{c"),
            (b"{", b"{"),
            (b"{}", b"{}"),
            (b"}{x}", b"x"),
        ] {
            assert_eq!(hashed_part(key), part, "{}", key.escape_ascii());
            for first in 0..=key.len() {
                for second in first..=key.len() {
                    let mut hash = Hash::default();
                    for piece in [&key[..first], &key[first..second], &key[second..]] {
                        hash.add(piece);
                    }
                    assert_eq!(hash.slot(), slot_of(key), "{}", key.escape_ascii());
                }
            }
        }
    }
}
