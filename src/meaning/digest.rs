//! Two order-free digests of what keys mean, one of values and one of expiries: two sites can hold two strings against each
//! other.
//!
//! # The canonical form
//! A digest is the sum, modulo 2^256 (little endian), of one SHA-256 for each key, so the order of keys means nothing. *n*
//! is a number as 8 bytes, little endian; *b* is a text as its length (*n*) and its bytes.
//!
//! * Value: `rdbridge value 1`, *n* database, *b* key, *b* type (as `TYPE` answers, or `module`), then
//!   * string: *b*;
//!   * list: *b* for each element; *n* how many;
//!   * set, hash, sorted set: the sum of a SHA-256 for each element (32 bytes); *n* how many. An element is *b* member; or *b* field,
//!     *b* value; or *b* member, the 8 bytes of the score (IEEE-754, little endian; −0 is 0);
//!   * stream: for each entry *n n* ID, *n* fields, *b b* for each; *n n* last ID; *n* groups, for each *b* name, *n n* last ID, *n*
//!     pending entries, for each consumer *b* name, *n* owned, for each *n n* ID, *n* deliveries; then its nacked ones likewise;
//!   * array: for each element *n* index, 0 *b* or 1 and the 8 bytes of a double;
//!   * module: *n* id, then each item: a byte for its kind and its bytes.
//! * Expiry: `rdbridge expiry 1`, *n* database, *b* key, *n* expiry (milliseconds of Unix time, all ones for none), the sum of a SHA-256
//!   for each field that expires: *b* field, *n* expiry.
//!
//! Bookkeeping is left out: entries ever added, times of consumers and deliveries, idle times. Database, key and expiries are those
//! that the destination should have. A sum shows accidents; it is no protection against somebody who chooses keys to make two
//! data sets look alike.

use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::walk::{Walk, positive_zero};
use super::{Expiry, Wanted};
use crate::error::Result;
use crate::transform::{Naming, Transform};
use crate::value::{
    ArrayValue, Decoder, Element, Lenient, ModuleItem, Pending, Stream, StreamId, Value,
};

/// A sum of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum([u64; 4]);

impl Sum {
    /// Adds another sum, or the hash of one key.
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = mine.overflowing_add(theirs);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = first || second;
        }
    }

    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// 64 hexadecimal digits, in the order of the bytes.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Digests of many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// Of values.
    pub values: Sum,
    /// Of expiries.
    pub expiries: Sum,
    /// How many keys they are of.
    pub keys: u64,
}

impl Digests {
    /// Adds those of other keys.
    pub fn add(&mut self, other: &Self) {
        self.values.add(&other.values);
        self.expiries.add(&other.expiries);
        self.keys = self.keys.saturating_add(other.keys);
    }
}

/// Makes digests of keys.
#[derive(Debug)]
pub struct Digester {
    decoder: Decoder<Lenient>,
    names: Naming,
    name: Vec<u8>,
}

impl Digester {
    /// What is too large to be held goes to a spool in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: &Path) -> Self {
        Self {
            decoder: Decoder::with_findings(Some(spool_dir), Lenient),
            names: Naming::default(),
            name: Vec::new(),
        }
    }

    /// For keys that arrived under other names, or with other expiries inside their values.
    #[must_use]
    pub fn arriving(mut self, transform: &Transform) -> Self {
        self.names = transform.names.clone();
        self.decoder.set_expiries(transform.expiries);
        self
    }

    /// The digests of one key, as the destination should have it.
    ///
    /// # Errors
    /// `Corrupt` where key or value cannot be read; `Limit` and `Io` of the spool.
    pub fn of(&mut self, wanted: &Wanted<'_>) -> Result<Digests> {
        let entry = &wanted.entry;
        let names = &self.names;
        let mut name = std::mem::take(&mut self.name);
        let mut begin = |title: &str| -> Result<Hash> {
            let mut hash = Hash::new(title);
            hash.number(wanted.db);
            if !names.is_identity() {
                hash.text(names.of(entry.db, &entry.key, &mut name)?);
                return Ok(hash);
            }
            hash.number(entry.key.len());
            let mut pieces = entry.key.pieces();
            while let Some(piece) = pieces.next_piece()? {
                hash.raw(piece);
            }
            Ok(hash)
        };
        let (mut value, mut expiry) = (begin("rdbridge value 1")?, begin("rdbridge expiry 1")?);
        self.name = name;
        let kind = entry.type_info().map_or("unknown", |info| info.kind.name());
        value.text(kind.as_bytes());
        expiry.number(match wanted.expiry {
            Expiry::Never => u64::MAX,
            Expiry::At(at) | Expiry::Until(at) => at.cast_unsigned(),
        });
        let mut fields = Sum::default();
        match self.decoder.decode(entry)? {
            Value::String(text) | Value::Json(text) => value.element(&text)?,
            Value::Stream(stream) => hash_stream(&mut value, stream)?,
            Value::Array(mut array) => {
                while let Some(item) = array.next_item()? {
                    value.number(item.index);
                    match item.value {
                        ArrayValue::Element(element) => {
                            value.raw(&[0]);
                            value.element(&element)?;
                        }
                        ArrayValue::Double(double) => {
                            value.raw(&[1]);
                            value.raw(&double.to_le_bytes());
                        }
                    }
                }
            }
            Value::Module(mut module) => {
                value.number(module.id().0);
                while let Some(item) = module.next_item()? {
                    match item {
                        ModuleItem::Signed(number) => value.tagged(1, &number.to_le_bytes()),
                        ModuleItem::Unsigned(number) => value.tagged(2, &number.to_le_bytes()),
                        ModuleItem::Float(number) => value.tagged(3, &number.to_le_bytes()),
                        ModuleItem::Double(number) => value.tagged(4, &number.to_le_bytes()),
                        ModuleItem::String(text) => {
                            value.raw(&[5]);
                            value.element(&text)?;
                        }
                    }
                }
            }
            other => {
                if let Some(walk) = Walk::of(other) {
                    hash_collection(&mut value, &mut fields, walk)?;
                }
            }
        }
        expiry.raw(&fields.bytes());
        Ok(Digests {
            values: value.finish(),
            expiries: expiry.finish(),
            keys: 1,
        })
    }
}

fn hash_collection(value: &mut Hash, fields: &mut Sum, mut walk: Walk<'_>) -> Result<()> {
    let is_list = matches!(walk, Walk::List(_));
    let is_zset = matches!(walk, Walk::Zset(_));
    let (mut sum, mut count) = (Sum::default(), 0u64);
    while let Some(item) = walk.next()? {
        count = count.saturating_add(1);
        if is_list {
            value.element(&item.name)?;
            continue;
        }
        let mut element = Hash(Sha256::new());
        element.element(&item.name)?;
        if let Some(text) = &item.value {
            element.element(text)?;
        }
        if is_zset {
            element.raw(&positive_zero(item.score).to_le_bytes());
        }
        sum.add(&element.finish());
        if let Some(at) = item.expire_at_ms {
            let mut field = Hash(Sha256::new());
            field.element(&item.name)?;
            field.number(at.cast_unsigned());
            fields.add(&field.finish());
        }
    }
    if !is_list {
        value.raw(&sum.bytes());
    }
    value.number(count);
    Ok(())
}

fn hash_stream(value: &mut Hash, mut stream: Stream<'_, Lenient>) -> Result<()> {
    while let Some(entry) = stream.next_entry()? {
        value.id(entry.id);
        value.number(entry.fields);
        while let Some((name, text)) = stream.next_field()? {
            value.element(&name)?;
            value.element(&text)?;
        }
    }
    let meta = stream.metadata()?;
    value.id(meta.last_id);
    value.number(meta.groups);
    while let Some(group) = stream.next_group()? {
        value.element(&group.name)?;
        value.id(group.last_id);
        value.number(group.pending);
        let owed = |value: &mut Hash, pending: Pending| {
            value.id(pending.id);
            value.number(pending.delivery_count);
        };
        while let Some(consumer) = stream.next_consumer()? {
            value.element(&consumer.name)?;
            value.number(consumer.pending);
            while let Some(pending) = stream.next_owned()? {
                owed(value, pending);
            }
        }
        while let Some(pending) = stream.next_nacked()? {
            owed(value, pending);
        }
    }
    Ok(())
}

/// The hash of one key or element.
struct Hash(Sha256);

impl Hash {
    fn new(title: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.raw(title.as_bytes());
        hash
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.raw(&[tag]);
        self.raw(bytes);
    }

    fn element(&mut self, element: &Element<'_>) -> Result<()> {
        self.number(element.len());
        element.write_to(|piece| {
            self.raw(piece);
            Ok(())
        })
    }

    fn id(&mut self, id: StreamId) {
        self.number(id.ms);
        self.number(id.seq);
    }

    fn finish(self) -> Sum {
        let bytes: [u8; 32] = self.0.finalize().into();
        let mut words = [0; 4];
        for (word, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*from);
        }
        Sum(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    fn digests(file: &[u8], db: u64) -> Digests {
        let mut sum = Digests::default();
        let mut digester = Digester::new(&std::env::temp_dir());
        let file = [file, b"\xff\0\0\0\0\0\0\0\0"].concat();
        for entry in Snapshot::parse(&file).unwrap().entries() {
            let entry = entry.unwrap();
            let wanted = Wanted {
                entry,
                db,
                expiry: entry.expire_at_ms.map_or(Expiry::Never, Expiry::At),
            };
            sum.add(&digester.of(&wanted).unwrap());
        }
        sum
    }

    /// Made by hand from the form above: whoever implements it must come to the same.
    #[test]
    fn the_form_is_as_written() {
        let n = |number: u64| number.to_le_bytes().to_vec();
        let b = |text: &[u8]| [n(text.len() as u64), text.to_vec()].concat();
        let hash = |parts: &[Vec<u8>]| {
            let bytes: [u8; 32] = Sha256::digest(parts.concat()).into();
            bytes
        };
        let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let file = b"REDIS0009\x00\x01k\x01v";
        let found = digests(file, 3);
        let value = hash(&[
            b"rdbridge value 1".to_vec(),
            n(3),
            b(b"k"),
            b(b"string"),
            b(b"v"),
        ]);
        assert_eq!(found.values.to_string(), hex(value));
        let expiry = hash(&[
            b"rdbridge expiry 1".to_vec(),
            n(3),
            b(b"k"),
            n(u64::MAX),
            vec![0; 32],
        ]);
        assert_eq!(found.expiries.to_string(), hex(expiry));
        let list = digests(b"REDIS0009\x01\x01k\x02\x01a\x01b", 0);
        let value = hash(&[
            b"rdbridge value 1".to_vec(),
            n(0),
            b(b"k"),
            b(b"list"),
            b(b"a"),
            b(b"b"),
            n(2),
        ]);
        assert_eq!(list.values.to_string(), hex(value));
    }

    #[test]
    fn order_and_encoding_mean_nothing_and_all_else_does() {
        // Plain sets of the members 1 and 2 in both orders, and an intset of them.
        let plain = digests(b"REDIS0009\x02\x01k\x02\xc0\x01\xc0\x02\x00\x01l\x01v", 0);
        let turned = digests(b"REDIS0009\x00\x01l\x01v\x02\x01k\x02\x012\x011", 0);
        let packed = digests(
            b"REDIS0009\x00\x01l\x01v\x0b\x01k\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0",
            0,
        );
        assert_eq!(plain, turned);
        assert_eq!(plain, packed);
        assert_eq!(plain.keys, 2);
        let other = digests(b"REDIS0009\x02\x01k\x02\xc0\x01\xc0\x03\x00\x01l\x01v", 0);
        assert_ne!(plain.values, other.values);
        assert_eq!(plain.expiries, other.expiries);
        let fading = digests(
            b"REDIS0009\x02\x01k\x02\xc0\x01\xc0\x02\xfc\x01\0\0\0\0\0\0\0\x00\x01l\x01v",
            0,
        );
        assert_eq!(plain.values, fading.values);
        assert_ne!(plain.expiries, fading.expiries);
        assert_ne!(
            plain.values,
            digests(b"REDIS0009\x02\x01k\x02\xc0\x01\xc0\x02\x00\x01l\x01v", 1).values
        );
    }

    #[test]
    fn sums_carry() {
        let mut sum = Sum([u64::MAX, u64::MAX, 0, 7]);
        sum.add(&Sum([1, 0, 0, u64::MAX]));
        assert_eq!(sum, Sum([0, 0, 1, 6]));
        assert!(
            sum.to_string()
                .starts_with("00000000000000000000000000000000")
        );
    }
}
