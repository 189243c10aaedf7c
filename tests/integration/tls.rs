//! TLS to real servers: certificates that are right, expired, of another authority or of another name, and clients that must show one.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use redis::Value;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::server::{Server, free_port};

const SERVERS: [&str; 2] = ["redis-7.0", "valkey-9.1"];

/// Signs certificates.
struct Authority {
    dir: Dir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // Whoever is signed by one of its own name counts as signed by itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a root");
        let dir = Dir::new();
        dir.file("ca.pem", root.pem());
        Self {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    fn ca(&self) -> String {
        self.dir.path().join("ca.pem").display().to_string()
    }

    /// Certificate and key, by their files.
    fn issue(&self, file: &str, name: &str, expired: bool) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (
            self.dir.file(&format!("{file}.pem"), certificate.pem()),
            self.dir.file(&format!("{file}.key"), key.serialize_pem()),
        )
    }

    /// A server with a certificate for `name`; its TLS address.
    fn serve(&self, server: &'static str, name: &str, expired: bool, client: &str) -> Served {
        let (certificate, key) = self.issue("server", name, expired);
        // Another process may take the free port before the server does.
        let mut log = String::new();
        for _attempt in 0..5 {
            let port = free_port();
            let started = Server::setup(server)
                .with("tls-port", [port.to_string()])
                .with("tls-cert-file", [PathBuf::from(&certificate)])
                .with("tls-key-file", [PathBuf::from(&key)])
                .with("tls-ca-cert-file", [PathBuf::from(self.ca())])
                .with("tls-auth-clients", [client])
                .try_start();
            match started {
                Ok(server) => {
                    return Served {
                        server,
                        url: format!("rediss://127.0.0.1:{port}"),
                    };
                }
                Err(said) => log = said,
            }
        }
        panic!("{server} does not start; its log ends:\n{log}");
    }
}

struct Served {
    server: Server,
    url: String,
}

impl Served {
    fn load(&self, file: &str, more: &[&str]) -> Ran {
        let words = ["load", file, "--to", &self.url, "--no-journal"];
        run([&words[..], more].concat())
    }

    /// It is not loaded into, in words that say so.
    #[track_caller]
    fn refuses(&self, file: &str, more: &[&str], says: &str) {
        let ran = self.load(file, more);
        ran.ends_with(4);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        assert_eq!(self.server.run("DBSIZE"), Value::Int(0));
    }

    #[track_caller]
    fn takes(&self, file: &str, more: &[&str]) {
        self.load(file, more).ends_with(0);
        assert_eq!(self.server.run("DBSIZE"), Value::Int(500));
        for verb in ["compare", "plan"] {
            let words = [verb, file, "--to", &self.url, "--on-conflict", "skip"];
            let words = match verb {
                "compare" => &words[..4],
                _ => &words[..],
            };
            run([words, more].concat()).ends_with(0);
        }
        self.server.run("FLUSHALL");
    }
}

#[test]
fn only_the_right_certificate_is_loaded_into() {
    let dir = Dir::new();
    let dump = (0..500).fold(Dump::redis(7).select_db(0), |dump, i| {
        dump.string_key(format!("k{i}"), "v".repeat(i))
    });
    let file = dir.file("dump.rdb", dump.finish(Crc::Right));
    for name in SERVERS {
        let authority = Authority::new();
        let (ca, stranger) = (authority.ca(), Authority::new());
        let strange = stranger.ca();
        let trust = ["--cacert", &ca];

        let right = authority.serve(name, "127.0.0.1", false, "no");
        right.takes(&file, &trust);
        right.refuses(&file, &["--cacert", &strange], "ertificate");
        // The system's roots do not know it either.
        right.refuses(&file, &[], "ertificate");
        right.takes(&file, &["--insecure"]);

        let expired = authority.serve(name, "127.0.0.1", true, "no");
        expired.refuses(&file, &trust, "xpired");

        let other = authority.serve(name, "db.example", false, "no");
        other.refuses(&file, &trust, "--server-name");
        other.takes(&file, &["--cacert", &ca, "--server-name", "db.example"]);

        // Both sides show one.
        let (certificate, key) = authority.issue("client", "client", false);
        let (unknown, its_key) = stranger.issue("client", "client", false);
        let mutual = authority.serve(name, "127.0.0.1", false, "yes");
        mutual.refuses(&file, &trust, "");
        mutual.refuses(
            &file,
            &["--cacert", &ca, "--cert", &unknown, "--key", &its_key],
            "",
        );
        mutual.takes(
            &file,
            &["--cacert", &ca, "--cert", &certificate, "--key", &key],
        );
    }
}
