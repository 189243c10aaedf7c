//! Cached Lua scripts: by which name `EVALSHA` calls each, and how it begins.

use serde::Serialize;

use super::{Count, bare};
use crate::wire::Str;

/// At most so many scripts are listed; the rest is counted.
const MOST_LISTED: usize = 100;

/// Bytes of a script's first line that are shown.
const LINE_SHOWN: usize = 80;

/// A script of the server's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Script {
    /// SHA-1 of its source, 40 hexadecimal digits; `None` where its compressed bytes lie.
    pub sha1: Option<String>,
    /// Bytes of its source.
    pub bytes: u64,
    /// At most 80 bytes of its first line that is not empty, escaped.
    pub first_line: String,
}

/// The scripts of a file.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    pub(super) count: Count,
    pub(super) listed: Vec<Script>,
}

impl Scripts {
    pub(super) fn add(&mut self, source: &Str<'_>) {
        self.count.keys = self.count.keys.saturating_add(1);
        self.count.bytes = self.count.bytes.saturating_add(source.len());
        if self.listed.len() < MOST_LISTED {
            let head = source.preview(4096);
            let mut lines = head.split(|b| matches!(b, b'\r' | b'\n'));
            let line = lines.find(|line| !line.trim_ascii().is_empty());
            let line = line.unwrap_or_default().trim_ascii();
            self.listed.push(Script {
                sha1: sha1_of(source),
                bytes: source.len(),
                first_line: bare(line.get(..LINE_SHOWN).unwrap_or(line)),
            });
        }
    }
}

fn sha1_of(source: &Str<'_>) -> Option<String> {
    let mut sha1 = Sha1::default();
    let mut pieces = source.pieces();
    while let Some(piece) = pieces.next_piece().ok()? {
        sha1.push(piece);
    }
    Some(sha1.finish().iter().map(|b| format!("{b:02x}")).collect())
}

/// SHA-1 (RFC 3174): here a name, no protection.
#[derive(Debug, Clone)]
struct Sha1 {
    state: [u32; 5],
    block: [u8; 64],
    /// Bytes so far.
    length: u64,
}

impl Default for Sha1 {
    fn default() -> Self {
        Self {
            state: [
                0x6745_2301,
                0xefcd_ab89,
                0x98ba_dcfe,
                0x1032_5476,
                0xc3d2_e1f0,
            ],
            block: [0; 64],
            length: 0,
        }
    }
}

impl Sha1 {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let filled = (self.length % 64) as usize;
            let room = &mut self.block[filled..];
            let taken = rest.len().min(room.len());
            let (now, later) = rest.split_at(taken);
            room[..taken].copy_from_slice(now);
            self.length = self.length.wrapping_add(taken as u64);
            if filled + taken < 64 {
                return;
            }
            self.digest();
            rest = later;
        }
    }

    fn finish(mut self) -> [u8; 20] {
        let bits = self.length.wrapping_mul(8);
        let padding = 64 - (self.length.wrapping_add(8) % 64) as usize;
        let mut end = [0; 72];
        end[0] = 0x80;
        end[padding..padding + 8].copy_from_slice(&bits.to_be_bytes());
        self.push(&end[..padding + 8]);
        let mut digest = [0; 20];
        for (to, word) in digest.chunks_exact_mut(4).zip(self.state) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    fn digest(&mut self) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(self.block.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        for n in 16..80 {
            words[n] = (words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for (n, word) in words.into_iter().enumerate() {
            let (mixed, constant) = match n {
                0..20 => (b & c | !b & d, 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, word) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha1(bytes: &[u8], step: usize) -> String {
        let mut sha1 = Sha1::default();
        bytes.chunks(step).for_each(|piece| sha1.push(piece));
        sha1.finish().iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_examples_of_the_standard_in_pieces_of_any_size() {
        let million = vec![b'a'; 1_000_000];
        for (text, digest) in [
            (&b""[..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (&million, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ] {
            for step in [1, 3, 63, 64, 65, 4096] {
                assert_eq!(sha1(text, step), digest, "{step}");
            }
        }
    }

    #[test]
    fn a_script_is_named_as_evalsha_calls_it() {
        let mut scripts = Scripts::default();
        scripts.add(&Str::Raw(b"\n  return redis.call('get', KEYS[1])\nend"));
        scripts.add(&Str::Raw(b"return 1"));
        assert_eq!(scripts.count.keys, 2);
        assert_eq!(
            scripts.listed[1].sha1.as_deref(),
            Some("e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
        );
        assert_eq!(
            scripts.listed[0].first_line,
            "return redis.call('get', KEYS[1])"
        );
        for _ in 0..200 {
            scripts.add(&Str::Raw(b""));
        }
        assert_eq!((scripts.count.keys, scripts.listed.len()), (202, 100));
    }
}
