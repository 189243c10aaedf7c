//! One row in each format.

use std::path::PathBuf;

use super::{Format, Options};
use crate::error::Result;
use crate::json::{Damage, Spill, push_string, write_element};
use crate::select::slot_of;
use crate::snapshot::{Entry, ValueType};
use crate::time::Timestamp;
use crate::value::{Decoder, Element};
use crate::verbs::name::{push_escaped, with_name};

pub(super) const TEXT_TITLES: &str = " db  type     encoding                bytes   elements  expires                     idle   slot  key\n";
pub(super) const CSV_TITLES: &str =
    "db,key,type,encoding,bytes,elements,expire_at_ms,expires,idle_seconds,lfu_freq,slot\r\n";

/// Makes rows, with buffers that are used again.
pub(super) struct Rows {
    format: Format,
    decoder: Option<Decoder<Damage>>,
    scratch: Vec<u8>,
    spool_dir: PathBuf,
}

/// What stands in a row besides the name.
struct Row<'a> {
    entry: &'a Entry<'a>,
    kind: &'static str,
    encoding: &'static str,
    elements: Option<u64>,
    slot: Option<u16>,
}

impl Rows {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            format: options.format,
            decoder: (options.format != Format::Names)
                .then(|| Decoder::with_findings(Some(&options.spool_dir), Damage::default())),
            scratch: Vec::new(),
            spool_dir: options.spool_dir.clone(),
        }
    }

    /// Appends the row of `entry`. Answers what is wrong with it.
    pub(super) fn push(
        &mut self,
        entry: &Entry<'_>,
        out: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<Damage> {
        let mut damage = Damage::default();
        let elements = self.elements(entry, &mut damage)?;
        let info = entry.type_info();
        let mut row = Row {
            entry,
            kind: info.map_or("unknown", |info| info.kind.name()),
            encoding: info.map_or("", |info| info.encoding),
            elements,
            slot: None,
        };
        let format = self.format;
        let written = with_name(entry, &mut self.scratch, &self.spool_dir, |name| {
            row.slot = Some(slot_of(name));
            row.push(format, Some(name), &damage, out, spill)
        });
        match written {
            Err(error) if error.place().is_some() => {
                damage.note_error(error)?;
                row.push(format, None, &damage, out, spill)?;
            }
            other => other?,
        }
        Ok(damage)
    }

    fn elements(&mut self, entry: &Entry<'_>, damage: &mut Damage) -> Result<Option<u64>> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        let counted = match decoder.count(entry) {
            // What a module wrote are no elements.
            Ok(_) if entry.value_type == ValueType::MODULE_2 => None,
            Ok(count) => Some(count),
            Err(error) => {
                damage.note_error(error)?;
                None
            }
        };
        let found = decoder.findings();
        if found.is_some() {
            damage.add(std::mem::take(found));
        }
        Ok(counted)
    }
}

impl Row<'_> {
    /// `name` is `None` where it cannot be decoded.
    fn push(
        &self,
        format: Format,
        name: Option<&[u8]>,
        damage: &Damage,
        out: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<()> {
        match format {
            Format::Text => {
                self.push_text(out);
                push_quoted(out, spill, name)?;
                out.push(b'\n');
            }
            Format::Names => {
                // A name that is not known cannot be asked for.
                if name.is_some() {
                    push_quoted(out, spill, name)?;
                    out.push(b'\n');
                }
            }
            Format::Csv => self.push_csv(name, out, spill)?,
            Format::Ndjson => self.push_json(name, damage, out, spill)?,
        }
        Ok(())
    }

    fn push_text(&self, out: &mut Vec<u8>) {
        let entry = self.entry;
        right(out, 3, entry.db);
        left(out, 7, self.kind);
        left(out, 16, self.encoding);
        right(out, 11, entry.value.len() as u64);
        match self.elements {
            Some(elements) => right(out, 9, elements),
            None => padded_left(out, 9, b"-"),
        }
        match entry.expire_at_ms {
            Some(at) => left(out, 24, &Timestamp(at).rfc3339()),
            None => left(out, 24, "-"),
        }
        match (entry.idle_seconds, entry.lfu_freq) {
            (Some(seconds), _) => padded_left(out, 6, format!("{seconds}s").as_bytes()),
            (None, Some(freq)) => padded_left(out, 6, format!("lfu {freq}").as_bytes()),
            (None, None) => padded_left(out, 6, b"-"),
        }
        match self.slot {
            Some(slot) => right(out, 5, u64::from(slot)),
            None => padded_left(out, 5, b"-"),
        }
    }

    fn push_csv(
        &self,
        name: Option<&[u8]>,
        out: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<()> {
        let entry = self.entry;
        number(out, Some(entry.db));
        push_csv_name(out, spill, name)?;
        out.push(b',');
        out.extend_from_slice(self.kind.as_bytes());
        out.push(b',');
        out.extend_from_slice(self.encoding.as_bytes());
        out.push(b',');
        number(out, Some(entry.value.len() as u64));
        number(out, self.elements);
        number(out, entry.expire_at_ms);
        if let Some(at) = entry.expire_at_ms {
            out.extend_from_slice(Timestamp(at).rfc3339().as_bytes());
        }
        out.push(b',');
        number(out, entry.idle_seconds);
        number(out, entry.lfu_freq);
        number(out, self.slot);
        out.pop();
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn push_json(
        &self,
        name: Option<&[u8]>,
        damage: &Damage,
        out: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<()> {
        let entry = self.entry;
        out.extend_from_slice(b"{\"db\":");
        digits(out, entry.db);
        out.extend_from_slice(b",\"key\":");
        match name {
            Some(name) => write_element(out, spill, &Element::Bytes(name))?,
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(b"\",\"encoding\":\"");
        out.extend_from_slice(self.encoding.as_bytes());
        out.extend_from_slice(b"\",\"bytes\":");
        digits(out, entry.value.len() as u64);
        member(out, b",\"elements\":", self.elements);
        member(out, b",\"expire_at_ms\":", entry.expire_at_ms);
        member(out, b",\"idle_seconds\":", entry.idle_seconds);
        member(out, b",\"lfu_freq\":", entry.lfu_freq);
        member(out, b",\"slot\":", self.slot);
        if damage.is_some() {
            out.extend_from_slice(b",\"error\":");
            push_string(out, damage.to_string().as_bytes());
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

fn push_quoted(out: &mut Vec<u8>, spill: &mut Spill<'_>, name: Option<&[u8]>) -> Result<()> {
    let Some(name) = name else {
        out.extend_from_slice(b"(its name cannot be read)");
        return Ok(());
    };
    out.push(b'"');
    push_escaped(out, spill, name)?;
    out.push(b'"');
    Ok(())
}

/// The escaped name as a field: in quotes where it has a comma or a quote (an escaped name has no ends of lines).
fn push_csv_name(out: &mut Vec<u8>, spill: &mut Spill<'_>, name: Option<&[u8]>) -> Result<()> {
    match name {
        None => {}
        // Not a field without a name: two quotes, which are an empty name to whoever reads names back.
        Some([]) => out.extend_from_slice(b"\"\"\"\"\"\""),
        Some(name) if !name.iter().any(|byte| matches!(byte, b',' | b'"')) => {
            push_escaped(out, spill, name)?;
        }
        Some(name) => {
            out.push(b'"');
            // Escaped, each quote has a backslash in front; as a field it is doubled as well.
            for piece in name.split_inclusive(|byte| *byte == b'"') {
                match piece.split_last() {
                    Some((b'"', before)) => {
                        push_escaped(out, spill, before)?;
                        out.extend_from_slice(b"\\\"\"");
                    }
                    _ => push_escaped(out, spill, piece)?,
                }
            }
            out.push(b'"');
        }
    }
    Ok(())
}

fn digits(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A field with its comma.
fn number(out: &mut Vec<u8>, value: Option<impl itoa::Integer>) {
    if let Some(value) = value {
        digits(out, value);
    }
    out.push(b',');
}

fn member(out: &mut Vec<u8>, name: &[u8], value: Option<impl itoa::Integer>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        digits(out, value);
    }
}

fn right(out: &mut Vec<u8>, width: usize, value: u64) {
    padded_left(out, width, itoa::Buffer::new().format(value).as_bytes());
}

fn padded_left(out: &mut Vec<u8>, width: usize, text: &[u8]) {
    out.extend(std::iter::repeat_n(b' ', width.saturating_sub(text.len())));
    out.extend_from_slice(text);
    out.extend_from_slice(b"  ");
}

fn left(out: &mut Vec<u8>, width: usize, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend(std::iter::repeat_n(b' ', width.saturating_sub(text.len())));
    out.extend_from_slice(b"  ");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::unescape;
    use crate::snapshot::Snapshot;

    const FILE: &[u8] = b"REDIS0011\xfe\x00\
        \xfc\x15\xcd\x5b\x07\x00\x00\x00\x00\xf8\x40\x46\x14\x05s,\"\xff\n\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff\
        \xf9\x05\x00\x00\x01v\xff\0\0\0\0\0\0\0\0";

    fn rows(format: Format) -> Vec<String> {
        let options = Options {
            format,
            threads: 1,
            spool_dir: std::env::temp_dir(),
        };
        let mut rows = Rows::new(&options);
        Snapshot::parse(FILE)
            .unwrap()
            .entries()
            .map(|entry| {
                let mut out = Vec::new();
                let damage = rows
                    .push(&entry.unwrap(), &mut out, &mut |_| Ok(()))
                    .unwrap();
                assert!(!damage.is_some());
                String::from_utf8(out).unwrap()
            })
            .collect()
    }

    #[test]
    fn one_row_in_each_format() {
        assert_eq!(
            rows(Format::Text),
            [
                "  0  set      listpack                   13          2  1970-01-02T10:17:36.789Z     70s    315  \"s,\\\"\\xff\\n\"\n",
                "  0  string   plain                       2          1  -                          lfu 5      0  \"\"\n",
            ]
        );
        assert_eq!(rows(Format::Names), ["\"s,\\\"\\xff\\n\"\n", "\"\"\n"]);
        assert_eq!(
            rows(Format::Csv),
            [
                "0,\"s,\\\"\"\\xff\\n\",set,listpack,13,2,123456789,1970-01-02T10:17:36.789Z,70,,315\r\n",
                "0,\"\"\"\"\"\",string,plain,2,1,,,,5,0\r\n",
            ]
        );
        assert_eq!(
            rows(Format::Ndjson),
            [
                "{\"db\":0,\"key\":{\"base64\":\"cywi/wo=\"},\"type\":\"set\",\"encoding\":\"listpack\",\"bytes\":13,\"elements\":2,\"expire_at_ms\":123456789,\"idle_seconds\":70,\"slot\":315}\n",
                "{\"db\":0,\"key\":\"\",\"type\":\"string\",\"encoding\":\"plain\",\"bytes\":2,\"elements\":1,\"lfu_freq\":5,\"slot\":0}\n",
            ]
        );
        let titles = CSV_TITLES.split(',').count();
        assert_eq!(titles, 11);
    }

    /// A field of RFC 4180, undone.
    fn from_csv(field: &[u8]) -> Vec<u8> {
        match field {
            [b'"', inner @ .., b'"'] => {
                let text = String::from_utf8(inner.to_vec()).unwrap();
                assert!(!text.replace("\"\"", "").contains('"'));
                text.replace("\"\"", "\"").into_bytes()
            }
            bare => {
                assert!(!bare.iter().any(|byte| matches!(byte, b'"' | b',')));
                bare.to_vec()
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_comes_back_from_a_csv_field(name: Vec<u8>) {
            let mut out = Vec::new();
            push_csv_name(&mut out, &mut |_| Ok(()), Some(&name)).unwrap();
            proptest::prop_assert_eq!(unescape(&from_csv(&out)), Some(name));
        }
    }
}
