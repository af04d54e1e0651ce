//! The page.

use std::fmt::Write as _;

use super::behaviours::{self, MOMENTS, Properties, Results};
use super::matrix::{self, Answers, PHASES};
use super::wasi::{self, Errors};

/// What one engine did.
pub(super) struct Observed {
    /// Functions in callbacks.
    pub(super) answers: Answers,
    /// Behaviours.
    pub(super) results: Results,
    /// Properties.
    pub(super) properties: Properties,
    /// WASI.
    pub(super) errors: Errors,
}

/// The engines whose doings are on the page.
pub(super) struct Engines {
    /// Envoy.
    pub(super) envoy: Observed,
    /// The host as it is by default.
    pub(super) host: Observed,
    /// The host as the specification has it.
    pub(super) strict: Observed,
}

/// One reason: for what begins like this, where the host answers this.
struct Reason {
    line: String,
    pattern: String,
    why: String,
    used: bool,
}

/// The page, and what is wrong with its reasons.
pub(super) struct Written {
    /// The page.
    pub(super) text: String,
    /// Differences without a reason.
    pub(super) unexplained: Vec<String>,
    /// Lines of the reasons that fit no difference.
    pub(super) unused: Vec<String>,
}

/// Writes the page and gathers the reasons it needs.
struct Page {
    text: String,
    reasons: Vec<Reason>,
    /// Reasons by number, in the order in which the page names them.
    named: Vec<String>,
    unexplained: Vec<String>,
}

/// Writes the page, with these lines of reasons.
pub(super) fn write(engines: &Engines, reasons: &str) -> Written {
    let mut page = Page::new(reasons);
    page.text.push_str(HEAD);
    page.functions(engines);
    page.behaviours(engines);
    page.properties(engines);
    page.wasi(engines);
    page.notes();
    let unused = page.reasons.into_iter().filter(|reason| !reason.used);
    Written {
        text: page.text,
        unexplained: page.unexplained,
        unused: unused.map(|reason| reason.line).collect(),
    }
}

const HEAD: &str = "# What the host does, beside Envoy

Made by `make conformance` out of what the engines did: the host, the host with `--abi strict`, and Envoy 1.40. `make test` fails where this page is not what they do.

A cell is Envoy's answer. Where the host's is another one, it stands behind **host**, and that of its strict mode behind **strict**; the number leads to the reason at the page's end. A dash: the callback is not made.
";

// === impl Page ===

impl Page {
    fn new(reasons: &str) -> Self {
        let reason = |line: &str| {
            let (pattern, why) = line.split_once(" | ")?;
            Some(Reason {
                line: line.to_owned(),
                pattern: pattern.to_owned(),
                why: why.to_owned(),
                used: false,
            })
        };
        let lines = reasons.lines().filter(|line| !line.starts_with('#'));
        Self {
            text: String::new(),
            reasons: lines.filter_map(reason).collect(),
            named: Vec::new(),
            unexplained: Vec::new(),
        }
    }

    /// What is in a cell.
    fn cell(
        &mut self,
        place: &str,
        envoy: &str,
        host: &str,
        strict: &str,
        shorten: fn(&str) -> String,
    ) -> String {
        let mut cell = shorten(envoy);
        if host != envoy {
            let _ = write!(
                cell,
                " **host** {}{}",
                shorten(host),
                self.because(&format!("{place} envoy {envoy} host {host}"))
            );
        }
        if strict != host {
            let _ = write!(
                cell,
                " **strict** {}{}",
                shorten(strict),
                self.because(&format!("{place} envoy {envoy} strict {strict}"))
            );
        }
        cell
    }

    /// The number of the first reason that fits a difference.
    fn because(&mut self, difference: &str) -> String {
        let found = self
            .reasons
            .iter_mut()
            .find(|reason| fits(&reason.pattern, difference));
        let Some(reason) = found else {
            self.unexplained.push(difference.to_owned());
            return " (?)".to_owned();
        };
        reason.used = true;
        let at = self
            .named
            .iter()
            .position(|named| *named == reason.why)
            .unwrap_or_else(|| {
                self.named.push(reason.why.clone());
                self.named.len() - 1
            });
        format!(" [{}](#reasons)", at + 1)
    }

    /// Every function in every callback.
    fn functions(&mut self, engines: &Engines) {
        self.text.push_str(FUNCTIONS);
        for (title, commands) in matrix::families() {
            self.table(title, commands.iter().map(String::as_str), engines);
        }
        self.table("What changes a stream's course", matrix::acts(), engines);
    }

    fn table<'a>(
        &mut self,
        title: &str,
        commands: impl Iterator<Item = &'a str>,
        engines: &Engines,
    ) {
        let headings: Vec<&str> = PHASES.iter().map(|phase| phase.short).collect();
        let _ = write!(
            self.text,
            "\n### {title}\n\n| call | {} |\n|---|{}\n",
            headings.join(" | "),
            "---|".repeat(headings.len())
        );
        for command in commands {
            let _ = write!(self.text, "| `{}` |", command.replace('|', "\\|"));
            for phase in &PHASES {
                let key = (command.to_owned(), *phase);
                let answer = |of: &Observed| {
                    of.answers
                        .get(&key)
                        .cloned()
                        .unwrap_or_else(|| "–".to_owned())
                };
                let place = format!("{command} @ {}", phase.short);
                let cell = self.cell(
                    &place,
                    &answer(&engines.envoy),
                    &answer(&engines.host),
                    &answer(&engines.strict),
                    short,
                );
                let _ = write!(self.text, " {cell} |");
            }
            self.text.push('\n');
        }
    }

    fn behaviours(&mut self, engines: &Engines) {
        self.text.push_str(BEHAVIOURS);
        for (title, list) in behaviours::families() {
            let _ = write!(
                self.text,
                "\n### {title}\n\n| behaviour | what comes of it |\n|---|---|\n"
            );
            for behaviour in list {
                let result = |of: &Observed| of.results[behaviour.title].replace('|', "\\|");
                let cell = self.cell(
                    behaviour.title,
                    &result(&engines.envoy),
                    &result(&engines.host),
                    &result(&engines.strict),
                    str::to_owned,
                );
                let _ = writeln!(self.text, "| {} | {cell} |", behaviour.title);
            }
        }
    }

    fn properties(&mut self, engines: &Engines) {
        let _ = write!(
            self.text,
            "{PROPERTIES}| path | {} |\n|---|{}\n",
            MOMENTS.join(" | "),
            "---|".repeat(MOMENTS.len())
        );
        for (path, _) in behaviours::paths() {
            let _ = write!(self.text, "| {} |", path.replace(' ', " · "));
            for moment in MOMENTS {
                let value = |of: &Observed| of.properties[&(path, moment)].replace('|', "\\|");
                let place = format!("property {path} @ {moment}");
                let cell = self.cell(
                    &place,
                    &value(&engines.envoy),
                    &value(&engines.host),
                    &value(&engines.strict),
                    short,
                );
                let _ = write!(self.text, " {cell} |");
            }
            self.text.push('\n');
        }
    }

    fn wasi(&mut self, engines: &Engines) {
        let headings: Vec<&str> = wasi::ARGUMENTS
            .iter()
            .map(|(heading, ..)| *heading)
            .collect();
        let _ = write!(
            self.text,
            "{WASI}| function | {} |\n|---|{}\n",
            headings.join(" | "),
            "---|".repeat(headings.len())
        );
        for (name, _) in wasi::FUNCTIONS {
            let _ = write!(self.text, "| {name} |");
            for at in 0..headings.len() {
                let error =
                    |of: &Observed| of.errors[name].split(' ').nth(at).unwrap_or("?").to_owned();
                let place = format!("wasi {name} @ {at}");
                let cell = self.cell(
                    &place,
                    &error(&engines.envoy),
                    &error(&engines.host),
                    &error(&engines.strict),
                    str::to_owned,
                );
                let _ = write!(self.text, " {cell} |");
            }
            self.text.push('\n');
        }
    }

    fn notes(&mut self) {
        self.text.push_str("\n## Reasons\n\n");
        for (at, why) in self.named.iter().enumerate() {
            let _ = writeln!(self.text, "{}. {why}", at + 1);
        }
    }
}

const FUNCTIONS: &str = "
## Functions in callbacks

Calls are written as the guest `tests/guests/probe` takes them: `'text` is an address and a length (`%XX` a byte), `{a=1}` a header map, `>` where an answer's address and length go, `>4` and `>8` where a number goes, `bad` an address outside the memory. Header maps: 0 request headers, 1 request trailers, 2 response headers, 3 response trailers, 4 gRPC initial metadata, 5 gRPC trailing metadata, 6 headers and 7 trailers of a callout's answer. Buffers: 0 request body, 1 response body, 2 and 3 TCP, 4 a callout's answer, 5 gRPC message, 6 VM configuration, 7 plugin configuration, 8 call data.

Answers: OK, NF not found, BA bad argument, SF serialization failure, PF parse failure, IM invalid memory access, EM empty, CM compare-and-swap mismatch, IF internal failure, UN unimplemented; what stands behind is what was written. Behind an arrow: what the client got, where the call changes the stream's course. In the columns of the callout and of gRPC's callbacks the guest has made the stream the effective context first.
";

const BEHAVIOURS: &str = "
## Behaviours

The answers of the script's calls, then what the upstream and the client got where that is not what was sent. The scripts are in `tests/all/conformance/behaviours.txt`.
";

const PROPERTIES: &str = "
## Properties

The parts of a path are parted by dots. Values that change from run to run are named by their kind; others are written out, `%XX` being a byte.

";

const WASI: &str = "
## WASI preview 1

Error numbers: 00 is success, 08 bad file, 21 fault, 28 invalid, 44 no such file, 52 not implemented, 58 not supported. The columns are the first argument and the others.

";

/// A status in two letters.
fn short(answer: &str) -> String {
    let names = [
        ("NOT_FOUND", "NF"),
        ("BAD_ARGUMENT", "BA"),
        ("SERIALIZATION_FAILURE", "SF"),
        ("PARSE_FAILURE", "PF"),
        ("INVALID_MEMORY_ACCESS", "IM"),
        ("EMPTY", "EM"),
        ("CAS_MISMATCH", "CM"),
        ("INTERNAL_FAILURE", "IF"),
        ("UNIMPLEMENTED", "UN"),
    ];
    let short = names
        .iter()
        .fold(answer.to_owned(), |answer, (name, short)| {
            answer.replace(name, short)
        });
    short.trim_end_matches(" -").replace(" ' →", " →")
}

/// Whether text fits a pattern with `*` for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
