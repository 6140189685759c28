//! Running a call again and comparing bit for bit.
//!
//! The request is checked against the receipt's commitment first, so a replay is always of the call that
//! the receipt is about. Equal means: every output tensor's commitment is the one in the receipt.

use nabla_engine::Session;
use nabla_types::{
    api::InferRequest,
    receipt::{Commitment, CommitmentLabel, Receipt, Salt},
    tensor::NamedTensor,
};

/// What a replay showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// Every output is equal, bit for bit.
    Equal,
    /// This output is not.
    Different {
        /// The output's name.
        output: String,
        /// The commitment to what the replay gave.
        expected: Commitment,
        /// The commitment in the receipt.
        got: Option<Commitment>,
    },
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The request is not the one of the receipt.
    #[error("the request is not the one that the receipt commits to")]
    OtherRequest,
    /// The request cannot be read.
    #[error("the request cannot be read: {reason}")]
    Request {
        /// Why.
        reason: String,
    },
    /// The model does not run on these inputs here.
    #[error("the model does not run on these inputs")]
    Run(#[source] nabla_engine::Error),
}

/// Run `session` on the request again and compare with the receipt. Takes as long as the call did.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(
    session: &dyn Session,
    claims: &Receipt,
    request: &[u8],
    salt: Salt,
) -> Result<Replay, ReplayError> {
    if salt.commit(&CommitmentLabel::Request, request) != claims.request {
        return Err(ReplayError::OtherRequest);
    }
    let bad = |reason: String| ReplayError::Request { reason };
    let request: InferRequest = serde_json::from_slice(request).map_err(|error| bad(error.to_string()))?;
    let inputs = request.inputs.into_iter().map(NamedTensor::from_json).collect::<Result<Vec<_>, _>>();
    let outputs = session.run(&inputs.map_err(|error| bad(error.to_string()))?).map_err(ReplayError::Run)?;
    Ok(compare(&outputs, claims, salt))
}

fn compare(outputs: &[NamedTensor], claims: &Receipt, salt: Salt) -> Replay {
    for (index, output) in outputs.iter().enumerate() {
        let expected = salt.commit(&CommitmentLabel::Output(&output.name), &output.tensor.to_bytes());
        let committed = claims.outputs.get(index);
        if committed.is_none_or(|c| c.name != output.name || c.commitment != expected) {
            let got = committed.map(|c| c.commitment);
            return Replay::Different { output: output.name.clone(), expected, got };
        }
    }
    match claims.outputs.get(outputs.len()) {
        None => Replay::Equal,
        Some(extra) => {
            let expected = Commitment([0; 32]);
            Replay::Different { output: extra.name.clone(), expected, got: Some(extra.commitment) }
        }
    }
}
