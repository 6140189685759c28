//! What is measured: the models that `benches/models.py` makes, and how to run them here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use nabla_benches::clock::{Clock, Watch};
use nabla_engine::{Engine, Limits, NoExternalData, Runtime, Session, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData};
use serde_json::Value;

/// The least ratio to aim for, by the start of a work's name and the batch (0: any).
const TARGETS: [(&str, u64, f64); 9] = [
    ("gemm", 0, 0.95),
    ("minilm", 1, 0.8),
    ("minilm", 8, 0.8),
    ("resnet18-int8", 1, 0.5),
    ("resnet18", 1, 0.8),
    ("resnet18", 8, 0.7),
    ("xgboost", 0, 1.0),
    ("lightgbm", 0, 1.0),
    ("forest", 0, 1.0),
];

#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    file: String,
    pub(crate) batches: Vec<u64>,
    pub(crate) ports: Vec<Value>,
}

/// Seconds of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    root().join("target/bench-models")
}

/// The Python of the models' virtual environment, which also has the peer.
pub(crate) fn python() -> PathBuf {
    root().join("target/peers-models/bin/python3")
}

/// Make the models if they are not there, and list them.
pub(crate) fn read() -> Vec<Work> {
    let list = folder().join("works.json");
    if !list.exists() || !python().exists() {
        let script = root().join("benches/models.py");
        let made = Command::new("python3").arg(script).arg(folder()).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "benches/models.py makes the models: needs python3 and PyPI"
        );
    }
    let text = std::fs::read_to_string(&list).expect("works.json");
    let works: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    works.iter().map(Work::of).collect()
}

impl Work {
    fn of(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().expect("a text").to_owned();
        let list = |key: &str| json[key].as_array().expect("a list").clone();
        Self {
            name: text("name"),
            file: text("file"),
            batches: list("batches").iter().filter_map(Value::as_u64).collect(),
            ports: list("inputs"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        folder().join(&self.file)
    }

    pub(crate) fn target(&self, batch: u64) -> Option<f64> {
        let fits =
            |(name, at, _): &&(&str, u64, f64)| self.name.starts_with(name) && (*at == 0 || *at == batch);
        TARGETS.iter().find(fits).map(|(_, _, target)| *target)
    }

    /// Whether there is enough in one run for two threads.
    pub(crate) fn shares_threads(&self) -> bool {
        ["gemm", "minilm", "resnet"].iter().any(|name| self.name.starts_with(name))
    }

    /// Inputs of the shapes that the work asks for, by a fixed seed.
    pub(crate) fn inputs(&self, batch: u64) -> Vec<NamedTensor> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 40
        };
        self.ports.iter().map(|port| input(port, batch, &mut next)).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
fn input(port: &Value, batch: u64, next: &mut impl FnMut() -> u64) -> NamedTensor {
    let sizes = port["shape"].as_array().expect("a shape");
    let shape: Vec<u64> = sizes.iter().map(|size| size.as_u64().unwrap_or(batch)).collect();
    let count = shape.iter().product::<u64>();
    let data = match &port["fill"] {
        fill if fill == "normal" => {
            // A sum of uniform numbers is near enough to a normal one.
            let mut normal = || (0..6).map(|_| next() as f32 / (1 << 24) as f32).sum::<f32>() * 1.4 - 4.2;
            TensorData::F32((0..count).map(|_| normal()).collect())
        }
        Value::Object(fill) => {
            let below = fill["below"].as_u64().expect("a bound");
            TensorData::I64((0..count).map(|_| (next() % below).cast_signed()).collect())
        }
        fill => TensorData::I64(vec![i64::from(fill == "ones"); usize::try_from(count).expect("few")]),
    };
    let name = port["name"].as_str().expect("a name");
    NamedTensor::new(name, Tensor::new(shape, data).expect("as many elements as the shape says"))
}

/// A work, loaded into the engine.
#[derive(Debug)]
pub(crate) struct Ours(Arc<dyn Session>);

impl Ours {
    pub(crate) fn load(engine: &Engine, work: &Work) -> Self {
        let bytes = std::fs::read(work.path()).expect("a model that was made");
        let model = import_onnx(&bytes, &NoExternalData, &Limits::default());
        let model = model.unwrap_or_else(|error| panic!("{}: {error}", work.name));
        Self(engine.prepare(Arc::new(model)).expect("a sound model"))
    }

    /// Seconds of one run, the mean of `repeats`.
    pub(crate) fn run(&self, inputs: &[NamedTensor], repeats: u32) -> Seconds {
        let mut watch = Watch::new(Clock::Cpu);
        let began = Instant::now();
        watch.time(|| {
            for _ in 0..repeats {
                drop(std::hint::black_box(self.0.run(inputs).expect("sound inputs")));
            }
        });
        Seconds {
            cpu: watch.elapsed().as_secs_f64() / f64::from(repeats),
            wall: began.elapsed().as_secs_f64() / f64::from(repeats),
        }
    }
}
