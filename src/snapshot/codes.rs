//! The numbers of the format: our `rdb.h`.
//!
//! Types and opcodes share one byte, and from 20 up the same number means different things to Redis, Valkey and Dragonfly:
//! a number is only understood together with the file's [`Dialect`]. Numbers are newtypes, not enums, so that an unknown one
//! survives and can be printed.

use std::borrow::Cow;
use std::fmt;

/// Whose meaning of the ambiguous numbers holds in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// Redis, and all that write as Redis does: KeyDB, Valkey up to 8.1, Redis Enterprise.
    #[default]
    Redis,
    /// Files with the magic `VALKEY`.
    Valkey,
    /// Files whose aux fields name `df-ver`.
    Dragonfly,
}

/// The type byte in front of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueType(pub u8);

macro_rules! numbers {
    ($of:ident: $($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl $of {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }
    };
}

numbers! { ValueType:
    /// A string.
    STRING = 0;
    /// A list of strings.
    LIST = 1;
    /// A set of strings.
    SET = 2;
    /// A sorted set with scores as text.
    ZSET = 3;
    /// A hash.
    HASH = 4;
    /// A sorted set with binary scores.
    ZSET_2 = 5;
    /// A module value as the release candidates of 4.0 wrote it: its end cannot be found.
    MODULE_PRE_GA = 6;
    /// A module value with opcodes.
    MODULE_2 = 7;
    /// A hash as zipmap.
    HASH_ZIPMAP = 9;
    /// A list as ziplist.
    LIST_ZIPLIST = 10;
    /// A set as intset.
    SET_INTSET = 11;
    /// A sorted set as ziplist.
    ZSET_ZIPLIST = 12;
    /// A hash as ziplist.
    HASH_ZIPLIST = 13;
    /// A list of ziplists.
    LIST_QUICKLIST = 14;
    /// A stream, first form.
    STREAM_LISTPACKS = 15;
    /// A hash as listpack.
    HASH_LISTPACK = 16;
    /// A sorted set as listpack.
    ZSET_LISTPACK = 17;
    /// A list of listpacks and plain elements.
    LIST_QUICKLIST_2 = 18;
    /// A stream with first ID, last deleted ID and entries added.
    STREAM_LISTPACKS_2 = 19;
    /// A set as listpack. In Dragonfly's files, which all have version 9: JSON.
    SET_LISTPACK = 20;
    /// A stream with active times.
    STREAM_LISTPACKS_3 = 21;
    /// Redis 7.4 release candidates: a hash with field TTLs.
    HASH_METADATA_PRE_GA = 22;
    /// Valkey 9.0: a hash with field TTLs. The same number as [`ValueType::HASH_METADATA_PRE_GA`].
    HASH_2 = 22;
    /// Redis 7.4 release candidates: a hash with field TTLs, as listpack.
    HASH_LISTPACK_EX_PRE_GA = 23;
    /// Valkey 9.2: a path hash. The same number as [`ValueType::HASH_LISTPACK_EX_PRE_GA`].
    PATH_HASH = 23;
    /// Redis 7.4: a hash with field TTLs.
    HASH_METADATA = 24;
    /// Redis 7.4: a hash with field TTLs, as listpack.
    HASH_LISTPACK_EX = 25;
    /// Redis 8.6: a stream with idempotency records.
    STREAM_LISTPACKS_4 = 26;
    /// Redis 8.8: a stream with nacked entries.
    STREAM_LISTPACKS_5 = 27;
    /// Redis 8.8: a sparse array.
    ARRAY = 28;
    /// Redis 8.10: a hash with its field names in front, values as listpack.
    HASH_TMPL_LP = 29;
    /// Redis 8.10: a hash whose field names stand in a template of the file; values as listpack.
    HASH_TMPL_LP_REF = 30;
    /// Redis 8.10: a hash with its field names in front, values as strings.
    HASH_TMPL_ARRAY = 31;
    /// Redis 8.10: a hash whose field names stand in a template of the file; values as strings.
    HASH_TMPL_ARRAY_REF = 32;
    /// Dragonfly: a JSON document as text. The same number as [`ValueType::HASH_TMPL_LP_REF`].
    DF_JSON = 30;
    /// Dragonfly: a hash with expiry per field. The same number as [`ValueType::HASH_TMPL_ARRAY`].
    DF_HASH_WITH_EXPIRY = 31;
    /// Dragonfly: a set with expiry per member. The same number as [`ValueType::HASH_TMPL_ARRAY_REF`].
    DF_SET_WITH_EXPIRY = 32;
    /// KeyDB: a cron job.
    KEYDB_CRON = 64;
}

/// The logical kind of a value, as `TYPE key` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `zset`
    ZSet,
    /// `hash`
    Hash,
    /// `stream`
    Stream,
    /// `array` (Redis 8.8)
    Array,
    /// A module's own type.
    Module,
    /// Dragonfly's JSON.
    Json,
}

impl Kind {
    /// All kinds, in the order in which reports list them.
    pub const ALL: [Kind; 9] = [
        Kind::String,
        Kind::List,
        Kind::Set,
        Kind::ZSet,
        Kind::Hash,
        Kind::Stream,
        Kind::Array,
        Kind::Module,
        Kind::Json,
    ];

    /// The name that `TYPE key` answers; `module` and `json` are ours.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
            Kind::Array => "array",
            Kind::Module => "module",
            Kind::Json => "json",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of one type number in one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeInfo {
    /// The logical kind.
    pub kind: Kind,
    /// Type and encoding in one word, for people: `hash-listpack`, `stream-listpacks-3`.
    pub name: &'static str,
    /// The encoding alone: `listpack`, `plain`.
    pub encoding: &'static str,
    /// The first RDB version in which the type exists: 80 and up are Valkey's own.
    pub since: u16,
}

impl ValueType {
    /// What the number means in `dialect`; `None` for a number that is unproven or never used.
    #[must_use]
    pub fn info(self, dialect: Dialect) -> Option<TypeInfo> {
        let (kind, name, encoding, since) = match (self.0, dialect) {
            (0, _) => (Kind::String, "string", "plain", 1),
            (1, _) => (Kind::List, "list", "plain", 1),
            (2, _) => (Kind::Set, "set", "plain", 1),
            (3, _) => (Kind::ZSet, "zset", "plain-text-scores", 1),
            (4, _) => (Kind::Hash, "hash", "plain", 1),
            (5, _) => (Kind::ZSet, "zset-2", "plain", 8),
            (7, _) => (Kind::Module, "module", "module", 8),
            (9, _) => (Kind::Hash, "hash-zipmap", "zipmap", 2),
            (10, _) => (Kind::List, "list-ziplist", "ziplist", 2),
            (11, _) => (Kind::Set, "set-intset", "intset", 2),
            (12, _) => (Kind::ZSet, "zset-ziplist", "ziplist", 2),
            (13, _) => (Kind::Hash, "hash-ziplist", "ziplist", 4),
            (14, _) => (Kind::List, "list-quicklist", "quicklist", 7),
            (15, _) => (Kind::Stream, "stream-listpacks", "stream", 9),
            (16, _) => (Kind::Hash, "hash-listpack", "listpack", 10),
            (17, _) => (Kind::ZSet, "zset-listpack", "listpack", 10),
            (18, _) => (Kind::List, "list-quicklist-2", "quicklist-2", 10),
            (19, _) => (Kind::Stream, "stream-listpacks-2", "stream-2", 10),
            (20, Dialect::Dragonfly) => (Kind::Json, "dragonfly-json-old", "text", 9),
            (20, _) => (Kind::Set, "set-listpack", "listpack", 11),
            (21, _) => (Kind::Stream, "stream-listpacks-3", "stream-3", 11),
            (22, Dialect::Redis) => (Kind::Hash, "hash-metadata-pre-ga", "plain-ttl-pre-ga", 12),
            (23, Dialect::Redis) => (
                Kind::Hash,
                "hash-listpack-ex-pre-ga",
                "listpack-ttl-pre-ga",
                12,
            ),
            (22, Dialect::Valkey) => (Kind::Hash, "hash-2", "plain-ttl", 80),
            (23, Dialect::Valkey) => (Kind::Hash, "path-hash", "path", 81),
            (24, Dialect::Redis) => (Kind::Hash, "hash-metadata", "plain-ttl", 12),
            (25, Dialect::Redis) => (Kind::Hash, "hash-listpack-ex", "listpack-ttl", 12),
            (26, Dialect::Redis) => (Kind::Stream, "stream-listpacks-4", "stream-4", 13),
            (27, Dialect::Redis) => (Kind::Stream, "stream-listpacks-5", "stream-5", 14),
            (28, Dialect::Redis) => (Kind::Array, "array", "sparse", 14),
            (29, Dialect::Redis) => (
                Kind::Hash,
                "hash-template-listpack",
                "template-listpack",
                15,
            ),
            (30, Dialect::Redis) => (
                Kind::Hash,
                "hash-template-listpack-ref",
                "template-listpack-ref",
                15,
            ),
            (31, Dialect::Redis) => (Kind::Hash, "hash-template-array", "template-array", 15),
            (32, Dialect::Redis) => (
                Kind::Hash,
                "hash-template-array-ref",
                "template-array-ref",
                15,
            ),
            (30, Dialect::Dragonfly) => (Kind::Json, "dragonfly-json", "text", 9),
            (31, Dialect::Dragonfly) => (
                Kind::Hash,
                "dragonfly-hash-with-expiry",
                "plain-ttl-seconds",
                9,
            ),
            (32, Dialect::Dragonfly) => (
                Kind::Set,
                "dragonfly-set-with-expiry",
                "plain-ttl-seconds",
                9,
            ),
            _ => return None,
        };
        Some(TypeInfo {
            kind,
            name,
            encoding,
            since,
        })
    }

    /// The name for people; a number that is not known says so.
    #[must_use]
    pub fn name(self, dialect: Dialect) -> Cow<'static, str> {
        match self.info(dialect) {
            Some(info) => Cow::Borrowed(info.name),
            None => Cow::Owned(format!("type {}", self.0)),
        }
    }

    /// Why a number without [`TypeInfo`] cannot be read, in words for the error.
    #[must_use]
    pub(crate) fn why_unknown(self, dialect: Dialect) -> &'static str {
        match (self.0, dialect) {
            (6, _) => {
                "a module value as only release candidates of Redis 4.0 wrote it; its end cannot be found"
            }
            (8, _) => "never used by any server",
            (64, _) => "KeyDB's cron job, whose layout is not proven",
            (33..=37, Dialect::Dragonfly) => {
                "one of Dragonfly's own types, whose layout is not proven"
            }
            (33..=35, Dialect::Redis) => "a number of Redis 8.12 that is not proven yet",
            (24..=37, Dialect::Valkey) => "a number of Redis, which a VALKEY file never holds",
            _ => "unknown: a newer server, another product, or damage before it",
        }
    }
}

/// The first byte of a record that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

numbers! { Opcode:
    /// End of the file; 8 bytes of CRC follow from version 5.
    EOF = 255;
    /// The following keys belong to this database.
    SELECTDB = 254;
    /// Expiry of the next key, seconds.
    EXPIRETIME = 253;
    /// Expiry of the next key, milliseconds.
    EXPIRETIME_MS = 252;
    /// A hint: keys, and keys with expiry.
    RESIZEDB = 251;
    /// A name and a value.
    AUX = 250;
    /// LFU counter of the next key.
    FREQ = 249;
    /// Idle time of the next key, seconds.
    IDLE = 248;
    /// A module's data that belongs to no key.
    MODULE_AUX = 247;
    /// A function library as the release candidates of 7.0 wrote it.
    FUNCTION_PRE_GA = 246;
    /// A function library.
    FUNCTION2 = 245;
    /// A hint: slot, keys, keys with expiry.
    SLOT_INFO = 244;
    /// Redis: metadata of the next key.
    KEY_META = 243;
    /// Valkey: a slot import job.
    SLOT_IMPORT = 243;
    /// Redis: field names that hashes share.
    HASH_TEMPLATE = 242;
    /// Valkey: a command inside a full synchronisation without fork; never in a file.
    UPDATE = 242;
    /// Redis 8.12: the next key must not be evicted. Unproven.
    KEY_NOEVICT = 241;
    /// Redis Enterprise: idle bookkeeping of the next key.
    ENTERPRISE_RAM_LRU = 107;
    /// Redis Enterprise: the slot of the next key.
    ENTERPRISE_SLOT_NUM = 121;
    /// Dragonfly: end of a full synchronisation, 8 bytes follow.
    DF_FULLSYNC_END = 200;
    /// Dragonfly: records compressed with Zstd.
    DF_ZSTD_BLOB = 201;
    /// Dragonfly: records compressed with LZ4.
    DF_LZ4_BLOB = 202;
    /// Dragonfly: end of the records inside a blob.
    DF_BLOB_END = 203;
    /// Dragonfly: journal entries.
    DF_JOURNAL_BLOB = 210;
    /// Dragonfly: a journal offset, 8 bytes.
    DF_JOURNAL_OFFSET = 211;
    /// Dragonfly: flags of the next key.
    DF_MASK = 220;
}

impl Opcode {
    /// The name for people, in `dialect`; `None` for a byte that is no opcode there.
    #[must_use]
    pub fn name(self, dialect: Dialect) -> Option<&'static str> {
        Some(match (self.0, dialect) {
            (255, _) => "EOF",
            (254, _) => "SELECTDB",
            (253, _) => "EXPIRETIME",
            (252, _) => "EXPIRETIME_MS",
            (251, _) => "RESIZEDB",
            (250, _) => "AUX",
            (249, _) => "FREQ",
            (248, _) => "IDLE",
            (247, _) => "MODULE_AUX",
            (246, _) => "FUNCTION_PRE_GA",
            (245, _) => "FUNCTION2",
            (244, _) => "SLOT_INFO",
            (243, Dialect::Valkey) => "SLOT_IMPORT",
            (243, _) => "KEY_META",
            (242, Dialect::Valkey) => "UPDATE",
            (242, _) => "HASH_TEMPLATE",
            (241, _) => "KEY_NOEVICT",
            (101, _) => "Redis Enterprise GCAS",
            (102, _) => "Redis Enterprise GFLAGS",
            (107, _) => "Redis Enterprise RAM_LRU",
            (121, _) => "Redis Enterprise SLOT_NUM",
            (200, Dialect::Dragonfly) => "Dragonfly FULLSYNC_END",
            (201, Dialect::Dragonfly) => "Dragonfly ZSTD blob",
            (202, Dialect::Dragonfly) => "Dragonfly LZ4 blob",
            (203, Dialect::Dragonfly) => "Dragonfly BLOB_END",
            (210, Dialect::Dragonfly) => "Dragonfly JOURNAL_BLOB",
            (211, Dialect::Dragonfly) => "Dragonfly JOURNAL_OFFSET",
            (220, Dialect::Dragonfly) => "Dragonfly MASK",
            (222, Dialect::Dragonfly) => "Dragonfly VECTOR_INDEX",
            (223, Dialect::Dragonfly) => "Dragonfly SHARD_DOC_INDEX",
            (224, Dialect::Dragonfly) => "Dragonfly TAGGED_CHUNK",
            _ => return None,
        })
    }
}

/// The four digits behind `REDIS`, or the three behind `VALKEY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    /// The newest version of a `REDIS` file that is proven: Redis 8.10.
    pub const NEWEST_REDIS: Self = Self(15);
    /// The oldest version of a `VALKEY` file: Valkey 9.0.
    pub const OLDEST_VALKEY: Self = Self(80);
    /// The newest version of a `VALKEY` file that is proven: Valkey 9.2.
    pub const NEWEST_VALKEY: Self = Self(81);
    /// The first version with a CRC behind `EOF`.
    pub const FIRST_WITH_CRC: Self = Self(5);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a module type and the version of its encoding, from the 64-bit id in front of its values: 54 bits name
/// (nine characters of six bits, the first one highest), 10 bits version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u64);

impl ModuleId {
    const ALPHABET: &'static [u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// The nine characters of the type's name.
    #[must_use]
    pub fn name(self) -> String {
        (0..9u32)
            .map(|i| {
                let shift = 58u32.saturating_sub(i.saturating_mul(6));
                let index = usize::try_from(self.0 >> shift & 0x3f).unwrap_or(0);
                char::from(*Self::ALPHABET.get(index).unwrap_or(&b'?'))
            })
            .collect()
    }

    /// The version of the type's encoding.
    #[must_use]
    pub fn version(self) -> u16 {
        u16::try_from(self.0 & 0x3ff).unwrap_or(0)
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name(), self.version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_within_a_dialect() {
        for dialect in [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly] {
            let names: Vec<_> = (0..=255)
                .filter_map(|n| ValueType(n).info(dialect))
                .map(|i| i.name)
                .collect();
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), unique.len());
        }
    }

    #[test]
    fn the_ambiguous_numbers_differ() {
        assert_eq!(ValueType(22).info(Dialect::Redis).unwrap().since, 12);
        assert_eq!(ValueType(22).info(Dialect::Valkey).unwrap().since, 80);
        assert_eq!(
            ValueType(30).info(Dialect::Dragonfly).unwrap().kind,
            Kind::Json
        );
        for unproven in [6, 8, 33, 34, 35, 64, 200] {
            assert_eq!(ValueType(unproven).info(Dialect::Redis), None);
        }
    }

    #[test]
    fn module_names_unpack() {
        let name = b"ReJSON-RL";
        let id = name.iter().fold(0u64, |id, c| {
            id << 6 | ModuleId::ALPHABET.iter().position(|a| a == c).unwrap() as u64
        }) << 10
            | 3;
        assert_eq!(ModuleId(id).to_string(), "ReJSON-RL version 3");
    }
}
