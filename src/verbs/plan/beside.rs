//! What a dump does not hold, what must be made by hand, and what its keys wake up.

use super::destination::Destination;
use crate::survey::Survey;
use crate::time::Timestamp;

/// What no load brings, since it is not in the file.
pub(super) fn not_in_file(surveys: &[Survey]) -> Vec<String> {
    let taken = surveys
        .iter()
        .filter_map(|survey| survey.producer.ctime)
        .min();
    let writes = match taken {
        Some(seconds) => format!("writes after {}", Timestamp::from_secs(seconds)),
        None => "writes after the dump was taken, at an unknown time".to_owned(),
    };
    vec![
        "ACL users and passwords".to_owned(),
        "configuration".to_owned(),
        writes,
        "where clients are: subscriptions, open transactions, the clocks of consumers".to_owned(),
    ]
}

/// What must be made there by hand; cached scripts only where the load leaves them out.
pub(super) fn by_hand(surveys: &[Survey], load_scripts: bool) -> Vec<String> {
    let mut list = Vec::new();
    for (module, records) in surveys.iter().flat_map(|survey| &survey.module_aux) {
        let name = module.name();
        let what = match name.as_str() {
            name if name.starts_with("ft_index") || name.starts_with("scdtype") => {
                format!(
                    "search indexes (data of {name}): FT.CREATE, by the definitions of the old server (FT.INFO)"
                )
            }
            name => format!("data of module {name} that belongs to no key ({records} records)"),
        };
        if !list.contains(&what) {
            list.push(what);
        }
    }
    let scripts: u64 = surveys.iter().map(|survey| survey.scripts).sum();
    if scripts > 0 && !load_scripts {
        list.push(format!(
            "cached scripts ({scripts}): clients send them again, or --scripts load does; `rdbridge info` names them"
        ));
    }
    list
}

/// What starts to move there when keys arrive.
pub(super) fn wakes_up(destination: &Destination) -> Vec<String> {
    let mut list = Vec::new();
    match destination.blocked_clients {
        Some(0) => {}
        Some(1) => list.push(
            "1 client waits there in BLPOP, XREAD or the like: what it waits for is taken as soon as it arrives".to_owned(),
        ),
        Some(clients) => list.push(format!(
            "{clients} clients wait there in BLPOP, XREAD or the like: what they wait for is taken as soon as it arrives"
        )),
        None => list.push(
            "whether clients wait there in BLPOP, XREAD or the like is not known: they would take what arrives".to_owned(),
        ),
    }
    match destination.keyspace_events.as_deref() {
        Some("") => {}
        Some(events) => list.push(format!(
            "keyspace events are sent there (notify-keyspace-events {events}): every key that arrives is one"
        )),
        None => list.push("whether keyspace events are sent there is not known".to_owned()),
    }
    list
}
