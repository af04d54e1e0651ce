//! Every host function in every callback: what each engine answered.

use std::collections::BTreeMap;
use std::path::PathBuf;

use switchover_tests::probe::{self, Message, Probe};
use switchover_tests::{Engine, Setup, assert_eventually, programs};

/// Calls that leave the stream as it is.
const FUNCTIONS: &str = include_str!("functions.txt");
/// Calls that change its course.
const ACTS: &str = include_str!("acts.txt");

/// Header maps by their numbers. Source: ABI 0.2.1, `proxy_map_type_t`; 99 is none.
pub(super) const MAPS: [u32; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 99];
/// Buffers by their numbers. Source: ABI 0.2.1, `proxy_buffer_type_t`; 99 is none.
pub(super) const BUFFERS: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 99];

/// In the place of an answer: the engine's process ends.
const CRASH: &str = "**crash**";

/// A callback of a root context or of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Phase {
    /// The script's name under which the guest tells: `root`, or a stream's.
    pub(super) tag: &'static str,
    /// The callback.
    pub(super) callback: &'static str,
    /// The column's heading.
    pub(super) short: &'static str,
}

const fn phase(tag: &'static str, callback: &'static str, short: &'static str) -> Phase {
    Phase {
        tag,
        callback,
        short,
    }
}

// === impl Phase ===

impl Phase {
    /// Whether a stream's own script runs in it.
    fn is_stream(&self) -> bool {
        !["root", "stream"].contains(&self.tag)
    }

    /// What is sent: a body that goes on would take a held head along.
    fn message(&self) -> Message {
        let whole = !["callout", "grpc"].contains(&self.tag);
        Message {
            body: whole,
            trailers: whole,
        }
    }
}

/// Callbacks, in the order in which they run.
pub(super) const PHASES: [Phase; 23] = [
    phase("root", "context_create", "root create"),
    phase("root", "vm_start", "vm start"),
    phase("root", "configure", "configure"),
    phase("root", "tick", "tick"),
    phase("root", "queue_ready", "queue ready"),
    phase("root", "http_call_response", "root callout"),
    phase("root", "done", "root done"),
    phase("root", "delete", "root delete"),
    phase("stream", "context_create", "create"),
    phase("matrix", "request_headers", "request headers"),
    phase("matrix", "request_body", "request body"),
    phase("matrix", "request_trailers", "request trailers"),
    phase("matrix", "response_headers", "response headers"),
    phase("matrix", "response_body", "response body"),
    phase("matrix", "response_trailers", "response trailers"),
    phase("callout", "http_call_response", "callout"),
    phase("grpc", "grpc_receive_initial_metadata", "grpc initial"),
    phase("grpc", "grpc_receive", "grpc message"),
    phase("grpc", "grpc_receive_trailing_metadata", "grpc trailing"),
    phase("grpc", "grpc_close", "grpc close"),
    phase("matrix", "done", "done"),
    phase("matrix", "log", "log"),
    phase("matrix", "delete", "delete"),
];

/// What was answered, by call and callback.
pub(super) type Answers = BTreeMap<(String, Phase), String>;

/// The commands of a list, with MAP and BUFFER replaced, below their headings.
pub(super) fn families() -> Vec<(&'static str, Vec<String>)> {
    let mut families: Vec<(&str, Vec<String>)> = Vec::new();
    for line in FUNCTIONS.lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("## ") {
            families.push((title, Vec::new()));
        } else if let (false, Some((_, commands))) = (line.starts_with('#'), families.last_mut()) {
            commands.extend(expanded(line));
        }
    }
    families
}

/// The acts.
pub(super) fn acts() -> impl Iterator<Item = &'static str> {
    ACTS.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn expanded(line: &str) -> Vec<String> {
    let numbers = |word: &str, numbers: &[u32]| {
        numbers
            .iter()
            .map(|n| line.replace(word, &n.to_string()))
            .collect()
    };
    match line {
        _ if line.contains("MAP") => numbers("MAP", &MAPS),
        _ if line.contains("BUFFER") => numbers("BUFFER", &BUFFERS),
        _ => vec![line.to_owned()],
    }
}

/// Runs all calls in all callbacks.
pub(super) async fn observe(
    engine: Engine,
    edit: impl Fn(Setup) -> Setup,
    try_crashes: bool,
) -> Answers {
    let crashes = std::fs::read_to_string(crashes_file()).unwrap();
    let crashes: Vec<&str> = crashes.lines().collect();
    let list = families()
        .into_iter()
        .flat_map(|(_, commands)| commands)
        .collect::<Vec<_>>()
        .join("; ");
    let program = format!(
        "@all: {list}\n\
         context_create: @all\n\
         first stream_create: @all\n\
         vm_start: @all\n\
         configure: @all; proxy_register_shared_queue 'wake >4; proxy_set_tick_period_milliseconds 10\n\
         first tick: proxy_http_call 'blue {{:method=GET,:path=/,:authority=a}} ' {{}} 5000 >4; @all\n\
         first queue_ready: @all\n\
         first http_call_response: @all\n\
         done: @all\n\
         delete: @all\n"
    );
    let mut probe = Probe::start(engine, Probe::setup(engine, &program, &edit)).await;
    // The first stream's creation; its edits may cost it its own script.
    probe.gateway.client().get("/").send().await;
    let mut answers = Answers::new();
    for phase in streams() {
        let outcome = probe
            .exchange(&script(phase, "@all"), phase.message())
            .await;
        assert!(!outcome.crashed, "{} in {phase:?}", probe.gateway.output());
        note(&mut answers, phase, outcome.lines);
        for act in acts() {
            let key = (act.to_owned(), *phase);
            let known = engine == Engine::Envoy && crashes.contains(&crash_line(&key).as_str());
            if known && !try_crashes {
                answers.insert(key, CRASH.to_owned());
                continue;
            }
            let outcome = probe.exchange(&script(phase, act), phase.message()).await;
            if outcome.crashed {
                assert!(try_crashes, "new: {act} ends {engine:?} in {}", phase.short);
                probe = Probe::start(engine, Probe::setup(engine, &program, &edit)).await;
                answers.insert(key, CRASH.to_owned());
                continue;
            }
            let answer = outcome
                .lines
                .iter()
                .find(|line| line.callback == phase.callback && line.command == act);
            let answer = answer.map_or("?".to_owned(), |line| comparable(act, &line.answer));
            answers.insert(key, format!("{answer} → {}", outcome.shown()));
        }
    }
    let wanted = ["tick", "queue_ready", "http_call_response"];
    let all_came = |lines: &[probe::Line]| {
        wanted
            .iter()
            .all(|w| lines.iter().any(|l| l.tag == "root" && l.callback == *w))
    };
    assert_eventually!(all_came(&probe.lines()), "{}", probe.gateway.output());
    probe.gateway.terminate();
    probe.gateway.ended().await;
    let told = probe.lines();
    for phase in PHASES.iter().filter(|phase| !phase.is_stream()) {
        note(
            &mut answers,
            phase,
            told.iter().filter(|line| line.tag == phase.tag).cloned(),
        );
    }
    answers
}

/// Calls that end Envoy's process, which are tried only when the page is written.
pub(super) fn crashes_file() -> PathBuf {
    programs::root().join("tests/all/conformance/crashes.txt")
}

/// The lines of that file.
pub(super) fn crash_lines(answers: &Answers) -> String {
    answers
        .iter()
        .filter(|(_, answer)| *answer == CRASH)
        .map(|(key, _)| crash_line(key) + "\n")
        .collect()
}

fn crash_line((act, phase): &(String, Phase)) -> String {
    format!("{act} @ {}", phase.short)
}

/// Keeps what was answered in a callback; of several times the last.
fn note(answers: &mut Answers, phase: &Phase, lines: impl IntoIterator<Item = probe::Line>) {
    for line in lines
        .into_iter()
        .filter(|line| line.callback == phase.callback)
    {
        let answer = comparable(&line.command, &line.answer);
        answers.insert((line.command, *phase), answer);
    }
}

/// An answer without what is each engine's own: numbers that it gives out, and what counts earlier calls.
fn comparable(command: &str, answer: &str) -> String {
    let own = [
        ">4 =",
        ">8",
        "map_size",
        ">p",
        "_call ",
        "queue ",
        "log_level",
        "shared_data",
    ];
    if own.iter().any(|part| command.contains(part)) {
        return answer.split(' ').next().unwrap_or_default().to_owned();
    }
    answer.to_owned()
}

/// The callbacks of a stream's script.
fn streams() -> impl Iterator<Item = &'static Phase> {
    PHASES.iter().filter(|phase| phase.is_stream())
}

/// A script that does this in a callback.
fn script(phase: &Phase, act: &str) -> String {
    match phase.tag {
        "callout" => in_callout(act),
        "grpc" => in_grpc(phase.callback, act),
        _ => format!("{}: {act}", phase.callback),
    }
}

/// A script that does this when an answer to its callout has come.
fn in_callout(act: &str) -> String {
    format!(
        "request_headers: proxy_http_call 'blue {{:method=GET,:path=/,:authority=a}} ' {{}} 5000 >4; pause | \
         http_call_response: proxy_set_effective_context self; {act}; proxy_continue_stream 0"
    )
}

/// A script that does this when its gRPC callout has come so far.
fn in_grpc(callback: &str, act: &str) -> String {
    format!(
        "request_headers: proxy_grpc_stream 'grpc 'a.Service 'Method {{}} >4 =call; proxy_grpc_send $call 'question 1; pause | \
         {callback}: proxy_set_effective_context self; {act}; proxy_continue_stream 0"
    )
}
