//! Tokens to text, one at a time.
//!
//! # Rules
//! - Text is given out at whole characters only: a character may be spread over several tokens.
//! - No byte is lost and none is made up. Whatever way tokens are cut into calls, the texts together are
//!   the text of all tokens at once.
//! - What can never become UTF-8 is a replacement character, as in [`String::from_utf8_lossy`], and so is a
//!   character that is still open at the end.
//!
//! # When things go wrong
//! A token that the vocabulary does not have is an error, and leaves the decoder as it was.

use std::mem;

use crate::{Error, Vocabulary};

/// Whether control tokens are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// By their names.
    Show,
    /// Left out.
    Hide,
}

/// Where the first token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the start of a text: the space that the vocabulary put before it is taken away again.
    Start,
    /// After other text, such as a prompt: every space is the text's own.
    Continued,
}

/// Tokens to text, one at a time.
#[derive(Debug, Clone)]
pub struct Decoder {
    vocabulary: Vocabulary,
    control: Control,
    /// A space that comes now was put there by the vocabulary.
    space_due: bool,
    /// The beginning of a character.
    open: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(vocabulary: Vocabulary, place: Place, control: Control) -> Self {
        let space_due = place == Place::Start && vocabulary.begins_with_space();
        Self { vocabulary, control, space_due, open: Vec::new() }
    }

    /// The text that is complete with this token.
    ///
    /// # Errors
    /// [`Error::UnknownToken`].
    pub fn push(&mut self, token: u32) -> Result<String, Error> {
        let unknown = || Error::UnknownToken { what: "decode", tokens: self.vocabulary.len(), got: token };
        let kind = self.vocabulary.token_type(token).ok_or_else(unknown)?;
        let piece = self.vocabulary.piece(token).ok_or_else(unknown)?;
        if kind.is_silent() {
            if self.control == Control::Show {
                self.open.extend(piece);
            }
        } else {
            let due = mem::take(&mut self.space_due);
            self.open.extend(piece.strip_prefix(b" ").filter(|_| due).unwrap_or(piece));
        }
        Ok(self.take_complete())
    }

    /// What was still open: nothing, or one replacement character.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.open).into_owned()
    }

    fn take_complete(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.open.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (whole, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(whole));
                    rest = after;
                    let Some(invalid) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
        self.open = rest.to_vec();
        text
    }
}
