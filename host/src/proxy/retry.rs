//! When a failed attempt is followed by another, and after what pause.

use std::time::Duration;

use http::StatusCode;

use super::attempt::AttemptFailure;
use super::upstream::connection::AttemptError;
use crate::config::route::RetryPolicy;

/// Whether the policy retries after a response of that status.
#[must_use]
pub fn on_status(policy: &RetryPolicy, status: StatusCode) -> bool {
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
        AttemptError::Connect | AttemptError::ConnectTimeout => {
            on.connect_failure || on.server_error || on.gateway_error || on.reset
        }
        AttemptError::ResetBeforeRequest => {
            on.reset_before_request || on.reset || on.server_error || on.gateway_error
        }
        AttemptError::Reset | AttemptError::Protocol | AttemptError::PerTryTimeout => {
            on.reset || on.server_error || on.gateway_error
        }
        AttemptError::RequestBody => false,
    }
}

/// The pause before retry number `retry` (from 1): exponential and fully jittered, as Envoy's.
#[must_use]
pub fn back_off(policy: &RetryPolicy, retry: u32) -> Duration {
    let factor = 2_u32.checked_pow(retry).map_or(u32::MAX, |power| power - 1);
    let upper = policy
        .base_interval
        .saturating_mul(factor)
        .min(policy.max_interval);
    let nanoseconds = u64::try_from(upper.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(fastrand::u64(0..=nanoseconds))
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
            previous_priorities: None,
            previous_hosts: false,
            host_selection_attempts: 1,
        }
    }

    #[test]
    fn only_what_the_policy_names_is_retried() {
        assert!(on_status(&policy(), StatusCode::TOO_MANY_REQUESTS));
        assert!(!on_status(&policy(), StatusCode::SERVICE_UNAVAILABLE));
        assert!(on_failure(
            &policy(),
            &AttemptFailure::Error(AttemptError::Connect)
        ));
        assert!(!on_failure(
            &policy(),
            &AttemptFailure::Error(AttemptError::Reset)
        ));
        assert!(!on_failure(
            &policy(),
            &AttemptFailure::Error(AttemptError::RequestBody)
        ));
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
}
