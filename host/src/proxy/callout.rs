//! Requests of the gateway's own: guests' callouts and mirrored copies. Ticks too, which guests ask for alike.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::attempt::{self, AttemptBody, Outgoing};
use super::grpc;
use super::reply::{self, GatewayError, gateway};
use super::upstream::balancer::History;
use super::worker::{Worker, WorkerCluster};
use crate::abi::{Callout, CalloutResponse};
use crate::stream::head::RequestHead;
use crate::stream::{LocalReply, Stream, StreamCell, StreamInfo};
use crate::vm::plugin::VmCell;
use crate::vm::state::Effect;

/// No longer answer to a callout or a mirrored request is kept, in bytes.
pub(super) const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// How long a root context that answered false to `proxy_on_done` may go on, if it does not finish before.
const LINGER: Duration = Duration::from_secs(10);

/// Carries out what a guest asked for.
pub(super) fn effect(worker: &Rc<Worker>, vm: &Rc<VmCell>, effect: Effect) {
    match effect {
        Effect::Call(callout) => {
            let (worker, vm) = (worker.clone(), Rc::downgrade(vm));
            tokio::task::spawn_local(async move {
                let (root, token) = (callout.root, callout.token);
                let response = call(&worker, *callout).await;
                if let Some(vm) = vm.upgrade() {
                    // A guest that fails in it is failed for its next stream.
                    let _ = vm.run(|guest| guest.http_call_response(root, token, response));
                }
            });
        }
        Effect::Grpc(effect) => grpc::callout::act(worker, vm, *effect),
        Effect::Tick { root, period } => set_tick(vm, root, period),
        Effect::Linger { root } => {
            let vm = vm.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LINGER).await;
                vm.delete(root);
            });
        }
        // The VM carries it out itself.
        Effect::Delete { .. } => {}
    }
}

fn set_tick(vm: &Rc<VmCell>, root: u32, period: Duration) {
    if let Some(before) = vm.ticks.borrow_mut().remove(&root) {
        before.abort();
    }
    if period.is_zero() {
        return;
    }
    let weak = Rc::downgrade(vm);
    let task = tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(period).await;
            let Some(vm) = weak.upgrade() else { return };
            if vm.run(|guest| guest.tick(root)).is_err() {
                return;
            }
        }
    });
    vm.ticks.borrow_mut().insert(root, task.abort_handle());
}

/// The answer to a callout. Where none comes it is what a client would get, as in Envoy; `None` where it breaks off.
async fn call(worker: &Rc<Worker>, callout: Callout) -> Option<CalloutResponse> {
    let cluster = worker.cluster(&callout.cluster)?;
    let cell = detached(worker, callout.head);
    if !callout.trailers.is_empty() {
        cell.borrow_mut().request_trailers = Some(callout.trailers);
    }
    let exchange = async {
        match try_send(&cluster, &cell, callout.body).await {
            Ok(attempt) => read(&cell, attempt).await,
            Err(reply) => Some(reply.into()),
        }
    };
    if callout.timeout.is_zero() {
        return exchange.await;
    }
    let answer = tokio::time::timeout(callout.timeout, exchange).await;
    answer.unwrap_or_else(|_| Some(gateway(GatewayError::Timeout).into()))
}

/// A stream that belongs to no client.
pub(super) fn detached(worker: &Worker, request: RequestHead) -> StreamCell {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let info = StreamInfo::new(SystemTime::now(), nowhere, nowhere, worker.no_name.clone());
    Rc::new(RefCell::new(Stream::new(request, info)))
}

/// Sends a request through the cluster's upstream filters, once.
pub(super) async fn send(
    cluster: &Rc<WorkerCluster>,
    cell: &StreamCell,
    body: Bytes,
) -> Option<AttemptBody> {
    try_send(cluster, cell, body).await.ok()
}

/// The same, or what a client would get.
async fn try_send(
    cluster: &Rc<WorkerCluster>,
    cell: &StreamCell,
    body: Bytes,
) -> Result<AttemptBody, LocalReply> {
    let choice = cluster.upstream.next(&mut History::default(), None);
    let choice = choice.ok_or_else(|| gateway(GatewayError::NoHost))?;
    cell.borrow_mut().info.cluster = Some(cluster.upstream.shared.name.clone());
    // What trailers follow has no length of its own.
    if !body.is_empty() && cell.borrow().request_trailers.is_none() {
        let length = http::HeaderValue::from(body.len());
        cell.borrow_mut()
            .request
            .headers
            .insert(http::header::CONTENT_LENGTH, length);
    }
    attempt::run(cluster, choice, cell, Outgoing::Whole(body), None)
        .await
        .map_err(|failure| reply::attempt(&failure, false))
}

/// Reads the whole answer.
async fn read(cell: &StreamCell, attempt: AttemptBody) -> Option<CalloutResponse> {
    let head = cell.borrow_mut().response.take()?;
    let body = attempt.collect(MAX_RESPONSE).await?;
    let trailers = cell.borrow_mut().response_trailers.take();
    Some(CalloutResponse {
        head,
        body,
        trailers: trailers.unwrap_or_default(),
    })
}
