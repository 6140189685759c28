use nabla_types::tensor::{Tensor, TensorData};

use super::pattern::compile;
use crate::Fault;
use crate::graph::Attribute::{Floats, Int, Ints, Text, Texts};
use crate::ops::movement::testing::{floats, ints, one, run, texts};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Fault>, part: &str) {
    let fault = result.expect_err("a fault").to_string();
    assert!(fault.contains(part), "{fault}");
}

/// Texts that a pattern matches, of these. The answers are those of RE2, as ONNX Runtime 1.31.1 gives them.
#[track_caller]
fn matches(pattern: &str, expected: &[&str]) {
    const ALL: &[&str] = &[
        "",
        "a",
        "aa",
        "ab",
        "a{,2}",
        "12",
        "\u{663}",
        "<a",
        "a&b",
        "&",
        "\u{b}",
        "\t \r\n\u{c}",
        "foo",
        "]a",
        "-",
        "K",
        "\u{212a}",
        "é",
        "xa",
        "a.b",
        "a\n",
        "\n",
    ];
    let regex = compile(pattern).expect("a pattern");
    let found: Vec<&str> = ALL.iter().copied().filter(|text| regex.is_match(text)).collect();
    assert_eq!(found, expected, "{pattern}");
}

#[test]
fn patterns_mean_what_re2_means() {
    matches("", &[""]);
    matches(r"a{,2}", &["a{,2}"]);
    matches(r"a{1,2}", &["a", "aa"]);
    matches(r"\d+", &["12"]);
    matches(r"\<a", &["<a"]);
    matches("[a&&b]", &["a", "&"]);
    matches(r"\s+", &["\t \r\n\u{c}", "\n"]);
    matches(".", &["a", "\u{663}", "&", "\u{b}", "-", "K", "\u{212a}", "é"]);
    matches("a|ab", &["a", "ab"]);
    matches(r"\bfoo\b", &["foo"]);
    matches("[]a]+", &["a", "aa", "]a"]);
    matches("[a-]", &["a", "-"]);
    matches("(?i)k", &["K", "\u{212a}"]);
    matches("[[:^alpha:]]", &["\u{663}", "&", "\u{b}", "-", "\u{212a}", "é", "\n"]);
    matches(r"\pL+", &["a", "aa", "ab", "foo", "K", "\u{212a}", "é", "xa"]);
    matches(r"[^\W]+", &["a", "aa", "ab", "12", "foo", "K", "xa"]);
    matches("a$", &["a"]);
    matches("(?P<n>a)", &["a"]);
    matches("(?<n>a)(?-i:b)?", &["a", "ab"]);
    matches(r"\Qa.b\E", &["a.b"]);
}

#[test]
fn patterns_that_are_not_re2_or_too_large_are_refused() {
    for pattern in [
        "x**",
        "a{1001}",
        r"\C",
        r"\1",
        "(?x)a",
        "(?=a)",
        "a)(b",
        "(a",
        "[a",
        "[b-a]",
        r"[a-\d]",
        "a\\",
        r"\B",
        "(?P<n",
        "*",
        r"\p{Nonsense}",
        "((a{1000}){1000}){1000}",
        "[[:nonsense:]]",
        r"\x{zz}",
    ] {
        refused(compile(pattern).map(|_| pattern), "RE2");
    }
    let deep = "(".repeat(100) + &")".repeat(100);
    refused(compile(&deep).map(|_| ()), "RE2");
}

#[test]
fn texts_are_divided() {
    let split = |texts: Tensor, attributes: &[(&str, crate::graph::Attribute)]| {
        run("StringSplit", &[Some(texts)], attributes, 2).unwrap()
    };
    let comma = ("delimiter", Text(",".to_owned()));
    let made = split(texts(&[4], &["", "a,,b", ",", "a,b,"]), std::slice::from_ref(&comma));
    assert_eq!(made[0], texts(&[4, 3], &["", "", "", "a", "", "b", "", "", "", "a", "b", ""]));
    assert_eq!(made[1], ints(&[0, 3, 2, 3]));
    let made = split(texts(&[2], &["  a  b \t c  ", "x"]), &[("maxsplit", Int(1))]);
    assert_eq!(made[0], texts(&[2, 2], &["a", "b \t c", "x", ""]));
    let made = split(texts(&[1], &["a,b"]), &[comma, ("maxsplit", Int(0))]);
    assert_eq!(made[0], texts(&[1, 1], &["a,b"]));
    assert_eq!(split(texts(&[0], &[]), &[])[0].shape(), [0, 0]);
}

#[test]
fn texts_stay_short() {
    let long = "ab".repeat(100);
    let x = texts(&[1], &[&long]);
    refused(one("StringConcat", &[x.clone(), x], &[]), "at most 256 bytes");
    let both = one("StringConcat", &[texts(&[2, 1], &["a", "b"]), texts(&[2], &["c", "d"])], &[]).unwrap();
    assert_eq!(both, texts(&[2, 2], &["ac", "ad", "bc", "bd"]));
    refused(one("StringConcat", &[texts(&[2], &["a", "b"]), texts(&[3], &["", "", ""])], &[]), "fits");
}

#[test]
fn letters_change_one_for_one() {
    // The tables of another version would be another specification.
    assert_eq!(char::UNICODE_VERSION, (17, 0, 0));
    let upper = [("case_change_action", Text("UPPER".to_owned()))];
    let made = one("StringNormalizer", &[texts(&[4], &["Straße", "", "ﬁé", "ω"])], &upper).unwrap();
    assert_eq!(made, texts(&[4], &["STRAßE", "", "ﬁÉ", "Ω"]));
    let stops = ("stopwords", Texts(vec!["The".to_owned()]));
    let words = texts(&[1, 3], &["THE", "Cat", "the"]);
    let made = one("StringNormalizer", std::slice::from_ref(&words), std::slice::from_ref(&stops)).unwrap();
    assert_eq!(made, texts(&[1, 1], &["Cat"]));
    let exact = [stops, ("is_case_sensitive", Int(1))];
    assert_eq!(one("StringNormalizer", &[words], &exact).unwrap().shape(), [1, 3]);
    let none = one("StringNormalizer", &[texts(&[1], &["the"])], &exact[..1]).unwrap();
    assert_eq!(none, texts(&[1], &[""]));
    let turkish = [("locale", Text("tr_TR".to_owned()))];
    refused(one("StringNormalizer", &[texts(&[1], &["i"])], &turkish), "locale");
}

fn tf_idf(mode: &str, columns: &[i64], weights: &[f32], extra: [i64; 3]) -> Result<Tensor, Fault> {
    let [skips, least, most] = extra;
    let attributes = [
        ("mode", Text(mode.to_owned())),
        ("ngram_indexes", Ints(columns.to_vec())),
        ("ngram_counts", Ints(vec![0])),
        ("pool_int64s", Ints(vec![1, 2, 3])),
        ("weights", Floats(weights.to_vec())),
        ("max_skip_count", Int(skips)),
        ("min_gram_length", Int(least)),
        ("max_gram_length", Int(most)),
    ];
    one("TfIdfVectorizer", &[ints(&[1, 2, 2, 3])], &attributes)
}

#[test]
fn a_weight_belongs_to_its_run() {
    // As ONNX Runtime 1.31.1 answers.
    let made = tf_idf("TFIDF", &[2, 0, 1], &[10.0, 20.0, 30.0], [0, 1, 1]).unwrap();
    assert_eq!(made, floats(&[3], &[40.0, 30.0, 10.0]));
    assert_eq!(tf_idf("IDF", &[2, 0, 1], &[], [0, 1, 1]).unwrap(), floats(&[3], &[1.0; 3]));
    assert_eq!(tf_idf("TF", &[0, 0, 1], &[], [i64::MAX, 1, i64::MAX]).unwrap(), floats(&[2], &[3.0, 1.0]));
    refused(tf_idf("IDF", &[0, 0, 1], &[], [0, 1, 1]), "twice");
    refused(tf_idf("TF", &[0, 1], &[], [0, 1, 1]), "number of runs");
    refused(tf_idf("TF", &[0, 1, i64::MAX], &[], [0, 1, 1]), "size of a value");
    refused(tf_idf("TF", &[0, 1, 2], &[1.0], [0, 1, 1]), "weights");
    refused(tf_idf("TF", &[0, 1, 2], &[], [-1, 1, 1]), "max_skip_count");
    refused(tf_idf("TF", &[0, 1, 2], &[], [0, 2, 1]), "min_gram_length");
}

#[test]
fn only_texts_are_taken() {
    for name in ["RegexFullMatch", "StringSplit", "StringNormalizer"] {
        refused(one(name, &[ints(&[1])], &[]), "BYTES");
    }
    let made =
        one("RegexFullMatch", &[texts(&[2], &["a", "b"])], &[("pattern", Text("a".to_owned()))]).unwrap();
    assert_eq!(made, Tensor::new(vec![2], TensorData::Bool(vec![true, false])).unwrap());
}

/// `Tokenizer` of these attributes beside `pad_value`.
fn tokens(texts: Tensor, mark: i64, least: i64, rule: (&str, &[&str])) -> Result<Tensor, Fault> {
    let list = || rule.1.iter().map(|text| (*text).to_owned()).collect();
    let rule = match rule.0 {
        "tokenexp" => ("tokenexp", Text(rule.1[0].to_owned())),
        name => (name, Texts(list())),
    };
    let attributes =
        [("mark", Int(mark)), ("mincharnum", Int(least)), ("pad_value", Text("#".to_owned())), rule];
    one("Tokenizer", &[texts], &attributes)
}

/// Parts of one text.
#[track_caller]
fn parts(text: &str, name: &str, rule: &[&str], expected: &[&str]) {
    let made = tokens(texts(&[1], &[text]), 0, 1, (name, rule)).unwrap();
    assert_eq!(made, texts(&[1, expected.len() as u64], expected), "{text:?} by {rule:?}");
}

#[test]
fn tokens_are_those_of_onnx_runtime() {
    // As ONNX Runtime 1.31.1 answers: the longest match, not the first alternative.
    for (text, pattern, expected) in [
        ("abab", "a*", &["a", "a"][..]),
        ("abcab", "(a)(b)", &["ab", "ab"]),
        ("xaby", "a|ab", &["ab"]),
        ("aab", "a?(ab)?", &["aab"]),
        ("aaab", "a+?", &["aaa"]),
        ("ab ab", "^ab", &["ab"]),
        ("ab ab", "ab$", &["ab"]),
        ("foo.bar", r"\w+$", &["bar"]),
        ("ab cd", r"\b\w\w+\b", &["ab", "cd"]),
        ("éb cd ÀÉ", r"\w+", &["b", "cd"]),
        ("aé1", r"\pL+", &["aé"]),
        ("a\nb", ".+", &["a", "b"]),
        ("aab b", r"\b", &[]),
    ] {
        parts(text, "tokenexp", &[pattern], expected);
    }
    for (text, separators, expected) in [
        ("a b  c", &[" "][..], &["a", "b", "c"][..]),
        ("a b,c;;d", &[" ", ",", ";"], &["a", "b", "c", "d"]),
        ("aXYbXc", &["XY", "X"], &["a", "b", "c"]),
        ("aXYbXc", &["X", "XY"], &["a", "Yb", "c"]),
        ("a.b", &["."], &[]),
        ("a.b", &[r"\."], &["a", "b"]),
        ("a  b", &[" *"], &[]),
        ("xaby", &["a|ab"], &["x", "y"]),
        ("xabaaby", &["a+?"], &["x", "b", "by"]),
        ("a b a", &[" ", "^a"], &["b"]),
        ("xx-a-", &["-$"], &["xx-a"]),
        ("abcbd", &["b", "c", "bc"], &["a", "d"]),
        ("aéb c", &["é"], &["a", "b c"]),
        ("aéb", &[""], &["a", "é", "b"]),
        ("ab", &["", ""], &[]),
        ("abé", &["b*"], &[]),
    ] {
        parts(text, "separators", separators, expected);
    }
}

#[test]
fn tokens_are_marked_and_filled_up() {
    let letters = ("tokenexp", &["[a-z]+"][..]);
    let made = tokens(texts(&[2, 2], &["ab cd", "e", "", "x y z"]), 0, 1, letters).unwrap();
    let expected = ["ab", "cd", "#", "e", "#", "#", "#", "#", "#", "x", "y", "z"];
    assert_eq!(made, texts(&[2, 2, 3], &expected));
    let made = tokens(texts(&[3], &["ab cd", "e", ""]), 1, 1, letters).unwrap();
    let (begin, end) = ("\u{2}", "\u{3}");
    let expected = [begin, "ab", "cd", end, begin, "e", end, "#", begin, end, "#", "#"];
    assert_eq!(made, texts(&[3, 4], &expected));
    assert_eq!(tokens(texts(&[2], &["", "1"]), 1, 1, letters).unwrap().shape(), [2, 0]);
    assert_eq!(tokens(texts(&[2, 0], &[]), 0, 1, letters).unwrap().shape(), [2, 0]);
    let made = tokens(texts(&[1], &["éa bcé é"]), 0, 2, ("tokenexp", &["[^ ]+"])).unwrap();
    assert_eq!(made, texts(&[1, 2], &["éa", "bcé"]));
}

#[test]
fn tokens_that_cannot_be_are_refused() {
    let x = || texts(&[1], &["ab"]);
    for (least, rule, part) in [
        (0, ("tokenexp", &["a"][..]), "mincharnum"),
        (2, ("separators", &[""]), "mincharnum"),
        (1, ("tokenexp", &[""]), "a pattern, or separators"),
        (1, ("tokenexp", &[r"(?u)\w"]), "RE2"),
        (1, ("separators", &["[a-"]), "RE2"),
        (1, ("separators", &["a"; 65]), "at most 64"),
        (1, ("tokenexp", &["((a{1000}){1000}){1000}"]), "RE2"),
    ] {
        refused(tokens(x(), 0, least, rule), part);
    }
    refused(tokens(texts(&[1, 1, 1], &["a"]), 0, 1, ("tokenexp", &["a"])), "[C] or [N, C]");
    // A pattern of many states in many texts is more than a run may cost.
    let many = texts(&[1 << 17], &["a"; 1 << 17]);
    let costly = format!("({}){{150}}", "(a|b)*a(a|b){9}");
    refused(tokens(many, 0, 1, ("tokenexp", &[costly.as_str()])), "multiply-adds of a node");
}
