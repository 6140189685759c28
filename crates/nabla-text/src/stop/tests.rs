use proptest::prelude::*;

use super::*;

/// The text up to the stop, in parts of these lengths.
#[track_caller]
fn check(stops: &[&str], parts: &[&str], expect: &str, matched: Option<&str>) {
    let mut matcher = StopStrings::new(stops).expect("good stop strings").matcher();
    let mut text: String = parts.iter().map(|part| matcher.push(part)).collect();
    assert_eq!(matcher.matched(), matched);
    text.push_str(&matcher.finish());
    assert_eq!(text, expect);
}

#[test]
fn the_answer_ends_before_the_stop_string() {
    check(&["END"], &["a END b"], "a ", Some("END"));
    check(&["END"], &["a E", "N", "D b"], "a ", Some("END"));
    check(&["END"], &["a E", "N"], "a EN", None);
    check(&["aab"], &["a", "a", "a", "b"], "a", Some("aab"));
    check(&[], &["anything"], "anything", None);
}

#[test]
fn what_is_complete_first_counts_and_then_the_longer_one() {
    check(&["abcd", "bc"], &["abcd"], "a", Some("bc"));
    check(&["c", "abc"], &["xabc"], "x", Some("abc"));
    check(&["abab", "ba"], &["a", "bab"], "a", Some("ba"));
}

#[test]
fn a_character_in_two_halves_is_no_trouble() {
    check(&["é!"], &["caf", "é", "?é!x"], "café?", Some("é!"));
}

#[test]
fn only_what_may_become_a_stop_string_is_held_back() {
    let mut matcher = StopStrings::new(&["\n\nUser"]).expect("good").matcher();
    assert_eq!(matcher.push("a\n"), "a");
    assert_eq!(matcher.push("b"), "\nb");
    assert_eq!(matcher.push("\n\nUse"), "");
    assert_eq!(matcher.push("\n"), "\n\nUse");
    assert_eq!(matcher.push("\nUser"), "");
    assert!(matcher.is_stopped());
    assert_eq!(matcher.push("more"), "");
    assert_eq!(matcher.finish(), "");
}

#[test]
fn bad_lists_are_refused_by_name() {
    let long = "x".repeat(STOP_BYTES_MAX + 1);
    let many = vec!["x"; STOPS_MAX + 1];
    assert_eq!(StopStrings::new(&["a", ""]).unwrap_err(), Error::EmptyStop { index: 1 });
    assert_eq!(StopStrings::new(&["\u{fffd}"]).unwrap_err(), Error::InvalidStop { index: 0 });
    assert!(matches!(StopStrings::new(&[long]).unwrap_err(), Error::TooLarge { got: 257, .. }));
    assert!(matches!(StopStrings::new(&many).unwrap_err(), Error::TooLarge { got: 17, .. }));
}

#[test]
fn a_hostile_pair_takes_one_pass() {
    let stop = format!("{}b", "a".repeat(255));
    let mut matcher = StopStrings::new(&vec![stop; 16]).expect("good").matcher();
    let text = "a".repeat(1 << 20);
    let mut out = 0;
    for at in (0..text.len()).step_by(64) {
        out += matcher.push(&text[at..at + 64]).len();
    }
    assert_eq!(out, text.len() - 255);
}

proptest! {
    /// However the text is cut, the answer is what a search of the whole text gives.
    #[test]
    fn cuts_make_no_difference(
        text in "[abé]{0,40}",
        stops in prop::collection::vec("[abé]{1,4}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let ends = stops.iter().flat_map(|stop| {
            (0..text.len()).filter(|at| text.as_bytes()[*at..].starts_with(stop.as_bytes()))
                .map(|at| (at + stop.len(), at)).collect::<Vec<_>>()
        });
        let expect = ends.min().map_or(&*text, |(_, start)| &text[..start]);
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        places.retain(|at| text.is_char_boundary(*at));
        places.extend([0, text.len()]);
        places.sort_unstable();
        let mut matcher = StopStrings::new(&stops).expect("good").matcher();
        let mut got: String = places.windows(2).map(|cut| matcher.push(&text[cut[0]..cut[1]])).collect();
        got.push_str(&matcher.finish());
        prop_assert_eq!(got, expect);
    }
}
