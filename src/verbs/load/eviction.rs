//! Keys that the destination evicts are lost behind `+OK`: its counter is read before, at intervals and after.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::again::failed_over;
use super::shards::{Shard, Shards};
use super::standing::{Standing, Told};
use super::stop::{Stop, Why};
use super::{Watcher, growth, lag};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Cover, Recorder};
use crate::pace::Pace;
use crate::resp::{Arg, Connection};

/// How often the counter is read.
const EVERY: Duration = Duration::from_millis(100);

/// How often it is asked what the destination keeps, and the journal is written.
const SETTLE_EVERY: Duration = Duration::from_secs(2);

/// How often the end of the run is looked for.
const NAP: Duration = Duration::from_millis(20);

/// The counter, `None` where the destination hides it.
pub(super) fn evicted_keys(connection: &mut Connection) -> Result<Option<u64>> {
    let reply = connection.request(&[Arg::from("INFO"), Arg::from("stats")])?;
    Ok(reply.text().and_then(|text| {
        text.split(|b| *b == b'\n')
            .find_map(|line| line.strip_prefix(b"evicted_keys:"))
            .and_then(|number| std::str::from_utf8(number).ok()?.trim().parse().ok())
    }))
}

/// A shard, and the connection to it, once there is one.
type Watched<'run> = (&'run Shard, Option<Connection>);

fn open<'c>((shard, connection): &'c mut Watched<'_>) -> Result<&'c mut Connection> {
    Ok(match connection {
        Some(open) => open,
        None => connection.insert(shard.connector.connect()?),
    })
}

/// What a watch over the counter found.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Keys evicted since the run began.
    pub(super) grown: AtomicU64,
    /// The counter could not be read at least once: what was evicted then is not known.
    pub(super) blind: AtomicBool,
}

/// What a watch needs to know.
pub(super) struct Run<'run> {
    pub(super) shards: &'run Shards,
    /// The counter before the first write; `None` where it is hidden.
    pub(super) before: Option<u64>,
    pub(super) allowed: bool,
    pub(super) lookback: Duration,
    pub(super) recorder: &'run Recorder,
    pub(super) stop: &'run Stop,
    pub(super) done: &'run AtomicBool,
    /// Replicas may be so many bytes behind; `None`: as far as they like.
    pub(super) most_lag: Option<u64>,
    pub(super) lag: &'run lag::Watch,
    pub(super) growth: &'run growth::Growth,
    pub(super) pace: &'run Pace,
    pub(super) watcher: &'run dyn Watcher,
}

impl Watch {
    /// Watches until the pass is done: stops it where keys are evicted and that is not allowed, and asks now and then what
    /// the destination keeps for sure, which goes into the journal.
    pub(super) fn run(&self, run: &Run<'_>) {
        let shards = run.shards.list().iter();
        let mut connections: Vec<Watched<'_>> = shards.map(|shard| (shard, None)).collect();
        let (mut counted, mut settled) = (Instant::now(), Instant::now());
        let mut silent = false;
        loop {
            let done = run.done.load(Ordering::Acquire);
            // Of a pass that ended for want of memory it is to be known whether waiting helps.
            if !silent && (!done || run.stop.is_set()) && run.growth.is_due() {
                silent = self.judge_growth(run, &mut connections).is_err();
                if silent {
                    run.lag.let_go(run.pace);
                }
            }
            if done {
                break;
            }
            std::thread::sleep(NAP);
            if settled.elapsed() >= SETTLE_EVERY {
                settled = Instant::now();
                self.settle(run, &mut connections, &mut silent);
            }
            if let Some(limit) = run.most_lag.filter(|_| !silent)
                && run.lag.is_due()
            {
                let open = connections.iter_mut().map(open).collect::<Result<Vec<_>>>();
                let looked = open.and_then(|open| run.lag.look(open, limit, run.pace, run.watcher));
                if looked.is_err() {
                    run.lag.let_go(run.pace);
                    silent = true;
                }
            }
            let Some(before) = run.before.filter(|_| !silent) else {
                continue;
            };
            if counted.elapsed() < EVERY {
                continue;
            }
            counted = Instant::now();
            // Not before: where the destination allows few connections, those that write come first.
            let mut found: Result<Option<u64>> = Ok(Some(0));
            for shard in &mut connections {
                found = found.and_then(|sum| {
                    let keys = open(shard).and_then(evicted_keys)?;
                    Ok(sum.zip(keys).map(|(sum, keys)| sum.saturating_add(keys)))
                });
            }
            match found {
                Ok(Some(now)) => self.judge(now, before, run.allowed, run.stop),
                Ok(None) => self.blind.store(true, Ordering::Relaxed),
                Err(_) => {
                    // The count at the end still tells, only later.
                    self.blind.store(true, Ordering::Relaxed);
                    run.lag.let_go(run.pace);
                    silent = true;
                }
            }
        }
        run.lag.let_go(run.pace);
    }

    /// Stops the pass where what is left to do cannot fit.
    fn judge_growth(&self, run: &Run<'_>, connections: &mut [Watched<'_>]) -> Result<()> {
        let mut shards = Vec::with_capacity(connections.len());
        for shard in connections {
            let name = shard.0.connector.address.to_string();
            shards.push((name, open(shard)?));
        }
        if let Some(error) = run.growth.judge(shards)? {
            run.stop.set(error);
        }
        Ok(())
    }

    fn settle(&self, run: &Run<'_>, connections: &mut [Watched<'_>], silent: &mut bool) {
        // First what is acknowledged, then how far the destination is: so it covers all of that.
        let acknowledged = run.recorder.acknowledged();
        let mut covers = Vec::with_capacity(connections.len());
        for shard in connections {
            covers.push(match *silent {
                true => Cover::Unknown,
                false => match open(shard).and_then(Standing::ask_whether) {
                    // What another process keeps says nothing of what this one acknowledged, and a master that became a
                    // replica is about to lose what its replicas do not have.
                    Ok(Told::Standing(standing)) if shard.0.fails_over(&standing) => {
                        // Where several servers answer behind one address, their names say nothing more than that.
                        if run.shards.is_cluster() {
                            let address = shard.0.connector.address.to_string();
                            run.stop.pause(failed_over(&address), Why::Lost);
                        }
                        Cover::Unknown
                    }
                    Ok(Told::Standing(standing)) => shard.0.cover(&standing, run.lookback),
                    Ok(Told::NotNow) => Cover::Unknown,
                    Ok(Told::Never) => Cover::After(run.lookback),
                    Err(_) => {
                        *silent = true;
                        run.lag.let_go(run.pace);
                        Cover::Unknown
                    }
                },
            });
        }
        if let Err(error) = run.recorder.settle(acknowledged, &covers) {
            run.stop.set(error);
        }
    }

    /// Takes in a value of the counter.
    pub(super) fn judge(&self, now: u64, before: u64, allowed: bool, stop: &Stop) {
        let grown = now.saturating_sub(before);
        self.grown.store(grown, Ordering::Relaxed);
        if grown > 0 && !allowed && !stop.is_set() {
            stop.set(evicts(grown));
        }
    }
}

/// Why a load does not count as done where keys were evicted.
pub(super) fn evicts(grown: u64) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the destination evicted {grown} key{} since the load began: keys are lost behind its OK", if grown == 1 { "" } else { "s" }),
    )
    .with_hint("give it more memory or the policy noeviction, then start with an empty one; --allow-eviction goes on all the same")
}
