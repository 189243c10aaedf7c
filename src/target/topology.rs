//! Which node of a cluster serves which slots: `CLUSTER SLOTS`, or `CLUSTER SHARDS` (7.0), read as claims.
//!
//! A node tells its own view, which may be old: whoever writes must still follow `MOVED`.

use std::collections::BTreeMap;

use super::cluster::{Node, NodeMap};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Array, Connection, Endpoint, Reply};

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// Who serves which slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The masters that serve slots, in order of their addresses.
    pub masters: Vec<Node>,
    /// For each slot the index of its master.
    owners: Vec<Option<u16>>,
}

impl Topology {
    /// Asks the node `at`. `None` where it answers neither `CLUSTER SLOTS` nor `CLUSTER SHARDS`: it is none, or hides its cluster.
    ///
    /// # Errors
    /// The connection fails; `Destination` where the answer cannot be: a slot over 16383, a node without a name.
    pub fn ask(connection: &mut Connection, at: &Endpoint, map: &NodeMap) -> Result<Option<Self>> {
        for question in [Question::Slots, Question::Shards] {
            let reply = connection.request(&[Arg::from("CLUSTER"), Arg::from(question.word())])?;
            match reply {
                Reply::Error(words) if is_down(words) => return Err(down(words)),
                Reply::Array(ranges) => {
                    let asked = Node::of(at);
                    let reader = Reader {
                        question,
                        asked: asked.as_ref(),
                        tls: matches!(at, Endpoint::Tls { .. }),
                        map,
                    };
                    return reader.read(ranges).map(Some);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// The masters behind `owner_of`, which has the master of each slot.
    #[must_use]
    pub fn of_owners(owner_of: &[Option<Node>]) -> Self {
        let mut masters: BTreeMap<&Node, u16> = owner_of.iter().flatten().map(|n| (n, 0)).collect();
        for (number, index) in (0u16..).zip(masters.values_mut()) {
            *index = number;
        }
        let owners = owner_of
            .iter()
            .map(|owner| masters.get(owner.as_ref()?).copied())
            .collect();
        let masters = masters.keys().map(|&node| node.clone()).collect();
        Self { masters, owners }
    }

    /// The index of the master that serves `slot`.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<u16> {
        self.owners.get(usize::from(slot)).copied().flatten()
    }

    /// The slots that no master serves, as ranges in words, and how many they are.
    #[must_use]
    pub fn without_owner(&self) -> Option<(u16, String)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in (0..SLOTS).filter(|slot| self.owner(*slot).is_none()) {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(slot) => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        let count = self.owners.iter().filter(|owner| owner.is_none()).count();
        let shown: Vec<String> = ranges
            .iter()
            .take(8)
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        let more = if ranges.len() > 8 { ", …" } else { "" };
        (count > 0).then(|| {
            (
                u16::try_from(count).unwrap_or(SLOTS),
                format!("{}{more}", shown.join(", ")),
            )
        })
    }
}

/// A cluster that serves nothing now.
#[must_use]
pub fn is_down(words: &[u8]) -> bool {
    words.starts_with(b"LOADING") || words.starts_with(b"CLUSTERDOWN")
}

/// The error where it does.
#[cold]
#[must_use]
pub fn down(words: &[u8]) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the destination says {}", Escaped(words)),
    )
}

/// What a node can be asked about its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Slots,
    Shards,
}

impl Question {
    fn word(self) -> &'static str {
        match self {
            Question::Slots => "SLOTS",
            Question::Shards => "SHARDS",
        }
    }
}

/// An answer of a node, and who was asked.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    question: Question,
    asked: Option<&'a Node>,
    /// Nodes of which more than one port is known are reached by that for TLS.
    tls: bool,
    map: &'a NodeMap,
}

impl Reader<'_> {
    fn strange(&self) -> Error {
        Error::new(
            ErrorKind::Destination,
            format!(
                "the destination's answer to CLUSTER {} cannot be read",
                self.question.word()
            ),
        )
    }

    fn read(&self, answer: Array<'_>) -> Result<Topology> {
        let mut owner_of: Vec<Option<Node>> = vec![None; usize::from(SLOTS)];
        for part in answer {
            match self.question {
                Question::Slots => self.range(&part, &mut owner_of)?,
                Question::Shards => self.shard(&part, &mut owner_of)?,
            }
        }
        Ok(Topology::of_owners(&owner_of))
    }

    /// `first, last, master, replica, …`, each node as `host, port, …`.
    fn range(&self, range: &Reply<'_>, owner_of: &mut [Option<Node>]) -> Result<()> {
        let mut parts = range.array().ok_or_else(|| self.strange())?.iter();
        let (first, last) = slot(parts.next())
            .zip(slot(parts.next()))
            .ok_or_else(|| self.strange())?;
        // A range that nobody serves has no node behind it.
        let Some(master) = parts.next() else {
            return Ok(());
        };
        let mut fields = master.array().ok_or_else(|| self.strange())?.iter();
        let host = fields.next().ok_or_else(|| self.strange())?;
        let node = self.node(host.text(), fields.next())?;
        own(owner_of, first..=last, &node);
        Ok(())
    }

    /// `slots, [first, last, …], nodes, [node, …], …`, each node again as names and values.
    fn shard(&self, shard: &Reply<'_>, owner_of: &mut [Option<Node>]) -> Result<()> {
        let shard = shard.array().ok_or_else(|| self.strange())?;
        let list = |name: &str| {
            let list = field(shard, name).and_then(|list| list.array());
            list.ok_or_else(|| self.strange())
        };
        let (slots, nodes) = (list("slots")?, list("nodes")?);
        // A shard without slots is none of ours, whatever its nodes say.
        if slots.is_empty() {
            return Ok(());
        }
        let mut master: Option<Node> = None;
        for node in nodes {
            let node = node.array().ok_or_else(|| self.strange())?;
            let says = |name: &str, what: &[u8]| {
                field(node, name).is_some_and(|field| field.text() == Some(what))
            };
            // One that failed stands there until another one was promoted, and behind that.
            if !says("role", b"master") || master.is_some() && !says("health", b"online") {
                continue;
            }
            let by = |name: &str| field(node, name);
            let (plain, secure) = (by("port"), by("tls-port"));
            let port = match self.tls {
                true => secure.or(plain),
                false => plain.or(secure),
            };
            let host = by("endpoint").or_else(|| by("ip"));
            master = Some(self.node(host.and_then(|host| host.text()), port)?);
        }
        let mut ends = slots.iter();
        while let Some(first) = ends.next() {
            let (first, last) = slot(Some(first))
                .zip(slot(ends.next()))
                .ok_or_else(|| self.strange())?;
            if let Some(master) = &master {
                own(owner_of, first..=last, master);
            }
        }
        Ok(())
    }

    fn node(&self, host: Option<&[u8]>, port: Option<Reply<'_>>) -> Result<Node> {
        let port = port
            .and_then(|port| u16::try_from(port.integer()?).ok())
            .ok_or_else(|| self.strange())?;
        // No name at all means the host that was asked; `?` means that the node does not know its own.
        let host = match host {
            None | Some(b"" | b"?") => {
                self.asked.map(|asked| asked.host.clone()).ok_or_else(|| {
                    self.strange()
                        .with_hint("it names no host: give the address of a node by TCP")
                })?
            }
            Some(name) => String::from_utf8_lossy(name).into_owned(),
        };
        Ok(self.map.reached(Node { host, port }))
    }
}

fn slot(reply: Option<Reply<'_>>) -> Option<u16> {
    let number = reply?.integer()?;
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS)
}

fn own(owner_of: &mut [Option<Node>], slots: std::ops::RangeInclusive<u16>, node: &Node) {
    for slot in slots {
        if let Some(owner) = owner_of.get_mut(usize::from(slot)) {
            *owner = Some(node.clone());
        }
    }
}

/// The value behind a name, in an array of names and values.
fn field<'b>(fields: Array<'b>, wanted: &str) -> Option<Reply<'b>> {
    let mut fields = fields.iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if name.text() == Some(wanted.as_bytes()) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
        }
    }

    fn answer(question: Question, tls: bool, reply: &str, map: &NodeMap) -> Result<Topology> {
        let bytes = reply.replace(' ', "\r\n");
        let reply = Reply::parse(bytes.as_bytes()).unwrap();
        let reader = Reader {
            question,
            asked: Some(&node("h", 1)),
            tls,
            map,
        };
        reader.read(reply.array().unwrap())
    }

    fn read(reply: &str, map: &NodeMap) -> Result<Topology> {
        answer(Question::Slots, false, reply, map)
    }

    #[test]
    fn slots_have_their_masters_and_gaps_are_told() {
        let text = "*3 *4 :0 :5000 *3 $1 b :7001 $2 id *3 $1 r :7003 $2 id *3 :5001 :16000 *2 $0  :7000 \
            *3 :16002 :16382 *2 $-1 :7002 ";
        let found = read(text, &NodeMap::default()).unwrap();
        assert_eq!(
            found.masters,
            [node("b", 7001), node("h", 7000), node("h", 7002)]
        );
        assert_eq!(found.owner(5000), Some(0));
        assert_eq!(found.owner(5001), Some(1));
        assert_eq!(found.owner(16001), None);
        assert_eq!(found.owner(16382), Some(2));
        assert_eq!(found.without_owner(), Some((2, "16001, 16383".to_owned())));
        let map = NodeMap::new(["b=10.0.0.1:9".parse().unwrap()]);
        let found = read(text, &map).unwrap();
        assert_eq!(found.masters[0], node("10.0.0.1", 9));
    }

    #[test]
    fn lies_are_refused() {
        for text in [
            "*1 *3 :0 :16384 *2 $1 h :1 ",
            "*1 *3 :-1 :3 *2 $1 h :1 ",
            "*1 *3 :0 :3 *2 $1 h :70000 ",
            "*1 *3 :0 :3 *0 ",
            "*1 :0 ",
            "*1 *1 :0 ",
        ] {
            assert!(read(text, &NodeMap::default()).is_err(), "{text}");
        }
        // No slots at all, and the ends of a range the wrong way round, which is no slots either.
        for text in ["*0 ", "*1 *3 :9 :3 *2 $1 h :1 "] {
            let found = read(text, &NodeMap::default()).unwrap();
            assert_eq!(
                found.without_owner(),
                Some((SLOTS, "0-16383".to_owned())),
                "{text}"
            );
        }
    }

    /// A RESP2 array of these texts and parts.
    fn list(parts: &[String]) -> String {
        format!("*{} {}", parts.len(), parts.concat())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        let text = |text: &&str| format!("${} {text} ", text.len());
        texts.iter().map(text).collect()
    }

    /// As 7.0 and later write it; one that is left out is a name and no value.
    fn shard(slots: &[&str], nodes: &[&[&str]]) -> String {
        let nodes: Vec<String> = nodes.iter().map(|node| list(&texts(node))).collect();
        let [slots_name, nodes_name] = ["$5 slots ", "$5 nodes "].map(str::to_owned);
        let slots: Vec<String> = slots.iter().map(|slot| format!(":{slot} ")).collect();
        list(&[slots_name, list(&slots), nodes_name, list(&nodes)])
    }

    #[test]
    fn shards_tell_the_same() {
        let replica: &[&str] = &[
            "port", "9", "endpoint", "r", "role", "replica", "health", "online",
        ];
        let failed: &[&str] = &[
            "port", "8", "endpoint", "f", "role", "master", "health", "fail",
        ];
        let master: &[&str] = &[
            "port", "7", "tls-port", "77", "ip", "1.1", "endpoint", "m", "role", "master",
            "health", "online",
        ];
        let nameless: &[&str] = &["tls-port", "66", "endpoint", "?", "role", "master"];
        let by_ip: &[&str] = &["ip", "2.2", "port", "5", "role", "master"];
        let text = list(&[
            shard(&["0", "9", "20", "16000"], &[replica, failed, master]),
            shard(&["10", "19"], &[nameless]),
            shard(&["16001", "16381"], &[by_ip, failed]),
            shard(&["16382", "16383"], &[replica]),
            shard(&[], &[failed]),
        ]);
        let map = NodeMap::default();
        let found = answer(Question::Shards, false, &text, &map).unwrap();
        let masters = [node("2.2", 5), node("h", 66), node("m", 7)];
        assert_eq!(found.masters, masters);
        assert_eq!(found.owner(20), Some(2));
        assert_eq!(found.owner(10), Some(1));
        assert_eq!(found.owner(16381), Some(0));
        assert_eq!(
            found.without_owner(),
            Some((2, "16382-16383".to_owned())),
            "replicas alone serve nothing"
        );
        let found = answer(Question::Shards, true, &text, &map).unwrap();
        assert!(found.masters.contains(&node("m", 77)), "{found:?}");
        for text in [
            shard(&["0", "16384"], &[master]),
            shard(&["0"], &[master]),
            shard(&["0", "5"], &[&["role", "master", "endpoint", "m"]]),
            list(&texts(&["slots"])),
            ":1 ".to_owned(),
        ] {
            let found = answer(
                Question::Shards,
                false,
                &list(std::slice::from_ref(&text)),
                &map,
            );
            assert!(found.is_err(), "{text}");
        }
    }
}
