//! Conversion between [`Tensor`] and the JSON of the Open Inference Protocol v2.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{
    Dtype, NamedTensor, RANK_MAX, Tensor, TensorData, TensorError, TensorJson, bf16, bf16_from_f64,
    element_count, f16, f16_from_f64,
};

/// Read elements: numbers, strings, booleans, and lists of them nested no deeper than any tensor is.
pub(super) fn read_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Elements { depth: 0 }.deserialize(deserializer)
}

/// Read parameters, keeping only the name of the first: none are known, and that one is reported.
pub(super) fn read_parameters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    deserializer.deserialize_map(Parameters)
}

struct Elements {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, a string, a boolean, or lists of them at most {RANK_MAX} deep")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("expected a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        if self.depth >= RANK_MAX {
            return Err(A::Error::custom(format!("expected lists at most {RANK_MAX} deep")));
        }
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(Self { depth: self.depth + 1 })? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }
}

struct Parameters;

impl<'de> Visitor<'de> for Parameters {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut first = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            object.next_value::<IgnoredAny>()?;
            if first.is_empty() {
                first.insert(name, Value::Null);
            }
        }
        Ok(first)
    }
}

impl NamedTensor {
    /// Read a tensor from its JSON form.
    ///
    /// # Errors
    /// [`TensorError`] naming the tensor, the element, what was expected and what was got.
    pub fn from_json(json: TensorJson) -> Result<Self, TensorError> {
        let TensorJson { name, shape, datatype, parameters, data } = json;
        if let Some((parameter, _)) = parameters.iter().next() {
            return Err(TensorError::Parameter { name, got: parameter.clone() });
        }
        let Some(dtype) = Dtype::from_name(&datatype) else {
            return Err(TensorError::Datatype { name, got: datatype });
        };
        let named =
            |name: &str, source| TensorError::Named { name: name.to_owned(), source: Box::new(source) };
        element_count(&shape).map_err(|source| named(&name, source))?;
        let mut flat = Vec::new();
        flatten(&name, &shape, &data, &mut flat)?;
        let data = read_elements(&name, dtype, &flat)?;
        let tensor = Tensor::new(shape, data).map_err(|source| named(&name, source))?;
        Ok(Self { name, tensor })
    }

    /// Write the tensor in its JSON form, elements as one flat list.
    #[must_use]
    pub fn to_json(&self) -> TensorJson {
        TensorJson {
            name: self.name.clone(),
            shape: self.tensor.shape().to_vec(),
            datatype: self.tensor.dtype().name().to_owned(),
            parameters: serde_json::Map::new(),
            data: Value::Array(write_elements(self.tensor.data())),
        }
    }
}

/// Collect the elements of a flat list, of lists nested as `shape`, or of one bare scalar.
fn flatten<'v>(
    name: &str,
    shape: &[u64],
    data: &'v Value,
    flat: &mut Vec<&'v Value>,
) -> Result<(), TensorError> {
    match data {
        Value::Array(entries) if entries.iter().any(Value::is_array) => nested(name, shape, 0, data, flat),
        Value::Array(entries) => {
            flat.extend(entries);
            Ok(())
        }
        scalar => {
            flat.push(scalar);
            Ok(())
        }
    }
}

/// Depth is bounded by the rank of `shape`, which is bounded by `RANK_MAX`.
fn nested<'v>(
    name: &str,
    shape: &[u64],
    depth: usize,
    value: &'v Value,
    flat: &mut Vec<&'v Value>,
) -> Result<(), TensorError> {
    let Some(expected) = shape.get(depth) else {
        flat.push(value);
        return Ok(());
    };
    let wrong = |got: String| TensorError::Nesting {
        name: name.to_owned(),
        shape: shape.to_vec(),
        depth,
        expected: *expected,
        got,
    };
    match value {
        Value::Array(entries) if entries.len() as u64 == *expected => {
            entries.iter().try_for_each(|entry| nested(name, shape, depth + 1, entry, flat))
        }
        Value::Array(entries) => Err(wrong(format!("a list of {}", entries.len()))),
        other => Err(wrong(shown(other))),
    }
}

fn read_elements(name: &str, dtype: Dtype, flat: &[&Value]) -> Result<TensorData, TensorError> {
    Ok(match dtype {
        Dtype::F32 => TensorData::F32(each(
            name,
            flat,
            "a number of FP32 range, or \"NaN\", \"Infinity\", \"-Infinity\"",
            read_f32,
        )?),
        Dtype::F64 => TensorData::F64(each(
            name,
            flat,
            "a number of FP64 range, or \"NaN\", \"Infinity\", \"-Infinity\"",
            read_f64,
        )?),
        Dtype::I64 => TensorData::I64(each(name, flat, "an integer of 64 bits", Value::as_i64)?),
        Dtype::I32 => {
            TensorData::I32(each(name, flat, "an integer of 32 bits", |v| v.as_i64()?.try_into().ok())?)
        }
        Dtype::I8 => {
            TensorData::I8(each(name, flat, "an integer from -128 to 127", |v| v.as_i64()?.try_into().ok())?)
        }
        Dtype::U8 => {
            TensorData::U8(each(name, flat, "an integer from 0 to 255", |v| v.as_i64()?.try_into().ok())?)
        }
        Dtype::Bool => TensorData::Bool(each(name, flat, "true or false", Value::as_bool)?),
        Dtype::String => TensorData::String(each(name, flat, "a string", |v| v.as_str().map(str::to_owned))?),
        Dtype::I16 => TensorData::I16(each(name, flat, "an integer from -32768 to 32767", |v| {
            v.as_i64()?.try_into().ok()
        })?),
        Dtype::U16 => {
            TensorData::U16(each(name, flat, "an integer from 0 to 65535", |v| v.as_i64()?.try_into().ok())?)
        }
        Dtype::U32 => TensorData::U32(each(name, flat, "an integer from 0 to 4294967295", |v| {
            v.as_i64()?.try_into().ok()
        })?),
        Dtype::U64 => {
            TensorData::U64(each(name, flat, "an integer from 0 to 18446744073709551615", Value::as_u64)?)
        }
        Dtype::F16 => TensorData::F16(each(
            name,
            flat,
            "a number of FP16 range, or \"NaN\", \"Infinity\", \"-Infinity\"",
            read_f16,
        )?),
        Dtype::BF16 => TensorData::BF16(each(
            name,
            flat,
            "a number of BF16 range, or \"NaN\", \"Infinity\", \"-Infinity\"",
            read_bf16,
        )?),
    })
}

fn each<T>(
    name: &str,
    flat: &[&Value],
    expected: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, TensorError> {
    let element = |(index, value): (usize, &&Value)| {
        read(value).ok_or_else(|| TensorError::Element {
            name: name.to_owned(),
            index: index as u64,
            expected,
            got: shown(value),
        })
    };
    flat.iter().enumerate().map(element).collect()
}

fn read_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().filter(|x| x.is_finite()),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::from_bits(0x7ff8_0000_0000_0000)),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The nearest f64, rounded to the nearest f32. A finite number must stay finite.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the rule")]
fn read_f32(value: &Value) -> Option<f32> {
    let wide = read_f64(value)?;
    if wide.is_nan() {
        return Some(f32::from_bits(0x7fc0_0000));
    }
    let narrow = wide as f32;
    (narrow.is_finite() == wide.is_finite()).then_some(narrow)
}

/// The nearest f64, rounded to the nearest f16. A finite number must stay finite.
fn read_f16(value: &Value) -> Option<f16> {
    let wide = read_f64(value)?;
    let narrow = f16_from_f64(wide);
    (narrow.is_infinite() == wide.is_infinite()).then_some(narrow)
}

/// The nearest f64, rounded to the nearest bf16. A finite number must stay finite.
fn read_bf16(value: &Value) -> Option<bf16> {
    let wide = read_f64(value)?;
    let narrow = bf16_from_f64(wide);
    (narrow.is_infinite() == wide.is_infinite()).then_some(narrow)
}

fn write_elements(data: &TensorData) -> Vec<Value> {
    match data {
        TensorData::F32(v) => v.iter().map(|x| write_f32(*x)).collect(),
        TensorData::F64(v) => v.iter().map(|x| write_f64(*x)).collect(),
        TensorData::I64(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::I32(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::I8(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::U8(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::Bool(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::String(v) => v.iter().map(|x| Value::from(x.as_str())).collect(),
        TensorData::I16(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::U16(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::U32(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::U64(v) => v.iter().map(|x| Value::from(*x)).collect(),
        TensorData::F16(v) => v.iter().map(|x| write_f32(x.to_f32())).collect(),
        TensorData::BF16(v) => v.iter().map(|x| write_f32(x.to_f32())).collect(),
    }
}

fn write_f64(x: f64) -> Value {
    if let Some(number) = Number::from_f64(x) {
        return Value::Number(number);
    }
    Value::from(if x.is_nan() {
        "NaN"
    } else if x > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}

/// The shortest decimal that names this f32, unless reading it by way of f64 would round twice and
/// miss: then the exact value's shortest f64 decimal.
#[expect(clippy::cast_possible_truncation, reason = "this is the reader's rounding")]
fn write_f32(x: f32) -> Value {
    let shortest = format!("{x}").parse::<f64>().unwrap_or(f64::from(x));
    write_f64(if shortest as f32 == x { shortest } else { f64::from(x) })
}

/// JSON text of a value, cut to 40 characters.
fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Array(entries) => return format!("a list of {}", entries.len()),
        Value::Object(_) => return "an object".to_owned(),
        scalar => scalar.to_string(),
    };
    kind.chars().take(40).collect()
}
