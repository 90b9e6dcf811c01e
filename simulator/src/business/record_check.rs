//! Whether a callback's body is a record: all its members, in order, of the right types.

use std::fmt;
use std::sync::LazyLock;

use privatenumber_contract::Record;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a record in their order, as the contract itself writes them.
static MEMBERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = serde_json::to_string(&Record::default()).unwrap_or_default();
    serde_json::from_str(&text)
        .map(|members: Members<'_>| members.0)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
});

/// Why a body is not a record. Never holds a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// Not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A member is missing, out of order, unknown or there twice.
    #[error("member {position} should be `{expected}`")]
    Order {
        /// Which, from 1.
        position: usize,
        /// What belongs there.
        expected: String,
    },
    /// More than the record has.
    #[error("there are members after the last of a record")]
    TooMany,
    /// A member has a value of another type than the interface gives it.
    #[error("`{0}` has a value of the wrong type")]
    Type(String),
}

/// Reads a callback's body.
///
/// # Errors
///
/// What keeps it from being a record, see [`RecordProblem`].
pub fn check_record(body: &[u8]) -> Result<Record, RecordProblem> {
    let members: Members<'_> = serde_json::from_slice(body).map_err(|_| RecordProblem::NotAnObject)?;
    for (index, expected) in MEMBERS.iter().enumerate() {
        if members.0.get(index).is_none_or(|(name, _)| name != expected) {
            return Err(RecordProblem::Order { position: index + 1, expected: expected.clone() });
        }
    }
    if members.0.len() > MEMBERS.len() {
        return Err(RecordProblem::TooMany);
    }
    serde_json::from_slice(body).map_err(|_| RecordProblem::Type(members.of_wrong_type()))
}

/// The members of a JSON object, in order, repetitions included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    /// The first member that no record could have with this value.
    fn of_wrong_type(&self) -> String {
        let fits = |name: &str, value: &RawValue| {
            serde_json::from_str::<Record>(&format!("{{{}:{}}}", serde_json::Value::from(name), value.get())).is_ok()
        };
        let wrong = self.0.iter().find(|(name, value)| !fits(name, value));
        wrong.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(26);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                    if members.len() > 1000 {
                        return Err(A::Error::custom("far too many members"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::Record;

    use super::{RecordProblem, check_record};

    fn text() -> String {
        serde_json::to_string(&Record { session_id: Some("session".into()), ..Record::default() }).unwrap()
    }

    #[test]
    fn a_record_is_recognised() {
        assert_eq!(check_record(text().as_bytes()).unwrap().session_id.unwrap().expose(), "session");
    }

    #[test]
    fn whatever_differs_is_named() {
        let order = |position, expected: &str| RecordProblem::Order { position, expected: expected.to_owned() };
        for (body, problem) in [
            ("".to_owned(), RecordProblem::NotAnObject),
            ("[]".to_owned(), RecordProblem::NotAnObject),
            ("{}".to_owned(), order(1, "id")),
            (text().replace("\"ak\":null,", ""), order(2, "ak")),
            (text().replace("\"id\":null,\"ak\":null", "\"ak\":null,\"id\":null"), order(1, "id")),
            (text().replace(",\"remark\":null", ""), order(26, "remark")),
            (text().replace("\"remark\":null", "\"remark\":null,\"extra\":1"), RecordProblem::TooMany),
            (text().replace("\"bindTime\":null", "\"bindTime\":\"1\""), RecordProblem::Type("bindTime".to_owned())),
        ] {
            assert_eq!(check_record(body.as_bytes()).unwrap_err(), problem, "{body}");
        }
    }

    #[test]
    fn p7_a_problem_shows_no_value() {
        let body = text().replace("\"origNum\":null", "\"origNum\":[\"+8617010000011\"]");
        let problem = check_record(body.as_bytes()).unwrap_err();
        assert_eq!(problem.to_string(), "`origNum` has a value of the wrong type");
    }
}
