//! `export --format restore`: the text arrives as `load` would have made it.

use std::process::{Command, Stdio};

use crate::support::dump::{Crc, Dump};
use crate::support::server::{Server, program};

fn exported(args: &[&str], files: &[&[u8]]) -> (i32, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rdbridge"));
    command.args(["export", "--format", "restore"]).args(args);
    for (n, bytes) in files.iter().enumerate() {
        let path = dir.path().join(format!("{n}.rdb"));
        std::fs::write(&path, bytes).unwrap();
        command.arg(path);
    }
    let got = command.output().unwrap();
    (
        got.status.code().unwrap(),
        got.stdout,
        String::from_utf8_lossy(&got.stderr).into_owned(),
    )
}

#[test]
fn redis_cli_pipes_it_into_a_server() {
    let sample =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/sample.rdb")).unwrap();
    let (code, text, _) = exported(&[], &[&sample]);
    assert_eq!(code, 0);
    let server = Server::start("redis-7.0");
    let cli = program("redis-7.0", "cli").expect("redis-7.0 is required");
    let mut pipe = Command::new(cli)
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut pipe.stdin.take().unwrap(), &text).unwrap();
    let said = String::from_utf8_lossy(&pipe.wait_with_output().unwrap().stdout).into_owned();
    assert!(
        said.contains("errors: 0, replies: 967"),
        "965 keys, one SELECT, one library: {said}"
    );
    let mut client = server.connect();
    let keys: u64 = redis::cmd("DBSIZE").query(&mut client).unwrap();
    assert_eq!(keys, 903);
}

#[test]
fn the_database_is_chosen_anew_for_each_input() {
    let three = Dump::redis(11)
        .select_db(3)
        .string_key("a", "1")
        .finish(Crc::Right);
    let zero = Dump::redis(11)
        .select_db(0)
        .string_key("b", "2")
        .finish(Crc::Right);
    let (code, text, _) = exported(&[], &[&three, &zero]);
    assert_eq!(code, 0);
    let text = String::from_utf8_lossy(&text).into_owned();
    let order: Vec<usize> = [
        "SELECT\r\n$1\r\n3",
        "\r\na\r\n",
        "SELECT\r\n$1\r\n0",
        "\r\nb\r\n",
    ]
    .iter()
    .map(|part| {
        text.find(part)
            .unwrap_or_else(|| panic!("{part:?} in {text:?}"))
    })
    .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn what_the_target_does_not_know_is_re_encoded_or_refused_by_name() {
    let dump = Dump::redis(14)
        .function("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
        .string_key("plain", "1")
        .key(20, "packed", b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff")
        .key(28, "sparse", b"\x01\0\0\0\x01x")
        .finish(Crc::Right);
    let as_plain = b"\x02\x02\x01a\xc0\x07";
    for (args, written, reencoded, says) in [
        (&["--target", "redis-8.10"][..], 3, false, ""),
        (
            &["--target", "redis-7.2"],
            2,
            false,
            "array is not known to redis 7.2",
        ),
        (&["--target", "redis-6.2"], 2, true, "1 of them re-encoded"),
        (
            &["--rdb-version", "10"],
            2,
            true,
            "array needs RDB version 14, the target takes 10",
        ),
        (&["--rdb-version", "14"], 3, false, ""),
    ] {
        let (code, text, listed) = exported(args, &[&dump]);
        let restores = String::from_utf8_lossy(&text).matches("RESTORE").count();
        assert_eq!(
            (restores, code),
            (written, i32::from(written < 3)),
            "{args:?}: {listed}"
        );
        let plain = text.windows(as_plain.len()).any(|w| w == as_plain);
        assert_eq!(plain, reencoded, "{args:?}");
        assert!(listed.contains(says), "{listed}");
    }
}

/// A meaning that has no place there is left out only where that is allowed by name.
#[test]
fn losses_are_allowed_by_name() {
    let fields = [&b"\x01\x01f\x01a"[..], &4_000_000_000_000i64.to_le_bytes()].concat();
    let dump = Dump::valkey(80).key(22, "h", fields).finish(Crc::Right);
    let (code, text, said) = exported(&["--target", "redis-7.2"], &[&dump]);
    assert_eq!((code, text.is_empty()), (1, true), "{said}");
    assert!(said.contains("would lose field-expiry"), "{said}");
    let allow = ["--target", "redis-7.2", "--allow-loss", "field-expiry"];
    let (code, text, said) = exported(&allow, &[&dump]);
    assert_eq!((code, text.is_empty()), (0, false), "{said}");
    assert!(said.contains("1 without field-expiry"), "{said}");
    for bad in ["array", "everything"] {
        let (code, _, said) = exported(&["--allow-loss", bad], &[&dump]);
        assert_eq!(code, 2, "{said}");
    }
    // Redis' own form of it.
    let (code, text, _) = exported(&["--target", "redis-8.0"], &[&dump]);
    assert_eq!(code, 0);
    assert!(text.windows(2).any(|w| w == b"\x18\x00"), "type 24");
}

#[test]
fn a_wrong_checksum_is_the_last_word() {
    let dump = Dump::redis(11).string_key("a", "1").finish(Crc::Wrong);
    let (code, _, said) = exported(&[], &[&dump]);
    assert_eq!(code, 3);
    assert!(
        said.contains("wrong checksum") && said.contains("must not be used"),
        "{said}"
    );
}

/// A hash in a ziplist whose second entry claims more bytes than there are: Redis up to 6.1 ends when it is read.
fn lying(crc: Crc) -> Vec<u8> {
    let ziplist = b"\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x3fb\xff";
    let value = [&[ziplist.len() as u8][..], ziplist].concat();
    Dump::redis(9)
        .select_db(0)
        .string_key("sound", "x")
        .key(13, "lying", value)
        .finish(crc)
}

#[test]
fn values_are_walked_before_anything_is_written_where_load_would_walk_them() {
    let zero = lying(Crc::Zero);
    let right = lying(Crc::Right);
    for (args, file, why) in [
        (&[][..], &zero, Some("no checksum")),
        (&["--target", "redis-7.0"], &zero, Some("no checksum")),
        (&["--target", "redis-6.0"], &zero, Some("no checksum")),
        (
            &["--target", "redis-6.0"],
            &right,
            Some("end on a bad payload"),
        ),
        (
            &["--rdb-version", "9"],
            &right,
            Some("end on a bad payload"),
        ),
        (
            &["--target", "redis-7.0", "--untrusted"],
            &right,
            Some("not trusted"),
        ),
        (&["--target", "redis-7.0"], &right, None),
        (&["--target", "redis-6.0", "--trust-input"], &zero, None),
    ] {
        let (code, text, said) = exported(args, &[file]);
        let case = format!("{args:?}: {code}, {said}");
        match why {
            Some(why) => {
                assert_eq!((code, text.len()), (3, 0), "{case}");
                assert!(said.contains("lying") && said.contains("offset"), "{case}");
                assert!(
                    said.contains(why) && said.contains("1 damaged in all"),
                    "{case}"
                );
                assert!(
                    !said.contains("must not be used"),
                    "nothing was written: {case}"
                );
                let (code, text, said) = exported(&[args, &["--skip-damaged"]].concat(), &[file]);
                let text = String::from_utf8_lossy(&text);
                assert_eq!(code, 1, "{said}");
                assert!(text.contains("sound") && !text.contains("lying"), "{text}");
                assert!(
                    said.contains("refused: its value cannot be walked"),
                    "{said}"
                );
            }
            None => {
                assert_eq!(code, 0, "{case}");
                assert!(String::from_utf8_lossy(&text).contains("lying"), "{case}");
            }
        }
        assert_eq!(
            said.contains("no checksum"),
            std::ptr::eq(file, &zero),
            "{case}"
        );
    }
}

/// What stands behind the end of a file without a checksum looks like the end of one with it: no trick keeps values from being
/// walked.
#[test]
fn a_checksum_that_stands_behind_the_end_is_none() {
    let file = [lying(Crc::Zero), b"\xff12345678".to_vec()].concat();
    let (code, _, said) = exported(&["--target", "redis-6.0"], &[&file]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("lying"), "{said}");
    let (code, _, said) = exported(&["--target", "redis-7.0"], &[&file]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("no checksum") && said.contains("--untrusted"),
        "{said}"
    );
}

#[test]
fn versions_that_nobody_knows_and_flags_that_do_nothing_are_refused() {
    let dump = Dump::redis(11).string_key("k", "v").finish(Crc::Right);
    for version in ["0", "16", "79", "82", "99", "70000", "x"] {
        let (code, _, said) = exported(&["--rdb-version", version], &[&dump]);
        assert_eq!(code, 2, "{version}: {said}");
        assert!(
            said.contains("from 1 to 15") && said.contains("80 to 81"),
            "{said}"
        );
    }
    for version in ["6", "15", "80", "81"] {
        assert_eq!(
            exported(&["--rdb-version", version], &[&dump]).0,
            0,
            "{version}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, &dump).unwrap();
    let got = Command::new(env!("CARGO_BIN_EXE_rdbridge"))
        .args(["export", "--format", "resp", "--untrusted"])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(got.status.code(), Some(2));
}
