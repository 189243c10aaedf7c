//! One error type for the whole crate: who is to blame, what went wrong, where, and what to do next.
//!
//! `Error` is one pointer wide, so `Result<T>` stays cheap on the hot path. A low layer makes the error complete with
//! its [`Place`]; the layer that knows the key attaches the [`EntryContext`] once; the layer that knows the file attaches
//! its name. The text is one line, lower case, without a final period:
//!
//! `dump.rdb: offset 6699 (0x1a2b), byte 17 of listpack: entry needs 40 bytes, 7 remain; hash-listpack "user:17" in db 0`

use std::borrow::Cow;
use std::fmt;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act so that the error goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: a file cannot be opened, read or written.
    Io,
    /// The input is damaged or is no RDB file.
    Corrupt,
    /// The input is (probably) sound, but holds something that this program does not know.
    Unsupported,
    /// The caller asked for something that makes no sense, or that was not allowed by an option.
    Usage,
    /// A bound of this program or of the machine was reached: memory, disk, size of one value.
    Limit,
    /// The destination cannot be reached, refused, or answered nonsense.
    Destination,
    /// The run was interrupted from outside.
    Interrupted,
}

/// Where in an input something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Bytes from the start of the (decompressed) input, from 0. For a fault inside a nested blob: where the blob's
    /// first byte (its length prefix) stands in the input.
    pub offset: u64,
    /// The name of the nested blob (`listpack`, `lzf string`, …) and the byte inside it, from 0, where the fault lies.
    pub inside: Option<(&'static str, u64)>,
}

impl Place {
    /// A place in the input itself.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        Self {
            offset,
            inside: None,
        }
    }

    /// Byte `byte` of the blob called `blob` that begins at `offset` of the input.
    #[must_use]
    pub fn inside(offset: u64, blob: &'static str, byte: u64) -> Self {
        Self {
            offset,
            inside: Some((blob, byte)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {} ({:#x})", self.offset, self.offset)?;
        match self.inside {
            Some((blob, byte)) => write!(f, ", byte {byte} of {blob}"),
            None => Ok(()),
        }
    }
}

/// The entry that was being read when the error happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryContext {
    /// Database number.
    pub db: u64,
    /// The key's logical bytes (decompressed; at most [`EntryContext::KEY_SHOWN`] of them).
    pub key: Vec<u8>,
    /// The name of the RDB type (`string`, `hash-listpack`, …) with its number where it is not known.
    pub type_name: Cow<'static, str>,
}

impl EntryContext {
    /// How many bytes of a key an error carries at most.
    pub const KEY_SHOWN: usize = 128;
}

impl fmt::Display for EntryContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} in db {}",
            self.type_name,
            Escaped(&self.key),
            self.db
        )
    }
}

/// Shows bytes as a quoted text that cannot disturb a terminal: printable ASCII and valid printable UTF-8 as they are, the
/// rest as `\n`, `\r`, `\t`, `\"`, `\\` or `\xhh`. [`unescape`] is its inverse.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if is_disturbing(c) => {
                        let mut utf8 = [0u8; 4];
                        for b in c.encode_utf8(&mut utf8).bytes() {
                            write!(f, "\\x{b:02x}")?;
                        }
                    }
                    c => f.write_char(c)?,
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        f.write_char('"')
    }
}

/// Control characters, and the invisible ones that reorder or hide text on a terminal.
fn is_disturbing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The bytes of a file's name that is shown as [`Escaped`] only where it is odd: for JSON, which escapes in its own way.
#[must_use]
pub fn unshown(name: &str) -> Vec<u8> {
    match name.as_bytes() {
        odd @ [b'"', ..] => unescape(odd).unwrap_or_else(|| odd.to_vec()),
        plain => plain.to_vec(),
    }
}

/// Reads back what [`Escaped`] wrote: with or without the surrounding quotes.
///
/// # Errors
/// `None` where a backslash is followed by something that [`Escaped`] never writes, or a quote stands unescaped inside.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    for byte in unescaped(text) {
        out.push(byte?);
    }
    Some(out)
}

/// The same byte by byte, for texts of any length: `None` where [`unescape`] gives that, and nothing is to be read behind it.
pub fn unescaped(text: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let (inner, quoted) = match text {
        [b'"', inner @ .., b'"'] => (inner, true),
        bare => (bare, false),
    };
    let mut bytes = inner.iter().copied();
    let mut broken = !quoted && inner.first() == Some(&b'"');
    std::iter::from_fn(move || {
        if broken {
            return Some(None);
        }
        let read = match bytes.next()? {
            b'\\' => unescaped_one(&mut bytes),
            b'"' if quoted => None,
            plain => Some(plain),
        };
        broken = read.is_none();
        Some(read)
    })
}

/// What stands behind a backslash.
fn unescaped_one(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    Some(match bytes.next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'"' => b'"',
        b'\\' => b'\\',
        b'x' => {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()?
        }
        _ => return None,
    })
}

/// An error of this crate. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    place: Option<Place>,
    entry: Option<EntryContext>,
    input: Option<String>,
    reading: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with nothing but its kind and its text.
    #[cold]
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            place: None,
            entry: None,
            input: None,
            reading: None,
            hint: None,
            source: None,
        }))
    }

    /// Damage in the input at `place`.
    #[cold]
    pub fn corrupt(place: Place, what: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(ErrorKind::Corrupt, what);
        error.0.place = Some(place);
        error
    }

    /// Something in the input at `place` that this program does not know.
    #[cold]
    pub fn unsupported(place: Place, what: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(ErrorKind::Unsupported, what);
        error.0.place = Some(place);
        error
    }

    /// The operating system refused; `what` says what was being done.
    #[cold]
    pub fn io(what: impl Into<Cow<'static, str>>, source: std::io::Error) -> Self {
        let mut error = Self::new(ErrorKind::Io, what);
        error.0.source = Some(Box::new(source));
        error
    }

    /// Adds the error that caused this one; its text follows after a colon.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Says where; an existing place stays, since the innermost one is the most exact.
    #[must_use]
    pub fn or_place(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    /// Says which entry was being read; an existing one stays.
    #[must_use]
    pub fn or_entry(mut self, entry: impl FnOnce() -> EntryContext) -> Self {
        self.0.entry.get_or_insert_with(entry);
        self
    }

    /// Says which input; an existing one stays.
    #[must_use]
    pub fn or_input(mut self, name: impl Into<String>) -> Self {
        self.0.input.get_or_insert_with(|| name.into());
        self
    }

    /// Says what was being read, where that is no entry; what was said before stays.
    #[must_use]
    pub fn or_reading(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.reading.get_or_insert_with(|| what.into());
        self
    }

    /// Says who answered or did not, in front of the text, unless that names it.
    #[must_use]
    pub fn naming(mut self, who: &str) -> Self {
        if !self.0.what.contains(who) {
            self.0.what = format!("{who}: {}", self.0.what).into();
        }
        self
    }

    /// Says what to do next; stands last in the text. What was said before is replaced.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says what to do next, behind what was said of that before.
    #[must_use]
    pub fn and_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        let hint = match self.hint() {
            Some(before) => format!("{before}; {}", hint.into()).into(),
            None => hint.into(),
        };
        self.with_hint(hint)
    }

    /// Who has to act.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The bare text, without place, entry, input and hint.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where in the input, if the error has a place there.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    /// The entry that was being read.
    #[must_use]
    pub fn entry(&self) -> Option<&EntryContext> {
        self.0.entry.as_ref()
    }

    /// The input's name.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        self.0.input.as_deref()
    }

    /// What was being read, where that is no entry.
    #[must_use]
    pub fn reading(&self) -> Option<&str> {
        self.0.reading.as_deref()
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The operating system's error, where there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&std::io::Error> {
        self.0
            .source
            .as_deref()
            .and_then(|source| source.downcast_ref())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(input) = &inner.input {
            write!(f, "{input}: ")?;
        }
        if let Some(place) = &inner.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&inner.what)?;
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(entry) = &inner.entry {
            write!(f, "; {entry}")?;
        }
        if let Some(reading) = &inner.reading {
            write!(f, "; while reading {reading}")?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The source's text is part of ours, so a chain printer must not see it a second time: only its own cause.
        self.0.source.as_deref().and_then(std::error::Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_text_has_everything_once_and_in_order() {
        let error = Error::corrupt(
            Place::inside(6699, "listpack", 17),
            "entry needs 40 bytes, 7 remain",
        )
        .or_entry(|| EntryContext {
            db: 0,
            key: b"user:17".to_vec(),
            type_name: "hash-listpack".into(),
        })
        .or_input("dump.rdb")
        .or_reading("its length")
        .or_reading("the file")
        .with_hint("no")
        .with_hint("see `rdbridge check`")
        .and_hint("and tell us")
        .naming("entry");
        assert_eq!(
            error.to_string(),
            "dump.rdb: offset 6699 (0x1a2b), byte 17 of listpack: entry needs 40 bytes, 7 remain; \
             hash-listpack \"user:17\" in db 0; while reading its length; \
             see `rdbridge check`; and tell us"
        );
    }

    #[test]
    fn escaping_is_reversible_and_keeps_terminals_calm() {
        for bytes in [
            &b""[..],
            b"plain",
            b"a\"b\\c",
            b"\x00\x1b[31m\r\n\t",
            "ключ 日本 🔑 \u{202e}".as_bytes(),
            b"\xff\xfe\xc3",
            b"\\x41",
        ] {
            let shown = Escaped(bytes).to_string();
            assert!(
                !shown.chars().any(|c| c.is_control()),
                "no control characters in {shown}"
            );
            assert_eq!(
                unescape(shown.as_bytes()).as_deref(),
                Some(bytes),
                "{shown}"
            );
        }
        assert_eq!(
            unescape(b"bare\\x20name").as_deref(),
            Some(&b"bare name"[..])
        );
        for bad in [&b"\"open"[..], b"a\\", b"a\\q", b"a\\x4", b"\"a\"b\""] {
            assert_eq!(unescape(bad), None);
        }
    }
}
