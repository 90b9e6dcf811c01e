//! One HTTP stream: tells its exchange what happens, and does to it what the exchange says.

use std::rc::Rc;

use privatenumber_contract::{PushId, paths};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use super::header_map::{self, HeaderMap};
use super::worker::Worker;
use super::{host, hostcalls};
use crate::config::HeadersMode;
use crate::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, HeaderEdits, first, is_push};

/// See the [module](self).
pub struct Stream {
    worker: Option<Rc<Worker>>,
    exchange: Exchange,
    /// The request's headers and what is to become of them, where they are held until the body is known.
    held: Option<(HeaderMap, HeaderEdits)>,
    body_size: usize,
    /// How much there is of the response's body; `None` before any of it has come.
    response_size: Option<usize>,
}

impl Stream {
    pub fn new(worker: Option<Rc<Worker>>) -> Self {
        Self { worker, exchange: Exchange::default(), held: None, body_size: 0, response_size: None }
    }

    /// The request's body is complete, whether by its last chunk or by trailers.
    fn request_end(&mut self, worker: &Worker) -> Action {
        let now = worker.now();
        let body = host::body(BufferType::HttpRequestBody, self.body_size);
        let mut dispatcher = worker.dispatcher.borrow_mut();
        let decision = match worker.random() {
            Some(random) => {
                let push_id = PushId::from_bytes(random);
                self.exchange.request_end(&worker.config, &mut dispatcher, &body, push_id, now)
            }
            None => self.exchange.request_end_without_push_id(&mut dispatcher),
        };
        drop(dispatcher);
        let action = match decision {
            AtEnd::LeaveAlone => return Action::Continue,
            AtEnd::Hold => {
                // Whoever answered may be waiting for the rest of the request, as we are for that of the answer.
                if self.exchange.awaits_response_body() {
                    hostcalls::reset_response();
                }
                return Action::Pause;
            }
            AtEnd::Answer(answer) => {
                host::answer(&answer);
                Action::Pause
            }
            AtEnd::Forward(body) => {
                if let Some((headers, mut edits)) = self.held.take() {
                    edits.set.push(("content-length", body.len().to_string().into()));
                    header_map::replace(MapType::HttpRequestHeaders, &edits.applied(&headers.pairs()));
                }
                hostcalls::replace_body(BufferType::HttpRequestBody, self.body_size, body);
                Action::Continue
            }
        };
        worker.stream_was_heard(now);
        action
    }

    fn response_end(&mut self, size: usize) {
        let Some(worker) = self.worker.clone() else { return };
        let now = worker.now();
        let body = host::body(BufferType::HttpResponseBody, size);
        let replacement = self.exchange.response_end(&mut worker.dispatcher.borrow_mut(), &body, now);
        if let Some(replacement) = replacement {
            hostcalls::replace_body(BufferType::HttpResponseBody, size, &replacement);
        }
        worker.stream_was_heard(now);
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if let Some(worker) = self.worker.as_ref().filter(|_| self.exchange.awaits_response()) {
            let now = worker.now();
            self.exchange.gone(&mut worker.dispatcher.borrow_mut(), now);
            worker.stream_was_heard(now);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, is_end: bool) -> Action {
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        // All headers at once: a hostcall for the path alone would cost pushes more than the others cost who are no pushes.
        let map = HeaderMap::of(MapType::HttpRequestHeaders);
        let headers = map.pairs();
        if !is_push(&worker.config, &headers) {
            self.worker = None;
            return Action::Continue;
        }
        let now = worker.now();
        let mut dispatcher = worker.dispatcher.borrow_mut();
        let decision = self.exchange.request_headers(&worker.config, &mut dispatcher, &headers, is_end, now);
        drop(dispatcher);
        let action = match decision {
            AtHeaders::LeaveAlone => Action::Continue,
            AtHeaders::Answer(answer) => {
                host::answer(&answer);
                Action::Pause
            }
            AtHeaders::ReadBody(edits) => match worker.config.headers {
                HeadersMode::Hold => {
                    self.held = Some((map, edits));
                    Action::Pause
                }
                HeadersMode::Pass => {
                    header_map::replace(MapType::HttpRequestHeaders, &edits.applied(&headers));
                    Action::Continue
                }
            },
        };
        worker.stream_was_heard(now);
        action
    }

    fn on_http_request_body(&mut self, size: usize, is_end: bool) -> Action {
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        self.body_size = size;
        let decision = self.exchange.request_body(&worker.config, &mut worker.dispatcher.borrow_mut(), size);
        match decision {
            AtBody::LeaveAlone => Action::Continue,
            AtBody::Wait if is_end => self.request_end(&worker),
            AtBody::Wait => Action::Pause,
            AtBody::Answer(answer) => {
                host::answer(&answer);
                worker.stream_was_heard(worker.now());
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
        let Some(worker) = self.worker.clone().filter(|_| self.exchange.awaits_response()) else {
            return Action::Continue;
        };
        let now = worker.lately();
        let map = HeaderMap::of(MapType::HttpResponseHeaders);
        let headers = map.pairs();
        let decision = self.exchange.response_headers(
            &mut worker.dispatcher.borrow_mut(),
            host::status(&headers),
            first(&headers, "content-type"),
            first(&headers, paths::COMMITTED_HEADER),
            is_end,
            now,
        );
        if let AtResponse::Become(edits) = decision {
            header_map::replace(MapType::HttpResponseHeaders, &edits.applied(&headers));
        }
        worker.stream_was_heard(now);
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
