//! One CDR: an element of `feeLst`, which Huawei calls `FeeInfo`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::value::{self, Expected, Found};

/// Longest texts that are taken, in characters. What makes up the call key has the documented length; the others have more
/// than that, because Huawei has lengthened such fields before.
mod longest {
    pub const SP_ID: usize = 64;
    pub const APP_KEY: usize = 128;
    pub const ICID: usize = 64;
    pub const SESSION_ID: usize = 256;
    pub const NUMBER: usize = 64;
    pub const SUBSCRIPTION_ID: usize = 128;
    pub const USER_DATA: usize = 1024;
    pub const RECORD_FILE_DOWNLOAD_URL: usize = 2048;
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// 0: somebody called X and was put through to A.
    ToA,
    /// 1: A called X.
    FromA,
    /// 2: no binding, for one; who A would have been is not known.
    Abnormal,
}

/// What is used of a CDR, checked. Times are epoch milliseconds; what is absent, `null` or "" is `None`.
pub(super) struct Cdr<'a> {
    pub direction: Direction,
    pub app_key: Cow<'a, str>,
    pub session_id: Cow<'a, str>,
    pub icid: Option<Cow<'a, str>>,
    pub bind_num: Cow<'a, str>,
    pub caller_num: Option<Cow<'a, str>>,
    pub fwd_dst_num: Option<Cow<'a, str>>,
    pub call_in_time: Option<i64>,
    pub fwd_start_time: Option<i64>,
    pub fwd_answer_time: Option<i64>,
    pub call_end_time: Option<i64>,
    pub fail_time: Option<i64>,
    pub record_flag: Option<bool>,
    pub record_file_download_url: Option<Cow<'a, str>>,
    pub subscription_id: Option<Cow<'a, str>>,
    pub user_data: Option<Cow<'a, str>>,
}

/// Why a CDR cannot be used. Its text names the key and holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not JSON. An element of a push always is.
    NotJson,
    /// It is another JSON value.
    NotAnObject(Found),
    /// A key stands in it more than once.
    KeyTwice,
    /// A key holds an escape that is no character.
    BrokenKey,
    /// It holds bytes that are not UTF-8.
    NotUtf8,
    /// A field does not hold what it must.
    Field {
        /// Huawei's name of the field.
        name: &'static str,
        /// What it must hold.
        expected: Expected,
        /// What it holds.
        found: Found,
    },
    /// Another application signed the push.
    ForeignApplication,
    /// It is of the same call as an earlier CDR of the push.
    RepeatedCall,
}

impl fmt::Display for Unusable {
    /// What follows the element's JSON pointer.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => formatter.write_str(": is not JSON"),
            Self::NotAnObject(found) => write!(formatter, ": expected an object, found {found}"),
            Self::KeyTwice => formatter.write_str(": a key is there more than once"),
            Self::BrokenKey => formatter.write_str(": a key holds an escape that is no character"),
            Self::NotUtf8 => formatter.write_str(": is not UTF-8"),
            Self::Field { name, expected, found } => write!(formatter, "/{name}: expected {expected}, found {found}"),
            Self::ForeignApplication => formatter.write_str("/appKey: is not the application that signed the push"),
            Self::RepeatedCall => {
                formatter.write_str(": has the appKey, sessionId and icid of an earlier CDR of the same push")
            }
        }
    }
}

impl std::error::Error for Unusable {}

impl<'a> Cdr<'a> {
    pub fn read(element: &'a RawValue) -> Result<Self, Unusable> {
        // serde would take an array for a structure as well.
        let kind = Found::kind_of(element);
        if kind != Found::Object {
            return Err(Unusable::NotAnObject(kind));
        }
        // The element is known to be JSON, and no value is looked into here: what can fail is a key.
        let fields: Fields<'a> = serde_json::from_str(element.get())
            .map_err(|error| if error.is_data() { Unusable::KeyTwice } else { Unusable::BrokenKey })?;
        Self::check(&fields)
    }

    /// Checks what was found under the keys of a CDR.
    pub fn check(fields: &Fields<'a>) -> Result<Self, Unusable> {
        mandatory("spId", fields.sp_id, longest::SP_ID)?;
        Ok(Self {
            direction: direction(fields.direction)?,
            app_key: mandatory("appKey", fields.app_key, longest::APP_KEY)?,
            session_id: mandatory("sessionId", fields.session_id, longest::SESSION_ID)?,
            icid: optional("icid", fields.icid, longest::ICID)?,
            bind_num: mandatory("bindNum", fields.bind_num, longest::NUMBER)?,
            // Documented as mandatory, but what Huawei sends for a caller who withholds the number is not.
            caller_num: optional("callerNum", fields.caller_num, longest::NUMBER)?,
            fwd_dst_num: optional("fwdDstNum", fields.fwd_dst_num, longest::NUMBER)?,
            call_in_time: moment("callInTime", fields.call_in_time)?,
            fwd_start_time: moment("fwdStartTime", fields.fwd_start_time)?,
            fwd_answer_time: moment("fwdAnswerTime", fields.fwd_answer_time)?,
            call_end_time: moment("callEndTime", fields.call_end_time)?,
            fail_time: moment("failTime", fields.fail_time)?,
            record_flag: value::flag(fields.record_flag).map_err(unusable("recordFlag", Expected::Flag))?,
            record_file_download_url: optional(
                "recordFileDownloadUrl",
                fields.record_file_download_url,
                longest::RECORD_FILE_DOWNLOAD_URL,
            )?,
            subscription_id: optional("subscriptionId", fields.subscription_id, longest::SUBSCRIPTION_ID)?,
            user_data: optional("userData", fields.user_data, longest::USER_DATA)?,
        })
    }
}

/// The keys that are used, unread. Others are passed over, whatever they hold.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    direction: Option<&'a RawValue>,
    #[serde(borrow)]
    sp_id: Option<&'a RawValue>,
    #[serde(borrow)]
    app_key: Option<&'a RawValue>,
    #[serde(borrow)]
    icid: Option<&'a RawValue>,
    #[serde(borrow)]
    bind_num: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    caller_num: Option<&'a RawValue>,
    #[serde(borrow)]
    fwd_dst_num: Option<&'a RawValue>,
    #[serde(borrow)]
    call_in_time: Option<&'a RawValue>,
    #[serde(borrow)]
    fwd_start_time: Option<&'a RawValue>,
    #[serde(borrow)]
    fwd_answer_time: Option<&'a RawValue>,
    #[serde(borrow)]
    call_end_time: Option<&'a RawValue>,
    #[serde(borrow)]
    fail_time: Option<&'a RawValue>,
    #[serde(borrow)]
    record_flag: Option<&'a RawValue>,
    #[serde(borrow)]
    record_file_download_url: Option<&'a RawValue>,
    #[serde(borrow)]
    subscription_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_data: Option<&'a RawValue>,
}

fn unusable(name: &'static str, expected: Expected) -> impl Fn(Found) -> Unusable {
    move |found| Unusable::Field { name, expected, found }
}

fn optional<'a>(
    name: &'static str,
    raw: Option<&'a RawValue>,
    longest: usize,
) -> Result<Option<Cow<'a, str>>, Unusable> {
    value::text(raw, longest).map_err(unusable(name, Expected::Text(longest)))
}

fn mandatory<'a>(name: &'static str, raw: Option<&'a RawValue>, longest: usize) -> Result<Cow<'a, str>, Unusable> {
    optional(name, raw, longest)?.ok_or(unusable(name, Expected::Text(longest))(Found::Nothing))
}

fn moment(name: &'static str, raw: Option<&RawValue>) -> Result<Option<i64>, Unusable> {
    value::moment(raw).map_err(unusable(name, Expected::Time))
}

fn direction(raw: Option<&RawValue>) -> Result<Direction, Unusable> {
    let refuse = unusable("direction", Expected::Direction);
    match value::digit(raw).map_err(&refuse)? {
        Some(0) => Ok(Direction::ToA),
        Some(1) => Ok(Direction::FromA),
        Some(2) => Ok(Direction::Abnormal),
        Some(_) => Err(refuse(Found::other(raw))),
        None => Err(refuse(Found::Nothing)),
    }
}
