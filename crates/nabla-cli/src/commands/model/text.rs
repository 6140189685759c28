//! A language model's file: checked, asked, measured.

mod bench;

use std::{fs::File, io::IsTerminal, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use nabla_engine::{
    Engine, FileSource, Folder, Limits,
    language::{
        Answered, Constraint, Finish, Generation, Sampling, TextModel, generate_in_pieces, import_folder,
    },
};
use nabla_text::{Message, StopStrings};
use nabla_types::tensor::{NamedTensor, Tensor, outputs_digest};
use serde_json::json;

use super::{Context, engine};
use crate::{
    args::{EngineArgs, TextArgs},
    failure::Failure,
    output::{bytes, table},
};

pub(super) use bench::bench;

/// Longest JSON schema.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;

/// Read a model; the file is as large as it is, on one's own machine.
fn load(path: &Path, engine: &Engine) -> Result<TextModel> {
    let limits = Limits { weight_bytes_max: u64::MAX, ..Limits::default() };
    let loaded = if path.is_dir() {
        let files = Folder::new(path)?;
        import_folder(&files, &limits).and_then(|joined| TextModel::load(engine, &joined, &limits))
    } else {
        let file = File::open(path).and_then(FileSource::new);
        TextModel::load(engine, &file.map_err(|error| Failure::bad_file(path, error))?, &limits)
    };
    loaded.with_context(|| format!("cannot load {}", path.display()))
}

pub(super) fn check(context: &Context<'_>, path: &Path) -> Result<()> {
    let engine = Engine::new(nabla_engine::Kernels::Auto)?;
    let model = load(path, &engine)?;
    let config = model.config();
    let facts = [
        ("file", path.display().to_string()),
        ("architecture", config.architecture.traits().name.to_owned()),
        ("blocks", format!("{} of width {}", config.block_count, config.embedding_length)),
        ("vocabulary", format!("{} tokens", config.vocabulary_size)),
        ("context", format!("{} tokens", config.context_length)),
        ("chat template", if model.template().is_some() { "yes" } else { "no" }.to_owned()),
        ("work", format!("{} multiply-adds a token", model.macs_per_token())),
        ("resident", bytes(model.resident_bytes())),
        ("verdict", "can be served".to_owned()),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    context.output.document(&json!({
        "ok": true,
        "file": path.display().to_string(),
        "format": "gguf",
        "architecture": config.architecture.traits().name,
        "blocks": config.block_count,
        "width": config.embedding_length,
        "vocabulary": config.vocabulary_size,
        "context": config.context_length,
        "chat_template": model.template().is_some(),
        "macs_per_token": model.macs_per_token(),
        "resident_bytes": model.resident_bytes(),
    }));
    Ok(())
}

/// One answer. Its text is printed as it comes.
pub(super) fn run(
    context: &Context<'_>,
    path: &Path,
    args: &TextArgs,
    engine_args: &EngineArgs,
) -> Result<()> {
    let Some(prompt) = &args.prompt else {
        let reason = format!("{} is a language model: it takes no tensors", path.display());
        let hint = Some("give it text with --prompt TEXT".to_owned());
        return Err(Failure::BadArgument { reason, hint }.into());
    };
    let (engine, threads) = engine(engine_args)?;
    let model = load(path, &engine)?;
    let generation = generation(&model, prompt, args)?;
    let limits = Limits::default();
    let started = Instant::now();
    let chunk = args.prefill_chunk as usize;
    let mut printed = 0;
    let answered = generate_in_pieces(&model, &generation, chunk, &limits, |piece| {
        context.output.piece(&piece.text);
        printed += piece.text.len();
    })?;
    context.output.piece(&answered.text[printed..]);
    print(context, &generation, &answered, &engine, threads, started.elapsed().as_secs_f64())
}

fn generation(model: &TextModel, prompt: &str, args: &TextArgs) -> Result<Generation> {
    let prompt = if args.chat {
        let system = args.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", prompt)]).collect();
        model.chat_prompt(&messages)?
    } else {
        model.text_prompt(prompt)?
    };
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
        ..Sampling::default()
    };
    let stop = StopStrings::new(&args.stop).map_err(nabla_engine::Error::from)?;
    let constraint = args.schema.as_deref().map(schema).transpose()?;
    Ok(Generation { sampling, stop, constraint, ..Generation::of(prompt, args.max_tokens) })
}

fn schema(path: &Path) -> Result<Constraint, Failure> {
    use std::io::Read;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SCHEMA_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| Failure::bad_file(path, error))?;
    Ok(Constraint::JsonSchema(text))
}

fn print(
    context: &Context<'_>,
    generation: &Generation,
    answered: &Answered,
    engine: &Engine,
    threads: usize,
    seconds: f64,
) -> Result<()> {
    let Answered { tokens, text, finish } = answered;
    let finish = match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    };
    let count = [tokens.len() as u64];
    let tensor = Tensor::i64(&count, tokens.iter().map(|token| i64::from(*token)).collect())?;
    let digest = hex::encode(outputs_digest(&[NamedTensor::new("tokens", tensor)]));
    if std::io::stdout().is_terminal() || !text.ends_with('\n') {
        context.output.line("");
    }
    context.output.line("");
    let facts = [
        (
            "tokens",
            format!("{} read, {} written ({finish}), {seconds:.2} s", generation.prompt.len(), tokens.len()),
        ),
        ("kernels", format!("{}, threads {threads}", engine.kernels())),
        ("digest", format!("{digest} (the same on every machine)")),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    context.output.document(&json!({
        "text": text,
        "tokens": tokens,
        "finish_reason": finish,
        "prompt_tokens": generation.prompt.len(),
        "completion_tokens": tokens.len(),
        "kernels": engine.kernels(),
        "output_digest": digest,
    }));
    Ok(())
}
