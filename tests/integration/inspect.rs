//! `keys` and `get` against the servers that wrote the samples: rows are what the server counts, payloads restore the same
//! key, raw bytes are its string.

use std::collections::BTreeMap;
use std::fs;

use rdbridge::error::Escaped;
use rdbridge::snapshot::{Entry, Kind, Snapshot};
use serde_json::Value;

use super::support::command;
use super::support::expected;
use super::support::reading::{Detail, answered};
use super::support::server::{Server, all};

const DETAIL: Detail = Detail {
    counters: true,
    times: true,
};

fn entries(data: &[u8]) -> Vec<Entry<'_>> {
    let snapshot = Snapshot::parse(data).expect("a sound header");
    let entries: rdbridge::Result<_> = snapshot.entries().collect();
    entries.expect("a sound file")
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock after 1970").as_millis() as i64
}

fn select(connection: &mut redis::Connection, db: u64) {
    let select = redis::cmd("SELECT").arg(db).exec(connection);
    select.expect("SELECT");
}

/// How many elements the server counts.
fn counted(connection: &mut redis::Connection, kind: Kind, name: &[u8]) -> u64 {
    let command = match kind {
        Kind::List => "LLEN",
        Kind::Set => "SCARD",
        Kind::ZSet => "ZCARD",
        Kind::Hash => "HLEN",
        Kind::Stream => "XLEN",
        Kind::Array => "ARCOUNT",
        Kind::String => "EXISTS",
        other => panic!("{other} has no elements"),
    };
    let count = redis::cmd(command).arg(name).query(connection);
    count.expect("a count")
}

/// What `get` writes to standard output.
fn get(file: &str, entry: &Entry<'_>, name: &[u8], format: &str) -> Vec<u8> {
    let ran = command::program()
        .args(["get", "-q", file, &Escaped(name).to_string()])
        .args(["--db", &entry.db.to_string(), "--format", format])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{format}: {said}");
    ran.stdout
}

/// Compares one server's files with it. Answers how many rows and how many payloads were compared.
fn agrees(server: &'static str) -> (u64, u64) {
    let empty = Server::start(server);
    let mut target = empty.connect();
    let (mut rows, mut payloads) = (0, 0);
    // Two keys of each type and encoding.
    let mut shown: BTreeMap<(u8, bool), u32> = BTreeMap::new();
    for row in expected::all()
        .iter()
        .filter(|row| row.server == server && row.kind == expected::Kind::Rdb)
    {
        let path = row.rdb();
        let file = path.to_str().expect("a path in UTF-8");
        let data = fs::read(&path).expect("the file is there");
        let loaded = Server::setup(server).with_rdb(&path).start();
        let mut source = loaded.connect();
        let listed = command::run(["keys", "-q", "--format", "ndjson", file]);
        listed.ends_with(0);
        let csv = command::run(["keys", "-q", "--format", "csv", file]);
        let text = command::run(["keys", "-q", file]);
        let count = row.keys as usize;
        assert_eq!(listed.stdout.lines().count(), count, "{file}");
        assert_eq!(csv.stdout.matches("\r\n").count(), count + 1, "{file}");
        assert_eq!(text.stdout.lines().count(), count + 1, "{file}");
        let lines = listed.stdout.lines().zip(csv.stdout.lines().skip(1));
        for (entry, (line, csv)) in entries(&data).iter().zip(lines) {
            let key: Value = serde_json::from_str(line).expect("an object");
            let info = entry.type_info().expect("a known type");
            assert_eq!(key["type"], info.kind.name());
            // The same cells, where the name has no comma.
            let cells: Vec<&str> = csv.rsplit(',').collect();
            let number = |name: &str| key[name].as_u64().map_or(String::new(), |n| n.to_string());
            assert_eq!(cells[0], number("slot"), "{csv}");
            assert_eq!(cells[1], number("lfu_freq"), "{csv}");
            assert_eq!(cells[2], number("idle_seconds"), "{csv}");
            assert_eq!(cells[5], number("elements"), "{csv}");
            assert_eq!(cells[6], number("bytes"), "{csv}");
            let past = row.name.contains("past") && info.kind == Kind::Hash;
            if entry.is_expired(now_ms() + 60_000) || info.kind == Kind::Module || past {
                continue;
            }
            select(&mut source, entry.db);
            let mut scratch = Vec::new();
            let name = entry.key.bytes(&mut scratch).expect("a sound name");
            let elements = counted(&mut source, info.kind, name);
            assert_eq!(key["elements"], elements, "{file}: {}", entry.context());
            rows += 1;

            let times = entry.expire_at_ms.is_some();
            let seen = shown.entry((entry.value_type.0, times)).or_default();
            *seen += 1;
            if *seen > 2 {
                continue;
            }
            let payload = get(file, entry, name, "restore");
            let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            let digits = get(file, entry, name, "hex");
            assert_eq!(String::from_utf8_lossy(&digits), format!("{hex}\n"));
            let restore = redis::cmd("RESTORE")
                .arg(name)
                .arg(0)
                .arg(&payload)
                .exec(&mut target);
            restore.unwrap_or_else(|e| panic!("{file}: {}: {e}", entry.context()));
            let theirs = answered(&mut source, server, name, info.kind, DETAIL);
            let restored = answered(&mut target, server, name, info.kind, DETAIL);
            assert_eq!(restored, theirs, "{file}: {}", entry.context());
            if info.kind == Kind::String {
                let value: Vec<u8> = redis::cmd("GET").arg(name).query(&mut source).expect("GET");
                assert_eq!(get(file, entry, name, "raw"), value, "{file}");
            }
            // As `export` has it, and so as the server answers it.
            let line = get(file, entry, name, "json");
            let db = entry.db.to_string();
            let pattern = glob_of(name);
            let exported = command::run([
                "export", "-q", "--format", "ndjson", "--db", &db, "--match", &pattern, file,
            ]);
            let line = String::from_utf8_lossy(&line);
            let same = exported
                .stdout
                .split_inclusive('\n')
                .any(|other| other == line);
            assert!(same, "{line}\n{}", exported.stdout);
            redis::cmd("FLUSHALL").exec(&mut target).expect("FLUSHALL");
            payloads += 1;
        }
    }
    (rows, payloads)
}

/// A pattern for one name; bytes that no argument can have fit any byte.
fn glob_of(name: &[u8]) -> String {
    let mut pattern = String::new();
    for byte in name {
        match byte {
            b'*' | b'?' | b'[' | b'\\' => pattern.extend(['\\', char::from(*byte)]),
            0x20..0x7f => pattern.push(char::from(*byte)),
            _ => pattern.push('?'),
        }
    }
    pattern
}

#[test]
fn keys_and_get_agree_with_every_server() {
    let servers = all();
    std::thread::scope(|scope| {
        for start in 0..2 {
            let mine = servers.iter().skip(start).step_by(2);
            scope.spawn(move || {
                for server in mine {
                    let (rows, payloads) = agrees(server);
                    assert!(rows > 100 && payloads > 10, "{server}: {rows}, {payloads}");
                }
            });
        }
    });
}
