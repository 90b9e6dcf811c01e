//! Hostcalls, in the core's words.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, Status};

use crate::answer::Answer;
use crate::dispatcher::Refusal;
use crate::exchange::first;
use crate::journal::Level;
use crate::now::Now;

/// How long the difference between the host's two clocks is believed, milliseconds: so late is a wall clock noticed that was
/// set to another time.
const WALL_CLOCK_TRUST_MS: u64 = 1_000;

/// Random bytes taken from the host at a time: for 64 push ids.
const RANDOM_BYTES: usize = 1_024;

/// Reads the host's clocks: one hostcall each time, two once a second.
pub struct Clock {
    start: Instant,
    /// The wall clock's time at `start`, and the monotonic moment it was last looked at.
    wall_at_start: Cell<Option<(i64, u64)>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), wall_at_start: Cell::default() }
    }
}

impl Clock {
    /// This moment.
    pub fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let elapsed = i64::try_from(monotonic_ms).unwrap_or(i64::MAX);
        let trusted =
            self.wall_at_start.get().filter(|(_, seen)| monotonic_ms.saturating_sub(*seen) < WALL_CLOCK_TRUST_MS);
        let wall_at_start =
            trusted.map_or_else(|| wall_ms().saturating_sub(elapsed), |(wall_at_start, _)| wall_at_start);
        if trusted.is_none() {
            self.wall_at_start.set(Some((wall_at_start, monotonic_ms)));
        }
        Now { monotonic_ms, wall_ms: wall_at_start.saturating_add(elapsed) }
    }
}

fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
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

/// Replaces a body of `size` bytes: the whole of it, for Envoy takes nothing else.
pub fn replace_body(buffer: BufferType, size: usize, body: &[u8]) {
    let _ = hostcalls::set_buffer(buffer, 0, size, body);
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
