//! What became of the pushes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;

use crate::lock;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// With this HTTP status.
    Status(u16),
    /// No connection could be made.
    NoConnection,
    /// No complete answer within the time-out.
    TimedOut,
    /// The connection ended, or what came was not HTTP.
    ConnectionLost,
    /// Hung up on purpose, without waiting for the answer.
    Abandoned,
}

impl Answer {
    /// Whether Huawei takes this for success: status 200 and nothing else.
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Status(200))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "{status}"),
            Self::NoConnection => formatter.write_str("no connection"),
            Self::TimedOut => formatter.write_str("time-out"),
            Self::ConnectionLost => formatter.write_str("connection lost"),
            Self::Abandoned => formatter.write_str("abandoned"),
        }
    }
}

/// How long answers took, milliseconds, over the attempts that were answered.
///
/// An attempt's time runs from the moment it was due, so that a gateway that falls behind a fixed rate shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the answers took no longer.
    pub p50_ms: f64,
    /// 99 of 100 answers took no longer.
    pub p99_ms: f64,
    /// No answer took longer.
    pub max_ms: f64,
}

/// The account of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Pushes begun, copies included.
    pub pushes: u64,
    /// How many of them were the second copy of another.
    pub copies: u64,
    /// CDRs in them, those of copies not counted again.
    pub cdrs: u64,
    /// HTTP requests begun and ended.
    pub attempts: u64,
    /// How the attempts ended: by HTTP status, or `no connection`, `time-out`, `connection lost`, `abandoned`.
    pub answers: BTreeMap<String, u64>,
    /// Pushes answered 200 in the end.
    pub accepted: u64,
    /// Pushes not answered 200 by any of their attempts.
    pub given_up: u64,
    /// Pushes whose attempts were still under way, or waiting for their turn, at the end.
    pub unfinished: u64,
    /// `null` when nothing was answered.
    pub latency: Option<Latency>,
    /// How long all of it took, milliseconds.
    pub duration_ms: u64,
}

impl Summary {
    /// Whether every push was accepted.
    pub const fn all_accepted(&self) -> bool {
        self.accepted == self.pushes
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_millis(self.duration_ms).as_secs_f64();
        write!(formatter, "pushes    {}", self.pushes)?;
        if self.copies > 0 {
            write!(formatter, " ({} of them second copies)", self.copies)?;
        }
        writeln!(formatter, " in {seconds:.1} s")?;
        writeln!(formatter, "CDRs      {}", self.cdrs)?;
        writeln!(formatter, "attempts  {}", self.attempts)?;
        let answers: Vec<String> = self.answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
        let answers = if answers.is_empty() { "none".to_owned() } else { answers.join(", ") };
        writeln!(formatter, "answers   {answers}")?;
        writeln!(formatter, "accepted  {}", self.accepted)?;
        write!(formatter, "given up  {}", self.given_up)?;
        if self.unfinished > 0 {
            write!(formatter, "\nunfinished {}", self.unfinished)?;
        }
        if let Some(Latency { p50_ms, p99_ms, max_ms }) = self.latency {
            write!(formatter, "\nlatency   p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms")?;
        }
        Ok(())
    }
}

/// Counts while a run goes on.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    pushes: u64,
    copies: u64,
    cdrs: u64,
    answers: BTreeMap<Answer, u64>,
    accepted: u64,
    given_up: u64,
    latencies_micros: Vec<u32>,
    last_answer: Option<(u16, Bytes)>,
}

impl Tally {
    pub(super) fn push_begun(&self, cdrs: usize, is_copy: bool) {
        let mut counts = lock(&self.0);
        counts.pushes += 1;
        if is_copy {
            counts.copies += 1;
        } else {
            counts.cdrs += cdrs as u64;
        }
    }

    pub(super) fn attempt_ended(&self, answer: Answer, body: Bytes, latency: Duration) {
        let mut counts = lock(&self.0);
        *counts.answers.entry(answer).or_default() += 1;
        if let Answer::Status(status) = answer {
            counts.latencies_micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            counts.last_answer = Some((status, body));
        }
    }

    pub(super) fn push_ended(&self, accepted: bool) {
        let mut counts = lock(&self.0);
        if accepted {
            counts.accepted += 1;
        } else {
            counts.given_up += 1;
        }
    }

    /// Status and first 64 KiB of the body of the answer that came last.
    pub fn last_answer(&self) -> Option<(u16, Bytes)> {
        lock(&self.0).last_answer.clone()
    }

    /// How many pushes were begun, accepted and given up so far.
    pub fn progress(&self) -> (u64, u64, u64) {
        let counts = lock(&self.0);
        (counts.pushes, counts.accepted, counts.given_up)
    }

    /// The account so far, of a run that has taken `duration`.
    pub fn summary(&self, duration: Duration) -> Summary {
        let (mut latencies, mut summary) = {
            let counts = lock(&self.0);
            let summary = Summary {
                pushes: counts.pushes,
                copies: counts.copies,
                cdrs: counts.cdrs,
                attempts: counts.answers.values().sum(),
                answers: counts.answers.iter().map(|(answer, count)| (answer.to_string(), *count)).collect(),
                accepted: counts.accepted,
                given_up: counts.given_up,
                unfinished: counts.pushes - counts.accepted - counts.given_up,
                latency: None,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            };
            (counts.latencies_micros.clone(), summary)
        };
        latencies.sort_unstable();
        summary.latency = percentiles(&latencies);
        summary
    }
}

/// By nearest rank, of latencies in rising order.
fn percentiles(micros: &[u32]) -> Option<Latency> {
    let rank = |percent: usize| {
        let position = (micros.len() * percent).div_ceil(100).saturating_sub(1);
        micros.get(position).map(|micros| f64::from(*micros) / 1000.0)
    };
    Some(Latency { p50_ms: rank(50)?, p99_ms: rank(99)?, max_ms: rank(100)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::body::Bytes;

    use super::{Answer, Latency, Tally, percentiles};

    #[test]
    fn percentiles_are_values_that_occurred() {
        let micros: Vec<u32> = (1..=200).map(|number| number * 1000).collect();
        assert_eq!(percentiles(&micros), Some(Latency { p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 }));
        assert_eq!(percentiles(&[7000]), Some(Latency { p50_ms: 7.0, p99_ms: 7.0, max_ms: 7.0 }));
        assert_eq!(percentiles(&[]), None);
    }

    #[test]
    fn a_summary_accounts_for_every_push() {
        let tally = Tally::default();
        for is_copy in [false, true, false] {
            tally.push_begun(50, is_copy);
        }
        tally.attempt_ended(Answer::NoConnection, Bytes::new(), Duration::from_millis(1));
        tally.attempt_ended(Answer::Status(204), Bytes::new(), Duration::from_millis(2));
        tally.push_ended(false);
        tally.attempt_ended(Answer::Status(200), Bytes::from("ok"), Duration::from_millis(4));
        tally.push_ended(true);
        let summary = tally.summary(Duration::from_secs(2));
        assert_eq!((summary.pushes, summary.copies, summary.cdrs, summary.attempts), (3, 1, 100, 3));
        assert_eq!((summary.accepted, summary.given_up, summary.unfinished), (1, 1, 1));
        assert!(!summary.all_accepted());
        assert_eq!(tally.last_answer(), Some((200, Bytes::from("ok"))));
        let text = summary.to_string();
        assert!(text.contains("answers   200: 1, 204: 1, no connection: 1"), "{text}");
    }
}
