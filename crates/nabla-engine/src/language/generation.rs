//! One answer: what is asked for, and how tokens become it.
//!
//! # Rules
//! - An answer is a function of the model and of its [`Generation`]: who else is served, and how the prompt was
//!   cut, change nothing. [`Answer`] is the one state machine for it: the scheduler and the replay both run it.
//! - The token that ends an answer belongs to its tokens; so does the one with which a stop string is complete.
//! - Numbers of a request are checked before it waits.
//!
//! # When things go wrong
//! A grammar that becomes too complex, or leaves no token, ends the answer with an [`Error`].

use nabla_text::{Control, Decoder, Grammar, GrammarSource, StopMatcher, StopStrings, decoder::Place};

use super::TextModel;
use super::logprobs::{TokenLogprobs, logprobs};
use super::sampler::{Counts, Sampling};
use crate::{Error, Limits};

/// Most alternatives that are told for each token.
pub const TOP_LOGPROBS_MAX: u8 = 20;

/// What is asked of a model.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The tokens to go on from; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens of the answer; at least one.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer and do not belong to it.
    pub stop: StopStrings,
    /// What the answer must be.
    pub constraint: Option<Constraint>,
    /// How many alternatives to tell for each token; `None`: no probabilities at all.
    pub top_logprobs: Option<u8>,
}

impl Generation {
    /// At most so many tokens after this prompt, always the likeliest.
    #[must_use]
    pub fn of(prompt: Vec<u32>, max_tokens: u32) -> Self {
        Self {
            prompt,
            max_tokens,
            sampling: Sampling::default(),
            stop: StopStrings::default(),
            constraint: None,
            top_logprobs: None,
        }
    }

    /// Refuse what this model cannot answer.
    ///
    /// # Errors
    /// [`Error::Limit`] for a prompt without room for one token behind it; [`Error::Setting`] and
    /// [`Error::Token`].
    pub fn check(&self, model: &TextModel) -> Result<(), Error> {
        let (context, vocabulary) = (model.config().context_length, model.config().vocabulary_size);
        let wrong = |what, expected: &str, got: &dyn ToString| {
            Err(Error::Setting { what, expected: expected.to_owned(), got: got.to_string() })
        };
        if self.prompt.is_empty() {
            return wrong("prompt", "one token or more", &"none");
        }
        Limits::check(
            "tokens of the prompt and one of the answer",
            self.prompt.len() as u64 + 1,
            context as u64,
        )?;
        if self.max_tokens == 0 {
            return wrong("max_tokens", "one or more", &self.max_tokens);
        }
        if let Some(token) = self.prompt.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::Token { token: *token, vocabulary });
        }
        match self.top_logprobs {
            Some(top) if top > TOP_LOGPROBS_MAX => wrong("top_logprobs", "from 0 to 20", &top),
            _ => self.sampling.check(),
        }
    }

    /// Most tokens that prompt and answer take in this model's context.
    pub(super) fn tokens_max(&self, model: &TextModel) -> usize {
        let asked = self.prompt.len().saturating_add(self.max_tokens as usize);
        asked.min(model.config().context_length)
    }
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// JSON that this schema describes.
    JsonSchema(String),
    /// A match, from the first to the last character, of this expression.
    Regex(String),
    /// A word of this grammar.
    Lark(String),
}

impl Constraint {
    /// Any JSON object.
    #[must_use]
    pub fn json_object() -> Self {
        Self::JsonSchema(r#"{"type":"object"}"#.to_owned())
    }

    fn source(&self) -> GrammarSource<'_> {
        match self {
            Self::JsonSchema(text) => GrammarSource::JsonSchema(text),
            Self::Regex(text) => GrammarSource::Regex(text),
            Self::Lark(text) => GrammarSource::Lark(text),
        }
    }
}

/// One more token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The token.
    pub token: u32,
    /// The text that is certain with it; nothing while a character or a stop string is half there.
    pub text: String,
    /// How likely it was, if that was asked.
    pub logprobs: Option<TokenLogprobs>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as asked for, or as the context holds.
    Length,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    model: TextModel,
    sampling: Sampling,
    top_logprobs: Option<u8>,
    counts: Counts,
    grammar: Option<Grammar>,
    decoder: Option<Decoder>,
    stop: StopMatcher,
    tokens: usize,
    /// Position of the next token.
    position: usize,
    /// Tokens after which it is over.
    tokens_max: usize,
    finish: Option<Finish>,
}

impl Answer {
    /// The answer to a request that was checked.
    ///
    /// # Errors
    /// [`Error::Text`] for a constraint that is not well-formed, too complex, or that nothing satisfies.
    pub(super) fn new(model: &TextModel, generation: &Generation) -> Result<Self, Error> {
        let grammar = match &generation.constraint {
            Some(constraint) => Some(Grammar::new(model.grammars()?, &constraint.source())?),
            None => None,
        };
        Ok(Self {
            sampling: generation.sampling.clone(),
            top_logprobs: generation.top_logprobs,
            counts: Counts::of(&generation.prompt),
            grammar,
            decoder: Some(model.vocabulary().decoder(Place::Continued, Control::Hide)),
            stop: generation.stop.matcher(),
            tokens: 0,
            position: generation.prompt.len(),
            tokens_max: generation.tokens_max(model) - generation.prompt.len(),
            finish: None,
            model: model.clone(),
        })
    }

    pub(super) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// The token that these logits give, and how likely it was. The logits are adjusted on the way. Those behind the
    /// vocabulary's last token count for nothing: embeddings of some models were made longer for the hardware.
    ///
    /// # Errors
    /// [`Error::Text`] if the grammar became too complex; [`Error::NoToken`] if no token is left.
    pub(super) fn choose(&mut self, logits: &mut [f32]) -> Result<(u32, Option<TokenLogprobs>), Error> {
        let mask = self.grammar.as_mut().map(Grammar::allowed).transpose()?;
        let allowed = mask.as_ref().map(nabla_text::Mask::as_words);
        let tokens = self.model.vocabulary().len().min(logits.len());
        let logits = &mut logits[..tokens];
        let raw = self.top_logprobs.map(|top| (top, logits.to_vec()));
        let position = self.position as u64;
        let token = self.model.model().sample(&self.sampling, logits, &self.counts, allowed, position);
        let token = token.ok_or(Error::NoToken { position })?;
        Ok((token, raw.map(|(top, raw)| logprobs(&raw, token, top.into()))))
    }

    /// Take the token that was chosen.
    ///
    /// # Errors
    /// [`Error::Text`] if the grammar does not allow it or became too complex.
    pub(super) fn take(&mut self, token: u32, logprobs: Option<TokenLogprobs>) -> Result<Piece, Error> {
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        self.counts.add(token);
        self.tokens += 1;
        self.position += 1;
        let text = match &mut self.decoder {
            Some(decoder) => self.stop.push(&decoder.push(token)?),
            None => String::new(),
        };
        if self.model.ends().contains(&token) || self.stop.is_stopped() {
            self.finish = Some(Finish::Stop);
        } else if self.tokens >= self.tokens_max {
            self.finish = Some(Finish::Length);
        }
        Ok(Piece { token, text, logprobs })
    }

    /// The text that was held back until the end.
    pub(super) fn rest(&mut self) -> String {
        let open = self.decoder.take().map(Decoder::finish).unwrap_or_default();
        let mut text = self.stop.push(&open);
        if !self.stop.is_stopped() {
            text.push_str(&self.stop.clone().finish());
        }
        text
    }
}
