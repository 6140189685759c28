//! Running a call again and comparing bit for bit.
//!
//! The request is checked against the receipt's commitment first, so a replay is always of the call that
//! the receipt is about. Equal means: every output tensor's commitment is the one in the receipt, and usage,
//! kernel spec and sampling are what model and request give. A chat is run again in one pass over its tokens
//! ([`replay_chat`]), and its answer's bytes are built again.

use nabla_engine::Error;
use nabla_types::{
    api::InferRequest,
    manifest::ModelManifest,
    receipt::{CommitmentLabel, Receipt, Salt},
    tensor::NamedTensor,
};

use crate::models::Loaded;

pub use chat::replay_chat;

mod chat;

/// What a replay showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Every output is equal, bit for bit, and so is what was charged for.
    Equal,
    /// Something is not.
    Different {
        /// What differs: an output's name, or a claim.
        what: String,
        /// What the replay gives.
        expected: String,
        /// What the receipt says.
        got: String,
    },
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The request is not the one of the receipt.
    #[error("the request is not the one that the receipt commits to")]
    OtherRequest,
    /// The answer is not the one of the receipt.
    #[error("the answer is not the one that the receipt commits to")]
    OtherAnswer,
    /// This machine cannot run the model.
    #[error("the model does not run here")]
    Run(#[source] nabla_engine::Error),
}

/// Run a model on the request again and compare with the receipt. Takes as long as the call did.
///
/// A request that the model refuses has no answer, so a receipt for one is different, too.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(loaded: &Loaded, claims: &Receipt, request: &[u8], salt: Salt) -> Result<Replay, ReplayError> {
    if salt.commit(&CommitmentLabel::Request, request) != claims.request {
        return Err(ReplayError::OtherRequest);
    }
    let inputs = match read_inputs(request) {
        Ok(inputs) => inputs,
        Err(reason) => return Ok(different("request", format!("none, for {reason}"), "an answer")),
    };
    if let Some(difference) = compare_charges(&loaded.manifest, &inputs, claims) {
        return Ok(difference);
    }
    match loaded.session.run(&inputs) {
        Ok(outputs) => Ok(compare(&outputs, claims, salt)),
        Err(error @ (Error::Kernels { .. } | Error::FloatMode { .. })) => Err(ReplayError::Run(error)),
        Err(refusal) => Ok(different("request", format!("none, for {refusal}"), "an answer")),
    }
}

fn different(what: &str, expected: impl ToString, got: impl ToString) -> Replay {
    Replay::Different { what: what.to_owned(), expected: expected.to_string(), got: got.to_string() }
}

fn read_inputs(request: &[u8]) -> Result<Vec<NamedTensor>, String> {
    let request: InferRequest = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    let inputs = request.inputs.into_iter().map(NamedTensor::from_json).collect::<Result<_, _>>();
    inputs.map_err(|error| error.to_string())
}

/// What the receipt charges for must follow from the manifest and the inputs.
fn compare_charges(manifest: &ModelManifest, inputs: &[NamedTensor], claims: &Receipt) -> Option<Replay> {
    let usage = manifest.usage(inputs.iter().map(|input| input.tensor.shape()));
    if usage != Some(claims.usage) {
        return Some(different("usage", format!("{usage:?}"), format!("{:?}", claims.usage)));
    }
    if claims.kernel_spec != manifest.kernel_spec {
        return Some(different("kernel spec", manifest.kernel_spec, claims.kernel_spec));
    }
    claims.sampling.as_ref().map(|sampling| different("sampling", "none", format!("{sampling:?}")))
}

fn compare(outputs: &[NamedTensor], claims: &Receipt, salt: Salt) -> Replay {
    for (index, output) in outputs.iter().enumerate() {
        let expected = salt.commit(&CommitmentLabel::Output(&output.name), &output.tensor.to_bytes());
        let committed = claims.outputs.get(index);
        if committed.is_none_or(|c| c.name != output.name || c.commitment != expected) {
            let got = committed.map_or("none".to_owned(), |c| format!("{:?} {}", c.name, c.commitment));
            return different(&format!("output {:?}", output.name), expected, got);
        }
    }
    match claims.outputs.get(outputs.len()) {
        None => Replay::Equal,
        Some(extra) => different("outputs", outputs.len(), format!("one more, {:?}", extra.name)),
    }
}
