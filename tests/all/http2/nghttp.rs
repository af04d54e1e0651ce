//! nghttp, Debian's own client of HTTP/2, with all that it can vary: what it sends and gets, frame by frame.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use switchover_tests::upstream::{Body, Wire, full};
use switchover_tests::{Engine, Gateway, PATIENCE, Setup, Upstream, cases};

/// What one run has told.
struct Run {
    frames: Vec<Told>,
    text: String,
}

/// A frame by nghttp's words.
struct Told {
    sent: bool,
    kind: String,
    length: usize,
    flags: u8,
    stream: u32,
}

/// The flag of SETTINGS that acknowledges, of DATA and HEADERS that ends.
const LAST: u8 = 1;

/// Bytes of a body beyond a stream's first window and many frames.
const LARGE: usize = 300_000;

/// Ways to ask for a large answer.
const WAYS: [&[&str]; 11] = [
    &[],
    &["--no-dep"],
    &["--no-rfc7540-pri"],
    &["--no-push"],
    // Windows of 1 KiB and 64 KiB.
    &["--window-bits", "10"],
    &["--connection-window-bits", "16"],
    // No table of headers at the client, and none at the gateway.
    &["--header-table-size", "0"],
    &["--encoder-header-table-size", "0"],
    // Headers of more than a frame.
    &["--continuation"],
    &["--padding", "255"],
    &["--peer-max-concurrent-streams", "1"],
];

/// Ways to send a large body.
const UPLOADS: [&[&str]; 4] = [
    &[],
    &["--no-content-length"],
    &["--padding", "255"],
    &["--trailer", "x-trailer: 1"],
];

// === impl Run ===

impl Run {
    /// Requests these paths with these options.
    async fn of(gateway: &Gateway, options: &[&str], paths: &[&str]) -> Self {
        let urls = paths
            .iter()
            .map(|path| format!("http://{}{path}", gateway.address()));
        let mut command = tokio::process::Command::new("nghttp");
        command
            .args(["--verbose", "--null-out", "--timeout", "10s"])
            .args(options)
            .args(urls);
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.expect("an end").expect("nghttp of nghttp2-client");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{options:?}: {text}");
        Self {
            frames: text.lines().filter_map(Told::read).collect(),
            text,
        }
    }

    /// Frames of a kind that came.
    fn came(&self, kind: &'static str) -> impl Iterator<Item = &Told> {
        self.frames
            .iter()
            .filter(move |frame| !frame.sent && frame.kind == kind)
    }

    /// Answers with this status.
    fn answers(&self, status: u16) -> usize {
        self.text.matches(&format!(" :status: {status}\n")).count()
    }

    /// Bytes of bodies.
    fn bytes(&self) -> usize {
        self.came("DATA").map(|frame| frame.length).sum()
    }

    /// Every request was answered, and the connection did well.
    fn is_well(&self, requests: usize, way: &[&str]) {
        assert_eq!(self.answers(200), requests, "{way:?}: {}", self.text);
        let ended = self
            .came("DATA")
            .chain(self.came("HEADERS"))
            .filter(|frame| frame.flags & LAST != 0);
        let mut streams: Vec<_> = ended.map(|frame| frame.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        assert_eq!(streams.len(), requests, "{way:?}: {}", self.text);
        let acknowledged = self
            .came("SETTINGS")
            .any(|frame| frame.flags == LAST && frame.stream == 0);
        assert!(acknowledged, "{way:?}: {}", self.text);
        for kind in ["RST_STREAM", "GOAWAY", "PUSH_PROMISE"] {
            assert_eq!(self.came(kind).count(), 0, "{way:?}: {}", self.text);
        }
        // It says goodbye, and finds nothing wrong.
        assert!(
            self.text.contains("error_code=NO_ERROR(0x00)"),
            "{way:?}: {}",
            self.text
        );
    }
}

// === impl Told ===

impl Told {
    /// As in `[  0.012] recv SETTINGS frame <length=30, flags=0x00, stream_id=0>`.
    fn read(line: &str) -> Option<Self> {
        let (_, told) = line.split_once("] ")?;
        let (way, told) = told.split_once(' ')?;
        let (kind, numbers) = told.split_once(" frame <")?;
        let mut numbers = numbers
            .trim_end_matches('>')
            .split(", ")
            .filter_map(|pair| Some(pair.split_once('=')?.1));
        Some(Self {
            sent: way == "send",
            kind: kind.to_owned(),
            length: numbers.next()?.parse().ok()?,
            flags: u8::from_str_radix(numbers.next()?.strip_prefix("0x")?, 16).ok()?,
            stream: numbers.next()?.parse().ok()?,
        })
    }
}

/// A gateway before an upstream that sends bodies back, or a large one where none came.
async fn gateway(engine: Engine) -> (Gateway, Upstream) {
    let blue = Upstream::start(|request| async move {
        let body = request.into_body();
        Response::new(full(if body.is_empty() {
            Bytes::from(vec![b'x'; LARGE])
        } else {
            body
        }))
    });
    let blue = blue.await;
    (
        Setup::new(&[("blue", &blue)])
            .without_filters()
            .start(engine)
            .await,
        blue,
    )
}

/// A body with trailers behind it.
fn trailed() -> Body {
    let trailers: HeaderMap = [("x-trailer".parse().unwrap(), "1".parse().unwrap())]
        .into_iter()
        .collect();
    let frames = [
        Frame::data(Bytes::from_static(b"body")),
        Frame::trailers(trailers),
    ];
    StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed()
}

cases! {
    async fn answers_come_whole_however_they_are_asked_for(engine: Engine) {
        let (gateway, _blue) = gateway(engine).await;
        for way in WAYS {
            let run = Run::of(&gateway, way, &["/"]).await;
            run.is_well(1, way);
            assert_eq!(run.bytes(), LARGE, "{way:?}");
        }
    }

    /// Of two sizes of the table in one SETTINGS frame the host's library sees the last, and does not tell the client that
    /// its table has been empty between them, as RFC 7541 wants it (section 4.2).
    envoy async fn a_table_is_emptied_and_grows_again(engine: Engine) {
        let (gateway, _blue) = gateway(engine).await;
        let way = ["--header-table-size", "0", "--header-table-size", "4096"];
        Run::of(&gateway, &way, &["/"]).await.is_well(1, &way);
    }

    async fn requests_share_a_connection(engine: Engine) {
        let (gateway, blue) = gateway(engine).await;
        let way = ["--multiply", "20"];
        let run = Run::of(&gateway, &way, &["/a", "/b?c=d", "/e"]).await;
        run.is_well(60, &way);
        assert_eq!(run.bytes(), 60 * LARGE);
        assert_eq!(run.text.matches("] Connected").count(), 1);
        for path in ["/a", "/b?c=d", "/e"] {
            assert_eq!(blue.requests().iter().filter(|request| *request.uri() == *path).count(), 20, "{path}");
        }
    }

    async fn bodies_arrive_whole_however_they_are_sent(engine: Engine) {
        let (gateway, blue) = gateway(engine).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("body");
        let body: Vec<u8> = (0..=255).cycle().take(LARGE).collect();
        std::fs::write(&file, &body).unwrap();
        for way in UPLOADS {
            blue.forget();
            let options = [&["--data", file.to_str().unwrap()], way].concat();
            let run = Run::of(&gateway, &options, &["/"]).await;
            run.is_well(1, way);
            assert_eq!(run.bytes(), LARGE, "{way:?}");
            assert!(blue.request().body() == &body, "{way:?}");
        }
    }

    /// The host's library sends no interim answers: nghttp waits a second before it goes on.
    async fn an_expectation_is_met(engine: Engine) {
        let (gateway, _blue) = gateway(engine).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("body");
        std::fs::write(&file, "body").unwrap();
        let way = ["--expect-continue", "--data", file.to_str().unwrap()];
        let run = Run::of(&gateway, &way, &["/"]).await;
        run.is_well(1, &way);
        assert_eq!(run.answers(100), usize::from(engine == Engine::Envoy));
    }

    async fn large_headers_go_both_ways(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            let mut answer = Response::new(full("blue"));
            answer.headers_mut().insert("x-large", request.headers()["x-large"].clone());
            answer
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let field = format!("x-large: {}", "&".repeat(32 * 1024));
        let way = ["--header", field.as_str()];
        let run = Run::of(&gateway, &way, &["/"]).await;
        run.is_well(1, &way);
        assert!(run.text.contains(&format!(") {field}\n")));
        assert!(run.frames.iter().any(|frame| frame.sent && frame.kind == "HEADERS" && frame.length > 16 * 1024));
    }

    async fn trailers_follow_an_answer(engine: Engine) {
        let wire = Wire { http2: true, ..Wire::default() };
        let blue = Upstream::speaking(wire, |_| async { Response::new(trailed()) }).await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters();
        let http2 = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        let gateway = setup.edit(|bootstrap| bootstrap.speak("blue-only", http2)).start(engine).await;
        let run = Run::of(&gateway, &[], &["/"]).await;
        run.is_well(1, &[]);
        assert!(run.text.contains(") x-trailer: 1\n"), "{}", run.text);
        let ends: Vec<_> = run.came("HEADERS").map(|frame| frame.flags & LAST).collect();
        assert_eq!(ends, [0, LAST]);
    }

    /// RFC 9113 has taken the upgrade away: it is an HTTP/1.1 request like any other.
    async fn an_upgrade_is_not_taken(engine: Engine) {
        let (gateway, blue) = gateway(engine).await;
        let run = Run::of(&gateway, &["--upgrade"], &["/"]).await;
        assert!(run.text.contains("HTTP/1.1 200 OK") && run.text.contains("HTTP Upgrade failed"), "{}", run.text);
        assert!(!blue.request().headers().contains_key("upgrade"));
    }
}
