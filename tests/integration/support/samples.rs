//! The dumps that tests go through: all of `testdata/`, and the corpus of other projects' files where it is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::expected;
use super::server::version_of;
use super::{corpus_dir, testdata_dir};

/// One dump.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// `redis-7.0/lists.rdb`, or `corpus/…`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The server that wrote it, for those of `testdata/`.
    pub(crate) home: Option<String>,
    pub(crate) data: Vec<u8>,
}

/// All dumps that are sound.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = expected::all()
        .into_iter()
        .map(|row| sample(row.name.clone(), row.rdb(), Some(row.server)))
        .collect();
    assert!(
        samples.len() >= 248,
        "{} below {}",
        samples.len(),
        testdata_dir().display()
    );
    if let Some(dir) = corpus_dir() {
        let before = samples.len();
        add_files(&dir.join("valid"), "corpus", &mut samples);
        let count = samples.len() - before;
        assert!(count >= 80, "only {count} files in the corpus");
    }
    samples
}

fn add_files(dir: &Path, name: &str, samples: &mut Vec<Sample>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}/{file}");
        if path.is_dir() {
            add_files(&path, &name, samples);
        } else {
            samples.push(sample(name, path, None));
        }
    }
}

fn sample(name: String, path: PathBuf, home: Option<String>) -> Sample {
    let data = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Sample {
        name,
        path,
        home,
        data,
    }
}

impl Sample {
    /// `("REDIS", 11)`.
    pub(crate) fn magic(&self) -> (&'static str, u32) {
        let number = |bytes: &[u8]| -> u32 {
            std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{}: no version", self.name))
        };
        match self.data.strip_prefix(b"VALKEY") {
            Some(rest) => ("VALKEY", number(&rest[..3])),
            None => ("REDIS", number(&self.data[5..9])),
        }
    }

    /// Whether this server reads files of this magic and number at all.
    pub(crate) fn is_read_by(&self, server: &str) -> bool {
        let (product, major, minor) = version_of(server);
        let newest = match (product, major, minor) {
            ("valkey", ..) => 11,
            (_, ..3, _) | (_, 3, 0) => 6,
            (_, 3, _) => 7,
            (_, 4, _) => 8,
            (_, 5 | 6, _) => 9,
            (_, 7, ..2) => 10,
            (_, 7, ..4) => 11,
            (_, 7, _) | (_, 8, ..6) => 12,
            (_, 8, ..8) => 13,
            (_, 8, ..10) => 14,
            _ => 15,
        };
        match self.magic() {
            ("VALKEY", number) => product == "valkey" && major >= 9 && number <= 80,
            (_, number) => number <= newest,
        }
    }
}
