//! Constrained output: which tokens may come next.
//!
//! # Rules
//! - A JSON schema, a regular expression or a Lark grammar is compiled against a vocabulary, and then says
//!   before each token which ones keep the text within it.
//! - Masks are the same for everybody: effort is counted in steps, never in time, and no state is shared
//!   between grammars but the vocabulary.
//! - Control tokens are never allowed, but for the ends of text and turn where the text may end.
//! - JSON is compact: no white space between its parts, unless the schema asks for it (`x-guidance`).
//! - References in schemas are followed within the schema only; nothing is fetched.
//!
//! # When things go wrong
//! A source that is too long, nested too deeply, malformed, or that nothing satisfies is refused when it is
//! compiled; one that explodes only while it runs ends with [`Error::GrammarTooComplex`], and stays ended.
//! A token that is not allowed changes nothing.
//!
//! # What is deliberately absent
//! Tokens that a grammar forces are not given out ahead: each one is chosen by the sampler, so that a
//! constrained answer has the same tokens wherever it was made.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    panic_utils,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::Value;

use crate::{
    Vocabulary,
    error::{Error, at_most, cut},
    vocabulary::TokenType,
};

/// Most bytes of a JSON schema.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a regular expression.
pub const REGEX_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a Lark grammar.
pub const LARK_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of a schema, and of brackets in the others.
pub const NESTING_MAX: usize = 64;

/// Longest token that a grammar considers. Longer ones are never allowed.
const TOKEN_BYTES_MAX: usize = 1000;
/// Most bytes of all tokens together: what the trie of the vocabulary can address.
const TRIE_BYTES_MAX: usize = 4_000_000;

/// A vocabulary, prepared for grammars. Takes a moment to make, and is shared by all of them.
#[derive(Clone)]
pub struct GrammarVocabulary(Arc<Prepared>);

struct Prepared {
    factory: ParserFactory,
    /// The ends of text and turn.
    ends: Vec<u32>,
    /// What no grammar allows.
    never: Mask,
}

impl GrammarVocabulary {
    /// Prepare `vocabulary`.
    ///
    /// # Errors
    /// [`Error::NoEndToken`]; [`Error::TooLarge`] if it has more text than a grammar can hold.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, Error> {
        let ids = vocabulary.ids();
        let eos = ids.eos.ok_or(Error::NoEndToken)?;
        let mut ends = vec![eos];
        ends.extend(ids.eot.filter(|eot| *eot != eos));
        let words = words(vocabulary, &ends);
        at_most("bytes of a grammar's tokens", TRIE_BYTES_MAX, words.iter().map(Vec::len).sum())?;
        let mut never = Mask::none(words.len());
        for (token, word) in (0..).zip(&words) {
            never.set(token, word.is_empty() && !ends.contains(&token));
        }
        let info = TokRxInfo::new(u32::try_from(words.len()).unwrap_or(u32::MAX), eos);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new_simple(&env).map_err(|error| refusal("the vocabulary", &error))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self(Arc::new(Prepared { factory, ends, never })))
    }
}

impl fmt::Debug for GrammarVocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrammarVocabulary({} tokens)", self.0.never.len())
    }
}

/// What the text of each token is to a grammar; nothing for tokens that are never allowed.
fn words(vocabulary: &Vocabulary, ends: &[u32]) -> Vec<Vec<u8>> {
    let count = u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
    let word = |token| {
        let piece = vocabulary.piece(token).unwrap_or_default();
        if ends.contains(&token) {
            return [&[TokTrie::SPECIAL_TOKEN_MARKER], &piece[..piece.len().min(TOKEN_BYTES_MAX)]].concat();
        }
        let kind = vocabulary.token_type(token);
        let is_text = matches!(kind, Some(TokenType::Normal | TokenType::UserDefined | TokenType::Byte));
        // A leading marker would be taken for a control token's. No text begins with that byte.
        let marked = piece.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER);
        if is_text && !marked && piece.len() <= TOKEN_BYTES_MAX { piece.to_vec() } else { vec![] }
    };
    (0..count).map(word).collect()
}

/// The effort that a grammar may take, in steps.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 50_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// What a text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrammarSource<'a> {
    /// JSON that this schema describes.
    JsonSchema(&'a str),
    /// A match, from the first to the last character, of this expression.
    Regex(&'a str),
    /// A word of this grammar.
    Lark(&'a str),
}

impl GrammarSource<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "the JSON schema",
            Self::Regex(_) => "the regular expression",
            Self::Lark(_) => "the Lark grammar",
        }
    }

    fn check(&self) -> Result<TopLevelGrammar, Error> {
        let kind = self.kind();
        match *self {
            Self::JsonSchema(schema) => {
                at_most("bytes of the JSON schema", SCHEMA_BYTES_MAX, schema.len())?;
                let mut schema = serde_json::from_str(schema)
                    .map_err(|error| Error::BadGrammar { kind, reason: cut(&error.to_string()) })?;
                at_most("nesting of the JSON schema", NESTING_MAX, nesting(&schema))?;
                // White space between parts is never needed, and a weak model would write nothing else.
                if let Value::Object(fields) = &mut schema {
                    let compact = || serde_json::json!({"whitespace_flexible": false});
                    fields.entry("x-guidance").or_insert_with(compact);
                }
                Ok(TopLevelGrammar::from_json_schema(schema))
            }
            Self::Regex(regex) => {
                at_most("bytes of the regular expression", REGEX_BYTES_MAX, regex.len())?;
                at_most("nesting of the regular expression", NESTING_MAX, brackets(regex))?;
                Ok(TopLevelGrammar::from_regex(regex))
            }
            Self::Lark(lark) => {
                at_most("bytes of the Lark grammar", LARK_BYTES_MAX, lark.len())?;
                at_most("nesting of the Lark grammar", NESTING_MAX, brackets(lark))?;
                Ok(TopLevelGrammar::from_lark(lark.to_owned()))
            }
        }
    }
}

/// How deep the value is. It came from a parser with a limit of its own, so recursion is safe.
fn nesting(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(nesting).max(),
        Value::Object(fields) => fields.values().map(nesting).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

/// How many brackets are open at once, at most. Those in quotes count too: a bound need not be exact.
fn brackets(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// One text on its way through a grammar.
pub struct Grammar {
    vocabulary: GrammarVocabulary,
    matcher: Matcher,
}

impl Grammar {
    /// Compile `source`, at the beginning of a text.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::BadGrammar`], [`Error::GrammarTooComplex`].
    pub fn new(vocabulary: &GrammarVocabulary, source: &GrammarSource<'_>) -> Result<Self, Error> {
        let grammar = source.check()?;
        let compile = AssertUnwindSafe(|| vocabulary.0.factory.create_parser(grammar));
        let parser = panic_utils::catch_unwind(compile).map_err(|error| refusal(source.kind(), &error))?;
        let matcher = Matcher::new(Ok(parser));
        if let Some(reason) = matcher.get_error() {
            return Err(refusal(source.kind(), &reason));
        }
        // The first mask finds grammars that explode at once, or that no token begins.
        let mut grammar = Self { vocabulary: vocabulary.clone(), matcher };
        grammar.allowed()?;
        Ok(grammar)
    }

    /// The tokens that may come next, at least one. An end is among them where the text may end.
    ///
    /// # Errors
    /// [`Error::GrammarTooComplex`]; [`Error::BadGrammar`] if no token of this vocabulary can follow.
    pub fn allowed(&mut self) -> Result<Mask, Error> {
        let set = self.matcher.compute_mask_or_eos().map_err(|error| refusal("the grammar", &error))?;
        let mut mask = Mask { words: set.as_slice().to_vec(), len: set.len() };
        mask.words.truncate(set.len().div_ceil(32));
        mask.remove(&self.vocabulary.0.never);
        if mask.is_empty() {
            let reason = "no token of this vocabulary can follow".to_owned();
            return Err(Error::BadGrammar { kind: "the grammar", reason });
        }
        Ok(mask)
    }

    /// Take `token`, which was chosen.
    ///
    /// # Errors
    /// [`Error::TokenNotAllowed`], [`Error::GrammarFinished`]: nothing has changed.
    /// [`Error::GrammarTooComplex`].
    pub fn accept(&mut self, token: u32) -> Result<(), Error> {
        let is_end = self.vocabulary.0.ends.contains(&token);
        if self.is_finished() {
            return if is_end { Ok(()) } else { Err(Error::GrammarFinished { token }) };
        }
        let never = &self.vocabulary.0.never;
        if token as usize >= never.len() || never.has(token) {
            return Err(Error::TokenNotAllowed { token });
        }
        match self.matcher.try_consume_tokens(&[token]) {
            Ok(1) => Ok(()),
            Ok(_) => Err(Error::TokenNotAllowed { token }),
            Err(error) => Err(refusal("the grammar", &error)),
        }
    }

    /// The text is complete, and nothing but an end may follow.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// The text may end here.
    ///
    /// # Errors
    /// [`Error::GrammarTooComplex`].
    pub fn may_end(&mut self) -> Result<bool, Error> {
        if self.matcher.is_stopped() {
            return Ok(!self.matcher.is_error());
        }
        self.matcher.is_accepting().map_err(|error| refusal("the grammar", &error))
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grammar(finished: {})", self.is_finished())
    }
}

/// The library says in words what went wrong; what ran out is what we tell apart.
fn refusal(kind: &'static str, error: &dyn fmt::Display) -> Error {
    let reason = error.to_string();
    let reason = reason.lines().next().unwrap_or_default();
    const RAN_OUT: [&str; 6] = ["fuel", "too complex", "too large", "too many", "limit", "too big"];
    let lower = reason.to_lowercase();
    let reason = cut(reason);
    if RAN_OUT.iter().any(|words| lower.contains(words)) || kind == "the grammar" {
        Error::GrammarTooComplex { kind, reason }
    } else {
        Error::BadGrammar { kind, reason }
    }
}

/// A set of tokens: one bit for each of the vocabulary.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
    len: usize,
}

impl Mask {
    fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(32)], len }
    }

    fn set(&mut self, token: u32, value: bool) {
        if value {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
    }

    fn remove(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// How many tokens the vocabulary has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No token is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// This token is in the set.
    #[must_use]
    pub fn has(&self, token: u32) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// The tokens of the set, in order.
    pub fn tokens(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.words).flat_map(|(at, word): (u32, _)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 32 + bit)
        })
    }

    /// Token `32 * i + b` is bit `b` of word `i`.
    #[must_use]
    pub fn as_words(&self) -> &[u32] {
        &self.words
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} of {} tokens)", self.tokens().count(), self.len)
    }
}

#[cfg(test)]
mod tests;
