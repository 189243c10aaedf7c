//! A line of a ledger (`load --failures`), or of keys as JSON: which key it names.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::spelling::Spelling;

/// What a line says of its key; its other members do not matter here.
#[derive(Deserialize)]
struct Line<'a> {
    db: u64,
    #[serde(borrow)]
    key: &'a RawValue,
}

/// A name that is no text, as the schema of `json` has it.
#[derive(Deserialize)]
struct Bytes<'a> {
    #[serde(borrow)]
    base64: &'a RawValue,
}

/// The database and the key that a line names; `None` where it is no JSON object that names both.
pub(super) fn parse(line: &[u8]) -> Option<(u64, Spelling<'_>)> {
    // Most lists have plain names: no parser is asked about those.
    if !line.starts_with(b"{") || !line.trim_ascii_end().ends_with(b"}") {
        return None;
    }
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let spelling = match string(line.key) {
        Some(text) => Spelling::Json(text),
        None => {
            let bytes: Bytes<'_> = serde_json::from_str(line.key.get()).ok()?;
            Spelling::Base64(string(bytes.base64)?)
        }
    };
    spelling.is_sound().then_some((line.db, spelling))
}

/// What stands between the quotes, if it is a string.
fn string(value: &RawValue) -> Option<&[u8]> {
    let text = value.get().strip_prefix('"')?.strip_suffix('"')?;
    Some(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_key_in_a_database() {
        let parsed = |line: &str| {
            let (db, spelling) = parse(line.as_bytes())?;
            Some((db, spelling.bytes().collect::<Option<Vec<u8>>>()?))
        };
        assert_eq!(
            parsed(r#"{"db":3,"key":"a\n\u00e9","type":"hash","offset":9,"reason":"{}"}"#),
            Some((3, "a\né".as_bytes().to_vec()))
        );
        assert_eq!(
            parsed(r#"{"key":{"base64":"/wA="},"db":0}"#),
            Some((0, vec![0xff, 0]))
        );
        assert_eq!(
            parsed(r#"{"key":{"base64":"\/wA="},"db":0}"#),
            Some((0, vec![0xff, 0])),
            "some write a slash so"
        );
        for other in [
            "{user}:1",
            "{}",
            "{x}",
            r#"{"db":-1,"key":"a"}"#,
            r#"{"db":1,"key":null}"#,
            r#"{"db":1,"key":7}"#,
            r#"{"db":1,"key":{"base64":"=wA="}}"#,
            r#"{"db":1,"key":{"base64":7}}"#,
            r#"{"db":1,"key":"\ud800"}"#,
            r#"{"db":1,"key":"a"} x"#,
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
