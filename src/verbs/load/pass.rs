//! One pass over an input: the feeder reads entries and hands them to connections, each of which has a thread of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::shards::Redirects;
use super::stop::{Ended, Stop, Why};
use super::suspect::InputWatch;
use super::worker::{self, Batch, How, Shared, Worker};
use super::{KeyEvent, Load, OnConflict, Verified, Watcher, eviction, latency, repeated};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Lifetimes, Ranges};
use crate::outcome::{Outcome, Tally};
use crate::resp::Pipeline;
use crate::select::Selection;
use crate::snapshot::{Entry, Lent, Record, Snapshot};
use crate::survey::Survey;
use crate::verbs::{Position, Ticker, Watch};

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
        if self.stopped.is_some()
            || self.interrupted.is_some()
            || self.only_looks
            || self.is_done_with(input)
        {
            return Ok(());
        }
        selection.in_input(input);
        if self.goes_on && !self.written_down {
            if let Err(error) = self.recorder.begin() {
                self.stopped = Some(error);
                return Ok(());
            }
            self.written_down = true;
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
        let redirects = Redirects::default();
        let evictions = eviction::Watch::default();
        let verified = Mutex::new(Verified::default());
        let done = AtomicBool::new(false);
        let base = self.positions(input).start;
        let name = self.input_name(input);
        let staging = self.recorder.staging();
        let input_watch = InputWatch::new(watcher, &self.recorder, input, &name);
        input_watch.check(&stop);
        let questions = self.questions();
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
            shards: &self.shards,
            redirects: &redirects,
            strange: &self.strange,
            limits: &self.limits,
            restore_closed: &self.restore_closed,
            walk: self.walk.is_some(),
            spool_dir: self.options.spool_dir.as_path(),
            abilities: self.abilities.as_ref(),
            questions: &questions,
            pace: &self.pace,
            verify: self.options.verify,
            fail_fast: self.options.fail_fast,
            verified: &verified,
            growth: &self.growth,
            staging: &staging,
            ahead: self.options.ahead.max(1),
        };
        let (mut entries, mut repetitions) = (0, None);
        std::thread::scope(|scope| {
            // The caller's own words may end this by a panic: the threads must not wait for ever then.
            let _over = AtEnd(&done);
            if !stop.is_set() {
                let watch = eviction::Run {
                    shards: &self.shards,
                    before: self.evicted_before,
                    allowed: self.options.allow_eviction,
                    lookback: self.options.failover_lookback,
                    settle_every: self.options.settle_every,
                    recorder: &self.recorder,
                    stop: &stop,
                    done: &done,
                    most_lag: self.options.max_replica_lag,
                    longest_blind: self.options.longest_blind,
                    lag: &self.lag,
                    growth: &self.growth,
                    pace: &self.pace,
                    watcher,
                    input: &input_watch,
                };
                let evictions = &evictions;
                scope.spawn(move || evictions.run(&watch));
            }
            if let Some(allowed) = self.options.max_latency {
                let measured = latency::Run {
                    shards: &self.shards,
                    allowed,
                    pace: &self.pace,
                    stop: &stop,
                    done: &done,
                    watcher,
                    said: &self.latency_said,
                };
                scope.spawn(move || latency::run(&measured));
            }
            // Under `replace` a second entry of a key is answered like the first. Under the other policies it cannot be, so
            // where no key existed, none stands twice, and the search can wait for the first one that did.
            let options = &self.options;
            let beside = (options.policies.replace && !stop.is_set()).then(|| {
                scope.spawn(move || repeated::find(snapshot, &options.policies, &options.spool_dir))
            });
            let mut connections = connections;
            // One connection needs no thread of its own: handing entries over would cost more than finding them.
            let worker = match connections.len() {
                1 if !shared.shards.is_cluster() => connections
                    .pop()
                    .map(|(shard, pipeline)| Worker::begin(&shared, shard, pipeline)),
                _ => None,
            };
            let mut lanes: Vec<Lane<'_>> = Vec::new();
            lanes.resize_with(shared.shards.list().len(), Lane::default);
            let mut workers = Vec::new();
            for (shard, pipeline) in connections {
                let (sender, receiver) = sync_channel(BATCHES);
                if let Some(lane) = lanes.get_mut(shard) {
                    lane.senders.push(sender);
                }
                let shared = &shared;
                workers.push(scope.spawn(move || worker::run(shared, shard, pipeline, &receiver)));
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
                drop(lanes);
            } else {
                let mut feeder = Feeder::new(lanes, worker, &shared);
                let read_to;
                (entries, read_to) = feed(&shared, selection, &mut feeder, &mut |read| {
                    input_watch.check(&stop);
                    input_watch.reads(base.saturating_add(read.entries), read.offset);
                    watch(far.position(read))
                });
                input_watch.read_to(read_to);
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
        if let Ok(verified) = verified.lock() {
            self.verified.same = self.verified.same.saturating_add(verified.same);
            self.verified.not_comparable = self
                .verified
                .not_comparable
                .saturating_add(verified.not_comparable);
        }
        let redirected = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.moved = self.moved.saturating_add(redirected(&redirects.moved));
        self.asked = self.asked.saturating_add(redirected(&redirects.asked));
        self.also.extend(redirects.unknown());
        if let Some(most) = self.limits.learned() {
            self.terms.max_arg = self.terms.max_arg.min(most);
        }
        self.evictions_known &=
            !evictions.blind.load(Ordering::Relaxed) || self.evicted_before.is_none();
        self.evicted = self.evicted.max(evictions.grown.load(Ordering::Relaxed));
        match input_watch.end(&stop) {
            Ok(None) => {}
            // What else was found wrong may come from that, and nobody reads it again to name its keys.
            Ok(Some(error)) | Err(error) => {
                self.stopped = Some(error);
                return Ok(());
            }
        }
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
    ) -> Result<Vec<(usize, Pipeline<worker::Ticket>)>, Ended> {
        let shards = self.shards.list().len();
        let wanted = self.options.connections.max(1);
        let mut connections = Vec::with_capacity(wanted.saturating_mul(shards));
        // One to each shard first: functions go there.
        for (opened, (shard, to)) in (1..=wanted).flat_map(|opened| {
            self.shards
                .list()
                .iter()
                .enumerate()
                .map(move |to| (opened, to))
        }) {
            let mut connection =
                to.connector
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
            connections.push((shard, connection));
        }
        if self.options.reads_back() {
            for (_, connection) in &mut connections {
                // Reading is not to count as access; where it does, that is no reason not to read.
                crate::meaning::no_touch(connection)
                    .map_err(|error| super::again::judge_asking(connection, error))?;
            }
            if let Some((_, connection)) =
                connections.first_mut().filter(|_| self.abilities.is_none())
            {
                self.ask_abilities(connection)
                    .map_err(|error| super::again::judge_asking(connection, error))?;
            }
        }
        self.replay_functions(
            input,
            snapshot,
            survey,
            connections.get_mut(..shards).unwrap_or_default(),
        )?;
        // Where nothing can be looked at, each reply must be known to be its key's own: what was said of others cannot be mended.
        // Under `replace` it can, by sending a key once more.
        let looks = self.options.reads_back() || self.options.on_conflict == OnConflict::Replace;
        let may_look = match connections.first_mut().filter(|_| !looks) {
            Some((_, connection)) => self
                .questions()
                .may_look(connection)
                .map_err(|error| super::again::judge_asking(connection, error))?,
            None => true,
        };
        // No more is under way than the journal is ahead, and what it is to be told must be proven.
        let ahead = u32::try_from(self.options.ahead).unwrap_or(u32::MAX);
        let mut window = self.options.window;
        window.mark_every = window.mark_every.min(ahead);
        window.most_commands = window.most_commands.min(ahead as usize);
        window.commands = window.commands.min(window.most_commands);
        connections
            .into_iter()
            .map(|(shard, connection)| {
                let mut pipeline = Pipeline::new(connection, window)
                    .map_err(|error| Ended { error, why: None })?;
                match may_look {
                    true => pipeline.mark_closely(),
                    false => pipeline.mark_each(),
                }
                Ok((shard, pipeline))
            })
            .collect()
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
        None if existed > 0 => repeated::find(shared.snapshot, shared.policies, shared.spool_dir)?,
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

/// Says to the threads beside a pass that it is over, however it is left.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
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
/// How often keys are sent on without any of them arriving, before the pass ends.
const MOST_FRUITLESS: u32 = 50;

/// Entries in one batch to a connection.
const BATCH: usize = 128;

/// Batches that may wait for a connection.
const BATCHES: usize = 4;

/// The way to one shard: its connections, which take batches in turn.
#[derive(Default)]
struct Lane<'data> {
    senders: Vec<SyncSender<Batch<'data>>>,
    next: usize,
    batch: Vec<Entry<'data>>,
    how: How,
}

/// Hands batches to connections.
struct Feeder<'run, 'data> {
    /// One for each shard.
    lanes: Vec<Lane<'data>>,
    /// The only connection, which works on this thread.
    worker: Option<Worker<'run, 'data>>,
    key: Vec<u8>,
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
        lanes: Vec<Lane<'data>>,
        worker: Option<Worker<'run, 'data>>,
        shared: &'run Shared<'run, 'data>,
    ) -> Self {
        Self {
            lanes,
            worker,
            key: Vec::new(),
            reserved: shared.recorder.sent(),
            shared,
            left_out: Ranges::default(),
            run: 0..0,
            outcomes: Tally::default(),
        }
    }

    #[inline]
    fn push(&mut self, entry: &Entry<'data>, position: u64, doubtful: bool) -> Result<()> {
        if position >= self.reserved {
            self.reserved = position.saturating_add(self.shared.ahead);
            self.shared.recorder.reserve(self.reserved)?;
        }
        if self.shared.redirects.any() {
            self.send_on()?;
        }
        // Nearly always, where there is one connection. What is in another database waits until there is a batch of it, and all
        // that comes meanwhile waits behind it.
        if let Some(worker) = &mut self.worker
            && !doubtful
            && self.lanes.iter().all(|lane| lane.batch.is_empty())
            && worker.is_in(entry.db)
        {
            let handed = &self.shared.far.handed;
            // Nobody else counts it up or down.
            handed.store(
                handed.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
            worker.take_one(entry);
            return Ok(());
        }
        let Shared {
            shards, policies, ..
        } = self.shared;
        let shard = shards.of_entry(entry, policies, &mut self.key);
        let how = if doubtful { How::Doubtful } else { How::Fresh };
        self.put(*entry, shard, how);
        Ok(())
    }

    #[inline]
    fn put(&mut self, entry: Entry<'data>, shard: usize, how: How) {
        let Some(lane) = self.lanes.get_mut(shard) else {
            return;
        };
        if lane.how != how {
            self.hand_out(shard);
        }
        let Some(lane) = self.lanes.get_mut(shard) else {
            return;
        };
        lane.how = how;
        lane.batch.push(entry);
        if lane.batch.len() >= BATCH {
            self.hand_out(shard);
        }
    }

    /// What nodes sent on goes where they said. It was handed out before, so the journal knows of it.
    #[cold]
    fn send_on(&mut self) -> Result<()> {
        for redirect in self.shared.redirects.take() {
            let entry = self.shared.snapshot.entry_at(&redirect.place)?;
            self.shared.far.handed.fetch_sub(1, Ordering::Relaxed);
            let Shared {
                shards, policies, ..
            } = self.shared;
            let shard = redirect
                .ask
                .unwrap_or_else(|| shards.of_entry(&entry, policies, &mut self.key));
            let how = match redirect.ask {
                Some(_) => How::Asking(redirect.step),
                None => How::Fresh,
            };
            self.put(entry, shard, how);
        }
        Ok(())
    }

    /// Waits until everything that was handed out is answered and nothing is sent on any more.
    fn send_on_until_done(&mut self) -> Result<()> {
        let (mut fruitless, mut finished) = (0u32, self.shared.recorder.finished_total());
        loop {
            self.hand_out_all();
            // Each connection drops its end when it has all its replies; none is left when all have.
            let (answered, all_answered) = sync_channel::<()>(0);
            for sender in self.lanes.iter().flat_map(|lane| &lane.senders) {
                let _ = sender.send(Batch {
                    entries: Vec::new(),
                    how: How::Fresh,
                    answered: Some(answered.clone()),
                });
            }
            drop(answered);
            let _ = all_answered.recv();
            if !self.shared.redirects.any() || self.shared.stop.is_set() {
                return Ok(());
            }
            let now = self.shared.recorder.finished_total();
            fruitless = if now > finished { 0 } else { fruitless + 1 };
            finished = now;
            if fruitless >= MOST_FRUITLESS {
                let error = Error::new(
                    ErrorKind::Destination,
                    "the nodes of the cluster send keys on to each other",
                );
                self.shared.stop.pause(error, Why::Busy);
                return Ok(());
            }
            std::thread::sleep(NAP / 10 * fruitless);
            self.send_on()?;
        }
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
        match self.outcomes.total() >= self.shared.ahead {
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
        // Nothing of these was restored.
        let lifetimes = Lifetimes::default();
        let recorder = self.shared.recorder;
        recorder.finished(&positions, &outcomes, &lifetimes, &[])
    }

    fn hand_out_all(&mut self) {
        for shard in 0..self.lanes.len() {
            self.hand_out(shard);
        }
    }

    /// Gives a shard's batch to whichever of its connections has room first; where none has, waits for the next in turn.
    fn hand_out(&mut self, shard: usize) {
        let Some(lane) = self.lanes.get_mut(shard) else {
            return;
        };
        if lane.batch.is_empty() {
            return;
        }
        let entries = std::mem::replace(&mut lane.batch, Vec::with_capacity(BATCH));
        let count = entries.len() as u64;
        let mut batch = Batch {
            entries,
            how: lane.how,
            answered: None,
        };
        self.shared.far.handed.fetch_add(count, Ordering::Relaxed);
        if let Some(worker) = &mut self.worker {
            return worker.take(batch);
        }
        let connections = lane.senders.len();
        for _ in 0..connections {
            lane.next = (lane.next + 1) % connections.max(1);
            let Some(sender) = lane.senders.get(lane.next) else {
                continue;
            };
            match sender.try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => batch = back,
            }
        }
        // Where no connection takes it, its entries are not finished: that is all there is to say of them.
        if let Some(sender) = lane.senders.get(lane.next) {
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
        let told = match self.shared.shards.is_cluster() {
            true => self.send_on_until_done(),
            false => {
                self.hand_out_all();
                Ok(())
            }
        };
        if let Err(error) = told.and_then(|()| self.record()) {
            self.shared.stop.set(error);
        }
        if let Some(worker) = self.worker {
            worker.finish();
        }
    }
}

/// Reads the dump and hands out what the selection admits and what has no outcome yet, until the pass stops. Gives the number
/// of entries read, and where the last one ends.
fn feed<'data>(
    shared: &Shared<'_, 'data>,
    selection: &mut Selection,
    feeder: &mut Feeder<'_, 'data>,
    watch: &mut Watch<'_>,
) -> (u64, u64) {
    let stop = shared.stop;
    let (finished, doubtful) = shared.recorder.standing();
    let fresh = finished.is_empty() && doubtful.is_empty();
    // The checksum was verified by the survey.
    let mut records = shared.snapshot.unverified_records();
    let (mut entries, mut ticker, mut scratch) = (0u64, Ticker::default(), Vec::new());
    let mut end = 0;
    loop {
        let entry = match records.lend() {
            Ok(Some(Lent::Entry(entry))) => entry,
            Ok(Some(_)) => continue,
            Ok(None) => return (entries, end),
            Err(error) => {
                stop.set(error);
                return (entries, end);
            }
        };
        entries += 1;
        if entries.is_multiple_of(LOOK) {
            feeder.keep_open();
        }
        let position = shared.base.saturating_add(entry.ordinal);
        end = entry.end();
        let handled = match selection.admits(entry, &mut scratch) {
            Ok(_) if !fresh && finished.contains(position) => Ok(()),
            Ok(true) => feeder.push(entry, position, !fresh && doubtful.contains(position)),
            Ok(false) if selection.left_to_newer() => {
                feeder.leave_out(position, Outcome::LeftToNewer)
            }
            Ok(false) => feeder.leave_out(position, Outcome::NotSelected),
            Err(error) => Err(error),
        };
        if let Err(error) = handled.and_then(|()| ticker.tick(watch, end, entries)) {
            stop.set(error);
        }
        if stop.is_set() {
            return (entries, end);
        }
    }
}
