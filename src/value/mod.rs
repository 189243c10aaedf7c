//! Values, decoded lazily over borrowed bytes: every proven type, walked forward once, in flat memory.
//!
//! A [`Decoder`] holds the buffers and decodes one value at a time. What it yields is borrowed from the input where it stands
//! there as it is, else from the decoder; nothing is collected. An [`Element`] is an integer, bytes, or a compressed string
//! too long to be held, which is walked in pieces.
//!
//! There is one walker for all purposes. It tells broken rules to its [`Findings`]: with [`Strict`] (the default) the first
//! fault is an error, [`Lenient`] reads on, a `Vec<Finding>` collects. [`Decoder::validate`] walks a value whole and looks
//! also at what needs all of it: duplicates, owners of pending entries, emptiness.
//!
//! # Offsets
//! Every error and finding has a place: the offset in the input, and inside a packed blob the byte of the blob (behind its
//! decompression). The key is added by the caller: `error.or_entry(|| entry.context())`.
//!
//! # Refuses
//! What modules store is opaque: exact opcodes, no meaning (but vector sets, [`ModuleValue::vector_set`]). Types whose layout is not proven do not come here.
//!
//! ```
//! use rdbridge::snapshot::Snapshot;
//! use rdbridge::value::{Decoder, IntText, Value};
//!
//! // One set with the members "a" and 7, as a listpack.
//! let file = b"REDIS0011\xfe\x00\x14\x01s\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff\xff\0\0\0\0\0\0\0\0";
//! let mut decoder = Decoder::new(None);
//! let mut members = Vec::new();
//! for entry in Snapshot::parse(file)?.entries() {
//!     let entry = entry?;
//!     let Value::Set(mut set) = decoder.decode(&entry)? else { continue };
//!     while let Some(found) = set.next_member().map_err(|e| e.or_entry(|| entry.context()))? {
//!         members.push(found.member.short(&mut IntText::new()).unwrap().to_vec());
//!     }
//! }
//! assert_eq!(members, [&b"a"[..], b"7"]);
//! # Ok::<(), rdbridge::Error>(())
//! ```
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation
    )
)]

mod array;
mod bulk;
pub mod commands;
mod count;
mod decoder;
mod differing;
mod element;
mod findings;
mod glance;
mod hash;
pub mod intset;
mod list;
pub mod listpack;
#[cfg(test)]
mod model;
mod module;
mod packed;
mod partition;
mod positions;
mod set;
mod stream;
mod stream_groups;
mod stream_idmp;
mod subexpire;
mod template;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
mod unique;
mod validate;
mod validate_stream;
mod vector_set;
pub mod ziplist;
pub mod zipmap;
mod zset;

use array::ArrayRaw;
pub use array::{Array, ArrayItem, ArrayValue};
pub use bulk::{Bulk, bulk};
pub use decoder::{Decoder, Value};
pub use element::{Element, IntText, Pieces, canonical_int};
pub use findings::{Exact, Finding, Findings, Lenient, Rule, Severity, Strict, unreadable};
pub use glance::is_plain_string;
pub use hash::{FIELD_EXPIRY_MAX, Field, Hash};
pub use list::List;
pub use module::{MetaClass, ModuleItem, ModuleValue, key_meta_classes};
pub use packed::{Broken, Item};
pub use set::{Member, Set};
pub use stream::{Stream, StreamEntry, StreamId, StreamMeta};
pub use stream_groups::{Consumer, Group, Pending};
pub use stream_idmp::{Idempotency, IdempotencyTotals, Iid, Producer};
pub use subexpire::sub_expires;
pub use validate::Summary;
pub use vector_set::{Component, Quantization, VectorHead, VectorSet, components};
pub use zset::{Scored, Zset};
