//! The part of the story in a picture: painted from words and a seed, twice, by two builds of the kernels.

use std::{fs, ops::ControlFlow, time::Instant};

use anyhow::Result;
use nabla_engine::{
    Engine, Kernels,
    images::{ImageLimits, ImageModel, ImageRequest, Picture, Pipeline},
};

use super::{
    network::DemoNetwork,
    story::{Told, ensure},
};

const PROMPT: &str = "a red circle above a blue square";
/// Steps that are enough to see what it shall be.
const STEPS: u32 = 8;

macro_rules! files {
    ($($path:literal),*) => {
        [$(($path, include_bytes!(concat!("../../../../models/painter/", $path)).as_slice())),*]
    };
}

/// The pipeline's folder.
const FILES: [(&str, &[u8]); 12] = files!(
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.onnx",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/model.onnx",
    "vae_decoder/config.json",
    "vae_decoder/model.onnx"
);

pub(super) fn draw(demo: &DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let folder = demo.path("painter");
    for (path, bytes) in FILES {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, bytes)?;
    }
    let model = ImageModel::read_folder(&folder, &ImageLimits::default())?;
    let started = Instant::now();
    let picture = paint(&demo.engine, &model)?;
    let took = started.elapsed();
    let scalar = paint(&Engine::new(Kernels::Scalar)?, &model)?;
    ensure(scalar.digest() == picture.digest(), || "other kernels painted another picture".to_owned())?;
    let png = picture.to_png()?;
    told.line(format!(
        "\"{PROMPT}\", seed 7, {STEPS} steps: {} x {} pixels in {} ms, a PNG of {} bytes.",
        picture.width(),
        picture.height(),
        took.as_millis(),
        png.len()
    ));
    told.line("  The scalar kernels painted the same picture, bit for bit. `nabla model run models/painter --prompt ... --out FILE` keeps one.");
    told.milliseconds("draw_ms", took);
    told.figure("digest", hex::encode(picture.digest()));
    Ok(((), told))
}

fn paint(engine: &Engine, model: &ImageModel) -> Result<Picture> {
    let pipeline = Pipeline::prepare(engine, model)?;
    let request = ImageRequest { seed: 7, steps: Some(STEPS), ..ImageRequest::new(PROMPT) };
    Ok(pipeline.generate(&request, &mut |_| ControlFlow::Continue(()))?)
}
