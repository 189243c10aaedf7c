//! What `load` says before it writes and while it does.

use std::sync::Arc;

use rdbridge::Result;
use rdbridge::error::Escaped;
use rdbridge::input::Input;
use rdbridge::resp::Connector;
use rdbridge::target::Facts;
use rdbridge::verbs::load::{KeyEvent, Load, PauseEvent, Watcher};

use super::output::{Grouped, plural};
use super::plan::Run;
use super::progress::Lines;

/// A clock that is not ours decides when keys expire.
pub(super) fn say_clock(run: &Run, destination: &Facts) {
    let Some(ahead_ms) = destination.clock_ahead_ms else {
        return;
    };
    if ahead_ms.unsigned_abs() > 1000 {
        super::say(&format!(
            "the destination's clock is {:+.1} s from ours: {}",
            ahead_ms as f64 / 1000.0,
            match run.now_is_given {
                true => "what is expired is judged at the instant that was given",
                false => "what is expired is judged by that one",
            }
        ));
    }
}

pub(super) fn say_destination(run: &Run, connector: &Connector, load: &Load) {
    let facts = load.facts();
    let keys = match facts.total_keys() {
        Some(0) => ", empty".to_owned(),
        Some(keys) => format!(", holds {} already", plural(keys, "key")),
        None => ", does not say how many keys it holds".to_owned(),
    };
    let shards = match load.shards() {
        1 => String::new(),
        many => format!(", a cluster of {many} shards"),
    };
    let line = format!(
        "destination {}: {}{shards}{keys}",
        connector.address,
        facts.name()
    );
    // That somebody's keys are there is worth a line whatever was asked for.
    if facts.total_keys() == Some(0) {
        run.note(&line);
    } else {
        super::say(&line);
    }
    for (command, words, instead) in closed(facts) {
        super::say(&format!("{command} is closed to us ({words}): {instead}"));
    }
    if facts.may_evict().is_none() {
        run.note("the destination does not say whether it evicts keys");
    }
}

/// Commands that a load would like to ask and may not, each once, with the server's words and what stands in for it.
fn closed(facts: &Facts) -> Vec<(&'static str, &str, &'static str)> {
    const INSTEAD: [(&str, &str); 4] = [
        (
            "INFO",
            "evictions, replicas and memory are not watched, and after a failover what is older than --failover-lookback counts as kept",
        ),
        (
            "CONFIG GET",
            "the number of databases is learned by SELECT, the largest argument from refusals, and whether keys are evicted from INFO",
        ),
        (
            "TIME",
            "expiries are judged by the clock of this machine alone",
        ),
        (
            "HELLO",
            "product and version come from INFO, or from what RESTORE takes",
        ),
    ];
    let mut list = Vec::new();
    for (command, instead) in INSTEAD {
        let found = facts.closed.iter().find(|closed| {
            let denied = closed.words.trim_start_matches('"').starts_with("NOPERM");
            denied && closed.command.starts_with(command)
        });
        list.extend(found.map(|closed| (command, closed.words.as_str(), instead)));
    }
    list
}

/// Tells which keys did not arrive.
pub(super) struct Teller {
    pub(super) lines: Lines,
    pub(super) names: Vec<String>,
    /// What is read, with its number, while it is.
    pub(super) input: Option<(u32, Arc<Input>)>,
}

impl Watcher for Teller {
    fn key(&self, event: &KeyEvent<'_>) {
        let input = match self.names.as_slice() {
            [_one] => String::new(),
            names => {
                let name = usize::try_from(event.input).ok().and_then(|i| names.get(i));
                format!("{}: ", name.map_or("", String::as_str))
            }
        };
        let reason = match event.reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        self.lines.say(&format!(
            "{input}offset {}: {} in db {}: {}{reason}",
            event.offset,
            Escaped(event.key),
            event.db,
            event.outcome.label(),
        ));
    }

    fn pause(&self, event: &PauseEvent<'_>) {
        self.lines.say(&format!(
            "{}; waiting {:.1} s before try {} since a key got through (for {:.0} s more)",
            event.reason.what(),
            event.wait.as_secs_f64(),
            Grouped(event.attempt.into()),
            event.left.as_secs_f64()
        ));
    }

    fn input_changed(&self, input: u32) -> Result<Option<String>> {
        let open = self.input.as_ref().filter(|(number, _)| *number == input);
        let Some((_, open)) = open else {
            return Ok(None);
        };
        let change = open.changed_since_open()?;
        Ok(change.map(|change| change.to_string()))
    }

    fn note(&self, text: &str) {
        self.lines.say(text);
    }

    fn restarted(&self, entries: u64) {
        self.lines.say(&restarted(entries));
    }
}

/// Tells what happens before the first pass.
pub(super) struct Notes;

impl Watcher for Notes {
    fn key(&self, _event: &KeyEvent<'_>) {}

    fn note(&self, text: &str) {
        super::say(text);
    }

    fn restarted(&self, entries: u64) {
        super::say(&restarted(entries));
    }
}

fn restarted(entries: u64) -> String {
    format!(
        "the destination failed over or was started again: {} that it may have lost {} looked up again",
        plural(entries, "key"),
        if entries == 1 { "is" } else { "are" }
    )
}
