//! The body of a push, and what the store is told of each CDR.

use std::borrow::Cow;

use privatenumber_contract::limits::PUSH_CDRS;
use privatenumber_contract::{CallReport, CdrText, Private};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::PrimitiveDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

use crate::answer::Refusal;

/// How long after the store granted it a claim without an outcome reads as `unknown`, milliseconds.
const TTL_MS: u32 = 15 * 60 * 1000;
/// A CDR time, UTC.
const MOMENT: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// A text that borrows from the body where it can, also inside an `Option`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow)]
    event_type: Text<'a>,
    /// Each as it came, because the store keeps the text.
    #[serde(borrow)]
    fee_lst: Vec<&'a RawValue>,
}

/// What is used of a CDR, under Huawei's names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cdr<'a> {
    direction: u8,
    #[serde(borrow)]
    sp_id: Text<'a>,
    #[serde(borrow)]
    app_key: Text<'a>,
    #[serde(borrow)]
    icid: Option<Text<'a>>,
    #[serde(borrow)]
    bind_num: Text<'a>,
    #[serde(borrow)]
    session_id: Text<'a>,
    #[serde(borrow)]
    subscription_id: Option<Text<'a>>,
    #[serde(borrow)]
    caller_num: Option<Text<'a>>,
    #[serde(borrow)]
    fwd_dst_num: Option<Text<'a>>,
    #[serde(borrow)]
    call_in_time: Option<Text<'a>>,
    #[serde(borrow)]
    fwd_start_time: Option<Text<'a>>,
    #[serde(borrow)]
    fwd_answer_time: Option<Text<'a>>,
    #[serde(borrow)]
    call_end_time: Option<Text<'a>>,
    #[serde(borrow)]
    fail_time: Option<Text<'a>>,
    record_flag: Option<u8>,
    #[serde(borrow)]
    record_file_download_url: Option<Text<'a>>,
    #[serde(borrow)]
    user_data: Option<Text<'a>>,
}

/// The calls of a push of `app_key`. `ak`: the business of calls without a binding. `now_ms`: epoch milliseconds.
pub fn read<'a>(body: &'a [u8], app_key: &str, ak: &'a str, now_ms: i64) -> Result<Vec<CallReport<'a>>, Refusal> {
    // serde's own message may hold a value of the body.
    let Body { event_type, fee_lst } = serde_json::from_slice(body).map_err(|error| {
        Refusal::Invalid(format!("not a push of CDRs: error at line {}, column {}", error.line(), error.column()))
    })?;
    if event_type.0 != "fee" {
        return Err(Refusal::Invalid("/eventType: expected \"fee\"".to_owned()));
    }
    if fee_lst.is_empty() || fee_lst.len() > PUSH_CDRS {
        return Err(Refusal::Invalid(format!("/feeLst: must be an array of 1 to {PUSH_CDRS} CDRs")));
    }
    fee_lst
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            let wrong = |what: &str| Refusal::Invalid(format!("/feeLst/{index}{what}: missing or not acceptable"));
            let cdr: Cdr<'a> = serde_json::from_str(text.get()).map_err(|_| wrong(""))?;
            cdr.report(text, app_key, ak, now_ms).map_err(|field| wrong(&format!("/{field}")))
        })
        .collect()
}

impl<'a> Cdr<'a> {
    /// The name of the field that is wrong as the error.
    fn report(
        self,
        text_as_it_came: &'a RawValue,
        app_key: &str,
        ak: &'a str,
        now_ms: i64,
    ) -> Result<CallReport<'a>, &'static str> {
        mandatory("spId", &self.sp_id)?;
        mandatory("sessionId", &self.session_id)?;
        mandatory("bindNum", &self.bind_num)?;
        if self.app_key.0 != app_key {
            return Err("appKey");
        }
        let orig_num = match self.direction {
            0 => text(self.fwd_dst_num),
            1 => text(self.caller_num),
            2 => None,
            _ => return Err("direction"),
        };
        let call_in_time = moment("callInTime", self.call_in_time)?;
        let fwd_start_time = moment("fwdStartTime", self.fwd_start_time)?;
        let call_end_time = moment("callEndTime", self.call_end_time)?;
        let fail_time = moment("failTime", self.fail_time)?;
        Ok(CallReport {
            app_key: self.app_key.0,
            session_id: Private::new(self.session_id.0),
            icid: text(self.icid).unwrap_or_default(),
            claim_deadline: now_ms.saturating_add(TTL_MS.into()),
            ttl_ms: Some(TTL_MS.into()),
            callin_time: call_in_time.or(fwd_start_time),
            answer_time: moment("fwdAnswerTime", self.fwd_answer_time)?,
            disconnect_time: call_end_time.or(fail_time),
            record_url: text(self.record_file_download_url).map(Private::new),
            subscription_id: text(self.subscription_id),
            private_num: Some(Private::new(self.bind_num.0)),
            orig_num: orig_num.map(Private::new),
            user_data: text(self.user_data).map(Private::new),
            ak: Some(Cow::Borrowed(ak)),
            record_flag: match self.record_flag {
                None => None,
                Some(0) => Some(false),
                Some(1) => Some(true),
                Some(_) => return Err("recordFlag"),
            },
            cdr: Some(CdrText::Json(text_as_it_came)),
            warnings: Vec::new(),
        })
    }
}

fn mandatory(name: &'static str, value: &Text<'_>) -> Result<(), &'static str> {
    if value.0.is_empty() { Err(name) } else { Ok(()) }
}

/// "" is Huawei's other way to leave a field out.
fn text(value: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    value.map(|text| text.0).filter(|text| !text.is_empty())
}

/// Epoch milliseconds.
fn moment(name: &'static str, value: Option<Text<'_>>) -> Result<Option<i64>, &'static str> {
    let Some(text) = text(value) else { return Ok(None) };
    let moment = PrimitiveDateTime::parse(&text, MOMENT).map_err(|_| name)?;
    Ok(Some(moment.as_utc().unix_timestamp() * 1000))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::read;

    const APP_KEY: &str = "demoAppKey000000000000000001";

    #[test]
    fn a_push_of_three_is_read_without_copying_its_texts() {
        let body = include_bytes!("../../../../tests/samples/ax-fee-batch-3-mixed.json");
        let calls = read(body, APP_KEY, "AK", 900_000).unwrap();
        assert_eq!(calls.len(), 3);
        assert!(matches!(calls[0].session_id.expose(), Cow::Borrowed(_)));
        assert!(matches!(calls[0].subscription_id, Some(Cow::Borrowed(_))));
        assert_eq!(calls[0].orig_num.as_ref().unwrap().expose(), "+8617010000011", "A called");
        assert_eq!(calls[1].orig_num.as_ref().unwrap().expose(), "+8617010000011", "A was called");
        assert_eq!((calls[0].callin_time, calls[0].answer_time), (Some(1_767_580_203_000), Some(1_767_580_206_000)));
        assert_eq!((calls[1].answer_time, calls[0].record_flag), (None, Some(true)));
        let text = str::from_utf8(calls[2].cdr.as_ref().unwrap().as_bytes()).unwrap();
        assert!(text.starts_with("{\n") && str::from_utf8(body).unwrap().contains(text), "the CDR's text is verbatim");
    }

    #[test]
    fn what_is_not_a_push_of_this_application_is_refused() {
        let good = include_str!("../../../../tests/samples/ax-fee-a-calling-answered-recorded.json");
        assert!(read(good.as_bytes(), APP_KEY, "AK", 0).is_ok());
        assert!(read(good.as_bytes(), "anotherAppKey", "AK", 0).is_err());
        for (from, to) in [
            (r#""fee""#, r#""callin""#),
            (r#""sessionId""#, r#""session""#),
            (r#""direction": 1"#, r#""direction": 3"#),
            ("2026-01-05 02:30:03", "yesterday"),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(read(good.replace(from, to).as_bytes(), APP_KEY, "AK", 0).is_err(), "{from}");
        }
        for empty in ["", "{}", r#"{"eventType":"fee"}"#, r#"{"eventType":"fee","feeLst":[]}"#] {
            assert!(read(empty.as_bytes(), APP_KEY, "AK", 0).is_err(), "{empty}");
        }
    }
}
