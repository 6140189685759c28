//! The vocabulary, its special tokens and the chat template, as the keys of a GGUF header.
//!
//! `tokenizer.json` is kept whole, as a text. Which tokens have a role, and the template, stand in files beside it.

use nabla_text::{Parts, SpecialIds, template::TEMPLATE_BYTES_MAX};
use serde_json::{Map, Value};

use super::files::{self, Files};
use super::json::{self, Json};
use crate::Error;
use crate::gguf::{TOKENIZER_BYTES_MAX, TOKENIZER_JSON, Values};

/// Longest `tokenizer_config.json`: Gemma 3's lists its 6000 added tokens in 1.2 MB.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;
/// Longest `generation_config.json`: published ones have fewer than 1 KiB.
const GENERATION_BYTES_MAX: u64 = 1 << 20;

const SETTINGS: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";

pub(super) fn write(files: &dyn Files, config: &Json<'_>, values: &mut Values) -> Result<(), Error> {
    let name = "tokenizer.json";
    let bytes = files::read(files, name, "bytes of tokenizer.json", TOKENIZER_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| super::missing(name, "save the tokenizer in its fast form"))?;
    let text = String::from_utf8(bytes).map_err(|_| super::wrong(name, "a text in UTF-8", "other bytes"))?;
    let tokens = Parts::from_tokenizer_json(text.as_bytes(), SpecialIds::default())?.tokens;
    values.text(TOKENIZER_JSON, &text);

    let settings = object(files, SETTINGS, "bytes of tokenizer_config.json", SETTINGS_BYTES_MAX)?;
    let settings = Json::new(SETTINGS, &settings);
    let generation = object(files, GENERATION, "bytes of generation_config.json", GENERATION_BYTES_MAX)?;
    let generation = Json::new(GENERATION, &generation);
    let roles = Roles { tokens: &tokens, settings, config: *config };
    let eos = roles.id("eos");
    let ids =
        [("bos", roles.id("bos")), ("eos", eos), ("unknown", roles.id("unk")), ("padding", roles.id("pad"))];
    for (name, id) in ids {
        id.into_iter().for_each(|id| values.u32(&format!("tokenizer.ggml.{name}_token_id"), id));
    }
    // Of several ends of an answer, one more has a key; others are known by their names.
    let ends = [generation.get("eos_token_id"), config.get("eos_token_id")];
    let turn = ends.into_iter().flatten().flat_map(|ends| roles.ids(ends)).find(|id| Some(*id) != eos);
    turn.into_iter().for_each(|id| values.u32("tokenizer.ggml.eot_token_id", id));
    for key in ["add_bos_token", "add_eos_token"] {
        if let Some(flag) = settings.flag(key)? {
            values.bool(&format!("tokenizer.ggml.{key}"), flag);
        }
    }
    if let Some(template) = template(files, &settings)? {
        values.text("tokenizer.chat_template", &template);
    }
    Ok(())
}

/// A file that may be missing, which is then empty.
fn object(
    files: &dyn Files,
    name: &'static str,
    what: &'static str,
    max: u64,
) -> Result<Map<String, Value>, Error> {
    match files::read(files, name, what, max)? {
        Some(bytes) => json::parse(name, &bytes),
        None => Ok(Map::new()),
    }
}

/// Which tokens have a role.
struct Roles<'a> {
    tokens: &'a [Vec<u8>],
    settings: Json<'a>,
    config: Json<'a>,
}

impl Roles<'_> {
    /// By its name in the tokenizer's settings, else by its number in the model's.
    fn id(&self, role: &str) -> Option<u32> {
        let name = self.settings.get(&format!("{role}_token")).and_then(|token| match token {
            Value::Object(token) => token.get("content").and_then(Value::as_str),
            token => token.as_str(),
        });
        let named = name.and_then(|name| self.tokens.iter().position(|token| token == name.as_bytes()));
        match named {
            Some(id) => u32::try_from(id).ok(),
            None => self.config.get(&format!("{role}_token_id")).and_then(|id| self.ids(id).next()),
        }
    }

    /// One number or several, of those that are tokens: some configurations have -1 for none.
    fn ids<'v>(&self, value: &'v Value) -> impl Iterator<Item = u32> + use<'v> {
        let count = self.tokens.len();
        let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter();
        let ids = ids.filter_map(|id| u32::try_from(id.as_u64()?).ok());
        ids.filter(move |id| (*id as usize) < count)
    }
}

/// Of its own file, or of the settings; of several, the one called "default".
fn template(files: &dyn Files, settings: &Json<'_>) -> Result<Option<String>, Error> {
    let name = "chat_template.jinja";
    if let Some(bytes) = files::read(files, name, "bytes of chat_template.jinja", TEMPLATE_BYTES_MAX as u64)?
    {
        let text = String::from_utf8(bytes);
        return text.map(Some).map_err(|_| super::wrong(name, "a text in UTF-8", "other bytes"));
    }
    let key = "chat_template";
    match settings.get(key) {
        None => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(Value::Array(several)) => {
            let text = |template: &Value, key: &str| template.get(key)?.as_str().map(str::to_owned);
            let is_default = |template: &&Value| text(template, "name").as_deref() == Some("default");
            Ok(several.iter().find(is_default).and_then(|template| text(template, "template")))
        }
        Some(_) => Err(settings.wrong(key, "a text, or a list of named ones", "another value")),
    }
}
