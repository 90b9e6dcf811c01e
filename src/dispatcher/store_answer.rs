//! What the store's answer to a push means.

use privatenumber_contract::{CallVerdict, PROBLEM_CONTENT_TYPE, PushAnswer, PushId};

/// What status and headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The store has committed this very push.
    Committed,
    /// The store refuses this push and always will: nothing was committed and asking again is pointless.
    Rejected(u16),
    /// Nothing is known: the answer is Envoy's own, or the store is in trouble. An earlier attempt may have been committed
    /// even where this one was not.
    Unclear(Option<u16>),
}

/// Reads status and headers. `committed` is the value of [`privatenumber_contract::paths::COMMITTED_HEADER`].
pub fn head(status: Option<u16>, content_type: Option<&[u8]>, committed: Option<&[u8]>, push_id: PushId) -> Head {
    match status {
        Some(200) if committed == Some(&push_id.to_hex()) => Head::Committed,
        status => rejection(status, content_type).map_or(Head::Unclear(status), Head::Rejected),
    }
}

/// The status of an answer by which the store refuses a request, of whatever kind, and always will.
pub(super) fn rejection(status: Option<u16>, content_type: Option<&[u8]>) -> Option<u16> {
    let is_problem = content_type.is_some_and(|value| value.starts_with(PROBLEM_CONTENT_TYPE.as_bytes()));
    status.filter(|status| is_problem && matches!(status, 400 | 413 | 415 | 422))
}

/// Reads the body of a committed answer to a push of `calls` calls; `None` where it is cut off or keeps no contract.
pub fn body(body: &[u8], calls: usize) -> Option<PushAnswer<'_>> {
    // As text: its bytes are then looked at once, and not anew for each string.
    let answer: PushAnswer<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    (answer.calls.len() == calls && keeps_contract(&answer)).then_some(answer)
}

/// Whether every claimed call can be called back: it has a record and an id, which becomes a header of its callback and must
/// not break out of it, and no other claim of the answer is for the same call (promise P1).
fn keeps_contract(answer: &PushAnswer<'_>) -> bool {
    let claimed = || answer.calls.iter().filter(|call| call.verdict == CallVerdict::Claimed);
    let mut ids: Vec<_> = claimed().map(|call| call.call_id.as_ref()).collect();
    ids.sort_unstable();
    claimed().all(|call| call.record.is_some() && is_call_id(&call.call_id))
        && ids.array_windows().all(|[one, next]| one != next)
}

/// 32 lower-case hex digits, see [`privatenumber_contract::CallKey::id`].
fn is_call_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{Head, body, head};
    use privatenumber_contract::PushId;

    const ID: PushId = PushId::from_bytes([7; 16]);

    #[test]
    fn p2_only_a_200_that_names_this_very_push_is_a_commit() {
        let id = ID.to_string();
        assert_eq!(head(Some(200), None, Some(id.as_bytes()), ID), Head::Committed);
        assert_eq!(head(Some(200), None, None, ID), Head::Unclear(Some(200)));
        assert_eq!(head(Some(200), None, Some(b"00000000000000000000000000000000"), ID), Head::Unclear(Some(200)));
        assert_eq!(head(Some(201), None, Some(id.as_bytes()), ID), Head::Unclear(Some(201)));
        assert_eq!(head(None, None, None, ID), Head::Unclear(None));
    }

    #[test]
    fn p8_only_a_problem_of_the_store_that_cannot_pass_ends_the_asking() {
        for status in [400, 413, 415, 422] {
            assert_eq!(head(Some(status), Some(b"application/problem+json"), None, ID), Head::Rejected(status));
            assert_eq!(head(Some(status), Some(b"text/plain"), None, ID), Head::Unclear(Some(status)), "Envoy's own");
        }
        for status in [401, 404, 408, 429, 500, 503, 504] {
            assert_eq!(head(Some(status), Some(b"application/problem+json"), None, ID), Head::Unclear(Some(status)));
        }
    }

    /// A claimed call of that id.
    fn claimed(call_id: &str) -> String {
        format!(r#"{{"verdict":"claimed","callId":"{call_id}","ak":"A","record":{{}}}}"#)
    }

    fn is_an_answer(calls: &[String], asked: usize) -> bool {
        body(format!(r#"{{"calls":[{}]}}"#, calls.join(",")).as_bytes(), asked).is_some()
    }

    const CALL: &str = "00112233445566778899aabbccddeeff";
    const OTHER: &str = "00112233445566778899aabbccddee00";

    #[test]
    fn an_answer_that_does_not_fit_its_push_is_no_answer() {
        let one = format!(r#"{{"calls":[{}]}}"#, claimed(CALL));
        assert!(body(one.as_bytes(), 1).is_some());
        assert!(body(one.as_bytes(), 2).is_none(), "a call is missing");
        assert!(body(one.as_bytes().split_last().unwrap().1, 1).is_none(), "cut off");
        let without_record = format!(r#"{{"verdict":"claimed","callId":"{CALL}"}}"#);
        assert!(!is_an_answer(&[without_record], 1));
        assert!(is_an_answer(&[format!(r#"{{"verdict":"duplicate","callId":"{CALL}"}}"#)], 1));
    }

    #[test]
    fn p1_an_answer_that_claims_one_call_twice_is_no_answer() {
        assert!(is_an_answer(&[claimed(CALL), claimed(OTHER)], 2));
        assert!(!is_an_answer(&[claimed(CALL), claimed(OTHER), claimed(CALL)], 3));
    }

    #[test]
    fn a_call_id_that_is_none_never_becomes_a_header() {
        let (long, upper) = (format!("{CALL}0"), CALL.to_uppercase());
        for call_id in
            ["", "c", &long, &upper, r"00112233445566778899aabbccdd\r\nx:", r"00112233445566778899aabbccddee\u0000"]
        {
            assert!(!is_an_answer(&[claimed(call_id)], 1), "{call_id}");
        }
    }
}
