//! What is mutated: one small built file for every type, attribute and record of the format; small single records as real
//! servers wrote them; and whole files, which only random mutations reach.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rdbridge::snapshot::{Dialect, Options, Record, Snapshot};

use super::super::support::dump::{Crc, Dump, opcode};
use super::super::support::{corpus_dir, testdata_dir};
use super::packed::{Body, Field, Item, intset, listpack, stream, ziplist, zipmap};

/// A file, and where its numbers stand.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Known for built files only.
    pub(crate) fields: Vec<Field>,
}

/// A module id: `ReJSON-RL` version 3.
const MODULE_ID: u64 = 0x459c_8d1f_2e5a_0c03;

/// Built files, one per thing that can stand in a dump.
pub(crate) fn built() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, dump: Dump, body: Body, end: Dump| {
        let base = dump.offset();
        let fields = body
            .fields
            .iter()
            .map(|f| Field {
                at: base + f.at,
                ..*f
            })
            .collect();
        // `end` holds what stands behind the body; its own header is not used.
        let behind = end.cut().split_off(9);
        seeds.push(Seed {
            name: format!("built/{name}"),
            bytes: dump.raw(&body.bytes).raw(behind).finish(Crc::Right),
            fields,
        });
    };
    let nothing = || Dump::redis(15);
    let mut key = |name: &str, dump: Dump, value_type: u8, body: Body| {
        // A name of its own kind, so that reading goes on behind the value.
        add(
            name,
            dump,
            Body::new().byte(value_type).str("k").join(body),
            nothing().string_key("next", "v"),
        );
    };

    let i = |n: i64| Item::from(n);
    let s = |t: &str| Item::from(t);
    let long = |n: usize| Item::from(vec![b'x'; n]);
    let of_all_widths = || {
        [
            0,
            12,
            13,
            127,
            128,
            -1,
            -128,
            -129,
            4095,
            4096,
            -4096,
            -4097,
            32_767,
            -32_768,
            32_768,
            8_388_607,
            -8_388_608,
            8_388_608,
            2_147_483_647,
            -2_147_483_648,
            2_147_483_648,
            i64::MAX,
            i64::MIN,
        ]
    };
    let redis = || Dump::redis(15);
    let text = "compressible, compressible, compressible text";

    key("string-raw", redis(), 0, Body::new().str("hello"));
    key("string-int8", redis(), 0, Body::new().int(-1));
    key("string-int16", redis(), 0, Body::new().int(12_345));
    key("string-int32", redis(), 0, Body::new().int(-70_000));
    key("string-lzf", redis(), 0, Body::new().lzf(text));
    key(
        "string-lzf-long-run",
        redis(),
        0,
        Body::new().lzf([b'a'; 3000]),
    );
    key(
        "list",
        redis(),
        1,
        Body::new().len(3).str("a").int(5).lzf(text),
    );
    key(
        "set",
        redis(),
        2,
        Body::new().len(3).str("a").int(300).str(""),
    );
    key(
        "zset-text",
        redis(),
        3,
        Body::new()
            .len(6)
            .str("a")
            .score("1.5")
            .str("b")
            .byte(254)
            .str("c")
            .byte(255)
            .str("d")
            .score("-17")
            .str("e")
            .score("0x1p3")
            .str("f")
            .score("1e999"),
    );
    key(
        "hash",
        redis(),
        4,
        Body::new().len(2).str("f").str("v").int(1).lzf(text),
    );
    key(
        "zset-2",
        redis(),
        5,
        Body::new()
            .len(3)
            .str("a")
            .f64(1.5)
            .str("b")
            .f64(f64::INFINITY)
            .str("c")
            .f64(-0.0),
    );
    key(
        "module",
        redis(),
        7,
        Body::new()
            .len(MODULE_ID)
            .len(1)
            .len(u64::MAX)
            .len(2)
            .len(7)
            .len(3)
            .raw(1.5f32.to_le_bytes())
            .len(4)
            .f64(2.5)
            .len(5)
            .str("text")
            .len(5)
            .lzf(text)
            .len(0),
    );
    key(
        "hash-zipmap",
        redis(),
        9,
        Body::new().blob(zipmap(&[("a", "x"), ("bb", "")], 0)),
    );
    key(
        "hash-zipmap-free",
        redis(),
        9,
        Body::new().blob(zipmap(&[("a", "x"), ("b", "y")], 3)),
    );
    let wide = "w".repeat(300);
    key(
        "hash-zipmap-long",
        redis(),
        9,
        Body::new().blob(zipmap(&[("a", &wide), (&wide, "b")], 0)),
    );
    key(
        "list-ziplist",
        redis(),
        10,
        Body::new().blob(ziplist([s("a"), i(5), i(1024), s("hello")])),
    );
    key(
        "list-ziplist-widths",
        redis(),
        10,
        Body::new().blob(ziplist(of_all_widths().map(i))),
    );
    key(
        "list-ziplist-long",
        redis(),
        10,
        Body::new().blob(ziplist([
            long(63),
            long(64),
            long(300),
            s("behind a wide one"),
            long(300),
        ])),
    );
    key(
        "list-ziplist-empty",
        redis(),
        10,
        Body::new().blob(ziplist([])),
    );
    key(
        "set-intset-16",
        redis(),
        11,
        Body::new().blob(intset(2, &[-1, 5, 300])),
    );
    key(
        "set-intset-32",
        redis(),
        11,
        Body::new().blob(intset(4, &[-70_000, 5, 70_000])),
    );
    key(
        "set-intset-64",
        redis(),
        11,
        Body::new().blob(intset(8, &[i64::MIN, 0, i64::MAX])),
    );
    key(
        "zset-ziplist",
        redis(),
        12,
        Body::new().blob(ziplist([s("m"), i(1), s("n"), s("2.5")])),
    );
    key(
        "hash-ziplist",
        redis(),
        13,
        Body::new().blob(ziplist([s("f"), s("v"), s("g"), i(7)])),
    );
    key(
        "list-quicklist",
        redis(),
        14,
        Body::new()
            .len(3)
            .blob(ziplist([s("a"), i(1)]))
            .blob(ziplist([]))
            .lzf(ziplist([long(40), s("z")]).bytes),
    );
    key(
        "hash-listpack",
        redis(),
        16,
        Body::new().blob(listpack([s("f"), s("v"), s("g"), i(1000)])),
    );
    key(
        "hash-listpack-lzf",
        redis(),
        16,
        Body::new().lzf(listpack([s("f"), long(50)]).bytes),
    );
    key(
        "zset-listpack",
        redis(),
        17,
        Body::new().blob(listpack([
            s("a"),
            i(-3),
            s("b"),
            s("2.5"),
            s("c"),
            s("inf"),
        ])),
    );
    key(
        "list-quicklist-2",
        redis(),
        18,
        Body::new()
            .len(3)
            .len(2)
            .blob(listpack([s("a"), i(5)]))
            .len(1)
            .str("plain")
            .len(2)
            .lzf(listpack([long(60)]).bytes),
    );
    key(
        "list-listpack-widths",
        redis(),
        18,
        Body::new()
            .len(1)
            .len(2)
            .blob(listpack(of_all_widths().map(i))),
    );
    key(
        "list-listpack-long",
        redis(),
        18,
        Body::new().len(1).len(2).blob(listpack([
            long(63),
            long(64),
            long(125),
            long(126),
            long(127),
            long(300),
            s("end"),
        ])),
    );
    key(
        "set-listpack",
        redis(),
        20,
        Body::new().blob(listpack([s("a"), i(7), s("zz")])),
    );
    for (form, value_type) in [(1u8, 15u8), (2, 19), (3, 21), (4, 26), (5, 27)] {
        key(&format!("stream-{form}"), redis(), value_type, stream(form));
    }
    key(
        "stream-empty",
        redis(),
        21,
        Body::new()
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0)
            .len(0),
    );
    key(
        "hash-metadata-pre-ga",
        redis(),
        22,
        Body::new()
            .len(2)
            .len(1_900_000_000_000)
            .str("f")
            .str("v")
            .len(0)
            .str("g")
            .int(1),
    );
    key(
        "hash-listpack-ex-pre-ga",
        redis(),
        23,
        Body::new().blob(listpack([
            s("f"),
            s("v"),
            i(1_900_000_000_000),
            s("g"),
            i(1),
            i(0),
        ])),
    );
    key(
        "hash-metadata",
        redis(),
        24,
        Body::new()
            .i64(1_900_000_000_000)
            .len(3)
            .len(0)
            .str("f")
            .str("v")
            .len(1)
            .str("g")
            .int(2)
            .len(1000)
            .str("h")
            .lzf(text),
    );
    key(
        "hash-listpack-ex",
        redis(),
        25,
        Body::new().i64(1_900_000_000_000).blob(listpack([
            s("f"),
            s("v"),
            i(1_900_000_000_000),
            s("g"),
            i(1),
            i(0),
        ])),
    );
    key(
        "array",
        redis(),
        28,
        Body::new()
            .len(4)
            .len(1)
            .len(9)
            .len(0)
            .len(0)
            .str("text")
            .len(7)
            .len(1)
            .i64(-5)
            .len(70_000)
            .len(2)
            .f64(2.5)
            .len(1 << 40)
            .len(3)
            .str("short"),
    );
    key(
        "hash-template-listpack",
        redis(),
        29,
        Body::new()
            .len(0)
            .blob(listpack([s("f1"), s("f2")]))
            .blob(listpack([i(0), s("v"), i(2)])),
    );
    key(
        "hash-template-listpack-names",
        redis(),
        29,
        Body::new()
            .len(1)
            .len(2)
            .str("f1")
            .str("f2")
            .blob(listpack([i(0), s("v"), i(2)])),
    );
    key(
        "hash-template-array",
        redis(),
        31,
        Body::new()
            .len(1)
            .len(2)
            .str("f1")
            .str("f2")
            .int(1)
            .str("v"),
    );
    key(
        "hash-template-array-listpack",
        redis(),
        31,
        Body::new()
            .len(0)
            .blob(listpack([s("f1"), s("f2")]))
            .int(1)
            .str("v"),
    );
    let valkey = || Dump::valkey(81);
    key(
        "valkey-hash-2",
        valkey(),
        22,
        Body::new()
            .len(2)
            .str("f")
            .str("v")
            .i64(-1)
            .str("g")
            .int(2)
            .i64(1_900_000_000_000),
    );
    key(
        "valkey-path-hash",
        valkey(),
        23,
        Body::new()
            .len(2)
            .str("p")
            .len(1)
            .str("f")
            .str("v")
            .str("q")
            .len(2)
            .str("f")
            .str("v")
            .str("g")
            .int(1),
    );
    let dragonfly = || Dump::redis(9).aux("df-ver", "1.2");
    key(
        "dragonfly-json-old",
        dragonfly(),
        20,
        Body::new().str("{\"a\":1}"),
    );
    key(
        "dragonfly-json",
        dragonfly(),
        30,
        Body::new().str("{\"a\":1}"),
    );
    key(
        "dragonfly-hash",
        dragonfly(),
        31,
        Body::new().len(1).str("f").str("v").str("-1"),
    );
    key(
        "dragonfly-set",
        dragonfly(),
        32,
        Body::new().len(1).str("m").str("1900000000"),
    );
    key("set-empty", redis(), 2, Body::new().len(0));
    for unproven in [6u8, 8, 33, 34, 35, 64] {
        key(
            &format!("unproven-{unproven}"),
            redis(),
            unproven,
            Body::new().len(2).str("x").str("y"),
        );
    }

    // Records and attributes.
    let template = || {
        Body::new()
            .byte(0xf2)
            .len(5)
            .len(2)
            .str("f1")
            .str("f2")
            .byte(0xf2)
            .len(70_000)
            .len(1)
            .str("f")
    };
    add(
        "template-refs",
        redis(),
        template()
            .byte(32)
            .str("k")
            .len(5)
            .int(1)
            .str("v")
            .byte(30)
            .str("l")
            .blob(listpack([i(5), i(1), s("v")]))
            .byte(30)
            .str("m")
            .blob(listpack([i(70_000), s("v")])),
        nothing().string_key("next", "v"),
    );
    let attributes: &[(&str, Dump, Body)] = &[
        (
            "expiry-ms",
            redis(),
            Body::new()
                .byte(opcode::EXPIRETIME_MS)
                .i64(2_000_000_000_000),
        ),
        (
            "expiry-ms-old",
            Dump::redis(8),
            Body::new()
                .byte(opcode::EXPIRETIME_MS)
                .i64(2_000_000_000_000),
        ),
        (
            "expiry-s",
            Dump::redis(2),
            Body::new().byte(opcode::EXPIRETIME).u32(2_000_000_000),
        ),
        ("idle", redis(), Body::new().byte(opcode::IDLE).len(70_000)),
        ("freq", redis(), Body::new().byte(opcode::FREQ).byte(200)),
        (
            "key-meta",
            redis(),
            Body::new()
                .byte(243)
                .len(2)
                .raw(b"abcd")
                .len(2)
                .len(5)
                .len(5)
                .str("x")
                .len(0)
                .raw(b"efgh")
                .len(0),
        ),
        (
            "enterprise",
            redis(),
            Body::new().byte(107).len(500).byte(121).len(77),
        ),
        (
            "dragonfly-mask",
            dragonfly(),
            Body::new().byte(220).u32(3).u32(9),
        ),
        (
            "all-attributes",
            redis(),
            Body::new()
                .byte(opcode::FREQ)
                .byte(1)
                .byte(opcode::IDLE)
                .len(2)
                .byte(opcode::SELECTDB)
                .len(3)
                .byte(opcode::EXPIRETIME_MS)
                .i64(-1)
                .byte(opcode::AUX)
                .str("a")
                .str("b")
                .byte(opcode::EXPIRETIME)
                .u32(u32::MAX),
        ),
        (
            "aux",
            redis(),
            Body::new()
                .byte(opcode::AUX)
                .str("redis-ver")
                .str("8.10.2")
                .byte(opcode::AUX)
                .lzf(text)
                .int(7),
        ),
        (
            "aux-of-producers",
            redis(),
            Body::new()
                .byte(opcode::AUX)
                .str("redis-bits")
                .int(64)
                .byte(opcode::AUX)
                .str("ctime")
                .int(1_700_000_000)
                .byte(opcode::AUX)
                .str("used-mem")
                .str("99999999999999999999")
                .byte(opcode::AUX)
                .str("repl-offset")
                .str("-5")
                .byte(opcode::AUX)
                .str("repl-id")
                .str("0123456789abcdef0123456789abcdef01234567")
                .byte(opcode::AUX)
                .str("aof-base")
                .int(1)
                .byte(opcode::AUX)
                .str("valkey-ver")
                .lzf(text)
                .byte(opcode::AUX)
                .str("lua")
                .str("return 1"),
        ),
        (
            "select-and-resize",
            redis(),
            Body::new()
                .byte(opcode::SELECTDB)
                .len(1 << 33)
                .byte(opcode::RESIZEDB)
                .len(9)
                .len(u64::MAX),
        ),
        (
            "slot-info",
            redis(),
            Body::new().byte(244).len(16_383).len(5).len(1),
        ),
        (
            "slot-import",
            valkey(),
            Body::new()
                .byte(243)
                .str("j".repeat(40))
                .len(2)
                .len(0)
                .len(5)
                .len(100)
                .len(200),
        ),
        (
            "function",
            redis(),
            Body::new()
                .byte(opcode::FUNCTION2)
                .str("#!lua name=lib\nredis.register_function('f', function() return 7 end)"),
        ),
        (
            "function-lzf",
            redis(),
            Body::new()
                .byte(opcode::FUNCTION2)
                .lzf(format!("#!lua name=l\n{text}")),
        ),
        (
            "function-pre-ga",
            redis(),
            Body::new()
                .byte(246)
                .str("lib")
                .str("LUA")
                .len(1)
                .str("what it does")
                .str("code")
                .byte(246)
                .str("lib2")
                .str("LUA")
                .len(0)
                .str("code"),
        ),
        (
            "module-aux",
            redis(),
            Body::new()
                .byte(opcode::MODULE_AUX)
                .len(MODULE_ID)
                .len(2)
                .len(1)
                .len(5)
                .str("index")
                .len(1)
                .len(7)
                .len(0),
        ),
        (
            "dragonfly-records",
            dragonfly(),
            Body::new()
                .byte(200)
                .i64(0)
                .byte(210)
                .len(3)
                .str("journal")
                .byte(211)
                .i64(9)
                .byte(203),
        ),
        (
            "dragonfly-blob",
            dragonfly(),
            Body::new().byte(201).str("zstd"),
        ),
    ];
    for (name, dump, body) in attributes {
        add(
            name,
            dump.clone(),
            body.clone(),
            nothing().string_key("k", "v").string_key("next", "v"),
        );
    }
    add(
        "keydb-sub-expiries",
        Dump::redis(9),
        Body::new()
            .byte(2)
            .str("s")
            .len(1)
            .str("m")
            .byte(opcode::AUX)
            .str("keydb-subexpire-key")
            .str("m")
            .byte(opcode::AUX)
            .str("keydb-subexpire-when")
            .str("1900000000000")
            .byte(opcode::AUX)
            .str("mvcc-tstamp")
            .str("123"),
        nothing().string_key("next", "v"),
    );
    add("empty", redis(), Body::new(), nothing());
    seeds
}

/// The smallest record of every kind that a real server wrote: type, dialect, and what stands in front of it.
pub(crate) fn single_records(files: &[Seed]) -> Vec<Seed> {
    const LONGEST: usize = 160;
    let mut seen = BTreeSet::new();
    let mut seeds = Vec::new();
    for file in files {
        let options = Options {
            verify_checksum: false,
            accept_newer: true,
        };
        let Ok(snapshot) = Snapshot::with_options(&file.bytes, options) else {
            continue;
        };
        let magic = &file.bytes[..9];
        for record in snapshot.records() {
            let Ok(Record::Entry(entry)) = record else {
                continue;
            };
            let end = entry.end() as usize + entry.sub_expires.len();
            let bytes = &file.bytes[entry.offset as usize..end];
            let kind = (
                entry.dialect == Dialect::Valkey,
                entry.value_type,
                entry.expire_at_ms.is_some(),
                entry.idle_seconds.is_some(),
                entry.lfu_freq.is_some(),
                // Not only the smallest: four sizes.
                bytes.len() * 4 / LONGEST,
            );
            if bytes.len() <= LONGEST && entry.template.is_none() && seen.insert(kind) {
                let mut dump = Dump::with_magic(magic);
                if entry.dialect == Dialect::Dragonfly {
                    dump = dump.aux("df-ver", "1");
                }
                seeds.push(Seed {
                    name: format!("{}@{}", file.name, entry.offset),
                    bytes: dump.raw(bytes).finish(Crc::Right),
                    fields: Vec::new(),
                });
            }
        }
    }
    seeds
}

/// Whole files: `testdata/**`, and the corpus where it is there. Those over `largest` bytes are left out.
pub(crate) fn files(largest: u64) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (prefix, dir) in [("testdata", Some(testdata_dir())), ("corpus", corpus_dir())] {
        let Some(dir) = dir else { continue };
        let mut paths = Vec::new();
        walk(&dir, &mut paths);
        paths.sort();
        for path in paths {
            let small = fs::metadata(&path).is_ok_and(|m| m.len() <= largest);
            let bytes = if small {
                fs::read(&path).expect("a sample")
            } else {
                continue;
            };
            if bytes.starts_with(b"REDIS") || bytes.starts_with(b"VALKEY") {
                let name = path.strip_prefix(&dir).expect("below the directory");
                seeds.push(Seed {
                    name: format!("{prefix}/{}", name.display()),
                    bytes,
                    fields: Vec::new(),
                });
            }
        }
    }
    seeds
}

/// Inputs that once did harm, or might: replayed as they are.
pub(crate) fn past_finds() -> Vec<Seed> {
    let mut paths = Vec::new();
    let dir = testdata_dir().join("hostile");
    if dir.is_dir() {
        walk(&dir, &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rdb"))
        .map(|path| Seed {
            name: format!(
                "testdata/hostile/{}",
                path.file_name().unwrap_or_default().display()
            ),
            bytes: fs::read(&path).expect("a past find"),
            fields: Vec::new(),
        })
        .collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory that can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}
