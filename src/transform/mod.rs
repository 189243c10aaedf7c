//! What changes on the way from a file to a destination: names of keys, their databases, and expiries. Values stay raw. L1.
//!
//! What names a key of the *file* (the selection, lists of names, the ledger) has the file's name; what names one at the
//! *destination* (commands, slots, look-ups) has the one that [`Naming`] gives. Expiries are first transformed
//! ([`Expiries`]), then judged.

mod db_map;
mod expiries;
mod naming;

pub use db_map::DbMap;
pub use expiries::{Expiries, Shift, TtlRules};
pub use naming::{LONGEST_NAME, Naming, Prefix, Rename};

/// All that changes, but for the databases, which are known apart.
#[derive(Debug, Clone, Default)]
pub struct Transform {
    /// Names of keys.
    pub names: Naming,
    /// Expiries of keys, and of the fields and members inside values.
    pub expiries: Expiries,
}
