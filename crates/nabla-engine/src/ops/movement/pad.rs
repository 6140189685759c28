//! Pad and CenterCropPad: a tensor with its borders moved.
//!
//! The part of the input that stays is copied to its place; then the borders are made, dimension by dimension
//! from the last to the first, from what is already there. Every element is written once.
//!
//! # Rules
//! - A negative pad removes elements; what is mirrored or repeated is what stays.
//! - `reflect` and `wrap` go on periodically, however far the border reaches.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData};

use super::copy::{Dim, StridedCopy, fresh, strides, walk};
use super::{int, sizes_input};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Element, Kernel, Prepared, Scope, axis, dispatch, misfit};
use crate::plan::ValueType;

/// What stands in the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Mode {
    /// The index, of `kept`, that an index outside stands for. `kept` is not 0.
    fn source(self, index: i64, kept: i64) -> i64 {
        match self {
            Self::Constant | Self::Edge => index.clamp(0, kept - 1),
            Self::Wrap => index.rem_euclid(kept),
            Self::Reflect if kept == 1 => 0,
            Self::Reflect => {
                let period = 2 * (kept - 1);
                let index = index.rem_euclid(period);
                index.min(period - index)
            }
        }
    }
}

/// One dimension: `before` new elements, `kept` old ones, `after` new ones.
#[derive(Debug, Clone, Copy)]
struct Border {
    before: usize,
    kept: usize,
    after: usize,
}

#[derive(Debug)]
struct Pad {
    kept: StridedCopy,
    borders: Vec<Border>,
    strides: Vec<usize>,
    mode: Mode,
    /// The constant as an f32, where it is no input.
    value: f32,
}

/// Pads and the constant are attributes before opset 11 and inputs since.
pub(super) fn import_pad(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("pads", 1)
}

pub(super) fn pad(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 4, 1)?;
    let x = scope.input(0)?;
    let mode = match scope.attributes.text_or("mode", "constant")? {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        other => return Err(fault("mode", "constant, reflect, edge or wrap", other)),
    };
    let value = scope.attributes.float_or("value", 0.0)?;
    if scope.optional(2).is_some() {
        let ty = scope.typed(2, &[x.dtype], "the type of the data")?;
        if ty.elements() != 1 {
            return Err(misfit("constant value of Pad", "one element", ty));
        }
    }
    let pads = scope.ints(1, "pads")?;
    let axes = scope.optional_ints(3, "axes")?;
    let axes = axes.unwrap_or_else(|| (0..x.rank()).map(int).collect());
    if pads.len() != 2 * axes.len() || axes.len() > x.rank() {
        return Err(misfit("input of Pad", format!("two pads for each axis, got {}", pads.len()), x));
    }
    let mut given = vec![(0, 0); x.rank()];
    let mut done = vec![false; x.rank()];
    for (index, at) in axes.iter().enumerate() {
        let at = axis("axes", *at, x.rank())?;
        if std::mem::replace(&mut done[at], true) {
            return Err(fault("axes", "each axis once", "one of them twice"));
        }
        given[at] = (pads[index], pads[index + axes.len()]);
    }
    padded(scope, x, &given, mode, value)
}

/// The middle of the input, or the input in the middle of zeros.
pub(super) fn center_crop_pad(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let wanted = sizes_input(scope, 1, "shape")?;
    let axes = scope.attributes.optional_ints("axes")?;
    let axes: Vec<i64> = axes.map_or_else(|| (0..x.rank()).map(int).collect(), <[i64]>::to_vec);
    if axes.len() != wanted.len() || axes.len() > x.rank() {
        return Err(misfit(
            "input of CenterCropPad",
            format!("an axis for each of {} sizes", wanted.len()),
            x,
        ));
    }
    let mut given = vec![(0, 0); x.rank()];
    for (at, wanted) in axes.iter().zip(&wanted) {
        let at = axis("axes", *at, x.rank())?;
        let grows = int(*wanted).saturating_sub(int(x.shape[at]));
        // Halves toward zero: an odd element goes to the end.
        given[at] = (grows / 2, grows - grows / 2);
    }
    padded(scope, x, &given, Mode::Constant, 0.0)
}

fn padded(
    scope: &Scope<'_>,
    x: &ValueType,
    pads: &[(i64, i64)],
    mode: Mode,
    value: f32,
) -> Result<Prepared, Fault> {
    let mut borders = Vec::with_capacity(x.rank());
    for (size, pads) in x.shape.iter().zip(pads) {
        let border = border(*size, *pads, mode);
        borders.push(border.ok_or_else(|| misfit("input of Pad", "elements to repeat, and to remove", x))?);
    }
    let size = |border: &Border| border.before.saturating_add(border.kept).saturating_add(border.after);
    let output = scope.value(x.dtype, borders.iter().map(size).collect())?;
    let (from_strides, to_strides) = (strides(&x.shape), strides(&output.shape));
    let (mut from, mut to, mut dims) = (0, 0, Vec::with_capacity(x.rank()));
    for (at, border) in borders.iter().enumerate() {
        let removed = usize::try_from(pads[at].0.min(0).unsigned_abs()).unwrap_or(0);
        from += removed.min(x.shape[at]) * from_strides[at];
        to += border.before * to_strides[at];
        dims.push(Dim { size: border.kept, from: from_strides[at].cast_signed(), to: to_strides[at] });
    }
    let kept = StridedCopy::new(from, to, &dims);
    Ok(Prepared::one(output, Pad { kept, borders, strides: to_strides, mode, value }))
}

/// The border of one dimension; `None` if there is less than is removed, or nothing to repeat.
fn border(size: usize, (before, after): (i64, i64), mode: Mode) -> Option<Border> {
    let removed = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).unwrap_or(usize::MAX);
    let added = |pad: i64| usize::try_from(pad.max(0)).unwrap_or(usize::MAX);
    let border = |kept| Border { before: added(before), kept, after: added(after) };
    let kept = size.checked_sub(removed(before)).and_then(|size| size.checked_sub(removed(after)));
    match kept.map(border) {
        Some(Border { kept: 0, before: 0, after: 0 }) => Some(border(0)),
        Some(border) if border.kept > 0 || mode == Mode::Constant => Some(border),
        // One side removes more than there is, and the other makes up for it: all of it is border.
        None if mode == Mode::Constant => {
            let whole = int(size).checked_add(before)?.checked_add(after)?;
            Some(Border { before: usize::try_from(whole).ok()?, kept: 0, after: 0 })
        }
        _ => None,
    }
}

impl Kernel for Pad {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        dispatch!(call.input(0)?.dtype(), T => {
            let value = match call.optional(2) {
                Some(_) => call.slice::<T>(2)?.first().cloned().unwrap_or_default(),
                None => constant::<T>(self.value),
            };
            let mut target = fresh::<T>(call, call.elements(0));
            self.kept.run(call.slice::<T>(0)?, &mut target);
            for at in (0..self.borders.len()).rev() {
                self.extend(at, &value, &mut target);
            }
            Ok(vec![T::wrap(target)])
        })
    }
}

impl Pad {
    /// Make the borders of dimension `at`, where all later ones have theirs.
    fn extend<T: Element>(&self, at: usize, value: &T, target: &mut [T]) {
        let border = self.borders[at];
        if border.before == 0 && border.after == 0 {
            return;
        }
        let width = self.strides[at];
        let outer = self.borders[..at].iter().zip(&self.strides);
        let start: usize = outer.clone().map(|(border, stride)| border.before * stride).sum();
        let dims: Vec<Dim> =
            outer.map(|(border, stride)| Dim { size: border.kept, from: 0, to: *stride }).collect();
        let kept_end = border.before + border.kept;
        walk(&dims, 0, start, |_, slab| {
            for new in (0..border.before).chain(kept_end..kept_end + border.after) {
                let to = slab + new * width;
                if self.mode == Mode::Constant {
                    target[to..to + width].fill(value.clone());
                } else {
                    let index = self.mode.source(int(new) - int(border.before), int(border.kept));
                    let from = slab + (border.before + usize::try_from(index).unwrap_or(0)) * width;
                    copy_within(target, from, to, width);
                }
            }
        });
    }
}

/// Copy a run that does not overlap its target.
fn copy_within<T: Clone>(target: &mut [T], from: usize, to: usize, count: usize) {
    if count == 0 {
        return;
    }
    if from < to {
        let (head, tail) = target.split_at_mut(to);
        tail[..count].clone_from_slice(&head[from..from + count]);
    } else {
        let (head, tail) = target.split_at_mut(from);
        head[to..to + count].clone_from_slice(&tail[..count]);
    }
}

/// An f32 as an element of a float type; the default of other types.
fn constant<T: Element>(value: f32) -> T {
    let data = match T::DTYPE {
        Dtype::F32 => TensorData::F32(vec![value]),
        Dtype::F64 => TensorData::F64(vec![f64::from(value)]),
        Dtype::F16 => TensorData::F16(vec![f16::from_f32(value)]),
        Dtype::BF16 => TensorData::BF16(vec![bf16::from_f32(value)]),
        _ => return T::default(),
    };
    T::slice(&data).and_then(<[T]>::first).cloned().unwrap_or_default()
}
