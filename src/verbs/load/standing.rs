//! What the destination keeps of what it acknowledged: read from `INFO`, again and again while a load runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::again::passes;
use super::shards::Shards;
use crate::error::Result;
use crate::journal::{Cover, Recorder};
use crate::resp::{Arg, Connection};
use crate::target::{Held, process_id};

/// How the destination stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its own name for its process.
    pub run_id: Option<String>,
    /// It does not say that it is a replica.
    pub is_master: Option<bool>,
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// Replicas that are connected, in step or not.
    pub connected: Option<u64>,
    /// The length of the stream of changes, bytes.
    pub offset: Option<u64>,
    /// It writes an append-only file.
    pub appends: Option<bool>,
    /// Seconds of Unix time at which its last good snapshot began.
    pub saved: Option<u64>,
    /// Full resynchronisations of replicas since it started.
    pub full_syncs: Option<u64>,
    /// Keys that it evicted since it started.
    pub evicted: Option<u64>,
}

/// One replica, as its master tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    /// Its address.
    pub name: String,
    /// What it has of the stream of changes; `None` while it is given a full copy.
    pub offset: Option<u64>,
}

/// What came of asking a destination how it stands.
#[derive(Debug)]
pub(super) enum Told {
    Standing(Standing),
    /// Not now: it is busy, or loads its data set.
    NotNow,
    /// Nothing, ever: the question is closed to us.
    Never,
}

impl Standing {
    /// Asks; `None` where the destination does not tell.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask(connection: &mut Connection) -> Result<Option<Self>> {
        Self::ask_about(connection, &[Arg::from("INFO")])
    }

    /// The same, and whether what is not told now may be told later.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask_whether(connection: &mut Connection) -> Result<Told> {
        let reply = connection.request(&[Arg::from("INFO")])?;
        Ok(match (reply.text(), reply.error()) {
            (Some(text), _) => Told::Standing(Self::read(&String::from_utf8_lossy(text))),
            (None, Some(words)) if passes(&String::from_utf8_lossy(words)).is_some() => {
                Told::NotNow
            }
            _ => Told::Never,
        })
    }

    /// The same by another question: what its answer does not tell is `None`.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask_about(
        connection: &mut Connection,
        question: &[Arg<'_>],
    ) -> Result<Option<Self>> {
        let reply = connection.request(question)?;
        Ok(reply
            .text()
            .map(|text| Self::read(&String::from_utf8_lossy(text))))
    }

    fn read(text: &str) -> Self {
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
        let saved_well = fields
            .get("rdb_last_bgsave_status")
            .is_none_or(|&status| status == "ok");
        // The time is that of the end; what was written while it was made is not in it.
        let took = number("rdb_last_bgsave_time_sec").unwrap_or(0);
        Self {
            run_id: process_id(&fields),
            is_master: fields.get("role").map(|&role| role != "slave"),
            replicas: fields
                .iter()
                .filter(|(name, _)| {
                    name.strip_prefix("slave")
                        .is_some_and(|n| n.parse::<u32>().is_ok())
                })
                .map(|(_, value)| replica(value))
                .collect(),
            connected: number("connected_slaves"),
            offset: number("master_repl_offset"),
            appends: number("aof_enabled").map(|n| n == 1),
            saved: number("rdb_last_save_time")
                .filter(|_| saved_well)
                .map(|end| end.saturating_sub(took.saturating_add(1))),
            full_syncs: number("sync_full"),
            evicted: number("evicted_keys"),
        }
    }

    /// Replicas that are in step: what each has of the stream of changes.
    pub(super) fn in_step(&self) -> impl Iterator<Item = u64> + '_ {
        self.replicas.iter().filter_map(|replica| replica.offset)
    }

    /// What of everything that was acknowledged before this was asked survives a failover or a restart.
    ///
    /// - Replicas: what all of them have. A replica that is not in step covers nothing.
    /// - An append-only file alone: what is `lookback` old, since it is written behind.
    /// - Neither: what the last snapshot holds. A destination that starts again from nothing has lost the rest, and the run
    ///   must not count it. Its time is by the destination's clock, `ahead_ms` before ours; where that is not known, nothing
    ///   is covered.
    #[must_use]
    pub(super) fn cover(&self, lookback: Duration, ahead_ms: Option<i64>) -> Cover {
        if let (Some(1..), Some(now)) = (self.connected, self.offset) {
            let all = self.in_step().count() as u64 >= self.connected.unwrap_or(0);
            return match self.in_step().min() {
                Some(covered) if all => Cover::Offset { now, covered },
                _ => Cover::Offset { now, covered: 0 },
            };
        }
        match (self.appends, self.saved) {
            (Some(true), _) => Cover::After(lookback),
            (Some(false), Some(saved)) => match ahead_ms {
                // Rounded down, and a second for the round trip.
                Some(ahead) => Cover::SavedBefore(saved.saturating_add_signed(
                    ahead.div_euclid(1000).saturating_add(2).saturating_neg(),
                )),
                None => Cover::Unknown,
            },
            _ => Cover::After(lookback),
        }
    }
}

/// How long replicas are given to confirm the end of a load: they do so once a second.
const LAST_WAIT: Duration = Duration::from_millis(2500);

/// Asks each shard once more when everything was answered, and waits a little where replicas are about to confirm it.
///
/// # Errors
/// A connection fails, or the journal cannot be written.
pub(super) fn settle_last(
    shards: &Shards,
    connections: &mut [Connection],
    recorder: &Recorder,
    lookback: Duration,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let acknowledged = recorder.acknowledged();
        let (mut covers, mut waits) = (Vec::with_capacity(connections.len()), false);
        for (shard, connection) in shards.list().iter().zip(connections.iter_mut()) {
            let Some(standing) = Standing::ask(connection)? else {
                return Ok(());
            };
            // What another process keeps says nothing of what this one acknowledged.
            if shard.fails_over(&standing) {
                return Ok(());
            }
            covers.push(shard.cover(&standing, lookback));
            waits |= standing.connected.unwrap_or(0) > 0 && standing.in_step().next().is_some();
        }
        recorder.settle(acknowledged, &covers)?;
        let settled = recorder.record().settled.finished.total();
        if !waits || settled >= recorder.finished_total() || begun.elapsed() >= LAST_WAIT {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What all shards hold; `None` where one does not tell.
///
/// # Errors
/// A connection fails.
pub(super) fn held(connections: &mut [Connection]) -> Result<Option<Held>> {
    let mut sum = Some(Held::NOTHING);
    for connection in connections {
        let reply = connection.request(&[Arg::from("INFO"), Arg::from("keyspace")])?;
        let text = reply.text().map(String::from_utf8_lossy);
        let held = text.and_then(|text| Held::read(&text));
        sum = sum.zip(held).map(|(sum, held)| sum.and(held));
    }
    Ok(sum)
}

/// `ip=…,port=…,state=online,offset=123,lag=0`.
fn replica(value: &str) -> Replica {
    let fields: BTreeMap<&str, &str> = value
        .split(',')
        .filter_map(|field| field.split_once('='))
        .collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    Replica {
        name: format!("{}:{}", field("ip"), field("port")),
        offset: match field("state") {
            "online" => field("offset").parse().ok(),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKBACK: Duration = Duration::from_secs(60);

    #[test]
    fn replicas_cover_what_all_of_them_have() {
        let text = "run_id:abc\r\nrole:master\r\nconnected_slaves:2\r\n\
            slave0:ip=1.2.3.4,port=1,state=online,offset=900,lag=0\r\n\
            slave1:ip=1.2.3.5,port=1,state=online,offset=700,lag=1\r\n\
            slave_expires_tracked_keys:0\r\nmaster_repl_offset:1000\r\naof_enabled:1\r\n";
        let standing = Standing::read(text);
        assert_eq!(standing.in_step().count(), 2);
        assert_eq!(
            standing.cover(LOOKBACK, Some(0)),
            Cover::Offset {
                now: 1000,
                covered: 700
            }
        );
        assert_eq!(standing.is_master, Some(true));
        let behind =
            Standing::read(&text.replace("state=online,offset=700", "state=wait_bgsave,offset=0"));
        assert_eq!(
            behind.cover(LOOKBACK, Some(0)),
            Cover::Offset {
                now: 1000,
                covered: 0
            },
            "a replica that is being made may be the one that is promoted"
        );
    }

    #[test]
    fn without_replicas_the_disk_counts() {
        let text = "connected_slaves:0\r\nmaster_repl_offset:0\r\naof_enabled:0\r\n\
            rdb_last_save_time:1700000000\r\nrdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:4\r\n";
        let standing = Standing::read(text);
        assert_eq!(
            standing.cover(LOOKBACK, Some(0)),
            Cover::SavedBefore(1_699_999_993)
        );
        assert_eq!(
            standing.cover(LOOKBACK, Some(599_500)),
            Cover::SavedBefore(1_699_999_995 - 601),
            "its clock is ten minutes ahead of ours"
        );
        assert_eq!(standing.cover(LOOKBACK, None), Cover::Unknown);
        let appends = Standing::read(&text.replace("aof_enabled:0", "aof_enabled:1"));
        assert_eq!(appends.cover(LOOKBACK, Some(0)), Cover::After(LOOKBACK));
        assert_eq!(
            Standing::read("").cover(LOOKBACK, Some(0)),
            Cover::After(LOOKBACK),
            "nothing is known"
        );
        let failed = Standing::read(&text.replace("status:ok", "status:err"));
        assert_eq!(failed.saved, None);
    }

    /// `REPLICAOF` and back: the same process, with the keys of another one.
    #[test]
    fn who_was_promoted_is_not_who_it_was() {
        let text = |followed: &str| {
            Standing::read(&format!(
                "run_id:abc\r\nrole:master\r\nmaster_replid:77\r\nmaster_replid2:{followed}\r\n"
            ))
            .run_id
        };
        assert_eq!(text("0000"), Some("abc".to_owned()));
        assert_eq!(Standing::read("run_id:abc\r\n").run_id, text("0000"));
        assert_ne!(text("0a00"), text("0000"));
        assert_ne!(text("0a00"), text("0b00"));
    }
}
