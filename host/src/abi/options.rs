//! How the ABI is carried out, for all VMs of a process.

use std::sync::Arc;

use super::lint::Lint;
use super::observe::Observers;

/// How the ABI is carried out, and who watches.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whom the host follows where Envoy and the specification differ.
    pub mode: Mode,
    /// Takes down what would break elsewhere.
    pub lint: Option<Arc<Lint>>,
    /// Makes an observer for each VM; most processes have none.
    pub observers: Option<Observers>,
}

/// Whom the host follows where Envoy and the specification differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Mode {
    /// What Envoy does.
    #[default]
    Envoy,
    /// What the specification of ABI 0.2.1 says.
    Strict,
}
