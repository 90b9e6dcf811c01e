//! Promise P6 against somebody who knows one valid digest: memory stays within what the configuration states, nothing traps, no call
//! becomes `unknown`, and the good pushes beside it are answered.

use std::iter;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::configuration::{Configuration, HeadersMode};
use harness::memory::Resident;
use harness::raw::{self, http2};
use harness::{http, open_files};
use hyper::Method;
use privatenumber_contract::CallState;
use privatenumber_sim::business::Temper;
use privatenumber_sim::huawei::push_body;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::{JoinHandle, JoinSet};

use crate::world::{World, cdrs};

in_both_modes!(
    multi_thread;
    p6_headers_without_bodies_trap_nothing_and_keep_nobody_out,
    p6_bodies_that_never_end_trap_nothing_and_keep_nobody_out,
    p6_headers_without_bodies_over_http2_trap_nothing_and_keep_nobody_out,
    p4_stalled_pushers_take_no_connection_to_the_store,
);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Envoy's workers, each with a VM and limits of its own.
const WORKERS: u32 = 2;
/// Calls that are pending in the VMs when an attack begins. A VM that traps loses them.
const PENDING: usize = 25;
/// How long the business takes for each callback meanwhile.
const CALLBACK_TAKES: Duration = Duration::from_secs(3);
/// When the good pushes begin, after the attack has begun.
const BEGIN_AFTER: Duration = Duration::from_secs(2);
/// How many good pushes are tried beside an attack.
const TRIES: usize = 100;
/// What an attacker announces as its body, bytes. It is below `limits.max_body_bytes`.
const ANNOUNCED: usize = 200_000;
/// What it sends of that.
const SENT: usize = 190_000;
/// How many requests a connection may begin over HTTP/2 (`max_concurrent_streams`, as `envoy.yaml` says beside `codec_type`).
const STREAMS: usize = 128;

/// What Envoy takes for a connection besides its headers and what is counted of its body: the socket's and the codec's buffers, one
/// slice of 16 KiB that is being read, the stream, its filters and its context in the VM. Measured: 31 KiB.
const CONNECTION: u64 = 32 * KIB;
/// What Envoy takes for one request of an HTTP/2 connection besides its headers. Measured: 2 to 4 KiB.
const STREAM: u64 = 4 * KIB;
/// What else the process takes on: pages that its allocator keeps, the good pushes, and what differs from run to run. In `hold` the
/// growth that was measured stays 16 to 20 MiB below the bound over HTTP/1.1 (2 workers, Envoy 1.40.0).
const REST: u64 = 16 * MIB;

/// Everything an attack began and has not closed. It ends when this is dropped.
type Held = Box<dyn Send>;

async fn p6_headers_without_bodies_trap_nothing_and_keep_nobody_out(mode: HeadersMode) -> Result<()> {
    const CONNECTIONS: usize = 3_000;
    let mut beside = Beside::start("attack-headers", mode).await?;
    let (address, head) = (beside.address(), head(&beside.world)?);
    let attack = tokio::spawn(async move {
        let mut held = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let mut connection = raw::Connection::open(&address).await?;
            connection.send(&head).await?;
            held.push(connection);
        }
        anyhow::Ok(Box::new(held) as Held)
    });
    let held = beside.good_pushes_are_answered(attack, 3_000).await?;
    beside.ends_well().await?;
    beside.memory_is_bounded(Attack { connections: CONNECTIONS, requests: 1, sent: 0 })?;
    drop(held);
    Ok(())
}

async fn p6_bodies_that_never_end_trap_nothing_and_keep_nobody_out(mode: HeadersMode) -> Result<()> {
    const CONNECTIONS: usize = 2_000;
    let mut beside = Beside::start("attack-bodies", mode).await?;
    let (address, head) = (beside.address(), head(&beside.world)?);
    let attack = tokio::spawn(async move {
        let mut attackers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (address, head) = (address.clone(), head.clone());
            attackers.spawn(async move {
                let mut connection = raw::Connection::open(&address).await?;
                connection.send(&head).await?;
                // Whoever gave way is closed; that is no concern of this attacker's.
                let _ = connection.send(vec![b' '; SENT]).await;
                anyhow::Ok(connection)
            });
        }
        all(attackers).await
    });
    let held = beside.good_pushes_are_answered(attack, 3_200).await?;
    beside.attack_met_its_limit().await?;
    beside.ends_well().await?;
    beside.memory_is_bounded(Attack { connections: CONNECTIONS, requests: 1, sent: SENT })?;
    drop(held);
    Ok(())
}

/// 42,240 pushes are begun on 330 connections with 14 MB: what trapped every VM of 0.1.0.
async fn p6_headers_without_bodies_over_http2_trap_nothing_and_keep_nobody_out(mode: HeadersMode) -> Result<()> {
    const CONNECTIONS: usize = 330;
    let mut beside = Beside::start("attack-http2", mode).await?;
    let attack = begin_over_http2(&beside.world, CONNECTIONS)?;
    let held = beside.good_pushes_are_answered(attack, 3_400).await?;
    beside.attack_met_its_limit().await?;
    beside.no_headers_were_refused().await?;
    beside.ends_well().await?;
    beside.memory_is_bounded(Attack { connections: CONNECTIONS, requests: STREAMS, sent: 0 })?;
    drop(held);
    Ok(())
}

/// More pushes are begun than the store takes connections (1024). Each sends a part of its body and stalls. The store answers others
/// meanwhile, because no push that is unfinished has a connection to it.
async fn p4_stalled_pushers_take_no_connection_to_the_store(mode: HeadersMode) -> Result<()> {
    const CONNECTIONS: usize = 1_200;
    /// Those of the good pushes and of the workers' own requests.
    const CONNECTIONS_TO_THE_STORE: u64 = 64;
    let mut beside = Beside::start("attack-stalled", mode).await?;
    let (address, body) = (beside.address(), push_body(&cdrs(3_700, 1))?);
    let head = beside.world.huawei.head()?.header("content-length", body.len().to_string()).end();
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = raw::Connection::open(&address).await?;
        connection.send(&head).await?;
        connection.send(&body[..20]).await?;
        held.push(connection);
    }
    let attack = tokio::spawn(async move { anyhow::Ok(Box::new(held) as Held) });
    let held = beside.good_pushes_are_answered(attack, 3_701).await?;
    let statistics = beside.world.gateway.statistics().await?;
    let stalled = statistics.get("http.gateway.downstream_rq_active");
    ensure!(stalled >= CONNECTIONS as u64, "{stalled} pushes stall, not {CONNECTIONS}");
    let to_the_store = statistics.get("cluster.store.upstream_cx_active");
    ensure!(to_the_store <= CONNECTIONS_TO_THE_STORE, "{to_the_store} connections to the store are open");
    http::get(&beside.world.store.url("/healthz")).await?.expect(200)?;
    beside.ends_well().await?;
    drop(held);
    Ok(())
}

/// Begins as many pushes as one connection may, on each of so many.
fn begin_over_http2(world: &World, connections: usize) -> Result<JoinHandle<Result<Held>>> {
    let (address, [first, later]) = (world.gateway.address().to_owned(), blocks(world)?);
    Ok(tokio::spawn(async move {
        let mut attackers = JoinSet::new();
        for _ in 0..connections {
            let mut connection = http2::Connection::open(&address).await?;
            let (first, later) = (first.clone(), later.clone());
            attackers.spawn(async move {
                // Envoy may close the connection of somebody it has refused.
                let _ = connection.begin(iter::once(&first).chain(iter::repeat_n(&later, STREAMS - 1))).await;
                anyhow::Ok(connection)
            });
        }
        all(attackers).await
    }))
}

/// The head of a push with a valid digest and nearly as many bytes as Envoy takes. Its body is announced and does not come.
fn head(world: &World) -> Result<Vec<u8>> {
    let room = usize::try_from(world.gateway.configuration().max_request_headers_bytes()?)?;
    let head = world.huawei.head()?.header("content-length", ANNOUNCED.to_string());
    // 256 bytes to spare for what Envoy adds.
    let filling = room.saturating_sub(head.clone().end().len() + 256);
    Ok(head.header("x-filling", vec![b'a'; filling]).end())
}

/// The same over HTTP/2: a connection's first block, and one for each further push, which takes some hundred bytes on the wire.
fn blocks(world: &World) -> Result<[http2::Block; 2]> {
    let room = usize::try_from(world.gateway.configuration().max_request_headers_bytes()?)?;
    let push = http2::Block::post("/huawei/fee").headers(world.huawei.headers()?);
    let push = push.header("content-length", ANNOUNCED.to_string());
    // Twice a value that the connection's table of 4 KiB just has room for.
    let filling = vec![b'a'; (room.saturating_sub(push.len() + 256) / 2).min(4_000)];
    Ok([push.clone().remember("x-filling", filling).remembered(), push.remembered().remembered()])
}

/// All attackers, once they have sent what they send.
async fn all<A: Send + 'static>(mut attackers: JoinSet<Result<A>>) -> Result<Held> {
    let mut held = Vec::with_capacity(attackers.len());
    while let Some(attacker) = attackers.join_next().await {
        held.push(attacker.context("an attacker ended")??);
    }
    Ok(Box::new(held))
}

/// What an attack begins.
#[derive(Clone, Copy)]
struct Attack {
    connections: usize,
    /// On each connection.
    requests: usize,
    /// Of each request's body, bytes.
    sent: usize,
}

/// An attack takes thousands of open files, and both cores of a small machine: there is one at a time.
static ATTACKS: Mutex<()> = Mutex::const_new(());
/// The open files that the largest attack takes here, and in Envoy.
const OPEN_FILES: u64 = 16_384;

/// Somebody's calls, beside an attack.
struct Beside {
    world: World,
    /// How many calls were pushed.
    calls: usize,
    /// What the gateway held right before the attack, bytes.
    before: u64,
    /// Given on when everything else has ended.
    _turn: MutexGuard<'static, ()>,
}

impl Beside {
    /// A gateway in which calls are pending.
    async fn start(name: &str, mode: HeadersMode) -> Result<Self> {
        let turn = ATTACKS.lock().await;
        open_files::allow(OPEN_FILES)?;
        let change =
            |options: harness::gateway::Options| options.concurrency(WORKERS).change(Configuration::http2_as_well);
        let mut world = World::with(name, mode, &[], change).await?;
        // The filter logs each push that it refuses. This process reads Envoy's log, so tens of thousands of lines would slow down the
        // very Envoy that is watched, on a machine that has other work to do.
        let quiet = format!("{}/logging?wasm=error", world.gateway.admin());
        http::send(Method::POST, &quiet, &[], "").await?.expect(200)?;
        let slow = Temper { delay_ms: u64::try_from(CALLBACK_TAKES.as_millis())?, ..Temper::default() };
        world.business.behave(&slow).await?;
        // One push for each call: both workers get some.
        for call in cdrs(2_900, PENDING) {
            world.push(&[call]).await?;
        }
        let pid = world.gateway.process().pid();
        Resident::forget_peak(pid)?;
        Ok(Self { _turn: turn, before: Resident::of(pid)?.now, world, calls: PENDING })
    }

    fn address(&self) -> String {
        self.world.gateway.address().to_owned()
    }

    /// Good pushes, begun two seconds after `attack` has, are answered 200: before their streams' patience ends, because after that
    /// the answer is 503. Hands over what the attack still holds.
    async fn good_pushes_are_answered(&mut self, attack: JoinHandle<Result<Held>>, seed: u64) -> Result<Held> {
        let world = &self.world;
        tokio::time::sleep(BEGIN_AFTER).await;
        for (number, call) in cdrs(seed, TRIES).into_iter().enumerate() {
            let answer = world.huawei.push(&world.gateway.url(), push_body(&[call])?).await?;
            ensure!(answer.status == 200, "push {number} beside the attack was answered {}", answer.status);
        }
        self.calls += TRIES;
        attack.await.context("the attack ended")?
    }

    /// The attack was large enough for pushes to be refused, or to give way.
    async fn attack_met_its_limit(&self) -> Result<()> {
        let statistics = self.world.gateway.statistics().await?;
        let answers = ["gave_way", "busy"].map(|answer| format!("privatenumber_pushes_total.answer.{answer}"));
        ensure!(answers.iter().any(|name| statistics.filter(name) > 0), "the attack never came to its limit");
        Ok(())
    }

    /// The filter saw the pushes: Envoy took their headers.
    async fn no_headers_were_refused(&self) -> Result<()> {
        let statistics = self.world.gateway.statistics().await?;
        let refused = statistics.sum_of(|name| name.contains("header_overflow") || name.contains("rx_messaging_error"));
        ensure!(refused == 0, "Envoy refused the headers of {refused} pushes");
        Ok(())
    }

    /// Every call was called back once, and none is `unknown`: those too that were pending when the attack began.
    async fn ends_well(&self) -> Result<()> {
        let calls = self.world.settled_calls(self.calls).await?;
        ensure!(calls.iter().all(|call| call.state != CallState::Unknown), "a call is unknown");
        self.world.callbacks(self.calls).await?;
        let counts = self.world.business.counts().await?;
        ensure!(counts.total == self.calls as u64 && counts.max_per_call == 1, "{counts:?}");
        self.world.no_vm_trapped().await
    }

    /// The gateway never took on more memory than its configuration states (`docs/security.md`), and what is stated here for the rest.
    fn memory_is_bounded(&mut self, attack: Attack) -> Result<()> {
        let grown = Resident::of(self.world.gateway.process().pid())?.peak.saturating_sub(self.before);
        let mut configuration = self.world.gateway.configuration();
        let (connections, requests) = (attack.connections as u64, (attack.connections * attack.requests) as u64);
        let workers = u64::from(WORKERS);
        // What the filter counts of bodies: pending_bytes, if the attack sends as much.
        let counted = (requests * attack.sent as u64).min(workers * configuration.pending_bytes()?);
        // What Envoy reads of one connection before the filter sees it. Each worker reads one at a time.
        let read = workers * configuration.per_connection_buffer_bytes()?;
        let headers = requests * configuration.max_request_headers_bytes()?;
        let streams = if attack.requests > 1 { requests * STREAM } else { 0 };
        let bound = counted + read + headers + streams + connections * CONNECTION + REST;
        ensure!(grown < bound, "{} MiB more, at most {} MiB were due", grown / MIB, bound / MIB);
        Ok(())
    }
}
