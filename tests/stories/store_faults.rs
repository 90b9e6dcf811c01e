//! Promises P2 and P8: a 200 means durably recorded, and what was committed gets its callback although its answer was lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::fault::{CLAIMS, Fault, OUTCOMES};
use harness::gateway::Options;
use harness::huawei::Huawei;
use harness::raw::Connection;
use harness::wait;
use privatenumber_sim::huawei::{Cdr, push_body};
use tokio::task::JoinSet;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p2_a_store_that_is_away_means_503_and_nothing_is_called_back,
    p8_a_lost_answer_of_the_store_is_asked_for_again,
    p8_a_cut_off_answer_of_the_store_is_asked_for_again,
    p8_an_answer_that_comes_too_late_is_asked_for_again,
    p8_a_pusher_that_leaves_in_mid_push_still_gets_its_call_back,
    p2_a_200_that_is_not_the_stores_is_not_passed_on,
    p3_outcomes_are_kept_while_the_store_is_away,
    p2_what_was_answered_200_survives_the_death_of_the_store,
    p6_trailers_in_place_of_an_answers_body_trap_nothing,
    p2_an_answer_that_comes_before_the_push_is_complete_is_no_200,
    p8_what_breaks_an_http2_connection_under_many_pushes_is_asked_for_again,
);

/// What a push is answered whose first answers of the store are missed: 503 where it went to the store by itself, and 200 where the
/// filter asks again while the push waits.
fn after_a_missed_answer(mode: HeadersMode) -> u16 {
    match mode {
        HeadersMode::Hold => 200,
        HeadersMode::Pass => 503,
    }
}

/// Without Envoy's own retry of the route, so that every fault reaches the filter.
async fn world(name: &str, mode: HeadersMode) -> Result<World> {
    World::with(name, mode, &[], |options| without_retries(options, mode)).await
}

fn without_retries(options: Options, mode: HeadersMode) -> Options {
    options.change(move |configuration| {
        let route = configuration.push_route()?.and_then(|route| route.as_object_mut());
        ensure!(route.is_some() || mode == HeadersMode::Hold, "there is no route for pushes");
        if let Some(route) = route {
            route.remove("retry_policy");
            route.insert("timeout".to_owned(), "1s".into());
        }
        configuration.plugin()?["store"]["timeout_ms"] = 1_000.into();
        Ok(())
    })
}

async fn p2_a_store_that_is_away_means_503_and_nothing_is_called_back(mode: HeadersMode) -> Result<()> {
    let mut world = world("p2-away", mode).await?;
    world.faults.go_away().await;
    let calls = cdrs(200, 3);
    let answer = world.huawei.push_cdrs(&world.gateway.url(), &calls).await?.expect(503)?;
    ensure!(answer.text().contains("\"resultcode\":\"503\""), "{}", answer.text());
    ensure!(world.business.counts().await?.total == 0, "nothing is called back that is not recorded");

    world.faults.come_back().await?;
    // The root gets through with the push that was answered 503; Huawei's own re-push then finds duplicates.
    world.callbacks(3).await?;
    world.push(&calls).await?;
    let settled = world.settled_calls(3).await?;
    ensure!(settled.iter().all(|call| call.duplicates == 1), "{settled:?}");
    world.ends_well().await
}

async fn p8_a_lost_answer_of_the_store_is_asked_for_again(mode: HeadersMode) -> Result<()> {
    let world = world("p8-lost", mode).await?;
    world.faults.strike_times(CLAIMS, Fault::LoseAnswer, 2);
    let calls = cdrs(210, 2);
    world.huawei.push_cdrs(&world.gateway.url(), &calls).await?.expect(after_a_missed_answer(mode))?;
    world.callbacks(2).await?;
    let settled = world.settled_calls(2).await?;
    ensure!(settled.iter().all(|call| call.duplicates == 0), "asking again is no new push: {settled:?}");
    ensure!(world.faults.count(CLAIMS) == 3);
    world.push(&calls).await?;
    world.settled_calls(2).await?;
    ensure!(world.business.counts().await?.total == 2);
    world.ends_well().await
}

async fn p8_a_cut_off_answer_of_the_store_is_asked_for_again(mode: HeadersMode) -> Result<()> {
    let world = world("p8-cut", mode).await?;
    world.faults.strike_times(CLAIMS, Fault::CutAnswer, 1);
    // Whether Huawei sees a 200 cut short or nothing, it did not get an answer it can use.
    let _ = world.huawei.push_cdrs(&world.gateway.url(), &cdrs(220, 2)).await;
    world.callbacks(2).await?;
    world.settled_calls(2).await?;
    ensure!(world.faults.count(CLAIMS) == 2);
    world.ends_well().await
}

async fn p8_an_answer_that_comes_too_late_is_asked_for_again(mode: HeadersMode) -> Result<()> {
    let world = world("p8-late", mode).await?;
    world.faults.strike_times(CLAIMS, Fault::DelayAnswer(Duration::from_secs(3)), 1);
    world.huawei.push_cdrs(&world.gateway.url(), &cdrs(230, 1)).await?.expect(after_a_missed_answer(mode))?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}

async fn p8_a_pusher_that_leaves_in_mid_push_still_gets_its_call_back(mode: HeadersMode) -> Result<()> {
    let world = world("p8-gone", mode).await?;
    world.faults.strike_times(CLAIMS, Fault::DelayAnswer(Duration::from_millis(900)), 4);
    for index in 0..4 {
        let body = push_body(&cdrs(240 + index, 1))?;
        let mut connection = begin(&world, &body).await?;
        connection.send(&body).await?;
        let asked = index as usize + 1;
        wait::until("the push to reach the store", PATIENCE, async || {
            let count = world.faults.count(CLAIMS);
            ensure!(count >= asked, "{count} requests");
            Ok(())
        })
        .await?;
        if index % 2 == 0 { connection.reset() } else { connection.leave().await }
    }
    world.callbacks(4).await?;
    world.settled_calls(4).await?;
    // Half a push is none: nobody is called back for it.
    let body = push_body(&cdrs(250, 1))?;
    let mut connection = begin(&world, &body).await?;
    connection.send(&body[..body.len() / 2]).await?;
    connection.reset();
    world.push(&cdrs(251, 1)).await?;
    world.settled_calls(5).await?;
    world.ends_well().await
}

async fn p2_a_200_that_is_not_the_stores_is_not_passed_on(mode: HeadersMode) -> Result<()> {
    let world = world("p2-stranger", mode).await?;
    world.faults.strike_times(CLAIMS, Fault::Status(200), 1);
    world.huawei.push_cdrs(&world.gateway.url(), &cdrs(260, 1)).await?.expect(after_a_missed_answer(mode))?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    ensure!(world.faults.count(CLAIMS) == 2, "the push was answered without having been asked for again");
    world.ends_well().await
}

async fn p3_outcomes_are_kept_while_the_store_is_away(mode: HeadersMode) -> Result<()> {
    let world = world("p3-backlog", mode).await?;
    world.faults.strike(OUTCOMES, Fault::ResetBefore);
    world.push(&cdrs(270, 20)).await?;
    world.callbacks(20).await?;
    wait::until("the gateway to have tried", PATIENCE, async || {
        let count = world.faults.count(OUTCOMES);
        ensure!(count >= 2, "{count} tries");
        Ok(())
    })
    .await?;
    ensure!(world.store.calls("state=pending").await?.len() == 20);
    world.faults.heal();
    // An outcome that was written although its answer was lost is not written twice.
    world.faults.strike_times(OUTCOMES, Fault::LoseAnswer, 1);
    let settled = world.settled_calls(20).await?;
    ensure!(settled.iter().all(|call| call.duration_ms.is_some()), "{settled:?}");
    world.ends_well().await
}

async fn p2_what_was_answered_200_survives_the_death_of_the_store(mode: HeadersMode) -> Result<()> {
    let mut world = world("p2-killed", mode).await?;
    let calls = cdrs(280, 10);
    for call in &calls {
        world.push(std::slice::from_ref(call)).await?;
    }
    world.store.kill().await?;
    world.store.restart().await?;
    let settled = world.settled_calls(10).await?;
    ensure!(settled.len() == 10);
    world.callbacks(10).await?;
    world.ends_well().await
}

async fn p6_trailers_in_place_of_an_answers_body_trap_nothing(mode: HeadersMode) -> Result<()> {
    let world = World::with("p6-trailers", mode, &[], |options| {
        options.change(harness::configuration::Configuration::http2_to_the_store)
    })
    .await?;
    for (series, committed, callbacks) in [(300, true, 2), (301, false, 4)] {
        world.faults.strike_times(CLAIMS, Fault::TrailersForBody { committed }, 1);
        let answer = world.huawei.push_cdrs(&world.gateway.url(), &cdrs(series, 2)).await;
        match mode {
            HeadersMode::Hold => drop(answer?.expect(200)?),
            HeadersMode::Pass => ensure!(answer.is_err(), "the answer has a body after all: {answer:?}"),
        }
        // The root has asked again by now: the next fault is not for it.
        world.callbacks(callbacks).await?;
    }
    for series in [300, 301] {
        world.push(&cdrs(series, 2)).await?;
    }
    let settled = world.settled_calls(4).await?;
    ensure!(settled.iter().all(|call| call.duplicates == 1), "{settled:?}");
    world.ends_well().await
}

async fn p2_an_answer_that_comes_before_the_push_is_complete_is_no_200(mode: HeadersMode) -> Result<()> {
    let early = |options| match mode {
        HeadersMode::Hold => without_retries(options, mode),
        // As shipped Envoy's buffer filter holds the push: nothing upstream knows of it before it is complete.
        HeadersMode::Pass => without_retries(options, mode).change(Configuration::without_buffer),
    };
    let world = World::with("p2-early", mode, &[], early).await?;
    // Where headers are held, nothing can answer before the push is complete; the filter asks again, and answers by that.
    let statuses: &[u16] = if mode == HeadersMode::Pass { &[200, 204, 302, 404, 500] } else { &[200] };
    for status in statuses.iter().copied() {
        world.faults.strike_times(CLAIMS, Fault::StatusAtHead(status), 1);
        let body = push_body(&cdrs(310, 1))?;
        let mut connection = begin(&world, &body).await?;
        let (first, second) = body.split_at(body.len() / 2);
        connection.send(first).await?;
        if mode == HeadersMode::Hold {
            connection.send(second).await?;
        }
        let answer = connection.answer().await?;
        let expected = if status < 400 { after_a_missed_answer(mode) } else { status };
        ensure!(answer.status == expected, "{status} became {}", answer.status);
        // The request that was answered at its head is not among them.
        let reached = world.faults.count(CLAIMS);
        ensure!(mode == HeadersMode::Pass || reached == 1, "200 although {reached} requests reached the store");
    }
    if mode == HeadersMode::Pass {
        // Somebody who begins to answer and waits for the rest: it never goes there, and nobody waits for ever.
        world.faults.strike_times(CLAIMS, Fault::OpenAtHead(200), 1);
        let body = push_body(&cdrs(310, 1))?;
        let mut connection = begin(&world, &body).await?;
        wait::until("somebody to have answered", PATIENCE, async || {
            let answered = world.gateway.statistics().await?.get("cluster.store.upstream_rq_200");
            ensure!(answered == 2, "{answered} answers");
            Ok(())
        })
        .await?;
        connection.send(&body).await?;
        ensure!(connection.answer().await.is_err(), "the answer is complete");
    }
    world.push(&cdrs(310, 1)).await?;
    world.callbacks(1).await?;
    world.settled_calls(1).await?;
    world.ends_well().await
}

async fn p8_what_breaks_an_http2_connection_under_many_pushes_is_asked_for_again(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("p8-http2", mode, &[], |options| {
        options.change(harness::configuration::Configuration::http2_to_the_store)
    })
    .await?;
    // One stream fails and not its neighbours.
    world.faults.strike_times(CLAIMS, Fault::LoseAnswer, 2);
    world.faults.strike_times(CLAIMS, Fault::CutAnswer, 2);
    world.faults.strike_times(CLAIMS, Fault::ResetBefore, 2);
    world.faults.strike_times(OUTCOMES, Fault::LoseAnswer, 1);
    let answers = push_at_once(&world, cdrs(290, 30))?.finish().await?;
    ensure!(answers.iter().filter(|status| **status == Some(200)).count() >= 24, "{answers:?}");
    world.callbacks(30).await?;
    world.settled_calls(30).await?;

    // All streams end at once with their connection, when the store has committed and before its answer is there.
    world.faults.strike(CLAIMS, Fault::SwallowAnswer);
    let before = world.faults.pushes();
    let pushes = push_at_once(&world, cdrs(291, 20))?;
    wait::until("all pushes to have reached the store", PATIENCE, async || {
        let count = world.faults.pushes() - before;
        ensure!(count >= 20, "{count} pushes");
        Ok(())
    })
    .await?;
    world.faults.go_away().await;
    world.faults.heal();
    world.faults.come_back().await?;
    pushes.finish().await?;
    world.callbacks(50).await?;
    world.settled_calls(50).await?;

    let statistics = world.gateway.statistics().await?;
    ensure!(statistics.get("cluster.store.upstream_cx_http1_total") == 0, "the store was spoken to by HTTP/1.1");
    ensure!(statistics.get("cluster.store.upstream_cx_http2_total") > 0);
    world.ends_well().await
}

/// A connection on which the head of a push with this body has been sent.
async fn begin(world: &World, body: &[u8]) -> Result<Connection> {
    let head = world.huawei.head()?;
    let mut connection = Connection::open(world.gateway.address()).await?;
    connection.send(head.header("content-length", body.len().to_string()).end()).await?;
    Ok(connection)
}

/// Pushes under way.
struct Pushes(JoinSet<Option<u16>>);

impl Pushes {
    /// The status each was answered with; `None` where there was no answer.
    async fn finish(mut self) -> Result<Vec<Option<u16>>> {
        let mut answers = Vec::new();
        while let Some(answer) = self.0.join_next().await {
            answers.push(answer?);
        }
        Ok(answers)
    }
}

/// One push for each CDR, all at the same time.
fn push_at_once(world: &World, cdrs: Vec<Cdr>) -> Result<Pushes> {
    let mut pushes = JoinSet::new();
    for cdr in cdrs {
        let (huawei, url) = (Huawei::demo()?, world.gateway.url());
        pushes.spawn(async move {
            let answer = huawei.push_cdrs(&url, std::slice::from_ref(&cdr)).await;
            answer.ok().map(|answer| answer.status.as_u16())
        });
    }
    Ok(Pushes(pushes))
}
