//! The seam between the network and whatever runs a model, and our implementation of it.
//!
//! # Rules
//! - A [`Session`] answers the same inputs with the same bits, whoever calls it and however often.
//! - Inputs may come in any order; all of them must be there, and no others.
//! - Outputs come in the model's order.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::kernels::{Cpu, check_float_mode, pin_nan};
use crate::limits::TEXT_BYTES_MAX;
use crate::plan::{Kept, Plan, Pool, Program, Residents, Weights};
use crate::{Dim, Error, Interface, Kernels, Limits, Model, Port, Symbol};

/// Version of `spec/kernels.md` that defines the bits of every result.
pub const KERNEL_SPEC: u32 = 2;
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

    /// What the model takes, gives and costs.
    fn interface(&self) -> &Interface;

    /// Bytes of memory that the session keeps between runs: weights, and their order for the kernels.
    fn resident_bytes(&self) -> u64;
}

/// The deterministic CPU engine.
#[derive(Debug, Clone)]
pub struct Engine {
    cpu: Cpu,
}

impl Engine {
    /// An engine that uses these kernels on one thread. The choice changes speed, never bits.
    ///
    /// # Errors
    /// [`Error::Kernels`] if the processor cannot run them; [`Kernels::Auto`] and [`Kernels::Scalar`] never fail.
    pub fn new(kernels: Kernels) -> Result<Self, Error> {
        Self::with_threads(kernels, 1)
    }

    /// An engine whose runs share this many threads. The number changes speed, never bits.
    ///
    /// # Errors
    /// As [`Engine::new`]; and if the threads cannot be started.
    pub fn with_threads(kernels: Kernels, threads: usize) -> Result<Self, Error> {
        Ok(Self { cpu: Cpu::new(kernels, threads)? })
    }

    pub(crate) fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Name of the kernels in use, for example `avx2` or `scalar`.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        self.cpu.isa().name()
    }
}

impl Runtime for Engine {
    fn prepare(&self, model: Arc<Model>) -> Result<Arc<dyn Session>, Error> {
        check_float_mode()?;
        Ok(Arc::new(EngineSession::new(&self.cpu, &model)?))
    }

    fn name(&self) -> &str {
        RUNTIME
    }

    fn kernel_spec(&self) -> u32 {
        KERNEL_SPEC
    }
}

/// Most plans that a session keeps, for the sizes used last.
const PLANS_MAX: usize = 8;

pub(crate) struct EngineSession {
    cpu: Cpu,
    interface: Arc<Interface>,
    kept: Kept,
    resident_bytes: u64,
    /// Plans by the sizes of the symbols, the one used last at the end.
    plans: Mutex<Vec<(Vec<u64>, Arc<Plan>)>>,
    pools: Mutex<Vec<Pool>>,
}

impl Debug for EngineSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineSession").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

impl EngineSession {
    /// A model whose weights are all in memory.
    fn new(cpu: &Cpu, model: &Model) -> Result<Self, Error> {
        let interface = model.interface();
        let weights = model.weights().iter().cloned().map(Some).collect();
        let mut residents = Residents::new(cpu, interface, weights);
        for node in 0..interface.graph().nodes.len() {
            residents.advance(node)?;
        }
        Ok(Self::of(cpu.clone(), interface.clone(), residents.finish()))
    }

    /// A session over what was made, or read, before.
    pub(crate) fn of(cpu: Cpu, interface: Arc<Interface>, kept: Kept) -> Self {
        let resident_bytes = kept.bytes();
        let (plans, pools) = (Mutex::default(), Mutex::default());
        Self { cpu, interface, kept, resident_bytes, plans, pools }
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    fn program(&self) -> Program<'_> {
        Program {
            cpu: &self.cpu,
            graph: self.interface.graph(),
            weights: Weights::Kept(&self.kept.weights),
            weight_types: self.interface.weight_types(),
            statics: &self.kept.statics,
            packed: &self.kept.packed,
            limits: self.interface.limits(),
        }
    }

    /// The plan for these sizes; made and checked against the limits when they are new.
    fn plan(&self, sizes: Vec<u64>) -> Result<Arc<Plan>, Error> {
        let lock = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut plans = lock();
            if let Some(at) = plans.iter().position(|(other, _)| *other == sizes) {
                let found = plans.remove(at);
                let plan = found.1.clone();
                plans.push(found);
                return Ok(plan);
            }
        }
        let limits = self.interface.limits();
        let plan = Arc::new(Plan::build(&self.program(), self.interface.input_types(&sizes)?)?);
        Limits::check("multiply-adds of this run", plan.macs(), limits.macs_max)?;
        Limits::check("peak bytes of this run", plan.peak_bytes(), limits.peak_bytes_max)?;
        let mut plans = lock();
        if plans.len() >= PLANS_MAX {
            plans.remove(0);
        }
        plans.push((sizes, plan.clone()));
        Ok(plan)
    }
}

impl Session for EngineSession {
    fn run(&self, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Error> {
        check_float_mode()?;
        let (ordered, sizes) = match_inputs(&self.interface, inputs)?;
        let plan = self.plan(sizes)?;
        let lock = || self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = lock().pop().unwrap_or_default();
        let values = plan.run(&self.program(), &ordered, &pool);
        lock().push(pool);
        let named = self.interface.outputs().into_iter().zip(values?);
        named.map(|(port, value)| output(port, value)).collect()
    }

    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }
}

/// A named output; its type must be the one that the model states.
fn output(port: &Port, value: Tensor) -> Result<NamedTensor, Error> {
    if value.dtype() != port.dtype {
        let problem = "an output has another type than the file states";
        return Err(Error::Graph { problem, name: port.name.clone() });
    }
    Ok(NamedTensor::new(port.name.clone(), pin_nan(value)))
}

/// Inputs in the model's order, and the sizes of the symbols.
fn match_inputs<'t>(
    model: &Interface,
    inputs: &'t [NamedTensor],
) -> Result<(Vec<&'t Tensor>, Vec<u64>), Error> {
    let ports = model.inputs();
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
    let mut chosen = vec![None; model.symbols().len()];
    for port in ports {
        let input = inputs.iter().find(|input| input.name == port.name);
        let tensor = input
            .map(|input| &input.tensor)
            .ok_or_else(|| mismatch(model, port, &chosen, "nothing".to_owned()))?;
        match_input(model, port, tensor, &mut chosen)?;
        ordered.push(tensor);
    }
    Ok((ordered, chosen.into_iter().map(|size| size.unwrap_or(1)).collect()))
}

fn match_input(
    model: &Interface,
    port: &Port,
    tensor: &Tensor,
    chosen: &mut [Option<u64>],
) -> Result<(), Error> {
    let got = || format!("{} {:?}", tensor.dtype(), tensor.shape());
    let mut fits = tensor.dtype() == port.dtype && tensor.shape().len() == port.shape.len();
    for (dim, size) in port.shape.iter().zip(tensor.shape()) {
        fits &= match dim {
            Dim::Fixed(fixed) => fixed == size,
            Dim::Unknown => false,
            Dim::Symbol(name) => {
                let symbols = model.symbols();
                let at = symbols.iter().position(|symbol| symbol.name == *name);
                at.is_some_and(|at| {
                    let bound = *chosen[at].get_or_insert(*size);
                    *size > 0 && *size <= symbols[at].max && bound == *size
                })
            }
        };
    }
    if !fits {
        return Err(mismatch(model, port, chosen, got()));
    }
    match tensor.data() {
        TensorData::String(texts) if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) => {
            let expected = format!("texts of at most {TEXT_BYTES_MAX} bytes");
            Err(Error::Input { name: port.name.clone(), expected, got: "a longer one".to_owned() })
        }
        _ => Ok(()),
    }
}

fn mismatch(model: &Interface, port: &Port, chosen: &[Option<u64>], got: String) -> Error {
    let stands = |symbol: &Symbol| port.shape.contains(&Dim::Symbol(symbol.name.clone()));
    let bound = |(symbol, size): (&Symbol, &Option<u64>)| match size {
        Some(size) if *size > 0 && *size <= symbol.max => format!("{} = {size}", symbol.name),
        _ => format!("{} from 1 to {}", symbol.name, symbol.max),
    };
    let bounds: Vec<_> =
        model.symbols().iter().zip(chosen).filter(|(symbol, _)| stands(symbol)).map(bound).collect();
    let with = if bounds.is_empty() { String::new() } else { format!(" with {}", bounds.join(", ")) };
    Error::Input { name: port.name.clone(), expected: format!("{port}{with}"), got }
}
