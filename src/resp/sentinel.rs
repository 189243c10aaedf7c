//! A master behind sentinels: asked for by name at each connect, since it changes.

use super::address::{Address, Endpoint};
use super::conn::{Connection, Connector};
use super::pack::Arg;
use super::reply::Reply;
use crate::error::{Error, ErrorKind, Escaped, Result};

/// Asks the sentinel at the connector's address where the master `name` is, connects to it, and makes sure that it is one:
/// for a while after a failover sentinels still name the old one.
///
/// # Errors
/// The sentinel or the master cannot be reached; no such master; the server named is a replica now.
pub(super) fn connect(connector: &Connector, name: &str) -> Result<Connection> {
    let address = master_of(connector, name)?;
    let mut connection = connector.connect_to(&address)?;
    let replied = connection.request(&[Arg::from("ROLE")])?;
    let role = replied.array().and_then(|role| role.iter().next());
    match role.and_then(|role| role.text()) {
        Some(b"master") => Ok(connection),
        // Closed to us: what it is shows later, by READONLY at the latest.
        None if replied.error().is_some() => Ok(connection),
        _ => Err(Error::new(
            ErrorKind::Destination,
            format!("{address}: the sentinel names it the master of {name}, and it says that it is a replica"),
        )
        .with_hint("sentinels need a moment to notice: try again")),
    }
}

fn master_of(connector: &Connector, name: &str) -> Result<Address> {
    let refused = |what: String| Error::new(ErrorKind::Destination, what);
    let ask = |connection: &mut Connection| {
        let reply = connection.request(&[
            Arg::from("SENTINEL"),
            Arg::from("get-master-addr-by-name"),
            Arg::from(name),
        ])?;
        if let Reply::Error(words) = reply {
            return Err(refused(format!(
                "{}: the sentinel says {}",
                connector.address,
                Escaped(words)
            ))
            .with_hint(
                "is that the address of a sentinel? its port is 26379 where nothing else was set",
            ));
        }
        let mut parts = reply
            .array()
            .map(|parts| parts.iter().map(|part| part.text()));
        let mut next = || {
            let text = parts.as_mut()?.next()??;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (host, port) = (next(), next().and_then(|port| port.parse::<u16>().ok()));
        Ok(host.zip(port))
    };
    let found = ask(&mut connector.connect_plainly()?).or_else(|error| {
        // A sentinel may want the same login as its master.
        match error.what().contains("NOAUTH") {
            true => ask(&mut connector.connect_to(&connector.address)?),
            false => Err(error),
        }
    })?;
    let Some((host, port)) = found else {
        return Err(refused(format!(
            "{}: the sentinel knows no master called {name}",
            connector.address
        ))
        .with_hint("`SENTINEL masters` lists those that it watches"));
    };
    Ok(Address {
        endpoint: match connector.address.endpoint {
            Endpoint::Tls { .. } => Endpoint::Tls { host, port },
            _ => Endpoint::Tcp { host, port },
        },
        ..connector.address.clone()
    })
}
