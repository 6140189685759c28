//! `Tokenizer` of ONNX Runtime's own domain: the parts of a text that match a pattern, or that stand between
//! separators.
//!
//! # Rules
//! - Patterns are RE2's, read as in [`super::pattern`]. The first place where one matches counts, and there the
//!   longest match; a match of nothing is passed over together with the character behind it.
//! - Separators are taken one after the other: each divides what the ones before it have left, and sees nothing
//!   around that piece. A single empty separator divides a text in its characters.
//! - Parts of fewer characters than `mincharnum` are left out.

use nabla_types::tensor::{Dtype, TensorData};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::pattern::{COMPILED_BYTES_MAX, NESTING_MAX, translate};
use super::texts;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::limits::TEXT_BYTES_MAX;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope};

/// Most separators of a node.
const SEPARATORS_MAX: usize = 64;
/// Around the parts of a text, if it is marked.
const MARKS: [&str; 2] = ["\u{2}", "\u{3}"];
/// Steps through the states of a pattern in a text of full length, at most: from each place to the end.
const TEXT_STEPS: u64 = (TEXT_BYTES_MAX * TEXT_BYTES_MAX / 2) as u64;

/// A pattern that finds the longest match at a place.
struct Longest(DFA);

impl Longest {
    fn compile(name: &str, pattern: &str) -> Result<Self, Fault> {
        let refused = |problem: &str| fault(name, "RE2's language", &format!("{problem}: {pattern}"));
        let written = translate(pattern).map_err(refused)?;
        DFA::builder()
            .syntax(syntax::Config::new().nest_limit(NESTING_MAX))
            .thompson(thompson::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)))
            .configure(DFA::config().match_kind(MatchKind::All))
            .build(&written)
            .map(Self)
            .map_err(|error| refused(error.to_string().lines().last().unwrap_or_default()))
    }

    /// States that a step may have to look at.
    fn states(&self) -> u64 {
        self.0.get_nfa().states().len() as u64
    }

    /// First match from `start` on: where it begins and ends.
    fn find(&self, cache: &mut Cache, text: &str, start: usize) -> Result<Option<(usize, usize)>, Fault> {
        let places = (start..=text.len()).filter(|at| text.is_char_boundary(*at));
        for at in places {
            let input = Input::new(text).range(at..).anchored(Anchored::Yes);
            let found = self.0.try_search_fwd(cache, &input);
            let found =
                found.map_err(|error| Fault::Table { what: "pattern", problem: error.to_string() })?;
            if let Some(end) = found {
                return Ok(Some((at, end.offset())));
            }
        }
        Ok(None)
    }

    /// All matches, those of nothing too: where each begins and ends, and where to go on behind it.
    fn matches(&self, cache: &mut Cache, text: &str) -> Result<Vec<(usize, usize, usize)>, Fault> {
        let (mut matches, mut start) = (Vec::new(), 0);
        while start <= text.len()
            && let Some((begin, end)) = self.find(cache, text, start)?
        {
            let character = text[end..].chars().next().map_or(1, char::len_utf8);
            start = if end > begin { end } else { end + character };
            matches.push((begin, end, start));
        }
        Ok(matches)
    }
}

/// What divides a text.
enum Rule {
    /// Its parts match this.
    Tokens(Box<Longest>),
    /// These stand between its parts.
    Separators(Vec<Longest>),
    Characters,
}

impl Rule {
    fn read(scope: &Scope<'_>, least: usize) -> Result<Self, Fault> {
        let separators = scope.attributes.texts("separators")?;
        let pattern = scope.attributes.text_or("tokenexp", "")?;
        match separators {
            [] if pattern.is_empty() => Err(fault("tokenexp", "a pattern, or separators", "nothing")),
            [] => Ok(Self::Tokens(Longest::compile("tokenexp", pattern)?.into())),
            [one] if one.is_empty() && least > 1 => {
                Err(fault("mincharnum", "1, where a text is divided in its characters", &least.to_string()))
            }
            [one] if one.is_empty() => Ok(Self::Characters),
            all if all.len() > SEPARATORS_MAX => {
                Err(fault("separators", &format!("at most {SEPARATORS_MAX}"), &all.len().to_string()))
            }
            all => {
                let compiled = all.iter().map(|pattern| Longest::compile("separators", pattern));
                Ok(Self::Separators(compiled.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Steps for one text, at most.
    fn macs(&self) -> u64 {
        let states = match self {
            Self::Tokens(pattern) => pattern.states(),
            Self::Separators(patterns) => patterns.iter().map(Longest::states).sum(),
            Self::Characters => 1,
        };
        states.saturating_mul(TEXT_STEPS)
    }

    fn caches(&self) -> Vec<Cache> {
        match self {
            Self::Tokens(pattern) => vec![pattern.0.create_cache()],
            Self::Separators(patterns) => patterns.iter().map(|pattern| pattern.0.create_cache()).collect(),
            Self::Characters => Vec::new(),
        }
    }

    /// Parts of one text, the empty ones too.
    fn parts<'t>(&self, caches: &mut [Cache], text: &'t str) -> Result<Vec<&'t str>, Fault> {
        match self {
            Self::Characters => Ok(text.split("").collect()),
            Self::Tokens(pattern) => {
                let Some(cache) = caches.first_mut() else { return Ok(Vec::new()) };
                let matches = pattern.matches(cache, text)?.into_iter();
                Ok(matches.map(|(begin, end, _)| &text[begin..end]).collect())
            }
            Self::Separators(patterns) => {
                let mut pieces = vec![text];
                for (pattern, cache) in patterns.iter().zip(caches) {
                    let mut finer = Vec::new();
                    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
                        let mut start = 0;
                        for (begin, _, next) in pattern.matches(cache, piece)? {
                            finer.push(&piece[start..begin]);
                            start = next.min(piece.len());
                        }
                        finer.push(&piece[start..]);
                    }
                    pieces = finer;
                }
                Ok(pieces)
            }
        }
    }
}

/// A node's attributes.
struct Tokenizer {
    rule: Rule,
    least: usize,
    is_marked: bool,
    padding: String,
}

impl Tokenizer {
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let number = scope.attributes.int("mincharnum")?;
        let least = usize::try_from(number).ok().filter(|least| *least > 0);
        let least = least.ok_or_else(|| fault("mincharnum", "1 or more", &number.to_string()))?;
        Ok(Self {
            rule: Rule::read(scope, least)?,
            least,
            is_marked: scope.attributes.int("mark")? != 0,
            padding: scope.attributes.text("pad_value")?.to_owned(),
        })
    }

    /// Parts of each text.
    fn all<'t>(&self, texts: &'t [String]) -> Result<Vec<Vec<&'t str>>, Fault> {
        let mut caches = self.rule.caches();
        let long = |part: &&str| !part.is_empty() && part.chars().count() >= self.least;
        let mut parts = |text| Ok(self.rule.parts(&mut caches, text)?.into_iter().filter(long).collect());
        texts.iter().map(|text| parts(text)).collect()
    }

    /// Elements for each text: as many as the longest has, none if all are empty.
    fn width(&self, all: &[Vec<&str>]) -> usize {
        match all.iter().map(Vec::len).max().unwrap_or(0) {
            0 => 0,
            longest if self.is_marked => longest + MARKS.len(),
            longest => longest,
        }
    }
}

pub(super) fn tokenizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = texts(scope, 0)?;
    let tokenizer = Tokenizer::read(scope)?;
    if !matches!(x.rank(), 1 | 2) {
        return Err(crate::ops::misfit("input of Tokenizer", "[C] or [N, C]", x));
    }
    let macs = x.count().saturating_mul(tokenizer.rule.macs());
    crate::plan::at_most("multiply-adds of a node", macs, scope.limits.macs_max)?;
    let tensor = scope.constant(0, "input, whose texts settle the size of the output")?;
    let width =
        tokenizer.width(&tokenizer.all(<String as Element>::slice(tensor.data()).unwrap_or_default())?);
    // Of no texts there are no parts, and no dimension for them.
    let shape = if x.elements() == 0 { x.shape.clone() } else { [x.shape.as_slice(), &[width]].concat() };
    let output = scope.value(Dtype::String, shape)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut out: Vec<String> = Vec::with_capacity(call.elements(0));
        for parts in tokenizer.all(call.slice::<String>(0)?)? {
            let [begin, end] = if tokenizer.is_marked { MARKS.map(Some) } else { [None; 2] };
            let filled = begin.into_iter().chain(parts).chain(end);
            let filled = filled.chain(std::iter::repeat(tokenizer.padding.as_str()));
            out.extend(filled.take(width).map(str::to_owned));
        }
        Ok(vec![TensorData::String(out)])
    });
    Ok(Prepared::one(output, kernel).macs(macs.saturating_mul(2)))
}
