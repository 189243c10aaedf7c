//! What a journal calls restored must still be there: keys that somebody took away meanwhile are told of, whatever expiries
//! they had, and a load that was finished is never gone on with.

use redis::Value;

use super::support::command::Dir;
use super::support::dump::{Crc, Dump, string};
use super::support::journaled::{Command, wait_until};
use super::support::loading::now_ms;
use super::support::proxy::{Fault, On, Proxy};
use super::support::server::Server;

/// Keys of a dump: several marks lie between them.
const KEYS: u64 = 2000;

/// A day ahead of any run of this test.
const LATER: i64 = 4_000_000_000_000;

/// Strings, of which every `nth` has an expiry at `at`.
fn dump(nth: u64, at: i64) -> Vec<u8> {
    let keys = (0..KEYS).fold(Dump::redis(7).select_db(0), |dump, i| {
        let dump = match i.is_multiple_of(nth) {
            true => dump.expire_ms(at),
            false => dump,
        };
        dump.string_key(format!("k{i}"), format!("{i} of the dump"))
    });
    keys.finish(Crc::Right)
}

fn size(server: &Server) -> u64 {
    match server.run("DBSIZE") {
        Value::Int(keys) => keys as u64,
        other => panic!("{other:?}"),
    }
}

/// Some of the keys go through, then the connection ends and the load gives up.
fn some(server: &Server, file: &str) -> (Command, Proxy) {
    // Several marks have come back by then, so that some keys are known to have arrived.
    let cut = Fault::CutReplies(KEYS * 3);
    let proxy = Proxy::sequence(server.port(), On::Data, vec![cut]);
    let command = Command::hasty(file, &proxy.url(), &[]);
    command.run(&[]).ends_with(4);
    let finished = command.finished();
    assert!((1..KEYS).contains(&finished), "{finished} are finished");
    (command, proxy)
}

#[test]
fn a_finished_load_whose_keys_were_flushed_is_not_done_whatever_expiries_they_had() {
    let server = Server::start("redis-7.0");
    for nth in [1, 10, KEYS + 1] {
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump(nth, LATER));
        let command = Command::new(&file, &server.url(), &[]);
        server.run("FLUSHALL");
        command.run(&[]).ends_with(0);
        let told = command.run(&[]).ends_with(0).json();
        assert_eq!(told["looked_up"]["asked"], told["looked_up"]["there"]);
        assert!(told["looked_up"]["asked"].as_u64() >= Some(60), "{told}");
        server.run("FLUSHALL");
        let flushed = command.run(&[]);
        assert_eq!(flushed.code, 4, "{nth}: {flushed:?}");
        for words in ["holds 0 keys, and 2000 were restored", "it was emptied"] {
            assert!(flushed.stderr.contains(words), "{nth}: {flushed:?}");
        }
        assert_eq!(size(&server), 0, "nothing is sent silently");
    }
}

#[test]
fn an_unfinished_load_whose_keys_were_flushed_begins_with_them_again() {
    let server = Server::start("redis-7.0");
    for nth in [1, 10] {
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump(nth, LATER));
        server.run("FLUSHALL");
        let (command, _proxy) = some(&server, &file);
        server.run("FLUSHALL");
        let again = command.run(&[]).ends_with(0).json();
        assert_eq!(again["outcomes"]["restored_raw"], KEYS, "{again}");
        assert_eq!(size(&server), KEYS, "{nth}: {again}");
    }
}

#[test]
fn keys_that_are_flushed_behind_a_running_load_are_told_whatever_expiries_they_had() {
    let server = Server::start("redis-7.0");
    for nth in [1, 10] {
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump(nth, LATER));
        server.run("FLUSHALL");
        let command = Command::new(&file, &server.url(), &["--max-keys-per-sec", "4000"]);
        let ran = std::thread::scope(|scope| {
            let loading = scope.spawn(|| command.run(&[]));
            wait_until("keys come", || size(&server) > 150);
            server.run("FLUSHALL");
            loading.join().expect("the load ends")
        });
        let there = size(&server);
        assert!(there < KEYS, "nothing was flushed");
        let told = ran.ends_with(1).json();
        assert_eq!(told["shrunk_to"], there, "{nth}: {told}");
    }
}

/// Their time comes within a minute, or nobody may ask for them: then nothing shows that the load is whole.
#[test]
fn a_load_none_of_whose_keys_can_be_looked_up_does_not_end_well() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("soon.rdb", dump(1, now_ms() + 55_000));
    let (command, _proxy) = some(&server, &file);
    let told = command.run(&[]).ends_with(1).json();
    assert_eq!(told["outcomes"]["restored_raw"], KEYS, "{told}");
    assert_eq!(told["looked_up"]["asked"], 0, "{told}");
    assert_eq!(size(&server), KEYS);
    let done = command.run(&[]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("none of them could be looked up"),
        "{done:?}"
    );

    server.run("FLUSHALL");
    server.run("ACL SETUSER loader on >word ~* &* +@all -exists");
    let file = dir.file("lasting.rdb", dump(KEYS + 1, LATER));
    let url = format!("redis://loader:word@127.0.0.1:{}", server.port());
    let command = Command::new(&file, &url, &[]);
    command.run(&[]).ends_with(0);
    let closed = command.run(&[]);
    assert_eq!(closed.code, 4, "{closed:?}");
    assert!(closed.stderr.contains("EXISTS"), "{closed:?}");
}

/// Newer data may stand at the destination when it comes back: it is not overwritten with the dump's.
#[test]
fn a_finished_load_sends_nothing_to_a_server_that_was_started_again() {
    let first = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(KEYS + 1, LATER));
    let proxy = Proxy::start(first.port(), On::Data, Fault::None);
    let command = Command::new(&file, &proxy.url(), &["--on-conflict", "replace"]);
    command.run(&[]).ends_with(0);
    first.run("SET k7 newer");
    first.run("SAVE");
    let saved = first.dir().join("dump.rdb");
    let second = Server::setup("redis-7.0").with_rdb(saved).start();
    proxy.move_to(second.port());
    let again = command.run(&[]);
    assert_eq!(again.code, 4, "{again:?}");
    for words in [
        "was started again since",
        "of 2,000 keys that were restored 0 were known to be kept",
        "it holds 2,000 keys now",
        "rdbridge compare",
        "--restart",
    ] {
        assert!(again.stderr.contains(words), "{words}: {again:?}");
    }
    assert_eq!(
        second.run("GET k7"),
        Value::BulkString(b"newer".to_vec()),
        "{again:?}"
    );
    // It says so as often as it is asked.
    command.run(&[]).ends_with(4);
}

#[test]
fn a_finished_load_does_not_bring_back_what_was_deleted_since() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(7, LATER));
    let command = Command::new(&file, &server.url(), &["--on-conflict", "replace"]);
    command.run(&[]).ends_with(0);
    server.run("DEL k1 k2 k14");
    let again = command.run(&[]);
    assert_eq!(again.code, 4, "{again:?}");
    let words = "holds 1,997 keys, and 2000 were restored";
    assert!(again.stderr.contains(words), "{again:?}");
    assert_eq!(size(&server), KEYS - 3, "they stay deleted");
    // Others came meanwhile, so that their number tells nothing: the keys that are looked up do.
    for i in (0..KEYS).step_by(2) {
        server.run(&format!("MSET other{i} new more{i} new"));
        server.run(&format!("DEL k{i}"));
    }
    let again = command.run(&[]);
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.stderr.contains("that were looked up"), "{again:?}");
}

/// What a run sent before it was killed counts, however soon that was.
#[test]
fn a_run_that_is_killed_at_once_counts_and_is_no_conflict_with_itself() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(10, LATER));
    let faults = vec![
        Fault::CutCommands(KEYS * 20),
        Fault::StallCommands(KEYS * 40),
    ];
    let proxy = Proxy::sequence(server.port(), On::Data, faults);
    let command = Command::hasty(&file, &proxy.url(), &[]);
    command.run(&[]).ends_with(4);
    let before = size(&server);
    let mut child = command.start();
    wait_until("the second run sends", || proxy.fired() == 2);
    wait_until("its keys come", || size(&server) > before);
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!(command.status()["runs"], 2);
    let told = command.run(&[]).ends_with(0).json();
    assert_eq!(told["runs"], 3, "{told}");
    assert_eq!(told["outcomes"]["restored_raw"], KEYS, "{told}");
}

/// The ledger says by which way each key was tried last.
#[test]
fn a_ledger_says_by_which_road_a_key_went() {
    let server = Server::start("redis-6.2");
    server.run("ACL SETUSER loader on >word ~* &* +@all -restore");
    let dir = Dir::new();
    // A listpack of `a` and 1, which 6.2 does not know, and the value of a module that it does not have.
    let listpack = b"\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff";
    let module = [&b"\x81"[..], &0x1234_5678_9abc_de01u64.to_be_bytes(), b"\0"].concat();
    let dump = Dump::redis(11)
        .select_db(0)
        .string_key("raw", "of the dump")
        .key(16, "reencoded", string(listpack))
        .key(7, "null", module);
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    let by_commands = format!("redis://loader:word@127.0.0.1:{}", server.port());
    for (url, raw, reencoded) in [
        (server.url(), "\"raw\"", "\"reencoded\""),
        (by_commands, "\"commands\"", "\"commands\""),
    ] {
        let ledger = dir.path().join(format!("of {raw}.ndjson"));
        server.run("MSET raw before reencoded before");
        let path = ledger.to_str().expect("text");
        let command = Command::new(&file, &url, &["--failures", path]);
        command.run(&[]).ends_with(1);
        let text = std::fs::read_to_string(&ledger).expect("a ledger");
        let roads: Vec<(String, String)> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object"))
            .map(|line| (line["key"].to_string(), line["road"].to_string()))
            .collect();
        let road = |key: &str| {
            let key = format!("\"{key}\"");
            let found = roads.iter().find(|(name, _)| *name == key);
            found.map(|(_, road)| road.as_str())
        };
        assert_eq!(road("raw"), Some(raw), "{text}");
        assert_eq!(road("reencoded"), Some(reencoded), "{text}");
        assert_eq!(road("null"), Some("null"), "{text}");
    }
}
