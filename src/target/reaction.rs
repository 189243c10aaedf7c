//! What a server's answer means for what comes next: one pure function, [`react`].
//!
//! Texts change between products and versions ("Redis" and "Valkey", "slave" and "replica"), first words do not. Where the
//! first word is only `ERR`, the longest part of the text that never changed is matched. Redis 2.8 says
//! `ERR Target key name is busy.` where later ones say `BUSYKEY`.
//!
//! The reaction says what is *right*. How much of it a run does (wait and send again, or stop with the server's words) is
//! the sender's choice.

use crate::resp::Reply;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `RESTORE` of a key, to be stored.
    Restore,
    /// A plain write command for a key.
    Write,
    /// Something that only makes facts known.
    Probe,
    /// `SELECT`.
    Select,
    /// `AUTH`.
    Login,
}

/// What is known of the server and the run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Situation {
    /// There is no other road for the key behind this one.
    pub last_road: bool,
}

/// Why to wait before the same command is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The server loads its data set.
    Loading,
    /// A script, function or module command runs.
    Script,
    /// A slot is being moved.
    TryAgain,
    /// The cluster lacks slots or a majority.
    ClusterDown,
    /// A replica has lost its master.
    MasterDown,
    /// Too few replicas are connected.
    NoReplicas,
}

/// What must be mended before writing can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Over `maxmemory`, and nothing to evict.
    OutOfMemory,
    /// It cannot save, and is configured to refuse writes then.
    CannotSave,
}

/// What the server does not like about a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPayload {
    /// The footer's version is not its own (or, which is ours to know, the CRC is wrong).
    Version,
    /// The type is not known, or the body is refused.
    Format,
}

/// Where a cluster sends us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere<'r> {
    /// The slot.
    pub slot: u16,
    /// `host:port`, or `:port` for the same host.
    pub node: &'r str,
}

/// What to do about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction<'r> {
    /// It worked.
    Done,
    /// The key exists: the conflict policy decides. After a lost connection it may be our own earlier write.
    KeyExists,
    /// This key cannot be stored; the others go on.
    KeyFails,
    /// As [`Reaction::KeyFails`], in words that are not known. After a hundred in a row it is a quota: pause, then stop.
    KeyFailsStrangely,
    /// This form of the value is not taken: the next road for this key.
    NextRoad(BadPayload),
    /// The argument was over the server's limit, and the connection is about to close: the next road for this key.
    TooLarge,
    /// An option that this server lacks: the command in its older form.
    OlderForm,
    /// This command is closed to this user or on this server, for the whole run: the next road for every key.
    RoadClosed,
    /// Only a fact that stays unknown.
    NotKnown,
    /// Wait and send again.
    Retry(Wait),
    /// Wait for an operator, for a while.
    Pause(Pause),
    /// The slot lives elsewhere: refresh the map and send there.
    Moved(Elsewhere<'r>),
    /// This key lives elsewhere for now: `ASKING` and the command there, once.
    Ask(Elsewhere<'r>),
    /// This is a replica: find the master.
    FindMaster,
    /// The login is missing or has run out: ask for the secret once more, then stop.
    Login,
    /// Nothing more can be done with this server: stop with its words.
    Stop,
    /// No server answers this command like that: the streams are out of step.
    OutOfStep,
}

/// Judges the answer to one command.
#[must_use]
pub fn react<'r>(reply: &Reply<'r>, asked: Asked, situation: Situation) -> Reaction<'r> {
    let words = match *reply {
        Reply::Error(words) => words,
        Reply::Simple(b"OK") => return Reaction::Done,
        // Writes and probes are answered by integers, strings, lists; RESTORE, SELECT and AUTH by OK alone.
        _ if matches!(asked, Asked::Write | Asked::Probe) => return Reaction::Done,
        _ => return Reaction::OutOfStep,
    };
    let first = words.split(|b| *b == b' ').next().unwrap_or_default();
    let rest = words
        .get(first.len().saturating_add(1)..)
        .unwrap_or_default();
    let says = |text: &str| rest.starts_with(text.as_bytes());
    match first {
        b"BUSYKEY" => Reaction::KeyExists,
        b"LOADING" => Reaction::Retry(Wait::Loading),
        b"BUSY" => Reaction::Retry(Wait::Script),
        b"TRYAGAIN" => Reaction::Retry(Wait::TryAgain),
        b"CLUSTERDOWN" => Reaction::Retry(Wait::ClusterDown),
        b"MASTERDOWN" => Reaction::Retry(Wait::MasterDown),
        b"NOREPLICAS" | b"NOGOODSLAVES" => Reaction::Retry(Wait::NoReplicas),
        b"OOM" => Reaction::Pause(Pause::OutOfMemory),
        b"MISCONF" => Reaction::Pause(Pause::CannotSave),
        b"READONLY" | b"REDIRECT" => Reaction::FindMaster,
        b"MOVED" => elsewhere(rest).map_or(Reaction::Stop, Reaction::Moved),
        b"ASK" => elsewhere(rest).map_or(Reaction::Stop, Reaction::Ask),
        b"NOAUTH" | b"WRONGPASS" => Reaction::Login,
        b"NOPERM" => no_permission(rest, asked, situation),
        b"DENIED" => Reaction::Stop,
        b"CROSSSLOT" | b"WRONGTYPE" | b"EXECABORT" => Reaction::KeyFails,
        b"ERR" => {
            if says("Target key name is busy") {
                Reaction::KeyExists
            } else if says("DUMP payload version or checksum") {
                Reaction::NextRoad(BadPayload::Version)
            } else if says("Bad data format") || says("Unsupported foreign data type") {
                Reaction::NextRoad(BadPayload::Format)
            } else if says("syntax error") || says("wrong number of arguments") {
                match asked {
                    Asked::Restore | Asked::Write => Reaction::OlderForm,
                    Asked::Probe => Reaction::NotKnown,
                    Asked::Select | Asked::Login => Reaction::Stop,
                }
            } else if says("Invalid TTL")
                || says("string exceeds maximum allowed size")
                || says("Invalid IDLETIME")
                || says("Invalid FREQ")
                || says("value is not an integer")
            {
                Reaction::KeyFails
            } else if says("Protocol error: invalid bulk length") || says("max request size") {
                Reaction::TooLarge
            } else if says("Protocol error: unauthenticated") || says("operation not permitted") {
                Reaction::Login
            } else if says("Protocol error") || says("max number of clients") {
                Reaction::Stop
            } else if says("unknown command") || says("Unknown command") {
                match asked {
                    Asked::Probe => Reaction::NotKnown,
                    _ => closed(situation),
                }
            } else {
                unknown_words(asked)
            }
        }
        _ => unknown_words(asked),
    }
}

fn unknown_words<'r>(asked: Asked) -> Reaction<'r> {
    match asked {
        Asked::Restore | Asked::Write => Reaction::KeyFailsStrangely,
        Asked::Probe => Reaction::NotKnown,
        Asked::Select | Asked::Login => Reaction::Stop,
    }
}

/// The command is refused to this user, or only on this key (6.0 to 7.0: "one of the keys", later: "access a key").
fn no_permission<'r>(rest: &[u8], asked: Asked, situation: Situation) -> Reaction<'r> {
    let about_a_key = [&b" a key"[..], b"the keys"]
        .iter()
        .any(|part| rest.windows(part.len()).any(|window| window == *part));
    match asked {
        Asked::Probe => Reaction::NotKnown,
        Asked::Restore | Asked::Write if about_a_key => Reaction::KeyFails,
        _ => closed(situation),
    }
}

fn closed<'r>(situation: Situation) -> Reaction<'r> {
    if situation.last_road {
        Reaction::Stop
    } else {
        Reaction::RoadClosed
    }
}

/// `slot host:port`.
fn elsewhere(rest: &[u8]) -> Option<Elsewhere<'_>> {
    let (slot, node) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let node = node.trim_end();
    let (_, port) = node.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some(Elsewhere {
        slot: slot.parse().ok().filter(|slot| *slot < 16384)?,
        node,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Asked::{Login, Probe, Restore, Select, Write};
    use Reaction as R;

    /// Every row of `docs/rdb-format.md` 5.5, in the wordings of Redis 2.8 to 8.10 and Valkey.
    #[test]
    fn every_known_answer_has_its_reaction() {
        let moved = |node| R::Moved(Elsewhere { slot: 3999, node });
        for (words, asked, expected) in [
            (
                "BUSYKEY Target key name already exists.",
                Restore,
                R::KeyExists,
            ),
            ("ERR Target key name is busy.", Restore, R::KeyExists),
            (
                "ERR Bad data format",
                Restore,
                R::NextRoad(BadPayload::Format),
            ),
            (
                "ERR DUMP payload version or checksum are wrong",
                Restore,
                R::NextRoad(BadPayload::Version),
            ),
            (
                "ERR Unsupported foreign data type: 24",
                Restore,
                R::NextRoad(BadPayload::Format),
            ),
            ("ERR Invalid TTL value, must be >= 0", Restore, R::KeyFails),
            (
                "ERR value is not an integer or out of range",
                Restore,
                R::KeyFails,
            ),
            (
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
                Write,
                R::KeyFails,
            ),
            (
                "ERR string exceeds maximum allowed size (512MB)",
                Write,
                R::KeyFails,
            ),
            (
                "ERR Invalid IDLETIME value, must be >= 0",
                Restore,
                R::KeyFails,
            ),
            (
                "ERR Invalid FREQ value, must be >= 0 and <= 255",
                Restore,
                R::KeyFails,
            ),
            ("ERR syntax error", Restore, R::OlderForm),
            (
                "ERR wrong number of arguments for 'restore' command",
                Restore,
                R::OlderForm,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Restore,
                R::Pause(Pause::OutOfMemory),
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Restore,
                R::Retry(Wait::Loading),
            ),
            (
                "LOADING Valkey is loading the dataset in memory",
                Probe,
                R::Retry(Wait::Loading),
            ),
            (
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
                Restore,
                R::Retry(Wait::Script),
            ),
            (
                "BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
                Restore,
                R::Retry(Wait::Script),
            ),
            (
                "BUSY Redis is busy running a module command.",
                Restore,
                R::Retry(Wait::Script),
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled.",
                Restore,
                R::Pause(Pause::CannotSave),
            ),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                Restore,
                R::Pause(Pause::CannotSave),
            ),
            (
                "MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.",
                Restore,
                R::Retry(Wait::MasterDown),
            ),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Restore,
                R::Retry(Wait::MasterDown),
            ),
            (
                "READONLY You can't write against a read only slave.",
                Restore,
                R::FindMaster,
            ),
            (
                "READONLY You can't write against a read only replica.",
                Restore,
                R::FindMaster,
            ),
            ("REDIRECT 10.0.0.1:6379", Restore, R::FindMaster),
            (
                "NOREPLICAS Not enough good slaves to write.",
                Restore,
                R::Retry(Wait::NoReplicas),
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                Restore,
                R::Retry(Wait::NoReplicas),
            ),
            (
                "MOVED 3999 127.0.0.1:6381",
                Restore,
                moved("127.0.0.1:6381"),
            ),
            ("MOVED 3999 :6381", Restore, moved(":6381")),
            ("MOVED 3999 fe80::1:6381", Restore, moved("fe80::1:6381")),
            ("MOVED 99999 127.0.0.1:6381", Restore, R::Stop),
            ("MOVED nowhere", Restore, R::Stop),
            (
                "ASK 3999 h:1",
                Restore,
                R::Ask(Elsewhere {
                    slot: 3999,
                    node: "h:1",
                }),
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                Restore,
                R::Retry(Wait::TryAgain),
            ),
            (
                "TRYAGAIN Slot is being trimmed",
                Restore,
                R::Retry(Wait::TryAgain),
            ),
            (
                "CLUSTERDOWN The cluster is down",
                Restore,
                R::Retry(Wait::ClusterDown),
            ),
            (
                "CLUSTERDOWN The cluster is down and only accepts read commands",
                Restore,
                R::Retry(Wait::ClusterDown),
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                Restore,
                R::Retry(Wait::ClusterDown),
            ),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                Write,
                R::KeyFails,
            ),
            ("NOAUTH Authentication required.", Restore, R::Login),
            ("ERR operation not permitted", Restore, R::Login),
            ("WRONGPASS invalid username-password pair", Login, R::Login),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Login,
                R::Login,
            ),
            (
                "NOPERM this user has no permissions to run the 'restore' command or its subcommand",
                Restore,
                R::RoadClosed,
            ),
            (
                "NOPERM this user has no permissions to run the 'restore' command",
                Restore,
                R::RoadClosed,
            ),
            (
                "NOPERM User u has no permissions to run the 'restore' command",
                Restore,
                R::RoadClosed,
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Restore,
                R::KeyFails,
            ),
            (
                "NOPERM No permissions to access a key",
                Restore,
                R::KeyFails,
            ),
            (
                "NOPERM User u has no permissions to run the 'config|get' command",
                Probe,
                R::NotKnown,
            ),
            ("NOPERM No permissions to access a key", Probe, R::NotKnown),
            ("ERR unknown command 'RESTORE'", Restore, R::RoadClosed),
            (
                "ERR unknown command `restore`, with args beginning with: `k`, ",
                Restore,
                R::RoadClosed,
            ),
            (
                "ERR unknown command 'HELLO', with args beginning with: '2' ",
                Probe,
                R::NotKnown,
            ),
            ("ERR DB index is out of range", Select, R::Stop),
            ("ERR SELECT is not allowed in cluster mode", Select, R::Stop),
            (
                "EXECABORT Transaction discarded because of previous errors.",
                Write,
                R::KeyFails,
            ),
            (
                "ERR Protocol error: invalid bulk length",
                Restore,
                R::TooLarge,
            ),
            (
                "ERR max request size exceeded. Limit: 10485760 bytes, Actual: 10485854 bytes.",
                Restore,
                R::TooLarge,
            ),
            (
                "ERR Protocol error: invalid multibulk length",
                Restore,
                R::Stop,
            ),
            (
                "ERR Protocol error: unauthenticated bulk length",
                Restore,
                R::Login,
            ),
            (
                "ERR Protocol error: unauthenticated multibulk length",
                Restore,
                R::Login,
            ),
            ("ERR max number of clients reached", Restore, R::Stop),
            (
                "DENIED Redis is running in protected mode because protected mode is enabled",
                Probe,
                R::Stop,
            ),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                Write,
                R::KeyFails,
            ),
            (
                "ERR max requests limit exceeded. Limit: 500000",
                Restore,
                R::KeyFailsStrangely,
            ),
            (
                "ERR DB capacity quota exceeded",
                Restore,
                R::KeyFailsStrangely,
            ),
            ("QUOTA something new", Restore, R::KeyFailsStrangely),
            ("", Restore, R::KeyFailsStrangely),
            ("ERR something new", Probe, R::NotKnown),
            ("ERR something new", Select, R::Stop),
            (
                "ERR Client sent AUTH, but no password is set",
                Login,
                R::Stop,
            ),
        ] {
            assert_eq!(
                react(&Reply::Error(words.as_bytes()), asked, Situation::default()),
                expected,
                "{asked:?}: {words}"
            );
        }
    }

    #[test]
    fn on_the_last_road_a_closed_command_stops_the_run() {
        let last = Situation { last_road: true };
        for words in [
            "NOPERM this user has no permissions to run the 'restore' command",
            "ERR unknown command 'RESTORE'",
        ] {
            assert_eq!(
                react(&Reply::Error(words.as_bytes()), Restore, last),
                R::Stop
            );
        }
        let key = Reply::Error(b"NOPERM No permissions to access a key");
        assert_eq!(
            react(&key, Restore, last),
            R::KeyFails,
            "the other keys still go"
        );
    }

    #[test]
    fn only_ok_is_ok_where_only_ok_can_come() {
        let nothing = Situation::default();
        assert_eq!(react(&Reply::Simple(b"OK"), Restore, nothing), R::Done);
        for reply in [
            Reply::Integer(1),
            Reply::Bulk(b"OK"),
            Reply::Nil,
            Reply::Simple(b"QUEUED"),
            Reply::Simple(b"PONG"),
        ] {
            assert_eq!(react(&reply, Restore, nothing), R::OutOfStep);
            assert_eq!(react(&reply, Select, nothing), R::OutOfStep);
            assert_eq!(react(&reply, Write, nothing), R::Done);
        }
    }
}
