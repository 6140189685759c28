//! Tensors: typed, shaped values, their one byte encoding, and their JSON form.
//!
//! # Rules
//! - A [`Tensor`] is always whole: as many elements as its shape says, rank and size within
//!   [`RANK_MAX`] and [`ELEMENTS_MAX`]. There is no way to build another one.
//! - Canonical bytes are deterministic CBOR: `[dtype code, [dimensions], elements]`, row-major. Elements
//!   of fixed size are one byte string, little-endian; strings are an array of text.
//! - Floats keep their bits, NaN payloads included. Equality is equality of canonical bytes, so NaN
//!   equals itself and `0.0` does not equal `-0.0`.
//! - The JSON form is that of the Open Inference Protocol v2 ([`TensorJson`]). A JSON number is read as
//!   the nearest f64 and, for FP32, FP16 and BF16, rounded once more to that type: what
//!   `numpy.float32(json)` and `Math.fround(json)` give. FP16 and BF16 never pass through f32.
//!   Non-finite values are the strings `"NaN"`, `"Infinity"`, `"-Infinity"`.
//!
//! # When things go wrong
//! Everything from outside is checked before memory is taken for it, and answered with a
//! [`TensorError`] that says what was expected and what was got. Nothing here panics on foreign input.
//! JSON keeps no NaN payload: a NaN that comes from JSON is `0x7fc00000` (f64 `0x7ff8 << 48`, FP16 `0x7e00`,
//! BF16 `0x7fc0`).
//!
//! # Example
//! ```
//! use nabla_types::tensor::{NamedTensor, Tensor, TensorJson};
//!
//! let json = r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[[0.1,"NaN"]]}"#;
//! let wire: TensorJson = serde_json::from_str(json).unwrap();
//! let x = NamedTensor::from_json(wire).unwrap();
//! assert_eq!(x.tensor.shape(), [1, 2]);
//! assert_eq!(Tensor::from_bytes(&x.tensor.to_bytes()).unwrap(), x.tensor);
//! ```

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cbor::{self, CborError};

mod json;
mod rounding;

pub use half::{bf16, f16};
pub use rounding::{bf16_from_f64, f16_from_f64};

/// Most dimensions of a tensor.
pub const RANK_MAX: usize = 8;
/// Most elements of a tensor: 2^28 (1 GiB of f32).
pub const ELEMENTS_MAX: u64 = 1 << 28;
/// Longest canonical encoding that is decoded, in bytes: [`ELEMENTS_MAX`] elements of 8 bytes, and a head.
pub const TENSOR_BYTES_MAX: usize = (1 << 28) * 8 + 256;

/// Domain of [`Tensor::digest`]; hashed in front of the canonical bytes.
pub const TENSOR_DOMAIN: &[u8] = b"nabla/tensor/1\0";
/// Domain of [`outputs_digest`]; hashed in front of the canonical bytes of the list.
pub const OUTPUTS_DOMAIN: &[u8] = b"nabla/outputs/1\0";

/// Type of the elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// True or false, one byte each.
    Bool,
    /// UTF-8 text.
    String,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32: 8 bits of exponent, 7 of fraction.
    BF16,
}

impl Dtype {
    /// Every type, in the order of its code.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F64,
        Self::I64,
        Self::I32,
        Self::I8,
        Self::U8,
        Self::Bool,
        Self::String,
        Self::I16,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F16,
        Self::BF16,
    ];

    /// Code in the canonical encoding: 1 to 14.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F64 => 2,
            Self::I64 => 3,
            Self::I32 => 4,
            Self::I8 => 5,
            Self::U8 => 6,
            Self::Bool => 7,
            Self::String => 8,
            Self::I16 => 9,
            Self::U16 => 10,
            Self::U32 => 11,
            Self::U64 => 12,
            Self::F16 => 13,
            Self::BF16 => 14,
        }
    }

    /// The type with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// Name in the Open Inference Protocol, for example `FP32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::I64 => "INT64",
            Self::I32 => "INT32",
            Self::I8 => "INT8",
            Self::U8 => "UINT8",
            Self::Bool => "BOOL",
            Self::String => "BYTES",
            Self::I16 => "INT16",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::F16 => "FP16",
            Self::BF16 => "BF16",
        }
    }

    /// The type with this Open Inference Protocol name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element, or `None` for strings.
    #[must_use]
    pub fn size_bytes(self) -> Option<usize> {
        match self {
            Self::F64 | Self::I64 | Self::U64 => Some(8),
            Self::F32 | Self::I32 | Self::U32 => Some(4),
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => Some(2),
            Self::I8 | Self::U8 | Self::Bool => Some(1),
            Self::String => None,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The elements of a tensor, row-major.
#[derive(Debug, Clone)]
pub enum TensorData {
    /// Elements of [`Dtype::F32`].
    F32(Vec<f32>),
    /// Elements of [`Dtype::F64`].
    F64(Vec<f64>),
    /// Elements of [`Dtype::I64`].
    I64(Vec<i64>),
    /// Elements of [`Dtype::I32`].
    I32(Vec<i32>),
    /// Elements of [`Dtype::I8`].
    I8(Vec<i8>),
    /// Elements of [`Dtype::U8`].
    U8(Vec<u8>),
    /// Elements of [`Dtype::Bool`].
    Bool(Vec<bool>),
    /// Elements of [`Dtype::String`].
    String(Vec<String>),
    /// Elements of [`Dtype::I16`].
    I16(Vec<i16>),
    /// Elements of [`Dtype::U16`].
    U16(Vec<u16>),
    /// Elements of [`Dtype::U32`].
    U32(Vec<u32>),
    /// Elements of [`Dtype::U64`].
    U64(Vec<u64>),
    /// Elements of [`Dtype::F16`].
    F16(Vec<f16>),
    /// Elements of [`Dtype::BF16`].
    BF16(Vec<bf16>),
}

impl TensorData {
    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::I64(_) => Dtype::I64,
            Self::I32(_) => Dtype::I32,
            Self::I8(_) => Dtype::I8,
            Self::U8(_) => Dtype::U8,
            Self::Bool(_) => Dtype::Bool,
            Self::String(_) => Dtype::String,
            Self::I16(_) => Dtype::I16,
            Self::U16(_) => Dtype::U16,
            Self::U32(_) => Dtype::U32,
            Self::U64(_) => Dtype::U64,
            Self::F16(_) => Dtype::F16,
            Self::BF16(_) => Dtype::BF16,
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::BF16(v) => v.len(),
        }
    }

    /// True if there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as little-endian bytes; `None` for strings.
    #[must_use]
    pub fn to_le_bytes(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I8(v) => v.iter().map(|x| x.cast_unsigned()).collect(),
            Self::U8(v) => v.clone(),
            Self::Bool(v) => v.iter().map(|x| u8::from(*x)).collect(),
            Self::String(_) => return None,
            Self::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::U16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::U64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::BF16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    /// Elements of `dtype` from little-endian bytes, at any alignment.
    ///
    /// # Errors
    /// [`TensorError::Bytes`] if the length is no multiple of the element size,
    /// [`TensorError::BoolByte`] if a truth value is neither 0 nor 1, and
    /// [`TensorError::NoFixedSize`] for strings.
    pub fn from_le_bytes(dtype: Dtype, bytes: &[u8]) -> Result<Self, TensorError> {
        let size = dtype.size_bytes().ok_or(TensorError::NoFixedSize)?;
        if !bytes.len().is_multiple_of(size) {
            return Err(TensorError::Bytes {
                dtype,
                expected: (bytes.len() / size * size) as u64,
                got: bytes.len() as u64,
            });
        }
        Ok(match dtype {
            Dtype::F32 => Self::F32(elements(bytes, f32::from_le_bytes)),
            Dtype::F64 => Self::F64(elements(bytes, f64::from_le_bytes)),
            Dtype::I64 => Self::I64(elements(bytes, i64::from_le_bytes)),
            Dtype::I32 => Self::I32(elements(bytes, i32::from_le_bytes)),
            Dtype::I8 => Self::I8(elements(bytes, i8::from_le_bytes)),
            Dtype::U8 => Self::U8(bytes.to_vec()),
            Dtype::Bool => Self::Bool(bytes.iter().map(|byte| truth(*byte)).collect::<Result<_, _>>()?),
            Dtype::String => return Err(TensorError::NoFixedSize),
            Dtype::I16 => Self::I16(elements(bytes, i16::from_le_bytes)),
            Dtype::U16 => Self::U16(elements(bytes, u16::from_le_bytes)),
            Dtype::U32 => Self::U32(elements(bytes, u32::from_le_bytes)),
            Dtype::U64 => Self::U64(elements(bytes, u64::from_le_bytes)),
            Dtype::F16 => Self::F16(elements(bytes, f16::from_le_bytes)),
            Dtype::BF16 => Self::BF16(elements(bytes, bf16::from_le_bytes)),
        })
    }
}

fn elements<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| from(*chunk)).collect()
}

fn truth(byte: u8) -> Result<bool, TensorError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(TensorError::BoolByte { got }),
    }
}

/// A typed, shaped value: `product(shape)` elements in row-major order.
#[derive(Debug, Clone)]
pub struct Tensor {
    shape: Vec<u64>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape` (a scalar has the empty shape) with these elements.
    ///
    /// # Errors
    /// [`TensorError`] if rank or size pass their limit, or the number of elements is not the product of `shape`.
    pub fn new(shape: Vec<u64>, data: TensorData) -> Result<Self, TensorError> {
        let expected = element_count(&shape)?;
        let got = data.len() as u64;
        if got != expected {
            return Err(TensorError::Count { shape, expected, got });
        }
        Ok(Self { shape, data })
    }

    /// A tensor of f32. Same rules as [`Tensor::new`].
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn f32(shape: &[u64], data: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(shape.to_vec(), TensorData::F32(data))
    }

    /// A tensor of i64. Same rules as [`Tensor::new`].
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn i64(shape: &[u64], data: Vec<i64>) -> Result<Self, TensorError> {
        Self::new(shape.to_vec(), TensorData::I64(data))
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Shape and elements, taken apart.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u64>, TensorData) {
        (self.shape, self.data)
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// The elements, if they are f32.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are i64.
    #[must_use]
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are f16.
    #[must_use]
    pub fn as_f16(&self) -> Option<&[f16]> {
        match &self.data {
            TensorData::F16(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if they are bf16.
    #[must_use]
    pub fn as_bf16(&self) -> Option<&[bf16]> {
        match &self.data {
            TensorData::BF16(v) => Some(v),
            _ => None,
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decode canonical bytes.
    ///
    /// # Errors
    /// [`CborError`] if the bytes are too long, malformed, followed by others, or not the canonical ones.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode("tensor", bytes, TENSOR_BYTES_MAX)
    }

    /// SHA-256 of [`TENSOR_DOMAIN`] and the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        hash(TENSOR_DOMAIN, &self.to_bytes())
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        let bits32 = |v: &[f32], w: &[f32]| v.iter().map(|x| x.to_bits()).eq(w.iter().map(|x| x.to_bits()));
        let bits64 = |v: &[f64], w: &[f64]| v.iter().map(|x| x.to_bits()).eq(w.iter().map(|x| x.to_bits()));
        self.shape == other.shape
            && match (&self.data, &other.data) {
                (TensorData::F32(v), TensorData::F32(w)) => bits32(v, w),
                (TensorData::F64(v), TensorData::F64(w)) => bits64(v, w),
                (TensorData::I64(v), TensorData::I64(w)) => v == w,
                (TensorData::I32(v), TensorData::I32(w)) => v == w,
                (TensorData::I8(v), TensorData::I8(w)) => v == w,
                (TensorData::U8(v), TensorData::U8(w)) => v == w,
                (TensorData::Bool(v), TensorData::Bool(w)) => v == w,
                (TensorData::String(v), TensorData::String(w)) => v == w,
                (TensorData::I16(v), TensorData::I16(w)) => v == w,
                (TensorData::U16(v), TensorData::U16(w)) => v == w,
                (TensorData::U32(v), TensorData::U32(w)) => v == w,
                (TensorData::U64(v), TensorData::U64(w)) => v == w,
                (TensorData::F16(v), TensorData::F16(w)) => {
                    v.iter().map(|x| x.to_bits()).eq(w.iter().map(|x| x.to_bits()))
                }
                (TensorData::BF16(v), TensorData::BF16(w)) => {
                    v.iter().map(|x| x.to_bits()).eq(w.iter().map(|x| x.to_bits()))
                }
                _ => false,
            }
    }
}

impl Eq for Tensor {}

/// A tensor and the name of the model's input or output that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    /// Name of the input or output.
    pub name: String,
    /// The value.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// A tensor under a name.
    #[must_use]
    pub fn new(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor }
    }
}

/// SHA-256 of [`OUTPUTS_DOMAIN`] and the canonical bytes of the list of `[name, tensor]`, in its order.
#[must_use]
pub fn outputs_digest(outputs: &[NamedTensor]) -> [u8; 32] {
    hash(OUTPUTS_DOMAIN, &cbor::encode(&outputs))
}

fn hash(domain: &[u8], bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(domain).chain_update(bytes).finalize().into()
}

/// Number of elements of a tensor of this shape. The sizes other than 0 are bounded together, so that no
/// product of some of them overflows, even if the tensor is empty.
///
/// # Errors
/// [`TensorError::Rank`] or [`TensorError::TooLarge`].
pub fn element_count(shape: &[u64]) -> Result<u64, TensorError> {
    if shape.len() > RANK_MAX {
        return Err(TensorError::Rank { got: shape.len() });
    }
    let count = shape.iter().fold(1_u64, |count, size| count.saturating_mul((*size).max(1)));
    if count > ELEMENTS_MAX {
        return Err(TensorError::TooLarge { shape: shape.to_vec() });
    }
    Ok(if shape.contains(&0) { 0 } else { count })
}

/// A tensor as the Open Inference Protocol v2 writes it in JSON.
///
/// ```json
/// {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0.1, -2.5, "NaN"]}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorJson {
    /// Name of the input or output.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// [`Dtype::name`] of the elements, for example `FP32`.
    pub datatype: String,
    /// Protocol parameters of the tensor. None are known; anything but an empty object is refused.
    #[serde(
        default,
        skip_serializing_if = "serde_json::Map::is_empty",
        deserialize_with = "json::read_parameters"
    )]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// The elements, row-major: one flat list, or lists nested as `shape` says. Objects are refused while
    /// they are read, so that a small text cannot become a large value.
    #[serde(deserialize_with = "json::read_data")]
    pub data: serde_json::Value,
}

/// Why a tensor was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Too many dimensions.
    #[error("tensor has {got} dimensions, at most {RANK_MAX} are accepted")]
    Rank {
        /// Dimensions given.
        got: usize,
    },
    /// Too many elements.
    #[error("tensor of shape {shape:?} is too large, at most {ELEMENTS_MAX} elements are accepted")]
    TooLarge {
        /// Shape given.
        shape: Vec<u64>,
    },
    /// Elements and shape disagree.
    #[error("shape {shape:?} needs {expected} elements, got {got}")]
    Count {
        /// Shape given.
        shape: Vec<u64>,
        /// Product of the shape.
        expected: u64,
        /// Elements given.
        got: u64,
    },
    /// Bytes and element size disagree.
    #[error("{dtype} elements need {expected} bytes, got {got}")]
    Bytes {
        /// Type of the elements.
        dtype: Dtype,
        /// Bytes needed.
        expected: u64,
        /// Bytes given.
        got: u64,
    },
    /// A truth value that is neither 0 nor 1.
    #[error("a BOOL byte is 0 or 1, got {got}")]
    BoolByte {
        /// Byte given.
        got: u8,
    },
    /// Strings have no fixed size in bytes.
    #[error("BYTES elements have no fixed size and are not given as raw bytes")]
    NoFixedSize,
    /// A JSON `datatype` that is not known.
    #[error(
        "tensor {name:?} has datatype {got:?}, expected one of {}",
        Dtype::ALL.map(Dtype::name).join(", ")
    )]
    Datatype {
        /// Name of the tensor.
        name: String,
        /// Datatype given.
        got: String,
    },
    /// JSON tensor parameters, of which none are known.
    #[error(
        "tensor {name:?} has parameter {got:?}, no tensor parameters are supported: send plain JSON data"
    )]
    Parameter {
        /// Name of the tensor.
        name: String,
        /// First parameter given.
        got: String,
    },
    /// A JSON element that the datatype does not allow.
    #[error("tensor {name:?}, element {index}: expected {expected}, got {got}")]
    Element {
        /// Name of the tensor.
        name: String,
        /// Row-major index of the element.
        index: u64,
        /// What the datatype allows.
        expected: &'static str,
        /// The JSON given, cut to 40 characters.
        got: String,
    },
    /// Nested JSON lists that do not follow the shape.
    #[error(
        "tensor {name:?} of shape {shape:?}: expected a list of {expected} at nesting depth {depth}, got {got}"
    )]
    Nesting {
        /// Name of the tensor.
        name: String,
        /// Shape given.
        shape: Vec<u64>,
        /// Depth of the list, from 0.
        depth: usize,
        /// Entries needed at that depth.
        expected: u64,
        /// What stood there.
        got: String,
    },
    /// A right element list under a wrong shape, or another failure of a named tensor.
    #[error("tensor {name:?}: {source}")]
    Named {
        /// Name of the tensor.
        name: String,
        /// What was wrong.
        source: Box<TensorError>,
    },
}

impl<C> Encode<C> for Tensor {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?.u8(self.dtype().code())?.array(self.shape.len() as u64)?;
        for dimension in &self.shape {
            e.u64(*dimension)?;
        }
        match &self.data {
            TensorData::String(strings) => {
                e.array(strings.len() as u64)?;
                for string in strings {
                    e.str(string)?;
                }
            }
            data => {
                e.bytes(&data.to_le_bytes().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Tensor {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        list(d, 3, "a tensor of 3 fields")?;
        let dtype = Dtype::from_code(d.u8()?)
            .ok_or_else(|| decode::Error::message("expected a dtype code from 1 to 14"))?;
        let rank = d.array()?.ok_or_else(|| decode::Error::message("expected a list of known length"))?;
        if rank > RANK_MAX as u64 {
            return Err(decode::Error::message("expected at most 8 dimensions"));
        }
        let shape = (0..rank).map(|_| d.u64()).collect::<Result<Vec<_>, _>>()?;
        let count = element_count(&shape).map_err(|error| decode::Error::message(error.to_string()))?;
        let data = match dtype {
            Dtype::String => {
                list(d, count, "one text per element")?;
                let mut strings = Vec::new();
                for _ in 0..count {
                    strings.push(d.str()?.to_owned());
                }
                TensorData::String(strings)
            }
            _ => TensorData::from_le_bytes(dtype, d.bytes()?)
                .map_err(|error| decode::Error::message(error.to_string()))?,
        };
        Self::new(shape, data).map_err(|error| decode::Error::message(error.to_string()))
    }
}

fn list(d: &mut Decoder<'_>, expected: u64, what: &str) -> Result<(), decode::Error> {
    match d.array()? {
        Some(got) if got == expected => Ok(()),
        got => Err(decode::Error::message(format!("expected {what} ({expected}), got {got:?}"))),
    }
}

impl<C> Encode<C> for NamedTensor {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?.str(&self.name)?;
        self.tensor.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for NamedTensor {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        list(d, 2, "a name and a tensor")?;
        Ok(Self { name: d.str()?.to_owned(), tensor: Tensor::decode(d, ctx)? })
    }
}

#[cfg(test)]
mod tests;
