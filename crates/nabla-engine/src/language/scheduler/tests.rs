//! Answers are the same whoever else is served; memory, turns and bounds hold.

use super::*;
use crate::Kernels;
use crate::language::tests::{CONTEXT, byte, text_model};
use crate::language::{Constraint, Sampling, generate};

/// What became of one request.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    tokens: Vec<u32>,
    text: String,
    finish: Option<Finish>,
    usage: TokenUsage,
}

fn prompt(text: &str) -> Vec<u32> {
    text.bytes().map(byte).collect()
}

/// A request that draws by chance, so that every bit of every logit counts.
fn request(text: &str, tokens: u32, seed: u64) -> Generation {
    let sampling =
        Sampling { temperature: 0.9, top_p: 0.95, repetition_penalty: 1.1, seed, ..Sampling::default() };
    Generation { sampling, ..Generation::of(prompt(text), tokens) }
}

fn scheduler(model: &TextModel, pages: u64, config: &SchedulerConfig) -> Scheduler {
    let pages_bytes = model.model().context_bytes(KEYS) * pages;
    Scheduler::new(model.clone(), SchedulerConfig { pages_bytes, ..config.clone() }).unwrap()
}

/// Step until all have ended.
fn drain(scheduler: &mut Scheduler) -> BTreeMap<JobId, Seen> {
    let mut all: BTreeMap<JobId, Seen> = BTreeMap::new();
    for _ in 0..10_000 {
        if scheduler.is_idle() {
            return all;
        }
        for (job, event) in scheduler.step() {
            let seen = all.entry(job).or_default();
            match event {
                Event::Piece(piece) => {
                    seen.tokens.push(piece.token);
                    seen.text.push_str(&piece.text);
                }
                Event::Finished { finish, rest, usage } => {
                    seen.text.push_str(&rest);
                    (seen.finish, seen.usage) = (Some(finish), usage);
                }
                Event::Failed(error) => panic!("{job:?}: {error}"),
            }
        }
    }
    panic!("the scheduler does not come to an end: {:?}", scheduler.load());
}

const LONG: &str = "The same beginning, which is long enough for several pages of sixteen tokens each. ";

/// Alone, together, in pieces of any length, with pages for few of them, on any build: the same answers.
#[test]
fn a_batch_changes_no_bit_of_any_answer() {
    let model = text_model(Kernels::Scalar, 1);
    let requests: Vec<Generation> = (0..7_u32)
        .map(|index| {
            let beginning = &LONG[..index as usize * 13 % LONG.len()];
            request(&format!("{beginning}{index}"), 9 + index * 5, index.into())
        })
        .chain([request(&format!("{LONG}a"), 20, 1), request(&format!("{LONG}b"), 20, 1)])
        .collect();
    let expected: Vec<_> = requests
        .iter()
        .map(|request| generate(&model, request, &Limits::default(), |_| {}).unwrap())
        .collect();
    for (kernels, threads, step_tokens_max, answers_max, pages) in [
        (Kernels::Scalar, 1, 1, 1, 30),
        (Kernels::Auto, 1, 256, 32, 200),
        (Kernels::Auto, 2, 24, 4, 25),
        (Kernels::Avx2, 3, 7, 3, 12),
    ] {
        if crate::Engine::new(kernels).is_err() {
            continue;
        }
        let model = text_model(kernels, threads);
        let config = SchedulerConfig { step_tokens_max, answers_max, ..SchedulerConfig::default() };
        let mut scheduler = scheduler(&model, pages, &config);
        // Twice: the second time prefixes are known.
        for round in 0..2 {
            let jobs: Vec<JobId> = (0..)
                .zip(&requests)
                .map(|(client, request)| scheduler.submit(client % 3, request.clone()).unwrap())
                .collect();
            let seen = drain(&mut scheduler);
            for (job, expected) in jobs.iter().zip(&expected) {
                let seen = &seen[job];
                let what = format!("round {round}, {job:?} of {step_tokens_max}, {answers_max}, {pages}");
                assert_eq!(seen.tokens, expected.tokens, "{what}");
                assert_eq!((&seen.text, seen.finish), (&expected.text, Some(expected.finish)), "{what}");
                assert_eq!(seen.usage.completion as usize, expected.tokens.len(), "{what}");
            }
        }
        let idle = scheduler.prefixes.idle_count(&scheduler.pages);
        assert_eq!(scheduler.pages.free_count() + idle, scheduler.pages_max, "every page came back");
    }
}

/// One that begins alike takes the pages of the first, even when both come at once.
#[test]
fn what_was_computed_is_not_computed_again() {
    let model = text_model(Kernels::Auto, 1);
    let config = SchedulerConfig { step_tokens_max: 64, ..SchedulerConfig::default() };
    let mut scheduler = scheduler(&model, 100, &config);
    let whole_pages = u32::try_from(LONG.len() / KEYS * KEYS).unwrap();
    let first = scheduler.submit(0, request(&format!("{LONG}one"), 4, 0)).unwrap();
    let second = scheduler.submit(1, request(&format!("{LONG}two"), 4, 0)).unwrap();
    let seen = drain(&mut scheduler);
    assert_eq!((seen[&first].usage.cached, seen[&second].usage.cached), (0, whole_pages));
    let again = scheduler.submit(0, request(&format!("{LONG}one"), 4, 0)).unwrap();
    let other = scheduler.submit(0, request(&format!("X{LONG}"), 4, 0)).unwrap();
    let seen = drain(&mut scheduler);
    assert_eq!(seen[&other].usage.cached, 0, "another beginning is another text");
    assert!(seen[&again].usage.cached >= whole_pages);
    // A prompt that is known to its last page still needs logits.
    let exact = &LONG[..KEYS * 3];
    let cold = scheduler.submit(0, request(exact, 2, 0)).unwrap();
    assert_eq!(drain(&mut scheduler)[&cold].usage.cached, u32::try_from(KEYS * 2).unwrap());
}

/// Answers are continued texts: the next turn of a conversation finds the pages of the last.
#[test]
fn a_conversation_goes_on_where_it_was() {
    let model = text_model(Kernels::Auto, 1);
    let mut scheduler = scheduler(&model, 100, &SchedulerConfig::default());
    let first = request(LONG, 40, 3);
    let job = scheduler.submit(0, first.clone()).unwrap();
    let answer = drain(&mut scheduler).remove(&job).unwrap();
    // The last token of the answer was never run.
    let known = (first.prompt.len() + answer.tokens.len() - 1) / KEYS * KEYS;
    let next = Generation { prompt: [first.prompt, answer.tokens, prompt(" And?")].concat(), ..first };
    let job = scheduler.submit(0, next).unwrap();
    assert_eq!(drain(&mut scheduler)[&job].usage.cached as usize, known);
    assert!(known > LONG.len(), "pages of the answer are among them");
}

#[test]
fn memory_for_few_serves_many_one_after_the_other() {
    let model = text_model(Kernels::Auto, 1);
    let mut scheduler = scheduler(&model, 4, &SchedulerConfig::default());
    let texts: Vec<String> = (0..12).map(|index| format!("{index} is a number")).collect();
    let jobs: Vec<JobId> =
        texts.iter().map(|text| scheduler.submit(0, request(text, 20, 0)).unwrap()).collect();
    assert_eq!(scheduler.load(), (0, 12));
    let _ = scheduler.step();
    assert_eq!(scheduler.load(), (1, 11), "three pages each, of four");
    assert_eq!(drain(&mut scheduler).len(), jobs.len());
}

#[test]
fn clients_take_turns() {
    let model = text_model(Kernels::Auto, 1);
    let config = SchedulerConfig { answers_max: 1, ..SchedulerConfig::default() };
    let mut scheduler = scheduler(&model, 50, &config);
    let mut submit = |client| scheduler.submit(client, request("hello", 2, 0)).unwrap();
    let greedy: Vec<JobId> = (0..4).map(|_| submit(7)).collect();
    let modest = submit(8);
    let mut order = Vec::new();
    while !scheduler.is_idle() {
        for (job, event) in scheduler.step() {
            if matches!(event, Event::Finished { .. }) {
                order.push(job);
            }
        }
    }
    assert_eq!(order[..3], [greedy[0], modest, greedy[1]], "not after all of the greedy one's");
}

#[test]
fn a_job_that_is_cancelled_stops_within_a_step_and_gives_everything_back() {
    let model = text_model(Kernels::Auto, 1);
    let config = SchedulerConfig { answers_max: 1, step_tokens_max: 16, ..SchedulerConfig::default() };
    let mut scheduler = scheduler(&model, 50, &config);
    let running = scheduler.submit(0, request(LONG, 100, 0)).unwrap();
    let waiting = scheduler.submit(1, request(LONG, 100, 0)).unwrap();
    let kept = scheduler.submit(1, request("kept", 3, 0)).unwrap();
    let _ = scheduler.step();
    scheduler.cancel(running);
    scheduler.cancel(waiting);
    let seen = drain(&mut scheduler);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [kept]);
    scheduler.cancel(kept);
    let idle = scheduler.prefixes.idle_count(&scheduler.pages);
    assert_eq!(scheduler.pages.free_count() + idle, 50);
}

#[test]
fn more_than_there_is_room_for_is_refused_by_name() {
    let model = text_model(Kernels::Auto, 1);
    let config = SchedulerConfig { queue_max: 2, ..SchedulerConfig::default() };
    let mut scheduler = scheduler(&model, 4, &config);
    let mut refused = |generation: Generation| scheduler.submit(0, generation).unwrap_err().to_string();
    let too_long = refused(request(&"x".repeat(CONTEXT), 1, 0));
    assert!(
        too_long.contains("tokens of the prompt and one of the answer: 401 is more than the limit of 400"),
        "{too_long}"
    );
    let too_much = refused(request(LONG, 20, 0));
    assert!(too_much.contains("pages of keys and values for the longest answer: 7 is more"), "{too_much}");
    assert!(refused(request("", 1, 0)).contains("prompt: expected one token or more, got none"));
    assert!(refused(request("a", 0, 0)).contains("max_tokens: expected one or more, got 0"));
    assert!(refused(Generation::of(vec![9999], 1)).contains("token 9999 is not one of the 260"));
    let hot = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert!(
        refused(Generation { sampling: hot, ..request("a", 1, 0) })
            .contains("temperature: expected from 0 to 100")
    );
    let schema = Constraint::JsonSchema(r#"{"type":"integer","minimum":3,"maximum":2}"#.to_owned());
    let unsatisfiable = refused(Generation { constraint: Some(schema), ..request("a", 1, 0) });
    assert!(unsatisfiable.contains("JSON schema"), "{unsatisfiable}");
    for _ in 0..2 {
        scheduler.submit(0, request("a", 1, 0)).unwrap();
    }
    let busy = scheduler.submit(0, request("a", 1, 0)).unwrap_err();
    assert!(matches!(busy, Error::Busy { waiting: 2 }), "{busy}");
    let config = SchedulerConfig { client_queue_max: 1, queue_max: 9, ..config };
    let mut fair = self::scheduler(&model, 4, &config);
    fair.submit(0, request("a", 1, 0)).unwrap();
    assert!(
        matches!(fair.submit(0, request("a", 1, 0)), Err(Error::Busy { waiting: 1 })),
        "one client's share"
    );
    fair.submit(1, request("a", 1, 0)).unwrap();
    assert_eq!(drain(&mut scheduler).len(), 2, "those that wait are served all the same");
    assert!(Scheduler::new(model, SchedulerConfig { pages_bytes: 1, ..config }).is_err());
}
