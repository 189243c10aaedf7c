//! Loads through the library, with everything that was told on the way.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdbridge::outcome::{Outcome, Road};
use rdbridge::resp::Connector;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{KeyEvent, Load, Options, Report, Watcher, survey};

/// One entry that was listed.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) ordinal: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
}

#[derive(Debug, Default)]
struct Listed(Mutex<Vec<Event>>);

impl Watcher for Listed {
    fn key(&self, event: &KeyEvent<'_>) {
        self.0.lock().expect("not poisoned").push(Event {
            ordinal: event.ordinal,
            key: event.key.to_vec(),
            outcome: event.outcome,
            reason: event.reason.to_owned(),
        });
    }
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) report: Report,
    /// In file order.
    pub(crate) events: Vec<Event>,
}

impl Loaded {
    /// How many entries had this outcome.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.report.tally.get(outcome)
    }

    pub(crate) fn restored(&self) -> u64 {
        self.restored_raw()
            + self.count(Outcome::Restored(Road::Reencoded))
            + self.count(Outcome::Restored(Road::Commands))
    }

    pub(crate) fn restored_raw(&self) -> u64 {
        self.count(Outcome::Restored(Road::Raw))
    }

    /// The listed entries with this outcome.
    pub(crate) fn listed(&self, outcome: Outcome) -> Vec<&Event> {
        self.events
            .iter()
            .filter(|event| event.outcome == outcome)
            .collect()
    }

    /// Why it ended early, in words; empty if it did not.
    pub(crate) fn stopped(&self) -> String {
        self.report
            .stopped
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

/// Milliseconds of Unix time.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a time that fits")
}

/// Options of a load that starts now.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.policies.now_ms = now_ms();
    options
}

/// A connector to `url` that does not wait long for anything.
pub(crate) fn connector(url: &str) -> Connector {
    let mut connector = Connector::new(url.parse().expect("an address"));
    connector.options.connect_timeout = Duration::from_secs(10);
    connector.options.io_timeout = Duration::from_secs(60);
    connector
}

/// Loads everything that `data` holds. An error is one from before the first write.
pub(crate) fn load(url: &str, data: &[u8], options: Options) -> rdbridge::Result<Loaded> {
    load_some(connector(url), data, Selection::all, options)
}

/// The same for a part of it.
pub(crate) fn load_some(
    connector: Connector,
    data: &[u8],
    selection: impl Fn() -> Selection,
    options: Options,
) -> rdbridge::Result<Loaded> {
    let snapshot = Snapshot::parse(data)?;
    let survey = survey(
        &snapshot,
        &mut selection(),
        options.policies.now_ms,
        &mut |_| Ok(()),
    )?;
    let mut load = Load::begin(connector, std::slice::from_ref(&survey), options)?;
    load.walk(&snapshot, &mut selection(), &mut |_| Ok(()))?;
    let listed = Listed::default();
    load.replay(
        0,
        &snapshot,
        &survey,
        &mut selection(),
        &listed,
        &mut |_| Ok(()),
    )?;
    let report = load.finish();
    let mut events = listed.0.into_inner().expect("not poisoned");
    events.sort_by_key(|event| event.ordinal);
    assert!(
        report.adds_up(),
        "{} outcomes of {} entries: {:?}",
        report.tally.total(),
        report.entries,
        report.tally
    );
    // Whatever is no plain success is listed by name. (What a run that broke off takes back was listed as what it seemed.)
    if report.stopped.is_none() {
        for outcome in [
            Outcome::Refused,
            Outcome::Failed,
            Outcome::Uncertain,
            Outcome::NotReached,
        ] {
            let named = events
                .iter()
                .filter(|event| event.outcome == outcome)
                .count() as u64;
            assert_eq!(
                named,
                report.tally.get(outcome),
                "{outcome:?}: {:?}",
                report.tally
            );
        }
    }
    Ok(Loaded { report, events })
}
