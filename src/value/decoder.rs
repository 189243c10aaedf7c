//! The decoder: what outlives single values, so that decoding a million of them allocates a few buffers only.

use std::path::Path;
use std::sync::Arc;

use super::array::Array;
use super::element::{Element, is_long};
use super::findings::{Finding, Findings, Rule, Strict, unreadable};
use super::glance::Glance;
use super::hash::Hash;
use super::list::List;
use super::module::ModuleValue;
use super::packed::{Blob, Hold, Item};
use super::set::Set;
use super::stream::Stream;
use super::unique::Unique;
use super::zset::Zset;
use crate::error::{Error, Place, Result};
use crate::snapshot::{Dialect, Entry, Kind};
use crate::transform::Expiries;
use crate::wire::string::Lzf;
use crate::wire::{Cursor, Str};

/// Decodes one value at a time, with buffers that are used again for the next one.
///
/// Own memory: a few buffers of at most [`Str::MAX_BUFFERED`] bytes. A packed blob that is longer when decompressed goes to
/// a spool in the directory that the caller names.
#[derive(Debug)]
pub struct Decoder<F: Findings = Strict> {
    pub(super) findings: Told<F>,
    /// The blob that is being walked.
    pub(super) blob: Hold,
    /// The field names of a template, while `blob` has the values.
    pub(super) names: Hold,
    pub(super) text: [Vec<u8>; 3],
    pub(super) spool_dir: Option<Arc<Path>>,
    /// What becomes of the expiries of fields and members.
    pub(super) expiries: Expiries,
    /// Made when it is first needed.
    pub(super) unique: Option<Box<[Unique; 2]>>,
    pub(super) glance: Glance,
}

/// The caller's findings, and whether anything could not be read since the walk began.
#[derive(Debug)]
pub(super) struct Told<F> {
    pub(super) sink: F,
    pub(super) damaged: bool,
    /// A second walk tells nothing again.
    pub(super) muted: bool,
}

impl<F: Findings> Findings for Told<F> {
    #[cold]
    fn found(&mut self, finding: Finding) -> Result<()> {
        if self.muted {
            return Ok(());
        }
        self.sink.found(finding)
    }

    #[cold]
    fn found_times(&mut self, finding: Finding, times: u64) -> Result<()> {
        if self.muted {
            return Ok(());
        }
        self.sink.found_times(finding, times)
    }

    #[cold]
    fn unreadable(&mut self, error: Error) -> Result<()> {
        self.damaged = true;
        if self.muted {
            return Ok(());
        }
        self.sink.unreadable(error)
    }
}

/// A value, to be walked once. Everything that it yields borrows from the input or from the decoder.
///
/// Errors of a walk have a place (offset in the input, and the byte inside a packed blob); the caller adds the key by
/// `error.or_entry(|| entry.context())`. After an error, and at the end, a walk is fused.
#[derive(Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "it is walked where it stands; a box would be an allocation for each stream"
)]
pub enum Value<'d, F: Findings = Strict> {
    /// A string.
    String(Element<'d>),
    /// A list.
    List(List<'d, F>),
    /// A set.
    Set(Set<'d, F>),
    /// A sorted set.
    Zset(Zset<'d, F>),
    /// A hash.
    Hash(Hash<'d, F>),
    /// A stream.
    Stream(Stream<'d, F>),
    /// A sparse array (Redis 8.8).
    Array(Array<'d, F>),
    /// A module's value: its opcodes, opaque.
    Module(ModuleValue<'d, F>),
    /// A JSON document as text (Dragonfly).
    Json(Element<'d>),
}

impl Decoder<Strict> {
    /// A decoder for which the first fault of a value is an error. Packed blobs of more than 1 MiB, decompressed, go to a
    /// spool in `spool_dir`; without one they are an error of kind `Limit`.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self::with_findings(spool_dir, Strict)
    }
}

impl<F: Findings> Decoder<F> {
    /// A decoder that tells broken rules to `findings`.
    #[must_use]
    pub fn with_findings(spool_dir: Option<&Path>, findings: F) -> Self {
        Self {
            findings: Told {
                sink: findings,
                damaged: false,
                muted: false,
            },
            blob: Hold::default(),
            names: Hold::default(),
            text: Default::default(),
            spool_dir: spool_dir.map(Arc::from),
            expiries: Expiries::default(),
            unique: None,
            glance: Glance::default(),
        }
    }

    /// From now on, fields and members have the expiries that they arrive with. By default those of the file.
    pub fn set_expiries(&mut self, expiries: Expiries) {
        self.expiries = expiries;
    }

    /// Who hears of broken rules.
    pub fn findings(&mut self) -> &mut F {
        &mut self.findings.sink
    }

    /// The findings, when no more values follow.
    #[must_use]
    pub fn into_findings(self) -> F {
        self.findings.sink
    }

    /// Begins to decode the value of `entry`.
    ///
    /// # Errors
    /// `Corrupt` where the value's beginning cannot be read, `Unsupported` for a type that is not known, `Limit` and `Io` of
    /// the spool. They name the entry.
    #[inline]
    pub fn decode<'d>(&'d mut self, entry: &Entry<'d>) -> Result<Value<'d, F>> {
        let entry = *entry;
        self.begin(&entry)
            .map_err(|error| error.or_entry(|| entry.context()))
    }

    #[inline]
    fn begin<'d>(&'d mut self, entry: &Entry<'d>) -> Result<Value<'d, F>> {
        let Some(info) = entry.type_info() else {
            return Err(unknown(entry));
        };
        let mut cursor = Cursor::new(entry.value, entry.value_offset);
        match info.kind {
            Kind::String | Kind::Json => {
                let string = Str::read(&mut cursor)?;
                expect_end(&cursor, &mut self.findings)?;
                let [text, ..] = &mut self.text;
                let element = Element::of(string, text)?;
                Ok(if info.kind == Kind::Json {
                    Value::Json(element)
                } else {
                    Value::String(element)
                })
            }
            Kind::List => List::open(self, cursor, entry.value_type).map(Value::List),
            Kind::Set => Set::open(self, cursor, entry.value_type, entry.dialect).map(Value::Set),
            Kind::ZSet => Zset::open(self, cursor, entry.value_type).map(Value::Zset),
            Kind::Hash => Hash::open(self, cursor, entry).map(Value::Hash),
            Kind::Stream => Stream::open(self, cursor, entry.value_type).map(Value::Stream),
            Kind::Array => Array::open(self, cursor).map(Value::Array),
            Kind::Module => ModuleValue::open(self, cursor).map(Value::Module),
        }
    }
}

#[cold]
fn unknown(entry: &Entry<'_>) -> Error {
    let dialect = match entry.dialect {
        Dialect::Valkey => "a VALKEY file",
        Dialect::Dragonfly => "a file of Dragonfly",
        _ => "a REDIS file",
    };
    Error::unsupported(
        Place::at(entry.offset),
        format!(
            "value type {} is not known in {dialect}",
            entry.value_type.0
        ),
    )
}

/// Tells what stands behind the last byte of a value.
#[inline]
pub(super) fn expect_end<F: Findings>(cursor: &Cursor<'_>, findings: &mut F) -> Result<()> {
    if cursor.is_empty() {
        return Ok(());
    }
    findings.found(Finding {
        rule: Rule::TrailingBytes,
        place: cursor.place(),
        what: format!(
            "{} bytes stand behind the end of the value",
            cursor.remaining()
        )
        .into(),
    })
}

/// A part of a value that is ready to be handed out, without a borrow: in the input, in a blob, or in a text buffer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'d> {
    Raw(&'d [u8]),
    Int(i64),
    /// In the text buffer that it was read into.
    Text,
    Long(Lzf<'d>),
    Packed(Blob<'d>, Item),
}

impl<'d> Part<'d> {
    /// Reads a string: a short compressed one is decompressed into `text`. `None` where it cannot be, which was told then:
    /// what follows can still be read.
    #[inline]
    pub(super) fn read<F: Findings>(
        cursor: &mut Cursor<'d>,
        text: &mut Vec<u8>,
        findings: &mut F,
    ) -> Result<Option<Self>> {
        match Str::read(cursor)? {
            Str::Raw(bytes) => Ok(Some(Part::Raw(bytes))),
            Str::Int(value) => Ok(Some(Part::Int(i64::from(value)))),
            Str::Lzf(packed) => match Self::compressed(packed, text) {
                Ok(part) => Ok(Some(part)),
                Err(error) => tell(findings, error).map(|()| None),
            },
        }
    }

    #[inline]
    pub(super) fn compressed(packed: Lzf<'d>, text: &mut Vec<u8>) -> Result<Self> {
        if is_long(&packed)? {
            return Ok(Part::Long(packed));
        }
        packed.bytes(text).map(|_| Part::Text)
    }

    #[inline]
    pub(super) fn element<'s>(self, hold: &'s Hold, text: &'s [u8]) -> Element<'s>
    where
        'd: 's,
    {
        match self {
            Part::Raw(bytes) => Element::Bytes(bytes),
            Part::Int(value) => Element::Int(value),
            Part::Text => Element::Bytes(text),
            Part::Long(packed) => Element::Long(packed),
            Part::Packed(blob, item) => item.element(blob.bytes(hold)),
        }
    }
}

/// Tells damage, and ends the walk of the part that it lies in.
#[cold]
pub(super) fn tell<F: Findings>(findings: &mut F, error: Error) -> Result<()> {
    match unreadable(error) {
        Ok(finding) => findings.unreadable(finding.into_error()),
        Err(other) => Err(other),
    }
}
