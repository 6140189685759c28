//! Elements taken by index.

use nabla_types::tensor::{Dtype, TensorData};

use super::copy::{Dim, fresh, steps, strides, walk};
use super::{indices, position};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};
use crate::plan::ValueType;

const INDICES: &[Dtype] = &[Dtype::I64, Dtype::I32];

/// Bytes that wide copies and checked positions of indices take.
pub(super) fn index_bytes(ty: &ValueType) -> u64 {
    ty.count().saturating_mul(16)
}

/// An input of indices.
pub(super) fn index_input<'a>(scope: &Scope<'a>, input: usize) -> Result<&'a ValueType, Fault> {
    scope.typed(input, INDICES, "INT64 or INT32")
}

/// Whole slices along `axis`.
pub(super) fn gather(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, chosen) = (scope.input(0)?, index_input(scope, 1)?);
    let at = scope.attributes.axis_or("axis", 0, x.rank())?;
    let shape = [&x.shape[..at], &chosen.shape, &x.shape[at + 1..]].concat();
    let output = scope.value(x.dtype, shape)?;
    let along = Along::new(&x.shape, at);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let positions = indices(call, 1)?;
        let positions = positions.iter().map(|index| position("index of Gather", *index, along.size));
        let positions = positions.collect::<Result<Vec<_>, _>>()?;
        take(call, 0, &along, &positions)
    });
    Ok(Prepared::one(output, kernel).scratch_bytes(index_bytes(chosen)))
}

/// A tensor as slices along one dimension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along {
    outer: usize,
    pub(super) size: usize,
    inner: usize,
}

impl Along {
    pub(super) fn new(shape: &[usize], at: usize) -> Self {
        let (outer, inner) = (shape[..at].iter().product(), shape[at + 1..].iter().product());
        Self { outer, size: shape[at], inner }
    }

    /// The elements of one slice.
    pub(super) fn slice<'x, T>(&self, x: &'x [T], at: usize) -> impl Iterator<Item = &'x T> {
        let Self { outer, size, inner } = *self;
        (0..outer).flat_map(move |slab| &x[(slab * size + at) * inner..][..inner])
    }
}

/// Slices at these positions of input 0, as output `output`. Positions are below the size.
pub(super) fn take(
    call: &Call<'_>,
    output: usize,
    along: &Along,
    positions: &[usize],
) -> Result<Vec<TensorData>, Fault> {
    let Along { outer, size, inner } = *along;
    dispatch!(call.input(0)?.dtype(), T => {
        let source = call.slice::<T>(0)?;
        let mut target = fresh::<T>(call, call.elements(output));
        let mut to = 0;
        for slab in 0..outer {
            let slab = &source[slab * size * inner..(slab + 1) * size * inner];
            if inner == 1 {
                for (element, at) in target[to..to + positions.len()].iter_mut().zip(positions) {
                    element.clone_from(&slab[*at]);
                }
                to += positions.len();
                continue;
            }
            for at in positions {
                target[to..to + inner].clone_from_slice(&slab[at * inner..(at + 1) * inner]);
                to += inner;
            }
        }
        Ok(vec![T::wrap(target)])
    })
}

/// The places in `data` that indices of shape `chosen` name along `axis`: dimensions to walk, and the step
/// along the axis.
pub(super) fn element_places(
    what: &'static str,
    data: &ValueType,
    chosen: &ValueType,
    at: usize,
) -> Result<(Vec<Dim>, usize), Fault> {
    let fits = |(dim, size): (usize, &usize)| dim == at || *size <= data.shape[dim];
    if chosen.rank() != data.rank() || !chosen.shape.iter().enumerate().all(fits) {
        let expected = format!("indices within {:?}, but for dimension {at}", data.shape);
        return Err(misfit(what, expected, chosen));
    }
    let (from, to) = (steps(&data.shape), strides(&chosen.shape));
    let dim = |dim: usize| {
        let from = if dim == at { 0 } else { from[dim] };
        Dim { size: chosen.shape[dim], from, to: to[dim] }
    };
    Ok(((0..data.rank()).map(dim).collect(), from[at].unsigned_abs()))
}

/// One element for each index.
pub(super) fn gather_elements(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    const WHAT: &str = "indices of GatherElements";
    scope.arity(2, 2, 1)?;
    let (x, chosen) = (scope.input(0)?, index_input(scope, 1)?);
    let at = scope.attributes.axis_or("axis", 0, x.rank())?;
    let (dims, step) = element_places(WHAT, x, chosen, at)?;
    let size = x.shape[at];
    let output = scope.value(x.dtype, chosen.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let chosen = indices(call, 1)?;
        dispatch!(call.input(0)?.dtype(), T => {
            let source = call.slice::<T>(0)?;
            let mut target = fresh::<T>(call, call.elements(0));
            let mut wrong = None;
            walk(&dims, 0, 0, |from, to| match position(WHAT, chosen[to], size) {
                Ok(at) => target[to].clone_from(&source[from + at * step]),
                Err(fault) => wrong = Some(fault),
            });
            wrong.map_or_else(|| Ok(vec![T::wrap(target)]), Err)
        })
    });
    Ok(Prepared::one(output, kernel).scratch_bytes(index_bytes(chosen)).macs(chosen.count()))
}

/// Slices of `data` that tuples of indices name: `dims` are the sizes and steps that a tuple counts in.
#[derive(Debug, Clone)]
pub(super) struct Tuples {
    what: &'static str,
    dims: Vec<(usize, usize)>,
    /// Tuples that share one batch entry, and the elements of such an entry.
    batch: (usize, usize),
    /// Elements of a slice.
    pub(super) width: usize,
}

impl Tuples {
    /// The last dimension of `chosen` is a tuple, which counts in `data` after `batch_dims` dimensions.
    pub(super) fn new(
        what: &'static str,
        data: &ValueType,
        chosen: &ValueType,
        batch_dims: usize,
    ) -> Result<Self, Fault> {
        let least = batch_dims + 1;
        let length = chosen.shape.last().copied().filter(|_| chosen.rank() >= least && data.rank() >= least);
        let length = length.filter(|length| (1..=data.rank() - batch_dims).contains(length));
        let same_batch =
            |length: &usize| *length > 0 && chosen.shape[..batch_dims] == data.shape[..batch_dims];
        let length = length.filter(same_batch).ok_or_else(|| {
            let expected = format!("tuples of indices into {:?} after {batch_dims} dimensions", data.shape);
            misfit(what, expected, chosen)
        })?;
        let end = batch_dims + length;
        let all = strides(&data.shape);
        let dims = (batch_dims..end).map(|dim| (data.shape[dim], all[dim])).collect();
        let tuples = chosen.shape[batch_dims..chosen.rank() - 1].iter().product();
        let batch = (tuples, data.shape[batch_dims..].iter().product());
        Ok(Self { what, dims, batch, width: data.shape[end..].iter().product() })
    }

    /// First element of each slice, in the order of the tuples.
    pub(super) fn places(&self, indices: &[i64]) -> Result<Vec<usize>, Fault> {
        let mut places = Vec::with_capacity(indices.len() / self.dims.len());
        for (tuple, indices) in indices.chunks_exact(self.dims.len()).enumerate() {
            let mut place = tuple / self.batch.0 * self.batch.1;
            for (index, (size, step)) in indices.iter().zip(&self.dims) {
                place += position(self.what, *index, *size)? * step;
            }
            places.push(place);
        }
        Ok(places)
    }
}

/// One slice for each tuple of indices.
pub(super) fn gather_nd(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, chosen) = (scope.input(0)?, scope.typed(1, &[Dtype::I64], "INT64")?);
    let batch_dims = scope.attributes.int_or("batch_dims", 0)?;
    let batch_dims = usize::try_from(batch_dims).ok().filter(|dims| *dims < x.rank().min(chosen.rank()));
    let batch_dims =
        batch_dims.ok_or_else(|| fault("batch_dims", "fewer than there are dimensions", "more"))?;
    let tuples = Tuples::new("indices of GatherND", x, chosen, batch_dims)?;
    let length = tuples.dims.len();
    let shape = [&chosen.shape[..chosen.rank() - 1], &x.shape[batch_dims + length..]].concat();
    let output = scope.value(x.dtype, shape)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let places = tuples.places(&indices(call, 1)?)?;
        dispatch!(call.input(0)?.dtype(), T => {
            let source = call.slice::<T>(0)?;
            let mut target = fresh::<T>(call, call.elements(0));
            if tuples.width > 0 {
                for (slice, place) in target.chunks_exact_mut(tuples.width).zip(&places) {
                    slice.clone_from_slice(&source[*place..place + tuples.width]);
                }
            }
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(output, kernel).scratch_bytes(index_bytes(chosen)).macs(chosen.count()))
}
