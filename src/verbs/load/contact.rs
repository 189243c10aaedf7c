//! The first contact: what can be refused is refused before hours are spent on reading.

use std::collections::BTreeSet;

use super::stop::Why;
use crate::error::{Error, ErrorKind, Result};
use crate::resp::Connector;
use crate::select::Selection;
use crate::snapshot::{Record, Snapshot};
use crate::target::{Facts, probe};

use super::Options;
use super::shards::{Found, Shards};

/// The name of a key, and the database that it goes to.
pub type Peeked = (u64, Vec<u8>);

/// A longer name is not peeked at.
const LONGEST_NAME: u64 = 1024;

/// The first selected key that stands whole in `head`, the beginning of a dump. Damage is no matter here: the survey tells.
#[must_use]
pub fn peek(head: &[u8], selection: &mut Selection, options: &Options) -> Option<Peeked> {
    let snapshot = Snapshot::parse(head).ok()?;
    let (mut records, mut scratch) = (snapshot.unverified_records(), Vec::new());
    while let Some(record) = records.next_record().ok()? {
        if let Record::Entry(entry) = record
            && selection.admits(&entry, &mut scratch).ok()?
            && entry.key.len() <= LONGEST_NAME
        {
            let db = options.policies.db_map.get(entry.db);
            let names = &options.policies.transform.names;
            let name = names.of(entry.db, &entry.key, &mut scratch).ok()?;
            return Some((db, name.to_vec()));
        }
    }
    None
}

/// Asks the destination what it is before any input is read: a wrong password, a cluster, a replica, a server that is loading
/// or forbids `RESTORE` is told now. With `key`, the beginning of what is to be loaded, `RESTORE` is tried under a name that
/// the user's rights should cover. The connection is not kept: services cut those that idle. Nothing is stored.
///
/// # Errors
/// As [`super::Load::begin`].
pub fn first_contact(
    connector: &Connector,
    options: &Options,
    key: Option<Peeked>,
) -> Result<Facts> {
    let dbs: Vec<u64> = key.iter().map(|(db, _)| *db).collect();
    let (db, name) = key.unwrap_or_else(|| (0, b"rdbridge~probe".to_vec()));
    let mut found = ask(connector, (&dbs, &name), options)?;
    let shard = found.shards.of_key(&name);
    if let Some((connection, facts)) = found.connections.get_mut(shard).zip(found.each.get(shard)) {
        connection.select(db).map_err(open_db)?;
        // One name that is closed tells nothing of the others.
        let probed = probe(connection, facts, "RESTORE", &name, &[])?;
        let replace = options.on_conflict == super::OnConflict::Replace;
        if probed.restore_closed.is_some()
            && let Some(refusal) = probed.refusal(connection, &name, replace)?
        {
            return Err(refusal);
        }
    }
    Ok(found.facts)
}

/// Connects, and refuses what cannot be loaded into.
pub(super) fn ask(
    connector: &Connector,
    dbs_and_sample: (&[u64], &[u8]),
    options: &Options,
) -> Result<Found> {
    let none = BTreeSet::new();
    let found = Shards::find(connector, None, &none, dbs_and_sample, options).map_err(|ended| {
        let error = ended.error;
        match error.hint() {
            None if error.kind() == ErrorKind::Destination && ended.why == Some(Why::Lost) => error
                .with_hint(
                    "nothing was sent: is the address right, does a server listen there, and is the way to it open",
                ),
            _ => error,
        }
    })?;
    if options.require_empty {
        demand_empty(&found.facts)?;
    }
    Ok(found)
}

/// A database that cannot be selected.
#[cold]
pub(super) fn open_db(error: Error) -> Error {
    error.with_hint("put the keys into a database that is open, with --map-db")
}

fn demand_empty(facts: &Facts) -> Result<()> {
    let refuse = |what: String| Err(Error::new(ErrorKind::Destination, what));
    match facts.total_keys() {
        Some(0) => Ok(()),
        Some(keys) => refuse(format!(
            "the destination holds {}, and --require-empty was given",
            crate::units::keys(keys)
        )),
        None => refuse(
            "the destination does not say how many keys it holds, and --require-empty was given"
                .to_owned(),
        ),
    }
}
