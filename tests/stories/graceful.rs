//! Ends in good order: a gateway that is taken out the way operators do it leaves no call `unknown` and fails no push.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::directory::Directory;
use harness::envoy_binary;
use harness::gateway::Gateway;
use harness::huawei::Huawei;
use harness::stack::Stack;
use harness::{http, products, wait};
use hyper::Method;
use privatenumber_contract::CallState;
use privatenumber_sim::business::Temper;
use privatenumber_sim::huawei::Cdr;
use tokio::process::Command;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    p3_a_gateway_that_is_stopped_at_once_leaves_its_calls_without_outcome,
    p3_a_gateway_that_is_drained_before_it_stops_leaves_no_call_unknown,
    p3_a_rolling_replacement_under_load_fails_no_push_and_leaves_no_call_unknown,
);

/// The script that is shipped for operators.
const SCRIPT: &str = "deploy/drain.sh";

/// Its steps one by one, for a story that does something in between.
struct Operator<'g>(&'g mut Gateway);

impl Operator<'_> {
    /// The load balancer learns that this gateway wants no more pushes; it still takes those that come.
    async fn fail_health_checks(&self) -> Result<()> {
        self.post("/healthcheck/fail").await
    }

    /// New connections are refused; pushes that are open are finished.
    async fn close_listeners(&self) -> Result<()> {
        self.post("/drain_listeners").await
    }

    /// No call is anywhere between its push and the store's receipt for its outcome.
    async fn wait_until_idle(&self) -> Result<()> {
        wait::until("the gateway to have no pending calls", PATIENCE, async || {
            // In this order: a push whose connection has ended is counted among the calls by then.
            let connections = self.0.statistics().await?.get("http.gateway.downstream_cx_active");
            ensure!(connections == 0, "{connections} connections are open");
            let pending = self.0.statistics().await?.filter("privatenumber_pending_calls");
            ensure!(pending == 0, "{pending} calls are pending");
            Ok(())
        })
        .await
    }

    async fn stop(&mut self) -> Result<()> {
        self.0.stop().await
    }

    async fn post(&self, path: &str) -> Result<()> {
        http::send(Method::POST, &format!("{}{path}", self.0.admin()), &[], "").await?.expect(200).map(drop)
    }
}

/// Why there are steps at all.
async fn p3_a_gateway_that_is_stopped_at_once_leaves_its_calls_without_outcome(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("stopped-at-once", mode, &[], |options| options.concurrency(2)).await?;
    world.business.behave(&Temper { delay_ms: 2_000, ..Temper::default() }).await?;
    world.push(&cdrs(890, 5)).await?;
    world.callbacks(5).await?;
    world.gateway.stop().await?;
    let pending = world.store.calls("state=pending").await?;
    ensure!(pending.len() == 5, "{} of 5 calls are pending", pending.len());
    ensure!(world.business.counts().await?.max_per_call == 1);
    Ok(())
}

async fn p3_a_gateway_that_is_drained_before_it_stops_leaves_no_call_unknown(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("graceful", mode, &[], |options| options.concurrency(2)).await?;
    world.business.behave(&Temper { delay_ms: 2_000, ..Temper::default() }).await?;
    world.push(&cdrs(900, 20)).await?;
    ensure!(!world.store.calls("state=pending").await?.is_empty(), "nothing is in flight, so nothing is shown");

    let admin = world.gateway.admin();
    let (_, admin_port) = admin.rsplit_once(':').context("the admin interface has no port")?;
    let drain = Command::new("bash")
        .arg(products::repository().join(SCRIPT))
        .envs([("ADMIN_PORT", admin_port), ("NOTICE_SECONDS", "1"), ("PATIENCE_SECONDS", "20")])
        .kill_on_drop(true)
        .output();
    let late_push = async {
        let ready = wait::until("the health check to fail", PATIENCE, async || {
            let ready = http::get(&format!("{}/ready", world.gateway.admin())).await?;
            ensure!(ready.status == 503, "/ready answers {}", ready.status);
            Ok(())
        });
        ready.await?;
        // The load balancer has not noticed yet.
        world.push(&cdrs(901, 1)).await
    };
    let (drained, late) = tokio::join!(drain, late_push);
    late?;
    let drained = drained?;
    ensure!(drained.status.success(), "the script: {drained:?}");
    let refused = tokio::net::TcpStream::connect(world.gateway.address()).await;
    ensure!(refused.is_err(), "a connection was taken");
    world.gateway.stop().await?;

    let settled = world.settled_calls(21).await?;
    ensure!(settled.iter().all(|call| call.state == CallState::Delivered), "{settled:?}");
    ensure!(world.business.counts().await?.max_per_call == 1);
    Ok(())
}

/// Stands for a load balancer: pushes go to the gateways in turn, except those whose health check fails, and to the next
/// one when a connection is refused. Nothing else is repeated.
struct LoadBalancer {
    backends: Vec<Backend>,
    turn: AtomicUsize,
}

struct Backend {
    url: String,
    is_healthy: AtomicBool,
    open_pushes: AtomicUsize,
}

impl LoadBalancer {
    fn new(gateways: &[&Gateway]) -> Self {
        let backend = |gateway: &&Gateway| Backend {
            url: gateway.url(),
            is_healthy: AtomicBool::new(true),
            open_pushes: AtomicUsize::new(0),
        };
        Self { backends: gateways.iter().map(backend).collect(), turn: AtomicUsize::new(0) }
    }

    async fn push(&self, huawei: &Huawei, cdrs: &[Cdr]) -> Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..self.backends.len()).map(|offset| &self.backends[(turn + offset) % self.backends.len()]);
        let (healthy, others): (Vec<_>, Vec<_>) =
            in_turn.partition(|backend| backend.is_healthy.load(Ordering::Relaxed));
        let mut last = anyhow::anyhow!("there is no gateway");
        for backend in healthy.into_iter().chain(others) {
            backend.open_pushes.fetch_add(1, Ordering::Relaxed);
            let answer = huawei.push_cdrs(&backend.url, cdrs).await;
            backend.open_pushes.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok(answer) => return answer.expect(200).map(drop),
                Err(error) if is_refused(&error) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

fn is_refused(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Waits until the gateway, as it lives now, has its share of the load.
async fn takes_pushes(gateway: &Gateway) -> Result<()> {
    wait::until("the gateway to take its share", PATIENCE, async || {
        let taken = gateway.statistics().await?.filter("privatenumber_pushes_total.answer.recorded");
        ensure!(taken > 10, "{taken} pushes");
        Ok(())
    })
    .await
}

async fn p3_a_rolling_replacement_under_load_fails_no_push_and_leaves_no_call_unknown(mode: HeadersMode) -> Result<()> {
    let mut world = World::with("rolling", mode, &[], |options| options.concurrency(2)).await?;
    world.business.behave(&Temper { delay_ms: 300, ..Temper::default() }).await?;
    let directory = Directory::fresh(&format!("rolling-second-{mode:?}").to_lowercase())?;
    let second = Stack::new(directory, envoy_binary::for_tests()?);
    let second = second.gateway(world.store.address(), world.business.address());
    let mut second = second.headers(mode).concurrency(2).start().await?;

    let balancer = LoadBalancer::new(&[&world.gateway, &second]);
    let is_over = AtomicBool::new(false);
    let load = async {
        let mut calls = harness::huawei::calls(910);
        let mut pushed = 0;
        while !is_over.load(Ordering::Relaxed) {
            // Four pushes at a time, one after the other.
            let batches: Vec<Vec<Cdr>> = (0..4).map(|_| calls.by_ref().take(2).collect()).collect();
            let [a, b, c, d] = [0, 1, 2, 3].map(|index: usize| balancer.push(&world.huawei, &batches[index]));
            tokio::try_join!(a, b, c, d)?;
            pushed += 8;
        }
        anyhow::Ok(pushed)
    };
    let replacement = async {
        let gateways = [&mut world.gateway, &mut second];
        for (gateway, backend) in gateways.into_iter().zip(&balancer.backends) {
            takes_pushes(gateway).await?;
            let mut operator = Operator(gateway);
            operator.fail_health_checks().await?;
            // What a load balancer sees at its next health check.
            let ready = http::get(&format!("{}/ready", operator.0.admin())).await?;
            backend.is_healthy.store(ready.status == 200, Ordering::Relaxed);
            // A connection that waits to be taken when the listener closes would be reset and not refused.
            wait::until("the pushes that were on their way to be answered", PATIENCE, async || {
                let open = backend.open_pushes.load(Ordering::Relaxed);
                ensure!(open == 0, "{open} pushes are open");
                Ok(())
            })
            .await?;
            operator.close_listeners().await?;
            operator.wait_until_idle().await?;
            operator.stop().await?;
            gateway.restart().await?;
            backend.is_healthy.store(true, Ordering::Relaxed);
            takes_pushes(gateway).await?;
        }
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (pushed, ()) = tokio::try_join!(load, replacement)?;

    world.callbacks(pushed).await?;
    wait::until("every call to have its outcome", PATIENCE, async || {
        let open = world.store.calls("state=pending").await?.len() + world.store.calls("state=unknown").await?.len();
        ensure!(open == 0, "{open} calls without outcome");
        Ok(())
    })
    .await?;
    let counts = world.business.counts().await?;
    ensure!(counts.calls == pushed as u64 && counts.max_per_call == 1, "{pushed} calls, {counts:?}");
    let answered = format!("outcomes_total{{class=\"delivered\",result=\"recorded\"}} {pushed}");
    // The store counts an outcome after it has committed it.
    wait::until("the store to have counted every call as answered", PATIENCE, async || {
        let metrics = world.store.metrics().await?;
        ensure!(metrics.contains(&answered), "not all of {pushed} calls were answered:\n{metrics}");
        Ok(())
    })
    .await?;
    world.no_vm_trapped().await
}
