//! What goes to KeyDB and to Dragonfly, and how their answers are judged: by scripts, made from their sources.

use std::collections::BTreeSet;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::products::{DRAGONFLY, KEYDB};
use super::support::recorder::{Recorder, Restored};
use super::support::server::Server;

/// A dump of a newer server: each encoding, in two databases that all have and one that they do not.
fn newer(dir: &Dir) -> String {
    let server = Server::setup("redis-8.2").with("databases", ["32"]).start();
    let long = "x".repeat(100);
    let members: String = (0..200).map(|n| format!(" {n} {long}{n}")).collect();
    for words in [
        "SET text value",
        "SET there value",
        "SADD intset 1 2 3",
        "SADD set a b c",
        "RPUSH list a b c",
        "HSET hash f v g w",
        "ZADD zset 1.5 a 2 b",
        "XADD stream 1-1 f v",
        "XGROUP CREATE stream g 0",
        "HSET ttl f v g w",
        "HPEXPIREAT ttl 4000000000000 FIELDS 1 f",
        "SET fades value PXAT 4000000000000",
        &format!("ZADD wide-zset{members}"),
        &format!("HSET wide-hash{members}"),
    ] {
        server.run(words);
    }
    let mut connection = server.connect();
    for db in [3, 20] {
        let mut pipe = redis::pipe();
        pipe.cmd("SELECT").arg(db).ignore();
        pipe.cmd("SET")
            .arg(format!("in {db}"))
            .arg("value")
            .ignore();
        pipe.exec(&mut connection)
            .unwrap_or_else(|error| panic!("{db}: {error}"));
    }
    server.run("SAVE");
    let bytes = std::fs::read(server.dir().join("dump.rdb")).expect("saved");
    dir.file("newer.rdb", bytes)
}

/// Type and footer of each payload, by key.
fn kinds(sent: &[Restored]) -> Vec<(String, u8, u16)> {
    let kind = |restored: &Restored| {
        let (body, footer) = restored.payload.split_last_chunk::<10>().expect("a footer");
        let key = String::from_utf8_lossy(&restored.key).into_owned();
        (key, body[0], u16::from_le_bytes([footer[0], footer[1]]))
    };
    sent.iter().map(kind).collect()
}

fn has(said: &[Vec<Vec<u8>>], command: &str) -> Vec<String> {
    let of = said.iter().filter(|words| words[0] == command.as_bytes());
    of.map(|words| String::from_utf8_lossy(&words.join(&b' ')).into_owned())
        .collect()
}

fn load_into(file: &str, url: &str, more: &[&str]) -> Ran {
    let args = ["load", file, "--to", url, "--json", "--no-journal"];
    run([&args[..], more].concat())
}

/// Nothing goes to a server that lacks one of the databases; what it was asked.
fn asked_in_vain(file: &str, server: &Recorder) -> Vec<Vec<Vec<u8>>> {
    let ran = load_into(file, &server.url(), &[]);
    ran.ends_with(4);
    assert!(ran.stderr.contains("no database 20"), "{}", ran.stderr);
    assert_eq!(server.count(), 0);
    server.said()
}

#[test]
fn keydb_takes_what_redis_6_took() {
    let dir = Dir::new();
    let file = newer(&dir);
    let server = Recorder::start(KEYDB);
    let url = server.url();
    // It says how many databases it has.
    let asked = asked_in_vain(&file, &server);
    assert_eq!(
        has(&asked, "RESTORE"),
        [""; 0],
        "nothing that it could die of"
    );

    let plan = run(["plan", &file, "--to", &url, "--json", "--db", "0,3"]);
    plan.ends_with(0);
    let ran = load_into(&file, &url, &["--db", "0,3"]);
    ran.ends_with(1);
    let (sent, said) = (server.take(), server.said());
    let kinds = kinds(&sent);
    for (key, value_type, footer) in &kinds {
        assert!(
            *footer <= 9 && *value_type <= 15,
            "{key}: {value_type}, {footer}"
        );
    }
    let names: BTreeSet<&str> = kinds.iter().map(|(key, ..)| key.as_str()).collect();
    let all = [
        "fades",
        "hash",
        "in 3",
        "intset",
        "list",
        "set",
        "stream",
        "text",
        "wide-hash",
        "wide-zset",
        "zset",
    ];
    assert_eq!(names, BTreeSet::from(all));
    let fades = sent.iter().find(|sent| sent.key == b"fades").expect("sent");
    assert_eq!(
        (&fades.ttl[..], &fades.options[..]),
        ("4000000000000", &["ABSTTL".to_owned()][..])
    );
    let elsewhere = sent.iter().find(|sent| sent.key == b"in 3").expect("sent");
    assert_eq!(elsewhere.db, 3);
    // The only refusal is that of a key that is there.
    assert_eq!(has(&said, "RESTORE").len(), 1, "{said:?}");
    let load = ran.json();
    let outcomes = &load["outcomes"];
    for (outcome, keys) in [
        // Expiries of fields are in no payload that it takes.
        ("restored_commands", 1),
        ("conflict", 1),
        ("failed", 0),
        ("refused", 0),
    ] {
        assert_eq!(outcomes[outcome], keys, "{outcome}: {load:#}");
    }
    assert_eq!(has(&said, "PEXPIREMEMBERAT").len(), 1, "{said:?}");
    let expiry = &has(&said, "PEXPIREMEMBERAT")[0];
    assert!(expiry.ends_with(" f 4000000000000"), "{expiry}");
    assert!(has(&said, "RENAMENX")[0].ends_with(" ttl"), "{said:?}");
    let planned = plan.json();
    for outcome in [
        "restored_raw",
        "restored_reencoded",
        "restored_commands",
        "refused",
    ] {
        let before = planned["servers"][0]["outcomes"][outcome].as_u64();
        // What is there is only met by the load.
        let there = u64::from(outcome == "restored_raw");
        assert_eq!(
            before,
            outcomes[outcome].as_u64().map(|n| n + there),
            "{outcome}"
        );
    }
}

/// They belong to no payload.
#[test]
fn keydb_gets_expiries_of_members_by_its_own_command() {
    let dir = Dir::new();
    let dump = Dump::redis(9)
        .aux("mvcc-tstamp", "1")
        .select_db(0)
        .key(2, "members", [length(2), string("m"), string("n")].concat())
        .aux("keydb-subexpire-key", "m")
        .aux("keydb-subexpire-when", "4000000000000")
        .string_key("other", "value")
        .finish(Crc::Right);
    let file = dir.file("keydb.rdb", dump);
    let server = Recorder::start(KEYDB);
    let load = load_into(&file, &server.url(), &[]).ends_with(0).json();
    let (sent, said) = (server.take(), server.said());
    assert_eq!(load["outcomes"]["restored_raw"], 1, "{load:#}");
    assert_eq!(load["outcomes"]["restored_commands"], 1, "{load:#}");
    assert_eq!(sent.len(), 1);
    let expiries = has(&said, "PEXPIREMEMBERAT");
    assert_eq!(expiries.len(), 1, "{said:?}");
    assert!(expiries[0].ends_with(" m 4000000000000"), "{expiries:?}");
    assert!(has(&said, "RENAMENX")[0].ends_with(" members"), "{said:?}");
}

#[test]
fn dragonfly_takes_payloads_up_to_12_and_keeps_sticky_keys() {
    let dir = Dir::new();
    let file = newer(&dir);
    let server = Recorder::start(DRAGONFLY);
    // It hides how many databases it has; the highest is tried.
    asked_in_vain(&file, &server);

    let ran = load_into(&file, &server.url(), &["--db", "0,3"]);
    ran.ends_with(1);
    let (sent, said) = (server.take(), server.said());
    for (key, value_type, footer) in kinds(&sent) {
        assert!(
            footer <= 12 && !matches!(value_type, 1 | 7..=10 | 22..),
            "{key}: {value_type}, {footer}"
        );
    }
    // Where the key that exists is the first of the dump, what is asked beforehand bears its name: with a type that nobody has.
    let is_key = |words: &&Vec<Vec<u8>>| words[0] == b"RESTORE" && words[3].first() != Some(&8);
    assert_eq!(said.iter().filter(is_key).count(), 1, "{said:?}");
    let load = ran.json();
    let outcomes = &load["outcomes"];
    // Field expiries have no form there that is known to us.
    for (outcome, keys) in [
        ("refused", 1),
        ("conflict", 1),
        ("failed", 0),
        ("restored_raw", 11),
    ] {
        assert_eq!(outcomes[outcome], keys, "{outcome}: {load:#}");
    }
    assert!(ran.stderr.contains("\"ttl\""), "{}", ran.stderr);

    // Its own dump.
    let own = |dump: Dump| {
        dump.aux("df-ver", "1.27.1")
            .select_db(0)
            .raw([220, 1, 0, 0, 0])
            .string_key("sticky", "value")
            .string_key("loose", "value")
            .finish(Crc::Right)
    };
    let file = dir.file("own.rdb", own(Dump::redis(9)));
    let ran = load_into(&file, &server.url(), &["--on-conflict", "replace"]);
    ran.ends_with(0);
    let sent = server.take();
    let options = |key: &[u8]| {
        let found = sent.iter().find(|sent| sent.key == key);
        found.expect("sent").options.join(" ")
    };
    assert_eq!(options(b"sticky"), "REPLACE STICK");
    assert_eq!(options(b"loose"), "REPLACE");
    // Elsewhere that is bookkeeping which is counted.
    let redis = Server::start("redis-7.0");
    let ran = load_into(&file, &redis.url(), &["--type", "string"]);
    ran.ends_with(0);
    assert_eq!(ran.json()["losses"]["key-flags"], 1, "{:#}", ran.json());
}
