//! The body for a receipt and everything that its reader may hold beside it.

use nabla_types::{
    Address, ModelId, NetworkId, PaymentId,
    payment::Nonce,
    receipt::{Salt, SignedReceipt},
};
use nabla_verify::{CheckName, Context, Outcome, verify_receipt};

use crate::sections::{Sections, array};

/// Parts: receipt, request, response, proof, then one byte of flags (what the reader has), and the reader's
/// network, nonce, model, payment, salt (32 bytes each) and payer (20 bytes).
pub fn verify(bytes: &[u8]) {
    let mut sections = Sections(bytes);
    let [receipt, request, response, proof] = std::array::from_fn(|_| sections.part());
    let fields = sections.part();
    let flags = fields.first().copied().unwrap_or(0xff);
    let has = |bit: u8| flags & (1 << bit) != 0;
    let field = |index: usize| array::<32>(fields.get(1 + 32 * index..).unwrap_or_default());
    let payer = Address(array(fields.get(161..).unwrap_or_default()));
    let context = Context {
        network: has(0).then(|| NetworkId(field(0))),
        nonce: has(1).then(|| Nonce(field(1))),
        model: has(2).then(|| ModelId(field(2))),
        payment: has(3).then(|| PaymentId(field(3))),
        request: has(4).then_some(request),
        response: has(5).then_some(response),
        salt: has(6).then(|| Salt(field(4))),
        payer: has(6).then_some(payer),
        proof: has(7).then_some(proof),
    };
    check_report(receipt, &context);
}

fn check_report(receipt: &[u8], context: &Context<'_>) {
    let report = verify_receipt(receipt, context);
    let signed = SignedReceipt::from_bytes(receipt);
    assert_eq!(report.passed(CheckName::Format), signed.is_ok());
    assert_eq!(
        report.passed(CheckName::Signature),
        signed.as_ref().is_ok_and(|signed| signed.verify().is_ok())
    );
    assert_eq!(report.holds(), report.failure().is_none() && report.passed(CheckName::Signature));
    assert_eq!(report.failure().is_some(), report.failure_text().is_some());
    assert!(!report.passed(CheckName::Replay), "nothing was run");
    let Ok(signed) = signed else {
        return assert_eq!((report.checks.len(), report.holds()), (1, false));
    };
    let claims = signed.claims();
    assert_eq!((report.receipt_id, report.claims.as_ref()), (Some(signed.id()), Some(claims)));
    let names: std::collections::BTreeSet<&str> =
        report.checks.iter().map(|check| check.check.as_str()).collect();
    assert_eq!((names.len(), report.checks.len()), (14, 14), "each check once");
    if report.passed(CheckName::Network) {
        assert_eq!(context.network, Some(claims.network));
    }
    if report.passed(CheckName::Payer) {
        assert!(context.payer.is_some() && context.salt.is_some());
    }
    for check in &report.checks {
        if let Outcome::Failed { expected, got } = &check.outcome {
            assert!(!expected.is_empty() && !got.is_empty(), "{:?} fails without words", check.check);
        }
    }
}
