//! The way back: the upstream's response, or an answer of the gateway's own, through the filters to the client.

use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;

use super::super::super::Place;
use super::super::super::world::Response;
use super::{Body, End, Parts, Run, passed};
use crate::proxy::filters::{Direction, Step};
use crate::proxy::grpc;
use crate::proxy::pump::Ending;
use crate::stream::{LocalReply, ResponseHead};

impl Run {
    /// The upstream's response goes back through the listener's filters.
    pub(super) async fn respond(&mut self, response: Response) {
        self.cell.borrow_mut().info.details = "via_upstream".into();
        let end = response.ends_with_head();
        let mut body = self.response_parts(response.body, response.trailers, response.broken);
        match self.response_filters(end, &mut body).await {
            Ok(()) => {
                self.client_gets_head();
                if !end {
                    self.client_gets_rest(body).await;
                }
            }
            Err(end) => self.ended(end.reply),
        }
    }

    /// An answer of the gateway's own or of a filter's; filters that have seen the request see it.
    pub(super) async fn reply(&mut self, reply: LocalReply) {
        let reply = self.in_clients_words(reply);
        let whole = reply.body.clone();
        self.set_reply(reply);
        let end = whole.is_empty();
        let data = if end { Vec::new() } else { vec![whole] };
        let mut body = self.response_parts(data, None, false);
        if let Err(end) = self.response_filters(end, &mut body).await {
            return self.ended(end.reply);
        }
        if end {
            return self.client_gets_head();
        }
        // While the head has not gone out, a filter may still answer in its place.
        match std::future::poll_fn(|cx| Poll::Ready(body.poll(cx))).await {
            Poll::Ready(Err(stop)) => self.ended(End::from(stop).reply),
            Poll::Ready(Ok(output)) => {
                self.client_gets_head();
                self.client_gets(output.data);
                match output.ending {
                    Ending::More => self.client_gets_rest(body).await,
                    ending => self.client_gets_trailers(ending),
                }
            }
            Poll::Pending => {
                self.client_gets_head();
                self.client_gets_rest(body).await;
            }
        }
    }

    /// A filter's last word in the place of a response: an answer that no filter sees, or none.
    fn ended(&self, reply: Option<LocalReply>) {
        let Some(reply) = reply else {
            return self.record.borrow_mut().reset = true;
        };
        let reply = self.in_clients_words(reply);
        let body = reply.body.clone();
        self.set_reply(reply);
        self.client_gets_head();
        self.client_gets(body);
    }

    fn response_parts(&self, data: Vec<Bytes>, trailers: Option<HeaderMap>, broken: bool) -> Body {
        let parts = Parts {
            cell: self.cell.clone(),
            direction: Direction::Response,
            data: data.into(),
            trailers,
            broken,
        };
        parts.behind(&self.active)
    }

    /// An answer as a client of gRPC expects it, where that is what asks.
    fn in_clients_words(&self, reply: LocalReply) -> LocalReply {
        grpc::local_reply(&self.cell.borrow().request, reply)
    }

    fn set_reply(&self, reply: LocalReply) {
        let mut headers = HeaderMap::new();
        for (name, value) in reply.headers {
            headers.append(name, value);
        }
        let mut stream = self.cell.borrow_mut();
        stream.response = Some(ResponseHead::new(reply.status, headers));
        stream.info.details = reply.details;
    }

    async fn response_filters(&self, end: bool, body: &mut Body) -> Result<(), End> {
        for at in (0..self.active.len()).rev() {
            match self.active.response_headers(at, end) {
                Step::Pause => {
                    let _held = self.held(Place::Listener(at), "the response's headers");
                    self.paused(at, body).await?;
                }
                step => passed(step)?,
            }
        }
        Ok(())
    }

    /// Whatever stops it now can only break the exchange off: the client has the head.
    async fn client_gets_rest(&self, mut body: Body) {
        loop {
            let _held = self.held_body("the response's body");
            let Ok(output) = std::future::poll_fn(|cx| body.poll(cx)).await else {
                return self.record.borrow_mut().reset = true;
            };
            self.client_gets(output.data);
            if output.ending.is_last() {
                return self.client_gets_trailers(output.ending);
            }
        }
    }

    fn client_gets_trailers(&self, ending: Ending) {
        if ending == Ending::Trailers
            && let Some(response) = &mut self.record.borrow_mut().response
        {
            response.trailers = self.cell.borrow_mut().response_trailers.take();
        }
    }

    fn client_gets_head(&self) {
        let stream = self.cell.borrow();
        if let Some(head) = &stream.response {
            self.record.borrow_mut().response = Some(Response {
                status: head.status,
                headers: head.headers.clone(),
                ..Response::default()
            });
        }
    }

    fn client_gets(&self, data: Bytes) {
        self.cell.borrow_mut().info.response_bytes += data.len() as u64;
        if let Some(response) = &mut self.record.borrow_mut().response
            && !data.is_empty()
        {
            response.body.push(data);
        }
    }
}
