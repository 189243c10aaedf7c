//! Vector sets, the module of core Redis 8: what stands in a module's opcodes, read as elements.
//!
//! # Bytes
//! `VectorSetRdbSave` (`vset.c`) writes integers and strings: the dimensions, the number of elements, the quantization in 8 bits
//! below the links wanted of a node in 16, and flags (1: a projection, 2: attributes). Of a projection the dimensions of what is
//! put in, and a matrix of floats. Then the elements: name, attributes where the flag is set, vector, and a count of integers:
//! number, levels, neighbours, and in the last one the norm and the range of the vector, a float in each half.
//!
//! Links are what the server finds for itself: they are not handed out.
//!
//! # Refuses
//! Whatever does not read so to its end, or calls itself another version, is no vector set here: it stays opcodes.

use super::element::Element;
use super::findings::{Findings, Strict};
use super::module::{ModuleItem, ModuleValue};
use crate::error::{Error, ErrorKind, Result};

/// How the numbers of vectors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// Floats of 32 bits.
    Float,
    /// Integers of 8 bits, of which 127 is the range.
    Int8,
    /// One bit each, for 1 and −1.
    Binary,
}

impl Quantization {
    /// The server's name for it (`VINFO`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quantization::Float => "f32",
            Quantization::Int8 => "int8",
            Quantization::Binary => "bin",
        }
    }

    /// Bytes of a vector.
    fn bytes(self, dim: u32) -> u64 {
        let dim = u64::from(dim);
        match self {
            Quantization::Float => dim.saturating_mul(4),
            Quantization::Int8 => dim,
            Quantization::Binary => dim.div_ceil(64).saturating_mul(8),
        }
    }
}

/// What stands in front of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorHead {
    /// Numbers in a vector.
    pub dim: u32,
    /// Elements.
    pub count: u64,
    /// How the numbers are kept.
    pub quantization: Quantization,
    /// Links that the server wants of each node (`M`).
    pub links: u16,
    /// Numbers in a vector before it is projected.
    pub projected_from: Option<u32>,
    has_attributes: bool,
}

/// One number of a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Component {
    /// A float, bit for bit.
    Float(f32),
    /// An integer.
    Int(i8),
}

/// A vector set that is being walked: of each element in this order [`VectorSet::next_name`], [`VectorSet::attributes`],
/// [`VectorSet::vector`], [`VectorSet::scale`]. The matrix of a projection comes before the first.
#[derive(Debug)]
pub struct VectorSet<'m, 'd, F: Findings = Strict> {
    module: &'m mut ModuleValue<'d, F>,
    head: VectorHead,
    left: u64,
}

impl<'d, F: Findings> ModuleValue<'d, F> {
    /// The same as a vector set, if that is what it is, to its end: it is read through once for this. Call it before anything
    /// was taken.
    pub fn vector_set(&mut self) -> Option<VectorSet<'_, 'd, F>> {
        if self.id().name() != "vectorset" || self.id().version() != 0 {
            return None;
        }
        let start = self.start();
        // What is damaged is told by the walk that follows.
        let was_muted = std::mem::replace(&mut self.decoder().findings.muted, true);
        let fits = self.fits();
        self.rewind(start);
        let head = match fits {
            Some(true) => self.head(),
            _ => None,
        };
        self.decoder().findings.muted = was_muted;
        let Some(head) = head else {
            self.rewind(start);
            return None;
        };
        Some(VectorSet {
            module: self,
            head,
            left: head.count,
        })
    }

    fn number(&mut self) -> Option<u64> {
        match self.next_item() {
            Ok(Some(ModuleItem::Unsigned(value))) => Some(value),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Element<'_>> {
        match self.next_item() {
            Ok(Some(ModuleItem::String(element))) => Some(element),
            _ => None,
        }
    }

    fn head(&mut self) -> Option<VectorHead> {
        let dim = u32::try_from(self.number()?).ok()?;
        let count = self.number()?;
        let [quantization, low, high, 0] = u32::try_from(self.number()?).ok()?.to_le_bytes() else {
            return None;
        };
        let quantization = match quantization {
            0 => Quantization::Float,
            1 => Quantization::Int8,
            2 => Quantization::Binary,
            _ => return None,
        };
        let flags = self.number().filter(|flags| *flags <= 3)?;
        let projected_from = match flags & 1 {
            1 => Some(u32::try_from(self.number()?).ok()?),
            _ => None,
        };
        Some(VectorHead {
            dim,
            count,
            quantization,
            links: u16::from_le_bytes([low, high]),
            projected_from,
            has_attributes: flags & 2 != 0,
        })
    }

    /// Whether the whole value reads as a vector set.
    fn fits(&mut self) -> Option<bool> {
        let head = self.head()?;
        if let Some(from) = head.projected_from {
            let wanted = u64::from(from).saturating_mul(u64::from(head.dim));
            if self.string()?.len() != wanted.saturating_mul(4) {
                return None;
            }
        }
        let bytes = head.quantization.bytes(head.dim);
        // Every element has bytes of its own: a count that lies ends with the value.
        for _ in 0..head.count {
            self.string()?;
            if head.has_attributes {
                self.string()?;
            }
            if self.string()?.len() != bytes {
                return None;
            }
            // A number and the levels stand in front of the scale.
            let params = self.number().filter(|params| *params >= 3)?;
            for _ in 0..params {
                self.number()?;
            }
        }
        Some(matches!(self.next_item(), Ok(None)))
    }
}

impl<F: Findings> VectorSet<'_, '_, F> {
    /// What stands in front of the elements.
    #[must_use]
    pub fn head(&self) -> VectorHead {
        self.head
    }

    /// The matrix of a projection: floats of 32 bits, little endian, a row for each number of a vector. Only where
    /// [`VectorHead::projected_from`] is there, and before the first element.
    ///
    /// # Errors
    /// `Limit`: the calls are in another order.
    pub fn matrix(&mut self) -> Result<Element<'_>> {
        self.module.string().ok_or_else(out_of_order)
    }

    /// The name of the next element; `None` behind the last.
    ///
    /// # Errors
    /// `Limit`: the calls are in another order. What is left behind the value, as the findings answer.
    pub fn next_name(&mut self) -> Result<Option<Element<'_>>> {
        let Some(left) = self.left.checked_sub(1) else {
            self.module.next_item()?;
            return Ok(None);
        };
        self.left = left;
        self.module.string().map(Some).ok_or_else(out_of_order)
    }

    /// The attributes of the element; `None` where it has none.
    ///
    /// # Errors
    /// As [`VectorSet::matrix`].
    pub fn attributes(&mut self) -> Result<Option<Element<'_>>> {
        if !self.head.has_attributes {
            return Ok(None);
        }
        let found = self.module.string().ok_or_else(out_of_order)?;
        Ok(Some(found).filter(|attributes| !attributes.is_empty()))
    }

    /// Its vector, of length 1 where it is not quantized: [`components`] reads it.
    ///
    /// # Errors
    /// As [`VectorSet::matrix`].
    pub fn vector(&mut self) -> Result<Element<'_>> {
        self.module.string().ok_or_else(out_of_order)
    }

    /// Its norm: the length that the vector had, and the range of its integers.
    ///
    /// # Errors
    /// As [`VectorSet::matrix`].
    pub fn scale(&mut self) -> Result<(f32, f32)> {
        let count = self.module.number().ok_or_else(out_of_order)?;
        let mut last = 0;
        for _ in 0..count {
            last = self.module.number().ok_or_else(out_of_order)?;
        }
        let [a, b, c, d, e, f, g, h] = last.to_le_bytes();
        Ok((
            f32::from_le_bytes([a, b, c, d]),
            f32::from_le_bytes([e, f, g, h]),
        ))
    }
}

#[cold]
fn out_of_order() -> Error {
    Error::new(
        ErrorKind::Limit,
        "the parts of a vector set were asked for out of their order",
    )
}

/// Calls `each` with the numbers of a vector, in their order.
///
/// # Errors
/// `Corrupt` where the bytes cannot be decompressed, and what `each` answers.
pub fn components(
    vector: &Element<'_>,
    head: VectorHead,
    mut each: impl FnMut(Component) -> Result<()>,
) -> Result<()> {
    let mut left = head.dim;
    let (mut float, mut filled) = ([0u8; 4], 0usize);
    vector.write_to(|piece| {
        for byte in piece {
            match head.quantization {
                Quantization::Int8 => each(Component::Int(byte.cast_signed()))?,
                Quantization::Float => {
                    if let Some(place) = float.get_mut(filled) {
                        *place = *byte;
                    }
                    filled = filled.wrapping_add(1);
                    if filled == float.len() {
                        each(Component::Float(f32::from_le_bytes(float)))?;
                        filled = 0;
                    }
                }
                // Words of 64 bits, the lowest first: that is the order of their bytes, too.
                Quantization::Binary => {
                    for bit in 0..left.min(8) {
                        each(Component::Int(if byte >> bit & 1 == 1 { 1 } else { -1 }))?;
                    }
                    left = left.saturating_sub(8);
                }
            }
        }
        Ok(())
    })
}
