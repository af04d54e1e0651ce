//! The way back: the upstream's response, or an answer of the gateway's own, through the filters to the client.

use bytes::Bytes;
use http::HeaderMap;

use super::super::super::Place;
use super::super::super::world::Response;
use super::{BODY_LIMIT, End, Run, passed, resumed};
use crate::proxy::filters::{Direction, Step};
use crate::proxy::grpc;
use crate::proxy::pump::{Output, Pump};
use crate::stream::{LocalReply, ResponseHead};

impl Run {
    /// The upstream's response goes back through the listener's filters.
    pub(super) async fn respond(&mut self, response: Response) {
        self.cell.borrow_mut().info.details = "via_upstream".into();
        match self.response_filters(response.ends_with_head()).await {
            Ok(()) => {
                self.client_gets_head();
                self.response_body(response).await;
            }
            Err(End { reply: None, .. }) => self.record.borrow_mut().reset = true,
            Err(End {
                reply: Some(reply), ..
            }) => {
                let reply = self.in_clients_words(reply);
                let body = reply.body.clone();
                self.set_reply(reply);
                self.client_gets_head();
                self.client_gets(body);
            }
        }
    }

    /// An answer of the gateway's own or of a filter's; filters that have seen the request see it.
    pub(super) async fn reply(&mut self, reply: LocalReply) {
        let reply = self.in_clients_words(reply);
        let mut body = reply.body.clone();
        self.set_reply(reply);
        match self.response_filters(body.is_empty()).await {
            Ok(()) => {}
            Err(End { reply: None, .. }) => {
                self.record.borrow_mut().reset = true;
                return;
            }
            Err(End {
                reply: Some(second),
                ..
            }) => {
                let second = self.in_clients_words(second);
                body = second.body.clone();
                self.set_reply(second);
            }
        }
        self.client_gets_head();
        self.client_gets(body);
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
        stream.response = Some(ResponseHead {
            status: reply.status,
            headers,
        });
        stream.info.details = reply.details;
    }

    async fn response_filters(&self, end: bool) -> Result<(), End> {
        for at in (0..self.active.len()).rev() {
            let mut step = self.active.response_headers(at, end);
            while matches!(step, Step::Pause) {
                let _held = self.held(Place::Listener(at), "the response's headers");
                step = self.active.resumed(Direction::Response).await;
            }
            passed(step)?;
        }
        Ok(())
    }

    /// Whatever stops it now can only break the exchange off: the client has the head.
    async fn response_body(&mut self, response: Response) {
        let parts = response.body.len() + usize::from(response.trailers.is_some());
        let mut pump = match parts {
            0 => None,
            _ => Pump::new(&self.active, Direction::Response, BODY_LIMIT),
        };
        for (number, data) in response.body.into_iter().enumerate() {
            let end = number + 1 == parts && !response.broken;
            let pushed = match &mut pump {
                Some(pump) => pump.push(0, pump.stages(), data, end),
                None => Ok(Some(Output { data, end })),
            };
            let output = match (pushed, &mut pump) {
                (Err(_), _) => return self.record.borrow_mut().reset = true,
                (Ok(Some(output)), _) => Ok(output),
                (Ok(None), Some(pump)) if pump.waits_for_resume() => {
                    let _held = self.held_body("the response's body");
                    resumed(pump).await
                }
                (Ok(None), _) => continue,
            };
            match output {
                Ok(output) => self.client_gets(output.data),
                Err(_) => return self.record.borrow_mut().reset = true,
            }
        }
        if response.broken {
            return self.record.borrow_mut().reset = true;
        }
        let Some(trailers) = response.trailers else {
            return;
        };
        self.cell.borrow_mut().response_trailers = Some(trailers);
        if let Some(pump) = &mut pump {
            match pump.trailers() {
                Ok(data) => self.client_gets(data),
                Err(_) => return self.record.borrow_mut().reset = true,
            }
        }
        let trailers = self.cell.borrow_mut().response_trailers.take();
        if let Some(response) = &mut self.record.borrow_mut().response {
            response.trailers = trailers;
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
