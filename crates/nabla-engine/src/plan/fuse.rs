//! Joins chains of element-wise steps with each other and with the step that makes their input.
//!
//! # Rules
//! - A joined step rounds as it does alone: joining changes no bit, only how often memory is read.
//! - A value is joined away only if nobody else takes it and it is no output of the graph.

use std::collections::HashMap;
use std::sync::Arc;

use nabla_types::tensor::{Dtype, TensorData};

use super::tail::{Layout, OPERANDS_MAX, Operand, Tail};
use super::{Plan, Program, Slot, Step, ValueType};
use crate::Fault;
use crate::graph::Ref;
use crate::kernels::elementwise::{self, Binary};
use crate::ops::{Call, ElementwiseForm, Kernel};

/// Shortest row in which an operand may change its place; below it, joining costs more than it saves.
const ROW_LEAST: usize = 8;
/// Most rows with places of their own.
const ROWS_MAX: usize = 1 << 16;
/// Most steps of a chain.
const STEPS_MAX: usize = 64;
/// Elements that a thread takes at a time.
const SHARE: usize = 1 << 14;

/// Join what can be joined.
pub(super) fn join(plan: &mut Plan, program: &Program<'_>) {
    let uses = Uses::count(plan, program);
    let mut gone = vec![false; plan.steps.len()];
    for index in 0..plan.steps.len() {
        if gone[index] {
            continue;
        }
        let chain = grow(plan, program, &uses, &gone, index);
        if let Some(chain) = chain {
            for step in &chain.members {
                gone[*step] = true;
            }
            chain.apply(plan, index);
        }
    }
    let mut kept = gone.iter();
    plan.steps.retain(|_| !kept.next().is_some_and(|gone| *gone));
}

/// Which steps take each value, in order; graph outputs count as takers of their own.
struct Uses {
    by_value: HashMap<usize, Vec<usize>>,
    outputs: Vec<usize>,
}

impl Uses {
    fn count(plan: &Plan, program: &Program<'_>) -> Self {
        let mut by_value: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, step) in plan.steps.iter().enumerate() {
            for source in &step.inputs {
                if let Ref::Value(value) = source {
                    by_value.entry(*value as usize).or_default().push(index);
                }
            }
        }
        let outputs = program.graph.outputs.iter().filter_map(|(_, source)| match source {
            Ref::Value(value) => Some(*value as usize),
            _ => None,
        });
        Self { by_value, outputs: outputs.collect() }
    }

    fn of(&self, value: usize) -> &[usize] {
        self.by_value.get(&value).map_or(&[], Vec::as_slice)
    }
}

/// A chain in the making: what follows the value of step `first`, or the value that `first` itself takes.
struct Chain {
    /// Steps that go away.
    members: Vec<usize>,
    tail: Tail,
    inputs: Vec<Ref>,
    output: usize,
    /// The step that begins the chain is element-wise itself: it becomes a [`Pieces`] over this input.
    base: Option<Ref>,
    ty: ValueType,
    row: usize,
}

/// The f32 value that a step makes, if it makes one and nothing else.
fn single(step: &Step) -> Option<(usize, &ValueType)> {
    let ready = step.ready.as_ref()?;
    let [ty] = ready.outputs.as_slice() else { return None };
    (ty.dtype == Dtype::F32 && ready.tail.is_none()).then_some((step.outputs.start, ty))
}

fn grow(plan: &Plan, program: &Program<'_>, uses: &Uses, gone: &[bool], first: usize) -> Option<Chain> {
    let step = &plan.steps[first];
    let (value, ty) = single(step)?;
    let ready = step.ready.as_ref()?;
    if let Some(row) = ready.kernel.takes_tail() {
        let chain = Chain::start(ty, Some(row), None, value);
        let chain = chain.extend(plan, program, uses, gone, first, value)?;
        // What the chain starts from must not be needed by anybody else.
        let inside = |user: &usize| chain.members.contains(user);
        return (!uses.outputs.contains(&value) && uses.of(value).iter().all(inside)).then_some(chain);
    }
    // A chain of its own starts with an element-wise step whose input 0 (or 1) has the shape of the output.
    let form = ready.kernel.elementwise()?;
    let base = step.inputs.iter().find(|source| {
        matches!(plan.operand(program, **source), Some(Some(operand)) if operand.ty == ty && operand.constant.is_none())
    })?;
    let mut chain = Chain::start(ty, None, Some(*base), value);
    chain.add(plan, program, step, form, *base, Some(*base))?;
    let chain = chain.extend(plan, program, uses, gone, first, value)?;
    Some(chain)
}

impl Chain {
    fn start(ty: &ValueType, row: Option<usize>, base: Option<Ref>, output: usize) -> Self {
        let tail = Tail { steps: Vec::new(), operands: Vec::new() };
        let row = row.unwrap_or(ty.elements()).max(1);
        Self { members: Vec::new(), tail, inputs: Vec::new(), output, base, ty: ty.clone(), row }
    }

    /// Take in followers while each is the only one that takes the value before it.
    fn extend(
        mut self,
        plan: &Plan,
        program: &Program<'_>,
        uses: &Uses,
        gone: &[bool],
        first: usize,
        value: usize,
    ) -> Option<Self> {
        let original = self.base.unwrap_or(small(value));
        while self.tail.steps.len() < STEPS_MAX {
            let current = small(self.output);
            let users = uses.of(self.output);
            let at_start = self.base.is_none() && self.members.is_empty();
            let Some(user) = users.iter().copied().find(|user| *user > first && !gone[*user]) else { break };
            let alone = users.iter().all(|other| *other == user) && !uses.outputs.contains(&self.output);
            if !(alone || at_start) || !self.reaches(plan, user, first) {
                break;
            }
            let step = &plan.steps[user];
            let Some((output, ty)) = single(step) else { break };
            let Some(form) = step.ready.as_ref().and_then(|ready| ready.kernel.elementwise()) else { break };
            if *ty != self.ty || self.add(plan, program, step, form, current, Some(original)).is_none() {
                break;
            }
            self.members.push(user);
            self.output = output;
        }
        (!self.members.is_empty()).then_some(self)
    }

    /// Whether everything else that `user` takes is there when step `first` runs.
    fn reaches(&self, plan: &Plan, user: usize, first: usize) -> bool {
        let limit = plan.steps[first].outputs.start;
        plan.steps[user].inputs.iter().all(|source| match source {
            Ref::Value(value) => {
                let value = *value as usize;
                value <= limit || value == self.output || matches!(plan.values[value], Slot::Constant(..))
            }
            _ => true,
        })
    }

    /// Add one step that takes `current`; `None` (and nothing added) if it cannot be.
    fn add(
        &mut self,
        plan: &Plan,
        program: &Program<'_>,
        step: &Step,
        form: ElementwiseForm,
        current: Ref,
        original: Option<Ref>,
    ) -> Option<()> {
        let rule = match form {
            ElementwiseForm::Unary(f) => {
                self.tail.steps.push(elementwise::Step::Unary(f));
                return Some(());
            }
            ElementwiseForm::Binary(rule) => rule,
        };
        let [a, b] = step.inputs[..] else { return None };
        let (rule, other) = if a == current { (rule, b) } else { (turned(rule)?, a) };
        let operand = if other == current && current != original? {
            return None;
        } else if Some(other) == original {
            self.operand(Operand { input: None, layout: Layout::Same })?
        } else {
            self.outside(plan, program, other)?
        };
        self.tail.steps.push(elementwise::Step::Binary(rule, operand));
        Some(())
    }

    fn operand(&mut self, operand: Operand) -> Option<elementwise::Operand> {
        let at = self.tail.operands.len();
        let number = match operand.layout {
            Layout::Constant { .. } => elementwise::Operand::Constant(at),
            Layout::Same | Layout::Row { .. } => elementwise::Operand::Slice(at),
        };
        (at < OPERANDS_MAX).then(|| {
            self.tail.operands.push(operand);
            number
        })
    }

    /// An operand that is an input, a constant or an earlier value.
    fn outside(&mut self, plan: &Plan, program: &Program<'_>, other: Ref) -> Option<elementwise::Operand> {
        let operand = plan.operand(program, other)??;
        if operand.ty.dtype != Dtype::F32 {
            return None;
        }
        if let Some(TensorData::F32(values)) = operand.constant.map(|tensor| tensor.data())
            && let [value] = values.as_slice()
        {
            return Some(elementwise::Operand::Scalar(*value));
        }
        let layout = layout(&operand.ty.shape, &self.ty.shape, self.row, self.base.is_some())?;
        if let Layout::Constant { row, .. } | Layout::Row { row, .. } = &layout {
            self.row = self.row.min(*row);
        }
        let input = Some(self.inputs.len());
        let number = self.operand(Operand { input, layout })?;
        self.inputs.push(other);
        Some(number)
    }

    /// Put the chain in place of step `first`.
    fn apply(self, plan: &mut Plan, first: usize) {
        let step = &mut plan.steps[first];
        step.outputs = self.output..self.output + 1;
        if let Some(ready) = &mut step.ready {
            if let Some(base) = self.base {
                step.inputs = vec![base];
                ready.kernel = Box::new(Pieces { row: self.row });
            }
            ready.tail = Some(self.tail);
        }
        step.inputs.extend(self.inputs);
    }
}

fn small(value: usize) -> Ref {
    Ref::Value(u32::try_from(value).unwrap_or(u32::MAX))
}

/// The rule with its sides changed.
fn turned(rule: Binary) -> Option<Binary> {
    Some(match rule {
        Binary::Add => Binary::Add,
        Binary::Mul => Binary::Mul,
        Binary::Sub => Binary::RSub,
        Binary::RSub => Binary::Sub,
        Binary::Div => Binary::RDiv,
        Binary::RDiv => Binary::Div,
        Binary::Min => Binary::RMin,
        Binary::RMin => Binary::Min,
        Binary::Max => Binary::RMax,
        Binary::RMax => Binary::Max,
        Binary::Pow => Binary::RPow,
        Binary::RPow => Binary::Pow,
        _ => return None,
    })
}

/// How an operand of this shape stands to an output of that shape: in rows that `limit` is a multiple of
/// (exactly `limit` unless rows may be shorter).
fn layout(shape: &[usize], out: &[usize], limit: usize, shorter: bool) -> Option<Layout> {
    if shape.len() > out.len() {
        return None;
    }
    let total: usize = out.iter().product();
    let missing = out.len() - shape.len();
    let size = |index: usize| if index < missing { 1 } else { shape[index - missing] };
    if (0..out.len()).all(|index| size(index) == out[index]) {
        return Some(Layout::Same);
    }
    // The longest run of trailing dimensions that all repeat, or all vary.
    let mut row = 1;
    let mut varies = None;
    let mut inner = out.len();
    for index in (0..out.len()).rev().filter(|index| out[*index] != 1) {
        let this = size(index) != 1;
        if varies.is_some_and(|varies| varies != this) {
            break;
        }
        (varies, row, inner) = (Some(this), row * out[index], index);
    }
    let row = if row.is_multiple_of(limit) {
        limit
    } else if shorter && limit.is_multiple_of(row) {
        row
    } else {
        return None;
    };
    if row < ROW_LEAST.min(total) || total / row > ROWS_MAX {
        return None;
    }
    let offsets = offsets(&size, out, row, total, varies == Some(true), inner);
    Some(match varies {
        Some(true) => Layout::Row { row, offsets },
        _ => Layout::Constant { row, offsets },
    })
}

/// Where the operand stands at the start of each row.
fn offsets(
    size: &dyn Fn(usize) -> usize,
    out: &[usize],
    row: usize,
    total: usize,
    varies: bool,
    inner: usize,
) -> Arc<[u32]> {
    let mut strides = vec![0; out.len()];
    let mut step = 1;
    for index in (0..out.len()).rev() {
        strides[index] = if size(index) == 1 { 0 } else { step };
        step *= size(index);
    }
    let run: usize = out[inner..].iter().product();
    let place = |start: usize| {
        let (mut rest, mut at) = (start / run, if varies { start % run } else { 0 });
        for index in (0..inner).rev() {
            at += rest % out[index] * strides[index];
            rest /= out[index];
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    };
    (0..total).step_by(row).map(place).collect()
}

/// A chain of element-wise steps on its own: the tail does everything.
#[derive(Debug)]
struct Pieces {
    row: usize,
}

impl Kernel for Pieces {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = call.f32(0)?;
        let mut out = call.f32s(x.len());
        let tail = call.tail;
        let share = if self.row >= SHARE { SHARE.min(self.row) } else { SHARE / self.row * self.row };
        let aligned = self.row.is_multiple_of(share) || share.is_multiple_of(self.row);
        let share = if aligned { share } else { self.row };
        call.cpu.chunks(&mut out, share, 2 * SHARE, |index, chunk| {
            let start = index * share;
            for (row, piece) in chunk.chunks_mut(self.row).enumerate() {
                let from = start + row * self.row;
                piece.copy_from_slice(&x[from..from + piece.len()]);
                if let Some(tail) = tail {
                    tail.apply(from, piece);
                }
            }
        });
        Ok(vec![TensorData::F32(out)])
    }
}
