//! Every type by its bytes, and what it looks like. The README shows these lines.

use super::{Damage, KeyWriter, PIECE};
use crate::ErrorKind;
use crate::error::{Error, Result};
use crate::snapshot::{Dialect, Entry, Template, ValueType};
use crate::wire::{Str, length};

const R: Dialect = Dialect::Redis;
const V: Dialect = Dialect::Valkey;
const D: Dialect = Dialect::Dragonfly;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| char::from(byte).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn entry(value_type: u8, dialect: Dialect, body: &[u8]) -> Entry<'_> {
    Entry {
        ordinal: 0,
        offset: 90,
        type_offset: 94,
        db: 0,
        dialect,
        value_type: ValueType(value_type),
        key: Str::Raw(b"k"),
        value: body,
        value_offset: 100,
        expire_at_ms: None,
        idle_seconds: None,
        lfu_freq: None,
        slot: None,
        key_meta: None,
        template: None,
        sub_expires: b"",
        df_flags: None,
    }
}

fn written(entry: &Entry<'_>) -> (String, Damage) {
    let mut out = Vec::new();
    let damage = KeyWriter::new(None)
        .write(entry, &mut out, &mut |_| Ok(()))
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    #[cfg(feature = "serde")]
    {
        let mut keys = super::KeySerializer::new(None);
        let key = keys.key(entry);
        // Twice: nothing of the first time is left.
        for _ in 0..2 {
            // Another serializer escapes in its own way.
            let theirs = serde_json::to_string(&key).unwrap();
            assert_eq!(theirs.replace('\u{7f}', "\\u007f"), text);
            assert_eq!(key.damage().to_string(), damage.to_string());
        }
    }
    (text, damage)
}

fn sound(entry: &Entry<'_>) -> String {
    let (text, damage) = written(entry);
    assert!(!damage.is_some(), "{text}");
    text
}

const ID_1_1: &str = "0000000000000001 0000000000000001";
const ID_2_0: &str = "0000000000000002 0000000000000000";
const TIME: &str = "0068e5cf8b010000";

/// A stream of the newest form: two entries, a group with a consumer and a nacked entry, a producer.
fn stream() -> Vec<u8> {
    hex(&format!(
        "01 10 {ID_1_1} 2e 2e000000 1100 \
         0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 \
         0001 0101 dfff02 0101 816702 817702 0601 ff \
         02 02 00 01 01 00 00 02 \
         01 02 6731 01 01 01 02 {ID_1_1} {TIME} 03 {ID_2_0} {TIME} 01 \
         01 02 6331 0168e5cf8b010000 0268e5cf8b010000 01 {ID_1_1} 01 {ID_2_0} \
         3c 4064 01 0170 02 0169 01 01 c005 02 00 02 00"
    ))
}

/// What a module wrote, version 0.
fn module(name: &[u8; 9], opcodes: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let id = name.iter().fold(0u64, |id, letter| {
        id << 6 | alphabet.iter().position(|other| other == letter).unwrap() as u64
    }) << 10;
    [&[0x81][..], &id.to_be_bytes(), &hex(opcodes)].concat()
}

fn vectors(opcodes: &str) -> Vec<u8> {
    module(b"vectorset", opcodes)
}

/// A vector set: two floats, one element with attributes, a node without neighbours, a norm of 5.
const VECTORS: &str = "02 02 02 01 02 5000 02 02 05 0161 05 0d 7b2279656172223a313935307d 05 08 9a99193f cdcc4c3f \
     02 06 02 01 02 8001000000 02 00 02 20 02 00 02 8040a00000 00";

/// One of each type, with what only some keys have: the lines of the README.
fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    let mut add =
        |value_type, dialect, key: &[u8], body: &[u8], change: &dyn Fn(&mut Entry<'_>)| {
            let mut entry = entry(value_type, dialect, body);
            entry.key = Str::Raw(key);
            change(&mut entry);
            lines.push(sound(&entry));
        };
    let plain = |_: &mut Entry<'_>| {};
    add(0, R, b"greeting", &hex("05 68656c6c6f"), &|entry| {
        entry.expire_at_ms = Some(1_795_312_800_000);
        entry.idle_seconds = Some(70);
    });
    add(0, R, b"\xff\x00", &hex("02 fffe"), &|entry| {
        entry.db = 3;
        entry.lfu_freq = Some(5);
    });
    add(
        18,
        R,
        b"list",
        &hex("02 02 19 19000000 0500 816102 0501 c40002 dffe02 8568656c6c6f06 ff 01 03 616263"),
        &plain,
    );
    add(
        20,
        R,
        b"set",
        &hex("0c 0c000000 0200 816102 0701 ff"),
        &plain,
    );
    add(
        5,
        R,
        b"zset",
        &hex(
            "04 0161 000000000000f83f 0162 9a9999999999b93f 0163 0000000000000080 0164 000000000000f07f",
        ),
        &plain,
    );
    add(
        16,
        R,
        b"hash",
        &hex("0d 0d000000 0200 816602 817602 ff"),
        &plain,
    );
    add(
        24,
        R,
        b"sessions",
        &hex("cfaa2d08a2010000 02 00 03626967 c005 01 0166 c001"),
        &plain,
    );
    add(27, R, b"stream", &stream(), &plain);
    add(
        28,
        R,
        b"array",
        &hex(
            "04 01 09 00 00 0161 05 01 ffffffffffffffff 06 02 000000000000f83f 81ffffffffffffff00 03 026263",
        ),
        &plain,
    );
    let module = module(
        b"hellotype",
        "01 81ffffffffffffffff 02 05 04 000000000000f83f 05 02 6869 00",
    );
    add(7, R, b"module", &module, &plain);
    add(7, R, b"vectors", &vectors(VECTORS), &plain);
    let record = hex("f3 01 08000000 02 07 00");
    add(0, R, b"meta", &hex("0176"), &|entry| {
        // A record outlives its entry here as in a file.
        entry.key_meta = Some(Box::leak(record.clone().into_boxed_slice()));
    });
    add(
        23,
        V,
        b"paths",
        &hex("01 0170 02 0166 c001 0167 c002"),
        &plain,
    );
    let pair = hex("fa 13 6b657964622d737562657870697265 2d6b6579 01 6d \
                    fa 14 6b657964622d737562657870697265 2d7768656e 0d 31373935333132383030303030");
    add(2, R, b"members", &hex("02 016d 016e"), &|entry| {
        entry.sub_expires = Box::leak(pair.clone().into_boxed_slice());
    });
    add(
        32,
        D,
        b"dragon",
        &hex("02 0161 c2 e4af036b 0162 c0 ff"),
        &|entry| {
            entry.df_flags = Some(1);
        },
    );
    add(30, D, b"json", &hex("07 7b2261223a317d"), &plain);
    lines
}

#[test]
fn one_of_each_type() {
    assert_eq!(
        examples(),
        [
            r#"{"db":0,"key":"greeting","type":"string","encoding":"plain","expire_at_ms":1795312800000,"idle_seconds":70,"value":"hello"}"#,
            r#"{"db":3,"key":{"base64":"/wA="},"type":"string","encoding":"plain","lfu_freq":5,"value":{"base64":"//4="}}"#,
            r#"{"db":0,"key":"list","type":"list","encoding":"quicklist-2","value":["a","5","1024","-2","hello","abc"]}"#,
            r#"{"db":0,"key":"set","type":"set","encoding":"listpack","value":["a","7"]}"#,
            r#"{"db":0,"key":"zset","type":"zset","encoding":"plain","value":[["a",1.5],["b",0.1],["c",-0.0],["d","inf"]]}"#,
            r#"{"db":0,"key":"hash","type":"hash","encoding":"listpack","value":[["f","v"]]}"#,
            r#"{"db":0,"key":"sessions","type":"hash","encoding":"plain-ttl","value":[["big","5"],["f","1",1795433540303]]}"#,
            r#"{"db":0,"key":"stream","type":"stream","encoding":"stream-5","value":{"entries":[["1-1",[["f","v"]]],["2-0",[["g","w"]]]],"length":2,"last_id":"2-0","first_id":"1-1","max_deleted_id":"0-0","entries_added":2,"groups":[{"name":"g1","last_id":"1-1","entries_read":1,"pending":[["1-1",1700000000000,3],["2-0",1700000000000,1]],"consumers":[{"name":"c1","seen_at_ms":1700000000001,"active_at_ms":1700000000002,"pending":["1-1"]}],"nacked":["2-0"]}],"idempotency":{"duration_seconds":60,"max_entries":100,"producers":[{"id":"p","records":[["i","1-1"],["5","2-0"]]}],"added":2,"duplicates":0}}}"#,
            r#"{"db":0,"key":"array","type":"array","encoding":"sparse","value":{"insert_index":"9","items":[["0","a"],["5","-1"],["6","1.5"],["18446744073709551360","bc"]]}}"#,
            r#"{"db":0,"key":"module","type":"module","encoding":"module","value":{"module":"hellotype","version":0,"items":[{"signed":"-1"},{"unsigned":"5"},{"double":1.5},{"string":"hi"}]}}"#,
            r#"{"db":0,"key":"vectors","type":"module","encoding":"module","value":{"module":"vectorset","version":0,"quantization":"f32","dim":2,"links":16,"elements":[{"name":"a","attributes":"{\"year\":1950}","vector":[0.6000000238418579,0.800000011920929],"norm":5}]}}"#,
            r#"{"db":0,"key":"meta","type":"string","encoding":"plain","key_meta":[{"class":"AAAA","version":1,"flags":0,"items":[{"unsigned":"7"}]}],"value":"v"}"#,
            r#"{"db":0,"key":"paths","type":"hash","encoding":"path","value":[["p","f","1"],["p","g","2"]]}"#,
            r#"{"db":0,"key":"members","type":"set","encoding":"plain","value":["m","n"],"sub_expires":[["m",1795312800000]]}"#,
            r#"{"db":0,"key":"dragon","type":"set","encoding":"plain-ttl-seconds","df_flags":1,"value":[["a",1795403748000],"b"]}"#,
            r#"{"db":0,"key":"json","type":"json","encoding":"text","value":"{\"a\":1}"}"#,
        ]
    );
}

#[test]
fn the_readme_shows_one_of_each_type() {
    let readme = include_str!("../../README.md");
    for line in examples() {
        assert!(readme.contains(&line), "the README lacks {line}");
    }
}

/// Of another layout, or damaged, it is what the module wrote.
#[test]
fn what_does_not_read_as_a_vector_set_stays_opcodes() {
    for (part, instead) in [
        // Another kind of numbers, flags that nobody knows, more elements, a vector that is too short.
        ("02 5000 02 02", "02 5003 02 02"),
        ("02 5000 02 02", "02 5000 02 06"),
        ("02 01 02 5000", "02 02 02 5000"),
        ("05 08 9a99193f cdcc4c3f", "05 04 9a99193f"),
        ("8040a00000 00", "8040a00000 02 07 00"),
        ("02 06 02 01", "01 06 02 01"),
    ] {
        let changed = VECTORS.replace(part, instead);
        assert_ne!(changed, VECTORS);
        let shown = sound(&entry(7, R, &vectors(&changed)));
        assert!(shown.contains(r#""items":[{"unsigned":"2"}"#), "{shown}");
    }
    // A vector whose compressed bytes lie, and bytes behind the end.
    for (part, instead, items) in [
        ("05 08 9a99193f cdcc4c3f", "05 c3 02 08 00 61", true),
        ("8040a00000 00", "8040a00000 00 07", false),
    ] {
        let (shown, damage) = written(&entry(7, R, &vectors(&VECTORS.replace(part, instead))));
        assert_eq!(shown.contains("items"), items, "{shown}");
        assert!(damage.is_some() && damage.more == 0, "{damage}");
    }
    // Each quantization, without attributes, with a projection.
    for (head, vector, expected) in [
        (
            "02 0a 02 01 02 5001 02 00",
            "05 0a 7f81000102fffe303132",
            "[127,-127,0,1,2,-1,-2,48,49,50]",
        ),
        (
            "02 0a 02 01 02 5002 02 00",
            "05 08 0503000000000000",
            "[1,-1,1,-1,-1,-1,-1,-1,1,1]",
        ),
        ("02 02 02 01 02 5001 02 00", "05 c0 10", "[49,54]"),
        (
            "02 01 02 01 02 5000 02 01 02 02 05 08 0000803f00000000",
            "05 04 0000c07f",
            r#"["nan"]"#,
        ),
    ] {
        let opcodes = format!("{head} 05 0161 {vector} 02 03 02 01 02 00 02 8040a00000 00");
        let shown = sound(&entry(7, R, &vectors(&opcodes)));
        assert!(
            shown.contains(&format!(r#"{{"name":"a","vector":{expected},"norm":5"#)),
            "{shown}"
        );
    }
}

#[test]
fn template_references_show_their_fields() {
    let names = hex("016601 67");
    let body = hex("05 c001 c002");
    let mut entry = entry(32, R, &body);
    entry.template = Some(Template {
        id: 5,
        offset: 40,
        fields: 2,
        names: &names,
        names_offset: 50,
    });
    assert!(sound(&entry).ends_with(r#""value":[["f","1"],["g","2"]]}"#));
}

#[test]
fn damage_leaves_what_could_be_read_and_says_so() {
    let lies = "c3 02 05 00 61";
    for (value_type, dialect, body, shown) in [
        // A string has no value then.
        (0, R, lies.to_owned(), r#""encoding":"plain","error":"#),
        (0, R, "05 6865".to_owned(), r#""encoding":"plain","error":"#),
        // An element, and the rest goes on.
        (
            1,
            R,
            format!("03 0161 {lies} 0162"),
            r#""value":["a","b"],"error":"#,
        ),
        (
            4,
            R,
            format!("02 0166 {lies} 0167 0176"),
            r#""value":[["g","v"]],"error":"#,
        ),
        (
            32,
            D,
            format!("02 {lies} c0ff 0162 c0ff"),
            r#""value":["b"],"error":"#,
        ),
        // The container itself: everything in front of it.
        (
            2,
            R,
            "03 0161 0162 05 63".to_owned(),
            r#""value":["a","b"],"error":"#,
        ),
        (
            5,
            R,
            "02 0161 000000000000f83f 20 6262626262626262".to_owned(),
            r#""value":[["a",1.5]],"error":"#,
        ),
        // A blob that ends early, and a field without a value.
        (
            20,
            R,
            "0a 0c000000 0200 816102 07".to_owned(),
            r#""value":["a"],"error":"#,
        ),
        (
            16,
            R,
            "0b 0b000000 0100 816602 ff 00 00".to_owned(),
            r#""value":[],"error":"#,
        ),
        (
            27,
            R,
            format!("01 10 {ID_1_1} 07 07000000 0000 ff 02 02 00"),
            r#""entries":[]"#,
        ),
        (
            28,
            R,
            "02 00 00 00 0161 05 09".to_owned(),
            r#""items":[["0","a"]]},"error":"#,
        ),
        (
            7,
            R,
            "05 02 07 09".to_owned(),
            r#""items":[{"unsigned":"7"}]},"error":"#,
        ),
        (99, R, "00".to_owned(), r#""type":"unknown","error":"#),
    ] {
        let body = hex(&body);
        let entry = entry(value_type, dialect, &body);
        if value_type == 99 {
            // A reader never yields it; decoding it is an error that is no damage.
            let error = KeyWriter::new(None)
                .write(&entry, &mut Vec::new(), &mut |_| Ok(()))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            continue;
        }
        let (text, damage) = written(&entry);
        assert!(damage.is_some(), "{text}");
        assert!(text.contains(shown), "{text}");
        assert!(text.contains("\"error\":\"offset "), "{text}");
    }
    // A name that lies.
    let mut nameless = entry(0, R, b"\x01v");
    nameless.key = Str::Lzf(crate::wire::string::Lzf {
        compressed: b"\x00a",
        ulen: 5,
        offset: 95,
    });
    let (text, damage) = written(&nameless);
    assert!(damage.is_some());
    assert!(
        text.starts_with(r#"{"db":0,"key":null,"type":"string","#),
        "{text}"
    );
    assert!(text.contains(r#""value":"v","error":"offset 95"#), "{text}");
}

#[test]
fn every_cut_of_a_stream_is_json_all_the_same() {
    let whole = stream();
    for cut in 0..whole.len() {
        let (text, damage) = written(&entry(27, R, &whole[..cut]));
        assert!(damage.is_some(), "{cut}: {text}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut body = whole.clone();
            body[at] ^= 1 << bit;
            written(&entry(27, R, &body));
        }
    }
}

/// Lists with one element: raw or compressed, text or not.
#[test]
fn long_strings_pass_through_a_small_buffer() {
    let text = "größer than \"any\" buffer\n".repeat(150_000);
    let mut bytes = text.clone().into_bytes();
    *bytes.last_mut().unwrap() = 0xff;
    for (content, is_text) in [(text.as_bytes(), true), (&bytes[..], false)] {
        for compressed in [false, true] {
            let mut body = vec![1];
            if compressed {
                Str::write(&mut body, content, true);
                assert!(body.len() < content.len() / 4);
            } else {
                Str::write_raw(&mut body, content);
            }
            let (mut all, mut out, mut largest) = (Vec::new(), Vec::new(), 0);
            let damage = KeyWriter::new(None)
                .write(&entry(1, R, &body), &mut out, &mut |full| {
                    largest = largest.max(full.len());
                    all.append(full);
                    Ok(())
                })
                .unwrap();
            all.append(&mut out);
            assert!(!damage.is_some());
            #[cfg(feature = "serde")]
            {
                let mut keys = super::KeySerializer::new(None);
                let text = serde_json::to_vec(&keys.key(&entry(1, R, &body))).unwrap();
                assert!(text == all, "as serde writes it");
            }
            assert!((PIECE..8 * PIECE).contains(&largest), "{largest}");
            let json: serde_json::Value = serde_json::from_slice(&all).unwrap();
            let found = &json["value"][0];
            if is_text {
                assert!(found.as_str() == Some(&text));
            } else {
                assert_eq!(
                    found["base64"].as_str().unwrap().len(),
                    content.len().div_ceil(3) * 4
                );
            }
        }
    }
    // One that lies at its end is left out before anything of it is written.
    let mut body = vec![1];
    Str::write(&mut body, text.as_bytes(), true);
    let mut longer = vec![1, 0xc3];
    let mut cursor = crate::wire::Cursor::new(&body[2..], 0);
    let clen = length::read(&mut cursor).unwrap();
    let ulen = length::read(&mut cursor).unwrap();
    length::write(&mut longer, clen);
    length::write(&mut longer, ulen + 1);
    longer.extend_from_slice(cursor.rest());
    let (shown, damage) = written(&entry(1, R, &longer));
    assert!(damage.is_some());
    assert!(
        shown.contains(r#""value":[],"error":"offset 101"#),
        "{shown}"
    );
}

#[test]
fn what_the_spill_answers_ends_the_writing() {
    let mut body = vec![];
    Str::write_raw(&mut body, &vec![b'x'; 3 * PIECE]);
    let mut out = Vec::new();
    let refuse = || -> Result<()> { Err(Error::new(ErrorKind::Io, "the pipe is closed")) };
    let error = KeyWriter::new(None)
        .write(&entry(0, R, &body), &mut out, &mut |_| refuse())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

/// A name in a stream is held while what belongs to it is written, so there is a limit.
#[cfg(feature = "serde")]
#[test]
fn a_name_that_cannot_be_held_ends_the_serialisation() {
    let name = vec![b'n'; 2 << 20];
    let mut body = hex("00 00 05 00 01");
    Str::write(&mut body, &name, true);
    body.extend(hex("05 00 00 00"));
    let entry = entry(15, R, &body);
    let mut keys = super::KeySerializer::new(None);
    let error = serde_json::to_string(&keys.key(&entry)).unwrap_err();
    let words = "a name of 2097152 bytes is too long to be held";
    assert!(error.to_string().contains(words), "{error}");
}
