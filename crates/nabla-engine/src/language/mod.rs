//! Language models: read from a GGUF file, and run.
//!
//! | module | what it holds |
//! |---|---|
//! | `architecture` | [`Architecture`]: what the families of models differ in, as one table |
//! | `config` | [`Config`]: sizes and rules of one model, from its metadata |
//! | `rope` | [`Rope`]: how positions turn queries and keys |
//! | `model` | [`LanguageModel`], [`Context`]: one sequence of tokens |
//! | `sampler` | [`Sampling`]: from logits to a token |
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
//! use nabla_engine::{FileSource, gguf::Gguf, language::Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let file = FileSource::new(std::fs::File::open("model.gguf")?)?;
//! let gguf = Gguf::open(&file)?;
//! let config = Config::from_metadata(&gguf.metadata)?;
//! let found = config.check(&gguf.tensors)?;
//! # Ok(()) }
//! ```

mod architecture;
mod check;
mod config;
mod decoder;
mod matrix;
mod model;
mod pages;
mod rope;
mod sampler;
#[cfg(test)]
mod tests;
mod turns;
mod weights;

pub use architecture::{Activation, Architecture, Bias, RopeStyle, Traits, Windows};
pub use check::Found;
pub use config::{Attention, Config, Window};
pub use model::{Context, LanguageModel};
pub use rope::{Rope, RopeScaling};
pub use sampler::{Allowed, Counts, Sampling};
