//! What the store's answers to claim requests mean.

use std::collections::{BTreeMap, BTreeSet};

use privatenumber_contract::{
    CallResult, CallVerdict, PROBLEM_CONTENT_TYPE, PushAnswer, PushBatchAnswer, PushId, PushVerdict, WorkAnswer, is_hex,
};

use super::request::ClaimRequest;

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
pub(crate) fn rejection(status: Option<u16>, content_type: Option<&[u8]>) -> Option<u16> {
    let is_problem = content_type.is_some_and(|value| value.starts_with(PROBLEM_CONTENT_TYPE.as_bytes()));
    status.filter(|status| is_problem && matches!(status, 400 | 413 | 415 | 422))
}

/// Reads the body of a committed answer to `request`; `None` where it is cut off or does not keep the contract.
pub(crate) fn single<'a>(body: &'a [u8], request: &ClaimRequest) -> Option<PushAnswer<'a>> {
    // As text: its bytes are then looked at once, and not anew for each string.
    let mut answer: PushAnswer<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let mut claims = Claims::default();
    claims.note(0, &answer.calls);
    let Doubt { void, further } = claims.doubt(|_, place| request.is_further(place));
    for (_, place) in further {
        lose_claim(&mut answer.calls, place);
    }
    (is_whole(&answer.calls, request) && void.is_empty()).then_some(answer)
}

/// Reads the body of an answer to a batch; `None` where it is cut off or does not keep the contract.
///
/// What it says of a push counts only if it [is whole](is_whole). Two claims of one call, wherever they stand in the answer, make all
/// that is said of both their pushes void: these are left out here (promise P1). The one exception is a push that names a call with
/// several CDRs, as `is_further` says of a push and the place of a call: a claim for a further one is a duplicate of the first. Stores
/// of 0.1.0 grant both.
pub(crate) fn batch(body: &[u8], is_further: impl Fn(PushId, usize) -> bool) -> Option<PushBatchAnswer<'_>> {
    let mut answer: PushBatchAnswer<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let mut claims = Claims::default();
    for (index, result) in answer.pushes.iter().enumerate() {
        if result.verdict == PushVerdict::Committed {
            claims.note(index, &result.calls);
        }
    }
    let push_ids = |push: usize| answer.pushes.get(push).map(|result| result.push_id);
    let Doubt { void, further } =
        claims.doubt(|push, place| push_ids(push).is_some_and(|push_id| is_further(push_id, place)));
    for (push, place) in further {
        if let Some(result) = answer.pushes.get_mut(push) {
            lose_claim(&mut result.calls, place);
        }
    }
    if !void.is_empty() {
        let mut index = 0;
        answer.pushes.retain(|_| {
            index += 1;
            !void.contains(&(index - 1))
        });
    }
    Some(answer)
}

/// Reads the body of an answer to a request for `most` works under `push_id`; `None` where it is cut off, is another's, or does not
/// keep the contract.
///
/// It counts as a whole or not at all: a call that is named twice, or whose verdict is neither `claimed` nor `erased`, makes all of
/// it void (promise P1).
pub(crate) fn works(body: &[u8], push_id: PushId, most: usize) -> Option<WorkAnswer<'_>> {
    let answer: WorkAnswer<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let is_work = |call: &CallResult<'_>| {
        is_hex(&call.call_id)
            && match call.verdict {
                CallVerdict::Claimed => call.record.is_some(),
                CallVerdict::Erased => true,
                CallVerdict::Duplicate | CallVerdict::Parked | CallVerdict::Held => false,
            }
    };
    let ids: BTreeSet<&str> = answer.calls.iter().map(|call| call.call_id.as_ref()).collect();
    let is_whole = answer.push_id == push_id && answer.calls.len() <= most && ids.len() == answer.calls.len();
    (is_whole && answer.calls.iter().all(is_work)).then_some(answer)
}

/// Whether `calls` are those that `request` asked for, one for each in their order, and every claimed one can be called back.
///
/// An id becomes a header of the callback and must not break out of it, so its form is checked. That it is the id of that very call
/// is the store's word: to hash every key here as well would cost a fifth of what the core does for a push.
pub(crate) fn is_whole(calls: &[CallResult<'_>], request: &ClaimRequest) -> bool {
    calls.len() == request.calls()
        && calls
            .iter()
            .filter(|call| call.verdict == CallVerdict::Claimed)
            .all(|call| call.record.is_some() && is_hex(&call.call_id))
}

/// The claim at that place is for a call that is claimed already.
fn lose_claim(calls: &mut [CallResult<'_>], place: usize) {
    if let Some(call) = calls.get_mut(place) {
        call.verdict = CallVerdict::Duplicate;
        call.record = None;
    }
}

/// The claims of an answer, to find calls that are claimed twice.
#[derive(Default)]
struct Claims<'a> {
    /// The call, the number of the push, and the call's place in it.
    all: Vec<(&'a str, usize, usize)>,
}

/// Claims that are not the only ones for their calls.
#[derive(Default)]
struct Doubt {
    /// The numbers of the pushes of which nothing counts.
    void: Vec<usize>,
    /// Claims for further versions: the numbers of their pushes, and their places.
    further: Vec<(usize, usize)>,
}

impl<'a> Claims<'a> {
    fn note(&mut self, push: usize, calls: &'a [CallResult<'_>]) {
        let claimed = calls.iter().enumerate().filter(|(_, call)| call.verdict == CallVerdict::Claimed);
        self.all.extend(claimed.map(|(place, call)| (call.call_id.as_ref(), push, place)));
    }

    fn doubt(self, is_further: impl Fn(usize, usize) -> bool) -> Doubt {
        let mut claims = BTreeMap::new();
        let mut doubt = Doubt::default();
        for (call_id, push, place) in self.all {
            match claims.insert(call_id, push) {
                None => {}
                Some(other) if other == push && is_further(push, place) => doubt.further.push((push, place)),
                Some(other) => doubt.void.extend([other, push]),
            }
        }
        doubt
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_contract::{CallVerdict, PushId};

    use super::{Head, head};

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

    use super::batch;

    const CALL: &str = "00112233445566778899aabbccddeeff";
    const OTHER: &str = "00112233445566778899aabbccddee00";

    /// An answer that commits pushes, each with claims of these calls.
    fn answer(pushes: &[&[&str]]) -> Vec<u8> {
        let pushes: Vec<_> = pushes
            .iter()
            .enumerate()
            .map(|(index, calls)| {
                let calls: Vec<_> = calls
                    .iter()
                    .map(|id| serde_json::json!({"verdict": "claimed", "callId": id, "ak": "A", "record": {}}))
                    .collect();
                serde_json::json!({"pushId": format!("{index:032x}"), "verdict": "committed", "calls": calls})
            })
            .collect();
        serde_json::to_vec(&serde_json::json!({ "pushes": pushes })).unwrap()
    }

    fn kept(pushes: &[&[&str]]) -> Vec<String> {
        let body = answer(pushes);
        batch(&body, |_, _| false)
            .unwrap()
            .pushes
            .iter()
            .map(|result| result.push_id.to_string()[31..].to_owned())
            .collect()
    }

    #[test]
    fn p1_rule_1_a_call_claimed_twice_in_one_answer_voids_both_claims_and_nothing_else() {
        assert_eq!(kept(&[&[CALL], &[OTHER]]), ["0", "1"]);
        assert_eq!(kept(&[&[CALL], &[OTHER], &[CALL]]), ["1"]);
        assert_eq!(kept(&[&[CALL, CALL], &[OTHER]]), ["1"]);
    }

    #[test]
    fn p1_a_further_version_of_a_call_is_never_claimed_beside_the_first() {
        let body = answer(&[&[CALL, OTHER, CALL], &[]]);
        let further = batch(&body, |push, place| push.as_bytes() == &[0; 16] && place == 2).unwrap();
        let verdicts: Vec<_> = further.pushes[0].calls.iter().map(|call| call.verdict).collect();
        assert_eq!(verdicts, [CallVerdict::Claimed, CallVerdict::Claimed, CallVerdict::Duplicate]);
        assert!(further.pushes[0].calls[2].record.is_none());
        // A place that was not asked for as a further version, and a claim in another push.
        assert_eq!(batch(&body, |_, place| place == 1).unwrap().pushes.len(), 1);
        let body = answer(&[&[CALL], &[CALL]]);
        assert!(batch(&body, |_, _| true).unwrap().pushes.is_empty());
    }

    #[test]
    fn a_text_of_another_form_never_becomes_a_header() {
        let (long, upper) = (format!("{CALL}0"), CALL.to_uppercase());
        assert!(super::is_hex(CALL));
        for call_id in
            ["", "c", &long, &upper, "00112233445566778899aabbccdd\r\nx:", "00112233445566778899aabbccddee\0"]
        {
            assert!(!super::is_hex(call_id), "{call_id}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_says_nothing() {
        let body = answer(&[&[CALL]]);
        assert!(batch(body.split_last().unwrap().1, |_, _| true).is_none());
        for body in [&b"\xff"[..], b"[]", b""] {
            assert!(batch(body, |_, _| true).is_none());
        }
    }
}
