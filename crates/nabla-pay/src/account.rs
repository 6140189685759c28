//! Accounts: secp256k1 keys, and the address behind a signature.
//!
//! # Rules
//! - An address is the last 20 bytes of the keccak-256 hash of the uncompressed public key.
//! - Signing is deterministic (RFC 6979): equal digests give equal signatures.
//! - A secret key cannot be printed, and is wiped from memory when it is dropped.
//!
//! # When things go wrong
//! [`recover`] refuses every signature that is not in the one form of
//! [`AccountSignature`], with what was expected and what was got. Any well-formed signature belongs to
//! *some* account, so a changed digest shows as another address: compare it, or use [`verify`].

use std::fmt;

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use nabla_types::{Address, payment::AccountSignature};
use sha3::{Digest, Keccak256};

/// What `v` is for an even `y` of the signature's point; one more for an odd one.
const V_EVEN: u8 = 27;

/// A secret key that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key is 32 bytes, neither zero nor above the order of secp256k1")]
pub struct SecretError;

/// Why a signature is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The last byte is no recovery id.
    #[error("expected a signature that ends in 27 or 28, got {got}")]
    RecoveryId {
        /// The last byte.
        got: u8,
    },
    /// `s` in the upper half: the other form of a good signature.
    #[error("expected s in the lower half of the order (EIP-2), got it in the upper half")]
    HighS,
    /// `r` or `s` is zero or too large, or there is no such point.
    #[error("expected a secp256k1 signature, got numbers that belong to no key")]
    NoKey,
    /// Another account signed, or other bytes were signed.
    #[error(
        "expected the signature of {expected}, got one of {got}: another key, network or content was signed"
    )]
    Signer {
        /// Who was said to have signed.
        expected: Address,
        /// Whose signature it would be.
        got: Address,
    },
}

/// An account's secret key.
#[derive(Clone)]
pub struct AccountKey(SigningKey);

impl AccountKey {
    /// The key with this secret. The caller draws it from the system's generator.
    ///
    /// # Errors
    /// [`SecretError`] for zero and for numbers above the order of the curve.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, SecretError> {
        SigningKey::from_slice(secret).map(Self).map_err(|_| SecretError)
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        address_of(self.0.verifying_key())
    }

    /// Sign a digest of [`eip712`](crate::eip712).
    #[must_use]
    pub fn sign(&self, digest: &[u8; 32]) -> AccountSignature {
        let (signature, id) = self.0.sign_prehash_recoverable(digest);
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = V_EVEN + u8::from(id.is_y_odd());
        AccountSignature(bytes)
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey(secret of {})", self.address())
    }
}

/// The account that signed `digest`.
///
/// # Errors
/// [`SignatureError`] if the signature is not in its one form.
pub fn recover(digest: &[u8; 32], signature: &AccountSignature) -> Result<Address, SignatureError> {
    let (numbers, v) = (&signature.0[..64], signature.0[64]);
    let id = match v.checked_sub(V_EVEN) {
        Some(odd @ (0 | 1)) => RecoveryId::new(odd == 1, false),
        _ => return Err(SignatureError::RecoveryId { got: v }),
    };
    let signature = Signature::from_slice(numbers).map_err(|_| SignatureError::NoKey)?;
    if signature.normalize_s() != signature {
        return Err(SignatureError::HighS);
    }
    let key =
        VerifyingKey::recover_from_prehash(digest, &signature, id).map_err(|_| SignatureError::NoKey)?;
    Ok(address_of(&key))
}

/// Check that `signer` signed `digest`.
///
/// # Errors
/// [`SignatureError`].
pub fn verify(
    signer: Address,
    digest: &[u8; 32],
    signature: &AccountSignature,
) -> Result<(), SignatureError> {
    match recover(digest, signature)? {
        got if got == signer => Ok(()),
        got => Err(SignatureError::Signer { expected: signer, got }),
    }
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_sec1_point(false);
    let hash: [u8; 32] = Keccak256::digest(&point.as_bytes()[1..]).into();
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Address(address)
}

#[cfg(test)]
mod tests;
