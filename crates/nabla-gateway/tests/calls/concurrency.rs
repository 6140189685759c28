//! Many at once, and clients that go away. The runtime has one thread, so that yielding lets every task
//! come to where it waits.

use nabla_gateway::Config;

use crate::{
    client::{BALANCE, Net, Reply, body},
    fake::{AMOUNT, Conduct},
};

/// Let every task run until it waits for something that this test controls.
async fn settle_down() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// From now on runs wait until [`open`].
fn close(net: &Net) {
    net.fake.gate.forget_permits(usize::MAX >> 4);
}

fn open(net: &Net) {
    net.fake.gate.add_permits(1000);
}

async fn all(tasks: Vec<tokio::task::JoinHandle<Reply>>) -> Vec<Reply> {
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.expect("no task panics"));
    }
    replies
}

#[tokio::test]
async fn one_payment_sent_64_times_is_one_run() {
    let net = Net::new(2);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    close(&net);
    let tasks = (0..64).map(|_| net.spawn(&body, &payment)).collect();
    settle_down().await;
    assert_eq!(net.fake.counts(), (1, 0));
    open(&net);
    let replies = all(tasks).await;
    for reply in &replies {
        net.check_answer(reply, &body);
        assert_eq!(reply.headers, replies[0].headers);
    }
    assert_eq!((net.fake.counts(), net.balance()), ((1, 1), BALANCE - AMOUNT));
}

#[tokio::test]
async fn a_failure_is_shared_too() {
    let net = Net::new(1);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    close(&net);
    net.fake.behave(0, Conduct::Down);
    let tasks = (0..64).map(|_| net.spawn(&body, &payment)).collect();
    settle_down().await;
    open(&net);
    for reply in all(tasks).await {
        reply.check_error(503, "no_provider_answered");
    }
    assert_eq!((net.fake.counts(), net.balance()), ((1, 0), BALANCE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_payments_are_64_answers() {
    let net = Net::new(2);
    let mut calls = Vec::new();
    for id in 1..=64 {
        calls.push((body(id), net.pay(&body(id), id).await));
    }
    let tasks = calls.iter().map(|(body, payment)| net.spawn(body, payment)).collect();
    for (reply, (body, _)) in all(tasks).await.iter().zip(&calls) {
        net.check_answer(reply, body);
    }
    assert_eq!((net.fake.counts(), net.balance()), ((64, 64), BALANCE - 64 * AMOUNT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_payment_for_64_requests_pays_one() {
    let net = Net::new(2);
    let payment = net.pay(&body(1), 1).await;
    let tasks = (1..=64).map(|id| net.spawn(&body(id), &payment)).collect();
    let replies = all(tasks).await;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.check_error(409, "payment_replayed");
    }
    assert_eq!((net.fake.counts().1, net.balance()), (1, BALANCE - AMOUNT));
}

/// While a call is in work, its payment shows nobody with another request anything.
#[tokio::test]
async fn a_call_in_work_is_not_shared_with_another_request() {
    let net = Net::new(1);
    let payment = net.pay(&body(1), 1).await;
    close(&net);
    let task = net.spawn(&body(1), &payment);
    settle_down().await;
    net.infer(&body(2), Some(&payment)).await.check_error(409, "payment_replayed");
    open(&net);
    net.check_answer(&task.await.expect("no panic"), &body(1));
}

#[tokio::test]
async fn a_call_goes_on_without_its_client() {
    let net = Net::new(1);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    close(&net);
    let task = net.spawn(&body, &payment);
    settle_down().await;
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    open(&net);
    net.gateway.finish().await;
    assert_eq!((net.fake.counts(), net.balance()), ((1, 1), BALANCE - AMOUNT));
    net.infer(&body, Some(&payment)).await.check_error(429, "gateway_busy");
}

#[tokio::test]
async fn a_client_that_went_away_can_come_back() {
    let net = Net::new(1);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    close(&net);
    let task = net.spawn(&body, &payment);
    settle_down().await;
    task.abort();
    let second = net.spawn(&body, &payment);
    settle_down().await;
    open(&net);
    net.check_answer(&second.await.expect("no panic"), &body);
    assert_eq!((net.fake.counts(), net.balance()), ((1, 1), BALANCE - AMOUNT));
}

/// A call whose client has gone still fills its place; nothing waits for one.
#[tokio::test]
async fn a_full_gateway_refuses_at_once() {
    let net = Net::with(1, Config { calls_max: 2, ..Config::new("http://gateway") });
    let payments = [net.pay(&body(1), 1).await, net.pay(&body(2), 2).await];
    close(&net);
    let (first, second) = (net.spawn(&body(1), &payments[0]), net.spawn(&body(2), &payments[1]));
    settle_down().await;
    first.abort();
    settle_down().await;
    let reply = net.infer(&body(3), None).await;
    reply.check_error(429, "gateway_busy");
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(net.get("/nabla/v1/network").await.status, 200);
    open(&net);
    net.check_answer(&second.await.expect("no panic"), &body(2));
    settle_down().await;
    net.infer(&body(3), None).await.check_402("payment_required");
}
