//! Loads during which masters are replaced, in clusters and behind sentinels: what was acknowledged and is gone comes again.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rdbridge::outcome::{Outcome, Road};
use rdbridge::select::{Selection, slot_of};
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{Load, Options, survey};

use redis::Value;

use super::cluster::{Told, dump, holds, keys, knows_library, load, patient};
use super::support::cluster::{Cluster, ask, text, wait_until};
use super::support::command::{Dir, program, run};
use super::support::loading::connector;
use super::support::say_aloud;
use super::support::server::{Server, free_port};

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn size(port: u16) -> u64 {
    text(port, "DBSIZE").parse().expect("a number")
}

/// Bytes that the replica lacks when its master dies.
const HELD_BACK: u64 = 50_000_000;

#[test]
fn a_master_that_dies_with_what_its_replica_lacks_loses_nothing() {
    let mut cluster = Cluster::start_mortal("redis-7.0", 3, 1);
    let ports = cluster.ports();
    let replica = cluster.nodes[3].pid();
    let signal = |name: &str| signal(name, replica);
    // The first master gets most of the bytes: 130 MB.
    let length = |key: &[u8]| if slot_of(key) < 5461 { 60_000 } else { 10 };
    let options = Options {
        // Else it would be waited for.
        max_replica_lag: None,
        ..patient()
    };
    let keys = keys(6_000);
    let data = dump(&keys, length);
    // What is said before is what the load does, though a master dies then.
    let dir = Dir::new();
    let file = dir.file("dump.rdb", &data);
    let plan = run(["plan", &file, "--to", &cluster.url(), "--json"]);
    plan.ends_with(0);
    let plan = plan.json();
    let planned = &plan["servers"][0]["outcomes"]["restored_raw"];
    assert_eq!(planned, keys.len(), "{plan:#}");
    let victim = Mutex::new(Some(cluster.nodes.remove(0)));
    let (lost, held_back) = (AtomicU64::new(0), AtomicU64::new(0));
    // The replica gets nothing more.
    signal("-STOP");
    // The address is that of a node that lives on.
    let url = cluster.nodes[0].url();
    let (report, told) = load(connector(&url), &data, options, || {}, &mut |_| {
        let mut standing = victim.lock().expect("not poisoned");
        let Some(port) = standing.as_ref().map(Server::port) else {
            return;
        };
        let info = text(port, "INFO replication");
        let offset = |name: &str| {
            let (_, behind) = info.split_once(name).expect("a replica's offset");
            let digits = behind.split(|c: char| !c.is_ascii_digit()).next();
            digits.unwrap_or_default().parse::<u64>().expect("a number")
        };
        // How soon the large ones are answered beside those of the other shards is a matter of chance.
        let behind = offset("master_repl_offset:") - offset(",offset=");
        if behind < HELD_BACK {
            return;
        }
        let had = size(port);
        let victim = standing.take();
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
    assert!(held_back >= HELD_BACK, "{held_back}");
    assert!(lost > 0, "the replica had everything");
    assert!(told.restarted.into_inner() >= lost);
    assert!(report.is_clean(), "{report:?}");
    let raw = report.tally.get(Outcome::Restored(Road::Raw));
    assert_eq!(raw, keys.len() as u64, "{report:?}");
    assert!(report.pauses > 0);
    cluster.wait_until_ok();
    holds(&ports[1..], &keys, length);
    assert_eq!(report.functions.loaded, 1, "{report:?}");
    // The one that was promoted had never got it from its master.
    knows_library(&ports[1..]);
}

#[test]
fn a_master_that_is_replaced_between_two_runs_loses_nothing() {
    let mut cluster = Cluster::start_mortal("valkey-9.1", 3, 1);
    let ports = cluster.ports();
    let replica = cluster.nodes[3].pid();
    // More than the network keeps for a replica that does not read.
    let length = |key: &[u8]| if slot_of(key) < 5461 { 15_000 } else { 10 };
    let keys = keys(6_000);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(&keys, length));
    let journal = dir.path().join("journal");
    // The address is that of the node that will be gone.
    let url = cluster.nodes[0].url();
    let args = [
        "load",
        &file,
        "--to",
        &url,
        "--journal",
        journal.to_str().expect("a path in UTF-8"),
        "--json",
    ];
    // The replica gets nothing, and the run is killed in the midst.
    signal("-STOP", replica);
    let first = program()
        .args(args)
        .args(["--max-keys-per-sec", "2000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut first = Killed(first.expect("the program runs"));
    wait_until("some keys are there", || size(ports[0]) > 1500);
    first.0.kill().expect("it can be killed");
    assert!(!first.0.wait().expect("it ends").success(), "it was done");
    let had = size(ports[0]);
    drop(cluster.nodes.remove(0));
    signal("-CONT", replica);
    wait_until("the replica is promoted", || {
        text(ports[3], "INFO replication").contains("role:master")
    });
    let has = size(ports[3]);
    say_aloud(&format!(
        "{} of {had} keys are lost",
        had.saturating_sub(has)
    ));
    assert!(has < had, "the replica had everything");
    cluster.wait_until_ok();
    let ran = run(args);
    ran.ends_with(0);
    let report = ran.json();
    assert_eq!(report["runs"], 2, "{report}");
    assert_eq!(report["outcomes"]["restored_raw"], keys.len(), "{report}");
    assert_eq!(report["functions"]["loaded"], 1, "{report}");
    holds(&ports[1..], &keys, length);
    knows_library(&ports[1..]);
}

/// A process that is ended at the latest when this is dropped.
#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server that keeps nothing, on a port that another one had.
fn start_plain(name: &str, port: u16, dir: &Dir) -> Killed {
    let program = super::support::server::program(name, "server").expect("a server");
    let server = Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--logfile", "plain.log", "--dir"])
        .arg(dir.path())
        .spawn()
        .expect("a server starts");
    let server = Killed(server);
    wait_until("it answers", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    server
}

/// Starts a sentinel that watches `master` as `mymaster`.
fn start_sentinel(name: &str, master: &Server, dir: &Dir) -> (Killed, u16) {
    let port = free_port();
    let config = dir.file(
        "sentinel.conf",
        format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 1\n\
             sentinel failover-timeout mymaster 10000\n",
            master.port()
        ),
    );
    let program = super::support::server::program(name, "server").expect("a server");
    let sentinel = Command::new(program)
        .args([&config, "--sentinel", "--logfile", "sentinel.log", "--dir"])
        .arg(dir.path())
        .spawn()
        .expect("a sentinel starts");
    let sentinel = Killed(sentinel);
    wait_until("the sentinel answers", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (sentinel, port)
}

#[test]
fn the_master_that_a_sentinel_names_at_each_time() {
    let master = Server::start("redis-8.10");
    let replica = Server::start("redis-8.10");
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_until("the replica is in step", || {
        text(replica.port(), "INFO replication").contains("master_link_status:up")
    });
    let dir = Dir::new();
    let (_sentinel, port) = start_sentinel("redis-8.10", &master, &dir);
    wait_until("the sentinel knows the replica", || {
        text(port, "INFO sentinel").contains("slaves=1")
    });
    let keys = keys(6_000);
    // Large enough to be looked at on the way.
    let data = dump(&keys, |_| 3_000);
    let mut connector = connector(&format!("redis://127.0.0.1:{port}"));
    connector.sentinel = Some("mymaster".to_owned());
    let mut replaced = false;
    let (report, told) = load(connector, &data, patient(), || {}, &mut |entries| {
        if entries > 500 && !std::mem::replace(&mut replaced, true) {
            // It refuses (NOGOODSLAVE) until it has heard of the replica again, and may give up what it began where it hears
            // nothing of it meanwhile. The old master takes writes for some seconds yet: they are lost behind its OK.
            let other = replica.port().to_string();
            wait_until("the sentinel promotes the replica", || {
                let named = ask(port, "SENTINEL get-master-addr-by-name mymaster");
                let promoted = matches!(named, Value::Array(parts) if parts[1] == Value::BulkString(other.clone().into()));
                if !promoted {
                    ask(port, "SENTINEL FAILOVER mymaster");
                }
                promoted
            });
        }
    });
    assert!(report.is_clean(), "{report:?} {told:?}");
    assert!(told.restarted.into_inner() > 0, "{report:?}");
    assert_eq!(report.functions.loaded, 1, "{report:?}");
    holds(&[replica.port()], &keys, |_| 3_000);
    knows_library(&[replica.port()]);
}

#[test]
fn the_master_that_a_sentinel_names() {
    let master = Server::start("redis-7.0");
    let dir = Dir::new();
    let (_sentinel, port) = start_sentinel("redis-7.0", &master, &dir);
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
}

#[test]
fn a_destination_that_starts_again_behind_the_last_key_gets_all_of_them_again() {
    let port = free_port();
    let dir = Dir::new();
    let server = start_plain("redis-7.0", port, &dir);
    let keys = keys(1_000);
    let data = dump(&keys, |_| 10);
    let snapshot = Snapshot::parse(&data).expect("a dump");
    let mut all = Selection::all();
    let options = patient();
    let now_ms = options.policies.now_ms;
    let survey = survey(&snapshot, &mut all, now_ms, &mut |_| Ok(())).expect("a sound dump");
    let surveys = std::slice::from_ref(&survey);
    let mut load = Load::begin(
        connector(&format!("redis://127.0.0.1:{port}")),
        surveys,
        options,
    )
    .expect("a destination");
    let told = Told::default();
    let mut pass = |load: &mut Load| {
        load.replay(0, &snapshot, &survey, &mut all, &told, &mut |_| Ok(()))
            .expect("a selection that can be asked");
    };
    pass(&mut load);
    assert_eq!(size(port), keys.len() as u64);
    // Nothing was saved, and nothing more is to be sent that would find out.
    drop(server);
    let _server = start_plain("redis-7.0", port, &dir);
    assert_eq!(size(port), 0);
    assert!(load.again(&told, &mut |_| Ok(())), "it is not done");
    assert_eq!(told.restarted.load(Ordering::Relaxed), keys.len() as u64);
    pass(&mut load);
    assert!(!load.again(&told, &mut |_| Ok(())));
    let report = load.finish();
    assert!(report.is_clean(), "{report:?} {told:?}");
    assert_eq!(report.functions.loaded, 1, "{report:?}");
    holds(&[port], &keys, |_| 10);
    knows_library(&[port]);
}
