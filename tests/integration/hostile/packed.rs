//! Values as bytes, with a note of where each length, count and number stands: so that each can be made to lie.
//!
//! Like `support::dump` it shares no code with the library.

use super::super::support::dump;

/// What kind of number a field is, and so how it can lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// An RDB length, of any width: replaced as a whole.
    Length,
    /// 16 bits little endian.
    U16,
    /// 32 bits little endian.
    U32,
    /// 64 bits, integer or double.
    Wide,
    /// One byte.
    Byte,
}

/// A number at `at` that takes `len` bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) kind: FieldKind,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// Bytes with their fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: Vec<Field>,
}

impl Body {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn field(mut self, kind: FieldKind, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.fields.push(Field {
            kind,
            at: self.bytes.len(),
            len: bytes.len(),
        });
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Bytes that are no field.
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// An RDB length or count.
    pub(crate) fn len(self, n: u64) -> Self {
        self.field(FieldKind::Length, dump::length(n))
    }

    pub(crate) fn byte(self, byte: u8) -> Self {
        self.field(FieldKind::Byte, [byte])
    }

    pub(crate) fn u16(self, n: u16) -> Self {
        self.field(FieldKind::U16, n.to_le_bytes())
    }

    pub(crate) fn u32(self, n: u32) -> Self {
        self.field(FieldKind::U32, n.to_le_bytes())
    }

    /// A time in milliseconds.
    pub(crate) fn i64(self, n: i64) -> Self {
        self.field(FieldKind::Wide, n.to_le_bytes())
    }

    pub(crate) fn f64(self, n: f64) -> Self {
        self.field(FieldKind::Wide, n.to_le_bytes())
    }

    /// A stream ID in 16 bytes big endian.
    pub(crate) fn id(self, ms: u64, seq: u64) -> Self {
        self.field(FieldKind::Wide, ms.to_be_bytes())
            .field(FieldKind::Wide, seq.to_be_bytes())
    }

    /// A string stored raw.
    pub(crate) fn str(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.len(bytes.len() as u64).raw(bytes)
    }

    /// A string stored as an integer.
    pub(crate) fn int(self, n: i32) -> Self {
        self.raw(dump::int_string(n))
    }

    /// A string stored compressed.
    pub(crate) fn lzf(self, bytes: impl AsRef<[u8]>) -> Self {
        let packed = lzf::compress(bytes.as_ref()).expect("this compresses");
        self.byte(0xc3)
            .len(packed.len() as u64)
            .len(bytes.as_ref().len() as u64)
            .raw(packed)
    }

    /// Another body inside a string.
    pub(crate) fn blob(self, inner: Body) -> Self {
        self.len(inner.bytes.len() as u64).join(inner)
    }

    /// Another body behind this one.
    pub(crate) fn join(mut self, inner: Body) -> Self {
        let base = self.bytes.len();
        self.fields.extend(inner.fields.iter().map(|f| Field {
            at: base + f.at,
            ..*f
        }));
        self.raw(inner.bytes)
    }

    /// A score as text.
    pub(crate) fn score(self, text: &str) -> Self {
        self.byte(text.len() as u8).raw(text)
    }
}

/// One entry of a packed encoding.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Int(i64),
    Str(Vec<u8>),
}

impl From<i64> for Item {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<Vec<u8>> for Item {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Str(bytes)
    }
}

/// A listpack: every integer in its shortest form.
pub(crate) fn listpack(items: impl IntoIterator<Item = Item>) -> Body {
    let mut entries = Body::new();
    let mut count = 0usize;
    for item in items {
        count += 1;
        let before = entries.bytes.len();
        entries = listpack_entry(entries, &item);
        let size = entries.bytes.len() - before;
        entries = entries.byte_run(back_length(size));
    }
    Body::new()
        .u32(u32::try_from(entries.bytes.len()).expect("a small listpack") + 7)
        // More than that is not noted: the reader has to count.
        .u16(u16::try_from(count).unwrap_or(u16::MAX))
        .join(entries)
        .byte(0xff)
}

impl Body {
    fn byte_run(mut self, bytes: Vec<u8>) -> Self {
        for byte in bytes {
            self = self.byte(byte);
        }
        self
    }
}

fn listpack_entry(out: Body, item: &Item) -> Body {
    match item {
        Item::Int(n @ 0..=127) => out.byte(*n as u8),
        Item::Int(n @ -4096..=4095) => {
            let n = (*n & 0x1fff) as u16;
            out.byte(0xc0 | (n >> 8) as u8).byte(n as u8)
        }
        Item::Int(n) => {
            if let Ok(n) = i16::try_from(*n) {
                out.byte(0xf1).raw(n.to_le_bytes())
            } else if (-0x80_0000..0x80_0000).contains(n) {
                out.byte(0xf2).raw(&n.to_le_bytes()[..3])
            } else if let Ok(n) = i32::try_from(*n) {
                out.byte(0xf3).raw(n.to_le_bytes())
            } else {
                out.byte(0xf4).raw(n.to_le_bytes())
            }
        }
        Item::Str(bytes) => match bytes.len() {
            n @ 0..64 => out.byte(0x80 | n as u8),
            n @ 64..4096 => out.byte(0xe0 | (n >> 8) as u8).byte(n as u8),
            n => out.byte(0xf0).u32(n as u32),
        }
        .raw(bytes),
    }
}

/// The length of an entry as it stands behind it.
fn back_length(size: usize) -> Vec<u8> {
    let groups: Vec<u8> = (0..5).map(|i| (size >> (7 * i) & 0x7f) as u8).collect();
    let used = match size {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    (0..used)
        .rev()
        .map(|i| groups[i] | if i == used - 1 { 0 } else { 0x80 })
        .collect()
}

/// A ziplist: every integer in its shortest form.
pub(crate) fn ziplist(items: impl IntoIterator<Item = Item>) -> Body {
    let mut entries = Body::new();
    let mut count = 0usize;
    let mut previous = 0usize;
    let mut tail = 10;
    for item in items {
        count += 1;
        tail = 10 + entries.bytes.len();
        let before = entries.bytes.len();
        entries = match u8::try_from(previous) {
            Ok(short @ 0..254) => entries.byte(short),
            _ => entries.byte(0xfe).u32(previous as u32),
        };
        entries = match &item {
            Item::Int(n @ 0..=12) => entries.byte(0xf1 + *n as u8),
            Item::Int(n) => {
                if let Ok(n) = i8::try_from(*n) {
                    entries.byte(0xfe).raw(n.to_le_bytes())
                } else if let Ok(n) = i16::try_from(*n) {
                    entries.byte(0xc0).raw(n.to_le_bytes())
                } else if (-0x80_0000..0x80_0000).contains(n) {
                    entries.byte(0xf0).raw(&n.to_le_bytes()[..3])
                } else if let Ok(n) = i32::try_from(*n) {
                    entries.byte(0xd0).raw(n.to_le_bytes())
                } else {
                    entries.byte(0xe0).raw(n.to_le_bytes())
                }
            }
            Item::Str(bytes) => match bytes.len() {
                n @ 0..64 => entries.byte(n as u8),
                n @ 64..16_384 => entries.byte(0x40 | (n >> 8) as u8).byte(n as u8),
                n => entries.byte(0x80).raw((n as u32).to_be_bytes()),
            }
            .raw(bytes),
        };
        previous = entries.bytes.len() - before;
    }
    Body::new()
        .u32(u32::try_from(entries.bytes.len()).expect("a small ziplist") + 11)
        .u32(tail as u32)
        // More than that is not noted: the reader has to count.
        .u16(u16::try_from(count).unwrap_or(u16::MAX))
        .join(entries)
        .byte(0xff)
}

/// An intset of integers of `width` bytes.
pub(crate) fn intset(width: u32, members: &[i64]) -> Body {
    members.iter().fold(
        Body::new().u32(width).u32(members.len() as u32),
        |body, n| body.raw(&n.to_le_bytes()[..width as usize]),
    )
}

/// A zipmap; every value has as many unused bytes as stand in `free`.
pub(crate) fn zipmap(pairs: &[(&str, &str)], free: u8) -> Body {
    let text = |body: Body, len: usize| match len {
        0..254 => body.byte(len as u8),
        _ => body.byte(254).u32(len as u32),
    };
    let mut body = Body::new().byte(pairs.len() as u8);
    for (key, value) in pairs {
        body = text(body, key.len()).raw(key);
        body = text(body, value.len())
            .byte(free)
            .raw(value)
            .raw(vec![0; free.into()]);
    }
    body.byte(0xff)
}

/// The items of one stream node: two entries with the master's fields, one with its own, one deleted.
pub(crate) fn stream_node() -> Body {
    let i = Item::from;
    let s = Item::from;
    listpack([
        // Master: 3 live, 1 deleted, fields f and g.
        i(3),
        i(1),
        i(2),
        s("f"),
        s("g"),
        i(0),
        i(2),
        i(0),
        i(0),
        s("v"),
        i(70_000),
        i(5),
        i(3),
        i(1),
        i(-1),
        s("w"),
        s("x"),
        i(5),
        i(0),
        i(2),
        i(300),
        i(1),
        s("own"),
        s("value"),
        i(6),
        i(2),
        i(5),
        i(0),
        s(""),
        i(-1),
        i(5),
    ])
}

/// A stream of form 1 to 5 with two nodes, two groups, pending and nacked entries, and a producer.
pub(crate) fn stream(form: u8) -> Body {
    let mut b = Body::new()
        .len(2)
        .len(16)
        .id(1000, 5)
        .blob(stream_node())
        .len(16)
        .id(2000, 0)
        .blob(stream_node())
        // Length and last ID.
        .len(6)
        .len(2005)
        .len(0);
    if form >= 2 {
        b = b.len(1000).len(5).len(1001).len(4).len(8);
    }
    b = b.len(2);
    for group in ["g1", "g2"] {
        b = b.str(group).len(1001).len(4);
        if form >= 2 {
            b = if group == "g1" {
                b.len(2)
            } else {
                b.raw([0x81]).raw([0xff; 8])
            };
        }
        let nacked = u64::from(form >= 5);
        b = b.len(2 + nacked);
        for seq in 0..2 + nacked {
            b = b.id(1000, 5 + seq).i64(1_700_000_000_000).len(3);
        }
        b = b.len(2);
        for (consumer, ids) in [("c1", 2), ("c2", 0)] {
            b = b.str(consumer).i64(1_700_000_000_000);
            if form >= 3 {
                b = b.i64(-1);
            }
            b = b.len(ids);
            for seq in 0..ids {
                b = b.id(1000, 5 + seq);
            }
        }
        if form >= 5 {
            b = b.len(1).id(1000, 7);
        }
    }
    if form >= 4 {
        b = b
            .len(100)
            .len(1000)
            .len(1)
            .str("producer")
            .len(2)
            .str("iid1")
            .len(1000)
            .len(5)
            .str("iid2")
            .len(1001)
            .len(4)
            .len(2)
            .len(0);
    }
    b
}
