//! What a message must say: where, what was being read, and what to do next. None takes the place of another.

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::server::Server;

fn export(format: &str, file: &str) -> Ran {
    run(["export", "--format", format, file])
}

#[test]
fn advice_is_added_to_advice() {
    let dir = Dir::new();
    // It ends inside an expiry, before anything was written.
    let file = dir.file("cut.rdb", b"REDIS0011\xfc\0\0");
    for format in ["restore", "resp", "ndjson"] {
        let ran = export(format, &file);
        ran.ends_with(3);
        for words in [
            "unexpected end of the input: 8 more bytes needed, 2 remain",
            "while reading EXPIRETIME_MS",
            "get the file again",
        ] {
            assert!(ran.stderr.contains(words), "{format}: {ran:?}");
        }
        assert!(
            !ran.stderr.contains("must not be used"),
            "{format}: {ran:?}"
        );
    }
    // A wrong checksum shows behind everything that was written.
    let wrong = Dump::redis(11).string_key("k", "v").finish(Crc::Wrong);
    let file = dir.file("wrong.rdb", wrong);
    // What `restore` writes is no text.
    let ran = export("resp", &file);
    ran.ends_with(3);
    assert!(!ran.stdout.is_empty(), "{ran:?}");
    for words in [
        "wrong checksum",
        "get the file again",
        "of commands were written, which must not be used",
    ] {
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
    for (name, bytes, advice) in [
        ("empty.rdb", &b""[..], "copy or download the dump again"),
        ("text.rdb", b"hello, world\n", "rdbridge"),
        ("five.rdb", b"REDIS", "get the file again"),
    ] {
        let file = dir.file(name, bytes);
        let ran = export("restore", &file);
        ran.ends_with(3);
        assert!(!ran.stderr.contains("must not be used"), "{name}: {ran:?}");
        assert!(ran.stderr.contains(advice), "{name}: {ran:?}");
    }
    let dump = Dump::redis(11).string_key("k", "v").finish(Crc::Absent);
    let eof = dump.iter().rposition(|byte| *byte == 0xff).expect("an end");
    let file = dir.file("no-end.rdb", &dump[..eof]);
    let ran = run(["check", &file]);
    let said = [&ran.stdout[..], &ran.stderr].concat();
    assert!(
        said.contains("it was cut off") && said.contains("get the file again"),
        "{ran:?}"
    );
}

#[test]
fn what_is_wrong_with_a_destination_is_said_with_its_address_and_what_to_do() {
    let dir = Dir::new();
    let file = dir.file(
        "dump.rdb",
        Dump::redis(11).string_key("k", "v").finish(Crc::Right),
    );
    let closed = Server::setup("redis-7.0").with_password("secret").start();
    let to = |url: &str| run(["load", &file, "--to", url, "--connect-timeout", "1"]);
    let address = format!("redis://127.0.0.1:{}", closed.port());
    let ran = to(&address);
    ran.ends_with(4);
    for words in [
        &address[..],
        "NOAUTH",
        "--password-file",
        "RDBRIDGE_PASSWORD",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }

    let server = Server::start("redis-7.0");
    let ran = to(&server.url().replace("redis://", "rediss://"));
    ran.ends_with(4);
    assert!(
        ran.stderr.contains("redis:// instead of rediss://"),
        "{ran:?}"
    );

    server.run("REPLICAOF 127.0.0.1 1");
    let ran = to(&server.url());
    ran.ends_with(4);
    assert!(
        ran.stderr.contains(&server.url()) && ran.stderr.contains("its master is 127.0.0.1:1"),
        "{ran:?}"
    );

    server.run("REPLICAOF NO ONE");
    server.run("CONFIG SET maxmemory 1");
    let ran = run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--json",
        "--wait-for",
        "1s",
    ]);
    ran.ends_with(4);
    let error = &ran.json()["error"];
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("more memory"), "{ran:?}");
    assert!(ran.stderr.contains(&server.url()), "{ran:?}");
}

/// A load that waits has not stopped.
#[test]
fn a_load_that_waits_does_not_say_that_it_stopped() {
    let dir = Dir::new();
    let dump = (0..2000)
        .fold(Dump::redis(11), |dump, n| {
            dump.string_key(format!("k{n}"), "v".repeat(4000))
        })
        .finish(Crc::Right);
    let file = dir.file("dump.rdb", dump);
    let server = Server::start("redis-7.0");
    let redis::Value::BulkString(info) = server.run("INFO memory") else {
        panic!("no text");
    };
    let info = String::from_utf8(info).expect("text");
    let used = info
        .split("used_memory:")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let used: u64 = used.expect("a figure").parse().expect("a number");
    server.run(&format!("CONFIG SET maxmemory {}", used + (4 << 20)));
    let ran = run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--wait-for",
        "2s",
        "--no-growth-check",
    ]);
    ran.ends_with(4);
    let waits: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("since a key got through"))
        .collect();
    assert!(!waits.is_empty(), "{ran:?}");
    for line in waits {
        assert!(line.contains("OOM") && !line.contains("stopped"), "{line}");
    }
    assert!(ran.stderr.contains("gave up after"), "{ran:?}");
}
