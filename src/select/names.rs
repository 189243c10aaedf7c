//! A list of names: the keys that somebody asks for, each of which ends in an outcome.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use crate::error::{Error, ErrorKind, Escaped, Result, unescape};
use crate::fingerprint::{FingerprintKey, Fingerprints, Members, Sorted};

/// Names, and which of them were met. The list itself stays where it is (mapped, or in memory); 16 bytes a name are spooled
/// where there are more than a million.
pub struct Names {
    text: Text,
    members: Members,
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
    /// nothing. With `null`: raw names, each ended by a zero byte, as `find -print0` does. Spools lie in `spool_dir`.
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
        for (line, (offset, raw)) in (1u64..).zip(text.lines()) {
            if raw.is_empty() && !null {
                continue;
            }
            let Some(name) = text.name(raw) else {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!(
                        "line {line} of the list of keys is no escaped name: {}",
                        Escaped(raw.get(..64).unwrap_or(raw))
                    ),
                )
                .with_hint("write it as `rdbridge keys` prints it; a backslash is written \\\\"));
            };
            set.add(0, &name, offset)?;
        }
        let members = Members::build(set.finish()?, &key, spool_dir)?;
        Ok(Self { text, members })
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

    /// Whether `key` is in the list; it counts as met then.
    ///
    /// # Errors
    /// `Limit` and `Io` of a spool.
    pub fn meet(&mut self, key: &[u8]) -> Result<bool> {
        let text = &self.text;
        let found = self.members.find(0, key, |offset| {
            Ok(text.name_at(offset).as_deref() == Some(key))
        })?;
        Ok(found.is_some())
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

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.never
            .iter()
            .filter_map(|record| self.text.name_at(record.order))
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

    fn name(&self, line: &[u8]) -> Option<Vec<u8>> {
        if self.end == 0 {
            Some(line.to_vec())
        } else {
            unescape(line)
        }
    }

    fn name_at(&self, offset: u64) -> Option<Vec<u8>> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let len = rest
            .iter()
            .position(|b| *b == self.end)
            .unwrap_or(rest.len());
        self.name(self.without_return(rest.get(..len)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &[u8], null: bool) -> Result<Names> {
        Names::read(text.to_vec(), null, &std::env::temp_dir())
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
            assert_eq!(list.meet(key).unwrap(), there, "{}", key.escape_ascii());
        }
        let missing = list.missing().unwrap();
        assert_eq!(missing.names().collect::<Vec<_>>(), [b"never".to_vec()]);
    }

    #[test]
    fn with_null_names_are_raw() {
        let mut list = names(b"a\\n\0\0b\nc\0", true).unwrap();
        assert_eq!(list.len(), 3);
        assert!(list.meet(b"a\\n").unwrap() && list.meet(b"").unwrap());
        let missing = list.missing().unwrap();
        assert_eq!(
            (missing.len(), missing.names().next().unwrap()),
            (1, b"b\nc".to_vec())
        );
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
