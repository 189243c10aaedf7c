//! The primitives of an RDB file, read from `&'data [u8]` (and written, where an encoder needs it).
//!
//! # Byte orders
//! | what | order |
//! |---|---|
//! | lengths (14, 32, 64 bit), stream IDs | big endian |
//! | integers of `C1`/`C2` strings, expiry times, binary doubles, footers, listpack and ziplist headers | little endian |
//! | string lengths inside a ziplist | big endian |
//!
//! # Offsets
//! Every [`Cursor`] knows where its bytes stand in the (decompressed) input, so each error carries a [`crate::error::Place`].
//!
//! # Refuses
//! Nothing here knows opcodes or types. A length is a claim: it is compared with the bytes that remain before it is used.
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

pub mod crc64;
pub mod cursor;
pub mod double;
pub mod length;
pub mod lzf;
pub mod string;

pub use cursor::{CUT, Cursor};
pub use string::Str;
