//! A disk that is full, and a limit on the size of files: each thing that is written says so, with the numbers that are known,
//! ends with the right code, and leaves no temporary file behind.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::support::command::{Dir, PROGRAM, Ran, journal_dir, program, run_with};
use super::support::dump::{Crc, Dump};
use super::support::server::Server;

/// Runs the program with no file larger than `bytes`.
fn limited<'a>(bytes: u64, args: impl IntoIterator<Item = &'a str>) -> Ran {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--fsize={bytes}"))
        .arg(PROGRAM)
        .args(args)
        .env("RDBRIDGE_JOURNAL_DIR", journal_dir());
    run_with(&mut command, b"")
}

/// A dump of values that do not compress, larger than a megabyte.
fn dump() -> Vec<u8> {
    let mut number = 1u64;
    (0..300)
        .fold(Dump::redis(9), |dump, i| {
            let value = std::iter::repeat_with(|| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (number >> 33) as u8
            });
            dump.string_key(format!("k{i}"), value.take(4096).collect::<Vec<_>>())
        })
        .finish(Crc::Right)
}

/// What lies in a directory, hidden files too.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_spool_that_cannot_grow_is_told_with_both_numbers() {
    let (dir, spools) = (Dir::new(), Dir::new());
    let spool_dir = spools.path().to_str().expect("text");
    let bytes = dump();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).expect("packed");
    let zstd = zstd::encode_all(&bytes[..], 1).expect("packed");
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&bytes).expect("packed");
    let lz4 = lz4.finish().expect("packed");
    let vcs = [&b"VCS\x01\x01\0\x01"[..], &lz4].concat();
    for (name, packed) in [
        ("gzip", gzip.finish().expect("packed")),
        ("zstd", zstd),
        ("lz4", lz4),
        ("vcs", vcs),
    ] {
        let file = dir.file(name, packed);
        for verb in ["info", "check", "keys"] {
            let ran = limited(600_000, [verb, &file, "--spool-dir", spool_dir]);
            assert_eq!(ran.code, 3, "{name} {verb}: {ran:?}");
            assert!(
                ran.stderr
                    .contains(&format!("the spool in {spool_dir} is full: "))
                    && ran.stderr.contains(" written, ")
                    && ran.stderr.contains(" free"),
                "{name} {verb}: {ran:?}"
            );
            assert_eq!(names(spools.path()), Vec::<String>::new(), "{name} {verb}");
        }
    }
    let plain = dir.file("plain.rdb", &bytes);
    let args = ["info", &plain, "--no-mmap", "--spool-dir", spool_dir];
    let copied = limited(600_000, args);
    assert_eq!(copied.code, 3, "{copied:?}");
    assert!(copied.stderr.contains("is full: "), "{copied:?}");
    assert_eq!(names(spools.path()), Vec::<String>::new());
}

#[test]
fn an_output_that_cannot_grow_leaves_nothing_behind() {
    let (dir, outputs) = (Dir::new(), Dir::new());
    let file = dir.file("dump.rdb", dump());
    let output = outputs
        .path()
        .join("data")
        .to_str()
        .expect("text")
        .to_owned();
    for args in [
        &["export", "--format", "restore", &file, "--output", &output][..],
        &["export", "--format", "ndjson", &file, "--output", &output],
        &["export", "--format", "json", &file, "--output", &output],
        &["export", "--format", "resp", &file, "--output", &output],
    ] {
        let ran = limited(100_000, args.iter().copied());
        assert_eq!(ran.code, 3, "{args:?}: {ran:?}");
        assert!(
            ran.stderr.contains("cannot be written"),
            "{args:?}: {ran:?}"
        );
        assert!(ran.stderr.contains("File too large"), "{args:?}: {ran:?}");
        assert_eq!(names(outputs.path()), Vec::<String>::new(), "{args:?}");
    }
    // What was there stays.
    std::fs::write(&output, "old").expect("written");
    let args = ["export", "--format", "restore", &file, "--output", &output];
    assert_eq!(limited(100_000, args).code, 3);
    assert_eq!(std::fs::read(&output).expect("there"), b"old");
}

#[test]
fn a_journal_or_ledger_that_cannot_be_written_stops_the_load_and_loses_nothing() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let kept = Dir::new();
    let path = |name: &str| kept.path().join(name).to_str().expect("text").to_owned();
    let (journal, ledger) = (path("journal"), path("ledger"));
    let url = server.url();
    let load = |bytes, more: &[&str]| {
        let args = ["load", file.as_str(), "--to", &url, "--json"];
        limited(bytes, args.into_iter().chain(more.iter().copied()))
    };
    let ran = load(64, &["--journal", &journal]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.contains("the journal ") && ran.stderr.contains("cannot be written"),
        "{ran:?}"
    );
    assert_eq!(
        server.run("DBSIZE"),
        redis::Value::Int(0),
        "nothing is sent without a journal"
    );
    assert_eq!(names(kept.path()), Vec::<String>::new());

    // Every key is in conflict: the ledger grows over the limit.
    for i in 0..300 {
        server.run(&format!("SET k{i} other"));
    }
    let ran = load(8000, &["--journal", &journal, "--failures", &ledger]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.contains("the ledger ") && ran.stderr.contains("cannot be written"),
        "{ran:?}"
    );
    let left = names(kept.path());
    assert!(
        left.iter()
            .all(|name| name == "journal" || name == "ledger"),
        "{left:?}"
    );
    // With room again the same command ends it, and each key is in the ledger once.
    let args = [
        "load",
        &file,
        "--to",
        &url,
        "--json",
        "--journal",
        &journal,
        "--failures",
        &ledger,
    ];
    let again = run_with(program().args(args), b"");
    assert_eq!(again.code, 1, "{again:?}");
    let text = std::fs::read_to_string(&ledger).expect("a ledger");
    let told: std::collections::BTreeSet<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("an object")["key"].to_string()
        })
        .collect();
    assert_eq!((text.lines().count(), told.len()), (300, 300));
}

/// No flag that names a file to write takes an input, or removes what is not its own.
#[test]
fn an_input_is_never_written_over() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let bytes = Dump::redis(9).string_key("k", "v").finish(Crc::Right);
    let file = dir.file("dump.rdb", &bytes);
    let link = dir.path().join("link.rdb");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let link = link.to_str().expect("text");
    let whole = dir.path().to_str().expect("text");
    let url = server.url();
    for place in [file.as_str(), link] {
        for args in [
            &["load", &file, "--to", &url, "--restart", "--journal", place][..],
            &["load", &file, "--to", &url, "--journal", place],
            &[
                "load",
                &file,
                "--to",
                &url,
                "--restart",
                "--failures",
                place,
            ],
            &[
                "load",
                &file,
                "--to",
                &url,
                "--no-journal",
                "--failures",
                place,
            ],
            &["compare", &file, "--to", &url, "--differences", place],
            &["export", "--format", "ndjson", &file, "--output", place],
            &["export", "--format", "ndjson", whole, "--output", place],
            &["keys", &file, "--output", place],
            &["get", &file, "k", "--output", place],
        ] {
            let ran = run_with(program().args(args), b"");
            assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
            assert!(ran.stderr.contains("would overwrite"), "{args:?}: {ran:?}");
            assert_eq!(std::fs::read(&file).expect("there"), bytes, "{args:?}");
        }
    }
    // What is neither a journal nor a ledger stays, with --restart too.
    let notes = dir.file("notes.txt", "to be kept");
    for flag in ["--journal", "--failures"] {
        let args = ["load", &file, "--to", &url, "--restart", flag, &notes];
        let ran = run_with(program().args(args), b"");
        assert_eq!(ran.code, 2, "{flag}: {ran:?}");
        assert_eq!(std::fs::read(&notes).expect("there"), b"to be kept");
    }
}
