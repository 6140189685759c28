//! The two real models that this program carries, with their held-out tests.

use anyhow::Result;
use nabla_client::publish::Package;
use nabla_engine::NoExternalData;
use nabla_types::{Opg, RepoName};

use crate::package::package;

/// A model in this program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bundle {
    name: &'static str,
    onnx: &'static [u8],
    card: &'static [u8],
    /// The held-out rows, in the shape of the Open Inference Protocol.
    pub(crate) heldout: &'static [u8],
    /// Their true labels, a JSON array.
    pub(crate) labels: &'static [u8],
    /// What is classified, for people.
    pub(crate) what: &'static str,
    /// The least accuracy that the model card promises.
    pub(crate) accuracy_min: f64,
}

macro_rules! bundle {
    ($folder:literal, $name:literal, $what:literal, $accuracy_min:literal) => {
        Bundle {
            name: $name,
            onnx: include_bytes!(concat!("../../../../models/", $folder, "/model.onnx")),
            card: include_bytes!(concat!("../../../../models/", $folder, "/README.md")),
            heldout: include_bytes!(concat!("../../../../models/", $folder, "/examples/heldout.json")),
            labels: include_bytes!(concat!("../../../../models/", $folder, "/examples/heldout.labels.json")),
            what: $what,
            accuracy_min: $accuracy_min,
        }
    };
}

/// A convolutional network that reads handwritten digits.
pub(crate) const DIGITS: Bundle = bundle!("digits", "nabla/digits", "handwritten digits", 0.97);
/// Gradient-boosted trees that tell tumours apart.
pub(crate) const TUMOR: Bundle = bundle!("tumor", "nabla/tumor", "tumours", 0.93);
/// All of them.
pub(crate) const ALL: [Bundle; 2] = [DIGITS, TUMOR];

impl Bundle {
    /// The repository's name.
    pub(crate) fn name(&self) -> RepoName {
        self.name.parse().expect("a fixed name")
    }

    /// The package to publish.
    pub(crate) fn package(&self) -> Result<Package> {
        let files = [("README.md", self.card), ("model.onnx", self.onnx)];
        let files = files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).to_vec();
        package(self.onnx, &NoExternalData, files, None, Opg::from_units(200_000_000_000_000))
    }
}
