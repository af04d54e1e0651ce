//! What `render` says that a target does not do: the table in `envoy/README.md` is made here, of the notes that there are
//! in the source and the targets for which they were printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::*;
use crate::errors::WRITE;
use crate::errors::source::{Rule, messages};

const PAGE: &str = "envoy/README.md";
const BEGIN: &str = "<!-- begin: notes, by `make errors` -->\n";
const END: &str = "<!-- end: notes -->\n";

#[test]
fn every_note_is_in_the_table() {
    let notes = messages("host/src/render/notes", Rule::Texts);
    let notes: Vec<String> = notes.into_iter().map(|note| note.text).collect();
    let told = told();
    let mut table = String::from(
        "| note | `envoy` | `istio` | `envoy-gateway` | `kubernetes-gateway` |\n|---|---|---|---|---|\n",
    );
    let mut said = BTreeSet::new();
    for note in &notes {
        let _ = write!(table, "| {note} |");
        for target in TARGETS {
            let printed = told[target[1]].iter().filter(|line| fits(line, note));
            let printed: Vec<_> = printed.collect();
            table.push_str(if printed.is_empty() { " |" } else { " yes |" });
            said.extend(printed);
        }
        table.push('\n');
        assert!(
            said.iter().any(|line| fits(line, note)),
            "no document of the test has the note {note:?}"
        );
    }
    let unknown: Vec<_> = told
        .values()
        .flatten()
        .filter(|line| !said.contains(line))
        .collect();
    assert!(unknown.is_empty(), "no note of the source is {unknown:#?}");

    let file = programs::root().join(PAGE);
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (committed, behind) = rest.split_once(END).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, [before, BEGIN, &table, END, behind].concat()).unwrap();
    } else {
        assert!(
            committed == table,
            "{PAGE} is out of date, run `make errors`: {committed}\nis not\n{table}"
        );
    }
}

/// What was printed for each target, for documents of all kinds, with a new gateway and one that is there.
fn told() -> BTreeMap<&'static str, BTreeSet<String>> {
    let existing: &[&str] = &[
        "--target",
        "envoy-gateway",
        "--image",
        "registry.example.com/switchover@sha256:0123",
        "--gateway",
        "shop",
    ];
    let mut told: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (_, document, upstreams) in kinds() {
        let files = Files::new(&document);
        let options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
        for target in TARGETS.into_iter().chain([existing]) {
            let output = files.render(target, &options);
            let shown = stderr(passed(&output));
            let lines = shown.lines().filter_map(|line| line.strip_prefix("note: "));
            told.entry(target[1])
                .or_default()
                .extend(lines.map(str::to_owned));
        }
    }
    told
}

/// Whether a line is this note, `…` for what differs.
fn fits(line: &str, note: &str) -> bool {
    let mut rest = line;
    let parts: Vec<&str> = note.split('…').collect();
    let all = parts.iter().all(|part| {
        let found = rest.split_once(part);
        found.map(|(_, behind)| rest = behind).is_some()
    });
    all && line.starts_with(parts[0]) && (rest.is_empty() || note.ends_with('…'))
}
