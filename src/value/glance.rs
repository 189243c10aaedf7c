//! Whether a value is sound, at a glance: the forms that nearly all values of a dump have, walked without anything that is
//! needed only to say what is wrong.
//!
//! [`Glance::elements`] answers what a walk of [`Decoder::validate`](super::Decoder::validate) would find where it finds
//! nothing: the number of elements. `None` says nothing, neither that the value is damaged nor that it is not: the walker
//! looks then, and tells. So whatever is rare here (other types, large collections, texts that could be integers, equal
//! hashes) may be left to it.

mod stream;

use self::stream::PendingIds;
use super::differing::{Differing, hash, hash_int};
use super::listpack;
use super::packed::Item;
use super::{IntText, canonical_int, intset};
use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::string::Lzf;
use crate::wire::{Cursor, Str, double, length, lzf};

/// Looks at values, with buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// A blob or string that stands compressed in the file.
    text: Vec<u8>,
    seen: Differing,
    /// What stands inside of what `seen` has.
    seen_inside: Differing,
    pending: PendingIds,
}

/// Whether finding the end of the value was all that can be asked of it: a string that stands in the file as it is, under a
/// name that does.
#[must_use]
#[inline]
pub fn is_plain_string(entry: &Entry<'_>) -> bool {
    entry.value_type == ValueType::STRING
        && entry.key_meta.is_none()
        && !matches!(entry.key, Str::Lzf(_))
        && entry.value.first().is_some_and(|first| *first != LZF)
}

/// How a compressed string begins.
const LZF: u8 = 0xc3;

impl Glance {
    /// The number of elements, where nothing is wrong for sure.
    #[inline]
    pub(super) fn elements(&mut self, entry: &Entry<'_>) -> Option<u64> {
        if entry.key_meta.is_some() {
            return None;
        }
        if let Str::Lzf(name) = entry.key
            && !is_sound(&name)
        {
            return None;
        }
        let mut cursor = Cursor::new(entry.value, 0);
        let elements = match entry.value_type {
            ValueType::STRING => string(&mut cursor).then_some(1),
            ValueType::HASH_LISTPACK => self.packed(&mut cursor, Packed::Pairs),
            ValueType::ZSET_LISTPACK => self.packed(&mut cursor, Packed::Scores),
            ValueType::SET_LISTPACK if entry.dialect != Dialect::Dragonfly => {
                self.packed(&mut cursor, Packed::Members)
            }
            ValueType::SET_INTSET => self.packed(&mut cursor, Packed::Integers),
            ValueType::LIST_QUICKLIST_2 => self.quicklist(&mut cursor),
            ValueType::SET => self.strings(&mut cursor, Behind::Nothing),
            ValueType::HASH => self.strings(&mut cursor, Behind::String),
            ValueType::ZSET_2 => self.strings(&mut cursor, Behind::Score),
            ValueType::STREAM_LISTPACKS => self.stream(&mut cursor, 1),
            ValueType::STREAM_LISTPACKS_2 => self.stream(&mut cursor, 2),
            ValueType::STREAM_LISTPACKS_3 => self.stream(&mut cursor, 3),
            _ => None,
        }?;
        (elements > 0 && cursor.is_empty()).then_some(elements)
    }

    /// A collection in one blob.
    #[inline]
    fn packed(&mut self, cursor: &mut Cursor<'_>, what: Packed) -> Option<u64> {
        let blob = blob(cursor, &mut self.text)?;
        match what {
            Packed::Integers => integers(blob),
            Packed::Members => {
                let (mut items, count) = Items::of(blob)?;
                self.seen.begin(u64::from(count))?;
                let mut members = 0u64;
                while let Some(member) = items.next()? {
                    self.seen.add(member.hash()?)?;
                    members = members.wrapping_add(1);
                }
                items.are(count, members).then_some(members)
            }
            Packed::Pairs => {
                let (mut items, count) = Items::of(blob)?;
                self.seen.begin(u64::from(count / 2))?;
                let mut fields = 0u64;
                while let Some(field) = items.next()? {
                    self.seen.add(field.hash()?)?;
                    items.next()??;
                    fields = fields.wrapping_add(1);
                }
                items.are(count, fields.wrapping_mul(2)).then_some(fields)
            }
            Packed::Scores => {
                let (mut items, count) = Items::of(blob)?;
                self.seen.begin(u64::from(count / 2))?;
                let mut members = 0u64;
                let mut before: Option<(Score, Got<'_>)> = None;
                while let Some(member) = items.next()? {
                    self.seen.add(member.hash()?)?;
                    let score = Score::of(items.next()??)?;
                    if let Some((score_before, member_before)) = &before
                        && !score_before.is_below(&score)
                    {
                        // Of the same score: by the member's bytes.
                        let (mut a, mut b) = (IntText::new(), IntText::new());
                        if !score_before.is_exactly(&score)
                            || member_before.text(&mut a) > member.text(&mut b)
                        {
                            return None;
                        }
                    }
                    before = Some((score, member));
                    members = members.wrapping_add(1);
                }
                items.are(count, members.wrapping_mul(2)).then_some(members)
            }
        }
    }

    /// Nodes of listpacks and of plain elements.
    fn quicklist(&mut self, cursor: &mut Cursor<'_>) -> Option<u64> {
        let mut elements = 0u64;
        for _ in 0..length::read(cursor).ok()? {
            let more = match length::read(cursor).ok()? {
                1 => {
                    // An empty one is told.
                    (cursor.peek() != Some(0) && string(cursor)).then_some(1)?
                }
                2 => {
                    let (mut items, count) = Items::of(blob(cursor, &mut self.text)?)?;
                    let mut seen = 0u64;
                    while items.next()?.is_some() {
                        seen = seen.wrapping_add(1);
                    }
                    (items.are(count, seen) && seen > 0).then_some(seen)?
                }
                _ => return None,
            };
            elements = elements.wrapping_add(more);
        }
        Some(elements)
    }

    /// A count, and that many strings that must differ, each with something behind it.
    fn strings(&mut self, cursor: &mut Cursor<'_>, behind: Behind) -> Option<u64> {
        let count = length::read(cursor).ok()?;
        self.seen.begin(count)?;
        for _ in 0..count {
            let name = match Str::read(cursor).ok()? {
                Str::Raw(bytes) => Got::Text(bytes),
                Str::Int(value) => Got::Int(i64::from(value)),
                Str::Lzf(packed) => Got::Text(packed.bytes(&mut self.text).ok()?),
            };
            self.seen.add(name.hash()?)?;
            let is_sound = match behind {
                Behind::Nothing => true,
                Behind::String => string(cursor),
                Behind::Score => !double::read_binary(cursor).ok()?.is_nan(),
            };
            if !is_sound {
                return None;
            }
        }
        Some(count)
    }
}

/// What a blob holds.
#[derive(Debug, Clone, Copy)]
enum Packed {
    Integers,
    Members,
    Pairs,
    Scores,
}

/// What stands behind each string of a plain collection.
#[derive(Debug, Clone, Copy)]
enum Behind {
    Nothing,
    String,
    Score,
}

/// Reads a string whose content does not matter: compressed ones must hold what they claim.
#[inline]
fn string(cursor: &mut Cursor<'_>) -> bool {
    match Str::read(cursor) {
        Ok(Str::Lzf(packed)) => is_sound(&packed),
        Ok(_) => true,
        Err(_) => false,
    }
}

fn is_sound(packed: &Lzf<'_>) -> bool {
    lzf::plausible(packed.compressed.len() as u64, packed.ulen)
        && lzf::is_sound(packed.compressed, packed.ulen)
}

/// The bytes of a blob that is not too long for a buffer.
#[inline]
fn blob<'b, 'data: 'b>(cursor: &mut Cursor<'data>, text: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    match Str::read(cursor).ok()? {
        Str::Raw(bytes) => Some(bytes),
        Str::Lzf(packed) => packed.bytes(text).ok(),
        Str::Int(_) => None,
    }
}

/// Whether an intset rises strictly and is as long as it says; the number of its integers.
fn integers(blob: &[u8]) -> Option<u64> {
    let header = intset::header(blob).ok()?;
    let body = blob.get(intset::HEADER..)?;
    if header.total() != blob.len() as u64 {
        return None;
    }
    let rises = match header.width {
        2 => rises(body.as_chunks().0, i16::from_le_bytes),
        4 => rises(body.as_chunks().0, i32::from_le_bytes),
        _ => rises(body.as_chunks().0, i64::from_le_bytes),
    };
    rises.then_some(u64::from(header.count))
}

/// Whether each number is larger than the one before. All are looked at: no branch stands in the way of vectors.
#[inline]
fn rises<const N: usize, T: Ord + Copy>(numbers: &[[u8; N]], of: impl Fn([u8; N]) -> T) -> bool {
    let behind = numbers.get(1..).unwrap_or_default();
    numbers
        .iter()
        .zip(behind)
        .fold(true, |rises, (a, b)| rises & (of(*a) < of(*b)))
}

/// An entry of a listpack, or a string.
#[derive(Debug, Clone, Copy)]
enum Got<'b> {
    Int(i64),
    Text(&'b [u8]),
}

impl Got<'_> {
    #[inline]
    fn text<'t>(&'t self, buffer: &'t mut IntText) -> &'t [u8] {
        match self {
            Got::Int(value) => buffer.format(*value).as_bytes(),
            Got::Text(text) => text,
        }
    }

    /// Equal strings have equal hashes. `None` for a text that could be the same string as an integer.
    #[inline]
    fn hash(self) -> Option<u32> {
        match self {
            Got::Int(value) => Some(hash_int(value)),
            Got::Text(text) => {
                let may_be_int = text.last().is_some_and(u8::is_ascii_digit)
                    && matches!(text.first(), Some(b'0'..=b'9' | b'-'));
                if may_be_int && canonical_int(text).is_some() {
                    return None;
                }
                Some(hash(text))
            }
        }
    }
}

/// The entries of a listpack that are still to come, from the first one's first byte.
#[derive(Debug, Clone, Copy)]
struct Items<'b> {
    rest: &'b [u8],
}

impl<'b> Items<'b> {
    /// With the number of entries that the header claims.
    #[inline]
    fn of(blob: &'b [u8]) -> Option<(Self, u16)> {
        let (&[a, b, c, d, e, f], rest) = blob.split_first_chunk::<{ listpack::HEADER }>()?;
        (u32::from_le_bytes([a, b, c, d]) as usize == blob.len())
            .then_some((Self { rest }, u16::from_le_bytes([e, f])))
    }

    /// The next entry; inside `Some` a `None` at the end byte, behind which nothing stands.
    #[inline]
    #[expect(
        clippy::option_option,
        reason = "the outer one says that there is something for the walker to look at"
    )]
    fn next(&mut self) -> Option<Option<Got<'b>>> {
        let (&first, body) = self.rest.split_first()?;
        match first {
            0x80..=0xbf => {
                let length = first & 0x3f;
                let (text, behind) = body.split_at_checked(usize::from(length))?;
                let (&back, rest) = behind.split_first()?;
                self.rest = rest;
                (back == length.wrapping_add(1)).then_some(Some(Got::Text(text)))
            }
            0x00..=0x7f => {
                let (&back, rest) = body.split_first()?;
                self.rest = rest;
                (back == 1).then_some(Some(Got::Int(i64::from(first))))
            }
            0xff => body.is_empty().then_some(None),
            _ => self.longer(),
        }
    }

    #[expect(clippy::option_option, reason = "as `next`")]
    fn longer(&mut self) -> Option<Option<Got<'b>>> {
        let step = listpack::step(self.rest, 0).ok()??;
        let got = match step.item {
            Item::Int(value) => Got::Int(value),
            Item::Text(from, to) => Got::Text(self.rest.get(from..to)?),
        };
        self.rest = self.rest.get(step.next..)?;
        step.back_is_right.then_some(Some(got))
    }

    /// Whether the header claims as many entries as there were.
    #[inline]
    fn are(&self, claimed: u16, seen: u64) -> bool {
        claimed == listpack::COUNT_UNKNOWN || u64::from(claimed) == seen
    }
}

/// A score, with what is needed to compare it.
#[derive(Debug, Clone, Copy)]
struct Score {
    value: f64,
    /// Where the value may be off by a few of the last bits: the text of the score.
    is_exact: bool,
}

impl Score {
    /// `None` where the text is no number, or one of a rarer form.
    #[inline]
    fn of(got: Got<'_>) -> Option<Self> {
        match got {
            #[expect(clippy::cast_precision_loss, reason = "the same cast as the server's")]
            Got::Int(value) => Some(Self {
                value: value as f64,
                is_exact: true,
            }),
            Got::Text(text) => match double::nearly(text) {
                Some((value, is_exact)) => Some(Self { value, is_exact }),
                None => double::parse(text).map(|value| Self {
                    value,
                    is_exact: true,
                }),
            },
        }
    }

    /// Whether it is smaller for sure.
    #[inline]
    fn is_below(&self, other: &Self) -> bool {
        if self.is_exact && other.is_exact {
            return self.value < other.value;
        }
        let doubt = (self.value.abs() + other.value.abs()) * NEARLY;
        other.value - self.value > doubt
    }

    fn is_exactly(&self, other: &Self) -> bool {
        self.is_exact && other.is_exact && self.value == other.value
    }
}

/// Far more than the two roundings of [`double::nearly`] are off by.
const NEARLY: f64 = 1e-14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::value::test_support::entry;
    use crate::value::{Decoder, Finding};

    /// What the glance says, after holding it against a whole walk.
    fn glance(entry: &Entry<'_>) -> Option<u64> {
        let glanced = Glance::default().elements(entry);
        if let Some(elements) = glanced {
            let dir = std::env::temp_dir();
            let mut decoder = Decoder::with_findings(Some(&dir), Vec::<Finding>::new());
            let summary = decoder.look(entry).unwrap();
            assert!(
                decoder.findings().is_empty(),
                "{:?}: {entry:?}",
                decoder.findings()
            );
            assert_eq!(elements, summary.elements, "{entry:?}");
        }
        glanced
    }

    /// Values as servers write them, and what of them is not known at a glance.
    #[test]
    fn most_values_of_real_dumps_are_known_at_a_glance() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let (mut known, mut all) = (0, 0);
        for version in ["redis-7.0", "redis-8.2", "valkey-9.0"] {
            for name in ["strings", "lists", "sets", "zsets", "hashes", "streams"] {
                let path = dir.join(version).join(name).with_extension("rdb");
                let bytes = std::fs::read(path).unwrap();
                for entry in Snapshot::parse(&bytes).unwrap().entries() {
                    let entry = entry.unwrap();
                    let elements = glance(&entry);
                    assert!(!is_plain_string(&entry) || elements == Some(1));
                    all += 1;
                    known += usize::from(elements.is_some());
                }
            }
        }
        assert!(known * 10 > all * 9, "{known} of {all}");
    }

    fn listpack(items: &[&str]) -> Vec<u8> {
        let mut pack = listpack::Writer::new();
        for item in items {
            pack.push(item.as_bytes());
        }
        pack.finish().unwrap()
    }

    /// One value of each form: its type, and its body.
    fn values() -> Vec<(u8, Vec<u8>)> {
        let raw = |blob: &[u8]| {
            let mut out = Vec::new();
            Str::write_raw(&mut out, blob);
            out
        };
        let packed = |text: &str| {
            let mut out = Vec::new();
            Str::write(&mut out, text.as_bytes(), true);
            assert_eq!(out[0], LZF);
            out
        };
        let many: Vec<String> = (0..40).map(|i| format!("member-{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let pairs = listpack(&["field", "a", "another", "5", "5", "", "x", "-70000"]);
        let scores = listpack(&[
            "b", "-1.5", "a", "2", "c", "2", "d", "0.1e2", "e", "1000.25",
        ]);
        vec![
            (0, packed(&"text ".repeat(40))),
            (16, raw(&pairs)),
            (17, raw(&scores)),
            (20, raw(&listpack(&many))),
            (11, raw(&intset::encode(&[-5, 0, 7, 300]).unwrap())),
            (11, raw(&intset::encode(&[-5, 0, 7, 1 << 40]).unwrap())),
            (
                18,
                [&[2, 2][..], &raw(&pairs), &[1], &raw(b"plain")].concat(),
            ),
            (
                2,
                [&[3][..], &raw(b"a"), &[0xc0, 5], &raw(b"abcdefghi")].concat(),
            ),
            (
                4,
                [
                    &[2][..],
                    &raw(b"a"),
                    &packed(&"v".repeat(90)),
                    &raw(b"b"),
                    &raw(b""),
                ]
                .concat(),
            ),
            (
                5,
                [
                    &[2][..],
                    &raw(b"a"),
                    &1.5f64.to_le_bytes(),
                    &raw(b"b"),
                    &[0; 8],
                ]
                .concat(),
            ),
        ]
    }

    /// Streams as servers write them, with groups among them: the smaller ones.
    fn streams() -> Vec<(u8, Vec<u8>)> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let mut all = Vec::new();
        for version in ["redis-5.0", "redis-7.0", "redis-8.0"] {
            let bytes = std::fs::read(dir.join(version).join("streams.rdb")).unwrap();
            for entry in Snapshot::parse(&bytes).unwrap().entries() {
                let entry = entry.unwrap();
                if entry.value.len() < 700 && glance(&entry).is_some() {
                    all.push((entry.value_type.0, entry.value.to_vec()));
                }
            }
        }
        let types = |value_type| all.iter().filter(|(other, _)| *other == value_type).count();
        assert!(types(15) > 0 && types(19) > 0 && types(21) > 0);
        all
    }

    #[test]
    fn what_it_knows_is_what_a_whole_walk_says_of_any_damage() {
        let (mut sound, mut broken) = (0, 0);
        for (value_type, body) in values().into_iter().chain(streams()) {
            let intact = entry(value_type, Dialect::Redis, &body);
            assert!(glance(&intact).is_some(), "{intact:?}");
            for at in 0..body.len() {
                for flip in [1, 4, 0x80, 0xff, 0x35, body[at]] {
                    let mut other = body.clone();
                    other[at] ^= flip;
                    match glance(&entry(value_type, Dialect::Redis, &other)) {
                        Some(_) => sound += 1,
                        None => broken += 1,
                    }
                }
                assert!(glance(&entry(value_type, Dialect::Redis, &body[..at])).is_none());
            }
            let longer = [&body[..], b"x"].concat();
            assert!(glance(&entry(value_type, Dialect::Redis, &longer)).is_none());
        }
        assert!(sound > 200 && broken > 500, "{sound}, {broken}");
    }

    /// What must be left to the walker, since it tells something of it or may.
    #[test]
    fn doubles_and_what_may_be_one_are_not_known() {
        let many: Vec<String> = (0..40).map(|i| format!("member-{}", i % 39)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (value_type, items) in [
            (20, &["a", "b", "a"][..]),
            (20, &many),
            (20, &["5", "6", "5"]),
            (16, &["a", "1", "a", "2"]),
            (17, &["a", "1", "a", "2"]),
            (17, &["a", "2", "b", "1"]),
            (17, &["b", "2", "a", "2"]),
            (17, &["b", "nan"]),
            (17, &["a", "1.0000000000000002", "b", "1.0000000000000001"]),
            (16, &["a", "1", "b"]),
            (20, &[]),
        ] {
            let mut body = Vec::new();
            Str::write_raw(&mut body, &listpack(items));
            let entry = entry(value_type, Dialect::Redis, &body);
            assert!(glance(&entry).is_none(), "{items:?}");
        }
        // An integer written as a text, which is the same member.
        let mut pack = listpack::Writer::new();
        pack.push_int(5);
        pack.push_string(b"5");
        let mut body = Vec::new();
        Str::write_raw(&mut body, &pack.finish().unwrap());
        assert!(glance(&entry(20, Dialect::Redis, &body)).is_none());
        let plain = [&[2][..], &[0xc0, 5], b"\x015"].concat();
        assert!(glance(&entry(2, Dialect::Redis, &plain)).is_none());
    }

    #[test]
    fn more_members_than_the_table_holds_are_left_to_the_walker() {
        for (count, known) in [(60_000u32, true), (70_000, false)] {
            let mut body = Vec::new();
            length::write(&mut body, u64::from(count));
            for i in 0..count {
                Str::write_raw(&mut body, format!("m{i}").as_bytes());
            }
            // Two of so many may share 32 bits of a hash: then the walker looks too.
            let entry = entry(2, Dialect::Redis, &body);
            if !known {
                assert!(glance(&entry).is_none());
            } else if let Some(elements) = glance(&entry) {
                assert_eq!(elements, u64::from(count));
            }
        }
    }
}
