//! What was checked, and what came out.

use nabla_types::{ReceiptId, receipt::Receipt};
use serde::Serialize;

/// The things that can be checked about a receipt, in the order in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The bytes are a receipt in its one encoding.
    Format,
    /// The provider's signature.
    Signature,
    /// It belongs to the expected network.
    Network,
    /// It was made for this client's nonce.
    Nonce,
    /// It names the expected model.
    Model,
    /// It names the expected payment.
    Payment,
    /// It commits to the request's bytes.
    Request,
    /// It commits to each input tensor of the request.
    Inputs,
    /// It commits to the response's bytes.
    Response,
    /// It commits to each output tensor of the response.
    Outputs,
    /// The amount is what price and usage give.
    Amount,
    /// It commits to the payer.
    Payer,
    /// It stands in a signed block of its network.
    Inclusion,
    /// Another run gave the same bits.
    Replay,
}

impl CheckName {
    /// The name as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Signature => "signature",
            Self::Network => "network",
            Self::Nonce => "nonce",
            Self::Model => "model",
            Self::Payment => "payment",
            Self::Request => "request",
            Self::Inputs => "inputs",
            Self::Response => "response",
            Self::Outputs => "outputs",
            Self::Amount => "amount",
            Self::Payer => "payer",
            Self::Inclusion => "inclusion",
            Self::Replay => "replay",
        }
    }
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It holds.
    Passed {
        /// What was found, in words.
        detail: String,
    },
    /// It does not hold.
    Failed {
        /// What would have been right.
        expected: String,
        /// What is there.
        got: String,
    },
    /// It could not be checked.
    Skipped {
        /// What is missing to check it.
        missing: String,
    },
}

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: CheckName,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All checks of one receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The receipt's id, where its bytes could be read.
    pub receipt_id: Option<ReceiptId>,
    /// Its claims. To be believed only if [`Report::holds`].
    pub claims: Option<Receipt>,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether format and signature were found good and nothing failed. Skipped checks do not count
    /// against it: look at them.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failure().is_none() && self.passed(CheckName::Signature)
    }

    /// The first check that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| matches!(check.outcome, Outcome::Failed { .. }))
    }

    /// Whether this check was made and passed.
    #[must_use]
    pub fn passed(&self, name: CheckName) -> bool {
        self.checks.iter().any(|c| c.check == name && matches!(c.outcome, Outcome::Passed { .. }))
    }

    /// Add the outcome of a check that needs more than bytes (a replay).
    pub fn push(&mut self, check: CheckName, outcome: Outcome) {
        self.checks.retain(|c| c.check != check);
        self.checks.push(Check { check, outcome });
    }

    /// The first failure in one line, for an error message.
    #[must_use]
    pub fn failure_text(&self) -> Option<String> {
        self.failure().map(|check| match &check.outcome {
            Outcome::Failed { expected, got } => {
                format!("{}: expected {expected}, got {got}", check.check.as_str())
            }
            Outcome::Passed { .. } | Outcome::Skipped { .. } => check.check.as_str().to_owned(),
        })
    }
}
