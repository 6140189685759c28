//! A replay agrees with an honest answer, and finds every lie.

use nabla_text::StopStrings;

use super::*;
use crate::Kernels;
use crate::language::tests::{END, byte, text_model};
use crate::language::{Constraint, Sampling};

fn request(text: &str, max_tokens: u32) -> Generation {
    let prompt = text.bytes().map(byte).collect();
    let sampling = Sampling { temperature: 1.2, seed: 5, frequency_penalty: 0.3, ..Sampling::default() };
    Generation { sampling, top_logprobs: Some(2), ..Generation::of(prompt, max_tokens) }
}

fn answer(model: &TextModel, generation: &Generation) -> (Answered, Vec<Piece>) {
    let mut pieces = Vec::new();
    let limits = Limits::default();
    let answered = generate(model, generation, &limits, |piece| pieces.push(piece.clone())).unwrap();
    (answered, pieces)
}

/// On other kernels and threads, all at once: token by token the same, with the same probabilities.
#[test]
fn an_honest_answer_is_replayed_bit_for_bit() {
    let made = text_model(Kernels::Scalar, 1);
    let checked = text_model(Kernels::Auto, 2);
    for generation in [request("a", 1), request("Once upon", 300), request(&"long ".repeat(40), 60)] {
        let (answered, pieces) = answer(&made, &generation);
        let replayed = replay(&checked, &generation, &answered.tokens, &Limits::default()).unwrap();
        assert_eq!((replayed.difference, replayed.finish), (None, Some(answered.finish)));
        assert_eq!(replayed.pieces, pieces);
        let text: String =
            pieces.iter().map(|piece| piece.text.as_str()).chain([replayed.rest.as_str()]).collect();
        assert_eq!(text, answered.text);
    }
}

#[test]
fn every_lie_is_found_where_it_is() {
    let model = text_model(Kernels::Auto, 1);
    let generation = request("Once upon", 60);
    let (Answered { tokens, .. }, _) = answer(&model, &generation);
    let check = |tokens: &[u32]| replay(&model, &generation, tokens, &Limits::default()).unwrap();
    for index in [0, 1, tokens.len() / 2, tokens.len() - 1] {
        let mut changed = tokens.clone();
        changed[index] = (changed[index] + 1) % 259;
        let found = check(&changed).difference.unwrap();
        let expected = Difference { index, claimed: changed[index], computed: Some(tokens[index]) };
        assert_eq!(found, expected);
        assert!(found.to_string().contains(&format!("token {index} of the answer")), "{found}");
    }
    let cut = check(&tokens[..tokens.len() - 1]);
    assert_eq!((cut.difference, cut.finish), (None, None), "it would go on");
    let longer = [tokens.as_slice(), &[7]].concat();
    let found = check(&longer).difference.unwrap();
    assert_eq!(found, Difference { index: tokens.len(), claimed: 7, computed: None });
    let mut swapped = tokens.clone();
    let other = (1..tokens.len()).find(|index| tokens[*index] != tokens[0]).unwrap();
    swapped.swap(0, other);
    assert_eq!(check(&swapped).difference.unwrap().index, 0);
    assert_eq!(check(&[]).finish, None);
    // Other rules give other answers.
    let mut other = generation.clone();
    other.sampling.seed += 1;
    assert!(replay(&model, &other, &tokens, &Limits::default()).unwrap().difference.is_some());
    let unknown = replay(&model, &generation, &[1, 9999, 2], &Limits::default());
    assert!(
        matches!(unknown, Err(Error::Token { token: 9999, .. })) || unknown.unwrap().difference.is_some()
    );
}

/// Pieces of a prompt of any length, and stop strings, grammars and ends: the same answers, replayed.
#[test]
fn answers_end_where_they_should() {
    let model = text_model(Kernels::Auto, 1);
    let limits = Limits::default();
    let free = request("Tell me", 80);
    let (whole, _) = answer(&model, &free);
    for piece in [1, 3, 16, 1000] {
        assert_eq!(generate_in_pieces(&model, &free, piece, &limits, |_| {}).unwrap(), whole);
    }
    // A character from the middle of the answer ends it.
    let stop = whole.text.chars().skip(20).find(|c| *c != char::REPLACEMENT_CHARACTER).unwrap().to_string();
    let stopped = Generation { stop: StopStrings::new(&[stop.as_str()]).unwrap(), ..free.clone() };
    let (answered, _) = answer(&model, &stopped);
    assert_eq!(answered.finish, Finish::Stop);
    assert!(whole.text.starts_with(&answered.text) && !answered.text.contains(&stop));
    assert!(answered.tokens.len() < whole.tokens.len());
    let replayed = replay(&model, &stopped, &answered.tokens, &limits).unwrap();
    assert_eq!((replayed.difference, replayed.finish), (None, Some(Finish::Stop)));
    // A grammar is obeyed to its end, by a model that knows nothing.
    let schema = r#"{"type":"object","properties":{"ok":{"type":"boolean"},"n":{"enum":[1,22]}},"required":["ok","n"],"additionalProperties":false}"#;
    let constrained =
        Generation { constraint: Some(Constraint::JsonSchema(schema.to_owned())), ..request("x", 200) };
    let (answered, _) = answer(&model, &constrained);
    assert_eq!((answered.finish, answered.tokens.last()), (Finish::Stop, Some(&END)), "{}", answered.text);
    let json: serde_json::Value = serde_json::from_str(&answered.text).unwrap();
    assert!(json["ok"].is_boolean() && (json["n"] == 1 || json["n"] == 22), "{json}");
    let replayed = replay(&model, &constrained, &answered.tokens, &limits).unwrap();
    assert_eq!((replayed.difference, replayed.finish), (None, Some(Finish::Stop)));
    // A bias towards the end ends it at once.
    let mut ended = request("x", 50);
    ended.sampling.logit_bias.insert(END, 900.0);
    let (answered, _) = answer(&model, &ended);
    assert_eq!((answered.tokens.as_slice(), answered.text.as_str()), (&[END][..], ""));
    // The context is a length, too.
    let (answered, _) = answer(&model, &request(&"y".repeat(390), 50));
    assert_eq!((answered.tokens.len(), answered.finish), (10, Finish::Length));
}

#[test]
fn a_conversation_is_a_prompt() {
    let model = text_model(Kernels::Auto, 1);
    let messages = [nabla_text::Message::new("user", "Hi </s>")];
    let prompt = model.chat_prompt(&messages).unwrap();
    assert_eq!(prompt[0], 1, "a text of this vocabulary begins with its token");
    let text = model.vocabulary().decode(&prompt, nabla_text::Control::Hide).unwrap();
    assert!(text.contains("user: Hi") && text.ends_with("assistant: "), "{text}");
    assert!(!model.text_prompt("</s>").unwrap().contains(&END), "text never becomes a control token");
}
