//! A load that breaks off goes on: within the process, and in the next one from its journal. Faults are placed by progress.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdbridge::outcome::{Outcome, Road};
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{
    KeyEvent, Load, OnConflict, Options, PauseEvent, Report, Watcher, survey,
};
use redis::Value;

use super::support::command::{Dir, program, run_with};
use super::support::dump::{Crc, Dump, length, string};
use super::support::journaled::{Command, wait_until};
use super::support::loading::{connector, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::random::Random;
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

/// Keys of the dump. Several marks lie between them.
pub(super) const KEYS: u64 = 2000;

/// A day ahead of any run of this test.
const LATER: i64 = 4_000_000_000_000;

/// Whether the long form was asked for.
pub(super) fn is_long() -> bool {
    std::env::var_os("RDBRIDGE_LONG").is_some()
}

/// Strings and hashes, some with an expiry.
pub(super) fn dump() -> Vec<u8> {
    dump_of(0..KEYS)
}

/// A part of them.
pub(super) fn dump_of(keys: Range<u64>) -> Vec<u8> {
    keys.fold(Dump::redis(7).select_db(0), |dump, i| {
        let dump = if i % 7 == 0 {
            dump.expire_ms(LATER + i as i64)
        } else {
            dump
        };
        if i % 5 == 1 {
            let fields = [string("number"), string(i.to_string())].concat();
            dump.key(4, format!("k{i}"), [length(1), fields].concat())
        } else {
            dump.string_key(
                format!("k{i}"),
                format!("{i} {}", "v".repeat((i % 97) as usize)),
            )
        }
    })
    .finish(Crc::Right)
}

/// Every tenth key is there before, with another value.
fn existing(i: u64) -> bool {
    i.is_multiple_of(10)
}

/// Empties the server, and puts there what exists before.
pub(super) fn prepare(server: &Server) {
    let mut client = Client::connect(server.port());
    let words = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect();
    let set = (0..KEYS)
        .filter(|i| existing(*i))
        .map(|i| words(&["SET", &format!("k{i}"), "old"]));
    let all: Vec<_> = [words(&["FLUSHALL"])].into_iter().chain(set).collect();
    client.ask(&all);
}

/// The destination is what the policy says, key by key.
#[track_caller]
pub(super) fn holds(server: &Server, on_conflict: OnConflict, case: &str) {
    let mut client = Client::connect(server.port());
    let ask = |i: u64| {
        let key = format!("k{i}").into_bytes();
        let value = match i % 5 == 1 {
            true => vec![b"HGETALL".to_vec(), key.clone()],
            false => vec![b"GET".to_vec(), key.clone()],
        };
        [value, vec![b"PEXPIRETIME".to_vec(), key]]
    };
    let commands: Vec<_> = (0..KEYS).flat_map(ask).collect();
    let replies = client.ask(&commands);
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    for i in 0..KEYS {
        let (value, expiry) = (&replies[2 * i as usize], &replies[2 * i as usize + 1]);
        let old = existing(i) && on_conflict != OnConflict::Replace;
        let wanted = match (old, i % 5 == 1) {
            (true, _) => text("old"),
            (false, true) => Value::Array(vec![text("number"), text(&i.to_string())]),
            (false, false) => text(&format!("{i} {}", "v".repeat((i % 97) as usize))),
        };
        assert_eq!(*value, wanted, "{case}: k{i}");
        let expires = match !old && i % 7 == 0 {
            true => LATER + i as i64,
            false => -1,
        };
        assert_eq!(*expiry, Value::Int(expires), "{case}: k{i}");
    }
    let size = client.ask(&[vec![b"DBSIZE".to_vec()]]);
    assert_eq!(
        size,
        [Value::Int(KEYS as i64)],
        "{case}: nothing else is there"
    );
}

/// Keys of the dump that are there with new values.
pub(super) fn there(port: u16) -> u64 {
    let mut client = Client::connect(port);
    let ask: Vec<_> = (0..KEYS)
        .map(|i| match i % 5 == 1 {
            true => vec![
                b"HGET".to_vec(),
                format!("k{i}").into_bytes(),
                b"number".to_vec(),
            ],
            false => vec![b"GET".to_vec(), format!("k{i}").into_bytes()],
        })
        .collect();
    client
        .ask(&ask)
        .iter()
        .filter(|value| matches!(value, Value::BulkString(text) if text != b"old"))
        .count() as u64
}

/// The sums are those of a load that nothing disturbed.
#[track_caller]
pub(super) fn counts(report: &Report, on_conflict: OnConflict, case: &str) {
    let there = (0..KEYS).filter(|i| existing(*i)).count() as u64;
    let (restored, other) = match on_conflict {
        OnConflict::Replace => (KEYS, None),
        OnConflict::Skip => (KEYS - there, Some(Outcome::Existing)),
        _ => (KEYS - there, Some(Outcome::Conflict)),
    };
    assert!(report.adds_up(), "{case}: {report:?}");
    assert!(report.stopped.is_none(), "{case}: {report:?}");
    let all: u64 = report
        .tally
        .iter()
        .filter(|(outcome, _)| matches!(outcome, Outcome::Restored(_)))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(all, restored, "{case}: {:?}", report.tally);
    if let Some(other) = other {
        assert_eq!(report.tally.get(other), there, "{case}: {:?}", report.tally);
    }
}

#[derive(Default)]
struct Quiet;

impl Watcher for Quiet {
    fn key(&self, _: &KeyEvent<'_>) {}
    fn pause(&self, _: &PauseEvent<'_>) {}
}

/// How far it may be ahead of what is known to have arrived: faults are to meet it there.
pub(super) const AHEAD: u64 = 64;

/// A whole load through the library, as often as it takes.
pub(super) fn load(url: &str, data: &[u8], options: Options) -> Report {
    let snapshot = Snapshot::parse(data).expect("a dump");
    let now = options.policies.now_ms;
    let survey = survey(&snapshot, &mut Selection::all(), now, &mut |_| Ok(())).expect("sound");
    let mut connector = connector(url);
    connector.options.io_timeout = Duration::from_millis(700);
    let surveys = std::slice::from_ref(&survey);
    let mut load = Load::begin(connector, surveys, options).expect("begins");
    loop {
        load.replay(
            0,
            &snapshot,
            &survey,
            &mut Selection::all(),
            &Quiet,
            &mut |_| Ok(()),
        )
        .expect("a selection that can be asked");
        if !load.again(&Quiet, &mut |_| Ok(())) {
            return load.finish();
        }
    }
}

/// Bytes of commands and of replies of a load that nothing disturbs, by the policy that has the fewest.
pub(super) fn traffic(server: &Server, data: &[u8], verify: bool) -> (u64, u64) {
    let measure = |on_conflict| {
        prepare(server);
        let proxy = Proxy::start(server.port(), On::Data, Fault::None);
        let options = Options {
            on_conflict,
            verify,
            ahead: AHEAD,
            ..options()
        };
        load(&proxy.url(), data, options);
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (read(&proxy.traffic.commands), read(&proxy.traffic.replies))
    };
    let (fail, replace) = (measure(OnConflict::Fail), measure(OnConflict::Replace));
    (fail.0.min(replace.0), fail.1.min(replace.1))
}

/// How many faults hit at which tenth of the way: printed, and most of them in the midst of it.
pub(super) struct Histogram {
    tenths: [u32; 10],
    beside: u32,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            tenths: [0; 10],
            beside: 0,
        }
    }

    pub(super) fn add(&mut self, done: u64, of: u64) {
        match done {
            0 => self.beside += 1,
            done if done >= of => self.beside += 1,
            done => self.tenths[(done * 10 / of) as usize] += 1,
        }
    }

    #[track_caller]
    pub(super) fn is_fair(&self, what: &str) {
        let amidst: u32 = self.tenths.iter().sum();
        say_aloud(&format!(
            "{what}: {} places, by tenths of the way {:?}, {} before or behind",
            amidst + self.beside,
            self.tenths,
            self.beside
        ));
        assert!(
            amidst * 10 >= (amidst + self.beside) * 8,
            "{what}: too few faults hit in the midst"
        );
        assert!(
            self.tenths.iter().filter(|count| **count > 0).count() >= 7,
            "{what}: the faults stand too close together"
        );
    }
}

/// How many keys a policy puts in place.
pub(super) fn wanted(on_conflict: OnConflict) -> u64 {
    match on_conflict {
        OnConflict::Replace => KEYS,
        _ => (0..KEYS).filter(|i| !existing(*i)).count() as u64,
    }
}

/// Loads by the command through `proxy`, which ends the connection: it gives up at once, and the same command goes on.
fn by_command(file: &str, proxy: &Proxy, on_conflict: OnConflict, case: &str) {
    let policy = format!("{on_conflict:?}").to_lowercase();
    let ahead = AHEAD.to_string();
    let more = ["--on-conflict", &policy, "--journal-ahead", &ahead];
    let command = Command::hasty(file, &proxy.url(), &more);
    let restored = |told: &serde_json::Value| {
        let raw = told["outcomes"]["restored_raw"].as_u64();
        raw.unwrap_or_else(|| panic!("{case}: {told}"))
    };
    let first = command.run(&[]);
    assert_eq!(first.code, 4, "{case}: {first:?}");
    let first = first.json();
    assert_eq!(first["adds_up"], true, "{case}: {first}");
    assert_eq!(first["entries"], KEYS, "{case}: {first}");
    let second = command.run(&[]);
    let findings = i32::from(!matches!(
        on_conflict,
        OnConflict::Replace | OnConflict::Skip
    ));
    assert_eq!(second.code, findings, "{case}: {second:?}");
    let second = second.json();
    assert_eq!(second["adds_up"], true, "{case}: {second}");
    assert_eq!(second["runs"], 2, "{case}: {second}");
    assert_eq!(restored(&second), wanted(on_conflict), "{case}: {second}");
    assert!(
        restored(&first) < restored(&second),
        "{case}: {first} {second}"
    );
    let kept = ["existing", "conflict"].map(|name| second["outcomes"][name].as_u64());
    let kept = kept.into_iter().flatten().sum::<u64>();
    assert_eq!(kept, KEYS - wanted(on_conflict), "{case}: {second}");
}

#[test]
fn a_connection_that_ends_anywhere_is_made_again_and_nothing_is_lost_or_doubled() {
    let server = Server::start("redis-7.0");
    let (dir, data) = (Dir::new(), dump());
    let file = dir.file("dump.rdb", &data);
    let (commands, replies) = traffic(&server, &data, false);
    let places = if is_long() { 210 } else { 28 };
    let mut histogram = Histogram::new();
    let policies = [
        OnConflict::Fail,
        OnConflict::Skip,
        OnConflict::Replace,
        OnConflict::Same,
    ];
    for (n, on_conflict) in (0..places).flat_map(|n| policies.map(|policy| (n, policy))) {
        let mut random = Random::new(5, "cuts", n);
        // Spread evenly, and shaken a little.
        let mut place = |of: u64| {
            let step = of * 9 / 10 / places;
            of / 20 + n * step + random.number() % step
        };
        let (one, two) = (place(commands), place(replies));
        let faults = match n % 7 {
            0 => vec![Fault::CutCommands(one)],
            1 => vec![Fault::CutReplies(two)],
            // Again and again, each time a little further on.
            2 => vec![
                Fault::CutCommands(one / 3),
                Fault::CutReplies(two / 3),
                Fault::CutCommands(one / 2),
            ],
            3 => vec![Fault::Stall(two)],
            4 => vec![Fault::ResetReplies(two)],
            5 => vec![Fault::Trickle(two)],
            _ => vec![Fault::Delay(two)],
        };
        let loses_nothing = matches!(faults[0], Fault::Trickle(_) | Fault::Delay(_));
        let case = format!("{faults:?} {on_conflict:?}");
        prepare(&server);
        let port = server.port();
        let proxy = Proxy::observed_by(port, On::Data, faults.clone(), move || there(port));
        // Half of what ends a connection for good, at once, goes through the command.
        if matches!(n % 7, 0 | 1 | 4) && n / 7 % 2 == 0 {
            by_command(&file, &proxy, on_conflict, &case);
        } else {
            let options = Options {
                on_conflict,
                ahead: AHEAD,
                retry_for: Duration::from_secs(20),
                ..options()
            };
            let report = load(&proxy.url(), &data, options);
            assert_eq!(report.pauses == 0, loses_nothing, "{case}");
            counts(&report, on_conflict, &case);
        }
        assert!(proxy.fired() > 0, "{case}: did not happen");
        holds(&server, on_conflict, &case);
        histogram.add(proxy.observed(), wanted(on_conflict));
    }
    histogram.is_fair("connections cut");
}

/// The first conflict ends it, whatever happened on the way: what is at the destination then is right, and counted.
#[test]
fn a_load_that_ends_at_the_first_conflict_does_so_behind_any_fault() {
    let server = Server::start("redis-7.0");
    let data = dump();
    let (commands, replies) = traffic(&server, &data, false);
    let places = if is_long() { 60 } else { 8 };
    for n in 0..places {
        let mut random = Random::new(5, "abort", n);
        let (one, two) = (
            random.number() % (commands / 2),
            random.number() % (replies / 2),
        );
        let fault = match n % 4 {
            0 => Fault::CutCommands(one + 100),
            1 => Fault::CutReplies(two + 1),
            2 => Fault::ResetReplies(two + 1),
            _ => Fault::Stall(two + 1),
        };
        let there = KEYS * 3 / 4 + random.number() % (KEYS / 4);
        let case = format!("{fault:?}, k{there} was there");
        server.run("FLUSHALL");
        server.run(&format!("SET k{there} old"));
        let proxy = Proxy::sequence(server.port(), On::Data, vec![fault]);
        let options = Options {
            on_conflict: OnConflict::Abort,
            retry_for: Duration::from_secs(20),
            ..options()
        };
        let report = load(&proxy.url(), &data, options);
        assert!(proxy.fired() > 0, "{case}: did not happen");
        let told = format!("{case}: {report:?}");
        assert!(report.pauses > 0, "{told}");
        let stopped = report.stopped.as_ref().map(ToString::to_string);
        assert!(
            stopped.is_some_and(|words| words.contains("abort")),
            "{told}"
        );
        assert!(report.adds_up(), "{told}");
        assert_eq!(report.tally.get(Outcome::Conflict), 1, "{told}");
        assert_eq!(
            server.run(&format!("GET k{there}")),
            Value::BulkString(b"old".to_vec()),
            "{told}"
        );
        // What was sent behind it may have arrived, and is called uncertain then.
        let Value::Int(size) = server.run("DBSIZE") else {
            panic!("{case}")
        };
        let (arrived, restored) = (
            size as u64 - 1,
            report.tally.get(Outcome::Restored(Road::Raw)),
        );
        let uncertain = report.tally.get(Outcome::Uncertain);
        assert!(
            (restored..=restored + uncertain).contains(&arrived),
            "{arrived} arrived; {told}"
        );
    }
}

#[test]
fn a_connection_that_ends_while_values_are_read_back_is_made_again() {
    let server = Server::start("redis-7.0");
    let data = dump();
    let (commands, replies) = traffic(&server, &data, true);
    let places = if is_long() { 60 } else { 6 };
    for n in 0..places {
        let mut random = Random::new(5, "reads", n);
        let mut place = |of: u64| {
            let step = of * 9 / 10 / places;
            of / 20 + n * step + random.number() % step
        };
        let fault = match n % 2 {
            0 => Fault::CutCommands(place(commands)),
            _ => Fault::CutReplies(place(replies)),
        };
        let on_conflict = [OnConflict::Same, OnConflict::Replace, OnConflict::Same][n as usize % 3];
        let case = format!("{fault:?} {on_conflict:?}");
        prepare(&server);
        let proxy = Proxy::sequence(server.port(), On::Data, vec![fault]);
        let report = load(
            &proxy.url(),
            &data,
            Options {
                on_conflict,
                verify: true,
                retry_for: Duration::from_secs(20),
                ..options()
            },
        );
        assert!(proxy.fired() > 0, "{case}: did not happen");
        holds(&server, on_conflict, &case);
        counts(&report, on_conflict, &case);
        let restored = report.tally.total() - report.tally.get(Outcome::Conflict);
        let verified = report.verified.expect("wanted");
        assert_eq!(verified.same, restored, "{case}: {report:?}");
    }
}

#[test]
fn a_server_that_is_killed_and_started_again_gets_what_it_lost() {
    let data = dump();
    for (appends, at) in [("always", 3), ("no", 2), ("no", 5), ("always", 7)] {
        let case = format!("append-only file {appends}, at {at} tenths");
        let aof = if appends == "no" { "no" } else { "yes" };
        let start = |file: Option<PathBuf>| {
            let mut setup = Server::setup("redis-7.0")
                .with("appendonly", [aof])
                .with("appendfsync", ["always"])
                .with("aof-use-rdb-preamble", ["no"]);
            if let Some(dir) = file {
                for entry in std::fs::read_dir(dir).expect("a directory") {
                    let path = entry.expect("readable").path();
                    let name = path
                        .file_name()
                        .expect("a name")
                        .to_string_lossy()
                        .into_owned();
                    setup = setup.with_file(&path, &format!("appendonlydir/{name}"));
                }
            }
            setup.start()
        };
        let first = start(None);
        let (_, replies) = traffic(&first, &data, false);
        prepare(&first);
        let proxy = Proxy::sequence(
            first.port(),
            On::Data,
            vec![Fault::Stall(replies * at / 10)],
        );
        let (url, its_data) = (proxy.url(), data.clone());
        let loading = std::thread::spawn(move || {
            load(
                &url,
                &its_data,
                Options {
                    retry_for: Duration::from_secs(20),
                    ..options()
                },
            )
        });
        wait_until(&case, || proxy.fired() == 1);
        let lost = first.dir().join("appendonlydir");
        let _ = std::process::Command::new("kill")
            .args(["-9", &first.pid().to_string()])
            .status();
        let second = start((aof == "yes").then_some(lost));
        if aof == "no" {
            // What was there before is lost, too: that was never ours to keep.
            prepare(&second);
        }
        proxy.move_to(second.port());
        let report = loading.join().expect("the load ends");
        holds(&second, OnConflict::Fail, &case);
        counts(&report, OnConflict::Fail, &case);
    }
}

#[test]
fn a_full_destination_is_waited_for() {
    let server = Server::start("redis-7.0");
    let data = dump();
    prepare(&server);
    let used: u64 = server
        .info("used_memory")
        .expect("INFO")
        .parse()
        .expect("bytes");
    server.run("CONFIG SET maxmemory-policy noeviction");
    server.run(&format!("CONFIG SET maxmemory {}", used + 300_000));
    let url = server.url();
    let its_data = data.clone();
    let loading = std::thread::spawn(move || {
        load(
            &url,
            &its_data,
            Options {
                retry_for: Duration::from_secs(1),
                wait_for: Duration::from_secs(30),
                ..options()
            },
        )
    });
    wait_until("the server is full", || {
        let errors = server.info("total_error_replies").unwrap_or_default();
        errors.parse::<u64>().unwrap_or(0) > 220
    });
    server.run("CONFIG SET maxmemory 0");
    let report = loading.join().expect("the load ends");
    holds(&server, OnConflict::Fail, "a full destination");
    counts(&report, OnConflict::Fail, "a full destination");
    assert!(report.pauses > 0);
}

#[test]
fn who_gives_up_says_so_and_the_next_run_goes_on() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    prepare(&server);
    let proxy = Proxy::sequence(server.port(), On::Data, vec![Fault::CutCommands(40_000)]);
    let once = Command::hasty(&file, &proxy.url(), &[]);
    let ran = once.run(&[]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("the same command goes on"), "{ran:?}");
    let told = ran.json();
    assert_eq!(told["adds_up"], true);
    let status = run_with(
        program().args(["load", "--status"]).arg(once.journal()),
        b"",
    );
    assert!(status.stdout.contains("stopped, can go on"), "{status:?}");
    let again = once.run(&[]);
    assert_eq!(again.code, 1, "{again:?}");
    holds(&server, OnConflict::Fail, "given up once");
}

#[test]
fn a_ledger_neither_ends_nor_begins_in_the_midst_of_a_load_unsaid() {
    let server = Server::start("redis-7.0");
    for (first, second) in [(true, false), (false, true)] {
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump());
        let ledger = dir.path().join("ledger").display().to_string();
        let with = |wanted: bool| match wanted {
            true => vec!["--failures", ledger.as_str()],
            false => Vec::new(),
        };
        prepare(&server);
        let (commands, _) = traffic(&server, &dump(), false);
        prepare(&server);
        let cut = vec![Fault::CutCommands(commands / 2)];
        let proxy = Proxy::sequence(server.port(), On::Data, cut);
        let once = Command::hasty(&file, &proxy.url(), &[]);
        assert_eq!(once.run(&with(first)).code, 4);
        let again = once.run(&with(second));
        if first {
            assert_eq!(again.code, 2, "{again:?}");
            assert!(again.stderr.contains("keeps a ledger"), "{again:?}");
            let again = once.run(&with(true));
            assert_eq!(again.code, 1, "{again:?}");
            let lines = std::fs::read_to_string(&ledger).expect("a ledger");
            assert_eq!(lines.lines().count() as u64, KEYS / 10);
        } else {
            assert_eq!(again.code, 1, "{again:?}");
            assert!(
                again.stderr.contains("in the midst of this load"),
                "{again:?}"
            );
        }
        holds(&server, OnConflict::Fail, "a ledger");
    }
}

/// How many `RESTORE` were answered with OK.
pub(super) fn stored(server: &Server) -> u64 {
    let stat = server.info("cmdstat_restore").expect("RESTORE was sent");
    let number = |name: &str| -> u64 {
        let field = stat.split(',').find_map(|field| field.strip_prefix(name));
        field.expect("a field").parse().expect("a number")
    };
    number("calls=") - number("failed_calls=")
}

#[test]
fn a_finished_journal_is_believed_only_as_long_as_the_keys_are_there() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let command = Command::new(&file, &server.url(), &[]);
    command.run(&[]).ends_with(0);
    let changes = server.info("rdb_changes_since_last_save");
    let sent = stored(&server);
    let journal = std::fs::read(command.journal()).expect("readable");
    let again = command.run(&[]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stderr.contains("was finished at"), "{again:?}");
    assert_eq!(
        server.info("rdb_changes_since_last_save"),
        changes,
        "nothing was written twice"
    );
    let by_probes = stored(&server) - sent;
    assert!(by_probes < 10, "nothing was sent twice: {by_probes} more");
    let told = again.json();
    assert_eq!((&told["runs"], &told["adds_up"]), (&1.into(), &true.into()));
    assert_eq!(told["outcomes"]["restored_raw"], KEYS, "{told}");
    assert_eq!(told["looked_up"]["asked"], told["looked_up"]["there"]);
    assert_eq!(
        std::fs::read(command.journal()).expect("readable"),
        journal,
        "it stays as the load left it"
    );
    server.run("FLUSHALL");
    let flushed = command.run(&[]);
    assert_eq!(flushed.code, 4, "{flushed:?}");
    assert!(flushed.stderr.contains("it was emptied"), "{flushed:?}");
    assert_eq!(
        server.run("DBSIZE"),
        Value::Int(0),
        "nothing is sent silently"
    );
    command.run(&["--restart"]).ends_with(0);
    assert_eq!(server.run("DBSIZE"), Value::Int(KEYS as i64));
    assert!(stored(&server) >= sent + KEYS, "that would have counted");
}

#[test]
fn a_journal_is_a_file_and_nothing_that_would_be_waited_for() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    for journal in [pipe.to_str().expect("text"), "/dev/null"] {
        let args = ["load", &file, "--to", &server.url(), "--journal", journal];
        let ran = run_with(program().args(args), b"");
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("no regular file"), "{ran:?}");
    }
    assert_eq!(there(server.port()), 0);
}

#[test]
fn a_journal_that_is_not_that_of_this_load_is_refused_with_what_differs() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let command = Command::new(&file, &server.url(), &[]);
    command.run(&[]).ends_with(0);
    let journal = command.journal();
    let whole = std::fs::read(&journal).expect("readable");

    let other = command.run(&["--on-conflict", "skip"]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other.stderr.contains("--on-conflict was fail, is skip"),
        "{other:?}"
    );
    let selected = command.run(&["--match", "k1*"]);
    assert_eq!(selected.code, 2, "{selected:?}");
    assert!(
        selected.stderr.contains("--match was not given"),
        "{selected:?}"
    );
    // Of a list of names what is in it counts.
    let names = dir.file("names", "k1\n");
    let listed = Command::new(&file, &server.url(), &["--keys-from", &names]);
    listed.run(&[]).ends_with(1);
    dir.file("names", "k2\n");
    let other_list = listed.run(&[]);
    assert_eq!(other_list.code, 2, "{other_list:?}");
    assert!(
        other_list.stderr.contains("--keys-from was 1 name with"),
        "{other_list:?}"
    );

    std::fs::write(&journal, &whole[..whole.len() / 2]).expect("written");
    let cut = command.run(&[]);
    assert_eq!(cut.code, 3, "{cut:?}");
    assert!(cut.stderr.contains("its end is missing"), "{cut:?}");
    let text = String::from_utf8(whole.clone()).expect("text");
    std::fs::write(&journal, text.replacen("journal 1", "journal 9", 1)).expect("written");
    let newer = command.run(&[]);
    assert_eq!(newer.code, 3, "{newer:?}");
    assert!(newer.stderr.contains("version 9"), "{newer:?}");
    std::fs::write(&journal, &whole).expect("written");

    let changed = Dump::redis(7).string_key("k", "v").finish(Crc::Right);
    std::fs::write(&file, changed).expect("written");
    let replaced = command.run(&[]);
    assert_eq!(replaced.code, 2, "{replaced:?}");
    assert!(replaced.stderr.contains("its input"), "{replaced:?}");

    let nowhere = run_with(
        program().args([
            "load",
            &file,
            "--to",
            &server.url(),
            "--journal",
            "/proc/none/j",
        ]),
        b"",
    );
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
    assert!(nowhere.stderr.contains("--no-journal"), "{nowhere:?}");
}

#[test]
fn two_loads_do_not_share_a_journal() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let data = dump();
    let file = dir.file("dump.rdb", &data);
    let (commands, _) = traffic(&server, &data, false);
    prepare(&server);
    let stalls = vec![Fault::StallCommands(commands / 2)];
    let proxy = Proxy::sequence(server.port(), On::Data, stalls);
    let command = Command::new(&file, &proxy.url(), &[]);
    let mut first = command.start();
    wait_until("the first load stands still", || proxy.fired() == 1);
    let second = command.run(&[]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(
        second
            .stderr
            .contains("another load works with the journal"),
        "{second:?}"
    );
    first.kill().expect("killed");
    first.wait().expect("ended");
}

#[test]
fn keys_that_did_not_arrive_stand_in_the_ledger_once() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let data = dump();
    let file = dir.file("dump.rdb", &data);
    let (commands, replies) = traffic(&server, &data, false);
    for fault in [
        Fault::StallCommands(commands / 2),
        Fault::Stall(replies / 3),
        Fault::Stall(replies * 3 / 4),
    ] {
        prepare(&server);
        let case = format!("{fault:?}");
        let ledger = dir.path().join("failures.ndjson");
        let _ = std::fs::remove_file(&ledger);
        let proxy = Proxy::sequence(server.port(), On::Data, vec![fault]);
        let path = ledger.to_str().expect("text").to_owned();
        let command = Command::new(&file, &proxy.url(), &["--failures", &path]);
        let mut child = command.start();
        wait_until(&case, || proxy.fired() == 1);
        child.kill().expect("killed");
        child.wait().expect("ended");
        command.run(&[]).ends_with(1);
        let text = std::fs::read_to_string(&ledger).expect("a ledger");
        let mut keys = BTreeMap::<String, u32>::new();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("an object");
            assert_eq!(line["outcome"], "conflict", "{case}");
            *keys
                .entry(line["key"].as_str().expect("a name").to_owned())
                .or_default() += 1;
        }
        assert_eq!(keys.len() as u64, KEYS / 10, "{case}");
        assert!(keys.values().all(|count| *count == 1), "{case}: {keys:?}");
    }
}

/// A ledger names the database of each key, too: `--keys-from` asks for the key there, and not for its namesake elsewhere.
#[test]
fn a_ledger_is_taken_back_key_by_key() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let dump = Dump::redis(7)
        .select_db(0)
        .string_key("same", "in 0")
        .key(0, b"\xff\n", b"\x01v")
        .select_db(3)
        .string_key("same", "in 3")
        .string_key("other", "in 3");
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    let ledger = dir.path().join("failures.ndjson");
    let ledger = ledger.to_str().expect("text");
    let before: [&[&[u8]]; 3] = [
        &[b"SET", b"\xff\n", b"there"],
        &[b"SELECT", b"3"],
        &[b"SET", b"same", b"there"],
    ];
    let before = before.map(|words| words.iter().map(|word| word.to_vec()).collect());
    Client::connect(server.port()).ask(&before);
    let first = Command::new(&file, &server.url(), &["--failures", ledger]);
    let told = first.run(&[]).ends_with(1).json();
    assert_eq!(told["outcomes"]["conflict"], 2, "{told}");
    server.run("FLUSHALL");
    let again = Command::new(&file, &server.url(), &["--keys-from", ledger]);
    let told = again.run(&[]).ends_with(0).json();
    assert_eq!(told["outcomes"]["not_selected"], 2, "{told}");
    assert_eq!(
        server.info("db0").as_deref(),
        Some("keys=1,expires=0,avg_ttl=0")
    );
    assert_eq!(
        server.info("db3").as_deref(),
        Some("keys=1,expires=0,avg_ttl=0")
    );
}

/// A dump whose databases change with every key: the connection is not emptied for each of them, and wherever it breaks each key
/// stands in its own database.
#[test]
fn databases_that_change_with_every_key_cost_little_and_are_never_mixed() {
    const DBS: u64 = 3;
    let server = Server::start("redis-7.0");
    let data = (0..KEYS)
        .fold(Dump::redis(7), |dump, i| {
            dump.select_db(i % DBS)
                .string_key(format!("k{}", i / DBS), format!("{i} {}", "v".repeat(50)))
        })
        .finish(Crc::Right);
    let whole = |case: &str| {
        for db in 0..DBS {
            let keys = (0..KEYS).filter(|i| i % DBS == db);
            let words = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect();
            let gets = keys
                .clone()
                .map(|i| words(&["GET", &format!("k{}", i / DBS)]));
            let select = words(&["SELECT", &db.to_string()]);
            let asked: Vec<_> = [select, words(&["DBSIZE"])]
                .into_iter()
                .chain(gets)
                .collect();
            let answers = Client::connect(server.port()).ask(&asked);
            assert_eq!(
                answers[1],
                Value::Int(keys.clone().count() as i64),
                "{case}: db {db}"
            );
            for (i, answer) in keys.zip(&answers[2..]) {
                let value = format!("{i} {}", "v".repeat(50)).into_bytes();
                assert_eq!(*answer, Value::BulkString(value), "{case}: key {i}");
            }
        }
    };
    let proxy = Proxy::start(server.port(), On::Data, Fault::None);
    load(&proxy.url(), &data, options());
    whole("undisturbed");
    let selects = server.info("cmdstat_select").expect("SELECT was sent");
    let calls: u64 = selects
        .strip_prefix("calls=")
        .and_then(|rest| rest.split(',').next()?.parse().ok())
        .expect("a number");
    assert!((DBS..KEYS / 20).contains(&calls), "{selects}");
    let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (commands, replies) = (read(&proxy.traffic.commands), read(&proxy.traffic.replies));
    for n in 1..8 {
        let faults = match n % 2 {
            0 => vec![Fault::CutCommands(commands * n / 8)],
            _ => vec![Fault::CutReplies(replies * n / 8)],
        };
        let case = format!("{faults:?}");
        server.run("FLUSHALL");
        let proxy = Proxy::sequence(server.port(), On::Data, faults);
        let options = Options {
            retry_for: Duration::from_secs(20),
            ..options()
        };
        let report = load(&proxy.url(), &data, options);
        assert_eq!(proxy.fired(), 1, "{case}: did not happen");
        assert!(report.is_clean() && report.adds_up(), "{case}: {report:?}");
        whole(&case);
    }
}
