//! What the filter does, as a service behind Envoy: takes Huawei's pushes, has them recorded, calls back, reports.
//!
//! A peer for the benchmark, see `benches/peers/README.md`.

mod answer;
mod batches;
mod callback;
mod cdr;
mod client;
mod credentials;
mod push;
mod service;
mod settings;
mod store;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use service::Service;
use settings::Settings;

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    Builder::new_multi_thread()
        .worker_threads(settings.workers.into())
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(run(settings))
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {}: cannot listen there; port 0 takes a free one", settings.listen))?;
    let address = listener.local_addr().context("the address listened on cannot be told")?;
    let service = Service::new(&settings)?;
    println!("peer-service listening on http://{address}");
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, push::router(service.clone())).with_graceful_shutdown(stop).await.context("serving")?;
    service.finish().await;
    Ok(())
}
