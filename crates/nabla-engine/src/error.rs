//! Why a model was not accepted or a run did not happen.

use nabla_types::tensor::{Dtype, TensorError};

/// Everything that this crate can answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bound of [`crate::Limits`] is exceeded.
    #[error("{what}: {got} is more than the limit of {max}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// What the model or the run needs.
        got: u64,
        /// What is allowed.
        max: u64,
    },
    /// The bytes are not an ONNX file, or a broken one.
    #[error("not a valid ONNX file: {context}: {problem}. Was the file cut short, or is it another format?")]
    Onnx {
        /// Message or field in which it was found.
        context: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// The bytes are not a GGUF file, or one that contradicts itself, its model or its length.
    #[error("not a valid GGUF model: {place}: expected {expected}, got {got}")]
    Gguf {
        /// Where: the header, or which key or tensor.
        place: String,
        /// What is needed there.
        expected: String,
        /// What was found.
        got: String,
    },
    /// The files of a folder are not a model, or contradict themselves or each other.
    #[error("not a valid model folder: {place}: expected {expected}, got {got}")]
    Folder {
        /// Where: the file, and which key or tensor of it.
        place: String,
        /// What is needed there.
        expected: String,
        /// What was found.
        got: String,
    },
    /// Bytes of a model that its source does not give.
    #[error("cannot read {size_bytes} bytes of the model from byte {offset} on")]
    Read {
        /// Where they begin.
        offset: u64,
        /// How many were asked for.
        size_bytes: u64,
        /// What the source said.
        #[source]
        source: std::io::Error,
    },
    /// The file is valid but uses something that this engine does not take.
    #[error("{what} {got}; {hint}")]
    Unsupported {
        /// What is not supported.
        what: &'static str,
        /// The value found.
        got: String,
        /// What to do.
        hint: &'static str,
    },
    /// A token that the vocabulary of a language model does not have.
    #[error("token {token} is not one of the {vocabulary} of this model")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A vocabulary, template, stop string or grammar that was refused.
    #[error(transparent)]
    Text(#[from] nabla_text::Error),
    /// A number of a request that is out of its range.
    #[error("{what}: expected {expected}, got {got}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What is taken.
        expected: String,
        /// What was given.
        got: String,
    },
    /// All logits are NaN or forbidden.
    #[error(
        "no token is left to choose at position {position}: the model's weights or the constraint are broken"
    )]
    NoToken {
        /// Of the token in its sequence.
        position: u64,
    },
    /// Too many requests wait.
    #[error("{waiting} requests wait already, more are refused; try again later, or another node")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// A step that several answers shared went wrong.
    #[error("the step that this answer was part of failed: {problem}")]
    Step {
        /// Why.
        problem: String,
    },
    /// An operator that this engine does not know.
    #[error(
        "node {node} ({name:?}) uses operator {operator:?} of domain {domain:?}, which is not supported; \
         supported are {}",
        crate::supported_operators().join(", ")
    )]
    Operator {
        /// Index of the node in the upload.
        node: u64,
        /// Name of the node in the upload.
        name: String,
        /// Operator asked for.
        operator: String,
        /// Its domain.
        domain: String,
    },
    /// A node that is wrong, or whose run failed.
    #[error("node {node} ({name:?}, operator {operator}): {fault}")]
    Node {
        /// Index of the node: in the upload while importing, in the canonical graph afterwards.
        node: u64,
        /// Name of the node, or of its first output, in the upload; empty in the canonical graph.
        name: String,
        /// Its operator.
        operator: String,
        /// What is wrong.
        fault: Box<Fault>,
    },
    /// A tensor of the file that is wrong.
    #[error("tensor {name:?}: {fault}")]
    Constant {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        fault: Box<Fault>,
    },
    /// The graph as a whole is wrong: a name that nobody defines, a cycle, a missing output.
    #[error("graph is not valid: {problem}: {name:?}")]
    Graph {
        /// What is wrong.
        problem: &'static str,
        /// The name concerned.
        name: String,
    },
    /// Bytes of a canonical graph or of its weights that are not what this crate writes.
    #[error("model bytes are not valid: {problem} (expected {expected}, got {got})")]
    Bytes {
        /// What is wrong.
        problem: &'static str,
        /// What is needed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// External data that may not or cannot be read.
    #[error("external data {location:?} is refused: {problem}; put the file inside the model's folder")]
    External {
        /// Location named by the file.
        location: String,
        /// Why it is refused.
        problem: String,
    },
    /// Inputs of a run that do not fit the model.
    #[error("input {name:?}: expected {expected}, got {got}")]
    Input {
        /// Name of the input.
        name: String,
        /// What the model takes.
        expected: String,
        /// What was given.
        got: String,
    },
    /// Kernels that this processor cannot run.
    #[error("{kernels} kernels need {needed}, which this processor does not have; use Kernels::Auto")]
    Kernels {
        /// Kernels asked for.
        kernels: &'static str,
        /// Instruction sets needed.
        needed: &'static str,
    },
    /// Threads that the system does not give.
    #[error("cannot start {count} threads: {problem}; ask for fewer")]
    Threads {
        /// Threads asked for.
        count: usize,
        /// What the system said.
        problem: String,
    },
    /// The thread's floating-point mode would change results.
    #[error(
        "this thread's floating-point mode is not IEEE 754 ({found}); \
         a library linked with -ffast-math may have set it"
    )]
    FloatMode {
        /// What is wrong with it.
        found: &'static str,
    },
}

/// What is wrong with one node or one tensor. [`Error::Node`] and [`Error::Constant`] say with which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Wrong number of inputs or outputs.
    #[error("expected {expected} {what}, got {got}")]
    Arity {
        /// `inputs` or `outputs`.
        what: &'static str,
        /// Number needed, in words.
        expected: &'static str,
        /// Number given.
        got: usize,
    },
    /// An attribute that is missing, of the wrong kind, out of range, or not known.
    #[error("attribute {name:?}: expected {expected}, got {got}")]
    Attribute {
        /// Name of the attribute.
        name: String,
        /// What is allowed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// An input of a type that the operator does not take.
    #[error("input {input}: expected {expected}, got {got}; cast it before this node")]
    Dtype {
        /// Index of the input.
        input: usize,
        /// Types taken, in words.
        expected: &'static str,
        /// Type given.
        got: Dtype,
    },
    /// Shapes that do not fit.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// Which shape.
        what: &'static str,
        /// What is needed.
        expected: String,
        /// What was found.
        got: String,
    },
    /// An input that must be a constant of the file.
    #[error("input {input} ({what}) must be a constant; export with fixed shapes (only the batch may vary)")]
    NotConstant {
        /// Index of the input.
        input: usize,
        /// What the input is.
        what: &'static str,
    },
    /// Rows of the batch would influence each other.
    #[error("{what} would mix the rows of the batch, which must stay the first dimension; use a fixed batch")]
    MixesBatch {
        /// What the operator does.
        what: &'static str,
    },
    /// Something that the operator has but this engine does not.
    #[error("{what} is not supported; {hint}")]
    Unsupported {
        /// What is not supported.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// A table of the operator (tree nodes, labels, coefficients) that contradicts itself.
    #[error("{what}: {problem}")]
    Table {
        /// Which table.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A node of a body: of a loop, a scan or a branch.
    #[error("in its body, node {node} ({name:?}, operator {operator}): {fault}")]
    Body {
        /// Index of the node in the canonical body.
        node: u64,
        /// Name of the node in the upload; empty in the canonical graph.
        name: String,
        /// Its operator.
        operator: String,
        /// What is wrong.
        fault: Box<Fault>,
    },
    /// A tensor that breaks its own rules.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
