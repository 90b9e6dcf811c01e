//! One push: from its headers to the reply to Huawei.
//!
//! An [`Exchange`] is fed the events of one HTTP stream and says what to do to it. Its claim request leaves it exactly once. In
//! `headers: hold` that is when the push is complete: the worker asks the store and answers the stream. In `headers: pass` the push
//! itself goes to the store, and the claim request leaves with the store's answer, or to the worker that asks again.

mod intake;

use std::borrow::Cow;

use privatenumber_cdr::{Charset, Contents, Reader, decode};
use privatenumber_contract::{Application, Push, PushId, Signature, WithoutBinding};

use crate::callback::TraceContext;
use crate::config::{Config, HeadersMode};
use crate::dispatcher::Dispatcher;
use crate::now::Now;
use crate::reply::Reply;
use crate::store::answers::{self, Head};
use crate::store::{ClaimRequest, Draft};
use crate::streams::StreamId;

pub use intake::{first, is_push};

/// What to do at the request's headers.
#[derive(Debug, PartialEq, Eq)]
pub enum AtHeaders {
    /// Not a push: leave the request alone, now and later (promise P5).
    LeaveAlone,
    /// Answer now.
    Answer(Reply),
    /// Hold the headers and read the body.
    Hold,
    /// Edit the headers, let them go ahead and read the body.
    Pass(HeaderEdits),
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
    /// Of the store's answer, on its way to Huawei: all but the status, and the type and length of the body.
    OfAnswer,
}

impl Removed {
    /// Whether the header of that name is one of them.
    pub fn has(self, name: &str) -> bool {
        match self {
            Self::OfPush => intake::is_dropped(name),
            // Nobody knows what headers a store sends (`set-cookie`, `location`, names of machines). Envoy adds the headers of the
            // connection, `date` and `server` afterwards.
            Self::OfAnswer => !matches!(name, ":status" | "content-type" | "content-length"),
        }
    }
}

impl HeaderEdits {
    /// All of `headers` once they are edited, so that the host is told once and not once for every edit.
    pub fn applied<'h, N: AsRef<str>, V: AsRef<[u8]>>(&'h self, headers: &'h [(N, V)]) -> Vec<(&'h str, &'h [u8])> {
        let set = self.set.iter().map(|(name, value)| (*name, value.as_bytes()));
        let kept = headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let kept = kept.filter(|(name, _)| !self.remove.has(name) && !self.set.iter().any(|(set, _)| set == name));
        // Pseudo headers first, as they are on the wire; otherwise they stay in their order.
        let is_pseudo = |(name, _): &(&str, &[u8])| name.starts_with(':');
        let mut all: Vec<_> = set.clone().chain(kept.clone()).filter(is_pseudo).collect();
        all.extend(set.chain(kept).filter(|header| !is_pseudo(header)));
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
    Answer(Reply),
}

/// What to do once the request's body is complete.
#[derive(Debug, PartialEq, Eq)]
pub enum AtEnd<'e> {
    /// Leave the request alone.
    LeaveAlone,
    /// Answer now.
    Answer(Reply),
    /// It goes nowhere: it waits for its reply, or has it already. `reset` says that somebody else's response has begun and must
    /// be cut off, because whoever sends it may be waiting for the rest of the request.
    Hold {
        /// Whether to cut the response off.
        reset: bool,
    },
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
    /// Let it go on, with its body and fewer headers: only these edits.
    Reduce(HeaderEdits),
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
    /// The headers are good; the body is awaited. The stream is held.
    Reading(Signed),
    /// The worker asks the store, and answers the stream, which is held.
    Waiting(StreamId),
    /// The store was asked by the stream itself.
    Asking(ClaimRequest),
    /// The store has committed; its body, with the claims, is awaited.
    Committed(ClaimRequest),
    /// The response's body is to become this.
    Replacing(Cow<'static, [u8]>),
    /// The same, if anything is; and the request's body must not go on, for somebody answered before it was complete.
    Preempted(Option<Cow<'static, [u8]>>),
    /// Nothing is left to do, and nothing of the request may go on.
    Over,
}

/// A push whose headers are good.
#[derive(Debug)]
struct Signed {
    stream: StreamId,
    /// `content-length`.
    announced: Option<u64>,
    app_key: String,
    ak: Option<String>,
    without_binding: WithoutBinding,
    scheme: &'static str,
    covered: [u8; 32],
    charset: Charset,
    trace: Option<TraceContext>,
}

impl Exchange {
    /// The headers of the request on `stream` have come. `is_end` says that there is no body.
    pub fn request_headers<N: AsRef<str>, V: AsRef<[u8]>>(
        &mut self,
        config: &Config,
        dispatcher: &mut Dispatcher,
        stream: StreamId,
        headers: &[(N, V)],
        is_end: bool,
        now: Now,
    ) -> AtHeaders {
        let signed = match intake::examine(config, stream, headers, is_end, now) {
            Ok(Some(signed)) => signed,
            Ok(None) => return AtHeaders::LeaveAlone,
            Err(reply) => return AtHeaders::Answer(self.refuse(dispatcher, None, reply)),
        };
        if let Err(reply) = dispatcher.begin(stream, signed.announced, now) {
            return AtHeaders::Answer(self.refuse(dispatcher, None, reply));
        }
        self.state = State::Reading(signed);
        match config.headers {
            HeadersMode::Hold => AtHeaders::Hold,
            HeadersMode::Pass => AtHeaders::Pass(intake::forward_edits(config)),
        }
    }

    /// More of the request's body has come; it has `size` bytes so far.
    pub fn request_body(&mut self, config: &Config, dispatcher: &mut Dispatcher, size: usize, now: Now) -> AtBody {
        let stream = match &self.state {
            State::Untouched => return AtBody::LeaveAlone,
            State::Reading(signed) => signed.stream,
            State::Asking(_) | State::Committed(_) | State::Replacing(_) => return AtBody::LeaveAlone,
            State::Waiting(_) | State::Preempted(_) | State::Over => return AtBody::Wait,
        };
        dispatcher.body_shown();
        if !dispatcher.holds(stream) {
            // It gave way, and the worker answers it.
            self.state = State::Waiting(stream);
            return AtBody::Wait;
        }
        let room = if size > config.limits.max_body_bytes {
            Err(Reply::TooLarge(config.limits.max_body_bytes))
        } else {
            dispatcher.grow(stream, size, now)
        };
        match room {
            Ok(()) => AtBody::Wait,
            Err(reply) => {
                dispatcher.release(stream);
                AtBody::Answer(self.refuse(dispatcher, None, reply))
            }
        }
    }

    /// The request's body is complete, with its last chunk or with trailers. `push_id` is drawn for this push; without one of
    /// its own a push must not be claimed.
    pub fn request_end(
        &mut self,
        config: &Config,
        dispatcher: &mut Dispatcher,
        body: &[u8],
        push_id: Option<PushId>,
        now: Now,
    ) -> AtEnd<'_> {
        let signed = match std::mem::replace(&mut self.state, State::Over) {
            State::Reading(signed) => signed,
            State::Untouched => {
                self.state = State::Untouched;
                return AtEnd::LeaveAlone;
            }
            // Told of the end twice: what was asked of the store stays asked.
            other => {
                let goes_on = matches!(other, State::Asking(_) | State::Committed(_) | State::Replacing(_));
                let reset = matches!(other, State::Preempted(Some(_)));
                self.state = other;
                return if goes_on { AtEnd::LeaveAlone } else { AtEnd::Hold { reset } };
            }
        };
        let stream = signed.stream;
        dispatcher.body_shown();
        if !dispatcher.holds(stream) {
            self.state = State::Waiting(stream);
            return AtEnd::Hold { reset: false };
        }
        let request = match push_id {
            None => Err(Reply::StoreUnavailable),
            Some(_) if body.len() > config.limits.max_body_bytes => Err(Reply::TooLarge(config.limits.max_body_bytes)),
            Some(push_id) => claim_request(config, dispatcher, signed, body, push_id, now),
        };
        match (request, config.headers) {
            (Ok(request), HeadersMode::Hold) => {
                self.state = State::Waiting(stream);
                dispatcher.ask(request, stream, body.len(), now);
                AtEnd::Hold { reset: false }
            }
            (Ok(request), HeadersMode::Pass) => {
                dispatcher.release(stream);
                self.state = State::Asking(request);
                match &self.state {
                    State::Asking(request) => AtEnd::Forward(request.json()),
                    _ => AtEnd::LeaveAlone,
                }
            }
            (Err(reply), _) => {
                dispatcher.release(stream);
                AtEnd::Answer(self.refuse(dispatcher, push_id, reply))
            }
        }
    }

    /// The response's headers have come: the store's, Envoy's own, or those of the reply that the worker gave. `is_end` says that
    /// there is no body.
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
            State::Reading(signed) => {
                return self.preempted(dispatcher, signed.stream, Some(signed), status, is_end);
            }
            State::Waiting(stream) => return self.preempted(dispatcher, stream, None, status, is_end),
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
        let head = answers::head(status, content_type, committed, push_id);
        let reply = match head {
            Head::Committed => Reply::Recorded,
            Head::Rejected(_) | Head::Unclear(_) => Reply::StoreUnavailable,
        };
        let body = if is_end { Cow::default() } else { reply.body() };
        let edits = response_edits(&reply, body.len());
        dispatcher.note_reply(Some(push_id), &reply);
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

    /// A push is answered that has not been asked for, or whose verdict is awaited. If the worker owes the stream nothing any more, it
    /// gave this reply. Otherwise somebody else did, who cannot know a verdict: no 200 may pass. Other answers may be Envoy's own
    /// and say more than ours; Huawei pushes again after any of them.
    fn preempted(
        &mut self,
        dispatcher: &mut Dispatcher,
        stream: StreamId,
        reading: Option<Signed>,
        status: Option<u16>,
        is_end: bool,
    ) -> AtResponse {
        if !dispatcher.owes_reply(stream) {
            return AtResponse::LeaveAlone;
        }
        if status.is_some_and(|status| status >= 400) {
            match reading {
                // Whoever answered early, upstream, still gets the rest of the body.
                Some(signed) if dispatcher.lets_pass() && dispatcher.holds(stream) => {
                    self.state = State::Reading(signed)
                }
                _ => drop(dispatcher.release(stream)),
            }
            // It may be an upstream's where pushes go on to one.
            return if dispatcher.lets_pass() {
                AtResponse::Reduce(HeaderEdits { remove: Removed::OfAnswer, set: Vec::new() })
            } else {
                AtResponse::LeaveAlone
            };
        }
        dispatcher.release(stream);
        let reply = Reply::StoreUnavailable;
        let body = (!is_end).then(|| reply.body());
        let edits = response_edits(&reply, body.as_ref().map_or(0, |body| body.len()));
        dispatcher.note_reply(None, &reply);
        self.state = State::Preempted(body);
        AtResponse::Become(edits)
    }

    /// Whether the response's headers, or the stream's end, matter: of a push that has no reply yet.
    pub fn awaits_response(&mut self, dispatcher: &Dispatcher) -> bool {
        let stream = match &self.state {
            State::Reading(signed) => signed.stream,
            State::Waiting(stream) => *stream,
            state => return matches!(state, State::Asking(_) | State::Committed(_)),
        };
        if !dispatcher.owes_reply(stream) {
            // The worker gave the reply.
            self.state = State::Over;
            return false;
        }
        true
    }

    /// Whether the response's body is to be gathered.
    pub fn awaits_response_body(&self) -> bool {
        matches!(self.state, State::Committed(_) | State::Replacing(_) | State::Preempted(Some(_)))
    }

    /// The response's body is complete. Returns what it is to become, if anything.
    pub fn response_end(&mut self, dispatcher: &mut Dispatcher, body: &[u8], now: Now) -> Option<Cow<'static, [u8]>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Committed(request) => {
                match answers::single(body, &request) {
                    Some(answer) => dispatcher.settle(request, &answer, now),
                    None => dispatcher.ask_again(request, Some(200), now),
                }
                Some(Reply::Recorded.body())
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

    /// The stream is over, in whatever way. A claim whose answer was not seen is asked for again.
    pub fn gone(&mut self, dispatcher: &mut Dispatcher, now: Now) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(request) | State::Committed(request) => dispatcher.ask_again(request, None, now),
            State::Reading(Signed { stream, .. }) | State::Waiting(stream) => drop(dispatcher.release(stream)),
            State::Untouched | State::Replacing(_) | State::Preempted(_) | State::Over => {}
        }
    }

    fn refuse(&mut self, dispatcher: &mut Dispatcher, push_id: Option<PushId>, reply: Reply) -> Reply {
        self.state = State::Over;
        dispatcher.note_reply(push_id, &reply);
        reply
    }
}

/// Reads the body, reshapes it and finds room for it.
fn claim_request(
    config: &Config,
    dispatcher: &mut Dispatcher,
    signed: Signed,
    body: &[u8],
    push_id: PushId,
    now: Now,
) -> Result<ClaimRequest, Reply> {
    let text = decode(body, signed.charset);
    let ttl_ms = config.store.claim_deadline_ms;
    let claim_deadline = now.wall_ms.saturating_add_unsigned(ttl_ms);
    let reader = Reader { app_key: &signed.app_key, ak: signed.ak.as_deref(), claim_deadline, ttl_ms };
    let contents = reader.read(&text).map_err(Reply::Invalid)?;
    dispatcher.note_oddities(push_id, &contents);
    let (calls, further, parked, event) = match contents {
        Contents::Calls { calls, further, parked, .. } => (calls, further, parked, None),
        Contents::Event(event) => (Vec::new(), Vec::new(), Vec::new(), Some(event)),
    };
    let application = Application {
        ak: signed.ak.as_deref().map(Cow::Borrowed),
        without_binding: signed.without_binding,
        on_replay: config.on_replay,
    };
    let push = Push {
        push_id,
        app_key: Cow::Borrowed(signed.app_key.as_str()),
        received_at: now.wall_ms,
        age_ms: None,
        // What says nothing is left out: a store of 0.1.0 need not pass over it.
        application: (application != Application::default()).then_some(application),
        signature: Some(Signature {
            scheme: Cow::Borrowed(signed.scheme),
            hash: String::from_utf8_lossy(&signed.covered),
        }),
        calls,
        parked,
        event,
    };
    // A CDR's text, and what is taken from it.
    let draft = Draft::new(&push, further, 2 * body.len() + 1_024).ok_or(Reply::StoreUnavailable)?;
    // A push without calls is pending, too.
    let permit = dispatcher.admit(draft.calls().max(1), draft.bytes()).ok_or(Reply::Busy)?;
    Ok(draft.admitted(permit, signed.trace, now))
}

/// Edits that make a response of the store, or of Envoy, our own answer.
fn response_edits(reply: &Reply, body_length: usize) -> HeaderEdits {
    let mut set = vec![
        (":status", Cow::Owned(reply.status().to_string())),
        ("content-type", Cow::Borrowed("application/json")),
        ("content-length", Cow::Owned(body_length.to_string())),
    ];
    set.extend(reply.headers().iter().map(|(name, value)| (*name, Cow::Borrowed(*value))));
    HeaderEdits { remove: Removed::OfAnswer, set }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
