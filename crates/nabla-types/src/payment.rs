//! Transfer authorisations: the fields of EIP-3009 `TransferWithAuthorization`.
//!
//! A payer signs one of these with a standard wallet (EIP-712). The digest and the signature check stand
//! in `nabla-pay`; here are the fields and their encoding.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::{
    amount::Opg,
    id::{Address, PaymentId, bytes_newtype, decode_array},
};

/// A 32-byte value that its owner uses once, drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 32]);

/// A secp256k1 signature as wallets give it: `r || s || v`, 65 bytes, `v` 27 or 28, `s` in the lower half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountSignature(pub [u8; 65]);

mod codec {
    use std::fmt;

    use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

    use super::{AccountSignature, Nonce, bytes_newtype, decode_array};
    use crate::id::IdError;

    bytes_newtype!(Nonce, 32);
    bytes_newtype!(AccountSignature, 65);

    macro_rules! hex_text {
        ($name:ident, $len:literal, $what:literal) => {
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "0x{}", hex::encode(self.0))
                }
            }
            impl std::str::FromStr for $name {
                type Err = IdError;
                fn from_str(text: &str) -> Result<Self, IdError> {
                    let mut bytes = [0; $len];
                    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
                        .map_err(|_| IdError { expected: $what, got: text.chars().take(140).collect() })?;
                    Ok(Self(bytes))
                }
            }
        };
    }
    hex_text!(Nonce, 32, "nonce (0x and 64 hex digits)");
    hex_text!(AccountSignature, 65, "account signature (0x and 130 hex digits)");
}

/// "Move `value` from `from` to `to`, once, in this time window."
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Authorization {
    /// Who pays and signs.
    #[n(0)]
    pub from: Address,
    /// Who receives: an account, or [`Address::ESCROW`] to pay for a call.
    #[n(1)]
    pub to: Address,
    /// How much.
    #[n(2)]
    pub value: Opg,
    /// Not good at or before this time, Unix seconds.
    #[n(3)]
    pub valid_after: u64,
    /// Not good at or after this time, Unix seconds.
    #[n(4)]
    pub valid_before: u64,
    /// Used once per payer.
    #[n(5)]
    pub nonce: Nonce,
}

impl Authorization {
    /// What makes this payment one payment: payer and nonce.
    #[must_use]
    pub fn payment_id(&self) -> PaymentId {
        let hash = Sha256::new()
            .chain_update(b"nabla payment 1\0")
            .chain_update(self.from.0)
            .chain_update(self.nonce.0);
        PaymentId(hash.finalize().into())
    }
}

/// An authorisation and its payer's signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedAuthorization {
    /// What is authorised.
    #[n(0)]
    pub authorization: Authorization,
    /// EIP-712 signature of `authorization.from`.
    #[n(1)]
    pub signature: AccountSignature,
}
