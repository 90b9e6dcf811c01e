//! A business that dies, freezes, or behaves badly.

use anyhow::Result;
use harness::business::Business;
use privatenumber_sim::business::{Mode, Temper};

use super::{Plan, start_again};

const BAD: [Mode; 7] =
    [Mode::Error, Mode::Hang, Mode::Reset, Mode::Close, Mode::Truncate, Mode::HalfHeaders, Mode::SlowBody];

pub async fn strike(mut plan: Plan, business: &mut Business) -> Result<()> {
    while plan.pause(3_000, 12_000).await {
        match plan.percent() {
            0..35 => {
                plan.journal.fault("business killed");
                business.go_away().await?;
                plan.last(0, 2_500).await;
                start_again("a business", async || business.come_back().await).await?;
            }
            35..60 => {
                plan.journal.fault("business frozen");
                business.process().freeze()?;
                plan.last(200, 3_000).await;
                business.process().thaw()?;
            }
            _ => {
                plan.journal.fault("business bad");
                let mode = plan.choice(&BAD)?;
                let fail_share = Some(0.1 + plan.random.below(90) as f64 / 100.0);
                let delay_ms = plan.random.below(1_000);
                let bad = Temper { mode, fail_share, delay_ms, hang_ms: 4_000, ..Temper::default() };
                business.behave(&bad).await?;
                plan.last(500, 4_000).await;
                business.behave(&Temper::default()).await?;
            }
        }
    }
    Ok(())
}
