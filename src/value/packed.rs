//! What the packed encodings have in common: a blob that is borrowed, held or spooled, and one walk over its elements.
//!
//! A blob is an RDB string, so it may be compressed. Up to [`Str::MAX_BUFFERED`] bytes it is decompressed into a buffer that
//! the decoder uses again and again; a longer one goes to a spool and is mapped, so that in all three cases the walk sees
//! plain bytes and own memory stays flat.

use std::borrow::Cow;
use std::path::Path;

use super::element::{Element, IntText, is_long};
use super::findings::{Finding, Findings, Rule};
use super::{intset, listpack, ziplist, zipmap};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::spool::{Spool, SpooledBytes};
use crate::wire::Str;

/// A packed encoding that cannot be read on.
#[derive(Debug)]
pub struct Broken(Box<(usize, Cow<'static, str>)>);

impl Broken {
    /// At byte `at` of the blob.
    #[cold]
    pub fn new(at: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new((at, what.into())))
    }

    /// The byte of the blob, from 0.
    #[must_use]
    pub fn at(&self) -> usize {
        self.0.0
    }

    /// What is wrong.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.1
    }

    #[cold]
    fn into_error(self, name: &'static str, offset: u64) -> Error {
        let (at, what) = *self.0;
        Error::corrupt(Place::inside(offset, name, at as u64), what)
    }
}

/// An element of a packed encoding, as a position in its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Int(i64),
    /// A string, from the first byte to the one behind its last.
    Text(usize, usize),
}

impl Item {
    /// The string of `length` bytes at `from`.
    #[inline]
    #[must_use]
    pub fn text(from: usize, length: usize) -> Self {
        Item::Text(from, from.saturating_add(length))
    }

    /// The element, in the blob that it was found in.
    #[inline]
    #[must_use]
    pub fn element(self, blob: &[u8]) -> Element<'_> {
        match self {
            Item::Int(value) => Element::Int(value),
            Item::Text(from, to) => Element::Bytes(blob.get(from..to).unwrap_or_default()),
        }
    }

    /// The string's bytes; none for an integer.
    #[must_use]
    pub fn bytes(self, blob: &[u8]) -> &[u8] {
        match self {
            Item::Int(_) => &[],
            Item::Text(from, to) => blob.get(from..to).unwrap_or_default(),
        }
    }
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blob<'d> {
    Raw(&'d [u8]),
    /// In the [`Hold`] that it was loaded into.
    Held,
}

impl<'d> Blob<'d> {
    #[inline]
    pub(super) fn bytes<'s>(self, hold: &'s Hold) -> &'s [u8]
    where
        'd: 's,
    {
        match self {
            Blob::Raw(bytes) => bytes,
            Blob::Held => hold.bytes(),
        }
    }
}

/// Room for one blob that does not stand in the input as it is.
#[derive(Debug, Default)]
pub(super) struct Hold {
    buffer: Vec<u8>,
    spooled: Option<SpooledBytes>,
}

impl Hold {
    /// Nothing.
    pub(super) const EMPTY: Self = Self {
        buffer: Vec::new(),
        spooled: None,
    };

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.spooled {
            None => &self.buffer,
            Some(spooled) => spooled,
        }
    }

    /// Makes the bytes of `string` available.
    pub(super) fn load<'d>(
        &mut self,
        string: Str<'d>,
        encoding: Encoding,
        spool_dir: Option<&Path>,
    ) -> Result<Blob<'d>> {
        let packed = match string {
            Str::Raw(bytes) => return Ok(Blob::Raw(bytes)),
            Str::Int(value) => {
                self.spooled = None;
                self.buffer.clear();
                self.buffer
                    .extend_from_slice(IntText::new().format(value).as_bytes());
                return Ok(Blob::Held);
            }
            Str::Lzf(packed) => packed,
        };
        self.spooled = None;
        if !is_long(&packed)? {
            packed.bytes(&mut self.buffer)?;
            return Ok(Blob::Held);
        }
        let Some(dir) = spool_dir else {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "a compressed {} of {} bytes needs a spool, and the decoder has no directory for one",
                    encoding.name(),
                    packed.ulen
                ),
            )
            .or_place(Place::at(packed.offset)));
        };
        let mut stream = packed.stream();
        let mut spool = None;
        while let Some(piece) = stream.next_piece()? {
            let spool = match &mut spool {
                Some(spool) => spool,
                None => {
                    // What claims more than it says in its own header is a lie: it must not fill the disk.
                    encoding
                        .expect_total(piece, packed.ulen)
                        .map_err(|broken| broken.into_error(encoding.name(), packed.offset))?;
                    spool.insert(Spool::create(dir, Some(packed.ulen))?)
                }
            };
            spool.append(piece)?;
        }
        if let Some(spool) = spool {
            self.buffer.clear();
            self.spooled = Some(spool.finish()?);
        }
        Ok(Blob::Held)
    }
}

/// The four packed encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Listpack,
    Ziplist,
    Intset,
    Zipmap,
}

impl Encoding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Listpack => listpack::NAME,
            Encoding::Ziplist => ziplist::NAME,
            Encoding::Intset => intset::NAME,
            Encoding::Zipmap => zipmap::NAME,
        }
    }

    /// Whether the header in the first bytes of a blob says that it has `length` bytes. A zipmap does not say.
    fn expect_total(self, first: &[u8], length: u64) -> Result<(), Broken> {
        let total = match self {
            Encoding::Listpack => u64::from(listpack::header(first)?.total),
            Encoding::Ziplist => u64::from(ziplist::header(first)?.total),
            Encoding::Intset => intset::header(first)?.total(),
            Encoding::Zipmap => return Ok(()),
        };
        if total == length {
            return Ok(());
        }
        Err(Broken::new(0, total_differs(total, length)))
    }
}

#[cold]
fn total_differs(claimed: u64, found: u64) -> String {
    format!("its header claims {claimed} bytes in all, it has {found}")
}

/// A walk over the elements of one blob.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'d> {
    blob: Blob<'d>,
    encoding: Encoding,
    /// Where the blob's string begins in the input.
    offset: u64,
    /// The next element, or `usize::MAX` at the end.
    at: usize,
    /// The element that was read last.
    last: usize,
    /// The integer that was read last from an intset; or bytes of an intset's integers.
    last_int: i64,
    width: u32,
    seen: u64,
    claimed: Option<u64>,
}

impl<'d> Packed<'d> {
    /// Loads the blob `string`, whose record begins at `offset` of the input, and reads its header.
    pub(super) fn open<F: Findings>(
        string: Str<'d>,
        offset: u64,
        encoding: Encoding,
        hold: &mut Hold,
        spool_dir: Option<&Path>,
        findings: &mut F,
    ) -> Result<Self> {
        let blob = hold.load(string, encoding, spool_dir)?;
        let bytes = blob.bytes(hold);
        let mut packed = Self {
            blob,
            encoding,
            offset,
            at: 0,
            last: 0,
            last_int: i64::MIN,
            width: 0,
            seen: 0,
            claimed: None,
        };
        let fail = |broken: Broken| broken.into_error(encoding.name(), offset);
        let total = match encoding {
            Encoding::Listpack => {
                let header = listpack::header(bytes).map_err(fail)?;
                packed.at = listpack::HEADER;
                packed.claimed =
                    (header.count != listpack::COUNT_UNKNOWN).then_some(u64::from(header.count));
                u64::from(header.total)
            }
            Encoding::Ziplist => {
                let header = ziplist::header(bytes).map_err(fail)?;
                packed.at = ziplist::HEADER;
                packed.last = ziplist::HEADER;
                packed.claimed =
                    (header.count != ziplist::COUNT_UNKNOWN).then_some(u64::from(header.count));
                u64::from(header.total)
            }
            Encoding::Intset => {
                let header = intset::header(bytes).map_err(fail)?;
                packed.at = intset::HEADER;
                packed.width = header.width;
                packed.claimed = Some(u64::from(header.count));
                header.total()
            }
            Encoding::Zipmap => {
                packed.at = zipmap::HEADER;
                packed.claimed =
                    zipmap::count(bytes).map(|count| u64::from(count).saturating_mul(2));
                bytes.len() as u64
            }
        };
        if total != bytes.len() as u64 {
            findings.found(Finding {
                rule: Rule::PackedTotal,
                place: packed.place(0),
                what: total_differs(total, bytes.len() as u64).into(),
            })?;
        }
        Ok(packed)
    }

    /// Where the bytes are.
    #[inline]
    pub(super) fn blob(&self) -> Blob<'d> {
        self.blob
    }

    /// How many elements the header claims, where it does. In a zipmap keys and values are elements.
    pub(super) fn claimed(&self) -> Option<u64> {
        self.claimed
    }

    /// The bytes that positions refer to.
    #[inline]
    pub(super) fn bytes<'s>(&self, hold: &'s Hold) -> &'s [u8]
    where
        'd: 's,
    {
        self.blob.bytes(hold)
    }

    /// Byte `at` of the blob, for an error.
    pub(super) fn place(&self, at: usize) -> Place {
        Place::inside(self.offset, self.encoding.name(), at as u64)
    }

    /// The place of the element that was read last.
    pub(super) fn last_place(&self) -> Place {
        self.place(self.last)
    }

    /// The position of the element that was read last, for [`Packed::element_at`].
    #[inline]
    pub(super) fn last(&self) -> usize {
        self.last
    }

    /// The position of the next element, for [`Packed::element_at`].
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The number of elements read so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Reads the element at a position that was read before.
    pub(super) fn element_at<'s>(&self, hold: &'s Hold, position: u64) -> Option<Element<'s>>
    where
        'd: 's,
    {
        let at = usize::try_from(position).ok()?;
        let bytes = self.bytes(hold);
        let item = match self.encoding {
            Encoding::Listpack => listpack::step(bytes, at).ok()??.item,
            Encoding::Ziplist => ziplist::step(bytes, at).ok()??.item,
            Encoding::Intset => Item::Int(intset::step(bytes, at, self.width).ok()?),
            Encoding::Zipmap => zipmap::key(bytes, at).ok()??.item,
        };
        Some(item.element(bytes))
    }

    /// The next element; `None` at the end. Fused after an error.
    #[inline]
    pub(super) fn next<F: Findings>(
        &mut self,
        hold: &Hold,
        findings: &mut F,
    ) -> Result<Option<Item>> {
        if self.encoding == Encoding::Listpack
            && let Some((item, next)) = listpack::short_step(self.blob.bytes(hold), self.at)
        {
            self.last = self.at;
            self.at = next;
            self.seen = self.seen.wrapping_add(1);
            return Ok(Some(item));
        }
        self.next_of_any(hold, findings)
    }

    /// The next two elements, where both are entries of the commonest forms. Nothing is read otherwise.
    #[inline]
    pub(super) fn next_short_pair(&mut self, hold: &Hold) -> Option<(Item, Item)> {
        if self.encoding != Encoding::Listpack {
            return None;
        }
        let bytes = self.blob.bytes(hold);
        let (first, between) = listpack::short_step(bytes, self.at)?;
        let (second, next) = listpack::short_step(bytes, between)?;
        self.last = between;
        self.at = next;
        self.seen = self.seen.wrapping_add(2);
        Some((first, second))
    }

    #[inline(never)]
    fn next_of_any<F: Findings>(&mut self, hold: &Hold, findings: &mut F) -> Result<Option<Item>> {
        let bytes = self.blob.bytes(hold);
        match self.encoding {
            Encoding::Listpack => match listpack::step(bytes, self.at) {
                Ok(Some(step)) => {
                    self.last = self.at;
                    self.at = step.next;
                    self.seen = self.seen.wrapping_add(1);
                    if !step.back_is_right {
                        self.wrong_backlen(bytes, step, findings)?;
                    }
                    Ok(Some(step.item))
                }
                Ok(None) => self.end(bytes, findings),
                Err(broken) => self.fail(broken),
            },
            Encoding::Ziplist => match ziplist::step(bytes, self.at) {
                Ok(Some(step)) => {
                    let previous = self.at.wrapping_sub(self.last);
                    self.last = self.at;
                    self.at = step.next;
                    self.seen = self.seen.wrapping_add(1);
                    if step.prevlen as usize != previous {
                        self.wrong_prevlen(step.prevlen, previous, findings)?;
                    }
                    Ok(Some(step.item))
                }
                Ok(None) => self.end(bytes, findings),
                Err(broken) => self.fail(broken),
            },
            Encoding::Intset => self.next_int(bytes, findings),
            Encoding::Zipmap => self.next_zipmap(bytes, findings),
        }
    }

    fn next_int<F: Findings>(&mut self, bytes: &[u8], findings: &mut F) -> Result<Option<Item>> {
        if Some(self.seen) >= self.claimed {
            return self.end(bytes, findings);
        }
        match intset::step(bytes, self.at, self.width) {
            Ok(value) => {
                self.last = self.at;
                self.at = self.at.wrapping_add(self.width as usize);
                if value <= self.last_int && self.seen > 0 {
                    findings.found(Finding {
                        rule: Rule::IntsetOrder,
                        place: self.last_place(),
                        what: format!(
                            "{value} stands behind {}, an intset rises strictly",
                            self.last_int
                        )
                        .into(),
                    })?;
                }
                self.last_int = value;
                self.seen = self.seen.wrapping_add(1);
                Ok(Some(Item::Int(value)))
            }
            Err(broken) => self.fail(broken),
        }
    }

    fn next_zipmap<F: Findings>(&mut self, bytes: &[u8], findings: &mut F) -> Result<Option<Item>> {
        let step = if self.seen & 1 == 0 {
            zipmap::key(bytes, self.at)
        } else {
            zipmap::value(bytes, self.at).map(Some)
        };
        match step {
            Ok(Some(step)) => {
                self.last = self.at;
                self.at = step.next;
                self.seen = self.seen.wrapping_add(1);
                Ok(Some(step.item))
            }
            Ok(None) => self.end(bytes, findings),
            Err(broken) => self.fail(broken),
        }
    }

    /// Holds what was walked against the header, once.
    #[inline]
    fn end<F: Findings>(&mut self, bytes: &[u8], findings: &mut F) -> Result<Option<Item>> {
        let end = std::mem::replace(&mut self.at, usize::MAX);
        if end == usize::MAX {
            return Ok(None);
        }
        let size = match self.encoding {
            Encoding::Intset => end,
            _ => end.saturating_add(1),
        };
        if size != bytes.len() && !bytes.is_empty() {
            findings.found(Finding {
                rule: Rule::TrailingBytes,
                place: self.place(size),
                what: format!(
                    "{} bytes stand behind the end",
                    bytes.len().saturating_sub(size)
                )
                .into(),
            })?;
        }
        if let Some(claimed) = self.claimed
            && claimed != self.seen
        {
            self.wrong_count(claimed, findings)?;
        }
        if self.encoding == Encoding::Ziplist
            && let Ok(header) = ziplist::header(bytes)
            && header.tail as usize != self.last
        {
            findings.found(Finding {
                rule: Rule::ZiplistTail,
                place: self.place(4),
                what: format!(
                    "its header puts the last entry at byte {}, it stands at {}",
                    header.tail, self.last
                )
                .into(),
            })?;
        }
        Ok(None)
    }

    #[cold]
    fn fail(&mut self, broken: Broken) -> Result<Option<Item>> {
        if std::mem::replace(&mut self.at, usize::MAX) == usize::MAX {
            return Ok(None);
        }
        Err(broken.into_error(self.encoding.name(), self.offset))
    }

    #[cold]
    fn wrong_backlen<F: Findings>(
        &self,
        bytes: &[u8],
        step: listpack::Step,
        findings: &mut F,
    ) -> Result<()> {
        let behind = self.last.saturating_add(step.size);
        let found = bytes.get(behind..step.next).unwrap_or_default();
        findings.found(Finding {
            rule: Rule::ListpackBacklen,
            place: self.place(behind),
            what: format!(
                "the length behind an entry of {} bytes is written as {}",
                step.size,
                Hex(found)
            )
            .into(),
        })
    }

    #[cold]
    fn wrong_prevlen<F: Findings>(
        &self,
        noted: u32,
        previous: usize,
        findings: &mut F,
    ) -> Result<()> {
        findings.found(Finding {
            rule: Rule::ZiplistPrevlen,
            place: self.last_place(),
            what: format!("notes {noted} bytes for the entry before, which has {previous}").into(),
        })
    }

    #[cold]
    fn wrong_count<F: Findings>(&self, claimed: u64, findings: &mut F) -> Result<()> {
        let (claimed, seen, at) = match self.encoding {
            Encoding::Listpack => (claimed, self.seen, 4),
            Encoding::Ziplist => (claimed, self.seen, 8),
            Encoding::Intset => (claimed, self.seen, 4),
            // Counted in pairs.
            Encoding::Zipmap => (claimed / 2, self.seen / 2, 0),
        };
        findings.found(Finding {
            rule: Rule::PackedCount,
            place: self.place(at),
            what: format!("its header claims {claimed} elements, it has {seen}").into(),
        })
    }
}

/// Shows bytes as hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the tests of the packed encodings share.
#[cfg(test)]
pub(super) mod test_support {
    use super::*;

    /// Bytes from hexadecimal digits; blanks are for the eye.
    pub(in super::super) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).unwrap())
            .collect();
        assert_eq!(digits.len() % 2, 0, "{text}");
        digits
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect()
    }

    /// The model of an element.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in super::super) enum Value {
        Int(i64),
        Text(Vec<u8>),
    }

    impl Value {
        pub(in super::super) fn of(item: Item, blob: &[u8]) -> Self {
            match item {
                Item::Int(value) => Value::Int(value),
                Item::Text(from, to) => Value::Text(blob[from..to].to_vec()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::hex;
    use super::*;
    use crate::wire::{Cursor, length};

    fn walk(encoding: Encoding, bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut findings: Vec<Finding> = Vec::new();
        let mut hold = Hold::default();
        let mut elements = Vec::new();
        let opened = Packed::open(
            Str::Raw(bytes),
            100,
            encoding,
            &mut hold,
            None,
            &mut findings,
        );
        let result = opened.and_then(|mut packed| {
            while let Some(item) = packed.next(&hold, &mut findings)? {
                let element = item.element(packed.bytes(&hold));
                let again = packed.element_at(&hold, packed.last() as u64);
                let mut text = Vec::new();
                element.append_to(&mut text).unwrap();
                if encoding != Encoding::Zipmap || packed.seen() % 2 == 1 {
                    let mut second = Vec::new();
                    again.unwrap().append_to(&mut second).unwrap();
                    assert_eq!(text, second, "an element is found again by its position");
                }
                elements.push(String::from_utf8_lossy(&text).into_owned());
            }
            assert!(packed.next(&hold, &mut findings)?.is_none(), "fused");
            Ok(())
        });
        if let Err(error) = result {
            findings.unreadable(error).unwrap();
        }
        let told = findings
            .iter()
            .map(|finding| format!("{}: {finding}", finding.rule))
            .collect();
        (elements, told)
    }

    #[test]
    fn sound_blobs_tell_nothing() {
        for (encoding, bytes, elements) in [
            (
                Encoding::Listpack,
                "19000000 0500 816102 0501 c40002 dffe02 8568656c6c6f06 ff",
                "a 5 1024 -2 hello",
            ),
            (Encoding::Listpack, "0c000000 ffff 816102 0701 ff", "a 7"),
            (
                Encoding::Ziplist,
                "1b000000 13000000 0400 000161 03f6 02c00004 040568656c6c6f ff",
                "a 5 1024 hello",
            ),
            (
                Encoding::Ziplist,
                "1b000000 13000000 ffff 000161 03f6 02c00004 040568656c6c6f ff",
                "a 5 1024 hello",
            ),
            (
                Encoding::Intset,
                "02000000 03000000 ffff 0500 2c01",
                "-1 5 300",
            ),
            (
                Encoding::Zipmap,
                "02 0161 01 00 78 026262 00 00 ff",
                "a x bb ",
            ),
            (Encoding::Zipmap, "fe 0161 01 02 78 aabb ff", "a x"),
        ] {
            let (found, told) = walk(encoding, &hex(bytes));
            assert_eq!(found.join(" "), elements);
            assert_eq!(told, Vec::<String>::new(), "{bytes}");
        }
    }

    #[test]
    fn every_lie_is_told_with_its_place() {
        let listpack = "listpack";
        for (encoding, bytes, told) in [
            (
                Encoding::Listpack,
                "0d000000 0200 816102 0701 ff",
                &[
                    "packed-total: offset 100 (0x64), byte 0 of listpack: its header claims 13 bytes in all, it has 12",
                ][..],
            ),
            (
                Encoding::Listpack,
                "0c000000 0300 816102 0701 ff",
                &[
                    "packed-count: offset 100 (0x64), byte 4 of listpack: its header claims 3 elements, it has 2",
                ],
            ),
            (
                Encoding::Listpack,
                "0c000000 0200 816103 0701 ff",
                &[
                    "listpack-backlen: offset 100 (0x64), byte 8 of listpack: the length behind an entry of 2 bytes is written as 03",
                ],
            ),
            (
                Encoding::Listpack,
                "0e000000 0200 816102 0701 ff 0000",
                &[
                    "trailing-bytes: offset 100 (0x64), byte 12 of listpack: 2 bytes stand behind the end",
                ],
            ),
            (
                Encoding::Listpack,
                "0c000000 0200 816102 0701 00",
                &[
                    "unreadable: offset 100 (0x64), byte 11 of listpack: entry needs 2 bytes, 1 remain",
                ],
            ),
            (
                Encoding::Listpack,
                "0c0000",
                &[
                    "unreadable: offset 100 (0x64), byte 0 of listpack: 3 bytes, the smallest listpack has 7",
                ],
            ),
            (
                Encoding::Ziplist,
                "1c000000 13000000 0400 000161 03f6 02c00004 040568656c6c6f ff",
                &[
                    "packed-total: offset 100 (0x64), byte 0 of ziplist: its header claims 28 bytes in all, it has 27",
                ],
            ),
            (
                Encoding::Ziplist,
                "1b000000 12000000 0400 000161 03f6 02c00004 040568656c6c6f ff",
                &[
                    "ziplist-tail: offset 100 (0x64), byte 4 of ziplist: its header puts the last entry at byte 18, it stands at 19",
                ],
            ),
            (
                Encoding::Ziplist,
                "1b000000 13000000 0500 000161 03f6 02c00004 040568656c6c6f ff",
                &[
                    "packed-count: offset 100 (0x64), byte 8 of ziplist: its header claims 5 elements, it has 4",
                ],
            ),
            (
                Encoding::Ziplist,
                "1b000000 13000000 0400 010161 03f6 02c00004 040568656c6c6f ff",
                &[
                    "ziplist-prevlen: offset 100 (0x64), byte 10 of ziplist: notes 1 bytes for the entry before, which has 0",
                ],
            ),
            (
                Encoding::Ziplist,
                "1b000000 13000000 0400 000161 03f6 03c00004 040568656c6c6f ff",
                &[
                    "ziplist-prevlen: offset 100 (0x64), byte 15 of ziplist: notes 3 bytes for the entry before, which has 2",
                ],
            ),
            (
                Encoding::Intset,
                "02000000 03000000 ffff 0500 0500",
                &[
                    "intset-order: offset 100 (0x64), byte 12 of intset: 5 stands behind 5, an intset rises strictly",
                ],
            ),
            (
                Encoding::Intset,
                "02000000 03000000 ffff 0500 0400",
                &[
                    "intset-order: offset 100 (0x64), byte 12 of intset: 4 stands behind 5, an intset rises strictly",
                ],
            ),
            (
                Encoding::Intset,
                "02000000 02000000 ffff 0500 0400",
                &[
                    "packed-total: offset 100 (0x64), byte 0 of intset: its header claims 12 bytes in all, it has 14",
                    "trailing-bytes: offset 100 (0x64), byte 12 of intset: 2 bytes stand behind the end",
                ],
            ),
            (
                Encoding::Intset,
                "02000000 ffffffff ffff",
                &[
                    "packed-total: offset 100 (0x64), byte 0 of intset: its header claims 8589934598 bytes in all, it has 10",
                    "unreadable: offset 100 (0x64), byte 10 of intset: integer needs 2 bytes, 0 remain",
                ],
            ),
            (
                Encoding::Zipmap,
                "03 0161 01 00 78 026262 00 00 ff",
                &[
                    "packed-count: offset 100 (0x64), byte 0 of zipmap: its header claims 3 elements, it has 2",
                ],
            ),
            (
                Encoding::Zipmap,
                "02 0161 01 00 78 026262 00 00 ff 00",
                &[
                    "trailing-bytes: offset 100 (0x64), byte 12 of zipmap: 1 bytes stand behind the end",
                ],
            ),
        ] {
            let (_, found) = walk(encoding, &hex(bytes));
            assert_eq!(found, told, "{bytes} ({listpack})");
        }
    }

    fn compressed(bytes: &[u8], claim: usize) -> Vec<u8> {
        let packed = ::lzf::compress(bytes).unwrap();
        let mut out = vec![0xc3];
        length::write(&mut out, packed.len() as u64);
        length::write(&mut out, claim as u64);
        out.extend_from_slice(&packed);
        out
    }

    #[test]
    fn blobs_are_borrowed_held_or_spooled() {
        let dir = tempfile::tempdir().unwrap();
        for count in [10usize, 30_000, 300_000] {
            let mut writer = listpack::Writer::new();
            for i in 0..count {
                writer.push(format!("element-{}", i % 7).as_bytes());
            }
            let plain = writer.finish().unwrap();
            let file = compressed(&plain, plain.len());
            let string = Str::read(&mut Cursor::new(&file, 0)).unwrap();
            let mut hold = Hold::default();
            let mut none: Vec<Finding> = Vec::new();
            let mut packed = Packed::open(
                string,
                0,
                Encoding::Listpack,
                &mut hold,
                Some(dir.path()),
                &mut none,
            )
            .unwrap();
            assert_eq!(hold.spooled.is_some(), plain.len() > 1 << 20);
            assert!(hold.buffer.len() <= 1 << 20);
            let mut seen = 0;
            while let Some(item) = packed.next(&hold, &mut none).unwrap() {
                let text = format!("element-{}", seen % 7);
                assert_eq!(item.bytes(packed.bytes(&hold)), text.as_bytes());
                seen += 1;
            }
            assert_eq!((seen, none.len()), (count, 0));
        }
    }

    #[test]
    fn a_spool_is_not_filled_by_a_lie() {
        let dir = tempfile::tempdir().unwrap();
        let liar = vec![0u8; 4 << 20];
        let file = compressed(&liar, liar.len());
        let string = Str::read(&mut Cursor::new(&file, 7)).unwrap();
        for encoding in [Encoding::Listpack, Encoding::Ziplist, Encoding::Intset] {
            let mut hold = Hold::default();
            let error = hold.load(string, encoding, Some(dir.path())).unwrap_err();
            assert!(error.place().unwrap().inside.is_some(), "{error}");
        }
        let error = Hold::default()
            .load(string, Encoding::Listpack, None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }

    #[test]
    fn a_blob_that_is_an_integer_is_no_blob() {
        let mut hold = Hold::default();
        let blob = hold
            .load(Str::Int(1234567), Encoding::Listpack, None)
            .unwrap();
        assert_eq!(blob.bytes(&hold), b"1234567");
    }
}
