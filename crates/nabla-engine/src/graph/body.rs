//! A graph inside a node: what a loop does each time, or one branch of a choice.
//!
//! # Rules
//! - A body has no weights and no names. What it takes from around its node are inputs of the node, behind
//!   those that its operator has; inside they stand where a whole graph has its weights, as `Ref::Weight`.
//! - Bodies stand inside each other no deeper than [`BODIES_MAX`], and their nodes count as nodes of the graph.

use nabla_types::tensor::Dtype;

use super::{Attribute, Graph, Node, Ref};
use crate::Port;

/// Most bodies inside each other.
pub(crate) const BODIES_MAX: usize = 8;

/// A graph inside a node.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// Values that each pass gives it.
    pub(crate) inputs: u32,
    /// Its nodes, and its outputs, whose ports say nothing.
    pub(crate) graph: Graph,
}

impl Body {
    pub(crate) fn new(inputs: u32, outputs: Vec<Ref>, nodes: Vec<Node>, labels: Vec<String>) -> Self {
        let port = || Port { name: String::new(), dtype: Dtype::F32, shape: Vec::new() };
        let outputs = outputs.into_iter().map(|source| (port(), source)).collect();
        let (symbols, ports) = (Vec::new(), Vec::new());
        Self { inputs, graph: Graph { symbols, inputs: ports, outputs, nodes, labels } }
    }

    /// Number of its outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.graph.outputs.len()
    }
}

impl Node {
    /// Bodies of this node, by the order of their names.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.attributes.iter().filter_map(|(_, value)| match value {
            Attribute::Graph(body) => Some(body.as_ref()),
            _ => None,
        })
    }
}

impl Graph {
    /// All nodes, those of bodies too.
    pub(crate) fn all_nodes(&self) -> Vec<&Node> {
        let mut all: Vec<&Node> = self.nodes.iter().collect();
        let mut next = 0;
        while let Some(node) = all.get(next).copied() {
            all.extend(node.bodies().flat_map(|body| &body.graph.nodes));
            next += 1;
        }
        all
    }
}
