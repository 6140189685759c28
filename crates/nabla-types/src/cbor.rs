//! Deterministic CBOR (RFC 8949 section 4.2.1) with limits.
//!
//! # Rules
//! - Shortest integers, definite lengths, map keys in bytewise order, no duplicates, no floats.
//! - [`decode`] accepts exactly the bytes that [`encode`] writes: after decoding, the value is encoded
//!   again and compared. Unknown fields, longer integers and trailing bytes are thereby refused.
//! - The length is checked before anything is allocated; a decoded value is at most a constant factor
//!   larger than its bytes.

use minicbor::{Decode, Decoder, Encode};

/// Why bytes were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Longer than the caller allows.
    #[error("{what} is {got} bytes long, at most {max} are accepted")]
    TooLong {
        /// What was being decoded.
        what: &'static str,
        /// Bytes received.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not CBOR, or not this type.
    #[error("{what} is not valid: {reason} (at byte {position})")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// What the decoder expected.
        reason: String,
        /// Offset in the input.
        position: usize,
    },
    /// The value is right but its bytes are not the deterministic ones.
    #[error(
        "{what} is not in the deterministic encoding (RFC 8949 4.2.1), first difference at byte {position}"
    )]
    NotCanonical {
        /// What was being decoded.
        what: &'static str,
        /// First byte that differs from the canonical encoding.
        position: usize,
    },
}

/// Encode a value. Encoding to memory has no failure of its own.
///
/// # Panics
/// If a hand-written `Encode` reports an error, which none in this crate does.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding to a Vec has no failure")
}

/// Decode `bytes` as exactly one `T` in its deterministic encoding, at most `max` bytes long.
///
/// # Errors
/// [`CborError`] naming `what`.
pub fn decode<T>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, CborError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    check_length(what, bytes, max)?;
    let mut decoder = Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|error| CborError::Malformed {
        what,
        reason: error.to_string(),
        position: error.position().unwrap_or(decoder.position()),
    })?;
    check_canonical(what, bytes, &encode(&value))?;
    Ok(value)
}

/// Refuse input longer than `max`.
///
/// # Errors
/// [`CborError::TooLong`].
pub fn check_length(what: &'static str, bytes: &[u8], max: usize) -> Result<(), CborError> {
    if bytes.len() > max {
        return Err(CborError::TooLong { what, got: bytes.len(), max });
    }
    Ok(())
}

fn check_canonical(what: &'static str, got: &[u8], canonical: &[u8]) -> Result<(), CborError> {
    if got == canonical {
        return Ok(());
    }
    let position =
        got.iter().zip(canonical).position(|(a, b)| a != b).unwrap_or(got.len().min(canonical.len()));
    Err(CborError::NotCanonical { what, position })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expect: Result<u64, &str>) {
        let got = decode::<u64>("number", bytes, 8).map_err(|e| e.to_string());
        match expect {
            Ok(value) => assert_eq!(got, Ok(value)),
            Err(part) => assert!(got.clone().is_err_and(|e| e.contains(part)), "{got:?}"),
        }
    }

    #[test]
    fn one_encoding_only() {
        check(&[0x17], Ok(23));
        check(&[0x18, 0x17], Err("deterministic"));
        check(&[0x17, 0x00], Err("deterministic"));
        check(&[], Err("not valid"));
        check(&[0x1b, 0xff], Err("not valid"));
        check(&[0x40; 9], Err("at most 8"));
    }
}
