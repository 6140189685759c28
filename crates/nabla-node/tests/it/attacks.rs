//! Forged payments, jobs without payment, folders and ledgers of other networks: each is refused with its
//! reason, and no money moves.

use bytes::Bytes;
use nabla_client::Error;
use nabla_node::{Config, Node, network::Plan};
use nabla_pay::eip712::sign_authorization;
use nabla_store::Code;
use nabla_types::{
    Address, Opg, PaymentId,
    api::{ExactPayload, PaymentPayload},
    chain::PaymentStatus,
    payment::Authorization,
};

use crate::network::{TestNetwork, engine, now_s, request};

/// What an attacker makes of an authorisation before it is signed, and of the payload after.
type Forge = (&'static str, fn(&mut Authorization), fn(&mut PaymentPayload), u16, &'static str);

const FORGERIES: [Forge; 9] = [
    (
        "pays one unit too little",
        |a| a.value = less(a.value),
        |_| {},
        402,
        "authorization_value: expected at least",
    ),
    ("pays nothing", |a| a.value = Opg::ZERO, |_| {}, 402, "authorization_value: expected at least"),
    ("pays somebody else", |a| a.to = Address([9; 20]), |_| {}, 402, "recipient_mismatch: expected"),
    ("is over", |a| a.valid_before = now_s() - 1, |_| {}, 402, "valid_before"),
    ("is not good yet", |a| a.valid_after = now_s() + 60, |_| {}, 402, "valid_after"),
    (
        "has another amount than was signed",
        |_| {},
        |p| p.payload.authorization.value = Opg::whole(1),
        402,
        "payload_signature",
    ),
    (
        "has another payer than signed",
        |_| {},
        |p| p.payload.authorization.from = Address([8; 20]),
        402,
        "payload_signature",
    ),
    (
        "is for another chain",
        |_| {},
        |p| p.accepted.network = "eip155:1".to_owned(),
        402,
        "invalid_network: expected",
    ),
    (
        "is of another scheme",
        |_| {},
        |p| p.accepted.scheme = "upto".to_owned(),
        402,
        "unsupported_scheme: expected",
    ),
];

fn less(amount: Opg) -> Opg {
    Opg::from_units(amount.units() - 1)
}

/// No forged payment buys anything, and none leaves a trace on the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn forged_payments_buy_nothing() {
    let network = TestNetwork::start(|_| {}).await;
    let bob = network.account("bob", Opg::whole(1)).await;
    let body = request(1);
    let terms = network.terms(&body).await;
    let before = network.status().await;
    for (number, (what, before_signing, after_signing, status, reason)) in (0_u8..).zip(FORGERIES) {
        let mut payment = network.pay(&bob, &terms, number);
        let mut authorization =
            nabla_types::payment::SignedAuthorization::from(&payment.payload).authorization;
        before_signing(&mut authorization);
        payment.payload = ExactPayload::from(&sign_authorization(&bob, network.info.chain_id, authorization));
        after_signing(&mut payment);
        let (got, receipt, text) = network.send(&body, &payment).await;
        assert_eq!((got, receipt.as_str()), (status, ""), "a payment that {what}: {text}");
        assert!(text.to_lowercase().contains(reason), "a payment that {what}: expected {reason:?} in {text}");
        let id = nabla_types::payment::SignedAuthorization::from(&payment.payload).authorization.payment_id();
        assert!(network.ledger.payment(id).await.expect("the ledger answers").is_none(), "{what}");
    }
    let after = network.status().await;
    assert_eq!(
        (after.receipts, after.reserved, after.total),
        (before.receipts, before.reserved, before.total)
    );
    assert_eq!(network.balance(bob.address()).await, Opg::whole(1));
    network.stop().await;
}

/// Who asks an inference node past the gateway gets work only for a payment that is reserved for it.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_need_their_own_payment() {
    let network = TestNetwork::start(|_| {}).await;
    let bob = network.account("bob", Opg::whole(1)).await;
    let body = request(1);
    let payment = network.pay(&bob, &network.terms(&body).await, 1);
    let (status, receipt, text) = network.send(&body, &payment).await;
    assert_eq!(status, 200, "{text}");
    let paid = nabla_types::payment::SignedAuthorization::from(&payment.payload).authorization.payment_id();
    let record = network.ledger.payment(paid).await.expect("the ledger answers").expect("it is known");
    assert!(matches!(record.status, PaymentStatus::Settled { .. }));

    let (own, other): (Vec<_>, Vec<_>) = network.inference().partition(|node| node.id() == record.provider);
    let ask = async |node: &Node, payment: &str, body: &Bytes| {
        let url = format!("{}/nabla/v1/jobs", node.url());
        let request = network.http.request(reqwest::Method::POST, &url).header("nabla-payment", payment);
        let response = request.body(body.clone()).send().await.expect("the node answers");
        let header = response.headers().get("nabla-receipt").and_then(|value| value.to_str().ok());
        let header = header.unwrap_or_default().to_owned();
        (response.status().as_u16(), header, response.text().await.expect("a body"))
    };
    let (paid, unknown) = (paid.to_string(), PaymentId([7; 32]).to_string());
    let cases: [(&str, &Node, &str, Bytes, u16, &str); 5] = [
        ("an unknown payment", own[0], &unknown, body.clone(), 404, "unknown_payment"),
        ("another node's payment", other[0], &paid, body.clone(), 409, "payment_not_reserved"),
        ("a settled payment, another request", own[0], &paid, request(2), 409, "payment_replayed"),
        ("a settled payment, garbage", own[0], &paid, Bytes::from_static(b"{"), 409, "payment_replayed"),
        ("no payment id", own[0], "0x12", body.clone(), 400, "bad"),
    ];
    for (what, node, payment, body, status, reason) in cases {
        let (got, receipt, text) = ask(node, payment, &body).await;
        assert_eq!((got, receipt.as_str()), (status, ""), "{what}: {text}");
        assert!(text.contains(reason), "{what}: {text}");
    }
    // The same request again is the same answer again: settled once, told as often as asked.
    assert_eq!(ask(own[0], &paid, &body).await, (200, receipt, text));
    network.stop().await;
}

/// A node with a genesis, a data folder or a ledger of another network does not start, nor do two nodes with
/// one folder or one port.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_keep_to_their_network() {
    let network = TestNetwork::start(|_| {}).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan { name: "another".to_owned(), ..Plan::development(0) };
    let paths = plan.write(folder.path()).expect("a new network");
    let find =
        |name: &str| paths.iter().find(|path| path.parent().is_some_and(|folder| folder.ends_with(name)));
    let config = |name: &str| Config::read(find(name).expect("the plan has it")).expect("a configuration");
    let running =
        |name: &str| &network.nodes.iter().find(|(config, _)| config.name == name).expect("it runs").0;
    let taken = network.nodes[0].1.url().trim_start_matches("http://").parse().expect("an address");

    let stranger = Config { ledger: running("storage-1").ledger.clone(), ..config("storage-1") };
    let twin = Config { data_dir: running("storage-1").data_dir.clone(), ..running("storage-1").clone() };
    let squatter = Config { listen: taken, ..config("validator") };
    // A folder that a stopped validator of the other network has left.
    Box::pin(Node::start(config("validator"), engine())).await.expect("a validator starts").stop().await;
    let mover = Config { genesis: running("validator").genesis.clone(), ..config("validator") };
    let cases = [
        ("another network's ledger", stranger, "is of network", Some("must belong to the same network")),
        ("a folder in use", twin, "in use by another process", None),
        ("a port in use", squatter, "cannot listen on", Some("choose another port")),
        ("another network's folder", mover, "belongs to network", Some("--reset")),
    ];
    for (what, config, message, hint) in cases {
        let error = Box::pin(Node::start(config, engine())).await.err().unwrap_or_else(|| panic!("{what}"));
        assert!(error.to_string().contains(message), "{what}: {error}");
        let got = error.hint().unwrap_or_default();
        assert!(hint.is_none_or(|hint| got.contains(hint)), "{what}: {got}");
    }
    assert_eq!(network.status().await.nodes, 10, "no stranger was registered");
    network.stop().await;
}

/// Storage nodes that have no room refuse shards and say so; what they hold stays good.
#[tokio::test(flavor = "multi_thread")]
async fn full_storage_nodes_say_so() {
    let network = TestNetwork::start(|config| config.storage.bytes_max = 300_000).await;
    let code = Code::new(3, 5).expect("a code");
    let error = network.blobs.put(&vec![1; 2_000_000], code, &|_| {}).await.expect_err("no room for it");
    assert!(matches!(error, Error::NotStored { index: 0, nodes: 5, .. }), "{error}");
    assert!(error.to_string().contains("300000") && error.hint().is_some(), "{error}");
    let small = network.blobs.put(&[2; 3_000], code, &|_| {}).await.expect("room for little");
    assert_eq!(small.expect("a new blob").acks.len(), 5);
    let bob = network.account("bob", Opg::whole(1)).await;
    let payment = network.pay(&bob, &network.terms(&request(1)).await, 1);
    assert_eq!(network.send(&request(1), &payment).await.0, 200);
    network.stop().await;
}
