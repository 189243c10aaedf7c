//! Lists, sets, sorted sets, hashes, arrays and what modules wrote.

use std::cell::RefCell;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::member;
use super::text::{Number, Shown};
use super::vectors;
use super::walk::{Context, Items, Seq, items};
use crate::json::damage::Damage;
use crate::value::{Array, ArrayValue, Element, Hash, List, ModuleItem, ModuleValue, Set, Zset};
use crate::wire::double;

items!(Elements<'d>(List<'d, Damage>), |list, seq, context| list.next_element(), element => {
    if let Some(text) = context.text(element)? {
        seq.serialize_element(&text)?;
    }
});

items!(Members<'d>(Set<'d, Damage>), |set, seq, context| set.next_member(), found => {
    if let Some(member) = context.text(found.member)? {
        match found.expire_at_ms {
            None => seq.serialize_element(&member)?,
            Some(at) => seq.serialize_element(&(member, at))?,
        }
    }
});

items!(ScoredMembers<'d>(Zset<'d, Damage>), |zset, seq, context| zset.next_scored(), found => {
    if let Some(member) = context.text(found.member)? {
        seq.serialize_element(&(member, Number(found.score)))?;
    }
});

items!(Fields<'d>(Hash<'d, Damage>), |hash, seq, context| hash.next_field(), found => {
    let path = match found.path {
        None => None,
        Some(path) => match context.text(path)? {
            None => return Ok(true),
            some => some,
        },
    };
    let (field, value) = (context.text(found.field)?, context.text(found.value)?);
    if let (Some(field), Some(value)) = (field, value) {
        match (path, found.expire_at_ms) {
            (None, None) => seq.serialize_element(&(field, value))?,
            (None, Some(at)) => seq.serialize_element(&(field, value, at))?,
            (Some(path), None) => seq.serialize_element(&(path, field, value))?,
            (Some(path), Some(at)) => seq.serialize_element(&(path, field, value, at))?,
        }
    }
});

items!(ArrayItems<'a, 'd>(&'a mut Array<'d, Damage>), |array, seq, context| array.next_item(), item => {
    let mut number = Vec::new();
    let element = match item.value {
        ArrayValue::Element(element) => element,
        ArrayValue::Double(value) => {
            double::push_server_text(&mut number, value);
            Element::Bytes(&number)
        }
    };
    if let Some(text) = context.text(element)? {
        seq.serialize_element(&(Shown(item.index), text))?;
    }
});

items!(ModuleItems<'a, 'd>(&'a mut ModuleValue<'d, Damage>), |module, seq, context| module.next_item(), item => {
    put_item(seq, &item, context)?;
});

pub(super) fn put_item<Q: SerializeSeq>(
    seq: &mut Q,
    item: &ModuleItem<'_>,
    context: &Context,
) -> std::result::Result<(), Q::Error> {
    match *item {
        ModuleItem::Signed(value) => seq.serialize_element(&One("signed", Shown(value))),
        ModuleItem::Unsigned(value) => seq.serialize_element(&One("unsigned", Shown(value))),
        ModuleItem::Float(value) => seq.serialize_element(&One("float", Number(value.into()))),
        ModuleItem::Double(value) => seq.serialize_element(&One("double", Number(value))),
        ModuleItem::String(element) => match context.text(element)? {
            Some(text) => seq.serialize_element(&One("string", text)),
            None => Ok(()),
        },
    }
}

/// An object of one member.
struct One<T>(&'static str, T);

impl<T: Serialize> Serialize for One<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

pub(super) struct ArrayObject<'c, 'd>(
    pub(super) RefCell<Array<'d, Damage>>,
    pub(super) &'c Context,
);

impl Serialize for ArrayObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut array = self.0.borrow_mut();
        let mut map = serializer.serialize_map(None)?;
        member(&mut map, "insert_index", array.insert_index().map(Shown))?;
        map.serialize_entry("items", &Seq::new(ArrayItems(&mut array), self.1))?;
        map.end()
    }
}

pub(super) struct ModuleObject<'c, 'd>(
    pub(super) RefCell<ModuleValue<'d, Damage>>,
    pub(super) &'c Context,
);

impl Serialize for ModuleObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut module = self.0.borrow_mut();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("module", &module.id().name())?;
        map.serialize_entry("version", &module.id().version())?;
        if let Some(mut vectors) = module.vector_set() {
            vectors::put(&mut map, &mut vectors, self.1)?;
            return map.end();
        }
        map.serialize_entry("items", &Seq::new(ModuleItems(&mut module), self.1))?;
        map.end()
    }
}
