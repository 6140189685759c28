//! How fast the repository's models and one large matrix product run, on one thread.
//!
//! `cargo bench -p nabla-engine` prints one line per case: rows per second, multiply-adds per second.
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nabla_engine::{Dim, Engine, Kernels, Limits, Model, NoExternalData, Runtime, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor};

mod wire;

fn main() {
    for kernels in [Kernels::Auto, Kernels::Scalar] {
        let engine = Engine::new(kernels).unwrap();
        println!("kernels {}", engine.kernels());
        for name in ["digits", "tumor"] {
            let model = model(name);
            for batch in [1, 64] {
                measure(name, &engine, model.clone(), batch);
            }
        }
        measure("matmul 1024x1024", &engine, Arc::new(wire::matmul(1024, 1024)), 192);
    }
}

fn model(name: &str) -> Arc<Model> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name).join("model.onnx");
    Arc::new(import_onnx(&std::fs::read(path).unwrap(), &NoExternalData, &Limits::default()).unwrap())
}

fn measure(name: &str, engine: &Engine, model: Arc<Model>, batch: u64) {
    let session = engine.prepare(model.clone()).unwrap();
    let port = &model.inputs()[0];
    let shape: Vec<u64> =
        port.shape.iter().map(|dim| if let Dim::Fixed(n) = dim { *n } else { batch }).collect();
    let count: u64 = shape.iter().product();
    let values = (0..count).map(|i| (i % 17) as f32 * 0.37).collect();
    let input = [NamedTensor::new(port.name.clone(), Tensor::f32(&shape, values).unwrap())];
    session.run(&input).unwrap();
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.5 {
        let start = Instant::now();
        session.run(&input).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
    }
    let macs = model.cost().for_batch(batch).macs as f64 / best / 1e9;
    println!(
        "{name:18} batch {batch:4}  {:9.1} us  {:10.0} rows/s  {macs:7.2} GMAC/s",
        best * 1e6,
        batch as f64 / best
    );
}
