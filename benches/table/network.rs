//! A paid call over loopback, from the terms to the checked receipt, on a whole network in this process.

use std::time::Instant;

use nabla_benches::{
    Clock, Row, Settings, Work,
    group::{Spread, median},
    table::duration,
};
use nabla_client::{
    Answer, BlobClient, GatewayClient, Http, LedgerClient, Spending,
    publish::{Package, Publisher},
};
use nabla_engine::{Engine, Kernels};
use nabla_node::{Config, Node, clock::now_ms, models::manifest_of, network::Plan};
use nabla_pay::AccountKey;
use nabla_store::Code;
use nabla_types::{
    Opg, RepoName,
    api::NetworkInfo,
    chain::Role,
    receipt::SignedReceipt,
    tensor::{NamedTensor, TensorJson},
};
use tempfile::TempDir;

use crate::engine;

/// Calls at once in the second series.
const IN_FLIGHT: usize = 16;
/// Calls of each series before the first that counts: models get warm, connections are made.
const WARM_UP: usize = 16;

/// What the calls gave.
pub(crate) struct Called {
    /// A real answer, with its receipt and everything that its payer holds.
    pub(crate) answer: Answer,
    /// That the receipt stands in a block.
    pub(crate) proof: Vec<u8>,
    pub(crate) rows: Vec<Row>,
    /// Median and 99th percentile, in words.
    pub(crate) latencies: String,
}

/// Start a network, publish the digits, call them, stop the network.
pub(crate) fn measure(settings: &Settings) -> Called {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let calls = if settings.quick { 32 } else { 200 };
    runtime.block_on(async {
        let network = Box::pin(Network::start()).await;
        network.publish().await;
        let called = network.measure(calls).await;
        network.stop().await;
        called
    })
}

struct Network {
    nodes: Vec<Node>,
    http: Http,
    url: String,
    info: NetworkInfo,
    ledger: LedgerClient,
    gateway: GatewayClient,
    payer: AccountKey,
    inputs: Vec<TensorJson>,
    _folder: TempDir,
}

fn name() -> RepoName {
    "alice/digits".parse().expect("a name")
}

impl Network {
    async fn start() -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on disk");
        let engine = Engine::new(Kernels::Auto).expect("some kernels are always there");
        let (mut nodes, mut ledger_url, mut url): (Vec<Node>, Option<String>, String) = Default::default();
        for path in Plan::development(0).write(folder.path()).expect("a new network") {
            let mut config = Config::read(&path).expect("our own configuration");
            if !config.has(Role::Validator) {
                config.ledger.clone_from(&ledger_url);
            }
            let gateway = config.has(Role::Gateway);
            let node = Box::pin(Node::start(config, engine.clone())).await.expect("a node");
            ledger_url = ledger_url.or_else(|| Some(node.url().to_owned()));
            url = if gateway { node.url().to_owned() } else { url };
            nodes.push(node);
        }
        let http = Http::new();
        let info: NetworkInfo = http.get_json(&format!("{url}/nabla/v1/network")).await.expect("a gateway");
        let ledger = LedgerClient::new(http.clone(), &info.ledger_url);
        let gateway = GatewayClient::new(http.clone(), &url, info.network, info.chain_id);
        let payer = AccountKey::from_secret(&[21; 32]).expect("a small number is a key");
        ledger.faucet(payer.address()).await.expect("a faucet");
        let inputs = engine::inputs("digits", 1).iter().map(NamedTensor::to_json).collect();
        Self { nodes, http, url, info, ledger, gateway, payer, inputs, _folder: folder }
    }

    async fn publish(&self) {
        let (manifest, graph, weights) = manifest_of(&engine::model("digits"));
        let (summary, royalty) = ("digits".to_owned(), Opg::from_units(1000));
        let package = Package { manifest, graph, weights, files: Vec::new(), summary, royalty };
        let (network, chain_id) = (self.info.network, self.info.chain_id);
        let blobs = BlobClient::new(self.http.clone(), self.ledger.clone(), network);
        let code = Code::new(3, 5).expect("a code");
        let publisher = Publisher { ledger: &self.ledger, blobs: &blobs, network, chain_id, code };
        publisher.publish(&name(), &package, &self.payer, &|_| {}).await.expect("published");
    }

    async fn call(&self) -> (Answer, f64) {
        let spending = Spending { account: &self.payer, price_max: None, now_s: now_ms() / 1000 };
        let start = Instant::now();
        let answer =
            self.gateway.infer(&name(), None, self.inputs.clone(), spending).await.expect("an answer");
        (answer, start.elapsed().as_secs_f64())
    }

    /// One small request to the same gateway, which no call can beat.
    async fn round_trip(&self) -> f64 {
        let start = Instant::now();
        let _: NetworkInfo =
            self.http.get_json(&format!("{}/nabla/v1/network", self.url)).await.expect("a gateway");
        start.elapsed().as_secs_f64()
    }

    async fn measure(&self, calls: usize) -> Called {
        for _ in 0..WARM_UP {
            self.call().await;
        }
        let (mut trips, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..calls {
            trips.push(self.round_trip().await);
            alone.push(self.call().await.1);
        }
        let start = Instant::now();
        let together = self.together(calls).await;
        let each = start.elapsed().as_secs_f64() / count(calls);
        let limit = ("one HTTP round trip", median(trips.clone()));
        let latencies = format!(
            "Paid calls, {calls} each: one by one median {}, p99 {}; {IN_FLIGHT} in flight median {}, p99 {}.\n",
            duration(median(alone.clone())),
            duration(percentile_99(&alone)),
            duration(median(together.clone())),
            duration(percentile_99(&together)),
        );
        let row = |name: &str, each: f64, times: &[f64]| Row {
            name: name.to_owned(),
            clock: Clock::Wall,
            work: Work::of(1, "calls"),
            median: each,
            spread: Spread::of(times),
            ratios: vec![(limit.0, each / limit.1)],
        };
        let rows = vec![
            row("paid call, one by one", median(alone.clone()), &alone),
            row("paid call, 16 in flight", each, &together),
        ];
        let (answer, _) = self.call().await;
        let proof = self.proof(&answer).await;
        Called { answer, proof, rows, latencies }
    }

    /// The times of `calls` calls, 16 at any moment.
    async fn together(&self, calls: usize) -> Vec<f64> {
        let lane = async |lane: usize| {
            let mut times = Vec::new();
            for _ in (lane..calls).step_by(IN_FLIGHT) {
                times.push(self.call().await.1);
            }
            times
        };
        let mut lanes: Vec<_> = (0..IN_FLIGHT).map(|number| Box::pin(lane(number))).collect();
        let mut times = Vec::new();
        // Polls all lanes from one task: the nodes, not this client, are what is measured.
        std::future::poll_fn(|context| {
            lanes.retain_mut(|lane| match lane.as_mut().poll(context) {
                std::task::Poll::Ready(done) => {
                    times.extend(done);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if lanes.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        times
    }

    async fn proof(&self, answer: &Answer) -> Vec<u8> {
        let id = SignedReceipt::from_bytes(&answer.receipt).expect("a checked receipt").id();
        let record = self.ledger.receipt(id).await.expect("a ledger").expect("it is settled");
        hex::decode(record.proof.expect("it comes with a proof")).expect("hex")
    }

    async fn stop(self) {
        for node in self.nodes.into_iter().rev() {
            node.stop().await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred calls")]
fn count(calls: usize) -> f64 {
    calls as f64
}

/// The time that one call in a hundred exceeds.
fn percentile_99(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[(times.len() * 99).div_ceil(100) - 1]
}
