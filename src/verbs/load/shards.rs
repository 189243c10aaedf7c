//! Where entries go: one endpoint, or the masters of a cluster, each with its slots.
//!
//! The map of slots is corrected while a pass runs ([`Shards::moved`]) as long as slots move between masters that are known.
//! A master that is not known ends the pass: it may have been promoted, and then what its predecessor acknowledged must be
//! looked up again, which [`super::Load::again`] does when it has asked for the map anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use super::again::{judge_asking, judge_connecting};
use super::standing::Standing;
use super::stop::{Ended, Why};
use super::{Options, eviction};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Cover;
use crate::replay::{Policies, Step};
use crate::resp::{Arg, Connection, Connector};
use crate::select::{slot_of, slot_of_name};
use crate::snapshot::{Entry, EntryPlace};
use crate::target::{Facts, Node, NodeMap, Role, SLOTS};
use crate::verbs::topology::{self, Where};

/// Whether the destination is taken for a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clustering {
    /// If it says so, and names more than one node.
    #[default]
    Auto,
    /// It must be one.
    Yes,
    /// One endpoint, whatever it says.
    No,
}

/// One master.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) connector: Connector,
    node: Option<Node>,
    pub(super) run_id: Option<String>,
    /// Its clock less ours.
    pub(super) clock_ahead_ms: Option<i64>,
    /// It had replicas at any time of this run.
    had_replicas: AtomicBool,
}

impl Shard {
    fn new(
        connector: Connector,
        node: Option<Node>,
        facts: &Facts,
        known: Option<&Shards>,
    ) -> Self {
        let before = known
            .into_iter()
            .flat_map(|known| &known.list)
            .find(|shard| shard.connector.address == connector.address);
        let had = before.is_some_and(|shard| shard.had_replicas.load(Ordering::Relaxed));
        Self {
            connector,
            node,
            run_id: facts.run_id.clone(),
            clock_ahead_ms: facts.clock_ahead_ms,
            had_replicas: AtomicBool::new(had || facts.connected_replicas.unwrap_or(0) > 0),
        }
    }

    /// What of the acknowledged survives. A master whose replicas are all gone may be the one that was cut off: then one of
    /// them is promoted, and its own disk counts for nothing.
    pub(super) fn cover(&self, standing: &Standing, lookback: Duration) -> Cover {
        if standing.connected.unwrap_or(0) > 0 {
            self.had_replicas.store(true, Ordering::Relaxed);
        } else if self.had_replicas.load(Ordering::Relaxed) {
            return Cover::Unknown;
        }
        standing.cover(lookback, self.clock_ahead_ms)
    }

    /// Whether it is another process than it was, or no master any more. Its connections may stay open all the same.
    pub(super) fn fails_over(&self, standing: &Standing) -> bool {
        let another = self.run_id.as_ref().zip(standing.run_id.as_ref());
        standing.is_master == Some(false) || another.is_some_and(|(before, now)| before != now)
    }
}

/// The destination.
#[derive(Debug)]
pub(super) struct Shards {
    list: Vec<Shard>,
    /// For each slot the index of its shard; `None` where everything goes to the only one.
    owners: Option<Box<[AtomicU16]>>,
    node_map: NodeMap,
}

/// What was found, with one open connection for each shard.
pub(super) struct Found {
    pub(super) shards: Shards,
    pub(super) connections: Vec<Connection>,
    /// What each shard is.
    pub(super) each: Vec<Facts>,
    /// What they are together.
    pub(super) facts: Facts,
}

impl Shards {
    /// Asks the destination at `connector`, or one of the nodes `known` from before, which shards there are. `also` are nodes
    /// without slots that keys were sent on to, `sample` is the name of a key.
    ///
    /// # Errors
    /// It cannot be reached, or cannot be loaded into now; with whether that may pass.
    pub(super) fn find(
        connector: &Connector,
        known: Option<&Self>,
        also: &BTreeSet<Node>,
        (dbs, sample): (&[u64], &[u8]),
        options: &Options,
    ) -> Result<Found, Ended> {
        let (mut connection, node, unreached) = Self::any(connector, known, options)?;
        let facts = ask_one(&mut connection, dbs, options)?;
        let as_typed = &connector.address.endpoint;
        let at = node.as_ref().map(|node| node.endpoint(as_typed));
        let place = Where {
            at: at.as_ref().unwrap_or(as_typed),
            map: &options.node_map,
            wanted: match options.cluster {
                Clustering::Auto => None,
                Clustering::Yes => Some(true),
                Clustering::No => Some(false),
            },
            sample,
            may_restore: true,
        };
        let topology = topology::find(&mut connection, &facts, place)
            .map_err(|error| judge_asking(&connection, error))?;
        let Some(topology) = topology else {
            // What is no cluster any more says nothing of the address as typed.
            if let Some(error) = unreached {
                return Err(judge_connecting(error));
            }
            refuse(&facts)?;
            let shard = Shard::new(connector.clone(), node, &facts, known);
            return Ok(Found {
                shards: Self {
                    list: vec![shard],
                    owners: None,
                    node_map: NodeMap::default(),
                },
                connections: vec![connection],
                each: vec![facts.clone()],
                facts,
            });
        };
        if let Some((count, ranges)) = topology.without_owner() {
            let error = Error::new(
                ErrorKind::Destination,
                format!("{count} of the cluster's {SLOTS} slots have no owner: {ranges}"),
            )
            .with_hint(
                "mend the cluster first (`redis-cli --cluster fix`): their keys have nowhere to go",
            );
            return Err(Ended {
                error,
                why: Some(Why::Busy),
            });
        }
        let mut first = node.zip(Some((connection, facts)));
        let mut found = (Vec::new(), Vec::new(), Vec::new());
        let without_slots = also.iter().filter(|node| !topology.masters.contains(node));
        let all = topology.masters.iter().map(|node| (node, true));
        for (node, needed) in all.chain(without_slots.map(|node| (node, false))) {
            let connector = to_node(connector, node);
            let opened = match first.take_if(|(first, _)| first == node) {
                Some((_, opened)) => Ok(opened),
                None => open(&connector, dbs, options),
            };
            let opened = opened.and_then(|(connection, facts)| {
                refuse(&facts)?;
                Ok((connection, facts))
            });
            let (mut connection, facts) = match opened {
                Ok(opened) => opened,
                Err(_) if !needed => continue,
                Err(ended) => {
                    let error = Error::new(
                        ended.error.kind(),
                        format!("node {node}: {}", ended.error.what()),
                    );
                    let error = match ended.error.hint() {
                        Some(hint) => error.with_hint(hint.to_owned()),
                        None if ended.why == Some(Why::Lost) => error.with_hint(
                            "the cluster calls it so: if it has another address from here, say --node-map A=B",
                        ),
                        None => error,
                    };
                    return Err(Ended { error, ..ended });
                }
            };
            demand_state(&mut connection, node)?;
            let shard = Shard::new(connector, Some(node.clone()), &facts, known);
            found.0.push(shard);
            found.1.push(connection);
            found.2.push(facts);
        }
        let (list, connections, each) = found;
        let owners = (0..SLOTS)
            .map(|slot| AtomicU16::new(topology.owner(slot).unwrap_or(0)))
            .collect();
        Ok(Found {
            shards: Self {
                list,
                owners: Some(owners),
                node_map: options.node_map.clone(),
            },
            connections,
            facts: Facts::together(&each),
            each,
        })
    }

    /// Connects to the address as typed, else to any node that was there before: then with the error of the first.
    fn any(
        connector: &Connector,
        known: Option<&Self>,
        options: &Options,
    ) -> Result<(Connection, Option<Node>, Option<Error>), Ended> {
        let node = Node::of(&connector.address.endpoint);
        let error = match connector.connect() {
            Ok(connection) => return Ok((connection, node, None)),
            Err(error) => error,
        };
        let known = known.filter(|known| known.is_cluster());
        let nodes = known.iter().flat_map(|known| &known.list);
        let nodes = nodes.filter_map(|shard| shard.node.clone());
        let earlier = options.nodes_before.iter().cloned();
        // A sentinel says itself where the master is.
        let others = nodes.chain(earlier).filter(|other| {
            connector.sentinel.is_none()
                && options.cluster != Clustering::No
                && node.as_ref() != Some(other)
        });
        for other in others {
            if let Ok(connection) = to_node(connector, &other).connect() {
                return Ok((connection, Some(other), Some(error)));
            }
        }
        Err(judge_connecting(error))
    }

    /// Keys go to different places.
    pub(super) fn is_cluster(&self) -> bool {
        self.owners.is_some()
    }

    /// The shards: at least one.
    pub(super) fn list(&self) -> &[Shard] {
        &self.list
    }

    /// The address of a shard.
    pub(super) fn name_of(&self, shard: usize) -> String {
        let shard = self.list.get(shard);
        shard.map_or(String::new(), |shard| shard.connector.address.to_string())
    }

    /// Connects to the shard that serves `key`.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) fn connect_for(&self, key: &[u8]) -> Result<Connection> {
        let shard = self.list.get(self.of_key(key)).or(self.list.first());
        shard
            .ok_or_else(|| Error::new(ErrorKind::Destination, "the destination has no shard"))?
            .connector
            .connect()
    }

    /// The shard that serves `key`.
    pub(super) fn of_key(&self, key: &[u8]) -> usize {
        match self.owners {
            Some(_) => self.of_slot(slot_of(key)),
            None => 0,
        }
    }

    fn of_slot(&self, slot: u16) -> usize {
        let owner = self.owners.iter().find_map(|o| o.get(usize::from(slot)));
        owner.map_or(0, |owner| usize::from(owner.load(Ordering::Relaxed)))
    }

    /// The shard that serves an entry under its name there. A name that cannot be read goes anywhere: it is refused there.
    pub(super) fn of_entry(
        &self,
        entry: &Entry<'_>,
        policies: &Policies,
        scratch: &mut Vec<u8>,
    ) -> usize {
        if self.owners.is_none() {
            return 0;
        }
        let names = &policies.transform.names;
        if names.is_identity() {
            return slot_of_name(&entry.key, scratch).map_or(0, |slot| self.of_slot(slot));
        }
        names
            .of(entry.db, &entry.key, scratch)
            .map_or(0, |key| self.of_key(key))
    }

    /// The shard that a reply of `from` calls `node`.
    pub(super) fn index_of(&self, node: &str, from: usize) -> Option<(Node, Option<usize>)> {
        let asked = self.list.get(from).and_then(|shard| shard.node.as_ref());
        let node = self.node_map.reached(Node::parse(node, asked)?);
        let index = self
            .list
            .iter()
            .position(|shard| shard.node.as_ref() == Some(&node));
        Some((node, index))
    }

    /// A slot is served by another shard now.
    pub(super) fn moved(&self, slot: u16, shard: usize) {
        if let Some(owner) = self.owners.iter().find_map(|o| o.get(usize::from(slot))) {
            owner.store(u16::try_from(shard).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// The processes that the shards are, by address.
    pub(super) fn run_ids(&self) -> BTreeMap<String, String> {
        self.list
            .iter()
            .filter_map(|shard| {
                let address = shard.connector.address.to_string();
                Some((address, shard.run_id.clone()?))
            })
            .collect()
    }

    /// A name that begins as `sample` does and belongs to `shard`: permissions for names that begin so cover it. A name with
    /// a hash tag cannot be moved to another slot, so of such a one the part before it is taken.
    pub(super) fn name_for(&self, shard: usize, sample: &[u8], nth: usize) -> Option<Vec<u8>> {
        if !self.is_cluster() {
            return (nth == 0).then(|| sample.to_vec());
        }
        let brace = sample.iter().position(|byte| *byte == b'{');
        let stem = sample.get(..brace.unwrap_or(sample.len()))?;
        (0u32..1 << 18)
            .map(|n| [stem, format!("~rdbridge~{n:x}").as_bytes()].concat())
            .filter(|name| self.of_key(name) == shard)
            .nth(nth)
    }

    /// Keys evicted since the servers started; `None` where one hides that.
    ///
    /// # Errors
    /// A connection fails.
    pub(super) fn evicted_keys(connections: &mut [Connection]) -> Result<Option<u64>> {
        let mut sum = Some(0u64);
        for connection in connections {
            let keys = eviction::evicted_keys(connection)?;
            sum = sum.zip(keys).map(|(sum, keys)| sum.saturating_add(keys));
        }
        Ok(sum)
    }

    /// Opens one connection to each shard.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) fn connect_all(&self) -> Result<Vec<Connection>> {
        self.list.iter().map(|s| s.connector.connect()).collect()
    }
}

/// Whether a process that was there before is gone, so that what it acknowledged may be, too.
pub(super) fn lost_one(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> bool {
    before
        .iter()
        .any(|(address, run_id)| now.get(address) != Some(run_id))
}

/// The way to a node, with the login of the address as typed.
fn to_node(connector: &Connector, node: &Node) -> Connector {
    let mut connector = connector.clone();
    connector.address.endpoint = node.endpoint(&connector.address.endpoint);
    connector.sentinel = None;
    connector
}

fn open(
    connector: &Connector,
    dbs: &[u64],
    options: &Options,
) -> Result<(Connection, Facts), Ended> {
    let mut connection = connector.connect().map_err(judge_connecting)?;
    let facts = ask_one(&mut connection, dbs, options)?;
    Ok((connection, facts))
}

fn ask_one(connection: &mut Connection, dbs: &[u64], options: &Options) -> Result<Facts, Ended> {
    let mut facts =
        Facts::gather(connection, dbs).map_err(|error| judge_asking(connection, error))?;
    if let Some(assumed) = options.assume {
        facts.assume(assumed);
    }
    Ok(facts)
}

fn refuse(facts: &Facts) -> Result<(), Ended> {
    let Some(error) = facts.refusal() else {
        return Ok(());
    };
    let why = match (&facts.role, facts.loading) {
        (Some(Role::Replica(_)), _) => Some(Why::Replica),
        (_, Some(true)) => Some(Why::Busy),
        _ => None,
    };
    Err(Ended { error, why })
}

/// While a part of a cluster is missing, the rest may refuse reads and writes.
fn demand_state(connection: &mut Connection, node: &Node) -> Result<(), Ended> {
    let reply = connection.request(&[Arg::from("CLUSTER"), Arg::from("INFO")]);
    let down = match &reply {
        Ok(reply) => reply
            .text()
            .is_some_and(|text| text.windows(18).any(|part| part == b"cluster_state:fail")),
        Err(_) => false,
    };
    if let Err(error) = reply {
        return Err(judge_asking(connection, error));
    }
    if !down {
        return Ok(());
    }
    Err(Ended {
        error: Error::new(
            ErrorKind::Destination,
            format!("the cluster is down, says node {node}"),
        )
        .with_hint("`redis-cli --cluster check` says what it lacks"),
        why: Some(Why::Busy),
    })
}

/// An entry that a node sent on: it is not finished, and goes once more in the same pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirect {
    pub(super) place: EntryPlace,
    /// The form that it goes in.
    pub(super) step: Step,
    /// The shard that takes it this once, after `ASKING`; else the owner of its slot does.
    pub(super) ask: Option<usize>,
}

/// What nodes sent on during a pass. No more wait than were under way when they were sent on.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    some: AtomicBool,
    waiting: Mutex<Vec<Redirect>>,
    /// Nodes that were named and are no shards of ours.
    unknown: Mutex<BTreeSet<Node>>,
    pub(super) moved: AtomicU64,
    pub(super) asked: AtomicU64,
}

impl Redirects {
    pub(super) fn add(&self, redirect: Redirect) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.push(redirect);
            self.some.store(true, Ordering::Release);
        }
    }

    pub(super) fn add_unknown(&self, node: Node) {
        if let Ok(mut unknown) = self.unknown.lock()
            && unknown.len() < MOST_UNKNOWN
        {
            unknown.insert(node);
        }
    }

    pub(super) fn unknown(&self) -> BTreeSet<Node> {
        let unknown = self.unknown.lock();
        unknown.map(|unknown| unknown.clone()).unwrap_or_default()
    }

    /// Whether any wait.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Vec<Redirect> {
        self.waiting.lock().map_or_else(
            |_| Vec::new(),
            |mut waiting| {
                self.some.store(false, Ordering::Release);
                std::mem::take(&mut waiting)
            },
        )
    }
}

/// Nodes that are remembered without being known: a cluster has a thousand at the most.
const MOST_UNKNOWN: usize = 1024;
