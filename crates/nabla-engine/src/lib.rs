//! Run a model on inputs, reproducibly, within stated limits.
//!
//! An uploaded ONNX file becomes a [`Model`]: a small canonical graph and its weights, whose bytes are the
//! model's identity. A [`Session`] runs it. Every result is defined to the last bit by `spec/kernels.md`:
//! it does not depend on the processor, its vector unit, threads or the other rows of the batch.
//!
//! | module | what it holds |
//! |---|---|
//! | `limits` | [`Limits`]: what a model may cost before it is refused |
//! | `onnx` | [`import_onnx`]: a hostile-proof reader of ONNX files, and [`ExternalData`] |
//! | [`gguf`] | a hostile-proof reader of GGUF files, and what the bytes of their weights mean |
//! | [`language`] | language models: loaded, asked, batched, replayed |
//! | [`safetensors`] | a hostile-proof reader of safetensors files |
//! | [`images`] | pictures from prompts: a diffusion pipeline of three networks |
//! | `graph` | the canonical graph and its bytes |
//! | `model` | [`Model`], its [`Port`]s and its [`Cost`] |
//! | `plan` | types, shapes, cost and life time of every value |
//! | `ops` | one row per operator: how it is read from ONNX, checked and run |
//! | `kernels` | the arithmetic, once; built for each instruction set, with a few instructions of their own |
//! | `residency` | [`ModelCache`]: models in memory and on disk, packed, within bytes |
//! | `runtime` | the seam [`Runtime`] -> [`Session`], and [`Engine`], our implementation |
//!
//! # Rules
//! - Cost is bounded before memory is taken: at import per row, at run for the sizes at hand; what depends on
//!   computed values pays during the run, from the same limits.
//! - Dimensions may be open ([`Symbol`]), with a bound. Each set of sizes has a plan of its own, in which every
//!   shape is a number; plans change no bit.
//! - An output element depends only on what its operator gives it: a row has the same bits alone and in any batch,
//!   unless the model itself mixes rows.
//! - Every NaN that leaves the engine is the one quiet NaN of its type (`0x7fc00000` for f32).
//!
//! # When things go wrong
//! Every failure is an [`Error`] that names the operator, the node, what was expected and what was got.
//! Foreign bytes never cause a panic. A failed run leaves the session usable.
//!
//! # Example
//! ```no_run
//! use std::sync::Arc;
//! use nabla_engine::{Engine, Folder, Kernels, Limits, Runtime, import_onnx};
//! use nabla_types::tensor::{NamedTensor, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::fs::read("model/digits.onnx")?;
//! let model = import_onnx(&file, &Folder::new("model")?, &Limits::default())?;
//! let session = Engine::new(Kernels::Auto)?.prepare(Arc::new(model))?;
//! let x = NamedTensor::new("image", Tensor::f32(&[1, 1, 8, 8], vec![0.0; 64])?);
//! let outputs = session.run(&[x])?;
//! # Ok(()) }
//! ```

mod error;
pub mod gguf;
mod graph;
pub mod images;
mod kernels;
pub mod language;
mod limits;
mod model;
mod onnx;
mod ops;
mod plan;
mod residency;
mod runtime;
pub mod safetensors;

pub use error::{Error, Fault};
pub use graph::Symbol;
pub use kernels::{Kernels, UnknownKernels};
pub use limits::Limits;
pub use model::{Cost, Dim, Interface, Model, Port};
pub use onnx::external::{ExternalData, Folder, NoExternalData};
pub use onnx::import_onnx;
pub use onnx::survey::{Survey, survey_onnx, unsupported_operators};
pub use ops::supported_operators;
pub use residency::{
    CacheConfig, CacheCounters, CacheError, Clock, Disk, FileSource, Lease, ModelCache, Parts, ReadAt,
    Resident, SourceError, Stage, Watch,
};
pub use runtime::{Engine, KERNEL_SPEC, RUNTIME, Runtime, Session};
