//! A line between two processes that resets connections, and loses, cuts, delays or makes up answers.

use std::time::Duration;

use anyhow::Result;
use harness::fault::{CLAIMS, Fault, FaultProxy, OUTCOMES, Requests};

use super::Plan;
use crate::stack::CALLBACK_PATH;

/// Between a gateway and the store.
pub async fn strike_store_line(mut plan: Plan, line: &mut FaultProxy) -> Result<()> {
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
        let (name, fault) = plan.choice(&[
            ("store request reset", Fault::ResetBefore),
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
