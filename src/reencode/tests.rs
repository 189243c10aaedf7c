//! Encode, decode, equal; and what is lost.

use super::*;
use crate::ErrorKind;
use crate::snapshot::{Dialect, Snapshot};
use crate::value::test_support::{entry, show, templated};
use crate::wire::Str;

const R: Dialect = Dialect::Redis;
const V: Dialect = Dialect::Valkey;
const D: Dialect = Dialect::Dragonfly;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| u8::try_from(d).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn terms(allowed: &[Loss]) -> Terms {
    Terms {
        allowed: allowed.iter().copied().collect(),
        now_ms: 1_000,
        most: u64::MAX,
        inside: Expiries::default(),
    }
}

fn form(value_type: u8, dialect: Dialect) -> Form {
    Form {
        value_type: ValueType(value_type),
        dialect,
    }
}

/// The value as text, and the names of what was lost; for a refusal the names behind "loses".
fn reencoded(entry: &Entry<'_>, form: Form, allowed: &[Loss]) -> (String, String) {
    let mut reencoder = Reencoder::new(None);
    let names = |losses: Losses| losses.iter().map(Loss::name).collect::<Vec<_>>().join(" ");
    match reencoder.encode(entry, form, &terms(allowed)).unwrap() {
        Outcome::Loses(losses) => ("loses".into(), names(losses)),
        Outcome::Done(done) => {
            let body = done.to_vec();
            let again =
                crate::value::test_support::entry(done.form.value_type.0, done.form.dialect, &body);
            let shown = show(&mut Decoder::new(None), &again).unwrap();
            (
                format!("{}: {shown}", done.form.value_type.0),
                names(done.losses),
            )
        }
    }
}

/// The node of the format's example: entries 1-1 {f:v} and 2-0 {g:w}.
const NODE: &str = "10 0000000000000001 0000000000000001 2e 2e000000 1100 \
                    0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 \
                    0001 0101 dfff02 0101 816702 817702 0601 ff";
const ID_1_1: &str = "0000000000000001 0000000000000001";
const ID_2_0: &str = "0000000000000002 0000000000000000";
const TIME: &str = "0068e5cf8b010000";
const LATER: &str = "0168e5cf8b010000";

/// The stream of the format's example, in each form; `idmp` is its idempotency part without the counters.
fn stream(form: u8, idmp: &str) -> Vec<u8> {
    let counters = if form >= 2 { "01 01 00 00 02" } else { "" };
    let read = if form >= 2 { "81 ffffffffffffffff" } else { "" };
    let active = if form >= 3 { TIME } else { "" };
    let (pending, nacked) = if form >= 5 {
        (
            format!("02 {ID_1_1} {TIME} 03 {ID_2_0} {TIME} 01"),
            format!("01 {ID_2_0}"),
        )
    } else {
        (format!("01 {ID_1_1} {TIME} 03"), String::new())
    };
    let idmp = if form >= 4 {
        format!("{idmp} 02 00")
    } else {
        String::new()
    };
    hex(&format!(
        "01 {NODE} 02 02 00 {counters} 02 02 6731 01 01 {read} {pending} \
         01 02 6331 {LATER} {active} 01 {ID_1_1} {nacked} \
         02 6732 02 00 {read} 00 00 {} {idmp}",
        if form >= 5 { "00" } else { "" }
    ))
}

const STREAMS: [u8; 5] = [15, 19, 21, 26, 27];
const DEFAULTS: &str = "40 64 40 64 00";
const PRODUCER: &str = "3c 4064 01 0170 02 0169 01 01 c005 02 00";

#[test]
fn a_stream_in_every_lower_form_is_the_same_bytes_as_a_server_would_write() {
    for from in 1..=5u8 {
        for to in 1..from {
            let body = stream(from, DEFAULTS);
            let entry = entry(STREAMS[usize::from(from) - 1], R, &body);
            let target = form(STREAMS[usize::from(to) - 1], R);
            assert!(older_forms(entry.form()).contains(&target));
            let mut reencoder = Reencoder::new(None);
            if from == 5 {
                let Outcome::Loses(losses) = reencoder.encode(&entry, target, &terms(&[])).unwrap()
                else {
                    panic!("nacked entries are lost")
                };
                assert!(losses.has(Loss::Nacked));
            }
            let Outcome::Done(done) = reencoder
                .encode(&entry, target, &terms(&[Loss::Nacked]))
                .unwrap()
            else {
                panic!("{from} to {to}")
            };
            assert_eq!(done.to_vec(), stream(to, DEFAULTS), "{from} to {to}");
            assert_eq!(done.kept, &body[..done.kept.len()], "nodes stay");
            let expected: Losses = [
                (from == 5, Loss::Nacked),
                (from >= 4 && to < 4, Loss::IdempotencyCounters),
                (from >= 3 && to < 3, Loss::ConsumerTimes),
                (from >= 2 && to < 2, Loss::StreamCounters),
            ]
            .into_iter()
            .filter_map(|(lost, loss)| lost.then_some(loss))
            .collect();
            assert_eq!(done.losses, expected, "{from} to {to}");
        }
    }
}

#[test]
fn idempotency_is_meaning_where_somebody_set_it() {
    for (idmp, lost) in [(DEFAULTS, false), (PRODUCER, true), ("3c 4064 00", true)] {
        let body = stream(4, idmp);
        let entry = entry(26, R, &body);
        let mut reencoder = Reencoder::new(None);
        let outcome = reencoder.encode(&entry, form(21, R), &terms(&[])).unwrap();
        assert_eq!(matches!(outcome, Outcome::Loses(_)), lost, "{idmp}");
        let allowed = terms(&[Loss::Idempotency]);
        let Outcome::Done(done) = reencoder.encode(&entry, form(21, R), &allowed).unwrap() else {
            panic!("it was allowed")
        };
        assert_eq!(done.to_vec(), stream(3, ""));
    }
}

#[test]
fn a_stream_in_its_own_form_has_its_counters_mended() {
    for number in 1..=5u8 {
        let sound = stream(number, PRODUCER);
        let value_type = STREAMS[usize::from(number) - 1];
        let own = form(value_type, R);
        assert_eq!(mended_form(own), Some(own));
        let mut reencoder = Reencoder::new(None);
        let mut mend = |body: &[u8]| {
            let entry = entry(value_type, R, body);
            let Outcome::Done(done) = reencoder.encode(&entry, own, &terms(&[])).unwrap() else {
                panic!("nothing is lost")
            };
            (done.to_vec(), done.losses.is_empty())
        };
        assert_eq!(mend(&sound), (sound.clone(), true));
        // A length of 9, no entries ever added, and 9 that the first group has read.
        let at = 1 + 17 + 47;
        let mut wrong = sound.clone();
        assert_eq!(wrong[at], 2);
        wrong[at] = 9;
        let mut expected = sound.clone();
        if number >= 2 {
            let read = wrong
                .windows(9)
                .position(|w| w == hex("81 ffffffffffffffff"))
                .unwrap();
            wrong.splice(read..read + 9, [9]);
            expected.splice(read..read + 9, [2]);
            wrong[at + 7] = 0;
        }
        assert_eq!(mend(&wrong), (expected, false), "form {number}");
    }
    assert_eq!(mended_form(Form::HASH), None);
}

#[test]
fn fields_expire_when_their_hash_arrives_so() {
    use crate::transform::TtlRules;

    // Fields f at 2000 and g never, h at 2500, with values.
    let redis = hex("d0070000 00000000 03 01 0166 0176 00 0167 0176 81 00000000000001f5 0168 0176");
    let valkey = hex("01 0166 0176 d007000000000000");
    let arrives = |entry: &Entry<'_>, to: Form, rules: &str| {
        let rules: TtlRules = rules.parse().unwrap();
        let terms = Terms {
            inside: rules.at(1_000, 0),
            ..terms(&[])
        };
        let mut reencoder = Reencoder::new(None);
        let Outcome::Done(done) = reencoder.encode(entry, to, &terms).unwrap() else {
            panic!("nothing is lost")
        };
        let body = done.to_vec();
        let again =
            crate::value::test_support::entry(done.form.value_type.0, done.form.dialect, &body);
        (done.form, show(&mut Decoder::new(None), &again).unwrap())
    };
    let own = entry(24, R, &redis);
    let shown = show(&mut Decoder::new(None), &own).unwrap();
    assert!(shown.contains("2000") && shown.contains("2500"), "{shown}");
    for (rules, f, h) in [
        ("shift=7s", "9000", "9500"),
        ("max=1200ms", "2000", "2200"),
        ("min=1200ms", "2200", "2500"),
    ] {
        let expected = shown.replace("2000", f).replace("2500", h);
        let to = [Form::HASH_METADATA, Form::HASH_2].map(|to| arrives(&own, to, rules));
        assert_eq!(to[0], (Form::HASH_METADATA, expected.clone()), "{rules}");
        assert_eq!(to[1], (Form::HASH_2, expected), "{rules}");
    }
    // f is past then, and both are.
    for to in [Form::HASH_METADATA, Form::HASH_2] {
        let (form, one) = arrives(&own, to, "shift=-1s");
        assert_eq!(form, to);
        assert!(one.contains("1500") && !one.contains("1000"), "{one}");
        assert_eq!(arrives(&own, to, "shift=-1h").0, Form::HASH);
        let terms = Terms {
            inside: "shift=-1h".parse::<TtlRules>().unwrap().at(1_000, 0),
            ..terms(&[])
        };
        let mut reencoder = Reencoder::new(None);
        let alone = hex("01 0166 0176 d007000000000000");
        let alone = entry(22, V, &alone);
        let Outcome::Done(done) = reencoder.encode(&alone, to, &terms).unwrap() else {
            panic!("nothing is lost")
        };
        assert!(done.is_empty());
    }
    let (form, stripped) = arrives(&own, Form::HASH_METADATA, "strip");
    assert_eq!(form, Form::HASH);
    assert!(!stripped.contains("2000"), "{stripped}");
    let theirs = entry(22, V, &valkey);
    assert!(
        arrives(&theirs, Form::HASH_2, "shift=1s")
            .1
            .contains("3000")
    );
    assert_eq!(mended_form(Form::HASH_2), Some(Form::HASH_2));
}

#[test]
fn an_empty_stream_stays_one() {
    let body = [0; 10];
    let entry = entry(21, R, &body);
    let mut reencoder = Reencoder::new(None);
    let Outcome::Done(done) = reencoder.encode(&entry, form(15, R), &terms(&[])).unwrap() else {
        panic!("it has no groups")
    };
    assert_eq!(done.to_vec(), [0; 5]);
    assert!(!done.is_empty());
}

#[test]
fn packed_collections_become_plain_ones() {
    let listpack = "19 19000000 0500 8161 02 0501 c40002 dffe02 8568656c6c6f 06 ff";
    for (value_type, body, to, shown) in [
        // Two nodes and a plain element between them.
        (
            18,
            format!("03 02 {listpack} 01 03 616263 02 {listpack}"),
            1,
            "a 5 1024 -2 hello abc a 5 1024 -2 hello",
        ),
        (20, listpack.into(), 2, "a 5 1024 -2 hello"),
        (11, "0e 0200000003000000ffff05002c01".into(), 2, "-1 5 300"),
        (
            17,
            "14 14000000 0400 816102 0101 816202 83322e3504 ff".into(),
            5,
            "a:1.0 b:2.5",
        ),
        (
            17,
            "14 14000000 0400 816102 0101 816202 83322e3504 ff".into(),
            3,
            "a:1.0 b:2.5",
        ),
        (
            5,
            "03 0162 000000000000f07f 0161 000000000000f8bf 0163 000000000000f0ff".into(),
            3,
            "b:inf a:-1.5 c:-inf",
        ),
        (16, "0d 0d000000 0200 816602 817602 ff".into(), 4, "f=v"),
        (9, "0c 02 0161 0100 78 02 6262 0000 ff".into(), 4, "a=x bb="),
    ] {
        let body = hex(&body);
        let entry = entry(value_type, R, &body);
        assert!(older_forms(entry.form()).contains(&form(to, R)));
        assert_eq!(
            reencoded(&entry, form(to, R), &[]),
            (format!("{to}: {shown}"), String::new())
        );
    }
}

#[test]
fn a_plain_list_becomes_a_quicklist_for_those_who_know_no_other() {
    let long = vec![b'x'; 9000];
    let mut body = vec![4, 1, b'a', 0];
    Str::write_raw(&mut body, &long);
    Str::write(&mut body, b"-70000", false);
    let entry = entry(1, R, &body);
    assert_eq!(
        reencoded(&entry, form(18, R), &[]).0,
        "18: a  <9000 bytes> -70000"
    );
}

#[test]
fn templates_become_plain_hashes() {
    let names = b"\x06field1\x06field2";
    let listpack = hex("0d 0d000000 0300 0501 0101 0201 ff");
    assert_eq!(
        reencoded(&templated(30, &listpack, names), Form::HASH, &[]).0,
        "4: field1=1 field2=2"
    );
    assert_eq!(
        reencoded(
            &templated(32, b"\x05\xc0\x01\xc0\x02", names),
            Form::HASH,
            &[]
        )
        .0,
        "4: field1=1 field2=2"
    );
}

#[test]
fn field_expiries_go_from_redis_to_valkey_and_back() {
    let redis = hex("18 cfaa2d08a2010000 03 00 03 626967 c007 01 01 66 c001 05 01 67 c002");
    let redis = &redis[1..];
    let valkey = hex(
        "03 03 626967 c007 ffffffffffffffff 01 66 c001 cfaa2d08a2010000 01 67 c002 d3aa2d08a2010000",
    );
    let packed = hex(
        "cfaa2d08a2010000 1d 1d000000 0600 816602 0101 f4cfaa2d08a201000009 816702 0201 0001 ff",
    );
    let shown = show(&mut Decoder::new(None), &entry(24, R, redis)).unwrap();
    assert!(shown.starts_with("big=7 f=1@"), "{shown}");
    for (from, to) in [
        (entry(24, R, redis), form(22, V)),
        (entry(22, V, &valkey), form(24, R)),
    ] {
        let (text, lost) = reencoded(&from, to, &[]);
        assert_eq!(text, format!("{}: {shown}", to.value_type.0));
        assert_eq!(lost, "");
        assert_eq!(
            reencoded(&from, Form::HASH, &[]),
            ("loses".into(), "field-expiry".into())
        );
        assert_eq!(
            reencoded(&from, Form::HASH, &[Loss::FieldExpiry]),
            ("4: big=7 f=1 g=2".into(), "field-expiry".into())
        );
    }
    let mut reencoder = Reencoder::new(None);
    let from_valkey = entry(22, V, &valkey);
    let Outcome::Done(done) = reencoder
        .encode(&from_valkey, Form::HASH_METADATA, &terms(&[]))
        .unwrap()
    else {
        panic!("nothing is lost")
    };
    assert_eq!(done.to_vec(), redis, "byte for byte");
    let (text, lost) = reencoded(&entry(25, R, &packed), Form::HASH_2, &[]);
    assert!(
        text.starts_with("22: f=1@") && text.ends_with(" g=2"),
        "{text}"
    );
    assert_eq!(lost, "");
}

#[test]
fn a_hash_without_expiries_is_a_plain_one_wherever_it_goes() {
    let packed = hex("0000000000000000 0f 0f000000 0300 816602 817602 0001 ff");
    for to in [Form::HASH_2, Form::HASH_METADATA, Form::HASH] {
        assert_eq!(
            reencoded(&entry(25, R, &packed), to, &[]),
            ("4: f=v".into(), String::new())
        );
    }
}

#[test]
fn fields_and_members_that_are_past_are_gone_where_nothing_could_say_so() {
    // f expired at 5, g at 900, h never; the instant is 1000.
    let some = b"\x03\x01f\x01a\x05\0\0\0\0\0\0\0\x01g\x01b\x84\x03\0\0\0\0\0\0\x01h\x01c\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(
        reencoded(&entry(22, V, some), Form::HASH, &[]),
        ("4: h=c".into(), String::new())
    );
    let all = b"\x01\x01f\x01a\x05\0\0\0\0\0\0\0";
    let all = entry(22, V, all);
    let mut reencoder = Reencoder::new(None);
    let Outcome::Done(done) = reencoder.encode(&all, Form::HASH, &terms(&[])).unwrap() else {
        panic!("nothing is lost")
    };
    assert!(done.is_empty());
    // Dragonfly counts seconds.
    let set = entry(32, D, b"\x03\x01a\xc0\xff\x01b\x010\x01c\x0299");
    let to = form(2, R);
    assert_eq!(
        reencoded(&set, to, &[]),
        ("loses".into(), "member-expiry".into())
    );
    assert_eq!(
        reencoded(&set, to, &[Loss::MemberExpiry]),
        ("2: a c".into(), "member-expiry".into())
    );
}

/// A list of a compressed string of 2 MB, raw ones of 3 MB and many small ones.
fn large() -> Vec<u8> {
    let mut body = Vec::new();
    length::write(&mut body, 10_003);
    let packed = lzf::compress(&b"0123456789".repeat(200_000)).unwrap();
    for text in [vec![b'y'; 3 << 20], vec![b'z'; 1 << 20]] {
        length::write(&mut body, 1);
        Str::write_raw(&mut body, &text);
    }
    length::write(&mut body, 1);
    body.push(0xc3);
    length::write(&mut body, packed.len() as u64);
    length::write(&mut body, 2_000_000);
    body.extend_from_slice(&packed);
    for i in 0..10_000 {
        length::write(&mut body, 1);
        Str::write_raw(&mut body, format!("element {i}").as_bytes());
    }
    body
}

#[test]
fn large_values_go_through_a_spool() {
    let body = large();
    let entry = entry(18, R, &body);
    let to = form(1, R);
    let dir = tempfile::tempdir().unwrap();
    let mut reencoder = Reencoder::new(Some(dir.path()));
    let Outcome::Done(done) = reencoder.encode(&entry, to, &terms(&[])).unwrap() else {
        panic!("nothing is lost")
    };
    assert!(
        (3 << 20..3_500_000).contains(&done.body.len()),
        "what was compressed stays so: {}",
        done.body.len()
    );
    let again = done.to_vec();
    let again = crate::value::test_support::entry(1, R, &again);
    let text = |entry: &Entry<'_>| show(&mut Decoder::new(Some(dir.path())), entry).unwrap();
    assert_eq!(text(&again), text(&entry));

    let mut held = Reencoder::new(None);
    let error = held.encode(&entry, to, &terms(&[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let tight = Terms {
        most: 3 << 20,
        ..terms(&[])
    };
    let error = reencoder.encode(&entry, to, &tight).unwrap_err();
    assert!(error.to_string().contains("3145728 bytes"), "{error}");
    // A small value behind a large one.
    let small = crate::value::test_support::entry(18, R, b"\x01\x01\x01a");
    let Outcome::Done(done) = reencoder.encode(&small, to, &tight).unwrap() else {
        panic!("nothing is lost")
    };
    assert_eq!(done.to_vec(), b"\x01\x01a");
}

#[test]
fn what_is_none_of_the_older_forms_is_refused_and_damage_is_named() {
    let mut reencoder = Reencoder::new(None);
    let string = entry(0, R, b"\x01v");
    let error = reencoder
        .encode(&string, Form::HASH, &terms(&[]))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let broken = hex("0d 0d000000 0300 816602 817602 ff");
    let broken = entry(16, R, &broken);
    let error = reencoder
        .encode(&broken, Form::HASH, &terms(&[]))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("key"), "{error}");
}

/// Every value of every sample of this project in every form that it can be written in: it decodes to the same.
#[test]
fn every_sample_round_trips_in_every_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let spool = tempfile::tempdir().unwrap();
    let (mut encoded, mut lost) = (0u64, 0u64);
    let mut reencoder = Reencoder::new(Some(spool.path()));
    for dir in std::fs::read_dir(root).unwrap() {
        let dir = dir.unwrap().path();
        let Ok(files) = std::fs::read_dir(&dir) else {
            continue;
        };
        for file in files {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|e| e != "rdb") {
                continue;
            }
            let data = std::fs::read(&file).unwrap();
            let snapshot = match Snapshot::parse(&data) {
                Err(_) if dir.ends_with("hostile") => continue,
                snapshot => snapshot.unwrap(),
            };
            for entry in snapshot.entries() {
                let entry = match entry {
                    Err(_) if dir.ends_with("hostile") => break,
                    entry => entry.unwrap(),
                };
                let shown = show(&mut Decoder::new(Some(spool.path())), &entry);
                for &form in older_forms(entry.form()) {
                    let terms = Terms {
                        now_ms: 0,
                        ..terms(&[])
                    };
                    let done = match reencoder.encode(&entry, form, &terms) {
                        Ok(Outcome::Done(done)) => done,
                        Ok(Outcome::Loses(losses)) => {
                            assert!(losses.any_meaning());
                            lost += 1;
                            continue;
                        }
                        // What no server reads has no other form.
                        Err(error)
                            if dir.ends_with("hostile") && error.kind() == ErrorKind::Corrupt =>
                        {
                            continue;
                        }
                        Err(error) => panic!("{}: {form:?}: {error}", file.display()),
                    };
                    let body = done.to_vec();
                    let again = crate::value::test_support::entry(
                        done.form.value_type.0,
                        done.form.dialect,
                        &body,
                    );
                    let now = show(&mut Decoder::new(Some(spool.path())), &again).unwrap();
                    let shown = shown.as_ref().unwrap();
                    if stream::form(form).is_some() {
                        // What is bookkeeping has no place there; entries stand in front.
                        let upto = |text: &str| text.split("len=").next().unwrap().to_owned();
                        assert_eq!(upto(&now), upto(shown));
                    } else {
                        assert_eq!(&now, shown, "{}: {form:?}", file.display());
                    }
                    let mut decoder = Decoder::new(Some(spool.path()));
                    decoder.validate(&again).unwrap();
                    encoded += 1;
                }
            }
        }
    }
    assert!(encoded > 1500 && lost > 10, "{encoded} encoded, {lost} not");
}
