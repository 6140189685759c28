//! Inputs of a model, as people give them: a file in the shape of the Open Inference Protocol.

use std::{fs::File, io::Read, path::Path};

use nabla_types::tensor::{NamedTensor, TensorJson};
use serde::Deserialize;

use crate::failure::Failure;

/// Inputs in the shape of the Open Inference Protocol; what else stands beside them is left unread.
#[derive(Debug, Deserialize)]
struct Inputs {
    inputs: Vec<TensorJson>,
}

/// Read inputs of at most so many bytes from a file or, for `-`, from standard input.
pub(crate) fn read_inputs(path: &Path, bytes_max: usize) -> Result<Vec<TensorJson>, Failure> {
    let mut bytes = Vec::new();
    // One more, to tell a text that is too long from one that just fits.
    let limit = bytes_max as u64 + 1;
    let read = match path.as_os_str().as_encoded_bytes() {
        b"-" => std::io::stdin().take(limit).read_to_end(&mut bytes),
        _ => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::bad_file(path, error))?;
    if bytes.len() > bytes_max {
        return Err(Failure::bad_file(
            path,
            format!("expected at most {bytes_max} bytes of inputs, got more"),
        ));
    }
    let inputs: Inputs = serde_json::from_slice(&bytes).map_err(|error| Failure::BadFile {
        path: path.to_owned(),
        reason: error.to_string(),
        hint: Some("expected {\"inputs\": [{\"name\", \"shape\", \"datatype\", \"data\"}]}".to_owned()),
    })?;
    Ok(inputs.inputs)
}

/// As [`read_inputs`], with the elements checked against types and shapes.
pub(crate) fn read_tensors(path: &Path, bytes_max: usize) -> Result<Vec<NamedTensor>, Failure> {
    let tensor = |json| NamedTensor::from_json(json).map_err(|error| Failure::bad_file(path, error));
    read_inputs(path, bytes_max)?.into_iter().map(tensor).collect()
}
