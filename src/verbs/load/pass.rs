//! One pass over an input: the feeder reads entries and hands them to connections, each of which has a thread of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::functions;
use super::stop::{Ended, Stop};
use super::worker::{self, Batch, Shared, Worker};
use super::{KeyEvent, Load, OnConflict, Verified, Watcher, eviction, lag, latency, repeated};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Ranges;
use crate::outcome::{Outcome, Tally};
use crate::resp::{Connection, Pipeline};
use crate::select::Selection;
use crate::snapshot::{Entry, Lent, Record, Snapshot};
use crate::survey::Survey;
use crate::verbs::{Position, Ticker, Watch};

/// Entries that may be sent before the journal is written again. After a crash so many are looked up at the most.
const AHEAD: u64 = 256 * 1024;

impl Load {
    /// One pass over a dump that was surveyed before: its function libraries, then its keys, as far as they have no outcome.
    /// What happens to each entry is recorded; what ends the pass early is kept for [`Load::again`] or the report.
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
        if self.stopped.is_some() || self.interrupted.is_some() || self.is_done_with(input) {
            return Ok(());
        }
        let stop = Stop::default();
        let connections = self
            .open_all(input, snapshot, survey)
            .unwrap_or_else(|ended| {
                match ended.why {
                    Some(why) => stop.pause(ended.error, why),
                    None => stop.set(ended.error),
                }
                Vec::new()
            });
        let far = Far::default();
        let evictions = eviction::Watch::default();
        let lag = lag::Watch::default();
        let verified = Mutex::new(Verified::default());
        let done = AtomicBool::new(false);
        let base = self.positions(input).start;
        let name = self.input_name(input);
        let shared = Shared {
            snapshot,
            input,
            input_name: &name,
            base,
            terms: &self.terms,
            policies: &self.options.policies,
            on_conflict: self.options.on_conflict,
            watcher,
            stop: &stop,
            recorder: &self.recorder,
            acknowledged: &self.options.acknowledged,
            far: &far,
            walk: self.walk.is_some(),
            spool_dir: self.options.spool_dir.as_path(),
            abilities: self.abilities.as_ref(),
            pace: &self.pace,
            verify: self.options.verify,
            verified: &verified,
        };
        let (mut entries, mut repetitions) = (0, None);
        std::thread::scope(|scope| {
            if !stop.is_set() {
                let watch = eviction::Run {
                    connector: &self.connector,
                    before: self.evicted_before,
                    allowed: self.options.allow_eviction,
                    lookback: self.options.failover_lookback,
                    recorder: &self.recorder,
                    stop: &stop,
                    done: &done,
                    most_lag: self.options.max_replica_lag,
                    lag: &lag,
                    pace: &self.pace,
                    watcher,
                };
                let evictions = &evictions;
                scope.spawn(move || evictions.run(&watch));
            }
            if let Some(allowed) = self.options.max_latency {
                let (connector, pace, stop, done) = (&self.connector, &self.pace, &stop, &done);
                scope.spawn(move || latency::run(connector, allowed, pace, stop, done));
            }
            // Under `replace` a second entry of a key is answered like the first. Under the other policies it cannot be, so
            // where no key existed, none stands twice, and the search can wait for the first one that did.
            let options = &self.options;
            let beside = (options.policies.replace && !stop.is_set())
                .then(|| scope.spawn(move || repeated::find(snapshot, &options.spool_dir)));
            let mut connections = connections;
            // One connection needs no thread of its own: handing entries over would cost more than finding them.
            let worker = match connections.len() {
                1 => connections
                    .pop()
                    .map(|pipeline| Worker::begin(&shared, pipeline)),
                _ => None,
            };
            let mut senders = Vec::new();
            let mut workers = Vec::new();
            for pipeline in connections {
                let (sender, receiver) = sync_channel(BATCHES);
                senders.push(sender);
                let shared = &shared;
                workers.push(scope.spawn(move || worker::run(shared, pipeline, &receiver)));
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
            if stop.is_set() {
                // The connections' threads end with them.
                drop(senders);
            } else {
                let mut feeder = Feeder::new(senders, worker, &shared);
                entries = feed(&shared, selection, &mut feeder, &mut |read| {
                    watch(far.position(read))
                });
                feeder.flush();
            }
            for worker in workers {
                if worker.join().is_err() {
                    stop.set(Error::new(
                        ErrorKind::Destination,
                        "a connection's thread ended unexpectedly",
                    ));
                }
            }
            done.store(true, Ordering::Release);
            repetitions = beside.map(|thread| thread.join().unwrap_or_else(|_| Err(lost_thread())));
        });
        if !stop.is_set() && entries != survey.entries {
            stop.set(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the input held {} entries when it was checked, and {entries} when it was sent: it changed",
                    survey.entries
                ),
            ));
        }
        if !stop.is_set()
            && let Err(error) = recount(&shared, repetitions, selection)
        {
            stop.set(error);
        }
        let seen = lag.seen();
        self.lag.largest = self.lag.largest.max(seen.largest);
        self.lag.longest = self.lag.longest.max(seen.longest);
        if let Ok(verified) = verified.lock() {
            self.verified.same = self.verified.same.saturating_add(verified.same);
            self.verified.not_comparable = self
                .verified
                .not_comparable
                .saturating_add(verified.not_comparable);
        }
        self.evictions_known &=
            !evictions.blind.load(Ordering::Relaxed) || self.evicted_before.is_none();
        self.evicted = self.evicted.max(evictions.grown.load(Ordering::Relaxed));
        match stop.take() {
            Some(ended @ Ended { why: Some(_), .. }) if !self.options.retry_for.is_zero() => {
                self.interrupted = Some(ended);
            }
            Some(ended) => {
                self.stopped = Some(ended.error);
                self.list_doubtful(input, snapshot, watcher)?;
            }
            None => {}
        }
        Ok(())
    }

    fn input_name(&self, input: u32) -> String {
        let record = self.recorder.record();
        usize::try_from(input)
            .ok()
            .and_then(|input| record.inputs.get(input))
            .map(|input| input.name.clone())
            .unwrap_or_default()
    }

    /// Names the entries of an input of which nobody knows whether they arrived: when nothing more is tried.
    ///
    /// # Errors
    /// The input cannot be read any more.
    pub fn list_doubtful(
        &self,
        input: u32,
        snapshot: &Snapshot<'_>,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let range = self.positions(input);
        let doubtful = self.recorder.standing().1;
        let mut here = Ranges::of(range.clone());
        here.remove_all(&doubtful);
        if here == Ranges::of(range.clone()) {
            return Ok(());
        }
        let mut records = snapshot.unverified_records();
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            let position = range.start.saturating_add(entry.ordinal);
            if position >= doubtful.end() {
                break;
            }
            if doubtful.contains(position) {
                watcher.key(&KeyEvent {
                    input,
                    ordinal: entry.ordinal,
                    offset: entry.offset,
                    db: entry.db,
                    key: &entry.key.preview(4096),
                    outcome: Outcome::Uncertain,
                    reason: "it was sent, and it is not known whether it arrived",
                });
            }
        }
        Ok(())
    }

    /// Opens all connections, so that a server that takes fewer says so before the first write; then the functions go.
    fn open_all(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
    ) -> Result<Vec<Pipeline<worker::Ticket>>, Ended> {
        let wanted = self.options.connections.max(1);
        let mut connections = Vec::with_capacity(wanted);
        for opened in 1..=wanted {
            let mut connection =
                self.connector
                    .connect()
                    .map_err(|error| match (opened, error.hint()) {
                        (2.., None) => super::again::judge_connecting(error.with_hint(format!(
                            "it was connection {opened} of {wanted}: use fewer --connections"
                        ))),
                        _ => super::again::judge_connecting(error),
                    })?;
            connection
                .prove()
                .map_err(|error| super::again::judge_asking(&connection, error))?;
            connections.push(connection);
        }
        if self.options.reads_back() {
            for connection in &mut connections {
                // Reading is not to count as access; where it does, that is no reason not to read.
                crate::meaning::no_touch(connection)
                    .map_err(|error| super::again::judge_asking(connection, error))?;
            }
            if let Some(connection) = connections.first_mut().filter(|_| self.abilities.is_none()) {
                self.ask_abilities(connection)
                    .map_err(|error| super::again::judge_asking(connection, error))?;
            }
        }
        if let Some(connection) = connections.first_mut() {
            self.replay_functions(input, snapshot, survey, connection)
                .map_err(|error| super::again::judge_asking(connection, error))?;
        }
        let window = self.options.window;
        connections
            .into_iter()
            .map(|connection| {
                Pipeline::new(connection, window).map_err(|error| Ended { error, why: None })
            })
            .collect()
    }

    fn replay_functions(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        connection: &mut Connection,
    ) -> Result<()> {
        if self.functions_sent > input {
            return Ok(());
        }
        let libraries = survey.functions.len() as u64;
        if libraries > 0 && self.refuses_functions().is_some() {
            self.functions.found = self.functions.found.saturating_add(libraries);
            self.functions.refused = self.functions.refused.saturating_add(libraries);
        } else {
            // A library of an earlier try is there already.
            let tried = self.functions_tried.replace(input) == Some(input) || self.goes_on;
            // What a broken try counted is counted again by the next.
            let (mut seen, mut report) = (self.seen_functions.clone(), self.functions.clone());
            functions::load(
                snapshot.data(),
                &survey.functions,
                self.options.functions,
                tried || self.options.on_conflict == OnConflict::Skip,
                connection,
                &mut seen,
                &mut report,
            )?;
            (self.seen_functions, self.functions) = (seen, report);
        }
        self.functions_sent = input.saturating_add(1);
        self.recorder
            .functions(self.functions.counted(self.functions_sent))
    }
}

/// What stands more than once in the input is counted so.
fn recount(
    shared: &Shared<'_, '_>,
    repetitions: Option<Result<crate::duplicates::Repetitions>>,
    selection: &mut Selection,
) -> Result<()> {
    let mut tally = shared.recorder.outcomes();
    let existed = tally
        .get(Outcome::Conflict)
        .saturating_add(tally.get(Outcome::Existing));
    let found = match repetitions {
        Some(found) => found?,
        None if existed > 0 => repeated::find(shared.snapshot, shared.spool_dir)?,
        None => return Ok(()),
    };
    if found.is_empty() {
        return Ok(());
    }
    repeated::reclassify(
        &found,
        shared,
        shared.snapshot,
        selection,
        &mut tally,
        shared.spool_dir,
    )?;
    shared.recorder.set_outcomes(tally);
    Ok(())
}

/// How often an interrupt is looked for.
const NAP: Duration = Duration::from_millis(50);

#[cold]
fn interrupt() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted")
}

/// How far the entries of one input have come: what is shown as progress.
#[derive(Debug, Default)]
pub(super) struct Far {
    /// Entries that have their outcome.
    settled: AtomicU64,
    /// Entries handed to a connection.
    handed: AtomicU64,
    /// Where the last entry begins that was answered.
    offset: AtomicU64,
}

impl Far {
    /// So many more entries have their outcome; the last of them begins at `offset`.
    pub(super) fn settle(&self, entries: u64, offset: u64) {
        self.settled.fetch_add(entries, Ordering::Relaxed);
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

/// So many entries are read between two looks at whether the connection is idle.
const LOOK: u64 = 65536;

/// Entries in one batch to a connection.
const BATCH: usize = 128;

/// Batches that may wait for a connection.
const BATCHES: usize = 4;

/// Hands batches to connections in turn.
struct Feeder<'run, 'data> {
    senders: Vec<SyncSender<Batch<'data>>>,
    /// The only connection, which works on this thread.
    worker: Option<Worker<'run, 'data>>,
    next: usize,
    batch: Vec<Entry<'data>>,
    doubtful: bool,
    shared: &'run Shared<'run, 'data>,
    /// Nothing at or behind this position may be handed out before the journal says so.
    reserved: u64,
    /// Entries that are not sent, which the recorder does not know yet.
    left_out: Ranges,
    run: std::ops::Range<u64>,
    outcomes: Tally,
}

impl<'run, 'data> Feeder<'run, 'data> {
    fn new(
        senders: Vec<SyncSender<Batch<'data>>>,
        worker: Option<Worker<'run, 'data>>,
        shared: &'run Shared<'run, 'data>,
    ) -> Self {
        Self {
            senders,
            worker,
            next: 0,
            batch: Vec::with_capacity(BATCH),
            doubtful: false,
            reserved: shared.recorder.sent(),
            shared,
            left_out: Ranges::default(),
            run: 0..0,
            outcomes: Tally::default(),
        }
    }

    fn push(&mut self, entry: Entry<'data>, position: u64, doubtful: bool) -> Result<()> {
        if position >= self.reserved {
            self.reserved = position.saturating_add(AHEAD);
            self.shared.recorder.reserve(self.reserved)?;
        }
        if self.doubtful != doubtful {
            self.hand_out();
            self.doubtful = doubtful;
        }
        self.batch.push(entry);
        if self.batch.len() >= BATCH {
            self.hand_out();
        }
        Ok(())
    }

    /// An entry that ends here.
    fn leave_out(&mut self, position: u64, outcome: Outcome) -> Result<()> {
        self.outcomes.add(outcome);
        if position == self.run.end {
            self.run.end = position.saturating_add(1);
        } else {
            self.left_out.insert(self.run.clone());
            self.run = position..position.saturating_add(1);
        }
        match self.outcomes.total() >= AHEAD {
            true => self.record(),
            false => Ok(()),
        }
    }

    fn record(&mut self) -> Result<()> {
        self.left_out.insert(std::mem::take(&mut self.run));
        let (positions, outcomes) = (
            std::mem::take(&mut self.left_out),
            std::mem::take(&mut self.outcomes),
        );
        if positions.is_empty() {
            return Ok(());
        }
        self.shared.recorder.finished(&positions, &outcomes, &[])
    }

    /// Gives the batch to whoever has room first; where nobody has, waits for the next in turn.
    fn hand_out(&mut self) {
        let entries = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        if entries.is_empty() {
            return;
        }
        let count = entries.len() as u64;
        let mut batch = Batch {
            entries,
            doubtful: self.doubtful,
        };
        self.shared.far.handed.fetch_add(count, Ordering::Relaxed);
        if let Some(worker) = &mut self.worker {
            return worker.take(batch);
        }
        let connections = self.senders.len();
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
        // Where no connection takes it, its entries are not finished: that is all there is to say of them.
        if let Some(sender) = self.senders.get(self.next) {
            let _ = sender.send(batch);
        }
    }

    /// Passing over entries can take long: the only connection is not to be cut meanwhile.
    fn keep_open(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.keep_open();
        }
    }

    fn flush(mut self) {
        self.hand_out();
        if let Err(error) = self.record() {
            self.shared.stop.set(error);
        }
        if let Some(worker) = self.worker {
            worker.finish();
        }
    }
}

/// Reads the dump and hands out what the selection admits and what has no outcome yet, until the pass stops. Gives the number
/// of entries read.
fn feed<'data>(
    shared: &Shared<'_, 'data>,
    selection: &mut Selection,
    feeder: &mut Feeder<'_, 'data>,
    watch: &mut Watch<'_>,
) -> u64 {
    let stop = shared.stop;
    let (finished, doubtful) = shared.recorder.standing();
    let fresh = finished.is_empty() && doubtful.is_empty();
    // The checksum was verified by the survey.
    let mut records = shared.snapshot.unverified_records();
    let (mut entries, mut ticker, mut scratch) = (0u64, Ticker::default(), Vec::new());
    loop {
        let entry = match records.lend() {
            Ok(Some(Lent::Entry(entry))) => entry,
            Ok(Some(_)) => continue,
            Ok(None) => return entries,
            Err(error) => {
                stop.set(error);
                return entries;
            }
        };
        entries += 1;
        if entries.is_multiple_of(LOOK) {
            feeder.keep_open();
        }
        let position = shared.base.saturating_add(entry.ordinal);
        let end = entry.end();
        let handled = match selection.admits(entry, &mut scratch) {
            Ok(_) if !fresh && finished.contains(position) => Ok(()),
            Ok(true) => feeder.push(*entry, position, !fresh && doubtful.contains(position)),
            Ok(false) => feeder.leave_out(position, Outcome::NotSelected),
            Err(error) => Err(error),
        };
        if let Err(error) = handled.and_then(|()| ticker.tick(watch, end, entries)) {
            stop.set(error);
        }
        if stop.is_set() {
            return entries;
        }
    }
}
