//! Commands under other names, for servers whose owners renamed them (`rename-command` in their configuration).
//!
//! Everything above names commands as everybody does; the names are changed where a command is packed.

use std::str::FromStr;
use std::sync::Arc;

use super::pack::Arg;

/// A command and its name there, as typed: `RESTORE=x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    command: Box<[u8]>,
    name: Box<[u8]>,
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
        match text.split_once('=') {
            Some((command, "")) => Err(format!(
                "an empty name means that {command} is switched off there: that needs no option, it is found out"
            )),
            Some((command, name)) if is_word(command) && is_word(name) => Ok(Self {
                command: command.to_ascii_uppercase().into_bytes().into(),
                name: name.as_bytes().into(),
            }),
            _ => Err("write it as COMMAND=NAME, such as RESTORE=x".to_owned()),
        }
    }
}

/// All renamed commands of a server.
#[derive(Debug, Clone, Default)]
pub struct Renames(Option<Arc<[Rename]>>);

impl Renames {
    /// Of several names of one command the first counts.
    pub fn new(renames: impl IntoIterator<Item = Rename>) -> Self {
        let renames: Arc<[Rename]> = renames.into_iter().collect();
        Self((!renames.is_empty()).then_some(renames))
    }

    /// Whether every command has its usual name.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The name of a command there.
    #[must_use]
    pub fn of<'a>(&'a self, command: &'a [u8]) -> &'a [u8] {
        let mut renames = self.0.iter().flat_map(|renames| renames.iter());
        let renamed = renames.find(|one| one.command.eq_ignore_ascii_case(command));
        renamed.map_or(command, |one| &one.name)
    }

    /// The arguments with the command's name there in front; `None` where nothing is renamed.
    pub(super) fn applied<'a>(&'a self, args: &[Arg<'a>]) -> Option<Vec<Arg<'a>>> {
        self.0.as_ref()?;
        let (Arg::Bytes(command), rest) = args.split_first()? else {
            return None;
        };
        let name = Arg::Bytes(self.of(command));
        Some(std::iter::once(name).chain(rest.iter().copied()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_their_names_there() {
        let renames = Renames::new(["restore=x", "CONFIG=Y-1", "RESTORE=z"].map(|text| {
            text.parse::<Rename>()
                .unwrap_or_else(|why| panic!("{text}: {why}"))
        }));
        assert_eq!(renames.of(b"RESTORE"), b"x");
        assert_eq!(renames.of(b"config"), b"Y-1");
        assert_eq!(renames.of(b"INFO"), b"INFO");
        assert!(!renames.is_empty());
        let args = ["RESTORE", "RESTORE"].map(Arg::from);
        let named = renames.applied(&args).unwrap();
        assert!(matches!(
            named[..],
            [Arg::Bytes(b"x"), Arg::Bytes(b"RESTORE")]
        ));
        let none = Renames::new([]);
        assert!(none.is_empty() && none.applied(&args).is_none());
        for bad in ["RESTORE", "=x", "RESTORE=", "A B=x", "RESTORE=a b", ""] {
            assert!(bad.parse::<Rename>().is_err(), "{bad}");
        }
    }
}
