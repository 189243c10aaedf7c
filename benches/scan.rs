//! The scan of a whole file: many tiny keys, few huge ones, with and without the checksum; and the RESTORE commands of it.
//! The input is made here, from a fixed rule, so that runs can be compared.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rdbridge::payload::Payload;
use rdbridge::resp::{Arg, pack};
use rdbridge::snapshot::{Options, Snapshot};
use rdbridge::wire::{Str, crc64};

fn file(keys: usize, value: usize) -> Vec<u8> {
    let mut bytes = b"REDIS0011\xfe\x00".to_vec();
    for i in 0..keys {
        if i % 3 == 0 {
            bytes.push(0xfc);
            bytes.extend_from_slice(&(2_000_000_000_000i64 + i as i64).to_le_bytes());
        }
        bytes.push(0);
        Str::write_raw(&mut bytes, format!("key:{i:012}").as_bytes());
        Str::write_raw(&mut bytes, &vec![b'a' + (i % 26) as u8; value]);
    }
    bytes.push(0xff);
    let crc = crc64::checksum(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn scan(c: &mut Criterion) {
    for (name, keys, value) in [
        ("tiny", 100_000, 20),
        ("small", 50_000, 200),
        ("huge", 4, 4 << 20),
    ] {
        let bytes = file(keys, value);
        let mut group = c.benchmark_group(format!("scan, {name} values"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        for (what, verify_checksum) in [("structure", false), ("structure and checksum", true)] {
            let options = Options {
                verify_checksum,
                ..Options::default()
            };
            group.bench_function(what, |b| {
                b.iter(|| {
                    let snapshot = Snapshot::with_options(black_box(&bytes), options)
                        .expect("it was made here");
                    snapshot.entries().filter(|entry| entry.is_ok()).count()
                });
            });
        }
        group.bench_function("RESTORE commands", |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                for entry in Snapshot::parse(black_box(&bytes))
                    .expect("it was made here")
                    .entries()
                    .flatten()
                {
                    let (Ok(payload), Str::Raw(key)) = (Payload::new(&entry, 6, false), entry.key)
                    else {
                        continue;
                    };
                    let pieces = payload.pieces();
                    let _ = pack::command(
                        &mut out,
                        &[
                            Arg::from("RESTORE"),
                            Arg::Bytes(key),
                            Arg::from("0"),
                            Arg::Pieces(&pieces),
                        ],
                    );
                }
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
