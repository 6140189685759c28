//! Operators: one row each in the tables of the families below, the same shape for all.
//!
//! A row says how an uploaded node is brought to canonical form (`import`: from names and attributes alone,
//! no shapes) and how a canonical node is checked for the shapes at hand (`prepare`): attributes read to
//! the last one, types and shapes of the outputs, cost, and a [`Kernel`] that runs it. Some rows also say
//! how constant operands are ordered for speed, once per session (`pack`). To add an operator, write these
//! functions beside their like and add a row.
//!
//! # Rules
//! - `prepare` sees canonical nodes from anywhere: it trusts nothing and allocates nothing large.
//! - Shapes are numbers here: a plan is made for the sizes of a run. What a shape depends on must be a
//!   constant of the plan ([`Scope::constant`]); where it is not, the planner prepares the node during
//!   the run, with every operand known.
//! - A kernel trusts shapes and constants, which `prepare` has checked, and no values.

use std::fmt::Debug;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use crate::graph::attributes::{AttributeReader, fault};
use crate::kernels::{Buffer, Cpu, Isa, elementwise};
use crate::onnx::upload::{Argument, Upload};
use crate::plan::{Budget, Pool, TailCall, ValueType};
use crate::{Fault, Limits};

mod along;
mod attention;
mod binary;
mod broadcast;
mod cast;
mod choose;
mod conv;
mod einsum;
mod elements;
mod flow;
mod halves;
mod identity;
mod images;
mod matmul;
mod ml;
mod movement;
mod norms;
mod numbers;
mod pool;
mod products;
mod qlinear;
mod qproducts;
mod quantize;
mod real;
mod recurrent;
mod reduce;
mod signal;
mod text;
mod unary;
mod window;

#[cfg(test)]
mod elementwise_tests;
#[cfg(test)]
mod tests;

pub(crate) use elements::{Element, dispatch, element_type};
pub(crate) use halves::widened;

/// Domain of the general operators.
pub(crate) const ONNX: &str = "";
/// Domain of trees, linear models and their like.
pub(crate) const ONNX_ML: &str = "ai.onnx.ml";
/// Domain of the operators that ONNX Runtime's quantiser writes.
pub(crate) const MICROSOFT: &str = "com.microsoft";

type Import = fn(&mut Upload<'_>) -> Result<(), Fault>;
type Prepare = fn(&Scope<'_>) -> Result<Prepared, Fault>;
/// Runs a node during the run, where the types of its outputs follow from running it.
type Flow = fn(&Scope<'_>, &Call<'_>) -> Result<Vec<Tensor>, Fault>;
type Pack = fn(&Scope<'_>, Isa) -> Result<Option<Packed>, Fault>;

/// One operator.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Its name in ONNX and in the canonical graph.
    pub(crate) name: &'static str,
    /// Its ONNX domain.
    pub(crate) domain: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A node of the canonical graph.
    Node { import: Import, prepare: Prepare, pack: Option<Pack> },
    /// A node with bodies: prepared for what is known, or run as it comes.
    Flow { import: Import, prepare: Prepare, run: Flow },
    /// Only in uploads: becomes a node of another operator.
    Rewrite(Import),
    /// Only in uploads: the output is another name for a constant or an input.
    Alias(fn(&mut Upload<'_>) -> Result<Argument, Fault>),
    /// Known, but never run, for this reason.
    Refused(&'static str),
}

/// What became of an uploaded node.
pub(crate) enum Imported {
    /// It is a canonical node now.
    Node,
    /// Its output is this.
    Alias(Argument),
}

impl Operator {
    const fn node(name: &'static str, import: Import, prepare: Prepare) -> Self {
        Self { name, domain: ONNX, kind: Kind::Node { import, prepare, pack: None } }
    }

    const fn ml(name: &'static str, import: Import, prepare: Prepare) -> Self {
        Self { name, domain: ONNX_ML, kind: Kind::Node { import, prepare, pack: None } }
    }

    const fn microsoft(name: &'static str, import: Import, prepare: Prepare) -> Self {
        Self { name, domain: MICROSOFT, kind: Kind::Node { import, prepare, pack: None } }
    }

    const fn with_bodies(name: &'static str, import: Import, prepare: Prepare, run: Flow) -> Self {
        Self { name, domain: ONNX, kind: Kind::Flow { import, prepare, run } }
    }

    const fn rewrite(name: &'static str, rewrite: Import) -> Self {
        Self { name, domain: ONNX, kind: Kind::Rewrite(rewrite) }
    }

    const fn alias(
        name: &'static str,
        domain: &'static str,
        alias: fn(&mut Upload<'_>) -> Result<Argument, Fault>,
    ) -> Self {
        Self { name, domain, kind: Kind::Alias(alias) }
    }

    /// An operator that is refused by name, with this hint.
    const fn refused(name: &'static str, domain: &'static str, hint: &'static str) -> Self {
        Self { name, domain, kind: Kind::Refused(hint) }
    }

    /// With a function that orders constant operands.
    const fn packed(self, pack: Pack) -> Self {
        match self.kind {
            Kind::Node { import, prepare, .. } => {
                Self { kind: Kind::Node { import, prepare, pack: Some(pack) }, ..self }
            }
            _ => self,
        }
    }

    /// Bring an uploaded node to canonical form.
    pub(crate) fn import(&self, upload: &mut Upload<'_>) -> Result<Imported, Fault> {
        match self.kind {
            Kind::Node { import, .. } | Kind::Flow { import, .. } | Kind::Rewrite(import) => {
                import(upload).map(|()| Imported::Node)
            }
            Kind::Alias(alias) => alias(upload).map(Imported::Alias),
            Kind::Refused(hint) => Err(Fault::Unsupported { what: self.name.to_owned(), hint }),
        }
    }

    /// Check a canonical node for the shapes at hand and make its kernel.
    pub(crate) fn prepare(&self, scope: &Scope<'_>) -> Result<Prepared, Fault> {
        match self.kind {
            Kind::Node { prepare, .. } | Kind::Flow { prepare, .. } => {
                let prepared = prepare(scope)?;
                scope.attributes.finish()?;
                Ok(prepared)
            }
            Kind::Rewrite(_) | Kind::Alias(_) | Kind::Refused(_) => Err(Fault::Unsupported {
                what: format!("{} in a canonical graph", self.name),
                hint: "it only exists in uploads",
            }),
        }
    }

    /// Whether it has bodies.
    pub(crate) fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Flow { .. })
    }

    /// Run an operator with bodies whose operands are all known; it charges what it uses while it runs.
    pub(crate) fn flow(&self, scope: &Scope<'_>, call: &Call<'_>) -> Result<Vec<Tensor>, Fault> {
        match self.kind {
            Kind::Flow { run, .. } => {
                let outputs = run(scope, call)?;
                scope.attributes.finish()?;
                Ok(outputs)
            }
            _ => Err(Fault::Unsupported { what: self.name.to_owned(), hint: "it has no body" }),
        }
    }

    /// Whether it orders constant operands. Its `prepare` then looks at the values of large ones through
    /// [`Scope::constant`] only, so that a load knows which weights a plan can do without.
    pub(crate) fn packs(&self) -> bool {
        matches!(self.kind, Kind::Node { pack: Some(_), .. })
    }

    /// Order the constant operands, if this operator does that. Operands that are not constant are `None`.
    pub(crate) fn pack(&self, scope: &Scope<'_>, isa: Isa) -> Result<Option<Packed>, Fault> {
        match self.kind {
            Kind::Node { pack: Some(pack), .. } => pack(scope, isa),
            _ => Ok(None),
        }
    }
}

/// The families. Each is sorted as it likes; names are unique.
static FAMILIES: &[&[Operator]] = &[
    along::OPERATORS,
    attention::OPERATORS,
    binary::OPERATORS,
    cast::OPERATORS,
    choose::OPERATORS,
    conv::OPERATORS,
    einsum::OPERATORS,
    flow::OPERATORS,
    identity::OPERATORS,
    images::OPERATORS,
    matmul::OPERATORS,
    ml::OPERATORS,
    movement::OPERATORS,
    norms::OPERATORS,
    recurrent::OPERATORS,
    reduce::OPERATORS,
    signal::OPERATORS,
    text::OPERATORS,
    pool::OPERATORS,
    qlinear::OPERATORS,
    qproducts::OPERATORS,
    quantize::OPERATORS,
    unary::OPERATORS,
];

/// Names of the operators that [`crate::import_onnx`] reads, sorted.
#[must_use]
pub fn supported_operators() -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(|| {
        let read = sorted().iter().filter(|operator| !matches!(operator.kind, Kind::Refused(_)));
        read.map(|operator| operator.name).collect()
    });
    &NAMES
}

fn sorted() -> &'static [&'static Operator] {
    static SORTED: std::sync::LazyLock<Vec<&'static Operator>> = std::sync::LazyLock::new(|| {
        let mut all: Vec<&Operator> = FAMILIES.iter().flat_map(|family| family.iter()).collect();
        all.sort_by_key(|operator| operator.name);
        all
    });
    &SORTED
}

/// The operator of this name.
pub(crate) fn find(name: &str) -> Option<&'static Operator> {
    let at = sorted().binary_search_by(|operator| operator.name.cmp(name)).ok()?;
    Some(sorted()[at])
}

/// Constants in the order that a kernel wants; made once per session, shared by its plans, and kept on disk
/// by the model cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed {
    pub(crate) buffers: Vec<Buffer>,
    /// Inputs that the kernel no longer needs: their weights may be forgotten.
    pub(crate) replaces: Vec<usize>,
}

impl Packed {
    /// One buffer that replaces one input.
    pub(crate) fn one(buffer: Buffer, input: usize) -> Self {
        Self { buffers: vec![buffer], replaces: vec![input] }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.as_bytes().len() as u64).fold(0, u64::saturating_add)
    }
}

/// A checked node: what comes out, what it costs, and how to run it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) outputs: Vec<ValueType>,
    /// Multiply-adds; the plan adds one per output element.
    pub(crate) macs: u64,
    /// Bytes of scratch.
    pub(crate) scratch_bytes: u64,
    /// The outputs depend on shapes and constants only: the planner may compute them at once.
    pub(crate) known: bool,
    /// Not all of the cost is known before the run: the kernel charges the rest to [`Call::budget`].
    pub(crate) open: bool,
    pub(crate) kernel: Box<dyn Kernel>,
}

impl Prepared {
    /// Outputs of these types; no scratch, no cost beyond writing them.
    pub(crate) fn new(outputs: Vec<ValueType>, kernel: impl Kernel + 'static) -> Self {
        Self { outputs, macs: 0, scratch_bytes: 0, known: false, open: false, kernel: Box::new(kernel) }
    }

    /// One output, no scratch, no cost beyond writing the output.
    pub(crate) fn one(output: ValueType, kernel: impl Kernel + 'static) -> Self {
        Self::new(vec![output], kernel)
    }

    /// Outputs that are already computed, because they depend on shapes or constants only.
    pub(crate) fn known(tensors: Vec<Tensor>) -> Self {
        let outputs = tensors.iter().map(ValueType::of).collect();
        let kernel = FnKernel(move |_: &Call<'_>| Ok(tensors.iter().map(|t| t.data().clone()).collect()));
        Self { known: true, ..Self::new(outputs, kernel) }
    }

    pub(crate) fn with_kernel(self, kernel: impl Kernel + 'static) -> Self {
        Self { kernel: Box::new(kernel), ..self }
    }

    pub(crate) fn macs(self, macs: u64) -> Self {
        Self { macs, ..self }
    }

    pub(crate) fn scratch_bytes(self, scratch_bytes: u64) -> Self {
        Self { scratch_bytes, ..self }
    }
}

/// Runs one node.
pub(crate) trait Kernel: Send + Sync + Debug {
    /// Compute the outputs, in row-major order of the shapes in `call`.
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault>;

    /// What this does to f32, as a step that the plan may join with its neighbours; it gives the same bits.
    fn elementwise(&self) -> Option<ElementwiseForm> {
        None
    }

    /// Whether the one output has the elements of input 0 as they are: it then takes over their memory, where
    /// nobody else needs them.
    fn renames(&self) -> bool {
        false
    }

    /// Whether `run` applies [`Call::tail`] to its one f32 output: in pieces that never cross a multiple of this
    /// many elements.
    fn takes_tail(&self) -> Option<usize> {
        None
    }
}

/// A kernel as a step of [`crate::kernels::elementwise`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum ElementwiseForm {
    /// A function of input 0.
    Unary(elementwise::Unary),
    /// Input 0 is `x`, input 1 is `y`; either may be broadcast to the output.
    Binary(elementwise::Binary),
}

/// One run of one node.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) cpu: &'a Cpu,
    pub(crate) inputs: &'a [Option<&'a Tensor>],
    /// Types of the outputs, as `prepare` gave them.
    pub(crate) outputs: &'a [ValueType],
    pub(crate) packed: Option<&'a Packed>,
    /// Memory of values that are no longer needed.
    pub(crate) pool: &'a Pool,
    /// Element-wise steps that follow, for a kernel that takes them.
    pub(crate) tail: Option<&'a TailCall<'a>>,
    /// What the run may still use.
    pub(crate) budget: &'a Budget<'a>,
}

impl<'a> Call<'a> {
    pub(crate) fn input(&self, input: usize) -> Result<&'a Tensor, Fault> {
        self.optional(input).ok_or(Fault::Arity {
            what: "inputs",
            expected: "the inputs that were planned",
            got: input,
        })
    }

    pub(crate) fn optional(&self, input: usize) -> Option<&'a Tensor> {
        self.inputs.get(input).copied().flatten()
    }

    pub(crate) fn f32(&self, input: usize) -> Result<&'a [f32], Fault> {
        self.slice::<f32>(input)
    }

    /// Elements of an input of this type.
    pub(crate) fn slice<T: Element>(&self, input: usize) -> Result<&'a [T], Fault> {
        let tensor = self.input(input)?;
        T::slice(tensor.data()).ok_or(Fault::Dtype { input, expected: T::DTYPE.name(), got: tensor.dtype() })
    }

    /// Elements of output `output`.
    pub(crate) fn elements(&self, output: usize) -> usize {
        self.outputs.get(output).map_or(0, ValueType::elements)
    }

    /// Sizes of output `output`.
    pub(crate) fn shape(&self, output: usize) -> &'a [usize] {
        self.outputs.get(output).map_or(&[], |ty| &ty.shape)
    }

    /// Memory for `count` f32 of arbitrary content.
    pub(crate) fn f32s(&self, count: usize) -> Vec<f32> {
        self.pool.f32s(count)
    }

    /// Memory for `count` elements of arbitrary content; f32 from the pool.
    pub(crate) fn space<T: Element>(&self, count: usize) -> Vec<T> {
        let pooled = if T::DTYPE == Dtype::F32 { T::take(TensorData::F32(self.f32s(count))) } else { None };
        pooled.unwrap_or_else(|| vec![T::default(); count])
    }
}

/// Sizes as indices; every one of them has been bounded by 2^28.
pub(crate) fn sizes(shape: &[u64]) -> Vec<usize> {
    shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect()
}

/// What `prepare` looks at.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) attributes: AttributeReader<'a>,
    pub(crate) operands: Vec<Option<Operand<'a>>>,
    /// Outputs that the node has.
    pub(crate) outputs: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) packed: Option<&'a Packed>,
}

/// An input, as `prepare` sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) ty: &'a ValueType,
    /// The value, if it is known.
    pub(crate) constant: Option<&'a Tensor>,
}

impl<'a> Scope<'a> {
    /// Refuse another number of inputs (the first `least` must be given) or outputs.
    pub(crate) fn arity(&self, least: usize, most: usize, outputs: usize) -> Result<(), Fault> {
        self.arity_between(least, most, outputs, outputs)
    }

    /// As [`Self::arity`], with optional outputs.
    pub(crate) fn arity_between(
        &self,
        least: usize,
        most: usize,
        least_outputs: usize,
        most_outputs: usize,
    ) -> Result<(), Fault> {
        const WORDS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9 or more"];
        let word = |count: usize| WORDS[count.min(9)];
        let given = self.operands.iter().take_while(|operand| operand.is_some()).count();
        if given < least {
            return Err(Fault::Arity { what: "inputs at least", expected: word(least), got: given });
        }
        if self.operands.len() > most {
            let got = self.operands.len();
            return Err(Fault::Arity { what: "inputs at most", expected: word(most), got });
        }
        if self.outputs < least_outputs {
            return Err(Fault::Arity {
                what: "outputs at least",
                expected: word(least_outputs),
                got: self.outputs,
            });
        }
        if self.outputs > most_outputs {
            return Err(Fault::Arity {
                what: "outputs at most",
                expected: word(most_outputs),
                got: self.outputs,
            });
        }
        Ok(())
    }

    pub(crate) fn optional(&self, input: usize) -> Option<Operand<'a>> {
        self.operands.get(input).copied().flatten()
    }

    pub(crate) fn input(&self, input: usize) -> Result<&'a ValueType, Fault> {
        let missing = Fault::Arity { what: "inputs", expected: "more", got: self.operands.len() };
        self.optional(input).map(|operand| operand.ty).ok_or(missing)
    }

    /// An input of one of these types; `expected` says them in words.
    pub(crate) fn typed(
        &self,
        input: usize,
        dtypes: &[Dtype],
        expected: &'static str,
    ) -> Result<&'a ValueType, Fault> {
        let ty = self.input(input)?;
        if dtypes.contains(&ty.dtype) { Ok(ty) } else { Err(Fault::Dtype { input, expected, got: ty.dtype }) }
    }

    pub(crate) fn f32(&self, input: usize) -> Result<&'a ValueType, Fault> {
        self.typed(input, &[Dtype::F32], "FP32")
    }

    /// A known input: a constant of the plan, or any input when the node is prepared during the run.
    pub(crate) fn constant(&self, input: usize, what: &'static str) -> Result<&'a Tensor, Fault> {
        self.input(input)?;
        self.optional(input).and_then(|operand| operand.constant).ok_or(Fault::NotConstant { input, what })
    }

    /// Known integers (INT64 or INT32).
    pub(crate) fn ints(&self, input: usize, what: &'static str) -> Result<Vec<i64>, Fault> {
        let tensor = self.constant(input, what)?;
        match tensor.data() {
            TensorData::I64(v) => Ok(v.clone()),
            TensorData::I32(v) => Ok(v.iter().map(|x| i64::from(*x)).collect()),
            other => Err(Fault::Dtype { input, expected: "INT64 or INT32", got: other.dtype() }),
        }
    }

    /// Known integers, or `None` if the input is not given.
    pub(crate) fn optional_ints(&self, input: usize, what: &'static str) -> Result<Option<Vec<i64>>, Fault> {
        self.optional(input).map(|_| self.ints(input, what)).transpose()
    }

    /// A known input with exactly one element, as `T`.
    pub(crate) fn scalar<T: Element>(&self, input: usize, what: &'static str) -> Result<T, Fault> {
        let tensor = self.constant(input, what)?;
        match T::slice(tensor.data()) {
            Some([value]) => Ok(value.clone()),
            Some(_) => Err(Fault::Shape {
                what,
                expected: "one element".to_owned(),
                got: format!("{:?}", tensor.shape()),
            }),
            None => Err(Fault::Dtype { input, expected: T::DTYPE.name(), got: tensor.dtype() }),
        }
    }

    /// A known f32 input with this many elements.
    pub(crate) fn constant_f32(
        &self,
        input: usize,
        what: &'static str,
        count: usize,
    ) -> Result<&'a [f32], Fault> {
        let ty = self.f32(input)?;
        let values = self.constant(input, what)?.as_f32().unwrap_or_default();
        if values.len() == count {
            return Ok(values);
        }
        Err(misfit(what, format!("{count} elements"), ty))
    }

    /// A checked type of an output.
    pub(crate) fn value(&self, dtype: Dtype, shape: Vec<usize>) -> Result<ValueType, Fault> {
        ValueType::new(dtype, shape, self.limits)
    }
}

/// An axis counted from the end if it is negative, as an index below `rank`.
pub(crate) fn axis(name: &str, axis: i64, rank: usize) -> Result<usize, Fault> {
    let from_start = if axis < 0 { axis.checked_add(i64::try_from(rank).unwrap_or(0)) } else { Some(axis) };
    let index = from_start.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    index.ok_or_else(|| fault(name, &format!("an axis from -{rank} to {rank} - 1"), &axis.to_string()))
}

/// A shape fault in words.
pub(crate) fn misfit(what: &'static str, expected: impl Into<String>, got: &ValueType) -> Fault {
    Fault::Shape { what, expected: expected.into(), got: format!("{:?}", got.shape) }
}

/// Run a kernel for its result only, where a closure is clearer than a struct.
pub(crate) struct FnKernel<F>(pub(crate) F);

impl<F> Debug for FnKernel<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnKernel")
    }
}

impl<F> Kernel for FnKernel<F>
where
    F: Fn(&Call<'_>) -> Result<Vec<TensorData>, Fault> + Send + Sync,
{
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        (self.0)(call)
    }
}

/// As [`FnKernel`], with its form for the planner.
pub(crate) struct FormKernel<F> {
    pub(crate) form: Option<ElementwiseForm>,
    pub(crate) run: F,
}

impl<F> Debug for FormKernel<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FormKernel").field("form", &self.form).finish_non_exhaustive()
    }
}

impl<F> Kernel for FormKernel<F>
where
    F: Fn(&Call<'_>) -> Result<Vec<TensorData>, Fault> + Send + Sync,
{
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        (self.run)(call)
    }

    fn elementwise(&self) -> Option<ElementwiseForm> {
        self.form
    }
}
