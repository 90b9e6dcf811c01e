//! One HTTP stream: tells its exchange what happens, and does to it what the exchange says.

use std::rc::Rc;

use privatenumber_contract::{PushId, paths};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, BufferType, MapType};

use super::host;
use super::worker::Worker;
use crate::answer::Answer;
use crate::config::HeadersMode;
use crate::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange, HeaderEdits, is_push_path};

/// See the [module](self).
pub struct Stream {
    worker: Option<Rc<Worker>>,
    exchange: Exchange,
    /// Edits that wait for the body, where the headers are held.
    held: Option<HeaderEdits>,
    body_size: usize,
}

impl Stream {
    pub fn new(worker: Option<Rc<Worker>>) -> Self {
        Self { worker, exchange: Exchange::default(), held: None, body_size: 0 }
    }

    /// The request's body is complete, whether by its last chunk or by trailers.
    fn request_end(&mut self, worker: &Worker) -> Action {
        let now = worker.now();
        let body = host::body(BufferType::HttpRequestBody, self.body_size);
        let Some(random) = host::random() else {
            // Without a push id of its own a push must not be claimed.
            host::answer(&Answer::StoreUnavailable);
            return Action::Pause;
        };
        let push_id = PushId::from_bytes(random);
        let mut dispatcher = worker.dispatcher.borrow_mut();
        let decision = self.exchange.request_end(&worker.config, &mut dispatcher, &body, push_id, now);
        drop(dispatcher);
        let action = match decision {
            AtEnd::LeaveAlone => return Action::Continue,
            AtEnd::Answer(answer) => {
                host::answer(&answer);
                Action::Pause
            }
            AtEnd::Forward(body) => {
                if let Some(edits) = self.held.take() {
                    host::edit(MapType::HttpRequestHeaders, &edits);
                    host::set_header(MapType::HttpRequestHeaders, "content-length", &body.len().to_string());
                }
                host::replace_body(BufferType::HttpRequestBody, self.body_size, body);
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
            host::replace_body(BufferType::HttpResponseBody, size, &replacement);
        }
        worker.stream_was_heard(now);
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if let Some(worker) = &self.worker {
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
        // One header first: requests that are no pushes are to cost next to nothing.
        let path = host::header(MapType::HttpRequestHeaders, ":path").unwrap_or_default();
        if !is_push_path(&worker.config, &path) {
            self.worker = None;
            return Action::Continue;
        }
        let headers = hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default();
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
                    self.held = Some(edits);
                    Action::Pause
                }
                HeadersMode::Pass => {
                    host::edit(MapType::HttpRequestHeaders, &edits);
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
        let Some(worker) = self.worker.clone() else { return Action::Continue };
        let now = worker.now();
        let map = MapType::HttpResponseHeaders;
        let status = host::status(map);
        let content_type = host::header(map, "content-type");
        let committed = host::header(map, paths::COMMITTED_HEADER);
        let decision = self.exchange.response_headers(
            &mut worker.dispatcher.borrow_mut(),
            status,
            content_type.as_deref(),
            committed.as_deref(),
            is_end,
            now,
        );
        if let AtResponse::Become(edits) = decision {
            host::edit(map, &edits);
        }
        worker.stream_was_heard(now);
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, is_end: bool) -> Action {
        if !self.exchange.awaits_response_body() {
            return Action::Continue;
        }
        self.body_size = size;
        if !is_end {
            return Action::Pause;
        }
        self.response_end(size);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        if self.exchange.awaits_response_body() {
            self.response_end(self.body_size);
        }
        Action::Continue
    }
}
