use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::CdrText;

/// CDRs that no push brought, such as those of an outage longer than Huawei's last retry: `POST /v1/cdrs:import`.
///
/// A CDR whose call is there already changes nothing, so repeating a request is safe. A CDR that cannot be used does not hinder the
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ImportRequest<'a> {
    /// The Huawei application of the CDRs: a CDR without an `appKey` is taken for one of this application, and one of another
    /// application is unusable. Without it each CDR must name its own.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub app_key: Option<Cow<'a, str>>,
    /// Whose a call is that has no binding row.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Cow<'a, str>>,
    /// Whether a worker is to call back for the new calls. Otherwise each is recorded as
    /// [`Skipped::Imported`](crate::Skipped::Imported), which can be released later.
    pub release: bool,
    /// The CDRs, at most [`limits::IMPORT_CDRS`](crate::limits::IMPORT_CDRS).
    #[serde(borrow)]
    pub cdrs: Vec<CdrText<'a>>,
}

/// The store's answer to an [`ImportRequest`], status 200: what it names as imported is durably recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAnswer<'a> {
    /// What became of each CDR, in their order.
    #[serde(borrow)]
    pub cdrs: Vec<ImportResult<'a>>,
}

/// What became of one imported CDR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ImportResult<'a> {
    /// The call is new, and recorded.
    Imported {
        /// The call.
        #[serde(borrow)]
        call_id: Cow<'a, str>,
    },
    /// The call was there already, whoever brought it. Nothing changed.
    AlreadyThere {
        /// The call.
        #[serde(borrow)]
        call_id: Cow<'a, str>,
    },
    /// The CDR cannot be used. Nothing of it is kept.
    Unusable {
        /// A JSON pointer into the CDR, what is wrong there and what to do. Holds no value of the CDR.
        #[serde(borrow)]
        reason: Cow<'a, str>,
    },
}

#[cfg(test)]
mod tests {
    use super::{ImportAnswer, ImportRequest, ImportResult};

    #[test]
    fn an_import_and_its_answer_can_be_read_and_a_misspelt_one_cannot() {
        let text = r#"{"appKey":"app","ak":"A","release":true,"cdrs":[{ "a": 1.0 },"eyJhIjrW0H0="]}"#;
        let request: ImportRequest<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(request.cdrs[0].as_bytes(), b"{ \"a\": 1.0 }");
        assert_eq!(request.cdrs[1].as_bytes(), b"{\"a\":\xd6\xd0}");
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert!(serde_json::from_str::<ImportRequest<'_>>(r#"{"cdr":[]}"#).is_err());
        let text = concat!(
            r#"{"cdrs":[{"result":"imported","callId":"c"},{"result":"already_there","callId":"c"},"#,
            r#"{"result":"unusable","reason":"/sessionId: missing"}]}"#
        );
        let answer: ImportAnswer<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(answer.cdrs[1], ImportResult::AlreadyThere { call_id: "c".into() });
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
    }
}
