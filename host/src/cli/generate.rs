//! `switchover completions` and `switchover man`: what shells and `man` read, made from the command line itself.

mod markdown;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Arguments of `switchover completions`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  switchover completions bash > ~/.local/share/bash-completion/completions/switchover
  switchover completions zsh > ~/.zfunc/_switchover
  switchover completions fish > ~/.config/fish/completions/switchover.fish

`make install` installs them for bash, zsh and fish.")]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `switchover man`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  switchover man ~/.local/share/man/man1
  switchover man pages && man pages/switchover-rollout-set.1
  switchover man --markdown > host/CLI.md

`make install` installs them.")]
pub(super) struct ManArgs {
    /// The directory to write a page for each verb into; it is made where it is missing
    #[arg(value_name = "DIR", required_unless_present = "markdown")]
    directory: Option<PathBuf>,
    /// Print one page of Markdown for all verbs instead
    #[arg(long, conflicts_with = "directory")]
    markdown: bool,
}

/// Prints a shell's completions.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn completions(mut command: Command, args: &CompletionsArgs) -> Result<ExitCode> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the man pages, one for the command and one for each verb of it; or prints the page of all of them.
///
/// # Errors
/// The directory cannot be made or written, or standard output not.
pub(super) fn man(command: Command, args: &ManArgs) -> Result<ExitCode> {
    let mut command = command.disable_help_subcommand(true);
    if let Some(directory) = &args.directory {
        command.build();
        std::fs::create_dir_all(directory)
            .and_then(|()| pages(&command, &date(), directory))
            .with_context(|| format!("cannot write man pages into {}", directory.display()))?;
    } else {
        io::stdout()
            .lock()
            .write_all(markdown::reference(command).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn pages(command: &Command, date: &str, directory: &Path) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, date, directory)?;
    }
    let page = Man::new(command.clone())
        .date(date)
        .source(concat!("switchover ", env!("CARGO_PKG_VERSION")))
        .manual("Switchover");
    page.generate_to(directory).map(|_| ())
}

/// The day that pages are of: today, or where builds are to be reproducible what `SOURCE_DATE_EPOCH` says, in seconds.
fn date() -> String {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok();
    let told = told.and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok());
    let day = told.unwrap_or_else(Timestamp::now).to_zoned(TimeZone::UTC);
    day.strftime("%Y-%m-%d").to_string()
}
