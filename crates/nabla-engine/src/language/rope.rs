//! How positions turn queries and keys.
//!
//! Of the `dimensions` first numbers of a head, pair `i` is turned at position `p` by the angle
//! `p * base ^ (-2 i / dimensions)`, changed by the scaling.

use super::config::Keys;
use super::{RopeStyle, Windows};
use crate::{
    Error,
    gguf::{Metadata, shown},
};

/// The base of models that do not say.
const BASE: f32 = 10_000.0;

/// How positions turn queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which numbers are pairs.
    pub style: RopeStyle,
    /// How many numbers of a head are turned: the first ones.
    pub dimensions: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// How longer contexts than those of the training were reached.
    pub scaling: RopeScaling,
    /// Base in blocks with a window, which are not scaled; `None`: base and scaling are the same in all blocks.
    pub local_base: Option<f32>,
}

/// What becomes of angles in a context that was made longer. Factors of Llama 3.1 are a tensor, `rope_freqs.weight`
/// ([`super::Found::rope_factors`]): each angle is divided by its factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Nothing.
    None,
    /// Angles are divided by a factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Angles of slow pairs are divided by the factor, those of fast ones stay, between them a ramp.
    Yarn {
        /// The factor.
        factor: f32,
        /// Tokens of the training.
        original_context: usize,
        /// How much the ramp counts; 1 but for experiments.
        extrapolation: f32,
        /// What queries and keys are multiplied by, beside what the factor gives.
        attention_factor: f32,
        /// Turns in the original context above which a pair is fast.
        beta_fast: f32,
        /// Turns in the original context below which a pair is slow.
        beta_slow: f32,
    },
}

impl Rope {
    pub(super) fn read(keys: &Keys<'_>, head_size: usize, context: usize) -> Result<Self, Error> {
        let traits = keys.architecture.traits();
        let base = keys.positive("rope.freq_base")?.unwrap_or(BASE);
        let local = keys.positive("rope.freq_base_swa")?;
        let local_base = match (local, traits.windows) {
            (Some(_), Windows::Refused | Windows::All) => {
                let got = shown(&keys.key("rope.freq_base_swa"));
                let hint = "this architecture has no blocks with a base of their own";
                return Err(Error::Unsupported { what: "model with key", got, hint });
            }
            (local, _) => local.or(traits.local_rope_base),
        };
        let dimensions = keys.dimensions(head_size)?;
        let scaling = keys.scaling(context)?;
        Ok(Self { style: traits.rope_style, dimensions, base, scaling, local_base })
    }
}

impl Keys<'_> {
    fn dimensions(&self, head_size: usize) -> Result<usize, Error> {
        let suffix = "rope.dimension_count";
        let dimensions = self.optional_size(suffix, u32::MAX)?.unwrap_or(head_size);
        if dimensions <= head_size && dimensions.is_multiple_of(2) {
            return Ok(dimensions);
        }
        let expected = format!("an even number up to the head size {head_size}");
        Err(self.wrong(suffix, expected, dimensions.to_string()))
    }

    fn scaling(&self, context: usize) -> Result<RopeScaling, Error> {
        let factor = match self.positive("rope.scaling.factor")? {
            None => self.positive("rope.scale_linear")?,
            factor => factor,
        };
        // A factor without a type is linear, as in old files.
        let kind = self.metadata.optional(&self.key("rope.scaling.type"), Metadata::str)?.unwrap_or("linear");
        if kind == "yarn" {
            return self.yarn(factor, context);
        }
        let attention = self.positive("rope.scaling.attn_factor")?;
        match (kind, factor) {
            ("none" | "linear", _) if attention.is_some_and(|factor| factor != 1.0) => {
                Err(unsupported(format!("{kind} with an attention factor")))
            }
            ("none", _) | ("linear", None) => Ok(RopeScaling::None),
            ("linear", Some(1.0)) => Ok(RopeScaling::None),
            ("linear", Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (other, _) => Err(unsupported(shown(other))),
        }
    }

    fn yarn(&self, factor: Option<f32>, context: usize) -> Result<RopeScaling, Error> {
        let suffix = "rope.scaling.factor";
        let factor = factor.ok_or_else(|| self.wrong(suffix, "a factor, which yarn needs", "no such key"))?;
        let log = self.metadata.optional(&self.key("rope.scaling.yarn_log_multiplier"), Metadata::f32)?;
        if log.is_some_and(|log| log != 0.0) {
            return Err(unsupported("yarn with a logarithmic multiplier".to_owned()));
        }
        let original = self.optional_size("rope.scaling.original_context_length", 1 << 24)?;
        let or = |suffix: &str, default| self.positive(suffix).map(|value| value.unwrap_or(default));
        let attention = or("rope.scaling.attn_factor", 1.0)? * or("rope.scaling.yarn_attn_factor", 1.0)?;
        Ok(RopeScaling::Yarn {
            factor,
            original_context: original.unwrap_or(context),
            extrapolation: or("rope.scaling.yarn_ext_factor", 1.0)?,
            attention_factor: attention,
            beta_fast: or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: or("rope.scaling.yarn_beta_slow", 1.0)?,
        })
    }
}

fn unsupported(got: String) -> Error {
    Error::Unsupported {
        what: "scaling of positions",
        got,
        hint: "taken are none, linear, yarn and the factors of llama 3",
    }
}
