//! A model that is checked and ready to be prepared: canonical graph, weights, interface and cost.

use std::fmt;
use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor};

use crate::graph::{Graph, wire};
use crate::plan::Plan;
use crate::{Error, Limits};

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this size.
    Fixed(u64),
    /// The number of rows of the run, from 1 to [`Limits::batch_max`]. Only ever the first dimension.
    Batch,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Batch => f.write_str("batch"),
        }
    }
}

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name, as in the upload.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<Dim>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, shape_text(&self.shape))
    }
}

/// A shape in words, for example `[batch, 3, 8]`.
pub(crate) fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<_> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// What a run costs, for one row; an upper bound that is known before anything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds, or steps that cost about as much, per row.
    pub macs: u64,
    /// Bytes of inputs, intermediate values, outputs and scratch that live at the same time, per row.
    pub peak_bytes: u64,
    /// Bytes of the weights; the same for any number of rows.
    pub weight_bytes: u64,
}

impl Cost {
    /// Cost of a run of `rows` rows: an upper bound, linear in the rows. Saturates.
    #[must_use]
    pub fn for_batch(&self, rows: u64) -> Self {
        Self {
            macs: self.macs.saturating_mul(rows),
            peak_bytes: self.peak_bytes.saturating_mul(rows),
            weight_bytes: self.weight_bytes,
        }
    }
}

/// A validated model. Its identity is the pair of [`Model::graph_bytes`] and [`Model::weights_bytes`].
#[derive(Debug, Clone)]
pub struct Model {
    graph: Graph,
    weights: Vec<Arc<Tensor>>,
    outputs: Vec<Port>,
    cost: Cost,
    limits: Limits,
}

impl Model {
    /// Check a graph as a whole: every node, all shapes, and the cost against `limits`.
    pub(crate) fn build(graph: Graph, weights: Vec<Arc<Tensor>>, limits: &Limits) -> Result<Self, Error> {
        let weight_bytes = wire::weights_length(&weights);
        Limits::check("bytes of weights", weight_bytes, limits.weight_bytes_max)?;
        let plan = Plan::build(&graph, &weights, limits)?;
        let cost = Cost { macs: plan.macs(), peak_bytes: plan.peak_bytes(), weight_bytes };
        /// Kernels may keep weights in an order, and with padding, of their own.
        const LOADED_PER_WEIGHT_MAX: u64 = 2;
        let loaded_max = limits.weight_bytes_max.saturating_mul(LOADED_PER_WEIGHT_MAX);
        Limits::check("bytes of weights as kernels keep them", plan.loaded_bytes(), loaded_max)?;
        Limits::check("multiply-adds of one row", cost.macs, limits.macs_max)?;
        Limits::check("peak bytes of one row", cost.peak_bytes, limits.peak_bytes_max)?;
        let outputs = plan.outputs(&graph);
        Ok(Self { graph, weights, outputs, cost, limits: limits.clone() })
    }

    /// Read a model from the bytes that [`Model::graph_bytes`] and [`Model::weights_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Bytes`] if the bytes are cut, padded, or not exactly the canonical ones; else whatever
    /// check the graph fails, as on import.
    pub fn from_parts(graph: &[u8], weights: &[u8], limits: &Limits) -> Result<Self, Error> {
        Limits::check("bytes of the graph", graph.len() as u64, limits.file_bytes_max)?;
        Limits::check("bytes of weights", weights.len() as u64, limits.weight_bytes_max)?;
        let (decoded, shapes) = wire::decode_graph(graph, limits)?;
        let tensors = wire::decode_weights(&shapes, weights)?;
        if wire::encode_graph(&decoded, &tensors) != graph {
            return Err(Error::Bytes {
                problem: "the graph is not in its canonical encoding",
                expected: "the bytes that graph_bytes writes".to_owned(),
                got: "other bytes for the same graph".to_owned(),
            });
        }
        Self::build(decoded, tensors, limits)
    }

    /// The canonical graph: deterministic CBOR, see `spec/kernels.md`.
    #[must_use]
    pub fn graph_bytes(&self) -> Vec<u8> {
        wire::encode_graph(&self.graph, &self.weights)
    }

    /// All weights, little-endian, each at a multiple of 64 bytes, zeros between.
    #[must_use]
    pub fn weights_bytes(&self) -> Vec<u8> {
        wire::encode_weights(&self.weights)
    }

    /// Inputs in their order.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.graph.inputs
    }

    /// Outputs in their order.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Cost of one row.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The limits under which the model was read; every run keeps them too.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Names of the operators in use, sorted, each once.
    #[must_use]
    pub fn operators(&self) -> Vec<String> {
        let mut names: Vec<_> = self.graph.nodes.iter().map(|node| node.operator.name.to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn weights(&self) -> &[Arc<Tensor>] {
        &self.weights
    }
}
