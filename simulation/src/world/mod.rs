//! One run: everything there is, and what every event does to it.

mod business;
mod event;
mod gateway;
mod huawei;
mod operator;
mod promises;
mod reconciliation;
mod replays;
mod requests;
mod store;
mod stream;
mod truth;
mod works;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use private_number_gateway::dispatcher::Gauges;
use private_number_gateway::metrics::{Gauge, Metric};
use private_number_gateway::now::Now;
use privatenumber_contract::paths;

use crate::fault::{Fault, Faults};
use crate::figures::Figures;
use crate::mutation::Mutation;
use crate::promise::{Promise, Step, Stop, Violation, check};
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{EPOCH_MS, Scenario};
use crate::store::Store;
use crate::trace::Trace;
use event::{Asker, Event, RootId, StreamId};
use gateway::{Gateway, Root};
use huawei::Huawei;
use reconciliation::Reconciliation;
use stream::Stream;
use truth::Truth;

/// More steps than any run needs: what is still busy then is busy for ever.
const MOST_STEPS: u64 = 200_000;

/// Where nothing came of anything for this long after the faults, milliseconds, nothing ever will: longer than all pauses.
const STUCK_MS: u64 = 7_200_000;

/// More ticks than any run needs.
const MOST_TICKS: u64 = 5_000_000;

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The mistake that is made on purpose.
    pub mutation: Option<Mutation>,
    /// Whether the whole trace is kept.
    pub whole_trace: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// The promise that did not hold.
    pub violation: Option<Violation>,
    /// What was counted.
    pub figures: Figures,
    /// The same for two runs only if the same happened in them.
    pub trace_hash: u64,
    /// What happened, or the end of it.
    pub trace: Vec<String>,
}

/// Everything there is in a run.
pub(crate) struct World<'s> {
    scenario: Scenario,
    mutation: Option<Mutation>,
    random: Random,
    faults: Faults,
    queue: Queue<Event>,
    now: u64,
    trace: Trace,
    figures: Figures,
    truth: Truth,
    huawei: Huawei,
    gateways: Vec<Gateway>,
    roots: BTreeMap<RootId, Root>,
    streams: BTreeMap<StreamId, Stream>,
    store: store::StoreSide<'s>,
    reconciliation: Reconciliation,
    ids: u32,
    /// When something last came of anything.
    progressed_at: u64,
}

/// Runs one seed against `store`, which other seeds may have used, but not this one.
///
/// # Errors
/// The simulation itself cannot go on; a broken promise is no error but part of the [`Run`].
pub fn run(seed: u64, store: &Store, options: Options) -> Result<Run> {
    let mut random = Random::new(seed);
    let scenario = Scenario::draw(seed, &mut random)?;
    let faults = Faults::draw(&mut random);
    let mut world = World {
        huawei: Huawei::new(&scenario),
        gateways: scenario.gateways.iter().map(|workers| Gateway::new(*workers)).collect(),
        scenario,
        mutation: options.mutation,
        random,
        faults,
        queue: Queue::default(),
        now: 0,
        trace: Trace::new(options.whole_trace),
        figures: Figures { seeds: 1, ..Figures::default() },
        truth: Truth::default(),
        roots: BTreeMap::new(),
        streams: BTreeMap::new(),
        store: store::StoreSide::new(store),
        reconciliation: Reconciliation::new(seed),
        ids: 0,
        progressed_at: 0,
    };
    let violation = match world.play() {
        Ok(()) => None,
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::Broken(promise, what)) => {
            Some(Violation { promise, step: world.figures.steps, at_ms: world.now, what })
        }
    };
    world.figures.virtual_ms = world.now;
    world.figures.faults = world.faults.counts().to_vec();
    let trace_hash = world.trace.hash();
    Ok(Run { violation, figures: world.figures, trace_hash, trace: world.trace.into_lines() })
}

/// Notes a line in the trace.
macro_rules! note {
    ($world:expr, $($text:tt)*) => { $world.trace.note($world.now, format_args!($($text)*)) };
}
use note;

impl World<'_> {
    fn play(&mut self) -> Step {
        self.begin()?;
        let mut ticks = 0_u64;
        while let Some((at, event)) = self.queue.take() {
            self.now = at.max(self.now);
            if matches!(event, Event::Drive(_)) && self.is_at_rest() {
                break;
            }
            if let Event::Drive(root) = event {
                // Ticks of which nothing comes are no steps: there would be nothing else.
                ticks += 1;
                check(Promise::P8Finished, ticks < MOST_TICKS, || "it ticks for ever".to_owned())?;
                if !self.drive(root)? {
                    continue;
                }
            }
            self.figures.steps += 1;
            self.happen(event)?;
            self.check_step()?;
            self.strike()?;
            check(Promise::P8Finished, self.figures.steps < MOST_STEPS, || "it never comes to rest".to_owned())?;
        }
        self.check_quiescence()
    }

    fn begin(&mut self) -> Step {
        self.set_clocks()?;
        self.register_bindings()?;
        for gateway in 0..self.gateways.len() {
            self.start(gateway)?;
        }
        let moments: BTreeSet<u64> = self.scenario.cdrs.iter().map(|cdr| cdr.at).collect();
        for at in moments {
            self.queue.put(at, Event::PushesDue);
        }
        for (index, binding) in self.scenario.bindings.iter().enumerate() {
            if let Some(at) = binding.comes_at.filter(|at| *at > 0) {
                self.queue.put(at, Event::BindingComes(index));
            }
        }
        self.queue.put(self.scenario.faults_end, Event::FaultsEnd);
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::PushesDue => self.pushes_due(),
            Event::PushHeaders(stream) => self.push_headers(stream),
            Event::PushBody(stream) => self.push_body(stream),
            Event::PushEnd(stream) => self.push_end(stream),
            Event::PusherGone(stream) => self.pusher_gone(stream),
            Event::LetterArrives(letter) => self.letter_arrives(letter),
            Event::Commit => self.commit(),
            Event::ReplyArrives(asker, reply) => self.reply_arrives(asker, reply),
            Event::AnswerEnds(stream, body, broken) => self.answer_ends(stream, &body, broken),
            Event::RouteTimeout(stream) => self.route_timeout(stream),
            Event::CallbackArrives(callback) => self.callback_arrives(callback),
            Event::CallbackHeard(root, token, heard) => self.callback_heard(root, token, heard),
            Event::Drive(_) => Ok(()),
            Event::StreamOver(stream) => self.stream_over(stream),
            Event::PatienceOver(stream) => self.patience_over(stream),
            Event::OthersAnswer(stream) => self.others_answer(stream),
            Event::BindingComes(index) => self.binding_comes(index),
            Event::StoreUp => self.store_up(),
            Event::Resume(ak) => {
                self.resume(ak);
                Ok(())
            }
            Event::Restart(gateway) => self.start(gateway),
            Event::FaultsEnd => self.faults_end(),
        }
    }

    /// Whether nothing more can happen than that idle workers ask for works: for ever.
    fn is_at_rest(&self) -> bool {
        self.faults.are_over()
            && self.streams.is_empty()
            && self.queue.events().all(|event| self.is_idle(event))
            && (self.are_roots_idle() && !self.works_wait() || self.now.saturating_sub(self.progressed_at) > STUCK_MS)
    }

    /// Whether the event is of no consequence, or of such a request.
    fn is_idle(&self, event: &Event) -> bool {
        let is_awaited = |root: RootId, token: u32| self.roots.get(&root).is_some_and(|root| root.awaits(token));
        match event {
            Event::Drive(_) => true,
            Event::Commit => self.store.requests.is_empty(),
            Event::LetterArrives(letter) => letter.path == paths::WORK_TAKE && !self.works_wait(),
            Event::ReplyArrives(Asker::Root { root, token }, _) => !is_awaited(*root, *token),
            Event::CallbackHeard(root, token, _) => !is_awaited(*root, *token),
            _ => false,
        }
    }

    /// Whether no root has anything left to do, or to tell.
    fn are_roots_idle(&self) -> bool {
        let is_told = |root: &Root| Gauge::ALL.iter().all(|gauge| root.driver.told(Metric::Gauge(*gauge)) == 0);
        self.roots.values().all(|root| !root.is_draining && root.driver.gauges() == Gauges::default() && is_told(root))
    }

    /// Puts an event in, `pause` milliseconds from now.
    fn after(&mut self, pause: u64, event: Event) {
        self.queue.put(self.now.saturating_add(pause), event);
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.faults.strikes(fault, &mut self.random);
        if strikes {
            note!(self, "fault: {}", fault.name());
        }
        strikes
    }

    fn mutates(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// How long a message takes between two machines.
    fn travel(&mut self) -> u64 {
        self.random.pick([0, 0, 1, 1, 2, 5])
    }

    fn next_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    /// The time as a gateway knows it.
    fn gateway_now(&self, gateway: usize) -> Now {
        let offset = self.gateways.get(gateway).map_or(0, |gateway| gateway.wall_offset);
        Now { monotonic_ms: self.now, wall_ms: wall(self.now, offset) }
    }
}

/// Wall-clock time of a machine whose clock is `offset` milliseconds off.
fn wall(now: u64, offset: i64) -> i64 {
    EPOCH_MS.saturating_add(i64::try_from(now).unwrap_or(i64::MAX)).saturating_add(offset)
}
