//! When a failed attempt is followed by another, and after what pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode};

use super::attempt::AttemptFailure;
use super::grpc;
use super::upstream::connection::AttemptError;
use crate::config::route::{RateLimited, ResetFormat, ResetHeader, RetryPolicy};
use crate::stream::ResponseHead;

/// What an Envoy in front of the upstream sets where it refused for a rate limit of its own.
static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// The pause before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// By the number of the retry: exponential and jittered.
    Exponential(Duration),
    /// As the upstream asked for, and up to half as much again.
    RateLimited(Duration),
}

/// Whether the policy retries after this response.
///
/// As in Envoy, a response with `x-envoy-ratelimited` is never retried.
#[must_use]
pub fn on_response(policy: &RetryPolicy, head: &ResponseHead) -> bool {
    (on_status(policy, head.status) || on_grpc(policy, &head.headers))
        && !head.headers.contains_key(&RATE_LIMITED)
}

fn on_grpc(policy: &RetryPolicy, headers: &HeaderMap) -> bool {
    policy.on.grpc != 0
        && grpc::status(headers)
            .and_then(|status| 1_u32.checked_shl(status))
            .is_some_and(|bit| policy.on.grpc & bit != 0)
}

fn on_status(policy: &RetryPolicy, status: StatusCode) -> bool {
    let on = &policy.on;
    (on.server_error && status.is_server_error())
        || (on.gateway_error && matches!(status.as_u16(), 502..=504))
        || (on.retriable_4xx && status == StatusCode::CONFLICT)
        || (on.status_codes && policy.status_codes.contains(&status))
}

/// Whether the policy retries after an attempt without a response.
#[must_use]
pub fn on_failure(policy: &RetryPolicy, failure: &AttemptFailure) -> bool {
    let on = &policy.on;
    let AttemptFailure::Error(error) = failure else {
        return false;
    };
    match error {
        AttemptError::Connect
        | AttemptError::ConnectTimeout
        | AttemptError::Untrusted
        | AttemptError::Handshake => {
            on.connect_failure || on.server_error || on.gateway_error || on.reset
        }
        AttemptError::ResetBeforeRequest => {
            on.reset_before_request || on.reset || on.server_error || on.gateway_error
        }
        AttemptError::RefusedStream => {
            on.refused_stream || on.reset || on.server_error || on.gateway_error
        }
        AttemptError::Reset
        | AttemptError::RemoteReset
        | AttemptError::Protocol
        | AttemptError::PerTryTimeout => on.reset || on.server_error || on.gateway_error,
        AttemptError::RequestBody => false,
    }
}

/// The pause before retry number `retry` (from 1) after a response, or after none.
#[must_use]
pub fn pause(policy: &RetryPolicy, retry: u32, response: Option<&HeaderMap>) -> Pause {
    let asked = policy
        .rate_limited
        .as_ref()
        .zip(response)
        .and_then(|(limited, headers)| interval(limited, headers, SystemTime::now()));
    match asked {
        // At most half as much again spreads out those who were told the same.
        Some(interval) => Pause::RateLimited(interval + jitter(interval / 2)),
        None => Pause::Exponential(back_off(policy, retry)),
    }
}

/// Exponential and fully jittered, as Envoy's.
fn back_off(policy: &RetryPolicy, retry: u32) -> Duration {
    let factor = 2_u32.checked_pow(retry).map_or(u32::MAX, |power| power - 1);
    let upper = policy.base_interval.saturating_mul(factor);
    jitter(upper.min(policy.max_interval))
}

/// Anything from nothing to `upper`.
fn jitter(upper: Duration) -> Duration {
    let nanoseconds = u64::try_from(upper.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(fastrand::u64(0..=nanoseconds))
}

/// What the first of the headers asks for that is above nothing and not above the maximum.
fn interval(limited: &RateLimited, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let asked = |header: &ResetHeader| {
        let number: u64 = headers
            .get(&header.name)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let seconds = match header.format {
            ResetFormat::Seconds => number,
            ResetFormat::UnixTimestamp => {
                number.checked_sub(now.duration_since(UNIX_EPOCH).ok()?.as_secs())?
            }
        };
        Some(Duration::from_secs(seconds))
    };
    limited
        .reset_headers
        .iter()
        .filter_map(asked)
        .find(|interval| !interval.is_zero() && *interval <= limited.max_interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::RetryOn;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            on: RetryOn {
                status_codes: true,
                connect_failure: true,
                ..RetryOn::default()
            },
            num_retries: 2,
            per_try_timeout: None,
            status_codes: vec![StatusCode::TOO_MANY_REQUESTS],
            base_interval: Duration::from_millis(10),
            max_interval: Duration::from_millis(25),
            rate_limited: Some(RateLimited {
                reset_headers: vec![
                    ResetHeader {
                        name: HeaderName::from_static("retry-after"),
                        format: ResetFormat::Seconds,
                    },
                    ResetHeader {
                        name: HeaderName::from_static("x-reset"),
                        format: ResetFormat::UnixTimestamp,
                    },
                ],
                max_interval: Duration::from_secs(5),
            }),
            previous_priorities: None,
            previous_hosts: false,
            host_selection_attempts: 1,
        }
    }

    fn head(status: StatusCode, headers: &[(&'static str, &str)]) -> ResponseHead {
        let header = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                value.parse().expect("a value"),
            )
        };
        ResponseHead::new(status, headers.iter().map(header).collect())
    }

    #[test]
    fn only_what_the_policy_names_is_retried() {
        let retried = |status, headers: &[_]| on_response(&policy(), &head(status, headers));
        assert!(retried(StatusCode::TOO_MANY_REQUESTS, &[]));
        assert!(!retried(
            StatusCode::TOO_MANY_REQUESTS,
            &[("x-envoy-ratelimited", "true")]
        ));
        assert!(!retried(StatusCode::SERVICE_UNAVAILABLE, &[]));
        assert!(!retried(StatusCode::OK, &[("grpc-status", "14")]));
        let retried = |error| on_failure(&policy(), &AttemptFailure::Error(error));
        assert!(retried(AttemptError::Connect));
        assert!(!retried(AttemptError::Reset));
        assert!(!retried(AttemptError::RequestBody));
    }

    #[test]
    fn statuses_of_grpc_are_retried_where_they_are_in_the_head() {
        let mut policy = policy();
        policy.on.grpc = 1 << 14 | 1 << 1;
        let retried = |headers: &[_]| on_response(&policy, &head(StatusCode::OK, headers));
        assert!(retried(&[("grpc-status", "14")]) && retried(&[("grpc-status", "1")]));
        for other in ["0", "4", "16", "40", "-1", "x"] {
            assert!(!retried(&[("grpc-status", other)]), "{other}");
        }
        assert!(!retried(&[]));
    }

    #[test]
    fn pauses_grow_up_to_the_maximum() {
        for _ in 0..1_000 {
            assert!(back_off(&policy(), 1) <= Duration::from_millis(10));
            assert!(
                back_off(&policy(), 2) <= Duration::from_millis(25),
                "30 ms is above the maximum"
            );
            assert!(back_off(&policy(), 40) <= Duration::from_millis(25));
        }
    }

    #[test]
    fn the_upstream_may_ask_for_a_pause_up_to_the_maximum() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let asked = |headers: &[_]| {
            let limited = policy().rate_limited.expect("set above");
            interval(&limited, &head(StatusCode::OK, headers).headers, now).map(|d| d.as_secs())
        };
        assert_eq!(asked(&[("retry-after", "5")]), Some(5));
        assert_eq!(asked(&[("retry-after", "6")]), None, "above the maximum");
        assert_eq!(asked(&[("retry-after", "0")]), None);
        assert_eq!(asked(&[("retry-after", "-1")]), None);
        assert_eq!(
            asked(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]),
            None
        );
        assert_eq!(
            asked(&[("retry-after", "60"), ("x-reset", "1002")]),
            Some(2)
        );
        assert_eq!(asked(&[("x-reset", "999")]), None, "in the past");
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_pause_asked_for_is_never_cut_short() {
        let headers = head(StatusCode::OK, &[("retry-after", "2")]).headers;
        for _ in 0..1_000 {
            let Pause::RateLimited(pause) = pause(&policy(), 1, Some(&headers)) else {
                panic!("the upstream asked for it");
            };
            assert!((Duration::from_secs(2)..=Duration::from_secs(3)).contains(&pause));
        }
        assert!(matches!(pause(&policy(), 1, None), Pause::Exponential(_)));
    }
}
