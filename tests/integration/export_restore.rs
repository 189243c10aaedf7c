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
fn what_the_target_does_not_know_is_refused_by_name() {
    let dump = Dump::redis(11)
        .function("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
        .string_key("plain", "1")
        .key(20, "packed", b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff")
        .finish(Crc::Right);
    for (args, written, says) in [
        (&["--target", "redis-7.2"][..], 2, ""),
        (
            &["--target", "redis-6.2"],
            1,
            "set-listpack is not known to redis 6.2",
        ),
        (
            &["--rdb-version", "10"],
            1,
            "set-listpack needs RDB version 11, the target takes 10",
        ),
        (&["--rdb-version", "11"], 2, ""),
    ] {
        let (code, text, listed) = exported(args, &[&dump]);
        let restores = String::from_utf8_lossy(&text).matches("RESTORE").count();
        assert_eq!(
            (restores, code),
            (written, i32::from(written == 1)),
            "{args:?}: {listed}"
        );
        assert!(listed.contains(says), "{listed}");
    }
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
