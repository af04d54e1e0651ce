//! The command line: what each verb prints, and how it ends.

mod bench;
mod check;
mod demo;
mod schema;

use std::process::{Command, Output};

use switchover_tests::programs;

/// Variables that the demo's files name.
const KEYS: [(&str, &str); 2] = [("BLUE_API_KEY", "b"), ("GREEN_API_KEY", "g")];

/// Runs the command in the repository's root.
fn switchover(arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::switchover());
    command.args(arguments).envs(KEYS);
    command.current_dir(programs::root()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}
