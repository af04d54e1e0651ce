//! The callbacks about a stream, and those of roots: ticks, queues, answers to callouts.

use bytes::Bytes;
use wasmtime::WasmParams;

use super::exports::{Export, Exports};
use super::{Action, Failed, Sees, Vm, narrow};
use crate::abi::observe::Words;
use crate::abi::{CalloutResponse, Reach};

/// The status of a callout that failed, as Envoy tells it: `BrokenConnection` of its host library.
const BROKEN_CONNECTION: u32 = 11;

impl Vm {
    /// `proxy_on_request_headers`.
    ///
    /// # Errors
    /// Where the guest traps or has; so for all callbacks.
    pub fn request_headers(
        &mut self,
        id: u32,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        let (fields, end) = (narrow(fields), u32::from(end_of_stream));
        let sees = Sees(Reach::REQUEST_HEADERS, Some(end_of_stream));
        if self.exports.request_headers.function.is_none() {
            return self.act(id, |e| &e.request_headers_0_1, (id, fields), sees);
        }
        self.act(id, |e| &e.request_headers, (id, fields, end), sees)
    }

    /// `proxy_on_request_body`; `size` is what the buffer holds.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn request_body(
        &mut self,
        id: u32,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.request_body,
            (id, narrow(size), u32::from(end_of_stream)),
            Sees(Reach::REQUEST_BODY, Some(end_of_stream)),
        )
    }

    /// `proxy_on_request_trailers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn request_trailers(&mut self, id: u32, fields: usize) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.request_trailers,
            (id, narrow(fields)),
            Sees(Reach::REQUEST_TRAILERS, None),
        )
    }

    /// `proxy_on_response_headers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_headers(
        &mut self,
        id: u32,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        let (fields, end) = (narrow(fields), u32::from(end_of_stream));
        let sees = Sees(Reach::RESPONSE_HEADERS, Some(end_of_stream));
        if self.exports.response_headers.function.is_none() {
            return self.act(id, |e| &e.response_headers_0_1, (id, fields), sees);
        }
        self.act(id, |e| &e.response_headers, (id, fields, end), sees)
    }

    /// `proxy_on_response_body`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_body(
        &mut self,
        id: u32,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.response_body,
            (id, narrow(size), u32::from(end_of_stream)),
            Sees(Reach::RESPONSE_BODY, Some(end_of_stream)),
        )
    }

    /// `proxy_on_response_trailers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_trailers(&mut self, id: u32, fields: usize) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.response_trailers,
            (id, narrow(fields)),
            Sees(Reach::RESPONSE_TRAILERS, None),
        )
    }

    /// `proxy_on_tick`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn tick(&mut self, root: u32) -> Result<(), Failed> {
        self.call(root, |e| &e.tick, root, ())
    }

    /// `proxy_on_queue_ready`. A root that has ended meanwhile gets none.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn queue_ready(&mut self, root: u32, queue: u32) -> Result<(), Failed> {
        if !self.has(root) {
            return Ok(());
        }
        self.call(root, |e| &e.queue_ready, (root, queue), ())
    }

    /// `proxy_on_http_call_response`; `None` is a failed callout, which guests see as an answer of nothing.
    /// A root that has ended meanwhile gets none, as in Envoy.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn http_call_response(
        &mut self,
        root: u32,
        token: u32,
        response: Option<CalloutResponse>,
    ) -> Result<(), Failed> {
        self.store.data_mut().end_callout(token);
        if !self.has(root) {
            return Ok(());
        }
        let sizes = response.as_ref().map_or((0, 0, 0), |r| {
            (
                narrow(r.head.headers.len() + 1),
                narrow(r.body.len()),
                narrow(r.trailers.len()),
            )
        });
        let state = self.store.data_mut();
        if response.is_none() {
            state
                .grpc
                .end(BROKEN_CONNECTION, Bytes::from_static(b"reset"));
        }
        state.callout = response;
        let result = self.call(
            root,
            |e| &e.http_call_response,
            (root, token, sizes.0, sizes.1, sizes.2),
            (),
        );
        let state = self.store.data_mut();
        state.callout = None;
        state.grpc.forget_message();
        result
    }

    fn act<P: WasmParams + Words>(
        &mut self,
        id: u32,
        callback: impl FnOnce(&Exports) -> &Export<P, u32>,
        parameters: P,
        sees: Sees,
    ) -> Result<Action, Failed> {
        let action = self.call_seeing(id, callback, parameters, 0, sees)?;
        Ok(self.acted(id, action, sees))
    }

    /// What a guest's number means: Envoy takes any other than 0 for a pause.
    #[inline]
    pub(super) fn acted(&mut self, id: u32, action: u32, sees: Sees) -> Action {
        match action {
            0 => {
                self.store.data_mut().let_go(id, sees.0);
                Action::Continue
            }
            _ => Action::Pause,
        }
    }
}
