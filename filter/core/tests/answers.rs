//! Whole answers of the API, in the shapes that its reference gives them: what they tell, and what of them passes, wherever
//! they are cut. Written by hand after the reference of OpenAI's API (chat, completions, responses, embeddings and their
//! streams), Azure's for what it puts first in a stream, and vLLM's for usage in every event.
#![expect(clippy::unwrap_used, reason = "a test")]

use switchover_core::models::events::Events;
use switchover_core::scan::{Scan, Usage};

/// What a file tells: tokens of the prompt, cached ones, tokens of the answer.
type Told = Option<[u64; 3]>;

fn usage(told: Told) -> Option<Usage> {
    told.map(|[input, cached, output]| Usage {
        input,
        cached,
        output,
    })
}

/// Answers in one piece, and what they tell.
const WHOLE: [(&str, Told); 9] = [
    (include_str!("answers/chat.json"), Some([19, 0, 10])),
    (include_str!("answers/chat-tools.json"), Some([82, 64, 17])),
    (include_str!("answers/chat-logprobs.json"), Some([9, 0, 9])),
    (include_str!("answers/completion.json"), Some([5, 0, 7])),
    (include_str!("answers/embeddings.json"), Some([8, 0, 0])),
    (include_str!("answers/error.json"), None),
    (include_str!("answers/response.json"), Some([36, 11, 87])),
    (
        include_str!("answers/response-incomplete.json"),
        Some([36, 11, 87]),
    ),
    (include_str!("answers/response-failed.json"), None),
];

/// Streams, what they tell, how many events of JSON they have, and whether their last one is only for the usage.
const STREAMS: [(&str, Told, u64, bool); 9] = [
    (include_str!("answers/chat.sse"), Some([19, 3, 2]), 5, true),
    (include_str!("answers/chat-tools.sse"), None, 4, false),
    (
        include_str!("answers/chat-filtered.sse"),
        Some([19, 3, 2]),
        4,
        true,
    ),
    (
        include_str!("answers/chat-continuous.sse"),
        Some([19, 3, 2]),
        3,
        true,
    ),
    (include_str!("answers/chat-broken.sse"), None, 2, false),
    (
        include_str!("answers/completion.sse"),
        Some([5, 0, 2]),
        3,
        true,
    ),
    (
        include_str!("answers/response.sse"),
        Some([36, 11, 87]),
        9,
        false,
    ),
    (
        include_str!("answers/response-incomplete.sse"),
        Some([36, 11, 87]),
        9,
        false,
    ),
    (include_str!("answers/response-failed.sse"), None, 3, false),
];

#[test]
fn whole_answers_tell_what_they_took() {
    for (answer, told) in WHOLE {
        for cut in 0..answer.len() {
            let (before, after) = answer.as_bytes().split_at(cut);
            let mut scan = Scan::new();
            scan.feed(before);
            scan.feed(after);
            let found = scan.finish().unwrap();
            assert_eq!(found.usage, usage(told), "cut at {cut}: {answer}");
        }
    }
}

#[test]
fn streams_tell_what_they_took() {
    for (stream, told, count, _) in STREAMS {
        for cut in 0..stream.len() {
            let (before, after) = stream.as_bytes().split_at(cut);
            let (mut events, mut passed) = (Events::new(false), Vec::new());
            events.feed(before, &mut passed);
            events.feed(after, &mut passed);
            events.finish(&mut passed);
            let read = (events.usage(), events.count(), passed.len());
            assert_eq!(read, (usage(told), count, 0), "cut at {cut}: {stream}");
        }
    }
}

#[test]
fn only_events_for_the_usage_are_hidden() {
    for (stream, told, count, hides) in STREAMS {
        let is_visible =
            |event: &&str| !(event.contains("\"choices\":[]") && event.contains("\"usage\":{"));
        let visible: String = stream.split_inclusive("\n\n").filter(is_visible).collect();
        assert_eq!(visible != stream, hides, "{stream}");
        for cut in 0..stream.len() {
            let (before, after) = stream.as_bytes().split_at(cut);
            let (mut events, mut passed) = (Events::new(true), Vec::new());
            events.feed(before, &mut passed);
            events.feed(after, &mut passed);
            events.finish(&mut passed);
            assert_eq!(str::from_utf8(&passed).unwrap(), visible, "cut at {cut}");
            assert_eq!((events.usage(), events.count()), (usage(told), count));
        }
    }
}
