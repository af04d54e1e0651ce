//! The page.

use std::fmt::Write as _;

use strum::{EnumMessage, VariantArray};
use switchover_core::Refusal;
use switchover_host::abi::status::Status;
use switchover_host::proxy::attempt::AttemptFailure;
use switchover_host::proxy::reply::{self, FLAGS, GatewayError, RETRY_LIMIT};
use switchover_host::proxy::upstream::connection::AttemptError;
use switchover_host::stream::LocalReply;
use switchover_tests::programs;

use super::source::{self, Message, Rule};

/// Sections of messages: a module, a heading, what is taken for a message.
pub(super) const MODULES: [(&str, &str, Rule); 16] = [
    ("host/src/config", "Envoy's files", Rule::Texts),
    ("filter/core/src/document", "Rollout documents", Rule::Texts),
    (
        "host/src/rollout",
        "`switchover rollout` and the console's buttons",
        Rule::Texts,
    ),
    (
        "host/src/gateway",
        "The gateway starts, reloads and serves",
        Rule::Texts,
    ),
    ("host/src/vm", "Filters", Rule::Texts),
    ("host/src/tls", "Certificates and keys", Rule::Texts),
    ("host/src/proxy/upstream", "Attempts", Rule::Errors),
    ("host/src/console", "The console", Rule::Texts),
    ("host/src/render", "`switchover render`", Rule::Texts),
    ("host/src/pack", "`switchover pack`", Rule::Texts),
    ("host/src/scenario", "`switchover test`", Rule::Errors),
    ("host/src/drill", "`switchover drill`", Rule::Errors),
    (
        "host/src/demo",
        "`switchover demo` and `demo-upstream`",
        Rule::Errors,
    ),
    (
        "host/src/cli",
        "Arguments and output of all verbs",
        Rule::Errors,
    ),
    ("host/src/process", "The system", Rule::Errors),
    ("host/src/proxy", "The data path's log", Rule::Errors),
];

/// What only the program's own parts tell each other.
pub(super) const INNER: [&str; 1] = ["stream/head.rs"];

const HEAD: &str = "# Messages and answers, and what to do

Made by `make errors` out of the sources; `make test` fails where this page is not what they say. A message says what was wrong, where, and what would be right; `…` stands for what differs. Search this page for a part of it.

## Exit codes

| code | when |
|--:|---|
| 0 | done |
| 1 | failed, refused, or found what it was to look for: `check` an error, `test` a failure, `plan` somebody who is moved back |
| 2 | wrong arguments, or scenario files that cannot be read |

## What clients get

`details` is `%RESPONSE_CODE_DETAILS%` of access logs, `flag` is `%RESPONSE_FLAGS%`. The body is what the gateway writes.
";

/// The whole page.
pub(super) fn write() -> String {
    let mut page = HEAD.to_owned();
    answers(&mut page);
    flags(&mut page);
    statuses(&mut page);
    messages(&mut page);
    page
}

fn meaning(of: &impl EnumMessage) -> &'static str {
    let meaning = of.get_documentation();
    meaning.unwrap_or_else(|| panic!("a variant has no documentation"))
}

fn answers(page: &mut String) {
    page.push_str("\n### From the filter\n\n| status | `error.code` | `error.type` | details | when |\n|--:|---|---|---|---|\n");
    let shapes = Refusal::VARIANTS
        .iter()
        .map(|refusal| (refusal.shape(), refusal));
    let mut shapes: Vec<_> = shapes.collect();
    shapes.sort_by_key(|(shape, _)| shape.status);
    for (shape, refusal) in shapes {
        let _ = writeln!(
            page,
            "| {} | `{}` | `{}` | `{}` | {} |",
            shape.status,
            shape.code,
            shape.kind,
            shape.details,
            meaning(refusal)
        );
    }
    page.push_str("\n### From the gateway\n\n| status | flag | details | body | when |\n|--:|---|---|---|---|\n");
    let own = GatewayError::VARIANTS.iter();
    let own = own.map(|error| (reply::gateway(*error), meaning(error)));
    let attempts = AttemptError::VARIANTS.iter();
    let attempts = attempts.map(|error| {
        let failure = AttemptFailure::Error(*error);
        (reply::attempt(&failure, false), meaning(error))
    });
    let mut all: Vec<_> = own.chain(attempts).collect();
    all.sort_by_key(|(reply, _)| reply.status);
    for (reply, meaning) in &all {
        answer(page, reply, meaning);
    }
    page.push_str("\nWhere an attempt follows another, the body says `retried and the latest reset reason`. Calls for gRPC get the status in `grpc-status`.\n");
}

fn answer(page: &mut String, reply: &LocalReply, meaning: &str) {
    let flag = reply::flag(&reply.details).map_or(String::new(), |(short, _)| format!("`{short}`"));
    let body = match reply.body.is_empty() {
        true => String::new(),
        false => format!("`{}`", String::from_utf8_lossy(&reply.body)),
    };
    let details = reply.details.replace('|', "\\|");
    let _ = writeln!(
        page,
        "| {} | {flag} | `{details}` | {body} | {meaning} |",
        reply.status.as_u16()
    );
}

fn flags(page: &mut String) {
    page.push_str(
        "\n### Response flags\n\n| flag | in full | of details that begin with |\n|---|---|---|\n",
    );
    for (details, (short, long)) in FLAGS {
        let _ = writeln!(page, "| `{short}` | `{long}` | `{details}` |");
    }
    let (short, long) = RETRY_LIMIT;
    let _ = writeln!(
        page,
        "| `{short}` | `{long}` | any, where the retries of the route's `retry_policy` are used up |"
    );
}

fn statuses(page: &mut String) {
    page.push_str("\n## What hostcalls answer\n\n| number | name | meaning |\n|--:|---|---|\n");
    let mut all = Status::VARIANTS.to_vec();
    all.sort_by_key(|status| status.code());
    for status in &all {
        let (code, name) = (status.code(), status.as_ref());
        let _ = writeln!(page, "| {code} | `{name}` | {} |", meaning(status));
    }
    page.push_str(
        "\nWhich hostcall answers what in which callback: [CONFORMANCE.md](CONFORMANCE.md).\n",
    );
}

fn messages(page: &mut String) {
    page.push_str("\n## Messages\n\n`check` prints all problems of a file at once, `FILE:LINE: PATH: MESSAGE`, errors before warnings.\n");
    let file = programs::root().join("tests/all/errors/advice.txt");
    let advice = std::fs::read_to_string(file).unwrap();
    let mut advice: Vec<_> = advice
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .filter(|(part, _)| !part.starts_with('#'))
        .collect();
    let mut told = Vec::new();
    for (module, heading, rule) in MODULES {
        let mut all = source::messages(module, rule);
        all.retain(|message| !told.contains(message));
        for message in &mut all {
            let at = advice
                .iter()
                .position(|(part, _)| message.text.contains(part));
            if let Some(at) = at {
                message.meaning = advice.swap_remove(at).1.to_owned();
            }
        }
        section(page, heading, &all);
        told.extend(all);
    }
    assert!(
        advice.is_empty(),
        "no message has these of advice.txt: {advice:#?}"
    );
}

/// Those with a meaning as a table, the others, which say it themselves, as a list.
fn section(page: &mut String, heading: &str, messages: &[Message]) {
    let (meant, plain): (Vec<&Message>, Vec<&Message>) = messages
        .iter()
        .partition(|message| !message.meaning.is_empty());
    let _ = writeln!(page, "\n### {heading}");
    if !meant.is_empty() {
        page.push_str("\n| message | what it means, and what to do |\n|---|---|\n");
    }
    for message in meant {
        let text = code(&message.text).replace('|', "\\|");
        let _ = writeln!(page, "| {text} | {} |", message.meaning);
    }
    if !plain.is_empty() {
        page.push('\n');
    }
    for message in plain {
        let _ = writeln!(page, "- {}", code(&message.text));
    }
}

/// Text as code, which may hold backticks itself.
fn code(text: &str) -> String {
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}
