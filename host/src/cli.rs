//! The verbs of the `switchover` command.
pub mod check;
