//! Keys and signatures of nodes: ed25519, each use in a domain of its own.
//!
//! # Rules
//! - What is signed is `"nabla " || domain || 0x00 || network id || SHA-256(bytes)`: a signature made for
//!   one purpose or network is worth nothing for another.
//! - Verification is strict (RFC 8032 with canonical points and no small-order keys), so no second
//!   signature for the same bytes can be derived from the first.
//! - Secret keys cannot be printed.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use sha2::{Digest, Sha256};

use crate::id::{NetworkId, NodeId, bytes_newtype, decode_array};

/// What a signature is for. Each purpose has its own constant and they are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain(&'static str);

impl Domain {
    /// A block header, by its validator.
    pub const BLOCK: Self = Self("block 1");
    /// A storage node's word that it holds a shard.
    pub const HOLDER: Self = Self("holder 1");
    /// A node's registration on the ledger.
    pub const REGISTER_NODE: Self = Self("register node 1");
    /// A gateway's reservation of a payment, or its move to another provider.
    pub const RESERVE: Self = Self("reserve 1");
    /// The release of a reserved payment.
    pub const RELEASE: Self = Self("release 1");
    /// A verifier's verdict on a receipt.
    pub const VERDICT: Self = Self("verdict 1");
    /// A verifier's request for the transcript of a receipt.
    pub const TRANSCRIPT: Self = Self("transcript 1");
}

/// An ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);
bytes_newtype!(Signature, 64);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for Signature {
    type Err = crate::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| crate::id::IdError {
            expected: "signature (128 hex digits)",
            got: text.chars().take(140).collect(),
        })?;
        Ok(Self(bytes))
    }
}

/// The signature does not belong to these bytes, this domain, this network and this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature of node {} does not verify for {} on network {}", node.short(), domain.0, network.short())]
pub struct BadSignature {
    /// Who was said to have signed.
    pub node: NodeId,
    /// For what.
    pub domain: Domain,
    /// On which network.
    pub network: NetworkId,
}

/// A node's secret key.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key with this 32-byte seed. The caller draws the seed from the system's generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Sign `bytes` for one purpose on one network.
    #[must_use]
    pub fn sign(&self, domain: Domain, network: NetworkId, bytes: &[u8]) -> Signature {
        self.sign_raw(&preimage(domain, network, bytes))
    }

    /// Sign a message that carries its own domain separation (COSE).
    #[must_use]
    pub(crate) fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey(secret of {})", self.id().short())
    }
}

/// Check a node's signature over `bytes`.
///
/// # Errors
/// [`BadSignature`] if key, domain, network, bytes and signature do not belong together.
pub fn verify(
    node: NodeId,
    domain: Domain,
    network: NetworkId,
    bytes: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    if verify_raw(node, &preimage(domain, network, bytes), signature) {
        return Ok(());
    }
    Err(BadSignature { node, domain, network })
}

/// Strict ed25519 over a message that carries its own domain separation (COSE).
#[must_use]
pub fn verify_raw(node: NodeId, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    VerifyingKey::from_bytes(&node.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn preimage(domain: Domain, network: NetworkId, bytes: &[u8]) -> Vec<u8> {
    let mut message = format!("nabla {}\0", domain.0).into_bytes();
    message.extend_from_slice(&network.0);
    message.extend_from_slice(&Sha256::digest(bytes));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_one_purpose_only() {
        let key = NodeKey::from_seed(&[7; 32]);
        let (net, other) = (NetworkId([1; 32]), NetworkId([2; 32]));
        let signature = key.sign(Domain::HOLDER, net, b"shard");
        assert_eq!(verify(key.id(), Domain::HOLDER, net, b"shard", &signature), Ok(()));
        let wrong = [
            verify(key.id(), Domain::BLOCK, net, b"shard", &signature),
            verify(key.id(), Domain::HOLDER, other, b"shard", &signature),
            verify(key.id(), Domain::HOLDER, net, b"share", &signature),
            verify(NodeKey::from_seed(&[8; 32]).id(), Domain::HOLDER, net, b"shard", &signature),
            verify(NodeId([0; 32]), Domain::HOLDER, net, b"shard", &signature),
        ];
        assert!(wrong.iter().all(Result::is_err));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let seed = [0xabu8; 32];
        assert!(!format!("{:?}", NodeKey::from_seed(&seed)).contains("abab"));
    }
}
