//! A network of real nodes inside the test's process, in a folder that goes away with it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use nabla_client::{
    BlobClient, Error, GatewayClient, Http, LedgerClient,
    publish::{Package, Publisher},
};
use nabla_engine::{Engine, Kernels, Limits, NoExternalData, import_onnx};
use nabla_node::{Config, Node, account_key, clock::now_ms, models::manifest_of, network::Plan};
use nabla_pay::{AccountKey, eip712::sign_authorization, x402};
use nabla_store::Code;
use nabla_types::{
    Address, Opg, RepoName,
    api::{InferRequest, LedgerStatus, NetworkInfo, PaymentPayload, PaymentRequirements},
    chain::{Account, Role, Tx},
    payment::{Authorization, Nonce},
    tensor::TensorJson,
};
use serde::Deserialize;
use tempfile::TempDir;

/// Paid to the model's owner for each call.
pub(crate) const ROYALTY: Opg = Opg::from_units(200_000_000_000_000);

/// One validator, five storage nodes, two inference nodes, a verifier, a gateway, and one model on them.
#[derive(Debug)]
pub(crate) struct TestNetwork {
    pub(crate) info: NetworkInfo,
    pub(crate) http: Http,
    pub(crate) ledger: LedgerClient,
    pub(crate) blobs: BlobClient,
    pub(crate) gateway: GatewayClient,
    pub(crate) url: String,
    pub(crate) nodes: Vec<(Config, Node)>,
    folder: TempDir,
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn digits() -> RepoName {
    "alice/digits".parse().expect("a repository's name")
}

/// A model of the repository, to be published.
pub(crate) fn package(name: &str) -> Package {
    let onnx = std::fs::read(repository("models").join(name).join("model.onnx")).expect("the model");
    let model = import_onnx(&onnx, &NoExternalData, &Limits::default()).expect("a model");
    let (manifest, graph, weights) = manifest_of(&model);
    let files = vec![("model.onnx".to_owned(), onnx)];
    Package { manifest, graph, weights, files, summary: String::new(), royalty: ROYALTY }
}

/// The inputs of one digit.
pub(crate) fn one_digit() -> Vec<TensorJson> {
    #[derive(Deserialize)]
    struct Input {
        inputs: Vec<TensorJson>,
    }
    let bytes = std::fs::read(repository("models/digits/examples/one.json")).expect("an example");
    serde_json::from_slice::<Input>(&bytes).expect("inputs").inputs
}

/// A request whose nonce is `number`, as the bytes that are sent.
pub(crate) fn request(number: u8) -> Bytes {
    let request =
        InferRequest { model: digits(), model_id: None, nonce: Nonce([number; 32]), inputs: one_digit() };
    Bytes::from(serde_json::to_vec(&request).expect("a request is plain data"))
}

pub(crate) fn now_s() -> u64 {
    now_ms() / 1000
}

impl TestNetwork {
    /// Start all nodes as `adjust` would have them, and publish the model.
    pub(crate) async fn start(adjust: impl Fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engine = engine();
        let (mut nodes, mut ledger): (Vec<(Config, Node)>, Option<String>) = (Vec::new(), None);
        for path in Plan::development(0).write(folder.path()).expect("a new network") {
            let mut config = Config::read(&path).expect("a sound configuration");
            if !config.has(Role::Validator) {
                config.ledger.clone_from(&ledger);
            }
            adjust(&mut config);
            let node = Box::pin(Node::start(config.clone(), engine.clone())).await.expect("a node starts");
            ledger = ledger.or_else(|| Some(node.url().to_owned()));
            nodes.push((config, node));
        }
        let gateway =
            nodes.iter().find(|(config, _)| config.has(Role::Gateway)).expect("the plan has a gateway");
        let (http, url) = (Http::new(), gateway.1.url().to_owned());
        let info: NetworkInfo =
            http.get_json(&format!("{url}/nabla/v1/network")).await.expect("the gateway answers");
        let ledger = LedgerClient::new(http.clone(), &info.ledger_url);
        let blobs = BlobClient::new(http.clone(), ledger.clone(), info.network);
        let gateway = GatewayClient::new(http.clone(), &url, info.network, info.chain_id);
        let network = Self { info, http, ledger, blobs, gateway, url, nodes, folder };
        network.publish().await;
        network
    }

    async fn publish(&self) {
        let owner = self.account("alice", Opg::whole(10)).await;
        self.publish_as(&owner, &digits(), &package("digits")).await;
    }

    pub(crate) async fn publish_as(&self, owner: &AccountKey, name: &RepoName, package: &Package) {
        let publisher = Publisher {
            ledger: &self.ledger,
            blobs: &self.blobs,
            network: self.info.network,
            chain_id: self.info.chain_id,
            code: Code::new(3, 5).expect("a code"),
        };
        publisher.publish(name, package, owner, &|_| {}).await.expect("published");
    }

    /// Who has published the model.
    pub(crate) fn owner(&self) -> AccountKey {
        account_key(&self.folder.path().join("alice.key")).expect("her key")
    }

    /// An account of its own that holds exactly this much.
    pub(crate) async fn account(&self, name: &str, amount: Opg) -> AccountKey {
        let account = account_key(&self.folder.path().join(format!("{name}.key"))).expect("a new key");
        let faucet = account_key(&self.folder.path().join("validator/faucet.key")).expect("the faucet's key");
        let authorization = Authorization {
            from: faucet.address(),
            to: account.address(),
            value: amount,
            valid_after: 0,
            valid_before: now_s() + 600,
            nonce: Nonce(*blake3::hash(name.as_bytes()).as_bytes()),
        };
        let signed = sign_authorization(&faucet, self.info.chain_id, authorization);
        self.ledger.submit(&Tx::Transfer(signed)).await.expect("the faucet's account is rich");
        account
    }

    pub(crate) async fn balance(&self, account: Address) -> Opg {
        let Account { purchased, granted, .. } =
            self.ledger.account(account).await.expect("the ledger answers");
        purchased.checked_add(granted).expect("balances are below 2^128")
    }

    pub(crate) async fn status(&self) -> LedgerStatus {
        self.ledger.status().await.expect("the ledger answers")
    }

    pub(crate) async fn terms(&self, body: &Bytes) -> PaymentRequirements {
        self.gateway.terms(body).await.expect("terms")
    }

    /// Sign what the terms ask for.
    pub(crate) fn pay(&self, key: &AccountKey, terms: &PaymentRequirements, number: u8) -> PaymentPayload {
        let (chain_id, limit, nonce) = (self.info.chain_id, Opg::from_units(u128::MAX), Nonce([number; 32]));
        let answer = x402::Answer { network: self.info.network, chain_id, limit, now: now_s(), nonce };
        x402::pay(key, terms, &answer).expect("sound terms")
    }

    /// Send a paid call as any HTTP client would: status, receipt header, body.
    pub(crate) async fn send(&self, body: &Bytes, payment: &PaymentPayload) -> (u16, String, String) {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let header = BASE64_STANDARD.encode(serde_json::to_vec(payment).expect("plain data"));
        let url = format!("{}/nabla/v1/infer", self.url);
        let request = self.http.request(reqwest::Method::POST, &url).header("payment-signature", header);
        let response = request.body(body.clone()).send().await.expect("the gateway answers");
        let status = response.status().as_u16();
        let receipt = response.headers().get("nabla-receipt").and_then(|value| value.to_str().ok());
        let receipt = receipt.unwrap_or_default().to_owned();
        (status, receipt, response.text().await.expect("a body"))
    }

    pub(crate) fn inference(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|(config, _)| config.has(Role::Inference)).map(|(_, node)| node)
    }

    /// Stop a node, change what it left in its folder, start it again.
    pub(crate) async fn restart(&mut self, name: &str, change: impl FnOnce(&Config)) -> &Node {
        let at = self.nodes.iter().position(|(config, _)| config.name == name).expect("the plan has it");
        let (config, node) = self.nodes.remove(at);
        node.stop().await;
        change(&config);
        let node = Box::pin(Node::start(config.clone(), engine())).await.expect("the node starts again");
        self.nodes.insert(at, (config, node));
        &self.nodes[at].1
    }

    pub(crate) async fn stop(self) {
        for (_, node) in self.nodes.into_iter().rev() {
            node.stop().await;
        }
    }
}

/// The status of a refusal.
pub(crate) fn status_of(error: &Error) -> u16 {
    match error {
        Error::Answered { status, .. } => *status,
        other => panic!("expected an answer, got {other}"),
    }
}

pub(crate) fn times(amount: Opg, count: u64) -> Opg {
    Opg::from_units(amount.units() * u128::from(count))
}

/// For tests that start single nodes, too.
pub(crate) fn engine() -> Engine {
    Engine::new(Kernels::Auto).expect("an engine")
}
