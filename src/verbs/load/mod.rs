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
mod overlap;
mod pacing;
mod pass;
mod read_back;
mod repeated;
mod scripts;
mod shards;
mod shrunk;
mod standing;
mod stop;
mod strange;
mod suspect;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use again::PauseEvent;
pub use contact::{Peeked, first_contact, peek};
pub use functions::{FunctionFailure, FunctionPolicy, FunctionReport};
pub use look_up::LookedUp;
pub use overlap::{Overlaps, Where};
pub use scripts::ScriptReport;
pub use shards::Clustering;
pub use stop::Why;

use again::Trouble;
use shards::{Found, Shards, lost_one};
use stop::Ended;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::{
    Counted, JournalFile, Ledger, Phase, Progress, Ranges, Record as JournalRecord, Recorder,
};
use crate::meaning::Abilities;
use crate::outcome::{Outcome, Tally};
use crate::pace::{Pace, Rates};
use crate::reencode::Form;
use crate::replay::{EXPIRIES_CHANGE, Policies, Terms, max_stall_ms};
use crate::resp::{Connector, WindowOptions};
use crate::select::Selection;
use crate::snapshot::{Dialect, Lent, ModuleId, Snapshot, ValueType};
use crate::survey::Survey;
use crate::target::accept::with_older_forms;
use crate::target::{Acceptance, Assumed, Facts, Node, NodeMap, Probed, functions_closed, probe};
use crate::transform::Transform;
use crate::value::Decoder;
use crate::value::commands::LossCounts;
use crate::verbs::{Ticker, Trust, Watch, walk};

/// What to do with keys that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Leave them alone, list each, try all the others. The default.
    #[default]
    Fail,
    /// Leave them alone; that is no finding.
    Skip,
    /// Compare them: an equal value is there already, a different one is a conflict.
    Same,
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
    /// Read back what was stored, and compare.
    pub verify: bool,
    /// Stop at the first key that is refused, fails, differs when it is read back, or stays uncertain.
    pub fail_fast: bool,
    /// Function libraries.
    pub functions: FunctionPolicy,
    /// Cached Lua scripts are loaded, too.
    pub load_scripts: bool,
    /// Refuse a destination that holds any key.
    pub require_empty: bool,
    /// Go on where the destination evicts keys.
    pub allow_eviction: bool,
    /// Stop early where the growth of the destination's memory shows that the rest cannot fit.
    pub growth_check: bool,
    /// Send values unwalked where they should be walked first.
    pub trust_input: bool,
    /// Where values are walked first and some are damaged: refuse these by name and load the others, instead of nothing.
    pub skip_damaged: bool,
    /// Where the fingerprints of many keys, and values too large to be held while they are walked, are spooled. Default:
    /// `/tmp`.
    pub spool_dir: PathBuf,
    /// The dump comes from somebody who may mean harm: values are to be walked first.
    pub untrusted: bool,
    /// Connections to each shard; at least 1.
    pub connections: usize,
    /// How fast it may be at the most, over all connections.
    pub rates: Rates,
    /// What the destination's other clients may wait longer because of the load; `None`: as long as it takes.
    pub max_latency: Option<Duration>,
    /// A value whose `RESTORE` would hold the destination for longer goes by plain commands, if that loses nothing; `None`: half
    /// a second, or 50 ms where the destination holds keys.
    pub max_stall: Option<Duration>,
    /// While a replica of the destination is more bytes behind, nothing is sent; `None`: that is not looked at.
    pub max_replica_lag: Option<u64>,
    /// Where there were replicas and they cannot be seen any more, nothing is sent; after so long it counts as a loss of the
    /// connection, and everything is asked anew.
    pub longest_blind: Duration,
    /// How much may be under way on each.
    pub window: WindowOptions,
    /// Product and version by the user's word.
    pub assume: Option<Assumed>,
    /// Whether the destination is taken for a cluster.
    pub cluster: Clustering,
    /// Where the nodes of a cluster are reached, if not where they say.
    pub node_map: NodeMap,
    /// Nodes of the cluster that an earlier run knew: asked where the address as typed does not answer.
    pub nodes_before: Vec<Node>,
    /// Keys that the destination has answered for so far: for whoever must say so at any instant.
    pub acknowledged: Arc<AtomicU64>,
    /// How long a destination that is gone, busy or failing over is tried again without a key getting through. Zero: not at
    /// all.
    pub retry_for: Duration,
    /// How long a destination without memory, or with a disk that it cannot write to, is waited for.
    pub wait_for: Duration,
    /// Where nobody can say what a failover would lose: so much is taken to be lost.
    pub failover_lookback: Duration,
    /// Entries that may be sent before the journal is written again. After a crash so many are looked up at the most.
    pub ahead: u64,
    /// How often it is asked what the destination keeps, and the journal is written.
    pub settle_every: Duration,
}

impl Options {
    /// Whether values at the destination are read.
    fn reads_back(&self) -> bool {
        self.verify || self.on_conflict == OnConflict::Same
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            on_conflict: OnConflict::Fail,
            verify: false,
            fail_fast: false,
            functions: FunctionPolicy::Load,
            load_scripts: false,
            require_empty: false,
            allow_eviction: false,
            growth_check: true,
            trust_input: false,
            skip_damaged: false,
            spool_dir: std::path::PathBuf::from("/tmp"),
            untrusted: false,
            connections: 1,
            rates: Rates::default(),
            max_latency: None,
            max_stall: None,
            max_replica_lag: Some(64 << 20),
            longest_blind: Duration::from_secs(30),
            window: WindowOptions::default(),
            assume: None,
            cluster: Clustering::Auto,
            node_map: NodeMap::default(),
            nodes_before: Vec::new(),
            acknowledged: Arc::default(),
            retry_for: Duration::ZERO,
            wait_for: Duration::ZERO,
            failover_lookback: Duration::from_secs(60),
            ahead: 256 * 1024,
            settle_every: Duration::from_secs(2),
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

    /// The destination cannot be written to now; it will be tried again.
    fn pause(&self, _event: &PauseEvent<'_>) {}

    /// How an input changed since it was opened, if it did: asked again and again while it is read.
    ///
    /// # Errors
    /// Nobody can tell: that ends the load.
    fn input_changed(&self, _input: u32) -> Result<Option<String>> {
        Ok(None)
    }

    /// Something about the destination that a person would want to know.
    fn note(&self, _text: &str) {}

    /// The destination failed over or started again: so many acknowledged entries are looked up again.
    fn restarted(&self, _entries: u64) {}
}

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

/// What was read back ([`Options::verify`]). What differs has an outcome of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Keys that the destination holds as they were sent.
    pub same: u64,
    /// Keys that it said OK to and that cannot be compared.
    pub not_comparable: u64,
}

/// What became of a load.
#[derive(Debug)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Their outcomes.
    pub tally: Tally,
    /// What restored keys lost on their way: bookkeeping, and meaning that was allowed to be lost.
    pub losses: LossCounts,
    /// What this run read back, where that was wanted.
    pub verified: Option<Verified>,
    /// Function libraries.
    pub functions: FunctionReport,
    /// Cached Lua scripts.
    pub scripts: ScriptReport,
    /// Keys that the destination evicted during the load; `None` where it hides that.
    pub evicted: Option<u64>,
    /// From the first question to the last reply of this run.
    pub elapsed: Duration,
    /// The same of all runs that worked on it.
    pub all_runs: Duration,
    /// Runs that worked on it, this one among them.
    pub runs: u32,
    /// How often it had to wait for the destination.
    pub pauses: u64,
    /// The longest time in which nothing was sent, because the destination could not take it or its replicas were behind.
    pub longest_stall: Duration,
    /// How far its replicas were behind at the most, bytes; `None` where none was seen.
    pub largest_lag: Option<u64>,
    /// What was looked up of the keys that an earlier run restored, if it restored any.
    pub looked_up: Option<LookedUp>,
    /// How many keys the destination holds, where these are fewer than must be there of those that were restored.
    pub shrunk_to: Option<u64>,
    /// Entries that a failover or restart of the destination cannot lose, as far as it tells.
    pub settled: u64,
    /// Shards of the destination: 1 where it is no cluster.
    pub shards: usize,
    /// The destination's clock less ours, milliseconds: of several shards that of the one that is the furthest ahead; `None`
    /// where it does not tell.
    pub clock_ahead_ms: Option<i64>,
    /// How often the nodes of a cluster answered `MOVED`, and `ASK`.
    pub redirected: (u64, u64),
    /// Its journal.
    pub journal: Option<PathBuf>,
    /// Why it ended early, if it did.
    pub stopped: Option<Error>,
    /// It ended at a key, as [`OnConflict::Abort`] or [`Options::fail_fast`] says: a finding, not a fault of the destination.
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
            && self.verified.unwrap_or_default().not_comparable == 0
            && self.functions.failed.is_empty()
            && self.functions.refused == 0
            && self.scripts.failed == 0
            && self.evicted.unwrap_or(0) == 0
            && self.shrunk_to.is_none()
            && self.looked_up.is_none_or(|looked_up| looked_up.asked > 0)
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

/// The reason of an early end, with what was done and how to go on.
#[cold]
fn told(error: Error, acknowledged: u64, journal: bool) -> Error {
    const SKIP: &str =
        "load again with --on-conflict skip, which leaves alone what is there, to go on";
    let go_on = if journal {
        "the same command goes on"
    } else {
        SKIP
    };
    match error.kind() {
        ErrorKind::Interrupted => Error::new(
            ErrorKind::Interrupted,
            format!(
                "interrupted: the destination has acknowledged {}",
                crate::units::keys(acknowledged)
            ),
        )
        .with_hint(go_on),
        ErrorKind::Destination if error.hint().is_none() => error.with_hint(format!(
            "{} acknowledged; {go_on}",
            crate::units::keys(acknowledged)
        )),
        _ => error,
    }
}

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

/// Selected keys of one type that do not go as they are.
#[derive(Debug, Clone)]
pub struct NotRaw {
    /// The type, as it stands in the file.
    pub form: Form,
    /// How many keys.
    pub keys: u64,
    /// Why the destination does not take it, or it does not go as it is.
    pub reason: String,
    /// The older form that they will be written in, as long as it does not lose any meaning of theirs.
    pub as_form: Option<Form>,
    /// Where there is none: plain commands will carry them, if those lose nothing of theirs. Else they will be refused.
    pub by_commands: bool,
}

/// Types of `surveys` that the destination does not take, or that do not go as they are: what can be said before the first
/// write.
#[must_use]
pub fn not_raw(surveys: &[Survey], terms: &Terms, policies: &Policies) -> Vec<NotRaw> {
    let mut list: Vec<NotRaw> = Vec::new();
    for (dialect, value_type, keys) in surveys.iter().flat_map(Survey::types) {
        if value_type == ValueType::MODULE_2 {
            continue;
        }
        let form = Form {
            value_type,
            dialect,
        };
        let reason = match terms.get(value_type, dialect) {
            Some(crate::replay::TypeTerms::Refuse(reason)) => reason.as_ref(),
            Some(_) if policies.rewrites(form) => EXPIRIES_CHANGE,
            _ => continue,
        };
        match list.iter_mut().find(|found| found.form == form) {
            Some(found) => found.keys = found.keys.saturating_add(keys),
            None => list.push(NotRaw {
                form,
                keys,
                reason: reason.to_string(),
                as_form: terms.other_forms(form).next(),
                by_commands: terms.writes(form),
            }),
        }
    }
    list
}
