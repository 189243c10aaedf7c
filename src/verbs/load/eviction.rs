//! Keys that the destination evicts are lost behind `+OK`: its counter is read before, at intervals and after.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::again::failed_over;
use super::links::Links;
use super::shards::Shards;
use super::standing::{Standing, Told};
use super::stop::{Stop, Why};
use super::suspect::InputWatch;
use super::{Watcher, growth, lag};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Cover, Recorder};
use crate::pace::Pace;
use crate::resp::{Arg, Connection};

/// How often the counter is read.
const EVERY: Duration = Duration::from_millis(100);

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
    pub(super) settle_every: Duration,
    pub(super) recorder: &'run Recorder,
    pub(super) stop: &'run Stop,
    pub(super) done: &'run AtomicBool,
    /// Replicas may be so many bytes behind; `None`: as far as they like.
    pub(super) most_lag: Option<u64>,
    /// A pass that sends nothing because it cannot see the replicas ends after so long: the next one asks everything anew.
    pub(super) longest_blind: Duration,
    pub(super) lag: &'run lag::Watch,
    pub(super) growth: &'run growth::Growth,
    pub(super) pace: &'run Pace,
    pub(super) watcher: &'run dyn Watcher,
    pub(super) input: &'run InputWatch<'run>,
}

impl Watch {
    /// Watches until the pass is done: stops it where keys are evicted and that is not allowed, holds it while replicas are
    /// behind, and asks now and then what the destination keeps for sure, which goes into the journal.
    pub(super) fn run(&self, run: &Run<'_>) {
        let mut links = Links::to(run.shards);
        let (mut counted, mut settled) = (Instant::now(), Instant::now());
        let mut checked = Instant::now();
        loop {
            let done = run.done.load(Ordering::Acquire);
            // Of a pass that ended for want of memory it is to be known whether waiting helps.
            if links.may_ask() && (!done || run.stop.is_set()) && run.growth.is_due() {
                let judged = judge_growth(run, &mut links);
                self.answered(run, &mut links, judged);
            }
            if done {
                break;
            }
            std::thread::sleep(NAP);
            if checked.elapsed() >= EVERY {
                checked = Instant::now();
                run.input.check(run.stop);
            }
            if settled.elapsed() >= run.settle_every {
                settled = Instant::now();
                self.settle(run, &mut links);
            }
            if let Some(limit) = run.most_lag
                && links.may_ask()
                && run.lag.is_due()
            {
                let looked = run.lag.look(&mut links, limit, run.pace, run.watcher);
                self.answered(run, &mut links, looked);
            }
            if let Some(before) = run.before
                && links.may_ask()
                && counted.elapsed() >= EVERY
            {
                counted = Instant::now();
                let judged = self.count(run, &mut links, before);
                self.answered(run, &mut links, judged);
            }
        }
    }

    /// Takes in whether a question to all shards was answered. Where it was not, it will be asked again over new connections;
    /// meanwhile nothing is known.
    fn answered(&self, run: &Run<'_>, links: &mut Links<'_>, asked: Result<()>) {
        let Err(error) = asked else {
            if links.answered() > 0 {
                run.lag.say_lost(run.watcher, "it is open again");
            }
            return;
        };
        self.blind.store(true, Ordering::Relaxed);
        let (tries, lost_for) = links.failed();
        let held = run.most_lag.is_some() && run.lag.blind(run.pace);
        if run.stop.is_set() || run.done.load(Ordering::Acquire) {
            return;
        }
        if tries > 1 {
            let meanwhile = match held {
                true => "nothing is sent until it is open again",
                false => "evictions and replicas (--max-replica-lag) are not seen until it is open",
            };
            run.lag
                .say_lost(run.watcher, &format!("{meanwhile} ({})", error.what()));
        }
        if held && lost_for >= run.longest_blind {
            run.stop.pause(error, Why::Lost);
        }
    }

    /// Reads the counter of each shard.
    fn count(&self, run: &Run<'_>, links: &mut Links<'_>, before: u64) -> Result<()> {
        let mut sum = Some(0u64);
        // Not before: where the destination allows few connections, those that write come first.
        for link in links.each() {
            let keys = evicted_keys(link.open()?)?;
            sum = sum.zip(keys).map(|(sum, keys)| sum.saturating_add(keys));
        }
        self.blind.store(sum.is_none(), Ordering::Relaxed);
        if let Some(now) = sum {
            self.judge(now, before, run.allowed, run.stop);
        }
        Ok(())
    }

    fn settle(&self, run: &Run<'_>, links: &mut Links<'_>) {
        // What is read of a changed input is not to be settled.
        if !run.input.check(run.stop) {
            return;
        }
        // First what is acknowledged, then how far the destination is: so it covers all of that.
        let acknowledged = run.recorder.acknowledged();
        let (mut covers, mut asked) = (Vec::new(), Ok(()));
        let may_ask = links.may_ask();
        for link in links.each() {
            if !may_ask {
                covers.push(Cover::Unknown);
                continue;
            }
            let shard = link.shard;
            covers.push(match link.open().and_then(Standing::ask_whether) {
                // What another process keeps says nothing of what this one acknowledged, and a master that became a replica
                // is about to lose what its replicas do not have.
                Ok(Told::Standing(standing)) if shard.fails_over(&standing) => {
                    // Where several servers answer behind one address, their names say nothing more than that.
                    if run.shards.is_cluster() {
                        let address = shard.connector.address.to_string();
                        run.stop.pause(failed_over(&address), Why::Lost);
                    }
                    Cover::Unknown
                }
                Ok(Told::Standing(standing)) => shard.cover(&standing, run.lookback),
                Ok(Told::NotNow) => Cover::Unknown,
                Ok(Told::Never) => Cover::After(run.lookback),
                Err(error) => {
                    asked = Err(error);
                    Cover::Unknown
                }
            });
        }
        if may_ask {
            self.answered(run, links, asked);
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

/// Stops the pass where what is left to do cannot fit.
fn judge_growth(run: &Run<'_>, links: &mut Links<'_>) -> Result<()> {
    let mut shards = Vec::new();
    for link in links.each() {
        let name = link.shard.connector.address.to_string();
        shards.push((name, link.open()?));
    }
    if let Some(error) = run.growth.judge(shards)? {
        run.stop.set(error);
    }
    Ok(())
}

/// Why a load does not count as done where keys were evicted.
pub(super) fn evicts(grown: u64) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the destination evicted {grown} key{} since the load began: keys are lost behind its OK", if grown == 1 { "" } else { "s" }),
    )
    .with_hint("give it more memory or the policy noeviction, then start with an empty one; --allow-eviction goes on all the same")
}
