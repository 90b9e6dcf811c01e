//! Gateways, their workers, and the roots that do the work outliving streams: what the adapter does in Envoy.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use private_number_gateway::answer::AnswerKind;
use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::{Departure, Dispatcher, HttpAnswer, Refusal};
use private_number_gateway::journal;
use privatenumber_contract::{Outcomes, OutcomesAnswer, Private, Push, PushAnswer, PushId, Record, paths};

use super::event::{Asker, Callback, Event, Heard, Letter, Reply, RootId};
use super::truth::End;
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, check};
use crate::scenario::UNBOUNDED;

/// How long a granted call may wait for its callback where nothing of its own business holds it up, milliseconds.
const AT_ONCE_MS: u64 = 100;

/// One Envoy.
#[derive(Debug)]
pub struct Gateway {
    pub workers: usize,
    /// The serving root of each worker; none while the gateway is down.
    pub serving: Vec<RootId>,
    /// The configuration it runs, by number.
    pub variant: usize,
    /// How far its wall clock is off.
    pub wall_offset: i64,
    /// Mutated: claim requests that a restart asks again.
    pub remembered: Vec<Vec<u8>>,
}

impl Gateway {
    pub fn new(workers: usize) -> Self {
        Self { workers, serving: Vec::new(), variant: 0, wall_offset: 0, remembered: Vec::new() }
    }
}

/// One configuration of one worker.
pub struct Root {
    pub gateway: usize,
    pub config: Rc<Config>,
    pub dispatcher: Dispatcher,
    /// Streams that belong to it.
    pub streams: usize,
    pub is_draining: bool,
    /// When it wakes next.
    wakes_at: Option<u64>,
    /// When it last answered that it is full.
    pub was_busy_at: Option<u64>,
    /// Callbacks whose answer is awaited, with their call ids.
    pub callbacks: BTreeMap<u32, String>,
    /// Requests to the store whose answer is awaited, with their paths.
    letters: BTreeMap<u32, &'static str>,
    /// Mutated: callbacks that wait for the one before.
    pub held: VecDeque<Departure>,
    /// Mutated: push ids that took another's place.
    relabelled: BTreeMap<u32, String>,
}

impl World<'_> {
    /// Starts a gateway with its present configuration.
    pub(super) fn start(&mut self, gateway: usize) -> Step {
        if self.gateways.get(gateway).is_none_or(|known| !known.serving.is_empty()) {
            return Ok(());
        }
        note!(self, "gateway {gateway} starts");
        self.serve(gateway);
        let remembered = self.gateways.get_mut(gateway).map(|known| std::mem::take(&mut known.remembered));
        for body in remembered.into_iter().flatten() {
            self.after(0, Event::LetterArrives(Letter { path: paths::PUSHES, body, asker: Asker::Nobody }));
        }
        Ok(())
    }

    /// Puts new roots in place, one for each worker.
    pub(super) fn serve(&mut self, gateway: usize) {
        let Some((workers, variant)) = self.gateways.get(gateway).map(|known| (known.workers, known.variant)) else {
            return;
        };
        let Some(config) = self.scenario.variants.get(variant).map(|variant| Rc::clone(&variant.config)) else {
            return;
        };
        let ids: Vec<RootId> = (0..workers).map(|_| self.next_id()).collect();
        for id in &ids {
            let root = Root {
                gateway,
                config: Rc::clone(&config),
                dispatcher: Dispatcher::new(Rc::clone(&config)),
                streams: 0,
                is_draining: false,
                wakes_at: None,
                was_busy_at: None,
                callbacks: BTreeMap::new(),
                letters: BTreeMap::new(),
                held: VecDeque::new(),
                relabelled: BTreeMap::new(),
            };
            self.roots.insert(*id, root);
            self.truth.variants.insert(*id, variant);
        }
        note!(self, "gateway {gateway} serves configuration {variant} with roots {ids:?}");
        if let Some(known) = self.gateways.get_mut(gateway) {
            known.serving = ids;
        }
    }

    /// A serving root of the gateway, as its kernel would pick a worker; `None` while it is down.
    pub(super) fn current_root(&mut self, gateway: usize) -> Option<RootId> {
        let serving = &self.gateways.get(gateway)?.serving;
        if serving.is_empty() {
            return None;
        }
        serving.get(self.random.index(serving.len())).copied()
    }

    /// A stream told the root's dispatcher something: the root is woken if that brought work.
    pub(super) fn stream_was_heard(&mut self, id: RootId) {
        self.read_journal(id);
        let Some(root) = self.roots.get_mut(&id) else { return };
        if root.dispatcher.take_stirred() {
            let pause = self.random.pick([0, 0, 1, 2]);
            self.wake_at(id, self.now + pause);
        }
    }

    fn wake_at(&mut self, id: RootId, at: u64) {
        let Some(root) = self.roots.get_mut(&id) else { return };
        if root.wakes_at.is_none_or(|known| at < known) {
            root.wakes_at = Some(at);
            self.queue.put(at, Event::Wake(id));
        }
    }

    pub(super) fn wake(&mut self, id: RootId) -> Step {
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        // A wake-up that was overtaken by an earlier one is none.
        if root.wakes_at != Some(self.now) {
            return Ok(());
        }
        root.wakes_at = None;
        self.work(id)
    }

    /// Sends all that is to leave, and ends the root if it is drained.
    pub(super) fn work(&mut self, id: RootId) -> Step {
        loop {
            let Some(gateway) = self.roots.get(&id).map(|root| root.gateway) else { return Ok(()) };
            let now = self.gateway_now(gateway);
            let Some(departure) = self.roots.get_mut(&id).and_then(|root| root.dispatcher.poll(now)) else { break };
            self.depart(id, departure)?;
        }
        self.read_journal(id);
        let Some(root) = self.roots.get(&id) else { return Ok(()) };
        if let Some(pause) = root.dispatcher.next_wake_up(self.gateway_now(root.gateway)) {
            self.wake_at(id, self.now + pause.max(1));
        }
        self.end_drained(id)
    }

    fn depart(&mut self, id: RootId, departure: Departure) -> Step {
        let path = departure.head.headers.iter().find(|(name, _)| name.as_str() == ":path");
        let path = match path.map(|(_, value)| value.as_str()) {
            Some(paths::OUTCOMES) => paths::OUTCOMES,
            Some(paths::PUSHES) => paths::PUSHES,
            _ => {
                let holds = self.mutates(Mutation::OneCallbackAtATime);
                match self.roots.get_mut(&id) {
                    Some(root) if holds && !root.callbacks.is_empty() => root.held.push_back(departure),
                    _ => return self.depart_callback(id, departure),
                }
                return Ok(());
            }
        };
        self.depart_letter(id, departure, path);
        Ok(())
    }

    fn refusal(&mut self) -> Option<Refusal> {
        let strikes = self.strikes(Fault::DispatchRefused);
        let has_cluster = self.random.chance(500);
        strikes.then_some(if has_cluster { Refusal::NoHealthyHost } else { Refusal::NoCluster })
    }

    fn depart_callback(&mut self, id: RootId, departure: Departure) -> Step {
        let refusal = self.refusal();
        let token = self.next_id();
        let Some(gateway) = self.roots.get(&id).map(|root| root.gateway) else { return Ok(()) };
        let now = self.gateway_now(gateway);
        let header = |name| departure.head.headers.iter().find(|(known, _)| known.as_str() == name);
        let call_id = header("webhook-id").map(|(_, value)| value.as_str().to_owned()).unwrap_or_default();
        let record: Record = serde_json::from_slice(departure.body()).unwrap_or_default();
        let session_id = record.session_id.map(Private::into_exposed).unwrap_or_default();
        let ak = departure.head.cluster.to_string();
        let timeout_ms = u64::try_from(departure.head.timeout.as_millis()).unwrap_or(u64::MAX);
        self.check_prompt(id, &ak, &call_id)?;
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        if let Some(refusal) = refusal {
            note!(self, "root {id}: callback of {call_id} is refused: {refusal:?}");
            self.truth.call(&call_id).was_refused = true;
            root.dispatcher.refused(departure.ticket, refusal, now);
            return Ok(());
        }
        note!(self, "root {id}: callback of {call_id} leaves for {ak}, token {token}");
        if self.mutation == Some(Mutation::DepartureTakenForRefusal) && self.random.chance(250) {
            root.dispatcher.refused(departure.ticket, Refusal::NoHealthyHost, now);
            self.truth.call(&call_id).was_refused = true;
        } else {
            root.dispatcher.sent(departure.ticket, token, now);
            root.callbacks.insert(token, call_id.clone());
        }
        self.truth.call(&call_id).departures += 1;
        self.figures.departures += 1;
        let callback = Callback { sender: Some((id, token)), ak, call_id, session_id, timeout_ms };
        let travel = self.travel();
        if self.strikes(Fault::BusinessRequestLost) {
            self.after(travel, Event::CallbackHeard(id, token, Heard::Reset));
        } else if self.strikes(Fault::BusinessUnreachable) {
            self.after(travel, Event::CallbackHeard(id, token, Heard::Unreachable));
        } else {
            self.after(travel, Event::CallbackArrives(callback));
        }
        self.after(timeout_ms, Event::CallbackHeard(id, token, Heard::Timeout));
        Ok(())
    }

    /// P4: where nothing of its own business holds it up, a callback leaves at once.
    fn check_prompt(&mut self, id: RootId, ak: &str, call_id: &str) -> Step {
        let variant = self.truth.variants.get(&id).and_then(|variant| self.scenario.variants.get(*variant));
        let is_unbounded = variant
            .is_some_and(|variant| variant.concurrency.iter().any(|(known, most)| known == ak && *most >= UNBOUNDED));
        let now = self.now;
        let call = self.truth.call(call_id);
        let waited = call.granted_at.map_or(0, |granted_at| now.saturating_sub(granted_at));
        check(Promise::P4Apart, !is_unbounded || call.was_refused || waited <= AT_ONCE_MS, || {
            format!("call {call_id} waited {waited} ms for its callback although its business holds nothing up")
        })
    }

    fn depart_letter(&mut self, id: RootId, departure: Departure, path: &'static str) {
        let refusal = self.refusal();
        let token = self.next_id();
        let fresh = PushId::from_bytes(self.random.bytes());
        let Some(gateway) = self.roots.get(&id).map(|root| root.gateway) else { return };
        let now = self.gateway_now(gateway);
        let mut body = departure.body().to_vec();
        let timeout = u64::try_from(departure.head.timeout.as_millis()).unwrap_or(u64::MAX);
        let Some(root) = self.roots.get_mut(&id) else { return };
        if let Some(refusal) = refusal {
            note!(self, "root {id}: request to {path} is refused: {refusal:?}");
            root.dispatcher.refused(departure.ticket, refusal, now);
            return;
        }
        root.dispatcher.sent(departure.ticket, token, now);
        root.letters.insert(token, path);
        note!(self, "root {id}: request to {path} leaves, token {token}");
        if path == paths::PUSHES {
            self.figures.asked_again += 1;
            if self.mutation == Some(Mutation::AskedAgainUnderNewPushId)
                && let Ok(mut push) = serde_json::from_slice::<Push<'_>>(&body)
            {
                let held = std::mem::replace(&mut push.push_id, fresh);
                root.relabelled.insert(token, held.to_string());
                body = serde_json::to_vec(&push).unwrap_or_default();
            }
        } else if self.mutation == Some(Mutation::OutcomeReportDropped) {
            let count = serde_json::from_slice::<Outcomes>(&body).map_or(0, |batch| batch.outcomes.len());
            let receipt = OutcomesAnswer { recorded: count as u64, ..OutcomesAnswer::default() };
            let answer = crate::store::StoreAnswer {
                status: 200,
                content_type: None,
                committed: None,
                body: serde_json::to_vec(&receipt).unwrap_or_default(),
            };
            let reply = Reply::Store { answer, ends_early: false };
            self.after(1, Event::ReplyArrives(Asker::Root { root: id, token }, reply));
            return;
        }
        let asker = Asker::Root { root: id, token };
        let travel = self.travel();
        self.after(travel, Event::LetterArrives(Letter { path, body, asker }));
        self.after(timeout, Event::ReplyArrives(asker, Reply::Timeout));
    }

    /// The answer to a callback, or what came in its place, arrives.
    pub(super) fn callback_heard(&mut self, id: RootId, token: u32, heard: Heard) -> Step {
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        let call_id = root.callbacks.remove(&token);
        let is_awaited = call_id.is_some();
        // Envoy forgets a request once it has answered; what comes later reaches the filter only as a fault.
        if !is_awaited && !matches!(heard, Heard::Status(_)) {
            return Ok(());
        }
        let call_id = call_id.unwrap_or_default();
        note!(self, "root {id}: callback {call_id} token {token} hears {heard:?}, awaited: {is_awaited}");
        if heard == Heard::Timeout && self.mutation == Some(Mutation::SecondDispatchAfterTimeout) {
            let call = self.scenario.call(&call_id).cloned();
            if let Some((call, ak)) = call.and_then(|call| call.ak.clone().map(|ak| (call, ak))) {
                let again = Callback { sender: None, ak, call_id, session_id: call.session_id, timeout_ms: 0 };
                self.after(1, Event::CallbackArrives(again));
            }
        }
        let taken_for = match heard {
            Heard::Timeout if self.mutates(Mutation::TimeoutTakenForNotSent) => Heard::Unreachable,
            other => other,
        };
        let answer = callback_answer(taken_for);
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        let offset = self.gateways.get(root.gateway).map_or(0, |gateway| gateway.wall_offset);
        let now = super::Now { monotonic_ms: self.now, wall_ms: super::wall(self.now, offset) };
        root.dispatcher.answered(token, &answer, now);
        let next = if root.callbacks.is_empty() { root.held.pop_front() } else { None };
        if let Some(departure) = next {
            self.depart_callback(id, departure)?;
        }
        self.work(id)
    }

    /// The store's answer, or what came in its place, arrives at a root.
    pub(super) fn root_replied(&mut self, id: RootId, token: u32, reply: Reply) -> Step {
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        let path = root.letters.remove(&token);
        if path.is_none() && !matches!(reply, Reply::Store { .. }) {
            return Ok(());
        }
        let offset = self.gateways.get(root.gateway).map_or(0, |gateway| gateway.wall_offset);
        let now = super::Now { monotonic_ms: self.now, wall_ms: super::wall(self.now, offset) };
        note!(self, "root {id}: token {token} has its reply, awaited: {}", path.is_some());
        match reply {
            Reply::Store { mut answer, ends_early: false } => {
                if let Some(old) = root.relabelled.remove(&token) {
                    answer.committed = answer.committed.map(|_| old.into_bytes());
                }
                let heard = HttpAnswer {
                    status: Some(answer.status),
                    from_upstream: true,
                    content_type: answer.content_type.as_deref(),
                    committed: answer.committed.as_deref(),
                    body: &answer.body,
                };
                root.dispatcher.answered(token, &heard, now);
                if path == Some(paths::PUSHES) {
                    self.note_grants(&answer.body);
                }
            }
            other => {
                let (status, body): (_, &[u8]) = match other {
                    // An answer that breaks off has no headers for the filter.
                    Reply::Store { .. } => (None, b""),
                    Reply::Timeout => (Some(504), b"upstream request timeout"),
                    Reply::Unreachable | Reply::Reset => (Some(503), b"upstream connect error"),
                };
                let content_type = status.map(|_| b"text/plain".as_slice());
                let heard = HttpAnswer { status, from_upstream: false, content_type, committed: None, body };
                root.dispatcher.answered(token, &heard, now);
            }
        }
        self.work(id)
    }

    /// Notes what a gateway has just learnt it is to call back.
    pub(super) fn note_grants(&mut self, body: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<PushAnswer<'_>>(body) else { return };
        for call in answer.calls.iter().filter(|call| call.record.is_some()) {
            self.truth.call(&call.call_id).granted_at = Some(self.now);
        }
    }

    fn read_journal(&mut self, id: RootId) {
        let Some(root) = self.roots.get_mut(&id) else { return };
        for event in root.dispatcher.take_journal() {
            if matches!(event, journal::Event::PushAnswered { answer: AnswerKind::Busy, .. }) {
                root.was_busy_at = Some(self.now);
            }
            note!(self, "root {id}: {}", event.to_json());
        }
    }

    /// A root that was replaced ends once nothing is pending and no stream of it is open, as Envoy has it.
    pub(super) fn end_drained(&mut self, id: RootId) -> Step {
        let is_over =
            self.roots.get(&id).is_some_and(|root| root.is_draining && root.streams == 0 && root.dispatcher.is_idle());
        if is_over {
            note!(self, "root {id} is drained");
            self.roots.remove(&id);
            self.truth.ends.insert(id, End::Drained);
        }
        Ok(())
    }
}

fn callback_answer(heard: Heard) -> HttpAnswer<'static> {
    let own = |status, body: &'static [u8]| HttpAnswer {
        status: Some(status),
        from_upstream: false,
        content_type: None,
        committed: None,
        body,
    };
    match heard {
        Heard::Status(status) => HttpAnswer { from_upstream: true, ..own(status, b"") },
        Heard::Truncated => HttpAnswer { status: None, ..own(0, b"") },
        Heard::Timeout => own(504, b"upstream request timeout"),
        Heard::Unreachable => own(
            503,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
        ),
        Heard::Reset => {
            own(503, b"upstream connect error or disconnect/reset before headers. reset reason: connection termination")
        }
    }
}
