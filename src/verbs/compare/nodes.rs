//! Where keys are asked for: one endpoint, or each at the master of its slot.

use super::Options;
use crate::error::{Error, ErrorKind, Result};
use crate::resp::{Connection, Connector};
use crate::select::{slot_of, slot_of_name};
use crate::snapshot::Entry;
use crate::target::{Facts, Role, Topology};
use crate::transform::Naming;
use crate::verbs::topology::{self, Where};

/// The servers that are read; at least one.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) connectors: Vec<Connector>,
    /// Whose each slot is, where they are several.
    topology: Option<Topology>,
}

/// What was found, with one open connection for each.
pub(super) struct Found {
    pub(super) nodes: Nodes,
    pub(super) connections: Vec<Connection>,
    /// What they are together.
    pub(super) facts: Facts,
}

impl Nodes {
    /// Asks the destination which servers there are; `sample` is the name of a key.
    ///
    /// # Errors
    /// Kind `Destination` where one cannot be reached or read.
    pub(super) fn find(
        connector: &Connector,
        (dbs, sample): (&[u64], &[u8]),
        options: &Options,
    ) -> Result<Found> {
        let mut connection = connector.connect()?;
        let facts = Facts::gather(&mut connection, dbs)?;
        let place = Where {
            at: &connector.address.endpoint,
            map: &options.node_map,
            wanted: options.cluster,
            sample,
            may_restore: false,
        };
        let Some(topology) = topology::find(&mut connection, &facts, place)? else {
            readable(&facts)?;
            return Ok(Found {
                nodes: Self {
                    connectors: vec![connector.clone()],
                    topology: None,
                },
                connections: vec![connection],
                facts,
            });
        };
        if let Some((count, ranges)) = topology.without_owner() {
            return Err(Error::new(
                ErrorKind::Destination,
                format!("{count} of the cluster's slots have no owner: {ranges}"),
            )
            .with_hint(
                "mend the cluster first (`redis-cli --cluster fix`): nobody tells of their keys",
            ));
        }
        let (mut connectors, mut connections, mut each) = (Vec::new(), Vec::new(), Vec::new());
        for node in &topology.masters {
            let mut connector = connector.clone();
            connector.address.endpoint = node.endpoint(&connector.address.endpoint);
            connector.sentinel = None;
            let of_node = |error: Error| {
                let told = Error::new(error.kind(), format!("node {node}: {}", error.what()));
                told.with_hint(
                    "the cluster calls it so: if it has another address from here, say --node-map A=B",
                )
            };
            let mut connection = connector.connect().map_err(of_node)?;
            let facts = Facts::gather(&mut connection, dbs).map_err(of_node)?;
            readable(&facts)?;
            connectors.push(connector);
            connections.push(connection);
            each.push(facts);
        }
        Ok(Found {
            facts: Facts::together(&each),
            connections,
            nodes: Self {
                connectors,
                topology: Some(topology),
            },
        })
    }

    /// Keys are asked for at different places.
    pub(super) fn is_cluster(&self) -> bool {
        self.topology.is_some()
    }

    /// The server that tells of a key.
    pub(super) fn of_key(&self, key: &[u8]) -> usize {
        self.of_slot(slot_of(key))
    }

    fn of_slot(&self, slot: u16) -> usize {
        self.topology
            .as_ref()
            .and_then(|topology| topology.owner(slot))
            .map_or(0, usize::from)
    }

    /// The same of an entry. A name that cannot be read goes anywhere: it is judged there.
    pub(super) fn of_entry(
        &self,
        entry: &Entry<'_>,
        names: &Naming,
        scratch: &mut Vec<u8>,
    ) -> usize {
        match &self.topology {
            None => 0,
            Some(_) if names.is_identity() => {
                slot_of_name(&entry.key, scratch).map_or(0, |slot| self.of_slot(slot))
            }
            Some(_) => names
                .of(entry.db, &entry.key, scratch)
                .map_or(0, |key| self.of_key(key)),
        }
    }
}

/// A replica can be read as well as its master.
fn readable(facts: &Facts) -> Result<()> {
    let mut readable = facts.clone();
    if let Some(Role::Replica(_)) = readable.role {
        readable.role = None;
    }
    readable.refusal().map_or(Ok(()), Err)
}
