//! What the destination is, as far as it tells: product, version, mode, role, limits, what it holds.
//!
//! `HELLO` first, since it is open even to a user without `@dangerous`; then `INFO`; then `CONFIG GET`, `MODULE LIST`,
//! `TIME`, `SELECT` and `DBSIZE` for what is still missing. Nothing here writes. A command that is closed makes its facts
//! *not known*, which is never an error: only what makes loading impossible is ([`Facts::refusal`]).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::held::Held;
use super::product::{Assumed, Product, Version};
use super::reaction::{Asked, Reaction, Situation, Wait, react};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Connection, Reply};

/// Bytes of one argument where the server does not say: the built-in value of `proto-max-bulk-len`.
pub(super) const DEFAULT_MAX_BULK: u64 = 512 * 1024 * 1024;

/// The built-in value of `client-query-buffer-limit`.
const DEFAULT_MAX_QUERY: u64 = 1024 * 1024 * 1024;

/// What else may stand in that buffer: the rest of the command, and what a server reads at a time.
const BESIDE_AN_ARGUMENT: u64 = 64 * 1024;

/// Databases that are asked for their size one by one, at most.
const MOST_DBS: usize = 256;

/// How the server is part of a greater whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// By itself, or behind a proxy that hides the rest.
    Standalone,
    /// A node of a cluster.
    Cluster,
    /// No data at all.
    Sentinel,
}

/// Master or replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Master,
    /// It copies another server: `host:port` if it says.
    Replica(Option<String>),
}

/// A command that the destination does not answer to us, and in which words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The command as it was sent.
    pub command: String,
    /// The server's words.
    pub words: String,
}

/// Everything found out. `None` means *not known*.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Facts {
    /// Where it was asked, without the password.
    pub address: Option<String>,
    /// The product; not known if neither `HELLO` nor `INFO` says it.
    pub product: Option<Product>,
    /// The version (of Dragonfly: its own, not the Redis version that it imitates).
    pub version: Option<Version>,
    /// Product and version are the user's words.
    pub assumed: bool,
    /// Standalone, cluster or sentinel.
    pub mode: Option<Mode>,
    /// Master or replica.
    pub role: Option<Role>,
    /// Names of the loaded modules.
    pub modules: Option<Vec<String>>,
    /// How many databases there are; where only `SELECT` told, how many there are at least.
    pub databases: Option<u64>,
    /// The lowest of the needed databases that `SELECT` refused.
    pub refused_db: Option<u64>,
    /// `proto-max-bulk-len`, bytes of a string.
    pub max_bulk: Option<u64>,
    /// `client-query-buffer-limit`, bytes of a command that is being read.
    pub max_query: Option<u64>,
    /// Identity of the server process, and of the stream of changes that it went on with if it was promoted
    /// (`process_id` below).
    pub run_id: Option<String>,
    /// It is loading its data set: nothing can be written yet.
    pub loading: Option<bool>,
    /// Memory limit in bytes, 0 for none.
    pub maxmemory: Option<u64>,
    /// What happens at the limit.
    pub maxmemory_policy: Option<String>,
    /// Memory in use, bytes.
    pub used_memory: Option<u64>,
    /// Keys evicted since the server started.
    pub evicted_keys: Option<u64>,
    /// Replicas that are connected.
    pub connected_replicas: Option<u64>,
    /// Whether an append-only file is written.
    pub aof_enabled: Option<bool>,
    /// Changes since the last snapshot (the server's `dirty`).
    pub changes_since_save: Option<u64>,
    /// Keys by database, where it has any. Whole if it comes from `INFO`; else only the needed databases.
    pub keys: Option<BTreeMap<u64, u64>>,
    /// Keys without an expiry in all databases, where it says so.
    pub lasting_keys: Option<u64>,
    /// The server's clock less ours, milliseconds; as exact as half the round trip. Of several servers, that of the one that is
    /// the furthest ahead.
    pub clock_ahead_ms: Option<i64>,
    /// The round trip of one small command.
    pub round_trip: Option<Duration>,
    /// Whether marks can prove that no reply is lost (see [`crate::resp::mark`]).
    pub marks: bool,
    /// What was not answered.
    pub closed: Vec<Closed>,
}

/// What tells a server from another one, and from itself before it was a replica for a while: then it holds what its master
/// of that time held, and goes by the same `run_id`. From 4.0 on a promotion puts the identity of the stream that was
/// followed until then into `master_replid2`; until the first one, and when the first replica comes, it is all zeros.
pub(crate) fn process_id(info: &BTreeMap<&str, &str>) -> Option<String> {
    let run_id = *info.get("run_id")?;
    let followed = info
        .get("master_replid2")
        .filter(|id| id.bytes().any(|b| b != b'0'));
    Some(match followed {
        Some(followed) => format!("{run_id}, promoted from {followed}"),
        None => run_id.to_owned(),
    })
}

impl Facts {
    /// Asks the destination. `dbs` are the databases that the dump needs there; the connection's own stays selected.
    ///
    /// # Errors
    /// The connection fails, or wants a login. What is merely closed is listed in [`Facts::closed`].
    pub fn gather(connection: &mut Connection, dbs: &[u64]) -> Result<Self> {
        let name = connection.name().to_owned();
        let mut facts = Self {
            address: Some(name.clone()),
            ..Self::default()
        };
        facts
            .ask_all(connection, dbs)
            .map_err(|error| error.naming(&name))?;
        Ok(facts)
    }

    fn ask_all(&mut self, connection: &mut Connection, dbs: &[u64]) -> Result<()> {
        self.ask_hello(connection)?;
        self.ask_info(connection)?;
        self.ask_modules(connection)?;
        self.ask_config(connection)?;
        self.ask_dbs(connection, dbs)?;
        self.ask_time(connection)?;
        self.marks = connection.prove()?;
        Ok(())
    }

    /// What several masters are together: the least that each can, the sum of what they hold.
    #[must_use]
    pub fn together(each: &[Self]) -> Self {
        let Some((first, rest)) = each.split_first() else {
            return Self::default();
        };
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        let mut facts = first.clone();
        for other in rest {
            facts.version = facts.version.zip(other.version).map(|(a, b)| a.min(b));
            facts.loading = facts.loading.max(other.loading);
            facts.refused_db = facts.refused_db.or(other.refused_db);
            // What is past at one of them must not be sent there.
            facts.clock_ahead_ms = facts.clock_ahead_ms.max(other.clock_ahead_ms);
            let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            facts.max_bulk = least(facts.max_bulk, other.max_bulk);
            facts.max_query = least(facts.max_query, other.max_query);
            facts.modules = facts
                .modules
                .zip(other.modules.clone())
                .map(|(a, b)| a.into_iter().filter(|name| b.contains(name)).collect());
            facts.maxmemory = sum(facts.maxmemory, other.maxmemory);
            facts.used_memory = sum(facts.used_memory, other.used_memory);
            facts.evicted_keys = sum(facts.evicted_keys, other.evicted_keys);
            facts.connected_replicas = sum(facts.connected_replicas, other.connected_replicas);
            facts.changes_since_save = sum(facts.changes_since_save, other.changes_since_save);
            facts.aof_enabled = facts
                .aof_enabled
                .zip(other.aof_enabled)
                .map(|(a, b)| a && b);
            if other.maxmemory_policy.as_deref() != Some("noeviction") {
                facts.maxmemory_policy.clone_from(&other.maxmemory_policy);
            }
            facts.keys = facts.keys.zip(other.keys.as_ref()).map(|(mut keys, more)| {
                for (db, count) in more {
                    let sum = keys.entry(*db).or_default();
                    *sum = sum.saturating_add(*count);
                }
                keys
            });
            facts.lasting_keys = sum(facts.lasting_keys, other.lasting_keys);
            facts.marks &= other.marks;
            facts.closed.extend(other.closed.iter().cloned());
        }
        facts.run_id = None;
        facts
    }

    /// Takes the user's word for product and version.
    pub fn assume(&mut self, assumed: Assumed) {
        self.product = Some(assumed.product);
        self.version = Some(assumed.version);
        self.assumed = true;
    }

    /// Product and version in words.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.product, self.version) {
            (Some(product), Some(version)) if self.assumed => {
                format!("{product} {version} (assumed)")
            }
            (Some(product), Some(version)) => format!("{product} {version}"),
            (Some(product), None) => format!("{product}, version not known"),
            (None, _) => "a server that does not say what it is".to_owned(),
        }
    }

    /// Whether it is this product, of at least this version. `None` if that is not known.
    #[must_use]
    pub fn is_at_least(&self, product: Product, version: Version) -> Option<bool> {
        if self.product? != product {
            return Some(false);
        }
        Some(self.version? >= version)
    }

    /// Bytes that one argument may have: the whole command must fit into the buffer that it is read into, too.
    #[must_use]
    pub fn max_arg(&self) -> u64 {
        let query = self.max_query.unwrap_or(DEFAULT_MAX_QUERY);
        self.max_bulk
            .unwrap_or(DEFAULT_MAX_BULK)
            .min(query.saturating_sub(BESIDE_AN_ARGUMENT))
    }

    /// Keys that the destination holds now, if known.
    #[must_use]
    pub fn total_keys(&self) -> Option<u64> {
        let keys = self.keys.as_ref()?;
        Some(keys.values().fold(0, |sum, n| sum.saturating_add(*n)))
    }

    /// The same, and how many of them have no expiry.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        Some(Held {
            keys: self.total_keys()?,
            lasting: self.lasting_keys,
        })
    }

    /// Whether the destination removes keys by itself when memory is short: `noeviction` or no limit is `Some(false)`.
    #[must_use]
    pub fn may_evict(&self) -> Option<bool> {
        if self.maxmemory == Some(0) {
            return Some(false);
        }
        Some(self.maxmemory_policy.as_deref()? != "noeviction")
    }

    /// Why nothing can be loaded here, in words: a replica, a sentinel, still loading, too few databases.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        let refuse = |what: &str| {
            let error = Error::new(ErrorKind::Destination, what.to_owned());
            match &self.address {
                Some(address) => error.naming(address),
                None => error,
            }
        };
        if self.mode == Some(Mode::Sentinel) {
            return Some(
                refuse("the destination is a sentinel, which holds no data")
                    .with_hint("give the address of the master that it watches"),
            );
        }
        if let Some(Role::Replica(master)) = &self.role {
            let error = refuse(
                "the destination is a replica: it takes no writes, or loses them at its next full sync",
            );
            return Some(error.with_hint(match master {
                Some(master) => format!("its master is {master}: load there"),
                None => "load into its master".to_owned(),
            }));
        }
        if self.loading == Some(true) {
            return Some(
                refuse("the destination is still loading its data set")
                    .with_hint("try again when it is done"),
            );
        }
        if let Some(db) = self.refused_db {
            let refused = self.closed.iter().find(|c| c.command.starts_with("SELECT"));
            let has = match (refused, self.databases) {
                (Some(closed), _) => format!(": {}", closed.words),
                (None, Some(count)) => format!("; it has {count}"),
                (None, None) => String::new(),
            };
            let elsewhere = "choose with --db, put it elsewhere with --map-db SRC:DST";
            let out_of_range =
                |words: &str| words.contains("range") || words.contains("invalid DB");
            if self.mode == Some(Mode::Cluster) {
                return Some(
                    refuse(&format!(
                        "the destination is a cluster without a database {db}{has}"
                    ))
                    .with_hint(format!(
                        "choose with --db 0, or put the keys into database 0 with --map-db {db}:0 (and --prefix {db}:TEXT where names would meet)"
                    )),
                );
            }
            return Some(match refused {
                Some(closed) if !out_of_range(&closed.words) => refuse(&format!(
                    "the destination does not let us select database {db}{has}"
                ))
                .with_hint(format!("{elsewhere}, or ask for the right to SELECT")),
                _ => refuse(&format!("the destination has no database {db}{has}"))
                    .with_hint(format!("{elsewhere}, or raise `databases` there")),
            });
        }
        None
    }

    fn ask_hello(&mut self, connection: &mut Connection) -> Result<()> {
        // `2` is the protocol that is spoken already: nothing is switched. Redis 6.0 wants the argument.
        let reply = connection.request(&[Arg::from("HELLO"), Arg::from("2")])?;
        let Some(fields) = self.answer("HELLO 2", reply)?.and_then(|r| r.array()) else {
            return Ok(());
        };
        let mut fields = fields.iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let Some(name) = name.text() else { break };
            let text = || value.text().map(lossy);
            match name {
                b"server" => {
                    self.product =
                        text().and_then(|text| match text.to_ascii_lowercase().as_str() {
                            "redis" => Some(Product::Redis),
                            "valkey" => Some(Product::Valkey),
                            "keydb" => Some(Product::KeyDb),
                            "dragonfly" => Some(Product::Dragonfly),
                            _ => None,
                        });
                }
                b"version" => self.version = text().and_then(|text| Version::parse(&text)),
                b"mode" => {
                    self.mode = text().and_then(|text| match text.as_str() {
                        "standalone" => Some(Mode::Standalone),
                        "cluster" => Some(Mode::Cluster),
                        "sentinel" => Some(Mode::Sentinel),
                        _ => None,
                    });
                }
                b"role" => self.role = text().and_then(|text| role(&text)),
                b"modules" => {
                    self.modules = value.array().map(|modules| module_names(modules.iter()))
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask_info(&mut self, connection: &mut Connection) -> Result<()> {
        let reply = connection.request(&[Arg::from("INFO")])?;
        let Some(text) = self
            .answer("INFO", reply)?
            .and_then(|r| r.text())
            .map(lossy)
        else {
            return Ok(());
        };
        self.read_info(&text);
        Ok(())
    }

    fn read_info(&mut self, text: &str) {
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
        let version = |name: &str| fields.get(name).and_then(|value| Version::parse(value));
        // What imitates Redis also says `redis_version`; its own name stands beside it.
        let identity = if let Some(version) = version("dragonfly_version") {
            Some((Product::Dragonfly, version))
        } else if let Some(version) = version("valkey_version") {
            Some((Product::Valkey, version))
        } else {
            version("redis_version").map(|version| {
                let keydb = fields.contains_key("mvcc_depth")
                    || fields
                        .get("executable")
                        .is_some_and(|path| path.contains("keydb-server"));
                (
                    if keydb {
                        Product::KeyDb
                    } else {
                        Product::Redis
                    },
                    version,
                )
            })
        };
        if let Some((product, version)) = identity {
            self.product = Some(product);
            self.version = Some(version);
        }
        match fields
            .get("redis_mode")
            .or_else(|| fields.get("server_mode"))
        {
            Some(&"standalone") => self.mode = Some(Mode::Standalone),
            Some(&"cluster") => self.mode = Some(Mode::Cluster),
            Some(&"sentinel") => self.mode = Some(Mode::Sentinel),
            _ => {}
        }
        if number("cluster_enabled") == Some(1) {
            self.mode = Some(Mode::Cluster);
        }
        if let Some(role_text) = fields.get("role") {
            self.role = role(role_text);
            if let (Some(Role::Replica(master)), Some(host), Some(port)) = (
                &mut self.role,
                fields.get("master_host"),
                fields.get("master_port"),
            ) {
                *master = Some(format!("{host}:{port}"));
            }
        }
        self.run_id = process_id(&fields);
        self.loading = number("loading").map(|n| n == 1);
        self.maxmemory = number("maxmemory");
        self.maxmemory_policy = fields.get("maxmemory_policy").map(|&text| text.to_owned());
        self.used_memory = number("used_memory");
        self.evicted_keys = number("evicted_keys");
        self.connected_replicas = number("connected_slaves");
        self.aof_enabled = number("aof_enabled").map(|n| n == 1);
        self.changes_since_save = number("rdb_changes_since_last_save");
        self.lasting_keys = Held::read(text).and_then(|held| held.lasting);
        // An empty server has the section's heading and no line below it.
        if text.contains("# Keyspace") {
            self.keys = Some(
                fields
                    .iter()
                    .filter_map(|(name, value)| {
                        let db = name.strip_prefix("db")?.parse().ok()?;
                        let keys = value.strip_prefix("keys=")?.split(',').next()?;
                        Some((db, keys.parse().ok()?))
                    })
                    .collect(),
            );
        }
    }

    fn ask_modules(&mut self, connection: &mut Connection) -> Result<()> {
        if self.modules.is_some() {
            return Ok(());
        }
        let before_modules = Version::new(4, 0, 0);
        if self.product == Some(Product::Redis) && self.version.is_some_and(|v| v < before_modules)
        {
            self.modules = Some(Vec::new());
            return Ok(());
        }
        let reply = connection.request(&[Arg::from("MODULE"), Arg::from("LIST")])?;
        self.modules = self
            .answer("MODULE LIST", reply)?
            .and_then(|r| r.array())
            .map(|modules| module_names(modules.iter()));
        Ok(())
    }

    fn ask_config(&mut self, connection: &mut Connection) -> Result<()> {
        let open = self.ask_setting(connection, "databases")?;
        self.databases = open.and_then(|text| text.parse().ok());
        let asked = [
            ("proto-max-bulk-len", false),
            ("client-query-buffer-limit", false),
            ("maxmemory", self.maxmemory.is_some()),
            ("maxmemory-policy", self.maxmemory_policy.is_some()),
        ];
        for (setting, known) in asked {
            // Closed once is closed for all settings, but for providers that open single ones.
            if known {
                continue;
            }
            let value = self.ask_setting(connection, setting)?;
            let number = value.as_deref().and_then(|text| text.parse().ok());
            match setting {
                "proto-max-bulk-len" => self.max_bulk = number,
                "client-query-buffer-limit" => self.max_query = number,
                "maxmemory" => self.maxmemory = number,
                _ => self.maxmemory_policy = value,
            }
        }
        Ok(())
    }

    fn ask_setting(
        &mut self,
        connection: &mut Connection,
        setting: &str,
    ) -> Result<Option<String>> {
        let reply =
            connection.request(&[Arg::from("CONFIG"), Arg::from("GET"), Arg::from(setting)])?;
        let pair = self
            .answer(&format!("CONFIG GET {setting}"), reply)?
            .and_then(|r| r.array());
        Ok(pair.and_then(|pair| pair.iter().nth(1)?.text().map(lossy)))
    }

    /// Databases by `SELECT` of the highest where their number is hidden, and their keys by `DBSIZE`.
    fn ask_dbs(&mut self, connection: &mut Connection, dbs: &[u64]) -> Result<()> {
        let counted = self.databases;
        if let Some(count) = counted {
            self.refused_db = dbs.iter().copied().filter(|db| *db >= count).min();
        }
        let wants_keys = self.keys.is_none();
        let home = connection.db();
        if self.mode == Some(Mode::Cluster) {
            // `databases` says nothing here: most clusters have the first one only.
            self.refused_db = None;
            for db in dbs.iter().copied().filter(|db| *db > 0).take(MOST_DBS) {
                if !self.try_select(connection, db)? {
                    self.refused_db = Some(db);
                    break;
                }
            }
            return connection.select(home);
        }
        if counted.is_some() && !wants_keys {
            return Ok(());
        }
        let mut sizes = BTreeMap::new();
        let mut all_known = true;
        let mut needed = dbs.to_vec();
        needed.sort_unstable();
        needed.dedup();
        if needed.is_empty() {
            needed.push(home);
        }
        // The highest tells for all. One that names thousands of databases is not asked about each.
        if !wants_keys || needed.len() > MOST_DBS {
            all_known = false;
            needed.drain(..needed.len().saturating_sub(1));
        }
        for db in needed {
            if counted.is_some_and(|count| db >= count) {
                continue;
            }
            if !self.try_select(connection, db)? {
                self.refused_db = Some(self.refused_db.map_or(db, |lowest| lowest.min(db)));
                continue;
            }
            if counted.is_none() {
                self.databases = Some(db.saturating_add(1));
            }
            if wants_keys {
                let reply = connection.request(&[Arg::from("DBSIZE")])?;
                match self.answer("DBSIZE", reply)?.and_then(|r| r.integer()) {
                    Some(size) => {
                        sizes.insert(db, u64::try_from(size).unwrap_or(0));
                    }
                    None => all_known = false,
                }
            }
        }
        if wants_keys && all_known {
            sizes.retain(|_, size| *size > 0);
            self.keys = Some(sizes);
        }
        connection.select(home)
    }

    fn try_select(&mut self, connection: &mut Connection, db: u64) -> Result<bool> {
        if connection.db() == db {
            return Ok(true);
        }
        match connection.select(db) {
            Ok(()) => Ok(true),
            Err(error) if connection.end().is_some() => Err(error),
            Err(error) if error.what().contains("BUSY ") => Err(error),
            Err(error) => {
                self.closed.push(Closed {
                    command: format!("SELECT {db}"),
                    words: error.what().to_owned(),
                });
                Ok(false)
            }
        }
    }

    fn ask_time(&mut self, connection: &mut Connection) -> Result<()> {
        let before = SystemTime::now();
        let reply = connection.request(&[Arg::from("TIME")])?;
        let round_trip = before.elapsed().unwrap_or_default();
        let Some(parts) = self.answer("TIME", reply)?.and_then(|r| r.array()) else {
            return Ok(());
        };
        self.round_trip = Some(round_trip);
        let mut parts = parts.iter().map(|part| part.integer());
        let (Some(Some(seconds)), Some(Some(micros))) = (parts.next(), parts.next()) else {
            return Ok(());
        };
        let there = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        let middle = before.checked_add(round_trip / 2).unwrap_or(before);
        if let Ok(here) = middle.duration_since(UNIX_EPOCH) {
            let here = i64::try_from(here.as_millis()).unwrap_or(i64::MAX);
            self.clock_ahead_ms = Some(there.saturating_sub(here));
        }
        Ok(())
    }

    /// An error reply closes the command, and its facts stay unknown; a few mean that nothing else will work either.
    fn answer<'r>(&mut self, command: &str, reply: Reply<'r>) -> Result<Option<Reply<'r>>> {
        let Reply::Error(words) = reply else {
            return Ok(Some(reply));
        };
        let shown = Escaped(words).to_string();
        match react(&reply, Asked::Probe, Situation::default()) {
            Reaction::Login => Err(Error::new(
                ErrorKind::Destination,
                format!("the destination wants a login: it says {shown}"),
            )
            .with_hint(super::LOG_IN)),
            Reaction::Stop => Err(Error::new(
                ErrorKind::Destination,
                format!("the destination refuses us: it says {shown}"),
            )
            .with_hint(if crate::resp::is_full(words) {
                crate::resp::FULL
            } else {
                "nothing was stored"
            })),
            // What is asked while a script runs is refused, all of it: that makes nothing known.
            Reaction::Retry(Wait::Script) => Err(busy(&shown)),
            Reaction::Retry(Wait::Loading) => {
                self.loading = Some(true);
                self.closed_by(command, shown);
                Ok(None)
            }
            _ => {
                self.closed_by(command, shown);
                Ok(None)
            }
        }
    }

    fn closed_by(&mut self, command: &str, words: String) {
        self.closed.push(Closed {
            command: command.to_owned(),
            words,
        });
    }
}

fn busy(shown: &str) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("the destination is busy: it says {shown}"),
    )
    .with_hint("wait until that is over")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn role(text: &str) -> Option<Role> {
    match text {
        "master" => Some(Role::Master),
        "slave" | "replica" => Some(Role::Replica(None)),
        _ => None,
    }
}

/// Each module is an array of pairs `name, …, ver, …`.
fn module_names<'r>(modules: impl Iterator<Item = Reply<'r>>) -> Vec<String> {
    modules
        .filter_map(|module| {
            let mut fields = module.array()?.iter();
            while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                if name.text() == Some(b"name") {
                    return value.text().map(lossy);
                }
            }
            None
        })
        .collect()
}
