//! Identities: one newtype each, so that a blob's hash can never stand where a model's is meant.
//!
//! Text form: 64 lowercase hex digits for the 32-byte ids; `0x` and 40 hex digits for [`Address`]
//! (any case on input). Binary form: a CBOR byte string of the exact length.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is no {expected}")]
pub struct IdError {
    /// The kind of id and its form.
    pub expected: &'static str,
    /// The text that was given, cut to 80 characters.
    pub got: String,
}

fn parse_hex<const N: usize>(text: &str, expected: &'static str) -> Result<[u8; N], IdError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| IdError { expected, got: text.chars().take(80).collect() })?;
    Ok(bytes)
}

/// Read a byte string of exactly `N` bytes.
pub(crate) fn decode_array<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    let bytes = d.bytes()?;
    bytes.try_into().map_err(|_| {
        decode::Error::message(format!("expected a byte string of {N} bytes, got {}", bytes.len()))
    })
}

macro_rules! bytes_newtype {
    ($name:ident, $len:literal) => {
        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                decode_array(d).map(Self)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use bytes_newtype;

macro_rules! hash_id {
    ($(#[$doc:meta] $name:ident, $what:literal;)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);
        bytes_newtype!($name, 32);
        impl $name {
            /// The first eight hex digits, for people. Never for comparison.
            #[must_use]
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text, concat!($what, " (64 hex digits)")).map(Self)
            }
        }
    )*};
}

hash_id! {
    /// A model: the [`BlobId`] of its canonical [manifest](crate::manifest::ModelManifest).
    ModelId, "model id";
    /// Bytes under their content: `BLAKE3(bytes)`.
    BlobId, "blob id";
    /// One shard's bytes under their content: `BLAKE3(shard)`.
    ShardId, "shard id";
    /// A way of cutting one blob into shards: the hash of its [`Layout`](crate::layout::Layout).
    LayoutId, "layout id";
    /// A node: its ed25519 public key.
    NodeId, "node id";
    /// A receipt: `SHA-256` of its payload.
    ReceiptId, "receipt id";
    /// One payment: `SHA-256` over payer and authorisation nonce, so a nonce pays once.
    PaymentId, "payment id";
    /// A transaction: `SHA-256` of its encoding.
    TxId, "transaction id";
    /// A block: `SHA-256` of its header's encoding.
    BlockId, "block id";
    /// A node of a Merkle tree of transactions or receipts.
    TreeHash, "tree hash";
    /// A network: `SHA-256` of its genesis. Everything signed names it.
    NetworkId, "network id";
}

impl ModelId {
    /// The blob that holds this model's manifest: the same hash, read as bytes to fetch.
    #[must_use]
    pub const fn manifest_blob(&self) -> BlobId {
        BlobId(self.0)
    }
}

impl BlobId {
    /// The id of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// An account: the last 20 bytes of the keccak hash of a secp256k1 public key, as on Ethereum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);
bytes_newtype!(Address, 20);

impl Address {
    /// The account that holds what is reserved for running jobs. It has no key.
    pub const ESCROW: Self = Self(*b"nabla escrow account");
    /// The account that holds nodes' stake. It has no key.
    pub const STAKE: Self = Self(*b"nabla staked account");
    /// What the payee of a call begins with: see [`CallTerms`](crate::payment::CallTerms).
    pub const CALL_PREFIX: &[u8; 4] = b"call";

    /// Whether this is the payee of a call, which is no account.
    #[must_use]
    pub fn is_call_payee(&self) -> bool {
        self.0.starts_with(Self::CALL_PREFIX)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl FromStr for Address {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let parsed = parse_hex(digits, "account address (0x and 40 hex digits)");
        parsed.map(Self).map_err(|error| IdError { got: text.chars().take(80).collect(), ..error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = BlobId::of(b"nabla");
        assert_eq!(id.to_string().parse(), Ok(id));
        let bytes = crate::cbor::encode(&id);
        assert_eq!(crate::cbor::decode("blob id", &bytes, 64), Ok(id));
        assert!(crate::cbor::decode::<BlobId>("blob id", &bytes[..33], 64).is_err());
    }

    #[test]
    fn a_wrong_text_is_named() {
        let error = "0x12".parse::<Address>().unwrap_err();
        assert_eq!(error.to_string(), "\"0x12\" is no account address (0x and 40 hex digits)");
    }
}
