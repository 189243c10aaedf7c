//! Vector sets.

use std::cell::RefCell;

use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::text::Number;
use super::walk::Context;
use crate::error::{Error, ErrorKind};
use crate::json::damage::Damage;
use crate::value::{Component, Element, Quantization, VectorHead, VectorSet, components};

/// The members of a vector set behind the module's name and version.
pub(super) fn put<M: SerializeMap>(
    map: &mut M,
    vectors: &mut VectorSet<'_, '_, Damage>,
    context: &Context,
) -> std::result::Result<(), M::Error> {
    let head = vectors.head();
    map.serialize_entry("quantization", head.quantization.name())?;
    map.serialize_entry("dim", &head.dim)?;
    map.serialize_entry("links", &head.links)?;
    if let Some(dim) = head.projected_from {
        let matrix = vectors.matrix().map_err(M::Error::custom)?;
        map.serialize_entry(
            "projection",
            &Projection {
                dim,
                matrix,
                context,
            },
        )?;
    }
    map.serialize_entry("elements", &Elements(RefCell::new(vectors), context))
}

struct Projection<'a> {
    dim: u32,
    matrix: Element<'a>,
    context: &'a Context,
}

impl Serialize for Projection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("dim", &self.dim)?;
        if let Some(matrix) = self.context.text(self.matrix)? {
            map.serialize_entry("matrix", &matrix)?;
        }
        map.end()
    }
}

struct Elements<'c, 'v, 'm, 'd>(RefCell<&'v mut VectorSet<'m, 'd, Damage>>, &'c Context);

impl Serialize for Elements<'_, '_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut vectors = self.0.borrow_mut();
        let mut seq = serializer.serialize_seq(None)?;
        let count = vectors.head().count;
        for _ in 0..count {
            if self.1.broken.get() {
                break;
            }
            seq.serialize_element(&One(RefCell::new(&mut vectors), self.1))?;
        }
        // What stands behind the value is looked at.
        self.1
            .step(vectors.next_name().map(|name| name.map(drop)))?;
        seq.end()
    }
}

/// The next element.
struct One<'c, 'v, 'm, 'd>(RefCell<&'v mut VectorSet<'m, 'd, Damage>>, &'c Context);

impl Serialize for One<'_, '_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (mut vectors, context) = (self.0.borrow_mut(), self.1);
        let head = vectors.head();
        let mut map = serializer.serialize_map(None)?;
        let Some(name) = context.step(vectors.next_name())? else {
            return map.end();
        };
        map.serialize_entry("name", &context.text(name)?)?;
        let attributes = vectors.attributes().map_err(S::Error::custom)?;
        if let Some(attributes) = attributes
            && let Some(attributes) = context.text(attributes)?
        {
            map.serialize_entry("attributes", &attributes)?;
        }
        let vector = Vector {
            element: vectors.vector().map_err(S::Error::custom)?,
            head,
            context,
        };
        map.serialize_entry("vector", &vector)?;
        let (norm, range) = vectors.scale().map_err(S::Error::custom)?;
        map.serialize_entry("norm", &Number(norm.into()))?;
        if head.quantization == Quantization::Int8 {
            map.serialize_entry("range", &Number(range.into()))?;
        }
        map.end()
    }
}

struct Vector<'a> {
    element: Element<'a>,
    head: VectorHead,
    context: &'a Context,
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut refused = Ok(());
        let walked = components(&self.element, self.head, |component| {
            refused = match component {
                Component::Float(value) => seq.serialize_element(&Number(value.into())),
                Component::Int(value) => seq.serialize_element(&value),
            };
            match refused {
                Ok(()) => Ok(()),
                Err(_) => Err(Error::new(ErrorKind::Io, "the serializer ended it")),
            }
        });
        refused?;
        if let Err(error) = walked {
            self.context.note(error)?;
        }
        seq.end()
    }
}
