//! What happened in a run: kept as text as far as anybody wants it, and as one number in any case.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Write as _;

/// Lines kept where not all are.
const TAIL: usize = 80;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    whole: bool,
    hash: u64,
}

impl Trace {
    /// An empty trace that keeps all its lines, or its last ones.
    pub fn new(whole: bool) -> Self {
        Self { lines: VecDeque::new(), whole, hash: 0xCBF2_9CE4_8422_2325 }
    }

    /// Notes what happened at `at`, milliseconds of virtual time.
    pub fn note(&mut self, at: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.whole || self.lines.len() < TAIL {
            String::with_capacity(96)
        } else {
            self.lines.pop_front().unwrap_or_default()
        };
        line.clear();
        // Writing into a text cannot fail.
        let _ = write!(line, "{:>5}.{:03} {what}", at / 1_000, at % 1_000);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.lines.push_back(line);
    }

    /// A number that two runs share only if they noted the same (FNV-1a).
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
