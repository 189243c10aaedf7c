//! A server that is none: it says that it is a certain product, takes every payload, and keeps what was sent.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::wire;

/// What it says that it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Persona {
    pub(crate) product: &'static str,
    pub(crate) version: &'static str,
    /// The footer versions that it takes.
    pub(crate) takes: fn(u16) -> bool,
    /// What it answers in a way of its own.
    pub(crate) says: fn(&[Vec<u8>]) -> Option<Vec<u8>>,
}

/// Redis 8.10.
pub(crate) const REDIS: Persona = Persona {
    product: "redis",
    version: "8.10.2",
    takes: |footer| footer <= 15,
    says: |_| None,
};

/// Valkey 9.2.
pub(crate) const VALKEY: Persona = Persona {
    product: "valkey",
    version: "9.2.0",
    takes: |footer| (1..=11).contains(&footer) || (80..=81).contains(&footer),
    says: |_| None,
};

/// One `RESTORE`.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    pub(crate) db: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) ttl: String,
    pub(crate) payload: Vec<u8>,
    /// What stands behind the payload.
    pub(crate) options: Vec<String>,
}

/// Which keys it does not take, and in which words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) words: &'static str,
    /// It takes so many keys before.
    pub(crate) after: usize,
    /// So many connections are refused, one after the other, each to its end.
    pub(crate) connections: usize,
    /// So many of those who ask what it is are told that it is a replica, once a key was refused.
    pub(crate) as_replica: usize,
}

/// What became of a refusal so far.
#[derive(Debug, Default)]
struct Refused {
    connections: Vec<u64>,
    /// Those that were told that it is a replica.
    as_replica: Vec<u64>,
}

/// The server. Its threads end when its clients go.
#[derive(Debug)]
pub(crate) struct Recorder {
    port: u16,
    sent: Arc<Mutex<Vec<Restored>>>,
    /// What was answered in the persona's own way.
    said: Arc<Log>,
}

type Log = Mutex<Vec<Vec<Vec<u8>>>>;

impl Recorder {
    pub(crate) fn start(persona: Persona) -> Self {
        Self::listen(persona, None, Duration::ZERO)
    }

    /// It has one thread for all clients, as servers have, and needs so long for each key.
    pub(crate) fn slow(persona: Persona, for_a_key: Duration) -> Self {
        Self::listen(persona, None, for_a_key)
    }

    pub(crate) fn refusing(persona: Persona, refusal: Refusal) -> Self {
        Self::listen(persona, Some(refusal), Duration::ZERO)
    }

    fn listen(persona: Persona, refusal: Option<Refusal>, for_a_key: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::new(Log::default());
        let (kept, log) = (Arc::clone(&sent), Arc::clone(&said));
        let refused = Arc::new(Mutex::new(Refused::default()));
        let core = Arc::new(Core {
            for_a_key,
            ..Core::default()
        });
        thread::spawn(move || {
            for number in 0.. {
                let Ok((client, _)) = listener.accept() else {
                    return;
                };
                let (kept, refused) = (Arc::clone(&kept), Arc::clone(&refused));
                let (core, log) = (Arc::clone(&core), Arc::clone(&log));
                thread::spawn(move || {
                    let refuse = |words: &[Vec<u8>]| {
                        let taken = kept.lock().expect("not poisoned").len();
                        let mut refused = refused.lock().expect("not poisoned");
                        refused.judge(refusal?, number, words, taken)
                    };
                    serve(client, persona, (&kept, &log), &core, refuse);
                });
            }
        });
        Self { port, sent, said }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many keys were sent since the last [`Recorder::take`].
    pub(crate) fn count(&self) -> usize {
        self.sent.lock().expect("not poisoned").len()
    }

    /// Commands that the persona answered in its own way, since the last call.
    pub(crate) fn said(&self) -> Vec<Vec<Vec<u8>>> {
        std::mem::take(&mut *self.said.lock().expect("not poisoned"))
    }

    /// What was sent since the last call, in the order of sending.
    pub(crate) fn take(&self) -> Vec<Restored> {
        std::mem::take(&mut *self.sent.lock().expect("not poisoned"))
    }
}

impl Refused {
    /// The answer to a command that is not taken.
    fn judge(
        &mut self,
        refusal: Refusal,
        connection: u64,
        words: &[Vec<u8>],
        taken: usize,
    ) -> Option<Vec<u8>> {
        let is_key = words[0] == b"RESTORE" && !is_probe(words);
        let begun = !self.connections.is_empty();
        if words[0] == b"HELLO" && begun && self.as_replica.len() < refusal.as_replica {
            self.as_replica.push(connection);
            let fields = ["server", "redis", "role", "replica"].map(bulk);
            return Some(list(&fields));
        }
        if words[0] == b"INFO" && self.as_replica.contains(&connection) {
            return Some(bulk("redis_version:8.10.2\r\nrole:slave\r\nloading:0\r\n"));
        }
        if !is_key || taken < refusal.after {
            return None;
        }
        if !self.connections.contains(&connection) {
            if self.connections.len() >= refusal.connections {
                return None;
            }
            self.connections.push(connection);
        }
        Some(format!("-{}\r\n", refusal.words).into_bytes())
    }
}

fn is_probe(words: &[Vec<u8>]) -> bool {
    words[2] == b"1" && words.get(4).is_some_and(|word| word == b"ABSTTL")
}

/// What works for one client at a time, in the order in which they come; what it owes in time is slept when the turn ends.
#[derive(Debug, Default)]
struct Core {
    for_a_key: Duration,
    drawn: AtomicU64,
    served: AtomicU64,
}

struct Turn<'c> {
    core: &'c Core,
    keys: Cell<u32>,
}

impl Core {
    fn turn(&self) -> Turn<'_> {
        if !self.for_a_key.is_zero() {
            let mine = self.drawn.fetch_add(1, Ordering::SeqCst);
            while self.served.load(Ordering::SeqCst) != mine {
                thread::sleep(Duration::from_micros(100));
            }
        }
        Turn {
            core: self,
            keys: Cell::new(0),
        }
    }
}

impl Turn<'_> {
    fn works_for(&self, words: &[Vec<u8>]) {
        if words[0] == b"RESTORE" {
            self.keys.set(self.keys.get() + 1);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.core.for_a_key.is_zero() {
            thread::sleep(self.core.for_a_key * self.keys.get());
            self.core.served.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn serve(
    mut client: TcpStream,
    persona: Persona,
    (kept, log): (&Mutex<Vec<Restored>>, &Log),
    core: &Core,
    mut refuse: impl FnMut(&[Vec<u8>]) -> Option<Vec<u8>>,
) {
    let (mut bytes, mut chunk, mut db) = (Vec::new(), vec![0; 1 << 16], 0);
    while let Ok(count @ 1..) = client.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        let mut replies = Vec::new();
        let turn = core.turn();
        while let Some((words, used)) = wire::command(&bytes) {
            bytes.drain(..used);
            turn.works_for(&words);
            let said = || {
                let own = (persona.says)(&words)?;
                log.lock().expect("not poisoned").push(words.clone());
                Some(own)
            };
            let reply = refuse(&words)
                .or_else(said)
                .unwrap_or_else(|| answer(&words, persona, &mut db, kept));
            replies.extend(reply);
        }
        drop(turn);
        if client.write_all(&replies).is_err() {
            return;
        }
    }
}

pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

pub(crate) fn list(parts: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", parts.len()).into_bytes(), parts.concat()].concat()
}

pub(crate) fn answer(
    words: &[Vec<u8>],
    persona: Persona,
    db: &mut u64,
    kept: &Mutex<Vec<Restored>>,
) -> Vec<u8> {
    let text = |i: usize| {
        words
            .get(i)
            .map_or("".into(), |w| String::from_utf8_lossy(w))
    };
    match text(0).as_ref() {
        "HELLO" => {
            let module = |name| list(&[bulk("name"), bulk(name), bulk("ver"), b":1\r\n".to_vec()]);
            let fields = [
                bulk("server"),
                bulk(persona.product),
                bulk("version"),
                bulk(persona.version),
                bulk("mode"),
                bulk("standalone"),
                bulk("role"),
                bulk("master"),
                bulk("modules"),
                list(&["ReJSON", "vectorset", "test"].map(module)),
            ];
            list(&fields)
        }
        "INFO" => bulk(format!(
            "{0}_version:{1}\r\nredis_mode:standalone\r\nrole:master\r\nloading:0\r\nmaxmemory:0\r\nevicted_keys:0\r\n# Keyspace\r\n{2}",
            persona.product,
            persona.version,
            // All in one database: nobody asks which.
            match kept.lock().expect("not poisoned").len() {
                0 => String::new(),
                keys => format!("db0:keys={keys},expires=0,avg_ttl=0\r\n"),
            }
        )),
        "CONFIG" if text(2) == "databases" => list(&[bulk("databases"), bulk("65536")]),
        "CONFIG" => list(&[bulk(&words[2]), bulk("536870912")]),
        "PING" => b"+PONG\r\n".to_vec(),
        "ECHO" => bulk(&words[1]),
        "SELECT" => {
            *db = text(1).parse().expect("a number");
            b"+OK\r\n".to_vec()
        }
        "TIME" => list(&[bulk("1800000000"), bulk("0")]),
        "DBSIZE" => b":0\r\n".to_vec(),
        "RESTORE" => {
            let payload = &words[3];
            let footer = payload.last_chunk::<10>();
            let version = footer.map(|footer| u16::from_le_bytes([footer[0], footer[1]]));
            if !version.is_some_and(persona.takes) {
                return b"-ERR DUMP payload version or checksum are wrong\r\n".to_vec();
            }
            if payload[0] == 8 {
                return b"-ERR Bad data format\r\n".to_vec();
            }
            if !is_probe(words) {
                kept.lock().expect("not poisoned").push(Restored {
                    db: *db,
                    key: words[1].clone(),
                    ttl: text(2).into_owned(),
                    payload: payload.clone(),
                    options: (4..words.len()).map(|i| text(i).into_owned()).collect(),
                });
            }
            b"+OK\r\n".to_vec()
        }
        "FUNCTION" => bulk("library"),
        other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
    }
}
