//! Promise P6 against somebody who knows one valid digest: memory stays within what the configuration states, nothing traps, and the
//! good pushes beside it are answered.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::gateway::Gateway;
use harness::huawei::Huawei;
use harness::memory::Resident;
use harness::raw::{Connection, Head};
use privatenumber_sim::huawei::push_body;
use tokio::task::JoinSet;

use crate::world::{World, cdrs};

in_both_modes!(
    p6_headers_without_bodies_trap_nothing_and_keep_nobody_out,
    p6_bodies_that_never_end_trap_nothing_and_keep_nobody_out,
);

const MIB: u64 = 1024 * 1024;
/// How many good pushes are tried beside an attack.
const TRIES: u64 = 100;
/// What one connection costs Envoy besides what it buffers: both ends, codec, filters, a context in the VM.
const CONNECTION: u64 = 64 * 1024;

/// The head of a push with a valid digest and nearly as many bytes as Envoy takes. Its body is announced and does not come.
fn head(huawei: &Huawei, length: usize) -> Result<Vec<u8>> {
    Ok(Head::post("/huawei/fee")
        .header("host", "gateway.example.com")
        .headers(huawei.headers()?)
        .header("x-filling", vec![b'a'; 6_500])
        .header("content-length", length.to_string())
        .end())
}

async fn resident(gateway: &mut Gateway) -> Result<u64> {
    Ok(Resident::of(gateway.process().pid())?.now)
}

async fn p6_headers_without_bodies_trap_nothing_and_keep_nobody_out(mode: HeadersMode) -> Result<()> {
    let mut world = World::start("attack-headers", mode).await?;
    world.push(&cdrs(3_000, 1)).await?;
    let before = resident(&mut world.gateway).await?;
    const CONNECTIONS: usize = 3_000;
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(world.gateway.address()).await?;
        connection.send(head(&world.huawei, 200_000)?).await?;
        held.push(connection);
    }
    good_pushes_are_answered(&world, 3_001, 1).await?;
    let grown = resident(&mut world.gateway).await?.saturating_sub(before);
    let bound = CONNECTIONS as u64 * (CONNECTION + 8 * 1024) + 64 * MIB;
    ensure!(grown < bound, "{} MiB more, at most {} MiB were due", grown / MIB, bound / MIB);
    drop(held);
    world.no_vm_trapped().await
}

async fn p6_bodies_that_never_end_trap_nothing_and_keep_nobody_out(mode: HeadersMode) -> Result<()> {
    let mut world = World::start("attack-bodies", mode).await?;
    world.push(&cdrs(3_200, 1)).await?;
    let before = resident(&mut world.gateway).await?;
    const CONNECTIONS: usize = 1_000;
    const SENT: usize = 190_000;
    let mut attackers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, head) = (world.gateway.address().to_owned(), head(&world.huawei, 200_000)?);
        attackers.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            connection.send(&head).await?;
            // Whoever gave way is closed; that is no concern of this attacker's.
            let _ = connection.send(vec![b' '; SENT]).await;
            anyhow::Ok(connection)
        });
    }
    let mut held = Vec::with_capacity(CONNECTIONS);
    while let Some(connection) = attackers.join_next().await {
        held.push(connection.context("an attacker ended")??);
    }
    good_pushes_are_answered(&world, 3_201, 1).await?;
    let grown = resident(&mut world.gateway).await?.saturating_sub(before);
    // Unfinished pushes hold half of pending_bytes (64 MiB) for each of the two workers; Envoy keeps what it read before it was told
    // to stop, and the VMs hold nothing of it.
    let bound = 2 * 32 * MIB + CONNECTIONS as u64 * CONNECTION + 96 * MIB;
    ensure!(grown < bound, "{} MiB more, at most {} MiB were due", grown / MIB, bound / MIB);
    let statistics = world.gateway.statistics().await?;
    let refused = statistics.filter("privatenumber_pushes_total.answer.gave_way")
        + statistics.filter("privatenumber_pushes_total.answer.busy");
    ensure!(refused > 0, "the attack never came to its limit");
    drop(held);
    world.no_vm_trapped().await
}

/// Good pushes, two seconds after the attack began, beside `already` calls that are there: all are answered 200 and called back once.
async fn good_pushes_are_answered(world: &World, series: u64, already: u64) -> Result<()> {
    world.callbacks(usize::try_from(already)?).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in 0..TRIES {
        let body = push_body(&cdrs(series + number, 1))?;
        let answer = world.huawei.push(&world.gateway.url(), body).await?;
        ensure!(answer.status == 200, "push {number} beside the attack was answered {}", answer.status);
    }
    let all = TRIES + already;
    world.callbacks(usize::try_from(all)?).await?;
    world.settled_calls(usize::try_from(all)?).await?;
    ensure!(world.business.counts().await?.total == all);
    ensure!(world.store.calls("state=unknown").await?.is_empty());
    world.no_vm_trapped().await
}
