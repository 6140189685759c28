//! A network of ten processes, whose processes are killed with `kill -9` at bad moments.
//!
//! What was acknowledged stays; what was not is done by somebody else, or its money goes back.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nabla_client::{Answer, BlobClient, GatewayClient, Http, LedgerClient, Spending};
use nabla_engine::{Limits, NoExternalData, import_onnx};
use nabla_node::models::manifest_of;
use nabla_pay::{AccountKey, x402};
use nabla_types::{
    Opg, RepoName,
    api::{InferRequest, LedgerStatus, NetworkInfo, NodeInfo},
    chain::PaymentStatus,
    payment::{Nonce, SignedAuthorization},
    receipt::SignedReceipt,
    tensor::TensorJson,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    onnx::{linear, slow},
    program::{Process, Ran, Sandbox, ten_ports, wait_for},
};

/// Nodes in the order of their ports.
const NODES: [&str; 10] = [
    "gateway-1",
    "validator",
    "storage-1",
    "storage-2",
    "storage-3",
    "storage-4",
    "storage-5",
    "inference-1",
    "inference-2",
    "verifier-1",
];
/// Rows and columns of the slow model's matrices, and how often they are multiplied: about a second.
const SLOW: (u64, usize) = (512, 32);

struct Network {
    sandbox: Sandbox,
    port: u16,
    running: BTreeMap<&'static str, Process>,
    runtime: Runtime,
    http: Http,
}

impl Network {
    fn start() -> Self {
        loop {
            let mut sandbox = Sandbox::new();
            let port = ten_ports();
            sandbox.url = format!("http://127.0.0.1:{port}");
            sandbox.ok(&["network", "init", "net", "--port", &port.to_string()]);
            let runtime = Runtime::new().expect("threads");
            let mut network = Self { sandbox, port, running: BTreeMap::new(), runtime, http: Http::new() };
            for name in NODES {
                let process = network.spawn(name);
                network.running.insert(name, process);
            }
            if NODES.iter().all(|name| network.is_up(name)) {
                return network;
            }
        }
    }

    fn spawn(&self, name: &str) -> Process {
        self.sandbox.start(&["node", "start", "--config", &format!("net/{name}/node.toml")])
    }

    /// Wait until a node says that it runs; `false` if another program has its port.
    #[track_caller]
    fn is_up(&mut self, name: &str) -> bool {
        let process = self.running.get_mut(name).expect("it was started");
        let up = process.wait_for_text("Ctrl-C stops it");
        assert!(up || process.stderr().contains("cannot listen"), "{name}: {}", process.stderr());
        up
    }

    fn kill(&mut self, name: &str) {
        self.running.remove(name).expect("it runs").kill();
    }

    #[track_caller]
    fn restart(&mut self, name: &'static str) {
        let process = self.spawn(name);
        self.running.insert(name, process);
        assert!(self.is_up(name), "{name}: its port is free again");
    }

    fn url(&self, name: &str) -> String {
        let index = NODES.iter().position(|node| *node == name).expect("a node of the plan");
        format!("http://127.0.0.1:{}", usize::from(self.port) + index)
    }

    fn node(&self, name: &str) -> Option<NodeInfo> {
        self.runtime.block_on(self.http.get_json(&format!("{}/nabla/v1/node", self.url(name)))).ok()
    }

    /// Wait until an inference node works, and say which.
    #[track_caller]
    fn working(&self, names: &[&'static str]) -> &'static str {
        let works = |name: &&&str| self.node(name).is_some_and(|info| info.running > 0);
        wait_for("a node at work", || names.iter().find(works).copied())
    }

    fn ledger(&self) -> LedgerClient {
        LedgerClient::new(self.http.clone(), &self.url("validator"))
    }

    #[track_caller]
    fn status(&self) -> LedgerStatus {
        self.runtime.block_on(self.ledger().status()).expect("the validator answers")
    }

    fn info(&self) -> NetworkInfo {
        let url = format!("{}/nabla/v1/network", self.url("gateway-1"));
        self.runtime.block_on(self.http.get_json(&url)).expect("the gateway answers")
    }

    fn gateway(&self) -> GatewayClient {
        let info = self.info();
        GatewayClient::new(self.http.clone(), &self.url("gateway-1"), info.network, info.chain_id)
    }

    fn wallet(&self) -> AccountKey {
        nabla_node::account_key(&self.sandbox.home().join("wallet.key")).expect("a wallet")
    }

    #[track_caller]
    fn balance(&self) -> Opg {
        let account = self.runtime.block_on(self.ledger().account(self.wallet().address()));
        let account = account.expect("the validator answers");
        account.purchased.checked_add(account.granted).expect("below 2^128")
    }

    /// Nothing was made or lost, and nothing is held back.
    #[track_caller]
    fn money_is_whole(&self, total: Opg) {
        let status = self.status();
        assert_eq!((status.total, status.reserved), (total, Opg::ZERO));
    }
}

/// One kind of bad moment, from a whole network to a whole network.
type Stage = fn(&mut Network);

fn digits() -> Vec<TensorJson> {
    let bytes =
        fs::read(crate::program::repository().join("models/digits/examples/one.json")).expect("an example");
    let input: Value = serde_json::from_slice(&bytes).expect("JSON");
    serde_json::from_value(input["inputs"].clone()).expect("inputs")
}

fn slow_inputs() -> Value {
    // Each product is equal to its factors: no value becomes so small that computing with it is slow.
    let values = vec![1.0 / 512.0; usize::try_from(SLOW.0).expect("a small size")];
    json!({ "inputs": [{ "name": "x", "shape": [SLOW.0, 1], "datatype": "FP32", "data": values }] })
}

fn minus(left: Opg, right: Opg) -> Opg {
    left.checked_sub(right).unwrap_or_else(|| panic!("{left} is less than {right}"))
}

#[test]
fn killed_at_bad_moments() {
    let started = Instant::now();
    let mut network = Network::start();
    eprintln!("started: {} ms", started.elapsed().as_millis());
    let sandbox = &network.sandbox;
    sandbox.ok(&["wallet", "new"]);
    sandbox.ok(&["wallet", "fund"]);
    sandbox.write("slow/model.onnx", slow(SLOW.0, SLOW.1).build());
    sandbox.write("slow.json", slow_inputs().to_string());
    sandbox.write("cold/model.onnx", linear(64, 64, 3).build());
    for folder in ["models/digits", "slow", "cold"] {
        sandbox.ok(&["push", folder, &format!("alice/{}", folder.rsplit('/').next().unwrap_or_default())]);
    }
    eprintln!("prepared: {} ms", started.elapsed().as_millis());
    let total = network.status().total;
    let stages: [(&str, Stage); 6] = [
        ("a push", a_push),
        ("storage nodes that are read", storage_nodes_that_are_read),
        ("an inference node at work", an_inference_node_at_work),
        ("the gateway during a call", the_gateway_during_a_call),
        ("the validator among payments", the_validator_among_payments),
        ("too many storage nodes", too_many_storage_nodes),
    ];
    for (what, stage) in stages {
        let started = Instant::now();
        stage(&mut network);
        eprintln!("killed {what}: {} ms", started.elapsed().as_millis());
    }
    assert_eq!(network.status().total, total);
    for (name, process) in &mut network.running {
        let started = Instant::now();
        process.stop("TERM");
        eprintln!("stopped {name}: {} ms", started.elapsed().as_millis());
    }
}

/// `nabla push` is killed between two shards: nothing is registered, and pushing again ends it.
fn a_push(network: &mut Network) {
    let sandbox = &network.sandbox;
    let onnx = linear(1024, 2048, 9).build();
    let model = import_onnx(&onnx, &NoExternalData, &Limits::default()).expect("a model");
    let expected = manifest_of(&model).0.model_id().to_string();
    sandbox.write("wide/model.onnx", onnx);
    let before = shards(sandbox);
    let mut push = sandbox.start(&["push", "wide", "alice/wide"]);
    wait_for("the first shards", || (shards(sandbox) >= before + 2).then_some(()));
    push.kill();
    assert_eq!(push.stdout(), "", "it was not killed in time");
    let shown = sandbox.nabla(&["show", "alice/wide"]);
    assert_eq!(shown.code, Some(4), "{shown}");
    assert_eq!(sandbox.json(&["push", "wide", "alice/wide"])["model"], Value::from(expected));
    sandbox.ok(&["pull", "alice/wide", "pulled"]);
    let pulled = fs::read(sandbox.work("pulled/model.onnx")).expect("a file");
    assert!(pulled == fs::read(sandbox.work("wide/model.onnx")).expect("a file"), "other bytes came back");
}

/// Shards on all storage nodes' disks.
fn shards(sandbox: &Sandbox) -> usize {
    fn files(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    (1..=5).map(|number| files(&sandbox.work(&format!("net/storage-{number}/data/shards")))).sum()
}

/// The holders of two data shards are killed while eight megabytes are read from them over and over: every read
/// gives the whole.
fn storage_nodes_that_are_read(network: &mut Network) {
    let blobs = BlobClient::new(network.http.clone(), network.ledger(), network.info().network);
    let handle = network.runtime.handle().clone();
    let onnx = fs::read(network.sandbox.work("wide/model.onnx")).expect("a file");
    let blob = nabla_types::manifest::BlobRef::of(&onnx);
    // Those with data shards, which every read asks first.
    let stored = network.runtime.block_on(network.ledger().blob(blob.blob)).expect("the validator answers");
    let holders = stored.expect("it is on the ledger").holders;
    let holders = [holders[0], holders[1]].map(|id| {
        let holds = |name: &&&str| network.node(name).is_some_and(|info| info.node == id);
        *NODES[2..7].iter().find(holds).expect("it is up")
    });
    let (reads, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let read = || {
        let mut parity_used = 0;
        while !stop.load(Ordering::SeqCst) {
            let fetched = handle.block_on(blobs.get(blob)).expect("any 3 of 5 shards suffice");
            assert!(fetched.bytes == onnx, "other bytes came back");
            parity_used += fetched.parity_used;
            reads.fetch_add(1, Ordering::SeqCst);
        }
        parity_used
    };
    let reached = |count| wait_for("reads", || (reads.load(Ordering::SeqCst) >= count).then_some(()));
    let parity_used: usize = thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        reached(3);
        network.kill(holders[0]);
        network.kill(holders[1]);
        reached(reads.load(Ordering::SeqCst) + 8);
        stop.store(true, Ordering::SeqCst);
        readers.into_iter().map(|reader| reader.join().expect("every read gives the whole")).sum()
    });
    assert!(parity_used > 0, "nothing had to be rebuilt");
    let doctor = network.sandbox.nabla(&["doctor"]);
    assert!(doctor.code != Some(0) && doctor.stdout.contains("3 of 5 answer"), "{doctor}");
    network.restart(holders[0]);
    network.restart(holders[1]);
    network.sandbox.ok(&["doctor"]);
}

/// An inference node is killed in the middle of a call: the other answers it. When that one is killed too, the
/// money goes back.
fn an_inference_node_at_work(network: &mut Network) {
    const PAIR: [&str; 2] = ["inference-1", "inference-2"];
    let (total, before) = (network.status().total, network.balance());
    let run = ["run", "alice/slow", "--input", "slow.json", "--json"];
    let mut call = network.sandbox.start(&run);
    let first = network.working(&PAIR);
    network.kill(first);
    assert!(call.wait().success(), "{}", call.stderr());
    let answer: Value = serde_json::from_str(&call.stdout()).expect("an answer");
    let other = *PAIR.iter().find(|name| **name != first).expect("there are two");
    let id = network.node(other).expect("it is up").node.to_string();
    assert_eq!(answer["claims"]["provider"], Value::from(id));
    let price = amount(&answer["claims"]["amount"]);
    assert_eq!(minus(before, network.balance()), price, "paid once");
    network.money_is_whole(total);

    let before = network.balance();
    let mut call = network.sandbox.start(&run);
    assert_eq!(network.working(&[other]), other);
    network.kill(other);
    let status = call.wait();
    let ran =
        Ran { command: run.join(" "), code: status.code(), stdout: call.stdout(), stderr: call.stderr() };
    assert_eq!((ran.code, ran.error().0.as_str()), (Some(1), "no_provider_answered"), "{ran}");
    assert!(ran.stderr.contains("the payment was released to its payer"), "{ran}");
    assert_eq!(network.balance(), before);
    network.money_is_whole(total);

    // Nobody is left: nothing is even signed.
    let ran = network.sandbox.nabla(&run);
    assert_eq!((ran.code, ran.error().0.as_str()), (Some(1), "no_provider"), "{ran}");
    assert_eq!(network.balance(), before);
    PAIR.into_iter().for_each(|name| network.restart(name));
    network.sandbox.ok(&run);
}

fn amount(units: &Value) -> Opg {
    serde_json::from_value(units.clone()).expect("an amount")
}

/// The gateway is killed in the middle of a call. The same request with the same payment, sent to it when it
/// is back, is answered; it is paid for once.
fn the_gateway_during_a_call(network: &mut Network) {
    let (total, before) = (network.status().total, network.balance());
    let inputs = serde_json::from_value(slow_inputs()["inputs"].clone()).expect("inputs");
    let model: RepoName = "alice/slow".parse().expect("a name");
    let request = InferRequest { model, model_id: None, nonce: Nonce([5; 32]), inputs };
    let body = bytes::Bytes::from(serde_json::to_vec(&request).expect("plain data"));
    let gateway = network.gateway();
    let terms = network.runtime.block_on(gateway.terms(&body)).expect("terms");
    let info = network.info();
    let answer = x402::Answer {
        network: info.network,
        chain_id: info.chain_id,
        limit: Opg::whole(1),
        now: now_s(),
        nonce: Nonce([6; 32]),
    };
    let payment = x402::pay(&network.wallet(), &terms, &answer).expect("sound terms");
    let header = BASE64_STANDARD.encode(serde_json::to_vec(&payment).expect("plain data"));
    let url = format!("{}/nabla/v1/infer", network.url("gateway-1"));
    let http = network.http.clone();
    let send = || {
        let request = http.request(reqwest::Method::POST, &url).header("payment-signature", &header);
        let request = request.body(body.clone());
        async move { request.send().await }
    };
    let first = network.runtime.spawn(send());
    network.working(&["inference-1", "inference-2"]);
    network.kill("gateway-1");
    let lost = network.runtime.block_on(first).expect("no panic");
    assert!(lost.is_err(), "it was answered before the gateway was killed");

    network.restart("gateway-1");
    let again = || {
        let response = network.runtime.block_on(send()).expect("an answer");
        let receipt = response.headers().get("nabla-receipt").cloned();
        (response.status().as_u16(), receipt, network.runtime.block_on(response.text()).expect("a body"))
    };
    let second = again();
    assert!(second.0 == 200 && second.1.is_some(), "{second:?}");
    assert_eq!(again(), second, "the same payment, the same answer");
    let id = SignedAuthorization::from(&payment.payload).authorization.payment_id();
    let record = network.runtime.block_on(network.ledger().payment(id)).expect("the validator answers");
    assert!(matches!(record.expect("it is known").status, PaymentStatus::Settled { .. }));
    assert_eq!(minus(before, network.balance()), terms.amount, "paid once");
    network.money_is_whole(total);
}

fn now_s() -> u64 {
    nabla_node::clock::now_ms() / 1000
}

/// The validator is killed right after it acknowledged a transfer, and then among calls that are being paid
/// for: what was acknowledged is there when it is back, and everything goes on.
fn the_validator_among_payments(network: &mut Network) {
    let total = network.status().total;
    let to = "0x00000000000000000000000000000000000000aa";
    let sent = network.sandbox.json(&["wallet", "send", to, "0.5"]);
    network.kill("validator");
    let down = network.sandbox.nabla(&["wallet", "balance"]);
    assert_eq!(down.code, Some(6), "{down}");
    network.restart("validator");
    assert!(network.status().height >= sent["height"].as_u64().expect("a height"));
    let received = network.sandbox.json(&["wallet", "balance", to]);
    let received = [&received["purchased"], &received["granted"]].map(amount);
    assert!(received.contains(&"0.5".parse().expect("an amount")), "{received:?}");

    let before = network.balance();
    let (answers, kill_now) = (Mutex::new(Vec::<Answer>::new()), AtomicBool::new(false));
    let (gateway, account, inputs) = (network.gateway(), network.wallet(), digits());
    let name: RepoName = "alice/digits".parse().expect("a name");
    let handle = network.runtime.handle().clone();
    let call = || {
        while !kill_now.load(Ordering::SeqCst) {
            let spending = Spending { account: &account, price_max: None, now_s: now_s() };
            if let Ok(answer) = handle.block_on(gateway.infer(&name, None, inputs.clone(), spending)) {
                answers.lock().expect("no panic").push(answer);
            }
        }
    };
    thread::scope(|scope| {
        let callers = [scope.spawn(call), scope.spawn(call), scope.spawn(call)];
        wait_for("answers", || (answers.lock().expect("no panic").len() >= 5).then_some(()));
        network.kill("validator");
        kill_now.store(true, Ordering::SeqCst);
        callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
    });
    network.restart("validator");
    let answers = answers.into_inner().expect("no panic");
    for answer in &answers {
        let receipt = SignedReceipt::from_bytes(&answer.receipt).expect("a receipt").id();
        let record =
            network.runtime.block_on(network.ledger().receipt(receipt)).expect("the validator answers");
        assert!(record.is_some_and(|record| record.proof.is_some()), "receipt {receipt} is lost");
    }
    let status = network.status();
    assert_eq!(status.total, total);
    // Up to three calls were in work: each was paid, or holds its money back until that goes home.
    let paid = minus(before, network.balance()).units() / answers[0].claims.amount.units();
    let answered = answers.len() as u128;
    assert!((answered..=answered + 3).contains(&paid), "{answered} answers, {paid} payments");
    network.sandbox.ok(&["run", "alice/digits", "--input", "models/digits/examples/one.json"]);
    network.sandbox.ok(&["verify", &newest_receipt(&network.sandbox), "--replay"]);
}

fn newest_receipt(sandbox: &Sandbox) -> String {
    let modified = |path: &std::path::PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = sandbox.receipts().into_iter().max_by_key(modified).expect("a receipt");
    newest.join("receipt.cbor").display().to_string()
}

/// Three of five storage nodes are gone: a pull says so, and a call that cannot be served costs nothing.
fn too_many_storage_nodes(network: &mut Network) {
    // The gateway learns what the model costs; nobody has its weights yet.
    let url = format!("{}/nabla/v1/models/alice/cold", network.url("gateway-1"));
    let known: Result<Value, _> = network.runtime.block_on(network.http.get_json(&url));
    known.expect("the gateway knows the model");
    for name in ["storage-1", "storage-3", "storage-5"] {
        network.kill(name);
    }
    let pull = network.sandbox.nabla(&["pull", "alice/cold", "never", "--json"]);
    assert_eq!((pull.code, pull.error().0.as_str()), (Some(7), "too_few_shards"), "{pull}");
    assert!(pull.stderr.contains("needs 3 good shards, found 2 of 5"), "{pull}");
    assert!(pull.stderr.contains("wait for storage nodes to come back"), "{pull}");
    assert!(!network.sandbox.work("never").exists());

    let (before, reserved) = (network.balance(), network.status().reserved);
    let zeros = vec![0; 64];
    let input = json!({ "inputs": [{ "name": "x", "shape": [1, 64], "datatype": "FP32", "data": zeros }] });
    network.sandbox.write("cold.json", input.to_string());
    let run = ["run", "alice/cold", "--input", "cold.json", "--json"];
    let ran = network.sandbox.nabla(&run);
    assert_eq!((ran.code, ran.error().0.as_str()), (Some(1), "no_provider_answered"), "{ran}");
    assert!(ran.stderr.contains("the payment was released to its payer"), "{ran}");
    assert_eq!((network.balance(), network.status().reserved), (before, reserved));
    network.restart("storage-3");
    network.sandbox.ok(&run);
    network.sandbox.ok(&["pull", "alice/cold", "never"]);
}
