//! What plain write commands carry of a value: found out by walking it to its end, before anything is sent.

use super::{ByCommands, Policies, Terms};
use crate::error::{ErrorKind, Result};
use crate::snapshot::{Entry, Kind};
use crate::transform::Expiries;
use crate::value::commands::{Arrival, Commands, Loss, Losses};
use crate::value::{Decoder, Element, Exact};
use crate::wire::Str;

/// What becomes of a value that is to go by plain commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// Commands carry it.
    Goes(Carriage),
    /// They do not: why, and what would help.
    Refused(String),
    /// They do not, and `RESTORE` does ([`super::Step::WHOLE`]): why commands do not, where it is not damaged.
    Whole(Option<String>),
    /// It has no elements.
    Empty,
}

/// The commands of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carriage {
    /// What they do not carry, and may lose.
    pub losses: Losses,
    /// What it is.
    pub kind: Option<Kind>,
    /// One command does it, under the key's own name.
    pub at_once: bool,
    /// The command that counts its elements, and how many there must be; `None` where it is there as a whole or not at all.
    pub count: Option<(&'static str, u64)>,
    /// How many commands write it.
    pub commands: u64,
    /// Bytes of their arguments.
    pub bytes: u64,
}

/// Walks a value, which is to go as `by` says. One that is damaged is refused, and so is one that commands would make another
/// value of: of members, fields or groups that stand twice they keep one.
///
/// # Errors
/// `Io` of a spool. Damage is a reason to refuse it.
pub fn carried(
    decoder: &mut Decoder<Exact>,
    entry: &Entry<'_>,
    by: &ByCommands,
    terms: &Terms,
    policies: &Policies,
) -> Result<Carried> {
    let Some(known) = terms.commands else {
        return Ok(Carried::Refused(by.why.clone().into_owned()));
    };
    let sound = decoder.demand_distinct(entry);
    let inside = policies.transform.expiries;
    let walked = match sound.and_then(|()| walk(decoder, entry, terms, inside)) {
        Ok(walked) => walked,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(_) if by.stall_ms.is_some() => return Ok(Carried::Whole(None)),
        Err(error) => {
            let words = format!("by commands: {error}");
            return Ok(Carried::Refused(behind(&by.why, &words)));
        }
    };
    if let Some(why) = walked.in_the_way(terms, policies) {
        return Ok(match (by.stall_ms, walked.kind) {
            (Some(_), _) => Carried::Whole(Some(why)),
            // It says it better.
            (None, Some(Kind::String)) => Carried::Refused(why),
            // It was said already.
            (None, _) if by.lost == walked.missing(policies) && !by.lost.is_empty() => {
                Carried::Refused(by.why.clone().into_owned())
            }
            (None, _) => Carried::Refused(behind(&by.why, &why)),
        });
    }
    if walked.commands == 0 {
        return Ok(Carried::Empty);
    }
    Ok(Carried::Goes(Carriage {
        losses: walked.losses,
        kind: walked.kind,
        at_once: walked.kind == Some(Kind::String)
            && walked.commands == 1
            && (by.expire_at_ms.is_none() || known.set_pxat),
        count: walked.count(),
        commands: walked.commands,
        bytes: walked.bytes,
    }))
}

/// What a walk over a value found.
struct Walked {
    losses: Losses,
    commands: u64,
    bytes: u64,
    /// How many elements they make, where that is known; of a string, how many bytes.
    elements: Option<u64>,
    /// An argument of so many bytes is over the destination's limit.
    too_long: Option<u64>,
    kind: Option<Kind>,
}

fn walk(
    decoder: &mut Decoder<Exact>,
    entry: &Entry<'_>,
    terms: &Terms,
    inside: Expiries,
) -> Result<Walked> {
    let vocabulary = match terms.commands {
        Some(known) => known.vocabulary,
        None => crate::value::commands::Vocabulary::redis(5, 0),
    };
    let arrival = Arrival {
        key: Element::Bytes(b""),
        expire_at_ms: None,
        inside,
    };
    let limits = terms.command_limits();
    let mut commands = Commands::new(decoder, entry, arrival, vocabulary, limits)?;
    let most = terms.max_arg;
    let mut walked = Walked {
        losses: Losses::default(),
        commands: 0,
        bytes: 0,
        elements: Some(0),
        too_long: None,
        kind: entry.type_info().map(|info| info.kind),
    };
    while let Some(command) = commands.next_command()? {
        walked.commands = walked.commands.saturating_add(1);
        walked.bytes = walked.bytes.saturating_add(command.bytes());
        let behind_key = command.argc().saturating_sub(2);
        walked.elements = walked.elements.and_then(|elements| match command.name() {
            // Its bytes, behind the name of the command: the key has none here.
            "SET" | "APPEND" => {
                let name = command.name().len() as u64;
                elements.checked_add(command.bytes().saturating_sub(name))
            }
            "RPUSH" | "SADD" => elements.checked_add(behind_key),
            "ZADD" | "HSET" | "HMSET" => elements.checked_add(behind_key / 2),
            "XADD" => elements.checked_add(1),
            "XDEL" => elements.checked_sub(behind_key),
            // Those whose time has come are gone at once.
            "HPEXPIREAT" | "PEXPIREMEMBERAT" => None,
            _ => Some(elements),
        });
        // Only a large command has an argument that is too long, or whose compressed bytes nobody has read yet.
        if command.bytes() <= Str::MAX_BUFFERED.min(most) {
            continue;
        }
        for arg in command.args() {
            if let Element::Long(_) = arg {
                arg.write_to(|_| Ok(()))?;
            }
            if arg.len() > most {
                walked.too_long = Some(arg.len());
            }
        }
    }
    walked.losses = commands.losses();
    Ok(walked)
}

impl Walked {
    /// Meaning that would be lost and may not be.
    fn missing(&self, policies: &Policies) -> Losses {
        self.losses
            .iter()
            .filter(|loss| loss.is_meaning())
            .filter(|loss| loss.is_whole() || !policies.allow_loss.has(*loss))
            .collect()
    }

    /// Why commands do not carry it.
    fn in_the_way(&self, terms: &Terms, policies: &Policies) -> Option<String> {
        let missing = self.missing(policies);
        if !missing.is_empty() {
            return Some(match self.losses.iter().find(|loss| loss.is_whole()) {
                Some(loss) => format!("no command of the destination writes it ({loss})"),
                None => {
                    let missing: Vec<&str> = missing.iter().map(Loss::name).collect();
                    let missing = missing.join(",");
                    format!(
                        "by commands it would lose {missing} (--allow-loss {missing} sends it so)"
                    )
                }
            });
        }
        let string = (self.kind == Some(Kind::String)).then_some(self.elements);
        if let Some(Some(bytes)) = string
            && bytes > terms.max_bulk
        {
            return Some(format!(
                "it has {bytes} bytes, the destination takes {} in a string: no command carries it; raise proto-max-bulk-len there",
                terms.max_bulk
            ));
        }
        self.too_long.map(|bytes| {
            format!(
                "one of its elements has {bytes} bytes, the destination takes {} in one argument: no command carries it; \
                 raise {} there",
                terms.max_arg,
                terms.limit_of_arguments()
            )
        })
    }

    /// How to find out whether all is there; `None` where it is there as a whole or not at all.
    fn count(&self) -> Option<(&'static str, u64)> {
        let command = match self.kind? {
            Kind::String => "STRLEN",
            Kind::List => "LLEN",
            Kind::Set => "SCARD",
            Kind::ZSet => "ZCARD",
            Kind::Hash => "HLEN",
            Kind::Stream => "XLEN",
            _ => return None,
        };
        self.elements
            .filter(|_| self.commands > 1)
            .map(|elements| (command, elements))
    }
}

fn behind(why: &str, more: &str) -> String {
    match why {
        "" => more.to_owned(),
        why => format!("{why}; {more}"),
    }
}
