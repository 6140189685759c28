//! An uploaded node on its way to canonical form.
//!
//! An operator's `import` takes out what ONNX wrote in its many versions and puts in what the canonical
//! node has. Whatever is left over is checked by `prepare`, which refuses what it does not know.

use std::sync::Arc;

use nabla_types::tensor::Tensor;

use super::external::NoExternalData;
use super::proto::AttributeValue;
use crate::graph::attributes::fault;
use crate::graph::{Attribute, Attributes, Body, Ref};
use crate::ops::{self, Operator};
use crate::{Error, Fault, Limits};

/// What an uploaded node takes as an input.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// Not given.
    Absent,
    /// An input of the graph or a value made by a node.
    Value(Ref),
    /// A constant of the file.
    Constant(Arc<Tensor>),
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
    outputs_least: usize,
    limits: &'a Limits,
    /// What bodies take from around the node.
    captures: Vec<Argument>,
    /// Ranks that the body read last states for its inputs, as far as it does.
    pub(crate) body_ranks: Vec<usize>,
}

/// A finished node; see [`crate::graph::Node`].
pub(super) struct Canonical {
    pub(super) operator: &'static Operator,
    pub(super) inputs: Vec<Argument>,
    pub(super) attributes: Attributes,
    /// Outputs that the node has even if the upload does not name them.
    pub(super) outputs_least: usize,
}

impl<'a> Upload<'a> {
    pub(super) fn new(operator: &'static Operator, opset: i64, outputs: usize, limits: &'a Limits) -> Self {
        let (attributes, tensors, inputs) = (Attributes::default(), Vec::new(), Vec::new());
        let (outputs_least, captures, body_ranks) = (0, Vec::new(), Vec::new());
        Self {
            operator,
            opset,
            outputs,
            attributes,
            tensors,
            inputs,
            outputs_least,
            limits,
            captures,
            body_ranks,
        }
    }

    pub(super) fn push(&mut self, argument: Argument) {
        self.inputs.push(argument);
    }

    pub(super) fn add_attribute(&mut self, name: &str, value: &AttributeValue<'_>) -> Result<(), Fault> {
        let value = match value {
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
                    other => fault(name, "a tensor inside the file", &other.to_string()),
                })?;
                self.tensors.push((name.to_owned(), tensor.into()));
                return Ok(());
            }
            AttributeValue::Graph(_) | AttributeValue::Reference(_) => {
                let hint = "export without control flow that depends on data";
                return Err(Fault::Unsupported { what: "a graph as attribute".to_owned(), hint });
            }
        };
        self.attributes.insert(name, value)
    }

    /// A body, what bodies have taken from around the node so far, and the ranks stated for its inputs.
    pub(super) fn add_body(
        &mut self,
        name: &str,
        body: Body,
        captures: Vec<Argument>,
        ranks: Vec<usize>,
    ) -> Result<(), Fault> {
        self.captures = captures;
        self.body_ranks = ranks;
        self.attributes.insert(name, Attribute::Graph(Arc::new(body)))
    }

    /// The node, without trailing inputs that are not given.
    pub(super) fn finish(mut self) -> Result<Canonical, Fault> {
        while matches!(self.inputs.last(), Some(Argument::Absent)) {
            self.inputs.pop();
        }
        match self.tensors.first() {
            Some((name, _)) => Err(fault(name, "no such attribute", "a tensor")),
            None => {
                let Self { operator, inputs, attributes, outputs_least, .. } = self;
                Ok(Canonical { operator, inputs, attributes, outputs_least })
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
            Argument::Value(_) => Err(Fault::NotConstant { input, what }),
        }
    }

    /// Make room for an input that older operator sets do not have.
    pub(crate) fn insert_absent(&mut self, input: usize) {
        if input <= self.inputs.len() {
            self.inputs.insert(input, Argument::Absent);
        }
    }

    // Bodies.

    /// Inputs and outputs of a body.
    pub(crate) fn body(&self, name: &str) -> Result<(usize, usize), Fault> {
        match self.attributes.iter().find(|(other, _)| other == name) {
            Some((_, Attribute::Graph(body))) => Ok((body.inputs as usize, body.outputs())),
            _ => Err(fault(name, "a graph", "nothing, or another type")),
        }
    }

    /// What the bodies take from around the node becomes its inputs from `first` on.
    pub(crate) fn capture_from(&mut self, first: usize) -> Result<(), Fault> {
        if self.inputs.len() > first {
            let expected = "no more than its body has";
            return Err(Fault::Arity { what: "inputs", expected, got: self.inputs.len() });
        }
        self.inputs.resize(first, Argument::Absent);
        self.inputs.append(&mut self.captures);
        Ok(())
    }

    /// The node has so many outputs, whether the upload names them or not.
    pub(crate) fn all_outputs(&mut self, outputs: usize) -> Result<(), Fault> {
        self.outputs_least = outputs;
        if self.outputs <= outputs {
            return Ok(());
        }
        Err(Fault::Arity { what: "outputs", expected: "no more than its body has", got: self.outputs })
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

    /// What was an attribute in older operator sets and is an input today becomes the input.
    pub(crate) fn ints_to_input(&mut self, name: &str, input: usize) -> Result<(), Fault> {
        if let Some(ints) = self.take_ints(name)? {
            let tensor = Tensor::i64(&[ints.len() as u64], ints)?;
            self.set_input(name, input, tensor)?;
        }
        Ok(())
    }

    /// As [`Self::ints_to_input`], for one f32.
    pub(crate) fn float_to_input(&mut self, name: &str, input: usize) -> Result<(), Fault> {
        if let Some(value) = self.take_float(name)? {
            self.set_input(name, input, Tensor::f32(&[], vec![value])?)?;
        }
        Ok(())
    }

    /// Give a constant as this input, which must not be given yet.
    pub(crate) fn set_input(&mut self, name: &str, input: usize, tensor: Tensor) -> Result<(), Fault> {
        while self.inputs.len() <= input {
            self.inputs.push(Argument::Absent);
        }
        match self.inputs[input] {
            Argument::Absent => {
                self.inputs[input] = Argument::Constant(Arc::new(tensor));
                Ok(())
            }
            _ => Err(fault(name, "an attribute or an input", "both")),
        }
    }
}
