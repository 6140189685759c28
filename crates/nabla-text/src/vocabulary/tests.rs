use super::*;

fn parts(kind: Kind, tokens: &[&str]) -> Parts {
    Parts {
        kind,
        tokens: tokens.iter().map(|token| token.as_bytes().to_vec()).collect(),
        token_types: vec![],
        ids: SpecialIds::default(),
        add_bos: false,
        add_eos: false,
        space_prefix: SpacePrefix::Never,
        strips: vec![],
        nfc: false,
    }
}

fn gpt2(merges: &[&str], tokens: &[&str]) -> Parts {
    let merges = merges.iter().map(|merge| (*merge).to_owned()).collect();
    parts(Kind::Gpt2 { merges, pre_tokenizer: PreTokenizer::Gpt2, whole_words: false }, tokens)
}

#[track_caller]
fn refused(parts: Parts) -> Error {
    Vocabulary::new(parts).expect_err("should be refused")
}

#[test]
fn limits_are_checked_first() {
    let many = Parts { tokens: vec![vec![]; parts::TOKENS_MAX + 1], ..gpt2(&[], &[]) };
    let long = Parts { tokens: vec![vec![b'a'; parts::TOKEN_BYTES_MAX + 1]], ..gpt2(&[], &[]) };
    let total = Parts { tokens: vec![vec![b'a'; 1_000]; 40_000], ..gpt2(&[], &[]) };
    let special = Parts {
        tokens: vec![vec![b'a'; 1_000]; 3_000],
        token_types: vec![TokenType::Control; 3_000],
        ..gpt2(&[], &[])
    };
    let merges = parts(
        Kind::Gpt2 {
            merges: vec![String::new(); parts::MERGES_MAX + 1],
            pre_tokenizer: PreTokenizer::Gpt2,
            whole_words: false,
        },
        &[],
    );
    for parts in [many, long, total, special, merges] {
        assert!(matches!(refused(parts), Error::TooLarge { .. }));
    }
    let vocabulary = Vocabulary::new(gpt2(&[], &["a"])).expect("good parts");
    let text = "a".repeat(parts::TEXT_BYTES_MAX + 1);
    assert!(matches!(vocabulary.encode(&text, Special::AsText), Err(Error::TooLarge { .. })));
}

#[test]
fn contradictions_are_refused_by_name() {
    let types = Parts { token_types: vec![TokenType::Normal; 2], ..gpt2(&[], &["a"]) };
    assert!(matches!(refused(types), Error::UnequalLists { what: "token types", tokens: 1, got: 2 }));
    let scores = parts(Kind::Llama { scores: vec![] }, &["a"]);
    assert!(matches!(refused(scores), Error::UnequalLists { what: "scores", .. }));
    let score = parts(Kind::Llama { scores: vec![0.0, f32::NAN] }, &["a", "b"]);
    assert_eq!(refused(score), Error::BadScore { token: 1 });
    let eos = Parts { ids: SpecialIds { eos: Some(1), ..SpecialIds::default() }, ..gpt2(&[], &["a"]) };
    assert!(matches!(refused(eos), Error::UnknownToken { what: "eos", tokens: 1, got: 1 }));
    for merge in ["", "a", "a c", "c a", "a a", "a  a"] {
        assert!(matches!(
            refused(gpt2(&["a b", merge], &["a", "b", "ab"])),
            Error::BadMerge { index: 1, .. }
        ));
    }
    let byte =
        Parts { token_types: vec![TokenType::Byte], ..parts(Kind::Llama { scores: vec![0.0] }, &["<0xG0>"]) };
    assert!(matches!(refused(byte), Error::BadByteToken { token: 0, .. }));
}

#[test]
fn an_unknown_pre_tokenizer_is_named() {
    assert!(
        matches!(PreTokenizer::from_name("viking"), Err(Error::UnknownPreTokenizer { got, .. }) if got == "viking")
    );
}

#[test]
fn a_character_without_a_token_is_unknown_or_an_error() {
    let vocabulary = Vocabulary::new(gpt2(&[], &["a", "?"])).expect("good parts");
    assert_eq!(vocabulary.encode("b", Special::AsText), Err(Error::NoToken { byte: b'b', at: 0 }));
    let unknown =
        Parts { ids: SpecialIds { unk: Some(1), ..SpecialIds::default() }, ..gpt2(&[], &["a", "?"]) };
    let vocabulary = Vocabulary::new(unknown).expect("good parts");
    assert_eq!(vocabulary.encode("ab", Special::AsText), Ok(vec![0, 1]));
    let unknown = SpecialIds { unk: Some(1), ..SpecialIds::default() };
    let spm = Parts { ids: unknown, ..parts(Kind::Llama { scores: vec![0.0; 2] }, &["a", "<unk>"]) };
    let vocabulary = Vocabulary::new(spm).expect("good parts");
    assert_eq!(vocabulary.encode("abca", Special::AsText), Ok(vec![0, 1, 0]));
}

#[test]
fn text_never_becomes_a_control_token() {
    // Every prefix is a token, so that merging could get there.
    let tokens = ["<", "s", ">", "<s", "<s>", "<s>"];
    let mut types = vec![TokenType::Normal; 4];
    types.extend([TokenType::Control; 2]);
    let spm = Parts { token_types: types.clone(), ..parts(Kind::Llama { scores: vec![0.0; 6] }, &tokens) };
    let vocabulary = Vocabulary::new(spm).expect("good parts");
    assert_eq!(vocabulary.encode("<s>", Special::AsText), Ok(vec![3, 2]));
    assert_eq!(vocabulary.encode("<s>s", Special::Parse), Ok(vec![4, 1]));
    assert_eq!(vocabulary.decode(&[4, 1], Control::Show).as_deref(), Ok("<s>s"));
    assert_eq!(vocabulary.decode(&[4, 1], Control::Hide).as_deref(), Ok("s"));
    let bpe = Parts { token_types: types, ..gpt2(&["< s"], &tokens) };
    let vocabulary = Vocabulary::new(bpe).expect("good parts");
    assert_eq!(vocabulary.encode("<s>", Special::AsText), Ok(vec![0, 1, 2]));
}

#[test]
fn special_tokens_take_the_white_space_that_the_file_says() {
    let strips = vec![(1, Strip { left: true, right: true })];
    let token_types = vec![TokenType::Normal, TokenType::Control, TokenType::Normal];
    let spm =
        Parts { strips, token_types, ..parts(Kind::Llama { scores: vec![0.0; 3] }, &["a", "<x>", "▁"]) };
    let vocabulary = Vocabulary::new(spm).expect("good parts");
    assert_eq!(vocabulary.encode("a <x> a <x>", Special::Parse), Ok(vec![0, 1, 0, 1]));
    assert_eq!(vocabulary.encode("<x>  <x>a", Special::Parse), Ok(vec![1, 1, 0]));
}

#[test]
fn a_frame_is_put_round_once() {
    let ids = SpecialIds { bos: Some(0), eos: Some(1), ..SpecialIds::default() };
    let framed = Parts { ids, add_bos: true, add_eos: true, ..gpt2(&[], &["<s>", "</s>", "a"]) };
    let vocabulary = Vocabulary::new(framed).expect("good parts");
    assert_eq!(vocabulary.framed(vec![2]), [0, 2, 1]);
    assert_eq!(vocabulary.framed(vec![0, 2, 1]), [0, 2, 1]);
}

#[test]
fn a_json_is_refused_by_the_part_that_we_do_not_have() {
    let cases = [
        ("[", "tokenizer.json: EOF"),
        ("{}", "expected a model"),
        (r#"{"model": {"type": "WordPiece", "vocab": {}}}"#, "WordPiece"),
        (r#"{"model": {"type": "Unigram", "vocab": []}}"#, "Unigram"),
        (r#"{"model": {"vocab": {"a": -1}, "merges": []}}"#, "expected a number"),
        (r#"{"model": {"vocab": {"a": 4000000000}, "merges": []}}"#, "at most 524288, got 4000000001"),
        (r#"{"model": {"vocab": {}, "merges": [], "dropout": 0.1}}"#, "dropout"),
        (r#"{"model": {"vocab": {}, "merges": [7]}}"#, "merge 0"),
        (r#"{"model": {"vocab": {}, "merges": []}, "normalizer": {"type": "Lowercase"}}"#, "Lowercase"),
        (r#"{"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Whitespace"}}"#, "Whitespace"),
        (
            r#"{"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}}"#,
            "(a+)+$",
        ),
    ];
    for (json, expect) in cases {
        let error = Vocabulary::from_tokenizer_json(json.as_bytes(), SpecialIds::default()).expect_err(json);
        assert!(error.to_string().contains(expect), "{json}: {error}");
    }
    let deep = "[".repeat(100_000);
    assert!(Vocabulary::from_tokenizer_json(deep.as_bytes(), SpecialIds::default()).is_err());
}

#[test]
fn a_json_of_sentence_piece_has_bytes_and_a_prefix() {
    let json = r#"{"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true,
            "vocab": {"<unk>": 0, "<s>": 1, "<0xC3>": 2, "<0xA9>": 3, "▁": 4, "a": 5, "▁a": 6},
            "merges": ["▁ a"]}}"#;
    let ids = SpecialIds { bos: Some(1), ..SpecialIds::default() };
    let vocabulary = Vocabulary::from_tokenizer_json(json.as_bytes(), ids).expect("good file");
    assert_eq!(vocabulary.encode("a é", Special::AsText), Ok(vec![6, 4, 2, 3]));
    assert_eq!(vocabulary.encode("<s>a", Special::Parse), Ok(vec![1, 6]));
    assert_eq!(vocabulary.encode("b", Special::AsText), Ok(vec![4, 0]));
    assert_eq!(vocabulary.framed(vec![6]), [1, 6]);
    assert_eq!(vocabulary.decode(&[6, 4, 2, 3], Control::Hide).as_deref(), Ok("a é"));
}

#[test]
fn an_empty_vocabulary_is_one() {
    let vocabulary = Vocabulary::new(gpt2(&[], &[])).expect("good parts");
    assert!(vocabulary.is_empty());
    assert_eq!(vocabulary.encode("", Special::Parse), Ok(vec![]));
    assert!(vocabulary.encode("a", Special::Parse).is_err());
    assert!(vocabulary.decode(&[0], Control::Hide).is_err());
}
