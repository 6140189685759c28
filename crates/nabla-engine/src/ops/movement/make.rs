//! Operators that make elements, or keep some and clear or turn round the others.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, Tensor};

use super::copy::{copied, fresh};
use super::gather::index_input;
use super::number::Number;
use super::{indices, int, sizes_input};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::ops::identity::dtype_attribute;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};

/// The value is a tensor in an attribute; the canonical node has it as its second input.
pub(super) fn import_constant_of_shape(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let value = match upload.take_tensor("value") {
        Some(value) => Tensor::clone(&value),
        None => Tensor::f32(&[1], vec![0.0])?,
    };
    upload.set_input("value", 1, value)
}

/// One value everywhere.
pub(super) fn constant_of_shape(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let value = scope.input(1)?;
    if value.elements() != 1 {
        return Err(misfit("value of ConstantOfShape", "one element", value));
    }
    let output = scope.value(value.dtype, sizes_input(scope, 0, "shape")?)?;
    let kernel = FnKernel(|call: &Call<'_>| {
        dispatch!(call.input(1)?.dtype(), T => {
            let value = call.slice::<T>(1)?.first().cloned().unwrap_or_default();
            let mut target = fresh::<T>(call, call.elements(0));
            target.fill(value);
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(output, kernel))
}

/// Ones on a diagonal, zeros elsewhere.
pub(super) fn eye_like(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let dtype = dtype_attribute(scope, "dtype", Some(x.dtype))?;
    let diagonal = scope.attributes.int_or("k", 0)?;
    let [rows, columns] = *x.shape.as_slice() else {
        return Err(misfit("input of EyeLike", "two dimensions", x));
    };
    let output = scope.value(dtype, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let none = fault("dtype", "numbers or truth values", dtype.name());
        dispatch!(dtype, T: [F32 F64 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 Bool] => {
            let mut target = vec![T::default(); call.elements(0)];
            for row in 0..rows {
                let column = usize::try_from(int(row).saturating_add(diagonal)).ok();
                if let Some(column) = column.filter(|column| *column < columns) {
                    target[row * columns + column] = T::ONE;
                }
            }
            Ok(vec![T::wrap(target)])
        }, else Err(none))
    });
    Ok(Prepared::one(output, kernel))
}

/// The one number of a known input, as an integer.
fn known_int(scope: &Scope<'_>, input: usize, what: &'static str) -> Result<i64, Fault> {
    let dtype = scope.input(input)?.dtype;
    dispatch!(dtype, T: number => scope.scalar::<T>(input, what).map(Number::to_i64),
        else Err(Fault::Dtype { input, expected: "a number", got: dtype }))
}

/// For each index a row of `depth` values, one of which is on.
pub(super) fn one_hot(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let (chosen, values) = (scope.input(0)?, scope.input(2)?);
    let got = chosen.dtype;
    if got == Dtype::String || got == Dtype::Bool {
        return Err(Fault::Dtype { input: 0, expected: "numbers", got });
    }
    if values.shape != [2] {
        return Err(misfit("values of OneHot", "[off, on]", values));
    }
    let at = scope.attributes.axis_or("axis", -1, chosen.rank() + 1)?;
    let given = known_int(scope, 1, "depth")?;
    let depth = usize::try_from(given).ok().filter(|depth| *depth > 0);
    let depth = depth.ok_or_else(|| fault("depth", "at least one class", &given.to_string()))?;
    let mut shape = chosen.shape.clone();
    shape.insert(at, depth);
    let output = scope.value(values.dtype, shape)?;
    let inner: usize = chosen.shape[at..].iter().product();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let wide: Vec<i64> = dispatch!(got, T: number => {
            call.slice::<T>(0)?.iter().map(|index| index.to_i64()).collect()
        }, else Vec::new());
        let hot = Hot { depth, inner };
        dispatch!(call.input(2)?.dtype(), T => {
            let mut target = fresh::<T>(call, call.elements(0));
            hot.write(&wide, call.slice::<T>(2)?, &mut target);
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(output, kernel).scratch_bytes(chosen.count().saturating_mul(8)).macs(chosen.count()))
}

/// Rows of `depth` classes, elements of one row `inner` apart.
#[derive(Debug, Clone, Copy)]
struct Hot {
    depth: usize,
    inner: usize,
}

impl Hot {
    fn write<T: Clone>(self, indices: &[i64], values: &[T], target: &mut [T]) {
        let [off, on] = values else { return };
        target.fill(off.clone());
        for (place, index) in indices.iter().enumerate() {
            let class = if *index < 0 { index.saturating_add(int(self.depth)) } else { *index };
            if let Some(class) = usize::try_from(class).ok().filter(|class| *class < self.depth) {
                let row = place / self.inner * self.depth + class;
                target[row * self.inner + place % self.inner].clone_from(on);
            }
        }
    }
}

/// Numbers `start + i * delta` below (above) a limit.
pub(super) fn range(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let dtype = scope.input(0)?.dtype;
    for input in 1..3 {
        scope.typed(input, &[dtype], "the type of the start")?;
    }
    let stash = scope.attributes.int_or("stash_type", 1)?;
    if stash != 1 && (dtype == Dtype::F16 || dtype == Dtype::BF16) {
        return Err(fault("stash_type", "1 (FLOAT)", &stash.to_string()));
    }
    let none = Fault::Dtype { input: 0, expected: "numbers", got: dtype };
    dispatch!(dtype, T: number => {
        let [start, limit, delta] = [
            scope.scalar::<T>(0, "start")?,
            scope.scalar::<T>(1, "limit")?,
            scope.scalar::<T>(2, "delta")?,
        ];
        if delta == T::default() {
            return Err(fault("delta", "a step other than 0", "0"));
        }
        let count = T::count(start, limit, delta);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let output = scope.value(dtype, vec![count])?;
        let kernel = FnKernel(move |_: &Call<'_>| {
            Ok(vec![T::wrap((0..count).map(|at| T::at(start, delta, at)).collect())])
        });
        Ok(Prepared::one(output, kernel))
    }, else Err(none))
}

/// What a range is made of.
trait Step: Number {
    /// Number of elements.
    fn count(start: Self, limit: Self, delta: Self) -> u64;
    /// The element at an index.
    fn at(start: Self, delta: Self, index: usize) -> Self;
}

macro_rules! integer_steps {
    ($($type:ty),*) => {$(
        impl Step for $type {
            fn count(start: Self, limit: Self, delta: Self) -> u64 {
                let (start, limit, delta) = (i128::from(start), i128::from(limit), i128::from(delta));
                let covered = if delta > 0 { limit - start } else { start - limit };
                let covered = u128::try_from(covered).unwrap_or(0);
                u64::try_from(covered.div_ceil(delta.unsigned_abs())).unwrap_or(u64::MAX)
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                clippy::allow_attributes,
                reason = "integers wrap; and not every type is narrower than an index"
            )]
            fn at(start: Self, delta: Self, index: usize) -> Self {
                start.wrapping_add((index as Self).wrapping_mul(delta))
            }
        }
    )*};
}
integer_steps!(i64, i32, i16, i8, u64, u32, u16, u8);

macro_rules! float_steps {
    ($($type:ty),*) => {$(
        impl Step for $type {
            fn count(start: Self, limit: Self, delta: Self) -> u64 {
                let covered = f64::from(limit.widen() - start.widen());
                float_count((covered / f64::from(delta.widen())).ceil())
            }
            fn at(start: Self, delta: Self, index: usize) -> Self {
                let index = <Self as FloatIndex>::index(index);
                Self::narrow(start.widen() + index * delta.widen())
            }
        }
    )*};
}
float_steps!(f32, f64, f16, bf16);

/// A count that may be negative, NaN (no element) or too great.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; NaN is 0")]
fn float_count(count: f64) -> u64 {
    count as u64
}

/// An index in the type that a float is computed in.
trait FloatIndex: Number {
    fn index(index: usize) -> Self::Wide;
}

macro_rules! float_index {
    ($($type:ty => $wide:ty),*) => {$(
        impl FloatIndex for $type {
            fn index(index: usize) -> $wide {
                index as $wide
            }
        }
    )*};
}
float_index!(f32 => f32, f64 => f64, f16 => f32, bf16 => f32);

/// The upper or lower triangle; zeros elsewhere.
pub(super) fn trilu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 2, 1)?;
    let x = scope.input(0)?;
    let upper = scope.attributes.flag_or("upper", true)?;
    let [.., rows, columns] = *x.shape.as_slice() else {
        return Err(misfit("input of Trilu", "two dimensions or more", x));
    };
    if scope.optional(1).is_some() {
        let k = scope.typed(1, &[Dtype::I64], "INT64")?;
        if k.elements() != 1 {
            return Err(misfit("k of Trilu", "one element", k));
        }
    }
    let kernel = FnKernel(move |call: &Call<'_>| {
        let k =
            if call.optional(1).is_some() { call.slice::<i64>(1)?.first().copied().unwrap_or(0) } else { 0 };
        dispatch!(call.input(0)?.dtype(), T => {
            let mut target = copied(call, call.slice::<T>(0)?);
            for (row, elements) in target.chunks_exact_mut(columns.max(1)).enumerate() {
                // The first column above the diagonal that is left out, or kept.
                let edge = int(row % rows).saturating_add(k).saturating_add(i64::from(!upper));
                let edge = usize::try_from(edge.clamp(0, int(columns))).unwrap_or(0);
                let cleared = if upper { &mut elements[..edge] } else { &mut elements[edge..] };
                cleared.fill(T::default());
            }
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(x.clone(), kernel))
}

/// The first entries of each sequence, turned round.
pub(super) fn reverse_sequence(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, lengths) = (scope.input(0)?, index_input(scope, 1)?);
    let batch_axis = scope.attributes.int_or("batch_axis", 1)?;
    let time_axis = scope.attributes.int_or("time_axis", 0)?;
    let batch_first = match (batch_axis, time_axis) {
        (0, 1) => true,
        (1, 0) => false,
        other => return Err(fault("batch_axis", "0 and time_axis 1, or the reverse", &format!("{other:?}"))),
    };
    let [first, second, ..] = *x.shape.as_slice() else {
        return Err(misfit("input of ReverseSequence", "two dimensions or more", x));
    };
    let (batch, time) = if batch_first { (first, second) } else { (second, first) };
    if lengths.shape != [batch] {
        return Err(misfit(
            "lengths of ReverseSequence",
            format!("one for each of {batch} sequences"),
            lengths,
        ));
    }
    let width: usize = x.shape[2..].iter().product();
    let place = move |row: usize, at: usize| if batch_first { row * time + at } else { at * batch + row };
    let kernel = FnKernel(move |call: &Call<'_>| {
        let lengths = indices(call, 1)?;
        dispatch!(call.input(0)?.dtype(), T => {
            let source = call.slice::<T>(0)?;
            let mut target = copied(call, source);
            for (row, given) in lengths.iter().enumerate() {
                let length = usize::try_from(*given).ok().filter(|length| *length <= time);
                let length = length.ok_or_else(|| Fault::Shape {
                    what: "length of a sequence",
                    expected: format!("a number from 0 to {time}"),
                    got: given.to_string(),
                })?;
                for at in 0..length {
                    let (from, to) = (place(row, length - 1 - at) * width, place(row, at) * width);
                    target[to..to + width].clone_from_slice(&source[from..from + width]);
                }
            }
            Ok(vec![T::wrap(target)])
        })
    });
    Ok(Prepared::one(x.clone(), kernel).macs(x.count()).scratch_bytes(lengths.count().saturating_mul(8)))
}
