//! `switchover check`: a file's problems before it is served.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::config::{self, Problem, Severity};

/// The exit code where a file has errors.
const ERRORS: u8 = 1;

const HELP: &str = "\
What is read are the file, the documents and certificates that it leads to, and the first bytes of its filters' modules; \
documents of filters with a root id of Switchover's are checked as the filter does. Nothing of a filter runs: \
configurations of other filters are not looked at. `switchover inspect` says whether a module loads, `switchover trace` \
whether it takes its configuration, and `switchover test` what it does.

Examples:
  switchover check envoy/demo.yaml         a bootstrap and the documents that it leads to
  switchover check envoy/demo.ecds.yaml    one ECDS document
  switchover check rollout.json            one rollout document
  switchover check --json envoy/demo.yaml  the same for programs

Paths within a file are relative to the working directory, as in Envoy.
Exit code: 0 without errors, 1 with errors, 2 for wrong arguments.";

/// Arguments of `switchover check`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct CheckArgs {
    /// An Envoy bootstrap (YAML or JSON), an ECDS document or a rollout document
    file: PathBuf,
    /// Print a JSON list of {file, line, path, message, severity} instead of lines
    #[arg(long)]
    json: bool,
}

/// Checks a file and prints what it found to standard output: a line for each problem, errors before warnings, then
/// their number.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let problems = config::check(&args.file, &|name| std::env::var(name).ok());
    let mut out = anstream::stdout().lock();
    if args.json {
        json(&mut out, &problems)?;
    } else {
        text(&mut out, &problems)?;
        writeln!(out, "{}: {}", args.file.display(), summary(&problems))?;
    }
    Ok(if count(&problems, Severity::Error) > 0 {
        ExitCode::from(ERRORS)
    } else {
        ExitCode::SUCCESS
    })
}

/// One line for each problem; `anstream` takes the colour out where there is no terminal.
fn text(out: &mut dyn Write, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        let (word, colour) = match problem.severity {
            Severity::Error => ("error", AnsiColor::Red),
            Severity::Warning => ("warning", AnsiColor::Yellow),
        };
        let style = Style::new().bold().fg_color(Some(colour.into()));
        writeln!(out, "{style}{word}{style:#}: {problem}")?;
    }
    Ok(())
}

/// A JSON list; a line that is not known is `null`.
fn json(out: &mut dyn Write, problems: &[Problem]) -> anyhow::Result<()> {
    let list: Vec<_> = problems
        .iter()
        .map(|p| {
            serde_json::json!({
                "file": p.file.to_string_lossy(),
                "line": (p.line > 0).then_some(p.line),
                "path": p.path,
                "message": p.message,
                "severity": match p.severity { Severity::Error => "error", Severity::Warning => "warning" },
            })
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &list)?;
    writeln!(out)?;
    Ok(())
}

fn count(problems: &[Problem], severity: Severity) -> usize {
    problems.iter().filter(|p| p.severity == severity).count()
}

/// As in `2 errors, 1 warning`.
fn summary(problems: &[Problem]) -> String {
    let some = |n, word| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (
        count(problems, Severity::Error),
        count(problems, Severity::Warning),
    ) {
        (0, 0) => "ok".to_owned(),
        (0, warnings) => format!("ok, {}", some(warnings, "warning")),
        (errors, warnings) => format!("{}, {}", some(errors, "error"), some(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, line: usize) -> Problem {
        Problem {
            file: "f.yaml".into(),
            line,
            path: "node.id".into(),
            message: "is wrong".into(),
            severity,
        }
    }

    #[test]
    fn a_line_for_each_problem() {
        let problems = [problem(Severity::Error, 3), problem(Severity::Warning, 0)];
        let mut out = anstream::StripStream::new(Vec::new());
        text(&mut out, &problems).expect("written");
        let out = String::from_utf8(out.into_inner()).expect("text");
        assert_eq!(
            out,
            "error: f.yaml:3: node.id: is wrong\nwarning: f.yaml: node.id: is wrong\n"
        );
        assert_eq!(summary(&problems), "1 error, 1 warning");
        assert_eq!(summary(&problems[1..]), "ok, 1 warning");
        assert_eq!(summary(&[]), "ok");
    }

    #[test]
    fn a_list_for_programs() {
        let mut out = Vec::new();
        json(&mut out, &[problem(Severity::Warning, 0)]).expect("written");
        let list: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let expected = serde_json::json!([{
            "file": "f.yaml", "line": null, "path": "node.id", "message": "is wrong", "severity": "warning",
        }]);
        assert_eq!(list, expected);
    }

    #[test]
    fn errors_decide_the_exit_code() {
        let code = |file: &str| {
            let args = CheckArgs {
                file: file.into(),
                json: true,
            };
            run(&args).expect("written")
        };
        assert_eq!(code("tests/config/full.yaml"), ExitCode::SUCCESS);
        assert_eq!(code("tests/config/none.yaml"), ExitCode::from(1));
    }
}
