//! `compare`: proves, key by key, that the destination holds what dumps hold. Nothing is written.
//!
//! 1. [`survey`] reads a whole dump, its checksum included.
//! 2. [`Compare::begin`] asks the destination what it is, and what it lets us ask.
//! 3. [`Compare::input`] holds every entry against it, differing ones several times if that is wanted.
//! 4. [`Compare::extra`] looks for keys that only the destination has.
//! 5. [`Compare::finish`] adds up: the outcomes must be as many as the entries that were read.
//!
//! What is compared, and how, is [`crate::meaning`]'s.

mod extra;
mod nodes;
mod outcome;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

pub use crate::verbs::sample::most_that_differ;
pub use outcome::{Outcome, Tally};

use crate::error::{Error, ErrorKind, Result};
use crate::meaning::digest::{Digester, Digests};
use crate::meaning::{Abilities, Bookkeeping, Differences, Expiry, Verdict, Wanted, no_touch};
use crate::outcome::Outcome as Arrival;
use crate::pace::{Pace, Rates};
use crate::replay::{ExpiredPolicy, Policies, arrival};
use crate::resp::{Connection, Connector};
use crate::select::Selection;
use crate::snapshot::{Entry, Record, Snapshot};
use crate::survey::Survey;
use crate::target::{Facts, NodeMap};
use crate::transform::{Naming, Transform};
use crate::verbs::sample::Sample;
use crate::verbs::{Ticker, Watch};
use nodes::{Found, Nodes};
use worker::{Counted, Shared, Stop};

/// How to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// Expiry, databases and the run's instant, as for a load.
    pub policies: Policies,
    /// By how much expiries may differ, milliseconds.
    pub ttl_tolerance_ms: i64,
    /// How often a key that differs is looked at, at least once: where a destination is in use, or a replica follows.
    pub rounds: u32,
    /// Between two rounds.
    pub pause: Duration,
    /// Which share of the entries is drawn at random, `0.0..=1.0`.
    pub sample: Option<f64>,
    /// Compare also where that counts as access and the dump carries times or counters of accesses.
    pub touch: bool,
    /// Connections to each server; at least 1.
    pub connections: usize,
    /// How fast it may be at the most, over all connections.
    pub rates: Rates,
    /// The run's instant is that of the load, so an expiry that was counted from it is known.
    pub instant_of_load: bool,
    /// How long a destination that is gone, busy or loading is asked again without an answer.
    pub retry_for: Duration,
    /// Whether the destination is taken for a cluster; `None`: if it says so.
    pub cluster: Option<bool>,
    /// Where the nodes of a cluster are reached, if not where they say.
    pub node_map: NodeMap,
    /// Look for keys that only the destination has.
    pub extra: bool,
    /// Make digests of what is compared (not of a sample).
    pub digests: bool,
    /// Where the names of many keys, and what is too large to be held, are spooled.
    pub spool_dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            ttl_tolerance_ms: 1000,
            rounds: 1,
            pause: Duration::from_secs(1),
            sample: None,
            touch: false,
            connections: 1,
            rates: Rates::default(),
            instant_of_load: false,
            retry_for: Duration::from_secs(60),
            cluster: None,
            node_map: NodeMap::default(),
            extra: false,
            digests: false,
            spool_dir: PathBuf::from("/tmp"),
        }
    }
}

/// An entry of which it is not proven that the destination holds it.
#[derive(Debug, Clone)]
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
    /// Type and encoding in the file.
    pub type_name: std::borrow::Cow<'a, str>,
    /// What came out.
    pub outcome: Outcome,
    /// With what differs.
    pub verdict: &'a Verdict,
}

/// Is told about single keys, from several threads.
pub trait Watcher: Sync {
    /// An entry of the dump differs.
    fn key(&self, event: &KeyEvent<'_>);

    /// Only the destination has this key. Of many, the first ones.
    fn extra(&self, db: u64, key: &[u8]);
}

/// How many keys had which difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Keys by what differs, as [`crate::meaning::What::name`] has it.
    pub differences: BTreeMap<&'static str, u64>,
    /// Keys by the part of the bookkeeping that differs.
    pub bookkeeping: BTreeMap<&'static str, u64>,
}

impl Books {
    fn differences(&mut self, found: &Differences) {
        let names: BTreeSet<_> = found.listed.iter().map(|one| one.what.name()).collect();
        for name in names {
            *self.differences.entry(name).or_default() += 1;
        }
    }

    fn bookkeeping(&mut self, parts: Bookkeeping) {
        for name in parts.names() {
            *self.bookkeeping.entry(name).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (name, keys) in &other.differences {
            *self.differences.entry(name).or_default() += keys;
        }
        for (name, keys) in &other.bookkeeping {
            *self.bookkeeping.entry(name).or_default() += keys;
        }
    }
}

/// Digests of what was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digested {
    file: Digests,
    held: Digests,
    /// A value of the file could not be read.
    unknown: bool,
    /// The destination holds something else under a name, which is not read whole.
    others: bool,
}

impl Digested {
    /// Of the file: the keys that should be at the destination, less those that expired meanwhile.
    #[must_use]
    pub fn file(&self) -> Option<Digests> {
        (!self.unknown).then_some(self.file)
    }

    /// Of what the destination holds of them (their expiries within the tolerance): the same where all is the same, less what
    /// is missing. `None` where it holds something else under one of their names.
    #[must_use]
    pub fn held(&self) -> Option<Digests> {
        (!self.unknown && !self.others).then_some(self.held)
    }

    fn add_key(&mut self, outcome: Outcome, digests: &Digests) {
        match outcome {
            Outcome::ExpiredMeanwhile => {}
            Outcome::Same | Outcome::SameBut => {
                self.file.add(digests);
                self.held.add(digests);
            }
            Outcome::Gone | Outcome::PerhapsEvicted => self.file.add(digests),
            _ => {
                self.file.add(digests);
                self.others = true;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.file.add(&other.file);
        self.held.add(&other.held);
        self.unknown |= other.unknown;
        self.others |= other.others;
    }
}

/// Reads a whole dump, checksum included.
///
/// # Errors
/// Those of the reader, of the selection and of `watch`; `Limit` where it holds more kinds of things than any server.
pub fn survey(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    (now_ms, transform): (i64, &Transform),
    watch: &mut Watch<'_>,
) -> Result<Survey> {
    let producer = crate::snapshot::Producer::new(snapshot.header());
    let mut survey = Survey::new(producer).arriving(transform);
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

/// A comparison that is under way.
#[derive(Debug)]
pub struct Compare {
    connector: Connector,
    nodes: Nodes,
    options: Options,
    pace: Pace,
    facts: Facts,
    abilities: Abilities,
    touches: bool,
    sample: Option<Sample>,
    names: Option<extra::Names>,
    /// The destination's databases that the dumps use.
    dbs: BTreeSet<u64>,
    /// The name of a key.
    a_key: Vec<u8>,
    tally: Tally,
    books: Books,
    digested: Digested,
    entries: u64,
    read_again: u64,
    extra: Option<u64>,
    started: Instant,
    stopped: Option<Error>,
}

/// What came out of a comparison.
#[derive(Debug)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Their outcomes.
    pub tally: Tally,
    /// What differs, in how many keys.
    pub books: Books,
    /// Digests, where they were asked for and the run came to its end.
    pub digests: Option<Digested>,
    /// Keys that were looked at once more, over all rounds.
    pub read_again: u64,
    /// Keys that only the destination has, where they were looked for.
    pub extra: Option<u64>,
    /// Of a sample: how many of the selected keys differ at most, with 95 % confidence.
    pub at_most: Option<u64>,
    /// From the first question to the last reply.
    pub elapsed: Duration,
    /// Why it ended early, if it did.
    pub stopped: Option<Error>,
}

impl Report {
    /// Whether every entry that was read has exactly one outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.tally.total() == self.entries
    }

    /// Whether everything that was to be proven is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.adds_up()
            && self.stopped.is_none()
            && self.tally.findings() == 0
            && self.extra.unwrap_or(0) == 0
    }
}

impl Compare {
    /// Asks the destination what it is and what it lets us ask.
    ///
    /// # Errors
    /// Kind `Destination` where it cannot be reached or read; kind `Usage` where reading would reset what the dump carries.
    pub fn begin(connector: Connector, surveys: &[Survey], options: Options) -> Result<Self> {
        let started = Instant::now();
        let dbs: BTreeSet<u64> = surveys
            .iter()
            .flat_map(|survey| survey.dbs.keys())
            .map(|db| options.policies.db_map.get(*db))
            .collect();
        let asked: Vec<u64> = dbs.iter().copied().collect();
        let Found {
            nodes,
            mut connections,
            facts,
        } = Nodes::find(&connector, (&asked, Survey::sample(surveys)), &options)?;
        let mut untouched = true;
        for connection in &mut connections {
            untouched &= no_touch(connection)?;
        }
        let carried = surveys.iter().fold(0u64, |sum, s| {
            sum.saturating_add(s.with_idle).saturating_add(s.with_freq)
        });
        if !untouched && carried > 0 && !options.touch {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "{carried} keys carry idle times or access counters, and {} counts what is read as accesses \
                     (CLIENT NO-TOUCH came with 7.2): comparing would reset them",
                    facts.name()
                ),
            )
            .with_hint("say --touch where that does not matter"));
        }
        let first = surveys.iter().find_map(|survey| survey.samples.first());
        let (db, name) = match first {
            Some((db, name)) => (options.policies.db_map.get(*db), name.as_slice()),
            None => (0, &b"rdbridge"[..]),
        };
        let connection: &mut Connection = connections
            .get_mut(nodes.of_key(name))
            .ok_or_else(|| Error::new(ErrorKind::Destination, "the destination has no shard"))?;
        connection.select(db)?;
        let abilities = Abilities::ask(
            connection,
            name,
            facts.clock_ahead_ms.unwrap_or(0),
            options.ttl_tolerance_ms,
        )?;
        let sample = options.sample.map(Sample::new);
        let names = options.extra.then(|| extra::Names::new(&options.spool_dir));
        Ok(Self {
            connector,
            nodes,
            pace: Pace::new(options.rates),
            facts,
            abilities,
            touches: !untouched,
            sample,
            names,
            dbs,
            a_key: Survey::sample(surveys).to_vec(),
            tally: Tally::default(),
            books: Books::default(),
            digested: Digested::default(),
            entries: 0,
            read_again: 0,
            extra: None,
            started,
            stopped: None,
            options,
        })
    }

    /// How many servers it is read from: 1 where it is no cluster.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.nodes.connectors.len()
    }

    /// What the destination is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What it lets us ask.
    #[must_use]
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Whether what is read counts as access there.
    #[must_use]
    pub fn touches(&self) -> bool {
        self.touches
    }

    /// Whether the run has ended early; what follows is only counted.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Holds one dump that was surveyed before against the destination, in as many rounds as were asked for. What ends the run
    /// early is kept for the report.
    ///
    /// # Errors
    /// None but a selection that cannot be asked; everything else is in the report.
    pub fn input(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        selection: &mut Selection,
        watcher: &dyn Watcher,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        if self.stopped.is_some() {
            self.leave_out(survey);
            return Ok(());
        }
        selection.in_input(input);
        let mut only: Option<Vec<u64>> = None;
        let mut entries = 0;
        let mut round = 1;
        // Since when no key of a slot that moves could be read, and how many were left.
        let mut moving: Option<(Instant, usize)> = None;
        loop {
            let last = round >= self.options.rounds.max(1);
            let (again, moved) = (Mutex::default(), Mutex::default());
            let read = self.round(
                input,
                snapshot,
                selection,
                watcher,
                watch,
                only.as_deref(),
                (!last).then_some(&again),
                &moved,
            );
            if only.is_none() {
                entries = read;
            }
            let mut differing: Vec<u64> = again.into_inner().unwrap_or_default();
            let moved: Vec<u64> = moved.into_inner().unwrap_or_default();
            if self.stopped.is_some() || differing.is_empty() && moved.is_empty() {
                break;
            }
            self.read_again = self.read_again.saturating_add(differing.len() as u64);
            if moved.is_empty() {
                moving = None;
                round = round.saturating_add(1);
            } else {
                let (since, _) = *moving
                    .take_if(|(_, left)| *left <= moved.len())
                    .get_or_insert((Instant::now(), moved.len()));
                moving = Some((since, moved.len()));
                if since.elapsed() >= self.options.retry_for {
                    self.stop(sent_on(moved.len()));
                    break;
                }
            }
            differing.extend(moved);
            differing.sort_unstable();
            only = Some(differing);
            std::thread::sleep(self.options.pause);
            if let Err(error) = self.find_again() {
                self.stop(error);
                break;
            }
        }
        self.entries = self.entries.saturating_add(entries);
        if self.stopped.is_some() {
            self.entries = self
                .entries
                .saturating_add(survey.entries.saturating_sub(entries));
            // Whatever has no outcome yet: not read, or to be read again.
            let rest = self.entries.saturating_sub(self.tally.total());
            self.tally.add(Outcome::NotReached, rest);
        } else if entries != survey.entries {
            self.stopped = Some(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the input held {} entries when it was checked, and {entries} when it was compared: it changed",
                    survey.entries
                ),
            ));
        }
        Ok(())
    }

    /// Slots may have moved since the last round.
    fn find_again(&mut self) -> Result<()> {
        if self.nodes.is_cluster() {
            let dbs: Vec<u64> = self.dbs.iter().copied().collect();
            self.nodes = Nodes::find(&self.connector, (&dbs, &self.a_key), &self.options)?.nodes;
        }
        Ok(())
    }

    /// Goes through the dump once: all of it, or `only` the entries with these numbers. Gives the entries read.
    #[expect(clippy::too_many_arguments, reason = "the state of one run, used once")]
    fn round(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        selection: &mut Selection,
        watcher: &dyn Watcher,
        watch: &mut Watch<'_>,
        only: Option<&[u64]>,
        again: Option<&Mutex<Vec<u64>>>,
        moved: &Mutex<Vec<u64>>,
    ) -> u64 {
        let stop = Stop::default();
        let shared = Shared {
            input,
            abilities: &self.abilities,
            spool_dir: &self.options.spool_dir,
            transform: &self.options.policies.transform,
            watcher,
            stop: &stop,
            pace: &self.pace,
            retry_for: self.options.retry_for,
            evicts: evicts(&self.facts),
            digests: self.options.digests && self.sample.is_none(),
            again,
            moved: self.nodes.is_cluster().then_some(moved),
        };
        let (mut counted, mut entries) = (Counted::default(), 0);
        std::thread::scope(|scope| {
            let (mut lanes, mut workers) = (Vec::new(), Vec::new());
            for connector in &self.nodes.connectors {
                let mut lane = Lane::default();
                for _ in 0..self.options.connections.max(1) {
                    let (sender, receiver) = sync_channel(BATCHES);
                    lane.senders.push(sender);
                    let shared = &shared;
                    workers.push(scope.spawn(move || worker::run(shared, connector, &receiver)));
                }
                lanes.push(lane);
            }
            let mut feeder = Feeder {
                lanes,
                nodes: &self.nodes,
                names: &self.options.policies.transform.names,
                key: Vec::new(),
                unsent: 0,
            };
            let fed = feed(
                Feed {
                    input,
                    policies: &self.options.policies,
                    instant_of_load: self.options.instant_of_load,
                    sample: self.sample.as_ref(),
                    names: self.names.as_mut().filter(|_| only.is_none()),
                    only,
                },
                snapshot,
                selection,
                &mut feeder,
                &mut counted.tally,
                &mut entries,
                &stop,
                watch,
            );
            if let Err(error) = fed {
                stop.set(error);
            }
            counted.tally.add(Outcome::NotReached, feeder.close());
            for worker in workers {
                match worker.join() {
                    Ok(by_worker) => {
                        counted.tally.merge(&by_worker.tally);
                        counted.books.merge(&by_worker.books);
                        counted.digested.merge(&by_worker.digested);
                    }
                    Err(_) => stop.set(Error::new(
                        ErrorKind::Destination,
                        "a connection's thread ended unexpectedly",
                    )),
                }
            }
        });
        self.tally.merge(&counted.tally);
        self.books.merge(&counted.books);
        self.digested.merge(&counted.digested);
        self.stopped = stop.take();
        entries
    }

    /// Counts the entries of an input that is not compared any more, since the run has ended early.
    pub fn leave_out(&mut self, survey: &Survey) {
        self.entries = self.entries.saturating_add(survey.entries);
        self.tally.add(Outcome::NotReached, survey.entries);
    }

    /// Ends the run for a reason that comes from outside.
    pub fn stop(&mut self, error: Error) {
        self.stopped.get_or_insert(error);
    }

    /// Looks for keys that only the destination has, where that was asked for: in all of its databases, or with a selection in
    /// those that the selected keys go to. Nothing that stands in a dump, selected or not, counts.
    pub fn extra(&mut self, everywhere: bool, watcher: &dyn Watcher, watch: &mut Watch<'_>) {
        let Some(names) = self.names.take() else {
            return;
        };
        if self.stopped.is_some() {
            return;
        }
        let mut dbs = self.dbs.clone();
        if everywhere && let Some(held) = &self.facts.keys {
            dbs.extend(held.keys().copied());
        }
        let dbs: Vec<u64> = dbs.into_iter().collect();
        let how = extra::How {
            pace: &self.pace,
            retry_for: self.options.retry_for,
            watcher,
        };
        match names.find_others(&self.nodes.connectors, &dbs, &how, watch) {
            Ok(count) => self.extra = Some(count),
            Err(error) => self.stop(error),
        }
    }

    /// Adds up.
    #[must_use]
    pub fn finish(self) -> Report {
        let at_most = self.sample.as_ref().map(|_| {
            let compared = self.tally.compared();
            let all = compared.saturating_add(self.tally.get(Outcome::NotSampled));
            most_that_differ(all, compared, self.tally.findings())
        });
        Report {
            entries: self.entries,
            tally: self.tally,
            books: self.books,
            digests: (self.options.digests && self.sample.is_none() && self.stopped.is_none())
                .then_some(self.digested),
            read_again: self.read_again,
            extra: self.extra,
            at_most,
            elapsed: self.started.elapsed(),
            stopped: self.stopped,
        }
    }
}

#[cold]
fn sent_on(keys: usize) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the nodes of the cluster send {keys} keys on to each other: their slots are being moved"),
    )
    .with_hint("compare again when that is done")
}

/// Whether keys without an expiry, and with one, may have been evicted.
fn evicts(facts: &Facts) -> [bool; 2] {
    if facts.evicted_keys.unwrap_or(0) == 0 {
        return [false, false];
    }
    match facts.maxmemory_policy.as_deref() {
        Some(policy) if policy.starts_with("volatile") => [false, true],
        _ => [true, true],
    }
}

/// Entries in one batch to a connection.
const BATCH: usize = 128;

/// Batches that may wait for a connection.
const BATCHES: usize = 4;

/// The way to one server: its connections, which take batches in turn.
#[derive(Default)]
struct Lane<'data> {
    senders: Vec<SyncSender<Vec<Wanted<'data>>>>,
    next: usize,
    batch: Vec<Wanted<'data>>,
}

impl Lane<'_> {
    /// Gives the batch to whoever has room first; where nobody has, waits for the next in turn. Gives how many entries no
    /// connection took.
    fn flush(&mut self) -> u64 {
        let mut batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let count = batch.len() as u64;
        let connections = self.senders.len();
        for _ in 0..connections {
            self.next = (self.next + 1) % connections;
            let Some(sender) = self.senders.get(self.next) else {
                continue;
            };
            match sender.try_send(batch) {
                Ok(()) => return 0,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => batch = back,
            }
        }
        match self.senders.get(self.next).map(|sender| sender.send(batch)) {
            Some(Ok(())) => 0,
            _ => count,
        }
    }
}

/// Hands each entry to the server that tells of it.
struct Feeder<'run, 'data> {
    lanes: Vec<Lane<'data>>,
    nodes: &'run Nodes,
    names: &'run Naming,
    key: Vec<u8>,
    /// Entries that no connection took.
    unsent: u64,
}

impl<'data> Feeder<'_, 'data> {
    fn push(&mut self, wanted: Wanted<'data>) {
        let server = self
            .nodes
            .of_entry(&wanted.entry, self.names, &mut self.key);
        let Some(lane) = self.lanes.get_mut(server) else {
            self.unsent += 1;
            return;
        };
        lane.batch.push(wanted);
        if lane.batch.len() >= BATCH {
            self.unsent += lane.flush();
        }
    }

    fn close(mut self) -> u64 {
        for lane in &mut self.lanes {
            if !lane.batch.is_empty() {
                self.unsent += lane.flush();
            }
        }
        self.unsent
    }
}

/// Which entries a round is about.
struct Feed<'r> {
    input: u32,
    policies: &'r Policies,
    instant_of_load: bool,
    sample: Option<&'r Sample>,
    /// All names are wanted, for the search for extra keys.
    names: Option<&'r mut extra::Names>,
    only: Option<&'r [u64]>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "the state of one round, used once"
)]
fn feed<'data>(
    mut feed: Feed<'_>,
    snapshot: &Snapshot<'data>,
    selection: &mut Selection,
    feeder: &mut Feeder<'_, 'data>,
    tally: &mut Tally,
    entries: &mut u64,
    stop: &Stop,
    watch: &mut Watch<'_>,
) -> Result<()> {
    // The checksum was verified by the survey.
    let mut records = snapshot.unverified_records();
    let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
    while let Some(record) = records.next_record()? {
        let Record::Entry(entry) = record else {
            continue;
        };
        if let Some(only) = feed.only {
            if only.binary_search(&entry.ordinal).is_ok() {
                if stop.is_set() {
                    tally.add(Outcome::NotReached, 1);
                } else if let Ok(wanted) = wanted(&entry, feed.policies, feed.instant_of_load) {
                    feeder.push(wanted);
                }
            }
            continue;
        }
        if stop.is_set() {
            break;
        }
        *entries = entries.saturating_add(1);
        let admitted = (|| {
            ticker.tick(watch, entry.end(), *entries)?;
            if let Some(names) = &mut feed.names {
                let db = feed.policies.db_map.get(entry.db);
                names.add(db, &entry, &feed.policies.transform.names)?;
            }
            selection.admits(&entry, &mut scratch)
        })();
        let outcome = match admitted {
            Ok(true) => match wanted(&entry, feed.policies, feed.instant_of_load) {
                Ok(_)
                    if feed
                        .sample
                        .is_some_and(|s| !s.has(feed.input, entry.ordinal)) =>
                {
                    Outcome::NotSampled
                }
                Ok(wanted) => {
                    feeder.push(wanted);
                    continue;
                }
                Err(outcome) => outcome,
            },
            Ok(false) => Outcome::NotSelected,
            Err(error) => {
                tally.add(Outcome::NotReached, 1);
                return Err(error);
            }
        };
        tally.add(outcome, 1);
    }
    Ok(())
}

/// Digests of what the destination should hold of an input, from the file alone. `None` where a value of it cannot be read.
///
/// # Errors
/// Those of the reader, of the selection and of `watch`.
pub fn digests(
    input: u32,
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Option<Digests>> {
    selection.in_input(input);
    let mut digester = Digester::new(&options.spool_dir).arriving(&options.policies.transform);
    let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
    let (mut sum, mut entries) = (Digests::default(), 0u64);
    let mut records = snapshot.unverified_records();
    while let Some(record) = records.next_record()? {
        let Record::Entry(entry) = record else {
            continue;
        };
        entries = entries.saturating_add(1);
        ticker.tick(watch, entry.end(), entries)?;
        if !selection.admits(&entry, &mut scratch)? {
            continue;
        }
        let Ok(wanted) = wanted(&entry, &options.policies, options.instant_of_load) else {
            continue;
        };
        match digester.of(&wanted) {
            Ok(digests) => sum.add(&digests),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Limit) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(sum))
}

/// What the destination should hold of an entry, or why nothing.
fn wanted<'data>(
    entry: &Entry<'data>,
    policies: &Policies,
    instant_of_load: bool,
) -> std::result::Result<Wanted<'data>, Outcome> {
    let expire_at_ms = arrival(entry, policies).map_err(|outcome| match outcome {
        Arrival::Empty => Outcome::Empty,
        _ => Outcome::Expired,
    })?;
    let given = !instant_of_load && matches!(policies.expired, ExpiredPolicy::Ttl(_));
    let own = entry
        .expire_at_ms
        .and_then(|at| policies.transform.expiries.arrives(at));
    let expiry = match expire_at_ms {
        None => Expiry::Never,
        // Counted from the load's instant, which was before ours.
        Some(at) if given && own != Some(at) => Expiry::Until(at),
        Some(at) => Expiry::At(at),
    };
    Ok(Wanted {
        entry: *entry,
        db: policies.db_map.get(entry.db),
        expiry,
    })
}
