//! Keys as JSON: one schema, the same for `get`, `export` and whoever uses [`KeyWriter`], or `KeySerializer` for any serializer
//! of `serde` (feature `serde`).
//!
//! # Schema
//! A key is an object. The members stand in this order; one that does not apply is absent, never `null`.
//!
//! | member | what |
//! |---|---|
//! | `db` | database number |
//! | `key` | the name, a *string* (below); `null` where its bytes cannot be decoded |
//! | `type` | as `TYPE` answers: `string`, `list`, `set`, `zset`, `hash`, `stream`, `array`; `module`; `json` (Dragonfly) |
//! | `encoding` | how the file has it: `plain`, `listpack`, `intset`, `quicklist-2`, `stream-3`, … |
//! | `expire_at_ms` | when it expires, milliseconds of Unix time |
//! | `idle_seconds`, `lfu_freq` | seconds since its last access; or the logarithmic counter of accesses |
//! | `slot` | the slot that Redis Enterprise noted |
//! | `df_flags` | the flags that Dragonfly noted |
//! | `key_meta` | metadata of Redis 8.6: `[{"class":…,"version":…,"flags":…,"items":[…]},…]`, items as a module's |
//! | `value` | below |
//! | `sub_expires` | KeyDB: `[[member or field, ms],…]` |
//! | `error` | what is wrong with the value; `value` is then what could be read, or absent |
//!
//! | type | value |
//! |---|---|
//! | `string`, `json` | a string |
//! | `list` | `[element,…]` |
//! | `set` | `[member,…]`; a member that expires by itself (Dragonfly) is `[member, ms]` |
//! | `zset` | `[[member, score],…]` |
//! | `hash` | `[[field, value],…]`; a field that expires is `[field, value, ms]`; in the encoding `path`, `[path, field, value]` |
//! | `stream` | an object: `entries` `[[id, [[field, value],…]],…]`, `length`, `last_id`, `first_id`, `max_deleted_id`, `entries_added`, `groups`, `idempotency` |
//! | `array` | an object: `insert_index`, `items` `[[index, element],…]` |
//! | `module` | a vector set (Redis 8): an object, below; else an object: `module`, `version`, `items` `[{"signed":"-1"},{"unsigned":"1"},{"float":1.5},{"double":1.5},{"string":…},…]` |
//!
//! Of a stream, a group is `{"name":…,"last_id":…,"entries_read":…,"pending":[[id, delivered_at_ms, count],…],
//! "consumers":[{"name":…,"seen_at_ms":…,"active_at_ms":…,"pending":[id,…]},…],"nacked":[id,…]}`; `idempotency` is
//! `{"duration_seconds":…,"max_entries":…,"producers":[{"id":…,"records":[[iid, id],…]},…],"added":…,"duplicates":…}`.
//! What a stream's encoding does not note is absent. IDs are strings, `"1526919030474-55"`.
//!
//! A vector set is `{"module":"vectorset","version":0,"quantization":…,"dim":…,"links":…,"elements":[{"name":…,"attributes":…,
//! "vector":[…],"norm":…,"range":…},…]}`. `quantization` is `f32` (`vector` has the floats of the file, of length 1), `int8` (integers,
//! of which 127 stands for `range`) or `bin` (1 and -1); times `norm`, but for `bin`, they are what `VEMB` answers. `attributes` is absent where there are
//! none. With a `projection`, an object of `dim` (numbers that are put in) and `matrix` (a string of floats of 32 bits, little
//! endian), it stands in front of `elements`. The links between elements are left out: a server finds them for itself. A value of
//! that module that does not read so to its end has `items`.
//!
//! # Rules
//! * **Strings** are bytes. Bytes that are UTF-8 are a JSON string, which is exactly that text (with what could disturb a
//!   terminal as `\u009b`, from [`KeyWriter`]); all others are `{"base64":"…"}` (RFC 4648, padded). Nothing else in this schema looks like either, so both directions are unambiguous.
//!   An element that the file keeps as an integer is the string of its digits: `"5"` and `5` are one member to a server.
//! * **Order and duplicates** are the file's: collections are arrays, never objects.
//! * **Scores** are JSON numbers, the shortest ones that read back to the same bits; −0 is `-0.0`. Infinities and what is no
//!   number are `"inf"`, `"-inf"`, `"nan"`.
//! * **Counts and times** are JSON integers with all their digits. Those that may well be beyond 2^53 in a sound file
//!   (indices of arrays, integers of modules) are strings of digits, since many readers keep no more than 53 bits.
//!
//! Written straight into a buffer: a value of any size takes flat memory, since what is full is spilled in its middle.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation
    )
)]

mod collections;
mod damage;
mod key;
mod number;
mod opaque;
mod report;
#[cfg(feature = "serde")]
mod serialize;
mod stream;
mod string;
#[cfg(test)]
mod tests;
mod text;

pub use damage::Damage;
pub use key::KeyWriter;
pub use number::push_double;
pub use report::write_report;
#[cfg(feature = "serde")]
pub use serialize::{Key, KeySerializer};
pub(crate) use string::is_plain;
pub use string::push_string;
pub use text::{PIECE, Spill, write_element};
