//! Transfer authorisations: the fields of EIP-3009 `TransferWithAuthorization`.
//!
//! A payer signs one of these with a standard wallet (EIP-712). The digest and the signature check stand
//! in `nabla-pay`; here are the fields and their encoding.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::{
    amount::Opg,
    id::{Address, BlobId, ModelId, NetworkId, NodeId, PaymentId, bytes_newtype, decode_array},
    name::RepoName,
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
    /// Who receives: an account, or the payee of some [`CallTerms`] to pay for a call.
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

/// What one payment may be spent on. Its hash is the payee that the payer signs, so neither a gateway nor
/// anybody who sees the authorisation can spend it on another call's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTerms<'a> {
    /// The network whose ledger may settle it.
    pub network: NetworkId,
    /// The only gateway that may reserve it.
    pub gateway: NodeId,
    /// The repository that is asked for.
    pub name: &'a RepoName,
    /// Its revision.
    pub revision: BlobId,
    /// The model that is to run.
    pub model: ModelId,
}

impl CallTerms<'_> {
    /// The account that stands for these terms: `"call"` and the first 16 bytes of `SHA-256("nabla call 1\0" ||
    /// network || gateway || revision || model || name)`. Nobody has its key; the ledger takes money for it
    /// only into escrow.
    #[must_use]
    pub fn payee(&self) -> Address {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"nabla call 1\0")
            .chain_update(self.network.0)
            .chain_update(self.gateway.0)
            .chain_update(self.revision.0)
            .chain_update(self.model.0)
            .chain_update(self.name.as_str())
            .finalize()
            .into();
        let mut address = [0; 20];
        address[..4].copy_from_slice(Address::CALL_PREFIX);
        address[4..].copy_from_slice(&hash[..16]);
        Address(address)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_term_changes_the_payee() {
        let (name, other) = ("a/b".parse().expect("a name"), "a/c".parse().expect("a name"));
        let terms = CallTerms {
            network: NetworkId([1; 32]),
            gateway: NodeId([2; 32]),
            name: &name,
            revision: BlobId([3; 32]),
            model: ModelId([4; 32]),
        };
        let changed = [
            CallTerms { network: NetworkId([9; 32]), ..terms },
            CallTerms { gateway: NodeId([9; 32]), ..terms },
            CallTerms { name: &other, ..terms },
            CallTerms { revision: BlobId([9; 32]), ..terms },
            CallTerms { model: ModelId([9; 32]), ..terms },
        ];
        assert!(terms.payee().is_call_payee());
        assert!(changed.iter().all(|changed| changed.payee() != terms.payee()));
    }
}
