//! What stands at the end of a file is said by every verb that reads it.

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::server::Server;

fn dump(crc: Crc) -> Vec<u8> {
    Dump::redis(11)
        .select_db(0)
        .string_key("k", "v")
        .finish(crc)
}

/// Every verb that reads whole files and goes on with what follows them.
fn read_by_all(dir: &Dir, file: &str, server: &Server) -> Vec<(String, Ran)> {
    let url = server.url();
    let verbs: [&[&str]; 7] = [
        &["keys", file],
        &["get", file, "k"],
        &["export", "--format", "json", file],
        &["export", "--format", "ndjson", file],
        &["export", "--format", "resp", file],
        &["export", "--format", "restore", file],
        &["compare", file, "--to", &url],
    ];
    verbs
        .iter()
        .map(|verb| {
            let output = dir.path().join("out");
            let mut args = verb.to_vec();
            if matches!(verb[0], "keys" | "get" | "export") {
                args.extend(["--output", output.to_str().expect("a path")]);
            }
            (format!("{verb:?}"), run(&args))
        })
        .collect()
}

#[test]
fn what_stands_behind_the_end_is_said_by_every_verb() {
    let dir = Dir::new();
    let server = Server::start("redis-7.0");
    server.run("SET k v");
    for (tail, words) in [
        (
            &b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"[..],
            "23 bytes behind the end: commands of an append-only file, which are newer than the dump",
        ),
        (b"\0\0\0\0\0", "5 bytes behind the end: zero bytes"),
        (b"junk", "4 bytes behind the end: garbage"),
        (
            b"REDIS0011\xff",
            "10 bytes behind the end: another RDB file",
        ),
    ] {
        let file = dir.file("dump.rdb", [dump(Crc::Right), tail.to_vec()].concat());
        for (verb, ran) in read_by_all(&dir, &file, &server) {
            ran.ends_with(0);
            assert!(ran.stderr.contains(words), "{verb}: {ran:?}");
        }
    }
    let file = dir.file("whole.rdb", dump(Crc::Right));
    for (verb, ran) in read_by_all(&dir, &file, &server) {
        assert!(!ran.stderr.contains("behind the end"), "{verb}: {ran:?}");
        assert!(!ran.stderr.contains("no checksum"), "{verb}: {ran:?}");
    }
}

#[test]
fn a_checksum_that_is_missing_is_said_by_every_verb() {
    let dir = Dir::new();
    let server = Server::start("redis-7.0");
    server.run("SET k v");
    let file = dir.file("dump.rdb", dump(Crc::Zero));
    for (verb, ran) in read_by_all(&dir, &file, &server) {
        ran.ends_with(0);
        assert!(ran.stderr.contains("no checksum"), "{verb}: {ran:?}");
    }
}
