//! `load` asks for what makes sense before it reads or writes anything.

use std::process::Command;

use crate::support::command::{Dir, Ran, run};
use crate::support::dump::{Crc, Dump};
use crate::support::server::Server;

fn load(args: &[&str], files: usize) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rdbridge"));
    command.arg("load").args(args);
    for n in 0..files {
        let path = dir.path().join(format!("{n}.rdb"));
        let dump = Dump::redis(11)
            .function("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
            .string_key("key", "value");
        std::fs::write(&path, dump.finish(Crc::Right)).unwrap();
        command.arg(path);
    }
    let got = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        got.status.code().unwrap(),
        text(&got.stdout),
        text(&got.stderr),
    )
}

#[test]
fn what_would_be_ignored_or_overwritten_is_refused_with_words() {
    let server = Server::start("redis-7.0");
    let url = server.url();
    let in_db = format!("{url}/5");
    for (args, files, says) in [
        (vec!["--to", &in_db], 1, "--map-db 0:5"),
        (vec!["--to", &url, "--insecure"], 1, "rediss://"),
        (
            vec!["--to", &url, "--map-db", "0:3", "--map-db", "0:4"],
            1,
            "database 0 into 3 and into 4",
        ),
        (
            vec!["--to", &url, "--on-conflict", "replace"],
            2,
            "one after the other",
        ),
    ] {
        let (code, _, said) = load(&args, files);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(says), "{said}");
    }
    let mut client = server.connect();
    let keys: u64 = redis::cmd("DBSIZE").query(&mut client).unwrap();
    assert_eq!(keys, 0, "nothing was written");
}

#[test]
fn a_finished_load_can_be_run_again_with_skip() {
    let server = Server::start("redis-7.0");
    for (policy, code) in [("fail", 0), ("skip", 0), ("fail", 1)] {
        let (got, table, said) = load(&["--to", &server.url(), "--on-conflict", policy], 1);
        assert_eq!(got, code, "{policy}: {table}{said}");
    }
}

/// Runs a load of these files.
fn load_files(files: &[&str], args: &[&str]) -> Ran {
    let words = ["load"].iter().chain(files).chain(args);
    run(words.copied())
}

#[test]
fn inputs_that_share_a_key_are_refused_with_its_name_and_others_are_loaded() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let dump = |keys: &[&str]| {
        keys.iter()
            .fold(Dump::redis(9), |dump, key| dump.string_key(*key, "x"))
            .finish(Crc::Right)
    };
    let a = dir.file("a.rdb", dump(&["a1", "shared", "a2"]));
    let b = dir.file("b.rdb", dump(&["b1", "b2", "shared"]));
    let c = dir.file("c.rdb", dump(&["c1", "c2"]));
    let url = server.url();
    for policy in ["fail", "skip", "replace", "abort"] {
        let ran = load_files(&[&a, &b, &c], &["--to", &url, "--on-conflict", policy]);
        ran.ends_with(2);
        assert!(
            ran.stderr.contains("\"shared\"") && ran.stderr.contains("b.rdb"),
            "{ran:?}"
        );
        assert_eq!(server.run("DBSIZE"), redis::Value::Int(0));
    }
    let ran = load_files(&[&a, &c], &["--to", &url, "--on-conflict", "replace"]);
    ran.ends_with(0);
    assert_eq!(server.run("DBSIZE"), redis::Value::Int(5));
    // What is not selected does not matter.
    let args = ["--to", &url, "--on-conflict", "replace", "--match", "?[12]"];
    load_files(&[&a, &b, &c], &args).ends_with(0);
    assert_eq!(server.run("DBSIZE"), redis::Value::Int(7));

    let two = Dump::redis(9)
        .select_db(0)
        .string_key("k", "x")
        .select_db(1)
        .string_key("k", "y")
        .string_key("other", "y")
        .finish(Crc::Right);
    let two = dir.file("two.rdb", two);
    let merged = ["--to", &url, "--on-conflict", "replace", "--map-db", "1:0"];
    let ran = load_files(&[&two], &merged);
    ran.ends_with(2);
    assert!(ran.stderr.contains("\"k\""), "{ran:?}");
    let args = [&merged[..], &["--exclude-match", "k"]].concat();
    load_files(&[&two], &args).ends_with(0);
}

#[test]
fn json_says_what_went_wrong_before_the_load_too() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file(
        "dump.rdb",
        &Dump::redis(9).string_key("k", "v").finish(Crc::Right)[..20],
    );
    let url = server.url();
    for (args, code) in [
        (vec!["load", &file, "--to", &url, "--json"], 3),
        (vec!["load", &file, "--to", "127.0.0.1:1", "--json"], 4),
        (vec!["load", "/nonexistent", "--to", &url, "--json"], 3),
        (vec!["info", "/nonexistent-dir/x", "--json"], 3),
        (vec!["check", &file, "--json"], 3),
    ] {
        let ran = run(&args);
        ran.ends_with(code);
        let object = ran.json();
        assert_eq!(object["exit_code"], code, "{args:?}: {object}");
        if args[0] == "load" {
            assert!(
                object["error"]["message"]
                    .as_str()
                    .is_some_and(|m| !m.is_empty())
            );
            assert!(
                ran.stderr
                    .contains(object["error"]["what"].as_str().expect("words"))
            );
        }
    }
}

#[test]
fn the_closing_table_is_not_lost_in_silence() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file(
        "dump.rdb",
        Dump::redis(9).string_key("k", "v").finish(Crc::Right),
    );
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let got = Command::new(env!("CARGO_BIN_EXE_rdbridge"))
        .args(["load", &file, "--to", &server.url()])
        .stdout(full)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&got.stderr);
    assert_eq!(got.status.code(), Some(3), "{said}");
    assert!(
        said.contains("cannot be written") && said.contains("1 restored, raw"),
        "{said}"
    );
}

#[test]
fn a_stop_at_the_first_conflict_is_a_finding() {
    let server = Server::start("redis-7.0");
    server.run("SET k old");
    let dir = Dir::new();
    let file = dir.file(
        "dump.rdb",
        Dump::redis(9).string_key("k", "v").finish(Crc::Right),
    );
    let ran = load_files(&[&file], &["--to", &server.url(), "--on-conflict", "abort"]);
    ran.ends_with(1);
    assert!(ran.stderr.contains("first key that exists"), "{ran:?}");
    assert!(ran.stderr.contains("acknowledged"), "{ran:?}");
}

#[test]
fn what_is_typed_is_judged_in_words() {
    let locked = Server::setup("redis-7.0").with_password("sesame").start();
    let dir = Dir::new();
    let garbage = [
        &Dump::redis(9).string_key("k", "v").finish(Crc::Right)[..],
        b"garbage",
    ]
    .concat();
    let file = dir.file("dump.rdb", garbage);
    let url = format!("redis://:sesame@127.0.0.1:{}", locked.port());
    let ran = load_files(&[&file], &["--to", &url]);
    ran.ends_with(0);
    assert!(
        ran.stderr.contains("--password-file") && !ran.stderr.contains("sesame"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("7 bytes behind the end"), "{ran:?}");
    let ran = load_files(
        &[&file],
        &["--to", &url, "--quiet", "--on-conflict", "skip"],
    );
    assert!(!ran.stderr.contains("--password-file"), "{ran:?}");
    let ran = load_files(&["-"], &["--to", &url, "--keys-from", "-"]);
    ran.ends_with(2);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    for path in [empty.to_str().expect("text"), "/dev/null", "/nonexistent"] {
        load_files(&[path], &["--to", &url]).ends_with(3);
    }
}

#[test]
fn functions_that_cannot_go_are_said_once_and_stay_with_a_selection() {
    let dir = Dir::new();
    let dump = ["a", "b"].iter().fold(Dump::redis(11), |dump, name| {
        dump.function(format!(
            "#!lua name={name}\nredis.register_function('{name}', function() return 1 end)"
        ))
    });
    let file = dir.file("dump.rdb", dump.string_key("k", "v").finish(Crc::Right));
    let old = Server::start("redis-6.2");
    let ran = load_files(&[&file], &["--to", &old.url()]);
    ran.ends_with(1);
    assert!(
        ran.stderr
            .contains("2 function libraries will not be loaded"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("2 refused, 0 failed"), "{ran:?}");
    load_files(
        &[&file],
        &[
            "--to",
            &old.url(),
            "--functions",
            "skip",
            "--on-conflict",
            "skip",
        ],
    )
    .ends_with(0);
    let new = Server::start("redis-7.0");
    let ran = load_files(&[&file], &["--to", &new.url(), "--match", "k"]);
    ran.ends_with(0);
    assert!(ran.stderr.contains("--functions load"), "{ran:?}");
    assert!(ran.stdout.contains("0 loaded, 2 skipped"), "{ran:?}");
    let args = ["--to", &new.url(), "--match", "none", "--functions", "load"];
    let ran = load_files(&[&file], &args);
    ran.ends_with(0);
    assert!(ran.stdout.contains("2 loaded"), "{ran:?}");
}
