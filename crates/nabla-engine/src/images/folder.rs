//! The JSON files of a pipeline's folder, as exporters write them.
//!
//! # Rules
//! - A file has a greatest length, and is read no further.
//! - What would change the picture and is not understood is refused by its name. Only private keys (`_...`) and
//!   settings that are null or false may be unknown.
//! - A missing setting has the value that the library `diffusers` gives it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::ImageError;
use super::clip::{self, Vocabulary};
use super::scheduler::{Betas, Method, Prediction, Scheduler, Spacing};
use super::settings::{Numbers, Settings};

/// Longest JSON or text file.
const TEXT_BYTES_MAX: u64 = 8 << 20;

const INDEX: &str = "model_index.json";
const VOCABULARY: &str = "tokenizer/vocab.json";
const MERGES: &str = "tokenizer/merges.txt";
const TOKENIZER: &str = "tokenizer/tokenizer_config.json";
const SPECIAL: &str = "tokenizer/special_tokens_map.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const TEXT_ENCODER: &str = "text_encoder/config.json";
const UNET: &str = "unet/config.json";
const VAE: &str = "vae_decoder/config.json";

/// Pipelines of this shape. Others differ in their inputs or their steps.
const PIPELINES: [&str; 3] =
    ["OnnxStableDiffusionPipeline", "ORTStableDiffusionPipeline", "StableDiffusionPipeline"];
/// Parts that a picture from a prompt does not need.
const UNUSED: [&str; 6] =
    ["vae", "vae_encoder", "safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker"];
const NEEDED: [&str; 5] = ["scheduler", "text_encoder", "tokenizer", "unet", "vae_decoder"];

/// What the folder's small files say.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) settings: Settings,
    /// Channels of the latents, if a file says so.
    pub(super) channels: Option<u64>,
    /// Cells of latents along one side of a picture of the usual size, if a file says so.
    pub(super) cells: Option<u64>,
}

/// A file of the folder, whole.
pub(super) fn read(root: &Path, file: &'static str, max: u64) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Read { file, source };
    let path = root.join(file);
    // Opening something else than a file may wait for ever.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    let mut bytes = Vec::new();
    let take = |opened: File| opened.take(max.saturating_add(1)).read_to_end(&mut bytes);
    File::open(&path).and_then(take).map_err(failed)?;
    if bytes.len() as u64 > max { Err(ImageError::TooLong { file, max }) } else { Ok(bytes) }
}

/// The small files.
pub(super) fn read_texts(root: &Path) -> Result<Texts, ImageError> {
    let mut index = Object::read(root, INDEX)?;
    let (steps, guidance) = read_index(&mut index)?;
    let vocabulary = read_vocabulary(root)?;
    let scheduler = read_scheduler(Object::read(root, SCHEDULER)?)?;
    let mut text = Object::read_if_there(root, TEXT_ENCODER)?;
    let known = u32::try_from(vocabulary.tokens.len()).unwrap_or(u32::MAX);
    let rows = text.whole("vocab_size", known)?;
    if rows < known {
        return Err(text.refusal(
            "vocab_size",
            format!("at least {known}, the tokens of {VOCABULARY}"),
            rows,
        ));
    }
    let mut unet = Object::read_if_there(root, UNET)?;
    let mut vae = Object::read_if_there(root, VAE)?;
    let (scaling, cell_pixels) = read_vae(&mut vae)?;
    let numbers = Numbers { scaling, cell_pixels, steps, guidance };
    Ok(Texts {
        settings: Settings::new(vocabulary, scheduler, numbers)?,
        channels: unet.whole_if_there("in_channels")?.map(u64::from),
        cells: unet.whole_if_there("sample_size")?.map(u64::from),
    })
}

/// The class and the parts; steps and guidance of requests that name none.
fn read_index(index: &mut Object) -> Result<(u32, f32), ImageError> {
    let class = index.text("_class_name", "")?;
    if !PIPELINES.contains(&class.as_str()) {
        return Err(index.refusal("_class_name", PIPELINES.join(", "), class));
    }
    for part in NEEDED {
        let found = index.take(part);
        // A folder of PyTorch's shape names the decoder `vae`.
        if found.is_none() && part != "vae_decoder" {
            return Err(index.refusal(part, "a library and a class", "nothing"));
        }
    }
    for part in UNUSED {
        index.take(part);
    }
    let mut own = Object { file: INDEX, map: Map::new() };
    match index.take("_nabla") {
        Some(Value::Object(map)) => own.map = map,
        Some(other) => return Err(index.refusal("_nabla", "an object", other)),
        None => (),
    }
    let (steps, guidance) = (own.whole("steps", 20)?, own.number("guidance", 7.5)?);
    own.finish()?;
    index.finish_by_ref()?;
    Ok((steps, narrow(guidance)))
}

fn read_vocabulary(root: &Path) -> Result<Vocabulary, ImageError> {
    let map = Object::read(root, VOCABULARY)?.map;
    let count = map.len();
    let bad = |expected: &str, token: &str, got: &Value| {
        ImageError::setting(VOCABULARY, token.chars().take(80).collect::<String>(), expected, got.to_string())
    };
    let mut tokens = vec![None; count.min(clip::TOKENS_MAX)];
    for (token, id) in map {
        let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < count);
        match place.and_then(|place| tokens.get_mut(place)) {
            Some(place @ None) => *place = Some(token),
            Some(Some(_)) => return Err(bad("a number of its own", &token, &id)),
            None => return Err(bad("a number below that of all tokens, which are few enough", &token, &id)),
        }
    }
    let tokens: Vec<String> = tokens.into_iter().flatten().collect();
    let bytes = read(root, MERGES, TEXT_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| ImageError::Json { file: MERGES, problem: error.to_string() })?;
    let merges = clip::read_merges(&text, &tokens)?;
    let mut config = Object::read(root, TOKENIZER)?;
    let class = config.text("tokenizer_class", "CLIPTokenizer")?;
    if !["CLIPTokenizer", "CLIPTokenizerFast"].contains(&class.as_str()) {
        return Err(config.refusal("tokenizer_class", "CLIPTokenizer", class));
    }
    if !config.truth("do_lower_case", true)? {
        return Err(config.refusal("do_lower_case", "true", "false"));
    }
    // Of two files that name a special token, this one is believed, as `transformers` does.
    let mut special = Object::read_if_there(root, SPECIAL)?;
    let mut id = |key: &'static str, default: &str| {
        let name = match special.token(key)? {
            Some(name) => name,
            None => config.token(key)?.unwrap_or_else(|| default.to_owned()),
        };
        let place = tokens.iter().position(|token| *token == name);
        let place = place.and_then(|place| u32::try_from(place).ok());
        place.ok_or_else(|| config.refusal(key, format!("a token of {VOCABULARY}"), name))
    };
    let (start, end) = (id("bos_token", "<|startoftext|>")?, id("eos_token", "<|endoftext|>")?);
    let padding = id("pad_token", "<|endoftext|>")?;
    let length = config.whole("model_max_length", 77)?;
    Ok(Vocabulary { length, start, end, padding, tokens, merges })
}

fn read_scheduler(mut config: Object) -> Result<Scheduler, ImageError> {
    let class = config.text("_class_name", "")?;
    let method = match class.as_str() {
        "DDIMScheduler" => Method::Ddim,
        "EulerDiscreteScheduler" => Method::Euler,
        "PNDMScheduler" => Method::Plms,
        _ => {
            let known = "DDIMScheduler, EulerDiscreteScheduler or PNDMScheduler";
            return Err(config.refusal("_class_name", known, class));
        }
    };
    let spacing = if method == Method::Euler { "linspace" } else { "leading" };
    let clips = config.truth("clip_sample", method == Method::Ddim)?;
    let range = config.number("clip_sample_range", 1.0)?;
    let scheduler = Scheduler {
        method,
        train_steps: config.whole("num_train_timesteps", 1000)?,
        beta_start: config.number("beta_start", 0.0001)?.to_bits(),
        beta_end: config.number("beta_end", 0.02)?.to_bits(),
        betas: config.choice(
            "beta_schedule",
            "linear",
            &[
                ("linear", Betas::Linear),
                ("scaled_linear", Betas::ScaledLinear),
                ("squaredcos_cap_v2", Betas::SquaredCosine),
            ],
        )?,
        prediction: config.choice(
            "prediction_type",
            "epsilon",
            &[
                ("epsilon", Prediction::Noise),
                ("v_prediction", Prediction::Velocity),
                ("sample", Prediction::Sample),
            ],
        )?,
        spacing: config.choice(
            "timestep_spacing",
            spacing,
            &[("leading", Spacing::Leading), ("trailing", Spacing::Trailing), ("linspace", Spacing::Even)],
        )?,
        offset: config.whole("steps_offset", 0)?,
        clip: (clips && method == Method::Ddim).then(|| narrow(range).to_bits()),
        ends_clean: config.truth("set_alpha_to_one", method == Method::Ddim)?,
    };
    let skips = config.truth("skip_prk_steps", false)?;
    if method == Method::Plms && !skips {
        return Err(config.refusal("skip_prk_steps", "true", "false"));
    }
    // Each of these is what it would be if it were not there; another value is another scheduler.
    config.choice("interpolation_type", "linear", &[("linear", ())])?;
    config.choice("final_sigmas_type", "zero", &[("zero", ())])?;
    config.choice("timestep_type", "discrete", &[("discrete", ())])?;
    // These only say more of what is switched off.
    for idle in ["dynamic_thresholding_ratio", "sample_max_value"] {
        config.take(idle);
    }
    config.finish()?;
    Ok(scheduler)
}

/// A scheduler by the text of its file.
#[cfg(test)]
pub(super) fn scheduler_of(json: &[u8]) -> Result<Scheduler, ImageError> {
    read_scheduler(Object::parse(SCHEDULER, json)?)
}

/// The scaling factor, and the pixels of a cell of latents along one side.
fn read_vae(config: &mut Object) -> Result<(f32, u32), ImageError> {
    let class = config.text("_class_name", "AutoencoderKL")?;
    if class != "AutoencoderKL" {
        return Err(config.refusal("_class_name", "AutoencoderKL", class));
    }
    for other in ["shift_factor", "latents_mean", "latents_std"] {
        if let Some(value) = config.take(other) {
            return Err(config.refusal(other, "nothing", value));
        }
    }
    let scaling = config.number("scaling_factor", 0.18215)?;
    let blocks = match config.take("block_out_channels") {
        None => 4,
        Some(Value::Array(blocks)) if (1..=7).contains(&blocks.len()) => blocks.len(),
        Some(other) => return Err(config.refusal("block_out_channels", "a list of 1 to 7 sizes", other)),
    };
    Ok((narrow(scaling), 1 << (blocks - 1)))
}

/// A JSON object whose keys are taken one by one.
#[derive(Debug)]
struct Object {
    file: &'static str,
    map: Map<String, Value>,
}

impl Object {
    fn read(root: &Path, file: &'static str) -> Result<Self, ImageError> {
        Self::parse(file, &read(root, file, TEXT_BYTES_MAX)?)
    }

    fn parse(file: &'static str, bytes: &[u8]) -> Result<Self, ImageError> {
        let map = serde_json::from_slice(bytes);
        let map = map.map_err(|error| ImageError::Json { file, problem: error.to_string() })?;
        Ok(Self { file, map })
    }

    /// An object without keys if there is no such file.
    fn read_if_there(root: &Path, file: &'static str) -> Result<Self, ImageError> {
        match Self::read(root, file) {
            Err(ImageError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self { file, map: Map::new() })
            }
            other => other,
        }
    }

    fn refusal(&self, key: &str, expected: impl Into<String>, got: impl ToString) -> ImageError {
        ImageError::setting(self.file, key, expected, got.to_string())
    }

    /// The value of a key, unless it is null.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn number(&mut self, key: &str, default: f64) -> Result<f64, ImageError> {
        let Some(value) = self.take(key) else { return Ok(default) };
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.refusal(key, "a number", value))
    }

    fn whole(&mut self, key: &str, default: u32) -> Result<u32, ImageError> {
        Ok(self.whole_if_there(key)?.unwrap_or(default))
    }

    fn whole_if_there(&mut self, key: &str) -> Result<Option<u32>, ImageError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let whole = value.as_u64().and_then(|number| u32::try_from(number).ok());
        whole.map(Some).ok_or_else(|| self.refusal(key, "a whole number of 32 bits", value))
    }

    fn truth(&mut self, key: &str, default: bool) -> Result<bool, ImageError> {
        let Some(value) = self.take(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.refusal(key, "true or false", value))
    }

    fn text(&mut self, key: &str, default: &str) -> Result<String, ImageError> {
        match self.take(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.refusal(key, "a text", other)),
        }
    }

    fn choice<T: Copy>(&mut self, key: &str, default: &str, choices: &[(&str, T)]) -> Result<T, ImageError> {
        let name = self.text(key, default)?;
        let found = choices.iter().find(|(known, _)| *known == name);
        let names = || choices.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        found.map(|(_, choice)| *choice).ok_or_else(|| self.refusal(key, names(), name))
    }

    /// A special token: a text, or an object that has it as `content`.
    fn token(&mut self, key: &str) -> Result<Option<String>, ImageError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Object(mut token)) => match token.remove("content") {
                Some(Value::String(text)) => Ok(Some(text)),
                _ => Err(self.refusal(key, "a token", "an object without content")),
            },
            Some(other) => Err(self.refusal(key, "a token", other)),
        }
    }

    fn finish(mut self) -> Result<(), ImageError> {
        self.finish_by_ref()
    }

    /// Refuse what is left.
    fn finish_by_ref(&mut self) -> Result<(), ImageError> {
        let known = |key: &str, value: &Value| {
            key.starts_with('_') || matches!(value, Value::Null | Value::Bool(false)) || is_nothing(value)
        };
        match self.map.iter().find(|(key, value)| !known(key, value)) {
            Some((key, value)) => {
                let key: String = key.chars().take(80).collect();
                Err(self.refusal(&key, "a setting that this engine knows", value))
            }
            None => Ok(()),
        }
    }
}

/// A part that is left out: `[null, null]`.
fn is_nothing(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_null))
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
fn narrow(number: f64) -> f32 {
    number as f32
}
