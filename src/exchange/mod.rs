//! One push: from its headers to Huawei's answer.
//!
//! An [`Exchange`] is fed the events of one HTTP stream and says what to do to it. The claim request it makes lives in its
//! state and leaves it exactly once: with the store's answer, or to the root ([`Exchange::gone`]).

mod intake;

use std::borrow::Cow;

use privatenumber_contract::{Push, PushId, paths};

use crate::answer::Answer;
use crate::callback::TraceContext;
use crate::cdr::{Contents, Reader, decode};
use crate::config::Config;
use crate::dispatcher::store_answer::{self, Head};
use crate::dispatcher::{ClaimRequest, Dispatcher};
use crate::journal::Event;
use crate::now::Now;

pub use intake::{first, is_push};

/// What to do at the request's headers.
#[derive(Debug, PartialEq, Eq)]
pub enum AtHeaders {
    /// Not a push: leave the request alone, now and later (promise P5).
    LeaveAlone,
    /// Answer now.
    Answer(Answer),
    /// Read the body before deciding. What is to be edited of the headers comes with it, for the mode that lets them go
    /// ahead; the mode that holds them applies it together with the body.
    ReadBody(HeaderEdits),
}

/// What to change of a message's headers: what is set is not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEdits {
    /// What to remove.
    pub remove: Removed,
    /// Names and values to set.
    pub set: Vec<(&'static str, Cow<'static, str>)>,
}

/// Names of headers that do not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Of a push, on its way to the store.
    OfPush,
    /// Of the store's answer, on its way to Huawei.
    OfAnswer,
}

impl Removed {
    /// Whether the header of that name is one of them.
    pub fn has(self, name: &str) -> bool {
        match self {
            Self::OfPush => intake::is_dropped(name),
            // What the store says beside its answer is between it and us.
            Self::OfAnswer => {
                matches!(name, paths::COMMITTED_HEADER | "content-encoding" | "etag" | "last-modified")
            }
        }
    }
}

impl HeaderEdits {
    /// All of `headers` once they are edited, so that the host is told once and not once for every edit.
    pub fn applied<'h, N: AsRef<str>, V: AsRef<[u8]>>(&'h self, headers: &'h [(N, V)]) -> Vec<(&'h str, &'h [u8])> {
        let set = self.set.iter().map(|(name, value)| (*name, value.as_bytes()));
        let kept = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let kept = kept.filter(|(name, _)| !self.remove.has(name) && !self.set.iter().any(|(set, _)| set == name));
        let mut all: Vec<_> = set.chain(kept).collect();
        // Pseudo headers first, as they are on the wire; otherwise they stay in their order.
        all.sort_by_key(|(name, _)| !name.starts_with(':'));
        all
    }
}

/// What to do while the request's body comes in.
#[derive(Debug, PartialEq, Eq)]
pub enum AtBody {
    /// Leave the request alone.
    LeaveAlone,
    /// Wait for more.
    Wait,
    /// Answer now.
    Answer(Answer),
}

/// What to do once the request's body is complete.
#[derive(Debug, PartialEq, Eq)]
pub enum AtEnd<'e> {
    /// Leave the request alone.
    LeaveAlone,
    /// Answer now.
    Answer(Answer),
    /// It is answered already: it goes nowhere.
    Hold,
    /// Replace the body by this and let the request go on to the store.
    Forward(&'e [u8]),
}

/// What to do at the response's headers.
#[derive(Debug, PartialEq, Eq)]
pub enum AtResponse {
    /// Leave the response alone.
    LeaveAlone,
    /// Make it this answer: edit the headers now, and the body when it is complete.
    Become(HeaderEdits),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Exchange {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Not a push, or nothing known yet.
    #[default]
    Untouched,
    /// The headers are good; the body is awaited.
    Reading(Signed),
    /// Asked of the store.
    Asking(ClaimRequest),
    /// The store has committed; its body, with the claims, is awaited.
    Committed(ClaimRequest),
    /// The response's body is to become this.
    Replacing(Cow<'static, [u8]>),
    /// The same, if anything is; and the request's body must not go on, for somebody answered before it was complete.
    Preempted(Option<Cow<'static, [u8]>>),
    /// Nothing is left to do.
    Over,
}

/// A push whose headers are good.
#[derive(Debug)]
struct Signed {
    app_key: String,
    ak: Option<String>,
    trace: Option<TraceContext>,
}

impl Exchange {
    /// The request's headers have come. `is_end` says that there is no body.
    pub fn request_headers<N: AsRef<str>, V: AsRef<[u8]>>(
        &mut self,
        config: &Config,
        dispatcher: &mut Dispatcher,
        headers: &[(N, V)],
        is_end: bool,
        now: Now,
    ) -> AtHeaders {
        match intake::examine(config, headers, is_end, now) {
            Ok(None) => AtHeaders::LeaveAlone,
            Ok(Some(signed)) => {
                self.state = State::Reading(signed);
                AtHeaders::ReadBody(intake::forward_edits(config))
            }
            Err(answer) => AtHeaders::Answer(self.refuse(dispatcher, None, answer)),
        }
    }

    /// More of the request's body has come; it has `size` bytes so far.
    pub fn request_body(&mut self, config: &Config, dispatcher: &mut Dispatcher, size: usize) -> AtBody {
        match &self.state {
            State::Reading(_) if size > config.limits.max_body_bytes => {
                AtBody::Answer(self.refuse(dispatcher, None, Answer::TooLarge(config.limits.max_body_bytes)))
            }
            State::Reading(_) | State::Preempted(_) => AtBody::Wait,
            _ => AtBody::LeaveAlone,
        }
    }

    /// The request's body is complete, with its last chunk or with trailers. `push_id` is drawn for this push.
    pub fn request_end(
        &mut self,
        config: &Config,
        dispatcher: &mut Dispatcher,
        body: &[u8],
        push_id: PushId,
        now: Now,
    ) -> AtEnd<'_> {
        let signed = match std::mem::take(&mut self.state) {
            State::Reading(signed) => signed,
            State::Preempted(body) => {
                self.state = State::Preempted(body);
                return AtEnd::Hold;
            }
            // Told of the end twice: what was asked of the store stays asked.
            other => {
                self.state = other;
                return AtEnd::LeaveAlone;
            }
        };
        if body.len() > config.limits.max_body_bytes {
            let answer = Answer::TooLarge(config.limits.max_body_bytes);
            return AtEnd::Answer(self.refuse(dispatcher, None, answer));
        }
        match claim_request(config, dispatcher, signed, body, push_id, now) {
            Ok(request) => {
                self.state = State::Asking(request);
                match &self.state {
                    State::Asking(request) => AtEnd::Forward(request.body()),
                    _ => AtEnd::LeaveAlone,
                }
            }
            Err(answer) => AtEnd::Answer(self.refuse(dispatcher, Some(push_id), answer)),
        }
    }

    /// The request's body is complete, and there is no push id to be had: without one of its own a push must not be claimed.
    pub fn request_end_without_push_id(&mut self, dispatcher: &mut Dispatcher) -> AtEnd<'static> {
        match self.state {
            State::Reading(_) => AtEnd::Answer(self.refuse(dispatcher, None, Answer::StoreUnavailable)),
            State::Preempted(_) => AtEnd::Hold,
            _ => AtEnd::LeaveAlone,
        }
    }

    /// The response's headers have come: the store's, or Envoy's own in its place. `is_end` says that there is no body.
    pub fn response_headers(
        &mut self,
        dispatcher: &mut Dispatcher,
        status: Option<u16>,
        content_type: Option<&[u8]>,
        committed: Option<&[u8]>,
        is_end: bool,
        now: Now,
    ) -> AtResponse {
        let request = match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(request) => request,
            State::Reading(signed) => return self.preempted(dispatcher, signed, status, is_end),
            // Another answer takes the place of the store's, whose claims are lost with it.
            State::Committed(request) => {
                dispatcher.ask_again(request, None, now);
                return AtResponse::LeaveAlone;
            }
            other => {
                self.state = other;
                return AtResponse::LeaveAlone;
            }
        };
        let push_id = request.push_id();
        let head = store_answer::head(status, content_type, committed, push_id);
        let answer = match head {
            Head::Committed => Answer::Recorded,
            Head::Rejected(_) | Head::Unclear(_) => Answer::StoreUnavailable,
        };
        let body = if is_end { Cow::default() } else { answer.body() };
        let edits = response_edits(&answer, body.len());
        note_answer(dispatcher, Some(push_id), &answer);
        self.state = match head {
            Head::Committed if !is_end => State::Committed(request),
            Head::Committed => {
                dispatcher.ask_again(request, status, now);
                State::Over
            }
            Head::Rejected(status) => {
                dispatcher.reject(request, status);
                State::Replacing(body)
            }
            Head::Unclear(status) => {
                dispatcher.ask_again(request, status, now);
                State::Replacing(body)
            }
        };
        AtResponse::Become(edits)
    }

    /// Somebody answers a push that is not complete: not the store, which has not been asked, so that no 200 may pass. Other
    /// answers may be Envoy's own and say more than ours; Huawei pushes again after any of them.
    fn preempted(
        &mut self,
        dispatcher: &mut Dispatcher,
        signed: Signed,
        status: Option<u16>,
        is_end: bool,
    ) -> AtResponse {
        if status.is_some_and(|status| status >= 400) {
            self.state = State::Reading(signed);
            return AtResponse::LeaveAlone;
        }
        let answer = Answer::StoreUnavailable;
        let body = (!is_end).then(|| answer.body());
        let edits = response_edits(&answer, body.as_ref().map_or(0, |body| body.len()));
        note_answer(dispatcher, None, &answer);
        self.state = State::Preempted(body);
        AtResponse::Become(edits)
    }

    /// Whether the response's headers matter: of a push whose answer was not seen yet.
    pub fn awaits_response(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Asking(_) | State::Committed(_))
    }

    /// Whether the response's body is to be gathered.
    pub fn awaits_response_body(&self) -> bool {
        matches!(self.state, State::Committed(_) | State::Replacing(_) | State::Preempted(Some(_)))
    }

    /// The response's body is complete. Returns what it is to become, if anything.
    pub fn response_end(&mut self, dispatcher: &mut Dispatcher, body: &[u8], now: Now) -> Option<Cow<'static, [u8]>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Committed(request) => {
                match store_answer::body(body, request.calls) {
                    Some(answer) => dispatcher.settle(request, &answer, now),
                    None => dispatcher.ask_again(request, Some(200), now),
                }
                Some(Answer::Recorded.body())
            }
            State::Replacing(body) => Some(body),
            State::Preempted(body) => {
                self.state = State::Preempted(None);
                body
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The stream is over, in whatever way. A claim whose answer was not seen goes to the root.
    pub fn gone(&mut self, dispatcher: &mut Dispatcher, now: Now) {
        if let State::Asking(request) | State::Committed(request) = std::mem::replace(&mut self.state, State::Over) {
            dispatcher.ask_again(request, None, now);
        }
    }

    fn refuse(&mut self, dispatcher: &mut Dispatcher, push_id: Option<PushId>, answer: Answer) -> Answer {
        self.state = State::Over;
        note_answer(dispatcher, push_id, &answer);
        answer
    }
}

fn note_answer(dispatcher: &mut Dispatcher, push_id: Option<PushId>, answer: &Answer) {
    let pointer = match answer {
        Answer::Invalid(invalid) => Some(invalid.pointer.to_string()),
        _ => None,
    };
    dispatcher.note(Event::PushAnswered {
        answer: answer.kind(),
        status: answer.status(),
        push_id,
        pointer,
        reason: answer.reason().map(Cow::into_owned),
    });
}

/// Reads the body, reshapes it and finds room for it.
fn claim_request(
    config: &Config,
    dispatcher: &Dispatcher,
    signed: Signed,
    body: &[u8],
    push_id: PushId,
    now: Now,
) -> Result<ClaimRequest, Answer> {
    let text = decode(body);
    let claim_deadline = now.wall_ms.saturating_add(config.store.claim_deadline_ms);
    let reader = Reader { authenticator: &config.authenticator, app_key: &signed.app_key, claim_deadline };
    let (calls, parked, event) = match reader.read(&text).map_err(Answer::Invalid)? {
        Contents::Calls { calls, parked } => (calls, parked, None),
        Contents::Event(event) => (Vec::new(), Vec::new(), Some(event)),
    };
    let (call_count, parked_count) = (calls.len(), parked.len());
    let app_key = Cow::Borrowed(signed.app_key.as_str());
    let (age_ms, application, signature) = (None, None, None);
    let push =
        Push { push_id, app_key, received_at: now.wall_ms, age_ms, application, signature, calls, parked, event };
    let mut request = Vec::with_capacity(body.len());
    // Texts and numbers only: serialising into memory cannot fail.
    if serde_json::to_writer(&mut request, &push).is_err() {
        return Err(Answer::StoreUnavailable);
    }
    // A push without calls is pending, too.
    let permit = dispatcher.admit(call_count.max(1), request.len(), signed.ak.as_deref()).ok_or(Answer::Busy)?;
    Ok(ClaimRequest {
        push_id,
        body: request,
        calls: call_count,
        parked: parked_count,
        trace: signed.trace,
        permit,
        attempts: 0,
        asked_at: now.monotonic_ms,
    })
}

/// Edits that make a response of the store, or of Envoy, our own answer.
fn response_edits(answer: &Answer, body_length: usize) -> HeaderEdits {
    let mut set = vec![
        (":status", Cow::Owned(answer.status().to_string())),
        ("content-type", Cow::Borrowed("application/json")),
        ("content-length", Cow::Owned(body_length.to_string())),
    ];
    set.extend(answer.headers().iter().map(|(name, value)| (*name, Cow::Borrowed(*value))));
    HeaderEdits { remove: Removed::OfAnswer, set }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
