//! `config.json`, as the keys of a GGUF header.
//!
//! Keys that change results and have no place there are refused by name. Which values fit is not looked at here:
//! [`crate::language::Config`] reads what is written, with its own bounds.

use super::family::Family;
use super::json::Json;
use super::rope;
use crate::Error;
use crate::gguf::{Values, shown};
use crate::language::{Architecture, Windows};

/// What a configuration says.
pub(super) struct Described {
    pub(super) family: &'static Family,
    /// Keys and values of the header.
    pub(super) values: Values,
    /// Heads of queries, and of keys and values.
    pub(super) heads: [u32; 2],
    /// Logits come from the embedding.
    pub(super) tied: bool,
    /// What angles are divided by: the tensor `rope_freqs.weight`.
    pub(super) rope_factors: Option<Vec<f32>>,
}

pub(super) fn read(config: &Json<'_>) -> Result<Described, Error> {
    let family = Family::of(config)?;
    refuse_strangers(config, family)?;
    let name = family.architecture.traits().name;
    let mut writer = Writer { config, family, name, values: Values::default() };
    writer.values.text("general.architecture", name);
    for (key, from) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("vocab_size", "vocab_size"),
    ] {
        writer.u32(key, config.size(from)?);
    }
    let epsilon = config.real("rms_norm_eps")?;
    let epsilon = epsilon.ok_or_else(|| config.wrong("rms_norm_eps", "a number", "nothing"))?;
    writer.f32("attention.layer_norm_rms_epsilon", epsilon);
    let (heads, head_size) = writer.heads()?;
    writer.scores()?;
    writer.window()?;
    let tied = config.flag("tie_word_embeddings")?.unwrap_or(family.tied);
    let rope_factors = rope::write(&mut writer, head_size)?;
    Ok(Described { family, values: writer.values, heads, tied, rope_factors })
}

/// Keys that have no place in a header, unless their value is harmless.
fn refuse_strangers(config: &Json<'_>, family: &Family) -> Result<(), Error> {
    let hint = "this engine would leave it out, and answer something else";
    let refused = |key: &str| Err(Error::Unsupported { what: "config.json with key", got: shown(key), hint });
    for key in ["quantization_config", "embedding_multiplier", "residual_multiplier", "logits_scaling"] {
        if config.get(key).is_some() {
            return refused(key);
        }
    }
    if config.flag("use_bidirectional_attention")?.unwrap_or(false) {
        return refused("use_bidirectional_attention");
    }
    // Gemma's newer name counts before the older one.
    let activation = match config.text("hidden_activation")? {
        None => config.text("hidden_act")?,
        name => name,
    };
    match activation {
        Some(name) if !family.activations.contains(&name) => Err(Error::Unsupported {
            what: "activation",
            got: shown(name),
            hint: "this class has another one",
        }),
        _ => Ok(()),
    }
}

/// Keys of one architecture, on their way.
pub(super) struct Writer<'j> {
    pub(super) config: &'j Json<'j>,
    pub(super) family: &'static Family,
    name: &'static str,
    values: Values,
}

impl Writer<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.name)
    }

    pub(super) fn u32(&mut self, suffix: &str, value: u32) {
        self.values.u32(&self.key(suffix), value);
    }

    pub(super) fn f32(&mut self, suffix: &str, value: f32) {
        self.values.f32(&self.key(suffix), value);
    }

    pub(super) fn text(&mut self, suffix: &str, value: &str) {
        self.values.text(&self.key(suffix), value);
    }

    /// Heads, and the size of one.
    fn heads(&mut self) -> Result<([u32; 2], u32), Error> {
        let (config, family) = (self.config, self.family);
        let heads = config.size("num_attention_heads")?;
        let keys = config.optional_size("num_key_value_heads")?;
        let keys = match keys.or(Some(heads).filter(|_| family.equal_heads)) {
            Some(keys) => keys,
            None => return Err(config.wrong("num_key_value_heads", "a number of heads", "nothing")),
        };
        let said = config.optional_size("head_dim")?;
        let shared = config.size("hidden_size")?.checked_div(heads).filter(|_| !family.own_head_size);
        let size = said.or(shared).filter(|size| *size > 0);
        let size = size.ok_or_else(|| config.wrong("head_dim", "the size of a head above 0", "none"))?;
        self.u32("attention.head_count", heads);
        self.u32("attention.head_count_kv", keys);
        if said.is_some() {
            self.u32("attention.key_length", size);
            self.u32("attention.value_length", size);
        }
        Ok(([heads, keys], size))
    }

    /// What scores are multiplied by, and caps of them and of logits, where `transformers` looks at these keys. A cap
    /// that is `null` is none; one that is not said is the architecture's.
    fn scores(&mut self) -> Result<(), Error> {
        if !matches!(self.family.architecture, Architecture::Gemma2 | Architecture::Gemma3) {
            return Ok(());
        }
        let key = "query_pre_attn_scalar";
        match self.config.real(key)? {
            Some(width) if width > 0.0 => self.f32("attention.scale", 1.0 / width.sqrt()),
            Some(width) => return Err(self.config.wrong(key, "a number above 0", width.to_string())),
            None => {}
        }
        for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
            match self.config.real(key)? {
                Some(cap) => self.f32(key, cap),
                None if self.config.names(key) => self.f32(key, 0.0),
                None => {}
            }
        }
        Ok(())
    }

    fn window(&mut self) -> Result<(), Error> {
        let config = self.config;
        let suffix = "attention.sliding_window";
        let said = config.optional_size("sliding_window")?;
        match self.family.architecture {
            // What `transformers` leaves out as well.
            Architecture::Llama if !self.has_window() => return Ok(()),
            Architecture::Gemma => return Ok(()),
            Architecture::Qwen2 | Architecture::Qwen3 => {
                let is_used = config.flag("use_sliding_window")?.unwrap_or(false);
                let full = config.optional_size("max_window_layers")?.unwrap_or(0);
                if !is_used || full >= config.size("num_hidden_layers")? {
                    return Ok(());
                }
            }
            _ => {}
        }
        if let Some(tokens) = said {
            self.u32(suffix, tokens);
        }
        if matches!(self.family.architecture.traits().windows, Windows::AllButOneOf { .. }) {
            self.pattern()?;
        }
        Ok(())
    }

    /// Of the two classes with this architecture, only Mistral's looks at the key.
    fn has_window(&self) -> bool {
        self.family.class == "MistralForCausalLM"
    }

    /// Which blocks have the window.
    fn pattern(&mut self) -> Result<(), Error> {
        let suffix = "attention.sliding_window_pattern";
        let config = self.config;
        if let Some(kinds) = config.list("layer_types")? {
            let windowed = |kind: &serde_json::Value| match kind.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            let blocks: Option<Vec<bool>> = kinds.iter().map(windowed).collect();
            let expected = "\"sliding_attention\" or \"full_attention\" for each block";
            let blocks = blocks.ok_or_else(|| config.wrong("layer_types", expected, "another text"))?;
            self.values.bools(&self.key(suffix), &blocks);
            return Ok(());
        }
        for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
            if let Some(period) = config.optional_size(key)? {
                self.u32(suffix, period);
                return Ok(());
            }
        }
        Ok(())
    }
}
