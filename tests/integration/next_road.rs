//! Destinations that let `RESTORE` through and do not take every payload, or not to the end: each key goes by the next road that
//! loses nothing, counted as such, and the others are not touched by it.

use std::sync::Mutex;

use rdbridge::outcome::{Outcome, Road};
use rdbridge::verbs::load::{KeyEvent, OnConflict, Watcher};
use redis::Value;

use super::plan;
use super::reactions::load_after;
use super::support::command::{Dir, run};
use super::support::contents::{Meaning, Reading, read};
use super::support::dump::{Crc, Dump, length, string};
use super::support::gate::Gate;
use super::support::loading::{Loaded, load, options};
use super::support::server::Server;

const BY_COMMANDS: Outcome = Outcome::Restored(Road::Commands);

/// Whether it is a `RESTORE` of a value, and not one that only tries something.
fn restores(words: &[Vec<u8>]) -> bool {
    words[0] == b"RESTORE" && !words[1].ends_with(b"probe") && words[3][0] != 8 && words[2] != b"1"
}

fn error(words: &str) -> Option<Vec<u8>> {
    Some(format!("-{words}\r\n").into_bytes())
}

/// Some keys of types that every server knows.
fn dump() -> Vec<u8> {
    let members = [length(2), string("a"), string("b")].concat();
    (0..20)
        .fold(Dump::redis(9).select_db(0), |dump, i| {
            dump.string_key(format!("text{i}"), format!("value {i}"))
        })
        .key(1, "list", &members)
        .expire_ms(4_000_000_000_000)
        .key(2, "set", &members)
        .key(4, "hash", [length(1), string("f"), string("v")].concat())
        .finish(Crc::Right)
}

fn value(there: &Reading, key: &str) -> Meaning {
    there.keys[&(0, key.as_bytes().to_vec())].meaning.clone()
}

/// All keys of [`dump`] are there, so many of them by plain commands.
#[track_caller]
fn all_there(server: &Server, loaded: &Loaded, by_commands: u64) {
    assert_eq!(loaded.stopped(), "");
    assert_eq!(loaded.restored(), 23, "{:?}", loaded.events);
    assert_eq!(
        loaded.count(BY_COMMANDS),
        by_commands,
        "{:?}",
        loaded.events
    );
    assert!(loaded.events.is_empty(), "{:?}", loaded.events);
    holds_all(server);
}

#[track_caller]
fn holds_all(server: &Server) {
    let there = read(server);
    assert_eq!(there.keys.len(), 23);
    assert_eq!(value(&there, "text13"), Meaning::Text(b"value 13".to_vec()));
    for key in ["list", "set", "hash"] {
        let kind = server.run(&format!("TYPE {key}"));
        assert_eq!(kind, Value::SimpleString(key.to_owned()));
    }
    assert_eq!(server.run("SCARD set"), Value::Int(2));
    assert_eq!(server.run("PEXPIRETIME set"), Value::Int(4_000_000_000_000));
    assert_eq!(server.run("KEYS *~rdbridge~*"), Value::Array(Vec::new()));
}

#[test]
fn a_type_that_restore_does_not_take_goes_by_commands_as_planned() {
    let server = Server::start("redis-7.0");
    let gate = Gate::start(server.port(), |words| {
        let is_set = words[0] == b"RESTORE" && words[3][0] == 2;
        is_set.then(|| error("ERR Bad data format")).flatten()
    });
    let options = options();
    let now = options.policies.now_ms;
    let planned = plan::plan(&gate.url(), &dump(), now).expect("a plan");
    let loaded = load(&gate.url(), &dump(), options).expect("begins");
    all_there(&server, &loaded, 1);
    assert_eq!(plan::differs(&planned, &loaded), Vec::<String>::new());
    let groups = &planned.servers[0].groups;
    let set = groups.iter().find(|group| group.type_name == "set");
    let set = set.expect("a group of its own");
    assert_eq!(set.road, "commands");
    let why = set.reason.as_deref().unwrap_or_default();
    assert!(why.contains("set is not known to redis 7.0"), "{set:?}");
}

#[test]
fn a_payload_that_is_refused_goes_by_commands() {
    for words in [
        "ERR Bad data format",
        "ERR DUMP payload version or checksum are wrong",
        "ERR syntax error",
    ] {
        let server = Server::start("redis-7.0");
        let gate = Gate::start(server.port(), move |sent| {
            let is_meant = restores(sent) && sent[1] == b"text13";
            is_meant.then(|| error(words)).flatten()
        });
        let loaded = load(&gate.url(), &dump(), options()).expect("begins");
        all_there(&server, &loaded, 1);
    }
}

#[test]
fn what_no_road_carries_fails_in_the_destinations_words_and_ours() {
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["1048576"])
        .start();
    let gate = Gate::start(server.port(), |words| {
        let is_meant = restores(words) && words[1] == b"long";
        is_meant.then(|| error("ERR Bad data format")).flatten()
    });
    // It compresses well, so its payload is short; its text is not.
    let text = vec![b'x'; 2 << 20];
    let mut body = Vec::new();
    rdbridge::wire::Str::write(&mut body, &text, true);
    let data = Dump::redis(9)
        .select_db(0)
        .key(0, "long", body)
        .finish(Crc::Right);
    let loaded = load(&gate.url(), &data, options()).expect("begins");
    let failed = loaded.listed(Outcome::Failed);
    assert_eq!(failed.len(), 1, "{:?}", loaded.events);
    let reason = &failed[0].reason;
    assert!(
        reason.contains("Bad data format") && reason.contains("proto-max-bulk-len"),
        "{reason}"
    );
}

/// No question is answered and no probe; what writes goes through.
#[test]
fn a_destination_that_tells_nothing_gets_everything_by_commands() {
    let server = Server::start("redis-7.0");
    let gate = Gate::start(server.port(), |words| {
        const OPEN: [&[u8]; 11] = [
            b"SET",
            b"RPUSH",
            b"SADD",
            b"HMSET",
            b"HSET",
            b"PEXPIREAT",
            b"RENAMENX",
            b"UNLINK",
            b"PING",
            b"ECHO",
            b"SELECT",
        ];
        let is_open = restores(words) || OPEN.contains(&&words[0][..]);
        (!is_open).then(|| error("ERR nope")).flatten()
    });
    let loaded = load(&gate.url(), &dump(), options()).expect("begins");
    all_there(&server, &loaded, 23);
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn key(&self, event: &KeyEvent<'_>) {
        panic!("{event:?}");
    }

    fn note(&self, text: &str) {
        let mut notes = self.0.lock().expect("not poisoned");
        notes.push(text.to_owned());
    }
}

/// The right to `RESTORE` is taken away between the probes and the first key.
#[test]
fn a_restore_that_is_closed_meanwhile_is_said_once_and_the_rest_goes_by_commands() {
    for connections in [1, 2] {
        let server = Server::start("redis-7.0");
        server.run("ACL SETUSER u on >p ~* +@all");
        let url = format!("redis://u:p@127.0.0.1:{}", server.port());
        let notes = Notes::default();
        let mut options = options();
        options.connections = connections;
        options.verify = true;
        let report = load_after(&url, &dump(), options, &notes, || {
            server.run("ACL SETUSER u -restore");
        });
        assert!(report.stopped.is_none(), "{:?}", report.stopped);
        assert_eq!(report.tally.get(BY_COMMANDS), 23, "{:?}", report.tally);
        assert_eq!(report.verified.expect("it was wanted").same, 23);
        holds_all(&server);
        let notes = notes.0.into_inner().expect("not poisoned");
        let [note] = &notes[..] else {
            panic!("{notes:?}")
        };
        assert!(
            note.contains("NOPERM") && note.contains("+restore"),
            "{note}"
        );
    }
}

/// A set of KeyDB whose member has an expiry, into KeyDB.
#[test]
fn expiries_of_members_go_by_the_command_that_sets_them() {
    let server = Server::start("redis-6.2");
    let gate = Gate::start(server.port(), |words| match &words[0][..] {
        b"HELLO" => error("ERR unknown command 'HELLO'"),
        b"INFO" => {
            let text = "redis_version:6.3.4\r\nmvcc_depth:0\r\nredis_mode:standalone\r\nrole:master\r\nloading:0\r\nmaxmemory:0\r\n# Keyspace\r\n";
            Some(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
        }
        b"PEXPIREMEMBERAT" => Some(b":1\r\n".to_vec()),
        _ => None,
    });
    let members = [length(2), string("a"), string("b")].concat();
    let data = Dump::redis(9)
        .select_db(0)
        .key(2, "sessions", &members)
        .aux("keydb-subexpire-key", "a")
        .aux("keydb-subexpire-when", "4000000000000")
        .key(2, "plain", &members)
        .finish(Crc::Right);
    let options = options();
    let planned = plan::plan(&gate.url(), &data, options.policies.now_ms).expect("a plan");
    let loaded = load(&gate.url(), &data, options).expect("begins");
    assert_eq!(
        (loaded.restored(), loaded.count(BY_COMMANDS)),
        (2, 1),
        "{:?}",
        loaded.events
    );
    assert_eq!(plan::differs(&planned, &loaded), Vec::<String>::new());
    let sent = gate.take("PEXPIREMEMBERAT");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0][2..], ["a", "4000000000000"]);
    assert_eq!(server.run("SCARD sessions"), Value::Int(2));
}

/// Entries 1-1 and 2-0, and a group that stands twice.
fn stream_with_a_group_twice() -> Vec<u8> {
    const NODE: &[u8] = b"\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\
        \x2e\x2e\0\0\0\x11\0\x02\x01\0\x01\x01\x01\x81f\x02\0\x01\
        \x02\x01\0\x01\0\x01\x81v\x02\x04\x01\
        \0\x01\x01\x01\xdf\xff\x02\x01\x01\x81g\x02\x81w\x02\x06\x01\xff";
    // Its last ID, entries read, no pending ones, no consumers.
    const GROUP: &[u8] = b"\x01g\x02\0\x02\0\0";
    let head = [2, 2, 0, 1, 1, 0, 0, 2, 2];
    [&[1], NODE, &head, GROUP, GROUP].concat()
}

/// Values in which something stands twice, and one of each kind in which nothing does.
fn twice() -> Vec<u8> {
    let two = [length(2), string("a"), string("a")].concat();
    let sound = [length(2), string("a"), string("b")].concat();
    let scored = |second: &str| {
        let (one, two) = (1f64.to_le_bytes(), 2f64.to_le_bytes());
        [
            length(2),
            string("a"),
            one.to_vec(),
            string(second),
            two.to_vec(),
        ]
        .concat()
    };
    let fields = |second: &str| {
        let texts = ["f", "v", second, "w"].map(string).concat();
        [length(2), texts].concat()
    };
    let small = b"\x13\0\0\0\x04\0\x81f\x02\x81v\x02\x81f\x02\x81w\x02\xff";
    Dump::redis(11)
        .select_db(0)
        .key(2, "twice:set", two)
        .key(5, "twice:zset", scored("a"))
        .key(4, "twice:hash", fields("f"))
        .key(16, "twice:small", string(small))
        .key(19, "twice:stream", stream_with_a_group_twice())
        .key(2, "sound:set", sound)
        .key(5, "sound:zset", scored("b"))
        .key(4, "sound:hash", fields("g"))
        .finish(Crc::Right)
}

#[test]
fn what_stands_twice_is_not_made_one_by_commands() {
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >p ~* +@all -restore");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let loaded = load(&url, &twice(), options()).expect("begins");
    assert_eq!(loaded.count(BY_COMMANDS), 3, "{:?}", loaded.events);
    let refused = loaded.listed(Outcome::Refused);
    assert_eq!(refused.len(), 5, "{:?}", loaded.events);
    for event in &refused {
        // Servers would keep both pairs of this one.
        let small = event.key == b"twice:hash";
        assert!(event.key.starts_with(b"twice:"), "{event:?}");
        assert!(
            event.reason.contains("stood at") || event.key == b"twice:stream",
            "{event:?}"
        );
        assert_eq!(
            event.reason.contains("commands would keep one of the two"),
            small,
            "{event:?}"
        );
    }
    assert_eq!(server.run("DBSIZE"), Value::Int(3));

    let dir = Dir::new();
    let file = dir.file("dump.rdb", twice());
    let ran = run(["export", &file, "--format", "resp"]);
    ran.ends_with(1);
    let text = &ran.stdout;
    assert!(!text.contains("twice:"), "{text}");
    assert_eq!(text.matches("sound:").count(), 3, "{text}");
    for event in refused {
        let name = String::from_utf8_lossy(&event.key).into_owned();
        assert!(ran.stderr.contains(&name), "{name}: {}", ran.stderr);
    }
}

/// Redis 6.0, which ends on many bad payloads, behind something that says that it is 8.10.
#[test]
fn a_server_that_lies_about_its_version_gets_no_value_unwalked() {
    let server = Server::start("redis-6.0");
    let gate = Gate::start(server.port(), |words| match &words[0][..] {
        b"HELLO" => error("ERR unknown command 'HELLO'"),
        b"INFO" => {
            let text = "redis_version:8.10.2\r\nredis_mode:standalone\r\nrole:master\r\nloading:0\r\nmaxmemory:0\r\n# Keyspace\r\n";
            Some(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
        }
        _ => None,
    });
    // A ziplist whose second entry leaves it.
    let broken = b"\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\x3fv\xff";
    let data = Dump::redis(9)
        .select_db(0)
        .string_key("k", "v")
        .key(13, "broken", string(broken))
        .finish(Crc::Right);
    let refusal = load(&gate.url(), &data, options()).expect_err("a damaged value");
    assert!(
        refusal.to_string().contains("can end on a bad payload"),
        "{refusal}"
    );
    let mut options = options();
    options.skip_damaged = true;
    let loaded = load(&gate.url(), &data, options).expect("begins");
    assert_eq!(
        (loaded.restored_raw(), loaded.count(Outcome::Refused)),
        (1, 1),
        "{:?}",
        loaded.events
    );
    assert_eq!(server.run("DBSIZE"), Value::Int(1));
}

/// `REPLACE` came with 3.0: the payload goes under another name, which then takes the key's.
#[test]
fn before_replace_was_known_payloads_take_the_place_of_what_exists() {
    let server = Server::start("redis-2.8");
    server.run("SET set old");
    server.run("RPUSH text3 old");
    server.run("SET other stays");
    let mut options = options();
    options.on_conflict = OnConflict::Replace;
    options.verify = true;
    let now = options.policies.now_ms;
    let newer = b"\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff";
    let data = Dump::redis(10)
        .select_db(0)
        .string_key("text3", "value 3")
        .expire_ms(now + 1_000_000)
        .key(2, "set", [length(2), string("a"), string("b")].concat())
        .select_db(1)
        .key(16, "hash", string(newer))
        .string_key("fine", "value")
        .finish(Crc::Right);
    let planned = plan::plan(&server.url(), &data, now).expect("a plan");
    for _ in 0..2 {
        let loaded = load(&server.url(), &data, options.clone()).expect("begins");
        assert_eq!(loaded.stopped(), "");
        assert_eq!(
            (loaded.restored_raw(), loaded.restored()),
            (3, 4),
            "{:?}",
            loaded.events
        );
        assert_eq!(loaded.report.verified.expect("it was wanted").same, 4);
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(server.run("GET text3"), text("value 3"));
        assert_eq!(server.run("SCARD set"), Value::Int(2));
        assert_eq!(server.run("GET other"), text("stays"));
        let Value::Int(ttl) = server.run("PTTL set") else {
            panic!("a number")
        };
        assert!((900_000..=1_000_000).contains(&ttl), "{ttl}");
        assert_eq!(server.run("KEYS *~rdbridge~*"), Value::Array(Vec::new()));
        assert_eq!(server.run("DBSIZE"), Value::Int(3));
        assert!(planned.all_can_go());
        assert_eq!(planned.servers[0].commands, 4 + 1);
    }
}
