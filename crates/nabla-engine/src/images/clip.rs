//! CLIP's tokenizer: byte-level BPE over lower-case words, the last letter of which is marked `</w>`.
//!
//! # Rules
//! - Text is composed (NFC), lower-cased character by character, and cut into words by [`WORDS`]; what is between
//!   words is dropped.
//! - A word's bytes become letters of the byte alphabet, the last with `</w>`; then the pair that was learned first is
//!   joined wherever it stands, from the left, until no pair is left.
//! - The tokens stand between start and end, filled up with padding. Text never becomes a control token.
//!
//! # When things go wrong
//! A prompt of more tokens than the text encoder reads is refused, not cut: half a prompt is another prompt.

use std::collections::HashMap;

use minicbor::{Decode, Encode};
use regex::Regex;

use super::ImageError;

/// What a word is: an English ending, letters, one digit, or other signs.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
/// Mark of a word's last letter.
const END_OF_WORD: &str = "</w>";
/// Most tokens of a vocabulary, and most merges.
pub(super) const TOKENS_MAX: usize = 1 << 17;
/// Longest sequence of tokens that a text encoder may read.
pub(super) const LENGTH_MAX: u32 = 4096;

/// A vocabulary as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Vocabulary {
    /// Tokens of every prompt: start, words, end, padding.
    #[n(0)]
    pub(super) length: u32,
    #[n(1)]
    pub(super) start: u32,
    #[n(2)]
    pub(super) end: u32,
    #[n(3)]
    pub(super) padding: u32,
    /// In the order of their numbers.
    #[n(4)]
    pub(super) tokens: Vec<String>,
    /// Pairs of tokens that are joined, in the order in which they were learned.
    #[n(5)]
    pub(super) merges: Vec<(u32, u32)>,
}

/// A vocabulary that is ready for use.
#[derive(Debug, Clone)]
pub(super) struct Tokenizer {
    length: usize,
    start: u32,
    end: u32,
    padding: u32,
    /// Token of each byte inside a word, and at its end.
    bytes: Vec<[u32; 2]>,
    /// Rank of a pair, and what it is joined to.
    merges: HashMap<(u32, u32), (u32, u32)>,
    words: Regex,
}

impl Tokenizer {
    pub(super) fn new(vocabulary: &Vocabulary) -> Result<Self, ImageError> {
        let Vocabulary { length, start, end, padding, .. } = *vocabulary;
        let bad = |key: &str, expected: String, got: String| {
            Err(ImageError::setting("tokenizer/vocab.json", key, expected, got))
        };
        let tokens = &vocabulary.tokens;
        for (key, token) in [("bos_token", start), ("eos_token", end), ("pad_token", padding)] {
            if token as usize >= tokens.len() {
                return bad(key, format!("one of {} tokens", tokens.len()), token.to_string());
            }
        }
        if !(2..=LENGTH_MAX).contains(&length) {
            return bad("model_max_length", format!("2 to {LENGTH_MAX}"), length.to_string());
        }
        if tokens.len().max(vocabulary.merges.len()) > TOKENS_MAX {
            return bad("tokens, or merges", format!("at most {TOKENS_MAX}"), tokens.len().to_string());
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(tokens) {
            if ids.insert(token.as_str(), id).is_some() {
                return bad("token", "each once".to_owned(), token.clone());
            }
        }
        let bytes = byte_tokens(&ids)?;
        let merges = merge_table(vocabulary, &ids)?;
        let words = Regex::new(WORDS).expect("the pattern is a constant, which tests compile");
        Ok(Self { length: length as usize, start, end, padding, bytes, merges, words })
    }

    /// Exactly `length` tokens.
    pub(super) fn encode(&self, what: &'static str, prompt: &str) -> Result<Vec<u32>, ImageError> {
        let composed = icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(prompt);
        let lower: String = composed.chars().flat_map(char::to_lowercase).collect();
        let mut tokens = vec![self.start];
        for word in self.words.find_iter(&lower) {
            self.push_word(word.as_str(), &mut tokens);
        }
        tokens.push(self.end);
        if tokens.len() > self.length {
            return Err(ImageError::Request {
                what,
                expected: format!("at most {} tokens", self.length - 2),
                got: (tokens.len() - 2).to_string(),
            });
        }
        tokens.resize(self.length, self.padding);
        Ok(tokens)
    }

    /// The tokens of one word. Each round finds the pair with the lowest rank and joins it wherever it stands. A word is at
    /// most as long as a prompt, so effort that grows with its square is small.
    fn push_word(&self, word: &str, out: &mut Vec<u32>) {
        let last = word.len() - 1;
        let byte = |(at, byte): (usize, u8)| self.bytes[usize::from(byte)][usize::from(at == last)];
        let mut parts: Vec<u32> = word.bytes().enumerate().map(byte).collect();
        let rank = |pair: &[u32]| self.merges.get(&(pair[0], pair[1])).map_or(u32::MAX, |(rank, _)| *rank);
        let mut ranks: Vec<u32> = parts.windows(2).map(rank).collect();
        while let Some(lowest) = ranks.iter().copied().min().filter(|rank| *rank < u32::MAX) {
            let mut joined = Vec::with_capacity(parts.len());
            let mut at = 0;
            while at < parts.len() {
                // A part that was joined just now is not joined again: its pairs have ranks of their own.
                if ranks.get(at) == Some(&lowest) {
                    joined.push(self.merges[&(parts[at], parts[at + 1])].1);
                    at += 2;
                } else {
                    joined.push(parts[at]);
                    at += 1;
                }
            }
            parts = joined;
            ranks = parts.windows(2).map(rank).collect();
        }
        out.extend(parts);
    }
}

/// The tokens of every byte; each must be in the vocabulary, so that no text is without tokens.
fn byte_tokens(ids: &HashMap<&str, u32>) -> Result<Vec<[u32; 2]>, ImageError> {
    let find = |token: String| {
        let missing = || ImageError::setting("tokenizer/vocab.json", "byte", "a token of its own", &*token);
        ids.get(token.as_str()).copied().ok_or_else(missing)
    };
    let both = |letter: char| Ok([find(letter.to_string())?, find(format!("{letter}{END_OF_WORD}"))?]);
    byte_letters().into_iter().map(both).collect()
}

/// A printable letter for each byte: printable ones of Latin-1 are themselves, the others follow from U+0100 on.
fn byte_letters() -> Vec<char> {
    let mut others = '\u{100}'..;
    let letter = |byte: u8| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => others.next().unwrap_or_default(),
    };
    (0..=u8::MAX).map(letter).collect()
}

type Merges = HashMap<(u32, u32), (u32, u32)>;

fn merge_table(vocabulary: &Vocabulary, ids: &HashMap<&str, u32>) -> Result<Merges, ImageError> {
    let mut table = HashMap::with_capacity(vocabulary.merges.len());
    let mut joined = String::new();
    for (rank, (left, right)) in (0..).zip(&vocabulary.merges) {
        joined.clear();
        for part in [left, right] {
            joined.push_str(vocabulary.tokens.get(*part as usize).map_or("", String::as_str));
        }
        let bad = |expected| {
            Err(ImageError::setting("tokenizer/merges.txt", format!("merge {rank}"), expected, &*joined))
        };
        let Some(id) = ids.get(joined.as_str()) else {
            return bad("two tokens that make a third");
        };
        if table.insert((*left, *right), (rank, *id)).is_some() {
            return bad("each pair once");
        }
    }
    Ok(table)
}

/// The pairs of `merges.txt`, whose first line is its version.
pub(super) fn read_merges(text: &str, tokens: &[String]) -> Result<Vec<(u32, u32)>, ImageError> {
    const FILE: &str = "tokenizer/merges.txt";
    let ids: HashMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
    let pair = |(at, line): (usize, &str)| {
        let bad = || ImageError::setting(FILE, format!("line {}", at + 1), "two tokens of vocab.json", line);
        let (left, right) = line.trim_end().split_once(' ').ok_or_else(bad)?;
        let id = |token| ids.get(token).copied().ok_or_else(bad);
        Ok((id(left)?, id(right)?))
    };
    lines.take(TOKENS_MAX + 1).map(pair).collect()
}
