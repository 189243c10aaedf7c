//! What the destination is, what it hides, and which other roads lead into it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Escaped, Result};
use crate::resp::{Arg, Connection, Reply};
use crate::target::{Facts, Mode, Probed, Product, Role, Version};

/// Libraries that are named at the most.
const MOST_LIBRARIES: usize = 1000;

/// Everything that the destination told; `None` is *not known*.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Destination {
    /// Product and version in words.
    pub name: String,
    /// `redis`, `valkey`, …
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Product and version are the user's word.
    pub assumed: bool,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: Option<&'static str>,
    /// Masters that share the slots; 1 where it is no cluster.
    pub shards: u64,
    /// `master` or `replica`.
    pub role: Option<&'static str>,
    /// What happens at the memory limit.
    pub policy: Option<String>,
    /// The limit, bytes; 0: none.
    pub maxmemory: Option<u64>,
    /// In use, bytes.
    pub used_memory: Option<u64>,
    /// Bytes of a string.
    pub proto_max_bulk_len: Option<u64>,
    /// Bytes of one argument.
    pub max_argument: u64,
    /// Databases, or how many there are at least.
    pub databases: Option<u64>,
    /// Keys by database.
    pub keys: Option<BTreeMap<u64, u64>>,
    /// Connected replicas.
    pub replicas: Option<u64>,
    /// Whether an append-only file is written.
    pub append_only: Option<bool>,
    /// Names of the loaded modules.
    pub modules: Option<Vec<String>>,
    /// Names of the function libraries, escaped.
    pub functions: Option<Vec<String>>,
    /// The server's clock less ours, milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// Other clients.
    pub clients: Option<u64>,
    /// Clients that wait for elements, entries or scores.
    pub blocked_clients: Option<u64>,
    /// `notify-keyspace-events`; empty: none are sent.
    pub keyspace_events: Option<String>,
    /// As whom we are there.
    pub user: Option<String>,
    /// What is *not known*, by name.
    pub not_known: Vec<&'static str>,
    /// Commands that were not answered, with the server's words.
    pub closed: Vec<ClosedCommand>,
    /// Whether `RESTORE` works, as far as it was tried.
    pub restore: &'static str,
    /// Probes that were sent.
    pub probes: u64,
}

/// A command that the destination does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClosedCommand {
    /// As it was sent.
    pub command: String,
    /// The server's words.
    pub words: String,
}

/// Another way of bringing data there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherRoad {
    /// `REPLICAOF`, `file upload`, `MIGRATE`.
    pub road: &'static str,
    /// `unavailable`, `not-tried` or `not-known`.
    pub state: &'static str,
    /// Why, in words.
    pub why: String,
}

/// Why no script can be loaded, in the destination's words: asked with one that nobody has.
///
/// # Errors
/// The connection fails.
pub(super) fn scripts_closed(connection: &mut Connection) -> Result<Option<String>> {
    const NONE: &str = "0000000000000000000000000000000000000000";
    let reply = connection.request(&["SCRIPT", "EXISTS", NONE].map(Arg::from))?;
    Ok(reply.error().map(|words| Escaped(words).to_string()))
}

impl Destination {
    /// What `facts` say, joined with a few more questions.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask(connection: &mut Connection, facts: &Facts) -> Result<Self> {
        let mut destination = Self::of_facts(facts);
        let before_7 = facts.product == Some(Product::Redis)
            && facts.version.is_some_and(|v| v < Version::new(7, 0, 0));
        destination.functions = match before_7 {
            true => Some(Vec::new()),
            false => destination.ask_functions(connection)?,
        };
        destination.ask_clients(connection)?;
        destination.ask_events(connection)?;
        let before_users = facts.product == Some(Product::Redis)
            && facts.version.is_some_and(|v| v < Version::new(6, 0, 0));
        if !before_users {
            let user = [Arg::from("ACL"), Arg::from("WHOAMI")];
            destination.user = match connection.request(&user)? {
                Reply::Error(words) => destination.closed_by("ACL WHOAMI", words),
                reply => reply
                    .text()
                    .map(|name| String::from_utf8_lossy(name).into_owned()),
            };
        }
        destination.list_unknown();
        Ok(destination)
    }

    /// What facts alone say.
    pub(super) fn of_facts(facts: &Facts) -> Self {
        let mut destination = Self {
            name: facts.name(),
            product: facts.product.map(|product| product.to_string()),
            version: facts.version.map(|version| version.to_string()),
            assumed: facts.assumed,
            mode: facts.mode.map(|mode| match mode {
                Mode::Standalone => "standalone",
                Mode::Cluster => "cluster",
                Mode::Sentinel => "sentinel",
            }),
            role: facts.role.as_ref().map(|role| match role {
                Role::Master => "master",
                Role::Replica(_) => "replica",
            }),
            policy: facts.maxmemory_policy.clone(),
            maxmemory: facts.maxmemory,
            used_memory: facts.used_memory,
            proto_max_bulk_len: facts.max_bulk,
            max_argument: facts.max_arg(),
            databases: facts.databases,
            keys: facts.keys.clone(),
            replicas: facts.connected_replicas,
            append_only: facts.aof_enabled,
            modules: facts.modules.clone(),
            clock_ahead_ms: facts.clock_ahead_ms,
            closed: facts
                .closed
                .iter()
                .map(|closed| ClosedCommand {
                    command: closed.command.clone(),
                    words: closed.words.clone(),
                })
                .collect(),
            restore: "not tried",
            ..Self::default()
        };
        destination.list_unknown();
        destination
    }

    /// What probing found.
    pub(super) fn probed(&mut self, probed: &Probed) {
        self.probes = probed.sent;
        self.restore = match (&probed.restore_closed, &probed.key_closed) {
            (Some(_), _) => "closed to us",
            (None, Some(_)) => "closed for the keys of the dump",
            (None, None) if probed.sent > 0 => "works",
            _ => "not tried",
        };
    }

    fn list_unknown(&mut self) {
        let known = [
            ("product", self.product.is_some()),
            ("version", self.version.is_some()),
            ("mode", self.mode.is_some()),
            ("role", self.role.is_some()),
            ("maxmemory-policy", self.policy.is_some()),
            ("maxmemory", self.maxmemory.is_some()),
            ("used memory", self.used_memory.is_some()),
            ("proto-max-bulk-len", self.proto_max_bulk_len.is_some()),
            ("databases", self.databases.is_some()),
            ("keys", self.keys.is_some()),
            ("replicas", self.replicas.is_some()),
            ("append-only file", self.append_only.is_some()),
            ("modules", self.modules.is_some()),
            ("function libraries", self.functions.is_some()),
            ("clock", self.clock_ahead_ms.is_some()),
            ("blocked clients", self.blocked_clients.is_some()),
            ("keyspace events", self.keyspace_events.is_some()),
        ];
        self.not_known = known
            .into_iter()
            .filter_map(|(name, known)| (!known).then_some(name))
            .collect();
    }

    fn closed_by<T>(&mut self, command: &str, words: &[u8]) -> Option<T> {
        self.closed.push(ClosedCommand {
            command: command.to_owned(),
            words: Escaped(words).to_string(),
        });
        None
    }

    fn ask_functions(&mut self, connection: &mut Connection) -> Result<Option<Vec<String>>> {
        let reply = connection.request(&[Arg::from("FUNCTION"), Arg::from("LIST")])?;
        let libraries = match reply {
            Reply::Error(words) => return Ok(self.closed_by("FUNCTION LIST", words)),
            reply => reply.array(),
        };
        let Some(libraries) = libraries else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for library in libraries.iter().take(MOST_LIBRARIES) {
            let Some(fields) = library.array() else {
                continue;
            };
            let mut fields = fields.iter();
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                if name.text() == Some(b"library_name")
                    && let Some(text) = value.text()
                {
                    names.push(String::from_utf8_lossy(text).into_owned());
                }
            }
        }
        Ok(Some(names))
    }

    fn ask_clients(&mut self, connection: &mut Connection) -> Result<()> {
        let reply = connection.request(&[Arg::from("INFO"), Arg::from("clients")])?;
        let text = match reply {
            // Said of INFO as a whole already.
            Reply::Error(_) => return Ok(()),
            reply => reply
                .text()
                .map(|text| String::from_utf8_lossy(text).into_owned()),
        };
        let field = |name: &str| {
            text.as_deref()?.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(':')?;
                value.trim_end().parse::<u64>().ok()
            })
        };
        self.clients = field("connected_clients").map(|clients| clients.saturating_sub(1));
        self.blocked_clients = field("blocked_clients");
        Ok(())
    }

    fn ask_events(&mut self, connection: &mut Connection) -> Result<()> {
        let asked = ["CONFIG", "GET", "notify-keyspace-events"].map(Arg::from);
        let reply = connection.request(&asked)?;
        self.keyspace_events = match reply {
            Reply::Error(words) => self.closed_by("CONFIG GET notify-keyspace-events", words),
            reply => reply.array().and_then(|pair| {
                let value = pair.iter().nth(1)?;
                Some(String::from_utf8_lossy(value.text()?).into_owned())
            }),
        };
        Ok(())
    }

    /// The roads that `load` does not take, each with what speaks against it. Nothing of them is tried: `REPLICAOF` would
    /// erase what is there.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn other_roads(&self, connection: &mut Connection) -> Result<Vec<OtherRoad>> {
        let mut roads = Vec::new();
        for (road, command, needs) in [
            (
                "REPLICAOF",
                "REPLICAOF",
                "needs the old server running and reachable from there, and erases what is there",
            ),
            (
                "MIGRATE",
                "MIGRATE",
                "is sent to the old server, which must run and reach this one; it carries the same payloads as RESTORE",
            ),
        ] {
            let known = self.knows(connection, command)?;
            let allowed = match (&self.user, known) {
                (Some(user), Some(true)) => Self::dry_run(connection, user, command)?,
                _ => None,
            };
            roads.push(match (known, allowed) {
                (Some(false), _) => OtherRoad {
                    road,
                    state: "unavailable",
                    why: format!("the destination does not know {command}; it {needs}"),
                },
                (_, Some(Err(words))) => OtherRoad {
                    road,
                    state: "unavailable",
                    why: format!("{words}; it {needs}"),
                },
                (Some(true), _) => OtherRoad {
                    road,
                    state: "not-tried",
                    why: format!("it {needs}"),
                },
                (None, _) => OtherRoad {
                    road,
                    state: "not-known",
                    why: format!("the destination does not say whether it has it; it {needs}"),
                },
            });
        }
        roads.push(OtherRoad {
            road: "file upload",
            state: "not-tried",
            why: "needs the destination's disk and a restart, and replaces what is there"
                .to_owned(),
        });
        Ok(roads)
    }

    /// Whether the server has a command, where it tells.
    fn knows(&self, connection: &mut Connection, command: &str) -> Result<Option<bool>> {
        let name = match (command, self.product.as_deref(), self.version.as_deref()) {
            // The old name of it.
            ("REPLICAOF", Some("redis"), Some(version))
                if Version::parse(version).is_some_and(|v| v < Version::new(5, 0, 0)) =>
            {
                "SLAVEOF"
            }
            _ => command,
        };
        let asked = ["COMMAND", "INFO", name].map(Arg::from);
        let known = match connection.request(&asked)? {
            Reply::Error(_) => None,
            reply => reply.array().and_then(|list| {
                let first = list.iter().next()?;
                Some(first.array().is_some())
            }),
        };
        Ok(known)
    }

    /// Whether the user may send a command, where that can be asked (7.0, and not closed itself).
    fn dry_run(
        connection: &mut Connection,
        user: &str,
        command: &str,
    ) -> Result<Option<Result<(), String>>> {
        let mut asked = ["ACL", "DRYRUN", user, command].map(Arg::from).to_vec();
        match command {
            "MIGRATE" => asked.extend(["127.0.0.1", "1", "key", "0", "1"].map(Arg::from)),
            _ => asked.extend(["127.0.0.1", "1"].map(Arg::from)),
        }
        Ok(match connection.request(&asked)? {
            Reply::Error(_) => None,
            reply if reply.is_ok() => Some(Ok(())),
            reply => reply
                .text()
                .map(|words| Err(String::from_utf8_lossy(words).into_owned())),
        })
    }
}
