//! `load`: replays dumps into a destination by `RESTORE`, and counts what became of every entry.
//!
//! The order is what makes it safe:
//! 1. [`survey`] reads a whole dump, its checksum included, before anything is sent.
//! 2. [`Load::begin`] asks the destination what it is and what it takes, with probes that store nothing, and refuses what
//!    cannot end well.
//! 3. [`Load::replay`] sends function libraries, then keys. Every reply is tied to its entry.
//! 4. [`Load::finish`] adds up: the outcomes must be as many as the entries that were read.

mod contact;
mod eviction;
mod functions;
mod overlap;
mod repeated;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

pub use contact::{Peeked, first_contact, peek};
pub use functions::{FunctionFailure, FunctionPolicy, FunctionReport};
pub use overlap::{Overlaps, Where};

use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{Outcome, Tally};
use crate::payload::payload_type;
use crate::replay::{Policies, Terms};
use crate::resp::{Connection, Connector, WindowOptions};
use crate::select::Selection;
use crate::snapshot::{Entry, ModuleId, Record, Snapshot, ValueType};
use crate::survey::Survey;
use crate::target::{Acceptance, Assumed, Facts, Probed, probe};
use crate::value::Decoder;
use crate::verbs::{Position, Ticker, Watch};
use worker::{Shared, Stop};

/// What to do with keys that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Leave them alone, list each, try all the others. The default.
    #[default]
    Fail,
    /// Leave them alone; that is no finding.
    Skip,
    /// Overwrite them.
    Replace,
    /// Stop at the first.
    Abort,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct Options {
    /// Expiry, databases and the run's instant. `replace` is set by [`Load::begin`] from `on_conflict`.
    pub policies: Policies,
    /// Keys that exist.
    pub on_conflict: OnConflict,
    /// Function libraries.
    pub functions: FunctionPolicy,
    /// Refuse a destination that holds any key.
    pub require_empty: bool,
    /// Go on where the destination evicts keys.
    pub allow_eviction: bool,
    /// Send values unwalked where they should be walked first.
    pub trust_input: bool,
    /// Where values are walked first and some are damaged: refuse these by name and load the others, instead of nothing.
    pub skip_damaged: bool,
    /// Where the fingerprints of many keys, and values too large to be held while they are walked, are spooled. Default:
    /// `/tmp`.
    pub spool_dir: PathBuf,
    /// The dump comes from somebody who may mean harm: values are to be walked first.
    pub untrusted: bool,
    /// Connections; at least 1.
    pub connections: usize,
    /// How much may be under way on each.
    pub window: WindowOptions,
    /// Product and version by the user's word.
    pub assume: Option<Assumed>,
    /// Keys that the destination has answered for so far: for whoever must say so at any instant.
    pub acknowledged: Arc<AtomicU64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            on_conflict: OnConflict::Fail,
            functions: FunctionPolicy::Load,
            require_empty: false,
            allow_eviction: false,
            trust_input: false,
            skip_damaged: false,
            spool_dir: std::path::PathBuf::from("/tmp"),
            untrusted: false,
            connections: 1,
            window: WindowOptions::default(),
            assume: None,
            acknowledged: Arc::default(),
        }
    }
}

/// An entry that a person would want to know by name.
#[derive(Debug, Clone, Copy)]
pub struct KeyEvent<'a> {
    /// The number of the input.
    pub input: u32,
    /// The entry's number in its input.
    pub ordinal: u64,
    /// Where its record begins.
    pub offset: u64,
    /// Its database in the file.
    pub db: u64,
    /// Its key; of a very long one, the beginning.
    pub key: &'a [u8],
    /// Its outcome.
    pub outcome: Outcome,
    /// The server's words, or ours.
    pub reason: &'a str,
}

/// Is told about single entries, from several threads.
pub trait Watcher: Sync {
    /// An entry ended in an outcome that is listed.
    fn key(&self, event: &KeyEvent<'_>);
}

/// Reads a whole dump, checksum included: what is not sound is not loaded.
///
/// # Errors
/// Those of the reader, of the selection and of `watch`; `Limit` where it holds more kinds of things than any server.
pub fn survey(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    now_ms: i64,
    watch: &mut Watch<'_>,
) -> Result<Survey> {
    let mut survey = Survey::new(crate::snapshot::Producer::new(snapshot.header()));
    let mut records = snapshot.records();
    let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
    while let Some(record) = records.next_record()? {
        match record {
            Record::Entry(entry) => {
                let selected = selection.admits(&entry, &mut scratch)?;
                survey.add(&entry, selected, now_ms)?;
                ticker.tick(watch, entry.end(), survey.entries)?;
            }
            other => survey.learn(&other)?,
        }
    }
    Ok(survey)
}

/// A load that is under way.
#[derive(Debug)]
pub struct Load {
    connector: Connector,
    options: Options,
    facts: Facts,
    probed: Probed,
    terms: Terms,
    /// Why values are walked before they are sent, if they are.
    walk: Option<&'static str>,
    tally: Tally,
    functions: FunctionReport,
    seen_functions: HashSet<u64>,
    entries: u64,
    evicted_before: Option<u64>,
    evicted: u64,
    evictions_known: bool,
    started: Instant,
    stopped: Option<Error>,
}

/// What became of a load.
#[derive(Debug)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Their outcomes.
    pub tally: Tally,
    /// Function libraries.
    pub functions: FunctionReport,
    /// Keys that the destination evicted during the load; `None` where it hides that.
    pub evicted: Option<u64>,
    /// From the first question to the last reply.
    pub elapsed: Duration,
    /// Why it ended early, if it did.
    pub stopped: Option<Error>,
    /// It ended at a key that exists, as [`OnConflict::Abort`] says: a finding, not a fault of the destination.
    pub aborted: bool,
}

impl Report {
    /// Whether every entry that was read has exactly one outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.tally.total() == self.entries
    }

    /// Whether everything that was wanted was done.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.adds_up()
            && self.stopped.is_none()
            && !self.tally.has_findings()
            && self.functions.failed.is_empty()
            && self.functions.refused == 0
            && self.evicted.unwrap_or(0) == 0
    }
}

impl Load {
    /// Asks the destination everything, and refuses what cannot end well. Nothing is stored.
    ///
    /// # Errors
    /// Kind `Destination` where it cannot be reached or cannot take this dump; kind `Usage` where an option must say that a
    /// risk is taken.
    pub fn begin(connector: Connector, surveys: &[Survey], mut options: Options) -> Result<Self> {
        let started = Instant::now();
        options.policies.replace = options.on_conflict == OnConflict::Replace;
        let dbs: BTreeSet<u64> = surveys
            .iter()
            .flat_map(|s| s.dbs.keys())
            .map(|db| options.policies.db_map.get(*db))
            .collect();
        let dbs: Vec<u64> = dbs.into_iter().collect();
        let (mut connection, facts) = contact::ask(&connector, &dbs, &options)?;
        let types: BTreeMap<_, _> = surveys
            .iter()
            .flat_map(Survey::types)
            .map(|(dialect, value_type, _)| ((value_type, dialect as u8), (value_type, dialect)))
            .collect();
        let mut asked: Vec<_> = types
            .values()
            .map(|(t, d)| (payload_type(*t, *d), *d))
            .collect();
        asked.dedup();
        // Databases that were counted may still be closed to this user.
        if let Some(highest) = dbs.last() {
            connection.select(*highest).map_err(contact::open_db)?;
        }
        let mut probed = Probed::default();
        // A user may have the right to some names only: those keys arrive, the others fail.
        for (db, key) in surveys.iter().flat_map(|s| &s.samples) {
            connection.select(options.policies.db_map.get(*db))?;
            probed = probe(&mut connection, &facts, "RESTORE", key, &asked)?;
            if probed.key_closed.is_none() {
                break;
            }
        }
        if let Some(words) = probed
            .restore_closed
            .as_ref()
            .or(probed.key_closed.as_ref())
        {
            return Err(contact::closed(words));
        }
        let acceptance = Acceptance::new(&facts, &probed);
        let walk = why_walk(surveys, &acceptance, &options);
        demand_memory(surveys, &facts, &options)?;
        let modules: BTreeSet<ModuleId> = surveys
            .iter()
            .flat_map(|s| s.modules.keys().copied())
            .collect();
        let modules: Vec<ModuleId> = modules.into_iter().collect();
        let mut terms = acceptance.terms(&asked, &modules);
        for (value_type, dialect) in types.values() {
            let sent_as = payload_type(*value_type, *dialect);
            if sent_as != *value_type
                && let Some(found) = terms.get(sent_as, *dialect).cloned()
            {
                terms.set(*value_type, *dialect, found);
            }
        }
        if options.policies.replace && !terms.knows_replace {
            return Err(Error::new(
                ErrorKind::Destination,
                format!(
                    "{} knows no RESTORE … REPLACE, which came with Redis 3.0",
                    facts.name()
                ),
            )
            .with_hint("delete what is to be replaced, and load with --on-conflict fail"));
        }
        let evicted_before = eviction::evicted_keys(&mut connection)?;
        Ok(Self {
            connector,
            options,
            facts,
            probed,
            terms,
            walk,
            tally: Tally::default(),
            functions: FunctionReport::default(),
            seen_functions: HashSet::new(),
            entries: 0,
            evicted_before,
            evicted: 0,
            evictions_known: evicted_before.is_some(),
            started,
            stopped: None,
        })
    }

    /// What the destination is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What probing found.
    #[must_use]
    pub fn probed(&self) -> &Probed {
        &self.probed
    }

    /// What it takes.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Why no function library is sent, where the destination is known to have none.
    #[must_use]
    pub fn refuses_functions(&self) -> Option<String> {
        let version = self.facts.version?;
        let old = self.facts.product == Some(crate::target::Product::Redis)
            && version < crate::target::Version::new(7, 0, 0);
        (old && self.options.functions != FunctionPolicy::Skip).then(|| {
            format!(
                "{} knows no functions, which came with Redis 7.0",
                self.facts.name()
            )
        })
    }

    /// Why values are to be walked before the first write ([`Load::walk`]), if they are.
    #[must_use]
    pub fn why_walk(&self) -> Option<&'static str> {
        self.walk
    }

    /// Walks every selected value of a dump, before anything is sent; does nothing where [`Load::why_walk`] is `None` or
    /// damaged values are to be skipped one by one.
    ///
    /// # Errors
    /// `Corrupt` with the first damaged value and the number of all; those of reader, selection and `watch`.
    pub fn walk(
        &self,
        snapshot: &Snapshot<'_>,
        selection: &mut Selection,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let Some(why) = self.walk.filter(|_| !self.options.skip_damaged) else {
            return Ok(());
        };
        let mut decoder = Decoder::new(Some(self.options.spool_dir.as_path()));
        let mut records = snapshot.unverified_records();
        let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
        let (mut damaged, mut first) = (0u64, None);
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            ticker.tick(watch, entry.end(), records.entries_seen())?;
            if !selection.admits(&entry, &mut scratch)? {
                continue;
            }
            if let Err(error) = decoder.validate(&entry) {
                if error.kind() != ErrorKind::Corrupt {
                    return Err(error);
                }
                damaged = damaged.saturating_add(1);
                first.get_or_insert(error);
            }
        }
        let Some(first) = first else { return Ok(()) };
        Err(first.with_hint(format!(
            "values were walked since {why}; {damaged} damaged in all, nothing was sent: `rdbridge check` lists them, \
             --skip-damaged loads the others"
        )))
    }

    /// Whether the run has ended early; what follows is only counted.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Sends one dump that was surveyed before: its function libraries, then its keys. What happens to each entry is counted;
    /// what ends the run early is kept for the report.
    ///
    /// # Errors
    /// None but a selection that cannot be asked; everything else is in the report.
    pub fn replay(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        selection: &mut Selection,
        watcher: &dyn Watcher,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let connections = match self.stopped {
            Some(_) => Vec::new(),
            None => self.open_all(snapshot, survey).unwrap_or_else(|error| {
                self.stopped = Some(error);
                Vec::new()
            }),
        };
        let stop = Stop::default();
        if let Some(error) = self.stopped.take() {
            stop.set(error);
        }
        let far = Far::default();
        let evictions = eviction::Watch::default();
        let done = AtomicBool::new(false);
        let shared = Shared {
            data: snapshot.data(),
            input,
            terms: &self.terms,
            policies: &self.options.policies,
            on_conflict: self.options.on_conflict,
            watcher,
            stop: &stop,
            acknowledged: &self.options.acknowledged,
            far: &far,
            walk: self.walk.is_some(),
            spool_dir: Some(self.options.spool_dir.as_path()),
        };
        let (mut tally, mut entries, mut repetitions) = (Tally::default(), 0, None);
        std::thread::scope(|scope| {
            if let Some(before) = self.evicted_before
                && !stop.is_set()
            {
                let allowed = self.options.allow_eviction;
                let (watch, connector, stop, done) = (&evictions, &self.connector, &stop, &done);
                scope.spawn(move || watch.run(connector, before, allowed, stop, done));
            }
            // Under `replace` a second entry of a key is answered like the first. Under the other policies it cannot be, so
            // where no key existed, none stands twice, and the search can wait for the first one that did.
            let options = &self.options;
            let beside = options
                .policies
                .replace
                .then(|| scope.spawn(move || repeated::find(snapshot, &options.spool_dir)));
            let mut senders = Vec::new();
            let mut workers = Vec::new();
            for connection in connections {
                let (sender, receiver) = sync_channel(BATCHES);
                senders.push(sender);
                let (shared, window) = (&shared, self.options.window);
                workers
                    .push(scope.spawn(move || worker::run(shared, connection, window, &receiver)));
            }
            // A server or an input that is silent keeps the other threads from looking.
            if let Some(interrupted) = &self.connector.options.interrupted {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) && !stop.is_set() {
                        if interrupted.load(Ordering::Relaxed) {
                            stop.set(interrupt());
                        }
                        std::thread::sleep(NAP);
                    }
                });
            }
            let mut feeder = Feeder {
                senders,
                next: 0,
                batch: Vec::with_capacity(BATCH),
                unsent: 0,
                far: &far,
            };
            entries = feed(
                snapshot,
                selection,
                &mut feeder,
                &mut tally,
                &stop,
                &mut |read| watch(far.position(read)),
            );
            tally.add_many(Outcome::NotReached, feeder.close());
            for worker in workers {
                match worker.join() {
                    Ok(counted) => tally.merge(&counted),
                    Err(_) => stop.set(Error::new(
                        ErrorKind::Destination,
                        "a connection's thread ended unexpectedly",
                    )),
                }
            }
            done.store(true, Ordering::Release);
            repetitions = beside.map(|thread| thread.join().unwrap_or_else(|_| Err(lost_thread())));
        });
        if repetitions.is_none()
            && tally
                .get(Outcome::Conflict)
                .saturating_add(tally.get(Outcome::Existing))
                > 0
        {
            repetitions = Some(repeated::find(snapshot, &self.options.spool_dir));
        }
        let counted = match repetitions {
            Some(Ok(found)) if !found.is_empty() => {
                let spool_dir = &self.options.spool_dir;
                repeated::reclassify(&found, &shared, snapshot, selection, &mut tally, spool_dir)
            }
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        };
        if let Err(error) = counted {
            stop.set(error);
        }
        self.tally.merge(&tally);
        self.entries = self.entries.saturating_add(entries);
        self.evictions_known &=
            !evictions.blind.load(Ordering::Relaxed) || self.evicted_before.is_none();
        self.evicted = self.evicted.max(evictions.grown.load(Ordering::Relaxed));
        self.stopped = stop.take();
        if self.stopped.is_some() {
            // The survey's scan counted them; this one ended early.
            let rest = survey.entries.saturating_sub(entries);
            self.tally.add_many(Outcome::NotReached, rest);
            self.entries = self.entries.saturating_add(rest);
        }
        if self.stopped.is_none() && entries != survey.entries {
            self.stopped = Some(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the input held {} entries when it was checked, and {entries} when it was sent: it changed",
                    survey.entries
                ),
            ));
        }
        Ok(())
    }

    /// Opens all connections, so that a server that takes fewer says so before the first write; then the functions go.
    fn open_all(&mut self, snapshot: &Snapshot<'_>, survey: &Survey) -> Result<Vec<Connection>> {
        let wanted = self.options.connections.max(1);
        let mut connections = Vec::with_capacity(wanted);
        for opened in 1..=wanted {
            let connected = self.connector.connect().and_then(|mut connection| {
                connection.prove()?;
                Ok(connection)
            });
            connections.push(connected.map_err(|error| match (opened, error.hint()) {
                (2.., None) => error.with_hint(format!(
                    "it was connection {opened} of {wanted}: use fewer --connections"
                )),
                _ => error,
            })?);
        }
        if let Some(connection) = connections.first_mut()
            && !survey.functions.is_empty()
        {
            if self.refuses_functions().is_some() {
                let libraries = survey.functions.len() as u64;
                self.functions.found = self.functions.found.saturating_add(libraries);
                self.functions.refused = self.functions.refused.saturating_add(libraries);
                return Ok(connections);
            }
            functions::load(
                snapshot.data(),
                &survey.functions,
                self.options.functions,
                self.options.on_conflict == OnConflict::Skip,
                connection,
                &mut self.seen_functions,
                &mut self.functions,
            )?;
        }
        Ok(connections)
    }

    /// Counts the entries of an input that is not sent any more, since the run has ended early.
    pub fn leave_out(&mut self, survey: &Survey) {
        self.entries = self.entries.saturating_add(survey.entries);
        self.tally.add_many(Outcome::NotReached, survey.entries);
    }

    /// Ends the run for a reason that comes from outside: an interrupt, an input that changed.
    pub fn stop(&mut self, error: Error) {
        self.stopped.get_or_insert(error);
    }

    /// Adds up.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let aborted = self
            .stopped
            .as_ref()
            .is_some_and(|error| error.what() == ABORTED);
        let acknowledged = self.options.acknowledged.load(Ordering::Relaxed);
        self.stopped = self.stopped.take().map(|error| told(error, acknowledged));
        // A server that left an interrupted run without answers is not asked another question.
        let silent = self.tally.get(Outcome::Uncertain) > 0
            && self
                .stopped
                .as_ref()
                .is_some_and(|error| error.kind() == ErrorKind::Interrupted);
        if silent {
            self.evictions_known = false;
        } else if let Some(before) = self.evicted_before {
            let now = self
                .connector
                .connect()
                .and_then(|mut connection| eviction::evicted_keys(&mut connection));
            match now {
                Ok(Some(now)) => {
                    // The last value counts from before to after: what a watch missed is in it.
                    self.evicted = self.evicted.max(now.saturating_sub(before));
                    self.evictions_known = true;
                }
                _ => self.evictions_known = false,
            }
            if self.evicted > 0 && !self.options.allow_eviction {
                // A short load can be over before the watch looks.
                let error = eviction::evicts(self.evicted);
                self.stopped.get_or_insert(error);
            }
        }
        Report {
            entries: self.entries,
            tally: self.tally,
            functions: self.functions,
            evicted: self.evictions_known.then_some(self.evicted),
            elapsed: self.started.elapsed(),
            stopped: self.stopped,
            aborted,
        }
    }
}

/// Why a run ends under [`OnConflict::Abort`].
const ABORTED: &str = "stopped at the first key that exists (--on-conflict abort)";

/// How often an interrupt is looked for.
const NAP: Duration = Duration::from_millis(50);

#[cold]
fn interrupt() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted")
}

/// The reason of an early end, with what was done and how to go on.
#[cold]
fn told(error: Error, acknowledged: u64) -> Error {
    const GO_ON: &str =
        "load again with --on-conflict skip, which leaves alone what is there, to go on";
    match error.kind() {
        ErrorKind::Interrupted => Error::new(
            ErrorKind::Interrupted,
            format!(
                "interrupted: the destination has acknowledged {}",
                crate::units::keys(acknowledged)
            ),
        )
        .with_hint(GO_ON),
        ErrorKind::Destination if error.hint().is_none() => error.with_hint(format!(
            "{} acknowledged; {GO_ON}",
            crate::units::keys(acknowledged)
        )),
        _ => error,
    }
}

/// How far the entries of one input have come: what is shown as progress.
#[derive(Debug, Default)]
struct Far {
    /// Entries that have their outcome.
    settled: AtomicU64,
    /// Entries handed to a connection.
    handed: AtomicU64,
    /// Where the last entry begins that was answered.
    offset: AtomicU64,
}

impl Far {
    /// An entry has its outcome.
    fn settle(&self, offset: u64) {
        self.settled.fetch_add(1, Ordering::Relaxed);
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// What to show where the reader is at `read`: entries under way are not done.
    fn position(&self, read: Position) -> Position {
        let settled = self.settled.load(Ordering::Relaxed);
        let under_way = self.handed.load(Ordering::Relaxed).saturating_sub(settled);
        Position {
            offset: match under_way {
                0 => read.offset,
                _ => self.offset.load(Ordering::Relaxed).min(read.offset),
            },
            entries: read.entries.saturating_sub(under_way),
        }
    }
}

#[cold]
fn lost_thread() -> Error {
    Error::new(
        ErrorKind::Limit,
        "the search for duplicate keys ended unexpectedly",
    )
}

/// Entries in one batch to a connection.
const BATCH: usize = 128;

/// Batches that may wait for a connection.
const BATCHES: usize = 4;

/// Hands batches to connections in turn.
struct Feeder<'run, 'data> {
    senders: Vec<SyncSender<Vec<Entry<'data>>>>,
    next: usize,
    batch: Vec<Entry<'data>>,
    /// Entries that no connection took.
    unsent: u64,
    far: &'run Far,
}

impl<'data> Feeder<'_, 'data> {
    fn push(&mut self, entry: Entry<'data>) {
        self.batch.push(entry);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Gives the batch to whoever has room first; where nobody has, waits for the next in turn.
    fn flush(&mut self) {
        let mut batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let count = batch.len() as u64;
        let connections = self.senders.len();
        self.far.handed.fetch_add(count, Ordering::Relaxed);
        for _ in 0..connections {
            self.next = (self.next + 1) % connections.max(1);
            let Some(sender) = self.senders.get(self.next) else {
                continue;
            };
            match sender.try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => batch = back,
            }
        }
        match self.senders.get(self.next).map(|sender| sender.send(batch)) {
            Some(Ok(())) => {}
            _ => self.unsent += count,
        }
    }

    fn close(mut self) -> u64 {
        if !self.batch.is_empty() {
            self.flush();
        }
        self.unsent
    }
}

/// Reads the dump a second time and hands out what the selection admits, until the run stops. Gives the number of entries
/// read.
fn feed<'data>(
    snapshot: &Snapshot<'data>,
    selection: &mut Selection,
    feeder: &mut Feeder<'_, 'data>,
    tally: &mut Tally,
    stop: &Stop,
    watch: &mut Watch<'_>,
) -> u64 {
    // The checksum was verified by the survey.
    let mut records = snapshot.unverified_records();
    let (mut entries, mut ticker, mut scratch) = (0u64, Ticker::default(), Vec::new());
    loop {
        let entry = match records.next_record() {
            Ok(Some(Record::Entry(entry))) => entry,
            Ok(Some(_)) => continue,
            Ok(None) => return entries,
            Err(error) => {
                stop.set(error);
                return entries;
            }
        };
        entries += 1;
        match selection.admits(&entry, &mut scratch) {
            Ok(true) => feeder.push(entry),
            Ok(false) => tally.add(Outcome::NotSelected),
            Err(error) => {
                tally.add(Outcome::NotReached);
                stop.set(error);
            }
        }
        if let Err(error) = ticker.tick(watch, entry.end(), entries) {
            stop.set(error);
        }
        if stop.is_set() {
            return entries;
        }
    }
}

/// Values are walked before they are sent where nothing else shows that they are whole, or where a bad one does harm.
fn why_walk(
    surveys: &[Survey],
    acceptance: &Acceptance<'_>,
    options: &Options,
) -> Option<&'static str> {
    if options.trust_input {
        None
    } else if options.untrusted {
        Some("the input is not trusted")
    } else if surveys.iter().any(|s| !s.is_verified()) {
        Some("the dump has no checksum, so nothing else shows that its values are whole")
    } else if !acceptance.survives_bad_payloads() {
        Some("the destination can end on a bad payload")
    } else {
        None
    }
}

/// A destination that evicts must have room from the start.
fn demand_memory(surveys: &[Survey], facts: &Facts, options: &Options) -> Result<()> {
    if options.allow_eviction || facts.may_evict() != Some(true) {
        return Ok(());
    }
    let (Some(limit), Some(used)) = (facts.maxmemory, facts.used_memory) else {
        return Ok(());
    };
    let needed: u64 = surveys
        .iter()
        .map(estimated_memory)
        .fold(0, u64::saturating_add);
    let free = limit.saturating_sub(used);
    if needed <= free {
        return Ok(());
    }
    let policy = facts
        .maxmemory_policy
        .as_deref()
        .unwrap_or("an evicting one");
    Err(Error::new(
        ErrorKind::Destination,
        format!(
            "the destination's policy is {policy}, it has {free} bytes free and this dump needs about {needed}: it would evict keys"
        ),
    )
    .with_hint("raise maxmemory there, choose fewer keys, or say --allow-eviction"))
}

/// What a server needs for the selected part: its own account of the whole, by share; without one, the file's bytes and a
/// flat cost per key.
fn estimated_memory(survey: &Survey) -> u64 {
    let by_size = survey
        .value_bytes
        .saturating_add(survey.selected.saturating_mul(64));
    match survey.producer.used_mem {
        Some(used) if survey.entries > 0 => {
            let share = u128::from(used) * u128::from(survey.selected) / u128::from(survey.entries);
            u64::try_from(share)
                .unwrap_or(u64::MAX)
                .max(by_size.min(used))
        }
        _ => by_size,
    }
}

/// Types of `surveys` that the destination refuses, with the reason: what can be said before the first write.
#[must_use]
pub fn refusals(
    surveys: &[Survey],
    terms: &Terms,
) -> Vec<(ValueType, crate::snapshot::Dialect, u64, String)> {
    let mut list: Vec<(ValueType, crate::snapshot::Dialect, u64, String)> = Vec::new();
    for (dialect, value_type, count) in surveys.iter().flat_map(Survey::types) {
        if value_type == ValueType::MODULE_2 {
            continue;
        }
        if let Some(crate::replay::TypeTerms::Refuse(reason)) = terms.get(value_type, dialect) {
            match list
                .iter_mut()
                .find(|(t, d, ..)| (*t, *d) == (value_type, dialect))
            {
                Some((_, _, sum, _)) => *sum = sum.saturating_add(count),
                None => list.push((value_type, dialect, count, reason.to_string())),
            }
        }
    }
    list
}
