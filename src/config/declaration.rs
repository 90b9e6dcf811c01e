//! The fields of the configuration: names, types, ranges, defaults, meanings.

use std::collections::HashSet;
use std::time::Duration;

use privatenumber_contract::{OnReplay, Private, WithoutBinding};

use super::fields::{Fields, TextRule, field};
use super::{Business, Businesses, Config, ConfigError, Envoy, HeadersMode, Limits, Store};
use super::{memory, rules};
use crate::authentication::{Application, Authenticator, Scheme, Secret};
use crate::callback::SigningSecret;

/// The whole configuration.
pub fn config<F: Fields>(fields: &mut F) -> Option<Config> {
    let revision = fields.optional_text(
        field(
            "revision",
            "Your own name for this configuration. It is logged when the configuration is taken, so that you can see which \
             one a worker runs; change it whenever an environment variable changes, or Envoy sees no difference.",
        ),
        rules::NOTE,
    );
    let push_path = fields.text_or(
        field(
            "push_path",
            "The path that Huawei pushes to. Requests to any other path pass through untouched; a query after the path is \
             ignored.",
        ),
        rules::PATH,
        "/huawei/fee",
    );
    let headers = fields.choice(
        field(
            "headers",
            "What happens to a push's headers until its body is known. `hold`: they wait, and the store never sees a push \
             that is refused; Envoy needs `allow_on_headers_stop_iteration: true` (Envoy 1.35 or later). Without it every push is \
             answered 503, and log and metrics say why. `pass`: they go ahead, for platforms that cannot set that flag; it makes no \
             difference there.",
        ),
        &[("hold", HeadersMode::Hold), ("pass", HeadersMode::Pass)],
    );
    let authentication = fields.section(
        field("authentication", "How pushes prove that they come from Huawei."),
        |fields| {
            let schemes = fields.choices(
                field(
                    "schemes",
                    "Accepted schemes: `aksk` is the header X-AKSK with HMAC-SHA256, `wsse` the older X-WSSE with SHA-256, \
                     which old applications may still receive.",
                ),
                &[("aksk", Scheme::Aksk), ("wsse", Scheme::Wsse)],
            );
            let window = fields.optional_integer(
                field(
                    "created_window_seconds",
                    "How far `Created` may be from Envoy's clock, either way. Off when left out, and best left off: \
                     whether Huawei repeats `Created` on a re-push is not known, and its sister product stamps it in Beijing \
                     time.",
                ),
                60..=86_400,
            );
            let replay = fields.choice(
                field(
                    "replay",
                    "What the store does with a push whose `Nonce` and `Created` came with other CDRs or events before. \
                     `report`: it records the calls, and counts, logs and lists the push (`GET /v1/replays`). `park`: it also \
                     parks those of its CDRs whose calls it does not have yet, so that they have no callback. It is not known \
                     whether Huawei regroups the CDRs of a repeated push under one nonce; take `park` once the list has stayed empty. \
                     The store remembers signatures for its `--replay-days`.",
                ),
                &[("report", OnReplay::Report), ("park", OnReplay::Park)],
            );
            Some((schemes?, window?.and_then(|seconds| u32::try_from(seconds).ok()), replay?))
        },
    );
    let applications = fields.sections(
        field("applications", "The Huawei applications whose pushes are accepted."),
        1..=1_000,
        application,
    );
    let store = fields.section(
        field(
            "store",
            "How the filter reaches the store, for claims and outcomes. In `headers: pass` the pushes themselves take Envoy's \
             route, which must lead to the same store; claims whose answer was missed go this way.",
        ),
        store,
    );
    let businesses = fields.sections(
        field("businesses", "The businesses and their preset callback addresses. A call whose `ak` is none of them is recorded and skipped."),
        0..=10_000,
        business,
    );
    let business_metrics = fields.choice(
        field(
            "business_metrics",
            "Whether `privatenumber_business_callbacks_total` counts the callbacks of each business. `auto`: with up to 200 businesses; \
             each has four counters in Envoy's statistics. They stay until Envoy is restarted, also of a business that is taken out.",
        ),
        &[("auto", None), ("on", Some(true)), ("off", Some(false))],
    );
    let limits = fields.section(field("limits", "What bounds the filter's memory, per Envoy worker thread."), limits);

    let envoy = fields.section(
        field(
            "envoy",
            "What Envoy has and is told elsewhere, so that the filter can check it. Nothing here changes Envoy. With all of it given, a \
             configuration is refused whose worst case takes more memory than there is.",
        ),
        envoy,
    );

    let (applications, businesses) = (applications?, businesses?);
    refuse_repeats(
        fields,
        "applications",
        "app_key",
        applications.iter().map(|application| application.app_key.as_str()),
    );
    refuse_repeats(fields, "businesses", "ak", businesses.iter().map(|business| business.ak.as_str()));
    let warnings = applications_of_nobody(&applications, &businesses);
    let (schemes, window, on_replay) = authentication?;
    let (store, limits, envoy) = (store?, limits?, envoy?);
    for (index, business) in businesses.iter().enumerate() {
        let longest_ms = longest_wait_ms(business);
        if longest_ms > store.claim_deadline_ms {
            let message = format!(
                "so many calls may take {} s to call back, by timeout_ms and concurrency or by rate, but claims last {} s \
                 (store.claim_deadline_seconds); lower it, or raise what makes it faster",
                longest_ms.div_ceil(1_000),
                store.claim_deadline_ms / 1_000,
            );
            let _: Option<()> = fields.refuse_at(&["businesses", &index.to_string(), "pending_calls"], &message);
        }
    }
    check_memory(fields, &envoy, &limits, &businesses);
    Some(Config {
        revision: revision?,
        push_path: push_path?,
        headers: headers?,
        authenticator: Authenticator::new(schemes, window, applications),
        on_replay,
        store,
        business_metrics: business_metrics?.unwrap_or(businesses.len() <= BUSINESS_METRICS_MOST),
        businesses: Businesses::new(businesses),
        limits,
        envoy,
        warnings,
    })
}

/// How many businesses have metrics of their own without anybody having asked for it.
const BUSINESS_METRICS_MOST: usize = 200;

/// How many warnings of one kind are given one by one.
const WARNINGS_MOST: usize = 10;

/// Warns of applications whose `ak` no business has: their calls without a binding are skipped, which a typing error would explain.
fn applications_of_nobody(applications: &[Application], businesses: &[Business]) -> Vec<ConfigError> {
    let known: HashSet<_> = businesses.iter().map(|business| business.ak.as_str()).collect();
    let is_known = |application: &&Application| application.ak.as_deref().is_none_or(|ak| known.contains(ak));
    let unknown: Vec<_> = applications
        .iter()
        .enumerate()
        .filter(|(_, application)| !is_known(application))
        .map(|(index, _)| index)
        .collect();
    let message = "no business has this ak; calls of this application without a binding are recorded and skipped";
    let mut warnings: Vec<_> = unknown
        .iter()
        .take(WARNINGS_MOST)
        .map(|index| ConfigError { path: format!("/applications/{index}/ak"), message: message.to_owned() })
        .collect();
    if let Some(more) = unknown.len().checked_sub(WARNINGS_MOST).filter(|more| *more > 0) {
        let message = format!("no business has the ak of {more} more applications");
        warnings.push(ConfigError { path: "/applications".to_owned(), message });
    }
    warnings
}

/// How long the last of the most calls that may be pending for a business waits and takes, milliseconds.
fn longest_wait_ms(business: &Business) -> u64 {
    let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let pending = whole(business.pending_calls);
    let timeout_ms = u64::try_from(business.timeout.as_millis()).unwrap_or(u64::MAX);
    let by_concurrency = pending.div_ceil(whole(business.concurrency).max(1)).saturating_mul(timeout_ms);
    let by_rate = business.rate.map_or(0, |rate| pending.saturating_mul(1_000) / u64::from(rate.max(1)));
    by_concurrency.max(by_rate)
}

/// Refuses an answer's limit that the store's answers exceed, and a worst case that exceeds the memory there is.
fn check_memory<F: Fields>(fields: &mut F, envoy: &Envoy, limits: &Limits, businesses: &[Business]) {
    let needed = memory::largest_answer_bytes(limits);
    if let Some(buffer) = envoy.response_buffer_bytes.filter(|buffer| *buffer < needed) {
        let message = format!(
            "is {buffer}, but the store's answer to one push may have {needed} bytes with this limits.max_body_bytes; Envoy would cut \
             it off"
        );
        let _: Option<()> = fields.refuse_at(&["envoy", "response_buffer_bytes"], &message);
    }
    if let (Some(workers), Some(memory)) = (envoy.workers, envoy.memory_bytes) {
        let buffer = envoy.response_buffer_bytes.unwrap_or(memory::ENVOYS_RESPONSE_BUFFER_BYTES);
        let worker = memory::of_worker(limits, businesses.iter(), buffer);
        let all = worker.saturating_mul(workers);
        if all > memory {
            let message = format!(
                "is {memory}, but {workers} workers may take {all} bytes, {worker} each; lower businesses[].concurrency, \
                 limits.pending_bytes or envoy.response_buffer_bytes (with Envoy's own setting), or give Envoy more"
            );
            let _: Option<()> = fields.refuse_at(&["envoy", "memory_bytes"], &message);
        }
    }
}

fn envoy<F: Fields>(fields: &mut F) -> Option<Envoy> {
    let workers = fields.optional_integer(field("workers", "Envoy's `--concurrency`."), 1..=1_024);
    let response_buffer_bytes = fields.optional_integer(
        field(
            "response_buffer_bytes",
            "Envoy's runtime value `http.async_response_buffer_limit` (`layered_runtime`), bytes: the largest answer of the store or of a \
             business that Envoy keeps for the filter. A call whose business answers more ends as `maybe_sent: truncated`. Left out, \
             Envoy's own default of 33,554,432 is reckoned with.",
        ),
        1_048_576..=33_554_432,
    );
    let memory_bytes = fields.optional_integer(
        field(
            "memory_bytes",
            "How much memory Envoy may take for pushes, calls and callbacks, bytes. What Envoy takes for itself and for connections comes on \
             top.",
        ),
        67_108_864..=1_099_511_627_776,
    );
    Some(Envoy { workers: workers?, response_buffer_bytes: response_buffer_bytes?, memory_bytes: memory_bytes? })
}

fn refuse_repeats<'a, F: Fields>(fields: &mut F, list: &str, name: &str, values: impl Iterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    let repeated: Vec<_> =
        values.enumerate().filter(|(_, value)| !seen.insert(*value)).map(|(index, _)| index).collect();
    for index in repeated {
        let _: Option<()> = fields.refuse_at(&[list, &index.to_string(), name], "stands in an earlier entry already");
    }
}

fn application<F: Fields>(fields: &mut F) -> Option<Application> {
    let app_key = fields.text(field("app_key", "The application's APP_Key."), rules::NAME);
    let ak = fields.optional_text(
        field(
            "ak",
            "The business that calls of this application belong to where there is no binding row. Left out, such calls are \
             recorded and skipped.",
        ),
        rules::NAME,
    );
    let secrets = fields.sections(
        field("secrets", "The application's APP_Secret; two while it is being changed. Any of them is accepted."),
        1..=2,
        |fields| secret(fields, rules::SECRET),
    );
    let without_binding = fields.choice_or(
        field(
            "without_binding",
            "What to do with a call that has no binding row. `deliver`: call back at once, with a record made of the CDR alone. \
             `skip`: record it, and do not call back. `hold_seconds: 60`: wait in the store for a late registration, so many seconds \
             at most, then call back.",
        ),
        &[("deliver", WithoutBinding::Deliver), ("skip", WithoutBinding::Skip)],
        hold,
    );
    let secrets = secrets?.iter().map(|secret| Secret::new(secret.expose().as_bytes())).collect();
    let mut application = Application::new(app_key?, ak?, secrets);
    application.without_binding = without_binding?;
    Some(application)
}

/// How long a call without a binding row waits for one.
fn hold<F: Fields>(fields: &mut F) -> Option<WithoutBinding> {
    let seconds = fields.optional_integer(
        field("hold_seconds", "How long a call without a binding row waits for a late registration, seconds."),
        1..=86_400,
    );
    fields.exactly_one(&["hold_seconds"])?;
    seconds?.and_then(|seconds| u32::try_from(seconds).ok()).map(WithoutBinding::Hold)
}

/// A secret, written down or from the environment.
fn secret<F: Fields>(fields: &mut F, rule: TextRule) -> Option<Private<String>> {
    let value = fields.optional_text(
        field("value", "The secret itself. It can then be read in Envoy's config dump; prefer `env`."),
        rule,
    );
    let variable = fields.optional_text(
        field("env", "The environment variable of the VM that holds the secret (`vm_config.environment_variables`)."),
        rules::VARIABLE,
    );
    fields.exactly_one(&["value", "env"])?;
    match (value?, variable?) {
        (Some(value), _) => Some(Private::new(value)),
        (None, Some(variable)) => {
            let value = fields.environment("env", &variable)?;
            if (rule.accepts)(&value) {
                Some(Private::new(value))
            } else {
                fields.refuse("env", format!("environment variable {variable} must hold {}", rule.description))
            }
        }
        (None, None) => None,
    }
}

fn store<F: Fields>(fields: &mut F) -> Option<Store> {
    let cluster = fields.text_or(field("cluster", "Envoy's name of the store's cluster."), rules::NAME, "store");
    let authority =
        fields.text_or(field("authority", "The `:authority` of requests to the store."), rules::AUTHORITY, "store");
    let timeout = fields.integer(
        field("timeout_ms", "How long one request that reports outcomes or takes works may take, milliseconds."),
        10..=60_000,
        5_000,
    );
    let push_timeout = fields.integer(
        field(
            "push_timeout_ms",
            "How long one request for claims may take, milliseconds. Well below `patience_ms`, so that a push is asked for a second \
             time before it is answered 503.",
        ),
        10..=30_000,
        1_500,
    );
    let patience = fields.integer(
        field(
            "patience_ms",
            "How long a complete push is held for the store's verdict before it is answered 503, milliseconds. The gateway goes on \
             asking. Keep it below Envoy's `stream_idle_timeout`.",
        ),
        100..=30_000,
        5_000,
    );
    let push_batch_size = fields.integer(
        field("push_batch_size", "How many pushes one request for claims carries at most."),
        1..=256,
        16,
    );
    let push_batch_delay = fields.integer(
        field("push_batch_delay_ms", "How long a push waits for others to be asked for with, milliseconds."),
        1..=1_000,
        2,
    );
    let token = fields
        .optional_section(field("token", "Bearer token for the store, where it was started with one."), |fields| {
            secret(fields, rules::SECRET)
        });
    let claim_deadline = fields.integer(
        field(
            "claim_deadline_seconds",
            "How long after the store granted its claim a call without an outcome reads as `unknown`, seconds. Longer than any callback may \
             wait and take; a later outcome still replaces `unknown`.",
        ),
        60..=86_400,
        900,
    );
    let batch_size = fields.integer(
        field("outcome_batch_size", "How many outcomes are reported in one request at most."),
        1..=1_000,
        100,
    );
    let batch_delay = fields.integer(
        field("outcome_batch_delay_ms", "How long an outcome waits for others to be reported with, milliseconds."),
        1..=10_000,
        5,
    );
    let retry_initial = fields.integer(
        field(
            "retry_initial_ms",
            "The pause before a request to the store is repeated, milliseconds. It doubles with each repeat.",
        ),
        10..=60_000,
        100,
    );
    let retry_max =
        fields.integer(field("retry_max_ms", "The longest such pause, milliseconds."), 10..=600_000, 10_000);
    let work_interval = fields.integer(
        field(
            "work_interval_ms",
            "How often an idle worker asks the store for calls that wait there (released by an operator, or held for a binding), \
             milliseconds. A busy worker asks as soon as an answer of the store says that some wait. 0: this gateway takes none. \
             Gateways of one store that do not have the same businesses: a call taken by one that does not know its business ends as \
             `skipped`, and can be released again.",
        ),
        0..=600_000,
        5_000,
    );
    let (retry_initial_ms, retry_max_ms) = (retry_initial?, retry_max?);
    if retry_initial_ms > retry_max_ms {
        return fields.refuse("retry_max_ms", "must not be below retry_initial_ms");
    }
    let (push_timeout, patience_ms) = (push_timeout?, patience?);
    if push_timeout >= patience_ms {
        return fields
            .refuse("push_timeout_ms", "must be below patience_ms, or a push is never asked for a second time");
    }
    Some(Store {
        cluster: cluster?.into(),
        authority: authority?.into(),
        timeout: Duration::from_millis(timeout?),
        authorization: token?.map(|token| Private::new(format!("Bearer {}", token.expose()).into())),
        push_timeout: Duration::from_millis(push_timeout),
        push_batch_size: usize::try_from(push_batch_size?).ok()?,
        push_batch_delay_ms: push_batch_delay?,
        patience_ms,
        claim_deadline_ms: claim_deadline?.saturating_mul(1_000),
        outcome_batch_size: usize::try_from(batch_size?).ok()?,
        outcome_batch_delay_ms: batch_delay?,
        retry_initial_ms,
        retry_max_ms,
        work_interval_ms: work_interval?,
    })
}

fn business<F: Fields>(fields: &mut F) -> Option<Business> {
    let ak = fields.text(field("ak", "The business's name in binding records (系统标识)."), rules::NAME);
    let cluster = fields.text(
        field(
            "cluster",
            "Envoy's full name of the business's cluster; under Istio e.g. `outbound|443||business.example.com`.",
        ),
        rules::NAME,
    );
    let authority = fields.text(field("authority", "The `:authority` of its callbacks."), rules::AUTHORITY);
    let path =
        fields.text(field("path", "The path of its preset callback address, with a query if need be."), rules::TARGET);
    let timeout = fields.integer(
        field(
            "timeout_ms",
            "How long one callback may take, milliseconds. What takes longer ends as `maybe_sent` and is not repeated.",
        ),
        1..=60_000,
        5_000,
    );
    let headers = fields.texts(
        field("headers", "Fixed headers of its callbacks, e.g. a tenant or an access token of its own."),
        rules::HEADER_NAME,
        rules::HEADER_VALUE,
    );
    let secrets = fields.sections(
        field(
            "signing_secrets",
            "What its callbacks are signed with (Standard Webhooks): `whsec_` and the Base64 of 24 to 64 bytes. With \
             several, each signs, so that a business can change its secret. Unsigned when left out.",
        ),
        0..=4,
        |fields| {
            let secret = secret(fields, rules::SIGNING_SECRET)?;
            match SigningSecret::parse(secret.expose()) {
                Ok(secret) => Some(secret),
                Err(reason) => fields.refuse("", reason.to_string()),
            }
        },
    );
    let concurrency = fields.integer(
        field(
            "concurrency",
            "How many of its callbacks may be under way at once, per worker; others wait. A merged push of 50 CDRs opens 50 connections at \
             once where the business speaks HTTP/1.1. Each holds up to `envoy.response_buffer_bytes` of its answer.",
        ),
        1..=100_000,
        100,
    );
    let rate = fields.optional_integer(
        field(
            "rate",
            "How many callbacks it is sent a second at most, per worker; others wait. A tenth of it, and at least one, may leave at once. \
             Not limited when left out.",
        ),
        1..=100_000,
    );
    let pending = fields.integer(
        field(
            "pending_calls",
            "How many of its calls may wait or be under way, per worker. A further one ends as `not_sent: queue_full` and can be released. So \
             does one of a business that holds more than half of this, or more than is left for all, once three quarters of \
             `limits.pending_calls` are taken by businesses. All of them must be called back within `store.claim_deadline_seconds`.",
        ),
        50..=1_000_000,
        4_000,
    );
    let headers = headers?.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    Some(Business {
        ak: ak?,
        cluster: cluster?.into(),
        authority: authority?.into(),
        path: path?.into(),
        timeout: Duration::from_millis(timeout?),
        headers,
        signing_secrets: secrets?,
        concurrency: usize::try_from(concurrency?).ok()?,
        rate: rate?.and_then(|rate| u32::try_from(rate).ok()),
        pending_calls: usize::try_from(pending?).ok()?,
    })
}

fn limits<F: Fields>(fields: &mut F) -> Option<Limits> {
    let max_body_bytes = fields.integer(
        field(
            "max_body_bytes",
            "The largest push body, bytes; a larger one is answered 413. Keep it below Envoy's \
             `per_connection_buffer_limit_bytes`, for HTTP/2 below `initial_stream_window_size`, and at most a fifth of the store's \
             `--body-bytes`, because a claim request carries the text and what is taken from it. Huawei needs about 110,000 at most.",
        ),
        1_024..=16_777_216,
        262_144,
    );
    let pending_calls = fields.integer(
        field(
            "pending_calls",
            "How many calls may be anywhere between their push and the store's receipt for their outcome, per worker. When \
             it is reached pushes are answered 503 and Huawei pushes again.",
        ),
        50..=1_000_000,
        10_000,
    );
    let pending_bytes = fields.integer(
        field(
            "pending_bytes",
            "How many bytes those calls and the pushes that are held may take, per worker; likewise. Pushes that have not arrived as a \
             whole may take half of it; beyond that the one unfinished longest is answered 408. At least 8 times `max_body_bytes`.",
        ),
        1_048_576..=1_073_741_824,
        67_108_864,
    );
    let (max_body_bytes, pending_bytes) = (max_body_bytes?, pending_bytes?);
    // Half is for unfinished pushes; a claim request holds the text once more, at most three times as large where it is escaped.
    if pending_bytes < max_body_bytes.saturating_mul(8) {
        return fields
            .refuse("pending_bytes", "must be at least 8 times max_body_bytes, or the largest push never fits");
    }
    Some(Limits {
        max_body_bytes: usize::try_from(max_body_bytes).ok()?,
        pending_calls: usize::try_from(pending_calls?).ok()?,
        pending_bytes: usize::try_from(pending_bytes).ok()?,
    })
}
