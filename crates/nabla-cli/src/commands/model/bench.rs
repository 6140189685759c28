//! `nabla model bench`: how fast a model runs here.
//!
//! The model is read for exactly the sizes that it is run with, so that its static cost is what a run takes.
//! Inputs that are not given are drawn from a fixed seed: the same on every machine.

mod random;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use nabla_engine::{Dim, Model, Runtime, Session};
use nabla_types::tensor::NamedTensor;
use serde::Serialize;

use super::{Context, INPUT_BYTES_MAX, Upload, batch_symbol, bounds, engine};
use crate::{
    args::{EngineArgs, NamedSize},
    failure::Failure,
    inputs::read_tensors,
    output::{bytes, table},
};

/// Runs go on until there are this many of them and this much time has passed, or until the last limit.
const RUNS_MIN: usize = 5;
const RUNS_MAX: usize = 10_000;
const TIME_MIN: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(20);

/// What is said of the inputs.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) input: Option<PathBuf>,
    pub(super) batch: Option<u64>,
    pub(super) dim: Vec<NamedSize>,
}

/// What was measured; times are medians.
#[derive(Debug, Serialize)]
struct Figures {
    file: String,
    kernels: &'static str,
    threads: usize,
    rows: u64,
    inputs: Vec<Input>,
    runs: usize,
    wall_ms: f64,
    /// Of the whole process; `None` where the system does not count it.
    cpu_ms: Option<f64>,
    rows_per_s: f64,
    macs: u64,
    /// Two floating-point operations for each multiply-add of the static cost.
    gflop_per_s: f64,
    import_ms: f64,
    prepare_ms: f64,
    resident_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Input {
    name: String,
    datatype: &'static str,
    shape: Vec<u64>,
}

pub(super) fn bench(context: &Context<'_>, file: PathBuf, given: &Given, args: &EngineArgs) -> Result<()> {
    let (engine, threads) = engine(args)?;
    let upload = Upload::read(file, &given.dim)?;
    let model = upload.import()?;
    let (upload, model, inputs, rows, imported) = match &given.input {
        Some(path) => {
            let inputs = read_tensors(path, INPUT_BYTES_MAX)?;
            let upload = fit(upload, &model, &inputs);
            let started = Instant::now();
            let model = upload.import()?;
            let rows = rows_of(&model, &inputs);
            (upload, model, inputs, rows, started.elapsed())
        }
        None => {
            let rows = rows_asked(&upload, &model, given)?;
            let started = Instant::now();
            let model = upload.import()?;
            let took = started.elapsed();
            let inputs = random::inputs(&model, rows)?;
            (upload, model, inputs, rows, took)
        }
    };
    let macs = model.cost().for_batch(rows).macs;
    let started = Instant::now();
    let session = engine.prepare(Arc::new(model))?;
    let prepared = started.elapsed();
    let times = measure(session.as_ref(), &inputs)?;
    let wall = median(times.iter().map(|(wall, _)| *wall).collect());
    let cpu = times.iter().map(|(_, cpu)| *cpu).collect::<Option<Vec<_>>>().map(median);
    let figures = Figures {
        file: upload.path.display().to_string(),
        kernels: engine.kernels(),
        threads,
        rows,
        inputs: inputs.iter().map(describe).collect(),
        runs: times.len(),
        wall_ms: ms(wall),
        cpu_ms: cpu.map(ms),
        rows_per_s: per_second(rows, wall),
        macs,
        gflop_per_s: per_second(macs, wall) * 2e-9,
        import_ms: ms(imported),
        prepare_ms: ms(prepared),
        resident_bytes: session.resident_bytes(),
    };
    print(context, &figures);
    Ok(())
}

/// The upload, to be read for the sizes that the inputs have. What does not fit is left for the run to refuse.
fn fit(mut upload: Upload, model: &Model, inputs: &[NamedTensor]) -> Upload {
    let batch = batch_symbol(model).map(|symbol| symbol.name.clone());
    let known = bounds(model);
    for port in model.inputs() {
        let Some(input) = inputs.iter().find(|input| input.name == port.name) else { continue };
        for (dim, size) in port.shape.iter().zip(input.tensor.shape()) {
            let Dim::Symbol(name) = dim else { continue };
            let max = known.get(&**name).copied().unwrap_or(0);
            if Some(name) != batch.as_ref() && (1..=max).contains(size) {
                upload.limits.symbols.insert(name.to_string(), *size);
            }
        }
    }
    upload
}

fn rows_of(model: &Model, inputs: &[NamedTensor]) -> u64 {
    let leading = inputs.first().and_then(|input| input.tensor.shape().first().copied());
    leading.filter(|_| model.interface().is_batched()).unwrap_or(1)
}

/// `--batch`, or the size that `--dim` gives to the batch, or one row.
fn rows_asked(upload: &Upload, model: &Model, given: &Given) -> Result<u64, Failure> {
    let refuse =
        |reason: String, hint: &str| Err(Failure::BadArgument { reason, hint: Some(hint.to_owned()) });
    let Some(batch) = batch_symbol(model) else {
        return match given.batch {
            None | Some(1) => Ok(1),
            Some(_) => refuse(
                "the model has no batch: no open dimension leads all its inputs".to_owned(),
                "leave --batch out, or export with an open first dimension",
            ),
        };
    };
    let rows = given.batch.or(upload.limits.symbols.get(&*batch.name).copied()).unwrap_or(1);
    match rows <= batch.max {
        true => Ok(rows),
        false => refuse(format!("expected at most {} rows, got {rows}", batch.max), "take a smaller --batch"),
    }
}

/// Wall time and CPU time of each run, after one that warms up.
fn measure(session: &dyn Session, inputs: &[NamedTensor]) -> Result<Vec<(Duration, Option<Duration>)>> {
    session.run(inputs)?;
    let mut times = Vec::new();
    let beginning = Instant::now();
    loop {
        let (started, cpu) = (Instant::now(), cpu_time());
        session.run(inputs)?;
        let wall = started.elapsed();
        let cpu = cpu_time().zip(cpu).map(|(now, before)| now.saturating_sub(before));
        times.push((wall, cpu));
        let enough = times.len() >= RUNS_MIN && beginning.elapsed() >= TIME_MIN;
        if enough || times.len() >= RUNS_MAX || beginning.elapsed() >= TIME_MAX {
            return Ok(times);
        }
    }
}

/// CPU time that this process has used, in all its threads.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

fn describe(input: &NamedTensor) -> Input {
    let (name, datatype) = (input.name.clone(), input.tensor.dtype().name());
    Input { name, datatype, shape: input.tensor.shape().to_vec() }
}

fn print(context: &Context<'_>, figures: &Figures) {
    let inputs: Vec<_> = figures
        .inputs
        .iter()
        .map(|input| format!("{} {} {:?}", input.name, input.datatype, input.shape))
        .collect();
    let cpu = figures.cpu_ms.map_or("not counted here".to_owned(), |ms| format!("{ms:.3} ms"));
    let facts = [
        ("inputs", inputs.join(", ")),
        ("kernels", format!("{}, threads {}", figures.kernels, figures.threads)),
        ("load", format!("{:.1} ms to import, {:.1} ms to prepare", figures.import_ms, figures.prepare_ms)),
        ("resident", bytes(figures.resident_bytes)),
        ("wall", format!("{:.3} ms a run, median of {}", figures.wall_ms, figures.runs)),
        ("cpu", cpu),
        ("rows", format!("{:.1} a second", figures.rows_per_s)),
        ("work", format!("{:.2} GFLOP/s, {} multiply-adds a run", figures.gflop_per_s, figures.macs)),
    ];
    context.output.line(table(&facts.map(|(key, value)| vec![key.to_owned(), value])));
    context.output.document(figures);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let median_of = |times: &[u64]| median(times.iter().map(|ms| Duration::from_millis(*ms)).collect());
        assert_eq!(median_of(&[9, 1, 5]), Duration::from_millis(5));
        assert_eq!(median_of(&[]), Duration::ZERO);
    }
}
