//! One scope of names: the main graph, the body of a function at one call, or a graph inside a node.
//!
//! # Rules
//! - Nodes of a frame are visited from the wanted names backwards, without recursion. What a subgraph takes
//!   from outside counts as a need of its node, so that it is there before the subgraph is entered.
//! - A function sees its own names only; a branch also sees those around it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::graph_error;
use super::proto::{AttributeProto, AttributeValue, GraphProto, NodeProto, TensorProto};
use super::upload::Argument;
use crate::Error;

/// Versions of the operator sets.
pub(super) type Opsets<'a> = Rc<HashMap<&'a str, i64>>;

pub(super) struct Frame<'a> {
    pub(super) nodes: &'a [NodeProto<'a>],
    pub(super) opsets: Opsets<'a>,
    /// Constants by name, not yet read.
    pub(super) initializers: HashMap<&'a str, &'a TensorProto<'a>>,
    /// Node that makes each name.
    producers: HashMap<&'a str, usize>,
    /// What each name stands for, as far as it is known.
    pub(super) known: HashMap<&'a str, Argument>,
    /// Attributes that nodes of a function refer to by name.
    pub(super) attributes: HashMap<&'a str, &'a AttributeProto<'a>>,
    /// Whether names of the frame below are seen.
    pub(super) sees_outside: bool,
    /// The graph or body that its nodes become part of, counted from the main graph.
    pub(super) level: usize,
    state: Vec<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        nodes: &'a [NodeProto<'a>],
        initializers: &'a [TensorProto<'a>],
        opsets: Opsets<'a>,
    ) -> Result<Self, Error> {
        let mut by_name = HashMap::new();
        for tensor in initializers {
            if tensor.name.is_empty() || by_name.insert(tensor.name, tensor).is_some() {
                return Err(graph_error("two initializers have the same name, or one has none", tensor.name));
            }
        }
        let mut producers = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if producers.insert(*output, index).is_some() || by_name.contains_key(output) {
                    return Err(graph_error("a value is made twice", output));
                }
            }
        }
        Ok(Self {
            nodes,
            opsets,
            initializers: by_name,
            producers,
            known: HashMap::new(),
            attributes: HashMap::new(),
            sees_outside: false,
            level: 0,
            state: vec![State::New; nodes.len()],
        })
    }

    /// Whether a node or an initializer makes this name.
    pub(super) fn makes(&self, name: &str) -> bool {
        self.producers.contains_key(name) || self.initializers.contains_key(name)
    }

    /// The node to add next so that `name` becomes known, or `None` if it needs none. `stack` is empty at
    /// the first call and belongs to this walk.
    pub(super) fn next(&mut self, name: &str, stack: &mut Vec<usize>) -> Result<Option<usize>, Error> {
        if stack.is_empty() {
            match self.producers.get(name) {
                Some(node) if self.state[*node] == State::New => stack.push(*node),
                _ => return Ok(None),
            }
        }
        while let Some(node) = stack.last().copied() {
            match self.state[node] {
                State::Done => {
                    stack.pop();
                }
                State::Open => {
                    stack.pop();
                    self.state[node] = State::Done;
                    return Ok(Some(node));
                }
                State::New => {
                    self.state[node] = State::Open;
                    self.push_needs(node, stack)?;
                }
            }
        }
        Ok(None)
    }

    /// Push the nodes that `node` needs, the first input on top.
    fn push_needs(&self, node: usize, stack: &mut Vec<usize>) -> Result<(), Error> {
        let mut outside = Vec::new();
        for attribute in &self.nodes[node].attributes {
            if let AttributeValue::Graph(graph) = &attribute.value {
                taken(graph, &mut outside);
            }
        }
        for input in outside.iter().rev().chain(self.nodes[node].inputs.iter().rev()) {
            let Some(producer) = self.producers.get(input).copied() else {
                continue;
            };
            match self.state[producer] {
                State::New => stack.push(producer),
                // Open and below on the stack: it waits for this node, which waits for it.
                State::Open => return Err(graph_error("a value depends on itself (a cycle)", input)),
                State::Done => {}
            }
        }
        Ok(())
    }
}

/// All names that nodes and outputs of a subgraph, and of those inside it, take from around it. Nesting is bounded
/// by the reader.
fn taken<'a>(graph: &GraphProto<'a>, names: &mut Vec<&'a str>) {
    let mut inside: Vec<&'a str> = graph.outputs.iter().map(|output| output.name).collect();
    let mut own: HashSet<&'a str> = graph.inputs.iter().map(|input| input.name).collect();
    own.extend(graph.initializers.iter().map(|initializer| initializer.name));
    for node in &graph.nodes {
        own.extend(node.outputs.iter().copied());
        inside.extend(node.inputs.iter().copied());
        for attribute in &node.attributes {
            if let AttributeValue::Graph(inner) = &attribute.value {
                taken(inner, &mut inside);
            }
        }
    }
    names.extend(inside.into_iter().filter(|name| !own.contains(name)));
}
