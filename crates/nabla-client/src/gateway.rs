//! Running a model through a gateway: quote, payment, answer, receipt.

use std::time::Duration;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use bytes::Bytes;
use nabla_pay::{
    AccountKey,
    x402::{self, TermsError},
};
use nabla_types::{
    Address, ModelId, NetworkId, Opg, PaymentId, RepoName,
    api::{
        HEADER_PAYMENT, HEADER_RECEIPT, HEADER_SALT, INFER_BYTES_MAX, InferRequest, InferResponse,
        PaymentPayload, PaymentRequired, PaymentRequirements,
    },
    chat::is_chat,
    embed::is_embed,
    payment::{Nonce, SignedAuthorization},
    receipt::{RECEIPT_BYTES_MAX, Receipt, Salt},
    tensor::TensorJson,
};
use nabla_verify::{Context, Report, verify_receipt};
use reqwest::{Method, Response, StatusCode};

use crate::{Error, Http, http};

/// Times that a paid call is sent again, with the same payment, when no answer comes.
const REPEATS: u32 = 2;
/// Time before the first of them; longer before the next.
const REPEAT_PAUSE: Duration = Duration::from_millis(250);

/// A gateway, for one client.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    http: Http,
    base: String,
    network: NetworkId,
    chain_id: u64,
}

/// Who pays, and how much at most.
#[derive(Debug, Clone, Copy)]
pub struct Spending<'a> {
    /// The account that pays.
    pub account: &'a AccountKey,
    /// The most that one call may cost; no limit if `None`.
    pub price_max: Option<Opg>,
    /// The time, Unix seconds.
    pub now_s: u64,
}

/// What went to and fro, byte for byte.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) request: Bytes,
    pub(crate) response: Bytes,
    pub(crate) receipt: Vec<u8>,
    pub(crate) salt: Salt,
}

/// An answer that was paid for, and whose receipt holds.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was sent, byte for byte.
    pub request: Bytes,
    /// What came back, byte for byte.
    pub response: Bytes,
    /// The same, read; none if it is a chat.
    pub outputs: Vec<TensorJson>,
    /// The COSE receipt.
    pub receipt: Vec<u8>,
    /// Its claims.
    pub claims: Receipt,
    /// What opens its commitments. Whoever has it and a guess can test the guess: keep it private.
    pub salt: Salt,
    /// What was checked.
    pub report: Report,
    /// What was paid with.
    pub payment: PaymentId,
    /// Who paid.
    pub payer: Address,
}

impl GatewayClient {
    /// The gateway at a base URL, on a network that the caller knows.
    #[must_use]
    pub fn new(http: Http, base: &str, network: NetworkId, chain_id: u64) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), network, chain_id }
    }

    /// Where this request goes.
    fn url_for(&self, body: &[u8]) -> String {
        let route = match (is_chat(body), is_embed(body)) {
            (true, _) => "chat",
            (_, true) => "embed",
            _ => "infer",
        };
        format!("{}/nabla/v1/{route}", self.base)
    }

    /// Run `model` on `inputs`: ask for the terms, pay, and check the receipt against everything that was
    /// sent and received.
    ///
    /// # Errors
    /// [`Error::Terms`] before anything is paid; [`Error::BadReceipt`] if the answer must not be
    /// used; [`Error::Unreachable`] after repeated sending with one payment, whose state is then unknown.
    pub async fn infer(
        &self,
        model: &RepoName,
        model_id: Option<ModelId>,
        inputs: Vec<TensorJson>,
        spending: Spending<'_>,
    ) -> Result<Answer, Error> {
        let request = InferRequest { model: model.clone(), model_id, nonce: random_nonce()?, inputs };
        let body = Bytes::from(serde_json::to_vec(&request).expect("a request is plain data"));
        let terms = self.terms(&body).await?;
        check_asked(&request.model, request.model_id, &terms)?;
        let payment = self.pay(&terms, spending)?;
        let response = self.send_paid(&body, &payment).await?;
        self.check_answer(&request, body, response, &payment).await
    }

    /// What a call would cost: the 402's terms.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn terms(&self, body: &Bytes) -> Result<PaymentRequirements, Error> {
        let url = self.url_for(body);
        let request = self.http.request(Method::POST, &url).body(body.clone());
        let response =
            request.send().await.map_err(|source| Error::Unreachable { url: url.clone(), source })?;
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Err(http::error_answer(&url, response).await);
        }
        let bytes = http::body(&url, response, 64 << 10).await?;
        let nonsense = |got: String| Error::Nonsense { url: url.clone(), expected: "x402 terms", got };
        let required: PaymentRequired =
            serde_json::from_slice(&bytes).map_err(|error| nonsense(error.to_string()))?;
        let ours = required.accepts.into_iter().find(|terms| terms.scheme == "exact");
        ours.ok_or_else(|| nonsense("no way to pay of scheme \"exact\"".to_owned()))
    }

    pub(crate) fn pay(
        &self,
        terms: &PaymentRequirements,
        spending: Spending<'_>,
    ) -> Result<PaymentPayload, Error> {
        let limit = spending.price_max.unwrap_or(Opg::from_units(u128::MAX));
        let answer = x402::Answer {
            chain_id: self.chain_id,
            network: self.network,
            limit,
            now: spending.now_s,
            nonce: random_nonce()?,
        };
        Ok(x402::pay(spending.account, terms, &answer)?)
    }

    /// Send the paid request. If no answer comes, or the gateway says that it cannot say, send it again:
    /// the payment's nonce makes it one payment.
    #[expect(clippy::disallowed_methods, reason = "a repeated call gives the other side a moment")]
    pub(crate) async fn send_paid(&self, body: &Bytes, payment: &PaymentPayload) -> Result<Response, Error> {
        let url = self.url_for(body);
        let header = BASE64_STANDARD.encode(serde_json::to_vec(payment).expect("a payment is plain data"));
        let mut repeats = 0;
        loop {
            let request =
                self.http.request(Method::POST, &url).header(HEADER_PAYMENT, &header).body(body.clone());
            match http::send(&url, request).await {
                Err(error) if repeats < REPEATS && may_be_repeated(&error) => {
                    repeats += 1;
                    tokio::time::sleep(REPEAT_PAUSE * repeats).await;
                }
                result => return result,
            }
        }
    }

    async fn check_answer(
        &self,
        request: &InferRequest,
        body: Bytes,
        response: Response,
        payment: &PaymentPayload,
    ) -> Result<Answer, Error> {
        let url = self.url_for(&body);
        let receipt = receipt_header(&url, &response)?;
        let salt = salt_header(&url, &response)?;
        let bytes = http::body(&url, response, INFER_BYTES_MAX as u64).await?;
        let mut answer =
            self.checked(request.nonce, Said { request: body, response: bytes, receipt, salt }, payment)?;
        if answer.claims.usage.macs != payment.accepted.extra.macs {
            let reason = "its usage is not that of the terms that were paid for".to_owned();
            return Err(Error::BadReceipt { reason });
        }
        let read: InferResponse = serde_json::from_slice(&answer.response)
            .map_err(|error| Error::Nonsense { url, expected: "an answer", got: error.to_string() })?;
        answer.outputs = read.outputs;
        Ok(answer)
    }

    /// An answer whose receipt holds, for what was sent and paid.
    pub(crate) fn checked(
        &self,
        nonce: Nonce,
        said: Said,
        payment: &PaymentPayload,
    ) -> Result<Answer, Error> {
        let (paid, terms) = (SignedAuthorization::from(&payment.payload), &payment.accepted.extra);
        let Said { request, response, receipt, salt } = said;
        let (payment, payer) = (paid.authorization.payment_id(), paid.authorization.from);
        let context = Context {
            network: Some(self.network),
            nonce: Some(nonce),
            model: Some(terms.model_id),
            payment: Some(payment),
            request: Some(&request),
            response: Some(&response),
            salt: Some(salt),
            payer: Some(payer),
            proof: None,
        };
        let report = verify_receipt(&receipt, &context);
        let claims = match (&report.claims, report.failure_text()) {
            (Some(claims), None) if report.holds() => claims.clone(),
            (_, reason) => {
                return Err(Error::BadReceipt { reason: reason.unwrap_or_else(|| "not signed".into()) });
            }
        };
        let bad = |reason: String| Err(Error::BadReceipt { reason });
        if claims.amount > paid.authorization.value {
            return bad(format!("it asks for {} OPG of {} paid", claims.amount, paid.authorization.value));
        }
        if claims.revision != terms.revision || claims.usage.macs > terms.macs {
            return bad("revision and usage are not those of the terms that were paid for".to_owned());
        }
        let (got, most) = (&claims.price, &terms.price);
        if got.per_call > most.per_call || got.per_gigamac > most.per_gigamac || got.royalty > most.royalty {
            return bad("its price is above that of the terms that were paid for".to_owned());
        }
        Ok(Answer { request, response, outputs: Vec::new(), receipt, claims, salt, report, payment, payer })
    }
}

/// The terms must be for what was asked.
pub(crate) fn check_asked(
    model: &RepoName,
    model_id: Option<ModelId>,
    terms: &PaymentRequirements,
) -> Result<(), Error> {
    let other =
        |term, expected: String, got: String| Err(Error::Terms(TermsError::Term { term, expected, got }));
    let extra = &terms.extra;
    if extra.repository != *model {
        return other("repository", model.to_string(), extra.repository.to_string());
    }
    match model_id.filter(|asked| *asked != extra.model_id) {
        Some(asked) => other("model", asked.to_string(), extra.model_id.to_string()),
        None => Ok(()),
    }
}

/// No answer, or one that says that the payment's state is not known: the same payment may bring it.
fn may_be_repeated(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Answered { status: 503, info, .. } => {
            matches!(info.code.as_str(), "payment_unknown" | "answer_unavailable")
        }
        _ => false,
    }
}

fn header<'r>(url: &str, response: &'r Response, name: &'static str) -> Result<&'r str, Error> {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Error::Nonsense { url: url.to_owned(), expected: name, got: "no such header".into() })
}

pub(crate) fn receipt_header(url: &str, response: &Response) -> Result<Vec<u8>, Error> {
    let text = header(url, response, HEADER_RECEIPT)?;
    let nonsense = |got: String| Error::Nonsense { url: url.to_owned(), expected: "a receipt", got };
    if text.len() > RECEIPT_BYTES_MAX * 4 / 3 + 4 {
        return Err(nonsense(format!("{} characters", text.len())));
    }
    BASE64_STANDARD_NO_PAD.decode(text).map_err(|error| nonsense(error.to_string()))
}

pub(crate) fn salt_header(url: &str, response: &Response) -> Result<Salt, Error> {
    let text = header(url, response, HEADER_SALT)?;
    text.parse().map_err(|error: nabla_types::id::IdError| Error::Nonsense {
        url: url.to_owned(),
        expected: "a salt",
        got: error.to_string(),
    })
}

/// A nonce from the operating system's generator.
pub(crate) fn random_nonce() -> Result<Nonce, Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|source| Error::NoRandomness { source })?;
    Ok(Nonce(nonce))
}
