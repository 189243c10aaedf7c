//! The ziplist: elements in a row, each with the length of the one before it in front (`ziplist.c`).
//!
//! # Bytes
//! `u32LE` total bytes, `u32LE` offset of the last entry, `u16LE` count (65535: unknown), entries, `ff`. An entry is the length
//! of the entry before it (0 for the first; one byte below 254, else `fe` and `u32LE`), its encoding, its data.
//!
//! | first byte | data | value |
//! |---|---|---|
//! | `00`–`3f` | n | string, n in 6 bits |
//! | `40`–`7f` | 1 + n | string, n in 14 bits, big endian |
//! | `80`–`bf` | 4 + n | string, n is `u32BE` |
//! | `c0` `d0` `e0` | 2, 4, 8 | `i16LE`, `i32LE`, `i64LE` |
//! | `f0` `fe` | 3, 1 | `i24LE`, `i8` (since RDB 6) |
//! | `f1`–`fd` | 0 | 0 to 12 (since RDB 6) |
//! | `ff` | | the end |
//!
//! # Offsets
//! From the first byte of the header.
//!
//! # Refuses
//! [`step`] only moves inside the bytes it is given. Whether header and lengths before the entries are true is told, not
//! judged here.

use super::element::canonical_int;
use super::packed::{Broken, Item};

/// The name of the blob in places.
pub const NAME: &str = "ziplist";

/// Bytes of the header.
pub const HEADER: usize = 10;

/// The count that means: walk and count.
pub const COUNT_UNKNOWN: u16 = u16::MAX;

/// The three numbers in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole ziplist.
    pub total: u32,
    /// Offset of the last entry; of the end byte, where there is no entry.
    pub tail: u32,
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
    /// The length of the entry before this one, as noted here.
    pub prevlen: u32,
}

/// Reads the header.
///
/// # Errors
/// Where there are fewer bytes than an empty ziplist has.
pub fn header(bytes: &[u8]) -> Result<Header, Broken> {
    match bytes {
        [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1, _, ..] => Ok(Header {
            total: u32::from_le_bytes([*t0, *t1, *t2, *t3]),
            tail: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            count: u16::from_le_bytes([*c0, *c1]),
        }),
        _ => Err(Broken::new(
            0,
            format!(
                "{} bytes, the smallest ziplist has {}",
                bytes.len(),
                HEADER.saturating_add(1)
            ),
        )),
    }
}

/// Reads the entry at `at`; `None` at the end byte.
///
/// # Errors
/// Where the entry is of an unknown encoding or leaves `bytes`.
#[inline]
pub fn step(bytes: &[u8], at: usize) -> Result<Option<Step>, Broken> {
    let (prevlen, encoding_at) = match bytes.get(at) {
        Some(0xff) => return Ok(None),
        Some(0xfe) => match bytes
            .get(at.wrapping_add(1)..)
            .and_then(<[u8]>::first_chunk)
        {
            Some(length) => (u32::from_le_bytes(*length), at.wrapping_add(5)),
            None => return Err(cut(bytes, at, 5)),
        },
        Some(&small) => (u32::from(small), at.wrapping_add(1)),
        None => return Err(no_end(bytes, at)),
    };
    let Some(&[first, ref body @ ..]) = bytes.get(encoding_at..) else {
        return Err(cut(
            bytes,
            at,
            encoding_at.saturating_sub(at).saturating_add(1),
        ));
    };
    let text = |prefix: usize, length: usize| -> (Item, usize) {
        (
            Item::text(encoding_at.wrapping_add(prefix), length),
            length.saturating_add(prefix),
        )
    };
    let (item, size) = match first {
        0x00..=0x3f => text(1, usize::from(first)),
        0x40..=0x7f => match body.first() {
            Some(&low) => text(2, usize::from(u16::from_be_bytes([first & 0x3f, low]))),
            None => return Err(cut(bytes, encoding_at, 2)),
        },
        0x80..=0xbf => match body.first_chunk() {
            Some(length) => text(5, u32::from_be_bytes(*length) as usize),
            None => return Err(cut(bytes, encoding_at, 5)),
        },
        0xc0 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from(i16::from_le_bytes(*v))), 3),
            None => return Err(cut(bytes, encoding_at, 3)),
        },
        0xd0 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from(i32::from_le_bytes(*v))), 5),
            None => return Err(cut(bytes, encoding_at, 5)),
        },
        0xe0 => match body.first_chunk() {
            Some(v) => (Item::Int(i64::from_le_bytes(*v)), 9),
            None => return Err(cut(bytes, encoding_at, 9)),
        },
        0xf0 => match body.first_chunk() {
            Some(&[a, b, c]) => (
                Item::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)),
                4,
            ),
            None => return Err(cut(bytes, encoding_at, 4)),
        },
        0xfe => match body.first() {
            Some(&v) => (Item::Int(i64::from(v.cast_signed())), 2),
            None => return Err(cut(bytes, encoding_at, 2)),
        },
        0xf1..=0xfd => (Item::Int(i64::from((first & 0x0f).wrapping_sub(1))), 1),
        _ => return Err(unknown(encoding_at, first)),
    };
    let next = encoding_at.saturating_add(size);
    if next > bytes.len() {
        return Err(cut(bytes, encoding_at, size));
    }
    Ok(Some(Step {
        item,
        next,
        prevlen,
    }))
}

#[cold]
fn unknown(at: usize, first: u8) -> Broken {
    Broken::new(at, format!("byte {first:#04x} is no ziplist encoding"))
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

/// Builds a ziplist.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
    count: u64,
    last: usize,
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
            last: HEADER,
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
        self.begin_entry();
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match value {
            0..=12 => self.bytes.push(0xf1_u8.wrapping_add(b0)),
            -128..=127 => self.bytes.extend_from_slice(&[0xfe, b0]),
            -32768..=32767 => self.bytes.extend_from_slice(&[0xc0, b0, b1]),
            -8_388_608..=8_388_607 => self.bytes.extend_from_slice(&[0xf0, b0, b1, b2]),
            -2_147_483_648..=2_147_483_647 => {
                self.bytes.extend_from_slice(&[0xd0, b0, b1, b2, b3]);
            }
            _ => {
                self.bytes.push(0xe0);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    /// Appends a string as a string, whatever it says. Callers keep the whole below 4 GiB.
    pub fn push_string(&mut self, bytes: &[u8]) {
        self.begin_entry();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let [.., l1, l0] = length.to_be_bytes();
        match length {
            0..=0x3f => self.bytes.push(l0),
            0x40..=0x3fff => self.bytes.extend_from_slice(&[0x40 | l1, l0]),
            _ => {
                self.bytes.push(0x80);
                self.bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn begin_entry(&mut self) {
        let start = self.bytes.len();
        let previous = u32::try_from(start.saturating_sub(self.last)).unwrap_or(u32::MAX);
        match u8::try_from(previous) {
            Ok(small) if small < 254 => self.bytes.push(small),
            _ => {
                self.bytes.push(0xfe);
                self.bytes.extend_from_slice(&previous.to_le_bytes());
            }
        }
        self.last = start;
        self.count = self.count.saturating_add(1);
    }

    /// The finished ziplist, or `None` where it would be longer than its header can say.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.bytes.push(0xff);
        let total = u32::try_from(self.bytes.len()).ok()?;
        let tail = u32::try_from(self.last).ok()?;
        let count = u16::try_from(self.count).unwrap_or(COUNT_UNKNOWN);
        let header = self.bytes.first_chunk_mut::<HEADER>()?;
        let ([t0, t1, t2, t3], [l0, l1, l2, l3]) = (total.to_le_bytes(), tail.to_le_bytes());
        let [c0, c1] = count.to_le_bytes();
        *header = [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1];
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
        let (mut at, mut last, mut items) = (HEADER, HEADER, Vec::new());
        while let Some(step) = step(bytes, at)? {
            assert_eq!(step.prevlen as usize, at - last, "at {at}");
            items.push(Value::of(step.item, bytes));
            (last, at) = (at, step.next);
        }
        assert_eq!(at + 1, bytes.len());
        assert_eq!(header.tail as usize, last);
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
                "1b000000 13000000 0400 000161 03f6 02c00004 040568656c6c6f ff",
                vec![text("a"), Value::Int(5), Value::Int(1024), text("hello")],
            ),
            ("0b000000 0a000000 0000 ff", vec![]),
        ] {
            assert_eq!(walk(&hex(bytes)).unwrap(), items);
            assert_eq!(built(&items), hex(bytes));
        }
    }

    #[test]
    fn every_integer_width_sign_and_boundary() {
        for (value, first, size) in [
            (0i64, 0xf1u8, 1usize),
            (12, 0xfd, 1),
            (13, 0xfe, 2),
            (-1, 0xfe, 2),
            (127, 0xfe, 2),
            (-128, 0xfe, 2),
            (128, 0xc0, 3),
            (-129, 0xc0, 3),
            (32767, 0xc0, 3),
            (-32768, 0xc0, 3),
            (32768, 0xf0, 4),
            (-32769, 0xf0, 4),
            (8_388_607, 0xf0, 4),
            (-8_388_608, 0xf0, 4),
            (8_388_608, 0xd0, 5),
            (-8_388_609, 0xd0, 5),
            (2_147_483_647, 0xd0, 5),
            (-2_147_483_648, 0xd0, 5),
            (2_147_483_648, 0xe0, 9),
            (-2_147_483_649, 0xe0, 9),
            (i64::MAX, 0xe0, 9),
            (i64::MIN, 0xe0, 9),
        ] {
            let bytes = built(&[Value::Int(value)]);
            assert_eq!(bytes[HEADER + 1], first, "{value}");
            assert_eq!(bytes.len(), HEADER + 1 + size + 1);
            assert_eq!(walk(&bytes).unwrap(), [Value::Int(value)]);
        }
    }

    #[test]
    fn every_string_class_and_the_length_before_the_next() {
        for (length, prefix, previous) in [
            (0usize, 1usize, 1usize),
            (63, 1, 1),
            (64, 2, 1),
            (250, 2, 1),
            (251, 2, 5),
            (16383, 2, 5),
            (16384, 5, 5),
            (70_000, 5, 5),
        ] {
            let items = [Value::Text(vec![b'x'; length]), Value::Int(1)];
            let bytes = built(&items);
            assert_eq!(
                bytes.len(),
                HEADER + 1 + prefix + length + previous + 1 + 1,
                "{length}"
            );
            assert_eq!(walk(&bytes).unwrap(), items);
        }
    }

    #[test]
    fn the_long_form_of_a_small_length_before_is_legal() {
        let bytes = hex("13000000 0d000000 0200 000161 fe03000000 f6 ff");
        let second = step(&bytes, 13).unwrap().unwrap();
        assert_eq!((second.prevlen, second.next), (3, 19));
        assert!(matches!(second.item, Item::Int(5)));
    }

    #[test]
    fn what_leaves_the_bytes_is_an_error_with_its_place() {
        assert!(header(&hex("0b0000000a0000000000")).is_err());
        for (entry, at, what) in [
            ("", 10, "the bytes end"),
            ("00", 10, "entry needs 2 bytes, 1 remain"),
            ("fe000000", 10, "entry needs 5 bytes, 4 remain"),
            ("fe00000000", 10, "entry needs 6 bytes, 5 remain"),
            ("000261", 11, "entry needs 3 bytes, 2 remain"),
            ("0040", 11, "entry needs 2 bytes, 1 remain"),
            ("007fff", 11, "entry needs 16385 bytes, 2 remain"),
            ("0080ffffff", 11, "entry needs 5 bytes, 4 remain"),
            ("0080ffffffff", 11, "entry needs 4294967300 bytes, 5 remain"),
            ("00c000", 11, "entry needs 3 bytes, 2 remain"),
            ("00d0000000", 11, "entry needs 5 bytes, 4 remain"),
            ("00e000000000000000", 11, "entry needs 9 bytes, 8 remain"),
            ("00f00000", 11, "entry needs 4 bytes, 3 remain"),
            ("00fe", 11, "entry needs 2 bytes, 1 remain"),
            ("00c1", 11, "byte 0xc1 is no ziplist encoding"),
            ("00ff", 11, "byte 0xff is no ziplist encoding"),
            ("00f6", 12, "the bytes end"),
        ] {
            let bytes = hex(&format!("00000000000000000000{entry}"));
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

    fn item() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            (-200i64..200).prop_map(Value::Int),
            (0u32..64, any::<bool>()).prop_map(|(bits, negative)| {
                let value = 1i64.checked_shl(bits).unwrap_or(0);
                Value::Int(if negative {
                    value.wrapping_neg()
                } else {
                    value.wrapping_sub(1)
                })
            }),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Text),
            (16000usize..17000).prop_map(|n| Value::Text(vec![b'y'; n])),
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
