//! The masters behind a destination, where it is a cluster: as it tells, or found out by asking about a key in each slot.
//!
//! A user who may not run `CLUSTER` is sent on by `MOVED` all the same. What would meet that in the midst of a load has it
//! before the first write.

use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Connection, Endpoint, Reply, Talk, Token};
use crate::select::slot_of;
use crate::target::topology::{down, is_down};
use crate::target::{
    Asked, Facts, Mode, NO_PAYLOAD, Node, NodeMap, Reaction, Role, SLOTS, Situation, Topology,
    react,
};

/// Slots that are asked about where nothing says that there is a cluster.
const SPREAD: usize = 64;

/// Questions that are sent before their answers are taken.
const AT_ONCE: usize = 1024;

/// Where a cluster is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Where<'a> {
    /// The node that is asked.
    pub(super) at: &'a Endpoint,
    /// Where the others are reached.
    pub(super) map: &'a NodeMap,
    /// Whether it is one, by the user's word.
    pub(super) wanted: Option<bool>,
    /// The name of a key: permissions for names that begin so cover what is asked about.
    pub(super) sample: &'a [u8],
    /// `RESTORE` may be tried, with a payload that no server takes.
    pub(super) may_restore: bool,
}

/// The masters; `None` where keys go to the node that was asked, all of them.
///
/// # Errors
/// The connection fails; `Destination` where the answers cannot be read, the cluster is down, or nothing tells of it.
pub(super) fn find(
    connection: &mut Connection,
    facts: &Facts,
    place: Where<'_>,
) -> Result<Option<Topology>> {
    let is_cluster = facts.mode == Some(Mode::Cluster);
    let sure = place.wanted.unwrap_or(is_cluster);
    // What says that it stands alone is believed.
    if !sure && place.wanted.is_none() && facts.mode.is_some() {
        return Ok(None);
    }
    if place.wanted == Some(false) {
        return match facts.mode {
            Some(Mode::Standalone | Mode::Sentinel) => Ok(None),
            _ => demand_all_slots(connection, place, is_cluster).map(|()| None),
        };
    }
    let found = match Topology::ask(connection, place.at, place.map)? {
        Some(told) => Some(told),
        None => sent_on(connection, place, sure)?.map(|owners| Topology::of_owners(&owners)),
    };
    let is_replica = matches!(facts.role, Some(Role::Replica(_)));
    let is_one = match &found {
        Some(found) => found.masters.len() > 1 || found.without_owner().is_some() || is_replica,
        None => false,
    };
    if !is_one && !is_cluster && found.is_none() && place.wanted == Some(true) {
        return Err(Error::new(
            ErrorKind::Destination,
            "the destination answers neither CLUSTER SLOTS nor CLUSTER SHARDS, it sends no key on to another node, \
             and --cluster yes was given",
        ));
    }
    Ok(found.filter(|_| is_one))
}

/// Refuses a node that sends keys on to others, where it was to be taken for itself alone: the load would break off at the
/// first of them. What it only says of itself, as a proxy before a cluster does, is in nobody's way.
fn demand_all_slots(connection: &mut Connection, place: Where<'_>, is_cluster: bool) -> Result<()> {
    let names = names(place.sample);
    let mut words: Option<String> = None;
    let mut judge = |_: u16, reply: &Reply<'_>| -> Result<bool> {
        let says = reply.error().unwrap_or_default();
        let elsewhere = says.starts_with(b"MOVED ") || is_down(says);
        if elsewhere {
            words.get_or_insert_with(|| Escaped(says).to_string());
        }
        Ok(elsewhere)
    };
    let every = names.len() / SPREAD;
    let spread = (0..SLOTS).zip(&names).step_by(every);
    let mut any = ask_all(connection, By::Exists, spread, &mut judge)?;
    if !any && is_cluster {
        any = ask_all(connection, By::Exists, (0..SLOTS).zip(&names), &mut judge)?;
    }
    if !any {
        return Ok(());
    }
    let words = words.unwrap_or_default();
    Err(Error::new(
        ErrorKind::Destination,
        format!(
            "the destination is a node of a cluster that does not serve every slot (asked about a key it says {words}), and \
             --cluster no was given"
        ),
    )
    .with_hint(
        "leave --cluster no out: then each key goes to the node of its slot, and --node-map A=B says where nodes are \
         reached that call themselves otherwise",
    ))
}

/// The commands that tell whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Exists,
    Restore,
}

impl By {
    fn command(self, name: &[u8]) -> Vec<&[u8]> {
        match self {
            By::Exists => vec![b"EXISTS", name],
            By::Restore => vec![b"RESTORE", name, b"0", NO_PAYLOAD],
        }
    }

    /// Whether `reply` is what the owner of a key says.
    fn is_own(self, reply: &Reply<'_>) -> bool {
        let words = reply.error().unwrap_or_default();
        if words.starts_with(b"ASK ") || words.starts_with(b"TRYAGAIN") {
            return true;
        }
        match self {
            By::Exists => matches!(reply, Reply::Integer(_)),
            By::Restore => matches!(
                react(reply, Asked::Restore, Situation::default()),
                Reaction::NextRoad(_) | Reaction::KeyExists
            ),
        }
    }
}

/// Whose each slot is, by where its keys are sent on to. `None` where none is, as far as was asked.
fn sent_on(
    connection: &mut Connection,
    place: Where<'_>,
    sure: bool,
) -> Result<Option<Vec<Option<Node>>>> {
    let names = names(place.sample);
    let asked = Node::of(place.at);
    let mut words: Option<String> = None;
    for by in [By::Exists, By::Restore] {
        if by == By::Restore && !place.may_restore {
            continue;
        }
        let first = by.command(names.first().map_or(&b""[..], Vec::as_slice));
        let first: Vec<Arg<'_>> = first.into_iter().map(Arg::Bytes).collect();
        // One that is closed is closed for all names, which begin alike.
        let reply = connection.request(&first)?;
        if let (false, Some(says)) = (tells(by, &reply), reply.error()) {
            words.get_or_insert_with(|| Escaped(says).to_string());
            continue;
        }
        let mut owners = vec![None; names.len()];
        let mut judge = |slot: u16, reply: &Reply<'_>| -> Result<bool> {
            let owner = whose(by, slot, reply, asked.as_ref(), place.map)?;
            let elsewhere = owner.is_none() || owner != asked;
            if let Some(known) = owners.get_mut(usize::from(slot)) {
                *known = owner;
            }
            Ok(elsewhere)
        };
        if !sure {
            let every = names.len() / SPREAD;
            let spread = (0..SLOTS).zip(&names).step_by(every);
            if !ask_all(connection, by, spread, &mut judge)? {
                return Ok(None);
            }
        }
        let any = ask_all(connection, by, (0..SLOTS).zip(&names), &mut judge)?;
        return Ok(any.then_some(owners));
    }
    if !sure {
        return Ok(None);
    }
    let words = words.map_or(String::new(), |words| format!(": it says {words}"));
    Err(Error::new(
        ErrorKind::Destination,
        format!(
            "the destination is a cluster, and neither CLUSTER SLOTS nor CLUSTER SHARDS nor a question about a key tells \
             which node serves which slots{words}"
        ),
    )
    .with_hint("let the user ask, with +cluster|slots or +cluster|shards, or +exists"))
}

/// Whether an answer says whose a key is.
fn tells(by: By, reply: &Reply<'_>) -> bool {
    let words = reply.error().unwrap_or_default();
    by.is_own(reply) || words.starts_with(b"MOVED ") || is_down(words)
}

/// Who serves `slot`, by an answer of the node `asked`; `None` where nobody does.
fn whose(
    by: By,
    slot: u16,
    reply: &Reply<'_>,
    asked: Option<&Node>,
    map: &NodeMap,
) -> Result<Option<Node>> {
    let strange = || {
        Error::new(
            ErrorKind::Destination,
            format!(
                "asked about a key of slot {slot}, the destination answers with {}",
                reply.shown()
            ),
        )
    };
    if by.is_own(reply) {
        let own = asked.cloned().ok_or_else(|| {
            strange().with_hint("it names no host: give the address of a node by TCP")
        })?;
        return Ok(Some(own));
    }
    let words = reply.error().ok_or_else(strange)?;
    if is_down(words) {
        let unbound = words.windows(10).any(|part| part == b"not served");
        return if unbound { Ok(None) } else { Err(down(words)) };
    }
    let words = String::from_utf8_lossy(words);
    let mut parts = words.split_ascii_whitespace();
    let (code, number, node) = (parts.next(), parts.next(), parts.next());
    if code != Some("MOVED") || number.and_then(|n| n.parse().ok()) != Some(slot) {
        return Err(strange());
    }
    let node = node.and_then(|node| Node::parse(node, asked));
    Ok(Some(map.reached(node.ok_or_else(strange)?)))
}

/// Asks about one name in each of these slots, and whether any answer was as `judge` looks for.
fn ask_all<'n>(
    connection: &mut Connection,
    by: By,
    names: impl Iterator<Item = (u16, &'n Vec<u8>)>,
    judge: &mut dyn FnMut(u16, &Reply<'_>) -> Result<bool>,
) -> Result<bool> {
    let mut talk = Talk::new(connection)?;
    let mut names = names.peekable();
    let mut any = false;
    while names.peek().is_some() {
        let mut due = Vec::with_capacity(AT_ONCE);
        for (slot, name) in names.by_ref().take(AT_ONCE) {
            talk.command(&by.command(name))?;
            due.push(slot);
        }
        talk.flush()?;
        for slot in due {
            let reply = match talk.token()? {
                Token::Integer(number) => Reply::Integer(number),
                Token::Error(words) => Reply::Error(words),
                Token::Simple(text) => Reply::Simple(text),
                _ => return Err(talk.out_of_step("a question about one key has a long answer")),
            };
            any |= judge(slot, &reply)?;
        }
    }
    talk.finish()?;
    Ok(any)
}

/// A name in each slot, all of which begin as `sample` does. One with a hash tag cannot be moved to another slot: of such a
/// one the part before it is taken.
fn names(sample: &[u8]) -> Vec<Vec<u8>> {
    let brace = sample.iter().position(|byte| *byte == b'{');
    let stem = sample
        .get(..brace.unwrap_or(sample.len()))
        .unwrap_or_default();
    let mut names = vec![Vec::new(); usize::from(SLOTS)];
    let mut missing = names.len();
    // Names fall into slots by chance: ten tries for each find all but one in twenty thousand, which is none or one.
    for number in 0..u32::MAX {
        if missing == 0 {
            break;
        }
        let name = [stem, format!("~rdbridge~{number:x}").as_bytes()].concat();
        if let Some(found) = names.get_mut(usize::from(slot_of(&name)))
            && found.is_empty()
        {
            *found = name;
            missing = missing.saturating_sub(1);
        }
    }
    names
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
    fn every_slot_has_a_name() {
        for sample in [&b""[..], b"app:7", b"a{tag}b", b"}"] {
            let names = names(sample);
            for (slot, name) in (0..SLOTS).zip(&names) {
                assert_eq!(slot_of(name), slot);
                assert!(name.starts_with(&sample[..1.min(sample.len())]));
            }
        }
    }

    #[test]
    fn an_answer_says_whose_a_slot_is() {
        let asked = node("h", 1);
        let map = NodeMap::new(["x=y".parse().unwrap()]);
        let whose = |by, reply: Reply<'_>| whose(by, 5, &reply, Some(&asked), &map);
        let own = Some(asked.clone());
        for reply in [
            Reply::Integer(0),
            Reply::Error(b"ASK 5 z:2"),
            Reply::Integer(1),
        ] {
            assert_eq!(whose(By::Exists, reply).unwrap(), own, "{reply:?}");
        }
        for words in [
            "ERR DUMP payload version or checksum are wrong",
            "ERR Bad data format",
            "BUSYKEY Target key name already exists.",
        ] {
            let reply = Reply::Error(words.as_bytes());
            assert_eq!(whose(By::Restore, reply).unwrap(), own, "{words}");
            assert!(whose(By::Exists, reply).is_err(), "{words}");
        }
        let moved = |words: &'static [u8]| whose(By::Exists, Reply::Error(words));
        assert_eq!(moved(b"MOVED 5 x:2").unwrap(), Some(node("y", 2)));
        assert_eq!(moved(b"MOVED 5 :2").unwrap(), Some(node("h", 2)));
        assert_eq!(moved(b"CLUSTERDOWN Hash slot not served").unwrap(), None);
        for words in [
            &b"MOVED 6 x:2"[..],
            b"MOVED 5",
            b"MOVED 5 x:70000",
            b"CLUSTERDOWN The cluster is down",
            b"ERR quota",
            b"",
        ] {
            assert!(moved(words).is_err(), "{}", words.escape_ascii());
        }
        assert!(whose(By::Exists, Reply::Simple(b"OK")).is_err());
    }
}
