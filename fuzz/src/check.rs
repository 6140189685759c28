//! What must hold of every decoder, whatever it decodes.

use std::fmt::{Debug, Display};

use minicbor::{Decode, Encode};
use nabla_types::cbor;
use serde::{Serialize, de::DeserializeOwned};

/// Decode canonical CBOR. What is accepted has exactly these bytes, and decodes to the same again.
pub(crate) fn canonical<T>(what: &'static str, bytes: &[u8], max: usize) -> Option<T>
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let value: T = accepted(cbor::decode(what, bytes, max), bytes)?;
    let encoded = cbor::encode(&value);
    assert_eq!(encoded, bytes, "{what}: two encodings of one value are accepted");
    assert_eq!(cbor::decode(what, &encoded, max).as_ref(), Ok(&value), "{what}: decodes to another value");
    Some(value)
}

/// Decode JSON. What is accepted survives being written and read again.
pub(crate) fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = accepted(serde_json::from_slice(bytes), bytes)?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, value, "reads back as another value");
    Some(value)
}

/// The value, or nothing after looking at the error: it says something, and not much more than it was told.
pub(crate) fn accepted<T, E: Display>(result: Result<T, E>, input: &[u8]) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty(), "an error without words");
            assert!(text.len() <= 4096 + 16 * input.len(), "an error of {} bytes: {text:.200}", text.len());
            None
        }
    }
}
