//! One push through one gateway: what Envoy's connection manager, router and filter do with it.

use std::collections::BTreeSet;

use private_number_gateway::config::HeadersMode;
use private_number_gateway::driver::{Action, Event as StreamEvent};
use private_number_gateway::reply::Reply as PushReply;
use privatenumber_contract::{PushId, paths};

use super::event::{Asker, Callback, Event, Letter, Reply, RootId, StreamId};
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, check};

/// How much later than its patience a held push may have its reply, milliseconds: ticks are late.
const PATIENCE_TOLERANCE_MS: u64 = 100;

/// How late the wake-up may come that answers a push which gave way, milliseconds.
const WAKE_UP_MS: u64 = 5;

/// What Huawei signed.
#[derive(Clone, Debug)]
pub struct SignedPush {
    /// Whose credentials it carries, by number.
    pub application: usize,
    /// Which signature it carries: two pushes with the same number have the same nonce and time.
    pub signature: usize,
    /// What it carries, by number.
    pub batch: Vec<usize>,
}

/// A push on its way.
#[derive(Debug)]
pub struct Stream {
    pub root: RootId,
    pub gateway: usize,
    application: usize,
    /// Which signature it carries.
    signature: usize,
    /// What it carries, by number.
    batch: Vec<usize>,
    /// Whether Huawei goes by its answer.
    counts: bool,
    began: u64,
    /// Whether its headers have arrived.
    pub has_begun: bool,
    body: Vec<u8>,
    /// How much of its body has arrived.
    pub arrived: usize,
    /// Whether all of its body has arrived.
    pub is_complete: bool,
    /// When its body was complete.
    completed_at: u64,
    /// What goes to the store, where the push itself goes there.
    request: Vec<u8>,
    pub push_id: Option<PushId>,
    /// The route's tries so far.
    tries: u32,
    /// Whether a response has begun.
    pub is_answered: bool,
    /// What Huawei saw.
    status: Option<u16>,
    /// Whether a 503 is right although nothing is wrong any more.
    is_excused: bool,
}

impl Stream {
    pub fn new(root: RootId, gateway: usize, signed: SignedPush, counts: bool, body: Vec<u8>, began: u64) -> Self {
        let SignedPush { application, signature, batch } = signed;
        Self {
            root,
            gateway,
            application,
            signature,
            batch,
            counts,
            began,
            has_begun: false,
            body,
            arrived: 0,
            is_complete: false,
            completed_at: 0,
            request: Vec::new(),
            push_id: None,
            tries: 0,
            is_answered: false,
            status: None,
            is_excused: false,
        }
    }
}

impl World<'_> {
    /// Feeds the stream's worker an event. `None` where the stream or its worker is no more.
    fn step(&mut self, id: StreamId, event: StreamEvent<'_>) -> Option<Action> {
        let root = self.streams.get(&id)?.root;
        Some(self.at_root(root)?.driver.step(id, event))
    }

    fn follow_stream(&mut self, id: StreamId) -> Step {
        match self.streams.get(&id).map(|stream| stream.root) {
            Some(root) => self.follow(root).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn push_headers(&mut self, id: StreamId) -> Step {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.has_begun = true;
        let signature = stream.signature;
        let application = self.scenario.applications.get(stream.application);
        let headers = application.map(|known| known.headers(signature)).transpose()?.unwrap_or_default();
        let action = self.step(id, StreamEvent::RequestHeaders { headers: &headers, is_end: false });
        match action {
            Some(Action::Hold | Action::Pass(_)) => {
                let is_slow = self.scenario.is_crowded && self.random.chance(600) || self.strikes(Fault::PusherSlow);
                let pause = if is_slow { self.random.between(10, 5_000) } else { self.travel() };
                self.after(pause / 2, Event::PushBody(id));
                self.after(pause, Event::PushEnd(id));
                if self.strikes(Fault::AnsweredByOthers) {
                    let pause = pause + self.random.pick([0, 1, 2, 5, 500]);
                    self.after(pause, Event::OthersAnswer(id));
                }
                self.follow_stream(id)
            }
            Some(Action::Reply(reply)) => {
                self.excuse_refusal(id, &reply);
                self.answered_by_filter(id, &reply)
            }
            Some(_) => left_alone(),
            None => Ok(()),
        }
    }

    /// A gateway that is full may refuse a push, and one whose batches fail until the next success.
    fn excuse_refusal(&mut self, id: StreamId, reply: &PushReply) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(root) = self.roots.get(&stream.root) else { return };
        let is_closed = *reply == PushReply::StoreUnavailable && root.failures >= 3;
        stream.is_excused |= is_closed || matches!(reply, PushReply::Busy | PushReply::GaveWay);
    }

    pub(super) fn push_body(&mut self, id: StreamId) -> Step {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.is_answered) else { return Ok(()) };
        let size = stream.body.len() / 8 * 7;
        stream.arrived = size;
        let reported = if self.mutates(Mutation::BodyWithoutPermit) { 0 } else { size };
        match self.step(id, StreamEvent::RequestBody(reported)) {
            Some(Action::Hold) => self.follow_stream(id),
            Some(Action::Reply(reply)) => {
                self.excuse_refusal(id, &reply);
                self.answered_by_filter(id, &reply)
            }
            Some(_) => left_alone(),
            None => Ok(()),
        }
    }

    pub(super) fn push_end(&mut self, id: StreamId) -> Step {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.is_answered) else { return Ok(()) };
        stream.completed_at = now;
        let (root, batch, body) = (stream.root, stream.batch.clone(), std::mem::take(&mut stream.body));
        stream.arrived = body.len();
        stream.is_complete = true;
        // As Envoy has it: the last of the body is announced before its end is.
        let reported = if self.mutates(Mutation::BodyWithoutPermit) { 0 } else { body.len() };
        if let Some(Action::Reply(reply)) = self.step(id, StreamEvent::RequestBody(reported)) {
            self.excuse_refusal(id, &reply);
            return self.answered_by_filter(id, &reply);
        }
        if self.mutates(Mutation::PushIdFromBody)
            && let Some(root) = self.roots.get(&root)
        {
            root.host.forced.set(Some(hash(&body)));
        }
        let Some(action) = self.step(id, StreamEvent::RequestEnd(&body)) else { return Ok(()) };
        let Some(known) = self.roots.get_mut(&root) else { return Ok(()) };
        let push_id = PushId::from_bytes(known.host.drawn.get());
        let patience = known.config.store.patience_ms;
        if matches!(action, Action::Hold) {
            let ahead = known.driver.gauges().claims_outstanding;
            known.complete_at.insert(push_id, (self.now, ahead));
        }
        self.truth.holders.insert(push_id, root);
        if batch.iter().any(|index| self.is_poison(*index)) {
            self.truth.poison.insert(push_id);
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.push_id = Some(push_id);
            self.truth.signatures.insert(push_id, stream.signature);
        }
        self.truth.texts.insert(push_id, self.in_reading_order(&batch));
        note!(self, "push {id} has push id {push_id}");
        let forwarded = match action {
            Action::Hold => None,
            Action::Forward(request) => Some(request),
            Action::Reply(reply) => {
                self.excuse_refusal(id, &reply);
                return self.answered_by_filter(id, &reply);
            }
            _ => return left_alone(),
        };
        if self.mutates(Mutation::BadCdrFailsThePush) && batch.iter().any(|index| !self.is_usable(*index)) {
            return self.check_answer(Some(400), &batch);
        }
        if self.mutates(Mutation::CallbackBeforeClaim) {
            self.call_back_unclaimed(root, &batch);
        }
        if self.mutates(Mutation::AnsweredBeforeCommit) {
            self.check_kept(&batch)?;
        }
        match forwarded {
            Some(request) => {
                if self.mutates(Mutation::RestartReplaysClaims) {
                    self.remember_request(id, &request);
                }
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.request = request;
                }
                let total = self.scenario.route.total_ms;
                self.after(total, Event::RouteTimeout(id));
                self.route_try(id);
            }
            None => self.after(patience + PATIENCE_TOLERANCE_MS, Event::PatienceOver(id)),
        }
        self.follow_stream(id)
    }

    /// P8: a held push has its reply once its patience is over.
    pub(super) fn patience_over(&mut self, id: StreamId) -> Step {
        let waits = self.streams.get(&id).is_some_and(|stream| !stream.is_answered);
        check(Promise::P8Finished, !waits, || format!("push {id} is held longer than its patience"))
    }

    fn is_usable(&self, index: usize) -> bool {
        self.scenario.cdrs.get(index).is_some_and(|cdr| cdr.call.is_some())
    }

    /// The CDRs of a batch as the filter passes them on: those that can be used, each once, then the others.
    fn in_reading_order(&self, batch: &[usize]) -> Vec<usize> {
        let (mut usable, others): (Vec<_>, Vec<_>) = batch.iter().partition(|index| self.is_usable(**index));
        let mut seen = BTreeSet::new();
        usable.retain(|index| seen.insert(*index));
        usable.extend(others);
        usable
    }

    /// The open streams of that push.
    pub(super) fn streams_of(&self, push_id: PushId) -> Vec<StreamId> {
        let own = self.streams.iter().filter(|(_, stream)| stream.push_id == Some(push_id) && !stream.is_answered);
        own.map(|(id, _)| *id).collect()
    }

    fn remember_request(&mut self, id: StreamId, request: &[u8]) {
        let Some(stream) = self.streams.get(&id) else { return };
        if let Some(gateway) = self.gateways.get_mut(stream.gateway) {
            gateway.remembered.push((paths::PUSHES, request.to_vec()));
        }
    }

    fn call_back_unclaimed(&mut self, root: RootId, batch: &[usize]) {
        let calls: Vec<_> = batch.iter().filter_map(|index| self.scenario.cdrs.get(*index)?.call.clone()).collect();
        for call in calls {
            let ak = self.business_by_now(&call.id);
            let Some(business) = ak.and_then(|ak| self.scenario.business(&ak)) else { continue };
            let callback = Callback {
                sender: Some((root, u32::MAX)),
                ak: business.ak.clone(),
                call_id: call.id,
                session_id: call.session_id,
                timeout_ms: business.timeout_ms,
            };
            self.after(0, Event::CallbackArrives(callback));
        }
    }

    /// The router sends the request to the store, once more or for the first time.
    fn route_try(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.tries += 1;
        let asker = Asker::Stream { stream: id, attempt: stream.tries };
        let push_ids = stream.push_id.into_iter().collect();
        let letter = Letter { path: paths::PUSHES, body: stream.request.clone(), asker, push_ids };
        if stream.tries > 1 {
            self.figures.route_retries += 1;
            note!(self, "push {id}: the route tries again");
        }
        let travel = self.travel();
        self.after(travel, Event::LetterArrives(letter));
        let patience = self.scenario.route.try_ms;
        self.after(patience, Event::ReplyArrives(asker, Reply::Timeout));
    }

    /// The store's answer, or what came in its place, arrives at the router.
    pub(super) fn stream_replied(&mut self, id: StreamId, attempt: u32, reply: Reply) -> Step {
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        let (is_current, is_answered, tries) = (stream.tries == attempt, stream.is_answered, stream.tries);
        match reply {
            // A second answer takes the place of the first, which a router does not let happen: the filter must not mind.
            Reply::Store { answer, ends_early } if is_current => {
                let (status, content_type) = (answer.status, answer.content_type.as_deref());
                let is_end = answer.body.is_empty();
                let committed = answer.committed.as_deref();
                self.respond(id, status, content_type, committed, is_end)?;
                if !is_end {
                    let pause = self.random.pick([0, 0, 0, 1, 3]);
                    self.after(pause, Event::AnswerEnds(id, answer.body, ends_early));
                }
                Ok(())
            }
            // Envoy's router takes one answer, to the try that is under way.
            _ if !is_current || is_answered => Ok(()),
            Reply::Store { .. } => Ok(()),
            Reply::Reset | Reply::Unreachable | Reply::Timeout if tries < self.scenario.route.tries => {
                self.route_try(id);
                Ok(())
            }
            Reply::Timeout => self.respond_locally(id, 504, b"upstream request timeout"),
            Reply::Reset | Reply::Unreachable => self.respond_locally(id, 503, b"upstream connect error"),
        }
    }

    pub(super) fn route_timeout(&mut self, id: StreamId) -> Step {
        if self.streams.get(&id).is_some_and(|stream| !stream.is_answered) {
            return self.respond_locally(id, 504, b"upstream request timeout");
        }
        Ok(())
    }

    /// Envoy answers in the store's place.
    fn respond_locally(&mut self, id: StreamId, status: u16, body: &[u8]) -> Step {
        self.respond(id, status, Some(b"text/plain"), None, false)?;
        self.answer_ends(id, body, false)
    }

    /// Envoy, or another filter, answers a push that is held or on its way.
    pub(super) fn others_answer(&mut self, id: StreamId) -> Step {
        if self.streams.get(&id).is_none_or(|stream| stream.is_answered) {
            return Ok(());
        }
        let status = self.random.pick([200, 204, 302, 413, 503, 504]);
        note!(self, "push {id} is answered {status} by others");
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_excused = true;
        }
        self.respond(id, status, Some(b"text/plain"), None, false)?;
        self.answer_ends(id, b"", false)
    }

    fn respond(
        &mut self,
        id: StreamId,
        status: u16,
        content_type: Option<&[u8]>,
        committed: Option<&[u8]>,
        is_end: bool,
    ) -> Step {
        let event = StreamEvent::ResponseHeaders { status: Some(status), content_type, committed, is_end };
        let Some(action) = self.step(id, event) else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let was_answered = std::mem::replace(&mut stream.is_answered, true);
        match action {
            Action::Become(edits) => {
                let seen =
                    edits.set.iter().find(|(name, _)| *name == ":status").and_then(|(_, value)| value.parse().ok());
                stream.status = seen;
                note!(self, "push {id} is answered {seen:?}, the status being {status}");
                self.follow_stream(id)?;
                self.check_verdict(id, seen.unwrap_or(0))?;
                if is_end { self.end_stream(id, true) } else { Ok(()) }
            }
            _ if was_answered => Ok(()),
            _ => {
                // Only what others answer to a push that is held may pass, and never as a success.
                stream.status = Some(status);
                let is_held = stream.request.is_empty();
                self.follow_stream(id)?;
                check(Promise::P2Kept, is_held && status >= 400, || {
                    format!("the response to push {id} passes as it came: {status}")
                })
            }
        }
    }

    /// The body of the response is complete, or its connection breaks.
    pub(super) fn answer_ends(&mut self, id: StreamId, body: &[u8], is_broken: bool) -> Step {
        if is_broken {
            note!(self, "push {id}: the store's answer breaks off");
            return self.end_stream(id, false);
        }
        if let Some(Action::Body(_)) = self.step(id, StreamEvent::ResponseEnd(body)) {
            self.note_grants(body);
        }
        self.follow_stream(id)?;
        self.end_stream(id, true)
    }

    pub(super) fn pusher_gone(&mut self, id: StreamId) -> Step {
        if self.streams.contains_key(&id) {
            note!(self, "push {id}: huawei hangs up");
            return self.end_stream(id, false);
        }
        Ok(())
    }

    /// The filter answers by itself; the request goes no further.
    fn answered_by_filter(&mut self, id: StreamId, reply: &PushReply) -> Step {
        self.reply_goes_out(id, reply)?;
        self.follow_stream(id)
    }

    /// The worker answers a stream that it held.
    pub(super) fn worker_replied(&mut self, id: StreamId, root: RootId, reply: &PushReply) -> Step {
        let Some(stream) = self.streams.get(&id).filter(|stream| stream.root == root && !stream.is_answered) else {
            note!(self, "push {id} has a reply, and is over");
            return Ok(());
        };
        let is_early = *reply == PushReply::Recorded && stream.push_id.is_none();
        check(Promise::P2Kept, !is_early, || format!("push {id} is recorded before it is complete"))?;
        self.excuse_refusal(id, reply);
        self.reply_goes_out(id, reply)
    }

    fn reply_goes_out(&mut self, id: StreamId, reply: &PushReply) -> Step {
        let status = reply.status();
        note!(self, "push {id} is answered {status} by the filter");
        let Some(root) = self.streams.get(&id).map(|stream| stream.root) else { return Ok(()) };
        if self.at_root(root).is_some_and(|root| root.driver.awaits_response(id)) {
            let event = StreamEvent::ResponseHeaders {
                status: Some(status),
                content_type: Some(b"application/json"),
                committed: None,
                is_end: false,
            };
            let action = self.step(id, event);
            check(Promise::P2Kept, action == Some(Action::LeaveAlone), || {
                format!("the filter changes its own reply to push {id}: {action:?}")
            })?;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.status = Some(status);
        stream.is_answered = true;
        self.check_verdict(id, status)?;
        let pause = self.random.pick([0, 0, 1, 2]);
        self.after(pause, Event::StreamOver(id));
        Ok(())
    }

    /// P2: the status that a push gets is right.
    pub(super) fn check_verdict(&mut self, id: StreamId, status: u16) -> Step {
        let Some(stream) = self.streams.get(&id) else { return Ok(()) };
        let (batch, push_id) = (stream.batch.clone(), stream.push_id);
        // The reply comes with the wake-up that follows: meanwhile the rest of a push that gave way may have arrived.
        let is_just_complete = self.now.saturating_sub(stream.completed_at) <= WAKE_UP_MS;
        let gave_way = status == 408 && (!stream.is_complete || is_just_complete);
        if status == 200 {
            let is_own = push_id.is_some_and(|push_id| self.truth.committed.contains(&push_id));
            check(Promise::P2Kept, is_own, || format!("push {id} is answered 200 and was not committed"))?;
        }
        if gave_way { Ok(()) } else { self.check_answer(Some(status), &batch) }
    }

    pub(super) fn stream_over(&mut self, id: StreamId) -> Step {
        self.end_stream(id, true)
    }

    /// The stream is over, for Huawei and for the filter.
    fn end_stream(&mut self, id: StreamId, is_complete: bool) -> Step {
        let Some(root) = self.streams.get(&id).map(|stream| stream.root) else { return Ok(()) };
        let leaks = self.mutates(Mutation::PermitLeaked) && !is_complete;
        if !leaks {
            self.step(id, StreamEvent::Ended);
        }
        let Some(stream) = self.streams.remove(&id) else { return Ok(()) };
        let forgets = self.mutates(Mutation::LostClaimForgotten) && !stream.request.is_empty();
        if let Some(root) = self.roots.get_mut(&root) {
            root.streams = root.streams.saturating_sub(1);
            if forgets {
                root.forgotten.extend(stream.push_id);
            }
        }
        self.follow(root)?;
        let is_late = self.is_after_the_faults(stream.began);
        let is_good = stream.status == Some(200) && is_complete;
        let is_excused = stream.is_excused || stream.batch.iter().any(|index| self.is_poison(*index));
        // Without faults only a gateway that is full may refuse, or one that waits for its store's next success.
        check(Promise::P8Finished, is_good || is_excused || !is_late, || {
            format!("push {id} was answered {:?} although nothing is wrong any more", stream.status)
        })?;
        self.push_ended(&stream.batch, stream.counts, stream.status, is_complete, is_excused);
        self.end_drained(stream.root)
    }

    pub(super) fn is_poison(&self, index: usize) -> bool {
        self.scenario.cdrs.get(index).is_some_and(|cdr| cdr.is_poison)
    }

    /// The gateway died under its streams: nobody tells the filter.
    pub(super) fn drop_streams(&mut self, gateway: usize) {
        let ids: Vec<_> =
            self.streams.iter().filter(|(_, stream)| stream.gateway == gateway).map(|(id, _)| *id).collect();
        for stream in ids.iter().filter_map(|id| self.streams.remove(id)).collect::<Vec<_>>() {
            self.push_ended(&stream.batch, stream.counts, stream.status, false, false);
        }
    }

    /// Whether the worker answers the pushes of that root.
    pub(super) fn is_held(&self, root: RootId) -> bool {
        self.roots.get(&root).is_some_and(|root| root.config.headers == HeadersMode::Hold)
    }
}

/// Mutated: a push id that is a hash (FNV-1a).
fn hash(body: &[u8]) -> [u8; 16] {
    let hash = body.iter().fold(0x6C62_272E_07BB_0142_62B8_2175_6295_C58D_u128, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B)
    });
    hash.to_be_bytes()
}

fn left_alone() -> Step {
    Err(Stop::Broken(Promise::P2Kept, "the filter leaves a push alone".to_owned()))
}
