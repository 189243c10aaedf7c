//! A load that others can live with: rates, replicas that are not outrun, clients that are not kept waiting.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::support::command::{Dir, program, run, run_with};
use super::support::dump::{Crc, Dump};
use super::support::recorder::{REDIS, Recorder};
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

/// Strings of `bytes` each.
fn dump(keys: u64, bytes: usize) -> Vec<u8> {
    (0..keys)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            dump.string_key(format!("k{i}"), format!("{i:0bytes$}"))
        })
        .finish(Crc::Right)
}

#[test]
fn rates_hold_over_all_connections_and_for_both_verbs() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(900, 1000));
    let url = server.url();
    for (flags, connections) in [
        (["--max-keys-per-sec", "600"], "3"),
        (["--max-commands-per-sec", "600"], "1"),
        (["--max-bytes-per-sec", "600k"], "2"),
    ] {
        server.run("FLUSHALL");
        let common = ["--to", &url, "--json", "--connections", connections];
        let all = |verb| [&[verb, file.as_str()][..], &common, &flags].concat();
        let begun = Instant::now();
        let loaded = run(all("load").iter().chain(&["--restart"]));
        let took = begun.elapsed();
        assert_eq!(loaded.ends_with(0).json()["outcomes"]["restored_raw"], 900);
        // A second and a half, less what may be sent ahead by each connection.
        assert!(took >= Duration::from_millis(1200), "{flags:?}: {took:?}");
        assert!(took < Duration::from_secs(20), "{flags:?}: {took:?}");
        let begun = Instant::now();
        run(all("compare")).ends_with(0);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1200), "{flags:?}: {took:?}");
    }
}

/// What is read back costs as much as what is sent.
#[test]
fn rates_hold_for_what_is_read_back() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(900, 100));
    let url = server.url();
    let begun = Instant::now();
    let flags = ["--verify", "--max-keys-per-sec", "600"];
    let ran = run([&["load", &file, "--to", &url, "--json"][..], &flags].concat());
    assert_eq!(ran.ends_with(0).json()["verified"]["same"], 900, "{ran:?}");
    // Three seconds, less what may be sent ahead, and what is read last.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(2300), "{took:?}");
}

#[test]
fn a_replica_that_falls_behind_holds_the_load_until_it_is_there_again() {
    let master = Server::start("redis-7.0");
    let replica = Server::start("redis-7.0");
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let begun = Instant::now();
    while replica.info("master_link_status").as_deref() != Some("up") {
        assert!(begun.elapsed() < Duration::from_secs(30), "no replica");
        thread::sleep(Duration::from_millis(50));
    }
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args([name, &replica.pid().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    };
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(6000, 10_000));
    let url = master.url();
    signal("-STOP");
    let args = [
        "load",
        &file,
        "--to",
        &url,
        "--json",
        "--max-replica-lag",
        "1MiB",
        // Slow enough to be stopped in the midst.
        "--max-bytes-per-sec",
        "20MB",
    ];
    let loading = thread::spawn({
        let args = args.map(str::to_owned);
        move || run_with(program().args(args), b"")
    });
    let mut client = Client::connect(master.port());
    let mut keys = || client.ask(&[vec![b"DBSIZE".to_vec()]]).remove(0);
    let held = |keys: &redis::Value| matches!(keys, redis::Value::Int(1..6000));
    let begun = Instant::now();
    // Two seconds without a key more, though no rate asks for that.
    let (mut before, mut since) = (keys(), Instant::now());
    while !held(&before) || since.elapsed() < Duration::from_secs(2) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it is not held: {before:?}"
        );
        thread::sleep(Duration::from_millis(50));
        let now = keys();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    signal("-CONT");
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 6000, "{ran:?}");
    assert!(
        report["largest_replica_lag"].as_u64() > Some(1 << 20),
        "{ran:?}"
    );
    assert!(
        report["longest_stall_seconds"].as_f64() > Some(1.5),
        "{ran:?}"
    );
    assert_eq!(
        ran.stderr.matches("nothing is sent while").count(),
        1,
        "{ran:?}"
    );
    assert_eq!(
        report["settled"], 6000,
        "all of it is on the replica: {ran:?}"
    );
}

#[test]
fn a_load_that_minds_latency_ends_as_any_other() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(20_000, 200));
    let ran = run([
        "load",
        &file,
        "--to",
        &server.url(),
        "--json",
        "--max-latency",
        "2",
        "--connections",
        "4",
    ]);
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 20_000, "{ran:?}");
}

/// A server that needs a fifth of a millisecond for a key, and a client that asks it again and again: what that one waits for
/// is what stands before it.
#[test]
fn other_clients_are_served_while_a_load_minds_their_latency() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(10_000, 10));
    let median = |flags: &[&str]| {
        let server = Recorder::slow(REDIS, Duration::from_micros(200));
        let url = server.url();
        let args = ["load", &file, "--to", &url, "--no-journal", "--json"];
        let mut load = program();
        load.args(args).args(flags);
        thread::scope(|scope| {
            let loading = scope.spawn(|| run_with(&mut load, b""));
            let mut client = Client::connect(server.port());
            let mut waits = Vec::new();
            while !loading.is_finished() {
                let asked = Instant::now();
                let before = server.count();
                client.ask(&[vec![b"PING".to_vec()]]);
                if before > 0 && server.count() < 10_000 {
                    waits.push(asked.elapsed());
                }
                thread::sleep(Duration::from_millis(5));
            }
            let ran = loading.join().expect("it ends");
            let report = ran.ends_with(0).json();
            assert_eq!(report["outcomes"]["restored_raw"], 10_000, "{ran:?}");
            waits.sort_unstable();
            waits[waits.len() / 2]
        })
    };
    let (unbound, bound) = (median(&[]), median(&["--max-latency", "10"]));
    say_aloud(&format!(
        "another client waits {unbound:?} in the midst of a load, {bound:?} with --max-latency 10"
    ));
    assert!(bound * 2 < unbound, "{bound:?}, {unbound:?} without bound");
}
