//! A language model with its vocabulary and its chat template: text in, tokens out.
//!
//! # Rules
//! - What a file leaves unsaid is as llama.cpp has it, which wrote most files: whether a text begins with a token of
//!   its own, which tokens end an answer.
//! - A vocabulary stands in the keys of GGUF, or, where these name no model of one, in a whole `tokenizer.json`.
//! - A caller's text never becomes a control token, also not within a conversation: only what the model's own
//!   template writes between the messages does.
//!
//! # When things go wrong
//! A file without a vocabulary is refused when it is loaded. One without a chat template is loaded, and refuses
//! conversations.

use std::sync::{Arc, OnceLock};

use nabla_text::{
    ChatTemplate, GrammarVocabulary, Kind, Message, Parts, PreTokenizer, Render, Special, SpecialIds,
    TokenType, Vocabulary, vocabulary::SpacePrefix,
};

use super::{Config, LanguageModel};
use crate::gguf::{Gguf, Metadata, TOKENIZER_JSON};
use crate::{Engine, Error, Limits, ReadAt};

/// Control tokens that end an answer, by the names that published models give them.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<EOT>",
    "_<EOT>",
];

/// Weights, vocabulary and chat template of one language model. A clone is the same model.
#[derive(Debug, Clone)]
pub struct TextModel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    model: LanguageModel,
    vocabulary: Vocabulary,
    template: Option<ChatTemplate>,
    ends: Vec<u32>,
    /// Made for the first answer that is constrained.
    grammars: OnceLock<Result<GrammarVocabulary, nabla_text::Error>>,
}

impl TextModel {
    /// Read a GGUF file and order its weights for the kernels.
    ///
    /// # Errors
    /// As [`LanguageModel::load`]; [`Error::Gguf`] and [`Error::Text`] for a vocabulary that is missing, not
    /// supported or contradicts itself, and for a template that is not well-formed.
    pub fn load(engine: &Engine, source: &dyn ReadAt, limits: &Limits) -> Result<Self, Error> {
        let gguf = Gguf::open(source)?;
        let metadata = &gguf.metadata;
        let is_json = !metadata.contains("tokenizer.ggml.model") && metadata.contains(TOKENIZER_JSON);
        let parts = if is_json { json_parts(metadata)? } else { parts(metadata)? };
        let vocabulary = Vocabulary::new(parts)?;
        let template = gguf.metadata.optional("tokenizer.chat_template", Metadata::str)?;
        let template = template.map(ChatTemplate::new).transpose()?;
        let model = LanguageModel::of_gguf(engine, &gguf, source, limits)?;
        let ends = ends(&vocabulary);
        Ok(Self(Arc::new(Inner { model, vocabulary, template, ends, grammars: OnceLock::new() })))
    }

    /// The model without its text.
    #[must_use]
    pub fn model(&self) -> &LanguageModel {
        &self.0.model
    }

    /// Its sizes and rules.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.0.model.config()
    }

    /// Its vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.0.vocabulary
    }

    /// Its chat template, if its file has one.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.0.template.as_ref()
    }

    /// Tokens that end an answer.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.0.ends
    }

    /// The vocabulary, prepared for grammars.
    ///
    /// # Errors
    /// [`Error::Text`] if no token ends a text, or the vocabulary is too large for grammars.
    pub(super) fn grammars(&self) -> Result<&GrammarVocabulary, Error> {
        let prepared = self.0.grammars.get_or_init(|| GrammarVocabulary::new(&self.0.vocabulary));
        prepared.as_ref().map_err(|error| error.clone().into())
    }

    /// Tokens of a conversation, up to where the model's answer begins.
    ///
    /// # Errors
    /// [`Error::Text`] if there is no template, or it refuses the messages.
    pub fn chat_prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let template = self.0.template.as_ref().ok_or(nabla_text::Error::NoTemplate)?;
        let ids = self.0.vocabulary.ids();
        let (bos, eos) = (self.name(ids.bos), self.name(ids.eos));
        let render =
            Render { add_generation_prompt: true, bos_token: &bos, eos_token: &eos, ..Render::of(messages) };
        Ok(self.begun(template.prompt(&self.0.vocabulary, &render)?))
    }

    /// Tokens of a text that the model goes on with.
    ///
    /// # Errors
    /// [`Error::Text`] for a text that is too long, or has a character that no token can write.
    pub fn text_prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.begun(self.0.vocabulary.encode(text, Special::AsText)?))
    }

    /// With the token that begins a text, where the vocabulary asks for one, and without one that ends it.
    fn begun(&self, tokens: Vec<u32>) -> Vec<u32> {
        let length = tokens.len();
        let mut framed = self.0.vocabulary.framed(tokens);
        let first = self.0.vocabulary.ids().bos.filter(|bos| framed.first() == Some(bos));
        framed.truncate(length + usize::from(first.is_some()));
        framed
    }

    /// How a template writes a token.
    fn name(&self, token: Option<u32>) -> String {
        let piece = token.and_then(|token| self.0.vocabulary.piece(token)).unwrap_or_default();
        String::from_utf8_lossy(piece).into_owned()
    }

    /// Multiply-adds of one token in products with weights, whatever its position.
    #[must_use]
    pub fn macs_per_token(&self) -> u64 {
        self.0.model.macs_per_token()
    }

    /// Bytes of memory that its weights take.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.0.model.resident_bytes()
    }
}

fn ends(vocabulary: &Vocabulary) -> Vec<u32> {
    let ids = vocabulary.ids();
    let count = u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
    let is_end = |token: &u32| {
        let is_control = vocabulary.token_type(*token) == Some(TokenType::Control);
        let named =
            || vocabulary.piece(*token).is_some_and(|piece| ENDS.iter().any(|end| end.as_bytes() == piece));
        ids.eos == Some(*token) || ids.eot == Some(*token) || (is_control && named())
    };
    (0..count).filter(is_end).collect()
}

/// The parts of a whole `tokenizer.json`. Roles stand in GGUF's keys.
fn json_parts(metadata: &Metadata) -> Result<Parts, Error> {
    let flag = |key: &str| metadata.optional(&format!("tokenizer.ggml.{key}"), Metadata::bool);
    let ids = special_ids(metadata, false)?;
    let parts = Parts::from_tokenizer_json(metadata.str(TOKENIZER_JSON)?.as_bytes(), ids)?;
    let add_bos = flag("add_bos_token")?.unwrap_or(parts.add_bos);
    let add_eos = flag("add_eos_token")?.unwrap_or(parts.add_eos);
    Ok(Parts { add_bos, add_eos, ..parts })
}

/// The parts of a vocabulary in GGUF's keys.
fn parts(metadata: &Metadata) -> Result<Parts, Error> {
    let tokens = metadata.strs("tokenizer.ggml.tokens")?;
    let tokens: Vec<Vec<u8>> = tokens.into_iter().map(|token| token.as_bytes().to_vec()).collect();
    let kind = kind(metadata)?;
    let is_sentences = matches!(kind, Kind::Llama { .. });
    let begins = match &kind {
        Kind::Gpt2 { pre_tokenizer, .. } => pre_tokenizer.takes_whole_words(),
        Kind::Llama { .. } | Kind::LlamaMerges { .. } => true,
    };
    let flag = |key: &str, unsaid: bool| {
        let said = metadata.optional(&format!("tokenizer.ggml.{key}"), Metadata::bool)?;
        Ok::<_, Error>(said.unwrap_or(unsaid))
    };
    let prefixed = flag("add_space_prefix", is_sentences)?;
    Ok(Parts {
        ids: special_ids(metadata, is_sentences)?,
        token_types: token_types(metadata)?,
        add_bos: flag("add_bos_token", begins)?,
        add_eos: flag("add_eos_token", false)?,
        space_prefix: if prefixed { SpacePrefix::Always } else { SpacePrefix::Never },
        strips: Vec::new(),
        nfc: false,
        tokens,
        kind,
    })
}

fn kind(metadata: &Metadata) -> Result<Kind, Error> {
    match metadata.str("tokenizer.ggml.model")? {
        "llama" => Ok(Kind::Llama { scores: metadata.f32s("tokenizer.ggml.scores")? }),
        "gpt2" => {
            let name = metadata.optional("tokenizer.ggml.pre", Metadata::str)?.unwrap_or("default");
            let pre_tokenizer = PreTokenizer::from_name(name)?;
            let merges = metadata.strs("tokenizer.ggml.merges")?.into_iter().map(str::to_owned).collect();
            Ok(Kind::Gpt2 { merges, pre_tokenizer, whole_words: pre_tokenizer.takes_whole_words() })
        }
        other => Err(Error::Unsupported {
            what: "tokenizer",
            got: crate::gguf::shown(other),
            hint: "\"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece) are taken",
        }),
    }
}

fn token_types(metadata: &Metadata) -> Result<Vec<TokenType>, Error> {
    let key = "tokenizer.ggml.token_type";
    let numbers = metadata.optional(key, Metadata::i32s)?.unwrap_or_default();
    let kind = |number: i32| {
        TokenType::from_gguf(number).ok_or_else(|| Error::Gguf {
            place: format!("key {key:?}"),
            expected: "types from 0 to 6".to_owned(),
            got: number.to_string(),
        })
    };
    numbers.into_iter().map(kind).collect()
}

/// What a SentencePiece file leaves unsaid is where that library puts it.
fn special_ids(metadata: &Metadata, is_sentences: bool) -> Result<SpecialIds, Error> {
    let id = |key: &str, unsaid: Option<u32>| {
        let said = metadata.optional(&format!("tokenizer.ggml.{key}_token_id"), Metadata::u32)?;
        Ok::<_, Error>(said.or(unsaid.filter(|_| is_sentences)))
    };
    Ok(SpecialIds {
        bos: id("bos", Some(1))?,
        eos: id("eos", Some(2))?,
        eot: id("eot", None)?,
        unk: id("unknown", Some(0))?,
        pad: id("padding", None)?,
    })
}
