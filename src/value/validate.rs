//! A whole walk over one value, for those who want to know that it is sound: everything decoded, nothing handed out.
//!
//! The walkers themselves tell what is wrong with bytes and order. What needs the whole collection is told here: duplicates,
//! emptiness, and whether each pending entry of a group has exactly one owner.

use super::decoder::{Decoder, Value, tell};
use super::element::{Element, IntText};
use super::findings::{Finding, Findings, Rule};
use super::hash::Hash;
use super::module::{ModuleItem, key_meta_classes};
use super::positions::Positions;
use super::set::Set;
use super::unique::Unique;
use super::validate_stream::walk_stream;
use super::zset::Zset;
use super::{Array, ArrayValue, List, ModuleValue};
use crate::error::{Place, Result};
use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::Str;

/// What a walk saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Elements that were walked: list elements, members, fields, live stream entries, array elements, a module's values; 1
    /// for a string.
    pub elements: u64,
    /// Whether some part could not be read, so that there may be more elements.
    pub damaged: bool,
}

/// The longest field or value, and the largest number of fields, with which servers keep a plain hash as a listpack.
const SMALL_HASH: (u64, u64) = (64, 128);

impl<F: Findings> Decoder<F> {
    /// Walks the value of `entry` and its key whole. Everything that breaks a rule is told to the findings, damage included:
    /// with findings that collect, this answers `Ok` for any damaged value.
    ///
    /// # Errors
    /// What the findings answer, and `Limit`, `Io` and `Unsupported`, all with the entry.
    #[inline]
    pub fn validate(&mut self, entry: &Entry<'_>) -> Result<Summary> {
        match self.glance.elements(entry) {
            Some(elements) => Ok(Summary {
                elements,
                damaged: false,
            }),
            None => self.look(entry),
        }
    }

    /// Walks the value and its key, and tells.
    pub(super) fn look(&mut self, entry: &Entry<'_>) -> Result<Summary> {
        self.findings.damaged = false;
        let mut elements = 0;
        let walked = self
            .check_key(entry)
            .and_then(|()| self.walk(entry, &mut elements));
        walked
            .or_else(|error| tell(&mut self.findings, error))
            .map_err(|error| error.or_entry(|| entry.context()))?;
        Ok(Summary {
            elements,
            damaged: self.findings.damaged,
        })
    }

    fn check_key(&mut self, entry: &Entry<'_>) -> Result<()> {
        if let Str::Lzf(_) = entry.key {
            let mut pieces = entry.key.pieces();
            let walked = loop {
                match pieces.next_piece() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            walked.or_else(|error| tell(&mut self.findings, error))?;
        }
        match entry.key_meta {
            // The record is one of the attributes in front of the key: its own offset is not kept.
            Some(record) => key_meta_classes(record, entry.offset, |_, _| Ok(())),
            None => Ok(()),
        }
    }

    fn walk(&mut self, entry: &Entry<'_>, elements: &mut u64) -> Result<()> {
        let mut unique = self.unique.take().unwrap_or_default();
        let walked = self.walk_value(entry, &mut unique, elements);
        self.unique = Some(unique);
        walked?;
        let may_be_empty = matches!(entry.value_type.0, 0 | 7 | 15 | 19 | 21 | 26 | 27)
            || (entry.dialect == Dialect::Dragonfly && matches!(entry.value_type.0, 20 | 30));
        if *elements == 0 && !may_be_empty && !self.findings.damaged {
            self.findings.found(Finding {
                rule: Rule::Empty,
                place: Place::at(entry.value_offset),
                what: "the collection has no elements".into(),
            })?;
        }
        Ok(())
    }

    fn walk_value(
        &mut self,
        entry: &Entry<'_>,
        unique: &mut [Unique; 2],
        elements: &mut u64,
    ) -> Result<()> {
        let [unique, names] = unique;
        let again = match self.decode(entry)? {
            Value::String(element) | Value::Json(element) => {
                *elements = 1;
                return drain(element);
            }
            Value::List(list) => return walk_list(list, elements),
            Value::Stream(stream) => return walk_stream(stream, unique, names, elements),
            Value::Array(array) => return walk_array(array, elements),
            Value::Module(module) => return walk_module(module, elements),
            keyed => {
                unique.begin(keyed.claimed(), true);
                walk_keyed(keyed, entry, unique, elements)?
            }
        };
        if again {
            // Everything but the duplicates was told by the first walk.
            self.findings.muted = true;
            let walked = match self.decode(entry) {
                Ok(keyed) => walk_keyed(keyed, entry, unique, &mut 0),
                Err(error) => Err(error),
            };
            self.findings.muted = false;
            walked?;
        }
        Ok(())
    }
}

impl<F: Findings> Value<'_, F> {
    /// How many keys a set, sorted set or hash has, as claimed.
    fn claimed(&self) -> u64 {
        match self {
            Value::Set(set) => set.claimed(),
            Value::Zset(zset) => zset.claimed(),
            Value::Hash(hash) => hash.claimed(),
            _ => 0,
        }
    }
}

/// What is to be told of keys that occur twice.
#[derive(Debug)]
pub(super) struct Keyed<'d> {
    pub(super) positions: Positions<'d>,
    pub(super) rule: Rule,
    pub(super) what: &'static str,
}

/// Walks a set, sorted set or hash, and tells the keys that occur twice. `true` where that takes a second walk.
fn walk_keyed<F: Findings>(
    value: Value<'_, F>,
    entry: &Entry<'_>,
    unique: &mut Unique,
    elements: &mut u64,
) -> Result<bool> {
    match value {
        Value::Set(set) => walk_set(set, entry, unique, elements),
        Value::Zset(zset) => walk_zset(zset, unique, elements),
        Value::Hash(hash) => walk_hash(hash, entry, unique, elements),
        // The caller sends no others.
        _ => Ok(false),
    }
}

/// Ends a walk over keys.
fn end_keyed<F: Findings>(
    decoder: &mut Decoder<F>,
    unique: &mut Unique,
    keyed: &Keyed<'_>,
) -> Result<bool> {
    if unique.wants_second_walk()? {
        return Ok(true);
    }
    decoder.findings.muted = false;
    decoder.tell_twice(unique, keyed)?;
    Ok(false)
}

/// Reads a compressed string through.
#[inline]
fn drain(element: Element<'_>) -> Result<()> {
    match element {
        Element::Long(_) => element.write_to(|_| Ok(())),
        _ => Ok(()),
    }
}

fn walk_list<F: Findings>(mut list: List<'_, F>, elements: &mut u64) -> Result<()> {
    loop {
        let drained = match list.next_element()? {
            Some(element) => drain(element),
            None => return Ok(()),
        };
        *elements = elements.wrapping_add(1);
        if let Err(error) = drained {
            tell(&mut list.decoder().findings, error)?;
        }
    }
}

/// Notes a key, and counts it. Damage in it is told and does not end the walk.
macro_rules! noted {
    ($walker:ident, $elements:ident, $noted:expr) => {{
        *$elements = $elements.wrapping_add(1);
        if let Err(error) = $noted {
            tell(&mut $walker.decoder().findings, error)?;
        }
    }};
}

fn walk_set<F: Findings>(
    mut set: Set<'_, F>,
    entry: &Entry<'_>,
    unique: &mut Unique,
    elements: &mut u64,
) -> Result<bool> {
    // What rises strictly has no duplicates, and what does not is told by the walker.
    let rises = entry.value_type == ValueType::SET_INTSET;
    let dir = set.decoder().spool_dir.clone();
    loop {
        let noted = match set.next_member()? {
            None => break,
            Some(_) if rises => Ok(()),
            Some(found) => unique.note(&found.member, found.position, dir.as_deref()),
        };
        noted!(set, elements, noted);
    }
    let keyed = Keyed {
        positions: set.positions(),
        rule: Rule::Duplicate,
        what: "member",
    };
    end_keyed(set.decoder(), unique, &keyed)
}

fn walk_zset<F: Findings>(
    mut zset: Zset<'_, F>,
    unique: &mut Unique,
    elements: &mut u64,
) -> Result<bool> {
    let dir = zset.decoder().spool_dir.clone();
    loop {
        let noted = match zset.next_scored()? {
            None => break,
            Some(found) => unique.note(&found.member, found.position, dir.as_deref()),
        };
        noted!(zset, elements, noted);
    }
    let keyed = Keyed {
        positions: zset.positions(),
        rule: Rule::Duplicate,
        what: "member",
    };
    end_keyed(zset.decoder(), unique, &keyed)
}

fn walk_hash<F: Findings>(
    mut hash: Hash<'_, F>,
    entry: &Entry<'_>,
    unique: &mut Unique,
    elements: &mut u64,
) -> Result<bool> {
    let dir = hash.decoder().spool_dir.clone();
    // Servers keep such a hash as a listpack, and may not look for duplicates then.
    let mut small = entry.value_type == ValueType::HASH && hash.claimed() <= SMALL_HASH.1;
    let mut rising = (entry.dialect == Dialect::Redis && (29..=32).contains(&entry.value_type.0))
        .then(Rising::default);
    loop {
        let mut falls = None;
        let noted = match hash.next_field()? {
            None => break,
            Some(found) => {
                small =
                    small && found.field.len() <= SMALL_HASH.0 && found.value.len() <= SMALL_HASH.0;
                let noted = match &mut rising {
                    Some(rising) => {
                        if !rising.goes_on(&found.field) {
                            falls = Some(found.position);
                        }
                        Ok(())
                    }
                    // Fields are unique within their path.
                    None => unique.note_in(
                        found.path_number,
                        &found.field,
                        found.position,
                        dir.as_deref(),
                    ),
                };
                noted.and_then(|()| drain(found.value))
            }
        };
        noted!(hash, elements, noted);
        if let Some(position) = falls {
            let place = hash.positions().place(position);
            hash.decoder().findings.found(Finding {
                rule: Rule::Template,
                place,
                what: "field names do not rise by length and bytes".into(),
            })?;
            break;
        }
    }
    // The rest of a template whose names fall.
    while let Some(found) = hash.next_field()? {
        let noted = drain(found.value);
        noted!(hash, elements, noted);
    }
    let keyed = Keyed {
        positions: hash.positions(),
        rule: if small {
            Rule::DuplicateInSmallHash
        } else {
            Rule::Duplicate
        },
        what: "field",
    };
    end_keyed(hash.decoder(), unique, &keyed)
}

/// Whether names rise by length, then by bytes.
#[derive(Debug, Default)]
struct Rising {
    before: Option<Vec<u8>>,
}

impl Rising {
    fn goes_on(&mut self, name: &Element<'_>) -> bool {
        let mut text = IntText::new();
        let Some(name) = name.short(&mut text) else {
            // Longer than any buffer: not compared.
            self.before = None;
            return true;
        };
        let rises = match &self.before {
            Some(before) => (before.len(), before.as_slice()) < (name.len(), name),
            None => true,
        };
        let before = self.before.get_or_insert_default();
        before.clear();
        before.extend_from_slice(name);
        rises
    }
}

fn walk_array<F: Findings>(mut array: Array<'_, F>, elements: &mut u64) -> Result<()> {
    loop {
        let drained = match array.next_item()? {
            None => return Ok(()),
            Some(item) => match item.value {
                ArrayValue::Element(element) => drain(element),
                ArrayValue::Double(_) => Ok(()),
            },
        };
        noted!(array, elements, drained);
    }
}

fn walk_module<F: Findings>(mut module: ModuleValue<'_, F>, elements: &mut u64) -> Result<()> {
    loop {
        let drained = match module.next_item()? {
            None => return Ok(()),
            Some(ModuleItem::String(element)) => drain(element),
            Some(_) => Ok(()),
        };
        noted!(module, elements, drained);
    }
}
