//! How long it may take: the round trip, and the rate of commands that store nothing. An estimate.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Result;
use crate::resp::{Answer, Arg, Connection, Pipeline, Reply, WindowOptions};

/// Round trips that are measured; the shortest counts.
const TRIPS: usize = 5;
/// How long the rate is measured next door; over a long way as many round trips as the window takes to grow.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(3);
/// The largest probe.
const MOST_BYTES: u64 = 16 * 1024;
/// No more than so many bytes are sent, and commands: a tenth of those of the load, within these bounds.
const MOST_IN_ALL: u64 = 64 << 20;
const COMMANDS: (u64, u64) = (1000, 50_000);
/// How much longer a server works on a `RESTORE` than on an `ECHO` of as many bytes, at the most, as a rule.
const SLOWER: u64 = 3;

/// What was measured with `PING` and `ECHO`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    /// The shortest round trip, microseconds.
    pub round_trip_us: u64,
    /// `ECHO` commands a second on one connection, pipelined; `None` where that is closed.
    pub commands_per_second: Option<u64>,
    /// Bytes of each.
    pub bytes_each: u64,
    /// How many were sent.
    pub sent: u64,
}

/// An estimate of the time.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// At the rate of `ECHO`, seconds.
    pub at_least_seconds: u64,
    /// With what a `RESTORE` costs a server, seconds.
    pub at_most_seconds: u64,
    /// What is likely to be the limit, in words.
    pub limit: String,
}

/// What the user bounds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) rates: crate::pace::Rates,
    pub(super) replicas: Option<u64>,
    /// They are written to beside each other.
    pub(super) shards: u64,
}

/// Measures with commands of about `bytes_each` bytes. Nothing is stored.
///
/// # Errors
/// The connection fails.
pub(super) fn measure(
    mut connection: Connection,
    commands: u64,
    bytes_each: u64,
) -> Result<Measured> {
    let mut shortest = Duration::MAX;
    for _ in 0..TRIPS {
        let asked = Instant::now();
        connection.request(&[Arg::from("PING")])?;
        shortest = shortest.min(asked.elapsed());
    }
    let bytes_each = bytes_each.clamp(16, MOST_BYTES);
    let mut measured = Measured {
        round_trip_us: u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX),
        commands_per_second: None,
        bytes_each,
        sent: 0,
    };
    let probe = vec![b'.'; usize::try_from(bytes_each).unwrap_or(16)];
    let command = [Arg::from("ECHO"), Arg::Bytes(&probe)];
    if let Reply::Error(_) = connection.request(&command)? {
        return Ok(measured);
    }
    let mut pipeline: Pipeline<()> = Pipeline::new(connection, WindowOptions::default())?;
    let (mut sent, mut refused) = (0u64, 0u64);
    let mut sink = |(), answer: Answer<'_>| {
        if matches!(answer.reply(), Reply::Error(_)) {
            refused = refused.saturating_add(1);
        }
        Ok(())
    };
    let most = shortest.saturating_mul(20).clamp(SHORTEST, LONGEST);
    let begun = Instant::now();
    let most_commands = (commands / 10).clamp(COMMANDS.0, COMMANDS.1);
    while begun.elapsed() < most
        && sent < most_commands
        && sent.saturating_mul(bytes_each) < MOST_IN_ALL
    {
        for _ in 0..64 {
            pipeline.push((), &command, &mut sink)?;
        }
        sent = sent.saturating_add(64);
    }
    pipeline.drain(&mut sink)?;
    let micros = u64::try_from(begun.elapsed().as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    measured.sent = sent;
    if refused == 0 {
        measured.commands_per_second = Some(sent.saturating_mul(1_000_000) / micros);
    }
    Ok(measured)
}

/// How long so many commands of so many bytes in all will take.
pub(super) fn estimate(
    measured: &Measured,
    commands: u64,
    bytes: u64,
    bounds: Bounds,
) -> Option<Estimate> {
    let per_second = measured
        .commands_per_second?
        .saturating_mul(bounds.shards.max(1))
        .max(1);
    // Large values go at the rate of bytes, small ones at that of commands.
    let bytes_per_second = per_second.saturating_mul(measured.bytes_each).max(1);
    let by_commands = commands.div_ceil(per_second);
    let by_bytes = bytes.div_ceil(bytes_per_second);
    let at_least = by_commands.max(by_bytes);
    let rates = bounds.rates;
    let asked_for = [
        rates.keys.map(|rate| commands.div_ceil(rate.max(1))),
        rates.commands.map(|rate| commands.div_ceil(rate.max(1))),
        rates.bytes.map(|rate| bytes.div_ceil(rate.max(1))),
    ];
    let asked_for = asked_for.into_iter().flatten().max().unwrap_or(0);
    let at_most = at_least.saturating_mul(SLOWER);
    let limit = if asked_for >= at_most && asked_for > 0 {
        "the rate that was asked for".to_owned()
    } else if bounds.replicas.unwrap_or(0) > 0 {
        "the server, or the lag of its replicas, which is held under a bound".to_owned()
    } else if by_bytes > by_commands {
        "bytes: the network, or the server's one thread".to_owned()
    } else if measured.round_trip_us > 20_000 {
        "the way: run this nearer to the destination, or with more --connections".to_owned()
    } else {
        "the server's one thread".to_owned()
    };
    Some(Estimate {
        at_least_seconds: at_least.max(asked_for),
        at_most_seconds: at_most.max(asked_for),
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Rates;

    #[test]
    fn the_slowest_of_all_bounds_holds() {
        let measured = Measured {
            round_trip_us: 100,
            commands_per_second: Some(100_000),
            bytes_each: 100,
            sent: 1000,
        };
        let small = estimate(&measured, 1_000_000, 50_000_000, Bounds::default()).unwrap();
        assert_eq!((small.at_least_seconds, small.at_most_seconds), (10, 30));
        let large = estimate(&measured, 10, 1_000_000_000, Bounds::default()).unwrap();
        assert_eq!(large.at_least_seconds, 100);
        assert!(large.limit.starts_with("bytes"), "{}", large.limit);
        let bounds = Bounds {
            rates: Rates {
                keys: Some(1000),
                ..Rates::default()
            },
            ..Bounds::default()
        };
        let slow = estimate(&measured, 1_000_000, 50_000_000, bounds).unwrap();
        assert_eq!((slow.at_least_seconds, slow.at_most_seconds), (1000, 1000));
        let hidden = Measured {
            commands_per_second: None,
            ..measured
        };
        assert!(estimate(&hidden, 1, 1, Bounds::default()).is_none());
    }
}
