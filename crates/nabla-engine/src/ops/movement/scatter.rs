//! Elements put where indices say.
//!
//! # Rules
//! - Updates are done in row-major order of the indices; of several for one place the last wins, or each is
//!   taken up by the reduction in turn.
//! - f16 and bf16 are reduced in f32 and rounded once, when every update is done.

use nabla_types::tensor::{Dtype, TensorData};

use super::copy::{copied, walk};
use super::gather::{Tuples, element_places, index_bytes, index_input};
use super::number::{Number, greater, lesser};
use super::{indices, int, position};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};
use crate::plan::ValueType;

/// What an update does with the element that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reduction {
    Replace,
    Add,
    Multiply,
    Least,
    Greatest,
}

impl Reduction {
    fn read(scope: &Scope<'_>, dtype: Dtype) -> Result<Self, Fault> {
        let reduction = match scope.attributes.text_or("reduction", "none")? {
            "none" => return Ok(Self::Replace),
            "add" => Self::Add,
            "mul" => Self::Multiply,
            "min" => Self::Least,
            "max" => Self::Greatest,
            other => return Err(fault("reduction", "none, add, mul, min or max", other)),
        };
        if dtype == Dtype::String {
            return Err(fault("reduction", "none, for texts", "another"));
        }
        Ok(reduction)
    }

    fn apply<T: Number>(self, old: T::Wide, new: T::Wide) -> T::Wide {
        match self {
            Self::Replace => new,
            Self::Add => T::add(old, new),
            Self::Multiply => T::multiply(old, new),
            Self::Least => lesser(old, new),
            Self::Greatest => greater(old, new),
        }
    }

    /// Update runs of `width` elements: the n-th run of the updates goes to the n-th place.
    fn run(self, call: &Call<'_>, places: &[usize], width: usize) -> Result<Vec<TensorData>, Fault> {
        let dtype = call.input(0)?.dtype();
        if self == Self::Replace {
            return dispatch!(dtype, T => {
                let (data, updates) = (call.slice::<T>(0)?, call.slice::<T>(2)?);
                let mut target = copied(call, data);
                for (place, update) in places.iter().zip(updates.chunks_exact(width.max(1))) {
                    target[*place..place + width].clone_from_slice(update);
                }
                Ok(vec![T::wrap(target)])
            });
        }
        let none = Fault::Dtype { input: 0, expected: "numbers or truth values", got: dtype };
        dispatch!(dtype, T: [F32 F64 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 Bool] => {
            let (data, updates) = (call.slice::<T>(0)?, call.slice::<T>(2)?);
            Ok(vec![T::wrap(self.reduce(data, updates, places, width))])
        }, else Err(none))
    }

    fn reduce<T: Number>(self, data: &[T], updates: &[T], places: &[usize], width: usize) -> Vec<T> {
        let mut wide: Vec<T::Wide> = data.iter().map(|x| x.widen()).collect();
        for (place, update) in places.iter().zip(updates.chunks_exact(width.max(1))) {
            for (old, new) in wide[*place..place + width].iter_mut().zip(update) {
                *old = self.apply::<T>(*old, new.widen());
            }
        }
        wide.into_iter().map(T::narrow).collect()
    }
}

/// Bytes that indices, places and wide elements take.
fn scratch(data: &ValueType, chosen: &ValueType) -> u64 {
    index_bytes(chosen).saturating_add(data.count().saturating_mul(8))
}

/// An older name of `ScatterElements`.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every import")]
pub(super) fn import_scatter(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.rename("ScatterElements");
    Ok(())
}

/// One element for each index.
pub(super) fn scatter_elements(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    const WHAT: &str = "indices of ScatterElements";
    scope.arity(3, 3, 1)?;
    let (x, chosen) = (scope.input(0)?, index_input(scope, 1)?);
    let updates = scope.typed(2, &[x.dtype], "the type of the data")?;
    if updates.shape != chosen.shape {
        return Err(misfit(
            "updates of ScatterElements",
            format!("the indices' {:?}", chosen.shape),
            updates,
        ));
    }
    let at = scope.attributes.axis_or("axis", 0, x.rank())?;
    let reduction = Reduction::read(scope, x.dtype)?;
    let (dims, step) = element_places(WHAT, x, chosen, at)?;
    let size = x.shape[at];
    let kernel = FnKernel(move |call: &Call<'_>| {
        let chosen = indices(call, 1)?;
        let mut places = Vec::with_capacity(chosen.len());
        let mut wrong = None;
        walk(&dims, 0, 0, |from, to| match position(WHAT, chosen[to], size) {
            Ok(at) => places.push(from + at * step),
            Err(fault) => wrong = Some(fault),
        });
        wrong.map_or_else(|| reduction.run(call, &places, 1), Err)
    });
    let prepared = Prepared::one(x.clone(), kernel).macs(chosen.count().saturating_mul(2));
    Ok(prepared.scratch_bytes(scratch(x, chosen)))
}

/// One slice for each tuple of indices.
pub(super) fn scatter_nd(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let (x, chosen) = (scope.input(0)?, scope.typed(1, &[Dtype::I64], "INT64")?);
    let updates = scope.typed(2, &[x.dtype], "the type of the data")?;
    let tuples = Tuples::new("indices of ScatterND", x, chosen, 0)?;
    let length = chosen.shape.last().copied().unwrap_or(0);
    let expected = [&chosen.shape[..chosen.rank() - 1], &x.shape[length..]].concat();
    if updates.shape != expected {
        return Err(misfit("updates of ScatterND", format!("{expected:?}"), updates));
    }
    let reduction = Reduction::read(scope, x.dtype)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let places = tuples.places(&indices(call, 1)?)?;
        reduction.run(call, &places, tuples.width)
    });
    let macs = chosen.count().saturating_add(updates.count());
    Ok(Prepared::one(x.clone(), kernel).macs(macs).scratch_bytes(scratch(x, chosen)))
}

/// A run of new entries in each sequence of a cache.
pub(super) fn tensor_scatter(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let x = scope.input(0)?;
    let update = scope.typed(1, &[x.dtype], "the type of the cache")?;
    let at = scope.attributes.axis_or("axis", -2, x.rank())?;
    let circular = match scope.attributes.text_or("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(fault("mode", "linear or circular", other)),
    };
    let same =
        |(dim, size): (usize, &usize)| if dim == at { *size <= x.shape[dim] } else { *size == x.shape[dim] };
    if at == 0 || update.rank() != x.rank() || !update.shape.iter().enumerate().all(same) {
        let expected = format!("entries for a cache of {:?}, along a dimension after the first", x.shape);
        return Err(misfit("update of TensorScatter", expected, update));
    }
    if scope.optional(2).is_some() {
        let starts = index_input(scope, 2)?;
        if starts.shape != x.shape[..1] {
            return Err(misfit(
                "write indices of TensorScatter",
                format!("one for each of {} rows", x.shape[0]),
                starts,
            ));
        }
    }
    let (rows, size, new) = (x.shape[1..at].iter().product::<usize>(), x.shape[at], update.shape[at]);
    let width: usize = x.shape[at + 1..].iter().product();
    let batch = x.shape[0];
    let kernel = FnKernel(move |call: &Call<'_>| {
        let starts = if call.optional(2).is_some() { indices(call, 2)? } else { vec![0; batch].into() };
        let starts = starts.iter().map(|start| first_entry(*start, size, new, circular));
        let starts = starts.collect::<Result<Vec<_>, _>>()?;
        dispatch!(call.input(0)?.dtype(), T => {
            let mut target = copied(call, call.slice::<T>(0)?);
            let mut entries = call.slice::<T>(1)?.chunks_exact(width.max(1));
            for (row, start) in starts.iter().flat_map(|start| (0..rows).map(move |_| start)).enumerate() {
                for entry in 0..new {
                    let Some(values) = entries.next() else { break };
                    // The start is below the size, and so is the number of entries' last index.
                    let to = (row * size + (start + entry) % size) * width;
                    target[to..to + width].clone_from_slice(values);
                }
            }
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(x.clone(), kernel).macs(update.count()).scratch_bytes(int(batch).unsigned_abs() * 24))
}

/// Where the first of `new` entries goes in a sequence of `size`.
fn first_entry(start: i64, size: usize, new: usize, circular: bool) -> Result<usize, Fault> {
    if size == 0 || new == 0 {
        return Ok(0);
    }
    let from = if circular { start.rem_euclid(int(size)) } else { start };
    usize::try_from(from).ok().filter(|from| circular || *from <= size - new).ok_or_else(|| Fault::Shape {
        what: "write index of TensorScatter",
        expected: format!("an index from 0 to {}", size - new),
        got: start.to_string(),
    })
}
