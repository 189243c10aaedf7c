//! The command of nearly every key, written at one go: a value whose bytes go as they are, small, and with nothing but an
//! expiry and bookkeeping of accesses.
//!
//! By way of [`decide`](super::decide) and [`Restore`](super::Restore) a key costs several moves of some hundred bytes. Here it
//! costs two copies, of its name and of its value, and the checksum; everything else is written in pieces whose size the
//! compiler knows.

use super::{Access, Policies, Terms, TypeTerms, access_of, arrival, payload_type};
use crate::payload::FOOTER;
use crate::snapshot::{Entry, ValueType};
use crate::value::commands::{Loss, Losses};
use crate::wire::crc64;

/// The most bytes of name and value.
const MOST: usize = 16 * 1024;

/// The most bytes of a command besides name, body and [`ACCESS`]: `*8`, `RESTORE`, a line in front of the name, the expiry and
/// the payload (5 + 20 digits at most), the payload's type and footer, `REPLACE` and `ABSTTL`.
const AROUND: usize = 120;

/// The most bytes of `IDLETIME` or `FREQ` with its number.
const ACCESS: usize = 64;

/// The whole `RESTORE` command of a key: the same bytes as by way of [`decide`](super::decide) and
/// [`Restore::with_args`](super::Restore::with_args).
#[derive(Debug, Clone, Copy)]
pub struct Usual<'a> {
    /// Absolute expiry, milliseconds of Unix time; past ones are never sent.
    pub expire_at_ms: Option<i64>,
    /// Bookkeeping that does not arrive.
    pub losses: Losses,
    key: &'a [u8],
    body: &'a [u8],
    value_type: ValueType,
    version: u16,
    replaces: bool,
    access: Access,
}

impl<'a> Usual<'a> {
    /// The command of `entry` under the name `key`. `None` where this is for somebody to decide: what is not sent, or is rare
    /// in any way.
    #[must_use]
    #[inline]
    pub fn of(
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        key: &'a [u8],
    ) -> Option<Self> {
        let Some(TypeTerms::Take(version)) = terms.get(entry.value_type, entry.dialect) else {
            return None;
        };
        let is_rare = entry.key_meta.is_some()
            || entry.df_flags.is_some()
            || !entry.sub_expires.is_empty()
            || entry.value_type == ValueType::MODULE_2
            || payload_type(entry.value_type, entry.dialect) != entry.value_type
            || policies.rewrites(entry.form());
        let body = entry.value;
        let payload = body.len().saturating_add(1 + FOOTER);
        if is_rare
            || key.len().saturating_add(body.len()) >= MOST
            || payload as u64 > terms.at_ease()
        {
            return None;
        }
        let expire_at_ms = match arrival(entry, policies) {
            // The time that is left is known when it is sent.
            Ok(Some(_)) if !terms.knows_absttl => return None,
            Ok(expire_at_ms) => expire_at_ms,
            Err(_) => return None,
        };
        let (access, is_lost) = access_of(entry, terms);
        let mut losses = Losses::default();
        if is_lost {
            losses.add(Loss::AccessTimes);
        }
        Some(Self {
            expire_at_ms,
            losses,
            key,
            body,
            value_type: entry.value_type,
            version: *version,
            replaces: policies.replace && terms.knows_replace,
            access,
        })
    }

    /// Bytes that [`Usual::pack`] appends at most.
    #[must_use]
    #[inline]
    pub fn most(&self) -> usize {
        let access = match self.access {
            Access::None => 0,
            _ => ACCESS,
        };
        let own = self.key.len().saturating_add(self.body.len());
        own.saturating_add(AROUND).saturating_add(access)
    }

    /// Appends it.
    #[inline]
    pub fn pack(&self, out: &mut Vec<u8>) {
        // To have all bytes there, and to take away what was too much, costs less than to ask for room at each piece.
        let begin = out.len();
        let mut size = self.most();
        loop {
            out.resize(begin.saturating_add(size), 0);
            let mut room = Room {
                bytes: out.get_mut(begin..).unwrap_or_default(),
                at: 0,
            };
            self.write(&mut room);
            let used = room.at;
            if used <= size {
                out.truncate(begin.saturating_add(used));
                return;
            }
            size = used;
        }
    }

    #[inline]
    fn write(&self, room: &mut Room<'_>) {
        let access = match self.access {
            Access::None => 0,
            _ => 2,
        };
        let words = 4 + access + u8::from(self.replaces) + u8::from(self.expire_at_ms.is_some());
        let mut head = *b"*4\r\n$7\r\nRESTORE\r\n";
        let [_, count, ..] = &mut head;
        *count = b'0' + words;
        room.put(&head);
        room.header(self.key.len());
        room.copy(self.key);
        match self.expire_at_ms {
            None => room.put(b"\r\n$1\r\n0\r\n"),
            Some(at) => {
                room.put(b"\r\n");
                room.time(at);
            }
        }
        room.header(self.body.len().saturating_add(1 + FOOTER));
        room.put(&[self.value_type.0]);
        room.copy(self.body);
        room.put(&self.version.to_le_bytes());
        let sum = crc64::update(crc64::update_byte(0, self.value_type.0), self.body);
        let [low, high] = self.version.to_le_bytes();
        let sum = crc64::update_byte(crc64::update_byte(sum, low), high);
        room.put(&sum.to_le_bytes());
        match (self.replaces, self.expire_at_ms.is_some()) {
            (false, false) => room.put(b"\r\n"),
            (false, true) => room.put(b"\r\n$6\r\nABSTTL\r\n"),
            (true, false) => room.put(b"\r\n$7\r\nREPLACE\r\n"),
            (true, true) => room.put(b"\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"),
        }
        match self.access {
            Access::None => {}
            Access::Idle(seconds) => {
                room.put(b"$8\r\nIDLETIME\r\n");
                room.number(seconds);
            }
            Access::Freq(freq) => {
                room.put(b"$4\r\nFREQ\r\n");
                room.number(freq);
            }
        }
    }
}

/// Bytes that are all there, and how many of them are used. Where they do not suffice, only `at` goes on.
struct Room<'r> {
    bytes: &'r mut [u8],
    at: usize,
}

impl Room<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, piece: &[u8; N]) {
        self.put_some(piece, N);
    }

    /// The first `length` bytes of `piece`; what is written behind them will be overwritten.
    #[inline]
    fn put_some<const N: usize>(&mut self, piece: &[u8; N], length: usize) {
        let place = self.bytes.get_mut(self.at..);
        let used = match place.and_then(<[u8]>::first_chunk_mut) {
            Some(place) => {
                *place = *piece;
                length
            }
            // All of it would have been needed.
            None => N,
        };
        self.at = self.at.saturating_add(used);
    }

    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }

    /// The line in front of an argument: most lengths have two or three digits.
    #[inline]
    fn header(&mut self, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        let digit = |number: usize| b'0' + (number % 10) as u8;
        // Put together in a register: bytes written one by one and read as a word are what a processor waits for.
        let (line, used) = match length {
            10..=99 => {
                let (tens, ones) = (digit(length / 10), digit(length));
                ([b'$', tens, ones, b'\r', b'\n', 0, 0, 0], 5)
            }
            100..=999 => {
                let (hundreds, tens) = (digit(length / 100), digit(length / 10));
                let ones = digit(length);
                ([b'$', hundreds, tens, ones, b'\r', b'\n', 0, 0], 6)
            }
            _ => return self.long_header(length),
        };
        self.put_some(&line, used);
    }

    fn long_header(&mut self, length: usize) {
        let mut digits = itoa::Buffer::new();
        self.put(b"$");
        self.copy(digits.format(length).as_bytes());
        self.put(b"\r\n");
    }

    /// A number as an argument of its own.
    fn number(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        self.header(digits.len());
        self.copy(digits);
        self.put(b"\r\n");
    }

    /// Milliseconds of Unix time as an argument of their own: 13 digits until the year 2286.
    #[inline]
    fn time(&mut self, ms: i64) {
        const LOW: u64 = 100_000_000;
        match u64::try_from(ms) {
            Ok(ms @ 1_000_000_000_000..10_000_000_000_000) => {
                self.put(b"$13\r\n");
                // The five digits behind three zeros.
                self.put_some(&(eight_digits(ms / LOW) >> 24).to_le_bytes(), 5);
                self.put(&eight_digits(ms % LOW).to_le_bytes());
                self.put(b"\r\n");
            }
            _ => self.number(ms),
        }
    }
}

/// The digits of a number below 10^8, the first one in the lowest byte: halves, quarters and eighths are split side by side.
#[inline]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "every lane holds less than its bits can, whatever the number is below 10^8"
)]
fn eight_digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // 5243 / 2^19 is a hundredth, exact enough below 10,000; 103 / 2^10 is a tenth, below 100.
    let hundreds = ((halves * 5243) >> 19) & 0x7f_0000_007f;
    let quarters = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | ((quarters - tens * 10) << 8);
    digits | 0x3030_3030_3030_3030
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, ExpiredPolicy, decide};
    use super::*;
    use crate::resp::pack;
    use crate::snapshot::{Dialect, Snapshot};
    use crate::wire::Str;

    /// Whether it is packed; then the bytes are those of the other way, and so is what is said of them.
    fn is_usual(entry: &Entry<'_>, terms: &Terms, policies: &Policies, key: &[u8]) -> bool {
        let Some(usual) = Usual::of(entry, terms, policies, key) else {
            return false;
        };
        let mut out = b"before".to_vec();
        usual.pack(&mut out);
        assert!(out.len() - b"before".len() <= usual.most());
        let Decision::Send(restore) = decide(entry, terms, policies) else {
            panic!("{entry:?} is not sent")
        };
        assert_eq!(restore.losses, usual.losses);
        assert_eq!(restore.expire_at_ms, usual.expire_at_ms);
        assert!(restore.heavy.is_none());
        let mut expected = b"before".to_vec();
        restore
            .with_args("RESTORE", key, policies.now_ms, |args| {
                pack::command(&mut expected, args)
            })
            .unwrap();
        assert_eq!(out, expected, "{entry:?}");
        true
    }

    fn all_taken() -> Terms {
        let mut terms = Terms::refusing("not in this test");
        for number in 0..=u8::MAX {
            for dialect in [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly] {
                let version = 6 + u16::from(number % 7);
                terms.set(ValueType(number), dialect, TypeTerms::Take(version));
            }
        }
        terms
    }

    fn variants() -> Vec<(Terms, Policies)> {
        let mut all = Vec::new();
        for (knows_replace, knows_absttl, replace) in [
            (true, true, false),
            (true, true, true),
            (false, true, true),
            (true, false, false),
        ] {
            for (expired, now_ms) in [
                (ExpiredPolicy::Drop, 1_700_000_000_000),
                (ExpiredPolicy::Persist, i64::MAX),
                (ExpiredPolicy::Ttl(5000), 1_700_000_000_000),
            ] {
                for lfu in [false, true] {
                    let terms = Terms {
                        knows_replace,
                        knows_absttl,
                        lfu,
                        ..all_taken()
                    };
                    let policies = Policies {
                        replace,
                        expired,
                        now_ms,
                        ..Policies::default()
                    };
                    all.push((terms, policies));
                }
            }
        }
        all
    }

    #[test]
    fn values_of_real_dumps_are_packed_as_by_the_other_way() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let variants: Vec<_> = variants().into_iter().step_by(5).collect();
        let (mut usual, mut all) = (0, 0);
        for version in ["redis-5.0", "redis-7.0", "redis-8.10", "valkey-9.1"] {
            for file in std::fs::read_dir(dir.join(version)).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_none_or(|extension| extension != "rdb") {
                    continue;
                }
                let bytes = std::fs::read(path).unwrap();
                let entries = Snapshot::parse(&bytes).unwrap().entries();
                for entry in entries.map_while(Result::ok) {
                    for (terms, policies) in &variants {
                        all += 1;
                        usual += usize::from(is_usual(&entry, terms, policies, b"key"));
                    }
                }
            }
        }
        assert!(usual * 2 > all && usual < all, "{usual} of {all}");
    }

    #[test]
    fn lengths_expiries_and_names_of_all_sizes() {
        let mut seen = 0;
        for length in [0usize, 1, 9, 62, 88, 89, 300, 986, 987, 988, 9000, 17_000] {
            let mut value = Vec::new();
            Str::write_raw(&mut value, &vec![b'v'; length]);
            for attributes in [
                &b""[..],
                b"\xfc\x00\x00\x00\xb0\x8d\x01\0\0",
                b"\xfc\xff\xff\xff\xff\xff\xff\xff\x7f",
                b"\xfc\x88\x13\0\0\0\0\0\0",
                b"\xf8\x05",
                b"\xf8\x81\xff\xff\xff\xff\xff\xff\xff\xff",
                b"\xf9\x07",
                b"\xf8\x05\xf9\x07\xfc\x88\x13\0\0\0\0\0\0",
            ] {
                let file = [b"REDIS0009", attributes, b"\0\x01k", &value].concat();
                let entry = Snapshot::parse(&file).unwrap().entries().next().unwrap();
                let entry = entry.unwrap();
                for (terms, policies) in variants() {
                    for key in [&b""[..], b"k", b"a key of ten", &[b'k'; 1200]] {
                        seen += u32::from(is_usual(&entry, &terms, &policies, key));
                    }
                }
            }
        }
        assert!(seen > 4000, "{seen}");
        let file = b"REDIS0009\0\x01k\x05value";
        let entry = Snapshot::parse(file).unwrap().entries().next().unwrap();
        let narrow = Terms {
            max_arg: 10,
            ..all_taken()
        };
        let policies = Policies::default();
        assert!(!is_usual(&entry.unwrap(), &narrow, &policies, b"k"));
    }

    #[test]
    fn eight_digits_are_those_of_the_number() {
        for quarter in 0..10_000u64 {
            for number in [quarter, quarter * 10_000, quarter * 10_001, quarter * 9_973] {
                let digits = eight_digits(number).to_le_bytes();
                assert_eq!(digits, *format!("{number:08}").as_bytes());
            }
        }
    }

    #[test]
    fn times_of_all_lengths() {
        for at in [
            1,
            999_999_999_999,
            1_000_000_000_000,
            1_700_000_000_123,
            9_999_999_999_999,
            10_000_000_000_000,
            i64::MAX,
        ] {
            let mut bytes = [0; 64];
            let mut room = Room {
                bytes: &mut bytes,
                at: 0,
            };
            room.time(at);
            let digits = at.to_string();
            let expected = format!("${}\r\n{digits}\r\n", digits.len());
            let used = room.at;
            assert_eq!(&bytes[..used], expected.as_bytes());
        }
    }

    #[test]
    fn room_that_does_not_suffice_says_so() {
        let file = b"REDIS0009\xfc\x88\x13\0\0\0\0\0\0\0\x01k\x05value";
        let entry = Snapshot::parse(file).unwrap().entries().next().unwrap();
        let entry = entry.unwrap();
        let usual = Usual::of(&entry, &all_taken(), &Policies::default(), b"k").unwrap();
        let mut out = Vec::new();
        usual.pack(&mut out);
        for size in 0..out.len() {
            let mut bytes = vec![0; size];
            let mut room = Room {
                bytes: &mut bytes,
                at: 0,
            };
            usual.write(&mut room);
            assert!(room.at > size);
        }
    }
}
