//! Attempts of one request, until one answers as the policy likes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::route::RetryPolicy;
use crate::proxy::attempt::{self, Attempt, Outgoing};
use crate::proxy::body::RequestSource;
use crate::proxy::reply::{GatewayError, attempt as failed, gateway};
use crate::proxy::retry;
use crate::proxy::upstream::balancer::History;
use crate::proxy::upstream::{Permit, SharedCluster};
use crate::proxy::worker::WorkerCluster;
use crate::stream::{LocalReply, StreamCell};

/// Tries hosts until one answers as the policy likes, or there are no more tries.
pub(super) async fn run(
    cluster: &Rc<WorkerCluster>,
    cell: &StreamCell,
    policy: Option<&RetryPolicy>,
    source: &Rc<RefCell<RequestSource>>,
) -> Result<Attempt, LocalReply> {
    let shared = &cluster.upstream.shared;
    let mut history = History::default();
    let mut tries = 0;
    let mut _permit: Option<Permit> = None;
    loop {
        let choice = cluster
            .upstream
            .next(&mut history, policy)
            .ok_or_else(|| gateway(GatewayError::NoHost))?;
        let per_try = policy.and_then(|policy| policy.per_try_timeout);
        let outcome = attempt::run(cluster, choice, cell, Outgoing::Source(source), per_try).await;
        let ended = |outcome: Result<_, _>| outcome.map_err(|failure| failed(failure, tries > 0));
        let Some(policy) = policy else {
            return ended(outcome);
        };
        let again = match &outcome {
            Ok(_) => cell
                .borrow()
                .response
                .as_ref()
                .is_some_and(|head| retry::on_status(policy, head.status)),
            Err(failure) => retry::on_failure(policy, failure),
        };
        if !again || tries >= policy.num_retries || !source.borrow().replayable() {
            return ended(outcome);
        }
        let Some(permit) = begin_retry(shared, &mut _permit) else {
            return ended(outcome);
        };
        _permit = Some(permit);
        tries += 1;
        if let Ok(attempt) = outcome {
            attempt.discard();
        }
        tokio::time::sleep(retry::back_off(policy, tries)).await;
    }
}

/// A place among the retries under way; the one of the retry before is given back first.
fn begin_retry(cluster: &Arc<SharedCluster>, before: &mut Option<Permit>) -> Option<Permit> {
    *before = None;
    let permit = cluster.begin_retry();
    match &permit {
        Some(_) => cluster.stats.rq_retry.increment(),
        None => cluster.stats.rq_retry_overflow.increment(),
    }
    permit
}
