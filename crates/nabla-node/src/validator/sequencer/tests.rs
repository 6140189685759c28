//! Many at once, a clock of our own, a full queue, stops and restarts. `tests/validator_killed.rs` kills it.

use std::{path::Path, sync::atomic::AtomicU64};

use nabla_types::{Address, Opg, chain::PaymentStatus};
use tempfile::TempDir;

use super::{
    world::{START_MS, World},
    *,
};

const ONE: Opg = Opg::from_units(1);

/// A validator whose clock is `time_ms`.
fn open_at(folder: &Path, time_ms: &Arc<AtomicU64>) -> Result<SingleValidator, JournalError> {
    let (world, time_ms) = (World::new(), time_ms.clone());
    SingleValidator::open(Setup {
        folder: folder.to_owned(),
        genesis: world.genesis,
        key: world.validator,
        clock: Box::new(move || time_ms.load(Ordering::SeqCst)),
    })
}

fn open(folder: &Path) -> SingleValidator {
    open_at(folder, &Arc::new(AtomicU64::new(START_MS))).expect("a good journal")
}

fn transfer(world: &World, number: u64) -> Tx {
    world.transfer(&world.bob, Address([9; 20]), ONE, number)
}

/// Submit in this order and wait for all the answers.
async fn submit_all(validator: &SingleValidator, txs: Vec<Tx>) -> Vec<Answer> {
    let tickets: Vec<Ticket> = txs.into_iter().map(|tx| validator.submit(tx)).collect();
    let mut answers = Vec::new();
    for ticket in tickets {
        answers.push(ticket.await);
    }
    answers
}

async fn prepare(validator: &SingleValidator, world: &World) {
    for answer in submit_all(validator, world.register_all()).await {
        answer.expect("a good registration");
    }
    validator.submit(world.publish_digits()).await.expect("a good model");
}

#[tokio::test]
async fn an_answer_names_a_block_that_is_there() {
    let folder = TempDir::new().expect("a folder");
    let (validator, world) = (open(folder.path()), World::new());
    let included = validator.submit(transfer(&world, 1)).await.expect("a good transfer");
    assert_eq!(included.tx, transfer(&world, 1).id());
    assert_eq!(validator.state().transaction(&included.tx), Some(included.height));
    assert_eq!(validator.wait_for_height(included.height).await, Ok(included.height));
    let error = validator.submit(transfer(&world, 1)).await;
    assert_eq!(error, Ok(included), "the same bytes again: the same answer");
    let refused = validator.submit(world.transfer(&world.bob, Address([9; 20]), Opg::whole(1000), 2)).await;
    assert_eq!(refused.map_err(|error| error.code()), Err("insufficient_funds"));
    assert_eq!(validator.state().height(), included.height, "nothing to write, no block");
}

/// One account's whole balance is enough for 40 of these 64: 40 succeed, whoever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_reservations_spend_the_balance_once() {
    let folder = TempDir::new().expect("a folder");
    let (validator, world) = (Arc::new(open(folder.path())), World::new());
    prepare(&validator, &world).await;
    let part = Opg::from_units(Opg::whole(100).units() / 40);
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let (validator, tx) = (validator.clone(), world.reserve_for_bob(part, number));
            tokio::spawn(async move { validator.submit(tx).await })
        })
        .collect();
    let mut codes = BTreeMap::new();
    for task in tasks {
        let answer = task.await.expect("no panic");
        *codes.entry(answer.map_or_else(|error| error.code(), |_| "included")).or_insert(0) += 1;
    }
    assert_eq!(codes, BTreeMap::from([("included", 40), ("insufficient_funds", 24)]));
    let state = validator.state();
    assert_eq!(state.account(&world.bob.address()), nabla_types::chain::Account::default());
    assert_eq!(state.totals().reserved, Opg::whole(100));
    assert!(state.recount().is_some());
}

/// The same transaction from many at once is one transaction, and all hear of it.
#[tokio::test]
async fn duplicates_share_one_answer() {
    let folder = TempDir::new().expect("a folder");
    let (validator, world) = (open(folder.path()), World::new());
    let answers = submit_all(&validator, vec![transfer(&world, 1); 10]).await;
    let first = answers[0].clone().expect("a good transfer");
    assert!(answers.iter().all(|answer| answer.as_ref() == Ok(&first)), "{answers:?}");
    assert_eq!(validator.state().account(&Address([9; 20])).purchased, ONE);
}

/// Time passes without any transaction: what is reserved goes back by itself.
#[tokio::test]
async fn a_reservation_expires_by_itself() {
    let folder = TempDir::new().expect("a folder");
    let time_ms = Arc::new(AtomicU64::new(START_MS));
    let (validator, world) = (open_at(folder.path(), &time_ms).expect("new"), World::new());
    prepare(&validator, &world).await;
    let included = validator.submit(world.reserve_for_bob(Opg::whole(1), 1)).await.expect("good");
    time_ms.fetch_add(world.genesis.reservation_ttl_ms, Ordering::SeqCst);
    validator.wake();
    let height = validator.wait_for_height(included.height + 1).await.expect("a block comes");
    let payment = World::payment_id(&world.bob, 1);
    let status = validator.state().payment(&payment).map(|payment| payment.status);
    assert_eq!((height, status), (included.height + 1, Some(PaymentStatus::Released)));
}

#[tokio::test]
async fn a_stop_finishes_what_waits_and_a_restart_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let (validator, world) = (open(folder.path()), World::new());
    let tickets: Vec<Ticket> = (0..50).map(|number| validator.submit(transfer(&world, number))).collect();
    validator.stop();
    for ticket in tickets {
        ticket.await.expect("it was submitted before the stop");
    }
    let late = validator.submit(transfer(&world, 50)).await;
    assert_eq!(late.map_err(|error| error.code()), Err("ledger_stopped"));
    let wait = validator.wait_for_height(u64::MAX).await;
    assert_eq!(
        wait.map_err(|error| error.to_string()),
        Err("the ledger takes no transactions: it was stopped".into())
    );
    let state = validator.state().clone();
    drop(validator);
    let again = open(folder.path());
    assert_eq!(*again.state(), state);
    assert_eq!(again.state().account(&Address([9; 20])).purchased, Opg::from_units(50));
}

/// The folder is locked while the validator lives, and no longer.
#[tokio::test]
async fn one_validator_at_a_time() {
    let folder = TempDir::new().expect("a folder");
    let time_ms = Arc::new(AtomicU64::new(START_MS));
    let first = open_at(folder.path(), &time_ms).expect("new");
    assert!(open_at(folder.path(), &time_ms).is_err());
    first.stop();
    assert!(open_at(folder.path(), &time_ms).is_ok());
}

#[tokio::test]
async fn too_large_a_transaction_is_not_queued() {
    let folder = TempDir::new().expect("a folder");
    let validator = open(folder.path());
    let answer = validator.submit(Tx::Settle(vec![0; TX_BYTES_MAX])).await;
    assert_eq!(answer.map_err(|error| error.code()), Err("transaction_too_large"));
}

/// Submissions beyond the queue's bytes are refused at once, and those taken are all answered.
#[tokio::test]
async fn a_full_queue_says_so() {
    let folder = TempDir::new().expect("a folder");
    let validator = open(folder.path());
    // Bytes that are no receipt: decoding fails, but they wait in the queue until then.
    let garbage = |number: u8| Tx::Settle(vec![number; TX_BYTES_MAX - 16]);
    let answers = submit_all(&validator, (0..100).map(garbage).collect()).await;
    for answer in &answers {
        let code = answer.as_ref().map_err(SubmitError::code);
        assert!(matches!(code, Err("bad_receipt" | "ledger_busy")), "{code:?}");
    }
    assert_eq!(validator.shared.waiting_bytes.load(Ordering::SeqCst), 0);
    assert_eq!(validator.submit(transfer(&World::new(), 1)).await.map(|included| included.height), Ok(1));
}

/// A block that cannot be written is in nobody's answer or sight, and nothing follows it until a restart.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_stops_the_ledger_but_not_its_readers() {
    let folder = TempDir::new().expect("a folder");
    let world = World::new();
    let (mut journal, state) = Journal::open(folder.path(), world.genesis.clone()).expect("new");
    journal.fill_disk();
    let validator = SingleValidator::start(journal, state, world.validator.clone(), Box::new(|| START_MS));
    let answers = submit_all(&validator, (0..3).map(|number| transfer(&world, number)).collect()).await;
    for answer in answers {
        let error = answer.expect_err("the disk is full");
        assert_eq!(error.code(), "ledger_stopped");
    }
    validator.stop();
    let late = validator.submit(transfer(&world, 3)).await.expect_err("stopped").to_string();
    assert!(late.contains("cannot write the journal") && late.contains("No space left"), "{late}");
    assert_eq!(validator.state().height(), 0);
    assert_eq!(validator.state().account(&world.bob.address()).purchased, Opg::whole(100));
    drop(validator);
    let again = open(folder.path());
    assert_eq!(again.submit(transfer(&world, 1)).await.map(|included| included.height), Ok(1));
}
