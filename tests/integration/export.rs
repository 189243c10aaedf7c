//! Keys as data and as plain commands: what `export` writes is what servers answer, and what other projects read from the
//! same files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rdbridge::snapshot::{Dialect, Entry, Kind, Record, Snapshot, ValueType};
use rdbridge::value::commands::{Arrival, Commands, Limits, Loss, Losses, Vocabulary};
use rdbridge::value::{Decoder, Element};
use serde_json::Value;

use super::support::command::{self, Dir};
use super::support::dump::{self, Crc, Dump, lzf_string, string};
use super::support::reading::{Detail, answered, without_delivery_times};
use super::support::server::{Server, all, program, version_of};
use super::support::{corpus_dir, expected, testdata_dir};

/// The bytes of a string of the schema.
fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let members = value.as_object().expect("a string of the schema");
    assert_eq!(members.len(), 1, "{value}");
    let text = members["base64"].as_str().expect("base64");
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

fn shown(value: &Value) -> String {
    rdbridge::error::Escaped(&bytes(value)).to_string()
}

fn items(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("an array: {value}"))
}

fn score(value: &Value) -> f64 {
    let score = match value.as_str() {
        Some(text) => text.parse().expect("inf, -inf or nan"),
        None => value.as_f64().expect("a number"),
    };
    if score == 0.0 { 0.0 } else { score }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// An exported key as the lines that `support::reading` makes of a server's answers.
fn lines_of(key: &Value, now_ms: i64, detail: Detail) -> Vec<String> {
    let value = &key["value"];
    match key["type"].as_str().expect("a type") {
        "string" => vec![shown(value)],
        "list" => items(value).iter().map(shown).collect(),
        "set" => sorted(items(value).iter().map(shown).collect()),
        "zset" => sorted(
            items(value)
                .iter()
                .map(|pair| format!("{} {:?}", shown(&pair[0]), score(&pair[1])))
                .collect(),
        ),
        "hash" => sorted(
            items(value)
                .iter()
                .filter(|field| field[2].as_i64().is_none_or(|at| at >= now_ms))
                .map(|field| {
                    let at = field[2].as_i64().unwrap_or(-1);
                    format!("{} = {} until {at}", shown(&field[0]), shown(&field[1]))
                })
                .collect(),
        ),
        "stream" => stream_lines(value, detail),
        "array" => items(&value["items"])
            .iter()
            .map(|item| format!("{} {}", item[0].as_str().expect("digits"), shown(&item[1])))
            .collect(),
        other => panic!("no lines for {other}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

fn stream_lines(stream: &Value, detail: Detail) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in items(&stream["entries"]) {
        let mut line = format!("entry {}", text(&entry[0]));
        for field in items(&entry[1]) {
            line += &format!(" {} {}", shown(&field[0]), shown(&field[1]));
        }
        lines.push(line);
    }
    lines.push(format!(
        "length {} last {}",
        stream["length"],
        text(&stream["last_id"])
    ));
    if detail.counters && stream["entries_added"].is_u64() {
        lines.push(format!(
            "deleted {} added {}",
            text(&stream["max_deleted_id"]),
            stream["entries_added"]
        ));
    }
    for group in items(&stream["groups"]) {
        let read = group["entries_read"].as_u64().filter(|_| detail.counters);
        lines.push(format!(
            "group {} last {} read {read:?}",
            shown(&group["name"]),
            text(&group["last_id"])
        ));
        let mut owner = BTreeMap::new();
        let mut consumers = Vec::new();
        for consumer in items(&group["consumers"]) {
            let who = shown(&consumer["name"]);
            for id in items(&consumer["pending"]) {
                assert!(owner.insert(text(id), who.clone()).is_none(), "one owner");
            }
            let mut line = format!("consumer {who}");
            if detail.times {
                line += &format!(
                    " seen {} active {}",
                    consumer["seen_at_ms"],
                    consumer["active_at_ms"].as_i64().unwrap_or(-1)
                );
            }
            consumers.push(line);
        }
        if let Some(nacked) = group["nacked"].as_array() {
            for id in nacked {
                assert!(owner.insert(text(id), "\"\"".to_owned()).is_none());
            }
        }
        for pending in items(&group["pending"]) {
            let id = text(&pending[0]);
            let who = owner.remove(id).expect("somebody owns it");
            lines.push(format!(
                "pending {id} of {who} at {} times {}",
                pending[1], pending[2]
            ));
        }
        assert!(owner.is_empty(), "who owns something that is not pending");
        lines.extend(sorted(consumers));
    }
    lines
}

fn export(args: &[&str], file: &Path) -> command::Ran {
    let file = file.to_str().expect("a path in UTF-8");
    let mut all = vec!["export", "--quiet"];
    all.extend(args);
    all.push(file);
    command::run(all)
}

fn objects(ndjson: &str) -> Vec<Value> {
    ndjson
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn entries(data: &[u8]) -> Vec<Entry<'_>> {
    Snapshot::parse(data)
        .expect("a sound header")
        .entries()
        .collect::<rdbridge::Result<_>>()
        .expect("a sound file")
}

fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64
}

fn vocabulary(server: &str) -> Vocabulary {
    let (product, major, minor) = version_of(server);
    match product {
        "redis" => Vocabulary::redis(major as u16, minor as u16),
        _ => Vocabulary::valkey(major as u16, minor as u16),
    }
}

fn losses(entry: &Entry<'_>, words: Vocabulary) -> Losses {
    let mut decoder = Decoder::new(Some(&std::env::temp_dir()));
    let arrival = Arrival {
        inside: rdbridge::transform::Expiries::default(),
        key: Element::Bytes(b"k"),
        expire_at_ms: None,
    };
    let mut commands =
        Commands::new(&mut decoder, entry, arrival, words, Limits::default()).expect("a sound key");
    while commands.next_command().expect("a sound key").is_some() {}
    commands.losses()
}

fn select(connection: &mut redis::Connection, db: u64) {
    redis::cmd("SELECT")
        .arg(db)
        .exec(connection)
        .expect("SELECT");
}

/// `redis-cli --pipe`, as the README says.
fn pipe_into(server: &Server, name: &str, commands: &[u8]) {
    // One package has a server only; what a client sends is the same from each.
    let cli = program(name, "cli").or_else(|| program("redis-7.0", "cli"));
    let cli = cli.expect("a required server has a client");
    let mut pipe = Command::new(cli)
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut stdin = pipe.stdin.take().expect("its input");
    stdin.write_all(commands).expect("it reads");
    drop(stdin);
    let said = pipe.wait_with_output().expect("the client ends").stdout;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("errors: 0,"), "{name}: {said}");
}

/// What a comparison of exports with servers has seen.
#[derive(Debug, Default)]
struct Seen {
    files: usize,
    compared: usize,
    by_commands: usize,
    /// Files that the server does not load.
    not_loaded: Vec<String>,
}

/// Loads each file by start-up: every exported key is what the server answers, and the plain commands, piped into an empty
/// server of the same version, make the same again.
fn agrees(server: &'static str, files: &[(String, PathBuf)]) -> Seen {
    let empty = Server::start(server);
    let mut target = empty.connect();
    let mut seen = Seen::default();
    for (name, path) in files {
        match Server::setup(server).with_rdb(path).try_start() {
            Ok(loaded) => {
                seen.files += 1;
                file_agrees(
                    server,
                    name,
                    path,
                    &loaded,
                    (&empty, &mut target),
                    &mut seen,
                );
            }
            Err(_) => seen.not_loaded.push(name.clone()),
        }
    }
    seen
}

fn file_agrees(
    server: &str,
    file: &str,
    path: &Path,
    loaded: &Server,
    (empty, target): (&Server, &mut redis::Connection),
    seen: &mut Seen,
) {
    let words = vocabulary(server);
    let (product, major, _) = version_of(server);
    let data = fs::read(path).expect("the file is there");
    let mut source = loaded.connect();
    let now = now_ms();
    let lines = export(&["--format", "ndjson"], path);
    lines.ends_with(0);
    let keys = objects(&lines.stdout);
    assert_eq!(keys.len(), entries(&data).len(), "{file}");

    redis::cmd("FLUSHALL").exec(target).expect("FLUSHALL");
    if major >= 7 {
        // Libraries are no keys.
        let flush = redis::cmd("FUNCTION").arg("FLUSH").exec(target);
        flush.expect("FUNCTION FLUSH");
    }
    let texts = command::program()
        .args(["export", "--quiet", "--format", "resp", "--target", server])
        .arg(path)
        .output()
        .expect("the program runs");
    pipe_into(empty, server, &texts.stdout);

    let mut db = u64::MAX;
    let mut meaning_lost = false;
    for (entry, key) in entries(&data).iter().zip(&keys) {
        let mut scratch = Vec::new();
        let name = entry.key.bytes(&mut scratch).expect("a sound name");
        assert_eq!(bytes(&key["key"]), name);
        assert_eq!(key["db"].as_u64(), Some(entry.db));
        assert_eq!(key["expire_at_ms"].as_i64(), entry.expire_at_ms);
        assert_eq!(key["idle_seconds"].as_u64(), entry.idle_seconds);
        let freq = entry.lfu_freq.map(u64::from);
        assert_eq!(key["lfu_freq"].as_u64(), freq, "{key}");
        assert!(key["error"].is_null());
        let lost = losses(entry, words);
        meaning_lost |= lost.any_meaning() && !entry.is_expired(now);
        let kind = entry.type_info().expect("a known type").kind;
        if entry.is_expired(now + 60_000) || kind == Kind::Module {
            continue;
        }
        if entry.db != db {
            db = entry.db;
            select(&mut source, db);
            select(target, db);
        }
        let form = entry.value_type;
        let detail = Detail {
            counters: form != ValueType::STREAM_LISTPACKS,
            times: form != ValueType::STREAM_LISTPACKS && form != ValueType::STREAM_LISTPACKS_2,
        };
        let mut ours = lines_of(key, now, detail);
        if (product, major) == ("redis", 5) {
            ours = without_delivery_times(ours);
        }
        let theirs = answered(&mut source, server, name, kind, detail);
        assert_eq!(ours, theirs, "{server} {file}: {}", entry.context());
        seen.compared += 1;
        if lost.any_meaning() {
            continue;
        }
        let detail = Detail {
            times: false,
            counters: detail.counters && !lost.has(Loss::StreamCounters),
        };
        assert_eq!(
            answered(target, server, name, kind, detail),
            answered(&mut source, server, name, kind, detail),
            "{server} {file}: {} by commands",
            entry.context()
        );
        let ttl = |connection: &mut redis::Connection| -> i64 {
            let answer = redis::cmd("PTTL").arg(name).query(connection);
            answer.expect("PTTL")
        };
        let (here, there) = (ttl(&mut source), ttl(target));
        assert!((here - there).abs() < 10_000, "{here} {there}: {key}");
        seen.by_commands += 1;
    }
    let code = texts.status.code();
    let said = String::from_utf8_lossy(&texts.stderr);
    assert_eq!(code, Some(i32::from(meaning_lost)), "{file}: {said}");
}

/// The plain dumps among the samples, with the server that wrote each.
fn samples(of: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    expected::all()
        .iter()
        .filter(|row| row.kind == expected::Kind::Rdb && of(&row.server))
        .map(|row| (row.name.clone(), row.rdb()))
        .collect()
}

#[test]
fn exports_agree_with_every_server() {
    let servers = all();
    std::thread::scope(|scope| {
        for start in 0..2 {
            let mine = servers.iter().skip(start).step_by(2);
            scope.spawn(move || {
                for server in mine {
                    let seen = agrees(server, &samples(|writer| writer == *server));
                    assert_eq!(seen.not_loaded, [""; 0], "{server}");
                    let Seen {
                        compared,
                        by_commands,
                        ..
                    } = seen;
                    assert!(compared > 100 && by_commands > 100, "{server}: {compared}");
                }
            });
        }
    });
}

/// What keeps a server from loading a sound file, if anything does.
fn why_not_loaded(server: &str, data: &[u8]) -> Option<&'static str> {
    let snapshot = Snapshot::parse(data).expect("a sound header");
    let header = snapshot.header();
    match (server.starts_with("valkey"), header.dialect) {
        (false, Dialect::Valkey) => return Some("Valkey's own format"),
        (true, Dialect::Redis) if header.version.0 > 11 => return Some("Redis's own format"),
        _ => {}
    }
    let mut records = snapshot.records();
    while let Some(record) = records.next_record().expect("a sound file") {
        match record {
            Record::Entry(entry) if entry.value_type == ValueType::MODULE_2 => {
                return Some("a module's value");
            }
            Record::ModuleAux { .. } => return Some("a module's data"),
            _ => {}
        }
    }
    None
}

/// What older servers and other projects wrote, loaded by the newest ones.
#[test]
fn exports_agree_with_newer_servers_and_on_the_corpus() {
    let corpus = corpus_dir();
    std::thread::scope(|scope| {
        for server in ["redis-8.10", "valkey-9.0"] {
            if !all().contains(&server) {
                continue;
            }
            let corpus = corpus.as_deref();
            scope.spawn(move || {
                // Every type that older servers wrote, once.
                let writers = [
                    "redis-2.8",
                    "redis-3.2",
                    "redis-6.2",
                    "redis-7.0",
                    "redis-8.0",
                ];
                let mut files = samples(|writer| writers.contains(&writer));
                if let Some(corpus) = corpus {
                    let mut found = Vec::new();
                    files_below(&corpus.join("valid"), ".rdb", &mut found);
                    let name = |path: &Path| path.to_string_lossy().into_owned();
                    files.extend(found.into_iter().map(|path| (name(&path), path)));
                }
                let seen = agrees(server, &files);
                for name in &seen.not_loaded {
                    let (_, path) = files.iter().find(|(other, _)| other == name).expect("it");
                    let why = why_not_loaded(server, &fs::read(path).expect("readable"));
                    assert!(why.is_some(), "{server} should load {name}");
                }
                assert!(
                    seen.files > 60 && seen.compared > 1000,
                    "{server}: {seen:?}"
                );
                assert_eq!(seen.compared, seen.by_commands, "{server}: nothing is lost");
            });
        }
    });
}

fn files_below(dir: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for item in fs::read_dir(dir).expect("a readable directory") {
        let path = item.expect("a readable directory").path();
        if path.is_dir() {
            files_below(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn every_file_of_the_corpus_exports_without_error() {
    let Some(corpus) = corpus_dir() else { return };
    let mut files = Vec::new();
    files_below(&corpus.join("valid"), "", &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    for path in &files {
        let ran = export(&["--format", "json"], path);
        ran.ends_with(0);
        let document = ran.json();
        let keys = items(&document["inputs"][0]["keys"]);
        assert!(keys.iter().all(|key| key["error"].is_null()), "{path:?}");
        let lines = export(&["--format", "ndjson"], path);
        assert_eq!(&objects(&lines.stdout), keys, "{}", path.display());
        let texts = command::program()
            .args(["export", "--quiet", "--format", "resp"])
            .arg(path)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&texts.stderr);
        // Only what no command carries may be missing.
        let lost = keys.iter().any(|key| key["type"] == "module");
        assert_eq!(
            texts.status.code(),
            Some(i32::from(lost)),
            "{path:?}: {said}"
        );
        assert!(
            said.lines()
                .all(|line| line.contains("(module-value)") || line.contains(": without ")),
            "{path:?}: {said}"
        );
    }
}

/// A character as the command's JSON has it.
fn calm(c: char) -> String {
    match c {
        '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    }
}

/// The library's serializer and the command write one schema, byte for byte.
#[cfg(feature = "serde")]
#[test]
fn what_serde_writes_is_what_export_writes() {
    let mut files: Vec<PathBuf> = samples(|_| true)
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    if let Some(corpus) = corpus_dir() {
        files_below(&corpus.join("valid"), ".rdb", &mut files);
        files_below(&corpus.join("odd"), ".rdb", &mut files);
    }
    let spool = std::env::temp_dir();
    let mut keys = rdbridge::json::KeySerializer::new(Some(&spool));
    let mut compared = 0;
    for path in &files {
        let data = fs::read(path).expect("readable");
        let lines = export(&["--format", "ndjson"], path).stdout;
        let mut lines = lines.lines();
        for entry in entries(&data) {
            let ours = serde_json::to_string(&keys.key(&entry)).expect("it is serialised");
            // It escapes less: the command's readers may be terminals.
            let ours: String = ours.chars().map(calm).collect();
            assert_eq!(Some(ours.as_str()), lines.next(), "{}", path.display());
            compared += 1;
        }
        assert_eq!(lines.next(), None);
    }
    assert!(compared > 5000, "{compared}");
}

/// A key as text, whoever wrote it: what is no UTF-8 as replacement characters.
fn lossy(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => String::from_utf8_lossy(&bytes(value)).into_owned(),
        other => other.to_string(),
    }
}

/// As rdb-rs writes it: what is no UTF-8 as the characters of Latin-1.
fn latin(value: &Value) -> String {
    match value {
        Value::Object(_) => bytes(value).into_iter().map(char::from).collect(),
        other => lossy(other),
    }
}

/// Lines of one of our keys that the other projects' layouts can say as well.
fn plain_lines(key: &Value, show: fn(&Value) -> String) -> Vec<String> {
    let value = &key["value"];
    match text(&key["type"]) {
        "string" => vec![show(value)],
        "list" => items(value).iter().map(show).collect(),
        "set" => sorted(items(value).iter().map(show).collect()),
        "zset" => sorted(
            items(value)
                .iter()
                .map(|pair| format!("{} {:?}", show(&pair[0]), score(&pair[1])))
                .collect(),
        ),
        "hash" => sorted(
            items(value)
                .iter()
                .map(|field| format!("{} {}", show(&field[0]), show(&field[1])))
                .collect(),
        ),
        "stream" => items(&value["entries"])
            .iter()
            .map(|entry| {
                // Their entries are objects, where a field that stands twice stands once.
                let fields: BTreeMap<String, String> = items(&entry[1])
                    .iter()
                    .map(|field| (show(&field[0]), show(&field[1])))
                    .collect();
                let fields = fields.iter().map(|(name, value)| format!("{name} {value}"));
                let fields = sorted(fields.collect()).join(" ");
                format!("{} {fields}", text(&entry[0]))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn pairs(map: &Value) -> Vec<String> {
    let map = map.as_object().expect("an object").iter();
    sorted(
        map.map(|(name, value)| format!("{name} {}", lossy(value)))
            .collect(),
    )
}

/// The layout of HDT3213/rdb: an array of objects like ours.
fn lines_of_hdt3213(key: &Value) -> Option<Vec<String>> {
    Some(match key["type"].as_str()? {
        "string" => vec![lossy(&key["value"])],
        "list" => items(&key["values"]).iter().map(lossy).collect(),
        "set" => sorted(items(&key["members"]).iter().map(lossy).collect()),
        "zset" => sorted(
            items(&key["entries"])
                .iter()
                .map(|pair| format!("{} {:?}", lossy(&pair["member"]), score(&pair["score"])))
                .collect(),
        ),
        "hash" => pairs(&key["hash"]),
        "stream" => items(&key["entries"])
            .iter()
            .flat_map(|node| items(&node["msgs"]))
            .filter(|message| message["deleted"] != true)
            .map(|message| {
                format!(
                    "{} {}",
                    lossy(&message["id"]),
                    pairs(&message["fields"]).join(" ")
                )
            })
            .collect(),
        _ => return None,
    })
}

/// The layout of rdb-rs and librdb: the key's name, and a value that does not say its type.
fn lines_of_map(ours: &Value, theirs: &Value) -> Option<Vec<String>> {
    Some(match text(&ours["type"]) {
        "string" => vec![lossy(theirs)],
        "list" => theirs.as_array()?.iter().map(lossy).collect(),
        "set" => sorted(theirs.as_array()?.iter().map(lossy).collect()),
        "zset" => sorted(
            theirs
                .as_object()?
                .iter()
                .map(|(member, value)| {
                    let number: f64 = lossy(value).parse().expect("a score");
                    format!("{member} {:?}", if number == 0.0 { 0.0 } else { number })
                })
                .collect(),
        ),
        "hash" => pairs(theirs),
        "stream" => theirs["entries"]
            .as_array()?
            .iter()
            .map(|entry| {
                format!(
                    "{} {}",
                    lossy(&entry["id"]),
                    pairs(&entry["items"]).join(" ")
                )
            })
            .collect(),
        _ => return None,
    })
}

#[test]
fn other_projects_read_the_same_from_the_corpus() {
    let Some(corpus) = corpus_dir() else { return };
    let (mut dumps, mut expectations) = (Vec::new(), Vec::new());
    for part in ["valid", "odd"] {
        files_below(&corpus.join(part), ".rdb", &mut dumps);
    }
    files_below(&corpus.join("expected"), ".json", &mut expectations);
    let stem = |path: &Path| {
        path.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let mut wrong = Vec::new();
    let mut projects: BTreeMap<String, usize> = BTreeMap::new();
    for path in &expectations {
        let project = path
            .strip_prefix(corpus.join("expected"))
            .expect("below it")
            .components()
            .next()
            .expect("a project")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let name = stem(path);
        let name = name.strip_suffix("_data").unwrap_or(&name).to_owned();
        // Dumps that several projects share are kept once, under the project that had them first.
        let of = |owner: &str| {
            let from = format!("/{owner}/");
            dumps
                .iter()
                .find(|dump| stem(dump) == name && dump.to_string_lossy().contains(&from))
        };
        let Some(dump) = of(&project).or_else(|| of("redis-rdb-tools")) else {
            continue;
        };
        let raw = String::from_utf8_lossy(&fs::read(path).expect("readable")).into_owned();
        // librdb's is the inside of an object.
        let theirs: Option<Value> = serde_json::from_str(&raw)
            .or_else(|_| serde_json::from_str(&format!("{{{raw}}}")))
            .ok();
        let Some(theirs) = theirs else { continue };
        let ours = objects(&export(&["--format", "ndjson"], dump).stdout);
        for key in &ours {
            let their_lines = if project == "HDT3213-rdb" {
                let same = |other: &&Value| {
                    other["db"] == key["db"] && lossy(&other["key"]) == lossy(&key["key"])
                };
                items(&theirs).iter().find(same).and_then(lines_of_hdt3213)
            } else {
                let maps: Vec<&Value> = match &theirs {
                    Value::Array(maps) => maps.iter().collect(),
                    map => vec![map],
                };
                maps.iter()
                    .find_map(|map| map.get(lossy(&key["key"])))
                    .and_then(|value| lines_of_map(key, value))
            };
            // A layout that has not this key (a filter, a type that it does not know) says nothing of it.
            let Some(their_lines) = their_lines else {
                continue;
            };
            *projects.entry(project.clone()).or_default() += 1;
            let show = if project == "rdb-rs" { latin } else { lossy };
            if plain_lines(key, show) != their_lines {
                wrong.push(format!("{}: {}", path.display(), lossy(&key["key"])));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let counts = [("HDT3213-rdb", 90), ("librdb", 32), ("rdb-rs", 71)];
    let expected = counts.map(|(project, keys)| (project.to_owned(), keys));
    assert_eq!(projects, BTreeMap::from(expected));
}

/// A dump with a damaged key between two sound ones, a binary name, and a function.
fn damaged() -> Vec<u8> {
    Dump::redis(11)
        .function("#!lua name=lib\nredis.register_function('f', function() return 7 end)")
        .select_db(0)
        .string_key("first", "1")
        .key(
            1,
            "list",
            [
                &b"\x03"[..],
                &string("a"),
                &lzf_string(b"\x00a", 9),
                &string("b"),
            ]
            .concat(),
        )
        .string_key(b"\xff,\"\n", "2")
        .finish(Crc::Right)
}

#[test]
fn a_damaged_value_is_told_and_the_rest_goes_on() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", damaged());
    let ran = command::run(["export", "--format", "ndjson", &file]);
    ran.ends_with(1);
    let keys = objects(&ran.stdout);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[1]["value"], serde_json::json!(["a", "b"]));
    assert!(
        text(&keys[1]["error"]).starts_with("offset "),
        "{}",
        keys[1]
    );
    assert!(
        ran.stderr.contains("list \"list\" in db 0"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("3 keys written, 1 of them damaged"));
    assert!(
        ran.stderr
            .contains("1 function library left out (--functions writes them)")
    );

    let ran = command::run(["export", "--format", "ndjson", "--functions", &file]);
    let lines = objects(&ran.stdout);
    assert_eq!(
        (lines[0]["type"].as_str(), lines[0]["name"].as_str()),
        (Some("function"), Some("lib"))
    );
    assert!(text(&lines[0]["code"]).starts_with("#!lua name=lib\n"));

    let copy = dir.file("copy.rdb", damaged());
    let ran = command::run(["export", "--format", "json", &file, &copy]);
    ran.ends_with(1);
    let document = ran.json();
    assert_eq!(document["inputs"][1]["keys"], Value::Array(keys));
    assert_eq!(document["inputs"][0]["functions"][0], lines[0]);
    assert_eq!(document["inputs"][0]["rdb_version"], 11);

    let ran = command::run(["export", "--format", "resp", &file, "--match", "[fl]i*"]);
    ran.ends_with(1);
    assert!(
        ran.stderr
            .contains("list \"list\" in db 0: refused: it is damaged"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout
            .ends_with("*3\r\n$3\r\nSET\r\n$5\r\nfirst\r\n$1\r\n1\r\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn names_go_from_keys_to_keys_from_and_get() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", damaged());
    let names = command::run(["keys", "-q", "--format", "names", &file]);
    names.ends_with(0);
    assert_eq!(names.stdout, "\"first\"\n\"list\"\n\"\\xff,\\\"\\n\"\n");
    let list = dir.file("names", &names.stdout);
    let again = command::run([
        "keys",
        "-q",
        "--format",
        "names",
        "--keys-from",
        &list,
        &file,
    ]);
    assert_eq!(again.stdout, names.stdout);
    let csv = command::run(["keys", "-q", "--format", "csv", &file]);
    assert!(
        csv.stdout
            .contains("\r\n0,\"\\xff,\\\"\"\\n\",string,plain,2,1,,,,,"),
        "{}",
        csv.stdout
    );
    let rows = objects(&command::run(["keys", "-q", "--json", &file]).stdout);
    assert_eq!((rows[1]["elements"].as_u64(), rows.len()), (Some(3), 3));
    assert_eq!(bytes(&rows[2]["key"]), b"\xff,\"\n");

    let get = |args: &[&str]| {
        let mut all = vec!["get", "-q", &file];
        all.extend(args);
        command::run(all)
    };
    let raw = get(&["\"\\xff,\\\"\\n\"", "--format", "raw"]);
    assert_eq!((raw.code, raw.stdout.as_str()), (0, "2"));
    let several = get(&["[fl]i*"]);
    assert_eq!((several.code, objects(&several.stdout).len()), (1, 2));
    let fine = get(&["f*"]);
    assert_eq!((fine.code, objects(&fine.stdout).len()), (0, 1));
    get(&["[fl]i*", "--format", "raw"]).ends_with(2);
    get(&["list", "--format", "raw"]).ends_with(2);
    let none = get(&["nobody"]);
    none.ends_with(1);
    assert!(
        none.stderr.contains("not in the dump: \"nobody\""),
        "{}",
        none.stderr
    );
    let hex = get(&["first", "--format", "hex"]);
    assert!(hex.stdout.starts_with("0001310600"), "{}", hex.stdout);
}

/// Names and values that a terminal would take as commands, or that would show other text in another order.
#[test]
fn json_leaves_a_terminal_alone() {
    let evil = "\u{9b}31m\u{7f}\u{85}\u{202e}txt\u{2066}\u{200f}é€";
    let long = evil.repeat(20_000);
    let dump = Dump::redis(9)
        .select_db(0)
        .key(0, evil, dump::string(evil))
        .key(0, "long", dump::string(&long))
        .key(2, "set", [&[1][..], &dump::string(evil)].concat())
        .finish(Crc::Right);
    let dir = Dir::new();
    let file = dir.file(&format!("{evil}.rdb"), dump);
    let is_odd = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\r')
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for args in [
        &["get", "-q", &file, "*"][..],
        &["export", "-q", "--format", "ndjson", &file],
        &["keys", "-q", "--format", "ndjson", &file],
        &["keys", "-q", "--format", "text", &file],
        &["keys", "-q", "--format", "csv", &file],
        &["info", "-q", "--json", &file],
        &["check", "-q", "--json", &file],
    ] {
        let ran = command::run(args);
        ran.ends_with(0);
        let odd = ran.stdout.chars().find(|c| is_odd(*c));
        assert_eq!(odd, None, "{args:?}");
        if args.contains(&"--json") {
            let json = ran.json();
            assert_eq!(json["inputs"][0]["input"].as_str(), Some(&*file));
        } else if args[0] != "keys" {
            let keys = objects(&ran.stdout);
            assert_eq!(
                (keys[0]["key"].as_str(), keys[0]["value"].as_str()),
                (Some(evil), Some(evil))
            );
            assert_eq!(keys[1]["value"].as_str(), Some(&*long));
            assert_eq!(keys[2]["value"][0].as_str(), Some(evil));
        }
    }
}

/// A reader has the head of a key before its value is read: a value of seconds does not look like a hang.
#[test]
fn the_head_of_a_large_key_comes_at_once() {
    // 16 bytes, then copies of the byte before: 400 MB of them in 4.5 MB, of which the last copy is missing.
    let mut packed = vec![15];
    packed.extend_from_slice(b"0123456789abcdef");
    for _ in 0..1_500_000 {
        packed.extend_from_slice(&[0xe0, 0xff, 0]);
    }
    let claimed = 16 + 264 * 1_500_001u64;
    let lzf = [
        vec![0xc3],
        dump::length(packed.len() as u64),
        dump::length(claimed),
        packed,
    ]
    .concat();
    let dump = Dump::redis(9)
        .select_db(0)
        .key(0, "first", dump::string("v"))
        .key(0, "big", &lzf)
        .key(16, "packed", &lzf)
        .finish(Crc::Right);
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump);
    let first =
        "{\"db\":0,\"key\":\"first\",\"type\":\"string\",\"encoding\":\"plain\",\"value\":\"v\"}\n";
    let big = "{\"db\":0,\"key\":\"big\",\"type\":\"string\",\"encoding\":\"plain\"";
    let packed = "{\"db\":0,\"key\":\"packed\",\"type\":\"hash\",\"encoding\":\"listpack\"";
    // Whether one look gave nothing but the head, as it does where it is taken as soon as it is written.
    let comes_alone = |args: &[&str], head: &str| {
        let mut child = command::program()
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut seen = vec![0; 1 << 16];
        let count = stdout.read(&mut seen).expect("readable");
        let seen = String::from_utf8_lossy(&seen[..count]).into_owned();
        assert!(seen.starts_with(head), "{args:?}: {seen:.300}");
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("UTF-8");
        let ended = child.wait().expect("a child");
        assert_eq!(ended.code(), Some(1), "{args:?}");
        let said_so = |text: &str| text.contains(",\"error\":\"");
        assert!(said_so(&seen) || said_so(&rest), "{args:?}: {rest:.300}");
        seen == head
    };
    for (args, head) in [
        (&["get", "-q", &file, "big"][..], big.to_owned()),
        (&["get", "-q", &file, "packed"], packed.to_owned()),
        (
            &["export", "-q", "--format", "ndjson", &file],
            format!("{first}{big}"),
        ),
    ] {
        // On a busy machine the value may be there as soon as the reader is.
        assert!((0..5).any(|_| comes_alone(args, &head)), "{args:?}");
    }
}

#[test]
fn an_output_file_has_its_name_only_when_it_is_whole() {
    let dir = Dir::new();
    let sound = dir.file(
        "sound.rdb",
        Dump::redis(11).string_key("k", "v").finish(Crc::Right),
    );
    let broken = dir.file(
        "broken.rdb",
        Dump::redis(11).string_key("k", "w").finish(Crc::Wrong),
    );
    let target = dir.path().join("out.ndjson");
    let to = target.to_str().expect("UTF-8");
    let arguments =
        |file: &str| command::run(["export", "--format", "ndjson", "--output", to, file]);
    arguments(&sound).ends_with(0);
    let written = fs::read_to_string(&target).expect("written");
    assert!(written.contains("\"value\":\"v\""));
    let failed = arguments(&broken);
    failed.ends_with(3);
    assert!(
        failed.stderr.contains("no file is left"),
        "{}",
        failed.stderr
    );
    assert_eq!(fs::read_to_string(&target).expect("still there"), written);
    let left: Vec<_> = fs::read_dir(dir.path()).expect("readable").collect();
    assert_eq!(left.len(), 3, "no temporary file is left");
    // On standard output, what can be read is there, and the document can be parsed.
    let ran = command::run(["export", "-q", "--format", "json", &broken]);
    ran.ends_with(3);
    assert_eq!(ran.json()["inputs"][0]["keys"][0]["value"], "w");
    command::run([
        "export",
        "--format",
        "ndjson",
        "--output",
        "/dev/null",
        &sound,
    ])
    .ends_with(0);
    let null = fs::metadata("/dev/null").expect("still there");
    assert!(!null.is_file(), "a device is written to, not replaced");
}

#[test]
fn flags_that_would_do_nothing_are_refused() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", Dump::redis(11).finish(Crc::Right));
    for (format, flag) in [
        ("ndjson", &["--replace"][..]),
        ("json", &["--target", "redis-7.0"]),
        ("json", &["--map-db", "0:1"]),
        ("ndjson", &["--expired", "persist"]),
        ("resp", &["--rdb-version", "9"]),
        ("resp", &["--functions"]),
    ] {
        let mut args = vec!["export", &file, "--format", format];
        args.extend(flag);
        let ran = command::run(args);
        ran.ends_with(2);
        assert!(ran.stderr.contains(flag[0]), "{}", ran.stderr);
    }
}

/// The keys beside a library that cannot be read are written, and the exit code says that something is missing.
#[test]
fn a_library_whose_source_lies_is_said_and_the_keys_go() {
    let file = testdata_dir()
        .join("hostile/a-library-whose-lzf-source-gives-more.rdb")
        .display()
        .to_string();
    let dir = Dir::new();
    for (format, more, said) in [
        ("json", None, "1 function library damaged"),
        ("ndjson", Some("--functions"), "1 function library damaged"),
        ("resp", None, "1 function library left out: damaged"),
        ("restore", None, "1 function library left out: damaged"),
    ] {
        let to = dir.path().join(format).display().to_string();
        let args = ["export", "--format", format, "--output", &to, &file];
        let ran = command::run(args.into_iter().chain(more));
        assert_eq!(ran.code, 1, "{format}: {ran:?}");
        assert!(ran.stderr.contains(said), "{format}: {ran:?}");
        let written = fs::read(&to).expect("an output");
        let written = String::from_utf8_lossy(&written);
        for key in ["before", "evil", "after"] {
            assert!(written.contains(key), "{format}: {written}");
        }
    }
}
