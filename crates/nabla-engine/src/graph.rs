//! The canonical graph: what a model computes, free of everything that does not matter.
//!
//! # Rules
//! - Values have no names but those of inputs and outputs. A node refers to an input, a weight, or an
//!   output of an earlier node, by index: a cycle cannot be written down.
//! - Attributes are explicit, sorted by name, and read to the last one: an unknown attribute is an error.
//! - Nodes and weights stand in the order in which a walk from the outputs first needs them, so that the
//!   order of the upload does not matter.

use std::sync::Arc;

use crate::ops::Operator;
use crate::{Error, Fault, Port};

pub(crate) mod attributes;
pub(crate) mod body;
pub(crate) mod rewrite;
pub(crate) mod wire;

pub(crate) use attributes::{Attribute, Attributes};
pub(crate) use body::{BODIES_MAX, Body};

/// What a node takes as one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ref {
    /// An optional input that is not given.
    Absent,
    /// Input of the graph.
    Input(u32),
    /// Weight.
    Weight(u32),
    /// Output of a node; outputs of all nodes are counted through.
    Value(u32),
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) operator: &'static Operator,
    pub(crate) inputs: Vec<Ref>,
    pub(crate) outputs: u32,
    pub(crate) attributes: Attributes,
}

/// A size that a run chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// Name, as in the upload; `batch` if it has none there.
    pub name: Arc<str>,
    /// Greatest size; the least is 1.
    pub max: u64,
}

/// A whole graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// Sizes that dimensions of the inputs refer to by name.
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<(Port, Ref)>,
    pub(crate) nodes: Vec<Node>,
    /// Names of the nodes in the upload, for errors; not part of the canonical bytes.
    pub(crate) labels: Vec<String>,
}

impl Graph {
    /// A fault, with the node that has it.
    pub(crate) fn at(&self, index: usize, fault: Fault) -> Error {
        Error::Node {
            node: index as u64,
            name: self.labels.get(index).cloned().unwrap_or_default(),
            operator: self.nodes.get(index).map_or("", |node| node.operator.name).to_owned(),
            fault: fault.into(),
        }
    }
}
