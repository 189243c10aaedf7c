//! For how long a server does nothing else while it takes a payload: it makes a whole value before it answers.

use std::time::Duration;

use crate::snapshot::{Entry, Kind};

/// A payload of so few bytes is no matter, whatever its type: the slowest takes a millisecond.
pub(super) const NEVER: u64 = 32 * 1024;

/// The pause that the `RESTORE` of a payload of `bytes` bytes makes, milliseconds.
///
/// Measured with payloads of 67 MiB: a set 0.6 s, a hash 0.65 s, a sorted set 1.1 to 1.6 s. Strings and the blobs of lists and
/// streams are copied as they are.
pub(super) fn expected_ms(entry: &Entry<'_>, bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    // Tenths of a millisecond for a mebibyte.
    let tenths = match entry.type_info().map(|info| info.kind) {
        Some(Kind::ZSet) => 240,
        Some(Kind::Hash) => 97,
        Some(Kind::Set) => 90,
        Some(Kind::List | Kind::Stream | Kind::Array) => 20,
        // Commands would write it in one piece, too.
        Some(Kind::String | Kind::Module | Kind::Json) | None => 0,
    };
    bytes.saturating_mul(tenths) / (10 * MIB)
}

/// The longest pause that one value may make, milliseconds, where the destination held so many `keys` before: `wanted`, else half
/// a second, or 50 ms where somebody may use it.
#[must_use]
pub fn max_stall_ms(wanted: Option<Duration>, keys: Option<u64>) -> u64 {
    match (wanted, keys) {
        (Some(most), _) => u64::try_from(most.as_millis()).unwrap_or(u64::MAX),
        (None, Some(0)) => 500,
        (None, _) => 50,
    }
}
