//! The dishonest part of the story: three frauds, each caught, each with its reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nabla_client::Answer;
use nabla_types::{chain::Outcome, manifest::BlobRef};
use nabla_verify::{CheckName, Context, verify_receipt};

use super::{
    bundled, liar,
    network::{DemoNetwork, LIAR},
    steps::{ask, fresh_account, heldout, one_row, wait_for_verdict},
    story::{Told, ensure},
};

/// One byte of the answer is changed on the way.
pub(super) fn changed_answer(answer: &Answer) -> Result<((), Told)> {
    let mut told = Told::default();
    let mut forged = answer.response.to_vec();
    let digit = forged.iter().rposition(u8::is_ascii_digit).context("an answer has digits")?;
    let (was, is) = (forged[digit], if forged[digit] == b'9' { b'8' } else { forged[digit] + 1 });
    forged[digit] = is;
    let context = Context { response: Some(&forged), salt: Some(answer.salt), ..Context::default() };
    let report = verify_receipt(&answer.receipt, &context);
    let failed = report.failure().map(|check| check.check);
    ensure(failed == Some(CheckName::Response), || {
        format!("expected the response to be refused, got {failed:?}")
    })?;
    told.line(format!(
        "One digit of {} bytes changed from {} to {}. Caught by the reader:",
        forged.len(),
        char::from(was),
        char::from(is)
    ));
    let reason = report.failure_text().unwrap_or_default();
    told.line(format!("  {reason}"));
    told.figure("caught", reason);
    Ok(((), told))
}

/// A node serves other weights than it names: its receipt is in order, its work is not.
pub(super) async fn other_weights(demo: &mut DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    for name in ["inference-1", "inference-2"] {
        demo.seat(name)?.stop().await;
    }
    let engine = demo.engine.clone();
    let seat = demo.seat(LIAR)?;
    seat.start(engine.clone()).await?;
    // Stopped while its operator tampers, so that it runs what it finds.
    seat.stop().await;
    liar::plant(&seat.config, engine.clone(), &bundled::DIGITS.package()?)?;
    let liar = seat.start(engine).await?.id();
    let dave = fresh_account(demo, "dave").await?;
    let answer = ask(demo, &bundled::DIGITS, one_row(&heldout(&bundled::DIGITS)?)?, &dave).await?;
    ensure(answer.claims.provider == liar, || "another node answered".to_owned())?;
    let verdict = wait_for_verdict(demo, &answer).await?;
    ensure(verdict.outcome == Outcome::Different, || "the lie was not noticed".to_owned())?;
    let record = demo.network.ledger.node(liar).await?.context("the liar is registered")?;
    ensure(record.replayed_different == 1, || format!("{} lies on record", record.replayed_different))?;
    told.line(format!("Node {} put halved weights in the model's place. Its receipt is well signed, so a reader cannot tell.", liar.short()));
    told.line(format!(
        "Caught by verifier {}: the model that the receipt names gives other bits.",
        verdict.verifier.short()
    ));
    told.line(format!(
        "  verdict \"different\" in block {}, against a stake of {} OPG",
        verdict.height, record.stake
    ));
    told.figure("caught", "verdict different");
    told.figure("height", verdict.height);
    demo.seat(LIAR)?.stop().await;
    Ok(((), told))
}

/// A storage node hands out a shard that it has changed.
pub(super) async fn corrupted_shard(demo: &mut DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let engine = demo.engine.clone();
    for name in ["storage-1", "storage-2"] {
        demo.seat(name)?.start(engine.clone()).await?;
    }
    let blob = bundled::DIGITS.package()?.manifest.weights;
    let stored = demo.network.ledger.blob(blob.blob).await?.context("the weights are on the ledger")?;
    let holder = stored.holders[0];
    let seat = demo.seats.iter_mut().find(|seat| seat.node.as_ref().is_some_and(|node| node.id() == holder));
    let seat = seat.context("the first shard's holder is up")?;
    // Stopped while its operator tampers, so that it serves what it finds.
    seat.stop().await;
    forge_shards(&seat.config.data_dir.join("shards"))?;
    seat.start(engine).await?;
    check_caught(demo, blob, &mut told).await?;
    Ok(((), told))
}

async fn check_caught(demo: &DemoNetwork, blob: BlobRef, told: &mut Told) -> Result<()> {
    let fetched = demo.network.blobs.get(blob).await?;
    ensure(BlobRef::of(&fetched.bytes) == blob, || "other bytes came back".to_owned())?;
    let rejected = fetched.rejected.first().context("the forged shard was not noticed")?;
    told.line(format!(
        "Node {} changed a byte of every shard it holds. Caught by the reader on arrival:",
        rejected.node.short()
    ));
    told.line(format!("  {}", rejected.reason));
    told.line(format!(
        "The file was rebuilt from the others ({} of them parity) and has the right hash.",
        fetched.parity_used
    ));
    told.figure("caught", rejected.reason.clone());
    told.figure("parity_used", fetched.parity_used);
    Ok(())
}

/// Change one byte in each shard, and its file's name with it, so that the node itself sees nothing wrong.
fn forge_shards(folder: &Path) -> Result<()> {
    let mut forged = 0;
    for path in files_under(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((key, hash)) = name.rsplit_once('.').filter(|(_, hash)| hash.len() == 64) else { continue };
        let mut bytes = fs::read(&path)?;
        if nabla_store::shard_id(&bytes).to_string() != hash {
            continue;
        }
        if let Some(byte) = bytes.first_mut() {
            *byte ^= 1;
        }
        fs::write(path.with_file_name(format!("{key}.{}", nabla_store::shard_id(&bytes))), &bytes)?;
        fs::remove_file(&path)?;
        forged += 1;
    }
    ensure(forged > 0, || format!("no shards in {}", folder.display()))
}

fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_under(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
