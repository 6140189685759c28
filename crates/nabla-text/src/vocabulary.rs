//! A model's vocabulary: text to tokens, and what each token says.
//!
//! # Rules
//! - Built from [`Parts`], which a reader of GGUF files fills, or from a Hugging Face `tokenizer.json`.
//!   Both ways lead to the same two algorithms, ours: byte-level BPE, and SentencePiece's BPE with byte
//!   fallback. Everything else is refused by name.
//! - Encoding takes `O(n log n)` time and at most about 80 bytes of memory for each byte of the text,
//!   whatever the text says.
//! - [`Special::AsText`] never makes a control token, not even out of text that is written like one.
//! - For byte-level BPE, `decode(encode(text)) == text` for every text (unless the file asks for NFC).
//!
//! # When things go wrong
//! A file over a limit of [`parts`], or one that contradicts itself, is refused before tables are built.
//! A text over [`parts::TEXT_BYTES_MAX`] is refused before it is looked at. A character that no token can
//! write becomes the unknown token; without one it is an error, never left out.
//!
//! # What is deliberately absent
//! Unigram and WordPiece models, training, and publishers' own patterns: of a `tokenizer.json` only those
//! pre-tokeniser patterns are taken that [`PreTokenizer`] has, because a stranger's pattern can be made to
//! run for ever.
//!
//! # Example
//! ```
//! use nabla_text::{Control, Kind, Parts, Special, TokenType, Vocabulary, vocabulary::SpacePrefix};
//!
//! let vocabulary = Vocabulary::new(Parts {
//!     kind: Kind::Llama { scores: vec![0.0, 0.0, -1.0, -2.0, -3.0] },
//!     tokens: ["<s>", "▁a", "▁", "a", "b"].map(|token| token.as_bytes().to_vec()).to_vec(),
//!     token_types: [vec![TokenType::Control], vec![TokenType::Normal; 4]].concat(),
//!     ids: Default::default(),
//!     add_bos: false,
//!     add_eos: false,
//!     space_prefix: SpacePrefix::Always,
//!     strips: vec![],
//!     nfc: false,
//! })?;
//! assert_eq!(vocabulary.encode("<s>ab", Special::Parse)?, [0, 1, 4]);
//! assert_eq!(vocabulary.decode(&[0, 1, 4], Control::Hide)?, "ab");
//! # Ok::<(), nabla_text::Error>(())
//! ```

mod byte_level;
mod guard;
mod json;
pub mod parts;
mod sentence;
mod special;
mod words;

use std::{collections::HashMap, fmt, sync::Arc};

pub use parts::{Kind, Parts, PreTokenizer, SpacePrefix, SpecialIds, Strip, TokenType};

use self::{byte_level::ByteLevel, guard::Guard, sentence::SentencePiece, special::Specials};
use crate::{
    decoder::{Control, Decoder, Place},
    error::{Error, at_most},
    merge::Join,
};

/// What happens to text that is written like a control token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// It becomes that token. For text of our own, and for nothing that a caller wrote: a conversation is encoded
    /// by [`ChatTemplate::prompt`](crate::ChatTemplate::prompt).
    Parse,
    /// It stays text.
    AsText,
}

/// A model's vocabulary. Cheap to clone.
#[derive(Clone)]
pub struct Vocabulary(Arc<Tables>);

struct Tables {
    pieces: Pieces,
    types: Vec<TokenType>,
    ids: SpecialIds,
    add_bos: bool,
    add_eos: bool,
    specials: Specials,
    guard: Guard,
    model: Model,
    nfc: bool,
}

enum Model {
    ByteLevel(ByteLevel),
    SentencePiece(SentencePiece),
}

impl Vocabulary {
    /// The vocabulary of these parts.
    ///
    /// # Errors
    /// [`Error`], if a limit is exceeded or the parts contradict each other.
    pub fn new(parts: Parts) -> Result<Self, Error> {
        parts::check(&parts)?;
        let Parts { kind, tokens, mut token_types, ids, space_prefix, strips, .. } = parts;
        if token_types.is_empty() {
            token_types = vec![TokenType::Normal; tokens.len()];
        }
        let specials = Specials::new(&tokens, &token_types, strips)?;
        let guard = Guard::new(&tokens, &token_types);
        let (model, pieces) = match kind {
            Kind::Gpt2 { merges, pre_tokenizer, whole_words } => {
                let model = ByteLevel::new(&tokens, &token_types, &merges, pre_tokenizer, ids.unk)?;
                let model = if whole_words { model } else { model.without_whole_words() };
                (Model::ByteLevel(model), Pieces::new(&tokens, &token_types, byte_level::piece)?)
            }
            Kind::Llama { scores } => {
                let model = SentencePiece::by_scores(&tokens, &token_types, &scores)?;
                (
                    Model::SentencePiece(model.with(space_prefix, ids.unk)),
                    Pieces::of_sentences(&tokens, &token_types)?,
                )
            }
            Kind::LlamaMerges { merges } => {
                let model = SentencePiece::by_merges(&tokens, &token_types, &merges)?;
                (
                    Model::SentencePiece(model.with(space_prefix, ids.unk)),
                    Pieces::of_sentences(&tokens, &token_types)?,
                )
            }
        };
        let (add_bos, add_eos, nfc) = (parts.add_bos, parts.add_eos, parts.nfc);
        let types = token_types;
        Ok(Self(Arc::new(Tables { pieces, types, ids, add_bos, add_eos, specials, guard, model, nfc })))
    }

    /// The vocabulary of a Hugging Face `tokenizer.json`. Which tokens have a role stands in other files:
    /// `ids` says it.
    ///
    /// # Errors
    /// [`Error`], if a limit is exceeded, the file contradicts itself, or says what we do not have.
    pub fn from_tokenizer_json(bytes: &[u8], ids: SpecialIds) -> Result<Self, Error> {
        Self::new(Parts::from_tokenizer_json(bytes, ids)?)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.types.len()
    }

    /// There are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.types.is_empty()
    }

    /// The tokens with a role.
    #[must_use]
    pub fn ids(&self) -> &SpecialIds {
        &self.0.ids
    }

    /// What this token is; `None` if there is no such token.
    #[must_use]
    pub fn token_type(&self, token: u32) -> Option<TokenType> {
        self.0.types.get(token as usize).copied()
    }

    /// The bytes that this token says. They need not be whole characters; for a control token they are its
    /// name. `None` if there is no such token.
    #[must_use]
    pub fn piece(&self, token: u32) -> Option<&[u8]> {
        self.0.pieces.get(token)
    }

    /// Tokens of a text, without [framing](Self::framed).
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a text over [`parts::TEXT_BYTES_MAX`]; [`Error::NoToken`] for a character
    /// that cannot be written.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        at_most("bytes of the text", parts::TEXT_BYTES_MAX, text.len())?;
        let mut tokens = Vec::new();
        self.encode_part(text, special, Stretch::First, &mut tokens)?;
        Ok(tokens)
    }

    /// A value of a message, so that a template can put it among control tokens (see [`guard`]).
    pub(crate) fn guarded(&self, field: &str, value: &serde_json::Value) -> Result<serde_json::Value, Error> {
        self.0.guard.json(field, value)
    }

    /// Tokens of what a template rendered from [guarded](Self::guarded) messages: its own control tokens, and the
    /// messages as text.
    pub(crate) fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, Error> {
        at_most("bytes of the text", parts::TEXT_BYTES_MAX, text.len())?;
        let mut tokens = Vec::new();
        let mut place = Stretch::First;
        let mut at = 0;
        let is_whole = |found: &special::Found| !text[found.start..found.end].contains(guard::MARK);
        for found in self.0.specials.find(text, Special::Parse).filter(is_whole) {
            self.encode_marked(&text[at..found.start.max(at)], place, &mut tokens)?;
            tokens.push(found.token);
            (at, place) = (found.end, Stretch::AfterSpecial);
        }
        self.encode_marked(&text[at..], place, &mut tokens)?;
        Ok(tokens)
    }

    /// A part without control tokens, or with marks that break them.
    fn encode_marked(&self, text: &str, place: Stretch, tokens: &mut Vec<u32>) -> Result<(), Error> {
        if text.contains(guard::MARK) {
            return self.encode_part(&text.replace(guard::MARK, ""), Special::AsText, place, tokens);
        }
        self.encode_stretch(text, place, tokens)
    }

    fn encode_part(
        &self,
        text: &str,
        special: Special,
        mut place: Stretch,
        tokens: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let mut at = 0;
        for found in self.0.specials.find(text, special) {
            self.encode_stretch(&text[at..found.start.max(at)], place, tokens)?;
            tokens.push(found.token);
            (at, place) = (found.end, Stretch::AfterSpecial);
        }
        self.encode_stretch(&text[at..], place, tokens)
    }

    /// `tokens` with the begin and the end that the vocabulary asks for, unless they are there already.
    #[must_use]
    pub fn framed(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.0.ids.bos.filter(|bos| self.0.add_bos && tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        if let Some(eos) = self.0.ids.eos.filter(|eos| self.0.add_eos && tokens.last() != Some(eos)) {
            tokens.push(eos);
        }
        tokens
    }

    /// The text of whole tokens, from the beginning. What is no UTF-8 becomes replacement characters.
    ///
    /// # Errors
    /// [`Error::UnknownToken`].
    pub fn decode(&self, tokens: &[u32], control: Control) -> Result<String, Error> {
        let mut decoder = self.decoder(Place::Start, control);
        let mut text = String::new();
        for token in tokens {
            text.push_str(&decoder.push(*token)?);
        }
        text.push_str(&decoder.finish());
        Ok(text)
    }

    /// A decoder that takes one token at a time.
    #[must_use]
    pub fn decoder(&self, place: Place, control: Control) -> Decoder {
        Decoder::new(self.clone(), place, control)
    }

    /// At the start of a text, one space is not the text's but the vocabulary's.
    pub(crate) fn begins_with_space(&self) -> bool {
        match &self.0.model {
            Model::ByteLevel(_) => false,
            Model::SentencePiece(model) => model.space_prefix() != SpacePrefix::Never,
        }
    }

    fn encode_stretch(&self, text: &str, place: Stretch, tokens: &mut Vec<u32>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let normal;
        let text = if self.0.nfc {
            normal = icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text);
            &*normal
        } else {
            text
        };
        match &self.0.model {
            Model::ByteLevel(model) => model.encode(text, tokens),
            Model::SentencePiece(model) => model.encode(text, place, tokens),
        }
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vocabulary({} tokens)", self.len())
    }
}

/// Where a stretch of text between special tokens stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    First,
    AfterSpecial,
}

/// What each token says, in one allocation.
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn new(
        tokens: &[Vec<u8>],
        types: &[TokenType],
        normal: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Result<Self, Error> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(tokens.len()));
        for ((id, token), kind) in (0..).zip(tokens).zip(types) {
            match kind {
                TokenType::Normal => bytes.extend(normal(token)),
                TokenType::Byte => bytes.push(byte_of(id, token)?),
                _ => bytes.extend(token),
            }
            ends.push(bytes.len());
        }
        Ok(Self { bytes, ends })
    }

    fn of_sentences(tokens: &[Vec<u8>], types: &[TokenType]) -> Result<Self, Error> {
        Self::new(tokens, types, sentence::piece)
    }

    fn get(&self, token: u32) -> Option<&[u8]> {
        let token = token as usize;
        let end = *self.ends.get(token)?;
        let start = token.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }
}

/// The byte that `<0x0A>` names.
fn byte_of(token: u32, name: &[u8]) -> Result<u8, Error> {
    let digits = name.strip_prefix(b"<0x").and_then(|rest| rest.strip_suffix(b">"));
    let digits = digits.filter(|digits| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit));
    digits
        .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .ok_or_else(|| Error::BadByteToken { token, got: crate::error::cut(&String::from_utf8_lossy(name)) })
}

/// Tokens by how they are written; the first of two that are written alike.
type Names<'a> = HashMap<&'a [u8], u32>;

fn names(tokens: &[Vec<u8>]) -> Names<'_> {
    let mut names = Names::with_capacity(tokens.len());
    for (id, token) in (0..).zip(tokens) {
        names.entry(token).or_insert(id);
    }
    names
}

/// What two tokens become.
type Pairs = HashMap<(u32, u32), Join>;

/// The merges of a list, each two names of tokens; the first ones join first.
fn pairs<'a>(
    names: &Names<'_>,
    merges: impl Iterator<Item = Option<(&'a str, &'a str)>>,
) -> Result<Pairs, Error> {
    let mut pairs = Pairs::new();
    for (rank, merge) in (0..).zip(merges) {
        let token = |name: &str| names.get(name.as_bytes()).copied();
        let joined = merge.and_then(|(left, right)| {
            let both = token(&format!("{left}{right}"))?;
            Some(((token(left)?, token(right)?), both))
        });
        let Some((pair, token)) = joined else {
            let got = merge.map_or_else(String::new, |(left, right)| format!("{left} {right}"));
            return Err(Error::BadMerge { index: rank as usize, got: crate::error::cut(&got) });
        };
        pairs.entry(pair).or_insert(Join { rank, token });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests;
