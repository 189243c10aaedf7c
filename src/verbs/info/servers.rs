//! Which servers start with a file, and how many of its keys they would take one by one.
//!
//! A server refuses a whole file by its version number. Key by key only the type counts, so most of a new file goes into much
//! older servers.

use serde::Serialize;

use super::Types;
use crate::snapshot::{Dialect, Header, Version};

/// Products whose versions are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Redis,
    Valkey,
}

/// The newest RDB version that a server reads. Versions in between read the same as the one before them.
struct Server {
    name: &'static str,
    product: Product,
    version: Version,
}

const fn redis(name: &'static str, version: u16) -> Server {
    Server {
        name,
        product: Product::Redis,
        version: Version(version),
    }
}

const fn valkey(name: &'static str, version: u16) -> Server {
    Server {
        name,
        product: Product::Valkey,
        version: Version(version),
    }
}

/// `RDB_VERSION` of each release that changed it.
const SERVERS: &[Server] = &[
    redis("redis 2.8", 6),
    redis("redis 3.2", 7),
    redis("redis 4.0", 8),
    redis("redis 5.0", 9),
    redis("redis 7.0", 10),
    redis("redis 7.2", 11),
    redis("redis 7.4", 12),
    redis("redis 8.6", 13),
    redis("redis 8.8", 14),
    redis("redis 8.10", 15),
    valkey("valkey 7.2", 11),
    valkey("valkey 9.0", 80),
    valkey("valkey 9.2", 81),
];

impl Server {
    /// Whether it starts with a file of that version: Valkey refuses `REDIS` files from 12 on ("foreign"), Redis all `VALKEY`
    /// files.
    fn reads(&self, header: Header) -> bool {
        match (self.product, header.dialect) {
            (Product::Redis, Dialect::Valkey) => false,
            (Product::Redis, _) => header.version <= self.version,
            (Product::Valkey, Dialect::Valkey) => header.version <= self.version,
            (Product::Valkey, _) => header.version <= Version(11),
        }
    }

    /// Whether it knows a type that exists since RDB version `since`.
    fn knows(&self, since: u16) -> bool {
        match self.product {
            Product::Redis => since <= self.version.0,
            Product::Valkey => since <= 11 || (80..=self.version.0).contains(&since),
        }
    }
}

/// Where the whole file can be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loadable {
    /// The lowest Redis that starts with it.
    pub redis: Option<&'static str>,
    /// The lowest Valkey that starts with it, with its default settings.
    pub valkey: Option<&'static str>,
    /// What else must hold, in words.
    pub conditions: Vec<String>,
    /// For each server: how many keys could go to it one by one with their bytes as they are.
    pub raw: Vec<RawShare>,
}

/// How many keys a server takes as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RawShare {
    /// The server, and with it all newer ones up to the next in the list.
    pub server: &'static str,
    /// Keys whose type it knows.
    pub keys: u64,
    /// Keys of other types that have an older form which it knows.
    pub reencoded: u64,
}

/// What the file holds besides keys of known types.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demands {
    pub(super) pre_ga_functions: bool,
    pub(super) dragonfly: bool,
    pub(super) enterprise: bool,
    pub(super) highest_db: u64,
}

pub(super) fn loadable(
    header: Header,
    types: &Types,
    modules: &[String],
    demands: Demands,
) -> Loadable {
    let lowest = |product| {
        SERVERS
            .iter()
            .find(|server| server.product == product && server.reads(header))
            .map(|server| server.name)
    };
    let mut loadable = Loadable {
        redis: lowest(Product::Redis),
        valkey: lowest(Product::Valkey),
        conditions: Vec::new(),
        raw: Vec::new(),
    };
    if demands.pre_ga_functions {
        loadable.redis = loadable.redis.map(|_| "redis 7.0");
        loadable.valkey = None;
        loadable
            .conditions
            .push("no other than redis 7.0: function libraries of a release candidate".to_owned());
    }
    if demands.dragonfly {
        loadable.redis = None;
        loadable.valkey = None;
        loadable
            .conditions
            .push("Dragonfly only: it holds records of its own".to_owned());
    }
    if demands.enterprise {
        loadable.redis = None;
        loadable.valkey = None;
        loadable
            .conditions
            .push("Redis Enterprise only: it holds opcodes of its own".to_owned());
    }
    if !modules.is_empty() {
        loadable
            .conditions
            .push(format!("with the modules that own {}", modules.join(", ")));
    }
    if demands.highest_db >= 16 {
        loadable.conditions.push(format!(
            "with `databases {}` or more",
            demands.highest_db.saturating_add(1)
        ));
    }
    loadable.raw = SERVERS
        .iter()
        .map(|server| RawShare {
            server: server.name,
            keys: types.keys_where(|since| server.knows(since)),
            reencoded: types.keys_with_older_form(|since| server.knows(since)),
        })
        .collect();
    loadable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowest(dialect: Dialect, version: u16) -> (Option<&'static str>, Option<&'static str>) {
        let header = Header {
            version: Version(version),
            dialect,
        };
        let loadable = loadable(header, &Types::default(), &[], Demands::default());
        (loadable.redis, loadable.valkey)
    }

    #[test]
    fn files_load_into_the_servers_that_wrote_them_and_newer_ones() {
        for (version, redis, valkey) in [
            (1, Some("redis 2.8"), Some("valkey 7.2")),
            (6, Some("redis 2.8"), Some("valkey 7.2")),
            (9, Some("redis 5.0"), Some("valkey 7.2")),
            (11, Some("redis 7.2"), Some("valkey 7.2")),
            (12, Some("redis 7.4"), None),
            (15, Some("redis 8.10"), None),
            (16, None, None),
        ] {
            assert_eq!(
                lowest(Dialect::Redis, version),
                (redis, valkey),
                "REDIS{version:04}"
            );
        }
        assert_eq!(lowest(Dialect::Valkey, 80), (None, Some("valkey 9.0")));
        assert_eq!(lowest(Dialect::Valkey, 81), (None, Some("valkey 9.2")));
    }

    #[test]
    fn types_go_to_servers_that_know_them() {
        let knows = |name: &str, since| {
            SERVERS
                .iter()
                .find(|s| s.name == name)
                .unwrap()
                .knows(since)
        };
        assert!(knows("redis 2.8", 4) && !knows("redis 2.8", 7));
        assert!(knows("valkey 7.2", 11) && !knows("valkey 7.2", 12) && !knows("valkey 7.2", 80));
        assert!(knows("valkey 9.0", 80) && !knows("valkey 9.0", 81) && !knows("valkey 9.0", 12));
        assert!(!knows("redis 8.10", 80));
    }
}
