//! One node on given inputs, as it runs late: prepared with every operand known.

use nabla_types::tensor::{Tensor, TensorData};

use crate::graph::{Attribute, Attributes};
use crate::kernels::Cpu;
use crate::ops::{Call, Operand, Scope, find};
use crate::plan::{Budget, Pool, ValueType};
use crate::{Fault, Limits};

/// Outputs of an operator. Inputs that are `None` are not given.
pub(in crate::ops) fn run(
    operator: &str,
    inputs: &[Option<Tensor>],
    attributes: &[(&str, Attribute)],
    outputs: usize,
) -> Result<Vec<Tensor>, Fault> {
    let mut all = Attributes::default();
    for (name, value) in attributes {
        all.insert(name, value.clone())?;
    }
    let types: Vec<_> = inputs.iter().map(|tensor| tensor.as_ref().map(ValueType::of)).collect();
    let limits = Limits::default();
    let operands = types.iter().zip(inputs);
    let operands = operands.map(|(ty, t)| Some(Operand { ty: ty.as_ref()?, constant: t.as_ref() })).collect();
    let scope = Scope { attributes: all.reader(), operands, outputs, limits: &limits, packed: None };
    let prepared = find(operator).expect("a known operator").prepare(&scope)?;
    assert_eq!(prepared.outputs.len(), outputs);
    let given: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let (cpu, pool, budget) = (Cpu::scalar(), Pool::default(), Budget::new(&limits, 0, 0));
    let types = &prepared.outputs;
    let call = Call {
        cpu: &cpu,
        inputs: &given,
        outputs: types,
        packed: None,
        pool: &pool,
        tail: None,
        budget: &budget,
    };
    let made = prepared.kernel.run(&call)?;
    assert_eq!(made.len(), outputs);
    let whole = |(ty, data): (&ValueType, TensorData)| {
        assert_eq!(ty.dtype, data.dtype());
        Tensor::new(ty.wide(), data).expect("as many elements as the shape says")
    };
    Ok(prepared.outputs.iter().zip(made).map(whole).collect())
}

/// The first of one output.
pub(in crate::ops) fn one(
    operator: &str,
    inputs: &[Tensor],
    attributes: &[(&str, Attribute)],
) -> Result<Tensor, Fault> {
    let inputs: Vec<Option<Tensor>> = inputs.iter().cloned().map(Some).collect();
    Ok(run(operator, &inputs, attributes, 1)?.remove(0))
}

pub(in crate::ops) fn ints(values: &[i64]) -> Tensor {
    Tensor::i64(&[values.len() as u64], values.to_vec()).expect("a list")
}

pub(in crate::ops) fn floats(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::f32(shape, values.to_vec()).expect("a whole tensor")
}

pub(in crate::ops) fn texts(shape: &[u64], values: &[&str]) -> Tensor {
    let values = values.iter().map(|text| (*text).to_owned()).collect();
    Tensor::new(shape.to_vec(), TensorData::String(values)).expect("a whole tensor")
}
