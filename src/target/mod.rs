//! The destination: what it is, what it accepts, and how its answers are judged. (The sender is [`crate::resp::pipeline`].)
//!
//! - [`facts`]: product, version, limits, what it holds, asked without writing.
//! - [`product`]: names and versions.
//! - [`footer`]: which footer version a type needs, and a server takes.
//! - [`mod@probe`]: which footers and types `RESTORE` takes here, found out without storing anything.
//! - [`accept`]: the same from a table by product and version, joined with what probing found, as [`crate::replay::Terms`].
//! - [`cluster`]: the nodes of a cluster, by name.
//! - [`topology`]: which of them serves which slots.
//! - [`reaction`]: what an answer means.

pub mod accept;
pub mod cluster;
pub mod facts;
pub mod footer;
mod held;
pub mod probe;
pub mod product;
pub mod reaction;
mod rights;
pub mod topology;

/// What to do where a login is wanted.
const LOG_IN: &str = "give a password by --password-file, --password-command or RDBRIDGE_PASSWORD, and --user where it has users";

#[cfg(test)]
mod tests;

pub use accept::Acceptance;
pub use cluster::{Node, NodeAlias, NodeMap};
pub(crate) use facts::process_id;
pub use facts::{Closed, Facts, Mode, Role};
pub use held::Held;
pub use probe::{Probed, Verdict, probe};
pub use product::{Assumed, Product, Version};
pub use reaction::{Asked, BadPayload, Elsewhere, Pause, Reaction, Situation, Wait, react};
pub use rights::{NO_PAYLOAD, functions_closed, has_key_patterns};
pub use topology::{SLOTS, Topology};
