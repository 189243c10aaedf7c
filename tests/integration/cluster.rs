//! Loads into clusters of real servers: every key at its shard, while slots move, too.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdbridge::outcome::{Outcome, Road};
use rdbridge::pace::Rates;
use rdbridge::resp::Connector;
use rdbridge::select::{Selection, slot_of};
use rdbridge::snapshot::Snapshot;
use rdbridge::target::NodeMap;
use rdbridge::verbs::load::{
    FunctionPolicy, KeyEvent, Load, OnConflict, Options, PauseEvent, Report, Watcher, survey,
};
use redis::Value;

use super::support::cluster::{Cluster, ask, get_all, text, wait_until};
use super::support::command::{Dir, run};
use super::support::dump::{Crc, Dump};
use super::support::loading::{connector, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::say_aloud;
use super::support::wire::Client;

/// Stands in each dump.
const LIBRARY: &str = "#!lua name=ours\nredis.register_function('ours', function() return 1 end)";

/// Each of these masters holds the library.
#[track_caller]
pub(super) fn knows_library(ports: &[u16]) {
    for port in ports {
        let list = format!("{:?}", ask(*port, "FUNCTION LIST LIBRARYNAME ours"));
        assert!(list.contains("library_name"), "{port}: {list}");
    }
}

/// Names in many slots, with hash tags and with braces that are none.
pub(super) fn keys(count: usize) -> Vec<Vec<u8>> {
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

pub(super) fn dump(keys: &[Vec<u8>], length: impl Fn(&[u8]) -> usize) -> Vec<u8> {
    keys.iter()
        .enumerate()
        .fold(
            Dump::redis(7).function(LIBRARY).select_db(0),
            |dump, (n, key)| dump.string_key(key, value(n, length(key))),
        )
        .finish(Crc::Right)
}

#[track_caller]
pub(super) fn holds(ports: &[u16], keys: &[Vec<u8>], length: impl Fn(&[u8]) -> usize) {
    for (n, got) in get_all(ports, keys).into_iter().enumerate() {
        let wanted = Value::BulkString(value(n, length(&keys[n])).into_bytes());
        assert!(got == wanted, "{}: {got:?}", keys[n].escape_ascii());
    }
}

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) restarted: AtomicU64,
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
pub(super) fn load(
    connector: Connector,
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
    let mut load = Load::begin(connector, std::slice::from_ref(&survey), options)
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

pub(super) fn patient() -> Options {
    Options {
        retry_for: Duration::from_secs(60),
        ..options()
    }
}

#[test]
fn every_key_goes_to_its_shard() {
    for name in ["redis-8.10", "valkey-9.1"] {
        let cluster = Cluster::start(name, 3, 0);
        let keys = keys(6_000);
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
        assert_eq!(report["functions"]["loaded"], 1, "counted once: {report}");
        knows_library(&cluster.ports());
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
        let report = ran.json();
        assert_eq!(report["outcomes"]["conflict"], keys.len());
        let functions = &report["functions"];
        assert_eq!(functions["found"], 1, "{report}");
        assert_eq!(functions["loaded"], 0, "{report}");
        let failed = functions["failed"].as_array().expect("a list");
        assert_eq!(failed.len(), 1, "three masters, one library: {report}");
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
        assert!(ran.stderr.contains("--map-db"), "{ran:?}");
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
        keys_are_read_back_while_slots_move(&cluster, name);
        names_that_cannot_be_reached(&cluster);
    }
}

/// Nodes that call themselves by names of no use here.
fn names_that_cannot_be_reached(cluster: &Cluster) {
    for port in cluster.ports() {
        // Nobody listens there.
        for set in [
            "cluster-announce-hostname 127.1.2.3",
            "cluster-preferred-endpoint-type hostname",
        ] {
            assert_eq!(text(port, &format!("CONFIG SET {set}")), "OK");
        }
    }
    wait_until("all nodes know the names", || {
        let slots = format!("{:?}", ask(cluster.nodes[0].port(), "CLUSTER SLOTS"));
        slots.matches("127.1.2.3").count() + slots.matches("49, 50, 55, 46, 49, 46").count() >= 3
    });
    let dir = Dir::new();
    let named = keys(100)
        .into_iter()
        .map(|key| [b"named:", key.as_slice()].concat())
        .collect::<Vec<_>>();
    let file = dir.file("named.rdb", dump(&named, |_| 10));
    let load = |more: &[&str]| {
        let url = cluster.url();
        let args = ["load", &file, "--to", &url, "--no-journal"];
        run(args.iter().chain(&["--functions", "skip"]).chain(more))
    };
    let ran = load(&[]);
    ran.ends_with(4);
    assert!(ran.stderr.contains("node 127.1.2.3:"), "{ran:?}");
    assert!(ran.stderr.contains("--node-map"), "{ran:?}");
    load(&["--node-map", "127.1.2.3=127.0.0.1"]).ends_with(0);
    holds(&cluster.ports(), &named, |_| 10);
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
    let cluster = Cluster::start("redis-7.0", 3, 3);
    let ids: Vec<String> = (0..3).map(|node| cluster.id(node)).collect();
    let keys = keys(60_000);
    let data = dump(&keys, |_| 10);
    // What is said before is what the load does, though slots move then.
    let dir = Dir::new();
    let file = dir.file("dump.rdb", &data);
    let plan = run(["plan", &file, "--to", &cluster.url(), "--json"]);
    plan.ends_with(0);
    let plan = plan.json();
    assert_eq!(plan["destination"]["shards"], 3, "{plan:#}");
    let planned = &plan["servers"][0]["outcomes"]["restored_raw"];
    assert_eq!(planned, keys.len(), "{plan:#}");
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
        let found = load(
            connector(&cluster.url()),
            &data,
            patient(),
            begun,
            &mut |_| {},
        );
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
    // None stands where it was before, too.
    let masters = &cluster.nodes[..3];
    let sizes = masters.iter().map(|node| text(node.port(), "DBSIZE"));
    let stored: u64 = sizes.map(|n| n.parse::<u64>().expect("a number")).sum();
    assert_eq!(stored, keys.len() as u64);
}

/// Keys whose replies came in one breath with another one's refusal are looked at when all are sent, and the node cannot answer
/// for one of them: replies to the others still come then, and are no replies to whatever is asked next.
#[test]
fn a_look_at_keys_that_breaks_off_is_taken_up_again() {
    let cluster = Cluster::start("redis-7.0", 2, 0);
    let [first, second] = [0, 1].map(|node| cluster.nodes[node].port());
    // More for each node than the first hundreds, of which each has a mark of its own.
    let keys = keys(4000);
    let data = dump(&keys, |_| 10);
    let of_first = |key: &&Vec<u8>| key.starts_with(b"k") && slot_of(key) < 8192;
    let there: Vec<&Vec<u8>> = keys
        .iter()
        .filter(of_first)
        .skip(1000)
        .step_by(50)
        .collect();
    let go = |fault: Fault| {
        for port in [first, second] {
            assert_eq!(text(port, "FLUSHALL"), "OK");
        }
        for key in &there {
            let key = String::from_utf8_lossy(key);
            assert_eq!(text(first, &format!("SET {key} old")), "OK");
        }
        let proxy = Proxy::start(first, On::Data, fault);
        let url = proxy.url();
        let (_, reached) = url.rsplit_once(':').expect("a port");
        let alias = format!("127.0.0.1:{first}=127.0.0.1:{reached}");
        let options = Options {
            on_conflict: OnConflict::Skip,
            verify: true,
            functions: FunctionPolicy::Skip,
            node_map: NodeMap::new([alias.parse().expect("an alias")]),
            ..patient()
        };
        let connector = connector(&url);
        let (report, told) = load(connector, &data, options, || {}, &mut |_| {});
        assert!(report.is_clean(), "{report:?} {told:?}");
        let existing = report.tally.get(Outcome::Existing);
        assert_eq!(existing, there.len() as u64, "{report:?}");
        (report.pauses, proxy)
    };
    let (_, whole) = go(Fault::None);
    let replies = whole.traffic.reply_count.load(Ordering::SeqCst);
    // How many marks there are depends on how soon a refusal comes.
    for before_the_last in [800, 1200, 1600] {
        let words = b"-LOADING Redis is loading the dataset in memory\r\n".to_vec();
        let (pauses, proxy) = go(Fault::Instead(replies - before_the_last, words));
        assert!(proxy.has_fired() && pauses > 0, "{pauses}");
    }
}

/// Slots of the first master go to the others, by the servers' own means, while keys are written and read back.
fn keys_are_read_back_while_slots_move(cluster: &Cluster, name: &str) {
    let ids: Vec<String> = (0..3).map(|node| cluster.id(node)).collect();
    let ports = cluster.ports();
    let keys: Vec<Vec<u8>> = keys(5_000)
        .into_iter()
        .map(|key| [b"moved:", key.as_slice()].concat())
        .collect();
    let data = dump(&keys, |_| 100);
    let options = Options {
        verify: true,
        functions: FunctionPolicy::Skip,
        rates: Rates {
            keys: Some(4_000),
            ..Rates::default()
        },
        ..patient()
    };
    let done = AtomicBool::new(false);
    let moved = AtomicU64::new(0);
    let (report, told) = std::thread::scope(|scope| {
        let begun = || {
            scope.spawn(|| {
                for first in (0..3_000).step_by(250) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let last = first + 249;
                    let to = 1 + usize::from(first) / 250 % 2;
                    let told = match name {
                        "valkey-9.1" => text(
                            ports[0],
                            &format!(
                                "CLUSTER MIGRATESLOTS SLOTSRANGE {first} {last} NODE {}",
                                ids[to]
                            ),
                        ),
                        _ => text(
                            ports[to],
                            &format!("CLUSTER MIGRATION IMPORT {first} {last}"),
                        ),
                    };
                    assert!(!told.starts_with('-'), "{told}");
                    let one = keys
                        .iter()
                        .find(|key| (first..=last).contains(&slot_of(key)));
                    let get = [b"GET".to_vec(), one.expect("a key").clone()];
                    wait_until("the slots have moved", || {
                        let reply = Client::connect(ports[to]).ask(&[get.to_vec()]).remove(0);
                        !matches!(reply, Value::SimpleString(words) if words.starts_with('-'))
                    });
                    moved.fetch_add(1, Ordering::Relaxed);
                }
            });
        };
        let found = load(
            connector(&cluster.url()),
            &data,
            options,
            begun,
            &mut |_| {},
        );
        done.store(true, Ordering::Relaxed);
        found
    });
    say_aloud(&format!(
        "{name}: {} times 250 slots, {:?} MOVED and ASK, {} pauses",
        moved.into_inner(),
        report.redirected,
        report.pauses
    ));
    assert!(report.is_clean(), "{name}: {report:?} {told:?}");
    // Those that are read back meet it, or those that are written.
    let met = report.redirected.0 + report.pauses;
    assert!(met > 0, "{name}: {report:?} {told:?}");
    let verified = report.verified.expect("wanted");
    assert_eq!(verified.same, keys.len() as u64, "{name}: {report:?}");
    cluster.wait_until_ok();
    holds(&ports, &keys, |_| 100);
}

#[test]
fn a_comparison_reads_each_key_at_its_shard() {
    let cluster = Cluster::start("redis-7.0", 3, 1);
    let keys = keys(600);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump(&keys, |_| 10));
    let total = keys.len() as u64;
    // Right behind the load, and by itself: from a master's address and from a replica's.
    let url = cluster.url();
    let ran = run(["load", &file, "--to", &url, "--json", "--compare"]);
    ran.ends_with(0);
    assert_eq!(ran.json()["compare"]["outcomes"]["same"], total, "{ran:?}");
    let replica = cluster.nodes[3].url();
    for url in [&url, &replica] {
        let more = ["--json", "--extra", "--connections", "2"];
        let ran = run([&["compare", &file, "--to", url], &more[..]].concat());
        ran.ends_with(0);
        let json = ran.json();
        assert_eq!(json["outcomes"]["same"], total, "{json:#}");
        assert_eq!(json["extra"], 0, "{json:#}");
        assert_eq!(json["digests"], json["destination_digests"], "{json:#}");
        assert!(
            ran.stderr.contains("a cluster of 3 shards"),
            "{}",
            ran.stderr
        );
    }
    // One of each kind, at different shards.
    let at = |shard: u16| -> (u16, String) {
        let of_shard = |key: &&Vec<u8>| {
            key.starts_with(b"k") && slot_of(key) / 5462 == shard && !key.contains(&b'{')
        };
        let key = keys.iter().find(of_shard).expect("a key there");
        let port = cluster.nodes[usize::from(shard)].port();
        (port, String::from_utf8(key.clone()).expect("text"))
    };
    let ((first, changed), (second, gone)) = (at(0), at(1));
    assert_eq!(text(first, &format!("SET {changed} other")), "OK");
    assert_eq!(text(second, &format!("DEL {gone}")), "1");
    let third = cluster.nodes[2].port();
    let name = (0..)
        .map(|n| format!("new{n}"))
        .find(|name| slot_of(name.as_bytes()) > 12_000)
        .expect("a name");
    assert_eq!(text(third, &format!("SET {name} x")), "OK");
    let ran = run(["compare", &file, "--to", &url, "--json", "--extra"]);
    ran.ends_with(1);
    let json = ran.json();
    let outcomes = &json["outcomes"];
    assert_eq!(outcomes["different"], 1, "{json:#}");
    assert_eq!(outcomes["same"], total - 2, "{json:#}");
    assert_eq!(json["extra"], 1, "{json:#}");
    for key in [&changed, &gone, &name] {
        assert!(
            ran.stderr.contains(&format!("\"{key}\"")),
            "{key}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_comparison_follows_slots_that_move() {
    use rdbridge::verbs::compare::{Compare, Outcome, Tally};

    struct Nobody;
    impl rdbridge::verbs::compare::Watcher for Nobody {
        fn key(&self, event: &rdbridge::verbs::compare::KeyEvent<'_>) {
            panic!("{event:?}");
        }
        fn extra(&self, _db: u64, _key: &[u8]) {}
    }

    let cluster = Cluster::start("redis-7.0", 3, 0);
    let ids: Vec<String> = (0..3).map(|node| cluster.id(node)).collect();
    let keys = keys(3000);
    let data = dump(&keys, |_| 10);
    let (report, _) = load(
        connector(&cluster.url()),
        &data,
        options(),
        || {},
        &mut |_| {},
    );
    assert!(report.is_clean(), "{report:?}");

    let snapshot = Snapshot::parse(&data).expect("a dump");
    let options = |retry_for| rdbridge::verbs::compare::Options {
        pause: Duration::from_millis(50),
        retry_for,
        ..rdbridge::verbs::compare::Options::default()
    };
    let compare = |retry_for: Duration, then: &dyn Fn()| -> (Tally, Option<String>) {
        let mut all = Selection::all();
        let survey = survey(&snapshot, &mut all, 0, &mut |_| Ok(())).expect("a sound dump");
        let surveys = std::slice::from_ref(&survey);
        let mut compare = Compare::begin(connector(&cluster.url()), surveys, options(retry_for))
            .expect("a destination that can be read");
        // What it knows of the cluster is old now.
        then();
        compare
            .input(0, &snapshot, &survey, &mut all, &Nobody, &mut |_| Ok(()))
            .expect("a selection that can be asked");
        let report = compare.finish();
        assert!(report.adds_up(), "{report:?}");
        (report.tally, report.stopped.map(|error| error.to_string()))
    };
    let total = keys.len() as u64;
    let in_moved = keys
        .iter()
        .filter(|key| matches!(slot_of(key), 0..40 | 6000..6020))
        .count();
    assert!(in_moved > 3, "{in_moved} keys move");
    let (tally, stopped) = compare(Duration::from_secs(60), &|| {
        for slot in (0..40).chain(6000..6020) {
            let from = usize::from(slot) / 5462;
            move_slot(&cluster, slot, from, 2, &ids);
        }
    });
    assert_eq!(stopped, None);
    assert_eq!(tally.get(Outcome::Same), total, "{tally:?}");

    // One that stays between two nodes is waited for no longer than was said.
    let slot = slot_of(b"k7");
    let from = (0..3)
        .find(|node| {
            let reply = ask(cluster.nodes[*node].port(), "GET k7");
            matches!(reply, Value::BulkString(_))
        })
        .expect("an owner");
    let to = (from + 1) % 3;
    let (tally, stopped) = compare(Duration::ZERO, &|| {
        begin_to_move(&cluster, slot, from, to, &ids);
        let words = format!("MIGRATE 127.0.0.1 {} k7 0 5000", cluster.nodes[to].port());
        assert_eq!(text(cluster.nodes[from].port(), &words), "OK");
    });
    let stopped = stopped.expect("it stops");
    assert!(
        stopped.contains("send") && stopped.contains("on to each other"),
        "{stopped}"
    );
    assert!(tally.get(Outcome::NotReached) > 0, "{tally:?}");
    assert_eq!(tally.get(Outcome::Gone), 0, "{tally:?}");
}

/// Users who may not ask who serves which slots.
#[test]
fn a_cluster_that_does_not_tell_its_slots_is_found_out_before_the_first_write() {
    for name in ["redis-7.0", "valkey-9.1"] {
        let cluster = Cluster::start(name, 3, 1);
        let ports = cluster.ports();
        let keys = keys(300);
        let total = keys.len() as u64;
        let dir = Dir::new();
        let file = dir.file("dump.rdb", dump(&keys, |_| 10));
        let go = |verb: &str, port: u16, more: &[&str]| {
            let url = format!("redis://u:p@127.0.0.1:{port}");
            let args = [verb, &file, "--to", &url, "--json"];
            let ran = run(args.iter().chain(more));
            let json = ran.json();
            (ran, json)
        };
        let no_journal = ["--no-journal", "--functions", "skip"];
        let replica = cluster.nodes[3].port();
        let flush = || {
            for port in &ports[..3] {
                assert_eq!(text(*port, "FLUSHALL"), "OK");
            }
        };
        let cases = [
            ("~* +@all -cluster|slots", ports[0]),
            ("~* +@all -cluster", replica),
            ("~* +@all -cluster -exists", ports[1]),
            ("~* +@all -cluster -hello -info", ports[2]),
        ];
        let of_each = if name == "redis-7.0" { 4 } else { 1 };
        for (rights, port) in cases.into_iter().take(of_each) {
            let case = format!("{name} {rights} at {port}");
            for port in &ports {
                let words = format!("ACL SETUSER u reset on >p {rights}");
                assert_eq!(text(*port, &words), "OK");
            }
            let (planned, plan) = go("plan", port, &["--functions", "skip"]);
            planned.ends_with(0);
            assert_eq!(plan["destination"]["shards"], 3, "{case}: {plan:#}");
            let raw = &plan["servers"][0]["outcomes"]["restored_raw"];
            assert_eq!(raw, total, "{case}: {plan:#}");
            let (loaded, load) = go("load", port, &no_journal);
            loaded.ends_with(0);
            assert_eq!(load["outcomes"]["restored_raw"], total, "{case}");
            assert_eq!(load["shards"], 3, "{case}: {load:#}");
            holds(&ports, &keys, |_| 10);
            if !rights.contains("exists") {
                let (compared, compare) = go("compare", port, &[]);
                compared.ends_with(0);
                assert_eq!(compare["outcomes"]["same"], total, "{case}: {compare:#}");
            }
            flush();
        }
        // Neither way is open: both say so, and nothing is written.
        for port in &ports {
            let words = "ACL SETUSER u reset on >p ~none:* +@all -cluster";
            assert_eq!(text(*port, words), "OK");
        }
        for (verb, more) in [("plan", &[][..]), ("load", &no_journal)] {
            let (ran, _) = go(verb, ports[0], more);
            ran.ends_with(4);
            for words in ["which node serves which slots", "+cluster|slots"] {
                assert!(ran.stderr.contains(words), "{verb}: {}", ran.stderr);
            }
        }
        for port in &ports[..3] {
            assert_eq!(text(*port, "DBSIZE"), "0", "{name}");
        }
    }
}
