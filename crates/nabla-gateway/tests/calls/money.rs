//! Where the money is, whatever fails: the fake ledger's books balance at every look.

use std::sync::atomic::Ordering;

use nabla_types::{NodeId, chain::PaymentStatus};

use crate::{
    client::{BALANCE, Net, body, header},
    fake::{AMOUNT, Conduct, LedgerFaults},
};

#[tokio::test]
async fn an_empty_wallet_gets_the_terms_again() {
    let net = Net::new(1);
    let body = body(1);
    let payment = header(&net.payload_of(&body, 1, BALANCE + 1).await);
    net.infer(&body, Some(&payment)).await.check_402("insufficient_funds");
    assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
}

#[tokio::test]
async fn too_little_or_too_late_gets_the_terms_again() {
    let net = Net::new(1);
    let body = body(1);
    let little = header(&net.payload_of(&body, 1, AMOUNT - 1).await);
    net.infer(&body, Some(&little)).await.check_402("invalid_exact_evm_payload_authorization_value");
    let payment = net.pay(&body, 2).await;
    net.fake.now_ms.fetch_add(111_000, Ordering::SeqCst);
    net.infer(&body, Some(&payment)).await.check_402("invalid_exact_evm_payload_authorization_valid_before");
    assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
}

#[tokio::test]
async fn a_payment_buys_one_request() {
    let net = Net::new(2);
    let (first, second) = (body(1), body(2));
    let payment = net.pay(&first, 1).await;
    net.check_answer(&net.infer(&first, Some(&payment)).await, &first);
    // A request for another name or model is refused here, another request for the same by the provider.
    let other_name = first.replace("alice/digits", "alice/letters");
    let pinned = format!("{{\"model_id\":\"{}\",{}", "07".repeat(32), first.trim().trim_start_matches('{'));
    for (request, asked) in [(&other_name, 1), (&pinned, 1), (&second, 2)] {
        net.infer(request, Some(&payment)).await.check_error(409, "payment_replayed");
        assert_eq!(net.fake.counts(), (asked, 1), "{request}");
    }
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

/// A provider's answer is lost after it settled: nobody else runs, and its stored answer is fetched.
#[tokio::test]
async fn a_lost_answer_is_fetched_not_made_again() {
    let net = Net::new(2);
    net.fake.behave(0, Conduct::LosesFirstAnswer);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
    assert_eq!(net.fake.payment().provider, net.fake.node(0));
    assert_eq!((net.fake.counts(), net.balance()), ((2, 1), BALANCE - AMOUNT));
}

/// The same, where there is no other provider: the release finds the payment settled.
#[tokio::test]
async fn a_lost_answer_of_the_only_provider_is_fetched() {
    let net = Net::new(1);
    net.fake.behave(0, Conduct::LosesFirstAnswer);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
    assert_eq!(net.fake.counts(), (2, 1));
}

#[tokio::test]
async fn an_answer_whose_provider_has_left_is_unavailable() {
    let net = Net::new(2);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    net.infer(&body, Some(&payment)).await;
    let node = net.fake.node(0);
    net.fake.state().gone.push(node);
    let info = net.infer(&body, Some(&payment)).await.check_error(503, "answer_unavailable");
    assert!(info.message.contains(&node.to_string()));
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

#[tokio::test]
async fn a_lost_reply_of_the_ledger_is_looked_up() {
    let net = Net::new(2);
    net.fake.state().ledger.reserve_reply_lost = true;
    net.fake.state().ledger.reassign_reply_lost = true;
    net.fake.behave(0, Conduct::Down);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

#[tokio::test]
async fn without_a_ledger_nothing_is_run() {
    let net = Net::new(2);
    net.fake.state().ledger.reserve_down = true;
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    net.infer(&body, Some(&payment)).await.check_error(503, "unavailable");
    assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
    net.fake.state().ledger.reserve_down = false;
    net.check_answer(&net.infer(&body, Some(&payment)).await, &body);
}

/// The outcome is unknown, so the client is told to send the same again; what is then done follows from the
/// ledger.
#[tokio::test]
async fn a_ledger_that_goes_down_in_between_costs_nothing_twice() {
    let net = Net::new(2);
    net.fake.state().ledger.down_after_reserve = true;
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    let info = net.infer(&body, Some(&payment)).await.check_error(503, "payment_unknown");
    assert!(info.hint.is_some_and(|hint| hint.contains("same payment again")));
    net.fake.state().ledger = LedgerFaults::default();
    net.check_answer(&net.infer(&body, Some(&payment)).await, &body);
    assert_eq!((net.fake.counts(), net.balance()), ((1, 1), BALANCE - AMOUNT));
}

/// The gateway never says "released" where the ledger did not, and the same payment goes on later.
#[tokio::test]
async fn money_that_could_not_be_released_stays_reserved_and_can_be_used() {
    let net = Net::new(2);
    net.fake.state().ledger.reassign_down = true;
    net.fake.state().ledger.release_down = true;
    net.fake.behave(0, Conduct::Down);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    let info = net.infer(&body, Some(&payment)).await.check_error(503, "no_provider_answered");
    assert!(info.message.ends_with("goes back when its reservation expires"), "{}", info.message);
    assert_eq!(net.balance(), BALANCE - AMOUNT);
    net.fake.behave(0, Conduct::Honest);
    net.check_answer(&net.infer(&body, Some(&payment)).await, &body);
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

#[tokio::test]
async fn a_resumed_call_moves_on_if_its_provider_has_left() {
    let net = stuck().await;
    let (body, payment) = (body(1), net.pay(&body(1), 1).await);
    let node = net.fake.node(0);
    net.fake.state().gone.push(node);
    net.check_answer(&net.infer(&body, Some(&payment)).await, &body);
    assert_eq!(net.fake.payment().provider, net.fake.node(1));
}

#[tokio::test]
async fn a_resumed_call_does_not_move_to_a_dearer_provider() {
    let net = stuck().await;
    let (body, payment) = (body(1), net.pay(&body(1), 1).await);
    let (gone, dear) = (net.fake.node(0), net.fake.node(1));
    net.fake.state().gone.push(gone);
    net.fake.state().prices.insert(dear, AMOUNT);
    net.infer(&body, Some(&payment)).await.check_error(503, "no_provider_answered");
    assert_eq!((net.fake.counts(), net.fake.payment().provider), ((1, 0), gone));
}

#[tokio::test]
async fn an_expired_reservation_is_not_worked_on() {
    let net = stuck().await;
    let (body, payment) = (body(1), net.pay(&body(1), 1).await);
    net.fake.now_ms.fetch_add(120_000, Ordering::SeqCst);
    net.infer(&body, Some(&payment)).await.check_error(409, "payment_expired");
    assert_eq!(net.fake.counts(), (1, 0));
}

#[tokio::test]
async fn a_payment_reserved_elsewhere_is_left_alone() {
    let net = stuck().await;
    let (body, payment) = (body(1), net.pay(&body(1), 1).await);
    net.fake.state().payments.values_mut().for_each(|entry| entry.gateway = NodeId([9; 32]));
    net.infer(&body, Some(&payment)).await.check_error(409, "payment_elsewhere");
    assert_eq!(net.fake.counts(), (1, 0));
}

/// An authorisation can be read on the ledger: whoever shows it with a bad request undoes nothing.
#[tokio::test]
async fn a_bad_request_does_not_release_anothers_reservation() {
    let net = stuck().await;
    let payment = net.pay(&body(1), 1).await;
    net.fake.behave(0, Conduct::Rejects(422));
    net.fake.state().ledger.release_down = false;
    net.infer(&body(2), Some(&payment)).await.check_error(422, "bad_input");
    assert!(matches!(net.fake.payment().status, PaymentStatus::Reserved { .. }));
    net.fake.behave(0, Conduct::Honest);
    net.check_answer(&net.infer(&body(1), Some(&payment)).await, &body(1));
}

/// A network where payment 1 for request 1 is reserved for node 0 and its call has ended.
async fn stuck() -> Net {
    let net = Net::new(2);
    net.fake.state().ledger.reassign_down = true;
    net.fake.state().ledger.release_down = true;
    net.fake.behave(0, Conduct::Down);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    net.infer(&body, Some(&payment)).await.check_error(503, "no_provider_answered");
    net.fake.behave(0, Conduct::Honest);
    net.fake.state().ledger.reassign_down = false;
    net
}
