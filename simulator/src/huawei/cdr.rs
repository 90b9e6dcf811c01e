//! A CDR and a push of CDRs, as they stand on the wire in AX mode.

use privatenumber_contract::Private;
use serde::Serialize;

/// One element of `feeLst`, members in the order of Huawei's AX example; what is `None` is not on the wire.
///
/// All times are UTC, `yyyy-MM-dd HH:mm:ss`. All numbers are in global format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are Huawei's, under Huawei's names")]
pub struct Cdr {
    /// 0 somebody called A, 1 A called somebody, 2 abnormal (no binding).
    pub direction: u8,
    pub sp_id: String,
    pub app_key: String,
    pub icid: String,
    /// X.
    pub bind_num: Private<String>,
    pub session_id: Private<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    pub caller_num: Private<String>,
    pub callee_num: Private<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd_display_num: Option<Private<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd_dst_num: Option<Private<String>>,
    pub call_in_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd_start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd_alerting_time: Option<String>,
    /// Absent in a call that was not answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd_answer_time: Option<String>,
    pub call_end_time: String,
    /// Q.850 cause.
    pub fwd_unasw_rsn: u16,
    /// Huawei's release point; 0 hung up after answer.
    pub ul_fail_reason: u16,
    pub sip_status_code: u16,
    pub call_out_unasw_rsn: u16,
    pub record_flag: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_bucket_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_object_name: Option<String>,
    /// Given where the three members before are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_file_download_url: Option<Private<String>>,
    pub tts_play_times: u16,
    pub tts_trans_duration: u16,
    /// Equal to `subscriptionId` wherever it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mpty_id: Option<String>,
    pub service_type: String,
    pub host_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Private<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_time: Option<String>,
}

/// The body of a push that carries `cdrs`; Huawei never sends more than 50 at once.
///
/// # Errors
///
/// None that a [`Cdr`] can cause.
pub fn push_body(cdrs: &[Cdr]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        event_type: &'static str,
        fee_lst: &'a [Cdr],
    }
    serde_json::to_vec(&Body { event_type: "fee", fee_lst: cdrs })
}
