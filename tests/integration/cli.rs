//! The command as a user meets it: exit codes, what goes where, pipes, signals, secrets, the selection flags.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::support::command::{Dir, program, program_to_signal, run, run_with};
use super::support::dump::{self, Crc, Dump};
use super::support::server::{Server, free_port};
use super::support::testdata_dir;

fn sample() -> String {
    let path = testdata_dir().join("sample.rdb");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn one_key() -> Dump {
    Dump::redis(9).select_db(0).string_key("key", "value")
}

// ---- exit codes, one by one ----

#[test]
fn exit_0_when_done() {
    for args in [
        &["info", &sample()][..],
        &["check", &sample()],
        &["check", "--json", &sample()],
        &["--help"],
        &["--version"],
        &["info", "--help"],
    ] {
        let ran = run(args);
        ran.ends_with(0);
        assert!(!ran.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn exit_1_with_findings() {
    let dir = Dir::new();
    let empty_list = dir.file("a.rdb", one_key().key(1, "list", [0]).finish(Crc::Right));
    let ran = run(["check", "-q", &empty_list]);
    ran.ends_with(1);
    assert!(ran.stdout.starts_with("fault: offset "), "{ran:?}");
    assert_eq!(ran.stderr, "");

    // A name that was asked for and is not there.
    let names = dir.file("names", "key\nother\n");
    let ran = run(["info", "-q", "--keys-from", &names, &empty_list]);
    ran.ends_with(1);
    assert_eq!(ran.stderr, "rdbridge: not in the dump: \"other\"\n");
}

#[test]
fn exit_2_for_usage() {
    let sample = sample();
    for args in [
        &[][..],
        &["nonsense"],
        &["info"],
        &["info", "--nonsense", &sample],
        &["info", "--db", "x", &sample],
        &["info", "--slot", "16384", &sample],
        &["info", "--regex", "(", &sample],
        &["info", "--with-ttl", "sometimes", &sample],
        &["info", "--type", "strings", &sample],
        &["info", "--null", &sample],
        &["info", &sample, &sample],
        &["info", "s3://bucket/key"],
        &["load", &sample],
        &["load", &sample, "--to", "nonsense://host"],
        &[
            "load",
            &sample,
            "--to",
            "redis://localhost",
            "--expired",
            "ttl=0",
        ],
        &[
            "load",
            &sample,
            "--to",
            "redis://localhost",
            "--map-db",
            "1",
        ],
        &[
            "load",
            &sample,
            "--to",
            "redis://h",
            "--password-file",
            "x",
            "--ask-password",
        ],
    ] {
        let ran = run(args);
        ran.ends_with(2);
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{args:?}: {ran:?}"
        );
    }
    let dir = Dir::new();
    let names = dir.file("names", "fine\nbad\\q\n");
    let ran = run(["info", "--keys-from", &names, &sample]);
    ran.ends_with(2);
    assert!(ran.stderr.contains("line 2"), "{ran:?}");
}

#[test]
fn exit_3_for_inputs_that_cannot_be_read() {
    let dir = Dir::new();
    let good = one_key().finish(Crc::Right);
    for (name, bytes, says) in [
        ("empty", &b""[..], "empty"),
        ("text", b"hello, I am no dump", "no RDB file"),
        ("cut", &good[..good.len() - 12], "offset"),
        ("crc", &one_key().finish(Crc::Wrong), "wrong checksum"),
        (
            "newer",
            &Dump::redis(16).finish(Crc::Right),
            "--accept-newer",
        ),
        (
            "type",
            &one_key().key(8, "k", [0]).finish(Crc::Right),
            "value type 8",
        ),
    ] {
        let path = dir.file(name, bytes);
        for verb in ["check", "info"] {
            let ran = run([verb, "-q", &path]);
            ran.ends_with(3);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                said.contains(says) && said.contains(&path),
                "{verb} {name}: {ran:?}"
            );
        }
    }
    let ran = run(["info", "/nonexistent/dump.rdb"]);
    ran.ends_with(3);
    assert!(ran.stderr.contains("/nonexistent/dump.rdb"), "{ran:?}");
    assert_eq!(ran.stdout, "");
    // Of several inputs, the sound ones are still shown.
    let (bad, good) = (dir.file("bad", "x"), dir.file("good", &good));
    for verb in ["check", "info"] {
        let ran = run([verb, "-q", &bad, &good]);
        ran.ends_with(3);
        assert!(
            ran.stdout.contains(&good) && ran.stderr.contains(&bad),
            "{ran:?}"
        );
    }
}

#[test]
fn exit_4_for_a_destination_that_cannot_be_used() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let ran = run(["load", "-q", &sample(), "--to", &nobody]);
    ran.ends_with(4);
    assert!(
        ran.stderr.contains("127.0.0.1") && ran.stdout.is_empty(),
        "{ran:?}"
    );
}

#[test]
fn exit_5_when_interrupted() {
    // A stream that goes on and on: the first signal ends the reading, whether more comes or not.
    for signals in [1, 2] {
        let mut child = program_to_signal()
            .args(["check", "-q", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(b"REDIS0009").expect("it reads");
        thread::sleep(Duration::from_millis(300));
        for _ in 0..signals {
            signal(&child, "INT");
            thread::sleep(Duration::from_millis(100));
        }
        if signals == 1 {
            // It may or may not read on.
            let _ = stdin.write_all(&vec![0; 16 << 20]);
        }
        let code = wait(&mut child);
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .expect("a pipe")
            .read_to_string(&mut stderr)
            .expect("UTF-8");
        assert_eq!(code, 5, "{signals} signals: {stderr}");
        assert!(stderr.contains("interrupted"), "{stderr}");
        drop(stdin);
    }
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
}

fn wait(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("its state") {
            return status.code().unwrap_or(-1);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("it does not end");
}

// ---- what goes where ----

#[test]
fn data_goes_to_standard_output_and_everything_else_to_standard_error() {
    for verb in ["check", "info"] {
        let quiet = run([verb, "-q", &sample()]);
        let chatty = run([verb, &sample()]);
        assert_eq!(quiet.stderr, "");
        assert_eq!(quiet.stdout, chatty.stdout);
        let json = run([verb, "-q", "--json", &sample()]);
        assert_eq!((json.stderr.as_str(), json.code), ("", 0));
        assert_eq!(json.json()["exit_code"], 0);
    }
    let error = run(["info", "--json", "/nonexistent"]);
    assert!(
        error.stderr.starts_with("rdbridge: ") && error.stderr.lines().count() == 1,
        "{error:?}"
    );
}

#[test]
fn json_is_whole_whatever_was_found() {
    let dir = Dir::new();
    let cut = dir.file("cut\"name", one_key().cut());
    let faulty = dir.file(
        "faulty",
        one_key()
            .key(1, b"\xff\"l", [0])
            .key(2, "s", [0])
            .finish(Crc::Zero),
    );
    let none = dir.file("none", "");
    for (args, code) in [
        (vec!["check", "--json", &cut, &faulty], 3),
        (vec!["check", "--json", &faulty], 1),
        (vec!["check", "--json", &none], 3),
        (vec!["info", "--json", &cut, &faulty], 3),
        (vec!["info", "--json", &faulty], 0),
    ] {
        let ran = run(args.iter().copied().chain(["-q"]));
        ran.ends_with(code);
        if !ran.stdout.is_empty() {
            let json = ran.json();
            assert_eq!(json["exit_code"], code, "{json}");
            assert_eq!(
                json["inputs"].as_array().map(Vec::len),
                Some(args.len() - 2),
                "{json}"
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = Dir::new();
    let mut dump = Dump::redis(9).select_db(0);
    for n in 0..20_000 {
        dump = dump.key(1, format!("list:{n}"), [0]);
    }
    let many_faults = dir.file("many", dump.finish(Crc::Right));
    let mut dump = Dump::redis(9).select_db(0);
    for n in 0..40_000 {
        dump = dump.key(0, format!("string:{n}"), dump::string("v"));
    }
    let elements: Vec<u8> = (0..300_000)
        .flat_map(|n| dump::string(n.to_string()))
        .collect();
    dump = dump.key(1, "big", [dump::length(300_000), elements].concat());
    let many_keys = dir.file("keys", dump.finish(Crc::Right));
    for args in [
        &["check", "-q", &many_faults][..],
        &["check", "-q", "--json", &many_faults],
        &["info", "-q", &many_faults],
        &["keys", "-q", &many_keys],
        &["keys", "-q", "--format", "csv", &many_keys],
        &["keys", "-q", "--json", &many_keys],
        &["get", "-q", &many_keys, "big"],
        &["get", "-q", &many_keys, "*"],
        &["get", "-q", "--format", "hex", &many_keys, "big"],
        &["export", "-q", "--format", "json", &many_keys],
        &["export", "-q", "--format", "ndjson", &many_keys],
        &["export", "-q", "--format", "resp", &many_keys],
        &["export", "-q", "--format", "restore", &many_keys],
    ] {
        let mut child = program()
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut some = [0; 10];
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut some).expect("some output");
        drop(stdout);
        let code = wait(&mut child);
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .expect("a pipe")
            .read_to_string(&mut stderr)
            .expect("UTF-8");
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn an_output_that_takes_nothing_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let mut child = program()
        .args(["info", "-q", &sample()])
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let code = wait(&mut child);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut stderr)
        .expect("UTF-8");
    assert_eq!(code, 3, "{stderr}");
    assert!(
        stderr.starts_with("rdbridge: standard output cannot be written"),
        "{stderr}"
    );
}

// ---- inputs ----

#[test]
fn standard_input_and_directories_are_inputs() {
    let bytes = std::fs::read(sample()).expect("the sample");
    let ran = run_with(program().args(["info", "--json", "-q", "-"]), &bytes);
    ran.ends_with(0);
    let from_file = run(["info", "--json", "-q", &sample()]).json();
    assert_eq!(
        ran.json()["inputs"][0]["info"],
        from_file["inputs"][0]["info"]
    );

    let dir = Dir::new();
    dir.file("a.rdb", &bytes);
    dir.file("b.rdb", one_key().finish(Crc::Right));
    let ran = run(["check", "-q", dir.path().to_str().expect("UTF-8")]);
    ran.ends_with(0);
    assert_eq!(ran.stdout.matches("sound").count(), 2, "{ran:?}");

    let empty = Dir::new();
    let ran = run(["info", empty.path().to_str().expect("UTF-8")]);
    assert!(ran.code == 2 || ran.code == 3, "{ran:?}");
    assert!(ran.stderr.contains("dump"), "{ran:?}");
}

#[test]
fn without_a_map_the_result_is_the_same() {
    let dir = Dir::new();
    let mapped = run(["info", "-q", &sample()]);
    let spool = dir.path().to_str().expect("UTF-8");
    let copied = run(["info", "-q", "--no-mmap", "--spool-dir", spool, &sample()]);
    assert_eq!(mapped.stdout, copied.stdout);
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a directory").count(),
        0
    );
    let ran = run([
        "info",
        "--no-mmap",
        "--spool-dir",
        "/nonexistent",
        &sample(),
    ]);
    ran.ends_with(3);
    assert!(ran.stderr.contains("/nonexistent"), "{ran:?}");
}

// ---- the one instant ----

#[test]
fn everything_is_judged_at_the_one_instant() {
    let dir = Dir::new();
    let ctime = 1_795_312_800;
    let dump = dir.file(
        "d",
        Dump::redis(11)
            .aux("redis-ver", "7.2.4")
            .aux("ctime", ctime.to_string())
            .select_db(0)
            .expire_ms((ctime + 3600) * 1000)
            .string_key("a", "1")
            .string_key("b", "2")
            .finish(Crc::Right),
    );
    for (now, expired, line) in [
        (
            "2026-11-22T11:00:00Z",
            1,
            "taken 2026-11-22 02:00 UTC, 9 h ago, redis 7.2.4",
        ),
        ("1795316400", 0, "60 min ago"),
        ("1795316401", 1, "60 min ago"),
    ] {
        let ran = run(["info", "-q", "--now", now, &dump]);
        assert!(ran.stdout.contains(line), "{ran:?}");
        let json = run(["info", "-q", "--json", "--now", now, &dump]).json();
        assert_eq!(
            json["inputs"][0]["info"]["total"]["expired"], expired,
            "{now}"
        );
    }
}

// ---- selection ----

/// A key of the model.
#[derive(Debug, Clone)]
struct Key {
    db: u64,
    name: Vec<u8>,
    kind: &'static str,
    size: u64,
    elements: usize,
    expire_s: Option<i64>,
}

const NOW: i64 = 1_800_000_000;

/// A dump with keys of several databases, types, sizes and expiries, and the same as a list.
fn model() -> (Vec<u8>, Vec<Key>) {
    let mut dump = Dump::redis(11);
    let mut keys = Vec::new();
    let names: [&[u8]; 8] = [
        b"user:1",
        b"user:22",
        b"cart:1",
        b"{user:1}:cart",
        b"",
        b"\xff\x00bin",
        b"a*b",
        b"User:3",
    ];
    for db in [0, 1, 7] {
        dump = dump.select_db(db);
        for (i, name) in names.iter().enumerate() {
            let expire_s = match i % 4 {
                0 => None,
                1 => Some(NOW - 10),
                2 => Some(NOW + 1800),
                _ => Some(NOW + 86_400),
            };
            if let Some(at) = expire_s {
                dump = dump.expire_ms(at * 1000);
            }
            let (rdb_type, kind, body) = match (i as u64 + db) % 3 {
                0 => (0, "string", dump::string(vec![b'x'; i * 10])),
                1 => (
                    1,
                    "list",
                    [
                        dump::length(1 + i as u64),
                        dump::string(vec![b'y'; i * 100]),
                        dump::string("y").repeat(i),
                    ]
                    .concat(),
                ),
                _ => (11, "set", dump::string(b"\x02\0\0\0\x01\0\0\0\x05\0")),
            };
            keys.push(Key {
                db,
                name: name.to_vec(),
                kind,
                size: body.len() as u64,
                elements: if kind == "list" { 1 + i } else { 1 },
                expire_s,
            });
            dump = dump.key(rdb_type, name, body);
        }
    }
    (dump.finish(Crc::Right), keys)
}

/// CRC-16/XMODEM, one bit at a time.
fn slot(name: &[u8]) -> u16 {
    let tag = match name.iter().position(|b| *b == b'{') {
        Some(open) => match name[open + 1..].iter().position(|b| *b == b'}') {
            Some(len) if len > 0 => &name[open + 1..open + 1 + len],
            _ => name,
        },
        None => name,
    };
    tag.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    }) % 16_384
}

#[test]
fn selection_flags_agree_with_a_simple_model() {
    let dir = Dir::new();
    let (bytes, keys) = model();
    let dump = dir.file("model", bytes);
    let names = dir.file("names", "\"user:1\"\n\"\\xff\\x00bin\"\n\"\"\na*b\n");
    let raw = dir.file("raw", b"\xff\x00");
    std::fs::write(&raw, b"user:1\0User:3\0").expect("written");
    let user_slot = slot(b"user:1").to_string();
    type Model<'a> = Box<dyn Fn(&Key) -> bool + 'a>;
    let starts = |prefix: &'static [u8]| -> Model<'_> {
        Box::new(move |k: &Key| k.name.starts_with(prefix))
    };
    let cases: Vec<(Vec<&str>, Model<'_>)> = vec![
        (vec![], Box::new(|_| true)),
        (vec!["--db", "0"], Box::new(|k| k.db == 0)),
        (vec!["--db", "1-6", "--db", "7"], Box::new(|k| k.db > 0)),
        (vec!["--exclude-db", "0,7"], Box::new(|k| k.db == 1)),
        (vec!["--match", "user:*"], starts(b"user:")),
        (
            vec!["--match", "user:*", "--match", "cart:?"],
            Box::new(|k| k.name.starts_with(b"user:") || k.name == b"cart:1"),
        ),
        (
            vec!["--match", "[uU]ser:[^1]*"],
            Box::new(|k| k.name == b"user:22" || k.name == b"User:3"),
        ),
        (vec!["--match", "a\\*b"], Box::new(|k| k.name == b"a*b")),
        (
            vec!["--exclude-match", "*:*"],
            Box::new(|k| !k.name.contains(&b':')),
        ),
        (
            vec!["--regex", "^user:\\d$"],
            Box::new(|k| k.name == b"user:1"),
        ),
        (
            vec!["--regex", "(?-u)\\xff"],
            Box::new(|k| k.name.contains(&0xff)),
        ),
        (
            vec!["--exclude-regex", "user"],
            Box::new(|k| !k.name.windows(4).any(|w| w == b"user")),
        ),
        (
            vec!["--match", "cart*", "--exclude-regex", "1"],
            Box::new(|_| false),
        ),
        (vec!["--type", "string,list"], Box::new(|k| k.kind != "set")),
        (
            vec!["--exclude-type", "set", "--exclude-type", "list"],
            Box::new(|k| k.kind == "string"),
        ),
        (vec!["--min-size", "100"], Box::new(|k| k.size >= 100)),
        (vec!["--max-size", "0.1KB"], Box::new(|k| k.size <= 100)),
        (
            vec!["--min-size", "11", "--max-size", "21"],
            Box::new(|k| (11..=21).contains(&k.size)),
        ),
        (vec!["--min-elements", "2"], Box::new(|k| k.elements >= 2)),
        (
            vec!["--min-elements", "3", "--max-elements", "6", "--db", "0"],
            Box::new(|k| k.db == 0 && (3..=6).contains(&k.elements)),
        ),
        (
            vec!["--with-ttl", "any"],
            Box::new(|k| k.expire_s.is_some()),
        ),
        (
            vec!["--with-ttl", "none"],
            Box::new(|k| k.expire_s.is_none()),
        ),
        (
            vec!["--with-ttl", "..0"],
            Box::new(|k| k.expire_s.is_some_and(|at| at < NOW)),
        ),
        (
            vec!["--with-ttl", "0..1h"],
            Box::new(|k| k.expire_s.is_some_and(|at| (NOW..NOW + 3600).contains(&at))),
        ),
        (
            vec!["--with-ttl", "-1m..1d"],
            Box::new(|k| {
                k.expire_s
                    .is_some_and(|at| (NOW - 60..NOW + 86_400).contains(&at))
            }),
        ),
        (
            vec!["--with-ttl", "1800001800.."],
            Box::new(|k| k.expire_s.is_some_and(|at| at >= 1_800_001_800)),
        ),
        (
            vec!["--slot", &user_slot],
            Box::new(|k| slot(&k.name) == slot(b"user:1")),
        ),
        (
            vec!["--exclude-slot", "0-8191"],
            Box::new(|k| slot(&k.name) > 8191),
        ),
        (
            vec!["--slot", "0-8191", "--exclude-slot", "0-100"],
            Box::new(|k| (101..=8191).contains(&slot(&k.name))),
        ),
        (
            vec!["--keys-from", &names],
            Box::new(|k| [&b"user:1"[..], b"\xff\x00bin", b"", b"a*b"].contains(&&k.name[..])),
        ),
        (
            vec!["--keys-from", &raw, "--null", "--db", "7"],
            Box::new(|k| k.db == 7 && [&b"user:1"[..], b"User:3"].contains(&&k.name[..])),
        ),
        (
            vec![
                "--db",
                "0",
                "--type",
                "list",
                "--with-ttl",
                "any",
                "--match",
                "*",
            ],
            Box::new(|k| k.db == 0 && k.kind == "list" && k.expire_s.is_some()),
        ),
    ];
    for (flags, admits) in cases {
        let args = ["info", "-q", "--json", "--now", &NOW.to_string(), &dump].map(str::to_owned);
        let ran = run(args.iter().map(String::as_str).chain(flags.iter().copied()));
        ran.ends_with(0);
        let info = &ran.json()["inputs"][0]["info"];
        let expected = keys.iter().filter(|key| admits(key)).count();
        assert_eq!(info["keys"], expected, "{flags:?}");
        assert_eq!(info["not_selected"], keys.len() - expected, "{flags:?}");
    }
}

#[test]
fn lists_of_keys_come_from_pipes_too() {
    let ran = run_with(
        program().args(["info", "-q", "--json", "--keys-from", "-", &sample()]),
        b"\"no such key\"\n\"events\"\n",
    );
    ran.ends_with(1);
    assert_eq!(ran.json()["inputs"][0]["info"]["keys"], 1);
    assert!(
        ran.stderr.contains("not in the dump: \"no such key\""),
        "{ran:?}"
    );
}

// ---- secrets ----

#[test]
fn passwords_come_from_everywhere_and_are_never_shown() {
    let server = Server::setup("redis-7.0").with_password("s3same").start();
    let dir = Dir::new();
    let dump = dir.file("d", one_key().finish(Crc::Right));
    let right = dir.file("right", "s3same\n");
    let wrong = dir.file("wrong", "wr0ng\n");
    let plain = format!("redis://127.0.0.1:{}", server.port());
    let url = server.url();
    let by_command = format!("cat {right}");
    let load = ["load", "-q", &dump, "--on-conflict", "replace", "--to"];
    type Env<'a> = Vec<(&'a str, &'a str)>;
    let cases: Vec<(Vec<&str>, Env<'_>, bool)> = vec![
        (vec![&url], vec![], true),
        (vec![&url], vec![("REDISCLI_AUTH", "wr0ng")], true),
        (vec![&plain], vec![("RDBRIDGE_PASSWORD", "s3same")], true),
        (vec![&plain], vec![("REDISCLI_AUTH", "s3same")], true),
        (
            vec![&plain],
            vec![("REDISCLI_AUTH", "wr0ng"), ("RDBRIDGE_PASSWORD", "s3same")],
            true,
        ),
        (
            vec![&plain, "--password-file", &right],
            vec![("RDBRIDGE_PASSWORD", "wr0ng")],
            true,
        ),
        (
            vec![&plain, "--password-command", &by_command],
            vec![],
            true,
        ),
        (
            vec![&plain, "--user", "default", "--password-file", &right],
            vec![],
            true,
        ),
        (vec![&plain], vec![], false),
        (vec![&plain], vec![("RDBRIDGE_PASSWORD", "wr0ng")], false),
        (vec![&plain, "--password-file", &wrong], vec![], false),
        (
            vec![&plain, "--password-file", "/nonexistent"],
            vec![],
            false,
        ),
        (
            vec![&plain, "--password-command", "echo wr0ng; false"],
            vec![],
            false,
        ),
        (
            vec![&plain, "--user", "nobody", "--password-file", &right],
            vec![],
            false,
        ),
    ];
    for (args, env, works) in cases {
        let ran = run_with(program().args(load).args(&args).envs(env.clone()), b"");
        ran.ends_with(if works { 0 } else { 4 });
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            !said.contains("s3same") && !said.contains("wr0ng"),
            "{args:?} {env:?}: {said}"
        );
    }
    // Without a terminal nobody can be asked.
    let mut ask = program();
    ask.args(load).args([&plain, "--ask-password"]);
    use std::os::unix::process::CommandExt as _;
    ask.process_group(0);
    let ran = run_with(
        std::process::Command::new("setsid")
            .arg("-w")
            .arg(super::support::command::PROGRAM)
            .args(load)
            .args([&plain, "--ask-password"]),
        b"",
    );
    ran.ends_with(2);
    assert!(ran.stderr.contains("needs a terminal"), "{ran:?}");
}
