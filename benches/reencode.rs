//! Values in older forms: small ones of each kind, as commands, and a stream by its metadata. The input is made here, from a
//! fixed rule, so that runs can be compared. What is asked for: 400,000 small keys a second on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rdbridge::reencode::older_forms;
use rdbridge::replay::{Decision, Ladder, Policies, Step, Terms, TypeTerms};
use rdbridge::resp::pack;
use rdbridge::snapshot::{Snapshot, ValueType};
use rdbridge::value::listpack;
use rdbridge::wire::Str;

const KEYS: usize = 20_000;

fn packed(items: usize) -> Vec<u8> {
    let mut writer = listpack::Writer::new();
    for i in 0..items {
        if i % 2 == 0 {
            writer.push(format!("field:{i}").as_bytes());
        } else {
            writer.push_int(i as i64 * 1000);
        }
    }
    writer.finish().expect("it is small")
}

/// A file of small values of one type.
fn file(value_type: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"REDIS0012\xfe\x00".to_vec();
    for i in 0..KEYS {
        bytes.push(value_type);
        Str::write_raw(&mut bytes, format!("key:{i:012}").as_bytes());
        bytes.extend_from_slice(body);
    }
    bytes.push(0xff);
    bytes.extend_from_slice(&[0; 8]);
    bytes
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    let mut string = Vec::new();
    Str::write_raw(&mut string, bytes);
    string
}

fn stream() -> Vec<u8> {
    let node = b"\x2e\0\0\0\x11\0\x02\x01\0\x01\x01\x01\x81f\x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\
        \0\x01\x01\x01\xdf\xff\x02\x01\x01\x81g\x02\x81w\x02\x06\x01\xff";
    let id = b"\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01";
    [&[1], &id[..], &blob(node), &[2, 2, 0, 1, 1, 0, 0, 2, 0]].concat()
}

fn reencode(c: &mut Criterion) {
    let mut group = c.benchmark_group("re-encoded RESTORE commands");
    group.throughput(Throughput::Elements(KEYS as u64));
    for (name, value_type, body) in [
        ("hash of 5 fields", 16, blob(&packed(10))),
        ("sorted set of 5 members", 17, blob(&packed(10))),
        ("set of 10 members", 20, blob(&packed(10))),
        (
            "list of 10 elements",
            18,
            [&[1, 2], &blob(&packed(10))[..]].concat(),
        ),
        ("stream of 2 entries", 19, stream()),
    ] {
        let bytes = file(value_type, &body);
        let mut terms = Terms::refusing("to be re-encoded");
        let snapshot = Snapshot::parse(&bytes).expect("it was made here");
        let first = snapshot.entries().next().expect("a key").expect("sound");
        assert_eq!(first.value_type, ValueType(value_type));
        for form in older_forms(first.form()) {
            terms.set(form.value_type, form.dialect, TypeTerms::Take(9));
        }
        let policies = Policies::default();
        let mut ladder = Ladder::new(None);
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut records = snapshot.unverified_records();
                while let Ok(Some(record)) = records.next_record() {
                    let rdbridge::snapshot::Record::Entry(entry) = record else {
                        continue;
                    };
                    let Decision::Send(restore) =
                        ladder.decide(black_box(&entry), &terms, &policies, Step::RAW)
                    else {
                        panic!("it has an older form");
                    };
                    let Str::Raw(key) = entry.key else { continue };
                    let _ =
                        restore.with_args("RESTORE", key, 0, |args| pack::command(&mut out, args));
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reencode);
criterion_main!(benches);
