//! `request_mirror_policies`: a copy of the request to another cluster, whose answer nobody waits for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, header};

use super::body::RequestSource;
use super::callout;
use super::worker::{Worker, WorkerCluster};
use crate::config::route::Mirror;
use crate::stream::StreamCell;
use crate::stream::head::RequestHead;

/// A copy may take this long.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A copy that is sent when the exchange ends, if its body is known then.
pub(super) struct Pending {
    worker: Rc<Worker>,
    cluster: Rc<WorkerCluster>,
    cell: StreamCell,
    source: Rc<RefCell<RequestSource>>,
}

/// The mirrors that get a copy of this request. The copy's stream is its own: what filters left in the
/// request's stream is not seen by the mirror's upstream filters.
pub(super) fn choose(
    worker: &Rc<Worker>,
    mirrors: &[Mirror],
    cell: &StreamCell,
    source: &Rc<RefCell<RequestSource>>,
) -> Vec<Pending> {
    let chosen = mirrors
        .iter()
        .filter(|mirror| fastrand::u32(0..1_000_000) < mirror.per_million);
    chosen
        .filter_map(|mirror| {
            let cluster = worker.cluster(&mirror.cluster)?;
            let copy = callout::detached(worker, copy(&cell.borrow().request));
            Some(Pending {
                worker: worker.clone(),
                cluster,
                cell: copy,
                source: source.clone(),
            })
        })
        .collect()
}

/// The head of the copy: the host gets `-shadow`, as in Envoy.
fn copy(head: &RequestHead) -> RequestHead {
    let mut headers = head.headers.clone();
    if let Some(host) = headers.get(header::HOST)
        && let Ok(shadow) = HeaderValue::from_bytes(&[host.as_bytes(), b"-shadow"].concat())
    {
        headers.insert(header::HOST, shadow);
    }
    RequestHead::new(
        head.method.clone(),
        head.path.clone(),
        head.scheme.clone(),
        headers,
    )
}

impl Pending {
    /// Sends the copy beside everything else; a body that was not kept whole is not sent in part.
    pub(super) fn send(self) {
        let Some(body) = self.source.borrow().whole() else {
            return;
        };
        if self.worker.draining() {
            return;
        }
        tokio::task::spawn_local(async move {
            let exchange = async {
                if let Some(attempt) = callout::send(&self.cluster, &self.cell, body).await {
                    let _ = attempt.collect(callout::MAX_RESPONSE).await;
                }
            };
            let _ = tokio::time::timeout(TIMEOUT, exchange).await;
        });
    }
}
