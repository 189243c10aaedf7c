//! Dumps that are large in one respect each, written byte by byte: no server has to hold them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use rdbridge::wire::crc64;

use super::super::support::dump::{self, opcode};
use super::super::support::random::Random;

/// A dump on its way into a file. The checksum is the library's own: what stands in these files is nothing to test it by.
pub(super) struct Writer {
    out: BufWriter<File>,
    pending: Vec<u8>,
    crc: u64,
    path: PathBuf,
}

impl Writer {
    /// `REDIS0010`, which most servers read.
    pub(super) fn create(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 20, File::create(&path).expect("a file")),
            pending: Vec::new(),
            crc: 0,
            path,
        };
        writer.put(b"REDIS0010");
        writer.put([opcode::SELECTDB, 0]);
        writer
    }

    pub(super) fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.pending.extend_from_slice(bytes.as_ref());
        if self.pending.len() >= 1 << 18 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.crc = crc64::update(self.crc, &self.pending);
        self.out.write_all(&self.pending).expect("room on the disk");
        self.pending.clear();
    }

    /// The head of a key.
    pub(super) fn key(&mut self, value_type: u8, name: &str) {
        self.put([value_type]);
        self.put(dump::string(name));
    }

    /// A short string with its length in front; quick in a test build.
    pub(super) fn short(&mut self, prefix: &[u8], number: u64) {
        let digits = digits(number);
        self.put([(prefix.len() + digits.len()) as u8]);
        self.put(prefix);
        self.put(digits);
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> PathBuf {
        self.pending.push(opcode::EOF);
        self.flush();
        let crc = self.crc;
        self.out
            .write_all(&crc.to_le_bytes())
            .and_then(|()| self.out.flush())
            .expect("room on the disk");
        self.path
    }
}

/// Nine decimal digits.
fn digits(mut number: u64) -> [u8; 9] {
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Strings of about 60 bytes, every third one with an expiry far away, until the file has `size` bytes.
pub(super) fn small_keys(dir: &Path, name: &str, size: u64) -> PathBuf {
    let mut to = Writer::create(dir, name);
    let (mut number, mut bytes) = (0u64, 0);
    while bytes < size {
        if number.is_multiple_of(3) {
            to.put([opcode::EXPIRETIME_MS]);
            to.put((4_000_000_000_000u64 + number).to_le_bytes());
            bytes += 9;
        }
        to.put([0]);
        to.short(b"session:", number);
        to.short(b"the value of a small key, ", number);
        bytes += 1 + 18 + 36;
        number += 1;
    }
    to.finish()
}

/// One string of `size` bytes, which are no text. They repeat, at a distance of 1 MiB: nobody compresses them here.
pub(crate) fn random_string(dir: &Path, name: &str, size: usize) -> PathBuf {
    let mut to = Writer::create(dir, name);
    let mut random = Random::new(1, "memory", 0);
    let block: Vec<u8> = (0..1 << 17)
        .flat_map(|_| random.number().to_le_bytes())
        .collect();
    to.key(0, "big");
    to.put(dump::length(size as u64));
    let mut left = size;
    while left > 0 {
        let piece = left.min(block.len());
        to.put(&block[..piece]);
        left -= piece;
    }
    to.key(0, "behind");
    to.put([1, b'v']);
    to.finish()
}

/// One string that is about `claimed` bytes long and much shorter in the file. A word repeats in it at changing distances,
/// so that decompressing it is no mere filling.
pub(crate) fn compressed_string(dir: &Path, claimed: u64) -> PathBuf {
    const PERIOD: u64 = 8 + 7 * 264;
    let mut packed = Vec::new();
    let mut claims = 0;
    let mut random = Random::new(2, "memory", 0);
    while claims < claimed {
        // Eight literal bytes, then seven copies of 264 bytes from 1 to 7 bytes back.
        packed.push(7);
        packed.extend_from_slice(&random.number().to_le_bytes().map(|b| b'a' + b % 26));
        for back in 0..7u8 {
            packed.extend_from_slice(&[0xe0, 0xff, back]);
        }
        claims += PERIOD;
    }
    let mut to = Writer::create(dir, "compressed-string.rdb");
    to.key(0, "big");
    to.put([0xc3]);
    to.put(dump::length(packed.len() as u64));
    to.put(dump::length(claims));
    for piece in packed.chunks(1 << 18) {
        to.put(piece);
    }
    to.finish()
}

/// A list with so many elements, as servers before 3.2 wrote them.
pub(super) fn list(dir: &Path, elements: u64) -> PathBuf {
    let mut to = Writer::create(dir, "list.rdb");
    to.key(1, "big");
    to.put(dump::length(elements));
    for number in 0..elements {
        if number % 2 == 0 {
            to.short(b"", number);
        } else {
            to.put([0xc2]);
            to.put((number as u32).to_le_bytes());
        }
    }
    to.finish()
}

/// Two databases in turn, `changes` times, with a key each time.
pub(super) fn database_changes(dir: &Path, changes: u64) -> PathBuf {
    let mut to = Writer::create(dir, "database-changes.rdb");
    for number in 0..changes {
        to.put([opcode::SELECTDB, (number % 2) as u8, 0]);
        to.short(b"", number);
        to.put([0]);
    }
    to.finish()
}

/// So many keys, each of which stands twice.
pub(super) fn repeated_keys(dir: &Path, keys: u64) -> PathBuf {
    let mut to = Writer::create(dir, &format!("{keys}-repeated-keys.rdb"));
    for number in 0..2 * keys {
        to.put([0]);
        to.short(b"", number % keys);
        to.put([0]);
    }
    to.finish()
}

/// A set with one member `members` times, which are two bytes each.
pub(super) fn equal_members(dir: &Path, members: u64) -> PathBuf {
    let mut to = Writer::create(dir, "equal-members.rdb");
    to.key(2, "set");
    to.put(dump::length(members));
    for _ in 0..members {
        to.put([1, b'm']);
    }
    to.finish()
}

/// A set, a hash and a sorted set that repeat one member `members` times each, and a packed set that does so five times as
/// often and is compressed to very little.
pub(super) fn more_equal_members(dir: &Path, members: u64) -> PathBuf {
    let mut to = Writer::create(dir, "more-equal-members.rdb");
    for (value_type, name, item) in [
        (2, "set", &[2, b'm', b'm'][..]),
        (4, "hash", &[1, b'f', 1, b'v']),
        (5, "zset", &[1, b'm', 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        to.key(value_type, name);
        to.put(dump::length(members));
        for _ in 0..members {
            to.put(item);
        }
    }
    // Entries of four bytes: the first one, then copies from four bytes back, 264 bytes at a time.
    let copies = members * 5 * 4 / 264;
    let total = 6 + 4 + copies * 264 + 1;
    let mut packed = vec![9];
    packed.extend_from_slice(&(total as u32).to_le_bytes());
    packed.extend_from_slice(&[0xff, 0xff, 0x82, b'm', b'm', 3]);
    for _ in 0..copies {
        packed.extend_from_slice(&[0xe0, 0xff, 3]);
    }
    packed.extend_from_slice(&[0, 0xff]);
    to.key(20, "packed");
    to.put([0xc3]);
    to.put(dump::length(packed.len() as u64));
    to.put(dump::length(total));
    to.put(&packed);
    to.finish()
}

/// A set, a hash and a sorted set with `members` each, and a stream with as many pending entries.
pub(super) fn collections(dir: &Path, members: u64) -> PathBuf {
    let mut to = Writer::create(dir, "collections.rdb");
    to.key(2, "set");
    to.put(dump::length(members));
    for number in 0..members {
        to.short(b"member:", number);
    }
    to.key(4, "hash");
    to.put(dump::length(members));
    for number in 0..members {
        to.short(b"field:", number);
        to.put([2, b'v', b'v']);
    }
    to.key(5, "zset");
    to.put(dump::length(members));
    for number in 0..members {
        to.short(b"member:", number);
        to.put((number as f64).to_le_bytes());
    }
    stream(&mut to, members);
    to.finish()
}

/// A stream without entries whose group has `pending` of them, all with one consumer.
fn stream(to: &mut Writer, pending: u64) {
    let id = |number: u64| [number.to_be_bytes(), [0; 8]].concat();
    to.key(15, "stream");
    // No nodes, no entries; the last ID.
    to.put([0, 0]);
    to.put(dump::length(pending + 1));
    to.put([0]);
    // One group and the ID that it last delivered.
    to.put([1, 1, b'g']);
    to.put(dump::length(pending + 1));
    to.put([0]);
    to.put(dump::length(pending));
    for number in 1..=pending {
        to.put(id(number));
        to.put(1_700_000_000_000u64.to_le_bytes());
        to.put([1]);
    }
    to.put([1, 1, b'c']);
    to.put(1_700_000_000_000u64.to_le_bytes());
    to.put(dump::length(pending));
    for number in 1..=pending {
        to.put(id(number));
    }
}

/// A list of two names of so many bytes: a line of a ledger, and an escaped one.
pub(super) fn long_names(dir: &Path, bytes: usize) -> PathBuf {
    let path = dir.join("long-names.ndjson");
    let name = "n".repeat(bytes);
    let list =
        format!("{{\"db\":0,\"key\":\"{name}\",\"key_there\":\"{name}\"}}\n\"{name}\\x00\"\n");
    std::fs::write(&path, list).expect("written");
    path
}

/// A list of more names than are kept in memory.
pub(super) fn many_names(dir: &Path) -> PathBuf {
    let path = dir.join("many-names");
    let list: String = (0..1_200_000).map(|i| format!("{i:x}\n")).collect();
    std::fs::write(&path, list).expect("written");
    path
}
