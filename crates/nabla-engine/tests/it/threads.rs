//! Sessions that many threads use at once answer as they do alone.

use std::sync::{Arc, Barrier};

use nabla_engine::{Engine, Kernels, Runtime, Session};
use nabla_types::tensor::{NamedTensor, outputs_digest};

use crate::zoo::cases;

const THREADS: usize = 4;
const ROUNDS: usize = 5;

type Work = (Arc<dyn Session>, Vec<Vec<NamedTensor>>, Vec<[u8; 32]>);

/// A session, inputs for it, and what it answers alone.
fn work(name: &str, engine: &Engine) -> Work {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let session = engine.prepare(case.import().unwrap()).unwrap();
    let inputs: Vec<Vec<NamedTensor>> = case.sets().into_iter().map(|(inputs, _)| inputs).collect();
    let alone = inputs.iter().map(|inputs| outputs_digest(&session.run(inputs).unwrap())).collect();
    (session, inputs, alone)
}

fn check(engine: &Engine) {
    let names = ["torch_mlp_torchscript", "torch_bert_dynamo", "torch_mobilenet_torchscript"];
    let all: Vec<Work> = names.iter().map(|name| work(name, engine)).collect();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (all, start) = (&all, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS * all.len() {
                    let (session, inputs, alone) = &all[(thread + round) % all.len()];
                    for (inputs, alone) in inputs.iter().zip(alone) {
                        assert_eq!(outputs_digest(&session.run(inputs).unwrap()), *alone, "thread {thread}");
                    }
                }
            });
        }
    });
}

#[test]
fn sessions_may_run_at_once() {
    check(&Engine::new(Kernels::Auto).unwrap());
    check(&Engine::new(Kernels::Scalar).unwrap());
}

/// All sessions share the threads of one engine.
#[test]
fn sessions_may_share_threads_at_once() {
    check(&Engine::with_threads(Kernels::Auto, 3).unwrap());
}
