//! Salted commitments: `SHA-256("nabla commitment 1\0" || label salt || bytes)`.
//!
//! One random [`Salt`] per call stays with client and provider. Each committed thing has its own salt,
//! derived from it and the thing's label, so one thing can be opened without opening the others.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::id::{bytes_newtype, decode_array};

/// A commitment to some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commitment(pub [u8; 32]);

/// The secret that opens a receipt's commitments. Drawn at random for each call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

/// What is committed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitmentLabel<'a> {
    /// The request, byte for byte.
    Request,
    /// The response, byte for byte.
    Response,
    /// The payer's 20-byte address.
    Payer,
    /// The canonical encoding of the input tensor or attachment of this name.
    Input(&'a str),
    /// The canonical encoding of the output tensor of this name.
    Output(&'a str),
}

impl CommitmentLabel<'_> {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Request => ("request", ""),
            Self::Response => ("response", ""),
            Self::Payer => ("payer", ""),
            Self::Input(name) => ("input", name),
            Self::Output(name) => ("output", name),
        }
    }
}

impl Salt {
    /// Commit to `bytes` under `label`.
    #[must_use]
    pub fn commit(&self, label: &CommitmentLabel<'_>, bytes: &[u8]) -> Commitment {
        let hash = Sha256::new()
            .chain_update(b"nabla commitment 1\0")
            .chain_update(self.for_label(label))
            .chain_update(bytes);
        Commitment(hash.finalize().into())
    }

    /// The salt of one label: what to hand over to open only that commitment.
    #[must_use]
    pub fn for_label(&self, label: &CommitmentLabel<'_>) -> [u8; 32] {
        let (kind, name) = label.parts();
        let hash = Sha256::new()
            .chain_update(b"nabla salt 1\0")
            .chain_update(self.0)
            .chain_update(kind)
            .chain_update(b"\0")
            .chain_update(name);
        hash.finalize().into()
    }
}

mod codec {
    use std::fmt;

    use minicbor::{Decoder, Encoder, decode, encode};

    use super::{Commitment, Decode, Encode, Salt, bytes_newtype, decode_array};
    use crate::id::IdError;

    bytes_newtype!(Commitment, 32);
    bytes_newtype!(Salt, 32);

    macro_rules! hex_text {
        ($name:ident, $what:literal) => {
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&hex::encode(self.0))
                }
            }
            impl std::str::FromStr for $name {
                type Err = IdError;
                fn from_str(text: &str) -> Result<Self, IdError> {
                    let mut bytes = [0; 32];
                    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| IdError {
                        expected: concat!($what, " (64 hex digits)"),
                        got: text.chars().take(80).collect(),
                    })?;
                    Ok(Self(bytes))
                }
            }
        };
    }
    hex_text!(Commitment, "commitment");
    hex_text!(Salt, "salt");
}
