//! One request for vectors: check the payment, run each text, keep, settle, answer.

use std::sync::Arc;

use axum::body::Bytes;
use nabla_engine::{Limits, language::TextModel};
use nabla_types::{
    PaymentId,
    embed::{EMBEDDINGS, EmbedRequest, EmbedResponse},
    receipt::{CommitmentLabel, Salt, TensorCommitment},
};

use super::{
    Inference,
    chat::{Billed, bad_chat, refused},
    job::{model_problem, own_fault, unfit},
};
use crate::{
    clock::now_ms,
    files::random_bytes,
    http::Answer,
    language::{Vectors, prompt_commitments, vectors_of},
    transcripts::Transcript,
};

impl Inference {
    /// Answer a request for vectors. As for tensors, it goes on when its caller hangs up.
    pub(super) async fn answer_vectors(&self, payment: PaymentId, body: Bytes) -> Answer<Transcript> {
        let request = EmbedRequest::from_bytes(&body).map_err(bad_chat)?;
        let turn = self.jobs.turn(payment);
        let _turn = turn.lock().await;
        if let Some(transcript) = self.transcripts.of_payment(payment).map_err(own_fault)? {
            return self.answer_again(payment, transcript, &body).await;
        }
        let payment = self.reserved(payment).await?;
        super::chat::check_model(&payment, &request.model, request.model_id)?;
        let loaded = self.models.get_language(payment.model).await.map_err(model_problem)?;
        let terms = loaded.manifest.language.unwrap_or_default();
        super::chat::check_funds(&payment, &loaded.manifest, (request.tokens_in_max(&terms), 0))?;
        let started_ms = now_ms();
        let (model, texts) = (loaded.model.clone(), Arc::new(request.input.clone()));
        let run = move |model: TextModel| vectors_of(&model, &terms, &texts, &Limits::default());
        let vectors = tokio::task::spawn_blocking(move || run(model)).await?.map_err(refused)?;
        let Vectors { tokens, lengths, vectors } = vectors;
        let answer = EmbedResponse::new(request.model.clone(), payment.model, vectors, tokens.len() as u64);
        let salt = Salt(random_bytes().map_err(own_fault)?);
        let commitment = salt.commit(&CommitmentLabel::Output(EMBEDDINGS), &answer.tensor().to_bytes());
        let usage = loaded.manifest.usage_of_tokens(tokens.len() as u64, 0);
        let usage = usage.ok_or_else(|| unfit("bad_input", "the texts cost more than 2^64 operations"))?;
        let billed = Billed {
            nonce: request.nonce,
            inputs: prompt_commitments(salt, &tokens, Some(&lengths)),
            outputs: vec![TensorCommitment { name: EMBEDDINGS.to_owned(), commitment }],
            sampling: None,
            usage,
            kernel_spec: loaded.manifest.kernel_spec,
            response: answer.to_bytes(),
            started_ms,
            salt,
        };
        let transcript = self.keep_billed(&payment, billed, &body)?;
        self.settle(payment.payment, transcript).await
    }
}
