//! One push through one gateway: what Envoy's connection manager, router and filter do with it.

use std::rc::Rc;

use private_number_gateway::exchange::{AtBody, AtEnd, AtHeaders, AtResponse, Exchange};
use private_number_gateway::now::Now;
use privatenumber_contract::{PushId, paths};

use super::event::{Asker, Callback, Event, Letter, Reply, RootId, StreamId};
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, check};

/// A push on its way.
#[derive(Debug)]
pub struct Stream {
    pub root: RootId,
    gateway: usize,
    application: usize,
    /// What it carries, by number.
    batch: Vec<usize>,
    /// Whether Huawei goes by its answer.
    counts: bool,
    began: u64,
    exchange: Exchange,
    body: Vec<u8>,
    /// What goes to the store.
    request: Vec<u8>,
    /// The route's tries so far.
    tries: u32,
    /// Whether a response has begun.
    is_answered: bool,
    /// What Huawei saw.
    status: Option<u16>,
}

impl Stream {
    pub fn new(
        root: RootId,
        gateway: usize,
        application: usize,
        batch: Vec<usize>,
        counts: bool,
        body: Vec<u8>,
        began: u64,
    ) -> Self {
        Self {
            root,
            gateway,
            application,
            batch,
            counts,
            began,
            exchange: Exchange::default(),
            body,
            request: Vec::new(),
            tries: 0,
            is_answered: false,
            status: None,
        }
    }
}

impl World<'_> {
    pub(super) fn push_headers(&mut self, id: StreamId) -> Step {
        let now = self.stream_now(id);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(root) = self.roots.get_mut(&stream.root) else { return Ok(()) };
        let headers = self.scenario.applications.get(stream.application).map(|known| known.headers.as_slice());
        let config = Rc::clone(&root.config);
        let decision =
            stream.exchange.request_headers(&config, &mut root.dispatcher, headers.unwrap_or_default(), false, now);
        let root = stream.root;
        self.stream_was_heard(root);
        match decision {
            AtHeaders::ReadBody(_) => {
                let is_slow = self.strikes(Fault::PusherSlow);
                let pause = if is_slow { self.random.between(10, 5_000) } else { self.travel() };
                self.after(pause / 2, Event::PushBody(id));
                self.after(pause, Event::PushEnd(id));
                Ok(())
            }
            AtHeaders::Answer(answer) => self.answered_by_filter(id, answer.status()),
            AtHeaders::LeaveAlone => left_alone(),
        }
    }

    pub(super) fn push_body(&mut self, id: StreamId) -> Step {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(root) = self.roots.get_mut(&stream.root) else { return Ok(()) };
        let config = Rc::clone(&root.config);
        match stream.exchange.request_body(&config, &mut root.dispatcher, stream.body.len() / 2) {
            AtBody::Wait => Ok(()),
            AtBody::Answer(answer) => self.answered_by_filter(id, answer.status()),
            AtBody::LeaveAlone => left_alone(),
        }
    }

    pub(super) fn push_end(&mut self, id: StreamId) -> Step {
        let push_id = PushId::from_bytes(self.random.bytes());
        let now = self.stream_now(id);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(root) = self.roots.get_mut(&stream.root) else { return Ok(()) };
        self.truth.holders.insert(push_id, stream.root);
        let (body, config) = (std::mem::take(&mut stream.body), Rc::clone(&root.config));
        let refusal = match stream.exchange.request_end(&config, &mut root.dispatcher, &body, push_id, now) {
            AtEnd::Forward(request) => {
                stream.request = request.to_vec();
                None
            }
            AtEnd::Answer(answer) => Some(answer.status()),
            AtEnd::LeaveAlone | AtEnd::Hold => return left_alone(),
        };
        let (root, batch) = (stream.root, stream.batch.clone());
        note!(self, "push {id} has push id {push_id}");
        self.stream_was_heard(root);
        if let Some(status) = refusal {
            return self.answered_by_filter(id, status);
        }
        if self.mutates(Mutation::BadCdrFailsThePush) && batch.iter().any(|index| !self.is_usable(*index)) {
            return self.answered_by_filter(id, 400);
        }
        if self.mutates(Mutation::CallbackBeforeClaim) {
            self.call_back_unclaimed(root, &batch);
        }
        if self.mutates(Mutation::AnsweredBeforeCommit) {
            self.check_kept(&batch)?;
        }
        if self.mutates(Mutation::RestartReplaysClaims) {
            self.remember_request(id);
        }
        let total = self.scenario.route.total_ms;
        self.after(total, Event::RouteTimeout(id));
        self.route_try(id);
        Ok(())
    }

    /// The time as the stream's gateway knows it.
    fn stream_now(&self, id: StreamId) -> Now {
        self.gateway_now(self.streams.get(&id).map_or(usize::MAX, |stream| stream.gateway))
    }

    fn is_usable(&self, index: usize) -> bool {
        self.scenario.cdrs.get(index).is_some_and(|cdr| cdr.call.is_some())
    }

    fn remember_request(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        if let Some(gateway) = self.gateways.get_mut(stream.gateway) {
            gateway.remembered.push(stream.request.clone());
        }
    }

    fn call_back_unclaimed(&mut self, root: RootId, batch: &[usize]) {
        let calls: Vec<_> = batch.iter().filter_map(|index| self.scenario.cdrs.get(*index)?.call.clone()).collect();
        for call in calls {
            let Some(business) = call.ak.as_deref().and_then(|ak| self.scenario.business(ak)) else { continue };
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
        let letter = Letter { path: paths::PUSHES, body: stream.request.clone(), asker };
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

    fn respond(
        &mut self,
        id: StreamId,
        status: u16,
        content_type: Option<&[u8]>,
        committed: Option<&[u8]>,
        is_end: bool,
    ) -> Step {
        let now = self.stream_now(id);
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(root) = self.roots.get_mut(&stream.root) else { return Ok(()) };
        let decision =
            stream.exchange.response_headers(&mut root.dispatcher, Some(status), content_type, committed, is_end, now);
        let was_answered = std::mem::replace(&mut stream.is_answered, true);
        let root = stream.root;
        match decision {
            AtResponse::Become(edits) => {
                let seen =
                    edits.set.iter().find(|(name, _)| *name == ":status").and_then(|(_, value)| value.parse().ok());
                stream.status = seen;
                let batch = stream.batch.clone();
                note!(self, "push {id} is answered {seen:?}, the store's status being {status}");
                self.stream_was_heard(root);
                self.check_answer(id, seen, &batch)?;
                if is_end { self.end_stream(id, true) } else { Ok(()) }
            }
            AtResponse::LeaveAlone => check(Promise::P2Kept, was_answered, || {
                format!("the response to push {id} passes as it came: {status}")
            }),
        }
    }

    /// The body of the response is complete, or its connection breaks.
    pub(super) fn answer_ends(&mut self, id: StreamId, body: &[u8], is_broken: bool) -> Step {
        let now = self.stream_now(id);
        if is_broken {
            note!(self, "push {id}: the store's answer breaks off");
            return self.end_stream(id, false);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(root) = self.roots.get_mut(&stream.root) else { return Ok(()) };
        let is_taken = stream.exchange.response_end(&mut root.dispatcher, body, now).is_some();
        let root = stream.root;
        if is_taken {
            self.note_grants(body);
        }
        self.stream_was_heard(root);
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
    fn answered_by_filter(&mut self, id: StreamId, status: u16) -> Step {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.status = Some(status);
        let batch = stream.batch.clone();
        note!(self, "push {id} is answered {status} by the filter");
        self.check_answer(id, Some(status), &batch)?;
        self.end_stream(id, true)
    }

    /// The stream is over, for Huawei and for the filter.
    fn end_stream(&mut self, id: StreamId, is_complete: bool) -> Step {
        let Some(mut stream) = self.streams.remove(&id) else { return Ok(()) };
        let now = self.gateway_now(stream.gateway);
        let forgets = self.mutates(Mutation::LostClaimForgotten);
        let leaks = self.mutates(Mutation::PermitLeaked) && !is_complete;
        if let Some(root) = self.roots.get_mut(&stream.root) {
            if !forgets {
                stream.exchange.gone(&mut root.dispatcher, now);
            }
            if leaks && let Some(permit) = root.dispatcher.admit(1, 0, None) {
                std::mem::forget(permit);
            }
            root.streams = root.streams.saturating_sub(1);
        }
        self.stream_was_heard(stream.root);
        let is_late = self.is_after_the_faults(stream.began);
        let is_good = stream.status == Some(200) && is_complete;
        // Without faults only a gateway that is full may refuse, and that is what its journal says.
        let is_busy = self.roots.get(&stream.root).is_some_and(|root| root.was_busy_at == Some(self.now));
        check(Promise::P8Finished, is_good || is_busy || !is_late, || {
            format!("push {id} was answered {:?} although nothing is wrong any more", stream.status)
        })?;
        self.push_ended(&stream.batch, stream.counts, stream.status, is_complete);
        self.end_drained(stream.root)
    }

    /// The gateway died under its streams: nobody tells the filter.
    pub(super) fn drop_streams(&mut self, gateway: usize) {
        let ids: Vec<_> =
            self.streams.iter().filter(|(_, stream)| stream.gateway == gateway).map(|(id, _)| *id).collect();
        for stream in ids.iter().filter_map(|id| self.streams.remove(id)).collect::<Vec<_>>() {
            self.push_ended(&stream.batch, stream.counts, stream.status, false);
        }
    }
}

fn left_alone() -> Step {
    Err(Stop::Broken(Promise::P2Kept, "the filter leaves a push alone".to_owned()))
}
