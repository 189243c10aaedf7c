//! Trying out what `RESTORE` takes, without storing anything.
//!
//! - *Footers*: a payload whose type byte is 8, which no server ever used, with footer N and the right CRC. The server judges
//!   footer and CRC first, so "Bad data format" means that N is taken, "version or checksum" that it is not. Measured on
//!   fifteen servers, Redis 2.8 to 8.10 and Valkey 8.0 to 9.1.
//! - *Types*: a whole, tiny value of the type, with an absolute expiry in 1970. Servers from 5.0.10 and 6.0.6 on decode it,
//!   answer OK and store nothing. Older ones store it for an instant, so they are never asked: the table tells.
//!
//! What is never sent: `REPLACE`; a payload of ten bytes (Redis 6.0 reads its footer as a value and dies); a module value; any
//! value that is not whole. All probes go to one key, named after a key of the dump, so that key patterns of an ACL are tried
//! too. If it exists, the server says so and looks no further, so a name behind it is taken: the same beginning, a suffix of
//! ours.

use super::accept::NEVER_FRAGILE;
use super::facts::Facts;
use super::footer::{Footers, footer_needed};
use super::product::{Product, Version};
use super::reaction::{Asked, BadPayload, Pause, Reaction, Situation, Wait, react};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::payload::{assemble, payload_type};
use crate::resp::{Arg, Connection, Reply};
use crate::snapshot::{Dialect, ValueType};

/// What a probe found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The destination takes it.
    Takes,
    /// It does not.
    Refuses,
    /// Not tried, or the answer said nothing about it.
    NotKnown,
}

/// The results of all probes.
#[derive(Debug, Clone, Default)]
pub struct Probed {
    footers: Vec<(u16, Verdict)>,
    types: Vec<(ValueType, Dialect, Verdict)>,
    /// `RESTORE` is closed to us altogether, in the server's words.
    pub restore_closed: Option<String>,
    /// The key's name is closed to us (an ACL key pattern), in the server's words.
    pub key_closed: Option<String>,
    /// The key's slot is another node's, in the server's words: nothing else is known then.
    pub elsewhere: Option<String>,
    /// Whether `REPLACE`, and whether `ABSTTL` is known; tried only where the version is not.
    pub options: Option<(bool, bool)>,
    /// How many commands were sent.
    pub sent: u64,
    /// Answers that told nothing, each once, in the server's words.
    pub unclear: Vec<String>,
}

impl Probed {
    /// What was found about a footer version.
    #[must_use]
    pub fn footer_verdict(&self, footer: u16) -> Verdict {
        self.footers
            .iter()
            .find(|(n, _)| *n == footer)
            .map_or(Verdict::NotKnown, |(_, verdict)| *verdict)
    }

    /// What was found about a type.
    #[must_use]
    pub fn type_verdict(&self, value_type: ValueType, dialect: Dialect) -> Verdict {
        self.types
            .iter()
            .find(|(t, d, _)| *t == value_type && *d == dialect)
            .map_or(Verdict::NotKnown, |(_, _, verdict)| *verdict)
    }

    /// The lowest version found to be taken that is at least `needed`, on the same side of 80: Valkey's numbers are no
    /// continuation of Redis's.
    #[must_use]
    pub fn lowest_footer_from(&self, needed: u16) -> Option<u16> {
        self.footers
            .iter()
            .filter(|(n, verdict)| {
                *verdict == Verdict::Takes && *n >= needed && (*n >= 80) == (needed >= 80)
            })
            .map(|(n, _)| *n)
            .min()
    }

    /// Why nothing can be written, in words: the keys are closed to us, or `RESTORE` is and so are plain commands. Each kind of
    /// value has its own; what all need is the one that gives a value its name, which is tried with a key that does not exist
    /// and whose name begins like `sample`.
    ///
    /// # Errors
    /// The connection fails.
    pub fn refusal(
        &self,
        connection: &mut Connection,
        sample: &[u8],
        replace: bool,
    ) -> Result<Option<Error>> {
        if let Some(words) = &self.key_closed {
            return Ok(Some(closed(words)));
        }
        let Some(words) = &self.restore_closed else {
            return Ok(None);
        };
        let sample = sample.get(..KEY).unwrap_or(sample);
        let nothing = [sample, b"~rdbridge~nothing"].concat();
        let name = Arg::Bytes(&nothing);
        let rename = Arg::from(if replace { "RENAME" } else { "RENAMENX" });
        Ok(match connection.request(&[rename, name, name])? {
            Reply::Error(said)
                if said.starts_with(b"NOPERM")
                    || said
                        .to_ascii_lowercase()
                        .starts_with(b"err unknown command") =>
            {
                Some(closed(words))
            }
            _ => None,
        })
    }

    pub(super) fn set_footer(&mut self, footer: u16, verdict: Verdict) {
        self.footers.push((footer, verdict));
    }

    pub(super) fn set_type(&mut self, value_type: ValueType, dialect: Dialect, verdict: Verdict) {
        self.types.push((value_type, dialect, verdict));
    }
}

/// The error where `RESTORE` is closed.
#[cold]
#[must_use]
fn closed(words: &str) -> Error {
    let hint = if words.contains("nknown command") {
        "where its owner renamed it, say --rename-command RESTORE=NAME; where it is switched off, ask for it, or for the right to plain write commands, EXISTS, PEXPIREAT, RENAME, RENAMENX and UNLINK"
    } else {
        "the user needs the right to RESTORE, or to plain write commands, EXISTS, PEXPIREAT, RENAME, RENAMENX and UNLINK, and to the dump's keys (ACL SETUSER … +restore ~*)"
    };
    Error::new(
        ErrorKind::Destination,
        format!("the destination does not let us RESTORE: {words}"),
    )
    .with_hint(hint)
}

/// A longer key of the dump is only named by its beginning: a probe should stay small.
const KEY: usize = 1024;
/// Free names that are tried where keys exist.
const NAMES: u8 = 4;

/// Tries which footers and types the destination takes, of those that the dump needs. `key` is a key of the dump; `restore`
/// is the command's name there (`RESTORE`, unless its owner renamed it).
///
/// # Errors
/// The connection fails, or the destination cannot take writes at all: not logged in, a replica, out of memory. What is
/// merely closed is in the result.
pub fn probe(
    connection: &mut Connection,
    facts: &Facts,
    restore: &str,
    key: &[u8],
    types: &[(ValueType, Dialect)],
) -> Result<Probed> {
    let mut prober = Prober {
        connection,
        restore,
        key: key.get(..KEY).unwrap_or(key).to_vec(),
        names_left: NAMES,
        probed: Probed::default(),
    };
    let mut footers: Vec<u16> = types
        .iter()
        .filter_map(|&(value_type, dialect)| footer_needed(value_type, dialect).ok())
        // Two tell a server that wants its own number exactly, and which; the third whether it can be trusted with bad values.
        .chain([6, 7, NEVER_FRAGILE])
        .collect();
    footers.sort_unstable();
    footers.dedup();
    for footer in footers {
        let verdict = prober.try_footer(footer)?;
        prober.probed.set_footer(footer, verdict);
        if prober.probed.restore_closed.is_some() || prober.probed.key_closed.is_some() {
            return Ok(prober.probed);
        }
    }
    if facts.version.is_none() {
        prober.try_options()?;
    }
    if decodes_without_storing(facts) {
        for &(value_type, dialect) in types {
            let verdict = prober.try_type(facts, value_type, dialect)?;
            prober.probed.set_type(value_type, dialect, verdict);
        }
    }
    Ok(prober.probed)
}

/// Whether a value that is past its time is decoded, answered and never stored.
fn decodes_without_storing(facts: &Facts) -> bool {
    match (facts.product, facts.version) {
        _ if facts.assumed => false,
        (Some(Product::Valkey), Some(_)) => true,
        (Some(Product::Redis), Some(version)) => {
            version >= Version::new(6, 0, 6)
                || (Version::new(5, 0, 10)..Version::new(6, 0, 0)).contains(&version)
        }
        _ => false,
    }
}

struct Prober<'c> {
    connection: &'c mut Connection,
    restore: &'c str,
    key: Vec<u8>,
    names_left: u8,
    probed: Probed,
}

impl Prober<'_> {
    fn try_footer(&mut self, footer: u16) -> Result<Verdict> {
        let payload = assemble(ValueType(8), &[], footer);
        self.send(&payload, false)
    }

    fn try_type(
        &mut self,
        facts: &Facts,
        value_type: ValueType,
        dialect: Dialect,
    ) -> Result<Verdict> {
        let sent = payload_type(value_type, dialect);
        let (Some(body), Ok(needed)) = (tiny(sent, dialect), footer_needed(value_type, dialect))
        else {
            return Ok(Verdict::NotKnown);
        };
        let by_table = facts
            .product
            .zip(facts.version)
            .and_then(|(product, version)| Footers::of(product, version)?.lowest_from(needed));
        let footer = match (self.probed.lowest_footer_from(needed), by_table) {
            (Some(footer), _) => footer,
            (None, Some(footer)) if self.probed.footer_verdict(needed) == Verdict::NotKnown => {
                footer
            }
            _ => return Ok(Verdict::NotKnown),
        };
        self.send(&assemble(sent, &body, footer), true)
    }

    /// An option that a server does not know is refused before it looks at the payload, whose type no server knows either.
    fn try_options(&mut self) -> Result<()> {
        let payload = assemble(ValueType(8), &[], 6);
        let key = self.key.clone();
        let reply = self.connection.request(&[
            Arg::from(self.restore),
            Arg::Bytes(&key),
            Arg::from("1"),
            Arg::Bytes(&payload),
            Arg::from("ABSTTL"),
        ])?;
        self.probed.sent = self.probed.sent.saturating_add(1);
        let Reply::Error(words) = reply else {
            return Ok(());
        };
        self.probed.options = if words.starts_with(b"ERR wrong number of arguments") {
            Some((false, false))
        } else if words.starts_with(b"ERR syntax error") {
            Some((true, false))
        } else if words.starts_with(b"ERR DUMP payload") || words.starts_with(b"ERR Bad data") {
            Some((true, true))
        } else {
            None
        };
        Ok(())
    }

    /// Sends one payload, under other names as long as keys exist.
    fn send(&mut self, payload: &[u8], whole: bool) -> Result<Verdict> {
        loop {
            let (ttl, args) = if whole { ("1", 5) } else { ("0", 4) };
            let command = [
                Arg::from(self.restore),
                Arg::Bytes(&self.key),
                Arg::from(ttl),
                Arg::Bytes(payload),
                Arg::from("ABSTTL"),
            ];
            let name = self.connection.name().to_owned();
            let reply = self
                .connection
                .request(command.get(..args).unwrap_or(&command))?;
            self.probed.sent = self.probed.sent.saturating_add(1);
            let words = reply
                .error()
                .map(|words| Escaped(words).to_string())
                .unwrap_or_default();
            let fatal = |what: &str, hint: &'static str| {
                Err(Error::new(
                    ErrorKind::Destination,
                    format!("{name}: {what}: the destination says {words}"),
                )
                .with_hint(hint))
            };
            return Ok(match react(&reply, Asked::Restore, Situation::default()) {
                Reaction::Done if whole => Verdict::Takes,
                // The type byte 8 was taken: this is no server that we know, and nothing is sure.
                Reaction::Done => {
                    return Err(Error::new(
                        ErrorKind::Destination,
                        "the destination answers OK to a payload that no server accepts",
                    )
                    .with_hint("it may only pretend to store; `--assume` with the right server does not help here"));
                }
                Reaction::NextRoad(BadPayload::Format) if whole => Verdict::Refuses,
                Reaction::NextRoad(BadPayload::Format) => Verdict::Takes,
                Reaction::NextRoad(BadPayload::Version) => Verdict::Refuses,
                Reaction::KeyExists if self.names_left > 0 => {
                    self.names_left = self.names_left.saturating_sub(1);
                    self.key.extend_from_slice(b"~rdbridge~probe");
                    continue;
                }
                Reaction::KeyExists => Verdict::NotKnown,
                Reaction::RoadClosed => {
                    self.probed.restore_closed = Some(words);
                    Verdict::NotKnown
                }
                Reaction::KeyFails => {
                    self.probed.key_closed = Some(words);
                    Verdict::NotKnown
                }
                Reaction::Login => return fatal("it wants a login", super::LOG_IN),
                Reaction::FindMaster => return fatal("it is a replica", "load into its master"),
                Reaction::Moved(_) | Reaction::Ask(_) => {
                    self.probed.elsewhere = Some(words);
                    Verdict::NotKnown
                }
                Reaction::Pause(Pause::OutOfMemory) => {
                    return fatal(
                        "it has no memory left",
                        "give the destination more memory (maxmemory), or make room there; nothing was sent",
                    );
                }
                Reaction::Pause(Pause::CannotSave) => {
                    return fatal(
                        "it refuses writes",
                        "the destination cannot write to its disk: mend that first",
                    );
                }
                Reaction::Retry(Wait::Loading) => {
                    return fatal("it is still loading", "try again when it is done");
                }
                Reaction::Retry(_) => {
                    return fatal(
                        "it cannot take writes now",
                        "wait until the destination can write again",
                    );
                }
                Reaction::Stop | Reaction::TooLarge => {
                    return fatal("it refuses us", "its words say why; nothing was sent");
                }
                Reaction::OutOfStep => {
                    let what = reply.shown();
                    return Err(self
                        .connection
                        .out_of_step(&format!("RESTORE was answered by {what}")));
                }
                Reaction::KeyFailsStrangely | Reaction::OlderForm | Reaction::NotKnown => {
                    if !self.probed.unclear.contains(&words) {
                        self.probed.unclear.push(words);
                    }
                    Verdict::NotKnown
                }
            });
        }
    }
}

/// A whole value of the type in as few bytes as possible, without its type byte. `None` where none is proven, or none may be
/// sent.
fn tiny(sent: ValueType, dialect: Dialect) -> Option<Vec<u8>> {
    // One element "x"; field "f" with value "v"; score 1.
    const ZIPLIST: &[u8] = b"\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01x\xff";
    const LISTPACK: &[u8] = b"\x0a\0\0\0\x01\0\x81x\x02\xff";
    const EMPTY_STREAM: &[u8] = &[0; 5];
    const EMPTY_STREAM_2: &[u8] = &[0; 10];
    // Duration 100 s, 100 entries, no producers, nothing added.
    const IDMP: &[u8] = &[0x40, 100, 0x40, 100, 0, 0, 0];
    let blob = |bytes: &[u8]| {
        let mut string = vec![u8::try_from(bytes.len()).unwrap_or(0)];
        string.extend_from_slice(bytes);
        string
    };
    Some(match (sent.0, dialect) {
        (0, _) => b"\x01x".to_vec(),
        (1 | 2, _) => b"\x01\x01x".to_vec(),
        (3, _) => b"\x01\x01x\x011".to_vec(),
        (4, _) => b"\x01\x01f\x01v".to_vec(),
        (5, _) => [&b"\x01\x01x"[..], &1f64.to_le_bytes()].concat(),
        (9, _) => blob(b"\x01\x01f\x01\0v\xff"),
        (10, _) => blob(ZIPLIST),
        (11, _) => blob(b"\x02\0\0\0\x01\0\0\0\x01\0"),
        (12, _) => blob(b"\x10\0\0\0\x0d\0\0\0\x02\0\0\x01x\x03\xf2\xff"),
        (13, _) => blob(b"\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\x01v\xff"),
        (14, _) => [vec![1], blob(ZIPLIST)].concat(),
        (15, _) => EMPTY_STREAM.to_vec(),
        (16, _) => blob(b"\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff"),
        (17, _) => blob(b"\x0c\0\0\0\x02\0\x81x\x02\x01\x01\xff"),
        (18, _) => [vec![1, 2], blob(LISTPACK)].concat(),
        (19 | 21, _) => EMPTY_STREAM_2.to_vec(),
        (20, Dialect::Redis | Dialect::Valkey) => blob(LISTPACK),
        (22, Dialect::Redis) => b"\x01\0\x01f\x01v".to_vec(),
        (22, Dialect::Valkey) => [&b"\x01\x01f\x01v"[..], &[0xff; 8]].concat(),
        (23, Dialect::Redis) => blob(b"\x0f\0\0\0\x03\0\x81f\x02\x81v\x02\0\x01\xff"),
        (24, Dialect::Redis) => [&[0; 8][..], b"\x01\0\x01f\x01v"].concat(),
        (25, Dialect::Redis) => [
            vec![0; 8],
            blob(b"\x0f\0\0\0\x03\0\x81f\x02\x81v\x02\0\x01\xff"),
        ]
        .concat(),
        (26 | 27, Dialect::Redis) => [EMPTY_STREAM_2, IDMP].concat(),
        // One element at index 0, a string; no insert index.
        (28, Dialect::Redis) => b"\x01\0\0\0\x01x".to_vec(),
        // One field "f" with value "v".
        (29, Dialect::Redis) => [
            b"\x01\x01\x01f".to_vec(),
            blob(b"\x0c\0\0\0\x02\0\0\x01\x81v\x02\xff"),
        ]
        .concat(),
        (31, Dialect::Redis) => b"\x01\x01\x01f\x01v".to_vec(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_probe_is_ten_bytes_long_and_every_tiny_value_is_whole() {
        assert_eq!(assemble(ValueType(8), &[], 6).len(), 11);
        let mut values = 0;
        for dialect in [Dialect::Redis, Dialect::Valkey] {
            for number in 0..=255u8 {
                let Some(body) = tiny(ValueType(number), dialect) else {
                    continue;
                };
                values += 1;
                assert!(footer_needed(ValueType(number), dialect).is_ok());
                // The extent that the snapshot reader finds is all of it.
                let mut file = b"REDIS0015".to_vec();
                if dialect == Dialect::Valkey {
                    file = b"VALKEY080".to_vec();
                }
                file.extend_from_slice(&[number, 1, b'k']);
                file.extend_from_slice(&body);
                file.push(0xff);
                file.extend_from_slice(&[0; 8]);
                let mut seen = 0;
                for entry in crate::snapshot::Snapshot::parse(&file).unwrap().entries() {
                    let entry = entry.unwrap_or_else(|e| panic!("type {number} {dialect:?}: {e}"));
                    assert_eq!(entry.value, body, "type {number} {dialect:?}");
                    seen += 1;
                }
                assert_eq!(seen, 1, "type {number} {dialect:?}");
            }
        }
        assert_eq!(
            values,
            28 + 20,
            "so many types of each dialect have a probe"
        );
        assert_eq!(tiny(ValueType::MODULE_2, Dialect::Redis), None);
        assert_eq!(tiny(ValueType::MODULE_PRE_GA, Dialect::Redis), None);
    }

    #[test]
    fn only_servers_that_store_nothing_are_asked_about_types() {
        for (name, asked) in [
            ("redis-2.8.17", false),
            ("redis-5.0.6", false),
            ("redis-5.0.10", true),
            ("redis-6.0.5", false),
            ("redis-6.0.6", true),
            ("redis-8.10.2", true),
            ("valkey-8.0.1", true),
            ("keydb-6.3.4", false),
            ("dragonfly-1.27.0", false),
        ] {
            let mut facts = Facts::default();
            facts.assume(name.parse().unwrap());
            assert!(
                !decodes_without_storing(&facts),
                "an assumption is not enough"
            );
            facts.assumed = false;
            assert_eq!(decodes_without_storing(&facts), asked, "{name}");
        }
        assert!(!decodes_without_storing(&Facts::default()));
    }
}
