//! The loop over opcodes (`rdbLoadRioWithLoadingCtx`), pulled one record at a time.

use std::sync::Arc;

use super::Options;
use super::ahead::Ahead;
use super::codes::{Dialect, ModuleId, Opcode, ValueType, Version};
use super::entry::{Entry, EntryPlace};
use super::extent;
use super::header::Header;
use super::spot::Spot;
use super::template::{Template, Templates};
use crate::error::{EntryContext, Error, Place, Result};
use crate::wire::CUT;
use crate::wire::{Cursor, Str, crc64, length};

/// One record of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record<'data> {
    /// A key.
    Entry(Entry<'data>),
    /// An aux field.
    Aux {
        /// Its name.
        name: Str<'data>,
        /// Its value.
        value: Str<'data>,
        /// Where its record begins.
        offset: u64,
    },
    /// The following keys belong to database `db`.
    SelectDb {
        /// The database.
        db: u64,
    },
    /// A hint of the writer; it may be wrong.
    ResizeDb {
        /// Keys in this database.
        keys: u64,
        /// Keys with expiry among them.
        expires: u64,
    },
    /// A hint of a Redis cluster node; it may be wrong.
    SlotInfo {
        /// The slot of the following keys.
        slot: u64,
        /// Keys in the slot.
        keys: u64,
        /// Keys with expiry among them.
        expires: u64,
    },
    /// A Valkey slot import job.
    SlotImport {
        /// The job's name.
        job: Str<'data>,
        /// How many slot ranges it has.
        ranges: u64,
    },
    /// A function library.
    Function(Function<'data>),
    /// Data of a module that belongs to no key.
    ModuleAux {
        /// The module type.
        module: ModuleId,
        /// 1: loaded before the keys; 2: after.
        when: u64,
        /// Where the record begins.
        offset: u64,
        /// The whole record, its opcode included.
        bytes: &'data [u8],
    },
    /// Field names that hashes share.
    HashTemplate(Template<'data>),
    /// A record that means nothing for a replay, such as Dragonfly's journal offset.
    Other {
        /// Its opcode.
        opcode: Opcode,
        /// Where the record begins.
        offset: u64,
    },
    /// The end of the file. Always the last record.
    End(End<'data>),
}

/// A function library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function<'data> {
    /// As 7.0 and later write it: the complete source, beginning with `#!lua name=…`.
    Source {
        /// The source.
        code: Str<'data>,
        /// Where the record begins.
        offset: u64,
    },
    /// As the release candidates of 7.0 wrote it. All 7.0 releases turn it into `#!<engine> name=<name>\n<code>`; later ones
    /// refuse it.
    PreGa {
        /// The library's name.
        name: Str<'data>,
        /// The engine's name.
        engine: Str<'data>,
        /// What the library says of itself.
        description: Option<Str<'data>>,
        /// The source without its first line.
        code: Str<'data>,
        /// Where the record begins.
        offset: u64,
    },
}

impl<'data> Function<'data> {
    /// Where the record begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match *self {
            Function::Source { offset, .. } | Function::PreGa { offset, .. } => offset,
        }
    }

    /// Reads the record that begins at `offset` of `data`, which a reader found there before.
    ///
    /// # Errors
    /// `Corrupt` where no function stands there.
    pub fn at(data: &'data [u8], offset: u64) -> Result<Self> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut cursor = Cursor::new(data.get(start..).unwrap_or_default(), offset);
        let opcode = Opcode(cursor.u8()?);
        Self::read(&mut cursor, opcode, offset)
    }

    fn read(cursor: &mut Cursor<'data>, opcode: Opcode, offset: u64) -> Result<Self> {
        match opcode {
            Opcode::FUNCTION2 => Ok(Function::Source {
                code: Str::read(cursor)?,
                offset,
            }),
            Opcode::FUNCTION_PRE_GA => {
                let name = Str::read(cursor)?;
                let engine = Str::read(cursor)?;
                let description = if length::read(cursor)? != 0 {
                    Some(Str::read(cursor)?)
                } else {
                    None
                };
                Ok(Function::PreGa {
                    name,
                    engine,
                    description,
                    code: Str::read(cursor)?,
                    offset,
                })
            }
            _ => Err(Error::corrupt(
                Place::at(offset),
                "no function library stands here any more",
            )),
        }
    }
}

/// What is known of the file's checksum at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumState {
    /// Files before version 5 have none.
    None,
    /// All zero: the writer had checksums switched off.
    Disabled,
    /// Computed, and equal to this one in the file.
    Verified(u64),
    /// The file has this one; it was not computed.
    NotVerified(u64),
}

/// The end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'data> {
    /// Where the `EOF` opcode stands.
    pub offset: u64,
    /// The checksum behind it.
    pub checksum: ChecksumState,
    /// What stands behind the checksum: nothing, AOF commands, the mark of a diskless transfer, or garbage.
    pub trailing: &'data [u8],
}

/// A record, with an entry lent by its reader instead of copied: entries are large, and there are many.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made in the caller's place and matched there; the other records are rare"
)]
#[derive(Debug)]
pub enum Lent<'r, 'data> {
    /// A key.
    Entry(&'r Entry<'data>),
    /// Anything else.
    Other(Record<'data>),
}

/// The records of a snapshot, in file order. Fused at the end and after an error.
#[derive(Debug, Clone)]
pub struct Records<'data> {
    data: &'data [u8],
    cursor: Cursor<'data>,
    header: Header,
    /// The ordinal of the next entry.
    ordinal: u64,
    /// The entry that is lent: made in one place, which only what differs is written to. Its database and dialect are the
    /// reader's own. In front of a key, its attributes gather here.
    entry: Entry<'data>,
    /// Attributes were read that belong to no key yet; `entry.offset` is where they begin.
    is_pending: bool,
    /// The dialect where the last attributes began: an aux field in front of their key can change it.
    dialect_before: Dialect,
    /// The entry that was lent last has something that most have not.
    is_rare: bool,
    templates: Templates<'data>,
    crc: Option<Crc>,
    /// Where the checksum is looked after again.
    step_at: u64,
    /// Another thread computes the checksum.
    ahead: Option<Arc<Ahead>>,
    enterprise: u64,
    done: bool,
}

/// The checksum, computed a little ahead of the scan: it reads in one stream, as memory likes it, and the scan then finds its
/// bytes in the cache.
#[derive(Debug, Clone, Copy, Default)]
struct Crc {
    /// The checksum of all bytes before `upto`.
    value: u64,
    upto: u64,
    /// The same, one step earlier: the end of the file may turn out to lie between the two.
    before: u64,
    before_upto: u64,
}

impl Crc {
    /// Bytes of one step.
    const STEP: u64 = 256 * 1024;

    /// Computes the next step, once the scan has come to the last one's end.
    #[inline]
    fn run_ahead(&mut self, data: &[u8], scanned: u64) {
        if scanned >= self.upto {
            self.step(data, scanned);
        }
    }

    fn step(&mut self, data: &[u8], scanned: u64) {
        self.advance(data, scanned);
        (self.before, self.before_upto) = (self.value, self.upto);
        let end = (data.len() as u64).saturating_sub(8).max(scanned);
        self.advance(data, scanned.saturating_add(Self::STEP).min(end));
    }

    fn advance(&mut self, data: &[u8], to: u64) {
        let (from, until) = (
            usize::try_from(self.upto).unwrap_or(0),
            usize::try_from(to).unwrap_or(0),
        );
        if let Some(bytes) = data.get(from..until) {
            self.value = crc64::update(self.value, bytes);
            self.upto = to;
        }
    }

    /// The checksum of all bytes before `end`, which the scan has just reached.
    fn finish(&self, data: &[u8], end: u64) -> u64 {
        let mut upto_end = *self;
        if end < self.upto {
            (upto_end.value, upto_end.upto) = (self.before, self.before_upto);
        }
        upto_end.advance(data, end);
        upto_end.value
    }
}

impl<'data> Records<'data> {
    pub(super) fn new(data: &'data [u8], header: Header, options: Options) -> Self {
        let mut cursor = Cursor::new(data, 0);
        if cursor.skip(Header::LENGTH).is_err() {
            cursor.exhaust();
        }
        Self {
            data,
            cursor,
            header,
            ordinal: 0,
            entry: Entry::blank(header.dialect),
            is_pending: false,
            dialect_before: header.dialect,
            is_rare: false,
            templates: Templates::default(),
            crc: options.verify_checksum.then(Crc::default),
            step_at: 0,
            ahead: None,
            enterprise: 0,
            done: false,
        }
    }

    /// Takes the checksum from another thread.
    pub(super) fn verify_with(&mut self, ahead: Arc<Ahead>) {
        self.crc = None;
        self.ahead = Some(ahead);
    }

    /// How many opcodes of Redis Enterprise were met. They stand in front of keys and are skipped; other servers refuse them.
    #[must_use]
    pub fn enterprise_opcodes(&self) -> u64 {
        self.enterprise
    }

    /// Whether attributes were read that belong to no key yet: at the end of a file they stand for nothing.
    #[must_use]
    pub fn has_pending_attributes(&self) -> bool {
        self.is_pending
    }

    pub(super) fn key_at(mut self, offset: u64, dialect: Dialect) -> Result<Str<'data>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        self.cursor = Cursor::new(self.data.get(start..).unwrap_or_default(), offset);
        self.entry.dialect = dialect;
        self.crc = None;
        loop {
            let at = self.cursor.offset();
            let number = self.cursor.u8()?;
            if number <= 100 {
                return Str::read(&mut self.cursor);
            }
            // Other records may stand between a key and its attributes.
            if !self.read_attribute(Opcode(number), at)? {
                self.read_other(Opcode(number), at)?;
            }
        }
    }

    pub(super) fn entry_at(mut self, place: &EntryPlace) -> Result<Entry<'data>> {
        if let Some(at) = place.template_at {
            self.templates
                .add(Template::at(self.data, at)?, self.cursor)?;
        }
        let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
        self.cursor = Cursor::new(self.data.get(start..).unwrap_or_default(), place.offset);
        self.entry.dialect = place.dialect;
        self.entry.db = place.db;
        self.ordinal = place.ordinal;
        // Other records may stand between a key and its attributes.
        while let Some(record) = self.next_record()? {
            match record {
                Record::Entry(entry) if entry.offset == place.offset => return Ok(entry),
                Record::Entry(_) | Record::End(_) => break,
                _ => {}
            }
        }
        Err(Error::corrupt(
            Place::at(place.offset),
            "no entry begins here any more",
        ))
    }

    /// Where the entry stands that was lent last.
    #[must_use]
    #[inline]
    pub fn spot(&self) -> Spot {
        let entry = &self.entry;
        let dialect = match entry.offset == entry.type_offset {
            true => entry.dialect,
            false => self.dialect_before,
        };
        Spot::of(entry, dialect)
    }

    /// Lends the entry at `spot` again. `template` is its own.
    #[inline]
    pub(super) fn lend_again(
        &mut self,
        spot: &Spot,
        template: Option<Template<'data>>,
    ) -> Result<&Entry<'data>> {
        if self.is_rare {
            self.entry.forget_attributes();
            self.is_rare = false;
        }
        let start = usize::try_from(spot.offset).unwrap_or(usize::MAX);
        self.cursor = Cursor::new(self.data.get(start..).unwrap_or_default(), spot.offset);
        self.entry.dialect = spot.dialect;
        let (value_type, type_offset) = loop {
            let offset = self.cursor.offset();
            let number = self.cursor.u8()?;
            if number <= 100 {
                break (ValueType(number), offset);
            }
            self.is_rare = true;
            if !self.read_attribute(Opcode(number), offset)? {
                // Other records may stand between a key and its attributes. None of them is counted twice.
                self.templates = Templates::default();
                self.read_other(Opcode(number), offset)?;
            }
        };
        Str::read_to(&mut self.cursor, &mut self.entry.key)?;
        let value_offset = self.cursor.offset();
        let rest = self.cursor.rest();
        if self
            .cursor
            .skip(spot.end.saturating_sub(value_offset))
            .is_err()
        {
            return Err(Error::corrupt(
                Place::at(spot.offset),
                "no entry begins here any more",
            ));
        }
        let used = rest.len().saturating_sub(self.cursor.rest().len());
        if self.cursor.peek() == Some(Opcode::AUX.0) {
            self.read_sub_expires();
        }
        let entry = &mut self.entry;
        if template.is_some() {
            entry.template = template;
            self.is_rare = true;
        }
        entry.ordinal = spot.ordinal;
        entry.offset = spot.offset;
        entry.db = spot.db;
        entry.value_type = value_type;
        entry.value = rest.get(..used).unwrap_or_default();
        entry.value_offset = value_offset;
        entry.type_offset = type_offset;
        Ok(entry)
    }

    /// Bytes from the start of the input to the next record: for progress.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.cursor.offset()
    }

    /// Whose meaning of the ambiguous numbers holds; an aux field can change it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.entry.dialect
    }

    /// How many entries were returned.
    #[must_use]
    pub fn entries_seen(&self) -> u64 {
        self.ordinal
    }

    /// The next record, `None` behind [`Record::End`] and after an error.
    ///
    /// # Errors
    /// `Corrupt` where the bytes end, lie, or have another checksum than the file says (then all records were returned
    /// before). `Unsupported` for numbers that are not proven. `Limit` for too many hash templates.
    pub fn next_record(&mut self) -> Result<Option<Record<'data>>> {
        match self.lend() {
            Ok(Some(Lent::Entry(entry))) => Ok(Some(Record::Entry(*entry))),
            Ok(Some(Lent::Other(record))) => Ok(Some(record)),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Records::next_record`], with an entry lent: the way to read millions of them.
    ///
    /// # Errors
    /// As [`Records::next_record`].
    #[inline]
    pub fn lend(&mut self) -> Result<Option<Lent<'_, 'data>>> {
        if self.is_rare {
            self.entry.forget_attributes();
            self.is_rare = false;
        }
        if self.cursor.offset() >= self.step_at {
            if self.done {
                return Ok(None);
            }
            self.next_step();
        }
        loop {
            let offset = self.cursor.offset();
            let number = match self.cursor.u8() {
                Ok(number) => number,
                Err(_) => return Err(self.end_by(self.ends_without_eof())),
            };
            // Values first: nearly every record is one.
            if number <= 100 {
                return match self.read_entry(ValueType(number), offset) {
                    Ok(()) => Ok(Some(Lent::Entry(&self.entry))),
                    Err(error) => Err(self.end_by(error)),
                };
            }
            match self.read_attribute(Opcode(number), offset) {
                Ok(true) => {
                    if !self.is_pending {
                        self.is_pending = true;
                        self.dialect_before = self.entry.dialect;
                        self.entry.offset = offset;
                    }
                }
                Ok(false) => {
                    return match self.read_other(Opcode(number), offset) {
                        Ok(record) => Ok(Some(Lent::Other(record))),
                        Err(error) => Err(self.end_by(error)),
                    };
                }
                Err(error) => return Err(self.end_by(error)),
            }
        }
    }

    /// Nothing comes any more.
    #[cold]
    fn end_by(&mut self, error: Error) -> Error {
        self.finish();
        error
    }

    fn finish(&mut self) {
        self.done = true;
        // Where the next look at the checksum is due, it is seen that this is the end.
        self.step_at = 0;
    }

    /// Lets the checksum follow the scan, here or on its own thread.
    #[cold]
    fn next_step(&mut self) {
        let offset = self.cursor.offset();
        if let Some(crc) = &mut self.crc {
            crc.run_ahead(self.data, offset);
        }
        if let Some(ahead) = &self.ahead {
            ahead.scanned(offset);
        }
        self.step_at = offset.saturating_add(Crc::STEP);
    }

    #[inline]
    fn read_entry(&mut self, value_type: ValueType, type_offset: u64) -> Result<()> {
        if let Err(error) = Str::read_to(&mut self.cursor, &mut self.entry.key) {
            return Err(self.in_key(error, value_type, type_offset));
        }
        let value_offset = self.cursor.offset();
        let rest = self.cursor.rest();
        // Most values are one string.
        let skipped = if extent::is_blob(value_type) {
            Str::skip(&mut self.cursor)
        } else {
            self.skip_value(value_type, type_offset)
        };
        if let Err(error) = skipped {
            return Err(self.in_value(error, value_type, self.entry.key));
        }
        let used = rest.len().saturating_sub(self.cursor.rest().len());
        if self.cursor.peek() == Some(Opcode::AUX.0) {
            self.read_sub_expires();
        }
        let entry = &mut self.entry;
        entry.ordinal = self.ordinal;
        self.ordinal = self.ordinal.saturating_add(1);
        // Most keys have no attributes, or only an expiry.
        if self.is_pending {
            self.is_pending = false;
            self.is_rare = true;
        } else {
            entry.offset = type_offset;
        }
        entry.value_type = value_type;
        entry.value = rest.get(..used).unwrap_or_default();
        entry.value_offset = value_offset;
        entry.type_offset = type_offset;
        Ok(())
    }

    /// Finds the end of a value that is not one string.
    #[inline(never)]
    fn skip_value(&mut self, value_type: ValueType, type_offset: u64) -> Result<()> {
        let template = extent::skip_value(
            &mut self.cursor,
            value_type,
            self.entry.dialect,
            &self.templates,
            Place::at(type_offset),
        )?;
        if template.is_some() {
            self.entry.template = template;
            self.is_rare = true;
        }
        Ok(())
    }

    /// Reads an attribute of the next key; `false` where `opcode` is none.
    #[inline]
    fn read_attribute(&mut self, opcode: Opcode, offset: u64) -> Result<bool> {
        if opcode == Opcode::EXPIRETIME_MS {
            return match self.cursor.i64_le() {
                Ok(at) => {
                    let at = native_order(at, self.header.version);
                    self.entry.expire_at_ms = (at != -1).then_some(at);
                    Ok(true)
                }
                Err(error) => Err(in_opcode(error, opcode, self.entry.dialect)),
            };
        }
        self.read_rare_attribute(opcode, offset)
    }

    #[inline(never)]
    fn read_rare_attribute(&mut self, opcode: Opcode, offset: u64) -> Result<bool> {
        let cursor = &mut self.cursor;
        let mut read = || -> Result<bool> {
            match opcode {
                Opcode::EXPIRETIME => {
                    let seconds = i64::from(i32::from_le_bytes(cursor.array()?));
                    // Servers hold −1 of either form for "none" (they compare after the multiplication only for 252).
                    self.entry.expire_at_ms = Some(seconds.saturating_mul(1000));
                }
                Opcode::FREQ => self.entry.lfu_freq = Some(cursor.u8()?),
                Opcode::IDLE => self.entry.idle_seconds = Some(length::read(cursor)?),
                Opcode::ENTERPRISE_RAM_LRU => {
                    length::read(cursor)?;
                    self.enterprise = self.enterprise.saturating_add(1);
                }
                Opcode::ENTERPRISE_SLOT_NUM => {
                    self.entry.slot = Some(length::read(cursor)?);
                    self.enterprise = self.enterprise.saturating_add(1);
                }
                Opcode::KEY_META if self.entry.dialect == Dialect::Redis => {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX);
                    skip_key_meta(cursor)?;
                    let end = usize::try_from(cursor.offset()).unwrap_or(0);
                    self.entry.key_meta = self.data.get(start..end);
                }
                Opcode::DF_MASK if self.entry.dialect == Dialect::Dragonfly => {
                    let flags = cursor.u32_le()?;
                    if flags & 2 != 0 {
                        cursor.skip(4)?;
                    }
                    self.entry.df_flags = Some(flags);
                }
                _ => return Ok(false),
            }
            Ok(true)
        };
        read().map_err(|error| in_opcode(error, opcode, self.entry.dialect))
    }

    /// Everything that belongs to no key.
    fn read_other(&mut self, opcode: Opcode, offset: u64) -> Result<Record<'data>> {
        if opcode == Opcode::EOF {
            let end = self.read_end(offset).map(Record::End);
            self.finish();
            return end;
        }
        let dialect = self.entry.dialect;
        self.read_opcode(opcode, offset)
            .map_err(|error| in_opcode(error, opcode, dialect))
    }

    fn read_opcode(&mut self, opcode: Opcode, offset: u64) -> Result<Record<'data>> {
        let start = self.cursor;
        let cursor = &mut self.cursor;
        Ok(match (opcode, self.entry.dialect) {
            (Opcode::SELECTDB, _) => {
                self.entry.db = length::read(cursor)?;
                Record::SelectDb { db: self.entry.db }
            }
            (Opcode::RESIZEDB, _) => Record::ResizeDb {
                keys: length::read(cursor)?,
                expires: length::read(cursor)?,
            },
            (Opcode::AUX, _) => {
                let name = Str::read(cursor)?;
                let value = Str::read(cursor)?;
                if name.preview(8) == b"df-ver" {
                    self.entry.dialect = Dialect::Dragonfly;
                }
                Record::Aux {
                    name,
                    value,
                    offset,
                }
            }
            (Opcode::SLOT_INFO, _) => Record::SlotInfo {
                slot: length::read(cursor)?,
                keys: length::read(cursor)?,
                expires: length::read(cursor)?,
            },
            (Opcode::SLOT_IMPORT, Dialect::Valkey) => {
                let job = Str::read(cursor)?;
                let ranges = length::read(cursor)?;
                cursor.expect_room(ranges, 2, "slot ranges")?;
                for _ in 0..ranges {
                    length::read(cursor)?;
                    length::read(cursor)?;
                }
                Record::SlotImport { job, ranges }
            }
            (Opcode::FUNCTION2 | Opcode::FUNCTION_PRE_GA, _) => {
                Record::Function(Function::read(cursor, opcode, offset)?)
            }
            (Opcode::MODULE_AUX, _) => {
                let module = ModuleId(length::read(cursor)?);
                let place = cursor.place();
                let when_opcode = length::read(cursor)?;
                if when_opcode != 2 {
                    return Err(Error::corrupt(
                        place,
                        format!(
                            "module aux data of {module} begins with opcode {when_opcode}, not with an unsigned integer"
                        ),
                    ));
                }
                let when = length::read(cursor)?;
                extent::skip_module_opcodes(cursor)?;
                let used = start
                    .rest()
                    .len()
                    .saturating_sub(cursor.rest().len())
                    .saturating_add(1);
                let bytes = self
                    .data
                    .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
                    .and_then(|b| b.get(..used));
                Record::ModuleAux {
                    module,
                    when,
                    offset,
                    bytes: bytes.unwrap_or_default(),
                }
            }
            (Opcode::HASH_TEMPLATE, Dialect::Redis) => {
                let template = Template::read(cursor)?;
                self.templates.add(template, start)?;
                Record::HashTemplate(template)
            }
            (Opcode::DF_FULLSYNC_END | Opcode::DF_JOURNAL_OFFSET, Dialect::Dragonfly) => {
                cursor.skip(8)?;
                Record::Other { opcode, offset }
            }
            (Opcode::DF_JOURNAL_BLOB, Dialect::Dragonfly) => {
                length::read(cursor)?;
                Str::skip(cursor)?;
                Record::Other { opcode, offset }
            }
            (Opcode::DF_BLOB_END, Dialect::Dragonfly) => Record::Other { opcode, offset },
            _ => return Err(self.unknown_opcode(opcode, offset)),
        })
    }

    fn read_end(&mut self, offset: u64) -> Result<End<'data>> {
        let state = if self.header.has_crc() {
            let footer = self.cursor;
            let stored = self
                .cursor
                .u64_le()
                .map_err(|error| in_opcode(error, Opcode::EOF, self.entry.dialect))?;
            let computed = match (&self.crc, &self.ahead) {
                _ if stored == 0 => None,
                (Some(crc), _) => Some(crc.finish(self.data, footer.offset())),
                (None, Some(ahead)) => Some(ahead.sum_before(self.data, footer.offset())),
                (None, None) => None,
            };
            match computed {
                _ if stored == 0 => ChecksumState::Disabled,
                Some(computed) if computed == stored => ChecksumState::Verified(stored),
                Some(computed) => return Err(wrong_checksum(footer, computed, stored)),
                None => ChecksumState::NotVerified(stored),
            }
        } else {
            ChecksumState::None
        };
        let trailing = self.cursor.rest();
        self.cursor.exhaust();
        Ok(End {
            offset,
            checksum: state,
            trailing,
        })
    }

    /// KeyDB's sub-key expiries stand behind the key they belong to: pairs of aux fields.
    #[cold]
    fn read_sub_expires(&mut self) {
        let start = self.cursor;
        let mut end = start;
        loop {
            let mut next = end;
            if next.u8().ok() != Some(Opcode::AUX.0) {
                break;
            }
            // Damage in this aux field is reported when it is read as a record of its own.
            let Ok(name) = Str::read(&mut next) else {
                break;
            };
            if !matches!(
                name,
                Str::Raw(b"keydb-subexpire-key" | b"keydb-subexpire-when")
            ) || Str::skip(&mut next).is_err()
            {
                break;
            }
            end = next;
        }
        let used = start.rest().len().saturating_sub(end.rest().len());
        if used > 0 {
            self.cursor = end;
            self.entry.sub_expires = start.rest().get(..used).unwrap_or_default();
            self.is_rare = true;
        }
    }

    #[cold]
    fn ends_without_eof(&self) -> Error {
        Error::corrupt(
            self.cursor.place(),
            "the input ends here, without the EOF opcode: it was cut off",
        )
        .with_hint(CUT)
    }

    #[cold]
    fn unknown_opcode(&self, opcode: Opcode, offset: u64) -> Error {
        let version = self.header.version;
        let what = match (opcode.name(self.entry.dialect), opcode, self.entry.dialect) {
            (_, Opcode::DF_ZSTD_BLOB | Opcode::DF_LZ4_BLOB, Dialect::Dragonfly) => format!(
                "opcode {}: a compressed blob of Dragonfly, which is not read; save with --compression_mode=0 there",
                opcode.0
            ),
            (Some(name), ..) => format!(
                "opcode {} ({name}) in a file of version {version}: its layout is not proven",
                opcode.0
            ),
            (None, ..) => format!(
                "byte {} is no opcode and no type in a file of version {version}",
                opcode.0
            ),
        };
        Error::unsupported(Place::at(offset), what)
    }

    #[cold]
    fn in_key(&self, error: Error, value_type: ValueType, type_offset: u64) -> Error {
        let name = value_type.name(self.entry.dialect);
        if value_type.info(self.entry.dialect).is_none() {
            // What looks like a damaged key is more likely a number that is no type.
            return Error::unsupported(
                Place::at(type_offset),
                format!(
                    "value type {}: {}",
                    value_type.0,
                    value_type.why_unknown(self.entry.dialect)
                ),
            );
        }
        error.or_reading(format!(
            "the name of entry {} (a {name}, db {})",
            self.ordinal, self.entry.db
        ))
    }

    #[cold]
    fn in_value(&self, error: Error, value_type: ValueType, key: Str<'data>) -> Error {
        let error = error.or_entry(|| EntryContext {
            db: self.entry.db,
            key: key.preview(EntryContext::KEY_SHOWN),
            type_name: value_type.name(self.entry.dialect),
        });
        if value_type.info(self.entry.dialect).is_some() {
            return error;
        }
        error.with_hint(format!("the file says RDB version {}", self.header.version))
    }
}

impl<'data> Iterator for Records<'data> {
    type Item = Result<Record<'data>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// The keys of a snapshot, in file order. Fused at the end and after an error.
#[derive(Debug, Clone)]
pub struct Entries<'data>(pub(super) Records<'data>);

impl<'data> Iterator for Entries<'data> {
    type Item = Result<Entry<'data>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.lend() {
                Ok(Some(Lent::Entry(entry))) => return Some(Ok(*entry)),
                Ok(Some(Lent::Other(_))) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Number of classes; for each 4 bytes, module opcodes, 0.
fn skip_key_meta(cursor: &mut Cursor<'_>) -> Result<()> {
    let place = cursor.place();
    let classes = length::read(cursor)?;
    if classes > 7 {
        return Err(Error::corrupt(
            place,
            format!("{classes} classes of key metadata; 7 is the most"),
        ));
    }
    for _ in 0..classes {
        cursor.skip(4)?;
        extent::skip_module_opcodes(cursor)?;
    }
    Ok(())
}

/// Before version 9 the writer's own byte order was used. Where little endian gives a time after the year 10000 and big endian
/// one that a Redis can have meant, the writer was a big-endian machine. The lower bound matters: 2^53, which a program may
/// well set, is 8,192 ms after 1970 when swapped, and would make a living key a dead one.
fn native_order(at: i64, version: Version) -> i64 {
    const YEAR_2009_MS: i64 = 1_230_768_000_000; // the first Redis
    const YEAR_10000_MS: i64 = 253_402_300_800_000;
    let swapped = at.swap_bytes();
    let absurd = !(-YEAR_10000_MS..YEAR_10000_MS).contains(&at);
    if version < Version(9) && absurd && (YEAR_2009_MS..YEAR_10000_MS).contains(&swapped) {
        swapped
    } else {
        at
    }
}

#[cold]
fn in_opcode(error: Error, opcode: Opcode, dialect: Dialect) -> Error {
    match opcode.name(dialect) {
        // Of a checksum that does not fit nothing more is to be said.
        Some(name)
            if error.kind() == crate::ErrorKind::Corrupt
                && !error.what().starts_with(WRONG_CHECKSUM) =>
        {
            error.or_reading(name)
        }
        _ => error,
    }
}

const WRONG_CHECKSUM: &str = "wrong checksum";

#[cold]
fn wrong_checksum(footer: Cursor<'_>, computed: u64, stored: u64) -> Error {
    Error::corrupt(
        footer.place(),
        format!("{WRONG_CHECKSUM}: the file says {stored:016x}, its bytes give {computed:016x}; something in it was changed"),
    )
    .with_hint("get the file again, or take another backup")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    fn file(version: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = [version.as_bytes(), body, b"\xff"].concat();
        bytes.extend(crc64::checksum(&bytes).to_le_bytes());
        bytes
    }

    fn entries(bytes: &[u8]) -> Vec<Entry<'_>> {
        Snapshot::parse(bytes)
            .unwrap()
            .entries()
            .map(|e| e.unwrap())
            .collect()
    }

    #[test]
    fn an_entry_is_read_again_by_its_place_alone() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let mut templated = 0;
        for name in [
            "redis-2.8/strings.rdb",
            "redis-8.10/hash-templates.rdb",
            "redis-8.10/dbs-and-expiries.rdb",
            "redis-8.10/lfu.rdb",
            "valkey-9.0/hash-field-ttl-valkey.rdb",
        ] {
            let bytes = std::fs::read(root.join(name)).unwrap();
            let snapshot = Snapshot::parse(&bytes).unwrap();
            for entry in entries(&bytes) {
                assert_eq!(snapshot.entry_at(&entry.place()).unwrap(), entry, "{name}");
                templated += u32::from(entry.template.is_some());
            }
        }
        assert!(templated > 0);
        let body = b"\xf9\x07\xfe\x03\xfa\x01a\x01b\xf8\x05\0\x01k\x01v\0\x01l\x01w";
        let bytes = file("REDIS0011", body);
        let snapshot = Snapshot::parse(&bytes).unwrap();
        for entry in entries(&bytes) {
            assert_eq!(snapshot.entry_at(&entry.place()).unwrap(), entry);
            let none = EntryPlace {
                offset: entry.end().saturating_add(10_000),
                ..entry.place()
            };
            assert!(snapshot.entry_at(&none).is_err());
        }
    }

    #[test]
    fn attributes_belong_to_the_next_key_only_in_any_order_and_across_records() {
        let body = b"\xf9\x07\xfc\x01\0\0\0\0\0\0\0\xfc\x02\0\0\0\0\0\0\0\xfe\x03\xfa\x01a\x01b\xf8\x05\0\x01k\x01v\0\x01l\x01w";
        let bytes = file("REDIS0011", body);
        let e = entries(&bytes);
        assert_eq!(
            (e[0].lfu_freq, e[0].idle_seconds, e[0].expire_at_ms, e[0].db),
            (Some(7), Some(5), Some(2), 3)
        );
        assert_eq!(e[0].offset, 9, "the record begins with its first attribute");
        assert_eq!(
            (e[1].lfu_freq, e[1].idle_seconds, e[1].expire_at_ms, e[1].db),
            (None, None, None, 3)
        );
        assert_eq!(
            (e[1].ordinal, e[1].value, e[1].end()),
            (1, &b"\x01w"[..], bytes.len() as u64 - 9)
        );
    }

    #[test]
    fn expiries_of_both_forms() {
        let seconds = file(
            "REDIS0002",
            &[&b"\xfd"[..], &(-5i32).to_le_bytes(), b"\0\x01k\x01v"].concat(),
        );
        assert_eq!(
            entries(&seconds[..seconds.len() - 8])[0].expire_at_ms,
            Some(-5000)
        );
        let none = file(
            "REDIS0009",
            &[&b"\xfc"[..], &[0xff; 8], b"\0\x01k\x01v"].concat(),
        );
        assert_eq!(entries(&none)[0].expire_at_ms, None, "-1 is none");
        let zero = file("REDIS0009", b"\xfc\0\0\0\0\0\0\0\0\0\x01k\x01v");
        assert_eq!(entries(&zero)[0].expire_at_ms, Some(0));
        assert!(entries(&zero)[0].is_expired(1));
        let sane = 1_700_000_000_000i64;
        let swapped = [&b"\xfc"[..], &sane.to_be_bytes(), b"\0\x01k\x01v"].concat();
        assert_eq!(
            entries(&file("REDIS0008", &swapped))[0].expire_at_ms,
            Some(sane),
            "a big-endian writer"
        );
        assert_eq!(
            entries(&file("REDIS0009", &swapped))[0].expire_at_ms,
            Some(sane.swap_bytes())
        );
        let far = file(
            "REDIS0006",
            &[&b"\xfc"[..], &(1i64 << 53).to_le_bytes(), b"\0\x01k\x01v"].concat(),
        );
        assert_eq!(
            entries(&far)[0].expire_at_ms,
            Some(1 << 53),
            "far away, and nobody's swapped 1970"
        );
    }

    #[test]
    fn the_ambiguous_opcodes_go_by_dialect() {
        let meta = b"\xf3\x01abcd\x02\x05\0\0\x01k\x01v";
        let bytes = file("REDIS0013", meta);
        assert_eq!(entries(&bytes)[0].key_meta, Some(&meta[..9]));
        let import = [&b"\xf3\x04name\x01\x00\x05"[..], b"\0\x01k\x01v"].concat();
        let bytes = file("VALKEY080", &import);
        let records: Vec<_> = Snapshot::parse(&bytes)
            .unwrap()
            .records()
            .map(|r| r.unwrap())
            .collect();
        assert!(matches!(records[0], Record::SlotImport { ranges: 1, .. }));
        let df = file(
            "REDIS0009",
            b"\xfa\x06df-ver\x01x\xdc\x03\0\0\0\x09\0\0\0\0\x01k\x01v\xc8\0\0\0\0\0\0\0\0",
        );
        assert_eq!(
            (entries(&df)[0].df_flags, entries(&df)[0].dialect),
            (Some(3), Dialect::Dragonfly)
        );
        let blob = file("REDIS0009", b"\xfa\x06df-ver\x01x\xc9\x01x");
        let error = Snapshot::parse(&blob)
            .unwrap()
            .records()
            .find_map(Result::err)
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("offset 19 (0x13): opcode 201: a compressed blob of Dragonfly"),
            "{error}"
        );
    }

    #[test]
    fn a_key_is_found_again_by_the_offset_of_its_record() {
        let body = b"\xf9\x07\xfe\x03\xfa\x01a\x01b\xf8\x05\0\x03one\x01v\x79\x05\x6b\x01\0\x03two\x01w\0\xc0\x05\x01x";
        let bytes = file("REDIS0011", body);
        let snapshot = Snapshot::parse(&bytes).unwrap();
        let mut records = snapshot.records();
        while let Some(record) = records.next_record().unwrap() {
            if let Record::Entry(entry) = record {
                let again = snapshot.key_at(entry.offset, entry.dialect).unwrap();
                assert_eq!(again, entry.key);
                assert!(!records.has_pending_attributes());
            }
        }
        assert_eq!(records.enterprise_opcodes(), 2);
        assert!(snapshot.key_at(u64::MAX, Dialect::Redis).is_err());
    }

    #[test]
    fn sub_key_expiries_of_keydb_belong_to_the_key_before() {
        let pair = b"\xfa\x13keydb-subexpire-key\x01m\xfa\x14keydb-subexpire-when\x03123";
        let body = [
            &b"\x02\x01s\x01\x01m"[..],
            pair,
            b"\xfa\x01a\x01b\0\x01k\x01v",
        ]
        .concat();
        let bytes = file("REDIS0009", &body);
        let e = entries(&bytes);
        assert_eq!((e[0].sub_expires, e[1].sub_expires), (&pair[..], &[][..]));
        assert_eq!(e[0].value, b"\x01\x01m");
    }

    #[test]
    fn templates_are_found_by_references_of_both_forms() {
        let body = b"\xf2\x05\x02\x01f\x01g\x20\x01k\x05\xc0\x01\xc0\x02\x1e\x01l\x0d\x0d\0\0\0\x03\0\x05\x01\x01\x01\x02\x01\xff";
        let bytes = file("REDIS0015", body);
        for e in entries(&bytes) {
            assert_eq!(
                (e.template.unwrap().fields, e.template.unwrap().names),
                (2, &b"\x01f\x01g"[..])
            );
        }
        for (bad, says) in [
            (&b"\x20\x01k\x05\xc0\x01"[..], "refers to template 5"),
            (b"\xf2\x05\x01\x01f\xf2\x05\x01\x01f", "defined twice"),
            (b"\xf2\x05\x00", "has no fields"),
        ] {
            let bytes = file("REDIS0015", bad);
            let error = Snapshot::parse(&bytes)
                .unwrap()
                .records()
                .find_map(Result::err)
                .unwrap();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn checksum_right_wrong_absent_and_disabled() {
        let mut bytes = file("REDIS0009", b"\0\x01k\x01v");
        let state = |bytes: &[u8]| match Snapshot::parse(bytes).unwrap().records().last().unwrap() {
            Ok(Record::End(end)) => Ok(end.checksum),
            Ok(other) => panic!("{other:?} is not the end"),
            Err(error) => Err(error.to_string()),
        };
        assert!(matches!(state(&bytes), Ok(ChecksumState::Verified(_))));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let error = state(&bytes).unwrap_err();
        assert!(
            error.starts_with("offset 15 (0xf): wrong checksum"),
            "{error}"
        );
        let zero = [&bytes[..bytes.len() - 8], &[0; 8]].concat();
        assert_eq!(state(&zero), Ok(ChecksumState::Disabled));
        assert_eq!(state(b"REDIS0004\0\x01k\x01v\xff"), Ok(ChecksumState::None));
        assert!(
            state(&zero[..zero.len() - 1])
                .unwrap_err()
                .contains("while reading EOF")
        );
    }

    #[test]
    fn trailing_bytes_are_kept() {
        let bytes = [&file("REDIS0009", b"")[..], b"*1\r\n"].concat();
        let Some(Ok(Record::End(end))) = Snapshot::parse(&bytes).unwrap().records().last() else {
            panic!("no end")
        };
        assert_eq!((end.offset, end.trailing), (9, &b"*1\r\n"[..]));
    }

    #[test]
    fn every_cut_is_an_error_with_an_offset_and_the_iterator_is_fused() {
        let bytes = file(
            "REDIS0011",
            b"\xfa\x01a\x01b\xfe\0\xfb\x01\0\xfc\x02\0\0\0\0\0\0\0\x04\x01h\x01\x01f\x01v",
        );
        for cut in 9..bytes.len() {
            let mut records = Snapshot::parse(&bytes[..cut]).unwrap().records();
            let error = records
                .find_map(Result::err)
                .unwrap_or_else(|| panic!("cut at {cut} was not seen"));
            assert!(
                error.place().is_some_and(|p| p.offset <= cut as u64),
                "{error}"
            );
            assert!(records.next().is_none());
        }
    }

    #[test]
    fn what_is_not_known_names_number_offset_and_version() {
        for (number, says) in [
            (
                6u8,
                "value type 6: a module value as only release candidates",
            ),
            (8, "value type 8: never used"),
            (33, "value type 33: a number of Redis 8.12"),
            (64, "value type 64: KeyDB's cron job"),
            (99, "value type 99: unknown"),
            (241, "opcode 241 (KEY_NOEVICT) in a file of version 11"),
            (101, "opcode 101 (Redis Enterprise GCAS)"),
            (
                180,
                "byte 180 is no opcode and no type in a file of version 11",
            ),
        ] {
            let bytes = file("REDIS0011", &[number, 1, b'k', 1, b'v']);
            let error = Snapshot::parse(&bytes)
                .unwrap()
                .records()
                .find_map(Result::err)
                .unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
            assert!(
                error.to_string().starts_with("offset 9 (0x9): ")
                    && error.to_string().contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn errors_in_a_value_name_the_key() {
        let bytes = file("REDIS0011", b"\xfe\x02\x01\x04list\x05\x01a");
        let error = Snapshot::parse(&bytes)
            .unwrap()
            .records()
            .find_map(Result::err)
            .unwrap();
        assert!(
            error.to_string().ends_with("list \"list\" in db 2"),
            "{error}"
        );
    }
}
