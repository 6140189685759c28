//! TfIdfVectorizer: how often runs of words (or of numbers) stand in a row, weighted.
//!
//! The runs that count are kept as a tree, word by word. Rows are walked from every word, with every distance
//! between the words of a run up to the greatest skip.

use std::collections::HashMap;
use std::hash::Hash;

use nabla_types::tensor::{Dtype, TensorData};

use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::{Call, FnKernel, Prepared, Scope, misfit};

/// What a count becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tf,
    Idf,
    TfIdf,
}

/// Runs of words, and the number of the run that ends at each node.
#[derive(Debug)]
struct Tree<W> {
    next: HashMap<(usize, W), usize>,
    /// Run that ends here, by node.
    ends: Vec<Option<usize>>,
}

/// How runs are made of a row.
#[derive(Debug, Clone, Copy)]
struct Rule {
    least: usize,
    most: usize,
    skips: usize,
}

/// What the counts of the runs become.
#[derive(Debug)]
struct Output {
    mode: Mode,
    /// Column of each run.
    columns: Vec<usize>,
    weights: Vec<f32>,
    width: usize,
}

impl<W: Hash + Eq + Clone> Tree<W> {
    /// `starts` says where in the pool the runs of one word, of two words and so on begin.
    fn build(pool: &[W], starts: &[i64], runs: usize, rule: Rule) -> Result<Self, Fault> {
        let wrong =
            |got: &str| fault("ngram_counts", "rising places in the pool, a column for each run", got);
        let mut tree = Self { next: HashMap::new(), ends: vec![None] };
        let place = |at: &i64| usize::try_from(*at).ok().filter(|at| *at <= pool.len());
        let mut run = 0_usize;
        for (index, start) in starts.iter().enumerate() {
            let length = index + 1;
            let end = starts.get(length).map_or(Some(pool.len()), place);
            let (Some(start), Some(end)) = (place(start), end) else {
                return Err(wrong("a place outside the pool"));
            };
            let words = pool.get(start..end).ok_or_else(|| wrong("falling places"))?;
            if words.len() % length != 0 {
                return Err(wrong("a part of a run"));
            }
            if (rule.least..=rule.most).contains(&length) {
                for (offset, words) in words.chunks_exact(length).enumerate() {
                    tree.insert(words, run + offset);
                }
            }
            run += words.len() / length;
        }
        if run == runs { Ok(tree) } else { Err(wrong("another number of runs")) }
    }

    fn insert(&mut self, words: &[W], run: usize) {
        let mut node = 0;
        for word in words {
            let new = self.ends.len();
            node = *self.next.entry((node, word.clone())).or_insert(new);
            if node == new {
                self.ends.push(None);
            }
        }
        self.ends[node] = Some(run);
    }

    /// Count the runs of a row.
    fn count(&self, row: &[W], rule: Rule, counts: &mut [u64]) {
        let mut least = rule.least;
        for distance in 1..=rule.skips.saturating_add(1).min(row.len().max(1)) {
            let reach = distance.saturating_mul(least - 1);
            for start in 0..row.len().saturating_sub(reach) {
                let mut node = 0;
                for (length, word) in row[start..].iter().step_by(distance).take(rule.most).enumerate() {
                    let Some(next) = self.next.get(&(node, word.clone())) else { break };
                    node = *next;
                    if let Some(run) = self.ends[node].filter(|_| length + 1 >= least) {
                        counts[run] = counts[run].saturating_add(1);
                    }
                }
            }
            // Single words have no distances: they count once.
            if least == 1 {
                least = 2;
                if least > rule.most {
                    break;
                }
            }
        }
    }
}

impl Output {
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let mode = match scope.attributes.text("mode")? {
            "TF" => Mode::Tf,
            "IDF" => Mode::Idf,
            "TFIDF" => Mode::TfIdf,
            other => return Err(fault("mode", "TF, IDF or TFIDF", other)),
        };
        let given = scope.attributes.ints("ngram_indexes")?;
        let columns: Option<Vec<usize>> = given.iter().map(|column| usize::try_from(*column).ok()).collect();
        let columns = columns.filter(|columns| !columns.is_empty());
        let columns = columns.ok_or_else(|| fault("ngram_indexes", "columns from 0", "another"))?;
        let mut sorted = columns.clone();
        sorted.sort_unstable();
        if mode == Mode::Idf && sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(fault(
                "ngram_indexes",
                "each column once where the mode is IDF",
                "one of them twice",
            ));
        }
        let weights = scope.attributes.floats("weights")?.to_vec();
        if !weights.is_empty() && weights.len() != columns.len() {
            let got = weights.len().to_string();
            return Err(fault("weights", &format!("{} weights, one for each run", columns.len()), &got));
        }
        let width = sorted.last().map_or(0, |last| last.saturating_add(1));
        Ok(Self { mode, columns, weights, width })
    }

    /// Add the runs' counts to their columns, in the order of the runs.
    fn write(&self, counts: &[u64], row: &mut [f32]) {
        for (run, (count, column)) in counts.iter().zip(&self.columns).enumerate() {
            let weight = self.weights.get(run).filter(|_| self.mode != Mode::Tf).copied();
            let count = if self.mode == Mode::Idf { (*count).min(1) } else { *count };
            if count > 0 {
                row[*column] += weight.map_or(count as f32, |weight| count as f32 * weight);
            }
        }
    }
}

/// The words of the pool and of the input.
enum Words {
    Numbers(Tree<i64>),
    Texts(Tree<String>),
}

pub(super) fn tf_idf_vectorizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, &[Dtype::String, Dtype::I64, Dtype::I32], "BYTES, INT64 or INT32")?;
    let size = |name: &str, least: i64| {
        let got = scope.attributes.int(name)?;
        let size = usize::try_from(got).ok().filter(|_| got >= least);
        size.ok_or_else(|| fault(name, &format!("a number from {least}"), &got.to_string()))
    };
    let rule = Rule {
        least: size("min_gram_length", 1)?,
        most: size("max_gram_length", 1)?,
        skips: size("max_skip_count", 0)?,
    };
    if rule.least > rule.most {
        return Err(fault("min_gram_length", "at most max_gram_length", &rule.least.to_string()));
    }
    let output = Output::read(scope)?;
    let (numbers, texts) = (scope.attributes.ints("pool_int64s")?, scope.attributes.texts("pool_strings")?);
    let (starts, runs) = (scope.attributes.ints("ngram_counts")?, output.columns.len());
    let words = match (x.dtype, numbers.is_empty(), texts.is_empty()) {
        (Dtype::String, true, false) => Words::Texts(Tree::build(texts, starts, runs, rule)?),
        (Dtype::I64 | Dtype::I32, false, true) => Words::Numbers(Tree::build(numbers, starts, runs, rule)?),
        _ => return Err(fault("pool_strings", "one pool, of the type of the input", "another")),
    };
    let (shape, rows, row) = match *x.shape.as_slice() {
        [] => (vec![output.width], 1, 1),
        [row] => (vec![output.width], 1, row),
        [rows, row] => (vec![rows, output.width], rows, row),
        _ => return Err(misfit("input of TfIdfVectorizer", "[C] or [N, C]", x)),
    };
    let ty = scope.value(Dtype::F32, shape)?;
    let walks = rule.skips.saturating_add(1).min(row.max(1)).saturating_mul(rule.most.min(row)) as u64;
    let macs = x.count().saturating_mul(walks).saturating_mul(8);
    let macs = macs.saturating_add((rows as u64).saturating_mul(runs as u64));
    let scratch = x.count().saturating_mul(8).saturating_add(runs as u64 * 8);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut vectors = vec![0.0_f32; call.elements(0)];
        let each = |at: usize, count: &dyn Fn(&mut [u64]), vectors: &mut Vec<f32>| {
            let mut counts = vec![0; output.columns.len()];
            count(&mut counts);
            output.write(&counts, &mut vectors[at * output.width..(at + 1) * output.width]);
        };
        match &words {
            Words::Texts(tree) => {
                for (at, words) in call.slice::<String>(0)?.chunks(row.max(1)).enumerate() {
                    each(at, &|counts| tree.count(words, rule, counts), &mut vectors);
                }
            }
            Words::Numbers(tree) => {
                let numbers: Vec<i64> = match call.input(0)?.data() {
                    TensorData::I64(v) => v.clone(),
                    TensorData::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
                    _ => Vec::new(),
                };
                for (at, words) in numbers.chunks(row.max(1)).enumerate() {
                    each(at, &|counts| tree.count(words, rule, counts), &mut vectors);
                }
            }
        }
        Ok(vec![TensorData::F32(vectors)])
    });
    Ok(Prepared::one(ty, kernel).macs(macs).scratch_bytes(scratch))
}
