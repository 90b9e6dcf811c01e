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
    let is_problem = content_type.is_some_and(|value| value.starts_with(PROBLEM_CONTENT_TYPE.as_bytes()));
    match status {
        Some(200) if committed == Some(push_id.to_string().as_bytes()) => Head::Committed,
        Some(status @ (400 | 413 | 415 | 422)) if is_problem => Head::Rejected(status),
        status => Head::Unclear(status),
    }
}

/// Reads the body of a committed answer to a push of `calls` calls; `None` where it is cut off or keeps no contract.
pub fn body(body: &[u8], calls: usize) -> Option<PushAnswer<'_>> {
    let answer: PushAnswer<'_> = serde_json::from_slice(body).ok()?;
    let is_complete = |call: &privatenumber_contract::CallResult<'_>| {
        call.verdict != CallVerdict::Claimed || (call.record.is_some() && !call.call_id.is_empty())
    };
    (answer.calls.len() == calls && answer.calls.iter().all(is_complete)).then_some(answer)
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

    #[test]
    fn an_answer_that_does_not_fit_its_push_is_no_answer() {
        let one = br#"{"calls":[{"verdict":"claimed","callId":"c","ak":"A","record":{}}]}"#;
        assert!(body(one, 1).is_some());
        assert!(body(one, 2).is_none(), "a call is missing");
        assert!(body(one.split_last().unwrap().1, 1).is_none(), "cut off");
        assert!(body(br#"{"calls":[{"verdict":"claimed","callId":"c"}]}"#, 1).is_none(), "claimed without a record");
        assert!(body(br#"{"calls":[{"verdict":"duplicate","callId":"c"}]}"#, 1).is_some());
    }
}
