//! rdbridge: takes a Redis `dump.rdb` into any server that accepts only commands.
//!
//! (The map of the crate is written when its layers stand.)

pub mod error;
pub mod fingerprint;
pub mod input;
pub mod mapped;
pub mod outcome;
pub mod payload;
pub mod replay;
pub mod resp;
pub mod select;
pub mod snapshot;
pub mod spool;
pub mod survey;
pub mod target;
pub mod time;
pub mod units;
pub mod value;
pub mod verbs;
pub mod wire;

pub use error::{Error, ErrorKind, Result};
