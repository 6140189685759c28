//! Einstein sums, and the determinant.
//!
//! # Rules
//! - Operands are taken from the left, two at a time. Before a pair is multiplied, each sums over the labels
//!   that only it has and nobody needs (striped); the pair is one chain over its shared labels, in the order
//!   in which the left operand has them.
//! - A repeated label of one operand takes the diagonal. Sizes of 1 broadcast.

use std::borrow::Cow;

use nabla_types::tensor::{Dtype, TensorData};

use super::identity::plain;
use super::products::Product;
use super::real::{FloatKernel, Floats, Real, Term, cost};
use super::{Call, Kernel, Operator, Prepared, Scope, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;

#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] =
    &[Operator::node("Det", plain, determinant), Operator::node("Einsum", plain, einsum)];

/// A letter, or a dimension of the ellipsis counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(std::cmp::Reverse<usize>),
    Letter(char),
}

/// The labels of one term for an operand of this rank, or of the output with this many ellipsis dimensions.
fn labels(term: &str, ellipsis: impl Fn(usize) -> Option<usize>) -> Result<Vec<Label>, Fault> {
    let wrong = || fault("equation", "letters, one ellipsis per term, as many as dimensions", term);
    let letters = term.chars().filter(|c| *c != '.').count();
    let dots = term.chars().filter(|c| *c == '.').count();
    let spread = ellipsis(letters).ok_or_else(wrong)?;
    let mut labels = Vec::new();
    let mut rest = term;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            labels.extend((0..spread).rev().map(|from_end| Label::Ellipsis(std::cmp::Reverse(from_end))));
            rest = after;
        } else if letter.is_ascii_alphabetic() {
            labels.push(Label::Letter(letter));
            rest = &rest[1..];
        } else {
            return Err(wrong());
        }
    }
    if dots != 0 && dots != 3 || dots == 0 && spread != 0 { Err(wrong()) } else { Ok(labels) }
}

/// A dimension of an operand, or of a product of some.
#[derive(Debug, Clone, Copy)]
struct Axis {
    label: Label,
    size: usize,
    stride: usize,
}

/// Row-major dimensions; a repeated label becomes its diagonal.
fn axes(labels: &[Label], shape: &[usize]) -> Result<Vec<Axis>, Fault> {
    let mut axes: Vec<Axis> = Vec::new();
    let mut stride = 1;
    for (label, size) in labels.iter().zip(shape).rev() {
        match axes.iter_mut().find(|axis| axis.label == *label) {
            Some(axis) if axis.size == *size => axis.stride += stride,
            Some(axis) => {
                let (expected, got) = (format!("size {} twice", axis.size), size.to_string());
                return Err(Fault::Shape { what: "repeated label of Einsum", expected, got });
            }
            None => axes.push(Axis { label: *label, size: *size, stride }),
        }
        stride *= size;
    }
    axes.reverse();
    Ok(axes)
}

fn find(axes: &[Axis], label: Label) -> Option<Axis> {
    axes.iter().find(|axis| axis.label == label).copied()
}

/// One operand made ready: its elements in another order, some dimensions repeated, the innermost summed.
#[derive(Debug, Default)]
struct Gather {
    sizes: Vec<usize>,
    strides: Vec<usize>,
    /// Elements that come out.
    kept: usize,
    /// Elements that are added for each.
    summed: usize,
}

impl Gather {
    /// `kept` are the labels that come out with their sizes; the operand's other labels are summed.
    fn new(axes: &[Axis], kept: &[(Label, usize)]) -> Self {
        let mut gather = Self { kept: 1, summed: 1, ..Self::default() };
        for (label, size) in kept {
            let stride = find(axes, *label).filter(|axis| axis.size == *size).map_or(0, |axis| axis.stride);
            gather.push(*size, stride);
            gather.kept = gather.kept.saturating_mul(*size);
        }
        for axis in axes.iter().filter(|axis| kept.iter().all(|(label, _)| *label != axis.label)) {
            gather.push(axis.size, axis.stride);
            gather.summed = gather.summed.saturating_mul(axis.size);
        }
        gather
    }

    fn push(&mut self, size: usize, stride: usize) {
        self.sizes.push(size);
        self.strides.push(stride);
    }

    /// Whether the elements stay as they are.
    fn is_plain(&self) -> bool {
        let mut expected = 1;
        self.summed == 1
            && self.sizes.iter().zip(&self.strides).rev().all(|(size, stride)| {
                let fits = *size == 1 || *stride == expected;
                expected *= size;
                fits
            })
    }

    fn cost(&self) -> u64 {
        (self.kept as u64).saturating_mul(self.summed as u64)
    }

    fn run<'a, T: Term>(&self, data: Cow<'a, [T]>) -> Cow<'a, [T]> {
        if self.is_plain() && data.len() == self.kept {
            return data;
        }
        let mut out = T::zeros(self.kept);
        let mut place = vec![0; self.sizes.len()];
        let mut offset = 0;
        let mut terms = T::zeros(self.summed);
        if terms.is_empty() {
            return Cow::Owned(out);
        }
        for out in &mut out {
            for term in &mut terms {
                *term = data[offset];
                for ((place, size), stride) in place.iter_mut().zip(&self.sizes).zip(&self.strides).rev() {
                    *place += 1;
                    offset += stride;
                    if *place < *size {
                        break;
                    }
                    offset -= *place * stride;
                    *place = 0;
                }
            }
            *out = if let [term] = terms.as_slice() { *term } else { T::sum_of(&terms, |x| x) };
        }
        Cow::Owned(out)
    }
}

/// The left operand (all before) times the next one.
#[derive(Debug)]
struct Pair {
    left: Gather,
    right: Gather,
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
}

fn einsum(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let equation: String =
        scope.attributes.text("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = inputs.split(',').collect();
    scope.arity(terms.len(), terms.len(), 1)?;
    let dtype = scope.input(0)?.dtype;
    let mut operands = Vec::with_capacity(terms.len());
    let mut all_labels = Vec::new();
    for (input, term) in terms.iter().enumerate() {
        let ty = scope.input(input)?;
        if ty.dtype != dtype || matches!(dtype, Dtype::Bool | Dtype::String) {
            return Err(Fault::Dtype { input, expected: "numbers of one type", got: ty.dtype });
        }
        let labels = labels(term, |letters| ty.rank().checked_sub(letters))?;
        operands.push(axes(&labels, &ty.shape)?);
        all_labels.extend(labels);
    }
    let output = output_labels(output, &all_labels)?;
    let mut pairs = Vec::new();
    let mut macs = 0_u64;
    let mut scratch = 0_u64;
    let mut rest = operands.into_iter();
    let mut left = rest.next().unwrap_or_default();
    while let Some(right) = rest.next() {
        let later = rest.as_slice();
        let needed = |label| output.contains(&label) || later.iter().any(|axes| find(axes, label).is_some());
        let (pair, axes) = pair(&left, &right, needed)?;
        for count in
            [pair.left.kept, pair.right.kept, pair.batch.saturating_mul(pair.m).saturating_mul(pair.n)]
        {
            scratch = scratch.saturating_add(scope.value(dtype, vec![count])?.count().saturating_mul(16));
        }
        let product = cost(&[pair.batch, pair.m, pair.n, pair.k]);
        macs = [pair.left.cost(), pair.right.cost(), product].into_iter().fold(macs, u64::saturating_add);
        pairs.push(pair);
        left = axes;
    }
    let size = |label: &Label| find(&left, *label).map(|axis| (*label, axis.size));
    let kept: Option<Vec<_>> = output.iter().map(size).collect();
    let kept = kept.ok_or_else(|| fault("equation", "output labels that an input has", &equation))?;
    let last = Gather::new(&left, &kept);
    let out = scope.value(dtype, kept.into_iter().map(|(_, size)| size).collect())?;
    macs = macs.saturating_add(last.cost());
    Ok(Prepared::one(out, Einsum { dtype, pairs, last }).macs(macs).scratch_bytes(scratch))
}

/// The labels of the output; without an arrow those that stand once, in order, behind the ellipsis.
fn output_labels(term: Option<&str>, all: &[Label]) -> Result<Vec<Label>, Fault> {
    let spread = all.iter().filter_map(|label| match label {
        Label::Ellipsis(std::cmp::Reverse(from_end)) => Some(from_end + 1),
        Label::Letter(_) => None,
    });
    let spread = spread.max().unwrap_or(0);
    let Some(term) = term else {
        let mut labels: Vec<Label> =
            (0..spread).rev().map(|from_end| Label::Ellipsis(std::cmp::Reverse(from_end))).collect();
        let mut letters: Vec<Label> = all.iter().filter(|l| matches!(l, Label::Letter(_))).copied().collect();
        letters.sort_unstable();
        let once = |label: &&Label| all.iter().filter(|other| other == label).count() == 1;
        labels.extend(letters.iter().filter(once));
        return Ok(labels);
    };
    let labels = labels(term, |_| Some(spread))?;
    let twice = labels.iter().enumerate().any(|(index, label)| labels[..index].contains(label));
    if twice { Err(fault("equation", "each label of the output once", term)) } else { Ok(labels) }
}

/// How to multiply two operands, and the dimensions of the product.
fn pair(left: &[Axis], right: &[Axis], needed: impl Fn(Label) -> bool) -> Result<(Pair, Vec<Axis>), Fault> {
    let [mut batch, mut k, mut m, mut n] = [const { Vec::new() }; 4];
    for axis in left {
        match find(right, axis.label) {
            Some(other) => {
                let size = if axis.size == 1 { other.size } else { axis.size };
                if other.size != size && other.size != 1 {
                    let (expected, got) = (axis.size.to_string(), other.size.to_string());
                    return Err(Fault::Shape { what: "sizes of one label of Einsum", expected, got });
                }
                if needed(axis.label) { &mut batch } else { &mut k }.push((axis.label, size));
            }
            None if needed(axis.label) => m.push((axis.label, axis.size)),
            None => {}
        }
    }
    let only_right = right.iter().filter(|axis| find(left, axis.label).is_none() && needed(axis.label));
    n.extend(only_right.map(|axis| (axis.label, axis.size)));
    let count =
        |axes: &[(Label, usize)]| axes.iter().fold(1_usize, |count, axis| count.saturating_mul(axis.1));
    let pair = Pair {
        left: Gather::new(left, &[batch.as_slice(), &m, &k].concat()),
        right: Gather::new(right, &[batch.as_slice(), &k, &n].concat()),
        batch: count(&batch),
        m: count(&m),
        k: count(&k),
        n: count(&n),
    };
    let out: (Vec<Label>, Vec<usize>) = batch.into_iter().chain(m).chain(n).unzip();
    let mut axes = Vec::with_capacity(out.0.len());
    let mut stride = 1_usize;
    for (label, size) in out.0.into_iter().zip(out.1).rev() {
        axes.push(Axis { label, size, stride });
        stride = stride.saturating_mul(size);
    }
    axes.reverse();
    Ok((pair, axes))
}

#[derive(Debug)]
struct Einsum {
    dtype: Dtype,
    pairs: Vec<Pair>,
    last: Gather,
}

impl Kernel for Einsum {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let data = match self.dtype {
            Dtype::F64 => f64::write(self.contract(call)?, self.dtype),
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => f32::write(self.contract(call)?, self.dtype),
            _ => i64::write(self.contract(call)?, self.dtype),
        };
        Ok(vec![data])
    }
}

impl Einsum {
    fn contract<T: Term>(&self, call: &Call<'_>) -> Result<Vec<T>, Fault> {
        let mut left = T::input(call, 0)?;
        for (input, pair) in self.pairs.iter().enumerate() {
            let Pair { batch, m, k, n, .. } = *pair;
            let (a, b) = (pair.left.run(left), pair.right.run(T::input(call, input + 1)?));
            let mut product = T::zeros(batch * m * n);
            for index in 0..if product.is_empty() { 0 } else { batch } {
                let (a, b) = (&a[index * m * k..][..m * k], &b[index * k * n..][..k * n]);
                Product { m, k, n, a, b, c: &mut product[index * m * n..][..m * n] }.run(call.cpu);
            }
            left = Cow::Owned(product);
        }
        Ok(self.last.run(left).into_owned())
    }
}

/// Of each matrix of the last two dimensions.
fn determinant(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.float(0)?;
    let size = match *x.shape.as_slice() {
        [.., rows, columns] if rows == columns => rows,
        _ => return Err(misfit("input of Det", "square matrices", x)),
    };
    let output = scope.value(x.dtype, x.shape[..x.rank() - 2].to_vec())?;
    let macs = x.count().saturating_mul(size as u64);
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel: Determinant { size } }).macs(macs))
}

#[derive(Debug)]
struct Determinant {
    size: usize,
}

impl FloatKernel for Determinant {
    /// Gauss's elimination: the greatest of a column (the first of equals) is the pivot; a row below takes
    /// `fma(-(x / pivot), pivot row, row)`. Then the product of the pivots in order, from 1.
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let size = self.size;
        let mut x = R::input(call, 0)?.into_owned();
        let mut output = vec![R::ONE; call.elements(0)];
        for (out, matrix) in output.iter_mut().zip(x.chunks_exact_mut((size * size).max(1))) {
            for step in 0..size {
                let mut pivot = step;
                for row in step + 1..size {
                    if matrix[row * size + step].size() > matrix[pivot * size + step].size() {
                        pivot = row;
                    }
                }
                if pivot != step {
                    for column in 0..size {
                        matrix.swap(pivot * size + column, step * size + column);
                    }
                    *out = -*out;
                }
                let top = matrix[step * size + step];
                *out = *out * top;
                if top == R::ZERO {
                    break;
                }
                let (above, below) = matrix.split_at_mut((step + 1) * size);
                let above = &above[step * size..];
                for line in below.chunks_exact_mut(size) {
                    let factor = -(line[step] / top);
                    for (x, y) in line.iter_mut().zip(above).skip(step) {
                        *x = R::chain::<F>(factor, *y, *x);
                    }
                }
            }
        }
        Ok(vec![output])
    }
}
