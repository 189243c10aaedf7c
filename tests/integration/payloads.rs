//! What is sent, byte for byte: key metadata, type byte, the file's own bytes, the lowest footer, the right checksum; for
//! every key of all samples.

use std::collections::BTreeMap;

use rdbridge::outcome::Outcome;
use rdbridge::snapshot::{Dialect, Entry, Record, Snapshot};

use super::support::corpus_dir;
use super::support::dump::{Crc, Dump, crc64, length, string};
use super::support::loading::{load, options};
use super::support::recorder::{REDIS, Recorder, Restored, VALKEY};
use super::support::samples;

/// The lowest footer in which a type exists (docs of the format, 5.2).
fn lowest_footer(value_type: u8, dialect: Dialect) -> u16 {
    match (value_type, dialect) {
        (0..=4 | 9..=13, _) => 6,
        (14, _) => 7,
        (5 | 7, _) => 8,
        (15, _) => 9,
        (16..=19, _) => 10,
        (20 | 21, _) => 11,
        (22, Dialect::Valkey) => 80,
        (23, Dialect::Valkey) => 81,
        (22..=25, Dialect::Redis) => 12,
        (26, _) => 13,
        (27 | 28, _) => 14,
        (29..=32, _) => 15,
        other => panic!("no row for {other:?}"),
    }
}

/// What is wrong with a payload.
fn fault(data: &[u8], entry: &Entry<'_>, sent: &Restored) -> Option<String> {
    let fail = |what: &str| {
        Some(format!(
            "{what}: {:?}, type {}, key {:?}, options {:?}",
            entry.offset, entry.value_type.0, sent.key, sent.options
        ))
    };
    // Where the value stands, by the file alone: behind type byte and key, up to the next record.
    let at = usize::try_from(entry.type_offset).expect("small");
    let (start, end) = (
        usize::try_from(entry.value_offset).expect("small"),
        usize::try_from(entry.end()).expect("small"),
    );
    let value = &data[start..end];
    let value_type = data[at];
    let (body, footer) = sent.payload.split_last_chunk::<10>().expect("a footer");
    let (covered, crc) = sent.payload.split_last_chunk::<8>().expect("a checksum");
    if crc64(covered).to_le_bytes() != *crc {
        return fail("checksum");
    }
    let meta = entry.key_meta.unwrap_or_default();
    let Some(behind_meta) = body.strip_prefix(meta) else {
        return fail("key metadata");
    };
    match (value_type, entry.dialect) {
        (30 | 32, Dialect::Redis) => {
            // The names first, in the form of a count and strings; then what the reference had, without the reference.
            let Some(rest) = behind_meta.strip_prefix(&[value_type - 1, 1]) else {
                return fail("type of a template");
            };
            // One byte of reference: the samples have few templates.
            let expected = if value_type == 30 { value } else { &value[1..] };
            let template = entry.template.expect("a template");
            let names = [&length(template.fields)[..], template.names].concat();
            if rest.strip_prefix(&names[..]) != Some(expected) {
                return fail("template");
            }
        }
        _ if behind_meta.split_first() == Some((&value_type, value)) => {}
        _ => return fail("bytes"),
    }
    let mut lowest = lowest_footer(value_type, entry.dialect);
    if entry.key_meta.is_some() {
        lowest = lowest.max(13);
    }
    if footer[..2] != lowest.to_le_bytes() {
        return fail("footer");
    }
    let mut scratch = Vec::new();
    if entry.key.bytes(&mut scratch).expect("a name") != sent.key || entry.db != sent.db {
        return fail("key");
    }
    let mut expected = Vec::new();
    if entry.expire_at_ms.is_some() {
        expected.push("ABSTTL".to_owned());
    }
    if let Some(idle) = entry.idle_seconds {
        expected.extend(["IDLETIME".to_owned(), idle.to_string()]);
    } else if let Some(freq) = entry.lfu_freq {
        expected.extend(["FREQ".to_owned(), freq.to_string()]);
    }
    if sent.options != expected || sent.ttl != entry.expire_at_ms.unwrap_or(0).to_string() {
        return fail("options");
    }
    None
}

/// Loads `data` into a recorder and checks what came; gives the number of keys by dialect and type.
fn check(name: &str, data: &[u8], types: &mut BTreeMap<(bool, u8), u64>) -> Vec<String> {
    let snapshot = Snapshot::parse(data).expect("sound");
    let valkey = data.starts_with(b"VALKEY");
    let recorder = Recorder::start(if valkey { VALKEY } else { REDIS });
    let mut options = options();
    // So that nothing counts as past.
    options.policies.now_ms = 0;
    options.policies.db_map = Default::default();
    let loaded = match load(&recorder.url(), data, options) {
        Ok(loaded) if loaded.report.is_clean() => loaded,
        Ok(loaded) => return vec![format!("{name}: {:?} {:?}", loaded.report, loaded.events)],
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let sent = recorder.take();
    let mut faults = Vec::new();
    let mut records = snapshot.records();
    let mut all = sent.iter();
    while let Some(record) = records.next_record().expect("sound") {
        let Record::Entry(entry) = record else {
            continue;
        };
        *types.entry((valkey, entry.value_type.0)).or_default() += 1;
        match all.next() {
            Some(sent) => faults.extend(fault(data, &entry, sent).map(|f| format!("{name}: {f}"))),
            None => faults.push(format!("{name}: too few keys were sent")),
        }
    }
    let counted = loaded.restored() + loaded.count(Outcome::ExpiredOnArrival);
    if all.next().is_some() || sent.len() as u64 != counted {
        faults.push(format!(
            "{name}: {} were sent, {} counted",
            sent.len(),
            counted
        ));
    }
    faults
}

#[test]
fn every_key_of_all_samples_goes_with_its_own_bytes() {
    let mut types = BTreeMap::new();
    let mut faults = Vec::new();
    for sample in samples::all() {
        faults.extend(check(&sample.name, &sample.data, &mut types));
    }
    let keys: u64 = types.values().sum();
    super::support::say_aloud(&format!(
        "payloads of {keys} keys are what the files hold; by type: {types:?}"
    ));
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(keys > 6000, "{keys}");
    let mut expected = vec![
        0, 1, 2, 3, 4, 5, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28,
        30, 32,
    ];
    if corpus_dir().is_some() {
        expected.push(9);
    }
    for value_type in expected {
        assert!(
            types.contains_key(&(false, value_type)),
            "no key of type {value_type}"
        );
    }
    assert!(types.contains_key(&(true, 22)), "no hash of Valkey 9");
}

/// What no sample has: key metadata, long names, values that stand in the map across the pieces that are written at once.
#[test]
fn built_dumps_go_with_their_own_bytes() {
    let big: Vec<u8> = (0..3_000_000u32)
        .flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect();
    // One class of metadata: its id, then a module's value that ends at once.
    let meta = [&[243, 1][..], b"abcd", &[0]].concat();
    let data = Dump::redis(13)
        .select_db(0)
        .raw(&meta)
        .string_key("with metadata", "v")
        .expire_ms(1_900_000_000_000)
        .idle(7)
        .raw(&meta)
        .key(
            16,
            "hash",
            string(b"\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff"),
        )
        .string_key(vec![b'n'; 100_000], "a long name")
        .string_key("big", &big)
        .select_db(900)
        .freq(255)
        .string_key("", "")
        .finish(Crc::Right);
    let faults = check("built", &data, &mut BTreeMap::new());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
