//! The command of nearly every key, written at one go: a value whose bytes go as they are, small, and with nothing that most
//! keys have not.
//!
//! By way of [`decide`](super::decide) and [`Restore`](super::Restore) a key costs several moves of some hundred bytes, and its
//! value is read twice: for the checksum, and to be copied. Here it is copied first, and the checksum is made of the copy.

use super::{Policies, Terms, TypeTerms, arrival, payload_type};
use crate::payload::FOOTER;
use crate::resp::pack;
use crate::snapshot::{Entry, ValueType};
use crate::wire::crc64;

/// The most bytes of name and value.
const MOST: usize = 16 * 1024;

/// Appends the whole `RESTORE` command of `entry` under the name `key`: the same bytes as by way of
/// [`decide`](super::decide) and [`Restore::with_args`](super::Restore::with_args), with nothing to be said of them. `false`,
/// with nothing written, where this is for somebody to decide: what is not sent, or is rare in any way.
#[must_use]
#[inline]
pub fn pack_usual(
    entry: &Entry<'_>,
    terms: &Terms,
    policies: &Policies,
    key: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Some(TypeTerms::Take(version)) = terms.get(entry.value_type, entry.dialect) else {
        return false;
    };
    let body = entry.value;
    let is_rare = entry.idle_seconds.is_some()
        || entry.lfu_freq.is_some()
        || entry.key_meta.is_some()
        || entry.df_flags.is_some()
        || !entry.sub_expires.is_empty()
        || entry.value_type == ValueType::MODULE_2
        || payload_type(entry.value_type, entry.dialect) != entry.value_type
        || policies.rewrites(entry.form());
    let payload = body.len().saturating_add(1 + FOOTER);
    if is_rare || key.len().saturating_add(body.len()) >= MOST || payload as u64 > terms.at_ease() {
        return false;
    }
    let expire_at_ms = match arrival(entry, policies) {
        // The time that is left is known when it is sent.
        Ok(Some(_)) if !terms.knows_absttl => return false,
        Ok(expire_at_ms) => expire_at_ms,
        Err(_) => return false,
    };
    let replaces = policies.replace && terms.knows_replace;
    let words = 4 + u8::from(replaces) + u8::from(expire_at_ms.is_some());
    let mut head = *b"*4\r\n$7\r\nRESTORE\r\n";
    let [_, count, ..] = &mut head;
    *count = b'0' + words;
    out.extend_from_slice(&head);
    argument_header(out, key.len());
    out.extend_from_slice(key);
    match expire_at_ms {
        None => out.extend_from_slice(b"\r\n$1\r\n0\r\n"),
        Some(at) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(at).as_bytes();
            out.extend_from_slice(b"\r\n");
            argument_header(out, digits.len());
            out.extend_from_slice(digits);
            out.extend_from_slice(b"\r\n");
        }
    }
    argument_header(out, payload);
    let begin = out.len();
    out.push(entry.value_type.0);
    out.extend_from_slice(body);
    out.extend_from_slice(&version.to_le_bytes());
    let sum = crc64::checksum(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
    match (replaces, expire_at_ms.is_some()) {
        (false, false) => out.extend_from_slice(b"\r\n"),
        (false, true) => out.extend_from_slice(b"\r\n$6\r\nABSTTL\r\n"),
        (true, false) => out.extend_from_slice(b"\r\n$7\r\nREPLACE\r\n"),
        (true, true) => out.extend_from_slice(b"\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"),
    }
    true
}

/// The line in front of an argument. It stands here once more, so that it becomes a part of the one caller: most lengths have
/// two or three digits, and each is written in one piece of a size that is known beforehand.
#[inline]
fn argument_header(out: &mut Vec<u8>, length: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "one digit")]
    let digit = |number: usize| b'0' + (number % 10) as u8;
    match length {
        10..=99 => {
            out.extend_from_slice(&[b'$', digit(length / 10), digit(length), b'\r', b'\n']);
        }
        100..=999 => out.extend_from_slice(&[
            b'$',
            digit(length / 100),
            digit(length / 10),
            digit(length),
            b'\r',
            b'\n',
        ]),
        _ => pack::argument_header(out, length),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, ExpiredPolicy, decide};
    use super::*;
    use crate::snapshot::{Dialect, Snapshot};
    use crate::wire::Str;

    /// Whether it is packed; then the bytes are those of the other way, which has nothing to say.
    fn is_usual(entry: &Entry<'_>, terms: &Terms, policies: &Policies, key: &[u8]) -> bool {
        let mut out = b"before".to_vec();
        if !pack_usual(entry, terms, policies, key, &mut out) {
            assert_eq!(out, b"before");
            return false;
        }
        let Decision::Send(restore) = decide(entry, terms, policies) else {
            panic!("{entry:?} is not sent")
        };
        assert!(restore.losses.is_empty() && restore.heavy.is_none());
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
                b"\xf9\x07",
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
        assert!(seen > 2000, "{seen}");
        let file = b"REDIS0009\0\x01k\x05value";
        let entry = Snapshot::parse(file).unwrap().entries().next().unwrap();
        let narrow = Terms {
            max_arg: 10,
            ..all_taken()
        };
        let policies = Policies::default();
        assert!(!is_usual(&entry.unwrap(), &narrow, &policies, b"k"));
    }
}
