//! Commands of every type as text, their limits, and what they lose.

use super::super::packed::test_support::hex;
use super::super::test_support::{entry, templated, text};
use super::super::{Lenient, listpack};
use super::*;
use crate::snapshot::Dialect;
use crate::wire::length;

const R: Dialect = Dialect::Redis;

fn all_of(
    entry: &Entry<'_>,
    words: Vocabulary,
    limits: Limits,
) -> (Vec<String>, Vec<&'static str>) {
    let dir = tempfile::tempdir().unwrap();
    let mut decoder = Decoder::with_findings(Some(dir.path()), Lenient);
    let arrival = Arrival {
        inside: Expiries::default(),
        key: Element::Bytes(b"k"),
        expire_at_ms: entry.expire_at_ms,
    };
    let mut commands = Commands::new(&mut decoder, entry, arrival, words, limits).unwrap();
    let mut lines = Vec::new();
    while let Some(command) = commands.next_command().unwrap() {
        let args: Vec<String> = command.args().map(|arg| text(&arg).unwrap()).collect();
        let bytes: u64 = command.args().map(|arg| arg.len()).sum();
        assert_eq!(args.len() as u64, command.argc());
        assert_eq!(bytes, command.bytes());
        assert_eq!(args[0], command.name());
        lines.push(args.join(" "));
    }
    assert!(commands.next_command().unwrap().is_none(), "fused");
    let losses = commands.losses().iter().map(Loss::name).collect();
    (lines, losses)
}

fn lines(value_type: u8, body: &str) -> Vec<String> {
    let bytes = hex(body);
    let (lines, losses) = all_of(
        &entry(value_type, R, &bytes),
        Vocabulary::redis(8, 10),
        Limits::default(),
    );
    assert_eq!(losses, Vec::<&str>::new());
    lines
}

#[test]
fn every_kind_by_its_command() {
    for (value_type, body, expected) in [
        (0, "05 68656c6c6f", &["SET k hello"][..]),
        (0, "c1 3930", &["SET k 12345"]),
        (1, "03 0161 c005 0162", &["RPUSH k a 5 b"]),
        (2, "02 0161 c007", &["SADD k a 7"]),
        (
            3,
            "03 0161 03312e35 0162 fe 0163 ff",
            &["ZADD k 1.5 a inf b -inf c"],
        ),
        (5, "01 0162 0000000000000080", &["ZADD k -0 b"]),
        (
            9,
            "0c 02 0161 01 00 78 026262 00 00 ff",
            &["HSET k a x bb "],
        ),
        (
            11,
            "0e 02000000 03000000 ffff 0500 2c01",
            &["SADD k -1 5 300"],
        ),
        (
            22,
            "03 00 0167 c002 44d2 0166 c001 44d2 0168 c001",
            &["HSET k g 2 f 1 h 1", "HPEXPIREAT k 1234 FIELDS 2 f h"],
        ),
        (
            22,
            "03 05 0167 c002 44d2 0166 c001 05 0168 c001",
            &[
                "HSET k g 2 f 1 h 1",
                "HPEXPIREAT k 5 FIELDS 1 g",
                "HPEXPIREAT k 1234 FIELDS 1 f",
                "HPEXPIREAT k 5 FIELDS 1 h",
            ],
        ),
        (31, "01 02 0161 0162 c001 c002", &["HSET k a 1 b 2"]),
        (
            29,
            "00 0d 0d000000 0200 816102 816202 ff 0d 0d000000 0300 0001 0101 0201 ff",
            &["HSET k a 1 b 2"],
        ),
        (
            28,
            "03 01 09 00 00 0161 05 01 ffffffffffffffff 06 02 000000000000f83f",
            &["ARMSET k 0 a 5 -1 6 1.5", "ARSEEK k 10"],
        ),
    ] {
        assert_eq!(lines(value_type, body), expected, "type {value_type}");
    }
    let (bytes, names) = (hex("05 c001 c002"), hex("0161 0162"));
    let (lines, _) = all_of(
        &templated(32, &bytes, &names),
        Vocabulary::redis(3, 0),
        Limits::default(),
    );
    assert_eq!(lines, ["HMSET k a 1 b 2"]);
}

#[test]
fn an_expiry_comes_last() {
    let bytes = hex("0176");
    let mut with = entry(0, R, &bytes);
    with.expire_at_ms = Some(1234);
    let (lines, _) = all_of(&with, Vocabulary::redis(2, 8), Limits::default());
    assert_eq!(lines, ["SET k v", "PEXPIREAT k 1234"]);
}

#[test]
fn batches_keep_their_limits() {
    let mut body = Vec::new();
    length::write(&mut body, 2500);
    for i in 0..2500 {
        Str::write(&mut body, format!("member-{i:05}").as_bytes(), true);
    }
    let sizes = |limits| -> Vec<usize> {
        let (lines, _) = all_of(&entry(1, R, &body), Vocabulary::redis(7, 0), limits);
        lines
            .iter()
            .map(|line| line.split(' ').count() - 2)
            .collect()
    };
    assert_eq!(sizes(Limits::default()), [998, 998, 504]);
    let small = Limits {
        args: 1000,
        bytes: 6 + 12 * 10,
        ..Limits::default()
    };
    assert_eq!(sizes(small), vec![10; 250]);
    let tiny = Limits {
        args: 1,
        bytes: 1,
        ..Limits::default()
    };
    assert_eq!(sizes(tiny), vec![1; 2500], "one element always fits");
}

/// A string as LZF, however long.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let compressed = ::lzf::compress(bytes).unwrap();
    let mut out = vec![0xc3];
    length::write(&mut out, compressed.len() as u64);
    length::write(&mut out, bytes.len() as u64);
    out.extend_from_slice(&compressed);
    out
}

#[test]
fn large_elements_stand_alone_and_are_whole() {
    // Long ones are walked, medium ones lie in the decoder's buffer, small ones are copied.
    let long = b"0123456789abcdef".repeat(100_000);
    let medium = b"fedcba9876543210".repeat(10_000);
    let small = b"abcabcabc".repeat(30);
    let mut body = vec![7];
    for bytes in [&small, &medium, &small, &long, &small, &medium, &medium] {
        body.extend(packed(bytes));
    }
    for value_type in [1u8, 2] {
        let (lines, _) = all_of(
            &entry(value_type, R, &body),
            Vocabulary::redis(7, 0),
            Limits::default(),
        );
        let name = if value_type == 1 { "RPUSH" } else { "SADD" };
        let shown: Vec<String> = ["270", "160000", "270", "1600000", "270", "160000", "160000"]
            .iter()
            .map(|size| format!("{name} k <{size} bytes>"))
            .collect();
        assert_eq!(lines, shown);
    }
    // Field and value of one pair may both lie in a buffer.
    let mut body = vec![1];
    body.extend(packed(&medium));
    body.extend(packed(&medium));
    let dir = tempfile::tempdir().unwrap();
    let mut decoder = Decoder::new(Some(dir.path()));
    let entry = entry(4, R, &body);
    let arrival = Arrival {
        inside: Expiries::default(),
        key: Element::Bytes(b"k"),
        expire_at_ms: None,
    };
    let words = Vocabulary::redis(7, 0);
    let mut commands =
        Commands::new(&mut decoder, &entry, arrival, words, Limits::default()).unwrap();
    let command = commands.next_command().unwrap().unwrap();
    let args: Vec<Vec<u8>> = command
        .args()
        .map(|arg| {
            let mut out = Vec::new();
            arg.append_to(&mut out).unwrap();
            out
        })
        .collect();
    assert!(args[2] == medium && args[3] == medium);
}

#[test]
fn elements_of_a_compressed_blob_survive_its_end() {
    let mut writer = listpack::Writer::new();
    for i in 0..50 {
        writer.push(format!("element-number-{}", i % 3).as_bytes());
    }
    let blob = packed(&writer.finish().unwrap());
    // Two nodes share the decoder's buffer, and one command.
    let body = [&[2u8, 2][..], &blob, &[2], &blob].concat();
    let (lines, _) = all_of(
        &entry(18, R, &body),
        Vocabulary::redis(7, 0),
        Limits::default(),
    );
    let expected: Vec<String> = (0..100)
        .map(|i| format!("element-number-{}", i % 50 % 3))
        .collect();
    assert_eq!(lines, [format!("RPUSH k {}", expected.join(" "))]);
}

const ID_1_1: &str = "0000000000000001 0000000000000001";
const NODE: &str = "10 0000000000000001 0000000000000001 2e 2e000000 1100 \
                    0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 \
                    0001 0101 dfff02 0101 816702 817702 0601 ff";
const TIME: &str = "0068e5cf8b010000";

#[test]
fn a_stream_with_groups() {
    let node = NODE;
    // 1-1 is pending of c1; 1-5 and 9-0 do not exist any more; c2 has nothing.
    let ids = [
        ID_1_1,
        "0000000000000001 0000000000000005",
        "0000000000000009 0000000000000000",
    ];
    let [a, b, c] = ids;
    let body = hex(&format!(
        "01 {node} 02 09 00 01 01 09 00 05 01 02 6731 01 01 02 \
         03 {a} {TIME} 03 {b} {TIME} 01 {c} {TIME} 01 \
         02 02 6331 {TIME} ffffffffffffffff 03 {a} {b} {c} 02 6332 {TIME} ffffffffffffffff 00"
    ));
    let entry = entry(21, R, &body);
    let (lines, losses) = all_of(&entry, Vocabulary::redis(7, 0), Limits::default());
    assert_eq!(
        lines,
        [
            "XADD k 1-1 f v",
            "XADD k 1-5 - -",
            "XADD k 2-0 g w",
            "XADD k 9-0 - -",
            "XSETID k 9-0 ENTRIESADDED 5 MAXDELETEDID 9-0",
            "XGROUP CREATE k g1 1-1 ENTRIESREAD 2",
            "XCLAIM k g1 c1 0 1-1 TIME 1700000000000 RETRYCOUNT 3 FORCE JUSTID",
            "XCLAIM k g1 c1 0 1-5 9-0 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID",
            "XGROUP CREATECONSUMER k g1 c2",
            "XDEL k 1-5 9-0",
            "XSETID k 9-0 ENTRIESADDED 5 MAXDELETEDID 9-0",
        ]
    );
    assert_eq!(losses, ["consumer-times"]);
    let (lines, losses) = all_of(&entry, Vocabulary::redis(5, 0), Limits::default());
    assert_eq!(lines[4], "XSETID k 9-0");
    assert_eq!(lines[5], "XGROUP CREATE k g1 1-1");
    assert_eq!(lines[8], "XREADGROUP GROUP g1 c2 STREAMS k 0");
    assert_eq!(losses, ["consumer-times", "stream-counters"]);
}

#[test]
fn empty_streams_nacked_entries_and_idempotency() {
    let (lines, _) = all_of(
        &entry(15, R, &hex("00 00 05 01 00")),
        Vocabulary::redis(7, 0),
        Limits::default(),
    );
    assert_eq!(
        lines,
        [
            "XGROUP CREATE k g $ MKSTREAM",
            "XGROUP DESTROY k g",
            "XSETID k 5-1 ENTRIESADDED 0 MAXDELETEDID 0-0",
        ]
    );
    let body = hex(&format!(
        "01 {NODE} 02 02 00 01 01 00 00 02 01 0167 01 01 01 01 {ID_1_1} 0000000000000000 07 00 01 {ID_1_1} \
         3c 05 01 0170 01 0169 01 01 01 00"
    ));
    let entry = entry(27, R, &body);
    let (lines, losses) = all_of(&entry, Vocabulary::redis(8, 10), Limits::default());
    assert_eq!(
        lines[3..],
        [
            "XGROUP CREATE k g 1-1 ENTRIESREAD 1",
            "XNACK k g SILENT IDS 1 1-1 RETRYCOUNT 7 FORCE",
            "XCFGSET k IDMP-DURATION 60 IDMP-MAXSIZE 5",
            "XIDMPRECORD k p i 1-1",
        ]
    );
    assert_eq!(losses, ["idempotency-counters"]);
    let (_, losses) = all_of(&entry, Vocabulary::valkey(9, 0), Limits::default());
    assert_eq!(losses, ["nacked-entries", "idempotency"]);
}

#[test]
fn what_cannot_be_carried_is_said() {
    let old = Vocabulary::redis(3, 0);
    let hash = hex("01 44d2 0166 c001");
    let (lines, losses) = all_of(&entry(22, R, &hash), old, Limits::default());
    assert_eq!((lines.len(), losses), (1, vec!["field-expiry"]));
    for (value_type, dialect, body, name) in [
        (15, R, "00 00 05 01 00", "stream"),
        (7, R, "81 0001020304050607 00", "module-value"),
        (28, R, "01 00 00 00 0161", "array"),
        (23, Dialect::Valkey, "01 0170 01 0166 c001", "path-hash"),
        (30, Dialect::Dragonfly, "027b7d", "json"),
    ] {
        let bytes = hex(body);
        let (lines, losses) = all_of(&entry(value_type, dialect, &bytes), old, Limits::default());
        assert_eq!((lines.len(), losses), (0, vec![name]));
    }
    let bytes = hex("027b7d");
    let (lines, _) = all_of(
        &entry(30, Dialect::Dragonfly, &bytes),
        Vocabulary::dragonfly(),
        Limits::default(),
    );
    assert_eq!(lines, ["JSON.SET k $ {}"]);
    let mut records = Vec::new();
    for (name, value) in [("keydb-subexpire-key", "a"), ("keydb-subexpire-when", "77")] {
        records.push(0xfa);
        Str::write_raw(&mut records, name.as_bytes());
        Str::write(&mut records, value.as_bytes(), false);
    }
    let bytes = hex("02 0161 c007");
    let mut set = entry(2, R, &bytes);
    set.sub_expires = &records;
    set.idle_seconds = Some(5);
    let (lines, losses) = all_of(&set, Vocabulary::keydb(), Limits::default());
    assert_eq!(lines, ["SADD k a 7", "PEXPIREMEMBERAT k a 77"]);
    assert_eq!(losses, ["access-times"]);
    let (_, losses) = all_of(&set, old, Limits::default());
    assert_eq!(losses, ["member-expiry", "access-times"]);
    // Field expiries of Redis go by the same command, one by one.
    let bytes = hex("03 05 0167 c002 44d2 0166 c001 00 03682069 c001");
    let hash = entry(22, R, &bytes);
    let (lines, losses) = all_of(&hash, Vocabulary::keydb(), Limits::default());
    assert_eq!(
        lines,
        [
            "HSET k g 2 f 1 h i 1",
            "PEXPIREMEMBERAT k g 5",
            "PEXPIREMEMBERAT k f 1234"
        ]
    );
    assert_eq!(losses, [""; 0]);
    for (rules, expected) in [
        ("shift=3ms", &["SADD k a 7", "PEXPIREMEMBERAT k a 80"][..]),
        ("strip", &["SADD k a 7"]),
    ] {
        let rules: crate::transform::TtlRules = rules.parse().unwrap();
        let arrival = Arrival {
            key: Element::Bytes(b"k"),
            expire_at_ms: None,
            inside: rules.at(0, 0),
        };
        let mut decoder = Decoder::new(None);
        let words = Vocabulary::keydb();
        let mut commands =
            Commands::new(&mut decoder, &set, arrival, words, Limits::default()).unwrap();
        let mut lines = Vec::new();
        while let Some(command) = commands.next_command().unwrap() {
            let mut text = Vec::new();
            for arg in command.args() {
                arg.append_to(&mut text).unwrap();
                text.push(b' ');
            }
            lines.push(String::from_utf8(text).unwrap().trim_end().to_owned());
        }
        assert_eq!(lines, expected);
    }
}

#[test]
fn a_stream_entry_with_many_fields_is_one_command() {
    let mut writer = listpack::Writer::new();
    for value in [1i64, 0, 1] {
        writer.push_int(value);
    }
    writer.push(b"m");
    writer.push_int(0);
    for value in [0i64, 0, 0, 3000] {
        writer.push_int(value);
    }
    for i in 0..3000 {
        writer.push(format!("f{i}").as_bytes());
        writer.push(i.to_string().as_bytes());
    }
    writer.push_int(6004);
    let blob = writer.finish().unwrap();
    let mut body = hex("01 10 0000000000000001 0000000000000001");
    Str::write_raw(&mut body, &blob);
    body.extend(hex("01 01 01 00"));
    let (lines, _) = all_of(
        &entry(15, R, &body),
        Vocabulary::redis(7, 0),
        Limits::default(),
    );
    assert_eq!(lines[0].split(' ').count(), 3 + 6000);
    assert!(lines[0].ends_with("f2999 2999"));
}

#[test]
fn a_string_longer_than_an_argument_is_appended() {
    let text: Vec<u8> = (0..3_000_000u32)
        .flat_map(|i| {
            if i % 2 == 0 {
                [b'a'; 2]
            } else {
                (i as u16).to_le_bytes()
            }
        })
        .collect();
    for compress in [false, true] {
        let mut body = Vec::new();
        crate::wire::Str::write(&mut body, &text, compress);
        let entry = entry(0, Dialect::Redis, &body);
        for (argument, most) in [(u64::MAX, 1), (2 << 20, 30), (100_000, 200)] {
            let mut decoder = Decoder::new(None);
            let arrival = Arrival {
                key: Element::Bytes(b"k"),
                expire_at_ms: Some(7),
                inside: Expiries::default(),
            };
            let limits = Limits {
                argument,
                ..Limits::default()
            };
            let words = Vocabulary::redis(7, 0);
            let mut commands = Commands::new(&mut decoder, &entry, arrival, words, limits).unwrap();
            let (mut joined, mut count) = (Vec::new(), 0);
            while let Some(command) = commands.next_command().unwrap() {
                let mut args = command.args();
                let name = command.name();
                if name == "PEXPIREAT" {
                    continue;
                }
                assert_eq!(name, if count == 0 { "SET" } else { "APPEND" });
                count += 1;
                let value = args.nth(2).unwrap();
                assert!(value.len() <= argument);
                value.append_to(&mut joined).unwrap();
                assert!(args.next().is_none());
            }
            assert!(joined == text, "{compress} {argument}");
            assert!(
                count <= most && (count > 1) == (most > 1),
                "{argument}: {count}"
            );
        }
    }
}
