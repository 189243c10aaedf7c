//! Connections against scripted servers: each way to misbehave ends in the right error, soon, and never in a hang.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::error::{Error, ErrorKind};

/// What a scripted server does next.
#[derive(Clone)]
pub(crate) enum Step {
    /// Reads this many commands' worth of `*` arrays and throws them away.
    Take(usize),
    /// Reads exactly these bytes.
    Expect(Vec<u8>),
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes one at a time, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Keeps the connection open and silent.
    Stall(Duration),
}

pub(crate) fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// Plays `script` to the first client and closes; gives the port.
pub(crate) fn scripted(script: Vec<Step>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        if let Ok((mut socket, _)) = listener.accept() {
            let _client_gone = play(&mut socket, script);
        }
    });
    port
}

fn play(socket: &mut TcpStream, script: Vec<Step>) -> std::io::Result<()> {
    for step in script {
        match step {
            Step::Take(count) => {
                for _ in 0..count {
                    take_command(socket)?;
                }
            }
            Step::Expect(bytes) => {
                let mut got = vec![0; bytes.len()];
                socket.read_exact(&mut got)?;
                assert_eq!(got, bytes);
            }
            Step::Send(bytes) => socket.write_all(&bytes)?,
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    thread::sleep(pause);
                    socket.write_all(&[byte])?;
                }
            }
            Step::Stall(time) => thread::sleep(time),
        }
    }
    Ok(())
}

fn take_line(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

/// Reads one command from a client.
pub(crate) fn take_command(socket: &mut TcpStream) -> std::io::Result<Vec<Vec<u8>>> {
    let number =
        |line: &[u8]| -> usize { std::str::from_utf8(&line[1..]).unwrap().parse().unwrap() };
    let count = number(&take_line(socket)?);
    let mut args = Vec::new();
    for _ in 0..count {
        let len = number(&take_line(socket)?);
        let mut arg = vec![0; len + 2];
        socket.read_exact(&mut arg)?;
        arg.truncate(len);
        args.push(arg);
    }
    Ok(args)
}

/// Answers each command of the first client by `answer`, which is told how many came before; ends at `None`.
pub(crate) fn answering(
    answer: impl Fn(&[Vec<u8>], usize) -> Option<Vec<u8>> + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let Ok((mut socket, _)) = listener.accept() else {
            return;
        };
        let mut asked = 0;
        while let Ok(command) = take_command(&mut socket) {
            let Some(reply) = answer(&command, asked) else {
                return;
            };
            asked += 1;
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
    });
    port
}

pub(crate) fn connector(port: u16) -> Connector {
    let mut connector = Connector::new(format!("127.0.0.1:{port}").parse().unwrap());
    connector.options.io_timeout = Duration::from_millis(300);
    connector.options.connect_timeout = Duration::from_secs(5);
    connector
}

fn ask(script: Vec<Step>) -> Result<String, Error> {
    let mut connection = connector(scripted(script)).connect()?;
    let shown = connection.request(&[Arg::from("PING")])?.shown();
    Ok(shown)
}

#[test]
fn a_request_is_answered_however_its_bytes_come() {
    assert_eq!(
        ask(vec![
            Step::Expect(b"*1\r\n$4\r\nPING\r\n".to_vec()),
            send("+PONG\r\n")
        ])
        .unwrap(),
        "status \"PONG\""
    );
    let dripped = Step::Drip(b"$3\r\na\nb\r\n".to_vec(), Duration::from_millis(5));
    assert_eq!(
        ask(vec![Step::Take(1), dripped]).unwrap(),
        "string of 3 bytes \"a\\nb\""
    );
}

#[test]
fn a_close_at_any_byte_is_an_error() {
    let reply = "$5\r\nhello\r\n";
    for cut in 0..reply.len() {
        let error = ask(vec![Step::Take(1), send(&reply[..cut])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Destination);
        assert!(
            error.to_string().contains("closed the connection"),
            "{cut}: {error}"
        );
    }
}

#[test]
fn silence_and_single_bytes_end_in_a_time_out() {
    let begun = Instant::now();
    let error = ask(vec![Step::Take(1), Step::Stall(Duration::from_secs(20))]).unwrap_err();
    assert!(
        error.to_string().contains("answers nothing for 0.3 s"),
        "{error}"
    );
    let endless = Step::Drip(vec![b'+'; 10_000], Duration::from_millis(20));
    let error = ask(vec![Step::Take(1), send("+"), endless]).unwrap_err();
    assert!(error.to_string().contains("answers nothing"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_reads_nothing_ends_in_a_time_out() {
    let port = scripted(vec![Step::Stall(Duration::from_secs(20))]);
    let mut connection = connector(port).connect().unwrap();
    let big = vec![0u8; 64 << 20];
    let error = connection
        .request(&[Arg::from("SET"), Arg::from("k"), Arg::Bytes(&big)])
        .unwrap_err();
    assert!(error.to_string().contains("takes nothing"), "{error}");
    assert_eq!(connection.end(), Some(End::TimedOut));
    let error = connection.request(&[Arg::from("PING")]).unwrap_err();
    assert!(error.to_string().contains("is over"), "{error}");
}

#[test]
fn nonsense_and_giant_claims_are_refused() {
    for (bytes, expected) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        ("$99999999999999\r\n", "at most"),
        ("*1\r\n$3000000000\r\n", "at most"),
        ("*88888888888\r\n", "too many elements"),
        ("$3000000\r\nabc", "larger than any asked for"),
    ] {
        let error = ask(vec![
            Step::Take(1),
            send(bytes),
            Step::Stall(Duration::from_secs(5)),
        ])
        .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_connection() {
    let port = scripted(vec![
        Step::Take(1),
        send("+PONG\r\n+PONG\r\n"),
        Step::Take(1),
        send("+PONG\r\n"),
    ]);
    let mut connection = connector(port).connect().unwrap();
    connection.request(&[Arg::from("PING")]).unwrap();
    let error = connection.request(&[Arg::from("PING")]).unwrap_err();
    assert!(error.to_string().contains("nobody asked for"), "{error}");
    assert_eq!(connection.end(), Some(End::OutOfStep));
}

#[test]
fn the_last_words_of_a_closing_server_are_heard() {
    // What real servers do with an argument over proto-max-bulk-len.
    let port = scripted(vec![
        Step::Expect(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n".to_vec()),
        send("-ERR Protocol error: invalid bulk length\r\n"),
        Step::Stall(Duration::from_millis(200)),
    ]);
    let mut connection = connector(port).connect().unwrap();
    let big = vec![0u8; 64 << 20];
    let error = connection
        .request(&[Arg::from("SET"), Arg::from("k"), Arg::Bytes(&big)])
        .unwrap_err();
    assert!(error.to_string().contains("invalid bulk length"), "{error}");
    assert!(connection.end().is_some());
}

#[test]
fn a_large_string_goes_to_the_spool_in_flat_memory() {
    let value: Vec<u8> = (0..5_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut bytes = format!("${}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(&value);
    bytes.extend_from_slice(b"\r\n+PONG\r\n");
    let port = scripted(vec![Step::Take(1), Step::Send(bytes), Step::Take(1)]);
    let mut connection = connector(port).connect().unwrap();
    let mut spool = crate::spool::Spool::create(&std::env::temp_dir(), None).unwrap();
    let got = connection
        .request_into(&[Arg::from("GET"), Arg::from("k")], &mut spool)
        .unwrap();
    assert_eq!(got, Ok(5_000_000));
    assert_eq!(&*spool.finish().unwrap(), value.as_slice());

    let port = scripted(vec![Step::Take(1), send("$3000000\r\nabc")]);
    let mut connection = connector(port).connect().unwrap();
    let error = connection
        .request_into(&[Arg::from("GET"), Arg::from("k")], &mut Vec::new())
        .unwrap_err();
    assert!(
        error.to_string().contains("closed the connection"),
        "{error}"
    );
}

#[test]
fn the_login_is_sent_first_and_its_secret_is_in_no_text() {
    let url = |port| {
        format!("redis://joe:s3cr3t@127.0.0.1:{port}/2")
            .parse()
            .unwrap()
    };
    let port = scripted(vec![
        Step::Expect(b"*3\r\n$4\r\nAUTH\r\n$3\r\njoe\r\n$6\r\ns3cr3t\r\n".to_vec()),
        send("+OK\r\n"),
        Step::Expect(b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n".to_vec()),
        send("+OK\r\n"),
    ]);
    assert_eq!(Connector::new(url(port)).connect().unwrap().db(), 2);

    let words = "-ERR unknown command 'AUTH', with args beginning with: 'joe' 's3cr3t' \r\n";
    let error = Connector::new(url(scripted(vec![Step::Take(1), send(words)])))
        .connect()
        .unwrap_err();
    assert!(
        error.to_string().contains("unknown command 'AUTH'"),
        "{error}"
    );
    assert!(error.to_string().contains("'***'"), "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");

    // The source is asked at each connect, and goes before the address's own.
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let mut connector = Connector::new(url(1));
    connector.secret = Some(Arc::new(move || {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Secret::new(format!("token{n}"))))
    }));
    for token in ["token0", "token1"] {
        let expected = format!("*3\r\n$4\r\nAUTH\r\n$3\r\njoe\r\n$6\r\n{token}\r\n");
        connector.address = url(scripted(vec![
            Step::Expect(expected.into_bytes()),
            send("+OK\r\n"),
            Step::Take(1),
            send("+OK\r\n"),
        ]));
        connector.connect().unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(!format!("{connector:?}").contains("s3cr3t"));
}

#[test]
fn a_refused_select_and_a_dead_port_are_told() {
    let port = scripted(vec![
        Step::Take(1),
        send("-ERR DB index is out of range\r\n"),
    ]);
    let error = Connector::new(format!("127.0.0.1:{port}/99").parse().unwrap())
        .connect()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("SELECT 99: the server says \"ERR DB index is out of range\""),
        "{error}"
    );
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = connector(dead).connect().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot connect to redis://127.0.0.1:"),
        "{error}"
    );
    assert!(error.io_error().is_some());
    let error = Connector::new("/nowhere/redis.sock".parse().unwrap())
        .connect()
        .unwrap_err();
    assert!(
        error.to_string().contains("unix:///nowhere/redis.sock"),
        "{error}"
    );
}

#[test]
fn marks_prove_the_step_or_their_absence_is_said() {
    fn server(answer: fn(&[Vec<u8>], usize) -> String) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = 0;
            while let Ok(command) = take_command(&mut socket) {
                let reply = answer(&command, asked);
                asked += 1;
                if socket.write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        });
        connector(port).connect().unwrap()
    }
    let mut echo = server(|command, _| {
        format!(
            "${}\r\n{}\r\n",
            command[1].len(),
            String::from_utf8_lossy(&command[1])
        )
    });
    assert!(echo.prove().unwrap() && echo.prove().unwrap());
    let mut strict = server(|command, _| {
        if command[0] == b"ECHO" {
            "-NOPERM this user has no permissions to run the 'echo' command\r\n".into()
        } else {
            format!(
                "-ERR unknown command '{}', with args beginning with: \r\n",
                String::from_utf8_lossy(&command[0])
            )
        }
    });
    assert!(strict.prove().unwrap() && strict.prove().unwrap());
    assert_eq!(
        strict.marks().unwrap().kind(),
        mark::MarkKind::UnknownCommand
    );
    let mut dumb = server(|_, _| "-ERR no\r\n".into());
    assert!(!dumb.prove().unwrap());
    assert!(dumb.marks().is_none());
    let mut shifted = server(|_, _| "+OK\r\n".into());
    let error = shifted.prove().unwrap_err();
    assert!(error.to_string().contains("do not fit"), "{error}");
}

#[test]
fn the_redis_crate_works_over_our_connection() {
    let port = scripted(vec![
        Step::Expect(b"*2\r\n$4\r\nPTTL\r\n$1\r\nk\r\n".to_vec()),
        send(":-2\r\n"),
        Step::Take(1),
        send("*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
        Step::Take(1),
        send("-WRONGTYPE Operation\r\n"),
        Step::Take(2),
        send("+OK\r\n$1\r\nv\r\n"),
        Step::Take(1),
        send("+PONG\r\n"),
    ]);
    let mut connection = connector(port).connect().unwrap();
    let ttl: i64 = redis::cmd("PTTL").arg("k").query(&mut connection).unwrap();
    assert_eq!(ttl, -2);
    let map: std::collections::HashMap<String, u32> = redis::cmd("HGETALL")
        .arg("k")
        .query(&mut connection)
        .unwrap();
    assert_eq!(map["a"], 1);
    let error = redis::cmd("GET")
        .arg("k")
        .query::<String>(&mut connection)
        .unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    let (_, value): (String, String) = redis::pipe()
        .cmd("SET")
        .arg("k")
        .arg("v")
        .cmd("GET")
        .arg("k")
        .query(&mut connection)
        .unwrap();
    assert_eq!(value, "v");
    assert!(redis::ConnectionLike::check_connection(&mut connection));
    assert!(redis::ConnectionLike::is_open(&connection));
    assert!(!redis::ConnectionLike::check_connection(&mut connection));
    assert!(!redis::ConnectionLike::is_open(&connection));
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use rcgen::{CertificateParams, Issuer, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

    struct Authority {
        dir: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
        root: rustls::pki_types::CertificateDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let root = params.self_signed(&key).unwrap();
            std::fs::write(dir.path().join("ca.pem"), root.pem()).unwrap();
            Self {
                dir,
                root: root.der().clone(),
                issuer: Issuer::new(params, key),
            }
        }

        fn issue(&self, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            if expired {
                params.not_before = rcgen::date_time_ymd(2000, 1, 1);
                params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            }
            (params.signed_by(&key, &self.issuer).unwrap(), key)
        }

        /// A TLS server that answers every command with `+PONG`, or takes `flood` bytes first.
        fn serve(&self, name: &str, expired: bool, want_client: bool) -> u16 {
            let (certificate, key) = self.issue(name, expired);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap();
            let builder = if want_client {
                let mut roots = RootCertStore::empty();
                roots.add(self.root.clone()).unwrap();
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap(),
                )
            } else {
                builder.with_no_client_auth()
            };
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let config = Arc::new(
                builder
                    .with_single_cert(vec![certificate.der().clone()], key)
                    .unwrap(),
            );
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            thread::spawn(move || {
                let Ok((socket, _)) = listener.accept() else {
                    return;
                };
                let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
                let mut buffer = vec![0; 1 << 16];
                let mut commands = Vec::new();
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    commands.extend_from_slice(&buffer[..n]);
                    if commands.ends_with(b"\r\n") && commands.starts_with(b"*") {
                        let count = commands.split(|&b| b == b'*').count() - 1;
                        commands.clear();
                        if stream
                            .write_all("+PONG\r\n".repeat(count).as_bytes())
                            .is_err()
                        {
                            return;
                        }
                    }
                }
            });
            port
        }

        fn connector(&self, port: u16) -> Connector {
            let mut connector =
                Connector::new(format!("rediss://127.0.0.1:{port}").parse().unwrap());
            connector.options.connect_timeout = Duration::from_secs(5);
            connector.options.io_timeout = Duration::from_secs(5);
            connector.options.tls.ca_certificates = Some(self.dir.path().join("ca.pem"));
            connector
        }
    }

    #[test]
    fn the_right_certificate_is_taken_and_every_wrong_one_refused_in_words() {
        let authority = Authority::new();
        let mut right = authority
            .connector(authority.serve("127.0.0.1", false, false))
            .connect()
            .unwrap();
        assert_eq!(
            right.request(&[Arg::from("PING")]).unwrap(),
            Reply::Simple(b"PONG")
        );
        let big = vec![7u8; 8 << 20];
        assert_eq!(
            right
                .request(&[Arg::from("SET"), Arg::Bytes(&big)])
                .unwrap(),
            Reply::Simple(b"PONG")
        );

        let named = authority.serve("db.example", false, false);
        let error = authority
            .connector(named)
            .connect()
            .unwrap_err()
            .to_string();
        assert!(error.contains("--server-name"), "{error}");
        let mut connector = authority.connector(authority.serve("db.example", false, false));
        connector.options.tls.server_name = Some("db.example".into());
        connector.connect().unwrap();

        let error = authority
            .connector(authority.serve("127.0.0.1", true, false))
            .connect()
            .unwrap_err()
            .to_string();
        assert!(error.to_lowercase().contains("expired"), "{error}");

        let stranger = Authority::new();
        let error = stranger
            .connector(authority.serve("127.0.0.1", false, false))
            .connect()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--cacert") || error.contains("BadSignature"),
            "{error}"
        );
        let mut connector = stranger.connector(authority.serve("127.0.0.1", false, false));
        connector.options.tls.insecure = true;
        connector.connect().unwrap();
    }

    #[test]
    fn mutual_tls_and_plain_ports() {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("client", false);
        let paths = (
            authority.dir.path().join("c.pem"),
            authority.dir.path().join("k.pem"),
        );
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        let mut connector = authority.connector(authority.serve("127.0.0.1", false, true));
        connector.options.tls.client = Some(paths);
        let mut connection = connector.connect().unwrap();
        assert_eq!(
            connection.request(&[Arg::from("PING")]).unwrap(),
            Reply::Simple(b"PONG")
        );

        // Without one, TLS 1.3 lets the handshake end before the server looks.
        let refused = authority
            .connector(authority.serve("127.0.0.1", false, true))
            .connect()
            .and_then(|mut connection| connection.request(&[Arg::from("PING")]).map(|_| ()));
        assert!(refused.is_err());

        let plain = scripted(vec![
            send("-ERR unknown command\r\n"),
            Step::Stall(Duration::from_secs(2)),
        ]);
        let error = authority
            .connector(plain)
            .connect()
            .unwrap_err()
            .to_string();
        assert!(error.contains("redis://"), "{error}");
        let silent = scripted(vec![Step::Stall(Duration::from_secs(20))]);
        let mut connector = authority.connector(silent);
        connector.options.connect_timeout = Duration::from_millis(200);
        assert!(
            connector
                .connect()
                .unwrap_err()
                .to_string()
                .contains("handshake")
        );
        connector.options.tls.ca_certificates = Some("/nowhere.pem".into());
        assert_eq!(connector.connect().unwrap_err().kind(), ErrorKind::Io);
    }
}
