//! `export --format restore`: the commands that `load` would send, as text for `redis-cli --pipe`.
//!
//! One pass: commands are written as entries are found, and the checksum is known only at the end. A wrong one is the error
//! that this ends with; what was written then must not be used. Values are walked before anything is written where `load`
//! would walk them: without a checksum, for a server that a bad one can end, or where the input is not trusted.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{PIECE, Spill};
use crate::name_room::NameRoom;
use crate::outcome::{Outcome, Road, Tally};
use crate::payload::payload_type;
use crate::reencode::older_forms;
use crate::replay::{self, Decision, Ladder, Policies, Step, Terms, TypeTerms, Usual};
use crate::resp::Arg;
use crate::resp::pack::{self, Out};
use crate::select::Selection;
use crate::snapshot::{
    ChecksumState, Dialect, Entry, Function, Lent, ModuleId, Record, Snapshot, Spot, ValueType,
};
use crate::target::{Acceptance, Assumed, Facts, Probed, Product, Version, footer};
use crate::value::Decoder;
use crate::value::commands::{LossCounts, Losses};
use crate::verbs::ordered::{self, Ends};
use crate::verbs::{Ending, Ticker, Trust, Watch, walk};
use crate::wire::Str;

/// For whom the commands are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum For {
    /// Any server that knows the types: the lowest footer that each needs.
    #[default]
    Any,
    /// A server that takes payloads up to this RDB version.
    Version(u16),
    /// This product and version.
    Target(Assumed),
}

/// How to export.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// For whom.
    pub to: For,
    /// Expiry, databases, `REPLACE`, and the run's instant.
    pub policies: Policies,
    /// Where values are spooled that are too large to be held while they are written in an older form. Without it, which is
    /// the default, they are refused.
    pub spool_dir: Option<PathBuf>,
    /// Whether values are walked first.
    pub trust: Trust,
    /// Threads that make commands, besides the caller's, which finds entries and writes. With less than two, that one does
    /// it all.
    pub threads: usize,
}

impl Options {
    /// Whether the server that the text is for, or one that it can be for, may end on a bad payload.
    fn is_fragile(&self) -> bool {
        match self.to {
            For::Any => false,
            // Redis up to 6.1 takes 9, as 6.2 does.
            For::Version(version) => version <= 9,
            For::Target(assumed) => {
                let mut facts = Facts::default();
                facts.assume(assumed);
                !Acceptance::new(&facts, &Probed::default()).survives_bad_payloads()
            }
        }
    }

    /// Function libraries came with Redis 7.0, RDB version 10.
    fn takes_functions(&self) -> bool {
        match self.to {
            For::Any => true,
            For::Version(version) => version >= 10,
            For::Target(Assumed { product, version }) => {
                product == Product::Valkey
                    || product == Product::Redis && version >= Version::new(7, 0, 0)
            }
        }
    }
}

/// What was exported.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Entries whose command was written.
    pub written: u64,
    /// Entries among these that were written in an older form.
    pub reencoded: u64,
    /// What entries that were written do not carry.
    pub losses: LossCounts,
    /// The outcomes of all others.
    pub not_written: Tally,
    /// Function libraries written.
    pub functions: u64,
    /// Function libraries that the target does not know.
    pub functions_left_out: u64,
    /// Function libraries that are not written, since their source cannot be read: `check` says what is wrong with them.
    pub functions_damaged: u64,
    /// The end of the file.
    pub ending: Ending,
    /// Why values were walked, if they were.
    pub walked: Option<&'static str>,
}

impl Report {
    /// Whether every entry that was read is either written or has an outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.written.saturating_add(self.not_written.total()) == self.entries
    }
}

/// Writes the commands for all selected entries of `snapshot` to `out`. `left_out` is told of each selected entry that is not
/// written, with the reason. `db` is the database that the text is in: 0 at its beginning, and what the input before left.
///
/// # Errors
/// Those of the reader (a wrong checksum comes last), of the selection, of `watch`, and `Io` of the writer. `Corrupt`, with
/// nothing written, where values are walked first and one is damaged.
pub fn export<'data>(
    snapshot: &Snapshot<'data>,
    selection: &mut Selection,
    options: &Options,
    db: &mut u64,
    out: &mut dyn Write,
    left_out: &mut dyn FnMut(&Entry<'_>, Outcome, &str),
    watch: &mut Watch<'_>,
) -> Result<Report> {
    let mut report = Report {
        walked: walk_first(snapshot, selection, options, watch)?,
        ..Report::default()
    };
    let mut not_written = Tally::default();
    let (mut reencoded, mut losses) = (0u64, LossCounts::default());
    let mut functions_damaged = 0u64;
    let (mut scratch, mut ticker) = (Vec::new(), Ticker::default());
    let mut records = snapshot.records();
    // For the few that something is to be said of.
    let mut again = snapshot.again();
    let next = |items: &mut Vec<Item>| {
        loop {
            // Matched where it is made: to move what is lent would cost more than to find it.
            let entry = match records.lend() {
                Ok(Some(Lent::Entry(entry))) => entry,
                Ok(Some(Lent::Other(other))) => {
                    match other {
                        Record::Function(_) if !options.takes_functions() => {
                            report.functions_left_out = report.functions_left_out.saturating_add(1);
                        }
                        Record::Function(library) => {
                            report.functions = report.functions.saturating_add(1);
                            items.push(Item::Function(library.offset()));
                            return Ok(true);
                        }
                        Record::End(end) => report.ending = Ending::of(&end),
                        _ => {}
                    }
                    continue;
                }
                Ok(None) => return Ok(false),
                Err(error) => return Err(error),
            };
            report.entries = report.entries.saturating_add(1);
            ticker.tick(watch, entry.end(), report.entries)?;
            if !selection.admits(entry, &mut scratch)? {
                report.not_written.add(Outcome::NotSelected);
                continue;
            }
            let target = options.policies.db_map.get(entry.db);
            let selects = target != *db;
            *db = target;
            report.written = report.written.saturating_add(1);
            items.push(Item::Key {
                spot: records.spot(),
                selects,
            });
            return Ok(true);
        }
    };
    ordered::run(
        options.threads,
        next,
        |item| match item {
            Item::Key { spot, .. } => spot.record_len(),
            Item::Function(_) => 0,
        },
        || {
            maker(
                snapshot,
                options,
                report.walked.is_some() && options.trust.skip_damaged,
            )
        },
        Ends {
            out,
            note: &mut |item, note| {
                match (item, note) {
                    (Item::Key { spot, .. }, Note::LeftOut(outcome, reason)) => {
                        not_written.add(outcome);
                        left_out(again.entry(spot)?, outcome, &reason);
                    }
                    (Item::Function(_), Note::LeftOut(..)) => {
                        functions_damaged = functions_damaged.saturating_add(1);
                    }
                    (_, Note::Changed(road, lost)) => {
                        reencoded = reencoded.saturating_add(u64::from(road == Road::Reencoded));
                        if !lost.is_empty() {
                            losses.add(lost);
                        }
                    }
                }
                Ok(())
            },
        },
    )?;
    out.flush()
        .map_err(|error| Error::io("the output cannot be written", error))?;
    demand_walked(&report, options)?;
    // What was handed out to be written, less what could not be.
    report.written = report.written.saturating_sub(not_written.total());
    report.not_written.merge(&not_written);
    report.reencoded = reencoded;
    report.losses = losses;
    report.functions = report.functions.saturating_sub(functions_damaged);
    report.functions_damaged = functions_damaged;
    Ok(report)
}

/// Walks all values where that is due, and gives the reason. Damaged ones that are to be left out are met again when they are
/// written.
fn walk_first(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Option<&'static str>> {
    let verified = options.trust.trust_input || has_checksum(snapshot)?;
    let why = options.trust.why_walk(verified, options.is_fragile());
    if let Some(why) = why.filter(|_| !options.trust.skip_damaged) {
        let mut decoder = Decoder::new(options.spool_dir.as_deref());
        if let Some((damaged, first)) = walk::damaged(snapshot, selection, &mut decoder, watch)? {
            return Err(first.with_hint(format!(
                "values are walked first since {why}; {damaged} damaged in all: `rdbridge check` lists them, \
                 --skip-damaged leaves them out"
            )));
        }
    }
    Ok(why)
}

/// Whether the file has a checksum, which the one pass then verifies. Most files end with it, behind the opcode of the end;
/// others are read through to see.
fn has_checksum(snapshot: &Snapshot<'_>) -> Result<bool> {
    if let Some((head, checksum)) = snapshot.data().split_last_chunk::<8>()
        && head.last() == Some(&0xff)
        && checksum.iter().any(|byte| *byte != 0)
    {
        return Ok(true);
    }
    let mut records = snapshot.unverified_records();
    while let Some(record) = records.lend()? {
        if let Lent::Other(Record::End(end)) = record {
            let none = matches!(end.checksum, ChecksumState::None | ChecksumState::Disabled);
            return Ok(!none);
        }
    }
    Ok(false)
}

/// What stands behind the end of a dump without a checksum can look like one: then nothing was walked.
fn demand_walked(report: &Report, options: &Options) -> Result<()> {
    let trusted = report.ending.checksum_verified || options.trust.trust_input;
    if trusted || report.walked.is_some() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "the dump has no checksum, though what stands behind its end looks like one: {}",
            report.ending
        ),
    )
    .with_hint("export it with --untrusted, which walks all values first"))
}

/// What becomes text.
#[derive(Debug, Clone, Copy)]
enum Item {
    Key {
        spot: Spot,
        /// It goes to another database than the last key.
        selects: bool,
    },
    /// Where a library's record begins.
    Function(u64),
}

/// What the caller should know of a key.
enum Note {
    LeftOut(Outcome, Cow<'static, str>),
    /// It went in another form, or not whole.
    Changed(Road, Losses),
}

/// Commands are handed over when they have so many bytes: more than those of one batch of small keys, which so go at once.
const SPILL: usize = 4 * PIECE;

/// What one thread works with.
fn maker<'data>(
    snapshot: &Snapshot<'data>,
    options: &Options,
    walks: bool,
) -> impl FnMut(&Item, &mut Vec<u8>, &mut Spill<'_>) -> Result<Option<Note>> + Send + use<'data> {
    let mut terms = KnownTerms::new(options.to);
    let mut ladder = Ladder::new(options.spool_dir.as_deref());
    let policies = options.policies.clone();
    let mut key = NameRoom::new(options.spool_dir.as_deref());
    let mut walker = walks.then(|| Decoder::new(options.spool_dir.as_deref()));
    let (data, mut again) = (snapshot.data(), snapshot.again());
    move |item, text, spill| {
        let (entry, selects) = match item {
            Item::Key { spot, selects } => (again.entry(spot)?, *selects),
            Item::Function(offset) => {
                let library = Function::at(data, *offset)?;
                let source = match replay::library_source(&library) {
                    Ok(source) => source,
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        let reason = error.to_string().into();
                        return Ok(Some(Note::LeftOut(Outcome::Refused, reason)));
                    }
                    Err(error) => return Err(error),
                };
                let mut words = vec![Arg::from("FUNCTION"), Arg::from("LOAD")];
                if policies.replace {
                    words.push(Arg::from("REPLACE"));
                }
                words.push(Arg::Bytes(&source));
                pack::command(&mut Text { text, spill }, &words)?;
                return Ok(None);
            }
        };
        if selects {
            let mut digits = itoa::Buffer::new();
            let db = digits.format(policies.db_map.get(entry.db));
            pack::command(
                &mut Text { text, spill },
                &[Arg::from("SELECT"), Arg::from(db)],
            )?;
        }
        let terms = terms.of(entry)?;
        if walker.is_none()
            && !matches!(entry.key, Str::Lzf(_))
            && let Ok(name) = policies.name_of(entry, &mut key)
            && let Some(usual) = Usual::of(entry, terms, &policies, name)
        {
            usual.pack(text);
            if text.len() >= SPILL {
                spill(text)?;
            }
            let note = !usual.losses.is_empty();
            return Ok(note.then_some(Note::Changed(Road::Raw, usual.losses)));
        }
        let decided = ladder.decide(entry, terms, &policies, Step::RAW);
        let restore = match decided {
            Decision::Send(restore) => restore,
            // Its terms know no commands.
            Decision::Commands(by) => {
                return Ok(Some(Note::LeftOut(Outcome::Refused, by.why)));
            }
            Decision::Skip(outcome, reason) => return Ok(Some(Note::LeftOut(outcome, reason))),
        };
        if let Some(Err(error)) = walker.as_mut().map(|walker| walker.validate(entry)) {
            let reason = format!("its value cannot be walked: {error}");
            return Ok(Some(Note::LeftOut(Outcome::Refused, reason.into())));
        }
        let key = match policies.name_of(entry, &mut key) {
            Ok(key) => key,
            Err(error) => {
                let reason = format!("its name cannot be read: {error}");
                return Ok(Some(Note::LeftOut(Outcome::Refused, reason.into())));
            }
        };
        restore.with_args("RESTORE", key, policies.now_ms, |args| {
            pack::command(&mut Text { text, spill }, args)
        })?;
        let note = (restore.road() == Road::Reencoded || !restore.losses.is_empty())
            .then(|| Note::Changed(restore.road(), restore.losses));
        if text.len() >= SPILL {
            spill(text)?;
        }
        Ok(note)
    }
}

/// Packs into a buffer that is spilled where it is full.
struct Text<'t, 's, 'f> {
    text: &'t mut Vec<u8>,
    spill: &'s mut Spill<'f>,
}

impl Out for Text<'_, '_, '_> {
    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn large(&mut self, piece: &[u8]) -> Result<()> {
        for part in piece.chunks(PIECE) {
            self.text.extend_from_slice(part);
            if self.text.len() >= PIECE {
                (self.spill)(self.text)?;
            }
        }
        Ok(())
    }
}

/// Terms that are looked up when a type is first met, since one pass does not know before what a dump holds.
struct KnownTerms {
    to: For,
    facts: Facts,
    terms: Terms,
    /// Those of `dialect` by their number.
    known: [bool; 256],
    dialect: Dialect,
    modules: Vec<ModuleId>,
}

impl KnownTerms {
    fn new(to: For) -> Self {
        let mut facts = Facts::default();
        if let For::Target(assumed) = to {
            facts.assume(assumed);
        }
        let probed = Probed::default();
        let mut terms = Acceptance::new(&facts, &probed).terms(&[], &[]);
        if !matches!(to, For::Target(_)) {
            terms.key_meta =
                matches!(to, For::Any | For::Version(KEY_META..=79)).then_some(KEY_META);
            // No destination is known whose limit could be asked.
            terms.max_bulk = u64::MAX;
            terms.max_arg = u64::MAX;
        }
        Self {
            to,
            facts,
            terms,
            known: [false; 256],
            dialect: Dialect::Redis,
            modules: Vec::new(),
        }
    }

    fn of(&mut self, entry: &Entry<'_>) -> Result<&Terms> {
        if self.dialect != entry.dialect {
            self.dialect = entry.dialect;
            self.known = [false; 256];
        }
        let is_known = self.known.get_mut(usize::from(entry.value_type.0));
        if let Some(is_known @ false) = is_known {
            *is_known = true;
            let sent_as = payload_type(entry.value_type, entry.dialect);
            let found = self.footer_for(sent_as, entry.dialect);
            self.terms.set(entry.value_type, entry.dialect, found);
            for form in older_forms(entry.form()) {
                let found = self.footer_for(form.value_type, form.dialect);
                self.terms.set(form.value_type, form.dialect, found);
            }
        }
        if entry.value_type == ValueType::MODULE_2 {
            self.learn_module(entry)?;
        }
        Ok(&self.terms)
    }

    fn learn_module(&mut self, entry: &Entry<'_>) -> Result<()> {
        let id = crate::wire::length::read(&mut crate::wire::Cursor::new(
            entry.value,
            entry.value_offset,
        ))?;
        let module = ModuleId(id);
        if !self.modules.contains(&module) {
            self.modules.push(module);
            // Whether the module is there is the user's knowledge: the text is made for a server that has it.
            let found = self.footer_for(ValueType::MODULE_2, entry.dialect);
            self.terms.set_module(module, found);
        }
        Ok(())
    }

    fn footer_for(&self, value_type: ValueType, dialect: Dialect) -> TypeTerms {
        if let For::Target(_) = self.to {
            let probed = Probed::default();
            return match Acceptance::new(&self.facts, &probed).footer_for(value_type, dialect) {
                Ok(version) => TypeTerms::Take(version),
                Err(reason) => TypeTerms::Refuse(reason),
            };
        }
        match (footer::footer_needed(value_type, dialect), self.to) {
            (Err(reason), _) => TypeTerms::Refuse(reason.into()),
            (Ok(needed), For::Version(newest))
                if needed > newest || (needed >= 80) != (newest >= 80) && needed > 11 =>
            {
                TypeTerms::Refuse(
                    format!(
                        "{} needs RDB version {needed}, the target takes {newest}",
                        value_type.name(dialect)
                    )
                    .into(),
                )
            }
            // Servers up to 3.2.0 want their own number exactly.
            (Ok(needed), For::Version(own @ (6 | 7))) => TypeTerms::Take(own.max(needed)),
            (Ok(needed), _) => TypeTerms::Take(needed),
        }
    }
}

/// The footer of payloads with key metadata at their head.
const KEY_META: u16 = 13;
