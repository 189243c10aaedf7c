//! Multi-part append-only files (Redis 7.0 and later, Valkey): a base file, which is an RDB file, and increments with the
//! commands that came after it, both named in a manifest (`aof.c`, `aofLoadManifestFromFile`).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::shown;
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::units::ByteCount;

/// A manifest is a few lines; more than this is none.
const LONGEST_MANIFEST: u64 = 1 << 20;

/// The increments that belong to a base file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Increments {
    /// Path and size of each, in the order in which a server reads them; no size where it is named in the manifest and
    /// missing.
    pub files: Vec<(PathBuf, Option<u64>)>,
}

impl Increments {
    /// Whether they can hold writes that are newer than the base: a server makes an empty one at each rewrite.
    #[must_use]
    pub fn hold_writes(&self) -> bool {
        self.files.iter().any(|(_, size)| *size != Some(0))
    }
}

impl fmt::Display for Increments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is the base of an append-only file, ")?;
        let Some((last, _)) = self.files.last() else {
            return f.write_str("without increments");
        };
        if !self.hold_writes() {
            return f.write_str("whose increments are empty");
        }
        let missing = self.files.iter().filter(|(_, size)| size.is_none()).count();
        let bytes = self
            .files
            .iter()
            .filter_map(|(_, size)| *size)
            .fold(0, u64::saturating_add);
        write!(f, "and newer writes stand in {}", shown(last))?;
        match self.files.len() {
            1 => {}
            n => write!(f, " and {} before it", n - 1)?,
        }
        write!(f, ": {}", ByteCount(bytes))?;
        match missing {
            0 => Ok(()),
            n => write!(f, ", {n} missing"),
        }
    }
}

/// What a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    pub(super) base: Option<PathBuf>,
    pub(super) increments: Vec<PathBuf>,
    /// Older files that wait to be removed.
    pub(super) history: Vec<PathBuf>,
}

impl Manifest {
    /// Reads the manifest at `path`; the names in it become paths beside it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST_MANIFEST + 1).read_to_end(&mut text))
            .map_err(|error| Error::io("cannot be read", error))?;
        if text.len() as u64 > LONGEST_MANIFEST {
            return Err(Error::new(ErrorKind::Corrupt, "is too long for a manifest"));
        }
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    fn parse(text: &[u8], dir: &Path) -> Result<Self> {
        let mut manifest = Self::default();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let fault = |what: &str| {
                let line = Escaped(line.get(..80).unwrap_or(line));
                Error::new(
                    ErrorKind::Corrupt,
                    format!("line {number} of the manifest {what}: {line}"),
                )
            };
            let words = words(line).ok_or_else(|| fault("has a quote that does not end"))?;
            let value = |name: &[u8]| {
                let mut pairs = words.chunks_exact(2);
                pairs.find(|pair| pair[0] == name).map(|pair| &pair[1][..])
            };
            let file = value(b"file").ok_or_else(|| fault("names no file"))?;
            let kind = value(b"type").ok_or_else(|| fault("has no type"))?;
            // As the server: a name, never a path out of the directory.
            let file = std::str::from_utf8(file).map_err(|_| fault("names a file in no UTF-8"))?;
            if file.is_empty() || file.contains('/') || file == ".." {
                return Err(fault("names a path where a file name should be"));
            }
            match kind {
                b"b" if manifest.base.is_some() => return Err(fault("names a second base")),
                b"b" => manifest.base = Some(dir.join(file)),
                b"i" => manifest.increments.push(dir.join(file)),
                b"h" => manifest.history.push(dir.join(file)),
                _ => return Err(fault("has an unknown type")),
            }
        }
        Ok(manifest)
    }

    /// Whether it names `path`.
    pub(super) fn names(&self, path: &Path) -> bool {
        let mut all = self
            .base
            .iter()
            .chain(&self.increments)
            .chain(&self.history);
        all.any(|named| named.file_name() == path.file_name())
    }

    /// The increments with their sizes.
    pub(super) fn increments(&self) -> Increments {
        let size = |path: &PathBuf| path.metadata().ok().map(|metadata| metadata.len());
        Increments {
            files: self
                .increments
                .iter()
                .map(|path| (path.clone(), size(path)))
                .collect(),
        }
    }
}

/// Splits a line as the server does: words, or quotes with backslashes inside.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return Some(words),
            Some(b'"') => {
                let mut end = 1;
                while *rest.get(end)? != b'"' {
                    end += if rest[end] == b'\\' { 2 } else { 1 };
                }
                words.push(crate::error::unescape(&rest[..=end])?);
                rest = &rest[end + 1..];
            }
            Some(_) => {
                let end = rest
                    .iter()
                    .position(u8::is_ascii_whitespace)
                    .unwrap_or(rest.len());
                words.push(rest[..end].to_vec());
                rest = &rest[end..];
            }
        }
    }
}

/// The increments of the base file at `path`: those that its manifest names, or else those that lie beside it and are
/// named as its own. `None` where it is not named as a base file is.
pub(super) fn increments_of(path: &Path) -> Option<Increments> {
    // NAME.SEQUENCE.base.rdb
    let file_name = path.file_name()?.to_str()?;
    let (name, sequence) = file_name.strip_suffix(".base.rdb")?.rsplit_once('.')?;
    if !is_number(sequence) {
        return None;
    }
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if let Ok(manifest) = Manifest::read(&dir.join(format!("{name}.manifest")))
        && manifest.base.as_deref().and_then(Path::file_name) == path.file_name()
    {
        return Some(manifest.increments());
    }
    let mut files: Vec<(u64, PathBuf, Option<u64>)> = Vec::new();
    for entry in dir.read_dir().ok()?.flatten() {
        let number = entry.file_name().to_str().and_then(|increment| {
            let rest = increment.strip_prefix(name)?.strip_prefix('.')?;
            rest.strip_suffix(".incr.aof")?.parse().ok()
        });
        if let Some(number) = number {
            files.push((
                number,
                entry.path(),
                entry.metadata().ok().map(|metadata| metadata.len()),
            ));
        }
    }
    files.sort();
    Some(Increments {
        files: files
            .into_iter()
            .map(|(_, path, size)| (path, size))
            .collect(),
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text.as_bytes(), Path::new("/d"))
    }

    #[test]
    fn a_manifest_names_its_files() {
        let manifest = parse(
            "file appendonly.aof.2.base.rdb seq 2 type b\n\
             file appendonly.aof.1.incr.aof seq 1 type h\n\
             # a comment\n\
             file \"odd \\\"name\\\".2.incr.aof\" seq 2 type i\r\n\
             file appendonly.aof.3.incr.aof seq 3 type i startoffset 0 \n",
        )
        .unwrap();
        assert_eq!(
            manifest.base.as_deref(),
            Some(Path::new("/d/appendonly.aof.2.base.rdb"))
        );
        assert_eq!(
            manifest.history,
            [Path::new("/d/appendonly.aof.1.incr.aof")]
        );
        for named in [
            "appendonly.aof.2.base.rdb",
            "appendonly.aof.1.incr.aof",
            "appendonly.aof.3.incr.aof",
        ] {
            assert!(manifest.names(Path::new(named)), "{named}");
        }
        assert!(!manifest.names(Path::new("/d/dump.rdb")));
        assert_eq!(
            manifest.increments,
            [
                Path::new("/d/odd \"name\".2.incr.aof"),
                Path::new("/d/appendonly.aof.3.incr.aof")
            ]
        );
    }

    #[test]
    fn a_broken_manifest_is_said_with_its_line() {
        for (text, words) in [
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "line 2 of the manifest names a second base",
            ),
            ("file ../a seq 1 type b", "names a path"),
            ("file a seq 1", "has no type"),
            ("seq 1 type b", "names no file"),
            ("file a seq 1 type x", "unknown type"),
            ("file \"a seq 1 type b", "quote"),
            ("file \"a\\", "quote"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn increments_beside_a_base_are_found_with_and_without_the_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let base = path("appendonly.aof.2.base.rdb");
        for (name, bytes) in [
            ("appendonly.aof.2.base.rdb", &b"REDIS0011"[..]),
            ("appendonly.aof.10.incr.aof", b"*1\r\n"),
            ("appendonly.aof.9.incr.aof", b""),
            ("other.aof.1.incr.aof", b"x"),
        ] {
            std::fs::write(path(name), bytes).unwrap();
        }
        let found = increments_of(&base).unwrap();
        assert_eq!(
            found.files,
            [
                (path("appendonly.aof.9.incr.aof"), Some(0)),
                (path("appendonly.aof.10.incr.aof"), Some(4))
            ]
        );
        assert!(
            found.hold_writes() && found.to_string().contains("4 bytes"),
            "{found}"
        );

        std::fs::write(
            path("appendonly.aof.manifest"),
            "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.9.incr.aof seq 9 type i\n",
        )
        .unwrap();
        let found = increments_of(&base).unwrap();
        assert_eq!(found.files.len(), 1);
        assert!(
            !found.hold_writes() && found.to_string().contains("empty"),
            "{found}"
        );

        // Named and missing: writes that cannot be counted are writes all the same.
        std::fs::remove_file(path("appendonly.aof.9.incr.aof")).unwrap();
        let found = increments_of(&base).unwrap();
        assert!(
            found.hold_writes() && found.to_string().contains("1 missing"),
            "{found}"
        );

        assert_eq!(increments_of(&path("dump.rdb")), None);
        assert_eq!(increments_of(&path("x.y.base.rdb")), None);
    }
}
