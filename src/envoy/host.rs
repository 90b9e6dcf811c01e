//! Hostcalls, in the core's words.

use std::time::{Instant, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, Status};

use crate::answer::Answer;
use crate::dispatcher::Refusal;
use crate::exchange::HeaderEdits;
use crate::journal::Level;
use crate::now::Now;

/// Reads the host's clocks.
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// This moment.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// 128 random bits; `None` if the host has none to give.
pub fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A header of a map that exists, its first value.
pub fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(map, name).ok().flatten()
}

/// `:status` of a map that exists.
pub fn status(map: MapType) -> Option<u16> {
    std::str::from_utf8(&header(map, ":status")?).ok()?.parse().ok()
}

/// Up to `size` bytes of a body.
pub fn body(buffer: BufferType, size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    hostcalls::get_buffer(buffer, 0, size).ok().flatten().unwrap_or_default()
}

/// Replaces a body of `size` bytes: the whole of it, for Envoy takes nothing else.
pub fn replace_body(buffer: BufferType, size: usize, body: &[u8]) {
    let _ = hostcalls::set_buffer(buffer, 0, size, body);
}

/// Applies edits to a map that exists.
pub fn edit(map: MapType, edits: &HeaderEdits) {
    for name in &edits.remove {
        let _ = hostcalls::remove_map_value(map, name);
    }
    for (name, value) in &edits.set {
        set_header(map, name, value);
    }
}

/// Sets one header of a map that exists.
pub fn set_header(map: MapType, name: &str, value: &str) {
    let _ = hostcalls::set_map_value(map, name, Some(value));
}

/// Answers the request in the store's place.
pub fn answer(answer: &Answer) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(answer.headers());
    let _ = hostcalls::send_http_response(u32::from(answer.status()), headers, Some(&answer.body()));
}

/// Writes a line to Envoy's log.
pub fn log(level: Level, line: &str) {
    let _ = hostcalls::log(host_level(level), line);
}

/// Whether Envoy's log takes lines of this level now.
pub fn logs(level: Level) -> bool {
    hostcalls::get_log_level().is_ok_and(|least| host_level(level) as u32 >= least as u32)
}

fn host_level(level: Level) -> LogLevel {
    match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}

/// Why Envoy refused to send a request.
pub fn refusal(status: Status) -> Refusal {
    match status {
        // An unknown cluster; the pseudo headers that would be the other reason are always there.
        Status::BadArgument => Refusal::NoCluster,
        _ => Refusal::NoHealthyHost,
    }
}
