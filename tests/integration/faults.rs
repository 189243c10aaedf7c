//! A network that does one thing wrong: the sums still say what is known, nothing is assumed, and nothing hangs.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdbridge::ErrorKind;
use rdbridge::outcome::Outcome;
use rdbridge::select::Selection;
use rdbridge::verbs::load::{OnConflict, Options};

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::loading::{Loaded, connector, load_some, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::random::Random;
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

/// Keys of the dump: some marks lie between them.
const KEYS: u64 = 1600;

/// How long nothing may move, where the fault makes the load wait for what does not come.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The same where another end is expected: a machine that has much to do is no fault.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing may move while `fault` happens.
fn patience(fault: &Fault) -> Duration {
    match fault {
        Fault::Stall(_) | Fault::StallCommands(_) | Fault::Drop(_) | Fault::Swap(_) => PATIENCE,
        _ => LONG_PATIENCE,
    }
}

/// No load takes longer, whatever happens.
const LIMIT: Duration = Duration::from_secs(20);

fn dump() -> Vec<u8> {
    (0..KEYS)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            dump.string_key(
                format!("k{i}"),
                format!("{i} {}", "v".repeat((i % 97) as usize)),
            )
        })
        .finish(Crc::Right)
}

fn load(file: &str, proxy: &Proxy, on_conflict: &str, more: &[&str]) -> Ran {
    let url = proxy.url();
    let args = [
        "load",
        file,
        "--to",
        &url,
        "--on-conflict",
        on_conflict,
        "--json",
    ];
    run([&args[..], more].concat())
}

struct Bench {
    server: Server,
    data: Vec<u8>,
    /// What the destination holds at the start.
    existing: BTreeSet<u64>,
}

/// What a load through a fault came to.
struct Outcomes {
    loaded: rdbridge::Result<Loaded>,
    proxy: Proxy,
    /// Keys of the dump that are there with their new values.
    there: BTreeSet<u64>,
}

impl Bench {
    fn new() -> Self {
        Self {
            server: Server::start("redis-7.0"),
            data: dump(),
            existing: BTreeSet::new(),
        }
    }

    /// Every tenth key is there before.
    fn with_existing(mut self) -> Self {
        self.existing = (0..KEYS).step_by(10).collect();
        self
    }

    fn load(&self, on: On, fault: Fault, options: Options) -> Outcomes {
        let mut client = Client::connect(self.server.port());
        let set = self.existing.iter().map(|i| {
            ["SET", &format!("k{i}"), "old"]
                .map(|word| word.as_bytes().to_vec())
                .to_vec()
        });
        let commands: Vec<_> = [vec![b"FLUSHALL".to_vec()]]
            .into_iter()
            .chain(set)
            .collect();
        client.ask(&commands);
        let proxy = Proxy::start(self.server.port(), on, fault.clone());
        let mut connector = connector(&proxy.url());
        connector.options.io_timeout = patience(&fault);
        connector.options.connect_timeout = LONG_PATIENCE;
        let started = Instant::now();
        let loaded = load_some(connector, &self.data, Selection::all, options);
        assert!(
            started.elapsed() < LIMIT,
            "{fault:?}: took {:?}",
            started.elapsed()
        );
        // The server may still be at what it got last.
        let gets: Vec<_> = (0..KEYS)
            .map(|i| vec![b"GET".to_vec(), format!("k{i}").into_bytes()])
            .collect();
        let mut last = Vec::new();
        let values = loop {
            std::thread::sleep(Duration::from_millis(5));
            let values = client.ask(&gets);
            if values == last {
                break values;
            }
            last = values;
        };
        let there = (0..KEYS).filter(|i| match &values[*i as usize] {
            redis::Value::BulkString(value) if value == b"old" => {
                assert!(self.existing.contains(i));
                false
            }
            redis::Value::BulkString(value) => {
                assert!(
                    value.starts_with(format!("{i} ").as_bytes()),
                    "k{i} has another value"
                );
                true
            }
            _ => {
                assert!(!self.existing.contains(i), "k{i} was deleted");
                false
            }
        });
        Outcomes {
            there: there.collect(),
            loaded,
            proxy,
        }
    }
}

/// What holds whatever happened: the sums add up (asserted in every load), what is called restored is there, what is there and
/// not called restored is called uncertain.
fn is_honest(fault: &Fault, found: &Outcomes) {
    let loaded = found
        .loaded
        .as_ref()
        .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
    let there = found.there.len() as u64;
    let (restored, uncertain) = (loaded.restored(), loaded.count(Outcome::Uncertain));
    assert!(
        restored <= there && there <= restored + uncertain,
        "{fault:?}: {there} keys are there, {restored} restored, {uncertain} uncertain: {}",
        loaded.stopped()
    );
    assert!(found.proxy.has_fired(), "{fault:?}");
}

fn with(on_conflict: OnConflict) -> Options {
    Options {
        on_conflict,
        ..options()
    }
}

#[test]
fn without_a_fault_everything_arrives() {
    let bench = Bench::new();
    let found = bench.load(On::Data, Fault::None, options());
    let loaded = found.loaded.expect("loads");
    assert!(loaded.report.is_clean(), "{:?}", loaded.report);
    assert_eq!((loaded.restored(), found.there.len() as u64), (KEYS, KEYS));
    let replies = found.proxy.traffic.reply_count.load(Ordering::SeqCst);
    assert!(replies > KEYS + 3, "{replies} replies: keys and marks");
}

#[test]
fn a_lost_or_doubled_reply_is_found_out() {
    for on_conflict in [OnConflict::Fail, OnConflict::Skip, OnConflict::Replace] {
        let bench = Bench::new().with_existing();
        for n in [
            0,
            1,
            2,
            3,
            100,
            511,
            512,
            513,
            514,
            515,
            900,
            KEYS,
            KEYS + 1,
            KEYS + 3,
        ] {
            for fault in [Fault::Drop(n), Fault::Double(n)] {
                let found = bench.load(On::Data, fault.clone(), with(on_conflict));
                is_honest(&fault, &found);
                let loaded = found.loaded.expect("begins");
                assert!(
                    loaded.report.stopped.is_some(),
                    "{fault:?} {on_conflict:?} was not noticed"
                );
                assert!(!loaded.report.is_clean());
            }
        }
    }
}

#[test]
fn replies_that_change_places_are_found_out_or_alike() {
    for on_conflict in [OnConflict::Fail, OnConflict::Skip] {
        let bench = Bench::new().with_existing();
        for n in [0, 1, 2, 3, 4, 10, 11, 12, 100, 511, 512, 1022, 1023, 2000] {
            let fault = Fault::Swap(n);
            let found = bench.load(On::Data, fault.clone(), with(on_conflict));
            is_honest(&fault, &found);
            let loaded = found.loaded.expect("begins");
            assert!(
                loaded.report.stopped.is_some(),
                "{fault:?} {on_conflict:?}: each of so many conflicts has its mark"
            );
        }
    }
}

/// Few keys exist, so several commands lie between two marks: an OK and a refusal among them change places.
#[test]
fn an_ok_and_a_refusal_that_change_places_do_not_name_the_wrong_key() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let bench = Bench::new();
    let mut client = Client::connect(bench.server.port());
    let existing = ["k700", "k1100", "k1500"];
    for on_conflict in ["fail", "skip", "same", "abort"] {
        client.ask(&[vec![b"FLUSHALL".to_vec()]]);
        for key in existing {
            client.ask(&[["SET", key, "old"].map(|word| word.into()).to_vec()]);
        }
        let proxy = Proxy::start(bench.server.port(), On::Data, Fault::SwapUnlike(1100));
        let ledger = dir.path().join(format!("{on_conflict}.ndjson"));
        let ledger_path = ledger.to_str().expect("a path");
        let ran = load(&file, &proxy, on_conflict, &["--failures", ledger_path]);
        let case = format!("{on_conflict}: {ran:?}");
        assert!(proxy.has_fired(), "{case}");
        ran.ends_with(1);
        let ledger = std::fs::read_to_string(&ledger).expect("a ledger");
        assert!(ledger.contains("\"k700\""), "{case}, {ledger}");
        assert!(
            ledger
                .lines()
                .all(|line| existing.iter().any(|key| line.contains(key))),
            "{case}, {ledger}"
        );
        if on_conflict != "abort" {
            let outcomes = &ran.json()["outcomes"];
            let count = |name: &str| outcomes[name].as_u64().expect("a number");
            // Of the other one of the two it is not said that this load stored it.
            assert_eq!(count("restored_raw"), KEYS - 4, "{case}");
            assert_eq!(count("already_there"), 1, "{case}");
            assert_eq!(count("read_back_different"), 1, "{case}");
            let held = client.ask(&[vec![b"DBSIZE".to_vec()]]);
            assert_eq!(held, [redis::Value::Int(KEYS as i64)], "{case}");
        }
        for key in existing {
            let held = client.ask(&[["GET", key].map(|word| word.into()).to_vec()]);
            assert_eq!(held, [redis::Value::BulkString(b"old".to_vec())], "{case}");
        }
    }
}

/// By plain commands a key is asked about before it is built: an answer that is another key's leaves none out unseen.
#[test]
fn answers_about_keys_that_change_places_leave_none_out() {
    let server = Server::setup("redis-7.0")
        .with("rename-command", ["RESTORE", ""])
        .start();
    let keys = (0..10).map(|i| format!("s{i}"));
    let data = keys
        .clone()
        .fold(Dump::redis(7).select_db(0), |dump, key| {
            dump.key(2, key, b"\x02\x01a\x01b")
        })
        .finish(Crc::Right);
    let mut client = Client::connect(server.port());
    let mut clean = 0;
    for n in 0..40 {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        client.ask(&[words(&["FLUSHALL"]), words(&["SADD", "s4", "old"])]);
        let fault = Fault::Swap(n);
        let proxy = Proxy::start(server.port(), On::Data, fault.clone());
        let mut connector = connector(&proxy.url());
        connector.options.io_timeout = patience(&fault);
        let options = with(OnConflict::Skip);
        let Ok(loaded) = load_some(connector, &data, Selection::all, options) else {
            continue;
        };
        if loaded.report.is_clean() {
            clean += 1;
            let cards: Vec<_> = keys.clone().map(|key| words(&["SCARD", &key])).collect();
            let mut expected = [2; 10].map(redis::Value::Int);
            expected[4] = redis::Value::Int(1);
            assert_eq!(client.ask(&cards), expected, "{fault:?}");
        }
    }
    assert!(clean >= 10, "{clean}");
}

/// The same of a key that may not be written, under `replace`.
#[test]
fn a_refused_key_is_named_though_replies_change_places() {
    let dir = Dir::new();
    let data = (0..KEYS)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            let key = match i {
                900 => "closed".to_owned(),
                _ => format!("k{i}"),
            };
            dump.string_key(key, format!("value {i}"))
        })
        .finish(Crc::Right);
    let file = dir.file("dump.rdb", data);
    let server = Server::start("redis-7.0");
    let mut client = Client::connect(server.port());
    let rights = "ACL SETUSER default resetkeys ~k*";
    client.ask(&[rights.split(' ').map(|word| word.into()).collect()]);
    let proxy = Proxy::start(server.port(), On::Data, Fault::SwapUnlike(1100));
    let ran = load(&file, &proxy, "replace", &[]);
    assert!(proxy.has_fired(), "{ran:?}");
    ran.ends_with(1);
    assert_eq!(ran.json()["outcomes"]["restored_raw"], KEYS - 1, "{ran:?}");
    assert_eq!(ran.json()["outcomes"]["failed"], 1, "{ran:?}");
    assert!(
        ran.stderr.contains("closed") && ran.stderr.contains("NOPERM"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("k899"), "{ran:?}");
}

/// What no load may do: end with exit code 0 though a reply was lost, came twice or changed places.
#[test]
fn a_fault_among_replies_shows_in_the_exit_code() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let bench = Bench::new();
    let mut client = Client::connect(bench.server.port());
    for (fault, on_conflict, code) in [
        (Fault::None, "fail", 0),
        (Fault::Drop(700), "fail", 4),
        (Fault::Double(700), "skip", 4),
        (Fault::Swap(700), "replace", 4),
        (Fault::Drop(1500), "same", 4),
        (Fault::Double(1500), "replace", 4),
    ] {
        client.ask(&[vec![b"FLUSHALL".to_vec()]]);
        let proxy = Proxy::start(bench.server.port(), On::Data, fault.clone());
        let ran = load(&file, &proxy, on_conflict, &[]);
        assert_eq!(proxy.has_fired(), fault != Fault::None);
        assert_eq!(ran.code, code, "{fault:?} {on_conflict}: {ran:?}");
    }
}

#[test]
fn a_connection_that_ends_at_any_byte_leaves_nothing_assumed() {
    let bench = Bench::new().with_existing();
    let whole = bench.load(On::Data, Fault::None, options());
    let (commands, replies) = (
        whole.proxy.traffic.commands.load(Ordering::SeqCst),
        whole.proxy.traffic.replies.load(Ordering::SeqCst),
    );
    let mut random = Random::new(20_261_123, "cuts", 0);
    let mut histogram = [0u32; 12];
    let mut inside = 0;
    const PLACES: u32 = 120;
    for place in 0..PLACES {
        let fault = match place {
            0 => Fault::CutCommands(0),
            1 => Fault::CutReplies(0),
            2 => Fault::CutCommands(commands - 1),
            3 => Fault::CutReplies(replies - 1),
            _ if place % 2 == 0 => Fault::CutCommands(random.below(commands as usize) as u64),
            _ => Fault::CutReplies(random.below(replies as usize) as u64),
        };
        // A small window, so that replies come while commands go.
        let mut options = with(OnConflict::Fail);
        options.window.commands = 64;
        options.window.most_commands = 64;
        let found = bench.load(On::Data, fault.clone(), options);
        is_honest(&fault, &found);
        let loaded = found.loaded.expect("begins");
        let stopped = loaded.report.stopped.as_ref().expect("it broke off");
        assert_eq!(stopped.kind(), ErrorKind::Destination, "{stopped}");
        assert!(!loaded.report.is_clean());
        let restored = loaded.restored();
        histogram[(restored * 10 / KEYS + 1) as usize * usize::from(restored > 0)] += 1;
        inside += u32::from(restored > 0 && restored < KEYS - KEYS / 10);
    }
    say_aloud(&format!(
        "{PLACES} connections cut; by tenths of the keys that were restored before (the first: none): {histogram:?}"
    ));
    assert!(
        inside * 10 >= PLACES * 8,
        "{inside} of {PLACES} hit the middle"
    );
}

/// Values so large that they go from where they stand in the file.
#[test]
fn a_connection_that_ends_within_a_large_value_leaves_nothing_assumed() {
    let bench = Bench {
        data: (0..KEYS)
            .fold(Dump::redis(7).select_db(0), |dump, i| {
                let bytes = if i % 100 == 50 { 400_000 } else { 10 };
                dump.string_key(format!("k{i}"), format!("{i} {}", "v".repeat(bytes)))
            })
            .finish(Crc::Right),
        ..Bench::new()
    };
    let whole = bench.load(On::Data, Fault::None, options());
    assert_eq!(whole.loaded.expect("loads").restored(), KEYS);
    let commands = whole.proxy.traffic.commands.load(Ordering::SeqCst);
    let mut random = Random::new(20_261_123, "large", 0);
    for connections in [1, 3] {
        for _ in 0..12 {
            let fault = Fault::CutCommands(random.below(commands as usize / 2) as u64);
            let options = Options {
                connections,
                ..options()
            };
            let found = bench.load(On::Data, fault.clone(), options);
            is_honest(&fault, &found);
            assert!(found.loaded.expect("begins").report.stopped.is_some());
        }
    }
}

#[test]
fn a_destination_that_falls_silent_is_left() {
    let bench = Bench::new();
    let whole = bench.load(On::Data, Fault::None, options());
    let (commands, replies) = (
        whole.proxy.traffic.commands.load(Ordering::SeqCst),
        whole.proxy.traffic.replies.load(Ordering::SeqCst),
    );
    for fault in [
        Fault::Stall(0),
        Fault::Stall(replies / 2),
        Fault::Stall(replies - 1),
        Fault::StallCommands(0),
        Fault::StallCommands(commands / 3),
        Fault::StallCommands(commands - 1),
    ] {
        let found = bench.load(On::Data, fault.clone(), options());
        is_honest(&fault, &found);
        let loaded = found.loaded.expect("begins");
        assert!(
            loaded.stopped().contains("nothing for 1.5 s"),
            "{fault:?}: {}",
            loaded.stopped()
        );
    }
}

#[test]
fn answers_that_no_server_gives_end_the_load() {
    let bench = Bench::new();
    for (nonsense, words) in [
        (&b":1\r\n"[..], "1"),
        (b"$5\r\nhello\r\n", "hello"),
        (b"*2\r\n+OK\r\n+OK\r\n", ""),
        (b"+QUEUED\r\n", "QUEUED"),
        (b"$-1\r\n", ""),
        (b"$99999999999999\r\n", ""),
        (b"*1000000000\r\n", ""),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 502"),
        (b"\0\0\0\0\r\n", "\\x00"),
        (b"\r\n", ""),
    ] {
        // Behind the questions of what may be read there.
        for n in [3, 100, 513, 700] {
            let fault = Fault::Instead(n, nonsense.to_vec());
            let found = bench.load(On::Data, fault.clone(), options());
            is_honest(&fault, &found);
            let loaded = found.loaded.expect("begins");
            let stopped = loaded
                .report
                .stopped
                .as_ref()
                .unwrap_or_else(|| panic!("{fault:?}"));
            assert_eq!(stopped.kind(), ErrorKind::Destination);
            let text = stopped.to_string();
            assert!(
                text.contains(words) && text.lines().count() == 1,
                "{fault:?}: {text}"
            );
        }
    }
}

/// Each in the middle of a load, in the words of a real server: the load ends with those words and with advice.
#[test]
fn a_server_that_can_take_no_more_ends_the_load_in_its_words() {
    let bench = Bench::new();
    for (words, advice) in [
        (
            "LOADING Redis is loading the dataset in memory",
            "can write again",
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            "more memory",
        ),
        (
            "MISCONF Errors writing to the AOF file: No space left on device",
            "disk",
        ),
        (
            "READONLY You can't write against a read only replica.",
            "master",
        ),
        ("MOVED 1 127.0.0.1:7001", "cluster"),
        ("NOAUTH Authentication required.", "log in"),
        (
            "NOREPLICAS Not enough good replicas to write.",
            "can write again",
        ),
        ("CLUSTERDOWN The cluster is down", "can write again"),
        ("ERR max number of clients reached", ""),
        (
            "ERR Protocol error: invalid bulk length",
            "proto-max-bulk-len",
        ),
    ] {
        let fault = Fault::Instead(300, format!("-{words}\r\n").into_bytes());
        let found = bench.load(On::Data, fault.clone(), options());
        let loaded = found.loaded.expect("begins");
        let text = loaded.stopped();
        assert!(text.contains(words), "{words}: {text}");
        assert!(text.contains(advice), "{words}: {text}");
        let stopped = loaded.report.stopped.as_ref().expect("stopped");
        assert_eq!(stopped.kind(), ErrorKind::Destination);
        assert!(
            loaded.restored() >= 145,
            "{words}: {:?}",
            loaded.report.tally
        );
        // What was on its way is taken as it comes; what was not sent is not called anything else.
        assert!(
            loaded.count(Outcome::NotReached) > 0,
            "{words}: {:?}",
            loaded.report.tally
        );
    }
}

#[test]
fn words_that_are_not_known_fail_one_key_and_not_the_load() {
    let bench = Bench::new();
    for words in [
        "ERR max requests limit exceeded. Limit: 500000",
        "ERR Invalid TTL value, must be >= 0",
        "SOMETHING new",
    ] {
        let fault = Fault::Instead(300, format!("-{words}\r\n").into_bytes());
        let found = bench.load(On::Data, fault, options());
        let loaded = found.loaded.expect("begins");
        assert_eq!(loaded.stopped(), "", "{words}");
        assert_eq!(
            (loaded.restored(), loaded.count(Outcome::Failed)),
            (KEYS - 1, 1),
            "{words}"
        );
        assert_eq!(loaded.listed(Outcome::Failed)[0].reason, words);
    }
}

/// What is said of one payload sends that key by the next road, what is said of the command all that are left.
#[test]
fn words_about_a_payload_or_the_command_are_no_failure() {
    let bench = Bench::new();
    for (words, all) in [
        ("ERR Bad data format", false),
        ("ERR DUMP payload version or checksum are wrong", false),
        ("ERR syntax error", false),
        (
            "NOPERM this user has no permissions to run the 'restore' command",
            true,
        ),
        ("ERR unknown command 'RESTORE'", true),
    ] {
        let fault = Fault::Instead(300, format!("-{words}\r\n").into_bytes());
        let found = bench.load(On::Data, fault, options());
        let loaded = found.loaded.expect("begins");
        assert_eq!(loaded.stopped(), "", "{words}");
        assert_eq!(loaded.restored(), KEYS - 1, "{words}: {:?}", loaded.events);
        let raw = loaded.restored_raw();
        assert_eq!(raw == KEYS - 1, !all, "{words}: {raw} raw");
    }
}

/// The questions before the first write: whatever breaks there, nothing is stored.
#[test]
fn faults_before_the_first_write_leave_the_destination_as_it_was() {
    let bench = Bench::new();
    let whole = bench.load(On::Questions, Fault::None, options());
    let traffic = &whole.proxy.traffic;
    let (commands, replies, count) = (
        traffic.commands.load(Ordering::SeqCst),
        traffic.replies.load(Ordering::SeqCst),
        traffic.reply_count.load(Ordering::SeqCst),
    );
    assert!(count >= 10, "{count} questions");
    let mut faults = Vec::new();
    for tenth in 0..10 {
        faults.push(Fault::CutCommands(commands * tenth / 10));
        faults.push(Fault::CutReplies(replies * tenth / 10));
    }
    faults.push(Fault::Stall(replies / 2));
    faults.push(Fault::StallCommands(commands / 2));
    for n in 0..count {
        faults.push(Fault::Instead(n, b"HTTP/1.1 200 OK\r\n".to_vec()));
        faults.push(Fault::Drop(n));
        faults.push(Fault::Double(n));
    }
    for fault in faults {
        let found = bench.load(On::Questions, fault.clone(), options());
        match found.loaded {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Destination, "{fault:?}: {error}");
                assert_eq!(found.there.len(), 0, "{fault:?}");
                assert_eq!(error.to_string().lines().count(), 1);
            }
            // The last answer may be doubled or lost behind everything that was asked.
            Ok(loaded) => {
                assert!(
                    matches!(fault, Fault::Double(n) if n + 1 == count),
                    "{fault:?} was not noticed"
                );
                assert_eq!(loaded.restored(), KEYS);
            }
        }
    }
}
