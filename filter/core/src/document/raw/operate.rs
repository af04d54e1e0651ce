//! What changes shares while a rollout runs, and copies of requests.

use crate::document::raw::Items;
use crate::document::read::{choice, object};
use crate::document::text::{HostPattern, InARow, Name, Rate, Size, UrlPath, Volume};
use crate::schedule::Share;
use crate::time::{Duration, Timestamp};

object! {
    /// A share that is a function of the wall clock alone, so that all proxies agree. It is in force at once and looked at
    /// four times a second; the rest is shared among the other environments by their weights.
    struct Schedule {
        /// The environment whose share changes; it cannot be stable.
        environment: Name [required],
        /// The instant (RFC 3339) from which offsets count; from the year 2000 to 2199.
        start: Timestamp [required],
        /// Its shares, at least one; offsets rise, shares may fall. Before the first step the share is 0.
        steps: Items<Step> [required],
        /// How it gets from one share to the next. Default: `step`.
        ramp: Ramp,
        /// The instant (RFC 3339) at which the schedule's clock stands still. Default: never.
        hold: Timestamp,
    }
}

object! {
    /// One step of a schedule.
    struct Step {
        /// When it is reached, counted from `start`; at most `365d`.
        at: Duration [required],
        /// The share from then on, in percent of all traffic, with at most two decimals.
        weight: Share [required],
    }
}

choice! {
    /// How a schedule gets from one share to the next.
    pub enum Ramp {
        /// At once, when the next step is reached.
        "step" => Step,
        /// Evenly, so that it is there when the step is reached; to the first step from 0 at `start`.
        "linear" => Linear,
    }
}

object! {
    /// The tripwire: when the environment crosses a limit within the window, all traffic goes to stable, until the rollout
    /// gets another id or `resume` is raised. Failures are answers of 500 and above, and attempts without an answer; a
    /// client that goes away, or whose request turns out to be invalid, is none. At least one limit is needed.
    struct Guard {
        /// The environment that is watched; it cannot be stable.
        environment: Name [required],
        /// How far back outcomes count, from `1s` to `1h`. Default: `30s`.
        window: Duration,
        /// How many outcomes there must be within the window before any limit counts. Default: 50.
        min_requests: Volume,
        /// The part of failures above which it trips, from 0 to below 1. Default: none.
        max_error_rate: Rate,
        /// The latency until the response's head that at most half of the attempts may exceed, up to `10m`. Default: none.
        max_p50: Duration,
        /// The same for one of twenty. Default: none.
        max_p95: Duration,
        /// The same for one of a hundred. Default: none.
        max_p99: Duration,
        /// By how much the part of failures may be above that of stable, from 0 to below 1; it counts once stable has
        /// `min_requests` outcomes too. Default: none.
        worse_than_stable_by: Rate,
        /// Whether 429 is a failure. Default: false, for one noisy client must not trip everyone.
        count_429: bool,
    }
}

object! {
    /// Probes: `GET path` to the first of each environment's clusters, by one worker of each proxy once it has served a
    /// request. An environment other than stable gets its share only while it is known to be healthy; else stable gets it.
    struct Health {
        /// The path that answers 200 to 299 where all is well. Default: `/health`.
        path: UrlPath,
        /// The authority of the probes. Default: the cluster's name.
        host: HostPattern,
        /// From one probe to the next, from `250ms` to `1h`. Default: `5s`.
        interval: Duration,
        /// How long an answer may take, from `1ms` to `1m`. Default: `10s`.
        timeout: Duration,
        /// So many failures in a row make it unhealthy. Default: 3.
        unhealthy_after: InARow,
        /// So many successes in a row make it healthy again. Default: 2.
        healthy_after: InARow,
        /// Whether an unhealthy stable's share goes to the other healthy environments. Default: false, for the data plane
        /// fails over.
        failover: bool,
    }
}

object! {
    /// Copies of requests: those of safe methods (`GET`, `HEAD`, `OPTIONS`), and those to listed paths. A copy goes to the
    /// first of the environment's clusters with the environment's own credential; nobody waits for its answer.
    struct Shadow {
        /// The environment that gets copies.
        environment: Name [required],
        /// How many of the requests that go to other environments are copied, in percent, with at most two decimals.
        percent: Share [required],
        /// Requests with longer bodies are not copied; at most `1MiB`. Default: `64KiB`.
        max_body: Size,
        /// Paths (without a query) of which requests of every method are copied. Default: none.
        paths: Items<UrlPath>,
        /// How long a copy's answer may take, up to `10m`. Default: `30s`.
        timeout: Duration,
    }
}
