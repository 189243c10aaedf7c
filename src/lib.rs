//! rdbridge takes a Redis `dump.rdb` into any server that accepts only commands: it maps the file, finds every entry without
//! decoding it, and replays it by `RESTORE`. It also shows what is in a dump and proves that a dump is sound.
//!
//! # Layers
//! Data flows one way, and each layer knows only those above it in this list (a test keeps it so):
//!
//! 1. [`error`]: one error, with who is to blame, where, and what to do next. [`units`], [`time`]: how numbers are shown.
//!    [`mapped`], [`spool`], [`fingerprint`]: the one map call, unlinked temporary files, uniqueness in flat memory.
//! 2. [`wire`]: the primitives of RDB. [`transform`]: what names, databases and expiries become on their way. [`resp`]: the protocol of the server, which knows no RDB.
//! 3. [`input`]: files, directories, pipes and packed dumps as one borrowed slice.
//! 4. [`snapshot`]: the container. [`snapshot::Snapshot`] is the heart: it yields borrowed entries, by pulling.
//! 5. [`value`]: values, decoded lazily. [`payload`]: DUMP payloads as slices of the file. [`reencode`]: values in older forms.
//!    [`json`]: keys as JSON, by one schema.
//! 6. [`select`], [`survey`], [`duplicates`], [`outcome`], [`journal`], [`replay`], [`pace`]: which entries, what they hold, what becomes of them, how far a
//!    load is, as which command, and how fast.
//! 7. [`target`]: what the destination is and takes, and what its answers mean. [`meaning`]: whether it holds what an entry means.
//! 8. [`verbs`]: check, info, load, export and the others. They return what they found as data and do not know each other.
//!
//! The command line is not here: it lives in the binary, behind the default feature `cli`.
//!
//! # What is absent
//! - The library never prints, exits, or reads the environment or the clock for a run's instant: that is passed in.
//! - No count or length from a file or a server is used before it was compared with what is there.
//! - No panic on any input; iterators are fused after an error.
//! - The bytes of a key that can go as they are are never changed on their way.
//!
//! # Example
//! ```
//! use rdbridge::snapshot::Snapshot;
//!
//! let file = b"REDIS0009\xfe\x00\x00\x01k\x01v\xff\xf1\xc3\xf1\x2d\x87\xe2\xaf\x85";
//! let mut keys = Vec::new();
//! for entry in Snapshot::parse(file)?.entries() {
//!     keys.push(entry?.key.bytes(&mut Vec::new())?.to_vec());
//! }
//! assert_eq!(keys, [b"k"]);
//! # Ok::<(), rdbridge::Error>(())
//! ```

pub mod duplicates;
pub mod error;
pub mod fingerprint;
pub mod input;
pub mod journal;
pub mod json;
pub mod mapped;
pub mod meaning;
pub mod name_room;
pub mod outcome;
pub mod pace;
pub mod payload;
pub mod reencode;
pub mod replay;
pub mod resp;
pub mod select;
pub mod snapshot;
pub mod spool;
pub mod survey;
pub mod target;
pub mod time;
pub mod transform;
pub mod units;
pub mod value;
pub mod verbs;
pub mod wire;

pub use error::{Error, ErrorKind, Result};
