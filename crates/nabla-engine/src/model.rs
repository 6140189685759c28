//! A model that is checked and ready to be prepared: canonical graph, weights, interface and cost.

use std::fmt;
use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor};

use crate::graph::{Graph, Ref, Symbol, rewrite, wire};
use crate::kernels::Cpu;
use crate::limits::PORTS_MAX;
use crate::plan::{Plan, Program, ValueType, Weights};
use crate::{Error, Limits};

/// One dimension of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this size.
    Fixed(u64),
    /// A size that the run chooses, the same wherever this name stands; see [`Interface::symbols`].
    Symbol(Arc<str>),
    /// Of an output: depends on the values of the inputs.
    Unknown,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
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
        let dims: Vec<_> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "{} [{}]", self.dtype, dims.join(", "))
    }
}

/// What a run costs, for one row and the greatest sizes of the other open dimensions; an upper bound that
/// is known before anything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds, or steps that cost about as much, per row.
    pub macs: u64,
    /// Bytes of inputs, intermediate values, outputs and scratch that live at the same time, per row.
    pub peak_bytes: u64,
    /// Bytes of the weights; the same for any number of rows.
    pub weight_bytes: u64,
    /// Whether that is all. If not, some steps depend on computed values; they pay during the run, from
    /// the same [`Limits`].
    pub is_static: bool,
}

impl Cost {
    /// Cost of a run of `rows` rows: linear in the rows. Saturates.
    #[must_use]
    pub fn for_batch(&self, rows: u64) -> Self {
        Self {
            macs: self.macs.saturating_mul(rows),
            peak_bytes: self.peak_bytes.saturating_mul(rows),
            ..*self
        }
    }
}

/// A validated model. Its identity is the pair of [`Model::graph_bytes`] and [`Model::weights_bytes`].
#[derive(Debug, Clone)]
pub struct Model {
    interface: Arc<Interface>,
    weights: Vec<Arc<Tensor>>,
}

/// What a model takes, gives and costs: all that is known of it without its weights.
#[derive(Debug, Clone)]
pub struct Interface {
    graph: Graph,
    weight_types: Vec<ValueType>,
    cost: Cost,
    limits: Limits,
}

impl Model {
    /// Check an imported graph as a whole, find the greatest sizes that it bears, and its outputs' types.
    pub(crate) fn import(graph: Graph, weights: Vec<Arc<Tensor>>, limits: &Limits) -> Result<Self, Error> {
        let (graph, weights) = rewrite::quantised(graph, weights);
        let mut draft = Draft::new(graph, weights, limits)?;
        draft.settle_symbols()?;
        draft.finish()
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
        wire::check_canonical(&decoded, &shapes, graph)?;
        Draft::new(decoded, tensors, limits)?.finish_stored()
    }

    /// The canonical graph: deterministic CBOR, see `spec/kernels.md`.
    #[must_use]
    pub fn graph_bytes(&self) -> Vec<u8> {
        wire::encode_graph(&self.interface.graph, &wire::heads(&self.weights))
    }

    /// All weights, little-endian, each at a multiple of 64 bytes, zeros between.
    #[must_use]
    pub fn weights_bytes(&self) -> Vec<u8> {
        wire::encode_weights(&self.weights)
    }

    /// What the model takes, gives and costs.
    #[must_use]
    pub fn interface(&self) -> &Arc<Interface> {
        &self.interface
    }

    /// As [`Interface::inputs`].
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        self.interface.inputs()
    }

    /// As [`Interface::outputs`].
    #[must_use]
    pub fn outputs(&self) -> Vec<&Port> {
        self.interface.outputs()
    }

    /// As [`Interface::cost`].
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.interface.cost()
    }

    pub(crate) fn weights(&self) -> &[Arc<Tensor>] {
        &self.weights
    }
}

impl Interface {
    /// The interface of a stored graph of which only some weights have been read: `constants` holds them,
    /// the others are known by their types. The caller has checked that no plan looks at those others.
    pub(crate) fn of_stored(
        graph: Graph,
        weight_types: Vec<ValueType>,
        constants: Vec<Option<Arc<Tensor>>>,
        weight_bytes: u64,
        limits: &Limits,
    ) -> Result<(Self, [Plan; 2]), Error> {
        let mut draft =
            Draft { interface: Self::bare(graph, weight_types, weight_bytes, limits)?, constants };
        let plans = draft.check_stored()?;
        Ok((draft.interface, plans))
    }

    /// An interface whose cost was found when its model was read before.
    pub(crate) fn known(
        graph: Graph,
        weight_types: Vec<ValueType>,
        cost: Cost,
        limits: &Limits,
    ) -> Result<Self, Error> {
        Ok(Self { cost, ..Self::bare(graph, weight_types, cost.weight_bytes, limits)? })
    }

    fn bare(
        graph: Graph,
        weight_types: Vec<ValueType>,
        weight_bytes: u64,
        limits: &Limits,
    ) -> Result<Self, Error> {
        Limits::check("bytes of weights", weight_bytes, limits.weight_bytes_max)?;
        check_graph(&graph, weight_types.len(), limits)?;
        let cost = Cost { macs: 0, peak_bytes: 0, weight_bytes, is_static: false };
        Ok(Self { graph, weight_types, cost, limits: limits.clone() })
    }

    /// Inputs in their order.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.graph.inputs
    }

    /// Outputs in their order.
    #[must_use]
    pub fn outputs(&self) -> Vec<&Port> {
        self.graph.outputs.iter().map(|(port, _)| port).collect()
    }

    /// Sizes that a run chooses, with their bounds.
    #[must_use]
    pub fn symbols(&self) -> &[Symbol] {
        &self.graph.symbols
    }

    /// Whether the first dimension of every input is the same open size: a batch of rows.
    #[must_use]
    pub fn is_batched(&self) -> bool {
        self.batch_symbol().is_some()
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

    /// Names of the operators in use and how often, sorted by name; those of bodies too.
    #[must_use]
    pub fn operators(&self) -> Vec<(&'static str, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for node in self.graph.all_nodes() {
            *counts.entry(node.operator.name).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    /// Elements of all inputs of one row, at the greatest sizes of the other open dimensions.
    #[must_use]
    pub fn row_elements(&self) -> u64 {
        let types = self.input_types(&self.least_batch()).unwrap_or_default();
        types.iter().map(ValueType::count).fold(0, u64::saturating_add)
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn weight_types(&self) -> &[ValueType] {
        &self.weight_types
    }

    /// Types of the inputs for these sizes of the symbols.
    pub(crate) fn input_types(&self, symbols: &[u64]) -> Result<Vec<ValueType>, Error> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(name) => {
                let at = self.graph.symbols.iter().position(|symbol| symbol.name == *name);
                at.and_then(|at| symbols.get(at).copied()).unwrap_or(0)
            }
            Dim::Unknown => 0,
        };
        let ty = |port: &Port| {
            let shape = port.shape.iter().map(|dim| usize::try_from(size(dim)).unwrap_or(usize::MAX));
            ValueType::new(port.dtype, shape.collect(), &self.limits)
                .map_err(|fault| Error::Constant { name: port.name.clone(), fault: fault.into() })
        };
        self.graph.inputs.iter().map(ty).collect()
    }

    /// The symbol that leads every input.
    fn batch_symbol(&self) -> Option<usize> {
        let mut leading = self.graph.inputs.iter().map(|port| port.shape.first());
        let first = leading.next()??;
        let Dim::Symbol(name) = first else { return None };
        let same = leading.all(|dim| dim == Some(first));
        self.graph.symbols.iter().position(|symbol| same && symbol.name == *name)
    }

    /// Greatest sizes, but one row.
    fn least_batch(&self) -> Vec<u64> {
        let batch = self.batch_symbol();
        let size = |(index, symbol): (usize, &Symbol)| if Some(index) == batch { 1 } else { symbol.max };
        self.graph.symbols.iter().enumerate().map(size).collect()
    }

    /// Sizes that differ from [`Self::least_batch`], wherever the bounds allow.
    fn other_sizes(&self) -> Vec<u64> {
        let batch = self.batch_symbol();
        let size = |(index, symbol): (usize, &Symbol)| match Some(index) == batch {
            true => symbol.max.min(2),
            false => (symbol.max / 2).max(1),
        };
        self.graph.symbols.iter().enumerate().map(size).collect()
    }
}

/// A model that is being checked.
struct Draft {
    interface: Interface,
    /// Weights; `None` where only the type is known.
    constants: Vec<Option<Arc<Tensor>>>,
}

impl Draft {
    fn new(graph: Graph, weights: Vec<Arc<Tensor>>, limits: &Limits) -> Result<Self, Error> {
        let weight_bytes = wire::weights_length(&weights);
        let weight_types = weights.iter().map(|weight| ValueType::of(weight)).collect();
        let interface = Interface::bare(graph, weight_types, weight_bytes, limits)?;
        Ok(Self { interface, constants: weights.into_iter().map(Some).collect() })
    }

    fn finish(mut self) -> Result<Model, Error> {
        self.check()?;
        Ok(self.into_model())
    }

    fn finish_stored(mut self) -> Result<Model, Error> {
        self.check_stored()?;
        Ok(self.into_model())
    }

    fn into_model(self) -> Model {
        Model { interface: Arc::new(self.interface), weights: self.constants.into_iter().flatten().collect() }
    }

    /// As [`Self::check`], for a graph that states its outputs already.
    fn check_stored(&mut self) -> Result<[Plan; 2], Error> {
        let stored = self.interface.graph.outputs.clone();
        let plans = self.check()?;
        if self.interface.graph.outputs != stored {
            return Err(wire::not_canonical("the types of outputs that follow from the graph", "others"));
        }
        Ok(plans)
    }

    /// Types of the outputs and cost, from plans for two sets of sizes.
    fn check(&mut self) -> Result<[Plan; 2], Error> {
        let first = self.plan(&self.interface.least_batch())?;
        let second = self.plan(&self.interface.other_sizes())?;
        self.interface.graph.outputs = self.described_outputs(&first, &second);
        self.interface.cost = Cost {
            macs: first.macs(),
            peak_bytes: first.peak_bytes(),
            is_static: first.is_static(),
            ..self.interface.cost
        };
        Ok([first, second])
    }

    fn with_program<T>(&self, use_it: impl FnOnce(&Program<'_>) -> T) -> T {
        use_it(&Program {
            cpu: &Cpu::scalar(),
            graph: &self.interface.graph,
            weights: Weights::Kept(&self.constants),
            weight_types: &self.interface.weight_types,
            statics: &[],
            packed: &[],
            limits: &self.interface.limits,
        })
    }

    fn plan(&self, symbols: &[u64]) -> Result<Plan, Error> {
        let (interface, limits) = (&self.interface, &self.interface.limits);
        let inputs = interface.input_types(symbols)?;
        let plan = self.with_program(|program| Plan::build(program, inputs))?;
        Limits::check("multiply-adds of one row", plan.macs(), limits.macs_max)?;
        Limits::check("peak bytes of one row", plan.peak_bytes(), limits.peak_bytes_max)?;
        Ok(plan)
    }

    /// Lower the greatest sizes until the model bears them: a table of positions, a window or the limits
    /// on cost may allow less than what is asked for by default.
    fn settle_symbols(&mut self) -> Result<(), Error> {
        let batch = self.interface.batch_symbol();
        let given = self.interface.limits.symbols.clone();
        let chosen = |name: &str| given.get(name).copied();
        let batch_max = self.interface.limits.batch_max;
        let mut size = self.interface.limits.symbol_max;
        loop {
            for (index, symbol) in self.interface.graph.symbols.iter_mut().enumerate() {
                let default = if Some(index) == batch { batch_max } else { size };
                symbol.max = chosen(&symbol.name).unwrap_or(default);
            }
            let open = self.interface.graph.symbols.len() - usize::from(batch.is_some());
            match self.plan(&self.interface.least_batch()) {
                Ok(_) => break,
                Err(error) if size <= 1 || open == 0 => return Err(error),
                Err(_) => size /= 2,
            }
        }
        if let Some(batch) = batch
            && self.plan(&self.interface.other_sizes()).is_err()
            && chosen(&self.interface.graph.symbols[batch].name).is_none()
        {
            self.interface.graph.symbols[batch].max = 1;
        }
        Ok(())
    }

    /// The outputs with their types: a size that differs between the plans is a symbol's.
    fn described_outputs(&self, first: &Plan, second: &Plan) -> Vec<(Port, Ref)> {
        let (sizes, others) = (self.interface.least_batch(), self.interface.other_sizes());
        let symbols = &self.interface.graph.symbols;
        let describe = |(port, source): &(Port, Ref)| {
            let types = self.with_program(|p| first.output(p, *source).zip(second.output(p, *source)));
            let Some((one, two)) = types.filter(|(one, two)| one.rank() == two.rank()) else {
                return (Port { shape: Vec::new(), ..port.clone() }, *source);
            };
            let pairs = one.wide().into_iter().zip(two.wide());
            let shape = pairs.map(|(a, b)| named(symbols, &sizes, &others, a, b)).collect();
            (Port { name: port.name.clone(), dtype: one.dtype, shape }, *source)
        };
        self.interface.graph.outputs.iter().map(describe).collect()
    }
}

/// The dimension that has size `a` for `sizes` and `b` for `others`.
fn named(symbols: &[Symbol], sizes: &[u64], others: &[u64], a: u64, b: u64) -> Dim {
    let varies = |(index, _): &(usize, &Symbol)| {
        sizes[*index] != others[*index] && (sizes[*index], others[*index]) == (a, b)
    };
    match symbols.iter().enumerate().find(varies) {
        Some((_, symbol)) => Dim::Symbol(symbol.name.clone()),
        None if a == b => Dim::Fixed(a),
        None => Dim::Unknown,
    }
}

/// Counts and names of the whole graph.
pub(crate) fn check_graph(graph: &Graph, weights: usize, limits: &Limits) -> Result<(), Error> {
    let nodes = graph.all_nodes();
    let returned = nodes.iter().flat_map(|node| node.bodies()).map(|body| body.outputs() as u64).sum::<u64>();
    let edges = nodes.iter().map(|node| node.inputs.len() as u64).sum::<u64>() + returned;
    let tensors = edges + (graph.inputs.len() + weights + graph.outputs.len()) as u64;
    let values = nodes.iter().map(|node| u64::from(node.outputs)).fold(0, u64::saturating_add);
    Limits::check("tensors of the graph", tensors.saturating_add(values), limits.tensors_max)?;
    Limits::check("nodes of the graph", nodes.len() as u64, limits.nodes_max)?;
    Limits::check("inputs of the graph", graph.inputs.len() as u64, PORTS_MAX)?;
    Limits::check("outputs of the graph", graph.outputs.len() as u64, PORTS_MAX)?;
    Limits::check("open dimensions of the graph", graph.symbols.len() as u64, PORTS_MAX)?;
    let twice = |names: &[&str]| {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned())
    };
    let inputs: Vec<_> = graph.inputs.iter().map(|port| port.name.as_str()).collect();
    let outputs: Vec<_> = graph.outputs.iter().map(|(port, _)| port.name.as_str()).collect();
    let symbols: Vec<_> = graph.symbols.iter().map(|symbol| &*symbol.name).collect();
    for (problem, names) in [
        ("two inputs have the same name", inputs),
        ("two outputs have the same name", outputs),
        ("two open dimensions have the same name", symbols),
    ] {
        if let Some(name) = twice(&names) {
            return Err(Error::Graph { problem, name });
        }
    }
    for dim in graph.inputs.iter().flat_map(|port| &port.shape) {
        let known = match dim {
            Dim::Fixed(_) => true,
            Dim::Symbol(name) => graph.symbols.iter().any(|symbol| symbol.name == *name),
            Dim::Unknown => false,
        };
        if !known {
            let problem = "an input has an open dimension without bound";
            return Err(Error::Graph { problem, name: dim.to_string() });
        }
    }
    match graph.symbols.iter().find(|symbol| symbol.max == 0) {
        Some(symbol) => {
            let problem = "an open dimension must be allowed to have a size";
            Err(Error::Graph { problem, name: symbol.name.to_string() })
        }
        None => Ok(()),
    }
}
