//! The dumps in a directory: one file for each shard, or the directory of an append-only file.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{DirEntry, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::aof::Manifest;
use super::content::{self, Content, Packing};
use super::fact::Fact;
use super::feed::Feed;
use super::identity::Stamp;
use super::source::{Source, head_of};
use super::{shown, unpack};
use crate::error::{Error, ErrorKind, Result};

/// How many names of what is not taken are shown.
const NAMES_SHOWN: usize = 5;

/// What was found in a directory.
pub(super) struct Listing {
    pub(super) sources: Vec<Source>,
    pub(super) facts: Vec<Fact>,
}

/// Finds the dumps in `dir`, in the natural order of their names (`shard-2` before `shard-10`).
///
/// A file is taken for a dump by its content, or by its name (`*.rdb`, also packed), so that a shard that is empty or cut is
/// an error later on and not a silent gap. Hidden files, other files, directories, a save that was not finished
/// (`temp-*.rdb`) and a second name of one file are not taken, but counted. Directories are not entered.
///
/// # Errors
/// `Io` where the directory or a file in it cannot be read; `Usage` where there is no dump; `Corrupt` for a manifest that
/// names no base.
pub(super) fn list(dir: &Path) -> Result<Listing> {
    let named = |error: Error| error.or_input(shown(dir));
    let unreadable = |error| named(Error::io("the directory cannot be read", error));
    let mut found = Vec::new();
    let mut ignored = Ignored::default();
    let mut manifests = Vec::new();
    let mut aof_dir = None;
    for entry in dir.read_dir().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().as_bytes().starts_with(b".") {
            ignored.hidden += 1;
            continue;
        }
        match judge(&entry)? {
            Verdict::Dump(stamp) => found.push((entry.path(), stamp)),
            Verdict::Manifest => manifests.push(entry.path()),
            Verdict::AofDirectory => {
                aof_dir = Some(entry.path());
                ignored.add(&entry.path(), "append-only file");
            }
            Verdict::Other(why) => ignored.add(&entry.path(), why),
        }
    }
    manifests.sort();
    match &manifests[..] {
        [] => {}
        [manifest] => return append_only(manifest, &found),
        [first, .., last] => {
            return Err(named(Error::new(
                ErrorKind::Usage,
                format!(
                    "holds several append-only files, by {} and {}",
                    shown(first),
                    shown(last)
                ),
            ))
            .with_hint("name the base file itself: *.base.rdb"));
        }
    }
    found.sort_by(|(a, _), (b, _)| natural(name_of(a), name_of(b)));
    let mut sources = Vec::new();
    let mut taken: HashMap<Stamp, PathBuf> = HashMap::new();
    for (path, stamp) in found {
        match taken.entry(stamp) {
            Entry::Occupied(first) => {
                let first = Path::new(first.get().file_name().unwrap_or_default());
                ignored.add(&path, &format!("the same file as {}", shown(first)));
            }
            Entry::Vacant(place) => {
                place.insert(path.clone());
                sources.push(Source::file(path));
            }
        }
    }
    let mut facts = Vec::new();
    if sources.is_empty() {
        let error = named(Error::new(
            ErrorKind::Corrupt,
            "the directory holds no dump",
        ));
        return Err(match (aof_dir, ignored.others) {
            (Some(aof_dir), _) => error.with_hint(format!(
                "name the directory of the append-only file: {}",
                shown(&aof_dir)
            )),
            (None, 0) => error.with_hint(LOOKED_FOR),
            (None, _) => error
                .with_hint(ignored.fact(dir).to_string())
                .and_hint(LOOKED_FOR),
        });
    }
    if let Some(dir) = aof_dir {
        facts.push(Fact::AofBeside { dir });
    }
    if ignored.others + ignored.hidden > 0 {
        facts.push(ignored.fact(dir));
    }
    Ok(Listing { sources, facts })
}

/// The base that a manifest names, with its increments.
fn append_only(manifest: &Path, dumps: &[(PathBuf, Stamp)]) -> Result<Listing> {
    let named = |error: Error| error.or_input(shown(manifest));
    let read = Manifest::read(manifest).map_err(named)?;
    let Some(base) = &read.base else {
        return Err(named(Error::new(ErrorKind::Corrupt, "the manifest names no base file")).with_hint(
            "an append-only file of commands alone is sent as it is: `redis-cli -u URL --pipe < FILE`",
        ));
    };
    if let Some((dump, _)) = dumps.iter().find(|(path, _)| !read.names(path)) {
        return Err(named(Error::new(
            ErrorKind::Usage,
            format!(
                "beside this append-only file lies {}, which is not part of it",
                shown(dump)
            ),
        ))
        .with_hint("name the one that is meant: the base file or the dump"));
    }
    let increments = read.increments();
    let facts = match increments.files.is_empty() {
        true => Vec::new(),
        false => vec![Fact::AofIncrements(increments)],
    };
    Ok(Listing {
        sources: vec![Source::file(base).with_facts(facts)],
        facts: Vec::new(),
    })
}

enum Verdict {
    Dump(Stamp),
    Manifest,
    AofDirectory,
    Other(&'static str),
}

fn judge(entry: &DirEntry) -> Result<Verdict> {
    let path = entry.path();
    let unreadable = |error| {
        Error::io("cannot be read, and may be a dump", error)
            .or_input(shown(&path))
            .with_hint("remove it, make it readable, or name the files themselves")
    };
    // Through symbolic links. One that leads nowhere may be a missing shard: that is an error, too.
    let metadata = path.metadata().map_err(unreadable)?;
    let name = entry.file_name();
    let name = name.as_bytes();
    if metadata.is_dir() {
        return Ok(match is_aof_directory(&path) {
            true => Verdict::AofDirectory,
            false => Verdict::Other("directory"),
        });
    }
    if !metadata.is_file() {
        return Ok(Verdict::Other("no regular file"));
    }
    if is_unfinished_save(name) {
        return Ok(Verdict::Other("a save that was not finished"));
    }
    let file = File::open(&path).map_err(unreadable)?;
    let head = head_of(&file).map_err(unreadable)?;
    if name.ends_with(b".manifest") && content::is_manifest(&head) {
        return Ok(Verdict::Manifest);
    }
    let dump = Verdict::Dump(Stamp::of(&metadata));
    Ok(match content::recognise(&head) {
        Content::Dump(Packing::Plain) => dump,
        _ if is_dump_name(name) => dump,
        Content::Dump(packing) => match unpack::first_bytes(&mut Feed::new(&file), packing) {
            Ok(inside) if !matches!(content::recognise(&inside), Content::Dump(_)) => {
                Verdict::Other("")
            }
            // Damaged or not to be unpacked here: opening it says so.
            _ => dump,
        },
        Content::Other(_) => Verdict::Other(""),
    })
}

/// Whether a directory holds a manifest of an append-only file.
fn is_aof_directory(dir: &Path) -> bool {
    let is_manifest = |entry: DirEntry| entry.file_name().as_bytes().ends_with(b".manifest");
    dir.read_dir()
        .is_ok_and(|entries| entries.flatten().any(is_manifest))
}

/// Names that servers give to a save while it runs: `temp-PID.rdb`, `temp-TIME.PID.rdb`.
fn is_unfinished_save(name: &[u8]) -> bool {
    let middle = name
        .strip_prefix(b"temp-")
        .and_then(|rest| rest.strip_suffix(b".rdb"));
    middle.is_some_and(|middle| {
        !middle.is_empty()
            && middle
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    })
}

/// Names that say that the file should be a dump.
fn is_dump_name(name: &[u8]) -> bool {
    let mut name = name.to_ascii_lowercase();
    for packed in [&b".gz"[..], b".zst", b".zstd", b".lz4"] {
        if name.ends_with(packed) {
            name.truncate(name.len() - packed.len());
        }
    }
    name.ends_with(b".rdb") || name.ends_with(b".dfs")
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}

/// Compares names as people sort them: numbers by their value, everything else byte by byte.
fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut x, mut y) = (a, b);
    while let ([first_x, rest_x @ ..], [first_y, rest_y @ ..]) = (x, y) {
        if first_x.is_ascii_digit() && first_y.is_ascii_digit() {
            let (number_x, behind_x) = number(x);
            let (number_y, behind_y) = number(y);
            let order = number_x
                .len()
                .cmp(&number_y.len())
                .then(number_x.cmp(number_y));
            if order.is_ne() {
                return order;
            }
            (x, y) = (behind_x, behind_y);
        } else if first_x != first_y {
            return first_x.cmp(first_y);
        } else {
            (x, y) = (rest_x, rest_y);
        }
    }
    // `a01` and `a1` are equal so far, but two names.
    x.len().cmp(&y.len()).then(a.cmp(b))
}

/// The digits in front, without leading zeros, and what stands behind them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    (&text[zeros..digits], &text[digits..])
}

/// What is not taken.
#[derive(Default)]
struct Ignored {
    others: u64,
    hidden: u64,
    names: Vec<String>,
}

impl Ignored {
    fn add(&mut self, path: &Path, why: &str) {
        self.others += 1;
        if self.names.len() < NAMES_SHOWN {
            let name = shown(Path::new(path.file_name().unwrap_or_default()));
            self.names.push(match why {
                "" => name,
                why => format!("{name}: {why}"),
            });
        }
    }

    fn fact(self, dir: &Path) -> Fact {
        Fact::Ignored {
            dir: dir.to_owned(),
            others: self.others,
            hidden: self.hidden,
            names: self.names,
        }
    }
}

/// What makes a file of a directory a dump.
const LOOKED_FOR: &str = "looked for are files that begin with REDIS or VALKEY, also packed, or are named *.rdb; directories in it are not entered";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_do() {
        let mut names = vec![
            "shard-10.rdb",
            "shard-2.rdb",
            "Shard-1.rdb",
            "shard-02.rdb",
            "shard.rdb",
            "shard-2",
            "shard-100000000000000000000000.rdb",
            "shard-99999999999999999999999.rdb",
            "a1b2",
            "a1b10",
            "a",
            "0",
            "00",
            "",
        ];
        names.sort_by(|a, b| natural(a.as_bytes(), b.as_bytes()));
        assert_eq!(
            names,
            [
                "",
                "0",
                "00",
                "Shard-1.rdb",
                "a",
                "a1b2",
                "a1b10",
                "shard-2",
                "shard-02.rdb",
                "shard-2.rdb",
                "shard-10.rdb",
                "shard-99999999999999999999999.rdb",
                "shard-100000000000000000000000.rdb",
                "shard.rdb"
            ]
        );
    }

    #[test]
    fn names_say_what_a_file_should_be() {
        for name in ["dump.rdb", "DUMP.RDB", "a.rdb.gz", "a.rdb.zst", "a.dfs"] {
            assert!(is_dump_name(name.as_bytes()), "{name}");
        }
        for name in ["dump", "rdb", "a.rdb.txt", "a.gz"] {
            assert!(!is_dump_name(name.as_bytes()), "{name}");
        }
        for name in ["temp-1234.rdb", "temp-1700000000.77.rdb"] {
            assert!(is_unfinished_save(name.as_bytes()), "{name}");
        }
        for name in ["temp-.rdb", "temp-a.rdb", "temp.rdb", "mytemp-1.rdb"] {
            assert!(!is_unfinished_save(name.as_bytes()), "{name}");
        }
    }
}
