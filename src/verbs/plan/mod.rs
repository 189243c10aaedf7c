//! `plan`: what a load would do, before it: by which road each key would go and which would not, what is there already, what
//! it needs and how long it may take. Nothing is stored at the destination.
//!
//! Decisions are not guessed: they are made by the same [`Ladder`] under the same [`Terms`] as those of a load. What only the
//! destination's answer to a real payload could tell (a value that it refuses although it knows the type) is not foreseen.
//!
//! 1. [`Plan::ask`] asks a destination, or [`Plan::assume`] takes servers by name.
//! 2. [`Plan::look`] decides about every entry of an input, and asks whether its key is there.
//! 3. [`Plan::finish`] measures and adds up.

mod beside;
mod destination;
mod existing;
mod memory;
mod nodes;
mod provider;
mod rate;
mod roads;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use destination::{ClosedCommand, Destination, OtherRoad};
pub use existing::Existing;
pub use memory::{Fit, Memory, UNCERTAINTY};
pub use provider::Provider;
pub use rate::{Estimate, Measured};
pub use roads::{Group, Share};

use self::existing::Asker;
use self::nodes::{Nodes, Tried};
use self::roads::Roads;
use super::{Ticker, Watch};
use crate::duplicates::KeySet;
use crate::error::{Error, ErrorKind, Result};
use crate::name_room::NameRoom;
use crate::outcome::{Outcome, Tally};
use crate::pace::Rates;
use crate::replay::{
    self, Carried, Decision, Ladder, Policies, Step, Terms, carried, max_stall_ms,
};
use crate::resp::{Arg, Connector, Endpoint, pack};
use crate::select::Selection;
use crate::snapshot::{Dialect, Entry, Function, ModuleId, Record, Snapshot, ValueType};
use crate::survey::Survey;
use crate::target::{
    Acceptance, Assumed, Facts, NodeMap, Probed, Product, Version, functions_closed,
    has_key_patterns,
};
use crate::value::commands::LossCounts;
use crate::value::{Decoder, Exact};
use crate::verbs::Trust;
use crate::wire::crc64;

/// How to plan: what the load would be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Expiry, databases, `REPLACE`, what may be lost, the run's instant.
    pub policies: Policies,
    /// Try `RESTORE`. Without it the table by product and version tells.
    pub probe: bool,
    /// Measure round trip and rate.
    pub measure: bool,
    /// Ask about this share of the keys only whether they are there; `None`: about all.
    pub sample: Option<f64>,
    /// Function libraries are left out.
    pub skip_functions: bool,
    /// Cached Lua scripts go along.
    pub load_scripts: bool,
    /// The load may make the destination evict keys.
    pub allow_eviction: bool,
    /// Values go unwalked where they should be walked first.
    pub trust_input: bool,
    /// All values are walked.
    pub untrusted: bool,
    /// Damaged values are refused by name.
    pub skip_damaged: bool,
    /// For how long one value may hold the destination; as in a load.
    pub max_stall: Option<Duration>,
    /// The rates that the load is bound to.
    pub rates: Rates,
    /// Whether the destination is taken for a cluster; `None`: if it says so.
    pub cluster: Option<bool>,
    /// Where the nodes of a cluster are reached, if not where they say.
    pub node_map: NodeMap,
    /// Product and version by the user's word.
    pub assume: Option<Assumed>,
    /// Where large values are spooled.
    pub spool_dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            probe: true,
            measure: true,
            sample: None,
            skip_functions: false,
            load_scripts: false,
            allow_eviction: false,
            trust_input: false,
            untrusted: false,
            skip_damaged: false,
            max_stall: None,
            rates: Rates::default(),
            cluster: None,
            node_map: NodeMap::default(),
            assume: None,
            spool_dir: PathBuf::from("/tmp"),
        }
    }
}

/// A plan that is being made.
#[derive(Debug)]
pub struct Plan {
    options: Options,
    /// Servers that entries are decided for: the destination alone, or those that were named.
    servers: Vec<Server>,
    there: Option<There>,
    decoder: Decoder,
    for_commands: Decoder<Exact>,
    entries: u64,
    duplicates: u64,
    by_type: u64,
    functions: Functions,
    seen_functions: HashSet<u64>,
}

/// One server and what would become of the entries there.
#[derive(Debug)]
struct Server {
    name: String,
    knows_functions: bool,
    doubtful: u64,
    terms: Terms,
    ladder: Ladder,
    walk: Option<&'static str>,
    damaged: u64,
    first_damaged: Option<Error>,
    roads: Roads,
    commands: u64,
    bytes: u64,
    db: u64,
}

/// A destination that was asked.
#[derive(Debug)]
struct There {
    connector: Connector,
    endpoint: Endpoint,
    facts: Facts,
    destination: Destination,
    other_roads: Vec<OtherRoad>,
    scripts_closed: Option<String>,
    functions_closed: Option<String>,
    asker: Asker,
    in_the_way: Option<Error>,
}

/// Function libraries of the dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Functions {
    /// How many there are.
    pub found: u64,
    /// Left out, as the options say.
    pub skipped: u64,
    /// The same library again, from another input.
    pub repeated: u64,
    /// Those whose source cannot be read.
    pub damaged: u64,
    /// Those that the destination has already, by name.
    pub there: Vec<String>,
    /// The destination knows no functions, or takes none from us.
    pub refused: u64,
    /// Why it takes none from us, in its words.
    pub closed: Option<String>,
}

/// Cached Lua scripts of the dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scripts {
    /// How many there are.
    pub found: u64,
    /// Left out, as the options say.
    pub skipped: u64,
    /// Why none of the others goes, in the destination's words.
    pub closed: Option<String>,
}

/// What would become of the entries at one server.
#[derive(Debug, Clone, Serialize)]
pub struct ForServer {
    /// Its name.
    pub server: String,
    /// All entries, by what would become of each if no key existed there.
    pub outcomes: Tally,
    /// What goes as it is.
    pub raw: Share,
    /// What goes in an older form.
    pub reencoded: Share,
    /// What goes by plain commands.
    pub by_commands: Share,
    /// What does not go.
    pub refused: Share,
    /// The same by type and reason.
    pub groups: Vec<Group>,
    /// What keys that go would not carry.
    pub losses: LossCounts,
    /// Commands to be sent.
    pub commands: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Function libraries that do not go.
    pub functions_refused: u64,
    /// Values of modules among those that go raw of which nobody knows whether their module is there.
    pub doubtful: u64,
    /// Why values are walked before the first write, if they are.
    pub walk: Option<&'static str>,
}

impl ForServer {
    /// Whether everything that is wanted there can go, for all that is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.refused.keys == 0 && self.functions_refused == 0 && self.doubtful == 0
    }
}

/// A finished plan.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Entries of all inputs.
    pub entries: u64,
    /// Entries whose key stands earlier in the same database of the same input: only one of the values can be left.
    pub duplicates: u64,
    /// The destination, or each server that was named.
    pub servers: Vec<ForServer>,
    /// Function libraries.
    pub functions: Functions,
    /// Cached Lua scripts.
    pub scripts: Scripts,
    /// What was asked of a destination.
    #[serde(flatten)]
    pub there: Option<AtDestination>,
    /// What no load brings.
    pub not_in_file: Vec<String>,
    /// What must be made by hand.
    pub by_hand: Vec<String>,
}

impl Report {
    /// Whether a load that finds no key of the dump there would end without a finding.
    #[must_use]
    pub fn all_can_go(&self) -> bool {
        self.servers.iter().all(ForServer::is_whole)
            && self.functions.damaged == 0
            && self.duplicates == 0
            && self.functions.there.is_empty()
    }
}

/// What holds of the one destination that was asked.
#[derive(Debug, Serialize)]
pub struct AtDestination {
    /// What it is.
    pub destination: Destination,
    /// Roads that a load does not take.
    pub other_roads: Vec<OtherRoad>,
    /// What was known of its provider.
    pub provider: Option<Provider>,
    /// Whether the dump fits.
    pub memory: Memory,
    /// Keys that are there already.
    pub existing: Existing,
    /// What was measured.
    pub measured: Option<Measured>,
    /// How long it may take.
    pub estimate: Option<Estimate>,
    /// What starts to move there.
    pub wakes_up: Vec<String>,
    /// Why a load would not begin.
    #[serde(serialize_with = "as_text")]
    pub in_the_way: Option<Error>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn as_text<S: serde::Serializer>(
    error: &Option<Error>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    error
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

/// What the destination is, before the dump is read: with the clock by which a load would begin, that of the node which is
/// furthest ahead.
///
/// # Errors
/// Kind `Destination` where it cannot be reached, wants another login, or breaks off.
pub fn first_look(connector: &Connector, options: &Options) -> Result<Facts> {
    let nodes = Nodes::find(connector, (&[], b"rdbridge~probe"), options)?;
    let (_, _, _, facts) = nodes.into_parts();
    Ok(facts)
}

impl Plan {
    /// Asks a destination. What would keep a load from beginning is in the report, as far as it answers at all.
    ///
    /// # Errors
    /// Kind `Destination` where it cannot be reached, wants another login, or breaks off.
    pub fn ask(connector: Connector, surveys: &[Survey], options: Options) -> Result<Self> {
        let dbs: BTreeSet<u64> = surveys
            .iter()
            .flat_map(|survey| survey.dbs.keys())
            .map(|db| options.policies.db_map.get(*db))
            .collect();
        let dbs: Vec<u64> = dbs.into_iter().collect();
        let mut nodes = Nodes::find(&connector, (&dbs, Survey::sample(surveys)), &options)?;
        let (types, modules) = held(surveys);
        let Tried {
            probed,
            terms,
            fragile,
            doubtful,
        } = nodes.try_all(surveys, &dbs, &types, &modules, &options)?;
        let shards = nodes.count();
        let (mut connections, topology, in_the_way, facts) = nodes.into_parts();
        let first = connections.first_mut().ok_or_else(no_node)?;
        let mut destination = Destination::ask(first, &facts)?;
        destination.shards = shards as u64;
        destination.probed(&probed);
        let other_roads = destination.other_roads(first)?;
        let scripts = surveys.iter().any(|survey| survey.scripts > 0);
        let scripts_closed = match options.load_scripts && scripts {
            true => destination::scripts_closed(first)?,
            false => None,
        };
        let can_ask = options.probe && in_the_way.is_none();
        let libraries = surveys.iter().any(|survey| !survey.functions.is_empty());
        let functions_closed = match can_ask && libraries && !options.skip_functions {
            true => functions_closed(first)?,
            false => None,
        };
        let patterns = can_ask && probed.restore_closed.is_none() && has_key_patterns(first)?;
        let empty = facts.total_keys() == Some(0);
        if empty && !patterns || in_the_way.is_some() {
            connections.clear();
        }
        let asker = Asker::new(connections, topology, options.sample, empty, patterns)?;
        let mut server = Server::new(
            facts.name(),
            before_7(&facts) || functions_closed.is_some(),
            fragile,
            terms,
            surveys,
            &options,
        );
        server.doubtful = doubtful;
        Ok(Self::over(
            vec![server],
            Some(There {
                endpoint: connector.address.endpoint.clone(),
                connector,
                facts,
                destination,
                other_roads,
                scripts_closed,
                functions_closed,
                asker,
                in_the_way,
            }),
            options,
        ))
    }

    /// Plans for servers by name, from the table alone.
    #[must_use]
    pub fn assume(servers: &[Assumed], surveys: &[Survey], options: Options) -> Self {
        let (types, modules) = held(surveys);
        let many = servers.len() > 1;
        let servers = servers.iter().map(|assumed| {
            let mut facts = Facts::default();
            facts.assume(*assumed);
            // Modules that come with the server itself; others may be loaded there, which nobody knows here.
            let own = assumed.product == Product::Redis && assumed.version >= Version::new(8, 0, 0);
            facts.modules = Some(match own {
                true => vec!["vectorset".to_owned()],
                false => Vec::new(),
            });
            let probed = Probed::default();
            let acceptance = Acceptance::new(&facts, &probed);
            let mut terms = acceptance.terms_of_dump(&types, &modules);
            terms.commands = Some(acceptance.commands(max_stall_ms(options.max_stall, Some(0))));
            let name = match assumed.version.patch {
                0 => {
                    let version = assumed.version;
                    format!("{} {}.{}", assumed.product, version.major, version.minor)
                }
                _ => assumed.to_string(),
            };
            let fragile = !Acceptance::new(&facts, &probed).survives_bad_payloads();
            let server = Server::new(name, before_7(&facts), fragile, terms, surveys, &options);
            Server {
                // Of many servers each may want it or not: that is what naming one is for.
                walk: server.walk.filter(|_| !many),
                ..server
            }
        });
        Self::over(servers.collect(), None, options)
    }

    fn over(servers: Vec<Server>, there: Option<There>, options: Options) -> Self {
        Self {
            decoder: Decoder::new(Some(options.spool_dir.as_path())),
            for_commands: Decoder::with_findings(Some(options.spool_dir.as_path()), Exact),
            options,
            servers,
            there,
            entries: 0,
            duplicates: 0,
            by_type: 0,
            functions: Functions::default(),
            seen_functions: HashSet::new(),
        }
    }

    /// What the destination is, if one was asked.
    #[must_use]
    pub fn destination(&self) -> Option<&Destination> {
        self.there.as_ref().map(|there| &there.destination)
    }

    /// Decides about every entry of a dump that was surveyed before.
    ///
    /// # Errors
    /// Those of the reader, the selection and `watch`; the connection fails.
    pub fn look(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        selection: &mut Selection,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        selection.in_input(input);
        self.look_at_functions(snapshot, survey);
        let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
        let mut key = NameRoom::new(Some(&self.options.spool_dir));
        let mut records = snapshot.unverified_records();
        let mut keys = KeySet::new(&self.options.spool_dir).arriving(
            &self.options.policies.transform.names,
            &self.options.policies.db_map,
        );
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            self.entries = self.entries.saturating_add(1);
            ticker.tick(watch, entry.end(), self.entries)?;
            let selected = selection.admits(&entry, &mut scratch)?;
            if selected && self.there.is_some() {
                let bytes = memory::of_entry(&entry, &mut self.decoder);
                self.by_type = self.by_type.saturating_add(bytes);
            }
            let mut somewhere = false;
            for server in &mut self.servers {
                if !selected {
                    server.roads.outcomes.add(match selection.left_to_newer() {
                        true => Outcome::LeftToNewer,
                        false => Outcome::NotSelected,
                    });
                    continue;
                }
                let decoders = (&mut self.decoder, &mut self.for_commands);
                let goes = server.decide(&entry, &self.options, decoders, &mut key);
                somewhere |= goes.is_some();
                if let (Some(db), Some(there)) = (goes, &mut self.there) {
                    let name = self.options.policies.name_of(&entry, &mut key)?;
                    there.asker.ask(input, entry.ordinal, db, name)?;
                }
            }
            if somewhere {
                keys.add(&entry)?;
            }
        }
        let repeated = keys.finish(snapshot, records.dialect(), &self.options.spool_dir)?;
        self.duplicates = self.duplicates.saturating_add(repeated.len());
        Ok(())
    }

    /// What would become of the function libraries.
    fn look_at_functions(&mut self, snapshot: &Snapshot<'_>, survey: &Survey) {
        let there = self
            .there
            .as_ref()
            .and_then(|there| there.destination.functions.as_deref())
            .unwrap_or_default();
        let counts = &mut self.functions;
        for offset in &survey.functions {
            counts.found = counts.found.saturating_add(1);
            if self.options.skip_functions {
                counts.skipped = counts.skipped.saturating_add(1);
                continue;
            }
            let read = Function::at(snapshot.data(), *offset)
                .and_then(|library| Ok((replay::library_source(&library)?, library.name()?)));
            let Ok((source, name)) = read else {
                counts.damaged = counts.damaged.saturating_add(1);
                continue;
            };
            if !self.seen_functions.insert(crc64::checksum(&source)) {
                counts.repeated = counts.repeated.saturating_add(1);
                continue;
            }
            let name = String::from_utf8_lossy(&name.unwrap_or_default()).into_owned();
            if there.contains(&name) {
                counts.there.push(name);
            }
        }
    }

    /// Measures, and adds up.
    ///
    /// # Errors
    /// `Corrupt` where values are walked first and some are damaged, as a load ends then; the connection fails.
    pub fn finish(self, surveys: &[Survey]) -> Result<Report> {
        let Self {
            options,
            servers,
            there,
            by_type,
            entries,
            duplicates,
            mut functions,
            ..
        } = self;
        let libraries = functions
            .found
            .saturating_sub(functions.skipped)
            .saturating_sub(functions.repeated);
        let mut told = Vec::new();
        for mut server in servers {
            if let Some(error) = server.first_damaged.take() {
                return Err(damaged(error, &server));
            }
            let (raw, reencoded, by_commands) = server.roads.shares();
            told.push(ForServer {
                outcomes: server.roads.outcomes,
                raw,
                reencoded,
                by_commands,
                refused: server.roads.refused(),
                groups: server.roads.groups(&server.terms, &options.policies),
                losses: server.roads.losses,
                commands: server.commands,
                bytes: server.bytes,
                functions_refused: match server.knows_functions {
                    true => 0,
                    false => libraries,
                },
                doubtful: server.doubtful,
                walk: server.walk,
                server: server.name,
            });
        }
        let scripts_closed = there
            .as_ref()
            .and_then(|there| there.scripts_closed.clone());
        let there = match (there, told.first()) {
            (Some(there), Some(first)) => {
                functions.refused = first.functions_refused;
                functions.closed.clone_from(&there.functions_closed);
                Some(there.finish(first, by_type, surveys, &options)?)
            }
            _ => None,
        };
        let found = surveys.iter().map(|survey| survey.scripts).sum();
        Ok(Report {
            entries,
            duplicates,
            servers: told,
            functions,
            there,
            not_in_file: beside::not_in_file(surveys),
            by_hand: beside::by_hand(surveys, options.load_scripts),
            scripts: Scripts {
                found,
                skipped: if options.load_scripts { 0 } else { found },
                closed: scripts_closed,
            },
        })
    }
}

impl There {
    fn finish(
        self,
        share: &ForServer,
        by_type: u64,
        surveys: &[Survey],
        options: &Options,
    ) -> Result<AtDestination> {
        let existing = self.asker.finish()?;
        let memory = Memory::judge(surveys, by_type, &self.facts);
        let mut in_the_way = self.in_the_way;
        if memory.would_evict && !options.allow_eviction {
            in_the_way.get_or_insert_with(|| {
                Error::new(
                    ErrorKind::Destination,
                    format!(
                        "the destination's policy is {}, it has {} bytes free and this dump needs about {}: it would evict keys",
                        memory.policy.as_deref().unwrap_or("an evicting one"),
                        memory.free.unwrap_or(0),
                        memory.needed
                    ),
                )
                .with_hint("raise maxmemory there, choose fewer keys, or say --allow-eviction")
            });
        }
        let measured = match options.measure && in_the_way.is_none() {
            true => {
                let each = share.bytes.checked_div(share.commands).unwrap_or(100);
                let mut connector = self.connector;
                let trace = connector.trace.take();
                let measured = rate::measure(connector.connect()?, share.commands, each)?;
                if let Some(trace) = trace {
                    // Once for all of them.
                    trace(&["ECHO", &format!("({} bytes)", measured.bytes_each)].map(Arg::from));
                }
                Some(measured)
            }
            false => None,
        };
        let bounds = rate::Bounds {
            rates: options.rates,
            replicas: self.facts.connected_replicas,
            shards: self.destination.shards,
        };
        let estimate = measured
            .as_ref()
            .and_then(|measured| rate::estimate(measured, share.commands, share.bytes, bounds));
        let provider = match &self.endpoint {
            Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } => provider::of_host(host),
            _ => None,
        };
        Ok(AtDestination {
            wakes_up: beside::wakes_up(&self.destination),
            destination: self.destination,
            other_roads: self.other_roads,
            provider,
            memory,
            existing,
            measured,
            estimate,
            in_the_way,
        })
    }
}

impl Server {
    fn new(
        name: String,
        before_functions: bool,
        fragile: bool,
        terms: Terms,
        surveys: &[Survey],
        options: &Options,
    ) -> Self {
        let trust = Trust {
            trust_input: options.trust_input,
            untrusted: options.untrusted,
            skip_damaged: options.skip_damaged,
        };
        let verified = surveys.iter().all(Survey::is_verified);
        let walk = trust.why_walk(verified, fragile);
        Self {
            name,
            knows_functions: !before_functions,
            doubtful: 0,
            terms,
            ladder: Ladder::new(Some(options.spool_dir.as_path())),
            walk,
            damaged: 0,
            first_damaged: None,
            roads: Roads::default(),
            commands: 0,
            bytes: 0,
            db: 0,
        }
    }

    /// Counts an entry. Gives the database that it would go to, if it goes.
    fn decide(
        &mut self,
        entry: &Entry<'_>,
        options: &Options,
        (decoder, for_commands): (&mut Decoder, &mut Decoder<Exact>),
        key: &mut NameRoom,
    ) -> Option<u64> {
        let policies = &options.policies;
        let (form, bytes) = (entry.form(), entry.value.len() as u64);
        if self.walk.is_some()
            && !options.skip_damaged
            && let Err(error) = decoder.validate(entry)
        {
            self.damaged = self.damaged.saturating_add(1);
            self.first_damaged.get_or_insert(error);
        }
        let mut decided = self.ladder.decide(entry, &self.terms, policies, Step::RAW);
        if let Decision::Commands(by) = &decided {
            match carried(for_commands, entry, by, &self.terms, policies) {
                Ok(Carried::Goes(how)) => {
                    if let Err(error) = policies.name_of(entry, key) {
                        let words = format!("its name cannot be read: {}", error.what());
                        self.roads.skip(form, Outcome::Refused, &words, bytes);
                        return None;
                    }
                    // What is built is asked about and renamed.
                    let commands = match how.at_once {
                        true => 1,
                        false => how.commands.saturating_add(2),
                    };
                    let db = by.db;
                    self.roads.send(form, Step::COMMANDS, how.bytes, how.losses);
                    self.commands = self
                        .commands
                        .saturating_add(commands)
                        .saturating_add(u64::from(db != self.db));
                    self.db = db;
                    self.bytes = self.bytes.saturating_add(how.bytes);
                    return Some(db);
                }
                Ok(Carried::Whole(_)) => {
                    decided = self
                        .ladder
                        .decide(entry, &self.terms, policies, Step::WHOLE);
                }
                Ok(Carried::Refused(words)) => {
                    self.roads.skip(form, Outcome::Refused, &words, bytes);
                    return None;
                }
                Ok(Carried::Empty) => {
                    self.roads.skip(form, Outcome::Empty, "", bytes);
                    return None;
                }
                Err(error) => {
                    self.roads.skip(form, Outcome::Refused, error.what(), bytes);
                    return None;
                }
            }
        }
        let restore = match decided {
            Decision::Send(restore) => restore,
            Decision::Commands(by) => {
                self.roads.skip(form, Outcome::Refused, &by.why, bytes);
                return None;
            }
            Decision::Skip(outcome, reason) => {
                self.roads.skip(form, outcome, &reason, bytes);
                return None;
            }
        };
        let mut refuse = |reason: &str| {
            self.roads.skip(form, Outcome::Refused, reason, bytes);
            None
        };
        if self.walk.is_some()
            && options.skip_damaged
            && let Err(error) = decoder.validate(entry)
        {
            return refuse(&format!("its value cannot be walked: {}", error.what()));
        }
        let name = match policies.name_of(entry, key) {
            Ok(name) => name,
            Err(error) => return refuse(&format!("its name cannot be read: {}", error.what())),
        };
        let packed = restore.with_args("RESTORE", name, policies.now_ms, |args| {
            Ok(pack::packed_len(args) as u64)
        });
        let packed = packed.unwrap_or(bytes);
        self.roads.send(form, restore.step, packed, restore.losses);
        // One that goes under another name first is renamed.
        let commands = 1 + u64::from(self.terms.stages_payloads(policies));
        self.commands = self
            .commands
            .saturating_add(commands)
            .saturating_add(u64::from(restore.db != self.db));
        self.db = restore.db;
        self.bytes = self.bytes.saturating_add(packed);
        Some(restore.db)
    }
}

#[cold]
fn damaged(first: Error, server: &Server) -> Error {
    first.with_hint(format!(
        "values are walked since {}; {} damaged in all: `rdbridge check` lists them, --skip-damaged plans for the others",
        server.walk.unwrap_or_default(),
        server.damaged
    ))
}

#[cold]
fn no_node() -> Error {
    Error::new(ErrorKind::Destination, "the destination has no shard")
}

/// Selected values of modules of which nobody knows whether they are taken.
fn doubtful(acceptance: &Acceptance<'_>, surveys: &[Survey]) -> u64 {
    surveys
        .iter()
        .flat_map(|survey| &survey.modules)
        .filter(|(module, _)| acceptance.is_doubtful(**module))
        .fold(0, |sum, (_, values)| sum.saturating_add(*values))
}

/// Functions came with Redis 7.0.
fn before_7(facts: &Facts) -> bool {
    facts.product == Some(Product::Redis)
        && facts.version.is_some_and(|v| v < Version::new(7, 0, 0))
}

/// Types and modules of all inputs.
fn held(surveys: &[Survey]) -> (Vec<(ValueType, Dialect)>, Vec<ModuleId>) {
    let mut types: Vec<_> = surveys
        .iter()
        .flat_map(Survey::types)
        .map(|(dialect, value_type, _)| (value_type, dialect))
        .collect();
    types.sort_unstable_by_key(|(value_type, dialect)| (*value_type, *dialect as u8));
    types.dedup();
    let modules: BTreeSet<ModuleId> = surveys
        .iter()
        .flat_map(|survey| survey.modules.keys().copied())
        .collect();
    (types, modules.into_iter().collect())
}
