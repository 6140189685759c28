//! Why there is no picture.

use std::io;

use nabla_types::cbor::CborError;

use super::Role;
use crate::Error;

/// Everything that this module can answer instead of a picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the folder that is not there or cannot be read.
    #[error(
        "cannot read {file} of the pipeline's folder; it must have the shape of a Stable Diffusion export to ONNX"
    )]
    Read {
        /// Its place in the folder.
        file: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the folder that is longer than is read.
    #[error("{file} is longer than {max} bytes")]
    TooLong {
        /// Its place in the folder.
        file: &'static str,
        /// Most bytes that are read.
        max: u64,
    },
    /// A file that is not the JSON it should be.
    #[error("{file} is not valid JSON of its kind: {problem}")]
    Json {
        /// Its place in the folder.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A setting that is not understood, or that contradicts another one.
    #[error("{file}: {key}: expected {expected}, got {got}")]
    Setting {
        /// Where it stands.
        file: &'static str,
        /// Its name.
        key: String,
        /// What is needed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A part whose inputs or outputs are not those of its role, or do not fit the other parts.
    #[error("{role}: {port}: expected {expected}, got {got}")]
    Wiring {
        /// The part.
        role: Role,
        /// Its input or output.
        port: String,
        /// What is needed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The engine refuses a part, or its run failed.
    #[error("the {role} of the pipeline is refused or failed")]
    Part {
        /// The part.
        role: Role,
        /// What the engine said.
        #[source]
        source: Box<Error>,
    },
    /// Stored settings that are not what this crate writes.
    #[error("the stored settings of the pipeline are not valid")]
    Stored(#[from] CborError),
    /// A request that the pipeline does not take.
    #[error("{what}: expected {expected}, got {got}")]
    Request {
        /// Which of its values.
        what: &'static str,
        /// What is taken.
        expected: String,
        /// What was given.
        got: String,
    },
    /// Time steps that the scheduler cannot walk.
    #[error("the scheduler cannot go in {steps} steps: {problem}")]
    Schedule {
        /// Steps asked for.
        steps: u32,
        /// What is wrong.
        problem: String,
    },
    /// The caller stopped it.
    #[error("stopped before step {step}")]
    Stopped {
        /// The step that was not begun, from 0.
        step: u32,
    },
    /// A picture that cannot be written as PNG.
    #[error("the picture cannot be written as PNG")]
    Png(#[from] png::EncodingError),
}

impl ImageError {
    pub(super) fn of(role: Role) -> impl Fn(Error) -> Self {
        move |source| Self::Part { role, source: Box::new(source) }
    }

    pub(super) fn setting(
        file: &'static str,
        key: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        let got: String = got.into();
        Self::Setting {
            file,
            key: key.into(),
            expected: expected.into(),
            got: got.chars().take(120).collect(),
        }
    }
}
