//! What a run came to: a table for people, one line of JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use privatenumber_contract::CallState;
use serde::Serialize;

use crate::Options;
use crate::huawei::Huawei;
use crate::journal::Journal;
use crate::memory::Resident;
use crate::stack::Ended;
use crate::verdict::{Evidence, pending_at_death, violations};

/// A run's account.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What decided it.
    pub seed: u64,
    /// How long faults were made, seconds.
    pub fault_seconds: u64,
    /// How long it took in all, seconds.
    pub seconds: u64,
    /// New pushes per second.
    pub rate: f64,
    /// Pushes sent, repetitions and all.
    pub pushes: u64,
    /// Pushes that arrived slowly, some hundreds at a time.
    pub slow_pushes: u64,
    /// How they were answered.
    pub answers: BTreeMap<String, u64>,
    /// Different CDRs pushed.
    pub cdrs: usize,
    /// Calls in the store.
    pub calls: usize,
    /// Parked CDRs in the store.
    pub parked: usize,
    /// Calls by their state.
    pub states: BTreeMap<&'static str, u64>,
    /// Callbacks that the businesses counted.
    pub callbacks: u64,
    /// Callbacks for the call that was called back most often.
    pub most_callbacks_per_call: u32,
    /// Calls that were pending in gateways right before they were killed; `null` where one did not say.
    pub pending_at_death: Option<u64>,
    /// Calls that read as `unknown` and were called back all the same.
    pub unknown_and_seen: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Resident memory by process.
    pub memory: BTreeMap<&'static str, Resident>,
    /// Promises that were broken.
    pub violations: Vec<String>,
}

/// Compares everything.
pub fn report(
    seed: u64,
    took: Duration,
    options: &Options,
    huawei: &Huawei,
    journal: &Journal,
    memory: &BTreeMap<&'static str, Resident>,
    ended: Ended,
) -> Report {
    let Ended { calls, parked, tallies, mut broken } = ended;
    let (cdrs, kills, answers) = (huawei.cdrs(), journal.kills(), huawei.answers());
    broken.extend(journal.broken_promises());
    broken.extend(violations(Evidence {
        cdrs: &cdrs,
        calls: &calls,
        parked: &parked,
        tallies: &tallies,
        kills: &kills,
    }));
    for (name, resident) in memory.iter().filter(|(_, resident)| !resident.is_flat()) {
        broken.push(format!(
            "memory: {name} grew from {:.1} to {:.1} MiB, more than a quarter and 16 MiB",
            resident.early_mib, resident.late_mib
        ));
    }
    // Huawei never did anything wrong.
    for (answer, count) in answers.iter().filter(|(answer, _)| answer.starts_with('4') || answer.contains("not the")) {
        broken.push(format!("answers: {count} pushes were answered {answer}"));
    }
    let mut states = BTreeMap::new();
    for call in &calls {
        *states.entry(call.state.as_str()).or_default() += 1;
    }
    // A run in which nothing happened shows nothing.
    if !states.contains_key("delivered") || parked.is_empty() || kills.is_empty() {
        broken.push(
            "the run itself: no call was delivered, none parked or no gateway killed; let it run longer".to_owned(),
        );
    }
    let seen = |call_id: &str| tallies.iter().any(|tally| tally.callbacks.contains_key(call_id));
    let unknown = calls.iter().filter(|call| call.state == CallState::Unknown);
    Report {
        seed,
        fault_seconds: options.duration().as_secs(),
        seconds: took.as_secs(),
        rate: options.rate,
        pushes: huawei.pushes(),
        slow_pushes: huawei.slow_pushes(),
        answers,
        cdrs: cdrs.len(),
        calls: calls.len(),
        parked: parked.len(),
        states,
        callbacks: tallies.iter().map(crate::tally::Tally::total).sum(),
        most_callbacks_per_call: tallies.iter().flat_map(|tally| tally.callbacks.values()).max().copied().unwrap_or(0),
        pending_at_death: pending_at_death(&kills),
        unknown_and_seen: unknown.filter(|call| seen(&call.call_id)).count() as u64,
        faults: journal.faults(),
        memory: memory.clone(),
        violations: broken,
    }
}

impl Report {
    /// All of it, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: Vec<(String, u64)>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let owned = |counts: &BTreeMap<&str, u64>| {
            list(counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
        };
        writeln!(formatter)?;
        writeln!(formatter, "duration    {} s of faults, {} s in all", self.fault_seconds, self.seconds)?;
        let Self { pushes, slow_pushes, cdrs, .. } = self;
        writeln!(
            formatter,
            "pushes      {pushes} with {cdrs} different CDRs; {slow_pushes} of them slow, hundreds at a time"
        )?;
        let answers = self.answers.iter().map(|(answer, count)| (answer.clone(), *count)).collect();
        writeln!(formatter, "answers     {}", list(answers))?;
        writeln!(formatter, "store       {} calls, {} parked CDRs", self.calls, self.parked)?;
        writeln!(formatter, "states      {}", owned(&self.states))?;
        writeln!(
            formatter,
            "callbacks   {}, at most {} for one call; {} for calls that read as unknown",
            self.callbacks, self.most_callbacks_per_call, self.unknown_and_seen
        )?;
        if let Some(pending) = self.pending_at_death {
            writeln!(formatter, "pending     {pending} in gateways right before they were killed")?;
        }
        writeln!(formatter, "faults      {} in all", self.faults.values().sum::<u64>())?;
        for (kind, count) in &self.faults {
            writeln!(formatter, "  {count:>6}    {kind}")?;
        }
        for (name, resident) in &self.memory {
            writeln!(
                formatter,
                "memory      {name}: {:.1} MiB at a quarter, {:.1} MiB at the end, {:.1} MiB at most",
                resident.early_mib, resident.late_mib, resident.most_mib
            )?;
        }
        if self.violations.is_empty() {
            return writeln!(formatter, "\nevery promise held (seed {})", self.seed);
        }
        writeln!(formatter)?;
        for violation in &self.violations {
            writeln!(formatter, "BROKEN      {violation}")?;
        }
        writeln!(formatter, "seed        {}", self.seed)
    }
}
