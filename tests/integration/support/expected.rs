//! The rows of `testdata/expected.tsv`: what the server that wrote each file said of its data.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A plain dump.
    Rdb,
    /// An AOF with an RDB in front.
    Aof,
    /// A directory: a multi-part AOF.
    AppendOnlyDir,
}

/// One file of `testdata/`.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// Below `testdata/`, as `redis-7.0/lists.rdb`.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The first nine bytes.
    pub(crate) magic: String,
    /// The server's name in `tests/servers.sh`.
    pub(crate) server: String,
    pub(crate) server_version: String,
    pub(crate) keys: u64,
    pub(crate) keys_per_db: BTreeMap<u64, u64>,
    pub(crate) expires: u64,
    /// Entries that were past their time soon after the file was written.
    pub(crate) past: u64,
    pub(crate) functions: u64,
    /// Keys by `TYPE`.
    pub(crate) types: BTreeMap<String, u64>,
    /// Keys by the type byte in the file.
    pub(crate) rdb_types: BTreeMap<u8, u64>,
}

impl Expected {
    /// The file, or the directory.
    pub(crate) fn path(&self) -> PathBuf {
        testdata().join(&self.name)
    }

    /// The file that holds the RDB.
    pub(crate) fn rdb(&self) -> PathBuf {
        let path = self.path();
        if self.kind != Kind::AppendOnlyDir {
            return path;
        }
        fs::read_dir(&path)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.to_string_lossy().ends_with(".base.rdb"))
            .expect("a base file")
    }

    /// The case that made it, as `lists`.
    pub(crate) fn case(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file.split('.').next().unwrap_or_default()
    }
}

/// The directory of the samples.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// All rows.
pub(crate) fn all() -> Vec<Expected> {
    let text = fs::read_to_string(testdata().join("expected.tsv")).expect("expected.tsv is there");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<&str> = lines.next().expect("a head").split('\t').collect();
    lines
        .map(|line| {
            let row: HashMap<&str, &str> = columns.iter().copied().zip(line.split('\t')).collect();
            Expected {
                name: row["path"].to_owned(),
                kind: match row["kind"] {
                    "rdb" => Kind::Rdb,
                    "aof" => Kind::Aof,
                    "appendonlydir" => Kind::AppendOnlyDir,
                    other => panic!("unknown kind {other}"),
                },
                magic: row["magic"].to_owned(),
                server: row["server"].to_owned(),
                server_version: row["server_version"].to_owned(),
                keys: number(row["keys"]),
                keys_per_db: counts(row["keys_per_db"]),
                expires: number(row["expires"]),
                past: number(row["past"]),
                functions: number(row["functions"]),
                types: counts(row["types"]),
                rdb_types: counts(row["rdb_types"]),
            }
        })
        .collect()
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// `0:12,5:3`, or `-` for nothing.
fn counts<K: std::str::FromStr + Ord>(text: &str) -> BTreeMap<K, u64> {
    text.split(',')
        .filter(|part| *part != "-")
        .map(|part| {
            let (key, count) = part.split_once(':').expect("key:count");
            (key.parse().ok().expect("a key"), number(count))
        })
        .collect()
}
