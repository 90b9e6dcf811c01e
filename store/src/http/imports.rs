//! `POST /v1/cdrs:import`: CDRs that no push brought, for operators.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use privatenumber_cdr::{Unusable, read_cdr};
use privatenumber_contract::{CdrText, ImportAnswer, ImportRequest, ImportResult, Private, limits};
use serde_json::value::RawValue;

use super::body::{JsonBody, check_text, invalid};
use super::problem::Refusal;
use super::query::Parameters;
use super::{App, json};
use crate::database::{ImportDone, ImportWork, NewCall, NotKept};

/// Why a call that is to be released is not imported.
const NOBODY_TO_CALL_BACK: &str = "/subscriptionId: no binding row says whose the call is, so nobody can be called back; give `ak`, register the binding, or \
                                   import without `release`";

pub(super) async fn cdrs(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    Parameters::read(query.as_deref(), &[])?;
    let body = JsonBody::read(request, &app.body_limits).await?;
    let ImportRequest { app_key, ak, release, cdrs } = body.parse()?;
    check_text("appKey", app_key.as_deref())?;
    check_text("ak", ak.as_deref())?;
    if cdrs.len() > limits::IMPORT_CDRS {
        let (length, most) = (cdrs.len(), limits::IMPORT_CDRS);
        return Err(invalid(format!("`cdrs`: has {length} entries, may have {most}; split the import")));
    }
    let (mut calls, mut read) = (Vec::with_capacity(cdrs.len()), Vec::with_capacity(cdrs.len()));
    for cdr in &cdrs {
        read.push(call(cdr, app_key.as_deref(), ak.as_deref()).map(|call| {
            let call_id = call.call_id.clone();
            calls.push(call);
            call_id
        }));
    }
    drop(cdrs);
    app.metrics.imports_unreadable(read.len().saturating_sub(calls.len()) as u64);
    let done = if calls.is_empty() {
        Vec::new()
    } else {
        app.writer.import(ImportWork { calls, release }, body.into_share()).await?
    };
    let mut done = done.into_iter();
    let results = read.into_iter().map(|read| match read {
        Err(reason) => Ok(ImportResult::Unusable { reason: reason.into() }),
        Ok(call_id) => {
            let call_id = Cow::Owned(call_id);
            match done.next() {
                Some(ImportDone::Imported) => Ok(ImportResult::Imported { call_id }),
                Some(ImportDone::AlreadyThere) => Ok(ImportResult::AlreadyThere { call_id }),
                Some(ImportDone::NobodyToCallBack) => Ok(ImportResult::Unusable { reason: NOBODY_TO_CALL_BACK.into() }),
                None => Err(Refusal::Unknown),
            }
        }
    });
    json(StatusCode::OK, &ImportAnswer { cdrs: results.collect::<Result<_, _>>()? })
}

/// The call of a CDR, or a JSON pointer and why it cannot be used.
fn call(cdr: &CdrText<'_>, app_key: Option<&str>, ak: Option<&str>) -> Result<NewCall, String> {
    let bytes = cdr.as_bytes();
    // A CDR with bytes that are not UTF-8 is read by `read_cdr` alone, and is one of `app_key` then.
    let members: Option<HashMap<Cow<'_, str>, &RawValue>> = serde_json::from_slice(bytes).ok();
    let own = members.as_ref().and_then(|members| members.get("appKey"));
    let own = own.map(|value| serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned()));
    let (Some(application), is_named) = (app_key.or(own.as_deref()), own.is_some()) else {
        return Err("/appKey: missing; say with `appKey` whose CDRs these are".to_owned());
    };
    let completed = match members {
        Some(members) if !is_named && !members.is_empty() => Some(with_app_key(bytes, application)),
        _ => None,
    };
    let report = read_cdr(completed.as_deref().unwrap_or(bytes), application, ak, 0).map_err(|why| match why {
        Unusable::ForeignApplication => {
            "/appKey: not the application that `appKey` of the request names; import its CDRs by a request of their own"
                .to_owned()
        }
        why => why.to_string(),
    })?;
    let call = NewCall::of_cdr(&report).map_err(|NotKept(reason)| reason)?;
    // What is kept is what was imported.
    Ok(NewCall { cdr: Some(Private::new(bytes.to_vec())), ..call })
}

/// The object with `appKey` as its first member. `object` has others.
fn with_app_key(object: &[u8], app_key: &str) -> Vec<u8> {
    let start = object.iter().position(|byte| *byte == b'{').map_or(0, |place| place.saturating_add(1));
    // A text can always be written as JSON.
    let app_key = serde_json::to_string(app_key).unwrap_or_default();
    let (head, rest) = object.split_at_checked(start).unwrap_or((object, b""));
    [head, b"\"appKey\":", app_key.as_bytes(), b",", rest].concat()
}
