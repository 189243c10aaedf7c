//! A list of names: the keys that somebody asks for, each of which ends in an outcome.
//!
//! A plain name is asked for in every database; a line of a ledger in the one that it tells.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use super::ledger_line;
use super::spelling::Spelling;
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints, Members, Sorted};
use crate::wire::crc64;

/// Names, and which of them were met. The list itself stays where it is (mapped, or in memory); 16 bytes a name are spooled
/// where there are more than a million.
pub struct Names {
    text: Text,
    members: Members,
    /// Names are in the list that tell their database, and such that do not.
    with_db: bool,
    without_db: bool,
}

/// A name that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In which database; `None` for every one.
    pub db: Option<u64>,
    /// The name, or its beginning: [`Asked::MOST`] bytes.
    pub key: Vec<u8>,
    /// How many bytes the name has.
    pub bytes: u64,
}

impl Asked {
    /// Of a longer name no more bytes are given.
    pub const MOST: usize = 4096;
}

/// A line of a list.
struct Line<'a> {
    db: Option<u64>,
    name: Spelling<'a>,
}

impl Line<'_> {
    /// By which it is found; `None` where it spells no name.
    fn fingerprint(&self, key: &FingerprintKey) -> Option<u64> {
        let mut pieces = key.pieces(domain(self.db));
        if let Spelling::Raw(bytes) = self.name {
            pieces.push(bytes);
            return Some(pieces.finish());
        }
        let (mut piece, mut len) = ([0; 256], 0);
        for byte in self.name.bytes() {
            if len == piece.len() {
                pieces.push(&piece);
                len = 0;
            }
            *piece.get_mut(len)? = byte?;
            len += 1;
        }
        pieces.push(piece.get(..len)?);
        Some(pieces.finish())
    }

    fn asked(&self) -> Asked {
        let (mut key, mut bytes) = (Vec::new(), 0u64);
        for byte in self.name.bytes().map_while(|byte| byte) {
            if key.len() < Asked::MOST {
                key.push(byte);
            }
            bytes += 1;
        }
        Asked {
            db: self.db,
            key,
            bytes,
        }
    }
}

/// Names of the highest database share the domain of those without: they are told apart where they are compared.
fn domain(db: Option<u64>) -> u64 {
    db.map_or(0, |db| db.wrapping_add(1))
}

/// The list as it was given.
struct Text {
    bytes: Box<dyn Deref<Target = [u8]> + Send + Sync>,
    end: u8,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("count", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl Names {
    /// Reads a list: one name a line, escaped as [`Escaped`] writes it, with or without quotes; empty lines count for
    /// nothing. A line may also be a JSON object with `db` and `key`, as the ledger of a load and `keys --format ndjson` have
    /// them: it asks for the key in that database alone. With `null`: raw names, each ended by a zero byte, as
    /// `find -print0` does. Spools lie in `spool_dir`.
    ///
    /// # Errors
    /// `Usage` with the line's number where it is no escaped name; `Limit` and `Io` of the spool.
    pub fn read(
        bytes: impl Deref<Target = [u8]> + Send + Sync + 'static,
        null: bool,
        spool_dir: &Path,
    ) -> Result<Self> {
        let text = Text {
            bytes: Box::new(bytes),
            end: if null { 0 } else { b'\n' },
        };
        let key = FingerprintKey::random();
        let mut set = Fingerprints::new(spool_dir, &key);
        let (mut with_db, mut without_db) = (false, false);
        for (line, (offset, raw)) in (1u64..).zip(text.lines()) {
            if raw.is_empty() && !null {
                continue;
            }
            let asked = text.line(raw);
            let Some(fingerprint) = asked.fingerprint(&key) else {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!(
                        "line {line} of the list of keys is no escaped name: {}",
                        Escaped(raw.get(..64).unwrap_or(raw))
                    ),
                )
                .with_hint("write it as `rdbridge keys` prints it (a backslash is written \\\\), or as a line of a ledger"));
            };
            with_db |= asked.db.is_some();
            without_db |= asked.db.is_none();
            set.add_fingerprint(fingerprint, offset)?;
        }
        let members = Members::build(set.finish()?, &key, spool_dir)?;
        Ok(Self {
            text,
            members,
            with_db,
            without_db,
        })
    }

    /// How many names there are, repetitions included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.members.len()
    }

    /// Whether nobody is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// CRC-64 of the list's text: by which it is known again.
    #[must_use]
    pub fn digest(&self) -> u64 {
        crc64::checksum(&self.text.bytes)
    }

    /// Whether `key` of `db` is in the list; it counts as met then.
    ///
    /// # Errors
    /// `Limit` and `Io` of a spool.
    pub fn meet(&mut self, db: u64, key: &[u8]) -> Result<bool> {
        let text = &self.text;
        let mut found = false;
        for (asked, there) in [(None, self.without_db), (Some(db), self.with_db)] {
            // No short cut behind the first hit: a name that stands in both forms is met in both.
            if there {
                let hit = self.members.find(domain(asked), key, |offset| {
                    Ok(text
                        .line_at(offset)
                        .is_some_and(|line| line.db == asked && line.name.is(key)))
                })?;
                found |= hit.is_some();
            }
        }
        Ok(found)
    }

    /// Ends asking: the names that were never met.
    ///
    /// # Errors
    /// `Limit` and `Io` of a spool.
    pub fn missing(self) -> Result<Missing> {
        Ok(Missing {
            never: self.members.never_met()?,
            text: self.text,
        })
    }
}

/// The names that were never met, in the order of the list.
pub struct Missing {
    text: Text,
    never: Sorted,
}

impl fmt::Debug for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Missing")
            .field("count", &self.never.len())
            .finish_non_exhaustive()
    }
}

impl Missing {
    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.never.len()
    }

    /// Whether every name was met.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.never.is_empty()
    }

    /// The names, long ones not whole.
    pub fn names(&self) -> impl Iterator<Item = Asked> + '_ {
        self.never
            .iter()
            .filter_map(|record| Some(self.text.line_at(record.order)?.asked()))
    }
}

impl Text {
    /// Where each line begins, and its bytes.
    fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let bytes: &[u8] = &self.bytes;
        let mut offset = 0u64;
        let last_is_empty = bytes.last().is_none_or(|b| *b == self.end);
        let count = bytes.iter().filter(|b| **b == self.end).count() + usize::from(!last_is_empty);
        let end = self.end;
        bytes
            .split(move |b| *b == end)
            .take(count)
            .map(move |line| {
                let at = offset;
                offset += line.len() as u64 + 1;
                (at, self.without_return(line))
            })
    }

    /// Lists made elsewhere end their lines with CR LF; a name never ends with a bare CR, which would be escaped.
    fn without_return<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match line {
            [line @ .., b'\r'] if self.end == b'\n' => line,
            line => line,
        }
    }

    fn line<'a>(&self, line: &'a [u8]) -> Line<'a> {
        if self.end == 0 {
            let name = Spelling::Raw(line);
            return Line { db: None, name };
        }
        match ledger_line::parse(line) {
            Some((db, name)) => Line { db: Some(db), name },
            None => Line {
                db: None,
                name: Spelling::Escaped(line),
            },
        }
    }

    fn line_at(&self, offset: u64) -> Option<Line<'_>> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let len = rest
            .iter()
            .position(|b| *b == self.end)
            .unwrap_or(rest.len());
        Some(self.line(self.without_return(rest.get(..len)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8], null: bool) -> Result<Names> {
        Names::read(text.to_vec(), null, &std::env::temp_dir())
    }

    fn asked(db: Option<u64>, key: &[u8]) -> Asked {
        Asked {
            db,
            key: key.to_vec(),
            bytes: key.len() as u64,
        }
    }

    #[test]
    fn names_are_met_or_missing() {
        let mut list = names(
            b"\"a b\"\nplain\n\n\"\\x00\\n\"\r\n\"\"\nplain\nnever",
            false,
        )
        .unwrap();
        assert_eq!(list.len(), 6);
        for (key, there) in [
            (&b"a b"[..], true),
            (b"plain", true),
            (b"\0\n", true),
            (b"", true),
            (b"\"plain\"", false),
            (b"other", false),
        ] {
            assert_eq!(list.meet(0, key).unwrap(), there, "{}", key.escape_ascii());
        }
        let missing = list.missing().unwrap();
        assert_eq!(missing.names().collect::<Vec<_>>(), [asked(None, b"never")]);
    }

    #[test]
    fn a_ledger_asks_for_keys_in_their_databases() {
        let lines = concat!(
            r#"{"db":3,"key":"a","type":"hash","bytes":7,"input":"d.rdb","offset":9,"outcome":"conflict","reason":"there"}"#,
            "\n",
            r#"{"db":18446744073709551615,"key":{"base64":"/wA="}}"#,
            "\r\n\n{\"db\":4,\"key\":\"never\"}\nplain\n{tag}:x\n"
        );
        let mut list = names(lines.as_bytes(), false).unwrap();
        assert_eq!(list.len(), 5);
        for (db, key, there) in [
            (3, &b"a"[..], true),
            (0, b"a", false),
            (u64::MAX, b"\xff\0", true),
            (0, b"\xff\0", false),
            (3, b"never", false),
            (7, b"plain", true),
            (8, b"{tag}:x", true),
        ] {
            assert_eq!(
                list.meet(db, key).unwrap(),
                there,
                "{db} {}",
                key.escape_ascii()
            );
        }
        let missing = list.missing().unwrap();
        assert_eq!(
            missing.names().collect::<Vec<_>>(),
            [asked(Some(4), b"never")]
        );
        // With zero bytes between them names are raw: an object is one, too.
        let mut list = names(b"{\"db\":3,\"key\":\"a\"}\0", true).unwrap();
        assert!(list.meet(0, b"{\"db\":3,\"key\":\"a\"}").unwrap());
        assert!(!list.meet(3, b"a").unwrap());
    }

    #[test]
    fn with_null_names_are_raw() {
        let mut list = names(b"a\\n\0\0b\nc\0", true).unwrap();
        assert_eq!(list.len(), 3);
        assert!(list.meet(0, b"a\\n").unwrap() && list.meet(9, b"").unwrap());
        let missing = list.missing().unwrap();
        assert_eq!(
            (missing.len(), missing.names().next().unwrap()),
            (1, asked(None, b"b\nc"))
        );
    }

    #[test]
    fn of_a_long_name_that_is_missing_the_beginning_is_told() {
        let long = [b"\\x00".repeat(5000), b"\n".to_vec(), vec![b'a'; 700]].concat();
        let mut list = names(&long, false).unwrap();
        assert!(!list.meet(0, &[0; 4096]).unwrap());
        assert!(list.meet(0, &[b'a'; 700]).unwrap());
        let missing = list.missing().unwrap();
        let told: Vec<_> = missing.names().collect();
        assert_eq!(
            told,
            [Asked {
                db: None,
                key: vec![0; 4096],
                bytes: 5000
            }]
        );
        assert!(names(&long, false).unwrap().meet(3, &[0; 5000]).unwrap());
    }

    #[test]
    fn a_line_that_is_no_name_is_said_with_its_number() {
        let error = names(b"a\nb\\q\n", false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            error
                .to_string()
                .starts_with("line 2 of the list of keys is no escaped name: \"b\\\\q\""),
            "{error}"
        );
        assert!(names(b"", false).unwrap().is_empty());
    }
}
