//! The way back: the upstream's response, or an answer of the gateway's own, through the filters to the client.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

use super::{End, Exchange};
use crate::config::listener::ServerHeader;
use crate::proxy::Reset;
use crate::proxy::attempt::{self, AttemptBody};
use crate::proxy::filters::{Direction, Step};
use crate::proxy::grpc;
use crate::proxy::pump::{Pump, Stop};
use crate::proxy::reply::{GatewayError, gateway};
use crate::proxy::response::{DownstreamBody, Filtered, ResponseStream, Source};
use crate::proxy::router;
use crate::stream::head::Removed;
use crate::stream::{LocalReply, ResponseHead};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

impl Exchange {
    /// Sends the upstream's response back through the filters.
    pub(super) async fn respond(
        mut self: Box<Self>,
        attempt: AttemptBody,
    ) -> Result<Response<DownstreamBody>, Reset> {
        {
            let mut stream = self.cell.borrow_mut();
            stream.info.details = "via_upstream".into();
            let ended = stream.info.request_ended;
            if let Some(head) = &mut stream.response {
                if !attempt.is_tunnel() {
                    attempt::remove_hop_by_hop(&mut head.headers);
                    // As Envoy: none where the answer came before all of the request.
                    if let Some(ended) = ended {
                        let elapsed = ended
                            .max(self.watch.began().into_std())
                            .elapsed()
                            .as_millis();
                        let elapsed = HeaderValue::from(u64::try_from(elapsed).unwrap_or(u64::MAX));
                        head.headers.insert(SERVICE_TIME.clone(), elapsed);
                    }
                }
                self.edit_response(&mut head.headers);
            }
        }
        let end = attempt.is_empty();
        let tunnel = attempt.is_tunnel();
        let mut body = Filtered {
            pump: if end || tunnel {
                None
            } else {
                self.response_pump()
            },
            source: Source::Attempt(Box::new(attempt)),
        };
        match self.response_filters(end, &mut body).await {
            Ok(()) => {}
            Err(End::Reply(reply)) => return Ok(self.last_reply(reply)),
            Err(End::Reset) => return Err(Reset),
        }
        if tunnel && let Source::Attempt(attempt) = body.source {
            let upgraded = attempt.into_upgraded().ok_or(Reset)?;
            return Ok(self.begin_tunnel(upgraded));
        }
        let head = self.finish_head();
        Ok(head.map(|()| ResponseStream::body(body, self)))
    }

    /// Answers by itself; filters that have seen the request see the answer, as in Envoy.
    pub(super) async fn reply(
        mut self: Box<Self>,
        reply: LocalReply,
    ) -> Result<Response<DownstreamBody>, Reset> {
        let reply = self.shaped(reply);
        let whole = reply.body.clone();
        self.set_reply(reply);
        let end = whole.is_empty();
        let mut body = Filtered {
            pump: if end { None } else { self.response_pump() },
            source: Source::Local(Some(whole)),
        };
        match self.response_filters(end, &mut body).await {
            Ok(()) => {}
            Err(End::Reply(second)) => return Ok(self.last_reply(second)),
            Err(End::Reset) => return Err(Reset),
        }
        let head = self.finish_head();
        match ResponseStream::local(body, self) {
            Ok(body) => Ok(with_length(head, body)),
            Err((exchange, Stop::Reply(second))) => Ok(exchange.last_reply(second)),
            Err((_, Stop::Reset | Stop::Body(_))) => Err(Reset),
        }
    }

    /// An answer that a filter gives in the place of another: no filter sees it.
    fn last_reply(mut self: Box<Self>, reply: LocalReply) -> Response<DownstreamBody> {
        let reply = self.shaped(reply);
        let body = reply.body.clone();
        self.set_reply(reply);
        let head = self.finish_head();
        head.map(|()| DownstreamBody::full(body, self))
    }

    fn response_pump(&self) -> Option<Pump> {
        let limit = self.listener.config.body_limit();
        Pump::new(&self.active, Direction::Response, limit)
    }

    /// Answers a request that no filter gets to see, and closes the connection: what follows may not be a request.
    pub(super) fn refuse(
        self: Box<Self>,
        error: GatewayError,
    ) -> Result<Response<DownstreamBody>, Reset> {
        let mut reply = gateway(error);
        reply
            .headers
            .push((header::CONNECTION, HeaderValue::from_static("close")));
        // Envoy's HTTP/2 codec refuses what it cannot take by a reset.
        let codec = matches!(
            error,
            GatewayError::TooManyHeaders | GatewayError::Underscore
        );
        if codec && self.cell.borrow().info.protocol >= Version::HTTP_2 {
            return Err(Reset);
        }
        Ok(self.last_reply(reply))
    }

    /// An answer as the client's protocol has it.
    fn shaped(&self, reply: LocalReply) -> LocalReply {
        grpc::local_reply(&self.cell.borrow().request, reply)
    }

    fn set_reply(&mut self, reply: LocalReply) {
        let mut head = ResponseHead::new(reply.status, HeaderMap::new());
        for (name, value) in reply.headers {
            head.headers.append(name, value);
        }
        if !reply.body.is_empty() {
            let length = HeaderValue::from(reply.body.len());
            head.headers.insert(header::CONTENT_LENGTH, length);
        }
        if self.route.is_some() && !reply.of_filter {
            self.edit_response(&mut head.headers);
        }
        let mut stream = self.cell.borrow_mut();
        stream.response = Some(head);
        stream.info.details = reply.details;
    }

    async fn response_filters(&mut self, end: bool, body: &mut Filtered) -> Result<(), End> {
        let direction = Direction::Response;
        for at in (0..self.active.len()).rev() {
            let mut step = self.active.response_headers(at, end);
            if matches!(step, Step::Pause)
                && body.pump.is_some()
                && self.active.takes_body_while_paused(at, direction)
            {
                body.until(at).await?;
                continue;
            }
            while matches!(step, Step::Pause) {
                step = self.active.resumed(at, direction).await;
            }
            match step {
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::Reset),
                Step::Continue | Step::Pause => {}
            }
        }
        let mut stream = self.cell.borrow_mut();
        let Some(head) = &mut stream.response else {
            return Ok(());
        };
        if head.removed.has(Removed::STATUS) {
            return Err(GatewayError::RemovedStatus.into());
        }
        // What a filter says of the client's connection is not for it to say.
        if self.active.has_guests() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            attempt::remove_hop_by_hop(&mut head.headers);
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
    pub(super) fn finish_head(&mut self) -> Response<()> {
        let mut response = Response::new(());
        let mut stream = self.cell.borrow_mut();
        // Filters and access logs may ask for the headers to the end.
        let keeps = self.listener.keeps_heads || self.active.has_guests();
        let http1 = stream.info.protocol < Version::HTTP_2;
        if let Some(head) = &mut stream.response {
            *response.status_mut() = head.status;
            *response.headers_mut() = match keeps {
                true => head.headers.clone(),
                false => std::mem::take(&mut head.headers),
            };
        }
        let http = &self.listener.config.http;
        let headers = response.headers_mut();
        match http.server_header {
            ServerHeader::Overwrite => {
                headers.insert(header::SERVER, self.listener.server.clone());
            }
            ServerHeader::IfAbsent => {
                headers
                    .entry(header::SERVER)
                    .or_insert_with(|| self.listener.server.clone());
            }
            ServerHeader::PassThrough => {}
        }
        if let Some(via) = &http.forwarding.via {
            headers.append(header::VIA, via.clone());
        }
        if http.request_id_in_response
            && let Some(id) = stream.request.headers.get(&REQUEST_ID)
        {
            headers.insert(REQUEST_ID.clone(), id.clone());
        }
        // HTTP/2 tells the client by GOAWAY.
        if http1 && (self.client.closing() || self.listener.worker.draining()) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The length of a body that filters may have changed.
fn with_length(mut head: Response<()>, body: DownstreamBody) -> Response<DownstreamBody> {
    use http_body::Body as _;
    if let Some(length) = head.headers_mut().get_mut(header::CONTENT_LENGTH)
        && let Some(exact) = body.size_hint().exact()
    {
        *length = HeaderValue::from(exact);
    }
    head.map(|()| body)
}
