//! What a load does where a server does not take a command: each reaction from end to end, against servers that mean it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use rdbridge::ErrorKind;
use rdbridge::outcome::{Outcome, Road};
use rdbridge::pace::Rates;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{KeyEvent, Load, Options, PauseEvent, Report, Watcher, survey};

use super::support::command::{Dir, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::loading::{connector, options};
use super::support::random::Random;
use super::support::recorder::{REDIS, Recorder, Refusal};
use super::support::server::Server;
use super::support::wire::Client;

/// Keys of the dump: several marks lie between them.
const KEYS: u64 = 1500;

/// A third of them in each of three databases, which take turns.
fn dump() -> Vec<u8> {
    (0..KEYS)
        .fold(Dump::redis(7), |dump, i| {
            let dump = match i % 100 {
                0 => dump.select_db(i / 100 % 3),
                _ => dump,
            };
            dump.string_key(format!("k{i}"), format!("value {i}"))
        })
        .finish(Crc::Right)
}

/// What was told on the way.
#[derive(Default)]
struct Told {
    keys: Mutex<Vec<(Vec<u8>, Outcome, String)>>,
    pauses: Mutex<Vec<String>>,
    restarts: Mutex<Vec<u64>>,
}

impl Told {
    fn pauses(&self) -> Vec<String> {
        self.pauses.lock().expect("not poisoned").clone()
    }
}

impl Watcher for Told {
    fn key(&self, event: &KeyEvent<'_>) {
        let listed = (event.key.to_vec(), event.outcome, event.reason.to_owned());
        self.keys.lock().expect("not poisoned").push(listed);
    }

    fn pause(&self, event: &PauseEvent<'_>) {
        let words = event.reason.to_string();
        self.pauses.lock().expect("not poisoned").push(words);
    }

    fn restarted(&self, entries: u64) {
        self.restarts.lock().expect("not poisoned").push(entries);
    }
}

/// A whole load, as often as it takes.
fn load(url: &str, data: &[u8], options: Options, told: &Told) -> Report {
    load_after(url, data, options, told, || {})
}

/// The same, with something done between the first questions and the first write.
pub(crate) fn load_after(
    url: &str,
    data: &[u8],
    options: Options,
    told: &dyn Watcher,
    begun: impl FnOnce(),
) -> Report {
    let snapshot = Snapshot::parse(data).expect("a dump");
    let now = options.policies.now_ms;
    let survey = survey(&snapshot, &mut Selection::all(), now, &mut |_| Ok(())).expect("sound");
    let surveys = std::slice::from_ref(&survey);
    let mut load = Load::begin(connector(url), surveys, options).expect("begins");
    begun();
    loop {
        let mut all = Selection::all();
        load.replay(0, &snapshot, &survey, &mut all, told, &mut |_| Ok(()))
            .expect("a selection that can be asked");
        if !load.again(told, &mut |_| Ok(())) {
            return load.finish();
        }
    }
}

fn patient() -> Options {
    Options {
        retry_for: Duration::from_secs(20),
        wait_for: Duration::from_secs(20),
        ..options()
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Loads slowly, and does something to the destination when some keys are there.
fn load_and_then(
    server: &Server,
    options: Options,
    told: &Told,
    then: impl FnOnce(&mut Client),
) -> Report {
    let (url, data) = (server.url(), dump());
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let rates = Rates {
                keys: Some(500),
                ..Rates::default()
            };
            load(&url, &data, Options { rates, ..options }, told)
        });
        let mut client = Client::connect(server.port());
        wait_until("keys come", || {
            matches!(
                client.ask(&[words("DBSIZE")])[..],
                [redis::Value::Int(150..)]
            )
        });
        then(&mut client);
        loading.join().expect("the load ends")
    })
}

fn held(server: &Server) -> u64 {
    let mut client = Client::connect(server.port());
    let ask: Vec<_> = (0..3)
        .flat_map(|db| [words(&format!("SELECT {db}")), words("DBSIZE")])
        .collect();
    let sizes = client.ask(&ask);
    sizes.iter().fold(0, |sum, reply| match reply {
        redis::Value::Int(keys) => sum + u64::try_from(*keys).expect("a count"),
        _ => sum,
    })
}

/// A master that followed an empty one for a moment holds nothing any more, and is the same process: what it acknowledged
/// before is sent again.
#[test]
fn a_master_that_was_a_replica_for_a_while_gets_everything_again() {
    for name in ["redis-7.0", "valkey-8.0"] {
        let (server, other) = (Server::start(name), Server::start(name));
        let told = Told::default();
        let report = load_and_then(&server, patient(), &told, |client| {
            client.ask(&[words(&format!("REPLICAOF 127.0.0.1 {}", other.port()))]);
            wait_until("it follows", || {
                server.info("master_link_status").as_deref() == Some("up")
            });
            client.ask(&[words("REPLICAOF NO ONE")]);
        });
        assert!(report.stopped.is_none(), "{name}: {report:?}");
        assert_eq!(held(&server), KEYS, "{name}: {report:?}");
        assert_eq!(restored(&report), KEYS, "{name}: {report:?}");
        let restarts = told.restarts.into_inner().expect("not poisoned");
        assert!(restarts.iter().sum::<u64>() >= 150, "{name}: {restarts:?}");
    }
}

/// Nobody tells a load that keys were flushed behind it: its last question does.
#[test]
fn keys_that_are_removed_behind_a_load_are_told() {
    let server = Server::start("redis-7.0");
    let told = Told::default();
    let report = load_and_then(&server, patient(), &told, |client| {
        client.ask(&[words("FLUSHALL")]);
    });
    let there = held(&server);
    assert!(there < KEYS, "nothing was flushed");
    assert_eq!(report.shrunk_to, Some(there), "{report:?}");
    assert!(!report.is_clean() && report.adds_up(), "{report:?}");
}

/// A script that does not end: marks, `SELECT` and questions are refused with `BUSY`, too.
#[test]
fn a_busy_script_is_waited_for() {
    for name in ["redis-6.2", "redis-7.0", "valkey-8.0"] {
        let server = Server::start(name);
        server.run("CONFIG SET lua-time-limit 20");
        let (url, data, told) = (server.url(), dump(), Told::default());
        let report = std::thread::scope(|scope| {
            let loading = scope.spawn(|| {
                let rates = Rates {
                    keys: Some(1500),
                    ..Rates::default()
                };
                load(&url, &data, Options { rates, ..patient() }, &told)
            });
            let mut client = Client::connect(server.port());
            wait_until("keys come", || {
                matches!(
                    client.ask(&[words("DBSIZE")])[..],
                    [redis::Value::Int(50..)]
                )
            });
            let script = scope.spawn(|| {
                let mut client = Client::connect(server.port());
                let eval = ["EVAL", "while true do end", "0"];
                client.ask(&[eval.map(|word| word.as_bytes().to_vec()).to_vec()]);
            });
            wait_until("it waits", || {
                told.pauses().len() >= 3 || loading.is_finished()
            });
            client.ask(&[words("SCRIPT KILL")]);
            script.join().expect("the script ends");
            loading.join().expect("the load ends")
        });
        assert!(report.stopped.is_none(), "{name}: {report:?}");
        assert_eq!(restored(&report), KEYS, "{name}: {report:?}");
        assert!(
            told.pauses().iter().all(|words| words.contains("BUSY ")),
            "{name}: {:?}",
            told.pauses()
        );
        let restarts = told.restarts.into_inner().expect("not poisoned");
        assert_eq!(restarts, [0; 0], "{name}: it was busy, not gone");
    }
}

/// A comparison is not taken in by it, either: what cannot be asked now is asked later.
#[test]
fn a_comparison_waits_for_a_busy_script() {
    let server = Server::start("redis-7.0");
    server.run("CONFIG SET lua-time-limit 20");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let url = server.url();
    run(["load", &file, "--to", &url]).ends_with(0);
    let errors = |client: &mut Client| {
        let reply = client.ask(&[words("INFO stats")]).remove(0);
        let redis::Value::BulkString(text) = reply else {
            panic!("{reply:?}");
        };
        let text = String::from_utf8(text).expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("total_error_replies:"));
        line.expect("it counts them")
            .parse::<u64>()
            .expect("a number")
    };
    let mut client = Client::connect(server.port());
    let before = errors(&mut client);
    std::thread::scope(|scope| {
        let args = [
            "compare",
            &file,
            "--to",
            &url,
            "--json",
            "--max-keys-per-sec",
            "500",
        ];
        let comparing = scope.spawn(move || run(args));
        std::thread::sleep(Duration::from_millis(1200));
        let script = scope.spawn(|| {
            let eval = ["EVAL", "while true do end", "0"];
            let eval = eval.map(|word| word.as_bytes().to_vec()).to_vec();
            Client::connect(server.port()).ask(&[eval]);
        });
        std::thread::sleep(Duration::from_millis(2500));
        client.ask(&[words("SCRIPT KILL")]);
        script.join().expect("the script ends");
        let ran = comparing.join().expect("it ends");
        let report = ran.ends_with(0).json();
        assert_eq!(report["outcomes"]["same"], KEYS, "{ran:?}");
    });
    assert!(errors(&mut client) > before + 3, "nothing was refused");
}

/// A server that takes 700 keys and then, `connections` times, none.
fn refusing(words: &'static str, connections: usize) -> Refusal {
    Refusal {
        words,
        after: 700,
        connections,
        as_replica: 0,
    }
}

/// Everything is restored, each key was taken once, and each pause was said in the server's words.
#[track_caller]
fn all_arrive(refusal: Refusal, options: Options, pauses: usize) {
    let server = Recorder::refusing(REDIS, refusal);
    let told = Told::default();
    let report = load(&server.url(), &dump(), options, &told);
    let words = refusal.words;
    assert!(report.stopped.is_none(), "{words}: {report:?}");
    assert_eq!(restored(&report), KEYS, "{words}: {report:?}");
    let keys: BTreeSet<_> = server.take().into_iter().map(|sent| sent.key).collect();
    assert_eq!(keys.len() as u64, KEYS, "{words}");
    assert_eq!(report.pauses, pauses as u64, "{words}: {report:?}");
    assert!(!report.longest_stall.is_zero(), "{words}");
    let said = told.pauses();
    assert_eq!(said.len(), pauses, "{words}: {said:?}");
    assert!(said[0].contains(words), "{words}: {said:?}");
    let listed = told.keys.into_inner().expect("not poisoned");
    assert!(listed.is_empty(), "{words}: {listed:?}");
}

fn restored(report: &Report) -> u64 {
    report.tally.get(Outcome::Restored(Road::Raw))
}

/// What passes by itself, and what somebody mends.
const PASSING: [&str; 10] = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "TRYAGAIN Slot is being trimmed",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    // Words that nobody knows, to everything: a quota that is used up for a while.
    "ERR max requests limit exceeded. Limit: 500000",
];

#[test]
fn what_passes_is_waited_for_and_nothing_is_lost_or_doubled() {
    for words in PASSING {
        all_arrive(refusing(words, 2), patient(), 2);
    }
}

#[test]
fn a_failover_is_waited_for_until_there_is_a_master_again() {
    let refusal = Refusal {
        as_replica: 3,
        ..refusing("READONLY You can't write against a read only replica.", 1)
    };
    all_arrive(refusal, patient(), 4);
}

#[test]
fn a_login_that_ran_out_is_tried_once_more_and_then_given_up() {
    let words = "NOAUTH Authentication required.";
    all_arrive(refusing(words, 1), patient(), 1);
    gives_up(refusing(words, usize::MAX), patient(), 1);
}

/// It ends in the server's words; what it did not take is nothing but not reached.
#[track_caller]
fn gives_up(refusal: Refusal, options: Options, least_pauses: usize) {
    let server = Recorder::refusing(REDIS, refusal);
    let told = Told::default();
    let report = load(&server.url(), &dump(), options, &told);
    let words = refusal.words;
    let stopped = report.stopped.as_ref().expect("it ends early");
    let text = stopped.to_string();
    assert!(text.contains(words), "{words}: {text}");
    assert_eq!(stopped.kind(), ErrorKind::Destination, "{words}");
    assert!(!report.aborted && report.adds_up(), "{words}: {report:?}");
    let taken = server.take().len() as u64;
    assert_eq!((restored(&report), taken), (700, 700), "{words}");
    let rest = report.tally.get(Outcome::NotReached);
    assert_eq!(rest, KEYS - 700, "{words}: {:?}", report.tally);
    let said = told.pauses().len();
    assert!(said >= least_pauses, "{words}: {said} pauses");
    match said {
        0 => {}
        _ => assert!(text.contains("gave up after"), "{words}: {text}"),
    }
}

#[test]
fn who_is_not_to_wait_stops_and_calls_nothing_failed() {
    for words in PASSING {
        gives_up(refusing(words, usize::MAX), options(), 0);
        let short = Options {
            retry_for: Duration::from_millis(300),
            wait_for: Duration::from_millis(300),
            ..options()
        };
        gives_up(refusing(words, usize::MAX), short, 1);
    }
}

/// A key that cannot be stored fails alone; with `--fail-fast` nothing is sent behind it, and the next run goes on behind it.
#[test]
fn a_bad_key_stops_the_others_only_where_that_is_asked_for() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let data = (0..3000)
        .fold(Dump::redis(7).select_db(0), |dump, i| match i {
            // A hash whose bytes are none.
            100 | 2000 => dump.key(13, format!("bad{i}"), string("no ziplist")),
            _ => dump.string_key(format!("k{i}"), "value"),
        })
        .finish(Crc::Right);
    let file = dir.file("dump.rdb", data);
    let journal = dir.path().join("journal").display().to_string();
    let url = server.url();
    let load = |flags: &[&str]| {
        let args = ["load", &file, "--to", &url, "--json", "--journal", &journal];
        let ran = run([&args[..], flags].concat());
        let report = ran.ends_with(1).json();
        assert_eq!(report["adds_up"], true, "{ran:?}");
        let count = |name: &str| report["outcomes"][name].as_u64().expect("a number");
        let counts = [count("restored_raw"), count("failed"), count("not_reached")];
        (counts, ran.stderr, report["stopped"].clone())
    };
    let size = || server.run("DBSIZE");
    let slow = ["--fail-fast", "--max-keys-per-sec", "2000"];
    let (first, said, stopped) = load(&slow);
    let [restored, 1, rest @ 1000..=2999] = first else {
        panic!("{first:?}: {said}");
    };
    assert_eq!(restored + 1 + rest, 3000);
    assert_eq!(size(), redis::Value::Int(restored as i64));
    assert!(said.contains("bad100"), "{said}");
    let words = stopped.as_str().expect("it says why");
    assert!(words.contains("--fail-fast") && words.contains("the same command goes on"));
    let (second, said, _) = load(&slow);
    let [more, 2, 1..=999] = second else {
        panic!("{second:?}: {said}");
    };
    assert!(more > restored && said.contains("bad2000"), "{said}");
    // Without it, the rest.
    let (third, said, stopped) = load(&[]);
    assert_eq!(third, [2998, 2, 0], "{said}");
    assert!(stopped.is_null(), "{stopped}");
    assert_eq!(size(), redis::Value::Int(2998));
}

/// A token that runs out: the connection is cut, and the next one wants another password, which is read anew.
#[test]
fn a_password_that_changes_is_read_again() {
    let server = Server::setup("redis-7.0")
        .with_password("the-old-one")
        .start();
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let password = dir.file("password", "the-old-one");
    let url = format!("redis://127.0.0.1:{}", server.port());
    let command = format!("cat {password}");
    let args = ["load", &file, "--to", &url, "--json", "--no-journal"];
    let gentle = ["--password-command", &command, "--max-keys-per-sec", "1500"];
    let args: Vec<String> = [&args[..], &gentle]
        .concat()
        .iter()
        .map(|arg| (*arg).to_owned())
        .collect();
    let loading = std::thread::spawn(move || run(args));
    let mut client = Client::connect(server.port());
    client.ask(&[words("AUTH the-old-one")]);
    wait_until("keys come", || {
        matches!(
            client.ask(&[words("DBSIZE")])[..],
            [redis::Value::Int(50..)]
        )
    });
    dir.file("password", "the-new-one");
    client.ask(&[
        words("CONFIG SET requirepass the-new-one"),
        words("CLIENT KILL TYPE normal SKIPME yes"),
    ]);
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], KEYS, "{ran:?}");
    assert!(report["pauses"].as_u64() >= Some(1), "{ran:?}");
    assert!(!ran.stderr.contains("-one"), "{}", ran.stderr);
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !happens() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Small keys, a list of three million bytes in small elements, and a string of the same size that nothing compresses.
fn with_large_values() -> Vec<u8> {
    let mut random = Random::new(3, "limits", 0);
    let noise: Vec<u8> = (0..3_000_000).map(|_| random.number() as u8).collect();
    let mut list = length(60_000);
    for i in 0..60_000 {
        list.extend(string(format!("{i:050}")));
    }
    let small = |dump: Dump, from: u64| {
        (from..from + 500).fold(dump, |dump, i| {
            dump.string_key(format!("k{i}"), format!("value {i}"))
        })
    };
    let dump = small(Dump::redis(7), 0).key(1, "list", list);
    small(dump, 500)
        .string_key("string", &noise)
        .finish(Crc::Right)
}

/// The limit is known to nobody before: one server names it, the other closes the connection without a word.
#[test]
fn a_limit_that_is_hidden_is_learned_from_what_is_refused() {
    for (limit, value, is_bulk) in [
        ("proto-max-bulk-len", "1mb", true),
        ("client-query-buffer-limit", "1mb", false),
    ] {
        let server = Server::setup("redis-7.0").with(limit, [value]).start();
        server.run("ACL SETUSER loader on >secret ~* +@all -config");
        let told = Told::default();
        let url = format!("redis://loader:secret@127.0.0.1:{}", server.port());
        let report = load(&url, &with_large_values(), patient(), &told);
        let case = format!("{limit}: {report:?} {:?}", told.pauses());
        assert!(report.adds_up(), "{case}");
        assert_eq!(
            report.tally.get(Outcome::Restored(Road::Raw)),
            1000,
            "{case}"
        );
        assert_eq!(
            report.tally.get(Outcome::Restored(Road::Commands)),
            if is_bulk { 1 } else { 2 },
            "{case}"
        );
        assert_eq!(server.run("LLEN list"), redis::Value::Int(60_000), "{case}");
        let keys = told.keys.lock().expect("not poisoned");
        // A string may not be that long at all, or only not in one command.
        let failed = match &keys[..] {
            [] => false,
            [(key, Outcome::Failed, why)] => {
                assert!(
                    key == b"string" && why.contains("proto-max-bulk-len"),
                    "{why}"
                );
                true
            }
            other => panic!("{limit}: {other:?}"),
        };
        assert_eq!(failed, is_bulk, "{limit}: {keys:?}");
        let length = if is_bulk { 0 } else { 3_000_000 };
        assert_eq!(
            server.run("STRLEN string"),
            redis::Value::Int(length),
            "{case}"
        );
        let named = told
            .pauses()
            .iter()
            .any(|words| words.contains("invalid bulk length"));
        assert_eq!(named, is_bulk, "{case}");
    }
}

/// Function libraries go before the keys, and wait like them.
#[test]
fn libraries_wait_for_memory_too() {
    const CODE: &str =
        "#!lua name=mylib\nredis.register_function('f', function(keys, args) return 1 end)";
    let server = Server::start("redis-7.0");
    let fill = || drop(server.run("CONFIG SET maxmemory 1"));
    let data = Dump::redis(10)
        .function(CODE)
        .string_key("k", "v")
        .finish(Crc::Right);
    let told = Told::default();
    let report = std::thread::scope(|scope| {
        let (url, data, told) = (server.url(), &data, &told);
        let loading = scope.spawn(move || load_after(&url, data, patient(), told, fill));
        wait_until("it waits", || told.pauses().len() > 1);
        assert_eq!(server.run("DBSIZE"), redis::Value::Int(0));
        server.run("CONFIG SET maxmemory 0");
        loading.join().expect("no panic")
    });
    let case = format!("{report:?} {:?}", told.pauses());
    assert!(report.is_clean() && report.adds_up(), "{case}");
    assert_eq!(report.functions.loaded, 1, "{case}");
    assert!(
        told.pauses()
            .iter()
            .all(|words| words.contains("OOM") && words.contains("function library")),
        "{case}"
    );
    let listed = format!("{:?}", server.run("FUNCTION LIST"));
    assert!(listed.contains("mylib"), "{listed}");
}
