//! The model cache from outside: bits, memory, order, single flight, pins, files, crashes.

#![expect(clippy::unwrap_used, reason = "a failure is the test's")]
#![expect(clippy::disallowed_methods, reason = "tests look into the cache's folder and start processes")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use nabla_engine::{
    CacheConfig, CacheError, Clock, Disk, Engine, Interface, Kernels, Lease, Limits, Model, ModelCache,
    NoExternalData, Parts, ReadAt, Resident, Runtime, Session, SourceError, Stage, Watch, import_onnx,
};
use nabla_types::ModelId;
use nabla_types::tensor::{NamedTensor, Tensor};
use proptest::prelude::*;

mod onnx {
    //! The few messages of an ONNX file that these tests need.

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
        out
    }

    pub(crate) fn int(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    pub(crate) fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
        [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    pub(crate) fn text(number: u64, value: &str) -> Vec<u8> {
        bytes(number, value.as_bytes())
    }

    pub(crate) fn port(number: u64, name: &str, dims: &[u64]) -> Vec<u8> {
        let batch = bytes(1, &text(2, "N"));
        let rest = dims.iter().flat_map(|size| bytes(1, &int(1, *size)));
        let shape: Vec<u8> = batch.into_iter().chain(rest).collect();
        let ty = bytes(1, &[int(1, 1), bytes(2, &shape)].concat());
        bytes(number, &[text(1, name), bytes(2, &ty)].concat())
    }

    pub(crate) fn weight(name: &str, dims: &[u64], seed: u64) -> Vec<u8> {
        let count: u64 = dims.iter().product();
        let mut state = seed | 1;
        let value = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let small = i8::from_le_bytes([state.to_be_bytes()[0]]);
            (f32::from(small) / 256.0).to_le_bytes()
        };
        let raw: Vec<u8> = (0..count).flat_map(value).collect();
        let mut tensor: Vec<u8> = dims.iter().flat_map(|size| int(1, *size)).collect();
        tensor.extend([int(2, 1), text(8, name), bytes(9, &raw)].concat());
        bytes(5, &tensor)
    }

    pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        node.extend([text(2, output), text(4, op)].concat());
        bytes(1, &node)
    }

    /// A node of `ai.onnx.ml` with attributes.
    pub(crate) fn ml_node(op: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        node.extend([text(2, output), text(4, op), text(7, "ai.onnx.ml")].concat());
        node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
        bytes(1, &node)
    }

    pub(crate) fn ints(name: &str, values: impl Iterator<Item = u64>) -> Vec<u8> {
        let values: Vec<u8> = values.flat_map(|value| int(8, value)).collect();
        [text(1, name), values, int(20, 7)].concat()
    }

    pub(crate) fn floats(name: &str, values: impl Iterator<Item = f32>) -> Vec<u8> {
        let values: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        [text(1, name), bytes(7, &values), int(20, 6)].concat()
    }

    pub(crate) fn texts(name: &str, value: &str, count: usize) -> Vec<u8> {
        [text(1, name), text(9, value).repeat(count), int(20, 8)].concat()
    }

    pub(crate) fn file(graph: &[Vec<u8>]) -> Vec<u8> {
        [
            int(1, 8),
            bytes(7, &graph.concat()),
            bytes(8, &[text(1, ""), int(2, 17)].concat()),
            bytes(8, &[text(1, "ai.onnx.ml"), int(2, 3)].concat()),
        ]
        .concat()
    }
}

/// A model with its parts.
struct Sample {
    id: ModelId,
    model: Model,
    graph: Vec<u8>,
    weights: Vec<u8>,
    inputs: Vec<NamedTensor>,
}

fn sample(number: u8, shape: &[u64], graph: &[Vec<u8>]) -> Sample {
    let model = import_onnx(&onnx::file(graph), &NoExternalData, &Limits::default()).unwrap();
    let count: u64 = shape.iter().product();
    let values = (0..count).map(|i| f32::from(u8::try_from(i % 251).unwrap()) / 64.0 - 1.5).collect();
    let inputs = vec![NamedTensor::new("x", Tensor::f32(shape, values).unwrap())];
    let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
    Sample { id: ModelId([number; 32]), model, graph, weights, inputs }
}

/// Products of `width` columns: Gemm with bias, then `layers` times MatMul and an addition.
fn dense(number: u8, width: u64, layers: u64) -> Sample {
    let seed = u64::from(number) * 1000;
    let mut graph = vec![
        onnx::port(11, "x", &[width]),
        onnx::weight("w", &[width, width], seed),
        onnx::weight("b", &[width], seed + 1),
        onnx::node("Gemm", &["x", "w", "b"], "h0"),
    ];
    for layer in 0..layers {
        let name = |what: &str, layer: u64| format!("{what}{layer}");
        let (w, h, m, next) = (name("w", layer), name("h", layer), name("m", layer), name("h", layer + 1));
        graph.push(onnx::weight(&w, &[width, width], seed + 2 + layer));
        graph.push(onnx::node("MatMul", &[&h, &w], &m));
        graph.push(onnx::node("Tanh", &[&m], &next));
    }
    let last = format!("h{layers}");
    // The output of the Gemm is taken twice, a weight is shared, and one is added as it is.
    graph.push(onnx::node("MatMul", &[&last, "w"], "again"));
    graph.push(onnx::node("Add", &["again", "b"], "y"));
    graph.push(onnx::bytes(12, &onnx::text(1, "y")));
    sample(number, &[3, width], &graph)
}

/// A convolution, and a weight that follows from another one.
fn image(number: u8) -> Sample {
    let graph = [
        onnx::port(11, "x", &[8, 9, 9]),
        onnx::weight("w", &[96, 8, 5, 5], 7),
        onnx::weight("v", &[81, 300], 9),
        onnx::node("Tanh", &["v"], "u"),
        onnx::node("Conv", &["x", "w"], "c"),
        onnx::node("Flatten", &["c"], "f"),
        onnx::weight("k", &[96 * 25, 81], 11),
        onnx::node("MatMul", &["f", "k"], "m"),
        onnx::node("MatMul", &["m", "u"], "y"),
        onnx::bytes(12, &onnx::text(1, "y")),
    ];
    sample(number, &[2, 8, 9, 9], &graph)
}

/// Large weights whose values a plan needs after all: beside nothing but constants, which only planning shows.
fn folded(number: u8) -> Sample {
    let graph = [
        onnx::port(11, "x", &[160]),
        onnx::weight("w", &[160, 160], 7),
        onnx::node("Shape", &["x"], "s"),
        onnx::node("ConstantOfShape", &["s"], "z"),
        onnx::node("MatMul", &["z", "w"], "m"),
        onnx::node("Add", &["m", "x"], "y"),
        onnx::bytes(12, &onnx::text(1, "y")),
    ];
    sample(number, &[3, 160], &graph)
}

/// A forest whose tables are large, and which a plan reads.
fn forest(number: u8) -> Sample {
    const TREES: u64 = 20_000;
    let zeros = |name: &str| onnx::ints(name, (0..TREES).map(|_| 0));
    let count = usize::try_from(TREES).unwrap();
    let weights = (0..TREES).map(|tree| f32::from(u8::try_from(tree % 97).unwrap()));
    let attributes = [
        onnx::ints("nodes_treeids", 0..TREES),
        zeros("nodes_nodeids"),
        zeros("nodes_featureids"),
        onnx::floats("nodes_values", (0..TREES).map(|_| 0.0)),
        onnx::texts("nodes_modes", "LEAF", count),
        zeros("nodes_truenodeids"),
        zeros("nodes_falsenodeids"),
        onnx::ints("target_treeids", 0..TREES),
        zeros("target_nodeids"),
        zeros("target_ids"),
        onnx::floats("target_weights", weights),
        [onnx::text(1, "n_targets"), onnx::int(3, 1), onnx::int(20, 2)].concat(),
    ];
    let graph = [
        onnx::port(11, "x", &[4]),
        onnx::ml_node("TreeEnsembleRegressor", &["x"], "y", &attributes),
        onnx::bytes(12, &onnx::text(1, "y")),
    ];
    sample(number, &[3, 4], &graph)
}

fn engine() -> Engine {
    Engine::new(Kernels::Auto).unwrap()
}

fn cache(config: CacheConfig) -> ModelCache {
    ModelCache::new(engine(), config).unwrap()
}

fn in_folder(folder: &Path) -> CacheConfig {
    CacheConfig { folder: Some(folder.to_owned()), ..CacheConfig::default() }
}

impl Sample {
    fn parts(&self) -> Result<Parts, SourceError> {
        Ok(Parts { graph: self.graph.clone(), weights: Box::new(self.weights.clone()) })
    }

    fn get(&self, cache: &ModelCache) -> Result<Lease, CacheError> {
        cache.get(self.id, || self.parts())
    }

    fn expected(&self) -> Vec<NamedTensor> {
        engine().prepare(Arc::new(self.model.clone())).unwrap().run(&self.inputs).unwrap()
    }

    fn check(&self, session: &dyn Session) {
        assert_eq!(session.run(&self.inputs).unwrap(), self.expected());
        assert_eq!(session.interface().cost(), self.model.cost());
        assert_eq!(session.interface().outputs(), self.model.outputs());
        let memory = engine().prepare(Arc::new(self.model.clone())).unwrap();
        assert_eq!(session.resident_bytes(), memory.resident_bytes());
    }
}

fn no_source() -> Result<Parts, SourceError> {
    Err("the disk should have answered".into())
}

fn packed_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "packed"));
    files
}

#[test]
fn streamed_mapped_and_in_memory_sessions_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let samples = [dense(1, 160, 3), dense(2, 24, 1), image(3), folded(4), forest(5)];
    let first = cache(in_folder(folder.path()));
    for sample in &samples {
        let lease = sample.get(&first).unwrap();
        assert_eq!(lease.disk(), Disk::Written);
        sample.check(lease.session());
    }
    drop(first);
    let second = cache(in_folder(folder.path()));
    for sample in &samples {
        let lease = second.get(sample.id, no_source).unwrap();
        assert_eq!(lease.disk(), Disk::Mapped);
        sample.check(lease.session());
    }
    let counters = second.counters();
    assert_eq!((counters.loads_source, counters.loads_disk, counters.loads_failed), (0, 5, 0));
}

#[test]
fn a_model_is_hit_once_loaded_and_goes_when_told() {
    let cache = cache(CacheConfig::default());
    let sample = dense(1, 16, 1);
    let lease = sample.get(&cache).unwrap();
    assert_eq!(lease.disk(), Disk::None);
    drop(cache.get(sample.id, no_source).unwrap());
    assert!(!cache.evict(sample.id), "it is leased");
    drop(lease);
    assert!(cache.evict(sample.id));
    assert!(cache.peek(sample.id).is_none());
    assert!(matches!(cache.get(sample.id, no_source), Err(CacheError::Open { .. })));
}

/// Counts reads, and how far they run ahead of what may be held.
struct Counted {
    bytes: Vec<u8>,
    reads: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl ReadAt for Counted {
    fn size_bytes(&self) -> u64 {
        self.bytes.size_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.reads.lock().unwrap().push((offset, into.len() as u64));
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn every_weight_is_read_once_and_large_ones_after_the_plan() {
    let sample = dense(1, 160, 3);
    let reads: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let planned: Arc<Mutex<usize>> = Arc::default();
    let (at_plan, seen) = (planned.clone(), reads.clone());
    let watch = Watch(Arc::new(move |_, stage| {
        if stage == Stage::Planned {
            *at_plan.lock().unwrap() = seen.lock().unwrap().len();
        }
    }));
    let cache = cache(CacheConfig { watch: Some(watch), ..CacheConfig::default() });
    let weights = Counted { bytes: sample.weights.clone(), reads: reads.clone() };
    let lease = cache
        .get(sample.id, || Ok(Parts { graph: sample.graph.clone(), weights: Box::new(weights) }))
        .unwrap();
    sample.check(lease.session());
    let reads = reads.lock().unwrap();
    let large = |(_, length): &&(u64, u64)| *length == 160 * 160 * 4;
    assert_eq!(reads.iter().filter(large).count(), 4, "{reads:?}");
    assert!(reads[..*planned.lock().unwrap()].iter().all(|read| !large(&read)), "{reads:?}");
    assert_eq!(reads.iter().map(|(_, length)| length).sum::<u64>(), sample.weights.len() as u64);
}

/// The bytes that a model takes once it is resident.
fn resident_bytes(sample: &Sample) -> u64 {
    let cache = cache(CacheConfig::default());
    sample.get(&cache).unwrap().session().resident_bytes()
}

fn ids(cache: &ModelCache) -> Vec<u8> {
    cache.resident().iter().map(|resident| resident.model.0[0]).collect()
}

#[test]
fn the_least_recently_used_goes_first() {
    let samples: Vec<Sample> = (1..=4).map(|number| dense(number, 64, 1)).collect();
    let one = resident_bytes(&samples[0]);
    let config = CacheConfig { memory_bytes_max: one * 7 / 2, ..Default::default() };
    let cache = cache(config);
    for sample in &samples[..3] {
        sample.get(&cache).unwrap();
    }
    samples[0].get(&cache).unwrap();
    samples[3].get(&cache).unwrap();
    assert_eq!(ids(&cache), [1, 3, 4]);
    samples[1].get(&cache).unwrap();
    assert_eq!(ids(&cache), [1, 2, 4]);
    assert_eq!(cache.counters().evictions, 2);
}

#[test]
fn what_took_long_to_load_stays_longer() {
    let samples: Vec<Sample> = (1..=3).map(|number| dense(number, 64, 1)).collect();
    let one = resident_bytes(&samples[0]);
    let now = Arc::new(AtomicU64::new(0));
    let told = now.clone();
    let clock = Clock(Arc::new(move || Duration::from_secs(told.load(Ordering::SeqCst))));
    let config = CacheConfig { memory_bytes_max: one * 5 / 2, clock: Some(clock), ..CacheConfig::default() };
    let cache = cache(config);
    for (sample, seconds) in samples.iter().zip([9, 2, 4]) {
        let slow = || {
            now.fetch_add(seconds, Ordering::SeqCst);
            sample.parts()
        };
        let lease = cache.get(sample.id, slow).unwrap();
        assert_eq!(lease.load_seconds(), Some(f64::from(u32::try_from(seconds).unwrap())));
    }
    assert_eq!(ids(&cache), [1, 3]);
}

#[test]
fn pinned_and_leased_models_stay_and_an_error_names_them() {
    let samples: Vec<Sample> = (1..=3).map(|number| dense(number, 64, 1)).collect();
    let one = resident_bytes(&samples[0]);
    let config = CacheConfig { memory_bytes_max: one * 5 / 2, ..CacheConfig::default() };
    let cache = cache(config);
    cache.pin(samples[0].id);
    drop(samples[0].get(&cache).unwrap());
    let lease = samples[1].get(&cache).unwrap();
    let Err(CacheError::NoRoom { holders, held, .. }) = samples[2].get(&cache) else {
        panic!("there is no room");
    };
    assert_eq!((holders, held), (vec![samples[0].id, samples[1].id], one * 2));
    samples[1].check(lease.session());
    drop(lease);
    samples[2].get(&cache).unwrap();
    assert_eq!(ids(&cache), [1, 3]);
    cache.unpin(samples[0].id);
    drop(samples[1].get(&cache).unwrap());
    drop(samples[2].get(&cache).unwrap());
    assert_eq!(ids(&cache), [2, 3]);
    assert_eq!(cache.memory_bytes(), (one * 2, 0));
}

#[test]
fn many_who_ask_at_once_share_one_load() {
    const THREADS: usize = 8;
    let sample = dense(1, 96, 2);
    let cache = cache(CacheConfig::default());
    let (barrier, opened) = (Barrier::new(THREADS), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let lease = cache.get(sample.id, || {
                    opened.fetch_add(1, Ordering::SeqCst);
                    sample.parts()
                });
                sample.check(lease.unwrap().session());
            });
        }
    });
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    assert_eq!(cache.resident()[0].leases, 0);
    let counters = cache.counters();
    assert_eq!(counters.hits + counters.waits, THREADS as u64 - 1);
}

/// Says that it is being read, then waits until it may go on.
struct Gate {
    bytes: Vec<u8>,
    reached: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl ReadAt for Gate {
    fn size_bytes(&self) -> u64 {
        self.bytes.size_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.reached.send(()).map_err(io::Error::other)?;
        self.go.lock().unwrap().recv().map_err(io::Error::other)?;
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn runs_go_on_while_another_model_loads_and_a_failed_load_reaches_all_who_wait() {
    let (fast, slow) = (dense(1, 32, 1), dense(2, 160, 1));
    let cache = cache(CacheConfig::default());
    let lease = fast.get(&cache).unwrap();
    let (reached, at_gate) = channel();
    let (opening, go) = channel();
    std::thread::scope(|scope| {
        let gate = Gate { bytes: slow.weights.clone(), reached, go: Mutex::new(go) };
        let load = || Ok(Parts { graph: slow.graph.clone(), weights: Box::new(gate) as Box<dyn ReadAt> });
        let loader = scope.spawn(|| cache.get(slow.id, load).map(drop));
        at_gate.recv().unwrap();
        // The load hangs in its first read: what is here runs and is leased all the same.
        fast.check(lease.session());
        drop(cache.get(fast.id, no_source).unwrap());
        let (resident, reserved) = cache.memory_bytes();
        assert!(resident > 0 && reserved >= slow.weights.len() as u64);
        let waiter = scope.spawn(|| cache.get(slow.id, no_source).map(drop));
        while cache.counters().waits == 0 {
            std::thread::yield_now();
        }
        drop(opening);
        assert!(matches!(loader.join().unwrap(), Err(CacheError::Read { .. })));
        assert!(matches!(waiter.join().unwrap(), Err(CacheError::Read { .. })));
    });
    assert_eq!(cache.memory_bytes().1, 0);
    slow.check(slow.get(&cache).unwrap().session());
}

/// A reader that is not what it says.
struct Liar {
    bytes: Vec<u8>,
    size_bytes: u64,
    panics_at: Option<u64>,
}

impl ReadAt for Liar {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        assert!(self.panics_at.is_none_or(|at| offset < at), "this reader panics");
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn readers_that_lie_end_the_load_and_nothing_else() {
    let sample = dense(1, 160, 2);
    let whole = sample.weights.len() as u64;
    let cut = sample.weights[..sample.weights.len() / 2].to_vec();
    let cache = cache(CacheConfig::default());
    for (bytes, size_bytes, panics_at) in [
        (cut.clone(), whole, None),
        (cut.clone(), whole / 2, None),
        (sample.weights.clone(), whole + 64, None),
        (sample.weights.clone(), u64::MAX, None),
        (sample.weights.clone(), 0, None),
        (sample.weights.clone(), whole, Some(whole / 2)),
        (sample.weights.clone(), whole, Some(0)),
    ] {
        let liar = Liar { bytes, size_bytes, panics_at };
        let load = || Ok(Parts { graph: sample.graph.clone(), weights: Box::new(liar) as Box<dyn ReadAt> });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get(sample.id, load)));
        assert!(!matches!(result, Ok(Ok(_))));
        assert_eq!(cache.memory_bytes(), (0, 0));
    }
    for length in (0..sample.graph.len()).step_by(7) {
        let graph = sample.graph[..length].to_vec();
        let weights = sample.weights.clone();
        assert!(cache.get(sample.id, || Ok(Parts { graph, weights: Box::new(weights) })).is_err());
    }
    sample.check(sample.get(&cache).unwrap().session());
}

#[test]
fn broken_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, other) = (dense(1, 48, 1), dense(2, 40, 1));
    let fresh = || cache(in_folder(folder.path()));
    drop(other.get(&fresh()).unwrap());
    let other_bytes = std::fs::read(&packed_files(folder.path())[0]).unwrap();
    std::fs::remove_file(&packed_files(folder.path())[0]).unwrap();
    drop(sample.get(&fresh()).unwrap());
    let path = packed_files(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let flips = [0, 8, 15, 16, 40, 100, 400, 16_384, whole.len() / 2, whole.len() - 33, whole.len() - 1];
    let flipped = flips.iter().map(|at| {
        let mut bytes = whole.clone();
        bytes[*at] ^= 0x10;
        bytes
    });
    let cuts = [0, 7, 20, 4096, whole.len() - 1].map(|length| whole[..length].to_vec());
    let longer = [whole.clone(), vec![0; 64]].concat();
    for bytes in flipped.chain(cuts).chain([longer, other_bytes]) {
        std::fs::write(&path, &bytes).unwrap();
        let cache = fresh();
        let lease = sample.get(&cache).unwrap();
        assert_eq!((lease.disk(), cache.counters().loads_source), (Disk::Written, 1));
        sample.check(lease.session());
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the file is the same at every write");
    }
    let narrow = Limits { batch_max: 7, ..Limits::default() };
    let cache = cache(CacheConfig { limits: narrow, ..in_folder(folder.path()) });
    assert_eq!(sample.get(&cache).unwrap().disk(), Disk::Written, "other limits, another file");
}

#[test]
fn a_model_that_the_caller_refuses_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sample = dense(1, 48, 1);
    let refuse = |_: &Interface| Err(SourceError::from("not what it was said to be"));
    let cache = cache(in_folder(folder.path()));
    for _ in 0..2 {
        let error = cache.get_checked(sample.id, refuse, || sample.parts()).unwrap_err();
        assert!(matches!(error, CacheError::Refused { .. }), "{error}");
        assert_eq!((cache.memory_bytes(), cache.resident().len()), ((0, 0), 0));
        assert!(packed_files(folder.path()).is_empty());
    }
    drop(sample.get(&cache).unwrap());
    cache.evict(sample.id);
    // A packed file that is refused goes, and the source is asked; refused again, nothing is left.
    assert!(cache.get_checked(sample.id, refuse, || sample.parts()).is_err());
    assert!(cache.resident().is_empty() && packed_files(folder.path()).is_empty());
    let macs = sample.model.cost().macs;
    let check = |interface: &Interface| match interface.cost().macs {
        found if found == macs => Ok(()),
        found => Err(SourceError::from(format!("{found} multiply-adds"))),
    };
    let lease = cache.get_checked(sample.id, check, || sample.parts()).unwrap();
    sample.check(&lease);
}

#[test]
fn files_with_a_right_hash_and_a_wrong_header_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let sample = image(1);
    let fresh = || cache(in_folder(folder.path()));
    drop(sample.get(&fresh()).unwrap());
    let path = packed_files(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(whole[8..16].try_into().unwrap())).unwrap();
    let mut replaced = 0;
    for at in (8..16 + header).step_by(3) {
        for bit in [0x01, 0x20] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            let length = bytes.len() - 32;
            let hash = blake3::hash(&bytes[..length]);
            bytes[length..].copy_from_slice(hash.as_bytes());
            std::fs::write(&path, &bytes).unwrap();
            replaced += u32::from(sample.get(&fresh()).unwrap().disk() == Disk::Written);
        }
    }
    assert!(replaced > 100, "{replaced}");
}

#[test]
fn a_folder_belongs_to_one_cache_and_holds_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<Sample> = (1..=3).map(|number| dense(number, 64, 1)).collect();
    let config = CacheConfig { folder_bytes_max: 200_000, ..in_folder(folder.path()) };
    let one = cache(config);
    let second = ModelCache::new(engine(), in_folder(folder.path()));
    assert!(matches!(second, Err(CacheError::InUse { .. })));
    for sample in &samples {
        sample.get(&one).unwrap();
        let total: u64 = packed_files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(total <= 200_000 && total > 0);
    }
}

#[test]
fn without_a_usable_disk_models_still_load() {
    let folder = tempfile::tempdir().unwrap();
    let sample = dense(1, 64, 1);
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let blocked = cache(in_folder(&file));
    assert!(blocked.disk_problem().is_some());
    assert_eq!(sample.get(&blocked).unwrap().disk(), Disk::None);
    let full = cache(CacheConfig { folder_bytes_max: 10, ..in_folder(&folder.path().join("packed")) });
    let lease = sample.get(&full).unwrap();
    assert!(matches!(lease.disk(), Disk::Failed { .. }));
    sample.check(lease.session());
    assert!(packed_files(&folder.path().join("packed")).is_empty());
    assert_eq!(full.counters().disk_failures, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn memory_stays_within_its_bound(
        asks in prop::collection::vec((0_usize..6, 0_u8..6), 1..40),
        room in 60_000_u64..400_000,
    ) {
        let samples: Vec<Sample> = (0..6).map(|n| dense(n, 16 + 24 * u64::from(n), 1)).collect();
        let within = |cache: &ModelCache| {
            let (resident, reserved) = cache.memory_bytes();
            resident + reserved <= room
        };
        let weak: Arc<Mutex<Option<ModelCache>>> = Arc::default();
        let (seen, watched) = (Arc::new(AtomicU64::new(0)), weak.clone());
        let over = seen.clone();
        let watch = Watch(Arc::new(move |_, _| {
            if let Some(cache) = &*watched.lock().unwrap() {
                let (resident, reserved) = cache.memory_bytes();
                over.fetch_max(resident + reserved, Ordering::SeqCst);
            }
        }));
        let cache = cache(CacheConfig { memory_bytes_max: room, watch: Some(watch), ..CacheConfig::default() });
        *weak.lock().unwrap() = Some(cache.clone());
        let mut leases: BTreeMap<usize, Lease> = BTreeMap::new();
        for (model, deed) in asks {
            match deed {
                0 => { leases.remove(&model); }
                1 => cache.pin(samples[model].id),
                2 => cache.unpin(samples[model].id),
                _ => match samples[model].get(&cache) {
                    Ok(lease) if deed == 3 => { leases.insert(model, lease); }
                    Ok(_) => {}
                    Err(error) => prop_assert!(matches!(error, CacheError::NoRoom { .. }), "{error}"),
                },
            }
            prop_assert!(within(&cache));
            let found: Vec<Resident> = cache.resident();
            for model in leases.keys() {
                prop_assert!(found.iter().any(|resident| resident.model == samples[*model].id));
            }
            prop_assert_eq!(found.iter().map(|resident| resident.bytes).sum::<u64>(), cache.memory_bytes().0);
            prop_assert_eq!(cache.memory_bytes().1, 0);
        }
        *weak.lock().unwrap() = None;
        prop_assert!(seen.load(Ordering::SeqCst) <= room);
    }
}

const CHILD: &str = "NABLA_TEST_RESIDENCY_DIES_AT";

/// Not a test of its own: what the process does that the next test starts and that dies half-way.
#[test]
fn child_that_dies() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (at, folder) = told.split_once(' ').unwrap();
    let at: u64 = at.parse().unwrap();
    let seen = AtomicU64::new(0);
    let watch = Watch(Arc::new(move |_, _| {
        if seen.fetch_add(1, Ordering::SeqCst) == at {
            std::process::abort();
        }
    }));
    let cache = cache(CacheConfig { watch: Some(watch), ..in_folder(Path::new(folder)) });
    dense(1, 160, 2).get(&cache).unwrap();
}

#[test]
fn a_process_that_dies_leaves_no_broken_file() {
    let sample = dense(1, 160, 2);
    let mut outcomes = BTreeMap::new();
    for at in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let told = format!("{at} {}", folder.path().display());
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program);
        let status = child.args(["--exact", "child_that_dies"]).env(CHILD, told).output().unwrap().status;
        let left = packed_files(folder.path()).len();
        let cache = cache(in_folder(folder.path()));
        let stale = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(stale, left + 1, "only the lock and whole files are left");
        let lease = sample.get(&cache).unwrap();
        assert_eq!(lease.disk(), if left == 1 { Disk::Mapped } else { Disk::Written });
        sample.check(lease.session());
        *outcomes.entry((status.success(), left)).or_insert(0) += 1;
    }
    // Some died before the file had its name, some after, and those with a later stage not at all.
    assert!(
        outcomes[&(false, 0)] >= 5 && outcomes[&(false, 1)] >= 1 && outcomes[&(true, 1)] >= 1,
        "{outcomes:?}"
    );
}

/// The order of weights on disk. If this digest changes, raise `VERSION` in `residency/layout.rs` with it: files
/// of the earlier order must not be taken for those of the new one.
#[test]
fn packed_bytes_are_golden() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ModelCache::new(Engine::new(Kernels::Scalar).unwrap(), in_folder(folder.path())).unwrap();
    let mut hash = blake3::Hasher::new();
    for sample in [dense(1, 40, 1), image(2)] {
        drop(sample.get(&cache).unwrap());
        let path = packed_files(folder.path()).remove(0);
        let bytes = std::fs::read(&path).unwrap();
        // Behind the header, which names the engine's version.
        hash.update(&bytes[1 << 14..bytes.len() - 32]);
        cache.evict(sample.id);
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(
        hash.finalize().to_hex().as_str(),
        "6f09af642c73dfb2b57e731b26b6a0efeed81c14d817ed2d6d61015b2677bf17"
    );
}
