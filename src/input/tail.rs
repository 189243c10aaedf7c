//! What stands behind the end of an RDB file.

use super::content::is_commands;

/// What the bytes behind the checksum are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tail {
    /// Nothing.
    None,
    /// Commands: the file is an append-only file with an RDB part in front, or a replication stream that was kept. They are
    /// newer than the RDB part.
    Commands,
    /// The 40-byte delimiter of a diskless transfer, kept by the tool that received it.
    EofMark {
        /// Whether commands follow it: the replication stream, newer than the RDB part.
        commands_follow: bool,
    },
    /// Another RDB file: several were written one behind the other. Its entries are not read.
    AnotherDump,
    /// Zeros only: padding.
    Zeros,
    /// None of these.
    Garbage,
}

impl Tail {
    /// Whether newer writes stand there, which a replay of the RDB part alone would lose.
    #[must_use]
    pub fn holds_writes(self) -> bool {
        matches!(
            self,
            Self::Commands
                | Self::EofMark {
                    commands_follow: true
                }
        )
    }
}

/// Bytes of the delimiter of a diskless transfer (`CONFIG_RUN_ID_SIZE`).
const EOF_MARK: usize = 40;

/// Judges the bytes behind the end of an RDB file.
#[must_use]
pub fn classify_tail(tail: &[u8]) -> Tail {
    if tail.is_empty() {
        return Tail::None;
    }
    if is_commands(tail) {
        return Tail::Commands;
    }
    if let Some((mark, behind)) = tail.split_at_checked(EOF_MARK)
        && mark.iter().all(u8::is_ascii_hexdigit)
        && (behind.is_empty() || is_commands(behind))
    {
        return Tail::EofMark {
            commands_follow: !behind.is_empty(),
        };
    }
    if tail.starts_with(b"REDIS") || tail.starts_with(b"VALKEY") {
        return Tail::AnotherDump;
    }
    // A file of zeros may be long: a few pages of them say enough.
    match tail.iter().take(1 << 20).all(|byte| *byte == 0) {
        true => Tail::Zeros,
        false => Tail::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_told_apart() {
        let mark = b"0123456789abcdef0123456789abcdef01234567";
        let with = |behind: &[u8]| [&mark[..], behind].concat();
        for (tail, is) in [
            (&b""[..], Tail::None),
            (b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", Tail::Commands),
            (b"#TS:1700000000\r\n*1\r\n", Tail::Commands),
            (b"*3\r\n", Tail::Commands),
            (
                mark,
                Tail::EofMark {
                    commands_follow: false,
                },
            ),
            (
                &with(b"*1\r\n$4\r\nPING\r\n"),
                Tail::EofMark {
                    commands_follow: true,
                },
            ),
            (&with(b"x"), Tail::Garbage),
            (&mark[..39], Tail::Garbage),
            (b"REDIS0011", Tail::AnotherDump),
            (b"VALKEY080", Tail::AnotherDump),
            (&[0; 4096], Tail::Zeros),
            (b"\0\0\x01", Tail::Garbage),
            (b"*", Tail::Garbage),
        ] {
            assert_eq!(classify_tail(tail), is, "{}", crate::error::Escaped(tail));
            assert_eq!(
                is.holds_writes(),
                matches!(
                    is,
                    Tail::Commands
                        | Tail::EofMark {
                            commands_follow: true
                        }
                )
            );
        }
    }
}
