//! Byte-level BPE: words of bytes, joined by a list of merges.
//!
//! Files write each byte as a character: printable ones as themselves, the others from U+0100 on (a space
//! is `Ġ`). That writing ends here: tables hold bytes.

use std::collections::HashMap;

use super::{
    names, pairs,
    parts::{PreTokenizer, TokenType},
    words::Words,
};
use crate::{
    error::Error,
    merge::{NO_TOKEN, Symbol, merge},
    vocabulary::Pairs,
};

pub(super) struct ByteLevel {
    words: Words,
    /// Words that are tokens whatever the merges say.
    whole: HashMap<Box<[u8]>, u32>,
    bytes: [u32; 256],
    pairs: Pairs,
    unknown: Option<u32>,
}

impl ByteLevel {
    pub(super) fn new(
        tokens: &[Vec<u8>],
        types: &[TokenType],
        merges: &[String],
        pre_tokenizer: PreTokenizer,
        unknown: Option<u32>,
    ) -> Result<Self, Error> {
        let merges = merges.iter().map(|merge| split_merge(merge));
        let pairs = pairs(&names(tokens), merges)?;
        let mut bytes = [NO_TOKEN; 256];
        let mut whole = HashMap::with_capacity(tokens.len());
        for ((id, token), kind) in (0..).zip(tokens).zip(types) {
            if *kind != TokenType::Normal {
                continue;
            }
            let piece = piece(token);
            let byte = match &*piece {
                [byte] if token.len() <= 2 && bytes[usize::from(*byte)] == NO_TOKEN => Some(byte),
                _ => None,
            };
            if let Some(byte) = byte {
                bytes[usize::from(*byte)] = id;
            }
            whole.entry(piece.into()).or_insert(id);
        }
        Ok(Self { words: Words::new(pre_tokenizer), whole, bytes, pairs, unknown })
    }

    pub(super) fn without_whole_words(self) -> Self {
        Self { whole: HashMap::new(), ..self }
    }

    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), Error> {
        for word in self.words.cut(text) {
            let word = &text.as_bytes()[word];
            match self.whole.get(word) {
                Some(token) => tokens.push(*token),
                None => self.encode_word(word, tokens)?,
            }
        }
        Ok(())
    }

    fn encode_word(&self, word: &[u8], tokens: &mut Vec<u32>) -> Result<(), Error> {
        let symbols = word.iter().enumerate().map(|(at, byte)| {
            let token = self.bytes[usize::from(*byte)];
            Symbol { start: at, end: at + 1, token }
        });
        let join = |left: &Symbol, right: &Symbol| self.pairs.get(&(left.token, right.token)).copied();
        for symbol in merge(symbols.collect(), join) {
            tokens.push(match (symbol.token, self.unknown) {
                (NO_TOKEN, Some(unknown)) => unknown,
                (NO_TOKEN, None) => {
                    return Err(Error::NoToken { byte: word[symbol.start], at: symbol.start });
                }
                (token, _) => token,
            });
        }
        Ok(())
    }
}

/// `left right`. The left one may begin with a space, if a file has such tokens.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let second = merge.chars().next()?.len_utf8();
    let space = second + merge[second..].find(' ')?;
    Some((&merge[..space], &merge[space + 1..]))
}

/// The bytes of a token that is written in the files' way; one that is not stands for itself.
pub(super) fn piece(token: &[u8]) -> Vec<u8> {
    let bytes = std::str::from_utf8(token).ok().and_then(|name| name.chars().map(byte_of).collect());
    bytes.unwrap_or_else(|| token.to_vec())
}

/// The byte that GPT-2's table writes as `character`.
fn byte_of(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        // The others in their order: 0x00-0x20, 0x7f-0xa0, 0xad.
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut found: Vec<u8> = (0..0x180).filter_map(char::from_u32).filter_map(byte_of).collect();
        found.sort_unstable();
        assert_eq!(found, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }

    #[test]
    fn a_token_in_no_known_writing_stands_for_itself() {
        assert_eq!(piece("ĠaÃ©".as_bytes()), " aé".as_bytes());
        assert_eq!(piece("漢".as_bytes()), "漢".as_bytes());
        assert_eq!(piece(b"\xff\xfe"), b"\xff\xfe");
    }

    #[test]
    fn a_merge_has_two_sides() {
        assert_eq!(split_merge("a b"), Some(("a", "b")));
        assert_eq!(split_merge("  b"), Some((" ", "b")));
        assert_eq!(split_merge("ab"), None);
        assert_eq!(split_merge(""), None);
    }
}
