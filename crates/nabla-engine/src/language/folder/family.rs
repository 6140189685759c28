//! The classes of models that folders name, and what `transformers` has for what they leave unsaid.

use super::json::Json;
use crate::Error;
use crate::gguf::shown;
use crate::language::Architecture;

/// A class of models.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in `architectures`.
    pub(super) class: &'static str,
    pub(super) architecture: Architecture,
    /// Rows of queries and keys are put in the order of GGUF's interleaved rotation.
    pub(super) permuted: bool,
    /// Norms are written less one.
    pub(super) norms_less_one: bool,
    /// Logits come from the embedding, unless the folder says otherwise.
    pub(super) tied: bool,
    /// Names of the activation that GGUF's architecture has.
    pub(super) activations: &'static [&'static str],
    /// As many heads of keys as of queries, unless said.
    pub(super) equal_heads: bool,
    /// The size of a head must be said: it is not the embedding's share.
    pub(super) own_head_size: bool,
    pub(super) rope_base: f32,
}

const PLAIN: Family = Family {
    class: "",
    architecture: Architecture::Llama,
    permuted: false,
    norms_less_one: false,
    tied: false,
    activations: &["silu", "swish"],
    equal_heads: false,
    own_head_size: false,
    rope_base: 10_000.0,
};

const LLAMA: Family = Family { class: "LlamaForCausalLM", permuted: true, equal_heads: true, ..PLAIN };
const MISTRAL: Family = Family { class: "MistralForCausalLM", permuted: true, ..PLAIN };
const QWEN2: Family = Family { class: "Qwen2ForCausalLM", architecture: Architecture::Qwen2, ..PLAIN };
const QWEN3: Family =
    Family { class: "Qwen3ForCausalLM", architecture: Architecture::Qwen3, own_head_size: true, ..PLAIN };
/// The first configurations said "gelu" and meant its approximation.
const GEMMA: Family = Family {
    class: "GemmaForCausalLM",
    architecture: Architecture::Gemma,
    norms_less_one: true,
    tied: true,
    activations: &["gelu_pytorch_tanh", "gelu"],
    own_head_size: true,
    ..PLAIN
};
const GEMMA2: Family = Family {
    class: "Gemma2ForCausalLM",
    architecture: Architecture::Gemma2,
    activations: &["gelu_pytorch_tanh"],
    ..GEMMA
};
const GEMMA3: Family = Family {
    class: "Gemma3ForCausalLM",
    architecture: Architecture::Gemma3,
    rope_base: 1_000_000.0,
    ..GEMMA2
};
const PHI3: Family =
    Family { class: "Phi3ForCausalLM", architecture: Architecture::Phi3, equal_heads: true, ..PLAIN };

const ALL: [&Family; 8] = [&LLAMA, &MISTRAL, &QWEN2, &QWEN3, &GEMMA, &GEMMA2, &GEMMA3, &PHI3];

impl Family {
    /// The one that `config.json` names.
    pub(super) fn of(config: &Json<'_>) -> Result<&'static Self, Error> {
        let key = "architectures";
        let classes = config.list(key)?.unwrap_or_default();
        let [class] = classes else {
            return Err(config.wrong(key, "one class of models", format!("{}", classes.len())));
        };
        let class = class.as_str().unwrap_or_default();
        ALL.into_iter().find(|family| family.class == class).ok_or_else(|| Error::Unsupported {
            what: "model of class",
            got: shown(class),
            hint: "taken are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, \
                GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM and Phi3ForCausalLM",
        })
    }
}
