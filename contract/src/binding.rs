use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Private;

/// A binding row A↔X as the binding service registers it: `PUT /v1/bindings/{subscriptionId}`.
///
/// What is absent is `null` in the record. Registering the same `subscriptionId` again replaces the row; earlier versions
/// are kept as history, and an unbound row stays, because CDRs may come hours after unbinding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Binding {
    /// Primary key of the row in the binding service.
    pub id: Option<i64>,
    /// Which business system the binding belongs to: decides whose callback address is called.
    pub ak: Option<String>,
    /// The real number A, global format.
    pub orig_num: Option<Private<String>>,
    /// The privacy number X, global format.
    pub private_num: Option<Private<String>>,
    /// Whether calls over this binding are recorded. Also read from the texts "true" and "false", as Huawei's binding interface
    /// has them.
    #[serde(deserialize_with = "flag")]
    pub record_flag: Option<bool>,
    /// Announcement played before recording.
    pub record_hint_tone: Option<String>,
    /// Longest call in minutes, 0 to 1440; 0 is no limit.
    pub max_duration: Option<i64>,
    /// Announcement played one minute before the limit.
    pub last_min_voice: Option<String>,
    /// The business's own text.
    pub user_data: Option<Private<String>>,
    /// 0 both ways, 1 only A calls X, 2 only others call X.
    pub call_direction: Option<i64>,
    /// The binding's id at Huawei. May be left out; when given it must equal the one in the path.
    pub subscription_id: Option<String>,
    /// -1 binding failed, 0 unbound, 1 bound.
    pub status: Option<i64>,
    /// Reserved for the business.
    pub business_type: Option<String>,
    /// Huawei's answer to the binding request: JSON in a string.
    pub bind_response: Option<Private<String>>,
    /// Huawei's answer to the unbinding request: JSON in a string.
    pub unbind_response: Option<Private<String>>,
    /// How long the binding is meant to last, in minutes.
    pub binding_duration: Option<i64>,
    /// When it was bound, epoch milliseconds.
    pub bind_time: Option<i64>,
    /// When it was unbound, epoch milliseconds.
    pub unbind_time: Option<i64>,
    /// When the row was made, epoch milliseconds.
    pub created_at: Option<i64>,
    /// Free text.
    pub remark: Option<String>,
}

/// A boolean, also as text.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Flag;
    impl Visitor<'_> for Flag {
        type Value = Option<bool>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a boolean")
        }

        fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
            Ok(Some(flag))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(Some).map_err(|_| E::invalid_value(Unexpected::Other("a text"), &self))
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Flag)
}

/// A binding as the store keeps it: `GET /v1/bindings/{subscriptionId}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredBinding {
    /// Counts the registrations of this `subscriptionId`, from 1.
    pub version: i64,
    /// When the store committed this version, epoch milliseconds.
    pub registered_at: i64,
    /// The row itself.
    pub binding: Binding,
    /// Earlier versions, newest first; only with `?history=true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RegisteredBinding>,
}
