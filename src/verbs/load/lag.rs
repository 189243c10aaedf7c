//! How far the destination's replicas are behind. One that is outrun is cut off and begins anew with a full copy, again and
//! again: so nothing is sent while one is too far behind.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Watcher;
use super::standing::Standing;
use crate::error::Result;
use crate::pace::Pace;
use crate::resp::{Arg, Connection};

/// How often it is asked where there are replicas.
const EVERY: Duration = Duration::from_millis(100);

/// How often where there are none: one may come.
const SELDOM: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The largest lag, bytes; `None` where there was no replica.
    pub(super) largest: Option<u64>,
    /// The longest time for which nothing was sent because of it.
    pub(super) longest: Duration,
}

/// The replicas of all shards.
#[derive(Debug, Clone, Copy, Default)]
struct Replicas {
    /// How many there are.
    connected: Option<u64>,
    /// Full copies that were made for them.
    full_syncs: Option<u64>,
    /// How many bytes the last one is behind its master.
    lag: Option<u64>,
}

impl Replicas {
    fn add(&mut self, shard: &Standing, full_syncs: Option<u64>) {
        let sum = |all: Option<u64>, more: Option<u64>| match (all, more) {
            (Some(all), Some(more)) => Some(all.saturating_add(more)),
            (all, more) => all.or(more),
        };
        self.connected = sum(self.connected, shard.connected);
        self.full_syncs = sum(self.full_syncs, full_syncs);
        let covered = shard.replicas.iter().min().copied();
        let lag = shard.offset.zip(covered);
        self.lag = self
            .lag
            .max(lag.map(|(all, covered)| all.saturating_sub(covered)));
    }
}

/// Watches over the lag.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    asked: Option<Instant>,
    connected: Option<u64>,
    full_syncs: Option<u64>,
    held_since: Option<Instant>,
    said: bool,
}

impl Watch {
    /// Whether it is time to ask.
    pub(super) fn is_due(&self) -> bool {
        let Ok(state) = self.0.lock() else {
            return false;
        };
        let every = match state.connected {
            Some(1..) => EVERY,
            _ => SELDOM,
        };
        state.asked.is_none_or(|asked| asked.elapsed() >= every)
    }

    /// Asks each shard, and holds or lets go.
    ///
    /// # Errors
    /// A connection fails: nothing is to be held back then.
    pub(super) fn look<'c>(
        &self,
        connections: impl IntoIterator<Item = &'c mut Connection>,
        limit: u64,
        pace: &Pace,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let mut replicas = Replicas::default();
        for connection in connections {
            let mut ask =
                |section| Standing::ask_about(connection, &[Arg::from("INFO"), Arg::from(section)]);
            let replication = ask("replication")?.unwrap_or_default();
            replicas.add(&replication, ask("stats")?.unwrap_or_default().full_syncs);
        }
        self.judge(replicas, limit, pace, watcher);
        Ok(())
    }

    fn judge(&self, now: Replicas, limit: u64, pace: &Pace, watcher: &dyn Watcher) {
        let Ok(mut state) = self.0.lock() else {
            return;
        };
        state.asked = Some(Instant::now());
        if let (Some(before), Some(now)) = (state.connected, now.connected)
            && before != now
        {
            watcher.note(&format!(
                "the destination has {now} connected replica{} now, it had {before}",
                if now == 1 { "" } else { "s" }
            ));
        }
        if let (Some(before), Some(now)) = (state.full_syncs, now.full_syncs)
            && before < now
        {
            watcher.note("a replica of the destination begins anew with a full copy");
        }
        state.connected = now.connected.or(state.connected);
        state.full_syncs = now.full_syncs.or(state.full_syncs);
        state.seen.largest = state.seen.largest.max(now.lag);
        if let Some(lag) = now.lag.filter(|lag| *lag > limit) {
            state.held_since.get_or_insert_with(Instant::now);
            pace.hold(true);
            if !std::mem::replace(&mut state.said, true) {
                watcher.note(&format!(
                    "a replica of the destination is {lag} bytes behind: nothing is sent while that is more than {limit} (--max-replica-lag)",
                ));
            }
        } else {
            release(&mut state, pace);
        }
    }

    /// Holds nothing back any more.
    pub(super) fn let_go(&self, pace: &Pace) {
        if let Ok(mut state) = self.0.lock() {
            release(&mut state, pace);
        }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.0.lock().map(|state| state.seen).unwrap_or_default()
    }
}

fn release(state: &mut State, pace: &Pace) {
    if let Some(since) = state.held_since.take() {
        state.seen.longest = state.seen.longest.max(since.elapsed());
    }
    pace.hold(false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Rates;
    use crate::verbs::load::KeyEvent;

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl Watcher for Said {
        fn key(&self, _: &KeyEvent<'_>) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn a_replica_that_is_far_behind_holds_the_load_and_is_said_once() {
        let (watch, said) = (Watch::default(), Said::default());
        let pace = Pace::new(Rates::default());
        let at = |offset, replicas: &[u64], syncs| {
            let standing = Standing {
                replicas: replicas.to_vec(),
                connected: Some(replicas.len() as u64),
                offset: Some(offset),
                ..Standing::default()
            };
            let mut replicas = Replicas::default();
            // A shard without any.
            replicas.add(&Standing::default(), None);
            replicas.add(&standing, Some(syncs));
            watch.judge(replicas, 100, &pace, &said);
            pace.is_held()
        };
        assert!(!at(1000, &[950, 900], 2));
        assert!(at(1001, &[1000, 900], 2));
        assert!(at(5000, &[1000, 900], 2));
        assert!(!at(5000, &[5000, 4990], 2));
        assert!(at(9000, &[5000, 4990], 2));
        assert!(!at(9000, &[9000], 3), "one that is gone holds nothing back");
        let words = said.0.into_inner().unwrap();
        assert_eq!(words.len(), 3, "{words:?}");
        assert!(words[0].contains("101 bytes behind"), "{words:?}");
        assert!(words[1].contains("1 connected replica now, it had 2"));
        assert!(words[2].contains("full copy"));
        assert_eq!(watch.seen().largest, Some(4100));
    }
}
