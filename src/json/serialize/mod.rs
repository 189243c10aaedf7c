//! A key through `serde`: the schema of this module for any serializer, in flat memory where the serializer is flat.
//!
//! What is walked is serialised on the way, so a serializer is told no lengths beforehand. Written with `serde_json`, the
//! text is byte for byte that of [`super::KeyWriter`].
//!
//! Names within streams (groups, consumers, producers) of more than [`Str::MAX_BUFFERED`](crate::wire::Str::MAX_BUFFERED) bytes
//! end the serialisation: they are held, since what belongs to them is read after them.

mod collections;
mod opaque;
mod stream;
mod text;
mod vectors;
mod walk;

use std::cell::RefCell;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};

use self::collections::{ArrayObject, Elements, Fields, Members, ModuleObject, ScoredMembers};
use self::opaque::{KeyMeta, SubExpires};
use self::stream::StreamObject;
use self::text::Shown;
use self::walk::{Context, Seq};
use super::damage::Damage;
use crate::error::Place;
use crate::snapshot::{Dialect, Entry};
use crate::value::{Decoder, Element, Value};

/// Serialises keys, with buffers that are used again for the next one.
///
/// ```
/// use rdbridge::json::KeySerializer;
/// use rdbridge::snapshot::Snapshot;
///
/// let file = b"REDIS0009\xfe\x00\x00\x01k\x01v\xff\xf1\xc3\xf1\x2d\x87\xe2\xaf\x85";
/// let mut keys = KeySerializer::new(None);
/// for entry in Snapshot::parse(file)?.entries() {
///     let json = serde_json::to_value(keys.key(&entry?)).unwrap();
///     assert_eq!(json["value"], "v");
/// }
/// # Ok::<(), rdbridge::Error>(())
/// ```
#[derive(Debug)]
pub struct KeySerializer {
    decoder: Decoder<Damage>,
}

impl KeySerializer {
    /// A serializer whose decoder spools blobs of more than 1 MiB, decompressed, in `spool_dir`; without one, a value with
    /// such a blob is an error of the serializer.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self {
            decoder: Decoder::with_findings(spool_dir, Damage::default()),
        }
    }

    /// The key and its value, to be serialised. Each time that is done, the value is decoded anew.
    pub fn key<'k, 'data>(&'k mut self, entry: &'k Entry<'data>) -> Key<'k, 'data> {
        Key {
            entry,
            decoder: RefCell::new(&mut self.decoder),
            damage: RefCell::default(),
        }
    }
}

/// A key that can be serialised.
#[derive(Debug)]
pub struct Key<'k, 'data> {
    entry: &'k Entry<'data>,
    decoder: RefCell<&'k mut Decoder<Damage>>,
    damage: RefCell<Damage>,
}

impl Key<'_, '_> {
    /// What was wrong with the entry when it was serialised last; the object has it as `error`.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage.borrow().clone()
    }
}

impl Serialize for Key<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let entry = self.entry;
        let context = Context::default();
        let mut map = serializer.serialize_map(None)?;
        head(&mut map, entry, &context)?;
        let mut decoder = self.decoder.borrow_mut();
        // Taken, not kept: what an interrupted serialisation left is not of this one.
        std::mem::take(decoder.findings());
        match decoder.decode(entry) {
            Ok(value) => put_value(&mut map, value, &context)?,
            Err(error) => context.note(error)?,
        }
        if !entry.sub_expires.is_empty() {
            map.serialize_entry(
                "sub_expires",
                &SubExpires {
                    entry,
                    context: &context,
                },
            )?;
        }
        let mut damage = context.damage.into_inner();
        damage.add(std::mem::take(decoder.findings()));
        if damage.is_some() {
            map.serialize_entry("error", &Shown(&damage))?;
        }
        self.damage.replace(damage);
        map.end()
    }
}

fn head<M: SerializeMap>(
    map: &mut M,
    entry: &Entry<'_>,
    context: &Context,
) -> std::result::Result<(), M::Error> {
    map.serialize_entry("db", &entry.db)?;
    let mut scratch = Vec::new();
    let name = match Element::of(entry.key, &mut scratch) {
        Ok(element) => context.text(element)?,
        Err(error) => {
            context.note(error.or_place(Place::at(0)))?;
            None
        }
    };
    map.serialize_entry("key", &name)?;
    match entry.type_info() {
        Some(info) => {
            map.serialize_entry("type", info.kind.name())?;
            map.serialize_entry("encoding", info.encoding)?;
        }
        None => map.serialize_entry("type", "unknown")?,
    }
    member(map, "expire_at_ms", entry.expire_at_ms)?;
    member(map, "idle_seconds", entry.idle_seconds)?;
    member(map, "lfu_freq", entry.lfu_freq)?;
    member(map, "slot", entry.slot)?;
    let flags = entry.df_flags;
    member(
        map,
        "df_flags",
        flags.filter(|_| entry.dialect == Dialect::Dragonfly),
    )?;
    match entry.key_meta {
        Some(record) => map.serialize_entry(
            "key_meta",
            &KeyMeta {
                record,
                offset: entry.offset,
                context,
            },
        ),
        None => Ok(()),
    }
}

fn member<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
) -> std::result::Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, &value),
        None => Ok(()),
    }
}

fn put_value<M: SerializeMap>(
    map: &mut M,
    value: Value<'_, Damage>,
    context: &Context,
) -> std::result::Result<(), M::Error> {
    const VALUE: &str = "value";
    match value {
        Value::String(element) | Value::Json(element) => {
            let text = context.text(element)?;
            member(map, VALUE, text)
        }
        Value::List(list) => map.serialize_entry(VALUE, &Seq::new(Elements(list), context)),
        Value::Set(set) => map.serialize_entry(VALUE, &Seq::new(Members(set), context)),
        Value::Zset(zset) => map.serialize_entry(VALUE, &Seq::new(ScoredMembers(zset), context)),
        Value::Hash(hash) => map.serialize_entry(VALUE, &Seq::new(Fields(hash), context)),
        Value::Stream(stream) => {
            map.serialize_entry(VALUE, &StreamObject(RefCell::new(stream), context))
        }
        Value::Array(array) => {
            map.serialize_entry(VALUE, &ArrayObject(RefCell::new(array), context))
        }
        Value::Module(module) => {
            map.serialize_entry(VALUE, &ModuleObject(RefCell::new(module), context))
        }
    }
}
