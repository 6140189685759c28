//! A language model that is ready to run, and one sequence of its tokens.

use std::sync::Arc;

use super::Config;
use super::decoder::{Chunk, Decoder, Positions};
use super::pages::{Pages, Sequence};
use super::sampler::{Allowed, Counts, Sampling, sample};
use super::weights::Weights;
use crate::gguf::Gguf;
use crate::kernels::check_float_mode;
use crate::kernels::decoder::attention::KEYS;
use crate::{Engine, Error, Limits, ReadAt};

/// A language model that is ready to run. A clone is the same model.
#[derive(Debug, Clone)]
pub struct LanguageModel(pub(super) Arc<Decoder>);

impl LanguageModel {
    /// Read a GGUF file and order its weights for the kernels.
    ///
    /// # Errors
    /// As [`Gguf::open`], [`Config::from_metadata`] and [`Config::check`]; [`Error::Limit`] for more weights than the
    /// limits allow; [`Error::FloatMode`] if this thread does not compute as IEEE 754 has it.
    pub fn load(engine: &Engine, source: &dyn ReadAt, limits: &Limits) -> Result<Self, Error> {
        Self::of_gguf(engine, &Gguf::open(source)?, source, limits)
    }

    /// The same of a file whose header was read.
    ///
    /// # Errors
    /// As [`LanguageModel::load`].
    pub(super) fn of_gguf(
        engine: &Engine,
        gguf: &Gguf,
        source: &dyn ReadAt,
        limits: &Limits,
    ) -> Result<Self, Error> {
        check_float_mode()?;
        let config = Config::from_metadata(&gguf.metadata)?;
        let found = config.check(&gguf.tensors)?;
        let cpu = engine.cpu().clone();
        let weights = Weights::load(&cpu, gguf, source, limits, &config, found)?;
        Ok(Self(Arc::new(Decoder { cpu, config, weights })))
    }

    /// Its sizes and rules.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Bytes of memory that its weights take.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.0.weights.resident_bytes()
    }

    /// Multiply-adds of one token in products with weights, whatever its position.
    #[must_use]
    pub fn macs_per_token(&self) -> u64 {
        self.0.weights.macs_per_token()
    }

    /// Bytes of memory that keys and values of so many tokens take.
    #[must_use]
    pub fn context_bytes(&self, tokens: usize) -> u64 {
        let page = Pages::page_elements(&self.0.config) as u64 * size_of::<f32>() as u64;
        page.saturating_mul(tokens.div_ceil(KEYS) as u64)
    }

    /// An empty sequence with room for so many tokens.
    ///
    /// # Errors
    /// [`Error::Limit`] for more than the model's context, or more memory than `limits` allow.
    pub fn context(&self, tokens_max: usize, limits: &Limits) -> Result<Context, Error> {
        let (config, weights) = (&self.0.config, &self.0.weights);
        Limits::check("tokens of a context", tokens_max as u64, config.context_length as u64)?;
        Limits::check("bytes of a context", self.context_bytes(tokens_max), limits.peak_bytes_max)?;
        Ok(Context {
            pages: Pages::new(config, tokens_max.div_ceil(KEYS)),
            positions: Positions::new(config, weights),
            sequence: Sequence::default(),
            tokens_max,
            model: self.clone(),
        })
    }

    /// The token that these logits and rules give at a position, `None` if no token is left. `logits` are
    /// adjusted on the way.
    #[must_use]
    pub fn sample(
        &self,
        sampling: &Sampling,
        logits: &mut [f32],
        counts: &Counts,
        allowed: Allowed<'_>,
        position: u64,
    ) -> Option<u32> {
        sample(self.0.cpu.isa(), sampling, logits, counts, allowed, position)
    }
}

/// One sequence of tokens, and the keys and values of those so far.
#[derive(Debug)]
pub struct Context {
    model: LanguageModel,
    pages: Pages,
    positions: Positions,
    sequence: Sequence,
    tokens_max: usize,
}

impl Context {
    /// Tokens so far.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.sequence.tokens
    }

    /// Go on with these tokens: logits `[wanted, vocabulary]` after each of the last `wanted` of them. How a text is
    /// cut in calls changes no bit.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no room, [`Error::Token`] for a token that the vocabulary does not have;
    /// nothing has changed then.
    pub fn feed(&mut self, tokens: &[u32], wanted: usize) -> Result<Vec<f32>, Error> {
        self.run(tokens, wanted, Decoder::step)
    }

    /// Go on with these tokens: the numbers `[wanted, width]` that the last `wanted` of them end with, normalised, in
    /// the place of logits.
    ///
    /// # Errors
    /// As [`Context::feed`].
    pub fn states(&mut self, tokens: &[u32], wanted: usize) -> Result<Vec<f32>, Error> {
        self.run(tokens, wanted, Decoder::states)
    }

    fn run(&mut self, tokens: &[u32], wanted: usize, pass: Pass) -> Result<Vec<f32>, Error> {
        check_float_mode()?;
        let decoder = &*self.model.0;
        let vocabulary = decoder.config.vocabulary_size;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::Token { token: *token, vocabulary });
        }
        let after = self.sequence.tokens.saturating_add(tokens.len());
        Limits::check("tokens of this context", after as u64, self.tokens_max as u64)?;
        let has_room = self.pages.grow(&mut self.sequence, tokens.len());
        debug_assert!(has_room, "pages for all tokens were taken");
        let mut chunks = [Chunk { sequence: &mut self.sequence, tokens, wanted }];
        pass(decoder, &mut self.pages, &mut self.positions, &mut chunks)
    }
}

/// A forward pass, to logits or to what stands before them.
type Pass = fn(&Decoder, &mut Pages, &mut Positions, &mut [Chunk<'_>]) -> Result<Vec<f32>, Error>;
