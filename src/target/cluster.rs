//! The nodes of a cluster, as they call each other and as they are reached.
//!
//! A host that is left out is the one that was asked; one that cannot be reached under its name is mapped by a [`NodeMap`].

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::resp::Endpoint;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
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
