//! `switchover inspect`.

mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::inspect::inspect;

/// Arguments of `switchover inspect`.
#[derive(clap::Args)]
#[command(
    after_help = "Nothing of the filter runs. Files that cannot be loaded are told apart, and what could be read of them \
is shown with the reason.

Examples:
  switchover inspect filter.wasm
  switchover inspect --json filter.wasm | jq '.imports[] | select(.here | not)'
  switchover inspect *.wasm | grep -v loads

Exit code: 0 where this host loads every one of them, 1 where not, 2 for wrong arguments."
)]
pub(super) struct InspectArgs {
    /// Modules to look at
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<PathBuf>,
    /// Print JSON: an object for one filter, a list of them for several
    #[arg(long)]
    json: bool,
}

/// Runs `switchover inspect`; exit code 1 where this host does not load a file.
///
/// # Errors
/// Where output cannot be written. A file that cannot be read is one that does not load.
pub(super) fn run(args: &InspectArgs) -> Result<ExitCode> {
    let mut objects = Vec::new();
    let mut all_load = true;
    for (at, path) in args.filters.iter().enumerate() {
        let name = path.display().to_string();
        let report = match std::fs::read(path) {
            Ok(bytes) => {
                let waiting = waiting(&name);
                let report = inspect(&bytes);
                waiting.finish_and_clear();
                report
            }
            Err(error) => {
                all_load = false;
                if args.json {
                    objects.push(json!({"file": name, "problem": error.to_string()}));
                } else {
                    eprintln!("error: cannot read {name}: {error}");
                }
                continue;
            }
        };
        all_load &= report.loads_here.loads;
        if args.json {
            let mut object = json!(report);
            object["file"] = name.into();
            objects.push(object);
        } else {
            let mut out = anstream::stdout().lock();
            if at > 0 {
                writeln!(out)?;
            }
            text::write(&mut out, &name, &report)?;
        }
    }
    if args.json {
        let mut out = io::stdout().lock();
        match objects.as_slice() {
            [one] if args.filters.len() == 1 => writeln!(out, "{one:#}")?,
            _ => writeln!(out, "{:#}", Value::from(objects))?,
        }
    }
    Ok(match all_load {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Great modules take seconds to compile.
fn waiting(name: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} compiling {msg}");
    let bar = ProgressBar::new_spinner().with_message(name.to_owned());
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
