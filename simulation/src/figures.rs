//! What is counted over all runs.

use std::collections::BTreeMap;
use std::fmt;

use crate::fault::Fault;

/// Why a call was still unknown at the end: the gateway that held its claim died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnknownCause {
    /// Before the store committed the request that was under way.
    BeforeTheCommit,
    /// After the commit, before the callback left.
    BeforeTheCallback,
    /// After the callback left, before the store had its outcome.
    AfterTheCallback,
}

impl UnknownCause {
    const fn name(self) -> &'static str {
        match self {
            Self::BeforeTheCommit => "gateway died before the store committed its request",
            Self::BeforeTheCallback => "gateway died between commit and callback",
            Self::AfterTheCallback => "gateway died between callback and the store's receipt for its outcome",
        }
    }
}

/// Sums over runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Runs.
    pub seeds: u64,
    /// Steps.
    pub steps: u64,
    /// Virtual time, milliseconds.
    pub virtual_ms: u64,
    /// Calls and bad CDRs that Huawei had to push.
    pub cdrs: u64,
    /// Pushes by what Huawei saw: a status, or 0 where the connection ended before one.
    pub pushes: BTreeMap<u16, u64>,
    /// Commits of the store.
    pub commits: u64,
    /// Callback requests that reached a business.
    pub callbacks: u64,
    /// Callback requests that left a gateway.
    pub departures: u64,
    /// Claim requests that a root asked again.
    pub asked_again: u64,
    /// Calls that waited in the store for a binding.
    pub held: u64,
    /// Calls that waited for a paused business.
    pub paused: u64,
    /// Calls that an operator released.
    pub released: u64,
    /// Of these, calls that had been skipped.
    pub skipped_released: u64,
    /// Calls that were made of parked CDRs.
    pub parked_released: u64,
    /// Calls whose binding came while they waited for it.
    pub holds_ended_early: u64,
    /// The longest time that a work waited for a worker once it was due and the faults were over, milliseconds.
    pub latest_work_ms: u64,
    /// Requests for works that were repeated.
    pub works_asked_again: u64,
    /// Works that the store handed out.
    pub works_taken: u64,
    /// Times Envoy's route tried a push again.
    pub route_retries: u64,
    /// Pushes that Huawei repeated as they were, under the same signature.
    pub retried_as_before: u64,
    /// Pushes that the store lists as replays.
    pub replays: u64,
    /// Times the business reconciled.
    pub reconciliations: u64,
    /// Parked CDRs.
    pub parked: u64,
    /// Of these, CDRs that could be used and came with replays.
    pub parked_as_replays: u64,
    /// CDRs that Huawei gave up while faults struck, and the store never got.
    pub given_up: u64,
    /// Calls by their state at the end.
    pub calls: BTreeMap<&'static str, u64>,
    /// Unknown calls by cause.
    pub unknown: BTreeMap<UnknownCause, u64>,
    /// Faults by the order of [`Fault::ALL`].
    pub faults: Vec<u64>,
}

impl Figures {
    /// Adds the figures of other runs.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.virtual_ms += other.virtual_ms;
        self.cdrs += other.cdrs;
        self.commits += other.commits;
        self.reconciliations += other.reconciliations;
        self.callbacks += other.callbacks;
        self.departures += other.departures;
        self.asked_again += other.asked_again;
        self.held += other.held;
        self.paused += other.paused;
        self.released += other.released;
        self.skipped_released += other.skipped_released;
        self.parked_released += other.parked_released;
        self.holds_ended_early += other.holds_ended_early;
        self.latest_work_ms = self.latest_work_ms.max(other.latest_work_ms);
        self.works_taken += other.works_taken;
        self.works_asked_again += other.works_asked_again;
        self.route_retries += other.route_retries;
        self.retried_as_before += other.retried_as_before;
        self.replays += other.replays;
        self.parked_as_replays += other.parked_as_replays;
        self.parked += other.parked;
        self.given_up += other.given_up;
        add_all(&mut self.pushes, &other.pushes);
        add_all(&mut self.calls, &other.calls);
        add_all(&mut self.unknown, &other.unknown);
        self.faults.resize(Fault::ALL.len(), 0);
        for (sum, count) in self.faults.iter_mut().zip(&other.faults) {
            *sum += count;
        }
    }
}

fn add_all<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, others: &BTreeMap<K, u64>) {
    for (key, count) in others {
        *sums.entry(*key).or_default() += count;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, count: u64| writeln!(formatter, "{name:<72} {count:>14}");
        line("seeds", self.seeds)?;
        line("steps, all promises checked after each", self.steps)?;
        line("virtual time, hours", self.virtual_ms / 3_600_000)?;
        line("CDRs", self.cdrs)?;
        line("pushes", self.pushes.values().sum())?;
        for (status, count) in &self.pushes {
            match status {
                0 => line("  without an answer", *count)?,
                status => line(&format!("  answered {status}"), *count)?,
            }
        }
        line("  tried again by Envoy's route", self.route_retries)?;
        line("claim requests asked again by the root", self.asked_again)?;
        line("commits of the store", self.commits)?;
        line("reconciliations of the business", self.reconciliations)?;
        line("calls held for a binding", self.held)?;
        line("  whose binding came meanwhile", self.holds_ended_early)?;
        line("calls held for a paused business", self.paused)?;
        line("calls released", self.released)?;
        line("  that had been skipped", self.skipped_released)?;
        line("calls made of parked CDRs", self.parked_released)?;
        line("works handed out, repetitions included", self.works_taken)?;
        line("  waited for a worker at most, milliseconds, the faults being over", self.latest_work_ms)?;
        line("requests for works repeated", self.works_asked_again)?;
        line("callbacks that left", self.departures)?;
        line("callbacks that reached a business", self.callbacks)?;
        line("calls recorded", self.calls.values().sum())?;
        for (state, count) in &self.calls {
            line(&format!("  {state}"), *count)?;
        }
        for (cause, count) in &self.unknown {
            line(&format!("    {}", cause.name()), *count)?;
        }
        line("pushes repeated under their signature", self.retried_as_before)?;
        line("pushes listed as replays", self.replays)?;
        line("CDRs parked", self.parked)?;
        line("  that could be used and came with replays", self.parked_as_replays)?;
        line("CDRs given up by Huawei, every attempt having met a fault", self.given_up)?;
        line("faults", self.faults.iter().sum())?;
        for (fault, count) in Fault::ALL.iter().zip(&self.faults) {
            line(&format!("  {}", fault.name()), *count)?;
        }
        Ok(())
    }
}
