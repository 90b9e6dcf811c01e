//! Hostcalls, in the core's words.

use std::cell::RefCell;
use std::time::{Instant, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, Status};

use crate::answer::Answer;
use crate::dispatcher::Refusal;
use crate::exchange::first;
use crate::journal::Level;
use crate::now::{Clocks, Now};

/// Random bytes taken from the host at a time: for 64 push ids.
const RANDOM_BYTES: usize = 1_024;

/// Reads the host's clocks: one hostcall each time, two once a second.
pub struct Clock {
    start: Instant,
    clocks: RefCell<Clocks>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), clocks: RefCell::default() }
    }
}

impl Clock {
    /// This moment.
    pub fn now(&self) -> Now {
        let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.clocks.borrow_mut().now(self.start.elapsed(), wall)
    }
}

/// Random bits from the host, some in store: a hostcall is dearer than its bytes.
pub struct Random {
    bytes: [u8; RANDOM_BYTES],
    used: usize,
}

impl Default for Random {
    fn default() -> Self {
        Self { bytes: [0; RANDOM_BYTES], used: RANDOM_BYTES }
    }
}

impl Random {
    /// 128 bits that were given to nobody else; `None` if the host has none to give.
    pub fn draw(&mut self) -> Option<[u8; 16]> {
        if self.used >= RANDOM_BYTES {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let drawn = self.bytes.get(self.used..)?.first_chunk().copied()?;
        self.used += drawn.len();
        Some(drawn)
    }
}

/// `:status` among `headers`.
pub fn status(headers: &[(&str, &[u8])]) -> Option<u16> {
    std::str::from_utf8(first(headers, ":status")?).ok()?.parse().ok()
}

/// Up to `size` bytes of a body.
pub fn body(buffer: BufferType, size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    hostcalls::get_buffer(buffer, 0, size).ok().flatten().unwrap_or_default()
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

/// The least level of lines that Envoy's log takes now; `None` for none of them.
pub fn log_level() -> Option<Level> {
    let least = hostcalls::get_log_level().ok()? as u32;
    [Level::Debug, Level::Info, Level::Warn, Level::Error].into_iter().find(|level| host_level(*level) as u32 >= least)
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
