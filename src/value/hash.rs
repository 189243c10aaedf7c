//! Hashes, in all their forms.
//!
//! # Bytes
//! | type | body |
//! |---|---|
//! | 4 | count; field and value for each |
//! | 9, 13, 16 | zipmap, ziplist, listpack: field, value, … |
//! | 22 (Redis 7.4 rc) | count; time (absolute, 0: none), field, value for each |
//! | 23 (Redis 7.4 rc) | listpack: field, value, time, … |
//! | 24 | smallest expiry (8 bytes), count; time, field, value for each; a time is 0 for none, else the distance from the smallest expiry plus 1 |
//! | 25 | smallest expiry (8 bytes, informative), listpack: field, value, time (absolute, 0: none), … by rising time, the zeros last |
//! | 22 (Valkey) | count; field, value, 8 bytes of expiry (−1: none) for each |
//! | 23 (Valkey) | count of paths; path, count, and that many fields and values for each |
//! | 29, 31 | field names in front, then values as listpack (behind an integer without meaning) or as strings |
//! | 30, 32 | values only; the field names stand in a template of the file |
//! | 31 (Dragonfly) | count; field, value, expiry (decimal seconds, −1: none) for each |

use super::decoder::{Decoder, Part, expect_end, tell};
use super::element::{Element, canonical_int};
use super::findings::{Finding, Findings, Rule, Strict};
use super::packed::{Encoding, Item, Packed};
use super::positions::Positions;
use super::template::Names;
use crate::error::{Error, Place, Result};
use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::{Cursor, Str, length};

/// The largest time that a server takes for a field: 48 bits of milliseconds (`EB_EXPIRE_TIME_MAX`).
pub const FIELD_EXPIRY_MAX: i64 = (1 << 48) - 1;

/// A hash that is being walked, in the order of the file.
#[derive(Debug)]
pub struct Hash<'d, F: Findings = Strict> {
    decoder: &'d mut Decoder<F>,
    cursor: Cursor<'d>,
    form: Form<'d>,
    /// Fields (of the current path) that were not read yet, in the forms that are not packed.
    left: u64,
    /// In a path hash: paths that were not begun yet, and the current one.
    paths_left: u64,
    paths_begun: u64,
    path: Option<Part<'d>>,
    packed: Option<Packed<'d>>,
    /// The time that was read last, in a packed form with times.
    time_before: i64,
    body: Cursor<'d>,
    position: u64,
    done: bool,
}

/// What a walk begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'d> {
    cursor: Cursor<'d>,
    form: Form<'d>,
    left: u64,
    paths_left: u64,
    packed: Option<Packed<'d>>,
}

#[derive(Debug, Clone, Copy)]
enum Form<'d> {
    Pairs,
    PackedPairs,
    PackedTriples,
    TimesBefore { smallest: Option<i64> },
    TimesBehind,
    Paths,
    DragonflyTimes,
    Template { names: Names<'d> },
}

/// A field with its value.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Valkey's path hash: the path that the field belongs to.
    pub path: Option<Element<'a>>,
    /// The field's name.
    pub field: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// When the field expires, in milliseconds of Unix time.
    pub expire_at_ms: Option<i64>,
    pub(super) position: u64,
    /// The number of its path, from 1.
    pub(super) path_number: u64,
}

/// The parts of a field, before they are handed out.
type Parts<'d> = (Part<'d>, Part<'d>, Option<i64>);

impl<'d, F: Findings> Hash<'d, F> {
    pub(super) fn open(
        decoder: &'d mut Decoder<F>,
        mut cursor: Cursor<'d>,
        entry: &Entry<'d>,
    ) -> Result<Self> {
        let body = cursor;
        let (mut left, mut paths_left, mut packed) = (0, 0, None);
        let form = match (entry.value_type, entry.dialect) {
            (ValueType::HASH, _) => {
                left = counted(&mut cursor, 2, "fields")?;
                Form::Pairs
            }
            (ValueType::HASH_ZIPMAP, _) => {
                packed = decoder.open_packed(&mut cursor, Encoding::Zipmap)?;
                Form::PackedPairs
            }
            (ValueType::HASH_ZIPLIST, _) => {
                packed = decoder.open_packed(&mut cursor, Encoding::Ziplist)?;
                Form::PackedPairs
            }
            (ValueType::HASH_LISTPACK, _) => {
                packed = decoder.open_packed(&mut cursor, Encoding::Listpack)?;
                Form::PackedPairs
            }
            (ValueType::HASH_2, Dialect::Valkey) => {
                left = counted(&mut cursor, 10, "fields")?;
                Form::TimesBehind
            }
            (ValueType::PATH_HASH, Dialect::Valkey) => {
                paths_left = counted(&mut cursor, 4, "paths")?;
                Form::Paths
            }
            (ValueType::DF_HASH_WITH_EXPIRY, Dialect::Dragonfly) => {
                left = counted(&mut cursor, 3, "fields")?;
                Form::DragonflyTimes
            }
            (ValueType::HASH_METADATA_PRE_GA, _) => {
                left = counted(&mut cursor, 3, "fields")?;
                Form::TimesBefore { smallest: None }
            }
            (ValueType::HASH_LISTPACK_EX_PRE_GA, _) => {
                packed = decoder.open_packed(&mut cursor, Encoding::Listpack)?;
                Form::PackedTriples
            }
            (ValueType::HASH_METADATA, _) => {
                let smallest = cursor.i64_le()?;
                left = counted(&mut cursor, 3, "fields")?;
                Form::TimesBefore {
                    smallest: Some(smallest),
                }
            }
            (ValueType::HASH_LISTPACK_EX, _) => {
                cursor.skip(8)?;
                packed = decoder.open_packed(&mut cursor, Encoding::Listpack)?;
                Form::PackedTriples
            }
            _ => {
                let names = Names::open(decoder, &mut cursor, entry)?;
                if matches!(
                    entry.value_type,
                    ValueType::HASH_TMPL_LP | ValueType::HASH_TMPL_LP_REF
                ) {
                    packed = decoder.open_packed(&mut cursor, Encoding::Listpack)?;
                    // An integer stands in front of the values: the template's id, or without meaning.
                    if let Some(packed) = &mut packed {
                        let first = packed.next(&decoder.blob, &mut decoder.findings)?;
                        if !matches!(first, Some(Item::Int(_))) {
                            decoder.findings.found(Finding {
                                rule: Rule::Template,
                                place: packed.last_place(),
                                what: "no integer stands in front of the values".into(),
                            })?;
                        }
                    }
                } else {
                    cursor.expect_room(names.count(), 1, "values of a hash template")?;
                    left = names.count();
                }
                Form::Template { names }
            }
        };
        Ok(Self {
            decoder,
            cursor,
            form,
            left,
            paths_left,
            paths_begun: 0,
            path: None,
            packed,
            time_before: 0,
            body,
            position: 0,
            done: false,
        })
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'_>>> {
        // Most hashes are small ones.
        if let (Form::PackedPairs, Some(packed)) = (&self.form, &mut self.packed) {
            let position = packed.at() as u64;
            if let Some((field, value)) = packed.next_short_pair(&self.decoder.blob) {
                self.position = position;
                let bytes = packed.bytes(&self.decoder.blob);
                return Ok(Some(Field {
                    path: None,
                    field: field.element(bytes),
                    value: value.element(bytes),
                    expire_at_ms: None,
                    position,
                    path_number: self.paths_begun,
                }));
            }
        }
        self.next_of_any()
    }

    fn next_of_any(&mut self) -> Result<Option<Field<'_>>> {
        match self.step() {
            Ok(Some((field, value, expire_at_ms))) => {
                let Decoder {
                    blob,
                    names,
                    text: [text, more, path],
                    ..
                } = &*self.decoder;
                let in_names = matches!(self.form, Form::Template { .. });
                Ok(Some(Field {
                    path: self.path.map(|part| part.element(blob, path)),
                    field: field.element(if in_names { names } else { blob }, text),
                    value: value.element(blob, more),
                    expire_at_ms,
                    position: self.position,
                    path_number: self.paths_begun,
                }))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<Option<Parts<'d>>> {
        if self.done {
            return Ok(None);
        }
        let mut step = match self.form {
            Form::PackedPairs => self.local(Self::read_pair),
            Form::PackedTriples => self.local(Self::read_triple),
            Form::Template { .. } => self.local(Self::read_template),
            _ => self.read_plain(),
        }?;
        if step.is_none() {
            self.done = true;
            expect_end(&self.cursor, &mut self.decoder.findings)?;
        }
        if let Some((_, _, expiry)) = &mut step
            && let Some(at) = *expiry
        {
            *expiry = self.decoder.expiries.arrives(at);
        }
        Ok(step)
    }

    /// Damage inside a blob ends the walk, but is no error for those who collect.
    #[inline]
    fn local(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Option<Parts<'d>>>,
    ) -> Result<Option<Parts<'d>>> {
        match read(self) {
            Ok(parts) => Ok(parts),
            Err(error) => {
                self.done = true;
                tell(&mut self.decoder.findings, error).map(|()| None)
            }
        }
    }

    #[inline]
    fn read_pair(&mut self) -> Result<Option<Parts<'d>>> {
        let Some(packed) = &mut self.packed else {
            return Ok(None);
        };
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        let Some(field) = packed.next(hold, findings)? else {
            return Ok(None);
        };
        self.position = packed.last() as u64;
        let Some(value) = packed.next(hold, findings)? else {
            findings.found(odd(packed))?;
            return Ok(None);
        };
        let blob = packed.blob();
        Ok(Some((
            Part::Packed(blob, field),
            Part::Packed(blob, value),
            None,
        )))
    }

    fn read_triple(&mut self) -> Result<Option<Parts<'d>>> {
        let Some(packed) = &mut self.packed else {
            return Ok(None);
        };
        let (hold, findings) = (&self.decoder.blob, &mut self.decoder.findings);
        let Some(field) = packed.next(hold, findings)? else {
            return Ok(None);
        };
        self.position = packed.last() as u64;
        let (Some(value), Some(time)) =
            (packed.next(hold, findings)?, packed.next(hold, findings)?)
        else {
            findings.found(odd(packed))?;
            return Ok(None);
        };
        let place = packed.last_place();
        let time = time.element(packed.bytes(hold)).int().unwrap_or(-1);
        let time = absolute_time(time, 0, place, findings)?;
        // Without a time is last: as if it expired after all others.
        let rank = time.unwrap_or(i64::MAX);
        if rank < self.time_before {
            findings.found(Finding {
                rule: Rule::FieldExpiryOrder,
                place,
                what: format!(
                    "a field that expires at {rank} stands behind one that expires {}",
                    if self.time_before == i64::MAX {
                        "never".to_owned()
                    } else {
                        format!("at {}", self.time_before)
                    }
                )
                .into(),
            })?;
        }
        self.time_before = rank;
        let blob = packed.blob();
        Ok(Some((
            Part::Packed(blob, field),
            Part::Packed(blob, value),
            time,
        )))
    }

    fn read_template(&mut self) -> Result<Option<Parts<'d>>> {
        let Form::Template { names } = &mut self.form else {
            return Ok(None);
        };
        let Decoder {
            findings,
            blob: hold,
            names: names_hold,
            text: [text, more, _],
            ..
        } = &mut *self.decoder;
        loop {
            self.position = names.position();
            let name = names.next(names_hold, text, findings)?;
            let place = match &self.packed {
                Some(packed) => packed.place(packed.at()),
                None => self.cursor.place(),
            };
            let value = match &mut self.packed {
                Some(packed) => match packed.next(hold, findings)? {
                    Some(item) => Reading::Is(Part::Packed(packed.blob(), item)),
                    None => Reading::End,
                },
                None if self.left == 0 => Reading::End,
                None => {
                    self.left = self.left.wrapping_sub(1);
                    match Part::read(&mut self.cursor, more, findings)? {
                        Some(part) => Reading::Is(part),
                        None => Reading::Unreadable,
                    }
                }
            };
            match (name, value) {
                (Some(Some(name)), Reading::Is(value)) => return Ok(Some((name, value, None))),
                (Some(_), Reading::Is(_) | Reading::Unreadable) => {}
                (None, Reading::End) => return Ok(None),
                (Some(_), Reading::End) => {
                    findings.found(Finding {
                        rule: Rule::Template,
                        place,
                        what: format!("{} fields, but fewer values", names.count()).into(),
                    })?;
                    return Ok(None);
                }
                (None, Reading::Is(_) | Reading::Unreadable) => {
                    findings.found(Finding {
                        rule: Rule::Template,
                        place,
                        what: format!("{} fields, but more values", names.count()).into(),
                    })?;
                    return Ok(None);
                }
            }
        }
    }

    #[inline]
    fn read_plain(&mut self) -> Result<Option<Parts<'d>>> {
        loop {
            while self.left == 0 {
                if !self.begin_path()? {
                    return Ok(None);
                }
            }
            self.left = self.left.wrapping_sub(1);
            let [text, more, third] = &mut self.decoder.text;
            let findings = &mut self.decoder.findings;
            let mut time = None;
            if let Form::TimesBefore { smallest } = self.form {
                let place = self.cursor.place();
                let distance = length::read(&mut self.cursor)?;
                time = time_before(distance, smallest, place, findings)?;
            }
            self.position = self.cursor.offset();
            let field = Part::read(&mut self.cursor, text, findings)?;
            let value = Part::read(&mut self.cursor, more, findings)?;
            match self.form {
                Form::TimesBehind => {
                    let place = self.cursor.place();
                    time = absolute_time(self.cursor.i64_le()?, -1, place, findings)?;
                }
                Form::DragonflyTimes => time = df_expiry(&mut self.cursor, third, findings)?,
                _ => {}
            }
            if let (Some(field), Some(value)) = (field, value) {
                return Ok(Some((field, value, time)));
            }
        }
    }

    /// Goes to the next path of a path hash. `false` where there is none.
    fn begin_path(&mut self) -> Result<bool> {
        if self.paths_left == 0 {
            return Ok(false);
        }
        self.paths_left = self.paths_left.wrapping_sub(1);
        self.paths_begun = self.paths_begun.wrapping_add(1);
        let [.., text] = &mut self.decoder.text;
        let findings = &mut self.decoder.findings;
        self.path = Part::read(&mut self.cursor, text, findings)?;
        let place = self.cursor.place();
        self.left = counted(&mut self.cursor, 2, "fields")?;
        if self.left == 0 {
            findings.found(Finding {
                rule: Rule::Empty,
                place,
                what: "a path has no fields".into(),
            })?;
        }
        Ok(true)
    }

    /// Whether fields stand below paths.
    pub(super) fn has_paths(&self) -> bool {
        matches!(self.form, Form::Paths)
    }

    /// Whether the field names stand in a blob of their own.
    pub(super) fn names_apart(&self) -> bool {
        matches!(self.form, Form::Template { .. })
    }

    /// Where the walk stands, before its first step.
    pub(super) fn start(&self) -> Start<'d> {
        Start {
            cursor: self.cursor,
            form: self.form,
            left: self.left,
            paths_left: self.paths_left,
            packed: self.packed,
        }
    }

    /// Begins anew: the walk gives the same fields once more. What breaks a rule is told once more.
    pub(super) fn rewind(&mut self, start: &Start<'d>) {
        self.cursor = start.cursor;
        self.form = start.form;
        self.left = start.left;
        self.paths_left = start.paths_left;
        self.packed = start.packed;
        self.paths_begun = 0;
        self.path = None;
        self.time_before = 0;
        self.done = false;
    }

    /// How many fields there are, as claimed (of the current path).
    pub(super) fn claimed(&self) -> u64 {
        match (&self.form, &self.packed) {
            (Form::Template { names }, _) => names.count(),
            (Form::PackedTriples, Some(packed)) => packed.claimed().unwrap_or(0) / 3,
            (_, Some(packed)) => packed.claimed().unwrap_or(0) / 2,
            (_, None) => self.left,
        }
    }

    pub(super) fn positions(&self) -> Positions<'d> {
        match self.form {
            Form::Template { names } => Positions::Names(names),
            _ => Positions::of(self.packed, self.body),
        }
    }

    pub(super) fn decoder(&mut self) -> &mut Decoder<F> {
        self.decoder
    }

    /// The buffers that parts refer to.
    pub(super) fn held(&self) -> &Decoder<F> {
        self.decoder
    }
}

enum Reading<'d> {
    Is(Part<'d>),
    Unreadable,
    End,
}

/// Reads a count, and compares it with the bytes that remain.
fn counted(cursor: &mut Cursor<'_>, min_bytes: u64, what: &'static str) -> Result<u64> {
    let count = length::read(cursor)?;
    cursor.expect_room(count, min_bytes, what)?;
    Ok(count)
}

#[cold]
fn odd(packed: &Packed<'_>) -> Finding {
    Finding {
        rule: Rule::OddItems,
        place: packed.last_place(),
        what: format!("{} items, which do not make whole fields", packed.seen()).into(),
    }
}

/// An absolute time; `none` is the number that means no expiry.
#[inline]
fn absolute_time<F: Findings>(
    time: i64,
    none: i64,
    place: Place,
    findings: &mut F,
) -> Result<Option<i64>> {
    if time == none {
        return Ok(None);
    }
    if (0..=FIELD_EXPIRY_MAX).contains(&time) {
        return Ok(Some(time));
    }
    findings.found(Finding {
        rule: Rule::FieldExpiry,
        place,
        what: format!("a field expires at {time}; servers take 0 to {FIELD_EXPIRY_MAX}").into(),
    })?;
    Ok(None)
}

/// The time in front of a field: absolute, or as a distance from the smallest one.
#[inline]
fn time_before<F: Findings>(
    number: u64,
    smallest: Option<i64>,
    place: Place,
    findings: &mut F,
) -> Result<Option<i64>> {
    if number == 0 {
        return Ok(None);
    }
    let time = match smallest {
        None => i128::from(number),
        Some(smallest) => i128::from(smallest)
            .saturating_add(i128::from(number))
            .saturating_sub(1),
    };
    match i64::try_from(time) {
        Ok(time) => absolute_time(time, i64::MIN, place, findings),
        Err(_) => absolute_time(i64::MAX, i64::MIN, place, findings),
    }
}

/// Dragonfly's expiry: a string of decimal seconds.
pub(super) fn df_expiry<F: Findings>(
    cursor: &mut Cursor<'_>,
    text: &mut Vec<u8>,
    findings: &mut F,
) -> Result<Option<i64>> {
    let place = cursor.place();
    let string = Str::read(cursor)?;
    let seconds = match string {
        Str::Int(value) => Some(i64::from(value)),
        other => canonical_int(other.bytes(text)?),
    };
    match seconds {
        Some(-1) => Ok(None),
        Some(seconds) => absolute_time(
            seconds.checked_mul(1000).unwrap_or(i64::MAX),
            i64::MIN,
            place,
            findings,
        ),
        None => {
            findings.found(Finding {
                rule: Rule::FieldExpiry,
                place,
                what: "an expiry that is no number of seconds".into(),
            })?;
            Ok(None)
        }
    }
}

/// An error for a hash whose template is not known.
#[cold]
pub(super) fn no_template(place: Place) -> Error {
    Error::corrupt(
        place,
        "the hash names no template that the file defined before it",
    )
}
