//! DUMP payloads: what `RESTORE` wants, from the bytes of the file.
//!
//! # Bytes
//! ```text
//! [KEY_META record]  type(1)  body  version(2, little endian)  crc64(8, little endian)
//! ```
//! This is `createDumpPayload` of `cluster.c`. The CRC-64/REDIS covers everything before it. The body is the value exactly as it
//! stands in the file, with one exception: hashes of types 30 and 32 refer to a template of the file, which no server takes in
//! a payload; their field names are put in front, and they become types 29 and 31. The values' bytes stay the same even then.
//!
//! Nothing is copied: a payload is a handful of slices.

use crate::snapshot::{Dialect, Entry, ValueType};
use crate::wire::{Cursor, crc64, length};

/// Bytes of version and CRC.
pub const FOOTER: usize = 10;

/// A DUMP payload in pieces that borrow from the file.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'data> {
    key_meta: &'data [u8],
    head: Head,
    names: &'data [u8],
    body: &'data [u8],
    footer: [u8; FOOTER],
}

/// The type byte, and what stands right behind it: for templates the form and number of the field names (1 + 9 bytes), in a
/// re-encoded value a time and a count (8 + 9).
#[derive(Debug, Clone, Copy)]
struct Head {
    bytes: [u8; 18],
    len: u8,
}

impl Head {
    #[inline]
    fn of_type(value_type: u8) -> Self {
        let mut bytes = [0; 18];
        let [first, ..] = &mut bytes;
        *first = value_type;
        Self { bytes, len: 1 }
    }

    fn new<'p>(parts: impl IntoIterator<Item = &'p u8>) -> Self {
        let mut bytes = [0; 18];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
            len += 1;
        }
        Self { bytes, len }
    }
}

/// The payload of a key cannot be made from its bytes alone: why, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPayload(pub &'static str);

/// The type byte that the payload of `value_type` carries: the same, but for template references.
#[must_use]
pub fn payload_type(value_type: ValueType, dialect: Dialect) -> ValueType {
    match (value_type, dialect) {
        (ValueType::HASH_TMPL_LP_REF, Dialect::Redis) => ValueType::HASH_TMPL_LP,
        (ValueType::HASH_TMPL_ARRAY_REF, Dialect::Redis) => ValueType::HASH_TMPL_ARRAY,
        _ => value_type,
    }
}

impl<'data> Payload<'data> {
    /// The payload of `entry` with `version` in its footer, and with its key metadata in front where `with_key_meta` is set.
    /// All bytes of the value are read once, for the CRC.
    ///
    /// # Errors
    /// A template reference that names no template of the file.
    #[inline]
    pub fn new(entry: &Entry<'data>, version: u16, with_key_meta: bool) -> Result<Self, NoPayload> {
        let mut payload = Self::open(entry, with_key_meta)?;
        payload.seal(version);
        Ok(payload)
    }

    /// The payload of `entry` with its key metadata and no footer, for comparing: nothing is read.
    ///
    /// # Errors
    /// As [`Payload::new`].
    pub fn unsealed(entry: &Entry<'data>) -> Result<Self, NoPayload> {
        Self::open(entry, true)
    }

    /// Whether `bytes` are this payload without its footer.
    #[must_use]
    pub fn content_is(&self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        self.content().iter().all(|piece| {
            rest.strip_prefix(*piece)
                .map(|behind| rest = behind)
                .is_some()
        }) && rest.is_empty()
    }

    #[inline]
    fn open(entry: &Entry<'data>, with_key_meta: bool) -> Result<Self, NoPayload> {
        let key_meta = entry.key_meta.filter(|_| with_key_meta).unwrap_or_default();
        let sent_type = payload_type(entry.value_type, entry.dialect);
        let mut payload = Self {
            key_meta,
            head: Head::of_type(sent_type.0),
            names: &[],
            body: entry.value,
            footer: [0; FOOTER],
        };
        if sent_type != entry.value_type {
            payload.put_names_in_front(entry, sent_type)?;
        }
        Ok(payload)
    }

    /// The field names of the template that `entry` refers to, which no payload may do.
    #[cold]
    fn put_names_in_front(
        &mut self,
        entry: &Entry<'data>,
        sent_type: ValueType,
    ) -> Result<(), NoPayload> {
        let Some(template) = entry.template else {
            return Err(NoPayload(
                "it refers to a hash template that the file does not define",
            ));
        };
        let mut head = vec![sent_type.0, 1];
        length::write(&mut head, template.fields);
        self.head = Head::new(&head);
        self.names = template.names;
        if sent_type == ValueType::HASH_TMPL_ARRAY {
            // The reference itself goes, the values behind it stay.
            let mut cursor = Cursor::new(entry.value, entry.value_offset);
            if length::read(&mut cursor).is_err() {
                return Err(NoPayload("its template reference cannot be read"));
            }
            self.body = cursor.rest();
        }
        Ok(())
    }

    /// The payload of a value that was written anew: its type, and its body in three pieces, `head` of at most 17 bytes.
    #[must_use]
    pub fn of_pieces(
        value_type: ValueType,
        head: &[u8],
        [kept, body]: [&'data [u8]; 2],
        version: u16,
        key_meta: Option<&'data [u8]>,
    ) -> Self {
        let mut payload = Self {
            key_meta: key_meta.unwrap_or_default(),
            head: Head::new(std::iter::once(&value_type.0).chain(head)),
            names: kept,
            body,
            footer: [0; FOOTER],
        };
        payload.seal(version);
        payload
    }

    /// Computes the footer.
    fn seal(&mut self, version: u16) {
        let crc = match self.usual() {
            // Nearly always.
            Some((value_type, body)) => crc64::update(crc64::update_byte(0, value_type), body),
            None => self
                .content()
                .iter()
                .fold(0, |crc, piece| crc64::update(crc, piece)),
        };
        let crc = version
            .to_le_bytes()
            .into_iter()
            .fold(crc, crc64::update_byte);
        self.footer = Self::footer(version, crc);
    }

    fn footer(version: u16, crc: u64) -> [u8; FOOTER] {
        let mut footer = [0; FOOTER];
        let (low, high) = footer.split_at_mut(2);
        low.copy_from_slice(&version.to_le_bytes());
        high.copy_from_slice(&crc.to_le_bytes());
        footer
    }

    fn content(&self) -> [&[u8]; 4] {
        let head = self
            .head
            .bytes
            .get(..usize::from(self.head.len))
            .unwrap_or_default();
        [self.key_meta, head, self.names, self.body]
    }

    /// Type byte and body, of a payload that has nothing else: nearly all are.
    #[inline]
    fn usual(&self) -> Option<(u8, &'data [u8])> {
        let [value_type, ..] = self.head.bytes;
        let has_no_more = self.head.len == 1 && self.key_meta.is_empty() && self.names.is_empty();
        has_no_more.then_some((value_type, self.body))
    }

    /// The pieces in order; some may be empty.
    #[must_use]
    pub fn pieces(&self) -> [&[u8]; 5] {
        let [key_meta, head, names, body] = self.content();
        [key_meta, head, names, body, &self.footer]
    }

    /// Bytes of the whole payload, footer included: what `proto-max-bulk-len` limits.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pieces().iter().map(|piece| piece.len() as u64).sum()
    }

    /// Never: a payload has at least a type byte and a footer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A payload of one value from scratch: for probes and for encoders.
#[must_use]
pub fn assemble(value_type: ValueType, body: &[u8], version: u16) -> Vec<u8> {
    let mut payload = Vec::with_capacity(body.len() + 1 + FOOTER);
    payload.push(value_type.0);
    payload.extend_from_slice(body);
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = crc64::checksum(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|d| d as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    fn joined(payload: &Payload<'_>) -> Vec<u8> {
        let joined = payload.pieces().concat();
        assert_eq!(joined.len() as u64, payload.len());
        joined
    }

    fn first(file: &[u8], check: impl FnOnce(&Entry<'_>)) {
        let entry = Snapshot::parse(file)
            .unwrap()
            .entries()
            .next()
            .unwrap()
            .unwrap();
        check(&entry);
    }

    /// Payloads that five servers accepted (`docs` of the format, 5.1).
    #[test]
    fn as_servers_make_them() {
        for (value, version, payload) in [
            (
                "00 05 68656c6c6f",
                6,
                "00 05 68656c6c6f 0600 f59fb7f690611c99",
            ),
            ("00 c13930", 6, "00 c13930 0600 0b7982a766a9342a"),
            (
                "03 02 0161 03312e35 0162 fe",
                6,
                "03 02 0161 03312e35 0162 fe 0600 93006fef11803479",
            ),
            (
                "05 02 0162 000000000000f07f 0161 000000000000f83f",
                8,
                "05 02 0162 000000000000f07f 0161 000000000000f83f 0800 aa6e22a5bde98d9c",
            ),
            (
                "10 0d 0d0000000200816602817602ff",
                10,
                "10 0d 0d0000000200816602817602ff 0a00 20f13d442354089d",
            ),
        ] {
            let value = hex(value);
            let file = [b"REDIS0011", &value[..1], b"\x01k", &value[1..]].concat();
            first(&file, |entry| {
                assert_eq!(
                    joined(&Payload::new(entry, version, true).unwrap()),
                    hex(payload)
                );
            });
            assert_eq!(
                assemble(ValueType(value[0]), &value[1..], version),
                hex(payload)
            );
            first(&file, |entry| {
                let whole = hex(payload);
                let (content, _) = whole.split_at(whole.len() - FOOTER);
                let own = Payload::unsealed(entry).unwrap();
                assert!(own.content_is(content));
                assert!(!own.content_is(&content[1..]));
                assert!(!own.content_is(&whole));
            });
        }
    }

    #[test]
    fn key_metadata_stands_in_front_or_is_left_out() {
        let file = b"REDIS0013\xf3\x01abcd\x00\x00\x01k\x01v";
        first(file, |entry| {
            let with = joined(&Payload::new(entry, 13, true).unwrap());
            assert!(
                with.starts_with(b"\xf3\x01abcd\x00\x00\x01v\x0d\x00"),
                "{with:?}"
            );
            assert_eq!(
                crc64::checksum(&with[..with.len() - 8]).to_le_bytes(),
                with[with.len() - 8..]
            );
            let without = joined(&Payload::new(entry, 6, false).unwrap());
            assert_eq!(without, assemble(ValueType::STRING, b"\x01v", 6));
        });
    }

    /// The bodies of Redis' own tests for types 29 and 31, from their references.
    #[test]
    fn template_references_carry_their_names() {
        let registry = b"\xf2\x05\x02\x06field1\x06field2";
        let listpack = hex("0d 0d000000 0300 0501 0101 0201 ff");
        let lp = [b"REDIS0015", &registry[..], b"\x1e\x01k", &listpack].concat();
        first(&lp, |entry| {
            let expected = [b"\x01\x02\x06field1\x06field2", &listpack[..]].concat();
            let payload = Payload::new(entry, 15, true).unwrap();
            assert_eq!(
                joined(&payload),
                assemble(ValueType::HASH_TMPL_LP, &expected, 15)
            );
        });
        let array = [
            b"REDIS0015",
            &registry[..],
            b"\x20\x01k\x05\xc0\x01\xc0\x02",
        ]
        .concat();
        first(&array, |entry| {
            let payload = Payload::new(entry, 15, true).unwrap();
            let expected = b"\x01\x02\x06field1\x06field2\xc0\x01\xc0\x02";
            assert_eq!(
                joined(&payload),
                assemble(ValueType::HASH_TMPL_ARRAY, expected, 15)
            );
        });
        let lost = [b"REDIS0015", &b"\x1e\x01k"[..], &listpack].concat();
        first(&lost, |entry| {
            assert!(Payload::new(entry, 15, true).is_err())
        });
    }
}
