//! What the replies to the questions for one key amount to.

use super::bytes::reply_differs;
use super::comparer::Comparer;
use super::dump;
use super::found::{Differences, Spot, What};
use super::typed::{self, Judged};
use super::walk::Walk;
use super::{Abilities, Bookkeeping, Expiry, Verdict, Wanted, now_ms};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::Token;
use crate::snapshot::{Entry, Kind};
use crate::value::{Element, Value};
use crate::wire::{Cursor, Str};

/// A payload that is collected at most; a longer one is not what the file has.
pub(super) const PAYLOAD: u64 = 2 << 20;

/// What the destination said of a key's expiry: the earliest and the latest instant that it can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    NoKey,
    Never,
    Between(i64, i64),
}

impl<T> Comparer<'_, '_, T> {
    /// A string, then its expiry.
    pub(super) fn text(
        &mut self,
        wanted: &Wanted<'_>,
        asked_at_ms: i64,
    ) -> Result<Option<Verdict>> {
        let entry = &wanted.entry;
        let value = match self.talk.token()? {
            Token::Text(length) => {
                let string = Str::read(&mut Cursor::new(entry.value, entry.value_offset))?;
                match Element::of(string, &mut self.bench.text) {
                    Ok(element) => match reply_differs(&mut self.talk, length, &element)? {
                        None => Some(Verdict::Same),
                        Some(how) => Some(differs(What::Value, how)),
                    },
                    Err(error) => Some(unreadable(&error)),
                }
            }
            // Away, or written between the two questions.
            Token::Nil => None,
            Token::Error(words) if words.starts_with(b"WRONGTYPE") || words.starts_with(WRONG) => {
                None
            }
            Token::Error(words) => Some(refusal(words)?),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a text was asked for, and something else came"));
            }
        };
        self.with_expiry(wanted, value, asked_at_ms)
    }

    /// A payload, then the key's expiry.
    pub(super) fn payload(
        &mut self,
        wanted: &Wanted<'_>,
        asked_at_ms: i64,
    ) -> Result<Option<Verdict>> {
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        let value = match self.talk.token()? {
            Token::Text(length) if length <= PAYLOAD => {
                let payload = self.talk.whole()?;
                match dump::judge(wanted, payload, &mut self.bench.decoders, now) {
                    Ok(value) => value,
                    Err(error) if is_local(&error) => Some(unreadable(&error)),
                    Err(error) => return Err(error),
                }
            }
            Token::Text(_) | Token::Nil => None,
            Token::Error(words) => Some(refusal(words)?),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a payload was asked for, and something else came"));
            }
        };
        self.with_expiry(wanted, value, asked_at_ms)
    }

    /// A window that is the whole value, then type, cardinality and expiry.
    pub(super) fn typed(
        &mut self,
        wanted: &Wanted<'_>,
        asked_at_ms: i64,
        window: Option<typed::Window>,
    ) -> Result<Option<Verdict>> {
        let Some(window) = window else {
            return Err(self.talk.out_of_step("a value was not asked for"));
        };
        let mut judged = Judged::default();
        let now = now_ms().saturating_add(self.abilities.clock_ahead_ms);
        if window.last
            && let Some(mut walk) = Walk::of(self.bench.decoders.mine.decode(&wanted.entry)?)
        {
            typed::judge(
                &mut self.talk,
                self.abilities,
                &mut walk,
                &window,
                now,
                &mut self.bench.times,
                &mut judged,
            )?;
        } else {
            self.talk.skip_replies(window.replies)?;
        }
        let head = self.head(asked_at_ms)?;
        if !window.last && matches!(head.told, Ok(told) if told != Told::NoKey) {
            return Ok(None);
        }
        self.conclude(wanted, &head, judged, Bookkeeping::default())
            .map(Some)
    }

    pub(super) fn with_expiry(
        &mut self,
        wanted: &Wanted<'_>,
        value: Option<Verdict>,
        asked_at_ms: i64,
    ) -> Result<Option<Verdict>> {
        let told = match self.told(asked_at_ms)? {
            Ok(Told::NoKey) => return self.missing(wanted).map(Some),
            Ok(told) => told,
            Err(words) => return refusal(words.as_bytes()).map(Some),
        };
        let Some(value) = value else { return Ok(None) };
        Ok(Some(
            match expiry_differs(self.abilities, wanted.expiry, told) {
                None => value,
                Some(how) => match value {
                    Verdict::NotComparable(_) => value,
                    Verdict::Different(mut found) => {
                        found.add(What::Expiry, Spot::Key, how);
                        Verdict::Different(found)
                    }
                    _ => differs(What::Expiry, how),
                },
            },
        ))
    }

    /// The reply to a question for the expiry; `Err` with the server's words.
    pub(super) fn told(&mut self, asked_at_ms: i64) -> Result<std::result::Result<Told, String>> {
        let number = match self.talk.token()? {
            Token::Integer(number) => number,
            Token::Error(words) => return Ok(Err(String::from_utf8_lossy(words).into_owned())),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("an expiry was asked for, and no number came"));
            }
        };
        Ok(Ok(match number {
            -2 => Told::NoKey,
            ..0 => Told::Never,
            at if self.abilities.pexpiretime => Told::Between(at, at),
            left => {
                let ahead = self.abilities.clock_ahead_ms;
                let since = |instant: i64| left.saturating_add(instant).saturating_add(ahead);
                Told::Between(since(asked_at_ms), since(now_ms()))
            }
        }))
    }

    /// A key that is not there, and perhaps should not be any more.
    pub(super) fn missing(&mut self, wanted: &Wanted<'_>) -> Result<Verdict> {
        let now = now_ms()
            .saturating_add(self.abilities.clock_ahead_ms)
            .saturating_add(self.abilities.ttl_tolerance_ms);
        let gone = match wanted.expiry {
            Expiry::At(at) => at <= now,
            // Counted from an instant before ours.
            Expiry::Until(_) => true,
            Expiry::Never => false,
        };
        if gone {
            return Ok(Verdict::Expired);
        }
        // A hash goes with its last field.
        if let Ok(value @ Value::Hash(_)) = self.bench.decoders.mine.decode(&wanted.entry)
            && let Some(mut walk) = Walk::of(value)
        {
            let mut fields = 0u64;
            loop {
                match walk.next() {
                    Ok(Some(item)) if item.expire_at_ms.is_some_and(|at| at <= now) => {
                        fields = fields.saturating_add(1);
                    }
                    Ok(None) if fields > 0 => return Ok(Verdict::Expired),
                    _ => break,
                }
            }
        }
        Ok(Verdict::Missing)
    }

    /// Type, cardinality and expiry.
    pub(super) fn head(&mut self, asked_at_ms: i64) -> Result<Head> {
        let kind = match self.talk.token()? {
            Token::Simple(kind) => Ok(String::from_utf8_lossy(kind).into_owned()),
            Token::Error(words) => Err(String::from_utf8_lossy(words).into_owned()),
            _ => {
                return Err(self
                    .talk
                    .out_of_step("a type was asked for, and something else came"));
            }
        };
        let card = match self.talk.token()? {
            Token::Integer(count) => u64::try_from(count).ok(),
            _ => None,
        };
        self.talk.finish()?;
        let told = self.told(asked_at_ms)?;
        Ok(Head { kind, card, told })
    }

    /// The verdict from all that was read.
    pub(super) fn conclude(
        &mut self,
        wanted: &Wanted<'_>,
        head: &Head,
        mut judged: Judged,
        books: Bookkeeping,
    ) -> Result<Verdict> {
        let entry = &wanted.entry;
        let kind = match &head.kind {
            Ok(kind) => kind,
            Err(words) => return refusal(words.as_bytes()),
        };
        if head.told == Ok(Told::NoKey) || kind == "none" {
            return self.missing(wanted);
        }
        if !head.is(entry) {
            let own = entry.type_info().map_or("unknown", |info| info.kind.name());
            return Ok(differs(
                What::Type,
                format!("{own} in the file, {kind} at the destination"),
            ));
        }
        if let Some(words) = judged.refused {
            return refusal(words.as_bytes());
        }
        if !judged.found.is_full() && !judged.found.more {
            let least = judged.elements.saturating_sub(judged.expired);
            match head.card {
                Some(card) if card < least || card > judged.elements => judged.found.add(
                    What::Count,
                    Spot::Key,
                    format!(
                        "{} {} in the file, {card} at the destination",
                        judged.elements,
                        unit(entry)
                    ),
                ),
                _ => {}
            }
        }
        let value = if !judged.found.is_empty() {
            Verdict::Different(judged.found)
        } else if books.is_empty() {
            Verdict::Same
        } else {
            Verdict::SameBut(books)
        };
        self.conclude_value(wanted, head, value)
    }

    pub(super) fn conclude_value(
        &mut self,
        wanted: &Wanted<'_>,
        head: &Head,
        value: Verdict,
    ) -> Result<Verdict> {
        let told = match &head.told {
            Ok(told) => *told,
            Err(words) => return refusal(words.as_bytes()),
        };
        if value == Verdict::Missing {
            return self.missing(wanted);
        }
        Ok(match expiry_differs(self.abilities, wanted.expiry, told) {
            None => value,
            Some(how) => match value {
                Verdict::NotComparable(_) => value,
                Verdict::Different(mut found) => {
                    found.add(What::Expiry, Spot::Key, how);
                    Verdict::Different(found)
                }
                _ => differs(What::Expiry, how),
            },
        })
    }
}

/// What is asked of every key that is read by type.
#[derive(Debug)]
pub(super) struct Head {
    /// `TYPE`, or the server's words.
    pub(super) kind: std::result::Result<String, String>,
    /// Bytes or elements.
    pub(super) card: Option<u64>,
    pub(super) told: std::result::Result<Told, String>,
}

impl Head {
    /// Whether the key is there and has the entry's type.
    pub(super) fn is(&self, entry: &Entry<'_>) -> bool {
        let Ok(kind) = &self.kind else { return false };
        match entry.type_info().map(|info| info.kind) {
            // A module's type has a name of its own.
            Some(Kind::Module) => !matches!(
                kind.as_str(),
                "none" | "string" | "list" | "set" | "zset" | "hash" | "stream" | "array"
            ),
            Some(own) => kind == own.name(),
            None => false,
        }
    }
}

/// How Redis 2.8 begins to say that a key has another type.
pub(super) const WRONG: &[u8] = b"ERR Operation against a key holding the wrong kind";

pub(super) fn cardinality(entry: &Entry<'_>) -> &'static [u8] {
    match entry.type_info().map(|info| info.kind) {
        Some(Kind::String) => b"STRLEN",
        Some(Kind::List) => b"LLEN",
        Some(Kind::Set) => b"SCARD",
        Some(Kind::ZSet) => b"ZCARD",
        Some(Kind::Hash) => b"HLEN",
        Some(Kind::Stream) => b"XLEN",
        // Nothing is counted there.
        _ => b"EXISTS",
    }
}

pub(super) fn unit(entry: &Entry<'_>) -> &'static str {
    match entry.type_info().map(|info| info.kind) {
        Some(Kind::String) => "bytes",
        Some(Kind::Hash) => "fields",
        Some(Kind::Set | Kind::ZSet) => "members",
        Some(Kind::Stream) => "entries",
        _ => "elements",
    }
}

pub(super) fn expiry_command(abilities: &Abilities) -> &'static [u8] {
    if abilities.pexpiretime {
        b"PEXPIRETIME"
    } else {
        b"PTTL"
    }
}

/// The same as it goes over the wire, in front of the key.
pub(super) fn framed_expiry_command(abilities: &Abilities) -> &'static [u8] {
    if abilities.pexpiretime {
        b"*2\r\n$11\r\nPEXPIRETIME\r\n"
    } else {
        b"*2\r\n$4\r\nPTTL\r\n"
    }
}

pub(super) fn expiry_differs(abilities: &Abilities, wanted: Expiry, told: Told) -> Option<String> {
    let tolerance = abilities.ttl_tolerance_ms;
    let (own, same) = match (wanted, told) {
        (Expiry::Never, told) => ("no expiry".to_owned(), told == Told::Never),
        (Expiry::At(at), Told::Between(least, most)) => (
            format!("expires at {at} ms"),
            at >= least.saturating_sub(tolerance) && at <= most.saturating_add(tolerance),
        ),
        (Expiry::At(at), _) => (format!("expires at {at} ms"), false),
        (Expiry::Until(at), Told::Between(least, _)) => (
            format!("expires at {at} ms or before"),
            least <= at.saturating_add(tolerance),
        ),
        (Expiry::Until(at), _) => (format!("expires at {at} ms or before"), false),
    };
    if same {
        return None;
    }
    let theirs = match told {
        Told::Between(_, at) => format!("expires at {at} ms"),
        _ => "no expiry".to_owned(),
    };
    Some(format!("{own} by the file, {theirs} at the destination"))
}

pub(super) fn differs(what: What, how: String) -> Verdict {
    let mut found = Differences::default();
    found.add(what, Spot::Key, how);
    Verdict::Different(found)
}

/// Whether an error is about a value in the file alone.
pub(super) fn is_local(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}

pub(super) fn unreadable(error: &Error) -> Verdict {
    Verdict::NotComparable(format!("its value in the file cannot be read: {error}"))
}

pub(super) fn unreadable_name(error: &Error) -> Verdict {
    Verdict::NotComparable(format!("its name cannot be read: {error}"))
}

/// What a refusal means: some are about the server, all others about this key.
pub(super) fn refusal(words: &[u8]) -> Result<Verdict> {
    const OF_THE_SERVER: [&[u8]; 8] = [
        b"LOADING",
        b"BUSY ",
        b"NOAUTH",
        b"MASTERDOWN",
        b"CLUSTERDOWN",
        b"TRYAGAIN",
        b"MOVED ",
        b"ASK ",
    ];
    let shown = Escaped(words.get(..256).unwrap_or(words)).to_string();
    if OF_THE_SERVER.iter().any(|begin| words.starts_with(begin)) {
        return Err(Error::new(
            ErrorKind::Destination,
            format!("the destination says {shown}; the comparison stopped"),
        ));
    }
    Ok(Verdict::NotComparable(format!(
        "the destination says {shown}"
    )))
}
