//! One key as an object.

use std::path::Path;

use super::damage::Damage;
use super::string::push_string;
use super::text::{Spill, Text};
use super::{collections, opaque, stream};
use crate::error::Result;
use crate::snapshot::{Dialect, Entry};
use crate::value::{Decoder, Element, Value};

/// From so many bytes on a value may take long to be read: compressed, it is up to 88 times as large.
const EARLY: usize = 1 << 20;

/// Writes keys as JSON, with buffers that are used again for the next one.
///
/// ```
/// use rdbridge::json::KeyWriter;
/// use rdbridge::snapshot::Snapshot;
///
/// let file = b"REDIS0009\xfe\x00\x00\x01k\x01v\xff\xf1\xc3\xf1\x2d\x87\xe2\xaf\x85";
/// let (mut writer, mut line) = (KeyWriter::new(None), Vec::new());
/// for entry in Snapshot::parse(file)?.entries() {
///     // A line of a few gigabytes would be spilled in its middle; this one is kept.
///     writer.write(&entry?, &mut line, &mut |_| Ok(()))?;
/// }
/// assert_eq!(line, br#"{"db":0,"key":"k","type":"string","encoding":"plain","value":"v"}"#);
/// # Ok::<(), rdbridge::Error>(())
/// ```
#[derive(Debug)]
pub struct KeyWriter {
    decoder: Decoder<Damage>,
    scratch: Vec<u8>,
}

impl KeyWriter {
    /// A writer whose decoder spools blobs of more than 1 MiB, decompressed, in `spool_dir`; without one, a value with such a
    /// blob ends the writing.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self {
            decoder: Decoder::with_findings(spool_dir, Damage::default()),
            scratch: Vec::new(),
        }
    }

    /// Appends the object of `entry` to `out`, without an end of line. Where `out` holds [`super::PIECE`] bytes or more,
    /// `spill` is called to empty it (it may also leave it as it is). It is called with less where the value is large: what
    /// follows may take seconds, and a reader should have the key by then.
    ///
    /// Answers what is wrong with the entry, which the object has as `error`.
    ///
    /// # Errors
    /// What `spill` answers, and `Limit` and `Io` of the decoder's spool. The object is then broken off.
    pub fn write(
        &mut self,
        entry: &Entry<'_>,
        out: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<Damage> {
        let mut text = Text::new(out, spill);
        head(&mut text, entry, &mut self.scratch)?;
        if entry.value.len() >= EARLY {
            // What is known goes out before a value that takes long to be read.
            text.spill()?;
        }
        let written = match self.decoder.decode(entry) {
            Ok(value) => write_value(&mut text, value),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            text.damage.note_error(error)?;
        }
        if !entry.sub_expires.is_empty() {
            opaque::sub_expires(&mut text, entry, &mut self.scratch)?;
        }
        let found = self.decoder.findings();
        if found.is_some() {
            text.damage.add(std::mem::take(found));
        }
        let damage = std::mem::take(&mut text.damage);
        if damage.is_some() {
            text.push(b",\"error\":");
            push_string(text.out, damage.to_string().as_bytes());
        }
        text.push(b"}");
        text.room()?;
        Ok(damage)
    }
}

#[inline]
fn head(text: &mut Text<'_, '_>, entry: &Entry<'_>, scratch: &mut Vec<u8>) -> Result<()> {
    text.push(b"{\"db\":");
    text.integer(entry.db);
    text.push(b",\"key\":");
    opaque::key(text, entry.key, scratch)?;
    text.push(b",\"type\":\"");
    match entry.type_info() {
        Some(info) => {
            text.push(info.kind.name().as_bytes());
            text.push(b"\",\"encoding\":\"");
            text.push(info.encoding.as_bytes());
        }
        // Decoding it is the error that follows.
        None => text.push(b"unknown"),
    }
    text.push(b"\"");
    if let Some(at) = entry.expire_at_ms {
        text.push(b",\"expire_at_ms\":");
        text.integer(at);
    }
    if let Some(seconds) = entry.idle_seconds {
        text.push(b",\"idle_seconds\":");
        text.integer(seconds);
    }
    if let Some(freq) = entry.lfu_freq {
        text.push(b",\"lfu_freq\":");
        text.integer(freq);
    }
    if let Some(slot) = entry.slot {
        text.push(b",\"slot\":");
        text.integer(slot);
    }
    if let Some(flags) = entry.df_flags
        && entry.dialect == Dialect::Dragonfly
    {
        text.push(b",\"df_flags\":");
        text.integer(flags);
    }
    match entry.key_meta {
        Some(record) => opaque::key_meta(text, record, entry.offset, scratch),
        None => Ok(()),
    }
}

#[inline]
fn write_value(text: &mut Text<'_, '_>, value: Value<'_, Damage>) -> Result<()> {
    const VALUE: &[u8] = b",\"value\":";
    if let Value::String(element) | Value::Json(element) = value {
        return string(text, VALUE, &element);
    }
    text.push(VALUE);
    match value {
        Value::List(mut list) => collections::list(text, &mut list),
        Value::Set(mut set) => collections::set(text, &mut set),
        Value::Zset(mut zset) => collections::zset(text, &mut zset),
        Value::Hash(mut hash) => collections::hash(text, &mut hash),
        Value::Stream(mut value) => stream::stream(text, &mut value),
        Value::Array(mut array) => collections::array(text, &mut array),
        Value::Module(mut module) => opaque::module(text, &mut module),
        Value::String(_) | Value::Json(_) => Ok(()),
    }
}

/// A string: where it cannot be decoded, there is no value.
#[inline]
fn string(text: &mut Text<'_, '_>, label: &[u8], element: &Element<'_>) -> Result<()> {
    let Some(form) = text.form(element)? else {
        return Ok(());
    };
    text.push(label);
    text.element(element, form)
}
