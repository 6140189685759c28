//! Sizes and rules of one model, from its metadata.
//!
//! Defaults are those of llama.cpp, which wrote most files. Where it leaves a part of a model out (the window of Phi 3),
//! we do not: the meaning is that of the model's authors.

use super::{Architecture, Rope, Windows};
use crate::{
    Error,
    gguf::{ARRAY_LENGTH_MAX, Metadata, shown},
};

/// Greatest sizes. The largest published models (405 billion weights) have 126 blocks of 16 384 with 53 248 and 128 heads.
const BLOCKS_MAX: u32 = 512;
const EMBEDDING_MAX: u32 = 1 << 16;
const FEED_FORWARD_MAX: u32 = 1 << 18;
const HEADS_MAX: u32 = 1 << 10;
const HEAD_SIZE_MAX: u32 = 1 << 10;
/// Llama 4 names 10 million tokens; this is what positions may reach, not what a run may cost.
const CONTEXT_MAX: u32 = 1 << 24;
#[expect(clippy::cast_possible_truncation, reason = "2^20")]
const VOCABULARY_MAX: u32 = ARRAY_LENGTH_MAX as u32;

/// Sizes and rules of a language model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Its family, whose [`Architecture::traits`] hold as well.
    pub architecture: Architecture,
    /// Blocks of attention and feed-forward network.
    pub block_count: usize,
    /// Numbers per token between blocks.
    pub embedding_length: usize,
    /// Numbers per token inside of the feed-forward network.
    pub feed_forward_length: usize,
    /// Tokens of the vocabulary.
    pub vocabulary_size: usize,
    /// Tokens that the model was made for.
    pub context_length: usize,
    /// What is added to the mean square in every RMS norm.
    pub rms_epsilon: f32,
    /// Heads and scores.
    pub attention: Attention,
    /// Positions.
    pub rope: Rope,
    /// Blocks that attend to the last tokens only.
    pub window: Option<Window>,
    /// What embeddings are multiplied by.
    pub embedding_scale: Option<f32>,
    /// Logits become `tanh(x / cap) * cap`.
    pub logit_cap: Option<f32>,
}

/// Heads and scores of attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of queries.
    pub head_count: usize,
    /// Heads of keys and values; each serves as many heads of queries.
    pub kv_head_count: usize,
    /// Numbers of a head.
    pub head_size: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Scores become `tanh(x / cap) * cap` before the mask.
    pub score_cap: Option<f32>,
}

/// Blocks whose tokens see themselves and the `tokens - 1` before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// How many tokens a token sees.
    pub tokens: usize,
    /// For each block, whether the window holds there.
    pub blocks: Vec<bool>,
}

impl Config {
    /// Read and check it.
    ///
    /// # Errors
    /// [`Error::Gguf`] for a key that is missing, of another type, out of bounds or against another one;
    /// [`Error::Unsupported`] for what would change results and is not taken.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, Error> {
        let architecture = Architecture::named(metadata.str("general.architecture")?)?;
        let keys = Keys { metadata, architecture };
        keys.refuse_strangers()?;
        let attention = keys.attention()?;
        let block_count = keys.size("block_count", BLOCKS_MAX)?;
        let embedding_length = keys.size("embedding_length", EMBEDDING_MAX)?;
        let context_length = keys.size("context_length", CONTEXT_MAX)?;
        let (_, logit_cap) = keys.caps()?;
        Ok(Self {
            architecture,
            block_count,
            embedding_length,
            feed_forward_length: keys.size("feed_forward_length", FEED_FORWARD_MAX)?,
            vocabulary_size: keys.vocabulary_size()?,
            context_length,
            rms_epsilon: keys.rms_epsilon()?,
            rope: Rope::read(&keys, attention.head_size, context_length)?,
            window: keys.window(block_count, context_length)?,
            embedding_scale: architecture.traits().scaled_embedding.then(|| real(embedding_length).sqrt()),
            logit_cap,
            attention,
        })
    }
}

/// A size as f32: all are below 2^24, so this is exact.
#[expect(clippy::cast_precision_loss, reason = "bounded")]
fn real(size: usize) -> f32 {
    size as f32
}

/// Keys of one architecture.
pub(super) struct Keys<'m> {
    pub(super) metadata: &'m Metadata,
    pub(super) architecture: Architecture,
}

/// Keys that change results in ways that are not taken, unless their value is one of these.
const STRANGERS: [(&str, &[f32]); 14] = [
    ("expert_count", &[0.0]),
    ("expert_used_count", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attention.shared_kv_layers", &[0.0]),
    ("attention.key_length_swa", &[]),
    ("attention.value_length_swa", &[]),
    ("rope.dimension_sections", &[]),
];

impl Keys<'_> {
    pub(super) fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture.traits().name)
    }

    pub(super) fn wrong(&self, suffix: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
        let place = format!("key {}", shown(&self.key(suffix)));
        Error::Gguf { place, expected: expected.into(), got: got.into() }
    }

    /// A size from 1 to `max`.
    fn size(&self, suffix: &str, max: u32) -> Result<usize, Error> {
        self.checked_size(suffix, self.metadata.u32(&self.key(suffix))?, max)
    }

    pub(super) fn optional_size(&self, suffix: &str, max: u32) -> Result<Option<usize>, Error> {
        let size = self.metadata.optional(&self.key(suffix), Metadata::u32)?;
        size.map(|size| self.checked_size(suffix, size, max)).transpose()
    }

    fn checked_size(&self, suffix: &str, size: u32, max: u32) -> Result<usize, Error> {
        let fits = usize::try_from(size).ok().filter(|_| (1..=max).contains(&size));
        fits.ok_or_else(|| self.wrong(suffix, format!("a size from 1 to {max}"), size.to_string()))
    }

    /// A float above zero and not infinite, if it is there.
    pub(super) fn positive(&self, suffix: &str) -> Result<Option<f32>, Error> {
        match self.metadata.optional(&self.key(suffix), Metadata::f32)? {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(self.wrong(suffix, "a finite number above 0", format!("{value:?}")))
            }
            value => Ok(value),
        }
    }

    fn refuse_strangers(&self) -> Result<(), Error> {
        let hint = "this engine would leave it out, and answer something else";
        for (suffix, harmless) in STRANGERS {
            let key = self.key(suffix);
            let is_harmless = || self.metadata.f32(&key).is_ok_and(|value| harmless.contains(&value));
            if self.metadata.contains(&key) && !is_harmless() {
                return Err(Error::Unsupported { what: "model with key", got: shown(&key), hint });
            }
        }
        if self.metadata.optional(&self.key("attention.causal"), Metadata::bool)? == Some(false) {
            return Err(Error::Unsupported { what: "attention", got: "that is not causal".to_owned(), hint });
        }
        Ok(())
    }

    /// Tokens of the vocabulary: those that the tokenizer names, else the number itself.
    fn vocabulary_size(&self) -> Result<usize, Error> {
        let tokens = "tokenizer.ggml.tokens";
        match self.metadata.optional(tokens, Metadata::length)? {
            None => self.size("vocab_size", VOCABULARY_MAX),
            Some(0) => {
                let (expected, got) = ("one token or more".to_owned(), "none".to_owned());
                Err(Error::Gguf { place: format!("key {tokens:?}"), expected, got })
            }
            Some(size) => Ok(size),
        }
    }

    fn rms_epsilon(&self) -> Result<f32, Error> {
        let suffix = "attention.layer_norm_rms_epsilon";
        let epsilon = self.metadata.f32(&self.key(suffix))?;
        if epsilon > 0.0 && epsilon < 1.0 {
            Ok(epsilon)
        } else {
            Err(self.wrong(suffix, "a number above 0 and below 1", format!("{epsilon:?}")))
        }
    }

    fn attention(&self) -> Result<Attention, Error> {
        let head_count = self.size("attention.head_count", HEADS_MAX)?;
        let kv_head_count = self.optional_size("attention.head_count_kv", HEADS_MAX)?.unwrap_or(head_count);
        if !head_count.is_multiple_of(kv_head_count) {
            let expected = format!("a number that divides the {head_count} heads of queries");
            return Err(self.wrong("attention.head_count_kv", expected, kv_head_count.to_string()));
        }
        let head_size = self.head_size(head_count)?;
        let (score_cap, _) = self.caps()?;
        let scale = self.scale(head_count, head_size)?;
        Ok(Attention { head_count, kv_head_count, head_size, scale, score_cap })
    }

    /// Numbers of a head: said, or the embedding shared out among the heads.
    fn head_size(&self, head_count: usize) -> Result<usize, Error> {
        let key = self.optional_size("attention.key_length", HEAD_SIZE_MAX)?;
        let embedding = self.size("embedding_length", EMBEDDING_MAX)?;
        if key.is_none() && !embedding.is_multiple_of(head_count) {
            let expected = format!("a number that divides the embedding length {embedding}");
            return Err(self.wrong("attention.head_count", expected, head_count.to_string()));
        }
        let head_size = key.unwrap_or(embedding / head_count);
        if head_size > HEAD_SIZE_MAX as usize || !head_size.is_multiple_of(2) {
            let expected = format!("an even size of heads up to {HEAD_SIZE_MAX}");
            return Err(self.wrong("attention.key_length", expected, head_size.to_string()));
        }
        // A file that says one of the two sizes only means the shared-out one by the other.
        let value = self.optional_size("attention.value_length", HEAD_SIZE_MAX)?;
        let value = value.unwrap_or(embedding / head_count);
        if value != head_size {
            let expected = format!("that of keys, {head_size}: other sizes are not supported");
            return Err(self.wrong("attention.value_length", expected, value.to_string()));
        }
        Ok(head_size)
    }

    fn scale(&self, head_count: usize, head_size: usize) -> Result<f32, Error> {
        if let Some(scale) = self.positive("attention.scale")? {
            return Ok(scale);
        }
        let blocks = self.size("block_count", BLOCKS_MAX)?;
        let is_wide = self.architecture.traits().wide_scale_blocks == Some(blocks);
        let width =
            if is_wide { self.size("embedding_length", EMBEDDING_MAX)? / head_count } else { head_size };
        if width == 0 {
            return Err(self.wrong(
                "attention.head_count",
                "no more heads than numbers",
                head_count.to_string(),
            ));
        }
        Ok(1.0 / real(width).sqrt())
    }

    /// Caps of scores and of logits. Zero is none.
    fn caps(&self) -> Result<(Option<f32>, Option<f32>), Error> {
        let (scores, logits) = self.architecture.traits().default_caps.unzip();
        Ok((self.cap("attn_logit_softcapping", scores)?, self.cap("final_logit_softcapping", logits)?))
    }

    fn cap(&self, suffix: &str, default: Option<f32>) -> Result<Option<f32>, Error> {
        match self.metadata.optional(&self.key(suffix), Metadata::f32)? {
            None => Ok(default),
            Some(0.0) => Ok(None),
            Some(cap) if cap.is_finite() && cap > 0.0 => Ok(Some(cap)),
            Some(cap) => Err(self.wrong(suffix, "a finite number of 0 or more", format!("{cap:?}"))),
        }
    }

    fn window(&self, blocks: usize, context: usize) -> Result<Option<Window>, Error> {
        let suffix = "attention.sliding_window";
        let windows = self.architecture.traits().windows;
        let said = self.metadata.optional(&self.key(suffix), Metadata::u32)?;
        let tokens = match (said, windows) {
            (Some(tokens), _) => tokens,
            (None, Windows::AllButOneOf { tokens: Some(tokens), .. }) => tokens,
            (None, Windows::AllButOneOf { tokens: None, .. }) => self.metadata.u32(&self.key(suffix))?,
            (None, _) => 0,
        };
        // Without a limit, or with one that no token reaches, there is no window, but the pattern still tells the bases
        // of rotations apart.
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX);
        let is_open = tokens == 0 || tokens >= context;
        match windows {
            Windows::AllButOneOf { period, .. } => {
                let tokens = if is_open { context } else { tokens };
                Ok(Some(Window { tokens, blocks: self.pattern(blocks, period)? }))
            }
            _ if is_open => Ok(None),
            Windows::All => Ok(Some(Window { tokens, blocks: vec![true; blocks] })),
            Windows::Refused => Err(Error::Unsupported {
                what: "window of attention in architecture",
                got: self.architecture.traits().name.to_owned(),
                hint: "which blocks it holds for is not known; remove the key if the model does not use it",
            }),
        }
    }

    /// Which blocks have the window: a period, or each one by itself.
    fn pattern(&self, blocks: usize, period: usize) -> Result<Vec<bool>, Error> {
        let suffix = "attention.sliding_window_pattern";
        let key = self.key(suffix);
        if self.metadata.optional(&key, Metadata::length).is_ok_and(|length| length.is_some()) {
            let pattern = self.metadata.bools(&key)?;
            let got = pattern.len();
            let expected = || format!("as many truth values as blocks, {blocks}");
            return if got == blocks {
                Ok(pattern)
            } else {
                Err(self.wrong(suffix, expected(), got.to_string()))
            };
        }
        let period = self.optional_size(suffix, BLOCKS_MAX)?.unwrap_or(period);
        Ok((0..blocks).map(|block| block % period < period - 1).collect())
    }
}
