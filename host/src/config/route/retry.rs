//! Reading retry policies.

use std::time::Duration;

use http::StatusCode;

use super::{RateLimited, ResetFormat, ResetHeader, RetryOn, RetryPolicy};
use crate::config::common;
use crate::config::reader::{Field, Object};

const PREVIOUS_PRIORITIES_URL: &str = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
const PREVIOUS_HOSTS_URL: &str =
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// Envoy's default of `retry_back_off.base_interval`.
const BASE_INTERVAL: Duration = Duration::from_millis(25);
/// Envoy's default of `rate_limited_retry_back_off.max_interval`.
const RATE_LIMITED_INTERVAL: Duration = Duration::from_secs(300);
/// Envoy rounds shorter intervals up to this.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Sets one of the flags.
type Set = fn(&mut RetryOn);

/// The conditions of `retry_on`, each with the flag that it sets.
const CONDITIONS: [(&str, Set); 13] = [
    ("5xx", |on| on.server_error = true),
    ("gateway-error", |on| on.gateway_error = true),
    ("reset", |on| on.reset = true),
    ("reset-before-request", |on| on.reset_before_request = true),
    ("connect-failure", |on| on.connect_failure = true),
    ("retriable-4xx", |on| on.retriable_4xx = true),
    ("refused-stream", |on| on.refused_stream = true),
    ("retriable-status-codes", |on| on.status_codes = true),
    ("cancelled", |on| on.grpc |= 1 << 1),
    ("deadline-exceeded", |on| on.grpc |= 1 << 4),
    ("resource-exhausted", |on| on.grpc |= 1 << 8),
    ("internal", |on| on.grpc |= 1 << 13),
    ("unavailable", |on| on.grpc |= 1 << 14),
];

/// Reads a `RetryPolicy`.
pub(super) fn retry_policy(field: &Field<'_>) -> Option<RetryPolicy> {
    field.object(|o| {
        o.refuse(&["retry_options_predicates"], "use retry_back_off");
        let on = o.get("retry_on").map(|f| retry_on(&f)).unwrap_or_default();
        let codes = o.get("retriable_status_codes");
        if let Some(codes) = codes.as_ref().filter(|_| !on.status_codes) {
            codes.warning("has no effect without retriable-status-codes in retry_on");
        }
        let (base_interval, max_interval) = back_off(o);
        let limited = o.get("rate_limited_retry_back_off");
        let priority = o.get("retry_priority");
        if let (Some(limited), Some(_)) = (&limited, &priority) {
            limited.warning("delays the retry with another priority, too: use it on routes without retry_priority");
        }
        RetryPolicy {
            on,
            num_retries: o.uint("num_retries", 1),
            per_try_timeout: o
                .get("per_try_timeout")
                .and_then(|f| f.duration())
                .filter(|d| !d.is_zero()),
            status_codes: codes
                .map(|f| f.items().iter().filter_map(status).collect())
                .unwrap_or_default(),
            base_interval,
            max_interval,
            rate_limited: limited.and_then(|f| rate_limited(&f)),
            previous_priorities: priority.and_then(|f| previous_priorities(&f)),
            previous_hosts: previous_hosts(o),
            host_selection_attempts: o
                .get("host_selection_retry_max_attempts")
                .and_then(|f| f.uint(1, u32::MAX))
                .unwrap_or(1),
        }
    })
}

fn retry_on(field: &Field<'_>) -> RetryOn {
    let mut on = RetryOn::default();
    for name in field
        .text()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
    {
        match CONDITIONS.iter().find(|(known, _)| *known == name) {
            Some((_, set)) => set(&mut on),
            None => {
                let known: Vec<_> = CONDITIONS.iter().map(|(name, _)| *name).collect();
                field.error(format!(
                    "{name:?} is not supported here; supported: {}",
                    known.join(", ")
                ));
            }
        }
    }
    on
}

fn status(field: &Field<'_>) -> Option<StatusCode> {
    let code = field.uint(100, 599)?;
    StatusCode::from_u16(u16::try_from(code).ok()?).ok()
}

fn back_off(o: &Object<'_>) -> (Duration, Duration) {
    let default = (BASE_INTERVAL, BASE_INTERVAL * 10);
    let Some(field) = o.get("retry_back_off") else {
        return default;
    };
    let read = field.object(|o| {
        let (base, max) = (o.required("base_interval"), o.get("max_interval"));
        let base = base?.positive_duration()?.max(LEAST_INTERVAL);
        let Some(max) = max else {
            return Some((base, base.saturating_mul(10)));
        };
        let interval = max.positive_duration()?.max(LEAST_INTERVAL);
        if interval < base {
            max.error("must not be below base_interval");
        }
        Some((base, interval))
    });
    read.flatten().unwrap_or(default)
}

fn rate_limited(field: &Field<'_>) -> Option<RateLimited> {
    field.object(|o| {
        let max_interval = o.get("max_interval").map(|f| f.positive_duration());
        let headers = o.required("reset_headers")?;
        let items = headers.items();
        if items.is_empty() {
            headers.error("expected at least one header, found an empty list");
        }
        Some(RateLimited {
            reset_headers: items.iter().filter_map(reset_header).collect(),
            max_interval: max_interval.unwrap_or(Some(RATE_LIMITED_INTERVAL))?,
        })
    })?
}

fn reset_header(field: &Field<'_>) -> Option<ResetHeader> {
    field.object(|o| {
        let formats = [
            ("SECONDS", ResetFormat::Seconds),
            ("UNIX_TIMESTAMP", ResetFormat::UnixTimestamp),
        ];
        let format = o.get("format").map(|f| f.choice(&formats));
        let field = o.required("name")?;
        let name = field.name()?.parse().ok();
        if name.is_none() {
            field.expected("a header's name");
        }
        Some(ResetHeader {
            name: name?,
            format: format.unwrap_or(Some(ResetFormat::Seconds))?,
        })
    })?
}

fn previous_priorities(field: &Field<'_>) -> Option<u32> {
    common::extension(field, PREVIOUS_PRIORITIES_URL, |o| {
        o.required("update_frequency")?.uint(1, u32::MAX)
    })?
}

fn previous_hosts(o: &Object<'_>) -> bool {
    let predicates = o.list("retry_host_predicate");
    predicates
        .iter()
        .filter_map(|f| common::extension(f, PREVIOUS_HOSTS_URL, |_| ()))
        .count()
        > 0
}
