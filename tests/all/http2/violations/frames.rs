//! Frames about connection and streams, and field blocks that cannot be read.

use switchover_tests::http2::{END_HEADERS, END_STREAM, Refusal, code, frame, get, kind, post};

use super::{OF_COMPRESSION, OF_CONNECTION, OF_SIZE, OF_STREAM, PADDED, Violation, WHOLE};

/// Frames about connection and streams.
pub(super) fn of_frames() -> Vec<Violation> {
    let block = get(&[]);
    let (first, rest) = block.split_at(block.len() / 2);
    let begun = || frame(kind::HEADERS, END_STREAM, 1, first);
    let open = |then: Vec<u8>| [frame(kind::HEADERS, END_HEADERS, 1, &post(&[])), then].concat();
    let largest = [0x7f, 0xff, 0xff, 0xff];
    let twice = |stream| frame(kind::WINDOW_UPDATE, 0, stream, &largest).repeat(2);
    let promise = [&[0, 0, 0, 2], &block[..]].concat();
    vec![
        Violation(
            "4.2",
            "DATA larger than a frame may be",
            frame(kind::DATA, 0, 1, &[0; 20_000]),
            OF_SIZE,
        ),
        Violation(
            "4.2",
            "HEADERS larger than a frame may be",
            frame(kind::HEADERS, WHOLE, 1, &[0; 20_000]),
            OF_SIZE,
        ),
        Violation(
            "5.1",
            "DATA on no stream yet",
            frame(kind::DATA, 0, 1, b"x"),
            OF_CONNECTION,
        ),
        Violation(
            "5.1",
            "RST_STREAM of no stream yet",
            frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            OF_CONNECTION,
        ),
        Violation(
            "5.1",
            "WINDOW_UPDATE of no stream yet",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            OF_CONNECTION,
        ),
        Violation(
            "5.1",
            "DATA behind the end of its stream",
            [
                frame(kind::HEADERS, WHOLE, 1, &post(&[])),
                frame(kind::DATA, 0, 1, b"x"),
            ]
            .concat(),
            Refusal::GoAway(code::STREAM_CLOSED),
        ),
        Violation(
            "5.1.1",
            "a stream of an even number",
            frame(kind::HEADERS, WHOLE, 2, &block),
            OF_CONNECTION,
        ),
        Violation(
            "5.1.1",
            "a stream of a lower number",
            [
                frame(kind::HEADERS, END_HEADERS, 3, &post(&[])),
                frame(kind::HEADERS, WHOLE, 1, &block),
                frame(kind::HEADERS, WHOLE, 5, &block),
            ]
            .concat(),
            OF_CONNECTION,
        ),
        Violation(
            "6.1",
            "DATA on stream 0",
            frame(kind::DATA, 0, 0, b"x"),
            OF_CONNECTION,
        ),
        Violation(
            "6.1",
            "DATA that is less than its padding",
            open(frame(kind::DATA, PADDED, 1, &[5, 0, 0])),
            OF_CONNECTION,
        ),
        Violation(
            "6.2",
            "HEADERS on stream 0",
            frame(kind::HEADERS, WHOLE, 0, &block),
            OF_CONNECTION,
        ),
        Violation(
            "6.2",
            "HEADERS that are less than their padding",
            frame(
                kind::HEADERS,
                WHOLE | PADDED,
                1,
                &[&[200], &block[..]].concat(),
            ),
            OF_CONNECTION,
        ),
        Violation(
            "6.3",
            "PRIORITY on stream 0",
            [
                frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 1, 1]),
                frame(kind::HEADERS, WHOLE, 1, &block),
            ]
            .concat(),
            OF_CONNECTION,
        ),
        Violation(
            "6.3",
            "PRIORITY that is too short",
            open(frame(kind::PRIORITY, 0, 1, &[0; 4])),
            OF_SIZE,
        ),
        Violation(
            "6.4",
            "RST_STREAM on stream 0",
            frame(kind::RST_STREAM, 0, 0, &[0, 0, 0, 8]),
            OF_CONNECTION,
        ),
        Violation(
            "6.4",
            "RST_STREAM that is too short",
            open(frame(kind::RST_STREAM, 0, 1, &[0; 3])),
            OF_SIZE,
        ),
        Violation(
            "6.5",
            "SETTINGS on a stream",
            frame(kind::SETTINGS, 0, 1, &[]),
            OF_CONNECTION,
        ),
        Violation(
            "6.5",
            "an acknowledgement with settings",
            frame(kind::SETTINGS, 1, 0, &[0; 6]),
            OF_SIZE,
        ),
        Violation(
            "6.5",
            "SETTINGS with half a setting",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            OF_SIZE,
        ),
        Violation(
            "6.5.2",
            "a push that is 2",
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            OF_CONNECTION,
        ),
        Violation(
            "6.5.2",
            "a window beyond 2^31",
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            Refusal::GoAway(code::FLOW_CONTROL_ERROR),
        ),
        Violation(
            "6.5.2",
            "frames below 16 KiB",
            frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 100]),
            OF_CONNECTION,
        ),
        Violation(
            "6.5.2",
            "frames beyond 16 MiB",
            frame(kind::SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]),
            OF_CONNECTION,
        ),
        Violation(
            "8.4",
            "a client's PUSH_PROMISE",
            open(frame(kind::PUSH_PROMISE, END_HEADERS, 1, &promise)),
            OF_CONNECTION,
        ),
        Violation(
            "6.7",
            "PING on a stream",
            frame(kind::PING, 0, 1, &[0; 8]),
            OF_CONNECTION,
        ),
        Violation(
            "6.7",
            "PING that is too short",
            frame(kind::PING, 0, 0, &[0; 7]),
            OF_SIZE,
        ),
        Violation(
            "6.8",
            "GOAWAY on a stream",
            frame(kind::GOAWAY, 0, 1, &[0; 8]),
            OF_CONNECTION,
        ),
        Violation(
            "6.8",
            "GOAWAY that is too short",
            frame(kind::GOAWAY, 0, 0, &[0; 4]),
            OF_SIZE,
        ),
        Violation(
            "6.9",
            "WINDOW_UPDATE of nothing",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            OF_CONNECTION,
        ),
        Violation(
            "6.9",
            "WINDOW_UPDATE of nothing for a stream",
            open(frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])),
            OF_STREAM,
        ),
        Violation(
            "6.9",
            "WINDOW_UPDATE that is too short",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            OF_SIZE,
        ),
        Violation(
            "6.9.1",
            "a connection's window that overflows",
            twice(0),
            Refusal::GoAway(code::FLOW_CONTROL_ERROR),
        ),
        Violation(
            "6.9.1",
            "a stream's window that overflows",
            open(twice(1)),
            Refusal::Reset(code::FLOW_CONTROL_ERROR),
        ),
        Violation(
            "6.10",
            "CONTINUATION of nothing",
            frame(kind::CONTINUATION, END_HEADERS, 1, &block),
            OF_CONNECTION,
        ),
        Violation(
            "6.10",
            "CONTINUATION of what is complete",
            open(frame(kind::CONTINUATION, END_HEADERS, 1, &block)),
            OF_CONNECTION,
        ),
        Violation(
            "6.10",
            "CONTINUATION of another stream",
            [begun(), frame(kind::CONTINUATION, END_HEADERS, 3, rest)].concat(),
            OF_CONNECTION,
        ),
        Violation(
            "6.10",
            "PING within a field block",
            [begun(), frame(kind::PING, 0, 0, &[0; 8])].concat(),
            OF_CONNECTION,
        ),
        Violation(
            "6.10",
            "HEADERS within a field block",
            [begun(), frame(kind::HEADERS, WHOLE, 3, &block)].concat(),
            OF_CONNECTION,
        ),
        Violation(
            "5.5",
            "an unknown frame within a field block",
            [begun(), frame(0x16, 0, 0, b"x")].concat(),
            OF_CONNECTION,
        ),
        Violation(
            "5.5",
            "an unknown frame",
            [
                frame(0x16, 0, 0, b"x"),
                frame(kind::HEADERS, WHOLE, 1, &block),
            ]
            .concat(),
            Refusal::Answer,
        ),
        Violation(
            "6.5.2",
            "an unknown setting",
            [
                frame(kind::SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]),
                frame(kind::HEADERS, WHOLE, 1, &block),
            ]
            .concat(),
            Refusal::Answer,
        ),
        Violation(
            "4.1",
            "unknown flags",
            [
                frame(kind::PING, 0xfe, 0, &[0; 8]),
                frame(kind::HEADERS, WHOLE, 1, &block),
            ]
            .concat(),
            Refusal::Answer,
        ),
        Violation(
            "4.1",
            "the reserved bit of a number",
            frame(kind::HEADERS, WHOLE, 0x8000_0001, &block),
            Refusal::Answer,
        ),
    ]
}

/// Field blocks that cannot be read. Source: RFC 7541.
pub(super) fn of_compression() -> Vec<Violation> {
    let block = get(&[]);
    let tried: [(&str, Vec<u8>); 5] = [
        ("field 0 of the table", [&block[..], &[0x80]].concat()),
        (
            "a field behind the table",
            [&block[..], &[0xff, 0x80, 1]].concat(),
        ),
        (
            "a table beyond its limit",
            [&[0x3f, 0xe1, 0xff, 0xff, 0x7f], &block[..]].concat(),
        ),
        ("half a field", block[..block.len() - 1].to_vec()),
        (
            "no code of Huffman's",
            [&block[..], &[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]].concat(),
        ),
    ];
    let violation = |(what, block): (&'static str, Vec<u8>)| {
        Violation(
            "4.3",
            what,
            frame(kind::HEADERS, WHOLE, 1, &block),
            OF_COMPRESSION,
        )
    };
    tried.map(violation).into()
}
