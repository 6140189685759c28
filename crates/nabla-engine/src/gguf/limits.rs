//! How large the parts of a GGUF header may be. Each is a few times what published models need.

/// Longest header: metadata and the table of tensors. Gemma 3 (262 144 tokens with scores and types) needs 6 MiB,
/// vocabularies with merges up to 20 MiB.
pub const HEADER_BYTES_MAX: u64 = 64 << 20;

/// Most keys. Published files have 20 to 60.
pub const KEYS_MAX: u64 = 4096;

/// Longest key, in bytes. The format allows 65 535; the longest one in use has fewer than 80.
pub const KEY_BYTES_MAX: u64 = 1024;

/// Longest text, in bytes: templates of chats have up to 20 KiB, licences 40 KiB.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Key of a whole `tokenizer.json`, which a model that was a folder of Hugging Face's has in the place of tokens.
pub const TOKENIZER_JSON: &str = "tokenizer.huggingface.json";

/// Longest text under [`TOKENIZER_JSON`], in bytes: that of Gemma 3 has 33 MB, those of Llama 3 and Qwen 2 have 7 to 17.
pub const TOKENIZER_BYTES_MAX: u64 = 48 << 20;

/// Most elements of an array: vocabularies have up to 300 000 tokens, and up to 600 000 merges.
pub const ARRAY_LENGTH_MAX: u64 = 1 << 20;

/// Most tensors. A model of 126 layers has 1138.
pub const TENSORS_MAX: u64 = 1 << 16;

/// Longest name of a tensor, in bytes. ggml takes fewer than 64, its forks 128.
pub const NAME_BYTES_MAX: u64 = 128;

/// Greatest alignment of tensors. Files have 32; a page of memory is 4 KiB to 64 KiB.
pub const ALIGNMENT_MAX: u64 = 1 << 16;

/// Bytes that one read of the header takes: what is read beyond its end is less.
pub(super) const READ_BYTES: usize = 64 << 10;
