use serde_json::json;

use super::*;
use crate::{api::ErrorInfo, id::ModelId, manifest::LanguageTerms, payment::Nonce, receipt::Salt};

const TERMS: LanguageTerms = LanguageTerms { context_length: 512, template_bytes: 10 };

fn with(members: serde_json::Value) -> Result<ChatRequest, ChatError> {
    let mut body = json!({
        "model": "alice/fabula", "nonce": Nonce([1; 32]), "messages": [{"role": "user", "content": "héllo"}],
    });
    let object = body.as_object_mut().expect("an object");
    object.extend(members.as_object().expect("members").clone());
    let bytes = serde_json::to_vec(&body).expect("JSON");
    assert!(is_chat(&bytes));
    ChatRequest::from_bytes(&bytes)
}

#[track_caller]
fn refused(members: serde_json::Value, part: &str) {
    let error = with(members).expect_err("refused").to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_request_says_everything_in_the_receipts_units() {
    let request = with(json!({
        "max_completion_tokens": 5, "temperature": 0.7, "top_p": 0.95, "top_k": 40, "min_p": 0.05,
        "frequency_penalty": -0.5, "presence_penalty": 2, "repetition_penalty": 1.1, "logit_bias": {"7": -100},
        "stop": "END", "seed": 9, "logprobs": true, "top_logprobs": 3, "stream": true,
        "stream_options": {"include_usage": true},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    }))
    .expect("a request");
    let sampling = request.sampling(&TERMS);
    assert_eq!((sampling.temperature_micros, sampling.top_p_micros), (700_000, 950_000));
    assert_eq!((sampling.frequency_penalty_micros, sampling.max_tokens), (-500_000, 5));
    assert_eq!(
        (request.stop.0.as_slice(), request.logit_bias[&7]),
        (&["END".to_owned()][..], Micros(-100_000_000))
    );
    let again = serde_json::to_vec(&request).expect("JSON");
    assert_eq!(ChatRequest::from_bytes(&again), Ok(request));
}

#[test]
fn what_is_left_out_has_a_stated_value() {
    let request = with(json!({})).expect("a request");
    let sampling = request.sampling(&TERMS);
    assert_eq!((sampling.temperature_micros, sampling.max_tokens), (1_000_000, MAX_TOKENS_DEFAULT));
    assert_eq!(sampling.seed, request.seed());
    let other = ChatRequest { nonce: Nonce([2; 32]), ..request.clone() };
    assert_ne!(other.seed(), request.seed());
    let short = LanguageTerms { context_length: 100, ..TERMS };
    assert_eq!(request.sampling(&short).max_tokens, 100);
}

#[test]
fn the_bound_of_a_prompt_counts_bytes_and_template() {
    let request = with(json!({})).expect("a request");
    assert_eq!(request.tokens_in_max(&TERMS), 6 + 2 * 10);
    assert_eq!(request.tokens_in_max(&LanguageTerms { context_length: 12, ..TERMS }), 12);
    let lie = LanguageTerms { context_length: u32::MAX, template_bytes: u32::MAX };
    assert_eq!(request.tokens_in_max(&lie), u32::MAX);
}

#[test]
fn every_member_has_bounds() {
    refused(json!({"messages": []}), "messages: expected at least one");
    refused(json!({"messages": [{"role": "robot", "content": ""}]}), "robot");
    refused(json!({"messages": [{"role": "user", "content": "", "tool_calls": []}]}), "tool_calls");
    let many = vec![json!({"role": "user", "content": ""}); MESSAGES_MAX + 1];
    refused(json!({"messages": many}), "at most 4096");
    refused(json!({"max_tokens": 0}), "max_tokens");
    refused(json!({"max_tokens": -1}), "-1");
    refused(json!({"temperature": 2.000001}), "temperature: expected 0 to 2, got 2.000001");
    refused(json!({"temperature": 1e300}), "2147");
    refused(json!({"temperature": "1"}), "string");
    refused(json!({"top_p": 0}), "top_p");
    refused(json!({"min_p": 1.1}), "min_p");
    refused(json!({"frequency_penalty": 3}), "frequency_penalty");
    refused(json!({"presence_penalty": -3}), "presence_penalty");
    refused(json!({"repetition_penalty": 0}), "repetition_penalty");
    refused(json!({"logit_bias": {"7": 101}}), "logit_bias");
    refused(json!({"logit_bias": {"x": 1}}), "token's number");
    refused(json!({"logit_bias": {"7": 1, "07": 1}}), "twice");
    let many: serde_json::Map<_, _> = (0..=BIASES_MAX).map(|id| (id.to_string(), json!(1))).collect();
    refused(json!({"logit_bias": many}), "1024");
    refused(json!({"stop": [""]}), "1 to 256 bytes");
    refused(json!({"stop": vec!["a"; STOPS_MAX + 1]}), "at most 16");
    refused(json!({"stop": "a".repeat(257)}), "got 257");
    refused(json!({"top_logprobs": 1}), "logprobs: true");
    refused(json!({"logprobs": true, "top_logprobs": 21}), "at most 20");
    refused(json!({"stream_options": {}}), "stream: true");
    refused(json!({"response_format": {"type": "json_schema"}}), "response_format");
    refused(
        json!({"response_format": {"type": "text", "json_schema": {"name": "", "schema": {}}}}),
        "only with",
    );
    let wide =
        json!({"type": "json_schema", "json_schema": {"name": "", "schema": vec![1; SCHEMA_NODES_MAX]}});
    refused(json!({"response_format": wide}), "at most 10000 values");
    refused(json!({"tools": []}), "unknown field `tools`");
    assert!(with(json!({"n": 2})).expect_err("refused").hint().expect("a hint").contains("one answer"));
}

#[test]
fn a_request_too_long_is_not_read() {
    let bytes = vec![b' '; CHAT_REQUEST_BYTES_MAX + 1];
    assert!(matches!(ChatRequest::from_bytes(&bytes), Err(ChatError::TooLong { .. })));
    assert!(ChatRequest::from_bytes(b"[]").is_err());
    assert!(!is_chat(b"{\"inputs\":[]}") && !is_chat(b"[1]") && !is_chat(b""));
}

#[test]
fn numbers_are_rounded_by_one_rule_and_stay_what_they_are() {
    let read = |text: &str| serde_json::from_str::<Micros>(text).map(|micros| micros.0).ok();
    assert_eq!(read("0.1"), Some(100_000));
    assert_eq!(read("0.0000005"), Some(1));
    assert_eq!(read("-0.0000005"), Some(-1));
    assert_eq!(read("0.0000004"), Some(0));
    assert_eq!(read("2147.483647"), Some(i32::MAX));
    assert_eq!(read("2147.483648"), None);
    assert_eq!(read("null"), None);
    for micros in [0, 1, -1, 333_333, 1_100_000, 99_999_999, i32::MAX].map(Micros) {
        let text = serde_json::to_string(&micros).expect("a number");
        assert_eq!(serde_json::from_str::<Micros>(&text).expect("a number"), micros);
    }
}

#[test]
fn neither_requests_nor_answers_are_shown_by_debug() {
    let request = with(json!({"stop": "canary"})).expect("a request");
    let request = ChatRequest { messages: vec![message("canary")], ..request };
    let content = ChatContent::from_bytes(&whole(true)).expect("an answer");
    let shown = format!("{request:?} {content:?} {:?}", written(1, "canary"));
    assert!(!shown.contains("canary") && !shown.contains("Once"), "{shown}");
}

fn message(content: &str) -> ChatMessage {
    ChatMessage { role: Role::User, content: content.to_owned(), name: None }
}

fn head(stream: bool) -> AnswerHead {
    AnswerHead {
        nonce: Nonce([1; 32]),
        started_ms: 1_700_000_000_999,
        model: "alice/fabula".parse().expect("a name"),
        model_id: ModelId([5; 32]),
        stream,
        logprobs: false,
    }
}

fn written(token: u32, text: &str) -> WrittenToken {
    WrittenToken { token, text: text.to_owned(), logprob: None }
}

/// An answer of five tokens, of which two bring no text when they come, and text that was held back.
fn parts(stream: bool) -> Vec<Vec<u8>> {
    let mut writer = ChatWriter::new(head(stream));
    let tokens = [(7, "Once"), (300, ""), (301, " é"), (9, " upon"), (10, "")];
    let mut parts: Vec<_> = tokens.map(|(token, text)| writer.token(written(token, text))).into();
    parts.push(writer.finish(" EN", FinishReason::Length, 3));
    parts
}

fn whole(stream: bool) -> Vec<u8> {
    parts(stream).concat()
}

#[test]
fn whole_or_in_events_an_answer_says_the_same() {
    let (document, stream) = (ChatContent::from_bytes(&whole(false)), ChatContent::from_bytes(&whole(true)));
    let content = document.clone().expect("an answer");
    assert_eq!(document, stream);
    assert_eq!(
        (content.text.as_str(), content.tokens.as_slice()),
        ("Once é upon EN", &[7, 300, 301, 9, 10][..])
    );
    assert_eq!((content.usage, content.finish), (ChatUsage::of(3, 5), FinishReason::Length));
    assert_eq!((content.created, content.model_id), (1_700_000_000, ModelId([5; 32])));
    assert_eq!(content.id, "chatcmpl-01010101010101010101010101010101");
}

#[test]
fn a_token_without_text_rides_on_the_next_chunk() {
    let parts = parts(true);
    let is_sent: Vec<bool> = parts.iter().map(|part| !part.is_empty()).collect();
    assert_eq!(is_sent, [true, false, true, true, false, true]);
    let text = String::from_utf8(parts[2].clone()).expect("text");
    assert!(text.contains(r#""nabla":{"tokens":[300,301]}"#) && !text.contains("role"), "{text}");
}

/// The bytes of an answer are part of the protocol.
#[test]
fn the_bytes_of_an_answer_stay_what_they_are() {
    let mut writer = ChatWriter::new(head(true));
    let first = writer.token(written(7, "Once"));
    let head = r#""id":"chatcmpl-01010101010101010101010101010101","object":"chat.completion.chunk","created":1700000000,"model":"alice/fabula""#;
    let expect = format!(
        "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"Once\"}},\
         \"finish_reason\":null}}],\"nabla\":{{\"tokens\":[7]}}}}\n\n"
    );
    assert_eq!(String::from_utf8(first).expect("text"), expect);
    let end = String::from_utf8(writer.finish("", FinishReason::Stop, 3)).expect("text");
    let expect = format!(
        "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n\
         data: {{{head},\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}},\
         \"nabla\":{{\"model_id\":\"{}\"}}}}\n\n",
        ModelId([5; 32])
    );
    assert_eq!(end, expect);
}

/// What is said of an answer may be logged; the answer may not.
#[test]
fn an_error_about_an_answer_does_not_quote_it() {
    for (from, to) in [("\"length\"", "\"canary\""), ("[7", "[\"canary\""), ("\"index\":0", "\"canary\":0")] {
        for stream in [false, true] {
            let text = String::from_utf8(whole(stream)).expect("text");
            assert!(text.contains(from), "{from}");
            let error = ChatContent::from_bytes(text.replacen(from, to, 1).as_bytes()).expect_err("refused");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}

/// Every event that is missing, doubled, moved or cut is noticed by reading alone, wherever it makes a difference
/// that the receipt's commitment would not have to show.
#[test]
fn a_stream_that_is_not_whole_is_refused() {
    let parts: Vec<Vec<u8>> = events(&whole(true));
    let read = |parts: &[&Vec<u8>]| {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        ChatContent::from_bytes(&bytes)
    };
    let all: Vec<&Vec<u8>> = parts.iter().collect();
    let honest = read(&all).expect("the whole");
    for at in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(at);
        assert_ne!(read(&fewer).ok().as_ref(), Some(&honest), "without event {at}");
        let mut doubled = all.clone();
        doubled.insert(at, all[at]);
        assert_ne!(read(&doubled).ok().as_ref(), Some(&honest), "event {at} twice");
        if at > 0 {
            let mut moved = all.clone();
            moved.swap(at - 1, at);
            assert_ne!(read(&moved).ok().as_ref(), Some(&honest), "event {at} before its time");
        }
    }
    let bytes = whole(true);
    for cut in (1..bytes.len()).step_by(7) {
        assert!(ChatContent::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

fn events(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = EventReader::default();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_event().expect("events")).collect()
}

#[test]
fn events_come_whole_however_the_stream_is_cut() {
    let bytes = whole(true);
    for size in [1, 2, 3, 50, 1000] {
        let mut reader = EventReader::default();
        let mut got = Vec::new();
        for part in bytes.chunks(size) {
            reader.push(part);
            while let Some(event) = reader.next_event().expect("events") {
                got.push(event);
            }
        }
        assert!(reader.is_empty());
        assert_eq!(got, events(&bytes), "{size}");
    }
    let mut reader = EventReader::default();
    reader.push(&vec![b'x'; EVENT_BYTES_MAX + 1]);
    assert!(matches!(reader.next_event(), Err(ChatError::TooLong { .. })));
}

#[test]
fn each_event_is_one_thing() {
    let writer = ChatWriter::new(head(true));
    let (receipt, salt) = (vec![1, 2, 3], Salt([4; 32]));
    let read = |bytes: &[u8]| StreamItem::of(bytes);
    assert_eq!(read(&writer.receipt(&receipt, salt)), Ok(StreamItem::Receipt { receipt, salt }));
    assert_eq!(read(&done_event()), Ok(StreamItem::Done));
    let info = ErrorInfo { code: "a".into(), message: "b".into(), hint: None };
    assert_eq!(read(&failed_event(info.clone())), Ok(StreamItem::Failed(info)));
    for bad in ["data: {}\n\n", ": ping\n\n", "data: [DONE]\n", "event: x\n\n", "data: [DONE]\r\n\n"] {
        assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let text = String::from_utf8(writer.receipt(&[1], salt)).expect("text");
    assert!(read(text.replace("\"salt\"", "\"pepper\"").as_bytes()).is_err());
}
