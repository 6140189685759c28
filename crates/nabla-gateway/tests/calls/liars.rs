//! Beside each honest provider stands a liar: none of its answers goes out.

use crate::{
    client::{BALANCE, Net, body, header},
    fake::{AMOUNT, Conduct, Lie},
};

const LIES: [Lie; 18] = [
    Lie::ResponseByte,
    Lie::ReceiptByte,
    Lie::Empty,
    Lie::Nonce,
    Lie::Model,
    Lie::ModelName,
    Lie::Revision,
    Lie::Payment,
    Lie::Network,
    Lie::Payer,
    Lie::Salt,
    Lie::Amount,
    Lie::Price,
    Lie::Usage,
    Lie::KernelSpec,
    Lie::Provider,
    Lie::Inputs,
    Lie::Answer,
];

#[tokio::test]
async fn a_liar_is_passed_over_for_an_honest_provider() {
    for lie in LIES.into_iter().chain([Lie::Nothing]) {
        let net = Net::new(2);
        net.fake.behave(0, Conduct::Lies(lie));
        let body = body(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        net.check_answer(&reply, &body);
        assert_eq!(net.fake.payment().provider, net.fake.node(1), "{lie:?}");
        assert_eq!(net.balance(), BALANCE - AMOUNT);
    }
}

#[tokio::test]
async fn among_liars_there_is_no_answer_and_no_charge() {
    for lie in LIES.into_iter().chain([Lie::Nothing]) {
        let net = Net::new(1);
        net.fake.behave(0, Conduct::Lies(lie));
        let body = body(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        reply.check_error(503, "no_provider_answered");
        assert_eq!(net.balance(), BALANCE, "{lie:?}");
    }
}

/// The payment is paid out, so nobody else may run it: there is an error, but still no false answer.
#[tokio::test]
async fn a_liar_that_has_settled_is_not_believed_either() {
    for lie in LIES.into_iter().chain([Lie::OtherReceipt]) {
        let net = Net::new(2);
        net.fake.behave(0, Conduct::SettlesAndLies(lie));
        let body = body(1);
        let payment = net.pay(&body, 1).await;
        net.infer(&body, Some(&payment)).await.check_error(503, "answer_unavailable");
        net.infer(&body, Some(&payment)).await.check_error(503, "answer_unavailable");
        assert_eq!(net.fake.counts().1, 1, "{lie:?}");
    }
}

/// Who allows more than was quoted is still charged no more than was quoted.
#[tokio::test]
async fn a_dearer_price_is_no_good_even_if_the_payment_would_cover_it() {
    let net = Net::new(1);
    net.fake.behave(0, Conduct::Lies(Lie::Price));
    let body = body(1);
    let payment = header(&net.payload_of(&body, 1, AMOUNT * 3).await);
    net.infer(&body, Some(&payment)).await.check_error(503, "no_provider_answered");
    assert_eq!(net.balance(), BALANCE);
}
