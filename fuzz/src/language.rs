//! Bodies for language models: folders and their files, vocabularies, templates, grammars, and whole models that
//! answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use nabla_engine::{
    Engine, Kernels, Limits,
    gguf::{Canonical, Gguf},
    language::{Generation, Sampling, TextModel, generate, import_folder, replay},
    safetensors::Safetensors,
};
use nabla_text::{
    ChatTemplate, Control, Grammar, GrammarSource, GrammarVocabulary, Kind, Message, Parts, PreTokenizer,
    Render, Special, SpecialIds, TokenType, Vocabulary, vocabulary::SpacePrefix,
};

use crate::{check::accepted, engine::limits, sections::Sections};

/// The header of a safetensors file. Tensors of what is opened fill what stands behind it.
pub fn safetensors(bytes: &[u8]) {
    let Some(header) = accepted(Safetensors::open("fuzz", &bytes.to_vec()), bytes) else { return };
    let mut ranges: Vec<_> = header.iter().map(|(_, tensor)| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "a gap, or one above the other");
    assert!(ranges.last().is_none_or(|range| range.end == bytes.len() as u64), "not up to the end");
    for (_, tensor) in header.iter() {
        let elements: u64 = tensor.shape.iter().product();
        let size = elements * tensor.format.block_bytes() as u64;
        assert_eq!(tensor.range.end - tensor.range.start, size);
    }
}

/// A folder of a model. What is imported is its own canonical form, and answers if its vocabulary is whole.
pub fn folder(bytes: &[u8]) {
    let mut sections = Sections(bytes);
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let files: BTreeMap<String, Arc<[u8]>> =
        names.into_iter().map(|name| (name.to_owned(), sections.part().into())).collect();
    let Some(joined) = accepted(import_folder(&files, &limits()), bytes) else { return };
    let gguf = Gguf::open(&joined).expect("our own header");
    let canonical = Canonical::of(&gguf).expect("our own keys");
    assert_eq!(canonical.header(), joined.0, "two canonical forms");
    assert_eq!(canonical.data(&joined, &limits()).expect("our own data"), joined.1);
    talk(&[joined.0, joined.1].concat());
}

/// A `tokenizer.json`. Text never becomes a control token, neither alone nor as a message.
pub fn vocabulary(bytes: &[u8]) {
    let parts = Parts::from_tokenizer_json(bytes, SpecialIds::default());
    let Some(parts) = accepted(parts, bytes) else { return };
    let names: Vec<Vec<u8>> = parts.tokens.iter().take(64).cloned().collect();
    let Some(vocabulary) = accepted(Vocabulary::new(parts), bytes) else { return };
    let text: String = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    let text = format!("{text} ab <s>\u{e9}\n  {}", String::from_utf8_lossy(bytes));
    check_text(&vocabulary, &text, bytes);
    let messages = [Message::new("user", &text)];
    let template = ChatTemplate::new("{{ messages[0].content }}").expect("a template");
    if let Some(tokens) = accepted(template.prompt(&vocabulary, &Render::of(&messages)), bytes) {
        assert!(!has_control(&vocabulary, &tokens), "a message became a control token");
    }
}

fn check_text(vocabulary: &Vocabulary, text: &str, bytes: &[u8]) {
    for special in [Special::AsText, Special::Parse] {
        let Some(tokens) = accepted(vocabulary.encode(text, special), bytes) else { continue };
        assert!(tokens.iter().all(|token| (*token as usize) < vocabulary.len()));
        assert!(
            special == Special::Parse || !has_control(vocabulary, &tokens),
            "text became a control token"
        );
        let shown = vocabulary.decode(&tokens, Control::Show).expect("its own tokens");
        assert!(shown.len() <= 16 * (text.len() + 1024 * tokens.len()));
    }
}

fn has_control(vocabulary: &Vocabulary, tokens: &[u32]) -> bool {
    tokens.iter().any(|token| vocabulary.token_type(*token) == Some(TokenType::Control))
}

/// A chat template: it ends, in a prompt of bounded length or in an error.
pub fn template(bytes: &[u8]) {
    let Some(template) = accepted(ChatTemplate::new(&String::from_utf8_lossy(bytes)), bytes) else { return };
    let call = serde_json::json!([{"function": {"name": "f", "arguments": {"x": [1, 2.5, null, true]}}}]);
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", " Hi <|im_end|> "),
        Message::new("assistant", "a</think>b").with("tool_calls", call.clone()),
    ];
    let tools = [call];
    let render = Render {
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        now_s: Some(1_735_689_599),
        tools: &tools,
        variables: &[("enable_thinking", true.into())],
        ..Render::of(&messages)
    };
    let text = accepted(template.render(&render), bytes);
    assert!(text.is_none_or(|text| text.len() <= nabla_text::template::PROMPT_BYTES_MAX));
    if let Some(tokens) = accepted(template.prompt(&BYTES, &render), bytes) {
        // What the template itself writes may be control tokens; the message's own never is.
        assert!(tokens.iter().all(|token| (*token as usize) < BYTES.len()));
    }
}

/// The bytes, `<|im_start|>` and `<|im_end|>`, as byte-level BPE without merges.
static BYTES: LazyLock<Vocabulary> = LazyLock::new(|| {
    // Bytes that are not printable are written as characters from U+0100 on.
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut shifted = (0x100_u32..).filter_map(char::from_u32);
    let written = |byte: u8| if printable(byte) { Some(char::from(byte)) } else { shifted.next() };
    let letters: Vec<String> = (0..=255).filter_map(written).map(String::from).collect();
    let controls = ["<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let tokens: Vec<Vec<u8>> = letters.into_iter().chain(controls).map(String::into_bytes).collect();
    let mut token_types = vec![TokenType::Normal; 256];
    token_types.extend([TokenType::Control; 2]);
    let kind = Kind::Gpt2 { merges: vec![], pre_tokenizer: PreTokenizer::Gpt2, whole_words: false };
    let ids = SpecialIds { eos: Some(257), ..SpecialIds::default() };
    let (add_bos, add_eos, space_prefix) = (false, false, SpacePrefix::Never);
    let parts =
        Parts { kind, tokens, token_types, ids, add_bos, add_eos, space_prefix, strips: vec![], nfc: false };
    Vocabulary::new(parts).expect("good parts")
});

static GRAMMARS: LazyLock<GrammarVocabulary> =
    LazyLock::new(|| GrammarVocabulary::new(&BYTES).expect("it has an end"));

/// The source of a grammar, behind a byte that says of which kind. What it allows it takes.
pub fn grammar(bytes: &[u8]) {
    let Some((kind, source)) = bytes.split_first() else { return };
    let source = String::from_utf8_lossy(source);
    let source = match kind % 3 {
        0 => GrammarSource::JsonSchema(&source),
        1 => GrammarSource::Regex(&source),
        _ => GrammarSource::Lark(&source),
    };
    let Some(mut grammar) = accepted(Grammar::new(&GRAMMARS, &source), bytes) else { return };
    for step in 0..24 {
        let Some(mask) = accepted(grammar.allowed(), bytes) else { return };
        let tokens: Vec<u32> = mask.tokens().collect();
        assert!(!tokens.is_empty() && !mask.has(256), "nothing is allowed, or a control token is");
        let token = tokens[usize::from(*kind) * 31 * (step + 1) % tokens.len()];
        if accepted(grammar.accept(token), bytes).is_none() || grammar.is_finished() {
            return;
        }
    }
}

static SCALAR: LazyLock<Engine> =
    LazyLock::new(|| Engine::with_threads(Kernels::Scalar, 1).expect("always there"));

/// A GGUF file with a vocabulary. What is loaded answers, and its answer can be replayed.
pub fn talk(bytes: &[u8]) {
    let limits = Limits { peak_bytes_max: 1 << 20, ..limits() };
    let Some(model) = accepted(TextModel::load(&SCALAR, &bytes.to_vec(), &limits), bytes) else { return };
    let messages = [Message::new("user", "a b<|im_end|>")];
    let chat = accepted(model.chat_prompt(&messages), bytes);
    let text = accepted(model.text_prompt("ab a"), bytes);
    let sampling = Sampling { temperature: 5.0, top_k: 7, seed: 3, ..Sampling::default() };
    for prompt in chat.into_iter().chain(text).chain([vec![0]]) {
        let generation =
            Generation { sampling: sampling.clone(), top_logprobs: Some(2), ..Generation::of(prompt, 4) };
        let Some(answer) = accepted(generate(&model, &generation, &limits, |_| ()), bytes) else { continue };
        assert!(answer.tokens.iter().all(|token| (*token as usize) < model.vocabulary().len()));
        let again = replay(&model, &generation, &answer.tokens, &limits).expect("it was answered");
        assert_eq!((again.difference, again.finish), (None, Some(answer.finish)));
    }
}
