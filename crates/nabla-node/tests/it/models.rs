//! A node's models: loaded once, within bytes, again after a restart, and never from anything altered.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use nabla_client::publish::Package;
use nabla_engine::{Model, Runtime};
use nabla_node::{
    Config,
    models::{Loaded, ModelError, Models},
};
use nabla_types::{LayoutId, ModelId, Opg, tensor::NamedTensor};
use tokio::task::JoinSet;

use crate::network::{TestNetwork, engine, one_digit, package};

const NODE: &str = "inference-1";

fn digits_id() -> ModelId {
    package("digits").manifest.model_id()
}

impl TestNetwork {
    fn models(&self) -> Arc<Models> {
        self.inference().next().and_then(|node| node.models()).expect("the node runs models").clone()
    }

    fn folder(&self, name: &str) -> PathBuf {
        let (config, _) = self.nodes.iter().find(|(config, _)| config.name == NODE).expect("it is laid out");
        config.data_dir.join(name)
    }
}

/// A hash of the answer to one digit.
fn digest(loaded: &Loaded) -> blake3::Hash {
    let inputs: Result<Vec<_>, _> = one_digit().into_iter().map(NamedTensor::from_json).collect();
    let outputs = loaded.session.run(&inputs.expect("an example")).expect("an answer");
    let mut hasher = blake3::Hasher::new();
    for output in &outputs {
        hasher.update(&output.tensor.to_bytes());
    }
    hasher.finalize()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path, ending)),
            false if path.to_string_lossy().ends_with(ending) => found.push(path),
            false => {}
        }
    }
    found
}

/// Many first calls at once fetch and load once, and all get the same answer.
#[tokio::test(flavor = "multi_thread")]
async fn many_first_calls_cause_one_load() {
    let network = TestNetwork::start(|_| {}).await;
    let (models, model) = (network.models(), digits_id());
    assert_eq!(models.warm(), []);
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let models = models.clone();
        calls.spawn(async move { models.get(model).await.map(|loaded| digest(&loaded)) });
    }
    let digests: Result<Vec<_>, _> = calls.join_all().await.into_iter().collect();
    let digests = digests.expect("every call is answered");
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    let counters = models.counters();
    assert_eq!((counters.loads_source, counters.loads_disk, counters.loads_failed), (1, 0, 0));
    // Nobody waits in a thread of his own.
    assert_eq!((counters.waits, models.warm()), (0, vec![model]));
    drop(models);
    network.stop().await;
}

/// Too many storage nodes serve altered weights: the load fails and leaves nothing, and when they are honest
/// again, the next call works.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_failed_is_tried_again() {
    let mut network = TestNetwork::start(|_| {}).await;
    let weights = package("digits").manifest.weights.blob;
    let stored = network.ledger.blob(weights).await.expect("the ledger answers").expect("it is stored");
    let (layout, model) = (stored.layout.id(), digits_id());
    for name in ["storage-1", "storage-2", "storage-3"] {
        network.restart(name, |config| alter(&config.data_dir, layout)).await;
    }
    let models = network.models();
    let error = models.get(model).await.expect_err("three of five shards are altered");
    assert!(matches!(error, ModelError::Fetch { .. }), "{error}");
    assert!(error.to_string().contains("needs 3 good shards, found 2"), "{error}");
    assert_eq!((models.warm(), models.counters().loads_failed), (vec![], 1));
    assert!(files(&network.folder("packed"), "").iter().all(|path| path.ends_with("lock")));
    assert!(files(&network.folder("models"), &weights.to_string()).is_empty());

    for name in ["storage-1", "storage-2", "storage-3"] {
        network.restart(name, |config| alter(&config.data_dir, layout)).await;
    }
    digest(&models.get(model).await.expect("the shards are good again"));
    assert_eq!((models.warm(), models.counters().loads_source), (vec![model], 1));
    drop(models);
    network.stop().await;
}

/// Flip a bit in each shard of a blob, and name its file accordingly; done twice, all is as it was.
fn alter(data_dir: &Path, layout: LayoutId) {
    let shards = files(&data_dir.join("shards"), "");
    let mine = |path: &&PathBuf| path.to_string_lossy().contains(&layout.to_string());
    for path in shards.iter().filter(mine) {
        let mut bytes = fs::read(path).expect("a shard");
        bytes[0] ^= 1;
        let name = path.to_string_lossy().into_owned();
        let (key, _) = name.rsplit_once('.').expect("a shard's name");
        fs::write(format!("{key}.{}", nabla_store::shard_id(&bytes)), &bytes).expect("written");
        fs::remove_file(path).expect("removed");
    }
}

/// Bytes that the engine keeps of a model.
fn resident_bytes(package: &Package) -> u64 {
    let model = Model::from_parts(&package.graph, &package.weights, &Default::default()).expect("a model");
    engine().prepare(Arc::new(model)).expect("a session").resident_bytes()
}

/// There is room for either of two models: one goes when the other comes, but not while somebody holds it.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() {
    let tumor = package("tumor");
    let both = resident_bytes(&package("digits")) + resident_bytes(&tumor);
    let network = TestNetwork::start(|config| config.inference.memory_bytes_max = both - 1).await;
    let carol = network.account("carol", Opg::whole(10)).await;
    network.publish_as(&carol, &"carol/tumor".parse().expect("a name"), &tumor).await;
    let (models, first, second) = (network.models(), digits_id(), tumor.manifest.model_id());
    let held = models.get(first).await.expect("there is room");
    let waits = tokio::spawn({
        let models = models.clone();
        async move { models.get(second).await.map(drop) }
    });
    while models.counters().loads_failed == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((models.warm(), models.counters().evictions), (vec![first], 0));
    digest(&held);
    drop(held);
    waits.await.expect("no panic").expect("the first goes");
    assert_eq!((models.warm(), models.counters().evictions), (vec![second], 1));
    drop(models.get(first).await.expect("the second goes"));
    assert_eq!((models.warm(), models.counters().evictions), (vec![first], 2));
    drop(models);
    network.stop().await;
}

/// After a restart the packed file is used, whose answer is the same; a broken one is noticed and replaced.
#[tokio::test(flavor = "multi_thread")]
async fn packed_models_outlive_a_restart() {
    let mut network = TestNetwork::start(|_| {}).await;
    let model = digits_id();
    let expected = digest(&network.models().get(model).await.expect("a first call"));
    let packed = network.folder("packed");
    let no_blobs = |config: &Config| {
        for blob in files(&config.data_dir.join("models"), "").iter().filter(|path| is_blob(path)) {
            fs::remove_file(blob).expect("removed");
        }
    };
    network.restart(NODE, no_blobs).await;
    let whole = fs::read(&files(&packed, ".packed")[0]).expect("written before the stop ended");
    assert_eq!(digest(&network.models().get(model).await.expect("from disk")), expected);
    let counters = network.models().counters();
    assert_eq!((counters.loads_disk, counters.loads_source, counters.loads_failed), (1, 0, 0));

    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for broken in [flip(whole.len() / 2), flip(whole.len() - 1), whole[..whole.len() - 40].to_vec(), vec![]] {
        network.restart(NODE, |_| fs::write(&files(&packed, ".packed")[0], &broken).expect("written")).await;
        assert_eq!(digest(&network.models().get(model).await.expect("loaded anew")), expected);
        let counters = network.models().counters();
        assert_eq!((counters.loads_disk, counters.loads_source, counters.loads_failed), (0, 1, 0));
        network.restart(NODE, |_| {}).await;
        assert_eq!(fs::read(&files(&packed, ".packed")[0]).expect("a new file"), whole);
    }
    network.stop().await;
}

fn is_blob(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.len() == 64)
}

/// A manifest that promises another cost than its graph has is refused, and nothing of the model stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_false_cost_is_refused() {
    let network = TestNetwork::start(|_| {}).await;
    let carol = network.account("carol", Opg::whole(10)).await;
    let mut cheap = package("tumor");
    cheap.manifest.macs_per_row += 1;
    network.publish_as(&carol, &"carol/cheap".parse().expect("a name"), &cheap).await;
    let models = network.models();
    for failed in 1..=2 {
        let error = models.get(cheap.manifest.model_id()).await.expect_err("its cost is not true");
        assert!(error.code() == "bad_model" && error.to_string().contains("cost"), "{error}");
        assert_eq!((models.warm(), models.counters().loads_failed), (vec![], failed));
        assert!(files(&network.folder("packed"), ".packed").is_empty());
    }
    drop(models);
    network.stop().await;
}
