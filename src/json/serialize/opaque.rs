//! Key metadata, and KeyDB's expiries of members.

use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::collections::put_item;
use super::walk::{Context, Items, Seq};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::snapshot::Entry;
use crate::value::{self, Element, MetaClass, ModuleItem, key_meta_classes};
use crate::wire::{Cursor, Str, double, length};

/// The member `key_meta`. What is damaged ends it.
pub(super) struct KeyMeta<'c> {
    pub(super) record: &'c [u8],
    pub(super) offset: u64,
    pub(super) context: &'c Context,
}

impl Serialize for KeyMeta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut refused = Ok(());
        let walked = key_meta_classes(self.record, self.offset, |class, opcodes| {
            let items = Opcodes {
                cursor: Cursor::new(opcodes, self.offset),
                failed: None,
            };
            let class = Class {
                class,
                items: Seq::new(items, self.context),
            };
            refused = seq.serialize_element(&class);
            if refused.is_err() {
                return Err(Error::new(ErrorKind::Io, "the serializer ended it"));
            }
            match class.items.0.into_inner().failed {
                Some(error) => Err(error),
                None => Ok(()),
            }
        });
        refused?;
        if let Err(error) = walked {
            self.context.note(error)?;
        }
        seq.end()
    }
}

struct Class<'c, 'r> {
    class: MetaClass,
    items: Seq<'c, Opcodes<'r>>,
}

impl Serialize for Class<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("class", &self.class.name())?;
        map.serialize_entry("version", &self.class.version())?;
        map.serialize_entry("flags", &self.class.flags())?;
        map.serialize_entry("items", &self.items)?;
        map.end()
    }
}

/// Module opcodes of key metadata; what is damaged does not touch the value behind them.
struct Opcodes<'r> {
    cursor: Cursor<'r>,
    failed: Option<Error>,
}

impl Items for Opcodes<'_> {
    fn next<Q: SerializeSeq>(
        &mut self,
        seq: &mut Q,
        context: &Context,
    ) -> std::result::Result<bool, Q::Error> {
        let mut scratch = Vec::new();
        match opcode(&mut self.cursor, &mut scratch) {
            Ok(Some(item)) => put_item(seq, &item, context).map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => {
                self.failed = Some(error);
                Ok(false)
            }
        }
    }
}

fn opcode<'a, 'd: 'a>(
    cursor: &mut Cursor<'d>,
    scratch: &'a mut Vec<u8>,
) -> Result<Option<ModuleItem<'a>>> {
    Ok(Some(match length::read(cursor)? {
        0 => return Ok(None),
        1 => ModuleItem::Signed(length::read(cursor)?.cast_signed()),
        2 => ModuleItem::Unsigned(length::read(cursor)?),
        3 => ModuleItem::Float(f32::from_le_bytes(cursor.array()?)),
        4 => ModuleItem::Double(double::read_binary(cursor)?),
        _ => ModuleItem::String(Element::of(Str::read(cursor)?, scratch)?),
    }))
}

/// The member `sub_expires`.
pub(super) struct SubExpires<'c, 'data> {
    pub(super) entry: &'c Entry<'data>,
    pub(super) context: &'c Context,
}

impl Serialize for SubExpires<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut records = self.entry.sub_expires;
        let mut scratch = Vec::new();
        loop {
            let next = value::sub_expires(records).and_then(|found| match found {
                Some((name, at, rest)) => {
                    records = rest;
                    Ok(Some((Element::of(name, &mut scratch)?, at)))
                }
                None => Ok(None),
            });
            match next {
                Ok(Some((name, at))) => {
                    if let Some(name) = self.context.text(name)? {
                        seq.serialize_element(&(name, at))?;
                    }
                }
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let place = Place::at(self.entry.end());
                    self.context
                        .note(Error::corrupt(place, error.what().to_owned()))?;
                    break;
                }
                Err(error) => return Err(S::Error::custom(error)),
            }
        }
        seq.end()
    }
}
