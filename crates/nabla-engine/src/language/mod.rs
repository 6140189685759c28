//! Language models: read from a GGUF file or a folder, and run.
//!
//! | module | what it holds |
//! |---|---|
//! | `architecture` | [`Architecture`]: what the families of models differ in, as one table |
//! | `config` | [`Config`]: sizes and rules of one model, from its metadata |
//! | `rope` | [`Rope`]: how positions turn queries and keys |
//! | `folder` | [`import_folder`]: folders of Hugging Face, brought to the form of GGUF files |
//! | `text` | [`TextModel`]: a model with its vocabulary and its chat template |
//! | `generation` | [`Generation`]: what is asked of a model; how tokens become an answer |
//! | `scheduler` | [`Scheduler`]: many answers at once |
//! | `prefixes` | keys and values that were computed before |
//! | `replay` | [`replay`]: a finished answer, checked in one pass |
//! | `embedding` | [`embed`]: a text as one vector |
//! | `model` | [`LanguageModel`], [`Context`]: one sequence of tokens |
//! | `sampler` | [`Sampling`]: from logits to a token |
//! | `logprobs` | how likely tokens were |
//! | `decoder` | the forward pass: some tokens of some sequences |
//! | `weights`, `matrix` | all weights, as products want them |
//! | `pages` | keys and values, in pages of sixteen tokens |
//! | `turns` | cosines and sines of positions |
//! | `check` | [`Config::check`]: the tensors that a model must have, by name and shape |
//!
//! # Rules
//! - What is not understood is refused by its name: an architecture, a way to scale positions, a key that changes
//!   results, a tensor that nothing would use. A model never runs with a part of it left out in silence.
//! - All sizes are bounded and fit each other before a tensor is looked at; [`Config::check`] then compares each tensor.
//!
//! # When things go wrong
//! Every failure is an [`Error`](crate::Error) that names the key or the tensor, what was expected and what was got.
//!
//! # Example
//! ```no_run
//! use nabla_engine::language::{Generation, TextModel, generate};
//! use nabla_engine::{Engine, FileSource, Kernels, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let file = FileSource::new(std::fs::File::open("model.gguf")?)?;
//! let model = TextModel::load(&Engine::new(Kernels::Auto)?, &file, &Limits::default())?;
//! let prompt = model.text_prompt("Once upon a time")?;
//! let answer = generate(&model, &Generation::of(prompt, 32), &Limits::default(), |piece| print!("{}", piece.text))?;
//! # Ok(()) }
//! ```

mod architecture;
mod check;
mod config;
mod decoder;
mod embedding;
mod folder;
mod generation;
mod logprobs;
mod matrix;
mod model;
mod pages;
mod prefixes;
mod replay;
mod rope;
mod sampler;
mod scheduler;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod turns;
mod weights;

pub use architecture::{Activation, Architecture, Bias, RopeStyle, Traits, Windows};
pub use check::Found;
pub use config::{Attention, Config, Window};
pub use embedding::{Pooling, embed};
pub use folder::{Files, import_folder};
pub use generation::{Constraint, Finish, Generation, Piece, TOP_LOGPROBS_MAX};
pub use logprobs::TokenLogprobs;
pub use model::{Context, LanguageModel};
pub use replay::{Answered, Difference, Replay, generate, generate_in_pieces, replay};
pub use rope::{Rope, RopeScaling};
pub use sampler::{Allowed, BIASES_MAX, Counts, Sampling};
pub use scheduler::{Event, JobId, Prepared, Scheduler, SchedulerConfig, TokenUsage};
pub use text::TextModel;
