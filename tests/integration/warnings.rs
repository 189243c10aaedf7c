//! What the warnings of `check` say of servers: measured on every server that is there.

use std::collections::BTreeMap;

use rdbridge::snapshot::{Record, Snapshot};
use rdbridge::value::{Decoder, Rule, Severity};
use redis::{Connection, Value};

use super::support::dump::{Crc, Dump, crc64};
use super::support::server::{Server, all, version_of};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let four = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| four(pair[0]) << 4 | four(pair[1]))
        .collect()
}

const NODE: &str = "10 0000000000000001 0000000000000001 2e 2e000000 1100 \
                    0201 0001 0101 816602 0001 0201 0001 0001 817602 0401 \
                    0001 0101 dfff02 0101 816702 817702 0601 ff";
const ID_1_1: &str = "0000000000000001 0000000000000001";
const ID_2_0: &str = "0000000000000002 0000000000000000";
const TIME: &str = "0068e5cf8b010000";

/// A value that breaks one rule, and what servers do with it.
struct Case {
    rule: Rule,
    value_type: u8,
    /// The version in the payload's footer.
    version: u16,
    body: String,
    /// Servers that refuse it.
    refuse: &'static [&'static str],
    /// Asked of a server that took it, with what it then answers, by server.
    ask: &'static [&'static [&'static str]],
    answers: fn(&str) -> &'static str,
}

fn cases() -> Vec<Case> {
    let case = |rule, value_type, version, body: &str| Case {
        rule,
        value_type,
        version,
        body: body.to_owned(),
        refuse: &[],
        ask: &[],
        answers: |_| "",
    };
    let far = "00000000000f0000";
    vec![
        Case {
            refuse: &["valkey-9.1"],
            ask: &[&["HLEN", "k"], &["HGETALL", "k"]],
            answers: |_| "2 [f a f b]",
            ..case(Rule::DuplicateInSmallHash, 4, 6, "02 0166 0161 0166 0162")
        },
        Case {
            ask: &[&["ZRANGE", "k", "0", "-1", "WITHSCORES"]],
            answers: |_| "[a 1 b 0]",
            ..case(
                Rule::ZsetOrder,
                12,
                6,
                "15 15000000 12000000 0400 000161 03f2 020162 03f1 ff",
            )
        },
        Case {
            ask: &[&["LRANGE", "k", "0", "-1"], &["DEBUG", "OBJECT", "k"]],
            answers: |server| match server {
                "redis-3.2" | "redis-5.0" | "redis-6.0" => "[a] ql_nodes:2",
                "redis-6.2" | "redis-7.0" => "[a] ql_nodes:1",
                // A list this small is no quicklist there.
                _ => "[a] encoding:listpack",
            },
            ..case(
                Rule::EmptyNode,
                14,
                7,
                "02 0b 0b000000 0a000000 0000 ff 0e 0e000000 0a000000 0100 000161 ff",
            )
        },
        Case {
            refuse: &["redis-8.10", "valkey-9.1"],
            ask: &[&["XLEN", "k"], &["XRANGE", "k", "-", "+"]],
            answers: |_| "3 [[1-1 [f v]] [2-0 [g w]]]",
            ..case(Rule::StreamLength, 15, 9, &format!("01 {NODE} 03 02 00 00"))
        },
        Case {
            ask: &[&["XADD", "k", "1-5", "a", "b"]],
            answers: |_| "1-5",
            ..case(Rule::StreamLastId, 15, 9, &format!("01 {NODE} 02 01 01 00"))
        },
        Case {
            refuse: &["redis-8.10"],
            ask: &[&["XINFO", "STREAM", "k"]],
            answers: |_| "entries-added 1 ",
            ..case(
                Rule::StreamEntriesAdded,
                19,
                10,
                &format!("01 {NODE} 02 02 00 01 01 00 00 01 00"),
            )
        },
        Case {
            refuse: &["redis-8.10"],
            ask: &[&["XINFO", "GROUPS", "k"]],
            answers: |_| "lag -1",
            ..case(
                Rule::StreamEntriesRead,
                19,
                10,
                &format!("01 {NODE} 02 02 00 01 01 00 00 02 01 0167 01 01 03 00 00"),
            )
        },
        Case {
            refuse: &["valkey-9.1"],
            ask: &[&["XPENDING", "k", "g"], &["XACK", "k", "g", "2-0"]],
            answers: |server| match server {
                "redis-8.10" => "[2 1-1 2-0 [[c 1]]] 1",
                _ => "[2 1-1 2-0 [[c 1]]] died",
            },
            ..case(
                Rule::PendingOrphan,
                15,
                9,
                &format!(
                    "01 {NODE} 02 02 00 01 0167 01 01 02 {ID_1_1} {TIME} 01 {ID_2_0} {TIME} 01 \
                     01 0163 {TIME} 01 {ID_1_1}"
                ),
            )
        },
        Case {
            ask: &[&["HPEXPIRETIME", "k", "FIELDS", "2", "f", "g"]],
            answers: |_| "[-1 16492674416640]",
            ..case(
                Rule::FieldExpiryOrder,
                25,
                12,
                &format!("{far} 1d 1d000000 0600 816602 0101 0001 816702 0201 f4{far}09 ff"),
            )
        },
    ]
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn restore(connection: &mut Connection, case: &Case) -> Result<(), String> {
    let mut payload = vec![case.value_type];
    payload.extend(hex(&case.body));
    payload.extend(case.version.to_le_bytes());
    payload.extend(crc64(&payload).to_le_bytes());
    redis::cmd("RESTORE")
        .arg("k")
        .arg(0)
        .arg(payload)
        .exec(connection)
        .map_err(|error| error.to_string())
}

/// What a server does with the value: `None` where it is too old for it (or, as Valkey, of another line).
fn verdict(server: &'static str, case: &Case) -> Option<bool> {
    let mut running = Server::setup(server).with_debug().start();
    let mut connection = running.connect();
    if let Err(refusal) = restore(&mut connection, case) {
        if refusal.contains("version or checksum") {
            return None;
        }
        assert!(refusal.contains("Bad data format"), "{server}: {refusal}");
        return Some(false);
    }
    let answers: Vec<String> = case
        .ask
        .iter()
        .map(|words| {
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            match command.query::<Value>(&mut connection) {
                Ok(answer) => shown(&answer),
                Err(error) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    assert!(running.has_exited(), "{server}: {error}");
                    "died".to_owned()
                }
            }
        })
        .collect();
    let answers = answers.join(" ");
    let expected = (case.answers)(server);
    // Of long answers, the words that matter.
    let all_there = expected.split(' ').all(|word| answers.contains(word));
    assert!(
        answers == expected
            || answers.contains(expected)
            || (case.rule == Rule::EmptyNode && all_there),
        "{server}, {}: {answers}, expected {expected}",
        case.rule
    );
    Some(true)
}

/// `redis-8.10` as the warnings name it.
fn in_words(server: &str) -> String {
    server.replace('-', " ")
}

#[test]
fn warnings_say_what_servers_do() {
    let mut met: BTreeMap<Rule, usize> = BTreeMap::new();
    for case in cases() {
        // The value breaks this rule and no other.
        let body = hex(&case.body);
        let file = Dump::redis(12)
            .key(case.value_type, "k", &body)
            .finish(Crc::Right);
        let mut decoder = Decoder::with_findings(None, Vec::new());
        let mut records = Snapshot::parse(&file).expect("a header").records();
        while let Some(record) = records.next_record().expect("a sound container") {
            if let Record::Entry(entry) = record {
                decoder.validate(&entry).expect("it is walked");
            }
        }
        let rules: Vec<Rule> = decoder.into_findings().iter().map(|f| f.rule).collect();
        assert_eq!(rules, [case.rule]);
        let words = case.rule.servers().expect("a warning");
        for refusing in case.refuse {
            assert!(
                words.contains(&in_words(refusing)),
                "{}: {words}",
                case.rule
            );
        }
        assert_eq!(words.contains("refuse"), !case.refuse.is_empty(), "{words}");

        for server in all() {
            let Some(taken) = verdict(server, &case) else {
                // Too old, or of the other line: the warning must not speak of it.
                let (product, ..) = version_of(server);
                let named = words.contains(&in_words(server));
                assert!(!named, "{server} ({product}) does not know it: {words}");
                continue;
            };
            assert_eq!(
                taken,
                !case.refuse.contains(&server),
                "{server}: {}",
                case.rule
            );
            *met.entry(case.rule).or_default() += 1;
        }
    }
    for rule in Rule::ALL {
        let warning = rule.severity() == Severity::Warning;
        assert_eq!(met.contains_key(rule), warning, "{rule}");
    }
    let few: Vec<_> = met.iter().filter(|(_, servers)| **servers < 3).collect();
    assert!(few.is_empty(), "{few:?}");
}

/// Fields that stand in the order of their expiries are gone when their time is over, others are not.
#[test]
fn fields_out_of_order_stay_when_their_time_is_over() {
    for server in ["redis-8.0", "redis-8.10"] {
        if !all().contains(&server) {
            continue;
        }
        let running = Server::start(server);
        let mut connection = running.connect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let at = now.expect("a clock after 1970").as_millis() as i64 + 500;
        let at: String = at
            .to_le_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (expires, stays) = (format!("816702 0201 f4{at}09"), "816602 0101 0001");
        for (body, left) in [
            (format!("{expires} {stays}"), 1),
            (format!("{stays} {expires}"), 2),
        ] {
            let case = Case {
                rule: Rule::FieldExpiryOrder,
                value_type: 25,
                version: 12,
                body: format!("{at} 1d 1d000000 0600 {body} ff"),
                refuse: &[],
                ask: &[],
                answers: |_| "",
            };
            restore(&mut connection, &case).expect("it is taken");
            let length = |connection: &mut Connection| -> u64 {
                redis::cmd("HLEN").arg("k").query(connection).expect("HLEN")
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3);
            while length(&mut connection) > 1 && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            assert_eq!(length(&mut connection), left, "{server}");
            running.run("DEL k");
        }
    }
}
