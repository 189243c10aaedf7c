//! What a file is, judged by its first bytes and never by its name.

use std::borrow::Cow;
use std::fmt;

use super::Options;
use crate::error::{Error, ErrorKind, Escaped};

/// How many first bytes are looked at: enough for the magic of a tar archive, which stands behind its first file's header.
pub(super) const HEAD: usize = 512;

/// How the bytes of a dump are packed in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952), one member or several.
    Gzip,
    /// Zstandard (RFC 8878), one frame or several.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// The envelope of Valkey 9.2 around one Zstandard frame.
    VcsZstd,
    /// The envelope of Valkey 9.2 around one LZ4 frame.
    VcsLz4,
}

impl Packing {
    /// Its name, as in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "LZ4",
            Self::VcsZstd => "zstd in Valkey's VCS envelope",
            Self::VcsLz4 => "LZ4 in Valkey's VCS envelope",
        }
    }

    /// A command that unpacks a file to its standard output, where a usual one exists.
    fn unpacker(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip -dc"),
            Self::Zstd => Some("zstd -dc --long=31"),
            Self::Lz4 => Some("lz4 -dc"),
            Self::Plain | Self::VcsZstd | Self::VcsLz4 => None,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// An RDB file, as it is or packed.
    Dump(Packing),
    /// Something else.
    Other(Guess),
}

/// What a file that is no dump seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) what: &'static str,
    pub(super) next: Next,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing that can be said in one line.
    Nothing,
    /// Pipe the file through this command.
    Through(&'static str),
    /// This sentence.
    Do(&'static str),
}

/// Judges a file by its first [`HEAD`] bytes, or all of them where it is shorter.
pub(super) fn recognise(head: &[u8]) -> Content {
    let packing = match head {
        [b'R', b'E', b'D', b'I', b'S', ..] | [b'V', b'A', b'L', b'K', b'E', b'Y', ..] => {
            Packing::Plain
        }
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Lz4,
        // Skippable frames belong to zstd and LZ4 alike; what follows them decides, and zstd writes them more often.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
        [b'V', b'C', b'S', 1, codec @ (1 | 2), 0, 1, ..] => match codec {
            1 => Packing::VcsLz4,
            _ => Packing::VcsZstd,
        },
        _ => return Content::Other(guess(head)),
    };
    Content::Dump(packing)
}

/// The error for a file that is no dump: its first bytes, what they look like, and what to do next.
#[cold]
pub(super) fn no_dump(head: &[u8], guess: &Guess, file: &str, options: &Options) -> Error {
    let (kind, is) = match guess.what {
        UNKNOWN_ENVELOPE => (ErrorKind::Unsupported, "is not understood"),
        _ => (ErrorKind::Corrupt, "is no RDB file"),
    };
    let shown = Escaped(head.get(..16).unwrap_or(head));
    let error = Error::new(
        kind,
        format!("{is}: it begins with {shown}, {}", guess.what),
    );
    match guess.next {
        Next::Nothing => error,
        Next::Through(command) => error.with_hint(options.piped(&format!("{command} {file}"))),
        Next::Do(sentence) => error.with_hint(sentence),
    }
}

/// The error for a packed file that holds something else than a dump.
#[cold]
pub(super) fn no_dump_inside(packing: Packing, head: &[u8], guess: &Guess) -> Error {
    let error = Error::new(
        ErrorKind::Corrupt,
        format!(
            "is {packing}, but holds no RDB file: it begins with {}, {}",
            Escaped(head.get(..16).unwrap_or(head)),
            guess.what
        ),
    );
    match guess.next {
        // The other steps name the file itself, which is not what has these bytes.
        Next::Do(sentence) => error.with_hint(sentence),
        Next::Nothing | Next::Through(_) => error,
    }
}

/// The error for a packed file that holds another packed file.
#[cold]
pub(super) fn nested(outer: Packing, inner: Packing, file: &str, options: &Options) -> Error {
    let error = Error::new(
        ErrorKind::Unsupported,
        format!("is {outer} that holds {inner}: only one packing is taken off"),
    );
    match outer.unpacker() {
        Some(command) => error.with_hint(options.piped(&format!("{command} {file}"))),
        None => error,
    }
}

/// The hint of a zstd frame whose window is over the limit.
#[cfg(feature = "compression")]
pub(super) fn wide_window_hint(file: &str, options: &Options) -> Cow<'static, str> {
    options.piped(&format!("zstd -dc --long=31 {file}")).into()
}

/// The hint of a program that was built without its decompressors.
#[cfg(not(feature = "compression"))]
pub(super) fn unpack_hint(packing: Packing, file: &str, options: &Options) -> Cow<'static, str> {
    match packing.unpacker() {
        Some(command) => options.piped(&format!("{command} {file}")).into(),
        None => "build it with the feature `compression`".into(),
    }
}

const UNKNOWN_ENVELOPE: &str =
    "a VCS envelope of Valkey with a version, codec or kind that this program does not know";

/// The sentence for something that was cut off right at its start.
const FETCH_AGAIN: &str = "copy or download it again";

/// A guess from the first bytes; in words that follow "it begins with …,".
fn guess(head: &[u8]) -> Guess {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let (what, next) = if head.is_empty() {
        ("it is empty", Next::Do(FETCH_AGAIN))
    } else if b"REDIS".starts_with(head) || b"VALKEY".starts_with(head) {
        ("and ends inside the magic", Next::Do(FETCH_AGAIN))
    } else if starts(b"VCS") {
        (UNKNOWN_ENVELOPE, Next::Nothing)
    } else if starts(b"VKCS") {
        (
            "an envelope of Valkey that was never released",
            Next::Nothing,
        )
    } else if is_commands(head) {
        (
            "an append-only file (commands, without an RDB part in front)",
            Next::Do("send it as it is: `redis-cli -u URL --pipe < FILE`"),
        )
    } else if is_manifest(head) {
        (
            "the manifest of an append-only file",
            Next::Do("name the directory that it lies in"),
        )
    } else if starts(b"$EOF:") || (starts(b"$") && head.get(1).is_some_and(u8::is_ascii_digit)) {
        (
            "the raw answer of a server to SYNC or DUMP",
            Next::Do("take the dump with `redis-cli -u URL --rdb dump.rdb`"),
        )
    } else if head.get(257..262) == Some(b"ustar") {
        (
            "a tar archive",
            Next::Do(
                "take the dump out of it: `tar -xOf FILE NAME`, piped into this command with `-` as input",
            ),
        )
    } else if starts(b"PK\x03\x04") {
        ("a zip archive", Next::Through("unzip -p"))
    } else if starts(b"BZh") {
        ("bzip2", Next::Through("bzip2 -dc"))
    } else if starts(b"\xfd7zXZ\0") || starts(b"\x5d\0\0") {
        ("xz", Next::Through("xz -dc"))
    } else if starts(b"7z\xbc\xaf\x27\x1c") {
        ("a 7-Zip archive", Next::Through("7z x -so"))
    } else if starts(b"\x1f\x9d") {
        ("compress", Next::Through("gzip -dc"))
    } else if starts(b"UkVESVMw") || starts(b"VkFMS0VZ") {
        ("an RDB file in base64", Next::Through("base64 -d"))
    } else if starts(b"Salted__") || starts(b"-----BEGIN PGP") || starts(b"age-encryption.org") {
        ("encrypted", Next::Do("decrypt it first"))
    } else if starts(b"version https://git-lfs") {
        (
            "a Git LFS pointer",
            Next::Do("fetch the file itself: `git lfs pull`"),
        )
    } else if starts(b"<") {
        (
            "XML or HTML, likely the error page of a download",
            Next::Do("read it, then download again"),
        )
    } else if starts(b"{") || starts(b"[") {
        ("JSON", Next::Nothing)
    } else if starts(b"\x89PNG") || starts(b"\xff\xd8\xff") || starts(b"GIF8") {
        ("a picture", Next::Nothing)
    } else if starts(b"\x7fELF") {
        ("a program", Next::Nothing)
    } else if starts(b"SQLite format 3") {
        ("an SQLite database", Next::Nothing)
    } else if head.iter().all(|byte| *byte == 0) {
        (
            "nothing but zero bytes: a download that was not finished, or a broken disk",
            Next::Do(FETCH_AGAIN),
        )
    } else if is_text(head) {
        ("a text", Next::Nothing)
    } else {
        ("nothing known", Next::Nothing)
    };
    Guess { what, next }
}

/// Commands in RESP, as append-only files and replication streams have them: `*3\r\n$3\r\n…`, or an annotation line.
pub(super) fn is_commands(bytes: &[u8]) -> bool {
    if let Some(rest) = bytes.strip_prefix(b"#TS:") {
        return rest.first().is_none_or(u8::is_ascii_digit);
    }
    let Some(rest) = bytes.strip_prefix(b"*") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (count, behind) = rest.split_at(digits);
    // A tail may be cut anywhere: as far as it goes, it must fit.
    (1..=10).contains(&count.len())
        && (b"\r\n$".starts_with(behind) || behind.starts_with(b"\r\n$"))
}

/// The first line of a manifest of an append-only file.
pub(super) fn is_manifest(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
    line.starts_with(b"file ") && find(line, b" seq ") && find(line, b" type ")
}

/// Whether `bytes` are printable UTF-8, but for a character that is cut at the end.
fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("")
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace())
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let mut options = Options::new("/tmp");
        options.command = "rdbridge info".into();
        options
    }

    #[test]
    fn dumps_are_known_by_their_magic() {
        for (head, packing) in [
            (&b"REDIS0011\xfa"[..], Packing::Plain),
            (b"VALKEY080\xfa", Packing::Plain),
            (b"\x1f\x8b\x08", Packing::Gzip),
            (b"\x28\xb5\x2f\xfd\x04", Packing::Zstd),
            (b"\x50\x2a\x4d\x18\x04", Packing::Zstd),
            (b"\x04\x22\x4d\x18\x64", Packing::Lz4),
            (b"VCS\x01\x01\x00\x01\x04\x22\x4d\x18", Packing::VcsLz4),
            (b"VCS\x01\x02\x00\x01\x28\xb5\x2f\xfd", Packing::VcsZstd),
        ] {
            assert_eq!(recognise(head), Content::Dump(packing), "{}", Escaped(head));
        }
    }

    fn message(head: &[u8]) -> String {
        match recognise(head) {
            Content::Dump(packing) => panic!("taken for a dump: {packing}"),
            Content::Other(guess) => no_dump(head, &guess, "FILE", &options()).to_string(),
        }
    }

    #[test]
    fn what_is_no_dump_is_named_with_the_next_step() {
        let mut tar = vec![0; 512];
        tar[..4].copy_from_slice(b"dump");
        tar[257..262].copy_from_slice(b"ustar");
        for (head, words) in [
            (&b"RED"[..], "ends inside the magic; copy"),
            (
                b"*3\r\n$3\r\nSET\r\n",
                "append-only file (commands, without an RDB part in front); send it as it is: `redis-cli -u URL --pipe < FILE`",
            ),
            (b"#TS:1700000000\r\n*2\r\n", "append-only file"),
            (b"file appendonly.aof.1.base.rdb seq 1 type b\n", "manifest"),
            (b"$EOF:0123", "SYNC"),
            (b"$1024\r\nREDIS", "SYNC"),
            (&tar, "tar archive; take the dump out of it: `tar -xOf"),
            (
                b"PK\x03\x04xx",
                "zip archive; unzip -p FILE | rdbridge info - …",
            ),
            (b"BZh91AY", "bzip2 -dc FILE | rdbridge info - …"),
            (b"\xfd7zXZ\0\0", "xz -dc FILE | rdbridge info - …"),
            (b"UkVESVMwMDEx", "base64 -d FILE"),
            (b"<?xml version", "error page"),
            (b"{\"a\":1}", "JSON"),
            (b"\x89PNG\r\n", "a picture"),
            (b"Salted__abc", "decrypt"),
            (b"\0\0\0\0\0\0", "zero bytes"),
            ("grüße an alle".as_bytes(), "a text"),
            (b"\x00\x01\x02\x93", "nothing known"),
            (b"VCS\x02\x01\x00\x01", "is not understood"),
            (b"VCS\x01\x03\x00\x01", "codec"),
            (b"*not resp", "a text"),
        ] {
            let message = message(head);
            assert!(message.contains(words), "{message}");
            assert!(
                !message.contains('\n') && !message.contains('\x1b'),
                "{message}"
            );
        }
        assert!(message(b"hello").starts_with("is no RDB file: it begins with \"hello\", a text"));
    }

    #[test]
    fn commands_are_known_also_when_cut() {
        let whole = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
        for len in 2..whole.len() {
            assert!(is_commands(&whole[..len]), "{len}");
        }
        for no in [
            &b""[..],
            b"*",
            b"*x",
            b"*3x",
            b"*3\r\n+",
            b"*99999999999\r\n$",
            b"#T",
            b"#TS:x",
        ] {
            assert!(!is_commands(no), "{}", Escaped(no));
        }
    }
}
