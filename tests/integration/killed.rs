//! Processes and servers that are killed in the midst of a load, journals that are finished in part, and what goes wrong with
//! journals and ledgers later than at their beginning.

use std::sync::Mutex;
use std::time::Duration;

use rdbridge::pace::Rates;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{KeyEvent, Load, OnConflict, Options, Watcher, survey};

use super::resume::{
    AHEAD, Histogram, KEYS, counts, dump, dump_of, holds, is_long, prepare, stored, there, traffic,
    wanted,
};
use super::support::command::Dir;
use super::support::journaled::{Command, wait_until};
use super::support::loading::{connector, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::random::Random;
use super::support::say_aloud;
use super::support::server::Server;

/// A journal that is written all the time: most of what was done is in it.
fn journaled<'a>(more: &[&'a str], ahead: &'a str) -> Vec<&'a str> {
    let often = ["--journal-ahead", ahead, "--journal-every", "20"];
    more.iter().copied().chain(often).collect()
}

/// The next run goes on from a journal that is finished in part, with what was under way in doubt.
#[test]
fn killed_anywhere_and_started_again_it_comes_to_the_same() {
    let server = Server::start("redis-7.0");
    let (dir, data) = (Dir::new(), dump());
    let whole = dir.file("dump.rdb", &data);
    let halves = [
        dir.file("one.rdb", dump_of(0..KEYS / 2)),
        dir.file("two.rdb", dump_of(KEYS / 2..KEYS)),
    ];
    let (commands, replies) = traffic(&server, &data, false);
    let places = if is_long() { 200 } else { 24 };
    let (mut histogram, mut in_part) = (Histogram::new(), 0);
    let ahead = AHEAD.to_string();
    for n in 0..places {
        let (name, on_conflict, code) = [
            ("fail", OnConflict::Fail, 1),
            ("skip", OnConflict::Skip, 0),
            ("replace", OnConflict::Replace, 0),
            ("same", OnConflict::Same, 1),
        ][n % 4];
        let mut random = Random::new(7, "kills", n as u64);
        // Spread evenly, and shaken a little.
        let mut place = |of: u64| {
            let step = of * 9 / 10 / places as u64;
            of / 20 + n as u64 * step + random.number() % step
        };
        let of_replies = n / 4 % 2 == 1;
        let (place, of) = match of_replies {
            false => (place(commands), commands),
            true => (place(replies), replies),
        };
        let fault = |place| match of_replies {
            false => Fault::StallCommands(place),
            true => Fault::Stall(place),
        };
        // One connection, several of them, and several inputs, each of which has a connection of its own.
        let (files, connections, faults) = match n % 3 {
            0 => (vec![whole.as_str()], "1", vec![fault(place)]),
            1 => (vec![whole.as_str()], "3", vec![fault(place / 3); 3]),
            _ => (
                halves.iter().map(String::as_str).collect(),
                "1",
                match place.checked_sub(of / 2) {
                    None => vec![fault(place)],
                    Some(behind) => vec![Fault::None, fault(behind.max(of / 40))],
                },
            ),
        };
        let case = format!("killed at {faults:?}, {name}");
        prepare(&server);
        let proxy = Proxy::sequence(server.port(), On::Data, faults);
        let more = ["--on-conflict", name, "--connections", connections];
        let command = Command::of(&files, &proxy.url(), "20s", &journaled(&more, &ahead));
        let mut child = command.start();
        wait_until(&case, || proxy.fired() > 0);
        child.kill().expect("killed");
        child.wait().expect("ended");
        histogram.add(there(server.port()), wanted(on_conflict));
        let finished = command.finished();
        in_part += usize::from((1..KEYS).contains(&finished));
        let ran = command.run(&[]);
        assert_eq!(ran.code, code, "{case}: {ran:?}");
        let words = format!("{} of 2,000 keys finished", grouped(finished));
        assert!(ran.stderr.contains(&words), "{case}: {ran:?}");
        holds(&server, on_conflict, &case);
        let told = ran.json();
        assert_eq!(told["adds_up"], true, "{case}");
        assert_eq!(told["entries"], KEYS, "{case}");
        assert_eq!(told["runs"], 2, "{case}");
        let outcome = |name: &str| told["outcomes"][name].as_u64().expect("a count");
        assert_eq!(
            outcome("restored_raw"),
            wanted(on_conflict),
            "{case}: {told}"
        );
        let kept = outcome("existing") + outcome("conflict");
        assert_eq!(kept, KEYS - wanted(on_conflict), "{case}: {told}");
        assert_eq!(
            outcome("uncertain") + outcome("not_reached"),
            0,
            "{case}: {told}"
        );
    }
    histogram.is_fair("processes killed");
    say_aloud(&format!(
        "processes killed: {in_part} of {places} journals were finished in part"
    ));
    assert!(in_part * 10 >= places * 8, "too few journals in part");
}

/// As lines of the program show numbers of this size.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

/// Counts what is looked up again.
#[derive(Default)]
struct Restarts(Mutex<Vec<u64>>);

impl Watcher for Restarts {
    fn key(&self, _: &KeyEvent<'_>) {}

    fn restarted(&self, entries: u64) {
        self.0.lock().expect("not poisoned").push(entries);
    }
}

/// Without an append-only file a server comes back with its last snapshot: what was acknowledged some seconds before that is
/// believed, and everything since comes again.
#[test]
fn a_server_that_comes_back_with_its_snapshot_gets_what_came_since() {
    let (first, data) = (Server::start("redis-7.0"), dump());
    prepare(&first);
    let proxy = Proxy::start(first.port(), On::Data, Fault::None);
    let told = Restarts::default();
    let (report, second, saved) = std::thread::scope(|scope| {
        let (url, data, told) = (proxy.url(), &data, &told);
        let loading = scope.spawn(move || {
            let snapshot = Snapshot::parse(data).expect("a dump");
            let options = Options {
                ahead: AHEAD,
                settle_every: Duration::from_millis(100),
                retry_for: Duration::from_secs(30),
                rates: Rates {
                    keys: Some(280),
                    ..Rates::default()
                },
                ..options()
            };
            let now = options.policies.now_ms;
            let all = &mut Selection::all();
            let survey = survey(&snapshot, all, now, &mut |_| Ok(())).expect("sound");
            let surveys = std::slice::from_ref(&survey);
            let mut load = Load::begin(connector(&url), surveys, options).expect("begins");
            loop {
                load.replay(0, &snapshot, &survey, all, told, &mut |_| Ok(()))
                    .expect("a selection that can be asked");
                if !load.again(told, &mut |_| Ok(())) {
                    return load.finish();
                }
            }
        });
        // A snapshot is taken to hold what was acknowledged three seconds before.
        wait_until("most keys come", || there(first.port()) > KEYS * 7 / 10);
        first.run("SAVE");
        wait_until("more keys come", || there(first.port()) > KEYS * 8 / 10);
        let _ = std::process::Command::new("kill")
            .args(["-9", &first.pid().to_string()])
            .status();
        let file = first.dir().join("dump.rdb");
        let second = Server::setup("redis-7.0").with_rdb(file).start();
        let saved = there(second.port());
        proxy.move_to(second.port());
        let report = loading.join().expect("the load ends");
        (report, second, saved)
    });
    assert!((KEYS * 7 / 10..KEYS * 8 / 10).contains(&saved), "{saved}");
    holds(&second, OnConflict::Fail, "a snapshot");
    counts(&report, OnConflict::Fail, "a snapshot");
    let again = told.0.into_inner().expect("not poisoned");
    let again: u64 = again.iter().sum();
    let acknowledged = KEYS * 8 / 10;
    assert!(
        (acknowledged - saved..acknowledged).contains(&again),
        "{again} are looked up again, of {acknowledged} that were acknowledged and {saved} that were saved"
    );
    let sent = stored(&second);
    assert!(
        (wanted(OnConflict::Fail) - saved..KEYS * 6 / 10).contains(&sent),
        "{sent} were sent to the second server"
    );
}

/// What the destination was known to keep is gone: that is no restart.
#[test]
fn a_destination_with_fewer_keys_than_it_kept_for_sure_stops_the_load_with_both_numbers() {
    let server = Server::setup("redis-7.0")
        .with("appendonly", ["yes"])
        .start();
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let proxy = Proxy::sequence(server.port(), On::Data, vec![Fault::CutReplies(KEYS * 3)]);
    let ahead = AHEAD.to_string();
    let more = journaled(&["--failover-lookback", "0"], &ahead);
    let command = Command::hasty(&file, &proxy.url(), &more);
    command.run(&[]).ends_with(4);
    let settled = &command.status()["settled"]["outcomes"]["restored_raw"];
    let settled = settled.as_u64().expect("a count");
    assert!((1..KEYS).contains(&settled), "{settled}");
    server.run("FLUSHALL");
    server.run("SET other key");
    let again = command.run(&[]);
    assert_eq!(again.code, 4, "{again:?}");
    for words in [
        format!("the destination holds 1 key, and {settled} were restored and kept"),
        "begin anew with --restart".to_owned(),
    ] {
        assert!(again.stderr.contains(&words), "{words}: {again:?}");
    }
    assert_eq!(there(server.port()), 0, "nothing was sent");
    command.run(&["--restart"]).ends_with(0);
    assert_eq!(there(server.port()), KEYS);
}

/// The place of the journal goes bad while the load runs.
#[test]
fn a_journal_that_cannot_be_written_any_more_stops_the_load_and_nothing_is_lost() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    prepare(&server);
    let ahead = AHEAD.to_string();
    let more = journaled(&["--max-keys-per-sec", "1000"], &ahead);
    let command = Command::new(&file, &server.url(), &more);
    let (ran, in_the_way) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| command.run(&[]));
        wait_until("keys come", || there(server.port()) > KEYS / 5);
        let mut part = command.journal().into_os_string();
        part.push(".part");
        // It is a file for an instant now and then.
        wait_until("it is in the way", || std::fs::create_dir(&part).is_ok());
        (loading.join().expect("the load ends"), part)
    });
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("cannot be written"), "{ran:?}");
    let new = there(server.port());
    assert!(new < wanted(OnConflict::Fail), "{ran:?}");
    std::fs::remove_dir(in_the_way).expect("out of the way");
    let again = command.run(&[]).ends_with(1).json();
    assert_eq!(
        again["outcomes"]["restored_raw"],
        wanted(OnConflict::Fail),
        "{again}"
    );
    assert_eq!(again["outcomes"]["conflict"], KEYS / 10, "{again}");
    holds(&server, OnConflict::Fail, "a journal that went bad");
}

/// Lines that were counted are gone: they would be missing for ever.
#[test]
fn a_ledger_that_is_shorter_than_its_journal_says_is_refused() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let ledger = dir.path().join("failures.ndjson");
    prepare(&server);
    let proxy = Proxy::sequence(server.port(), On::Data, vec![Fault::CutReplies(KEYS * 4)]);
    let ahead = AHEAD.to_string();
    let more = journaled(&["--failures", ledger.to_str().expect("text")], &ahead);
    let command = Command::hasty(&file, &proxy.url(), &more);
    command.run(&[]).ends_with(4);
    let whole = std::fs::read(&ledger).expect("a ledger");
    let lines = whole.split(|byte| *byte == b'\n').count() - 1;
    assert!((1..200).contains(&lines), "{lines}");
    let last = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n');
    let short = last.map_or(0, |newline| newline + 1);
    let before = there(server.port());
    for length in [short, 0] {
        std::fs::write(&ledger, &whole[..length]).expect("written");
        let ran = command.run(&[]);
        assert_eq!(ran.code, 2, "{ran:?}");
        let words = format!("has {length} bytes, and the journal says that");
        assert!(ran.stderr.contains(&words), "{ran:?}");
        assert_eq!(there(server.port()), before, "nothing was sent");
    }
    std::fs::write(&ledger, &whole).expect("written");
    command.run(&[]).ends_with(1);
    let text = std::fs::read_to_string(&ledger).expect("a ledger");
    assert_eq!(text.lines().count() as u64, KEYS / 10);
    holds(&server, OnConflict::Fail, "a ledger that was put back");
}
