//! Strings: JSON text where the bytes are UTF-8, else base64.
//!
//! What would disturb a terminal is escaped beyond what JSON asks for: a dump's names and values are anybody's, and their
//! readers may well be looking at them.

/// Appends `bytes` as the schema has strings: a JSON string, or `{"base64":"…"}`.
#[inline]
pub fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let odd = Odd::of(bytes);
    if odd.is_none() {
        out.reserve(bytes.len().saturating_add(2));
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        push_other(out, bytes, odd);
    }
}

#[inline(never)]
fn push_other(out: &mut Vec<u8>, bytes: &[u8], odd: Odd) {
    if !odd.is_beyond() {
        out.push(b'"');
        push_runs::<true>(out, bytes);
        out.push(b'"');
    } else if std::str::from_utf8(bytes).is_ok() {
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

/// Whether `bytes` are printable ASCII that stands in a JSON string as it is.
#[inline]
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    Odd::of(bytes).is_none()
}

/// What a text has that cannot stand in a JSON string as it is, or that may not.
#[derive(Debug, Clone, Copy, Default)]
struct Odd {
    /// A high bit where there is a control character, a quote or a backslash.
    escaped: u64,
    /// A high bit where there is a byte from 0x7f on.
    beyond: u64,
}

impl Odd {
    /// Looks at eight bytes at a time.
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut odd = words.iter().fold(Self::default(), Self::and);
        if !rest.is_empty() {
            match bytes.last_chunk::<8>() {
                // Some bytes are looked at twice, which is cheaper than one by one.
                Some(word) => odd = odd.and(word),
                None => {
                    let mut word = [b'.'; 8];
                    for (to, from) in word.iter_mut().zip(rest) {
                        *to = *from;
                    }
                    odd = odd.and(&word);
                }
            }
        }
        odd
    }

    #[inline]
    fn and(self, word: &[u8; 8]) -> Self {
        let word = u64::from_le_bytes(*word);
        Self {
            escaped: self.escaped | escaped_bytes(word),
            beyond: self.beyond | beyond_printable(word),
        }
    }

    #[inline]
    fn is_none(self) -> bool {
        (self.escaped | self.beyond) & HIGH == 0
    }

    #[inline]
    fn is_beyond(self) -> bool {
        self.beyond & HIGH != 0
    }
}

/// A high bit where there is a byte from 0x7f on; which one is not said, as the sum carries from such a byte into the next.
#[inline]
fn beyond_printable(word: u64) -> u64 {
    (word.wrapping_add(ONES) | word) & HIGH
}

/// The high bit of each byte that is below a space, a quote or a backslash. Only the lowest one is sure: a borrow can
/// spoil the bytes above a hit, but nothing below it, so "none" is exact.
#[inline]
fn escaped_bytes(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20));
    ((control & !word) | equal_bytes(word, b'"') | equal_bytes(word, b'\\')) & HIGH
}

/// The high bit of each byte that is `byte`; only the lowest one is sure.
#[inline]
fn equal_bytes(word: u64, byte: u8) -> u64 {
    let differs = word ^ ONES.wrapping_mul(u64::from(byte));
    differs.wrapping_sub(ONES) & !differs & HIGH
}

/// DEL, and the first bytes of characters of which some are escaped; only the lowest one is sure.
#[inline]
fn disturbing_bytes(word: u64) -> u64 {
    LEADS.iter().fold(equal_bytes(word, 0x7f), |hits, lead| {
        hits | equal_bytes(word, *lead)
    })
}

/// With these begin U+0080 to U+009F, U+061C, and U+200E to U+2069.
const LEADS: [u8; 3] = [0xc2, 0xd8, 0xe2];

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where the first byte stands that must be escaped, or that may begin a character which must be. `PRINTABLE`: no byte is
/// beyond printable ASCII.
#[inline]
fn first_escaped<const PRINTABLE: bool>(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let mut hits = escaped_bytes(word);
        if !PRINTABLE && beyond_printable(word) != 0 {
            hits |= disturbing_bytes(word);
        }
        if hits != 0 {
            let within = hits.trailing_zeros() / 8;
            return Some(number.saturating_mul(8).saturating_add(within as usize));
        }
    }
    let at = rest.iter().position(|byte| escape_of(*byte) != 0)?;
    Some(words.len().saturating_mul(8).saturating_add(at))
}

/// For each byte: 0 where it stands for itself, the letter behind the backslash, `u` for `\u00xx`, or [`LEAD`].
#[expect(clippy::indexing_slicing, reason = "judged while it is compiled")]
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x7f] = b'u';
    let mut lead = 0;
    while lead < LEADS.len() {
        table[LEADS[lead] as usize] = LEAD;
        lead += 1;
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

/// Marks the first byte of characters of which some are escaped.
const LEAD: u8 = 0xff;

/// The character that `bytes` begin with and its length, where it is one that moves a terminal's cursor or changes the order
/// of text: C1 controls (CSI among them), and the controls of bidirectional text.
fn disturbing_character(bytes: &[u8]) -> Option<(u16, usize)> {
    match *bytes {
        [0xc2, low @ 0x80..=0x9f, ..] => Some((u16::from(low), 2)),
        [0xd8, 0x9c, ..] => Some((0x061c, 2)),
        [0xe2, 0x80, low @ (0x8e..=0x8f | 0xaa..=0xae), ..] => {
            Some((0x2000 | u16::from(low & 0x3f), 3))
        }
        [0xe2, 0x81, low @ 0xa6..=0xa9, ..] => Some((0x2040 | u16::from(low & 0x3f), 3)),
        _ => None,
    }
}

/// Appends a text. It may be a part of one, cut anywhere: [`Escaper`] then sees what was cut.
pub(super) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    push_runs::<false>(out, bytes);
}

/// As [`push_escaped`]. `PRINTABLE`: no byte is beyond printable ASCII.
fn push_runs<const PRINTABLE: bool>(out: &mut Vec<u8>, mut bytes: &[u8]) {
    out.reserve(bytes.len());
    while let Some(at) = first_escaped::<PRINTABLE>(bytes) {
        let (run, rest) = bytes.split_at(at);
        match bytes.first_chunk::<8>() {
            // Most runs between quotes are short: a block of a fixed size, cut to what it is to be.
            Some(block) if at < block.len() => {
                let end = out.len().saturating_add(at);
                out.extend_from_slice(block);
                out.truncate(end);
            }
            _ => out.extend_from_slice(run),
        }
        let Some((byte, mut behind)) = rest.split_first() else {
            return;
        };
        match escape_of(*byte) {
            b'u' => push_code(out, u16::from(*byte)),
            LEAD => match disturbing_character(rest) {
                Some((code, len)) => {
                    push_code(out, code);
                    behind = rest.get(len..).unwrap_or_default();
                }
                None => out.push(*byte),
            },
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        bytes = behind;
    }
    out.extend_from_slice(bytes);
}

fn push_code(out: &mut Vec<u8>, code: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u16| HEX.get(usize::from(four & 15)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[
        b'\\',
        b'u',
        digit(code >> 12),
        digit(code >> 8),
        digit(code >> 4),
        digit(code),
    ]);
}

/// Writes text that comes in pieces, which may be cut within characters.
#[derive(Debug, Default)]
pub(super) struct Escaper {
    /// What a piece ended with, where it may be the beginning of a character that is escaped.
    carry: [u8; 3],
    carried: usize,
}

impl Escaper {
    pub(super) fn push(&mut self, out: &mut Vec<u8>, mut bytes: &[u8]) {
        while self.carried > 0 {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(place) = self.carry.get_mut(self.carried) {
                *place = *first;
            }
            self.carried = self.carried.saturating_add(1);
            let begun = self.carry.get(..self.carried).unwrap_or_default();
            if cut_off(begun) == 0 || begun.len() == self.carry.len() {
                push_escaped(out, begun);
                self.carried = 0;
            }
        }
        let (whole, cut) = bytes.split_at(bytes.len().saturating_sub(cut_off(bytes)));
        push_escaped(out, whole);
        for (to, from) in self.carry.iter_mut().zip(cut) {
            *to = *from;
        }
        self.carried = cut.len();
    }

    /// The text has ended.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        push_escaped(out, self.carry.get(..self.carried).unwrap_or_default());
    }
}

/// How many bytes at the end of `bytes` may be the beginning of a character that is escaped.
fn cut_off(bytes: &[u8]) -> usize {
    match bytes {
        [.., 0xe2, 0x80 | 0x81] => 2,
        [.., last] if LEADS.contains(last) => 1,
        _ => 0,
    }
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
                "\"\\n\\r\\t\\b\\f\\u0000\\u001f\\u007f\"",
            ),
            ("größer".as_bytes(), "\"größer\""),
            // A terminal would take these as commands, or show text in another order than it stands.
            (
                "\u{9b}31m \u{80}\u{9f}".as_bytes(),
                "\"\\u009b31m \\u0080\\u009f\"",
            ),
            (
                "a\u{202e}b\u{202a}\u{200e}\u{200f}\u{2066}\u{2069}\u{61c}".as_bytes(),
                "\"a\\u202eb\\u202a\\u200e\\u200f\\u2066\\u2069\\u061c\"",
            ),
            // Their neighbours do no harm.
            (
                "\u{a0}\u{bf}\u{61b}\u{61d}\u{200d}\u{2010}“\u{2029}\u{202f}\u{2065}\u{206a}€"
                    .as_bytes(),
                "\"\u{a0}\u{bf}\u{61b}\u{61d}\u{200d}\u{2010}“\u{2029}\u{202f}\u{2065}\u{206a}€\"",
            ),
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
                    let plain = byte < 0x7f && escape_of(byte) == 0;
                    assert_eq!(is_plain(&bytes), plain, "{byte} at {at} of {length}");
                    let first = (escape_of(byte) != 0).then_some(at);
                    let found = first_escaped::<false>(&bytes);
                    assert_eq!(found, first, "{byte} at {at} of {length}");
                    if byte < 0x7f {
                        let found = first_escaped::<true>(&bytes);
                        assert_eq!(found, first, "{byte} at {at} of {length}");
                    }
                    if byte < 0x80 {
                        // Runs of all lengths between two of them.
                        let twice = [&bytes[..], &bytes].concat();
                        let json = written(&twice);
                        assert_eq!(read_back(&json), twice, "{byte} at {at} of {length}");
                    }
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
            // More is escaped than serde_json does.
            let mut expected = String::new();
            for c in serde_json::to_string(&text).unwrap().chars() {
                match c {
                    '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                        expected.push_str(&format!("\\u{:04x}", u32::from(c)));
                    }
                    c => expected.push(c),
                }
            }
            prop_assert_eq!(written(text.as_bytes()), expected);
        }

        #[test]
        fn text_in_pieces_is_the_text_as_a_whole(
            text in proptest::collection::vec(prop_oneof![Just('a'), Just('"'), Just('\u{7f}'), proptest::char::range('\u{7e}', '\u{a2}'), proptest::char::range('\u{610}', '\u{620}'), proptest::char::range('\u{2000}', '\u{2070}'), any::<char>()], 0..40),
            cuts in proptest::collection::vec(0..5usize, 60),
        ) {
            let text: String = text.into_iter().collect();
            let (mut escaper, mut out) = (Escaper::default(), b"\"".to_vec());
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                escaper.push(&mut out, piece);
                rest = behind;
            }
            escaper.push(&mut out, rest);
            escaper.finish(&mut out);
            out.push(b'"');
            prop_assert_eq!(String::from_utf8(out).unwrap(), written(text.as_bytes()));
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
