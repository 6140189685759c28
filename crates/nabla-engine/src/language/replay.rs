//! A finished answer, checked in one pass; and an answer to one request alone.
//!
//! # Rules
//! - The claimed tokens are fed all at once, and each of them is chosen anew from the logits before it. As no bit
//!   depends on how a text was cut, the answer is right if and only if every choice is the claimed token and the
//!   answer ends where it should.
//! - Checking stops at the first difference: what follows it follows from another text.
//!
//! # When things go wrong
//! A wrong answer is no error: [`Replay::difference`] says where. An [`Error`] is a request that cannot be run.

use super::TextModel;
use super::generation::{Answer, Finish, Generation, Piece};
use crate::{Error, Limits};

/// Tokens that are run at a time, unless asked otherwise.
pub(super) const STEP: usize = 256;
/// Most logits that are held at a time.
const LOGITS_MAX: usize = 1 << 24;

/// What a replay found.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The answer up to the difference, or all of it.
    pub pieces: Vec<Piece>,
    /// Text that is held back until the end.
    pub rest: String,
    /// How the answer ends, as far as it was claimed; `None` if it would go on.
    pub finish: Option<Finish>,
    /// The first token that is not what the model says.
    pub difference: Option<Difference>,
}

/// A token that is not what the model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Which token of the answer, from 0.
    pub index: usize,
    /// What was claimed.
    pub claimed: u32,
    /// What the model says; `None`: the answer had ended before.
    pub computed: Option<u32>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, claimed, computed } = self;
        match computed {
            Some(computed) => {
                write!(f, "token {index} of the answer: claimed {claimed}, computed {computed}")
            }
            None => {
                write!(f, "token {index} of the answer: claimed {claimed}, but the answer ends before it")
            }
        }
    }
}

/// Check the tokens of an answer.
///
/// # Errors
/// As [`Generation::check`]; [`Error::Limit`] for more tokens than the context or memory holds; [`Error::Token`] for
/// a token that does not exist; [`Error::Text`] for a constraint that cannot be met.
pub fn replay(
    model: &TextModel,
    generation: &Generation,
    tokens: &[u32],
    limits: &Limits,
) -> Result<Replay, Error> {
    generation.check(model)?;
    let mut answer = Answer::new(model, generation)?;
    let text = [&generation.prompt, tokens].concat();
    let mut replay = Replay { pieces: Vec::new(), rest: String::new(), finish: None, difference: None };
    let Some((_, fed)) = text.split_last() else { return Ok(replay) };
    let vocabulary = model.config().vocabulary_size;
    let first = generation.prompt.len() - 1;
    let mut context = model.model().context(fed.len().max(1), limits)?;
    let step = STEP.min((LOGITS_MAX / vocabulary).max(1));
    for piece in fed.chunks(step) {
        let wanted = (context.tokens() + piece.len()).saturating_sub(first).min(piece.len());
        let mut logits = context.feed(piece, wanted)?;
        for row in logits.chunks_exact_mut(vocabulary) {
            if !replay.check(&mut answer, tokens, row)? {
                return Ok(replay);
            }
        }
    }
    replay.rest = answer.rest();
    Ok(replay)
}

impl Replay {
    /// The next token; whether there may be more.
    fn check(&mut self, answer: &mut Answer, tokens: &[u32], logits: &mut [f32]) -> Result<bool, Error> {
        let index = self.pieces.len();
        let Some(claimed) = tokens.get(index).copied() else { return Ok(false) };
        if self.finish.is_some() {
            self.difference = Some(Difference { index, claimed, computed: None });
            return Ok(false);
        }
        let (computed, logprobs) = answer.choose(logits)?;
        if computed != claimed {
            self.difference = Some(Difference { index, claimed, computed: Some(computed) });
            return Ok(false);
        }
        self.pieces.push(answer.take(computed, logprobs)?);
        self.finish = answer.finish();
        Ok(true)
    }
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// Answer one request alone, in the calling thread, the prompt in pieces of 256 tokens.
///
/// # Errors
/// As [`replay`].
pub fn generate(
    model: &TextModel,
    generation: &Generation,
    limits: &Limits,
    each: impl FnMut(&Piece),
) -> Result<Answered, Error> {
    generate_in_pieces(model, generation, STEP, limits, each)
}

/// The same with the prompt in pieces of another length, which changes no bit.
///
/// # Errors
/// As [`replay`].
pub fn generate_in_pieces(
    model: &TextModel,
    generation: &Generation,
    piece: usize,
    limits: &Limits,
    mut each: impl FnMut(&Piece),
) -> Result<Answered, Error> {
    generation.check(model)?;
    let mut answer = Answer::new(model, generation)?;
    let mut context = model.model().context(generation.tokens_max(model), limits)?;
    let mut logits = Vec::new();
    let mut pieces = generation.prompt.chunks(piece.max(1)).peekable();
    while let Some(piece) = pieces.next() {
        logits = context.feed(piece, usize::from(pieces.peek().is_none()))?;
    }
    let (mut tokens, mut text) = (Vec::new(), String::new());
    loop {
        let (token, logprobs) = answer.choose(&mut logits)?;
        let piece = answer.take(token, logprobs)?;
        tokens.push(token);
        text.push_str(&piece.text);
        each(&piece);
        if let Some(finish) = answer.finish() {
            text.push_str(&answer.rest());
            return Ok(Answered { tokens, text, finish });
        }
        logits = context.feed(&[token], 1)?;
    }
}

#[cfg(test)]
mod tests;
