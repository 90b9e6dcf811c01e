//! Gateways and their workers: the filter's own worker, each with its own host.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use private_number_gateway::config::Config;
use private_number_gateway::dispatcher::{HttpAnswer, Refusal};
use private_number_gateway::driver::{Driver, Event as StreamEvent, Sent};
use private_number_gateway::journal::Level;
use privatenumber_contract::{
    Outcomes, OutcomesAnswer, Private, Push, PushAnswer, PushBatch, PushBatchAnswer, PushId, PushVerdict, Record,
    WorkRequest, paths,
};

use super::event::{Asker, Callback, Event, Heard, Letter, Reply, RootId, StreamId};
use super::store::is_claims;
use super::truth::End;
use super::{World, note};
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, check};
use crate::random::Random;
use crate::scenario::UNBOUNDED;
use crate::store::StoreAnswer;

/// How long a granted call may wait for its callback where nothing of its own business holds it up, milliseconds.
const AT_ONCE_MS: u64 = 100;

/// How long a complete push may wait until it is asked for, where batches do not fail, milliseconds.
const ASKED_WITHIN_MS: u64 = 300;

/// How much longer for each push ahead of it: four batches that hang stop being young after 250 ms, and retries take turns.
const ASKED_LATER_MS: u64 = 125;

/// With nothing wrong any more a push has its verdict within this time, milliseconds: some of the longest pauses.
const SETTLED_WITHIN_MS: u64 = 7_200_000;

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
    /// Mutated: claim requests that a restart asks again, with their paths.
    pub remembered: Vec<(&'static str, Vec<u8>)>,
}

impl Gateway {
    pub fn new(workers: usize) -> Self {
        Self { workers, serving: Vec::new(), variant: 0, wall_offset: 0, remembered: Vec::new() }
    }
}

/// What a worker's host decides by itself while the worker is at work.
#[derive(Debug)]
pub struct HostSide {
    random: RefCell<Random>,
    /// How often a request is refused, per mille.
    pub refusal_rate: Cell<u64>,
    refusals: Cell<u64>,
    refused_calls: RefCell<Vec<String>>,
    /// Mutated: callbacks that left and were reported as refused.
    pub lies: bool,
    /// Mutated: the random bits that are drawn next.
    pub forced: Cell<Option<[u8; 16]>>,
    /// The random bits that were drawn last.
    pub drawn: Cell<[u8; 16]>,
    left: RefCell<Vec<(String, String, Vec<u8>)>>,
}

/// A request to the store that is under way.
#[derive(Clone, Debug)]
struct UnderWay {
    path: &'static str,
    body: Rc<Vec<u8>>,
    push_ids: Vec<PushId>,
}

/// One configuration of one worker.
pub struct Root {
    pub gateway: usize,
    pub config: Rc<Config>,
    pub driver: Driver,
    pub host: Rc<HostSide>,
    /// Streams that belong to it.
    pub streams: usize,
    pub is_draining: bool,
    /// Whether it said that nothing is pending.
    says_idle: bool,
    /// When it has something to do, and when it is driven.
    drives: Option<(u64, u64)>,
    /// Batches without a verdict since the last with one.
    pub failures: u32,
    /// When it last took new pushes only now and then, because batches failed.
    closed_at: Option<u64>,
    /// Callbacks whose answer is awaited, with their call ids.
    pub callbacks: BTreeMap<u32, String>,
    /// Requests to the store whose answer is awaited.
    letters: BTreeMap<u32, UnderWay>,
    /// Requests to the store whose answer was a timeout.
    given_up: BTreeSet<u32>,
    /// When each complete push began to wait for being asked for, and how many were ahead of it.
    pub complete_at: BTreeMap<PushId, (u64, usize)>,
    /// Push ids that were asked for, since when.
    asked: BTreeMap<PushId, u64>,
    /// Mutated: pushes that are not asked for any more.
    pub forgotten: BTreeSet<PushId>,
    /// Mutated: callbacks that wait for the one before.
    pub held: VecDeque<Sent>,
    /// Mutated: requests to the store that wait for the one before.
    held_letters: VecDeque<Sent>,
    /// Mutated: push ids that took another's place, by token: the new one, then the old.
    relabelled: BTreeMap<u32, Vec<(PushId, PushId)>>,
}

impl Root {
    /// Whether the answer known by `token` is awaited.
    pub fn awaits(&self, token: u32) -> bool {
        self.letters.contains_key(&token) || self.callbacks.contains_key(&token)
    }

    /// A batch has ended, with verdicts or without.
    fn note_batch(&mut self, says_something: bool, now: u64) {
        if self.failures >= 3 {
            self.closed_at = Some(now);
        }
        self.failures = if says_something { 0 } else { self.failures + 1 };
    }
}

impl World<'_> {
    /// Starts a gateway with its present configuration.
    pub(super) fn start(&mut self, gateway: usize) -> Step {
        if self.gateways.get(gateway).is_none_or(|known| !known.serving.is_empty()) {
            return Ok(());
        }
        note!(self, "gateway {gateway} starts");
        self.serve(gateway)?;
        let remembered = self.gateways.get_mut(gateway).map(|known| std::mem::take(&mut known.remembered));
        for (path, body) in remembered.into_iter().flatten() {
            let push_ids = push_ids(&body, path);
            self.after(0, Event::LetterArrives(Letter { path, body, asker: Asker::Nobody, push_ids }));
        }
        Ok(())
    }

    /// Puts new roots in place, one for each worker.
    pub(super) fn serve(&mut self, gateway: usize) -> Step {
        let Some((workers, variant)) = self.gateways.get(gateway).map(|known| (known.workers, known.variant)) else {
            return Ok(());
        };
        let Some(config) = self.scenario.variants.get(variant).map(|variant| Rc::clone(&variant.config)) else {
            return Ok(());
        };
        let ids: Vec<RootId> = (0..workers).map(|_| self.next_id()).collect();
        for id in &ids {
            let root = self.root(gateway, Rc::clone(&config));
            self.roots.insert(*id, root);
            self.truth.variants.insert(*id, variant);
        }
        note!(self, "gateway {gateway} serves configuration {variant} with roots {ids:?}");
        for id in &ids {
            // Some request reaches every worker, be it somebody's health check: until then it takes no works.
            if let Some(root) = self.at_root(*id) {
                let headers = [(":path".to_owned(), b"/healthz".to_vec())];
                root.driver.step(0, StreamEvent::RequestHeaders { headers: &headers, is_end: true });
                root.driver.step(0, StreamEvent::Ended);
            }
            self.follow(*id)?;
        }
        if let Some(known) = self.gateways.get_mut(gateway) {
            known.serving = ids;
        }
        Ok(())
    }

    fn root(&mut self, gateway: usize, config: Rc<Config>) -> Root {
        let seed = self.random.next();
        let host = Rc::new(HostSide {
            random: RefCell::new(Random::new(seed)),
            refusal_rate: Cell::new(self.faults.rate(Fault::DispatchRefused)),
            refusals: Cell::new(0),
            refused_calls: RefCell::default(),
            lies: self.mutates(Mutation::DepartureTakenForRefusal),
            forced: Cell::new(None),
            drawn: Cell::new([0; 16]),
            left: RefCell::default(),
        });
        let mut driver = Driver::new(Rc::clone(&config), self.gateway_now(gateway), seed);
        let side = Rc::clone(&host);
        driver.draw(move || {
            let bits = side.forced.take().unwrap_or_else(|| side.random.borrow_mut().bytes());
            side.drawn.set(bits);
            Some(bits)
        });
        let side = Rc::clone(&host);
        driver.refuse(move |request| {
            let mut random = side.random.borrow_mut();
            let header = |name| request.head.headers.iter().find(|(known, _)| known.as_str() == name);
            let call_id = header("webhook-id").map(|(_, value)| value.as_str().to_owned());
            if random.chance(side.refusal_rate.get()) {
                side.refusals.set(side.refusals.get() + 1);
                side.refused_calls.borrow_mut().extend(call_id);
                let has_cluster = random.chance(500);
                return Some(if has_cluster { Refusal::NoHealthyHost } else { Refusal::NoCluster });
            }
            if side.lies
                && let Some(call_id) = call_id
                && random.chance(250)
            {
                side.refused_calls.borrow_mut().push(call_id.clone());
                let left = (call_id, request.head.cluster.to_string(), request.body().to_vec());
                side.left.borrow_mut().push(left);
                return Some(Refusal::NoHealthyHost);
            }
            None
        });
        Root {
            gateway,
            config,
            driver,
            host,
            streams: 0,
            is_draining: false,
            says_idle: false,
            drives: None,
            failures: 0,
            closed_at: None,
            callbacks: BTreeMap::new(),
            letters: BTreeMap::new(),
            given_up: BTreeSet::new(),
            complete_at: BTreeMap::new(),
            asked: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            held: VecDeque::new(),
            held_letters: VecDeque::new(),
            relabelled: BTreeMap::new(),
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

    /// The root, with its clocks set to this moment.
    pub(super) fn at_root(&mut self, id: RootId) -> Option<&mut Root> {
        let now = self.gateway_now(self.roots.get(&id)?.gateway);
        let root = self.roots.get_mut(&id)?;
        root.driver.set_now(now);
        Some(root)
    }

    /// A root has something to do. Returns whether anything came of it.
    pub(super) fn drive(&mut self, id: RootId) -> Result<bool, crate::promise::Stop> {
        let now = self.now;
        let Some(root) = self.at_root(id) else { return Ok(false) };
        // What was overtaken by something earlier is nothing.
        if root.drives.is_none_or(|(_, at)| at != now) {
            return Ok(false);
        }
        root.drives = None;
        root.driver.drive();
        self.follow(id)
    }

    /// Tells a root to drain.
    pub(super) fn drain(&mut self, id: RootId) -> Step {
        let Some(root) = self.at_root(id) else { return Ok(()) };
        root.is_draining = true;
        root.says_idle = root.driver.drain();
        self.follow(id).map(drop)
    }

    /// After whatever a root was told: takes what it sent and replied, and sees when it has something to do. Returns whether there was
    /// anything.
    pub(super) fn follow(&mut self, id: RootId) -> Result<bool, crate::promise::Stop> {
        let mut happened = false;
        let Some(root) = self.roots.get_mut(&id) else { return Ok(false) };
        let (log, sent, replies) = (root.driver.take_log(), root.driver.take_sent(), root.driver.take_replies());
        let refused = root.host.refused_calls.take();
        let left = root.host.left.take();
        self.faults.count(Fault::DispatchRefused, root.host.refusals.take());
        for (level, line) in log {
            happened = true;
            if level >= Level::Debug {
                note!(self, "root {id}: {line}");
            }
        }
        for call_id in refused {
            self.truth.call(&call_id).was_refused = true;
        }
        for (call_id, ak, body) in left {
            self.callback_leaves(Callback { sender: None, ak, call_id, session_id: session_id(&body), timeout_ms: 0 });
        }
        for (stream, reply) in replies {
            happened = true;
            self.worker_replied(stream, id, &reply)?;
        }
        for sent in sent {
            happened = true;
            self.depart(id, sent)?;
        }
        let now = self.now;
        let Some(root) = self.roots.get(&id) else { return Ok(happened) };
        if let Some(wanted) = root.driver.time()
            && root.drives.is_none_or(|(known, _)| wanted < known)
        {
            // Envoy is late now and then.
            let at = wanted.max(now) + self.random.pick([0, 0, 1, 2]);
            if let Some(root) = self.roots.get_mut(&id) {
                root.drives = Some((wanted, at));
            }
            self.queue.put(at, Event::Drive(id));
        }
        self.end_drained(id)?;
        Ok(happened)
    }

    fn depart(&mut self, id: RootId, sent: Sent) -> Step {
        let path = match sent.path.as_str() {
            paths::OUTCOMES => paths::OUTCOMES,
            paths::PUSHES => paths::PUSHES,
            paths::PUSH_BATCHES => paths::PUSH_BATCHES,
            paths::WORK_TAKE => paths::WORK_TAKE,
            _ => {
                let holds = self.mutates(Mutation::OneCallbackAtATime);
                match self.roots.get_mut(&id) {
                    Some(root) if holds && !root.callbacks.is_empty() => root.held.push_back(sent),
                    _ => return self.depart_callback(id, sent),
                }
                return Ok(());
            }
        };
        if path == paths::OUTCOMES {
            self.depart_outcomes(id, sent);
            return Ok(());
        }
        if path == paths::WORK_TAKE {
            return self.depart_take(id, sent);
        }
        let holds = self.mutates(Mutation::OneBatchAtATime);
        match self.roots.get_mut(&id) {
            Some(root) if holds && root.letters.values().any(|known| is_claims(known.path)) => {
                root.held_letters.push_back(sent);
                Ok(())
            }
            _ => self.depart_claims(id, sent, path),
        }
    }

    fn depart_callback(&mut self, id: RootId, sent: Sent) -> Step {
        let Sent { token, cluster: ak, timeout_ms, .. } = &sent;
        let (token, ak, timeout_ms) = (*token, ak.clone(), *timeout_ms);
        let call_id = sent.header("webhook-id").unwrap_or_default().to_owned();
        let session_id = session_id(&sent.body);
        self.check_prompt(id, &ak, &call_id)?;
        note!(self, "root {id}: callback of {call_id} leaves for {ak}, token {token}");
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        root.callbacks.insert(token, call_id.clone());
        self.callback_leaves(Callback { sender: Some((id, token)), ak, call_id, session_id, timeout_ms });
        self.after(timeout_ms, Event::CallbackHeard(id, token, Heard::Timeout));
        Ok(())
    }

    fn callback_leaves(&mut self, callback: Callback) {
        self.truth.call(&callback.call_id).departures += 1;
        self.progressed_at = self.now;
        self.figures.departures += 1;
        let (sender, travel) = (callback.sender, self.travel());
        let lost = if self.strikes(Fault::BusinessRequestLost) {
            Some(Heard::Reset)
        } else if self.strikes(Fault::BusinessUnreachable) {
            Some(Heard::Unreachable)
        } else {
            None
        };
        match (lost, sender) {
            (Some(heard), Some((id, token))) => self.after(travel, Event::CallbackHeard(id, token, heard)),
            (Some(_), None) => {}
            (None, _) => self.after(travel, Event::CallbackArrives(callback)),
        }
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

    fn depart_outcomes(&mut self, id: RootId, sent: Sent) {
        let Sent { token, body, timeout_ms, .. } = sent;
        let under_way = UnderWay { path: paths::OUTCOMES, body: Rc::default(), push_ids: Vec::new() };
        if let Some(root) = self.roots.get_mut(&id) {
            root.letters.insert(token, under_way);
        }
        note!(self, "root {id}: outcomes leave, token {token}");
        let asker = Asker::Root { root: id, token };
        if self.mutates(Mutation::OutcomeReportDropped) {
            let count = serde_json::from_slice::<Outcomes>(&body).map_or(0, |batch| batch.outcomes.len());
            let receipt = OutcomesAnswer { recorded: count as u64, ..OutcomesAnswer::default() };
            let answer = StoreAnswer {
                status: 200,
                content_type: None,
                committed: None,
                body: serde_json::to_vec(&receipt).unwrap_or_default(),
            };
            self.after(1, Event::ReplyArrives(asker, Reply::Store { answer, ends_early: false }));
            return;
        }
        let travel = self.travel();
        let letter = Letter { path: paths::OUTCOMES, body, asker, push_ids: Vec::new() };
        self.after(travel, Event::LetterArrives(letter));
        self.after(timeout_ms, Event::ReplyArrives(asker, Reply::Timeout));
    }

    fn depart_take(&mut self, id: RootId, sent: Sent) -> Step {
        let Sent { token, mut body, timeout_ms, .. } = sent;
        let request: WorkRequest = serde_json::from_slice(&body).map_err(anyhow::Error::from)?;
        note!(self, "root {id}: request for {} works as {} leaves, token {token}", request.most, request.push_id);
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        let is_under_way = root.letters.values().any(|known| known.path == paths::WORK_TAKE);
        check(Promise::P6Standing, !is_under_way, || format!("root {id} asks for works twice at once"))?;
        let is_again = root.asked.insert(request.push_id, self.now).is_some();
        self.truth.holders.insert(request.push_id, id);
        self.figures.works_asked_again += u64::from(is_again);
        if is_again && self.mutation == Some(Mutation::WorksAskedAgainUnderNewPushId) {
            let new = PushId::from_bytes(self.random.bytes());
            let text = String::from_utf8_lossy(&body).replace(&request.push_id.to_string(), &new.to_string());
            body = text.into_bytes();
            root.relabelled.insert(token, vec![(new, request.push_id)]);
        }
        root.letters.insert(token, UnderWay { path: paths::WORK_TAKE, body: Rc::default(), push_ids: Vec::new() });
        let (asker, travel) = (Asker::Root { root: id, token }, self.travel());
        self.after(travel, Event::LetterArrives(Letter { path: paths::WORK_TAKE, body, asker, push_ids: Vec::new() }));
        self.after(timeout_ms, Event::ReplyArrives(asker, Reply::Timeout));
        Ok(())
    }

    fn depart_claims(&mut self, id: RootId, sent: Sent, path: &'static str) -> Step {
        let Sent { token, mut body, timeout_ms, .. } = sent;
        let push_ids = push_ids(&body, path);
        self.check_asked(id, &push_ids)?;
        let (now, mutation) = (self.now, self.mutation);
        note!(self, "root {id}: request to {path} for {} pushes leaves, token {token}", push_ids.len());
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        let is_again = push_ids.iter().any(|push_id| root.asked.contains_key(push_id));
        let forgets = mutation == Some(Mutation::LostClaimForgotten) && is_again
            || push_ids.iter().any(|push_id| root.forgotten.contains(push_id));
        for push_id in &push_ids {
            root.asked.entry(*push_id).or_insert(now);
            root.complete_at.remove(push_id);
            self.truth.holders.insert(*push_id, id);
        }
        if is_again {
            self.figures.asked_again += 1;
        }
        if is_again && mutation == Some(Mutation::AskedAgainUnderNewPushId) {
            let mut pairs = Vec::new();
            let mut text = String::from_utf8_lossy(&body).into_owned();
            for old in &push_ids {
                let new = PushId::from_bytes(self.random.bytes());
                text = text.replace(&old.to_string(), &new.to_string());
                pairs.push((new, *old));
            }
            body = text.into_bytes();
            root.relabelled.insert(token, pairs);
        }
        if mutation == Some(Mutation::RestartReplaysClaims)
            && let Some(gateway) = self.gateways.get_mut(root.gateway)
        {
            gateway.remembered.push((path, body.clone()));
        }
        root.letters.insert(token, UnderWay { path, body: Rc::new(body.clone()), push_ids: push_ids.clone() });
        let asker = Asker::Root { root: id, token };
        if forgets {
            let reply = Reply::Store { answer: all_refused(&push_ids, path), ends_early: false };
            self.after(1, Event::ReplyArrives(asker, reply));
            return Ok(());
        }
        let travel = self.travel();
        self.after(travel, Event::LetterArrives(Letter { path, body, asker, push_ids }));
        self.after(timeout_ms, Event::ReplyArrives(asker, Reply::Timeout));
        Ok(())
    }

    /// Rules 4 and 11: nothing waits long to be asked for, and nothing is asked for for ever.
    fn check_asked(&mut self, id: RootId, push_ids: &[PushId]) -> Step {
        let (now, faults_end) = (self.now, self.scenario.faults_end);
        let Some(root) = self.roots.get(&id) else { return Ok(()) };
        let is_singly = self.truth.knew_no_batches;
        // What Envoy would not send waits for its retry, also beyond the last fault.
        let may_be_refused = self.faults.is_drawn(Fault::DispatchRefused);
        for push_id in push_ids {
            let (complete_at, ahead) = root.complete_at.get(push_id).copied().unwrap_or((now, 0));
            let waited = now.saturating_sub(complete_at);
            let is_prompt = waited <= ASKED_WITHIN_MS + ASKED_LATER_MS * ahead as u64
                || root.failures >= 3
                || root.closed_at.is_some_and(|closed_at| closed_at >= complete_at)
                || is_singly
                || self.scenario.is_crowded
                || may_be_refused && complete_at <= faults_end;
            check(Promise::P8Finished, is_prompt, || {
                format!("push {push_id} waited {waited} ms until it was asked for")
            })?;
            let since = root.asked.get(push_id).copied().unwrap_or(now);
            let quiet = now.saturating_sub(since.max(faults_end));
            check(Promise::P8Finished, quiet <= SETTLED_WITHIN_MS, || {
                format!("push {push_id} is asked for again, {quiet} ms after anything went wrong")
            })?;
        }
        Ok(())
    }

    /// The answer to a callback, or what came in its place, arrives.
    pub(super) fn callback_heard(&mut self, id: RootId, token: u32, heard: Heard) -> Step {
        let Some(root) = self.at_root(id) else { return Ok(()) };
        let call_id = root.callbacks.remove(&token);
        let is_awaited = call_id.is_some();
        // Envoy forgets a request once it has answered; what comes later reaches the filter only as a fault.
        if !is_awaited && !matches!(heard, Heard::Status(_)) {
            return Ok(());
        }
        let call_id = call_id.unwrap_or_default();
        note!(self, "root {id}: callback {call_id} token {token} hears {heard:?}, awaited: {is_awaited}");
        if heard == Heard::Timeout && self.mutation == Some(Mutation::SecondDispatchAfterTimeout) {
            self.call_back_besides(&call_id);
        }
        let taken_for = match heard {
            Heard::Timeout if self.mutates(Mutation::TimeoutTakenForNotSent) => Heard::Unreachable,
            other => other,
        };
        let Some(root) = self.at_root(id) else { return Ok(()) };
        root.driver.respond(token, &callback_answer(taken_for));
        let next = if root.callbacks.is_empty() { root.held.pop_front() } else { None };
        if let Some(sent) = next {
            self.depart_callback(id, sent)?;
        }
        self.follow(id).map(drop)
    }

    /// Mutated: a call is called back besides what the filter does.
    pub(super) fn call_back_besides(&mut self, call_id: &str) {
        let Some(call) = self.scenario.call(call_id).cloned() else { return };
        let ak = self.business_by_now(call_id).filter(|ak| self.scenario.business(ak).is_some());
        let Some(ak) = ak else { return };
        let again = Callback { sender: None, ak, call_id: call.id, session_id: call.session_id, timeout_ms: 0 };
        self.after(1, Event::CallbackArrives(again));
    }

    /// The store's answer, or what came in its place, arrives at a root.
    pub(super) fn root_replied(&mut self, id: RootId, token: u32, reply: Reply) -> Step {
        let Some(root) = self.at_root(id) else { return Ok(()) };
        let under_way = root.letters.remove(&token);
        let is_awaited = under_way.is_some();
        if !is_awaited && !matches!(reply, Reply::Store { .. }) {
            return Ok(());
        }
        if is_awaited && matches!(reply, Reply::Timeout) {
            root.given_up.insert(token);
        }
        let was_given_up = root.given_up.contains(&token);
        note!(self, "root {id}: token {token} has its reply, awaited: {is_awaited}");
        match reply {
            Reply::Store { mut answer, ends_early: false } => {
                if !is_awaited {
                    let late = was_given_up && self.mutates(Mutation::LateAnswerUsedBesides);
                    if late || !was_given_up && self.mutates(Mutation::VerdictUsedTwice) {
                        for call_id in claimed(&answer.body) {
                            self.call_back_besides(&call_id);
                        }
                    }
                }
                if let Some(under_way) = &under_way {
                    self.restore_labels(id, token, &mut answer);
                    self.mutate_answer(id, under_way, &mut answer)?;
                    self.note_verdicts(id, under_way, &answer);
                }
                self.respond_root(id, token, Some(answer.status), true, &answer);
            }
            other => {
                let (status, body): (_, &[u8]) = match other {
                    // An answer that breaks off has no headers for the filter.
                    Reply::Store { .. } => (None, b""),
                    Reply::Timeout => (Some(504), b"upstream request timeout"),
                    Reply::Unreachable | Reply::Reset => (Some(503), b"upstream connect error"),
                };
                let content_type = status.map(|_| b"text/plain".to_vec());
                let mut answer =
                    StoreAnswer { status: status.unwrap_or(0), content_type, committed: None, body: body.to_vec() };
                let mut status = status;
                if let Some(under_way) = under_way.as_ref().filter(|known| is_claims(known.path)) {
                    if self.mutates(Mutation::ErrorEndsAsking) {
                        answer = all_refused(&under_way.push_ids, under_way.path);
                        status = Some(answer.status);
                    }
                    let now = self.now;
                    if let Some(root) = self.roots.get_mut(&id) {
                        root.note_batch(false, now);
                    }
                }
                self.respond_root(id, token, status, false, &answer);
            }
        }
        self.next_letter(id)?;
        self.follow(id).map(drop)
    }

    fn respond_root(&mut self, id: RootId, token: u32, status: Option<u16>, from_upstream: bool, answer: &StoreAnswer) {
        let Some(root) = self.at_root(id) else { return };
        let heard = HttpAnswer {
            status,
            from_upstream,
            content_type: answer.content_type.as_deref(),
            committed: answer.committed.as_deref(),
            body: &answer.body,
        };
        root.driver.respond(token, &heard);
    }

    fn next_letter(&mut self, id: RootId) -> Step {
        let Some(root) = self.roots.get_mut(&id) else { return Ok(()) };
        if root.letters.values().any(|known| is_claims(known.path)) {
            return Ok(());
        }
        let Some(sent) = root.held_letters.pop_front() else { return Ok(()) };
        let path = if sent.path == paths::PUSHES { paths::PUSHES } else { paths::PUSH_BATCHES };
        self.depart_claims(id, sent, path)
    }

    /// Mutated: the answer is given the push ids that the worker knows.
    fn restore_labels(&mut self, id: RootId, token: u32, answer: &mut StoreAnswer) {
        let Some(pairs) = self.roots.get_mut(&id).and_then(|root| root.relabelled.remove(&token)) else { return };
        let mut text = String::from_utf8_lossy(&answer.body).into_owned();
        for (new, old) in pairs {
            text = text.replace(&new.to_string(), &old.to_string());
            answer.committed = answer.committed.take().map(|_| old.to_string().into_bytes());
        }
        answer.body = text.into_bytes();
    }

    /// Makes the mistakes that lie in how a batch's answer is read.
    fn mutate_answer(&mut self, id: RootId, under_way: &UnderWay, answer: &mut StoreAnswer) -> Step {
        if !is_claims(under_way.path) {
            return Ok(());
        }
        match self.mutation {
            Some(Mutation::ErrorEndsAsking) if answer.status != 200 => {
                *answer = all_refused(&under_way.push_ids, under_way.path);
            }
            Some(Mutation::VerdictsByPosition) if answer.status == 200 => {
                if let Some(body) = by_position(&under_way.body, &answer.body) {
                    answer.body = body;
                }
            }
            Some(Mutation::StreamAnsweredByBatchStatus) if answer.status == 200 => {
                for push_id in &under_way.push_ids {
                    let streams: Vec<StreamId> = self.streams_of(*push_id);
                    for stream in streams {
                        self.check_verdict(stream, 200)?;
                    }
                }
            }
            Some(Mutation::SentClaimDropped)
                if under_way.push_ids.iter().any(|push_id| self.streams_of(*push_id).is_empty()) =>
            {
                *answer = all_refused(&under_way.push_ids, under_way.path);
            }
            Some(Mutation::DeadlineInFilter) => {
                let Some(root) = self.roots.get(&id) else { return Ok(()) };
                let deadline = root.config.store.claim_deadline_ms;
                let asked = under_way.push_ids.iter().filter_map(|push_id| root.asked.get(push_id)).min();
                if asked.is_some_and(|asked| self.now.saturating_sub(*asked) > deadline) {
                    let text = String::from_utf8_lossy(&answer.body);
                    answer.body = text.replace("\"claimed\"", "\"duplicate\"").into_bytes();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_verdicts(&mut self, id: RootId, under_way: &UnderWay, answer: &StoreAnswer) {
        if under_way.path == paths::OUTCOMES {
            return;
        }
        self.note_grants(&answer.body);
        if under_way.path == paths::WORK_TAKE {
            return;
        }
        let says_something = answer.status == 200 && under_way.path == paths::PUSHES && answer.committed.is_some()
            || serde_json::from_slice::<PushBatchAnswer<'_>>(&answer.body)
                .is_ok_and(|read| read.pushes.iter().any(|result| under_way.push_ids.contains(&result.push_id)));
        // A call that is claimed twice makes both claims void.
        let calls = claimed(&answer.body);
        let says_something = says_something && calls.iter().collect::<BTreeSet<_>>().len() == calls.len();
        if answer.status == 404 {
            self.truth.knew_no_batches = true;
        }
        let now = self.now;
        let Some(root) = self.roots.get_mut(&id) else { return };
        root.note_batch(says_something, now);
    }

    /// Notes what a gateway has just learnt it is to call back.
    pub(super) fn note_grants(&mut self, body: &[u8]) {
        for call_id in claimed(body) {
            self.truth.call(&call_id).granted_at = Some(self.now);
        }
    }

    /// A root that was replaced ends once it says so and no stream of it is open, as Envoy has it.
    pub(super) fn end_drained(&mut self, id: RootId) -> Step {
        let Some(root) = self.roots.get(&id).filter(|root| root.is_draining) else { return Ok(()) };
        if !root.says_idle && !root.driver.is_drained() {
            return Ok(());
        }
        let gauges = root.driver.gauges();
        check(Promise::P8Finished, gauges.pending_calls == 0 && gauges.pushes_held == 0, || {
            format!("root {id} says that it is drained: {gauges:?}")
        })?;
        if root.streams == 0 {
            note!(self, "root {id} is drained");
            self.roots.remove(&id);
            self.truth.ends.insert(id, End::Drained);
        }
        Ok(())
    }
}

/// The `sessionId` of the record that is a callback's body.
fn session_id(body: &[u8]) -> String {
    let record: Record = serde_json::from_slice(body).unwrap_or_default();
    record.session_id.map(Private::into_exposed).unwrap_or_default()
}

/// The ids of the pushes that are asked for.
pub(super) fn push_ids(body: &[u8], path: &str) -> Vec<PushId> {
    if path == paths::PUSHES {
        serde_json::from_slice::<Push<'_>>(body).map(|push| vec![push.push_id]).unwrap_or_default()
    } else {
        serde_json::from_slice::<PushBatch<'_>>(body)
            .map(|batch| batch.pushes.iter().map(|push| push.push_id).collect())
            .unwrap_or_default()
    }
}

/// The calls that an answer, to a push or a batch, grants.
pub(super) fn claimed(body: &[u8]) -> Vec<String> {
    if let Ok(answer) = serde_json::from_slice::<PushBatchAnswer<'_>>(body) {
        let calls = answer.pushes.iter().flat_map(|result| &result.calls);
        return calls.filter(|call| call.record.is_some()).map(|call| call.call_id.to_string()).collect();
    }
    let Ok(answer) = serde_json::from_slice::<PushAnswer<'_>>(body) else { return Vec::new() };
    answer.calls.iter().filter(|call| call.record.is_some()).map(|call| call.call_id.to_string()).collect()
}

/// The answer that refuses all of these pushes for good.
pub(super) fn all_refused(push_ids: &[PushId], path: &str) -> StoreAnswer {
    let problem = r#"{"type":"about:blank","title":"Unprocessable Content","status":422}"#;
    if path == paths::PUSHES {
        return StoreAnswer {
            status: 422,
            content_type: Some(b"application/problem+json".to_vec()),
            committed: None,
            body: problem.into(),
        };
    }
    let results: Vec<_> = push_ids
        .iter()
        .map(|push_id| format!(r#"{{"pushId":"{push_id}","verdict":"refused","problem":{problem}}}"#))
        .collect();
    let body = format!(r#"{{"pushes":[{}],"worksWaiting":0}}"#, results.join(","));
    StoreAnswer { status: 200, content_type: None, committed: None, body: body.into_bytes() }
}

/// Mutated: the verdicts of a batch's answer, given to the pushes by their position.
fn by_position(asked: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
    let asked: PushBatch<'_> = serde_json::from_slice(asked).ok()?;
    let mut answer: PushBatchAnswer<'_> = serde_json::from_slice(answer).ok()?;
    for (push, result) in asked.pushes.iter().zip(&mut answer.pushes) {
        result.push_id = push.push_id;
        if result.verdict == PushVerdict::Committed {
            for (report, call) in push.calls.iter().zip(&mut result.calls) {
                call.call_id = report.key().id().into();
            }
        }
    }
    serde_json::to_vec(&answer).ok()
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
