//! Envoy's response flags, as access logs show them: each follows from the details.

/// A flag's short and its long name.
pub type Flag = (&'static str, &'static str);

/// How details begin, and the flag that goes with them; the first that fits.
pub const FLAGS: [(&str, Flag); 17] = [
    ("route_not_found", ("NR", "NoRouteFound")),
    ("cluster_not_found", ("NC", "NoClusterFound")),
    ("no_healthy_upstream", ("UH", "NoHealthyUpstream")),
    (
        "upstream_reset_before_response_started{overflow",
        ("UO", "UpstreamOverflow"),
    ),
    (
        "upstream_reset_before_response_started{remote_connection_failure",
        ("UF", "UpstreamConnectionFailure"),
    ),
    (
        "upstream_reset_before_response_started{connection_timeout",
        ("UF", "UpstreamConnectionFailure"),
    ),
    (
        "upstream_reset_before_response_started{protocol_error",
        ("UPE", "UpstreamProtocolError"),
    ),
    (
        "upstream_reset_before_response_started{remote_re",
        ("UR", "UpstreamRemoteReset"),
    ),
    (
        "upstream_reset_before_response_started",
        ("UC", "UpstreamConnectionTermination"),
    ),
    (
        "upstream_reset_after_response_started",
        ("UC", "UpstreamConnectionTermination"),
    ),
    ("response_timeout", ("UT", "UpstreamRequestTimeout")),
    ("upstream_per_try_timeout", ("UT", "UpstreamRequestTimeout")),
    ("stream_idle_timeout", ("SI", "StreamIdleTimeout")),
    ("max_duration_timeout", ("DT", "DurationTimeout")),
    (
        "downstream_remote_disconnect",
        ("DC", "DownstreamConnectionTermination"),
    ),
    ("downstream_remote_reset", ("DR", "DownstreamRemoteReset")),
    ("http1.", ("DPE", "DownstreamProtocolError")),
];

/// The flag of too many retries, which comes before another.
pub const RETRY_LIMIT: Flag = ("URX", "UpstreamRetryLimitExceeded");

/// The flag of an exchange with these details.
#[must_use]
pub fn flag(details: &str) -> Option<Flag> {
    let found = FLAGS.iter().find(|(start, _)| details.starts_with(start));
    found.map(|(_, flag)| *flag)
}
