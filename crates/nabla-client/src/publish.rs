//! Publishing: store every blob, then register the revision with the owner's signature.

use std::collections::BTreeMap;

use nabla_pay::{AccountKey, eip712::sign_registration, quote::storage_fee};
use nabla_store::Code;
use nabla_types::{
    BlobId, ModelId, NetworkId, NodeId, Opg, RepoName,
    api::Included,
    cbor,
    chain::{BlobRegistration, ModelRegistration, Tx},
    manifest::{BlobRef, FileEntry, ModelManifest, Revision},
};

use crate::{BlobClient, Error, LedgerClient, Progress};

/// A model and its files, ready to be published. Importing it is the engine's work, not this crate's.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the engine made of the model's file.
    pub manifest: ModelManifest,
    /// The canonical graph.
    pub graph: Vec<u8>,
    /// The weights.
    pub weights: Vec<u8>,
    /// The files as they are: relative path and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// One line about it.
    pub summary: String,
    /// Paid to the owner for each call.
    pub royalty: Opg,
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The model's identity.
    pub model: ModelId,
    /// The revision's identity.
    pub revision: BlobId,
    /// Which revision of the repository it is, from 1.
    pub sequence: u64,
    /// What storing it cost.
    pub storage_fee: Opg,
    /// Bytes now kept by storage nodes for it, and not before.
    pub stored_bytes: u64,
    /// How many storage nodes may be lost, whichever they are, and every file of it can still be rebuilt;
    /// `None` if nothing new was stored. Less than the code allows where one node holds several shards.
    pub losses_tolerated: Option<usize>,
    /// The block that registered it.
    pub included: Included,
}

/// Where to publish.
#[derive(Debug)]
pub struct Publisher<'a> {
    /// The ledger.
    pub ledger: &'a LedgerClient,
    /// The storage nodes.
    pub blobs: &'a BlobClient,
    /// The network, which the owner's signature names.
    pub network: NetworkId,
    /// EIP-155 chain id, likewise.
    pub chain_id: u64,
    /// How blobs are coded.
    pub code: Code,
}

impl Package {
    /// The revision that these files make.
    #[must_use]
    pub fn revision(&self) -> Revision {
        let entry =
            |(path, bytes): &(String, Vec<u8>)| FileEntry { path: path.clone(), content: BlobRef::of(bytes) };
        let mut files: Vec<FileEntry> = self.files.iter().map(entry).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Revision { format: Revision::FORMAT.to_owned(), model: self.manifest.model_id(), files }
    }

    /// Bytes of all that is to be stored, before coding.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let files: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        (self.graph.len() + self.weights.len() + files) as u64
    }
}

impl Publisher<'_> {
    /// Store and register. Nothing is registered unless every shard is acknowledged; what is stored
    /// already is not sent again, so a publication that was cut off is resumed by repeating it.
    ///
    /// # Errors
    /// [`Error`]; the ledger's reasons (name taken, funds missing) come as [`Error::Answered`].
    pub async fn publish(
        &self,
        name: &RepoName,
        package: &Package,
        owner: &AccountKey,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Published, Error> {
        let revision_bytes = cbor::encode(&package.revision());
        let manifest_bytes = package.manifest.to_bytes();
        let own = [&package.graph, &package.weights, &manifest_bytes, &revision_bytes];
        let files = package.files.iter().map(|(_, bytes)| bytes);
        let mut blobs: Vec<BlobRegistration> = Vec::new();
        for bytes in own.into_iter().chain(files) {
            let id = BlobId::of(bytes);
            if blobs.iter().all(|blob| blob.layout.blob != id) {
                blobs.extend(self.blobs.put(bytes, self.code, progress).await?);
            }
        }
        self.register(name, package, owner, blobs, BlobId::of(&revision_bytes)).await
    }

    async fn register(
        &self,
        name: &RepoName,
        package: &Package,
        owner: &AccountKey,
        blobs: Vec<BlobRegistration>,
        revision: BlobId,
    ) -> Result<Published, Error> {
        let status = self.ledger.status().await?;
        let sequence = match self.ledger.repo(name).await {
            Ok(repo) => repo.revisions.len() as u64 + 1,
            Err(Error::UnknownRepo { .. }) => 1,
            Err(error) => return Err(error),
        };
        let stored_bytes = blobs.iter().map(|blob| blob.layout.stored_bytes()).sum();
        let losses_tolerated = blobs.iter().map(losses_tolerated).min();
        let model = package.manifest.model_id();
        let layouts = blobs.iter().map(|blob| &blob.layout);
        let fee = storage_fee(layouts, status.storage_price_per_kib).ok_or(Error::PriceOverflow)?;
        let registration = ModelRegistration {
            name: name.clone(),
            owner: owner.address(),
            sequence,
            model,
            revision,
            royalty: package.royalty,
            storage_fee: fee,
            summary: package.summary.clone(),
        };
        let signature = sign_registration(owner, self.chain_id, self.network, &registration);
        let included = self.ledger.submit(&Tx::RegisterModel(registration, blobs, signature)).await?;
        Ok(Published {
            model,
            revision,
            sequence,
            storage_fee: fee,
            stored_bytes,
            losses_tolerated,
            included,
        })
    }
}

/// How many nodes may be lost, the worst first, before fewer than `k` shards are left.
fn losses_tolerated(blob: &BlobRegistration) -> usize {
    let mut held = BTreeMap::<NodeId, usize>::new();
    for ack in &blob.acks {
        *held.entry(ack.node).or_default() += 1;
    }
    let mut counts: Vec<usize> = held.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let spare = usize::from(blob.layout.n() - blob.layout.k);
    let lost = |count: &usize, left: &mut usize| {
        *left = left.checked_sub(*count)?;
        Some(())
    };
    let mut left = spare;
    counts.iter().map_while(|count| lost(count, &mut left)).count()
}

#[cfg(test)]
mod tests {
    use nabla_types::{
        LayoutId, ShardId,
        layout::{HolderAck, Layout},
        signature::Signature,
    };

    use super::*;

    #[track_caller]
    fn check(holders: &[u8], k: u16, expect: usize) {
        let shards = vec![ShardId([0; 32]); holders.len()];
        let layout = Layout { blob: BlobId([0; 32]), size_bytes: 1, k, shards };
        let ack = |node: &u8| HolderAck {
            layout: LayoutId([0; 32]),
            index: 0,
            node: NodeId([*node; 32]),
            signature: Signature([0; 64]),
        };
        let blob = BlobRegistration { layout, acks: holders.iter().map(ack).collect() };
        assert_eq!(losses_tolerated(&blob), expect, "{holders:?}");
    }

    #[test]
    fn shards_that_share_a_node_are_lost_together() {
        check(&[1, 2, 3, 4, 5], 3, 2);
        check(&[1, 2, 3, 4, 1], 3, 1);
        check(&[1, 1, 1, 2, 3], 3, 0);
        check(&[1, 2, 3], 3, 0);
        check(&[1, 2, 3], 1, 2);
    }
}
