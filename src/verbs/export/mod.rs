//! `export`: everything that a dump holds, as data or as commands, into any writer.

pub mod json;
pub mod resp;
pub mod restore;
