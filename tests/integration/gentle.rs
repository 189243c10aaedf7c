//! A load that others can live with: rates, replicas that are not outrun, clients that are not kept waiting.

use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rdbridge::pace::Rates;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{KeyEvent, Load, Options, PauseEvent, Watcher, survey};

use super::support::command::{Dir, Ran, program, run, run_with};
use super::support::dump::{Crc, Dump, length, string};
use super::support::loading::{connector, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::recorder::{REDIS, Recorder};
use super::support::say_aloud;
use super::support::server::{Server, free_port};
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

/// A server that follows `master`, as soon as it does.
fn replica_of(master: &Server) -> Server {
    let replica = Server::start("redis-7.0");
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_until("the replica is in step", || {
        replica.info("master_link_status").as_deref() == Some("up")
    });
    replica
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not so: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn signal(server: &Server, name: &str) {
    let pid = server.pid().to_string();
    let sent = Command::new("kill").args([name, &pid]).status();
    assert!(sent.expect("kill runs").success());
}

fn dbsize(server: &Server) -> u64 {
    match server.run("DBSIZE") {
        redis::Value::Int(keys) => keys.try_into().expect("a count"),
        other => panic!("{other:?}"),
    }
}

/// Loads 30 MB in the background, slow enough for something to happen in the midst of it.
fn load_slowly(server: &Server, dir: &Dir, rate: &str, more: &[&str]) -> thread::JoinHandle<Ran> {
    let file = dir.file("dump.rdb", dump(3000, 10_000));
    let (url, rate) = (server.url(), ["--max-bytes-per-sec", rate]);
    let mut command = program();
    command.args(["load", &file, "--to", &url, "--json"]);
    command.args(rate).args(more);
    thread::spawn(move || run_with(&mut command, b""))
}

/// Waits until no key more comes for two seconds, though no rate asks for that.
fn wait_until_held(server: &Server, before: u64) {
    let (mut keys, mut since) = (dbsize(server), Instant::now());
    wait_until("nothing is sent", || {
        let now = dbsize(server);
        if now != keys {
            (keys, since) = (now, Instant::now());
        }
        (before + 1..before + 3000).contains(&keys) && since.elapsed() > Duration::from_secs(2)
    });
}

const LAG: [&str; 2] = ["--max-replica-lag", "1MiB"];

/// Of 30 MB: the limit, what comes at 10 MB a second between two looks, a quarter of a second that may be made up for at once after a
/// stop, and as much again for a busy machine.
const LAG_AT_MOST: u64 = 8 << 20;

#[test]
fn a_replica_that_falls_behind_holds_the_load_until_it_is_there_again() {
    let master = Server::start("redis-7.0");
    let replica = replica_of(&master);
    let dir = Dir::new();
    signal(&replica, "-STOP");
    let loading = load_slowly(&master, &dir, "10MB", &LAG);
    wait_until_held(&master, 0);
    signal(&replica, "-CONT");
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 3000, "{ran:?}");
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
        report["settled"], 3000,
        "all of it is on the replica: {ran:?}"
    );
}

/// What comes while it is copied waits in the master's memory. Where that is too much it is cut off and begins anew, again and
/// again: here over 8 MB, while 30 are sent.
#[test]
fn a_replica_that_is_being_copied_is_not_outrun() {
    let master = Server::setup("redis-7.0")
        .with("client-output-buffer-limit", ["replica 8mb 8mb 0"])
        .with("repl-diskless-sync-delay", ["0"])
        .start();
    for key in 0..400 {
        master.run(&format!("SET old{key} x"));
    }
    // Two seconds for a copy of these, and more for what came meanwhile.
    master.run("CONFIG SET rdb-key-save-delay 5000");
    let replica = Server::start("redis-7.0");
    let dir = Dir::new();
    let loading = load_slowly(&master, &dir, "10MB", &LAG);
    wait_until("it has begun", || dbsize(&master) > 500);
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(master.info("sync_full").as_deref(), Some("1"), "{ran:?}");
    assert_eq!(report["outcomes"]["restored_raw"], 3000, "{ran:?}");
    let lag = report["largest_replica_lag"].as_u64().expect("a number");
    assert!((1 << 20..LAG_AT_MOST).contains(&lag), "{ran:?}");
    assert!(
        report["longest_stall_seconds"].as_f64() > Some(1.0),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("nothing is sent while"), "{ran:?}");
    wait_until("the replica has it all", || dbsize(&replica) == 3400);
}

#[test]
fn replicas_that_come_go_and_begin_anew_are_said() {
    let master = Server::setup("redis-7.0")
        .with("repl-diskless-sync-delay", ["0"])
        .start();
    let first = replica_of(&master);
    let dir = Dir::new();
    let loading = load_slowly(&master, &dir, "4MB", &[]);
    wait_until("it has begun", || dbsize(&master) > 0);
    thread::sleep(Duration::from_millis(300));
    let second = replica_of(&master);
    thread::sleep(Duration::from_millis(300));
    // Between two passes.
    for replica in [&first, &second] {
        replica.run("REPLICAOF NO ONE");
    }
    master.run("CLIENT KILL TYPE normal");
    let ran = loading.join().expect("it ends");
    assert_eq!(ran.ends_with(0).json()["pauses"], 1, "{ran:?}");
    for words in [
        "the destination has 2 connected replicas now, it had 1",
        "a replica of the destination begins anew with a full copy",
        "the destination has 0 connected replicas now, it had 2",
    ] {
        assert_eq!(ran.stderr.matches(words).count(), 1, "{words}: {ran:?}");
    }
}

fn ask(client: &mut Client, words: &[&str]) -> redis::Value {
    let words = words.iter().map(|word| word.as_bytes().to_vec());
    client.ask(&[words.collect()]).remove(0)
}

/// The connections whose last command this was.
fn those(client: &mut Client, command: &str) -> Vec<String> {
    let redis::Value::BulkString(clients) = ask(client, &["CLIENT", "LIST"]) else {
        panic!("no list");
    };
    let clients = String::from_utf8(clients).expect("text");
    let last = format!(" cmd={command} ");
    clients
        .lines()
        .filter(|client| client.contains(&last))
        .filter_map(|client| Some(client.strip_prefix("id=")?.split(' ').next()?.to_owned()))
        .collect()
}

/// Cuts them. Gives how many.
fn cut_those(client: &mut Client, command: &str) -> usize {
    let those = those(client, command);
    for id in &those {
        ask(client, &["CLIENT", "KILL", "ID", id]);
    }
    those.len()
}

/// Cuts the connections over which it is asked for replicas and evictions.
fn cut_watches(client: &mut Client) {
    assert!(cut_those(client, "info") > 0);
}

#[test]
fn a_watch_whose_connection_is_cut_goes_on_over_another() {
    let master = Server::start("redis-7.0");
    let replica = replica_of(&master);
    let dir = Dir::new();
    let mut client = Client::connect(master.port());
    let loading = load_slowly(&master, &dir, "10MB", &LAG);
    wait_until("it has begun", || dbsize(&master) > 100);
    signal(&replica, "-STOP");
    cut_watches(&mut client);
    wait_until_held(&master, 0);
    signal(&replica, "-CONT");
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 3000, "{ran:?}");
    assert_eq!(report["evicted"], 0, "they are known all the same");
    let lag = report["largest_replica_lag"].as_u64().expect("a number");
    assert!((1 << 20..LAG_AT_MOST).contains(&lag), "{ran:?}");
    let words = "replicas and evictions was lost: it is open again";
    assert_eq!(ran.stderr.matches(words).count(), 1, "{ran:?}");
}

#[test]
fn nothing_is_sent_while_replicas_cannot_be_seen() {
    let master = Server::start("redis-7.0");
    let _replica = replica_of(&master);
    let dir = Dir::new();
    let mut client = Client::connect(master.port());
    let loading = load_slowly(&master, &dir, "4MB", &[]);
    wait_until("it has begun", || dbsize(&master) > 100);
    let ask = |client: &mut Client, words: &str| ask(client, &words.split(' ').collect::<Vec<_>>());
    ask(&mut client, "CONFIG SET maxclients 1");
    cut_watches(&mut client);
    thread::sleep(Duration::from_millis(500));
    let before = ask(&mut client, "DBSIZE");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(ask(&mut client, "DBSIZE"), before);
    ask(&mut client, "CONFIG SET maxclients 1000");
    let ran = loading.join().expect("it ends");
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 3000, "{ran:?}");
    assert_eq!(report["pauses"], 0, "{ran:?}");
    let words = "was lost: nothing is sent until it is open again";
    assert_eq!(ran.stderr.matches(words).count(), 1, "{ran:?}");
}

/// A load of which nothing is kept but what was said.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn key(&self, _: &KeyEvent<'_>) {}
    fn note(&self, text: &str) {
        self.0.lock().expect("not poisoned").push(text.to_owned());
    }
    fn pause(&self, event: &PauseEvent<'_>) {
        self.note(&format!("pause: {}", event.reason));
    }
}

/// Where they stay unseen, that counts as a connection that is lost: the load begins anew with what is there then.
#[test]
fn a_load_that_cannot_see_replicas_for_long_asks_everything_anew() {
    let master = Server::start("redis-7.0");
    let _replica = replica_of(&master);
    let data = dump(3000, 1000);
    let proxy = Proxy::start(master.port(), On::Data, Fault::None);
    let options = Options {
        rates: Rates {
            bytes: Some(2_000_000),
            ..Rates::default()
        },
        longest_blind: Duration::from_millis(600),
        retry_for: Duration::from_secs(30),
        ..options()
    };
    let (url, notes) = (proxy.url(), Notes::default());
    let report = thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let snapshot = Snapshot::parse(&data).expect("a dump");
            let now = options.policies.now_ms;
            let mut all = Selection::all();
            let survey = survey(&snapshot, &mut all, now, &mut |_| Ok(())).expect("sound");
            let surveys = std::slice::from_ref(&survey);
            let mut load = Load::begin(connector(&url), surveys, options).expect("begins");
            loop {
                load.replay(0, &snapshot, &survey, &mut all, &notes, &mut |_| Ok(()))
                    .expect("a selection that can be asked");
                if !load.again(&notes, &mut |_| Ok(())) {
                    return load.finish();
                }
            }
        });
        wait_until("it has begun", || dbsize(&master) > 100);
        let mut client = Client::connect(master.port());
        wait_until("it is watched", || those(&mut client, "info").len() == 1);
        thread::sleep(Duration::from_millis(200));
        // What is open stays so; nothing more can be opened.
        proxy.move_to(free_port());
        wait_until("it is cut", || cut_those(&mut client, "info") > 0);
        let is_paused = || {
            let notes = notes.0.lock().expect("not poisoned");
            notes.iter().any(|note| note.starts_with("pause: "))
        };
        wait_until("it pauses", is_paused);
        let sent = dbsize(&master);
        assert!(sent < 3000, "it was held before its end");
        proxy.move_to(master.port());
        loading.join().expect("it ends")
    });
    let notes = notes.0.into_inner().expect("not poisoned");
    assert!(report.is_clean() && report.adds_up(), "{report:?}");
    assert!(report.pauses > 0, "{report:?}");
    assert_eq!(dbsize(&master), 3000, "{report:?}");
    let lost = "was lost: nothing is sent until it is open again";
    let place = |words: &str| notes.iter().position(|note| note.contains(words));
    assert!(place(lost).is_some(), "{notes:?}");
    assert!(place(lost) < place("pause: "), "{notes:?}");
}

/// A destination that lets in no client but the one that writes: it is loaded, and what is not seen is said.
#[test]
fn watches_that_cannot_be_opened_are_said_and_hold_nothing() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(3000, 100));
    server.run("CONFIG SET maxclients 1");
    let url = server.url();
    let flags = ["--max-latency", "20", "--max-keys-per-sec", "3000"];
    let ran = run([&["load", &file, "--to", &url, "--json"][..], &flags].concat());
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], 3000, "{ran:?}");
    for words in [
        "what other clients wait for cannot be measured now",
        "cannot be opened: evictions and replicas (--max-replica-lag) are not seen",
    ] {
        assert_eq!(ran.stderr.matches(words).count(), 1, "{words}: {ran:?}");
    }
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
    assert!(ran.stderr.contains("1 of 4 --connections"), "{ran:?}");
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

/// A real server, and sorted sets each of which holds it for more than a tenth of a second when it goes by one `RESTORE`.
#[test]
fn a_client_of_a_real_server_is_served_while_a_load_minds_its_latency() {
    const SETS: usize = 2;
    const MEMBERS: u64 = 150_000;
    let value = (0..MEMBERS).fold(length(MEMBERS), |mut value, i| {
        value.extend(string(format!("member:{i:09}")));
        value.extend(((i * 7919 % MEMBERS) as f64).to_le_bytes());
        value
    });
    let data = (0..SETS)
        .fold(Dump::redis(9).select_db(0), |dump, i| {
            dump.key(5, format!("set{i}"), value.clone())
        })
        .finish(Crc::Right);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", data);
    let server = Server::start("redis-7.0");
    let late = |flags: &[&str]| {
        server.run("FLUSHALL");
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
                for words in [&["GET", "mine"][..], &["PING"]] {
                    ask(&mut client, words);
                }
                waits.push(asked.elapsed());
                thread::sleep(Duration::from_millis(3));
            }
            let ran = loading.join().expect("it ends");
            let report = ran.ends_with(0).json();
            assert_eq!(report["adds_up"], true, "{ran:?}");
            assert_eq!(dbsize(&server), SETS as u64, "{ran:?}");
            waits.sort_unstable();
            let longest = waits[waits.len() - 1];
            // As many are longer as there are values, but one: no single one decides.
            (waits[waits.len().saturating_sub(SETS)], longest)
        })
    };
    let mut seen = Vec::new();
    let is_served = (0..5).any(|_| {
        let (unbound, bound) = (
            late(&["--max-stall", "5000"]),
            late(&["--max-latency", "10"]),
        );
        seen.push(format!(
            "{:?} without (at most {:?}), {:?} with it (at most {:?})",
            unbound.0, unbound.1, bound.0, bound.1
        ));
        bound.0 * 2 < unbound.0
    });
    say_aloud(&format!(
        "--max-latency 10: a client of redis-7.0 waits {}",
        seen.join("; ")
    ));
    assert!(is_served, "{seen:?}");
}

/// Names are read at no other rate than values, and a connection that is lost meanwhile is no reason to give up.
#[test]
fn a_search_for_extra_keys_is_paced_and_goes_on() {
    let server = Server::setup("redis-7.0").with_debug().start();
    server.run("DEBUG POPULATE 10000");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(1, 10));
    let url = server.url();
    run(["load", &file, "--to", &url]).ends_with(0);
    let mut command = program();
    command.args(["compare", &file, "--to", &url, "--json", "--extra"]);
    command.args(["--max-commands-per-sec", "5"]);
    let begun = Instant::now();
    let comparing = thread::spawn(move || run_with(&mut command, b""));
    let mut client = Client::connect(server.port());
    let mut cut = 0;
    wait_until("a scan is cut", || {
        cut = cut_those(&mut client, "scan");
        cut > 0
    });
    let ran = comparing.join().expect("it ends");
    assert_eq!(ran.ends_with(1).json()["extra"], 10_000, "{ran:?}");
    // Ten steps of a thousand names, less what may be asked at once.
    assert!(begun.elapsed() > Duration::from_millis(1500), "{ran:?}");
}
