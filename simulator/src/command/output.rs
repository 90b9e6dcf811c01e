//! Lines of text for whoever started the tool. A reader that went away is no reason to fail.

use std::io::Write as _;

/// A line on stdout, flushed at once.
pub fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// A line on stderr.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
