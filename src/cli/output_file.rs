//! Where data goes: standard output, or a file that has its name only when everything is written.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rdbridge::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use super::args::OutputArgs;
use super::output::Out;

/// What is gathered before it is written to a file.
const BUFFER: usize = 256 * 1024;

/// Where data goes, and how much has gone there.
pub(crate) struct Data<'a> {
    end: End<'a>,
    written: u64,
}

/// The end that data goes to.
enum End<'a> {
    Stdout(&'a mut Out),
    /// A device or a pipe, which is written to as it is.
    Stream(BufWriter<fs::File>, PathBuf),
    File(Box<BufWriter<NamedTempFile>>, PathBuf),
}

impl<'a> Data<'a> {
    /// Opens what was asked for. Nothing that exists is touched before [`Data::finish`].
    pub(crate) fn open(args: &OutputArgs, out: &'a mut Out) -> Result<Self> {
        End::open(args, out).map(|end| Self { end, written: 0 })
    }

    /// Bytes that were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether what is written goes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.end, End::Stdout(_))
    }

    /// Whether the reader has gone away, which is no error.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.end {
            End::Stdout(out) => out.is_closed(),
            _ => false,
        }
    }

    /// Everything is written: the file gets its name.
    pub(crate) fn finish(self) -> Result<()> {
        match self.end {
            End::Stdout(out) => out
                .flush()
                .map_err(|error| Error::io("the output cannot be written", error)),
            End::Stream(mut file, path) => file.flush().map_err(|error| cannot(&path, error)),
            End::File(file, path) => {
                let file = file
                    .into_inner()
                    .map_err(|error| cannot(&path, error.into_error()))?;
                file.as_file()
                    .sync_all()
                    .map_err(|error| cannot(&path, error))?;
                file.persist(&path)
                    .map(drop)
                    .map_err(|error| cannot(&path, error.error))
            }
        }
    }

    /// The run ended with an error: what is worth something without its end is shown, a file is not left behind. Says what
    /// becomes of it.
    pub(crate) fn give_up(mut self) -> Option<&'static str> {
        match &mut self.end {
            End::Stdout(out) => {
                let _ = out.flush();
                None
            }
            End::Stream(file, _) => {
                let _ = file.flush();
                None
            }
            End::File(..) => (self.written > 0).then_some(
                "no file is left; without --output, what can be read goes to standard output",
            ),
        }
    }
}

impl<'a> End<'a> {
    fn open(args: &OutputArgs, out: &'a mut Out) -> Result<Self> {
        let path = match &args.output {
            Some(path) if path != Path::new("-") => path,
            _ => return Ok(End::Stdout(out)),
        };
        let cannot = |error| cannot(path, error);
        // Through links: what they lead to is replaced, not they.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{} is a directory, not a file to write", path.display()),
                ));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&path).map_err(cannot)?;
                return Ok(End::Stream(BufWriter::with_capacity(BUFFER, file), path));
            }
            _ => {}
        }
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".rdbridge-")
            .suffix(".part")
            // As any new file: what the umask leaves.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(cannot)?;
        let file = Box::new(BufWriter::with_capacity(BUFFER, file));
        Ok(End::File(file, path))
    }
}

#[cold]
fn cannot(path: &Path, error: io::Error) -> Error {
    Error::io(format!("{} cannot be written", path.display()), error)
}

impl Write for Data<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.end {
            End::Stdout(out) => out.write(bytes),
            End::Stream(file, _) => file.write(bytes),
            End::File(file, _) => file.write(bytes),
        }?;
        self.written = self.written.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.end {
            End::Stdout(out) => out.flush(),
            End::Stream(file, _) => file.flush(),
            End::File(file, _) => file.flush(),
        }
    }
}
