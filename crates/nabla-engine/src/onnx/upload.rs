//! An uploaded node on its way to canonical form.
//!
//! An operator's `import` takes out what ONNX wrote in its many versions and puts in what the canonical
//! node has. Whatever is left over is checked by `prepare`, which refuses what it does not know.

use std::sync::Arc;

use nabla_types::tensor::Tensor;

use super::external::NoExternalData;
use super::proto::{AttributeProto, AttributeValue};
use crate::graph::attributes::fault;
use crate::graph::{Attribute, Attributes, Ref};
use crate::ops::{self, Operator};
use crate::plan::ValueType;
use crate::{Dim, Error, Fault, Limits};

/// What an uploaded node takes as an input.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// Not given.
    Absent,
    /// An input of the graph or a value made by a node.
    Value { source: Ref, ty: ValueType },
    /// A constant of the file.
    Constant(Arc<Tensor>),
}

impl Argument {
    /// Type, and value if it is a constant.
    pub(super) fn typed(&self) -> Option<(ValueType, Option<Arc<Tensor>>)> {
        match self {
            Self::Absent => None,
            Self::Value { ty, .. } => Some((ty.clone(), None)),
            Self::Constant(tensor) => Some((ValueType::of(tensor), Some(tensor.clone()))),
        }
    }
}

/// A node between upload and canonical graph.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    operator: &'static Operator,
    /// Version of the operator set.
    pub(crate) opset: i64,
    /// Number of outputs.
    pub(crate) outputs: usize,
    attributes: Attributes,
    tensors: Vec<(String, Arc<Tensor>)>,
    inputs: Vec<Argument>,
    limits: &'a Limits,
}

/// A finished node; see [`crate::graph::Node`].
pub(super) struct Canonical {
    pub(super) operator: &'static Operator,
    pub(super) inputs: Vec<Argument>,
    pub(super) attributes: Attributes,
}

impl<'a> Upload<'a> {
    pub(super) fn new(operator: &'static Operator, opset: i64, outputs: usize, limits: &'a Limits) -> Self {
        let (attributes, tensors, inputs) = (Attributes::default(), Vec::new(), Vec::new());
        Self { operator, opset, outputs, attributes, tensors, inputs, limits }
    }

    pub(super) fn push(&mut self, argument: Argument) {
        self.inputs.push(argument);
    }

    pub(super) fn add_attribute(&mut self, attribute: &AttributeProto<'_>) -> Result<(), Fault> {
        let value = match &attribute.value {
            AttributeValue::Int(v) => Attribute::Int(*v),
            AttributeValue::Float(v) => Attribute::Float(*v),
            AttributeValue::Text(v) => Attribute::Text((*v).to_owned()),
            AttributeValue::Ints(v) => Attribute::Ints(v.clone()),
            AttributeValue::Floats(v) => Attribute::Floats(v.clone()),
            AttributeValue::Texts(v) => Attribute::Texts(v.iter().map(|text| (*text).to_owned()).collect()),
            AttributeValue::Tensor(v) => {
                let tensor = v.read(&NoExternalData, self.limits.weight_bytes_max);
                let tensor = tensor.map_err(|error| match error {
                    Error::Constant { fault, .. } => *fault,
                    other => fault(attribute.name, "a tensor inside the file", &other.to_string()),
                })?;
                self.tensors.push((attribute.name.to_owned(), tensor.into()));
                return Ok(());
            }
        };
        self.attributes.insert(attribute.name, value)
    }

    /// The node, without trailing inputs that are not given.
    pub(super) fn finish(mut self) -> Result<Canonical, Fault> {
        while matches!(self.inputs.last(), Some(Argument::Absent)) {
            self.inputs.pop();
        }
        match self.tensors.first() {
            Some((name, _)) => Err(fault(name, "no such attribute", "a tensor")),
            None => {
                Ok(Canonical { operator: self.operator, inputs: self.inputs, attributes: self.attributes })
            }
        }
    }

    /// Refuse attributes that an alias did not use.
    pub(super) fn finish_alias(self) -> Result<(), Fault> {
        let attributes = self.attributes.reader();
        attributes.finish()?;
        match self.tensors.first() {
            Some((name, _)) => Err(fault(name, "no such attribute", "a tensor")),
            None => Ok(()),
        }
    }

    /// Become another operator.
    pub(crate) fn rename(&mut self, name: &str) {
        if let Some(operator) = ops::find(name) {
            self.operator = operator;
        }
    }

    // Inputs.

    pub(crate) fn required(&self, input: usize) -> Result<Argument, Fault> {
        match self.inputs.get(input) {
            None | Some(Argument::Absent) => {
                Err(Fault::Arity { what: "inputs", expected: "more", got: self.inputs.len() })
            }
            Some(argument) => Ok(argument.clone()),
        }
    }

    pub(crate) fn ty(&self, input: usize) -> Result<ValueType, Fault> {
        let typed = self.required(input)?.typed();
        typed.map(|(ty, _)| ty).ok_or(Fault::Arity {
            what: "inputs",
            expected: "more",
            got: self.inputs.len(),
        })
    }

    /// Take a constant input out; `None` if it is not given.
    pub(crate) fn take_constant(
        &mut self,
        input: usize,
        what: &'static str,
    ) -> Result<Option<Arc<Tensor>>, Fault> {
        let Some(slot) = self.inputs.get_mut(input) else {
            return Ok(None);
        };
        match std::mem::replace(slot, Argument::Absent) {
            Argument::Absent => Ok(None),
            Argument::Constant(tensor) => Ok(Some(tensor)),
            Argument::Value { .. } => Err(Fault::NotConstant { input, what }),
        }
    }

    /// Take a constant input of INT64 out.
    pub(crate) fn take_constant_ints(
        &mut self,
        input: usize,
        what: &'static str,
    ) -> Result<Option<Vec<i64>>, Fault> {
        let Some(tensor) = self.take_constant(input, what)? else {
            return Ok(None);
        };
        let ints = tensor.as_i64().ok_or(Fault::Dtype { input, expected: "INT64", got: tensor.dtype() })?;
        Ok(Some(ints.to_vec()))
    }

    /// Elements of a constant input; 0 if it is not one.
    pub(crate) fn peek_constant_len(&self, input: usize) -> usize {
        match self.inputs.get(input) {
            Some(Argument::Constant(tensor)) => tensor.data().len(),
            _ => 0,
        }
    }

    /// The one element of an f32 constant.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    pub(crate) fn scalar_f32(&self, tensor: &Tensor, input: usize) -> Result<f32, Fault> {
        match tensor.as_f32() {
            Some([value]) => Ok(*value),
            Some(_) => Err(Fault::Shape {
                what: "a scalar input",
                expected: "one element".to_owned(),
                got: format!("{:?}", tensor.shape()),
            }),
            None => Err(Fault::Dtype { input, expected: "FP32", got: tensor.dtype() }),
        }
    }

    /// Add a constant as the last input.
    pub(crate) fn push_constant(&mut self, tensor: Tensor) {
        self.inputs.push(Argument::Constant(Arc::new(tensor)));
    }

    // Attributes.

    pub(crate) fn take_tensor(&mut self, name: &str) -> Option<Arc<Tensor>> {
        let at = self.tensors.iter().position(|(other, _)| other == name)?;
        Some(self.tensors.remove(at).1)
    }

    pub(crate) fn take_int(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Int(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "an integer", "another type")),
        }
    }

    pub(crate) fn take_float(&mut self, name: &str) -> Result<Option<f32>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Float(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "a float", "another type")),
        }
    }

    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Text(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "a text", "another type")),
        }
    }

    pub(crate) fn take_ints(&mut self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Ints(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "integers", "another type")),
        }
    }

    pub(crate) fn take_floats(&mut self, name: &str) -> Result<Option<Vec<f32>>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Floats(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "floats", "another type")),
        }
    }

    pub(crate) fn take_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        match self.attributes.take(name) {
            None => Ok(None),
            Some(Attribute::Texts(v)) => Ok(Some(v)),
            Some(_) => Err(fault(name, "texts", "another type")),
        }
    }

    pub(crate) fn ints_or_fault(&mut self, name: &str) -> Result<Vec<i64>, Fault> {
        self.take_ints(name)?.ok_or_else(|| fault(name, "integers", "nothing"))
    }

    pub(crate) fn peek_ints(&self, name: &str) -> Result<Option<&[i64]>, Fault> {
        match self.attributes.iter().find(|(other, _)| other == name) {
            None => Ok(None),
            Some((_, Attribute::Ints(v))) => Ok(Some(v)),
            Some(_) => Err(fault(name, "integers", "another type")),
        }
    }

    pub(crate) fn peek_floats(&self, name: &str) -> Result<Option<&[f32]>, Fault> {
        match self.attributes.iter().find(|(other, _)| other == name) {
            None => Ok(None),
            Some((_, Attribute::Floats(v))) => Ok(Some(v)),
            Some(_) => Err(fault(name, "floats", "another type")),
        }
    }

    /// Drop an attribute that changes no result.
    pub(crate) fn ignore(&mut self, name: &str) {
        let _ = self.attributes.take(name);
    }

    /// Take an integer that must be `allowed` if it is there.
    pub(crate) fn require_int(&mut self, name: &str, allowed: i64) -> Result<(), Fault> {
        match self.take_int(name)? {
            Some(got) if got != allowed => Err(fault(name, &allowed.to_string(), &got.to_string())),
            _ => Ok(()),
        }
    }

    pub(crate) fn default_int(&mut self, name: &str, default: i64) -> Result<(), Fault> {
        let value = self.take_int(name)?.unwrap_or(default);
        self.set_int(name, value)
    }

    pub(crate) fn default_float(&mut self, name: &str, default: f32) -> Result<(), Fault> {
        let value = self.take_float(name)?.unwrap_or(default);
        self.set_float(name, value)
    }

    pub(crate) fn default_text(&mut self, name: &str, default: &str) -> Result<(), Fault> {
        let value = self.take_text(name)?.unwrap_or(default.to_owned());
        self.set_text(name, &value)
    }

    pub(crate) fn set_int(&mut self, name: &str, value: i64) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Int(value))
    }

    pub(crate) fn set_float(&mut self, name: &str, value: f32) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Float(value))
    }

    pub(crate) fn set_text(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Text(value.to_owned()))
    }

    pub(crate) fn set_ints(&mut self, name: &str, value: Vec<i64>) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Ints(value))
    }

    pub(crate) fn set_floats(&mut self, name: &str, value: Vec<f32>) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Floats(value))
    }

    pub(crate) fn set_texts(&mut self, name: &str, value: Vec<String>) -> Result<(), Fault> {
        self.attributes.insert(name, Attribute::Texts(value))
    }

    pub(crate) fn set_index(&mut self, name: &str, value: usize) -> Result<(), Fault> {
        self.set_int(name, i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub(crate) fn set_indices(&mut self, name: &str, value: &[usize]) -> Result<(), Fault> {
        self.set_ints(name, value.iter().map(|index| i64::try_from(*index).unwrap_or(i64::MAX)).collect())
    }

    /// An axis counted from the end if it is negative, as an index below `rank`.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    pub(crate) fn axis(&self, name: &str, axis: i64, rank: usize) -> Result<usize, Fault> {
        let from_start =
            if axis < 0 { axis.checked_add(i64::try_from(rank).unwrap_or(0)) } else { Some(axis) };
        let index = from_start.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
        index.ok_or_else(|| fault(name, &format!("an axis from -{rank} to {rank} - 1"), &axis.to_string()))
    }

    /// Take an axis, or its default.
    pub(crate) fn take_axis(&mut self, name: &str, default: i64, rank: usize) -> Result<usize, Fault> {
        let axis = self.take_int(name)?.unwrap_or(default);
        self.axis(name, axis, rank)
    }

    /// Bring `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad` of a 2-d window to numbers.
    pub(crate) fn resolve_window(&mut self, kernel: &[i64]) -> Result<(), Fault> {
        let x = self.ty(0)?;
        let two_d = kernel.len() == 2 && x.rank() == 4;
        let image = match (two_d, x.shape.get(2..)) {
            (true, Some([Dim::Fixed(rows), Dim::Fixed(columns)])) => [*rows, *columns],
            _ => {
                return Err(fault(
                    "kernel_shape",
                    "2 sizes, over an input of 4 dimensions",
                    &format!("{kernel:?}"),
                ));
            }
        };
        let pair = |given: Option<Vec<i64>>| given.filter(|given| !given.is_empty()).unwrap_or(vec![1, 1]);
        let strides = pair(self.take_ints("strides")?);
        let dilations = pair(self.take_ints("dilations")?);
        let given = self.take_ints("pads")?.filter(|pads| !pads.is_empty());
        let mode = self.take_text("auto_pad")?.unwrap_or("NOTSET".to_owned());
        let pads = match mode.as_str() {
            "NOTSET" => given.unwrap_or(vec![0; 4]),
            "VALID" => vec![0; 4],
            "SAME_UPPER" | "SAME_LOWER" => {
                let mut pads = vec![0; 4];
                for axis in [0, 1] {
                    let window = [kernel.get(axis), strides.get(axis), dilations.get(axis)];
                    let total = same_padding(image[axis], window.map(|size| size.copied().unwrap_or(1)));
                    let small = total / 2;
                    let first = if mode == "SAME_UPPER" { small } else { total - small };
                    (pads[axis], pads[axis + 2]) = (first, total - first);
                }
                pads
            }
            got => return Err(fault("auto_pad", "NOTSET, VALID, SAME_UPPER or SAME_LOWER", got)),
        };
        if self.operator.name != "Conv" {
            self.set_ints("kernel_shape", kernel.to_vec())?;
        }
        self.set_ints("strides", strides)?;
        self.set_ints("dilations", dilations)?;
        self.set_ints("pads", pads)
    }
}

/// Padding along one axis that gives `ceil(size / stride)` positions.
fn same_padding(size: u64, [kernel, stride, dilation]: [i64; 3]) -> i64 {
    let size = i64::try_from(size).unwrap_or(0);
    let positions = size.checked_add(stride - 1).map_or(0, |sum| sum / stride.max(1));
    let span = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
    (positions - 1).saturating_mul(stride).saturating_add(span).saturating_sub(size).max(0)
}
