//! One connection of a comparison. Asking harms nobody, so what a broken connection left open is asked again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::{Books, Digested, KeyEvent, Outcome, Tally, Watcher};
use crate::error::{Error, ErrorKind, Result};
use crate::meaning::digest::Digester;
use crate::meaning::{Abilities, Bench, Comparer, Expiry, Verdict, Wanted, no_touch};
use crate::pace::{Cost, Pace};
use crate::resp::Connector;
use crate::transform::Transform;

/// What all connections of a round share.
pub(super) struct Shared<'run> {
    pub(super) input: u32,
    pub(super) abilities: &'run Abilities,
    pub(super) spool_dir: &'run Path,
    /// What became of names and expiries.
    pub(super) transform: &'run Transform,
    pub(super) watcher: &'run dyn Watcher,
    pub(super) stop: &'run Stop,
    /// How fast it may go.
    pub(super) pace: &'run Pace,
    /// How long it is asked again without an answer.
    pub(super) retry_for: Duration,
    /// Which keys without an expiry, and with one, the destination may have evicted.
    pub(super) evicts: [bool; 2],
    /// Make digests of what is compared.
    pub(super) digests: bool,
    /// Entries that are to be read again in another round, where there is one.
    pub(super) again: Option<&'run Mutex<Vec<u64>>>,
    /// Entries whose slots are served elsewhere meanwhile, to be asked about there: of a cluster.
    pub(super) moved: Option<&'run Mutex<Vec<u64>>>,
}

/// Entries that are kept for another round, at most; what is over differs for good.
const AGAIN: usize = 1 << 18;

/// Ends a run from any thread, with the first reason given.
#[derive(Debug, Default)]
pub(super) struct Stop {
    flag: AtomicBool,
    reason: Mutex<Option<Error>>,
}

impl Stop {
    pub(super) fn set(&self, error: Error) {
        if let Ok(mut reason) = self.reason.lock() {
            reason.get_or_insert(error);
        }
        self.flag.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.reason.lock().ok().and_then(|mut reason| reason.take())
    }
}

/// Connections that fail one after the other without any answer between them: then the run ends, whatever it may take
/// elsewhere.
const FAILURES: u32 = 4;

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait after so many failures in a row.
pub(super) fn pause(failures: u32) -> Duration {
    Duration::from_millis(100u64 << failures.min(6)).min(LONGEST)
}

/// Whether a server says that it will answer again, or there is nobody to say anything.
pub(super) fn passes(error: &Error) -> bool {
    const WORDS: [&str; 6] = [
        "closed the connection",
        "BUSY ",
        "LOADING ",
        "MASTERDOWN ",
        "CLUSTERDOWN ",
        "TRYAGAIN ",
    ];
    let text = error.what();
    error.io_error().is_some() || WORDS.iter().any(|words| text.contains(words))
}

/// Whether a node says that another one serves a slot.
fn is_sent_on(error: &Error) -> bool {
    let text = error.what();
    text.contains("\"MOVED ") || text.contains("\"ASK ")
}

/// Counts what came out.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) tally: Tally,
    pub(super) books: Books,
    pub(super) digested: Digested,
}

/// Runs one connection until the channel closes or the run stops. All entries that came through the channel are counted,
/// but those for another round.
pub(super) fn run<'data>(
    shared: &Shared<'_>,
    connector: &Connector,
    batches: &Receiver<Vec<Wanted<'data>>>,
) -> Counted {
    let mut counted = Counted::default();
    let mut waiting: VecDeque<Wanted<'data>> = VecDeque::new();
    let mut bench = Bench::new(shared.spool_dir).arriving(shared.transform);
    let mut digester = shared
        .digests
        .then(|| Digester::new(shared.spool_dir).arriving(shared.transform));
    let (mut open, mut failures) = (true, 0u32);
    let mut answered = Instant::now();
    while !shared.stop.is_set() && (open || !waiting.is_empty()) {
        let before = counted.tally.total();
        let result = talk(
            shared,
            connector,
            batches,
            &mut bench,
            &mut waiting,
            &mut open,
            &mut counted,
            digester.as_mut(),
        );
        let Err(error) = result else { break };
        if let Some(moved) = shared.moved.filter(|_| is_sent_on(&error))
            && let Ok(mut moved) = moved.lock()
        {
            // Those that are not concerned are not judged yet either.
            moved.extend(waiting.drain(..).map(|wanted| wanted.entry.ordinal));
            failures = 0;
            continue;
        }
        failures = if counted.tally.total() > before {
            answered = Instant::now();
            1
        } else {
            failures.saturating_add(1)
        };
        let over = match passes(&error) {
            true => answered.elapsed() >= shared.retry_for,
            false => failures >= FAILURES || shared.retry_for.is_zero(),
        };
        if error.kind() != ErrorKind::Destination || over {
            shared.stop.set(error);
            break;
        }
        let until = Instant::now()
            + pause(failures).min(shared.retry_for.saturating_sub(answered.elapsed()));
        while !shared.stop.is_set() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let mut left = waiting.len() as u64;
    if shared.stop.is_set() {
        // The sender must not wait for room.
        for batch in batches {
            left = left.saturating_add(batch.len() as u64);
        }
    }
    counted.tally.add(Outcome::NotReached, left);
    counted
}

/// One connection's life.
#[expect(
    clippy::too_many_arguments,
    reason = "the state of one connection, used once"
)]
fn talk<'data>(
    shared: &Shared<'_>,
    connector: &Connector,
    batches: &Receiver<Vec<Wanted<'data>>>,
    bench: &mut Bench,
    waiting: &mut VecDeque<Wanted<'data>>,
    open: &mut bool,
    counted: &mut Counted,
    mut digester: Option<&mut Digester>,
) -> Result<()> {
    let mut connection = connector.connect()?;
    // Whoever stands between and is not in step is found out first.
    connection.prove()?;
    no_touch(&mut connection)?;
    let mut comparer = Comparer::new(&mut connection, shared.abilities, bench)?;
    let mut sink = |wanted: Wanted<'data>, (), verdict: Verdict| {
        judge(shared, &wanted, &verdict, counted, digester.as_deref_mut())
    };
    let mut work = || -> Result<()> {
        loop {
            while let Some(wanted) = waiting.pop_front() {
                let debt = shared.pace.book(Cost {
                    keys: 1,
                    bytes: wanted.entry.value.len() as u64,
                    // Value and expiry.
                    commands: 2,
                });
                comparer.push(wanted, (), &mut sink)?;
                if let Some(debt) = debt {
                    let until = Instant::now() + debt;
                    comparer.drain(&mut sink)?;
                    while !shared.stop.is_set() && Instant::now() < until {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            }
            if shared.stop.is_set() {
                return Ok(());
            }
            match batches.try_recv() {
                // Nothing is left of the one before.
                Ok(batch) => *waiting = batch.into(),
                // Nobody waits for more with questions under way.
                Err(TryRecvError::Empty) => match batches.recv_timeout(Duration::from_millis(5)) {
                    Ok(batch) => *waiting = batch.into(),
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => comparer.drain(&mut sink)?,
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => *open = false,
                },
                Err(TryRecvError::Disconnected) => *open = false,
            }
            if !*open && waiting.is_empty() {
                return comparer.drain(&mut sink);
            }
        }
    };
    let result = work();
    // Of a run that was stopped, too.
    let unanswered: Vec<_> = comparer
        .into_unanswered()
        .map(|(wanted, ())| wanted)
        .collect();
    for wanted in unanswered.into_iter().rev() {
        waiting.push_front(wanted);
    }
    result
}

/// Counts a verdict, and tells the watcher where a person would want to know the key.
fn judge(
    shared: &Shared<'_>,
    wanted: &Wanted<'_>,
    verdict: &Verdict,
    counted: &mut Counted,
    digester: Option<&mut Digester>,
) -> Result<()> {
    let outcome = match verdict {
        Verdict::Same => Outcome::Same,
        Verdict::SameBut(_) => Outcome::SameBut,
        Verdict::Expired => Outcome::ExpiredMeanwhile,
        Verdict::NotComparable(_) => Outcome::NotComparable,
        Verdict::Different(_) => Outcome::Different,
        Verdict::Missing => {
            let [lasting, fading] = shared.evicts;
            let perhaps = if wanted.expiry == Expiry::Never {
                lasting
            } else {
                fading
            };
            if perhaps {
                Outcome::PerhapsEvicted
            } else {
                Outcome::Gone
            }
        }
    };
    let entry = &wanted.entry;
    if outcome.is_finding()
        && let Some(again) = shared.again
        && let Ok(mut again) = again.lock()
        && again.len() < AGAIN
    {
        again.push(entry.ordinal);
        return Ok(());
    }
    counted.tally.add(outcome, 1);
    if let Some(digester) = digester {
        match digester.of(wanted) {
            Ok(digests) => counted.digested.add_key(outcome, &digests),
            // Its value cannot be read, or its name not be changed.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Limit) => {
                counted.digested.unknown = true;
            }
            Err(error) => return Err(error),
        }
    }
    match verdict {
        Verdict::SameBut(parts) => counted.books.bookkeeping(*parts),
        Verdict::Different(found) => counted.books.differences(found),
        _ => {}
    }
    if outcome.is_finding() {
        shared.watcher.key(&KeyEvent {
            input: shared.input,
            ordinal: entry.ordinal,
            offset: entry.offset,
            db: entry.db,
            key: &entry.key.preview(4096),
            type_name: entry.value_type.name(entry.dialect),
            outcome,
            verdict,
        });
    }
    Ok(())
}
