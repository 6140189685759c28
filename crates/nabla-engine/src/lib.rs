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
//! | `graph` | the canonical graph and its bytes |
//! | `model` | [`Model`], its [`Port`]s and its [`Cost`] |
//! | `plan` | types, shapes, cost and life time of every value |
//! | `ops` | one row per operator: how it is read from ONNX, checked and run |
//! | `kernels` | the arithmetic, once; a vector build of the same bodies is in `kernels::x86` |
//! | `runtime` | the seam [`Runtime`] -> [`Session`], and [`Engine`], our implementation |
//!
//! # Rules
//! - Cost is bounded before memory is taken: at import per row, at run for the batch at hand.
//! - The batch is one symbolic leading dimension. An operator that would mix its rows is refused, so a
//!   row gives the same bits alone and in any batch.
//! - Every NaN that leaves the engine is the quiet NaN `0x7fc00000` (f64 `0x7ff8_0000_0000_0000`).
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
mod graph;
mod kernels;
mod limits;
mod model;
mod onnx;
mod ops;
mod plan;
mod runtime;

pub use error::{Error, Fault};
pub use kernels::Kernels;
pub use limits::Limits;
pub use model::{Cost, Dim, Model, Port};
pub use onnx::external::{ExternalData, Folder, NoExternalData};
pub use onnx::import_onnx;
pub use ops::supported_operators;
pub use runtime::{Engine, KERNEL_SPEC, RUNTIME, Runtime, Session};
