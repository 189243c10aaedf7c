//! A name as a list spells it. It is read byte by byte and never held: names may be as long as servers take them.

use crate::error::unescaped;

/// How a list spells a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spelling<'a> {
    /// Its own bytes.
    Raw(&'a [u8]),
    /// As [`crate::error::Escaped`] writes it.
    Escaped(&'a [u8]),
    /// What stands between the quotes of a JSON string, which is UTF-8.
    Json(&'a [u8]),
    /// The same, of a string that holds RFC 4648 text, padded.
    Base64(&'a [u8]),
}

impl<'a> Spelling<'a> {
    /// The name's bytes; `None` where this is no spelling of one, and nothing is to be read behind it.
    pub(super) fn bytes(self) -> Box<dyn Iterator<Item = Option<u8>> + 'a> {
        match self {
            Self::Raw(bytes) => Box::new(bytes.iter().copied().map(Some)),
            Self::Escaped(text) => Box::new(unescaped(text)),
            Self::Json(text) => Box::new(Units::new(json_unit(text))),
            Self::Base64(text) => Box::new(Units::new(base64_unit(Units::new(json_unit(text))))),
        }
    }

    /// Whether it spells a name.
    pub(super) fn is_sound(self) -> bool {
        match self {
            Self::Raw(_) => true,
            _ => self.bytes().all(|byte| byte.is_some()),
        }
    }

    /// Whether it spells this one.
    pub(super) fn is(self, name: &[u8]) -> bool {
        match self {
            Self::Raw(bytes) => bytes == name,
            _ => self.bytes().eq(name.iter().copied().map(Some)),
        }
    }
}

/// Some bytes that are read at a time: of a character at the most.
type Unit = ([u8; 4], usize);

/// Bytes of units, `None` behind the last sound one where the rest is none.
struct Units<F> {
    next: F,
    unit: Unit,
    at: usize,
    broken: bool,
}

/// `Some(None)`: no unit stands there.
impl<F: FnMut() -> Option<Option<Unit>>> Units<F> {
    fn new(next: F) -> Self {
        Self {
            next,
            unit: ([0; 4], 0),
            at: 0,
            broken: false,
        }
    }
}

impl<F: FnMut() -> Option<Option<Unit>>> Iterator for Units<F> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        if self.at >= self.unit.1 {
            if self.broken {
                return Some(None);
            }
            let Some(unit) = (self.next)()? else {
                self.broken = true;
                return Some(None);
            };
            (self.unit, self.at) = (unit, 0);
        }
        let byte = self.unit.0.get(self.at).copied();
        self.at += 1;
        Some(byte)
    }
}

fn one(byte: u8) -> Unit {
    ([byte, 0, 0, 0], 1)
}

/// Reads what stands between the quotes of a JSON string.
fn json_unit(text: &[u8]) -> impl FnMut() -> Option<Option<Unit>> + '_ {
    let mut bytes = text.iter().copied();
    move || {
        Some(match bytes.next()? {
            b'\\' => json_escape(&mut bytes),
            plain => Some(one(plain)),
        })
    }
}

fn json_escape(bytes: &mut impl Iterator<Item = u8>) -> Option<Unit> {
    Some(one(match bytes.next()? {
        plain @ (b'"' | b'\\' | b'/') => plain,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let mut code = hex(bytes)?;
            if (0xd800..0xdc00).contains(&code) {
                let (b'\\', b'u') = (bytes.next()?, bytes.next()?) else {
                    return None;
                };
                let low = hex(bytes)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                code = 0x1_0000 + ((code - 0xd800) << 10 | low);
            }
            let mut unit = [0; 4];
            let len = char::from_u32(code)?.encode_utf8(&mut unit).len();
            return Some((unit, len));
        }
        _ => return None,
    }))
}

fn hex(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut code = 0;
    for _ in 0..4 {
        code = code << 4 | char::from(bytes.next()?).to_digit(16)?;
    }
    Some(code)
}

/// Reads the bytes that padded RFC 4648 text stands for, without anything else in it.
fn base64_unit(
    mut letters: impl Iterator<Item = Option<u8>>,
) -> impl FnMut() -> Option<Option<Unit>> {
    let mut ended = false;
    move || {
        let first = letters.next()?;
        let mut quad = || {
            // Padding ends it.
            if ended {
                return None;
            }
            let (mut bits, mut padding) = (six(first?)?, 0);
            for at in 1..4 {
                let letter = letters.next()??;
                bits = bits << 6
                    | match letter {
                        b'=' if at >= 2 => {
                            padding += 1;
                            0
                        }
                        _ if padding > 0 => return None,
                        letter => six(letter)?,
                    };
            }
            ended = padding > 0;
            let [_, a, b, c] = bits.to_be_bytes();
            Some(([a, b, c, 0], 3 - padding))
        };
        Some(quad())
    }
}

fn six(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spelling: Spelling<'_>) -> Option<Vec<u8>> {
        spelling.bytes().collect()
    }

    #[test]
    fn base64_is_read_as_it_is_written() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("/+8A", &[0xff, 0xef, 0]),
        ] {
            let spelling = Spelling::Base64(text.as_bytes());
            assert_eq!(read(spelling).as_deref(), Some(bytes));
            assert!(spelling.is(bytes) && !spelling.is(b"other"), "{text}");
        }
        for wrong in [
            "Z", "Zg=", "Zg=v", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-v", "Zm9v\\q",
        ] {
            let spelling = Spelling::Base64(wrong.as_bytes());
            assert_eq!(read(spelling), None, "{wrong}");
            assert!(!spelling.is_sound(), "{wrong}");
        }
    }

    #[test]
    fn a_string_is_read_as_a_json_parser_reads_it() {
        for text in [
            "plain é",
            r#"\"\\\/\b\f\n\r\t"#,
            r"\u0000\u00e9\u20ac",
            r"\ud83d\ude00\uD83D\uDE00",
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\n",
            r"\ud83d\u0041",
            r"\ude00",
            r"\u00g0",
            r"\u00",
            r"\x41",
            "\\",
        ] {
            let parsed: Option<String> = serde_json::from_str(&format!("\"{text}\"")).ok();
            let bytes = read(Spelling::Json(text.as_bytes()));
            assert_eq!(bytes, parsed.map(String::into_bytes), "{text}");
        }
    }
}
