//! The primitives, each by itself: where a regression of the scan comes from. Throughput in bytes of input.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rdbridge::wire::{Cursor, Str, crc64, length, lzf};

fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc64");
    for size in [16usize, 40, 64, 128, 256, 4096, 1 << 20] {
        let bytes = vec![0xa5u8; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |b, bytes| {
            b.iter(|| crc64::checksum(black_box(bytes)))
        });
    }
    group.finish();
}

fn lengths(c: &mut Criterion) {
    let mut group = c.benchmark_group("length");
    for (name, value) in [("6 bit", 5u64), ("14 bit", 700), ("32 bit", 1 << 20)] {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            length::write(&mut bytes, value);
        }
        group.throughput(Throughput::Elements(1000));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut cursor = Cursor::new(black_box(&bytes), 0);
                let mut sum = 0u64;
                while let Ok(length) = length::read(&mut cursor) {
                    sum += length;
                }
                sum
            });
        });
    }
    group.finish();
}

fn strings(c: &mut Criterion) {
    let mut group = c.benchmark_group("string, skipped");
    for size in [8usize, 40, 200] {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            Str::write_raw(&mut bytes, &vec![b'x'; size]);
        }
        group.throughput(Throughput::Elements(1000));
        group.bench_function(size.to_string(), |b| {
            b.iter(|| {
                let mut cursor = Cursor::new(black_box(&bytes), 0);
                while Str::skip(&mut cursor).is_ok() {}
                cursor.offset()
            });
        });
    }
    group.finish();
}

fn decompression(c: &mut Criterion) {
    let mut group = c.benchmark_group("lzf");
    let text: Vec<u8> = (0..4000u32)
        .flat_map(|i| format!("<li>entry number {} of the list</li>", i % 97).into_bytes())
        .collect();
    for size in [200usize, 4096, text.len()] {
        let plain = &text[..size];
        let packed = lzf::compress(plain).expect("it repeats itself");
        group.throughput(Throughput::Bytes(size as u64));
        let mut out = vec![0; size];
        group.bench_function(format!("into a buffer, {size}"), |b| {
            b.iter(|| lzf::decompress(black_box(&packed), &mut out, 0).is_ok())
        });
        group.bench_function(format!("streamed, {size}"), |b| {
            b.iter(|| {
                let mut stream = lzf::Stream::new(black_box(&packed), size as u64, 0);
                let mut made = 0;
                while let Ok(Some(piece)) = stream.next_piece() {
                    made += piece.len();
                }
                made
            });
        });
    }
    group.finish();
}

criterion_group!(benches, crc, lengths, strings, decompression);
criterion_main!(benches);
