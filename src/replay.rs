//! From an entry to its `RESTORE` command: what goes, in which form, and what does not go and why.
//!
//! Used by `load`, which sends the commands, and by `export --format restore`, which writes them. Nothing here does I/O.
//!
//! The rules, in the order in which they are asked:
//! 1. A collection without elements is no key: servers skip it in a file and refuse it in `RESTORE`.
//! 2. Expiries are transformed ([`Policies::transform`]), then judged: one that is past at the run's instant follows [`ExpiredPolicy`]: a `RESTORE` with it would be answered OK, store
//!    nothing, and with `REPLACE` delete what was there.
//! 3. [`Terms`] say whether the destination takes the type, and with which footer version. Where it does not, or refused the
//!    bytes, the [`Ladder`] tries other forms of the value, then plain commands.
//! 4. What would lose meaning (key metadata, KeyDB's member expiries, field expiries) is refused by name, and left out only
//!    where [`Policies::allow_loss`] has that name. Lost bookkeeping is told ([`Restore::losses`]).
//! 5. A payload over the destination's limit is refused before it is sent.

mod carried;
mod ladder;
mod stall;
mod usual;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::transform::DbMap;
pub use carried::{Carriage, Carried, carried};
pub use ladder::{Ladder, Step};
pub use stall::{Heavy, Pauses, max_stall_ms};
pub use usual::Usual;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::name_room::NameRoom;
use crate::outcome::{Outcome, Road};
use crate::payload::{NoPayload, Payload, payload_type};
use crate::reencode::{Form, may_have_expiries_inside, mended_form, older_forms};
use crate::resp::Arg;
use crate::snapshot::{Dialect, Entry, Function, ModuleId, ValueType};
use crate::transform::Transform;
use crate::value::commands::{Limits, Loss, Losses, Vocabulary};
use crate::wire::{Cursor, Str, length};

/// What to do with keys whose time is past at the run's instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiredPolicy {
    /// They are not sent, and counted. The default.
    #[default]
    Drop,
    /// They are sent without an expiry.
    Persist,
    /// They are sent with this many milliseconds from the run's instant.
    Ttl(i64),
}

/// What the user wants to happen to each key.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// The run's one stated instant, milliseconds of Unix time.
    pub now_ms: i64,
    /// Keys whose time is past at that instant.
    pub expired: ExpiredPolicy,
    /// Overwrite keys that exist at the destination.
    pub replace: bool,
    /// Databases.
    pub db_map: DbMap,
    /// Losses of meaning that may happen.
    pub allow_loss: Losses,
    /// Names and expiries.
    pub transform: Transform,
}

impl Policies {
    /// Whether values of this form do not go as they are, since expiries stand in them and change.
    #[must_use]
    #[inline]
    pub fn rewrites(&self, form: Form) -> bool {
        !self.transform.expiries.is_keep() && may_have_expiries_inside(form)
    }

    /// What a key of the file is called at the destination: see [`crate::transform::Naming::in_room`].
    ///
    /// # Errors
    /// The name cannot be read, or is too long to be changed.
    #[inline]
    pub fn name_of<'s, 'data: 's>(
        &self,
        entry: &Entry<'data>,
        room: &'s mut NameRoom,
    ) -> Result<&'s [u8]> {
        self.transform.names.in_room(entry.db, &entry.key, room)
    }
}

/// Why a value whose parts have expiries does not go as it is.
pub const EXPIRIES_CHANGE: &str =
    "--ttl-policy changes the expiries of its parts, which stand in the value";

impl CommandTerms {
    /// What two nodes of one destination have in common.
    fn and(self, other: Self) -> Self {
        Self {
            vocabulary: self.vocabulary.and(other.vocabulary),
            set_pxat: self.set_pxat && other.set_pxat,
            unlink: self.unlink && other.unlink,
            max_stall_ms: self.max_stall_ms.min(other.max_stall_ms),
        }
    }
}

/// What the destination makes of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeTerms {
    /// It takes payloads with this version in the footer.
    Take(u16),
    /// It does not take the type: why, and what would help.
    Refuse(Cow<'static, str>),
}

/// What the destination takes, for every type that the dump holds.
#[derive(Debug, Clone)]
pub struct Terms {
    /// By dialect and type byte: the same number is another type in another dialect.
    by_type: Vec<TypeTerms>,
    modules: BTreeMap<ModuleId, TypeTerms>,
    /// Key metadata of this footer version may stand at a payload's head.
    pub key_meta: Option<u16>,
    /// Bytes that a string may have: `proto-max-bulk-len`.
    pub max_bulk: u64,
    /// Bytes that one argument may have: `proto-max-bulk-len`, `client-query-buffer-limit`, or what was learned.
    pub max_arg: u64,
    /// `RESTORE` knows `REPLACE` (3.0).
    pub knows_replace: bool,
    /// `RESTORE` knows `ABSTTL`, `IDLETIME` and `FREQ` (5.0).
    pub knows_absttl: bool,
    /// `RESTORE` knows `STICK` (Dragonfly): the key is never evicted.
    pub knows_stick: bool,
    /// The destination keeps LFU counters instead of an LRU clock.
    pub lfu: bool,
    /// What is known of its plain write commands; `None` where nothing is to go by them.
    pub commands: Option<CommandTerms>,
    /// What was learned of how long it takes for values.
    pub pauses: Arc<Pauses>,
}

/// What the destination knows of plain write commands, and when values go by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandTerms {
    /// The commands that write values.
    pub vocabulary: Vocabulary,
    /// `SET … PXAT` (Redis 6.2).
    pub set_pxat: bool,
    /// `UNLINK` (4.0), else `DEL`.
    pub unlink: bool,
    /// A value whose `RESTORE` would hold the destination for longer goes by commands, milliseconds.
    pub max_stall_ms: u64,
}

impl Terms {
    /// Terms that refuse every type with `reason` until [`Terms::set`] says otherwise.
    #[must_use]
    pub fn refusing(reason: &'static str) -> Self {
        Self {
            by_type: vec![TypeTerms::Refuse(Cow::Borrowed(reason)); 256 * DIALECTS],
            modules: BTreeMap::new(),
            key_meta: None,
            max_bulk: 512 << 20,
            max_arg: 512 << 20,
            knows_replace: true,
            knows_absttl: true,
            knows_stick: false,
            lfu: false,
            commands: None,
            pauses: Arc::default(),
        }
    }

    /// How large plain commands may get.
    #[must_use]
    pub fn command_limits(&self) -> Limits {
        Limits {
            argument: self.max_arg,
            ..Limits::default()
        }
    }

    /// The setting that lets one argument have more bytes.
    fn limit_of_arguments(&self) -> &'static str {
        match self.max_arg < self.max_bulk {
            true => "client-query-buffer-limit (or the limit of what stands in between)",
            false => "proto-max-bulk-len (and client-query-buffer-limit above it)",
        }
    }

    /// Up to so many bytes a payload is under every limit, whatever its type.
    #[inline]
    fn at_ease(&self) -> u64 {
        self.max_arg.min(stall::NEVER)
    }

    /// Says what the destination makes of a type as it stands in files of a dialect.
    pub fn set(&mut self, value_type: ValueType, dialect: Dialect, terms: TypeTerms) {
        if let Some(slot) = self.by_type.get_mut(index(value_type, dialect)) {
            *slot = terms;
        }
    }

    /// Says what the destination makes of values of one module.
    pub fn set_module(&mut self, module: ModuleId, terms: TypeTerms) {
        self.modules.insert(module, terms);
    }

    /// What the destination makes of a type.
    #[must_use]
    pub fn get(&self, value_type: ValueType, dialect: Dialect) -> Option<&TypeTerms> {
        self.by_type.get(index(value_type, dialect))
    }

    /// The forms besides its own bytes that the destination takes of a value of `form`, what loses least first: itself,
    /// mended, and its older ones.
    pub fn other_forms(&self, form: Form) -> impl Iterator<Item = Form> + '_ {
        let older = older_forms(form).iter().copied();
        mended_form(form).into_iter().chain(older).filter(|form| {
            matches!(
                self.get(form.value_type, form.dialect),
                Some(TypeTerms::Take(_))
            )
        })
    }

    /// Whether a payload goes under another name first, which then takes the key's: what exists is to be replaced, and
    /// `RESTORE` knows no `REPLACE`.
    #[must_use]
    #[inline]
    pub fn stages_payloads(&self, policies: &Policies) -> bool {
        policies.replace && !self.knows_replace
    }

    /// Whether the destination knows commands that write values like those of `form`, as far as a type tells.
    #[must_use]
    pub fn writes(&self, form: Form) -> bool {
        let kind = form.value_type.info(form.dialect).map(|info| info.kind);
        self.commands
            .zip(kind)
            .is_some_and(|(known, kind)| known.vocabulary.writes(kind))
    }

    /// Takes in the terms of another node, `name`: what either refuses is refused, and what they take differently is, too.
    pub fn narrow(
        &mut self,
        other: &Self,
        types: &[(ValueType, Dialect)],
        modules: &[ModuleId],
        name: &str,
    ) {
        let both = |ours: &TypeTerms, theirs: &TypeTerms| match (ours, theirs) {
            (TypeTerms::Take(a), TypeTerms::Take(b)) if a != b => {
                Some(TypeTerms::Refuse(Cow::Owned(format!(
                    "{name} takes it in another version of the payload than the nodes before it"
                ))))
            }
            (TypeTerms::Take(_), TypeTerms::Refuse(why)) => {
                Some(TypeTerms::Refuse(Cow::Owned(format!("{name}: {why}"))))
            }
            _ => None,
        };
        for (value_type, dialect) in types {
            let terms = self.get(*value_type, *dialect);
            let terms = terms.zip(other.get(*value_type, *dialect));
            if let Some(terms) = terms.and_then(|(ours, theirs)| both(ours, theirs)) {
                self.set(*value_type, *dialect, terms);
            }
        }
        for module in modules {
            let terms = self.modules.get(module).zip(other.modules.get(module));
            if let Some(terms) = terms.and_then(|(ours, theirs)| both(ours, theirs)) {
                self.set_module(*module, terms);
            }
        }
        if self.key_meta != other.key_meta {
            self.key_meta = None;
        }
        self.max_bulk = self.max_bulk.min(other.max_bulk);
        self.max_arg = self.max_arg.min(other.max_arg);
        self.knows_replace &= other.knows_replace;
        self.knows_absttl &= other.knows_absttl;
        self.knows_stick &= other.knows_stick;
        self.lfu &= other.lfu;
        self.commands = self
            .commands
            .zip(other.commands)
            .map(|(ours, theirs)| ours.and(theirs));
    }

    fn of(&self, entry: &Entry<'_>) -> Option<&TypeTerms> {
        if entry.value_type == ValueType::MODULE_2
            && let Ok(id) = length::read(&mut Cursor::new(entry.value, entry.value_offset))
            && let Some(terms) = self.modules.get(&ModuleId(id))
        {
            return Some(terms);
        }
        self.get(entry.value_type, entry.dialect)
    }
}

const DIALECTS: usize = 3;

fn index(value_type: ValueType, dialect: Dialect) -> usize {
    let dialect = match dialect {
        Dialect::Redis => 0,
        Dialect::Valkey => 1,
        Dialect::Dragonfly => 2,
    };
    dialect * 256 + usize::from(value_type.0)
}

/// What becomes of an entry before anything is sent.
#[derive(Debug)]
pub enum Decision<'data> {
    /// This command carries it.
    Send(Restore<'data>),
    /// Plain write commands are to carry it. Only where [`Terms::commands`] says how.
    Commands(ByCommands),
    /// It is not sent: its outcome, and the reason in words where the outcome wants one.
    Skip(Outcome, Cow<'static, str>),
}

/// An entry that goes by plain write commands, if that loses nothing.
#[derive(Debug, Clone)]
pub struct ByCommands {
    /// The database to send them to.
    pub db: u64,
    /// Absolute expiry, milliseconds of Unix time.
    pub expire_at_ms: Option<i64>,
    /// Why it does not go by `RESTORE`, in words; may be empty.
    pub why: Cow<'static, str>,
    /// What `why` says that an older form would lose of its meaning.
    pub lost: Losses,
    /// Where `RESTORE` would do, but would hold the destination: for about so many milliseconds. If commands lose something,
    /// it goes by [`Step::WHOLE`].
    pub stall_ms: Option<u64>,
}

/// A `RESTORE` command for one entry.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'data> {
    /// The database to send it to.
    pub db: u64,
    /// The payload.
    pub payload: Payload<'data>,
    /// Absolute expiry, milliseconds of Unix time; past ones are never sent.
    pub expire_at_ms: Option<i64>,
    /// Where on the ladder this stands.
    pub step: Step,
    /// What does not arrive: bookkeeping, and meaning that may be lost.
    pub losses: Losses,
    /// What it is to the destination, where it is large.
    pub heavy: Option<Heavy>,
    replace: bool,
    absttl: bool,
    stick: bool,
    access: Access,
}

/// Bookkeeping of accesses that goes with a key: never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    None,
    Idle(u64),
    Freq(u8),
}

/// Whether an entry should arrive, and with which absolute expiry (milliseconds of Unix time), whatever the destination is.
///
/// # Errors
/// The outcome of an entry that is not sent: it is a collection without elements, or expired and dropped.
#[inline]
pub fn arrival(
    entry: &Entry<'_>,
    policies: &Policies,
) -> std::result::Result<Option<i64>, Outcome> {
    if is_empty_collection(entry) {
        return Err(Outcome::Empty);
    }
    let expire_at_ms = match entry.expire_at_ms {
        Some(at) => policies.transform.expiries.arrives(at),
        None => None,
    };
    match expire_at_ms {
        // A server takes "at this very instant" for past, too.
        Some(at) if at <= policies.now_ms => match policies.expired {
            ExpiredPolicy::Drop => Err(Outcome::Expired),
            ExpiredPolicy::Persist => Ok(None),
            ExpiredPolicy::Ttl(ms) => Ok(Some(policies.now_ms.saturating_add(ms.max(1)))),
        },
        at => Ok(at),
    }
}

/// Decides about one entry whose bytes go as they are; for those that cannot, see [`Ladder`].
#[must_use]
pub fn decide<'data>(entry: &Entry<'data>, terms: &Terms, policies: &Policies) -> Decision<'data> {
    match raw(entry, terms, policies, true) {
        Ok(restore) => Decision::Send(restore),
        Err(NotRaw::Ends(outcome)) => Decision::Skip(outcome, Cow::Borrowed("")),
        Err(
            NotRaw::Type(reason)
            | NotRaw::Refused(reason)
            | NotRaw::NoPayload(reason)
            | NotRaw::TooLarge(reason),
        ) => Decision::Skip(Outcome::Refused, reason),
        Err(NotRaw::Stalls(_)) => Decision::Skip(Outcome::Refused, Cow::Borrowed("")),
    }
}

/// Why an entry's bytes do not go as they are.
#[derive(Debug)]
enum NotRaw {
    /// Nothing is sent of it.
    Ends(Outcome),
    /// The destination does not take the type: another form may go.
    Type(Cow<'static, str>),
    /// Nothing that another form would change.
    Refused(Cow<'static, str>),
    /// No payload carries what belongs to it, and commands do.
    NoPayload(Cow<'static, str>),
    /// Over what the destination takes in one argument.
    TooLarge(Cow<'static, str>),
    /// It would hold the destination for so many milliseconds, which is longer than it may.
    Stalls(u64),
}

#[inline]
fn raw<'data>(
    entry: &Entry<'data>,
    terms: &Terms,
    policies: &Policies,
    patient: bool,
) -> std::result::Result<Restore<'data>, NotRaw> {
    let expire_at_ms = arrival(entry, policies).map_err(NotRaw::Ends)?;
    let mut version = match terms.of(entry) {
        Some(TypeTerms::Take(version)) => *version,
        Some(TypeTerms::Refuse(reason)) => return Err(NotRaw::Type(reason.clone())),
        None => {
            return Err(NotRaw::Type(Cow::Borrowed(
                "the destination was not asked about this type",
            )));
        }
    };
    if policies.rewrites(entry.form()) {
        return Err(NotRaw::Type(Cow::Borrowed(EXPIRIES_CHANGE)));
    }
    let mut losses = Losses::default();
    if entry.key_meta.is_some() || !entry.sub_expires.is_empty() || entry.df_flags.is_some() {
        losses = belongings(entry, terms, policies)?;
        if let (Some(needed), Some(_)) = (terms.key_meta, entry.key_meta) {
            version = version.max(needed);
        }
    }
    let payload = match Payload::new(entry, version, terms.key_meta.is_some()) {
        Ok(payload) => payload,
        Err(NoPayload(reason)) => return Err(NotRaw::Refused(Cow::Borrowed(reason))),
    };
    let heavy = match payload.len() > terms.at_ease() {
        true => weigh(entry, &payload, terms, patient)?,
        false => None,
    };
    let mut restore = command(entry, terms, policies, expire_at_ms, payload);
    restore.losses = restore.losses.and(losses);
    restore.heavy = heavy;
    Ok(restore)
}

/// What belongs to the key, stands outside of its value and does not go along.
///
/// # Errors
/// A loss of meaning that is not allowed, or that commands spare it.
#[cold]
fn belongings(
    entry: &Entry<'_>,
    terms: &Terms,
    policies: &Policies,
) -> std::result::Result<Losses, NotRaw> {
    let lost = [
        (
            entry.key_meta.is_some() && terms.key_meta.is_none(),
            Loss::KeyMetadata,
            "it carries key metadata (Redis 8.6 and later), which the destination does not take",
        ),
        (
            !entry.sub_expires.is_empty() && !policies.transform.expiries.strips(),
            Loss::MemberExpiry,
            "its members have expiries of their own (KeyDB), which no payload carries",
        ),
        (
            entry.dialect == Dialect::Dragonfly
                && entry.df_flags.is_some_and(|flags| flags & 2 != 0),
            Loss::KeyFlags,
            "it carries memcache flags (Dragonfly), which no payload carries",
        ),
    ];
    let mut losses = Losses::default();
    for (is_lost, loss, words) in lost {
        if !is_lost {
            continue;
        }
        let by_commands = |known: CommandTerms| known.vocabulary.member_expiry.is_some();
        if loss == Loss::MemberExpiry && terms.commands.is_some_and(by_commands) {
            return Err(NotRaw::NoPayload(Cow::Borrowed(words)));
        }
        if !policies.allow_loss.has(loss) {
            let words = format!("{words} (--allow-loss {loss} sends it without)");
            return Err(NotRaw::Refused(words.into()));
        }
        losses.add(loss);
    }
    Ok(losses)
}

/// Whether a large payload may go: it must be within the destination's limit, and, unless somebody is `patient`, must not hold
/// the destination for too long.
#[cold]
fn weigh(
    entry: &Entry<'_>,
    payload: &Payload<'_>,
    terms: &Terms,
    patient: bool,
) -> std::result::Result<Option<Heavy>, NotRaw> {
    if payload.len() > terms.max_arg {
        return Err(NotRaw::TooLarge(Cow::Owned(format!(
            "its payload has {} bytes, the destination takes {} in one argument; raise {} there",
            payload.len(),
            terms.max_arg,
            terms.limit_of_arguments(),
        ))));
    }
    // Where nothing goes by commands, it is all the same, and the value need not be looked at.
    let Some(commands) = terms.commands else {
        return Ok(None);
    };
    let Some(heavy) = stall::heavy(entry) else {
        return Ok(None);
    };
    match terms.pauses.expected_ms(heavy) {
        ms if ms > commands.max_stall_ms && !patient => Err(NotRaw::Stalls(ms)),
        _ => Ok(Some(heavy)),
    }
}

/// The bookkeeping of accesses that goes with a key, and whether some of it is lost.
#[inline]
fn access_of(entry: &Entry<'_>, terms: &Terms) -> (Access, bool) {
    let idle = |seconds: u64| Access::Idle(seconds.min(MOST_IDLE_SECONDS));
    match (entry.idle_seconds, entry.lfu_freq) {
        (None, None) => (Access::None, false),
        _ if !terms.knows_absttl => (Access::None, true),
        (_, Some(freq)) if terms.lfu => (Access::Freq(freq), false),
        (Some(seconds), _) => (idle(seconds), terms.lfu),
        // A server that keeps no counters takes the option and does nothing with it.
        (None, Some(freq)) => (Access::Freq(freq), true),
    }
}

/// The command around a payload.
#[inline]
fn command<'data>(
    entry: &Entry<'_>,
    terms: &Terms,
    policies: &Policies,
    expire_at_ms: Option<i64>,
    payload: Payload<'data>,
) -> Restore<'data> {
    let (access, is_lost) = access_of(entry, terms);
    let mut losses = Losses::default();
    if is_lost {
        losses.add(Loss::AccessTimes);
    }
    let is_sticky = entry.df_flags.is_some_and(|flags| flags & 1 != 0);
    if is_sticky && !terms.knows_stick {
        losses.add(Loss::KeyFlags);
    }
    Restore {
        db: policies.db_map.get(entry.db),
        payload,
        expire_at_ms,
        step: Step::RAW,
        losses,
        heavy: None,
        // Where it is not known, the payload goes under another name first: whoever sends it sees to that.
        replace: policies.replace && terms.knows_replace,
        absttl: terms.knows_absttl,
        stick: is_sticky && terms.knows_stick,
        access,
    }
}

/// The seconds that `IDLETIME` takes at most: the server multiplies them by 1,000 in 64 bits.
const MOST_IDLE_SECONDS: u64 = i64::MAX as u64 / 1000;

impl Restore<'_> {
    /// How its key reaches the destination with this command.
    #[must_use]
    #[inline]
    pub fn road(&self) -> Road {
        self.step.road()
    }

    /// Whether it overwrites.
    #[must_use]
    pub fn replaces(&self) -> bool {
        self.replace
    }

    /// Whether the arguments depend on the time of sending.
    #[must_use]
    pub fn asks_time(&self) -> bool {
        !self.absttl && self.expire_at_ms.is_some()
    }

    /// Hands the command's arguments to `send`. `now_ms` is the time of sending: before 5.0 an expiry goes as what is left of
    /// it then, at least 1 ms.
    ///
    /// # Errors
    /// Those of `send`.
    pub fn with_args<T>(
        &self,
        name: &str,
        key: &[u8],
        now_ms: i64,
        send: impl FnOnce(&[Arg<'_>]) -> Result<T>,
    ) -> Result<T> {
        let (mut ttl, mut access) = (itoa::Buffer::new(), itoa::Buffer::new());
        let ttl = match self.expire_at_ms {
            None => "0",
            Some(at) if self.absttl => ttl.format(at),
            Some(at) => ttl.format(at.saturating_sub(now_ms).max(1)),
        };
        let pieces = self.payload.pieces();
        let none = Arg::Bytes(b"");
        let mut args = [none; 9];
        let mut count = 0;
        let mut push = |arg| {
            if let Some(slot) = args.get_mut(count) {
                *slot = arg;
                count += 1;
            }
        };
        push(Arg::from(name));
        push(Arg::Bytes(key));
        push(Arg::from(ttl));
        push(Arg::Pieces(&pieces));
        if self.replace {
            push(Arg::from("REPLACE"));
        }
        if self.absttl && self.expire_at_ms.is_some() {
            push(Arg::from("ABSTTL"));
        }
        if self.stick {
            push(Arg::from("STICK"));
        }
        match self.access {
            Access::None => {}
            Access::Idle(seconds) => {
                push(Arg::from("IDLETIME"));
                push(Arg::from(access.format(seconds)));
            }
            Access::Freq(freq) => {
                push(Arg::from("FREQ"));
                push(Arg::from(access.format(freq)));
            }
        }
        send(args.get(..count).unwrap_or(&args))
    }
}

/// The longest source of a function library that is sent, bytes: it is held in memory.
const LONGEST_LIBRARY: u64 = 4 << 20;

/// The source that `FUNCTION LOAD` takes. Release candidates of 7.0 kept engine and name apart: 7.0 puts them into a first
/// line, and so do we.
///
/// # Errors
/// `Corrupt` where a string lies, `Limit` for a source of more than 4 MiB.
pub fn library_source(library: &Function<'_>) -> Result<Vec<u8>> {
    match library {
        Function::Source { code, offset } => whole(code, *offset),
        Function::PreGa {
            name,
            engine,
            code,
            offset,
            ..
        } => {
            let whole = |text| whole(text, *offset);
            let (name, engine, code) = (whole(name)?, whole(engine)?, whole(code)?);
            Ok([b"#!", &engine[..], b" name=", &name, b"\n", &code].concat())
        }
    }
}

/// What a compressed string claims is not believed before it is made: damage is damage, not a long library.
fn whole(text: &Str<'_>, offset: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut pieces = text.pieces();
    while let Some(piece) = pieces.next_piece()? {
        if (out.len() as u64).saturating_add(piece.len() as u64) > LONGEST_LIBRARY {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "a function library of {} bytes; {LONGEST_LIBRARY} is the most",
                    text.len()
                ),
            )
            .or_place(Place::at(offset)));
        }
        out.extend_from_slice(piece);
    }
    Ok(out)
}

/// Whether a value is a collection without elements, as far as its undecoded head tells.
#[inline]
fn is_empty_collection(entry: &Entry<'_>) -> bool {
    let mut cursor = Cursor::new(entry.value, entry.value_offset);
    let mut count_is_zero = || length::read(&mut cursor).is_ok_and(|count| count == 0);
    match (
        payload_type(entry.value_type, entry.dialect).0,
        entry.dialect,
    ) {
        (1..=5 | 14 | 18, _) | (22, _) | (23, Dialect::Valkey) | (31 | 32, Dialect::Dragonfly) => {
            count_is_zero()
        }
        (24, Dialect::Redis) => entry.value.get(8) == Some(&0),
        (16 | 17 | 20, Dialect::Redis | Dialect::Valkey) => {
            blob_is(entry.value, |b| b.get(4..6) == Some(&[0, 0]))
        }
        (25, Dialect::Redis) => entry
            .value
            .get(8..)
            .is_some_and(|v| blob_is(v, |b| b.get(4..6) == Some(&[0, 0]))),
        (10 | 12 | 13, _) => blob_is(entry.value, |b| b.get(8..10) == Some(&[0, 0])),
        (11, _) => blob_is(entry.value, |b| b.get(4..8) == Some(&[0; 4])),
        (9, _) => blob_is(entry.value, |b| b == [0, 0xff]),
        _ => false,
    }
}

fn blob_is(value: &[u8], check: impl FnOnce(&[u8]) -> bool) -> bool {
    matches!(Str::read(&mut Cursor::new(value, 0)), Ok(Str::Raw(blob)) if check(blob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::pack;
    use crate::snapshot::{Record, Snapshot};

    fn terms() -> Terms {
        let mut terms = Terms::refusing("not in this test");
        terms.set(ValueType::STRING, Dialect::Redis, TypeTerms::Take(6));
        terms.set(ValueType::STRING, Dialect::Dragonfly, TypeTerms::Take(6));
        terms
    }

    fn policies(now_ms: i64) -> Policies {
        Policies {
            now_ms,
            ..Policies::default()
        }
    }

    fn entry<'d>(file: &'d [u8]) -> Entry<'d> {
        Snapshot::parse(file)
            .unwrap()
            .entries()
            .next()
            .unwrap()
            .unwrap()
    }

    fn words(restore: &Restore<'_>, now_ms: i64) -> Vec<String> {
        let mut out = Vec::new();
        restore
            .with_args("RESTORE", b"k", now_ms, |args| {
                pack::command(&mut out, args)
            })
            .unwrap();
        let text = String::from_utf8_lossy(&out).into_owned();
        let mut words: Vec<String> = text
            .split("\r\n")
            .skip(2)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        words.retain(|w| !w.contains('\u{fffd}') && w != "k" && !w.is_empty());
        words
    }

    fn sent(file: &[u8], terms: &Terms, policies: &Policies) -> Vec<String> {
        match decide(&entry(file), terms, policies) {
            Decision::Send(restore) => words(&restore, policies.now_ms),
            Decision::Commands(by) => vec!["commands".to_owned(), by.why.into_owned()],
            Decision::Skip(outcome, reason) => vec![format!("{outcome:?}"), reason.into_owned()],
        }
    }

    fn with_expiry(at: i64) -> Vec<u8> {
        [&b"REDIS0009\xfc"[..], &at.to_le_bytes(), b"\x00\x01k\x01v"].concat()
    }

    #[test]
    fn one_number_is_two_types() {
        let mut terms = terms();
        terms.set(ValueType(22), Dialect::Valkey, TypeTerms::Take(80));
        let valkey = b"VALKEY080\x16\x01h\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
        let redis = b"REDIS0012\x16\x01h\x01\x00\x01f\x01v";
        assert_eq!(sent(valkey, &terms, &policies(0)), ["RESTORE", "0"]);
        assert_eq!(sent(redis, &terms, &policies(0))[0], "Refused");
    }

    #[test]
    fn expiry_is_absolute_where_the_server_can_else_relative_and_at_least_one() {
        let p = policies(1000);
        assert_eq!(
            sent(b"REDIS0009\x00\x01k\x01v", &terms(), &p),
            ["RESTORE", "0"]
        );
        assert_eq!(
            sent(&with_expiry(5000), &terms(), &p),
            ["RESTORE", "5000", "ABSTTL"]
        );
        let old = Terms {
            knows_absttl: false,
            ..terms()
        };
        assert_eq!(sent(&with_expiry(5000), &old, &p), ["RESTORE", "4000"]);
        let file = with_expiry(5000);
        let Decision::Send(restore) = decide(&entry(&file), &old, &p) else {
            panic!("is sent")
        };
        assert_eq!(
            words(&restore, 9000),
            ["RESTORE", "1"],
            "its time came on the way: never 0, which means forever"
        );
    }

    #[test]
    fn what_is_past_at_the_instant_follows_the_policy_and_is_never_sent_with_it() {
        for at in [1000i64, 999, 0, -2, i64::MIN] {
            let file = with_expiry(at);
            let p = policies(1000);
            assert_eq!(sent(&file, &terms(), &p)[0], "Expired", "{at}");
            let persist = Policies {
                expired: ExpiredPolicy::Persist,
                ..p.clone()
            };
            assert_eq!(sent(&file, &terms(), &persist), ["RESTORE", "0"]);
            let ttl = Policies {
                expired: ExpiredPolicy::Ttl(60_000),
                replace: true,
                ..p
            };
            assert_eq!(
                sent(&file, &terms(), &ttl),
                ["RESTORE", "61000", "REPLACE", "ABSTTL"]
            );
        }
        assert_eq!(
            sent(&with_expiry(1001), &terms(), &policies(1000)),
            ["RESTORE", "1001", "ABSTTL"]
        );
        assert_eq!(
            sent(&with_expiry(-1), &terms(), &policies(1000)),
            ["RESTORE", "0"],
            "-1 is none"
        );
    }

    #[test]
    fn a_sticky_key_stays_one_where_that_is_known() {
        let file = b"REDIS0009\xfa\x06df-ver\x031.0\xdc\x01\0\0\0\0\x01k\x01v";
        let p = policies(0);
        let terms = || {
            let mut terms = terms();
            terms.set(ValueType::STRING, Dialect::Dragonfly, TypeTerms::Take(6));
            terms
        };
        let there = Terms {
            knows_stick: true,
            ..terms()
        };
        let restore = |terms: &Terms| match decide(&entry(file), terms, &p) {
            Decision::Send(restore) => (words(&restore, 0), restore.losses),
            other => panic!("{other:?}"),
        };
        let (sent, losses) = restore(&there);
        assert_eq!(sent, ["RESTORE", "0", "STICK"]);
        assert!(losses.is_empty());
        let (sent, losses) = restore(&terms());
        assert_eq!(sent, ["RESTORE", "0"]);
        assert!(losses.has(Loss::KeyFlags), "bookkeeping that is counted");
    }

    #[test]
    fn idle_or_freq_never_both_and_only_where_known() {
        let both = b"REDIS0009\xf8\x07\xf9\x09\x00\x01k\x01v";
        let p = policies(0);
        assert_eq!(sent(both, &terms(), &p), ["RESTORE", "0", "IDLETIME", "7"]);
        assert_eq!(
            sent(
                both,
                &Terms {
                    lfu: true,
                    ..terms()
                },
                &p
            ),
            ["RESTORE", "0", "FREQ", "9"]
        );
        assert_eq!(
            sent(
                both,
                &Terms {
                    knows_absttl: false,
                    ..terms()
                },
                &p
            ),
            ["RESTORE", "0"]
        );
        let freq = b"REDIS0009\xf9\xff\x00\x01k\x01v";
        assert_eq!(sent(freq, &terms(), &p), ["RESTORE", "0", "FREQ", "255"]);
        let huge = b"REDIS0009\xf8\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01k\x01v";
        assert_eq!(
            sent(huge, &terms(), &p),
            ["RESTORE", "0", "IDLETIME", "9223372036854775"]
        );
    }

    #[test]
    fn what_cannot_go_whole_is_refused_with_its_reason() {
        let p = policies(0);
        for (file, reason) in [
            (&b"REDIS0011\x01\x01k\x01\x01a"[..], "not in this test"),
            (b"REDIS0013\xf3\x00\x00\x01k\x01v", "key metadata"),
            (b"REDIS0009\x00\x01k\x01v\xfa\x13keydb-subexpire-key\x01m\xfa\x14keydb-subexpire-when\x011", "members have expiries"),
        ] {
            let answer = sent(file, &terms(), &p);
            assert_eq!(answer[0], "Refused");
            assert!(answer[1].contains(reason), "{answer:?}");
        }
        let tight = Terms {
            max_arg: 12,
            ..terms()
        };
        assert!(
            sent(b"REDIS0009\x00\x01k\x01v", &tight, &p)[1].contains("client-query-buffer-limit")
        );
        assert_eq!(
            sent(
                b"REDIS0009\x00\x01k\x01v",
                &Terms {
                    max_arg: 13,
                    ..terms()
                },
                &p
            ),
            ["RESTORE", "0"]
        );
    }

    #[test]
    fn empty_collections_are_no_keys() {
        let p = policies(0);
        for body in [
            &b"\x01\x01k\x00"[..],
            b"\x12\x01k\x00",
            b"\x10\x01k\x07\x07\0\0\0\0\0\xff",
            b"\x0a\x01k\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff",
            b"\x0b\x01k\x08\x02\0\0\0\0\0\0\0",
            b"\x18\x01k\0\0\0\0\0\0\0\0\x00",
        ] {
            let file = [b"REDIS0012", body].concat();
            assert_eq!(sent(&file, &terms(), &p)[0], "Empty", "{body:?}");
        }
        let stream = b"REDIS0011\x0f\x01k\x00\x00\x00\x00\x00";
        assert_eq!(
            sent(stream, &terms(), &p)[0],
            "Refused",
            "an empty stream is a value"
        );
    }

    #[test]
    fn a_library_is_as_long_as_it_is_not_as_long_as_it_says() {
        let source = |file: &[u8]| {
            let library =
                Snapshot::parse(file)
                    .unwrap()
                    .records()
                    .find_map(|record| match record {
                        Ok(Record::Function(library)) => Some(library),
                        _ => None,
                    });
            library_source(&library.unwrap())
        };
        let lies = source(b"REDIS0010\xf5\xc3\x03\x80\x7f\xff\xff\xff\x01ab\xff").unwrap_err();
        assert_eq!(lies.kind(), ErrorKind::Corrupt, "{lies}");
        let mut long = b"REDIS0010\xf5".to_vec();
        Str::write_raw(&mut long, &vec![b'x'; 5 << 20]);
        let error = source(&long).unwrap_err();
        assert_eq!(
            (error.kind(), error.place()),
            (ErrorKind::Limit, Some(Place::at(9)))
        );
    }
}
