//! FP16 and BF16: as f32 inside, rounded once to nearest even at the end of an operator.
//!
//! [`widened`] prepares a node as if its halves were f32. A result is a half if input 0 is one and the
//! f32 operator gives f32. Nothing here fails but what it calls.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Call, Kernel, Operand, Prepared, Scope};
use crate::Fault;
use crate::plan::ValueType;

/// Constants above this stay unknown to a widened `prepare`.
const CONSTANT_ELEMENTS_MAX: usize = 1 << 16;

fn is_half(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16)
}

/// `prepare`, which knows f32 and no halves, for any float type.
pub(crate) fn widened(
    scope: &Scope<'_>,
    prepare: impl FnOnce(&Scope<'_>) -> Result<Prepared, Fault>,
) -> Result<Prepared, Fault> {
    if !scope.operands.iter().flatten().any(|operand| is_half(operand.ty.dtype)) {
        return prepare(scope);
    }
    let mut bytes = 0_u64;
    let mut wide: Vec<Option<(ValueType, Option<Tensor>)>> = Vec::with_capacity(scope.operands.len());
    for operand in &scope.operands {
        wide.push(operand.filter(|operand| is_half(operand.ty.dtype)).map(|operand| {
            let ty = ValueType { dtype: Dtype::F32, shape: operand.ty.shape.clone() };
            bytes = bytes.saturating_add(ty.bytes());
            let small = operand.constant.filter(|_| ty.elements() <= CONSTANT_ELEMENTS_MAX);
            let constant = small.and_then(widen);
            (ty, constant)
        }));
    }
    let operands = scope.operands.iter().zip(&wide).map(|(operand, wide)| match wide {
        Some((ty, constant)) => Some(Operand { ty, constant: constant.as_ref() }),
        None => *operand,
    });
    let inner = Scope {
        attributes: scope.attributes.clone(),
        operands: operands.collect(),
        outputs: scope.outputs,
        limits: scope.limits,
        packed: scope.packed,
    };
    let prepared = prepare(&inner)?;
    let first = scope.input(0)?.dtype;
    let types = prepared.outputs.clone();
    let narrow = |ty: &ValueType| match ty.dtype {
        Dtype::F32 if is_half(first) => ValueType { dtype: first, shape: ty.shape.clone() },
        _ => ty.clone(),
    };
    let outputs = types.iter().map(narrow).collect();
    let made = types.iter().map(ValueType::bytes).fold(bytes, u64::saturating_add);
    let scratch_bytes = prepared.scratch_bytes.saturating_add(made);
    let Prepared { macs, known, open, kernel, .. } = prepared;
    Ok(Prepared { outputs, macs, scratch_bytes, known, open, kernel: Box::new(Widened { kernel, types }) })
}

#[derive(Debug)]
struct Widened {
    kernel: Box<dyn Kernel>,
    /// Types of the outputs of `kernel`.
    types: Vec<ValueType>,
}

impl Kernel for Widened {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let wide: Vec<Option<Tensor>> = call.inputs.iter().map(|input| input.and_then(widen)).collect();
        let inputs: Vec<Option<&Tensor>> =
            wide.iter().zip(call.inputs).map(|(wide, input)| wide.as_ref().or(*input)).collect();
        let outputs = self.kernel.run(&Call {
            cpu: call.cpu,
            inputs: &inputs,
            outputs: &self.types,
            packed: call.packed,
            pool: call.pool,
            tail: None,
            budget: call.budget,
        })?;
        let narrow = |(data, ty): (TensorData, &ValueType)| match (data, ty.dtype) {
            (TensorData::F32(v), Dtype::F16) => TensorData::F16(v.into_iter().map(f16::from_f32).collect()),
            (TensorData::F32(v), Dtype::BF16) => {
                TensorData::BF16(v.into_iter().map(bf16::from_f32).collect())
            }
            (data, _) => data,
        };
        Ok(outputs.into_iter().zip(call.outputs).map(narrow).collect())
    }
}

/// Halves as f32; `None` for another type.
fn widen(tensor: &Tensor) -> Option<Tensor> {
    let wide = match tensor.data() {
        TensorData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
        TensorData::BF16(v) => v.iter().map(|x| x.to_f32()).collect(),
        _ => return None,
    };
    Tensor::f32(tensor.shape(), wide).ok()
}
