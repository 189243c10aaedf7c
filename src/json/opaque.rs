//! What modules wrote (values and key metadata), opcode by opcode, vector sets as what they are, and KeyDB's expiries of members.

use super::number::push_double;
use super::text::{Commas, Text};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::snapshot::Entry;
use crate::value::{
    self, Component, Element, Findings, ModuleItem, ModuleValue, Quantization, VectorHead,
    VectorSet, components, key_meta_classes,
};
use crate::wire::{Cursor, Str, double, length};

pub(super) fn module<F: Findings>(
    text: &mut Text<'_, '_>,
    module: &mut ModuleValue<'_, F>,
) -> Result<()> {
    text.push(b"{\"module\":\"");
    text.push(module.id().name().as_bytes());
    text.push(b"\",\"version\":");
    text.integer(module.id().version());
    let walked = match module.vector_set() {
        Some(mut vectors) => vector_set(text, &mut vectors),
        None => {
            text.push(b",\"items\":[");
            let walked = module_items(text, module);
            text.push(b"]");
            walked
        }
    };
    text.push(b"}");
    walked
}

fn vector_set<F: Findings>(
    text: &mut Text<'_, '_>,
    vectors: &mut VectorSet<'_, '_, F>,
) -> Result<()> {
    let head = vectors.head();
    text.push(b",\"quantization\":\"");
    text.push(head.quantization.name().as_bytes());
    text.push(b"\",\"dim\":");
    text.integer(head.dim);
    text.push(b",\"links\":");
    text.integer(head.links);
    if let Some(from) = head.projected_from {
        text.push(b",\"projection\":{\"dim\":");
        text.integer(from);
        let matrix = vectors.matrix()?;
        if let Some(form) = text.form(&matrix)? {
            text.push(b",\"matrix\":");
            text.element(&matrix, form)?;
        }
        text.push(b"}");
    }
    text.push(b",\"elements\":[");
    let walked = vector_elements(text, vectors, head);
    text.push(b"]");
    walked
}

fn vector_elements<F: Findings>(
    text: &mut Text<'_, '_>,
    vectors: &mut VectorSet<'_, '_, F>,
    head: VectorHead,
) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(name) = vectors.next_name()? {
        let form = text.form(&name)?;
        commas.next(text);
        text.push(b"{\"name\":");
        match form {
            Some(form) => text.element(&name, form)?,
            None => text.push(b"null"),
        }
        if let Some(attributes) = vectors.attributes()?
            && let Some(form) = text.form(&attributes)?
        {
            text.push(b",\"attributes\":");
            text.element(&attributes, form)?;
        }
        text.push(b",\"vector\":[");
        let mut commas = Commas::default();
        let walked = components(&vectors.vector()?, head, |component| {
            commas.next(text);
            match component {
                Component::Float(value) => push_double(text.out, f64::from(value)),
                Component::Int(value) => text.integer(value),
            }
            text.room()
        });
        text.push(b"]");
        walked.or_else(|error| text.damage.note_error(error))?;
        let (norm, range) = vectors.scale()?;
        text.push(b",\"norm\":");
        push_double(text.out, f64::from(norm));
        if head.quantization == Quantization::Int8 {
            text.push(b",\"range\":");
            push_double(text.out, f64::from(range));
        }
        text.push(b"}");
        text.room()?;
    }
    Ok(())
}

fn module_items<F: Findings>(
    text: &mut Text<'_, '_>,
    module: &mut ModuleValue<'_, F>,
) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(found) = module.next_item()? {
        item(text, &mut commas, &found)?;
    }
    Ok(())
}

fn item(text: &mut Text<'_, '_>, commas: &mut Commas, item: &ModuleItem<'_>) -> Result<()> {
    match item {
        ModuleItem::Signed(value) => {
            commas.next(text);
            text.push(b"{\"signed\":");
            text.digits(*value);
        }
        ModuleItem::Unsigned(value) => {
            commas.next(text);
            text.push(b"{\"unsigned\":");
            text.digits(*value);
        }
        ModuleItem::Float(value) => {
            commas.next(text);
            text.push(b"{\"float\":");
            push_double(text.out, f64::from(*value));
        }
        ModuleItem::Double(value) => {
            commas.next(text);
            text.push(b"{\"double\":");
            push_double(text.out, *value);
        }
        ModuleItem::String(element) => {
            let Some(form) = text.form(element)? else {
                return Ok(());
            };
            commas.next(text);
            text.push(b"{\"string\":");
            text.element(element, form)?;
        }
    }
    text.push(b"}");
    text.room()
}

/// Writes the member `key_meta`. What is damaged ends it, and is noted.
pub(super) fn key_meta(
    text: &mut Text<'_, '_>,
    record: &[u8],
    offset: u64,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    text.push(b",\"key_meta\":[");
    let mut commas = Commas::default();
    let walked = key_meta_classes(record, offset, |class, opcodes| {
        commas.next(text);
        text.push(b"{\"class\":\"");
        text.push(class.name().as_bytes());
        text.push(b"\",\"version\":");
        text.integer(class.version());
        text.push(b",\"flags\":");
        text.integer(class.flags());
        text.push(b",\"items\":[");
        let written = opcode_items(text, opcodes, offset, scratch);
        text.push(b"]}");
        written
    });
    text.push(b"]");
    walked.or_else(|error| text.damage.note_error(error))
}

fn opcode_items(
    text: &mut Text<'_, '_>,
    opcodes: &[u8],
    offset: u64,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let mut cursor = Cursor::new(opcodes, offset);
    let mut commas = Commas::default();
    loop {
        let found = match length::read(&mut cursor)? {
            0 => return Ok(()),
            1 => ModuleItem::Signed(length::read(&mut cursor)?.cast_signed()),
            2 => ModuleItem::Unsigned(length::read(&mut cursor)?),
            3 => ModuleItem::Float(f32::from_le_bytes(cursor.array()?)),
            4 => ModuleItem::Double(double::read_binary(&mut cursor)?),
            _ => ModuleItem::String(Element::of(Str::read(&mut cursor)?, scratch)?),
        };
        item(text, &mut commas, &found)?;
    }
}

/// Writes the member `sub_expires`.
pub(super) fn sub_expires(
    text: &mut Text<'_, '_>,
    entry: &Entry<'_>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    text.push(b",\"sub_expires\":[");
    let written = sub_expiry_pairs(text, entry, scratch);
    text.push(b"]");
    // They stand behind the value, and say where they are damaged from their own beginning.
    written.or_else(|error| match error.kind() {
        ErrorKind::Corrupt => text.damage.note_error(Error::corrupt(
            Place::at(entry.end()),
            error.what().to_owned(),
        )),
        _ => Err(error),
    })
}

fn sub_expiry_pairs(
    text: &mut Text<'_, '_>,
    entry: &Entry<'_>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let mut records = entry.sub_expires;
    let mut commas = Commas::default();
    while let Some((name, at, rest)) = value::sub_expires(records)? {
        records = rest;
        let name = Element::of(name, scratch)?;
        let Some(form) = text.form(&name)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        text.element(&name, form)?;
        text.push(b",");
        text.integer(at);
        text.push(b"]");
    }
    Ok(())
}

/// The key's name, or `null`.
pub(super) fn key(text: &mut Text<'_, '_>, key: Str<'_>, scratch: &mut Vec<u8>) -> Result<()> {
    let element = match Element::of(key, scratch) {
        Ok(element) => element,
        Err(error) => return null(text, error),
    };
    match text.form(&element)? {
        Some(form) => text.element(&element, form),
        None => {
            text.push(b"null");
            Ok(())
        }
    }
}

#[cold]
fn null(text: &mut Text<'_, '_>, error: Error) -> Result<()> {
    text.push(b"null");
    text.damage.note_error(error.or_place(Place::at(0)))
}
