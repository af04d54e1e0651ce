//! Messages that are malformed.

use switchover_tests::http2::{END_HEADERS, END_STREAM, fields, frame, get, kind, post};

use super::{OF_STREAM, Violation, WHOLE};

/// Each is an error of its stream. Source: RFC 9113, section 8.
pub(super) fn of_messages() -> Vec<Violation> {
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/");
    const HOST: (&str, &str) = (":authority", "a");
    let whole = |list: &[(&str, &str)]| frame(kind::HEADERS, WHOLE, 1, &fields(list));
    let with = |name, value| frame(kind::HEADERS, WHOLE, 1, &get(&[(name, value)]));
    let sized = |length: &[(&str, &str)], data: &[u8]| {
        let head = frame(kind::HEADERS, END_HEADERS, 1, &post(length));
        [head, frame(kind::DATA, END_STREAM, 1, data)].concat()
    };
    let trailed = |flags, name| {
        let head = frame(kind::HEADERS, END_HEADERS, 1, &post(&[]));
        [
            head,
            frame(kind::HEADERS, flags, 1, &fields(&[(name, "1")])),
        ]
        .concat()
    };
    let tried = [
        ("8.2.1", "a name in upper case", with("X-Upper", "1")),
        ("8.2.1", "a name with a space", with("x a", "1")),
        ("8.2.1", "an empty name", with("", "1")),
        (
            "8.2.1",
            "a value with a line end",
            with("x-a", "1\r\nx-b: 2"),
        ),
        ("8.2.1", "a value with a NUL", with("x-a", "1\0")),
        ("8.2.1", "a value behind a space", with("x-a", " 1")),
        ("8.2.2", "connection", with("connection", "close")),
        ("8.2.2", "keep-alive", with("keep-alive", "1")),
        (
            "8.2.2",
            "proxy-connection",
            with("proxy-connection", "close"),
        ),
        (
            "8.2.2",
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
        ),
        ("8.2.2", "upgrade", with("upgrade", "websocket")),
        ("8.2.2", "te that is not trailers", with("te", "gzip")),
        ("8.3", "an unknown pseudo header", with(":unknown", "1")),
        ("8.3", "a response's pseudo header", with(":status", "200")),
        (
            "8.3",
            "a pseudo header behind others",
            whole(&[METHOD, SCHEME, HOST, ("x-a", "1"), PATH]),
        ),
        ("8.3", "a pseudo header twice", with(":path", "/")),
        ("8.3.1", "no method", whole(&[SCHEME, PATH, HOST])),
        ("8.3.1", "no scheme", whole(&[METHOD, PATH, HOST])),
        ("8.3.1", "no path", whole(&[METHOD, SCHEME, HOST])),
        (
            "8.3.1",
            "an empty path",
            whole(&[METHOD, SCHEME, (":path", ""), HOST]),
        ),
        (
            "8.1.1",
            "less than its length",
            sized(&[("content-length", "5")], b"abc"),
        ),
        (
            "8.1.1",
            "more than its length",
            sized(&[("content-length", "2")], b"abc"),
        ),
        (
            "8.1.1",
            "nothing of its length",
            with("content-length", "5"),
        ),
        (
            "8.1.1",
            "a length that is none",
            with("content-length", "x"),
        ),
        (
            "8.1.1",
            "two lengths",
            frame(
                kind::HEADERS,
                WHOLE,
                1,
                &get(&[("content-length", "0"), ("content-length", "1")]),
            ),
        ),
        (
            "8.1",
            "trailers that are not the end",
            trailed(END_HEADERS, "x-a"),
        ),
        (
            "8.1",
            "trailers with a pseudo header",
            trailed(WHOLE, ":path"),
        ),
        ("8.2.1", "trailers in upper case", trailed(WHOLE, "X-A")),
    ];
    let violation = |(section, what, bytes)| Violation(section, what, bytes, OF_STREAM);
    tried.map(violation).into()
}
