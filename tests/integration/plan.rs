//! What `plan` says before, `load` does then; and `plan` stores nothing.

use rdbridge::ErrorKind;
use rdbridge::outcome::{Outcome, Road};
use rdbridge::resp::Connector;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::load::{Load, survey};
use rdbridge::verbs::plan::{Options, Plan, Report};
use serde_json::Value;

use super::oracle::empty;
use super::support::cluster::Cluster;
use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::loading::{Loaded, connector, load, options};
use super::support::proxy::{Fault, On, Proxy};
use super::support::samples::{self, Sample};
use super::support::server::{Server, version_of};
use super::support::testdata_dir;

const DESTINATIONS: &[&str] = &[
    "redis-6.0",
    "redis-6.2",
    "redis-7.0",
    "redis-8.10",
    "valkey-8.1",
    "valkey-9.0",
];

/// Plans through the library.
pub(crate) fn plan(url: &str, data: &[u8], now_ms: i64) -> rdbridge::Result<Report> {
    plan_through(connector(url), data, now_ms)
}

fn plan_through(connector: Connector, data: &[u8], now_ms: i64) -> rdbridge::Result<Report> {
    let snapshot = Snapshot::parse(data)?;
    let mut options = Options {
        measure: false,
        ..Options::default()
    };
    options.policies.now_ms = now_ms;
    let surveys = [survey(
        &snapshot,
        &mut Selection::all(),
        now_ms,
        &mut |_| Ok(()),
    )?];
    let mut plan = Plan::ask(connector, &surveys, options)?;
    plan.look(
        0,
        &snapshot,
        &surveys[0],
        &mut Selection::all(),
        &mut |_| Ok(()),
    )?;
    plan.finish(&surveys)
}

/// What a server holds, and whether anything was ever written.
fn state(server: &Server) -> (Option<String>, Vec<String>) {
    let keyspace: String = redis::cmd("INFO")
        .arg("keyspace")
        .query(&mut server.connect())
        .expect("INFO answers");
    let dbs = keyspace
        .lines()
        .filter(|line| line.starts_with("db"))
        // Behind it stands an average that moves by itself.
        .map(|line| line.split(",avg_ttl").next().unwrap_or(line).to_owned());
    (server.info("rdb_changes_since_last_save"), dbs.collect())
}

/// In what a load did something else than was planned, in words.
pub(crate) fn differs(planned: &Report, loaded: &Loaded) -> Vec<String> {
    let mut faults = Vec::new();
    let mut outcomes = planned.servers[0].outcomes;
    let failed = loaded.report.tally.get(Outcome::Failed);
    if (1..=planned.servers[0].doubtful).contains(&failed) {
        // Values of modules that nobody knows: only the answer to them tells.
        for _ in 0..failed {
            outcomes.reclassify(Outcome::Restored(Road::Raw), Outcome::Failed);
        }
    }
    for outcome in Outcome::ALL {
        let (said, done) = (outcomes.get(outcome), loaded.report.tally.get(outcome));
        if said != done {
            faults.push(format!("planned: {} {said}, load {done}", outcome.name()));
        }
    }
    let (said, done) = (planned.servers[0].losses, loaded.report.losses);
    if said != done {
        faults.push(format!("planned: losses {said:?}, load {done:?}"));
    }
    let clean = loaded.report.is_clean();
    let is_open = planned.servers[0].doubtful > 0;
    if planned.all_can_go() != clean && !is_open {
        faults.push(format!(
            "all can go: {}, load is clean: {clean}: {:?}",
            planned.all_can_go(),
            loaded.report.functions
        ));
    }
    faults
}

fn foretold(name: &'static str) {
    let server = Server::start(name);
    let mut faults = Vec::new();
    let (mut files, mut keys) = (0, 0);
    for sample in samples::all() {
        empty(&server);
        let before = state(&server);
        let options = options();
        let planned = plan(&server.url(), &sample.data, options.policies.now_ms);
        let after = state(&server);
        assert_eq!(before, after, "{} into {name}", sample.name);
        let loaded = load(&server.url(), &sample.data, options);
        let (planned, loaded) = match (planned, loaded) {
            (Ok(planned), Ok(loaded)) => (planned, loaded),
            (Err(planned), Err(loaded)) if planned.kind() == loaded.kind() => continue,
            // What would keep it from beginning is in the plan.
            (Ok(planned), Err(loaded)) => {
                let at = planned.there.expect("a destination");
                let said = at.in_the_way.map(|error| error.what().to_owned());
                if said.as_deref() != Some(loaded.what()) {
                    faults.push(format!("{}: {said:?} is not {loaded}", sample.name));
                }
                continue;
            }
            (planned, loaded) => {
                let planned = planned.map(|planned| planned.entries);
                faults.push(format!("{}: {planned:?}, {loaded:?}", sample.name));
                continue;
            }
        };
        files += 1;
        keys += planned.entries;
        let at = planned.there.as_ref().expect("a destination");
        assert!(
            at.existing.exact && at.existing.there == 0,
            "{:?}",
            at.existing
        );
        assert!(at.in_the_way.is_none(), "{:?}", at.in_the_way);
        let found = differs(&planned, &loaded).into_iter();
        faults.extend(found.map(|what| format!("{}: {what}", sample.name)));
    }
    assert!(faults.is_empty(), "into {name}:\n{}", faults.join("\n"));
    assert!(files > 200 && keys > 1000, "{files} files, {keys} keys");
}

#[test]
fn what_is_planned_for_servers_before_7_is_what_is_loaded() {
    foretold("redis-6.0");
    foretold("redis-6.2");
}

#[test]
fn what_is_planned_for_redis_7_and_8_is_what_is_loaded() {
    foretold("redis-7.0");
    foretold("redis-8.10");
}

#[test]
fn what_is_planned_for_valkey_is_what_is_loaded() {
    foretold("valkey-8.1");
    foretold("valkey-9.0");
}

fn plan_json(file: &str, url: &str, more: &[&str]) -> (Ran, Value) {
    let mut args = vec!["plan", file, "--to", url, "--json", "--quiet"];
    args.extend(more);
    let ran = run(args);
    let json = ran.json();
    (ran, json)
}

fn number(json: &Value, path: &str) -> u64 {
    json.pointer(path)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {path}: {json:#}"))
}

/// Some of the samples, through the command: figures and exit code.
#[test]
fn the_exit_code_is_that_of_the_load() {
    let samples: Vec<Sample> = samples::all()
        .into_iter()
        .filter(|sample| sample.home.is_some())
        .collect();
    let mut codes = std::collections::BTreeMap::<i32, u32>::new();
    for (nth, name) in DESTINATIONS.iter().enumerate() {
        let server = Server::start(name);
        for sample in samples.iter().skip(nth).step_by(25) {
            empty(&server);
            let file = sample.path.to_str().expect("a path in UTF-8");
            let before = state(&server);
            let (planned, figures) = plan_json(file, &server.url(), &[]);
            assert_eq!(before, state(&server), "{file} into {name}");
            let loaded = run(["load", file, "--to", &server.url(), "--json", "--quiet"]);
            assert_eq!(
                planned.code, loaded.code,
                "{file} into {name}: {planned:?} {loaded:?}"
            );
            *codes.entry(planned.code).or_default() += 1;
            if loaded.code > 1 {
                continue;
            }
            let outcomes = &loaded.json()["outcomes"];
            for (ours, theirs) in [
                ("/servers/0/raw/keys", "/restored_raw"),
                ("/servers/0/reencoded/keys", "/restored_reencoded"),
                ("/servers/0/refused/keys", "/refused"),
            ] {
                assert_eq!(number(&figures, ours), number(outcomes, theirs), "{file}");
            }
        }
    }
    assert!(
        codes.contains_key(&0) && codes.contains_key(&1),
        "{codes:?}"
    );
}

fn sample() -> String {
    let path = testdata_dir().join("sample.rdb");
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn keys_that_exist_are_counted_exactly_or_by_a_sample() {
    let server = Server::start("redis-7.0");
    let file = sample();
    run(["load", &file, "--to", &server.url(), "--quiet"]).ends_with(0);
    let there: u64 = redis::cmd("DBSIZE")
        .query(&mut server.connect())
        .expect("DBSIZE answers");
    let before = state(&server);
    let (ran, json) = plan_json(&file, &server.url(), &[]);
    // The libraries are there, too.
    ran.ends_with(1);
    assert!(number(&json, "/existing/there") >= there, "{json:#}");
    assert_eq!(
        number(&json, "/existing/there"),
        number(&json, "/existing/keys")
    );
    assert_eq!(json["existing"]["exact"], true);
    assert_eq!(json["functions"]["there"].as_array().map(Vec::len), Some(1));
    plan_json(&file, &server.url(), &["--on-conflict", "skip"])
        .0
        .ends_with(0);
    plan_json(
        &file,
        &server.url(),
        &["--on-conflict", "replace", "--functions", "replace"],
    )
    .0
    .ends_with(0);
    let (_, sampled) = plan_json(&file, &server.url(), &["--sample", "20"]);
    let (asked, keys) = (
        number(&sampled, "/existing/asked"),
        number(&sampled, "/existing/keys"),
    );
    assert!(asked > 0 && asked < keys, "{sampled:#}");
    assert!(number(&sampled, "/existing/at_most") >= asked);
    assert_eq!(sampled["existing"]["exact"], false);
    assert_eq!(before, state(&server), "nothing was written");
    // All but one.
    server.run("FUNCTION FLUSH");
    server.run("FLUSHALL");
    let one = server.run("SET other 1");
    assert_eq!(one, redis::Value::Okay);
    let (ran, json) = plan_json(&file, &server.url(), &[]);
    ran.ends_with(0);
    assert_eq!(number(&json, "/existing/there"), 0);
    assert_eq!(json["existing"]["exact"], true);
}

#[test]
fn a_destination_without_room_is_said_to_have_none() {
    let server = Server::setup("valkey-8.1")
        .with("maxmemory", ["1500kb"])
        .start();
    let mut dump = Dump::redis(9);
    for n in 0..2000 {
        dump = dump.string_key(format!("key{n}"), "v".repeat(2000));
    }
    let dir = Dir::new();
    let file = dir.file("large.rdb", dump.finish(Crc::Right));
    let (ran, json) = plan_json(&file, &server.url(), &[]);
    ran.ends_with(1);
    assert_eq!(json["memory"]["fit"], "too-large", "{json:#}");
    assert_eq!(json["memory"]["basis"], "by-type");
    let needed = number(&json, "/memory/needed");
    assert!((4_000_000..6_000_000).contains(&needed), "{needed}");
    // Where it would evict, a load does not begin.
    server.run("CONFIG SET maxmemory-policy allkeys-lru");
    let (ran, json) = plan_json(&file, &server.url(), &[]);
    ran.ends_with(4);
    let loaded = run(["load", &file, "--to", &server.url(), "--json", "--quiet"]);
    loaded.ends_with(4);
    let why = json["in_the_way"].as_str().expect("what is in the way");
    assert!(why.contains("would evict keys"), "{why}");
    plan_json(&file, &server.url(), &["--allow-eviction"])
        .0
        .ends_with(0);
}

#[test]
fn what_a_user_may_not_ask_is_listed_as_not_known() {
    let server = Server::start("redis-7.0");
    server.run("SET there 1");
    server.run("ACL SETUSER mover on >secret-word ~* +@all -info -config -command -acl");
    let url = format!("redis://mover@127.0.0.1:{}", server.port());
    let dir = Dir::new();
    let password = dir.file("password", "secret-word");
    let (ran, json) = plan_json(&sample(), &url, &["--password-file", &password]);
    ran.ends_with(0);
    let not_known: Vec<&str> = json["destination"]["not_known"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for name in ["maxmemory", "used memory", "proto-max-bulk-len", "replicas"] {
        assert!(not_known.contains(&name), "{not_known:?}");
    }
    assert_eq!(json["destination"]["product"], "redis");
    assert_eq!(json["destination"]["restore"], "works");
    assert_eq!(json["memory"]["fit"], "not-known");
    let closed = json["destination"]["closed"].to_string();
    assert!(
        closed.contains("INFO") && closed.contains("CONFIG GET"),
        "{closed}"
    );
    // Every command is shown, the secret in none.
    let shown = run([
        "plan",
        &sample(),
        "--to",
        &url,
        "--password-file",
        &password,
        "-v",
    ]);
    shown.ends_with(0);
    assert!(shown.stdout.contains("not known: "), "{}", shown.stdout);
    for command in ["> AUTH (secret)", "> HELLO 2", "> RESTORE ", "> EXISTS "] {
        assert!(
            shown.stderr.contains(command),
            "{command}: {}",
            shown.stderr
        );
    }
    assert!(!format!("{shown:?}").contains("secret-word"));
    // Roads that are closed to this user are said to be, roads that nobody can ask about are not.
    let state = |json: &Value| json["other_roads"][0]["state"].clone();
    assert_eq!(state(&json), "not-known", "{json:#}");
    server.run("ACL SETUSER mover +command +acl -replicaof");
    let (_, json) = plan_json(&sample(), &url, &["--password-file", &password]);
    assert_eq!(state(&json), "unavailable", "{json:#}");
    assert_eq!(json["destination"]["user"], "mover");
    // Without RESTORE every key goes by plain commands; without these no load begins.
    server.run("ACL SETUSER mover -restore");
    let (ran, json) = plan_json(&sample(), &url, &["--password-file", &password]);
    ran.ends_with(0);
    assert_eq!(json["destination"]["restore"], "closed to us");
    let (raw, by_commands) = (
        &json["servers"][0]["raw"],
        &json["servers"][0]["by_commands"],
    );
    assert_eq!(raw["keys"], 0, "{json:#}");
    assert!(
        by_commands["keys"].as_u64().is_some_and(|keys| keys > 0),
        "{json:#}"
    );
    server.run("ACL SETUSER mover -renamenx");
    let (ran, json) = plan_json(&sample(), &url, &["--password-file", &password]);
    ran.ends_with(4);
    assert_eq!(json["destination"]["restore"], "closed to us");
    // Without probes the table tells, and no RESTORE is sent.
    let shown = run([
        "plan",
        &sample(),
        "--to",
        &url,
        "--password-file",
        &password,
        "-v",
        "--no-probe",
    ]);
    shown.ends_with(0);
    assert!(!shown.stderr.contains("> RESTORE"), "{}", shown.stderr);
    assert!(
        shown.stdout.contains("RESTORE not tried"),
        "{}",
        shown.stdout
    );
}

#[test]
fn servers_by_name_are_told_of_as_the_real_ones() {
    let file = testdata_dir().join("redis-8.2/hash-field-ttl.rdb");
    let file = file.to_str().expect("a path in UTF-8");
    for (name, target) in [
        ("redis-6.2", "redis-6.2"),
        ("redis-7.0", "redis-7.0"),
        ("valkey-9.0", "valkey-9.0"),
    ] {
        let server = Server::start(name);
        let (real, there) = plan_json(file, &server.url(), &[]);
        let by_name = run(["plan", file, "--target", target, "--json", "--quiet"]);
        assert_eq!(real.code, by_name.code, "{name}");
        let by_name = by_name.json();
        for road in ["raw", "reencoded", "refused"] {
            let path = format!("/servers/0/{road}/keys");
            assert_eq!(number(&there, &path), number(&by_name, &path), "{name}");
        }
    }
    let all = run(["plan", file, "--quiet"]);
    all.ends_with(0);
    for words in ["redis 2.8", "redis 8.10", "valkey 9.0", "whole", "in part"] {
        assert!(all.stdout.contains(words), "{words}: {}", all.stdout);
    }
    run(["plan", file, "--target", "redis-6.2", "--to", "redis://x"]).ends_with(2);
    run(["plan", file, "--to", "redis://127.0.0.1:1"]).ends_with(4);
    let dir = Dir::new();
    let damaged = dir.file("damaged.rdb", b"REDIS0009\x00\x01");
    run(["plan", &damaged]).ends_with(3);
}

/// A replica and a loading server are told as a load tells them, with all that was found out.
#[test]
fn what_keeps_a_load_from_beginning_is_in_the_plan() {
    let master = Server::start("redis-7.0");
    let replica = Server::start("redis-7.0");
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let data = std::fs::read(sample()).expect("the sample");
    let now_ms = options().policies.now_ms;
    let report = plan(&replica.url(), &data, now_ms).expect("a plan");
    let way = report.there.expect("a destination").in_the_way;
    let snapshot = Snapshot::parse(&data).expect("a dump");
    let all = &mut Selection::all();
    let surveys = [survey(&snapshot, all, now_ms, &mut |_| Ok(())).expect("a survey")];
    let refused = Load::begin(connector(&replica.url()), &surveys, options())
        .expect_err("a replica takes no writes");
    assert_eq!(way.map(|e| e.to_string()), Some(refused.to_string()));
    let (_, major, _) = version_of(master.name());
    assert_eq!(major, 7);
    let (ran, json) = plan_json(&sample(), &replica.url(), &[]);
    ran.ends_with(4);
    assert_eq!(json["destination"]["role"], "replica");
    assert_eq!(number(&json, "/servers/0/raw/keys"), 965);
}

/// Every node is asked for its own keys, and what goes there is what a load sends.
#[test]
fn a_cluster_is_asked_node_by_node() {
    let cluster = Cluster::start("redis-7.0", 3, 0);
    let url = cluster.nodes[1].url();
    let file = testdata_dir().join("redis-8.2/hash-field-ttl.rdb");
    let file = file.to_str().expect("a path in UTF-8");
    let (planned, json) = plan_json(file, &url, &[]);
    planned.ends_with(1);
    assert_eq!(number(&json, "/destination/shards"), 3);
    let sizes = || -> Vec<Option<String>> {
        let node = |node: &Server| node.info("rdb_changes_since_last_save");
        cluster.nodes.iter().map(node).collect()
    };
    // One node is not all of them, whatever is said.
    let (planned, json) = plan_json(file, &url, &["--cluster", "no"]);
    planned.ends_with(4);
    let loaded = run(["load", file, "--to", &url, "--quiet", "--cluster", "no"]);
    loaded.ends_with(4);
    for words in ["MOVED ", "leave --cluster no out"] {
        let planned = json["in_the_way"].as_str().unwrap_or_default();
        assert!(planned.contains(words), "{json:#}");
        assert!(loaded.stderr.contains(words), "{loaded:?}");
    }
    assert!(sizes().iter().all(|n| n.as_deref() == Some("0")));
    let loaded = run(["load", file, "--to", &url, "--json", "--quiet"]);
    loaded.ends_with(1);
    let outcomes = &loaded.json()["outcomes"];
    for (ours, theirs) in [
        ("/servers/0/raw/keys", "/restored_raw"),
        ("/servers/0/reencoded/keys", "/restored_reencoded"),
        ("/servers/0/refused/keys", "/refused"),
    ] {
        assert_eq!(number(&json, ours), number(outcomes, theirs));
    }
    let before = sizes();
    let (_, json) = plan_json(file, &url, &[]);
    assert_eq!(before, sizes());
    let there = number(outcomes, "/restored_raw") + number(outcomes, "/restored_reencoded");
    assert_eq!(number(&json, "/existing/there"), there);
    assert_eq!(json["existing"]["exact"], true, "{json:#}");
    // Several databases do not fit.
    let dbs = testdata_dir().join("redis-7.0/dbs-and-expiries.rdb");
    let dbs = dbs.to_str().expect("a path in UTF-8");
    let (planned, json) = plan_json(dbs, &url, &[]);
    planned.ends_with(4);
    assert!(json["in_the_way"].is_string(), "{json:#}");
    run(["load", dbs, "--to", &url, "--quiet"]).ends_with(4);
}

#[test]
fn a_key_that_stands_twice_is_a_finding_before_and_after() {
    let server = Server::start("redis-6.2");
    let dump = Dump::redis(9).string_key("twice", "a");
    let dump = dump.string_key("once", "b").string_key("twice", "c");
    let dir = Dir::new();
    let file = dir.file("twice.rdb", dump.finish(Crc::Right));
    let (planned, json) = plan_json(&file, &server.url(), &[]);
    planned.ends_with(1);
    assert_eq!(number(&json, "/duplicates"), 1);
    let loaded = run(["load", &file, "--to", &server.url(), "--json", "--quiet"]);
    loaded.ends_with(1);
    assert_eq!(number(&loaded.json()["outcomes"], "/duplicate"), 1);
}

/// A way that breaks, repeats, loses or swaps replies: never a wrong figure, never a hang, and nothing is stored.
#[test]
fn a_faulty_way_ends_a_plan_in_words_or_changes_nothing() {
    let server = Server::start("redis-7.0");
    server.run("SET other 1");
    let data = std::fs::read(sample()).expect("the sample");
    let now_ms = options().policies.now_ms;
    let before = state(&server);
    let right = plan(&server.url(), &data, now_ms).expect("a plan");
    let right = right.there.expect("a destination").existing;
    let mut faults: Vec<Fault> = (0..40u64)
        .flat_map(|n| [Fault::CutCommands(n * 97), Fault::CutReplies(n * 211)])
        .collect();
    for reply in (0..30).step_by(2).chain([200, 511, 512, 700]) {
        faults.extend([Fault::Drop(reply), Fault::Double(reply), Fault::Swap(reply)]);
        faults.push(Fault::Instead(reply, b"-ERR no\r\n".to_vec()));
        faults.push(Fault::Instead(reply, b"$-1\r\n".to_vec()));
    }
    let (mut ended, mut planned) = (0, 0);
    for fault in faults {
        let proxy = Proxy::start(server.port(), On::Questions, fault.clone());
        let mut connector = connector(&proxy.url());
        connector.options.io_timeout = std::time::Duration::from_millis(300);
        match plan_through(connector, &data, now_ms) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Destination, "{fault:?}: {error}");
                ended += 1;
            }
            Ok(report) => {
                planned += 1;
                let there = report.there.expect("a destination");
                assert_eq!(report.servers[0].outcomes.total(), 965, "{fault:?}");
                let existing = there.existing;
                assert!(
                    !existing.exact || existing == right || there.in_the_way.is_some(),
                    "{fault:?}: {existing:?} is not {right:?}"
                );
            }
        }
    }
    assert!(
        ended > 50 && planned > 10,
        "{ended} ended, {planned} planned"
    );
    assert_eq!(before, state(&server));
}
