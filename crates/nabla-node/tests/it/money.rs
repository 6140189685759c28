//! Many calls at once: nobody pays twice, nobody gets a call for nothing, and the sum never changes.

use std::{collections::BTreeSet, sync::Arc};

use nabla_client::{Answer, Error, Spending};
use nabla_types::{Opg, chain::PaymentStatus, receipt::SignedReceipt};
use tokio::task::JoinSet;

use crate::network::{TestNetwork, digits, now_s, one_digit, request, status_of, times};

const CALLS: u32 = 64;

/// `CALLS` calls at once from one account; what came back.
async fn storm(network: &Arc<TestNetwork>, account: &str, amount: Opg) -> Vec<Result<Answer, Error>> {
    let account = Arc::new(network.account(account, amount).await);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (network, account) = (network.clone(), account.clone());
        calls.spawn(async move {
            let spending = Spending { account: &account, price_max: None, now_s: now_s() };
            network.gateway.infer(&digits(), None, one_digit(), spending).await
        });
    }
    calls.join_all().await
}

/// Every answer has a payment and a receipt of its own, and the ledger has settled just these.
async fn check_answers(network: &TestNetwork, answers: &[&Answer], price: Opg) {
    let mut receipts = BTreeSet::new();
    for answer in answers {
        let receipt = SignedReceipt::from_bytes(&answer.receipt).expect("a receipt").id();
        let payment = network.ledger.payment(answer.payment).await.expect("the ledger answers");
        let payment = payment.expect("the payment is known");
        assert_eq!(payment.status, PaymentStatus::Settled { receipt });
        assert_eq!((payment.payer, answer.claims.amount), (answer.payer, price));
        assert!(receipts.insert(receipt), "two answers have one receipt");
    }
    let payments: BTreeSet<_> = answers.iter().map(|answer| answer.payment).collect();
    assert_eq!(payments.len(), answers.len(), "two answers have one payment");
}

/// 64 calls at once, money for 20: 20 are answered, 44 are refused for want of money, not one unit is lost.
#[tokio::test(flavor = "multi_thread")]
async fn money_for_n_calls_buys_n_calls() {
    const PAID_FOR: u64 = 20;
    // Room for all of them, so that money is the only thing that runs out.
    let network = Arc::new(TestNetwork::start(|config| config.inference.jobs_max = 2 * CALLS).await);
    let price = network.terms(&request(1)).await.amount;
    let before = network.status().await;
    let results = storm(&network, "bob", times(price, PAID_FOR)).await;
    let after = network.status().await;

    let answers: Vec<&Answer> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    let refused: Vec<&Error> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(answers.len() as u64, PAID_FOR, "{refused:?}");
    for error in refused {
        assert_eq!(status_of(error), 402, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("fund")), "{error:?}");
    }
    check_answers(&network, &answers, price).await;
    assert_eq!(network.balance(answers[0].payer).await, Opg::ZERO);
    assert_eq!((after.total, after.reserved), (before.total, Opg::ZERO));
    assert_eq!(after.receipts - before.receipts, PAID_FOR);
    Arc::into_inner(network).expect("all calls have ended").stop().await;
}

/// 64 calls at once on nodes with two places each: what is turned away costs nothing, what is answered is
/// paid for once.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_find_no_place_cost_nothing() {
    let network = Arc::new(TestNetwork::start(|config| config.inference.jobs_max = 2).await);
    let price = network.terms(&request(1)).await.amount;
    let before = network.status().await;
    let purse = times(price, u64::from(CALLS));
    let results = storm(&network, "bob", purse).await;
    let after = network.status().await;

    let answers: Vec<&Answer> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert!(!answers.is_empty(), "nobody was answered: {results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!([429, 503].contains(&status_of(error)), "{error}");
        assert!(error.hint().is_some(), "{error:?}");
    }
    check_answers(&network, &answers, price).await;
    let spent = times(price, answers.len() as u64);
    assert_eq!(network.balance(answers[0].payer).await.checked_add(spent), Some(purse));
    assert_eq!((after.total, after.reserved), (before.total, Opg::ZERO));
    assert_eq!(after.receipts - before.receipts, answers.len() as u64);
    Arc::into_inner(network).expect("all calls have ended").stop().await;
}

/// One payment sent 64 times at once with one request buys one answer, and each sender gets that answer.
/// With any other request, before, meanwhile or after, it buys nothing.
#[tokio::test(flavor = "multi_thread")]
async fn one_payment_buys_one_answer() {
    let network = Arc::new(TestNetwork::start(|config| config.inference.jobs_max = 2 * CALLS).await);
    let (bodies, bob) = ([request(1), request(2)], network.account("bob", Opg::whole(1)).await);
    let terms = network.terms(&bodies[0]).await;
    let payment = network.pay(&bob, &terms, 7);
    let mut calls = JoinSet::new();
    for number in (0..CALLS).map(|call| usize::from(call % 2 == 1)) {
        let (network, payment, body) = (network.clone(), payment.clone(), bodies[number].clone());
        calls.spawn(async move { (number, network.send(&body, &payment).await) });
    }
    let mut answers = calls.join_all().await;
    answers.push((0, network.send(&bodies[0], &payment).await));
    answers.push((1, network.send(&bodies[1], &payment).await));

    // Which of the two came first is chance; from then on, all is decided.
    let winner = answers.iter().find(|(_, answer)| answer.0 == 200).expect("one is answered").clone();
    for (body, (status, receipt, text)) in &answers {
        match *body == winner.0 {
            true => assert_eq!((*status, receipt, text), (200, &winner.1.1, &winner.1.2)),
            false => assert!(*status == 409 && text.contains("payment_replayed"), "{status} {text}"),
        }
    }
    let left = Opg::whole(1).checked_sub(terms.amount);
    assert_eq!(Some(network.balance(bob.address()).await), left);
    assert_eq!(network.status().await.reserved, Opg::ZERO);
    Arc::into_inner(network).expect("all calls have ended").stop().await;
}
