//! `export --format json|ndjson`: every key as an object of the schema in [`crate::json`].
//!
//! `ndjson` is one object a line. `json` is one document, an object for each input in a list:
//! `{"inputs":[{"input":…,"magic":…,"rdb_version":…,"keys":[…],"functions":[…]},…]}`; it is written as the keys are read,
//! like the lines.
//!
//! A function library is `{"type":"function","name":…,"engine":…,"description":…,"code":…}`. The document has them; lines
//! have them where they are asked for, since whoever reads lines expects keys.
//!
//! One pass: keys are written as they are found, and the checksum is known only at the end. A wrong one is the error that
//! this ends with.

use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result, unshown};
use crate::json::{Damage, KeyWriter, Spill, push_string};
use crate::select::Selection;
use crate::snapshot::{Dialect, Entry, Function, Lent, Record, Snapshot, Spot};
use crate::value::Element;
use crate::verbs::ordered::{self, Ends};
use crate::verbs::{Ending, Ticker, Watch};

/// How keys are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One object a line.
    Lines,
    /// One document for all inputs: [`begin_document`] and [`end_document`] stand around them.
    Document,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// How keys are put together.
    pub layout: Layout,
    /// Function libraries have lines of their own. A document has them in any case.
    pub function_lines: bool,
    /// Threads that decode values and make text, besides the caller's; less than 2: the caller's does everything.
    pub threads: usize,
    /// Where blobs of more than 1 MiB are decompressed.
    pub spool_dir: PathBuf,
}

/// What was exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Keys that were written.
    pub written: u64,
    /// Keys among them of which something could not be read: their objects have an `error`.
    pub damaged: u64,
    /// Entries that were not asked for.
    pub not_selected: u64,
    /// Function libraries in the input.
    pub functions: u64,
    /// Function libraries that were written.
    pub functions_written: u64,
    /// Those of them whose source cannot be read, which have an `error` in its place.
    pub functions_damaged: u64,
    /// The end of the file.
    pub ending: Ending,
}

/// Writes the beginning of a document.
///
/// # Errors
/// `Io` of the writer.
pub fn begin_document(out: &mut dyn Write) -> Result<()> {
    put(out, b"{\"inputs\":[")
}

/// Writes the end of a document.
///
/// # Errors
/// `Io` of the writer.
pub fn end_document(out: &mut dyn Write) -> Result<()> {
    put(out, b"\n]}\n")
}

/// What becomes text.
#[derive(Debug, Clone, Copy)]
enum Item {
    Key {
        spot: Spot,
        first: bool,
    },
    /// Where a library's record begins.
    Function(u64),
}

/// Writes all selected entries of `snapshot` to `out`. `damaged` is told of each entry of which something could not be read.
///
/// `input` is its name and number in the document.
///
/// # Errors
/// Those of the reader (a wrong checksum comes last), of `watch` and of `damaged`, and `Io` of the writer.
pub fn export<'data>(
    snapshot: &Snapshot<'data>,
    input: (&str, usize),
    selection: &mut Selection,
    options: &Options,
    out: &mut dyn Write,
    damaged: &mut dyn FnMut(&Entry<'_>, &Damage) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    if options.layout == Layout::Document {
        begin_input(snapshot, input, out)?;
    }
    let (mut damaged_keys, mut damaged_functions) = (0u64, 0u64);
    let (mut scratch, mut ticker) = (Vec::new(), Ticker::default());
    let mut records = snapshot.records();
    // For the few that something is to be said of.
    let mut again = snapshot.again();
    let next = |items: &mut Vec<Item>| {
        loop {
            ticker.tick(watch, records.offset(), records.entries_seen())?;
            match records.lend()? {
                Some(Lent::Entry(entry)) => {
                    report.entries = report.entries.saturating_add(1);
                    if is_selected(selection, entry, &mut scratch)? {
                        let first = report.written == 0;
                        report.written = report.written.saturating_add(1);
                        items.push(Item::Key {
                            spot: records.spot(),
                            first,
                        });
                        return Ok(true);
                    }
                    report.not_selected = report.not_selected.saturating_add(1);
                }
                Some(Lent::Other(Record::Function(function))) => {
                    report.functions = report.functions.saturating_add(1);
                    if options.layout == Layout::Lines && options.function_lines {
                        report.functions_written = report.functions_written.saturating_add(1);
                        items.push(Item::Function(function.offset()));
                        return Ok(true);
                    }
                }
                Some(Lent::Other(Record::End(end))) => report.ending = Ending::of(&end),
                Some(_) => {}
                None => return Ok(false),
            }
        }
    };
    let result = ordered::run(
        options.threads,
        next,
        weight,
        || maker(snapshot, options),
        Ends {
            out,
            note: &mut |item, damage: Damage| match item {
                Item::Key { spot, .. } => {
                    damaged_keys = damaged_keys.saturating_add(1);
                    damaged(again.entry(spot)?, &damage)
                }
                Item::Function(_) => {
                    damaged_functions = damaged_functions.saturating_add(1);
                    Ok(())
                }
            },
        },
    );
    report.damaged = damaged_keys;
    report.functions_damaged = damaged_functions;
    if options.layout == Layout::Document {
        // What was read is worth a document that can be parsed, whatever it ended with.
        put(out, b"\n],\"functions\":[")?;
        if report.functions > 0 {
            (report.functions_written, report.functions_damaged) = functions(snapshot, out)?;
        }
        put(out, b"]}")?;
    }
    result?;
    Ok(report)
}

/// Whether an entry is asked for. One whose name lies is: what is wrong with it is said where it is written.
fn is_selected(
    selection: &mut Selection,
    entry: &Entry<'_>,
    scratch: &mut Vec<u8>,
) -> Result<bool> {
    match selection.admits(entry, scratch) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
        answer => answer,
    }
}

fn weight(item: &Item) -> u64 {
    match item {
        Item::Key { spot, .. } => spot.record_len(),
        Item::Function(_) => 0,
    }
}

/// What one thread works with.
fn maker<'data>(
    snapshot: &Snapshot<'data>,
    options: &Options,
) -> impl FnMut(&Item, &mut Vec<u8>, &mut Spill<'_>) -> Result<Option<Damage>> + Send + use<'data> {
    let mut writer = KeyWriter::new(Some(&options.spool_dir));
    let document = options.layout == Layout::Document;
    let (data, mut again) = (snapshot.data(), snapshot.again());
    move |item, text, spill| match item {
        Item::Key { spot, first } => {
            if document {
                text.extend_from_slice(if *first { b"\n" } else { b",\n" });
            }
            let damage = writer.write(again.entry(spot)?, text, spill)?;
            if !document {
                text.push(b'\n');
            }
            Ok(damage.is_some().then_some(damage))
        }
        Item::Function(offset) => {
            let damage = push_function(&Function::at(data, *offset)?, text)?;
            text.push(b'\n');
            Ok(damage.is_some().then_some(damage))
        }
    }
}

fn begin_input(
    snapshot: &Snapshot<'_>,
    (name, number): (&str, usize),
    out: &mut dyn Write,
) -> Result<()> {
    let mut text = Vec::new();
    text.extend_from_slice(if number == 0 {
        b"\n{\"input\":"
    } else {
        b",\n{\"input\":"
    });
    push_string(&mut text, &unshown(name));
    let header = snapshot.header();
    let magic = match header.dialect {
        Dialect::Valkey => "VALKEY",
        _ => "REDIS",
    };
    text.extend_from_slice(
        format!(
            ",\"magic\":\"{magic}\",\"rdb_version\":{},\"keys\":[",
            header.version
        )
        .as_bytes(),
    );
    put(out, &text)
}

/// Writes the function libraries, which a second look at the container finds. Damage of the container ends it: it was told
/// before. Gives how many were written, and how many of them are damaged.
fn functions(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> Result<(u64, u64)> {
    let mut records = snapshot.unverified_records();
    let (mut written, mut damaged, mut text) = (0u64, 0u64, Vec::new());
    while let Ok(Some(record)) = records.next_record() {
        let Record::Function(function) = record else {
            continue;
        };
        text.clear();
        text.extend_from_slice(if written == 0 { b"\n" } else { b",\n" });
        let damage = push_function(&function, &mut text)?;
        damaged = damaged.saturating_add(u64::from(damage.is_some()));
        put(out, &text)?;
        written = written.saturating_add(1);
    }
    Ok((written, damaged))
}

fn push_function(function: &Function<'_>, text: &mut Vec<u8>) -> Result<Damage> {
    text.extend_from_slice(b"{\"type\":\"function\"");
    let named = |text: &mut Vec<u8>, name: &str, value: Option<&[u8]>| {
        if let Some(value) = value {
            text.extend_from_slice(format!(",\"{name}\":").as_bytes());
            push_string(text, value);
        }
    };
    // A name that lies lies again where the code is written.
    named(text, "name", function.name().ok().flatten().as_deref());
    named(text, "engine", function.engine().ok().flatten().as_deref());
    let mut scratch = Vec::new();
    if let Function::PreGa {
        description: Some(description),
        ..
    } = function
    {
        named(text, "description", description.bytes(&mut scratch).ok());
    }
    let mut damage = Damage::default();
    let mut inflated = Vec::new();
    // A compressed source may turn out to lie only when it is inflated.
    let code = match Element::of(function.code(), &mut scratch) {
        Ok(Element::Bytes(code)) => Ok(Some(code)),
        Ok(other) if other.len() > LONGEST_LIBRARY => Ok(None),
        Ok(other) => other
            .append_to(&mut inflated)
            .map(|()| Some(inflated.as_slice())),
        Err(error) => Err(error),
    };
    match code {
        Ok(Some(code)) => named(text, "code", Some(code)),
        Ok(None) => damage.note_error(Error::new(
            ErrorKind::Corrupt,
            "its source has more than 4 MiB",
        ))?,
        Err(error) => damage.note_error(error)?,
    }
    if damage.is_some() {
        named(text, "error", Some(damage.to_string().as_bytes()));
    }
    text.push(b'}');
    Ok(damage)
}

/// The longest compressed source that is written: it is held in memory.
const LONGEST_LIBRARY: u64 = 4 << 20;

fn put(out: &mut dyn Write, text: &[u8]) -> Result<()> {
    out.write_all(text)
        .map_err(|error| Error::io("the output cannot be written", error))
}
