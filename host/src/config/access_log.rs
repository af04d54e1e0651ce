//! Access logs: `envoy.config.accesslog.v3.AccessLog`, their formats compiled.

use std::path::PathBuf;

use http::{HeaderName, StatusCode};

use super::route::HeaderMatch;

mod format;
mod read;

pub use format::{AddressPart, Format, JsonNode, Operator, Part, PeerFact, compile};
pub(super) use read::access_logs;
pub use read::standard;

/// One access log of a connection manager.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// `filter`: which exchanges are logged; without one all are.
    pub filter: Option<Filter>,
    /// Where lines go.
    pub sink: Sink,
    /// What a line says.
    pub format: Format,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sink {
    /// `FileAccessLog.path`.
    File(PathBuf),
    /// `StdoutAccessLog`.
    Stdout,
    /// `StderrAccessLog`.
    Stderr,
}

/// `AccessLogFilter`.
#[derive(Debug, Clone)]
pub enum Filter {
    /// `status_code_filter`.
    Status(Comparison),
    /// `duration_filter`, in milliseconds.
    Duration(Comparison),
    /// `not_health_check_filter`: there is no health check filter here, so all pass.
    NotHealthCheck,
    /// `header_filter`.
    Header(HeaderMatch),
    /// `response_flag_filter`; without flags, any.
    Flags(Vec<String>),
    /// `and_filter`.
    All(Vec<Filter>),
    /// `or_filter`.
    Any(Vec<Filter>),
}

/// `ComparisonFilter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// `op`.
    pub operation: Compare,
    /// `value.default_value`: there is no runtime that could say otherwise.
    pub value: u32,
}

/// `ComparisonFilter.Op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `EQ`.
    Equal,
    /// `GE`.
    AtLeast,
    /// `LE`.
    AtMost,
    /// `NE`.
    Different,
}

// === impl Comparison ===

impl Comparison {
    /// Whether a number passes.
    #[must_use]
    pub fn passes(&self, number: u64) -> bool {
        let value = u64::from(self.value);
        match self.operation {
            Compare::Equal => number == value,
            Compare::AtLeast => number >= value,
            Compare::AtMost => number <= value,
            Compare::Different => number != value,
        }
    }
}

/// A status as numbers are compared: 0 where there was no response.
#[must_use]
pub fn code(status: Option<StatusCode>) -> u64 {
    status.map_or(0, |status| u64::from(status.as_u16()))
}

/// Whether a format needs the response's headers.
#[must_use]
pub fn needs_response_headers(logs: &[AccessLog]) -> bool {
    let of_response = |operator: &Operator| {
        matches!(
            operator,
            Operator::Response(..) | Operator::GrpcStatus { .. }
        )
    };
    logs.iter().any(|log| log.format.any(&of_response))
}

/// A header by name, or a pseudo header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`, `:path`, `:authority`, `:scheme` or `:status`.
    Pseudo(String),
    /// Any other.
    Header(HeaderName),
}
