//! KeyDB and Dragonfly as their sources say that they answer, since neither is run here: what they call themselves, which
//! payloads they take, what they do not know.

use super::recorder::{Persona, bulk, list};

/// KeyDB 6.3, which comes from Redis 6.
pub(crate) const KEYDB: Persona = Persona {
    product: "redis",
    version: "6.3.4",
    takes: |footer| footer <= 9,
    says: keydb,
};

/// Dragonfly 1.27, which imitates Redis 7.4.
pub(crate) const DRAGONFLY: Persona = Persona {
    product: "redis",
    version: "7.4.0",
    takes: |footer| footer <= 12,
    says: dragonfly,
};

/// Keys that a script calls so are there already.
pub(crate) const THERE: &[u8] = b"there";

/// How many members the sets of a dump have, and how many fields its hashes, that go by commands.
const MEMBERS: i64 = 2;

fn word(words: &[Vec<u8>], at: usize) -> String {
    words.get(at).map_or(String::new(), |word| {
        String::from_utf8_lossy(word).into_owned()
    })
}

fn number(n: i64) -> Option<Vec<u8>> {
    Some(format!(":{n}\r\n").into_bytes())
}

fn error(words: &str) -> Option<Vec<u8>> {
    Some(format!("-{words}\r\n").into_bytes())
}

fn hello(version: &str) -> Option<Vec<u8>> {
    let texts = |texts: [&str; 2]| texts.map(bulk).concat();
    let parts = [
        texts(["server", "redis"]),
        texts(["version", version]),
        [
            bulk("proto"),
            b":2\r\n".to_vec(),
            bulk("id"),
            b":7\r\n".to_vec(),
        ]
        .concat(),
        texts(["mode", "standalone"]),
        texts(["role", "master"]),
        [bulk("modules"), list(&[])].concat(),
    ];
    Some([&b"*14\r\n"[..], &parts.concat()].concat())
}

/// The type and the footer of a payload, where the command is a `RESTORE`.
fn payload(words: &[Vec<u8>]) -> Option<(u8, u16)> {
    let (body, footer) = words.get(3)?.split_last_chunk::<10>()?;
    Some((*body.first()?, u16::from_le_bytes([footer[0], footer[1]])))
}

fn select(words: &[Vec<u8>]) -> Option<Vec<u8>> {
    let db: u64 = word(words, 1).parse().ok()?;
    if db >= 16 {
        return error("ERR DB index is out of range");
    }
    None
}

fn restore(words: &[Vec<u8>], takes: fn(u16) -> bool, knows: fn(u8) -> bool) -> Option<Vec<u8>> {
    if words[1] == THERE && words.get(4).is_none_or(|word| word != b"REPLACE") {
        return error("BUSYKEY Target key name already exists.");
    }
    let (value_type, footer) = payload(words)?;
    if takes(footer) && !knows(value_type) && value_type != 8 {
        return error("ERR Bad data format");
    }
    None
}

fn keydb(words: &[Vec<u8>]) -> Option<Vec<u8>> {
    match word(words, 0).as_str() {
        "HELLO" => hello("6.3.4"),
        "INFO" => Some(bulk(
            "# Server\r\nredis_version:6.3.4\r\nredis_mode:standalone\r\nexecutable:/usr/local/bin/keydb-server\r\n\
             # Replication\r\nrole:master\r\nmvcc_depth:0\r\n# Persistence\r\nloading:0\r\n# Keyspace\r\n",
        )),
        "CONFIG" if word(words, 2) == "databases" => Some(list(&["databases", "16"].map(bulk))),
        "SELECT" => select(words),
        "RESTORE" => restore(words, KEYDB.takes, |kind| kind <= 15 && kind != 8),
        "SADD" | "SCARD" | "HSET" => number(MEMBERS),
        "EXISTS" => number(0),
        "PEXPIREMEMBERAT" | "RENAMENX" | "PEXPIREAT" => number(1),
        _ => None,
    }
}

fn dragonfly(words: &[Vec<u8>]) -> Option<Vec<u8>> {
    match word(words, 0).as_str() {
        "HELLO" => hello("7.4.0"),
        "INFO" => Some(bulk(
            "# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-v1.27.1\r\nredis_mode:standalone\r\n\
             # Replication\r\nrole:master\r\n# Keyspace\r\n",
        )),
        // It knows settings of its own names only.
        "CONFIG" => Some(list(&[])),
        "MODULE" => error("ERR unknown command `MODULE`"),
        "SELECT" => select(words),
        "RESTORE" => {
            let knows = |kind| !matches!(kind, 1 | 7..=10 | 22..=29 | 38..);
            restore(words, DRAGONFLY.takes, knows)
        }
        _ => None,
    }
}
