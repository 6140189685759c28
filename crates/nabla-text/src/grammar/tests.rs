use super::*;
use crate::vocabulary::{Kind, Parts, SpacePrefix, SpecialIds};

/// One token for each byte, a few longer ones, and three control tokens.
fn vocabulary() -> GrammarVocabulary {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>").into_bytes()).collect();
    let mut token_types = vec![TokenType::Byte; 256];
    for text in ["true", "{\"", "\":", "\"}", "na", "name", "12", "ab"] {
        tokens.push(text.as_bytes().to_vec());
        token_types.push(TokenType::Normal);
    }
    for control in ["<eos>", "<eot>", "<other>"] {
        tokens.push(control.as_bytes().to_vec());
        token_types.push(TokenType::Control);
    }
    let scores = vec![0.0; tokens.len()];
    let ids = SpecialIds { eos: Some(264), eot: Some(265), ..SpecialIds::default() };
    let parts = Parts {
        kind: Kind::Llama { scores },
        tokens,
        token_types,
        ids,
        add_bos: false,
        add_eos: false,
        space_prefix: SpacePrefix::Never,
        strips: vec![],
        nfc: false,
    };
    GrammarVocabulary::new(&Vocabulary::new(parts).expect("good parts")).expect("good vocabulary")
}

fn accepts(grammar: &mut Grammar, text: &str) -> Result<(), Error> {
    text.bytes().try_for_each(|byte| {
        assert_eq!(grammar.allowed()?.has(byte.into()), grammar.matcher_would_take(byte.into()), "{byte}");
        grammar.accept(byte.into())
    })
}

impl Grammar {
    fn matcher_would_take(&mut self, token: u32) -> bool {
        self.matcher.validate_tokens(&[token]).is_ok_and(|count| count == 1)
    }
}

#[track_caller]
fn check(source: &GrammarSource<'_>, good: &[&str], bad: &[&str]) {
    let vocabulary = vocabulary();
    for text in good {
        let mut grammar = Grammar::new(&vocabulary, source).expect("good grammar");
        accepts(&mut grammar, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(grammar.may_end(), Ok(true), "{text}");
        assert_eq!(grammar.accept(264), Ok(()), "{text}");
        assert!(grammar.is_finished(), "{text}");
    }
    for text in bad {
        let mut grammar = Grammar::new(&vocabulary, source).expect("good grammar");
        let whole = accepts(&mut grammar, text).is_ok() && grammar.may_end() == Ok(true);
        assert!(!whole, "{text}");
    }
}

#[track_caller]
fn refused(source: &GrammarSource<'_>) -> Error {
    Grammar::new(&vocabulary(), source).expect_err("should be refused")
}

#[test]
fn a_schema_describes_json() {
    let schema = r#"{"type": "object", "properties": {"name": {"enum": ["ab", "é"]}, "n": {"type": "integer"}},
        "required": ["name"], "additionalProperties": false}"#;
    check(
        &GrammarSource::JsonSchema(schema),
        &[r#"{"name":"ab"}"#, r#"{"name":"é","n":-12}"#],
        // White space is never needed, and a weak model would write nothing else.
        &[
            r#"{"name": "ab"}"#,
            r#"{ "name":"ab"}"#,
            r#"{"name":"x"}"#,
            r#"{"n":1}"#,
            r#"{"name":"ab""#,
            "[]",
            "",
        ],
    );
}

#[test]
fn references_within_a_schema_are_followed_and_others_refused() {
    let schema =
        r##"{"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}"##;
    check(&GrammarSource::JsonSchema(schema), &["[]", "[[],[[]]]"], &["[1]", "{}"]);
    let error = refused(&GrammarSource::JsonSchema(r#"{"$ref": "https://example.com/schema.json"}"#));
    assert!(matches!(error, Error::BadGrammar { .. }), "{error}");
}

#[test]
fn an_expression_and_a_grammar_describe_text() {
    check(&GrammarSource::Regex("(ab)+c{2,3}"), &["abcc", "ababccc"], &["ab", "abc", "abcccc", "xabcc"]);
    let lark = "start: sum\nsum: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]+/\n";
    check(&GrammarSource::Lark(lark), &["1", "12+3"], &["+1", "1+"]);
}

#[test]
fn tokens_longer_than_a_byte_are_in_the_mask() {
    let mut grammar = Grammar::new(&vocabulary(), &GrammarSource::Regex("name|nab")).expect("good");
    assert_eq!(grammar.allowed().expect("mask").tokens().collect::<Vec<_>>(), [u32::from(b'n'), 260, 261]);
    assert_eq!(grammar.accept(260), Ok(()));
    assert_eq!(grammar.accept(u32::from(b'x')), Err(Error::TokenNotAllowed { token: u32::from(b'x') }));
    assert_eq!(
        grammar.allowed().expect("mask").tokens().collect::<Vec<_>>(),
        [u32::from(b'b'), u32::from(b'm')]
    );
    assert_eq!(grammar.accept(u32::from(b'b')), Ok(()));
    assert_eq!(grammar.allowed().expect("mask").tokens().collect::<Vec<_>>(), [264, 265]);
    assert!(grammar.accept(u32::from(b'a')).is_err());
    assert_eq!(grammar.accept(265), Ok(()));
}

#[test]
fn control_tokens_are_never_allowed_but_ends() {
    let mut grammar = Grammar::new(&vocabulary(), &GrammarSource::Regex("(.|\n)*")).expect("good");
    let mask = grammar.allowed().expect("mask");
    assert!(mask.has(264) && mask.has(265) && !mask.has(266) && !mask.has(99_999));
    assert_eq!(grammar.accept(266), Err(Error::TokenNotAllowed { token: 266 }));
    assert_eq!(grammar.accept(99_999), Err(Error::TokenNotAllowed { token: 99_999 }));
    let by_id = Grammar::new(&vocabulary(), &GrammarSource::Lark("start: <[266]> \"a\"\n"));
    assert!(by_id.is_err(), "{by_id:?}");
}

#[test]
fn masks_are_the_same_for_everybody() {
    let run = || {
        let source = GrammarSource::JsonSchema(r#"{"type": "object"}"#);
        let mut grammar = Grammar::new(&vocabulary(), &source).expect("good");
        let mut masks = vec![];
        for byte in br#"{"name":[12,true,{"a":"b"}],"x":null}"# {
            masks.push(grammar.allowed().expect("mask"));
            grammar.accept((*byte).into()).expect("allowed");
        }
        masks
    };
    let first = run();
    for _ in 0..4 {
        assert_eq!(run(), first);
    }
}

#[test]
fn what_nothing_satisfies_is_refused() {
    for schema in [
        "false",
        r#"{"type": "integer", "minimum": 5, "maximum": 4}"#,
        r#"{"allOf": [{"type": "string"}, {"type": "integer"}]}"#,
        r#"{"type": "nonsense"}"#,
        "{",
        "7",
    ] {
        let error = refused(&GrammarSource::JsonSchema(schema));
        assert!(matches!(error, Error::BadGrammar { .. }), "{schema}: {error}");
    }
    for source in [GrammarSource::Regex("(a"), GrammarSource::Lark("start: missing"), GrammarSource::Lark("")]
    {
        assert!(matches!(refused(&source), Error::BadGrammar { .. }), "{source:?}");
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let deep = format!("{}{{}}{}", "{\"items\":".repeat(100), "}".repeat(100));
    let very_deep = "[".repeat(10_000);
    let long = " ".repeat(SCHEMA_BYTES_MAX + 1);
    let brackets = format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000));
    let rules = format!("start: {}a{}\na: \"a\"\n", "(".repeat(1_000), ")".repeat(1_000));
    for source in [
        GrammarSource::JsonSchema(&deep),
        GrammarSource::JsonSchema(&long),
        GrammarSource::Regex(&brackets),
        GrammarSource::Lark(&rules),
    ] {
        assert!(matches!(refused(&source), Error::TooLarge { .. }), "{:.60}", format!("{source:?}"));
    }
    assert!(matches!(refused(&GrammarSource::JsonSchema(&very_deep)), Error::BadGrammar { .. }));
}

#[test]
fn what_explodes_ends_with_an_error() {
    let states = "(a|b)*a(a|b){24}c";
    let counts = "((((a{1,99}){1,99}){1,99}){1,99}){1,99}b";
    let big = format!("start: {}\n", vec!["/[a-z]{1,9999}x{1,9999}/"; 200].join(" | "));
    let schema =
        r#"{"type": "array", "minItems": 99999999, "items": {"type": "string", "minLength": 9999999}}"#;
    for source in [
        GrammarSource::Regex(states),
        GrammarSource::Regex(counts),
        GrammarSource::Lark(&big),
        GrammarSource::JsonSchema(schema),
    ] {
        explode(&source);
    }
}

/// Whatever becomes of it: an error by name, or masks within the limits.
fn explode(source: &GrammarSource<'_>) {
    match Grammar::new(&vocabulary(), source) {
        Err(error) => {
            assert!(matches!(error, Error::GrammarTooComplex { .. } | Error::BadGrammar { .. }), "{error}");
        }
        Ok(mut grammar) => {
            for _ in 0..200 {
                let Ok(mask) = grammar.allowed() else { break };
                let Some(token) = mask.tokens().next() else { break };
                if grammar.accept(token).is_err() || grammar.is_finished() {
                    break;
                }
            }
        }
    }
}
