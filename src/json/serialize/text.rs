//! Strings and numbers of the schema.

use std::fmt;

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use crate::json::string::Base64;
use crate::value::{Element, IntText};

/// A string of the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) element: Element<'a>,
    pub(super) is_utf8: bool,
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.element {
            Element::Int(value) => serializer.serialize_str(IntText::new().format(value)),
            Element::Bytes(bytes) if self.is_utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(error) => Err(S::Error::custom(error)),
            },
            long if self.is_utf8 => serializer.collect_str(&LongText(long)),
            other => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &Base64Text(other))?;
                map.end()
            }
        }
    }
}

/// A compressed text, known to be UTF-8, piece by piece.
struct LongText<'a>(Element<'a>);

impl fmt::Display for LongText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cut = Vec::new();
        let mut written = Ok(());
        let walked = self.0.write_to(|piece| {
            cut.extend_from_slice(piece);
            // A piece may end within a character, whose beginning waits for the next piece.
            let whole = match std::str::from_utf8(&cut) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let (text, rest) = cut.split_at_checked(whole).unwrap_or_default();
            if let Ok(text) = std::str::from_utf8(text) {
                written = written.and_then(|()| f.write_str(text));
            }
            cut = rest.to_vec();
            Ok(())
        });
        walked.map_err(|_| fmt::Error)?;
        written
    }
}

/// Bytes as base64, piece by piece.
struct Base64Text<'a>(Element<'a>);

impl fmt::Display for Base64Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PIECE: usize = 3 * 1024;
        let mut encoder = Base64::default();
        let mut text = Vec::new();
        let mut flush = |text: &mut Vec<u8>| {
            let written = std::str::from_utf8(text).map_err(|_| fmt::Error);
            let written = written.and_then(|text| f.write_str(text));
            text.clear();
            written
        };
        let mut written = Ok(());
        self.0
            .write_to(|bytes| {
                for piece in bytes.chunks(PIECE) {
                    encoder.push(&mut text, piece);
                    written = written.and_then(|()| flush(&mut text));
                }
                Ok(())
            })
            .map_err(|_| fmt::Error)?;
        written?;
        encoder.finish(&mut text);
        flush(&mut text)
    }
}

impl Serialize for Base64Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whatever can be displayed, as a string.
pub(super) struct Shown<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A double: whole ones below 2^53 without a point, what is no number as a string.
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let value = self.0;
        let negative_zero = value == 0.0 && value.is_sign_negative();
        if value.fract() == 0.0 && value.abs() < EXACT && !negative_zero {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            serializer.serialize_i64(value as i64)
        } else if value.is_finite() {
            serializer.serialize_f64(value)
        } else {
            serializer.serialize_str(if value.is_nan() {
                "nan"
            } else if value > 0.0 {
                "inf"
            } else {
                "-inf"
            })
        }
    }
}
