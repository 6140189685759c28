//! A verifier's word on a settled receipt.
//!
//! # Rules
//! - A registered verifier signs it. Each verifier judges a receipt once, and never its own.
//! - A verdict is counted for the provider. It moves no money yet: slashing comes with disputes.

use nabla_types::{
    chain::{Outcome, Role, Verdict, VerdictRecord},
    signature::{Domain, Signature},
};

use crate::{block::Draft, reject::Reject};

impl Draft<'_> {
    pub(super) fn verdict(&mut self, verdict: &Verdict, signature: &Signature) -> Result<(), Reject> {
        let Verdict { receipt, verifier, outcome } = *verdict;
        self.node_with_role(verifier, Role::Verifier)?;
        let settled = self.tables.receipts.get(&receipt).ok_or(Reject::UnknownReceipt { receipt })?;
        let provider = settled.provider;
        if provider == verifier {
            return Err(Reject::OwnReceipt { node: verifier });
        }
        if self.tables.verdicts.contains(&(receipt, verifier)) {
            return Err(Reject::VerdictKnown { receipt, verifier });
        }
        self.check_node_signature(verifier, Domain::VERDICT, verdict, signature)?;
        let mut counts = self.tables.node_counts.get(&provider).copied().unwrap_or_default();
        let count = match outcome {
            Outcome::Equal => &mut counts.replayed_equal,
            Outcome::Different => &mut counts.replayed_different,
        };
        *count = count.checked_add(1).ok_or(Reject::Overflow { what: "a counter" })?;
        self.tables.node_counts.put(provider, counts);
        let record = VerdictRecord { verifier, outcome, height: self.height };
        self.tables.verdicts.put((receipt, verifier), record);
        Ok(())
    }
}
