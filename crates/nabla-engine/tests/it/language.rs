//! Fabula, the repository's language model: the same bits everywhere, and the words that llama.cpp gives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nabla_engine::language::{
    Constraint, Event, Generation, JobId, Pooling, Sampling, Scheduler, SchedulerConfig, TextModel, embed,
    generate_in_pieces, replay,
};
use nabla_engine::{Engine, Kernels, Limits};
use nabla_text::Message;
use serde::{Deserialize, Serialize};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/fabula")
}

fn fabula(kernels: Kernels, threads: usize) -> Option<TextModel> {
    let engine = Engine::with_threads(kernels, threads).ok()?;
    let file = std::fs::read(folder().join("model.gguf")).unwrap();
    Some(TextModel::load(&engine, &file, &Limits::default()).unwrap())
}

/// What is recorded of each case: digests of tokens, of a text's vector and of logits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    tokens: BTreeMap<String, String>,
    vector: String,
    logits: String,
}

fn digest(bytes: impl IntoIterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    hex::encode(&blake3::hash(&bytes).as_bytes()[..16])
}

fn tokens_digest(tokens: &[u32]) -> String {
    digest(tokens.iter().flat_map(|token| token.to_le_bytes()))
}

fn floats_digest(floats: &[f32]) -> String {
    digest(floats.iter().flat_map(|float| float.to_le_bytes()))
}

/// Requests of every kind: by chance and not, with penalties, with a grammar, short and long prompts.
fn requests(model: &TextModel) -> Vec<(&'static str, Generation)> {
    let chat = |text: &str| model.chat_prompt(&[Message::new("user", text)]).unwrap();
    let chance = Sampling { temperature: 0.9, top_p: 0.95, seed: 7, ..Sampling::default() };
    let picky = Sampling {
        temperature: 1.3,
        top_k: 50,
        min_p: 0.02,
        repetition_penalty: 1.1,
        frequency_penalty: 0.4,
        presence_penalty: 0.2,
        seed: 1 << 40,
        ..Sampling::default()
    };
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":8},"age":{"type":"integer","minimum":1,"maximum":99}},"required":["name","age"],"additionalProperties":false}"#;
    let constraint = Some(Constraint::JsonSchema(schema.to_owned()));
    vec![
        ("greedy", Generation::of(chat("What colour is the sky?"), 24)),
        (
            "chance",
            Generation {
                sampling: chance.clone(),
                ..Generation::of(chat("Tell me a story about a dragon"), 40)
            },
        ),
        (
            "picky",
            Generation {
                sampling: picky,
                ..Generation::of(model.text_prompt("Once upon a time, ").unwrap(), 40)
            },
        ),
        ("schema", Generation { sampling: chance, constraint, ..Generation::of(chat("Name a friend"), 40) }),
    ]
}

fn run(model: &TextModel, piece: usize) -> Recorded {
    let limits = Limits::default();
    let tokens = requests(model).into_iter().map(|(name, request)| {
        let answered = generate_in_pieces(model, &request, piece, &limits, |_| {}).unwrap();
        let replayed = replay(model, &request, &answered.tokens, &limits).unwrap();
        assert_eq!((replayed.difference, replayed.finish), (None, Some(answered.finish)), "{name}");
        (name.to_owned(), tokens_digest(&answered.tokens))
    });
    let tokens = tokens.collect();
    let text = model.text_prompt("The fox found a ball in the garden, and was very happy.").unwrap();
    let vector = floats_digest(&embed(model, &text, Pooling::Mean, &limits).unwrap());
    let mut context = model.model().context(text.len(), &limits).unwrap();
    let logits =
        text.chunks(piece).flat_map(|piece| context.feed(piece, piece.len()).unwrap()).collect::<Vec<_>>();
    Recorded { tokens, vector, logits: floats_digest(&logits) }
}

/// All requests at once, several times each.
fn run_together(model: &TextModel, step_tokens_max: usize) -> BTreeMap<String, String> {
    let config = SchedulerConfig { step_tokens_max, pages_bytes: 64 << 20, ..SchedulerConfig::default() };
    let mut scheduler = Scheduler::new(model.clone(), config).unwrap();
    let requests = requests(model);
    let mut jobs: BTreeMap<JobId, (&str, Vec<u32>)> = BTreeMap::new();
    for client in 0..3 {
        for (name, request) in &requests {
            jobs.insert(scheduler.submit(client, request.clone()).unwrap(), (name, Vec::new()));
        }
    }
    while !scheduler.is_idle() {
        for (job, event) in scheduler.step() {
            match event {
                Event::Piece(piece) => jobs.get_mut(&job).unwrap().1.push(piece.token),
                Event::Finished { .. } => {}
                Event::Failed(error) => panic!("{error}"),
            }
        }
    }
    let mut all = BTreeMap::new();
    for (name, tokens) in jobs.into_values() {
        let digest = tokens_digest(&tokens);
        assert_eq!(*all.entry(name.to_owned()).or_insert_with(|| digest.clone()), digest, "{name}");
    }
    all
}

/// The words in the name are what the stages of test.sh for other processors look for.
#[test]
fn language_models_give_the_recorded_bits_on_all_kernels_threads_pieces_and_batches() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/language.json");
    if std::env::var_os("NABLA_BLESS").is_some() {
        let recorded = run(&fabula(Kernels::Auto, 1).unwrap(), 1000);
        std::fs::write(&path, serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
    }
    let recorded: Recorded = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let emulated = std::env::var_os("NABLA_EMULATED").is_some();
    let mut compared = 0;
    for (kernels, threads, piece) in [
        (Kernels::Scalar, 1, 1000),
        (Kernels::Avx2, 2, 5),
        (Kernels::Avx512, 1, 1),
        (Kernels::Avx512, 3, 16),
        (Kernels::Neon, 2, 7),
    ] {
        // An emulated processor takes a hundred times as long: its own kernels once, and no more.
        if emulated && (kernels == Kernels::Scalar || kernels == Kernels::Avx512) {
            continue;
        }
        let Some(model) = fabula(kernels, threads) else { continue };
        assert_eq!(run(&model, piece), recorded, "{kernels}, {threads} threads, pieces of {piece}");
        compared += 1;
        if !emulated {
            let together = run_together(&model, 16 * threads);
            assert_eq!(together, recorded.tokens, "{kernels}, {threads} threads, together");
            compared += 1;
        }
    }
    println!("{compared} runs of a language model gave the recorded bits");
    assert!(compared >= 1);
}

#[derive(Debug, Deserialize)]
struct Greedy {
    rows: Vec<Row>,
}

/// A prompt, and the tokens of llama.cpp.
#[derive(Debug, Deserialize)]
struct Row {
    prompt: String,
    prompt_tokens: Vec<u32>,
    llama_cpp: Vec<u32>,
}

/// The first 64 likeliest tokens after each prompt. llama.cpp rounds scales of activations to half precision, so that
/// a near tie may fall the other way; no other reason is accepted.
#[test]
fn the_first_tokens_are_those_of_llama_cpp() {
    let greedy = std::fs::read(folder().join("examples/greedy.json")).unwrap();
    let greedy: Greedy = serde_json::from_slice(&greedy).unwrap();
    let (model, limits) = (fabula(Kernels::Auto, 1).unwrap(), Limits::default());
    let (mut equal, mut all) = (0, 0);
    for Row { prompt, prompt_tokens, llama_cpp } in greedy.rows {
        let ours = model.chat_prompt(&[Message::new("user", &prompt)]).unwrap();
        assert_eq!(ours, prompt_tokens, "{prompt}: the same template and vocabulary");
        let length = u32::try_from(llama_cpp.len()).unwrap();
        let answered =
            generate_in_pieces(&model, &Generation::of(ours, length), 256, &limits, |_| {}).unwrap();
        let same = answered.tokens.iter().zip(&llama_cpp).take_while(|(ours, theirs)| ours == theirs).count();
        (equal, all) = (equal + same, all + llama_cpp.len());
        println!("{prompt}: the same {same} of {} tokens", llama_cpp.len());
        if let Some(theirs) = llama_cpp.get(same) {
            let ours = answered.tokens[same];
            let text = [prompt_tokens.as_slice(), &llama_cpp[..same]].concat();
            let mut context = model.model().context(text.len(), &limits).unwrap();
            let logits = context.feed(&text, 1).unwrap();
            let gap = logits[ours as usize] - logits[*theirs as usize];
            println!("  then {ours} in the place of {theirs}: a near tie, {gap} apart");
            assert!(gap < 0.1, "{prompt}: {gap} is no near tie");
        }
    }
    println!("{equal} of {all} tokens are those of llama.cpp");
    assert!(equal * 10 >= all * 8, "{equal} of {all}");
}
