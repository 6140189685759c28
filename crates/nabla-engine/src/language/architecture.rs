//! What the families of language models differ in.
//!
//! All of them are decoders: an embedding, blocks of attention and a gated feed-forward network with RMS norms before each
//! and residual sums around each, a last norm and a projection to the vocabulary. The rest stands in [`Traits`].

use crate::Error;

/// A family of models, by the value of `general.architecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1 to 3, Mistral, and the many models of their shape.
    Llama,
    /// Qwen 1.5, 2 and 2.5.
    Qwen2,
    /// Qwen 3, dense.
    Qwen3,
    /// Gemma.
    Gemma,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, its text part.
    Gemma3,
    /// Phi 3 and 3.5 mini, Phi 3 medium, Phi 4.
    Phi3,
}

/// Which elements of a head a position turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours: `2 i` and `2 i + 1`. Converters permute the weights of llama models so.
    Interleaved,
    /// `i` and `i + n / 2` of the `n` turned ones ("neox").
    Halves,
}

/// What the gate of the feed-forward network goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The approximation of gelu by tanh.
    GeluTanh,
}

/// Whether the projections to queries, keys and values add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Never.
    Absent,
    /// In every block or in none, as the tensors say.
    Either,
    /// In every block.
    Present,
}

/// Which blocks attend to the last tokens only, where metadata name a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// A window shorter than the context is refused: what it would mean is not known.
    Refused,
    /// Every block.
    All,
    /// All but the last one of so many; `tokens` is the window of a file that does not say.
    AllButOneOf {
        /// Blocks of one period.
        period: usize,
        /// Default, if there is one.
        tokens: Option<u32>,
    },
}

/// What an architecture fixes, beyond the sizes that metadata give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traits {
    /// Its name in `general.architecture`, and the first part of its keys.
    pub name: &'static str,
    /// Pairs of a rotation.
    pub rope_style: RopeStyle,
    /// Of the feed-forward network.
    pub activation: Activation,
    /// Biases of queries, keys and values.
    pub bias: Bias,
    /// Blocks with a window.
    pub windows: Windows,
    /// Queries, keys and values are one matrix, in this order of rows.
    pub fused_qkv: bool,
    /// Gate and up are one matrix, the gate first.
    pub fused_gate_up: bool,
    /// Each head of queries and keys is normed before the rotation.
    pub head_norms: bool,
    /// Attention and feed-forward network are normed behind as well, before the residual sum.
    pub post_norms: bool,
    /// Embeddings are multiplied by the root of their length.
    pub scaled_embedding: bool,
    /// Caps of attention scores and of logits for a file that does not say.
    pub default_caps: Option<(f32, f32)>,
    /// Blocks of the one model whose queries are scaled by its embedding's part of a head, not by the head size.
    pub wide_scale_blocks: Option<usize>,
    /// Rotation base of blocks with a window for a file that does not say; `None`: that of the others.
    pub local_rope_base: Option<f32>,
    /// Whether factors of Llama 3.1 and later (`rope_freqs.weight`) may be there.
    pub rope_factors: bool,
}

const PLAIN: Traits = Traits {
    name: "llama",
    rope_style: RopeStyle::Halves,
    activation: Activation::Silu,
    bias: Bias::Absent,
    windows: Windows::Refused,
    fused_qkv: false,
    fused_gate_up: false,
    head_norms: false,
    post_norms: false,
    scaled_embedding: false,
    default_caps: None,
    wide_scale_blocks: None,
    local_rope_base: None,
    rope_factors: false,
};

const LLAMA: Traits = Traits {
    rope_style: RopeStyle::Interleaved,
    bias: Bias::Either,
    windows: Windows::All,
    rope_factors: true,
    ..PLAIN
};

const QWEN2: Traits = Traits { name: "qwen2", bias: Bias::Present, ..PLAIN };

const QWEN3: Traits = Traits { name: "qwen3", head_norms: true, ..PLAIN };

const GEMMA: Traits =
    Traits { name: "gemma", activation: Activation::GeluTanh, scaled_embedding: true, ..PLAIN };

const GEMMA2: Traits = Traits {
    name: "gemma2",
    post_norms: true,
    windows: Windows::AllButOneOf { period: 2, tokens: Some(4096) },
    default_caps: Some((50.0, 30.0)),
    wide_scale_blocks: Some(46),
    ..GEMMA
};

const GEMMA3: Traits = Traits {
    name: "gemma3",
    post_norms: true,
    head_norms: true,
    windows: Windows::AllButOneOf { period: 6, tokens: None },
    wide_scale_blocks: Some(62),
    local_rope_base: Some(10_000.0),
    ..GEMMA
};

const PHI3: Traits =
    Traits { name: "phi3", windows: Windows::All, fused_qkv: true, fused_gate_up: true, ..PLAIN };

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma, Self::Gemma2, Self::Gemma3, Self::Phi3];

    /// The architecture of this name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other.
    pub fn named(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|architecture| architecture.traits().name == name).ok_or_else(|| {
            Error::Unsupported {
                what: "architecture",
                got: crate::gguf::shown(name),
                hint: "taken are llama (with mistral), qwen2, qwen3, gemma, gemma2, gemma3 and phi3",
            }
        })
    }

    /// Its row of the table.
    #[must_use]
    pub fn traits(self) -> &'static Traits {
        match self {
            Self::Llama => &LLAMA,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Gemma => &GEMMA,
            Self::Gemma2 => &GEMMA2,
            Self::Gemma3 => &GEMMA3,
            Self::Phi3 => &PHI3,
        }
    }
}
