//! `load`: replays dumps into a destination by `RESTORE`, and counts what became of every entry.
//!
//! The order is what makes it safe:
//! 1. [`survey`] reads a whole dump, its checksum included, before anything is sent.
//! 2. [`Load::begin`] asks the destination what it is and what it takes, with probes that store nothing, and refuses what
//!    cannot end well.
//! 3. [`Load::replay`] is one *pass* over an input: it sends function libraries, then keys that have no outcome yet. Every
//!    reply is tied to its entry. What may be at the destination already is looked up there before it is sent.
//! 4. [`Load::again`] waits and connects again where a pass ended for a while: then the passes follow once more. A process
//!    that was killed and started again does the same, from its journal.
//! 5. [`Load::finish`] adds up: the outcomes must be as many as the entries that were read.

mod again;
mod build;
mod contact;
mod doubtful;
mod eviction;
mod functions;
mod growth;
mod interval;
mod lag;
mod latency;
mod limits;
mod links;
mod look_up;
mod measure;
mod not_raw;
mod options;
mod overlap;
mod pacing;
mod pass;
mod read_back;
mod repeated;
mod report;
mod scripts;
mod shards;
mod shrunk;
mod standing;
mod stop;
mod strange;
mod suspect;
mod watcher;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use again::PauseEvent;
pub use contact::{Peeked, first_contact, peek};
pub use functions::{FunctionFailure, FunctionPolicy, FunctionReport};
pub use look_up::LookedUp;
pub use not_raw::{NotRaw, not_raw};
pub use options::{OnConflict, Options};
pub use overlap::{Overlaps, Where};
pub use report::{Report, Verified};
pub use scripts::ScriptReport;
pub use shards::Clustering;
pub use stop::Why;
pub use watcher::{KeyEvent, Watcher};

use again::Trouble;
use report::told;
use shards::{Found, Shards, lost_one};
use stop::Ended;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::{
    Counted, JournalFile, Ledger, Phase, Progress, Ranges, Record as JournalRecord, Recorder,
};
use crate::meaning::Abilities;
use crate::outcome::Outcome;
use crate::pace::Pace;
use crate::replay::{Terms, max_stall_ms};
use crate::resp::Connector;
use crate::select::Selection;
use crate::snapshot::{Dialect, Lent, ModuleId, Snapshot, ValueType};
use crate::survey::Survey;
use crate::target::accept::with_older_forms;
use crate::target::{Acceptance, Facts, Node, Probed, functions_closed, probe};
use crate::transform::Transform;
use crate::value::Decoder;
use crate::verbs::{Ticker, Trust, Watch, walk};

/// Reads a whole dump, checksum included: what is not sound is not loaded.
///
/// As [`survey_arriving`], of keys that arrive as they are.
///
/// # Errors
/// As [`survey_arriving`].
pub fn survey(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    now_ms: i64,
    watch: &mut Watch<'_>,
) -> Result<Survey> {
    survey_arriving(snapshot, selection, now_ms, &Transform::default(), watch)
}

/// Reads a whole dump of keys that arrive under other names, or with other expiries.
///
/// # Errors
/// Those of the reader, of the selection and of `watch`; `Limit` where it holds more kinds of things than any server.
pub fn survey_arriving(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    now_ms: i64,
    transform: &Transform,
    watch: &mut Watch<'_>,
) -> Result<Survey> {
    let producer = crate::snapshot::Producer::new(snapshot.header());
    let mut survey = Survey::new(producer).arriving(transform);
    snapshot.read(|records| {
        let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
        while let Some(record) = records.lend()? {
            match record {
                Lent::Entry(entry) => {
                    let selected = selection.admits(entry, &mut scratch)?;
                    survey.add(entry, selected, now_ms)?;
                    ticker.tick(watch, entry.end(), survey.entries)?;
                }
                Lent::Other(other) => survey.learn(&other)?,
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(survey)
}

/// A load that is under way.
#[derive(Debug)]
pub struct Load {
    connector: Connector,
    options: Options,
    shards: Shards,
    /// Nodes that keys were sent on to before they were known.
    also: BTreeSet<Node>,
    moved: u64,
    asked: u64,
    strange: strange::Strange,
    limits: limits::Limits,
    /// `RESTORE` was closed to us while it ran, in the destination's words.
    restore_closed: OnceLock<String>,
    facts: Facts,
    probed: Probed,
    terms: Terms,
    /// Why values are walked before they are sent, if they are.
    walk: Option<&'static str>,
    recorder: Recorder,
    verified: Verified,
    pace: Pace,
    lag: lag::Watch,
    latency_said: latency::Said,
    /// The longest time in which no key could get through.
    longest_pause: Duration,
    /// Entries of each input.
    entries: Vec<u64>,
    /// Databases that are needed at the destination.
    dbs: Vec<u64>,
    /// The name of a key, for asking what we may do with keys.
    sample: Option<Vec<u8>>,
    abilities: Option<Abilities>,
    functions: FunctionReport,
    /// Why no library can be loaded, in the destination's words.
    functions_closed: Option<String>,
    scripts: ScriptReport,
    growth: growth::Growth,
    /// The libraries of so many inputs were sent.
    functions_sent: u32,
    /// The input whose libraries were begun last.
    functions_tried: Option<u32>,
    /// Inputs whose libraries were sent to masters that are there no more.
    functions_lost: BTreeSet<u32>,
    seen_functions: HashSet<u64>,
    /// An earlier run worked on it.
    goes_on: bool,
    /// The journal says that this run works on it.
    written_down: bool,
    /// An earlier run finished it: nothing is sent, and its journal stays as it is.
    only_looks: bool,
    /// What was looked up before it goes on.
    looked_up: Option<LookedUp>,
    evicted_before: Option<u64>,
    evicted: u64,
    /// Keys evicted in earlier runs.
    evicted_earlier: u64,
    evictions_known: bool,
    started: Instant,
    /// Why the last pass ended, where another one may follow.
    interrupted: Option<Ended>,
    trouble: Option<Trouble>,
    pauses: u64,
    stopped: Option<Error>,
}

/// Where a load is recorded.
#[derive(Debug)]
pub struct Journal {
    /// What was known of it so far; of a new one, what it is.
    pub record: JournalRecord,
    /// How an earlier run left it; `None` where there was none.
    pub left: Option<Phase>,
    /// The file, if any.
    pub file: Option<JournalFile>,
    /// The list of keys that did not arrive, if any.
    pub ledger: Option<Ledger>,
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
        let rates = options.rates;
        let dbs: BTreeSet<u64> = surveys
            .iter()
            .flat_map(|s| s.dbs.keys())
            .map(|db| options.policies.db_map.get(*db))
            .collect();
        let dbs: Vec<u64> = dbs.into_iter().collect();
        let Found {
            shards,
            mut connections,
            each,
            facts,
        } = contact::ask(&connector, (&dbs, Survey::sample(surveys)), &options)?;
        let mut types: Vec<_> = surveys
            .iter()
            .flat_map(Survey::types)
            .map(|(dialect, value_type, _)| (value_type, dialect))
            .collect();
        types.sort_unstable_by_key(|(value_type, dialect)| (*value_type, *dialect as u8));
        types.dedup();
        // What they could be written as is asked about, too.
        let asked = with_older_forms(&types);
        demand_memory(surveys, &facts, &options)?;
        let modules: BTreeSet<ModuleId> = surveys
            .iter()
            .flat_map(|s| s.modules.keys().copied())
            .collect();
        let modules: Vec<ModuleId> = modules.into_iter().collect();
        let max_stall = max_stall_ms(options.max_stall, facts.total_keys());
        let mut found: Option<(Probed, Terms, Option<&'static str>)> = None;
        for (index, (connection, facts)) in connections.iter_mut().zip(&each).enumerate() {
            // Databases that were counted may still be closed to this user.
            if let Some(highest) = dbs.last() {
                connection.select(*highest).map_err(contact::open_db)?;
            }
            let probed = probe_shard(&shards, index, connection, facts, surveys, &asked, &options)?;
            let acceptance = Acceptance::new(facts, &probed);
            let walk = why_walk(surveys, &acceptance, &options);
            let mut terms = acceptance.terms_of_dump(&types, &modules);
            terms.commands = Some(acceptance.commands(max_stall));
            found = Some(match found.take() {
                None => (probed, terms, walk),
                // What one shard does not take is taken nowhere: a slot may move while the load runs.
                Some((first, mut all, before)) => {
                    let name = connection.name();
                    all.narrow(&terms, &types, &modules, name);
                    all.narrow(&terms, &asked, &modules, name);
                    (first, all, before.or(walk))
                }
            });
        }
        let Some((probed, terms, walk)) = found else {
            return Err(Error::new(
                ErrorKind::Destination,
                "the destination has no shard",
            ));
        };
        let evicted_before = Shards::evicted_keys(&mut connections)?;
        let libraries = surveys.iter().any(|survey| !survey.functions.is_empty());
        let functions_closed = match connections.first_mut() {
            Some(first) if libraries && options.functions != FunctionPolicy::Skip => {
                functions_closed(first)?
            }
            _ => None,
        };
        let growth = match grows(&options, &facts) {
            true => growth::Growth::of(surveys),
            false => growth::Growth::none(),
        };
        for (index, connection) in connections.iter_mut().enumerate() {
            growth.begin(&shards.name_of(index), connection)?;
        }
        Ok(Self {
            connector,
            options,
            shards,
            also: BTreeSet::new(),
            moved: 0,
            asked: 0,
            strange: strange::Strange::default(),
            limits: limits::Limits::default(),
            restore_closed: OnceLock::new(),
            facts,
            probed,
            terms,
            walk,
            recorder: Recorder::new(unrecorded(surveys), None, None),
            verified: Verified::default(),
            pace: Pace::new(rates),
            lag: lag::Watch::default(),
            latency_said: latency::Said::default(),
            longest_pause: Duration::ZERO,
            entries: surveys.iter().map(|survey| survey.entries).collect(),
            dbs,
            sample: surveys
                .iter()
                .flat_map(|survey| &survey.samples)
                .next()
                .map(|(_, key)| key.clone()),
            abilities: None,
            functions: FunctionReport::default(),
            functions_closed,
            scripts: ScriptReport::default(),
            growth,
            functions_sent: 0,
            functions_tried: None,
            functions_lost: BTreeSet::new(),
            seen_functions: HashSet::new(),
            goes_on: false,
            written_down: false,
            only_looks: false,
            looked_up: None,
            evicted_before,
            evicted: 0,
            evicted_earlier: 0,
            evictions_known: evicted_before.is_some(),
            started,
            interrupted: None,
            trouble: None,
            pauses: 0,
            stopped: None,
        })
    }

    /// What the destination is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How many shards the destination has: 1 where it is no cluster.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.list().len()
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

    /// Why every key goes by plain commands, in the destination's words, if they do.
    #[must_use]
    pub fn restore_closed(&self) -> Option<&str> {
        self.probed.restore_closed.as_deref()
    }

    /// Why no function library is sent, where the destination is known to have none, or to take none from us.
    #[must_use]
    pub fn refuses_functions(&self) -> Option<String> {
        let old = self.facts.product == Some(crate::target::Product::Redis)
            && self
                .facts
                .version
                .is_some_and(|version| version < crate::target::Version::new(7, 0, 0));
        if old && self.options.functions != FunctionPolicy::Skip {
            return Some(format!(
                "{} knows no functions, which came with Redis 7.0",
                self.facts.name()
            ));
        }
        let words = self.functions_closed.as_ref()?;
        Some(format!("the destination says {words}"))
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
        let Some((damaged, first)) = walk::damaged(snapshot, selection, &mut decoder, watch)?
        else {
            return Ok(());
        };
        Err(first.with_hint(format!(
            "values were walked since {why}; {damaged} damaged in all, nothing was sent: `rdbridge check` lists them, \
             --skip-damaged loads the others"
        )))
    }

    /// Records the load in a journal, and goes on where it stands: before the first [`Load::replay`].
    ///
    /// # Errors
    /// The journal cannot be written; `Destination` where this is not the destination that the journal tells of.
    pub fn record_in(&mut self, journal: Journal, watcher: &dyn Watcher) -> Result<()> {
        let mut record = journal.record;
        record.entries.clone_from(&self.entries);
        let goes_on = journal.left.is_some();
        let run_ids = self.shards.run_ids();
        let same = !goes_on || !lost_one(&record.run_ids, &run_ids);
        let finished_at = record.written.clone();
        record.product = self.facts.name();
        record.run_ids = run_ids;
        self.functions = FunctionReport::from(&record.functions);
        self.functions_sent = record.functions.inputs;
        self.goes_on = goes_on;
        self.evicted_earlier = record.evicted;
        if goes_on {
            // What it holds now is ours.
            if let Some(commands) = &mut self.terms.commands {
                commands.max_stall_ms = max_stall_ms(self.options.max_stall, record.keys_before);
            }
        } else {
            record.keys_before = self.facts.total_keys();
        }
        self.growth.leave_out(
            record.acknowledged.finished.total(),
            record.entries.iter().sum(),
        );
        self.recorder = Recorder::new(record, journal.file, journal.ledger);
        if journal.left == Some(Phase::Done) {
            self.only_looks = true;
            return self.demand_kept(same, &finished_at, watcher);
        }
        self.missing_keys(&self.facts)?;
        if !same || goes_on && self.shrank(&self.facts) {
            watcher.restarted(self.recorder.forget_unsettled()?);
            self.functions_may_be_lost();
        }
        if !self.recorder.standing().1.is_empty() {
            let sample = self.sample.clone().unwrap_or_default();
            let mut connection = self.shards.connect_for(&sample)?;
            self.ask_abilities(&mut connection)?;
        }
        Ok(())
    }

    /// How far it is: what is finished, and what is doubtful.
    #[must_use]
    pub fn standing(&self) -> (Ranges, Ranges) {
        self.recorder.standing()
    }

    /// Whether the run has ended early; what follows is only counted.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether all entries of an input have their outcomes, and its function libraries were sent: an input may hold nothing
    /// but libraries.
    #[must_use]
    pub fn is_done_with(&self, input: u32) -> bool {
        if self.functions_sent <= input || self.functions_lost.contains(&input) {
            return false;
        }
        let range = self.positions(input);
        let finished = self.recorder.standing().0;
        let mut rest = Ranges::of(range);
        rest.remove_all(&finished);
        rest.is_empty()
    }

    /// The positions of an input's entries.
    fn positions(&self, input: u32) -> std::ops::Range<u64> {
        let input = usize::try_from(input).unwrap_or(usize::MAX);
        let before = self.entries.iter().take(input);
        let base = before.fold(0u64, |sum, entries| sum.saturating_add(*entries));
        let entries = self.entries.get(input).copied().unwrap_or(0);
        base..base.saturating_add(entries)
    }

    /// Ends the run for a reason that comes from outside: an interrupt, an input that changed.
    pub fn stop(&mut self, error: Error) {
        self.stopped.get_or_insert(error);
    }

    /// Adds up, and writes the last word into the journal.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if let Some(Ended { error, .. }) = self.interrupted.take() {
            self.stopped.get_or_insert(error);
        }
        let aborted = self
            .stopped
            .as_ref()
            .is_some_and(|error| [ABORTED, FAILED_FAST].contains(&error.what()));
        let (finished, doubtful) = self.recorder.standing();
        let acknowledged = finished.total();
        let journaled = self.recorder.path().is_some();
        self.stopped = self
            .stopped
            .take()
            .map(|error| told(error, acknowledged, journaled));
        // A server that left an interrupted run without answers is not asked another question.
        let silent = !doubtful.is_empty()
            && self
                .stopped
                .as_ref()
                .is_some_and(|error| error.kind() == ErrorKind::Interrupted);
        let mut holds = None;
        if silent {
            self.evictions_known = false;
        } else if let Some(before) = self.evicted_before {
            let now = self.shards.connect_all().and_then(|mut connections| {
                if !self.only_looks {
                    let lookback = self.options.failover_lookback;
                    let recorder = &self.recorder;
                    standing::settle_last(&self.shards, &mut connections, recorder, lookback)?;
                }
                holds = standing::held(&mut connections)?;
                Shards::evicted_keys(&mut connections)
            });
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
        let shrunk_to = holds
            .filter(|held| {
                self.stopped.is_none() && self.lacks(&self.recorder.acknowledged(), *held)
            })
            .map(|held| held.keys);
        self.evicted = self.evicted.saturating_add(self.evicted_earlier);
        self.recorder
            .destination(self.facts.name(), self.shards.run_ids(), self.evicted);
        let phase = match &self.stopped {
            Some(_) => Phase::Stopped,
            None => Phase::Done,
        };
        let words = self.stopped.as_ref().map(ToString::to_string);
        let journal = self.recorder.path().map(std::path::Path::to_owned);
        let ended = match self.only_looks {
            true => Ok(self.recorder.record()),
            false => self.recorder.end(phase, words),
        };
        let record = match ended {
            Ok(record) => record,
            Err(error) => {
                self.stopped.get_or_insert(error);
                self.recorder.record()
            }
        };
        let lag = self.lag.seen();
        let entries = record.total();
        let mut tally = record.acknowledged.outcomes;
        if self.stopped.is_some() {
            let uncertain = record.uncertain().total();
            tally.add_many(Outcome::Uncertain, uncertain);
            tally.add_many(Outcome::NotReached, entries.saturating_sub(tally.total()));
        }
        Report {
            entries,
            tally,
            verified: self.options.verify.then_some(self.verified),
            losses: record.acknowledged.losses,
            functions: self.functions,
            scripts: self.scripts,
            evicted: self.evictions_known.then_some(self.evicted),
            elapsed: self.started.elapsed(),
            all_runs: Duration::from_millis(record.elapsed_ms),
            runs: record.runs,
            pauses: self.pauses,
            looked_up: self.looked_up,
            shrunk_to,
            longest_stall: self.longest_pause.max(lag.longest),
            largest_lag: lag.largest,
            settled: record.settled.finished.total(),
            shards: self.shards.list().len(),
            clock_ahead_ms: self.facts.clock_ahead_ms,
            redirected: (self.moved, self.asked),
            journal,
            stopped: self.stopped,
            aborted,
        }
    }
}

/// What is said of a key that exists.
const EXISTS: &str = "the destination has this key";

/// Why a run ends under [`OnConflict::Abort`].
const ABORTED: &str = "stopped at the first key that exists (--on-conflict abort)";

/// Why a run ends under [`Options::fail_fast`].
const FAILED_FAST: &str = "stopped at the first key that did not arrive (--fail-fast)";

/// Tries what a shard takes, under names that it serves.
fn probe_shard(
    shards: &Shards,
    index: usize,
    connection: &mut crate::resp::Connection,
    facts: &Facts,
    surveys: &[Survey],
    asked: &[(ValueType, crate::snapshot::Dialect)],
    options: &Options,
) -> Result<Probed> {
    let mut probed = Probed::default();
    // A user may have the right to some names only: those keys arrive, the others fail.
    'samples: for (db, key) in surveys.iter().flat_map(|s| &s.samples) {
        connection.select(options.policies.db_map.get(*db))?;
        // A slot that is being moved sends every probe on: then a name in another one is tried.
        for nth in 0..NAMES {
            let Some(name) = shards.name_for(index, key, nth) else {
                break;
            };
            probed = probe(connection, facts, "RESTORE", &name, asked)?;
            if probed.elsewhere.is_some() {
                continue;
            }
            if probed.key_closed.is_none() {
                break 'samples;
            }
            break;
        }
    }
    if let Some(words) = &probed.elsewhere {
        let error = Error::new(
            ErrorKind::Destination,
            format!("{}: the destination says {words}", connection.name()),
        );
        return Err(match shards.is_cluster() {
            true => error.with_hint("its slots are being moved: try again when that is done"),
            false => error.with_hint("it is a node of a cluster: say --cluster auto"),
        });
    }
    let sample = surveys.iter().flat_map(|s| &s.samples).next();
    let sample = sample.map_or(&b"rdbridge"[..], |(_, key)| key);
    let name = shards.name_for(index, sample, 0);
    let name = name.as_deref().unwrap_or(sample);
    match probed.refusal(connection, name, options.policies.replace)? {
        Some(refusal) => Err(refusal),
        None => Ok(probed),
    }
}

/// Whether values of this type can go by themselves, one part after the other.
fn expires_in_parts(value_type: ValueType, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Dragonfly => matches!(
            value_type,
            ValueType::DF_HASH_WITH_EXPIRY | ValueType::DF_SET_WITH_EXPIRY
        ),
        Dialect::Redis | Dialect::Valkey => matches!(
            value_type,
            ValueType::HASH_2
                | ValueType::HASH_LISTPACK_EX_PRE_GA
                | ValueType::HASH_METADATA
                | ValueType::HASH_LISTPACK_EX
        ),
    }
}

/// Names that are tried on one shard.
const NAMES: usize = 8;

/// The record of a load that no journal is kept of.
fn unrecorded(surveys: &[Survey]) -> JournalRecord {
    JournalRecord {
        phase: Phase::Running,
        stopped: None,
        written: String::new(),
        runs: 1,
        elapsed_ms: 0,
        destination: String::new(),
        product: String::new(),
        run_ids: BTreeMap::new(),
        keys_before: None,
        inputs: Vec::new(),
        entries: surveys.iter().map(|survey| survey.entries).collect(),
        options: BTreeMap::new(),
        instant_ms: 0,
        clock_ahead_ms: None,
        ttl_shift_ms: None,
        staging: String::new(),
        functions: Counted::default(),
        ledger: None,
        evicted: 0,
        sent: 0,
        uncertain: None,
        acknowledged: Progress::default(),
        settled: Progress::default(),
    }
}

/// Values are walked before they are sent where nothing else shows that they are whole, or where a bad one does harm.
fn why_walk(
    surveys: &[Survey],
    acceptance: &Acceptance<'_>,
    options: &Options,
) -> Option<&'static str> {
    let verified = surveys.iter().all(Survey::is_verified);
    let trust = Trust {
        trust_input: options.trust_input,
        untrusted: options.untrusted,
        skip_damaged: options.skip_damaged,
    };
    trust.why_walk(verified, !acceptance.survives_bad_payloads())
}

/// Whether what was written says what the rest needs: not where much of it may be there already, or may go again.
fn grows(options: &Options, facts: &Facts) -> bool {
    let all_new = matches!(options.on_conflict, OnConflict::Fail | OnConflict::Abort)
        || facts.total_keys() == Some(0);
    let has_limit = facts.maxmemory.is_some_and(|limit| limit > 0);
    options.growth_check && !options.allow_eviction && all_new && has_limit
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
        .map(Survey::estimated_memory)
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
