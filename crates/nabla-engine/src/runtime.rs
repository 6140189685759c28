//! The seam between the network and whatever runs a model, and our implementation of it.
//!
//! # Rules
//! - A [`Session`] answers the same inputs with the same bits, whoever calls it and however often.
//! - Inputs may come in any order; all of them must be there, and no others.
//! - Outputs come in the model's order.

use std::fmt::Debug;
use std::sync::Arc;

use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::kernels::{Isa, check_float_mode, pin_nan};
use crate::limits::TEXT_BYTES_MAX;
use crate::plan::Plan;
use crate::{Dim, Error, Kernels, Limits, Model, Port};

/// Version of `spec/kernels.md` that defines the bits of every result.
pub const KERNEL_SPEC: u32 = 1;
/// Name and version of this engine, for example `nabla-engine/0.1.0`.
pub const RUNTIME: &str = concat!("nabla-engine/", env!("CARGO_PKG_VERSION"));

/// Something that can run models.
pub trait Runtime: Send + Sync + Debug {
    /// Make a model ready to run: checks it, orders its weights for the kernels.
    ///
    /// # Errors
    /// [`Error`] if this runtime cannot run the model.
    fn prepare(&self, model: Arc<Model>) -> Result<Arc<dyn Session>, Error>;

    /// Name and version, for receipts.
    fn name(&self) -> &str;

    /// Version of the kernel specification that its results follow.
    fn kernel_spec(&self) -> u32;
}

/// A model that is ready to run.
pub trait Session: Send + Sync + Debug {
    /// Run the model on one batch. Cost is checked for this batch before anything is computed.
    ///
    /// # Errors
    /// [`Error::Input`] if names, types or shapes do not fit; [`Error::Limit`] if this batch costs too much;
    /// [`Error::Node`] if an operator has no answer (an integer division by zero, an index out of range).
    fn run(&self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Error>;

    /// The model.
    fn model(&self) -> &Model;
}

/// The deterministic CPU engine.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    isa: Isa,
}

impl Engine {
    /// An engine that uses these kernels. The choice changes speed, never bits.
    ///
    /// # Errors
    /// [`Error::Kernels`] if the processor cannot run them; [`Kernels::Auto`] and [`Kernels::Scalar`] never fail.
    pub fn new(kernels: Kernels) -> Result<Self, Error> {
        Ok(Self { isa: Isa::choose(kernels)? })
    }

    /// Name of the kernels in use: `avx2` or `scalar`.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        self.isa.name()
    }
}

impl Runtime for Engine {
    fn prepare(&self, model: Arc<Model>) -> Result<Arc<dyn Session>, Error> {
        let mut plan = Plan::build(model.graph(), model.weights(), model.limits())?;
        plan.load(model.weights());
        Ok(Arc::new(EngineSession { isa: self.isa, plan, model }))
    }

    fn name(&self) -> &str {
        RUNTIME
    }

    fn kernel_spec(&self) -> u32 {
        KERNEL_SPEC
    }
}

#[derive(Debug)]
struct EngineSession {
    isa: Isa,
    plan: Plan,
    model: Arc<Model>,
}

impl Session for EngineSession {
    fn run(&self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Error> {
        check_float_mode()?;
        let (ordered, batch) = match_inputs(self.model.inputs(), inputs, self.model.limits())?;
        let cost = self.model.cost().for_batch(batch);
        let limits = self.model.limits();
        Limits::check("multiply-adds of this run", cost.macs, limits.macs_max)?;
        Limits::check("peak bytes of this run", cost.peak_bytes, limits.peak_bytes_max)?;
        let values = self.plan.run(self.isa, &ordered, self.model.weights(), batch, limits)?;
        let named = self.model.outputs().iter().zip(values);
        Ok(named.map(|(port, value)| NamedTensor::new(port.name.clone(), pin_nan(value))).collect())
    }

    fn model(&self) -> &Model {
        &self.model
    }
}

/// Inputs in the model's order, and the size of the batch (1 if the model has none).
fn match_inputs<'t>(
    ports: &[Port],
    inputs: &'t [NamedTensor],
    limits: &Limits,
) -> Result<(Vec<&'t Tensor>, u64), Error> {
    for (index, input) in inputs.iter().enumerate() {
        let known = ports.iter().any(|port| port.name == input.name);
        let twice = inputs[..index].iter().any(|earlier| earlier.name == input.name);
        if !known || twice {
            let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
            let got = if twice { "the same name twice" } else { "an unknown name" };
            let expected = format!("the inputs {names:?}, each once");
            return Err(Error::Input { name: input.name.clone(), expected, got: got.to_owned() });
        }
    }
    let mut ordered = Vec::with_capacity(ports.len());
    let mut batch = None;
    for port in ports {
        let input = inputs.iter().find(|input| input.name == port.name);
        let tensor =
            input.map(|input| &input.tensor).ok_or_else(|| mismatch(port, batch, "nothing".to_owned()))?;
        match_input(port, tensor, &mut batch)?;
        ordered.push(tensor);
    }
    let rows = batch.unwrap_or(1);
    Limits::check("rows of this run", rows, limits.batch_max)?;
    Ok((ordered, rows))
}

fn match_input(port: &Port, tensor: &Tensor, batch: &mut Option<u64>) -> Result<(), Error> {
    let got = || format!("{} {:?}", tensor.dtype(), tensor.shape());
    let fits = tensor.dtype() == port.dtype
        && tensor.shape().len() == port.shape.len()
        && port.shape.iter().zip(tensor.shape()).all(|(dim, size)| match dim {
            Dim::Fixed(fixed) => fixed == size,
            Dim::Batch => *size > 0 && *batch.get_or_insert(*size) == *size,
        });
    if !fits {
        return Err(mismatch(port, *batch, got()));
    }
    match tensor.data() {
        TensorData::String(texts) if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) => {
            let expected = format!("texts of at most {TEXT_BYTES_MAX} bytes");
            Err(Error::Input { name: port.name.clone(), expected, got: "a longer one".to_owned() })
        }
        _ => Ok(()),
    }
}

fn mismatch(port: &Port, batch: Option<u64>, got: String) -> Error {
    let rows = batch.map_or(String::new(), |rows| format!(" with batch = {rows}"));
    Error::Input { name: port.name.clone(), expected: format!("{port}{rows}"), got }
}
