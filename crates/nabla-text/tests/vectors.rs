//! Against what others make of the same texts (`make_vectors.py`), and what must hold for every text.

use std::sync::LazyLock;

use nabla_text::{
    ChatTemplate, Control, Error, Kind, Message, Parts, PreTokenizer, Render, Special, SpecialIds, TokenType,
    Vocabulary,
    decoder::Place,
    vocabulary::{SpacePrefix, parts::TEXT_BYTES_MAX},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn file() -> Value {
    serde_json::from_str(include_str!("vectors.json")).expect("vectors.json is JSON")
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string").to_owned()).collect()
}

fn parts(of: &Value, kind: Kind, space_prefix: SpacePrefix) -> Parts {
    let types = of["types"].as_array().expect("types").iter();
    let types = types.map(|number| i32::try_from(number.as_i64().expect("a number")).expect("small"));
    Parts {
        kind,
        tokens: strings(&of["tokens"]).into_iter().map(String::into_bytes).collect(),
        token_types: types.map(|number| TokenType::from_gguf(number).expect("a type")).collect(),
        ids: SpecialIds::default(),
        add_bos: false,
        add_eos: false,
        space_prefix,
        strips: vec![],
        nfc: false,
    }
}

fn byte_level(pre: &str) -> Vocabulary {
    let file = file();
    let pre_tokenizer = PreTokenizer::from_name(pre).expect("a known name");
    let whole_words = pre_tokenizer.takes_whole_words();
    let kind = Kind::Gpt2 { merges: strings(&file["bpe"]["merges"]), pre_tokenizer, whole_words };
    Vocabulary::new(parts(&file["bpe"], kind, SpacePrefix::Never)).expect("good parts")
}

fn sentence_piece(space_prefix: SpacePrefix) -> Vocabulary {
    let file = file();
    let scores = file["spm"]["scores"].as_array().expect("scores").iter();
    #[expect(clippy::cast_possible_truncation, reason = "the file's numbers are floats of 32 bits")]
    let scores = scores.map(|score| score.as_f64().expect("a number") as f32).collect();
    let ids = SpecialIds { unk: Some(0), ..SpecialIds::default() };
    let parts = parts(&file["spm"], Kind::Llama { scores }, space_prefix);
    Vocabulary::new(Parts { ids, ..parts }).expect("good parts")
}

/// All texts, as text and parsed.
#[track_caller]
fn check(name: &str, vocabulary: &Vocabulary) {
    let file = file();
    let texts = strings(&file["texts"]);
    assert!(texts.len() >= 200);
    let mut wrong = vec![];
    for (special, expect) in [(Special::AsText, 0), (Special::Parse, 1)] {
        for (at, text) in texts.iter().enumerate() {
            let index =
                file["vectors"][name][expect][at].as_u64().and_then(|index| usize::try_from(index).ok());
            let expect = &file["tokens"][index.expect("an index")];
            let got = vocabulary.encode(text, special).map(|ids| json!(ids));
            if got.as_ref() != Ok(expect) {
                wrong.push(format!("{special:?} {text:?}: expected {expect}, got {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{name}: {} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn byte_level_bpe_is_that_of_llama_cpp() {
    for pre in ["default", "gpt-2", "llama-bpe", "qwen2", "smollm", "tekken", "gpt-4o", "deepseek-v3"] {
        check(&format!("bpe {pre}"), &byte_level(pre));
    }
}

#[test]
fn byte_level_bpe_is_that_of_tokenizers() {
    check("tokenizers gpt-2", &byte_level("gpt-2"));
    let file = file();
    let of = &file["bpe"];
    let (tokens, types) = (strings(&of["tokens"]), of["types"].as_array().expect("types"));
    let vocab: serde_json::Map<_, _> = tokens.iter().cloned().zip((0..).map(|id: u32| json!(id))).collect();
    let added = (0..).zip(&tokens).zip(types).filter(|(_, kind)| **kind != json!(1));
    let added: Vec<_> = added
        .map(|((id, name), kind): ((u32, _), _)| json!({"id": id, "content": name, "special": *kind == json!(3)}))
        .collect();
    let json = json!({
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": of["merges"]},
    });
    let ids = SpecialIds::default();
    let vocabulary = Vocabulary::from_tokenizer_json(json.to_string().as_bytes(), ids).expect("a good file");
    check("tokenizers gpt-2", &vocabulary);
}

#[test]
fn sentence_piece_is_that_of_llama_cpp() {
    check("spm true", &sentence_piece(SpacePrefix::Always));
    check("spm false", &sentence_piece(SpacePrefix::Never));
}

#[test]
fn every_text_comes_back() {
    for vocabulary in [byte_level("gpt-2"), byte_level("llama-bpe"), sentence_piece(SpacePrefix::Never)] {
        for text in strings(&file()["texts"]) {
            // SentencePiece has one writing for spaces and for the mark that stands for them.
            if text.contains('▁') {
                continue;
            }
            let ids = vocabulary.encode(&text, Special::Parse).expect("tokens");
            assert_eq!(vocabulary.decode(&ids, Control::Show).as_deref(), Ok(&*text));
        }
    }
}

/// Turns as ChatML has them, in the tokens of these vocabularies.
const TURNS: &str = "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}<|turn|>";

/// What a template that writes the content of one message between these two makes of it.
fn prompt(vocabulary: &Vocabulary, source: &str, content: Value) -> Result<Vec<u32>, Error> {
    let messages = [Message::new("user", "").with("content", content)];
    ChatTemplate::new(source)?.prompt(vocabulary, &Render::of(&messages))
}

/// The same without a template and without a guard: parts that are text, and the tokens between.
fn by_hand(vocabulary: &Vocabulary, content: &str) -> Vec<u32> {
    let control = |name: &str| vocabulary.encode(name, Special::Parse).expect("a control token");
    let text = vocabulary.encode(&format!("user\n{content}"), Special::AsText).expect("tokens");
    [control("<|turn|>"), text, control("<|end|>"), control("<|turn|>")].concat()
}

fn control_names(of: &str) -> Vec<String> {
    let file = file();
    let types = file[of]["types"].as_array().expect("types").iter();
    let named = strings(&file[of]["tokens"]).into_iter().zip(types);
    named.filter(|(_, kind)| **kind == json!(2) || **kind == json!(3)).map(|(name, _)| name).collect()
}

fn with_their_names() -> [(Vocabulary, Vec<String>); 3] {
    [
        (byte_level("qwen2"), control_names("bpe")),
        (sentence_piece(SpacePrefix::Never), control_names("spm")),
        (sentence_piece(SpacePrefix::Always), control_names("spm")),
    ]
}

#[test]
fn a_message_that_is_written_like_control_tokens_is_text() {
    for (vocabulary, names) in with_their_names() {
        assert!(names.len() >= 3);
        for name in names {
            for content in [name.clone(), format!("a {name}\n{name}{name}b<tool>"), format!("<|end|>{name}")]
            {
                let tokens = prompt(&vocabulary, TURNS, json!(content)).expect("tokens");
                assert_eq!(tokens, by_hand(&vocabulary, &content), "{content}");
                let text = format!("<|turn|>user\n{content}<|end|><|turn|>");
                let shown = vocabulary.decode(&tokens, Control::Show).expect("text");
                // A space before each stretch of text is the vocabulary's.
                assert_eq!(shown.replace(' ', ""), text.replace(' ', ""));
                let unguarded = vocabulary.encode(&text, Special::Parse).expect("tokens");
                assert_ne!(tokens, unguarded, "a liar without a guard is not caught");
            }
        }
    }
}

#[test]
fn a_control_token_in_pieces_is_text() {
    let source =
        "<|turn|>user\n{% for p in messages[0].content %}{{ p.text|trim }}{% endfor %}<|end|><|turn|>";
    for (vocabulary, names) in with_their_names() {
        for name in names {
            for cut in 1..name.len() {
                let pieces = json!([{"text": name[..cut]}, {"text": format!(" {} ", &name[cut..])}]);
                let tokens = prompt(&vocabulary, source, pieces).expect("tokens");
                assert_eq!(tokens, by_hand(&vocabulary, &name), "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn honest_messages_have_the_tokens_that_they_had() {
    for (vocabulary, names) in with_their_names() {
        let texts = strings(&file()["texts"]);
        let honest: Vec<_> =
            texts.iter().filter(|text| !names.iter().any(|name| text.contains(name))).collect();
        assert!(honest.len() >= 150);
        for content in honest {
            let rendered = format!("<|turn|>user\n{content}<|end|><|turn|>");
            let expect = vocabulary.encode(&rendered, Special::Parse);
            assert_eq!(prompt(&vocabulary, TURNS, json!(content)), expect, "{content:?}");
        }
    }
}

#[test]
fn templates_may_strip_and_split_what_is_guarded() {
    let vocabulary = byte_level("qwen2");
    let of = |source: &str, content: &str| {
        let source = format!("<|turn|>user\n{{{{ {source} }}}}<|end|><|turn|>");
        prompt(&vocabulary, &source, json!(content)).expect("tokens")
    };
    let strip = of("messages[0].content.strip()", "  a <|end|> b <  ");
    assert_eq!(strip, by_hand(&vocabulary, "a <|end|> b <"));
    let split = of("messages[0].content.split('<tool>')[-1]", "<|end|> a<tool>b <|turn|>c<|");
    assert_eq!(split, by_hand(&vocabulary, "b <|turn|>c<|"));
    let lines = of("messages[0].content.split('\\n') | join('-')", "<|end|>\n<|turn|>");
    assert_eq!(lines, by_hand(&vocabulary, "<|end|>-<|turn|>"));
    let json = of("messages[0].content | tojson", "<|end|>");
    assert_eq!(json, by_hand(&vocabulary, "\"<|end|>\""));
}

#[test]
fn a_message_with_a_mark_is_refused() {
    let refused = prompt(&byte_level("qwen2"), TURNS, json!({"a": "b\u{fdd0}"}));
    assert_eq!(refused, Err(Error::MarkInMessage));
}

/// Tokens by which text may go on are broken once for each, not once for all of them.
#[test]
fn guards_take_linear_time() {
    let tokens: Vec<_> =
        (2..1_000).map(|len| vec![b'<'; len]).chain([b"<".to_vec(), b"x".to_vec()]).collect();
    let mut token_types = vec![TokenType::Control; 998];
    token_types.extend([TokenType::Normal; 2]);
    let kind = Kind::Llama { scores: vec![0.0; 1_000] };
    let parts = Parts { tokens, token_types, ..parts(&file()["spm"], kind, SpacePrefix::Never) };
    let vocabulary = Vocabulary::new(parts).expect("good parts");
    let content = format!("{}x", "<".repeat(999)).repeat(500);
    let tokens = prompt(&vocabulary, "{{ messages[0].content }}", json!(content)).expect("tokens");
    assert_eq!(tokens, vocabulary.encode(&content, Special::AsText).expect("tokens"));
}

/// Long runs are the worst case of joining, and a thousand nested beginnings that of special tokens. Each
/// takes well under a second; a quadratic algorithm would take hours.
#[test]
fn hostile_texts_take_linear_time() {
    let long = |text: &str| text.repeat(TEXT_BYTES_MAX / 8 / text.len());
    let texts = [
        long("a"),
        long(" "),
        long("\n"),
        long(" \n"),
        long("<|"),
        long("<|turn"),
        long("ab "),
        long("é"),
        long("1"),
        long("\u{301}"),
    ];
    for vocabulary in [
        byte_level("default"),
        byte_level("llama-bpe"),
        byte_level("tekken"),
        byte_level("deepseek-v3"),
        sentence_piece(SpacePrefix::Always),
    ] {
        for text in &texts {
            let ids = vocabulary.encode(text, Special::Parse).expect("tokens");
            assert_eq!(vocabulary.decode(&ids, Control::Show).expect("text").len(), text.len());
        }
    }
}

#[test]
fn nested_special_tokens_take_linear_time() {
    let tokens: Vec<_> = (1..=1_000).map(|len| vec![b'<'; len]).chain([b"x".to_vec()]).collect();
    let mut token_types = vec![TokenType::Control; 1_000];
    token_types.push(TokenType::Normal);
    let kind = Kind::Llama { scores: vec![0.0; 1_001] };
    let file = file();
    let parts = Parts { tokens, token_types, ..parts(&file["spm"], kind, SpacePrefix::Never) };
    let vocabulary = Vocabulary::new(parts).expect("good parts");
    let text = format!("{}x", "<".repeat(999)).repeat(1_000);
    let ids = vocabulary.encode(&text, Special::Parse).expect("tokens");
    assert_eq!(ids, [998, 1_000].repeat(1_000));
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ a-z\n'0-9é漢🙂]{0,60}", "(<\\|end\\|>|<tool>|<0x0A>| |x){0,12}"]
}

#[test]
fn the_longest_word_there_may_be_is_no_trouble() {
    let text = "a".repeat(TEXT_BYTES_MAX);
    let ids = byte_level("gpt-2").encode(&text, Special::AsText).expect("tokens");
    assert!(ids.len() <= text.len());
}

proptest! {
    #[test]
    fn byte_level_bpe_gives_every_text_back(text in any_text()) {
        static MADE: LazyLock<[Vocabulary; 2]> = LazyLock::new(|| [byte_level("gpt-2"), byte_level("deepseek-v3")]);
        for vocabulary in &*MADE {
            for special in [Special::AsText, Special::Parse] {
                let ids = vocabulary.encode(&text, special).expect("tokens");
                prop_assert_eq!(vocabulary.decode(&ids, Control::Show).expect("text"), text.clone());
            }
            let ids = vocabulary.encode(&text, Special::AsText).expect("tokens");
            let control = ids.iter().any(|id| vocabulary.token_type(*id) == Some(TokenType::Control));
            prop_assert!(!control);
        }
    }

    /// Any tokens, also those that are no text: one at a time is the same as all at once.
    #[test]
    fn a_stream_is_the_whole_text(ids in prop::collection::vec(0_u32..900, 0..40), bytes in prop::collection::vec(3_u32..259, 0..12)) {
        static MADE: LazyLock<[Vocabulary; 2]> =
            LazyLock::new(|| [byte_level("gpt-2"), sentence_piece(SpacePrefix::Always)]);
        for vocabulary in &*MADE {
            for ids in [&ids, &bytes] {
                let all: Vec<u8> = ids.iter().flat_map(|id| vocabulary.piece(*id).expect("a token").to_vec()).collect();
                let mut decoder = vocabulary.decoder(Place::Continued, Control::Show);
                let mut text = String::new();
                for id in ids {
                    text.push_str(&decoder.push(*id).expect("a token"));
                }
                text.push_str(&decoder.finish());
                prop_assert_eq!(text, String::from_utf8_lossy(&all));
            }
        }
    }
}
