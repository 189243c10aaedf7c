//! Many of everything: files in which one thing stands a hundred thousand times, as no server would write them. Work must
//! grow in step with the file, and memory must not grow with it at all.
//!
//! Each file is made in two sizes, and each way of reading it is measured by processor time and by allocated memory.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdbridge::fingerprint::{FingerprintKey, Fingerprints};
use rdbridge::replay::Policies;
use rdbridge::select::Selection;
use rdbridge::snapshot::{Options, Producer, Record, Snapshot};
use rdbridge::survey::Survey;
use rdbridge::time::Timestamp;
use rdbridge::value::{Decoder, Lenient};
use rdbridge::verbs::{check, info};

use super::super::support::dump::{self, Crc, Dump, opcode};
use super::super::support::{alloc, say_aloud};
use super::packed::{Item, listpack, stream_node, ziplist};
use super::worker::process_time;

/// The smaller size of each file, in bytes; the larger one has twice as many.
const SIZE: usize = 500_000;

/// The longest that one way of reading may take in an optimised build, and what it may need.
const MOST_TIME: Duration = Duration::from_secs(2);
const MOST_MEMORY: usize = 32 << 20;

/// Twice the file may take this many times as long. Shorter times than `NOISE` say nothing.
const MOST_GROWTH: f64 = 3.5;
const NOISE: Duration = Duration::from_millis(60);

#[test]
fn time_grows_with_the_file_and_memory_does_not() {
    let out = Command::new(env::current_exe().expect("this test binary"))
        .args(["hostile::scale::measure", "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .expect("this test binary starts");
    let said = String::from_utf8_lossy(&out.stdout);
    let complaints: Vec<&str> = said
        .lines()
        .filter_map(|l| Some(l.split_once("BAD ")?.1))
        .collect();
    assert!(
        out.status.success() && complaints.is_empty(),
        "{}\n{}\n{}",
        out.status,
        complaints.join("\n"),
        String::from_utf8_lossy(&out.stderr)
    );
    let last = said
        .lines()
        .find_map(|l| Some(l.split_once("ALL ")?.1))
        .expect("a summary");
    say_aloud(&format!("hostile, at scale: {last}"));
    let measured: usize = last
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(measured >= 250, "only {measured} were measured");
}

#[test]
#[ignore = "the process that `time_grows_with_the_file_and_memory_does_not` starts"]
fn measure() {
    let spool_dir = env::temp_dir();
    alloc::refuse_over(1 << 30);
    let most_time = MOST_TIME * how_slow();
    let (mut measured, mut slowest, mut largest) =
        (0, (Duration::ZERO, String::new()), (0, String::new()));
    for (name, make) in files() {
        let (small, large) = (make(SIZE), make(2 * SIZE));
        assert!(
            large.len() > SIZE / 2,
            "{name} has only {} bytes",
            large.len()
        );
        for way in WAYS {
            let (first, _) = spent(|| way.1(&small, &spool_dir));
            let (mut second, memory) = spent(|| way.1(&large, &spool_dir));
            measured += 1;
            let grew = |first: Duration, second: Duration| {
                second > NOISE && second.as_secs_f64() > MOST_GROWTH * first.as_secs_f64()
            };
            // Again: a page fault storm or a busy neighbour is no growth. What grows takes as long each time.
            for _ in 0..4 {
                if grew(first, second) || second > most_time {
                    second = second.min(spent(|| way.1(&large, &spool_dir)).0);
                }
            }
            let what = format!("{name}, {}", way.0);
            if grew(first, second) {
                tell(&format!(
                    "BAD {what}: {first:?} for {} bytes, {second:?} for {}",
                    small.len(),
                    large.len()
                ));
            }
            if second > most_time {
                tell(&format!("BAD {what}: {second:?} for {} bytes", large.len()));
            }
            if memory > MOST_MEMORY {
                tell(&format!(
                    "BAD {what}: {memory} bytes of memory for {}",
                    large.len()
                ));
            }
            if second > slowest.0 {
                slowest = (second, what.clone());
            }
            if memory > largest.0 {
                largest = (memory, what);
            }
        }
    }
    tell(&format!(
        "ALL {measured} readings; the slowest took {:?} ({}), the largest {} bytes ({})",
        slowest.0, slowest.1, largest.0, largest.1
    ));
}

/// To the process that started this one, past the harness: a line of its own.
fn tell(line: &str) {
    use std::io::Write as _;
    // Nobody may listen any more.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

/// 1 in an optimised build; how many times slower another one is, by a loop that optimising helps.
fn how_slow() -> u32 {
    let bytes = vec![7; 4 << 20];
    let (took, _) = spent(|| {
        std::hint::black_box(dump::crc64(&bytes));
    });
    // 4 MiB take 10 ms optimised, 100 ms and more where nothing is.
    if took > Duration::from_millis(60) {
        10
    } else {
        1
    }
}

/// Processor time and memory.
fn spent(work: impl FnOnce()) -> (Duration, usize) {
    let before = alloc::live();
    alloc::restart_peak();
    let started = process_time();
    work();
    let took = process_time().saturating_sub(started);
    (took, alloc::peak().saturating_sub(before))
}

type Way = (&'static str, fn(&[u8], &PathBuf));

const WAYS: &[Way] = &[
    ("scanned", |file, _| {
        let _ = snapshot(file).records().take_while(Result::is_ok).count();
    }),
    ("values walked", |file, dir| {
        let mut decoder = Decoder::with_findings(Some(dir), Lenient);
        for entry in snapshot(file).entries().map_while(Result::ok) {
            // Too large to be spooled, say.
            let _ = decoder.validate(&entry);
        }
    }),
    ("surveyed", |file, _| {
        let snapshot = snapshot(file);
        let mut survey = Survey::new(Producer::new(snapshot.header()));
        for record in snapshot.records().map_while(Result::ok) {
            let learned = match &record {
                Record::Entry(entry) => survey.add(entry, true, 0),
                record => survey.learn(record),
            };
            if learned.is_err() {
                return;
            }
        }
    }),
    ("checked", |file, dir| {
        let options = check::Options {
            values: true,
            threads: 1,
            strict: false,
            duplicates: true,
            spool_dir: dir.clone(),
        };
        let _ = check::check(
            &snapshot(file),
            &options,
            &mut Selection::all(),
            &mut |_| Ok(()),
            &mut |_| Ok(()),
        );
    }),
    ("summarised", |file, _| {
        let options = info::Options {
            now: Timestamp::from_secs(1_800_000_000),
            top: 10,
        };
        let _ = info::info(
            &snapshot(file),
            &options,
            &mut Selection::all(),
            &mut |_| Ok(()),
        );
    }),
    ("decided", |file, _| {
        let policies = Policies::default();
        for entry in snapshot(file).entries().map_while(Result::ok) {
            let _ = rdbridge::replay::decide(&entry, &super::judge_value::EVERYTHING, &policies);
        }
    }),
];

fn snapshot(file: &[u8]) -> Snapshot<'_> {
    let options = Options {
        accept_newer: true,
        verify_checksum: true,
    };
    Snapshot::with_options(file, options).expect("a header")
}

type Make = Box<dyn Fn(usize) -> Vec<u8>>;

/// Makes a file of about that many bytes.
fn files() -> Vec<(&'static str, Make)> {
    let mut files: Vec<(&'static str, Make)> = Vec::new();

    // Records: the same bytes, again and again, or with a number in them.
    let mut records = |name, one: fn(u64) -> Vec<u8>| {
        let make = move |size: usize| {
            let mut dump = Dump::redis(15);
            let mut number = 0;
            while dump.offset() < size {
                dump = dump.raw(one(number));
                number += 1;
            }
            dump.string_key("k", "v").finish(Crc::Right)
        };
        files.push((name, Box::new(make)));
    };
    records("the attribute FREQ", |_| vec![opcode::FREQ, 0]);
    records("key metadata", |_| vec![243, 0]);
    records("aux fields without bytes", |_| vec![opcode::AUX, 0, 0]);
    records("aux fields", |n| {
        [&[opcode::AUX][..], &dump::string(format!("a{n}")), &[0]].concat()
    });
    records("cached scripts", |_| {
        [
            &[opcode::AUX][..],
            &dump::string("lua"),
            &dump::string("return 1"),
        ]
        .concat()
    });
    records("databases with a key each", |n| {
        [&[opcode::SELECTDB][..], &dump::length(n), b"\x00\x01k\x01v"].concat()
    });
    records("two databases in turn", |n| {
        vec![
            opcode::SELECTDB,
            (n % 2) as u8,
            0,
            2,
            b'a' + (n % 26) as u8,
            (n >> 8) as u8,
            0,
        ]
    });
    records("size hints", |_| vec![opcode::RESIZEDB, 0, 0]);
    records("slot infos", |n| {
        [&[244][..], &dump::length(n), &[0, 0]].concat()
    });
    records("functions", |n| {
        [
            &[opcode::FUNCTION2][..],
            &dump::string(format!("#!lua name=l{n}\n")),
        ]
        .concat()
    });
    records("functions without a name", |_| vec![opcode::FUNCTION2, 0]);
    records("module aux of many modules", |n| {
        [
            &[opcode::MODULE_AUX][..],
            &dump::length(n << 10),
            &[2, 1, 0],
        ]
        .concat()
    });
    records("values of many modules", |n| {
        [
            &[7][..],
            &dump::string(n.to_string()),
            &dump::length(n << 10),
            &[0],
        ]
        .concat()
    });
    records("hash templates", |n| {
        [&[242][..], &dump::length(n), &[1, 1, b'f']].concat()
    });
    records("references to one template", |n| match n {
        0 => vec![242, 5, 2, 1, b'f', 1, b'g'],
        n => [
            &[32][..],
            &dump::string(n.to_string()),
            &[5, 0xc0, 1, 0xc0, 2],
        ]
        .concat(),
    });
    records("different keys", |n| {
        [&[0][..], &dump::string(n.to_string()), &[0]].concat()
    });
    records("one key, again and again", |_| b"\x00\x01k\x01v".to_vec());
    records("one long key, again and again", |_| {
        [&[0][..], &dump::string([b'k'; 5000]), &[0]].concat()
    });
    records("one compressed key, again and again", |_| {
        let packed = lzf::compress(&[b'k'; 100_000]).expect("this compresses");
        [&[0][..], &dump::lzf_string(packed, 100_000), &[0]].concat()
    });
    records("empty sets", |n| {
        [&[2][..], &dump::string(n.to_string()), &[0]].concat()
    });
    records("KeyDB's member expiries", |_| {
        [
            &[opcode::AUX][..],
            &dump::string("keydb-subexpire-key"),
            &[0, opcode::AUX],
            &dump::string("keydb-subexpire-when"),
            &[0],
        ]
        .concat()
    });
    records("keys with a damaged listpack", |n| {
        [
            &[20][..],
            &dump::string(n.to_string()),
            b"\x08\x08\0\0\0\x02\0\x01\xff",
        ]
        .concat()
    });

    // Values: one key with many elements.
    let mut value = |name, value_type: u8, body: fn(usize) -> Vec<u8>| {
        let make = move |size: usize| {
            Dump::redis(15)
                .key(value_type, "k", body(size))
                .string_key("next", "v")
                .finish(Crc::Right)
        };
        files.push((name, Box::new(make)));
    };
    value("list of empty strings", 1, |size| {
        counted(size, |_| vec![0])
    });
    value("list of integers", 1, |size| {
        counted(size, |_| vec![0xc0, 7])
    });
    value("set of different members", 2, |size| {
        counted(size, |n| dump::string(n.to_string()))
    });
    value("set of one member", 2, |size| {
        counted(size, |_| vec![1, b'm'])
    });
    value("set of one member in two forms", 2, |size| {
        counted(size, |n| {
            if n % 2 == 0 {
                vec![1, b'5']
            } else {
                vec![0xc0, 5]
            }
        })
    });
    value("set of pairs", 2, |size| {
        counted(size, |n| dump::string((n / 2).to_string()))
    });
    value("set of one compressed member", 2, |size| {
        let packed = lzf::compress(&[b'm'; 50_000]).expect("this compresses");
        let one = dump::lzf_string(packed, 50_000);
        counted(size, |_| one.clone())
    });
    value("zset of one member", 5, |size| {
        counted(size, |_| [&[1, b'm'][..], &1f64.to_le_bytes()].concat())
    });
    value("zset of long scores", 3, |size| {
        counted(size, |n| {
            let score = format!("{n}.{}", "1".repeat(200));
            [
                &dump::string(n.to_string())[..],
                &[score.len() as u8],
                score.as_bytes(),
            ]
            .concat()
        })
    });
    value("hash of one field", 4, |size| {
        counted(size, |_| vec![1, b'f', 0])
    });
    value("hash with TTLs of one field", 24, |size| {
        [&[0; 8][..], &counted(size, |_| vec![1, 1, b'f', 0])].concat()
    });
    value("quicklist of empty nodes", 14, |size| {
        let empty = dump::string(ziplist([]).bytes);
        counted(size, |_| empty.clone())
    });
    value("quicklist of damaged nodes", 14, |size| {
        counted(size, |_| vec![1, b'x'])
    });
    value("quicklist-2 of unknown containers", 18, |size| {
        counted(size, |_| vec![9, 0])
    });
    value("quicklist-2 of small nodes", 18, |size| {
        let node = dump::string(listpack([Item::from(1)]).bytes);
        counted(size, |_| [&[2][..], &node].concat())
    });
    value("array", 28, |size| {
        let items = counted_items(size, |n| [&dump::length(n)[..], &[0, 0]].concat());
        [&dump::length(items.1)[..], &[0], &items.0].concat()
    });
    value("module values", 7, |size| {
        let items = counted_items(size, |_| vec![2, 1]);
        [&dump::length(1 << 20)[..], &items.0, &[0]].concat()
    });
    value("listpack of one member", 20, |size| {
        dump::string(listpack((0..size / 2).map(|_| Item::from(5))).bytes)
    });
    value("listpack of different members", 20, |size| {
        dump::string(listpack((0..size / 4).map(|n| Item::from(n as i64))).bytes)
    });
    value("listpack of one field", 16, |size| {
        dump::string(listpack((0..size / 4 * 2).map(|_| Item::from(5))).bytes)
    });
    value("zset listpack in falling order", 17, |size| {
        let pairs = (0..size / 8).flat_map(|n| [Item::from(n as i64), Item::from(-(n as i64))]);
        dump::string(listpack(pairs).bytes)
    });
    value("ziplist of one field", 13, |size| {
        dump::string(ziplist((0..size / 4 * 2).map(|_| Item::from(5))).bytes)
    });
    value("intset in falling order", 11, |size| {
        let count = (size / 4) as u32;
        let mut body = [4u32.to_le_bytes(), count.to_le_bytes()].concat();
        for n in (0..count).rev() {
            body.extend_from_slice(&n.to_le_bytes());
        }
        dump::string(body)
    });
    value("zipmap of one field", 9, |size| {
        let mut body = vec![254];
        for _ in 0..size / 4 {
            body.extend_from_slice(&[1, b'f', 0, 0]);
        }
        body.push(0xff);
        dump::string(body)
    });
    value("string of one run, compressed", 0, |size| bomb(size / 3, 0));
    value("listpack of one run, compressed", 20, |size| {
        bomb(size / 3, 0x05)
    });
    value("ziplist of one run, compressed", 10, |size| {
        bomb(size / 3, 0x00)
    });
    value("intset of one run, compressed", 11, |size| {
        bomb(size / 3, 0x01)
    });
    value("set of one run, compressed, again and again", 2, |size| {
        let one = bomb(2000, b'x');
        counted(size, |_| one.clone())
    });

    // Streams.
    value("stream of nodes", 15, |size| {
        let node = dump::string(stream_node().bytes);
        let nodes = counted(size, |n| {
            [&[16][..], &n.to_be_bytes(), &[0; 8], &node].concat()
        });
        [&nodes[..], &[0, 0, 0, 0]].concat()
    });
    value("stream of nodes that do not rise", 15, |size| {
        let node = dump::string(stream_node().bytes);
        let nodes = counted(size, |_| [&[16][..], &[0; 16], &node].concat());
        [&nodes[..], &[0, 0, 0, 0]].concat()
    });
    value("stream with a thousand fields in its master", 15, |size| {
        let fields = 1000;
        let mut items = vec![Item::from(1), Item::from(0), Item::from(fields)];
        items.extend((0..fields).map(Item::from));
        items.push(Item::from(0));
        let mut left = size as i64 - 3000;
        while left > 0 {
            items.extend([Item::from(2), Item::from(0), Item::from(0)]);
            items.extend((0..fields).map(|_| Item::from(1)));
            items.push(Item::from(fields + 3));
            left -= 2 * fields;
        }
        let node = dump::string(listpack(items).bytes);
        [&[1, 16][..], &[0; 16], &node, &[0, 0, 0, 0]].concat()
    });
    value("stream with a long field name in its master", 15, |size| {
        let name = Item::from(vec![b'n'; size / 2]);
        let mut items = vec![
            Item::from(1),
            Item::from(0),
            Item::from(1),
            name,
            Item::from(0),
        ];
        for _ in 0..size / 20 {
            items.extend([2, 0, 0, 1, 4].map(Item::from));
        }
        let node = dump::string(listpack(items).bytes);
        [&[1, 16][..], &[0; 16], &node, &[0, 0, 0, 0]].concat()
    });
    value("stream of empty groups", 15, |size| {
        let groups = counted(size, |n| {
            [&dump::string(n.to_string())[..], &[0, 0, 0, 0]].concat()
        });
        [&[0, 0, 0, 0][..], &groups].concat()
    });
    value("stream of groups of one name", 15, |size| {
        let groups = counted(size, |_| vec![1, b'g', 0, 0, 0, 0]);
        [&[0, 0, 0, 0][..], &groups].concat()
    });
    value("stream of consumers of one name", 15, |size| {
        let consumers = counted(size, |_| [&[1, b'c'][..], &[0; 8], &[0]].concat());
        [&[0, 0, 0, 0, 1, 1, b'g', 0, 0, 0][..], &consumers].concat()
    });
    value("stream of pending entries in order, owned", 15, |size| {
        pending(size, |n, _| n)
    });
    value(
        "stream of pending entries in falling order, owned",
        15,
        |size| pending(size, |n, count| count - n),
    );
    value("stream of one pending entry, again and again", 15, |size| {
        pending(size, |_, _| 7)
    });
    value("stream of producers", 26, |size| {
        let producers = counted(size, |n| [&dump::string(n.to_string())[..], &[0]].concat());
        [&[0; 9][..], &[100, 100], &producers, &[0, 0]].concat()
    });

    let mut valkey = |name, value_type: u8, body: fn(usize) -> Vec<u8>| {
        let make = move |size: usize| {
            Dump::valkey(81)
                .key(value_type, "k", body(size))
                .finish(Crc::Right)
        };
        files.push((name, Box::new(make)));
    };
    valkey("path hash of one path", 23, |size| {
        counted(size, |_| vec![1, b'p', 1, 1, b'f', 0])
    });
    valkey("path hash of one field", 23, |size| {
        let fields = counted(size, |_| vec![1, b'f', 0]);
        [&[1, 1, b'p'][..], &fields].concat()
    });
    valkey("hash with TTLs of one field (Valkey)", 22, |size| {
        counted(size, |_| [&[1, b'f', 0][..], &[0xff; 8]].concat())
    });
    files
}

/// Items of about `size` bytes together, and their number.
fn counted_items(size: usize, item: impl Fn(u64) -> Vec<u8>) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let mut count = 0;
    while bytes.len() < size {
        bytes.extend(item(count));
        count += 1;
    }
    (bytes, count)
}

/// The same behind their number.
fn counted(size: usize, item: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let (bytes, count) = counted_items(size, item);
    [dump::length(count), bytes].concat()
}

/// A string of one byte, compressed as far as it goes: 264 bytes for each step of three.
fn bomb(steps: usize, byte: u8) -> Vec<u8> {
    let mut packed = vec![0x00, byte];
    for _ in 0..steps {
        packed.extend_from_slice(&[0xe0, 0xff, 0x00]);
    }
    dump::lzf_string(packed, 1 + 264 * steps as u64)
}

/// A stream whose group has pending entries with these IDs, all owned by one consumer.
fn pending(size: usize, id: fn(u64, u64) -> u64) -> Vec<u8> {
    let count = (size / 41) as u64;
    let ids: Vec<[u8; 16]> = (0..count)
        .map(|n| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&id(n, count).to_be_bytes());
            bytes
        })
        .collect();
    let mut body = vec![0, 0, 0, 0, 1, 1, b'g', 0, 0];
    body.extend(dump::length(count));
    for id in &ids {
        body.extend_from_slice(id);
        body.extend_from_slice(&[0; 9]);
    }
    body.extend_from_slice(&[1, 1, b'c', 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(dump::length(count));
    body.extend(ids.concat());
    body
}

/// The fingerprint module by itself, with every fingerprint the same: what a file of equal names makes of it.
#[test]
fn equal_fingerprints_take_time_in_step() {
    let time = |count: u64| {
        let key = FingerprintKey::random();
        let mut set = Fingerprints::new(&env::temp_dir(), &key);
        let started = process_time();
        for order in 0..count {
            let mut pieces = key.pieces(0);
            pieces.push(b"same");
            set.add_fingerprint(pieces.finish(), order).expect("added");
        }
        let mut pairs = 0u64;
        set.finish()
            .expect("sorted")
            .duplicates(
                |_, _| Ok(true),
                |_, _| {
                    pairs += 1;
                    Ok(())
                },
            )
            .expect("told");
        assert_eq!(pairs, count - 1, "each repetition is told once");
        process_time().saturating_sub(started)
    };
    let _ = time(1000);
    let (small, large) = (time(100_000), time(200_000));
    assert!(
        large < NOISE * 2 || large.as_secs_f64() < 2.0 * MOST_GROWTH * small.as_secs_f64(),
        "{small:?}, then {large:?}"
    );
}
