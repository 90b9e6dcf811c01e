//! How a record is made from a CDR and a binding row.

use privatenumber_contract::{Binding, CallReport, Private, Record};

/// The record of a call without a binding row: everything there is comes from the CDR. `updatedAt` is still `null`.
pub fn from_report(report: &CallReport<'_>) -> Record {
    let private = |value: &Option<Private<std::borrow::Cow<'_, str>>>| {
        value.as_ref().map(|value| Private::new(value.expose().clone().into_owned()))
    };
    let text = |value: &Option<std::borrow::Cow<'_, str>>| value.as_ref().map(|value| value.clone().into_owned());
    Record {
        ak: text(&report.ak),
        orig_num: private(&report.orig_num),
        private_num: private(&report.private_num),
        record_flag: report.record_flag,
        user_data: private(&report.user_data),
        subscription_id: text(&report.subscription_id),
        session_id: Some(Private::new(report.session_id.expose().clone().into_owned())),
        callin_time: report.callin_time,
        answer_time: report.answer_time,
        disconnect_time: report.disconnect_time,
        record_url: private(&report.record_url),
        ..Record::default()
    }
}

/// The record of a call whose binding row is known: everything but the call's own fields comes from the row.
pub fn with_binding(call: &Record, binding: &Binding) -> Record {
    Record {
        id: binding.id,
        ak: binding.ak.clone(),
        orig_num: binding.orig_num.clone(),
        private_num: binding.private_num.clone(),
        record_flag: binding.record_flag,
        record_hint_tone: binding.record_hint_tone.clone(),
        max_duration: binding.max_duration,
        last_min_voice: binding.last_min_voice.clone(),
        user_data: binding.user_data.clone(),
        call_direction: binding.call_direction,
        subscription_id: call.subscription_id.clone(),
        status: binding.status,
        business_type: binding.business_type.clone(),
        bind_response: binding.bind_response.clone(),
        unbind_response: binding.unbind_response.clone(),
        binding_duration: binding.binding_duration,
        bind_time: binding.bind_time,
        unbind_time: binding.unbind_time,
        session_id: call.session_id.clone(),
        callin_time: call.callin_time,
        answer_time: call.answer_time,
        disconnect_time: call.disconnect_time,
        record_url: call.record_url.clone(),
        created_at: binding.created_at,
        updated_at: call.updated_at,
        remark: binding.remark.clone(),
    }
}
