//! What `benches/instructions.sh` counts: makes its dump, from a fixed rule, and builds the RESTORE commands of a dump.
//!
//! ```text
//! instructions make FILE      write the dump: 40,000 keys of all usual types, and the values of testdata/
//! instructions batches FILE   pack the RESTORE commands of all keys, in batches of 128 KiB
//! ```

use std::error::Error;
use std::path::Path;

use rdbridge::replay::{self, Decision, Policies, Terms, TypeTerms, Usual};
use rdbridge::resp::pack;
use rdbridge::snapshot::{Dialect, Lent, Options, Snapshot, ValueType};
use rdbridge::value::listpack;
use rdbridge::wire::{Str, crc64, length};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", file] => Ok(std::fs::write(file, dump()?)?),
        ["batches", file] => batches(&std::fs::read(file)?),
        // `cargo bench` runs every bench.
        _ => Ok(()),
    }
}

/// Numbers without a library whose next version would make other ones.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31) % bound
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits)
            .map(|_| format!("{:x}", self.below(16)))
            .collect()
    }
}

fn dump() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut random = Random(1);
    let mut out = b"REDIS0011\xfa\x09redis-ver\x057.2.4\xfe\x00".to_vec();
    for i in 0..40_000u64 {
        if random.below(10) < 3 {
            out.push(0xfc);
            let at = 2_000_000_000_000 + random.below(1 << 36);
            out.extend_from_slice(&at.to_le_bytes());
        }
        match random.below(100) {
            0..45 => session(&mut out, i, &mut random),
            45..57 => {
                key(&mut out, 0, &format!("counter:{i}"));
                let bits = random.below(40);
                Str::write(
                    &mut out,
                    random.below(1 << bits).to_string().as_bytes(),
                    true,
                );
            }
            57..66 => {
                key(&mut out, 0, &format!("tok:{i}"));
                Str::write_raw(&mut out, random.hex(40).as_bytes());
            }
            66..68 => {
                key(&mut out, 0, &format!("page:{i}:html"));
                let row = format!("<tr><td>{i}</td><td>{}</td></tr>\n", random.hex(6));
                Str::write(&mut out, row.repeat(60).as_bytes(), true);
            }
            68..82 => {
                key(&mut out, 16, &format!("user:{i}"));
                let mut pack = listpack::Writer::new();
                for field in ["name", "email", "age", "created"] {
                    pack.push(field.as_bytes());
                    let value = match field {
                        "age" => random.below(90).to_string(),
                        "created" => (1_700_000_000 + random.below(10_000_000)).to_string(),
                        _ => random.hex(14),
                    };
                    pack.push(value.as_bytes());
                }
                finish(&mut out, pack)?;
            }
            82..88 => {
                key(&mut out, 18, &format!("queue:{i}"));
                out.extend_from_slice(&[1, 2]);
                let mut pack = listpack::Writer::new();
                for _ in 0..5 + random.below(30) {
                    pack.push(format!("job-{}", random.below(1_000_000)).as_bytes());
                }
                finish(&mut out, pack)?;
            }
            88..91 => {
                key(&mut out, 11, &format!("ids:{i}"));
                let count = 3 + random.below(60);
                let mut body = [4u32.to_le_bytes(), (count as u32).to_le_bytes()].concat();
                let mut value = 0u32;
                for _ in 0..count {
                    value += 1 + random.below(10_000) as u32;
                    body.extend_from_slice(&value.to_le_bytes());
                }
                Str::write_raw(&mut out, &body);
            }
            91..94 => {
                key(&mut out, 2, &format!("tags:{i}"));
                let count = 2 + random.below(20);
                length::write(&mut out, count);
                for j in 0..count {
                    Str::write_raw(&mut out, format!("tag-{j}-{}", random.hex(4)).as_bytes());
                }
            }
            94..99 => {
                key(&mut out, 17, &format!("board:{i}"));
                let mut pack = listpack::Writer::new();
                for j in 0..2 + random.below(20) {
                    pack.push(format!("player-{j}").as_bytes());
                    pack.push(format!("{}.25", j * 100 + random.below(100)).as_bytes());
                }
                finish(&mut out, pack)?;
            }
            _ if i % 8 == 0 => {
                key(&mut out, 5, &format!("scores:{i}"));
                length::write(&mut out, 600);
                for j in 0..600 {
                    Str::write_raw(&mut out, format!("member:{j}:{}", random.hex(8)).as_bytes());
                    out.extend_from_slice(&(random.below(1 << 40) as f64 / 7.0).to_le_bytes());
                }
            }
            _ => {
                key(&mut out, 4, &format!("profile:{i}"));
                length::write(&mut out, 150);
                for j in 0..150 {
                    Str::write_raw(&mut out, format!("field:{j}").as_bytes());
                    Str::write(&mut out, random.hex(20).as_bytes(), true);
                }
            }
        }
    }
    of_servers(&mut out)?;
    out.push(0xff);
    let checksum = crc64::checksum(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

fn key(out: &mut Vec<u8>, value_type: u8, name: &str) {
    out.push(value_type);
    Str::write_raw(out, name.as_bytes());
}

fn finish(out: &mut Vec<u8>, pack: listpack::Writer) -> Result<(), Box<dyn Error>> {
    let bytes = pack.finish().ok_or("a listpack of over 4 GiB")?;
    Str::write_raw(out, &bytes);
    Ok(())
}

fn session(out: &mut Vec<u8>, i: u64, random: &mut Random) {
    key(out, 0, &format!("sess:{i}:{}", random.hex(16)));
    let text = format!(
        "{{\"uid\":{},\"csrf\":\"{}\",\"ip\":\"10.{}.{}.7\",\"ua\":\"Mozilla/5.0 (X11; Linux x86_64)\",\"cart\":[{},{}],\"lang\":\"en\"}}",
        random.below(10_000_000),
        random.hex(32),
        random.below(256),
        random.below(256),
        random.below(9999),
        random.below(9999),
    );
    Str::write_raw(out, text.as_bytes());
}

/// The values of `testdata/redis-7.0`, under names of their own.
fn of_servers(out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/redis-7.0");
    let mut files: Vec<_> = std::fs::read_dir(dir)?
        .map(|file| file.map(|file| file.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rdb"));
    files.sort();
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file)?;
        let Ok(snapshot) = Snapshot::parse(&bytes) else {
            continue;
        };
        for entry in snapshot.entries() {
            let entry = entry?;
            if entry.value_type == ValueType::MODULE_2 {
                continue;
            }
            key(
                out,
                entry.value_type.0,
                &format!("server:{number}:{}", entry.ordinal),
            );
            out.extend_from_slice(entry.value);
        }
    }
    Ok(())
}

fn batches(data: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut terms = Terms::refusing("a type that the dump was not made with");
    for number in 0..=u8::MAX {
        if ValueType(number).info(Dialect::Redis).is_some() {
            terms.set(ValueType(number), Dialect::Redis, TypeTerms::Take(11));
        }
    }
    let policies = Policies {
        now_ms: 1_800_000_000_000,
        ..Policies::default()
    };
    let options = Options {
        verify_checksum: false,
        ..Options::default()
    };
    let snapshot = Snapshot::with_options(data, options)?;
    let mut records = snapshot.records();
    let (mut batch, mut scratch, mut commands, mut bytes) = (Vec::new(), Vec::new(), 0u64, 0);
    while let Some(record) = records.lend()? {
        let Lent::Entry(entry) = record else { continue };
        let key = entry.key.bytes(&mut scratch)?;
        // As a load goes about it.
        match Usual::of(entry, &terms, &policies, key) {
            Some(usual) => usual.pack(&mut batch),
            None => {
                let Decision::Send(restore) = replay::decide(entry, &terms, &policies) else {
                    continue;
                };
                restore.with_args("RESTORE", key, 0, |args| pack::command(&mut batch, args))?;
            }
        }
        commands += 1;
        if batch.len() >= 128 * 1024 {
            bytes += batch.len();
            batch.clear();
        }
    }
    bytes += batch.len();
    if commands < 40_000 || bytes < 1 << 20 {
        return Err(format!("only {commands} commands of {bytes} bytes in all").into());
    }
    Ok(())
}
