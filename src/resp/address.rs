//! Where a server is: `redis://`, `rediss://`, `unix://` and bare `host:port`.
//!
//! `redis://[user[:password]@]host[:port][/db]`, the same with `rediss://` (TLS), `redis+unix:///path?db=&user=&pass=` or
//! `unix:///path`, an absolute path, or `[user[:password]@]host[:port]`. The `valkey` spellings mean the same. User and
//! password are percent-decoded. The text of an address never contains the password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use redis::IntoConnectionInfo as _;

use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Redis's own port.
const PORT: u16 = 6379;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// Plain TCP.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// An address as typed: where, as whom, and which database.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// ACL user; `None` is the server's default user.
    pub user: Option<String>,
    /// Password as typed into the address, if any.
    pub password: Option<Secret>,
    /// Database that the address names, if any.
    pub db: Option<u64>,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(bad("the destination's address is empty"));
        }
        if text.starts_with('/') {
            return Ok(Self {
                endpoint: Endpoint::Unix(PathBuf::from(text)),
                user: None,
                password: None,
                db: None,
            });
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => ("redis".to_owned(), text),
        };
        match scheme.as_str() {
            "redis" | "valkey" => parse_tcp(rest, false),
            "rediss" | "valkeys" => parse_tcp(rest, true),
            "unix" | "redis+unix" | "valkey+unix" => parse_unix(rest),
            _ => Err(bad(format!(
                "an address begins with redis://, rediss:// or unix://, not with {scheme}://"
            ))),
        }
    }
}

fn parse_tcp(rest: &str, tls: bool) -> Result<Address> {
    if let Some((_, fragment)) = rest.split_once('#') {
        return Err(if fragment == "insecure" {
            bad("#insecure in an address is not taken")
                .with_hint("say --insecure if the server's certificate really need not be checked")
        } else {
            bad("an address has no part after '#'").with_hint("a '#' in a password is written %23")
        });
    }
    if rest.contains('?') {
        return Err(bad("an address of this kind has no part after '?'")
            .with_hint("a '?' in a password is written %3F"));
    }
    let info = format!("redis://{rest}")
        .as_str()
        .into_connection_info()
        .map_err(|error| {
            // The crate's own text is one of a few fixed sentences; the address itself may hold a password.
            bad(format!(
                "the destination's address cannot be read ({})",
                error.category()
            ))
            .with_hint(
                "redis://[user[:password]@]host[:port][/db]; '@', '/', ':' and '#' in a password are written %40, %2F, %3A and %23; \
                 an IPv6 address stands in brackets",
            )
        })?;
    let (host, port) = match info.addr() {
        redis::ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
        _ => return Err(bad("the destination's address has no host")),
    };
    let typed_db = rest
        .rsplit_once('@')
        .map_or(rest, |(_, after)| after)
        .split_once('/')
        .is_some_and(|(_, path)| !path.trim_matches('/').is_empty());
    Ok(Address {
        endpoint: if tls {
            Endpoint::Tls { host, port }
        } else {
            Endpoint::Tcp { host, port }
        },
        user: info.redis_settings().username().map(str::to_owned),
        password: info.redis_settings().password().map(Secret::new),
        db: typed_db
            .then(|| database(info.redis_settings().db()))
            .transpose()?,
    })
}

fn parse_unix(rest: &str) -> Result<Address> {
    if !rest.starts_with('/') {
        return Err(bad("a unix socket is given by its absolute path")
            .with_hint("unix:///run/redis/redis.sock, with three slashes"));
    }
    let info = format!("redis+unix://{rest}")
        .as_str()
        .into_connection_info()
        .map_err(|_| {
            bad("the destination's address cannot be read")
                .with_hint("unix:///path/to/socket[?db=N&user=NAME&pass=PASSWORD]")
        })?;
    let redis::ConnectionAddr::Unix(path) = info.addr() else {
        return Err(bad("the destination's address has no path"));
    };
    let typed_db = rest
        .split_once('?')
        .is_some_and(|(_, query)| query.split('&').any(|pair| pair.starts_with("db=")));
    Ok(Address {
        endpoint: Endpoint::Unix(path.clone()),
        user: info.redis_settings().username().map(str::to_owned),
        password: info.redis_settings().password().map(Secret::new),
        db: typed_db
            .then(|| database(info.redis_settings().db()))
            .transpose()?,
    })
}

fn database(db: i64) -> Result<u64> {
    u64::try_from(db).map_err(|_| bad("the address's database number is negative"))
}

fn bad(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user_at) = (self.scheme(), "");
        self.write(f, scheme, user_at)
    }
}

impl Endpoint {
    fn scheme(&self) -> &'static str {
        match self {
            Endpoint::Tcp { .. } => "redis",
            Endpoint::Tls { .. } => "rediss",
            Endpoint::Unix(_) => "unix",
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, scheme: &str, user_at: &str) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
                let bracketed = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                write!(f, "{scheme}://{user_at}{bracketed}")?;
                if *port == PORT {
                    Ok(())
                } else {
                    write!(f, ":{port}")
                }
            }
            Endpoint::Unix(path) => write!(f, "{scheme}://{user_at}{}", path.display()),
        }
    }
}

/// The address without its password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user_at = match (&self.user, &self.endpoint) {
            (Some(user), Endpoint::Tcp { .. } | Endpoint::Tls { .. }) => format!("{user}@"),
            _ => String::new(),
        };
        self.endpoint.write(f, self.endpoint.scheme(), &user_at)?;
        match (self.db, &self.endpoint) {
            (Some(db), Endpoint::Unix(_)) => write!(f, "?db={db}"),
            (Some(db), _) => write!(f, "/{db}"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_form_is_read() {
        let tcp = |host: &str, port| Endpoint::Tcp {
            host: host.into(),
            port,
        };
        assert_eq!(parsed("localhost").endpoint, tcp("localhost", 6379));
        assert_eq!(parsed("10.0.0.1:7000").endpoint, tcp("10.0.0.1", 7000));
        assert_eq!(parsed("[::1]:7000").endpoint, tcp("::1", 7000));
        assert_eq!(parsed("redis://[fe80::1]").endpoint, tcp("fe80::1", 6379));
        let full = parsed("redis://joe:p%40ss%2F%23@db.example:6380/3");
        assert_eq!(full.endpoint, tcp("db.example", 6380));
        assert_eq!(full.user.as_deref(), Some("joe"));
        assert_eq!(full.password, Some(Secret::new("p@ss/#")));
        assert_eq!(full.db, Some(3));
        let only_password = parsed("redis://:secret@h");
        assert_eq!(only_password.user, None);
        assert_eq!(only_password.password, Some(Secret::new("secret")));
        assert_eq!(only_password.db, None);
        assert_eq!(
            parsed("rediss://h:1").endpoint,
            Endpoint::Tls {
                host: "h".into(),
                port: 1
            }
        );
        for text in [
            "unix:///run/r.sock?db=2&user=u&pass=p%20q",
            "redis+unix:///run/r.sock?pass=p%20q&db=2&user=u",
        ] {
            let unix = parsed(text);
            assert_eq!(unix.endpoint, Endpoint::Unix("/run/r.sock".into()));
            assert_eq!(unix.db, Some(2));
            assert_eq!(unix.user.as_deref(), Some("u"));
            assert_eq!(unix.password, Some(Secret::new("p q")));
        }
        assert_eq!(
            parsed("/run/with space.sock").endpoint,
            Endpoint::Unix("/run/with space.sock".into())
        );
        assert_eq!(parsed("h/0").db, Some(0));
    }

    #[test]
    fn the_password_is_in_no_text() {
        for text in [
            "redis://joe:hunter2@h:1/4",
            "rediss://:hunter2@[::1]",
            "unix:///s?pass=hunter2&db=1",
        ] {
            let address = parsed(text);
            for shown in [
                format!("{address}"),
                format!("{address:?}"),
                format!("{:?}", address.password),
            ] {
                assert!(!shown.contains("hunter2"), "{shown}");
            }
            let again = parsed(&address.to_string());
            assert_eq!((again.endpoint, again.db), (address.endpoint, address.db));
        }
        assert_eq!(
            parsed("redis://joe:x@h:1/4").to_string(),
            "redis://joe@h:1/4"
        );
        assert_eq!(parsed("rediss://[::1]").to_string(), "rediss://[::1]");
    }

    #[test]
    fn refusals_have_words_and_no_secret() {
        for (text, expected) in [
            ("", "empty"),
            ("rediss://:hunter2@h#insecure", "--insecure"),
            ("redis://:hunter2#x@h", "%23"),
            ("redis://:hunter2?x@h", "%3F"),
            ("http://h", "http://"),
            ("redis://:hunter2@h:99999", "cannot be read"),
            ("redis://:hunter2@h:1/x", "cannot be read"),
            ("redis://h:1/-1", "negative"),
            ("::1", "brackets"),
            ("unix://run/x", "three slashes"),
            ("redis://", "cannot be read"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
