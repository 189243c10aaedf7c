//! What is told while a load runs.

use super::PauseEvent;
use crate::error::Result;
use crate::outcome::Outcome;

/// An entry that a person would want to know by name.
#[derive(Debug, Clone, Copy)]
pub struct KeyEvent<'a> {
    /// The number of the input.
    pub input: u32,
    /// The entry's number in its input.
    pub ordinal: u64,
    /// Where its record begins.
    pub offset: u64,
    /// Its database in the file.
    pub db: u64,
    /// Its key; of a very long one, the beginning.
    pub key: &'a [u8],
    /// Its outcome.
    pub outcome: Outcome,
    /// The server's words, or ours.
    pub reason: &'a str,
}

/// Is told about single entries, from several threads.
pub trait Watcher: Sync {
    /// An entry ended in an outcome that is listed.
    fn key(&self, event: &KeyEvent<'_>);

    /// The destination cannot be written to now; it will be tried again.
    fn pause(&self, _event: &PauseEvent<'_>) {}

    /// How an input changed since it was opened, if it did: asked again and again while it is read.
    ///
    /// # Errors
    /// Nobody can tell: that ends the load.
    fn input_changed(&self, _input: u32) -> Result<Option<String>> {
        Ok(None)
    }

    /// Something about the destination that a person would want to know.
    fn note(&self, _text: &str) {}

    /// The destination failed over or started again: so many acknowledged entries are looked up again.
    fn restarted(&self, _entries: u64) {}
}
