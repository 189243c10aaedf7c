//! Reports: what anything that serializes says of itself, with the escapes of this schema.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::string::push_escaped;

/// Writes `content` on one line. What could disturb a terminal is escaped as in keys and values ([`super::push_string`]): a
/// report repeats names, and words of servers.
///
/// # Errors
/// `out` cannot be written.
pub fn write_report(out: impl Write, content: &(impl Serialize + ?Sized)) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, Harmless::default());
    content.serialize(&mut serializer).map_err(io::Error::from)
}

/// JSON without blanks, whose strings have the escapes of keys and values.
#[derive(Debug, Default)]
struct Harmless {
    escaped: Vec<u8>,
}

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.escaped.clear();
        push_escaped(&mut self.escaped, fragment.as_bytes());
        writer.write_all(&self.escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_escape_what_keys_do() {
        let text = "a\"b\\c\n\u{7f}\u{9b}2J\u{202e}\u{2066}\u{61c}é€\u{2014}";
        let content = [text, ""];
        let mut out = Vec::new();
        write_report(&mut out, &content).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "[\"a\\\"b\\\\c\\n\\u007f\\u009b2J\\u202e\\u2066\\u061cé€\u{2014}\",\"\"]"
        );
        assert_eq!(serde_json::from_str::<[String; 2]>(&out).unwrap(), content);
        let mut key = Vec::new();
        super::super::push_string(&mut key, text.as_bytes());
        assert!(out.as_bytes().windows(key.len()).any(|part| part == key));
    }
}
