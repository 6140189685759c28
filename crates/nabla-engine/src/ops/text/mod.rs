//! Operators on texts.
//!
//! # Rules
//! - A text stays within [`TEXT_BYTES_MAX`]; an operator that would make a longer one fails the run.
//! - Letters change case by the simple mappings of the Unicode Character Database (one letter for one
//!   letter), in the version of the compiler's tables; no locale.

use nabla_types::tensor::{Dtype, TensorData};

use super::identity::plain;
use super::movement::copy::StridedCopy;
use super::movement::rearrange::broadcast;
use super::{Call, Element, FnKernel, Operator, Prepared, Scope, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::limits::TEXT_BYTES_MAX;
use crate::plan::ValueType;

mod ngrams;
mod pattern;
mod tokens;

#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("RegexFullMatch", plain, pattern::regex_full_match),
    Operator::node("StringConcat", plain, string_concat),
    Operator::node("StringNormalizer", plain, string_normalizer),
    Operator::node("StringSplit", plain, string_split),
    Operator::node("TfIdfVectorizer", plain, ngrams::tf_idf_vectorizer),
    Operator::microsoft("Tokenizer", plain, tokens::tokenizer),
];

/// Bytes that are looked at for each text.
const TEXT_MACS: u64 = TEXT_BYTES_MAX as u64;

/// An input of texts.
fn texts<'a>(scope: &Scope<'a>, input: usize) -> Result<&'a ValueType, Fault> {
    scope.typed(input, &[Dtype::String], "BYTES")
}

/// Refuse a text that has become too long.
fn bounded(text: String) -> Result<String, Fault> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(text);
    }
    Err(Fault::Shape {
        what: "text",
        expected: format!("at most {TEXT_BYTES_MAX} bytes"),
        got: format!("{} bytes", text.len()),
    })
}

/// Each text of the first input with that of the second behind it.
fn string_concat(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, y) = (texts(scope, 0)?, texts(scope, 1)?);
    let shape = broadcast(x, &y.shape)?.iter().map(|(size, _)| *size).collect();
    let output = scope.value(Dtype::String, shape)?;
    let copy = |ty: &ValueType| {
        let sizes = broadcast(ty, &output.shape)?;
        let sizes = if output.elements() == 0 { vec![(0, 0)] } else { sizes };
        Ok::<_, Fault>(StridedCopy::dense(0, &sizes))
    };
    let copies = [copy(x)?, copy(y)?];
    let bytes = output.bytes();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut joined = vec![String::new(); call.elements(0)];
        let mut behind = joined.clone();
        copies[0].run(call.slice::<String>(0)?, &mut joined);
        copies[1].run(call.slice::<String>(1)?, &mut behind);
        let both = joined.into_iter().zip(behind).map(|(x, y)| bounded(x + &y));
        Ok(vec![TensorData::String(both.collect::<Result<_, _>>()?)])
    });
    let macs = output.count().saturating_mul(TEXT_MACS);
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(bytes))
}

/// How letters change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl Case {
    fn of(self, text: &str) -> String {
        fn simple(c: char, mut mapped: impl Iterator<Item = char>) -> char {
            match (mapped.next(), mapped.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        }
        match self {
            Self::Kept => text.to_owned(),
            Self::Lower => text.chars().map(|c| simple(c, c.to_lowercase())).collect(),
            Self::Upper => text.chars().map(|c| simple(c, c.to_uppercase())).collect(),
        }
    }
}

/// Stop words left out, letters changed.
fn string_normalizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = texts(scope, 0)?;
    let case = match scope.attributes.text_or("case_change_action", "NONE")? {
        "NONE" => Case::Kept,
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        other => return Err(fault("case_change_action", "NONE, LOWER or UPPER", other)),
    };
    let sensitive = scope.attributes.flag_or("is_case_sensitive", false)?;
    let locale = scope.attributes.text_or("locale", "")?;
    if ["tr", "az", "lt"].iter().any(|language| locale.starts_with(language)) {
        return Err(fault("locale", "a language whose letters change case as Unicode has it", locale));
    }
    let compared = match (sensitive, case) {
        (true, _) => Case::Kept,
        (false, Case::Upper) => Case::Upper,
        (false, _) => Case::Lower,
    };
    let mut stops: Vec<String> =
        scope.attributes.texts("stopwords")?.iter().map(|word| compared.of(word)).collect();
    stops.sort_unstable();
    let stays = move |text: &String| stops.is_empty() || stops.binary_search(&compared.of(text)).is_err();
    if !matches!(x.shape.as_slice(), [_] | [1, _]) {
        return Err(misfit("input of StringNormalizer", "[C] or [1, C]", x));
    }
    let tensor = scope.constant(0, "input, whose texts settle the size of the output")?;
    let given = <String as Element>::slice(tensor.data()).unwrap_or_default();
    let count = given.iter().filter(|text| stays(text)).count();
    let mut shape = x.shape.clone();
    // If nothing stays, one empty text does.
    shape[x.rank() - 1] = count.max(1);
    let output = scope.value(Dtype::String, shape)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let kept = call.slice::<String>(0)?.iter().filter(|text| stays(text));
        let mut kept = kept.map(|text| bounded(case.of(text))).collect::<Result<Vec<_>, _>>()?;
        if kept.is_empty() {
            kept.push(String::new());
        }
        Ok(vec![TensorData::String(kept)])
    });
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(4 * TEXT_MACS)))
}

/// The parts of a text. Without a delimiter, white space divides, at the ends too.
fn parts<'t>(text: &'t str, delimiter: &str, most: usize) -> Vec<&'t str> {
    if delimiter.is_empty() {
        let mut rest = text.trim();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            match rest.find(char::is_whitespace).filter(|_| parts.len() < most) {
                Some(at) => {
                    parts.push(&rest[..at]);
                    rest = rest[at..].trim_start();
                }
                None => {
                    parts.push(rest);
                    break;
                }
            }
        }
        return parts;
    }
    if text.is_empty() { Vec::new() } else { text.splitn(most.saturating_add(1), delimiter).collect() }
}

/// The parts of each text, filled up with empty ones, and their number.
fn string_split(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 1, 1, 2)?;
    let x = texts(scope, 0)?;
    let delimiter = scope.attributes.text_or("delimiter", "")?.to_owned();
    let most = usize::try_from(scope.attributes.int_or("maxsplit", -1)?).unwrap_or(usize::MAX);
    let tensor = scope.constant(0, "input, whose texts settle the size of the output")?;
    let given = <String as Element>::slice(tensor.data()).unwrap_or_default();
    let width = given.iter().map(|text| parts(text, &delimiter, most).len()).max().unwrap_or(0);
    let mut outputs = vec![
        scope.value(Dtype::String, [x.shape.as_slice(), &[width]].concat())?,
        scope.value(Dtype::I64, x.shape.clone())?,
    ];
    let count = scope.outputs;
    outputs.truncate(count);
    let macs = x.count().saturating_mul(2 * TEXT_MACS);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut all = Vec::with_capacity(call.elements(0));
        let mut counts = Vec::new();
        for text in call.slice::<String>(0)? {
            let parts = parts(text, &delimiter, most);
            counts.push(i64::try_from(parts.len()).unwrap_or(i64::MAX));
            let filled = parts.into_iter().chain(std::iter::repeat("")).take(width);
            all.extend(filled.map(str::to_owned));
        }
        let mut outputs = vec![TensorData::String(all), TensorData::I64(counts)];
        outputs.truncate(count);
        Ok(outputs)
    });
    Ok(Prepared::new(outputs, kernel).macs(macs))
}
