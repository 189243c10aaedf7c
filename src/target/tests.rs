//! Facts and probes against servers that lie, refuse, or break off: never a panic, never a hang, never a false certainty.

use super::facts::Facts;
use super::probe::{Verdict, probe};
use super::*;
use crate::resp::Connection;
use crate::resp::tests::{answering, connector};
use crate::snapshot::{Dialect, ValueType};

type Answer = fn(&[Vec<u8>], usize) -> Option<Vec<u8>>;

fn connect(answer: impl Fn(&[Vec<u8>], usize) -> Option<Vec<u8>> + Send + 'static) -> Connection {
    connector(answering(answer)).connect().unwrap()
}

fn types() -> Vec<(ValueType, Dialect)> {
    [0, 5, 16, 24]
        .map(|n| (ValueType(n), Dialect::Redis))
        .to_vec()
}

/// Redis 7.0, as it answers what is asked here; it takes footers up to 10.
fn honest(command: &[Vec<u8>], _: usize) -> Option<Vec<u8>> {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let text = match command[0].as_slice() {
        b"HELLO" => {
            let pairs = [
                "server",
                "redis",
                "version",
                "7.0.15",
                "mode",
                "standalone",
                "role",
                "master",
            ];
            format!(
                "*10\r\n{}{}*0\r\n",
                pairs.map(bulk).concat(),
                bulk("modules")
            )
        }
        b"INFO" => bulk(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\nmaxmemory:0\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb5:keys=4,expires=0,avg_ttl=0\r\n",
        ),
        b"CONFIG" if command[2] == b"databases" => {
            format!("*2\r\n{}{}", bulk("databases"), bulk("16"))
        }
        b"CONFIG" => "*0\r\n".to_owned(),
        b"TIME" => format!("*2\r\n{}{}", bulk("1700000000"), bulk("5")),
        b"ECHO" => bulk(&String::from_utf8_lossy(&command[1])),
        b"RESTORE" => {
            let payload = &command[3];
            if payload[payload.len() - 10] > 10 {
                "-ERR DUMP payload version or checksum are wrong\r\n".to_owned()
            } else if payload[0] == 8 {
                "-ERR Bad data format\r\n".to_owned()
            } else {
                "+OK\r\n".to_owned()
            }
        }
        _ => "-ERR unknown command\r\n".to_owned(),
    };
    Some(text.into_bytes())
}

/// What is past at any of them is not to be sent.
#[test]
fn of_several_clocks_the_one_that_is_ahead_counts() {
    let each = [None, Some(-5000), Some(7000), Some(12)].map(|clock_ahead_ms| Facts {
        clock_ahead_ms,
        ..Facts::default()
    });
    assert_eq!(Facts::together(&each).clock_ahead_ms, Some(7000));
    assert_eq!(Facts::together(&each[..1]).clock_ahead_ms, None);
}

#[test]
fn an_honest_server_is_known_and_closing_at_any_command_is_an_error() {
    let mut connection = connect(honest);
    let facts = Facts::gather(&mut connection, &[0]).unwrap();
    assert_eq!(facts.name(), "redis 7.0.15");
    assert_eq!((facts.total_keys(), facts.databases), (Some(7), Some(16)));
    assert!(
        facts.clock_ahead_ms.unwrap() < -1000,
        "a clock years behind is told"
    );
    let probed = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap();
    assert_eq!(probed.footer_verdict(10), Verdict::Takes);
    assert_eq!(probed.footer_verdict(12), Verdict::Refuses);
    assert_eq!(
        probed.type_verdict(ValueType(16), Dialect::Redis),
        Verdict::Takes
    );
    let mut ends = 0;
    for last in 0.. {
        let mut connection = connect(move |command, asked| {
            if asked < last {
                honest(command, asked)
            } else {
                None
            }
        });
        let done = Facts::gather(&mut connection, &[0])
            .and_then(|facts| probe(&mut connection, &facts, "RESTORE", b"k", &types()));
        match done {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("connection"), "{error}"),
        }
        ends += 1;
    }
    assert!(ends > 12, "{ends} places to break off");
}

#[test]
fn a_server_that_refuses_everything_is_not_known_and_nothing_is_sent_to_it() {
    let answers: [(&str, Answer); 3] = [
        ("no", |_, _| Some(b"-ERR no\r\n".to_vec())),
        ("odd", |_, _| Some(b"*3\r\n:1\r\n*0\r\n$-1\r\n".to_vec())),
        ("nil", |_, _| Some(b"$-1\r\n".to_vec())),
    ];
    for (what, answer) in answers {
        let mut connection = connect(answer);
        let facts = Facts::gather(&mut connection, &[0, 3]);
        // An answer of another kind to a mark is no refusal: the streams are out of step.
        if what != "no" {
            let error = facts.unwrap_err().to_string();
            assert!(
                error.contains("mark") || error.contains("unexpected"),
                "{what}: {error}"
            );
            continue;
        }
        let facts = facts.unwrap();
        assert_eq!(
            (facts.product, facts.version, facts.databases),
            (None, None, Some(1))
        );
        assert_eq!(facts.refused_db, Some(3));
        assert!(!facts.marks && facts.closed.len() > 5);
        let probed = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap();
        assert_eq!(probed.unclear.len(), 1, "said once: {:?}", probed.unclear);
        let reason = Acceptance::new(&facts, &probed)
            .footer_for(ValueType::STRING, Dialect::Redis)
            .unwrap_err();
        assert!(reason.contains("--assume"), "{reason}");
    }
}

#[test]
fn what_stops_everything_is_said_in_the_servers_words() {
    let cases: [(Answer, &str); 5] = [
        (
            |_, _| Some(b"-NOAUTH Authentication required.\r\n".to_vec()),
            "NOAUTH",
        ),
        (
            |_, _| Some(b"-DENIED Redis is running in protected mode\r\n".to_vec()),
            "protected mode",
        ),
        (
            |_, _| Some(b"-ERR max number of clients reached\r\n".to_vec()),
            "max number",
        ),
        (
            |c, n| {
                if c[0] == b"RESTORE" {
                    Some(b"-READONLY You can't write\r\n".to_vec())
                } else {
                    honest(c, n)
                }
            },
            "READONLY",
        ),
        (
            |c, n| {
                if c[0] == b"RESTORE" {
                    Some(b"-OOM command not allowed\r\n".to_vec())
                } else {
                    honest(c, n)
                }
            },
            "OOM",
        ),
    ];
    for (answer, words) in cases {
        let mut connection = connect(answer);
        let error = Facts::gather(&mut connection, &[0])
            .and_then(|facts| probe(&mut connection, &facts, "RESTORE", b"k", &types()).map(|_| ()))
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut loading = connect(|c, n| {
        if c[0] == b"ECHO" {
            honest(c, n)
        } else {
            Some(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec())
        }
    });
    let facts = Facts::gather(&mut loading, &[0]).unwrap();
    assert!(
        facts.refusal().unwrap().to_string().contains("loading"),
        "{:?}",
        facts.refusal()
    );
}

#[test]
fn a_node_that_sends_probes_on_says_nothing_of_itself() {
    let mut connection = connect(|c, n| {
        if c[0] == b"RESTORE" {
            Some(b"-MOVED 1 h:1\r\n".to_vec())
        } else {
            honest(c, n)
        }
    });
    let facts = Facts::gather(&mut connection, &[0]).unwrap();
    let probed = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap();
    assert_eq!(probed.elsewhere.as_deref(), Some("\"MOVED 1 h:1\""));
    assert_eq!(probed.lowest_footer_from(0), None);
}

#[test]
fn a_server_that_only_pretends_to_store_is_found_out() {
    let mut connection = connect(|c, n| {
        if c[0] == b"RESTORE" {
            Some(b"+OK\r\n".to_vec())
        } else {
            honest(c, n)
        }
    });
    let facts = Facts::gather(&mut connection, &[0]).unwrap();
    let error = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap_err();
    assert!(error.to_string().contains("no server accepts"), "{error}");
}

#[test]
fn where_every_name_exists_the_table_is_used() {
    let mut connection = connect(|c, n| {
        if c[0] == b"RESTORE" {
            Some(b"-BUSYKEY Target key name already exists.\r\n".to_vec())
        } else {
            honest(c, n)
        }
    });
    let facts = Facts::gather(&mut connection, &[0]).unwrap();
    let probed = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap();
    assert_eq!(probed.footer_verdict(6), Verdict::NotKnown);
    assert!(probed.sent < 24, "{} commands", probed.sent);
    let accepts = Acceptance::new(&facts, &probed);
    assert_eq!(
        accepts
            .footer_for(ValueType::HASH_LISTPACK, Dialect::Redis)
            .unwrap(),
        10
    );
    assert!(
        accepts
            .footer_for(ValueType::HASH_METADATA, Dialect::Redis)
            .is_err()
    );
}

#[test]
fn a_version_that_is_a_lie_is_corrected_by_what_is_tried() {
    // It says 8.6 and takes what 7.0 takes.
    let mut connection = connect(|c, n| {
        let honest = honest(c, n)?;
        Some(
            String::from_utf8_lossy(&honest)
                .replace("7.0.15", "8.6.01")
                .into_bytes(),
        )
    });
    let facts = Facts::gather(&mut connection, &[0]).unwrap();
    assert_eq!(facts.name(), "redis 8.6.1");
    let probed = probe(&mut connection, &facts, "RESTORE", b"k", &types()).unwrap();
    let accepts = Acceptance::new(&facts, &probed);
    assert!(
        accepts
            .footer_for(ValueType::HASH_METADATA, Dialect::Redis)
            .is_err()
    );
    assert_eq!(
        accepts
            .footer_for(ValueType::HASH_LISTPACK, Dialect::Redis)
            .unwrap(),
        10
    );
}
