//! The questions that a state answers.

use nabla_types::{
    Address, BlobId, ModelId, NetworkId, NodeId, Opg, PaymentId, ReceiptId, RepoName, TxId,
    api::LedgerStatus,
    chain::{
        Account, Genesis, InclusionProof, NodeRecord, Payment, RepoRecord, Role, SignedHeader, StoredBlob,
        VerdictRecord,
    },
};
use nabla_verify::merkle::Tree;

use super::{NodeEntry, ReceiptEntry, Repo, Settled, State, Totals};
use crate::money;

impl State {
    /// What the network started from, with its constants.
    #[must_use]
    pub fn constants(&self) -> &Genesis {
        &self.genesis
    }

    /// The network's identity.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// How many blocks there are.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.tip().height
    }

    /// The time of the newest block, Unix milliseconds; 0 before the first.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.tip().time_ms
    }

    /// The header at `height`, from 1.
    #[must_use]
    pub fn header(&self, height: u64) -> Option<&SignedHeader> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.blocks.get(index).map(|block| &block.header)
    }

    /// The receipts that the block at `height` settled, in their order.
    #[must_use]
    pub fn receipts_of(&self, height: u64) -> &[ReceiptId] {
        let index = height.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.blocks.get(index)).map_or(&[], |block| &block.receipts)
    }

    /// The block that holds a transaction.
    #[must_use]
    pub fn transaction(&self, tx: &TxId) -> Option<u64> {
        self.tables.txs.get(tx).copied()
    }

    /// An account's balances; nothing for one that never held any.
    #[must_use]
    pub fn account(&self, address: &Address) -> Account {
        self.tables.accounts.get(address).copied().unwrap_or_default()
    }

    /// A repository by its name.
    #[must_use]
    pub fn repo(&self, name: &RepoName) -> Option<RepoRecord> {
        self.tables.repos.get(name).map(|repo| self.repo_record(name, repo))
    }

    /// Repositories whose name or newest summary contains `text` (ASCII case does not matter), by name, at
    /// most `count_max`.
    #[must_use]
    pub fn repos(&self, text: &str, count_max: usize) -> Vec<RepoRecord> {
        let text = text.to_ascii_lowercase();
        let contains = |field: &str| field.to_ascii_lowercase().contains(&text);
        let summary = |repo: &Repo| repo.revisions.last().is_some_and(|newest| contains(&newest.summary));
        let found = self.tables.repos.iter().filter(|(name, repo)| contains(name.as_str()) || summary(repo));
        found.take(count_max).map(|(name, repo)| self.repo_record(name, repo)).collect()
    }

    fn repo_record(&self, name: &RepoName, repo: &Repo) -> RepoRecord {
        let calls = self.tables.calls.get(name).copied().unwrap_or_default();
        RepoRecord { name: name.clone(), owner: repo.owner, revisions: repo.revisions.clone(), calls }
    }

    /// The account that owns all repositories that begin with `owner/`.
    #[must_use]
    pub fn prefix_owner(&self, owner: &str) -> Option<Address> {
        self.tables.prefixes.get(owner).copied()
    }

    /// Whether some revision names this model.
    #[must_use]
    pub fn knows_model(&self, model: &ModelId) -> bool {
        self.tables.models.contains_key(model)
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<NodeRecord> {
        self.tables.nodes.get(node).map(|entry| self.node_record(node, entry))
    }

    /// All nodes of a role, or all there are, by id.
    #[must_use]
    pub fn nodes(&self, role: Option<Role>) -> Vec<NodeRecord> {
        let has_role = |entry: &NodeEntry| role.is_none_or(|role| entry.announcement.roles.contains(&role));
        let found = self.tables.nodes.iter().filter(|(_, entry)| has_role(entry));
        found.map(|(node, entry)| self.node_record(node, entry)).collect()
    }

    fn node_record(&self, node: &NodeId, entry: &NodeEntry) -> NodeRecord {
        let counts = self.tables.node_counts.get(node).copied().unwrap_or_default();
        NodeRecord {
            announcement: entry.announcement.clone(),
            stake: entry.stake,
            receipts: counts.receipts,
            replayed_equal: counts.replayed_equal,
            replayed_different: counts.replayed_different,
        }
    }

    /// How a blob is coded and who holds it.
    #[must_use]
    pub fn blob(&self, blob: &BlobId) -> Option<&StoredBlob> {
        self.tables.blobs.get(blob)
    }

    /// A payment for a call.
    #[must_use]
    pub fn payment(&self, payment: &PaymentId) -> Option<&Payment> {
        self.tables.payments.get(payment).map(|entry| &entry.payment)
    }

    /// The transaction that used an authorisation, for a call or for anything else.
    #[must_use]
    pub fn payment_used_by(&self, payment: &PaymentId) -> Option<TxId> {
        self.tables.spent.get(payment).copied()
    }

    /// When the next reserved payment expires, Unix milliseconds.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.tables.due.keys().next().map(|(expires_ms, _)| *expires_ms)
    }

    /// A settled receipt.
    #[must_use]
    pub fn receipt(&self, receipt: &ReceiptId) -> Option<Settled<'_>> {
        let ReceiptEntry { cose, height, index, provider } = self.tables.receipts.get(receipt)?;
        Some(Settled { cose, height: *height, index: *index, provider: *provider })
    }

    /// That a receipt stands in its block, for who has nothing but the receipt.
    #[must_use]
    pub fn inclusion_proof(&self, receipt: &ReceiptId) -> Option<InclusionProof> {
        let settled = self.receipt(receipt)?;
        let cose = |id: &ReceiptId| self.tables.receipts.get(id).map(|entry| entry.cose.as_slice());
        let leaves: Option<Vec<&[u8]>> = self.receipts_of(settled.height).iter().map(cose).collect();
        let path = Tree::Receipts.path(&leaves?, usize::try_from(settled.index).ok()?)?;
        let (genesis, header) = (self.genesis.clone(), self.header(settled.height)?.clone());
        Some(InclusionProof { genesis, header, leaf_index: settled.index, path })
    }

    /// What verifiers found on a receipt, by verifier.
    #[must_use]
    pub fn verdicts(&self, receipt: &ReceiptId) -> Vec<VerdictRecord> {
        let (first, last) = ((*receipt, NodeId([0; 32])), (*receipt, NodeId([0xff; 32])));
        self.tables.verdicts.range(first..=last).map(|(_, verdict)| *verdict).collect()
    }

    /// Where the supply is, by the running sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let balance = |address| money::balance(&self.account(&address)).unwrap_or_default();
        let (reserved, staked) = (balance(Address::ESCROW), balance(Address::STAKE));
        let held = self.sums.accounts.checked_sub(reserved).and_then(|rest| rest.checked_sub(staked));
        Totals { held: held.unwrap_or_default(), reserved, staked, burned: self.sums.burned }
    }

    /// All OPG there is, burned ones included.
    #[must_use]
    pub fn supply(&self) -> Opg {
        self.supply
    }

    /// The whole in one look.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        let totals = self.totals();
        LedgerStatus {
            network: self.network,
            name: self.genesis.name.clone(),
            chain_id: self.genesis.chain_id,
            height: self.height(),
            time_ms: self.time_ms(),
            total: self.supply,
            burned: totals.burned,
            reserved: totals.reserved,
            receipts: self.tables.receipts.len() as u64,
            repos: self.tables.repos.len() as u64,
            nodes: self.tables.nodes.len() as u64,
            storage_price_per_kib: self.genesis.storage_price_per_kib,
            fee_basis_points: self.genesis.fee_basis_points,
        }
    }
}
