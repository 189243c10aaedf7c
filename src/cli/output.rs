//! Standard output: locked and buffered, and what a closed pipe means. Tables and numbers for people.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;

use rdbridge::json::write_report;
use serde::Serialize;

pub(crate) use rdbridge::units::Grouped;

use super::exit::Exit;

/// Standard output.
pub(crate) struct Out {
    writer: BufWriter<Box<dyn Write>>,
    closed: bool,
    written: bool,
}

impl Out {
    /// Whether anything was written.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.written
    }

    pub(crate) fn stdout() -> Self {
        // The library's own handle looks for ends of lines in everything, to write up to them: a terminal's comfort, which
        // would cost an export of gigabytes a second system call for each piece.
        let writer: Box<dyn Write> = match io::stdout().as_fd().try_clone_to_owned() {
            Ok(handle) => Box::new(File::from(handle)),
            Err(_) => Box::new(io::stdout().lock()),
        };
        Self {
            writer: BufWriter::with_capacity(64 * 1024, writer),
            closed: false,
            written: false,
        }
    }

    /// Whether the reader has gone away (`| head`). What was to be written is lost, and that is not an error.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            self.closed = true;
        }
        result.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("standard output cannot be written: {error}"),
            )
        })
    }
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").finish_non_exhaustive()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written = true;
        let result = self.writer.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.note(result)
    }
}

/// The one object of `--json`: an entry for each input, written as it comes, so that lists of any length take no memory.
///
/// `{"inputs":[{"input":"dump.rdb", …}, …],"exit_code":0}`
#[derive(Debug)]
pub(crate) struct Json {
    inputs: u64,
    items: u64,
    /// An input is begun and not ended.
    in_input: bool,
    /// A list of it is begun and not ended.
    in_list: bool,
}

impl Json {
    pub(crate) fn begin(out: &mut Out) -> io::Result<Self> {
        out.write_all(b"{\"inputs\":[")?;
        Ok(Self {
            inputs: 0,
            items: 0,
            in_input: false,
            in_list: false,
        })
    }

    /// Begins an input with its name.
    pub(crate) fn begin_input(&mut self, out: &mut Out, name: &str) -> io::Result<()> {
        out.write_all(if self.inputs > 0 { b",\n{" } else { b"\n{" })?;
        self.inputs += 1;
        self.in_input = true;
        out.write_all(b"\"input\":")?;
        value(out, &input_name(name))
    }

    /// A field of the current input.
    pub(crate) fn field(
        &mut self,
        out: &mut Out,
        name: &str,
        content: &(impl Serialize + ?Sized),
    ) -> io::Result<()> {
        out.write_all(b",")?;
        value(out, name)?;
        out.write_all(b":")?;
        value(out, content)
    }

    /// Begins a list in the current input.
    pub(crate) fn begin_list(&mut self, out: &mut Out, name: &str) -> io::Result<()> {
        out.write_all(b",")?;
        value(out, name)?;
        out.write_all(b":[")?;
        self.items = 0;
        self.in_list = true;
        Ok(())
    }

    /// The next item of the list.
    pub(crate) fn item(&mut self, out: &mut Out, item: &impl Serialize) -> io::Result<()> {
        if self.items > 0 {
            out.write_all(b",\n")?;
        }
        self.items += 1;
        value(out, item)
    }

    pub(crate) fn end_list(&mut self, out: &mut Out) -> io::Result<()> {
        self.in_list = false;
        out.write_all(b"]")
    }

    pub(crate) fn end_input(&mut self, out: &mut Out) -> io::Result<()> {
        self.in_input = false;
        out.write_all(b"}")
    }

    /// Ends the current input, or one called `name` that was not begun, with the error that ended it.
    pub(crate) fn fail_input(&mut self, out: &mut Out, name: &str, error: &str) -> io::Result<()> {
        if !self.in_input {
            self.begin_input(out, name)?;
        }
        if self.in_list {
            self.end_list(out)?;
        }
        self.field(out, "error", error)?;
        self.end_input(out)
    }

    /// Ends the object.
    pub(crate) fn end(self, out: &mut Out, exit: Exit) -> io::Result<()> {
        writeln!(out, "\n],\"exit_code\":{}}}", exit as u8)
    }
}

/// The object of a run that ended before it had anything else to say.
pub(crate) fn failure(error: &anyhow::Error) -> serde_json::Value {
    let exit = Exit::of(error) as u8;
    let Some(error) = error.downcast_ref::<rdbridge::Error>() else {
        return serde_json::json!({ "error": { "message": format!("{error:#}") }, "exit_code": exit });
    };
    let entry = error.entry().map(|entry| {
        serde_json::json!({
            "db": entry.db,
            "key": string(&entry.key),
            "type": entry.type_name,
        })
    });
    serde_json::json!({
        "error": {
            "message": error.to_string(),
            "what": error.what(),
            "input": error.input().map(input_name),
            "offset": error.place().map(|place| place.offset),
            "entry": entry,
            "reading": error.reading(),
            "hint": error.hint(),
        },
        "exit_code": exit,
    })
}

fn value(out: &mut Out, content: &(impl Serialize + ?Sized)) -> io::Result<()> {
    write_report(out, content)
}

/// A report as text.
pub(crate) fn report_text(content: &(impl Serialize + ?Sized)) -> String {
    let mut text = Vec::new();
    // A vector takes everything, and JSON is UTF-8.
    let _ = write_report(&mut text, content);
    String::from_utf8(text).unwrap_or_default()
}

/// The name of an input in JSON: as messages show it, it may be escaped already.
pub(crate) fn input_name(shown: &str) -> serde_json::Value {
    string(&rdbridge::error::unshown(shown))
}

/// Bytes as the schema of keys has strings.
fn string(bytes: &[u8]) -> serde_json::Value {
    let mut text = Vec::new();
    rdbridge::json::push_string(&mut text, bytes);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// `1 key`, `2 keys`.
pub(crate) fn plural(count: u64, one: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {one}{s}", Grouped(count))
}

/// A share in per cent: exact at both ends, so that 100 % is never claimed for 99.99 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    match tenths {
        0 => "< 0.1 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// Rows of text in columns: numbers to the right, words to the left.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// Stands to the left.
    Text(String),
    /// Stands to the right.
    Number(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::Number(Grouped(number).to_string())
    }
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Number(text) => text,
        }
    }
}

impl Table {
    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Writes the rows, each behind `indent` blanks.
    pub(crate) fn write(&self, out: &mut impl Write, indent: usize) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text().chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (cell, width) in row.iter().zip(&widths) {
                let blanks = width.saturating_sub(cell.text().chars().count());
                match cell {
                    Cell::Text(text) => {
                        line.push_str(text);
                        line.push_str(&" ".repeat(blanks));
                    }
                    Cell::Number(text) => {
                        line.push_str(&" ".repeat(blanks));
                        line.push_str(text);
                    }
                }
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_060_000, "1,060,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Grouped(number).to_string(), text);
        }
        assert_eq!(
            (plural(1, "key"), plural(2, "key")),
            ("1 key".into(), "2 keys".into())
        );
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 5, "0 %"),
            (5, 5, "100 %"),
            (1, 3, "33.3 %"),
            (99_999, 100_000, "99.9 %"),
            (1, 100_000, "< 0.1 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::default();
        table.row(["list".into(), 5.into(), "kurz".into()]);
        table.row(["größer".into(), 12_345.into(), "".into()]);
        let mut text = Vec::new();
        table.write(&mut text, 2).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "  list         5  kurz\n  größer  12,345\n"
        );
    }
}
