//! The buffer that JSON is written to, and its spilling.

use super::damage::Damage;
use super::string::{BASE64_CLOSE, BASE64_OPEN, Base64, Escaper, Utf8, push_string};
use crate::error::Result;
use crate::value::{Element, IntText, StreamId};

/// A buffer is spilled when it holds so many bytes.
pub const PIECE: usize = 64 * 1024;

/// Takes what a buffer holds and leaves it empty.
pub type Spill<'a> = dyn FnMut(&mut Vec<u8>) -> Result<()> + 'a;

/// What is being written, and what was found to be broken on the way.
pub(super) struct Text<'o, 's> {
    pub(super) out: &'o mut Vec<u8>,
    spill: &'o mut Spill<'s>,
    pub(super) damage: Damage,
}

/// How an element is written. Where it is long, that takes a first walk over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It fits into a piece.
    Short,
    /// It is long, and UTF-8.
    LongText,
    /// It is long, and not UTF-8.
    LongBytes,
}

/// Puts commas between items.
#[derive(Debug, Default)]
pub(super) struct Commas {
    any: bool,
}

impl Commas {
    /// The next item follows.
    #[inline]
    pub(super) fn next(&mut self, text: &mut Text<'_, '_>) {
        if self.any {
            text.out.push(b',');
        }
        self.any = true;
    }
}

/// Appends `element` as the schema has strings, in flat memory whatever its length: where `out` is full, `spill` empties it.
///
/// # Errors
/// `Corrupt` where it cannot be decoded: nothing was written then. And what `spill` answers.
pub fn write_element(
    out: &mut Vec<u8>,
    spill: &mut Spill<'_>,
    element: &Element<'_>,
) -> Result<()> {
    let mut text = Text::new(out, spill);
    match text.form(element)? {
        Some(form) => text.element(element, form),
        None => match text.damage.first {
            Some(finding) => Err(finding.into_error()),
            None => Ok(()),
        },
    }
}

impl<'o, 's> Text<'o, 's> {
    pub(super) fn new(out: &'o mut Vec<u8>, spill: &'o mut Spill<'s>) -> Self {
        Self {
            out,
            spill,
            damage: Damage::default(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    #[inline]
    pub(super) fn integer(&mut self, value: impl itoa::Integer) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// An integer as a string of digits.
    pub(super) fn digits(&mut self, value: impl itoa::Integer) {
        self.out.push(b'"');
        self.integer(value);
        self.out.push(b'"');
    }

    #[inline]
    pub(super) fn stream_id(&mut self, id: StreamId) {
        self.out.push(b'"');
        self.integer(id.ms);
        self.out.push(b'-');
        self.integer(id.seq);
        self.out.push(b'"');
    }

    /// Empties the buffer, however little it holds.
    pub(super) fn spill(&mut self) -> Result<()> {
        (self.spill)(self.out)
    }

    /// Makes room, if it is time to.
    #[inline]
    pub(super) fn room(&mut self) -> Result<()> {
        if self.out.len() < PIECE {
            return Ok(());
        }
        (self.spill)(self.out)
    }

    /// How `element` can be written; `None` where it cannot be decoded, which is noted. Nothing is written: a comma in
    /// front can wait for the answer.
    #[inline]
    pub(super) fn form(&mut self, element: &Element<'_>) -> Result<Option<Form>> {
        match element {
            Element::Int(_) => Ok(Some(Form::Short)),
            Element::Bytes(bytes) if bytes.len() <= PIECE => Ok(Some(Form::Short)),
            long => self.form_of_long(long),
        }
    }

    #[inline(never)]
    fn form_of_long(&mut self, element: &Element<'_>) -> Result<Option<Form>> {
        let is_text = match element {
            Element::Bytes(bytes) => Ok(std::str::from_utf8(bytes).is_ok()),
            other => {
                let mut utf8 = Utf8::default();
                // To its end in any case, since it must be known whether it can be decoded at all.
                other
                    .write_to(|piece| {
                        if !utf8.is_broken() {
                            utf8.push(piece);
                        }
                        Ok(())
                    })
                    .map(|()| utf8.finish())
            }
        };
        match is_text {
            Ok(true) => Ok(Some(Form::LongText)),
            Ok(false) => Ok(Some(Form::LongBytes)),
            Err(error) => self.damage.note_error(error).map(|()| None),
        }
    }

    /// Writes `element` in the form that [`Text::form`] found.
    #[inline]
    pub(super) fn element(&mut self, element: &Element<'_>, form: Form) -> Result<()> {
        match *element {
            Element::Int(value) => {
                self.out.push(b'"');
                self.out
                    .extend_from_slice(IntText::new().format(value).as_bytes());
                self.out.push(b'"');
            }
            Element::Bytes(bytes) if form == Form::Short => push_string(self.out, bytes),
            long => self.long(&long, form)?,
        }
        self.room()
    }

    #[inline(never)]
    fn long(&mut self, element: &Element<'_>, form: Form) -> Result<()> {
        if form == Form::LongText {
            self.push(b"\"");
            let mut escaper = Escaper::default();
            element.write_to(|bytes| {
                for piece in bytes.chunks(PIECE) {
                    escaper.push(self.out, piece);
                    self.room()?;
                }
                Ok(())
            })?;
            escaper.finish(self.out);
            self.push(b"\"");
        } else {
            self.push(BASE64_OPEN);
            let mut encoder = Base64::default();
            element.write_to(|bytes| {
                for piece in bytes.chunks(PIECE) {
                    encoder.push(self.out, piece);
                    self.room()?;
                }
                Ok(())
            })?;
            encoder.finish(self.out);
            self.push(BASE64_CLOSE);
        }
        Ok(())
    }
}
