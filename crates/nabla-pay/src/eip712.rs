//! What wallets sign: EIP-712 digests of payments and of model registrations.
//!
//! | domain | fields | signs |
//! |---|---|---|
//! | token | name `OPG`, version `1`, chain id, verifying contract [`OPG_ADDRESS`] | `TransferWithAuthorization` of EIP-3009 |
//! | registry | name `nabla`, version `1`, chain id | `ModelRegistration`, which also names the network |
//!
//! `digest = keccak256(0x19 0x01 || hash(domain) || hash(struct))`, each as EIP-712 says.
//!
//! A payment is bound to the chain id, not to the network: that is what EIP-3009 signs, and what stock
//! wallets and x402 clients can sign. Networks whose OPG has value therefore need chain ids of their own.

use nabla_types::{
    Address, NetworkId, NodeId, Opg,
    chain::ModelRegistration,
    payment::{AccountSignature, Authorization, Nonce, SignedAuthorization},
};
use sha3::{Digest, Keccak256};

use crate::account::{self, AccountKey, SignatureError};

/// The address that stands for the OPG token in payers' signatures. It has no key and holds nothing.
pub const OPG_ADDRESS: Address = Address(*b"nabla OPG token acct");
/// Name of the token's EIP-712 domain.
pub const TOKEN_NAME: &str = "OPG";
/// Version of the token's EIP-712 domain.
pub const TOKEN_VERSION: &str = "1";

const REGISTRY_NAME: &str = "nabla";
const REGISTRY_VERSION: &str = "1";
const TOKEN_DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const REGISTRY_DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,uint256 chainId)";
const AUTHORIZATION_TYPE: &str = "TransferWithAuthorization(address from,address to,uint256 value,\
    uint256 validAfter,uint256 validBefore,bytes32 nonce)";
const REGISTRATION_TYPE: &str = "ModelRegistration(string name,address owner,uint64 sequence,\
    bytes32 model,bytes32 revision,uint256 royalty,uint256 storageFee,string summary,bytes32 network)";

/// What a payer signs for `authorization` on the chain `chain_id`.
#[must_use]
pub fn authorization_digest(chain_id: u64, authorization: &Authorization) -> [u8; 32] {
    let domain = Struct::new(TOKEN_DOMAIN_TYPE)
        .text(TOKEN_NAME)
        .text(TOKEN_VERSION)
        .number(chain_id.into())
        .address(&OPG_ADDRESS);
    let message = Struct::new(AUTHORIZATION_TYPE)
        .address(&authorization.from)
        .address(&authorization.to)
        .number(authorization.value.units())
        .number(authorization.valid_after.into())
        .number(authorization.valid_before.into())
        .bytes(&authorization.nonce.0);
    digest(&domain, &message)
}

/// What an owner signs for `registration` on this network.
#[must_use]
pub fn registration_digest(chain_id: u64, network: NetworkId, registration: &ModelRegistration) -> [u8; 32] {
    let domain =
        Struct::new(REGISTRY_DOMAIN_TYPE).text(REGISTRY_NAME).text(REGISTRY_VERSION).number(chain_id.into());
    let message = Struct::new(REGISTRATION_TYPE)
        .text(registration.name.as_str())
        .address(&registration.owner)
        .number(registration.sequence.into())
        .bytes(&registration.model.0)
        .bytes(&registration.revision.0)
        .number(registration.royalty.units())
        .number(registration.storage_fee.units())
        .text(&registration.summary)
        .bytes(&network.0);
    digest(&domain, &message)
}

/// Sign a payment.
///
/// # Panics
/// If `key` is not the key of `authorization.from`, which is a programming error.
#[must_use]
pub fn sign_authorization(
    key: &AccountKey,
    chain_id: u64,
    authorization: Authorization,
) -> SignedAuthorization {
    assert_eq!(key.address(), authorization.from, "a payer signs its own payments");
    let signature = key.sign(&authorization_digest(chain_id, &authorization));
    SignedAuthorization { authorization, signature }
}

/// Check that the payer signed this payment for this chain.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_authorization(chain_id: u64, signed: &SignedAuthorization) -> Result<(), SignatureError> {
    let digest = authorization_digest(chain_id, &signed.authorization);
    account::verify(signed.authorization.from, &digest, &signed.signature)
}

/// Sign a model's registration as its owner.
///
/// # Panics
/// If `key` is not the key of `registration.owner`, which is a programming error.
#[must_use]
pub fn sign_registration(
    key: &AccountKey,
    chain_id: u64,
    network: NetworkId,
    registration: &ModelRegistration,
) -> AccountSignature {
    assert_eq!(key.address(), registration.owner, "an owner signs its own registrations");
    key.sign(&registration_digest(chain_id, network, registration))
}

/// Check that the owner signed this registration for this network.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_registration(
    chain_id: u64,
    network: NetworkId,
    registration: &ModelRegistration,
    signature: &AccountSignature,
) -> Result<(), SignatureError> {
    let digest = registration_digest(chain_id, network, registration);
    account::verify(registration.owner, &digest, signature)
}

/// The nonce that an authorisation to [`Address::STAKE`] must carry: it binds the stake to one
/// announcement of one node, so that nobody can put it on another node.
///
/// `keccak256("nabla stake 1" 0x00 || network || node || sequence as 8 bytes, big-endian)`.
#[must_use]
pub fn stake_nonce(network: NetworkId, node: NodeId, sequence: u64) -> Nonce {
    let hash = Keccak256::new()
        .chain_update(b"nabla stake 1\0")
        .chain_update(network.0)
        .chain_update(node.0)
        .chain_update(sequence.to_be_bytes());
    Nonce(hash.finalize().into())
}

/// Stake `value` on the node's announcement of this `sequence`.
///
/// `valid_before` in Unix seconds; good from now on.
#[must_use]
pub fn sign_stake(key: &AccountKey, chain_id: u64, stake: &Stake) -> SignedAuthorization {
    let authorization = Authorization {
        from: key.address(),
        to: Address::STAKE,
        value: stake.value,
        valid_after: 0,
        valid_before: stake.valid_before,
        nonce: stake_nonce(stake.network, stake.node, stake.sequence),
    };
    sign_authorization(key, chain_id, authorization)
}

/// What is to be staked, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stake {
    /// The network.
    pub network: NetworkId,
    /// The node.
    pub node: NodeId,
    /// The sequence of the announcement that brings the stake in.
    pub sequence: u64,
    /// How much is added to the node's stake.
    pub value: Opg,
    /// Not good at or after this time, Unix seconds.
    pub valid_before: u64,
}

fn digest(domain: &Struct, message: &Struct) -> [u8; 32] {
    let hash =
        Keccak256::new().chain_update([0x19, 0x01]).chain_update(domain.hash()).chain_update(message.hash());
    hash.finalize().into()
}

/// `encodeData` of EIP-712: the type's hash, then one 32-byte word for each field.
struct Struct(Vec<u8>);

impl Struct {
    fn new(kind: &str) -> Self {
        Self(Keccak256::digest(kind).to_vec())
    }

    fn bytes(mut self, word: &[u8; 32]) -> Self {
        self.0.extend_from_slice(word);
        self
    }

    fn text(self, text: &str) -> Self {
        self.bytes(&Keccak256::digest(text).into())
    }

    fn number(self, number: u128) -> Self {
        let mut word = [0; 32];
        word[16..].copy_from_slice(&number.to_be_bytes());
        self.bytes(&word)
    }

    fn address(self, address: &Address) -> Self {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&address.0);
        self.bytes(&word)
    }

    fn hash(&self) -> [u8; 32] {
        Keccak256::digest(&self.0).into()
    }
}
