//! The canonical graph: what a model computes, free of everything that does not matter.
//!
//! # Rules
//! - Values have no names but those of inputs and outputs. A node refers to an input, a weight, or an
//!   output of an earlier node, by index: a cycle cannot be written down.
//! - Attributes are explicit, sorted by name, and read to the last one: an unknown attribute is an error.
//! - Nodes and weights stand in the order in which a walk from the outputs first needs them, so that the
//!   order of the upload does not matter.

use crate::Port;
use crate::ops::Operator;

pub(crate) mod attributes;
pub(crate) mod wire;

pub(crate) use attributes::{Attribute, Attributes};

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

/// A whole graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<(String, Ref)>,
    pub(crate) nodes: Vec<Node>,
}
