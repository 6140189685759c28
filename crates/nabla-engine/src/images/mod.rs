//! Pictures from prompts: a diffusion pipeline of three networks, the same picture for the same seed everywhere.
//!
//! A folder of ONNX files in the shape that exporters of Stable Diffusion write becomes an [`ImageModel`]; a
//! [`Pipeline`] runs it. `spec/images.md` defines every bit of the picture, as `spec/kernels.md` does for the networks.
//!
//! | module | what it holds |
//! |---|---|
//! | `folder` | the JSON files of the folder, and which of their settings are understood |
//! | `settings` | what is stored of them: one encoding, no file names, no defaults left open |
//! | `model` | [`ImageModel`]: three networks that fit each other and their settings; its parts |
//! | `clip` | from a prompt to tokens |
//! | `noise` | from a seed to initial latents |
//! | `scheduler` | which times the UNet is asked about, and what its answers do to the latents |
//! | `pipeline` | [`Pipeline`]: the loop |
//! | `picture` | [`Picture`]: pixels, their digest, and PNG as a view of them |
//!
//! # Rules
//! - A picture depends on the parts of the model and on the request, and on nothing else.
//! - What the folder says and this module does not understand is refused by its name.
//! - What is checked before anything is computed: the length of the prompt, the sizes, the steps, and the cost of the
//!   whole picture.
//! - A safety checker that stands in the folder is not run: whoever serves pictures decides what to show.
//!
//! # When things go wrong
//! Every failure is an [`ImageError`] that names the file and the setting, or the part and its input, with what was
//! expected and what was got. A failed or stopped picture leaves the pipeline usable.
//!
//! # Example
//! ```no_run
//! use std::ops::ControlFlow;
//! use nabla_engine::images::{ImageLimits, ImageModel, ImageRequest, Pipeline};
//! use nabla_engine::{Engine, Kernels};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = ImageModel::read_folder("models/painter".as_ref(), &ImageLimits::default())?;
//! let pipeline = Pipeline::prepare(&Engine::new(Kernels::Auto)?, &model)?;
//! let request = ImageRequest { seed: 7, ..ImageRequest::new("a red circle above a blue square") };
//! let picture = pipeline.generate(&request, &mut |_| ControlFlow::Continue(()))?;
//! let png = picture.to_png()?;
//! # Ok(()) }
//! ```

use std::fmt;

use crate::Limits;

mod clip;
mod error;
mod folder;
mod model;
mod noise;
mod picture;
mod pipeline;
mod scheduler;
mod settings;

#[cfg(test)]
mod tests;

pub use error::ImageError;
pub use model::{ImageModel, PARTS, Part};
pub use picture::Picture;
pub use pipeline::{ImageRequest, Pipeline, Progress};
pub use scheduler::STEPS_MAX;

/// Greatest guidance.
pub const GUIDANCE_MAX: f32 = 100.0;

/// A network of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// From tokens to states.
    TextEncoder,
    /// From noisy latents, a time and states to what the scheduler goes by.
    Unet,
    /// From latents to pixels.
    VaeDecoder,
}

impl Role {
    const ALL: [Self; 3] = [Self::TextEncoder, Self::Unet, Self::VaeDecoder];

    /// Its file in the folder.
    fn file(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder/model.onnx",
            Self::Unet => "unet/model.onnx",
            Self::VaeDecoder => "vae_decoder/model.onnx",
        }
    }

    /// Its folder.
    fn folder(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::Unet => "unet",
            Self::VaeDecoder => "vae_decoder",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TextEncoder => "text encoder",
            Self::Unet => "UNet",
            Self::VaeDecoder => "decoder",
        })
    }
}

/// What a pipeline and a picture may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLimits {
    /// Of each network, and of each of its runs.
    pub network: Limits,
    /// Longest prompt, in bytes; of both prompts each.
    pub prompt_bytes_max: usize,
    /// Most multiply-adds of a whole picture.
    pub macs_max: u64,
}

impl Default for ImageLimits {
    /// Room for Stable Diffusion with fifty steps; longer than an hour's work is refused.
    fn default() -> Self {
        Self { network: Limits::default(), prompt_bytes_max: 2048, macs_max: 1 << 47 }
    }
}
