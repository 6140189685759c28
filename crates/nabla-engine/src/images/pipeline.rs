//! The loop: a prompt and a seed become noise, the noise latents, the latents pixels.
//!
//! # Rules
//! - The prompt is asked about without itself first: row 0 is the negative prompt, row 1 the prompt. Rows go through a
//!   network together where it takes two, else one by one.
//! - Guidance `g` above 1: the answer is `free + g * (led - free)`, every operation rounded. Up to 1 the negative prompt
//!   is not asked about, and the answer is the prompt's.
//! - The latents of a step are made of those before it and the answer, see `scheduler`.
//!
//! # When things go wrong
//! Before each question to the UNet the caller is told how far it is, and may stop.

use std::ops::ControlFlow;
use std::sync::Arc;

use half::f16;
use nabla_types::tensor::{Dtype, NamedTensor, Tensor, TensorData};

use super::model::{Rows, Wiring};
use super::noise::noise;
use super::scheduler::{Course, History};
use super::{GUIDANCE_MAX, ImageError, ImageModel, Picture, Role};
use crate::{Dim, Error, Fault, Port, Runtime, Session};

/// What is to be painted.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRequest {
    /// What the picture shows.
    pub prompt: String,
    /// What it does not show; often empty.
    pub negative_prompt: String,
    /// What chance comes from.
    pub seed: u64,
    /// Steps; the model's own number if there is none.
    pub steps: Option<u32>,
    /// How much the prompt counts; the model's own number if there is none.
    pub guidance: Option<f32>,
    /// In pixels; the model's own width if there is none.
    pub width: Option<u32>,
    /// In pixels; the model's own height if there is none.
    pub height: Option<u32>,
}

impl ImageRequest {
    /// A prompt with seed 0, and all else as the model has it.
    #[must_use]
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: String::new(),
            seed: 0,
            steps: None,
            guidance: None,
            width: None,
            height: None,
        }
    }
}

/// How far a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Questions to the UNet that were answered.
    pub step: u32,
    /// Questions in all: the steps, and one more with PNDM.
    pub steps: u32,
}

/// A pipeline that is ready to run. It may be used by many threads at once.
#[derive(Debug, Clone)]
pub struct Pipeline {
    model: ImageModel,
    text: Arc<dyn Session>,
    unet: Arc<dyn Session>,
    decoder: Arc<dyn Session>,
}

/// A request that was found good: nothing of it is open.
struct Job {
    course: Course,
    guidance: f32,
    /// Tokens of the negative prompt, if it counts, and of the prompt.
    tokens: Vec<Vec<u32>>,
    /// Cells of the latents, downwards and across.
    cells: [u64; 2],
}

impl Pipeline {
    /// Make the three networks ready to run.
    ///
    /// # Errors
    /// [`ImageError::Part`] if the runtime refuses one.
    pub fn prepare(runtime: &dyn Runtime, model: &ImageModel) -> Result<Self, ImageError> {
        let prepare = |role| runtime.prepare(model.network(role).clone()).map_err(ImageError::of(role));
        let [text, unet, decoder] = Role::ALL;
        let (text, unet, decoder) = (prepare(text)?, prepare(unet)?, prepare(decoder)?);
        Ok(Self { model: model.clone(), text, unet, decoder })
    }

    /// The pipeline's parts and defaults.
    #[must_use]
    pub fn model(&self) -> &ImageModel {
        &self.model
    }

    /// Bytes of memory that are kept between pictures, beside those of the model.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        [&self.text, &self.unet, &self.decoder].iter().map(|session| session.resident_bytes()).sum()
    }

    /// Say whether a request would be taken, at no cost.
    ///
    /// # Errors
    /// As [`Self::generate`] before its first step.
    pub fn check(&self, request: &ImageRequest) -> Result<(), ImageError> {
        self.job(request).map(|_| ())
    }

    /// Paint. `watch` is called before each question to the UNet, and may stop it there.
    ///
    /// # Errors
    /// [`ImageError::Request`] or [`ImageError::Schedule`] if the request cannot be met, [`ImageError::Stopped`] if the
    /// caller stopped it, [`ImageError::Part`] if a network's run failed.
    pub fn generate(
        &self,
        request: &ImageRequest,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Picture, ImageError> {
        let job = self.job(request)?;
        let latents = noise(request.seed, self.latent_count(&job));
        self.paint(&job, latents, watch)
    }

    /// As [`Self::generate`], from these normally distributed latents `[channels, height, width]` and no seed: for
    /// comparison with other pipelines.
    ///
    /// # Errors
    /// As [`Self::generate`]; and if there are too many latents or too few.
    pub fn generate_from(
        &self,
        request: &ImageRequest,
        latents: Vec<f32>,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Picture, ImageError> {
        let job = self.job(request)?;
        let expected = self.latent_count(&job);
        if latents.len() != expected {
            let (expected, got) = (format!("{expected} values"), latents.len().to_string());
            return Err(ImageError::Request { what: "latents", expected, got });
        }
        self.paint(&job, latents, watch)
    }

    fn latent_count(&self, job: &Job) -> usize {
        // Bounded by the sizes of the UNet's input, which the engine bounded when it was imported.
        let count =
            job.cells.iter().fold(self.model.wiring.channels, |count, side| count.saturating_mul(*side));
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn job(&self, request: &ImageRequest) -> Result<Job, ImageError> {
        let (model, limits) = (&self.model, &self.model.limits);
        let refuse = |what, expected: String, got: String| Err(ImageError::Request { what, expected, got });
        for (what, prompt) in [("prompt", &request.prompt), ("negative prompt", &request.negative_prompt)] {
            if prompt.len() > limits.prompt_bytes_max {
                let expected = format!("at most {} bytes", limits.prompt_bytes_max);
                return refuse(what, expected, prompt.len().to_string());
            }
        }
        let guidance = request.guidance.unwrap_or_else(|| model.guidance());
        if !(0.0..=GUIDANCE_MAX).contains(&guidance) {
            return refuse("guidance", format!("0 to {GUIDANCE_MAX}"), guidance.to_string());
        }
        let [down, across] = model.wiring.cells;
        let cells =
            [self.cells("height", request.height, down)?, self.cells("width", request.width, across)?];
        let course = model.settings.scheduler.course(request.steps.unwrap_or_else(|| model.steps()))?;
        let macs = model.macs(course.steps.len() as u64);
        if macs > limits.macs_max {
            return refuse("steps", format!("at most {} multiply-adds", limits.macs_max), macs.to_string());
        }
        let mut tokens = Vec::new();
        if guidance > 1.0 {
            tokens.push(model.tokenizer.encode("negative prompt", &request.negative_prompt)?);
        }
        tokens.push(model.tokenizer.encode("prompt", &request.prompt)?);
        Ok(Job { course, guidance, tokens, cells })
    }

    /// The cells of a side of so many pixels.
    fn cells(
        &self,
        what: &'static str,
        asked: Option<u32>,
        (most, is_open): (u64, bool),
    ) -> Result<u64, ImageError> {
        let pixels = u64::from(self.model.settings.cell_pixels);
        let Some(asked) = asked else { return Ok(most) };
        let (cells, rest) = (u64::from(asked) / pixels, u64::from(asked) % pixels);
        let fits = if is_open { (1..=most).contains(&cells) } else { cells == most };
        if rest == 0 && fits {
            return Ok(cells);
        }
        let greatest = most.saturating_mul(pixels);
        let expected = match is_open {
            true => format!("a multiple of {pixels}, up to {greatest}"),
            false => greatest.to_string(),
        };
        Err(ImageError::Request { what, expected, got: asked.to_string() })
    }

    fn paint(
        &self,
        job: &Job,
        mut latents: Vec<f32>,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Picture, ImageError> {
        let states = self.read_prompts(&job.tokens)?;
        for value in &mut latents {
            *value *= job.course.start;
        }
        let steps = u32::try_from(job.course.steps.len()).unwrap_or(u32::MAX);
        let mut history = History::default();
        for (step, at) in job.course.steps.iter().zip(0..) {
            if watch(Progress { step: at, steps }).is_break() {
                return Err(ImageError::Stopped { step: at });
            }
            let answers = self.ask(&step.scaled(&latents), step.time, &states, job.cells)?;
            job.course.advance(step, &mut latents, guided(answers, job.guidance), &mut history);
        }
        for value in &mut latents {
            *value /= self.model.settings.scaling();
        }
        self.decode(latents, job.cells)
    }

    /// The states of each prompt.
    fn read_prompts(&self, prompts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ImageError> {
        let wiring = &self.model.wiring;
        in_runs(wiring.text_rows, prompts, |rows| {
            let (count, length) = (rows.len() as u64, rows[0].len() as u64);
            let ids = rows.iter().flat_map(|row| row.iter().map(|id| f64::from(*id))).collect();
            let ids = numbers(Role::TextEncoder, &wiring.ids, vec![count, length], ids)?;
            self.run(Role::TextEncoder, &[ids], Some(count * length * wiring.states_width))
        })
    }

    /// The UNet's answer for each prompt.
    fn ask(
        &self,
        latents: &[f32],
        time: f64,
        states: &[Vec<f32>],
        [down, across]: [u64; 2],
    ) -> Result<Vec<Vec<f32>>, ImageError> {
        let (wiring, unet) = (&self.model.wiring, Role::Unet);
        in_runs(wiring.unet_rows, states, |rows| {
            let (count, elements) = (rows.len() as u64, rows.iter().map(|row| row.len() as u64).sum::<u64>());
            let shape = vec![count, wiring.channels, down, across];
            let length = elements / (count * wiring.states_width);
            let inputs = [
                reals(unet, &wiring.sample, shape, latents.repeat(rows.len()))?,
                times(wiring, time, count)?,
                reals(unet, &wiring.states, vec![count, length, wiring.states_width], rows.concat())?,
            ];
            self.run(unet, &inputs, Some(count * latents.len() as u64))
        })
    }

    fn decode(&self, latents: Vec<f32>, [down, across]: [u64; 2]) -> Result<Picture, ImageError> {
        let (wiring, pixels) = (&self.model.wiring, u64::from(self.model.settings.cell_pixels));
        let shape = vec![1, wiring.channels, down, across];
        let planes =
            self.run(Role::VaeDecoder, &[reals(Role::VaeDecoder, &wiring.latents, shape, latents)?], None)?;
        let side = |cells: u64| u32::try_from(cells.saturating_mul(pixels)).unwrap_or(u32::MAX);
        Picture::of_planes(side(across), side(down), &planes)
    }

    /// The output of a network that counts, which has `count` values if that is known.
    fn run(&self, role: Role, inputs: &[NamedTensor], count: Option<u64>) -> Result<Vec<f32>, ImageError> {
        let wiring = &self.model.wiring;
        let (session, at) = match role {
            Role::TextEncoder => (&self.text, wiring.states_out),
            Role::Unet => (&self.unet, wiring.guess_out),
            Role::VaeDecoder => (&self.decoder, wiring.planes_out),
        };
        let mut outputs = session.run(inputs).map_err(ImageError::of(role))?;
        let NamedTensor { name, tensor } = outputs.swap_remove(at);
        let values = match tensor.into_parts().1 {
            TensorData::F32(values) => values,
            TensorData::F16(values) => values.into_iter().map(f16::to_f32).collect(),
            // The types of outputs were checked when the networks were joined.
            _ => Vec::new(),
        };
        let expected = count.unwrap_or(values.len() as u64);
        if values.len() as u64 == expected {
            return Ok(values);
        }
        let (expected, got) = (format!("{expected} values"), values.len().to_string());
        Err(ImageError::Wiring { role, port: name, expected, got })
    }
}

/// Give `items` to a network in as many runs as it needs; what `run` returns is cut into rows.
fn in_runs<T: Clone>(
    rows: Rows,
    items: &[T],
    run: impl Fn(&[T]) -> Result<Vec<f32>, ImageError>,
) -> Result<Vec<Vec<f32>>, ImageError> {
    let mut answers = Vec::new();
    for group in items.chunks(rows.most) {
        let mut group = group.to_vec();
        let wanted = group.len();
        if rows.exactly {
            group.resize(rows.most, group[0].clone());
        }
        let values = run(&group)?;
        answers.extend(values.chunks((values.len() / group.len()).max(1)).take(wanted).map(<[f32]>::to_vec));
    }
    Ok(answers)
}

/// The answer that counts. Row 0 is that without the prompt, if there are two.
fn guided(mut answers: Vec<Vec<f32>>, guidance: f32) -> Vec<f32> {
    let mut led = answers.pop().unwrap_or_default();
    if let Some(free) = answers.pop() {
        for (led, free) in led.iter_mut().zip(free) {
            *led = free + guidance * (*led - free);
        }
    }
    led
}

/// The time, as often as the network takes it.
fn times(wiring: &Wiring, time: f64, rows: u64) -> Result<NamedTensor, ImageError> {
    let port = &wiring.time;
    let shape = match port.shape.first() {
        None => vec![],
        Some(Dim::Fixed(count)) => vec![*count],
        // A time for each row, if that is what the rows are called.
        Some(dim) if wiring.sample.shape.first() == Some(dim) => vec![rows],
        Some(_) => vec![1],
    };
    let count = shape.first().copied().unwrap_or(1);
    let times = (0..count.min(rows)).map(|_| time).collect();
    numbers(Role::Unet, port, shape, times)
}

/// An input of reals.
fn reals(role: Role, port: &Port, shape: Vec<u64>, values: Vec<f32>) -> Result<NamedTensor, ImageError> {
    let data = match port.dtype {
        Dtype::F16 => TensorData::F16(values.into_iter().map(f16::from_f32).collect()),
        _ => TensorData::F32(values),
    };
    tensor(role, port, shape, data)
}

/// An input of few numbers; integers are what is before the point.
#[expect(clippy::cast_possible_truncation, reason = "numbers of tokens and times of training are small")]
fn numbers(role: Role, port: &Port, shape: Vec<u64>, values: Vec<f64>) -> Result<NamedTensor, ImageError> {
    let values = values.into_iter();
    let data = match port.dtype {
        Dtype::I64 => TensorData::I64(values.map(|value| value as i64).collect()),
        Dtype::I32 => TensorData::I32(values.map(|value| value as i32).collect()),
        _ => return reals(role, port, shape, values.map(|value| value as f32).collect()),
    };
    tensor(role, port, shape, data)
}

fn tensor(role: Role, port: &Port, shape: Vec<u64>, data: TensorData) -> Result<NamedTensor, ImageError> {
    let refused = |error| {
        let fault = Box::new(Fault::Tensor(error));
        ImageError::of(role)(Error::Constant { name: port.name.clone(), fault })
    };
    Ok(NamedTensor::new(port.name.clone(), Tensor::new(shape, data).map_err(refused)?))
}
