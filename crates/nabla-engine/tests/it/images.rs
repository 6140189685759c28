//! The painter of `models/painter`: pictures close to ONNX Runtime's, the same bits on all kernels and threads, and a
//! named error for everything that a folder or a request may be instead.
#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;

use nabla_engine::images::{
    ImageError, ImageLimits, ImageModel, ImageRequest, PARTS, Part, Picture, Pipeline, Progress, Role,
};
use nabla_engine::{Engine, Kernels, Limits};
use serde_json::{Value, json};

mod mini;

use mini::Mini;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/painter")
}

fn painter() -> ImageModel {
    ImageModel::read_folder(&folder(), &ImageLimits::default()).unwrap()
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn paint(pipeline: &Pipeline, request: &ImageRequest) -> Picture {
    pipeline.generate(request, &mut go_on).unwrap()
}

/// A picture that ONNX Runtime painted from the same latents, and ours.
fn example(pipeline: &Pipeline, name: &str) -> (Vec<u8>, Picture) {
    let text = fs::read_to_string(folder().join("examples").join(name)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| json[key]["data"].as_array().unwrap().iter();
    #[expect(clippy::cast_possible_truncation, reason = "latents are written as multiples of 1/1024")]
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    let request = ImageRequest {
        steps: Some(u32::try_from(json["steps"].as_u64().unwrap()).unwrap()),
        guidance: Some(number(&json["guidance"])),
        ..ImageRequest::new(json["prompt"].as_str().unwrap())
    };
    let latents = list("latents").map(number).collect();
    let theirs = list("picture").map(|level| u8::try_from(level.as_u64().unwrap()).unwrap());
    (theirs.collect(), pipeline.generate_from(&request, latents, &mut go_on).unwrap())
}

#[test]
fn pictures_are_those_of_onnx_runtime_but_for_a_level() {
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &painter()).unwrap();
    for name in ["circle-above-square.json", "flower-and-tree.json", "star.json"] {
        let (theirs, ours) = example(&pipeline, name);
        let differences: Vec<u8> = theirs.iter().zip(ours.pixels()).map(|(a, b)| a.abs_diff(*b)).collect();
        let (greatest, many) =
            (differences.iter().max().unwrap(), differences.iter().filter(|d| **d > 0).count());
        println!("{name}: {many} of {} levels differ, by at most {greatest}", theirs.len());
        assert_eq!(theirs.len(), ours.pixels().len());
        assert!(*greatest <= 2 && many * 50 < theirs.len(), "{name}: {many}, {greatest}");
    }
}

const ALL: [Kernels; 4] = [Kernels::Scalar, Kernels::Avx2, Kernels::Avx512, Kernels::Neon];

/// Hold pictures to `images/digests.json`, on kernels of this machine and numbers of threads. `NABLA_BLESS=1` writes the
/// digests anew: they change with the weights of the painter, and with `spec/images.md`.
fn check_recorded(
    set: &str,
    kernels: &[Kernels],
    threads: &[usize],
    pictures: &[(String, ImageModel, ImageRequest)],
) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/images/digests.json");
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap();
    let (recorded, bless) = (read(), std::env::var("NABLA_BLESS").is_ok());
    let (mut fresh, mut engines, mut wrong) = (serde_json::Map::new(), Vec::new(), Vec::new());
    for kernels in kernels {
        for threads in threads {
            // Kernels that this processor has not are left out; those that ran are named below.
            let Ok(engine) = Engine::with_threads(*kernels, *threads) else { continue };
            engines.push(format!("{} on {threads}", engine.kernels()));
            for (name, model, request) in pictures {
                let picture = paint(&Pipeline::prepare(&engine, model).unwrap(), request);
                let found = Value::from(hex::encode(picture.digest()));
                let expected = if bless { fresh.get(name).unwrap_or(&found) } else { &recorded[set][name] };
                if *expected != found {
                    wrong.push(format!("{name} with {kernels} on {threads}: {found}, expected {expected}"));
                }
                fresh.entry(name.clone()).or_insert(found);
            }
        }
    }
    println!("{} pictures give their recorded digests with {}", fresh.len(), engines.join(", "));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if bless {
        // Two tests write one file: each adds to what stands there.
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap();
        let mut all = read();
        all[set] = fresh.into();
        fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    }
}

fn painted(name: &str, steps: u32, guidance: f32, seed: u64) -> (String, ImageModel, ImageRequest) {
    let (steps, guidance) = (Some(steps), Some(guidance));
    (name.to_owned(), painter(), ImageRequest { seed, steps, guidance, ..ImageRequest::new(name) })
}

#[test]
fn the_painter_gives_its_digests_on_all_kernels_and_threads() {
    check_recorded(
        "painter",
        &ALL,
        &[1, 2, 3],
        &[
            painted("a red circle above a blue square on a white background", 4, 3.0, 1),
            painted("a large purple fish on a cyan background", 4, 4.5, u64::MAX),
            painted("a green 7", 4, 1.0, 0),
        ],
    );
}

/// As above with as little work as there can be: this test also runs on emulated processors.
#[test]
fn small_pictures_give_the_recorded_digests() {
    check_recorded("once", &[Kernels::Auto], &[1], &[painted("a blue boat", 1, 1.0, 2)]);
    let mut pictures = Vec::new();
    for class in ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"] {
        for (betas, spacing) in
            [("linear", "leading"), ("scaled_linear", "trailing"), ("squaredcos_cap_v2", "linspace")]
        {
            let config = json!({
                "_class_name": class, "beta_schedule": betas, "timestep_spacing": spacing,
                "prediction_type": "v_prediction", "skip_prk_steps": true,
            });
            let config = Some(config.to_string().into_bytes());
            let model = load(&Mini::default().with("scheduler/scheduler_config.json", config)).unwrap();
            let request = ImageRequest { seed: 9, steps: Some(7), ..ImageRequest::new("red ☃") };
            pictures.push((format!("{class} {betas} {spacing}"), model, request));
        }
    }
    // An emulated processor takes a hundred times as long: its own kernels once, and no more.
    match std::env::var_os("NABLA_EMULATED") {
        Some(_) => check_recorded("small", &[Kernels::Auto], &[1], &pictures),
        None => check_recorded("small", &ALL, &[1, 2, 3], &pictures),
    }
}

#[test]
fn a_picture_depends_on_every_part_of_the_request() {
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &painter()).unwrap();
    let request = ImageRequest { steps: Some(2), ..ImageRequest::new("a red star") };
    let digest = |request: ImageRequest| hex::encode(paint(&pipeline, &request).digest());
    let mut digests = vec![
        digest(request.clone()),
        digest(ImageRequest { seed: 1, ..request.clone() }),
        digest(ImageRequest { steps: Some(3), ..request.clone() }),
        digest(ImageRequest { guidance: Some(3.5), ..request.clone() }),
        digest(ImageRequest { prompt: "a red ring".to_owned(), ..request.clone() }),
        digest(ImageRequest { negative_prompt: "a star".to_owned(), ..request.clone() }),
    ];
    // What the model has of its own is the same as what is said.
    let said = ImageRequest { guidance: Some(3.0), width: Some(32), height: Some(32), ..request.clone() };
    assert_eq!(digest(said), digests[0]);
    // Without guidance the negative prompt has no say.
    let unled = ImageRequest { guidance: Some(1.0), ..request };
    assert_eq!(digest(unled.clone()), digest(ImageRequest { negative_prompt: "a star".to_owned(), ..unled }));
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}

#[test]
fn a_png_decodes_to_the_pixels_of_the_digest() {
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &painter()).unwrap();
    let picture = paint(&pipeline, &ImageRequest { steps: Some(2), ..ImageRequest::new("a tree") });
    assert_eq!((picture.width(), picture.height(), picture.pixels().len()), (32, 32, 3072));
    let file = picture.to_png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (32, 32, png::ColorType::Rgb));
    assert_eq!(pixels, picture.pixels());
    assert_eq!(picture.to_tensor().tensor.shape(), [32, 32, 3]);
}

#[test]
fn a_picture_can_be_stopped_before_each_step() {
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &painter()).unwrap();
    let request = ImageRequest { steps: Some(3), ..ImageRequest::new("a blue house") };
    let whole = paint(&pipeline, &request);
    for last in 0..3 {
        let mut seen = Vec::new();
        let mut watch = |progress: Progress| {
            seen.push(progress);
            if progress.step == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let error = pipeline.generate(&request, &mut watch).unwrap_err();
        assert!(matches!(error, ImageError::Stopped { step } if step == last), "{error}");
        assert_eq!(seen, (0..=last).map(|step| Progress { step, steps: 3 }).collect::<Vec<_>>());
        assert_eq!(paint(&pipeline, &request), whole, "a stopped picture leaves nothing behind");
    }
}

#[test]
fn requests_that_cannot_be_met_are_refused_before_any_work() {
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &painter()).unwrap();
    let good = ImageRequest::new("a red star");
    let long = "red ".repeat(15);
    for (request, expected) in [
        (ImageRequest { steps: Some(0), ..good.clone() }, "it takes 1 to 1000"),
        (ImageRequest { steps: Some(1001), ..good.clone() }, "it takes 1 to 1000"),
        (ImageRequest { guidance: Some(f32::NAN), ..good.clone() }, "guidance: expected 0 to 100, got NaN"),
        (ImageRequest { guidance: Some(-0.5), ..good.clone() }, "guidance"),
        (ImageRequest { guidance: Some(f32::INFINITY), ..good.clone() }, "guidance"),
        (ImageRequest { width: Some(64), ..good.clone() }, "width: expected 32, got 64"),
        (ImageRequest { height: Some(0), ..good.clone() }, "height: expected 32, got 0"),
        (ImageRequest { height: Some(33), ..good.clone() }, "height: expected 32, got 33"),
        (ImageRequest::new(&*long), "prompt: expected at most 14 tokens, got 15"),
        (
            ImageRequest { negative_prompt: long.clone(), ..good.clone() },
            "negative prompt: expected at most 14 tokens",
        ),
        (ImageRequest::new("a".repeat(2049)), "prompt: expected at most 2048 bytes, got 2049"),
        (
            ImageRequest { negative_prompt: " ".repeat(2049), ..good.clone() },
            "negative prompt: expected at most 2048",
        ),
    ] {
        let error = pipeline.check(&request).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let mut never = |_| panic!("the UNet was asked");
        assert_eq!(pipeline.generate(&request, &mut never).unwrap_err().to_string(), error);
    }
    pipeline.check(&good).unwrap();
    let error = pipeline.generate_from(&good, vec![0.0; 511], &mut go_on).unwrap_err().to_string();
    assert_eq!(error, "latents: expected 512 values, got 511");
}

#[test]
fn a_picture_that_costs_too_much_is_refused() {
    let one_step = painter().macs(1);
    let limits = ImageLimits { macs_max: one_step, ..ImageLimits::default() };
    let model = ImageModel::read_folder(&folder(), &limits).unwrap();
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &model).unwrap();
    let request = |steps| ImageRequest { steps: Some(steps), ..ImageRequest::new("a tree") };
    pipeline.check(&request(1)).unwrap();
    let error = pipeline.check(&request(2)).unwrap_err().to_string();
    assert!(error.contains("multiply-adds"), "{error}");
    let network = Limits { macs_max: 1000, ..Limits::default() };
    let error =
        ImageModel::read_folder(&folder(), &ImageLimits { network, ..ImageLimits::default() }).unwrap_err();
    assert!(matches!(error, ImageError::Part { role: Role::TextEncoder, .. }), "{error}");
}

fn from_parts(parts: &[Part]) -> Result<ImageModel, ImageError> {
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.bytes.as_slice()).collect();
    ImageModel::from_parts(bytes.try_into().unwrap(), &ImageLimits::default())
}

#[test]
fn a_pipeline_comes_back_from_its_parts() {
    let (model, engine) = (painter(), Engine::new(Kernels::Auto).unwrap());
    let parts = model.parts();
    assert_eq!(parts.iter().map(|part| part.name).collect::<Vec<_>>(), PARTS);
    let again = from_parts(&parts).unwrap();
    assert_eq!(again.parts(), parts);
    let request = ImageRequest { steps: Some(2), ..ImageRequest::new("a boat") };
    let picture = |model| paint(&Pipeline::prepare(&engine, model).unwrap(), &request);
    assert_eq!(picture(&model), picture(&again));
}

/// Each part is cut, lengthened and changed: nothing but the same bytes is the same pipeline.
#[test]
fn parts_that_are_not_the_published_ones_are_refused_or_are_others() {
    let parts = painter().parts();
    for at in 0..parts.len() {
        let with = |bytes: Vec<u8>| {
            let mut bad = parts.clone();
            bad[at].bytes = bytes;
            from_parts(&bad)
        };
        let good = &parts[at].bytes;
        assert!(with(good[..good.len() - 1].to_vec()).is_err(), "{} cut", PARTS[at]);
        assert!(with([&good[..], &[0]].concat()).is_err(), "{} lengthened", PARTS[at]);
        assert!(with(Vec::new()).is_err(), "{} empty", PARTS[at]);
        let mut changed = good.clone();
        changed[good.len() / 2] ^= 1;
        let other = with(changed).map(|model| model.parts());
        assert!(other.is_err() || other.is_ok_and(|other| other != parts), "{} changed", PARTS[at]);
    }
    let mut swapped = parts.clone();
    swapped.swap(1, 5);
    swapped.swap(2, 6);
    let error = from_parts(&swapped).unwrap_err();
    assert!(matches!(error, ImageError::Wiring { role: Role::TextEncoder, .. }), "{error}");
}

fn load(mini: &Mini) -> Result<ImageModel, ImageError> {
    let root = tempfile::tempdir().unwrap();
    mini.write(root.path());
    ImageModel::read_folder(root.path(), &ImageLimits::default())
}

fn paint_mini(mini: &Mini, request: &ImageRequest) -> Picture {
    paint(&Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &load(mini).unwrap()).unwrap(), request)
}

/// How a folder was exported makes no difference: one row at a time or two, tokens and times of any type.
#[test]
fn exports_of_every_shape_give_the_same_picture() {
    let request = ImageRequest { seed: 3, steps: Some(5), ..ImageRequest::new("red !") };
    let open = paint_mini(&Mini::default(), &request);
    assert_eq!((open.width(), open.height()), (6, 6));
    assert!(open.pixels().iter().collect::<BTreeSet<_>>().len() > 40, "{:?}", open.pixels());
    for rows in ["1", "2"] {
        assert_eq!(paint_mini(&Mini::fixed(rows), &request), open, "{rows} rows");
        let unled = ImageRequest { guidance: Some(0.0), ..request.clone() };
        assert_eq!(paint_mini(&Mini::fixed(rows), &unled), paint_mini(&Mini::default(), &unled));
    }
    // Halves round; but the picture is the same to the eye.
    let halves = paint_mini(&Mini::halves(), &request);
    let far = halves.pixels().iter().zip(open.pixels()).filter(|(a, b)| a.abs_diff(**b) > 2).count();
    assert_eq!(far, 0, "{halves:?}");
    // The padding counts, and stands in a file of its own.
    let padded = Mini::default().with("tokenizer/special_tokens_map.json", None);
    assert_ne!(paint_mini(&padded, &request), open);
}

#[test]
fn open_sizes_are_chosen_by_the_request() {
    let request =
        ImageRequest { steps: Some(2), width: Some(3), height: Some(5), ..ImageRequest::new("red") };
    let picture = paint_mini(&Mini::default(), &request);
    assert_eq!((picture.width(), picture.height(), picture.pixels().len()), (3, 5, 45));
    let pipeline =
        Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &load(&Mini::default()).unwrap()).unwrap();
    for width in [0, 7, u32::MAX] {
        let error = pipeline.check(&ImageRequest { width: Some(width), ..request.clone() }).unwrap_err();
        assert_eq!(error.to_string(), format!("width: expected a multiple of 1, up to 6, got {width}"));
    }
}

/// A decoder that makes other pixels than its settings say.
#[test]
fn a_picture_of_another_size_than_the_settings_say_is_refused() {
    let mini = Mini::default().set("vae_decoder/config.json", "block_out_channels", json!([1, 2]));
    let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto).unwrap(), &load(&mini).unwrap()).unwrap();
    let error = pipeline.generate(&ImageRequest::new("red"), &mut go_on).unwrap_err().to_string();
    assert_eq!(error, "decoder: its output: expected 3 planes of 12 x 12 pixels, got 108 values");
}

fn text(content: &str) -> Option<Vec<u8>> {
    Some(content.as_bytes().to_vec())
}

/// Folders that miss a file or that are of another pipeline, and why they are refused.
fn bad_folders() -> Vec<(Mini, &'static str)> {
    let (mini, index) = (Mini::default, "model_index.json");
    let long = "[".repeat(9 << 20);
    vec![
        (mini().with(index, None), "cannot read model_index.json"),
        (mini().with("unet/model.onnx", None), "cannot read unet/model.onnx"),
        (mini().with("tokenizer/merges.txt", None), "cannot read tokenizer/merges.txt"),
        (mini().with(index, text(&long)), "model_index.json is longer than 8388608 bytes"),
        (mini().with(index, text(&long[..1 << 20])), "model_index.json is not valid JSON"),
        (mini().with(index, text("{\"a\": \"\u{0}")), "model_index.json is not valid JSON"),
        (
            mini().with("tokenizer/merges.txt", Some(vec![0xff])),
            "tokenizer/merges.txt is not valid JSON of its kind",
        ),
        (
            mini().set(index, "_class_name", json!("StableDiffusionXLPipeline")),
            "got StableDiffusionXLPipeline",
        ),
        (mini().set(index, "text_encoder_2", json!(["transformers", "CLIPTextModel"])), "text_encoder_2"),
        (mini().set(index, "controlnet", json!(["diffusers", "ControlNetModel"])), "controlnet"),
        (mini().set(index, "unet", json!(null)), "unet: expected a library and a class, got nothing"),
        (mini().set(index, "_nabla", json!({"steps": 0})), "_nabla.steps: expected 1 to 1000, got 0"),
        (
            mini().set(index, "_nabla", json!({"colour": 1})),
            "colour: expected a setting that this engine knows",
        ),
        (mini().set(index, "_nabla", json!(7)), "_nabla: expected an object, got 7"),
        (
            mini().set("scheduler/scheduler_config.json", "_class_name", json!("UniPCMultistepScheduler")),
            "UniPC",
        ),
        (mini().set("scheduler/scheduler_config.json", "prediction_type", json!("flow")), "prediction_type"),
    ]
}

/// Folders with one setting that is not understood, and why they are refused.
fn bad_settings() -> Vec<(Mini, &'static str)> {
    let mini = Mini::default;
    vec![
        (
            mini().set("tokenizer/tokenizer_config.json", "tokenizer_class", json!("T5Tokenizer")),
            "T5Tokenizer",
        ),
        (
            mini().set("tokenizer/tokenizer_config.json", "do_lower_case", json!(false)),
            "do_lower_case: expected true",
        ),
        (mini().set("tokenizer/tokenizer_config.json", "model_max_length", json!(1e30)), "model_max_length"),
        (
            mini().set("tokenizer/tokenizer_config.json", "bos_token", json!("<s>")),
            "bos_token: expected a token of",
        ),
        (
            mini().set("tokenizer/tokenizer_config.json", "eos_token", json!({})),
            "eos_token: expected a token",
        ),
        (mini().set("tokenizer/vocab.json", "a", json!(1_u64 << 40)), "a number below that of all tokens"),
        (mini().set("tokenizer/vocab.json", "a", json!(-1)), "a number below that of all tokens"),
        (mini().set("tokenizer/vocab.json", "a", json!(98)), "a number of its own"),
        (
            mini().with("tokenizer/vocab.json", text("{}")),
            "line 2: expected two tokens of vocab.json, got r e",
        ),
        (
            mini().with("tokenizer/vocab.json", text("{}")).with("tokenizer/merges.txt", text("")),
            "bos_token: expected a token of tokenizer/vocab.json",
        ),
        (mini().with("tokenizer/merges.txt", text("r x y\n")), "two tokens of vocab.json"),
        (
            mini().set("text_encoder/config.json", "vocab_size", json!(100)),
            "vocab_size: expected at least 516",
        ),
        (mini().set("vae_decoder/config.json", "_class_name", json!("AutoencoderTiny")), "AutoencoderTiny"),
        (mini().set("vae_decoder/config.json", "shift_factor", json!(0.1)), "shift_factor: expected nothing"),
        (
            mini().set("vae_decoder/config.json", "scaling_factor", json!(0)),
            "scaling_factor: expected a number above",
        ),
        (
            mini().set("vae_decoder/config.json", "block_out_channels", json!([])),
            "block_out_channels: expected a list",
        ),
        (Mini::fixed("2").set("unet/config.json", "in_channels", json!(5)), "in_channels: expected 4, as"),
        (Mini::fixed("2").set("unet/config.json", "sample_size", json!(64)), "sample_size: expected 6, as"),
    ]
}

#[test]
fn folders_that_are_not_a_pipeline_are_refused_by_name() {
    for (mini, expected) in bad_folders().into_iter().chain(bad_settings()) {
        let error = load(&mini).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn networks_that_do_not_fit_are_refused_by_name() {
    let mini = Mini::default;
    let network = |file| load_file(&mini(), file);
    let cases = [
        (Mini { ids: (7, ["batch", "7"]), ..mini() }, "text encoder: input_ids: expected 6 in dimension 1"),
        (Mini { ids: (1, ["batch", "6"]), ..mini() }, "text encoder: input_ids: expected INT64 or INT32"),
        (Mini { ids: (7, ["3", "6"]), ..mini() }, "text encoder: input_ids: expected 1 or 2 rows"),
        (
            Mini { states: ["batch", "6", "3"], ..mini() },
            "UNet: encoder_hidden_states: expected 2 in dimension 2",
        ),
        (
            Mini { states: ["batch", "5", "2"], ..mini() },
            "UNet: encoder_hidden_states: expected 6 in dimension 1",
        ),
        (
            Mini { sample: ["3", "4", "6", "6"], states: ["3", "6", "2"], ..mini() },
            "UNet: sample: expected 1 or 2 rows",
        ),
        (Mini { time: (9, &["steps"]), ..mini() }, "UNet: timestep: expected INT64 or"),
        (
            Mini { time: (7, &["5"]), ..mini() },
            "UNet: timestep: expected 1 time, or one for each row, got INT64 [5]",
        ),
        (
            mini().set("unet/config.json", "sample_size", json!(1100)),
            "UNet: sample: expected 1 to 4194304 latents, got FP32 [batch, channels, height, width]",
        ),
        (Mini { time: (7, &["1", "1"]), ..mini() }, "UNet: timestep: expected 1 dimensions"),
        (
            Mini { latents: ["1", "5", "6", "6"], ..mini() },
            "decoder: latent_sample: expected 4 in dimension 1",
        ),
        (
            Mini { latents: ["1", "4", "6", "5"], ..mini() },
            "decoder: latent_sample: expected 6 in dimension 3",
        ),
        (
            Mini { latents: ["2", "4", "6", "6"], ..mini() },
            "decoder: latent_sample: expected 1 in dimension 0",
        ),
        // A network in another's place.
        (
            mini().with("unet/model.onnx", Some(network("text_encoder/model.onnx"))),
            "UNet: input_ids: expected no other inputs than",
        ),
        (
            mini().with("text_encoder/model.onnx", Some(network("unet/model.onnx"))),
            "text encoder: timestep: expected one input only",
        ),
    ];
    for (mini, expected) in cases {
        let error = load(&mini).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = load(&mini().with("unet/model.onnx", Some(b"no ONNX".to_vec()))).unwrap_err();
    assert!(matches!(error, ImageError::Part { role: Role::Unet, .. }), "{error}");
}

fn load_file(mini: &Mini, file: &str) -> Vec<u8> {
    let root = tempfile::tempdir().unwrap();
    mini.write(root.path());
    fs::read(root.path().join(file)).unwrap()
}
