//! Resize, one dimension after the other: those that shrink first, then in order.
//!
//! # Rules
//! - An element is one chain over its taps in order from `+0` (in f64 for FP64 and for integers of 32 and 64
//!   bits, else in f32), rounded to the type after all dimensions; integers to nearest even and saturating.
//! - The nearest mode moves elements of any type.

use nabla_types::tensor::{Dtype, TensorData};

use super::taps::{Dimension, Filter, Nearest, Rule, Taps, Transform};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::{Body, Fma};
use crate::onnx::upload::Upload;
use crate::ops::real::{Real, Term};
use crate::ops::{Call, Element, Kernel, Prepared, Scope, axis, dispatch, misfit};
use crate::plan::ValueType;

/// Opset 10 has no `roi`, and one rule for coordinates.
pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 11 {
        upload.insert_absent(1);
        upload.set_text("coordinate_transformation_mode", "asymmetric")?;
        upload.set_text("nearest_mode", "simple")?;
    }
    Ok(())
}

/// `Upsample` is the resize of opset 10; before opset 9 its scales are an attribute.
pub(super) fn import_upsample(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.insert_absent(1);
    if let Some(scales) = upload.take_floats("scales")? {
        let scales = nabla_types::tensor::Tensor::f32(&[scales.len() as u64], scales)?;
        upload.set_input("scales", 2, scales)?;
    }
    if upload.take_text("mode")?.is_some_and(|mode| mode != "nearest") {
        upload.set_text("mode", "linear")?;
    }
    upload.set_text("coordinate_transformation_mode", "asymmetric")?;
    upload.set_text("nearest_mode", "simple")?;
    upload.rename("Resize");
    Ok(())
}

pub(super) fn resize(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 4, 1)?;
    let x = scope.input(0)?;
    let filter = match scope.attributes.text_or("mode", "nearest")? {
        "nearest" => Filter::Nearest(Nearest::read(scope)?),
        "linear" | "bilinear" => Filter::Linear,
        "cubic" => Filter::Cubic(scope.attributes.float_or("cubic_coeff_a", -0.75)?),
        other => return Err(fault("mode", "nearest, linear or cubic", other)),
    };
    // Attributes of other modes change nothing, but must be known.
    let nearest = Nearest::read(scope);
    scope.attributes.float_or("cubic_coeff_a", -0.75)?;
    let antialias = scope.attributes.flag_or("antialias", false)?;
    let exclude_outside = scope.attributes.flag_or("exclude_outside", false)?;
    let fill = scope.attributes.float_or("extrapolation_value", 0.0)?;
    nearest?;
    let rule = Rule { transform: Transform::read(scope)?, filter, antialias, exclude_outside };
    let moves = matches!(filter, Filter::Nearest(_));
    if moves && antialias {
        return Err(fault("antialias", "0 for the nearest mode", "1"));
    }
    let text = matches!(x.dtype, Dtype::Bool | Dtype::String);
    if text && (!moves || rule.transform == Transform::Crop) {
        return Err(Fault::Dtype { input: 0, expected: "numbers, for this mode", got: x.dtype });
    }
    let mut dimensions = dimensions(scope, x, rule.transform == Transform::Crop)?;
    let mut shape = x.shape.clone();
    for dimension in &dimensions {
        shape[dimension.axis] = dimension.to;
    }
    let output = scope.value(x.dtype, shape)?;
    if output.elements() == 0 {
        dimensions.clear();
    } else if x.elements() == 0 {
        return Err(misfit("input of Resize", "elements to make others from", x));
    }
    let whole = [0.0, 1.0];
    let crops = rule.transform == Transform::Crop;
    dimensions.retain(|d| d.from != d.to || (d.scale - 1.0).abs() > 1e-6 || crops && d.crop != whole);
    dimensions.sort_by_key(|dimension| (dimension.to >= dimension.from, dimension.axis));
    let (macs, scratch) = costs(scope, x, &rule, &dimensions)?;
    let kernel = Resize { shape: x.shape.clone(), rule, dimensions, fill };
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

/// Multiply-adds, and bytes of the steps between.
fn costs(
    scope: &Scope<'_>,
    x: &ValueType,
    rule: &Rule,
    dimensions: &[Dimension],
) -> Result<(u64, u64), Fault> {
    let mut shape = x.shape.clone();
    let (mut macs, mut scratch) = (0_u64, x.count().saturating_mul(8));
    for dimension in dimensions {
        shape[dimension.axis] = dimension.to;
        let width = rule.width(dimension.scale);
        let step = scope.value(Dtype::F64, shape.clone())?;
        let taps = scope.value(Dtype::F64, vec![dimension.to, width])?;
        macs = macs.saturating_add(step.count().saturating_mul(width as u64));
        macs = macs.saturating_add(taps.count().saturating_mul(16));
        scratch = scratch.saturating_add(step.bytes()).saturating_add(taps.bytes().saturating_mul(2));
    }
    Ok((macs, scratch))
}

/// What is known of each dimension that is named.
fn dimensions(scope: &Scope<'_>, x: &ValueType, crops: bool) -> Result<Vec<Dimension>, Fault> {
    let mut axes = Vec::new();
    if let Some(given) = scope.attributes.optional_ints("axes")? {
        for given in given {
            let axis = axis("axes", *given, x.rank())?;
            if axes.contains(&axis) {
                return Err(fault("axes", "each axis once", &given.to_string()));
            }
            axes.push(axis);
        }
    } else {
        axes = (0..x.rank()).collect();
    }
    let policy = scope.attributes.text_or("keep_aspect_ratio_policy", "stretch")?;
    if !["stretch", "not_larger", "not_smaller"].contains(&policy) {
        return Err(fault("keep_aspect_ratio_policy", "stretch, not_larger or not_smaller", policy));
    }
    let given = |input: usize| scope.optional(input).is_some_and(|operand| operand.ty.elements() > 0);
    let count = axes.len();
    let crop = if crops {
        if !given(1) {
            return Err(Fault::Arity { what: "inputs", expected: "roi for tf_crop_and_resize", got: 1 });
        }
        let roi = f32::read(scope.constant(1, "roi")?.data()).unwrap_or_default().into_owned();
        if roi.len() != 2 * count {
            return Err(misfit("roi", format!("{} elements", 2 * count), scope.input(1)?));
        }
        roi
    } else {
        [vec![0.0; count], vec![1.0; count]].concat()
    };
    let wanted = match (given(2), given(3)) {
        (true, false) => scaled(scope, x, &axes)?,
        (false, true) => sized(scope, x, &axes, policy)?,
        _ => return Err(Fault::Arity { what: "inputs", expected: "either scales or sizes", got: 2 }),
    };
    let dimension = |(index, (axis, (to, scale)))| Dimension {
        axis,
        from: x.shape[axis],
        to,
        scale,
        crop: [crop[index], crop[count + index]],
    };
    Ok(axes.into_iter().zip(wanted).enumerate().map(dimension).collect())
}

/// Sizes from scales: the product in f32, toward zero.
#[expect(clippy::cast_precision_loss, reason = "sizes are f32 here by definition")]
fn scaled(scope: &Scope<'_>, x: &ValueType, axes: &[usize]) -> Result<Vec<(usize, f32)>, Fault> {
    let scales = scope.constant_f32(2, "scales", axes.len())?;
    let one = |(axis, scale): (&usize, &f32)| {
        let to = size_of(f64::from((x.shape[*axis] as f32 * scale).floor()));
        to.filter(|_| *scale > 0.0).map(|to| (to, *scale)).ok_or_else(|| Fault::Shape {
            what: "scales of Resize",
            expected: "positive numbers that give up to 2^28 elements".to_owned(),
            got: scale.to_string(),
        })
    };
    axes.iter().zip(scales).map(one).collect()
}

/// A size of up to 2^28.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn size_of(size: f64) -> Option<usize> {
    (0.0..=268_435_456.0).contains(&size).then_some(size as usize)
}

#[expect(clippy::cast_precision_loss, reason = "scales are f32 by definition")]
fn sized(scope: &Scope<'_>, x: &ValueType, axes: &[usize], policy: &str) -> Result<Vec<(usize, f32)>, Fault> {
    let sizes = scope.ints(3, "sizes")?;
    let to: Option<Vec<usize>> =
        sizes.iter().map(|size| usize::try_from(*size).ok().filter(|size| *size <= 1 << 28)).collect();
    let to = to.filter(|to| to.len() == axes.len()).ok_or_else(|| Fault::Shape {
        what: "sizes of Resize",
        expected: format!("{} sizes from 0 to 2^28", axes.len()),
        got: format!("{:?}", &sizes[..sizes.len().min(8)]),
    })?;
    let from = |index: usize| x.shape[axes[index]];
    let scales: Vec<f32> = to.iter().enumerate().map(|(index, to)| *to as f32 / from(index) as f32).collect();
    if policy == "stretch" || scales.is_empty() {
        return Ok(to.into_iter().zip(scales).collect());
    }
    let smallest = scales.iter().fold(f32::INFINITY, |least, scale| least.min(*scale));
    let greatest = scales.iter().fold(0.0_f32, |most, scale| most.max(*scale));
    let scale = if policy == "not_larger" { smallest } else { greatest };
    let too_large = || fault("keep_aspect_ratio_policy", "sizes up to 2^28", &scale.to_string());
    let kept = |index: usize| size_of((f64::from(scale) * from(index) as f64 + 0.5).floor());
    (0..axes.len()).map(|index| Ok((kept(index).ok_or_else(too_large)?, scale))).collect()
}

#[derive(Debug)]
struct Resize {
    shape: Vec<usize>,
    rule: Rule,
    dimensions: Vec<Dimension>,
    /// What stands for elements from outside.
    fill: f32,
}

impl Kernel for Resize {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = call.input(0)?;
        if call.elements(0) == 0 || self.dimensions.is_empty() {
            let empty = |data: TensorData| dispatch!(data.dtype(), T => T::wrap(Vec::new()));
            let data = x.data().clone();
            return Ok(vec![if call.elements(0) == 0 { empty(data) } else { data }]);
        }
        Ok(vec![match (self.rule.filter, x.dtype()) {
            (Filter::Nearest(_), dtype) => dispatch!(dtype, T => {
                let fill = T::slice(&f32::write(vec![self.fill], dtype)).and_then(<[T]>::first).cloned();
                T::wrap(self.moved::<T>(call.slice::<T>(0)?, &fill.unwrap_or_default()))
            }),
            (_, Dtype::F64 | Dtype::I64 | Dtype::I32 | Dtype::U64 | Dtype::U32) => {
                self.filtered::<f64>(call)?
            }
            _ => self.filtered::<f32>(call)?,
        }])
    }
}

impl Resize {
    /// Elements before and behind a dimension, with the sizes so far.
    fn around(shape: &[usize], axis: usize) -> (usize, usize) {
        (shape[..axis].iter().product(), shape[axis + 1..].iter().product())
    }

    fn moved<T: Element>(&self, x: &[T], fill: &T) -> Vec<T> {
        let mut shape = self.shape.clone();
        let mut from = std::borrow::Cow::Borrowed(x);
        for dimension in &self.dimensions {
            let taps = self.rule.taps(dimension);
            let (outer, inner) = Self::around(&shape, dimension.axis);
            let mut to = Vec::with_capacity(outer * dimension.to * inner);
            for block in from.chunks_exact(dimension.from * inner) {
                for (index, outside) in taps.indices.iter().zip(&taps.outside) {
                    if *outside {
                        to.extend(std::iter::repeat_n(fill, inner).cloned());
                    } else {
                        to.extend_from_slice(&block[index * inner..(index + 1) * inner]);
                    }
                }
            }
            shape[dimension.axis] = dimension.to;
            from = to.into();
        }
        from.into_owned()
    }

    fn filtered<R: Real>(&self, call: &Call<'_>) -> Result<TensorData, Fault> {
        let mut shape = self.shape.clone();
        let mut from = R::input(call, 0)?;
        for dimension in &self.dimensions {
            let taps = self.rule.taps(dimension);
            let (outer, inner) = Self::around(&shape, dimension.axis);
            let mut to = R::memory(call, outer * dimension.to * inner);
            let fill = R::of_f32(self.fill);
            call.cpu.isa().run(Step {
                from: &from,
                to: &mut to,
                size: dimension.from,
                inner,
                taps: &taps,
                fill,
            });
            shape[dimension.axis] = dimension.to;
            from = to.into();
        }
        Ok(R::write(from.into_owned(), call.input(0)?.dtype()))
    }
}

/// One dimension of all elements.
struct Step<'a, R> {
    from: &'a [R],
    to: &'a mut [R],
    size: usize,
    inner: usize,
    taps: &'a Taps,
    fill: R,
}

impl<R: Real> Body for Step<'_, R> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { from, to, size, inner, taps, fill } = self;
        let weights: Vec<R> = taps.weights.iter().map(|weight| R::of_f32(*weight)).collect();
        let count = taps.outside.len();
        for (block, to) in from.chunks_exact(size * inner).zip(to.chunks_exact_mut(count * inner)) {
            for (at, line) in to.chunks_exact_mut(inner).enumerate() {
                if taps.outside[at] {
                    line.fill(fill);
                    continue;
                }
                let own = at * taps.width..(at + 1) * taps.width;
                line.fill(R::ZERO);
                for (index, weight) in taps.indices[own.clone()].iter().zip(&weights[own]) {
                    for (to, x) in line.iter_mut().zip(&block[index * inner..(index + 1) * inner]) {
                        *to = R::chain::<F>(*weight, *x, *to);
                    }
                }
            }
        }
    }
}
