//! What a vocabulary is made of, and the limits of it.

use crate::error::{Error, at_most};

/// Most tokens of a vocabulary.
pub const TOKENS_MAX: usize = 512 << 10;
/// Most bytes of one token.
pub const TOKEN_BYTES_MAX: usize = 1 << 10;
/// Most bytes of all tokens together.
pub const TOKENS_BYTES_MAX: usize = 32 << 20;
/// Most merges.
pub const MERGES_MAX: usize = 1 << 20;
/// Most bytes of all tokens that are looked for as they stand (control and user-defined ones).
pub const SPECIAL_BYTES_MAX: usize = 2 << 20;
/// Most bytes of one text.
pub const TEXT_BYTES_MAX: usize = 2 << 20;

/// The plain parts of a vocabulary, as a GGUF file has them.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How text is cut and joined.
    pub kind: Kind,
    /// The tokens in the file's own writing: `Ġ` for a space in byte-level BPE, `▁` in SentencePiece.
    pub tokens: Vec<Vec<u8>>,
    /// The type of each token. If empty, all are [`TokenType::Normal`].
    pub token_types: Vec<TokenType>,
    /// The tokens with a role.
    pub ids: SpecialIds,
    /// [`Vocabulary::framed`](crate::Vocabulary::framed) begins with `bos`.
    pub add_bos: bool,
    /// [`Vocabulary::framed`](crate::Vocabulary::framed) ends with `eos`.
    pub add_eos: bool,
    /// SentencePiece only: where a space is put before the text.
    pub space_prefix: SpacePrefix,
    /// White space beside some special tokens that belongs to them.
    pub strips: Vec<(u32, Strip)>,
    /// Text is brought into Unicode's normal form C first. GGUF files never ask for it.
    pub nfc: bool,
}

impl Parts {
    /// The parts in a Hugging Face `tokenizer.json`. Which tokens have a role stands in other files: `ids` says it.
    ///
    /// # Errors
    /// [`Error`], if a limit is exceeded or the file says what we do not have.
    pub fn from_tokenizer_json(bytes: &[u8], ids: SpecialIds) -> Result<Self, Error> {
        super::json::parts(bytes, ids)
    }
}

/// On which sides a special token takes the white space beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Strip {
    /// What stands before it.
    pub left: bool,
    /// What stands after it.
    pub right: bool,
}

/// The algorithm of a vocabulary.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Byte-level BPE (`tokenizer.ggml.model` = `gpt2`).
    Gpt2 {
        /// Which two tokens join, the first ones first: `left right`, with one space between.
        merges: Vec<String>,
        /// How text is cut into words.
        pre_tokenizer: PreTokenizer,
        /// A word that is a token is that token, whatever the merges make of it. For a GGUF file,
        /// [`PreTokenizer::takes_whole_words`].
        whole_words: bool,
    },
    /// SentencePiece's BPE (`tokenizer.ggml.model` = `llama`): neighbours join if a token is written so,
    /// the one with the highest score first. Characters without a token are written byte by byte.
    Llama {
        /// The score of each token.
        scores: Vec<f32>,
    },
    /// The same with a list of merges in the place of scores, as `tokenizer.json` has it.
    LlamaMerges {
        /// Which two tokens join, the first ones first.
        merges: Vec<(String, String)>,
    },
}

/// Where SentencePiece puts a space before the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpacePrefix {
    /// Nowhere.
    Never,
    /// Before the text, unless it begins with a special token or a space.
    First,
    /// Before the text, and after each special token. What GGUF calls `add_space_prefix`.
    #[default]
    Always,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// A piece of text.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// Steers the model; text never becomes one unless asked.
    Control,
    /// Added by the publisher: found in every text as it stands.
    UserDefined,
    /// A place that is kept free.
    Unused,
    /// One byte, `<0x0A>`.
    Byte,
}

impl TokenType {
    /// The type with GGUF's number (`tokenizer.ggml.token_type`); 0, "undefined", is taken as normal.
    #[must_use]
    pub const fn from_gguf(number: i32) -> Option<Self> {
        match number {
            0 | 1 => Some(Self::Normal),
            2 => Some(Self::Unknown),
            3 => Some(Self::Control),
            4 => Some(Self::UserDefined),
            5 => Some(Self::Unused),
            6 => Some(Self::Byte),
            _ => None,
        }
    }

    /// It steers, and says nothing: decoding leaves it out unless asked.
    pub(crate) const fn is_silent(self) -> bool {
        matches!(self, Self::Control | Self::Unknown | Self::Unused)
    }
}

/// The tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot: Option<u32>,
    /// Stands for what has no token.
    pub unk: Option<u32>,
    /// Fills a batch.
    pub pad: Option<u32>,
}

/// How text is cut into words before BPE joins the bytes of each, by llama.cpp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PreTokenizer {
    /// `default`: what files without a name get.
    Default,
    /// `gpt-2`, and others that cut the same.
    Gpt2,
    /// `llama-bpe`: Llama 3.
    Llama3,
    /// `qwen2`.
    Qwen2,
    /// `smollm`, `starcoder`: like GPT-2, with each digit a word.
    Smollm,
    /// `tekken`: Mistral.
    Tekken,
    /// `gpt-4o`: o200k.
    Gpt4o,
    /// `deepseek-v3`.
    DeepseekV3,
}

impl PreTokenizer {
    /// The names of `tokenizer.ggml.pre` that [`from_name`](Self::from_name) knows.
    pub const NAMES: &str = "default, gpt-2, phi-2, mpt, olmo, jais, llama-bpe, llama3, llama-v3, falcon3, \
        smaug-bpe, dbrx, qwen2, stablelm2, deepseek-r1-qwen, megrez, smollm, starcoder, refact, command-r, \
        codeshell, exaone, minerva-7b, tekken, gpt-4o, llama4, deepseek-v3";

    /// The pre-tokeniser that `tokenizer.ggml.pre` names.
    ///
    /// # Errors
    /// [`Error::UnknownPreTokenizer`].
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "default" => Self::Default,
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" => Self::Gpt2,
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "smaug-bpe" | "dbrx" => Self::Llama3,
            "qwen2" | "stablelm2" | "deepseek-r1-qwen" | "megrez" => Self::Qwen2,
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
                Self::Smollm
            }
            "tekken" => Self::Tekken,
            "gpt-4o" | "llama4" => Self::Gpt4o,
            "deepseek-v3" => Self::DeepseekV3,
            _ => {
                let got = crate::error::cut(name);
                return Err(Error::UnknownPreTokenizer { got, supported: Self::NAMES });
            }
        })
    }

    /// A word that is a token is that token, whatever the merges would make of it: what llama.cpp does for
    /// these names. A GGUF file does not say it.
    #[must_use]
    pub const fn takes_whole_words(self) -> bool {
        matches!(self, Self::Llama3 | Self::Tekken)
    }
}

/// Check all that can be checked without looking at what tokens mean.
pub(crate) fn check(parts: &Parts) -> Result<(), Error> {
    let count = parts.tokens.len();
    at_most("tokens of the vocabulary", TOKENS_MAX, count)?;
    let longest = parts.tokens.iter().map(Vec::len).max().unwrap_or(0);
    at_most("bytes of a token", TOKEN_BYTES_MAX, longest)?;
    at_most("bytes of all tokens", TOKENS_BYTES_MAX, parts.tokens.iter().map(Vec::len).sum())?;
    if !parts.token_types.is_empty() && parts.token_types.len() != count {
        return Err(Error::UnequalLists { what: "token types", tokens: count, got: parts.token_types.len() });
    }
    check_kind(&parts.kind, count)?;
    check_ids(&parts.ids, count)
}

fn check_kind(kind: &Kind, count: usize) -> Result<(), Error> {
    match kind {
        Kind::Gpt2 { merges, .. } => at_most("merges", MERGES_MAX, merges.len()),
        Kind::LlamaMerges { merges } => at_most("merges", MERGES_MAX, merges.len()),
        Kind::Llama { scores } if scores.len() != count => {
            Err(Error::UnequalLists { what: "scores", tokens: count, got: scores.len() })
        }
        Kind::Llama { scores } => match (0..).zip(scores).find(|(_, score)| !score.is_finite()) {
            Some((token, _)) => Err(Error::BadScore { token }),
            None => Ok(()),
        },
    }
}

fn check_ids(ids: &SpecialIds, tokens: usize) -> Result<(), Error> {
    let named = [("bos", ids.bos), ("eos", ids.eos), ("eot", ids.eot), ("unk", ids.unk), ("pad", ids.pad)];
    for (what, id) in named {
        match id {
            Some(got) if got as usize >= tokens => return Err(Error::UnknownToken { what, tokens, got }),
            _ => {}
        }
    }
    Ok(())
}
