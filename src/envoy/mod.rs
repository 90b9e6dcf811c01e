//! The adapter to Envoy: contexts and hostcalls, nothing to decide.
//!
//! Only hostcalls whose failure is a value are made, and only where Envoy can answer them: header maps are read while they
//! exist, header values as bytes, and answers without headers are not asked for any.

mod clock;
mod header_map;
mod host;
mod hostcalls;
mod root;
mod stream;

use proxy_wasm::traits::RootContext;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Trace);
    proxy_wasm::set_root_context(|id| -> Box<dyn RootContext> { Box::new(root::Root::new(id)) });
}}
