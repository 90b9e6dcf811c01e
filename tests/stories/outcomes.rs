//! Promises P3 and P4: every call ends in exactly one class, and no CDR or business harms another.

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::configuration::HeadersMode;
use harness::demo;
use harness::wait;
use privatenumber_contract::{MaybeSent, NotSent, Outcome, Skipped};
use privatenumber_sim::business::{Mode, Temper};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p3_whatever_the_business_does_the_call_ends_in_one_class,
    p3_reconciliation_finds_what_a_proxy_before_the_business_rejected,
    p3_a_business_that_is_away_ends_as_not_sent,
    p3_a_call_without_a_callback_is_skipped,
    p4_three_bad_cdrs_of_fifty_are_parked_and_the_others_go_on,
    p4_a_business_that_hangs_delays_nobody_else,
);

async fn p3_whatever_the_business_does_the_call_ends_in_one_class(mode: HeadersMode) -> Result<()> {
    let world =
        World::with_business("p3-classes", mode, &[], |business| business.timeout_ms = 700, |options| options).await?;
    let temper = |mode, status| Temper { mode, status, ..Temper::default() };
    let table = [
        (temper(Mode::Ok, Some(200)), Outcome::Delivered { status: 200 }),
        (temper(Mode::Ok, Some(204)), Outcome::Delivered { status: 204 }),
        (temper(Mode::Ok, Some(302)), Outcome::Rejected { status: 302 }),
        (temper(Mode::Error, Some(404)), Outcome::Rejected { status: 404 }),
        (temper(Mode::Error, Some(500)), Outcome::Rejected { status: 500 }),
        (temper(Mode::Error, Some(503)), Outcome::Rejected { status: 503 }),
        (temper(Mode::Error, Some(504)), Outcome::Rejected { status: 504 }),
        (temper(Mode::Hang, None), Outcome::MaybeSent { reason: MaybeSent::Timeout }),
        (temper(Mode::Reset, None), Outcome::MaybeSent { reason: MaybeSent::Reset }),
        (temper(Mode::Close, None), Outcome::MaybeSent { reason: MaybeSent::Reset }),
        (temper(Mode::HalfHeaders, None), Outcome::MaybeSent { reason: MaybeSent::Reset }),
        (temper(Mode::Truncate, None), Outcome::MaybeSent { reason: MaybeSent::Truncated }),
    ];
    for (index, (temper, expected)) in table.iter().enumerate() {
        world.business.behave(temper).await?;
        world.push(&cdrs(100 + index as u64, 1)).await?;
        let settled = world.settled_calls(index + 1).await?;
        // Newest first.
        ensure!(settled[0].outcome == Some(*expected), "{temper:?}: {:?} instead of {expected:?}", settled[0].outcome);
        let sent = world.business.counts().await?;
        ensure!(sent.total + sent.incomplete == index as u64 + 1, "{temper:?}: {sent:?}");
    }
    world.ends_well().await
}

/// What stands before a business replies in its place: the README's one question finds these calls, with their records.
async fn p3_reconciliation_finds_what_a_proxy_before_the_business_rejected(mode: HeadersMode) -> Result<()> {
    let world = World::start("p3-proxy", mode).await?;
    let statuses = [502, 503, 429, 404, 302];
    for (index, status) in statuses.into_iter().enumerate() {
        for (more, status) in [(0, status), (1, 200)] {
            let count = 2 * index + more + 1;
            let mode = if status == 200 { Mode::Ok } else { Mode::Error };
            world.business.behave(&Temper { mode, status: Some(status), ..Temper::default() }).await?;
            world.push(&cdrs(160 + count as u64, 1)).await?;
            world.settled_calls(count).await?;
        }
    }
    let found = world.store.calls(&format!("ak={}&outcome=undelivered&from=1", demo::AK)).await?;
    let outcomes: Vec<_> = found.iter().rev().map(|call| call.outcome).collect();
    ensure!(outcomes == statuses.map(|status| Some(Outcome::Rejected { status })), "{outcomes:?}");
    ensure!(found.iter().all(|call| call.record.ak.as_deref() == Some(demo::AK)), "{found:?}");
    // Nobody was called back twice for being rejected.
    ensure!(world.business.counts().await?.max_per_call == 1);
    world.ends_well().await
}

async fn p3_a_business_that_is_away_ends_as_not_sent(mode: HeadersMode) -> Result<()> {
    let mut world = World::start("p3-away", mode).await?;
    world.business.go_away().await?;
    world.push(&cdrs(120, 1)).await?;
    let settled = world.settled_calls(1).await?;
    ensure!(settled[0].outcome == Some(Outcome::NotSent { reason: NotSent::ConnectionFailed }), "{settled:?}");

    // Once it is back, what was not sent stays so: the store says it, and nobody is called later than promised.
    world.business.come_back().await?;
    world.push(&cdrs(121, 1)).await?;
    world.callbacks(1).await?;
    world.settled_calls(2).await?;
    ensure!(world.business.counts().await?.total == 1);
    world.ends_well().await
}

async fn p3_a_call_without_a_callback_is_skipped(mode: HeadersMode) -> Result<()> {
    let world = World::with("p3-skipped", mode, &[], |options| {
        options.change(|configuration| {
            let plugin = configuration.plugin()?;
            if let Value::Object(application) = &mut plugin["applications"][0] {
                application.remove("ak");
            }
            // A cluster that does not exist: certainly not sent.
            plugin["businesses"] = json!([
                {"ak": "NOWHERE", "cluster": "nowhere", "authority": "business.example.com", "path": "/callback"},
            ]);
            Ok(())
        })
    })
    .await?;
    world.push(&cdrs(130, 1)).await?;
    let settled = world.settled_calls(1).await?;
    ensure!(settled[0].outcome == Some(Outcome::Skipped { reason: Skipped::NoBinding }), "{settled:?}");

    world.register_demo_binding().await?;
    world.push(&cdrs(131, 1)).await?;
    let settled = world.settled_calls(2).await?;
    ensure!(settled[0].outcome == Some(Outcome::Skipped { reason: Skipped::NoCallback }), "{settled:?}");
    ensure!(settled[0].record.ak.as_deref() == Some(demo::AK));

    let mut elsewhere = demo::binding();
    elsewhere.ak = Some("NOWHERE".to_owned());
    world.store.register(demo::SUBSCRIPTION_ID, &elsewhere).await?;
    world.push(&cdrs(132, 1)).await?;
    let settled = world.settled_calls(3).await?;
    ensure!(settled[0].outcome == Some(Outcome::NotSent { reason: NotSent::NoCluster }), "{settled:?}");
    ensure!(world.business.counts().await?.total == 0);
    world.ends_well().await
}

async fn p4_three_bad_cdrs_of_fifty_are_parked_and_the_others_go_on(mode: HeadersMode) -> Result<()> {
    let world = World::start("p4-batch", mode).await?;
    let mut push = json!({"eventType": "fee", "feeLst": cdrs(140, 50)});
    push["feeLst"][7] = json!("not an object");
    push["feeLst"][20]["subscriptionId"] = json!({});
    if let Value::Object(cdr) = &mut push["feeLst"][49] {
        cdr.remove("sessionId");
    }
    let body = serde_json::to_vec(&push)?;
    for _ in 0..2 {
        world.huawei.push(&world.gateway.url(), body.clone()).await?.expect(200)?;
    }
    world.callbacks(47).await?;
    world.settled_calls(47).await?;
    let mut parked = world.store.parked().await?.parked;
    parked.sort_by(|one, other| one.reason.cmp(&other.reason));
    let reasons: Vec<_> = parked.iter().map(|parked| parked.reason.split(": ").next().unwrap_or_default()).collect();
    ensure!(reasons == ["/feeLst/20/subscriptionId", "/feeLst/49/sessionId", "/feeLst/7"], "{reasons:?}");
    ensure!(parked[2].raw.expose() == "\"not an object\"", "the raw text is kept as it came");
    ensure!(parked.iter().all(|parked| parked.duplicates == 1), "{parked:?}");
    world.ends_well().await
}

async fn p4_a_business_that_hangs_delays_nobody_else(mode: HeadersMode) -> Result<()> {
    let (world, quick) =
        World::with_another_business("p4-hanging", mode, |slow| slow.timeout_ms = 8_000, "QUICK").await?;
    world.business.behave(&Temper { mode: Mode::Hang, ..Temper::default() }).await?;
    let mut binding = demo::binding();
    (binding.ak, binding.subscription_id) = (Some("QUICK".to_owned()), None);
    world.store.register("quick", &binding).await?;
    let mut calls = cdrs(150, 40);
    for (index, call) in calls.iter_mut().enumerate() {
        call.subscription_id = (index % 2 == 1).then(|| "quick".to_owned());
    }

    let start = Instant::now();
    world.push(&calls).await?;
    let answered = start.elapsed();
    wait::until("20 callbacks of the quick business", PATIENCE, async || {
        let total = quick.counts().await?.total;
        ensure!(total == 20, "{total} callbacks");
        Ok(())
    })
    .await?;
    let called_back = start.elapsed();
    // The slow one is still hanging: neither Huawei nor the quick one waited for it.
    let pending = world.store.calls("state=pending").await?.len();
    ensure!(pending >= 20, "answered after {answered:?}, called back after {called_back:?}, {pending} pending");
    world.settled_calls(40).await?;
    world.ends_well().await
}
