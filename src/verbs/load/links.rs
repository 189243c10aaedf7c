//! The connections of whoever watches beside a load: opened when they are first needed, and again where they were lost.

use std::time::{Duration, Instant};

use super::again::passes;
use super::shards::{Shard, Shards};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Connection};

/// Between two tries to open what cannot be opened: the first and the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// A shard, and the connection to it, once there is one.
pub(super) struct Link<'run> {
    pub(super) shard: &'run Shard,
    connection: Option<Connection>,
}

impl Link<'_> {
    /// The connection, which is opened where there is none.
    ///
    /// # Errors
    /// As [`crate::resp::Connector::connect`].
    pub(super) fn open(&mut self) -> Result<&mut Connection> {
        let Self { shard, connection } = self;
        Ok(match connection {
            Some(open) => open,
            None => connection.insert(connect(shard)?),
        })
    }
}

/// A server that has too many clients tells so when it is asked something. What is asked later would take that for an answer.
fn connect(shard: &Shard) -> Result<Connection> {
    let mut connection = shard.connector.connect()?;
    let reply = connection.request(&[Arg::from("PING")])?;
    let words = String::from_utf8_lossy(reply.error().unwrap_or_default());
    match words.contains("max number of clients") || passes(&words).is_some() {
        false => Ok(connection),
        true => Err(Error::new(
            ErrorKind::Destination,
            format!("the destination says {}", Escaped(words.as_bytes())),
        )),
    }
}

/// One for each shard.
pub(super) struct Links<'run> {
    list: Vec<Link<'run>>,
    /// Since when they cannot all be used.
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    tries: u32,
    next: Instant,
}

impl<'run> Links<'run> {
    pub(super) fn to(shards: &'run Shards) -> Self {
        let list = shards.list().iter().map(|shard| Link {
            shard,
            connection: None,
        });
        Self {
            list: list.collect(),
            failing: None,
        }
    }

    pub(super) fn each(&mut self) -> &mut [Link<'run>] {
        &mut self.list
    }

    /// Whether something may be asked now: not while the next try to open a connection is waited for.
    pub(super) fn may_ask(&self) -> bool {
        self.failing
            .as_ref()
            .is_none_or(|failing| Instant::now() >= failing.next)
    }

    /// All were asked, and answered. Gives how often that failed since they did before.
    pub(super) fn answered(&mut self) -> u32 {
        self.failing.take().map_or(0, |failing| failing.tries)
    }

    /// One failed: what is lost is opened anew, the first time at once. Gives how often it failed in a row, and for how long.
    pub(super) fn failed(&mut self) -> (u32, Duration) {
        for link in &mut self.list {
            link.connection.take_if(|open| open.end().is_some());
        }
        let now = Instant::now();
        let failing = self.failing.get_or_insert(Failing {
            since: now,
            tries: 0,
            next: now,
        });
        failing.next = match failing.tries {
            0 => now,
            tries => now + FIRST.saturating_mul(1 << (tries - 1).min(8)).min(LONGEST),
        };
        failing.tries = failing.tries.saturating_add(1);
        (failing.tries, failing.since.elapsed())
    }
}
