//! The protocol of a Redis-compatible server, from the socket up: streams, packing, replies, connections. Knows no RDB.
//!
//! ```no_run
//! # fn main() -> rdbridge::Result<()> {
//! use rdbridge::resp::{Arg, Connector, Reply};
//!
//! let connector = Connector::new("redis://localhost:6379/0".parse()?);
//! let mut connection = connector.connect()?;
//! match connection.request(&[Arg::from("PTTL"), Arg::from("key")])? {
//!     Reply::Integer(ms) => assert!(ms >= -2),
//!     Reply::Error(words) => assert!(!words.is_empty()), // the server's own words
//!     _ => {}
//! }
//! // And the `redis` crate's commands and conversions, over the same connection:
//! let ttl: i64 = redis::cmd("PTTL").arg("key").query(&mut connection).unwrap();
//! # Ok(()) }
//! ```
//!
//! - [`address`]: where a server is, as typed; no text of it shows a password.
//! - [`stream`]: TCP, TLS or unix socket, never blocking.
//! - [`pack`]: commands to bytes; large arguments from where they stand.
//! - [`reply`]: bytes to replies, incremental and borrowed; runs of `+OK` counted first.
//! - [`mark`]: replies that prove their place.
//! - [`conn`]: login, requests, the two-way step; [`redis::ConnectionLike`].
//! - [`login`]: logging in again on open connections.
//! - [`pipeline`]: many commands under way, each reply tied to its command.
//! - [`rename`]: commands that are called otherwise there.
//! - [`talk`]: arguments and replies of any size, in pieces.
//!
//! RESP2 only. Nothing here retries: a connection that failed is over, and who holds the [`Connector`] makes a new one.
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

pub mod address;
pub mod conn;
pub mod login;
pub mod mark;
pub mod pack;
pub mod pipeline;
pub mod rename;
pub mod reply;
mod secret;
mod sentinel;
pub mod stream;
pub mod talk;
#[cfg(feature = "tls")]
mod tls;

#[cfg(test)]
pub(crate) mod tests;

pub use address::{Address, Endpoint};
pub use conn::{Connection, Connector, End, Trace};
pub(crate) use conn::{FULL, is_full};
pub use login::Reauth;
pub use pack::Arg;
pub use pipeline::{Answer, Pipeline, Sink, WindowOptions};
pub use rename::{Rename, Renames};
pub use reply::{Array, Reply};
pub use secret::{Secret, SecretSource};
pub use stream::{StreamOptions, TlsOptions};
pub use talk::{Talk, Token};
