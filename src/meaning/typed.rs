//! Collections read by type: what the file has is asked for, in windows that both sides walk in step.
//!
//! One decoder walks the value to ask, the other one to judge the answers. A window's size is found from the file alone, so
//! several can be under way.

use super::Abilities;
use super::bytes::judge_reply;
use super::found::{Differences, Spot, What};
use super::walk::{Item, Walk, positive_zero};
use crate::error::{Escaped, Result};
use crate::resp::pack::MAX_ARGUMENTS;
use crate::resp::{Talk, Token};
use crate::snapshot::Kind;
use crate::value::{Element, IntText};
use crate::wire::double;

/// Elements in one window at most: with name, key and options they stay below [`MAX_ARGUMENTS`].
pub(super) const ELEMENTS: usize = 400;
const _: () = assert!(ELEMENTS + 8 <= MAX_ARGUMENTS);

/// Bytes of names that are sent in one window, about.
const ASKED: usize = 32 * 1024;

/// Bytes of values that a window's replies have by the file, about.
const ANSWERED: u64 = 128 * 1024;

/// What was asked in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Elements whose names were gathered in one command.
    pub(super) gathered: usize,
    /// Behind them, one with a name too long to be held.
    long: bool,
    /// Whole replies that are due.
    pub(super) replies: u64,
    /// Bytes of replies that the file lets us expect.
    pub(super) bytes: u64,
    /// The walk came to its end.
    pub(super) last: bool,
}

/// Names that are gathered for one command.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    packed: Vec<u8>,
    count: usize,
}

impl Gathered {
    fn push(&mut self, name: &[u8]) {
        let mut digits = itoa::Buffer::new();
        self.packed.push(b'$');
        self.packed
            .extend_from_slice(digits.format(name.len()).as_bytes());
        self.packed.extend_from_slice(b"\r\n");
        self.packed.extend_from_slice(name);
        self.packed.extend_from_slice(b"\r\n");
        self.count = self.count.saturating_add(1);
    }
}

/// Asks for the next elements of a collection. `at` is the number of elements asked for before.
pub(super) fn ask(
    talk: &mut Talk<'_>,
    gathered: &mut Gathered,
    abilities: &Abilities,
    key: &[u8],
    walk: &mut Walk<'_>,
    at: &mut u64,
) -> Result<Window> {
    let kind = walk.kind();
    let mut window = Window {
        gathered: 0,
        long: false,
        replies: 0,
        bytes: 0,
        last: false,
    };
    gathered.packed.clear();
    gathered.count = 0;
    let mut elements = 0usize;
    while elements < ELEMENTS && gathered.packed.len() < ASKED && window.bytes < ANSWERED {
        let Some(item) = walk.next()? else {
            window.last = true;
            break;
        };
        elements = elements.saturating_add(1);
        window.bytes = window.bytes.saturating_add(match (kind, &item.value) {
            (Kind::List, _) => item.name.len().saturating_add(16),
            (_, Some(value)) => value.len().saturating_add(40),
            _ => 32,
        });
        if kind == Kind::List {
            continue;
        }
        let mut text = IntText::new();
        match item.name.short(&mut text) {
            Some(name) => gathered.push(name),
            None => {
                // Its bytes are read once before they are sent: a command cannot be taken back.
                item.name.write_to(|_| Ok(()))?;
                window.long = true;
                send_gathered(talk, gathered, abilities, kind, key, &mut window)?;
                send_long(talk, abilities, kind, key, &item.name, &mut window)?;
                break;
            }
        }
    }
    if kind == Kind::List {
        window.gathered = elements;
        if elements > 0 {
            let end = at.saturating_add(elements as u64).saturating_sub(1);
            talk.begin(4);
            talk.arg(b"LRANGE")?;
            talk.arg(key)?;
            talk.arg_number(*at)?;
            talk.arg_number(end)?;
            window.replies = 1;
        }
    } else if !window.long {
        send_gathered(talk, gathered, abilities, kind, key, &mut window)?;
    }
    *at = at.saturating_add(elements as u64);
    Ok(window)
}

fn send_gathered(
    talk: &mut Talk<'_>,
    gathered: &Gathered,
    abilities: &Abilities,
    kind: Kind,
    key: &[u8],
    window: &mut Window,
) -> Result<()> {
    let count = gathered.count;
    window.gathered = count;
    if count == 0 {
        return Ok(());
    }
    let names = count as u64;
    let plural = match kind {
        Kind::Hash => {
            if abilities.hpexpiretime {
                talk.begin(names.saturating_add(4));
                talk.arg(b"HPEXPIRETIME")?;
                talk.arg(key)?;
                talk.arg(b"FIELDS")?;
                talk.arg_number(names)?;
                talk.packed(&gathered.packed)?;
                window.replies = window.replies.saturating_add(1);
            }
            Some(&b"HMGET"[..])
        }
        Kind::Set if abilities.smismember => Some(&b"SMISMEMBER"[..]),
        Kind::ZSet if abilities.zmscore => Some(&b"ZMSCORE"[..]),
        _ => None,
    };
    if let Some(command) = plural {
        talk.begin(names.saturating_add(2));
        talk.arg(command)?;
        talk.arg(key)?;
        talk.packed(&gathered.packed)?;
        window.replies = window.replies.saturating_add(1);
        return Ok(());
    }
    let mut rest = gathered.packed.as_slice();
    for _ in 0..count {
        // `$length\r\n`, the name, `\r\n`: as it was put together above.
        let end = rest.iter().position(|b| *b == b'\r').unwrap_or(rest.len());
        let length: usize = rest
            .get(1..end)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0);
        let (one, behind) =
            rest.split_at(rest.len().min(end.saturating_add(length).saturating_add(4)));
        rest = behind;
        talk.begin(3);
        talk.arg(singular(kind))?;
        talk.arg(key)?;
        talk.packed(one)?;
    }
    window.replies = window.replies.saturating_add(names);
    Ok(())
}

fn singular(kind: Kind) -> &'static [u8] {
    if kind == Kind::ZSet {
        b"ZSCORE"
    } else {
        b"SISMEMBER"
    }
}

/// Asks for one element whose name goes in pieces.
fn send_long(
    talk: &mut Talk<'_>,
    abilities: &Abilities,
    kind: Kind,
    key: &[u8],
    name: &Element<'_>,
    window: &mut Window,
) -> Result<()> {
    let mut send = |command: &[u8], options: &[&[u8]]| -> Result<()> {
        talk.begin((options.len() as u64).saturating_add(3));
        talk.arg(command)?;
        talk.arg(key)?;
        for option in options {
            talk.arg(option)?;
        }
        talk.begin_arg(name.len());
        name.write_to(|piece| talk.arg_piece(piece))?;
        talk.end_arg()?;
        window.replies = window.replies.saturating_add(1);
        Ok(())
    };
    match kind {
        Kind::Hash => {
            if abilities.hpexpiretime {
                send(b"HPEXPIRETIME", &[b"FIELDS", b"1"])?;
            }
            send(b"HMGET", &[])
        }
        _ if is_plural(kind, abilities) => send(
            if kind == Kind::ZSet {
                b"ZMSCORE"
            } else {
                b"SMISMEMBER"
            },
            &[],
        ),
        _ => send(singular(kind), &[]),
    }
}

fn is_plural(kind: Kind, abilities: &Abilities) -> bool {
    match kind {
        Kind::Set => abilities.smismember,
        Kind::ZSet => abilities.zmscore,
        _ => true,
    }
}

/// How the judging of a value stands.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) found: Differences,
    /// Elements judged so far.
    pub(super) elements: u64,
    /// Those of them whose own time has come.
    pub(super) expired: u64,
    /// The server's words, where it refused to answer: nothing more can be judged.
    pub(super) refused: Option<String>,
}

impl Judged {
    /// Whether there is no use in asking more.
    pub(super) fn is_over(&self) -> bool {
        self.refused.is_some() || self.found.is_full()
    }

    pub(super) fn refuse(&mut self, words: &[u8]) {
        self.refused
            .get_or_insert_with(|| Escaped(words).to_string());
    }
}

/// Judges the replies to a window.
pub(super) fn judge(
    talk: &mut Talk<'_>,
    abilities: &Abilities,
    walk: &mut Walk<'_>,
    window: &Window,
    now_ms: i64,
    times: &mut Vec<i64>,
    judged: &mut Judged,
) -> Result<()> {
    let mut left = window.replies;
    for count in [window.gathered, usize::from(window.long)] {
        if count == 0 {
            continue;
        }
        if judged.refused.is_none() {
            judge_part(
                talk, abilities, walk, count, now_ms, times, judged, &mut left,
            )?;
        }
    }
    // What was not read because the server refused.
    talk.skip_replies(left)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the state of one walk, used once"
)]
fn judge_part(
    talk: &mut Talk<'_>,
    abilities: &Abilities,
    walk: &mut Walk<'_>,
    count: usize,
    now_ms: i64,
    times: &mut Vec<i64>,
    judged: &mut Judged,
    left: &mut u64,
) -> Result<()> {
    let kind = walk.kind();
    times.clear();
    if kind == Kind::Hash && abilities.hpexpiretime {
        *left = left.saturating_sub(1);
        if !begin_array(talk, count as u64, judged)? {
            return Ok(());
        }
        for _ in 0..count {
            match talk.token()? {
                Token::Integer(time) => times.push(time),
                _ => return Err(talk.out_of_step("HPEXPIRETIME was answered by no number")),
            }
        }
    }
    let plural = is_plural(kind, abilities);
    if plural {
        *left = left.saturating_sub(1);
        let there = match array_len(talk, judged)? {
            Some(there) => there,
            None => return Ok(()),
        };
        if there != count as u64 {
            if kind != Kind::List || there > count as u64 {
                return Err(
                    talk.out_of_step("a reply of another number of elements than asked for")
                );
            }
            return short_list(talk, walk, count as u64, there, judged);
        }
    }
    for i in 0..count {
        let Some(item) = walk.next()? else {
            return Err(talk.out_of_step("the value in the file changed while it was read"));
        };
        if !plural {
            *left = left.saturating_sub(1);
        }
        judge_item(
            talk,
            abilities,
            kind,
            &item,
            times.get(i).copied(),
            now_ms,
            judged,
        )?;
        judged.elements = judged.elements.saturating_add(1);
    }
    Ok(())
}

/// A list that ends before the file's does.
fn short_list(
    talk: &mut Talk<'_>,
    walk: &mut Walk<'_>,
    count: u64,
    there: u64,
    judged: &mut Judged,
) -> Result<()> {
    for i in 0..count {
        let Some(item) = walk.next()? else { break };
        let at = judged.elements;
        judged.elements = at.saturating_add(1);
        if i < there {
            text(talk, &item.name, || Spot::Index(at), judged)?;
        } else if i == there {
            judged
                .found
                .add(What::Value, Spot::Index(at), "missing at the destination");
        }
    }
    Ok(())
}

/// The length of the array reply that is due; `None` where the server refused.
fn array_len(talk: &mut Talk<'_>, judged: &mut Judged) -> Result<Option<u64>> {
    match talk.token()? {
        Token::Array(there) => Ok(Some(there)),
        // What is not there has nothing.
        Token::Nil => {
            judged.refuse(b"the key went away while it was read");
            Ok(None)
        }
        Token::Error(words) => {
            judged.refuse(words);
            Ok(None)
        }
        _ => Err(talk.out_of_step("a list of elements was asked for, and something else came")),
    }
}

fn begin_array(talk: &mut Talk<'_>, count: u64, judged: &mut Judged) -> Result<bool> {
    match array_len(talk, judged)? {
        None => Ok(false),
        Some(there) if there == count => Ok(true),
        Some(0) => {
            judged.refuse(b"the key went away while it was read");
            Ok(false)
        }
        Some(_) => Err(talk.out_of_step("a reply of another number of elements than asked for")),
    }
}

/// A text is due, which should be `mine`.
fn text(
    talk: &mut Talk<'_>,
    mine: &Element<'_>,
    spot: impl FnOnce() -> Spot,
    judged: &mut Judged,
) -> Result<()> {
    match talk.token()? {
        Token::Text(length) => judge_reply(talk, length, mine, spot, &mut judged.found),
        Token::Nil => {
            judged
                .found
                .add(What::Value, spot(), "missing at the destination");
            Ok(())
        }
        Token::Error(words) => {
            judged.refuse(words);
            Ok(())
        }
        _ => Err(talk.out_of_step("a text was asked for, and something else came")),
    }
}

fn judge_item(
    talk: &mut Talk<'_>,
    abilities: &Abilities,
    kind: Kind,
    item: &Item<'_>,
    time: Option<i64>,
    now_ms: i64,
    judged: &mut Judged,
) -> Result<()> {
    if kind == Kind::Set && item.expire_at_ms.is_some() {
        judged.refuse(
            b"its members have expiries of their own (Dragonfly), which cannot be asked for",
        );
    }
    match kind {
        Kind::List => {
            let at = judged.elements;
            text(talk, &item.name, || Spot::Index(at), judged)
        }
        Kind::Set => match talk.token()? {
            Token::Integer(1) => Ok(()),
            Token::Integer(0) => {
                judged.found.add(
                    What::Value,
                    Spot::Member(Spot::name(&item.name)),
                    "missing at the destination",
                );
                Ok(())
            }
            Token::Error(words) => {
                judged.refuse(words);
                Ok(())
            }
            _ => Err(talk.out_of_step("a membership was asked for, and something else came")),
        },
        Kind::ZSet => judge_score(talk, item, judged),
        _ => judge_field(talk, abilities, item, time, now_ms, judged),
    }
}

fn judge_score(talk: &mut Talk<'_>, item: &Item<'_>, judged: &mut Judged) -> Result<()> {
    /// No server writes a score in more.
    const LONGEST: u64 = 512;
    let spot = || Spot::Member(Spot::name(&item.name));
    match talk.token()? {
        Token::Nil => judged
            .found
            .add(What::Value, spot(), "missing at the destination"),
        Token::Text(length) if length <= LONGEST => {
            let Some(score) = double::parse(talk.whole()?) else {
                return Err(talk.out_of_step("a score was asked for, and no number came"));
            };
            if positive_zero(score).to_bits() != item.score.to_bits() {
                judged.found.add(
                    What::Value,
                    spot(),
                    format!(
                        "score {} in the file, {score} at the destination",
                        item.score
                    ),
                );
            }
        }
        Token::Error(words) => judged.refuse(words),
        _ => return Err(talk.out_of_step("a score was asked for, and something else came")),
    }
    Ok(())
}

fn judge_field(
    talk: &mut Talk<'_>,
    abilities: &Abilities,
    item: &Item<'_>,
    time: Option<i64>,
    now_ms: i64,
    judged: &mut Judged,
) -> Result<()> {
    let spot = || Spot::Field(Spot::name(&item.name));
    let is_past = |at: i64| at <= now_ms.saturating_add(abilities.ttl_tolerance_ms);
    let expired = item.expire_at_ms.is_some_and(is_past);
    if expired {
        judged.expired = judged.expired.saturating_add(1);
    }
    match talk.token()? {
        Token::Text(length) => {
            if let Some(value) = &item.value {
                judge_reply(talk, length, value, spot, &mut judged.found)?;
            }
        }
        Token::Nil if expired => return Ok(()),
        Token::Nil => {
            judged
                .found
                .add(What::Value, spot(), "missing at the destination");
            return Ok(());
        }
        Token::Error(words) => {
            judged.refuse(words);
            return Ok(());
        }
        _ => return Err(talk.out_of_step("a field was asked for, and something else came")),
    }
    let theirs = time.filter(|time| *time >= 0);
    let differs = match (item.expire_at_ms, theirs) {
        (Some(own), Some(theirs)) => {
            own.abs_diff(theirs) > abilities.ttl_tolerance_ms.unsigned_abs()
        }
        (own, theirs) => own != theirs,
    };
    if differs {
        judged.found.add(
            What::FieldExpiry,
            spot(),
            format!(
                "{} in the file, {} at the destination",
                shown(item.expire_at_ms),
                shown(theirs)
            ),
        );
    }
    Ok(())
}

fn shown(expiry: Option<i64>) -> String {
    match expiry {
        Some(at) => format!("expires at {at} ms"),
        None => "no expiry".to_owned(),
    }
}
