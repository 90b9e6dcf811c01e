//! The faults. Every process and every line between two of them has a misfortune of its own, drawn from the seed, so that
//! several things go wrong at the same time.

mod business;
mod gateway;
mod line;
mod store;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use privatenumber_sim::random::Random;
use tokio::time::Instant;

use crate::journal::Journal;
use crate::stack::Stack;

/// How long before the end of the faults the last gateway is killed: what it leaves behind reads as `unknown` a minute
/// later, and a short run should not have to wait for that.
const LAST_KILL: Duration = Duration::from_secs(30);
/// How often a process is started again whose address something else has taken for a moment.
const STARTS: u32 = 10;

/// When what happens to one process or line.
pub struct Plan {
    random: Random,
    seed: u64,
    end: Instant,
    /// The account of all faults.
    pub journal: Arc<Journal>,
}

impl Plan {
    /// The plan that belongs to `seed`, until `end`.
    pub fn new(seed: u64, end: Instant, journal: Arc<Journal>) -> Self {
        Self { random: Random::new(seed), seed, end, journal }
    }

    /// One of its own for the thing numbered `number`.
    fn of(&self, number: u64) -> Self {
        let seed = self.seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self::new(seed, self.end, Arc::clone(&self.journal))
    }

    /// Waits between `shortest` and `longest` milliseconds; whether there is time for another fault after that.
    async fn pause(&mut self, shortest: u64, longest: u64) -> bool {
        let pause = self.milliseconds(shortest, longest);
        if Instant::now() + pause >= self.end {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// A span between `shortest` and `longest` milliseconds.
    fn milliseconds(&mut self, shortest: u64, longest: u64) -> Duration {
        Duration::from_millis(shortest + self.random.below(longest.saturating_sub(shortest) + 1))
    }

    /// Lasts between `shortest` and `longest` milliseconds.
    async fn last(&mut self, shortest: u64, longest: u64) {
        let span = self.milliseconds(shortest, longest);
        tokio::time::sleep(span).await;
    }

    /// A number from 0 to 99.
    fn percent(&mut self) -> u64 {
        self.random.below(100)
    }

    /// One of `choices`.
    fn choice<T: Copy>(&mut self, choices: &[T]) -> Result<T> {
        let index = usize::try_from(self.random.below(choices.len() as u64))?;
        choices.get(index).copied().context("there is nothing to choose from")
    }

    /// Whether a gateway may still be killed.
    fn may_kill_gateways(&self) -> bool {
        Instant::now() + LAST_KILL < self.end
    }
}

/// Starts something again, several times if need be: on a busy machine its port may be taken for a moment.
async fn start_again(name: &str, mut start: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut last = None;
    for _ in 0..STARTS {
        match start().await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let error = last.context("it was never started")?;
    Err(error.context(format!("{name} can not be started again")))
}

/// Everything that goes wrong.
pub struct Misfortune {
    /// When and what.
    pub plan: Plan,
}

impl Misfortune {
    /// Makes faults until the plan ends. In the end everything runs again and every line is whole.
    pub async fn strike(self, mut stack: Stack) -> Result<Stack> {
        let plan = &self.plan;
        let [first_gateway, second_gateway] = &mut stack.gateways;
        let [first_line, second_line] = &mut stack.store_lines;
        let [first_business, second_business] = &mut stack.businesses;
        tokio::try_join!(
            gateway::strike(plan.of(0), 0, first_gateway),
            gateway::strike(plan.of(1), 1, second_gateway),
            store::strike(plan.of(2), &mut stack.store),
            line::strike_store_line(plan.of(3), first_line),
            line::strike_store_line(plan.of(4), second_line),
            business::strike(plan.of(5), first_business),
            business::strike(plan.of(6), second_business),
            line::strike_business_line(plan.of(7), &mut stack.business_line),
            line::hang_one_of_two_stores(plan.of(8), &stack.second_store_line),
        )?;
        Ok(stack)
    }
}
