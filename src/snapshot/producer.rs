//! Who wrote the file and when, from its aux fields (`rdbSaveInfoAuxFields`).

use super::codes::Dialect;
use super::header::Header;
use crate::error::Escaped;
use crate::time::Timestamp;
use crate::wire::Str;

/// What the aux fields say. Every field may be missing, and none is a proof: they are written by the server, read by nobody.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Producer {
    /// `redis`, `valkey`, `keydb` or `dragonfly`.
    pub product: &'static str,
    /// The version of that product.
    #[serde(serialize_with = "as_shown")]
    pub version: Option<String>,
    /// 32 or 64.
    pub bits: Option<u64>,
    /// When the file was written, seconds of Unix time.
    pub ctime: Option<i64>,
    /// Memory that the server used, in bytes.
    pub used_mem: Option<u64>,
    /// The file is the RDB part in front of AOF commands (4.0 to 6.2).
    pub aof_preamble: bool,
    /// The file is the base of a multi-part AOF (from 7.0).
    pub aof_base: bool,
    /// The replication id, where the server was part of a replication.
    pub repl_id: Option<String>,
    /// The offset in the replication stream.
    pub repl_offset: Option<i64>,
}

impl Producer {
    /// What the magic alone says.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            product: if header.dialect == Dialect::Valkey {
                "valkey"
            } else {
                "redis"
            },
            version: None,
            bits: None,
            ctime: None,
            used_mem: None,
            aof_preamble: false,
            aof_base: false,
            repl_id: None,
            repl_offset: None,
        }
    }

    /// Takes in one aux field; unknown ones are ignored, as by servers.
    pub fn learn(&mut self, name: &Str<'_>, value: &Str<'_>) {
        let name = name.preview(64);
        let value = || String::from_utf8_lossy(&value.preview(128)).into_owned();
        match name.as_slice() {
            b"redis-ver" => self.version = self.version.take().or_else(|| Some(value())),
            b"valkey-ver" => {
                self.product = "valkey";
                self.version = Some(value());
            }
            b"df-ver" => {
                self.product = "dragonfly";
                self.version = Some(value());
            }
            b"mvcc-tstamp" | b"keydb-subexpire-key" | b"repl-masters" => self.product = "keydb",
            b"redis-bits" => self.bits = value().parse().ok(),
            b"ctime" => self.ctime = value().parse().ok(),
            b"used-mem" => self.used_mem = value().parse().ok(),
            b"aof-preamble" => self.aof_preamble = value() == "1",
            b"aof-base" => self.aof_base = value() == "1",
            b"repl-id" => self.repl_id = Some(value()),
            b"repl-offset" => self.repl_offset = value().parse().ok(),
            _ => {}
        }
    }

    /// How old the data is and where it comes from, in one line: `taken 2026-11-22 02:00 UTC, 9 h ago, redis 7.2.4`. Aux
    /// values are escaped: they are bytes of the file.
    #[must_use]
    pub fn taken(&self, now: Timestamp) -> String {
        let when = match self.ctime {
            Some(seconds) => {
                let taken = Timestamp::from_secs(seconds);
                format!("taken {taken}, {}", now.age_of(taken))
            }
            None => "taken at an unknown time".to_owned(),
        };
        let replicated = if self.repl_id.is_some() {
            ", part of a replication"
        } else {
            ""
        };
        format!("{when}, {}{replicated}", self.server())
    }

    /// Product and version: `redis 7.2.4`.
    #[must_use]
    pub fn server(&self) -> String {
        match &self.version {
            Some(version) => {
                let shown = Escaped(version.as_bytes()).to_string();
                format!("{} {}", self.product, shown.trim_matches('"'))
            }
            None => format!("{} of an unknown version", self.product),
        }
    }
}

/// What stands in the file is anybody's words: JSON that is shown on a terminal must not disturb it either.
#[expect(clippy::ref_option, reason = "serde's signature")]
fn as_shown<S: serde::Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = text.as_ref().map(|text| {
        let quoted = Escaped(text.as_bytes()).to_string();
        let inner = quoted.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        inner.unwrap_or(&quoted).to_owned()
    });
    serde::Serialize::serialize(&shown, serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Dialect, Version};

    #[test]
    fn a_line_that_says_how_old_the_data_is() {
        let mut producer = Producer::new(Header {
            version: Version(11),
            dialect: Dialect::Redis,
        });
        let now = Timestamp(1_795_345_200_000);
        assert_eq!(
            producer.taken(now),
            "taken at an unknown time, redis of an unknown version"
        );
        for (name, value) in [
            ("redis-ver", "7.2.4\x1b"),
            ("ctime", "1795312800"),
            ("repl-id", "x"),
        ] {
            producer.learn(&Str::Raw(name.as_bytes()), &Str::Raw(value.as_bytes()));
        }
        assert_eq!(
            producer.taken(now),
            "taken 2026-11-22 02:00 UTC, 9 h ago, redis 7.2.4\\x1b, part of a replication"
        );
    }
}
