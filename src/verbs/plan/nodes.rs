//! The nodes that a load would write to: one endpoint, or the masters of a cluster.

use crate::error::{Error, ErrorKind, Result};
use crate::replay::{Terms, max_stall_ms};
use crate::resp::{Connection, Connector};
use crate::select::slot_of;
use crate::snapshot::{Dialect, ModuleId, ValueType};
use crate::survey::Survey;
use crate::target::accept::with_older_forms;
use crate::target::{Acceptance, Facts, Probed, SLOTS, Topology, probe};
use crate::verbs::topology::{self, Where};

use super::Options;

/// Names that are tried on one node, and numbers that are looked through for one.
const NAMES: usize = 8;
const NUMBERS: u32 = 1 << 18;

/// What was found, with an open connection to each node.
pub(super) struct Nodes {
    pub(super) connections: Vec<Connection>,
    /// What they are together.
    pub(super) facts: Facts,
    /// Why nothing could be loaded.
    pub(super) in_the_way: Option<Error>,
    each: Vec<Facts>,
    topology: Option<Topology>,
}

/// What was tried on all of them.
pub(super) struct Tried {
    pub(super) probed: Probed,
    pub(super) terms: Terms,
    /// One of them can end on a bad payload.
    pub(super) fragile: bool,
    /// Values of modules that may not be there.
    pub(super) doubtful: u64,
}

impl Nodes {
    /// Connects to the destination, and to the masters of a cluster; `sample` is the name of a key.
    ///
    /// # Errors
    /// Kind `Destination` where one cannot be reached or breaks off.
    pub(super) fn find(
        connector: &Connector,
        (dbs, sample): (&[u64], &[u8]),
        options: &Options,
    ) -> Result<Self> {
        let mut connection = connector.connect().map_err(|error| match error.hint() {
            None if error.kind() == ErrorKind::Destination => error.with_hint(
                "nothing was sent: is the address right, does a server listen there, and is the way to it open",
            ),
            _ => error,
        })?;
        let facts = gather(&mut connection, dbs, options)?;
        let place = Where {
            at: &connector.address.endpoint,
            map: &options.node_map,
            wanted: options.cluster,
            sample,
            may_restore: options.probe,
        };
        let mut in_the_way = None;
        let topology = match topology::find(&mut connection, &facts, place) {
            Ok(found) => found,
            Err(error) if connection.end().is_some() => return Err(error),
            Err(error) => {
                in_the_way = Some(error);
                None
            }
        };
        let Some(topology) = topology else {
            return Ok(Self {
                connections: vec![connection],
                in_the_way: in_the_way.or_else(|| facts.refusal()),
                each: vec![facts.clone()],
                facts,
                topology: None,
            });
        };
        if let Some((count, ranges)) = topology.without_owner() {
            let error = Error::new(
                ErrorKind::Destination,
                format!("{count} of the cluster's {SLOTS} slots have no owner: {ranges}"),
            );
            in_the_way = Some(error.with_hint(
                "mend the cluster first (`redis-cli --cluster fix`): their keys have nowhere to go",
            ));
        }
        let (mut connections, mut each) = (Vec::new(), Vec::new());
        for node in &topology.masters {
            let mut connector = connector.clone();
            connector.address.endpoint = node.endpoint(&connector.address.endpoint);
            connector.sentinel = None;
            let of_node = |error: Error| {
                let told = Error::new(error.kind(), format!("node {node}: {}", error.what()));
                match error.hint() {
                    Some(hint) => told.with_hint(hint.to_owned()),
                    None => told,
                }
            };
            let mut connection = connector.connect().map_err(of_node)?;
            let facts = gather(&mut connection, dbs, options).map_err(of_node)?;
            in_the_way = in_the_way.or_else(|| facts.refusal().map(of_node));
            connections.push(connection);
            each.push(facts);
        }
        if connections.is_empty() {
            // No slot has an owner: this node is all there is to ask.
            connections.push(connection);
            each.push(facts);
        }
        Ok(Self {
            connections,
            facts: Facts::together(&each),
            in_the_way,
            each,
            topology: Some(topology),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }

    /// Which node each slot belongs to, where they are several.
    pub(super) fn into_parts(self) -> (Vec<Connection>, Option<Topology>, Option<Error>, Facts) {
        (self.connections, self.topology, self.in_the_way, self.facts)
    }

    /// Tries what each takes, as a load does; where something is in the way, or nothing is to be tried, the table tells.
    ///
    /// # Errors
    /// A connection fails.
    pub(super) fn try_all(
        &mut self,
        surveys: &[Survey],
        dbs: &[u64],
        types: &[(ValueType, Dialect)],
        modules: &[ModuleId],
        options: &Options,
    ) -> Result<Tried> {
        let asked = with_older_forms(types);
        let mut all: Option<Tried> = None;
        for (index, (connection, facts)) in self.connections.iter_mut().zip(&self.each).enumerate()
        {
            let mut probed = Probed::default();
            if options.probe && self.in_the_way.is_none() {
                let name_for = |key: &[u8], nth| name_for(self.topology.as_ref(), index, key, nth);
                match try_one(connection, facts, surveys, dbs, &asked, name_for, options) {
                    Ok(found) => probed = found,
                    Err(error) if connection.end().is_some() => return Err(error),
                    Err(error) => self.in_the_way = Some(error),
                }
                if self.in_the_way.is_none() {
                    self.in_the_way =
                        elsewhere(connection.name(), &probed, self.topology.is_some());
                }
                if self.in_the_way.is_none() {
                    let sample = surveys.iter().flat_map(|s| &s.samples).next();
                    let sample = sample.map_or(&b"rdbridge"[..], |(_, key)| key);
                    let name = self::name_for(self.topology.as_ref(), index, sample, 0);
                    let name = name.as_deref().unwrap_or(sample);
                    let replace = options.policies.replace;
                    self.in_the_way = probed.refusal(connection, name, replace)?;
                }
            }
            let acceptance = Acceptance::new(facts, &probed);
            let mut terms = acceptance.terms_of_dump(types, modules);
            let max_stall = max_stall_ms(options.max_stall, self.facts.total_keys());
            terms.commands = Some(acceptance.commands(max_stall));
            let fragile = !acceptance.survives_bad_payloads();
            let doubtful = super::doubtful(&acceptance, surveys);
            all = Some(match all.take() {
                None => Tried {
                    probed,
                    terms,
                    fragile,
                    doubtful,
                },
                Some(mut all) => {
                    // What one does not take is taken nowhere: a slot may move while the load runs.
                    all.terms.narrow(&terms, types, modules, connection.name());
                    all.terms.narrow(&terms, &asked, modules, connection.name());
                    all.fragile |= fragile;
                    all.doubtful = all.doubtful.max(doubtful);
                    all.probed.sent = all.probed.sent.saturating_add(probed.sent);
                    all
                }
            });
        }
        all.ok_or_else(|| Error::new(ErrorKind::Destination, "the destination has no shard"))
    }
}

fn gather(connection: &mut Connection, dbs: &[u64], options: &Options) -> Result<Facts> {
    let mut facts = Facts::gather(connection, dbs)?;
    if let Some(assumed) = options.assume {
        facts.assume(assumed);
    }
    Ok(facts)
}

/// A name that begins as `key` does and belongs to a node. One with a hash tag cannot be moved to another slot: of such a
/// one the part before it is taken.
fn name_for(topology: Option<&Topology>, node: usize, key: &[u8], nth: usize) -> Option<Vec<u8>> {
    let Some(topology) = topology else {
        return (nth == 0).then(|| key.to_vec());
    };
    let brace = key.iter().position(|byte| *byte == b'{');
    let stem = key.get(..brace.unwrap_or(key.len()))?;
    (0..NUMBERS)
        .map(|n| [stem, format!("~rdbridge~{n:x}").as_bytes()].concat())
        .filter(|name| topology.owner(slot_of(name)).map(usize::from) == Some(node))
        .nth(nth)
}

fn elsewhere(name: &str, probed: &Probed, in_cluster: bool) -> Option<Error> {
    let words = probed.elsewhere.as_ref()?;
    let error = Error::new(
        ErrorKind::Destination,
        format!("{name}: the destination says {words}"),
    );
    Some(match in_cluster {
        true => error.with_hint("its slots are being moved: try again when that is done"),
        false => error.with_hint("it is a node of a cluster: say --cluster auto"),
    })
}

/// Tries what one node takes.
fn try_one(
    connection: &mut Connection,
    facts: &Facts,
    surveys: &[Survey],
    dbs: &[u64],
    asked: &[(ValueType, Dialect)],
    name_for: impl Fn(&[u8], usize) -> Option<Vec<u8>>,
    options: &Options,
) -> Result<Probed> {
    let home = connection.db();
    // Databases that were counted may still be closed to this user.
    if let Some(highest) = dbs.last() {
        connection.select(*highest).map_err(|error| {
            error.with_hint("put the keys into a database that is open, with --map-db")
        })?;
    }
    let mut probed = Probed::default();
    // A user may have the right to some names only: those keys arrive, the others fail.
    let mut samples = surveys
        .iter()
        .flat_map(|survey| &survey.samples)
        .map(|(db, key)| (options.policies.db_map.get(*db), key.as_slice()))
        .peekable();
    // A dump may hold nothing but libraries.
    let none = samples
        .peek()
        .is_none()
        .then_some((home, &b"rdbridge~probe"[..]));
    'samples: for (db, key) in samples.chain(none) {
        connection.select(db)?;
        // A slot that is being moved sends every probe on: then a name in another one is tried.
        for nth in 0..NAMES {
            let Some(name) = name_for(key, nth) else {
                break;
            };
            probed = probe(connection, facts, "RESTORE", &name, asked)?;
            match (&probed.elsewhere, &probed.key_closed) {
                (Some(_), _) => {}
                (None, None) => break 'samples,
                (None, Some(_)) => break,
            }
        }
    }
    connection.select(home)?;
    Ok(probed)
}
