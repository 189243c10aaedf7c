//! The listpack: elements in a row, each with its length behind it (`listpack.c`).
//!
//! # Bytes
//! `u32LE` total bytes (this header and the end byte included), `u16LE` count (65535: unknown), entries, `ff`. An entry is its
//! encoding, its data, and the number of bytes of these two in groups of 7 bits, the most significant group first, with bit
//! 80 in all bytes but the first.
//!
//! | first byte | bytes | value |
//! |---|---|---|
//! | `00`–`7f` | 1 | 0 to 127 |
//! | `80`–`bf` | 1 + n | string, n in the low 6 bits |
//! | `c0`–`df` | 2 | 13 bits, signed |
//! | `e0`–`ef` | 2 + n | string, n in 12 bits |
//! | `f0` | 5 + n | string, n is `u32LE` |
//! | `f1` `f2` `f3` `f4` | 3, 4, 5, 9 | `i16LE`, `i24LE`, `i32LE`, `i64LE` |
//! | `ff` | 1 | the end |
//!
//! # Offsets
//! From the first byte of the header.
//!
//! # Refuses
//! [`step`] only moves inside the bytes it is given. Whether header and lengths behind the entries are true is told, not
//! judged here.

use super::element::canonical_int;
use super::packed::{Broken, Item};

/// The name of the blob in places.
pub const NAME: &str = "listpack";

/// Bytes of the header.
pub const HEADER: usize = 6;

/// The count that means: walk and count.
pub const COUNT_UNKNOWN: u16 = u16::MAX;

/// The two numbers in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole listpack.
    pub total: u32,
    /// Number of elements, or [`COUNT_UNKNOWN`].
    pub count: u16,
}

/// One entry, and where the next one begins.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The entry's value.
    pub item: Item,
    /// Offset of the next entry.
    pub next: usize,
    /// Bytes of encoding and data.
    pub size: usize,
    /// Whether the length behind the entry is `size`.
    pub back_is_right: bool,
}

/// Reads the header.
///
/// # Errors
/// Where there are fewer bytes than an empty listpack has.
pub fn header(bytes: &[u8]) -> Result<Header, Broken> {
    match bytes {
        [t0, t1, t2, t3, c0, c1, _, ..] => Ok(Header {
            total: u32::from_le_bytes([*t0, *t1, *t2, *t3]),
            count: u16::from_le_bytes([*c0, *c1]),
        }),
        _ => Err(Broken::new(
            0,
            format!(
                "{} bytes, the smallest listpack has {}",
                bytes.len(),
                HEADER.saturating_add(1)
            ),
        )),
    }
}

/// The commonest entries (an integer up to 127, a string of up to 63 bytes) without a detour: the value, and where the next
/// entry begins. `None` for every other entry, and where anything is wrong: [`step`] says what.
#[inline]
#[must_use]
pub fn short_step(bytes: &[u8], at: usize) -> Option<(Item, usize)> {
    let (&first, body) = bytes.get(at..)?.split_first()?;
    let behind = at.wrapping_add(1);
    match first {
        0x00..=0x7f if body.first() == Some(&1) => {
            Some((Item::Int(i64::from(first)), behind.wrapping_add(1)))
        }
        0x80..=0xbf => {
            let length = first & 0x3f;
            let end = behind.wrapping_add(usize::from(length));
            // The length behind an entry counts its first byte too.
            let is_right = body.get(usize::from(length)) == Some(&length.wrapping_add(1));
            is_right.then(|| (Item::Text(behind, end), end.wrapping_add(1)))
        }
        _ => None,
    }
}

/// Reads the entry at `at`; `None` at the end byte.
///
/// # Errors
/// Where the entry is of an unknown encoding or leaves `bytes`.
#[inline]
pub fn step(bytes: &[u8], at: usize) -> Result<Option<Step>, Broken> {
    let Some(&[first, ref body @ ..]) = bytes.get(at..) else {
        return Err(no_end(bytes, at));
    };
    // A string is not held against the end here: the length behind it, which stands farther back, is.
    let text = |prefix: usize, length: usize| -> (Item, usize) {
        (
            Item::text(at.wrapping_add(prefix), length),
            length.saturating_add(prefix),
        )
    };
    let (item, size) = match first {
        0x00..=0x7f => (Item::Int(i64::from(first)), 1),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => match body.first() {
            // 13 bits: shifted to the top of 16 and back, the sign comes along.
            Some(&low) => {
                let bits = u16::from_be_bytes([first & 0x1f, low]) << 3;
                (Item::Int(i64::from(bits.cast_signed() >> 3)), 2)
            }
            None => return Err(cut(bytes, at, 2)),
        },
        0xe0..=0xef => match body.first() {
            Some(&low) => text(2, usize::from(u16::from_be_bytes([first & 0x0f, low]))),
            None => return Err(cut(bytes, at, 2)),
        },
        0xf0 => match body.first_chunk() {
            Some(length) => text(5, u32::from_le_bytes(*length) as usize),
            None => return Err(cut(bytes, at, 5)),
        },
        0xf1 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from(i16::from_le_bytes(*v))), 3),
            None => return Err(cut(bytes, at, 3)),
        },
        0xf2 => match body.first_chunk() {
            Some(&[a, b, c]) => (
                Item::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)),
                4,
            ),
            None => return Err(cut(bytes, at, 4)),
        },
        0xf3 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from(i32::from_le_bytes(*v))), 5),
            None => return Err(cut(bytes, at, 5)),
        },
        0xf4 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from_le_bytes(*v)), 9),
            None => return Err(cut(bytes, at, 9)),
        },
        0xf5..=0xfe => return Err(unknown(at, first)),
        0xff => return Ok(None),
    };
    let behind = at.saturating_add(size);
    // Nearly all entries are shorter than 128 bytes: one byte behind them.
    if size < 128 {
        return match bytes.get(behind) {
            Some(&back) => Ok(Some(Step {
                item,
                next: behind.wrapping_add(1),
                size,
                back_is_right: usize::from(back) == size,
            })),
            None => Err(cut(bytes, at, size.saturating_add(1))),
        };
    }
    let (expected, width) = backlen(size);
    match bytes.get(behind..behind.saturating_add(width)) {
        Some(back) => Ok(Some(Step {
            item,
            next: behind.wrapping_add(width),
            size,
            back_is_right: expected.get(..width) == Some(back),
        })),
        None => Err(cut(bytes, at, size.saturating_add(width))),
    }
}

/// The bytes behind an entry of `size` bytes, and how many of them there are.
#[must_use]
pub fn backlen(size: usize) -> ([u8; 5], usize) {
    let group = |shift: u32| -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "masked to 7 bits")]
        let bits = (size >> shift & 0x7f) as u8;
        bits
    };
    let (a, b, c, d, e) = (group(0), group(7), group(14), group(21), group(28));
    match size {
        0..=0x7f => ([a, 0, 0, 0, 0], 1),
        0x80..=0x3fff => ([b, a | 0x80, 0, 0, 0], 2),
        0x4000..=0x1f_ffff => ([c, b | 0x80, a | 0x80, 0, 0], 3),
        0x20_0000..=0xfff_ffff => ([d, c | 0x80, b | 0x80, a | 0x80, 0], 4),
        _ => ([e, d | 0x80, c | 0x80, b | 0x80, a | 0x80], 5),
    }
}

#[cold]
fn no_end(bytes: &[u8], at: usize) -> Broken {
    Broken::new(
        at.min(bytes.len()),
        "the bytes end where an entry or the end byte ff must stand",
    )
}

#[cold]
fn cut(bytes: &[u8], at: usize, wanted: usize) -> Broken {
    Broken::new(
        at,
        format!(
            "entry needs {wanted} bytes, {} remain",
            bytes.len().saturating_sub(at)
        ),
    )
}

#[cold]
fn unknown(at: usize, first: u8) -> Broken {
    Broken::new(at, format!("byte {first:#04x} begins no listpack entry"))
}

/// Builds a listpack.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    count: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
            count: 0,
        }
    }

    /// Bytes written so far, without the end byte.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends an element as a server would: as an integer where its text is a canonical one, else as a string.
    pub fn push(&mut self, bytes: &[u8]) {
        match canonical_int(bytes) {
            Some(value) => self.push_int(value),
            None => self.push_string(bytes),
        }
    }

    /// Appends an integer in its smallest form.
    pub fn push_int(&mut self, value: i64) {
        let start = self.bytes.len();
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match value {
            0..=127 => self.bytes.push(b0),
            -4096..=4095 => self.bytes.extend_from_slice(&[0xc0 | (b1 & 0x1f), b0]),
            -32768..=32767 => self.bytes.extend_from_slice(&[0xf1, b0, b1]),
            -8_388_608..=8_388_607 => self.bytes.extend_from_slice(&[0xf2, b0, b1, b2]),
            -2_147_483_648..=2_147_483_647 => {
                self.bytes.extend_from_slice(&[0xf3, b0, b1, b2, b3]);
            }
            _ => {
                self.bytes.push(0xf4);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        self.end_entry(start);
    }

    /// Appends a string as a string, whatever it says. At most `u32::MAX` bytes; what is behind them is left out, so callers
    /// keep the whole below 4 GiB.
    pub fn push_string(&mut self, bytes: &[u8]) {
        let start = self.bytes.len();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let [l0, l1, ..] = length.to_le_bytes();
        match length {
            0..=63 => self.bytes.push(0x80 | l0),
            64..=4095 => self.bytes.extend_from_slice(&[0xe0 | l1, l0]),
            _ => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(bytes);
        self.end_entry(start);
    }

    fn end_entry(&mut self, start: usize) {
        let (back, width) = backlen(self.bytes.len().saturating_sub(start));
        self.bytes
            .extend_from_slice(back.get(..width).unwrap_or_default());
        self.count = self.count.saturating_add(1);
    }

    /// The finished listpack, or `None` where it would be longer than its header can say.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.bytes.push(0xff);
        let total = u32::try_from(self.bytes.len()).ok()?;
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        let header = self.bytes.first_chunk_mut::<HEADER>()?;
        let [t0, t1, t2, t3] = total.to_le_bytes();
        let [c0, c1] = count.to_le_bytes();
        *header = [t0, t1, t2, t3, c0, c1];
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::test_support::{Value, hex};
    use super::*;
    use proptest::prelude::*;

    fn walk(bytes: &[u8]) -> Result<Vec<Value>, Broken> {
        let header = header(bytes)?;
        assert_eq!(header.total as usize, bytes.len());
        let (mut at, mut items) = (HEADER, Vec::new());
        while let Some(step) = step(bytes, at)? {
            assert!(step.back_is_right, "at {at}");
            if let Some(short) = short_step(bytes, at) {
                assert_eq!(short, (step.item, step.next));
            } else {
                assert!(!matches!(bytes[at], 0..=0xbf), "at {at}");
            }
            assert!(step.next > at);
            items.push(Value::of(step.item, bytes));
            at = step.next;
        }
        assert_eq!(at + 1, bytes.len());
        if header.count != COUNT_UNKNOWN {
            assert_eq!(usize::from(header.count), items.len());
        }
        Ok(items)
    }

    fn built(items: &[Value]) -> Vec<u8> {
        let mut writer = Writer::new();
        for item in items {
            match item {
                Value::Int(value) => writer.push_int(*value),
                Value::Text(text) => writer.push_string(text),
            }
        }
        writer.finish().unwrap()
    }

    /// Bytes that servers wrote.
    #[test]
    fn what_servers_write() {
        let text = |s: &str| Value::Text(s.as_bytes().to_vec());
        for (bytes, items) in [
            (
                "19000000 0500 816102 0501 c40002 dffe02 8568656c6c6f06 ff",
                vec![
                    text("a"),
                    Value::Int(5),
                    Value::Int(1024),
                    Value::Int(-2),
                    text("hello"),
                ],
            ),
            ("0d000000 0200 816602 817602 ff", vec![text("f"), text("v")]),
            (
                "14000000 0400 816102 0101 816202 83322e3504 ff",
                vec![text("a"), Value::Int(1), text("b"), text("2.5")],
            ),
            (
                "0c000000 0200 816102 0701 ff",
                vec![text("a"), Value::Int(7)],
            ),
            ("07000000 0000 ff", vec![]),
        ] {
            assert_eq!(walk(&hex(bytes)).unwrap(), items);
            assert_eq!(built(&items), hex(bytes));
        }
    }

    #[test]
    fn every_integer_width_sign_and_boundary() {
        for (value, first, size) in [
            (0i64, 0x00u8, 1usize),
            (127, 0x7f, 1),
            (128, 0xc0, 2),
            (-1, 0xdf, 2),
            (4095, 0xcf, 2),
            (-4096, 0xd0, 2),
            (4096, 0xf1, 3),
            (-4097, 0xf1, 3),
            (32767, 0xf1, 3),
            (-32768, 0xf1, 3),
            (32768, 0xf2, 4),
            (-32769, 0xf2, 4),
            (8_388_607, 0xf2, 4),
            (-8_388_608, 0xf2, 4),
            (8_388_608, 0xf3, 5),
            (-8_388_609, 0xf3, 5),
            (2_147_483_647, 0xf3, 5),
            (-2_147_483_648, 0xf3, 5),
            (2_147_483_648, 0xf4, 9),
            (-2_147_483_649, 0xf4, 9),
            (i64::MAX, 0xf4, 9),
            (i64::MIN, 0xf4, 9),
        ] {
            let bytes = built(&[Value::Int(value)]);
            assert_eq!(bytes[HEADER], first, "{value}");
            assert_eq!(bytes.len(), HEADER + size + 1 + 1);
            assert_eq!(walk(&bytes).unwrap(), [Value::Int(value)]);
        }
    }

    #[test]
    fn every_string_class_and_the_length_behind_it() {
        for (length, prefix, back) in [
            (0usize, 1usize, 1usize),
            (63, 1, 1),
            (64, 2, 1),
            (125, 2, 1),
            (126, 2, 2),
            (4095, 2, 2),
            (4096, 5, 2),
            (16378, 5, 2),
            (16379, 5, 3),
            (2_097_146, 5, 3),
            (2_097_147, 5, 4),
        ] {
            let item = Value::Text(vec![b'x'; length]);
            let bytes = built(std::slice::from_ref(&item));
            assert_eq!(bytes.len(), HEADER + prefix + length + back + 1, "{length}");
            assert_eq!(walk(&bytes).unwrap(), [item]);
        }
        assert_eq!(backlen(0x0fff_ffff).1, 4);
        assert_eq!(backlen(0x1000_0000), ([1, 0x80, 0x80, 0x80, 0x80], 5));
    }

    #[test]
    fn push_decides_as_servers_do() {
        let mut writer = Writer::new();
        for text in ["5", "-7", "007", "+5", "-0", "9223372036854775808"] {
            writer.push(text.as_bytes());
        }
        let bytes = writer.finish().unwrap();
        let items = walk(&bytes).unwrap();
        assert_eq!(items[..2], [Value::Int(5), Value::Int(-7)]);
        assert!(items[2..].iter().all(|item| matches!(item, Value::Text(_))));
    }

    #[test]
    fn a_count_over_16_bits_is_unknown() {
        let items = vec![Value::Int(1); 65535];
        assert_eq!(header(&built(&items)).unwrap().count, COUNT_UNKNOWN);
        assert_eq!(walk(&built(&items)).unwrap().len(), 65535);
        assert_eq!(header(&built(&items[1..])).unwrap().count, 65534);
    }

    #[test]
    fn what_leaves_the_bytes_is_an_error_with_its_place() {
        assert!(header(&hex("070000000000")).is_err());
        for (entry, at, what) in [
            ("", 6, "the bytes end"),
            ("85686c", 6, "entry needs 7 bytes, 3 remain"),
            ("c4", 6, "entry needs 2 bytes, 1 remain"),
            ("e0", 6, "entry needs 2 bytes, 1 remain"),
            ("efff00", 6, "entry needs 4099 bytes, 3 remain"),
            ("f000", 6, "entry needs 5 bytes, 2 remain"),
            ("f0ffffffff00", 6, "entry needs 4294967305 bytes, 6 remain"),
            ("f100", 6, "entry needs 3 bytes, 2 remain"),
            ("f20000", 6, "entry needs 4 bytes, 3 remain"),
            ("f3000000", 6, "entry needs 5 bytes, 4 remain"),
            ("f400000000000000", 6, "entry needs 9 bytes, 8 remain"),
            ("05", 6, "entry needs 2 bytes, 1 remain"),
            ("f5", 6, "byte 0xf5 begins no listpack entry"),
            ("fe", 6, "byte 0xfe begins no listpack entry"),
            ("0501", 8, "the bytes end"),
        ] {
            let bytes = hex(&format!("000000000000{entry}"));
            let mut at_now = HEADER;
            let broken = loop {
                match step(&bytes, at_now) {
                    Ok(Some(step)) => at_now = step.next,
                    Ok(None) => panic!("no end byte in {entry}"),
                    Err(broken) => break broken,
                }
            };
            assert_eq!(broken.at(), at, "{entry}");
            assert!(
                broken.what().contains(what),
                "{} for {entry}",
                broken.what()
            );
        }
        assert!(step(b"abc", usize::MAX).is_err());
    }

    #[test]
    fn a_wrong_length_behind_an_entry_is_told() {
        let mut bytes = built(&[Value::Text(vec![b'x'; 200]), Value::Int(3)]);
        let first = step(&bytes, HEADER).unwrap().unwrap();
        assert_eq!((first.size, first.next), (202, HEADER + 204));
        bytes[HEADER + 203] ^= 1;
        assert!(!step(&bytes, HEADER).unwrap().unwrap().back_is_right);
        let last = bytes.len() - 2;
        bytes[last] = 2;
        assert!(!step(&bytes, first.next).unwrap().unwrap().back_is_right);
    }

    fn item() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (0u32..64, any::<bool>()).prop_map(|(bits, negative)| {
                let value = 1i64.checked_shl(bits).unwrap_or(0);
                Value::Int(if negative {
                    value.wrapping_neg()
                } else {
                    value.wrapping_sub(1)
                })
            }),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Text),
            (4000usize..17000).prop_map(|n| Value::Text(vec![b'y'; n])),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(items in prop::collection::vec(item(), 0..40)) {
            prop_assert_eq!(walk(&built(&items)).unwrap(), items);
        }

        #[test]
        fn any_bytes_are_walked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut at = HEADER;
            while let Ok(Some(step)) = step(&bytes, at) {
                prop_assert!(step.next > at && step.next <= bytes.len());
                at = step.next;
            }
        }
    }
}
