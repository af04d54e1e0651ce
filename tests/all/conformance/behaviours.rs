//! What hostcalls bring about, and what properties there are: scripts, and what each engine made of them.

use std::collections::BTreeMap;

use switchover_tests::probe::{Message, Outcome, Probe, fails};
use switchover_tests::{Engine, Setup};

/// Scripts.
const BEHAVIOURS: &str = include_str!("behaviours.txt");
/// Paths of properties.
const PROPERTIES: &str = include_str!("properties.txt");

/// Headers that each engine adds in its own way.
const ADDED: [&str; 4] = ["x-request-id", "x-probe", "x-forwarded", "x-envoy"];

/// A script with its name.
pub(super) struct Behaviour {
    /// Its name on the page.
    pub(super) title: &'static str,
    message: Message,
    /// With `allow_on_headers_stop_iteration`.
    stop: bool,
    /// The callbacks are compared too.
    callbacks: bool,
    script: &'static str,
}

/// When properties are read.
pub(super) const MOMENTS: [&str; 4] = ["configure", "request_headers", "response_headers", "log"];

/// What each script came to, by its title.
pub(super) type Results = BTreeMap<&'static str, String>;
/// What each property was, by its path and moment.
pub(super) type Properties = BTreeMap<(&'static str, &'static str), String>;

/// The scripts below their headings.
pub(super) fn families() -> Vec<(&'static str, Vec<Behaviour>)> {
    let mut families: Vec<(&str, Vec<Behaviour>)> = Vec::new();
    for line in BEHAVIOURS.lines().filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix("## ") {
            families.push((heading, Vec::new()));
        } else if let (false, Some((_, list))) = (line.starts_with('#'), families.last_mut()) {
            list.push(behaviour(line));
        }
    }
    families
}

fn behaviour(line: &'static str) -> Behaviour {
    let mut parts = line.splitn(3, " | ");
    let (title, kind, script) = (parts.next(), parts.next(), parts.next());
    let (Some(title), Some(kind), Some(script)) = (title, kind, script) else {
        panic!("no title, message and script in {line:?}");
    };
    let message = match kind.split(' ').next() {
        Some("get") => Message::default(),
        Some("post") => Message {
            body: true,
            trailers: false,
        },
        Some("trailers") => Message {
            body: true,
            trailers: true,
        },
        _ => panic!("no message in {line:?}"),
    };
    Behaviour {
        title,
        message,
        stop: kind.ends_with(" stop"),
        callbacks: kind.ends_with(" callbacks"),
        script,
    }
}

/// Runs all scripts.
pub(super) async fn observe(engine: Engine, edit: impl Fn(Setup) -> Setup) -> Results {
    let mut results = Results::new();
    for stop in [false, true] {
        let with_stop = |setup| {
            edit(setup)
                .plugin(move |plugin| plugin["allow_on_headers_stop_iteration"] = stop.into())
        };
        let start = || Probe::start(engine, Probe::setup(engine, "", with_stop));
        let mut probe = start().await;
        for behaviour in families()
            .into_iter()
            .flat_map(|(_, list)| list)
            .filter(|behaviour| behaviour.stop == stop)
        {
            let outcome = probe.exchange(behaviour.script, behaviour.message).await;
            if outcome.crashed {
                probe = start().await;
            } else if engine == Engine::Host && fails(behaviour.script) {
                probe.recovered(behaviour.script).await;
            }
            results.insert(behaviour.title, shown(&behaviour, &outcome));
        }
    }
    results
}

/// The paths, each with how its value is compared.
pub(super) fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = PROPERTIES.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' '))
}

/// Reads all properties.
pub(super) async fn properties(engine: Engine, edit: impl Fn(Setup) -> Setup) -> Properties {
    let command = |path: &str| format!("proxy_get_property '{} >", path.replace(' ', "%00"));
    let list = paths()
        .map(|(path, _)| command(path))
        .collect::<Vec<_>>()
        .join("; ");
    let mut probe = Probe::start(
        engine,
        Probe::setup(engine, &format!("@all: {list}\nconfigure: @all\n"), &edit),
    )
    .await;
    let own = "referer: http://r.test/\r\nuser-agent: probe\r\nx-own: 1\r\nx-own: 2\r\n";
    let script = "request_headers,response_headers,log: @all";
    let whole = Message {
        body: true,
        trailers: true,
    };
    let mut lines = probe.exchange_with(script, whole, own).await.lines;
    lines.extend(probe.lines().into_iter().filter(|line| line.tag == "root"));
    let mut found = Properties::new();
    for (path, how) in paths() {
        for moment in MOMENTS {
            let command = command(path);
            let line = lines
                .iter()
                .rfind(|line| line.callback == moment && line.command == command);
            found.insert(
                (path, moment),
                line.map_or("?".to_owned(), |line| value(&line.answer, how)),
            );
        }
    }
    found
}

/// A property's value as far as it is compared.
fn value(answer: &str, how: &str) -> String {
    let Some(bytes) = answer.strip_prefix("OK '") else {
        return answer.trim_end_matches(" -").to_owned();
    };
    let binary = bytes.contains("%00") || bytes.contains("%01");
    // Escapes are three letters for one byte.
    let length = bytes.len() - 2 * bytes.matches('%').count();
    match how {
        "size" if binary && length > 8 => "a map".to_owned(),
        "size" if binary || length == 8 => format!("{length} bytes"),
        "is" => format!("`{bytes}`"),
        _ => "text".to_owned(),
    }
}

/// An outcome in one line.
fn shown(behaviour: &Behaviour, outcome: &Outcome) -> String {
    if outcome.crashed {
        return "**the process ends**".to_owned();
    }
    let mut parts = Vec::new();
    let answers = outcome
        .lines
        .iter()
        .filter(|line| line.command != "begins")
        .map(|line| {
            // Numbers that engines give out are their own.
            let own = ["queue", "_call", "define_metric", "map_size"]
                .iter()
                .any(|part| line.command.starts_with("proxy") && line.command.contains(part));
            let own = own && !line.command.contains("dequeue") && !line.command.contains("foreign")
                || line.command.contains("=cas");
            let answer = if own {
                line.answer.split(' ').next().unwrap_or_default()
            } else {
                &line.answer
            };
            answer.trim_end_matches(" -").to_owned()
        });
    let answers: Vec<String> = answers.collect();
    if !answers.is_empty() {
        parts.push(format!("`{}`", answers.join("; ")));
    }
    if behaviour.callbacks {
        parts.push(format!("`{}`", outcome.callbacks().join(", ")));
    }
    let upstream = outcome
        .upstream
        .as_deref()
        .map_or("nothing".to_owned(), summary);
    let sent = match (behaviour.message.body, behaviour.message.trailers) {
        (false, _) => "GET /probe?q=1 probe.test",
        (true, false) => "POST /probe?q=1 probe.test body-more",
        (true, true) => "POST /probe?q=1 probe.test body-more x-trailer: request",
    };
    if upstream != sent {
        parts.push(format!("upstream: {upstream}"));
    }
    let client = match outcome.client.as_str() {
        "" => "nothing".to_owned(),
        text => summary(text),
    };
    if client != "200 x-from: upstream x-two: 1 x-two: 2 answer-more x-trailer: response" {
        parts.push(format!("client: {client}"));
    }
    if outcome.hung {
        parts.push("**no end of the answer**".to_owned());
    }
    if parts.is_empty() {
        parts.push("as sent".to_owned());
    }
    parts.join(" · ")
}

/// A message without what each engine adds.
fn summary(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let mut parts = match first.strip_prefix("HTTP/1.1 ") {
        Some(status) => vec![status.split(' ').next().unwrap_or_default().to_owned()],
        None => first.split(' ').take(2).map(str::to_owned).collect(),
    };
    let mut chunked = false;
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "host" => parts.push(value.to_owned()),
            "transfer-encoding" => chunked = true,
            "content-length" => length = value.parse::<usize>().ok(),
            "content-type" | "grpc-status" | "grpc-message" => {
                parts.push(format!("{name}: {value}"))
            }
            _ if name.starts_with("x-") && !ADDED.iter().any(|added| name.starts_with(added)) => {
                parts.push(shortened(format!("{name}: {value}")));
            }
            _ => (),
        }
    }
    let (body, trailers, whole) = if chunked {
        dechunked(body)
    } else {
        (
            body.to_owned(),
            Vec::new(),
            length.is_none_or(|length| length == body.len()),
        )
    };
    if !body.is_empty() {
        parts.push(shortened(body));
    }
    parts.extend(trailers);
    if !whole {
        parts.push("(cut)".to_owned());
    }
    // Many alike are counted.
    let mut counted: Vec<(String, usize)> = Vec::new();
    for part in parts {
        match counted.last_mut() {
            Some((last, times)) if *last == part => *times += 1,
            _ => counted.push((part, 1)),
        }
    }
    let part = |(part, times): (String, usize)| {
        if times == 1 {
            part
        } else {
            format!("{part} ({times} times)")
        }
    };
    counted.into_iter().map(part).collect::<Vec<_>>().join(" ")
}

fn shortened(text: String) -> String {
    const SHOWN: usize = 60;
    if text.len() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}… ({} bytes)", text.len())
}

/// The body, the trailers, and whether the end came.
fn dechunked(mut text: &str) -> (String, Vec<String>, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            let trailers = rest
                .lines()
                .filter(|line| !line.is_empty())
                .map(|line| line.to_ascii_lowercase());
            return (body, trailers.collect(), true);
        }
        body.push_str(rest.get(..size).unwrap_or(rest));
        text = rest.get(size + 2..).unwrap_or_default();
    }
    (body, Vec::new(), false)
}
