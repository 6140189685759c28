//! Elements chosen by value: the greatest, the different, those that are not zero.
//!
//! # Rules
//! - Texts are ordered by their bytes, `false` before `true`, `-0` equals `0`, and every NaN equals every
//!   other.
//! - Of equal elements the one with the lower index comes first.

use std::cmp::Ordering;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::gather::{Along, take};
use super::number::order;
use super::{afford, int};
use crate::Fault;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, axis, dispatch, misfit};
use crate::plan::ValueType;

/// Steps of a sort per element, about.
const SORT_MACS: u64 = 32;

/// Slices along `axis`, or elements, whose condition holds.
pub(super) fn compress(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let chosen = scope.typed(1, &[Dtype::Bool], "BOOL")?;
    let condition = scope.constant(1, "condition")?;
    let (along, at) = axis_or_flat(scope, x)?;
    let given = <bool as Element>::slice(condition.data()).unwrap_or_default();
    let positions: Vec<usize> = (0..given.len()).filter(|at| given[*at]).collect();
    if chosen.rank() != 1 || positions.last().is_some_and(|last| *last >= along.size) {
        return Err(misfit("condition of Compress", format!("at most {} truth values", along.size), chosen));
    }
    let mut shape = at.map_or(vec![0], |_| x.shape.clone());
    shape[at.unwrap_or(0)] = positions.len();
    let output = scope.value(x.dtype, shape)?;
    Ok(Prepared::one(output, FnKernel(move |call: &Call<'_>| take(call, 0, &along, &positions))))
}

/// The input along the attribute `axis`, or flat if there is none.
fn axis_or_flat(scope: &Scope<'_>, x: &ValueType) -> Result<(Along, Option<usize>), Fault> {
    if scope.attributes.has("axis") {
        let at = axis("axis", scope.attributes.int("axis")?, x.rank())?;
        return Ok((Along::new(&x.shape, at), Some(at)));
    }
    Ok((Along::new(&[x.elements()], 0), None))
}

/// Indices of what is not zero, one row for each dimension.
pub(super) fn non_zero(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    fn places<T: Element + PartialEq>(data: &TensorData) -> impl Iterator<Item = usize> {
        let elements = T::slice(data).unwrap_or_default();
        let zero = T::default();
        elements.iter().enumerate().filter(move |(_, x)| **x != zero).map(|(at, _)| at)
    }
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let tensor = scope.constant(0, "input, whose values settle the size of the output")?;
    let count = dispatch!(x.dtype, T => places::<T>(tensor.data()).count());
    let output = scope.value(Dtype::I64, vec![x.rank(), count])?;
    let shape = x.shape.clone();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut target = vec![0_i64; shape.len() * count];
        let data = call.input(0)?.data();
        dispatch!(data.dtype(), T => for (column, place) in places::<T>(data).take(count).enumerate() {
            let mut place = place;
            for (row, size) in shape.iter().enumerate().rev() {
                target[row * count + column] = int(place % size);
                place /= size;
            }
        });
        Ok(vec![TensorData::I64(target)])
    });
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(2)))
}

/// `k` is an attribute before opset 10 and an input since.
pub(super) fn import_top_k(upload: &mut Upload<'_>) -> Result<(), Fault> {
    match upload.take_int("k")? {
        Some(k) => upload.set_input("k", 1, Tensor::i64(&[1], vec![k])?),
        None => Ok(()),
    }
}

/// The greatest (or least) `k` along an axis, in order; NaN after all else.
pub(super) fn top_k(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(2, 2, 1, 2)?;
    let x = scope.input(0)?;
    let at = scope.attributes.axis_or("axis", -1, x.rank())?;
    let largest = scope.attributes.flag_or("largest", true)?;
    // An order that may be any is the sorted one.
    scope.attributes.flag_or("sorted", true)?;
    let k: i64 = scope.scalar(1, "k")?;
    let k = usize::try_from(k).ok().filter(|k| *k <= x.shape[at]);
    let k = k.ok_or_else(|| misfit("input of TopK", format!("at least k elements along axis {at}"), x))?;
    if x.dtype == Dtype::String || x.dtype == Dtype::Bool {
        return Err(Fault::Dtype { input: 0, expected: "numbers", got: x.dtype });
    }
    let mut shape = x.shape.clone();
    shape[at] = k;
    let values = scope.value(x.dtype, shape.clone())?;
    let places = scope.value(Dtype::I64, shape)?;
    let lane = (x.shape[at], x.shape[at + 1..].iter().product::<usize>());
    let both = scope.outputs == 2;
    let outputs = if both { vec![values, places] } else { vec![values] };
    let kernel = FnKernel(move |call: &Call<'_>| {
        dispatch!(call.input(0)?.dtype(), T => {
            let (values, places) = top::<T>(call.slice(0)?, lane, k, largest);
            let mut outputs = vec![T::wrap(values), TensorData::I64(places)];
            outputs.truncate(if both { 2 } else { 1 });
            Ok(outputs)
        })
    });
    let macs = x.count().saturating_mul(SORT_MACS);
    Ok(Prepared::new(outputs, kernel).macs(macs).scratch_bytes(lane.0 as u64 * 8 + x.count()))
}

/// Values and places of the first `k` of each lane of `size` elements, `inner` apart.
fn top<T: Element + PartialOrd>(
    x: &[T],
    (size, inner): (usize, usize),
    k: usize,
    largest: bool,
) -> (Vec<T>, Vec<i64>) {
    let lanes = x.len().checked_div(size).unwrap_or(0);
    let mut values = vec![T::default(); lanes * k];
    let mut places = vec![0_i64; lanes * k];
    if k == 0 {
        return (values, places);
    }
    let mut order_of: Vec<usize> = Vec::with_capacity(size);
    for lane in 0..lanes {
        let (slab, offset) = (lane / inner, lane % inner);
        let at = |index: usize| &x[(slab * size + index) * inner + offset];
        let first = |a: &usize, b: &usize| ranked(at(*a), at(*b), largest).then(a.cmp(b));
        order_of.clear();
        order_of.extend(0..size);
        if k < size {
            order_of.select_nth_unstable_by(k - 1, first);
        }
        order_of[..k].sort_unstable_by(first);
        for (rank, index) in order_of[..k].iter().enumerate() {
            let to = (slab * k + rank) * inner + offset;
            values[to].clone_from(at(*index));
            places[to] = int(*index);
        }
    }
    (values, places)
}

/// The better one first; a NaN is never better.
fn ranked<T: PartialOrd>(a: &T, b: &T, largest: bool) -> Ordering {
    match a.partial_cmp(b) {
        Some(ordering) if largest => ordering.reverse(),
        Some(ordering) => ordering,
        None => order(a, b),
    }
}

/// What is different, where it first stood, which one each element is, and how often each stood.
#[derive(Debug)]
struct Groups {
    first: Vec<usize>,
    member: Vec<i64>,
    count: Vec<i64>,
}

impl Groups {
    /// Slices of a tensor, sorted, or in the order in which they first stood.
    fn of<T: Element + PartialOrd>(x: &[T], along: &Along, sorted: bool) -> Self {
        let compare = |a: &usize, b: &usize| {
            let (mut a, mut b) = (along.slice(x, *a), along.slice(x, *b));
            loop {
                match (a.next(), b.next()) {
                    (Some(a), Some(b)) => match order(a, b) {
                        Ordering::Equal => {}
                        other => return other,
                    },
                    _ => return Ordering::Equal,
                }
            }
        };
        let mut all: Vec<usize> = (0..along.size).collect();
        all.sort_unstable_by(|a, b| compare(a, b).then(a.cmp(b)));
        let mut groups: Vec<&[usize]> = all.chunk_by(|a, b| compare(a, b) == Ordering::Equal).collect();
        if !sorted {
            groups.sort_unstable_by_key(|group| group[0]);
        }
        let mut member = vec![0; along.size];
        for (group, members) in groups.iter().enumerate() {
            for at in *members {
                member[*at] = int(group);
            }
        }
        let first = groups.iter().map(|group| group[0]).collect();
        Self { first, member, count: groups.iter().map(|group| int(group.len())).collect() }
    }
}

/// The different elements, or slices along `axis`.
pub(super) fn unique(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 1, 1, 4)?;
    let x = scope.input(0)?;
    let sorted = scope.attributes.flag_or("sorted", true)?;
    let (along, at) = axis_or_flat(scope, x)?;
    let tensor = scope.constant(0, "input, whose values settle the size of the output")?;
    let macs = x.count().max(along.size as u64).saturating_mul(SORT_MACS);
    let scratch = (along.size as u64).saturating_mul(64);
    afford(scope.limits, macs, scratch)?;
    let groups = dispatch!(x.dtype, T => {
        Groups::of::<T>(T::slice(tensor.data()).unwrap_or_default(), &along, sorted)
    });
    let mut shape = at.map_or(vec![0], |_| x.shape.clone());
    shape[at.unwrap_or(0)] = groups.first.len();
    let mut outputs = vec![scope.value(x.dtype, shape)?];
    for count in [groups.first.len(), groups.member.len(), groups.count.len()] {
        outputs.push(scope.value(Dtype::I64, vec![count])?);
    }
    let count = scope.outputs;
    outputs.truncate(count);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut outputs = take(call, 0, &along, &groups.first)?;
        outputs.push(TensorData::I64(groups.first.iter().map(|at| int(*at)).collect()));
        outputs.push(TensorData::I64(groups.member.clone()));
        outputs.push(TensorData::I64(groups.count.clone()));
        outputs.truncate(count);
        Ok(outputs)
    });
    Ok(Prepared::new(outputs, kernel).macs(macs).scratch_bytes(scratch))
}
