//! What RFC 9113 forbids: each violation ends in the error that it names, of the connection or of the stream.

mod frames;
mod messages;

use futures_util::{StreamExt as _, stream};
use http::Response;
use serde_json::json;
use switchover_tests::http2::{END_HEADERS, END_STREAM, Frames, Refusal, code, get, kind, post};
use switchover_tests::upstream::full;
use switchover_tests::{Engine, Gateway, PATIENCE, Setup, Upstream, cases};

use super::others_are_served;
use frames::{of_compression, of_frames};
use messages::of_messages;

/// The section, what is wrong, the bytes behind the preface and the client's settings, and what must come of it.
struct Violation(&'static str, &'static str, Vec<u8>, Refusal);

/// Connections at a time: Envoy leaves each open for a second after its last word.
const AT_A_TIME: usize = 32;

/// What the host answers otherwise: its library for HTTP/2 has one code for most errors of a connection, and makes those
/// of a field's bytes errors of the connection, as it may.
const HOST: &[(&str, Refusal)] = &[
    ("DATA behind the end of its stream", OF_CONNECTION),
    ("PRIORITY that is too short", OF_CONNECTION),
    ("RST_STREAM that is too short", OF_CONNECTION),
    ("an acknowledgement with settings", OF_CONNECTION),
    ("SETTINGS with half a setting", OF_CONNECTION),
    ("a window beyond 2^31", OF_CONNECTION),
    ("PING that is too short", OF_CONNECTION),
    ("GOAWAY that is too short", OF_CONNECTION),
    ("WINDOW_UPDATE that is too short", OF_CONNECTION),
    ("WINDOW_UPDATE of nothing for a stream", OF_CONNECTION),
    ("field 0 of the table", OF_CONNECTION),
    ("a field behind the table", OF_CONNECTION),
    ("a table beyond its limit", OF_CONNECTION),
    ("half a field", OF_CONNECTION),
    ("no code of Huffman's", OF_CONNECTION),
    ("a name in upper case", OF_CONNECTION),
    ("an unknown pseudo header", OF_CONNECTION),
    ("a name with a space", OF_CONNECTION),
    ("an empty name", OF_CONNECTION),
    ("a value with a line end", OF_CONNECTION),
    ("a value with a NUL", OF_CONNECTION),
    ("a value behind a space", Refusal::Answer),
    ("trailers in upper case", OF_CONNECTION),
    // The library drops it.
    ("trailers with a pseudo header", Refusal::Answer),
];

/// What Envoy takes, or passes over.
const ENVOY: &[(&str, Refusal)] = &[
    ("a value behind a space", Refusal::Answer),
    ("a stream of a lower number", Refusal::Answer),
    ("PRIORITY on stream 0", Refusal::Answer),
];

const OF_CONNECTION: Refusal = Refusal::GoAway(code::PROTOCOL_ERROR);
const OF_STREAM: Refusal = Refusal::Reset(code::PROTOCOL_ERROR);
const OF_SIZE: Refusal = Refusal::GoAway(code::FRAME_SIZE_ERROR);
const OF_COMPRESSION: Refusal = Refusal::GoAway(code::COMPRESSION_ERROR);

/// The flag of DATA and HEADERS.
const PADDED: u8 = 8;
/// HEADERS that are all of a request.
const WHOLE: u8 = END_HEADERS | END_STREAM;

// === impl Violation ===

impl Violation {
    /// Tries it on a connection of its own, and gives what came of it. Where that was an error of the stream, the connection
    /// answers the next.
    async fn tried(&self, engine: Engine, gateway: &Gateway) -> Result<Refusal, String> {
        let Self(section, what, bytes, by_rfc) = self;
        let mut frames = Frames::connect(gateway.address()).await;
        frames.write(bytes).await;
        let came = tokio::time::timeout(PATIENCE / 2, frames.refusal()).await;
        let came = came.map_err(|_| format!("{section}: {what}: nothing came"))?;
        let exceptions = match engine {
            Engine::Host => HOST,
            Engine::Envoy => ENVOY,
        };
        let own = exceptions.iter().find(|(name, _)| name == what);
        let expected = own.map_or(by_rfc, |(_, own)| own);
        let fits = match (engine, expected, came) {
            (_, expected, came) if *expected == came => true,
            // Envoy often closes without a word, and makes most errors of a stream the connection's, as it may.
            (Engine::Envoy, Refusal::GoAway(_) | Refusal::Reset(_), Refusal::Closed) => true,
            (Engine::Envoy, Refusal::Reset(code), Refusal::GoAway(came)) => *code == came,
            _ => false,
        };
        if !fits {
            return Err(format!("{section}: {what}: {came:?}, not {expected:?}"));
        }
        if matches!(came, Refusal::Reset(_)) {
            frames.send(kind::HEADERS, WHOLE, 11, &get(&[])).await;
            let next = frames.refusal().await;
            if next != Refusal::Answer {
                return Err(format!("{section}: {what}: then {next:?}"));
            }
        }
        Ok(came)
    }
}

cases! {
    async fn each_is_refused(engine: Engine) {
        let blue = Upstream::start(|_| async { Response::new(full("blue")) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let violations: Vec<_> = of_frames().into_iter().chain(of_compression()).chain(of_messages()).collect();
        for (what, _) in HOST.iter().chain(ENVOY) {
            assert!(violations.iter().any(|violation| violation.1 == *what), "no {what}");
        }
        let tried = stream::iter(&violations).map(|violation| violation.tried(engine, &gateway));
        let tried: Vec<_> = tried.buffer_unordered(AT_A_TIME).collect().await;
        let wrong: Vec<_> = tried.iter().filter_map(|tried| tried.as_ref().err()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        // Nothing else has reached the upstream: an answer, and after a reset the next.
        let answered = tried.iter().flatten().filter(|came| matches!(came, Refusal::Answer | Refusal::Reset(_)));
        assert_eq!(blue.count(), u64::try_from(answered.count()).unwrap());
        others_are_served(gateway.address()).await;
    }

    /// The preface is a text and settings. The host's library does without them.
    async fn settings_come_first(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut frames = Frames::bare(gateway.address()).await;
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(kind::HEADERS, WHOLE, 1, &get(&[])).await;
        let expected = match engine {
            Engine::Host => Refusal::Answer,
            Engine::Envoy => OF_CONNECTION,
        };
        assert_eq!(frames.refusal().await, expected);
    }

    /// Section 5.1.2.
    async fn streams_beyond_the_limit_are_refused(engine: Engine) {
        let blue = Upstream::start(|_| async { Response::new(full("blue")) }).await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters();
        let one = json!({"max_concurrent_streams": 1});
        let gateway = setup.edit(|b| b.http()["http2_protocol_options"] = one).start(engine).await;
        let mut frames = Frames::connect(gateway.address()).await;
        // The limit holds from when the client has heard of it.
        while frames.next().await.is_some_and(|(kind, ..)| kind != kind::SETTINGS) {}
        frames.send(kind::SETTINGS, 1, 0, b"").await;
        for stream in [1, 3] {
            frames.send(kind::HEADERS, END_HEADERS, stream, &post(&[])).await;
        }
        let refusal = frames.refusal().await;
        let named = matches!(refusal, Refusal::Reset(code::REFUSED_STREAM | code::PROTOCOL_ERROR));
        assert!(named || engine == Engine::Envoy && matches!(refusal, OF_CONNECTION | Refusal::Closed), "{refusal:?}");
        others_are_served(gateway.address()).await;
    }
}
