//! Which node of a cluster serves which slots: `CLUSTER SLOTS`, read as claims.
//!
//! A node tells its own view, which may be old: whoever writes must still follow `MOVED`. A host that is left out is the one
//! that was asked; one that cannot be reached under its name is mapped by a [`NodeMap`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::resp::{Arg, Connection, Endpoint, Reply};

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Node {
    /// The node that `endpoint` is; `None` for a unix socket.
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => Some(Self {
                host: host.clone(),
                port: *port,
            }),
            Endpoint::Unix(_) => None,
        }
    }

    /// This node, reached as `like` is: by TLS if that is.
    #[must_use]
    pub fn endpoint(&self, like: &Endpoint) -> Endpoint {
        let (host, port) = (self.host.clone(), self.port);
        match like {
            Endpoint::Tls { .. } => Endpoint::Tls { host, port },
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => Endpoint::Tcp { host, port },
        }
    }

    /// Reads `host:port` as nodes write it: IPv6 without brackets, the host left out (or `?`) where it is `asked`.
    #[must_use]
    pub fn parse(text: &str, asked: Option<&Node>) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            host: match host {
                "" | "?" => asked?.host.clone(),
                host => host.to_owned(),
            },
            port: port.parse().ok()?,
        })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// One line of a [`NodeMap`]: `A=B`, each `host` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAlias {
    from: (String, Option<u16>),
    to: (String, Option<u16>),
}

impl FromStr for NodeAlias {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(
                ErrorKind::Usage,
                format!("a node is mapped by A=B, each host or host:port, not by {text}"),
            )
        };
        let side = |side: &str| {
            let plain = |host: &str| host.trim_matches(['[', ']']).to_owned();
            let (host, port) = match side.rsplit_once(':') {
                // An IPv6 address without brackets has more than one colon.
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    (plain(host), Some(port.parse().ok()?))
                }
                _ => (plain(side), None),
            };
            (!host.is_empty()).then_some((host, port))
        };
        let (from, to) = text.split_once('=').ok_or_else(bad)?;
        Ok(Self {
            from: side(from).ok_or_else(bad)?,
            to: side(to).ok_or_else(bad)?,
        })
    }
}

/// What nodes call themselves, and where they are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeMap(Vec<NodeAlias>);

impl NodeMap {
    /// These aliases; the first that fits counts, one with a port before one without.
    #[must_use]
    pub fn new(aliases: impl IntoIterator<Item = NodeAlias>) -> Self {
        let mut aliases: Vec<NodeAlias> = aliases.into_iter().collect();
        aliases.sort_by_key(|alias| alias.from.1.is_none());
        Self(aliases)
    }

    /// Where `node` is reached.
    #[must_use]
    pub fn reached(&self, node: Node) -> Node {
        let found = self.0.iter().find(|NodeAlias { from, .. }| {
            from.0 == node.host && from.1.is_none_or(|port| port == node.port)
        });
        match found {
            Some(NodeAlias { to, .. }) => Node {
                host: to.0.clone(),
                port: to.1.unwrap_or(node.port),
            },
            None => node,
        }
    }
}

/// Who serves which slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The masters that serve slots, in order of their addresses.
    pub masters: Vec<Node>,
    /// For each slot the index of its master.
    owners: Vec<Option<u16>>,
}

impl Topology {
    /// Asks a node. `None` where it does not answer `CLUSTER SLOTS`: what hides its cluster is one endpoint.
    ///
    /// # Errors
    /// The connection fails; `Destination` where the answer cannot be: a slot over 16383, a node without a name.
    pub fn ask(
        connection: &mut Connection,
        asked: Option<&Node>,
        map: &NodeMap,
    ) -> Result<Option<Self>> {
        let reply = connection.request(&[Arg::from("CLUSTER"), Arg::from("SLOTS")])?;
        match reply {
            Reply::Error(words)
                if words.starts_with(b"LOADING") || words.starts_with(b"CLUSTERDOWN") =>
            {
                Err(Error::new(
                    ErrorKind::Destination,
                    format!("the destination says {}", String::from_utf8_lossy(words)),
                ))
            }
            Reply::Array(_) => Self::read(&reply, asked, map),
            _ => Ok(None),
        }
    }

    fn read(reply: &Reply<'_>, asked: Option<&Node>, map: &NodeMap) -> Result<Option<Self>> {
        let strange = || {
            Error::new(
                ErrorKind::Destination,
                "the destination's answer to CLUSTER SLOTS cannot be read",
            )
        };
        let mut owner_of: Vec<Option<Node>> = vec![None; usize::from(SLOTS)];
        let Some(ranges) = reply.array() else {
            return Ok(None);
        };
        for range in ranges.iter() {
            let range = range.array().ok_or_else(strange)?;
            let mut parts = range.iter();
            let mut slot = || {
                let number = parts.next()?.integer()?;
                u16::try_from(number).ok().filter(|slot| *slot < SLOTS)
            };
            let (first, last) = slot().zip(slot()).ok_or_else(strange)?;
            // A range that nobody serves has no node behind it.
            let Some(master) = parts.next() else { continue };
            let master = master.array().ok_or_else(strange)?;
            let mut fields = master.iter();
            let host = fields.next().ok_or_else(strange)?;
            let port = fields.next().and_then(|port| port.integer());
            let port = port
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(strange)?;
            // No name at all means the host that was asked; `?` means that the node does not know its own.
            let host = match host.text() {
                None | Some(b"" | b"?") => {
                    asked.map(|asked| asked.host.clone()).ok_or_else(|| {
                        strange().with_hint("it names no host: give the address of a node by TCP")
                    })?
                }
                Some(name) => String::from_utf8_lossy(name).into_owned(),
            };
            let node = map.reached(Node { host, port });
            for slot in first..=last {
                if let Some(owner) = owner_of.get_mut(usize::from(slot)) {
                    *owner = Some(node.clone());
                }
            }
        }
        let mut masters: BTreeMap<&Node, u16> = owner_of.iter().flatten().map(|n| (n, 0)).collect();
        for (number, index) in (0u16..).zip(masters.values_mut()) {
            *index = number;
        }
        let owners = owner_of
            .iter()
            .map(|owner| masters.get(owner.as_ref()?).copied())
            .collect();
        let masters = masters.keys().map(|&node| node.clone()).collect();
        Ok(Some(Self { masters, owners }))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
        }
    }

    fn read(reply: &str, map: &NodeMap) -> Result<Option<Topology>> {
        let bytes = reply.replace(' ', "\r\n");
        let asked = node("h", 1);
        Topology::read(&Reply::parse(bytes.as_bytes()).unwrap(), Some(&asked), map)
    }

    #[test]
    fn slots_have_their_masters_and_gaps_are_told() {
        let text = "*3 *4 :0 :5000 *3 $1 b :7001 $2 id *3 $1 r :7003 $2 id *3 :5001 :16000 *2 $0  :7000 \
            *3 :16002 :16382 *2 $-1 :7002 ";
        let found = read(text, &NodeMap::default()).unwrap().unwrap();
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
        let found = read(text, &map).unwrap().unwrap();
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
            let found = read(text, &NodeMap::default()).unwrap().unwrap();
            assert_eq!(
                found.without_owner(),
                Some((SLOTS, "0-16383".to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn names_of_nodes() {
        let asked = node("h", 1);
        assert_eq!(Node::parse(":7", Some(&asked)), Some(node("h", 7)));
        assert_eq!(Node::parse("fe80::1:7", None), Some(node("fe80::1", 7)));
        assert_eq!(Node::parse(":7", None), None);
        assert_eq!(Node::parse("h:70000", None), None);
        assert_eq!(node("fe80::1", 7).to_string(), "[fe80::1]:7");
        let map = NodeMap::new(
            ["a=x", "a:7=y:8", "[fe80::1]:7=z"].map(|text| text.parse::<NodeAlias>().unwrap()),
        );
        assert_eq!(map.reached(node("a", 6)), node("x", 6));
        assert_eq!(map.reached(node("a", 7)), node("y", 8));
        assert_eq!(map.reached(node("fe80::1", 7)), node("z", 7));
        assert_eq!(map.reached(node("b", 7)), node("b", 7));
        for text in ["a", "=b", "a=", "a:x=b", ""] {
            assert!(text.parse::<NodeAlias>().is_err(), "{text}");
        }
    }
}
