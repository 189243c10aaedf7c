//! Strings: JSON text where the bytes are UTF-8, else base64.

/// Appends `bytes` as the schema has strings: a JSON string, or `{"base64":"…"}`.
#[inline]
pub fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        out.reserve(bytes.len().saturating_add(2));
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        push_other(out, bytes);
    }
}

#[inline(never)]
fn push_other(out: &mut Vec<u8>, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_ok() {
        out.push(b'"');
        push_escaped(out, bytes);
        out.push(b'"');
    } else {
        out.extend_from_slice(BASE64_OPEN);
        let mut encoder = Base64::default();
        encoder.push(out, bytes);
        encoder.finish(out);
        out.extend_from_slice(BASE64_CLOSE);
    }
}

pub(super) const BASE64_OPEN: &[u8] = b"{\"base64\":\"";
pub(super) const BASE64_CLOSE: &[u8] = b"\"}";

/// Whether `bytes` are ASCII that stands in a JSON string as it is. Looks at eight bytes at a time.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut odd = words.iter().fold(0, |odd, word| odd | odd_bytes(*word));
    if !rest.is_empty() {
        match bytes.last_chunk::<8>() {
            // Some bytes are looked at twice, which is cheaper than one by one.
            Some(word) => odd |= odd_bytes(*word),
            None => {
                let mut word = [b'.'; 8];
                for (to, from) in word.iter_mut().zip(rest) {
                    *to = *from;
                }
                odd |= odd_bytes(word);
            }
        }
    }
    odd == 0
}

/// Not zero where one of the bytes is not ASCII, a control character, a quote or a backslash.
#[inline]
fn odd_bytes(word: [u8; 8]) -> u64 {
    u64::from_le_bytes(word) & HIGH | escaped_bytes(word)
}

/// The high bit of each byte that is a control character, a quote or a backslash. Only the lowest one is sure: a borrow can
/// spoil the bytes above a hit, but nothing below it, so "none" is exact.
#[inline]
fn escaped_bytes(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let quote = word ^ ONES.wrapping_mul(b'"' as u64);
    let backslash = word ^ ONES.wrapping_mul(b'\\' as u64);
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20));
    ((control & !word)
        | (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash))
        & HIGH
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where the first byte stands that must be escaped.
#[inline]
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let hits = escaped_bytes(*word);
        if hits != 0 {
            let within = hits.trailing_zeros() / 8;
            return Some(number.saturating_mul(8).saturating_add(within as usize));
        }
    }
    let at = rest.iter().position(|byte| escape_of(*byte) != 0)?;
    Some(words.len().saturating_mul(8).saturating_add(at))
}

/// For each byte: 0 where it stands for itself, the letter behind the backslash, or `u` for `\u00xx`.
#[expect(clippy::indexing_slicing, reason = "judged while it is compiled")]
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

#[inline]
fn escape_of(byte: u8) -> u8 {
    ESCAPES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Appends a part of a text, which need not end between characters: only ASCII is escaped.
pub(super) fn push_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    out.reserve(bytes.len());
    while let Some(at) = first_escaped(bytes) {
        let (run, rest) = bytes.split_at(at);
        out.extend_from_slice(run);
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        match escape_of(*byte) {
            b'u' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digit = |four: u8| HEX.get(usize::from(four)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(byte >> 4),
                    digit(byte & 15),
                ]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        bytes = rest;
    }
    out.extend_from_slice(bytes);
}

/// Writes base64 (RFC 4648, padded) from pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// Bytes that do not make a group of three yet.
    carry: [u8; 2],
    carried: usize,
}

impl Base64 {
    pub(super) fn push(&mut self, out: &mut Vec<u8>, mut bytes: &[u8]) {
        while self.carried > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            let [a, b] = self.carry;
            if self.carried == 2 {
                out.extend_from_slice(&group(a, b, *first));
                self.carried = 0;
            } else {
                self.carry = [a, *first];
                self.carried = 2;
            }
        }
        let (groups, rest) = bytes.as_chunks::<3>();
        out.reserve(groups.len().saturating_mul(4));
        for [a, b, c] in groups {
            out.extend_from_slice(&group(*a, *b, *c));
        }
        for (to, from) in self.carry.iter_mut().zip(rest) {
            *to = *from;
        }
        self.carried = rest.len();
    }

    /// The last group, padded.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        let [a, b] = self.carry;
        match self.carried {
            1 => {
                let [first, second, ..] = group(a, 0, 0);
                out.extend_from_slice(&[first, second, b'=', b'=']);
            }
            2 => {
                let [first, second, third, _] = group(a, b, 0);
                out.extend_from_slice(&[first, second, third, b'=']);
            }
            _ => {}
        }
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The two letters of each 12 bits.
#[expect(clippy::indexing_slicing, reason = "judged while it is compiled")]
static LETTER_PAIRS: [[u8; 2]; 4096] = {
    let mut pairs = [[0; 2]; 4096];
    let mut bits = 0;
    while bits < 4096 {
        pairs[bits] = [LETTERS[bits >> 6], LETTERS[bits & 0x3f]];
        bits += 1;
    }
    pairs
};

#[inline]
fn group(a: u8, b: u8, c: u8) -> [u8; 4] {
    let bits = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    let pair = |bits: u32| {
        let [first, second] = LETTER_PAIRS
            .get((bits & 0xfff) as usize)
            .copied()
            .unwrap_or_default();
        (first, second)
    };
    let ((first, second), (third, fourth)) = (pair(bits >> 12), pair(bits));
    [first, second, third, fourth]
}

/// Whether bytes that come in pieces are UTF-8.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character that a piece cut off.
    carry: [u8; 4],
    carried: usize,
    broken: bool,
}

impl Utf8 {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while self.carried > 0 && !self.broken {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            let Some(slot) = self.carry.get_mut(self.carried) else {
                self.broken = true;
                return;
            };
            *slot = *first;
            self.carried = self.carried.saturating_add(1);
            let begun = self.carry.get(..self.carried).unwrap_or_default();
            match std::str::from_utf8(begun) {
                Ok(_) => self.carried = 0,
                Err(error) => self.broken = error.error_len().is_some(),
            }
        }
        if self.broken {
            return;
        }
        let Err(error) = std::str::from_utf8(bytes) else {
            return;
        };
        let cut = bytes.get(error.valid_up_to()..).unwrap_or_default();
        self.broken = error.error_len().is_some();
        for (to, from) in self.carry.iter_mut().zip(cut) {
            *to = *from;
        }
        self.carried = cut.len();
    }

    /// Whether a further piece cannot change the answer any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn finish(self) -> bool {
        !self.broken && self.carried == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push_string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    /// An independent reader of the schema's strings.
    fn read_back(json: &str) -> Vec<u8> {
        match serde_json::from_str(json).unwrap() {
            serde_json::Value::String(text) => text.into_bytes(),
            serde_json::Value::Object(members) => {
                assert_eq!(members.len(), 1);
                let text = members["base64"].as_str().unwrap();
                assert_eq!(text.len() % 4, 0);
                let mut bits = Vec::new();
                for letter in text.trim_end_matches('=').chars() {
                    let six = match letter {
                        'A'..='Z' => letter as u32 - 'A' as u32,
                        'a'..='z' => letter as u32 - 'a' as u32 + 26,
                        '0'..='9' => letter as u32 - '0' as u32 + 52,
                        '+' => 62,
                        '/' => 63,
                        _ => panic!("{letter}"),
                    };
                    bits.extend((0..6).rev().map(|bit| six >> bit & 1));
                }
                bits.chunks_exact(8)
                    .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | *bit as u8))
                    .collect()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn text_is_text_and_all_else_is_base64() {
        for (bytes, json) in [
            (&b""[..], "\"\""),
            (
                b"plain text of some length",
                "\"plain text of some length\"",
            ),
            (b"a\"b\\c/", "\"a\\\"b\\\\c/\""),
            (
                b"\n\r\t\x08\x0c\0\x1f\x7f",
                "\"\\n\\r\\t\\b\\f\\u0000\\u001f\x7f\"",
            ),
            ("größer".as_bytes(), "\"größer\""),
            (
                b"{\"base64\":\"AA==\"}",
                "\"{\\\"base64\\\":\\\"AA==\\\"}\"",
            ),
            (b"\xff", "{\"base64\":\"/w==\"}"),
            (b"\xff\xfe", "{\"base64\":\"//4=\"}"),
            (b"\xffab", "{\"base64\":\"/2Fi\"}"),
            (b"cut \xe2\x82", "{\"base64\":\"Y3V0IOKC\"}"),
            // What encodes a surrogate is no UTF-8.
            (b"\xed\xa0\x80", "{\"base64\":\"7aCA\"}"),
        ] {
            assert_eq!(written(bytes), json);
            assert_eq!(read_back(json), bytes);
        }
    }

    #[test]
    fn every_byte_at_every_place_is_seen() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    let plain = byte.is_ascii() && escape_of(byte) == 0;
                    assert_eq!(is_plain(&bytes), plain, "{byte} at {at} of {length}");
                    let first = (escape_of(byte) != 0).then_some(at);
                    assert_eq!(first_escaped(&bytes), first, "{byte} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read_back(&written(&bytes)), bytes);
        }

        #[test]
        fn any_text_is_what_serde_writes(text in ".{0,60}") {
            prop_assert_eq!(written(text.as_bytes()), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn pieces_make_the_same_as_the_whole(
            text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f), Just(0x98), Just(0x80), any::<u8>()], 0..40),
            cuts in proptest::collection::vec(1..6usize, 40),
        ) {
            let (mut utf8, mut base64, mut out) = (Utf8::default(), Base64::default(), Vec::new());
            let mut rest = &text[..];
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                utf8.push(piece);
                base64.push(&mut out, piece);
                rest = behind;
            }
            utf8.push(rest);
            base64.push(&mut out, rest);
            base64.finish(&mut out);
            prop_assert_eq!(utf8.finish(), std::str::from_utf8(&text).is_ok());
            let json = format!("{{\"base64\":\"{}\"}}", String::from_utf8(out).unwrap());
            prop_assert_eq!(read_back(&json), text);
        }
    }
}
