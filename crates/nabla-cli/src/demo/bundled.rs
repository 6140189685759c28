//! The real models that this program carries: two that classify, with their held-out tests, and one that talks.

use anyhow::Result;
use nabla_client::publish::Package;
use nabla_engine::NoExternalData;
use nabla_types::{Opg, RepoName};

use crate::package::{package, package_language};

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
/// All that classify.
pub(crate) const ALL: [Bundle; 2] = [DIGITS, TUMOR];

/// The name of the language model.
const FABULA_NAME: &str = "nabla/fabula";
const FABULA: &[u8] = include_bytes!("../../../../models/fabula/model.gguf");
const FABULA_CARD: &[u8] = include_bytes!("../../../../models/fabula/README.md");

/// What an owner gets for each call of these models.
const ROYALTY: Opg = Opg::from_units(200_000_000_000_000);

/// The repository of the language model.
pub(crate) fn fabula_name() -> RepoName {
    FABULA_NAME.parse().expect("a fixed name")
}

/// The language model, to be loaded.
pub(crate) fn fabula() -> Vec<u8> {
    FABULA.to_vec()
}

/// The language model, to be published.
fn fabula_package() -> Result<Package> {
    let files = [("README.md", FABULA_CARD), ("model.gguf", FABULA)];
    let files = files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).to_vec();
    package_language(&fabula(), files, None, ROYALTY)
}

/// The model of this name, to be published.
pub(crate) fn package_of(name: &RepoName) -> Result<Package> {
    match ALL.iter().find(|bundle| bundle.name() == *name) {
        Some(bundle) => bundle.package(),
        None => fabula_package(),
    }
}

/// The names of all models.
pub(crate) fn names() -> Vec<RepoName> {
    ALL.iter().map(Bundle::name).chain([fabula_name()]).collect()
}

impl Bundle {
    /// The repository's name.
    pub(crate) fn name(&self) -> RepoName {
        self.name.parse().expect("a fixed name")
    }

    pub(crate) fn package(&self) -> Result<Package> {
        let files = [("README.md", self.card), ("model.onnx", self.onnx)];
        let files = files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).to_vec();
        package(self.onnx, &NoExternalData, files, None, ROYALTY)
    }
}
