//! The closed set of metrics, and what each event adds to them.
//!
//! Labels are part of the name (`.answer.recorded`), because the host knows none; `stats_tags` in `envoy.yaml` makes labels
//! of them. No name is ever made of what somebody sent: those of businesses are made of the configuration.

use privatenumber_cdr::Field;
use privatenumber_contract::{NotSent, Outcome};

use crate::config::Business;
use crate::dispatcher::{Gauges, Refusal};
use crate::journal::{self, Event};
use crate::reply::ReplyKind;

macro_rules! closed_set {
    ($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $set { $($(#[$doc])* $name,)* }

        impl $set {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in Envoy's statistics, after `wasmcustom.`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

closed_set! {
    /// What only grows.
    Counter {
        /// Pushes answered 200.
        PushesRecorded = "privatenumber_pushes_total.answer.recorded",
        /// Pushes answered 405.
        PushesMethodNotAllowed = "privatenumber_pushes_total.answer.method_not_allowed",
        /// Pushes answered 413.
        PushesTooLarge = "privatenumber_pushes_total.answer.too_large",
        /// Pushes answered 415.
        PushesUnsupportedMediaType = "privatenumber_pushes_total.answer.unsupported_media_type",
        /// Pushes answered 401.
        PushesUnauthorized = "privatenumber_pushes_total.answer.unauthorized",
        /// Pushes answered 400.
        PushesInvalid = "privatenumber_pushes_total.answer.invalid",
        /// Pushes answered 503 because the store did not commit.
        PushesStoreUnavailable = "privatenumber_pushes_total.answer.store_unavailable",
        /// Pushes answered 503 because of our own limits.
        PushesBusy = "privatenumber_pushes_total.answer.busy",
        /// Pushes answered 408 because others needed their room.
        PushesGaveWay = "privatenumber_pushes_total.answer.gave_way",
        /// Pushes answered 503 because Envoy withholds their bodies.
        PushesFlagMissing = "privatenumber_pushes_total.answer.flag_missing",
        /// CDRs whose claim this gateway holds.
        CdrsClaimed = "privatenumber_cdrs_total.verdict.claimed",
        /// CDRs that were there already.
        CdrsDuplicate = "privatenumber_cdrs_total.verdict.duplicate",
        /// CDRs that could not be used.
        CdrsParked = "privatenumber_cdrs_total.verdict.parked",
        /// CDRs whose call waits in the store.
        CdrsHeld = "privatenumber_cdrs_total.verdict.held",
        /// CDRs whose call was erased before its callback.
        CdrsErased = "privatenumber_cdrs_total.verdict.erased",
        /// CDRs with the text of an earlier one of the same call and push.
        CdrsRepeated = "privatenumber_cdrs_repeated_total",
        /// CDRs whose `direction` could not be used.
        WarningsDirection = "privatenumber_cdr_warnings_total.field.direction",
        /// CDRs whose `bindNum` could not be used.
        WarningsBindNum = "privatenumber_cdr_warnings_total.field.bind_num",
        /// CDRs whose `callerNum` could not be used.
        WarningsCallerNum = "privatenumber_cdr_warnings_total.field.caller_num",
        /// CDRs whose `fwdDstNum` could not be used.
        WarningsFwdDstNum = "privatenumber_cdr_warnings_total.field.fwd_dst_num",
        /// CDRs whose `callInTime` could not be used.
        WarningsCallInTime = "privatenumber_cdr_warnings_total.field.call_in_time",
        /// CDRs whose `fwdStartTime` could not be used.
        WarningsFwdStartTime = "privatenumber_cdr_warnings_total.field.fwd_start_time",
        /// CDRs whose `fwdAnswerTime` could not be used.
        WarningsFwdAnswerTime = "privatenumber_cdr_warnings_total.field.fwd_answer_time",
        /// CDRs whose `callEndTime` could not be used.
        WarningsCallEndTime = "privatenumber_cdr_warnings_total.field.call_end_time",
        /// CDRs whose `failTime` could not be used.
        WarningsFailTime = "privatenumber_cdr_warnings_total.field.fail_time",
        /// CDRs whose `recordFlag` could not be used.
        WarningsRecordFlag = "privatenumber_cdr_warnings_total.field.record_flag",
        /// CDRs whose `recordFileDownloadUrl` could not be used.
        WarningsRecordFileDownloadUrl = "privatenumber_cdr_warnings_total.field.record_file_download_url",
        /// CDRs whose `userData` could not be used.
        WarningsUserData = "privatenumber_cdr_warnings_total.field.user_data",
        /// Callbacks that got a reply with a 2xx status.
        CallbacksDelivered = "privatenumber_callbacks_total.outcome.delivered",
        /// Callbacks that got a reply with any other status.
        CallbacksRejected = "privatenumber_callbacks_total.outcome.rejected",
        /// Callbacks that certainly never left.
        CallbacksNotSent = "privatenumber_callbacks_total.outcome.not_sent",
        /// Callbacks without an answer.
        CallbacksMaybeSent = "privatenumber_callbacks_total.outcome.maybe_sent",
        /// Calls with nobody to call back.
        CallbacksSkipped = "privatenumber_callbacks_total.outcome.skipped",
        /// Times Envoy refused a callback for want of its cluster.
        RefusedNoCluster = "privatenumber_dispatches_refused_total.reason.no_cluster",
        /// Times Envoy refused a callback for want of a healthy host.
        RefusedNoHealthyHost = "privatenumber_dispatches_refused_total.reason.no_healthy_host",
        /// Times a push's answer from the store was missed.
        ClaimsMissed = "privatenumber_claims_missed_total",
        /// Calls that waited in the store and that this gateway took, to call back.
        WorksTaken = "privatenumber_works_taken_total",
        /// Times the store's answer to a request for such calls was missed.
        WorksMissed = "privatenumber_works_missed_total",
        /// Pushes that were dropped before they were asked for, because their senders had left and others needed the room.
        AbandonedDropped = "privatenumber_abandoned_dropped_total",
        /// Pushes whose missed answer the root got in the end.
        ClaimsRecovered = "privatenumber_claims_recovered_total",
        /// Pushes the store refused for good.
        PushesRejected = "privatenumber_store_rejections_total.request.push",
        /// Outcomes the store refused for good.
        OutcomesRejected = "privatenumber_store_rejections_total.request.outcome",
        /// Outcomes the store has.
        OutcomesReported = "privatenumber_outcomes_reported_total",
        /// Times the store did not take outcomes.
        OutcomesDelayed = "privatenumber_outcomes_delayed_total",
    }
}

closed_set! {
    /// What goes up and down.
    Gauge {
        /// Callbacks under way.
        CallbacksInFlight = "privatenumber_callbacks_in_flight",
        /// Claimed calls whose callback has yet to leave.
        CallbackQueue = "privatenumber_callback_queue",
        /// Outcomes the store has yet to take.
        OutcomeBacklog = "privatenumber_outcome_backlog",
        /// Pushes that wait for the store's verdict.
        ClaimsOutstanding = "privatenumber_claims_outstanding",
        /// Pushes that are held until they are complete and answered.
        PushesHeld = "privatenumber_pushes_held",
        /// Calls anywhere between their push and the store's receipt for their outcome.
        PendingCalls = "privatenumber_pending_calls",
        /// What those calls hold, and pushes that are held.
        PendingBytes = "privatenumber_pending_bytes",
    }
}

closed_set! {
    /// What is distributed.
    Histogram {
        /// From dispatch to answer of a callback.
        CallbackDuration = "privatenumber_callback_duration_ms",
        /// From asking to the answer of the store.
        StoreDuration = "privatenumber_store_duration_ms",
        /// Pushes that the store was asked for together.
        BatchSize = "privatenumber_push_batch_size",
    }
}

/// What is moved by a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Only upwards.
    Counter(Counter),
    /// Either way.
    Gauge(Gauge),
    /// Only upwards: callbacks of one business.
    Business {
        /// Its number in the configuration.
        business: usize,
        /// One of [`CALLBACKS`].
        counter: Counter,
    },
}

/// The counters that there are for each business as well.
pub const CALLBACKS: [Counter; 4] =
    [Counter::CallbacksDelivered, Counter::CallbacksRejected, Counter::CallbacksNotSent, Counter::CallbacksMaybeSent];

/// The name of the counter of `business` that stands beside `counter`, one of [`CALLBACKS`].
///
/// It is a metric of its own: a sum over all label values of one that had both would count everything twice.
pub fn business_name(counter: Counter, business: &Business) -> String {
    let labels = counter.name().trim_start_matches(|letter: char| letter != '.');
    let (ak, cluster) = (label(&business.ak), label(&business.cluster));
    format!("privatenumber_business_callbacks_total{labels}.ak.{ak}.cluster.{cluster}")
}

/// A configured name as a label: whatever is not an ASCII letter, digit, `-` or `_` becomes `_`, because a dot ends a label and
/// statistics sinks read `:` and `|` their own way.
fn label(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' }).collect()
}

/// The business whose callback ended with `event`, and the place among [`CALLBACKS`] of what counts it.
pub fn of_business(event: &Event) -> Option<(usize, usize)> {
    let Event::CallbackFinished { business: Some(business), outcome, .. } = event else { return None };
    let counter = of_outcome(*outcome);
    Some((*business, CALLBACKS.iter().position(|known| *known == counter)?))
}

/// Digits by which a commit is named in a label; the log has all of them.
const COMMIT_DIGITS: usize = 12;

/// The name of the gauge that is always 1 and says which build this is, as [`Event::Configured`] does in the log.
///
/// The version keeps its dots: `stats_tags` read it up to `.commit.`.
pub fn build_info() -> String {
    let (version, commit, profile) = (env!("CARGO_PKG_VERSION"), shortened(journal::COMMIT), journal::PROFILE);
    format!("privatenumber_build_info.version.{version}.commit.{commit}.profile.{profile}")
}

/// A full commit id by its first digits, with what is added to it (`-dirty`); whatever else names a commit, as it is.
fn shortened(commit: &str) -> String {
    let added = commit.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
    match commit.len() - added.len() {
        40.. => format!("{commit:.COMMIT_DIGITS$}{added}"),
        _ => commit.to_owned(),
    }
}

/// The value of `gauge` among `gauges`.
pub fn gauge(gauge: Gauge, gauges: &Gauges) -> usize {
    match gauge {
        Gauge::CallbacksInFlight => gauges.callbacks_in_flight,
        Gauge::CallbackQueue => gauges.callback_queue,
        Gauge::OutcomeBacklog => gauges.outcome_backlog,
        Gauge::ClaimsOutstanding => gauges.claims_outstanding,
        Gauge::PushesHeld => gauges.pushes_held,
        Gauge::PendingCalls => gauges.pending_calls,
        Gauge::PendingBytes => gauges.pending_bytes,
    }
}

/// Counts `event`: `count` is called with each counter and what to add, `observe` with each histogram and a value.
pub fn count(event: &Event, mut count: impl FnMut(Counter, u64), mut observe: impl FnMut(Histogram, u64)) {
    match event {
        Event::PushAnswered { answer, .. } => count(of_reply(*answer), 1),
        Event::PushCommitted { claimed, duplicate, parked, held, erased, asked_again, .. } => {
            let verdicts = [
                (Counter::CdrsClaimed, *claimed),
                (Counter::CdrsDuplicate, *duplicate),
                (Counter::CdrsParked, *parked),
                (Counter::CdrsHeld, *held),
                (Counter::CdrsErased, *erased),
            ];
            for (counter, number) in verdicts {
                if number > 0 {
                    count(counter, number as u64);
                }
            }
            if *asked_again {
                count(Counter::ClaimsRecovered, 1);
            }
        }
        Event::CdrWarnings { fields, .. } => {
            for warning in fields {
                count(of_field(warning.field), warning.cdrs as u64);
            }
        }
        Event::CdrsRepeated { count: number, .. } => count(Counter::CdrsRepeated, *number as u64),
        Event::BatchAnswered { pushes, duration_ms } => {
            observe(Histogram::StoreDuration, *duration_ms);
            observe(Histogram::BatchSize, *pushes as u64);
        }
        Event::PushRejected { .. } => count(Counter::PushesRejected, 1),
        Event::ClaimsMissed { pushes, .. } => count(Counter::ClaimsMissed, *pushes as u64),
        Event::WorksTaken { calls, duration_ms, .. } => {
            count(Counter::WorksTaken, *calls as u64);
            observe(Histogram::StoreDuration, *duration_ms);
        }
        Event::WorksMissed { .. } => count(Counter::WorksMissed, 1),
        Event::AbandonedDropped { pushes } => count(Counter::AbandonedDropped, *pushes as u64),
        Event::CallbackFinished { outcome, duration_ms, .. } => {
            count(of_outcome(*outcome), 1);
            if let Some(duration) = duration_ms {
                observe(Histogram::CallbackDuration, *duration);
            }
        }
        Event::CallbackRefused { reason, .. } => count(of_refusal(*reason), 1),
        Event::OutcomesReported { count: number, duration_ms } => {
            count(Counter::OutcomesReported, *number as u64);
            observe(Histogram::StoreDuration, *duration_ms);
        }
        Event::OutcomesDelayed { .. } => count(Counter::OutcomesDelayed, 1),
        Event::OutcomesRejected { count: number, .. } => count(Counter::OutcomesRejected, *number as u64),
        Event::Configured { .. }
        | Event::ConfigurationWarning { .. }
        | Event::BatchesUnknown
        | Event::WorksUnknown
        | Event::Draining { .. }
        | Event::Drained => {}
    }
}

fn of_reply(answer: ReplyKind) -> Counter {
    match answer {
        ReplyKind::Recorded => Counter::PushesRecorded,
        ReplyKind::MethodNotAllowed => Counter::PushesMethodNotAllowed,
        ReplyKind::TooLarge => Counter::PushesTooLarge,
        ReplyKind::UnsupportedMediaType => Counter::PushesUnsupportedMediaType,
        ReplyKind::Unauthorized => Counter::PushesUnauthorized,
        ReplyKind::Invalid => Counter::PushesInvalid,
        ReplyKind::StoreUnavailable => Counter::PushesStoreUnavailable,
        ReplyKind::Busy => Counter::PushesBusy,
        ReplyKind::GaveWay => Counter::PushesGaveWay,
        ReplyKind::FlagMissing => Counter::PushesFlagMissing,
    }
}

fn of_field(field: Field) -> Counter {
    match field {
        Field::Direction => Counter::WarningsDirection,
        Field::BindNum => Counter::WarningsBindNum,
        Field::CallerNum => Counter::WarningsCallerNum,
        Field::FwdDstNum => Counter::WarningsFwdDstNum,
        Field::CallInTime => Counter::WarningsCallInTime,
        Field::FwdStartTime => Counter::WarningsFwdStartTime,
        Field::FwdAnswerTime => Counter::WarningsFwdAnswerTime,
        Field::CallEndTime => Counter::WarningsCallEndTime,
        Field::FailTime => Counter::WarningsFailTime,
        Field::RecordFlag => Counter::WarningsRecordFlag,
        Field::RecordFileDownloadUrl => Counter::WarningsRecordFileDownloadUrl,
        Field::UserData => Counter::WarningsUserData,
    }
}

fn of_outcome(outcome: Outcome) -> Counter {
    match outcome {
        Outcome::Delivered { .. } => Counter::CallbacksDelivered,
        Outcome::Rejected { .. } => Counter::CallbacksRejected,
        Outcome::NotSent { .. } => Counter::CallbacksNotSent,
        Outcome::MaybeSent { .. } => Counter::CallbacksMaybeSent,
        Outcome::Skipped { .. } => Counter::CallbacksSkipped,
    }
}

fn of_refusal(refusal: Refusal) -> Counter {
    match refusal.not_sent() {
        NotSent::NoCluster => Counter::RefusedNoCluster,
        _ => Counter::RefusedNoHealthyHost,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CALLBACKS, Counter, Gauge, Histogram, build_info, business_name, shortened};
    use crate::config::Business;

    const OPERATIONS: [&str; 2] = [include_str!("../docs/operations.md"), include_str!("../docs/operations.zh-CN.md")];

    #[test]
    fn the_build_is_in_the_name_as_it_is_in_the_log() {
        let version = env!("CARGO_PKG_VERSION");
        let (commit, profile) = (crate::journal::COMMIT, crate::journal::PROFILE);
        assert_eq!(
            build_info(),
            format!("privatenumber_build_info.version.{version}.commit.{}.profile.{profile}", shortened(commit))
        );
    }

    fn business(ak: &str, cluster: &str) -> Business {
        Business {
            ak: ak.to_owned(),
            cluster: cluster.into(),
            authority: "business.example.com".into(),
            path: "/".into(),
            timeout: Duration::from_secs(1),
            headers: Vec::new(),
            signing_secrets: Vec::new(),
            concurrency: 1,
            rate: None,
            pending_calls: 1,
        }
    }

    #[test]
    fn a_business_is_a_label_whatever_its_name_holds() {
        let name = business_name(CALLBACKS[0], &business("A.b:c|d-e_f", "outbound|443||business.example.com"));
        let expected = "privatenumber_business_callbacks_total.outcome.delivered\
                        .ak.A_b_c_d-e_f.cluster.outbound_443__business_example_com";
        assert_eq!(name, expected);
    }

    #[test]
    fn a_commit_is_named_by_its_first_digits_and_what_is_added() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(shortened(id), "0123456789ab");
        assert_eq!(shortened(&format!("{id}-dirty")), "0123456789ab-dirty");
        assert_eq!(shortened(&id.repeat(2)), "0123456789ab");
        for other in ["unknown", "", "0123456789ab", "release-0.1.0", "é"] {
            assert_eq!(shortened(other), other);
        }
    }

    #[test]
    fn every_metric_stands_in_the_tables_of_operations() {
        let build_info = build_info();
        let counters = Counter::ALL.iter().map(|counter| counter.name());
        let gauges = Gauge::ALL.iter().map(|gauge| gauge.name());
        let histograms = Histogram::ALL.iter().map(|histogram| histogram.name());
        let of_business = CALLBACKS.map(|counter| format!("{}.ak.cluster", business_name(counter, &business("", ""))));
        let of_business = of_business.each_ref().map(|name| name.replace("..", "."));
        let of_business = of_business.iter().map(|name| name.trim_end_matches('.'));
        for name in counters.chain(gauges).chain(histograms).chain(of_business).chain([build_info.as_str()]) {
            let mut parts = name.split('.');
            let metric = parts.next().unwrap();
            // Of the build only the labels are in the tables, not what they say.
            let labels: Vec<_> =
                if name == build_info { vec!["version", "commit", "profile"] } else { parts.collect() };
            for text in OPERATIONS {
                for word in labels.iter().chain([&metric]) {
                    assert!(text.contains(&format!("`{word}`")), "`{word}` of {name} is in no table");
                }
            }
        }
    }
}
