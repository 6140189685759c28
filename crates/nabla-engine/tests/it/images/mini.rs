//! Folders of pipelines that compute next to nothing, in every shape that exporters write, and in some that nobody should.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::files::{FLOAT, File, INT64, bytes, int, int_attribute, ints_attribute, text};

const INT32: u64 = 6;
const HALF: u64 = 10;

/// Types and dimensions of the inputs; a dimension that is no number is open.
#[derive(Debug, Clone)]
pub(crate) struct Mini {
    pub(crate) ids: (u64, [&'static str; 2]),
    pub(crate) real: u64,
    pub(crate) sample: [&'static str; 4],
    pub(crate) time: (u64, &'static [&'static str]),
    pub(crate) states: [&'static str; 3],
    pub(crate) latents: [&'static str; 4],
    /// Files by their place in the folder, instead of the usual ones; nothing: the file is left out.
    pub(crate) files: BTreeMap<&'static str, Option<Vec<u8>>>,
}

impl Default for Mini {
    /// As the library `optimum` writes it.
    fn default() -> Self {
        Self {
            ids: (INT64, ["batch", "sequence"]),
            real: FLOAT,
            sample: ["batch", "channels", "height", "width"],
            time: (INT64, &["steps"]),
            states: ["batch", "sequence", "2"],
            latents: ["batch", "channels", "height", "width"],
            files: BTreeMap::new(),
        }
    }
}

impl Mini {
    /// All that exporters fix is fixed: this many rows, 32-bit tokens, a time without dimensions.
    pub(crate) fn fixed(rows: &'static str) -> Self {
        Self {
            ids: (INT32, [rows, "6"]),
            sample: [rows, "4", "6", "6"],
            time: (FLOAT, &[]),
            states: [rows, "6", "2"],
            latents: ["1", "4", "6", "6"],
            ..Self::default()
        }
    }

    /// In halves, and with a time for each row.
    pub(crate) fn halves() -> Self {
        let batch = ["batch", "4", "6", "6"];
        Self { real: HALF, sample: batch, time: (HALF, &["batch"]), ..Self::default() }
    }

    /// With one file replaced, or left out.
    pub(crate) fn with(mut self, file: &'static str, content: Option<Vec<u8>>) -> Self {
        self.files.insert(file, content);
        self
    }

    /// With one setting replaced.
    pub(crate) fn set(self, file: &'static str, key: &str, value: Value) -> Self {
        let mut json: Value = serde_json::from_slice(&texts()[file]).unwrap();
        json[key] = value;
        self.with(file, Some(json.to_string().into_bytes()))
    }

    pub(crate) fn write(&self, root: &Path) {
        let networks = [
            ("text_encoder/model.onnx", self.text()),
            ("unet/model.onnx", self.unet()),
            ("vae_decoder/model.onnx", self.decoder()),
        ];
        let mut files: BTreeMap<_, _> = texts();
        files.extend(networks);
        for folder in ["text_encoder", "unet", "vae_decoder", "scheduler", "tokenizer"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (file, usual) in files {
            match self.files.get(file) {
                Some(Some(content)) => fs::write(root.join(file), content).unwrap(),
                Some(None) => (),
                None => fs::write(root.join(file), usual).unwrap(),
            }
        }
    }

    /// States: each token's number, and an eighth of its square.
    fn text(&self) -> Vec<u8> {
        let (ty, dims) = self.ids;
        File::new()
            .input("input_ids", ty, &dims)
            .integers("last", &[2])
            .node("", "Cast", &["input_ids"], &["real"], &[int_attribute("to", 1)])
            .node("", "Unsqueeze", &["real", "last"], &["one"], &[])
            .part(5, &floats("small", &[0.001]))
            .node("", "Mul", &["one", "small"], &["part"], &[])
            .node("", "Mul", &["part", "part"], &["square"], &[])
            .node("", "Concat", &["part", "square"], &["both"], &[int_attribute("axis", 2)])
            .node("", "Cast", &["both"], &["last_hidden_state"], &[to(self.real)])
            .output("last_hidden_state", self.real)
            .build()
    }

    /// The sample, a little less, and a little of time and text.
    fn unet(&self) -> Vec<u8> {
        let (ty, dims) = self.time;
        let file = File::new()
            .input("sample", self.real, &self.sample)
            .input("timestep", ty, dims)
            .input("encoder_hidden_states", self.real, &self.states)
            .part(5, &floats("small", &[0.0001]))
            .part(5, &floats("most", &[0.75]))
            .integers("column", &[-1, 1, 1, 1])
            .node("", "Cast", &["sample"], &["x"], &[int_attribute("to", 1)])
            .node("", "Cast", &["timestep"], &["each"], &[int_attribute("to", 1)])
            // Several times count by their mean.
            .node("", if dims == ["5"] { "ReduceMean" } else { "Identity" }, &["each"], &["t"], &[])
            .node("", "Cast", &["encoder_hidden_states"], &["s"], &[int_attribute("to", 1)])
            .node("", "ReduceMean", &["s"], &["mean"], &[ints_attribute("axes", &[1, 2])])
            .node("", "Reshape", &["mean", "column"], &["told"], &[])
            .node("", "Reshape", &["t", "column"], &["when"], &[])
            .node("", "Mul", &["when", "small"], &["scaled"], &[])
            .node("", "Mul", &["x", "most"], &["less"], &[])
            .node("", "Add", &["less", "told"], &["half"], &[])
            .node("", "Add", &["half", "scaled"], &["guess"], &[])
            .node("", "Cast", &["guess"], &["out_sample"], &[to(self.real)]);
        file.output("out_sample", self.real).build()
    }

    /// The first three channels.
    fn decoder(&self) -> Vec<u8> {
        File::new()
            .input("latent_sample", self.real, &self.latents)
            .integers("first", &[0])
            .integers("end", &[3])
            .integers("axis", &[1])
            .node("", "Slice", &["latent_sample", "first", "end", "axis"], &["sample"], &[])
            .output("sample", self.real)
            .build()
    }
}

fn to(ty: u64) -> Vec<u8> {
    int_attribute("to", i64::try_from(ty).unwrap())
}

fn floats(name: &str, values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [int(1, values.len() as u64), int(2, FLOAT), text(8, name), bytes(9, &raw)].concat()
}

/// The small files: a vocabulary of bytes and a few merges, six tokens, four channels, cells of one pixel.
pub(crate) fn texts() -> BTreeMap<&'static str, Vec<u8>> {
    let letter = |byte: u8, others: &mut u32| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            *others += 1;
            char::from_u32(0xff + *others).unwrap()
        }
    };
    let mut others = 0;
    let letters: Vec<char> = (0..=255).map(|byte| letter(byte, &mut others)).collect();
    let mut tokens: Vec<String> = letters.iter().map(ToString::to_string).collect();
    tokens.extend(letters.iter().map(|letter| format!("{letter}</w>")));
    tokens.extend(["re", "red</w>", "<|startoftext|>", "<|endoftext|>"].map(str::to_owned));
    let vocabulary: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let index = json!({
        "_class_name": "OnnxStableDiffusionPipeline", "_diffusers_version": "0.30.0",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["diffusers", "OnnxRuntimeModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "OnnxRuntimeModel"],
        "vae_decoder": ["diffusers", "OnnxRuntimeModel"], "vae_encoder": ["diffusers", "OnnxRuntimeModel"],
        "safety_checker": [null, null], "feature_extractor": [null, null], "requires_safety_checker": true,
    });
    let scheduler = json!({
        "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "timestep_spacing": "leading", "trained_betas": null, "use_karras_sigmas": false,
    });
    let tokenizer = json!({
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 6, "do_lower_case": true, "errors": "replace",
        "bos_token": {"__type": "AddedToken", "content": "<|startoftext|>"}, "eos_token": "<|endoftext|>",
    });
    BTreeMap::from([
        ("model_index.json", index.to_string().into_bytes()),
        ("scheduler/scheduler_config.json", scheduler.to_string().into_bytes()),
        ("tokenizer/vocab.json", json!(vocabulary).to_string().into_bytes()),
        ("tokenizer/merges.txt", b"#version: 0.2\nr e\nre d</w>\n".to_vec()),
        ("tokenizer/tokenizer_config.json", tokenizer.to_string().into_bytes()),
        ("tokenizer/special_tokens_map.json", br#"{"pad_token": "!"}"#.to_vec()),
        ("text_encoder/config.json", json!({"vocab_size": tokens.len()}).to_string().into_bytes()),
        ("unet/config.json", json!({"in_channels": 4, "sample_size": 6}).to_string().into_bytes()),
        (
            "vae_decoder/config.json",
            json!({"block_out_channels": [1], "scaling_factor": 2.0}).to_string().into_bytes(),
        ),
    ])
}
