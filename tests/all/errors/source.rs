//! Messages in the sources: what the program can say is read out of its tokens.

use std::path::PathBuf;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use switchover_tests::programs;

/// Macros whose text a user reads.
const MACROS: [&str; 5] = ["anyhow", "bail", "ensure", "error", "warn"];
/// Methods that add to an error.
const METHODS: [&str; 2] = ["context", "with_context"];

/// How texts begin that are none: formats and header values.
const NONE: [&str; 3] = ["[%", "default-src", "{}={}; HttpOnly"];

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    /// Its text, `…` for what differs.
    pub(crate) text: String,
    /// What its documentation says.
    pub(crate) meaning: String,
}

/// What is taken for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What `thiserror` shows, what `anyhow` is given, and what is logged as a warning or an error.
    Errors,
    /// Every text of several words: whatever a reader of files says is one.
    Texts,
}

struct Scan {
    rule: Rule,
    found: Vec<Message>,
}

/// The files of a module, its tests left out.
pub(super) fn files(module: &str) -> Vec<PathBuf> {
    let path = programs::root().join(module);
    let own = path.with_extension("rs");
    let mut files: Vec<PathBuf> = own.exists().then_some(own).into_iter().collect();
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("tests") => {}
                _ if path.is_dir() => folders.push(path),
                _ if path.extension().is_some_and(|extension| extension == "rs") => {
                    files.push(path)
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// A module's messages.
pub(crate) fn messages(module: &str, rule: Rule) -> Vec<Message> {
    let texts = files(module).into_iter();
    let texts = texts.map(|file| std::fs::read_to_string(file).unwrap());
    let mut found: Vec<_> = texts.flat_map(|text| messages_of(&text, rule)).collect();
    found.sort();
    found.dedup();
    found
}

/// A source's messages, in the order of the alphabet.
pub(super) fn messages_of(text: &str, rule: Rule) -> Vec<Message> {
    let mut scan = Scan {
        rule,
        found: Vec::new(),
    };
    scan.stream(text.parse().unwrap());
    scan.found.sort();
    scan.found
}

// === impl Scan ===

impl Scan {
    fn stream(&mut self, stream: TokenStream) {
        let mut docs = Vec::new();
        let mut before: [Option<TokenTree>; 2] = [None, None];
        let mut test = false;
        for token in stream {
            match &token {
                TokenTree::Group(group) if is_attribute(group, &before) => {
                    test |= group.stream().to_string() == "cfg (test)";
                    self.attribute(group, &mut docs);
                }
                TokenTree::Punct(mark) if mark.as_char() == '#' => {}
                TokenTree::Group(group) => {
                    docs.clear();
                    if !std::mem::take(&mut test) {
                        self.group(group, &before);
                    }
                }
                TokenTree::Literal(_) if self.rule == Rule::Texts => {
                    self.text(text(&token).into_iter().collect(), String::new());
                }
                _ => docs.clear(),
            }
            let [_, last] = before;
            before = [last, Some(token)];
        }
    }

    /// A documentation's line, or what an error shows.
    fn attribute(&mut self, group: &Group, docs: &mut Vec<String>) {
        let mut tokens = group.stream().into_iter();
        let name = tokens.next().map(|name| name.to_string());
        match name.as_deref() {
            Some("doc") => docs.extend(tokens.filter_map(|token| text(&token))),
            Some("error") => {
                let Some(TokenTree::Group(shown)) = tokens.next() else {
                    return;
                };
                let first = shown.stream().into_iter().next();
                let message = first.and_then(|token| text(&token));
                let meaning = docs.iter().map(|line| line.trim()).collect::<Vec<_>>();
                self.text(message.into_iter().collect(), meaning.join(" "));
            }
            _ => {}
        }
    }

    fn group(&mut self, group: &Group, before: &[Option<TokenTree>; 2]) {
        let ident =
            |at: &Option<TokenTree>| at.as_ref().map_or(String::new(), TokenTree::to_string);
        let [first, second] = [ident(&before[0]), ident(&before[1])];
        let said = (second == "!" && MACROS.contains(&first.as_str()))
            || (first == "." && METHODS.contains(&second.as_str()));
        match self.rule {
            Rule::Errors if said => literals(group).into_iter().for_each(|text| {
                if text.contains(' ') {
                    self.text(vec![text], String::new());
                }
            }),
            // The parts of a text that is put together.
            Rule::Texts if group.delimiter() == Delimiter::Bracket => {
                let parts = group.stream().into_iter().filter_map(|token| text(&token));
                self.text(parts.collect(), String::new());
                let inner = group.stream().into_iter();
                self.stream(inner.filter(|token| text(token).is_none()).collect());
            }
            _ => self.stream(group.stream()),
        }
    }

    fn text(&mut self, parts: Vec<String>, meaning: String) {
        let text = parts.join("{}");
        if NONE.iter().any(|start| text.starts_with(start)) {
            return;
        }
        let text = pattern(&text);
        let words = text.split_whitespace();
        let words = words.filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 1);
        let least = if self.rule == Rule::Texts { 3 } else { 1 };
        if words.count() >= least {
            self.found.push(Message { text, meaning });
        }
    }
}

fn is_attribute(group: &Group, before: &[Option<TokenTree>; 2]) -> bool {
    let mark = |at: &Option<TokenTree>, mark: char| matches!(at, Some(TokenTree::Punct(p)) if p.as_char() == mark);
    group.delimiter() == Delimiter::Bracket
        && (mark(&before[1], '#') || (mark(&before[1], '!') && mark(&before[0], '#')))
}

/// All texts within a group.
fn literals(group: &Group) -> Vec<String> {
    let inner = |token: TokenTree| match &token {
        TokenTree::Group(group) => literals(group),
        _ => text(&token).into_iter().collect(),
    };
    group.stream().into_iter().flat_map(inner).collect()
}

/// A token's text, if it is one.
fn text(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else {
        return None;
    };
    syn::parse_str::<syn::LitStr>(&literal.to_string())
        .ok()
        .map(|text| text.value())
}

/// A format string as a reader sees it: `…` for what is put in.
fn pattern(format: &str) -> String {
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.next_if_eq(&c).is_some() => text.push(c),
            '{' => {
                rest.by_ref().take_while(|c| *c != '}').for_each(drop);
                text.push('…');
            }
            '\n' => text.push(' '),
            _ => text.push(c),
        }
    }
    text.trim().to_owned()
}
