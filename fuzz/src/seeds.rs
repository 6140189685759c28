//! Valid inputs to begin from: the golden vectors of `spec/vectors`, the models of `models`, and the small
//! ONNX files of `fuzz/seeds/onnx.txt`, a line of hex each, for the operators of the first engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use nabla_engine::{Limits, NoExternalData, import_onnx};
use nabla_node::network::Plan;
use nabla_pay::{AccountKey, x402};
use nabla_store::{Code, encode};
use nabla_types::{
    BlobId, ModelId, NetworkId, NodeId, Opg, RepoName,
    api::{ErrorBody, ErrorInfo, Resource},
    cbor,
    chat::{AnswerHead, ChatWriter, FinishReason, WrittenToken, done_event, receipt_event},
    payment::{CallTerms, Nonce},
    receipt::Price,
};
use serde_json::Value;

use crate::sections::pack;

/// The present of every body, Unix seconds.
pub const NOW_S: u64 = 1_785_000_000;

macro_rules! json {
    ($path:literal) => {
        LazyLock::new(|| {
            serde_json::from_str(include_str!(concat!("../../", $path))).expect("committed JSON")
        })
    };
}

static WIRE: LazyLock<Value> = json!("spec/vectors/wire.json");
static RECEIPTS: LazyLock<Value> = json!("spec/vectors/receipt.json");
static CHAIN: LazyLock<Value> = json!("spec/vectors/ledger.json");
const ONNX: &str = include_str!("../seeds/onnx.txt");
const MODELS: [&[u8]; 2] =
    [include_bytes!("../../models/digits/model.onnx"), include_bytes!("../../models/tumor/model.onnx")];
const GGUF: [&[u8]; 3] = [
    include_bytes!("../../crates/nabla-engine/tests/gguf/llama.gguf"),
    include_bytes!("../../crates/nabla-engine/tests/gguf/qwen2.gguf"),
    include_bytes!("../../crates/nabla-engine/tests/gguf/gemma3.gguf"),
];
const SENTENCES: &str = r#"{"added_tokens": [{"id": 0, "content": "<unk>", "special": true},
 {"id": 1, "content": "<s>", "special": true, "lstrip": true}, {"id": 7, "content": "<t>", "special": false}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
 {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]},
 "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
 "vocab": {"<unk>": 0, "<s>": 1, "<0xC3>": 2, "<0xA9>": 3, "▁": 4, "a": 5, "▁a": 6}, "merges": ["▁ a"]}}"#;
const TEMPLATES: [&str; 4] = [
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}\
     {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{%- set ns = namespace(n=0) %}{% for m in messages if m.role != 'system' %}{% set ns.n = ns.n + loop.index0 %}\
     {{ m.content.split('</think>')[-1].lstrip('\n') ~ ns.n }}{% else %}none{% endfor %}",
    "{% macro show(x, depth=0) %}{% if x is mapping %}{% for k, v in x|items %}{{ k }}={{ show(v, depth + 1) }}{% endfor %}\
     {% else %}{{ x | tojson(indent=2) }}{% endif %}{% endmacro %}{% if tools %}{{ show(tools[0]) }}{% endif %}",
    "{% if messages[0].role == 'user' %}{{ raise_exception('no') }}{% endif %}{{ strftime_now('%d %b %Y') }}\
     {% for i in range(3) %}{{ messages[i]['content'][1:4] | upper | replace('I', '') }}{% endfor %}",
];
const GRAMMARS: [&str; 7] = [
    "0{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"enum\":[\"x\",null]}},\"required\":[\"a\"]}",
    "0{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"},\"maxItems\":3,\"$defs\":{\"n\":{\"type\":\"number\",\"minimum\":1}}}",
    "0{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"},{\"const\":7}]}",
    "1(yes|no|[0-9]{1,4})+ \\w*",
    "1[^\\x00-\\x1f]*é?",
    "2start: \"a\" b* | C\nb: \"[\" start \"]\"\nC: /[0-9]+/\n",
    "2start: item (\",\" item)*\nitem: WORD\nWORD: /[a-z]{1,5}/\n%ignore \" \"\n",
];
const EXAMPLES: [&str; 2] = [
    include_str!("../../models/digits/examples/one.json"),
    include_str!("../../models/tumor/examples/one.json"),
];

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text").trim_start_matches("0x");
    hex::decode(text).expect("vectors are hex")
}

fn each<'v>(list: &'v Value, field: &'v str) -> impl Iterator<Item = &'v Value> {
    list.as_array().expect("a list").iter().filter_map(move |item| item.get(field))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Signed receipts: the valid ones and the lies.
#[must_use]
pub fn receipts() -> Vec<Vec<u8>> {
    each(&RECEIPTS["valid"], "receipt").chain(each(&RECEIPTS["invalid"], "receipt")).map(unhex).collect()
}

/// Receipts with everything that their readers hold.
#[must_use]
pub fn readers() -> Vec<Vec<u8>> {
    let reader = |vector: &Value| {
        let context = &vector["context"];
        let part = |name: &str| context.get(name).map(unhex).unwrap_or_default();
        let exact = |name: &str| context.get(name).map(text).unwrap_or_default().as_bytes().to_vec();
        let mut fields = vec![0xff];
        for (name, length) in
            [("network", 32), ("nonce", 32), ("model", 32), ("payment", 32), ("salt", 32), ("payer", 20)]
        {
            let mut field = part(name);
            field.resize(length, 0);
            fields.extend(field);
        }
        pack(&[&unhex(&vector["receipt"]), &exact("request"), &exact("response"), &part("proof"), &fields])
    };
    RECEIPTS["valid"].as_array().expect("a list").iter().map(reader).collect()
}

/// Layouts.
#[must_use]
pub fn layouts() -> Vec<Vec<u8>> {
    let made = encode(b"a blob of some length", Code::new(2, 3).expect("a code")).expect("small");
    vec![unhex(&WIRE["layout"]["cbor"]), cbor::encode(&made.layout)]
}

/// Manifests of models.
#[must_use]
pub fn manifests() -> Vec<Vec<u8>> {
    vec![unhex(&WIRE["manifest"]["cbor"])]
}

/// Revisions.
#[must_use]
pub fn revisions() -> Vec<Vec<u8>> {
    vec![unhex(&WIRE["revision"]["cbor"])]
}

/// Geneses.
#[must_use]
pub fn geneses() -> Vec<Vec<u8>> {
    each(&WIRE["genesis"], "cbor").map(unhex).chain([ledger_genesis()]).collect()
}

/// The genesis of the golden ledger.
#[must_use]
pub fn ledger_genesis() -> Vec<u8> {
    unhex(&CHAIN["genesis"]["cbor"])
}

/// The blocks of the golden ledger.
#[must_use]
pub fn ledger_blocks() -> Vec<Vec<u8>> {
    each(&CHAIN["blocks"], "cbor").map(unhex).collect()
}

/// Transactions: those of the wire's vectors and those of the golden ledger.
#[must_use]
pub fn transactions() -> Vec<Vec<u8>> {
    let decode = |bytes: Vec<u8>| {
        let max = nabla_types::chain::BLOCK_BYTES_MAX;
        cbor::decode::<nabla_types::chain::Block>("block", &bytes, max).expect("golden").txs
    };
    let ledger = ledger_blocks().into_iter().flat_map(decode).map(|tx| cbor::encode(&tx));
    each(&WIRE["transactions"], "cbor").map(unhex).chain(ledger).collect()
}

/// Blocks.
#[must_use]
pub fn blocks() -> Vec<Vec<u8>> {
    [unhex(&WIRE["block"]["empty_block_cbor"])].into_iter().chain(ledger_blocks()).collect()
}

/// Inclusion proofs.
#[must_use]
pub fn proofs() -> Vec<Vec<u8>> {
    vec![unhex(&WIRE["proof"])]
}

/// Holders' acknowledgements.
#[must_use]
pub fn acks() -> Vec<Vec<u8>> {
    vec![unhex(&WIRE["holder"]["cbor"])]
}

/// Tensors, alone and in lists.
#[must_use]
pub fn tensors() -> Vec<Vec<u8>> {
    let alone = each(&WIRE["tensors"]["each"], "cbor").map(unhex);
    alone.chain([unhex(&WIRE["tensors"]["list_cbor"])]).collect()
}

/// Tensors in JSON.
#[must_use]
pub fn tensors_json() -> Vec<Vec<u8>> {
    let nested = r#"{"name":"x","shape":[2,2],"datatype":"FP64","data":[[1,"NaN"],[-0.0,1e-300]]}"#;
    let wire = each(&WIRE["tensors"]["each"], "json").map(|json| json.to_string().into_bytes());
    wire.chain([nested.into()]).collect()
}

/// Requests to run a model, and answers.
#[must_use]
pub fn calls() -> Vec<Vec<u8>> {
    let contexts = || each(&RECEIPTS["valid"], "context");
    let exact = |field: &'static str| contexts().filter_map(move |context| context.get(field)).map(text);
    let example = |inputs: &&str| {
        let head = format!(r#"{{"model":"a/b","nonce":"{}","#, Nonce([9; 32]));
        inputs.replacen('{', &head, 1)
    };
    let examples = EXAMPLES.iter().map(example);
    let calls = exact("request").chain(exact("response")).map(str::to_owned).chain(examples);
    calls.map(String::into_bytes).collect()
}

/// Chats: requests with every member, answers, whole streams.
#[must_use]
pub fn chats() -> Vec<Vec<u8>> {
    let mut chats: Vec<Vec<u8>> =
        calls().into_iter().filter(|call| !call.starts_with(b"{\"model_name\"")).collect();
    let nonce = Nonce([9; 32]);
    chats.push(
        format!(
            r#"{{"model":"a/b","nonce":"{nonce}","messages":[{{"role":"system","content":"x","name":"n"}}],"max_completion_tokens":5,"temperature":0.7,"top_p":0.9,"top_k":3,"min_p":0.1,"frequency_penalty":-1,"presence_penalty":1,"repetition_penalty":1.1,"logit_bias":{{"7":-100}},"stop":["a","b"],"seed":9,"logprobs":true,"top_logprobs":2,"response_format":{{"type":"json_schema","json_schema":{{"name":"a","schema":{{"a":[1,-2,0.5,null,true,"b"]}}}}}},"stream":true,"stream_options":{{"include_usage":true}}}}"#
        )
        .into_bytes(),
    );
    let head = AnswerHead {
        nonce,
        started_ms: 1,
        model: "a/b".parse().expect("a name"),
        model_id: nabla_types::ModelId([1; 32]),
        stream: true,
        logprobs: false,
    };
    let mut writer = ChatWriter::new(head.clone());
    let mut stream = writer.token(WrittenToken { token: 1, text: "a".to_owned(), logprob: None });
    stream.extend(writer.finish("b", FinishReason::Stop, 3));
    chats.push(stream.clone());
    stream.extend(receipt_event(&head, &[1, 2, 3], nabla_types::receipt::Salt([2; 32])));
    stream.extend(done_event());
    chats.push(stream);
    chats
}

/// JSON bodies of the interface that have no vector.
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let state = nabla_ledger::State::genesis(
        cbor::decode("genesis", &ledger_genesis(), nabla_types::chain::Genesis::BYTES_MAX).expect("golden"),
    );
    let status = serde_json::to_vec(&state.expect("golden").status()).expect("plain data");
    let info = ErrorInfo { code: "a_code".to_owned(), message: "a message".to_owned(), hint: None };
    let error = serde_json::to_vec(&ErrorBody { error: info }).expect("plain data");
    vec![status, error, WIRE["holder"]["json"].to_string().into_bytes()]
}

/// The repository that a call is offered for.
static NAME: LazyLock<RepoName> = LazyLock::new(|| "alice/digits".parse().expect("a name"));

/// What a call is offered for.
#[must_use]
pub fn offer() -> x402::Offer<'static> {
    let per_call = Opg::from_units(1_000);
    let price = Price { per_call, per_gigamac: Opg::from_units(10), royalty: Opg::ZERO };
    let (network, gateway) = (NetworkId([1; 32]), NodeId([2; 32]));
    let call =
        CallTerms { network, gateway, name: &NAME, revision: BlobId([4; 32]), model: ModelId([3; 32]) };
    x402::Offer {
        chain_id: 31_337,
        call,
        price,
        macs: 5,
        amount: Opg::from_units(1_010),
        timeout_seconds: 60,
    }
}

/// How the payer answers terms.
#[must_use]
pub fn answer() -> x402::Answer {
    let (network, limit, nonce) = (NetworkId([1; 32]), Opg::from_units(5_000), Nonce([4; 32]));
    x402::Answer { chain_id: 31_337, network, limit, now: NOW_S, nonce }
}

/// Payments for [`offer`].
#[must_use]
pub fn payments() -> Vec<Vec<u8>> {
    let key = AccountKey::from_secret(&[7; 32]).expect("a small number is a key");
    let payload = x402::pay(&key, &offer().requirements(), &answer()).expect("terms within the limit");
    vec![serde_json::to_vec(&payload).expect("plain data")]
}

/// Terms of a 402.
#[must_use]
pub fn terms() -> Vec<Vec<u8>> {
    let url = "http://127.0.0.1:1/nabla/v1/infer".to_owned();
    let resource =
        Resource { url, description: "a call".to_owned(), mime_type: "application/json".to_owned() };
    vec![serde_json::to_vec(&offer().payment_required("why", resource)).expect("plain data")]
}

/// Amounts, ids, names and the like.
#[must_use]
pub fn texts() -> Vec<Vec<u8>> {
    let amounts = each(&WIRE["amounts"], "text").map(text).map(str::to_owned);
    let ids = [64, 130, 128, 40].map(|length| "0x".to_owned() + &"5a".repeat(length / 2));
    let bare = ids.clone().map(|id| id[2..].to_owned());
    let names = ["alice/digits", "A-1/x_y.z", "README.md", "onnx/model.onnx"].map(str::to_owned);
    amounts.chain(ids).chain(bare).chain(names).map(String::into_bytes).collect()
}

/// ONNX files: small ones, and the repository's models.
#[must_use]
pub fn onnx() -> Vec<Vec<u8>> {
    let small = ONNX.lines().map(|line| hex::decode(line).expect("seeds are hex"));
    small.chain(MODELS.map(<[u8]>::to_vec)).collect()
}

/// GGUF files: small whole models.
#[must_use]
pub fn gguf() -> Vec<Vec<u8>> {
    GGUF.map(<[u8]>::to_vec).to_vec()
}

/// Canonical graphs with their weights.
#[must_use]
pub fn models() -> Vec<Vec<u8>> {
    let import = |bytes: Vec<u8>| import_onnx(&bytes, &NoExternalData, &Limits::default()).ok();
    let models = onnx().into_iter().filter_map(import);
    models.map(|model| pack(&[&model.graph_bytes(), &model.weights_bytes()])).collect()
}

/// A layout and the frames of its shards, all of them or without the first.
#[must_use]
pub fn shards() -> Vec<Vec<u8>> {
    let made = encode(b"a blob that is cut into shards", Code::new(2, 4).expect("a code")).expect("small");
    let layout = cbor::encode(&made.layout);
    let frame = |(index, shard): (u16, &[u8])| [&index.to_be_bytes(), shard].concat();
    let frames: Vec<Vec<u8>> = (0..).zip(made.shards.iter().map(AsRef::as_ref)).map(frame).collect();
    let with = |frames: &[Vec<u8>]| {
        let parts: Vec<&[u8]> =
            [layout.as_slice()].into_iter().chain(frames.iter().map(Vec::as_slice)).collect();
        pack(&parts)
    };
    vec![with(&frames), with(&frames[1..]), with(&frames[3..])]
}

/// A code, and a blob for it.
#[must_use]
pub fn codes() -> Vec<Vec<u8>> {
    let blob = [b'b'; 700];
    let codes: [[u8; 8]; 4] = [
        [3, 5, 0, 9, 0, 0, 0, 0],
        [3, 5, 2, 0, 0, 0, 0, 0],
        [1, 3, 1, 3, 0, 0, 0, 0],
        [10, 30, 7, 1, 0, 0, 0, 0],
    ];
    codes.iter().map(|code| [code.as_slice(), &blob].concat()).collect()
}

/// The journal of the golden ledger, whole and torn.
#[must_use]
pub fn journals() -> Vec<Vec<u8>> {
    let records = (1..).zip(ledger_blocks()).map(|(height, block)| journal_record(height, &block));
    let whole: Vec<u8> = records.flatten().collect();
    let torn = whole[..whole.len() - 10].to_vec();
    vec![Vec::new(), whole, torn]
}

/// A record of the journal, its checksums right.
#[must_use]
pub fn journal_record(height: u64, block: &[u8]) -> Vec<u8> {
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
    let mut record = b"nblk".to_vec();
    record.extend_from_slice(&height.to_be_bytes());
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(blake3::hash(&record).as_bytes());
    record.extend_from_slice(block);
    record.extend_from_slice(blake3::hash(block).as_bytes());
    record
}

/// The configurations of a development network.
#[must_use]
pub fn configs() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = Plan::development(11_400).write(folder.path()).expect("a new network");
    paths.iter().map(|path| std::fs::read(path).expect("just written")).collect()
}

macro_rules! in_folder {
    ($name:literal) => {
        [
            include_bytes!(concat!("../../crates/nabla-engine/tests/safetensors/", $name, "/config.json")),
            include_bytes!(concat!("../../crates/nabla-engine/tests/safetensors/", $name, "/tokenizer.json")),
            include_bytes!(concat!(
                "../../crates/nabla-engine/tests/safetensors/",
                $name,
                "/tokenizer_config.json"
            )),
            include_bytes!(concat!(
                "../../crates/nabla-engine/tests/safetensors/",
                $name,
                "/model.safetensors"
            )),
        ]
    };
}

/// Names of the files of a folder, in the order of a seed.
const IN_FOLDER: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const FOLDERS: [[&[u8]; 4]; 3] = [in_folder!("qwen2"), in_folder!("gemma3"), in_folder!("phi3")];

/// Folders of language models.
#[must_use]
pub fn folders() -> Vec<Vec<u8>> {
    FOLDERS.iter().map(|files| pack(files)).collect()
}

/// Safetensors files.
#[must_use]
pub fn safetensors() -> Vec<Vec<u8>> {
    FOLDERS.iter().map(|[.., weights]| weights.to_vec()).collect()
}

/// GGUF files with a vocabulary and a template.
#[must_use]
pub fn talkers() -> Vec<Vec<u8>> {
    let imported = |files: &[&[u8]; 4]| {
        let named = IN_FOLDER.iter().zip(files).map(|(name, bytes)| ((*name).to_owned(), (*bytes).into()));
        let files: BTreeMap<String, Arc<[u8]>> = named.collect();
        let joined =
            nabla_engine::language::import_folder(&files, &Limits::default()).expect("committed folders");
        [joined.0, joined.1].concat()
    };
    FOLDERS.iter().map(imported).collect()
}

/// `tokenizer.json` files.
#[must_use]
pub fn vocabularies() -> Vec<Vec<u8>> {
    let [[_, byte_level, ..], ..] = FOLDERS;
    vec![byte_level.to_vec(), SENTENCES.into()]
}

/// Chat templates.
#[must_use]
pub fn templates() -> Vec<Vec<u8>> {
    TEMPLATES.map(Vec::from).to_vec()
}

/// Sources of grammars, each behind its kind.
#[must_use]
pub fn grammars() -> Vec<Vec<u8>> {
    GRAMMARS.map(Vec::from).to_vec()
}
