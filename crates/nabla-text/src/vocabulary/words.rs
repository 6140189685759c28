//! Cutting text into words, before BPE joins the bytes of each.
//!
//! # Rules
//! - Patterns are ours, one list for each name; a file only names them. So no publisher's pattern is ever
//!   run, and each of ours takes linear time: no look-around, no backtracking.
//! - Every byte of the text is in exactly one word.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: of a run of white space before a word, the last character
//! belongs to the word. A finite automaton cannot look ahead, so that part is [`Step::blanks`]: it is
//! matched as `\s+`, as a pattern of its own, and the last character is given back by hand.

use std::ops::Range;

use regex_automata::{Input, PatternID, meta::Regex};

use super::parts::PreTokenizer;

/// White space and what `\s+(?!\S)|\s+` makes of it.
const BLANKS: &str = r"\s+";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##;

/// One pass over the words that the passes before made.
#[derive(Debug)]
struct Step {
    /// The words; what lies between two is a word too.
    regex: Regex,
}

/// The passes of a pre-tokeniser.
#[derive(Debug)]
pub(crate) struct Words(Vec<Step>);

impl Words {
    pub(crate) fn new(pre_tokenizer: PreTokenizer) -> Self {
        Self(patterns(pre_tokenizer).iter().map(|(pattern, blanks)| Step::new(pattern, *blanks)).collect())
    }

    /// The words of `text`, in order.
    pub(crate) fn cut(&self, text: &str) -> Vec<Range<usize>> {
        let whole: Vec<_> = (!text.is_empty()).then_some(0..text.len()).into_iter().collect();
        self.0.iter().fold(whole, |words, step| {
            let mut cut = Vec::with_capacity(words.len());
            for word in words {
                let start = word.start;
                step.cut(&text[word], |part| cut.push(start + part.start..start + part.end));
            }
            cut
        })
    }
}

/// Each pass: its pattern, and whether blanks are cut too.
fn patterns(pre_tokenizer: PreTokenizer) -> &'static [(&'static str, bool)] {
    match pre_tokenizer {
        PreTokenizer::Default => {
            &[(r"[\p{P}\$\+<=>\^~\|]+", false), (GPT2, true), (r"\p{N}+", false), (r"[0-9][0-9][0-9]", false)]
        }
        PreTokenizer::Gpt2 => &[(GPT2, true)],
        PreTokenizer::Llama3 => &[(LLAMA3, true)],
        PreTokenizer::Qwen2 => &[(QWEN2, true)],
        PreTokenizer::Smollm => &[(r"\p{N}", false), (GPT2, true)],
        PreTokenizer::Tekken => &[(TEKKEN, true)],
        PreTokenizer::Gpt4o => &[(GPT4O, true)],
        PreTokenizer::DeepseekV3 => {
            &[(r"\p{N}{1,3}", false), (r"[一-龥぀-ゟ゠-ヿ]+", false), (DEEPSEEK3, true)]
        }
    }
}

impl Step {
    fn new(pattern: &str, blanks: bool) -> Self {
        let patterns = if blanks { vec![pattern, BLANKS] } else { vec![pattern] };
        Self { regex: Regex::new_many(&patterns).expect("our own patterns; a test compiles them all") }
    }

    fn cut(&self, text: &str, mut word: impl FnMut(Range<usize>)) {
        let mut at = 0;
        while let Some(found) = self.regex.search(&Input::new(text).span(at..text.len())) {
            if at < found.start() {
                word(at..found.start());
            }
            let end = if found.pattern() == PatternID::ZERO {
                found.end()
            } else {
                end_of_blanks(text, found.range())
            };
            word(found.start()..end);
            at = end;
        }
        if at < text.len() {
            word(at..text.len());
        }
    }
}

/// Where `\s+(?!\S)|\s+` ends: before the last blank, if a word follows and that leaves any.
fn end_of_blanks(text: &str, blanks: Range<usize>) -> usize {
    if blanks.end == text.len() {
        return blanks.end;
    }
    match text[blanks.clone()].char_indices().next_back() {
        Some((last, _)) if last > 0 => blanks.start + last,
        _ => blanks.end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pre_tokenizer: PreTokenizer, text: &str, expect: &[&str]) {
        let words = Words::new(pre_tokenizer).cut(text);
        let words: Vec<_> = words.into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, expect, "{pre_tokenizer:?}");
    }

    #[test]
    fn the_last_blank_belongs_to_the_word() {
        check(PreTokenizer::Gpt2, "a   b  ", &["a", "  ", " b", "  "]);
        check(PreTokenizer::Gpt2, "a\n\nb", &["a", "\n", "\n", "b"]);
        check(PreTokenizer::Llama3, "a\n \n  b", &["a", "\n \n", " ", " b"]);
        check(PreTokenizer::Llama3, "a \t", &["a", " \t"]);
    }

    #[test]
    fn digits_are_cut_as_the_name_says() {
        check(PreTokenizer::Llama3, "12345", &["123", "45"]);
        check(PreTokenizer::Qwen2, "123", &["1", "2", "3"]);
        check(PreTokenizer::Gpt2, "12345", &["12345"]);
        check(PreTokenizer::Default, "12345", &["123", "45"]);
        check(PreTokenizer::Smollm, "a 12", &["a", " ", "1", "2"]);
    }

    #[test]
    fn case_cuts_words_of_tekken() {
        check(PreTokenizer::Tekken, "camelCaseHTML don't", &["camel", "Case", "HTML", " don", "'t"]);
        check(PreTokenizer::Gpt4o, "I'll DON'T", &["I'll", " DON'T"]);
    }

    #[test]
    fn every_pattern_compiles_and_no_byte_is_lost() {
        for name in PreTokenizer::NAMES.split(", ") {
            let pre_tokenizer = PreTokenizer::from_name(name).expect(name);
            let text = "Hé 12345\r\n\t x… 漢字かな 🙂🙂 \u{a0} it's  \n\n";
            let words = Words::new(pre_tokenizer).cut(text);
            let whole: String = words.into_iter().map(|range| &text[range]).collect();
            assert_eq!(whole, text, "{name}");
        }
    }
}
