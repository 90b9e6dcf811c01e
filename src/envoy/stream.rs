//! One HTTP stream: passes its events to the worker, and does to it what the worker says.

use std::rc::Rc;

use privatenumber_contract::paths;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use super::header_map::{self, HeaderMap};
use super::host::{self, Envoy};
use super::hostcalls;
use crate::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, first};
use crate::streams::StreamId;
use crate::worker::Worker;

/// See the [module](self).
pub struct Stream {
    id: StreamId,
    worker: Option<Rc<Worker<Envoy>>>,
    exchange: Exchange,
    body_size: usize,
    /// How much there is of the response's body; `None` before any of it has come.
    response_size: Option<usize>,
    /// Whether the response's headers were edited: then it is an upstream's.
    is_edited: bool,
}

impl Stream {
    pub fn new(id: StreamId, worker: Option<Rc<Worker<Envoy>>>) -> Self {
        Self { id, worker, exchange: Exchange::default(), body_size: 0, response_size: None, is_edited: false }
    }

    /// The request's body is complete, whether by its last chunk or by trailers.
    fn request_end(&mut self, worker: &Worker<Envoy>) -> Action {
        let body = host::body(BufferType::HttpRequestBody, self.body_size);
        match worker.request_end(&mut self.exchange, &body) {
            AtEnd::LeaveAlone => Action::Continue,
            AtEnd::Hold { reset } => {
                if reset {
                    hostcalls::reset_response();
                }
                Action::Pause
            }
            AtEnd::Answer(reply) => {
                host::reply(&reply);
                Action::Pause
            }
            AtEnd::Forward(body) => {
                hostcalls::replace_body(BufferType::HttpRequestBody, self.body_size, body);
                Action::Continue
            }
        }
    }

    fn response_end(&mut self, size: usize) {
        let Some(worker) = self.worker.clone() else { return };
        let body = host::body(BufferType::HttpResponseBody, size);
        if let Some(replacement) = worker.response_end(&mut self.exchange, &body) {
            hostcalls::replace_body(BufferType::HttpResponseBody, size, &replacement);
        }
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if let Some(worker) = &self.worker {
            worker.stream_ended(&mut self.exchange);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, is_end: bool) -> Action {
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        // All headers at once: a hostcall for the path alone would cost pushes more than it saves others.
        let map = HeaderMap::of(MapType::HttpRequestHeaders);
        let headers = map.pairs();
        match worker.request_headers(&mut self.exchange, self.id, &headers, is_end) {
            AtHeaders::LeaveAlone => {
                self.worker = None;
                Action::Continue
            }
            AtHeaders::Answer(reply) => {
                host::reply(&reply);
                Action::Pause
            }
            AtHeaders::Hold => Action::Pause,
            AtHeaders::Pass(edits) => {
                header_map::replace(MapType::HttpRequestHeaders, &edits.applied(&headers));
                Action::Continue
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, is_end: bool) -> Action {
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        self.body_size = size;
        match worker.request_body(&mut self.exchange, size) {
            AtBody::LeaveAlone => Action::Continue,
            AtBody::Wait if is_end => self.request_end(&worker),
            AtBody::Wait => Action::Pause,
            AtBody::Answer(reply) => {
                host::reply(&reply);
                Action::Pause
            }
        }
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        match self.worker.clone() {
            Some(worker) => self.request_end(&worker),
            None => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, is_end: bool) -> Action {
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        if !worker.awaits_response(&mut self.exchange) {
            return Action::Continue;
        }
        let map = HeaderMap::of(MapType::HttpResponseHeaders);
        let headers = map.pairs();
        let decision = worker.response_headers(
            &mut self.exchange,
            host::status(&headers),
            first(&headers, "content-type"),
            first(&headers, paths::COMMITTED_HEADER),
            is_end,
        );
        if let AtResponse::Become(edits) | AtResponse::Reduce(edits) = decision {
            self.is_edited = true;
            header_map::replace(MapType::HttpResponseHeaders, &edits.applied(&headers));
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        if !self.exchange.awaits_response_body() {
            return Action::Continue;
        }
        self.response_size = Some(size);
        if !is_end {
            return Action::Pause;
        }
        self.response_end(size);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if self.is_edited {
            // Trailers are headers that come later: Huawei gets none of an upstream's.
            header_map::replace(MapType::HttpResponseTrailers, &[]);
        }
        if !self.exchange.awaits_response_body() {
            return Action::Continue;
        }
        let Some(size) = self.response_size else {
            // No body has come, and one of ours is announced: there is no buffer that it could be put into.
            hostcalls::reset_response();
            return Action::Pause;
        };
        self.response_end(size);
        Action::Continue
    }
}
