//! One CDR: an element of `feeLst`, which Huawei calls `FeeInfo`.

use std::borrow::Cow;
use std::fmt;

use privatenumber_contract::{Warning, hashed_icid};

use crate::members::Members;
use crate::value::{self, Expected, Found};

/// Longest texts that are taken, in characters: more than is documented, because Huawei has lengthened such fields before.
mod longest {
    pub const NUMBER: usize = 64;
    pub const SUBSCRIPTION_ID: usize = 128;
    pub const USER_DATA: usize = 1024;
    /// With a binding row beside it the record stays below `contract::limits::CALL_ANSWER_BYTES`.
    pub const RECORD_FILE_DOWNLOAD_URL: usize = 4096;
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// 0: somebody called X and was put through to A.
    ToA,
    /// 1: A called X.
    FromA,
    /// 2 (no binding, for one), or not known: nor is who A would have been.
    Abnormal,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A field of a CDR that becomes `null` where it cannot be used.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Field { $($(#[$doc])* $name,)* }

        impl Field {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Huawei's name of it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The field of that name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

fields! {
    /// Who called whom.
    Direction = "direction",
    /// X.
    BindNum = "bindNum",
    /// Who called.
    CallerNum = "callerNum",
    /// Who was called in the end.
    FwdDstNum = "fwdDstNum",
    /// When the call came in.
    CallInTime = "callInTime",
    /// When it was put through.
    FwdStartTime = "fwdStartTime",
    /// When it was answered.
    FwdAnswerTime = "fwdAnswerTime",
    /// When it ended.
    CallEndTime = "callEndTime",
    /// When it failed.
    FailTime = "failTime",
    /// Whether it was recorded.
    RecordFlag = "recordFlag",
    /// Where the recording is.
    RecordFileDownloadUrl = "recordFileDownloadUrl",
    /// The business's own text.
    UserData = "userData",
}

/// What is used of a CDR, checked. Times are epoch milliseconds; what is absent, `null`, "" or cannot be used is `None`.
pub(crate) struct Cdr<'a> {
    pub direction: Direction,
    pub app_key: Cow<'a, str>,
    pub session_id: Cow<'a, str>,
    /// "" where there is none.
    pub icid: Cow<'a, str>,
    pub bind_num: Option<Cow<'a, str>>,
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
    pub warnings: Vec<Warning<'a>>,
}

/// Why a CDR cannot be used. Its text names the field and holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not JSON. An element of a push always is.
    NotJson,
    /// It is another JSON value.
    NotAnObject(Found),
    /// A field without which nobody knows which call it is, or who is to be called, does not hold what it must.
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
}

impl fmt::Display for Unusable {
    /// What follows the element's JSON pointer.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => formatter.write_str(": is not JSON"),
            Self::NotAnObject(found) => write!(formatter, ": expected an object, found {found}"),
            Self::Field { name, expected, found } => write!(formatter, "/{name}: expected {expected}, found {found}"),
            Self::ForeignApplication => formatter.write_str("/appKey: is not the application that signed the push"),
        }
    }
}

impl std::error::Error for Unusable {}

/// The text in which CDRs stand, and its bytes where they are not that text: as many, see [`crate::charset`].
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub text: &'a str,
    pub masked: Option<&'a [u8]>,
}

impl<'a> Source<'a> {
    /// The bytes of `part`, which is a part of the text, where they are not that part.
    pub fn masked_part(&self, part: &str) -> Option<&'a [u8]> {
        let masked = self.masked?;
        let start = part.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let bytes = masked.get(start..start.checked_add(part.len())?)?;
        (bytes != part.as_bytes()).then_some(bytes)
    }

    /// The bytes of `part`, which is a part of the text.
    fn bytes_of(&self, part: &'a str) -> &'a [u8] {
        self.masked_part(part).unwrap_or(part.as_bytes())
    }

    /// `part`, which is a part of the text, if its bytes are UTF-8.
    fn readable(&self, part: &'a str) -> Result<&'a str, Found> {
        if self.masked_part(part).is_some() { Err(Found::NotUtf8) } else { Ok(part) }
    }

    /// Whether two values say the same.
    fn agree(&self, one: &'a str, other: &'a str) -> bool {
        let meaning = |part| value::meaning(self.readable(part).ok()?).ok();
        self.bytes_of(one) == self.bytes_of(other) || meaning(one).is_some_and(|one| Some(one) == meaning(other))
    }
}

/// A field as it is found: its value, the first where there are several.
#[derive(Clone, Copy, Default)]
struct Value<'a> {
    text: Option<&'a str>,
    /// There are several, and they do not say the same.
    conflict: bool,
}

impl<'a> Value<'a> {
    fn add(&mut self, text: &'a str, source: Source<'a>) {
        match self.text {
            None => self.text = Some(text),
            Some(first) => self.conflict |= !source.agree(first, text),
        }
    }

    fn get(self, source: Source<'a>) -> Result<Option<&'a str>, Found> {
        match self.text {
            _ if self.conflict => Err(Found::Several),
            None => Ok(None),
            Some(text) => source.readable(text).map(Some),
        }
    }
}

/// The fields of a CDR that are used, unread. Others are passed over, whatever they hold.
struct Fields<'a> {
    source: Source<'a>,
    app_key: Value<'a>,
    session_id: Value<'a>,
    icid: Value<'a>,
    subscription_id: Value<'a>,
    optional: [Value<'a>; Field::ALL.len()],
    warnings: Vec<Warning<'a>>,
}

impl<'a> Fields<'a> {
    fn new(source: Source<'a>) -> Self {
        Self {
            source,
            app_key: Value::default(),
            session_id: Value::default(),
            icid: Value::default(),
            subscription_id: Value::default(),
            optional: [Value::default(); Field::ALL.len()],
            warnings: Vec::new(),
        }
    }

    /// Finds those of the object with which `text` begins. Returns how long the object is; `None` where the text ends, or is divided
    /// otherwise than JSON.
    fn find(&mut self, text: &'a str) -> Option<usize> {
        let mut members = Members::of(text);
        while let Some((key, escaped)) = members.key() {
            let text = members.value()?;
            if !escaped {
                self.add(key, text);
            } else if let Some(key) = value::unescape(key) {
                self.add(&key, text);
            }
        }
        members.end()
    }

    fn add(&mut self, key: &str, text: &'a str) {
        let value = match key {
            "appKey" => &mut self.app_key,
            "sessionId" => &mut self.session_id,
            "icid" => &mut self.icid,
            "subscriptionId" => &mut self.subscription_id,
            key => {
                let field = Field::named(key).and_then(|field| self.optional.get_mut(field as usize));
                let Some(value) = field else { return };
                value
            }
        };
        value.add(text, self.source);
    }

    /// A part of the key without which nobody knows which call it is.
    fn key_part(&self, name: &'static str, part: Value<'a>) -> Result<Cow<'a, str>, Unusable> {
        let refuse = |found| Unusable::Field { name, expected: Expected::KeyPart, found };
        let text = part.get(self.source).map_err(refuse)?.map(value::key_part).transpose().map_err(refuse)?;
        text.flatten().ok_or(refuse(Found::Nothing))
    }

    /// Any form of it stands in the key, each in a way of its own; absent, `null` and "" are one.
    fn icid(&self) -> Result<Cow<'a, str>, Unusable> {
        let Some(text) = self.icid.text else { return Ok(Cow::Borrowed("")) };
        if self.icid.conflict {
            return Err(Unusable::Field { name: "icid", expected: Expected::KeyPart, found: Found::Several });
        }
        match self.source.readable(text).and_then(value::key_part) {
            Ok(part) => Ok(part.unwrap_or_default()),
            Err(_) => Ok(Cow::Owned(hashed_icid(self.source.bytes_of(text)))),
        }
    }

    /// Whose callback address is called: nobody is where it is there and cannot be read.
    fn subscription_id(&self) -> Result<Option<Cow<'a, str>>, Unusable> {
        let expected = Expected::Text(longest::SUBSCRIPTION_ID);
        let refuse = |found| Unusable::Field { name: "subscriptionId", expected, found };
        match self.subscription_id.get(self.source).map_err(refuse)? {
            None => Ok(None),
            Some(text) if Found::kind_of(text) == Found::Bool => Err(refuse(Found::Bool)),
            Some(text) => value::text(text, longest::SUBSCRIPTION_ID).map_err(refuse),
        }
    }

    /// Reads an optional field: what cannot be used is `None`, with a warning.
    fn optional<T>(
        &mut self,
        field: Field,
        expected: Expected,
        read: impl FnOnce(&'a str) -> Result<Option<T>, Found>,
    ) -> Option<T> {
        let value = self.optional.get(field as usize).copied().unwrap_or_default();
        match value.get(self.source).and_then(|text| text.map_or(Ok(None), read)) {
            Ok(value) => value,
            Err(found) => {
                self.warnings.push(warning(field, expected, found));
                None
            }
        }
    }

    fn text(&mut self, field: Field, longest: usize) -> Option<Cow<'a, str>> {
        self.optional(field, Expected::Text(longest), |text| value::text(text, longest))
    }

    fn moment(&mut self, field: Field) -> Option<i64> {
        self.optional(field, Expected::Time, value::moment)
    }
}

#[cold]
fn warning(field: Field, expected: Expected, found: Found) -> Warning<'static> {
    let reason = match found {
        Found::NotUtf8 => Cow::Borrowed(Warning::NOT_UTF8),
        found => Cow::Owned(format!("expected {expected}, found {found}")),
    };
    Warning { field: Cow::Borrowed(field.name()), reason }
}

fn direction(text: &str) -> Result<Option<Direction>, Found> {
    match value::digit(text)? {
        Some(0) => Ok(Some(Direction::ToA)),
        Some(1) => Ok(Some(Direction::FromA)),
        Some(2) => Ok(Some(Direction::Abnormal)),
        Some(_) => Err(Found::other(text)),
        None => Ok(None),
    }
}

impl<'a> Cdr<'a> {
    /// Reads the object with which `text`, a part of `source`, begins. Returns also how long the object is; `None` where the text ends,
    /// or is divided otherwise than JSON.
    pub fn read(source: Source<'a>, text: &'a str) -> Option<(Result<Self, Unusable>, usize)> {
        let mut fields = Fields::new(source);
        let length = fields.find(text)?;
        Some((Self::check(&mut fields), length))
    }

    fn check(fields: &mut Fields<'a>) -> Result<Self, Unusable> {
        Ok(Self {
            app_key: fields.key_part("appKey", fields.app_key)?,
            session_id: fields.key_part("sessionId", fields.session_id)?,
            icid: fields.icid()?,
            subscription_id: fields.subscription_id()?,
            direction: fields.optional(Field::Direction, Expected::Direction, direction).unwrap_or(Direction::Abnormal),
            bind_num: fields.text(Field::BindNum, longest::NUMBER),
            caller_num: fields.text(Field::CallerNum, longest::NUMBER),
            fwd_dst_num: fields.text(Field::FwdDstNum, longest::NUMBER),
            call_in_time: fields.moment(Field::CallInTime),
            fwd_start_time: fields.moment(Field::FwdStartTime),
            fwd_answer_time: fields.moment(Field::FwdAnswerTime),
            call_end_time: fields.moment(Field::CallEndTime),
            fail_time: fields.moment(Field::FailTime),
            record_flag: fields.optional(Field::RecordFlag, Expected::Flag, value::flag),
            record_file_download_url: fields.text(Field::RecordFileDownloadUrl, longest::RECORD_FILE_DOWNLOAD_URL),
            user_data: fields.text(Field::UserData, longest::USER_DATA),
            warnings: std::mem::take(&mut fields.warnings),
        })
    }
}
