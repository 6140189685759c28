//! A Hugging Face `tokenizer.json`, read into [`Parts`].
//!
//! # Rules
//! - The model is BPE. Cut by `ByteLevel`, it is [`Kind::Gpt2`]; with byte fallback or `▁` for spaces,
//!   [`Kind::LlamaMerges`].
//! - What a file says and we do not have is refused by its name. Nothing that changes tokens is passed over.
//! - Ids without a token are unused tokens that no text becomes.

use serde_json::{Map, Value};

use super::parts::{
    Kind, MERGES_MAX, Parts, PreTokenizer, SpacePrefix, SpecialIds, Strip, TOKENS_MAX, TokenType,
};
use crate::error::{Error, at_most, cut};

/// Most bytes of a `tokenizer.json`.
const FILE_BYTES_MAX: usize = 64 << 20;

type Object = Map<String, Value>;

pub(super) fn parts(bytes: &[u8], ids: SpecialIds) -> Result<Parts, Error> {
    at_most("bytes of tokenizer.json", FILE_BYTES_MAX, bytes.len())?;
    let file: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    let file = file.as_object().ok_or_else(|| bad("expected an object"))?;
    let model = file.get("model").and_then(Value::as_object).ok_or_else(|| bad("expected a model"))?;
    check_model(model)?;
    let added = added(file)?;
    let mut table = Table::new(model, &added)?;
    let normal = normalizer(file.get("normalizer"))?;
    let cut = pre_tokenizer(file.get("pre_tokenizer"))?;
    let merges = merges(model)?;
    let unknown = model.get("unk_token").and_then(Value::as_str).and_then(|name| table.find(name));
    let ids = SpecialIds { unk: ids.unk.or(unknown), ..ids };
    if let Some(unknown) = unknown {
        table.types[unknown as usize] = TokenType::Unknown;
    }
    let (kind, space_prefix) = match cut {
        Cut::Words(_) if normal.spaces_written => return Err(unsupported("normalizer", "Replace", NO_BOTH)),
        Cut::Words(pre_tokenizer) => {
            let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
            let whole_words = is_set(model, "ignore_merges");
            (Kind::Gpt2 { merges, pre_tokenizer, whole_words }, SpacePrefix::Never)
        }
        Cut::Nothing { prefix } => {
            if is_set(model, "byte_fallback") {
                table.mark_bytes();
            }
            (Kind::LlamaMerges { merges }, prefix.or(normal.prefix).unwrap_or(SpacePrefix::Never))
        }
    };
    let (add_bos, add_eos) = ends(file.get("post_processor"), &table, &ids);
    let strips = added.iter().map(|token| (token.id, token.strip)).collect();
    let Table { tokens, types: token_types } = table;
    Ok(Parts { kind, tokens, token_types, ids, add_bos, add_eos, space_prefix, strips, nfc: normal.nfc })
}

const NO_BOTH: &str = "with byte-level BPE, spaces are not replaced";

fn bad(reason: impl Into<String>) -> Error {
    Error::BadTokenizerJson { reason: reason.into() }
}

fn unsupported(part: &'static str, got: &str, hint: &'static str) -> Error {
    Error::UnsupportedTokenizer { part, got: cut(got), hint }
}

fn type_of(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn is_set(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool) == Some(true)
}

fn check_model(model: &Object) -> Result<(), Error> {
    // Old files leave the type out, and only BPE has merges.
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if kind != "BPE" || !model.contains_key("merges") {
        return Err(unsupported("model", kind, "BPE is"));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        match model.get(key).and_then(Value::as_str) {
            None | Some("") => {}
            Some(_) => return Err(unsupported("model", key, "words have no prefixes and suffixes")),
        }
    }
    match model.get("dropout").and_then(Value::as_f64) {
        Some(dropout) if dropout != 0.0 => Err(unsupported("model", "dropout", "tokens are not random")),
        _ => Ok(()),
    }
}

/// A token of `added_tokens`.
struct Added<'a> {
    id: u32,
    name: &'a str,
    special: bool,
    strip: Strip,
}

fn added(file: &Object) -> Result<Vec<Added<'_>>, Error> {
    let list = file.get("added_tokens").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    at_most("added tokens", TOKENS_MAX, list.len())?;
    let read = |token: &'_ Value| -> Option<(u32, bool)> {
        let id = u32::try_from(token.get("id")?.as_u64()?).ok()?;
        Some((id, token.get("single_word").and_then(Value::as_bool) == Some(true)))
    };
    let mut tokens = Vec::with_capacity(list.len());
    for token in list {
        let (Some((id, single_word)), Some(name)) =
            (read(token), token.get("content").and_then(Value::as_str))
        else {
            return Err(bad("added_tokens: expected an id and a content in each"));
        };
        if single_word {
            return Err(unsupported("added token", name, "single_word is never set"));
        }
        let flag = |key| token.get(key).and_then(Value::as_bool) == Some(true);
        let strip = Strip { left: flag("lstrip"), right: flag("rstrip") };
        tokens.push(Added { id, name, special: flag("special"), strip });
    }
    Ok(tokens)
}

/// Names and types, by id.
struct Table {
    tokens: Vec<Vec<u8>>,
    types: Vec<TokenType>,
}

impl Table {
    fn new(model: &Object, added: &[Added<'_>]) -> Result<Self, Error> {
        let vocab = model.get("vocab").and_then(Value::as_object);
        let vocab = vocab.ok_or_else(|| bad("expected a vocab in the model"))?;
        let mut ids = Vec::with_capacity(vocab.len());
        for (name, id) in vocab {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            ids.push((name, id.ok_or_else(|| bad("expected a number for each token of the vocab"))?));
        }
        let last = ids.iter().map(|(_, id)| *id).chain(added.iter().map(|token| token.id)).max();
        let count = last.map_or(0, |last| last as usize + 1);
        at_most("tokens of the vocabulary", TOKENS_MAX, count)?;
        let mut table = Self { tokens: vec![vec![]; count], types: vec![TokenType::Unused; count] };
        for (name, id) in ids {
            table.set(id, name, TokenType::Normal);
        }
        for token in added {
            let kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
            table.set(token.id, token.name, kind);
        }
        Ok(table)
    }

    fn set(&mut self, id: u32, name: &str, kind: TokenType) {
        self.tokens[id as usize] = name.as_bytes().to_vec();
        self.types[id as usize] = kind;
    }

    fn find(&self, name: &str) -> Option<u32> {
        let at = self.tokens.iter().position(|token| token == name.as_bytes())?;
        u32::try_from(at).ok()
    }

    fn mark_bytes(&mut self) {
        for (name, kind) in self.tokens.iter().zip(&mut self.types) {
            if *kind == TokenType::Normal && super::byte_of(0, name).is_ok() {
                *kind = TokenType::Byte;
            }
        }
    }
}

/// Both forms: `"a b"` and `["a", "b"]`.
fn merges(model: &Object) -> Result<Vec<(String, String)>, Error> {
    let list =
        model.get("merges").and_then(Value::as_array).ok_or_else(|| bad("expected a list of merges"))?;
    at_most("merges", MERGES_MAX, list.len())?;
    let merges = list.iter().enumerate().map(|(index, merge)| {
        let sides = match merge {
            Value::String(merge) => merge.split_once(' '),
            Value::Array(sides) => match sides.as_slice() {
                [Value::String(left), Value::String(right)] => Some((&**left, &**right)),
                _ => None,
            },
            _ => None,
        };
        let (left, right) = sides.ok_or_else(|| Error::BadMerge { index, got: cut(&merge.to_string()) })?;
        Ok((left.to_owned(), right.to_owned()))
    });
    merges.collect()
}

/// What a normalizer does to text.
#[derive(Default)]
struct Normal {
    nfc: bool,
    spaces_written: bool,
    prefix: Option<SpacePrefix>,
}

fn normalizer(value: Option<&Value>) -> Result<Normal, Error> {
    let mut normal = Normal::default();
    for step in steps(value, "normalizers") {
        match type_of(step) {
            "NFC" => normal.nfc = true,
            "Prepend" if text(step, "prepend") == "▁" => normal.prefix = Some(SpacePrefix::Always),
            "Replace" if is_space_to_mark(step) => normal.spaces_written = true,
            other => return Err(unsupported("normalizer", other, "NFC, and those of SentencePiece are")),
        }
    }
    Ok(normal)
}

/// The parts of a `Sequence`, or the one thing, or nothing.
fn steps<'a>(value: Option<&'a Value>, key: &str) -> &'a [Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(value) if type_of(value) == "Sequence" => {
            value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
        }
        Some(value) => std::slice::from_ref(value),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_space_to_mark(step: &Value) -> bool {
    pattern(step, "String") == Some(" ") && text(step, "content") == "▁"
}

fn pattern<'a>(step: &'a Value, kind: &str) -> Option<&'a str> {
    step.get("pattern")?.get(kind)?.as_str()
}

/// How text is cut before it is joined.
enum Cut {
    Words(PreTokenizer),
    Nothing { prefix: Option<SpacePrefix> },
}

fn pre_tokenizer(value: Option<&Value>) -> Result<Cut, Error> {
    let steps = steps(value, "pretokenizers");
    let byte_level = steps.iter().any(|step| type_of(step) == "ByteLevel");
    if !byte_level {
        return Ok(Cut::Nothing { prefix: metaspace(steps)? });
    }
    let mut patterns = Vec::new();
    for step in steps {
        patterns.extend(word_pattern(step)?);
    }
    KNOWN.iter().find(|(known, _)| *known == patterns).map(|(_, name)| Cut::Words(*name)).ok_or_else(|| {
        Error::UnknownPreTokenizer { got: cut(&patterns.join(" then ")), supported: PreTokenizer::NAMES }
    })
}

/// The pattern of a step of a byte-level pre-tokeniser.
fn word_pattern(step: &Value) -> Result<Option<&str>, Error> {
    let flag = |key| step.get(key).and_then(Value::as_bool);
    match type_of(step) {
        "ByteLevel" if flag("add_prefix_space") == Some(true) => {
            Err(unsupported("pre_tokenizer", "add_prefix_space", "byte-level BPE puts no space before text"))
        }
        "ByteLevel" => Ok((flag("use_regex") != Some(false)).then_some(GPT2)),
        "Digits" => Ok(Some(if flag("individual_digits") == Some(true) { DIGIT } else { r"\p{N}+" })),
        "Split" => match (pattern(step, "Regex"), text(step, "behavior"), flag("invert") == Some(true)) {
            // What is kept of an inverted pattern are its matches, and ours match everything.
            (Some(pattern), "Isolated", false) | (Some(pattern), "Removed", true) => Ok(Some(pattern)),
            _ => Err(unsupported("pre_tokenizer", &step.to_string(), "isolating by a pattern is")),
        },
        other => Err(unsupported("pre_tokenizer", other, "ByteLevel, Digits and Split are")),
    }
}

/// SentencePiece: nothing is cut, but a space may come before the text.
fn metaspace(steps: &[Value]) -> Result<Option<SpacePrefix>, Error> {
    let mut prefix = None;
    for step in steps {
        match type_of(step) {
            "Metaspace" if step.get("split").and_then(Value::as_bool) == Some(false) => {
                prefix = Some(match text(step, "prepend_scheme") {
                    "never" => SpacePrefix::Never,
                    "first" => SpacePrefix::First,
                    _ => SpacePrefix::Always,
                });
            }
            // Spaces are written as marks by now, so there are none to cut at.
            "Split" if pattern(step, "String") == Some(" ") => {}
            other => {
                return Err(unsupported(
                    "pre_tokenizer",
                    other,
                    "ByteLevel, and Metaspace that does not split, are",
                ));
            }
        }
    }
    Ok(prefix)
}

const DIGIT: &str = r"\p{N}";
const GPT2: &str = "gpt-2";

/// Publishers' patterns, word for word, and which of ours cuts the same.
const KNOWN: &[(&[&str], PreTokenizer)] = &[
    (&[GPT2], PreTokenizer::Gpt2),
    (&[DIGIT, GPT2], PreTokenizer::Smollm),
    (
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        PreTokenizer::Llama3,
    ),
    (
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        PreTokenizer::Qwen2,
    ),
    (
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        PreTokenizer::Tekken,
    ),
    (
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        PreTokenizer::Gpt4o,
    ),
    (
        &[
            r"\p{N}{1,3}",
            r"[一-龥぀-ゟ゠-ヿ]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ],
        PreTokenizer::DeepseekV3,
    ),
];

/// Whether the template of the post-processor begins with `bos` and ends with `eos`.
fn ends(value: Option<&Value>, table: &Table, ids: &SpecialIds) -> (bool, bool) {
    let templates = steps(value, "processors").iter().filter(|step| type_of(step) == "TemplateProcessing");
    let single: Vec<_> = templates.filter_map(|step| step.get("single")?.as_array()).flatten().collect();
    let token = |part: Option<&&Value>| {
        let name = part?.get("SpecialToken")?.get("id")?.as_str()?;
        table.find(name)
    };
    let (first, last) = (token(single.first()), token(single.last()));
    (first.is_some() && first == ids.bos, last.is_some() && last == ids.eos)
}
