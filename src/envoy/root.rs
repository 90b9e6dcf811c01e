//! The root context: reads the configuration, and passes on answers, wake-ups and ticks.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, MapType};

use super::header_map::HeaderMap;
use super::host::{self, Envoy};
use super::stream::Stream;
use crate::config::Config;
use crate::dispatcher::HttpAnswer;
use crate::exchange::first;
use crate::journal::Level;
use crate::worker::Worker;

/// As much of a callback's answer as tells Envoy's own from a business's.
const ANSWER_BEGINNING: usize = 512;

/// See the [module](self).
pub struct Root {
    id: u32,
    worker: Option<Rc<Worker<Envoy>>>,
}

impl Root {
    pub fn new(id: u32) -> Self {
        Self { id, worker: None }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, header_count: usize, body_size: usize, _trailer_count: usize) {
        let Some(worker) = &self.worker else { return };
        let is_callback = worker.is_callback(token);
        // An answer that was cut off has no headers, and asking for one would trap the VM.
        let map = if header_count > 0 { HeaderMap::of(MapType::HttpCallResponseHeaders) } else { HeaderMap::default() };
        let headers = map.pairs();
        let from_upstream = first(&headers, "x-envoy-upstream-service-time").is_some();
        // Of a callback's answer only that is looked at which tells Envoy's own from a business's.
        let wanted = match (is_callback, from_upstream) {
            (true, true) => 0,
            (true, false) => body_size.min(ANSWER_BEGINNING),
            (false, _) => body_size,
        };
        let body = host::body(BufferType::HttpCallResponseBody, wanted);
        let answer = HttpAnswer {
            status: host::status(&headers),
            from_upstream,
            content_type: first(&headers, "content-type"),
            committed: first(&headers, privatenumber_contract::paths::COMMITTED_HEADER),
            body: &body,
        };
        worker.response(token, &answer);
    }

    fn on_done(&mut self) -> bool {
        match &self.worker {
            Some(worker) => worker.drain(),
            None => true,
        }
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, _size: usize) -> bool {
        true
    }

    fn on_configure(&mut self, size: usize) -> bool {
        let json = host::body(BufferType::PluginConfiguration, size);
        match Config::from_json(&json, &|name| std::env::var(name).ok()) {
            Ok(config) => {
                let envoy = Envoy::new(self.id, &config);
                self.worker = Some(Rc::new(Worker::new(Rc::new(config), envoy)));
                true
            }
            Err(errors) => {
                for error in &errors {
                    host::log(Level::Error, &format!("configuration refused: {error}"));
                }
                false
            }
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        let Some(worker) = &self.worker else { return };
        Envoy::take_wake_up(queue);
        worker.woken();
    }

    fn on_tick(&mut self) {
        let Some(worker) = &self.worker else { return };
        worker.tick();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        // Envoy makes no stream before a configuration was taken; if it did, the stream would leave everything alone.
        Some(Box::new(Stream::new(id, self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
