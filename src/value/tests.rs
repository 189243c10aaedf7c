//! Every type by bytes that servers wrote or read (the examples of the format's description), and every broken rule.

use super::packed::test_support::hex;
use super::test_support::{entry, judged, show, templated};
use super::*;
use crate::ErrorKind;
use crate::snapshot::{Dialect, Entry};

const R: Dialect = Dialect::Redis;
const V: Dialect = Dialect::Valkey;
const D: Dialect = Dialect::Dragonfly;

fn shown(entry: &Entry<'_>) -> String {
    show(&mut Decoder::new(None), entry).unwrap()
}

/// The node of the format's example: entries 1-1 {f:v} and 2-0 {g:w}.
const NODE: &str = "10 0000000000000001 0000000000000001 2e 2e000000 1100 \
                    0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 \
                    0001 0101 dfff02 0101 816702 817702 0601 ff";
const ID_1_1: &str = "0000000000000001 0000000000000001";
const TIME: &str = "0068e5cf8b010000";
const LATER: &str = "0168e5cf8b010000";
const NEVER: &str = "ffffffffffffffff";

/// The stream of the format's example, in each form.
fn stream(form: u8) -> String {
    let counters = if form >= 2 { "01 01 00 00 02" } else { "" };
    let read = if form >= 2 { "01" } else { "" };
    let active = if form >= 3 { NEVER } else { "" };
    let nacked = if form >= 5 {
        format!("01 {ID_2_0}")
    } else {
        String::new()
    };
    let pending = if form >= 5 {
        format!("02 {ID_1_1} {TIME} 03 {ID_2_0} {TIME} 01")
    } else {
        format!("01 {ID_1_1} {TIME} 03")
    };
    let idmp = if form >= 4 {
        "3c 4064 01 0170 02 0169 01 01 c005 02 00 02 00"
    } else {
        ""
    };
    format!(
        "01 {NODE} 02 02 00 {counters} 01 02 6731 01 01 {read} {pending} \
         01 02 6331 {LATER} {active} 01 {ID_1_1} {nacked} {idmp}"
    )
}
const ID_2_0: &str = "0000000000000002 0000000000000000";

fn stream_shown(form: u8) -> String {
    let counters = if form >= 2 {
        " first=1-1 maxdel=0-0 added=2"
    } else {
        ""
    };
    let read = if form >= 2 { "Some(1)" } else { "None" };
    let (more, nacked) = if form >= 5 {
        (" p:2-0@1700000000000x1", " n:2-0x1")
    } else {
        ("", "")
    };
    let idmp = if form >= 4 {
        " idmp 60s 100 producer p i=1-1 5=2-0 added=2 dup=0"
    } else {
        ""
    };
    format!(
        "1-1{{f=v}} 2-0{{g=w}} len=2 last=2-0{counters} group g1 last=1-1 read={read} \
         p:1-1@1700000000000x3{more} consumer c1 seen=1700000000001 active=None o:1-1x3{nacked}{idmp}"
    )
}

/// A sound value of every type: its type, dialect, body, and what it shows.
fn sound() -> Vec<(u8, Dialect, String, String)> {
    let listpack = "19 19000000 0500 816102 0501 c40002 dffe02 8568656c6c6f06 ff";
    let ziplist = "1b 1b000000 13000000 0400 000161 03f6 02c00004 040568656c6c6f ff";
    let names = "066669656c6431 066669656c6432";
    let names_packed = "17 17000000 0200 866669656c643107 866669656c643207 ff";
    let values = "0d 0d000000 0300 0501 0101 0201 ff";
    let mut all: Vec<(u8, Dialect, String, String)> = [
        (0, R, "05 68656c6c6f", "hello"),
        (0, R, "00", ""),
        (0, R, "c1 3930", "12345"),
        (0, R, "c0 ff", "-1"),
        (0, R, "c3 05 1e 0061 e01400", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (1, R, "03 0161 c005 0162", "a 5 b"),
        (2, R, "02 0161 c007", "a 7"),
        (3, R, "03 0161 03312e35 0162 fe 0163 ff", "a:1.5 b:inf c:-inf"),
        (4, R, "01 0166 0176", "f=v"),
        (5, R, "02 0162 000000000000f07f 0161 000000000000f83f", "b:inf a:1.5"),
        (5, R, "01 0162 0000000000000080", "b:-0.0"),
        (9, R, "0c 02 0161 01 00 78 026262 00 00 ff", "a=x bb="),
        (10, R, ziplist, "a 5 1024 hello"),
        (11, R, "0e 02000000 03000000 ffff 0500 2c01", "-1 5 300"),
        (12, R, "15 15000000 12000000 0400 000161 03f1 020162 03f2 ff", "a:0.0 b:1.0"),
        (13, R, "11 11000000 0d000000 0200 000166 030176 ff", "f=v"),
        (14, R, &format!("02 {ziplist} {ziplist}"), "a 5 1024 hello a 5 1024 hello"),
        (16, R, "0d 0d000000 0200 816602 817602 ff", "f=v"),
        (17, R, "14 14000000 0400 816102 0101 816202 83322e3504 ff", "a:1.0 b:2.5"),
        (18, R, &format!("02 02 {listpack} 01 03 616263"), "a 5 1024 -2 hello abc"),
        (20, R, "0c 0c000000 0200 816102 0701 ff", "a 7"),
        (22, R, "02 00 0167 c002 44d2 0166 c001", "g=2 f=1@1234"),
        (23, R, "10 10000000 0300 816602 817602 c4d202 ff", "f=v@1234"),
        (24, R, "cfaa2d08a2010000 03 00 03626967 c005 01 0166 c001 0b 0167 c002",
         "big=5 f=1@1795433540303 g=2@1795433540313"),
        (25, R, "cfaa2d08a2010000 1d 1d000000 0600 816602 0101 f4cfaa2d08a201000009 816702 0201 0001 ff",
         "f=1@1795433540303 g=2"),
        (22, V, "02 0166 c001 cfaa2d08a2010000 0167 c002 ffffffffffffffff", "f=1@1795433540303 g=2"),
        (23, V, "02 0170 02 0166 c001 0167 c002 0171 01 0166 c003", "p/f=1 p/g=2 q/f=3"),
        (28, R, "04 01 09 00 00 0161 05 01 ffffffffffffffff 06 02 000000000000f83f 81ffffffffffffff00 03 026263",
         "0:a 5:-1 6:1.5 18446744073709551360:bc"),
        (29, R, &format!("00 {names_packed} {values}"), "field1=1 field2=2"),
        (29, R, &format!("01 02 {names} {values}"), "field1=1 field2=2"),
        (31, R, &format!("01 02 {names} c001 c002"), "field1=1 field2=2"),
        (31, R, &format!("00 {names_packed} c001 c002"), "field1=1 field2=2"),
        (20, D, "07 7b2261223a317d", "{\"a\":1}"),
        (30, D, "07 7b2261223a317d", "{\"a\":1}"),
        (31, D, "02 0166 c001 c207000000 0167 c002 c0ff", "f=1@7000 g=2"),
        (32, D, "02 0161 022d31 0162 c1d007", "a b@2000000"),
        (7, R, "81 0001020304050607 01 05 02 06 03 0000803f 04 000000000000f83f 05 0178 00",
         "AAECAwQFB version 519 s5 u6 f1 d1.5 x"),
        (15, R, "00 00 05 00 00", "len=0 last=5-0"),
    ]
    .into_iter()
    .map(|(t, d, body, shown)| (t, d, body.to_owned(), shown.to_owned()))
    .collect();
    for (form, value_type) in [(1, 15), (2, 19), (3, 21), (4, 26), (5, 27)] {
        all.push((value_type, R, stream(form), stream_shown(form)));
    }
    all
}

#[test]
fn every_type_is_decoded_to_its_exact_end() {
    let mut types = std::collections::BTreeSet::new();
    for (value_type, dialect, body, expected) in sound() {
        let bytes = hex(&body);
        let entry = entry(value_type, dialect, &bytes);
        assert_eq!(shown(&entry), expected, "type {value_type} {dialect:?}");
        assert_eq!(
            judged(&entry).0,
            Vec::<String>::new(),
            "type {value_type} {dialect:?}"
        );
        types.insert((value_type, format!("{dialect:?}")));
        // One byte more is told, at its place.
        let longer = [&bytes[..], &[0]].concat();
        let (told, _) = judged(&super::test_support::entry(value_type, dialect, &longer));
        assert_eq!(
            told,
            [format!(
                "trailing-bytes: offset {} ({:#x}): 1 bytes stand behind the end of the value",
                100 + bytes.len(),
                100 + bytes.len()
            )],
            "type {value_type}"
        );
        // Every cut is an error or told, never a panic, never silence.
        for cut in 0..bytes.len() {
            let (told, _) = judged(&super::test_support::entry(
                value_type,
                dialect,
                &bytes[..cut],
            ));
            assert!(!told.is_empty(), "type {value_type} cut at {cut}");
        }
    }
    for (value_type, body) in [
        (30, "0d 0d000000 0300 0501 0101 0201 ff"),
        (32, "05 c001 c002"),
    ] {
        let (bytes, names) = (hex(body), hex("066669656c6431 066669656c6432"));
        let entry = templated(value_type, &bytes, &names);
        assert_eq!(shown(&entry), "field1=1 field2=2");
        assert_eq!(judged(&entry).0, Vec::<String>::new());
        types.insert((value_type, "Redis".into()));
    }
    let mut missing = Vec::new();
    for dialect in [R, V, D] {
        for n in 0..=255 {
            let known = crate::snapshot::ValueType(n).info(dialect).is_some();
            let common = n <= 21 && !(n == 20 && dialect == D);
            let name = format!("{:?}", if common { R } else { dialect });
            if known && !types.contains(&(n, name)) {
                missing.push((n, dialect));
            }
        }
    }
    assert_eq!(missing, [], "every known type has a sound example");
}

/// The file that holds one value, as the container's reader finds it.
fn file_with(value_type: u8, dialect: Dialect, body: &[u8], names: Option<&[u8]>) -> Vec<u8> {
    let mut file = match dialect {
        Dialect::Valkey => b"VALKEY081".to_vec(),
        _ => b"REDIS0015".to_vec(),
    };
    if dialect == Dialect::Dragonfly {
        file = b"REDIS0009".to_vec();
        file.extend_from_slice(b"\xfa\x06df-ver\x03df1");
    }
    if let Some(names) = names {
        file.extend_from_slice(&[0xf2, 5, 2]);
        file.extend_from_slice(names);
    }
    file.extend_from_slice(&[0xfe, 0, value_type, 3]);
    file.extend_from_slice(b"key");
    file.extend_from_slice(body);
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    file
}

#[test]
fn decoding_consumes_exactly_the_extent_that_the_container_finds() {
    let names = hex("066669656c6431 066669656c6432");
    let mut all: Vec<(u8, Dialect, Vec<u8>)> = sound()
        .into_iter()
        .map(|(value_type, dialect, body, _)| (value_type, dialect, hex(&body)))
        .collect();
    all.push((30, R, hex("0d 0d000000 0300 0501 0101 0201 ff")));
    all.push((32, R, hex("05 c001 c002")));
    for (value_type, dialect, body) in all {
        let refers = dialect == R && matches!(value_type, 30 | 32);
        let names = refers.then_some(&names[..]);
        let file = file_with(value_type, dialect, &body, names);
        let snapshot = crate::snapshot::Snapshot::parse(&file).unwrap();
        let mut entries = snapshot.entries();
        let entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.value, body, "type {value_type} {dialect:?}");
        // Strict: bytes behind the decoded end, and a declared count that is not the walked one, would be errors.
        let mut decoder = Decoder::new(None);
        let walked = decoder.validate(&entry).unwrap().elements;
        assert_eq!(
            decoder.count(&entry).unwrap(),
            walked,
            "type {value_type} {dialect:?}: declared and walked"
        );
        assert!(entries.next().is_none());
    }
}

#[test]
fn no_change_of_one_byte_makes_a_walk_panic_or_run_away() {
    let mut cases = 0u32;
    for (value_type, dialect, body, _) in sound() {
        let bytes = hex(&body);
        for at in 0..bytes.len() {
            for change in [0x01u8, 0x80, 0xff, 0x40, bytes[at]] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let entry = entry(value_type, dialect, &changed);
                let (told, summary) = judged(&entry);
                assert!(summary.elements < 200 && told.len() < 200);
                let mut decoder = Decoder::with_findings(None, Lenient);
                let _ = decoder.count(&entry);
                let _ = show(&mut decoder, &entry);
                commands::walk_all(&mut decoder, &entry);
                cases += 1;
            }
        }
    }
    assert!(cases > 5000, "{cases}");
}

#[test]
fn elements_are_counted() {
    for (value_type, dialect, body, elements) in [
        (0, R, "05 68656c6c6f", 1),
        (1, R, "03 0161 c005 0162", 3),
        (9, R, "0c 02 0161 01 00 78 026262 00 00 ff", 2),
        (
            17,
            R,
            "14 14000000 0400 816102 0101 816202 83322e3504 ff",
            2,
        ),
        (23, V, "02 0170 02 0166 c001 0167 c002 0171 01 0166 c003", 3),
        (7, R, "81 0001020304050607 01 05 02 06 00", 2),
    ] {
        let bytes = hex(body);
        let (_, summary) = judged(&entry(value_type, dialect, &bytes));
        assert_eq!(
            summary,
            Summary {
                elements,
                damaged: false
            }
        );
    }
    let bytes = hex(&stream(5));
    assert_eq!(judged(&entry(27, R, &bytes)).1.elements, 2);
}

/// Each broken rule: type, dialect, body, what is told.
fn broken() -> Vec<(u8, Dialect, String, &'static str)> {
    let stream_with = |node: &str, rest: &str| format!("01 {node} {rest}");
    let node = |listpack: &str| {
        let bytes = hex(listpack).len() + 7;
        let count = "ffff";
        format!("10 {ID_1_1} {bytes:02x} {bytes:02x}000000 {count} {listpack} ff")
    };
    let groups = |form: u8, groups: &str| {
        let counters = if form >= 2 { "01 01 00 00 02" } else { "" };
        format!("01 {NODE} 02 02 00 {counters} {groups}")
    };
    let s = |text: &str| text.to_owned();
    vec![
        // Strings.
        (
            0,
            R,
            s("c3 05 1f 0061 e01400"),
            "unreadable: offset 100 (0x64), byte 5 of lzf string: makes 30 bytes, 31 claimed",
        ),
        (
            0,
            R,
            s("c3 05 1d 0061 e01400"),
            "unreadable: offset 100 (0x64), byte 2 of lzf string: makes more than the 29 bytes it claims",
        ),
        (
            0,
            R,
            s("c3 01 8100000000ffffffff 00"),
            "unreadable: offset 100 (0x64): 1 compressed bytes claim to make 4294967295, more than LZF can",
        ),
        // Damage in one member does not hide the next ones.
        (
            2,
            R,
            s("03 0161 c3051f0061e01400 0161"),
            "unreadable: offset 103 (0x67), byte 5 of lzf string: makes 30 bytes, 31 claimed | \
          duplicate: offset 111 (0x6f): the same member stood at 101 before",
        ),
        // Counts.
        (
            1,
            R,
            s("817fffffffffffffff 00"),
            "unreadable: offset 109 (0x6d): 9223372036854775807 elements claimed, at least 1 byte each, but only 1 remain",
        ),
        (
            5,
            R,
            s("02 0161 0000000000000000"),
            "unreadable: offset 101 (0x65): 2 members claimed, at least 9 bytes each, but only 10 remain",
        ),
        // Empty collections.
        (
            1,
            R,
            s("00"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            2,
            R,
            s("00"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            4,
            R,
            s("00"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            5,
            R,
            s("00"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            11,
            R,
            s("08 02000000 00000000"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            16,
            R,
            s("07 07000000 0000 ff"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            28,
            R,
            s("00 00"),
            "empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            14,
            R,
            s("01 0b 0b000000 0a000000 0000 ff"),
            "empty-node: offset 101 (0x65), byte 0 of ziplist: a node holds no elements | \
          empty: offset 100 (0x64): the collection has no elements",
        ),
        // Lists.
        (
            18,
            R,
            s("02 03 0161 01 0162"),
            "quicklist-container: offset 101 (0x65): a node has container 3; known are 1 (plain) and 2 (listpack)",
        ),
        (
            18,
            R,
            s("02 01 00 01 0162"),
            "quicklist-container: offset 102 (0x66): a plain node holds an empty string",
        ),
        (
            18,
            R,
            s("03 01 0161 02 0d 0d000000 0200 816102 8901 01 ff 01 0162"),
            "unreadable: offset 105 (0x69), byte 9 of listpack: entry needs 11 bytes, 4 remain",
        ),
        // Sets.
        (
            2,
            R,
            s("02 0135 c005"),
            "duplicate: offset 103 (0x67): the same member stood at 101 before",
        ),
        (
            20,
            R,
            s("0b 0c000000 0200 0701 0701 ff"),
            "packed-total: offset 100 (0x64), byte 0 of listpack: its header claims 12 bytes in all, it has 11 | \
          duplicate: offset 100 (0x64), byte 8 of listpack: the same member stood at 6 before",
        ),
        (
            20,
            R,
            s("0b 0b000000 0200 0701 0701 ff"),
            "duplicate: offset 100 (0x64), byte 8 of listpack: the same member stood at 6 before",
        ),
        (
            20,
            R,
            s("0c 0c000000 0200 0701 813702 ff"),
            "duplicate: offset 100 (0x64), byte 8 of listpack: the same member stood at 6 before",
        ),
        (
            11,
            R,
            s("0c 02000000 02000000 0500 0500"),
            "intset-order: offset 100 (0x64), byte 10 of intset: 5 stands behind 5, an intset rises strictly",
        ),
        // Sorted sets.
        (
            3,
            R,
            s("01 0161 fd"),
            "score-nan: offset 103 (0x67): score is NaN",
        ),
        (
            3,
            R,
            s("02 0161 036e616e 0162 0132"),
            "score-nan: offset 103 (0x67): score \"nan\" is no number",
        ),
        (
            5,
            R,
            s("01 0161 000000000000f87f"),
            "score-nan: offset 103 (0x67): score is NaN",
        ),
        (
            5,
            R,
            s("02 0161 0000000000000000 0161 0000000000000000"),
            "duplicate: offset 111 (0x6f): the same member stood at 101 before",
        ),
        (
            17,
            R,
            s("0f 0f000000 0200 816102 836e616e04 ff"),
            "score-nan: offset 100 (0x64), byte 9 of listpack: score \"nan\" is no number",
        ),
        (
            17,
            R,
            s("0e 0e000000 0300 816102 0101 0201 ff"),
            "odd-items: offset 100 (0x64), byte 11 of listpack: the last member has no score",
        ),
        (
            12,
            R,
            s("15 15000000 12000000 0400 000161 03f2 020162 03f1 ff"),
            "zset-order: offset 100 (0x64), byte 18 of ziplist: score 0 stands behind 1",
        ),
        (
            12,
            R,
            s("15 15000000 12000000 0400 000162 03f2 020161 03f2 ff"),
            "zset-order: offset 100 (0x64), byte 18 of ziplist: score 1 stands behind 1",
        ),
        // Hashes.
        (
            4,
            R,
            s("02 0166 0161 0166 0162"),
            "duplicate-in-small-hash: offset 105 (0x69): the same field stood at 101 before",
        ),
        (
            16,
            R,
            s("11 11000000 0400 816602 0101 816602 0201 ff"),
            "duplicate: offset 100 (0x64), byte 11 of listpack: the same field stood at 6 before",
        ),
        (
            16,
            R,
            s("0a 0a000000 0100 816602 ff"),
            "odd-items: offset 100 (0x64), byte 6 of listpack: 1 items, which do not make whole fields | \
          empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            23,
            R,
            s("0d 0d000000 0200 816602 817602 ff"),
            "odd-items: offset 100 (0x64), byte 9 of listpack: 2 items, which do not make whole fields | \
          empty: offset 100 (0x64): the collection has no elements",
        ),
        (
            22,
            R,
            s("01 8101000000000000 00 0166 0176"),
            "field-expiry: offset 101 (0x65): a field expires at 72057594037927936; servers take 0 to 281474976710655",
        ),
        (
            22,
            V,
            s("01 0166 c001 feffffffffffffff"),
            "field-expiry: offset 105 (0x69): a field expires at -2; servers take 0 to 281474976710655",
        ),
        (
            24,
            R,
            s("ffffffffffffff7f 01 05 0166 0176"),
            "field-expiry: offset 109 (0x6d): a field expires at 9223372036854775807; servers take 0 to 281474976710655",
        ),
        (
            23,
            V,
            s("02 0170 00 0171 01 0166 c001"),
            "empty: offset 103 (0x67): a path has no fields",
        ),
        (
            25,
            R,
            s(
                "cfaa2d08a2010000 1d 1d000000 0600 816602 0101 0001 816702 0201 f4cfaa2d08a201000009 ff",
            ),
            "field-expiry-order: offset 108 (0x6c), byte 18 of listpack: a field that expires at 1795433540303 stands behind one that expires never",
        ),
        // Templates.
        (
            31,
            R,
            s("01 02 0162 0161 c001 c002"),
            "template: offset 104 (0x68): field names do not rise by length and bytes",
        ),
        (
            29,
            R,
            s("01 02 0161 0162 0b 0b000000 0200 0001 0101 ff"),
            "template: offset 106 (0x6a), byte 10 of listpack: 2 fields, but fewer values",
        ),
        (
            29,
            R,
            s("01 01 0161 0d 0d000000 0300 0001 0101 0201 ff"),
            "template: offset 104 (0x68), byte 10 of listpack: 1 fields, but more values",
        ),
        // Arrays.
        (
            28,
            R,
            s("02 00 05 01 0000000000000000 05 01 0000000000000000"),
            "array-item: offset 112 (0x70): index 5 stands behind 5",
        ),
        (
            28,
            R,
            s("01 00 05 04 0161"),
            "unreadable: offset 103 (0x67): array element of unknown form 4",
        ),
        // Modules.
        (
            7,
            R,
            s("01 06 00"),
            "unreadable: offset 101 (0x65): module opcode 6 is unknown; modules write 0 to 5",
        ),
        // Streams: nodes.
        (
            15,
            R,
            stream_with(
                "0c 616263616263616263616263 07 07000000 0000 ff",
                "00 00 00 00",
            ),
            "stream-node-key: offset 101 (0x65): a node's key has 12 bytes, an ID has 16",
        ),
        (
            15,
            R,
            stream_with(
                &node("0201 0001 0101 816602 0001 0201 0001 0001 817602 0401"),
                "01 01 01 00",
            ),
            "stream-node-count: offset 118 (0x76), byte 6 of listpack: node 1-1 claims 2 live and 0 deleted entries, it has 1 and 0",
        ),
        (
            15,
            R,
            stream_with(
                &node("0101 0001 0101 816602 0001 0201 0001 0001 817602 0501"),
                "01 01 01 00",
            ),
            "stream-item-count: offset 118 (0x76), byte 26 of listpack: an entry of 4 items says behind it that it has 5",
        ),
        (
            15,
            R,
            stream_with(
                &node(
                    "0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 0201 0001 0001 817602 0401",
                ),
                "02 01 01 00",
            ),
            "stream-order: offset 118 (0x76), byte 28 of listpack: entry 1-1 stands behind 1-1",
        ),
        (
            15,
            R,
            stream_with(
                &node("0101 0001 0101 816602 0001 0201 0001 0001"),
                "01 01 01 00",
            ),
            "unreadable: offset 118 (0x76), byte 21 of listpack: the node ends inside an entry",
        ),
        (
            15,
            R,
            stream_with(&node("0101 0001 dfff02 816602 0001"), "01 01 01 00"),
            "unreadable: offset 118 (0x76), byte 10 of listpack: -1 field names",
        ),
        (
            15,
            R,
            stream_with(&node("0101 816102 0101 816602 0001"), "01 01 01 00"),
            "unreadable: offset 118 (0x76), byte 8 of listpack: a string where a number is expected",
        ),
        // Streams: counters.
        (
            15,
            R,
            stream_with(NODE, "03 02 00 00"),
            "stream-length: offset 165 (0xa5): length 3, but 2 live entries",
        ),
        (
            15,
            R,
            stream_with(NODE, "02 01 01 00"),
            "stream-last-id: offset 166 (0xa6): last ID 1-1, but an entry has 2-0",
        ),
        (
            19,
            R,
            stream_with(NODE, "02 02 00 01 01 00 00 01 00"),
            "stream-entries-added: offset 172 (0xac): 1 entries ever added, but length 2",
        ),
        (
            19,
            R,
            groups(2, "01 0167 01 01 03 00 00"),
            "stream-entries-read: offset 178 (0xb2): a group has read 3 entries of 2 ever added",
        ),
        (
            19,
            R,
            groups(2, &format!("01 0167 01 01 81{NEVER} 00 00")),
            "",
        ),
        // Streams: groups.
        (
            15,
            R,
            groups(1, "02 0167 01 01 00 00 0167 01 01 00 00"),
            "stream-duplicate-name: offset 175 (0xaf): the same group stood at 169 before",
        ),
        (
            15,
            R,
            groups(
                1,
                &format!("01 0167 01 01 00 02 0163 {TIME} 00 0163 {TIME} 00"),
            ),
            "stream-duplicate-name: offset 186 (0xba): the same consumer stood at 175 before",
        ),
        (
            15,
            R,
            groups(1, &format!("01 0167 01 01 00 01 0163 {TIME} 01 {ID_1_1}")),
            "pending-unknown: offset 186 (0xba): a consumer owns 1-1, which is not pending in its group",
        ),
        (
            15,
            R,
            groups(
                1,
                &format!(
                    "01 0167 01 01 01 {ID_1_1} {TIME} 01 02 0163 {TIME} 01 {ID_1_1} 0164 {TIME} 01 {ID_1_1}"
                ),
            ),
            "pending-owned-twice: offset 238 (0xee): 1-1 has an owner already",
        ),
        (
            15,
            R,
            groups(
                1,
                &format!(
                    "01 0167 01 01 02 {ID_1_1} {TIME} 01 {ID_2_0} {TIME} 01 01 0163 {TIME} 01 {ID_1_1}"
                ),
            ),
            "pending-orphan: offset 199 (0xc7): 1 of 2 pending entries have no owner, 2-0 for one",
        ),
        (
            15,
            R,
            groups(
                1,
                &format!(
                    "01 0167 01 01 02 {ID_2_0} {TIME} 01 {ID_1_1} {TIME} 01 01 0163 {TIME} 02 {ID_1_1} {ID_2_0}"
                ),
            ),
            "pending-order: offset 199 (0xc7): pending entry 1-1 stands behind 2-0",
        ),
        (
            26,
            R,
            groups(2, "00 00 01 00 00 00"),
            "idmp-range: offset 174 (0xae): idempotency for 0 seconds and 1 entries; servers take 1 to 86400 and 1 to 10000",
        ),
    ]
}

/// Headers, counts and lengths that lie: type, dialect, body, what is told.
fn lying() -> Vec<(u8, Dialect, String, &'static str)> {
    const HUGE: &str = "818000000000000000";
    let s = |text: &str| text.to_owned();
    let ziplist =
        |head: &str, second: &str| format!("1b {head} 000161 {second} 02c00004 040568656c6c6f ff");
    let group = |rest: &str| format!("01 {NODE} 02 02 00 {rest}");
    vec![
        // Listpacks.
        (
            16,
            R,
            s("0d 0d000000 0300 816602 817602 ff"),
            "packed-count: offset 100 (0x64), byte 4 of listpack: its header claims 3 elements, it has 2",
        ),
        (
            16,
            R,
            s("0d 0d000000 0200 816603 817602 ff"),
            "listpack-backlen: offset 100 (0x64), byte 8 of listpack: the length behind an entry of 2 bytes is written as 03",
        ),
        (
            16,
            R,
            s("0d ffffffff 0200 816602 817602 ff"),
            "packed-total: offset 100 (0x64), byte 0 of listpack: its header claims 4294967295 bytes in all, it has 13",
        ),
        (
            20,
            R,
            s("0e 0e000000 0200 f0ffffff7f 6602 ff"),
            "unreadable: offset 100 (0x64), byte 6 of listpack: entry needs 2147483657 bytes, 8 remain",
        ),
        (
            17,
            R,
            s("0d 0d000000 0200 816102 f500 02 ff"),
            "unreadable: offset 100 (0x64), byte 9 of listpack: byte 0xf5 begins no listpack entry",
        ),
        (
            20,
            R,
            s("05 05000000 00"),
            "unreadable: offset 100 (0x64), byte 0 of listpack: 5 bytes, the smallest listpack has 7",
        ),
        // Ziplists.
        (
            10,
            R,
            ziplist("1c000000 13000000 0400", "03f6"),
            "packed-total: offset 100 (0x64), byte 0 of ziplist: its header claims 28 bytes in all, it has 27",
        ),
        (
            10,
            R,
            ziplist("1b000000 13000000 0500", "03f6"),
            "packed-count: offset 100 (0x64), byte 8 of ziplist: its header claims 5 elements, it has 4",
        ),
        (
            10,
            R,
            ziplist("1b000000 12000000 0400", "03f6"),
            "ziplist-tail: offset 100 (0x64), byte 4 of ziplist: its header puts the last entry at byte 18, it stands at 19",
        ),
        (
            10,
            R,
            ziplist("1b000000 13000000 0400", "04f6"),
            "ziplist-prevlen: offset 100 (0x64), byte 13 of ziplist: notes 4 bytes for the entry before, which has 3",
        ),
        (
            10,
            R,
            s("0d 0d000000 0a000000 0100 00 3f ff"),
            "unreadable: offset 100 (0x64), byte 11 of ziplist: entry needs 64 bytes, 2 remain",
        ),
        (
            13,
            R,
            s("0d 0d000000 0a000000 0100 00c1 ff"),
            "unreadable: offset 100 (0x64), byte 11 of ziplist: byte 0xc1 is no ziplist encoding",
        ),
        // Intsets and zipmaps.
        (
            11,
            R,
            s("0b 03000000 01000000 050000"),
            "unreadable: offset 100 (0x64), byte 0 of intset: integers of 3 bytes; an intset has 2, 4 or 8",
        ),
        (
            11,
            R,
            s("0a 02000000 02000000 0500"),
            "packed-total: offset 100 (0x64), byte 0 of intset: its header claims 12 bytes in all, it has 10 | unreadable: offset 100 (0x64), byte 10 of intset: integer needs 2 bytes, 0 remain",
        ),
        (
            11,
            R,
            s("0a 02000000 ffffffff 0500"),
            "packed-total: offset 100 (0x64), byte 0 of intset: its header claims 8589934598 bytes in all, it has 10 | unreadable: offset 100 (0x64), byte 10 of intset: integer needs 2 bytes, 0 remain",
        ),
        (
            9,
            R,
            s("0c 03 0161 01 00 78 026262 00 00 ff"),
            "packed-count: offset 100 (0x64), byte 0 of zipmap: its header claims 3 elements, it has 2",
        ),
        (
            9,
            R,
            s("08 01 feffffff7f 61 ff"),
            "unreadable: offset 100 (0x64), byte 1 of zipmap: string needs 2147483652 bytes, 7 remain",
        ),
        (
            9,
            R,
            s("07 01 0161 01 05 78 ff"),
            "unreadable: offset 100 (0x64), byte 3 of zipmap: string needs 8 bytes, 4 remain",
        ),
        // Counts of 2^63.
        (
            2,
            R,
            format!("{HUGE} 0161"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 members claimed, at least 1 byte each, but only 2 remain",
        ),
        (
            3,
            R,
            format!("{HUGE} 0161 0131"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 members claimed, at least 2 bytes each, but only 4 remain",
        ),
        (
            4,
            R,
            format!("{HUGE} 0161 0162"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 fields claimed, at least 2 bytes each, but only 4 remain",
        ),
        (
            5,
            R,
            format!("{HUGE} 0161 0000000000000000"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 members claimed, at least 9 bytes each, but only 10 remain",
        ),
        (
            14,
            R,
            format!("{HUGE} 0161"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 nodes claimed, at least 1 byte each, but only 2 remain",
        ),
        (
            18,
            R,
            format!("{HUGE} 01 0161"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 nodes claimed, at least 2 bytes each, but only 3 remain",
        ),
        (
            22,
            R,
            format!("{HUGE} 00 0166 0176"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 fields claimed, at least 3 bytes each, but only 5 remain",
        ),
        (
            22,
            V,
            format!("{HUGE} 0166 0176 {NEVER}"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 fields claimed, at least 10 bytes each, but only 12 remain",
        ),
        (
            23,
            V,
            format!("{HUGE} 0170 01 0166 c001"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 paths claimed, at least 4 bytes each, but only 7 remain",
        ),
        (
            24,
            R,
            format!("cfaa2d08a2010000 {HUGE} 00 0166 0176"),
            "unreadable: offset 117 (0x75): 9223372036854775808 fields claimed, at least 3 bytes each, but only 5 remain",
        ),
        (
            28,
            R,
            format!("{HUGE} 00 00 00 0161"),
            "unreadable: offset 110 (0x6e): 9223372036854775808 elements of an array claimed, at least 3 bytes each, but only 4 remain",
        ),
        (
            31,
            R,
            format!("01 {HUGE} 0161 c001"),
            "unreadable: offset 110 (0x6e): 9223372036854775808 fields of a hash template claimed, at least 1 byte each, but only 4 remain",
        ),
        (
            15,
            R,
            format!("{HUGE} {NODE}"),
            "unreadable: offset 109 (0x6d): 9223372036854775808 nodes claimed, at least 18 bytes each, but only 64 remain",
        ),
        // Claims within claims.
        (
            23,
            V,
            format!("01 0170 {HUGE} 0166 c001"),
            "unreadable: offset 112 (0x70): 9223372036854775808 fields claimed, at least 2 bytes each, but only 4 remain",
        ),
        (
            15,
            R,
            group(&format!("{HUGE} 0167")),
            "unreadable: offset 177 (0xb1): 9223372036854775808 groups claimed, at least 5 bytes each, but only 2 remain",
        ),
        (
            15,
            R,
            group(&format!("01 0167 01 01 {HUGE}")),
            "unreadable: offset 182 (0xb6): 9223372036854775808 pending entries claimed, at least 25 bytes each, but only 0 remain",
        ),
        (
            15,
            R,
            group(&format!("01 0167 01 01 00 {HUGE}")),
            "unreadable: offset 183 (0xb7): 9223372036854775808 consumers claimed, at least 10 bytes each, but only 0 remain",
        ),
        (
            15,
            R,
            group(&format!("01 0167 01 01 00 01 0163 {TIME} {HUGE}")),
            "unreadable: offset 194 (0xc2): 9223372036854775808 pending entries of a consumer claimed, at least 16 bytes each, but only 0 remain",
        ),
        (
            27,
            R,
            group(&format!("01 01 00 00 02 01 0167 01 01 01 00 00 {HUGE}")),
            "unreadable: offset 190 (0xbe): 9223372036854775808 nacked entries claimed, at least 16 bytes each, but only 0 remain",
        ),
        (
            26,
            R,
            group(&format!("01 01 00 00 02 00 3c 4064 {HUGE}")),
            "unreadable: offset 186 (0xba): 9223372036854775808 producers claimed, at least 2 bytes each, but only 0 remain",
        ),
        (
            26,
            R,
            group(&format!("01 01 00 00 02 00 3c 4064 01 0170 {HUGE}")),
            "unreadable: offset 189 (0xbd): 9223372036854775808 records of a producer claimed, at least 3 bytes each, but only 0 remain",
        ),
    ]
}

#[test]
fn every_lie_of_a_header_is_told_with_its_place() {
    let mut wrong = Vec::new();
    for (value_type, dialect, body, expected) in lying() {
        let bytes = hex(&body);
        let (told, _) = judged(&entry(value_type, dialect, &bytes));
        let told = told.join(" | ");
        if told != expected {
            wrong.push(format!(
                "type {value_type} {dialect:?} {body}\n  told     {told}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What no writer makes and servers take (docs of the format, 2.1, 2.2, 3.3 to 3.5).
#[test]
fn longer_forms_than_needed_are_accepted() {
    for (value_type, body, expected) in [
        (0, "80 00000001 78", "x"),
        (0, "81 0000000000000001 78", "x"),
        (0, "c2 05000000", "5"),
        (0, "c3 00 00", ""),
        (1, "81 0000000000000002 4001 61 c1 0500", "a 5"),
        (
            10,
            "1f 1f000000 17000000 0400 000161 fe03000000f6 06c00004 040568656c6c6f ff",
            "a 5 1024 hello",
        ),
        (10, "0e 0e000000 0a000000 ffff 000161 ff", "a"),
        (11, "10 08000000 01000000 0500000000000000", "5"),
        (20, "0a 0a000000 ffff 816102 ff", "a"),
        (20, "0e 0e000000 0100 f00100000061 06 ff", "a"),
        (9, "0b 01 fe01000000 61 01 00 78 ff", "a=x"),
    ] {
        let bytes = hex(body);
        let entry = entry(value_type, R, &bytes);
        let (told, _) = judged(&entry);
        assert_eq!(
            (told, shown(&entry)),
            (vec![], expected.to_owned()),
            "{body}"
        );
    }
}

#[test]
fn every_broken_rule_is_told_with_its_place() {
    let mut met = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for (value_type, dialect, body, expected) in broken().into_iter().chain(lying()) {
        let bytes = hex(&body);
        let (told, _) = judged(&entry(value_type, dialect, &bytes));
        for line in &told {
            met.insert(line.split(':').next().unwrap().to_owned());
        }
        let told = told.join(" | ");
        if told != expected {
            wrong.push(format!(
                "type {value_type} {dialect:?}\n  told     {told}\n  expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // This one with every type, above.
    met.insert("trailing-bytes".to_owned());
    for rule in Rule::ALL {
        assert!(met.contains(rule.name()), "{rule} has a test that shows it");
    }
}

#[test]
fn duplicates_in_large_collections_are_found_and_nothing_is_told_twice() {
    use crate::wire::{Str, length};
    for (value_type, extra) in [(2u8, ""), (4, "v"), (5, "score")] {
        let count = 150_000u64;
        let mut body = Vec::new();
        length::write(&mut body, count);
        let mut places = Vec::new();
        for i in 0..count {
            places.push(100 + body.len());
            // The last one is the first one again, encoded in another way.
            let name = if i == 0 || i + 1 == count {
                7
            } else {
                1000 + i
            };
            if i == 0 {
                Str::write_raw(&mut body, name.to_string().as_bytes());
            } else {
                Str::write(&mut body, name.to_string().as_bytes(), true);
            }
            match extra {
                "v" => Str::write_raw(&mut body, b"v"),
                // One score that is none: told by the first walk only.
                "score" => {
                    let score = if i == 77 { f64::NAN } else { 1.0 };
                    body.extend_from_slice(&score.to_le_bytes());
                }
                _ => {}
            }
        }
        let (told, summary) = judged(&entry(value_type, R, &body));
        assert_eq!(summary.elements, count);
        let last = places.last().unwrap();
        let what = if value_type == 4 { "field" } else { "member" };
        let duplicate = format!(
            "duplicate: offset {last} ({last:#x}): the same {what} stood at {} before",
            places[0]
        );
        if value_type == 5 {
            assert_eq!(told.len(), 2);
            assert!(told[0].starts_with("score-nan"), "{}", told[0]);
            assert_eq!(told[1], duplicate);
        } else {
            assert_eq!(told, [duplicate]);
        }
    }
}

#[test]
fn strict_makes_the_first_fault_an_error_with_place_and_key() {
    let bytes = hex("0c 02000000 02000000 0500 0500");
    let entry = entry(11, R, &bytes);
    let error = Decoder::new(None).validate(&entry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.to_string(),
        "offset 100 (0x64), byte 10 of intset: 5 stands behind 5, an intset rises strictly; set-intset \"key\" in db 0"
    );
    assert!(show(&mut Decoder::new(None), &entry).is_err());
    let mut lenient = Decoder::with_findings(None, Lenient);
    assert_eq!(show(&mut lenient, &entry).unwrap(), "5 5");
}

#[test]
fn unknown_types_and_missing_templates_are_said() {
    let error = Decoder::new(None)
        .decode(&entry(64, R, b"\x00"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let bytes = hex("0d 0d000000 0300 0501 0101 0201 ff");
    let (told, _) = judged(&entry(30, R, &bytes));
    assert_eq!(
        told,
        [
            "unreadable: offset 100 (0x64): the hash names no template that the file defined before it"
        ]
    );
}
