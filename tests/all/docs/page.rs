//! A page of Markdown, as far as commands and links go.

use std::collections::BTreeSet;
use std::path::Path;

use switchover_tests::programs;

/// A page with commands.
pub(super) struct Page {
    /// Its path within the repository.
    pub(super) name: String,
    /// Its blocks of commands, in their order.
    pub(super) blocks: Vec<Block>,
}

/// A block of commands, or what is said to have been printed.
#[derive(Debug, PartialEq)]
pub(super) enum Block {
    /// Commands, and the line on which the block begins.
    Run(usize, String),
    /// Commands that are only looked at.
    Look(usize, String),
    /// What must have been printed, after that of the last of these.
    Prints(usize, String),
}

// === impl Page ===

impl Page {
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(programs::root().join(path)).unwrap();
        Self::parse(path.to_str().unwrap(), &text)
    }

    pub(super) fn parse(name: &str, text: &str) -> Self {
        let mut blocks = Vec::new();
        let mut not_run = false;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let comment = |what: &str| {
                line.trim()
                    .strip_prefix("<!-- ")?
                    .strip_prefix(what)?
                    .strip_suffix(" -->")
            };
            if let Some(text) = comment("prints: ") {
                blocks.push(Block::Prints(at + 1, text.to_owned()));
            } else if comment("not run: ").is_some() {
                not_run = true;
            } else if let Some(language) = line.trim_start().strip_prefix("```") {
                let inner = lines.by_ref().map(|(_, line)| line);
                let inner: Vec<_> = inner.take_while(|line| line.trim() != "```").collect();
                if language == "sh" {
                    let text = inner.join("\n");
                    blocks.push(if not_run {
                        Block::Look(at + 1, text)
                    } else {
                        Block::Run(at + 1, text)
                    });
                }
                not_run = false;
            }
        }
        Self {
            name: name.to_owned(),
            blocks,
        }
    }
}

/// The commands of a block: lines, those that go on in the next one with it.
pub(super) fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in text.lines() {
        command.push_str(line);
        if line.ends_with('\\') {
            command.push('\n');
        } else {
            commands.push(std::mem::take(&mut command));
        }
    }
    commands.extend((!command.is_empty()).then_some(command));
    commands
}

/// Where links lead that are not to the outside.
pub(super) fn links(text: &str) -> Vec<&str> {
    let ends = text.match_indices("](").map(|(at, _)| &text[at + 2..]);
    let links = ends.filter_map(|rest| rest.split_once(')').map(|(link, _)| link));
    links
        .filter(|link| !link.contains("://") && !link.contains(char::is_whitespace))
        .collect()
}

/// What a page's headings are called in links.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        heading
            .chars()
            .filter(kept)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(anchor).collect()
}
