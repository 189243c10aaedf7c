//! What becomes of each key under each policy, and what a load says where it cannot go on.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rdbridge::ErrorKind;
use rdbridge::outcome::{Outcome, Road};
use rdbridge::replay::{DbMap, ExpiredPolicy};
use rdbridge::select::{Criteria, Selection};
use rdbridge::time::Timestamp;
use rdbridge::verbs::load::{FunctionPolicy, OnConflict, Options};

use super::support::command::{self, Dir, program, run_with};
use super::support::contents::{Meaning, read};
use super::support::dump::{Crc, Dump, length, string};
use super::support::journaled::wait_until;
use super::support::loading::{connector, load, load_some, now_ms, options};
use super::support::samples;
use super::support::server::{Server, all, free_port, version_of};

/// Keys `PREFIX0` and so on, of version 6, which every server takes.
fn strings(prefix: &str, count: usize) -> Dump {
    (0..count).fold(Dump::redis(6).select_db(0), |dump, i| {
        dump.string_key(format!("{prefix}{i}"), format!("value {i}"))
    })
}

/// Values that do not compress and are not alike.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

fn text(server: &Server, key: &str) -> String {
    match server.run(&format!("GET {key}")) {
        redis::Value::BulkString(bytes) => String::from_utf8(bytes).expect("text"),
        redis::Value::Nil => "-".to_owned(),
        other => panic!("{other:?}"),
    }
}

fn dbsize(server: &Server) -> u64 {
    match server.run("DBSIZE") {
        redis::Value::Int(size) => u64::try_from(size).expect("a size"),
        other => panic!("{other:?}"),
    }
}

// ---- before the first write -----------------------------------------------------------------------------------------

/// What a stored key would change.
fn state(server: &Server) -> (u64, String, Option<String>) {
    let redis::Value::BulkString(keyspace) = server.run("INFO keyspace") else {
        panic!("INFO is text");
    };
    let keyspace = String::from_utf8(keyspace).expect("text");
    // What stands behind is a moving average of what is left of the expiries.
    let keyspace: Vec<&str> = keyspace
        .lines()
        .map(|line| line.split(",avg_ttl").next().unwrap_or(line))
        .collect();
    (
        dbsize(server),
        keyspace.join("\n"),
        server.info("rdb_changes_since_last_save"),
    )
}

/// Everything that `Load::begin` does, without what follows.
fn begin(url: &str, data: &[u8], options: Options) -> rdbridge::Result<()> {
    let snapshot = rdbridge::snapshot::Snapshot::parse(data)?;
    let survey = rdbridge::verbs::load::survey(
        &snapshot,
        &mut Selection::all(),
        options.policies.now_ms,
        &mut |_| Ok(()),
    )?;
    rdbridge::verbs::load::Load::begin(connector(url), &[survey], options).map(|_| ())
}

#[test]
fn nothing_is_stored_before_the_load_begins() {
    let samples = samples::all();
    for name in all() {
        let server = Server::start(name);
        server.run("SET prefix:taken precious");
        server.run("SET other x");
        let own: Vec<_> = samples
            .iter()
            .filter(|s| s.home.as_deref() == Some(name) && !s.name.ends_with("empty.rdb"))
            .collect();
        assert!(own.len() >= 8, "{name}");
        let before = state(&server);
        for sample in own {
            begin(&server.url(), &sample.data, options())
                .unwrap_or_else(|e| panic!("{} into {name}: {e}", sample.name));
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(state(&server), before, "{name}");
    }
}

#[test]
fn a_user_who_may_only_restore_under_a_prefix_loads() {
    let data = strings("prefix:", 700)
        .string_key("prefix:taken", "new")
        .key(
            1,
            "prefix:list",
            [length(2), string("a"), string("b")].concat(),
        )
        .finish(Crc::Right);
    for name in all() {
        let (_, major, _) = version_of(name);
        if major < 6 {
            continue;
        }
        let server = Server::start(name);
        server.run("SET prefix:taken precious");
        server.run("ACL SETUSER mover on >pass ~prefix:* +restore");
        let before = state(&server);
        let url = format!("redis://mover:pass@127.0.0.1:{}", server.port());
        begin(&url, &data, options()).unwrap_or_else(|e| panic!("{name}: {e}"));
        thread::sleep(Duration::from_millis(20));
        assert_eq!(state(&server), before, "{name}");

        let loaded = load(&url, &data, options()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(loaded.stopped(), "", "{name}");
        assert_eq!(
            (loaded.restored(), loaded.count(Outcome::Conflict)),
            (701, 1)
        );
        assert_eq!(
            loaded.report.evicted, None,
            "{name} does not tell this user"
        );
        assert_eq!(dbsize(&server), 702, "{name}");
        assert_eq!(text(&server, "prefix:taken"), "precious", "{name}");
        assert_eq!(text(&server, "prefix:699"), "value 699", "{name}");
    }
}

#[test]
fn one_flipped_bit_in_the_last_value_leaves_the_destination_empty() {
    let server = Server::start("redis-7.0");
    let mut data = strings("k", 2000).finish(Crc::Right);
    let at = data.len() - 9 - 2;
    data[at] ^= 0x10;
    let error = load(&server.url(), &data, options()).expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.place().is_some(), "{error}");

    let dir = command::Dir::new();
    let file = dir.path().join("dump.rdb");
    std::fs::write(&file, &data).expect("written");
    let ran = command::run([
        "load".as_ref(),
        file.as_os_str(),
        "--to".as_ref(),
        server.url().as_ref(),
    ]);
    ran.ends_with(3);
    assert!(ran.stderr.contains("offset"), "{}", ran.stderr);
    assert_eq!(dbsize(&server), 0);
}

#[test]
fn more_databases_than_the_destination_has_are_refused_before_the_first_write() {
    let server = Server::setup("redis-7.0").with("databases", ["4"]).start();
    let data = [0, 2, 9, 15]
        .into_iter()
        .fold(Dump::redis(9), |dump, db| {
            dump.select_db(db).string_key(format!("in {db}"), "x")
        })
        .finish(Crc::Right);
    let error = load(&server.url(), &data, options()).expect_err("too many");
    let words = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert!(
        words.contains("no database 9") && words.contains("--map-db"),
        "{words}"
    );
    assert_eq!(dbsize(&server), 0);

    let mut mapped = options();
    mapped.policies.db_map = DbMap::new([(9, 3), (15, 0), (0, 1)]);
    let loaded = load(&server.url(), &data, mapped).expect("loads");
    assert_eq!(loaded.restored(), 4, "{:?}", loaded.report);
    let names: Vec<_> = read(&server).keys.into_keys().collect();
    let expected = [(0, "in 15"), (1, "in 0"), (2, "in 2"), (3, "in 9")];
    assert_eq!(
        names,
        expected.map(|(db, key)| (db, key.as_bytes().to_vec()))
    );
}

#[test]
fn a_user_who_may_not_select_is_told_before_the_first_write() {
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >p ~* +@all -select");
    let data = strings("k", 10)
        .select_db(3)
        .string_key("far", "x")
        .finish(Crc::Right);
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let error = load(&url, &data, options()).expect_err("no SELECT");
    assert!(error.to_string().contains("select"), "{error}");
    assert_eq!(dbsize(&server), 0);
    let mut mapped = options();
    mapped.policies.db_map = DbMap::new([(3, 0)]);
    let loaded = load(&url, &data, mapped).expect("loads");
    assert_eq!(loaded.restored(), 11, "database 0 needs no SELECT");
}

#[test]
fn clusters_without_slots_and_replicas_are_refused_in_words() {
    let data = strings("k", 3).finish(Crc::Right);
    for name in ["redis-6.2", "redis-8.10", "valkey-9.0"] {
        let server = Server::setup(name).with("cluster-enabled", ["yes"]).start();
        let error = load(&server.url(), &data, options()).expect_err("a cluster");
        assert_eq!(error.kind(), ErrorKind::Destination);
        assert!(
            error.to_string().contains("slots have no owner: 0-16383"),
            "{name}: {error}"
        );
    }
    let master = Server::start("redis-7.0");
    let replica = Server::start("redis-7.0");
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    for read_only in ["yes", "no"] {
        replica.run(&format!("CONFIG SET replica-read-only {read_only}"));
        let error = load(&replica.url(), &data, options()).expect_err("a replica");
        let words = error.to_string();
        assert!(
            words.contains("replica") && words.contains(&master.port().to_string()),
            "{words}"
        );
        assert_eq!(dbsize(&replica), 0);
    }
}

// ---- conflicts ------------------------------------------------------------------------------------------------------

/// Five keys, of which the destination has two.
fn with_conflicts(server: &Server) -> Vec<u8> {
    server.run("FLUSHALL");
    server.run("SET k1 old");
    server.run("SET k3 old");
    strings("k", 5).finish(Crc::Right)
}

fn on(on_conflict: OnConflict) -> Options {
    Options {
        on_conflict,
        ..options()
    }
}

#[test]
fn keys_that_exist_follow_the_policy() {
    for name in all() {
        let server = Server::start(name);
        let data = with_conflicts(&server);
        let loaded = load(&server.url(), &data, on(OnConflict::Fail)).expect("loads");
        assert_eq!(
            (loaded.restored(), loaded.count(Outcome::Conflict)),
            (3, 2),
            "{name}"
        );
        let listed: Vec<_> = loaded
            .listed(Outcome::Conflict)
            .iter()
            .map(|e| e.key.clone())
            .collect();
        assert_eq!(listed, [b"k1", b"k3"], "{name}");
        assert!(!loaded.report.is_clean(), "{name}");
        assert_eq!(
            (text(&server, "k1"), text(&server, "k4")),
            ("old".into(), "value 4".into())
        );

        let data = with_conflicts(&server);
        let loaded = load(&server.url(), &data, on(OnConflict::Skip)).expect("loads");
        assert_eq!(
            (loaded.restored(), loaded.count(Outcome::Existing)),
            (3, 2),
            "{name}"
        );
        assert!(loaded.report.is_clean(), "{name}");
        assert_eq!(
            (text(&server, "k3"), text(&server, "k4")),
            ("old".into(), "value 4".into())
        );

        let data = with_conflicts(&server);
        let loaded = load(&server.url(), &data, on(OnConflict::Replace)).expect("loads");
        assert_eq!(loaded.restored(), 5, "{name}: {:?}", loaded.report);
        assert_eq!(text(&server, "k3"), "value 3", "{name}");
        assert_eq!(dbsize(&server), 5, "{name}");

        let data = with_conflicts(&server);
        let mut abort = on(OnConflict::Abort);
        // One at a time: nothing else is under way when the conflict is told.
        abort.window.commands = 1;
        abort.window.most_commands = 1;
        let loaded = load(&server.url(), &data, abort).expect("begins");
        assert_eq!(
            (
                loaded.restored(),
                loaded.count(Outcome::Conflict),
                loaded.count(Outcome::NotReached)
            ),
            (1, 1, 3),
            "{name}"
        );
        assert!(
            loaded.stopped().contains("first key that exists"),
            "{}",
            loaded.stopped()
        );
        assert_eq!(
            (text(&server, "k1"), dbsize(&server)),
            ("old".into(), 3),
            "{name}"
        );
    }
}

#[test]
fn require_empty_refuses_a_single_key_in_any_database() {
    let server = Server::start("redis-7.0");
    let mut client = server.connect();
    redis::cmd("SELECT")
        .arg(7)
        .exec(&mut client)
        .expect("SELECT");
    redis::cmd("SET")
        .arg("a")
        .arg(1)
        .exec(&mut client)
        .expect("SET");
    let data = strings("k", 3).finish(Crc::Right);
    let empty = || Options {
        require_empty: true,
        ..options()
    };
    let error = load(&server.url(), &data, empty()).expect_err("not empty");
    assert!(error.to_string().contains("holds 1 key"), "{error}");
    server.run("FLUSHALL");
    assert_eq!(
        load(&server.url(), &data, empty())
            .expect("loads")
            .restored(),
        3
    );
    server.run("FLUSHALL");
    // Who cannot know refuses.
    server.run("ACL SETUSER u on >p ~* +restore");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let error = load(&url, &data, empty()).expect_err("not known");
    assert!(error.to_string().contains("does not say"), "{error}");
}

// ---- expiry ---------------------------------------------------------------------------------------------------------

/// One key before, at and behind `now`, one far away and one that stays.
fn around(now: i64) -> Vec<u8> {
    Dump::redis(6)
        .select_db(0)
        .expire_ms(now - 1)
        .string_key("before", "x")
        .expire_ms(now)
        .string_key("at", "x")
        .expire_ms(now + 1)
        .string_key("behind", "x")
        .expire_ms(now + 1_000_000)
        .string_key("far", "x")
        .string_key("stays", "x")
        .finish(Crc::Right)
}

#[test]
fn what_is_past_at_the_instant_follows_the_policy() {
    for name in all() {
        let server = Server::start(name);
        // An hour ahead, so that nothing is past its time while the test runs.
        let instant = now_ms() + 3_600_000;
        let data = around(instant);
        let ttl = |key: &str| match server.run(&format!("PTTL {key}")) {
            redis::Value::Int(ms) => ms,
            other => panic!("{other:?}"),
        };
        let about = |ms: i64, expected: i64| (ms - expected).abs() < 60_000;

        let mut drop = options();
        drop.policies.now_ms = instant;
        let loaded = load(&server.url(), &data, drop.clone()).expect("loads");
        assert_eq!(
            (loaded.count(Outcome::Expired), loaded.restored()),
            (2, 3),
            "{name}"
        );
        assert!(
            loaded.report.is_clean(),
            "{name}: dropping is what was asked for"
        );
        assert_eq!(ttl("stays"), -1, "{name}");
        assert!(about(ttl("behind"), 3_600_000), "{name}: {}", ttl("behind"));
        assert!(about(ttl("far"), 4_600_000), "{name}");
        assert_eq!(text(&server, "at"), "-", "{name}");

        server.run("FLUSHALL");
        let mut persist = drop.clone();
        persist.policies.expired = ExpiredPolicy::Persist;
        let loaded = load(&server.url(), &data, persist).expect("loads");
        assert_eq!(loaded.restored(), 5, "{name}");
        assert_eq!((ttl("before"), ttl("at")), (-1, -1), "{name}");
        assert!(about(ttl("behind"), 3_600_000), "{name}");

        server.run("FLUSHALL");
        let mut later = drop.clone();
        later.policies.expired = ExpiredPolicy::Ttl(500_000);
        let loaded = load(&server.url(), &data, later).expect("loads");
        assert_eq!(loaded.restored(), 5, "{name}");
        assert!(about(ttl("at"), 4_100_000), "{name}: {}", ttl("at"));
    }
}

#[test]
fn replace_and_an_expired_entry_leave_an_existing_key_untouched() {
    for name in all() {
        let server = Server::start(name);
        server.run("SET precious old");
        server.run("SET gone old");
        let now = now_ms();
        let data = Dump::redis(6)
            .select_db(0)
            .expire_ms(now - 1)
            .string_key("precious", "new")
            .expire_ms(1)
            .string_key("gone", "new")
            .string_key("other", "new")
            .finish(Crc::Right);
        let loaded = load(&server.url(), &data, on(OnConflict::Replace)).expect("loads");
        assert_eq!(
            (loaded.count(Outcome::Expired), loaded.restored()),
            (2, 1),
            "{name}"
        );
        assert_eq!(
            (text(&server, "precious"), text(&server, "gone")),
            ("old".into(), "old".into())
        );
    }
}

#[test]
fn what_expires_on_its_way_is_told_apart() {
    // Not past at the instant, past when it arrives: the server says OK and holds nothing.
    let server = Server::start("redis-7.0");
    let mut options = options();
    options.policies.now_ms = now_ms() - 100_000;
    let data = around(options.policies.now_ms);
    let loaded = load(&server.url(), &data, options).expect("loads");
    assert_eq!(
        (
            loaded.count(Outcome::Expired),
            loaded.count(Outcome::ExpiredOnArrival),
            loaded.restored()
        ),
        (2, 1, 2)
    );
    assert_eq!((text(&server, "behind"), dbsize(&server)), ("-".into(), 2));
    assert!(loaded.report.is_clean(), "nothing is wrong with that");
}

// ---- functions ------------------------------------------------------------------------------------------------------

#[test]
fn function_libraries_follow_the_policy() {
    let library = |name: &str, value: u8| {
        format!(
            "#!lua name={name}\nredis.register_function('{name}', function() return {value} end)"
        )
    };
    let data = Dump::redis(10)
        .function(library("one", 1))
        .function(library("two", 2))
        .select_db(0)
        .string_key("k", "v")
        .finish(Crc::Right);
    let with = |functions| Options {
        functions,
        on_conflict: OnConflict::Skip,
        ..options()
    };
    for name in ["redis-7.0", "redis-8.10", "valkey-8.0", "valkey-9.0"] {
        let server = Server::start(name);
        let mut client = server.connect();
        redis::cmd("FUNCTION")
            .arg("LOAD")
            .arg(library("one", 7))
            .exec(&mut client)
            .expect("FUNCTION LOAD");
        let call = |function: &str| server.run(&format!("FCALL {function} 0"));
        let loaded = load(&server.url(), &data, with(FunctionPolicy::Skip)).expect("loads");
        let functions = &loaded.report.functions;
        assert_eq!(
            (functions.found, functions.skipped, functions.loaded),
            (2, 2, 0),
            "{name}"
        );
        assert!(loaded.report.is_clean());

        let loaded = load(&server.url(), &data, with(FunctionPolicy::Load)).expect("loads");
        let functions = &loaded.report.functions;
        assert_eq!(
            (functions.loaded, functions.skipped, functions.failed.len()),
            (1, 1, 0),
            "{name}: under skip an existing library is left alone like an existing key"
        );
        assert!(loaded.report.is_clean());
        let fail = Options {
            on_conflict: OnConflict::Fail,
            ..with(FunctionPolicy::Load)
        };
        let loaded = load(&server.url(), &data, fail).expect("loads");
        let functions = &loaded.report.functions;
        assert_eq!((functions.loaded, functions.failed.len()), (0, 2), "{name}");
        assert!(
            functions.failed[0].reason.contains("already exists"),
            "{functions:?}"
        );
        assert!(!loaded.report.is_clean(), "under fail it is a conflict");
        assert_eq!(
            (call("one"), call("two")),
            (redis::Value::Int(7), redis::Value::Int(2))
        );

        let loaded = load(&server.url(), &data, with(FunctionPolicy::Replace)).expect("loads");
        assert_eq!(loaded.report.functions.loaded, 2, "{name}");
        assert!(loaded.report.is_clean());
        assert_eq!(call("one"), redis::Value::Int(1), "{name}");
        assert_eq!(dbsize(&server), 1);
    }
    // A server without functions: the keys go, the libraries are refused.
    let old = Server::start("redis-6.2");
    let loaded = load(&old.url(), &data, with(FunctionPolicy::Load)).expect("loads");
    assert_eq!((loaded.restored(), loaded.report.functions.refused), (1, 2));
    assert!(!loaded.report.is_clean());
}

// ---- destinations that cannot go on ---------------------------------------------------------------------------------

/// Twenty megabytes in small values, whose producer claims to need next to nothing.
fn twenty_megabytes() -> Vec<u8> {
    (0..20_000)
        .fold(
            Dump::redis(7).aux("used-mem", "1000").select_db(0),
            |dump, i| dump.string_key(format!("k{i}"), noise(i, 1000)),
        )
        .finish(Crc::Right)
}

/// A load that does not find out beforehand that there is too little room.
fn unwatched() -> Options {
    Options {
        growth_check: false,
        ..options()
    }
}

/// Limits memory to what the server uses now and this much more.
fn limit(server: &Server, policy: &str, more: u64) {
    let used: u64 = server
        .info("used_memory")
        .expect("INFO")
        .parse()
        .expect("bytes");
    server.run(&format!("CONFIG SET maxmemory-policy {policy}"));
    server.run(&format!("CONFIG SET maxmemory {}", used + more));
}

#[test]
fn an_evicting_server_stops_the_load() {
    for name in ["redis-7.0", "redis-5.0", "valkey-8.1"] {
        let server = Server::start(name);
        let data = twenty_megabytes();
        limit(&server, "allkeys-lru", 6 << 20);
        let loaded = load(&server.url(), &data, unwatched()).expect("begins");
        assert!(
            loaded.stopped().contains("evicted"),
            "{name}: {:?}",
            loaded.report
        );
        assert!(loaded.report.evicted.expect("known") > 0, "{name}");
        assert!(!loaded.report.is_clean());

        // Slow enough to be seen on its way: one command at a time.
        server.run("FLUSHALL");
        let mut slow = unwatched();
        slow.window.commands = 1;
        slow.window.most_commands = 1;
        let loaded = load(&server.url(), &data, slow).expect("begins");
        assert!(
            loaded.stopped().contains("evicted"),
            "{name}: {:?}",
            loaded.report
        );
        assert!(
            loaded.count(Outcome::NotReached) > 1000,
            "{name}: {:?}",
            loaded.report
        );

        server.run("FLUSHALL");
        let allow = Options {
            allow_eviction: true,
            ..options()
        };
        let loaded = load(&server.url(), &data, allow).expect("begins");
        assert_eq!(
            (loaded.stopped().as_str(), loaded.restored()),
            ("", 20_000),
            "{name}"
        );
        let evicted = loaded.report.evicted.expect("known");
        // The server goes on evicting for a moment.
        let known = dbsize(&server) + evicted;
        assert!((19_000..=20_000).contains(&known), "{name}: {known}");
        assert!(!loaded.report.is_clean(), "{name}");
    }
}

/// The same through the command, where the policy is changed while it runs: exit code and words, whoever reads them.
#[test]
fn an_evicting_server_shows_in_the_exit_code() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", twenty_megabytes());
    let url = server.url();
    let rate = ["--max-bytes-per-sec", "8MB", "--no-growth-check"];
    let mut command = program();
    command
        .args(["load", &file, "--to", &url, "--json"])
        .args(rate);
    let loading = thread::spawn(move || run_with(&mut command, b""));
    wait_until("it has begun", || dbsize(&server) > 500);
    limit(&server, "allkeys-lru", 2 << 20);
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(4).json();
    for words in [
        "the destination evicted ",
        "keys are lost behind its OK",
        "--allow-eviction",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    let evicted = report["evicted"].as_u64().expect("known");
    assert!(evicted > 0 && report["adds_up"] == true, "{ran:?}");
    assert!(
        report["outcomes"]["not_reached"].as_u64() > Some(1000),
        "{ran:?}"
    );

    // Who allows it is told all the same: not everything is there.
    server.run("CONFIG SET maxmemory 0");
    server.run("FLUSHALL");
    limit(&server, "allkeys-lru", 6 << 20);
    let args = ["load", &file, "--to", &url, "--json", "--no-journal"];
    let allowed = run_with(program().args(args).arg("--allow-eviction"), b"");
    let report = allowed.ends_with(1).json();
    assert!(report["evicted"].as_u64() > Some(0), "{allowed:?}");
}

#[test]
fn too_little_room_is_said_before_the_first_write() {
    let server = Server::start("redis-7.0");
    limit(&server, "volatile-ttl", 6 << 20);
    let data = (0..20_000)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            dump.string_key(format!("k{i}"), noise(i, 1000))
        })
        .finish(Crc::Right);
    let error = load(&server.url(), &data, options()).expect_err("no room");
    let words = error.to_string();
    assert!(
        words.contains("volatile-ttl") && words.contains("--allow-eviction"),
        "{words}"
    );
    assert_eq!(dbsize(&server), 0);
}

#[test]
fn a_destination_without_memory_stops_the_load() {
    let server = Server::start("redis-7.0");
    let data = twenty_megabytes();
    limit(&server, "noeviction", 6 << 20);
    let loaded = load(&server.url(), &data, unwatched()).expect("begins");
    let words = loaded.stopped();
    assert!(
        words.contains("OOM") && words.contains("more memory"),
        "{words}"
    );
    assert!(loaded.restored() > 1000 && loaded.count(Outcome::NotReached) > 1000);
    assert_eq!(
        loaded.restored(),
        dbsize(&server),
        "what is counted is there"
    );
    assert_eq!(
        loaded.restored() + loaded.count(Outcome::NotReached),
        20_000
    );
    // Now it is full from the start. (Without our connection's buffers it may have had a little room again.)
    server.run("CONFIG SET maxmemory 1mb");
    let error = load(&server.url(), &data, options()).expect_err("full");
    assert!(error.to_string().contains("memory"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Destination);
}

#[test]
fn a_destination_that_cannot_save_is_refused() {
    let server = Server::start("redis-7.0");
    server.run("SET a 1");
    std::fs::create_dir(server.dir().join("dump.rdb")).expect("made");
    redis::cmd("CONFIG")
        .arg(&["SET", "save", "3600 1"])
        .exec(&mut server.connect())
        .expect("CONFIG SET");
    server.run("BGSAVE");
    for _ in 0..500 {
        if server.info("rdb_last_bgsave_status").as_deref() == Some("err") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let error = load(
        &server.url(),
        &strings("k", 3).finish(Crc::Right),
        options(),
    )
    .expect_err("it refuses writes");
    assert!(error.to_string().contains("MISCONF"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert_eq!(dbsize(&server), 1);
}

#[test]
fn a_destination_that_is_loading_is_refused() {
    let server = Server::setup("redis-7.0")
        .with_debug()
        .with("loading-process-events-interval-bytes", ["1024"])
        .with("key-load-delay", ["1000"])
        .start();
    let data = strings("k", 3000).finish(Crc::Right);
    assert_eq!(
        load(&server.url(), &data, options())
            .expect("loads")
            .restored(),
        3000
    );
    thread::scope(|scope| {
        scope.spawn(|| server.run("DEBUG RELOAD"));
        while server.info("loading").as_deref() != Some("1") {
            thread::sleep(Duration::from_millis(5));
        }
        let error = load(&server.url(), &data, options()).expect_err("loading");
        assert!(error.to_string().contains("loading"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Destination);
    });
}

#[test]
fn keys_that_are_closed_fail_and_the_others_go_on() {
    for name in [
        "redis-6.0",
        "redis-7.0",
        "redis-8.10",
        "valkey-8.1",
        "valkey-9.0",
    ] {
        let server = Server::start(name);
        server.run("ACL SETUSER u on >p ~open:* +@all");
        let url = format!("redis://u:p@127.0.0.1:{}", server.port());
        // The first key that is met is closed in one, open in the other.
        for first in ["closed:", "open:"] {
            server.run("FLUSHALL");
            let data = (0..300)
                .fold(
                    Dump::redis(6)
                        .select_db(0)
                        .string_key(format!("{first}first"), "x"),
                    |dump, i| {
                        dump.string_key(format!("open:{i}"), "x")
                            .string_key(format!("closed:{i}"), "x")
                    },
                )
                .finish(Crc::Right);
            let loaded = load(&url, &data, options()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let extra = u64::from(first == "open:");
            assert_eq!(loaded.stopped(), "", "{name}");
            assert_eq!(
                (loaded.restored(), loaded.count(Outcome::Failed)),
                (300 + extra, 301 - extra),
                "{name}"
            );
            for event in loaded.listed(Outcome::Failed) {
                assert!(event.key.starts_with(b"closed:"), "{name}");
                assert!(event.reason.contains("NOPERM"), "{name}: {}", event.reason);
            }
            assert_eq!(dbsize(&server), 300 + extra, "{name}");
        }
        let nothing_open = strings("closed:", 50).finish(Crc::Right);
        let error = load(&url, &nothing_open, options()).expect_err("nothing can be loaded");
        assert!(error.to_string().contains("NOPERM"), "{name}: {error}");
    }
}

#[test]
fn destinations_that_cannot_be_used_say_why() {
    let data = strings("k", 3).finish(Crc::Right);
    let says = |url: &str, words: &[&str]| {
        let error = load(url, &data, options()).expect_err("cannot be used");
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Destination, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    };
    // Nobody listens.
    let port = free_port();
    says(
        &format!("redis://127.0.0.1:{port}"),
        &[&port.to_string(), "refused"],
    );
    says("unix:///tmp/no-such-socket", &["no-such-socket"]);

    let locked = Server::setup("redis-7.0").with_password("sesame").start();
    says(&format!("redis://127.0.0.1:{}", locked.port()), &["NOAUTH"]);
    says(
        &format!("redis://:hunter2@127.0.0.1:{}", locked.port()),
        &["WRONGPASS"],
    );
    let open = Server::start("redis-5.0");
    says(
        &format!("redis://:hunter2@127.0.0.1:{}", open.port()),
        &["leave it out"],
    );

    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >hunter2 ~* +@all -restore -renamenx");
    let url = format!("redis://u:hunter2@127.0.0.1:{}", server.port());
    says(&url, &["NOPERM", "+restore"]);

    // All its places are taken.
    let small = Server::start("redis-7.0");
    let keep = small.connect();
    small.run("CONFIG SET maxclients 1");
    says(&small.url(), &["max number of clients"]);
    drop(keep);

    // Something else lives there.
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", other.local_addr().expect("bound"));
    thread::spawn(move || {
        while let Ok((mut client, _)) = other.accept() {
            let mut bytes = [0; 1024];
            let _ = client.read(&mut bytes);
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    says(&url, &["HTTP/1.1 400 Bad Request"]);
}

/// A user who may not ask for the limit meets it on the way.
#[test]
fn a_limit_that_is_hidden_is_met_and_told() {
    for name in ["redis-6.2", "redis-7.0", "valkey-9.0"] {
        let server = Server::setup(name)
            .with("proto-max-bulk-len", ["1048576"])
            .start();
        server.run("ACL SETUSER u on >p ~* +@all -config");
        let url = format!("redis://u:p@127.0.0.1:{}", server.port());
        let data = strings("k", 100)
            .string_key("big", noise(1, 8 << 20))
            .string_key("behind", "x")
            .finish(Crc::Right);
        let loaded = load(&url, &data, options()).expect("begins");
        let words = loaded.stopped();
        assert!(words.contains("invalid bulk length"), "{name}: {words}");
        assert!(words.contains("proto-max-bulk-len"), "{name}: {words}");
        let (restored, uncertain) = (loaded.restored(), loaded.count(Outcome::Uncertain));
        let there = dbsize(&server);
        assert!(
            restored <= there && there <= restored + uncertain,
            "{name}: {:?}",
            loaded.report
        );
        assert_eq!(text(&server, "big"), "-");
    }
}

#[test]
fn a_string_over_the_limit_is_refused_and_the_others_go() {
    for name in [
        "redis-5.0",
        "redis-6.2",
        "redis-7.0",
        "redis-8.10",
        "valkey-9.0",
    ] {
        let server = Server::setup(name)
            .with("proto-max-bulk-len", ["1048576"])
            .start();
        // A payload is the value with its length, a type byte and ten more; a command has the value alone.
        let fits = (1 << 20) - 5 - 1 - 10;
        let data = Dump::redis(6)
            .select_db(0)
            .string_key("a", "x")
            .string_key("fits", noise(1, fits))
            .string_key("whole", noise(2, fits + 1))
            .string_key("over", noise(2, (1 << 20) + 1))
            .string_key("big", noise(3, 3 << 20))
            .string_key("z", "x")
            .finish(Crc::Right);
        let loaded = load(&server.url(), &data, options()).expect("begins");
        assert_eq!(loaded.stopped(), "", "{name}");
        assert_eq!(
            (loaded.restored(), loaded.count(Outcome::Refused)),
            (4, 2),
            "{name}"
        );
        assert_eq!(loaded.restored_raw(), 3, "{name}");
        for event in loaded.listed(Outcome::Refused) {
            assert!(
                event.reason.contains("proto-max-bulk-len"),
                "{}",
                event.reason
            );
        }
        assert_eq!(dbsize(&server), 4, "{name}");
    }
}

// ---- several connections --------------------------------------------------------------------------------------------

#[test]
fn several_connections_do_the_same() {
    let server = Server::start("redis-7.0");
    let mut data = Dump::redis(9);
    for db in 0..4 {
        data = data.select_db(db);
        for i in 0..1500u64 {
            data = data.string_key(format!("{db}:{i}"), noise(i, (i % 700) as usize));
        }
    }
    let data = data.finish(Crc::Right);
    let with = |connections, on_conflict| Options {
        connections,
        on_conflict,
        ..options()
    };
    let one = load(&server.url(), &data, with(1, OnConflict::Fail)).expect("loads");
    assert_eq!(one.restored(), 6000);
    let expected = read(&server);
    for connections in [2, 4, 7] {
        server.run("FLUSHALL");
        for db in 0..4 {
            let mut client = server.connect();
            redis::cmd("SELECT")
                .arg(db)
                .exec(&mut client)
                .expect("SELECT");
            for i in 0..100 {
                redis::cmd("SET")
                    .arg(format!("{db}:{i}"))
                    .arg("old")
                    .exec(&mut client)
                    .expect("SET");
            }
        }
        let some = load(&server.url(), &data, with(connections, OnConflict::Fail)).expect("loads");
        assert_eq!(
            (some.restored(), some.count(Outcome::Conflict)),
            (5600, 400)
        );
        let all =
            load(&server.url(), &data, with(connections, OnConflict::Replace)).expect("loads");
        assert_eq!(all.restored(), 6000);
        let got = read(&server);
        assert_eq!(got.sizes, expected.sizes);
        assert!(got.keys.iter().all(|(name, key)| {
            matches!(key.meaning, Meaning::Text(_)) && key.meaning == expected.keys[name].meaning
        }));
    }
}

// ---- selection ------------------------------------------------------------------------------------------------------

#[test]
fn what_is_not_selected_is_counted_and_not_sent() {
    let server = Server::start("redis-7.0");
    let data = [0, 1, 2]
        .into_iter()
        .fold(Dump::redis(9), |dump, db| {
            dump.select_db(db)
                .string_key("a", "x")
                .expire_ms(now_ms() + 1_000_000)
                .string_key("b", "x")
        })
        .finish(Crc::Right);
    let only = || {
        let criteria = Criteria {
            dbs: Some("1,2".parse().expect("numbers")),
            ttl: Some("none".parse().expect("a filter")),
            ..Criteria::default()
        };
        Selection::new(criteria, Timestamp(now_ms()), std::env::temp_dir()).expect("a selection")
    };
    let loaded = load_some(connector(&server.url()), &data, only, options()).expect("loads");
    assert_eq!(
        (loaded.restored(), loaded.count(Outcome::NotSelected)),
        (2, 4)
    );
    let names: Vec<_> = read(&server).keys.into_keys().collect();
    assert_eq!(names, [(1, b"a".to_vec()), (2, b"a".to_vec())]);
}

// ---- sums -----------------------------------------------------------------------------------------------------------

/// An entry of a random dump.
#[derive(Debug, Clone)]
struct Random {
    db: u64,
    expires: Expires,
    value: Value,
    /// The destination has a key of that name.
    exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expires {
    Never,
    Past,
    AtTheInstant,
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Text,
    List,
    EmptyList,
    /// A set as a listpack, which came with 7.2: the destination is a 7.0.
    Newer,
    /// An array, which came with 8.8 and has no older form.
    Strange,
}

/// How a random load is run.
#[derive(Debug, Clone)]
struct Run {
    on_conflict: OnConflict,
    expired: ExpiredPolicy,
    only_db: Option<u64>,
    mapped: bool,
    connections: usize,
    commands: usize,
}

fn random_entry() -> impl Strategy<Value = Random> {
    let expires = prop_oneof![
        4 => Just(Expires::Never),
        1 => Just(Expires::Past),
        1 => Just(Expires::AtTheInstant),
        2 => Just(Expires::Later),
    ];
    let value = prop_oneof![
        4 => Just(Value::Text),
        2 => Just(Value::List),
        1 => Just(Value::EmptyList),
        1 => Just(Value::Newer),
        1 => Just(Value::Strange),
    ];
    (0..3u64, expires, value, prop::bool::weighted(0.2)).prop_map(|(db, expires, value, exists)| {
        Random {
            db,
            expires,
            value,
            exists,
        }
    })
}

fn random_run() -> impl Strategy<Value = Run> {
    (
        prop_oneof![
            Just(OnConflict::Fail),
            Just(OnConflict::Skip),
            Just(OnConflict::Replace)
        ],
        prop_oneof![
            Just(ExpiredPolicy::Drop),
            Just(ExpiredPolicy::Persist),
            Just(ExpiredPolicy::Ttl(600_000))
        ],
        prop::option::weighted(0.3, 0..3u64),
        any::<bool>(),
        1..4usize,
        1..20usize,
    )
        .prop_map(
            |(on_conflict, expired, only_db, mapped, connections, commands)| Run {
                on_conflict,
                expired,
                only_db,
                mapped,
                connections,
                commands,
            },
        )
}

/// What must become of an entry.
fn expected(entry: &Random, run: &Run) -> Outcome {
    let is_past = matches!(entry.expires, Expires::Past | Expires::AtTheInstant);
    if run.only_db.is_some_and(|db| db != entry.db) {
        Outcome::NotSelected
    } else if entry.value == Value::EmptyList {
        Outcome::Empty
    } else if is_past && run.expired == ExpiredPolicy::Drop {
        Outcome::Expired
    } else if entry.value == Value::Strange {
        Outcome::Refused
    } else if entry.exists && run.on_conflict == OnConflict::Fail {
        Outcome::Conflict
    } else if entry.exists && run.on_conflict == OnConflict::Skip {
        Outcome::Existing
    } else if entry.value == Value::Newer {
        Outcome::Restored(Road::Reencoded)
    } else {
        Outcome::Restored(Road::Raw)
    }
}

fn built(entries: &[Random], instant: i64) -> Vec<u8> {
    let mut dump = Dump::redis(14);
    for db in 0..3 {
        dump = dump.select_db(db);
        for (i, entry) in entries.iter().enumerate().filter(|(_, e)| e.db == db) {
            dump = match entry.expires {
                Expires::Never => dump,
                Expires::Past => dump.expire_ms(instant - 5000),
                Expires::AtTheInstant => dump.expire_ms(instant),
                Expires::Later => dump.expire_ms(instant + 3_600_000),
            };
            let name = format!("k{i}");
            dump = match entry.value {
                Value::Text => dump.string_key(name, format!("new {i}")),
                Value::List => dump.key(1, name, [length(1), string("new")].concat()),
                Value::EmptyList => dump.key(1, name, length(0)),
                Value::Newer => dump.key(20, name, string(b"\x0a\0\0\0\x01\0\x81x\x02\xff")),
                Value::Strange => dump.key(28, name, b"\x01\0\0\0\x01x"),
            };
        }
    }
    dump.finish(Crc::Right)
}

fn agrees_with_the_model(
    server: &Server,
    entries: &[Random],
    run: &Run,
) -> Result<(), TestCaseError> {
    server.run("FLUSHALL");
    let goes_to = |db| if run.mapped && db == 1 { 5 } else { db };
    let mut client = server.connect();
    for (i, entry) in entries.iter().enumerate().filter(|(_, e)| e.exists) {
        redis::cmd("SELECT")
            .arg(goes_to(entry.db))
            .exec(&mut client)
            .expect("SELECT");
        redis::cmd("SET")
            .arg(format!("k{i}"))
            .arg("old")
            .exec(&mut client)
            .expect("SET");
    }
    let mut options = Options {
        on_conflict: run.on_conflict,
        connections: run.connections,
        ..options()
    };
    options.policies.expired = run.expired;
    options.window.commands = run.commands;
    options.window.most_commands = run.commands;
    if run.mapped {
        options.policies.db_map = DbMap::new([(1, 5)]);
    }
    let instant = options.policies.now_ms;
    let selection = || {
        let criteria = Criteria {
            dbs: run
                .only_db
                .map(|db| db.to_string().parse().expect("a number")),
            ..Criteria::default()
        };
        Selection::new(criteria, Timestamp(instant), std::env::temp_dir()).expect("a selection")
    };
    let data = built(entries, instant);
    let loaded = load_some(connector(&server.url()), &data, selection, options).expect("loads");
    prop_assert_eq!(loaded.stopped(), "");
    prop_assert_eq!(loaded.report.entries, entries.len() as u64);
    for outcome in Outcome::ALL {
        let count = entries
            .iter()
            .filter(|e| expected(e, run) == outcome)
            .count() as u64;
        prop_assert_eq!(
            loaded.count(outcome),
            count,
            "{:?}: {:?}",
            outcome,
            loaded.report
        );
    }
    let held = read(server);
    for (i, entry) in entries.iter().enumerate() {
        let id = (goes_to(entry.db), format!("k{i}").into_bytes());
        let key = held.keys.get(&id);
        if !matches!(expected(entry, run), Outcome::Restored(_)) {
            let old = Meaning::Text(b"old".to_vec());
            prop_assert_eq!(key.map(|k| &k.meaning), entry.exists.then_some(&old));
            continue;
        }
        let new = match entry.value {
            Value::Text => Meaning::Text(format!("new {i}").into_bytes()),
            Value::Newer => Meaning::Set([b"x".to_vec()].into()),
            _ => Meaning::List(vec![b"new".to_vec()]),
        };
        prop_assert_eq!(key.map(|k| &k.meaning), Some(&new));
        let expires = match (entry.expires, run.expired) {
            (Expires::Never, _) => None,
            (Expires::Later, _) => Some(instant + 3_600_000),
            (_, ExpiredPolicy::Ttl(ms)) => Some(instant + ms),
            _ => None,
        };
        prop_assert_eq!(key.and_then(|k| k.expires), expires);
    }
    Ok(())
}

#[test]
fn the_sums_are_those_of_a_simple_model() {
    let server = Server::start("redis-7.0");
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let cases = (prop::collection::vec(random_entry(), 0..60), random_run());
    runner
        .run(&cases, |(entries, run)| {
            agrees_with_the_model(&server, &entries, &run)
        })
        .unwrap_or_else(|e| panic!("{e}"));
}
