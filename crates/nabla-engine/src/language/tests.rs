//! Configurations of published models, and what is wrong with wrong ones.

mod small;

pub(crate) use small::{CONTEXT, END, byte, text_model};

use super::*;
use crate::gguf::{
    Gguf, Metadata, Shape, TensorInfo, Tensors, WeightFormat,
    tests::{WRITTEN, file::File},
};
use crate::{Error, gguf};

fn metadata(file: &File) -> Metadata {
    Gguf::open(&file.build()).unwrap().metadata
}

fn config(file: &File) -> Result<Config, Error> {
    Config::from_metadata(&metadata(file))
}

/// Sizes of a model, in the order of [`model`].
type Sizes = [u32; 6];

/// A model of these blocks, embedding, feed-forward length, heads, heads of keys, context.
fn model(name: &str, [blocks, embedding, inner, heads, kv_heads, context]: Sizes) -> File {
    File::new()
        .text("general.architecture", name)
        .u32(&format!("{name}.block_count"), blocks)
        .u32(&format!("{name}.embedding_length"), embedding)
        .u32(&format!("{name}.feed_forward_length"), inner)
        .u32(&format!("{name}.attention.head_count"), heads)
        .u32(&format!("{name}.attention.head_count_kv"), kv_heads)
        .u32(&format!("{name}.context_length"), context)
        .u32(&format!("{name}.vocab_size"), 1000)
        .f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-6)
}

fn llama() -> File {
    model("llama", [32, 4096, 14_336, 32, 8, 8192])
}

/// With a size of heads for keys and values.
fn heads(file: File, name: &str, size: u32) -> File {
    let key = |part: &str| format!("{name}.attention.{part}_length");
    file.u32(&key("key"), size).u32(&key("value"), size)
}

#[test]
fn llama_3_is_read() {
    let file = llama().f32("llama.rope.freq_base", 500_000.0).u32("llama.rope.dimension_count", 128);
    let config = config(&file.u32("llama.expert_count", 0)).unwrap();
    assert_eq!(config.architecture, Architecture::Llama);
    assert_eq!((config.block_count, config.embedding_length), (32, 4096));
    assert_eq!((config.feed_forward_length, config.vocabulary_size), (14_336, 1000));
    assert_eq!(config.rms_epsilon, 1e-6);
    let Attention { head_count, kv_head_count, head_size, scale, score_cap } = config.attention;
    assert_eq!((head_count, kv_head_count, head_size, score_cap), (32, 8, 128, None));
    assert_eq!(scale, 1.0 / 128_f32.sqrt());
    let rope = Rope {
        style: RopeStyle::Interleaved,
        dimensions: 128,
        base: 500_000.0,
        scaling: RopeScaling::None,
        local_base: None,
    };
    assert_eq!(config.rope, rope);
    assert_eq!((config.window, config.embedding_scale, config.logit_cap), (None, None, None));
}

#[test]
fn mistral_has_its_window_in_every_block() {
    let window = |tokens| config(&llama().u32("llama.attention.sliding_window", tokens)).unwrap().window;
    assert_eq!(window(4096), Some(Window { tokens: 4096, blocks: vec![true; 32] }));
    assert_eq!((window(0), window(8192), window(u32::MAX)), (None, None, None));
}

#[test]
fn qwen_is_read() {
    let file = model("qwen2", [24, 896, 4864, 14, 2, 32_768]).u32("qwen2.attention.sliding_window", 32_768);
    let qwen2 = config(&file).unwrap();
    assert_eq!((qwen2.attention.head_size, qwen2.rope.style), (64, RopeStyle::Halves));
    assert_eq!(qwen2.architecture.traits().bias, Bias::Present);
    let file = model("qwen2", [24, 896, 4864, 14, 2, 32_768]).u32("qwen2.attention.sliding_window", 4096);
    assert!(config(&file).unwrap_err().to_string().contains("window of attention in architecture qwen2"));
    // Heads that are wider than their share of the embedding.
    let qwen3 = config(&heads(model("qwen3", [28, 1024, 3072, 16, 8, 40_960]), "qwen3", 128)).unwrap();
    assert_eq!(qwen3.attention.head_size, 128);
    assert!(qwen3.architecture.traits().head_norms);
}

#[test]
fn gemma_2_is_read() {
    let file = heads(model("gemma2", [26, 2304, 9216, 8, 4, 8192]), "gemma2", 256);
    let gemma = config(&file).unwrap();
    assert_eq!((gemma.attention.score_cap, gemma.logit_cap), (Some(50.0), Some(30.0)));
    assert_eq!(gemma.embedding_scale, Some(48.0));
    assert_eq!(gemma.attention.scale, 1.0 / 16.0);
    let window = gemma.window.unwrap();
    assert_eq!((window.tokens, &window.blocks[..4]), (4096, &[true, false, true, false][..]));
    assert_eq!(gemma.rope.local_base, None);
    // The largest one scales by the embedding's share of a head, 144.
    let file = heads(model("gemma2", [46, 4608, 36_864, 32, 16, 8192]), "gemma2", 128);
    let file = file.f32("gemma2.attn_logit_softcapping", 0.0).f32("gemma2.final_logit_softcapping", 10.0);
    let gemma = config(&file).unwrap();
    assert_eq!(gemma.attention.scale, 1.0 / 12.0);
    assert_eq!((gemma.attention.score_cap, gemma.logit_cap), (None, Some(10.0)));
}

fn gemma3() -> File {
    heads(model("gemma3", [34, 2560, 10_240, 8, 4, 131_072]), "gemma3", 256)
        .u32("gemma3.attention.sliding_window", 1024)
        .f32("gemma3.rope.freq_base", 1e6)
        .text("gemma3.rope.scaling.type", "linear")
        .f32("gemma3.rope.scaling.factor", 8.0)
}

#[test]
fn gemma_3_has_two_bases() {
    let gemma = config(&gemma3()).unwrap();
    let window = gemma.window.unwrap();
    assert_eq!((window.tokens, window.blocks.len()), (1024, 34));
    assert_eq!(window.blocks[..7], [true, true, true, true, true, false, true]);
    assert_eq!((gemma.rope.base, gemma.rope.local_base), (1e6, Some(10_000.0)));
    assert_eq!(gemma.rope.scaling, RopeScaling::Linear { factor: 8.0 });
    assert_eq!((gemma.attention.score_cap, gemma.logit_cap), (None, None));
    let other = config(&gemma3().f32("gemma3.rope.freq_base_swa", 5000.0)).unwrap();
    assert_eq!(other.rope.local_base, Some(5000.0));
}

#[test]
fn patterns_are_a_period_or_a_list() {
    let key = "gemma3.attention.sliding_window_pattern";
    let four = config(&gemma3().u32(key, 4)).unwrap().window.unwrap();
    assert_eq!(four.blocks[..5], [true, true, true, false, true]);
    let mut list = [1; 34];
    list[0] = 0;
    let listed = config(&gemma3().array(key, 7, 34, &list)).unwrap().window.unwrap();
    assert_eq!(listed.blocks[..2], [false, true]);
    let error = config(&gemma3().array(key, 7, 33, &list[..33])).unwrap_err().to_string();
    assert!(error.contains("as many truth values as blocks, 34, got 33"), "{error}");
    assert!(config(&gemma3().u32(key, 0)).is_err());
}

#[test]
fn phi_3_is_read() {
    let file = model("phi3", [32, 3072, 8192, 32, 32, 4096]).u32("phi3.attention.sliding_window", 2047);
    let phi = config(&file.u32("phi3.rope.dimension_count", 96)).unwrap();
    assert_eq!((phi.attention.head_size, phi.rope.dimensions), (96, 96));
    assert_eq!(phi.window.unwrap().tokens, 2047);
    assert!(phi.architecture.traits().fused_qkv && phi.architecture.traits().fused_gate_up);
}

#[test]
fn scalings_are_read_or_refused_by_name() {
    let scaled = |kind: &str| llama().text("llama.rope.scaling.type", kind);
    let yarn = scaled("yarn").f32("llama.rope.scaling.factor", 4.0);
    let yarn = yarn.u32("llama.rope.scaling.original_context_length", 2048);
    let wanted = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 2048,
        extrapolation: 1.0,
        attention_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
    };
    assert_eq!(config(&yarn).unwrap().rope.scaling, wanted);
    let old = config(&llama().f32("llama.rope.scale_linear", 2.0)).unwrap();
    assert_eq!(old.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    let none = config(&scaled("none").f32("llama.rope.scaling.factor", 2.0)).unwrap();
    assert_eq!(none.rope.scaling, RopeScaling::None);
    let refused = [
        (scaled("longrope"), "scaling of positions \"longrope\"; taken are none, linear, yarn"),
        (scaled("yarn"), "key \"llama.rope.scaling.factor\": expected a factor, which yarn needs"),
        (scaled("linear").f32("llama.rope.scaling.attn_factor", 1.2), "linear with an attention factor"),
        (yarn.f32("llama.rope.scaling.yarn_log_multiplier", 0.1), "logarithmic multiplier"),
        (llama().f32("llama.rope.scaling.factor", f32::NAN), "a finite number above 0, got NaN"),
        (llama().f32("llama.rope.freq_base", 0.0), "a finite number above 0, got 0.0"),
        (llama().f32("llama.rope.freq_base_swa", 1e4), "no blocks with a base of their own"),
        (llama().u32("llama.rope.dimension_count", 130), "an even number up to the head size 128, got 130"),
        (llama().u32("llama.rope.dimension_count", 63), "an even number up to the head size 128, got 63"),
    ];
    for (file, says) in refused {
        let error = config(&file).unwrap_err().to_string();
        assert!(error.contains(says), "expected {says:?}, got {error:?}");
    }
}

#[test]
fn what_would_change_results_is_refused_by_name() {
    let refused = [
        (
            File::new().text("general.architecture", "phi2"),
            "architecture \"phi2\"; taken are llama (with mistral)",
        ),
        (File::new().text("general.architecture", "mamba"), "architecture \"mamba\""),
        (File::new(), "key \"general.architecture\": expected a text, got nothing"),
        (llama().u32("llama.expert_count", 8), "model with key \"llama.expert_count\""),
        (llama().f32("llama.logit_scale", 0.5), "model with key \"llama.logit_scale\""),
        (llama().f32("llama.attention.clamp_kqv", 8.0), "model with key \"llama.attention.clamp_kqv\""),
        (llama().u32("llama.rope.dimension_sections", 1), "\"llama.rope.dimension_sections\""),
        (llama().key("llama.attention.causal", 7, &[0]), "attention that is not causal"),
    ];
    for (file, says) in refused {
        let error = config(&file).unwrap_err().to_string();
        assert!(error.contains(says), "expected {says:?}, got {error:?}");
    }
    assert!(config(&llama().f32("llama.logit_scale", 1.0).key("llama.attention.causal", 7, &[1])).is_ok());
}

/// Every size at its ends, and sizes that do not fit each other.
#[test]
fn sizes_are_bounded_and_fit() {
    let sound = [32, 4096, 14_336, 32, 8, 8192];
    let names = [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "head_count",
        "head_count_kv",
        "context_length",
    ];
    for (index, name) in names.iter().enumerate() {
        for value in [0, 1 << 25, u32::MAX] {
            let mut sizes = sound;
            sizes[index] = value;
            let error = config(&model("llama", sizes)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("a size from 1 to"), "{name} {value}: {error}");
        }
    }
    let refused = [
        (
            model("llama", [32, 4096, 14_336, 32, 5, 8192]),
            "a number that divides the 32 heads of queries, got 5",
        ),
        (model("llama", [32, 4096, 14_336, 32, 64, 8192]), "a number that divides the 32 heads"),
        (model("llama", [32, 4097, 14_336, 32, 8, 8192]), "a number that divides the embedding length 4097"),
        (model("llama", [32, 96, 14_336, 32, 8, 8192]), "an even size of heads up to 1024, got 3"),
        (model("llama", [32, 4096, 14_336, 1, 1, 8192]), "an even size of heads up to 1024, got 4096"),
        (llama().u32("llama.attention.value_length", 64), "expected that of keys, 128: other sizes are not"),
        (heads(llama(), "llama", 1025), "a size from 1 to 1024"),
        (llama().f32("llama.attention.scale", -1.0), "a finite number above 0"),
        (llama().f32("llama.attn_logit_softcapping", f32::INFINITY), "a finite number of 0 or more"),
        (llama().texts("tokenizer.ggml.tokens", &[]), "expected one token or more, got none"),
        (heads(model("gemma2", [46, 16, 64, 32, 16, 64]), "gemma2", 8), "no more heads than numbers"),
    ];
    for (file, says) in refused {
        let error = config(&file).unwrap_err().to_string();
        assert!(error.contains(says), "expected {says:?}, got {error:?}");
    }
    for epsilon in [0.0, -1.0, 1.0, f32::NAN, f32::INFINITY] {
        let file = File::new().text("general.architecture", "llama").u32("llama.block_count", 1);
        let file = file.u32("llama.embedding_length", 8).u32("llama.attention.head_count", 1);
        let file = file.u32("llama.context_length", 8).u32("llama.feed_forward_length", 8);
        let file = file.u32("llama.vocab_size", 8).f32("llama.attention.layer_norm_rms_epsilon", epsilon);
        let error = config(&file).unwrap_err().to_string();
        assert!(error.contains("a number above 0 and below 1"), "{error}");
    }
    let tokens = llama().texts("tokenizer.ggml.tokens", &["a", "b"]);
    assert_eq!(config(&tokens).unwrap().vocabulary_size, 2);
}

/// Files of the reference package: each has what its architecture needs, and what it says.
#[test]
fn written_models_are_whole() {
    let found = WRITTEN.map(|bytes| {
        let gguf = Gguf::open(&bytes.to_vec()).unwrap();
        let config = Config::from_metadata(&gguf.metadata).unwrap();
        config.check(&gguf.tensors).unwrap()
    });
    let wanted = [
        Found { tied_embeddings: false, rope_factors: true, bias: false },
        Found { tied_embeddings: true, rope_factors: false, bias: true },
        Found { tied_embeddings: true, rope_factors: false, bias: false },
    ];
    assert_eq!(found, wanted);
}

/// A tensor that lies nowhere.
fn tensor(name: &str, rows: u64, columns: u64) -> TensorInfo {
    let shape = Shape { rows, columns };
    TensorInfo { name: name.to_owned(), shape, format: WeightFormat::F32, range: 0..0 }
}

/// Each tensor of each model left out, or of another shape, or quantised where it must not be, is named.
#[test]
fn a_tensor_that_is_wrong_is_named() {
    for bytes in WRITTEN {
        let Gguf { metadata, tensors, .. } = Gguf::open(&bytes.to_vec()).unwrap();
        let config = Config::from_metadata(&metadata).unwrap();
        let optional = ["output.weight", "rope_freqs.weight"];
        for wrong in tensors.iter() {
            let without: Vec<TensorInfo> =
                tensors.iter().filter(|tensor| *tensor != wrong).cloned().collect();
            let check = |other: Option<TensorInfo>| {
                config.check(&without.iter().cloned().chain(other).collect::<Tensors>())
            };
            let named = format!("tensor {:?}: expected ", wrong.name);
            if !optional.contains(&wrong.name.as_str()) {
                let error = check(None).unwrap_err().to_string();
                assert!(error.contains(&format!("{named}a tensor of this name, got none")), "{error}");
            }
            let Shape { rows, columns } = wrong.shape;
            for (rows, columns) in [(rows + 1, columns), (rows, columns + 1), (u64::MAX, u64::MAX)] {
                let error = check(Some(tensor(&wrong.name, rows, columns))).unwrap_err().to_string();
                assert!(error.contains(&named), "{error}");
            }
            if rows == 1 {
                let quantised = TensorInfo { format: WeightFormat::Q8_0, ..wrong.clone() };
                let error = check(Some(quantised)).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("{named}F32, F16 or BF16 for a vector, got Q8_0")),
                    "{error}"
                );
            }
        }
        let more: Tensors =
            tensors.iter().cloned().chain([tensor("blk.0.ffn_gate_inp.weight", 4, 8)]).collect();
        let error = config.check(&more).unwrap_err().to_string();
        assert!(error.contains("does not use: \"blk.0.ffn_gate_inp.weight\""), "{error}");
    }
}

/// Fused matrices of Phi 3, and biases that are in one block only.
#[test]
fn fused_and_partial_tensors_are_checked() {
    let phi = config(&model("phi3", [1, 64, 128, 4, 2, 64])).unwrap();
    let names = [
        ("token_embd.weight", 1000, 64),
        ("output_norm.weight", 1, 64),
        ("blk.0.attn_norm.weight", 1, 64),
        ("blk.0.attn_qkv.weight", 128, 64),
        ("blk.0.attn_output.weight", 64, 64),
        ("blk.0.ffn_norm.weight", 1, 64),
        ("blk.0.ffn_up.weight", 256, 64),
        ("blk.0.ffn_down.weight", 64, 128),
    ];
    let tensors: Tensors =
        names.map(|(name, rows, columns)| tensor(name, rows, columns)).into_iter().collect();
    assert_eq!(
        phi.check(&tensors).unwrap(),
        Found { tied_embeddings: true, rope_factors: false, bias: false }
    );
    let Gguf { metadata, tensors, .. } = Gguf::open(&WRITTEN[0].to_vec()).unwrap();
    let llama = Config::from_metadata(&metadata).unwrap();
    let bias = tensor("blk.0.attn_q.bias", 1, 8);
    let error = llama.check(&tensors.iter().cloned().chain([bias]).collect()).unwrap_err().to_string();
    assert!(error.contains("tensor \"blk.0.attn_k.bias\": expected a tensor of this name"), "{error}");
}

#[test]
fn every_architecture_is_found_by_its_name() {
    for architecture in Architecture::ALL {
        assert_eq!(Architecture::named(architecture.traits().name).unwrap(), architecture);
    }
    let long = Architecture::named(&"a".repeat(1 << 20)).unwrap_err().to_string();
    assert!(long.len() < 400 && long.contains(&gguf::shown(&"a".repeat(200))));
}
