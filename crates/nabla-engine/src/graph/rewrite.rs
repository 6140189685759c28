//! Models that quantise and dequantise around float operators, brought to operators on levels.
//!
//! `DequantizeLinear -> operator -> QuantizeLinear` says in reals what an operator on levels does in
//! integers. Where
//! the pattern is whole (constant scales and zero points, nobody else takes the real result), the
//! `QuantizeLinear` becomes that operator:
//!
//! | pattern | becomes |
//! |---|---|
//! | Conv, with bias in INT32 of scale `scale_x * scale_w` or none | QLinearConv |
//! | MatMul | QLinearMatMul |
//! | Gemm, bias likewise | QGemm |
//! | Add, Mul | QLinearAdd, QLinearMul |
//! | AveragePool, GlobalAveragePool, LeakyRelu, Sigmoid | QLinear of the same name |
//! | MaxPool, Reshape, Transpose and other movers, Concat: same scale, same zero point | the operator itself |
//! | Concat of other scales | QLinearConcat |
//!
//! A Relu or Clip between operator and `QuantizeLinear` goes away if saturation does the same.
//!
//! # Rules
//! - Both forms stand for the same reals, up to rounding: the new one is the canonical graph, its bits are
//!   the bits.
//! - What does not match stays as it is and is computed in floats.
//! - Afterwards nodes and weights stand in canonical order again, without those that nobody takes.

use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Attribute, Attributes, Graph, Node, Ref};
use crate::kernels::quant::Levels;
use crate::ops::{Operator, find};

/// Operators that only move or choose elements of their first input.
const MOVERS: [&str; 12] = [
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "MaxPool",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Replace what can be replaced.
pub(crate) fn quantised(mut graph: Graph, mut weights: Vec<Arc<Tensor>>) -> (Graph, Vec<Arc<Tensor>>) {
    let mut changed = false;
    let places = Places::of(&graph);
    for index in 0..graph.nodes.len() {
        let Some((node, from)) =
            (Matcher { graph: &graph, weights: &weights, places: &places }).matched(index)
        else {
            continue;
        };
        let label = graph.labels.get(from).cloned().unwrap_or_default();
        graph.nodes[index] = node;
        if let Some(slot) = graph.labels.get_mut(index) {
            *slot = label;
        }
        changed = true;
    }
    if changed {
        (graph, weights) = Order::of(graph, weights, &places);
    }
    (graph, weights)
}

/// Who makes and takes the values.
struct Places {
    /// For each value: its node, and whether it is the only output.
    makers: Vec<(usize, bool)>,
    takers: Vec<u32>,
    /// First value of each node.
    firsts: Vec<usize>,
}

impl Places {
    fn of(graph: &Graph) -> Self {
        let (mut makers, mut firsts) = (Vec::new(), Vec::new());
        for (index, node) in graph.nodes.iter().enumerate() {
            firsts.push(makers.len());
            makers.extend((0..node.outputs).map(|_| (index, node.outputs == 1)));
        }
        let mut takers = vec![0_u32; makers.len()];
        let taken = graph.nodes.iter().flat_map(|node| &node.inputs);
        for source in taken.chain(graph.outputs.iter().map(|(_, source)| source)) {
            if let Ref::Value(value) = source
                && let Some(count) = takers.get_mut(*value as usize)
            {
                *count = count.saturating_add(1);
            }
        }
        Self { makers, takers, firsts }
    }
}

/// Levels with what they stand for.
#[derive(Clone, Copy)]
struct Quantised<'a> {
    levels: Ref,
    scale: Ref,
    zero: Ref,
    scales: &'a [f32],
    zeros: &'a Tensor,
    axis: i64,
}

impl Quantised<'_> {
    fn dtype(&self) -> Dtype {
        self.zeros.dtype()
    }

    /// Bytes with one scale.
    fn is_plain(&self) -> bool {
        self.scales.len() == 1 && matches!(self.dtype(), Dtype::I8 | Dtype::U8)
    }

    fn same_as(&self, other: &Quantised<'_>) -> bool {
        self.is_plain()
            && other.is_plain()
            && self.scales[0].to_bits() == other.scales[0].to_bits()
            && self.dtype() == other.dtype()
            && byte(self.zeros) == byte(other.zeros)
    }

    fn parts(&self) -> [Ref; 3] {
        [self.levels, self.scale, self.zero]
    }
}

struct Matcher<'a> {
    graph: &'a Graph,
    weights: &'a [Arc<Tensor>],
    places: &'a Places,
}

impl<'a> Matcher<'a> {
    /// What node `index` becomes, and the node that it takes the place of.
    fn matched(&self, index: usize) -> Option<(Node, usize)> {
        let node = &self.graph.nodes[index];
        let y = self.quantised(node, "QuantizeLinear").filter(Quantised::is_plain)?;
        let mut from = self.only_maker(y.levels)?;
        if self.saturates_likewise(&self.graph.nodes[from], &y) {
            from = self.only_maker(self.graph.nodes[from].inputs[0])?;
        }
        let float = &self.graph.nodes[from];
        let made = match float.operator.name {
            "Conv" => self.conv(float, &y),
            "MatMul" => self.matmul(float, &y),
            "Gemm" => self.gemm(float, &y),
            "Add" => self.pair(float, &y, "QLinearAdd"),
            "Mul" => self.pair(float, &y, "QLinearMul"),
            "AveragePool" => self.single(float, &y, "QLinearAveragePool"),
            "GlobalAveragePool" => self.single(float, &y, "QLinearGlobalAveragePool"),
            "LeakyRelu" => self.single(float, &y, "QLinearLeakyRelu"),
            "Sigmoid" => self.single(float, &y, "QLinearSigmoid"),
            "Concat" => self.concat(float, &y),
            name if MOVERS.contains(&name) => self.mover(float, &y),
            _ => None,
        };
        Some((made?, from))
    }

    /// The node that makes a value which nobody else takes.
    fn only_maker(&self, source: Ref) -> Option<usize> {
        let Ref::Value(value) = source else { return None };
        let (node, alone) = *self.places.makers.get(value as usize)?;
        (alone && self.places.takers[value as usize] == 1).then_some(node)
    }

    fn weight(&self, source: Ref) -> Option<&'a Tensor> {
        let Ref::Weight(index) = source else { return None };
        self.weights.get(index as usize).map(Arc::as_ref)
    }

    /// The operands of a node of this name, if scale and zero point are constant and nothing is unusual.
    fn quantised(&self, node: &Node, name: &str) -> Option<Quantised<'a>> {
        if node.operator.name != name {
            return None;
        }
        let [levels, scale, zero] = node.inputs[..] else { return None };
        let mut axis = 1;
        for (name, value) in node.attributes.iter() {
            match (name.as_str(), value) {
                ("axis", Attribute::Int(at)) => axis = *at,
                ("block_size" | "output_dtype" | "precision", Attribute::Int(0)) | ("saturate", _) => {}
                _ => return None,
            }
        }
        let (scales, zeros) = (self.weight(scale)?, self.weight(zero)?);
        let usual = scales.shape().len() <= 1 && zeros.data().len() == scales.data().len();
        let scales = scales.as_f32().filter(|all| usual && all.iter().all(|s| s.is_finite() && *s > 0.0))?;
        (!scales.is_empty()).then_some(Quantised { levels, scale, zero, scales, zeros, axis })
    }

    /// The levels behind a dequantised value.
    fn dequantised(&self, source: Ref) -> Option<Quantised<'a>> {
        let Ref::Value(value) = source else { return None };
        let (node, _) = *self.places.makers.get(value as usize)?;
        self.quantised(&self.graph.nodes[node], "DequantizeLinear")
    }

    fn plain(&self, source: Ref) -> Option<Quantised<'a>> {
        self.dequantised(source).filter(Quantised::is_plain)
    }

    /// Constant weights, with one scale or one for each entry of this axis.
    fn weights_along(&self, source: Ref, axis: usize) -> Option<Quantised<'a>> {
        let found = self.dequantised(source).filter(|w| matches!(w.dtype(), Dtype::I8 | Dtype::U8))?;
        if found.scales.len() == 1 {
            return Some(found);
        }
        let shape = self.weight(found.levels)?.shape();
        let rank = i64::try_from(shape.len()).ok()?;
        let given = if found.axis < 0 { found.axis.checked_add(rank)? } else { found.axis };
        let fits = usize::try_from(given).ok() == Some(axis)
            && shape.get(axis) == Some(&(found.scales.len() as u64));
        fits.then_some(found)
    }

    /// A bias in INT32 whose scale is that of the products.
    fn bias(&self, source: Ref, x: &Quantised<'_>, w: &Quantised<'_>) -> Option<Ref> {
        /// Of the scale: room for how a quantiser rounds the product.
        const TOLERANCE: f32 = 1.0 / (1 << 20) as f32;
        let found = self.dequantised(source).filter(|bias| bias.dtype() == Dtype::I32)?;
        let bias = self.weight(found.levels)?;
        let count = bias.data().len();
        let entries = |all: usize| all == 1 || all == count;
        if bias.shape().len() != 1 || !entries(found.scales.len()) || !entries(w.scales.len()) {
            return None;
        }
        let of = |all: &[f32], index: usize| if all.len() == 1 { all[0] } else { all[index] };
        let fits = (0..count).all(|index| {
            let product = x.scales[0] * of(w.scales, index);
            (of(found.scales, index) - product).abs() <= product * TOLERANCE
        });
        let centred =
            matches!(found.zeros.data(), TensorData::I32(zeros) if zeros.iter().all(|zero| *zero == 0));
        (fits && centred).then_some(found.levels)
    }

    /// A Relu or Clip whose bounds are the least and the greatest level anyway.
    fn saturates_likewise(&self, node: &Node, y: &Quantised<'_>) -> bool {
        let bound = |input: usize, default: f32| match node.inputs.get(input) {
            None | Some(Ref::Absent) => Some(default),
            Some(source) => match self.weight(*source).and_then(Tensor::as_f32) {
                Some([bound]) => Some(*bound),
                _ => None,
            },
        };
        let bounds = match node.operator.name {
            "Relu" => Some((0.0, f32::INFINITY)),
            "Clip" => bound(1, f32::NEG_INFINITY).zip(bound(2, f32::INFINITY)),
            _ => None,
        };
        let (Some((min, max)), Some(zero)) = (bounds, byte(y.zeros)) else { return false };
        let signed = y.dtype() == Dtype::I8;
        let (levels, least) = (Levels::of_byte(signed, zero), if signed { -128 } else { 0 });
        // A bound that is NaN would be the least level twice.
        levels.level(min / y.scales[0]) == least && levels.level(max / y.scales[0]) == least + 255
    }

    fn conv(&self, float: &Node, y: &Quantised<'_>) -> Option<Node> {
        let (x, w) = (self.plain(*float.inputs.first()?)?, self.weights_along(*float.inputs.get(1)?, 0)?);
        let mut inputs = [x.parts(), w.parts()].concat();
        inputs.extend([y.scale, y.zero]);
        match float.inputs.get(2) {
            None | Some(Ref::Absent) => {}
            Some(bias) => inputs.push(self.bias(*bias, &x, &w)?),
        }
        made("QLinearConv", inputs, float.attributes.clone())
    }

    fn matmul(&self, float: &Node, y: &Quantised<'_>) -> Option<Node> {
        let [a, b] = float.inputs[..] else { return None };
        let (a, b) = (self.plain(a)?, self.weights_along(b, 1)?);
        if b.scales.len() > 1 && self.weight(b.levels)?.shape().len() != 2 {
            return None;
        }
        let mut inputs = [a.parts(), b.parts()].concat();
        inputs.extend([y.scale, y.zero]);
        made("QLinearMatMul", inputs, float.attributes.clone())
    }

    fn gemm(&self, float: &Node, y: &Quantised<'_>) -> Option<Node> {
        let mut attributes = float.attributes.clone();
        let transposed =
            matches!(attributes.iter().find(|(name, _)| name == "transB"), Some((_, Attribute::Int(1))));
        let one = |value: Option<Attribute>| match value {
            None => true,
            Some(Attribute::Float(factor)) => factor.to_bits() == 1.0_f32.to_bits(),
            Some(_) => false,
        };
        let plain = one(attributes.take("beta")) & one(attributes.take("alpha"));
        let a = self.plain(*float.inputs.first()?).filter(|_| plain)?;
        let b = self.weights_along(*float.inputs.get(1)?, usize::from(!transposed))?;
        let bias = match float.inputs.get(2) {
            None | Some(Ref::Absent) => Ref::Absent,
            Some(bias) => self.bias(*bias, &a, &b)?,
        };
        let mut inputs = [a.parts(), b.parts()].concat();
        inputs.extend([bias, y.scale, y.zero]);
        made("QGemm", inputs, attributes)
    }

    fn pair(&self, float: &Node, y: &Quantised<'_>, name: &str) -> Option<Node> {
        let [a, b] = float.inputs[..] else { return None };
        let (a, b) = (self.plain(a)?, self.plain(b)?);
        if a.dtype() != y.dtype() || b.dtype() != y.dtype() {
            return None;
        }
        let mut inputs = [a.parts(), b.parts()].concat();
        inputs.extend([y.scale, y.zero]);
        made(name, inputs, float.attributes.clone())
    }

    fn single(&self, float: &Node, y: &Quantised<'_>, name: &str) -> Option<Node> {
        let [x] = float.inputs[..] else { return None };
        let x = self.plain(x).filter(|x| x.dtype() == y.dtype())?;
        let [levels, scale, zero] = x.parts();
        made(name, vec![levels, scale, zero, y.scale, y.zero], float.attributes.clone())
    }

    fn mover(&self, float: &Node, y: &Quantised<'_>) -> Option<Node> {
        let x = self.plain(*float.inputs.first()?).filter(|x| x.same_as(y))?;
        let mut inputs = float.inputs.clone();
        inputs[0] = x.levels;
        made(float.operator.name, inputs, float.attributes.clone())
    }

    fn concat(&self, float: &Node, y: &Quantised<'_>) -> Option<Node> {
        let parts: Option<Vec<Quantised<'_>>> = float.inputs.iter().map(|part| self.plain(*part)).collect();
        let parts =
            parts.filter(|parts| !parts.is_empty() && parts.iter().all(|part| part.dtype() == y.dtype()))?;
        let attributes = float.attributes.clone();
        if parts.iter().all(|part| part.same_as(y)) {
            return made("Concat", parts.iter().map(|part| part.levels).collect(), attributes);
        }
        let mut inputs = vec![y.scale, y.zero];
        inputs.extend(parts.iter().flat_map(Quantised::parts));
        made("QLinearConcat", inputs, attributes)
    }
}

/// A node of the operator of this name.
fn made(name: &str, inputs: Vec<Ref>, attributes: Attributes) -> Option<Node> {
    let operator: &'static Operator = find(name)?;
    Some(Node { operator, inputs, outputs: 1, attributes })
}

/// The one byte of a zero point.
fn byte(zero: &Tensor) -> Option<i32> {
    match zero.data() {
        TensorData::I8(v) => v.first().map(|byte| i32::from(*byte)),
        TensorData::U8(v) => v.first().map(|byte| i32::from(*byte)),
        _ => None,
    }
}

/// Nodes and weights in the order in which a walk from the outputs needs them.
struct Order {
    old: Vec<Option<Node>>,
    old_weights: Vec<Arc<Tensor>>,
    old_labels: Vec<String>,
    /// New numbers of values (the first of each node) and weights.
    values: Vec<Option<u32>>,
    weights: Vec<Option<u32>>,
    next_value: u32,
    nodes: Vec<Node>,
    labels: Vec<String>,
    kept: Vec<Arc<Tensor>>,
}

impl Order {
    fn of(graph: Graph, weights: Vec<Arc<Tensor>>, places: &Places) -> (Graph, Vec<Arc<Tensor>>) {
        let Graph { symbols, inputs, outputs, nodes, labels } = graph;
        let mut order = Self {
            values: vec![None; nodes.len()],
            weights: vec![None; weights.len()],
            old: nodes.into_iter().map(Some).collect(),
            old_weights: weights,
            old_labels: labels,
            next_value: 0,
            nodes: Vec::new(),
            labels: Vec::new(),
            kept: Vec::new(),
        };
        let outputs = outputs.into_iter().map(|(port, source)| {
            order.visit(source, places);
            (port, order.renumbered(source, places))
        });
        let outputs = outputs.collect();
        (Graph { symbols, inputs, outputs, nodes: order.nodes, labels: order.labels }, order.kept)
    }

    /// Add the node that makes a value, after all that it needs.
    fn visit(&mut self, source: Ref, places: &Places) {
        let mut stack = vec![(source, 0)];
        while let Some((source, next)) = stack.pop() {
            let Some((index, _)) = maker(source, places) else { continue };
            let Some(node) = &self.old[index] else { continue };
            if let Some(input) = node.inputs.get(next).copied() {
                stack.push((source, next + 1));
                stack.push((input, 0));
                continue;
            }
            let Some(node) = self.old[index].take() else { continue };
            let inputs = node.inputs.iter().map(|input| self.renumbered(*input, places)).collect();
            self.values[index] = Some(self.next_value);
            self.next_value = self.next_value.saturating_add(node.outputs);
            self.labels.push(self.old_labels.get(index).cloned().unwrap_or_default());
            self.nodes.push(Node { inputs, ..node });
        }
    }

    fn renumbered(&mut self, source: Ref, places: &Places) -> Ref {
        match source {
            Ref::Value(value) => {
                let new = maker(source, places)
                    .and_then(|(index, offset)| self.values[index].map(|first| first.saturating_add(offset)));
                Ref::Value(new.unwrap_or(value))
            }
            Ref::Weight(index) => {
                let Some(slot) = self.weights.get_mut(index as usize) else { return source };
                let next = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
                let place = *slot.get_or_insert(next);
                if place == next {
                    self.kept.push(self.old_weights[index as usize].clone());
                }
                Ref::Weight(place)
            }
            other => other,
        }
    }
}

/// The node that makes a value, and which of its outputs it is.
fn maker(source: Ref, places: &Places) -> Option<(usize, u32)> {
    let Ref::Value(value) = source else { return None };
    let (node, _) = *places.makers.get(value as usize)?;
    let first = places.firsts[node];
    Some((node, u32::try_from((value as usize).checked_sub(first)?).ok()?))
}

#[cfg(test)]
mod tests;
