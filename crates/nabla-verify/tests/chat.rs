//! Receipts of chats: what is checked, what is left open, and that every lie is caught by the check that is for it.

mod fixture;

use fixture::{Call, chat, failed, vectors};
use nabla_types::receipt::{CommitmentLabel, Receipt, Salt};
use nabla_verify::{CheckName, Outcome, Report, verify_receipt};

/// A lie: its name, what it changes, and the checks that catch it.
type Lie = (&'static str, fn(&mut Receipt), &'static [&'static str]);

fn checked(call: &Call) -> Report {
    verify_receipt(&call.bytes(), &call.context())
}

/// The call with another request or response, to which its receipt commits.
fn saying(call: &Call, request: Option<String>, response: Option<String>) -> Call {
    let mut call = call.clone();
    if let Some(request) = request {
        call.claims.request = call.salt.commit(&CommitmentLabel::Request, request.as_bytes());
        call.request = request.into_bytes();
    }
    if let Some(response) = response {
        call.claims.response = call.salt.commit(&CommitmentLabel::Response, response.as_bytes());
        call.response = response.into_bytes();
    }
    call
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn an_honest_chat_holds_and_its_prompt_is_left_open() {
    for stream in [false, true] {
        let report = checked(&chat(stream));
        assert!(report.holds(), "{:?}", report.failure());
        for name in [CheckName::Request, CheckName::Response, CheckName::Outputs, CheckName::Amount] {
            assert!(report.passed(name), "{name:?}");
        }
        let inputs = report.checks.iter().find(|check| check.check == CheckName::Inputs).expect("a check");
        let Outcome::Skipped { missing } = &inputs.outcome else { panic!("{inputs:?}") };
        assert!(missing.contains("vocabulary"), "{missing}");
    }
}

#[test]
fn every_claim_that_is_false_is_caught() {
    let lies: [Lie; 12] = [
        ("nonce", |c| c.nonce.0[0] ^= 1, &["nonce", "inputs", "outputs"]),
        ("model", |c| c.model.0[0] ^= 1, &["model", "outputs"]),
        ("name", |c| c.model_name = "carol/other".parse().expect("a name"), &["inputs", "outputs"]),
        ("no sampling", |c| c.sampling = None, &["inputs"]),
        ("seed", |c| c.sampling.as_mut().expect("a chat").seed -= 1, &["inputs"]),
        ("temperature", |c| c.sampling.as_mut().expect("a chat").temperature_micros += 1, &["inputs"]),
        ("more tokens than asked", |c| c.sampling.as_mut().expect("a chat").max_tokens += 1, &["inputs"]),
        ("no prompt", |c| c.inputs.clear(), &["inputs"]),
        ("other prompt", |c| c.inputs[0].name = "prompt".to_owned(), &["inputs"]),
        ("tokens", |c| c.outputs[0].commitment.0[0] ^= 1, &["outputs"]),
        ("tokens in", |c| c.usage.tokens_in += 1, &["outputs"]),
        ("begun", |c| c.started_ms -= 1000, &["outputs"]),
    ];
    for stream in [false, true] {
        for (name, lie, fails) in lies {
            let honest = chat(stream);
            let call = honest.with(lie);
            let report = verify_receipt(&call.bytes(), &honest.context());
            assert_eq!(failed(&report), fails, "{name}");
        }
    }
}

/// The ledger pays for what the receipt says; so that must be what the answer shows.
#[test]
fn charged_is_what_is_shown() {
    for stream in [false, true] {
        let honest = chat(stream);
        let more = honest.with(|claims| claims.usage.tokens_out += 1);
        assert_eq!(failed(&checked(&more)), ["outputs"]);
        let fewer = text(&honest.response).replace("301,", "").replace(",301", "");
        assert_eq!(failed(&checked(&saying(&honest, None, Some(fewer)))), ["outputs"]);
        let told = text(&honest.response).replace("\"completion_tokens\":5", "\"completion_tokens\":4");
        assert_eq!(failed(&checked(&saying(&honest, None, Some(told)))), ["outputs"]);
        let total = text(&honest.response).replace("\"total_tokens\":9", "\"total_tokens\":8");
        assert_eq!(failed(&checked(&saying(&honest, None, Some(total)))), ["outputs"]);
    }
}

#[test]
fn a_shorter_context_than_asked_is_no_lie() {
    let call = chat(true).with(|claims| claims.sampling.as_mut().expect("a chat").max_tokens = 5);
    assert!(checked(&call).holds());
}

/// What is not a chat of this protocol fails, though the receipt commits to it.
#[test]
fn what_cannot_be_read_fails() {
    let honest = chat(true);
    for request in ["{\"messages\":[]}", "{\"messages\":1,\"messages\":2}"] {
        let report = checked(&saying(&honest, Some(request.to_owned()), None));
        assert_eq!(failed(&report), ["inputs"], "{request}");
    }
    let tools = text(&honest.request).replace("\"stream\"", "\"tools\":[],\"stream\"");
    assert_eq!(failed(&checked(&saying(&honest, Some(tools), None))), ["inputs"]);
    for response in ["data: {}\n\n", "{\"choices\":[]}", "data: [DONE]\n\n", "data:"] {
        let report = checked(&saying(&honest, None, Some(response.to_owned())));
        assert_eq!(failed(&report), ["outputs"], "{response}");
    }
    let hidden = text(&honest.response).replacen("\"index\":0", "\"index\":0,\"secret\":1", 1);
    assert_eq!(failed(&checked(&saying(&honest, None, Some(hidden)))), ["outputs"]);
}

/// One event less, more, earlier or otherwise: the commitment to the response no longer opens.
#[test]
fn no_event_of_a_stream_can_be_touched() {
    let honest = chat(true);
    let response = text(&honest.response);
    let events: Vec<String> = response.split_inclusive("\n\n").map(str::to_owned).collect();
    assert_eq!(events.concat(), response);
    let fails = |events: &[String]| {
        let call = Call { response: events.concat().into_bytes(), ..honest.clone() };
        failed(&checked(&call)).contains(&"response")
    };
    assert!(!fails(&events));
    for at in 0..events.len() {
        let mut fewer = events.clone();
        fewer.remove(at);
        let mut doubled = events.clone();
        doubled.insert(at, events[at].clone());
        let mut altered = events.clone();
        altered[at] = altered[at].replacen("chatcmpl", "chatcmpI", 1);
        assert!(fails(&fewer) && fails(&doubled) && fails(&altered), "event {at}");
        if at > 0 {
            let mut moved = events.clone();
            moved.swap(at - 1, at);
            assert!(fails(&moved), "event {at}");
        }
    }
    let mut call = honest.clone();
    call.salt = Salt([0; 32]);
    assert!(failed(&checked(&call)).contains(&"response"));
}

#[test]
fn vectors_are_checked_like_a_chat() {
    let honest = vectors();
    let report = checked(&honest);
    assert!(report.holds() && report.passed(CheckName::Outputs), "{:?}", report.failure());
    assert!(!report.passed(CheckName::Inputs));
    let lies: [Lie; 7] = [
        ("nonce", |c| c.nonce.0[0] ^= 1, &["nonce", "inputs"]),
        ("model", |c| c.model.0[0] ^= 1, &["model", "outputs"]),
        ("sampling", |c| c.sampling = chat(false).claims.sampling, &["inputs"]),
        ("no lengths", |c| drop(c.inputs.pop()), &["inputs"]),
        ("vectors", |c| c.outputs[0].commitment.0[0] ^= 1, &["outputs"]),
        ("tokens read", |c| c.usage.tokens_in += 1, &["outputs"]),
        ("tokens made", |c| c.usage.tokens_out += 1, &["outputs"]),
    ];
    for (name, lie, fails) in lies {
        let report = verify_receipt(&honest.with(lie).bytes(), &honest.context());
        assert_eq!(failed(&report), fails, "{name}");
    }
    let told =
        [("0.6", "0.7"), ("\"index\":1", "\"index\":2"), ("\"list\"", "\"bag\""), ("[0.0,1.0]", "[1.0]")];
    for (from, to) in told {
        let response = text(&honest.response);
        assert!(response.contains(from), "{from} in {response}");
        let call = saying(&honest, None, Some(response.replacen(from, to, 1)));
        assert_eq!(failed(&checked(&call)), ["outputs"], "{from}");
    }
    let empty = text(&honest.request).replace("\"Hi\"", "\"\"");
    assert_eq!(failed(&checked(&saying(&honest, Some(empty), None))), ["inputs"]);
}
