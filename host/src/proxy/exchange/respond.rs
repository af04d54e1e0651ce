//! The way back: the upstream's response, or an answer of the gateway's own, through the filters to the client.

use std::pin::Pin;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tokio::time::Sleep;

use super::{End, Exchange};
use crate::proxy::Reset;
use crate::proxy::attempt::{self, Attempt};
use crate::proxy::filters::{Direction, Step};
use crate::proxy::grpc;
use crate::proxy::pump::Pump;
use crate::proxy::reply::{GatewayError, gateway};
use crate::proxy::response::{DownstreamBody, ResponseStream};
use crate::proxy::router;
use crate::stream::{LocalReply, ResponseHead};

static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

impl Exchange {
    /// Sends the upstream's response back through the filters.
    pub(super) async fn respond(
        mut self: Box<Self>,
        attempt: Attempt,
        timeout: Option<Pin<Box<Sleep>>>,
    ) -> Result<Response<DownstreamBody>, Reset> {
        {
            let mut stream = self.cell.borrow_mut();
            stream.info.details = "via_upstream".into();
            if let Some(head) = &mut stream.response {
                attempt::remove_hop_by_hop(&mut head.headers);
                let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                head.headers
                    .insert(SERVICE_TIME.clone(), HeaderValue::from(elapsed));
                self.edit_response(&mut head.headers);
            }
        }
        let end = http_body::Body::is_end_stream(&attempt.body);
        match self.response_filters(end).await {
            Ok(()) => {}
            Err(End::Reply(reply)) => {
                let reply = self.shaped(reply);
                self.set_reply(reply.clone());
                let head = self.finish_head();
                return Ok(head.map(|()| DownstreamBody::full(reply.body, self)));
            }
            Err(End::Reset) => return Err(Reset),
        }
        let head = self.finish_head();
        let pump = if end {
            None
        } else {
            Pump::new(
                &self.active,
                Direction::Response,
                self.listener.config.body_limit(),
            )
        };
        Ok(head.map(|()| ResponseStream::body(attempt, timeout, pump, self)))
    }

    /// Answers by itself; filters that have seen the request see the answer, as in Envoy.
    pub(super) async fn reply(
        mut self: Box<Self>,
        reply: LocalReply,
    ) -> Result<Response<DownstreamBody>, Reset> {
        let reply = self.shaped(reply);
        let mut body = reply.body.clone();
        self.set_reply(reply);
        match self.response_filters(body.is_empty()).await {
            Ok(()) => {}
            Err(End::Reply(second)) => {
                let second = self.shaped(second);
                body = second.body.clone();
                self.set_reply(second);
            }
            Err(End::Reset) => return Err(Reset),
        }
        let head = self.finish_head();
        Ok(head.map(|()| DownstreamBody::full(body, self)))
    }

    /// Answers a request that no filter gets to see, and closes the connection: what follows may not be a request.
    pub(super) async fn refuse(
        mut self: Box<Self>,
        error: GatewayError,
    ) -> Result<Response<DownstreamBody>, Reset> {
        let mut reply = gateway(error);
        reply
            .headers
            .push((header::CONNECTION, HeaderValue::from_static("close")));
        let reply = self.shaped(reply);
        let body = reply.body.clone();
        self.set_reply(reply);
        let head = self.finish_head();
        Ok(head.map(|()| DownstreamBody::full(body, self)))
    }

    /// An answer as the client's protocol has it.
    fn shaped(&self, reply: LocalReply) -> LocalReply {
        grpc::local_reply(&self.cell.borrow().request, reply)
    }

    fn set_reply(&mut self, reply: LocalReply) {
        let mut head = ResponseHead {
            status: reply.status,
            headers: HeaderMap::new(),
        };
        for (name, value) in reply.headers {
            head.headers.append(name, value);
        }
        if self.route.is_some() && !reply.of_filter {
            self.edit_response(&mut head.headers);
        }
        let mut stream = self.cell.borrow_mut();
        stream.response = Some(head);
        stream.info.details = reply.details;
    }

    async fn response_filters(&mut self, end: bool) -> Result<(), End> {
        for at in (0..self.active.len()).rev() {
            let mut step = self.active.response_headers(at, end);
            while matches!(step, Step::Pause) {
                step = self.active.resumed(Direction::Response).await;
            }
            match step {
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::Reset),
                Step::Continue | Step::Pause => {}
            }
        }
        Ok(())
    }

    /// The route's, virtual host's and table's response edits.
    fn edit_response(&self, headers: &mut HeaderMap) {
        let router = &self.listener.router;
        if let Some(chosen) = self.route.and_then(|id| router.get(id)) {
            router::edit(headers, &chosen.route.response_headers);
            router::edit(headers, &chosen.host.response_headers);
            router::edit(headers, router.edits().1);
        }
    }

    /// The head for the wire. The stream keeps the status, which the end of the exchange counts.
    fn finish_head(&mut self) -> Response<()> {
        let mut response = Response::new(());
        let mut stream = self.cell.borrow_mut();
        if let Some(head) = &mut stream.response {
            *response.status_mut() = head.status;
            *response.headers_mut() = std::mem::take(&mut head.headers);
        }
        response
            .headers_mut()
            .insert(header::SERVER, self.listener.server.clone());
        if self.listener.worker.draining() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
