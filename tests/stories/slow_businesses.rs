//! Promises P4 and P6 against businesses that answer slowly, without end, or never.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::configuration::HeadersMode;
use harness::gateway::BusinessAt;
use harness::memory::Resident;
use harness::{demo, open_files, wait};
use private_number_gateway::config::Config;
use privatenumber_contract::Binding;
use privatenumber_sim::huawei::Cdr;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::{PATIENCE, World, cdrs};

in_both_modes!(
    multi_thread;
    p4_three_businesses_that_hang_do_not_close_the_gateway_for_a_fourth,
);

const MIB: u64 = 1024 * 1024;
/// Open files of the sockets here.
const OPEN_FILES: u64 = 4_096;

/// Something in the place of a business: accepts every connection, waits for a request, sends this, and no more.
async fn never_ends(answer: Vec<u8>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let answer: std::sync::Arc<[u8]> = answer.into();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = std::sync::Arc::clone(&answer);
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                if connection.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                    let _ = connection.write_all(&answer).await;
                }
                // Until Envoy closes it.
                while connection.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {}
            });
        }
    });
    Ok(address)
}

fn name(number: usize) -> String {
    format!("HANGS{number}")
}

/// Calls whose binding names that business.
fn calls_of(seed: u64, count: usize, business: usize) -> Vec<Cdr> {
    let of = |mut cdr: Cdr| {
        cdr.subscription_id = Some(name(business));
        cdr
    };
    cdrs(seed, count).into_iter().map(of).collect()
}

/// One application serves four businesses, which bindings name. Everything is as shipped. Three of them accept connections and never
/// answer; they are pushed more calls than the gateway has room for.
async fn p4_three_businesses_that_hang_do_not_close_the_gateway_for_a_fourth(mode: HeadersMode) -> Result<()> {
    const HANGING: usize = 3;
    const PUSHES: usize = 70;
    open_files::allow(OPEN_FILES)?;
    let mut addresses = Vec::new();
    for _ in 0..HANGING {
        addresses.push(never_ends(Vec::new()).await?);
    }
    let world = World::with("three-hang", mode, &[], |options| {
        let entries = addresses.iter().enumerate().map(|(number, address)| BusinessAt::new(&name(number), address));
        entries.fold(options, |options, business| options.business(business))
    })
    .await?;
    for number in 0..HANGING {
        let binding = Binding { ak: Some(name(number)), subscription_id: Some(name(number)), ..demo::binding() };
        world.store.register(&name(number), &binding).await?;
    }
    let mut floods = JoinSet::new();
    for business in 0..HANGING {
        let (url, huawei) = (world.gateway.url(), harness::huawei::Huawei::demo()?);
        floods.spawn(async move {
            let calls = calls_of(5_000 + business as u64, 50 * PUSHES, business);
            for push in calls.chunks(50) {
                huawei.push_cdrs(&url, push).await?.expect(200)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(flood) = floods.join_next().await {
        flood.context("a flood ended")??;
    }
    wait::until("businesses to be refused further places", PATIENCE, async || {
        let not_sent = world.store.calls("state=not_sent").await?;
        let call = not_sent.first().context("every call got a place")?;
        ensure!(
            serde_json::to_value(call.outcome)? == json!({"class": "not_sent", "reason": "queue_full"}),
            "{call:?}"
        );
        Ok(())
    })
    .await?;

    let begun = Instant::now();
    let healthy = cdrs(5_100, 20);
    for call in healthy.chunks(1) {
        world.push(call).await?;
    }
    world.callbacks(healthy.len()).await?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?} for {} callbacks", begun.elapsed(), healthy.len());
    let statistics = world.gateway.statistics().await?;
    ensure!(statistics.filter("privatenumber_callback_queue") > 5_000, "the three do not hang any more");
    world.no_vm_trapped().await
}

/// The formula of `docs/operations.md`, at its worst: every callback that may be under way holds as much of an answer as Envoy keeps.
#[tokio::test(flavor = "multi_thread")]
async fn p6_answers_of_businesses_that_never_end_take_no_more_than_the_configuration_states() -> Result<()> {
    /// What Envoy keeps of an answer, see `envoy.yaml`.
    const BUFFER: usize = 1_048_576;
    // The most that is accepted, and what is cut off.
    for (name, announced, sent) in
        [("answers-fit", BUFFER, BUFFER - 1), ("answers-too-long", 8 * BUFFER, 8 * BUFFER - 8)]
    {
        open_files::allow(OPEN_FILES)?;
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + sent, b'x');
        let address = never_ends(answer).await?;
        let mut world = World::with_business(
            name,
            HeadersMode::Hold,
            &[],
            |business| business.address.clone_from(&address),
            |options| options,
        )
        .await?;
        let mut configuration = world.gateway.configuration();
        let plugin = serde_json::to_vec(configuration.plugin()?)?;
        let config = Config::from_json(&plugin, &|_| Some("fictitious-app-secret-0001".to_owned()));
        let stated = config.map_err(|errors| anyhow::anyhow!("{errors:?}"))?.worker_bytes();

        let pid = world.gateway.process().pid();
        Resident::forget_peak(pid)?;
        let before = Resident::of(pid)?.now;
        for push in cdrs(5_200, 200).chunks(50) {
            world.push(push).await?;
        }
        wait::until("callbacks to hold their answers", PATIENCE, async || {
            let statistics = world.gateway.statistics().await?;
            let received = statistics.get("cluster.business.upstream_cx_rx_bytes_total");
            ensure!(received > 95 * MIB, "{} MiB were received", received / MIB);
            Ok(())
        })
        .await?;
        world.settled_calls(200).await?;
        let grown = Resident::of(pid)?.peak.saturating_sub(before);
        println!("{name}: {} MiB more, {} MiB are stated", grown / MIB, stated / MIB);
        ensure!(grown < stated, "{name}: {} MiB more, {} MiB are stated", grown / MIB, stated / MIB);
        // Of the formula only the part of callbacks is used here: 100 under way, with 1 MiB and 64 KiB each, and some pages.
        let callbacks = 100 * (MIB + MIB / 16) + 16 * MIB;
        ensure!(grown < callbacks, "{name}: {} MiB more, at most {} MiB were due", grown / MIB, callbacks / MIB);
        world.no_vm_trapped().await?;
    }
    Ok(())
}
