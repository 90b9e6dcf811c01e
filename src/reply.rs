//! The reply to Huawei: one place for the table "Answers to Huawei" of the README.

use std::borrow::Cow;

use privatenumber_cdr::InvalidPush;
use serde::Serialize;

use crate::authentication::Refusal;

/// A reply to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Every CDR is recorded or parked, durably.
    Recorded,
    /// Not POST.
    MethodNotAllowed,
    /// The body is larger than the limit, bytes.
    TooLarge(usize),
    /// Not a JSON content type.
    UnsupportedMediaType,
    /// Not signed by an application that may push.
    Unauthorized(Refusal),
    /// The body is not a push.
    Invalid(InvalidPush),
    /// The store did not say that it has the push.
    StoreUnavailable,
    /// As many calls are pending, or as many bytes are held, as the configuration allows.
    Busy,
    /// The push was unfinished for long, and others needed its room.
    GaveWay,
    /// Envoy has the body and does not show it: `allow_on_headers_stop_iteration` is not set.
    FlagMissing,
}

/// The body of every reply: Huawei's own result form; for errors with a JSON pointer and a reason, never with a value.
#[derive(Serialize)]
struct Body<'a> {
    resultcode: String,
    resultdesc: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

impl Reply {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Recorded => 200,
            Self::Invalid(_) => 400,
            Self::Unauthorized(_) => 401,
            Self::MethodNotAllowed => 405,
            Self::GaveWay => 408,
            Self::TooLarge(_) => 413,
            Self::UnsupportedMediaType => 415,
            Self::StoreUnavailable | Self::Busy | Self::FlagMissing => 503,
        }
    }

    /// The kind of reply, as metrics and logs call it.
    pub fn kind(&self) -> ReplyKind {
        match self {
            Self::Recorded => ReplyKind::Recorded,
            Self::MethodNotAllowed => ReplyKind::MethodNotAllowed,
            Self::TooLarge(_) => ReplyKind::TooLarge,
            Self::UnsupportedMediaType => ReplyKind::UnsupportedMediaType,
            Self::Unauthorized(_) => ReplyKind::Unauthorized,
            Self::Invalid(_) => ReplyKind::Invalid,
            Self::StoreUnavailable => ReplyKind::StoreUnavailable,
            Self::Busy => ReplyKind::Busy,
            Self::GaveWay => ReplyKind::GaveWay,
            Self::FlagMissing => ReplyKind::FlagMissing,
        }
    }

    /// What Envoy's access log shows as `%RESPONSE_CODE_DETAILS%`.
    pub fn details(&self) -> &'static str {
        match self.kind() {
            ReplyKind::Recorded => "private_number_gateway:recorded",
            ReplyKind::MethodNotAllowed => "private_number_gateway:method_not_allowed",
            ReplyKind::TooLarge => "private_number_gateway:too_large",
            ReplyKind::UnsupportedMediaType => "private_number_gateway:unsupported_media_type",
            ReplyKind::Unauthorized => "private_number_gateway:unauthorized",
            ReplyKind::Invalid => "private_number_gateway:invalid",
            ReplyKind::StoreUnavailable => "private_number_gateway:store_unavailable",
            ReplyKind::Busy => "private_number_gateway:busy",
            ReplyKind::GaveWay => "private_number_gateway:gave_way",
            ReplyKind::FlagMissing => "private_number_gateway:flag_missing",
        }
    }

    /// Headers beside `content-type`, which is always `application/json`.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("allow", "POST")],
            Self::Unauthorized(_) => {
                &[("www-authenticate", r#"AKSK realm="SDP",profile="UsernameToken",type="Appkey""#)]
            }
            Self::StoreUnavailable | Self::Busy | Self::FlagMissing => &[("retry-after", "60")],
            _ => &[],
        }
    }

    /// Why, for whoever reads the reply or the log; `None` for a success. Never holds a value of the push.
    pub fn reason(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Recorded => None,
            Self::MethodNotAllowed => Some("pushes are POST requests".into()),
            Self::TooLarge(limit) => Some(format!("the body is larger than {limit} bytes").into()),
            Self::UnsupportedMediaType => Some("the content type is not application/json".into()),
            Self::Unauthorized(refusal) => Some(refusal.to_string().into()),
            Self::Invalid(invalid) => Some(invalid.reason.as_ref().into()),
            Self::StoreUnavailable => Some("the push could not be recorded; push it again".into()),
            Self::Busy => Some("too many callbacks are in flight; push it again".into()),
            Self::GaveWay => Some("the push did not arrive in time, and others needed its room; push it again".into()),
            Self::FlagMissing => Some(
                "Envoy withholds the bodies of pushes: set allow_on_headers_stop_iteration to true beside failure_policy, or, where that \
                 cannot be set, headers to pass in the plugin's configuration"
                    .into(),
            ),
        }
    }

    /// The body, JSON.
    pub fn body(&self) -> Cow<'static, [u8]> {
        let resultdesc = match self {
            // Written once and for all: this is the reply to nearly every push.
            Self::Recorded => return Cow::Borrowed(RECORDED),
            Self::Invalid(_) => "Bad Request",
            Self::Unauthorized(_) => "Unauthorized",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::GaveWay => "Request Timeout",
            Self::TooLarge(_) => "Content Too Large",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::StoreUnavailable | Self::Busy | Self::FlagMissing => "Service Unavailable",
        };
        let pointer = match self {
            Self::Invalid(invalid) => Some(invalid.pointer.as_ref()),
            _ => None,
        };
        let body = Body { resultcode: self.status().to_string(), resultdesc, pointer, reason: self.reason() };
        // Texts only: serialising cannot fail.
        Cow::Owned(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// The body that Huawei documents for success.
const RECORDED: &[u8] = br#"{"resultcode":"0","resultdesc":"Success"}"#;

/// The closed set of replies, for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyKind {
    /// 200.
    Recorded,
    /// 405.
    MethodNotAllowed,
    /// 413.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 401.
    Unauthorized,
    /// 400.
    Invalid,
    /// 503: the store.
    StoreUnavailable,
    /// 503: our own limits.
    Busy,
    /// 408.
    GaveWay,
    /// 503: the configuration of Envoy.
    FlagMissing,
}

#[cfg(test)]
mod tests {
    use privatenumber_cdr::InvalidPush;

    use super::Reply;

    #[test]
    fn a_success_has_the_body_huawei_documents() {
        assert_eq!(*Reply::Recorded.body(), *br#"{"resultcode":"0","resultdesc":"Success"}"#);
    }

    #[test]
    fn an_invalid_push_is_answered_with_pointer_and_reason() {
        let reply = Reply::Invalid(InvalidPush { pointer: "/feeLst".into(), reason: "must hold 1 to 50 CDRs".into() });
        assert_eq!(
            std::str::from_utf8(&reply.body()).unwrap(),
            r#"{"resultcode":"400","resultdesc":"Bad Request","pointer":"/feeLst","reason":"must hold 1 to 50 CDRs"}"#,
        );
    }
}
