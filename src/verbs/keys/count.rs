//! How many elements a value has: by walking it, since what headers claim may lie.

use crate::error::Result;
use crate::value::{Findings, Value};

/// Counts into `count` as far as the walk comes: elements, members, fields, live stream entries; a string is one. `None` at
/// once for a module's value, whose elements nobody knows.
pub(super) fn elements<F: Findings>(value: Value<'_, F>, count: &mut u64) -> Result<Option<()>> {
    let mut one = || *count = count.wrapping_add(1);
    match value {
        Value::String(_) | Value::Json(_) => one(),
        Value::List(mut list) => {
            while list.next_element()?.is_some() {
                one();
            }
        }
        Value::Set(mut set) => {
            while set.next_member()?.is_some() {
                one();
            }
        }
        Value::Zset(mut zset) => {
            while zset.next_scored()?.is_some() {
                one();
            }
        }
        Value::Hash(mut hash) => {
            while hash.next_field()?.is_some() {
                one();
            }
        }
        Value::Stream(mut stream) => {
            while stream.next_entry()?.is_some() {
                one();
            }
        }
        Value::Array(mut array) => {
            while array.next_item()?.is_some() {
                one();
            }
        }
        Value::Module(_) => return Ok(None),
    }
    Ok(Some(()))
}
