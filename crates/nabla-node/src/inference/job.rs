//! One job: check the payment, run, keep, settle, answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use nabla_client::Error as ClientError;
use nabla_types::{
    PaymentId,
    api::{HEADER_PAYMENT_ID, HEADER_RECEIPT, HEADER_SALT, INFER_BYTES_MAX, InferRequest, InferResponse},
    chain::{Payment, PaymentStatus, Tx},
    chat::is_chat,
    embed::is_embed,
    receipt::{CommitmentLabel, Evidence, Receipt, Salt, SignedReceipt, TensorCommitment, Usage},
    tensor::NamedTensor,
};

use super::{
    Inference,
    chat::{self, Begun},
};
use crate::{
    clock::now_ms,
    files::random_bytes,
    http::{Answer, Problem, parse},
    models::{Loaded, ModelError},
    transcripts::Transcript,
};

/// How long a request may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn post_job(
    State(node): State<Arc<Inference>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let payment = headers.get(HEADER_PAYMENT_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let payment = parse("payment id", payment)?;
    // A task of its own: the job goes on when the caller hangs up.
    let job = tokio::spawn(async move {
        let permit = node.jobs.permit()?;
        let body = read_body(body).await?;
        if is_chat(&body) {
            return chat::begin(node, payment, body, permit).await;
        }
        let answer = if is_embed(&body) {
            node.answer_vectors(payment, body).await
        } else {
            node.answer(payment, body).await
        };
        let answer = answer.map(into_response);
        drop(permit);
        answer.map(|response| Begun::Whole(Box::new(response)))
    });
    // A stream is waited for here: it ends with its caller.
    chat::response(job.await??).await
}

/// The request, within its limits of size and time.
async fn read_body(body: Body) -> Answer<Bytes> {
    let late =
        |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "request_too_slow", "the request did not come in time");
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, INFER_BYTES_MAX)).await.map_err(late)?;
    read.map_err(|error| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", error))
}

pub(super) fn into_response(transcript: Transcript) -> Response {
    let headers = [
        (CONTENT_TYPE.as_str(), "application/json".to_owned()),
        (HEADER_RECEIPT, BASE64_STANDARD_NO_PAD.encode(&transcript.receipt)),
        (HEADER_SALT, transcript.salt.to_string()),
    ];
    (headers, transcript.response).into_response()
}

/// What a job needs to know, all of it checked.
struct Order {
    payment: Payment,
    request: InferRequest,
    inputs: Vec<NamedTensor>,
    loaded: Loaded,
    usage: Usage,
}

impl Inference {
    async fn answer(self: Arc<Self>, payment: PaymentId, body: Bytes) -> Answer<Transcript> {
        let turn = self.jobs.turn(payment);
        let _turn = turn.lock().await;
        if let Some(transcript) = self.transcripts.of_payment(payment).map_err(own_fault)? {
            return self.answer_again(payment, transcript, &body).await;
        }
        let order = self.order(payment, &body).await?;
        let transcript = self.work(order, &body).await?;
        self.settle(payment, transcript).await
    }

    pub(super) async fn answer_again(
        &self,
        payment: PaymentId,
        transcript: Transcript,
        body: &Bytes,
    ) -> Answer<Transcript> {
        if transcript.request != *body {
            let text = format!("payment {payment} has paid for another request");
            return Err(
                Problem::new(StatusCode::CONFLICT, "payment_replayed", text).hint("sign a new payment")
            );
        }
        self.settle(payment, transcript).await
    }

    async fn order(&self, payment: PaymentId, body: &Bytes) -> Answer<Order> {
        let payment = self.reserved(payment).await?;
        let mut request: InferRequest =
            serde_json::from_slice(body).map_err(|error| Problem::bad_request("bad_request", error))?;
        if request.model != payment.name || request.model_id.is_some_and(|asked| asked != payment.model) {
            let text = format!(
                "the payment is for {} (model {}), not for what is asked",
                payment.name, payment.model
            );
            return Err(unfit("wrong_model", text));
        }
        let loaded = self.models.get(payment.model).await.map_err(model_problem)?;
        let inputs = std::mem::take(&mut request.inputs);
        let inputs: Result<Vec<_>, _> = inputs.into_iter().map(NamedTensor::from_json).collect();
        let inputs = inputs.map_err(|error| unfit("bad_input", error))?;
        let too_much = || unfit("bad_input", "the inputs' shapes ask for more than 2^64 operations");
        let usage =
            loaded.manifest.usage(inputs.iter().map(|input| input.tensor.shape())).ok_or_else(too_much)?;
        let price = payment.price;
        match price.amount(&usage) {
            Some(amount) if amount <= payment.amount => {}
            amount => {
                let needed = amount.map_or("more than there is".to_owned(), |amount| format!("{amount} OPG"));
                let text = format!("the call costs {needed}, the payment reserves {} OPG", payment.amount);
                return Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "underpaid", text));
            }
        }
        Ok(Order { payment, request, inputs, loaded, usage })
    }

    /// The payment, reserved for this node.
    pub(super) async fn reserved(&self, id: PaymentId) -> Answer<Payment> {
        let conflict = |code: &str, text: String| Err(Problem::new(StatusCode::CONFLICT, code, text));
        let Some(payment) = self.ledger.payment(id).await? else {
            return Err(Problem::not_found("unknown_payment", format!("the ledger knows no payment {id}")));
        };
        if payment.provider != self.key.id() {
            return conflict(
                "payment_not_reserved",
                format!("payment {id} is reserved for node {}", payment.provider),
            );
        }
        match payment.status {
            PaymentStatus::Reserved { .. } => Ok(payment),
            PaymentStatus::Settled { receipt } => conflict(
                "payment_replayed",
                format!("payment {id} was settled by receipt {receipt}, whose transcript is gone"),
            ),
            PaymentStatus::Released => conflict("payment_released", format!("payment {id} was released")),
        }
    }

    async fn work(&self, order: Order, body: &Bytes) -> Answer<Transcript> {
        let started_ms = now_ms();
        let (session, inputs) = (order.loaded.session.clone(), order.inputs.clone());
        let run = tokio::task::spawn_blocking(move || session.run(&inputs)).await?;
        let outputs = run.map_err(run_problem)?;
        let finished_ms = now_ms();
        let response = InferResponse {
            model_name: order.request.model.clone(),
            model_id: order.payment.model,
            outputs: outputs.iter().map(NamedTensor::to_json).collect(),
        };
        let response =
            serde_json::to_vec(&response).map_err(|error| Problem::unavailable("internal_error", error))?;
        if response.len() > INFER_BYTES_MAX {
            let text =
                format!("the answer has {} bytes, at most {INFER_BYTES_MAX} can be given", response.len());
            return Err(unfit("answer_too_large", text));
        }
        let salt = Salt(random_bytes().map_err(own_fault)?);
        let commitments = Commitments::new(salt, body, &response, &order, &outputs);
        let receipt = self.receipt(order, commitments, started_ms, finished_ms);
        let receipt = SignedReceipt::sign(&self.key, receipt);
        let payment = receipt.claims().payment;
        let transcript = Transcript { request: body.to_vec(), response, receipt: receipt.to_bytes(), salt };
        self.transcripts.put(payment, receipt.id(), &transcript).map_err(own_fault)?;
        Ok(transcript)
    }

    fn receipt(&self, order: Order, commitments: Commitments, started_ms: u64, finished_ms: u64) -> Receipt {
        let Order { payment, request, loaded, usage, .. } = order;
        Receipt {
            network: self.network,
            provider: self.key.id(),
            nonce: request.nonce,
            model_name: request.model,
            revision: payment.revision,
            model: payment.model,
            runtime: nabla_engine::RUNTIME.to_owned(),
            kernel_spec: loaded.manifest.kernel_spec,
            request: commitments.request,
            response: commitments.response,
            inputs: commitments.inputs,
            outputs: commitments.outputs,
            sampling: None,
            usage,
            price: payment.price,
            amount: payment.price.amount(&usage).unwrap_or_default(),
            payer: commitments.payer,
            payment: payment.payment,
            started_ms,
            finished_ms,
            evidence: Evidence::Signed,
        }
    }

    /// Settle, or find that it is settled. The answer is given only after that.
    pub(super) async fn settle(&self, payment: PaymentId, transcript: Transcript) -> Answer<Transcript> {
        match self.ledger.submit(&Tx::Settle(transcript.receipt.clone())).await {
            Ok(_) => Ok(transcript),
            Err(error @ ClientError::Answered { status: 400..=499, .. }) => {
                self.refused(payment, transcript, error).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The ledger refused the receipt: because it has it, or for good. Only what the ledger itself says of
    /// the payment decides whether the transcript is still worth anything.
    async fn refused(&self, id: PaymentId, transcript: Transcript, error: ClientError) -> Answer<Transcript> {
        let payment = self.ledger.payment(id).await?;
        let receipt = SignedReceipt::from_bytes(&transcript.receipt).map(|receipt| receipt.id()).ok();
        let over = match payment.map(|payment| (payment.status, payment.provider)) {
            Some((PaymentStatus::Settled { receipt: settled }, _)) if Some(settled) == receipt => {
                return Ok(transcript);
            }
            Some((PaymentStatus::Reserved { .. }, provider)) => provider != self.key.id(),
            Some((PaymentStatus::Settled { .. } | PaymentStatus::Released, _)) => true,
            None => false,
        };
        if over {
            self.transcripts.remove(id);
        }
        let text = format!("the ledger did not settle the call: {error}");
        Err(Problem::new(StatusCode::CONFLICT, error.code(), text))
    }
}

struct Commitments {
    request: nabla_types::receipt::Commitment,
    response: nabla_types::receipt::Commitment,
    payer: nabla_types::receipt::Commitment,
    inputs: Vec<TensorCommitment>,
    outputs: Vec<TensorCommitment>,
}

impl Commitments {
    fn new(salt: Salt, request: &[u8], response: &[u8], order: &Order, outputs: &[NamedTensor]) -> Self {
        let all = |tensors: &[NamedTensor], label: fn(&str) -> CommitmentLabel<'_>| {
            let commit = |tensor: &NamedTensor| TensorCommitment {
                name: tensor.name.clone(),
                commitment: salt.commit(&label(&tensor.name), &tensor.tensor.to_bytes()),
            };
            tensors.iter().map(commit).collect()
        };
        Self {
            request: salt.commit(&CommitmentLabel::Request, request),
            response: salt.commit(&CommitmentLabel::Response, response),
            payer: salt.commit(&CommitmentLabel::Payer, order.payment.payer.as_bytes()),
            inputs: all(&order.inputs, |name| CommitmentLabel::Input(name)),
            outputs: all(outputs, |name| CommitmentLabel::Output(name)),
        }
    }
}

/// The client's fault: the request does not fit the model.
pub(super) fn unfit(code: &str, message: impl ToString) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

pub(super) fn own_fault(error: crate::Error) -> Problem {
    tracing::error!(error = &error as &dyn std::error::Error, "job failed");
    Problem::unavailable("node_failed", error)
}

pub(super) fn model_problem(error: ModelError) -> Problem {
    if matches!(error, ModelError::OtherKind { .. }) {
        return unfit(error.code(), &error);
    }
    tracing::warn!(error = &error as &dyn std::error::Error, "model not available");
    Problem::unavailable(error.code(), &error)
}

fn run_problem(error: nabla_engine::Error) -> Problem {
    match error {
        nabla_engine::Error::Kernels { .. } | nabla_engine::Error::FloatMode { .. } => {
            Problem::unavailable("run_failed", error)
        }
        _ => unfit("bad_input", error),
    }
}
