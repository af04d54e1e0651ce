//! Attempts of one request, until one answers as the policy likes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::route::RetryPolicy;
use crate::proxy::attempt::{self, AttemptBody, AttemptFailure, Outgoing};
use crate::proxy::body::RequestSource;
use crate::proxy::reply::{GatewayError, attempt as failed, gateway};
use crate::proxy::retry::{self, Pause};
use crate::proxy::upstream::balancer::History;
use crate::proxy::upstream::{Permit, SharedCluster};
use crate::proxy::worker::WorkerCluster;
use crate::stream::{LocalReply, StreamCell};

/// Why there is no response.
pub(super) struct Unanswered {
    /// The answer in its place.
    pub(super) reply: LocalReply,
    /// The last attempt's failure, if there was one.
    pub(super) failure: Option<AttemptFailure>,
}

impl From<LocalReply> for Unanswered {
    fn from(reply: LocalReply) -> Self {
        let failure = None;
        Self { reply, failure }
    }
}

/// Tries hosts until one answers as the policy likes, or there are no more tries.
pub(super) async fn run(
    cluster: &Rc<WorkerCluster>,
    cell: &StreamCell,
    policy: Option<&RetryPolicy>,
    source: &Rc<RefCell<RequestSource>>,
) -> Result<AttemptBody, Unanswered> {
    let mut history = History::default();
    let mut tries = 0;
    let mut permit: Option<Permit> = None;
    loop {
        let choice = cluster
            .upstream
            .next(&mut history, policy)
            .ok_or_else(|| gateway(GatewayError::NoHost))?;
        let per_try = policy.and_then(|policy| policy.per_try_timeout);
        let outcome = attempt::run(cluster, choice, cell, Outgoing::Source(source), per_try).await;
        let next = policy.and_then(|policy| {
            // The place of the retry before is given back first.
            drop(permit.take());
            permit = again(
                &cluster.upstream.shared,
                policy,
                cell,
                &outcome,
                tries,
                source,
            );
            permit.is_some().then_some(policy)
        });
        let Some(policy) = next else {
            return outcome.map_err(|failure| Unanswered {
                reply: failed(&failure, tries > 0),
                failure: Some(failure),
            });
        };
        tries += 1;
        let pause = match &outcome {
            Err(_) => retry::pause(policy, tries, None),
            Ok(_) => {
                let stream = cell.borrow();
                let headers = stream.response.as_ref().map(|head| &head.headers);
                retry::pause(policy, tries, headers)
            }
        };
        if let Ok(attempt) = outcome {
            attempt.discard();
        }
        wait(&cluster.upstream.shared, pause).await;
    }
}

/// A place among the retries under way, where an attempt is to be followed by another and may be.
fn again(
    cluster: &Arc<SharedCluster>,
    policy: &RetryPolicy,
    cell: &StreamCell,
    outcome: &Result<AttemptBody, AttemptFailure>,
    tries: u32,
    source: &Rc<RefCell<RequestSource>>,
) -> Option<Permit> {
    let wanted = match outcome {
        Ok(_) => {
            let stream = cell.borrow();
            let head = stream.response.as_ref();
            head.is_some_and(|head| retry::on_response(policy, head))
        }
        Err(failure) => retry::on_failure(policy, failure),
    };
    let stats = &cluster.stats;
    if !wanted {
        if tries > 0 {
            stats.rq_retry_success.increment();
        }
        return None;
    }
    if !source.borrow().replayable() {
        stats.retry_abandoned.increment();
        return None;
    }
    if tries >= policy.num_retries {
        stats.rq_retry_limit_exceeded.increment();
        cell.borrow_mut().info.retry_limit_exceeded = true;
        return None;
    }
    let permit = cluster.begin_retry();
    match &permit {
        Some(_) => stats.rq_retry.increment(),
        None => stats.rq_retry_overflow.increment(),
    }
    permit
}

async fn wait(cluster: &SharedCluster, pause: Pause) {
    let pause = match pause {
        Pause::Exponential(pause) => {
            cluster.stats.rq_retry_backoff_exponential.increment();
            pause
        }
        Pause::RateLimited(pause) => {
            cluster.stats.rq_retry_backoff_ratelimited.increment();
            pause
        }
    };
    tokio::time::sleep(pause).await;
}
