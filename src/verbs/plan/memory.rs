//! Whether the dump fits: an estimate, ± 20 %.

use serde::Serialize;

use crate::snapshot::{Entry, Kind};
use crate::survey::Survey;
use crate::target::Facts;
use crate::value::Decoder;
use crate::wire::{Cursor, Str};

/// By how much the estimate may be wrong, in percent.
pub const UNCERTAINTY: u64 = 20;

/// What can be said of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Even if it takes a fifth more.
    Fits,
    /// If the estimate is right.
    Tight,
    /// Not unless it takes less than estimated, or something is evicted.
    TooLarge,
    /// The destination hides its limit or its use.
    NotKnown,
}

/// The dump's need, and the room.
#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Bytes that the selected keys need there, ± [`UNCERTAINTY`].
    pub needed: u64,
    /// `used-mem` (the writer's own account, by share) or `by-type` (a formula).
    pub basis: &'static str,
    /// The limit, bytes; 0: none.
    pub maxmemory: Option<u64>,
    /// In use now, bytes.
    pub used: Option<u64>,
    /// Limit less use, bytes; `None` where there is no limit or it is hidden.
    pub free: Option<u64>,
    /// What happens at the limit.
    pub policy: Option<String>,
    /// Whether it fits.
    pub fit: Fit,
    /// The destination would evict keys, so `load` refuses to begin.
    pub would_evict: bool,
}

impl Memory {
    /// Holds the need of all inputs against the room.
    pub(super) fn judge(surveys: &[Survey], by_type: u64, facts: &Facts) -> Self {
        let told = surveys
            .iter()
            .all(|survey| survey.producer.used_mem.is_some());
        let as_loaded = surveys
            .iter()
            .map(Survey::estimated_memory)
            .fold(0, u64::saturating_add);
        let (needed, basis) = match told {
            true => (as_loaded, "used-mem"),
            false => (by_type, "by-type"),
        };
        let free = match (facts.maxmemory, facts.used_memory) {
            (Some(limit @ 1..), Some(used)) => Some(limit.saturating_sub(used)),
            _ => None,
        };
        let fit = match (facts.maxmemory, free) {
            (Some(0), _) => Fit::Fits,
            (_, None) => Fit::NotKnown,
            (_, Some(free)) if with_margin(needed) <= free => Fit::Fits,
            (_, Some(free)) if needed <= free => Fit::Tight,
            _ => Fit::TooLarge,
        };
        Self {
            needed,
            basis,
            maxmemory: facts.maxmemory,
            used: facts.used_memory,
            free,
            policy: facts.maxmemory_policy.clone(),
            fit,
            would_evict: facts.may_evict() == Some(true)
                && free.is_some_and(|free| as_loaded > free),
        }
    }
}

fn with_margin(needed: u64) -> u64 {
    needed.saturating_add(needed / 100 * UNCERTAINTY)
}

/// Bytes that one key takes in a server, by its type. The overheads are those of 64-bit servers: a slot of the table, its
/// entry, the object, headers of strings and what an allocator rounds up.
pub(super) fn of_entry(entry: &Entry<'_>, decoder: &mut Decoder) -> u64 {
    const KEY: u64 = 72;
    const EXPIRY: u64 = 40;
    let packed = entry
        .type_info()
        .is_none_or(|info| !info.encoding.starts_with("plain"));
    let kind = entry.type_info().map(|info| info.kind);
    let mut elements = || match packed {
        true => 0,
        false => decoder.count(entry).unwrap_or(0),
    };
    let each = match kind {
        Some(Kind::List) => 16,
        Some(Kind::Set) => 48,
        Some(Kind::Hash) => 72,
        Some(Kind::ZSet) => 112,
        _ => 0,
    };
    let value = unpacked_len(entry).saturating_add(match each {
        0 => 16,
        each => elements().saturating_mul(each).saturating_add(64),
    });
    KEY.saturating_add(entry.key.len())
        .saturating_add(if entry.expire_at_ms.is_some() {
            EXPIRY
        } else {
            0
        })
        .saturating_add(value)
}

/// Bytes of the value; where it is one compressed string, those that this becomes.
fn unpacked_len(entry: &Entry<'_>) -> u64 {
    let stored = entry.value.len() as u64;
    if !matches!(entry.value_type.0, 0 | 9..=13 | 16 | 17 | 20) {
        return stored;
    }
    match Str::read(&mut Cursor::new(entry.value, entry.value_offset)) {
        // A claim, which no compressor could exceed.
        Ok(text @ Str::Lzf(_)) => text.len().min(stored.saturating_mul(256)),
        _ => stored,
    }
}
