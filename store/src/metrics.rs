//! What the store counts. Every label takes its values from a closed set: nothing a client sends becomes a label.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use privatenumber_contract::{CallVerdict, OutcomeReport};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::database::{
    BindingDone, ImportDone, OutcomeResult, OutcomesDone, ParkedReleaseResult, PushDone, ReleaseResult, WaitingCalls,
    WorksDone, WriteError,
};

type Label = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// The store's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pushes: Family<Label, Counter>,
    batch_size: Histogram,
    calls: Family<Label, Counter>,
    parked: Family<Label, Counter>,
    events: Family<Label, Counter>,
    events_dropped: Counter,
    later_cdrs: Family<Label, Counter>,
    replays: Family<Label, Counter>,
    outcomes: Family<TwoLabels, Counter>,
    bindings: Family<Label, Counter>,
    skipped: Counter,
    releases: Family<Label, Counter>,
    parked_releases: Family<Label, Counter>,
    imports: Family<Label, Counter>,
    works_taken: Counter,
    works_waiting: Gauge,
    waiting: Family<Label, Gauge>,
    businesses_paused: Gauge,
    oldest_work_seconds: Gauge,
    commits: Family<Label, Counter>,
    abandoned: Counter,
    clock_ahead_seconds: Gauge<f64, AtomicU64>,
    clock_far_ahead: Counter,
    gateway_clock_offset_seconds: Gauge<f64, AtomicU64>,
    gateway_clock_difference_seconds: Histogram,
    group_size: Histogram,
    commit_seconds: Histogram,
    /// Works that wait for the writer.
    pub queue_depth: Gauge,
    /// Open connections.
    pub connections: Gauge,
    requests: Family<TwoLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("privatenumber_store"),
            pushes: Family::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            calls: Family::default(),
            parked: Family::default(),
            events: Family::default(),
            events_dropped: Counter::default(),
            later_cdrs: Family::default(),
            replays: Family::default(),
            outcomes: Family::default(),
            bindings: Family::default(),
            skipped: Counter::default(),
            releases: Family::default(),
            parked_releases: Family::default(),
            imports: Family::default(),
            works_taken: Counter::default(),
            works_waiting: Gauge::default(),
            waiting: Family::default(),
            businesses_paused: Gauge::default(),
            oldest_work_seconds: Gauge::default(),
            commits: Family::default(),
            abandoned: Counter::default(),
            clock_ahead_seconds: Gauge::default(),
            clock_far_ahead: Counter::default(),
            gateway_clock_offset_seconds: Gauge::default(),
            gateway_clock_difference_seconds: Histogram::new([
                0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 28_800.0, 86_400.0,
            ]),
            group_size: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            queue_depth: Gauge::default(),
            connections: Gauge::default(),
            requests: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("pushes", "Pushes by result, alone or in batches", self.pushes.clone());
        registry.register("push_batch_size", "Pushes of a batch", self.batch_size.clone());
        registry.register("calls", "Calls of committed pushes by verdict", self.calls.clone());
        registry.register(
            "parked",
            "CDRs that could not be used, by whether they were there already",
            self.parked.clone(),
        );
        registry.register("events", "Status events, by whether they were there already", self.events.clone());
        registry.register(
            "events_dropped",
            "Events that were dropped, oldest first, to keep within the budget",
            self.events_dropped.clone(),
        );
        registry.register(
            "later_cdrs",
            "CDRs of recorded calls that say something else, by whether they were kept",
            self.later_cdrs.clone(),
        );
        registry.register(
            "replays",
            "Pushes whose signature came with other texts before, by what became of their CDRs",
            self.replays.clone(),
        );
        registry.register("outcomes", "Reported outcomes by class and result", self.outcomes.clone());
        registry.register("bindings", "Registrations of bindings by result", self.bindings.clone());
        registry.register(
            "skipped",
            "Calls without a binding row that the store ended as skipped, as their application asks for",
            self.skipped.clone(),
        );
        registry.register("releases", "Calls that were to be released, by result", self.releases.clone());
        registry.register(
            "parked_releases",
            "Parked CDRs that were to be released, by result",
            self.parked_releases.clone(),
        );
        registry.register("imports", "CDRs that were to be imported, by result", self.imports.clone());
        registry.register("works_taken", "Works in the answers to workers", self.works_taken.clone());
        registry.register(
            "works_waiting",
            "Works that wait for a worker at the last commit, counted up to 1000",
            self.works_waiting.clone(),
        );
        registry.register(
            "calls_waiting",
            "Calls that wait for a worker to take them, by what for",
            self.waiting.clone(),
        );
        registry.register("businesses_paused", "Businesses that are paused", self.businesses_paused.clone());
        registry.register(
            "oldest_work_seconds",
            "How long the work that is due longest waits for a worker",
            self.oldest_work_seconds.clone(),
        );
        registry.register("commits", "Transactions of the writer by result", self.commits.clone());
        registry.register(
            "abandoned",
            "Works nobody waited for any more when their turn came: not committed",
            self.abandoned.clone(),
        );
        registry.register(
            "clock_ahead_seconds",
            "How far the store's clock is ahead of its machine's, which was set back",
            self.clock_ahead_seconds.clone(),
        );
        registry.register(
            "clock_far_ahead",
            "Times the store's clock came to be more than a minute ahead of its machine's",
            self.clock_far_ahead.clone(),
        );
        registry.register(
            "gateway_clock_offset_seconds",
            "A gateway's clock less that of the store's machine, at the last push that told it",
            self.gateway_clock_offset_seconds.clone(),
        );
        registry.register(
            "gateway_clock_difference_seconds",
            "Between a gateway's clock and that of the store's machine, whichever is ahead, for each push that told it",
            self.gateway_clock_difference_seconds.clone(),
        );
        registry.register("group_size", "Works that were committed together", self.group_size.clone());
        registry.register("commit_seconds", "Time from taking a group to its commit", self.commit_seconds.clone());
        registry.register("queue_depth", "Works that wait for the writer", self.queue_depth.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("http_requests", "Requests by route and class of status", self.requests.clone());
    }

    /// All metrics as Prometheus text.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A push was committed.
    pub fn push_committed(&self, done: &PushDone) {
        count(&self.pushes, "result", "committed", 1);
        for call in &done.calls {
            let verdict = match call.verdict {
                CallVerdict::Claimed => "claimed",
                CallVerdict::Duplicate => "duplicate",
                CallVerdict::Parked => "parked",
                CallVerdict::Held => "held",
                CallVerdict::Erased => "erased",
            };
            count(&self.calls, "verdict", verdict, 1);
        }
        self.skipped.inc_by(done.skipped);
        self.set_works_waiting(done.works_waiting);
        count(&self.parked, "result", "new", done.parked_new);
        count(&self.parked, "result", "repeated", done.parked_repeated);
        match done.event_new {
            Some(true) => count(&self.events, "result", "new", 1),
            Some(false) => count(&self.events, "result", "repeated", 1),
            None => {}
        }
        // Most pushes bring none; a family is looked up under a lock.
        if done.later_cdrs_kept > 0 {
            count(&self.later_cdrs, "result", "kept", done.later_cdrs_kept);
        }
        if done.later_cdrs_not_kept > 0 {
            count(&self.later_cdrs, "result", "not_kept", done.later_cdrs_not_kept);
        }
        if let Some(replay) = done.replay.filter(|replay| replay.new) {
            count(&self.replays, "cdrs", if replay.parked { "parked" } else { "recorded" }, 1);
        }
    }

    /// So many events were dropped to keep within the budget.
    pub fn events_dropped(&self, events: u64) {
        self.events_dropped.inc_by(events);
    }

    /// Calls were to be released.
    pub fn calls_released(&self, results: &[ReleaseResult]) {
        for result in results {
            let result = match result {
                ReleaseResult::Released => "released",
                ReleaseResult::AlreadyReleased => "already_released",
                ReleaseResult::Refused(_) => "refused",
            };
            count(&self.releases, "result", result, 1);
        }
    }

    /// A parked CDR was to be released.
    pub fn parked_released(&self, result: &ParkedReleaseResult) {
        let result = match result {
            ParkedReleaseResult::Released { .. } => "released",
            ParkedReleaseResult::AlreadyReleased { .. } => "already_released",
            ParkedReleaseResult::CallExists { .. } | ParkedReleaseResult::NotParked => "refused",
        };
        count(&self.parked_releases, "result", result, 1);
    }

    /// CDRs were imported.
    pub fn calls_imported(&self, done: &[ImportDone]) {
        for done in done {
            let result = match done {
                ImportDone::Imported => "imported",
                ImportDone::AlreadyThere => "already_there",
                ImportDone::NobodyToCallBack => "unusable",
            };
            count(&self.imports, "result", result, 1);
        }
    }

    /// So many CDRs were to be imported and cannot be read.
    pub fn imports_unreadable(&self, cdrs: u64) {
        count(&self.imports, "result", "unusable", cdrs);
    }

    /// A worker was granted works.
    pub fn works_taken(&self, done: &WorksDone) {
        self.set_works_waiting(done.works_waiting);
        self.works_taken.inc_by(done.calls.len() as u64);
    }

    /// How many works waited for a worker at the last commit.
    pub fn works_waiting(&self) -> u64 {
        u64::try_from(self.works_waiting.get()).unwrap_or_default()
    }

    fn set_works_waiting(&self, works: u64) {
        self.works_waiting.set(i64::try_from(works).unwrap_or(i64::MAX));
    }

    /// So many calls wait.
    pub fn set_waiting(&self, waiting: &WaitingCalls) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.businesses_paused.set(gauge(waiting.paused_businesses));
        let waits = [("binding", waiting.binding), ("released", waiting.released), ("paused", waiting.paused)];
        for (what, number) in waits {
            self.waiting.get_or_create(&[("waits_for", what)]).set(gauge(number));
        }
        self.oldest_work_seconds.set(gauge(waiting.oldest_due_ms / 1000));
    }

    /// A batch of so many pushes came; so many of them do not keep the contract.
    pub fn batch_came(&self, pushes: usize, invalid: usize) {
        self.batch_size.observe(pushes as f64);
        count(&self.pushes, "result", "invalid", invalid as u64);
    }

    /// A push was not committed.
    pub fn push_failed(&self, error: &WriteError) {
        count(&self.pushes, "result", error_label(error), 1);
    }

    /// A batch of outcomes was committed.
    pub fn outcomes_committed(&self, reports: &[OutcomeReport], done: &OutcomesDone) {
        self.set_works_waiting(done.answer.works_waiting);
        for (report, result) in reports.iter().zip(&done.results) {
            let class = report.outcome.state().as_str();
            let result = match result {
                OutcomeResult::Recorded => "recorded",
                OutcomeResult::Repeated => "repeated",
                OutcomeResult::Refused => "refused",
            };
            self.outcomes.get_or_create(&[("class", class), ("result", result)]).inc();
        }
    }

    /// A binding was registered.
    pub fn binding_committed(&self, done: &BindingDone) {
        let result = match (done.created, done.changed) {
            (true, _) => "created",
            (false, true) => "changed",
            (false, false) => "unchanged",
        };
        count(&self.bindings, "result", result, 1);
    }

    /// The writer has dealt with a group.
    pub fn group_done(&self, works: usize, took: Duration, error: Option<&WriteError>) {
        self.group_size.observe(works as f64);
        self.commit_seconds.observe(took.as_secs_f64());
        count(&self.commits, "result", error.map_or("committed", error_label), 1);
    }

    /// So many works were left, because nobody waited for them any more.
    pub fn abandoned(&self, works: usize) {
        self.abandoned.inc_by(works as u64);
    }

    /// The store's clock is so far ahead of its machine's, milliseconds.
    pub fn set_clock_ahead(&self, ahead_ms: i64) {
        self.clock_ahead_seconds.set(seconds(ahead_ms));
    }

    /// The store's clock came to be more than a minute ahead of its machine's.
    pub fn clock_far_ahead(&self) {
        self.clock_far_ahead.inc();
    }

    /// A gateway's clock showed so much more than that of the store's machine, milliseconds.
    pub fn gateway_clock(&self, offset_ms: i64) {
        self.gateway_clock_offset_seconds.set(seconds(offset_ms));
        self.gateway_clock_difference_seconds.observe(seconds(offset_ms).abs());
    }

    /// A request was answered.
    pub fn request_answered(&self, route: &'static str, status: StatusCode) {
        let class = match status.as_u16() {
            200..=299 => "2xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        };
        self.requests.get_or_create(&[("route", route), ("status", class)]).inc();
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn count(family: &Family<Label, Counter>, label: &'static str, value: &'static str, by: u64) {
    family.get_or_create(&[(label, value)]).inc_by(by);
}

fn error_label(error: &WriteError) -> &'static str {
    match error {
        WriteError::Unavailable(_) => "unavailable",
        WriteError::Refused(_) => "refused",
        WriteError::Unknown(_) => "unknown",
    }
}
