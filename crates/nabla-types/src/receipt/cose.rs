//! The COSE_Sign1 envelope (RFC 9052 section 4.2) in the one form that is accepted.

use minicbor::{Decoder, Encoder, data::Tag};
use sha2::{Digest, Sha256};

use super::Receipt;
use crate::{
    cbor::{self, CborError},
    id::{NodeId, ReceiptId, decode_array},
    signature::{self, NodeKey, Signature},
};

/// Largest signed receipt, in bytes: 64 inputs and outputs of long names fit.
pub const RECEIPT_BYTES_MAX: usize = 32 * 1024;

/// CBOR tag of COSE_Sign1.
const TAG: u64 = 18;
/// EdDSA, in the registry of COSE algorithms.
const ALG_EDDSA: i64 = -8;
/// `application/cwt`.
const CONTENT_TYPE_CWT: u64 = 61;
/// Domain separation inside the signature: COSE's `external_aad`.
const EXTERNAL_AAD: &[u8] = b"nabla receipt 1";

/// A receipt and the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    receipt: Receipt,
    payload: Vec<u8>,
    signature: Signature,
}

/// Why bytes are no receipt, or its signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The envelope or the claims are not the one accepted form.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Another algorithm than EdDSA, or other header fields.
    #[error(
        "protected header: expected algorithm {ALG_EDDSA} (EdDSA) and content type {CONTENT_TYPE_CWT}, got {got}"
    )]
    Header {
        /// The header's bytes in hex, cut.
        got: String,
    },
    /// The signature does not verify under the provider's key.
    #[error("signature of provider {} does not verify over these claims", provider.short())]
    Signature {
        /// The provider that the claims name.
        provider: NodeId,
    },
}

impl SignedReceipt {
    /// Sign `receipt`.
    ///
    /// # Panics
    /// If `key` is not the key of `receipt.provider`, which is a programming error.
    #[must_use]
    pub fn sign(key: &NodeKey, receipt: Receipt) -> Self {
        assert_eq!(key.id(), receipt.provider, "a provider signs its own receipts");
        let payload = cbor::encode(&receipt);
        let signature = key.sign_raw(&to_be_signed(&payload));
        Self { receipt, payload, signature }
    }

    /// The claims. Decoding alone does not check the signature: see [`SignedReceipt::verify`].
    #[must_use]
    pub fn claims(&self) -> &Receipt {
        &self.receipt
    }

    /// `SHA-256` of the payload.
    #[must_use]
    pub fn id(&self) -> ReceiptId {
        ReceiptId(Sha256::digest(&self.payload).into())
    }

    /// Check the provider's signature.
    ///
    /// # Errors
    /// [`ReceiptError::Signature`].
    pub fn verify(&self) -> Result<(), ReceiptError> {
        let provider = self.receipt.provider;
        if signature::verify_raw(provider, &to_be_signed(&self.payload), &self.signature) {
            return Ok(());
        }
        Err(ReceiptError::Signature { provider })
    }

    /// The COSE_Sign1 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        envelope(&protected_header(), &self.payload, &self.signature)
    }

    /// Read the one accepted form.
    ///
    /// # Errors
    /// [`ReceiptError`] for everything else. The signature is not checked here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReceiptError> {
        cbor::check_length("receipt", bytes, RECEIPT_BYTES_MAX)?;
        let (protected, payload, signature) = read_envelope(bytes)
            .map_err(|(error, position)| malformed("receipt envelope", &error, position))?;
        if protected != protected_header() {
            let got = hex::encode(&protected[..protected.len().min(32)]);
            return Err(ReceiptError::Header { got });
        }
        let receipt = cbor::decode("receipt claims", payload, RECEIPT_BYTES_MAX)?;
        let signed = Self { receipt, payload: payload.to_vec(), signature };
        match signed.to_bytes() == bytes {
            true => Ok(signed),
            false => Err(CborError::NotCanonical { what: "receipt envelope", position: 0 }.into()),
        }
    }
}

fn malformed(what: &'static str, error: &minicbor::decode::Error, position: usize) -> ReceiptError {
    CborError::Malformed { what, reason: error.to_string(), position }.into()
}

fn protected_header() -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(2)
        .and_then(|e| e.u8(1)?.i64(ALG_EDDSA)?.u8(3)?.u64(CONTENT_TYPE_CWT))
        .expect("encoding to a Vec has no failure");
    e.into_writer()
}

/// `Sig_structure` of RFC 9052 section 4.4.
fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(4)
        .and_then(|e| e.str("Signature1")?.bytes(&protected_header())?.bytes(EXTERNAL_AAD)?.bytes(payload))
        .expect("encoding to a Vec has no failure");
    e.into_writer()
}

fn envelope(protected: &[u8], payload: &[u8], signature: &Signature) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.tag(Tag::new(TAG))
        .and_then(|e| e.array(4)?.bytes(protected)?.map(0)?.bytes(payload)?.bytes(&signature.0))
        .expect("encoding to a Vec has no failure");
    e.into_writer()
}

type Envelope<'b> = (&'b [u8], &'b [u8], Signature);

fn read_envelope(bytes: &[u8]) -> Result<Envelope<'_>, (minicbor::decode::Error, usize)> {
    let mut d = Decoder::new(bytes);
    let mut read = || {
        let error = |text: &str| Err(minicbor::decode::Error::message(text));
        if d.tag()? != Tag::new(TAG) {
            return error("expected CBOR tag 18 (COSE_Sign1)");
        }
        if d.array()? != Some(4) {
            return error("expected an array of 4");
        }
        let protected = d.bytes()?;
        if d.map()? != Some(0) {
            return error("expected an empty unprotected header");
        }
        let payload = d.bytes()?;
        let signature = Signature(decode_array(&mut d)?);
        if d.position() != bytes.len() {
            return error("expected the end of the receipt");
        }
        Ok((protected, payload, signature))
    };
    let result = read();
    result.map_err(|error| (error, d.position()))
}
