//! Loading a model whose weights arrive while earlier ones are packed.
//!
//! # Rules
//! - Small weights, and all that a plan may look at, are read first; the graph is checked with them as a
//!   whole. The other weights are read in the order in which nodes take them, a bounded number of bytes
//!   ahead, and forgotten when they are packed.
//! - What comes out is, bit for bit, what [`crate::Engine`] makes of the same model in memory.
//!
//! # When things go wrong
//! A reader that fails, ends early or panics ends the load with an error; so does a model that is refused.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use bytemuck::Pod;
use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{CacheError, Parts, ReadAt};
use crate::graph::wire::{self, Place, WeightHead};
use crate::graph::{Graph, Ref};
use crate::kernels::Cpu;
use crate::model::check_graph;
use crate::ops::sizes;
use crate::plan::{self, Program, Residents, ValueType, packable};
use crate::runtime::EngineSession;
use crate::{Error, Interface, Limits};

/// A weight up to here is read before the graph is planned.
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are read ahead of the node at work; a larger weight is read alone.
pub(super) const AHEAD_BYTES_MAX: u64 = 32 << 20;
/// Bytes of one call of [`ReadAt::read_at`].
const READ_BYTES_MAX: u64 = 8 << 20;

/// Told how many bytes the load holds, whenever that has grown; refuses what does not fit.
pub(super) type Charge<'a> = &'a mut dyn FnMut(u64) -> Result<(), CacheError>;

/// What a load must have before it begins; known without reading.
pub(super) fn first_charge(parts: &Parts, limits: &Limits) -> Result<u64, Error> {
    let (graph, weights) = (parts.graph.len() as u64, parts.weights.size_bytes());
    Limits::check("bytes of the graph", graph, limits.file_bytes_max)?;
    Limits::check("bytes of weights", weights, limits.weight_bytes_max)?;
    Ok(graph.saturating_add(weights))
}

/// Make a session of a model.
pub(super) fn load(
    cpu: &Cpu,
    parts: &Parts,
    limits: &Limits,
    planned: &dyn Fn(),
    charge: Charge<'_>,
) -> Result<EngineSession, CacheError> {
    let (graph, heads) = wire::decode_graph(&parts.graph, limits)?;
    wire::check_canonical(&graph, &heads, &parts.graph)?;
    let places = wire::places(&heads, parts.weights.size_bytes())?;
    let source = Weights { bytes: &*parts.weights, heads: &heads, places: &places };
    let (interface, constants, late) = plan(cpu, graph, &source, limits)?;
    planned();
    let order = order(&interface, &late);
    let residents = Residents::new(cpu, &interface, constants);
    let window = Window::default();
    let kept = thread::scope(|scope| {
        let (sender, receiver) = channel();
        let (source, order, window) = (&source, &order, &window);
        let reader = thread::Builder::new()
            .name("nabla-read-ahead".to_owned())
            .spawn_scoped(scope, move || read_ahead(source, order, window, &sender))
            .map_err(|source| CacheError::Thread { source: Arc::new(source) })?;
        let arrivals = Arrivals { receiver, window, late: &late, source };
        let kept = work(residents, &interface, arrivals, charge);
        // A panic of the reader is the caller's code failing, not ours.
        reader.join().map_err(|_| CacheError::Abandoned)?;
        kept
    })?;
    Ok(EngineSession::of(cpu.clone(), Arc::new(interface), kept))
}

/// The weights of a model, on their way.
struct Weights<'a> {
    bytes: &'a dyn ReadAt,
    heads: &'a [WeightHead],
    places: &'a [Place],
}

type Planned = (Interface, Vec<Option<Arc<Tensor>>>, Vec<bool>);

/// The model's interface, the weights that were read to find it, and which are left for later.
fn plan(cpu: &Cpu, graph: Graph, source: &Weights<'_>, limits: &Limits) -> Result<Planned, CacheError> {
    let count = source.heads.len();
    // Before anything is sized by what the graph claims.
    check_graph(&graph, count, limits)?;
    let ty = |head: &WeightHead| ValueType { dtype: head.dtype, shape: sizes(&head.shape) };
    let types: Vec<ValueType> = source.heads.iter().map(ty).collect();
    let large = |place: &Place| place.length.is_some_and(|length| length > SMALL_BYTES_MAX);
    let mut late = packable(&graph, count);
    late.iter_mut().zip(source.places).for_each(|(late, place)| *late &= large(place));
    let mut constants = vec![None; count];
    loop {
        for (index, constant) in constants.iter_mut().enumerate() {
            if !late[index] && constant.is_none() {
                *constant = Some(Arc::new(source.read(index)?));
            }
        }
        let total = source.bytes.size_bytes();
        let found = Interface::of_stored(graph.clone(), types.clone(), constants.clone(), total, limits);
        let waits = late.contains(&true);
        match found {
            // What a plan makes of types alone may be wrong; the weights decide.
            Err(_) if waits => late.fill(false),
            Err(error) => return Err(error.into()),
            Ok((interface, plans)) => {
                let program = Program {
                    cpu,
                    graph: interface.graph(),
                    weights: plan::Weights::Kept(&constants),
                    weight_types: interface.weight_types(),
                    statics: &[],
                    packed: &[],
                    limits,
                };
                let missed = plans.map(|plan| plan.missed(&program, &late));
                let missed: Vec<bool> = missed[0].iter().zip(&missed[1]).map(|(a, b)| *a || *b).collect();
                if !missed.contains(&true) {
                    return Ok((interface, constants, late));
                }
                late.iter_mut().zip(missed).for_each(|(late, missed)| *late &= !missed);
            }
        }
    }
}

/// Late weights in the order in which nodes first take them.
fn order(interface: &Interface, late: &[bool]) -> Vec<usize> {
    let mut seen = vec![false; late.len()];
    let mut order = Vec::new();
    for source in interface.graph().nodes.iter().flat_map(|node| &node.inputs) {
        if let Ref::Weight(index) = source {
            let index = *index as usize;
            if late.get(index) == Some(&true) && !std::mem::replace(&mut seen[index], true) {
                order.push(index);
            }
        }
    }
    order
}

/// Work through the nodes; each waits for the weights that it is the first to take.
fn work(
    mut residents: Residents<'_>,
    interface: &Interface,
    mut arrivals: Arrivals<'_>,
    charge: Charge<'_>,
) -> Result<crate::plan::Kept, CacheError> {
    let mut given = vec![false; arrivals.late.len()];
    for (index, node) in interface.graph().nodes.iter().enumerate() {
        for source in &node.inputs {
            let Ref::Weight(weight) = source else { continue };
            let weight = *weight as usize;
            if arrivals.late[weight] && !std::mem::replace(&mut given[weight], true) {
                residents.give(weight, arrivals.next(weight)?);
            }
        }
        residents.advance(index)?;
        charge(residents.live_bytes().saturating_add(arrivals.window.bytes()))?;
    }
    Ok(residents.finish())
}

/// Bytes between the reader and the node at work.
#[derive(Default)]
struct Window {
    state: Mutex<WindowState>,
    changed: Condvar,
}

#[derive(Default)]
struct WindowState {
    ahead_bytes: u64,
    closed: bool,
}

impl Window {
    fn lock(&self) -> std::sync::MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> u64 {
        self.lock().ahead_bytes
    }

    /// Wait until so many bytes fit, or nothing else is there; `false` if nobody wants them any more.
    fn enter(&self, bytes: u64) -> bool {
        let full = |state: &mut WindowState| {
            !state.closed
                && state.ahead_bytes > 0
                && state.ahead_bytes.saturating_add(bytes) > AHEAD_BYTES_MAX
        };
        let mut state = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.ahead_bytes = state.ahead_bytes.saturating_add(bytes);
        !state.closed
    }

    fn leave(&self, bytes: u64) {
        let mut state = self.lock();
        state.ahead_bytes = state.ahead_bytes.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

type Arrival = Result<Arc<Tensor>, CacheError>;

/// Where weights come out, in order. Dropped, it ends the reader.
struct Arrivals<'a> {
    receiver: Receiver<Arrival>,
    window: &'a Window,
    late: &'a [bool],
    source: &'a Weights<'a>,
}

impl Arrivals<'_> {
    fn next(&mut self, index: usize) -> Arrival {
        let arrival = self.receiver.recv().map_err(|_| CacheError::Abandoned)?;
        self.window.leave(self.source.places[index].size());
        arrival
    }
}

impl Drop for Arrivals<'_> {
    fn drop(&mut self) {
        self.window.close();
    }
}

fn read_ahead(source: &Weights<'_>, order: &[usize], window: &Window, sender: &Sender<Arrival>) {
    for index in order {
        if !window.enter(source.places[*index].size()) {
            return;
        }
        let arrival = source.read(*index).map(Arc::new);
        let failed = arrival.is_err();
        if sender.send(arrival).is_err() || failed {
            return;
        }
    }
}

impl Weights<'_> {
    /// Read one weight; elements of plain types go straight to where they stay.
    fn read(&self, index: usize) -> Result<Tensor, CacheError> {
        let (head, place) = (&self.heads[index], &self.places[index]);
        let plain = if cfg!(target_endian = "little") { place.length } else { None };
        let data = match (head.dtype, plain) {
            (Dtype::F32, Some(length)) => TensorData::F32(self.elements(place, length)?),
            (Dtype::F64, Some(length)) => TensorData::F64(self.elements(place, length)?),
            (Dtype::I64, Some(length)) => TensorData::I64(self.elements(place, length)?),
            (Dtype::I32, Some(length)) => TensorData::I32(self.elements(place, length)?),
            (Dtype::I8, Some(length)) => TensorData::I8(self.elements(place, length)?),
            (Dtype::U8, Some(length)) => TensorData::U8(self.elements(place, length)?),
            _ => {
                let mut bytes = vec![0; index_of(place.size())];
                self.fill(place.start, &mut bytes)?;
                return Ok(wire::decode_weight(index, head, place, &bytes)?);
            }
        };
        let tensor = Tensor::new(head.shape.clone(), data);
        let fault = |error| Error::Constant {
            name: format!("weight {index}"),
            fault: Box::new(crate::Fault::from(error)),
        };
        Ok(tensor.map_err(fault)?)
    }

    fn elements<T: Pod>(&self, place: &Place, length: u64) -> Result<Vec<T>, CacheError> {
        let mut elements = vec![T::zeroed(); index_of(length) / size_of::<T>()];
        self.fill(place.start, bytemuck::cast_slice_mut(&mut elements))?;
        let start = place.start.saturating_add(length);
        let mut padding = vec![0; index_of(place.end.saturating_sub(start))];
        self.fill(start, &mut padding)?;
        wire::check_padding(&padding)?;
        Ok(elements)
    }

    fn fill(&self, mut offset: u64, into: &mut [u8]) -> Result<(), CacheError> {
        for piece in into.chunks_mut(index_of(READ_BYTES_MAX)) {
            let length = piece.len() as u64;
            let failed = |source| CacheError::Read { offset, length, source: Arc::new(source) };
            self.bytes.read_at(offset, piece).map_err(failed)?;
            offset = offset.saturating_add(length);
        }
        Ok(())
    }
}

/// A size that was checked against the limits on weights.
fn index_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
