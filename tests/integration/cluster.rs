//! Loads into clusters of real servers: every key at its shard, while slots move, and over a failover.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdbridge::outcome::{Outcome, Road};
use rdbridge::select::{Selection, slot_of};
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{KeyEvent, Load, Options, PauseEvent, Report, Watcher, survey};
use redis::Value;

use super::support::cluster::{Cluster, ask, get_all, text, wait_until};
use super::support::command::{Dir, run};
use super::support::dump::{Crc, Dump};
use super::support::loading::{connector, options};
use super::support::say_aloud;
use super::support::server::{Server, free_port};
use super::support::wire::Client;

/// Names in many slots, with hash tags and with braces that are none.
fn keys(count: usize) -> Vec<Vec<u8>> {
    let odd: [&[u8]; 12] = [
        b"",
        b"{}",
        b"{",
        b"}",
        b"a}b{c",
        b"foo{}{bar}",
        b"foo{{bar}}zap",
        b"{user1000}.following",
        b"{user1000}.followers",
        b"}{x}",
        b"\x00\xff{\r\n}",
        b"x{}y",
    ];
    let plain = (0..count).map(|i| format!("k{i}").into_bytes());
    let tagged = (0..count / 10).map(|i| format!("{{tag{}}}:{i}", i % 50).into_bytes());
    let odd = odd.iter().map(|key| key.to_vec());
    plain.chain(tagged).chain(odd).collect()
}

fn value(n: usize, length: usize) -> String {
    format!("{n} {}", "v".repeat(length))
}

fn dump(keys: &[Vec<u8>], length: impl Fn(&[u8]) -> usize) -> Vec<u8> {
    keys.iter()
        .enumerate()
        .fold(Dump::redis(7).select_db(0), |dump, (n, key)| {
            dump.string_key(key, value(n, length(key)))
        })
        .finish(Crc::Right)
}

#[track_caller]
fn holds(ports: &[u16], keys: &[Vec<u8>], length: impl Fn(&[u8]) -> usize) {
    for (n, got) in get_all(ports, keys).into_iter().enumerate() {
        let wanted = Value::BulkString(value(n, length(&keys[n])).into_bytes());
        assert!(got == wanted, "{}: {got:?}", keys[n].escape_ascii());
    }
}

#[derive(Debug, Default)]
struct Told {
    restarted: AtomicU64,
    said: Mutex<Vec<String>>,
}

impl Watcher for Told {
    fn key(&self, event: &KeyEvent<'_>) {
        let line = format!("{:?} {}", event.outcome, event.reason);
        self.said.lock().expect("not poisoned").push(line);
    }

    fn pause(&self, event: &PauseEvent<'_>) {
        let line = event.reason.to_string();
        self.said.lock().expect("not poisoned").push(line);
    }

    fn restarted(&self, entries: u64) {
        self.restarted.fetch_add(entries, Ordering::Relaxed);
    }
}

/// Loads, passes after passes; `begun` runs when the map of the cluster is known, `watch` as the load goes on.
fn load(
    url: &str,
    data: &[u8],
    options: Options,
    begun: impl FnOnce(),
    watch: &mut dyn FnMut(u64),
) -> (Report, Told) {
    let snapshot = Snapshot::parse(data).expect("a dump");
    let mut all = Selection::all();
    let survey = survey(
        &snapshot,
        &mut all,
        options.policies.now_ms,
        &mut |_| Ok(()),
    )
    .expect("a sound dump");
    let mut load = Load::begin(connector(url), std::slice::from_ref(&survey), options)
        .expect("a destination that can be loaded into");
    begun();
    let told = Told::default();
    loop {
        load.replay(0, &snapshot, &survey, &mut all, &told, &mut |position| {
            watch(position.entries);
            Ok(())
        })
        .expect("a selection that can be asked");
        if !load.again(&told, &mut |_| Ok(())) {
            break;
        }
    }
    let report = load.finish();
    assert!(report.adds_up());
    (report, told)
}

fn patient() -> Options {
    Options {
        retry_for: Duration::from_secs(60),
        ..options()
    }
}

#[test]
fn every_key_goes_to_its_shard() {
    for name in ["redis-7.0", "valkey-8.1"] {
        let cluster = Cluster::start(name, 3, 0);
        let keys = keys(20_000);
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump(&keys, |_| 10));
        let ran = run([
            "load",
            &file,
            "--to",
            &cluster.url(),
            "--connections",
            "2",
            "--no-journal",
            "--json",
        ]);
        ran.ends_with(0);
        let report = ran.json();
        assert_eq!(report["entries"], keys.len(), "{name}");
        assert_eq!(report["outcomes"]["restored_raw"], keys.len(), "{report}");
        assert_eq!(report["shards"], 3, "{report}");
        assert_eq!(report["adds_up"], true, "{report}");
        holds(&cluster.ports(), &keys, |_| 10);
        for port in cluster.ports() {
            let size: u64 = text(port, "DBSIZE").parse().expect("a number");
            assert!(size > keys.len() as u64 / 4, "{name}: {size} on one shard");
        }
        // Again: all of them are there.
        let ran = run([
            "load",
            &file,
            "--to",
            &cluster.url(),
            "--no-journal",
            "--json",
        ]);
        ran.ends_with(1);
        assert_eq!(ran.json()["outcomes"]["conflict"], keys.len());
        // Databases that a cluster does not have are refused before anything is sent.
        let several = Dump::redis(7)
            .select_db(0)
            .string_key("new0", "v")
            .select_db(3)
            .string_key("new3", "v")
            .finish(Crc::Right);
        let file = dir.file("several.rdb", several);
        let load = |more: &[&str]| {
            let url = cluster.url();
            let args = ["load", &file, "--to", &url, "--no-journal"];
            run(args.iter().chain(more))
        };
        let ran = load(&[]);
        ran.ends_with(4);
        assert!(ran.stderr.contains("without a database 3"), "{ran:?}");
        let three = [b"new0".to_vec(), b"new3".to_vec()];
        assert_eq!(
            get_all(&cluster.ports(), &three),
            [Value::Nil, Value::Nil],
            "nothing was sent"
        );
        load(&["--db", "0"]).ends_with(0);
        load(&["--map-db", "3:0", "--on-conflict", "skip"]).ends_with(0);
        let there = get_all(&cluster.ports(), &three);
        assert!(!there.contains(&Value::Nil), "{there:?}");
    }
}

/// Lets `to` have slot `slot` of `from`, as operators do; keys are carried over.
fn move_slot(cluster: &Cluster, slot: u16, from: usize, to: usize, ids: &[String]) {
    begin_to_move(cluster, slot, from, to, ids);
    let (source, target) = (cluster.nodes[from].port(), cluster.nodes[to].port());
    loop {
        let Value::Array(keys) = ask(source, &format!("CLUSTER GETKEYSINSLOT {slot} 100")) else {
            panic!("no list of keys");
        };
        if keys.is_empty() {
            break;
        }
        let mut words: Vec<Vec<u8>> =
            ["MIGRATE", "127.0.0.1", &target.to_string(), "", "0", "5000"]
                .iter()
                .chain(&["KEYS"])
                .map(|word| word.as_bytes().to_vec())
                .collect();
        words.extend(keys.into_iter().map(|key| match key {
            Value::BulkString(key) => key,
            other => panic!("{other:?}"),
        }));
        let reply = Client::connect(source).ask(&[words]).remove(0);
        assert!(
            matches!(&reply, Value::SimpleString(ok) if ok == "OK" || ok == "NOKEY"),
            "{reply:?}"
        );
    }
    finish_to_move(cluster, slot, from, to, ids);
}

fn begin_to_move(cluster: &Cluster, slot: u16, from: usize, to: usize, ids: &[String]) {
    let set = |node: usize, how: &str, id: usize| {
        let words = format!("CLUSTER SETSLOT {slot} {how} {}", ids[id]);
        assert_eq!(text(cluster.nodes[node].port(), &words), "OK");
    };
    set(to, "IMPORTING", from);
    set(from, "MIGRATING", to);
}

fn finish_to_move(cluster: &Cluster, slot: u16, from: usize, to: usize, ids: &[String]) {
    let mut nodes: Vec<usize> = (0..cluster.masters).collect();
    nodes.sort_by_key(|node| (*node != to, *node != from));
    for node in nodes {
        let words = format!("CLUSTER SETSLOT {slot} NODE {}", ids[to]);
        assert_eq!(text(cluster.nodes[node].port(), &words), "OK");
    }
}

#[test]
fn keys_follow_their_slots_while_these_move() {
    let cluster = Cluster::start("redis-7.0", 3, 0);
    let ids: Vec<String> = (0..3).map(|node| cluster.id(node)).collect();
    let keys = keys(60_000);
    let data = dump(&keys, |_| 10);
    // The slots of the first master: some have moved when the load begins, some are on their way all the while, others move
    // as it runs.
    let moved = 0..200u16;
    let on_their_way = 200..400u16;
    let done = AtomicBool::new(false);
    let (report, told) = std::thread::scope(|scope| {
        let begun = || {
            for slot in moved.clone() {
                move_slot(&cluster, slot, 0, 1, &ids);
            }
            for slot in on_their_way.clone() {
                begin_to_move(&cluster, slot, 0, 2, &ids);
            }
            scope.spawn(|| {
                for slot in 400..600 {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    move_slot(&cluster, slot, 0, 1 + usize::from(slot) % 2, &ids);
                }
            });
        };
        let found = load(&cluster.url(), &data, patient(), begun, &mut |_| {});
        done.store(true, Ordering::Relaxed);
        found
    });
    assert!(report.is_clean(), "{report:?} {told:?}");
    assert_eq!(
        report.tally.get(Outcome::Restored(Road::Raw)),
        keys.len() as u64
    );
    let (by_moved, by_ask) = report.redirected;
    say_aloud(&format!(
        "{by_moved} MOVED, {by_ask} ASK, {} pauses",
        report.pauses
    ));
    assert!(by_moved >= 100 && by_ask >= 100, "{by_moved}, {by_ask}");
    let in_flight = keys
        .iter()
        .filter(|key| on_their_way.contains(&slot_of(key)))
        .count();
    assert!(by_ask >= in_flight as u64, "{by_ask} of {in_flight}");
    for slot in on_their_way {
        finish_to_move(&cluster, slot, 0, 2, &ids);
    }
    cluster.wait_until_ok();
    holds(&cluster.ports(), &keys, |_| 10);
}

#[test]
fn a_master_that_dies_with_what_its_replica_lacks_loses_nothing() {
    let mut cluster = Cluster::start("redis-7.0", 3, 1);
    let ports = cluster.ports();
    let replica = cluster.nodes[3].pid();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &replica.to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    };
    // The first master gets most of the bytes: 120 MB.
    let length = |key: &[u8]| if slot_of(key) < 5461 { 60_000 } else { 10 };
    let keys = keys(6_000);
    let data = dump(&keys, length);
    let victim = Mutex::new(Some(cluster.nodes.remove(0)));
    let (lost, held_back) = (AtomicU64::new(0), AtomicU64::new(0));
    // The replica gets nothing more.
    signal("-STOP");
    // The address is that of a node that lives on.
    let url = cluster.nodes[0].url();
    let half = keys.len() as u64 / 2;
    let (report, told) = load(&url, &data, patient(), || {}, &mut |entries| {
        if entries < half {
            return;
        }
        let Some(victim) = victim.lock().expect("not poisoned").take() else {
            return;
        };
        let size = |port: u16| text(port, "DBSIZE").parse::<u64>().expect("a number");
        let had = size(victim.port());
        let info = text(victim.port(), "INFO replication");
        let offset = |name: &str| {
            let (_, behind) = info.split_once(name).expect("a replica's offset");
            let digits = behind.split(|c: char| !c.is_ascii_digit()).next();
            digits.unwrap_or_default().parse::<u64>().expect("a number")
        };
        let behind = offset("master_repl_offset:") - offset(",offset=");
        held_back.store(behind, Ordering::Relaxed);
        drop(victim);
        signal("-CONT");
        wait_until("the replica misses its master", || {
            text(ports[3], "INFO replication").contains("master_link_status:down")
        });
        lost.store(had.saturating_sub(size(ports[3])), Ordering::Relaxed);
    });
    let lost = lost.into_inner();
    let held_back = held_back.into_inner();
    say_aloud(&format!(
        "the replica was {held_back} bytes behind; {lost} acknowledged keys were lost"
    ));
    assert!(held_back >= 50_000_000, "{held_back}");
    assert!(lost > 0, "the replica had everything");
    assert!(told.restarted.into_inner() >= lost);
    assert!(report.is_clean(), "{report:?}");
    assert!(report.pauses > 0);
    cluster.wait_until_ok();
    holds(&ports[1..], &keys, length);
}

#[test]
fn the_master_that_a_sentinel_names() {
    let master = Server::start("redis-7.0");
    let dir = Dir::new();
    let port = free_port();
    let config = dir.file(
        "sentinel.conf",
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 1\n",
            master.port()
        ),
    );
    let program = super::support::server::program("redis-7.0", "server").expect("a server");
    let mut sentinel = Command::new(program)
        .args([&config, "--sentinel", "--logfile", "sentinel.log", "--dir"])
        .arg(dir.path())
        .spawn()
        .expect("a sentinel starts");
    let stopped = std::panic::catch_unwind(|| {
        wait_until("the sentinel answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let keys = keys(100);
        let file = dir.file("dump.rdb", dump(&keys, |_| 10));
        let url = format!("redis://127.0.0.1:{port}");
        let load = |more: &[&str]| {
            let args = [
                "load",
                &file,
                "--to",
                &url,
                "--no-journal",
                "--retry-for",
                "0",
            ];
            run(args.iter().chain(more))
        };
        load(&["--sentinel", "mymaster"]).ends_with(0);
        holds(&[master.port()], &keys, |_| 10);
        let ran = load(&["--sentinel", "another"]);
        ran.ends_with(4);
        assert!(ran.stderr.contains("no master called another"), "{ran:?}");
        // Without the name it is no place for keys.
        let ran = load(&[]);
        ran.ends_with(4);
        assert!(ran.stderr.contains("sentinel"), "{ran:?}");
        // A master that has become a replica, which the sentinel has not seen yet.
        let other = Server::start("redis-7.0");
        master.run(&format!("REPLICAOF 127.0.0.1 {}", other.port()));
        let ran = load(&["--sentinel", "mymaster"]);
        ran.ends_with(4);
        assert!(ran.stderr.contains("says that it is a replica"), "{ran:?}");
    });
    let _ = sentinel.kill();
    let _ = sentinel.wait();
    if let Err(panic) = stopped {
        std::panic::resume_unwind(panic);
    }
}
