//! A small model with a vocabulary of bytes and random weights.

use crate::gguf::{quantise_q8_0, tests::file::File};
use crate::kernels::tests::Numbers;
use crate::language::TextModel;
use crate::{Engine, Kernels, Limits};

const BLOCKS: u32 = 2;
const WIDTH: usize = 64;
const INNER: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const SIZE: usize = WIDTH / HEADS;
pub(crate) const CONTEXT: usize = 400;
/// `<unk>`, `<s>`, `</s>`, the bytes and the space.
const VOCABULARY: usize = 3 + 256 + 1;
pub(crate) const END: u32 = 2;

const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ";

/// The token of a byte.
pub(crate) fn byte(byte: u8) -> u32 {
    3 + u32::from(byte)
}

/// The model, loaded.
pub(crate) fn text_model(kernels: Kernels, threads: usize) -> TextModel {
    let engine = Engine::with_threads(kernels, threads).unwrap();
    TextModel::load(&engine, &file().build(), &Limits::default()).unwrap()
}

/// The model, as a file.
fn file() -> File {
    let mut numbers = Numbers::new(4);
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
            file = matrix(file, &mut numbers, &format!("blk.{block}.{name}.weight"), rows, columns);
        }
        for name in ["attn_norm", "ffn_norm"] {
            file = ones(file, &format!("blk.{block}.{name}.weight"));
        }
    }
    file = matrix(file, &mut numbers, "token_embd.weight", VOCABULARY, WIDTH);
    file = matrix(file, &mut numbers, "output.weight", VOCABULARY, WIDTH);
    ones(file, "output_norm.weight")
}

fn keys() -> File {
    let sizes = [
        ("block_count", BLOCKS as usize),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ];
    let file = File::new().text("general.architecture", "llama").text("general.name", "small");
    let size = |file: File, (key, size): (&str, usize)| {
        file.u32(&format!("llama.{key}"), u32::try_from(size).unwrap())
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

fn matrix(file: File, numbers: &mut Numbers, name: &str, rows: usize, columns: usize) -> File {
    let values: Vec<f32> = numbers.floats(rows * columns).into_iter().map(|x| x * 0.3).collect();
    let mut bytes = vec![0; values.len() / 32 * 34];
    quantise_q8_0(&values, &mut bytes).unwrap();
    file.tensor(name, &[columns as u64, rows as u64], 8, &bytes)
}

fn ones(file: File, name: &str) -> File {
    let bytes: Vec<u8> = [1.0_f32; WIDTH].into_iter().flat_map(f32::to_le_bytes).collect();
    file.tensor(name, &[WIDTH as u64], 0, &bytes)
}
