//! The patterns of `KEYS` and `SCAN … MATCH` (`stringmatchlen` in `util.c`), on bytes.
//!
//! `*` any bytes, `?` one byte, `[abc]`, `[a-z]` and `[^a-z]` one byte of a set, `\` takes the next byte literally. Servers
//! recurse at each `*`; here the pattern is compiled and only the last `*` is ever gone back to, which finds the same and
//! costs at most pattern length × key length.
//!
//! Habits of servers that are kept: a range may be written backwards; a set that is never closed ends with the pattern; `[]`
//! matches nothing and `[^]` any byte; `\` at the very end is itself; an empty key is matched by `*` and the empty pattern
//! only; bytes are compared signed in ranges, as on x86-64 (`[a-\xff]` is not what one would think).

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    /// The pattern is exactly `*`: servers do not even look at the key then.
    all: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This byte.
    Byte(u8),
    /// Any byte.
    One,
    /// Any number of any bytes. Never two in a row.
    Any,
    /// A byte whose bit is set.
    Set(Box<[u64; 4]>),
}

impl Glob {
    /// Compiles a pattern. Every pattern means something, so there is no error.
    #[must_use]
    pub fn new(pattern: &[u8]) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            let token = match byte {
                b'*' if tokens.last() == Some(&Token::Any) => continue,
                b'*' => Token::Any,
                b'?' => Token::One,
                b'[' => {
                    let (set, behind) = read_set(rest);
                    rest = behind;
                    Token::Set(Box::new(set))
                }
                b'\\' => match rest.split_first() {
                    Some((&literal, behind)) => {
                        rest = behind;
                        Token::Byte(literal)
                    }
                    None => Token::Byte(b'\\'),
                },
                literal => Token::Byte(literal),
            };
            tokens.push(token);
        }
        Self {
            tokens,
            all: pattern == b"*",
        }
    }

    /// Whether the whole of `key` fits the pattern.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        if self.all {
            return true;
        }
        if key.is_empty() {
            // The servers' loop never begins, so even `**` does not match.
            return self.tokens.is_empty();
        }
        let (mut token, mut at) = (0, 0);
        // Behind the last `*`: its token, and the first byte that it has not swallowed yet.
        let mut again: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Any) => {
                    token += 1;
                    if token == self.tokens.len() {
                        return true;
                    }
                    again = Some((token, at));
                    continue;
                }
                Some(one) if at < key.len() && one.takes(key[at]) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                // The key is used up: with fewer bytes left, later places of the last `*` cannot fit either.
                rest if at == key.len() => return rest.is_none(),
                Some(_) | None => {}
            }
            match again {
                Some((behind_star, swallowed)) if swallowed < key.len() => {
                    again = Some((behind_star, swallowed + 1));
                    (token, at) = (behind_star, swallowed + 1);
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(literal) => *literal == byte,
            Token::One => true,
            Token::Set(set) => set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
            Token::Any => false,
        }
    }
}

/// A set from behind its `[`, and what follows its `]`.
fn read_set(mut rest: &[u8]) -> ([u64; 4], &[u8]) {
    let mut set = [0u64; 4];
    let mut add = |byte: u8| set[usize::from(byte >> 6)] |= 1 << (byte & 63);
    let not = rest.first() == Some(&b'^');
    if not {
        rest = &rest[1..];
    }
    loop {
        match rest {
            [b'\\', literal, behind @ ..] => {
                add(*literal);
                rest = behind;
            }
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [] => break,
            [from, b'-', to, behind @ ..] => {
                let (from, to) = (from.cast_signed(), to.cast_signed());
                for byte in from.min(to)..=from.max(to) {
                    add(byte.cast_unsigned());
                }
                rest = behind;
            }
            [literal, behind @ ..] => {
                add(*literal);
                rest = behind;
            }
        }
    }
    if not {
        for word in &mut set {
            *word = !*word;
        }
    }
    (set, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &[u8], key: &[u8]) -> bool {
        Glob::new(pattern).matches(key)
    }

    #[test]
    fn the_forms_and_the_habits_of_servers() {
        for (pattern, key, expected) in [
            (&b"*"[..], &b""[..], true),
            (b"**", b"", false),
            (b"", b"", true),
            (b"", b"a", false),
            (b"?", b"", false),
            (b"user:*", b"user:17", true),
            (b"user:*", b"user:", true),
            (b"user:*", b"use", false),
            (b"*a*b*", b"xxaxxbxx", true),
            (b"*a*b", b"axbxc", false),
            (b"a**b", b"ab", true),
            (b"h?llo", b"hello", true),
            (b"h?llo", b"hllo", false),
            (b"h[ae]llo", b"hallo", true),
            (b"h[^e]llo", b"hello", false),
            (b"h[a-c]llo", b"hbllo", true),
            (b"h[c-a]llo", b"hbllo", true),
            (b"[a-]", b"-", false),
            (b"[a-]", b"a", true),
            (b"[a-]]", b"b", false),
            (b"[a-]]", b"^", true),
            (b"[]a]", b"a]", false),
            (b"[^]", b"x", true),
            (b"[abc", b"b", true),
            (b"[", b"[", false),
            (b"[^", b"x", true),
            (b"[\\]]", b"]", true),
            (b"[\\", b"\\", true),
            (b"\\*", b"*", true),
            (b"\\*", b"a", false),
            (b"a\\", b"a\\", true),
            (b"\xff\x00*", b"\xff\x00\x01", true),
            (b"[\x80-\xff]", b"\x90", true),
            (b"[a-\xff]", b"b", false),
            (b"[a-\xff]", b"Z", true),
        ] {
            assert_eq!(
                matches(pattern, key),
                expected,
                "{} on {}",
                pattern.escape_ascii(),
                key.escape_ascii()
            );
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_length_times_length() {
        let pattern = [&b"*a".repeat(200)[..], b"b"].concat();
        let key = vec![b'a'; 20_000];
        let start = std::time::Instant::now();
        assert!(!matches(&pattern, &key));
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }

    /// The definition, without sets: every way in which a `*` may swallow bytes.
    fn by_definition(pattern: &[u8], key: &[u8]) -> bool {
        match pattern {
            [] => key.is_empty(),
            [b'*', rest @ ..] => (0..=key.len()).any(|n| by_definition(rest, &key[n..])),
            [b'?', rest @ ..] => !key.is_empty() && by_definition(rest, &key[1..]),
            [byte, rest @ ..] => key.first() == Some(byte) && by_definition(rest, &key[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn going_back_to_the_last_star_finds_every_match(
            pattern in "[ab*?]{0,9}",
            key in "[ab]{1,12}",
        ) {
            prop_assert_eq!(
                matches(pattern.as_bytes(), key.as_bytes()),
                by_definition(pattern.as_bytes(), key.as_bytes())
            );
        }
    }
}
