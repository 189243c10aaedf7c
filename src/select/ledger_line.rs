//! A line of a ledger (`load --failures`), or of keys as JSON: which key it names.

use serde::Deserialize;

/// What a line says of its key; its other members do not matter here.
#[derive(Deserialize)]
struct Line {
    db: u64,
    key: Name,
}

/// A string of the schema of `json`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes { base64: String },
}

/// The database and the key that a line names; `None` where it is no JSON object that names both.
pub(super) fn parse(line: &[u8]) -> Option<(u64, Vec<u8>)> {
    // Most lists have plain names: no parser is asked about those.
    if !line.starts_with(b"{") || !line.trim_ascii_end().ends_with(b"}") {
        return None;
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let key = match line.key {
        Name::Text(text) => text.into_bytes(),
        Name::Bytes { base64 } => decode_base64(base64.as_bytes())?,
    };
    Some((line.db, key))
}

/// Bytes of RFC 4648 text, padded, without anything else in it.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let (quads, []) = text.as_chunks::<4>() else {
        return None;
    };
    let mut bytes = Vec::with_capacity(quads.len().saturating_mul(3));
    let padding = match text {
        [.., b'=', b'='] => 2,
        [.., b'='] => 1,
        _ => 0,
    };
    for (n, quad) in (1..).zip(quads) {
        let last = n == quads.len();
        let mut bits = 0u32;
        for (at, letter) in quad.iter().enumerate() {
            let six = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if last && at + padding >= 4 => 0,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let [_, three @ ..] = bits.to_be_bytes();
        let taken = if last { 3 - padding } else { 3 };
        bytes.extend(three.iter().take(taken));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_key_in_a_database() {
        let parsed = |line: &str| parse(line.as_bytes());
        assert_eq!(
            parsed(r#"{"db":3,"key":"a\n\u00e9","type":"hash","offset":9,"reason":"{}"}"#),
            Some((3, "a\né".as_bytes().to_vec()))
        );
        assert_eq!(
            parsed(r#"{"key":{"base64":"/wA="},"db":0}"#),
            Some((0, vec![0xff, 0]))
        );
        for other in [
            "{user}:1",
            "{}",
            "{x}",
            r#"{"db":-1,"key":"a"}"#,
            r#"{"db":1,"key":null}"#,
            r#"{"db":1,"key":{"base64":"=wA="}}"#,
            r#"{"db":1,"key":"a"} x"#,
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
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
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(bytes));
        }
        for wrong in ["Z", "Zg=", "Zg=v", "Z===", "Zg==Zg==", "Zm9v\n", "Zm-v"] {
            assert_eq!(decode_base64(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
