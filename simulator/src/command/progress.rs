//! How far a run has got, on stderr, for runs that last.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use privatenumber_sim::huawei::Tally;
use tokio::time::{Instant, sleep};

const FIRST: Duration = Duration::from_secs(1);
/// On a terminal the line is written over itself; elsewhere each is a line of its own, and so they come more rarely.
const EACH_ON_TERMINAL: Duration = Duration::from_millis(200);
const EACH_ELSEWHERE: Duration = Duration::from_secs(5);

/// Reports for ever; drop the future to end. `expected` is how many pushes there will be, copies not counted.
pub async fn report(tally: &Tally, expected: usize) {
    let mut line = Line { is_terminal: std::io::stderr().is_terminal(), written: false };
    let started = Instant::now();
    sleep(FIRST).await;
    loop {
        let (begun, accepted, given_up) = tally.progress();
        let waiting = begun - accepted - given_up;
        line.write(&format!(
            "{:.0} s: {begun} of {expected} pushes sent, {accepted} accepted, {waiting} waiting, {given_up} given up",
            started.elapsed().as_secs_f64()
        ));
        sleep(if line.is_terminal { EACH_ON_TERMINAL } else { EACH_ELSEWHERE }).await;
    }
}

struct Line {
    is_terminal: bool,
    written: bool,
}

impl Line {
    fn write(&mut self, text: &str) {
        self.written = true;
        let mut stderr = std::io::stderr().lock();
        // "\x1b[K" clears what a longer line left behind.
        let _ = if self.is_terminal { write!(stderr, "\r{text}\x1b[K") } else { writeln!(stderr, "{text}") };
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_terminal && self.written {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
