//! `POST /v1/calls:release` and `POST /v1/parked/{number}:release`: for operators.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_cdr::read_cdr;
use privatenumber_contract::{
    CallState, ParkedReleaseAnswer, ParkedReleaseRequest, RefusedRelease, ReleaseAnswer, ReleaseFilter, ReleaseRequest,
    is_hex, limits,
};

use super::body::{JsonBody, check_text, invalid};
use super::problem::{Kind, Refusal};
use super::query::Parameters;
use super::{App, json};
use crate::database::{
    CallFilter, NewCall, NotKept, NotReleasable, ParkedReleaseResult, ParkedReleaseWork, ReleaseResult, ReleaseWork,
};

/// How the last part of the path of a parked CDR's release ends.
pub(super) const RELEASE: &str = ":release";

pub(super) async fn calls(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    Parameters::read(query.as_deref(), &[])?;
    let body = JsonBody::read(request, &app.body_limits).await?;
    let ReleaseRequest { call_ids, filter, ak } = body.parse()?;
    check_text("ak", ak.as_deref())?;
    let call_ids = match (call_ids, filter) {
        (Some(call_ids), None) => checked(call_ids)?,
        (None, Some(filter)) => matching(&app, &filter).await?,
        _ => return Err(invalid("`.`: give either `callIds` or `filter`".to_owned())),
    };
    let results = if call_ids.is_empty() {
        Vec::new()
    } else {
        app.writer.release(ReleaseWork { call_ids: call_ids.clone(), ak }, body.into_share()).await?
    };
    let count = |wanted| results.iter().filter(|result| **result == wanted).count() as u64;
    let (released, already_released) = (count(ReleaseResult::Released), count(ReleaseResult::AlreadyReleased));
    let refused: Vec<(&str, Refusal)> = call_ids
        .iter()
        .zip(&results)
        .filter_map(|(call_id, result)| match result {
            ReleaseResult::Refused(why) => Some((call_id.as_str(), refusal(*why))),
            ReleaseResult::Released | ReleaseResult::AlreadyReleased => None,
        })
        .collect();
    let refused = refused.iter().filter_map(|(call_id, refusal)| {
        Some(RefusedRelease { call_id: (*call_id).into(), problem: refusal.document()? })
    });
    json(StatusCode::OK, &ReleaseAnswer { released, already_released, refused: refused.collect() })
}

/// The ids as they were given, each once.
fn checked(call_ids: Vec<String>) -> Result<Vec<String>, Refusal> {
    let (length, most) = (call_ids.len(), limits::RELEASES);
    if length > most {
        return Err(invalid(format!("`callIds`: has {length} entries, may have {most}; split the request")));
    }
    if let Some(index) = call_ids.iter().position(|id| !is_hex(id)) {
        return Err(invalid(format!("`callIds[{index}]`: not the id of a call, which is 32 lower-case hex digits")));
    }
    let mut seen = HashSet::with_capacity(length);
    Ok(call_ids.into_iter().filter(|id| seen.insert(id.clone())).collect())
}

/// The calls that a filter finds. Between this and the release others may change them: they are judged again there.
async fn matching(app: &App, filter: &ReleaseFilter) -> Result<Vec<String>, Refusal> {
    let not_releasable = match filter.state {
        CallState::NotSent | CallState::Skipped => None,
        CallState::Pending => Some(NotReleasable::Pending),
        CallState::Delivered => Some(NotReleasable::Delivered),
        CallState::Rejected => Some(NotReleasable::Rejected),
        CallState::MaybeSent => Some(NotReleasable::MaybeSent),
        CallState::Unknown => Some(NotReleasable::Unknown),
        CallState::Waiting => Some(NotReleasable::WaitsForBinding),
    };
    if let Some(why) = not_releasable {
        return Err(refusal(why));
    }
    let ReleaseFilter { state, ak, subscription_id, app_key, from, to, most } = filter;
    if !(1..=limits::RELEASES).contains(&(*most as usize)) {
        return Err(invalid(format!("`filter.most`: has to be from 1 to {}", limits::RELEASES)));
    }
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(invalid(
            "`filter.to`: not after `from`; calls from `from` up to but without `to` are meant".into(),
        ));
    }
    let texts = [("filter.ak", ak), ("filter.subscriptionId", subscription_id), ("filter.appKey", app_key)];
    for (name, text) in texts {
        check_text(name, text.as_deref())?;
    }
    let filter = CallFilter {
        states: vec![*state],
        ak: ak.clone(),
        subscription_id: subscription_id.clone(),
        app_key: app_key.clone(),
        from: *from,
        to: *to,
    };
    Ok(app.database.releasable(&filter, *most, app.clock.now_ms()).await?)
}

/// Why a call is not released: its state, and what to do instead.
fn refusal(why: NotReleasable) -> Refusal {
    let detail = match why {
        NotReleasable::NoSuchCall => {
            return Refusal::new(Kind::NotFound, "there is no call of this id; GET /v1/calls lists those there are");
        }
        NotReleasable::WaitsForBinding => {
            "the call is `waiting`: a worker takes it by itself from `wait.due` on. If it waits for its binding, register that with \
             PUT /v1/bindings/{subscriptionId}"
        }
        NotReleasable::Paused => {
            "the call is `waiting` because its business is paused: it becomes work when POST /v1/businesses/{ak}:resume resumes it"
        }
        NotReleasable::Pending => {
            "the call is `pending`: a gateway holds its claim and calls back. Wait until its outcome is reported"
        }
        NotReleasable::Unknown => {
            "the call is `unknown`: its callback may have reached the business, and a second one could be a repetition. The business \
             looks whether it has the `webhook-id`; if not, it takes the record from GET /v1/calls/{callId}"
        }
        NotReleasable::Delivered => {
            "the call is `delivered`: the business has had its callback. It can take the record from GET /v1/calls/{callId}"
        }
        NotReleasable::Rejected => {
            "the call is `rejected`: a reply came with the status in `outcome.status`, and nobody can tell whether the business or a \
             proxy before it replied, so a second callback could be a repetition. The business looks whether it has the `webhook-id`; \
             if not, it takes the record from GET /v1/calls/{callId}"
        }
        NotReleasable::MaybeSent => {
            "the call is `maybe_sent`: its callback may have reached the business, and a second one could be a repetition. The \
             business looks whether it has the `webhook-id`; if not, it takes the record from GET /v1/calls/{callId}"
        }
        NotReleasable::Erased => {
            "the call is `not_sent` because its data was erased: there is nothing left to call back with"
        }
    };
    Refusal::new(Kind::NotReleasable, detail)
}

pub(super) async fn parked(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let number = path.ok().and_then(|Path(last)| last.strip_suffix(RELEASE)?.parse::<i64>().ok());
    Parameters::read(query.as_deref(), &[])?;
    let body = JsonBody::read(request, &app.body_limits).await?;
    let ParkedReleaseRequest { cdr, ak } = body.parse()?;
    check_text("ak", ak.as_deref())?;
    let kept = match number {
        Some(number) => app.database.parked_text(number).await?.map(|kept| (number, kept)),
        None => None,
    };
    let Some((number, kept)) = kept else { return Err(not_parked()) };
    if let Some(call_id) = kept.call_id {
        return json(StatusCode::OK, &ParkedReleaseAnswer { call_id, already_released: true });
    }
    let corrected = cdr.is_some();
    let bytes = cdr.as_ref().map_or(kept.bytes.expose().as_slice(), |cdr| cdr.as_bytes());
    let report = read_cdr(bytes, &kept.app_key, ak.as_deref().or(kept.ak.as_deref()), 0);
    let call = match report {
        Ok(report) => NewCall::of_cdr(&report).map_err(|NotKept(why)| unusable(corrected, &why))?,
        Err(why) => return Err(unusable(corrected, &why.to_string())),
    };
    let work = ParkedReleaseWork { number, received_at: kept.received_at, call: Box::new(call) };
    let answer = |call_id, already_released| json(StatusCode::OK, &ParkedReleaseAnswer { call_id, already_released });
    match app.writer.release_parked(work, body.into_share()).await? {
        ParkedReleaseResult::Released { call_id } => answer(call_id, false),
        ParkedReleaseResult::AlreadyReleased { call_id } => answer(call_id, true),
        ParkedReleaseResult::CallExists { call_id } => Err(Refusal::new(
            Kind::NotReleasable,
            format!("another CDR brought this call already: {call_id}. GET /v1/calls/{call_id} shows where it stands"),
        )),
        ParkedReleaseResult::NotParked => Err(not_parked()),
    }
}

fn not_parked() -> Refusal {
    Refusal::new(Kind::NotFound, "there is no parked CDR of this number; GET /v1/parked lists those there are")
}

/// The CDR cannot be used; `why` follows its JSON pointer and holds no value.
fn unusable(corrected: bool, why: &str) -> Refusal {
    if corrected {
        return invalid(format!("`cdr`: cannot be used: CDR{why}"));
    }
    let detail =
        format!("the kept CDR cannot be used with the rules of today either: CDR{why}. Give a corrected `cdr`");
    Refusal::new(Kind::NotReleasable, detail)
}
