//! Steps against `diffusers`, tokens against `tokenizers`, and what neither may be.

use serde_json::Value;

use super::clip::{self, Tokenizer, Vocabulary};
use super::folder;
use super::scheduler::{Course, History, Prediction, Scheduler};
use super::settings::{Numbers, Settings};

const LATENTS: [f32; 8] = [1.5, -0.75, 0.25, 2.0, -1.25, 0.5, -2.5, 0.0];

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// The answer of `vectors/make.py`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers")]
fn unet(latents: &[f32], time: f64) -> Vec<f32> {
    let answer =
        |(i, x): (usize, &f32)| x * 0.375 + (time / 1024.0) as f32 * (i as f32 * 0.25 - 0.875) + 0.125;
    latents.iter().enumerate().map(answer).collect()
}

fn walk(course: &Course) -> Vec<f32> {
    let mut latents = LATENTS.map(|x| x * course.start).to_vec();
    let mut history = History::default();
    for step in &course.steps {
        let answer = unet(&step.scaled(&latents), step.time);
        course.advance(step, &mut latents, answer, &mut history);
    }
    latents
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn scheduler(config: &str) -> Result<Scheduler, String> {
    let scheduler = folder::scheduler_of(config.as_bytes()).map_err(|error| error.to_string())?;
    scheduler.check().map(|()| scheduler).map_err(|error| error.to_string())
}

/// Why a walk is not that of `diffusers`.
fn compare(course: &Course, expected: &Value, tolerance: f64) -> Result<(), String> {
    let times: Vec<f64> = course.steps.iter().map(|step| step.time).collect();
    let near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
    let theirs = numbers(&expected["times"]);
    if times.len() != theirs.len() || !times.iter().zip(&theirs).all(|(a, b)| near(*a, *b, 1e-6)) {
        return Err(format!("times {times:?}, expected {theirs:?}"));
    }
    let start = expected["start"].as_f64().unwrap();
    if !near(f64::from(course.start), start, 1e-5) {
        return Err(format!("start {}, expected {start}", course.start));
    }
    let (ours, theirs) = (walk(course), numbers(&expected["end"]));
    let scale = theirs.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    match ours.iter().zip(&theirs).all(|(a, b)| (f64::from(*a) - b).abs() <= tolerance * scale) {
        true => Ok(()),
        false => Err(format!("{ours:?}, expected {theirs:?}")),
    }
}

#[test]
fn steps_are_those_of_diffusers() {
    let (mut wrong, mut good) = (Vec::new(), 0);
    for case in vectors(include_str!("vectors/steps.json")) {
        let scheduler = scheduler(&case["config"].to_string()).unwrap();
        // `diffusers` has its betas in f32. At the last times of the cosine schedule 2e-9 of the signal is left, and
        // every rounding is enlarged by its root: with f64 in their place, `diffusers` itself ends 7e-4 elsewhere.
        let tolerance = if case["config"]["beta_schedule"] == "squaredcos_cap_v2" { 2e-3 } else { 5e-5 };
        for expected in case["walks"].as_array().unwrap() {
            let steps = u32::try_from(expected["steps"].as_u64().unwrap()).unwrap();
            match compare(&scheduler.course(steps).unwrap(), expected, tolerance) {
                Ok(()) => good += 1,
                Err(problem) => wrong.push(format!("{} in {steps}: {problem}", case["config"])),
            }
            // A scheduler that takes the answers for something else is caught. (One step from where there is hardly
            // any noise ends where it began.)
            let prediction = match scheduler.prediction {
                Prediction::Velocity => Prediction::Noise,
                Prediction::Noise | Prediction::Sample => Prediction::Velocity,
            };
            let liar = Scheduler { prediction, ..scheduler.clone() }.course(steps).unwrap();
            assert!(
                steps == 1 || compare(&liar, expected, tolerance).is_err(),
                "{} in {steps}",
                case["config"]
            );
        }
    }
    assert!(wrong.is_empty(), "{good} good, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The painter's vocabulary, for prompts of any length.
fn vocabulary() -> Vocabulary {
    let map: std::collections::BTreeMap<String, u32> =
        serde_json::from_str(include_str!("../../../../models/painter/tokenizer/vocab.json")).unwrap();
    let mut tokens = vec![String::new(); map.len()];
    for (token, id) in map {
        tokens[id as usize] = token;
    }
    let merges = include_str!("../../../../models/painter/tokenizer/merges.txt");
    let merges = clip::read_merges(merges, &tokens).unwrap();
    let [start, end] = [0, 1].map(|at| u32::try_from(tokens.len()).unwrap() - 2 + at);
    Vocabulary { length: 1024, start, end, padding: end, tokens, merges }
}

#[test]
fn tokens_are_those_of_the_reference() {
    let vocabulary = vocabulary();
    let tokenizer = Tokenizer::new(&vocabulary).unwrap();
    let cases = vectors(include_str!("vectors/tokens.json"));
    assert!(cases.len() > 200);
    for case in cases {
        let text = case[0].as_str().unwrap();
        let expected =
            case[1].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap());
        let mut all = vec![vocabulary.start];
        all.extend(expected);
        all.resize(1024, vocabulary.end);
        assert_eq!(tokenizer.encode("prompt", text).unwrap(), all, "{text:?}");
    }
}

#[test]
fn a_prompt_fills_its_tokens_and_is_not_cut() {
    let tokenizer = Tokenizer::new(&Vocabulary { length: 5, ..vocabulary() }).unwrap();
    assert_eq!(tokenizer.encode("prompt", "a red star").unwrap().len(), 5);
    let error = tokenizer.encode("prompt", "a red star above").unwrap_err().to_string();
    assert_eq!(error, "prompt: expected at most 3 tokens, got 4");
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let good = vocabulary();
    let refuse = |bad: Vocabulary, expected: &str| {
        let error = Tokenizer::new(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let count = u32::try_from(good.tokens.len()).unwrap();
    refuse(Vocabulary { start: count, ..good.clone() }, "bos_token: expected one of");
    refuse(Vocabulary { length: 1, ..good.clone() }, "model_max_length: expected 2 to 4096, got 1");
    refuse(Vocabulary { length: u32::MAX, ..good.clone() }, "model_max_length");
    let mut bad = good.clone();
    bad.tokens[40] = bad.tokens[41].clone();
    refuse(bad, "token: expected each once");
    let mut bad = good.clone();
    bad.tokens[40] = "?!?".to_owned();
    refuse(bad, "byte: expected a token of its own");
    let mut bad = good.clone();
    bad.merges.push((0, 1));
    refuse(bad, "two tokens that make a third");
    let mut bad = good.clone();
    bad.merges.push((count, count));
    refuse(bad, "two tokens that make a third");
    let mut bad = good.clone();
    bad.merges.push(bad.merges[3]);
    refuse(bad, "each pair once");
    for (line, expected) in [("re", "line 2"), ("re re re", "line 2"), ("r ☃", "two tokens of vocab.json")]
    {
        let error =
            clip::read_merges(&format!("#version: 0.2\n{line}\n"), &good.tokens).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Settings of schedulers, and why they are refused.
const REFUSED: &[(&str, &str)] = &[
    (r#"{}"#, "_class_name: expected DDIMScheduler, EulerDiscreteScheduler or PNDMScheduler"),
    (r#"{"_class_name": "LCMScheduler"}"#, "got LCMScheduler"),
    (r#"{"_class_name": 7}"#, "_class_name: expected a text, got 7"),
    (r#"{"_class_name": "PNDMScheduler"}"#, "skip_prk_steps: expected true"),
    (r#"{"_class_name": "DDIMScheduler", "prediction_type": "flow"}"#, "prediction_type: expected epsilon"),
    (r#"{"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"}"#, "beta_schedule: expected linear"),
    (r#"{"_class_name": "DDIMScheduler", "timestep_spacing": "odd"}"#, "timestep_spacing: expected leading"),
    (
        r#"{"_class_name": "DDIMScheduler", "beta_start": "nan"}"#,
        r#"beta_start: expected a number, got "nan""#,
    ),
    (r#"{"_class_name": "DDIMScheduler", "beta_start": NaN}"#, "not valid JSON"),
    (r#"{"_class_name": "DDIMScheduler", "beta_end": 1e999}"#, "not valid JSON"),
    (r#"{"_class_name": "DDIMScheduler", "beta_end": 1.0}"#, "beta_end: expected a number from 0 to below 1"),
    (r#"{"_class_name": "DDIMScheduler", "beta_end": -0.1}"#, "beta_end"),
    (r#"{"_class_name": "DDIMScheduler", "beta_start": 0.0}"#, "at time 0 the share of signal is 1"),
    (
        r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 100000, "beta_end": 0.5}"#,
        "the share of signal is 0",
    ),
    (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 0}"#, "num_train_timesteps: expected 1 to"),
    (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 4294967295}"#, "num_train_timesteps"),
    (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 1e12}"#, "a whole number of 32 bits"),
    (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": -1}"#, "a whole number of 32 bits"),
    (r#"{"_class_name": "DDIMScheduler", "steps_offset": 4294967295}"#, "is not one of 0 to 999"),
    (
        r#"{"_class_name": "DDIMScheduler", "clip_sample_range": 0}"#,
        "clip_sample_range: expected a number above 0",
    ),
    (r#"{"_class_name": "DDIMScheduler", "clip_sample": 1}"#, "clip_sample: expected true or false"),
    (r#"{"_class_name": "DDIMScheduler", "thresholding": true}"#, "thresholding: expected a setting that"),
    (r#"{"_class_name": "DDIMScheduler", "trained_betas": [0.1]}"#, "trained_betas: expected a setting that"),
    (r#"{"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true}"#, "rescale_betas_zero_snr"),
    (r#"{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true}"#, "use_karras_sigmas"),
    (
        r#"{"_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear"}"#,
        "interpolation_type: expected linear, got log_linear",
    ),
    (
        r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true, "prediction_type": "sample"}"#,
        "prediction_type: expected epsilon or v_prediction with PNDMScheduler",
    ),
    (r#"[]"#, "not valid JSON"),
    (r#"{"#, "not valid JSON"),
];

#[test]
fn schedulers_that_are_not_understood_are_refused_by_name() {
    for (config, expected) in REFUSED {
        let error = scheduler(config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
    let bomb = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    assert!(scheduler(&bomb).unwrap_err().contains("not valid JSON"));
    // What is unknown and says nothing is no reason to refuse.
    let idle =
        r#"{"_class_name": "DDIMScheduler", "_made": 7, "thresholding": false, "trained_betas": null}"#;
    scheduler(idle).unwrap();
}

#[test]
fn steps_beyond_what_was_trained_are_refused() {
    let ddim = scheduler(r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 50}"#).unwrap();
    for steps in [0, 51, 1001, u32::MAX] {
        let error = ddim.course(steps).unwrap_err().to_string();
        assert!(error.contains("it takes 1 to 50"), "{error}");
    }
    assert_eq!(ddim.course(50).unwrap().steps.len(), 50);
    let ahead = r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 50, "steps_offset": 1}"#;
    let error = scheduler(ahead).unwrap().course(50).unwrap_err().to_string();
    assert!(error.contains("time 50 is not one of 0 to 49"), "{error}");
}

fn settings() -> Settings {
    let ddim = scheduler(r#"{"_class_name": "DDIMScheduler"}"#).unwrap();
    let numbers = Numbers { scaling: 0.5, cell_pixels: 8, steps: 20, guidance: 7.5 };
    Settings::new(vocabulary(), ddim, numbers).unwrap()
}

#[test]
fn settings_have_one_encoding() {
    let settings = settings();
    let bytes = settings.to_bytes();
    assert_eq!(Settings::from_bytes(&bytes).unwrap(), settings);
    for at in [0, 5] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Settings::from_bytes(&bad).is_err(), "byte {at}");
    }
    assert!(Settings::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Settings::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    // Settings that nobody could have made are refused when they come back, too.
    let mut bad = settings.clone();
    bad.steps = 0;
    let error = Settings::from_bytes(&bad.to_bytes()).unwrap_err().to_string();
    assert!(error.contains("_nabla.steps: expected 1 to 1000, got 0"), "{error}");
    let mut bad = settings;
    bad.cell_pixels = 65;
    assert!(Settings::from_bytes(&bad.to_bytes()).unwrap_err().to_string().contains("pixels of a cell"));
}

#[test]
fn numbers_that_are_none_are_refused() {
    let ddim = || scheduler(r#"{"_class_name": "DDIMScheduler"}"#).unwrap();
    let good = Numbers { scaling: 0.5, cell_pixels: 8, steps: 20, guidance: 7.5 };
    for (numbers, expected) in [
        (Numbers { scaling: f32::NAN, ..good }, "scaling_factor: expected a number above 0, got NaN"),
        (Numbers { scaling: 0.0, ..good }, "scaling_factor"),
        (Numbers { scaling: f32::INFINITY, ..good }, "scaling_factor"),
        (Numbers { steps: 1001, ..good }, "_nabla.steps"),
        (Numbers { guidance: -1.0, ..good }, "_nabla.guidance: expected 0 to 100"),
        (Numbers { guidance: f32::NAN, ..good }, "_nabla.guidance"),
    ] {
        let error = Settings::new(vocabulary(), ddim(), numbers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
