//! Names: what a key is called at the destination.
//!
//! A name is renamed at most once, by the first expression that is found in it ([`Rename`]), and then gets the prefix of its
//! database, or that of all ([`Prefix`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::bytes::{Captures, Regex};

use crate::error::{Error, ErrorKind, Result, unescape};
use crate::name_room::NameRoom;
use crate::wire::Str;

/// Names of more bytes are not changed but refused: they are made in memory.
pub const LONGEST_NAME: u64 = 1 << 20;

/// What is found in a name, and what stands there instead: `RE=TEXT`.
#[derive(Debug, Clone)]
pub struct Rename {
    typed: String,
    expression: Regex,
    text: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// What a group of the expression found.
    Group(usize),
}

/// As it was typed.
impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// The expression ends at the first `=` that stands behind no backslash. In the text, `$1`, `${1}` and `${name}` are what a
/// group found, `$$` is a `$`, and what `keys` escapes is escaped (`\x00`, `\n`, `\\`).
impl FromStr for Rename {
    type Err = String;

    fn from_str(typed: &str) -> std::result::Result<Self, String> {
        let (expression, text) = split_at_equals(typed)
            .ok_or("write it as RE=TEXT; a = inside of the expression is written \\=")?;
        let expression = Regex::new(expression).map_err(|error| error.to_string())?;
        let text = pieces(text, &expression)?;
        Ok(Self {
            typed: typed.to_owned(),
            expression,
            text,
        })
    }
}

fn split_at_equals(typed: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in typed.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' => return Some((typed.get(..at)?, typed.get(at.saturating_add(1)..)?)),
            _ => {}
        }
    }
    None
}

/// The bytes that a text stands for. Quotes mean nothing here.
fn literal(text: &str) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = unescape(format!("-{text}").as_bytes())
        .ok_or_else(|| format!("{text:?} is not escaped as names are: \\\\, \\n, \\x00"))?;
    bytes.remove(0);
    Ok(bytes)
}

/// Takes a text apart at its `$`.
fn pieces(text: &str, expression: &Regex) -> std::result::Result<Vec<Piece>, String> {
    let mut list = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        if !before.is_empty() {
            list.push(Piece::Text(literal(before)?));
        }
        if let Some(behind) = behind.strip_prefix('$') {
            list.push(Piece::Text(b"$".to_vec()));
            rest = behind;
            continue;
        }
        let (name, behind) = match behind.strip_prefix('{') {
            Some(inner) => inner
                .split_once('}')
                .ok_or("a ${ of the text is not closed")?,
            None => {
                let end = behind
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        let group = match name.parse::<usize>() {
            Ok(number) => Some(number).filter(|number| *number < expression.captures_len()),
            Err(_) => expression.capture_names().position(|n| n == Some(name)),
        };
        list.push(Piece::Group(group.ok_or_else(|| {
            format!(
                "the expression has no group {name:?} (${{1}}x is the first one and an x, $$ a $)"
            )
        })?));
        rest = behind;
    }
    if !rest.is_empty() {
        list.push(Piece::Text(literal(rest)?));
    }
    Ok(list)
}

impl Rename {
    /// The new name, if the expression is found in `name`.
    fn apply(&self, name: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        // Most names are asked about in vain, and finding alone is the cheaper question.
        let Some(found) = self.expression.find(name) else {
            return Ok(false);
        };
        let groups = self
            .text
            .iter()
            .any(|piece| matches!(piece, Piece::Group(_)));
        let captures: Option<Captures<'_>> = match groups {
            true => self.expression.captures(name),
            false => None,
        };
        push(out, name.get(..found.start()).unwrap_or_default())?;
        for piece in &self.text {
            match piece {
                Piece::Text(text) => push(out, text)?,
                Piece::Group(group) => {
                    let found = captures.as_ref().and_then(|found| found.get(*group));
                    push(out, found.map_or(&b""[..], |found| found.as_bytes()))?;
                }
            }
        }
        push(out, name.get(found.end()..).unwrap_or_default())?;
        Ok(true)
    }
}

fn push(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    if (out.len() as u64).saturating_add(bytes.len() as u64) > LONGEST_NAME {
        return Err(too_long("it becomes longer than that"));
    }
    out.extend_from_slice(bytes);
    Ok(())
}

#[cold]
fn too_long(what: &str) -> Error {
    Error::new(
        ErrorKind::Limit,
        format!("names of more than {LONGEST_NAME} bytes are not changed, and {what}"),
    )
}

/// What stands in front of names: `TEXT`, `DB:TEXT` for one database of the file, `*:TEXT` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    db: Option<u64>,
    text: Vec<u8>,
    typed: String,
}

/// As it was typed.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// Digits and a colon in front are a database. Whoever wants them in the names writes `*:3:`, which is the prefix `3:` in all
/// databases.
impl FromStr for Prefix {
    type Err = String;

    fn from_str(typed: &str) -> std::result::Result<Self, String> {
        let (db, text) = match typed.split_once(':') {
            Some(("*", text)) => (None, text),
            Some((db, text)) if !db.is_empty() && db.bytes().all(|b| b.is_ascii_digit()) => {
                if text.is_empty() {
                    return Err(format!(
                        "for the prefix \"{db}:\" in all databases write *:{db}:, for another one in database {db} write {db}:TEXT"
                    ));
                }
                let db = db
                    .parse()
                    .map_err(|_| format!("{db} is the number of no database"))?;
                (Some(db), text)
            }
            _ => (None, typed),
        };
        let plain = literal(text)?;
        if plain.is_empty() {
            return Err("an empty prefix changes nothing".to_owned());
        }
        Ok(Self {
            db,
            text: plain,
            typed: typed.to_owned(),
        })
    }
}

/// What keys are called at the destination. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Naming(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    renames: Vec<Rename>,
    prefixes: BTreeMap<u64, Vec<u8>>,
    everywhere: Vec<u8>,
}

impl Naming {
    /// All rules.
    ///
    /// # Errors
    /// `Usage` where one database has two prefixes.
    pub fn new(renames: &[Rename], prefixes: &[Prefix]) -> Result<Self> {
        if renames.is_empty() && prefixes.is_empty() {
            return Ok(Self(None));
        }
        let mut rules = Rules {
            renames: renames.to_vec(),
            prefixes: BTreeMap::new(),
            everywhere: Vec::new(),
        };
        for prefix in prefixes {
            let before = match prefix.db {
                Some(db) => rules.prefixes.insert(db, prefix.text.clone()),
                None => Some(std::mem::replace(
                    &mut rules.everywhere,
                    prefix.text.clone(),
                ))
                .filter(|before| !before.is_empty()),
            };
            if before.is_some() {
                let whose = match prefix.db {
                    Some(db) => format!("database {db} has"),
                    None => "all databases have".to_owned(),
                };
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{whose} two prefixes, the second one is {prefix}"),
                ));
            }
        }
        Ok(Self(Some(Arc::new(rules))))
    }

    /// Whether every key keeps its name.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.0.is_none()
    }

    /// Whether two different names of one database may become one.
    #[must_use]
    pub fn may_merge(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|rules| !rules.renames.is_empty())
    }

    /// Whether names that are different in the file, wherever they stand in it, are different at the destination.
    #[must_use]
    pub fn keeps_apart(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|rules| rules.renames.is_empty() && rules.prefixes.is_empty())
    }

    /// What the key `key` of the file's database `db` is called at the destination; `scratch` is used where that does not
    /// stand in the file as it is.
    ///
    /// # Errors
    /// `Corrupt` where the name is compressed and lies, `Limit` where it is too long: see [`Str::bytes`] and
    /// [`LONGEST_NAME`].
    #[inline]
    pub fn of<'s>(&self, db: u64, key: &Str<'s>, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        match &self.0 {
            None => key.bytes(scratch),
            Some(rules) => rules.of(db, key, scratch),
        }
    }

    /// The same, where `room` takes names of any length that are not changed.
    ///
    /// # Errors
    /// As [`Naming::of`], and those of [`NameRoom::bytes`].
    #[inline]
    pub fn in_room<'s, 'data: 's>(
        &self,
        db: u64,
        key: &Str<'data>,
        room: &'s mut NameRoom,
    ) -> Result<&'s [u8]> {
        match &self.0 {
            None => room.bytes(key),
            Some(rules) => rules.of(db, key, room.buffer()),
        }
    }

    /// The beginning of it, at most `most` bytes: for people, and for trying what a user may write.
    #[must_use]
    pub fn preview(&self, db: u64, key: &Str<'_>, most: usize) -> Vec<u8> {
        if self.is_identity() {
            return key.preview(most);
        }
        let mut scratch = Vec::new();
        match self.of(db, key, &mut scratch) {
            Ok(name) => name.get(..most).unwrap_or(name).to_vec(),
            Err(_) => key.preview(most),
        }
    }
}

impl Rules {
    fn of<'s>(&self, db: u64, key: &Str<'s>, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        if key.len() > LONGEST_NAME {
            return Err(too_long(&format!("it has {}", key.len())));
        }
        let mut own = Vec::new();
        let name = key.bytes(&mut own)?;
        scratch.clear();
        push(scratch, self.prefixes.get(&db).unwrap_or(&self.everywhere))?;
        for rename in &self.renames {
            if rename.apply(name, scratch)? {
                return Ok(scratch);
            }
        }
        push(scratch, name)?;
        Ok(scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(renames: &[&str], prefixes: &[&str]) -> Naming {
        let renames: Vec<Rename> = renames.iter().map(|text| text.parse().unwrap()).collect();
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        Naming::new(&renames, &prefixes).unwrap()
    }

    fn of(naming: &Naming, db: u64, name: &[u8]) -> Vec<u8> {
        let (mut scratch, key) = (Vec::new(), Str::Raw(name));
        naming.of(db, &key, &mut scratch).unwrap().to_vec()
    }

    #[test]
    fn the_first_expression_that_is_found_renames_and_the_prefix_comes_last() {
        let names = naming(
            &["^user:(\\d+)$=u:$1", "^(?P<first>.).*:=${first}"],
            &["*:new:", "3:three:"],
        );
        for (db, from, to) in [
            (0, &b"user:17"[..], &b"new:u:17"[..]),
            (3, b"user:17", b"three:u:17"),
            (0, b"user:x", b"new:ux"),
            (0, b"plain", b"new:plain"),
            (0, b"", b"new:"),
        ] {
            assert_eq!(of(&names, db, from), to);
        }
        assert!(names.may_merge() && !names.keeps_apart() && !names.is_identity());
        assert!(!naming(&[], &["a"]).may_merge() && naming(&[], &["a"]).keeps_apart());
        assert!(!naming(&[], &["1:a"]).keeps_apart() && naming(&[], &[]).is_identity());
    }

    #[test]
    fn names_are_bytes() {
        let names = naming(&["(?-u)\\xff(.)=\\x00$1\\n\"$$"], &["\\xfe\""]);
        assert_eq!(of(&names, 0, b"a\xffbc"), b"\xfe\"a\0b\n\"$c");
        let (mut scratch, names) = (Vec::new(), naming(&["1=one"], &[]));
        assert_eq!(names.of(0, &Str::Int(-31), &mut scratch).unwrap(), b"-3one");
        assert_eq!(
            of(&naming(&["=x"], &[]), 0, b"abc"),
            b"xabc",
            "found in front"
        );
        assert_eq!(of(&naming(&["b="], &[]), 0, b"abab"), b"aab", "once");
    }

    #[test]
    fn an_equals_sign_of_the_expression_stands_behind_a_backslash() {
        assert_eq!(of(&naming(&["a\\=b=c=d"], &[]), 0, b"a=b"), b"c=d");
        assert_eq!(of(&naming(&["a\\\\=c"], &[]), 0, b"a\\"), b"c");
        for bad in [
            "", "a", "a\\=b", "(=x", "a=$1", "(a)=$1x", "(a)=${1", "a=\\q", "a=\\", "a=$",
        ] {
            assert!(bad.parse::<Rename>().is_err(), "{bad}");
        }
        assert_eq!("a=b".parse::<Rename>().unwrap().to_string(), "a=b");
    }

    #[test]
    fn digits_and_a_colon_in_front_are_a_database() {
        let of = |prefix: &str, db| of(&naming(&[], &[prefix]), db, b"k");
        assert_eq!(
            (of("app:", 0), of("app:", 7)),
            (b"app:k".to_vec(), b"app:k".to_vec())
        );
        assert_eq!(
            (of("7:app:", 0), of("7:app:", 7)),
            (b"k".to_vec(), b"app:k".to_vec())
        );
        assert_eq!(of("*:7:", 0), b"7:k");
        assert_eq!((of("7", 0), of(":7", 0)), (b"7k".to_vec(), b":7k".to_vec()));
        for bad in ["", "7:", "*:", "99999999999999999999:x", "\\"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
        let twice = |a: &str, b: &str| Naming::new(&[], &[a.parse().unwrap(), b.parse().unwrap()]);
        assert!(twice("a", "*:b").is_err() && twice("1:a", "1:a").is_err());
        assert!(twice("1:a", "2:a").is_ok());
    }

    #[test]
    fn long_names_are_refused_not_made() {
        let most = usize::try_from(LONGEST_NAME).unwrap();
        let (mut scratch, long) = (Vec::new(), vec![b'k'; most]);
        let names = naming(&["x(.*)=$1$1$1"], &[]);
        assert_eq!(names.of(0, &Str::Raw(&long), &mut scratch).unwrap(), long);
        let longer = vec![b'k'; most + 1];
        for name in [&longer[..], &[b"x", &longer[2..]].concat()] {
            let error = names.of(0, &Str::Raw(name), &mut scratch).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        }
        assert_eq!(names.preview(0, &Str::Raw(&longer), 3), b"kkk");
        assert_eq!(naming(&[], &["p"]).preview(0, &Str::Raw(b"abc"), 3), b"pab");
    }
}
