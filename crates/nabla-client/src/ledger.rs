//! Reading the ledger and submitting to it, through a validator's HTTP interface.

use bytes::Bytes;
use nabla_types::{
    Address, BlobId, NodeId, Opg, PaymentId, ReceiptId, RepoName,
    api::{Included, LedgerStatus, ReceiptRecord},
    cbor,
    chain::{Account, Genesis, NodeRecord, Payment, RepoRecord, Role, StoredBlob, Tx},
};
use reqwest::Method;

use crate::{Error, Http};

/// A validator's view of the ledger. What is answered is the validator's word; what can be checked
/// (receipts, blobs, layouts) is checked by those who use it.
#[derive(Debug, Clone)]
pub struct LedgerClient {
    http: Http,
    base: String,
}

impl LedgerClient {
    /// The ledger behind the base URL of a validator, such as `http://127.0.0.1:11401`.
    #[must_use]
    pub fn new(http: Http, base: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned() }
    }

    /// The base URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn url(&self, path: &str) -> String {
        format!("{}/nabla/v1/ledger/{path}", self.base)
    }

    async fn optional<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        match self.http.get_json(&self.url(path)).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the network starts from.
    ///
    /// # Errors
    /// [`Error`], as for every method here.
    pub async fn genesis(&self) -> Result<Genesis, Error> {
        let url = self.url("genesis");
        let bytes = self.http.get_bytes(&url, Genesis::BYTES_MAX as u64).await?;
        cbor::decode("genesis", &bytes, Genesis::BYTES_MAX).map_err(|error| Error::Nonsense {
            url,
            expected: "a genesis",
            got: error.to_string(),
        })
    }

    /// The state of the chain in numbers.
    pub async fn status(&self) -> Result<LedgerStatus, Error> {
        self.http.get_json(&self.url("status")).await
    }

    /// An account's balances; zero for one that was never seen.
    pub async fn account(&self, account: Address) -> Result<Account, Error> {
        self.http.get_json(&self.url(&format!("accounts/{account}"))).await
    }

    /// A repository.
    pub async fn repo(&self, name: &RepoName) -> Result<RepoRecord, Error> {
        let found = self.optional(&format!("repos/{name}")).await?;
        found.ok_or_else(|| Error::UnknownRepo { name: name.clone() })
    }

    /// Repositories whose name or summary contains `query`, at most `limit`.
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<RepoRecord>, Error> {
        let url = self.url("repos");
        let request =
            self.http.request(Method::GET, &url).query(&[("query", query), ("limit", &limit.to_string())]);
        let response = crate::http::send(&url, request).await?;
        let bytes = crate::http::body(&url, response, 64 << 20).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Nonsense {
            url,
            expected: "repositories",
            got: error.to_string(),
        })
    }

    /// All nodes of a role.
    pub async fn nodes(&self, role: Role) -> Result<Vec<NodeRecord>, Error> {
        let role = serde_json::to_string(&role).unwrap_or_default();
        self.http.get_json(&self.url(&format!("nodes?role={}", role.trim_matches('"')))).await
    }

    /// One node.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeRecord>, Error> {
        self.optional(&format!("nodes/{node}")).await
    }

    /// How a blob is coded and who holds it.
    pub async fn blob(&self, blob: BlobId) -> Result<Option<StoredBlob>, Error> {
        self.optional(&format!("blobs/{blob}")).await
    }

    /// Where a payment stands.
    pub async fn payment(&self, payment: PaymentId) -> Result<Option<Payment>, Error> {
        self.optional(&format!("payments/{payment}")).await
    }

    /// A settled receipt, with its inclusion proof and verdicts.
    pub async fn receipt(&self, receipt: ReceiptId) -> Result<Option<ReceiptRecord>, Error> {
        self.optional(&format!("receipts/{receipt}")).await
    }

    /// The receipts settled after block `height`, oldest first, a page at a time.
    pub async fn receipts_after(&self, height: u64) -> Result<Vec<ReceiptRecord>, Error> {
        self.http.get_json(&self.url(&format!("receipts?after={height}"))).await
    }

    /// Submit a transaction; answered when it is durable in a block. Repeating it is harmless.
    pub async fn submit(&self, tx: &Tx) -> Result<Included, Error> {
        let bytes = Bytes::from(cbor::encode(tx));
        self.http.send_bytes(Method::POST, &self.url("txs"), bytes).await
    }

    /// Ask the faucet for OPG, where the network has one.
    pub async fn faucet(&self, account: Address) -> Result<Opg, Error> {
        self.http.post_json(&self.url(&format!("faucet/{account}")), &()).await
    }
}
