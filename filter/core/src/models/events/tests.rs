use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn event(data: &serde_json::Value, end: &str) -> String {
    format!("data: {data}{end}{end}")
}

/// Each kind of answer as the API's reference describes it, with what it tells.
fn streams(end: &str) -> [(String, Option<Usage>, u64); 4] {
    let chunk = |choices, usage| json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage});
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}});
    let word = |word: &str| {
        event(
            &chunk(
                json!([{"index": 0, "delta": {"content": word}}]),
                json!(null),
            ),
            end,
        )
    };
    let done = format!("data: [DONE]{end}{end}");
    let told = Some(Usage {
        input: 9,
        cached: 4,
        output: 2,
    });
    let chat = [
        word("Hello"),
        word(" \"usage\":{}"),
        event(&chunk(json!([]), usage), end),
        done.clone(),
    ]
    .concat();
    let responses = [
        format!("event: response.created{end}"),
        event(&json!({"type": "response.created", "response": {"usage": null}}), end),
        format!("event: response.output_text.delta{end}"),
        event(&json!({"type": "response.output_text.delta", "delta": "usage"}), end),
        format!(": a comment{end}event: response.completed{end}id: 7{end}"),
        event(&json!({"type": "response.completed", "response": {"usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}}}), end),
    ]
    .concat();
    let two_lines = format!(
        "data:{{\"usage\":{{\"prompt_tokens\":9,{end}data: \"completion_tokens\":2,\"prompt_tokens_details\":{{\"cached_tokens\":4}}}}}}{end}{end}"
    );
    [
        (chat, told, 3),
        (responses, told, 3),
        (two_lines, told, 1),
        ([word("a"), done].concat(), None, 1),
    ]
}

fn read(pieces: &[&[u8]], hides: bool) -> (Option<Usage>, u64, String) {
    let mut events = Events::new(hides);
    let mut passed = Vec::new();
    for piece in pieces {
        let (before, room) = (passed.len(), events.room(piece.len()));
        events.feed(piece, &mut passed);
        assert!(passed.len() + events.held.len() <= before + room);
        assert!(events.held.len() <= LONGEST_HELD);
    }
    events.finish(&mut passed);
    (
        events.usage(),
        events.count(),
        String::from_utf8(passed).unwrap(),
    )
}

#[test]
fn usage_is_told_wherever_the_stream_is_cut() {
    for end in ["\n", "\r\n", "\r"] {
        for (stream, usage, count) in streams(end) {
            let whole = read(&[stream.as_bytes()], false);
            assert_eq!(whole, (usage, count, String::new()), "{stream}");
            for cut in 0..stream.len() {
                let (before, after) = stream.as_bytes().split_at(cut);
                assert_eq!(read(&[before, after], false), whole, "cut at {cut}");
            }
            let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes, false), whole);
        }
    }
}

#[test]
fn only_the_event_that_tells_the_usage_is_left_out() {
    for end in ["\n", "\r\n"] {
        let [
            (chat, usage, count),
            (responses, ..),
            (two, ..),
            (without, ..),
        ] = streams(end);
        let expected: String = chat
            .split_inclusive(&format!("{end}{end}"))
            .filter(|event| !event.contains("completion_tokens"))
            .collect();
        for cut in 0..=chat.len() {
            let (before, after) = chat.as_bytes().split_at(cut);
            let (told, events, passed) = read(&[before, after], true);
            assert_eq!((told, events), (usage, count));
            // What ends an event may be a line feed of its own.
            assert_eq!(
                passed
                    .replace("\r\n", "\n")
                    .trim_start_matches('\n')
                    .replace("\n\n\n", "\n\n"),
                expected.replace("\r\n", "\n"),
                "cut at {cut}"
            );
        }
        for other in [responses, two, without] {
            assert_eq!(read(&[other.as_bytes()], true).2, other);
        }
    }
}

#[test]
fn odd_streams_are_bounded() {
    let long = format!(
        "data: {{\"choices\":[],\"x\":\"{}\"}}\n\n",
        "a".repeat(1_000_000)
    );
    assert_eq!(read(&[long.as_bytes()], true), (None, 1, long));
    let endless = "data: {\"usage\":{\"prompt_tokens\":5}}".to_owned();
    assert_eq!(read(&[endless.as_bytes()], true), (None, 0, endless));
    for odd in [
        "data",
        "data:\n\n",
        ":\n\n\n\n",
        "data: not json\n\n",
        "\u{feff}data: {}\n\n",
    ] {
        assert_eq!(read(&[odd.as_bytes()], true).2, odd);
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(text in "(data|event|:|: |\n|\r|\\{\"usage\":\\{\"prompt_tokens\":1\\}\\}|a){0,30}", cuts in vec(any::<prop::sample::Index>(), 0..5)) {
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]).collect();
        prop_assert_eq!(read(&pieces, true), read(&[text.as_bytes()], true));
        prop_assert_eq!(&read(&pieces, true).2, &text);
    }
}
