//! `wire.json`: everything else that is signed, hashed or stored, one small example each.

use nabla_types::{
    Address, ModelId, NodeId, Opg, PaymentId, TreeHash, cbor,
    chain::{
        Block, Genesis, Header, NodeAnnouncement, Outcome, Reassignment, Release, Reservation, Role,
        SignedHeader, Tx, Verdict,
    },
    id::{BlobId, BlockId, ReceiptId, ShardId},
    layout::{HolderAck, Layout},
    manifest::{BlobRef, FileEntry, ModelManifest, Revision},
    payment::{AccountSignature, Authorization, Nonce, SignedAuthorization},
    receipt::{CommitmentLabel, Salt},
    signature::{Domain, Signature, verify},
    tensor::{NamedTensor, TensorJson, outputs_digest},
};
use nabla_verify::merkle::{Place, Tree};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fixture::{address, digits, genesis, key, network, proof, seed};

/// The whole file. `serde_json` sorts the members of each object.
pub(crate) fn make() -> Value {
    json!({
        "about": "Golden vectors of spec/wire.md. Binary values are hex. Written by: NABLA_BLESS=1 cargo test -p nabla-verify --test vectors",
        "keys": keys(),
        "amounts": amounts(),
        "blobs": blobs(),
        "tensors": tensors(),
        "commitments": commitments(),
        "manifest": manifest(),
        "revision": revision(),
        "layout": layout(),
        "holder": holder(),
        "payment": payment(),
        "genesis": geneses(),
        "signatures": signatures(),
        "trees": trees(),
        "block": block(),
        "proof": hex::encode(cbor::encode(&proof(&genesis("vectors"), &[digits().bytes()], 0))),
        "transactions": transactions(),
    })
}

fn hex_of<T: minicbor::Encode<()>>(value: &T) -> String {
    hex::encode(cbor::encode(value))
}

fn blobs() -> Value {
    json!(["", "nabla"].map(|text| json!({"text": text, "blob_id": BlobId::of(text.as_bytes())})).to_vec())
}

fn keys() -> Value {
    let of = |label: &str| json!({"label": label, "seed": hex::encode(seed(label)), "node": key(label).id()});
    json!(["provider", "stranger", "validator", "storage", "verifier", "gateway"].map(of))
}

fn amounts() -> Value {
    let texts = ["0", "1", "0.0015", "0.000000000000000001", "340282366920938463463.374607431768211455"];
    json!(texts.map(|text| {
        let amount: Opg = text.parse().expect("an amount");
        json!({"text": text, "units": amount, "cbor": hex_of(&amount)})
    }))
}

fn tensors() -> Value {
    let named = [
        json!({"name": "f32", "shape": [1, 2], "datatype": "FP32", "data": [0.1, "NaN"]}),
        json!({"name": "f64", "shape": [2], "datatype": "FP64", "data": [-0.0, "Infinity"]}),
        json!({"name": "i64", "shape": [1], "datatype": "INT64", "data": [-2]}),
        json!({"name": "i32", "shape": [1], "datatype": "INT32", "data": [258]}),
        json!({"name": "i8", "shape": [1], "datatype": "INT8", "data": [-1]}),
        json!({"name": "u8", "shape": [], "datatype": "UINT8", "data": [200]}),
        json!({"name": "bool", "shape": [2], "datatype": "BOOL", "data": [true, false]}),
        json!({"name": "bytes", "shape": [2], "datatype": "BYTES", "data": ["", "\u{e9}"]}),
        json!({"name": "none", "shape": [0, 5], "datatype": "FP32", "data": []}),
        json!({"name": "i16", "shape": [2], "datatype": "INT16", "data": [i16::MIN, 258]}),
        json!({"name": "u16", "shape": [2], "datatype": "UINT16", "data": [u16::MAX, 258]}),
        json!({"name": "u32", "shape": [2], "datatype": "UINT32", "data": [u32::MAX, 258]}),
        json!({"name": "u64", "shape": [2], "datatype": "UINT64", "data": [u64::MAX, 9_007_199_254_740_993_u64]}),
        // Ties, and numbers that miss the nearest one if f32 stands between; then the ends of the range.
        json!({"name": "f16", "shape": [6], "datatype": "FP16", "data": [0.1, 2049, 1.000_488_281_250_000_2, -0.0, 65_519.999_999_999_99, 2.980_232_238_769_532e-8]}),
        json!({"name": "f16 none", "shape": [4], "datatype": "FP16", "data": ["NaN", "Infinity", "-Infinity", 5.960_464_477_539_063e-8]}),
        json!({"name": "bf16", "shape": [6], "datatype": "BF16", "data": [0.1, 257, 1.003_906_250_000_000_2, -0.0, 3.396e38, -4.591_774_807_899_562e-41]}),
        json!({"name": "bf16 none", "shape": [3], "datatype": "BF16", "data": ["NaN", "Infinity", "-Infinity"]}),
    ];
    let read = |json: &Value| -> NamedTensor {
        let wire: TensorJson = serde_json::from_value(json.clone()).expect("a tensor");
        NamedTensor::from_json(wire).expect("a tensor")
    };
    let all: Vec<NamedTensor> = named.iter().map(read).collect();
    let one = |json: &Value| {
        let tensor = read(json).tensor;
        json!({"json": json, "cbor": hex::encode(tensor.to_bytes()), "digest": hex::encode(tensor.digest())})
    };
    json!({
        "each": named.iter().map(one).collect::<Vec<_>>(),
        "list_cbor": hex::encode(cbor::encode(&all)),
        "outputs_digest": hex::encode(outputs_digest(&all)),
    })
}

fn commitments() -> Value {
    let salt = Salt(seed("salt"));
    let labels = [
        ("request", "", CommitmentLabel::Request),
        ("response", "", CommitmentLabel::Response),
        ("payer", "", CommitmentLabel::Payer),
        ("input", "größe", CommitmentLabel::Input("größe")),
        ("output", "x", CommitmentLabel::Output("x")),
    ];
    let each = labels.map(|(kind, name, label)| {
        json!({
            "kind": kind, "name": name, "text": "nabla",
            "label_salt": hex::encode(salt.for_label(&label)),
            "commitment": salt.commit(&label, b"nabla"),
        })
    });
    json!({"salt": salt, "each": each})
}

fn manifest() -> Value {
    let (graph, weights) = (BlobRef::of(b"graph"), BlobRef::of(b"weights"));
    let format = ModelManifest::FORMAT.to_owned();
    let manifest = ModelManifest {
        format,
        kernel_spec: 1,
        macs_per_row: 4_202,
        batched: true,
        graph,
        weights,
        row_elements: 64,
        language: None,
    };
    let usage = |shapes: &[&[u64]]| {
        let usage = manifest.usage(shapes.iter().copied());
        json!({"shapes": shapes, "rows_and_macs": usage.map(|usage| [usage.rows, usage.macs])})
    };
    let usages = [
        usage(&[&[1, 1, 8, 8]]),
        usage(&[&[3, 1, 8, 8]]),
        usage(&[&[1, 5]]),
        usage(&[&[1, 5], &[1, 60]]),
        usage(&[&[0, 64]]),
        usage(&[&[1 << 32, 1 << 32]]),
    ];
    let id = manifest.model_id();
    json!({"json": manifest, "cbor": hex_of(&manifest), "model_id": id, "usage": usages})
}

fn revision() -> Value {
    let file = |path: &str| FileEntry { path: path.to_owned(), content: BlobRef::of(path.as_bytes()) };
    let files = vec![file("README.md"), file("onnx/model.onnx")];
    let revision =
        Revision { format: Revision::FORMAT.to_owned(), model: ModelId(seed("model digits")), files };
    let bytes = cbor::encode(&revision);
    json!({"json": revision, "cbor": hex::encode(&bytes), "blob_id": BlobId::of(&bytes)})
}

fn a_layout() -> Layout {
    let shards = (0..5_u8).map(|i| ShardId(BlobId::of(&[i; 64]).0)).collect();
    Layout { blob: BlobId::of(b"nabla"), size_bytes: 5, k: 3, shards }
}

fn layout() -> Value {
    let layout = a_layout();
    json!({"json": layout, "cbor": hex_of(&layout), "layout_id": layout.id(), "shard_bytes": layout.shard_bytes()})
}

fn holder() -> Value {
    let (key, layout) = (key("storage"), a_layout().id());
    let ack = HolderAck::sign(&key, network(), layout, 3);
    assert!(ack.verify(network()).is_ok());
    json!({"json": ack, "cbor": hex_of(&ack), "signed_bytes": hex_of(&(layout, 3_u16, key.id()))})
}

fn authorization(to: Address) -> Authorization {
    let nonce = Nonce(seed("payment nonce"));
    let value = Opg::from_units(3_500_000_000_000_000);
    Authorization { from: address("payer"), to, value, valid_after: 0, valid_before: 1_785_000_600, nonce }
}

/// The account's signature is not a real one: its digest and check stand in `nabla-pay`.
fn paid(to: Address) -> SignedAuthorization {
    SignedAuthorization { authorization: authorization(to), signature: AccountSignature([0x1b; 65]) }
}

fn payment() -> Value {
    let authorization = authorization(Address::ESCROW);
    json!({
        "from": authorization.from, "nonce": authorization.nonce, "cbor": hex_of(&authorization),
        "payment_id": authorization.payment_id(), "escrow": Address::ESCROW, "stake": Address::STAKE,
    })
}

fn geneses() -> Value {
    json!([genesis("vectors"), Genesis { faucet: None, ..genesis("no faucet") }].map(genesis_of).to_vec())
}

fn genesis_of(genesis: Genesis) -> Value {
    json!({"json": genesis, "cbor": hex_of(&genesis), "network": genesis.network()})
}

/// `"nabla " || domain || 0x00 || network || SHA-256(bytes)`, written from the spec.
fn preimage(domain: &str, bytes: &[u8]) -> Vec<u8> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    [b"nabla ", domain.as_bytes(), &[0], &network().0, &digest].concat()
}

fn signatures() -> Value {
    let domains = [
        ("block 1", Domain::BLOCK),
        ("holder 1", Domain::HOLDER),
        ("register node 1", Domain::REGISTER_NODE),
        ("reserve 1", Domain::RESERVE),
        ("release 1", Domain::RELEASE),
        ("verdict 1", Domain::VERDICT),
        ("transcript 1", Domain::TRANSCRIPT),
    ];
    let key = key("provider");
    let each = domains.map(|(name, domain)| {
        let (bytes, signature) = (b"nabla", key.sign(domain, network(), b"nabla"));
        assert_eq!(verify(key.id(), domain, network(), bytes, &signature), Ok(()));
        assert!(nabla_types::signature::verify_raw(key.id(), &preimage(name, bytes), &signature), "{name}");
        json!({
            "domain": name, "text": "nabla", "signature": signature,
            "preimage": hex::encode(preimage(name, bytes)),
        })
    });
    json!({"node": key.id(), "network": network(), "each": each})
}

fn trees() -> Value {
    json!([Tree::Transactions, Tree::Receipts].map(tree).to_vec())
}

fn tree(tree: Tree) -> Value {
    let leaves = |count: usize| (0..count).map(|i| format!("leaf {i}")).collect::<Vec<_>>();
    let of = |count: usize| {
        let (leaves, root) = (leaves(count), tree.root(&leaves(count)));
        let paths: Vec<Vec<TreeHash>> = (0..count).filter_map(|i| tree.path(&leaves, i)).collect();
        for (index, path) in paths.iter().enumerate() {
            let place = Place { index: index as u64, count: count as u64 };
            assert_eq!(tree.verify(root, leaves[index].as_bytes(), place, path), Ok(()));
        }
        json!({"leaves": leaves, "root": root, "paths": paths})
    };
    let trees = [0, 1, 2, 3, 5, 8].map(of).to_vec();
    json!({"purpose": hex::encode(tree.purpose()), "trees": trees})
}

fn block() -> Value {
    let header: Header = proof(&genesis("vectors"), &[digits().bytes()], 0).header.header;
    let signed = SignedHeader::sign(&key("validator"), header.clone());
    let id: BlockId = header.id();
    let block = Block { header: signed.clone(), txs: vec![] };
    json!({"json": signed, "header_cbor": hex_of(&header), "block_id": id, "empty_block_cbor": hex_of(&block)})
}

fn announcement(node: NodeId) -> NodeAnnouncement {
    NodeAnnouncement {
        node,
        sequence: 1,
        roles: vec![Role::Storage, Role::Inference],
        endpoint: "http://127.0.0.1:8080".to_owned(),
        payout: address("payout"),
        per_call: Opg::from_units(1_000_000_000_000_000),
        per_gigamac: Opg::from_units(2_000_000_000_000_000),
    }
}

/// What each node signature of a transaction covers, and the transaction.
fn transactions() -> Value {
    let (gateway, verifier, provider) = (key("gateway"), key("verifier"), key("provider"));
    let payment: PaymentId = authorization(Address::ESCROW).payment_id();
    let entry = announcement(provider.id());
    let reservation = Reservation {
        payment: paid(Address::ESCROW),
        name: "alice/digits".parse().expect("a name"),
        revision: BlobId::of(b"digits"),
        model: ModelId(seed("model digits")),
        provider: provider.id(),
        gateway: gateway.id(),
    };
    let reassignment = Reassignment { payment, from: provider.id(), to: key("stranger").id() };
    let release = Release { payment, node: gateway.id() };
    let receipt = ReceiptId(seed("receipt"));
    let verdict = Verdict { receipt, verifier: verifier.id(), outcome: Outcome::Equal };
    let sign = |key: &nabla_types::signature::NodeKey, domain, bytes: &[u8]| -> Signature {
        key.sign(domain, network(), bytes)
    };
    let of = |tx: Tx, domain: &str, signed: Option<Vec<u8>>| json!({"kind": tx.kind(), "domain": domain, "signed_bytes": signed.map(hex::encode), "cbor": hex_of(&tx), "tx_id": tx.id()});
    let bytes = [
        cbor::encode(&entry),
        cbor::encode(&reservation),
        cbor::encode(&reassignment),
        cbor::encode(&release),
        cbor::encode(&verdict),
    ];
    let [b_entry, b_reservation, b_reassignment, b_release, b_verdict] = bytes;
    let signed = [
        sign(&provider, Domain::REGISTER_NODE, &b_entry),
        sign(&gateway, Domain::RESERVE, &b_reservation),
        sign(&gateway, Domain::RESERVE, &b_reassignment),
        sign(&gateway, Domain::RELEASE, &b_release),
        sign(&verifier, Domain::VERDICT, &b_verdict),
    ];
    json!([
        of(Tx::Transfer(paid(address("payee"))), "", None),
        of(Tx::RegisterNode(entry, Some(paid(Address::STAKE)), signed[0]), "register node 1", Some(b_entry)),
        of(Tx::Reserve(reservation, signed[1]), "reserve 1", Some(b_reservation)),
        of(Tx::Reassign(reassignment, signed[2]), "reserve 1", Some(b_reassignment)),
        of(Tx::Settle(digits().bytes()), "", None),
        of(Tx::Release(release, signed[3]), "release 1", Some(b_release)),
        of(Tx::Verdict(verdict, signed[4]), "verdict 1", Some(b_verdict)),
    ])
}
