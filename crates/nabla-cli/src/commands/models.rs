//! `nabla search`, `show` and `pull`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nabla_types::{
    RepoName,
    chain::RepoRecord,
    manifest::{BlobRef, FileEntry, MANIFEST_BYTES_MAX, ModelManifest, Revision},
};
use serde_json::json;

use super::Context;
use crate::{
    failure::Failure,
    home::Network,
    output::{bytes, table},
};

pub(super) async fn search(context: &Context<'_>, query: &str, limit: usize) -> Result<()> {
    let network = Network::connect(&context.url).await?;
    let repos = network.ledger.search(query, limit).await?;
    let row = |repo: &RepoRecord| {
        let latest = repo.latest();
        vec![
            repo.name.to_string(),
            latest.model.short(),
            format!("{} calls", repo.calls),
            latest.summary.clone(),
        ]
    };
    let rows: Vec<_> = repos.iter().map(row).collect();
    let none = format!("no model has {query:?} in its name or summary");
    context.output.line(if rows.is_empty() { none } else { table(&rows) });
    context.output.document(&json!({ "models": repos }));
    Ok(())
}

/// A repository with its newest revision and model, fetched and checked.
struct Found {
    repo: RepoRecord,
    revision: Revision,
    manifest: ModelManifest,
}

async fn find(network: &Network, name: &RepoName) -> Result<Found> {
    let repo = network.ledger.repo(name).await?;
    let get = async |blob| -> Result<Vec<u8>> {
        Ok(network.blobs.get_small(blob, MANIFEST_BYTES_MAX as u64).await?.bytes)
    };
    let revision = Revision::from_bytes(&get(repo.latest().revision).await?)?;
    let manifest = ModelManifest::from_bytes(&get(repo.latest().model.manifest_blob()).await?)?;
    Ok(Found { repo, revision, manifest })
}

pub(super) async fn show(context: &Context<'_>, name: &RepoName) -> Result<()> {
    let network = Network::connect(&context.url).await?;
    let Found { repo, revision, manifest } = find(&network, name).await?;
    let latest = repo.latest();
    let per_row = if manifest.batched { "a row" } else { "a call" };
    let facts = [
        ("model", latest.model.to_string()),
        ("owner", repo.owner.to_string()),
        ("about", latest.summary.clone()),
        (
            "revision",
            format!("{} of {}, block {}", latest.revision.short(), repo.revisions.len(), latest.height),
        ),
        ("royalty", format!("{} OPG a call", latest.royalty)),
        (
            "cost",
            format!(
                "{} multiply-accumulates {per_row}, {} of weights",
                manifest.macs_per_row,
                bytes(manifest.weights.size_bytes)
            ),
        ),
        ("calls", repo.calls.to_string()),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    let file = |file: &FileEntry| vec!["file".to_owned(), file.path.clone(), bytes(file.content.size_bytes)];
    context.output.line(table(&revision.files.iter().map(file).collect::<Vec<_>>()));
    context.output.document(&json!({ "repo": repo, "manifest": manifest, "files": revision.files }));
    Ok(())
}

pub(super) async fn pull(context: &Context<'_>, name: &RepoName, folder: Option<PathBuf>) -> Result<()> {
    let network = Network::connect(&context.url).await?;
    let Found { repo, revision, .. } = find(&network, name).await?;
    let folder = folder.unwrap_or_else(|| PathBuf::from(name.name()));
    let mut rejected = 0;
    for file in &revision.files {
        rejected += pull_file(&network, &folder, file).await?;
        context.output.line(format!("{}  {}", file.path, bytes(file.content.size_bytes)));
    }
    if rejected > 0 {
        context
            .output
            .line(format!("{rejected} shards were missing or not good and were made up for by others"));
    }
    context.output.line(format!("every byte checked; in {}", folder.display()));
    context.output.document(&json!({
        "folder": folder, "model": repo.latest().model, "files": revision.files, "rejected_shards": rejected,
    }));
    Ok(())
}

/// Fetch one file. A file that is there with the right content is left as it is, so that a pull that was
/// cut off goes on where it stopped.
async fn pull_file(network: &Network, folder: &Path, file: &FileEntry) -> Result<usize> {
    let path = folder.join(&file.path);
    if fs::read(&path).is_ok_and(|bytes| BlobRef::of(&bytes) == file.content) {
        return Ok(0);
    }
    if path.exists() {
        let hint = Some("pull into another folder, or move the file away".to_owned());
        let reason = "there is another file of this name".to_owned();
        return Err(Failure::BadFile { path, reason, hint }.into());
    }
    let fetched = network.blobs.get(file.content).await?;
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    fs::write(&partial, &fetched.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fetched.rejected.len())
}
