//! The command line's reference as Markdown: what `--help` says of each verb.

use std::fmt::Write as _;

use clap::Command;

/// How wide lines of text are.
const WIDTH: usize = 110;

const INTRODUCTION: &str = "# The command line

<!-- Written by `switchover man --markdown > host/CLI.md`; a test compares the two. -->

What `switchover VERB --help` prints. Colour and progress are for terminals only; `--json`, where a verb has it, is for \
programs.
";

/// A section for each verb.
pub(super) fn reference(command: Command) -> String {
    // What the environment holds here is no part of the reference.
    let mut command = hiding_values(command).term_width(WIDTH);
    command.build();
    let mut out = INTRODUCTION.to_owned();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let name = command.get_name().to_owned();
    for verb in verbs {
        section(&mut out, &name, verb, "##");
    }
    out
}

fn hiding_values(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_env_values(true))
        .mut_subcommands(hiding_values)
}

/// A verb, and the verbs below it.
fn section(out: &mut String, parent: &str, verb: &Command, level: &str) {
    let name = format!("{parent} {}", verb.get_name());
    let help = verb
        .clone()
        .term_width(WIDTH)
        .render_long_help()
        .to_string();
    let lines: Vec<_> = help.trim().lines().map(str::trim_end).collect();
    let _ = write!(
        out,
        "\n{level} {name}\n\n```text\n{}\n```\n",
        lines.join("\n")
    );
    for inner in verb.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        section(out, &name, inner, &format!("{level}#"));
    }
}
