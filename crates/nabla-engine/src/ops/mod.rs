//! Operators: one row each in [`OPERATORS`], the same shape for all.
//!
//! A row says how an uploaded node is brought to canonical form (`import`) and how a canonical node is
//! checked (`prepare`): attributes read to the last one, types and shapes inferred, cost counted, and a
//! [`Kernel`] made that runs it. To add an operator, write these two functions beside their like and add a
//! row.
//!
//! # Rules
//! - `prepare` sees canonical nodes from anywhere: it trusts nothing and allocates nothing large.
//! - A kernel trusts shapes and constants, which `prepare` has checked, and no values.
//! - Rows of the batch never meet.

use std::fmt::Debug;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use crate::graph::attributes::AttributeReader;
use crate::kernels::Isa;
use crate::model::shape_text;
use crate::onnx::upload::{Argument, Upload};
use crate::plan::ValueType;
use crate::{Dim, Fault, Limits};

mod binary;
mod cast;
mod conv;
mod matmul;
mod ml;
mod normalize;
mod pool;
mod quantize;
mod reduce;
mod shape;
mod unary;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// Domain of the general operators.
pub(crate) const ONNX: &str = "";
/// Domain of trees, linear models and their like.
pub(crate) const ONNX_ML: &str = "ai.onnx.ml";

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
    Node {
        import: fn(&mut Upload<'_>) -> Result<(), Fault>,
        prepare: fn(&Scope<'_>) -> Result<Prepared, Fault>,
    },
    /// Only in uploads: becomes a node of another operator.
    Rewrite(fn(&mut Upload<'_>) -> Result<(), Fault>),
    /// Only in uploads: the output is another name for a constant or an input.
    Alias(fn(&mut Upload<'_>) -> Result<Argument, Fault>),
}

/// What became of an uploaded node.
pub(crate) enum Imported {
    /// It is a canonical node now.
    Node,
    /// Its output is this.
    Alias(Argument),
}

impl Operator {
    const fn node(
        name: &'static str,
        import: fn(&mut Upload<'_>) -> Result<(), Fault>,
        prepare: fn(&Scope<'_>) -> Result<Prepared, Fault>,
    ) -> Self {
        Self { name, domain: ONNX, kind: Kind::Node { import, prepare } }
    }

    const fn ml(
        name: &'static str,
        import: fn(&mut Upload<'_>) -> Result<(), Fault>,
        prepare: fn(&Scope<'_>) -> Result<Prepared, Fault>,
    ) -> Self {
        Self { name, domain: ONNX_ML, kind: Kind::Node { import, prepare } }
    }

    const fn rewrite(name: &'static str, rewrite: fn(&mut Upload<'_>) -> Result<(), Fault>) -> Self {
        Self { name, domain: ONNX, kind: Kind::Rewrite(rewrite) }
    }

    const fn alias(
        name: &'static str,
        domain: &'static str,
        alias: fn(&mut Upload<'_>) -> Result<Argument, Fault>,
    ) -> Self {
        Self { name, domain, kind: Kind::Alias(alias) }
    }

    /// Bring an uploaded node to canonical form.
    pub(crate) fn import(&self, upload: &mut Upload<'_>) -> Result<Imported, Fault> {
        match self.kind {
            Kind::Node { import, .. } | Kind::Rewrite(import) => import(upload).map(|()| Imported::Node),
            Kind::Alias(alias) => alias(upload).map(Imported::Alias),
        }
    }

    /// Check a canonical node and make its kernel.
    pub(crate) fn prepare(&self, scope: &Scope<'_>) -> Result<Prepared, Fault> {
        match self.kind {
            Kind::Node { prepare, .. } => prepare(scope),
            Kind::Rewrite(_) | Kind::Alias(_) => Err(Fault::Unsupported {
                what: format!("{} in a canonical graph", self.name),
                hint: "it only exists in uploads",
            }),
        }
    }
}

/// Every operator, by name.
pub(crate) static OPERATORS: &[Operator] = &[
    Operator::node("Abs", unary::plain, unary::abs),
    Operator::node("Add", binary::plain, binary::add),
    Operator::node("ArgMax", reduce::import_arg_max, reduce::arg_max),
    Operator::ml("ArrayFeatureExtractor", ml::extract::import, ml::extract::prepare),
    Operator::node("AveragePool", pool::import_average, pool::average),
    Operator::node("BatchNormalization", normalize::import_batch, normalize::batch),
    Operator::node("Cast", cast::import, cast::prepare),
    Operator::node("Clip", unary::import_clip, unary::clip),
    Operator::node("Concat", shape::import_concat, shape::concat),
    Operator::alias("Constant", ONNX, shape::alias_constant),
    Operator::node("Conv", conv::import, conv::prepare),
    Operator::node("DequantizeLinear", quantize::import, quantize::dequantize),
    Operator::node("Div", binary::plain, binary::div),
    Operator::alias("Dropout", ONNX, shape::alias_dropout),
    Operator::node("Erf", unary::plain, unary::erf),
    Operator::node("Exp", unary::plain, unary::exp),
    Operator::rewrite("Flatten", shape::rewrite_flatten),
    Operator::node("Gemm", matmul::import_gemm, matmul::gemm),
    Operator::node("GlobalAveragePool", unary::plain, pool::global_average),
    Operator::alias("Identity", ONNX, shape::alias_identity),
    Operator::ml("LabelEncoder", ml::labels::import, ml::labels::prepare),
    Operator::node("LeakyRelu", unary::import_leaky, unary::leaky),
    Operator::ml("LinearClassifier", ml::linear::import_classifier, ml::linear::classifier),
    Operator::ml("LinearRegressor", ml::linear::import_regressor, ml::linear::regressor),
    Operator::node("Log", unary::plain, unary::ln),
    Operator::node("LogSoftmax", normalize::import_softmax, normalize::log_softmax),
    Operator::node("MatMul", unary::plain, matmul::matmul),
    Operator::node("MatMulInteger", unary::plain, matmul::matmul_integer),
    Operator::node("Max", binary::plain, binary::max),
    Operator::node("MaxPool", pool::import_max, pool::max),
    Operator::node("Min", binary::plain, binary::min),
    Operator::node("Mul", binary::plain, binary::mul),
    Operator::node("Neg", unary::plain, unary::neg),
    Operator::ml("Normalizer", ml::scale::import_normalizer, ml::scale::normalizer),
    Operator::node("QuantizeLinear", quantize::import, quantize::quantize),
    Operator::node("ReduceMean", reduce::import, reduce::mean),
    Operator::node("ReduceSum", reduce::import, reduce::sum),
    Operator::node("Relu", unary::plain, unary::relu),
    Operator::node("Reshape", shape::import_reshape, shape::reshape),
    Operator::ml("Scaler", ml::scale::import_scaler, ml::scale::scaler),
    Operator::node("Sigmoid", unary::plain, unary::sigmoid),
    Operator::node("Softmax", normalize::import_softmax, normalize::softmax),
    Operator::node("Sqrt", unary::plain, unary::sqrt),
    Operator::rewrite("Squeeze", shape::rewrite_squeeze),
    Operator::node("Sub", binary::plain, binary::sub),
    Operator::node("Tanh", unary::plain, unary::tanh),
    Operator::node("Transpose", shape::import_transpose, shape::transpose),
    Operator::ml("TreeEnsembleClassifier", ml::trees::import::classifier, ml::trees::classifier),
    Operator::ml("TreeEnsembleRegressor", ml::trees::import::regressor, ml::trees::regressor),
    Operator::rewrite("Unsqueeze", shape::rewrite_unsqueeze),
    Operator::alias("ZipMap", ONNX_ML, shape::alias_zip_map),
];

/// Names of the operators that [`crate::import_onnx`] reads, sorted.
#[must_use]
pub fn supported_operators() -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<Vec<&'static str>> =
        std::sync::LazyLock::new(|| OPERATORS.iter().map(|operator| operator.name).collect());
    &NAMES
}

/// The operator of this name.
pub(crate) fn find(name: &str) -> Option<&'static Operator> {
    let at = OPERATORS.binary_search_by(|operator| operator.name.cmp(name)).ok()?;
    Some(&OPERATORS[at])
}

/// A checked node: what comes out, what it costs, and how to run it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) outputs: Vec<ValueType>,
    /// Multiply-adds per row; the plan adds one per output element.
    pub(crate) macs: u64,
    /// Bytes of scratch per row.
    pub(crate) scratch_bytes: u64,
    /// Bytes that [`Kernel::load`] keeps.
    pub(crate) loaded_bytes: u64,
    pub(crate) kernel: Box<dyn Kernel>,
}

impl Prepared {
    /// One output, no scratch, no cost beyond writing the output.
    pub(crate) fn one(output: ValueType, kernel: impl Kernel + 'static) -> Self {
        Self { outputs: vec![output], macs: 0, scratch_bytes: 0, loaded_bytes: 0, kernel: Box::new(kernel) }
    }

    pub(crate) fn macs(self, macs: u64) -> Self {
        Self { macs, ..self }
    }

    pub(crate) fn scratch_bytes(self, scratch_bytes: u64) -> Self {
        Self { scratch_bytes, ..self }
    }

    pub(crate) fn loaded_bytes(self, loaded_bytes: u64) -> Self {
        Self { loaded_bytes, ..self }
    }
}

/// Runs one node.
pub(crate) trait Kernel: Send + Sync + Debug {
    /// Order constants for speed; called once before the first run. May do nothing.
    fn load(&mut self, _constants: &[Option<&Tensor>]) {}

    /// Compute the outputs, in row-major order of the shapes in `call`.
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault>;
}

/// One run of one node.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) isa: Isa,
    pub(crate) inputs: &'a [Option<&'a Tensor>],
    /// Shapes of the outputs.
    pub(crate) shapes: &'a [Vec<u64>],
}

impl<'a> Call<'a> {
    pub(crate) fn input(&self, input: usize) -> Result<&'a Tensor, Fault> {
        let found = self.inputs.get(input).copied().flatten();
        found.ok_or(Fault::Arity { what: "inputs", expected: "the inputs that were planned", got: input })
    }

    pub(crate) fn f32(&self, input: usize) -> Result<&'a [f32], Fault> {
        let tensor = self.input(input)?;
        tensor.as_f32().ok_or(Fault::Dtype { input, expected: "FP32", got: tensor.dtype() })
    }

    /// Elements of output `output`.
    pub(crate) fn elements(&self, output: usize) -> usize {
        self.shapes.get(output).map_or(0, |shape| sizes(shape).iter().product())
    }

    /// Sizes of output `output`.
    pub(crate) fn sizes(&self, output: usize) -> Vec<usize> {
        self.shapes.get(output).map_or(Vec::new(), |shape| sizes(shape))
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
}

/// An input, as `prepare` sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) ty: &'a ValueType,
    /// The value, if it is a constant.
    pub(crate) constant: Option<&'a Tensor>,
}

impl<'a> Scope<'a> {
    /// Bytes of the constants that the node takes: what checking them costs.
    pub(crate) fn constant_bytes(&self) -> u64 {
        let constants = self.operands.iter().flatten().filter_map(|operand| operand.constant);
        let bytes =
            |tensor: &Tensor| tensor.data().len() as u64 * tensor.dtype().size_bytes().unwrap_or(1) as u64;
        constants.map(bytes).fold(0, u64::saturating_add)
    }

    /// Refuse another number of inputs (the first `least` must be given) or outputs.
    pub(crate) fn arity(&self, least: usize, most: usize, outputs: usize) -> Result<(), Fault> {
        const WORDS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9 or more"];
        let word = |count: usize| WORDS[count.min(9)];
        let given = self.operands.iter().take_while(|operand| operand.is_some()).count();
        if given < least {
            return Err(Fault::Arity { what: "inputs at least", expected: word(least), got: given });
        }
        if self.operands.len() > most {
            return Err(Fault::Arity {
                what: "inputs at most",
                expected: word(most),
                got: self.operands.len(),
            });
        }
        if self.outputs != outputs {
            return Err(Fault::Arity { what: "outputs", expected: word(outputs), got: self.outputs });
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

    /// A constant input.
    pub(crate) fn constant(&self, input: usize, what: &'static str) -> Result<&'a Tensor, Fault> {
        self.input(input)?;
        self.optional(input).and_then(|operand| operand.constant).ok_or(Fault::NotConstant { input, what })
    }

    /// A constant f32 input with this many elements.
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
        Err(Fault::Shape { what, expected: format!("{count} elements"), got: shape_text(&ty.shape) })
    }

    /// A checked type of an output.
    pub(crate) fn value(&self, dtype: Dtype, shape: Vec<Dim>) -> Result<ValueType, Fault> {
        ValueType::new(dtype, shape, self.limits)
    }
}

/// A shape fault in words.
pub(crate) fn misfit(what: &'static str, expected: impl Into<String>, got: &ValueType) -> Fault {
    Fault::Shape { what, expected: expected.into(), got: shape_text(&got.shape) }
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
