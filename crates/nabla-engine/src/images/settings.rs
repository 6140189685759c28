//! All of a pipeline that is no network: its tokenizer, its scheduler and a few numbers, in one encoding.

use minicbor::{Decode, Encode};
use nabla_types::cbor;

use super::clip::Vocabulary;
use super::scheduler::{STEPS_MAX, Scheduler};
use super::{GUIDANCE_MAX, ImageError};

/// First field of the encoding.
const FORMAT: &str = "nabla/image/1";
/// Longest encoding: a vocabulary with its merges, and little else.
const BYTES_MAX: usize = 16 << 20;
/// Most pixels of a cell of latents, along one side.
const CELL_PIXELS_MAX: u32 = 64;

/// What is stored beside the networks. Reals are their bits: the encoding has no floats.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Settings {
    #[n(0)]
    format: String,
    #[n(1)]
    pub(super) vocabulary: Vocabulary,
    #[n(2)]
    pub(super) scheduler: Scheduler,
    /// What latents are divided by before they are decoded, an f32.
    #[n(3)]
    scaling: u32,
    /// Pixels of a cell of latents, along one side.
    #[n(4)]
    pub(super) cell_pixels: u32,
    /// Steps of a request that names none.
    #[n(5)]
    pub(super) steps: u32,
    /// Guidance of a request that names none, an f32.
    #[n(6)]
    guidance: u32,
}

/// The numbers among the settings, as the folder's files give them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) scaling: f32,
    pub(super) cell_pixels: u32,
    pub(super) steps: u32,
    pub(super) guidance: f32,
}

impl Settings {
    pub(super) fn new(
        vocabulary: Vocabulary,
        scheduler: Scheduler,
        numbers: Numbers,
    ) -> Result<Self, ImageError> {
        let Numbers { scaling, cell_pixels, steps, guidance } = numbers;
        let format = FORMAT.to_owned();
        let (scaling, guidance) = (scaling.to_bits(), guidance.to_bits());
        let settings = Self { format, vocabulary, scheduler, scaling, cell_pixels, steps, guidance };
        settings.check()?;
        Ok(settings)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let settings: Self = cbor::decode("settings of an image pipeline", bytes, BYTES_MAX)?;
        settings.check()?;
        Ok(settings)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    pub(super) fn scaling(&self) -> f32 {
        f32::from_bits(self.scaling)
    }

    pub(super) fn guidance(&self) -> f32 {
        f32::from_bits(self.guidance)
    }

    /// All but the vocabulary, which the tokenizer checks when it is made.
    fn check(&self) -> Result<(), ImageError> {
        let bad = |file, key: &str, expected: String, got: String| {
            Err(ImageError::setting(file, key, expected, got))
        };
        if self.format != FORMAT {
            return bad("settings", "format", FORMAT.to_owned(), self.format.clone());
        }
        self.scheduler.check()?;
        let scaling = self.scaling();
        if !(scaling.is_finite() && scaling > 0.0) {
            let expected = "a number above 0".to_owned();
            return bad("vae_decoder/config.json", "scaling_factor", expected, scaling.to_string());
        }
        if !(1..=CELL_PIXELS_MAX).contains(&self.cell_pixels) {
            let expected = format!("1 to {CELL_PIXELS_MAX} pixels of a cell");
            return bad(
                "vae_decoder/config.json",
                "block_out_channels",
                expected,
                self.cell_pixels.to_string(),
            );
        }
        if !(1..=STEPS_MAX).contains(&self.steps) {
            let expected = format!("1 to {STEPS_MAX}");
            return bad("model_index.json", "_nabla.steps", expected, self.steps.to_string());
        }
        if !(0.0..=GUIDANCE_MAX).contains(&self.guidance()) {
            let expected = format!("0 to {GUIDANCE_MAX}");
            return bad("model_index.json", "_nabla.guidance", expected, self.guidance().to_string());
        }
        Ok(())
    }
}
