//! A small language model with a vocabulary of bytes and random weights.

#[path = "../../../nabla-engine/tests/gguf/file.rs"]
#[expect(dead_code, reason = "the engine's tests need more of it")]
mod file;

use file::File;
use nabla_client::publish::Package;
use nabla_engine::{Engine, Kernels, Limits, language::TextModel};
use nabla_node::language::manifest_of_gguf;
use nabla_types::RepoName;

use crate::network::ROYALTY;

const BLOCKS: u32 = 2;
const WIDTH: usize = 64;
const INNER: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const SIZE: usize = WIDTH / HEADS;
pub(crate) const CONTEXT: u32 = 600;
/// `<unk>`, `<s>`, `</s>`, the bytes and the space.
const VOCABULARY: usize = 3 + 256 + 1;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ";

pub(crate) fn small() -> RepoName {
    "alice/small".parse().expect("a repository's name")
}

/// The model whose weights come from this seed, as a file.
pub(crate) fn gguf(seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut file = vocabulary(keys());
    for block in 0..BLOCKS {
        for (name, rows, columns) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", KV_HEADS * SIZE, WIDTH),
            ("attn_v", KV_HEADS * SIZE, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", INNER, WIDTH),
            ("ffn_up", INNER, WIDTH),
            ("ffn_down", WIDTH, INNER),
        ] {
            file = numbers.matrix(file, &format!("blk.{block}.{name}.weight"), rows, columns);
        }
        for name in ["attn_norm", "ffn_norm"] {
            file = ones(file, &format!("blk.{block}.{name}.weight"));
        }
    }
    file = numbers.matrix(file, "token_embd.weight", VOCABULARY, WIDTH);
    file = numbers.matrix(file, "output.weight", VOCABULARY, WIDTH);
    ones(file, "output_norm.weight").build()
}

/// It, loaded.
pub(crate) fn model(seed: u64) -> TextModel {
    let engine = Engine::new(Kernels::Auto).expect("an engine");
    TextModel::load(&engine, &gguf(seed), &Limits::default()).expect("a model")
}

/// It, to be published.
pub(crate) fn package(seed: u64) -> Package {
    let file = gguf(seed);
    let (manifest, graph, weights) =
        manifest_of_gguf(&file, &model(seed), &Limits::default()).expect("a manifest");
    let files = vec![("model.gguf".to_owned(), file)];
    Package { manifest, graph, weights, files, summary: String::new(), royalty: ROYALTY }
}

struct Numbers(u64);

impl Numbers {
    /// From -0.3 to 0.3.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.6
    }

    fn matrix(&mut self, file: File, name: &str, rows: usize, columns: usize) -> File {
        let bytes: Vec<u8> = (0..rows * columns).flat_map(|_| self.next().to_le_bytes()).collect();
        file.tensor(name, &[columns as u64, rows as u64], 0, &bytes)
    }
}

fn keys() -> File {
    let sizes = [
        ("block_count", BLOCKS as usize),
        ("context_length", CONTEXT as usize),
        ("embedding_length", WIDTH),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ];
    let file = File::new().text("general.architecture", "llama").text("general.name", "small");
    let size = |file: File, (key, size): (&str, usize)| {
        file.u32(&format!("llama.{key}"), u32::try_from(size).expect("small"))
    };
    sizes.into_iter().fold(file, size).f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
}

fn vocabulary(file: File) -> File {
    let bytes: Vec<String> = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>")).collect();
    let tokens: Vec<&str> =
        ["<unk>", "<s>", "</s>"].into_iter().chain(bytes.iter().map(String::as_str)).chain(["▁"]).collect();
    let types: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).chain([1]).collect();
    let types: Vec<u8> = types.into_iter().flat_map(i32::to_le_bytes).collect();
    let scores = [0_u8; VOCABULARY * 4];
    file.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .array("tokenizer.ggml.token_type", 5, VOCABULARY as u64, &types)
        .array("tokenizer.ggml.scores", 6, VOCABULARY as u64, &scores)
        .text("tokenizer.chat_template", TEMPLATE)
}

fn ones(file: File, name: &str) -> File {
    let bytes: Vec<u8> = [1.0_f32; WIDTH].into_iter().flat_map(f32::to_le_bytes).collect();
    file.tensor(name, &[WIDTH as u64], 0, &bytes)
}
