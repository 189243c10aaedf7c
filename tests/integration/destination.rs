//! Facts and probes against every real server: they tell the truth, and they store nothing.

use rdbridge::resp::{Connection, Connector};
use rdbridge::snapshot::{Dialect, ValueType};
use rdbridge::target::accept::Acceptance;
use rdbridge::target::facts::{Facts, Mode, Role};
use rdbridge::target::footer::{Footers, footer_needed};
use rdbridge::target::probe::{Verdict, probe};
use rdbridge::target::product::{Product, Version};

use crate::support::server::{Server, all, version_of};

/// Everything about a server's data that a stored key would change.
#[derive(Debug, PartialEq)]
struct State {
    dbsize: u64,
    keyspace: Vec<String>,
    dirty: Option<String>,
    value: String,
    ttl: i64,
}

fn state(server: &Server) -> State {
    let mut client = server.connect();
    let info: String = redis::cmd("INFO")
        .arg("keyspace")
        .query(&mut client)
        .expect("INFO");
    State {
        dbsize: redis::cmd("DBSIZE").query(&mut client).expect("DBSIZE"),
        keyspace: info
            .lines()
            .filter(|line| line.starts_with("db"))
            // What follows is a moving average of times to live.
            .map(|line| line.split(",avg_ttl").next().unwrap_or(line).to_owned())
            .collect(),
        dirty: server.info("rdb_changes_since_last_save"),
        value: redis::cmd("GET")
            .arg("prefix:taken")
            .query(&mut client)
            .expect("GET"),
        ttl: redis::cmd("TTL")
            .arg("prefix:taken")
            .query(&mut client)
            .expect("TTL"),
    }
}

fn connect(url: &str) -> Connection {
    Connector::new(url.parse().expect("an address"))
        .connect()
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Every type that has a probe.
fn types() -> Vec<(ValueType, Dialect)> {
    let redis = (0..=5)
        .chain(9..=32)
        .map(|n| (ValueType(n), Dialect::Redis));
    redis
        .chain([
            (ValueType(22), Dialect::Valkey),
            (ValueType(23), Dialect::Valkey),
        ])
        .collect()
}

fn expected(name: &str) -> (Product, Version) {
    let (product, major, minor) = version_of(name);
    let product = if product == "valkey" {
        Product::Valkey
    } else {
        Product::Redis
    };
    let number = |n: u32| u16::try_from(n).expect("a small number");
    (product, Version::new(number(major), number(minor), 0))
}

#[test]
fn facts_and_probes_tell_the_truth_and_store_nothing() {
    let mut probed_types = 0;
    for name in all() {
        let server = Server::setup(name).start();
        let mut client = server.connect();
        redis::cmd("SET")
            .arg("prefix:taken")
            .arg("precious")
            .exec(&mut client)
            .expect("SET");
        redis::cmd("SET")
            .arg("other")
            .arg("x")
            .exec(&mut client)
            .expect("SET");
        let before = state(&server);
        let (product, version) = expected(name);

        let mut connection = connect(&server.url());
        let facts = Facts::gather(&mut connection, &[0, 3]).expect("facts");
        assert_eq!(facts.product, Some(product), "{name}");
        let told = facts.version.expect("a version");
        assert_eq!(
            (told.major, told.minor),
            (version.major, version.minor),
            "{name}"
        );
        assert_eq!(
            (facts.mode, facts.role.clone()),
            (Some(Mode::Standalone), Some(Role::Master)),
            "{name}"
        );
        assert_eq!(facts.databases, Some(16), "{name}");
        assert_eq!(facts.refused_db, None);
        assert_eq!(facts.total_keys(), Some(2), "{name}");
        assert_eq!(facts.run_id.as_ref().map(String::len), Some(40), "{name}");
        assert_eq!(
            (facts.loading, facts.evicted_keys),
            (Some(false), Some(0)),
            "{name}"
        );
        assert_eq!(
            (facts.maxmemory, facts.may_evict()),
            (Some(0), Some(false)),
            "{name}"
        );
        assert!(
            facts.clock_ahead_ms.expect("a clock").abs() < 1000,
            "{name}: {:?}",
            facts.clock_ahead_ms
        );
        assert!(facts.marks, "{name}");
        assert!(facts.modules.is_some(), "{name}");
        assert!(facts.refusal().is_none(), "{name}");
        if told >= Version::new(5, 0, 0) {
            assert_eq!(facts.max_bulk, Some(512 << 20), "{name}");
        }

        // The dump's key is free, then it exists: the same is found out.
        let mut both = Vec::new();
        for key in [&b"prefix:free"[..], b"prefix:taken"] {
            let probed = probe(&mut connection, &facts, "RESTORE", key, &types())
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(
                (probed.restore_closed.as_ref(), probed.key_closed.as_ref()),
                (None, None),
                "{name}"
            );
            assert!(probed.unclear.is_empty(), "{name}: {:?}", probed.unclear);
            let table = Footers::of(product, told).expect("a row of the table");
            let mut found = Vec::new();
            for (value_type, dialect) in types() {
                let Ok(needed) = footer_needed(value_type, dialect) else {
                    continue;
                };
                let takes = |yes| {
                    if yes {
                        Verdict::Takes
                    } else {
                        Verdict::Refuses
                    }
                };
                assert_eq!(
                    probed.footer_verdict(needed),
                    takes(table.takes(needed)),
                    "{name}, footer {needed}"
                );
                let footer = Acceptance::new(&facts, &probed).footer_for(value_type, dialect);
                let verdict = probed.type_verdict(value_type, dialect);
                let untried =
                    Acceptance::new(&facts, &Default::default()).footer_for(value_type, dialect);
                assert_eq!(
                    footer, untried,
                    "{name}: what was tried agrees with the table"
                );
                if verdict != Verdict::NotKnown {
                    assert_eq!(
                        verdict,
                        takes(footer.is_ok()),
                        "{name}, type {value_type:?} {dialect:?}"
                    );
                    probed_types += 1;
                }
                found.push((needed, verdict));
            }
            both.push(found);
            assert!(probed.sent < 64, "{name}: {} commands", probed.sent);
        }
        assert_eq!(both[0], both[1], "{name}");
        assert!(connection.prove().expect("in step"));
        // A key that was stored for an instant would be gone by now, and the changes counted.
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(
            state(&server),
            before,
            "{name}: the probes changed something"
        );
    }
    // Eleven servers decode without storing; each knows at least 19 types of 6.2's time.
    assert!(
        probed_types > 2 * 9 * 19,
        "only {probed_types} types were tried"
    );
}

#[test]
fn a_user_who_may_only_restore_under_a_prefix_is_enough() {
    let mut tried = 0;
    for name in all() {
        let (product, version) = expected(name);
        if version < Version::new(6, 0, 0) {
            continue;
        }
        tried += 1;
        let server = Server::start(name);
        let mut client = server.connect();
        redis::cmd("SET")
            .arg("prefix:taken")
            .arg("precious")
            .exec(&mut client)
            .expect("SET");
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg("mover")
            .arg("on")
            .arg(">pass")
            .arg("~prefix:*")
            .arg("+restore")
            .exec(&mut client)
            .expect("ACL SETUSER");
        let before = state(&server);
        let url = format!("redis://mover:pass@127.0.0.1:{}", server.port());
        let mut connection = connect(&url);
        let mut facts =
            Facts::gather(&mut connection, &[0]).unwrap_or_else(|e| panic!("{name}: {e}"));
        // HELLO is open to whoever can log in from 6.2 on, or closed: then nothing is known.
        if facts.product.is_some() {
            assert_eq!(facts.product, Some(product), "{name}");
        }
        assert!(
            facts
                .closed
                .iter()
                .any(|c| c.command == "INFO" && c.words.contains("NOPERM")),
            "{name}: {:?}",
            facts.closed
        );
        assert!(facts.marks, "{name}: a mark works for this user");
        for key in [&b"prefix:free"[..], b"prefix:taken"] {
            let probed = probe(&mut connection, &facts, "RESTORE", key, &types()).expect("probed");
            assert_eq!(probed.restore_closed, None, "{name}");
            assert_eq!(probed.key_closed, None, "{name}");
            let table = Footers::of(product, version).expect("a row");
            for footer in [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 80] {
                let verdict = if table.takes(footer) {
                    Verdict::Takes
                } else {
                    Verdict::Refuses
                };
                assert_eq!(
                    probed.footer_verdict(footer),
                    verdict,
                    "{name}, footer {footer}"
                );
            }
            if facts.version.is_none() {
                assert_eq!(probed.options, Some((true, true)), "{name}");
            }
            assert!(
                Acceptance::new(&facts, &probed)
                    .footer_for(ValueType::STRING, Dialect::Redis)
                    .is_ok()
            );
        }
        let outside =
            probe(&mut connection, &facts, "RESTORE", b"elsewhere", &types()).expect("probed");
        assert!(
            outside.key_closed.expect("closed").contains("NOPERM"),
            "{name}"
        );
        facts.assume(name.parse().expect("a server's name"));
        assert_eq!(facts.product, Some(product));

        // And one who may do everything else.
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg("mover")
            .arg("+@all")
            .arg("-restore")
            .arg("~*")
            .exec(&mut client)
            .expect("ACL SETUSER");
        let mut connection = connect(&url);
        let facts = Facts::gather(&mut connection, &[0]).expect("facts");
        let probed =
            probe(&mut connection, &facts, "RESTORE", b"prefix:free", &types()).expect("probed");
        assert!(
            probed
                .restore_closed
                .as_ref()
                .expect("closed")
                .contains("NOPERM"),
            "{name}"
        );
        let reason = Acceptance::new(&facts, &probed)
            .footer_for(ValueType::STRING, Dialect::Redis)
            .expect_err("closed");
        assert!(reason.contains("RESTORE is closed"), "{reason}");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after = state(&server);
        assert_eq!(after, before, "{name}: the probes changed something");
    }
    assert!(tried >= 8, "only {tried} servers with users");
}

#[test]
fn what_cannot_be_loaded_into_is_refused_in_words() {
    let server = Server::setup("redis-7.0")
        .with("cluster-enabled", ["yes"])
        .start();
    let facts = Facts::gather(&mut connect(&server.url()), &[0, 1]).expect("facts");
    let error = facts.refusal().expect("refused").to_string();
    assert!(error.contains("cluster mode"), "{error}");

    let master = Server::start("redis-7.0");
    let replica = Server::setup("valkey-8.0").start();
    redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(master.port())
        .exec(&mut replica.connect())
        .expect("REPLICAOF");
    let facts = Facts::gather(&mut connect(&replica.url()), &[0]).expect("facts");
    let error = facts.refusal().expect("refused").to_string();
    assert!(
        error.contains("replica") && error.contains(&master.port().to_string()),
        "{error}"
    );

    let small = Server::setup("redis-6.2").with("databases", ["4"]).start();
    let facts = Facts::gather(&mut connect(&small.url()), &[0, 3, 4, 9]).expect("facts");
    let error = facts.refusal().expect("refused").to_string();
    assert!(
        error.contains("no database 4") && error.contains("it has 4") && error.contains("--map-db"),
        "{error}"
    );

    let locked = Server::setup("redis-8.0").with_password("sesame").start();
    let open: rdbridge::resp::Address = format!("127.0.0.1:{}", locked.port())
        .parse()
        .expect("an address");
    let mut connection = Connector::new(open).connect().expect("connected");
    let error = Facts::gather(&mut connection, &[0])
        .expect_err("a login is needed")
        .to_string();
    assert!(
        error.contains("NOAUTH") && error.contains("password"),
        "{error}"
    );
    let wrong = format!("redis://:wrong@127.0.0.1:{}", locked.port())
        .parse()
        .expect("an address");
    let error = Connector::new(wrong)
        .connect()
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("WRONGPASS") && !error.contains("wrong@"),
        "{error}"
    );
    assert!(Facts::gather(&mut connect(&locked.url()), &[0]).is_ok());
}

#[test]
fn hidden_databases_are_found_by_select() {
    let server = Server::setup("redis-7.0").with("databases", ["4"]).start();
    let mut client = server.connect();
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("u")
        .arg("on")
        .arg(">p")
        .arg("~*")
        .arg("+@all")
        .arg("-@dangerous")
        .arg("+restore")
        .exec(&mut client)
        .expect("ACL SETUSER");
    for (db, key) in [(0, "a"), (2, "b"), (2, "c")] {
        redis::cmd("SELECT")
            .arg(db)
            .exec(&mut client)
            .expect("SELECT");
        redis::cmd("SET")
            .arg(key)
            .arg(1)
            .exec(&mut client)
            .expect("SET");
    }
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let mut connection = connect(&url);
    let facts = Facts::gather(&mut connection, &[0, 2]).expect("facts");
    assert_eq!(facts.product, Some(Product::Redis), "by HELLO alone");
    assert_eq!((facts.databases, facts.refused_db), (Some(3), None));
    assert_eq!(facts.total_keys(), Some(3));
    assert_eq!(connection.db(), 0, "the connection stays where it was");
    assert!(facts.clock_ahead_ms.is_some() && facts.max_bulk.is_none() && facts.run_id.is_none());
    let facts = Facts::gather(&mut connection, &[0, 7]).expect("facts");
    assert_eq!(facts.refused_db, Some(7));
    let error = facts.refusal().expect("refused").to_string();
    assert!(
        error.contains("no database 7") && error.contains("out of range"),
        "{error}"
    );
}

/// The pipelined sender over every kind of stream, with values that pass through uncopied among small ones.
#[test]
fn the_pipeline_works_over_tcp_tls_and_unix_sockets() {
    use rdbridge::resp::{Answer, Arg, Pipeline, WindowOptions};

    let files = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| files.path().join(name);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    std::fs::write(at("cert.pem"), certificate.pem()).expect("written");
    std::fs::write(at("key.pem"), key.serialize_pem()).expect("written");
    let tls_port = crate::support::server::free_port();
    let server = Server::setup("redis-7.0")
        .with("tls-port", [tls_port.to_string()])
        .with("tls-cert-file", [at("cert.pem")])
        .with("tls-key-file", [at("key.pem")])
        .with("tls-ca-cert-file", [at("cert.pem")])
        .with("tls-auth-clients", ["no"])
        .with("unixsocket", [at("socket")])
        .start();
    let large = vec![b'v'; 3_000_000];
    for url in [
        server.url(),
        format!("rediss://127.0.0.1:{tls_port}"),
        format!("unix://{}", at("socket").display()),
    ] {
        redis::cmd("FLUSHALL")
            .exec(&mut server.connect())
            .expect("FLUSHALL");
        let mut connector = Connector::new(url.parse().expect("an address"));
        connector.options.tls.ca_certificates = Some(at("cert.pem"));
        let connection = connector
            .connect()
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        let mut pipeline = Pipeline::new(connection, WindowOptions::default()).expect("a pipeline");
        let mut next = 0;
        let mut sink = |ticket: u32, answer: Answer<'_>| {
            assert_eq!(ticket, next);
            assert_eq!(answer == Answer::Ok, ticket % 1000 != 17, "{ticket}");
            next += 1;
            Ok(())
        };
        for n in 0..30_000u32 {
            let name = format!("key:{n}");
            let value: &[u8] = if n % 3000 == 5 { &large } else { b"small" };
            let command = if n % 1000 == 17 { "LPUSH" } else { "SET" };
            let args = [
                Arg::from(command),
                Arg::from(name.as_str()),
                Arg::Bytes(value),
            ];
            pipeline
                .push(n, &args, &mut sink)
                .unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        pipeline
            .drain(&mut sink)
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!((next, pipeline.unanswered().count()), (30_000, 0), "{url}");
        let mut client = server.connect();
        let size: u64 = redis::cmd("DBSIZE").query(&mut client).expect("DBSIZE");
        assert_eq!(size, 30_000, "{url}");
        let got: Vec<u8> = redis::cmd("GET")
            .arg("key:27005")
            .query(&mut client)
            .expect("GET");
        assert!(got == large, "{url}: the large value arrived whole");
    }
}
