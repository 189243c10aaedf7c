//! The name of a function library, which stands in the first line of its source: `#!lua name=mylib`.

use super::reader::Function;
use crate::error::Result;
use crate::wire::Str;

/// How much of a source is looked at for its first line.
const FIRST_LINE: usize = 4096;

impl<'data> Function<'data> {
    /// The source, without its first line in the form of the release candidates.
    #[must_use]
    pub fn code(&self) -> Str<'data> {
        match self {
            Function::Source { code, .. } | Function::PreGa { code, .. } => *code,
        }
    }

    /// The library's name; `None` where the first line has none, which servers refuse.
    ///
    /// # Errors
    /// `Corrupt` where the source (or the name) is compressed and lies.
    pub fn name(&self) -> Result<Option<Vec<u8>>> {
        match self {
            Function::PreGa { name, .. } => start_of(name).map(Some),
            Function::Source { code, .. } => Ok(name_in_first_line(&start_of(code)?)),
        }
    }

    /// The name of the engine, `lua`; `None` where the first line does not name one.
    ///
    /// # Errors
    /// As [`Function::name`].
    pub fn engine(&self) -> Result<Option<Vec<u8>>> {
        match self {
            Function::PreGa { engine, .. } => start_of(engine).map(Some),
            Function::Source { code, .. } => {
                let start = start_of(code)?;
                Ok(words(&start).next().map(<[u8]>::to_vec))
            }
        }
    }
}

/// At most [`FIRST_LINE`] bytes of a string; unlike a preview, damage in them is an error.
fn start_of(text: &Str<'_>) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut pieces = text.pieces();
    while start.len() < FIRST_LINE
        && let Some(piece) = pieces.next_piece()?
    {
        let room = FIRST_LINE.saturating_sub(start.len());
        start.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
    Ok(start)
}

/// The words of the first line: the engine, then `name=…` and whatever else.
fn words(source: &[u8]) -> impl Iterator<Item = &[u8]> {
    source
        .strip_prefix(b"#!")
        .unwrap_or_default()
        .split(|b| *b == b'\n')
        .next()
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn name_in_first_line(source: &[u8]) -> Option<Vec<u8>> {
    words(source).skip(1).find_map(|word| {
        let (key, value) = word.split_at_checked(5)?;
        if !key.eq_ignore_ascii_case(b"name=") {
            return None;
        }
        let quotes = |b: &u8| *b == b'"' || *b == b'\'';
        let value = match value {
            [open, inner @ .., close] if quotes(open) && open == close => inner,
            bare => bare,
        };
        Some(value.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_first_line() {
        let name = |code: &'static [u8]| {
            let function = Function::Source {
                code: Str::Raw(code),
                offset: 9,
            };
            function.name().unwrap()
        };
        assert_eq!(
            name(b"#!lua name=mylib\nreturn 1").as_deref(),
            Some(&b"mylib"[..])
        );
        assert_eq!(
            name(b"#!lua  NAME=\"my_lib\" x\r\n").as_deref(),
            Some(&b"my_lib"[..])
        );
        assert_eq!(name(b"#!lua\nname=late"), None);
        assert_eq!(name(b"return 1"), None);
        assert_eq!(name(b""), None);
        let old = Function::PreGa {
            name: Str::Raw(b"old"),
            engine: Str::Raw(b"LUA"),
            description: None,
            code: Str::Raw(b"return 1"),
            offset: 5,
        };
        assert_eq!(old.name().unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(old.engine().unwrap().as_deref(), Some(&b"LUA"[..]));
        assert_eq!((old.offset(), old.code()), (5, Str::Raw(b"return 1")));
    }
}
