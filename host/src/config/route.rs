//! Virtual hosts, routes, retries and header edits.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

mod action;
mod edit;
mod matcher;
mod read;
mod retry;

pub(super) use edit::{removed as read_removed, value_option as read_header_value};
pub(super) use matcher::{regex_message, string_match as read_string_match};
pub(super) use read::route_configuration as read;

/// `envoy.config.route.v3.RouteConfiguration`.
#[derive(Debug, Clone, Default)]
pub struct RouteConfiguration {
    /// `name`.
    pub name: String,
    /// `virtual_hosts` in order.
    pub virtual_hosts: Vec<VirtualHost>,
    /// `request_headers_to_add`, `request_headers_to_remove`.
    pub request_headers: Vec<HeaderEdit>,
    /// `response_headers_to_add`, `response_headers_to_remove`.
    pub response_headers: Vec<HeaderEdit>,
}

/// `envoy.config.route.v3.VirtualHost`.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// `name`.
    pub name: String,
    /// `domains`: exact, `*.suffix`, `prefix.*` or `*`.
    pub domains: Vec<String>,
    /// `routes`: the first that matches is taken.
    pub routes: Vec<Route>,
    /// Edits for all of its routes.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits for all of its routes.
    pub response_headers: Vec<HeaderEdit>,
    /// `retry_policy` for routes without their own.
    pub retry: Option<RetryPolicy>,
}

/// `envoy.config.route.v3.Route`.
#[derive(Debug, Clone)]
pub struct Route {
    /// `name`; may be empty.
    pub name: String,
    /// `match`.
    pub matcher: RouteMatch,
    /// What happens to a matching request.
    pub action: RouteAction,
    /// `request_headers_to_add`, `request_headers_to_remove`.
    pub request_headers: Vec<HeaderEdit>,
    /// `response_headers_to_add`, `response_headers_to_remove`.
    pub response_headers: Vec<HeaderEdit>,
}

/// `envoy.config.route.v3.RouteMatch`.
#[derive(Debug, Clone)]
pub struct RouteMatch {
    /// How the path (without its query) must look.
    pub path: PathMatch,
    /// `headers`: all must match.
    pub headers: Vec<HeaderMatch>,
    /// `query_parameters`: all must match.
    pub query: Vec<QueryMatch>,
}

/// The path part of a match.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// `prefix`.
    Prefix(String),
    /// `path`.
    Exact(String),
    /// `path_separated_prefix`.
    SeparatedPrefix(String),
    /// `safe_regex`: the whole path must match (the expression is anchored already).
    Regex(regex::Regex),
}

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The header; `:method`, `:path` and `:authority` may be named too.
    pub name: String,
    /// The test on its value.
    pub test: ValueMatch,
    /// `invert_match`.
    pub invert: bool,
    /// `treat_missing_header_as_empty`.
    pub missing_as_empty: bool,
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter.
    pub name: String,
    /// The test on its value.
    pub test: ValueMatch,
}

/// `StringMatcher` and its kin.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Present, or with false absent.
    Present(bool),
    /// `exact`; the second field is `ignore_case`.
    Exact(String, bool),
    /// `prefix`.
    Prefix(String, bool),
    /// `suffix`.
    Suffix(String, bool),
    /// `contains`.
    Contains(String, bool),
    /// `safe_regex`: the whole value (anchored already).
    Regex(regex::Regex),
}

/// What a route does.
#[derive(Debug, Clone)]
pub enum RouteAction {
    /// `route`.
    Forward(Box<Forward>),
    /// `direct_response`.
    Direct(DirectResponse),
    /// `redirect` to a path or host.
    Redirect(Redirect),
}

/// `envoy.config.route.v3.RouteAction`.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Where to.
    pub target: Target,
    /// `timeout` of the whole exchange; Envoy's default is 15 s, 0 is off.
    pub timeout: Duration,
    /// `idle_timeout` of the stream, over the listener's.
    pub idle_timeout: Option<Duration>,
    /// `prefix_rewrite`.
    pub prefix_rewrite: Option<String>,
    /// `host_rewrite_literal`.
    pub host_rewrite: Option<HeaderValue>,
    /// `retry_policy`.
    pub retry: Option<RetryPolicy>,
    /// `request_mirror_policies`.
    pub mirrors: Vec<Mirror>,
}

/// Which cluster.
#[derive(Debug, Clone)]
pub enum Target {
    /// `cluster`: exists in the file.
    Cluster(String),
    /// `cluster_header`.
    ClusterHeader(HeaderName),
    /// `weighted_clusters`: (cluster, weight), sum above 0.
    Weighted(Vec<(String, u32)>),
}

/// `request_mirror_policies`: fire and forget.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The cluster that gets a copy.
    pub cluster: String,
    /// Share, in millionths; without `runtime_fraction` all.
    pub per_million: u32,
}

/// `envoy.config.route.v3.RetryPolicy`.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// `retry_on`.
    pub on: RetryOn,
    /// `num_retries`; Envoy's default is 1.
    pub num_retries: u32,
    /// `per_try_timeout`.
    pub per_try_timeout: Option<Duration>,
    /// `retriable_status_codes`.
    pub status_codes: Vec<StatusCode>,
    /// `retry_back_off.base_interval`; Envoy's default is 25 ms.
    pub base_interval: Duration,
    /// `retry_back_off.max_interval`; Envoy's default is ten times the base.
    pub max_interval: Duration,
    /// `rate_limited_retry_back_off`.
    pub rate_limited: Option<RateLimited>,
    /// `retry_priority` is `envoy.retry_priorities.previous_priorities`: its `update_frequency`.
    pub previous_priorities: Option<u32>,
    /// `retry_host_predicate` has `envoy.retry_host_predicates.previous_hosts`.
    pub previous_hosts: bool,
    /// `host_selection_retry_max_attempts`; Envoy's default is 1.
    pub host_selection_attempts: u32,
}

/// `RateLimitedRetryBackOff`: the upstream says when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimited {
    /// `reset_headers`; at least one. The first with an interval up to the maximum counts.
    pub reset_headers: Vec<ResetHeader>,
    /// `max_interval`; Envoy's default is 300 s. Longer intervals are as good as absent.
    pub max_interval: Duration,
}

/// `RateLimitedRetryBackOff.ResetHeader`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetHeader {
    /// `name`.
    pub name: HeaderName,
    /// `format`.
    pub format: ResetFormat,
}

/// `ResetHeaderFormat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// `SECONDS`, the default: whole seconds from now.
    Seconds,
    /// `UNIX_TIMESTAMP`: whole seconds since 1970.
    UnixTimestamp,
}

/// The conditions of `retry_on` that the host knows; others are errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// `5xx`: any 5xx answer, and whatever `reset` and `connect_failure` cover.
    pub server_error: bool,
    /// `gateway-error`: 502, 503, 504.
    pub gateway_error: bool,
    /// `reset`: no answer at all: disconnect, reset, per-try timeout.
    pub reset: bool,
    /// `reset-before-request`: the connection broke before the request's headers were sent.
    pub reset_before_request: bool,
    /// `connect-failure`.
    pub connect_failure: bool,
    /// `retriable-4xx`: 409.
    pub retriable_4xx: bool,
    /// `refused-stream` (HTTP/2 only).
    pub refused_stream: bool,
    /// `retriable-status-codes`.
    pub status_codes: bool,
    /// `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`: the bit of gRPC's number for each.
    /// They count where the status is in the response's head, as in Envoy.
    pub grpc: u32,
}

/// `direct_response`.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// `status`.
    pub status: StatusCode,
    /// `body`: `inline_string`, `inline_bytes` or a file's content.
    pub body: bytes::Bytes,
}

/// `redirect`.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// `response_code`; 301 by default.
    pub status: StatusCode,
    /// `https_redirect` or `scheme_redirect`.
    pub scheme: Option<String>,
    /// `host_redirect`.
    pub host: Option<String>,
    /// `path_redirect`.
    pub path: Option<String>,
}

/// One header edit, of `*_headers_to_add`, `*_headers_to_remove` or of a `header_mutation` filter.
///
/// Format strings (`%REQ(x)%` and the like) are errors; `%%` is a percent sign.
#[derive(Debug, Clone)]
pub enum HeaderEdit {
    /// Adds a value beside those present (`APPEND_IF_EXISTS_OR_ADD`, the default).
    Append(HeaderName, HeaderValue),
    /// Adds only where the header is absent (`ADD_IF_ABSENT`).
    AddIfAbsent(HeaderName, HeaderValue),
    /// Replaces all values, or adds (`OVERWRITE_IF_EXISTS_OR_ADD`).
    Overwrite(HeaderName, HeaderValue),
    /// Replaces only where present (`OVERWRITE_IF_EXISTS`).
    OverwriteIfPresent(HeaderName, HeaderValue),
    /// Removes the header.
    Remove(HeaderName),
}

// === impl ValueMatch ===

impl ValueMatch {
    /// Whether a value that is there passes the test.
    #[must_use]
    pub fn fits(&self, value: &[u8]) -> bool {
        let same = |a: &[u8], b: &str, ignore_case: bool| {
            if ignore_case {
                a.eq_ignore_ascii_case(b.as_bytes())
            } else {
                a == b.as_bytes()
            }
        };
        match self {
            Self::Present(wanted) => *wanted,
            Self::Exact(exact, ignore) => same(value, exact, *ignore),
            Self::Prefix(prefix, ignore) => value
                .get(..prefix.len())
                .is_some_and(|start| same(start, prefix, *ignore)),
            Self::Suffix(suffix, ignore) => value
                .len()
                .checked_sub(suffix.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|end| same(end, suffix, *ignore)),
            Self::Contains(part, ignore) => {
                part.is_empty()
                    || value
                        .windows(part.len())
                        .any(|window| same(window, part, *ignore))
            }
            Self::Regex(regex) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_match_as_bytes() {
        assert!(ValueMatch::Contains("b".into(), false).fits(b"\xffb"));
        assert!(ValueMatch::Suffix("LUE".into(), true).fits(b"blue"));
        assert!(!ValueMatch::Prefix("blue-long".into(), false).fits(b"blue"));
    }
}
