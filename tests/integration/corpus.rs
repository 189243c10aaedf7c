//! The samples of other projects: what is valid passes, what is invalid is refused with an offset, what is odd is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::support::command::run;
use super::support::corpus_dir;

/// All files below `dir`, with their path below it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The column `outcome` of `MANIFEST.tsv`, by path, and the number of keys.
fn manifest(corpus: &Path) -> BTreeMap<String, (String, u64)> {
    let text = fs::read_to_string(corpus.join("MANIFEST.tsv")).expect("MANIFEST.tsv");
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().expect("a head").split('\t').collect();
    let column = |name: &str| columns.iter().position(|c| *c == name).expect("the column");
    let (path, outcome, keys) = (column("path"), column("outcome"), column("keys"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let keys = cells[keys].parse().unwrap_or(0);
            (cells[path].to_owned(), (cells[outcome].to_owned(), keys))
        })
        .collect()
}

#[test]
fn every_valid_file_passes() {
    let Some(corpus) = corpus_dir() else { return };
    let manifest = manifest(&corpus);
    let files = files(&corpus.join("valid"));
    assert!(files.len() >= 87, "{}", files.len());
    for path in files {
        let name = path
            .strip_prefix(&corpus)
            .expect("below")
            .to_str()
            .expect("UTF-8");
        let ran = run(["check", "-q", "--json", path.to_str().expect("UTF-8")]);
        ran.ends_with(0);
        let info = run(["info", "-q", "--json", path.to_str().expect("UTF-8")]);
        info.ends_with(0);
        if let Some((_, keys)) = manifest.get(name) {
            assert_eq!(info.json()["inputs"][0]["info"]["keys"], *keys, "{name}");
            assert_eq!(
                ran.json()["inputs"][0]["totals"]["entries"],
                *keys,
                "{name}"
            );
        }
    }
}

#[test]
fn every_invalid_file_is_refused_with_an_offset() {
    let Some(corpus) = corpus_dir() else { return };
    let files = files(&corpus.join("invalid"));
    assert!(files.len() >= 6, "{}", files.len());
    for path in files {
        let ran = run(["check", "-q", path.to_str().expect("UTF-8")]);
        assert!(
            ran.code == 1 || ran.code == 3,
            "{}: {ran:?}",
            path.display()
        );
        assert!(
            ran.stdout.contains("fault: offset ") || ran.stdout.contains("fatal: offset "),
            "{}: {ran:?}",
            path.display()
        );
    }
}

#[test]
fn what_is_odd_about_a_file_is_said() {
    let Some(corpus) = corpus_dir() else { return };
    let manifest = manifest(&corpus);
    let files = files(&corpus.join("odd"));
    assert!(files.len() >= 14, "{}", files.len());
    for path in files {
        let name = path
            .strip_prefix(&corpus)
            .expect("below")
            .to_str()
            .expect("UTF-8");
        let ran = run(["check", "-q", "--duplicates", path.to_str().expect("UTF-8")]);
        assert!(ran.code == 0 || ran.code == 1, "{name}: {ran:?}");
        let (oddity, _) = &manifest[name];
        // The words for the oddity that the manifest names. Of files that only some servers load, the reason is one of two.
        let words: &[&str] = match oddity.split(' ').next().unwrap_or_default() {
            "duplicate-keys" => &["the same key stands at offset"],
            "empty-collections-skipped-by-servers" => &["the collection has no elements"],
            "redis-enterprise-opcodes" => &["opcodes of Redis Enterprise"],
            "valid-but-refused-by" => &["live entries", "release candidates of redis 7.0"],
            other => panic!("{name} is odd in a new way: {other}"),
        };
        assert!(
            words.iter().any(|words| ran.stdout.contains(words)),
            "{name} ({oddity}):\n{}",
            ran.stdout
        );
    }
}
