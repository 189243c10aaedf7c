//! `get`: the keys of one name, or of a pattern, each as JSON, as its bytes, or as its DUMP payload.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Escaped, Result, unescape};
use crate::json::{Damage, KeyWriter, PIECE};
use crate::payload::{NoPayload, Payload};
use crate::select::{Glob, Numbers};
use crate::snapshot::{Entry, Record, Snapshot};
use crate::target::footer::footer_needed;
use crate::value::{Decoder, Value};
use crate::verbs::name::with_name;
use crate::verbs::{Ending, Ticker, Watch};

/// Which keys are asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name itself.
    name: Vec<u8>,
    /// The pattern that was typed, where it is one.
    glob: Option<Glob>,
    /// Only in these databases.
    pub dbs: Option<Numbers>,
}

impl Wanted {
    /// A name as [`Escaped`] writes it, with or without quotes; what cannot be such a name is taken as it is. Where it has
    /// `*`, `?` or `[`, it is also a pattern as `KEYS` takes it: a key of just that name wins over the pattern.
    #[must_use]
    pub fn new(typed: &[u8]) -> Self {
        Self {
            name: unescape(typed).unwrap_or_else(|| typed.to_vec()),
            glob: typed
                .iter()
                .any(|byte| matches!(byte, b'*' | b'?' | b'['))
                .then(|| Glob::new(typed)),
            dbs: None,
        }
    }

    /// Whether a pattern was typed.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.glob.is_some()
    }
}

/// How many keys were found, and what stands at the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sought {
    /// Keys.
    pub count: u64,
    /// The end of the file.
    pub ending: Ending,
}

/// Calls `found` for each entry that is asked for, in the order of the file. Answers how many there were.
///
/// # Errors
/// Those of the reader (a wrong checksum comes last), of `found` and of `watch`.
pub fn find<'data>(
    snapshot: &Snapshot<'data>,
    wanted: &Wanted,
    spool_dir: &Path,
    found: &mut dyn FnMut(&Entry<'data>) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Sought> {
    let exact = walk(
        snapshot,
        wanted,
        spool_dir,
        &|name| name == wanted.name,
        found,
        watch,
    )?;
    match &wanted.glob {
        Some(glob) if exact.count == 0 => walk(
            snapshot,
            wanted,
            spool_dir,
            &|name| glob.matches(name),
            found,
            watch,
        ),
        _ => Ok(exact),
    }
}

fn walk<'data>(
    snapshot: &Snapshot<'data>,
    wanted: &Wanted,
    spool_dir: &Path,
    is_it: &dyn Fn(&[u8]) -> bool,
    found: &mut dyn FnMut(&Entry<'data>) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Sought> {
    let (mut scratch, mut ticker, mut sought) = (Vec::new(), Ticker::default(), Sought::default());
    let mut records = snapshot.records();
    while let Some(record) = records.next_record()? {
        ticker.tick(watch, records.offset(), records.entries_seen())?;
        let entry = match record {
            Record::Entry(entry) => entry,
            Record::End(end) => {
                sought.ending = Ending::of(&end);
                continue;
            }
            _ => continue,
        };
        if wanted
            .dbs
            .as_ref()
            .is_some_and(|dbs| !dbs.contains(entry.db))
        {
            continue;
        }
        match with_name(&entry, &mut scratch, spool_dir, |name| Ok(is_it(name))) {
            Ok(true) => {
                sought.count = sought.count.saturating_add(1);
                found(&entry)?;
            }
            Ok(false) => {}
            // A name that lies is nobody's.
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sought)
}

/// Shows keys, with buffers that are used again.
#[derive(Debug)]
pub struct Shower {
    writer: KeyWriter,
    spool_dir: PathBuf,
}

impl Shower {
    /// Blobs of more than 1 MiB, decompressed, are spooled in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: &Path) -> Self {
        Self {
            writer: KeyWriter::new(Some(spool_dir)),
            spool_dir: spool_dir.to_owned(),
        }
    }

    /// The object of [`crate::json`], and an end of line. Answers what is wrong with the value.
    ///
    /// # Errors
    /// `Io` of the writer, `Limit` and `Io` of the spool.
    pub fn json(&mut self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<Damage> {
        let mut text = Vec::new();
        let damage = self.writer.write(entry, &mut text, &mut |text| {
            put(out, text)?;
            if text.len() < PIECE {
                // What follows takes long.
                out.flush().map_err(unwritable)?;
            }
            text.clear();
            Ok(())
        })?;
        text.push(b'\n');
        put(out, &text)?;
        Ok(damage)
    }

    /// The bytes of a string.
    ///
    /// # Errors
    /// `Usage` for any other type; `Corrupt` where the string cannot be decoded; `Io` of the writer.
    pub fn raw(&self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<()> {
        let mut decoder = Decoder::new(Some(&self.spool_dir));
        match decoder.decode(entry)? {
            Value::String(element) | Value::Json(element) => element
                .write_to(|piece| put(out, piece))
                .map_err(|error| error.or_entry(|| entry.context())),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "{} is a {}: only strings have raw bytes",
                    Escaped(&entry.key.preview(128)),
                    entry.value_type.name(entry.dialect)
                ),
            )
            .with_hint("use --format json, or --format restore for its DUMP payload")),
        }
    }
}

/// The DUMP payload of a key, with the lowest version in its footer that its type needs; with `hex` as text, with an end of
/// line.
///
/// # Errors
/// `Unsupported` where no payload can be made; `Io` of the writer.
pub fn payload(entry: &Entry<'_>, hex: bool, out: &mut dyn Write) -> Result<()> {
    /// What payloads with key metadata need.
    const KEY_META: u16 = 13;
    let cannot = |reason: &str| {
        Error::new(
            ErrorKind::Unsupported,
            format!("no payload can be made: {reason}"),
        )
        .or_entry(|| entry.context())
    };
    let mut version = footer_needed(entry.value_type, entry.dialect).map_err(cannot)?;
    if entry.key_meta.is_some() {
        version = version.max(KEY_META);
    }
    let payload = Payload::new(entry, version, true).map_err(|NoPayload(reason)| cannot(reason))?;
    for piece in payload.pieces() {
        if !hex {
            put(out, piece)?;
            continue;
        }
        let mut text = Vec::new();
        for bytes in piece.chunks(32 * 1024) {
            text.clear();
            for byte in bytes {
                let digits = [byte >> 4, byte & 15].map(|four| match four {
                    0..10 => b'0'.wrapping_add(four),
                    _ => b'a'.wrapping_add(four).wrapping_sub(10),
                });
                text.extend_from_slice(&digits);
            }
            put(out, &text)?;
        }
    }
    if hex {
        put(out, b"\n")?;
    }
    Ok(())
}

fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(unwritable)
}

#[cold]
fn unwritable(error: std::io::Error) -> Error {
    Error::io("the output cannot be written", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::FOOTER;
    use crate::wire::crc64;

    /// Keys `a*` (0), `ab` (0), `a*` (3), a set `s` (3).
    const FILE: &[u8] = b"REDIS0009\xfe\x00\x00\x02a*\x01v\x00\x02ab\xc0\x05\xfe\x03\x00\x02a*\x01w\x02\x01s\x01\x01m\xff\0\0\0\0\0\0\0\0";

    fn get(
        wanted: &Wanted,
        mut show: impl FnMut(&Entry<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> String {
        let mut out = Vec::new();
        let snapshot = Snapshot::parse(FILE).unwrap();
        let dir = std::env::temp_dir();
        let sought = find(
            &snapshot,
            wanted,
            &dir,
            &mut |entry| show(entry, &mut out),
            &mut |_| Ok(()),
        );
        format!(
            "{} {}",
            sought.unwrap().count,
            String::from_utf8_lossy(&out)
        )
    }

    #[test]
    fn a_name_wins_over_the_pattern_that_it_could_be() {
        let shower = Shower::new(&std::env::temp_dir());
        let raw = |wanted: &Wanted| get(wanted, |entry, out| shower.raw(entry, out));
        assert_eq!(raw(&Wanted::new(b"ab")), "1 5");
        assert_eq!(raw(&Wanted::new(b"a*")), "2 vw");
        assert_eq!(raw(&Wanted::new(b"\"a\\x2a\"")), "2 vw");
        assert_eq!(raw(&Wanted::new(b"?b")), "1 5");
        assert_eq!(raw(&Wanted::new(b"nobody")), "0 ");
        let mut in_db = Wanted::new(b"a*");
        in_db.dbs = Some("3".parse().unwrap());
        assert_eq!(raw(&in_db), "1 w");
        // Not an escaped name, so it is meant as it stands.
        assert_eq!(raw(&Wanted::new(b"a\\q")), "0 ");
        assert!(Wanted::new(b"[ab]").is_pattern() && !Wanted::new(b"ab").is_pattern());
    }

    #[test]
    fn payloads_and_json() {
        let mut shower = Shower::new(&std::env::temp_dir());
        let json = get(&Wanted::new(b"s"), |entry, out| {
            shower.json(entry, out).map(|_| ())
        });
        assert_eq!(
            json,
            "1 {\"db\":3,\"key\":\"s\",\"type\":\"set\",\"encoding\":\"plain\",\"value\":[\"m\"]}\n"
        );
        let error = |entry: &Entry<'_>, out: &mut Vec<u8>| {
            let error = shower.raw(entry, out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            out.extend_from_slice(error.to_string().as_bytes());
            Ok(())
        };
        assert!(
            get(&Wanted::new(b"s"), error).contains("\"s\" is a set: only strings have raw bytes")
        );
        let hex = get(&Wanted::new(b"s"), |entry, out| payload(entry, true, out));
        let mut bytes = Vec::new();
        get(&Wanted::new(b"s"), |entry, _| {
            payload(entry, false, &mut bytes)
        });
        let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, format!("1 {expected}\n"));
        let (content, crc) = bytes.split_at(bytes.len() - 8);
        assert_eq!(content, b"\x02\x01\x01m\x06\0");
        assert_eq!(content.len() + 8 - FOOTER, 4);
        assert_eq!(crc, crc64::update(0, content).to_le_bytes());
    }
}
