//! How far the destination's replicas are behind. One that is outrun is cut off and begins anew with a full copy, again and
//! again: so nothing is sent while one is too far behind.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Watcher;
use super::links::Links;
use super::standing::Standing;
use crate::error::Result;
use crate::pace::Pace;
use crate::resp::Arg;

/// How often it is asked where there are replicas.
const EVERY: Duration = Duration::from_millis(100);

/// How often where there are none: one may come.
const SELDOM: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The largest lag, bytes; `None` where there was no replica.
    pub(super) largest: Option<u64>,
    /// The longest time for which nothing was sent because of it.
    pub(super) longest: Duration,
}

/// What one shard said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Its address.
    pub(super) shard: String,
    /// Its process: another one counts anew.
    pub(super) process: Option<String>,
    pub(super) standing: Standing,
    /// Full copies that it made for replicas.
    pub(super) full_syncs: Option<u64>,
}

/// What is known of a shard.
#[derive(Debug, Default)]
struct Known {
    process: Option<String>,
    full_syncs: Option<u64>,
    /// The length of its stream of changes when it was asked last.
    offset: Option<u64>,
    /// Replicas that were given a full copy when they were seen last, and how long the stream was when that began: what came
    /// since waits for them in the master's memory, and where that is too much they are cut off.
    copying: BTreeMap<String, u64>,
}

impl Known {
    /// Takes in what the shard says. Gives how many bytes its last replica is behind, and whether a full copy was begun.
    fn take(&mut self, said: &Said) -> (Option<u64>, bool) {
        if self.process != said.process {
            *self = Self {
                process: said.process.clone(),
                ..Self::default()
            };
        }
        let begun = self
            .full_syncs
            .zip(said.full_syncs)
            .is_some_and(|(before, now)| before < now);
        self.full_syncs = said.full_syncs.or(self.full_syncs);
        let Some(now) = said.standing.offset else {
            return (None, begun);
        };
        let replicas = &said.standing.replicas;
        let before = self.offset.replace(now).unwrap_or(now);
        let is_copied = |name: &str| {
            let mut those = replicas.iter().filter(|replica| replica.offset.is_none());
            those.any(|replica| replica.name == name)
        };
        // One that was copied and has not said yet what it has, has what it was copied at least.
        self.copying.retain(|name, began| {
            let mut those = replicas.iter().filter(|replica| &replica.name == name);
            is_copied(name) || those.any(|replica| replica.offset < Some(*began))
        });
        let lags = replicas.iter().map(|replica| {
            let covered = match replica.offset {
                Some(offset) => {
                    let copied = self.copying.get(&replica.name).copied();
                    offset.max(copied.unwrap_or(0))
                }
                // Since it was asked last, at the earliest.
                None => *self.copying.entry(replica.name.clone()).or_insert(before),
            };
            now.saturating_sub(covered)
        });
        (lags.max(), begun)
    }
}

/// Watches over the lag, for as long as a load takes.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    asked: Option<Instant>,
    shards: BTreeMap<String, Known>,
    connected: Option<u64>,
    held_since: Option<Instant>,
    said: bool,
    said_lost: bool,
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
    /// A connection fails: then nobody knows.
    pub(super) fn look(
        &self,
        links: &mut Links<'_>,
        limit: u64,
        pace: &Pace,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let mut all = Vec::new();
        for link in links.each() {
            let (shard, process) = (
                link.shard.connector.address.to_string(),
                link.shard.run_id.clone(),
            );
            let connection = link.open()?;
            let mut ask =
                |section| Standing::ask_about(connection, &[Arg::from("INFO"), Arg::from(section)]);
            all.push(Said {
                shard,
                process,
                standing: ask("replication")?.unwrap_or_default(),
                full_syncs: ask("stats")?.unwrap_or_default().full_syncs,
            });
        }
        self.judge(&all, limit, pace, watcher);
        Ok(())
    }

    fn judge(&self, all: &[Said], limit: u64, pace: &Pace, watcher: &dyn Watcher) {
        let Ok(mut state) = self.0.lock() else {
            return;
        };
        let state = &mut *state;
        state.asked = Some(Instant::now());
        let (mut connected, mut lag, mut copied) = (None::<u64>, None, false);
        for said in all {
            if let Some(more) = said.standing.connected {
                connected = Some(connected.unwrap_or(0).saturating_add(more));
            }
            let known = state.shards.entry(said.shard.clone()).or_default();
            let (behind, begun) = known.take(said);
            lag = lag.max(behind);
            copied |= begun;
        }
        if let (Some(before), Some(now)) = (state.connected, connected)
            && before != now
        {
            watcher.note(&format!(
                "the destination has {now} connected replica{} now, it had {before}",
                if now == 1 { "" } else { "s" }
            ));
        }
        if copied {
            watcher.note("a replica of the destination begins anew with a full copy");
        }
        state.connected = connected.or(state.connected);
        state.seen.largest = state.seen.largest.max(lag);
        let Some(lag) = lag.filter(|lag| *lag > limit) else {
            release(state, pace);
            return;
        };
        state.held_since.get_or_insert_with(Instant::now);
        pace.hold(true);
        if !std::mem::replace(&mut state.said, true) {
            watcher.note(&format!(
                "a replica of the destination is {lag} bytes behind: nothing is sent while that is more than {limit} (--max-replica-lag)",
            ));
        }
    }

    /// Nobody can be asked now: where there were replicas nothing is sent until they are seen again. Gives whether that is so.
    pub(super) fn blind(&self, pace: &Pace) -> bool {
        let Ok(mut state) = self.0.lock() else {
            return false;
        };
        if state.connected.unwrap_or(0) > 0 {
            state.held_since.get_or_insert_with(Instant::now);
            pace.hold(true);
        }
        state.held_since.is_some()
    }

    /// Says, once, that the connection to ask over is not there.
    pub(super) fn say_lost(&self, watcher: &dyn Watcher, what_then: &str) {
        let Ok(mut state) = self.0.lock() else {
            return;
        };
        if !std::mem::replace(&mut state.said_lost, true) {
            let what = match state.asked {
                Some(_) => "was lost",
                None => "cannot be opened",
            };
            watcher.note(&format!(
                "the connection that watches the destination's replicas and evictions {what}: {what_then}"
            ));
        }
    }

    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        let Ok(state) = self.0.lock() else {
            return Seen::default();
        };
        let held = state
            .held_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        Seen {
            longest: state.seen.longest.max(held),
            ..state.seen
        }
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
    use crate::verbs::load::standing::Replica;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Watcher for Notes {
        fn key(&self, _: &KeyEvent<'_>) {}
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    /// A master whose stream of changes is `offset` long, with replicas that have so much of it, or are given a full copy.
    fn master(offset: u64, replicas: &[Option<u64>], full_syncs: u64) -> Said {
        let replicas = replicas.iter().enumerate().map(|(n, offset)| Replica {
            name: n.to_string(),
            offset: *offset,
        });
        let replicas: Vec<Replica> = replicas.collect();
        Said {
            shard: "with".to_owned(),
            process: Some("p".to_owned()),
            standing: Standing {
                connected: Some(replicas.len() as u64),
                offset: Some(offset),
                replicas,
                ..Standing::default()
            },
            full_syncs: Some(full_syncs),
        }
    }

    struct Load {
        watch: Watch,
        notes: Notes,
        pace: Pace,
    }

    impl Load {
        fn new() -> Self {
            Self {
                watch: Watch::default(),
                notes: Notes::default(),
                pace: Pace::new(Rates::default()),
            }
        }

        /// Whether nothing is sent when one master says this, and another one nothing.
        fn is_held(&self, said: Said) -> bool {
            let without = Said {
                shard: "without".to_owned(),
                process: None,
                standing: Standing::default(),
                full_syncs: None,
            };
            self.watch
                .judge(&[without, said], 100, &self.pace, &self.notes);
            self.pace.is_held()
        }
    }

    #[test]
    fn a_replica_that_is_far_behind_holds_the_load_and_is_said_once() {
        let load = Load::new();
        let at = |offset, replicas: &[u64], syncs| {
            let replicas: Vec<_> = replicas.iter().copied().map(Some).collect();
            load.is_held(master(offset, &replicas, syncs))
        };
        assert!(!at(1000, &[950, 900], 2));
        assert!(at(1001, &[1000, 900], 2));
        assert!(at(5000, &[1000, 900], 2));
        assert!(!at(5000, &[5000, 4990], 2));
        assert!(at(9000, &[5000, 4990], 2));
        assert!(!at(9000, &[9000], 3), "one that is gone holds nothing back");
        let words = load.notes.0.into_inner().unwrap();
        assert_eq!(words.len(), 3, "{words:?}");
        assert!(words[0].contains("101 bytes behind"), "{words:?}");
        assert!(words[1].contains("1 connected replica now, it had 2"));
        assert!(words[2].contains("full copy"));
        assert_eq!(load.watch.seen().largest, Some(4100));
    }

    #[test]
    fn what_comes_while_a_replica_is_copied_counts_as_lag() {
        let load = Load::new();
        assert!(!load.is_held(master(1000, &[], 0)));
        // It came since; how much of what came since waits for it is not known.
        assert!(!load.is_held(master(1080, &[None], 1)));
        assert!(load.is_held(master(1101, &[None], 1)));
        assert!(!load.is_held(master(1101, &[Some(1090)], 1)));
        // It has not said yet what it has.
        let load = Load::new();
        assert!(!load.is_held(master(1000, &[None], 1)));
        assert!(!load.is_held(master(1050, &[Some(0)], 1)));
        assert!(load.is_held(master(1101, &[Some(0)], 1)));
        assert_eq!(load.watch.seen().largest, Some(101));
        // What it had of another process says nothing.
        let mut another = master(90_000, &[None], 0);
        another.process = Some("q".to_owned());
        assert!(!load.is_held(another));
    }

    #[test]
    fn a_load_that_cannot_see_replicas_waits_where_there_were_any() {
        let load = Load::new();
        assert!(!load.watch.blind(&load.pace), "there were none");
        assert!(!load.is_held(master(1000, &[Some(1000)], 0)));
        assert!(load.watch.blind(&load.pace));
        assert!(load.pace.is_held());
        assert!(!load.is_held(master(1000, &[Some(1000)], 0)));
    }
}
