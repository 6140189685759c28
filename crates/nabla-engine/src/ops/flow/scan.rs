//! `Scan`: one pass for each slice of its scanned inputs.

use std::sync::Arc;

use nabla_types::tensor::{Tensor, TensorData};

use super::pieces::{Pile, Side, piled, slice};
use super::{Passes, captures, carried, changed, owned, prepared, waits};
use crate::Fault;
use crate::graph::Body;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Kernel, Prepared, Scope, axis};
use crate::plan::{Pass, ValueType};

const INPUT_SIDES: [&str; 2] = ["scan_input_axes", "scan_input_directions"];
const OUTPUT_SIDES: [&str; 2] = ["scan_output_axes", "scan_output_directions"];

pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 9 {
        let hint = "export with opset 9 or higher";
        return Err(Fault::Unsupported { what: "Scan over a batch of sequences".to_owned(), hint });
    }
    // Lists that say nothing but zero are left out.
    for name in INPUT_SIDES.into_iter().chain(OUTPUT_SIDES) {
        if let Some(list) = upload.take_ints(name)?.filter(|list| list.iter().any(|entry| *entry != 0)) {
            upload.set_ints(name, list)?;
        }
    }
    let (inputs, outputs) = upload.body("body")?;
    upload.capture_from(inputs)?;
    upload.all_outputs(outputs)
}

#[derive(Debug, Clone)]
struct Scan {
    body: Arc<Body>,
    states: usize,
    /// Of the scanned inputs.
    cut: Vec<Side>,
    /// Of the outputs that are piled up: an axis of the whole, and whether it is from the end to the front.
    piles: Vec<(i64, bool)>,
    length: usize,
}

impl Scan {
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let body = scope.attributes.body("body")?;
        let (inputs, outputs) = (body.inputs as usize, body.outputs());
        let number = scope.attributes.int("num_scan_inputs")?;
        let scanned = usize::try_from(number).ok().filter(|count| (1..=inputs).contains(count));
        let scanned = scanned.ok_or_else(|| {
            fault("num_scan_inputs", "from 1 to the inputs of the body", &number.to_string())
        })?;
        let states = inputs - scanned;
        let piles = outputs.checked_sub(states).filter(|_| scope.outputs == outputs);
        let got = scope.outputs;
        let piles = piles.ok_or(Fault::Arity { what: "outputs", expected: "those of the body", got })?;
        let piles = sides(scope, OUTPUT_SIDES, piles)?;
        let mut scan = Self { body: body.clone(), states, cut: Vec::new(), piles, length: 0 };
        for (input, (given, reversed)) in sides(scope, INPUT_SIDES, scanned)?.into_iter().enumerate() {
            let ty = scope.input(states + input)?;
            let side = Side { axis: axis(INPUT_SIDES[0], given, ty.rank())?, reversed };
            scan.cut.push(side);
            let length = ty.shape[side.axis];
            if input > 0 && length != scan.length {
                let (expected, got) = (scan.length.to_string(), length.to_string());
                return Err(Fault::Shape { what: "length of a scanned input", expected, got });
            }
            scan.length = length;
        }
        Ok(scan)
    }

    fn inputs(&self) -> usize {
        self.states + self.cut.len()
    }

    /// Types of what a pass takes.
    fn types(&self, scope: &Scope<'_>) -> Result<Vec<ValueType>, Fault> {
        let mut types = Vec::with_capacity(self.inputs());
        for state in 0..self.states {
            types.push(scope.input(state)?.clone());
        }
        for (input, side) in self.cut.iter().enumerate() {
            let mut ty = scope.input(self.states + input)?.clone();
            ty.shape.remove(side.axis);
            types.push(ty);
        }
        Ok(types)
    }

    /// Where the pieces of an output of this type go.
    fn side(&self, pile: usize, ty: &ValueType) -> Result<Side, Fault> {
        let (given, reversed) = self.piles[pile];
        Ok(Side { axis: axis(OUTPUT_SIDES[0], given, ty.rank() + 1)?, reversed })
    }

    /// All passes. `types` are those of what a pass takes.
    fn run(
        &self,
        mut passes: Passes<'_>,
        types: &[ValueType],
        call: &Call<'_>,
    ) -> Result<Vec<Tensor>, Fault> {
        let held = call.budget.held();
        let mut states = carried(call.inputs.get(..self.states).unwrap_or_default())?;
        let mut piles: Vec<Pile> = self.piles.iter().map(|_| Pile::new()).collect();
        for index in 0..self.length {
            let mut slices = Vec::with_capacity(self.cut.len());
            for (input, side) in self.cut.iter().enumerate() {
                let at = if side.reversed { self.length - 1 - index } else { index };
                slices.push(slice(call.input(self.states + input)?, side.axis, at)?);
            }
            let inputs: Vec<&Tensor> = states.iter().map(AsRef::as_ref).chain(&slices).collect();
            let mut outputs = passes.run(&inputs, call)?;
            let pieces = owned(outputs.split_off(self.states.min(outputs.len())), &inputs);
            let next = changed(outputs, 0, &inputs);
            check_states(&next, types)?;
            passes.carry(&mut states, next, call)?;
            for (pile, piece) in piles.iter_mut().zip(pieces) {
                passes.hold(ValueType::of(&piece).bytes(), call)?;
                pile.push(piece)?;
            }
        }
        let mut outputs: Vec<Tensor> = states.into_iter().map(std::borrow::Cow::into_owned).collect();
        for (index, pile) in piles.into_iter().enumerate() {
            let ty = match pile.ty() {
                Some(ty) => ty,
                None => passes.output(self.states + index, types.to_vec(), call)?,
            };
            let side = self.side(index, &ty)?;
            let whole = piled(&ty, side.axis, pile.count(), call.budget.limits())?;
            passes.hold(whole.bytes(), call)?;
            outputs.push(pile.join(&ty, side, &whole)?);
        }
        call.budget.release(call.budget.held().saturating_sub(held));
        Ok(outputs)
    }
}

/// An axis and a direction for each of so many values.
fn sides(scope: &Scope<'_>, names: [&str; 2], count: usize) -> Result<Vec<(i64, bool)>, Fault> {
    let [axes, directions] = names.map(|name| match scope.attributes.ints(name)? {
        [] => Ok(vec![0; count]),
        list if list.len() == count && list.iter().any(|entry| *entry != 0) => Ok(list.to_vec()),
        list => {
            Err(fault(name, &format!("{count} integers, not all zero"), &format!("{} integers", list.len())))
        }
    });
    let (axes, directions) = (axes?, directions?);
    let direction = |direction: i64| match direction {
        0 | 1 => Ok(direction == 1),
        got => Err(fault(names[1], "0 or 1", &got.to_string())),
    };
    axes.into_iter().zip(directions).map(|(axis, way)| Ok((axis, direction(way)?))).collect()
}

/// A state keeps its type.
fn check_states(states: &[Option<Tensor>], types: &[ValueType]) -> Result<(), Fault> {
    let made = states.iter().map(|state| state.as_ref().map(ValueType::of));
    made.zip(types).try_for_each(|(made, ty)| made.map_or(Ok(()), |made| check_state(&made, ty)))
}

fn check_state(made: &ValueType, ty: &ValueType) -> Result<(), Fault> {
    if made == ty {
        return Ok(());
    }
    Err(Fault::Shape {
        what: "state of Scan after a pass",
        expected: format!("{} {:?}, as before", ty.dtype, ty.shape),
        got: format!("{} {:?}", made.dtype, made.shape),
    })
}

pub(super) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let scan = Scan::read(scope)?;
    let types = scan.types(scope)?;
    let pass = Pass::new(&scan.body, types.clone(), captures(scope, scan.inputs()), scope.limits)?;
    let made = pass.outputs().ok_or_else(|| waits(0))?;
    made.iter().zip(&types).take(scan.states).try_for_each(|(made, ty)| check_state(made, ty))?;
    let mut outputs = types[..scan.states].to_vec();
    for (index, ty) in made[scan.states..].iter().enumerate() {
        outputs.push(piled(ty, scan.side(index, ty)?.axis, scan.length, scope.limits)?);
    }
    let count = scan.length as u64;
    // The kernel owns the plan, which `prepared` looks at first.
    let all = prepared(scope, &pass, count, outputs)?;
    Ok(all.with_kernel(ScanKernel { scan, types, pass }))
}

pub(super) fn run(scope: &Scope<'_>, call: &Call<'_>) -> Result<Vec<Tensor>, Fault> {
    let scan = Scan::read(scope)?;
    let passes = Passes::late(&scan.body, scope, call, scan.inputs());
    scan.run(passes, &scan.types(scope)?, call)
}

#[derive(Debug)]
struct ScanKernel {
    scan: Scan,
    types: Vec<ValueType>,
    pass: Pass,
}

impl Kernel for ScanKernel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let passes = Passes::ready(&self.pass, call, self.scan.inputs());
        let outputs = self.scan.run(passes, &self.types, call)?;
        Ok(outputs.into_iter().map(|tensor| tensor.into_parts().1).collect())
    }
}
