//! A cluster of real servers on loopback: masters with all slots between them, and replicas if asked for.

use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::server::Server;
use super::wire::Client;

/// How long it may take to agree.
const LIMIT: Duration = Duration::from_secs(120);

/// Masters in order of their slots, then replicas.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
    pub(crate) masters: usize,
}

/// One command to a server; an error is a text that begins with `-`.
pub(crate) fn ask(port: u16, words: &str) -> Value {
    let words = words.split(' ').map(|w| w.as_bytes().to_vec()).collect();
    Client::connect(port).ask(&[words]).remove(0)
}

/// The same, as text.
pub(crate) fn text(port: u16, words: &str) -> String {
    match ask(port, words) {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) => text,
        Value::Int(number) => number.to_string(),
        other => panic!("{words}: {other:?}"),
    }
}

/// Waits until `done` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "{what}: not in {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    /// Starts `masters` of them with the slots evenly between them, and `replicas`, the first of the first master and so on.
    ///
    /// A node that does not answer for seconds since the machine is busy is no dead one: no replica takes its place.
    pub(crate) fn start(name: &'static str, masters: usize, replicas: usize) -> Self {
        Self::start_with(name, masters, replicas, 60_000)
    }

    /// The same, where a replica takes its master's place after four seconds.
    pub(crate) fn start_mortal(name: &'static str, masters: usize, replicas: usize) -> Self {
        Self::start_with(name, masters, replicas, 4_000)
    }

    fn start_with(name: &'static str, masters: usize, replicas: usize, timeout_ms: u32) -> Self {
        let nodes: Vec<Server> = (0..masters + replicas)
            .map(|_| {
                Server::setup(name)
                    .with("cluster-enabled", ["yes"])
                    .with("cluster-node-timeout", ["2000"])
                    .with("repl-diskless-sync-delay", ["0"])
                    .start()
            })
            .collect();
        let cluster = Self { nodes, masters };
        for (n, node) in cluster.nodes.iter().enumerate() {
            assert_eq!(
                text(node.port(), &format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1)),
                "OK"
            );
            if n < masters {
                let (first, behind) = (n * 16384 / masters, (n + 1) * 16384 / masters);
                let words = format!("CLUSTER ADDSLOTSRANGE {first} {}", behind - 1);
                assert_eq!(text(node.port(), &words), "OK");
            }
            let words = format!("CLUSTER MEET 127.0.0.1 {}", node.port());
            if n > 0 {
                assert_eq!(text(cluster.nodes[0].port(), &words), "OK");
            }
        }
        let known = format!("cluster_known_nodes:{}\r", cluster.nodes.len());
        for node in &cluster.nodes {
            wait_until("nodes know each other", || {
                text(node.port(), "CLUSTER INFO").contains(&known)
            });
        }
        // Nodes wait as long as this, up to 5 s, before they serve: only now it may be long, and before there are replicas.
        for node in &cluster.nodes[..masters] {
            wait_until("a master serves", || {
                text(node.port(), "CLUSTER INFO").contains("cluster_state:ok")
            });
        }
        for node in &cluster.nodes {
            let words = format!("CONFIG SET cluster-node-timeout {timeout_ms}");
            assert_eq!(text(node.port(), &words), "OK");
        }
        for n in 0..replicas {
            let master = cluster.id(n);
            let replica = &cluster.nodes[masters + n];
            wait_until("a replica follows", || {
                text(replica.port(), &format!("CLUSTER REPLICATE {master}")) == "OK"
            });
            wait_until("a replica is in step", || {
                text(replica.port(), "INFO replication").contains("master_link_status:up")
            });
        }
        cluster.wait_until_ok();
        cluster
    }

    /// Every node says that the cluster is whole, and knows all slots.
    pub(crate) fn wait_until_ok(&self) {
        for node in &self.nodes {
            wait_until("the cluster is whole", || {
                let info = text(node.port(), "CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            });
        }
    }

    pub(crate) fn id(&self, node: usize) -> String {
        text(self.nodes[node].port(), "CLUSTER MYID")
    }

    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// The ports of all nodes.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(Server::port).collect()
    }
}

/// Asks each node for all keys at once and takes the answer of the one that serves each.
#[track_caller]
pub(crate) fn get_all(ports: &[u16], keys: &[Vec<u8>]) -> Vec<Value> {
    let mut found: Vec<Option<Value>> = vec![None; keys.len()];
    let gets: Vec<Vec<Vec<u8>>> = keys
        .iter()
        .map(|key| vec![b"GET".to_vec(), key.clone()])
        .collect();
    for port in ports {
        for (n, reply) in Client::connect(*port).ask(&gets).into_iter().enumerate() {
            if matches!(&reply, Value::SimpleString(words) if words.starts_with('-')) {
                continue;
            }
            assert!(found[n].is_none(), "two nodes serve one key");
            found[n] = Some(reply);
        }
    }
    let served = |(n, reply): (usize, Option<Value>)| {
        reply.unwrap_or_else(|| panic!("no node serves {}", keys[n].escape_ascii()))
    };
    found.into_iter().enumerate().map(served).collect()
}
