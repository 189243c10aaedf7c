//! Many keys under way on one connection: asked in file order, judged as the replies come.

use std::collections::VecDeque;
use std::path::Path;

use super::alone::is_path_hash;
use super::dump::Decoders;
use super::replies::{
    cardinality, expiry_command, framed_expiry_command, is_local, unreadable, unreadable_name,
};
use super::typed::{self, Gathered};
use super::walk::Walk;
use super::{Abilities, Verdict, Wanted, alike, now_ms};
use crate::error::Result;
use crate::name_room::NameRoom;
use crate::resp::{Connection, Talk};
use crate::snapshot::{Entry, Kind};
use crate::transform::Transform;
use crate::value::{Decoder, Lenient};
use crate::wire::{Cursor, Str};

/// Values of at most so many bytes in the file are asked for whole, many at a time.
pub const SMALL: u64 = 256 * 1024;

/// Keys that are under way at most.
const KEYS: usize = 8192;

/// Bytes of replies that are under way at most, as the file lets us expect them: the server has to hold them meanwhile.
const REPLIES: u64 = 4 << 20;

/// Commands between two marks, about.
const MARK_EVERY: u32 = 512;

/// Keys that wait for a closer look, at most.
const CLOSER: usize = 64;

/// The buffers of a comparison, which outlive single connections.
#[derive(Debug)]
pub struct Bench {
    pub(super) decoders: Decoders,
    pub(super) gathered: Gathered,
    pub(super) key: NameRoom,
    pub(super) text: Vec<u8>,
    pub(super) times: Vec<i64>,
    pub(super) spool_dir: std::path::PathBuf,
    /// What keys are called at the destination, and what became of expiries.
    pub(super) transform: Transform,
}

impl Bench {
    /// What is too large to be held goes to spools in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: &Path) -> Self {
        let decoder = || Decoder::with_findings(Some(spool_dir), Lenient);
        Self {
            decoders: Decoders {
                mine: decoder(),
                theirs: decoder(),
                prints: alike::Prints::new(),
                as_they_are: true,
            },
            gathered: Gathered::default(),
            key: NameRoom::new(Some(spool_dir)),
            text: Vec::new(),
            times: Vec::new(),
            spool_dir: spool_dir.to_owned(),
            transform: Transform::default(),
        }
    }

    /// For keys that arrived under other names, or with other expiries inside their values.
    #[must_use]
    pub fn arriving(mut self, transform: &Transform) -> Self {
        self.transform = transform.clone();
        self.decoders.mine.set_expiries(transform.expiries);
        self.decoders.as_they_are = transform.expiries.is_keep();
        self
    }
}

/// How a key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// A string, whole.
    Text,
    /// `DUMP`.
    Dump,
    /// By type, in one window.
    Typed,
    /// By type, or by a payload of any size, with nothing else under way.
    Alone,
}

/// How a key is looked at that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As its type wants it.
    ByType,
    /// One window was not enough.
    Alone,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one in hundreds is a mark; a box for each key would cost more"
)]
enum Due<'data, T> {
    Key {
        wanted: Wanted<'data>,
        ticket: T,
        plan: Plan,
        bytes: u64,
        asked_at_ms: i64,
        window: Option<typed::Window>,
    },
    Mark(u64),
}

/// Compares entries with what the destination holds.
#[derive(Debug)]
pub struct Comparer<'c, 'data, T> {
    pub(super) talk: Talk<'c>,
    pub(super) abilities: &'c Abilities,
    pub(super) bench: &'c mut Bench,
    due: VecDeque<Due<'data, T>>,
    keys: usize,
    bytes: u64,
    pub(super) since_mark: u32,
    marks: bool,
    /// Judged; the first `proven` of them by replies that a mark showed to be their own.
    pub(super) judged: VecDeque<(Wanted<'data>, T, Verdict)>,
    proven: usize,
    pub(super) closer: VecDeque<(Wanted<'data>, T, Look)>,
}

/// Compares one entry. The connection has nothing under way, before and after.
///
/// # Errors
/// The connection fails; `Corrupt` never: a value that cannot be read is [`Verdict::NotComparable`].
pub fn compare_one(
    connection: &mut Connection,
    abilities: &Abilities,
    bench: &mut Bench,
    wanted: &Wanted<'_>,
) -> Result<Verdict> {
    let mut verdict = None;
    let mut comparer = Comparer::new(connection, abilities, bench)?;
    let mut sink = |_, (), found| {
        verdict = Some(found);
        Ok(())
    };
    comparer.push(*wanted, (), &mut sink)?;
    comparer.drain(&mut sink)?;
    drop(comparer);
    Ok(verdict.unwrap_or(Verdict::NotComparable(
        "no answer was taken for it".to_owned(),
    )))
}

impl<'c, 'data, T> Comparer<'c, 'data, T> {
    /// Takes a connection that has nothing under way; [`Comparer::drain`] leaves it so.
    ///
    /// # Errors
    /// The connection is over, or out of step.
    pub fn new(
        connection: &'c mut Connection,
        abilities: &'c Abilities,
        bench: &'c mut Bench,
    ) -> Result<Self> {
        let marks = connection.prove()?;
        Ok(Self {
            talk: Talk::new(connection)?,
            abilities,
            bench,
            due: VecDeque::new(),
            keys: 0,
            bytes: 0,
            since_mark: 0,
            marks,
            judged: VecDeque::new(),
            proven: 0,
            closer: VecDeque::new(),
        })
    }

    /// Asks for an entry, when there is room. Verdicts of earlier ones go to `sink` meanwhile, in any order.
    ///
    /// # Errors
    /// The connection fails: [`Comparer::into_unanswered`] has this entry, too. And `sink`'s own.
    pub fn push(
        &mut self,
        wanted: Wanted<'data>,
        ticket: T,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        match self.plan(&wanted.entry, false) {
            Ok(plan) => self.send(wanted, ticket, plan)?,
            Err(reason) => {
                self.judged
                    .push_back((wanted, ticket, Verdict::NotComparable(reason)));
            }
        }
        while self.closer.len() >= CLOSER {
            self.look_closer()?;
        }
        self.deliver(sink)
    }

    /// Waits for all verdicts.
    ///
    /// # Errors
    /// As [`Comparer::push`].
    pub fn drain(
        &mut self,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        loop {
            self.settle()?;
            if self.closer.is_empty() {
                break;
            }
            self.look_closer()?;
        }
        self.deliver(sink)
    }

    /// The entries without a verdict, when the connection has failed.
    pub fn into_unanswered(self) -> impl Iterator<Item = (Wanted<'data>, T)> {
        let judged = self
            .judged
            .into_iter()
            .map(|(wanted, ticket, _)| (wanted, ticket));
        let due = self.due.into_iter().filter_map(|due| match due {
            Due::Key { wanted, ticket, .. } => Some((wanted, ticket)),
            Due::Mark(_) => None,
        });
        let closer = self
            .closer
            .into_iter()
            .map(|(wanted, ticket, _)| (wanted, ticket));
        judged.chain(due).chain(closer)
    }

    /// Hands out what is proven.
    fn deliver(
        &mut self,
        sink: &mut impl FnMut(Wanted<'data>, T, Verdict) -> Result<()>,
    ) -> Result<()> {
        if !self.marks {
            self.proven = self.judged.len();
        }
        while self.proven > 0 {
            self.proven = self.proven.saturating_sub(1);
            let Some((wanted, ticket, verdict)) = self.judged.pop_front() else {
                break;
            };
            sink(wanted, ticket, verdict)?;
        }
        Ok(())
    }

    /// How an entry is asked for; in words why it cannot be.
    fn plan(&mut self, entry: &Entry<'_>, closer: bool) -> std::result::Result<Plan, String> {
        if !entry.sub_expires.is_empty() && !self.bench.transform.expiries.strips() {
            return Err(
                "its members have expiries of their own (KeyDB), which cannot be asked for"
                    .to_owned(),
            );
        }
        let Some(info) = entry.type_info() else {
            return Err(format!("type {} is not known", entry.value_type.0));
        };
        let small = entry.value.len() as u64 <= SMALL;
        let whole = if small && !closer {
            Plan::Dump
        } else {
            Plan::Alone
        };
        if entry.key_meta.is_some() && !self.abilities.dump {
            return Err(
                "its key metadata are shown by DUMP, which the destination does not let us run"
                    .to_owned(),
            );
        }
        match info.kind {
            Kind::String if entry.key_meta.is_some() => Ok(whole),
            Kind::String => {
                let text = Str::read(&mut Cursor::new(entry.value, entry.value_offset));
                let len = text.map_or(u64::MAX, |text| text.len());
                Ok(if len <= SMALL && !closer {
                    Plan::Text
                } else {
                    Plan::Alone
                })
            }
            Kind::Json => Err("Dragonfly's JSON cannot be asked for".to_owned()),
            Kind::Module | Kind::Array if self.abilities.dump => Ok(whole),
            Kind::Module | Kind::Array => Err(format!(
                "a value of type {} is compared by DUMP, which the destination does not let us run",
                info.kind
            )),
            _ if self.abilities.dump && small && !closer => Ok(Plan::Dump),
            Kind::Hash if is_path_hash(entry) && self.abilities.dump => Ok(whole),
            Kind::Hash if is_path_hash(entry) => Err(
                "a path hash is compared by DUMP, which the destination does not let us run"
                    .to_owned(),
            ),
            Kind::Stream => Ok(Plan::Alone),
            _ if entry.key_meta.is_some() => Ok(Plan::Alone),
            _ => {
                let count = self.bench.decoders.mine.count(entry).unwrap_or(u64::MAX);
                Ok(if small && count < typed::ELEMENTS as u64 {
                    Plan::Typed
                } else {
                    Plan::Alone
                })
            }
        }
    }

    /// Asks for an entry. Where this fails, the entry is among the unanswered.
    fn send(&mut self, wanted: Wanted<'data>, ticket: T, plan: Plan) -> Result<()> {
        let bytes = match plan {
            Plan::Text => Str::read(&mut Cursor::new(wanted.entry.value, 0))
                .map_or(0, |text| text.len())
                .saturating_add(32),
            _ => wanted
                .entry
                .value
                .len()
                .saturating_add(
                    wanted
                        .entry
                        .template
                        .map_or(0, |template| template.names.len()),
                )
                .saturating_add(64) as u64,
        };
        if let Err(error) = self.make_room(&wanted, plan, bytes) {
            self.closer.push_back((wanted, ticket, Look::ByType));
            return Err(error);
        }
        if matches!(plan, Plan::Alone) {
            return self.alone(wanted, ticket);
        }
        let Bench { transform, key, .. } = &mut *self.bench;
        let names = &transform.names;
        if let Err(error) = names.in_room(wanted.entry.db, &wanted.entry.key, key) {
            self.judged
                .push_back((wanted, ticket, unreadable_name(&error)));
            return Ok(());
        }
        let mut window = None;
        let written = self.write(&wanted.entry, plan, &mut window);
        if let Err(error) = &written
            && is_local(error)
        {
            // Nothing was written: a walk ends before its window is sent.
            self.judged.push_back((wanted, ticket, unreadable(error)));
            return Ok(());
        }
        self.keys = self.keys.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.due.push_back(Due::Key {
            wanted,
            ticket,
            plan,
            bytes,
            asked_at_ms: self.asked_at_ms(),
            window,
        });
        written?;
        self.since_mark = self.since_mark.saturating_add(2);
        if self.since_mark >= MARK_EVERY {
            self.mark()?;
        }
        Ok(())
    }

    fn make_room(&mut self, wanted: &Wanted<'_>, plan: Plan, bytes: u64) -> Result<()> {
        while self.keys >= KEYS || self.keys > 0 && self.bytes.saturating_add(bytes) > REPLIES {
            self.listen()?;
        }
        if self.talk.login_is_due() {
            self.settle()?;
            self.talk.renew_login()?;
        }
        if plan == Plan::Alone || wanted.db != self.talk.db() {
            self.settle()?;
            self.talk.select(wanted.db)?;
        }
        Ok(())
    }

    /// The clock is asked only where an expiry comes as what is left of it.
    pub(super) fn asked_at_ms(&self) -> i64 {
        if self.abilities.pexpiretime {
            0
        } else {
            now_ms()
        }
    }

    fn write(
        &mut self,
        entry: &Entry<'data>,
        plan: Plan,
        window: &mut Option<typed::Window>,
    ) -> Result<()> {
        let Bench {
            decoders,
            gathered,
            key: scratch,
            transform,
            ..
        } = &mut *self.bench;
        let key = transform.names.in_room(entry.db, &entry.key, scratch)?;
        let talk = &mut self.talk;
        match plan {
            Plan::Text => {
                return talk.twice(
                    b"*2\r\n$3\r\nGET\r\n",
                    framed_expiry_command(self.abilities),
                    key,
                );
            }
            Plan::Typed => {
                let Some(mut walk) = Walk::of(decoders.theirs.decode(entry)?) else {
                    return Ok(());
                };
                *window = Some(typed::ask(
                    talk,
                    gathered,
                    self.abilities,
                    key,
                    &mut walk,
                    &mut 0,
                )?);
                talk.command(&[b"TYPE", key])?;
                talk.command(&[cardinality(entry), key])?;
            }
            Plan::Dump | Plan::Alone => {
                return talk.twice(
                    b"*2\r\n$4\r\nDUMP\r\n",
                    framed_expiry_command(self.abilities),
                    key,
                );
            }
        }
        talk.command(&[expiry_command(self.abilities), key])
    }

    fn mark(&mut self) -> Result<()> {
        self.since_mark = 0;
        if let Some(number) = self.talk.mark()? {
            self.due.push_back(Due::Mark(number));
        }
        Ok(())
    }

    /// Takes all replies that are due; a mark proves them.
    fn settle(&mut self) -> Result<()> {
        if self.since_mark > 0 {
            self.mark()?;
        }
        self.talk.flush()?;
        while !self.due.is_empty() {
            self.listen()?;
        }
        self.proven = self.judged.len();
        self.talk.finish()
    }

    /// Takes the replies to whatever was asked first.
    fn listen(&mut self) -> Result<()> {
        match self.due.pop_front() {
            None => Ok(()),
            Some(Due::Mark(number)) => {
                self.talk.expect_mark(number)?;
                self.proven = self.judged.len();
                Ok(())
            }
            Some(Due::Key {
                wanted,
                ticket,
                plan,
                bytes,
                asked_at_ms,
                window,
            }) => {
                self.keys = self.keys.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(bytes);
                let answered = match plan {
                    Plan::Text => self.text(&wanted, asked_at_ms),
                    Plan::Typed => self.typed(&wanted, asked_at_ms, window),
                    Plan::Dump | Plan::Alone => self.payload(&wanted, asked_at_ms),
                };
                match answered {
                    Ok(Some(verdict)) => self.judged.push_back((wanted, ticket, verdict)),
                    Ok(None) => {
                        let look = if plan == Plan::Typed {
                            Look::Alone
                        } else {
                            Look::ByType
                        };
                        self.closer.push_back((wanted, ticket, look));
                    }
                    Err(error) => {
                        self.closer.push_back((wanted, ticket, Look::ByType));
                        return Err(error);
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads by type what looked different.
    fn look_closer(&mut self) -> Result<()> {
        for _ in 0..self.closer.len() {
            let Some((wanted, ticket, look)) = self.closer.pop_front() else {
                break;
            };
            let plan = match look {
                Look::Alone => Ok(Plan::Alone),
                Look::ByType => self.plan(&wanted.entry, true),
            };
            match plan {
                Ok(plan) => self.send(wanted, ticket, plan)?,
                Err(reason) => {
                    self.judged
                        .push_back((wanted, ticket, Verdict::NotComparable(reason)));
                }
            }
        }
        Ok(())
    }
}
