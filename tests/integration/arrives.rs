//! What arrives: names, databases and expiries other than those of the file, by every verb that has to do with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use redis::Value;

use super::support::cluster::{Cluster, get_all, wait_until};
use super::support::command::{Dir, Ran, program, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::server::Server;

/// After any run of these tests, milliseconds.
const LATER: i64 = 4_000_000_000_000;

/// When the dumps were taken, seconds.
const TAKEN: i64 = 3_999_000_000;

/// Two databases: names that are renamed and others, values that are strings and hashes.
fn names() -> Vec<u8> {
    let hash = [length(1), string("f"), string("v")].concat();
    Dump::redis(7)
        .select_db(0)
        .string_key("user:1", "one")
        .key(4, "user:2", &hash)
        .string_key("17", "number")
        .select_db(1)
        .string_key("user:1", "other")
        .finish(Crc::Right)
}

/// The options that go with [`names`].
const RENAMED: [&str; 8] = [
    "--rename",
    "^user:(\\d)=u:$1",
    "--prefix",
    "a:",
    "--prefix",
    "1:b:",
    "--map-db",
    "1:0",
];

/// What the destination has then.
const ARRIVED: [&str; 4] = ["a:17", "a:u:1", "a:u:2", "b:u:1"];

fn keys(server: &Server) -> Vec<String> {
    let mut keys: Vec<String> = match server.run("KEYS *") {
        Value::Array(keys) => keys.iter().map(text).collect(),
        other => panic!("{other:?}"),
    };
    keys.sort();
    keys
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        other => panic!("{other:?}"),
    }
}

/// Where a load stands, and how often it was run.
struct Loading {
    dir: Dir,
    file: String,
    url: String,
}

impl Loading {
    fn new(dump: Vec<u8>, server: &Server) -> Self {
        let dir = Dir::new();
        Self {
            file: dir.file("dump.rdb", dump),
            dir,
            url: server.url(),
        }
    }

    fn run(&self, verb: &str, more: &[&str]) -> Ran {
        let journal = self.dir.path().join("journal");
        let journal = journal.to_str().expect("UTF-8");
        let mut words = vec![verb, &self.file, "--to", &self.url, "--json"];
        if verb != "plan" {
            words.extend(["--journal", journal]);
        }
        words.extend(more);
        run(words)
    }
}

#[test]
fn keys_arrive_under_other_names_by_restore_and_by_commands() {
    for closed in [false, true] {
        let server = match closed {
            false => Server::start("redis-7.0"),
            true => Server::setup("redis-7.0")
                .with("rename-command", ["RESTORE", ""])
                .start(),
        };
        let loading = Loading::new(names(), &server);
        let plan = loading.run("plan", &RENAMED);
        let plan = plan.ends_with(0).json();
        assert_eq!(plan["arrival"]["--prefix"], "\"a:\" \"1:b:\"");
        let ran = loading.run("load", &[&RENAMED[..], &["--verify", "--compare"]].concat());
        let report = ran.ends_with(0).json();
        let road = if closed {
            "restored_commands"
        } else {
            "restored_raw"
        };
        assert_eq!(report["outcomes"][road], 4, "{ran:?}");
        assert_eq!(report["verified"]["same"], 4, "{ran:?}");
        assert_eq!(keys(&server), ARRIVED);
        assert_eq!(text(&server.run("GET b:u:1")), "other");
        let compared = loading.run("compare", &[&RENAMED[..], &["--extra"]].concat());
        let same = compared.ends_with(0).json();
        assert_eq!(
            (&same["outcomes"]["same"], &same["extra"]),
            (&4.into(), &0.into())
        );
        assert_eq!(same["digests"], same["destination_digests"]);
        // Under their own names nothing is there.
        let compared = loading.run("compare", &["--map-db", "1:0", "--extra"]);
        let other = compared.ends_with(1).json();
        assert_eq!(
            (&other["outcomes"]["missing"], &other["extra"]),
            (&4.into(), &4.into())
        );
        assert!(compared.stderr.contains("--prefix was"), "{compared:?}");
        let plan = loading.run("plan", &RENAMED);
        assert_eq!(plan.ends_with(1).json()["existing"]["there"], 4);
        let again = loading.run(
            "load",
            &["--restart", "--map-db", "1:0", "--on-conflict", "same"],
        );
        assert_eq!(again.json()["outcomes"]["already_there"], 0);
        server.run("FLUSHALL");
        loading
            .run("load", &[&["--restart"], &RENAMED[..]].concat())
            .ends_with(0);
        let again = loading.run(
            "load",
            &[&["--restart", "--on-conflict", "same"], &RENAMED[..]].concat(),
        );
        assert_eq!(again.ends_with(0).json()["outcomes"]["already_there"], 4);
    }
}

#[test]
fn two_keys_of_one_name_are_refused_or_counted() {
    let server = Server::start("redis-7.0");
    let loading = Loading::new(names(), &server);
    let merge = ["--rename", "^user:.$=user", "--db", "0"];
    let ran = loading.run(
        "load",
        &[&merge[..], &["--on-conflict", "replace"]].concat(),
    );
    for words in ["one name", "user:1", "user:2"] {
        assert!(ran.ends_with(2).stderr.contains(words), "{ran:?}");
    }
    let dbs = ["--map-db", "1:0", "--on-conflict", "replace"];
    loading.run("load", &dbs).ends_with(2);
    assert!(keys(&server).is_empty());
    for policy in ["fail", "skip", "same"] {
        let ledger = loading.dir.path().join(policy);
        let failures = ledger.to_str().expect("UTF-8");
        let more = ["--restart", "--on-conflict", policy, "--failures", failures];
        let ran = loading.run("load", &[&merge[..], &more].concat());
        let outcomes = ran.ends_with(1).json()["outcomes"].clone();
        let counts = ["duplicate", "restored_raw", "existing", "conflict"];
        let counts = counts.map(|name| outcomes[name].as_u64());
        assert_eq!(counts, [Some(1), Some(2), Some(0), Some(0)], "{ran:?}");
        if policy == "fail" {
            let line = std::fs::read_to_string(&ledger).expect("written");
            assert!(
                line.contains(r#""key":"user:2","key_there":"user""#),
                "{line}"
            );
        }
        assert!(
            ran.stderr.contains("same name at the destination"),
            "{ran:?}"
        );
        assert_eq!(keys(&server), ["17", "user"]);
        server.run("FLUSHALL");
    }
    let planned = loading.run("plan", &merge);
    assert_eq!(planned.ends_with(1).json()["duplicates"], 1);
    // Proven unique.
    let unique = [
        "--rename",
        "^user:=",
        "--db",
        "0",
        "--on-conflict",
        "replace",
        "--restart",
    ];
    loading.run("load", &unique).ends_with(0);
    assert_eq!(keys(&server), ["1", "17", "2"]);
    // Commands would make one value of both.
    let merge = ["--rename", "^user:.$=user", "--db", "0"];
    let export = [&["export", &loading.file, "--format", "resp"], &merge[..]].concat();
    run(export).ends_with(2);
}

/// Three keys: one without expiry, one that expires, one that was over when the dump was taken.
fn expiries() -> Dump {
    Dump::redis(9)
        .select_db(0)
        .string_key("never", "v")
        .expire_ms(LATER)
        .string_key("later", "v")
        .expire_ms(TAKEN * 1000 - 1)
        .string_key("over", "v")
}

fn taken_expiries() -> Vec<u8> {
    let head = Dump::redis(9).aux("ctime", TAKEN.to_string()).cut();
    let keys = expiries().cut();
    Dump::with_magic(head).raw(&keys[9..]).finish(Crc::Right)
}

fn expires(server: &Server, key: &str) -> i64 {
    number(&server.run(&format!("PEXPIRETIME {key}")))
}

#[test]
fn expiries_arrive_as_the_policy_says_and_are_compared_so() {
    let server = Server::start("redis-7.0");
    let loading = Loading::new(taken_expiries(), &server);
    for (policy, later, arrived) in [
        ("strip", -1, 3),
        ("shift=-1h", LATER - 3_600_000, 3),
        ("max=30d", 0, 3),
        ("min=40000d", 0, 3),
    ] {
        server.run("FLUSHALL");
        let arrives = ["--ttl-policy", policy];
        let ran = loading.run("load", &[&["--restart", "--verify"], &arrives[..]].concat());
        let report = ran.ends_with(0).json();
        assert_eq!(report["outcomes"]["restored_raw"], arrived, "{ran:?}");
        assert_eq!(report["ttl_shift_ms"], serde_json::Value::Null, "{ran:?}");
        assert_eq!(expires(&server, "never"), -1);
        match later {
            0 => {
                let days = (expires(&server, "later") - now_ms()) / 86_400_000;
                assert!(
                    matches!((policy, days), ("max=30d", 29 | 30) | (_, 39_999 | 40_000)),
                    "{policy}: {days}"
                );
            }
            at => assert_eq!(expires(&server, "later"), at, "{policy}"),
        }
        let compared = loading.run("compare", &arrives);
        assert_eq!(compared.ends_with(0).json()["outcomes"]["same"], arrived);
        if policy != "min=40000d" {
            loading.run("compare", &[]).ends_with(1);
        }
    }
    let bounded = [
        "compare",
        &loading.file,
        "--to",
        &loading.url,
        "--ttl-policy",
        "max=30d",
    ];
    let ran = run(bounded);
    assert!(ran.ends_with(2).stderr.contains("--journal"), "{ran:?}");
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

/// Killed in the midst, and gone on with a second later.
#[test]
fn a_shift_is_one_distance_for_all_runs_of_a_load() {
    const KEYS: i64 = 2000;
    let server = Server::start("redis-7.0");
    let dump = (0..KEYS).fold(
        Dump::redis(9).aux("ctime", TAKEN.to_string()).select_db(0),
        |dump, i| dump.expire_ms(LATER + i).string_key(format!("k{i}"), "v"),
    );
    let dump = dump
        .expire_ms(TAKEN * 1000 - 1)
        .string_key("over", "v")
        .finish(Crc::Right);
    let loading = Loading::new(dump, &server);
    let shift = ["--ttl-policy", "shift"];
    let journal = loading.dir.path().join("journal");
    let mut first = program()
        .args(["load", &loading.file, "--to", &loading.url, "--journal"])
        .arg(&journal)
        .args(shift)
        .args(["--max-keys-per-sec", "1000", "--quiet"])
        .spawn()
        .expect("it starts");
    wait_until("some keys are there", || {
        number(&server.run("DBSIZE")) > 100
    });
    first.kill().expect("killed");
    first.wait().expect("ended");
    let there = number(&server.run("DBSIZE"));
    assert!(there < KEYS, "{there}");
    std::thread::sleep(Duration::from_millis(1100));
    let other = loading.run("load", &[]);
    assert!(
        other
            .ends_with(2)
            .stderr
            .contains("--ttl-policy was shift, is not given"),
        "{other:?}"
    );
    let given = ["--snapshot-time", "2026-11-22T02:00:00Z"];
    let other = loading.run("load", &[&shift[..], &given].concat());
    other.ends_with(2);
    let second = loading.run("load", &[&shift[..], &["--compare"]].concat());
    let report = second.ends_with(0).json();
    assert_eq!(report["runs"], 2, "{second:?}");
    // What was over when the dump was taken is over.
    assert_eq!(report["outcomes"]["expired"], 1, "{second:?}");
    let delta = report["ttl_shift_ms"].as_i64().expect("a number");
    assert!(
        (delta - (now_ms() - TAKEN * 1000)).abs() < 100_000,
        "{delta}"
    );
    for i in 0..KEYS {
        assert_eq!(expires(&server, &format!("k{i}")), LATER + i + delta);
    }
    let compared = loading.run("compare", &shift);
    assert_eq!(compared.ends_with(0).json()["ttl_shift_ms"], delta);
    // Without the journal, the report says enough.
    let now = report["now"].as_str().expect("an instant");
    let words = ["compare", &loading.file, "--to", &loading.url, "--now", now];
    run([&words[..], &shift].concat()).ends_with(0);
}

#[test]
fn a_shift_needs_to_know_when_the_dump_was_taken() {
    let server = Server::start("redis-5.0");
    let loading = Loading::new(expiries().finish(Crc::Right), &server);
    let ran = loading.run("load", &["--ttl-policy", "shift"]);
    assert!(
        ran.ends_with(2).stderr.contains("--snapshot-time"),
        "{ran:?}"
    );
    let given = [
        "--ttl-policy",
        "shift",
        "--snapshot-time",
        &TAKEN.to_string(),
    ];
    let ran = loading.run("load", &given);
    let delta = ran.ends_with(0).json()["ttl_shift_ms"].as_i64();
    let delta = delta.expect("a number");
    let left = number(&server.run("PTTL later"));
    assert!(
        (now_ms() + left - LATER - delta).abs() < 5000,
        "{left} {ran:?}"
    );
    loading.run("compare", &given).ends_with(0);
    let ran = loading.run("load", &["--snapshot-time", "5"]);
    assert!(
        ran.ends_with(2).stderr.contains("--ttl-policy shift"),
        "{ran:?}"
    );
}

/// The load begins by the destination's clock, where it tells.
#[test]
fn a_shift_counts_to_the_start_of_the_load_by_the_clock_there() {
    let server = Server::setup("redis-7.0").with_clock_ahead(36_000).start();
    let loading = Loading::new(taken_expiries(), &server);
    let shift = ["--ttl-policy", "shift", "--restart"];
    for (rights, ahead) in [("+time", 36_000_000), ("-time", 0)] {
        server.run("FLUSHALL");
        server.run(&format!("ACL SETUSER default {rights}"));
        let planned = loading.run("plan", &shift[..2]);
        let ran = loading.run("load", &shift);
        for report in [planned.json(), ran.ends_with(0).json()] {
            let delta = report["ttl_shift_ms"].as_i64().expect("a number");
            let expected = now_ms() + ahead - TAKEN * 1000;
            assert!(
                (delta - expected).abs() < 60_000,
                "{rights}: {delta} {expected}"
            );
        }
        let delta = ran.json()["ttl_shift_ms"].as_i64().expect("a number");
        assert_eq!(expires(&server, "later"), LATER + delta);
        loading.run("compare", &shift[..2]).ends_with(0);
    }
}

/// A hash of Redis' form: `f` expires, `g` does not.
fn redis_hash() -> Vec<u8> {
    [
        &LATER.to_le_bytes()[..],
        &length(2),
        &length(1),
        &string("f"),
        &string("v"),
        &length(0),
        &string("g"),
        &string("w"),
    ]
    .concat()
}

/// The same in Valkey's.
fn valkey_hash() -> Vec<u8> {
    [
        &length(2)[..],
        &string("f"),
        &string("v"),
        &LATER.to_le_bytes(),
        &string("g"),
        &string("w"),
        &(-1i64).to_le_bytes(),
    ]
    .concat()
}

#[test]
fn fields_follow_the_policy_and_their_hashes_leave_the_raw_road() {
    let redis = Dump::redis(12).select_db(0).key(24, "h", redis_hash());
    let redis = redis.string_key("s", "v").finish(Crc::Right);
    let valkey = Dump::valkey(80).select_db(0).key(22, "h", valkey_hash());
    let valkey = valkey.string_key("s", "v").finish(Crc::Right);
    for name in ["redis-8.0", "valkey-9.0"] {
        let server = Server::start(name);
        for dump in [&redis, &valkey] {
            let loading = Loading::new(dump.clone(), &server);
            for (policy, at) in [("shift=1d", LATER + 86_400_000), ("strip", -1)] {
                server.run("FLUSHALL");
                let arrives = ["--ttl-policy", policy];
                let planned = loading.run("plan", &arrives);
                let groups = planned.ends_with(0).json()["servers"][0]["groups"].to_string();
                assert!(groups.contains("reencoded"), "{groups}");
                let ran = loading.run("load", &[&["--restart", "--verify"], &arrives[..]].concat());
                let report = ran.ends_with(0).json();
                assert_eq!(report["outcomes"]["restored_reencoded"], 1, "{ran:?}");
                assert_eq!(report["outcomes"]["restored_raw"], 1, "{ran:?}");
                assert!(ran.stderr.contains("will be re-encoded"), "{ran:?}");
                let times = server.run("HPEXPIRETIME h FIELDS 2 f g");
                assert_eq!(times, Value::Array(vec![Value::Int(at), Value::Int(-1)]));
                let compared = loading.run("compare", &arrives);
                assert_eq!(compared.ends_with(0).json()["outcomes"]["same"], 2);
                let compared = loading.run("compare", &[]);
                assert_eq!(compared.ends_with(1).json()["outcomes"]["different"], 1);
            }
            let format = [
                "export",
                &loading.file,
                "--format",
                "resp",
                "--target",
                name,
            ];
            let text = run([&format[..], &["--ttl-policy", "shift=1d"]].concat());
            let at = (LATER + 86_400_000).to_string();
            assert!(text.ends_with(0).stdout.contains(&at), "{text:?}");
        }
    }
}

#[test]
fn a_cluster_gets_each_key_where_its_new_name_belongs() {
    let cluster = Cluster::start("redis-7.0", 3, 0);
    let dump = (0..300).fold(Dump::redis(7).select_db(0), |dump, i| {
        dump.string_key(format!("k{i}"), i.to_string())
    });
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    let url = cluster.url();
    let arrives = [
        "--to", &url, "--json", "--prefix", "moved:", "--rename", "^k=key:",
    ];
    for road in ["restored_raw", "restored_commands"] {
        if road == "restored_commands" {
            for node in &cluster.nodes {
                node.run("FLUSHALL");
                node.run("ACL SETUSER default -restore");
            }
        }
        let ran = run([&["load", &file], &arrives[..]].concat());
        let report = ran.ends_with(0).json();
        assert_eq!(report["outcomes"][road], 300, "{ran:?}");
        assert_eq!(report["redirected"]["moved"], 0, "{ran:?}");
        let names: Vec<Vec<u8>> = (0..300)
            .map(|i| format!("moved:key:{i}").into_bytes())
            .collect();
        for (i, value) in get_all(&cluster.ports(), &names).into_iter().enumerate() {
            assert_eq!(text(&value), i.to_string());
        }
        let compared = run([&["compare", &file, "--extra"], &arrives[..]].concat());
        let compared = compared.ends_with(0).json();
        assert_eq!(
            (&compared["outcomes"]["same"], &compared["extra"]),
            (&300.into(), &0.into())
        );
        let planned = run([&["plan", &file], &arrives[..]].concat());
        assert_eq!(planned.json()["existing"]["there"], 300, "{planned:?}");
    }
}

#[test]
fn exported_commands_arrive_as_a_load_does() {
    let server = Server::start("redis-7.0");
    let loading = Loading::new(names(), &server);
    for format in ["restore", "resp"] {
        server.run("FLUSHALL");
        let text = loading.dir.path().join(format);
        let text = text.to_str().expect("UTF-8");
        let export = ["export", &loading.file, "--format", format, "-o", text];
        run([&export[..], &RENAMED].concat()).ends_with(0);
        let commands = std::fs::read(text).expect("written");
        let mut pipe = TcpStream::connect(("127.0.0.1", server.port())).expect("a server");
        pipe.write_all(&commands).expect("sent");
        pipe.write_all(b"*1\r\n$4\r\nQUIT\r\n").expect("sent");
        let mut said = String::new();
        pipe.read_to_string(&mut said).expect("answers");
        assert!(!said.contains('-'), "{said}");
        assert_eq!(keys(&server), ARRIVED);
        let words = ["compare", &loading.file, "--to", &loading.url];
        run([&words[..], &RENAMED].concat()).ends_with(0);
    }
    for format in ["json", "ndjson"] {
        for arrives in [
            ["--prefix", "a"],
            ["--rename", "a=b"],
            ["--ttl-policy", "strip"],
        ] {
            let export = ["export", &loading.file, "--format", format];
            let ran = run([&export[..], &arrives].concat());
            assert!(ran.ends_with(2).stderr.contains(arrives[0]), "{ran:?}");
        }
    }
}

#[test]
fn a_name_that_is_too_long_to_be_changed_is_refused_by_every_verb() {
    let server = Server::start("redis-7.0");
    let dump = Dump::redis(7)
        .select_db(0)
        .string_key("k".repeat((1 << 20) + 1), "v")
        .string_key("k", "v")
        .finish(Crc::Right);
    let loading = Loading::new(dump, &server);
    let prefix = ["--prefix", "p"];
    let ran = loading.run("load", &prefix);
    assert_eq!(ran.ends_with(1).json()["outcomes"]["refused"], 1);
    assert!(
        ran.stderr.contains("names of more than 1048576 bytes"),
        "{ran:?}"
    );
    let planned = loading.run("plan", &prefix);
    assert_eq!(
        planned.ends_with(1).json()["servers"][0]["refused"]["keys"],
        1
    );
    let compared = loading.run("compare", &[&prefix[..], &["--extra"]].concat());
    let compared = compared.ends_with(1).json();
    assert_eq!(compared["outcomes"]["not_comparable"], 1);
    assert_eq!(compared["outcomes"]["same"], 1);
    for format in ["restore", "resp"] {
        let text = loading.dir.path().join(format);
        let text = text.to_str().expect("UTF-8");
        let export = ["export", &loading.file, "--format", format, "-o", text];
        run([&export[..], &prefix].concat()).ends_with(1);
    }
}
