//! `info`: its figures are those of the servers that wrote the files.

use serde_json::Value;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{self, Crc, Dump, opcode};
use super::support::expected;
use super::support::server::{self, Server};

fn info(path: &str) -> Value {
    let ran = run(["info", "-q", "--json", path]);
    ran.ends_with(0);
    ran.json()["inputs"][0]["info"].clone()
}

fn info_of(bytes: impl AsRef<[u8]>, flags: &[&str]) -> Ran {
    let dir = Dir::new();
    let path = dir.file("d.rdb", bytes);
    run(["info", "-q", &path]
        .into_iter()
        .chain(flags.iter().copied()))
}

#[test]
fn figures_are_those_of_the_servers_that_wrote_the_files() {
    for expected in expected::all() {
        let name = &expected.name;
        let info = info(expected.rdb().to_str().expect("UTF-8"));
        assert_eq!(info["magic"], expected.magic, "{name}");
        assert_eq!(
            info["producer"]["version"]
                .as_str()
                .unwrap_or(&expected.server_version),
            expected.server_version,
            "{name}"
        );
        let dbs: std::collections::BTreeMap<u64, u64> = info["databases"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|db| (db["db"].as_u64().unwrap(), db["keys"].as_u64().unwrap()))
            .collect();
        // The server did not count what was past its time when it was asked.
        if expected.past == 0 {
            assert_eq!(dbs, expected.keys_per_db, "{name}");
            assert_eq!(info["keys"], expected.keys, "{name}");
            assert_eq!(info["total"]["expires"], expected.expires, "{name}");
            let types: std::collections::BTreeMap<u8, u64> = info["types"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|t| {
                    (
                        t["number"].as_u64().unwrap() as u8,
                        t["keys"].as_u64().unwrap(),
                    )
                })
                .collect();
            assert_eq!(types, expected.rdb_types, "{name}");
        }
        assert_eq!(info["function_count"], expected.functions, "{name}");
        let bytes = |list: &Value| -> u64 {
            list.as_array()
                .expect("a list")
                .iter()
                .map(|x| x["bytes"].as_u64().unwrap())
                .sum()
        };
        assert_eq!(bytes(&info["types"]), bytes(&info["databases"]), "{name}");
        assert!(
            bytes(&info["types"]) <= info["bytes"].as_u64().unwrap(),
            "{name}"
        );
    }
}

/// For the strings and the functions of every server: those servers start with the file of which `info` says so.
#[test]
fn where_a_file_can_be_loaded_is_where_servers_start_with_it() {
    let servers = server::all();
    let mut tried = 0;
    for expected in expected::all() {
        if !matches!(expected.case(), "strings" | "functions") {
            continue;
        }
        let info = info(expected.rdb().to_str().expect("UTF-8"));
        for &name in &servers {
            let (product, major, minor) = server::version_of(name);
            let lowest = info["loadable"][product].as_str();
            let says = lowest.is_some_and(|lowest| {
                let (_, version) = lowest.split_once(' ').expect("a name and a version");
                let (from_major, from_minor) = version.split_once('.').expect("two numbers");
                (major, minor) >= (from_major.parse().unwrap(), from_minor.parse().unwrap())
            });
            let starts = Server::setup(name).with_rdb(expected.rdb()).try_start();
            assert_eq!(
                starts.is_ok(),
                says,
                "{} into {name}: info says {lowest:?}",
                expected.name
            );
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn everything_in_a_file_is_named() {
    let module = (0x1234u64 << 10 | 3).to_be_bytes();
    let file = Dump::redis(12)
        .aux("redis-ver", "7.4.1\x1b[31m")
        .aux("lua", "return 1")
        .aux("lua", "return 22")
        .function("#!lua name=lib_one\nreturn 1")
        .raw([246])
        .raw(dump::string("old_lib"))
        .raw(dump::string("LUA"))
        .raw([0])
        .raw(dump::string("x"))
        .raw([opcode::MODULE_AUX, 0x81])
        .raw(module)
        .raw([2, 2, 0])
        .select_db(0)
        .raw([244, 0x40, 100, 1, 0])
        .raw([244, 0x40, 101, 1, 0])
        .idle(5)
        .key(7, "module", [&[0x81][..], &module, &[0]].concat())
        .freq(5)
        .string_key("big\n", vec![b'x'; 5000])
        .select_db(20)
        .expire_ms(1)
        .string_key("small", "x")
        .finish(Crc::Zero);
    let file = [&file[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    let ran = info_of(&file, &["--top", "2"]);
    ran.ends_with(0);
    for words in [
        "RDB 12 (REDIS0012), checksum switched off by the writer",
        "redis 7.4.1\\x1b[31m",
        "3 keys, 1 with expiry (33.3 %), 1 expired (33.3 %), 1 with idle time (33.3 %), 1 with access frequency",
        "slots       100-101",
        "lib_one (27 B), old_lib (1 B, of a release candidate of redis 7.0)",
        "version 3: 1 value",
        "version 3: 1 record",
        "2 Lua scripts cached, 17 B",
        "14 bytes behind the end: commands of an append-only file",
        "\"big\\n\"",
        "with `databases 21` or more",
        "no other than redis 7.0",
        "with the modules that own",
        "the whole file starts: redis 7.0 or newer",
    ] {
        assert!(
            ran.stdout.contains(words),
            "{words:?} is missing:\n{}",
            ran.stdout
        );
    }
    assert!(
        !ran.stdout.contains('\x1b') && !ran.stdout.contains("\"small\""),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_stands_before_the_damage_is_shown() {
    let file = Dump::redis(11).select_db(0).string_key("a", "b").cut();
    let ran = info_of(&file, &[]);
    ran.ends_with(3);
    assert!(
        ran.stdout.contains("keys   1 key\n") && ran.stdout.contains("checksum not reached"),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains("d.rdb: offset 16 (0x10): the input ends here"),
        "{ran:?}"
    );
}

#[test]
fn the_largest_values_are_found_whatever_their_order() {
    let mut dump = Dump::redis(11).select_db(0);
    let size = |n: usize| (n * 7919) % 1000;
    for n in 0..1000 {
        dump = dump.string_key(format!("key:{n}"), vec![b'x'; size(n)]);
    }
    let file = dump.finish(Crc::Right);
    for top in [0usize, 1, 10, 2000] {
        let ran = info_of(&file, &["--json", "--top", &top.to_string()]);
        let json = ran.json();
        let biggest = json["inputs"][0]["info"]["biggest"]
            .as_array()
            .expect("a list");
        assert_eq!(biggest.len(), top.min(1000));
        for (i, big) in biggest.iter().enumerate() {
            // All sizes differ: the i-th largest is 999 - i bytes, with a length in front.
            let bytes = 999 - i as u64;
            assert_eq!(
                big["bytes"],
                bytes + if bytes < 64 { 1 } else { 2 },
                "number {i} of {top}"
            );
        }
    }
}

#[test]
fn many_databases_are_counted_and_some_are_listed() {
    let mut dump = Dump::redis(11);
    for db in 0..10_000 {
        dump = dump.select_db(db).string_key("k", "v");
    }
    let json = info_of(dump.finish(Crc::Right), &["--json"]).json();
    let info = &json["inputs"][0]["info"];
    let listed = info["databases"].as_array().expect("a list").len() as u64;
    assert_eq!(info["keys"], 10_000);
    assert_eq!(info["databases_left_off"]["keys"], 10_000 - listed);
}

/// In `info` and `check`, as text and as JSON, a checksum that was reached and does not fit is called wrong.
#[test]
fn a_wrong_checksum_was_reached() {
    let dir = Dir::new();
    let mut bytes = Dump::redis(9).string_key("k", "v").finish(Crc::Right);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let file = dir.file("wrong.rdb", &bytes);
    let info = run(["info", "--json", &file]).ends_with(3).json();
    assert_eq!(info["inputs"][0]["info"]["checksum"], "wrong");
    let check = run(["check", "--json", &file]).ends_with(3).json();
    assert_eq!(check["inputs"][0]["totals"]["checksum"], "wrong");
    for verb in ["info", "check"] {
        let told = run([verb, "-q", &file]);
        assert!(told.stdout.contains("checksum wrong"), "{told:?}");
    }
    let cut = dir.file("cut.rdb", &bytes[..last - 12]);
    let check = run(["check", "--json", &cut]).ends_with(3).json();
    assert_eq!(check["inputs"][0]["totals"]["checksum"], "not-reached");
}

/// Cached scripts are named as `EVALSHA` calls them.
#[test]
fn cached_scripts_are_named() {
    let dir = Dir::new();
    let dump = (0..12).fold(
        Dump::redis(9).aux("lua", "\n-- first\nreturn 1"),
        |dump, n| dump.aux("lua", format!("return {n}")),
    );
    let file = dir.file("scripts.rdb", dump.finish(Crc::Right));
    let info = run(["info", "--json", &file]).ends_with(0).json();
    let info = &info["inputs"][0]["info"];
    assert_eq!(info["scripts"]["keys"], 13);
    assert_eq!(info["script_list"][0]["first_line"], "-- first");
    // As `SCRIPT LOAD "return 1"` answers.
    let sha1 = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert_eq!(info["script_list"][2]["sha1"], sha1);
    let text = run(["info", &file]).ends_with(0).stdout.clone();
    assert!(text.contains(&format!("{sha1}  return 1")), "{text}");
    assert!(text.contains("and 3 more"), "{text}");
}

/// JSON has the name of an input as it is, escaped once; base64 where it is no text.
#[test]
fn odd_names_of_inputs_are_escaped_once() {
    use std::os::unix::ffi::OsStrExt as _;

    let dir = Dir::new();
    let dump = Dump::redis(9).string_key("k", "v").finish(Crc::Right);
    let path = dir.file("a\n\"b\".rdb", &dump);
    for verb in ["info", "check"] {
        let told = run([verb, "--json", &path]).ends_with(0).json();
        assert_eq!(told["inputs"][0]["input"], path.as_str());
    }
    let document = run(["export", "-q", "--format", "json", &path]);
    assert_eq!(document.json()["inputs"][0]["input"], path.as_str());
    let missing = dir.path().join("none\n.rdb");
    let told = run(["info", "--json", missing.to_str().expect("text")]);
    assert_eq!(
        told.json()["inputs"][0]["input"],
        missing.to_str().expect("text")
    );
    let bytes = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.rdb"));
    std::fs::write(&bytes, &dump).expect("written");
    let args = ["info".as_ref(), "--json".as_ref(), bytes.as_os_str()];
    let told = run(args).ends_with(0).json();
    assert!(told["inputs"][0]["input"]["base64"].is_string(), "{told}");
}

/// What stands behind the end of an AOF with a preamble is not ignored by a server that reads it as such.
#[test]
fn newer_writes_behind_the_end_are_not_called_ignored() {
    let dir = Dir::new();
    let mut bytes = Dump::redis(9).string_key("k", "v").finish(Crc::Right);
    bytes.extend_from_slice(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    let file = dir.file("appendonly.aof", &bytes);
    let told = run(["check", "-q", &file]).ends_with(0).stdout.clone();
    assert!(told.contains("newer than the dump; a server that takes the file for its append-only file replays them"), "{told}");
    assert!(!told.contains("servers ignore"), "{told}");
    bytes.truncate(bytes.len() - 23);
    bytes.extend_from_slice(b"garbage");
    let told = run(["check", "-q", &dir.file("garbage.rdb", &bytes)]);
    assert!(
        told.stdout.contains("garbage; servers ignore them"),
        "{told:?}"
    );
}

/// What a packed input takes is told once.
#[cfg(feature = "compression")]
#[test]
fn the_spool_is_told_once() {
    use std::io::Write as _;

    let dir = Dir::new();
    let dump = Dump::redis(9).string_key("k", "v").finish(Crc::Right);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&dump).expect("packed");
    let file = dir.file("dump.rdb.gz", packed.finish().expect("packed"));
    let told = run([
        "info",
        &file,
        "--spool-dir",
        dir.path().to_str().expect("text"),
    ]);
    let memory = told.stderr.contains("tmpfs");
    let lines = told
        .stderr
        .lines()
        .filter(|line| line.contains("spool"))
        .count();
    assert_eq!(lines, if memory { 2 } else { 1 }, "{told:?}");
}
