//! The files of `testdata/hostile/`, by the command: each ends with its exit code and its words.

use std::collections::BTreeSet;
use std::fs;

use super::super::support::command::run;
use super::super::support::testdata_dir;

/// What each column of the table runs.
const VERBS: [&[&str]; 4] = [
    &["check"],
    &["info"],
    &["keys", "--format", "ndjson"],
    &["export", "--format", "ndjson"],
];

#[test]
fn every_kept_file_ends_as_its_line_says() {
    let dir = testdata_dir().join("hostile");
    let table = fs::read_to_string(dir.join("expected.tsv")).expect("a table");
    let mut listed = BTreeSet::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, codes @ .., says] = columns.as_slice() else {
            panic!("{line}");
        };
        assert_eq!(codes.len(), VERBS.len(), "{line}");
        let path = dir.join(name);
        let path = path.to_str().expect("a path in UTF-8");
        for (verb, code) in VERBS.iter().zip(codes) {
            let ran = run(verb.iter().copied().chain([path]));
            let what = format!("{name}, {verb:?}");
            assert_eq!(ran.code.to_string(), *code, "{what}: {ran:?}");
            // What is found in a value is said by those who walk it.
            if verb == &["check"] || ran.code != 0 {
                let both = format!("{}{}", ran.stdout, ran.stderr);
                assert!(both.contains(says), "{what}: {both}");
            }
        }
        assert!(listed.insert((*name).to_owned()), "{name} twice");
    }
    let there: BTreeSet<String> = fs::read_dir(&dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".rdb"))
        .collect();
    assert_eq!(listed, there, "files and lines");
    assert!(listed.len() >= 25, "{} files", listed.len());
}
