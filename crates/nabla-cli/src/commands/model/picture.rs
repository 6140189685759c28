//! `nabla model run` of a folder with an image pipeline: one picture on this machine. The digest is the same on every
//! machine; it is that of the pixels, of which the PNG file is a view.

use std::{fs, io::IsTerminal, ops::ControlFlow, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use nabla_engine::images::{ImageLimits, ImageModel, ImageRequest, Pipeline};
use serde_json::json;

use super::{Context, engine};
use crate::{
    args::{EngineArgs, PictureArgs, TextArgs},
    failure::Failure,
    output::{bytes, table},
};

/// Whether a path is a folder with an image pipeline.
pub(super) fn is_pipeline(path: &Path) -> bool {
    path.join("model_index.json").is_file()
}

/// Paint, write the file if one is asked for, and say what was painted.
pub(super) fn run(
    context: &Context<'_>,
    folder: &Path,
    text: &TextArgs,
    args: &PictureArgs,
    engine_args: &EngineArgs,
) -> Result<()> {
    let Some(prompt) = &text.prompt else {
        let reason = format!("{} is an image pipeline: it takes no tensors", folder.display());
        let hint = Some("say what to paint with --prompt TEXT".to_owned());
        return Err(Failure::BadArgument { reason, hint }.into());
    };
    let request = ImageRequest {
        seed: text.seed,
        steps: args.steps,
        guidance: args.guidance,
        negative_prompt: args.negative.clone().unwrap_or_default(),
        ..ImageRequest::new(prompt)
    };
    let (engine, threads) = engine(engine_args)?;
    let model = ImageModel::read_folder(folder, &ImageLimits::default())
        .with_context(|| format!("cannot load {}", folder.display()))?;
    let pipeline = Pipeline::prepare(&engine, &model)?;
    let began = Instant::now();
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let picture = pipeline.generate(&request, &mut |progress| {
        bar.set_length(progress.steps.into());
        bar.set_position(progress.step.into());
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    let out = args.out.as_deref();
    if let Some(out) = out {
        fs::write(out, picture.to_png()?).map_err(|error| Failure::bad_file(out, error))?;
    }
    let digest = hex::encode(picture.digest());
    let (width, height) = (picture.width(), picture.height());
    let (steps, guidance) =
        (request.steps.unwrap_or(model.steps()), request.guidance.unwrap_or(model.guidance()));
    let facts = [
        ("picture", out.map_or("not kept: give --out FILE".to_owned(), |out| out.display().to_string())),
        ("size", format!("{width} x {height}")),
        ("made with", format!("seed {}, {steps} steps, guidance {guidance}", request.seed)),
        ("kernels", format!("{}, threads {threads}, {seconds:.2} s", engine.kernels())),
        ("resident", bytes(pipeline.resident_bytes())),
        ("digest", format!("{digest} (the same on every machine)")),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    context.output.document(&json!({
        "picture": out.map(|out| out.display().to_string()),
        "width": width,
        "height": height,
        "seed": request.seed,
        "steps": steps,
        "guidance": guidance,
        "kernels": engine.kernels(),
        "seconds": seconds,
        "output_digest": digest,
    }));
    Ok(())
}
