//! Providers of a language model that says ` w0 w1 w2` and so on, some of which do things to their streams.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::Frame;
use nabla_gateway::{JobAnswer, JobStream, Provider, RunError};
use nabla_types::{
    ModelId, Opg, PaymentId,
    api::ErrorInfo,
    chain::Payment,
    chat::{
        AnswerHead, ChatRequest, ChatWriter, EventReader, FinishReason, PROMPT_TOKENS, TOKENS, WrittenToken,
        done_event, failed_event, receipt_event, tokens_tensor,
    },
    embed::{EMBEDDINGS, EmbedRequest, EmbedResponse, PROMPT_LENGTHS},
    manifest::{BlobRef, LanguageTerms, ModelManifest},
    receipt::{CommitmentLabel, Evidence, Price, Receipt, Salt, SignedReceipt, TensorCommitment},
    signature::NodeKey,
};
use tokio::sync::mpsc;

use crate::fake::{Conduct, Fake, Lie, NETWORK, NOW_MS, REVISION, ROYALTY, is_reserved, lying, reject};

/// What a provider does to a stream on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mischief {
    #[default]
    None,
    /// Changes a letter of the text in this event.
    Alters(usize),
    /// Leaves this event out.
    Drops(usize),
    /// Sends this event twice.
    Doubles(usize),
    /// Changes places of this event and the next.
    Swaps(usize),
    /// Adds text of its own after this event.
    Adds(usize),
    /// Breaks off after so many events; nothing is settled.
    Dies(usize),
    /// The same, with an error as its last event.
    Fails(usize),
    /// Breaks off after the answer, which is settled.
    ForgetsReceipt,
    /// Sends a receipt that is false in this way, and settles it if the ledger takes it.
    Lies(Lie),
    /// Sends the receipt of another call.
    OtherCall,
    /// Says another salt at the start than at the end.
    OtherSalt,
    /// Never sends anything after this event.
    Hangs(usize),
    /// Sends what is no event.
    Babbles,
    /// Sends events without end.
    Floods,
}

pub(crate) fn manifest() -> ModelManifest {
    ModelManifest {
        format: ModelManifest::FORMAT.to_owned(),
        kernel_spec: 1,
        // So that each token costs a unit.
        macs_per_row: 1_000_000_000,
        batched: false,
        graph: BlobRef::of(b"header"),
        weights: BlobRef::of(b"data"),
        row_elements: 1,
        language: Some(LanguageTerms { context_length: 1000, template_bytes: 4 }),
    }
}

pub(crate) fn model() -> ModelId {
    manifest().model_id()
}

/// An honest answer, with its receipt; cut after so many tokens if its client has gone.
pub(crate) fn honest(
    key: &NodeKey,
    provider: &Provider,
    payment: &Payment,
    request: &Bytes,
    cancelled: Option<u32>,
) -> (JobAnswer, SignedReceipt) {
    let asked = ChatRequest::from_bytes(request).expect("a request that the gateway has read");
    let terms = manifest().language.expect("terms");
    let salt = Salt([provider.node.0[0]; 32]);
    let prompt: Vec<u32> = asked.messages.iter().flat_map(|m| m.content.bytes()).map(u32::from).collect();
    let tokens: Vec<u32> = (0..cancelled.unwrap_or(asked.tokens_out_max(&terms))).collect();
    let head = AnswerHead {
        nonce: asked.nonce,
        started_ms: NOW_MS,
        model: asked.model.clone(),
        model_id: payment.model,
        stream: asked.stream,
        logprobs: false,
    };
    let mut writer = ChatWriter::new(head);
    let written = |token: &u32| WrittenToken { token: *token, text: format!(" w{token}"), logprob: None };
    let mut response: Vec<u8> = tokens.iter().flat_map(|token| writer.token(written(token))).collect();
    let finish = if cancelled.is_some() { FinishReason::Cancelled } else { FinishReason::Length };
    response.extend(writer.finish("", finish, prompt.len() as u64));
    let usage = manifest().usage_of_tokens(prompt.len() as u64, tokens.len() as u64).expect("few tokens");
    let royalty = Opg::from_units(ROYALTY);
    let price = Price { per_call: provider.per_call, per_gigamac: provider.per_gigamac, royalty };
    let commit = |name: &str, label: CommitmentLabel<'_>, tokens: &[u32]| {
        let commitment = salt.commit(&label, &tokens_tensor(tokens).to_bytes());
        vec![TensorCommitment { name: name.to_owned(), commitment }]
    };
    let receipt = Receipt {
        network: NETWORK,
        provider: key.id(),
        nonce: asked.nonce,
        model_name: asked.model.clone(),
        revision: REVISION,
        model: payment.model,
        runtime: "fake/1".to_owned(),
        kernel_spec: 1,
        request: salt.commit(&CommitmentLabel::Request, request),
        response: salt.commit(&CommitmentLabel::Response, &response),
        inputs: commit(PROMPT_TOKENS, CommitmentLabel::Input(PROMPT_TOKENS), &prompt),
        outputs: commit(TOKENS, CommitmentLabel::Output(TOKENS), &tokens),
        sampling: Some(asked.sampling(&terms)),
        usage,
        price,
        amount: price.amount(&usage).expect("small prices"),
        payer: salt.commit(&CommitmentLabel::Payer, payment.payer.as_bytes()),
        payment: payment.payment,
        started_ms: NOW_MS,
        finished_ms: NOW_MS + 1,
        evidence: Evidence::Signed,
    };
    let signed = SignedReceipt::sign(key, receipt);
    (JobAnswer { response: response.into(), receipt: signed.to_bytes(), salt }, signed)
}

/// Honest vectors: a number for each text, its length.
pub(crate) fn vectors(
    key: &NodeKey,
    provider: &Provider,
    payment: &Payment,
    request: &Bytes,
) -> (JobAnswer, SignedReceipt) {
    let asked = EmbedRequest::from_bytes(request).expect("a request that the gateway has read");
    let salt = Salt([provider.node.0[0]; 32]);
    let tokens: Vec<u32> = asked.input.iter().flat_map(|text| text.bytes()).map(u32::from).collect();
    let rows = asked.input.iter().map(|text| vec![f32::from(u8::try_from(text.len()).expect("short"))]);
    let answer = EmbedResponse::new(asked.model.clone(), payment.model, rows.collect(), tokens.len() as u64);
    let usage = manifest().usage_of_tokens(tokens.len() as u64, 0).expect("few tokens");
    let royalty = Opg::from_units(ROYALTY);
    let price = Price { per_call: provider.per_call, per_gigamac: provider.per_gigamac, royalty };
    let commit = |name: &str, label: CommitmentLabel<'_>, bytes: &[u8]| TensorCommitment {
        name: name.to_owned(),
        commitment: salt.commit(&label, bytes),
    };
    let prompt = |name: &'static str| commit(name, CommitmentLabel::Input(name), b"left open");
    let outputs = commit(EMBEDDINGS, CommitmentLabel::Output(EMBEDDINGS), &answer.tensor().to_bytes());
    let response = Bytes::from(answer.to_bytes());
    let receipt = Receipt {
        network: NETWORK,
        provider: key.id(),
        nonce: asked.nonce,
        model_name: asked.model.clone(),
        revision: REVISION,
        model: payment.model,
        runtime: "fake/1".to_owned(),
        kernel_spec: 1,
        request: salt.commit(&CommitmentLabel::Request, request),
        response: salt.commit(&CommitmentLabel::Response, &response),
        inputs: vec![prompt(PROMPT_TOKENS), prompt(PROMPT_LENGTHS)],
        outputs: vec![outputs],
        sampling: None,
        usage,
        price,
        amount: price.amount(&usage).expect("small prices"),
        payer: salt.commit(&CommitmentLabel::Payer, payment.payer.as_bytes()),
        payment: payment.payment,
        started_ms: NOW_MS,
        finished_ms: NOW_MS + 1,
        evidence: Evidence::Signed,
    };
    let signed = SignedReceipt::sign(key, receipt);
    (JobAnswer { response, receipt: signed.to_bytes(), salt }, signed)
}

pub(crate) fn events(bytes: &[u8]) -> Vec<Bytes> {
    let mut reader = EventReader::default();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_event().expect("events")).map(Bytes::from).collect()
}

/// What a provider sends when it is asked for a stream.
pub(crate) async fn stream(
    fake: &Fake,
    provider: &Provider,
    payment: PaymentId,
    request: Bytes,
) -> Result<JobStream, RunError> {
    fake.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    fake.gate.acquire().await.expect("the gate is never closed").forget();
    let (conduct, mischief, stored, entry) = {
        let state = fake.state();
        let node = provider.node;
        let conduct = state.conduct.get(&node).copied().unwrap_or_default();
        let mischief = state.mischief.get(&node).copied().unwrap_or_default();
        (
            conduct,
            mischief,
            state.stored.get(&(node, payment)).cloned(),
            state.payments.get(&payment).cloned(),
        )
    };
    match conduct {
        Conduct::Down => return Err(RunError::Unreachable { reason: "connection refused".to_owned() }),
        Conduct::Rejects(status) => return Err(reject(status, "bad_input", &"not what the model takes")),
        _ => {}
    }
    let key = fake.keys.iter().find(|key| key.id() == provider.node).expect("a known node").clone();
    let (salt, script) = match (stored, entry) {
        (Some((same, answer)), _) if same == request => (answer.salt, Script::stored(&key, answer)),
        (None, Some(entry)) if is_reserved(&entry) && entry.provider == provider.node => {
            fake.worked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Script::new(&key, provider, &entry, &request, mischief)
        }
        (Some(_), _) => return Err(reject(409, "payment_replayed", &"another request was answered for it")),
        _ => return Err(reject(409, "not_reserved", &"the payment is not reserved for this node")),
    };
    let (sender, receiver) = mpsc::channel(2);
    let played = Played { fake: fake.me(), provider: provider.clone(), payment, request, key, mischief };
    spawn(played.play(script, sender));
    Ok(JobStream { salt, events: Body::new(Channel(receiver)) })
}

#[expect(clippy::disallowed_methods, reason = "a provider works by itself")]
fn spawn(play: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(play);
}

/// What is sent, and what is settled between answer and receipt.
struct Script {
    answer: Vec<Bytes>,
    settles: Option<SignedReceipt>,
    stored: Option<JobAnswer>,
    after: Vec<Bytes>,
    /// Whether the connection stays open in the end, with nothing more to come.
    hangs: bool,
}

impl Script {
    fn stored(key: &NodeKey, answer: JobAnswer) -> Self {
        let after = receipt_events(&answer.receipt, answer.salt, key);
        Self { answer: events(&answer.response), settles: None, stored: None, after, hangs: false }
    }

    fn new(
        key: &NodeKey,
        provider: &Provider,
        payment: &Payment,
        request: &Bytes,
        mischief: Mischief,
    ) -> (Salt, Self) {
        let (answer, receipt) = honest(key, provider, payment, request, None);
        let after = receipt_events(&answer.receipt, answer.salt, key);
        let mut salt = answer.salt;
        let mut script = Self {
            answer: events(&answer.response),
            settles: Some(receipt.clone()),
            stored: Some(answer.clone()),
            after,
            hangs: false,
        };
        match mischief {
            Mischief::None => {}
            Mischief::Alters(at) => {
                let text = String::from_utf8(script.answer[at].to_vec()).expect("JSON");
                script.answer[at] = text.replace(" w", " v").into();
            }
            Mischief::Drops(at) => drop(script.answer.remove(at)),
            Mischief::Doubles(at) => script.answer.insert(at, script.answer[at].clone()),
            Mischief::Swaps(at) => script.answer.swap(at, at + 1),
            Mischief::Adds(at) => {
                let text = String::from_utf8(script.answer[at].to_vec()).expect("JSON");
                let more = text.replace(" w", " more").replace("\"role\":\"assistant\",", "");
                script.answer.insert(at + 1, more.into());
            }
            Mischief::Dies(at) | Mischief::Fails(at) | Mischief::Hangs(at) => {
                script.answer.truncate(at);
                let info = ErrorInfo { code: "node_failed".into(), message: "no power".into(), hint: None };
                script.after.clear();
                script.settles = None;
                script.hangs = matches!(mischief, Mischief::Hangs(_));
                if matches!(mischief, Mischief::Fails(_)) {
                    script.after.push(failed_event(info).into());
                }
            }
            Mischief::ForgetsReceipt => script.after.clear(),
            Mischief::Lies(lie) => {
                let lied = lying(lie, key, receipt.claims().clone(), answer);
                script.settles = SignedReceipt::from_bytes(&lied.receipt).ok();
                script.answer = events(&lied.response);
                salt = lied.salt;
                script.after = receipt_events(&lied.receipt, lied.salt, key);
            }
            Mischief::OtherCall => {
                let mut claims = receipt.claims().clone();
                claims.response.0[0] ^= 1;
                script.after = receipt_events(&SignedReceipt::sign(key, claims).to_bytes(), answer.salt, key);
            }
            Mischief::OtherSalt => salt.0[0] ^= 1,
            Mischief::Babbles => script.answer.insert(1, Bytes::from_static(b": ping\n\n")),
            Mischief::Floods => {
                let one = Bytes::from(vec![b'x'; 600_000]);
                script.answer.splice(1..1, vec![one; 3]);
            }
        }
        (salt, script)
    }
}

fn receipt_events(receipt: &[u8], salt: Salt, key: &NodeKey) -> Vec<Bytes> {
    let _ = key;
    let head = SignedReceipt::from_bytes(receipt).map(|signed| AnswerHead::of(signed.claims(), true, false));
    let head = head.unwrap_or_else(|_| AnswerHead {
        nonce: nabla_types::payment::Nonce([0; 32]),
        started_ms: 0,
        model: "alice/fabula".parse().expect("a name"),
        model_id: model(),
        stream: true,
        logprobs: false,
    });
    vec![receipt_event(&head, receipt, salt).into(), done_event().into()]
}

/// A stream in work.
struct Played {
    fake: Arc<Fake>,
    provider: Provider,
    payment: PaymentId,
    request: Bytes,
    key: NodeKey,
    mischief: Mischief,
}

impl Played {
    async fn play(self, script: Script, sender: mpsc::Sender<Bytes>) {
        for (sent, event) in (0_u32..).zip(script.answer) {
            if sender.send(event).await.is_err() {
                if script.stored.is_some() && self.mischief == Mischief::None {
                    self.cancel(sent);
                }
                return;
            }
        }
        if let Some(receipt) = &script.settles {
            Fake::settle(&mut self.fake.state(), receipt);
        }
        if let Some(answer) = script.stored {
            let key = (self.provider.node, self.payment);
            self.fake.state().stored.insert(key, (self.request.clone(), answer));
        }
        for event in script.after {
            let _ = sender.send(event).await;
        }
        if script.hangs {
            sender.closed().await;
        }
    }

    /// Settle what was made until the client went away.
    fn cancel(&self, tokens: u32) {
        let mut state = self.fake.state();
        let payment = state.payments[&self.payment].clone();
        let (answer, receipt) = honest(&self.key, &self.provider, &payment, &self.request, Some(tokens));
        Fake::settle(&mut state, &receipt);
        state.stored.insert((self.provider.node, self.payment), (self.request.clone(), answer));
    }
}

struct Channel(mpsc::Receiver<Bytes>);

impl HttpBody for Channel {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
