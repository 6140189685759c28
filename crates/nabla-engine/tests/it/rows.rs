//! A row of a batch gives the bits that it gives alone, whatever the other rows are: models as people export
//! them, in batches of four.

use std::sync::Arc;

use nabla_engine::{Dim, Engine, Kernels, Model, Port, Runtime, Session};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::zoo::{Case, cases};

const ROWS: usize = 4;

/// Models of the zoo whose rows meet on purpose, and how.
const MIXED: [(&str, &str); 4] = [
    ("int8_mlp_dynamic", DYNAMIC),
    ("int8_resnet_dynamic", DYNAMIC),
    ("int8_bert_dynamic", DYNAMIC),
    ("int8_gpt_dynamic", DYNAMIC),
];
const DYNAMIC: &str = "DynamicQuantizeLinear takes least and greatest of the whole batch";

/// Models of the zoo that take one row only: their shapes are fixed somewhere inside.
const ONE_ROW: [&str; 0] = [];

/// A tensor as a list of lists of `count` equal parts along one axis.
struct Parts<'t> {
    tensor: &'t Tensor,
    axis: usize,
    count: usize,
}

impl Parts<'_> {
    /// These parts, one after the other, along the same axis.
    fn choose(&self, parts: &[usize]) -> Tensor {
        let shape = self.tensor.shape();
        let size = |dims: &[u64]| usize::try_from(dims.iter().product::<u64>()).unwrap();
        let (outer, inner) = (size(&shape[..self.axis]), size(&shape[self.axis..]) / self.count);
        let places = || {
            (0..outer)
                .flat_map(move |outer| parts.iter().map(move |part| (outer * self.count + part) * inner))
        };
        let data = match self.tensor.data() {
            TensorData::String(texts) => {
                TensorData::String(places().flat_map(|at| texts[at..at + inner].to_vec()).collect())
            }
            data => {
                let (bytes, width) = (data.to_le_bytes().unwrap(), data.dtype().size_bytes().unwrap());
                let chosen: Vec<u8> =
                    places().flat_map(|at| bytes[at * width..(at + inner) * width].to_vec()).collect();
                TensorData::from_le_bytes(data.dtype(), &chosen).unwrap()
            }
        };
        let mut chosen = shape.to_vec();
        chosen[self.axis] = chosen[self.axis] / self.count as u64 * parts.len() as u64;
        Tensor::new(chosen, data).unwrap()
    }
}

/// Four rows from the recorded ones. Where fewer are recorded, the elements of the repeated ones are rotated.
fn four_rows(recorded: &Tensor) -> Tensor {
    let count = usize::try_from(recorded.shape()[0]).unwrap();
    let rows = Parts { tensor: recorded, axis: 0, count };
    let row = |index: usize| rows.choose(&[index % count]);
    let turned = (0..ROWS).map(|index| rotated(row(index), index / count));
    let turned: Vec<Tensor> = turned.collect();
    let mut shape = recorded.shape().to_vec();
    shape[0] = ROWS as u64;
    let data = match recorded.data() {
        TensorData::String(_) => TensorData::String(turned.iter().flat_map(texts).cloned().collect()),
        data => {
            let bytes: Vec<u8> = turned.iter().flat_map(|row| row.data().to_le_bytes().unwrap()).collect();
            TensorData::from_le_bytes(data.dtype(), &bytes).unwrap()
        }
    };
    Tensor::new(shape, data).unwrap()
}

fn texts(tensor: &Tensor) -> &[String] {
    if let TensorData::String(texts) = tensor.data() { texts } else { panic!("{tensor:?} holds no texts") }
}

fn rotated(tensor: Tensor, by: usize) -> Tensor {
    let (shape, data) = tensor.into_parts();
    let data = match data {
        TensorData::String(mut texts) => {
            let by = by % texts.len().max(1);
            texts.rotate_left(by);
            TensorData::String(texts)
        }
        data => {
            let mut bytes = data.to_le_bytes().unwrap();
            let by = by * data.dtype().size_bytes().unwrap() % bytes.len().max(1);
            bytes.rotate_left(by);
            TensorData::from_le_bytes(data.dtype(), &bytes).unwrap()
        }
    };
    Tensor::new(shape, data).unwrap()
}

/// The dimension of an output that holds the rows.
fn axis_of_rows(port: &Port, batch: &Dim, together: &Tensor, alone: &Tensor) -> Result<usize, String> {
    let by_name = port.shape.iter().position(|dim| dim == batch);
    let grown = |axis: &usize| together.shape()[*axis] == alone.shape()[*axis] * ROWS as u64;
    let axis = by_name.or_else(|| (0..alone.shape().len()).find(grown)).filter(grown);
    axis.ok_or_else(|| {
        format!("{} is {:?} for {ROWS} rows, {:?} for one", port.name, together.shape(), alone.shape())
    })
}

/// Why the rows of this batch depend on each other, if they do.
fn check_batch(session: &dyn Session, inputs: &[NamedTensor]) -> Result<(), String> {
    let batch = session.interface().inputs()[0].shape[0].clone();
    let together = session.run(inputs).map_err(|error| error.to_string())?;
    for row in 0..ROWS {
        let one = |input: &NamedTensor| {
            let rows = Parts { tensor: &input.tensor, axis: 0, count: ROWS };
            NamedTensor::new(input.name.clone(), rows.choose(&[row]))
        };
        let one: Vec<NamedTensor> = inputs.iter().map(one).collect();
        let alone = session.run(&one).map_err(|error| format!("row {row}: {error}"))?;
        for ((together, alone), port) in together.iter().zip(&alone).zip(session.interface().outputs()) {
            let axis = axis_of_rows(port, &batch, &together.tensor, &alone.tensor)?;
            if (Parts { tensor: &together.tensor, axis, count: ROWS }).choose(&[row]) != alone.tensor {
                return Err(format!("{} of row {row} is another alone", port.name));
            }
        }
    }
    Ok(())
}

fn check(case: &Case, model: &Arc<Model>, kernels: Kernels) -> Result<(), String> {
    let session = Engine::new(kernels).unwrap().prepare(model.clone()).map_err(|error| error.to_string())?;
    for (set, (inputs, _)) in case.sets().into_iter().enumerate() {
        let four: Vec<NamedTensor> = inputs
            .iter()
            .map(|input| NamedTensor::new(input.name.clone(), four_rows(&input.tensor)))
            .collect();
        check_batch(session.as_ref(), &four).map_err(|problem| format!("{kernels}, set {set}: {problem}"))?;
    }
    Ok(())
}

#[test]
fn rows_of_a_batch_give_the_bits_that_they_give_alone() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in cases() {
        let Ok(model) = case.import() else { continue };
        let interface = model.interface();
        if !interface.is_batched() {
            continue;
        }
        let Dim::Symbol(batch) = &interface.inputs()[0].shape[0] else { continue };
        let one_row = interface.symbols().iter().any(|symbol| symbol.name == *batch && symbol.max == 1);
        let mixed = MIXED.iter().any(|(name, _)| *name == case.name);
        if one_row != ONE_ROW.contains(&case.name.as_str()) {
            wrong.push(format!("{}: takes one row only: {one_row}", case.name));
        }
        if one_row {
            continue;
        }
        let problem =
            [Kernels::Auto, Kernels::Scalar].into_iter().find_map(|k| check(&case, &model, k).err());
        match problem {
            Some(problem) if !mixed => wrong.push(format!("{}: {problem}", case.name)),
            None if mixed => wrong.push(format!("{}: its rows no longer meet", case.name)),
            _ => checked += 1,
        }
    }
    println!("{checked} batched models: a row gives its bits alone, but for {} that mix rows", MIXED.len());
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
