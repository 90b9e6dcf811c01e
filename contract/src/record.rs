use serde::{Deserialize, Serialize};

use crate::Private;

/// The binding record: the body of the one callback, 26 members, always all of them and in this order.
///
/// The rule is the interface the businesses already have (in the README as "The record"). An absent value is `null`.
/// `bindResponse` and `unbindResponse` are strings that hold JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Primary key of the binding row, as the binding service registered it.
    pub id: Option<i64>,
    /// Which business system the binding belongs to.
    pub ak: Option<String>,
    /// The real number A.
    pub orig_num: Option<Private<String>>,
    /// The privacy number X.
    pub private_num: Option<Private<String>>,
    /// Whether calls over this binding are recorded.
    pub record_flag: Option<bool>,
    /// Announcement played before recording.
    pub record_hint_tone: Option<String>,
    /// Longest call in minutes, 0 to 1440; 0 is no limit.
    pub max_duration: Option<i64>,
    /// Announcement played one minute before the limit.
    pub last_min_voice: Option<String>,
    /// The business's own text, given at binding.
    pub user_data: Option<Private<String>>,
    /// 0 both ways, 1 only A calls X, 2 only others call X.
    pub call_direction: Option<i64>,
    /// The binding's id at Huawei.
    pub subscription_id: Option<String>,
    /// -1 binding failed, 0 unbound, 1 bound.
    pub status: Option<i64>,
    /// Reserved for the business.
    pub business_type: Option<String>,
    /// Huawei's answer to the binding request: JSON in a string.
    pub bind_response: Option<Private<String>>,
    /// Huawei's answer to the unbinding request: JSON in a string.
    pub unbind_response: Option<Private<String>>,
    /// How long the binding was meant to last, in minutes.
    pub binding_duration: Option<i64>,
    /// When it was bound, epoch milliseconds.
    pub bind_time: Option<i64>,
    /// When it was unbound, epoch milliseconds.
    pub unbind_time: Option<i64>,
    /// The call's id at Huawei; may contain phone numbers.
    pub session_id: Option<Private<String>>,
    /// When the call came in, epoch milliseconds.
    pub callin_time: Option<i64>,
    /// When it was answered, epoch milliseconds; `null` for a call that was not.
    pub answer_time: Option<i64>,
    /// When it ended, epoch milliseconds.
    pub disconnect_time: Option<i64>,
    /// Where the recording can be fetched.
    pub record_url: Option<Private<String>>,
    /// When the binding row was made, epoch milliseconds.
    pub created_at: Option<i64>,
    /// When the store committed this call, epoch milliseconds.
    pub updated_at: Option<i64>,
    /// Free text of the binding service.
    pub remark: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Record;

    /// Order and names of the README's table "The record".
    const FIELDS: [&str; 26] = [
        "id",
        "ak",
        "origNum",
        "privateNum",
        "recordFlag",
        "recordHintTone",
        "maxDuration",
        "lastMinVoice",
        "userData",
        "callDirection",
        "subscriptionId",
        "status",
        "businessType",
        "bindResponse",
        "unbindResponse",
        "bindingDuration",
        "bindTime",
        "unbindTime",
        "sessionId",
        "callinTime",
        "answerTime",
        "disconnectTime",
        "recordUrl",
        "createdAt",
        "updatedAt",
        "remark",
    ];

    #[test]
    fn the_record_has_all_26_fields_in_order_and_null_where_absent() {
        let expected = FIELDS.map(|field| format!("\"{field}\":null")).join(",");
        assert_eq!(serde_json::to_string(&Record::default()).unwrap(), format!("{{{expected}}}"));
    }

    #[test]
    fn the_record_round_trips_the_example_of_the_interface() {
        let example = r#"{"id":1,"ak":"AC5A23CF0E42435C9FF52E401EE897BC","origNum":"+8617010000011","privateNum":"+8617010000001","recordFlag":false,"recordHintTone":null,"maxDuration":60,"lastMinVoice":null,"userData":"1499268874687315968","callDirection":0,"subscriptionId":"11111111-2222-4333-8444-555555555501","status":1,"businessType":null,"bindResponse":"{\"resultcode\":\"0\"}","unbindResponse":null,"bindingDuration":5,"bindTime":1646288530000,"unbindTime":null,"sessionId":null,"callinTime":null,"answerTime":null,"disconnectTime":null,"recordUrl":null,"createdAt":1646288530000,"updatedAt":1646288530000,"remark":null}"#;
        let record: Record = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), example);
    }
}
