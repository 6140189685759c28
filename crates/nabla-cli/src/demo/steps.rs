//! The honest part of the story: publish, lose storage, serve, pay, verify, replay.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nabla_client::{Answer, Spending, publish::Publisher};
use nabla_pay::AccountKey;
use nabla_store::Code;
use nabla_types::{
    Opg, ReceiptId,
    chain::{Outcome, Role, VerdictRecord},
    receipt::SignedReceipt,
    tensor::{NamedTensor, TensorData, TensorJson},
};
use nabla_verify::CheckName;
use serde::Deserialize;

use super::{
    bundled::{self, Bundle},
    network::DemoNetwork,
    story::{Told, ensure},
};
use crate::{
    commands::verify::Files,
    home::{file, now_s, write_answer},
    output::bytes,
};

/// Any 3 of 5 shards suffice.
pub(super) const CODE: (u16, u16) = (3, 5);
/// Paid calls in the step that counts money.
const PAID_CALLS: usize = 20;
/// How long a verdict is waited for.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn start() -> Result<(DemoNetwork, Told)> {
    let network = Box::pin(DemoNetwork::start()).await?;
    let mut told = Told::default();
    let count = |role| network.running(role).count();
    let nodes = network.seats.iter().filter(|seat| seat.node.is_some()).count();
    told.line(format!(
        "{nodes} nodes, each with its own folder and listener: {} validator, {} storage, {} inference, {} verifier, {} gateway.",
        count(Role::Validator), count(Role::Storage), count(Role::Inference), count(Role::Verifier), count(Role::Gateway),
    ));
    told.line(format!(
        "No service, no account, no network access: everything is on loopback, in {}.",
        network.folder.path().display()
    ));
    told.figure("nodes", nodes);
    Ok((network, told))
}

pub(super) async fn publish(demo: &DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let Ok(code) = Code::new(CODE.0, CODE.1) else { unreachable!("3 of 5 is a code") };
    let (ledger, blobs) = (&demo.network.ledger, &demo.network.blobs);
    let (network, chain_id) = (demo.network.info.network, demo.network.info.chain_id);
    let publisher = Publisher { ledger, blobs, network, chain_id, code };
    for name in bundled::names() {
        let package = bundled::package_of(&name)?;
        let published = publisher.publish(&name, &package, &demo.alice, &|_| {}).await?;
        told.line(format!(
            "{} ({}): {} became {} in shards on 5 storage nodes; alice signed it and paid {} OPG for storage.",
            name, published.model.short(), bytes(package.size_bytes()), bytes(published.stored_bytes), published.storage_fee,
        ));
        told.figure(&format!("{}_stored_bytes", name.name()), published.stored_bytes);
    }
    told.line("A model's id is the hash of its graph and weights: it is the same wherever it lies and whoever serves it.");
    Ok(((), told))
}

pub(super) async fn lose_storage(demo: &mut DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    for name in ["storage-1", "storage-2"] {
        demo.seat(name)?.stop().await;
    }
    let left = demo.running(Role::Storage).count();
    ensure(left == 3, || format!("expected 3 storage nodes to be left, found {left}"))?;
    told.line("storage-1 and storage-2 are down: as many as the coding tolerates. Any 3 of 5 shards rebuild a file.");
    told.figure("storage_left", left);
    Ok(((), told))
}

/// A bundled model's held-out test.
#[derive(Debug, Deserialize)]
struct Heldout {
    inputs: Vec<TensorJson>,
}

pub(super) async fn serve(demo: &DemoNetwork) -> Result<(Answer, Told)> {
    let mut told = Told::default();
    let warm: usize = demo
        .running(Role::Inference)
        .filter_map(|node| node.models())
        .map(|models| models.warm().len())
        .sum();
    ensure(warm == 0, || format!("expected inference nodes that have seen no model, found {warm} loaded"))?;
    let account = fresh_account(demo, "bob").await?;
    let mut last = None;
    for bundle in bundled::ALL {
        let started = Instant::now();
        let answer = ask(demo, &bundle, heldout(&bundle)?, &account).await?;
        let took = started.elapsed();
        let labels: Vec<i64> = serde_json::from_slice(bundle.labels)?;
        let right = count_right(&answer, &labels)?;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred rows")]
        let accuracy = right as f64 / labels.len() as f64;
        ensure(accuracy >= bundle.accuracy_min, || format!("{}: accuracy {accuracy:.4}", bundle.name()))?;
        told.line(format!(
            "{}: node {} had never seen it: found it, fetched it from what is left, checked it, loaded it,",
            bundle.name(),
            answer.claims.provider.short(),
        ));
        told.line(format!(
            "  and read {} of {} held-out {} right ({:.1} %) in {} ms from the first byte asked to the last checked.",
            right, labels.len(), bundle.what, accuracy * 100.0, took.as_millis(),
        ));
        told.figure(&format!("{}_accuracy", bundle.name().name()), accuracy);
        told.milliseconds(&format!("{}_cold_ms", bundle.name().name()), took);
        last = last.or(Some(answer));
    }
    Ok((last.context("there are bundled models")?, told))
}

pub(super) fn heldout(bundle: &Bundle) -> Result<Vec<TensorJson>> {
    Ok(serde_json::from_slice::<Heldout>(bundle.heldout)?.inputs)
}

pub(super) async fn fresh_account(demo: &DemoNetwork, name: &str) -> Result<AccountKey> {
    let key = nabla_node::account_key(&demo.path(&format!("{name}.key")))?;
    demo.network.ledger.faucet(key.address()).await?;
    Ok(key)
}

pub(super) async fn ask(
    demo: &DemoNetwork,
    bundle: &Bundle,
    inputs: Vec<TensorJson>,
    account: &AccountKey,
) -> Result<Answer> {
    let spending = Spending { account, price_max: None, now_s: now_s() };
    Ok(demo.network.gateway.infer(&bundle.name(), None, inputs, spending).await?)
}

/// Rows whose most probable class is the true one.
fn count_right(answer: &Answer, labels: &[i64]) -> Result<usize> {
    let probabilities = answer.outputs.iter().find(|output| output.name == "probabilities");
    let tensor =
        NamedTensor::from_json(probabilities.context("an output named probabilities")?.clone())?.tensor;
    let TensorData::F32(values) = tensor.data() else { anyhow::bail!("expected FP32 probabilities") };
    let classes = values.len() / labels.len().max(1);
    ensure(classes > 0 && values.len() == classes * labels.len(), || {
        format!("{} values for {} rows", values.len(), labels.len())
    })?;
    let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
    let right =
        |(row, label): (&[f32], &i64)| best(row).is_some_and(|class| i64::try_from(class) == Ok(*label));
    Ok(values.chunks(classes).zip(labels).filter(|pair| right(*pair)).count())
}

/// Take one row of a batch.
pub(super) fn one_row(inputs: &[TensorJson]) -> Result<Vec<TensorJson>> {
    let row = |json: &TensorJson| -> Result<TensorJson> {
        let NamedTensor { name, tensor } = NamedTensor::from_json(json.clone())?;
        let (mut shape, data) = tensor.into_parts();
        let rows = shape.first().copied().unwrap_or(1).max(1);
        let TensorData::F32(values) = data else { anyhow::bail!("expected FP32 inputs") };
        shape[0] = 1;
        let length = values.len() / usize::try_from(rows)?;
        Ok(NamedTensor::new(name, nabla_types::tensor::Tensor::f32(&shape, values[..length].to_vec())?)
            .to_json())
    };
    inputs.iter().map(row).collect()
}

/// Money before or after: payer, provider, owner, burned, and all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Purse {
    payer: Opg,
    provider: Opg,
    owner: Opg,
    burned: Opg,
    total: Opg,
}

async fn purse(demo: &DemoNetwork, payer: &AccountKey) -> Result<Purse> {
    let ledger = &demo.network.ledger;
    let balance = async |address| -> Result<Opg> {
        let account = ledger.account(address).await?;
        account.purchased.checked_add(account.granted).context("balances are below 2^128")
    };
    let status = ledger.status().await?;
    let mut provider = Opg::ZERO;
    for node in demo.running(Role::Inference) {
        provider =
            provider.checked_add(balance(node.account()).await?).context("balances are below 2^128")?;
    }
    let (payer, owner) = (balance(payer.address()).await?, balance(demo.alice.address()).await?);
    Ok(Purse { payer, provider, owner, burned: status.burned, total: status.total })
}

pub(super) async fn pay(demo: &DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let carol = fresh_account(demo, "carol").await?;
    let inputs = one_row(&heldout(&bundled::DIGITS)?)?;
    let before = purse(demo, &carol).await?;
    let mut times = Vec::new();
    for _ in 0..PAID_CALLS {
        let started = Instant::now();
        ask(demo, &bundled::DIGITS, inputs.clone(), &carol).await?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let after = purse(demo, &carol).await?;
    let changes = [
        ("payer", before.payer, after.payer),
        ("providers", before.provider, after.provider),
        ("model's owner", before.owner, after.owner),
        ("burned", before.burned, after.burned),
        ("total", before.total, after.total),
    ];
    told.line(format!(
        "carol, fresh from the faucet, paid for {PAID_CALLS} calls one by one: median {:.1} ms a call, payment and receipt included.",
        times[PAID_CALLS / 2].as_secs_f64() * 1000.0
    ));
    for (who, before, after) in changes {
        told.line(format!("  {who:<14} {before:>22} -> {after:>22} OPG"));
        told.figure(&format!("{}_before", who.replace([' ', '\''], "_")), before.to_string());
        told.figure(&format!("{}_after", who.replace([' ', '\''], "_")), after.to_string());
    }
    told.milliseconds("call_median_ms", times[PAID_CALLS / 2]);
    check_money(before, after)?;
    Ok(((), told))
}

/// What the payer lost is what the others gained, and the total stays.
fn check_money(before: Purse, after: Purse) -> Result<()> {
    let gain = |before: Opg, after: Opg| after.checked_sub(before).context("only the payer loses");
    let paid = gain(after.payer, before.payer)?;
    let gained = [
        gain(before.provider, after.provider)?,
        gain(before.owner, after.owner)?,
        gain(before.burned, after.burned)?,
    ];
    let sum = gained.into_iter().try_fold(Opg::ZERO, Opg::checked_add).context("amounts are below 2^128")?;
    ensure(paid == sum && paid > Opg::ZERO, || {
        format!("the payer lost {paid} OPG, the others gained {sum}")
    })?;
    ensure(before.total == after.total, || format!("the total went from {} to {}", before.total, after.total))
}

pub(super) async fn verify_offline(demo: &DemoNetwork, answer: &Answer) -> Result<((), Told)> {
    let mut told = Told::default();
    let folder = demo.path("kept");
    fs::create_dir_all(&folder)?;
    let record =
        demo.network.ledger.receipt(receipt_id(answer)?).await?.context("the receipt is on the ledger")?;
    let proof = hex::decode(record.proof.context("it comes with a proof")?)?;
    write_answer(&folder, answer, Some(&proof))?;
    // From here on, nothing but files.
    let files = Files {
        receipt: folder.join(file::RECEIPT),
        request: None,
        response: None,
        salt: None,
        payer: Some(answer.payer),
        network: Some(demo.network.info.network),
        proof: None,
    };
    let contents = files.read()?;
    let started = Instant::now();
    let report = contents.check();
    let took = started.elapsed();
    ensure(report.holds(), || report.failure_text().unwrap_or_default())?;
    let shown = [
        CheckName::Signature,
        CheckName::Request,
        CheckName::Inputs,
        CheckName::Response,
        CheckName::Outputs,
        CheckName::Amount,
        CheckName::Payer,
        CheckName::Inclusion,
    ];
    let missing = shown.iter().find(|check| !report.passed(**check));
    ensure(missing.is_none(), || format!("{missing:?} was not checked"))?;
    told.line(format!(
        "From files alone, without a network: {} in {:.2} ms.",
        shown.map(CheckName::as_str).join(", "),
        took.as_secs_f64() * 1000.0
    ));
    told.line(format!(
        "The receipt is {} bytes, its proof of standing in block {} another {}.",
        answer.receipt.len(),
        record.height,
        proof.len()
    ));
    told.milliseconds("verify_ms", took);
    told.figure("receipt_bytes", answer.receipt.len());
    told.figure("proof_bytes", proof.len());
    Ok(((), told))
}

pub(super) fn receipt_id(answer: &Answer) -> Result<ReceiptId> {
    Ok(SignedReceipt::from_bytes(&answer.receipt)?.id())
}

pub(super) async fn replay(demo: &DemoNetwork, answer: &Answer) -> Result<((), Told)> {
    let mut told = Told::default();
    let verdict = judged_equal(demo, answer).await?;
    told.line(format!(
        "Verifier {} fetched the model by itself, ran the same call and got the same bits: verdict in block {}.",
        verdict.verifier.short(), verdict.height
    ));
    told.line(format!(
        "  provider {} and verifier {} share nothing but the model's id.",
        answer.claims.provider.short(),
        verdict.verifier.short()
    ));
    told.figure("verdict", "equal");
    told.figure("height", verdict.height);
    Ok(((), told))
}

/// The verdict that an answer is right, by another node.
pub(super) async fn judged_equal(demo: &DemoNetwork, answer: &Answer) -> Result<VerdictRecord> {
    let verdict = wait_for_verdict(demo, answer).await?;
    ensure(verdict.outcome == Outcome::Equal, || "the replay differs".to_owned())?;
    ensure(verdict.verifier != answer.claims.provider, || "a node judged itself".to_owned())?;
    Ok(verdict)
}

/// Wait for the verifier to judge an answer's receipt.
pub(super) async fn wait_for_verdict(demo: &DemoNetwork, answer: &Answer) -> Result<VerdictRecord> {
    let id = receipt_id(answer)?;
    let wait = async {
        loop {
            let record = demo.network.ledger.receipt(id).await?;
            if let Some(verdict) = record.and_then(|record| record.verdicts.first().copied()) {
                return anyhow::Ok(verdict);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(VERDICT_TIMEOUT, wait).await.context("no verdict came")?
}
