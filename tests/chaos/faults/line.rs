//! A line between two processes that resets connections, and loses, cuts, delays or makes up answers.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES, Requests};

use super::Plan;
use crate::stack::CALLBACK_PATH;

/// Answers to every batch for a while. The 413 is something else's, and no problem document: from the store, to a push that is asked for
/// alone, it would rightly end the asking.
const REFUSALS: [(&str, Fault); 4] = [
    ("store answers 401", Fault::Problem(401)),
    ("store answers 413", Fault::Status(413)),
    ("store answers 429", Fault::Problem(429)),
    ("store answers 500", Fault::Problem(500)),
];

/// Between a gateway and the store.
pub async fn strike_store_line(mut plan: Plan, line: &mut FaultProxy) -> Result<()> {
    let first = usize::try_from(plan.random.below(REFUSALS.len() as u64))?;
    let mut refusals = REFUSALS.iter().cycle().skip(first);
    while plan.pause(1_000, 6_000).await {
        line.forget();
        if plan.percent() < 20 {
            plan.journal.fault("store line cut");
            cut(&mut plan, line).await?;
            continue;
        }
        let requests = plan.choice(&[CLAIMS, CLAIMS, OUTCOMES])?;
        let delay = plan.milliseconds(100, 4_000);
        // Anybody may answer 200 to anything: it is no commit unless the store says so.
        let status = plan.choice(&[200, 500, 502, 503])?;
        // In turn, so that a short run meets each.
        let refusal = *refusals.next().context("there is no refusal")?;
        let (name, fault) = plan.choice(&[
            refusal,
            refusal,
            ("store request reset", Fault::ResetBefore),
            ("store request swallowed", Fault::Hang),
            ("store answer lost", Fault::LoseAnswer),
            ("store answer cut off", Fault::CutAnswer),
            ("store answer swallowed", Fault::SwallowAnswer),
            ("store answer late", Fault::DelayAnswer(delay)),
            ("store answer made up", Fault::Status(status)),
        ])?;
        disturb(&mut plan, line, requests, name, fault).await;
    }
    Ok(())
}

/// Between a gateway and one of its two stores, which hangs now and then, before or after it has committed. The other answers.
pub async fn hang_one_of_two_stores(mut plan: Plan, line: &FaultProxy) -> Result<()> {
    while plan.pause(3_000, 10_000).await {
        line.forget();
        let (name, fault) = plan.choice(&[
            ("one of two stores hangs before its commit", Fault::Hang),
            ("one of two stores hangs after its commit", Fault::SwallowAnswer),
        ])?;
        plan.journal.fault(name);
        line.strike(CLAIMS, fault);
        line.strike(OUTCOMES, fault);
        plan.last(2_000, 10_000).await;
        line.heal();
    }
    Ok(())
}

/// Between the gateways and a business.
pub async fn strike_business_line(mut plan: Plan, line: &mut FaultProxy) -> Result<()> {
    while plan.pause(1_000, 6_000).await {
        line.forget();
        if plan.percent() < 30 {
            plan.journal.fault("business line cut");
            cut(&mut plan, line).await?;
            continue;
        }
        let delay: Duration = plan.milliseconds(100, 3_000);
        let (name, fault) = plan.choice(&[
            ("callback reset", Fault::ResetBefore),
            ("callback's answer lost", Fault::LoseAnswer),
            ("callback's answer cut off", Fault::CutAnswer),
            ("callback's answer late", Fault::DelayAnswer(delay)),
        ])?;
        disturb(&mut plan, line, Requests::to(&[CALLBACK_PATH]), name, fault).await;
    }
    Ok(())
}

/// Meets some requests in a row, for a while at most.
async fn disturb(plan: &mut Plan, line: &FaultProxy, requests: Requests, name: &'static str, fault: Fault) {
    plan.journal.fault(name);
    let times = 1 + usize::try_from(plan.random.below(40)).unwrap_or_default();
    line.strike_times(requests, fault, times);
    plan.last(500, 4_000).await;
    line.heal();
}

/// Connections are reset, new ones refused.
async fn cut(plan: &mut Plan, line: &mut FaultProxy) -> Result<()> {
    line.go_away().await;
    plan.last(200, 4_000).await;
    super::start_again("a line", async || line.come_back().await).await
}
