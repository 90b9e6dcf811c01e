//! From a CDR to what the record takes of it. The rule is the table "The record" of the README.

use privatenumber_contract::{CallReport, CdrText, Private};

use crate::fee_info::{Cdr, Direction};

/// `ak`: the configuration's for the CDR's application. `claim_deadline`: epoch milliseconds; `ttl_ms`: milliseconds. `text`: all of
/// the CDR.
pub(super) fn reshape<'a>(
    cdr: Cdr<'a>,
    ak: Option<&'a str>,
    claim_deadline: i64,
    ttl_ms: u64,
    text: CdrText<'a>,
) -> CallReport<'a> {
    let orig_num = match cdr.direction {
        Direction::ToA => cdr.fwd_dst_num,
        Direction::FromA => cdr.caller_num,
        Direction::Abnormal => None,
    };
    CallReport {
        app_key: cdr.app_key,
        session_id: Private::new(cdr.session_id),
        icid: cdr.icid,
        claim_deadline,
        callin_time: cdr.call_in_time.or(cdr.fwd_start_time),
        // Answered or not is told by this time alone: the cause codes contradict it in real CDRs.
        answer_time: cdr.fwd_answer_time,
        disconnect_time: cdr.call_end_time.or(cdr.fail_time),
        record_url: cdr.record_file_download_url.map(Private::new),
        subscription_id: cdr.subscription_id,
        private_num: cdr.bind_num.map(Private::new),
        orig_num: orig_num.map(Private::new),
        user_data: cdr.user_data.map(Private::new),
        ak: ak.map(Into::into),
        record_flag: cdr.record_flag,
        ttl_ms: Some(ttl_ms),
        cdr: Some(text),
        warnings: cdr.warnings,
    }
}
