//! Lists, sets, sorted sets, hashes and arrays: JSON arrays, in the order of the file.
//!
//! Every writer closes what it has opened, whatever the walk ends with: damage never makes broken JSON.

use super::number::push_double;
use super::text::{Commas, Form, Text};
use crate::error::Result;
use crate::value::{Array, ArrayValue, Element, Findings, Hash, List, Set, Zset};
use crate::wire::double;

pub(super) fn list<F: Findings>(text: &mut Text<'_, '_>, list: &mut List<'_, F>) -> Result<()> {
    text.push(b"[");
    let walked = elements(text, list);
    text.push(b"]");
    walked
}

fn elements<F: Findings>(text: &mut Text<'_, '_>, list: &mut List<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(element) = list.next_element()? {
        let Some(form) = text.form(&element)? else {
            continue;
        };
        commas.next(text);
        text.element(&element, form)?;
    }
    Ok(())
}

pub(super) fn set<F: Findings>(text: &mut Text<'_, '_>, set: &mut Set<'_, F>) -> Result<()> {
    text.push(b"[");
    let walked = members(text, set);
    text.push(b"]");
    walked
}

fn members<F: Findings>(text: &mut Text<'_, '_>, set: &mut Set<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(found) = set.next_member()? {
        let Some(form) = text.form(&found.member)? else {
            continue;
        };
        commas.next(text);
        match found.expire_at_ms {
            None => text.element(&found.member, form)?,
            Some(at) => {
                text.push(b"[");
                text.element(&found.member, form)?;
                text.push(b",");
                text.integer(at);
                text.push(b"]");
            }
        }
    }
    Ok(())
}

pub(super) fn zset<F: Findings>(text: &mut Text<'_, '_>, zset: &mut Zset<'_, F>) -> Result<()> {
    text.push(b"[");
    let walked = scored(text, zset);
    text.push(b"]");
    walked
}

fn scored<F: Findings>(text: &mut Text<'_, '_>, zset: &mut Zset<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(found) = zset.next_scored()? {
        let Some(form) = text.form(&found.member)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        text.element(&found.member, form)?;
        text.push(b",");
        push_double(text.out, found.score);
        text.push(b"]");
    }
    Ok(())
}

pub(super) fn hash<F: Findings>(text: &mut Text<'_, '_>, hash: &mut Hash<'_, F>) -> Result<()> {
    text.push(b"[");
    let walked = fields(text, hash);
    text.push(b"]");
    walked
}

fn fields<F: Findings>(text: &mut Text<'_, '_>, hash: &mut Hash<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(found) = hash.next_field()? {
        let path = match &found.path {
            None => None,
            Some(path) => match text.form(path)? {
                Some(form) => Some((path, form)),
                None => continue,
            },
        };
        let Some(forms) = forms(text, &found.field, &found.value)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        if let Some((path, form)) = path {
            text.element(path, form)?;
            text.push(b",");
        }
        pair(text, (&found.field, &found.value), forms)?;
        if let Some(at) = found.expire_at_ms {
            text.push(b",");
            text.integer(at);
        }
        text.push(b"]");
    }
    Ok(())
}

/// The forms of two elements that are written together or not at all.
#[inline]
pub(super) fn forms(
    text: &mut Text<'_, '_>,
    first: &Element<'_>,
    second: &Element<'_>,
) -> Result<Option<(Form, Form)>> {
    let (first, second) = (text.form(first)?, text.form(second)?);
    Ok(first.zip(second))
}

/// Two elements with a comma between them.
#[inline]
pub(super) fn pair(
    text: &mut Text<'_, '_>,
    (first, second): (&Element<'_>, &Element<'_>),
    forms: (Form, Form),
) -> Result<()> {
    text.element(first, forms.0)?;
    text.push(b",");
    text.element(second, forms.1)
}

pub(super) fn array<F: Findings>(text: &mut Text<'_, '_>, array: &mut Array<'_, F>) -> Result<()> {
    text.push(b"{");
    if let Some(index) = array.insert_index() {
        text.push(b"\"insert_index\":");
        text.digits(index);
        text.push(b",");
    }
    text.push(b"\"items\":[");
    let walked = items(text, array);
    text.push(b"]}");
    walked
}

fn items<F: Findings>(text: &mut Text<'_, '_>, array: &mut Array<'_, F>) -> Result<()> {
    let mut commas = Commas::default();
    while let Some(item) = array.next_item()? {
        let mut number = Vec::new();
        let element = match item.value {
            ArrayValue::Element(element) => element,
            // To its server it is the string that it was made from.
            ArrayValue::Double(value) => {
                double::push_server_text(&mut number, value);
                Element::Bytes(&number)
            }
        };
        let Some(form) = text.form(&element)? else {
            continue;
        };
        commas.next(text);
        text.push(b"[");
        text.digits(item.index);
        text.push(b",");
        text.element(&element, form)?;
        text.push(b"]");
    }
    Ok(())
}
