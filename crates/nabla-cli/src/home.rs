//! The person's folder: one wallet, the receipts of their calls, their development network.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use nabla_client::{Answer, BlobClient, GatewayClient, Http, LedgerClient};
use nabla_pay::AccountKey;
use nabla_types::{ReceiptId, api::NetworkInfo};

use crate::failure::Failure;

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The folder that was named, or the usual one.
    pub(crate) fn new(named: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = named {
            return Ok(Self(path));
        }
        let data = std::env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = || std::env::home_dir().map(|home| home.join(".local/share"));
        let hint = "name a folder with --home or NABLA_HOME".to_owned();
        let none = || Failure::NotFound { what: "no home folder".to_owned(), hint };
        Ok(Self(data.or_else(usual).ok_or_else(none)?.join("nabla")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn dev(&self) -> PathBuf {
        self.0.join("dev")
    }

    pub(crate) fn wallet_file(&self) -> PathBuf {
        self.0.join("wallet.key")
    }

    /// The wallet's key.
    pub(crate) fn wallet(&self) -> Result<AccountKey> {
        if !self.wallet_file().exists() {
            let what = format!("no wallet in {}", self.0.display());
            let hint = "`nabla wallet new` makes one, `nabla wallet fund` fills it on a development network"
                .to_owned();
            return Err(Failure::NotFound { what, hint }.into());
        }
        Ok(nabla_node::account_key(&self.wallet_file())?)
    }

    /// The wallet's key, made if there is none.
    pub(crate) fn wallet_or_new(&self) -> Result<AccountKey> {
        Ok(nabla_node::account_key(&self.wallet_file())?)
    }

    pub(crate) fn receipts(&self) -> PathBuf {
        self.0.join("receipts")
    }

    pub(crate) fn receipt(&self, id: ReceiptId) -> PathBuf {
        self.receipts().join(id.to_string())
    }

    /// Keep everything about an answer that is needed to check it later, offline.
    pub(crate) fn keep(&self, id: ReceiptId, answer: &Answer, proof: Option<&[u8]>) -> Result<PathBuf> {
        let folder = self.receipt(id);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        write_answer(&folder, answer, proof)?;
        Ok(folder)
    }
}

/// Names of the files that belong to one receipt.
pub(crate) mod file {
    pub(crate) const RECEIPT: &str = "receipt.cbor";
    pub(crate) const REQUEST: &str = "request.json";
    pub(crate) const RESPONSE: &str = "response.json";
    pub(crate) const SALT: &str = "salt";
    pub(crate) const PROOF: &str = "inclusion.cbor";
    pub(crate) const NETWORK: &str = "network";
}

/// Write an answer's files into a folder.
pub(crate) fn write_answer(folder: &Path, answer: &Answer, proof: Option<&[u8]>) -> Result<()> {
    let (salt, network) = (format!("{}\n", answer.salt), format!("{}\n", answer.claims.network));
    let files: [(&str, &[u8]); 5] = [
        (file::NETWORK, network.as_bytes()),
        (file::REQUEST, &answer.request),
        (file::RESPONSE, &answer.response),
        (file::SALT, salt.as_bytes()),
        (file::RECEIPT, &answer.receipt),
    ];
    for (name, bytes) in files.into_iter().chain(proof.map(|proof| (file::PROOF, proof))) {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The network behind a gateway's URL.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) info: NetworkInfo,
    pub(crate) http: Http,
    pub(crate) ledger: LedgerClient,
    pub(crate) blobs: BlobClient,
    pub(crate) gateway: GatewayClient,
}

impl Network {
    /// Ask the gateway which network it belongs to.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let http = Http::new();
        let info: NetworkInfo =
            http.get_json(&format!("{}/nabla/v1/network", url.trim_end_matches('/'))).await?;
        let ledger = LedgerClient::new(http.clone(), &info.ledger_url);
        let blobs = BlobClient::new(http.clone(), ledger.clone(), info.network);
        let gateway = GatewayClient::new(http.clone(), url, info.network, info.chain_id);
        Ok(Self { info, http, ledger, blobs, gateway })
    }
}

/// The time, Unix seconds.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
