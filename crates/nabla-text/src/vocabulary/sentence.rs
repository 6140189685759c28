//! SentencePiece's BPE: characters, joined where a token is written so, and bytes for the rest.

use std::collections::HashMap;

use super::{
    Pairs, Stretch, byte_of, names, pairs,
    parts::{SpacePrefix, TokenType},
};
use crate::{
    error::Error,
    merge::{Join, NO_TOKEN, Symbol, merge},
};

/// How a space is written in a token.
const SPACE: &str = "▁";

pub(super) struct SentencePiece {
    /// What text may become. Control tokens are not among them: text that is written like one stays text.
    texts: HashMap<Box<[u8]>, Join>,
    longest: usize,
    /// Which tokens join; if `None`, those that a token is written as, by rank.
    pairs: Option<Pairs>,
    bytes: [u32; 256],
    space_prefix: SpacePrefix,
    unknown: Option<u32>,
}

impl SentencePiece {
    pub(super) fn by_scores(tokens: &[Vec<u8>], types: &[TokenType], scores: &[f32]) -> Result<Self, Error> {
        Self::new(tokens, types, None, &ranks(scores))
    }

    pub(super) fn by_merges(
        tokens: &[Vec<u8>],
        types: &[TokenType],
        merges: &[(String, String)],
    ) -> Result<Self, Error> {
        let merges = merges.iter().map(|(left, right)| Some((&**left, &**right)));
        let pairs = pairs(&names(tokens), merges)?;
        Self::new(tokens, types, Some(pairs), &vec![0; tokens.len()])
    }

    pub(super) fn with(self, space_prefix: SpacePrefix, unknown: Option<u32>) -> Self {
        Self { space_prefix, unknown, ..self }
    }

    fn new(
        tokens: &[Vec<u8>],
        types: &[TokenType],
        pairs: Option<Pairs>,
        ranks: &[u32],
    ) -> Result<Self, Error> {
        let mut bytes = [NO_TOKEN; 256];
        let mut texts: HashMap<Box<[u8]>, Join> = HashMap::with_capacity(tokens.len());
        for (((token, name), kind), rank) in (0..).zip(tokens).zip(types).zip(ranks) {
            match kind {
                TokenType::Byte => bytes[usize::from(byte_of(token, name)?)] = token,
                TokenType::Normal | TokenType::UserDefined => {
                    texts.entry(name.as_slice().into()).or_insert(Join { rank: *rank, token });
                }
                _ => {}
            }
        }
        let longest = texts.keys().map(|name| name.len()).max().unwrap_or(0);
        let (space_prefix, unknown) = (SpacePrefix::Never, None);
        Ok(Self { texts, longest, pairs, bytes, space_prefix, unknown })
    }

    pub(super) fn space_prefix(&self) -> SpacePrefix {
        self.space_prefix
    }

    pub(super) fn encode(&self, text: &str, place: Stretch, tokens: &mut Vec<u32>) -> Result<(), Error> {
        let text = self.written(text, place);
        let symbols = text.char_indices().map(|(start, character)| {
            let end = start + character.len_utf8();
            let token = self.texts.get(&text.as_bytes()[start..end]).map_or(NO_TOKEN, |join| join.token);
            Symbol { start, end, token }
        });
        let symbols = merge(symbols.collect(), |left, right| self.join(text.as_bytes(), left, right));
        let mut unknown_before = false;
        for symbol in symbols {
            let unknown = match symbol.token {
                NO_TOKEN => self.fall_back(text.as_bytes(), &symbol, unknown_before, tokens)?,
                token => {
                    tokens.push(token);
                    false
                }
            };
            unknown_before = unknown;
        }
        Ok(())
    }

    /// The text as tokens are written.
    fn written(&self, text: &str, place: Stretch) -> String {
        let prefixed = match (self.space_prefix, place) {
            (SpacePrefix::Always, _) => true,
            (SpacePrefix::First, Stretch::First) => !text.starts_with([' ', '▁']),
            _ => false,
        };
        let mut written = String::with_capacity(text.len() + SPACE.len());
        if prefixed {
            written.push_str(SPACE);
        }
        for part in text.split_inclusive(' ') {
            match part.strip_suffix(' ') {
                Some(word) => written.extend([word, SPACE]),
                None => written.push_str(part),
            }
        }
        written
    }

    fn join(&self, text: &[u8], left: &Symbol, right: &Symbol) -> Option<Join> {
        match &self.pairs {
            Some(pairs) => pairs.get(&(left.token, right.token)).copied(),
            None if right.end - left.start > self.longest => None,
            None => self.texts.get(&text[left.start..right.end]).copied(),
        }
    }

    /// A character that is no token: its bytes, or else one unknown token for each run of such characters.
    /// Whether it is unknown is the answer.
    fn fall_back(
        &self,
        text: &[u8],
        symbol: &Symbol,
        unknown_before: bool,
        tokens: &mut Vec<u32>,
    ) -> Result<bool, Error> {
        let character = &text[symbol.start..symbol.end];
        let bytes = character.iter().map(|byte| self.bytes[usize::from(*byte)]);
        if bytes.clone().all(|token| token != NO_TOKEN) {
            tokens.extend(bytes);
            return Ok(false);
        }
        match self.unknown {
            Some(_) if unknown_before => {}
            Some(unknown) => tokens.push(unknown),
            None => return Err(Error::NoToken { byte: character[0], at: symbol.start }),
        }
        Ok(true)
    }
}

/// The rank of each score: the highest first, equal scores alike.
fn ranks(scores: &[f32]) -> Vec<u32> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    // Zero has two signs, which are equal scores.
    sorted.dedup_by(|a, b| a == b);
    let rank = |score: &f32| sorted.partition_point(|other| other > score);
    scores.iter().map(|score| u32::try_from(rank(score)).expect("fewer than TOKENS_MAX scores")).collect()
}

/// The bytes of a token: `▁` is a space.
pub(super) fn piece(token: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(token) {
        Ok(name) => name.replace(SPACE, " ").into_bytes(),
        Err(_) => token.to_vec(),
    }
}
